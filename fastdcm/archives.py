"""Members of archives: zip, tar and packed tar, read where they stand.

What is stored in one piece becomes parts of the archive, which C reads as it
reads files. A deflated member of a zip is a stream of its own. A packed tar is
one stream from end to end: whoever takes from it unpacks it and keeps the first
bytes of each member in memory for the workers.

Nothing here grows with the number of members, but 16 bytes for each name that
was passed on the way to a member asked for by its path.

An archive has ``walk(at)``, which gives (place, member) from a place on and
raises DicomError where it is damaged, and ``item(member)``, which is what a
Worker takes: (name, offset, length) of a part, or a stream. A member begins
with its name and its size.
"""

import errno
import os
import stat
import struct
import zlib
from array import array
from functools import lru_cache, partial
from itertools import groupby, islice
from threading import Lock

from fastdcm._columns import (Chunk, Mixed, Seekable, Streams, chunk_of, is_archive, member_path,
                              member_splits, parts_of, path_bytes)
from fastdcm._core import File
from fastdcm.errors import DicomError, error_for
from fastdcm.threads import cores

# What no honest archive has.
MOST_MEMBERS = 4_000_000
MOST_NAME = 4096            # bytes
_MOST_EXTENDED = 1 << 20    # bytes of a tar's header with a long name or attributes
# Bytes of one member in memory for its header, and how many times its packed size.
_HEADER, _HEADER_RATIO = 16 << 20, 100
# A packed tar in all. Deflate can do 1 : 1032 with what is zero.
_DEFLATE_MOST = 1032
_UNPACKED, _UNPACKED_RATIO = 4 << 30, _DEFLATE_MOST

# Of each member of a packed tar that many bytes are in memory at first, more
# once headers need it; of all members in a chunk together about _KEPT_ALL.
_KEPT, _KEPT_MOST, _KEPT_ALL, _KEPT_MEMBERS = 64 << 10, 4 << 20, 4 << 20, 64
# Headers that need more than that are unpacked a second time, by a few cursors
# that only go forward: so often at most is the tar unpacked in all for them.
_PASSES, _PASSES_FREE = 8, 1 << 30

_BLOCK = 256 << 10
SEVEN_ZIP = "7z archives are not read: unpack it first"


def _damaged(text, offset=None):
    return error_for("archive", text, offset)


def _cut_within(offset):
    return _damaged("the archive is cut or damaged within the member", offset)


def _beyond(text, offset=None):
    return error_for("archive-limit", text, offset)


class _Disk:
    """An archive's file: positioned reads, which threads can share."""

    def __init__(self, path):
        self.path = path
        # A FIFO without a writer must not block us.
        flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
        self.handle = os.open(path, flags)
        status = os.fstat(self.handle)
        self.regular = stat.S_ISREG(status.st_mode)
        self.size, self.mtime_ns = status.st_size, status.st_mtime_ns
        self.lock = Lock()

    def __del__(self):
        if hasattr(self, "handle"):
            os.close(self.handle)

    def read(self, offset, length):
        """The bytes of [offset, offset + length), fewer at the end."""
        if offset >= self.size or length <= 0:
            return b""
        if hasattr(os, "pread"):
            return os.pread(self.handle, length, offset)
        with self.lock:
            os.lseek(self.handle, offset, os.SEEK_SET)
            return os.read(self.handle, length)


# ----------------------------------------------------------------- streams ---


class _Failed:
    """What cannot be read: a member, or the archive itself."""

    kept = b""

    def __init__(self, path, size, mtime_ns, error):
        self.path, self.size, self.mtime_ns, self.error = path, size, mtime_ns, error

    def open(self, first):
        if not self.size:
            raise self.error

    def read(self, offset, length):
        raise self.error

    def close(self):
        pass


