"""What archives have in common: their file, members that have to be unpacked,
and the measure of what is honest.
"""

import os
import stat
from threading import Lock

from fastdcm.errors import error_for

# What no honest archive has.
MOST_MEMBERS = 4_000_000
MOST_NAME = 4096  # bytes
# Bytes of one member that are unpacked for its header, in memory and in passing,
# and how many times its packed size.
HEADER, HEADER_RATIO = 8 << 20, 64
PASSED, PASSED_RATIO = 256 << 20, 200

BLOCK = 256 << 10


def damaged(text, offset=None):
    return error_for("archive", text, offset)


def cut_within(offset):
    return damaged("the archive is cut or damaged within the member", offset)


def beyond(text, offset=None):
    return error_for("archive-limit", text, offset)


class Disk:
    """An archive's file: positioned reads, which threads can share."""

    def __init__(self, path):
        self.path = path
        # A FIFO without a writer must not block us.
        flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
        try:
            self.handle = os.open(path, flags)
        except (OSError, ValueError) as error:  # a NUL in it
            raise error_for(
                "open", "the archive cannot be opened", errno=getattr(error, "errno", None)
            ) from None
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
        try:
            if hasattr(os, "pread"):
                return os.pread(self.handle, length, offset)
            with self.lock:
                os.lseek(self.handle, offset, os.SEEK_SET)
                return os.read(self.handle, length)
        except OSError as error:
            raise error_for(
                "read", "the archive cannot be read", offset, errno=error.errno
            ) from None


def check_member(count, name, place):
    if count > MOST_MEMBERS:
        raise beyond(f"the archive holds more than {MOST_MEMBERS:,} members", place)
    if len(name) > MOST_NAME:
        raise beyond(f"the name of a member has {len(name):,} bytes", place)


def check_name(name, place):
    if b"\0" in name:  # no path can lead there
        raise damaged("the member's name has a NUL in it", place)


class Failed:
    """What cannot be read: a member, or the archive itself."""

    kept = b""

    def __init__(self, path, size, mtime_ns, error):
        self.path, self.size, self.mtime_ns, self.error = path, size, mtime_ns, error

    def open(self, first):
        if not self.size:
            raise self.error

    def read(self, offset, length):
        raise self.error


class Stream:
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

    def read(self, offset, length):
        with self.lock:
            if offset + length <= len(self.kept):
                data = self.kept[offset : offset + length]
            else:
                data = self.unpacked(offset, length)
            self.given += length
            if len(data) < length:
                raise cut_within(offset + len(data))
            self.measure(self.given, HEADER, HEADER_RATIO)
        return data

    def measure(self, count, most, ratio):
        if self.guarded and count > most and count > ratio * self.packed:
            raise beyond(f"more than {most >> 20} MiB were unpacked for its header")
