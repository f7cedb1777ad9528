"""Stacks of slices: order, mixtures, spacing."""

import random
from pathlib import Path

import numpy as np
import pytest

import fastdcm
from fastdcm.errors import Finding
from fastdcm.volume import VolumeError
from support.builder import element
from support.series import (
    BETWEEN_COLUMNS,
    BETWEEN_ROWS,
    cells,
    codes,
    encode_image,
    problems,
)


def test_order_of_files_does_not_matter(series):
    paths = series([5, 0, 10, 15])
    first = fastdcm.read_volume(paths)
    for seed in range(5):
        random.Random(seed).shuffle(paths)
        again = fastdcm.read_volume(iter(paths), threads=1 + seed % 2)
        assert (again.array == first.array).all() and (again.affine == first.affine).all()
        assert again.tags == first.tags
    assert first.tags["InstanceNumber"] == [2, 1, 3, 4]
    assert (first.array[0] == cells(1)).all()


def test_slices_ascend_along_the_normal(series):
    """Row x column points to the feet: the first slice is the highest."""
    volume = fastdcm.read_volume(series([0, 1, 2], orientation=(-1, 0, 0, 0, 1, 0)))
    assert volume.tags["InstanceNumber"] == [3, 2, 1]
    assert volume.affine[:3, 2].tolist() == [0, 0, -1]
    assert np.linalg.det(volume.affine) > 0


def test_gap(series):
    paths = series([0, 2, 4, 10, 12, 16])
    assert problems(paths) == [
        Finding(
            "gap",
            "3 slices missing in 2 gaps",
            True,
            {"missing": 3, "after": [2, 4]},
        )
    ]
    parts = fastdcm.read_volume(paths, on_problem="split")
    assert [len(part.array) for part in parts] == [3, 2, 1]
    assert [part.origin[2] for part in parts] == [0, 10, 16]
    assert [part.key for part in parts] == [{"run": 0}, {"run": 1}, {"run": 2}]
    assert [codes(part.findings) for part in parts] == [[], [], ["single-slice"]]
    kept = fastdcm.read_volume(paths, on_problem="keep")
    assert kept.array.shape[0] == 6 and kept.spacing[2] == 2 and codes(kept.findings) == ["gap"]
    assert kept.positions[:, 2].tolist() == [0, 2, 4, 10, 12, 16]


def test_uneven_spacing(series):
    paths = series([0, 5, 10, 15, 17, 19, 21])
    (found,) = problems(paths)
    assert found.code == "uneven-spacing"
    assert (found.details["smallest"], found.details["largest"]) == (2, 5)
    parts = fastdcm.read_volume(paths, on_problem="split")
    assert [(len(part.array), part.spacing[2]) for part in parts] == [(4, 5), (3, 2)]
    assert codes(fastdcm.read_volume(paths, on_problem="keep").findings) == ["uneven-spacing"]


def test_rounded_positions_are_even(series):
    zs = [round(i * 0.625, 2) for i in range(60)]
    volume = fastdcm.read_volume(series(zs))
    assert volume.findings == [] and abs(volume.spacing[2] - 0.625) < 1e-3


@pytest.mark.parametrize("angle", [0.5, 12.0, -25.0])
def test_tilt_is_a_note_and_in_the_affine(series, angle):
    """The slices are stacked along z, which is not their normal."""
    sin, cos = np.sin(np.radians(angle)), np.cos(np.radians(angle))
    volume = fastdcm.read_volume(
        series([0, 5, 10, 15], orientation=[1, 0, 0, 0, f"{cos:.10f}", f"{sin:.10f}"])
    )
    (found,) = volume.findings
    assert found.code == "tilt" and not found.problem
    assert abs(found.details["angle"] - abs(angle)) < 1e-6
    assert np.allclose(volume.affine[:3, 2], [0, 0, 5])
    assert np.allclose((volume.affine @ [0, 0, 3, 1])[:3], [-10, 20, 15])


