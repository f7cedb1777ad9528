"""Archives as sources, and paths that lead into them; URLs among paths.

What is stored in one piece becomes parts of the archive, which C reads as it
reads files. A deflated member of a zip is a stream of its own. A packed tar is
one stream from end to end: whoever takes from it unpacks it and keeps the first
bytes of each member in memory for the workers. Nothing grows with the number of
members, but 16 bytes for each that is passed in search of one by its name.

An archive has ``walk(place)``, which gives (place, member) from a place on and
raises DicomError where it is damaged, and ``item(member)``, which is what a
Worker takes: (name, offset, length) of a part, or a stream. A member is a tuple
that begins with its name and its size.
"""

import errno
import os
from array import array
from functools import lru_cache, partial
from itertools import groupby, islice
from threading import Lock

from fastdcm._chunks import (Chunk, Mixed, Seekable, Streams, chunk_of, is_archive, member_splits,
                             parts_of, path_bytes)
from fastdcm._core import File
from fastdcm.errors import DicomError, error_for
from fastdcm.members import Disk, Failed, cut_within, damaged
from fastdcm.remote import Object, ObjectTaker, is_url
from fastdcm.tars import PACKINGS, InTar, PackedTar, Tar, is_tar
from fastdcm.zips import Zip

SEVEN_ZIP = "7z archives are not read: unpack it first"
# In memory of the members of a packed tar: so many bytes to a chunk, and members.
_KEPT_ALL, _KEPT_MEMBERS = 4 << 20, 64


def open_archive(disk):
    """The Zip, Tar or PackedTar in a Disk whose path ends as an archive's does;
    None when it is none. Raises DicomError for one that cannot be read."""
    if not disk.regular:
        return None
    ending = disk.path.rpartition(b".")[2].lower()
    if ending == b"7z":
        if disk.read(0, 6) == b"7z\xbc\xaf\x27\x1c":
            raise damaged(SEVEN_ZIP)
        return None
    if ending == b"zip":
        archive = Zip(disk)
        return archive if archive.is_one else None
    if ending == b"tar":
        archive, block = Tar(disk), disk.read(0, 512)
    else:
        opener, beginnings = PACKINGS[ending]
        if not disk.read(0, 8).startswith(beginnings):
            return None
        archive = PackedTar(disk, opener)
        block = archive.cursor().read(0, 512)
        if len(block) < 512:
            raise damaged("the archive is cut, or no tar is in it")
    return archive if is_tar(block) else None


class _Known:
    """An archive, and where members of it are whose names were passed."""

    def __init__(self, archive):
        self.archive = archive
        self.walk = archive.walk()
        self.hashes, self.places = bytearray(), array("Q")
        self.damage = None  # met at the end
        self.lock = Lock()

    def find(self, name):
        """The first member of that name, as `item` takes it, or None."""
        wanted, at = _hash(name), -1
        with self.lock:
            while (at := self.hashes.find(wanted, at + 1)) >= 0:
                if at % 8 == 0:
                    for _, member in islice(self.archive.walk(self.places[at // 8]), 1):
                        if member[0] == name:
                            return member
            try:
                for place, member in self.walk:
                    self.hashes += _hash(member[0])
                    self.places.append(place)
                    if member[0] == name:
                        return member
            except DicomError as error:
                self.damage = error
            if self.damage is not None:  # the member may have been behind it
                raise self.damage
        return None


def _hash(name):
    return hash(name).to_bytes(8, "little", signed=True)


@lru_cache(4)
def _known(path, *state):
    """The _Known of a path, None when no archive is there. state: of the file, so
    that a changed one is opened anew."""
    archive = open_archive(Disk(path))
    return None if archive is None else _Known(archive)


if hasattr(os, "register_at_fork"):  # a lock that another thread held stays so in the child
    os.register_at_fork(after_in_child=_known.cache_clear)


def _find(path):
    """(archive, item) of a path that leads into an archive; None when it does not.
    Raises DicomError."""
    missing = False
    for place, name in member_splits(path):
        try:
            status = os.stat(place)
        except (OSError, ValueError):  # a NUL in it
            continue
        known = _known(place, status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
        if known is None:
            continue
        member = known.find(name)
        if member is not None:
            return known.archive, known.archive.item(member)
        missing = True
    if missing:
        raise error_for("open", "the archive has no such member", errno=errno.ENOENT)
    return None


def leads_into_archive(path):
    """Whether a path means a member of an archive that is there."""
    return any(os.path.isfile(archive) for archive, _ in member_splits(os.fsencode(path)))


def read_elsewhere(path, read):
    """``read(file)`` of the File that a path means which is none of the system's:
    one as a scan gives it (``file:///caf%E9.dcm``), or of a member of an archive.
    None when it means none. Raises DicomError for a member that cannot be read."""
    inner = path_bytes(path) if isinstance(path, str) else path
    if inner != os.fsencode(path) and os.path.lexists(inner):
        return read(File(os.fsdecode(inner)))
    try:
        found = _find(inner)
        if found is None:
            return None
        archive, item = found
        if type(item) is tuple:
            return read(File(archive.disk.path, item[1:], path))
        item.open(0)
        source = Seekable(item)
        source.name = os.fsdecode(path)
        level = read(File(source))
        item.guarded = False  # what is asked for from now on was asked for
        return level
    except DicomError as error:
        error.filename = path
        raise


# ------------------------------------------------------------------ takers ---


class Expanded:
    """A taker of paths as one of their rows: archives become their members, paths
    into archives what they mean, and URLs objects. Plain paths go through as they
    are."""

    def __init__(self, taker):
        self.taker = taker
        self.pieces = iter(())
        self.piece = None
        self.objects = ObjectTaker()

    def take(self, count):
        while True:
            if self.piece is not None:
                chunk = self.piece.take(count)
                if chunk is not None:
                    return chunk
            self.piece = next(self.pieces, None)
            if self.piece is None:
                chunk = self.taker.take(count)
                if not isinstance(chunk, Chunk):
                    return chunk
                urls = [i for i in chunk.urls() if is_url(chunk[i])]
                found = chunk.archives()
                if not urls and not found:
                    return chunk
                self.pieces = _with_urls(chunk, urls, self.objects) if urls else _pieces(chunk, found)


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
        if not os.path.lexists(path) and (found := _find(path)) is not None:
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
