"""Lookup tables: items of a LUT sequence, and palettes (PS3.3 C.11.1.1, C.7.6.3.1.5)."""

from __future__ import annotations

from fastdcm.core._elements import Sequence
from fastdcm.errors import DicomError
from fastdcm.pixels import _kernels

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from fastdcm.core._elements import DataElement
    from fastdcm.pixels.protocols import Attributes, PixelArray, PixelDataset


def damaged(ds: PixelDataset, text: str, code: str = "lut") -> DicomError:
    """Return, without raising it, the error for damage in a data set."""
    return DicomError(text, code, None, "", ds.filename)


class LookupTable:
    """A lookup table.

    An input below `first` gives the first entry, one past the end the last
    (PS3.3 C.11.1.1.1).

    Parameters
    ----------
    values : numpy.ndarray
        uint8 or uint16 of shape (entries,), or (entries, n) for a palette.
    first : int
        The input that gives the first entry.
    bits : int
        Bits of an entry.
    """

    __slots__ = ("bits", "first", "values")

    def __init__(self, values: PixelArray, first: int, bits: int) -> None:
        self.values, self.first, self.bits = values, first, bits

    def look_up(self, arr: PixelArray) -> PixelArray:
        """Return the entries for an array of integers, or of floats, rounded down.

        The result has arr.shape, for a palette arr.shape + (n,).
        """
        import numpy as np

        if arr.dtype.kind == "f":
            index = np.fmin(np.fmax(arr - self.first, 0), len(self.values) - 1)
            return np.asarray(self.values[index.astype(np.intp)])
        if arr.dtype.itemsize == 8:  # 32 bits hold all indices
            arr = np.maximum(np.minimum(arr, 1 << 20).astype(np.int64), -1 << 20).astype(np.int32)
        arr = np.ascontiguousarray(arr)
        out = np.empty(arr.shape + self.values.shape[1:], self.values.dtype)
        fmt, size, columns = arr.dtype.str, out.itemsize, np.ascontiguousarray(self.values.T)
        if out.ndim == arr.ndim:
            _kernels.lut(arr, fmt, columns, self.first, out, size)
        elif len(columns) == 3:
            red, green, blue = columns
            _kernels.palette(arr, fmt, red, green, blue, self.first, out, size)
        else:
            part = np.empty(arr.shape, out.dtype)
            for channel, column in enumerate(columns):
                _kernels.lut(arr, fmt, column, self.first, part, size)
                out[..., channel] = part
        return out


def element(ds: PixelDataset, keyword: str) -> DataElement | None:
    """Return the element with a keyword, or None; ``ds.get(keyword)`` is its value."""
    return ds[keyword] if keyword in ds else None  # noqa: SIM401


def sequence_items(level: Attributes, keyword: str) -> Sequence | tuple[()]:
    """Return the items of a sequence, none if there is no such sequence."""
    value = level.get(keyword)
    return value if isinstance(value, Sequence) else ()


def lut_items(level: Attributes, keyword: str) -> list[Any]:
    """Return the items of a LUT sequence that have a descriptor or data."""
    return [
        item
        for item in sequence_items(level, keyword)
        if item.get("LUTDescriptor") is not None or item.get("LUTData") is not None
    ]


def is_signed(ds: PixelDataset) -> bool:
    """Return whether stored values are signed: Pixel Representation is 1."""
    return bool(ds.get("PixelRepresentation") == 1)


def read_descriptor(
    ds: PixelDataset, item: PixelDataset, keyword: str, name: str
) -> tuple[int, int, int]:
    """Return (entries, first input, bits of an entry) of a descriptor (PS3.3 C.11.1.1)."""
    value = item.get(keyword)
    if (
        not isinstance(value, list)
        or len(value) != 3
        or not all(isinstance(one, int) for one in value)
    ):
        raise damaged(ds, f"{name}: {keyword} must be three integers, got {value!r}")
    entries, first, bits = value
    if not 8 <= bits <= 16:
        raise damaged(ds, f"{name}: {keyword} must declare 8 to 16 bits, got {bits}")
    if first > 0x7FFF and is_signed(ds):  # written as US, meant as SS
        first -= 0x10000
    return entries & 0xFFFF or 0x10000, first, bits


def read_entries(
    ds: PixelDataset, item: PixelDataset, keyword: str, name: str, count: int, bits: int
) -> PixelArray:
    """Return `count` entries of LUT data, as stored.

    uint16, or uint8 where 8-bit entries are packed two to a word. Where there are fewer,
    the last one is repeated and the issue "lut" is noted.
    """
    import numpy as np

    elem = element(item, keyword)
    value = None if elem is None else elem.value
    entries: PixelArray
    if elem is not None and isinstance(value, (bytes, bytearray)):
        big = elem.is_big_endian if elem.is_raw else ds.original_encoding[1] is False
        if bits == 8 and len(value) <= count + 1:
            entries = np.frombuffer(value, np.uint8)
            if big and elem.VR == "OW" and len(value) % 2 == 0:
                entries = entries.view(np.uint16).byteswap().view(np.uint8)
        else:
            entries = np.frombuffer(value, ">u2" if big else "<u2", len(value) // 2)
            entries = entries.astype(np.uint16)
    else:
        values = value if isinstance(value, list) else [] if value is None else [value]
        if not all(isinstance(one, int) for one in values):
            raise damaged(ds, f"{name}: {keyword} has values that are not integers")
        entries = np.array([one & 0xFFFF for one in values], "<u2")
        if bits == 8 and 2 * len(values) <= count + 1:
            entries = entries.view(np.uint8)
    found = min(len(entries), count)
    if found == 0:
        raise damaged(ds, f"{name}: {keyword} has 0 entries, its descriptor declares {count}")
    if found < count:
        item.note_issue("lut", keyword)
        entries = np.pad(entries, (0, count - found), "edge")
    return entries[:count]


def read_table(ds: PixelDataset, item: PixelDataset, name: str) -> LookupTable:
    """Return the table in an item of a LUT sequence; `name` is used in errors."""
    import numpy as np

    entries, first, bits = read_descriptor(ds, item, "LUTDescriptor", name)
    values = read_entries(ds, item, "LUTData", name, entries, bits)
    if bits == 8:
        values = values.astype(np.uint8)
    return LookupTable(values, first, bits)
