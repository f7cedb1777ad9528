"""From planes to stacks: which slices belong together, in which order, and
whether one affine can tell where they lie."""

from collections import Counter

import numpy as np

from fastdcm.errors import Finding

#: Slices are where an affine says when they are nearer to it than this, in mm ...
NEAR = 0.01
#: ... or than this part of the spacing.
PART = 0.01
# Directions whose numbers differ by no more are one: 0.5 mm at 500.
_SAME_DIRECTION = 1e-3
# Degrees between slice direction and normal, from where it is a tilt and no rounding.
_TILT = 0.1

#: What tells stacks at the same positions apart, the first that can.
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
#: What differs from slice to slice, but still orders the planes of a position.
RANKS = (
    "TriggerTime",
    "FrameAcquisitionDateTime",
    "AcquisitionTime",
    "ContentTime",
    "DimensionIndexValues",
)


class Stack:
    """Planes in the order of the array.

    key : what distinguishes it from the other stacks, {name: value}.
    step : (3,) from one slice to the next, in mm.
    findings : of this stack alone.
    """

    def __init__(self, planes, key):
        self.planes, self.key = planes, key
        self.findings = []
        self.step = None
        self.has_geometry = planes[0].position is not None and planes[0].orientation is not None

    def note(self, code, text, problem=True, **details):
        self.findings.append(Finding(code, text, problem, details))


# --------------------------------------------------------------- mixtures ---


def _label(value):
    """A value that can be compared and hashed; floats by six digits."""
    if isinstance(value, (list, tuple)):
        return tuple(map(_label, value))
    if isinstance(value, float):
        return float(f"{value:.6g}") if value == value else None
    return value


def _order(values):
    """Sorted, whatever the types."""
    return sorted(
        values,
        key=lambda v: (
            (v is None, type(v).__name__ if not isinstance(v, (int, float)) else "", v)
            if not isinstance(v, tuple)
            else (False, "tuple", repr(v))
        ),
    )


def _clusters(vectors, tolerance):
    """A label for each: the first of the earlier ones that it is like."""
    found, labels, seen = [], [], {}
    for vector in vectors:
        label = seen.get(vector)
        if label is None:
            label = next(
                (
                    known
                    for known in found
                    if all(abs(a - b) <= tolerance for a, b in zip(known, vector))
                ),
                vector,
            )
            if label is vector:
                found.append(vector)
            seen[vector] = label
        labels.append(label)
    return labels


def _is_localizer(plane):
    """Image Type, value 3 (PS3.3 C.8.2.1.1.1)."""
    image_type = plane.values.get("ImageType")
    return isinstance(image_type, list) and "LOCALIZER" in image_type[2:]


def _value(name):
    return lambda planes: [_label(p.values.get(name)) for p in planes]


# (code, name of the key, what to say, labels of planes)
_MIXTURES = (
    ("mixed-series", "SeriesInstanceUID", "series", _value("SeriesInstanceUID")),
    (
        "mixed-frame-of-reference",
        "FrameOfReferenceUID",
        "frames of reference",
        _value("FrameOfReferenceUID"),
    ),
    (
        "mixed-size",
        "size",
        "sizes (rows, columns, samples)",
        lambda planes: [(p.rows, p.columns, p.samples) for p in planes],
    ),
    (
        "localizer",
        "localizer",
        "kinds: with and without localizers",
        lambda planes: [_is_localizer(p) for p in planes],
    ),
    (
        "missing-position",
        "positioned",
        "kinds: with and without position and orientation",
        lambda planes: [p.position is not None and p.orientation is not None for p in planes],
    ),
    (
        "mixed-orientation",
        "ImageOrientationPatient",
        "orientations",
        lambda planes: _clusters([p.orientation or () for p in planes], _SAME_DIRECTION),
    ),
    (
        "mixed-spacing",
        "PixelSpacing",
        "pixel spacings",
        lambda planes: _clusters([p.spacing or () for p in planes], 1e-4),
    ),
)


