"""Convert color: palettes, color spaces, and any image to RGB (PS3.3 C.7.6.3.1.2, C.7.9)."""

from __future__ import annotations

from fastdcm.errors import DicomError
from fastdcm.pixels import _kernels
from fastdcm.pixels.grayscale import stored_frames, windowed
from fastdcm.pixels.layout import photometric_of
from fastdcm.pixels.lookup_table import (
    LookupTable,
    damaged,
    element,
    read_descriptor,
    read_entries,
)
from fastdcm.pixels.video import BT601

TYPE_CHECKING = False
if TYPE_CHECKING:
    from fastdcm.pixels.protocols import FrameSelection, PixelArray, PixelDataset

# ------------------------------------------------------------------- palettes ---


def palette(ds: PixelDataset) -> LookupTable:
    """Return the palette of an image or of a palette object (PS3.3 C.7.6.3.1.5, C.7.9).

    Parameters
    ----------
    ds : Dataset
        The image, or a Color Palette Storage instance.

    Returns
    -------
    LookupTable
        Its values have shape (entries, 3), or (entries, 4) with an alpha channel:
        uint8, or uint16 if the entries have or are stored in 16 bits.

    Raises
    ------
    DicomError
        If there is no palette or a damaged one, or if it is supplemental, that
        is, for a part of the values only (PS3.3 C.7.6.19).
    """
    import numpy as np

    if ds.get("PixelPresentation") in ("MIXED", "COLOR"):
        raise damaged(
            ds,
            "a Supplemental Palette Color Lookup Table is not applied: it is for a part of "
            "the values only",
        )
    name = "palette"
    if ds.get("RedPaletteColorLookupTableDescriptor") is None:
        raise damaged(ds, "the data set has no Palette Color Lookup Table")
    entries, first, bits = read_descriptor(ds, ds, "RedPaletteColorLookupTableDescriptor", name)
    if bits not in (8, 16):
        raise damaged(ds, f"the palette's descriptor must declare 8 or 16 bits, got {bits}")
    plain = ds.get("RedPaletteColorLookupTableData") is not None
    columns = []
    for color in ("Red", "Green", "Blue", "Alpha"):
        keyword = f"{'' if plain else 'Segmented'}{color}PaletteColorLookupTableData"
        if color == "Alpha" and ds.get(keyword) is None:
            continue
        if plain:
            columns.append(read_entries(ds, ds, keyword, name, entries, bits))
        else:
            columns.append(_expand_segments(ds, keyword, entries, bits))
    if len({column.dtype for column in columns}) > 1:
        raise damaged(ds, "the tables of the palette differ in length")
    return LookupTable(np.stack(columns, axis=-1), first, bits)