class _Stream:
    """A member that has to be unpacked. `unpacked` gives its bytes; `packed` is
    how many of the archive were read for them.

    guarded : whether what is read is a header, which has a measure.
    """

    def __init__(self, path, size, mtime_ns, kept=b""):
        self.path, self.size, self.mtime_ns, self.kept = path, size, mtime_ns, kept
        self.guarded, self.given = True, 0
        self.lock = Lock()

    def open(self, first):
        pass

    def close(self):
        pass

    def read(self, offset, length):
        with self.lock:
            if offset + length <= len(self.kept):
                data = self.kept[offset:offset + length]
            else:
                data = self.unpacked(offset, length)
            self.given += length
            if len(data) < length:
                raise _cut_within(offset + len(data))
            self.measure(self.given)
        return data

    def measure(self, count):
        if self.guarded and count > _HEADER and count > _HEADER_RATIO * self.packed:
            raise _beyond(f"more than {_HEADER >> 20} MiB were unpacked for its header")


class _Deflated(_Stream):
    """A deflated member of a zip, inflated as far as it is asked for."""

    def __init__(self, path, size, disk, begin, packed):
        super().__init__(path, size, disk.mtime_ns)
        self.disk, self.begin, self.length = disk, begin, packed
        self.restart()

    def restart(self):
        self.inflater = zlib.decompressobj(-15)
        self.tail = b""         # read, not inflated yet
        self.at = self.packed = 0

    def unpacked(self, offset, length):
        if offset < self.at:
            self.restart()
        parts = []
        while self.at < offset + length:
            before = self.at
            most = offset - before if before < offset else offset + length - before
            data = self.more(min(most, _BLOCK), length)
            if not data:
                break
            if before >= offset:
                parts.append(data)
            else:
                self.measure(self.at)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def more(self, most, wanted):
        """Some of the next bytes, b"" behind the last."""
        while not self.inflater.eof:
            if not self.tail:
                count = min(max(wanted, 4096), _BLOCK, self.length - self.packed)
                self.tail = self.disk.read(self.begin + self.packed, count)
                self.packed += len(self.tail)
            ended = not self.tail  # and yet the inflater may hold some back
            try:
                data = self.inflater.decompress(self.tail, most)
            except zlib.error as error:
                raise _damaged(f"the member is damaged: {error}", self.at) from None
            self.tail = self.inflater.unconsumed_tail
            self.at += len(data)
            if data or ended:
                return data
        return b""


class _InTar(_Stream):
    """A member of a packed tar, its first bytes in memory."""

    def __init__(self, path, size, disk, packing, begin, kept=b""):
        super().__init__(path, size, disk.mtime_ns, kept)
        self.packing, self.begin, self.packed = packing, begin, disk.size

    def unpacked(self, offset, length):
        if self.guarded:
            self.packing.keep_more(offset + length)
        return self.packing.read(self.begin + offset, length)


# --------------------------------------------------------------------- zip ---

_LOCAL, _CENTRAL, _END, _DESCRIPTOR = b"PK\3\4", b"PK\1\2", b"PK\5\6", b"PK\7\x08"
_local = struct.Struct("<4s2xHH8xLLHH").unpack_from         # flags, method, packed, size, lengths of name, extra
_central = struct.Struct("<4sxBxxHH8xLLHHHxxxxLL").unpack_from
_end = struct.Struct("<4s6xHLLH").unpack_from               # members, length and offset of the directory, comment
_end64 = struct.Struct("<4s28xQQQ").unpack_from
_ENCRYPTED = 0x2041     # flags: encrypted, strongly, or its headers are
_METHODS = {1: "shrunk", 6: "imploded", 9: "Deflate64", 12: "bzip2", 14: "LZMA", 93: "Zstandard", 95: "XZ",
            98: "PPMd"}


