"""Lookup tables: what an item of a LUT sequence, or a palette, holds (PS3.3
C.11.1.1, C.7.6.3.1.5)."""

from fastdcm.errors import DicomError
from fastdcm.pixels import _kernels


def refuse(ds, text, code="lut"):
    """The error, not raised, that tells of damage in a data set."""
    return DicomError(text, code, None, "", ds.filename)


class Table:
    """A lookup table.

    values : array of uint8 or uint16, of shape (entries,), or (entries, n) for
    a palette. first : the input value that the first entry stands for. bits :
    of an entry. Below the first value the first entry is taken, above the last
    the last (PS3.3 C.11.1.1.1).
    """

    __slots__ = ("values", "first", "bits")

    def __init__(self, values, first, bits):
        self.values, self.first, self.bits = values, first, bits

    def look_up(self, arr):
        """The entries for an array of integers, or of floats, whose fraction is
        cut: arr.shape, for a palette + (n,)."""
        import numpy as np

        if arr.dtype.kind == "f":
            index = np.fmin(np.fmax(arr - self.first, 0), len(self.values) - 1)
            return self.values[index.astype(np.intp)]
        if arr.dtype.itemsize == 8:  # what is far outside stays outside in 32 bits
            arr = np.maximum(np.minimum(arr, 1 << 20).astype(np.int64), -1 << 20).astype(np.int32)
        arr = np.ascontiguousarray(arr)
        out = np.empty(arr.shape + self.values.shape[1:], self.values.dtype)
        fmt, size, columns = arr.dtype.str, out.itemsize, np.ascontiguousarray(self.values.T)
        if out.ndim == arr.ndim:
            _kernels.lut(arr, fmt, columns, self.first, out, size)
        elif len(columns) == 3:
            _kernels.palette(arr, fmt, *columns, self.first, out, size)
        else:
            part = np.empty(arr.shape, out.dtype)
            for channel, column in enumerate(columns):
                _kernels.lut(arr, fmt, column, self.first, part, size)
                out[..., channel] = part
        return out


def is_signed(ds):
    return ds.get("PixelRepresentation") == 1


def descriptor(ds, item, keyword, name):
    """(entries, first input value, bits of an entry), PS3.3 C.11.1.1."""
    value = item.get(keyword)
    if (
        not isinstance(value, list)
        or len(value) != 3
        or not all(isinstance(one, int) for one in value)
    ):
        raise refuse(ds, f"{name}: {keyword} is {value!r}, where three numbers are needed")
    entries, first, bits = value
    if not 8 <= bits <= 16:
        raise refuse(ds, f"{name}: {keyword} tells of {bits} bits, where 8 to 16 are possible")
    if first > 0x7FFF and is_signed(ds):  # written as US, meant as SS
        first -= 0x10000
    return entries & 0xFFFF or 0x10000, first, bits


def words(ds, item, keyword, name, count, bits):
    """`count` entries of LUT data, as they stand: uint16, or uint8 where 8-bit
    entries are packed two to a word."""
    import numpy as np

    elem = item[keyword] if keyword in item else None
    value = None if elem is None else elem.value
    if isinstance(value, (bytes, bytearray)):
        big = elem.is_big_endian if elem.is_raw else ds.original_encoding[1] is False
        if len(value) >= 2 * count:
            return np.frombuffer(value, ">u2" if big else "<u2", count).astype(np.uint16)
        if bits == 8 and len(value) >= count:
            if big and elem.VR == "OW" and len(value) % 2 == 0:
                value = np.frombuffer(value, np.uint16).byteswap()
            return np.frombuffer(value, np.uint8, count)
        have = len(value) // 2
    else:
        value = value if isinstance(value, list) else [] if value is None else [value]
        have = len(value)
        if have >= count and all(isinstance(one, int) for one in value[:count]):
            return np.array([one & 0xFFFF for one in value[:count]], np.uint16)
        if bits == 8 and 2 * have >= count and all(isinstance(one, int) for one in value):
            return np.array([one & 0xFFFF for one in value], "<u2").view(np.uint8)[:count]
    raise refuse(ds, f"{name}: {keyword} has {have} entries, where its descriptor tells of {count}")


def table_of(ds, item, name):
    """The Table of an item of a LUT sequence."""
    import numpy as np

    entries, first, bits = descriptor(ds, item, "LUTDescriptor", name)
    values = words(ds, item, "LUTData", name, entries, bits)
    if bits == 8:
        values = values.astype(np.uint8)
    return Table(values, first, bits)
