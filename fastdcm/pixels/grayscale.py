"""Transform stored values to modality values and to gray levels (PS3.3 C.11).

Modality, VOI and presentation transformations, and pixel padding (PS3.3
C.7.5.1.1.2). Functions named ``apply_...`` have the names, arguments and results
of pydicom's; in addition they read functional groups and the byte order of
lookup tables.
"""

from __future__ import annotations

import math

from fastdcm.errors import DicomError
from fastdcm.pixels import _kernels
from fastdcm.pixels.frames import output_array, pixel_array
from fastdcm.pixels.functional_groups import (
    MODALITY,
    PER_FRAME,
    VOI,
    Macro,
    find_level,
    has_window,
    rescale_of,
)
from fastdcm.pixels.layout import as_number, integer, possible_integer
from fastdcm.pixels.lookup_table import (
    LookupTable,
    damaged,
    is_signed,
    lut_items,
    read_table,
    sequence_items,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from collections.abc import Sequence as Items
    from typing import Any

    from fastdcm.pixels.protocols import (
        Attributes,
        FrameSelection,
        PixelArray,
        PixelDataset,
        VOIFunction,
    )

    _Window = tuple[str, float, float]  # function, center, width
    _Modality = LookupTable | tuple[float, float] | None  # (slope, intercept)

# -------------------------------------------------------------- frame by frame ---


def _key(level: Attributes | None) -> object:
    """Return a value equal for levels that transform alike; one with tables equals none."""
    if level is None:
        return None
    if sequence_items(level, "ModalityLUTSequence") or sequence_items(level, "VOILUTSequence"):
        return object()
    keywords = (
        "RescaleSlope",
        "RescaleIntercept",
        "DoseGridScaling",
        "WindowCenter",
        "WindowWidth",
        "VOILUTFunction",
    )
    return repr([level.get(keyword) for keyword in keywords])


def _are_alike(ds: PixelDataset, numbers: Items[int], macros: tuple[Macro, ...]) -> bool:
    """Return whether frames share the transformations of these macros."""
    groups = sequence_items(ds, PER_FRAME)
    if len(numbers) < 2 or not groups:
        return True
    for macro in macros:
        if any(macro.sequence in group for group in groups):
            keys = (_key(find_level(ds, macro, number)) for number in numbers)
            first = next(keys)
            if any(key != first for key in keys):
                return False
    return True


def _by_frame(
    ds: PixelDataset,
    arr: PixelArray,
    frame: int | None,
    apply: Callable[[PixelArray, int], PixelArray],
    *macros: Macro,
) -> PixelArray:
    """Return ``apply(array, frame)``, called for each frame where they differ."""
    import numpy as np

    if frame is not None:
        return apply(arr, frame)
    count = len(sequence_items(ds, PER_FRAME))
    if _are_alike(ds, range(count), macros):
        return apply(arr, 0)
    if arr.ndim < 3 or len(arr) != count:
        raise ValueError(
            f"the transformations of the {count} frames differ: pass all frames, "
            "or the index of one with frame="
        )
    return np.stack([apply(one, number) for number, one in enumerate(arr)])


def _runs(
    ds: PixelDataset, arrays: tuple[PixelArray, ...], numbers: Items[int], *macros: Macro
) -> Iterator[tuple[list[PixelArray], list[Any]]]:
    """Yield parts of arrays that are transformed alike, and the level of each macro."""
    if _are_alike(ds, numbers, macros):
        number = numbers[0] if len(numbers) else 0
        yield list(arrays), [find_level(ds, macro, number) for macro in macros]
        return
    for position, number in enumerate(numbers):
        yield (
            [array[position] for array in arrays],
            [find_level(ds, macro, number) for macro in macros],
        )


# ------------------------------------------------------------------- modality ---


def _modality(ds: PixelDataset, level: Attributes | None, dose: bool = True) -> _Modality:
    """Return the modality transformation of a level; None for the identity."""
    if level is None:
        return None
    tables = lut_items(level, "ModalityLUTSequence")
    if tables:
        return read_table(ds, tables[0], "Modality LUT Sequence")
    return rescale_of(level, ds.filename, dose=dose)


def _modality_values(stored: PixelArray, modality: _Modality) -> PixelArray:
    """Return modality values: `stored` itself for the identity."""
    if isinstance(modality, LookupTable):
        return modality.look_up(stored)
    if modality in (None, (1.0, 0.0)):
        return stored
    return stored.astype("float64") * modality[0] + modality[1]


def rescale(ds: PixelDataset, frame: int = 0) -> tuple[float, float] | None:
    """Return the slope and intercept of a frame (PS3.3 C.11.1.1.2).

    Parameters
    ----------
    ds : Dataset
        The image.
    frame : int
        Index of the frame, from 0.

    Returns
    -------
    (float, float) or None
        (1.0, 0.0) where the file gives none; None where it has a Modality LUT.

    Raises
    ------
    DicomError
        For a value that is not a finite number.
    """
    found = _modality(ds, find_level(ds, MODALITY, frame))
    if found is None:
        return 1.0, 0.0
    return None if isinstance(found, LookupTable) else found


def apply_modality_lut(arr: PixelArray, ds: PixelDataset, frame: int | None = None) -> PixelArray:
    """Convert stored values to modality values, such as Hounsfield units (PS3.3 C.11.1).

    Dose Grid Scaling of RT Dose is not applied, as in pydicom; `modality_pixels`
    applies it.

    Parameters
    ----------
    arr : numpy.ndarray
        Stored values.
    ds : Dataset
        The image.
    frame : int, optional
        Index of the frame, from 0, if `arr` is one of several frames whose
        transformations differ.

    Returns
    -------
    numpy.ndarray
        uint8 or uint16 through a Modality LUT Sequence, float64 through slope
        and intercept, `arr` itself if there is neither.

    Raises
    ------
    DicomError
        For a damaged table, or a slope or intercept that is not a number.
    """
    import numpy as np

    def apply(arr: PixelArray, frame: int) -> PixelArray:
        found = _modality(ds, find_level(ds, MODALITY, frame), dose=False)
        if found is None:
            return arr
        if isinstance(found, LookupTable):
            return found.look_up(arr)
        slope, intercept = found
        values = arr.astype(np.float64) * slope
        values += intercept
        return values

    return _by_frame(ds, arr, frame, apply, MODALITY)


apply_rescale = apply_modality_lut


# ------------------------------------------------------------------------ VOI ---


def _value_range(ds: PixelDataset, frame: int) -> tuple[float, float]:
    """Return the lowest and highest possible modality value (PS3.3 C.11.2.1.2)."""
    found = _modality(ds, find_level(ds, MODALITY, frame), dose=False)
    if isinstance(found, LookupTable):
        return 0.0, float(2**found.bits - 1)  # PS3.3 C.11.1.1.1: unsigned
    allocated = integer(ds, "BitsAllocated")
    bits = possible_integer(ds, "BitsStored", allocated, 1, allocated)
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if is_signed(ds) else (0, 2**bits - 1)
    slope, intercept = found or (1.0, 0.0)
    return low * slope + intercept, high * slope + intercept


_FUNCTIONS = ("LINEAR", "LINEAR_EXACT", "SIGMOID")


def _file_window(ds: PixelDataset, level: Any, index: int) -> _Window | None:
    """Return the window at `index` of a level that has one.

    Notes the issue "image-value" for what is not possible: a center or width that is no
    number, or a width that is not above 0, makes the window None; LINEAR with a width
    below 1, for which it is not defined, becomes LINEAR_EXACT (PS3.3 C.11.2.1.2.1).
    """
    numbers = []
    for keyword in ("WindowCenter", "WindowWidth"):
        value = level.get(keyword)
        if isinstance(value, list) and (value or index):
            value = value[index]  # a single value serves every index, as in pydicom
        value = as_number(value)
        if not isinstance(value, (int, float)) or not math.isfinite(value):
            level.note_issue("image-value", keyword)
            return None
        numbers.append(float(value))
    center, width = numbers
    function = _file_function(level)
    if width <= 0 or (width < 1 and function == "LINEAR"):
        level.note_issue("image-value", "WindowWidth")
        return None if width <= 0 else ("LINEAR_EXACT", center, width)
    return function, center, width


def _file_function(level: Any) -> str:
    """Return the VOI LUT Function of a level: LINEAR if it has none, or an unknown one."""
    value = level.get("VOILUTFunction")
    name = value.strip().upper() if isinstance(value, str) else value
    if name in _FUNCTIONS:
        return str(name)
    if name is not None and name != "":
        level.note_issue("image-value", "VOILUTFunction")
    return "LINEAR"


def _voi_table(ds: PixelDataset, level: Any, index: int) -> LookupTable | None:
    """Return the table at `index` of the VOI LUT Sequence of a level.

    None where there is none, or one that cannot be used, which is noted as "lut".
    """
    tables = lut_items(level, "VOILUTSequence")
    if not tables:
        return None
    try:
        return read_table(ds, tables[index], "VOI LUT Sequence")
    except DicomError:
        level.note_issue("lut", "VOILUTSequence")
        return None


def _checked_window(ds: PixelDataset, function: str, center: Any, width: Any) -> _Window:
    """Return the window that the arguments give (PS3.3 C.11.2.1.2, C.11.2.1.3)."""
    if function not in _FUNCTIONS:
        raise damaged(ds, f"function must be LINEAR, LINEAR_EXACT or SIGMOID, got {function!r}")
    if not math.isfinite(center) or not math.isfinite(width):
        raise damaged(ds, f"center and width must be finite numbers, got {center}, {width}")
    if width < 1 if function == "LINEAR" else width <= 0:
        least = "at least 1" if function == "LINEAR" else "above 0"
        raise damaged(ds, f"Window Width must be {least} for {function}, got {width:g}")
    return function, float(center), float(width)


def _through_window(arr: PixelArray, window: _Window, low: float, high: float) -> PixelArray:
    """Map values through a window to low..high, in float64 (PS3.3 C.11.2.1.2, C.11.2.1.3)."""
    import numpy as np

    function, center, width = window
    arr = arr.astype(np.float64)
    if function == "SIGMOID":
        with np.errstate(over="ignore"):  # an infinite power of e gives `low`, as it should
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


def apply_windowing(
    arr: PixelArray, ds: PixelDataset, index: int = 0, frame: int | None = None
) -> PixelArray:
    """Map modality values through a window (PS3.3 C.11.2.1.2, C.11.2.1.3).

    Parameters
    ----------
    arr : numpy.ndarray
        Modality values.
    ds : Dataset
        The image.
    index : int
        Index of the window, if there are several.
    frame : int, optional
        As for `apply_modality_lut`.

    Returns
    -------
    numpy.ndarray
        float64, from the lowest to the highest modality value that Bits Stored
        allows; `arr` itself if there is no window, or one that is not possible.

    Raises
    ------
    ValueError
        If the image is not MONOCHROME1 or MONOCHROME2.
    IndexError
        If there is no window with this index.
    """

    def apply(arr: PixelArray, frame: int) -> PixelArray:
        level = find_level(ds, VOI, frame)
        if level is None or not has_window(level):
            return arr
        photometric = ds.get("PhotometricInterpretation")
        if photometric not in ("MONOCHROME1", "MONOCHROME2"):
            raise ValueError(
                f"windows apply to MONOCHROME1 and MONOCHROME2 images, not to {photometric}"
            )
        window = _file_window(ds, level, index)
        return arr if window is None else _through_window(arr, window, *_value_range(ds, frame))

    return _by_frame(ds, arr, frame, apply, VOI, MODALITY)


def apply_voi(
    arr: PixelArray, ds: PixelDataset, index: int = 0, frame: int | None = None
) -> PixelArray:
    """Map modality values through a table of the VOI LUT Sequence (PS3.3 C.11.2.1.1).

    Parameters
    ----------
    arr : numpy.ndarray
        Modality values.
    ds : Dataset
        The image.
    index : int
        Index of the table, if there are several.
    frame : int, optional
        As for `apply_modality_lut`.

    Returns
    -------
    numpy.ndarray
        uint8 or uint16; `arr` itself if there is no table, or one that cannot be used.

    Raises
    ------
    IndexError
        If there is no table with this index.
    """

    def apply(arr: PixelArray, frame: int) -> PixelArray:
        level = find_level(ds, VOI, frame)
        table = None if level is None else _voi_table(ds, level, index)
        return arr if table is None else table.look_up(arr)

    return _by_frame(ds, arr, frame, apply, VOI)


def apply_voi_lut(
    arr: PixelArray,
    ds: PixelDataset,
    index: int = 0,
    prefer_lut: bool = True,
    frame: int | None = None,
) -> PixelArray:
    """Map modality values through a VOI table or window (PS3.3 C.11.2).

    Parameters
    ----------
    arr : numpy.ndarray
        Modality values.
    ds : Dataset
        The image.
    index : int
        Index of the table or window, if there are several.
    prefer_lut : bool
        Use the table where there are both.
    frame : int, optional
        As for `apply_modality_lut`.

    Returns
    -------
    numpy.ndarray
        As `apply_voi` or `apply_windowing`.
    """

    def apply(arr: PixelArray, frame: int) -> PixelArray:
        level = find_level(ds, VOI, frame)
        if level is None:
            return arr
        table = None
        if prefer_lut or not has_window(level):
            table = _voi_table(ds, level, index)
        return apply_windowing(arr, ds, index, frame) if table is None else table.look_up(arr)

    return _by_frame(ds, arr, frame, apply, VOI, MODALITY)


# --------------------------------------------------------------- presentation ---


def apply_presentation_lut(arr: PixelArray, ds: PixelDataset) -> PixelArray:
    """Convert values to P-values, after the VOI transformation (PS3.3 C.11.4, C.11.6).

    Parameters
    ----------
    arr : numpy.ndarray
        Values after the VOI transformation.
    ds : Dataset
        The image, with a Presentation LUT Sequence or Presentation LUT Shape.

    Returns
    -------
    numpy.ndarray
        The entries of the table, over which the range of `arr` is spread;
        inverted values for the shape INVERSE; `arr` itself for IDENTITY and
        without a presentation LUT.

    Raises
    ------
    DicomError
        For a damaged table or another shape.
    """
    import numpy as np

    items = lut_items(ds, "PresentationLUTSequence")
    if items:
        table = read_table(ds, items[0], "Presentation LUT Sequence")
        values = table.values & np.array(2**table.bits - 1, table.values.dtype)
        arr = arr.astype(np.float32)
        arr -= arr.min()
        top = arr.max()
        if top > 0:
            arr /= top / (len(values) - 1)
        return np.asarray(values[arr.astype(np.uint16)])
    shape = ds.get("PresentationLUTShape")
    if shape:
        shape = str(shape).strip().upper()
        if shape not in ("IDENTITY", "INVERSE"):
            raise damaged(ds, f"Presentation LUT Shape must be IDENTITY or INVERSE, got {shape!r}")
        if shape == "INVERSE":
            arr = arr.max() - arr
    return arr


def is_inverted(ds: PixelDataset) -> bool:
    """Return whether the lowest value is displayed as white.

    MONOCHROME1 (PS3.3 C.7.6.3.1.2) and Presentation LUT Shape INVERSE (PS3.3
    C.11.6.1.2) say the same; where both are present they do not cancel.
    """
    return bool(
        ds.get("PhotometricInterpretation") == "MONOCHROME1"
        or str(ds.get("PresentationLUTShape") or "").strip().upper() == "INVERSE"
    )


# -------------------------------------------------------------------- padding ---


def pixel_padding(ds: PixelDataset) -> tuple[float, float] | None:
    """Return the lowest and highest stored value of padding (PS3.3 C.7.5.1.1.2).

    Both are the same unless there is a range limit; None if there is no padding.
    """
    for value, limit in (
        ("PixelPaddingValue", "PixelPaddingRangeLimit"),
        ("FloatPixelPaddingValue", "FloatPixelPaddingRangeLimit"),
        ("DoubleFloatPixelPaddingValue", "DoubleFloatPixelPaddingRangeLimit"),
    ):
        ends = [ds.get(value), ds.get(limit)]
        if not isinstance(ends[0], (int, float)):
            if ends[0] not in (None, ""):
                ds.note_issue("image-value", value)
            continue
        if not isinstance(ends[1], (int, float)):
            ends[1] = ends[0]
        if value == "PixelPaddingValue" and is_signed(ds):
            # written as US, meant as SS
            ends = [end - 0x10000 if end > 0x7FFF else end for end in ends]
        return min(ends), max(ends)
    return None


def padding_mask(arr: PixelArray, ds: PixelDataset) -> PixelArray:
    """Return an array of bool, of arr's shape, True where a stored value is padding."""
    import numpy as np

    ends = pixel_padding(ds)
    if ends is None:
        return np.zeros(arr.shape, bool)
    if ends[0] == ends[1]:
        return np.asarray(arr == ends[0])
    return np.asarray((arr >= ends[0]) & (arr <= ends[1]))


# ------------------------------------------------------- stored values to values ---


def stored_frames(
    ds: PixelDataset, frames: FrameSelection, mmap: bool | None = None
) -> tuple[PixelArray, Items[int]]:
    """Return the stored values of the selected frames, and the indices of the frames."""
    numbers = range(len(ds.frames))
    if frames is None:
        return pixel_array(ds, mmap), numbers
    if isinstance(frames, slice):
        return ds.frames.read(numbers[frames], mmap=mmap), numbers[frames]
    number = numbers[frames]
    one: PixelArray = ds.frames.read(range(number, number + 1), mmap=mmap)[0]
    return one, [number]


def _gray_frames(
    ds: PixelDataset, frames: FrameSelection, mmap: bool | None
) -> tuple[PixelArray, Items[int]]:
    stored, numbers = stored_frames(ds, frames, mmap)
    if (ds.get("SamplesPerPixel") or 1) != 1:
        raise damaged(
            ds,
            f"the image is {ds.get('PhotometricInterpretation')}: modality values and windows "
            "are for grayscale images, use to_rgb for color",
            "color",
        )
    return stored, numbers


def modality_pixels(
    ds: PixelDataset,
    frames: FrameSelection = None,
    out: PixelArray | None = None,
    *,
    mmap: bool | None = None,
) -> PixelArray:
    """Return modality values, such as Hounsfield units, as float32 (PS3.3 C.11.1).

    Applied is the Modality LUT, Rescale Slope and Intercept, or the Dose Grid
    Scaling of RT Dose, of each frame by itself (PS3.3 C.7.6.16); stored values
    are returned if there is none of these.

    Parameters
    ----------
    ds : Dataset
        A grayscale image.
    frames : int or slice, optional
        Which frames; by default all.
    out : numpy.ndarray, optional
        C-contiguous float32 array of the result's shape to write into.
    mmap : bool, optional
        As for `pixel_array`: False never maps the file.

    Returns
    -------
    numpy.ndarray
        float32 of shape ([frames,] rows, columns).

    Raises
    ------
    DicomError
        For damaged pixels or tables, and for color images.
    IndexError
        If there is no frame with this index.

    Examples
    --------
    >>> from fastdcm import dcmread
    >>> dcmread("ct.dcm").modality_pixels().min()   # doctest: +SKIP
    -1024.0
    """
    import numpy as np

    stored, numbers = _gray_frames(ds, frames, mmap)
    out = output_array(out, stored.shape, "float32")
    for (source, target), (level,) in _runs(ds, (stored, out), numbers, MODALITY):
        found = _modality(ds, level)
        if isinstance(found, LookupTable):
            target[...] = found.look_up(source)
        else:
            slope, intercept = found or (1.0, 0.0)
            source = np.ascontiguousarray(source)
            _kernels.linear(source, source.dtype.str, slope, intercept, target)
    return out


def windowed(
    ds: PixelDataset,
    frames: FrameSelection = None,
    *,
    center: float | None = None,
    width: float | None = None,
    function: VOIFunction | None = None,
    index: int = 0,
    out: PixelArray | None = None,
    mmap: bool | None = None,
) -> PixelArray:
    """Return gray levels for display: modality values through a window (PS3.3 C.11.2).

    Values are 0 (black) to 255; MONOCHROME1 and Presentation LUT Shape INVERSE
    are inverted.

    Parameters
    ----------
    ds : Dataset
        A grayscale image.
    frames : int or slice, optional
        Which frames; by default all.
    center, width : float, optional
        The window, in modality values. By default the VOI table, else the
        window, at `index` of each frame; where there is none, or none that is
        possible, the range of the values without padding.
    function : {"LINEAR", "LINEAR_EXACT", "SIGMOID"}, optional
        By default the VOI LUT Function of the file, or LINEAR.
    index : int
        Index of the file's table or window, if there are several.
    out : numpy.ndarray, optional
        C-contiguous uint8 array of the result's shape to write into.
    mmap : bool, optional
        As for `pixel_array`: False never maps the file.

    Returns
    -------
    numpy.ndarray
        uint8 of shape ([frames,] rows, columns).

    Raises
    ------
    DicomError
        For damaged pixels, Modality LUTs or slopes, an impossible `width`, and for
        color images.
    IndexError
        If there is no frame, table or window with this index.
    ValueError
        If only one of `center` and `width` is given.

    Examples
    --------
    >>> from fastdcm import dcmread
    >>> dcmread("ct.dcm").windowed(center=40, width=400).dtype  # doctest: +SKIP
    dtype('uint8')
    """
    import numpy as np

    if (center is None) != (width is None):
        raise ValueError(f"give both center and width, got center={center}, width={width}")
    stored, numbers = _gray_frames(ds, frames, mmap)
    out = output_array(out, stored.shape, "uint8")
    invert = is_inverted(ds)
    for (source, target), (modality, voi) in _runs(ds, (stored, out), numbers, MODALITY, VOI):
        found = _modality(ds, modality)
        window: _Window | None = None
        if center is not None:
            name = function or _file_function(ds if voi is None else voi)
            window = _checked_window(ds, name, center, width)
        elif voi is not None:
            table = _voi_table(ds, voi, index)
            if table is not None:
                levels = table.look_up(_modality_values(source, found))
                target[...] = _to_bytes(levels, table.bits, invert)
                continue
            if has_window(voi):
                window = _file_window(ds, voi, index)
            if function is not None and window is not None:
                window = _checked_window(ds, function, *window[1:])
        if window is None:
            window = _full_range(ds, source, found, function)
        if isinstance(found, LookupTable):
            source, found = found.look_up(source), None
        slope, intercept = found or (1.0, 0.0)
        source = np.ascontiguousarray(source)
        _kernels.window(
            source,
            source.dtype.str,
            *window[1:],
            target,
            function=window[0],
            slope=slope,
            intercept=intercept,
            invert=invert,
        )
    return out


def _to_bytes(values: PixelArray, bits: int, invert: bool) -> PixelArray:
    """Return table entries of `bits` bits as 0 to 255."""
    import numpy as np

    levels = np.floor(values * (255.0 / (2**bits - 1)) + 0.5).clip(0, 255).astype(np.uint8)
    return np.asarray(255 - levels if invert else levels)


def _full_range(
    ds: PixelDataset, source: PixelArray, modality: _Modality, function: str | None
) -> _Window:
    """Return the window from the lowest to the highest value, without padding."""
    import numpy as np

    kept = source[~padding_mask(source, ds)] if pixel_padding(ds) is not None else source
    if kept.dtype.kind == "f":
        kept = kept[np.isfinite(kept)]
    if kept.size == 0:
        kept = np.zeros(1, source.dtype)
    if isinstance(modality, LookupTable):  # the extremes may be anywhere in the table
        ends = _modality_values(kept, modality)
    else:
        ends = _modality_values(np.array([kept.min(), kept.max()]), modality)
    low, high = float(ends.min()), float(ends.max())
    if low == high and kept.size < source.size:
        low -= 1  # one value beside padding: displayed as white
    span = high - low or 1.0
    if function is None or (function == "LINEAR" and span < 1):
        function = "LINEAR_EXACT"
    return _checked_window(ds, function, low + span / 2, span)
