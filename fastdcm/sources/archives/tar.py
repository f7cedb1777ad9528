"""Tar archives, plain ones and those that are packed as a whole.

A member of a packed tar cannot be reached but through all that stands before
it. A `Cursor` goes through the unpacked bytes, forward; `PackedTar` keeps those
that are idle, so that who reads members in their order unpacks each byte once.
"""

import zlib

from fastdcm._util.parallel import cpu_count
from fastdcm.errors import DicomError
from fastdcm.sources._paths import member_path
from fastdcm.sources.archives.limits import (
    BLOCK,
    MOST_MEMBERS,
    Failed,
    Stream,
    beyond,
    check_member,
    check_name,
    cut_within,
    damaged,
)

# Bytes of a header with a long name or attributes, and attributes of all members.
_MOST_EXTENDED, _MOST_ATTRIBUTES = 1 << 20, 16 * MOST_MEMBERS
# A packed tar in all, in bytes and times its size. Deflate can do 1 : 1032.
UNPACKED, UNPACKED_RATIO = 4 << 30, 1032
# Of each member so many bytes are in memory at first, and once headers need it more.
_KEPT, KEPT_MOST = 64 << 10, 4 << 20
# Headers beyond that are unpacked a second time, by cursors that only go forward,
# one for each thread: so often at most, and so many bytes, for all of them.
PASSES, PASSES_FREE = 8 + cpu_count(), 1 << 30

_ZEROS = bytes(512)
_FILES, _LINKS = b"0\x007S", b"123456"  # types that are files, and those that have no bytes
_LONG, _ATTRIBUTES, _EXTENDED = b"L", b"xX", b"LKxXg"  # K: a link's name, g: of all members
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
        summed = block[:148] + b" " * 8 + block[156:]
        # The sum of bytes modulo 65521 is one half of Adler-32. Some old tars took them as signed.
        if (zlib.adler32(summed, 0) & 0xFFFF) != stated % 65521 and (
            stated != sum(c - 256 if c > 127 else c for c in summed)
        ):
            raise ValueError
        size = _number(block[124:136])
        if not 0 <= size < _MOST_SIZE:
            raise ValueError
    except ValueError:
        raise damaged("no header of a tar's member stands where one should", at) from None
    name = block[:100].split(b"\0")[0]
    if block[257:263] == b"ustar\0" and block[345]:
        name = block[345:500].split(b"\0")[0] + b"/" + name
    return name, size, block[156:157]


def _attributes(data):
    """The records of a PAX header (POSIX pax, "pax Header Block")."""
    found, at = {}, 0
    while at < len(data):
        length, space, _ = data[at : at + 20].partition(b" ")
        if not space or not length.isdigit() or not 0 < int(length) <= len(data) - at:
            break
        key, _, value = data[at + len(length) + 1 : at + int(length) - 1].partition(b"=")
        found[key] = value
        at += int(length)
    return found


class Tar:
    """A plain tar. A member is (name, size, place of its bytes, whether it is
    sparse)."""

    def __init__(self, disk):
        self.disk = disk

    def reader(self):
        """A function of offset and length, for one who reads headers in turn."""
        return _Ahead(self.disk).read

    def walk(self, at=0, read=None):
        read = read or self.reader()
        place, long_name, told = at, None, {}
        count = attributes = 0
        while True:
            block = read(at, 512)
            if block == _ZEROS:
                return
            if len(block) < 512:
                raise damaged("the tar has no end: it was cut or damaged", at)
            name, size, kind = _tar_header(block, at)
            at += 512
            count += 1
            if kind in _EXTENDED:
                if size > _MOST_EXTENDED:
                    raise beyond(f"a header of the tar has {size:,} bytes", at)
                data = read(at, size)
                at += size + -size % 512
                if kind in _LONG:
                    long_name = data.split(b"\0")[0]
                elif kind in _ATTRIBUTES:
                    attributes += data.count(b"\n")
                    if attributes > _MOST_ATTRIBUTES:
                        raise beyond(f"the tar holds more than {_MOST_ATTRIBUTES:,} attributes", at)
                    told = _attributes(data)
                continue
            sparse = kind == b"S" or any(key.startswith(b"GNU.sparse.") for key in told)
            extended = block[482] if kind == b"S" else 0
            while extended:  # a map of holes goes on behind the header
                block = read(at, 512)
                if len(block) < 512:
                    raise damaged("the tar is cut within a header", at)
                extended = block[504]
                at += 512
            name = told.get(b"GNU.sparse.name") or told.get(b"path") or long_name or name
            while name.startswith(b"./"):  # `tar c .` names them so
                name = name[2:]
            if (digits := told.get(b"size", b"")).isdigit() and len(digits) < 19:
                size = int(digits)
            check_member(count, name, place)
            if kind in _FILES and not (kind == b"\0" and name.endswith(b"/")):
                yield place, (name, size, at, sparse)
            if kind not in _LINKS:
                at += size + -size % 512
            place, long_name, told = at, None, {}

    def item(self, member):
        name, size, begin, sparse = member
        path = member_path(self.disk.path, name)
        try:
            check_name(name, begin)
            if sparse:
                raise damaged("the member is sparse", begin)
            return self.at_place(name, path, size, begin)
        except DicomError as error:
            return Failed(path, size, self.disk.mtime_ns, error)

    def at_place(self, name, path, size, begin):
        if begin + size > self.disk.size:
            raise cut_within(begin)
        return name, begin, size


