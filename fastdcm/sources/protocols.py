"""What sources, path readers and streams provide, as protocols."""

from __future__ import annotations

from typing import Any, Protocol, TypeAlias

from fastdcm.sources._paths import Chunk, Mixed, Streams

AnyChunk: TypeAlias = Chunk | Streams | Mixed


class PathReader(Protocol):
    """Returns the paths of a source, in order."""

    def take(self, count: int) -> AnyChunk | None:
        """Return the next paths, at most `count`; None after the last."""


class Source(Protocol):
    """Where the paths of a scan come from."""

    def start(self) -> PathReader:
        """Return a reader of all paths, from the first."""


class ListedSource(Source, Protocol):
    """A source that can be stored in an index."""

    asked: list[dict[str, Any]] | None