def _expand_segments(ds: PixelDataset, keyword: str, entries: int, bits: int) -> PixelArray:
    """Return the entries of a segmented table (PS3.3 C.7.9.2).

    Stops at their number, so that a small table cannot become a large one.
    """
    import numpy as np

    elem = element(ds, keyword)
    data = None if elem is None else elem.value
    if elem is None or not isinstance(data, (bytes, bytearray)):
        raise damaged(ds, f"palette: {keyword} is missing")
    big = elem.is_big_endian if elem.is_raw else ds.original_encoding[1] is False
    dtype = np.dtype(np.uint8 if bits == 8 else ">u2" if big else "<u2")
    words = np.frombuffer(data, dtype, len(data) // dtype.itemsize)
    lut = np.empty(entries, np.uint8 if bits == 8 else np.uint16)
    filled, at = 0, 0
    back: int | None = None  # where an indirect segment returns to,
    left = 0  # after this many segments
    while filled < entries and at + 2 < len(words):
        kind, length = int(words[at]), int(words[at + 1])
        at += 2
        if kind == 0 and at + length <= len(words):  # discrete
            part = words[at : at + min(length, entries - filled)]
            lut[filled : filled + len(part)] = part
            filled += len(part)
            at += length
        elif kind == 1 and filled:  # linear
            start, end = int(lut[filled - 1]), int(words[at])
            at += 1
            if length:
                steps = np.linspace(start + (end - start) / length, end, length)
                line = np.around(steps)[: entries - filled]
                lut[filled : filled + len(line)] = line.astype(lut.dtype)
                filled += len(line)
        elif kind == 2 and filled and back is None:  # indirect
            size = 4 // dtype.itemsize
            offset = _segment_offset(words[at : at + size], big) // dtype.itemsize
            if length:
                back, left = at + size, length
                at = offset
            else:
                at += size
            continue
        else:
            break
        if back is not None:
            left -= 1
            if left == 0:
                at, back = back, None
    if not filled:
        raise damaged(ds, f"palette: the segments of {keyword} have no entries of {entries}")
    if filled < entries:
        ds.note_issue("lut", keyword)
        lut[filled:] = lut[filled - 1]
    return lut


def _segment_offset(words: PixelArray, big: bool) -> int:
    """Return the offset in bytes of an indirect segment: two words, the lower first."""
    import numpy as np

    where = [int(word) for word in words]
    if words.dtype.itemsize == 1:  # the bytes of two 16-bit words
        pair = [
            int(word)
            for word in np.frombuffer(bytes(where).ljust(4, b"\0"), ">u2" if big else "<u2")
        ]
    else:
        pair = [*where, 0][:2]
    return pair[1] << 16 | pair[0]


def apply_color_lut(arr: PixelArray, ds: PixelDataset) -> PixelArray:
    """Convert stored values of PALETTE COLOR to RGB, or RGBA (PS3.3 C.7.9).

    Parameters
    ----------
    arr : numpy.ndarray
        Stored values, integers.
    ds : Dataset
        The image, or a Color Palette Storage instance.

    Returns
    -------
    numpy.ndarray
        Shape arr.shape + (3,), or (4,) with an alpha channel, in the depth of the
        palette: uint8 or uint16.

    Raises
    ------
    DicomError
        As `palette`.
    """
    return palette(ds).look_up(arr)


# --------------------------------------------------------------- color spaces ---

_YBR = ("YBR_FULL", "YBR_FULL_422")


def convert_color_space(
    arr: PixelArray, current: str, desired: str, per_frame: bool = False
) -> PixelArray:
    """Convert pixels from one color space to another (PS3.3 C.7.6.3.1.2).

    Parameters
    ----------
    arr : numpy.ndarray
        uint8 of shape ([frames,] rows, columns, 3), chroma at full resolution.
    current, desired : {"RGB", "YBR_FULL", "YBR_FULL_422"}
        The color spaces.
    per_frame : bool
        Convert the frames of `arr` one by one and in place.

    Returns
    -------
    numpy.ndarray
        uint8 of the same shape: `arr` itself if nothing has to be converted, or
        if `per_frame` is true and there are frames; else a new array.

    Raises
    ------
    ValueError
        For another dtype or shape.
    NotImplementedError
        For other color spaces.
    """
    if arr.dtype.str != "|u1":
        raise ValueError(f"color spaces are converted in uint8, got {arr.dtype}")
    if arr.ndim < 1 or arr.shape[-1] != 3:
        raise ValueError(f"arr must have three samples per pixel, got shape {arr.shape}")
    for name in (current, desired):
        if name != "RGB" and name not in _YBR:
            raise NotImplementedError(f"Conversion from {current} to {desired} is not supported.")
    if (current == "RGB") == (desired == "RGB"):
        return arr
    convert = _to_ybr if current == "RGB" else _to_rgb
    if per_frame and arr.ndim == 4:
        for frame in arr:
            frame[...] = convert(frame)
        return arr
    return convert(arr)


def _to_ybr(arr: PixelArray) -> PixelArray:
    import numpy as np

    matrix = np.array(
        [
            [0.299, -0.299 / 1.772, 0.701 / 1.402],
            [0.587, -0.587 / 1.772, -0.587 / 1.402],
            [0.114, 0.886 / 1.772, -0.114 / 1.402],
        ],
        np.float32,
    )
    values = np.matmul(arr, matrix, dtype=np.float32)
    values += np.array([0.5, 128.5, 128.5], np.float32)
    return np.asarray(np.clip(np.floor(values), 0, 255), np.uint8)


def _to_rgb(arr: PixelArray) -> PixelArray:
    import numpy as np

    arr = np.ascontiguousarray(arr)
    out = np.empty_like(arr)
    _kernels.ybr_to_rgb(arr, "|u1", out, "full")
    return out


# Photometric Interpretations of three samples whose decoded values are RGB: codecs
# invert the transforms of JPEG 2000 and JPEG XL (PS3.5 8.2.4).
_DECODED_RGB = ("RGB", "YBR_ICT", "YBR_RCT", "XYB")
_LIMITED_YBR = ("YBR_PARTIAL_420", "YBR_PARTIAL_422")


def color_to_rgb(
    stored: PixelArray,
    photometric: str,
    bits: int = 8,
    *,
    table: LookupTable | None = None,
    matrix: tuple[float, float] = BT601,
) -> PixelArray:
    """Convert decoded color frames to RGB (PS3.3 C.7.6.3.1.2, C.7.9).

    Parameters
    ----------
    stored : numpy.ndarray
        Stored values, unsigned integers: of shape ([frames,] rows, columns, 3) with
        chroma at full resolution, or ([frames,] rows, columns) for PALETTE COLOR.
    photometric : str
        Photometric Interpretation of the values: for compressed frames the one that
        ``ds.frames.photometric(i)`` returns.
    bits : int
        Bits Stored. Of more than 8 the upper 8 are kept.
    table : LookupTable, optional
        The palette of PALETTE COLOR, as `palette` returns it; an alpha channel is
        left out.
    matrix : tuple of float
        For Y Cb Cr of limited range the parts of red and blue in Y, as
        ``ds.frames.matrix``.

    Returns
    -------
    numpy.ndarray
        uint8 of shape ([frames,] rows, columns, 3); `stored` itself if it is that.

    Raises
    ------
    DicomError
        If `photometric` or the type of the values is not one of color, with the code
        "color".

    Examples
    --------
    >>> import numpy as np
    >>> from fastdcm.pixels import color_to_rgb
    >>> color_to_rgb(np.array([[[81, 90, 240]]], np.uint8), "YBR_PARTIAL_420").tolist()
    [[[255, 0, 0]]]
    """
    import numpy as np

    if photometric == "PALETTE COLOR" and table is not None:
        return _through_palette(stored, table)
    if stored.shape[-1] != 3 or photometric not in (*_DECODED_RGB, *_YBR, *_LIMITED_YBR):
        raise DicomError(
            f"{photometric!r} with the shape {stored.shape} cannot be converted to RGB", "color"
        )
    bits = bits if stored.dtype.itemsize > 1 else 8
    if stored.dtype.kind != "u" or not 8 <= bits <= 64:
        raise DicomError(
            f"{stored.dtype} with {bits!r} bits stored cannot be converted to RGB", "color"
        )
    if stored.dtype.itemsize > 1:
        stored = (stored >> np.array(bits - 8, stored.dtype)).astype(np.uint8)
    limited = photometric in _LIMITED_YBR
    if photometric in _DECODED_RGB:
        return stored
    if not limited and matrix == BT601:
        return _to_rgb(stored)
    stored = np.ascontiguousarray(stored)
    out = np.empty_like(stored)
    _kernels.video_to_rgb(stored, out, *matrix, limited)
    return out


def _through_palette(stored: PixelArray, table: LookupTable) -> PixelArray:
    import numpy as np

    values = table.values
    # 8-bit entries may be stored in 16 bits, even if the descriptor says 16
    if values.dtype.itemsize > 1 and values.max() > 255:
        values = values >> 8
    values = np.ascontiguousarray(values[:, :3]).astype(np.uint8)
    return LookupTable(values, table.first, table.bits).look_up(stored)


def to_rgb(
    ds: PixelDataset,
    frames: FrameSelection = None,
    *,
    center: float | None = None,
    width: float | None = None,
    index: int = 0,
    mmap: bool | None = None,
) -> PixelArray:
    """Return any image as RGB for display.

    Grayscale images go through their window; PALETTE COLOR through its palette,
    without the alpha channel; other color as by `color_to_rgb`. What a compressed
    frame says of its colors (markers of a JPEG, the transform of JPEG 2000, the range
    and matrix of a video) decides before Photometric Interpretation, with the issue
    "photometric" where they differ (PS3.5 8.2.1, 8.2.4).

    Parameters
    ----------
    ds : Dataset
        The image.
    frames : int or slice, optional
        Which frames; by default all.
    center, width, index : float, float, int
        The window of a grayscale image, as for `windowed`.
    mmap : bool, optional
        As for `pixel_array`: False never maps the file.

    Returns
    -------
    numpy.ndarray
        uint8 of shape ([frames,] rows, columns, 3).

    Raises
    ------
    DicomError
        For damaged pixels, palettes or windows, and for a Photometric
        Interpretation that is not supported.

    Examples
    --------
    >>> from fastdcm import dcmread
    >>> dcmread("us.dcm").to_rgb(0).shape           # doctest: +SKIP
    (768, 1024, 3)
    """
    import numpy as np

    photometric = photometric_of(ds)
    samples = ds.get("SamplesPerPixel") or 1
    if samples == 1 and photometric != "PALETTE COLOR":
        gray = windowed(ds, frames, center=center, width=width, index=index, mmap=mmap)
        return np.asarray(np.repeat(gray[..., None], 3, axis=-1))
    stored, numbers = stored_frames(ds, frames, mmap)
    bits = ds.get("BitsStored")
    bits = bits if isinstance(bits, int) else 8 * stored.dtype.itemsize
    table = palette(ds) if photometric == "PALETTE COLOR" and samples == 1 else None
    kinds = [photometric]
    if table is None:
        kinds = [ds.frames.photometric(number) for number in numbers]
    matrix = ds.frames.matrix
    try:
        if len(set(kinds)) < 2:
            return color_to_rgb(
                stored, kinds[0] if kinds else "RGB", bits, table=table, matrix=matrix
            )
        return np.stack(
            [
                color_to_rgb(one, kind, bits, matrix=matrix)
                for one, kind in zip(stored, kinds, strict=True)
            ]
        )
    except DicomError as error:
        raise damaged(ds, error.text, error.code) from error
