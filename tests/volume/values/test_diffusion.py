"""Diffusion weighting of private elements, and FSL's files of gradients."""

import numpy as np
import pytest

import fastdcm
from fastdcm.volume.values.diffusion import fsl_directions
from support.builder import element
from support.series import cells, encode_image

DIRECTION = [0.6, 0.0, -0.8]


def private(creator_tag, creator, *elements):
    return {creator_tag: element(creator_tag, "LO", creator)} | {
        tag: element(tag, vr, value) for tag, vr, value in elements
    }


VENDORS = {
    "Siemens": lambda b, g: private(
        0x00190010, "SIEMENS MR HEADER", (0x0019100C, "IS", b), (0x0019100E, "FD", g)
    ),
    "Philips": lambda b, g: (
        private(0x20010010, "Philips Imaging DD 001", (0x20011003, "FL", b))
        | private(
            0x20050010,
            "Philips MR Imaging DD 001",
            (0x200510B0, "FL", g[0]),
            (0x200510B1, "FL", g[1]),
            (0x200510B2, "FL", g[2]),
        )
    ),
    "GE": lambda b, g: private(
        0x00430010, "GEMS_PARM_01", (0x00431039, "IS", [1000000000 + b, 8, 0, 0])
    ),
}


@pytest.mark.parametrize("vendor", VENDORS)
def test_private_elements(put, vendor, tmp_path):
    pytest.importorskip("nibabel")
    paths = []
    for n, (b, direction) in enumerate([(0, [0, 0, 0]), (1000, DIRECTION)]):
        for z in range(3):
            raw = VENDORS[vendor](b, direction)
            number, position = 10 * n + z, [0, 0, 2 * z]
            paths.append(
                put(
                    encode_image(
                        cells(number), raw, modality="MR", number=number, position=position
                    )
                )
            )
    volume = fastdcm.read_volume(paths, dims="auto")
    assert volume.dims == ("b", "z", "y", "x")
    assert volume.coords["b"].tolist() == [0, 1000]
    volume.to_nifti(tmp_path / "dwi.nii.gz")
    assert (tmp_path / "dwi.bval").read_text() == "0 1000\n"
    if vendor == "GE":  # its directions are not those of the patient
        assert "gradient" not in volume.coords and not (tmp_path / "dwi.bvec").exists()
        return
    assert np.isnan(volume.coords["gradient"][0]).all()
    assert np.allclose(volume.coords["gradient"][1], DIRECTION)
    # in an axial image x is to the left in both; y of FSL is down the columns
    assert np.loadtxt(tmp_path / "dwi.bvec").tolist() == [[0, -0.6], [0, 0], [0, -0.8]]


def test_other_modalities_are_left_alone(put):
    raw = VENDORS["Siemens"](500, DIRECTION)
    path = put(encode_image(cells(0), raw, modality="CT", position=[0, 0, 0]))
    volume = fastdcm.read_volume(path, tags=["DiffusionBValue"])
    assert volume.tags["DiffusionBValue"] == [None]


def test_directions_relative_to_the_image():
    directions = np.array([[1.0, 0, 0], [0, 2.0, 0], [0, 0, 1.0], [np.nan] * 3])
    # an axial image in DICOM's order of rows: x and y are reversed in RAS
    axial = np.diag([-2.0, -3.0, 4.0, 1.0])
    assert np.linalg.det(axial) > 0  # FSL reverses x
    assert fsl_directions(directions, axial).tolist() == [
        [-1, 0, 0],
        [0, 1, 0],
        [0, 0, 1],
        [0, 0, 0],
    ]
    flipped = np.diag([-2.0, 3.0, 4.0, 1.0])
    assert fsl_directions(directions, flipped).tolist() == [
        [1, 0, 0],
        [0, -1, 0],
        [0, 0, 1],
        [0, 0, 0],
    ]