class Zip:
    """A zip: its members in the order of its directory. Where that is missing
    those before the cut, in the order of their bytes.

    A member is (name, size, place of its local header, packed size, method or
    None when it is encrypted).
    """

    def __init__(self, disk):
        self.disk = disk
        self.find_directory()
        self.walk = self.walk_directory if self.directory is not None else self.walk_local

    def find_directory(self):
        """Sets where the directory is, how many members it should have, and
        how many bytes stand before what it counts from."""
        self.directory = None
        start = max(self.disk.size - 22 - 0xFFFF, 0)
        tail = self.disk.read(start, 22 + 0xFFFF)
        at = len(tail) - 21
        while (at := tail.rfind(_END, 0, max(at + 3, 0))) >= 0:
            if at + 22 <= len(tail):
                _, count, length, offset, comment = _end(tail, at)
                if at + 22 + comment <= len(tail):
                    break
        else:
            return
        self.count, end = count, start + at
        found = self.end64(tail, at, start)
        if found is not None:
            end, self.count, length, offset = found
        for before in (end - length - offset, 0):
            self.directory, self.end, self.before = before + offset, before + offset + length, before
            if before >= 0 and (not length or self.disk.read(self.directory, 4) == _CENTRAL):
                return
        self.directory = None

    def end64(self, tail, at, start):
        """(where it stands, members, length and offset of the directory) of the
        record for large zips that may stand before the end record."""
        if at < 20 or tail[at - 20:at - 16] != b"PK\6\7":
            return None
        told = int.from_bytes(tail[at - 12:at - 4], "little")
        for place in (start + at - 20 - 56, told):
            record = self.disk.read(place, 56)
            if len(record) == 56 and record[:4] == b"PK\6\6":
                return place, *_end64(record)[1:]
        return None

    def walk_directory(self, at=None):
        begin, count, total = at, 0, 0
        at = self.directory if at is None else at
        data, pos = b"", 0  # what is in memory of the directory, from `at` on
        while at + pos < self.end:
            if len(data) - pos < 46 + 2 * 0xFFFF and at + len(data) < self.end:
                at, data, pos = at + pos, data[pos:], 0
                data += self.disk.read(at + len(data), min(_BLOCK, self.end - at - len(data)))
            place = at + pos
            if len(data) - pos < 46:
                raise _damaged("the zip's directory is cut", place)
            (mark, system, flags, method, packed, size, n_name, n_extra, n_comment, attributes,
             offset) = _central(data, pos)
            pos += 46
            name, extra = data[pos:pos + n_name], data[pos + n_name:pos + n_name + n_extra]
            pos += n_name + n_extra + n_comment
            if mark != _CENTRAL or len(name) + len(extra) < n_name + n_extra:
                raise _damaged("the zip's directory is damaged", place)
            if 0xFFFFFFFF in (packed, size, offset):
                size, packed, offset = _large(extra, size, packed, offset)
            count += 1
            total += 30 + packed
            _check_member(count, name, place)
            if total > self.disk.size:
                raise _beyond("members of the zip overlap, or it was cut", place)
            # A folder, or what Unix knows and is no file (a link).
            kind = stat.S_IFMT(attributes >> 16) if system == 3 else 0
            if name.endswith(b"/") or attributes & 16 and not size or kind not in (0, stat.S_IFREG):
                continue
            yield place, (name, size, self.before + offset, packed, None if flags & _ENCRYPTED else method)
        if begin is None and (count - self.count) & 0xFFFF:
            raise _damaged(f"the zip's directory has {count:,} members, not {self.count:,}", self.end)

    def walk_local(self, at=0):
        count = 0
        while True:
            head = self.disk.read(at, 30)
            if len(head) < 30 or head[:4] != _LOCAL:
                raise _damaged("the zip's directory is missing: it was cut or damaged", at)
            _, flags, method, packed, size, n_name, n_extra = _local(head)
            name = self.disk.read(at + 30, n_name)
            begin = at + 30 + n_name + n_extra
            if 0xFFFFFFFF in (packed, size):
                extra = self.disk.read(at + 30 + n_name, n_extra)
                size, packed, _ = _large(extra, size, packed, 0)
            end = begin + packed
            if flags & 8 and not packed:
                packed, size, end = self.descriptor(begin)
            if end > self.disk.size:
                raise _damaged("the zip is cut within a member", at)
            count += 1
            _check_member(count, name, at)
            if not name.endswith(b"/"):
                yield at, (name, size, at, packed, None if flags & _ENCRYPTED else method)
            at = end

    def descriptor(self, begin):
        """(packed size, size, end) of a member whose sizes stand behind it."""
        at, data = begin, b""
        while block := self.disk.read(at + len(data), _BLOCK):
            data += block
            found = -1
            while (found := data.find(_DESCRIPTOR, found + 1)) >= 0 and len(data) - found >= 16:
                for form, length in (("<LL", 16), ("<QQ", 24)):
                    if len(data) - found >= length:
                        packed, size = struct.unpack_from(form, data, found + 8)
                        if packed == at + found - begin:
                            return packed, size, at + found + length
            at, data = at + max(len(data) - 23, 0), data[-23:]
        raise _damaged("the zip is cut within a member", begin)

    def item(self, member):
        name, size, place, packed, method = member
        path = member_path(self.disk.path, name)
        try:
            if method is None:
                raise _damaged("the member is encrypted", place)
            if method not in (0, 8):
                raise _damaged(f"the member is packed by method {method} "
                               f"({_METHODS.get(method, 'unknown')}), which is not read", place)
            head = self.disk.read(place, 30 + len(name))
            if len(head) < 30 or head[:4] != _LOCAL or head[30:] != name:
                raise _damaged("the member does not stand where the zip's directory says", place)
            # The directory's own extra field may have another length.
            begin = place + 30 + sum(_local(head)[5:])
            if begin + packed > self.disk.size or (
                    size > _DEFLATE_MOST * packed if method else size != packed):
                raise _damaged("the zip does not hold as many bytes as the member should have", place)
        except (DicomError, OSError) as error:
            return _Failed(path, size, self.disk.mtime_ns, error)
        if method == 0:
            return name, begin, size
        return _Deflated(path, size, self.disk, begin, packed)


