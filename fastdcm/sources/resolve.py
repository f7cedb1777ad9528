"""Replace archives by their members, and URLs by objects, among the paths of a source.

A member that an archive stores uncompressed is a range of the file, which C reads like a
file. A deflated member of a zip is a stream of its own. A compressed tar is unpacked once,
from beginning to end, by the thread that requests the next chunk, which keeps the first bytes
of each member in memory for the workers.
"""

from __future__ import annotations

import os
from functools import partial
from itertools import groupby, islice
from typing import TYPE_CHECKING, cast

from fastdcm.errors import DicomError
from fastdcm.sources._paths import (
    DeferredChunk,
    PathChunk,
    StreamChunk,
    chunk_from_members,
    chunk_from_paths,
    is_archive,
    member_path,
    split_member_path,
)
from fastdcm.sources.archives.files import StreamFile
from fastdcm.sources.archives.limits import ArchiveFile, UnreadableMember, truncated_member
from fastdcm.sources.archives.lookup import archive_in, find_member, named_members, open_archive
from fastdcm.sources.archives.tar import PackedFile, PackedMember, PackedTar
from fastdcm.sources.objects._object import Object
from fastdcm.sources.objects.source import ObjectReader
from fastdcm.sources.urls import is_url

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Any, TypeAlias

    from fastdcm.sources.archives.lookup import AnyArchive
    from fastdcm.sources.protocols import (
        AnyChunk,
        PathReader,
        RandomAccessFile,
        StoredMember,
        Stream,
    )

    Prefetch: TypeAlias = Callable[[list[Stream], int], None]
    #: An archive, the name that a member of it has in paths, and the member.
    Entry: TypeAlias = tuple[AnyArchive, bytes, tuple[Any, ...]]
    #: A path, and what is read there: a range of the file at the path, a stream, or, if
    #: None, the file itself.
    Item: TypeAlias = tuple[bytes, StoredMember | Stream | None]

# A chunk of a compressed tar ends when this many bytes or members are in memory.
_MAX_PREFIX_BYTES, _MAX_PREFIXES = 4 << 20, 64
# How many paths are examined at once where some are URLs: chunks of those are small.
_URL_LOOKAHEAD = 256
# Bytes of an object to read first, to learn its size.
_FIRST_READ = 16384
# Members of archives behind URLs in a chunk: one thread reads them one after another.
_MAX_REMOTE = 8


class ResolvingReader:
    """A reader that returns the members of archives and the objects of URLs.

    It returns paths of plain files as they are (see `fastdcm.sources.protocols.PathReader`).

    Parameters
    ----------
    reader : PathReader
        The reader of the paths of a source.
    """

    def __init__(self, reader: PathReader) -> None:
        self._reader = reader
        self._readers: Iterator[PathReader] = iter(())  # of parts of one chunk
        self._current: PathReader | None = None
        self._objects = ObjectReader()
        self._lookahead = 0

    def read_chunk(self, max_paths: int) -> AnyChunk | None:
        """Return the next paths or streams, at most `max_paths`, or None after the last."""
        while True:
            if self._current is not None:
                resolved = self._current.read_chunk(max_paths)
                if resolved is not None:
                    return resolved
            self._current = next(self._readers, None)
            if self._current is None:
                chunk = self._reader.read_chunk(max(max_paths, self._lookahead))
                if isinstance(chunk, StreamChunk) and any(map(_may_be_archive, chunk.streams)):
                    self._readers = _readers_of_streams(chunk)
                    continue
                if not isinstance(chunk, PathChunk):
                    return chunk
                urls = chunk.urls()
                found = chunk.archives()
                if not urls and not found and len(chunk) <= max_paths:
                    return chunk
                self._lookahead = _URL_LOOKAHEAD if urls else 0
                if urls:
                    self._readers = _readers_with_urls(chunk, urls, self._objects)
                else:
                    self._readers = _readers(chunk, found)


def _readers_with_urls(
    chunk: PathChunk, urls: list[int], objects: ObjectReader
) -> Iterator[PathReader]:
    """Return readers of a chunk that has URLs at some positions, in order."""
    begin = 0
    for _, consecutive in groupby(enumerate(urls), lambda pair: pair[1] - pair[0]):
        positions = [position for _, position in consecutive]
        part = chunk.part(begin, positions[0])
        yield from _readers(part, part.archives())
        for kind, found in groupby((chunk[i] for i in positions), _kind_of_url):
            if kind == "archive":
                yield from (_remote_reader(Object(url)) for url in found)
            elif kind == "member":
                yield _ItemReader(found, _item_at, _MAX_REMOTE)
            else:
                yield objects.continue_with(map(Object, found))
        begin = positions[-1] + 1
    part = chunk.part(begin, len(chunk))
    yield from _readers(part, part.archives())


