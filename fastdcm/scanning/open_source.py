"""Open the source of a scan: what a path, a glob, a URL or a list of paths denotes."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable
from typing import TYPE_CHECKING

from fastdcm.scanning.index.folder import is_index, open_index
from fastdcm.sources.archives.lookup import SEVEN_ZIP, leads_into_archive
from fastdcm.sources.objects.source import ObjectSource
from fastdcm.sources.objects.stores import can_list
from fastdcm.sources.path_tables import SUFFIXES, PathTable
from fastdcm.sources.paths import CombinedSource, Folder, IteratorReader, PathList
from fastdcm.sources.protocols import RequestedPath, Source
from fastdcm.sources.urls import is_url, path_bytes, path_text

if TYPE_CHECKING:
    from fastdcm.sources.paths import AnyPath

_ACCEPTED = (
    "a folder, a glob, a file, a URL, an archive (.zip, .tar, .tar.gz, .tar.zst), a list "
    "or iterator of paths, an index folder, or a table with a column `path` (.parquet, "
    ".arrow, .csv, .jsonl)"
)


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
        A folder, a glob, a file, a URL, an archive or a path into one, an index folder, or a
        table with a column ``path``; or a list or iterator of paths.
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
    try:
        iter(source)
    except TypeError:
        raise TypeError(f"source must be {_ACCEPTED}, not {type(source).__name__}") from None
    return PathList(source)


def _open_path(path: str, recursive: bool) -> Source:
    if is_url(path):
        return ObjectSource(path, recursive) if can_list(path) else PathList([path])
    if path.startswith("file:") and not os.path.exists(path):
        path = os.fsdecode(path_bytes(path))
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
        raise ValueError(
            f"{path}: the records of a DICOMDIR are not read; scan its folder, "
            f"or pass [{path!r}] for a row about the DICOMDIR itself"
        )
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
