"""Join stacks at the same positions to arrays with more axes: time, b-value, phase."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from fastdcm.errors import Finding
from fastdcm.volume.separation import counted
from fastdcm.volume.slices import Slice, finite_numbers
from fastdcm.volume.sorting import TOLERANCE, Stack, build_stack
from fastdcm.volume.values.times import acquisition_seconds

_Array = npt.NDArray[np.float64]
#: The names of axes, or "auto".
Dims = Literal["auto"] | Sequence[str] | None

#: For each axis the attributes whose values are positions along it.
AXES: Mapping[str, tuple[str, ...]] = {
    "segment": ("ReferencedSegmentNumber",),
    "echo": ("EchoTime", "EffectiveEchoTime", "EchoNumbers"),
    "ti": ("InversionTime", "InversionTimes"),
    "flip": ("FlipAngle",),
    "b": ("DiffusionBValue", "DiffusionGradientOrientation"),
    "phase": (
        "NominalCardiacTriggerDelayTime",
        "NominalPercentageOfCardiacPhase",
        "TriggerTime",
        "TimeSlotVector",
    ),
    "t": (
        "TemporalPositionTimeOffset",
        "TemporalPositionIdentifier",
        "TemporalPositionIndex",
        "FrameReferenceTime",
        "AcquisitionNumber",
        "FrameAcquisitionNumber",
        "FrameAcquisitionDateTime",
        "AcquisitionDateTime",
        "AcquisitionTime",
        "ContentTime",
        "PhaseVector",
        "TimeSliceVector",
    ),
}
# The axes of "auto", and the one that takes all stacks where they fill no grid.
_AUTO = ("b", "phase", "t")
_MIDNIGHT = 43200.0  # a time that is so much earlier is of the next day
#: The elements that the coordinates of axes need.
TAGS = (
    "RepetitionTime",
    "AcquisitionDate",
    "AcquisitionDateTime",
    "FrameReferenceTime",
    "FrameTime",
    "FrameTimeVector",
)


class Joined:
    """Stacks of one array, in the order of its axes.

    Parameters
    ----------
    stacks : list of Stack
        One, or as many as the axes have positions, the last axis fastest.
    key : dict
        What distinguishes them from the other stacks of the series.
    names : tuple of str
        The axes.
    shape : tuple of int
        The lengths of the axes.
    coords : dict of str to array
        Values along axes.
    findings : list of Finding
    attributes : set of str
        Those in whose values the stacks differ.
    """

    def __init__(
        self,
        stacks: list[Stack],
        key: dict[str, Any],
        names: tuple[str, ...],
        shape: tuple[int, ...],
        coords: dict[str, _Array],
        findings: list[Finding],
        attributes: Iterable[str],
    ) -> None:
        self.stacks = stacks
        self.key = key
        self.names = names
        self.shape = shape
        self.coords = coords
        self.findings = findings
        self.attributes = set(attributes)

    @property
    def slices(self) -> list[Slice]:
        """The slices of all stacks, in the order of the array."""
        return [each for stack in self.stacks for each in stack.slices]


def axis_names(dims: Dims) -> tuple[str, ...]:
    """Return the axes that an argument names.

    Parameters
    ----------
    dims : "auto", sequence of str or None

    Returns
    -------
    tuple of str

    Raises
    ------
    ValueError
        For other names.
    """
    if dims is None:
        return ()
    if isinstance(dims, str):
        names: tuple[str, ...] = _AUTO if dims == "auto" else (dims,)
    else:
        names = tuple(dims)
    for name in names:
        if name not in AXES or names.count(name) > 1:
            raise ValueError(
                f"dims must be 'auto', or names out of {', '.join(AXES)}, got {dims!r}"
            )
    return names


def attribute_of(name: str) -> str:
    """Return the attribute of a name in a key, such as "order of TriggerTime"."""
    return name.removeprefix("order of ")


def complete_frame_times(slices: Sequence[Slice]) -> None:
    """Set the temporal position of the frames of a cine (PS3.3 C.7.6.5).

    Parameters
    ----------
    slices : sequence of Slice
        With the values of `TAGS`. Those of images without functional groups that have a
        Frame Time or Frame Time Vector get values of their own.
    """
    for each in slices:
        row, frames = each.image.row, each.image.row["NumberOfFrames"]
        if frames < 2 or each.values.get("TemporalPositionIndex") is not None:
            continue
        steps = finite_numbers(row.get("FrameTimeVector"), frames)
        step = finite_numbers(row.get("FrameTime"), 1)
        if steps is None and step is not None:
            steps = (0.0, *step * (frames - 1))
        if steps is not None:
            each.values = {
                **each.values,
                "TemporalPositionIndex": each.frame + 1,
                "TemporalPositionTimeOffset": sum(steps[1 : each.frame + 1]) / 1000.0,
            }


def _with_frames_apart(stacks: Sequence[Stack]) -> list[Stack]:
    """Return the stacks, those of a cine without position as one for each frame."""
    name = "TemporalPositionIndex"
    apart: list[Stack] = []
    for stack in stacks:
        frames = {each.values.get(name) for each in stack.slices}
        if stack.has_geometry or len(frames) != len(stack.slices) or None in frames:
            apart.append(stack)
            continue
        for each in stack.slices:
            apart.append(build_stack([each], {**stack.key, name: each.values[name]}))
    return apart


def join_stacks(
    stacks: Sequence[Stack], names: Sequence[str], findings: list[Finding]
) -> list[Joined]:
    """Join the stacks that differ along axes only.

    Parameters
    ----------
    stacks : sequence of Stack
    names : sequence of str
        Axes that `axis_names` returned.
    findings : list of Finding
        "several-stacks" is removed where its attributes became axes. A finding
        "incomplete-dimension" is added where stacks have other slices than the rest.

    Returns
    -------
    list of Joined
    """
    if not names:
        return [alone(stack) for stack in stacks]
    along = {attribute for name in names for attribute in AXES[name]}
    groups: dict[str, list[Stack]] = {}
    for stack in _with_frames_apart(stacks) if "t" in names else stacks:
        rest = [(k, repr(v)) for k, v in stack.key.items() if attribute_of(k) not in along]
        # a stack that differs along no axis is on its own
        is_along = len(rest) < len(stack.key)
        groups.setdefault(repr(rest if is_along else id(stack)), []).append(stack)
    joined: list[Joined] = []
    for group in groups.values():
        kept, others = _same_grid(group)
        if others:
            findings.append(
                Finding(
                    "incomplete-dimension",
                    f"{counted(len(others), 'stack')} of {len(group)} with other slices than the "
                    "rest",
                    True,
                    {"stacks": [stack.key for stack in others]},
                )
            )
        joined.append(_join(kept, names) if len(kept) > 1 else alone(kept[0]))
        joined += [alone(stack) for stack in others]
    merged = {attribute for one in joined for attribute in one.attributes}
    findings[:] = [
        finding
        for finding in findings
        if finding.code != "several-stacks"
        or any(attribute_of(name) not in merged for name in finding.details.get("by", ("",)))
    ]
    return joined


def alone(stack: Stack) -> Joined:
    """Return a stack that is an array by itself."""
    return Joined([stack], stack.key, (), (), {}, list(stack.findings), ())


def _same_grid(stacks: list[Stack]) -> tuple[list[Stack], list[Stack]]:
    """Return the most stacks that have the same slices, and the others."""
    classes: list[list[Stack]] = []
    for stack in stacks:
        for found in classes:
            if _is_same_grid(found[0], stack):
                found.append(stack)
                break
        else:
            classes.append([stack])
    most = max(classes, key=len)
    return most, [stack for found in classes if found is not most for stack in found]


def _is_same_grid(first: Stack, second: Stack) -> bool:
    if len(first.slices) != len(second.slices) or first.has_geometry != second.has_geometry:
        return False
    if not first.has_geometry:
        return True
    tolerance = max(TOLERANCE, 0.01 * float(np.linalg.norm(first.step)))
    return all(
        a.position is not None
        and b.position is not None
        and max(abs(p - q) for p, q in zip(a.position, b.position, strict=True)) <= tolerance
        for a, b in zip(first.slices, second.slices, strict=True)
    )


# ------------------------------------------------------------------- axes ---


def _label(stack: Stack, axis: str) -> tuple[Any, ...]:
    """Return the position of a stack along an axis: the values in its key."""
    key = {attribute_of(name): value for name, value in stack.key.items()}
    return tuple(key.get(attribute) for attribute in AXES[axis])


def _join(stacks: list[Stack], names: Sequence[str]) -> Joined:
    varying = [n for n in names if len({repr(_label(stack, n)) for stack in stacks}) > 1]
    attributes = {attribute for axis in varying for attribute in AXES[axis]}
    key = {k: value for k, value in stacks[0].key.items() if attribute_of(k) not in attributes}
    findings = list(stacks[0].findings)
    known = {str(finding) for finding in findings}
    for stack in stacks[1:]:
        findings += [finding for finding in stack.findings if str(finding) not in known]
        known.update(map(str, stack.findings))
    labels = {n: {text: i for i, text in enumerate(_ordered_labels(stacks, n))} for n in varying}
    grid: dict[tuple[int, ...], Stack] = {}
    for stack in stacks:
        grid[tuple(labels[n][repr(_label(stack, n))] for n in varying)] = stack
    shape = tuple(len(labels[n]) for n in varying)
    if len(grid) == len(stacks) == int(np.prod(shape)):
        ordered = [grid[place] for place in np.ndindex(*shape)]
        coords: dict[str, _Array] = {}
        for axis, name in enumerate(varying):
            places = [
                tuple(i if a == axis else 0 for a in range(len(shape))) for i in range(shape[axis])
            ]
            coords |= _coordinates(name, [grid[place] for place in places], findings)
        return Joined(ordered, key, tuple(varying), shape, coords, findings, attributes)
    # not every combination exists: one axis, in order of acquisition
    main = next(name for name in (*_AUTO, *names) if name in varying)
    order = _acquisition_order(stacks)
    ordered = sorted(stacks, key=lambda stack: order[id(stack)])
    coords = {}
    for name in varying:
        coords |= _coordinates(name, ordered, findings if name == main else [])
    return Joined(ordered, key, (main,), (len(ordered),), coords, findings, attributes)


def _ordered_labels(stacks: list[Stack], axis: str) -> list[str]:
    """Return the positions along an axis in order, as text."""
    first: dict[str, tuple[Any, ...]] = {}
    order = _acquisition_order(stacks)
    for stack in stacks:
        label = _label(stack, axis)
        numbers = [v for v in label if isinstance(v, (int, float))]
        # the order of acquisition decides among b-values, and where there are no numbers
        rank = (order[id(stack)],) if axis == "b" or not numbers else (*numbers, order[id(stack)])
        text = repr(label)
        first[text] = min(first.get(text, rank), rank)
    return sorted(first, key=lambda text: first[text])


def _acquisition_order(stacks: list[Stack]) -> dict[int, int]:
    """Return the number of each stack in order of acquisition, by its `id`.

    By the time of its first slice, where all have different times, else by Instance Number
    and frame.
    """
    times = _times(stacks)
    if times is not None and len(set(times.tolist())) == len(stacks):
        order = np.argsort(times, kind="stable").tolist()
    else:
        order = sorted(range(len(stacks)), key=lambda i: min(map(_instance, stacks[i].slices)))
    return {id(stacks[i]): rank for rank, i in enumerate(order)}


def _instance(each: Slice) -> tuple[float, int]:
    number = finite_numbers(each.values.get("InstanceNumber"), 1)
    return (number[0] if number else float("inf"), each.frame)


def _times(stacks: Sequence[Stack]) -> _Array | None:
    """Return when the first slice of each stack was acquired, in s; None if one is unknown."""
    firsts = []
    for stack in stacks:
        times = [acquisition_seconds(each.values) for each in stack.slices]
        known = [time for time in times if time is not None]
        if len(known) < len(times):
            return None
        firsts.append(min(known))
    seconds = np.array(firsts)
    # times without a date start again at midnight
    if seconds.max() < 86400 and seconds.max() - seconds.min() > _MIDNIGHT:
        seconds[seconds < _MIDNIGHT] += 86400
    return seconds


# ------------------------------------------------------------ coordinates ---


def _coordinates(axis: str, stacks: Sequence[Stack], findings: list[Finding]) -> dict[str, _Array]:
    """Return the values along an axis, by name; times in s."""
    firsts = [stack.slices[0].values for stack in stacks]
    if axis == "t":
        return _time_coordinates(stacks, findings)
    if axis == "b":
        found = {"b": _numbers(firsts, "DiffusionBValue")}
        directions = [
            finite_numbers(v.get("DiffusionGradientOrientation"), 3) or (np.nan,) * 3
            for v in firsts
        ]
        if not np.isnan(directions).all():
            found["gradient"] = np.array(directions)
        return {name: values for name, values in found.items() if values is not None}
    scale = 1.0 if axis in ("flip", "segment") else 1e-3  # from ms
    for attribute in AXES[axis]:
        numbers = _numbers(firsts, attribute)
        if attribute != "EchoNumbers" and numbers is not None and len(set(numbers.tolist())) > 1:
            return {axis: numbers * scale}
    return {}


def _numbers(rows: Sequence[Mapping[str, Any]], attribute: str) -> _Array | None:
    numbers = [finite_numbers(row.get(attribute), 1) for row in rows]
    found = [number[0] for number in numbers if number is not None]
    return np.array(found) if len(found) == len(rows) else None


def _time_coordinates(stacks: Sequence[Stack], findings: list[Finding]) -> dict[str, _Array]:
    firsts = [stack.slices[0].values for stack in stacks]
    candidates: list[Callable[[], _Array | None]] = [
        lambda: _scaled(_numbers(firsts, "TemporalPositionTimeOffset"), 1.0),
        lambda: _scaled(_numbers(firsts, "FrameReferenceTime"), 1e-3),
        lambda: _times(stacks),
        lambda: _scaled(_numbers(firsts, "TriggerTime"), 1e-3),
    ]
    for candidate in candidates:
        seconds = candidate()
        if seconds is not None and (np.diff(seconds) > 0).all():
            return {"t": np.round(seconds - seconds[0], 6)}
    text = "the axis of time has no coordinates: the slices have no times that increase along it"
    findings.append(Finding("missing-time", text, False, {}))
    return {}


def _scaled(values: _Array | None, scale: float) -> _Array | None:
    return None if values is None else values * scale


def repetition_time(slices: Sequence[Slice]) -> float | None:
    """Return the Repetition Time of MR slices in s, None where they have none or differ."""
    times = {finite_numbers(each.values.get("RepetitionTime"), 1) for each in slices}
    (time,) = times if len(times) == 1 else (None,)
    return time[0] / 1000.0 if time is not None and time[0] > 0 else None
