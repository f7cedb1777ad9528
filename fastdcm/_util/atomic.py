"""Replace files atomically: a reader finds the old content or the new, never a part."""

from __future__ import annotations

import os
import stat

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from io import BufferedWriter

# In characters, of up to 4 bytes each: with a suffix they make a name of at most 255 bytes.
_LONGEST = 56


def write_atomically(
    path: str | bytes,
    fill: Callable[[BufferedWriter], object],
    *,
    overwrite: bool = True,
    durable: bool = True,
    temporary_directory: str | None = None,
) -> None:
    """Write a file under a temporary name, then rename it to `path`.

    A temporary file of the same name that a killed process left is removed.

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
    where = directory if temporary_directory is None else temporary_directory
    temporary = None
    try:
        out = _open_temporary(os.path.join(where, name[:_LONGEST]))
        temporary = out.name
        with out:
            fill(out)
            out.flush()
            if durable:
                os.fsync(out.fileno())
            if os.name == "nt":
                out.close()  # an open file cannot be renamed there
            if overwrite:
                os.replace(temporary, final)
            else:
                _rename_new(temporary, final)
    except BaseException as error:
        if temporary is not None:
            try:  # noqa: SIM105  # contextlib is not imported by `import fastdcm`
                os.unlink(temporary)
            except OSError:
                pass
        # Name the target, not the temporary file; write() and fsync() name none.
        if isinstance(error, OSError) and (
            temporary is None or error.filename in (None, temporary)
        ):
            error.filename = path
        raise
    if durable:
        sync_directory(directory)


def _open_temporary(prefix: str) -> BufferedWriter:
    """Create a temporary file, after removing the one that a killed process left.

    Its usual name is always the same, so that it is found without listing the directory.
    The process that writes it has a lock on it until it is renamed or the process ends.
    While two write the same target, and on Windows, it has a name of its own.
    """
    if fcntl is not None:
        usual = prefix + ".0-fastdcm.tmp"
        _remove_abandoned(usual)
        try:
            out = open(usual, "xb")  # noqa: SIM115  # returned
        except FileExistsError:
            pass
        else:
            if _lock(out.fileno(), usual, without_locks=True):
                return out
            out.close()
    return open(f"{prefix}.{os.getpid():x}-{os.urandom(4).hex()}.tmp", "xb")


def _remove_abandoned(path: str) -> None:
    """Remove a temporary file unless it is being written."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return
    try:
        if stat.S_ISREG(os.fstat(handle).st_mode) and _lock(handle, path, without_locks=False):
            os.unlink(path)
    except OSError:
        pass
    finally:
        os.close(handle)


def _lock(handle: int, path: str, *, without_locks: bool) -> bool:
    """Lock an open file; return whether that succeeded and `path` still names it.

    without_locks: what to return if the file system has no locks.
    """
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return without_locks
    try:
        return os.path.samestat(os.fstat(handle), os.lstat(path))
    except FileNotFoundError:
        return False


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
