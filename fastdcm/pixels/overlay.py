"""Read overlays: planes of one bit over an image (PS3.3 C.9.2, C.9.3)."""

from __future__ import annotations

from fastdcm.pixels._kernels import unpack_bits
from fastdcm.pixels.frames import open_frames
from fastdcm.pixels.lookup_table import damaged

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from fastdcm.errors import DicomError
    from fastdcm.pixels.frames import Frames
    from fastdcm.pixels.protocols import PixelArray, PixelDataset

_GROUPS = range(0x6000, 0x6100)
_SHORT = 1024  # times its bytes is the most that one frame of a short overlay may have


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
        raise _damaged(ds, group, f"{name} must be an integer of at least 1, got {value!r}")
    return value


def _damaged(ds: PixelDataset, group: int, text: str) -> DicomError:
    return damaged(ds, f"overlay {group:04X}: {text}", "overlay")


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
        (60xx,0102) names. Bits that are missing at the end of Overlay Data are 0, with
        the issue "overlay".

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
    if embedded:
        frames = _cells(ds, group)
        return _embedded_bit(frames.read(range(len(frames))), ds, group, len(frames) == 1)
    rows, columns = _size(ds, group)
    frames_in_overlay = _count(ds, group, 0x0015, "Number of Frames in Overlay", 1)
    tag = group << 16 | 0x3000
    elem = ds[tag]
    data = elem.value
    if not isinstance(data, (bytes, bytearray)):
        raise _damaged(ds, group, "its data are not bytes")
    cells = frames_in_overlay * rows * columns
    packed = np.frombuffer(data, np.uint8)
    if elem.VR == "OW" and elem.is_raw and elem.is_big_endian and packed.size % 2 == 0:
        packed = packed.view(np.uint16).byteswap().view(np.uint8)
    there = min(cells, 8 * packed.size)
    if there < cells:
        if rows * columns > 8 * _SHORT * packed.size:  # no memory for what is not there
            raise _damaged(
                ds,
                group,
                f"its data have {packed.size} bytes, its attributes require {(cells + 7) // 8}",
            )
        ds.note_issue("overlay", tag)
        # whole frames, and the truncated one
        frames_in_overlay = -(-there // (rows * columns))
        cells = frames_in_overlay * rows * columns
    bits = np.zeros(cells, np.uint8)
    unpack_bits(packed, 0, there, bits[:there])
    shape = (rows, columns) if frames_in_overlay == 1 else (frames_in_overlay, rows, columns)
    return bits.reshape(shape)


def overlay_plane(ds: PixelDataset, group: int, frame: int) -> PixelArray | None:
    """Return the overlay of one frame of an image, None if it is for other frames.

    An overlay with Image Frame Origin (60xx,0051) or Number of Frames in Overlay
    (60xx,0015) is for as many frames of the image, from that one (PS3.3 C.9.3); any
    other is for all.

    Parameters
    ----------
    ds : Dataset
        The image.
    group : int
        0x6000 to 0x60FF.
    frame : int
        Index of the frame of the image, from 0.

    Returns
    -------
    numpy.ndarray or None
        uint8, 0 or 1, of shape (rows, columns).

    Raises
    ------
    ValueError, AttributeError, DicomError
        As `overlay_array`.
    """
    if _is_embedded(ds, group):
        frames = _cells(ds, group)
        return _embedded_bit(frames[frame][None], ds, group, True)
    if any(_value(ds, group, element) not in (None, "") for element in (0x0015, 0x0051)):
        frame -= _count(ds, group, 0x0051, "Image Frame Origin", 1) - 1
        if not 0 <= frame < _count(ds, group, 0x0015, "Number of Frames in Overlay", 1):
            return None
    else:
        frame = 0
    planes = overlay_array(ds, group)
    if planes.ndim == 2:
        return planes if frame == 0 else None
    return planes[frame] if frame < len(planes) else None


def overlay_origin(ds: PixelDataset, group: int) -> tuple[int, int]:
    """Return the row and column of an image at which an overlay begins, from 1.

    (1, 1) where Overlay Origin is missing or, with the issue "overlay", impossible.
    """
    tag = group << 16 | 0x0050
    elem = ds.get(tag)
    origin = None if elem is None else elem.value
    if isinstance(origin, list) and len(origin) == 2:
        row, column = origin
        if isinstance(row, int) and isinstance(column, int):
            return row, column
    if elem is not None and not elem.is_empty:
        ds.note_issue("overlay", tag)
    return 1, 1


def _size(ds: PixelDataset, group: int) -> tuple[int, int]:
    """Return the rows and columns of an overlay."""
    rows = _count(ds, group, 0x0010, "Overlay Rows")
    return rows, _count(ds, group, 0x0011, "Overlay Columns")


def _cells(ds: PixelDataset, group: int) -> Frames:
    """Return the frames of pixel cells that hold an overlay, with all of their bits."""
    frames = open_frames(ds, all_bits=True)
    rows, columns = _size(ds, group)
    if (rows, columns) != frames.shape:
        size = " x ".join(map(str, frames.shape))
        raise _damaged(
            ds,
            group,
            f"an overlay in the pixel cells must have the size of the image, {size}, "
            f"got {rows} x {columns}",
        )
    if frames.dtype.kind != "u":
        raise _damaged(ds, group, "an overlay in the pixel cells needs integer cells")
    return frames


def _embedded_bit(cells: PixelArray, ds: PixelDataset, group: int, single: bool) -> PixelArray:
    """Return the bit of pixel cells that Overlay Bit Position names."""
    import numpy as np

    position = np.array(_value(ds, group, 0x0102), cells.dtype)
    bits: PixelArray = (cells >> position & np.array(1, cells.dtype)).astype(np.uint8)
    return bits.reshape(bits.shape[1:]) if single else bits