def partition(planes, findings):
    """[(key, planes)] that could each be an array; adds to findings what had
    to be told apart."""
    groups = [({}, planes)]
    for code, name, words, labels_of in _MIXTURES:
        counts, parts = Counter(), []
        for key, group in groups:
            labels = labels_of(group)
            found = {}
            for plane, label in zip(group, labels):
                found.setdefault(label, []).append(plane)
            if len(found) == 1:
                parts.append((key, group))
                continue
            for label, part in found.items():
                counts[label] += len(part)
                parts.append(({**key, name: label}, part))
        groups = parts
        if counts:
            findings.append(Finding(code, f"{len(counts)} {words}", True, {"slices": dict(counts)}))
    return groups


def drop_copies(planes, findings):
    """Without the second of what has the same SOP Instance UID and frame."""
    seen, kept, copies = {}, [], []
    for plane in planes:
        uid = plane.values["SOPInstanceUID"]
        first = seen.setdefault((uid, plane.frame, plane.tile), plane) if uid else plane
        (kept if first is plane else copies).append(plane)
    if copies:
        findings.append(
            Finding(
                "duplicate-instance",
                f"{len(copies)} slices are there twice, with the same SOP Instance UID",
                True,
                {"slices": [p.where for p in copies]},
            )
        )
    return kept


# ------------------------------------------------------------- dimensions ---


def _along(planes):
    normal = np.array(planes[0].normal)
    return np.array([p.position for p in planes]) @ normal


def _places(planes):
    """A number for each plane, the same for planes at one position."""
    along = _along(planes)
    order = np.argsort(along, kind="stable")
    depth = planes[0].depth
    near = NEAR if depth is None or depth > 0.2 else 0.05 * depth
    places = np.empty(len(planes), int)
    places[order] = np.cumsum(np.diff(along[order], prepend=along[order[0]]) > near)
    return places.tolist()


def _instance(plane):
    number = plane.values["InstanceNumber"]
    return (
        number if isinstance(number, (int, float)) else float("inf"),
        plane.frame,
        plane.tile or (),
    )


def separate(planes, findings):
    """[(key, planes)], no two planes of a part at one position; adds to
    findings what tells the parts apart."""
    if planes[0].position is None or planes[0].orientation is None:
        return [({}, sorted(planes, key=_instance))]
    used, copies = Counter(), [0]
    parts = _separate(planes, _places(planes), used, copies)
    if used:
        names = list(used)
        findings.append(
            Finding(
                "several-stacks",
                f"{len(parts)} stacks at the same positions, told apart by {', '.join(names)}",
                True,
                {"by": names, "stacks": [key for key, _ in parts]},
            )
        )
    if copies[0]:
        findings.append(
            Finding(
                "duplicate-position",
                f"{copies[0]} slices are where another is, and nothing tells them "
                "apart but their order",
                True,
                {"slices": copies[0]},
            )
        )
    return parts


def _separate(planes, places, used, copies):
    most = max(Counter(places).values())
    if most == 1:
        return [({}, planes)]
    at = {}
    for plane, place in zip(planes, places):
        at.setdefault(place, []).append(plane)
    crowded = [group for group in at.values() if len(group) > 1]
    for name in DIMENSIONS:
        label = lambda p: _label(p.values.get(name))  # noqa: E731
        values = {label(p) for p in planes}
        if not 1 < len(values) <= most or all(len({label(p) for p in g}) == 1 for g in crowded):
            continue
        used[name] += 1
        parts = []
        for value in _order(values):
            chosen = [(p, place) for p, place in zip(planes, places) if label(p) == value]
            for key, part in _separate(*map(list, zip(*chosen)), used, copies):
                parts.append(({name: value, **key}, part))
        return parts
    rank = next(
        (
            name
            for name in RANKS
            if all(
                None not in values and len(values) == len(group)
                for group in crowded
                for values in [{_label(p.values.get(name)) for p in group}]
            )
        ),
        None,
    )
    stacks = [[] for _ in range(most)]
    for group in at.values():
        if rank is None:
            group = sorted(group, key=_instance)
            copies[0] += len(group) - 1
        else:
            by = {_label(p.values.get(rank)): p for p in group}
            group = [by[value] for value in _order(by)]
        for stack, plane in zip(stacks, group):
            stack.append(plane)
    if rank is not None:
        used[rank] += 1
    name = "copy" if rank is None else f"order of {rank}"
    return [({name: i}, stack) for i, stack in enumerate(stacks)]


