"""NIfTI images of volumes."""

import sys

import numpy as np
import pytest

import fastdcm
from support.builder import element
from support.series import BETWEEN_COLUMNS, BETWEEN_ROWS, COLUMNS, ROWS, encode_image


def test_nifti(series, tmp_path):
    nibabel = pytest.importorskip("nibabel")
    volume = fastdcm.read_volume(series([0, 2, 4], slope=0.5))
    for name in ("a.nii", "a.nii.gz"):
        volume.to_nifti(tmp_path / name)
        image = nibabel.load(tmp_path / name)
        assert image.shape == (COLUMNS, ROWS, 3) and image.get_data_dtype() == np.int16
        assert (volume.array == np.asarray(image.dataobj).T).all()
        # world of the cell in column 5, row 3, slice 2, in RAS
        assert np.allclose(
            image.affine @ [5, 3, 2, 1], [10 - 5 * BETWEEN_COLUMNS, -20 - 3 * BETWEEN_ROWS, 4, 1]
        )
        assert (image.header["qform_code"], image.header["sform_code"]) == (1, 1)
        assert np.allclose(image.get_qform(), volume.ras, atol=1e-5)
        assert image.header.get_xyzt_units()[0] == "mm"
    assert sorted(p.name for p in tmp_path.glob("a.*")) == ["a.nii", "a.nii.gz"]


def test_nifti_with_tilt_has_no_qform(series):
    pytest.importorskip("nibabel")
    volume = fastdcm.read_volume(
        series([0, 5, 10], orientation=[1, 0, 0, 0, 0.9781476007, 0.2079116908])
    )
    image = volume.to_nifti()
    assert np.allclose(image.affine, volume.ras, atol=1e-6)
    assert (image.header["qform_code"], image.header["sform_code"]) == (0, 1)


def test_nifti_without_nibabel(series, monkeypatch):
    monkeypatch.setitem(sys.modules, "nibabel", None)
    with pytest.raises(ImportError, match=r"pip install 'fastdcm-dicom\[volume\]'"):
        fastdcm.read_volume(series([0, 1])).to_nifti()


def test_int16_with_slope(series, tmp_path):
    """Stored values and a constant slope; nothing else is rounded."""
    nibabel = pytest.importorskip("nibabel")
    path = tmp_path / "a.nii"

    def written(volume):
        volume.to_nifti(path)
        image = nibabel.load(path)
        assert np.allclose(image.get_fdata().T, volume.array, rtol=1e-6, equal_nan=True)
        in_memory = volume.to_nifti()
        assert np.array_equal(in_memory.get_fdata().T, volume.array, equal_nan=True)
        return image

    for slope, intercept in [(0.5, 0), (1.27985347985347, -500), (-2, 7), (1, -1024)]:
        image = written(fastdcm.read_volume(series([0, 1], slope=slope, intercept=intercept)))
        assert image.get_data_dtype() == np.int16
        assert image.dataobj.slope == pytest.approx(slope)
        assert image.dataobj.inter == pytest.approx(intercept)
    # each slice with a slope of its own
    image = written(fastdcm.read_volume(series([0, 1], slope=lambda i: i + 1)))
    assert image.get_data_dtype() == np.float32
    # values that were not read
    volume = fastdcm.read_volume(series([0, 1], slope=0.5))
    for value in (np.nan, np.inf, 0.3, 1e6):
        volume.array[1, 2, 3] = value
        assert written(volume).get_data_dtype() == np.float32
    assert written(fastdcm.read_volume(series([0, 1]))).get_data_dtype() == np.int16


@pytest.mark.parametrize("slope", ["0", "-0", "-2", "1e-30", "1e-40", "1e-60", "1e-300"])
@pytest.mark.parametrize("intercept", ["0", "-1000.3", "1e-300"])
def test_every_slope_can_be_written(series, tmp_path, slope, intercept):
    nibabel = pytest.importorskip("nibabel")
    volume = fastdcm.read_volume(series([0, 1], slope=slope, intercept=intercept))
    volume.to_nifti(tmp_path / "a.nii")
    image = nibabel.load(tmp_path / "a.nii")
    assert np.allclose(np.asarray(image.dataobj).T, volume.array, rtol=1e-6, atol=0)


@pytest.mark.parametrize("scale", [(1e39, 0), (-1e300, 5), (2, 1e39), (np.nan, 0), (1, np.inf)])
def test_slopes_that_float32_does_not_have_are_not_used(series, tmp_path, scale):
    nibabel = pytest.importorskip("nibabel")
    volume = fastdcm.read_volume(series([0, 1], slope=0.5))
    volume.scale = scale
    volume.to_nifti(tmp_path / "a.nii")
    assert (volume.array == np.asarray(nibabel.load(tmp_path / "a.nii").dataobj).T).all()


@pytest.mark.parametrize(("value", "dtype"), [(32767, np.int16), (32768, np.uint16)])
def test_unsigned_values_are_int16_where_they_fit(series, tmp_path, value, dtype):
    nibabel = pytest.importorskip("nibabel")
    volume = fastdcm.read_volume(series([0, 1], signed=0))
    volume.array[0, 0, 0] = value
    volume.to_nifti(tmp_path / "a.nii")
    image = nibabel.load(tmp_path / "a.nii")
    assert image.get_data_dtype() == dtype
    assert (volume.array == np.asarray(image.dataobj).T).all()


def test_color_and_time(put, tmp_path):
    nibabel = pytest.importorskip("nibabel")
    shades = np.arange(3 * ROWS * COLUMNS * 3, dtype=np.uint8).reshape(3, ROWS, COLUMNS, 3)
    raw = {
        0x00181063: element(0x00181063, "DS", 40),
        0x00280006: element(0x00280006, "US", 0),
    }
    path = put(encode_image(shades, raw, frames=3, samples=3, bits=8, signed=0))
    fastdcm.read_volume(path, dims="auto").to_nifti(tmp_path / "cine.nii")
    image = nibabel.load(tmp_path / "cine.nii")
    assert image.shape == (COLUMNS, ROWS, 1, 3)
    assert image.header["pixdim"][4] == pytest.approx(0.04)
    assert image.dataobj[5, 3, 0, 2].tolist() == tuple(shades[2, 3, 5].tolist())


def test_axis_too_long_for_nifti_1(put, tmp_path):
    nibabel = pytest.importorskip("nibabel")
    pixels = np.zeros((1, 32768), "<i2")
    pixels[0, -1] = 5
    path = put(encode_image(pixels, rows=1, columns=32768, position=[0, 0, 0]))
    fastdcm.read_volume(path).to_nifti(tmp_path / "long.nii.gz")
    image = nibabel.load(tmp_path / "long.nii.gz")
    assert isinstance(image, nibabel.Nifti2Image) and image.shape == (32768, 1, 1)
    assert np.asarray(image.dataobj)[-1, 0, 0] == 5
