"""Resampling: linear functions of the position are reproduced exactly."""

import numpy as np
import pytest

import fastdcm
from support.series import (
    AXIAL,
    BETWEEN_COLUMNS,
    BETWEEN_ROWS,
    COLUMNS,
    ROWS,
    codes,
    encode_image,
    problems,
)

GRADIENT = np.array([10.0, -20.0, 5.0])


def value_at(points):
    return points @ GRADIENT + 300


def slice_at(position, orientation, slope, **values):
    columns, rows = np.meshgrid(np.arange(COLUMNS), np.arange(ROWS))
    points = (
        np.array(position, float)
        + columns[..., None] * BETWEEN_COLUMNS * np.array(orientation[:3])
        + rows[..., None] * BETWEEN_ROWS * np.array(orientation[3:])
    )
    stored = np.rint(value_at(points) / slope).astype("<i2")
    return encode_image(
        stored, slope=slope, intercept=0, position=position, orientation=orientation, **values
    )


SHIFTS = {
    "uneven": [(0, 0, 0), (0, 0, 2), (0, 0, 5), (0, 0, 6)],
    "tilt": [(0, i, 4 * i) for i in range(5)],
    "tilt of half cells": [(0, -0.25 * i, 4 * i) for i in range(5)],
    "uneven tilt": [(0, 0, 0), (0, 1, 2), (0, 2.5, 5), (0, 3, 6)],
    "shifted": [(0, 0, 0), (1.5, 0, 2), (0, 0, 4), (-0.75, 1, 6)],
}


@pytest.mark.parametrize("positions", SHIFTS.values(), ids=SHIFTS)
@pytest.mark.parametrize("orientation", [AXIAL, (0, 1, 0, 0, 0, -1)])
def test_even_steps(put, positions, orientation):
    across, down = np.array(orientation[:3]), np.array(orientation[3:])
    normal = np.cross(across, down)
    paths = [
        put(slice_at((across * x + down * y + normal * z).tolist(), orientation, 0.125))
        for x, y, z in positions
    ]
    volume = fastdcm.read_volume(paths, resample=True)
    assert not any(finding.problem for finding in volume.findings)
    assert {"tilt", "uneven-spacing", "shifted-slices"} & {*codes(volume.findings)}
    columns = volume.affine[:3, :3] / volume.spacing
    assert np.allclose(columns.T @ columns, np.eye(3)) and volume.array.dtype == np.float32
    z, y, x = np.indices(volume.array.shape).reshape(3, -1)
    points = (volume.affine @ [x, y, z, np.ones_like(x)])[:3].T
    filled = ~np.isnan(volume.array.ravel())
    assert filled.mean() > 0.3
    assert np.allclose(volume.array.ravel()[filled], value_at(points)[filled], atol=0.1)
    assert len(volume.positions) == len(volume.array) == len(volume.tags["path"])
    # each cell of the first slice has its place in the result
    first = fastdcm.read_volume(paths[0]).array[0]
    assert np.isin(first, volume.array[0]).all()


def test_without_the_option(put):
    uneven = [put(slice_at(p, AXIAL, 1)) for p in SHIFTS["uneven"]]
    assert codes(problems(uneven)) == ["uneven-spacing"]
    gap = [put(slice_at((0, 0, z), AXIAL, 1)) for z in (0, 2, 6, 8)]
    assert codes(problems(gap, resample=True)) == ["gap"]
    even = [put(slice_at((0, 0, z), AXIAL, 1)) for z in (0, 2, 4)]
    plain = fastdcm.read_volume(even)
    again = fastdcm.read_volume(even, resample=True)
    assert (again.array == plain.array).all() and (again.affine == plain.affine).all()


def test_value_outside(put):
    paths = [put(slice_at(p, AXIAL, 1)) for p in SHIFTS["tilt"]]
    assert np.isnan(fastdcm.read_volume(paths, resample=True).array).any()
    padded = fastdcm.read_volume(paths, resample=True, padding=-1000)
    assert (padded.array == -1000).any() and not np.isnan(padded.array).any()


