"""Sort the slices of stacks, and check that one affine fits each stack.

Slices are ordered by their position along the normal of Image Orientation
(Patient), not by Instance Number (PS3.3 C.7.6.2.1.1).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from fastdcm.errors import DicomError, Finding
from fastdcm.volume.separation import Group, Key, counted, distances_of, values_of
from fastdcm.volume.slices import Slice

#: A stack is evenly spaced when no slice is further than this from where the
#: affine puts it, in mm ...
TOLERANCE = 0.01
#: ... or further than this fraction of the spacing.
RELATIVE_TOLERANCE = 0.01
# Orientations whose numbers differ by no more are the same: 0.5 mm at 500 mm.
_ORIENTATION_TOLERANCE = 1e-3
_SPACING_TOLERANCE = 1e-4
# Degrees between slice direction and normal; a smaller angle is rounding.
_MIN_TILT = 0.1

_Array = npt.NDArray[np.float64]


class Stack:
    """Slices at different positions, in the order of the array.

    Parameters
    ----------
    slices : list of Slice
    key : dict
        What distinguishes this stack from the others of its series.

    Attributes
    ----------
    findings : list of Finding
        About this stack alone.
    step : (3,) float64 array
        From one slice to the next, in mm.
    has_geometry : bool
        Whether position and orientation are known.
    """

    def __init__(self, slices: list[Slice], key: Key) -> None:
        self.slices = slices
        self.key = key
        self.findings: list[Finding] = []
        self.step: _Array = np.array([0.0, 0.0, slices[0].slice_spacing or 1.0])
        self.has_geometry = slices[0].has_geometry

    def add(self, code: str, text: str, problem: bool = True, **details: Any) -> None:
        """Add a finding.

        Parameters
        ----------
        code, text, problem, **details
            The fields of a `Finding`.
        """
        self.findings.append(Finding(code, text, problem, details))


# -------------------------------------------------- slices that do not mix ---


def _clusters(vectors: Iterable[tuple[float, ...]], tolerance: float) -> list[tuple[float, ...]]:
    """Return for each vector the first one that equals it within the tolerance.

    For (), an absent value, the most frequent one.
    """
    representatives: list[tuple[float, ...]] = []
    seen: dict[tuple[float, ...], tuple[float, ...]] = {(): ()}
    labels = []
    for vector in vectors:
        label = seen.get(vector)
        if label is None:
            label = next((r for r in representatives if _is_near(r, vector, tolerance)), vector)
            if label is vector:
                representatives.append(vector)
            seen[vector] = label
        labels.append(label)
    most = max(representatives, key=labels.count, default=())
    return [label or most for label in labels]


def _is_near(first: tuple[float, ...], second: tuple[float, ...], tolerance: float) -> bool:
    return all(abs(a - b) <= tolerance for a, b in zip(first, second, strict=True))


def _orientations(slices: list[Slice], tolerance: float) -> list[tuple[float, ...]]:
    """Return the orientation of each slice, equal ones where they move no cell further.

    tolerance: in mm.
    """
    extents = [max(s.rows * s.spacing[0], s.columns * s.spacing[1]) for s in slices if s.spacing]
    limit = max(_ORIENTATION_TOLERANCE, tolerance / max(extents, default=1.0))
    return _clusters([s.orientation or () for s in slices], limit)


def _is_localizer(each: Slice) -> bool:
    """Return whether LOCALIZER is value 3 of Image Type, or later (PS3.3 C.8.2.1.1.1)."""
    image_type = each.values.get("ImageType")
    return isinstance(image_type, list) and "LOCALIZER" in image_type[2:]


_LabelsOf = Callable[[list[Slice], float], Sequence[Hashable]]


def _mixed(code: str, keyword: str, noun: str) -> tuple[str, str, str, _LabelsOf]:
    """Return the mixture of images with different values of an attribute.

    Images that lack it are not apart from those that have one and the same value.
    """

    def labels(slices: list[Slice], _: float) -> Sequence[Hashable]:
        found = values_of(keyword)(slices)
        known = {value for value in found if value not in (None, "")}
        return found if len(known) > 1 else [None] * len(slices)

    return code, keyword, noun, labels


# (code of the finding, name in the key, what the groups are, labels of slices)
_MIXTURES: tuple[tuple[str, str, str, _LabelsOf], ...] = (
    _mixed("mixed-series", "SeriesInstanceUID", "series"),
    # a series is of one patient, study, modality (PS3.3 A.1.2.3), and of one kind of image
    _mixed("mixed-patient", "PatientID", "patients"),
    _mixed("mixed-study", "StudyInstanceUID", "studies"),
    _mixed("mixed-modality", "Modality", "modalities"),
    _mixed("mixed-sop-class", "SOPClassUID", "SOP classes"),
    _mixed("mixed-frame-of-reference", "FrameOfReferenceUID", "frames of reference"),
    (
        "mixed-size",
        "size",
        "sizes (rows, columns, samples per pixel)",
        lambda slices, _: [(s.rows, s.columns, s.samples) for s in slices],
    ),
    (
        "localizer",
        "localizer",
        "groups: localizers and other slices",
        lambda slices, _: [_is_localizer(s) for s in slices],
    ),
    (
        "missing-position",
        "positioned",
        "groups: slices with and without position and orientation",
        lambda slices, _: [s.has_geometry for s in slices],
    ),
    (
        "mixed-orientation",
        "ImageOrientationPatient",
        "orientations",
        _orientations,
    ),
    (
        "mixed-spacing",
        "PixelSpacing",
        "pixel spacings",
        lambda slices, _: _clusters([s.spacing or () for s in slices], _SPACING_TOLERANCE),
    ),
)


def split_mixtures(
    slices: list[Slice], findings: list[Finding], tolerance: float = 0.0
) -> list[Group]:
    """Group slices so that each group could be one array.

    Parameters
    ----------
    slices : list of Slice
    findings : list of Finding
        A finding is added for each attribute in which the slices differ.
    tolerance : float
        How far an orientation may move a cell, in mm, to be the same.

    Returns
    -------
    list of (key, slices)
    """
    groups: list[Group] = [({}, slices)]
    for code, name, noun, labels_of in _MIXTURES:
        counts: Counter[Hashable] = Counter()
        parts: list[Group] = []
        for key, group in groups:
            by_label: dict[Hashable, list[Slice]] = {}
            for each, label in zip(group, labels_of(group, tolerance), strict=True):
                by_label.setdefault(label, []).append(each)
            if len(by_label) == 1:
                parts.append((key, group))
                continue
            for label, part in by_label.items():
                counts[label] += len(part)
                parts.append(({**key, name: label}, part))
        groups = parts
        if counts:
            findings.append(Finding(code, f"{len(counts)} {noun}", True, {"slices": dict(counts)}))
    return groups


def drop_duplicates(slices: Iterable[Slice], findings: list[Finding]) -> list[Slice]:
    """Return the slices without repeated ones.

    Parameters
    ----------
    slices : iterable of Slice
    findings : list of Finding
        A finding is added when there are duplicates, and a note when slices have the
        SOP Instance UID of another, but are not the same.

    Returns
    -------
    list of Slice
        All but those with the SOP Instance UID, frame, tile, position and stored pixels
        of another.
    """
    seen: dict[tuple[Any, ...], list[Slice]] = {}
    kept: list[Slice] = []
    duplicates: list[Slice] = []
    others: list[Slice] = []
    for each in slices:
        uid = each.values["SOPInstanceUID"]
        if not isinstance(uid, str) or not uid:
            kept.append(each)
            continue
        known = seen.setdefault((uid, each.frame, each.tile), [])
        if any(_is_same(each, other) for other in known):
            duplicates.append(each)
            continue
        if known:
            others.append(each)
        known.append(each)
        kept.append(each)
    if duplicates:
        findings.append(
            Finding(
                "duplicate-instance",
                f"{counted(len(duplicates), 'slice')} found again, with the same SOP Instance UID",
                True,
                {"slices": [s.path_and_frame for s in duplicates]},
            )
        )
    if others:
        findings.append(
            Finding(
                "repeated-uid",
                f"{counted(len(others), 'slice')} with the SOP Instance UID of another, but "
                "other positions or pixels",
                False,
                {"slices": [s.path_and_frame for s in others]},
            )
        )
    return kept


def _is_same(first: Slice, second: Slice) -> bool:
    """Return whether two slices with one UID are the same: in position, and as stored."""
    if (first.position, first.orientation) != (second.position, second.orientation):
        return False
    if first.image.dataset is None and first.image.path == second.image.path:
        return True
    try:
        stored = [each.image.open().frames.raw(each.frame) for each in (first, second)]
    except (DicomError, AttributeError):  # what cannot be read is no other image
        return True
    return stored[0] == stored[1]


# ---------------------------------------------------------------- spacing ---


def build_stack(slices: list[Slice], key: Key, tolerance: float = 0.0) -> Stack:
    """Sort slices by position, and compare their positions to one affine.

    Parameters
    ----------
    slices : list of Slice
        At different positions.
    key : dict
        What distinguishes them from the other slices of their series.
    tolerance : float
        How far a slice may be from where the affine places it, in mm, where that is more
        than by default.

    Returns
    -------
    Stack
        With its step and findings.
    """
    stack = Stack(slices, key)
    first = slices[0]
    for text in {each.assumed: None for each in slices if each.assumed}:
        stack.add("assumed-spacing", text, len(slices) > 1)
    if not stack.has_geometry:
        # one image, such as a radiograph, is complete without them
        is_series = len(slices) > 1
        by_number = "sorted by Instance Number, and " if is_series else ""
        stack.add(
            "missing-position",
            f"{counted(len(slices), 'slice')} without position or orientation: {by_number}"
            "the affine is not in the coordinates of the patient, "
            f"{first.distance_from} is used as the distance between slices",
            is_series,
        )
    elif first.is_in_volume:
        stack.add(
            "volume-position",
            "the affine is relative to the volume of Plane Position (Volume), not to the patient",
            False,
        )
    without = sum(each.spacing is None for each in slices)
    if without:
        other = "1 mm" if first.spacing is None else "that of the others"
        stack.add(
            "missing-spacing",
            f"Pixel Spacing of {counted(without, 'slice')} is missing: {other} is assumed",
            stack.has_geometry or len(slices) > 1,
        )
    if not stack.has_geometry:
        return stack
    distances = distances_of(slices)
    order = np.argsort(distances, kind="stable")
    stack.slices = [slices[i] for i in order]
    if len(slices) == 1:
        stack.step = np.array(first.normal) * (first.slice_spacing or 1.0)
        text = f"only one slice: {first.distance_from} is used as the distance between slices"
        stack.add("single-slice", text, False)
        return stack
    _fit_line(stack, np.diff(distances[order]), tolerance)
    return stack


def _fit_line(stack: Stack, steps: _Array, accepted: float) -> None:
    """Set the step of a sorted stack, and add what its positions show.

    steps : distances between slices along the normal, in mm.
    accepted : distance of a slice from the line that is none, in mm.
    """
    slices = stack.slices
    normal = np.array(slices[0].normal)
    positions = np.array([s.position for s in slices])
    spacing = float(np.median(steps))
    tolerance = max(min(TOLERANCE, 0.1 * spacing), RELATIVE_TOLERANCE * spacing, accepted)
    gaps = _gaps(steps, spacing, tolerance)
    index = np.arange(len(slices))
    for after, missing in gaps:
        index[after + 1 :] += missing
    extent = positions[-1] - positions[0]
    mean = extent / index[-1]
    offsets = positions - (positions[0] + index[:, None] * mean)
    along = offsets @ normal
    sideways = np.linalg.norm(offsets - along[:, None] * normal, axis=1).max()
    angle = float(
        np.degrees(np.arctan2(np.linalg.norm(mean - mean @ normal * normal), mean @ normal))
    )
    stack.step = mean
    if sideways > max(0.05, 0.05 * min(slices[0].spacing or (1.0,)), accepted):
        stack.add(
            "shifted-slices",
            f"slices are shifted in their plane, by up to {sideways:.3g} mm from a straight line",
            distance=float(sideways),
        )
    elif angle > _MIN_TILT and np.linalg.norm(np.cross(extent, normal)) > 0.05:
        stack.add(
            "tilt",
            f"the slices are stacked at {angle:.2f} degrees to their normal; the affine includes "
            "this shear",
            False,
            angle=angle,
        )
    else:
        stack.step = normal * (mean @ normal)
    if np.abs(along).max() > tolerance:
        stack.add(
            "uneven-spacing",
            f"distances between slices range from {steps.min():.4g} to {steps.max():.4g} mm",
            smallest=float(steps.min()),
            largest=float(steps.max()),
            deviation=float(np.abs(along).max()),
        )
    elif gaps:
        missing = sum(missing for _, missing in gaps)
        stack.add(
            "gap",
            f"{counted(missing, 'slice')} missing in {counted(len(gaps), 'gap')}",
            missing=missing,
            after=[after for after, _ in gaps],
        )


def _gaps(steps: _Array, spacing: float, tolerance: float) -> list[tuple[int, int]]:
    """Return (slice before the gap, slices missing) for each gap.

    Empty when a distance is not a multiple of the usual one.
    """
    if spacing <= tolerance:
        return []
    times = np.rint(steps / spacing)
    if times.min() < 1 or np.abs(steps - times * spacing).max() > 2 * tolerance:
        return []
    return [(int(i), int(times[i]) - 1) for i in np.flatnonzero(times > 1)]


def split_at_spacing_changes(stack: Stack, tolerance: float = 0.0) -> list[list[Slice]]:
    """Return the evenly spaced parts of a stack.

    Parameters
    ----------
    stack : Stack

    Returns
    -------
    list of list of Slice
        In order; each a new part where the spacing changes.
    """
    distances = distances_of(stack.slices)
    parts, first = [], 0
    while first < len(distances):
        end = first + 1
        if end < len(distances):
            step = distances[end] - distances[first]
            limit = max(2 * TOLERANCE, RELATIVE_TOLERANCE * step, tolerance)
            while end < len(distances) and abs(distances[end] - distances[end - 1] - step) <= limit:
                end += 1
        parts.append(stack.slices[first:end])
        first = end
    return parts
