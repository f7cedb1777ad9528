"""Volumes as objects of SimpleITK and xarray."""

import sys

import numpy as np
import pytest

import fastdcm
from support.builder import element
from support.optional_packages import require_package
from support.series import COLUMNS, ROWS, cells, encode_image

OBLIQUE = (0.6, 0.8, 0, -0.8, 0.6, 0)


@pytest.fixture
def volume_4d(put):
    paths = [
        put(
            encode_image(
                cells(n),
                {0x00080032: element(0x00080032, "TM", f"1200{5 * (n // 3):02}")},
                position=[0, 0, 2.5 * (n % 3)],
                orientation=OBLIQUE,
                time=n // 3 + 1,
                number=n,
            )
        )
        for n in range(6)
    ]
    return fastdcm.read_volume(paths, dims="auto")


def test_sitk(series):
    sitk = require_package("SimpleITK")
    volume = fastdcm.read_volume(series([0, 2, 4], orientation=OBLIQUE, slope=0.5))
    image = volume.to_sitk()
    assert image.GetSize() == (COLUMNS, ROWS, 3)
    assert (sitk.GetArrayFromImage(image) == volume.array).all()
    for index in [(0, 0, 0), (5, 0, 0), (2, 3, 2)]:
        point = image.TransformIndexToPhysicalPoint(index)
        assert np.allclose(point, (volume.affine @ [*index, 1])[:3])


def test_sitk_of_four_dimensions_and_color(volume_4d, put):
    sitk = require_package("SimpleITK")
    image = volume_4d.to_sitk()
    assert image.GetSize() == (COLUMNS, ROWS, 3, 2) and image.GetSpacing()[3] == 5
    assert (sitk.GetArrayFromImage(image) == volume_4d.array).all()
    point = image.TransformIndexToPhysicalPoint((1, 2, 2, 1))
    assert np.allclose(point, [*(volume_4d.affine @ [1, 2, 2, 1])[:3], 5])
    pixels = np.arange(ROWS * COLUMNS * 3, dtype=np.uint8)
    raw = {0x00280006: element(0x00280006, "US", 0)}
    color = put(encode_image(pixels, raw, samples=3, bits=8, signed=0, position=[0, 0, 0]))
    image = fastdcm.read_volume(color).to_sitk()
    assert image.GetNumberOfComponentsPerPixel() == 3 and image.GetSize() == (COLUMNS, ROWS, 1)


def test_five_dimensions_are_too_many(volume_4d):
    require_package("SimpleITK")
    volume_4d.array, volume_4d.dims = volume_4d.array[None], ("echo", *volume_4d.dims)
    with pytest.raises(fastdcm.DicomError, match="up to 4 dimensions, got echo, t, z, y, x"):
        volume_4d.to_sitk()


def test_xarray(volume_4d):
    require_package("xarray")
    data = volume_4d.to_xarray()
    assert data.dims == ("t", "z", "y", "x") and np.shares_memory(data.values, volume_4d.array)
    assert data.coords["t"].values.tolist() == [0, 5]
    assert data.coords["z"].values.tolist() == [0, 2.5, 5]
    assert np.allclose(data.coords["y"], 0.5 * np.arange(ROWS))
    assert (data.attrs["affine"] == volume_4d.affine).all()
    assert (data.sel(t=5, z=2.5).values == volume_4d.array[1, 1]).all()


@pytest.mark.parametrize(
    ("module", "method", "extra"),
    [("SimpleITK", "to_sitk", "sitk"), ("xarray", "to_xarray", "xarray")],
)
def test_without_the_library(series, monkeypatch, module, method, extra):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=rf"pip install 'fastdcm-dicom\[{extra}\]'"):
        getattr(fastdcm.read_volume(series([0, 1])), method)()
