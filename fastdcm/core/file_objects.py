"""Read at any offset of a Python file object, from several threads."""

from __future__ import annotations

import io
import threading
from weakref import WeakValueDictionary

from fastdcm.errors import DicomError, error_for

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from fastdcm.core.protocols import ReadableFile

_TEXT_MODE = "the file object is in text mode: open it in binary mode, as with open(path, 'rb')"
_IN_MEMORY = "read it into memory first: dcmread(io.BytesIO(file.read()))"
_LARGEST = (1 << 63) - 1

# The lock of each file object in use, by its id: two data sets may be read from one file
# object. A `FileObject` keeps both alive, so the id of another object is not found here.
_locks: WeakValueDictionary[int, Any] = WeakValueDictionary()
_locks_lock = threading.Lock()


class FileObject:
    """A binary file object as a stream that begins at its current position.

    What the file object raises while it is read becomes a DicomError.

    Parameters
    ----------
    file : ReadableFile
        With the methods `read`, `seek` and `tell`. If it also has `pread`, as
        `ReadableAtOffset`, several threads call that at the same time; otherwise a lock
        makes `seek` and `read` one step.

    Raises
    ------
    TypeError
        If it lacks a method, or is in text mode.
    DicomError
        If it is closed, cannot seek, or fails (code ``read``).
    """

    __slots__ = ("_file", "_lock", "_start", "name", "size")

    def __init__(self, file: ReadableFile) -> None:
        for method in ("seek", "tell"):
            if not hasattr(file, method):
                raise TypeError(
                    "the file object must have the methods read, seek and tell; "
                    f"{type(file).__name__} has no {method}: {_IN_MEMORY}"
                )
        if isinstance(file, io.TextIOBase):
            raise TypeError(_TEXT_MODE)
        self._file: Any = file
        name = getattr(file, "name", None)
        self.name = name if isinstance(name, str) else None
        with _locks_lock:
            self._lock = _locks.setdefault(id(file), threading.Lock())
        try:
            self._start, self.size = self._extent()
        except Exception as error:
            raise self._failure(error, 0) from error

    def _extent(self) -> tuple[int, int]:
        """Return the position and the number of bytes from there to the end."""
        seekable = getattr(self._file, "seekable", None)
        if seekable is not None and not seekable():
            raise self._error(f"the file object cannot seek: {_IN_MEMORY}", 0)
        with self._lock:
            start = self._file.tell()
            end = self._file.seek(0, 2)
            if end is None:  # mmap before Python 3.13
                end = self._file.tell()
        if not isinstance(start, int) or not isinstance(end, int) or not 0 <= end <= _LARGEST:
            raise self._error(
                f"the positions of the file object must be integers, got {start!r} for the "
                f"current one and {end!r} for the end",
                0,
            )
        return start, max(end - start, 0)

    def read_at(self, offset: int, length: int) -> bytes:
        """Return `length` bytes at `offset`, fewer only at the end.

        Raises
        ------
        DicomError
            If the file object fails, or returns something else (code ``read``).
        """
        file, start = self._file, self._start + offset
        try:
            if hasattr(file, "pread"):
                return self._read(lambda n, at: file.pread(n, start + at), offset, length)
            with self._lock:
                position = file.seek(start)
                if isinstance(position, int) and position != start:
                    raise self._error(f"the file object moved to {position}, not {start}", offset)
                return self._read(lambda n, _: file.read(n), offset, length)
        except MemoryError:
            raise
        except Exception as error:
            raise self._failure(error, offset) from error

    def _read(self, read: Callable[[int, int], Any], offset: int, length: int) -> bytes:
        """Call read(size, position) until there are `length` bytes, or no more."""
        parts: list[bytes] = []
        got = 0
        while got < length:
            data = read(length - got, got)
            if isinstance(data, str):
                raise self._error(_TEXT_MODE, offset)
            if data is None:
                raise self._error(
                    f"the file object has no data yet (it is non-blocking): {_IN_MEMORY}", offset
                )
            if not isinstance(data, bytes):
                data = bytes(memoryview(data))
            if not data:
                break
            if len(data) > length - got:
                raise self._error(
                    f"the file object returned {len(data)} bytes for a read of {length - got}",
                    offset,
                )
            parts.append(data)
            got += len(data)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _error(self, text: str, offset: int, errno: int | None = None) -> DicomError:
        return error_for("read", text, offset, filename=self.name, errno=errno)

    def _failure(self, error: Exception, offset: int) -> DicomError:
        """Return what the file object raised as a DicomError."""
        if isinstance(error, DicomError):
            return error
        name, number = type(error).__name__, getattr(error, "errno", None)
        if isinstance(number, int) and number:
            return self._error(f"the file object raised {name}", offset, number)
        return self._error(f"the file object raised {name}: {error}", offset)
