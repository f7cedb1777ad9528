"""Limits of archives, and the file and member classes that zip and tar share.

The limits prevent a small damaged or malicious archive from filling the memory or keeping a
scan busy. No ordinary archive of DICOM files reaches them.
"""

from __future__ import annotations

import os
import stat
from threading import Lock

from fastdcm.errors import DicomError, error_for
from fastdcm.sources.numbers import known_size, known_time
from fastdcm.sources.urls import is_url

TYPE_CHECKING = False
if TYPE_CHECKING:
    from fastdcm.sources.protocols import StoredMember

MAX_MEMBERS = 4_000_000
MAX_NAME_LENGTH = 4096  # bytes
# A compressed member is unpacked to read its header. It is over the limit when that unpacks
# more than this many bytes, and more than this many times the compressed bytes: first for
# the bytes that are read, then for those that are skipped.
MAX_HEADER, MAX_HEADER_RATIO = 8 << 20, 64
MAX_SKIPPED, MAX_SKIPPED_RATIO = 256 << 20, 200

BLOCK_SIZE = 256 << 10  # bytes to read or unpack at once


def damaged(text: str, offset: int | None = None) -> DicomError:
    """Return the error of an archive that is damaged or that cannot be read."""
    return error_for("archive", text, offset)


def truncated_member(offset: int) -> DicomError:
    """Return the error of an archive that ends within a member."""
    return damaged("the archive is truncated or damaged within the member", offset)


def over_limit(text: str, offset: int | None = None) -> DicomError:
    """Return the error of an archive that exceeds a limit."""
    return error_for("archive-limit", text, offset)


def check_member(count: int, name: bytes, position: int) -> None:
    """Raise DicomError if the archive has too many members or the name is too long.

    Parameters
    ----------
    count : int
        The number of members up to this one.
    name : bytes
        The name of this member.
    position : int
        The offset of its header in the archive, for the error.
    """
    if count > MAX_MEMBERS:
        raise over_limit(f"the archive holds more than {MAX_MEMBERS:,} members", position)
    if len(name) > MAX_NAME_LENGTH:
        raise over_limit(
            f"the name of a member is {len(name):,} bytes long; the limit is {MAX_NAME_LENGTH:,}",
            position,
        )


def check_name(name: bytes, position: int) -> None:
    """Raise DicomError if the name of a member contains a NUL, so that no path can name it."""
    if b"\0" in name:
        raise damaged("the name of the member contains a NUL byte", position)


def archive_name(path: bytes) -> bytes:
    """Return the name of an archive without its folder, and without the query of a URL."""
    name = path.rpartition(b"!/")[2]
    if is_url(name):
        name = name.partition(b"?")[0]
    return os.path.basename(name)


class ArchiveFile:
    """The file of an archive, which several threads can read at any offset.

    Parameters
    ----------
    path : bytes
        The path of the archive.

    Attributes
    ----------
    is_regular : bool
        Whether it is a regular file.
    size, mtime_ns : int
        Size in bytes, and time of the last change in nanoseconds since 1970; None if that is
        not known.
    """

    _descriptor = -1

    def __init__(self, path: bytes) -> None:
        self.path = path
        # O_NONBLOCK: opening a FIFO that has no writer would wait for one.
        flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
        try:
            self._descriptor = os.open(path, flags)
        except (OSError, ValueError) as error:  # ValueError: the path contains a NUL
            number = error.errno if isinstance(error, OSError) else None
            raise error_for("open", "the archive cannot be opened", errno=number) from None
        status = os.fstat(self._descriptor)
        self.is_regular = stat.S_ISREG(status.st_mode)
        self.size, self.mtime_ns = status.st_size, known_time(status.st_mtime_ns)
        self._lock = Lock()

    def __del__(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)

    def read(self, offset: int, length: int) -> bytes:
        """Return the bytes [offset, offset + length), fewer at the end of the file."""
        if not 0 <= offset < self.size or length <= 0:
            return b""
        length = min(length, self.size - offset)
        try:
            if hasattr(os, "pread"):
                return os.pread(self._descriptor, length, offset)
            with self._lock:
                os.lseek(self._descriptor, offset, os.SEEK_SET)
                return os.read(self._descriptor, length)
        except OSError as error:
            raise error_for(
                "read", "the archive cannot be read", offset, errno=error.errno
            ) from None

    def stored(self, name: bytes, begin: int, size: int) -> StoredMember:
        """Return how a member is read whose bytes the file contains as they are."""
        return name, begin, size


class UnreadableMember:
    """A stream that cannot be read: a member, an entire archive, or a listing.

    Reading it raises `error`.

    Parameters
    ----------
    path : bytes
        What cannot be read.
    size, mtime_ns : int or None
        As in `fastdcm.sources.protocols.Stream`.
    error : DicomError
        Why it cannot be read.
    """

    def __init__(
        self, path: bytes, size: int | None, mtime_ns: int | None, error: DicomError
    ) -> None:
        self.path, self.size, self.mtime_ns = path, known_size(size), mtime_ns
        self.error = error

    def open(self, first: int) -> None:
        """Raise the error if the size is 0 or unknown, so that nothing will be read."""
        if not self.size:
            raise self.error

    def read(self, offset: int, length: int) -> bytes:
        """Raise the error."""
        raise self.error


class UnpackedMember:
    """A stream of a compressed member, which is unpacked as far as it is read.

    Subclasses implement `unpack` and keep `packed_read` current. Threads may share it.

    Parameters
    ----------
    path : bytes
        The path of the member.
    size, mtime_ns : int or None
        As in `fastdcm.sources.protocols.Stream`.

    Attributes
    ----------
    prefix : bytes
        The first bytes of the member, as far as they are in memory.
    is_limited : bool
        Whether `MAX_HEADER` applies: True as long as only a header is read.
    packed_read : int
        How many bytes of the archive have been read for this member.
    """

    packed_read: int

    def __init__(self, path: bytes, size: int, mtime_ns: int | None) -> None:
        self.path, self.size, self.mtime_ns = path, size, mtime_ns
        self.prefix = b""
        self.is_limited = True
        self._returned = 0
        self._lock = Lock()

    def open(self, first: int) -> None:
        """Do nothing: size and time are known."""

    def read(self, offset: int, length: int) -> bytes:
        """Return exactly `length` bytes at `offset`."""
        with self._lock:
            if offset + length <= len(self.prefix):
                data = self.prefix[offset : offset + length]
            else:
                data = self.unpack(offset, length)
            self._returned += length
            if len(data) < length:
                raise truncated_member(offset + len(data))
            self.check_limit(self._returned, MAX_HEADER, MAX_HEADER_RATIO)
        return data

    def unpack(self, offset: int, length: int) -> bytes:
        """Return the bytes [offset, offset + length), fewer at the end of the member."""
        raise NotImplementedError

    def check_limit(self, count: int, limit: int, ratio: int) -> None:
        """Raise DicomError if `count` unpacked bytes are over a limit and a ratio."""
        if self.is_limited and count > limit and count > ratio * self.packed_read:
            raise over_limit(
                f"reading the header unpacks more than {limit >> 20} MiB, "
                f"{ratio} times the compressed bytes"
            )
