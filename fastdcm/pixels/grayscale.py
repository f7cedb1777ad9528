"""Stored values to values that mean something and to grey for the eye:
modality, VOI and presentation transformations (PS3.3 C.11), padding (PS3.3
C.7.5.1.1.2).

The apply_... functions have the names, arguments and results of pydicom's.
They also find what stands in functional groups (PS3.3 C.7.6.16.2.9,
C.7.6.16.2.10), and honour the byte order of lookup tables.
"""

import math

from fastdcm.core._elements import Sequence
from fastdcm.pixels import _kernels
from fastdcm.pixels.frames import pixel_array, room
from fastdcm.pixels.lookup_table import Table, is_signed, refuse, table_of

# ------------------------------------------------------------ where it stands ---


def _items(ds, keyword):
    value = ds.get(keyword)
    return value if isinstance(value, Sequence) else ()


def _full(items):
    """Items of a LUT sequence; one with neither descriptor nor data is none."""
    return [
        item
        for item in items
        if item.get("LUTDescriptor") is not None or item.get("LUTData") is not None
    ]


def _has_modality(level):
    return bool(_full(_items(level, "ModalityLUTSequence"))) or (
        level.get("RescaleSlope") is not None and level.get("RescaleIntercept") is not None
    )


def _has_voi(level):
    return bool(_full(_items(level, "VOILUTSequence"))) or (
        level.get("WindowCenter") is not None and level.get("WindowWidth") is not None
    )


_MODALITY = ("PixelValueTransformationSequence", _has_modality)
_VOI = ("FrameVOILUTSequence", _has_voi)


def _level(ds, macro, frame):
    """The data set that holds a frame's transformation: `ds` itself, an item
    of a functional group, or None. frame=None looks at what all frames share."""
    sequence, has = macro
    if has(ds):
        return ds
    groups = list(_items(ds, "SharedFunctionalGroupsSequence")[:1])
    if frame is not None:
        groups += _items(ds, "PerFrameFunctionalGroupsSequence")[frame : frame + 1]
    for group in groups:
        for item in _items(group, sequence)[:1]:
            if has(item):
                return item
    return None


def _shared(ds, macros):
    """Whether all frames share the transformations of these macros."""
    frames = _items(ds, "PerFrameFunctionalGroupsSequence")
    missing = [macro for macro in macros if _level(ds, macro, None) is None]
    if len(frames) < 2 or not missing:
        return True
    return all(
        len({_key(_level(ds, macro, frame)) for frame in range(len(frames))}) == 1
        for macro in missing
    )


def _key(level):
    """Equal for levels that transform equally; one with tables equals none."""
    if level is None:
        return None
    if _items(level, "ModalityLUTSequence") or _items(level, "VOILUTSequence"):
        return object()
    return repr(
        [
            level.get(keyword)
            for keyword in (
                "RescaleSlope",
                "RescaleIntercept",
                "WindowCenter",
                "WindowWidth",
                "VOILUTFunction",
            )
        ]
    )


def _by_frame(ds, arr, frame, apply, *macros):
    """`apply(array, frame)` once, or for each frame where they differ."""
    import numpy as np

    if frame is not None or _shared(ds, macros):
        return apply(arr, frame or 0)
    if arr.ndim < 3 or len(arr) != len(_items(ds, "PerFrameFunctionalGroupsSequence")):
        raise ValueError(
            "the transformations of this data set's frames differ: give all frames, "
            "or say with frame= which one the array holds"
        )
    return np.stack([apply(one, number) for number, one in enumerate(arr)])


def _number(ds, level, keyword):
    value = level.get(keyword)
    if not isinstance(value, (int, float)) or not math.isfinite(value):
        raise refuse(ds, f"{keyword} is {value!r}, where a number is needed")
    return float(value)


# ------------------------------------------------------------------ modality ---


def _modality(ds, level):
    """A Table, (slope, intercept), or None."""
    if level is None:
        return None
    tables = _full(_items(level, "ModalityLUTSequence"))
    if tables:
        return table_of(ds, tables[0], "Modality LUT Sequence")
    return _number(ds, level, "RescaleSlope"), _number(ds, level, "RescaleIntercept")


def rescale(ds, frame=0):
    """(slope, intercept) of a frame, floats; (1.0, 0.0) where nothing is told,
    None where a modality lookup table stands in their place (PS3.3 C.11.1).

    ds : Dataset. frame : from 0. Raises DicomError for what is no number.
    """
    found = _modality(ds, _level(ds, _MODALITY, frame))
    if found is None:
        return 1.0, 0.0
    return None if isinstance(found, Table) else found


