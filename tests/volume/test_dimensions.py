"""Arrays with axes before the slices."""

import random

import numpy as np
import pytest

import fastdcm
from fastdcm.volume.dimensions import AXES
from support.builder import element, sequence
from support.series import (
    COLUMNS,
    NO_GEOMETRY,
    ROWS,
    cells,
    codes,
    encode_image,
    frames_of,
    functional_groups,
    plane_position,
    problems,
)

ZS = (0, 3, 6)


@pytest.fixture
def stacks(put):
    """Function that writes stacks of slices at `ZS`, shuffled; one for each dict of attributes."""

    def write(attributes, zs=ZS):
        paths = []
        for n, values in enumerate(attributes):
            for z, position in enumerate(values.pop("zs", zs)):
                raw = {tag: element(tag, vr, v) for tag, (vr, v) in values.get("raw", {}).items()}
                paths.append(
                    put(
                        encode_image(
                            cells(10 * n + z),
                            raw,
                            **{"position": [0, 0, position], "number": 100 * n + z}
                            | {k: v for k, v in values.items() if k != "raw"},
                        )
                    )
                )
        random.Random(1).shuffle(paths)
        return paths

    return write


def expected(numbers):
    return np.stack([np.stack([cells(10 * n + z) for z in range(len(ZS))]) for n in numbers])


def acquired(second):
    return {0x00080032: ("TM", f"1200{second:02}")}


@pytest.mark.parametrize(
    ("axis", "name", "values", "coordinates"),
    [
        ("t", "time", [1, 2, 3], [0, 2, 4]),
        ("t", "acquisition", [8, 9, 10], [0, 2, 4]),
        ("b", "b", [1000.0, 0.0, 500.0], [1000, 0, 500]),  # in order of acquisition
        ("phase", "trigger", [0, 90, 1000], [0, 0.09, 1]),
        ("echo", "echo", [2.5, 4.75, 10], [0.0025, 0.00475, 0.01]),
    ],
)
def test_one_axis(stacks, axis, name, values, coordinates):
    paths = stacks([{name: value, "raw": acquired(2 * i)} for i, value in enumerate(values)])
    assert "several-stacks" in codes(problems(paths))
    dims = [axis] if axis == "echo" else "auto"
    for wanted in (dims, [axis], axis):
        volume = fastdcm.read_volume(paths, dims=wanted, tags=["InstanceNumber"])
        assert volume.dims == (axis, "z", "y", "x") and volume.findings == []
        assert (volume.array == expected(range(3))).all()
        assert np.allclose(volume.coords[axis], coordinates) and list(volume.coords) == [axis]
        assert volume.tags["InstanceNumber"] == [100 * n + z for n in range(3) for z in range(3)]
        assert len(volume.positions) == 3 and volume.key == {}
    other = [each for each in AXES if each != axis]
    assert "several-stacks" in codes(problems(paths, dims=other))
    assert len(fastdcm.read_volume(paths, dims=other, on_problem="split")) == 3


@pytest.mark.parametrize("each_slice", [False, True])
@pytest.mark.parametrize(
    ("tag", "vr", "value_of"),
    [
        (0x00541300, "DS", lambda s: 1000 * s),  # Frame Reference Time, PS3.3 C.8.9.4
        (0x0008002A, "DT", lambda s: f"2024010212{s:04}"),  # Acquisition DateTime
        (0x00080032, "TM", lambda s: f"12{s:04}"),  # Acquisition Time
    ],
)
def test_times_alone_are_an_axis(stacks, tag, vr, value_of, each_slice):
    """Each stack has a time of its own, or each slice."""
    paths = stacks(
        [
            {"zs": [z], "raw": {tag: (vr, value_of(5 * n + z * each_slice))}}
            for n in (2, 0, 1)
            for z in ZS
        ]
    )
    volume = fastdcm.read_volume(paths, dims="auto", tags=["InstanceNumber"])
    assert volume.dims == ("t", "z", "y", "x") and volume.findings == []
    assert volume.coords["t"].tolist() == [0, 5, 10]
    numbers = np.reshape(volume.tags["InstanceNumber"], (3, 3)) // 100
    assert numbers.tolist() == [[3, 4, 5], [6, 7, 8], [0, 1, 2]]
    assert "several-stacks" in codes(problems(paths))


