"""Protocols of what can be read: sources, streams, archives and object stores.

A `Source` lists paths. Its `PathReader` returns them in chunks, in which
`fastdcm.sources.resolve` replaces archives by their members and URLs by objects. Members and
objects are `Stream` objects, which the workers of a scan read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Protocol, TypeAlias, TypedDict, TypeVar, runtime_checkable

from fastdcm.errors import DicomError
from fastdcm.sources._paths import DeferredChunk, PathChunk, StreamChunk

#: What a worker reads in one call.
AnyChunk: TypeAlias = PathChunk | StreamChunk | DeferredChunk

#: A member that an archive stores uncompressed: its name, and offset and length in the archive.
StoredMember: TypeAlias = tuple[bytes, int, int]

#: An object in a listing: its name, size in bytes and modification time in nanoseconds since
#: 1970, each None where the listing does not contain it.
ObjectEntry: TypeAlias = tuple[str, int | None, int | None]

#: A key of which a listing contains the name alone, and why it cannot be read.
UnlistedEntry: TypeAlias = tuple[str, DicomError]

_Member = TypeVar("_Member")


# ---------------------------------------------------------------- sources ---


class RequestedPath(TypedDict):
    """A path that the user passed to `open_source`, as an index folder records it."""

    path: str
    recursive: bool


class PathReader(Protocol):
    """An iteration over the paths of a source."""

    def read_chunk(self, max_paths: int, /) -> AnyChunk | None:
        """Return the next paths or streams, at most `max_paths`, or None after the last."""


@runtime_checkable
class Source(Protocol):
    """A list of paths to be read.

    Attributes
    ----------
    requested : list of RequestedPath or None
        The paths that the user named; None when the paths have no name, as those of an
        iterator.
    supports_update : bool
        Whether an index folder of the source can be updated: the source can be listed
        again, in byte order of the paths, with the time at which each was last changed.
    """

    requested: list[RequestedPath] | None
    supports_update: bool

    def start(self) -> PathReader:
        """Return a reader of the paths, from the first on."""


# ---------------------------------------------------------------- streams ---


class Stream(Protocol):
    """Bytes that are not a file of their own: a member of an archive or an object.

    A method that fails raises DicomError or OSError, which becomes a row with an error.

    Attributes
    ----------
    path : bytes
        As `fastdcm.sources.urls.path_text` accepts it.
    size : int or None
        In bytes; an int once the stream is open.
    mtime_ns : int or None
        Time of the last change in nanoseconds since 1970; None where it is not known.
    """

    @property
    def path(self) -> bytes: ...  # noqa: D102 (described above)
    @property
    def size(self) -> int | None: ...  # noqa: D102
    @property
    def mtime_ns(self) -> int | None: ...  # noqa: D102

    def open(self, first: int, /) -> bytes | None:
        """Open the stream: determine `size` and `mtime_ns`.

        Return the first bytes if they were read for that. `first` is how many bytes the
        caller reads next.
        """

    def read(self, offset: int, length: int, /) -> bytes:
        """Return exactly `length` bytes at `offset`."""


# --------------------------------------------------------------- archives ---


class RandomAccessFile(Protocol):
    """A file that several threads read at any offset."""

    @property
    def path(self) -> bytes: ...  # noqa: D102 (the attributes of Stream)
    @property
    def size(self) -> int: ...  # noqa: D102
    @property
    def mtime_ns(self) -> int | None: ...  # noqa: D102

    def read(self, offset: int, length: int, /) -> bytes:
        """Return the bytes from `offset` on, at most `length`, fewer at the end of the file."""

    def stored(self, name: bytes, begin: int, size: int, /) -> StoredMember | Stream:
        """Return how a member is read whose bytes the file contains as they are."""


class Archive(Protocol[_Member]):
    """A file that contains other files.

    A member is a tuple that begins with its name (bytes) and its size in bytes. What follows
    depends on the kind of archive.

    Attributes
    ----------
    file : RandomAccessFile
        The archive itself.
    """

    @property
    def file(self) -> RandomAccessFile: ...  # noqa: D102 (described above)

    def walk(self, position: int | None = None, /) -> Iterator[tuple[int, _Member]]:
        """Iterate over (position, member) from a position on, by default over all.

        Raises DicomError where the archive is damaged.
        """

    def item(self, member: _Member, name: bytes, /) -> StoredMember | Stream:
        """Return how a member is read.

        In paths it has the given name, which differs from its own where several members have
        the same one.
        """


# ---------------------------------------------------------- object stores ---


class ObjectAnswer(Protocol):
    """What a server reports about an object along with its bytes."""

    @property
    def meta(self) -> Mapping[str, object]:
        """``size`` (int), ``last_modified`` (datetime or None) and ``e_tag`` (str or None)."""


class ObjectStore(Protocol):
    """A bucket or a server that objects are read from.

    Attributes
    ----------
    supports_update : bool
        Whether a listing contains the modification times of the objects.
    """

    supports_update: bool

    def list(self, name: str, /) -> Iterator[ObjectEntry | UnlistedEntry]:
        """Iterate over the objects whose names begin with `name` and a slash.

        The names are relative to that prefix.
        """

    def get(self, name: str, offset: int, length: int, /) -> tuple[ObjectAnswer, bytes]:
        """Return the bytes of an object from `offset` on, at most `length`."""
