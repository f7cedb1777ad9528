"""Colour: palettes (PS3.3 C.7.6.3.1.5, C.7.9), colour spaces (PS3.3
C.7.6.3.1.2), and any image to RGB.
"""

from fastdcm.pixels import _kernels
from fastdcm.pixels.grayscale import stored_frames, windowed
from fastdcm.pixels.lookup_table import Table, descriptor, refuse, words

# ------------------------------------------------------------------ palettes ---


def palette(ds):
    """The palette of an image or of a palette object (PS3.3 C.7.6.3.1.5,
    C.7.9).

    Returns a Table whose values have the shape (entries, 3), or 4 with an alpha
    channel: uint8, or uint16 where the entries are of 16 bits or stand in 16.
    Raises DicomError for none, for a damaged one, and for a supplemental one,
    which is for a part of the values alone (PS3.3 C.7.6.19).
    """
    import numpy as np

    if ds.get("PixelPresentation") in ("MIXED", "COLOR"):
        raise refuse(
            ds,
            "a Supplemental Palette Color Lookup Table is for a part of the "
            "values alone and is not applied",
        )
    name = "palette"
    if ds.get("RedPaletteColorLookupTableDescriptor") is None:
        raise refuse(ds, "the data set has no Palette Color Lookup Table")
    entries, first, bits = descriptor(ds, ds, "RedPaletteColorLookupTableDescriptor", name)
    if bits not in (8, 16):
        raise refuse(
            ds, f"the palette's descriptor tells of {bits} bits, where 8 or 16 are possible"
        )
    plain = ds.get("RedPaletteColorLookupTableData") is not None
    columns = []
    for colour in ("Red", "Green", "Blue", "Alpha"):
        keyword = f"{'' if plain else 'Segmented'}{colour}PaletteColorLookupTableData"
        if colour == "Alpha" and ds.get(keyword) is None:
            continue
        if plain:
            columns.append(words(ds, ds, keyword, name, entries, bits))
        else:
            columns.append(_unfold(ds, keyword, entries, bits))
    if len({column.dtype for column in columns}) > 1:
        raise refuse(ds, "the palette's colours differ in length")
    return Table(np.stack(columns, axis=-1), first, bits)


