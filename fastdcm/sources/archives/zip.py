"""Zip archives: their directory, and members that are stored or deflated.

The directory is read in blocks, so that its length does not matter.
"""

import stat
import struct
import zlib

from fastdcm.errors import DicomError
from fastdcm.sources._paths import member_path
from fastdcm.sources.archives.limits import (
    BLOCK,
    PASSED,
    PASSED_RATIO,
    Failed,
    Stream,
    beyond,
    check_member,
    check_name,
    damaged,
)

_DEFLATE_MOST = 1032  # bytes that deflate can make of one
_LOCAL, _CENTRAL, _END, _DESCRIPTOR = b"PK\3\4", b"PK\1\2", b"PK\5\6", b"PK\7\x08"
_local = struct.Struct(
    "<4s2xHH8xLLHH"
).unpack_from  # flags, method, packed, size, lengths of name, extra
_central = struct.Struct("<4sxBxxHH8xLLHHHxxxxLL").unpack_from
_end = struct.Struct(
    "<4s6xHLLH"
).unpack_from  # members, length and offset of the directory, comment
_end64 = struct.Struct("<4s28xQQQ").unpack_from
_LONGEST = 46 + 2 * 0xFFFF  # bytes of an entry without its comment
_ENCRYPTED = 0x2041  # flags: encrypted, strongly, or its headers are
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


class Zip:
    """A zip: its members in the order of its directory. Where that is missing
    those before the cut, in the order of their bytes.

    A member is (name, size, place of its local header, packed size, method or
    None when it is encrypted).
    """

    def __init__(self, disk):
        self.disk = disk
        self.directory = None
        self.is_one = self.find_directory() or disk.read(0, 4) == _LOCAL

    def walk(self, at=None):
        return self.walk_local(at or 0) if self.directory is None else self.walk_directory(at)

    def find_directory(self):
        """Sets where the directory is, how many members it should have, and
        how many bytes stand before what it counts from. Whether there is the
        record that tells this, right or wrong."""
        start = max(self.disk.size - 22 - 0xFFFF, 0)
        tail = self.disk.read(start, 22 + 0xFFFF)
        found, at = False, len(tail) - 21
        while (at := tail.rfind(_END, 0, max(at + 3, 0))) >= 0:
            _, count, length, offset, comment = _end(tail, at)
            rest = len(tail) - at - 22 - comment
            if rest < 0:
                continue
            end, count, length, offset = self.end64(tail, at, start) or (
                start + at,
                count,
                length,
                offset,
            )
            for before in (end - length - offset, 0):
                if before >= 0 and (
                    self.disk.read(before + offset, 4) == _CENTRAL if length else not rest
                ):
                    self.directory, self.end = before + offset, before + offset + length
                    self.before, self.count = before, count
                    return True
            found = True
        return found

    def end64(self, tail, at, start):
        """(where it stands, members, length and offset of the directory) of the
        record for large zips that may stand before the end record."""
        if at < 20 or tail[at - 20 : at - 16] != b"PK\6\7":
            return None
        told = int.from_bytes(tail[at - 12 : at - 4], "little")
        for place in (start + at - 20 - 56, told):
            record = self.disk.read(place, 56)
            if len(record) == 56 and record[:4] == b"PK\6\6":
                return place, *_end64(record)[1:]
        return None

    def walk_directory(self, at=None):
        whole = at is None
        at = self.directory if whole else at
        data, pos = b"", 0  # what is in memory of the directory, from `at` on
        need = _LONGEST if whole else 46
        count = total = 0
        while at + pos < self.end:
            if len(data) - pos < need and at + len(data) < self.end:
                at, data, pos = at + pos, data[pos:], 0
                data += self.disk.read(
                    at + len(data), min(2 * need + 4000, self.end - at - len(data))
                )
            place = at + pos
            if len(data) - pos < 46:
                raise damaged("the zip's directory is cut", place)
            (
                mark,
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
            ) = _central(data, pos)
            if len(data) - pos < 46 + n_name + n_extra and need < _LONGEST:
                need = _LONGEST
                continue
            pos += 46
            name, extra = data[pos : pos + n_name], data[pos + n_name : pos + n_name + n_extra]
            pos += n_name + n_extra + n_comment
            if mark != _CENTRAL or len(name) + len(extra) < n_name + n_extra:
                raise damaged("the zip's directory is damaged", place)
            if 0xFFFFFFFF in (packed, size, offset):
                size, packed, offset = _large(extra, size, packed, offset)
            count += 1
            total += 30 + packed
            check_member(count, name, place)
            if total > self.disk.size:
                raise beyond("members of the zip overlap, or it was cut", place)
            # A folder, or what Unix knows and is no file (a link).
            kind = stat.S_IFMT(attributes >> 16) if system == 3 else 0
            if name.endswith(b"/") or attributes & 16 and not size or kind not in (0, stat.S_IFREG):
                continue
            yield (
                place,
                (name, size, self.before + offset, packed, None if flags & _ENCRYPTED else method),
            )
        if whole and (count - self.count) & 0xFFFF:
            raise damaged(
                f"the zip's directory has {count:,} members, not {self.count:,}", self.end
            )

    def walk_local(self, at=0):
        count = 0
        while True:
            head = self.disk.read(at, 30)
            if len(head) < 30 or head[:4] != _LOCAL:
                raise damaged("the zip's directory is missing: it was cut or damaged", at)
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
                raise damaged("the zip is cut within a member", at)
            count += 1
            check_member(count, name, at)
            if not name.endswith(b"/"):
                yield at, (name, size, at, packed, None if flags & _ENCRYPTED else method)
            at = end

    def descriptor(self, begin):
        """(packed size, size, end) of a member whose sizes stand behind it."""
        at, data = begin, b""
        while block := self.disk.read(at + len(data), BLOCK):
            data += block
            found = -1
            while (found := data.find(_DESCRIPTOR, found + 1)) >= 0 and len(data) - found >= 16:
                for form, length in (("<LL", 16), ("<QQ", 24)):
                    if len(data) - found >= length:
                        packed, size = struct.unpack_from(form, data, found + 8)
                        if packed == at + found - begin:
                            return packed, size, at + found + length
            at, data = at + max(len(data) - 23, 0), data[-23:]
        raise damaged("the zip is cut within a member", begin)

    def item(self, member):
        name, size, place, packed, method = member
        path = member_path(self.disk.path, name)
        try:
            check_name(name, place)
            if method is None:
                raise damaged("the member is encrypted", place)
            if method not in (0, 8):
                raise damaged(
                    f"the member is packed by method {method} "
                    f"({_METHODS.get(method, 'unknown')}), which is not read",
                    place,
                )
            head = self.disk.read(place, 30 + len(name))
            if len(head) < 30 or head[:4] != _LOCAL or head[30:] != name:
                raise damaged("the member does not stand where the zip's directory says", place)
            # The directory's own extra field may have another length.
            begin = place + 30 + sum(_local(head)[5:])
            if begin + packed > self.disk.size or (
                size > _DEFLATE_MOST * packed if method else size != packed
            ):
                raise damaged(
                    "the zip does not hold as many bytes as the member should have", place
                )
        except DicomError as error:
            return Failed(path, size, self.disk.mtime_ns, error)
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
                    values[i] = int.from_bytes(extra[at : at + 8], "little")
                    at, length = at + 8, length - 8
            break
        at += length
    return values


