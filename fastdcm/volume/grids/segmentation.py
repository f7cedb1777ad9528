"""Segmentations on the grid of an image (PS3.3 A.51, C.8.20)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from fastdcm.errors import DicomError, Finding
from fastdcm.volume.array import Conversion, read_array
from fastdcm.volume.grids.resample import inverse
from fastdcm.volume.slices import Slice, finite_numbers

_Array = npt.NDArray[Any]
_Floats = npt.NDArray[np.float64]
_Indices = npt.NDArray[np.intp]

#: The elements that segmentations need.
TAGS = ("SegmentationType", "MaximumFractionalValue")
_STORAGE = ("1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7")
_ALIGNED = 0.01  # in cells: how far from the axes of the grid is still along them


def is_segmentation(slices: Sequence[Slice]) -> bool:
    """Return whether all slices are of segmentations."""
    return bool(slices) and all(s.image.row["SOPClassUID"] in _STORAGE for s in slices)


class _Grid:
    """The grid that segments are put on.

    shape : (slices, rows, columns). affine : from (column, row, slice, 1) to LPS.
    """

    def __init__(self, shape: Sequence[int], affine: _Floats) -> None:
        self.shape = tuple(shape)
        self.affine = affine


def segments_on_grid(
    slices: Sequence[Slice],
    shape: Sequence[int],
    affine: _Floats,
    separate: bool,
    threads: int | None,
    findings: list[Finding],
) -> tuple[_Array, list[int]]:
    """Put the segments of a segmentation on a grid, each cell from the nearest.

    Parameters
    ----------
    slices : sequence of Slice
        Of segmentations. Empty slices may be absent.
    shape : (slices, rows, columns)
    affine : (4, 4) float64 array
        Of the grid.
    separate : bool
        Return an array for each segment.
    threads : int or None
    findings : list of Finding
        "overlapping-segments" and "outside-grid" are added.

    Returns
    -------
    array
        Of `shape`: the number of the segment of each cell, and 0 for none; of fractional
        segments the one with the largest fraction, if that is at least half. With `separate`
        an axis of segments before: uint8 of 0 and 1, or the fractions in float32.
    numbers : list of int
        The Segment Numbers, ascending.

    Raises
    ------
    DicomError
        "volume" where a slice has no position or segment number.
    """
    grid = _Grid(shape, affine)
    by_segment: dict[int, list[Slice]] = {}
    label_maps = []
    for each in slices:
        if not each.has_geometry or each.spacing is None:
            raise DicomError(
                "a frame of the segmentation has no position, orientation or pixel spacing",
                "volume",
                filename=each.image.path,
            )
        number = each.values.get("ReferencedSegmentNumber")
        if each.values.get("SegmentationType") == "LABELMAP":
            label_maps.append(each)
        elif isinstance(number, int) and 0 < number <= 65535:
            by_segment.setdefault(number, []).append(each)
        else:
            raise DicomError(
                f"Referenced Segment Number must be 1 to 65535, got {number!r}",
                "volume",
                filename=each.image.path,
            )
    result = _Segments(grid, separate, threads)
    for number in sorted(by_segment):
        result.add(number, by_segment[number])
    if label_maps:
        result.add_label_map(label_maps)
    if result.overlapping and not separate:
        text = f"{result.overlapping} cells are in several segments: the highest number is kept"
        findings.append(Finding("overlapping-segments", text, True, {"cells": result.overlapping}))
    if result.outside:
        text = f"{result.outside} cells of segments are outside the grid"
        findings.append(Finding("outside-grid", text, False, {"cells": result.outside}))
    return result.array(), result.numbers


class _Segments:
    """The arrays of the segments that were added.

    overlapping : cells that several segments claim. outside : cells outside the grid.
    """

    def __init__(self, grid: _Grid, separate: bool, threads: int | None) -> None:
        self.grid, self.separate, self.threads = grid, separate, threads
        self.numbers: list[int] = []
        self.overlapping = self.outside = 0
        self._masks: list[_Array] = []
        self._labels: _Array = np.zeros(grid.shape, np.uint16)
        self._fractions: _Array | None = None

    def array(self) -> _Array:
        if self.separate:
            return np.stack(self._masks) if self._masks else np.zeros((0, *self.grid.shape), "u1")
        small = not self.numbers or self.numbers[-1] < 256
        return self._labels.astype(np.uint8) if small else self._labels

    def add(self, number: int, slices: list[Slice]) -> None:
        """Add a segment of binary or fractional slices."""
        values = slices[0].values
        values_in = self._place(slices)
        self.numbers.append(number)
        if values.get("SegmentationType") == "FRACTIONAL":
            most = finite_numbers(values.get("MaximumFractionalValue"), 1) or (255.0,)
            fractions = values_in.astype(np.float32) / np.float32(max(most[0], 1.0))
            if self.separate:
                self._masks.append(fractions)
                return
            if self._fractions is None:
                self._fractions = np.zeros(self.grid.shape, np.float32)
            larger = (fractions >= 0.5) & (fractions > self._fractions)
            self._fractions[larger] = fractions[larger]
            self._labels[larger] = number
            return
        mask = values_in != 0
        if self.separate:
            self._masks.append(mask.astype(np.uint8))
            return
        self.overlapping += int(np.count_nonzero(self._labels[mask]))
        self._labels[mask] = number

    def add_label_map(self, slices: list[Slice]) -> None:
        """Add slices whose values are numbers of segments."""
        labels = self._place(slices)
        found = [int(number) for number in np.unique(labels) if number]
        for number in found:
            if self.separate:
                self._masks.append((labels == number).astype(np.uint8))
        if not self.separate:
            self.overlapping += int(np.count_nonzero(self._labels[labels != 0]))
            self._labels[labels != 0] = labels[labels != 0]
        self.numbers = sorted({*self.numbers, *found})

    def _place(self, slices: list[Slice]) -> _Array:
        """Return the stored values of slices on the grid, from the nearest cells."""
        kinds: dict[tuple[Any, ...], list[Slice]] = {}
        for each in slices:
            kinds.setdefault((each.rows, each.columns, each.orientation, each.spacing), []).append(
                each
            )
        out = np.zeros(self.grid.shape, np.uint16)
        for group in kinds.values():
            cells = read_array(group, Conversion(rescale=False), self.threads)
            planes = _Planes(group)
            to_source: _Floats = inverse(planes.affine) @ self.grid.affine
            to_grid: _Floats = inverse(self.grid.affine) @ planes.affine
            self.outside += _count_outside(cells, planes, to_grid, out.shape)
            for k in range(out.shape[0]):
                _fill_slice(out[k], k, to_source, cells, planes)
        return out


class _Planes:
    """The positions of parallel slices on a grid of their own.

    numbers : the number of each slice along the normal. affine : of that grid.
    """

    def __init__(self, slices: list[Slice]) -> None:
        first = slices[0]
        assert first.orientation is not None and first.spacing is not None
        normal = np.array(first.normal)
        positions = np.array([each.position for each in slices])
        distances = positions @ normal
        steps = np.diff(np.unique(np.round(distances, 4)))
        spacing = first.slice_spacing or (float(steps.min()) if len(steps) else 1.0)
        start = int(distances.argmin())
        self.numbers = np.rint((distances - distances[start]) / spacing).astype(np.int64)
        self.affine = np.eye(4)
        self.affine[:3, 0] = np.multiply(first.orientation[:3], first.spacing[1])
        self.affine[:3, 1] = np.multiply(first.orientation[3:], first.spacing[0])
        self.affine[:3, 2] = normal * spacing
        self.affine[:3, 3] = positions[start]
        self.order = np.argsort(self.numbers, kind="stable")

    def find(self, numbers: Any) -> _Indices:
        """Return the indices of the slices with these numbers, -1 for none."""
        ordered = self.numbers[self.order]
        places = np.minimum(np.searchsorted(ordered, numbers), len(ordered) - 1)
        found: _Indices = np.where(ordered[places] == numbers, self.order[places], -1)
        return found


def _nearest(values: Any) -> Any:
    # half a cell goes to the lower one, so that rounding does not decide
    return np.floor(values + 0.5 - 1e-6).astype(np.int64)


def _fill_slice(out: _Array, k: int, to_source: _Floats, cells: _Array, planes: _Planes) -> None:
    """Set one slice of the grid from the nearest cells of the planes."""
    rows, columns = np.arange(out.shape[0]), np.arange(out.shape[1])
    mixed = np.abs(to_source[:3, :2] * [out.shape[1], out.shape[0]])
    mixed[0, 0] = mixed[1, 1] = 0.0
    base = to_source[:3, 2] * k + to_source[:3, 3]
    if mixed.max() < _ALIGNED:
        index = int(planes.find(_nearest(base[2])))
        if index < 0:
            return
        x = _nearest(to_source[0, 0] * columns + base[0])
        y = _nearest(to_source[1, 1] * rows + base[1])
        in_x = (x >= 0) & (x < cells.shape[2])
        in_y = (y >= 0) & (y < cells.shape[1])
        out[np.ix_(in_y, in_x)] = np.maximum(
            out[np.ix_(in_y, in_x)], cells[index][np.ix_(y[in_y], x[in_x])]
        )
        return
    grid = np.stack(np.meshgrid(columns, rows)).astype(np.float64)
    x, y, z = _nearest(np.tensordot(to_source[:3, :2], grid, axes=1) + base.reshape(3, 1, 1))
    index_of = planes.find(z)
    inside = (index_of >= 0) & (x >= 0) & (x < cells.shape[2]) & (y >= 0) & (y < cells.shape[1])
    found = cells[index_of[inside], y[inside], x[inside]]
    out[inside] = np.maximum(out[inside], found)


def _count_outside(cells: _Array, planes: _Planes, to_grid: _Floats, shape: Sequence[int]) -> int:
    """Return how many cells of segments are outside the grid."""
    outside = 0
    limits = np.array(shape[::-1]).reshape(3, 1)
    for frame, number in zip(cells, planes.numbers.tolist(), strict=True):
        y, x = np.nonzero(frame)
        if not len(x):
            continue
        places = _nearest(
            to_grid[:3, :2] @ np.stack([x, y]).astype(np.float64)
            + (to_grid[:3, 2] * number + to_grid[:3, 3]).reshape(3, 1)
        )
        outside += int(np.count_nonzero(((places < 0) | (places >= limits)).any(axis=0)))
    return outside