def _unfold(ds, keyword, entries, bits):
    """A segmented table as its entries (PS3.3 C.7.9.2). Stops at their number,
    so that a small table cannot become a large one."""
    import numpy as np

    elem = ds[keyword] if keyword in ds else None
    data = None if elem is None else elem.value
    if not isinstance(data, (bytes, bytearray)):
        raise refuse(ds, f"palette: {keyword} is missing")
    big = elem.is_big_endian if elem.is_raw else ds.original_encoding[1] is False
    dtype = np.dtype(np.uint8 if bits == 8 else ">u2" if big else "<u2")
    words = np.frombuffer(data, dtype, len(data) // dtype.itemsize)
    lut = np.empty(entries, np.uint8 if bits == 8 else np.uint16)
    filled, at = 0, 0
    back, left = None, 0  # where an indirect segment returns to, after so many segments
    while filled < entries and at + 2 < len(words):
        kind, length = int(words[at]), int(words[at + 1])
        at += 2
        if kind == 0 and at + length <= len(words):
            part = words[at : at + min(length, entries - filled)]
            lut[filled : filled + len(part)] = part
            filled += len(part)
            at += length
        elif kind == 1 and filled:
            start, end = int(lut[filled - 1]), int(words[at])
            at += 1
            if length:
                steps = np.linspace(start + (end - start) / length, end, length)
                part = np.around(steps)[: entries - filled]
                lut[filled : filled + len(part)] = part.astype(lut.dtype)
                filled += len(part)
        elif kind == 2 and filled and back is None:
            # 8-bit entries: the bytes of two 16-bit words, the lower word first
            size = 4 // dtype.itemsize
            where = [int(word) for word in words[at : at + size]]
            if bits == 8:
                pair = [
                    int(word)
                    for word in np.frombuffer(bytes(where).ljust(4, b"\0"), ">u2" if big else "<u2")
                ]
            else:
                pair = [*where, 0][:2]
            offset = (pair[1] << 16 | pair[0]) // dtype.itemsize  # told in bytes
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
    if filled < entries:
        raise refuse(
            ds, f"palette: the segments of {keyword} end after {filled} of {entries} entries"
        )
    return lut


def apply_color_lut(arr, ds):
    """Stored values of PALETTE COLOR to RGB, or RGBA (PS3.3 C.7.9).

    arr : array of integers. ds : the image, or a palette object
    (Color Palette Storage).

    Returns arr.shape + (3,), or 4 with an alpha channel, in the palette's own
    depth: uint8 or uint16. Raises DicomError as `palette`.
    """
    return palette(ds).look_up(arr)


# ------------------------------------------------------------- colour spaces ---

_YBR = ("YBR_FULL", "YBR_FULL_422")


def convert_color_space(arr, current, desired, per_frame=False):
    """Pixels from one colour space to another (PS3.3 C.7.6.3.1.2).

    arr : uint8 of shape ([frames,] rows, columns, 3), chroma at full
    resolution. current, desired : "RGB", "YBR_FULL" or "YBR_FULL_422".
    per_frame : convert the frames of `arr` one by one and in place.

    Returns uint8 of the same shape: `arr` itself where nothing is to be done
    or per_frame is true and there are frames, else a new array. Raises
    ValueError for another dtype, NotImplementedError for other colour spaces.
    """
    if arr.dtype.str != "|u1":
        raise ValueError(f"colour spaces are converted in uint8, not in {arr.dtype}")
    if arr.ndim < 1 or arr.shape[-1] != 3:
        raise ValueError(f"three samples a pixel are needed, the shape is {arr.shape}")
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


def _to_ybr(arr):
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
    return np.clip(np.floor(values), 0, 255).astype(np.uint8)


def _to_rgb(arr):
    import numpy as np

    arr = np.ascontiguousarray(arr)
    out = np.empty_like(arr)
    _kernels.ybr_to_rgb(arr, "|u1", out, "full")
    return out


def to_rgb(ds, frames=None, *, center=None, width=None, index=0):
    """Any image as RGB for the eye.

    ds : Dataset. frames : None for all, an int for one, a slice for some.
    center, width, index : the window of a greyscale image, as for
    `fastdcm.pixels.windowed`.

    Greyscale goes through its window and is grey; PALETTE COLOR through its
    palette, an alpha channel is left out; YBR_FULL and YBR_FULL_422 are
    converted; YBR_ICT and YBR_RCT are RGB once decoded (PS3.3 C.7.6.3.1.2).
    More than 8 bits keep the upper 8.

    Returns uint8 of shape ([frames,] rows, columns, 3). Raises DicomError for
    damaged pixels, palettes or windows, and for a photometric interpretation
    that is not known.
    """
    import numpy as np

    kind = ds.get("PhotometricInterpretation")
    samples = ds.get("SamplesPerPixel") or 1
    if samples == 1 and kind != "PALETTE COLOR":
        grey = windowed(ds, frames, center=center, width=width, index=index)
        return np.repeat(grey[..., None], 3, axis=-1)
    stored, _ = stored_frames(ds, frames)
    if kind == "PALETTE COLOR" and samples == 1:
        table = palette(ds)
        bits = 8 if table.values.dtype.itemsize == 1 else 16
        # 8-bit entries may stand in 16 bits, whatever the descriptor says
        if bits == 16 and table.values.max() > 255:
            table.values = table.values >> 8
        table.values = np.ascontiguousarray(table.values[:, :3]).astype(np.uint8)
        return table.look_up(stored)
    if samples != 3 or kind not in ("RGB", "YBR_ICT", "YBR_RCT", *_YBR):
        raise refuse(ds, f"no way to RGB from {kind!r} of {samples} samples", "colour")
    bits = ds.get("BitsStored") if stored.dtype.itemsize > 1 else 8
    if stored.dtype.kind != "u" or not isinstance(bits, int) or not 8 <= bits <= 64:
        raise refuse(ds, f"no way to RGB from {stored.dtype} of {bits!r} bits", "colour")
    if stored.dtype.itemsize > 1:
        stored = (stored >> np.array(bits - 8, stored.dtype)).astype(np.uint8)
    if kind in _YBR:
        return convert_color_space(stored, kind, "RGB")
    return stored
