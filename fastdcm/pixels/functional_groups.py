"""Resolve the attributes of a frame (PS3.3 C.7.6.16).

In an enhanced multi-frame image an attribute of a frame is in a functional
group: in the frame's item of the Per-Frame Functional Groups Sequence
(5200,9230), else in the Shared Functional Groups Sequence (5200,9229). Only
other images have it at the top level of the data set, but many files have a
copy there as well, often the 1 and 0 of a converter. So the order is always:
per-frame, shared, top level; the first that has the attribute determines it.

Attributes that only have a meaning together are taken from one of the three:
slope and intercept, and the tables, windows and VOI LUT Function. All code that
needs an attribute of a frame calls this module, from the pixel functions to
volumes and loaders.
"""

from __future__ import annotations

import math

from fastdcm.errors import DicomError
from fastdcm.pixels.layout import as_number
from fastdcm.pixels.lookup_table import lut_items, sequence_items

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from collections.abc import Sequence as Items
    from typing import Any

    import numpy as np
    from numpy.typing import NDArray

    from fastdcm.pixels.protocols import Attributes, PixelDataset

    _Floats = NDArray[np.float64]

SHARED = "SharedFunctionalGroupsSequence"
PER_FRAME = "PerFrameFunctionalGroupsSequence"

#: The attributes that scale stored values, taken from one level.
RESCALE_KEYWORDS = ("RescaleSlope", "RescaleIntercept", "DoseGridScaling")


class Macro:
    """A functional group macro: attributes that are taken together from one level.

    Parameters
    ----------
    sequence : str
        Keyword of the macro's sequence in a functional group.
    is_given : callable
        Whether a level (an item of that sequence, or the data set itself) has
        the attributes.
    """

    __slots__ = ("is_given", "sequence")

    def __init__(self, sequence: str, is_given: Callable[[Attributes], bool]) -> None:
        self.sequence, self.is_given = sequence, is_given

    def columns(self, keyword: str) -> tuple[str, str, str]:
        """Return the columns of a scan that hold an attribute, in order of precedence.

        The first, per frame, is a list with one value a frame.
        """
        return (
            f"{PER_FRAME}[*].{self.sequence}.{keyword}",
            f"{SHARED}.{self.sequence}.{keyword}",
            keyword,
        )


def has_rescale(level: Attributes) -> bool:
    """Return whether a level has Rescale Slope, Rescale Intercept or Dose Grid Scaling."""
    return any(level.get(keyword) is not None for keyword in RESCALE_KEYWORDS)


def has_modality(level: Attributes) -> bool:
    """Return whether a level has a modality transformation: a table or a rescale."""
    return bool(lut_items(level, "ModalityLUTSequence")) or has_rescale(level)


def has_window(level: Attributes) -> bool:
    """Return whether a level has a window: both its center and its width."""
    return level.get("WindowCenter") is not None and level.get("WindowWidth") is not None


def has_voi(level: Attributes) -> bool:
    """Return whether a level has a VOI transformation: a table or a window."""
    return bool(lut_items(level, "VOILUTSequence")) or has_window(level)


#: Pixel Value Transformation (PS3.3 C.7.6.16.2.9); at the top level the Modality
#: LUT Module (C.11.1) or, for RT Dose, Dose Grid Scaling (C.8.8.3).
MODALITY = Macro("PixelValueTransformationSequence", has_modality)
#: Frame VOI LUT (PS3.3 C.7.6.16.2.10); at the top level the VOI LUT Module (C.11.2).
VOI = Macro("FrameVOILUTSequence", has_voi)

_MODALITY_TAG = 0x00289145
_DIFFUSION_TAG = 0x00189117


# ------------------------------------------------------------------ resolution ---


def is_enhanced(ds: Attributes) -> bool:
    """Return whether a data set has functional groups."""
    return ds.get(SHARED) is not None or ds.get(PER_FRAME) is not None


def levels(ds: PixelDataset, sequence: str, frame: int) -> Iterator[Any]:
    """Yield the data sets that may hold an attribute of a frame, in order of precedence.

    Parameters
    ----------
    ds : Dataset
        The image.
    sequence : str
        Keyword of the macro's sequence, such as "PixelMeasuresSequence".
    frame : int
        Index of the frame, from 0.

    Yields
    ------
    Dataset
        The macro's item in the frame's functional group, its item in the shared
        functional group, and `ds` itself; those that exist.
    """
    for groups, position in ((PER_FRAME, frame), (SHARED, 0)):
        for group in sequence_items(ds, groups)[position : position + 1]:
            yield from sequence_items(group, sequence)[:1]
    yield ds