# ---------------------------------------------------------------- spacing ---


def stack_of(planes, key):
    """The Stack of planes that are at different positions: sorted, its step
    and its findings."""
    stack = Stack(planes, key)
    if not stack.has_geometry:
        stack.step = np.array([0.0, 0.0, planes[0].depth or 1.0])
        stack.note(
            "missing-position",
            f"{len(planes)} slices have no position or orientation: they "
            "are in the order of Instance Number, and the affine is not the patient's",
        )
        return stack
    if planes[0].spacing is None:
        stack.note("missing-spacing", "there is no Pixel Spacing: 1 mm stands for it")
    along = _along(planes)
    order = np.argsort(along, kind="stable")
    stack.planes = planes = [planes[i] for i in order]
    normal = np.array(planes[0].normal)
    if len(planes) == 1:
        stack.step = normal * (planes[0].depth or 1.0)
        stack.note(
            "single-slice", "there is one slice: its thickness stands for the spacing", False
        )
        return stack
    positions = np.array([p.position for p in planes])
    steps = np.diff(along[order])
    spacing = float(np.median(steps))
    mean = (positions[-1] - positions[0]) / (len(planes) - 1)
    near = max(min(NEAR, 0.1 * spacing), PART * spacing)
    gaps = _gaps(steps, spacing, near)
    if gaps:  # so many steps of the usual length
        mean = (positions[-1] - positions[0]) / (
            len(planes) - 1 + sum(missing for _, missing in gaps)
        )
    index = np.arange(len(planes))
    for after, missing in gaps:
        index[after + 1 :] += missing
    fitted = positions[0] + index[:, None] * mean
    off = (positions - fitted) @ normal
    sideways = np.linalg.norm(positions - fitted - off[:, None] * normal, axis=1).max()
    angle = float(
        np.degrees(np.arctan2(np.linalg.norm(mean - mean @ normal * normal), mean @ normal))
    )
    whole = np.linalg.norm(np.cross(positions[-1] - positions[0], normal))
    if sideways > max(0.05, 0.05 * min(planes[0].spacing or (1.0,))):
        stack.note(
            "shifted-slices",
            f"slices lie up to {sideways:.3g} mm beside one line",
            distance=float(sideways),
        )
        stack.step = mean
    elif angle > _TILT and whole > 0.05:
        stack.note(
            "tilt",
            f"the slices are stacked at {angle:.2f} degrees to their normal; the affine "
            "keeps that shear",
            False,
            angle=angle,
        )
        stack.step = mean
    else:
        stack.step = normal * (mean @ normal)
    if np.abs(off).max() > near:
        stack.note(
            "uneven-spacing",
            f"distances between slices run from {steps.min():.4g} to {steps.max():.4g} mm",
            smallest=float(steps.min()),
            largest=float(steps.max()),
            deviation=float(np.abs(off).max()),
        )
    elif gaps:
        missing = sum(missing for _, missing in gaps)
        stack.note(
            "gap",
            f"{missing} slices are missing, between {len(gaps)} pairs of neighbours",
            missing=missing,
            after=[after for after, _ in gaps],
        )
    return stack


def _gaps(steps, spacing, near):
    """[(slice before the gap, slices missing)], empty when a distance is no
    multiple of the usual one."""
    if spacing <= near:
        return []
    times = np.rint(steps / spacing)
    if times.min() < 1 or np.abs(steps - times * spacing).max() > 2 * near:
        return []
    return [(int(i), int(times[i]) - 1) for i in np.flatnonzero(times > 1)]


def runs_of(stack):
    """A Stack cut where its spacing changes, as a list of planes for each run."""
    along = _along(stack.planes)
    runs, first = [], 0
    while first < len(along):
        end = first + 1
        if end < len(along):
            step = along[end] - along[first]
            while end < len(along) and abs(along[end] - along[end - 1] - step) <= max(
                2 * NEAR, PART * step
            ):
                end += 1
        runs.append(stack.planes[first:end])
        first = end
    return runs