def apply_modality_lut(arr, ds, frame=None):
    """Stored values to values of the modality, Hounsfield units for one
    (PS3.3 C.11.1).

    arr : array of stored values. ds : Dataset. frame : the frame that `arr`
    holds, from 0, where frames differ and `arr` is one of them.

    Returns uint8 or uint16 through a Modality LUT Sequence, float64 through
    slope and intercept, `arr` itself where there is neither. Raises DicomError
    for a damaged table.
    """
    import numpy as np

    def apply(arr, frame):
        found = _modality(ds, _level(ds, _MODALITY, frame))
        if found is None:
            return arr
        if isinstance(found, Table):
            return found.look_up(arr)
        slope, intercept = found
        values = arr.astype(np.float64) * slope
        values += intercept
        return values

    return _by_frame(ds, arr, frame, apply, _MODALITY)


apply_rescale = apply_modality_lut


# ----------------------------------------------------------------------- VOI ---


def _value_range(ds, frame):
    """The lowest and highest modality value there could be (PS3.3 C.11.2.1.2)."""
    found = _modality(ds, _level(ds, _MODALITY, frame))
    if isinstance(found, Table):
        return 0.0, float(2**found.bits - 1)  # PS3.3 C.11.1.1.1: unsigned
    bits = ds.get("BitsStored")
    if not isinstance(bits, int) or not 1 <= bits <= 64:
        raise refuse(ds, f"BitsStored is {bits!r}, where a number up to 64 is needed")
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if is_signed(ds) else (0, 2**bits - 1)
    slope, intercept = found or (1.0, 0.0)
    return low * slope + intercept, high * slope + intercept


def _view(ds, level, index):
    """(function, center, width) of the window at `index` of a level, or None."""
    both = [level.get("WindowCenter"), level.get("WindowWidth")]
    if None in both:
        return None
    # a single value serves every index, as pydicom has it
    center, width = (value[index] if isinstance(value, list) else value for value in both)
    return _window(ds, level.get("VOILUTFunction"), center, width)


def _window(ds, function, center, width):
    """Checks a window (PS3.3 C.11.2.1.2, C.11.2.1.3)."""
    function = str(function or "LINEAR").strip().upper()
    for name, value in (("Window Center", center), ("Window Width", width)):
        if not isinstance(value, (int, float)) or not math.isfinite(value):
            raise refuse(ds, f"{name} is {value!r}, where a number is needed")
    if function not in ("LINEAR", "LINEAR_EXACT", "SIGMOID"):
        raise refuse(ds, f"VOI LUT Function is {function!r}, which is none of the Standard's")
    if width < 1 if function == "LINEAR" else width <= 0:
        least = "at least 1" if function == "LINEAR" else "above 0"
        raise refuse(ds, f"Window Width is {width:g}, where {function} needs {least}")
    return function, float(center), float(width)


def _through_window(arr, window, low, high):
    """Values through a window to low..high, in float64 (PS3.3 C.11.2.1.2,
    C.11.2.1.3)."""
    import numpy as np

    function, center, width = window
    arr = arr.astype(np.float64)
    if function == "SIGMOID":
        with np.errstate(over="ignore"):  # e to the infinite gives `low`, as it should
            return (high - low) / (1 + np.exp(-4 * (arr - center) / width)) + low
    if function == "LINEAR":
        center -= 0.5
        width -= 1
    below, above = arr <= center - width / 2, arr > center + width / 2
    between = ~(below | above)
    arr[below], arr[above] = low, high
    if width:
        arr[between] = ((arr[between] - center) / width + 0.5) * (high - low) + low
    return arr


def apply_windowing(arr, ds, index=0, frame=None):
    """Modality values through a window (PS3.3 C.11.2.1.2, C.11.2.1.3).

    arr : array of modality values. ds : Dataset. index : which of several
    windows. frame : as in `apply_modality_lut`.

    Returns float64, from the lowest to the highest modality value that Bits
    Stored allows, or `arr` itself where there is no window. Raises DicomError
    for a damaged window, ValueError where the image is not greyscale,
    IndexError for an index past the last.
    """

    def apply(arr, frame):
        level = _level(ds, _VOI, frame)
        if level is None or None in (level.get("WindowCenter"), level.get("WindowWidth")):
            return arr
        if ds.get("PhotometricInterpretation") not in ("MONOCHROME1", "MONOCHROME2"):
            raise ValueError(
                "a window is for MONOCHROME1 and MONOCHROME2, not for "
                f"{ds.get('PhotometricInterpretation')}"
            )
        return _through_window(arr, _view(ds, level, index), *_value_range(ds, frame))

    return _by_frame(ds, arr, frame, apply, _VOI, _MODALITY)