def test_shifted_slices(series):
    (found,) = problems(series([0, 1, 2, 3], position=lambda i: [-10 + 3 * (i == 2), 20, i]))
    assert found.code == "shifted-slices" and abs(found.details["distance"] - 3) < 1e-9


def test_duplicate_position(series):
    paths = series([0, 1, 1, 2])
    (found,) = problems(paths)
    assert (found.code, found.details) == ("duplicate-position", {"slices": 1})
    parts = fastdcm.read_volume(paths, on_problem="split")
    assert [part.tags["InstanceNumber"] for part in parts] == [[1, 2, 4], [3]]
    assert [part.key for part in parts] == [{"copy": 0}, {"copy": 1}]
    kept = fastdcm.read_volume(paths, on_problem="keep")
    assert kept.array.shape[0] == 3 and codes(kept.findings) == ["duplicate-position", "left-out"]


def test_duplicate_instance(series, put):
    paths = series([0, 1, 2])
    twin = put(raw=Path(paths[0]).read_bytes())
    (found,) = problems([*paths, twin])
    assert (found.code, found.details) == ("duplicate-instance", {"slices": [(twin, 0)]})
    kept = fastdcm.read_volume([*paths, twin], on_problem="keep")
    assert kept.array.shape[0] == 3 and codes(kept.findings) == ["duplicate-instance"]


def with_element(tag, vr, value):
    return {"raw": {tag: element(tag, vr, value)}}


@pytest.mark.parametrize(
    "code, first, other",
    [
        ("mixed-series", {}, {"series": "1.2.77"}),
        ("mixed-frame-of-reference", {}, {"reference": "1.2.77"}),
        ("mixed-size", {}, {"rows": 5}),
        ("mixed-size", {"samples": None}, {"columns": 3}),
        ("missing-position", {}, {"position": None}),
        ("missing-position", {}, {"position": ["nan", 0, 0]}),
        ("missing-position", {}, {"orientation": [1, 0, 0, 1, 0, 0]}),
        ("mixed-orientation", {}, {"orientation": [0, 1, 0, 0, 0, -1]}),
        ("mixed-spacing", {}, {"spacing": [0.9, 0.9]}),
        ("localizer", {}, {"image_type": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}),
        ("mixed-modality", {"modality": "CT"}, {"modality": "MR"}),
        ("mixed-patient", with_element(0x00100020, "LO", "1"), with_element(0x00100020, "LO", "2")),
        (
            "mixed-study",
            with_element(0x0020000D, "UI", "1.2.3"),
            with_element(0x0020000D, "UI", "1.2.4"),
        ),
        (
            "mixed-sop-class",
            with_element(0x00080016, "UI", "1.2.3"),
            with_element(0x00080016, "UI", "1.2.4"),
        ),
    ],
)
def test_mixtures(series, code, first, other):
    paths = series([0, 1, 2], **first) + series([9], start=3, **other)
    found = problems(paths)
    assert found[0].code == code and sorted(found[0].details["slices"].values()) == [1, 3]
    parts = sorted(
        fastdcm.read_volume(paths, on_problem="split"), key=lambda part: -len(part.array)
    )
    assert [len(part.array) for part in parts] == [3, 1]
    assert parts[0].key != parts[1].key and parts[0].key.keys() == parts[1].key.keys()
    assert (parts[0].array == np.stack([cells(i) for i in range(3)])).all()
    kept = fastdcm.read_volume(paths, on_problem="keep")
    assert (kept.array == parts[0].array).all()
    left = kept.findings[-1] if kept.findings[-1].code == "left-out" else kept.findings[-2]
    assert left.details["slices"] == 1
    if code in ("mixed-series", "mixed-patient", "mixed-study"):  # no identifiers in file names
        assert parts[0].name == ""


@pytest.mark.parametrize("tag", [0x00100020, 0x0020000D, 0x00080016])
def test_an_identifier_that_some_images_lack_is_no_mixture(series, tag):
    vr = "LO" if tag == 0x00100020 else "UI"
    paths = series([0, 1]) + series([2], start=2, **with_element(tag, vr, "1.2"))
    volume = fastdcm.read_volume(paths)
    assert (volume.array == np.stack([cells(i) for i in range(3)])).all()


