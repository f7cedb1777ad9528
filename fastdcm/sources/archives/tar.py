"""Tar archives, uncompressed or compressed as a unit (POSIX.1-2017 pax, GNU tar).

A member of a compressed tar can only be read by unpacking everything in front of it. A
`Cursor` moves through the unpacked bytes, forward only. `PackedTar` keeps the cursors that
are not in use, so that reading the members in order unpacks each byte once.
"""

from __future__ import annotations

import zlib

from fastdcm._util.parallel import cpu_count
from fastdcm.errors import DicomError
from fastdcm.sources._paths import member_path
from fastdcm.sources.archives.limits import (
    BLOCK_SIZE,
    MAX_MEMBERS,
    UnpackedMember,
    UnreadableMember,
    archive_name,
    check_member,
    check_name,
    damaged,
    over_limit,
    truncated_member,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import IO, Protocol, TypeAlias

    from fastdcm.sources.protocols import RandomAccessFile, StoredMember, Stream

    #: Name, size, offset of the bytes, whether it is sparse.
    TarMember: TypeAlias = tuple[bytes, int, int, bool]
    #: A function of offset and length that returns bytes, fewer at the end.
    Read: TypeAlias = Callable[[int, int], bytes]

    class _Decompressor(Protocol):
        """A file object that returns unpacked bytes."""

        def read(self, size: int, /) -> bytes:
            """Return at most `size` bytes, none at the end."""

    #: Opens the decompressor of a compressed file.
    Opener: TypeAlias = Callable[[IO[bytes]], _Decompressor]

# Bytes of a header that contains a long name or pax records, and pax records in all.
_MAX_EXTENDED_HEADER, _MAX_RECORDS = 1 << 20, 16 * MAX_MEMBERS
# A compressed tar may unpack to this many bytes, or this many times its size. The most that
# deflate reaches is 1032.
MAX_UNPACKED, MAX_UNPACKED_RATIO = 4 << 30, 1032
# How many bytes of each member are kept in memory: at first, and at most, when headers are
# longer.
_INITIAL_PREFIX, MAX_PREFIX = 64 << 10, 4 << 20
# What exceeds the prefix is unpacked a second time, by cursors that only move forward, one
# per thread. They may unpack this many times what the scan has passed, plus this many bytes.
# As many cursors are kept.
MAX_PASSES, FREE_BYTES = 8 + cpu_count(), 1 << 30

_ZEROS = bytes(512)
_FILE_TYPES, _TYPES_WITHOUT_DATA = b"0\x007S", b"123456"
_SPARSE_TYPE, _LONG_NAME_TYPE, _RECORDS_TYPES = b"S", b"L", b"xX"
# K is the long name of a link, g are pax records for all members that follow.
_EXTENDED_TYPES = b"LKxXg"
_MAX_SIZE = 1 << 60


def _number(field: bytes) -> int:
    """Return the number in a header field: octal digits, or GNU's binary form."""
    if field[0] & 0x80:
        return int.from_bytes(field, "big", signed=True) + (1 << 8 * len(field) - 1)
    return int(field.split(b"\0")[0].strip() or b"0", 8)


def _parse_header(block: bytes, at: int) -> tuple[bytes, int, bytes]:
    """Return (name, size, type) of a header block."""
    try:
        stated = _number(block[148:156])
        summed = block[:148] + b" " * 8 + block[156:]
        # The sum of all bytes modulo 65521 is one half of Adler-32. Some old programs added
        # them as signed numbers.
        if (zlib.adler32(summed, 0) & 0xFFFF) != stated % 65521 and (
            stated != sum(c - 256 if c > 127 else c for c in summed)
        ):
            raise ValueError
        size = _number(block[124:136])
        if not 0 <= size < _MAX_SIZE:
            raise ValueError
    except ValueError:
        raise damaged("the tar has no valid member header where one is expected", at) from None
    name = block[:100].split(b"\0")[0]
    if block[257:263] == b"ustar\0" and block[345]:
        name = block[345:500].split(b"\0")[0] + b"/" + name
    return name, size, block[156:157]


def _parse_records(data: bytes) -> dict[bytes, bytes]:
    """Return the records of a pax extended header (POSIX.1-2017, pax Extended Header)."""
    records: dict[bytes, bytes] = {}
    at = 0
    while at < len(data):
        length, space, _ = data[at : at + 20].partition(b" ")
        if not space or not length.isdigit() or not 0 < int(length) <= len(data) - at:
            break
        key, _, value = data[at + len(length) + 1 : at + int(length) - 1].partition(b"=")
        records[key] = value
        at += int(length)
    return records


def _after_sparse_map(read: Read, block: bytes, at: int) -> int:
    """Return the offset after the header of a sparse member in GNU's format."""
    is_extended = block[482]
    while is_extended:  # the map of holes continues in further blocks
        block = read(at, 512)
        if len(block) < 512:
            raise damaged("the tar is truncated within a header", at)
        is_extended = block[504]
        at += 512
    return at


class Tar:
    """An uncompressed tar archive (see `fastdcm.sources.protocols.Archive`).

    A member is a tuple (name, size, offset of its bytes, whether it is sparse).

    Parameters
    ----------
    file : RandomAccessFile
        The file of the archive.
    """

    def __init__(self, file: RandomAccessFile) -> None:
        self.file = file

    def header_reader(self) -> Read:
        """Return a function that reads headers in ascending order."""
        return _PageReader(self.file).read

    def walk(
        self, position: int | None = None, read: Read | None = None
    ) -> Iterator[tuple[int, TarMember]]:
        """Iterate over (position of the header, member) from a position on.

        Parameters
        ----------
        position : int, optional
            The header to start at; by default the first.
        read : callable, optional
            Reads the headers; by default `header_reader`.

        Yields
        ------
        tuple of int and TarMember

        Raises
        ------
        DicomError
            Where the archive is damaged or over a limit.
        """
        read = read or self.header_reader()
        start = at = position or 0
        long_name: bytes | None = None
        records: dict[bytes, bytes] = {}
        count = record_count = 0
        while True:
            block = read(at, 512)
            if block == _ZEROS:
                return
            if len(block) < 512:
                raise damaged("the tar has no end marker: it is truncated or damaged", at)
            name, size, kind = _parse_header(block, at)
            at += 512
            count += 1
            if kind in _EXTENDED_TYPES:
                if size > _MAX_EXTENDED_HEADER:
                    raise over_limit(f"an extended header of the tar is {size:,} bytes long", at)
                data = read(at, size)
                at += size + -size % 512
                if kind in _LONG_NAME_TYPE:
                    long_name = data.split(b"\0")[0]
                elif kind in _RECORDS_TYPES:
                    record_count += data.count(b"\n")
                    if record_count > _MAX_RECORDS:
                        raise over_limit(f"the tar holds more than {_MAX_RECORDS:,} records", at)
                    records = _parse_records(data)
                continue
            is_sparse = kind == _SPARSE_TYPE
            if is_sparse:
                at = _after_sparse_map(read, block, at)
            is_sparse = is_sparse or any(key.startswith(b"GNU.sparse.") for key in records)
            name = records.get(b"GNU.sparse.name") or records.get(b"path") or long_name or name
            while name.startswith(b"./"):  # as `tar c .` names members
                name = name[2:]
            if (digits := records.get(b"size", b"")).isdigit() and len(digits) < 19:
                size = int(digits)
            check_member(count, name, start)
            if kind in _FILE_TYPES and not (kind == b"\0" and name.endswith(b"/")):
                yield start, (name, size, at, is_sparse)
            if kind not in _TYPES_WITHOUT_DATA:
                at += size + -size % 512
            start, long_name, records = at, None, {}

    def item(self, member: TarMember, name: bytes) -> StoredMember | Stream:
        """Return how a member is read, which paths call `name`."""
        own_name, size, begin, is_sparse = member
        path = member_path(self.file.path, name)
        try:
            check_name(own_name, begin)
            if is_sparse:
                raise damaged("the member is sparse, which is not supported", begin)
            return self.readable_item(name, path, size, begin)
        except DicomError as error:
            return UnreadableMember(path, size, self.file.mtime_ns, error)

    def readable_item(
        self, name: bytes, path: bytes, size: int, begin: int
    ) -> StoredMember | Stream:
        """Return how the `size` bytes of a member at the offset `begin` are read."""
        if begin + size > self.file.size:
            raise truncated_member(begin)
        return self.file.stored(name, begin, size)


class _PageReader:
    """Reads headers, which are usually close together, by the page."""

    def __init__(self, file: RandomAccessFile) -> None:
        self.file, self.start, self.data = file, 0, b""

    def read(self, offset: int, length: int) -> bytes:
        """Return the bytes [offset, offset + length), fewer at the end."""
        at = offset - self.start
        if at < 0 or at + length > len(self.data):
            self.start, self.data, at = offset, self.file.read(offset, max(length, 4096)), 0
        return self.data[at : at + length]


class PackedTar(Tar):
    """A tar archive that is compressed as a unit. Offsets are those of the unpacked bytes.

    Parameters
    ----------
    file : RandomAccessFile
        The file of the archive.
    opener : callable
        Opens the decompressor.

    Attributes
    ----------
    prefix_size : int
        How many bytes of each member a scan keeps in memory.
    """

    def __init__(self, file: RandomAccessFile, opener: Opener) -> None:
        super().__init__(file)
        self._opener = opener
        self._idle: list[Cursor] = []
        self.prefix_size = _INITIAL_PREFIX
        self._allowed: int | None = None  # how many bytes may be unpacked again
        self._unpacked = 0  # by `read`

    def cursor(self) -> Cursor:
        """Return a new cursor at the first byte."""
        return Cursor(self.file, self._opener)

    def header_reader(self) -> Read:
        """Return a function that reads headers in ascending order."""
        return self.read

    def enlarge_prefix(self, count: int) -> None:
        """Keep more of the members to come, after a header took `count` bytes."""
        self.prefix_size = max(self.prefix_size, min(2 * count, MAX_PREFIX))

    def set_scanned(self, position: int) -> None:
        """Set how far a scan is, which limits what may be unpacked again for its headers."""
        self._allowed = MAX_PASSES * position + FREE_BYTES

    def read(self, offset: int, length: int) -> bytes:
        """Return unpacked bytes, with the nearest cursor in front of them or a new one."""
        if self._allowed is not None and self._unpacked > self._allowed:
            raise over_limit(
                "too much of the archive had to be unpacked again for headers of more than "
                f"{self.prefix_size >> 10} KiB"
            )
        cursor = max(
            (c for c in self._idle[:] if c.position <= offset),
            key=lambda c: c.position,
            default=None,
        )
        if cursor is not None:
            try:
                self._idle.remove(cursor)
            except ValueError:  # another thread uses it by now
                cursor = None
        if cursor is None:
            cursor = self.cursor()
        before = cursor.position
        data = cursor.read(offset, length)
        self._unpacked += cursor.position - before
        self._idle.append(cursor)
        del self._idle[:-MAX_PASSES]
        return data

    def readable_item(self, name: bytes, path: bytes, size: int, begin: int) -> PackedMember:
        """Return a stream of the `size` unpacked bytes at the offset `begin`."""
        return PackedMember(path, size, self, begin)


class PackedMember(UnpackedMember):
    """A member of a compressed tar.

    Parameters
    ----------
    path : bytes
        The path of the member.
    size : int
        Its size in bytes.
    archive : PackedTar
        The archive.
    begin : int
        The offset of the member in the unpacked bytes.
    """

    def __init__(self, path: bytes, size: int, archive: PackedTar, begin: int) -> None:
        super().__init__(path, size, archive.file.mtime_ns)
        self.archive, self.begin = archive, begin
        self.packed_read = archive.file.size

    def unpack(self, offset: int, length: int) -> bytes:
        """Return the bytes [offset, offset + length), fewer at the end of the archive."""
        if self.is_limited:
            self.archive.enlarge_prefix(offset + length)
        return self.archive.read(self.begin + offset, length)


class PackedFile(PackedTar):
    """A compressed file, such as ``a.dcm.gz``, as an archive that has one member.

    Parameters
    ----------
    file : RandomAccessFile
        The compressed file.
    opener : callable
        Opens the decompressor.
    """

    def walk(
        self, position: int | None = None, read: Read | None = None
    ) -> Iterator[tuple[int, TarMember]]:
        """Iterate over (0, member). Its size is not known before it is opened."""
        yield 0, (archive_name(self.file.path).rpartition(b".")[0], 0, 0, False)

    def readable_item(self, name: bytes, path: bytes, size: int, begin: int) -> PackedMember:
        """Return the stream of the member."""
        return _WholeMember(path, size, self, begin)


class _WholeMember(PackedMember):
    """The member of a `PackedFile`."""

    def open(self, first: int) -> None:
        """Unpack the file once, to determine the size; keep its first bytes."""
        cursor = self.archive.cursor()
        self.prefix = cursor.read(0, max(first, _INITIAL_PREFIX))
        self.size = cursor.skip()


class Cursor:
    """A forward-only reader of the unpacked bytes of a compressed file.

    Parameters
    ----------
    file : RandomAccessFile
        The compressed file.
    opener : callable
        Opens the decompressor.

    Attributes
    ----------
    position : int
        The offset of the next unpacked byte.
    """

    def __init__(self, file: RandomAccessFile, opener: Opener) -> None:
        self._raw = _RawFile(file)
        # Decompressors call nothing but read().
        self._decompressor = opener(self._raw)  # type: ignore[arg-type]
        self.position = 0
        self._error: DicomError | None = None

    def read(self, offset: int, length: int) -> bytes:
        """Return the bytes [offset, offset + length), fewer at the end."""
        while self.position < offset:
            if not self._read_some(min(offset - self.position, BLOCK_SIZE)):
                return b""
        parts = []
        while length and (data := self._read_some(min(length, BLOCK_SIZE))):
            parts.append(data)
            length -= len(data)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def skip(self) -> int:
        """Move to the end, and return its offset."""
        while self._read_some(BLOCK_SIZE):
            pass
        return self.position

    def _read_some(self, length: int) -> bytes:
        """Return the next bytes, at most `length`; none at the end."""
        if self._error is not None:
            raise self._error
        try:
            data = self._decompressor.read(length)
        except Exception as error:  # each decompressor has exceptions of its own
            self._error = damaged(
                f"the archive cannot be unpacked any further: {error}", self._raw.position
            )
            raise self._error from None
        self.position += len(data)
        if self.position > MAX_UNPACKED and self.position > MAX_UNPACKED_RATIO * self._raw.position:
            raise over_limit(
                f"the archive unpacks to more than {MAX_UNPACKED_RATIO} times its size",
                self._raw.position,
            )
        return data


class _RawFile:
    """A RandomAccessFile as the file object that decompressors read."""

    def __init__(self, file: RandomAccessFile) -> None:
        self.file, self.position = file, 0

    def read(self, size: int | None = -1) -> bytes:
        """Return the next bytes, at most `size`; the rest if negative or None."""
        if size is None or size < 0:
            size = self.file.size - self.position
        data = self.file.read(self.position, size)
        self.position += len(data)
        return data


# A build of Python may lack one of these modules, which are imported when they are needed.


def _open_gzip(raw: IO[bytes]) -> _Decompressor:
    import gzip

    return gzip.GzipFile(fileobj=raw)


def _open_bzip2(raw: IO[bytes]) -> _Decompressor:
    import bz2

    return bz2.BZ2File(raw)


def _open_xz(raw: IO[bytes]) -> _Decompressor:
    import lzma

    return lzma.LZMAFile(raw)


def _open_zstandard(raw: IO[bytes]) -> _Decompressor:
    try:
        # From Python 3.14 on.
        from compression.zstd import ZstdFile  # type: ignore[import-not-found]
    except ImportError:
        try:
            from zstandard import ZstdDecompressor
        except ImportError:
            raise damaged(
                "reading .zst needs zstandard: pip install 'fastdcm-dicom[archives]'"
            ) from None
        reader: _Decompressor = ZstdDecompressor().stream_reader(raw, read_across_frames=True)
    else:
        reader = ZstdFile(raw)
    return reader


#: The decompressor of each file name suffix, and what such a file begins with.
DECOMPRESSORS: dict[bytes, tuple[Opener, tuple[bytes, ...]]] = {
    b"gz": (_open_gzip, (b"\x1f\x8b",)),
    b"bz2": (_open_bzip2, (b"BZh",)),
    b"xz": (_open_xz, (b"\xfd7zXZ",)),
    b"zst": (_open_zstandard, (b"\x28\xb5\x2f\xfd", b"\x50\x2a\x4d\x18")),
}
DECOMPRESSORS[b"tgz"] = DECOMPRESSORS[b"gz"]


def is_tar(block: bytes) -> bool:
    """Return whether the first 512 bytes of a file are those of a tar archive."""
    if block == _ZEROS:
        return True
    try:
        return len(block) == 512 and bool(_parse_header(block, 0))
    except DicomError:
        return False
