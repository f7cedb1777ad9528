"""Volumes: geometry, tags, errors."""

import pickle

import numpy as np
import pytest

import fastdcm
from fastdcm.volume import VolumeError
from support.builder import element
from support.series import (
    BETWEEN_COLUMNS,
    BETWEEN_ROWS,
    COLUMNS,
    ROWS,
    cells,
    encode_image,
    problems,
)


def test_series(series):
    volume = fastdcm.read_volume(series([0, 2.5, 5, 7.5], thickness=3))
    assert volume.array.shape == (4, ROWS, COLUMNS) and volume.array.dtype == np.int16
    assert (volume.array == np.stack([cells(i) for i in range(4)])).all()
    assert volume.spacing == (BETWEEN_COLUMNS, BETWEEN_ROWS, 2.5)
    assert volume.origin == (-10, 20, 0)
    assert (volume.direction == np.eye(3)).all()
    assert volume.findings == [] and volume.key == {}
    assert volume.frame_of_reference_uid == "1.2.8"
    assert volume.tags["InstanceNumber"] == [1, 2, 3, 4] and volume.tags["frame"] == [0] * 4
    assert volume.positions.tolist() == [[-10, 20, z] for z in (0, 2.5, 5, 7.5)]


def rotation(seed):
    q, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))
    return q if np.linalg.det(q) > 0 else -q


@pytest.mark.parametrize("seed", range(8))
def test_affine_equals_the_equation_of_the_standard(series, seed):
    """PS3.3 C.7.6.2.1.1: P = S + X * delta_i * i + Y * delta_j * j, for each slice."""
    q = rotation(seed)
    row, column, normal = q.T
    start = np.array([31.0, -52.0, 13.0])
    paths = series(
        [0] * 5,
        orientation=[*row, *column],
        position=lambda i: [f"{v:.10f}" for v in start + 3.25 * i * normal],
    )
    volume = fastdcm.read_volume(paths)
    for k in range(5):
        for j in range(ROWS):
            for i in range(COLUMNS):
                point = (
                    start
                    + 3.25 * k * normal
                    + row * BETWEEN_COLUMNS * i
                    + column * BETWEEN_ROWS * j
                )
                assert np.allclose((volume.affine @ [i, j, k, 1])[:3], point, atol=1e-6)
    assert (
        np.allclose(volume.ras[:2], -volume.affine[:2])
        and (volume.ras[2:] == volume.affine[2:]).all()
    )
    assert np.allclose(
        np.cross(volume.direction[:, 0], volume.direction[:, 1]), volume.direction[:, 2]
    )


def test_source_of_datasets(series):
    paths = series([0, 1, 2])
    expected = fastdcm.read_volume(paths)
    volume = fastdcm.read_volume([fastdcm.dcmread(path) for path in paths])
    assert (volume.array == expected.array).all() and (volume.affine == expected.affine).all()
    assert volume.tags == expected.tags
    with pytest.raises(TypeError, match="only Datasets or only paths, got str"):
        fastdcm.read_volume([fastdcm.dcmread(paths[0]), paths[1]])


def test_tags(series):
    paths = series([0, 1], trigger=lambda i: 10 + i, image_type=["A", "B"])
    for source in (paths, [fastdcm.dcmread(path) for path in paths]):
        volume = fastdcm.read_volume(source, tags=["TriggerTime", "(0008,0008)", 0x00280010])
        assert volume.tags["TriggerTime"] == [10, 11]
        assert volume.tags["(0008,0008)"] == [["A", "B"]] * 2
        assert volume.tags["(0028,0010)"] == [ROWS] * 2


def test_invalid_arguments(series, tmp_path):
    with pytest.raises(ValueError, match="must be 'reject', 'split' or 'keep', got 'resample'"):
        fastdcm.read_volume(series([0, 1]), on_problem="resample")
    with pytest.raises(ValueError, match="threads must be at least 1, or None, got 0"):
        fastdcm.read_volume(series([0, 1]), threads=0)
    with pytest.raises(FileNotFoundError):
        fastdcm.read_volume(tmp_path / "nothing")
    (tmp_path / "empty").mkdir()
    with pytest.raises(VolumeError, match="there is no image"):
        fastdcm.read_volume(tmp_path / "empty")


def test_files_that_are_not_images(series, put, tmp_path):
    series([0, 1, 2])
    report = put(encode_image(None, rows=None, columns=None, modality="SR"))
    (tmp_path / "readme.txt").write_text("not DICOM at all, but beside it")
    volume = fastdcm.read_volume(tmp_path)
    assert [(f.code, f.problem, f.details["paths"]) for f in volume.findings] == [
        ("not-dicom", False, [str(tmp_path / "readme.txt")]),
        ("not-an-image", False, [report]),
    ]
    truncated = put(encode_image(None, position=[-10, 20, 3]))
    (found,) = problems(tmp_path)
    assert (found.code, found.details["paths"]) == ("missing-pixels", [truncated])


def test_volume_error_can_be_pickled(series):
    with pytest.raises(VolumeError) as caught:
        fastdcm.read_volume(series([0, 1, 3, 4]))
    again = pickle.loads(pickle.dumps(caught.value))
    assert again.findings == caught.value.findings and str(again) == str(caught.value)


def test_color(put):
    shades = np.arange(2 * ROWS * COLUMNS * 3, dtype=np.uint8).reshape(2, ROWS, COLUMNS, 3)
    paths = [
        put(
            encode_image(
                shades[i],
                samples=3,
                bits=8,
                signed=0,
                position=[0, 0, i],
                raw={0x00280006: element(0x00280006, "US", 0)},
            )
        )
        for i in (1, 0)
    ]
    volume = fastdcm.read_volume(paths)
    assert (volume.array == shades).all()
    nibabel = pytest.importorskip("nibabel")
    image = nibabel.Nifti1Image.from_bytes(volume.to_nifti().to_bytes())
    assert image.dataobj[5, 3, 1].tolist() == tuple(shades[1, 3, 5].tolist())


def test_real_segmentation(corpus):
    (path,) = corpus("highdicom/seg_image_ct_binary.04a19ae.dcm")
    volume = fastdcm.read_volume(path)
    assert volume.array.dtype == np.uint8 and set(np.unique(volume.array)) == {0, 1}
    assert np.allclose(
        volume.affine,
        [[0.488281, 0, 0, -125], [0, 0.488281, 0, -128.1], [0, 0, 1.25, 103.02], [0, 0, 0, 1]],
        atol=1e-3,
    )