@pytest.mark.parametrize(
    "name, tag, values",
    [
        ("echo", "EchoTime", [2.5, 4.75, 7]),
        ("time", "TemporalPositionIdentifier", [1, 2, 3]),
        ("b", "DiffusionBValue", [0.0, 500.0, 1000.0]),
        ("acquisition", "AcquisitionNumber", [1, 2, 3]),
        ("trigger", "TriggerTime", [0, 100, 200]),
    ],
)
def test_several_stacks_at_the_same_positions(series, name, tag, values):
    paths = series([0, 1, 2, 3] * 3, **{name: lambda i: values[i // 4]})
    (found,) = problems(paths)
    assert (found.code, found.details["by"]) == ("several-stacks", [tag])
    parts = fastdcm.read_volume(paths, on_problem="split")
    assert [part.key for part in parts] == [{tag: value} for value in values]
    for n, part in enumerate(parts):
        assert (part.array == np.stack([cells(4 * n + i) for i in range(4)])).all()


def test_two_dimensions(series):
    paths = series([0, 1] * 6, echo=lambda i: 10 * (i // 2 % 2), time=lambda i: i // 4)
    parts = fastdcm.read_volume(paths, on_problem="split")
    assert [tuple(part.key.items()) for part in parts] == [
        (("EchoTime", e), ("TemporalPositionIdentifier", t)) for e in (0, 10) for t in (0, 1, 2)
    ]
    assert [len(part.array) for part in parts] == [2] * 6


def test_stacks_in_order_of_acquisition_time(series):
    paths = series(
        [0, 1, 2] * 3,
        clock=lambda i: f"1200{10 + 7 * (i % 3) + i // 3:02d}",
        number=lambda i: 100 - i,
    )
    parts = fastdcm.read_volume(paths, on_problem="split")
    assert [part.key for part in parts] == [{"order of AcquisitionTime": n} for n in range(3)]
    for n, part in enumerate(parts):
        assert (part.array == np.stack([cells(3 * n + i) for i in range(3)])).all()


def test_no_positions(series):
    paths = series([0, 1, 2], position=None, orientation=None, between=4)
    assert codes(problems(paths)) == ["missing-position"]
    kept = fastdcm.read_volume(paths, on_problem="keep")
    assert kept.tags["InstanceNumber"] == [1, 2, 3] and np.isnan(kept.positions).all()
    assert kept.affine.tolist() == np.diag([BETWEEN_COLUMNS, BETWEEN_ROWS, 4, 1]).tolist()


def test_no_pixel_spacing(series):
    paths = series([0, 1], spacing=None)
    assert codes(problems(paths)) == ["missing-spacing"]
    assert fastdcm.read_volume(paths, on_problem="keep").spacing == (1, 1, 1)


def test_one_slice(series):
    volume = fastdcm.read_volume(series([7], thickness=3))
    assert codes(volume.findings) == ["single-slice"] and volume.spacing[2] == 3


@pytest.mark.parametrize(
    "pattern, by, key, shape, spacing",
    [
        (
            "dcm_qa_enh/6_*.dcm",
            "TemporalPositionIndex",
            [1, 2, 3, 4],
            (6, 64, 64),
            (3.375, 3.375, 2.4),
        ),
        (
            "dcm_qa_agfa/011-*.img",
            "TemporalPositionIndex",
            [1, 2, 3],
            (25, 64, 64),
            (3.28125, 3.28125, 3.3),
        ),
        ("dcm_qa_enh/IM_0027_fMAP.dcm", "EffectiveEchoTime", [0, 1.52], (32, 64, 64), (4, 4, 4)),
        ("dcmstack/TE_[46]0*.dcm", "EchoTime", [40, 60], (2, 192, 192), (0.666667, 0.666667, 10.5)),
    ],
)
def test_real_series_of_several_stacks(corpus, pattern, by, key, shape, spacing):
    paths = corpus(pattern)
    assert [(f.code, f.details["by"]) for f in problems(paths)] == [("several-stacks", [by])]
    parts = fastdcm.read_volume(paths, on_problem="split")
    assert [part.key for part in parts] == [{by: value} for value in key]
    for part in parts:
        assert part.array.shape == shape and np.allclose(part.spacing, spacing, atol=1e-3)


def test_one_uid_for_other_slices(series):
    """Files of one UID are duplicates only if position and pixels are the same."""
    paths = series([0, 1, 2], uid="1.2.3")
    volume = fastdcm.read_volume(paths)
    assert volume.array.shape[0] == 3 and codes(volume.findings) == ["repeated-uid"]
    found = problems([*paths, paths[0]])
    assert codes(found) == ["duplicate-instance"]


def test_one_uid_for_other_pixels(put):
    attributes = {"position": [0, 0, 0], "uid": "1.2.3"}
    first = put(encode_image(cells(0), number=1, **attributes))
    again = put(encode_image(cells(0), number=2, **attributes))
    other = put(encode_image(cells(1), number=3, **attributes))
    assert codes(problems([first, again])) == ["duplicate-instance"]
    assert codes(problems([first, other])) == ["duplicate-position"]
    with pytest.raises(VolumeError) as caught:
        fastdcm.read_volume([first, again, other])
    assert codes(caught.value.findings)[:2] == ["duplicate-instance", "repeated-uid"]


@pytest.mark.parametrize("offset", [0.05, 0.2])
def test_tolerance_of_positions(series, offset):
    paths = series([0, 1, 2 + offset, 3, 4])
    assert codes(problems(paths)) == ["uneven-spacing"]
    assert codes(problems(paths, tolerance=offset / 3)) == ["uneven-spacing"]
    assert fastdcm.read_volume(paths, tolerance=1.1 * offset).array.shape[0] == 5
    parts = fastdcm.read_volume(paths, on_problem="split", tolerance=2.1 * offset)
    assert len(parts) == 1
    sideways = series([0, 1, 2, 3], position=lambda i: [0, offset * (i == 1) * 4, i])
    assert codes(problems(sideways)) == ["shifted-slices"]
    assert fastdcm.read_volume(sideways, tolerance=4 * offset).array.shape[0] == 4


def test_tolerance_of_orientations(series):
    def orientation(i):
        angle = np.radians(0.2 * (i == 1))
        return [np.cos(angle), np.sin(angle), 0, -np.sin(angle), np.cos(angle), 0]

    paths = series([0, 1, 2], orientation=orientation)
    assert "mixed-orientation" in codes(problems(paths))
    assert "mixed-orientation" in codes(problems(paths, tolerance=0.01))
    # 0.2 degrees move the last of 6 columns of 0.75 mm by 0.016 mm
    assert fastdcm.read_volume(paths, tolerance=0.02).array.shape[0] == 3


@pytest.mark.parametrize("tolerance", [-1, float("nan"), float("inf")])
def test_impossible_tolerance(series, tolerance):
    with pytest.raises(ValueError, match="tolerance must be at least 0 mm"):
        fastdcm.read_volume(series([0, 1]), tolerance=tolerance)


@pytest.mark.parametrize("missing", [0, 1, 2])
def test_spacing_that_some_slices_do_not_have(series, missing):
    """They are taken to have that of the others, with a problem; others still do not mix."""
    paths = series([0, 1, 2], spacing=lambda i: None if i == missing else [0.5, 0.75])
    (found,) = problems(paths)
    assert found.code == "missing-spacing" and "1 slice" in found.text
    other = series([0, 1, 2], spacing=lambda i: None if i == missing else [0.5 + i, 0.75])
    assert "mixed-spacing" in codes(problems(other))


def test_an_error_names_a_file_once(put, series):
    path = put(encode_image(cells(0), rows=600, position=[0, 0, 0]))
    with pytest.raises(VolumeError) as caught:
        fastdcm.read_volume(path)
    assert str(caught.value).count(path) == 1
    with pytest.raises(VolumeError) as caught:
        fastdcm.read_volume([path, *series([0, 1])])
    assert str(caught.value).count(path) == 1
