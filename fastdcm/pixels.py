"""Native pixel data as NumPy arrays (PS3.5 8, PS3.3 C.7.6.3)."""

from fastdcm.errors import DicomError
from fastdcm.uid import UID

# Below this a read into a new array is faster than a mapping with its page
# faults; above it a mapping is, and one frame of many costs one frame.
MAP_FROM = 1 << 20

_KEYWORDS = {0x7FE00010: "PixelData", 0x7FE00008: "FloatPixelData",
             0x7FE00009: "DoubleFloatPixelData"}


def _refuse(ds, text, code="pixels"):
    return DicomError(text, code, None, "", ds.filename)


def _element(ds):
    for tag in _KEYWORDS:
        elem = ds.get(tag)
        if elem is not None:
            return elem
    raise AttributeError("the data set has no pixel data: no (7FE0,0010), (7FE0,0008) "
                         "or (7FE0,0009)")


def _count(ds, keyword, default=None):
    value = getattr(ds, keyword, None)
    if value is None or value == "":
        value = default
    if not isinstance(value, int) or value < 1:
        raise _refuse(ds, f"{keyword} is {value!r}, where a positive number is needed")
    return value


def _dtype(ds, elem, bits, big):
    if elem.tag != 0x7FE00010:
        kind, size = "f", 4 if elem.tag == 0x7FE00008 else 8
    elif bits in (8, 16, 32, 64):
        kind = "i" if getattr(ds, "PixelRepresentation", 0) == 1 else "u"
        size = bits // 8
    else:
        raise _refuse(ds, f"BitsAllocated is {bits}: native pixels have 1, 8, 16, 32 or 64")
    return f"{'>' if big else '<'}{kind}{size}"


def pixel_array(ds, mmap=None, native_endian=False):
    """The stored values of native pixel data.

    ds : Dataset.
    mmap : True maps the file, False reads it, None maps from 1 MiB on. A
        mapping is private: writing to the array never changes the file.
        Truncating a mapped file kills the process that touches the lost part,
        whatever the program: False is the way round that.
    native_endian : turn big endian values into the machine's order (a copy).

    Returns an array of shape ([frames,] rows, columns[, samples]), writeable,
    in the byte order of the file. Raises AttributeError without pixel data,
    DicomError where it is not native or does not have the length that its
    attributes say.
    """
    import numpy as np

    elem = _element(ds)
    syntax = ds._source.transfer_syntax if ds._source is not None else None
    if elem.is_undefined_length:
        raise _refuse(ds, f"the pixel data is encapsulated ({UID(syntax or '').name}): "
                          "only native pixels are decoded")
    rows, columns = _count(ds, "Rows"), _count(ds, "Columns")
    samples = _count(ds, "SamplesPerPixel", 1)
    frames = _count(ds, "NumberOfFrames", 1)
    bits = _count(ds, "BitsAllocated", 0) if elem.tag == 0x7FE00010 else 0
    big = elem.is_big_endian if elem.is_raw else ds.original_encoding[1] is False
    cells = frames * rows * columns * samples
    planar = samples > 1 and getattr(ds, "PlanarConfiguration", 0) == 1
    shape = (frames, samples, rows, columns) if planar else (frames, rows, columns, samples)
    if bits == 1:
        array = _unpack_bits(np, _bytes(np, ds, elem, (cells + 7) // 8, False), cells)
    else:
        dtype = np.dtype(_dtype(ds, elem, bits, big))
        data = _bytes(np, ds, elem, cells * dtype.itemsize, _maps(ds, elem, mmap))
        if big and bits == 8 and elem.VR == "OW":
            data = _swap_words(np, ds, elem, data, cells)
        array = data.view(dtype)
    array = array.reshape(shape)
    if planar:
        array = array.transpose(0, 2, 3, 1)
    if samples == 1:
        array = array[..., 0]
    if frames == 1:
        array = array[0]
    if native_endian and not array.dtype.isnative:
        array = array.astype(array.dtype.newbyteorder("="))
    return array


def _maps(ds, elem, mmap):
    if mmap is None:
        mmap = elem.is_raw and elem.value_length >= MAP_FROM
    return mmap and elem.is_raw and ds.file.mappable


def _bytes(np, ds, elem, length, mapped):
    """The first `length` bytes of the value, as a writeable array."""
    if not elem.is_raw:
        value = elem.value or b""
        have = len(value)
    else:
        have = elem.value_length
    if have < length:
        raise _refuse(ds, f"the pixel data has {have} bytes, where its attributes ask for {length}")
    if not elem.is_raw:
        return np.frombuffer(bytearray(memoryview(value)[:length]), np.uint8)
    if mapped:
        return np.frombuffer(ds.file.map(elem.file_tell, length), np.uint8)
    data = np.empty(length, np.uint8)
    ds.file.readinto(elem.file_tell, data)
    return data


def _unpack_bits(np, data, cells):
    """One bit a cell, the first in the lowest bit (PS3.5 8.1.1)."""
    return np.unpackbits(data, count=cells, bitorder="little")


def _swap_words(np, ds, elem, data, cells):
    """Bytes in big endian 16-bit words (PS3.5 8.1.1, PS3.5 D)."""
    if cells % 2:
        data = _bytes(np, ds, elem, cells + 1, False)
    return np.ascontiguousarray(data.view(np.uint16).byteswap().view(np.uint8)[:cells])
