"""Open the source of a scan: what a path, a glob, a URL or a list of paths denotes."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from fastdcm.dicomdir.reader import DicomdirSource
from fastdcm.scanning.index.folder import is_index, open_index
from fastdcm.sources._paths import split_member_path
from fastdcm.sources.archives.lookup import SEVEN_ZIP, leads_into_archive
from fastdcm.sources.objects.source import ObjectSource
from fastdcm.sources.objects.stores import can_list
from fastdcm.sources.path_tables import SUFFIXES, PathTable
from fastdcm.sources.paths import CombinedSource, Folder, IteratorReader, PathList
from fastdcm.sources.protocols import RequestedPath, Source
from fastdcm.sources.urls import is_url, local_path, path_bytes, path_text

if TYPE_CHECKING:
    from fastdcm.sources.paths import AnyPath

_ACCEPTED = (
    "a folder, a glob, a file, a URL, an archive (.zip, .tar, .tar.gz, .tar.zst), a DICOMDIR, "
    "a list or iterator of paths, an index folder, or a table with a column `path` (.parquet, "
    ".arrow, .feather, .csv, .jsonl)"
)
# Folders are searched for in lists of up to this many paths, among those whose names do not
# end as those of files: that needs a request to the file system for each.
_MAX_LISTED = 4096
_FILE_SUFFIXES = (".dcm", ".ima")
_SEPARATORS = os.fsencode(os.sep + (os.altsep or ""))


class IndexedPaths:
    """The paths in an index folder, as far as it has been written.

    Parameters
    ----------
    path : str
        The index folder.

    Attributes
    ----------
    index : IndexFolder
        The index.
    """

    requested: list[RequestedPath] | None = None
    supports_update = False

    def __init__(self, path: str) -> None:
        self.index = open_index(path)

    def start(self) -> IteratorReader:
        """Return a reader of the paths."""
        return IteratorReader(
            path_bytes(text)
            for batch in self.index.batches(["path"])
            for text in batch.column("path").to_pylist()
        )


def open_source(source: AnyPath | Iterable[AnyPath] | Source, recursive: bool = True) -> Source:
    """Return the source that an argument of `scan` denotes.

    Parameters
    ----------
    source : str, bytes, os.PathLike, iterable of these, or Source
        A folder, a glob, a file, a URL, an archive or a path into one, a DICOMDIR, an index
        folder, or a table with a column ``path``; or a list or iterator of paths. A folder
        in a list of up to 4,096 paths is walked, unless other paths of the list are in it
        or its name ends in .dcm or .ima.
    recursive : bool
        Include the files in folders below a folder.

    Returns
    -------
    Source
        Its attribute ``requested`` has the path, unless `source` is an iterable.

    Raises
    ------
    FileNotFoundError
        There is no such path, or nothing matches the glob.
    ValueError
        The path exists, but cannot be scanned.
    TypeError
        The argument is of another type.
    """
    if isinstance(source, Source):
        return source
    if isinstance(source, (str, bytes, os.PathLike)):
        opened = _open_path(os.fsdecode(source), recursive)
        text = path_text(os.fsencode(source))
        path = text.rstrip("/" + os.sep) or text
        opened.requested = [{"path": path, "recursive": recursive}]
        return opened
    if hasattr(source, "read"):  # the lines of a file object are no paths
        raise TypeError(
            f"source must be {_ACCEPTED}, not a file object ({type(source).__name__}): pass its "
            "path; read_volume also accepts fastdcm.dcmread(file)"
        )
    try:
        iter(source)
    except TypeError:
        raise TypeError(f"source must be {_ACCEPTED}, not {type(source).__name__}") from None
    if isinstance(source, (list, tuple)) and len(source) <= _MAX_LISTED:
        return _open_list(source, recursive)
    return PathList(source)


def _open_list(paths: Sequence[AnyPath], recursive: bool) -> Source:
    """Return a source that walks the folders in a list.

    A folder with a path of the list in it is a row with an error: lists such as those of
    ``Path.rglob`` have both.
    """
    folders = [_folder_at(path) for path in paths]
    if not any(folders):
        return PathList(paths)
    named: set[bytes] = set()
    for path in paths:
        parent = _as_bytes(path).rstrip(_SEPARATORS)
        while (above := os.path.dirname(parent)) != parent:
            named.add(above)
            parent = above
    sources: list[Source] = []
    others: list[AnyPath] = []
    for path, folder in zip(paths, folders, strict=True):
        if folder is None or folder.rstrip(_SEPARATORS) in named:
            others.append(path)
            continue
        sources += [PathList(others), Folder(folder, recursive)]
        others = []
    return CombinedSource([*sources, PathList(others)])


def _folder_at(path: AnyPath) -> bytes | None:
    """Return the path as bytes if it is that of a local folder."""
    if isinstance(path, str) and path[-4:].lower() in _FILE_SUFFIXES:
        return None
    local = _as_bytes(path)
    return local if not is_url(local) and os.path.isdir(local) else None


def _as_bytes(path: AnyPath) -> bytes:
    text = os.fspath(path)  # raises TypeError for other types
    return local_path(text) if isinstance(text, str) else text


def _open_path(path: str, recursive: bool) -> Source:
    if is_url(path):
        is_listed = can_list(path) and not split_member_path(os.fsencode(path))
        return ObjectSource(path, recursive) if is_listed else PathList([path])
    if path.startswith("file:"):
        path = os.fsdecode(local_path(path))
    if os.path.isdir(path):
        return IndexedPaths(path) if is_index(path) else Folder(path, recursive)
    if os.path.lexists(path):
        return _open_file(path)
    if leads_into_archive(path):
        return PathList([path])
    if any(c in path for c in "*?["):
        return _open_glob(path, recursive)
    raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)


def _open_file(path: str) -> Source:
    name = path.lower()
    if name.endswith(".7z"):
        raise ValueError(f"{path}: {SEVEN_ZIP}")
    if os.path.basename(name) == "dicomdir":
        return DicomdirSource(path)
    return PathTable(path) if name.endswith(SUFFIXES) else PathList([path])


def _open_glob(pattern: str, recursive: bool) -> Source:
    """Return the files that match, as in a shell.

    Folders that match are walked, unless the pattern contains ``**``, which matches what is
    in them, too.
    """
    import glob

    sources: list[Source] = []
    files: list[str] = []
    for path in sorted(glob.iglob(pattern, recursive=True), key=os.fsencode):
        if not os.path.isdir(path):
            files.append(path)
        elif "**" not in pattern:
            sources += [PathList(files), Folder(path, recursive)]
            files = []
    if files:
        sources.append(PathList(files))
    if not sources:
        raise FileNotFoundError(errno.ENOENT, "nothing matches the glob", pattern)
    return sources[0] if len(sources) == 1 else CombinedSource(sources)