def apply_voi(arr, ds, index=0, frame=None):
    """Modality values through the lookup table at `index` of the VOI LUT
    Sequence (PS3.3 C.11.2.1.1).

    Returns uint8 or uint16, or `arr` itself where there is no table. Raises
    DicomError for a damaged table, IndexError for an index past the last.
    """

    def apply(arr, frame):
        level = _level(ds, _VOI, frame)
        tables = () if level is None else _full(_items(level, "VOILUTSequence"))
        return table_of(ds, tables[index], "VOI LUT Sequence").look_up(arr) if tables else arr

    return _by_frame(ds, arr, frame, apply, _VOI)


def apply_voi_lut(arr, ds, index=0, prefer_lut=True, frame=None):
    """Modality values through the VOI table or window at `index`: the table
    where both are there, unless prefer_lut is false (PS3.3 C.11.2)."""

    def apply(arr, frame):
        level = _level(ds, _VOI, frame)
        if level is None:
            return arr
        tables = bool(_full(_items(level, "VOILUTSequence")))
        windows = None not in (level.get("WindowCenter"), level.get("WindowWidth"))
        use_table = tables and (prefer_lut or not windows)
        return (apply_voi if use_table else apply_windowing)(arr, ds, index, frame)

    return _by_frame(ds, arr, frame, apply, _VOI)


# -------------------------------------------------------------- presentation ---


def apply_presentation_lut(arr, ds):
    """Values behind the VOI transformation to P-values (PS3.3 C.11.4, C.11.6).

    Through a Presentation LUT Sequence, onto whose entries the range of `arr`
    is spread; INVERSE turns `arr` at its highest value; IDENTITY and no
    presentation LUT at all return `arr` itself. Raises DicomError for a damaged
    table or another shape.
    """
    import numpy as np

    items = _full(_items(ds, "PresentationLUTSequence"))
    if items:
        table = table_of(ds, items[0], "Presentation LUT Sequence")
        values = table.values & np.array(2**table.bits - 1, table.values.dtype)
        arr = arr.astype(np.float32)
        arr -= arr.min()
        top = arr.max()
        if top > 0:
            arr /= top / (len(values) - 1)
        return values[arr.astype(np.uint16)]
    shape = ds.get("PresentationLUTShape")
    if shape:
        shape = str(shape).strip().upper()
        if shape not in ("IDENTITY", "INVERSE"):
            raise refuse(ds, f"Presentation LUT Shape is {shape!r}, which is not known")
        if shape == "INVERSE":
            arr = arr.max() - arr
    return arr


def is_inverted(ds):
    """Whether the lowest value is to be shown as white: MONOCHROME1 (PS3.3
    C.7.6.3.1.2) or Presentation LUT Shape INVERSE (PS3.3 C.11.6.1.2), which
    say the same thing where both are there."""
    return (
        ds.get("PhotometricInterpretation") == "MONOCHROME1"
        or str(ds.get("PresentationLUTShape") or "").strip().upper() == "INVERSE"
    )


# ------------------------------------------------------------------- padding ---


def pixel_padding(ds):
    """(lowest, highest) stored value that stands for no pixel at all, or None
    (PS3.3 C.7.5.1.1.2). Both are the same unless there is a range limit."""
    for value, limit in (
        ("PixelPaddingValue", "PixelPaddingRangeLimit"),
        ("FloatPixelPaddingValue", "FloatPixelPaddingRangeLimit"),
        ("DoubleFloatPixelPaddingValue", "DoubleFloatPixelPaddingRangeLimit"),
    ):
        ends = [ds.get(value), ds.get(limit)]
        if not isinstance(ends[0], (int, float)):
            continue
        if not isinstance(ends[1], (int, float)):
            ends[1] = ends[0]
        if value == "PixelPaddingValue" and is_signed(ds):
            # written as US, meant as SS
            ends = [end - 0x10000 if end > 0x7FFF else end for end in ends]
        return min(ends), max(ends)
    return None


def padding_mask(arr, ds):
    """True where a stored value is padding; an array of bool of arr's shape."""
    import numpy as np

    ends = pixel_padding(ds)
    if ends is None:
        return np.zeros(arr.shape, bool)
    if ends[0] == ends[1]:
        return arr == ends[0]
    return (arr >= ends[0]) & (arr <= ends[1])


# --------------------------------------------------------------------- fused ---


def stored_frames(ds, frames):
    """The stored values of the frames asked for, and their numbers."""
    numbers = range(len(ds.frames))
    if frames is None:
        return pixel_array(ds), numbers
    numbers = numbers[frames]
    return ds.frames[frames], [numbers] if isinstance(numbers, int) else numbers


def _grey(ds, frames):
    stored, numbers = stored_frames(ds, frames)
    if (ds.get("SamplesPerPixel") or 1) != 1:
        raise refuse(
            ds,
            f"the pixels are {ds.get('PhotometricInterpretation')}: values of the "
            "modality and windows are for greyscale, to_rgb is for colour",
            "colour",
        )
    return stored, numbers