def _large(extra, size, packed, offset):
    """What stands in the extra field for large zips, for those that are -1."""
    values = [size, packed, offset]
    at = 0
    while at + 4 <= len(extra):
        kind, length = struct.unpack_from("<HH", extra, at)
        at += 4
        if kind == 1:
            for i, value in enumerate(values):
                if value == 0xFFFFFFFF and length >= 8 and at + 8 <= len(extra):
                    values[i] = int.from_bytes(extra[at:at + 8], "little")
                    at, length = at + 8, length - 8
            break
        at += length
    return values


def _check_member(count, name, place):
    if count > MOST_MEMBERS:
        raise _beyond(f"the archive holds more than {MOST_MEMBERS:,} members", place)
    if len(name) > MOST_NAME:
        raise _beyond(f"the name of a member has {len(name):,} bytes", place)


# --------------------------------------------------------------------- tar ---

_ZEROS = bytes(512)
_FILES, _LINKS = b"0\x007S", b"123456"     # types that are files, and those that have no bytes
_LONG, _ATTRIBUTES, _EXTENDED = b"L", b"xX", b"LKxXg"   # K: a link's name, g: of all members
_MOST_SIZE = 1 << 60


def _number(field):
    """Octal digits, or binary in GNU's way."""
    if field[0] & 0x80:
        return int.from_bytes(field, "big", signed=True) + (1 << 8 * len(field) - 1)
    return int(field.split(b"\0")[0].strip() or b"0", 8)


