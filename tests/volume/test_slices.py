"""Slices of multi-frame images, and of images that are damaged."""

import numpy as np
import pytest

import fastdcm
from support.builder import element, sequence
from support.series import (
    BETWEEN_COLUMNS,
    BETWEEN_ROWS,
    NO_GEOMETRY,
    cells,
    codes,
    encode_image,
    frames_of,
    functional_groups,
    plane_position,
    problems,
)


@pytest.mark.parametrize(
    "values",
    [{"rows": 65535, "columns": 65535}, {"frames": 2_000_000_000}, {"rows": 0}, {"frames": -1}],
)
def test_impossible_sizes_allocate_nothing(put, values):
    (found,) = problems(put(encode_image(cells(0), position=[0, 0, 0], **values)))
    assert found.code == "bad-image"


def test_pixel_data_that_is_too_short(put, series):
    paths = series([0, 1])
    bad = put(encode_image(cells(2)[:2], position=[-10, 20, 2]))
    (found,) = problems([*paths, bad])
    assert found.code == "bad-image" and "require at least 48" in found.text
    assert fastdcm.read_volume([*paths, bad], on_problem="keep").array.shape[0] == 2


def test_enhanced(put):
    zs = [4, 0, 6, 2]
    path = put(
        encode_image(
            frames_of(4),
            functional_groups([plane_position([1, 2, z]) for z in zs]),
            frames=4,
            **NO_GEOMETRY,
        )
    )
    volume = fastdcm.read_volume(path)
    assert volume.findings == [] and volume.spacing == (BETWEEN_COLUMNS, BETWEEN_ROWS, 2)
    assert volume.tags["frame"] == [1, 3, 0, 2] and volume.origin == (1, 2, 0)
    assert (volume.array == frames_of(4)[[1, 3, 0, 2]]).all()
    assert (fastdcm.read_volume(fastdcm.dcmread(path)).array == volume.array).all()


def test_enhanced_with_dimensions_and_slopes(put):
    def frame(i):
        echo = sequence(0x00189114, [element(0x00189082, "FD", 10.0 + i // 3)])
        scale = sequence(
            0x00289145, [element(0x00281052, "DS", -5) + element(0x00281053, "DS", 1 + i // 3)]
        )
        return echo + plane_position([0, 0, i % 3]) + scale

    path = put(
        encode_image(
            frames_of(6), functional_groups([frame(i) for i in range(6)]), frames=6, **NO_GEOMETRY
        )
    )
    (found,) = problems(path)
    assert (found.code, found.details["by"]) == ("several-stacks", ["EffectiveEchoTime"])
    parts = fastdcm.read_volume(path, on_problem="split", tags=["EffectiveEchoTime"])
    assert [part.key for part in parts] == [{"EffectiveEchoTime": 10}, {"EffectiveEchoTime": 11}]
    assert (parts[1].array == frames_of(6)[3:] * 2 - 5).all()
    assert parts[1].tags["EffectiveEchoTime"] == [11] * 3


def test_tags_from_functional_groups(put):
    def frame(i):
        return plane_position([0, 0, i]) + sequence(
            0x00189325, [element(0x00189309, "FD", 10.0 + i)]
        )

    path = put(
        encode_image(
            frames_of(2), functional_groups([frame(i) for i in range(2)]), frames=2, **NO_GEOMETRY
        )
    )
    assert fastdcm.read_volume(path, tags=["TableSpeed"]).tags["TableSpeed"] == [10, 11]


def test_dose(put):
    """Offsets from the first frame, and Dose Grid Scaling."""
    path = put(
        encode_image(
            frames_of(3),
            frames=3,
            position=[0, 0, -7],
            offsets=[0, 2, 4],
            dose=0.5,
            modality="RTDOSE",
        )
    )
    volume = fastdcm.read_volume(path)
    assert volume.spacing[2] == 2 and volume.origin == (0, 0, -7)
    assert (volume.array == frames_of(3) * np.float32(0.5)).all()


def test_frames_with_spacing_between_slices(put):
    volume = fastdcm.read_volume(
        put(encode_image(frames_of(3), frames=3, position=[0, 0, 10], between=-3))
    )
    assert volume.origin == (0, 0, 4) and volume.tags["frame"] == [2, 1, 0]


def test_frames_without_geometry(put):
    path = put(encode_image(frames_of(3), frames=3, modality="XA", **NO_GEOMETRY))
    assert codes(problems(path)) == ["missing-position", "missing-spacing"]
    kept = fastdcm.read_volume(path, on_problem="keep")
    assert (kept.array == frames_of(3)).all() and (kept.affine == np.eye(4)).all()


def test_frames_at_one_position(put):
    """A cine: one position, and time."""
    path = put(encode_image(frames_of(3), frames=3, position=[0, 0, 0]))
    assert codes(problems(path)) == ["duplicate-position"]
    assert len(fastdcm.read_volume(path, on_problem="split")) == 3


@pytest.mark.parametrize(
    "raw",
    [
        {0x00281053: element(0x00281053, "DS", "2,55")},
        {0x00281052: element(0x00281052, "DS", "-1024,0")},
        {0x00281052: element(0x00281052, "DS", ["-1024", "-1024"])},
        {0x3004000E: element(0x3004000E, "DS", "0,55")},
        {0x00280008: element(0x00280008, "IS", "1 frame")},
        {0x00280010: element(0x00280010, "US", [4, 4])},
    ],
)
def test_a_value_that_no_column_can_hold_is_an_error(put, raw):
    """And not read as if there were none."""
    path = put(encode_image(cells(0), raw, position=[0, 0, 0]))
    for source in (path, [fastdcm.dcmread(path)]):
        [found] = problems(source)
        assert found.code == "bad-image"


@pytest.mark.parametrize(
    "item",
    [
        element(0x00283006, "OW", bytes(8)),
        element(0x00283002, "US", [4, 0]) + element(0x00283006, "OW", bytes(8)),
        element(0x00283002, "OW", bytes(6)) + element(0x00283006, "OW", bytes(8)),
    ],
)
def test_a_modality_lut_that_cannot_be_applied_is_an_error(put, item):
    path = put(
        encode_image(cells(0), {0x00283000: sequence(0x00283000, [item])}, position=[0, 0, 0])
    )
    for source in (path, [fastdcm.dcmread(path)]):
        with pytest.raises(fastdcm.DicomError, match="LUTDescriptor") as caught:
            fastdcm.read_volume(source)
        assert caught.value.code == "lut"