def test_ten_positions_are_ordered_as_numbers(stacks):
    paths = stacks([{"trigger": 10 * i} for i in range(12)])
    volume = fastdcm.read_volume(paths, dims="auto")
    assert (volume.array == expected(range(12))).all()
    assert np.allclose(volume.coords["phase"], np.arange(12) / 100)


def test_two_axes(stacks):
    paths = stacks([{"echo": echo, "time": time} for time in (1, 2) for echo in (10, 20, 30)])
    volume = fastdcm.read_volume(paths, dims=["t", "echo"])
    assert volume.dims == ("t", "echo", "z", "y", "x")
    assert (volume.array == expected(range(6)).reshape(2, 3, 3, ROWS, COLUMNS)).all()
    assert np.allclose(volume.coords["echo"], [0.01, 0.02, 0.03])
    assert "t" not in volume.coords and codes(volume.findings) == ["missing-time"]
    turned = fastdcm.read_volume(paths, dims=["echo", "t"])
    assert (turned.array == volume.array.transpose(1, 0, 2, 3, 4)).all()
    # echoes are no axis of "auto": each is a volume
    parts = fastdcm.read_volume(paths, dims="auto", on_problem="split")
    assert [part.key for part in parts] == [{"EchoTime": echo} for echo in (10, 20, 30)]
    assert all(part.dims == ("t", "z", "y", "x") for part in parts)


def test_what_fills_no_grid_is_one_axis(stacks):
    """Diffusion: two images without weighting, and three directions."""
    directions = [None, [1, 0, 0], [0, 1, 0], [0, 0, 1], None]
    paths = stacks(
        [
            {
                "b": 0.0 if direction is None else 1000.0,
                "acquisition": i + 1,
                "raw": {} if direction is None else {0x00189089: ("FD", direction)},
            }
            for i, direction in enumerate(directions)
        ]
    )
    volume = fastdcm.read_volume(paths, dims="auto")
    assert volume.dims == ("b", "z", "y", "x")
    assert (volume.array == expected(range(5))).all()
    assert volume.coords["b"].tolist() == [0, 1000, 1000, 1000, 0]
    nan = [np.nan] * 3
    assert np.array_equal(
        volume.coords["gradient"],
        [nan if direction is None else direction for direction in directions],
        equal_nan=True,
    )


def test_an_incomplete_position(stacks):
    paths = stacks([{"time": 1}, {"time": 2}, {"time": 3, "zs": ZS[:2]}])
    assert codes(problems(paths, dims="auto")) == ["incomplete-dimension"]
    kept = fastdcm.read_volume(paths, dims="auto", on_problem="keep")
    assert (kept.array == expected(range(2))).all()
    assert codes(kept.findings)[0] == "incomplete-dimension" and "left-out" in codes(kept.findings)
    parts = fastdcm.read_volume(paths, dims="auto", on_problem="split")
    assert [part.array.shape[:-2] for part in parts] == [(2, 3), (2,)]


def test_gaps_are_still_problems(stacks):
    paths = stacks([{"time": 1}, {"time": 2}], zs=(0, 3, 9, 12))
    assert codes(problems(paths, dims="auto")) == ["gap"]
    parts = fastdcm.read_volume(paths, dims="auto", on_problem="split")
    assert sorted(part.array.shape[0] for part in parts) == [2, 2, 2, 2]