def _tar_header(block, at):
    """(name, size, type) of a header block."""
    try:
        stated = _number(block[148:156])
        total = sum(block) - sum(block[148:156]) + 8 * 32
        if total != stated and total - 256 * sum(c > 127 for c in block[:148] + block[156:]) != stated:
            raise ValueError
        size = _number(block[124:136])
        if not 0 <= size < _MOST_SIZE:
            raise ValueError
    except ValueError:
        raise _damaged("no header of a tar's member stands where one should", at) from None
    name = block[:100].split(b"\0")[0]
    if block[257:263] == b"ustar\0" and block[345]:
        name = block[345:500].split(b"\0")[0] + b"/" + name
    return name, size, block[156:157]


def _attributes(data):
    """The records of a PAX header (POSIX pax, "pax Header Block")."""
    found, at = {}, 0
    while at < len(data):
        length, space, _ = data[at:at + 20].partition(b" ")
        if not space or not length.isdigit() or not 0 < int(length) <= len(data) - at:
            break
        key, _, value = data[at + len(length) + 1:at + int(length) - 1].partition(b"=")
        found[key] = value
        at += int(length)
    return found


class Tar:
    """A plain tar. A member is (name, size, place of its bytes, whether it is
    sparse)."""

    def __init__(self, disk):
        self.disk = disk

    def read(self, offset, length):
        return self.disk.read(offset, length)

    def walk(self, at=0, read=None):
        read = read or self.read
        place, long_name, told = at, None, {}
        count = 0
        while True:
            block = read(at, 512)
            if block == _ZEROS:
                return
            if len(block) < 512:
                raise _damaged("the tar has no end: it was cut or damaged", at)
            name, size, kind = _tar_header(block, at)
            at += 512
            count += 1
            if kind in _EXTENDED:
                if size > _MOST_EXTENDED:
                    raise _beyond(f"a header of the tar has {size:,} bytes", at)
                data = read(at, size)
                at += size + -size % 512
                if kind in _LONG:
                    long_name = data.split(b"\0")[0]
                elif kind in _ATTRIBUTES:
                    told = _attributes(data)
                continue
            sparse = kind == b"S" or any(key.startswith(b"GNU.sparse.") for key in told)
            extended = block[482] if kind == b"S" else 0
            while extended:  # a map of holes goes on behind the header
                block = read(at, 512)
                if len(block) < 512:
                    raise _damaged("the tar is cut within a header", at)
                extended = block[504]
                at += 512
            name = told.get(b"GNU.sparse.name") or told.get(b"path") or long_name or name
            while name.startswith(b"./"):  # `tar c .` names them so
                name = name[2:]
            if (digits := told.get(b"size", b"")).isdigit() and len(digits) < 19:
                size = int(digits)
            _check_member(count, name, place)
            if kind in _FILES and not (kind == b"\0" and name.endswith(b"/")):
                yield place, (name, size, at, sparse)
            if kind not in _LINKS:
                at += size + -size % 512
            place, long_name, told = at, None, {}

    def item(self, member):
        name, size, begin, sparse = member
        path = member_path(self.disk.path, name)
        if sparse:
            return _Failed(path, size, self.disk.mtime_ns, _damaged("the member is sparse", begin))
        return self.at_place(name, path, size, begin)

    def at_place(self, name, path, size, begin):
        if begin + size > self.disk.size:
            return _Failed(path, size, self.disk.mtime_ns,
                           _cut_within(begin))
        return name, begin, size


class PackedTar(Tar):
    """A tar that is packed as a whole. Places count in the unpacked bytes."""

    def __init__(self, disk, opener):
        super().__init__(disk)
        self.opener = opener
        self.idle = []              # cursors
        self.keep = _KEPT
        self.allowed, self.spent = None, 0

    def cursor(self):
        return _Cursor(self.disk, self.opener)

    def keep_more(self, count):
        """Of the members to come keep as much as one needed."""
        self.keep = max(self.keep, min(2 * count, _KEPT_MOST))

    def read(self, offset, length):
        """By the idle cursor that is nearest, or by a new one."""
        if self.allowed is not None and self.spent > self.allowed:
            raise _beyond("too much of the archive had to be unpacked again for headers beyond "
                          f"{self.keep >> 10} KiB")
        cursor = max((c for c in self.idle[:] if c.at <= offset), key=lambda c: c.at, default=None)
        try:
            self.idle.remove(cursor)
        except ValueError:  # none, or another thread was faster
            cursor = self.cursor()
        before = cursor.at
        data = cursor.read(offset, length)
        self.spent += cursor.at - before
        self.idle = [*self.idle[-3:], cursor]
        return data

    def at_place(self, name, path, size, begin):
        return _InTar(path, size, self.disk, self, begin)