def test_uneven_steps_are_not_split(put):
    paths = [put(slice_at(p, AXIAL, 1)) for p in SHIFTS["uneven"]]
    assert len(fastdcm.read_volume(paths, on_problem="split")) > 1
    assert len(fastdcm.read_volume(paths, on_problem="split", resample=True)) == 1


@pytest.mark.parametrize("orientation", [AXIAL, (0, 1, 0, 0, 0, -1), (-1, 0, 0, 0, -1, 0)])
def test_on_the_grid_of_another_volume(put, orientation):
    """Coarse slices on a fine grid in another orientation, and cells outside of them."""
    source = [put(slice_at((-1, -1, z), AXIAL, 0.125)) for z in (-1, 0, 1, 2)]
    grid = fastdcm.read_volume(
        [
            put(
                slice_at(
                    (0.1 + 0.3 * i * np.cross(orientation[:3], orientation[3:])).tolist(),
                    orientation,
                    1,
                )
            )
            for i in range(3)
        ]
    )
    volume = fastdcm.read_volume(source, like=grid)
    assert volume.array.shape == grid.array.shape and (volume.affine == grid.affine).all()
    assert (volume.positions == grid.positions).all()
    z, y, x = np.indices(volume.array.shape).reshape(3, -1)
    points = (volume.affine @ [x, y, z, np.ones_like(x)])[:3].T
    low = np.array([-1, -1, -1])
    high = low + np.array([(COLUMNS - 1) * BETWEEN_COLUMNS, (ROWS - 1) * BETWEEN_ROWS, 3])
    inside = ((points >= low) & (points <= high)).all(axis=1)
    values = volume.array.ravel()
    assert inside.any() and np.allclose(values[inside], value_at(points)[inside], atol=0.1)
    far = ((points < low - 1) | (points > high + 1)).any(axis=1)
    assert np.isnan(values[far]).all()
    padded = fastdcm.read_volume(source, like=grid, padding=0)
    assert (padded.array.ravel()[far] == 0).all()


def test_positions_that_are_too_far_apart(put):
    """The array does not get as large as the numbers in the files say."""
    paths = [put(slice_at((1e6 * i, 0, 2 * i), AXIAL, 10000)) for i in range(2)]
    with pytest.raises(fastdcm.DicomError, match="too far to resample") as caught:
        fastdcm.read_volume(paths, resample=True)
    assert caught.value.code == "volume"


def test_like_needs_positions(put):
    grid = fastdcm.read_volume(put(slice_at((0, 0, 0), AXIAL, 1)))
    radiograph = put(encode_image(np.zeros((ROWS, COLUMNS), "<i2"), modality="CR"))
    with pytest.raises(fastdcm.DicomError, match="needs the position and orientation"):
        fastdcm.read_volume(radiograph, like=grid)
    with pytest.raises(ValueError, match="whose slices have positions"):
        fastdcm.read_volume(radiograph, like=fastdcm.read_volume(radiograph))


def test_spacing_without_an_inverse(put):
    grid = fastdcm.read_volume(put(slice_at((0, 0, 0), AXIAL, 1)))
    path = put(
        encode_image(
            np.zeros((ROWS, COLUMNS), "<i2"), position=[0, 0, 0], spacing=["1e-310", "1e-310"]
        )
    )
    with pytest.raises(fastdcm.DicomError, match="too small to resample"):
        fastdcm.read_volume(path, like=grid)


def test_like_in_another_frame_of_reference(put):
    grid = fastdcm.read_volume(put(slice_at((0, 0, 0), AXIAL, 1)))
    other = put(slice_at((0, 0, 0), AXIAL, 1, reference="1.2.99"))
    volume = fastdcm.read_volume(other, like=grid, on_problem="keep")
    assert "mixed-frame-of-reference" in codes(volume.findings)
    assert codes(problems(other, like=grid)) == ["mixed-frame-of-reference"]
    with pytest.raises(TypeError, match="like must be a Volume, got str"):
        fastdcm.read_volume(other, like="volume")