class _Ahead:
    """Reads of headers, which mostly stand together, by the page."""

    def __init__(self, disk):
        self.disk, self.start, self.data = disk, 0, b""

    def read(self, offset, length):
        at = offset - self.start
        if at < 0 or at + length > len(self.data):
            self.start, self.data, at = offset, self.disk.read(offset, max(length, 4096)), 0
        return self.data[at : at + length]


class PackedTar(Tar):
    """A tar that is packed as a whole. Places count in the unpacked bytes."""

    def __init__(self, disk, opener):
        super().__init__(disk)
        self.opener = opener
        self.idle = []  # cursors
        self.keep = _KEPT
        self.allowed, self.spent = None, 0

    def cursor(self):
        return Cursor(self.disk, self.opener)

    def reader(self):
        return self.read

    def keep_more(self, count):
        """Of the members to come keep as much as one needed."""
        self.keep = max(self.keep, min(2 * count, KEPT_MOST))

    def passed(self, at):
        """So far has a scan come: what may be unpacked again for its headers."""
        self.allowed = PASSES * at + PASSES_FREE

    def read(self, offset, length):
        """By the idle cursor that is nearest, or by a new one."""
        if self.allowed is not None and self.spent > self.allowed:
            raise beyond(
                "too much of the archive had to be unpacked again for headers beyond "
                f"{self.keep >> 10} KiB"
            )
        cursor = max((c for c in self.idle[:] if c.at <= offset), key=lambda c: c.at, default=None)
        try:
            self.idle.remove(cursor)
        except ValueError:  # none, or another thread was faster
            cursor = self.cursor()
        before = cursor.at
        data = cursor.read(offset, length)
        self.spent += cursor.at - before
        self.idle.append(cursor)
        del self.idle[:-PASSES]
        return data

    def at_place(self, name, path, size, begin):
        return InTar(path, size, self.disk, self, begin)


class InTar(Stream):
    """A member of a packed tar, its first bytes in memory."""

    def __init__(self, path, size, disk, packing, begin, kept=b""):
        super().__init__(path, size, disk.mtime_ns, kept)
        self.packing, self.begin, self.packed = packing, begin, disk.size

    def unpacked(self, offset, length):
        if self.guarded:
            self.packing.keep_more(offset + length)
        return self.packing.read(self.begin + offset, length)


class Cursor:
    """One way through a packed file, forward."""

    def __init__(self, disk, opener):
        self.raw = _Raw(disk)
        self.file = opener(self.raw)
        self.at, self.failed = 0, None

    def read(self, offset, length):
        """Those bytes, fewer at the end."""
        while self.at < offset:
            if not self.some(min(offset - self.at, BLOCK)):
                return b""
        parts = []
        while length and (data := self.some(min(length, BLOCK))):
            parts.append(data)
            length -= len(data)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def some(self, length):
        if self.failed is not None:
            raise self.failed
        try:
            data = self.file.read(length)
        except Exception as error:  # each packing has errors of its own
            self.failed = damaged(f"the archive cannot be unpacked further: {error}", self.raw.at)
            raise self.failed from None
        self.at += len(data)
        if self.at > UNPACKED and self.at > UNPACKED_RATIO * self.raw.at:
            raise beyond(
                f"the archive unpacks to more than {UNPACKED_RATIO} times its size", self.raw.at
            )
        return data


class _Raw:
    """A Disk as a file object for those that unpack."""

    def __init__(self, disk):
        self.disk, self.at = disk, 0

    def read(self, size=-1):
        data = self.disk.read(
            self.at, self.disk.size - self.at if size is None or size < 0 else size
        )
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
            raise damaged("this needs zstandard: pip install 'fastdcm-dicom[archives]'") from None
        return ZstdDecompressor().stream_reader(raw, read_across_frames=True)
    return ZstdFile(raw)


# Ending to function and to what such a file may begin with.
PACKINGS = {
    b"gz": (_gzip, (b"\x1f\x8b",)),
    b"bz2": (_bzip2, (b"BZh",)),
    b"xz": (_xz, (b"\xfd7zXZ",)),
    b"zst": (_zstandard, (b"\x28\xb5\x2f\xfd", b"\x50\x2a\x4d\x18")),
}
PACKINGS[b"tgz"] = PACKINGS[b"gz"]


def is_tar(block):
    if block == _ZEROS:
        return True
    try:
        return len(block) == 512 and bool(_tar_header(block, 0))
    except DicomError:
        return False
