"""Overlays: planes of one bit over an image (PS3.3 C.9.2, C.9.3)."""

from fastdcm.pixels._kernels import unpack_bits
from fastdcm.pixels.lookup_table import refuse

_GROUPS = range(0x6000, 0x6100)


def overlay_groups(ds):
    """The groups of `ds` that hold an overlay, a list of int: those with rows,
    columns and either data or a bit position in the pixel cells."""
    found = []
    for tag in ds.keys():
        group = int(tag) >> 16
        if group in _GROUPS and (not found or found[-1] != group):
            if all(_value(ds, group, element) for element in (0x0010, 0x0011)) and (
                _has_data(ds, group) or _is_embedded(ds, group)
            ):
                found.append(group)
    return found


def _value(ds, group, element):
    elem = ds.get(group << 16 | element)
    return None if elem is None else elem.value


def _has_data(ds, group):
    elem = ds.get(group << 16 | 0x3000)
    return elem is not None and not elem.is_empty


def _is_embedded(ds, group):
    """Whether the overlay lies in bits of the pixel cells, as was allowed
    until PS3.3-2004: it has no data, and a bit that no pixel uses."""
    allocated, position = (_value(ds, group, element) for element in (0x0100, 0x0102))
    high, stored = ds.get("HighBit"), ds.get("BitsStored")
    if (
        _has_data(ds, group)
        or allocated != ds.get("BitsAllocated")
        or not all(isinstance(number, int) for number in (allocated, position, high, stored))
    ):
        return False
    return 0 <= position < allocated and not high - stored < position <= high


def _count(ds, group, element, name, default=None):
    value = _value(ds, group, element)
    if value is None or value == "":
        value = default
    if not isinstance(value, int) or value < 1:
        raise refuse(
            ds,
            f"overlay {group:04X}: {name} is {value!r}, where a positive number is needed",
            "overlay",
        )
    return value


def overlay_array(ds, group):
    """The bits of one overlay.

    ds : Dataset. group : 0x6000 to 0x60FF, as `overlay_groups` tells.

    Returns uint8, 0 or 1, of shape ([frames,] rows, columns): from Overlay Data
    (60xx,3000), or from the bit of the pixel cells that Overlay Bit Position
    (60xx,0102) names. Raises ValueError for another group, AttributeError where
    the group has no overlay, DicomError for a damaged one.
    """
    import numpy as np

    if group not in _GROUPS:
        raise ValueError("an overlay's group is 0x6000 to 0x60FF")
    embedded = _is_embedded(ds, group)
    if not embedded and not _has_data(ds, group):
        raise AttributeError(
            f"there is no overlay in group {group:04X}: neither data nor a free "
            "bit of the pixel cells"
        )
    rows = _count(ds, group, 0x0010, "Overlay Rows")
    columns = _count(ds, group, 0x0011, "Overlay Columns")
    if embedded:
        return _embedded(np, ds, group, rows, columns)
    frames = _count(ds, group, 0x0015, "Number of Frames in Overlay", 1)
    elem = ds[group << 16 | 0x3000]
    data = elem.value
    cells = frames * rows * columns
    if not isinstance(data, (bytes, bytearray)) or len(data) < (cells + 7) // 8:
        have = len(data) if isinstance(data, (bytes, bytearray)) else 0
        raise refuse(
            ds,
            f"overlay {group:04X}: its data has {have} bytes, where its attributes "
            f"ask for {(cells + 7) // 8}",
            "overlay",
        )
    packed = np.frombuffer(data, np.uint8)
    if elem.VR == "OW" and elem.is_raw and elem.is_big_endian and packed.size % 2 == 0:
        packed = packed.view(np.uint16).byteswap().view(np.uint8)
    bits = np.empty((rows, columns) if frames == 1 else (frames, rows, columns), np.uint8)
    unpack_bits(packed, 0, cells, bits)
    return bits


def _embedded(np, ds, group, rows, columns):
    """The overlay's bit of native pixel cells, which is masked away where
    pixels are read."""
    if (rows, columns) != (ds.get("Rows"), ds.get("Columns")):
        raise refuse(
            ds,
            f"overlay {group:04X}: {rows} x {columns} cells cannot lie in "
            f"{ds.get('Rows')} x {ds.get('Columns')} pixels",
            "overlay",
        )
    bits = ds.get("BitsAllocated")
    frames = ds.get("NumberOfFrames") or 1
    if not isinstance(frames, int) or frames < 1:
        raise refuse(
            ds, f"NumberOfFrames is {frames!r}, where a positive number is needed", "overlay"
        )
    elem = ds["PixelData"] if "PixelData" in ds else None
    if elem is None or elem.is_undefined_length or bits not in (8, 16, 32):
        raise refuse(
            ds,
            f"overlay {group:04X}: it lies in pixel cells that are not native cells "
            "of 8, 16 or 32 bits",
            "overlay",
        )
    data = elem.value or b""
    if len(data) < frames * rows * columns * bits // 8:
        raise refuse(
            ds,
            f"overlay {group:04X}: the pixel data has {len(data)} bytes, where its "
            f"attributes ask for {frames * rows * columns * bits // 8}",
            "overlay",
        )
    big = elem.is_big_endian if elem.is_raw else ds.original_encoding[1] is False
    position = _value(ds, group, 0x0102)
    # The bit's byte within its cell; big endian OW swaps the bytes of 8-bit cells.
    at = position // 8
    if big:
        at = bits // 8 - 1 - at
    planes = np.frombuffer(data, np.uint8)
    if big and bits == 8 and elem.VR == "OW" and len(data) % 2 == 0:
        planes = planes.view(np.uint16).byteswap().view(np.uint8)
    planes = planes[: frames * rows * columns * bits // 8][at :: bits // 8]
    bits = planes >> np.uint8(position % 8) & np.uint8(1)
    return bits.reshape((rows, columns) if frames == 1 else (frames, rows, columns))
