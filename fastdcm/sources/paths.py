"""Sources of local paths: lists and iterators, folders, and several sources in a row."""

from __future__ import annotations

import os
from itertools import islice

from fastdcm.sources._paths import Walk, chunk_from_paths
from fastdcm.sources.urls import path_bytes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import TypeAlias

    from fastdcm.sources._paths import PathChunk
    from fastdcm.sources.protocols import AnyChunk, PathReader, RequestedPath, Source

    AnyPath: TypeAlias = str | bytes | os.PathLike[str] | os.PathLike[bytes]


class PathList:
    """A list or an iterator of paths (see `fastdcm.sources.protocols.Source`).

    Parameters
    ----------
    paths : iterable of str, bytes or os.PathLike
        Some may be URLs, archives or members of archives.
    """

    requested: list[RequestedPath] | None = None
    supports_update = False

    def __init__(self, paths: Iterable[AnyPath]) -> None:
        self._paths = paths

    def start(self) -> IteratorReader:
        """Return a reader of the paths; an iterator can be read only once."""
        return IteratorReader(iter(self._paths))


class IteratorReader:
    """Returns the paths of an iterator in chunks.

    Parameters
    ----------
    paths : iterator of str, bytes or os.PathLike
        The paths.
    """

    def __init__(self, paths: Iterator[AnyPath]) -> None:
        self._paths = paths

    def read_chunk(self, max_paths: int) -> PathChunk | None:
        """Return the next paths, at most `max_paths`, or None after the last."""
        paths = list(islice(self._paths, max_paths))
        return chunk_from_paths(paths) if paths else None


class Folder:
    """The files in a folder and below, in byte order of their paths.

    Hidden files are included, and links are followed.

    Parameters
    ----------
    path : str, bytes or os.PathLike
        The folder.
    recursive : bool
        Include the files in folders below.
    """

    requested: list[RequestedPath] | None = None
    supports_update = True

    def __init__(self, path: AnyPath, recursive: bool = True) -> None:
        self.path = os.fspath(path)
        self._recursive = recursive

    def start(self) -> Walk:
        """Return a reader of the files that are in the folder now."""
        path = self.path
        return Walk(path_bytes(path) if isinstance(path, str) else path, self._recursive)


class CombinedSource:
    """Several sources, one after another.

    Parameters
    ----------
    sources : iterable of Source
        The sources, in order.
    """

    supports_update = False

    def __init__(self, sources: Iterable[Source]) -> None:
        self._sources = list(sources)
        self.requested: list[RequestedPath] | None = []
        for source in self._sources:
            if source.requested is None:
                self.requested = None
                break
            self.requested += source.requested

    def start(self) -> _CombinedReader:
        """Return a reader of the paths of all sources."""
        return _CombinedReader(iter(self._sources))


class _CombinedReader:
    def __init__(self, sources: Iterator[Source]) -> None:
        self._sources = sources
        self._reader: PathReader | None = None

    def read_chunk(self, max_paths: int) -> AnyChunk | None:
        while True:
            if self._reader is None:
                source = next(self._sources, None)
                if source is None:
                    return None
                self._reader = source.start()
            chunk = self._reader.read_chunk(max_paths)
            if chunk is not None:
                return chunk
            self._reader = None