class _Cursor:
    """One way through a packed file, forward."""

    def __init__(self, disk, opener):
        self.raw = _Raw(disk)
        self.file = opener(self.raw)
        self.at, self.failed = 0, None

    def read(self, offset, length):
        """Those bytes, fewer at the end."""
        while self.at < offset:
            if not self.some(min(offset - self.at, _BLOCK)):
                return b""
        parts = []
        while length and (data := self.some(min(length, _BLOCK))):
            parts.append(data)
            length -= len(data)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def some(self, length):
        if self.failed is not None:
            raise self.failed
        try:
            data = self.file.read(length)
        except Exception as error:  # each packing has errors of its own
            self.failed = _damaged(f"the archive cannot be unpacked further: {error}", self.raw.at)
            raise self.failed from None
        self.at += len(data)
        if self.at > _UNPACKED and self.at > _UNPACKED_RATIO * self.raw.at:
            raise _beyond(f"the archive unpacks to more than {_UNPACKED_RATIO} times its size", self.raw.at)
        return data


class _Raw:
    """A _Disk as a file object for those that unpack."""

    def __init__(self, disk):
        self.disk, self.at = disk, 0

    def read(self, size=-1):
        data = self.disk.read(self.at, self.disk.size - self.at if size is None or size < 0 else size)
        self.at += len(data)
        return data


def _gzip(raw):
    import gzip

    return gzip.GzipFile(fileobj=raw)


def _bzip2(raw):
    import bz2

    return bz2.BZ2File(raw)


def _xz(raw):
    import lzma

    return lzma.LZMAFile(raw)


def _zstandard(raw):
    try:
        from compression.zstd import ZstdFile  # Python 3.14
    except ImportError:
        try:
            from zstandard import ZstdDecompressor
        except ImportError:
            raise _damaged("this needs zstandard: pip install 'fastdcm-dicom[archives]'") from None
        return ZstdDecompressor().stream_reader(raw, read_across_frames=True)
    return ZstdFile(raw)


# Ending to function and to what such a file begins with.
_PACKINGS = {b"gz": (_gzip, b"\x1f\x8b"), b"bz2": (_bzip2, b"BZh"), b"xz": (_xz, b"\xfd7zXZ"),
             b"zst": (_zstandard, b"\x28\xb5\x2f\xfd")}
_PACKINGS[b"tgz"] = _PACKINGS[b"gz"]


# ----------------------------------------------------------------- opening ---


def open_archive(disk):
    """The Zip, Tar or PackedTar in a _Disk whose path ends as an archive's does;
    None when it is none. Raises DicomError for one that cannot be read."""
    if not disk.regular:
        return None
    ending = disk.path.rpartition(b".")[2].lower()
    if ending == b"7z":
        if disk.read(0, 6) == b"7z\xbc\xaf\x27\x1c":
            raise _damaged(SEVEN_ZIP)
        return None
    if ending == b"zip":
        archive = Zip(disk)
        return archive if archive.directory is not None or disk.read(0, 4) == _LOCAL else None
    if ending == b"tar":
        archive, block = Tar(disk), disk.read(0, 512)
    else:
        opener, magic = _PACKINGS[ending]
        if disk.read(0, len(magic)) != magic:
            return None
        archive = PackedTar(disk, opener)
        block = archive.cursor().read(0, 512)
    return archive if _is_tar(block) else None


