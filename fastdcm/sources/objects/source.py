"""Objects in object stores and behind HTTP, as a source of paths and as file objects."""

from __future__ import annotations

import errno
import os
from fnmatch import fnmatchcase
from itertools import islice

from fastdcm.errors import DicomError, error_for
from fastdcm.sources._paths import StreamChunk
from fastdcm.sources.archives.limits import UnreadableMember
from fastdcm.sources.objects._object import Object, prefetch
from fastdcm.sources.objects.stores import locate, server_error
from fastdcm.sources.streams import SeekableStream

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from fastdcm.sources.protocols import RequestedPath, Stream

# The first 64 objects are returned one per chunk, the others up to 32 per chunk.
_SINGLE_OBJECTS, _MAX_OBJECTS = 64, 32
# Bytes that dcmread requests first: the header of almost any single frame.
_FIRST_READ = 16384


class ObjectSource:
    """The objects below a URL, or those that match it as a glob.

    They are in the order in which the server lists them: a bucket lists them by name. If there is
    nothing below the URL, it is that of one object. A listing that fails later ends with a
    row that has an error.

    Parameters
    ----------
    url : str
        A prefix such as ``s3://bucket/prefix/``, or a glob.
    recursive : bool
        Include the objects in folders below.
    """

    requested: list[RequestedPath] | None = None

    def __init__(self, url: str, recursive: bool = True) -> None:
        self.path = url
        self._recursive = recursive
        parts = url.split("/")
        fixed = next(
            (i for i, part in enumerate(parts) if i > 2 and any(c in part for c in "*?[")),
            len(parts),
        )
        self._pattern = parts[fixed:]
        self._base = "/".join(parts[:fixed]).rstrip("/") + "/"
        self._store, self._name = locate(self._base)
        self.supports_update = self._store.supports_update

    def start(self) -> ObjectReader:
        """Return a reader of the objects.

        It raises DicomError if there are none, or if they cannot be listed at all.
        """
        return ObjectReader(self._existing_streams())

    def _existing_streams(self) -> Iterator[Stream]:
        streams = self.streams()
        first = next(streams)
        if isinstance(first, UnreadableMember) and first.size is None:
            first.error.filename = self.path
            raise first.error
        yield first
        yield from streams

    def streams(self) -> Iterator[Stream]:
        """Iterate over the objects, as streams."""
        found = False
        try:
            for entry in self._store.list(self._name):
                url = self._base + entry[0]
                if not self._matches(entry[0]):
                    continue
                found = True
                if isinstance(entry[1], DicomError):
                    # An index lists it, and tries to read it.
                    yield UnreadableMember(os.fsencode(url), 0, 0, entry[1])
                else:
                    yield Object(url, entry[1], entry[2])
        except FileNotFoundError:
            pass
        except Exception as error:
            cause = server_error(error, self.path, "walk")
            yield self._unreadable(
                error_for("walk", f"the listing failed: {cause.text}", errno=cause.errno)
            )
            return
        if not found and (self._pattern or not self._name or self.path.endswith("/")):
            yield self._unreadable(
                error_for("open", "the URL matches no objects", errno=errno.ENOENT)
            )
        elif not found:
            yield Object(self.path)

    def _unreadable(self, error: DicomError) -> UnreadableMember:
        return UnreadableMember(os.fsencode(self.path), None, None, error)

    def _matches(self, name: str) -> bool:
        """Return whether an object is one of the source."""
        parts = name.split("/")
        if not self._pattern:
            return self._recursive or len(parts) == 1
        if "**" in self._pattern:
            return _matches(parts, self._pattern)
        depth = len(self._pattern)  # includes what is below a folder that matches
        return _matches(parts[:depth], self._pattern) and (
            self._recursive or len(parts) <= depth + 1
        )


def _matches(parts: list[str], pattern: list[str]) -> bool:
    if not pattern:
        return not parts
    if pattern[0] == "**":
        return any(_matches(parts[i:], pattern[1:]) for i in range(len(parts) + 1))
    return bool(parts) and fnmatchcase(parts[0], pattern[0]) and _matches(parts[1:], pattern[1:])


class ObjectReader:
    """Returns streams in chunks: of one at first, so that all threads get some, then of more.

    Parameters
    ----------
    streams : iterable of Stream
        The objects.
    """

    def __init__(self, streams: Iterable[Stream] = ()) -> None:
        self._streams = iter(streams)
        self._returned = 0

    def continue_with(self, streams: Iterable[Stream]) -> ObjectReader:
        """Read other streams next, in chunks that are as large as the last; return self."""
        self._streams = iter(streams)
        return self

    def read_chunk(self, max_paths: int) -> StreamChunk | None:
        """Return the next streams, at most `max_paths`, or None after the last."""
        count = _MAX_OBJECTS if self._returned >= _SINGLE_OBJECTS else 1
        streams = list(islice(self._streams, min(max_paths, count)))
        self._returned += len(streams)
        return StreamChunk(streams, prefetch) if streams else None


def open_url(url: str | bytes, size: int | None = None) -> SeekableStream:
    """Return an object as a file object, which threads may share.

    Parameters
    ----------
    url : str or bytes
        The URL of the object.
    size : int, optional
        Its size in bytes, as a scan reports it. Without it the first bytes are read at once;
        with it nothing is requested until something is read.

    Returns
    -------
    SeekableStream
        A file object for `dcmread`.

    Raises
    ------
    DicomError
        The object cannot be read.

    Examples
    --------
    >>> from fastdcm import dcmread
    >>> ds = dcmread(open_url("https://host/ct.dcm"))  # doctest: +SKIP
    """
    stream = Object(url, size)
    if size is None:
        stream.open(_FIRST_READ)
    return SeekableStream(stream)
