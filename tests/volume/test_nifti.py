"""NIfTI images of volumes."""

import sys

import numpy as np
import pytest

import fastdcm
from support.series import BETWEEN_COLUMNS, BETWEEN_ROWS, COLUMNS, ROWS


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
