"""Zip archives with stored or deflated members (APPNOTE.TXT, version 6.3).

The central directory is read in blocks, so that memory does not grow with its length.
"""

from __future__ import annotations

import stat
import struct
import zlib

from fastdcm.errors import DicomError
from fastdcm.sources._paths import member_path
from fastdcm.sources.archives.limits import (
    BLOCK_SIZE,
    MAX_SKIPPED,
    MAX_SKIPPED_RATIO,
    UnpackedMember,
    UnreadableMember,
    check_member,
    check_name,
    damaged,
    over_limit,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import TypeAlias

    from fastdcm.sources.protocols import RandomAccessFile, StoredMember, Stream

    #: Name, size, offset of the local header, compressed size, method (None: encrypted).
    ZipMember: TypeAlias = tuple[bytes, int, int, int, int | None]

_MAX_DEFLATE_RATIO = 1032  # no deflated data expands more
_LOCAL, _CENTRAL, _END, _DESCRIPTOR = b"PK\3\4", b"PK\1\2", b"PK\5\6", b"PK\7\x08"
_LOCATOR64, _END64 = b"PK\6\7", b"PK\6\6"
# Signature, flags, method, compressed size, size, lengths of the name and of the extra field.
_parse_local = struct.Struct("<4s2xHH8xLLHH").unpack_from
# Signature, system, flags, method, compressed size, size, lengths of the name, the extra field
# and the comment, attributes, offset of the local header.
_parse_central = struct.Struct("<4sxBxxHH8xLLHHHxxxxLL").unpack_from
# Signature, number of members, length and offset of the directory, length of the comment.
_parse_end = struct.Struct("<4s6xHLLH").unpack_from
# The same, in the record for large archives, which has no comment.
_parse_end64 = struct.Struct("<4s28xQQQ").unpack_from
_MAX_ENTRY = 46 + 2 * 0xFFFF  # bytes of an entry of the directory, without its comment
_ENCRYPTED = 0x2041  # flags: encrypted, strong encryption, or encrypted headers
_STORED, _DEFLATED = 0, 8
_METHODS = {
    1: "shrunk",
    6: "imploded",
    9: "Deflate64",
    12: "bzip2",
    14: "LZMA",
    93: "Zstandard",
    95: "XZ",
    98: "PPMd",
}
_UNIX, _FOLDER_ATTRIBUTE = 3, 16
_UNKNOWN = 0xFFFFFFFF  # the value is in the Zip64 extra field


class Zip:
    """A zip archive (see `fastdcm.sources.protocols.Archive`).

    The members are in the order of the central directory. Where that is missing, because the
    archive is truncated, they are those that are complete, in the order of their bytes.

    A member is a tuple (name, size, offset of its local header, compressed size, method or
    None if it is encrypted).

    Parameters
    ----------
    file : RandomAccessFile
        The file of the archive.

    Attributes
    ----------
    is_zip : bool
        Whether the file is a zip archive at all.
    """

    def __init__(self, file: RandomAccessFile) -> None:
        self.file = file
        self._directory: int | None = None  # its offset
        self._end = 0  # the offset of its end
        self._base = 0  # the number of bytes in front of the archive, as in a program
        self._count = 0  # the number of members that the end record states, modulo 65536
        self.is_zip = self._find_directory() or file.read(0, 4) == _LOCAL

    def walk(self, position: int | None = None) -> Iterator[tuple[int, ZipMember]]:
        """Iterate over (position of the entry, member) from a position on.

        Parameters
        ----------
        position : int, optional
            The entry to start at; by default the first.

        Returns
        -------
        iterator of (int, ZipMember)
            It raises DicomError where the archive is damaged or over a limit.
        """
        if self._directory is None:
            return self._walk_local_headers(position or 0)
        return self._walk_directory(self._directory, position)

    def _find_directory(self) -> bool:
        """Find the central directory; return whether there is an end record, right or wrong."""
        start = max(self.file.size - 22 - 0xFFFF, 0)
        tail = self.file.read(start, 22 + 0xFFFF)
        found, at = False, len(tail) - 21
        while (at := tail.rfind(_END, 0, max(at + 3, 0))) >= 0:
            _, count, length, offset, comment = _parse_end(tail, at)
            rest = len(tail) - at - 22 - comment
            if rest < 0:
                continue
            end, count, length, offset = self._find_end64(tail, at, start) or (
                start + at,
                count,
                length,
                offset,
            )
            for base in (end - length - offset, 0):
                if base >= 0 and (
                    self.file.read(base + offset, 4) == _CENTRAL if length else not rest
                ):
                    self._directory, self._end = base + offset, base + offset + length
                    self._base, self._count = base, count
                    return True
            found = True
        return found

    def _find_end64(self, tail: bytes, at: int, start: int) -> tuple[int, int, int, int] | None:
        """Return the contents of the Zip64 end record in front of the end record, if any.

        These are its offset, the number of members, and length and offset of the directory.
        """
        if at < 20 or tail[at - 20 : at - 16] != _LOCATOR64:
            return None
        stated = int.from_bytes(tail[at - 12 : at - 4], "little")
        for position in (start + at - 20 - 56, stated):
            record = self.file.read(position, 56)
            if len(record) == 56 and record[:4] == _END64:
                _, count, length, offset = _parse_end64(record)
                return position, count, length, offset
        return None

    def _walk_directory(
        self, directory: int, position: int | None
    ) -> Iterator[tuple[int, ZipMember]]:
        """Iterate over the members in the central directory."""
        file, file_size, end, base = self.file, self.file.size, self._end, self._base
        is_complete = position is None
        at = directory if position is None else position
        data, pos = b"", 0  # the directory from `at` on, as far as it is in memory
        need = _MAX_ENTRY if is_complete else 46
        count = total = 0
        while at + pos < end:
            if len(data) - pos < need and at + len(data) < end:
                at, data, pos = at + pos, data[pos:], 0
                length = min(2 * need + 4000, end - at - len(data))
                data += file.read(at + len(data), length)
            start = at + pos
            if len(data) - pos < 46:
                raise damaged("the central directory of the zip is truncated", start)
            (
                signature,
                system,
                flags,
                method,
                packed,
                size,
                n_name,
                n_extra,
                n_comment,
                attributes,
                offset,
            ) = _parse_central(data, pos)
            if len(data) - pos < 46 + n_name + n_extra and need < _MAX_ENTRY:
                need = _MAX_ENTRY
                continue
            pos += 46
            name, extra = data[pos : pos + n_name], data[pos + n_name : pos + n_name + n_extra]
            pos += n_name + n_extra + n_comment
            if signature != _CENTRAL or len(name) + len(extra) < n_name + n_extra:
                raise damaged("the central directory of the zip is damaged", start)
            if _UNKNOWN in (packed, size, offset):
                size, packed, offset = _zip64_values(extra, size, packed, offset)
            count += 1
            total += 30 + packed
            check_member(count, name, start)
            if total > file_size:
                raise over_limit("members of the zip overlap, or the zip is truncated", start)
            if _is_file(name, size, system, attributes):
                method = None if flags & _ENCRYPTED else method
                yield start, (name, size, base + offset, packed, method)
        if is_complete and (count - self._count) & 0xFFFF:
            raise damaged(
                f"the central directory of the zip has {count:,} members, "
                f"but its end record states {self._count:,}",
                end,
            )

    def _walk_local_headers(self, at: int) -> Iterator[tuple[int, ZipMember]]:
        """Iterate over the members of an archive that has no central directory."""
        count = 0
        while True:
            header = self.file.read(at, 30)
            if len(header) < 30 or header[:4] != _LOCAL:
                raise damaged("the zip has no central directory: it is truncated or damaged", at)
            _, flags, method, packed, size, n_name, n_extra = _parse_local(header)
            name = self.file.read(at + 30, n_name)
            begin = at + 30 + n_name + n_extra
            if _UNKNOWN in (packed, size):
                extra = self.file.read(at + 30 + n_name, n_extra)
                size, packed, _ = _zip64_values(extra, size, packed, 0)
            end = begin + packed
            if flags & 8 and not packed:
                packed, size, end = self._find_descriptor(begin)
            if end > self.file.size:
                raise damaged("the zip is truncated within a member", at)
            count += 1
            check_member(count, name, at)
            if not name.endswith(b"/"):
                yield at, (name, size, at, packed, None if flags & _ENCRYPTED else method)
            at = end

    def _find_descriptor(self, begin: int) -> tuple[int, int, int]:
        """Return (compressed size, size, end) of a member whose sizes follow its bytes."""
        at, data = begin, b""
        while block := self.file.read(at + len(data), BLOCK_SIZE):
            data += block
            found = -1
            while (found := data.find(_DESCRIPTOR, found + 1)) >= 0 and len(data) - found >= 16:
                for form, length in (("<LL", 16), ("<QQ", 24)):
                    if len(data) - found >= length:
                        packed, size = struct.unpack_from(form, data, found + 8)
                        if packed == at + found - begin:
                            return packed, size, at + found + length
            at, data = at + max(len(data) - 23, 0), data[-23:]
        raise damaged("the zip is truncated within a member", begin)

    def item(self, member: ZipMember, name: bytes) -> StoredMember | Stream:
        """Return how a member is read, which paths call `name`."""
        own_name, size, position, packed, method = member
        path = member_path(self.file.path, name)
        try:
            check_name(own_name, position)
            if position >= self.file.size:
                raise damaged("the directory of the zip places the member after its end")
            if method is None:
                raise damaged("the member is encrypted", position)
            if method not in (_STORED, _DEFLATED):
                raise damaged(
                    f"the member is compressed by method {method} "
                    f"({_METHODS.get(method, 'unknown')}), which is not supported",
                    position,
                )
            header = self.file.read(position, 30 + len(own_name))
            if len(header) < 30 or header[:4] != _LOCAL or header[30:] != own_name:
                raise damaged("the member is not where the directory of the zip says", position)
            # The extra field may differ in length from that in the directory.
            begin: int = position + 30 + sum(_parse_local(header)[5:])
            if begin + packed > self.file.size or (
                size > _MAX_DEFLATE_RATIO * packed if method == _DEFLATED else size != packed
            ):
                raise damaged("the zip has fewer bytes of the member than its size", position)
        except DicomError as error:
            return UnreadableMember(path, size, self.file.mtime_ns, error)
        if method == _STORED:
            return self.file.stored(name, begin, size)
        return _DeflatedMember(path, size, self.file, begin, packed)


def _is_file(name: bytes, size: int, system: int, attributes: int) -> bool:
    """Return whether an entry of the directory is a file: neither a folder nor a link."""
    kind = stat.S_IFMT(attributes >> 16) if system == _UNIX else 0
    is_folder = name.endswith(b"/") or bool(attributes & _FOLDER_ATTRIBUTE and not size)
    return not is_folder and kind in (0, stat.S_IFREG)


def _zip64_values(extra: bytes, size: int, packed: int, offset: int) -> list[int]:
    """Return [size, compressed size, offset], those unknown from the Zip64 extra field."""
    values = [size, packed, offset]
    at = 0
    while at + 4 <= len(extra):
        kind, length = struct.unpack_from("<HH", extra, at)
        at += 4
        if kind == 1:
            for i, value in enumerate(values):
                if value == _UNKNOWN and length >= 8 and at + 8 <= len(extra):
                    values[i] = int.from_bytes(extra[at : at + 8], "little")
                    at, length = at + 8, length - 8
            break
        at += length
    return values


class _DeflatedMember(UnpackedMember):
    """A deflated member of a zip, inflated as far as it is read."""

    def __init__(
        self, path: bytes, size: int, file: RandomAccessFile, begin: int, packed: int
    ) -> None:
        super().__init__(path, size, file.mtime_ns)
        self._file, self._begin, self._packed_size = file, begin, packed
        self._restart()

    def _restart(self) -> None:
        self._inflater = zlib.decompressobj(-15)
        self._input = b""  # read from the file, not inflated yet
        self._position = self.packed_read = 0

    def unpack(self, offset: int, length: int) -> bytes:
        """Return the bytes [offset, offset + length), fewer at the end of the member."""
        if offset < self._position:
            self._restart()
        parts = []
        while self._position < offset + length:
            before = self._position
            most = offset - before if before < offset else offset + length - before
            data = self._inflate(min(most, BLOCK_SIZE), length)
            if not data:
                break
            if before >= offset:
                parts.append(data)
            else:
                self.check_limit(self._position, MAX_SKIPPED, MAX_SKIPPED_RATIO)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _inflate(self, most: int, wanted: int) -> bytes:
        """Return the next bytes, at most `most`; none after the last.

        `wanted` is how many bytes the caller needs in all: it determines how much is read.
        """
        while not self._inflater.eof:
            if not self._input:
                left = self._packed_size - self.packed_read
                count = min(max(wanted, 4096), BLOCK_SIZE, left)
                self._input = self._file.read(self._begin + self.packed_read, count)
                self.packed_read += len(self._input)
            is_last = not self._input  # the inflater may still return bytes
            try:
                data = self._inflater.decompress(self._input, most)
            except zlib.error as error:
                raise damaged(f"the member is damaged: {error}", self._position) from None
            self._input = self._inflater.unconsumed_tail
            self._position += len(data)
            if data or is_last:
                return data
        return b""
