"""What paths mean: archives become their members, paths into archives what is
there, and URLs objects.

What is stored in one piece becomes parts of the archive, which C reads as it
reads files. A deflated member of a zip is a stream of its own. A packed tar is
one stream from end to end: whoever takes from it unpacks it and keeps the first
bytes of each member in memory for the workers.
"""

import os
from functools import partial
from itertools import groupby, islice

from fastdcm.errors import DicomError
from fastdcm.sources._paths import (
    Chunk,
    Mixed,
    Streams,
    chunk_of,
    is_archive,
    member_splits,
    parts_of,
)
from fastdcm.sources.archives.limits import Disk, Failed, cut_within
from fastdcm.sources.archives.lookup import find_member, open_archive
from fastdcm.sources.archives.tar import InTar, PackedTar
from fastdcm.sources.objects._object import Object
from fastdcm.sources.objects.source import ObjectTaker

# In memory of the members of a packed tar: so many bytes to a chunk, and members.
_KEPT_ALL, _KEPT_MEMBERS = 4 << 20, 64
# Paths that are looked at at once where there are URLs, whose pieces are small.
_AHEAD = 256


class Expanded:
    """A taker of paths as one of their rows: archives become their members, paths
    into archives what they mean, and URLs objects. Plain paths go through as they
    are."""

    def __init__(self, taker):
        self.taker = taker
        self.pieces = iter(())
        self.piece = None
        self.objects = ObjectTaker()
        self.ahead = 0

    def take(self, count):
        while True:
            if self.piece is not None:
                chunk = self.piece.take(count)
                if chunk is not None:
                    return chunk
            self.piece = next(self.pieces, None)
            if self.piece is None:
                chunk = self.taker.take(max(count, self.ahead))
                if not isinstance(chunk, Chunk):
                    return chunk
                urls = chunk.urls()
                found = chunk.archives()
                if not urls and not found and len(chunk) <= count:
                    return chunk
                self.ahead = _AHEAD if urls else 0
                self.pieces = (
                    _with_urls(chunk, urls, self.objects) if urls else _pieces(chunk, found)
                )


def _with_urls(chunk, urls, objects):
    """Takers of what stands in a Chunk with URLs at these positions."""
    begin = 0
    for _, run in groupby(enumerate(urls), lambda one: one[1] - one[0]):  # of neighbours
        run = [i for _, i in run]
        part = chunk.part(begin, run[0])
        yield from _pieces(part, part.archives())
        yield objects.over(Object(chunk[i]) for i in run)
        begin = run[-1] + 1
    part = chunk.part(begin, len(chunk))
    yield from _pieces(part, part.archives())


def _pieces(chunk, found):
    """Takers of what stands in a Chunk, in its order."""
    begin, inner = 0, []  # of plain paths, and paths of members that no taker was made of
    for i, path in found:
        taker = None
        inside = member_splits(path) and not (is_archive(path) and os.path.lexists(path))
        if not inside and (taker := _taker_of(path)) is None:
            continue  # a plain file
        if inner and (i > begin or not inside):
            yield _Lot(iter(inner), _item_at)
            inner = []
        if i > begin:
            yield _Plain(chunk, begin, i)
        if inside:
            inner.append(path)
        else:
            yield taker
        begin = i + 1
    if inner:
        yield _Lot(iter(inner), _item_at)
    if begin < len(chunk):
        yield _Plain(chunk, begin, len(chunk))


class _Plain:
    """A part of a Chunk."""

    def __init__(self, chunk, begin, end):
        self.chunk, self.begin, self.end = chunk, begin, end

    def take(self, count):
        begin = self.begin
        self.begin = min(begin + count, self.end)
        return self.chunk.part(begin, self.begin) if begin < self.end else None


def _taker_of(path):
    """The taker of an archive's members; None when there is none."""
    try:
        disk = Disk(path)
    except OSError:
        return None
    try:
        archive = open_archive(disk)
    except DicomError as error:
        return _Lot(iter([error]), partial(_item_of, disk, None))
    if archive is None:
        return None
    if isinstance(archive, PackedTar):
        return _Packed(archive)
    return _Lot(_or_error(archive.walk()), partial(_item_of, disk, archive))


def _or_error(members):
    """The members, and in the end the damage, if there is any."""
    try:
        for _, member in members:
            yield member
    except DicomError as error:
        yield error


def _item_of(disk, archive, member):
    """(path of the archive, item)"""
    if isinstance(member, Exception):
        return disk.path, Failed(disk.path, disk.size, disk.mtime_ns, member)
    return disk.path, archive.item(member)


def _item_at(path):
    """(path of the archive, item) of a path; (the path, None) when it leads into none."""
    try:
        if not os.path.lexists(path) and (found := find_member(path)) is not None:
            archive, item = found
            return archive.disk.path, item
        return path, None
    except DicomError as error:
        return path, Failed(path, 0, 0, error)


class _Lot:
    """Members or paths, made into items where they are read: by `item`, which
    gives (path of the archive, item)."""

    def __init__(self, members, item):
        self.members, self.item = members, item

    def take(self, count):
        members = list(islice(self.members, count))
        return Mixed(len(members), partial(_chunks, map(self.item, members))) if members else None


def _chunks(items):
    """Chunks and Streams of (path, item)."""
    for (kind, path), group in groupby(items, _kind_of):
        items = [item for _, item in group]
        if kind == "part":
            yield parts_of(path, items)
        elif kind == "path":
            yield chunk_of([path] * len(items))
        else:
            yield Streams(items)


def _kind_of(one):
    path, item = one
    if item is None:
        return "path", path
    return ("part", path) if type(item) is tuple else ("stream", None)


class _Packed:
    """The members of a packed tar, with the first bytes of each."""

    def __init__(self, archive):
        self.archive = archive
        self.cursor = archive.cursor()
        self.members = _or_error(archive.walk(0, self.cursor.read))

    def take(self, count):
        archive, streams, kept = self.archive, [], 0
        while len(streams) < min(count, _KEPT_MEMBERS) and kept < _KEPT_ALL:
            member = next(self.members, None)
            if member is None:
                break
            _, stream = _item_of(archive.disk, archive, member)
            if isinstance(stream, InTar):
                stream = self.filled(stream)
                kept += len(stream.kept)
            streams.append(stream)
        archive.passed(self.cursor.at)
        return Streams(streams) if streams else None

    def filled(self, stream):
        wanted = min(stream.size, self.archive.keep)
        try:
            stream.kept = self.cursor.read(stream.begin, wanted)
            if len(stream.kept) < wanted:
                raise cut_within(stream.begin)
        except DicomError as error:
            stream = Failed(stream.path, stream.size, stream.mtime_ns, error)
        return stream