def _kind_of_url(url: bytes) -> str:
    if split_member_path(url):
        return "member"
    return "archive" if is_archive(url) else "object"


def _may_be_archive(stream: Stream) -> bool:
    return isinstance(stream, Object) and is_archive(stream.path)


def _readers_of_streams(chunk: StreamChunk) -> Iterator[PathReader]:
    """Return readers of a chunk of objects, some of which may be archives, in order."""
    for are_archives, streams in groupby(chunk.streams, _may_be_archive):
        if are_archives:
            yield from map(_remote_reader, streams)
        else:
            yield _StreamReader(streams, chunk.prefetch)


def _remote_reader(stream: Stream) -> PathReader:
    """Return a reader of the members of an object, or of the object if it is not an archive."""
    try:
        stream.open(_FIRST_READ)
        file = StreamFile(stream)
    except DicomError as error:
        return _StreamReader([UnreadableMember(stream.path, None, None, error)])
    reader = _members_reader(file, _MAX_REMOTE)
    return reader or _StreamReader([Object(stream.path)])


class _StreamReader:
    """Returns streams."""

    def __init__(self, streams: Iterable[Stream], prefetch: Prefetch | None = None) -> None:
        self._streams, self._prefetch = iter(streams), prefetch

    def read_chunk(self, max_paths: int) -> StreamChunk | None:
        streams = list(islice(self._streams, max_paths))
        return StreamChunk(streams, self._prefetch) if streams else None


def _readers(chunk: PathChunk, found: list[tuple[int, bytes]]) -> Iterator[PathReader]:
    """Return readers of a chunk of local paths, in order.

    found : what `PathChunk.archives` returns.
    """
    begin = 0  # the first path that has no reader yet
    members: list[bytes] = []  # paths of members in front of it that have no reader yet
    for i, path in found:
        reader = None
        is_member = split_member_path(path) and not (is_archive(path) and os.path.lexists(path))
        if not is_member and (reader := _archive_reader(path)) is None:
            continue  # a file that is not an archive
        if members and (i > begin or not is_member):
            yield _ItemReader(iter(members), _item_at)
            members = []
        if i > begin:
            yield _PartReader(chunk, begin, i)
        if reader is None:
            members.append(path)
        else:
            yield reader
        begin = i + 1
    if members:
        yield _ItemReader(iter(members), _item_at)
    if begin < len(chunk):
        yield _PartReader(chunk, begin, len(chunk))


class _PartReader:
    """Returns the paths of a part of a chunk."""

    def __init__(self, chunk: PathChunk, begin: int, end: int) -> None:
        self._chunk, self._begin, self._end = chunk, begin, end

    def read_chunk(self, max_paths: int) -> PathChunk | None:
        begin = self._begin
        self._begin = min(begin + max_paths, self._end)
        return self._chunk.part(begin, self._begin) if begin < self._end else None


def _archive_reader(path: bytes) -> PathReader | None:
    """Return a reader of the members of an archive, or None if the file is not an archive."""
    try:
        file = ArchiveFile(path)
    except OSError:
        return None
    return _members_reader(file) if file.is_regular else None


def _members_reader(file: RandomAccessFile, most: int | None = None) -> PathReader | None:
    """Return a reader of the members of an archive, or None if the file is not an archive.

    most : the most members in a chunk.
    """
    try:
        archive = open_archive(file)
    except DicomError as error:
        return _StreamReader([_unreadable(file, error)])
    if archive is None:
        return None
    if isinstance(archive, PackedTar) and not isinstance(archive, PackedFile):
        return _PackedTarReader(archive)
    return _ItemReader(_entries(archive, archive.walk()), _item_of, most)


def _entries(
    archive: AnyArchive, walk: Iterator[tuple[int, Any]], depth: int = 1
) -> Iterator[Entry | UnreadableMember]:
    """Iterate over the members of an archive, and at the end its damage, if there is any.

    A member that is an archive is replaced by its members.
    """
    try:
        for _, name, member in named_members(walk):
            if is_archive(name):
                yield from _nested_entries(archive, name, member, depth + 1)
            else:
                yield archive, name, member
    except DicomError as error:
        yield _unreadable(archive.file, error)


