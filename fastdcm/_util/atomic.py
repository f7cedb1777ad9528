"""Files that get their new content at once or not at all."""

import os


def write_whole(path, fill, *, overwrite=True, durable=True, drafts=None):
    """Writes to another name and renames.

    path : str or bytes.
    fill : called with the binary file to write to.
    overwrite : False raises FileExistsError when there is such a path by then.
    durable : synchronise the data and the name to the disk.
    drafts : the folder of that other name, on the same file system; that of
        path unless given.
    """
    folder, name = os.path.split(path)
    suffix = f".{os.getpid():x}-{os.urandom(4).hex()}.tmp"
    if isinstance(path, bytes):
        suffix = suffix.encode()
    draft = os.path.join(folder if drafts is None else drafts, name[:128] + suffix)
    try:
        with open(draft, "xb") as out:
            fill(out)
            out.flush()
            if durable:
                os.fsync(out.fileno())
        if overwrite:
            os.replace(draft, path)
        else:
            _rename_new(draft, path)
    except BaseException as error:
        try:
            os.unlink(draft)
        except OSError:
            pass
        if isinstance(error, OSError) and error.filename is None:
            error.filename = path  # a full disk does not tell
        raise
    if durable:
        sync_folder(folder)


def sync_folder(path):
    """Synchronises the names in a folder to the disk, where that is a thing
    to do."""
    if os.name != "nt":
        handle = os.open(path or os.curdir, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _rename_new(draft, path):
    """Renames, and fails when there is such a path by now."""
    if os.name == "nt":
        os.rename(draft, path)
        return
    try:
        os.link(draft, path)
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links
        if os.path.lexists(path):
            raise FileExistsError(17, os.strerror(17), path) from None
        os.rename(draft, path)
    else:
        os.unlink(draft)
