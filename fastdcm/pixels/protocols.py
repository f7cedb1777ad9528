"""Protocols for the objects that the functions of this package read.

`fastdcm.Dataset` implements `PixelDataset`, and `fastdcm.pixels.frames.Frames`
implements `FrameSequence`. Only type checkers import this module.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal, Protocol, SupportsIndex, TypeAlias, overload

import numpy as np
from numpy.typing import NDArray

from fastdcm.core._file import File

#: The stored values of pixel data: integers or floats of any size.
PixelArray: TypeAlias = NDArray[Any]
#: Which frames: None for all, an index from 0, or a slice.
FrameSelection: TypeAlias = int | slice | None
#: VOI LUT Function (PS3.3 C.11.2.1.3).
VOIFunction: TypeAlias = Literal["LINEAR", "LINEAR_EXACT", "SIGMOID"]


class Attributes(Protocol):
    """Values by keyword: a data set, or a dict of what was read from one."""

    def get(self, key: str, /) -> Any:
        """Return the value of the element with this keyword, or None."""


class FrameSequence(Protocol):
    """The frames of a data set's pixel data, each read when it is accessed."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @property
    def matrix(self) -> tuple[float, float]:
        """The parts of red and blue in Y."""

    def photometric(self, i: int) -> str:
        """Return the Photometric Interpretation of the stored values of one frame."""

    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[PixelArray]: ...
    @overload
    def __getitem__(self, key: SupportsIndex) -> PixelArray: ...
    @overload
    def __getitem__(self, key: slice) -> PixelArray: ...
    def read(
        self,
        indices: range,
        threads: int | None = None,
        mmap: bool | None = None,
        out: PixelArray | None = None,
        max_ratio: int = ...,
    ) -> PixelArray:
        """Return the frames at these indices as one array."""


class PixelDataset(Protocol):
    """A data set with pixel data, or an item of one of its sequences."""

    _source: File | None

    @property
    def file(self) -> File | None:
        """The file that the elements are read from."""

    @property
    def filename(self) -> Any:
        """The path of the file."""

    @property
    def original_encoding(self) -> tuple[bool | None, bool | None]:
        """(is implicit VR, is little endian)."""

    @property
    def frames(self) -> FrameSequence:
        """The frames of the pixel data."""

    def get(self, key: str | int, default: Any = None, /) -> Any:
        """Return the value at a keyword, or the element at a tag."""

    def note_issue(self, name: str, key: str | int, /) -> None:
        """Record an issue about an element, by the name of the code."""

    def keys(self) -> list[Any]:
        """Return the tags of the elements, in ascending order."""

    def __contains__(self, key: object, /) -> bool: ...
    def __getitem__(self, key: Any, /) -> Any: ...
