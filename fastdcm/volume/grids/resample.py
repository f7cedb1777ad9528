"""Resample volumes: to even, perpendicular steps, or onto the grid of another volume."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from fastdcm.errors import DicomError

_Array = npt.NDArray[Any]
_Floats = npt.NDArray[np.float64]

_ROUNDING = 1e-3  # in cells: a coordinate this far outside is on the edge
# How many times as many cells a slice may get. A tilt of 45 degrees of a stack that is as
# high as its slices are wide needs two; positions of damaged files need any number.
_MAX_GROWTH = 16


def even_grid(
    array: _Array, affine: _Floats, positions: _Floats, fill: float
) -> tuple[_Array, _Floats, list[int]]:
    """Resample slices linearly to even steps along their normal.

    Parameters
    ----------
    array : (slices, rows, columns) array
    affine : (4, 4) float64 array
        Its first two columns are those of the slices.
    positions : (slices, 3) float64 array
        Of the first cell of each slice, ascending along the normal.
    fill : float
        The value of cells where there is no slice.

    Returns
    -------
    array : (slices, rows, columns) float32 array
        Large enough for all slices.
    affine : (4, 4) float64 array
        Without shear.
    nearest : list of int
        For each slice the number of the nearest slice before.

    Raises
    ------
    DicomError
        "volume" where the slices are shifted so far that the array would have 16 times as
        many cells.
    """
    spacing = np.linalg.norm(affine[:3, :2], axis=0)
    along_row, down_column = (affine[:3, :2] / spacing).T
    normal = np.cross(along_row, down_column)
    distances = positions @ normal
    step = float(distances[-1] - distances[0]) / (len(positions) - 1)
    # of each slice in the plane, in cells: (row, column)
    offsets = np.stack(
        [
            (positions - positions[0]) @ down_column / spacing[1],
            (positions - positions[0]) @ along_row / spacing[0],
        ],
        axis=1,
    )
    low = np.floor(offsets.min(axis=0) + _ROUNDING)
    growth = np.ceil(offsets.max(axis=0) - low - _ROUNDING)
    if np.prod(growth + array.shape[1:]) > _MAX_GROWTH * np.prod(array.shape[1:]):
        raise DicomError(
            f"the slices are shifted by {growth[0]:.0f} rows and {growth[1]:.0f} columns, which "
            "is too far to resample them",
            "volume",
        )
    size = growth.astype(int) + array.shape[1:]
    out = np.empty((len(positions), *size.tolist()), np.float32)
    nearest = []
    for k in range(len(out)):
        distance = distances[0] + k * step
        i = int(np.clip(np.searchsorted(distances, distance, "right") - 1, 0, len(distances) - 2))
        weight = float(np.clip((distance - distances[i]) / (distances[i + 1] - distances[i]), 0, 1))
        if weight < _ROUNDING:
            weight = 0.0
        elif weight > 1 - _ROUNDING:
            weight = 1.0
        parts = [(i, 1 - weight), (i + 1, weight)]
        cells = sum(
            share * _shifted(array[j], offsets[j] - low, out.shape[1:])
            for j, share in parts
            if share
        )
        out[k] = np.where(np.isnan(cells), fill, cells)
        nearest.append(i if weight <= 0.5 else i + 1)
    new = np.eye(4)
    new[:3, 0], new[:3, 1] = affine[:3, 0], affine[:3, 1]
    new[:3, 2] = normal * step
    new[:3, 3] = positions[0] + low[0] * affine[:3, 1] + low[1] * affine[:3, 0]
    return out, new, nearest


def _shifted(cells: _Array, offset: _Floats, shape: Sequence[int]) -> _Floats:
    """Return a slice moved by (row, column) cells in a larger one, NaN around it."""
    whole = np.rint(offset)
    fraction = offset - whole
    exact = np.abs(fraction) < _ROUNDING
    base = np.where(exact, whole, np.floor(offset)).astype(int)
    parts = np.where(exact, 0.0, offset - base)
    out = np.full(tuple(shape), np.nan)
    values = cells.astype(np.float64)
    for axis in (0, 1):
        if parts[axis]:
            before = np.take(values, range(values.shape[axis] - 1), axis)
            after = np.take(values, range(1, values.shape[axis]), axis)
            values = before * parts[axis] + after * (1 - parts[axis])
            base[axis] += 1
    rows, columns = values.shape
    out[base[0] : base[0] + rows, base[1] : base[1] + columns] = values
    return out


def on_grid(
    array: _Array, affine: _Floats, shape: Sequence[int], grid: _Floats, fill: float
) -> _Array:
    """Resample an array linearly onto another grid.

    Parameters
    ----------
    array : (slices, rows, columns) array
    affine : (4, 4) float64 array
        Of the array, from (column, row, slice, 1).
    shape : (slices, rows, columns)
        Of the grid.
    grid : (4, 4) float64 array
        The affine of the grid.
    fill : float
        The value of cells outside the array.

    Returns
    -------
    (slices, rows, columns) float32 array
    """
    to_array = inverse(affine) @ grid
    out = np.empty(tuple(shape), np.float32)
    for k in range(shape[0]):
        places, inside = _cells_of_slice(to_array, k, shape, array.shape)
        out[k] = np.where(inside, _interpolated(array, places), fill)
    return out


def inverse(affine: _Floats) -> _Floats:
    """Return the inverse of an affine.

    Raises
    ------
    DicomError
        "volume" where it has none, as with a spacing of 1e-300 mm.
    """
    try:
        found: _Floats = np.linalg.inv(affine).astype(np.float64, copy=False)
    except np.linalg.LinAlgError:
        found = np.full((4, 4), np.nan)
    if not np.isfinite(found).all():
        raise DicomError("the spacing of the slices is too small to resample them", "volume")
    return found


def _cells_of_slice(
    transform: _Floats, k: int, shape: Sequence[int], source: Sequence[int]
) -> tuple[_Floats, npt.NDArray[np.bool_]]:
    """Return where the cells of a slice are in an array, and whether they are inside.

    A cell is inside up to half a cell outside the centers at the edge.
    """
    columns, rows = np.meshgrid(np.arange(shape[2]), np.arange(shape[1]))
    ones = np.ones_like(rows)
    places = np.tensordot(
        transform[:3], np.stack([columns, rows, k * ones, ones]).astype(float), axes=1
    )[::-1]
    edges = np.array(source).reshape(3, 1, 1) - 0.5 + _ROUNDING
    inside = np.all((places >= -0.5 - _ROUNDING) & (places <= edges), axis=0)
    return places, inside


def _interpolated(array: _Array, places: _Floats) -> _Floats:
    limits = np.array(array.shape).reshape(3, 1, 1) - 1
    places = np.clip(places, 0, limits)
    low = np.minimum(np.floor(places).astype(np.intp), np.maximum(limits - 1, 0))
    weights = places - low
    out = np.zeros(places.shape[1:])
    for corner in np.ndindex(2, 2, 2):
        at = np.array(corner).reshape(3, 1, 1)
        share = np.where(at == 1, weights, 1 - weights).prod(axis=0)
        cells = array[tuple(np.minimum(low + at, limits))]
        # a NaN that has no share does not count
        out += np.where(share > 0, cells * share, 0.0)
    return out