def _is_tar(block):
    if block == _ZEROS:
        return True
    try:
        return len(block) == 512 and bool(_tar_header(block, 0))
    except DicomError:
        return False


class _Known:
    """An archive, and where members of it are whose names were passed."""

    def __init__(self, archive):
        self.archive = archive
        self.walk = archive.walk()
        self.hashes, self.places = bytearray(), array("Q")
        self.lock = Lock()

    def find(self, name):
        """The first member of that name, as `item` takes it, or None."""
        wanted, at = _hash(name), -1
        with self.lock:
            while (at := self.hashes.find(wanted, at + 1)) >= 0:
                if at % 8 == 0:
                    _, member = next(self.archive.walk(self.places[at // 8]))
                    if member[0] == name:
                        return member
            for place, member in self.walk:
                self.hashes += _hash(member[0])
                self.places.append(place)
                if member[0] == name:
                    return member
        return None


def _hash(name):
    return hash(name).to_bytes(8, "little", signed=True)


@lru_cache(4)
def _known(path, *state):
    """The _Known of a path, None when no archive is there. state: of the file, so
    that a changed one is opened anew."""
    archive = open_archive(_Disk(path))
    return None if archive is None else _Known(archive)


if hasattr(os, "register_at_fork"):  # a lock that another thread held stays so in the child
    os.register_at_fork(after_in_child=_known.cache_clear)


def _find(path):
    """(archive, item) of a path that leads into an archive; None when it does not.
    Raises DicomError, OSError."""
    for place, name in member_splits(path):
        try:
            status = os.stat(place)
        except OSError:
            continue
        known = _known(place, status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
        if known is None:
            continue
        member = known.find(name)
        if member is None:
            raise error_for("open", "the archive has no such member", errno=errno.ENOENT)
        return known.archive, known.archive.item(member)
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
    """A taker of paths as one of their rows: archives become their members, and
    paths into archives what they mean. Plain paths go through as they are."""

    def __init__(self, taker):
        self.taker = taker
        self.pieces = iter(())
        self.piece = None

    def take(self, count):
        while True:
            if self.piece is not None:
                chunk = self.piece.take(count)
                if chunk is not None:
                    return chunk
            self.piece = next(self.pieces, None)
            if self.piece is None:
                chunk = self.taker.take(count)
                if not isinstance(chunk, Chunk) or not (found := chunk.archives()):
                    return chunk
                self.pieces = _pieces(chunk, found)


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
        return self.chunk.cut(begin, self.begin) if begin < self.end else None


def _taker_of(path):
    """The taker of an archive's members; None when there is none."""
    try:
        disk = _Disk(path)
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
    except (DicomError, OSError) as error:
        yield error


def _item_of(disk, archive, member):
    """(path of the archive, item)"""
    if isinstance(member, Exception):
        return disk.path, _Failed(disk.path, disk.size, disk.mtime_ns, member)
    return disk.path, archive.item(member)


def _item_at(path):
    """(path of the archive, item) of a path; (the path, None) when it leads into none."""
    try:
        if not os.path.lexists(path) and (found := _find(path)) is not None:
            archive, item = found
            return archive.disk.path, item
        return path, None
    except (DicomError, OSError) as error:
        return path, _Failed(path, 0, 0, error)


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
            if isinstance(stream, _InTar):
                stream = self.filled(stream)
                kept += len(stream.kept)
            streams.append(stream)
        archive.allowed = (_PASSES + cores()) * self.cursor.at + _PASSES_FREE
        return Streams(streams) if streams else None

    def filled(self, stream):
        wanted = min(stream.size, self.archive.keep)
        try:
            stream.kept = self.cursor.read(stream.begin, wanted)
            if len(stream.kept) < wanted:
                raise _cut_within(stream.begin)
        except DicomError as error:
            stream = _Failed(stream.path, stream.size, stream.mtime_ns, error)
        return stream
