"""Separate the stacks of a series: slices that differ in what was measured.

A difference in echo, segment, kernel and the like always means another stack, whether the
stacks are at the same positions, one behind the other, or interleaved. Times and numbers of
acquisitions may also differ from slice to slice of one stack, and so have conditions.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from fastdcm.errors import Finding
from fastdcm.volume.slices import POLARITY_TAGS, UNIT_TAGS, Slice

#: What distinguishes a group of slices from the others: attribute to value.
Key = dict[str, Any]
Group = tuple[Key, list[Slice]]
_Array = npt.NDArray[np.float64]

# Slices closer than this are at one position, in mm.
_SAME_POSITION = 0.01

# Slices that differ in one of these are of different stacks.
_ALWAYS = (
    "ReferencedSegmentNumber",
    "StackID",
    "PhotometricInterpretation",
    "EnergyWindowVector",
    "DetectorVector",
    "EchoTime",
    "EffectiveEchoTime",
    "EchoNumbers",
    "RRIntervalVector",
    "TimeSlotVector",
    "PhaseVector",
    "TimeSliceVector",
    "RotationVector",
    "AngularViewVector",
    "DiffusionBValue",
    "ComplexImageComponent",
    "ImageType",
    "FrameType",
    "ConvolutionKernel",
    "KVP",
    "InPlanePhaseEncodingDirection",
    *POLARITY_TAGS,
    *UNIT_TAGS,
)
# Of these too, unless each slice has a value of its own.
_REPEATED = (
    "TemporalPositionIdentifier",
    "TemporalPositionIndex",
    "TemporalPositionTimeOffset",
    "NominalCardiacTriggerDelayTime",
    "NominalPercentageOfCardiacPhase",
    "DiffusionGradientOrientation",
    "InversionTime",
    "InversionTimes",
    "FlipAngle",
)
# Of these, unless the groups follow one another along the patient: a step-and-shoot CT has
# one number for each step of the table.
_ACQUISITIONS = ("AcquisitionNumber", "FrameAcquisitionNumber")
# Only those at the same positions.
_AT_ONE_POSITION = (
    "TriggerTime",
    *_ACQUISITIONS,
    "FrameReferenceTime",
    "AcquisitionDateTime",
    "AcquisitionTime",
    "SOPInstanceUID",
)
#: Attributes that differ from slice to slice, but still give the order of the
#: slices at one position.
ORDERING_ATTRIBUTES = (
    "TriggerTime",
    "FrameReferenceTime",
    "FrameAcquisitionDateTime",
    "AcquisitionDateTime",
    "AcquisitionTime",
    "ContentTime",
    "DimensionIndexValues",
)


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


# ------------------------------------------------------------------ values ---


def comparable(value: Any) -> Any:
    """Return a value that can be compared and hashed; floats to six digits."""
    if isinstance(value, (list, tuple)):
        return comparable(value[0]) if len(value) == 1 else tuple(map(comparable, value))
    if isinstance(value, float):
        return float(f"{value:.6g}") if value == value else None
    if value is None or isinstance(value, (str, bytes, int)):
        return value
    return repr(value)  # a sequence, where a value belongs


def _differ(name: str, slices: list[Slice]) -> bool:
    """Return whether any slice has another value of an attribute than the first."""
    first = slices[0].values.get(name)
    return any(each.values.get(name) != first for each in slices)


def values_of(name: str) -> Callable[[list[Slice]], list[Any]]:
    """Return the function that returns an attribute of slices as comparable values."""
    return lambda slices: [comparable(s.values.get(name)) for s in slices]


def _rank(value: Any) -> tuple[Any, ...]:
    """Return a key that sorts numbers, also those in text, as numbers; None is last."""
    if isinstance(value, tuple):
        return (1, *map(_rank, value))
    if value is None:
        return (3,)
    if isinstance(value, str):
        try:
            number = float(value)
        except ValueError:
            return (2, "str", value)
        return (0, number, value) if number == number else (2, "str", value)
    if isinstance(value, (int, float)):
        return (0, value, "")
    return (2, type(value).__name__, value)


def in_order(values: Iterable[Any]) -> list[Any]:
    """Return comparable values of any types in order."""
    return sorted(values, key=_rank)


# ------------------------------------------------------------------ stacks ---


def distances_of(slices: list[Slice]) -> _Array:
    """Return the position of each slice along the normal of the first, in mm."""
    normal = np.array(slices[0].normal)
    distances: _Array = np.array([s.position for s in slices]) @ normal
    return distances


def _position_numbers(slices: list[Slice]) -> list[int]:
    """Return a number for each slice, the same for slices at one position."""
    distances = distances_of(slices)
    order = np.argsort(distances, kind="stable")
    spacing = slices[0].slice_spacing
    tolerance = _SAME_POSITION if spacing is None or spacing > 0.2 else 0.05 * spacing
    steps = np.diff(distances[order], prepend=distances[order[0]])
    numbers = [0] * len(slices)
    for index, number in zip(order.tolist(), np.cumsum(steps > tolerance).tolist(), strict=True):
        numbers[index] = number
    return numbers


def instance_order(each: Slice) -> tuple[float, int, tuple[int, ...]]:
    """Return the key that sorts slices by Instance Number, frame and tile."""
    number = each.values["InstanceNumber"]
    return (
        number if isinstance(number, (int, float)) else float("inf"),
        each.frame,
        each.tile or (),
    )


def separate_stacks(slices: list[Slice], findings: list[Finding]) -> list[Group]:
    """Split slices into stacks, no two slices of which are at the same position.

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
    separation = _Separation()
    if slices[0].has_geometry:
        groups = separation.split(slices, _position_numbers(slices))
    else:
        groups = [
            (key, sorted(part, key=instance_order)) for key, part in separation.by_values(slices)
        ]
    if separation.names:
        names = list(separation.names)
        findings.append(
            Finding(
                "several-stacks",
                f"{len(groups)} stacks, distinguished by {', '.join(names)}",
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
    acquisitions = max(_acquisition_count(part) for _, part in groups)
    if acquisitions > 1 and slices[0].has_geometry:
        text = f"{acquisitions} acquisitions follow one another, and are one stack"
        findings.append(Finding("several-acquisitions", text, False, {"count": acquisitions}))
    return groups


def _acquisition_count(slices: list[Slice]) -> int:
    """Return the number of acquisitions of a stack, 1 where each slice has its own."""
    count = len(set(values_of("AcquisitionNumber")(slices)))
    return count if 1 < count < len(slices) else 1


class _Separation:
    """Splits slices by the attributes in which they differ.

    names : the attributes that were used, in order.
    indistinguishable : number of slices at the position of another that no
        attribute distinguishes.
    """

    def __init__(self) -> None:
        self.names: dict[str, None] = {}
        self.indistinguishable = 0

    def split(self, slices: list[Slice], positions: list[int]) -> list[Group]:
        """Return the stacks of slices whose positions have these numbers."""
        for name in (*_ALWAYS, *_REPEATED, *_ACQUISITIONS):
            if not _differ(name, slices):
                continue
            labels = values_of(name)(slices)
            if len(set(labels)) > 1 and self._separates(name, labels, positions):
                return self._by(name, labels, slices, positions)
        most = max(Counter(positions).values())
        if most == 1:
            return [({}, slices)]
        at_position: dict[int, list[Slice]] = {}
        for each, position in zip(slices, positions, strict=True):
            at_position.setdefault(position, []).append(each)
        crowded = [group for group in at_position.values() if len(group) > 1]
        for name in (*_REPEATED, *_AT_ONE_POSITION):
            labels = values_of(name)(slices)
            if 1 < len(set(labels)) <= most and any(
                len(set(values_of(name)(group))) > 1 for group in crowded
            ):
                return self._by(name, labels, slices, positions)
        return self._split_in_order(list(at_position.values()), crowded, most)

    def by_values(self, slices: list[Slice]) -> list[Group]:
        """Return the stacks of slices without positions."""
        for name in _ALWAYS:
            labels = values_of(name)(slices) if _differ(name, slices) else []
            if len(set(labels)) > 1:
                self.names[name] = None
                return [
                    ({name: value, **key}, part)
                    for value in in_order(set(labels))
                    for key, part in self.by_values(
                        [s for s, label in zip(slices, labels, strict=True) if label == value]
                    )
                ]
        return [({}, slices)]

    def _by(
        self, name: str, labels: list[Any], slices: list[Slice], positions: list[int]
    ) -> list[Group]:
        """Split by the values of one attribute, and each part further."""
        self.names[name] = None
        groups = []
        for value in in_order(set(labels)):
            chosen = [i for i, label in enumerate(labels) if label == value]
            for key, group in self.split(
                [slices[i] for i in chosen], [positions[i] for i in chosen]
            ):
                groups.append(({name: value, **key}, group))
        return groups

    @staticmethod
    def _separates(name: str, labels: Sequence[Any], positions: Sequence[int]) -> bool:
        """Return whether slices that differ in an attribute are of different stacks."""
        if name in _ALWAYS:
            return True
        counts = Counter(labels)
        if min(counts.values()) < 2:
            return False
        if name in _REPEATED:
            return True
        # each acquisition takes up a range of positions of its own
        ranges: dict[Any, list[int]] = {}
        for label, position in zip(labels, positions, strict=True):
            ranges.setdefault(label, []).append(position)
        ends = sorted((min(found), max(found)) for found in ranges.values())
        return any(last >= first for (_, last), (first, _) in pairwise(ends))

    def _split_in_order(
        self, at_position: list[list[Slice]], crowded: list[list[Slice]], most: int
    ) -> list[Group]:
        """Put the first slice of each position into the first stack, and so on."""
        name = next((n for n in ORDERING_ATTRIBUTES if _gives_order(n, crowded)), None)
        stacks: list[list[Slice]] = [[] for _ in range(most)]
        for group in at_position:
            if name is None:
                group = sorted(group, key=instance_order)
                self.indistinguishable += len(group) - 1
            else:
                by_value = dict(zip(values_of(name)(group), group, strict=True))
                group = [by_value[value] for value in in_order(by_value)]
            for stack, each in zip(stacks, group, strict=False):
                stack.append(each)
        if name is not None:
            self.names[name] = None
        key = "copy" if name is None else f"order of {name}"
        return [({key: i}, stack) for i, stack in enumerate(stacks)]


def _gives_order(name: str, groups: Iterable[list[Slice]]) -> bool:
    """Return whether all slices of each group differ in an attribute."""
    for group in groups:
        values = set(values_of(name)(group))
        if None in values or len(values) != len(group):
            return False
    return True