def _parts(ds, arrays, numbers, *macros):
    """(the parts of arrays, the level of each macro) for runs of frames that
    are transformed in one way."""
    if len(numbers) < 2 or _shared(ds, macros):
        number = numbers[0] if len(numbers) else 0
        yield arrays, [_level(ds, macro, number) for macro in macros]
        return
    for position, number in enumerate(numbers):
        yield (
            [array[position] for array in arrays],
            [_level(ds, macro, number) for macro in macros],
        )


def modality_pixels(ds, frames=None, out=None):
    """Values of the modality as float32, Hounsfield units for one (PS3.3 C.11.1).

    ds : Dataset. frames : None for all, an int for one, a slice for some.
    out : an array to write into, C-contiguous float32 of the result's shape.

    Returns float32 of shape ([frames,] rows, columns). Stored values are taken
    as they are where no modality transformation is told. Raises DicomError for
    damaged pixels or tables, IndexError for a frame that is not there.
    """
    import numpy as np

    stored, numbers = _grey(ds, frames)
    out = room(out, stored.shape, "float32")
    for (source, target), (level,) in _parts(ds, (stored, out), numbers, _MODALITY):
        found = _modality(ds, level)
        if isinstance(found, Table):
            target[...] = found.look_up(source)
        else:
            slope, intercept = found or (1.0, 0.0)
            _kernels.linear(
                np.ascontiguousarray(source), source.dtype.str, slope, intercept, target
            )
    return out


def windowed(ds, frames=None, *, center=None, width=None, function=None, index=0, out=None):
    """Greyscale for the eye: values of the modality through a window, 0 to 255,
    0 as black (PS3.3 C.11.2).

    ds : Dataset. frames : None for all, an int for one, a slice for some.
    center, width : the window, in values of the modality; without them the
    table or window at `index` of the data set, or where there is none the range
    of the values without padding. function : LINEAR, LINEAR_EXACT or SIGMOID;
    without it the data set's, or LINEAR. out : an array to write into,
    C-contiguous uint8 of the result's shape.

    Returns uint8 of shape ([frames,] rows, columns); MONOCHROME1 and
    Presentation LUT Shape INVERSE are turned round. Raises DicomError for
    damaged pixels, tables or windows and for colour, IndexError for a frame or
    an index that is not there, ValueError for a center without a width.
    """
    import numpy as np

    if (center is None) != (width is None):
        raise ValueError("a window has both a center and a width")
    stored, numbers = _grey(ds, frames)
    out = room(out, stored.shape, "uint8")
    invert = is_inverted(ds)
    for (source, target), (modality, voi) in _parts(ds, (stored, out), numbers, _MODALITY, _VOI):
        found = _modality(ds, modality)
        tables = _full(_items(voi, "VOILUTSequence")) if voi is not None else ()
        if center is not None:
            window = _window(ds, function or (voi or ds).get("VOILUTFunction"), center, width)
        elif tables:
            table = table_of(ds, tables[index], "VOI LUT Sequence")
            target[...] = _to_bytes(table.look_up(_values(source, found)), table.bits, invert)
            continue
        elif voi is not None:
            window = _view(ds, voi, index)
            if function is not None:
                window = _window(ds, function, *window[1:])
        else:
            window = _whole_range(ds, source, found, function)
        if isinstance(found, Table):
            source, found = found.look_up(source), None
        slope, intercept = found or (1.0, 0.0)
        _kernels.window(
            np.ascontiguousarray(source),
            source.dtype.str,
            *window[1:],
            target,
            function=window[0],
            slope=slope,
            intercept=intercept,
            invert=invert,
        )
    return out


def _values(source, found):
    if isinstance(found, Table):
        return found.look_up(source)
    if found in (None, (1.0, 0.0)):
        return source
    return source.astype("float64") * found[0] + found[1]


def _to_bytes(values, bits, invert):
    """Entries of so many bits as 0 to 255."""
    import numpy as np

    shown = np.floor(values * (255.0 / (2**bits - 1)) + 0.5).clip(0, 255).astype(np.uint8)
    return 255 - shown if invert else shown


def _whole_range(ds, source, found, function):
    """The window from the lowest to the highest value, padding left out."""
    import numpy as np

    kept = source[~padding_mask(source, ds)] if pixel_padding(ds) is not None else source
    if kept.dtype.kind == "f":
        kept = kept[np.isfinite(kept)]
    if kept.size == 0:
        kept = np.zeros(1, source.dtype)
    ends = _values(np.array([kept.min(), kept.max()]), found)
    if isinstance(found, Table):  # whose order is its own
        ends = _values(kept, found)
    low, high = float(ends.min()), float(ends.max())
    if low == high and kept.size < source.size:
        low -= 1  # one value beside padding: to be seen
    wide = high - low or 1.0
    return _window(ds, function or "LINEAR_EXACT", low + wide / 2, wide)