@pytest.mark.parametrize(
    ("seconds", "tr", "step"),
    [
        ([0, 2, 4], None, 2.0),
        ([0, 2, 4], 2010, 2.01),  # nominal
        ([0, 2, 4], 500, 2.0),  # several repetitions for a volume
        ([0, 2, 7], 2000, None),
        ([0, 0, 0], 2000, 2.0),
        ([0, 0, 0], None, None),
        ([4, 2, 0], None, None),  # against the order of the positions
    ],
)
def test_time_step(stacks, seconds, tr, step):
    nibabel = pytest.importorskip("nibabel")
    repetition = {} if tr is None else {0x00180080: ("DS", tr)}
    paths = stacks(
        [{"time": i + 1, "raw": acquired(s) | repetition} for i, s in enumerate(seconds)]
    )
    volume = fastdcm.read_volume(paths, dims="auto")
    assert volume.time_step == step
    assert ("missing-time" in codes(volume.findings)) == ("t" not in volume.coords)
    image = nibabel.Nifti1Image.from_bytes(volume.to_nifti().to_bytes())
    assert image.shape == (COLUMNS, ROWS, 3, 3)
    assert image.header["pixdim"][4] == pytest.approx(step or 0)
    assert image.header.get_xyzt_units() == ("mm", "sec")
    assert (np.asarray(image.dataobj) == volume.array.transpose(3, 2, 1, 0)).all()


def test_times_across_midnight(stacks):
    times = ["235958", "000000", "000002"]
    paths = stacks(
        [{"time": i + 1, "raw": {0x00080032: ("TM", time)}} for i, time in enumerate(times)]
    )
    assert fastdcm.read_volume(paths, dims="auto").coords["t"].tolist() == [0, 2, 4]


@pytest.mark.parametrize("keyword", ["FrameAcquisitionDateTime", "TemporalPositionTimeOffset"])
def test_enhanced(put, keyword):
    per_frame = []
    for n in range(6):
        time, z = divmod(n, 3)
        content = element(0x00209128, "UL", time + 1)
        offset = b""
        if keyword == "FrameAcquisitionDateTime":
            content = element(0x00189074, "DT", f"2024010212000{3 * time}") + content
        else:
            offset = sequence(0x00209310, [element(0x0020930D, "FD", 3.0 * time)])
        per_frame.append(sequence(0x00209111, [content]) + plane_position([0, 0, 3 * z]) + offset)
    timing = sequence(0x00189112, [element(0x00180080, "DS", 3000)])
    raw = functional_groups(per_frame, shared=timing)
    path = put(encode_image(frames_of(6), raw, frames=6, **NO_GEOMETRY))
    volume = fastdcm.read_volume(path, dims="auto")
    assert (volume.array == frames_of(6).reshape(2, 3, ROWS, COLUMNS)).all()
    assert volume.coords["t"].tolist() == [0, 3]
    assert (volume.repetition_time, volume.time_step) == (3.0, 3.0)


@pytest.mark.parametrize("position", [None, [0, 0, 0]])
@pytest.mark.parametrize("vector", [False, True])
def test_cine(put, position, vector):
    raw = (
        {0x00181065: element(0x00181065, "DS", [0, 40, 60])}
        if vector
        else {0x00181063: element(0x00181063, "DS", 40)}
    )
    path = put(encode_image(frames_of(3), raw, frames=3, position=position))
    volume = fastdcm.read_volume(path, dims="auto")
    assert volume.dims == ("t", "z", "y", "x") and volume.array.shape == (3, 1, ROWS, COLUMNS)
    assert (volume.array[:, 0] == frames_of(3)).all()
    assert np.allclose(volume.coords["t"], [0, 0.04, 0.1 if vector else 0.08])
    assert not any(finding.problem for finding in volume.findings)
    assert volume.tags["frame"] == [0, 1, 2]


def test_one_stack_has_no_axis(series):
    volume = fastdcm.read_volume(series([0, 1, 2], time=1), dims="auto")
    assert volume.dims == ("z", "y", "x") and volume.coords == {}


@pytest.mark.parametrize("dims", ["x", ["t", "x"], ["t", "t"], "auto4"])
def test_invalid_names(series, dims):
    with pytest.raises(ValueError, match="dims must be 'auto', or names out of"):
        fastdcm.read_volume(series([0]), dims=dims)
