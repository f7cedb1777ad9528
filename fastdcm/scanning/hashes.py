"""Hashes of files and of their pixel data, to find duplicates."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from fastdcm._util.optional import require
from fastdcm.errors import DicomError

if TYPE_CHECKING:
    from collections.abc import Callable

    from fastdcm.core._file import File

_BLOCK = 1 << 20


class _Hash(Protocol):
    def update(self, data: bytes) -> None: ...
    def hexdigest(self) -> str: ...


def xxh3() -> Callable[[], _Hash]:
    """Return the class of 128-bit XXH3 hashes.

    XXH3 finds equal contents; it is no protection against deliberate collisions.

    Raises
    ------
    ModuleNotFoundError
        If xxhash is not installed.
    """
    new: Callable[[], _Hash] = require("xxhash", "hash=", "hash").xxh3_128
    return new


def hash_of(file: File, offset: int, length: int | None) -> str | None:
    """Return the hash of a range of bytes.

    Parameters
    ----------
    file : File
        Open.
    offset, length : int
        The range in bytes. `length` may be None: there is nothing to hash.

    Returns
    -------
    str or None
        32 hexadecimal digits; None if the bytes cannot be read.
    """
    if length is None:
        return None
    state = xxh3()()
    end = offset + length
    try:
        while offset < end:
            block = file.read(offset, min(_BLOCK, end - offset))
            state.update(block)
            offset += len(block)
    except (DicomError, OSError, ValueError):
        return None
    return state.hexdigest()
