"""The types of arguments: files, file objects and tags.

For annotations. A file object is any object with the methods of a protocol; it
need not derive from the class here.
"""

from collections.abc import Sequence
from os import PathLike
from typing import Protocol, TypeAlias

#: A tag as a number, a keyword or hexadecimal digits, or (group, element).
TagLike: TypeAlias = int | str | Sequence[int | str]


class ReadableFile(Protocol):
    """A seekable binary file object, such as ``open(path, "rb")`` or ``io.BytesIO``.

    Reading begins at its current position; while a data set reads from it, nothing else
    may set the position. Threads take turns, unless it also has the method ``pread`` of
    `ReadableAtOffset`, which several threads may call at the same time.
    """

    def read(self, size: int, /) -> bytes:
        """Read `size` bytes, fewer only at the end."""

    def seek(self, offset: int, whence: int = 0, /) -> int:
        """Move to `offset` from the start, or from the end (whence 2); return the position."""

    def tell(self) -> int:
        """Return the position."""


#: What `fastdcm.dcmread` reads: a path, a file object or bytes in memory.
Source: TypeAlias = (
    str | bytes | PathLike[str] | PathLike[bytes] | ReadableFile | memoryview | bytearray
)


class ReadableAtOffset(ReadableFile, Protocol):
    """A file object that also reads at any offset, without a position."""

    def pread(self, length: int, offset: int, /) -> bytes:
        """Read `length` bytes at `offset`, fewer only at the end. Thread-safe."""


class WritableFile(Protocol):
    """A binary file object that `fastdcm.dcmwrite` can write to."""

    def write(self, data: bytes, /) -> object:
        """Write all bytes of `data`."""


#: What `fastdcm.dcmwrite` writes to: a path or a file object.
Target: TypeAlias = str | bytes | PathLike[str] | PathLike[bytes] | WritableFile
