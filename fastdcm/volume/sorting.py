"""Group slices into stacks, sort them, and check that one affine fits each stack.

Slices are ordered by their position along the normal of Image Orientation
(Patient), not by Instance Number (PS3.3 C.7.6.2.1.1).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from fastdcm.errors import Finding
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

#: The attributes that distinguish stacks at the same positions; the first that
#: does is used.
DIMENSIONS = (
    "ReferencedSegmentNumber",
    "StackID",
    "EchoTime",
    "EffectiveEchoTime",
    "EchoNumbers",
    "TemporalPositionIdentifier",
    "TemporalPositionIndex",
    "TemporalPositionTimeOffset",
    "NominalCardiacTriggerDelayTime",
    "DiffusionBValue",
    "DiffusionGradientOrientation",
    "InversionTime",
    "InversionTimes",
    "FlipAngle",
    "ImageType",
    "FrameType",
    "ComplexImageComponent",
    "TriggerTime",
    "AcquisitionNumber",
    "FrameAcquisitionNumber",
    "AcquisitionTime",
    "SOPInstanceUID",
)
#: Attributes that differ from slice to slice, but still give the order of the
#: slices at one position.
ORDERING_ATTRIBUTES = (
    "TriggerTime",
    "FrameAcquisitionDateTime",
    "AcquisitionTime",
    "ContentTime",
    "DimensionIndexValues",
)

#: What distinguishes a group of slices from the others: attribute to value.
Key = dict[str, Any]
Group = tuple[Key, list[Slice]]
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


def counted(number: int, noun: str) -> str:
    """Return a number with its noun, as "1 slice" or "3 slices".

    Parameters
    ----------
    number : int
    noun : str
        In the singular, with an s in the plural.

    Returns
    -------
    str
    """
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


# -------------------------------------------------- slices that do not mix ---


def _comparable(value: Any) -> Any:
    """Return a value that can be compared and hashed; floats to six digits."""
    if isinstance(value, (list, tuple)):
        return tuple(map(_comparable, value))
    if isinstance(value, float):
        return float(f"{value:.6g}") if value == value else None
    if value is None or isinstance(value, (str, bytes, int)):
        return value
    return repr(value)  # a sequence, where a value belongs


def _sorted(values: Iterable[Any]) -> list[Any]:
    """Sort comparable values of any types, None last."""

    def key(value: Any) -> tuple[bool, str, Any]:
        if isinstance(value, tuple):
            return (False, "tuple", repr(value))
        name = "" if isinstance(value, (int, float)) else type(value).__name__
        return (value is None, name, value)

    return sorted(values, key=key)


def _clusters(vectors: Iterable[tuple[float, ...]], tolerance: float) -> list[tuple[float, ...]]:
    """Return for each vector the first one that equals it within the tolerance."""
    representatives: list[tuple[float, ...]] = []
    seen: dict[tuple[float, ...], tuple[float, ...]] = {}
    labels = []
    for vector in vectors:
        label = seen.get(vector)
        if label is None:
            label = next((r for r in representatives if _is_near(r, vector, tolerance)), vector)
            if label is vector:
                representatives.append(vector)
            seen[vector] = label
        labels.append(label)
    return labels


def _is_near(first: tuple[float, ...], second: tuple[float, ...], tolerance: float) -> bool:
    # not strict: () for an absent value is near everything
    return all(abs(a - b) <= tolerance for a, b in zip(first, second, strict=False))


def _is_localizer(each: Slice) -> bool:
    """Return whether LOCALIZER is value 3 of Image Type, or later (PS3.3 C.8.2.1.1.1)."""
    image_type = each.values.get("ImageType")
    return isinstance(image_type, list) and "LOCALIZER" in image_type[2:]


def _values_of(name: str) -> Callable[[list[Slice]], list[Any]]:
    return lambda slices: [_comparable(s.values.get(name)) for s in slices]


# (code of the finding, name in the key, what the groups are, labels of slices)
_MIXTURES: tuple[tuple[str, str, str, Callable[[list[Slice]], Sequence[Hashable]]], ...] = (
    ("mixed-series", "SeriesInstanceUID", "series", _values_of("SeriesInstanceUID")),
    (
        "mixed-frame-of-reference",
        "FrameOfReferenceUID",
        "frames of reference",
        _values_of("FrameOfReferenceUID"),
    ),
    (
        "mixed-size",
        "size",
        "sizes (rows, columns, samples per pixel)",
        lambda slices: [(s.rows, s.columns, s.samples) for s in slices],
    ),
    (
        "localizer",
        "localizer",
        "groups: localizers and other slices",
        lambda slices: [_is_localizer(s) for s in slices],
    ),
    (
        "missing-position",
        "positioned",
        "groups: slices with and without position and orientation",
        lambda slices: [s.has_geometry for s in slices],
    ),
    (
        "mixed-orientation",
        "ImageOrientationPatient",
        "orientations",
        lambda slices: _clusters([s.orientation or () for s in slices], _ORIENTATION_TOLERANCE),
    ),
    (
        "mixed-spacing",
        "PixelSpacing",
        "pixel spacings",
        lambda slices: _clusters([s.spacing or () for s in slices], _SPACING_TOLERANCE),
    ),
)


def split_mixtures(slices: list[Slice], findings: list[Finding]) -> list[Group]:
    """Group slices so that each group could be one array.

    Parameters
    ----------
    slices : list of Slice
    findings : list of Finding
        A finding is added for each attribute in which the slices differ.

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
            for each, label in zip(group, labels_of(group), strict=True):
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
        A finding is added when there are duplicates.

    Returns
    -------
    list of Slice
        The first of each SOP Instance UID, frame and tile, and all slices
        without SOP Instance UID.
    """
    seen: dict[tuple[Any, ...], Slice] = {}
    kept: list[Slice] = []
    duplicates: list[Slice] = []
    for each in slices:
        uid = each.values["SOPInstanceUID"]
        first = seen.setdefault((uid, each.frame, each.tile), each) if uid else each
        (kept if first is each else duplicates).append(each)
    if duplicates:
        findings.append(
            Finding(
                "duplicate-instance",
                f"{counted(len(duplicates), 'slice')} found again, with the same SOP Instance UID",
                True,
                {"slices": [s.path_and_frame for s in duplicates]},
            )
        )
    return kept


# ------------------------------------- several stacks at the same positions ---


def _distances(slices: list[Slice]) -> _Array:
    """Return the position of each slice along the normal of the first, in mm."""
    normal = np.array(slices[0].normal)
    distances: _Array = np.array([s.position for s in slices]) @ normal
    return distances


def _position_numbers(slices: list[Slice]) -> list[int]:
    """Return a number for each slice, the same for slices at one position."""
    distances = _distances(slices)
    order = np.argsort(distances, kind="stable")
    spacing = slices[0].slice_spacing
    tolerance = TOLERANCE if spacing is None or spacing > 0.2 else 0.05 * spacing
    steps = np.diff(distances[order], prepend=distances[order[0]])
    numbers = [0] * len(slices)
    for index, number in zip(order.tolist(), np.cumsum(steps > tolerance).tolist(), strict=True):
        numbers[index] = number
    return numbers


def _instance_order(each: Slice) -> tuple[float, int, tuple[int, ...]]:
    number = each.values["InstanceNumber"]
    return (
        number if isinstance(number, (int, float)) else float("inf"),
        each.frame,
        each.tile or (),
    )


def separate_stacks(slices: list[Slice], findings: list[Finding]) -> list[Group]:
    """Split slices so that no two of a group are at the same position.

    Parameters
    ----------
    slices : list of Slice
        All with the same orientation, or all without.
    findings : list of Finding
        A finding is added that names the attributes by which they were split.

    Returns
    -------
    list of (key, slices)
    """
    if not slices[0].has_geometry:
        return [({}, sorted(slices, key=_instance_order))]
    separation = _Separation()
    groups = separation.split(slices, _position_numbers(slices))
    if separation.names:
        names = list(separation.names)
        findings.append(
            Finding(
                "several-stacks",
                f"{len(groups)} stacks at the same positions, distinguished by {', '.join(names)}",
                True,
                {"by": names, "stacks": [key for key, _ in groups]},
            )
        )
    if separation.indistinguishable:
        findings.append(
            Finding(
                "duplicate-position",
                f"{counted(separation.indistinguishable, 'slice')} at the position of another, "
                "with no attribute that distinguishes them",
                True,
                {"slices": separation.indistinguishable},
            )
        )
    return groups


class _Separation:
    """Splits slices by the attributes in which those at one position differ.

    names : the attributes that were used, in order.
    indistinguishable : number of slices at the position of another that no
        attribute distinguishes.
    """

    def __init__(self) -> None:
        self.names: dict[str, None] = {}
        self.indistinguishable = 0

    def split(self, slices: list[Slice], positions: list[int]) -> list[Group]:
        most = max(Counter(positions).values())
        if most == 1:
            return [({}, slices)]
        at_position: dict[int, list[Slice]] = {}
        for each, position in zip(slices, positions, strict=True):
            at_position.setdefault(position, []).append(each)
        crowded = [group for group in at_position.values() if len(group) > 1]
        for name in DIMENSIONS:
            labels = _values_of(name)(slices)
            values = set(labels)
            if not 1 < len(values) <= most or all(
                len(set(_values_of(name)(group))) == 1 for group in crowded
            ):
                continue
            self.names[name] = None
            groups = []
            for value in _sorted(values):
                chosen = [i for i, label in enumerate(labels) if label == value]
                for key, group in self.split(
                    [slices[i] for i in chosen], [positions[i] for i in chosen]
                ):
                    groups.append(({name: value, **key}, group))
            return groups
        return self._split_in_order(list(at_position.values()), crowded, most)

    def _split_in_order(
        self, at_position: list[list[Slice]], crowded: list[list[Slice]], most: int
    ) -> list[Group]:
        """Put the first slice of each position into the first stack, and so on."""
        name = next((n for n in ORDERING_ATTRIBUTES if _gives_order(n, crowded)), None)
        stacks: list[list[Slice]] = [[] for _ in range(most)]
        for group in at_position:
            if name is None:
                group = sorted(group, key=_instance_order)
                self.indistinguishable += len(group) - 1
            else:
                by_value = dict(zip(_values_of(name)(group), group, strict=True))
                group = [by_value[value] for value in _sorted(by_value)]
            for stack, each in zip(stacks, group, strict=False):
                stack.append(each)
        if name is not None:
            self.names[name] = None
        key = "copy" if name is None else f"order of {name}"
        return [({key: i}, stack) for i, stack in enumerate(stacks)]


def _gives_order(name: str, groups: Iterable[list[Slice]]) -> bool:
    """Return whether all slices of each group differ in an attribute."""
    for group in groups:
        values = set(_values_of(name)(group))
        if None in values or len(values) != len(group):
            return False
    return True


# ---------------------------------------------------------------- spacing ---


def build_stack(slices: list[Slice], key: Key) -> Stack:
    """Sort slices by position, and compare their positions to one affine.

    Parameters
    ----------
    slices : list of Slice
        At different positions.
    key : dict
        What distinguishes them from the other slices of their series.

    Returns
    -------
    Stack
        With its step and findings.
    """
    stack = Stack(slices, key)
    if not stack.has_geometry:
        # one image, such as a radiograph, is complete without them
        is_series = len(slices) > 1
        by_number = "sorted by Instance Number, and " if is_series else ""
        stack.add(
            "missing-position",
            f"{counted(len(slices), 'slice')} without position or orientation: {by_number}"
            "the affine is not in the coordinates of the patient",
            is_series,
        )
        if slices[0].spacing is None:
            stack.add("missing-spacing", "Pixel Spacing is missing: 1 mm is assumed", is_series)
        return stack
    if slices[0].spacing is None:
        stack.add("missing-spacing", "Pixel Spacing is missing: 1 mm is assumed")
    distances = _distances(slices)
    order = np.argsort(distances, kind="stable")
    stack.slices = [slices[i] for i in order]
    if len(slices) == 1:
        first = stack.slices[0]
        stack.step = np.array(first.normal) * (first.slice_spacing or 1.0)
        stack.add(
            "single-slice", "only one slice: its thickness is used as the slice spacing", False
        )
        return stack
    _fit_line(stack, np.diff(distances[order]))
    return stack


def _fit_line(stack: Stack, steps: _Array) -> None:
    """Set the step of a sorted stack, and add what its positions show.

    steps : distances between slices along the normal, in mm.
    """
    slices = stack.slices
    normal = np.array(slices[0].normal)
    positions = np.array([s.position for s in slices])
    spacing = float(np.median(steps))
    tolerance = max(min(TOLERANCE, 0.1 * spacing), RELATIVE_TOLERANCE * spacing)
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
    if sideways > max(0.05, 0.05 * min(slices[0].spacing or (1.0,))):
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


def split_at_spacing_changes(stack: Stack) -> list[list[Slice]]:
    """Return the evenly spaced parts of a stack.

    Parameters
    ----------
    stack : Stack

    Returns
    -------
    list of list of Slice
        In order; each a new part where the spacing changes.
    """
    distances = _distances(stack.slices)
    parts, first = [], 0
    while first < len(distances):
        end = first + 1
        if end < len(distances):
            step = distances[end] - distances[first]
            tolerance = max(2 * TOLERANCE, RELATIVE_TOLERANCE * step)
            while (
                end < len(distances)
                and abs(distances[end] - distances[end - 1] - step) <= tolerance
            ):
                end += 1
        parts.append(stack.slices[first:end])
        first = end
    return parts