def _nested_entries(
    archive: AnyArchive, name: bytes, member: tuple[Any, ...], depth: int
) -> Iterator[Entry | UnreadableMember]:
    """Iterate over the members of a member, or over itself if it is not an archive."""
    try:
        inner = archive_in(archive.item(member, name), archive, depth)
    except DicomError as error:
        path = member_path(archive.file.path, name)
        yield UnreadableMember(path, member[1], archive.file.mtime_ns, error)
        return
    if inner is None:
        yield archive, name, member
    else:
        yield from _entries(inner, inner.walk(), depth)


def _item_of(entry: Entry | UnreadableMember) -> Item:
    """Return the item of an entry of an archive."""
    if isinstance(entry, UnreadableMember):
        return entry.path, entry
    archive, name, member = entry
    return archive.file.path, archive.item(member, name)


def _unreadable(file: RandomAccessFile, error: DicomError) -> UnreadableMember:
    """Return the stream of an archive that is damaged."""
    return UnreadableMember(file.path, file.size, file.mtime_ns, error)


def _item_at(path: bytes) -> Item:
    """Return the item of a path that may lead into an archive."""
    try:
        if not os.path.lexists(path) and (found := find_member(path)) is not None:
            archive, item = found
            return archive.file.path, item
        return path, Object(path) if is_url(path) else None
    except DicomError as error:
        return path, UnreadableMember(path, None, None, error)


class _ItemReader:
    """Returns members or paths, which become items when a worker reads them."""

    def __init__(
        self, members: Iterator[Any], to_item: Callable[[Any], Item], most: int | None = None
    ) -> None:
        self._members, self._to_item, self._most = members, to_item, most

    def read_chunk(self, max_paths: int) -> DeferredChunk | None:
        count = min(max_paths, self._most or max_paths)
        members = list(islice(self._members, count))
        if not members:
            return None
        return DeferredChunk(len(members), partial(_chunks, map(self._to_item, members)))


def _chunks(items: Iterable[Item]) -> Iterator[PathChunk | StreamChunk]:
    """Return the items as chunks, in order."""
    for (kind, path), group in groupby(items, _kind_of):
        found = [item for _, item in group]
        if kind == "stored":
            yield chunk_from_members(path, cast("list[StoredMember]", found))
        elif kind == "path":
            yield chunk_from_paths([path] * len(found))
        else:
            yield StreamChunk(cast("list[Stream]", found))


def _kind_of(one: Item) -> tuple[str, bytes]:
    """Return what items must have in common to be in one chunk."""
    path, item = one
    if item is None:
        return "path", path
    return ("stored", path) if isinstance(item, tuple) else ("stream", b"")


class _PackedTarReader:
    """Returns the members of a compressed tar, with the first bytes of each."""

    def __init__(self, archive: PackedTar) -> None:
        self._archive = archive
        self._cursor = archive.cursor()
        self._entries = _entries(archive, archive.walk(0, self._cursor.read))

    def read_chunk(self, max_paths: int) -> StreamChunk | None:
        streams: list[Stream] = []
        prefix_bytes = 0
        while len(streams) < min(max_paths, _MAX_PREFIXES) and prefix_bytes < _MAX_PREFIX_BYTES:
            entry = next(self._entries, None)
            if entry is None:
                break
            stream = self._stream(entry)
            streams.append(stream)
            if isinstance(stream, PackedMember):
                prefix_bytes += len(stream.prefix)
        self._archive.set_scanned(self._cursor.position)
        return StreamChunk(streams) if streams else None

    def _stream(self, entry: Entry | UnreadableMember) -> Stream:
        """Return the stream of a member, with its prefix, or of the damage of the archive."""
        _, stream = _item_of(entry)
        assert stream is not None
        assert not isinstance(stream, tuple)  # no member is a range of a local file
        if not isinstance(stream, PackedMember) or stream.archive is not self._archive:
            return stream
        length = min(stream.size, self._archive.prefix_size)
        try:
            stream.prefix = self._cursor.read(stream.begin, length)
            if len(stream.prefix) < length:
                raise truncated_member(stream.begin)
        except DicomError as error:
            return UnreadableMember(stream.path, stream.size, stream.mtime_ns, error)
        return stream
