"""Replace files atomically: a reader finds the old content or the new, never a part."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from io import BufferedWriter


def write_atomically(
    path: str | bytes,
    fill: Callable[[BufferedWriter], object],
    *,
    overwrite: bool = True,
    durable: bool = True,
    temporary_directory: str | None = None,
) -> None:
    """Write a file under a temporary name, then rename it to `path`.

    Parameters
    ----------
    path : str or bytes
        The file to create or replace.
    fill : callable
        Called with the open binary file; writes the content.
    overwrite : bool
        If False, raise FileExistsError when `path` exists by the time of the
        rename.
    durable : bool
        Return only after the data and the new name are on the disk (fsync).
    temporary_directory : str, optional
        Where the temporary file is created; must be on the same file system.
        By default the directory of `path`.
    """
    final = os.fsdecode(path)
    directory, name = os.path.split(final)
    suffix = f".{os.getpid():x}-{os.urandom(4).hex()}.tmp"
    where = directory if temporary_directory is None else temporary_directory
    temporary = os.path.join(where, name[:128] + suffix)
    try:
        with open(temporary, "xb") as out:
            fill(out)
            out.flush()
            if durable:
                os.fsync(out.fileno())
        if overwrite:
            os.replace(temporary, final)
        else:
            _rename_new(temporary, final)
    except BaseException as error:
        try:  # noqa: SIM105  # contextlib is not imported by `import fastdcm`
            os.unlink(temporary)
        except OSError:
            pass
        # Name the target, not the temporary file; write() and fsync() name none.
        if isinstance(error, OSError) and error.filename in (None, temporary):
            error.filename = path
        raise
    if durable:
        sync_directory(directory)


def sync_directory(path: str) -> None:
    """Flush the names in a directory to the disk, where the system supports it."""
    if os.name != "nt":
        handle = os.open(path or os.curdir, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _rename_new(temporary: str, path: str) -> None:
    """Rename, and raise FileExistsError when `path` exists."""
    if os.name == "nt":
        os.rename(temporary, path)
        return
    try:
        os.link(temporary, path)
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links
        if os.path.lexists(path):
            raise FileExistsError(17, os.strerror(17), path) from None
        os.rename(temporary, path)
    else:
        os.unlink(temporary)