def find_level(ds: PixelDataset, macro: Macro, frame: int) -> Any:
    """Return the data set that holds a frame's attributes of a macro, or None."""
    return next(
        (level for level in levels(ds, macro.sequence, frame) if macro.is_given(level)), None
    )


def frame_values(
    ds: PixelDataset,
    frames: int,
    top: Mapping[str, Any],
    macros: Mapping[int, tuple[str, ...]],
    extra: Items[str] = (),
) -> Iterator[dict[str, Any]]:
    """Yield the attributes of each frame by keyword.

    Each value is from the first of `levels` that has it; each group is read once.
    Frames without a group of their own share one dict.

    Parameters
    ----------
    ds : Dataset
        The image.
    frames : int
        Number of Frames.
    top : mapping
        The values at the top level, by keyword.
    macros : mapping
        For the tag of each macro's sequence the keywords of its attributes.
    extra : sequence of str
        More keywords, read from the sequence of any macro.
    """
    shared = dict(top)
    for group in sequence_items(ds, SHARED)[:1]:
        _update(shared, group, macros, extra)
    per_frame = sequence_items(ds, PER_FRAME)
    for i in range(frames):
        values = shared
        if i < len(per_frame) and len(per_frame[i]):
            values = dict(shared)
            _update(values, per_frame[i], macros, extra)
        yield values


def _update(
    values: dict[str, Any],
    group: Any,
    macros: Mapping[int, tuple[str, ...]],
    extra: Items[str],
) -> None:
    """Replace values by those of a functional group."""
    for elem in group:
        keywords = macros.get(elem.tag, ())
        if not (keywords or extra) or elem.VR != "SQ" or not len(elem.value):
            continue
        item = elem.value[0]
        if elem.tag == _MODALITY_TAG and keywords and has_rescale(item):
            for keyword in RESCALE_KEYWORDS:
                values[keyword] = None
        for keyword in (*keywords, *extra):
            value = item.get(keyword)
            if value is not None:
                values[keyword] = value
        if elem.tag == _DIFFUSION_TAG:
            for direction in sequence_items(item, "DiffusionGradientDirectionSequence")[:1]:
                keyword = "DiffusionGradientOrientation"
                values[keyword] = direction.get(keyword)


# --------------------------------------------------------------------- rescale ---


def rescale_of(
    level: Attributes, filename: Any = None, *, dose: bool = True
) -> tuple[float, float] | None:
    """Return the slope and intercept that a level gives (PS3.3 C.11.1.1.2, C.8.8.3).

    Dose Grid Scaling, which only RT Dose has, is a slope without an intercept.
    Of Rescale Slope and Rescale Intercept each is required; where one is missing
    the slope is 1 and the intercept 0.

    Parameters
    ----------
    level : Dataset or mapping
        The values by keyword.
    filename : str or bytes, optional
        Named in errors.
    dose : bool
        False ignores Dose Grid Scaling.

    Returns
    -------
    (float, float) or None
        None if the level has none of these attributes.

    Raises
    ------
    DicomError
        For a value that is not a finite number.
    """
    if dose and level.get("DoseGridScaling") is not None:
        return _finite(level, "DoseGridScaling", 1.0, filename), 0.0
    if level.get("RescaleSlope") is None and level.get("RescaleIntercept") is None:
        return None
    return (
        _finite(level, "RescaleSlope", 1.0, filename),
        _finite(level, "RescaleIntercept", 0.0, filename),
    )


def _finite(level: Attributes, keyword: str, default: float, filename: Any) -> float:
    value = as_number(level.get(keyword))
    if value is None:
        return default
    if not isinstance(value, (int, float)) or not math.isfinite(value):
        raise DicomError(f"{keyword} must be a number, got {value!r}", "lut", None, "", filename)
    return float(value)


def rescale_columns(
    slope: _Floats, intercept: _Floats, dose: _Floats | None = None
) -> tuple[_Floats, _Floats]:
    """Return `rescale_of` for many frames: arrays of float64 with NaN for no value.

    Parameters
    ----------
    slope, intercept : numpy.ndarray
        Rescale Slope and Rescale Intercept of each frame.
    dose : numpy.ndarray, optional
        Dose Grid Scaling.

    Returns
    -------
    slope, intercept : numpy.ndarray
        NaN where a frame has none of the three.
    """
    import numpy as np

    given = ~(np.isnan(slope) & np.isnan(intercept))
    slope = np.where(given & np.isnan(slope), 1.0, slope)
    intercept = np.where(given & np.isnan(intercept), 0.0, intercept)
    if dose is not None:
        is_dose = ~np.isnan(dose)
        slope, intercept = np.where(is_dose, dose, slope), np.where(is_dose, 0.0, intercept)
    return slope, intercept
