"""Units of the values along axes."""

import numpy as np
import pytest

import fastdcm
from support.builder import element, sequence
from support.optional_packages import require_package
from support.series import NO_GEOMETRY, encode_image, frames_of, functional_groups, plane_position

TIMES, PERCENT = 0x00209153, 0x00209241  # PS3.3 C.7.6.16.2.7


def cardiac(*values):
    return sequence(0x00189118, [b"".join(values)])


def frames(put, groups):
    """Write two frames for each functional group."""
    per_frame = [
        b"".join(sorted([plane_position([0, 0, z]), group])) for group in groups for z in range(2)
    ]
    count = len(per_frame)
    raw = functional_groups(per_frame)
    return put(encode_image(frames_of(count), raw, frames=count, **NO_GEOMETRY))


def percentages(put):
    return frames(put, [cardiac(element(PERCENT, "FL", v)) for v in (10.0, 50.0, 90.0)])


def delays(put):
    return frames(put, [cardiac(element(TIMES, "FD", v)) for v in (10.0, 50.0, 90.0)])


def delays_and_percentages(put):
    return frames(
        put,
        [
            cardiac(element(TIMES, "FD", v), element(PERCENT, "FL", v / 10))
            for v in (10.0, 50.0, 90.0)
        ],
    )


def trigger_times(put):
    return [
        put(encode_image(frames_of(1)[0], position=[0, 0, z], trigger=v))
        for v in (10, 50, 90)
        for z in range(2)
    ]


def time_slots(put):
    """Gated NM (PS3.3 C.8.4.8)."""
    vectors = {
        0x00540070: [1, 1, 2, 2, 3, 3],  # Time Slot Vector
        0x00540080: [1, 2] * 3,  # Slice Vector
    }
    raw = {tag: element(tag, "US", values) for tag, values in vectors.items()}
    path = encode_image(frames_of(6), raw, frames=6, modality="NM", between=1, position=[0, 0, 0])
    return put(path)


SOURCES = {
    percentages: ([10, 50, 90], "%"),
    delays: ([0.01, 0.05, 0.09], "s"),
    delays_and_percentages: ([0.01, 0.05, 0.09], "s"),
    trigger_times: ([0.01, 0.05, 0.09], "s"),
    time_slots: ([1, 2, 3], None),
}


@pytest.mark.parametrize("write", SOURCES)
def test_phases_have_the_unit_of_their_attribute(put, tmp_path, write):
    phases, unit = SOURCES[write]
    volume = fastdcm.read_volume(write(put), dims="auto")
    assert volume.dims == ("phase", "z", "y", "x")
    assert np.allclose(volume.coords["phase"], phases, rtol=1e-6)
    assert volume.coord_units == ({} if unit is None else {"phase": unit})
    nibabel = pytest.importorskip("nibabel")
    volume.to_nifti(tmp_path / "a.nii")
    header = nibabel.load(tmp_path / "a.nii").header
    assert header.get_xyzt_units() == ("mm", "sec" if unit == "s" else "unknown")
    assert header["pixdim"][4] == 0


@pytest.mark.parametrize("write", SOURCES)
def test_units_in_xarray(put, write):
    require_package("xarray")
    unit = SOURCES[write][1]
    data = fastdcm.read_volume(write(put), dims="auto").to_xarray()
    assert data.coords["phase"].attrs == ({} if unit is None else {"units": unit})
    assert data.coords["z"].attrs == {"units": "mm"}


@pytest.mark.parametrize("dims", [["phase", "echo"], ["echo", "phase"]])
def test_phases_next_to_another_axis(put, dims):
    groups = [
        sequence(0x00189114, [element(0x00189082, "FD", echo)])
        + cardiac(element(PERCENT, "FL", phase))
        for echo in (5.0, 7.0)
        for phase in (10.0, 50.0, 90.0)
    ]
    volume = fastdcm.read_volume(frames(put, groups), dims=dims)
    assert volume.dims == (*dims, "z", "y", "x")
    assert volume.coords["phase"].tolist() == [10, 50, 90]
    assert volume.coords["echo"].tolist() == [0.005, 0.007]
    assert volume.coord_units == {"phase": "%", "echo": "s"}


def test_phases_that_fill_no_grid(put):
    groups = [
        sequence(0x00189117, [element(0x00189087, "FD", b)])
        + cardiac(element(PERCENT, "FL", phase))
        for b, phase in ((0.0, 10.0), (500.0, 50.0), (500.0, 90.0))
    ]
    volume = fastdcm.read_volume(frames(put, groups), dims="auto")
    assert volume.dims == ("b", "z", "y", "x")
    assert volume.coords["phase"].tolist() == [10, 50, 90]
    assert volume.coord_units == {"b": "s/mm2", "phase": "%"}
