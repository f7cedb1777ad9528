"""Read overlays: planes of one bit over an image (PS3.3 C.9.2, C.9.3)."""

from __future__ import annotations

from fastdcm.pixels._kernels import unpack_bits
from fastdcm.pixels.layout import PIXEL_DATA, is_native, transfer_syntax_of
from fastdcm.pixels.lookup_table import damaged

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from fastdcm.pixels.protocols import PixelArray, PixelDataset

_GROUPS = range(0x6000, 0x6100)


def overlay_groups(ds: PixelDataset) -> list[int]:
    """Return the groups of a data set that hold an overlay.

    Those with rows, columns and either Overlay Data or a bit position in the
    pixel cells.
    """
    groups = {int(tag) >> 16 for tag in ds.keys() if int(tag) >> 16 in _GROUPS}  # noqa: SIM118
    return [
        group
        for group in sorted(groups)
        if all(_value(ds, group, element) for element in (0x0010, 0x0011))
        and (_has_data(ds, group) or _is_embedded(ds, group))
    ]


def _value(ds: PixelDataset, group: int, element: int) -> Any:
    elem = ds.get(group << 16 | element)
    return None if elem is None else elem.value


def _has_data(ds: PixelDataset, group: int) -> bool:
    elem = ds.get(group << 16 | 0x3000)
    return elem is not None and not elem.is_empty


def _is_embedded(ds: PixelDataset, group: int) -> bool:
    """Return whether the overlay is in unused bits of the pixel cells.

    That was allowed until PS3.3-2004: the overlay has no data, and its bit
    position is one that no pixel value uses.
    """
    allocated, position = (_value(ds, group, element) for element in (0x0100, 0x0102))
    high, stored = ds.get("HighBit"), ds.get("BitsStored")
    if (
        _has_data(ds, group)
        or allocated != ds.get("BitsAllocated")
        or not all(isinstance(number, int) for number in (allocated, position, high, stored))
    ):
        return False
    return bool(0 <= position < allocated and not high - stored < position <= high)


def _count(
    ds: PixelDataset, group: int, element: int, name: str, default: int | None = None
) -> int:
    value = _value(ds, group, element)
    if value is None or value == "":
        value = default
    if not isinstance(value, int) or value < 1:
        raise damaged(
            ds,
            f"overlay {group:04X}: {name} must be an integer of at least 1, got {value!r}",
            "overlay",
        )
    return value


def overlay_array(ds: PixelDataset, group: int) -> PixelArray:
    """Return the bits of one overlay (PS3.3 C.9.2, C.9.3).

    Parameters
    ----------
    ds : Dataset
        The image.
    group : int
        0x6000 to 0x60FF.

    Returns
    -------
    numpy.ndarray
        uint8, 0 or 1, of shape ([frames,] rows, columns): from Overlay Data
        (60xx,3000), or from the bit of the pixel cells that Overlay Bit Position
        (60xx,0102) names.

    Raises
    ------
    ValueError
        If `group` is not the group of an overlay.
    AttributeError
        If the group has no overlay.
    DicomError
        If the overlay is damaged.

    Examples
    --------
    >>> from fastdcm import dcmread
    >>> dcmread("cr.dcm").overlay_array(0x6000).shape   # doctest: +SKIP
    (300, 484)
    """
    import numpy as np

    if group not in _GROUPS:
        raise ValueError(f"group must be 0x6000 to 0x60FF, got {group:#06x}")
    embedded = _is_embedded(ds, group)
    if not embedded and not _has_data(ds, group):
        raise AttributeError(
            f"there is no overlay in group {group:04X}: neither data nor a free "
            "bit of the pixel cells"
        )
    rows = _count(ds, group, 0x0010, "Overlay Rows")
    columns = _count(ds, group, 0x0011, "Overlay Columns")
    if embedded:
        return _embedded(ds, group, rows, columns)
    frames = _count(ds, group, 0x0015, "Number of Frames in Overlay", 1)
    elem = ds[group << 16 | 0x3000]
    data = elem.value
    cells = frames * rows * columns
    if not isinstance(data, (bytes, bytearray)) or len(data) < (cells + 7) // 8:
        found = len(data) if isinstance(data, (bytes, bytearray)) else 0
        raise damaged(
            ds,
            f"overlay {group:04X}: its data has {found} bytes, its attributes require "
            f"{(cells + 7) // 8}",
            "overlay",
        )
    packed = np.frombuffer(data, np.uint8)
    if elem.VR == "OW" and elem.is_raw and elem.is_big_endian and packed.size % 2 == 0:
        packed = packed.view(np.uint16).byteswap().view(np.uint8)
    bits = np.empty((rows, columns) if frames == 1 else (frames, rows, columns), np.uint8)
    unpack_bits(packed, 0, cells, bits)
    return bits


def _embedded(ds: PixelDataset, group: int, rows: int, columns: int) -> PixelArray:
    """Return the overlay's bit of native pixel cells, which pixel values do not have."""
    import numpy as np

    if (rows, columns) != (ds.get("Rows"), ds.get("Columns")):
        raise damaged(
            ds,
            f"overlay {group:04X}: an overlay in the pixel cells must have the size of the "
            f"image, {ds.get('Rows')} x {ds.get('Columns')}, got {rows} x {columns}",
            "overlay",
        )
    bits = ds.get("BitsAllocated")
    frames = ds.get("NumberOfFrames") or 1
    if not isinstance(frames, int) or frames < 1:
        raise damaged(
            ds, f"NumberOfFrames must be an integer of at least 1, got {frames!r}", "overlay"
        )
    elem = ds.get(PIXEL_DATA)
    if (
        elem is None
        or not is_native(transfer_syntax_of(ds, elem), elem.is_undefined_length)
        or bits not in (8, 16, 32)
    ):
        raise damaged(
            ds,
            f"overlay {group:04X}: an overlay in the pixel cells needs native cells of 8, 16 or "
            f"32 bits, BitsAllocated is {bits!r}",
            "overlay",
        )
    data = elem.value or b""
    size = frames * rows * columns * bits // 8
    if len(data) < size:
        raise damaged(
            ds,
            f"overlay {group:04X}: the pixel data has {len(data)} bytes, its attributes "
            f"require {size}",
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
    planes = planes[:size][at :: bits // 8]
    plane = planes >> np.uint8(position % 8) & np.uint8(1)
    return plane.reshape((rows, columns) if frames == 1 else (frames, rows, columns))