class _Deflated(Stream):
    """A deflated member of a zip, inflated as far as it is asked for."""

    def __init__(self, path, size, disk, begin, packed):
        super().__init__(path, size, disk.mtime_ns)
        self.disk, self.begin, self.length = disk, begin, packed
        self.restart()

    def restart(self):
        self.inflater = zlib.decompressobj(-15)
        self.tail = b""  # read, not inflated yet
        self.at = self.packed = 0

    def unpacked(self, offset, length):
        if offset < self.at:
            self.restart()
        parts = []
        while self.at < offset + length:
            before = self.at
            most = offset - before if before < offset else offset + length - before
            data = self.more(min(most, BLOCK), length)
            if not data:
                break
            if before >= offset:
                parts.append(data)
            else:
                self.measure(self.at, PASSED, PASSED_RATIO)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def more(self, most, wanted):
        """Some of the next bytes, b"" behind the last."""
        while not self.inflater.eof:
            if not self.tail:
                count = min(max(wanted, 4096), BLOCK, self.length - self.packed)
                self.tail = self.disk.read(self.begin + self.packed, count)
                self.packed += len(self.tail)
            ended = not self.tail  # and yet the inflater may hold some back
            try:
                data = self.inflater.decompress(self.tail, most)
            except zlib.error as error:
                raise damaged(f"the member is damaged: {error}", self.at) from None
            self.tail = self.inflater.unconsumed_tail
            self.at += len(data)
            if data or ended:
                return data
        return b""
