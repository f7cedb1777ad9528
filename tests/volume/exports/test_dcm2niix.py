"""Real series equal those of dcm2niix: values, affine, timing and gradients.

The differences, with their reasons:

- dcm2niix reverses the rows of an image, so both are turned to the same orientation first.
- dcm2niix writes the repetition time as the length of the fourth axis also where there is none;
  a 3D image has no time step here.
- The rows of a gradient in a .bvec file are relative to the axes of the image, so they are compared
  in RAS.
- By default dcm2niix scales Philips images by private elements. It is run with ``-p n``, so that
  it uses Rescale Slope and Intercept, which define modality values (PS3.3 C.11.1).
"""

import shutil
import subprocess
from collections import Counter

import numpy as np
import pytest

import fastdcm
from fastdcm.volume import Volume
from support.optional_packages import require_package

# folder of the corpus: the shapes of its volumes
SERIES = {
    "dcm_qa_agfa": [(64, 64, 25, 3)] * 2,
    "dcm_qa_enh": [(64, 64, 6, 4), (64, 64, 32), (64, 64, 32)],
    "dcm_qa_ts": [(64, 64, 35)] * 9,
}


@pytest.fixture(scope="module")
def program():
    return shutil.which("dcm2niix") or str(require_package("dcm2niix").bin)


def is_equal(ours, theirs):
    a, b = ours.get_fdata(), theirs.get_fdata()
    return (
        a.shape == b.shape
        and np.allclose(ours.affine, theirs.affine, atol=2e-3)
        and np.allclose(a, b, rtol=1e-5, atol=1e-4)
    )


@pytest.mark.parametrize("folder", SERIES)
def test_real_series(folder, program, corpus, tmp_path):
    nibabel = require_package("nibabel")
    files = corpus(f"{folder}/*")
    command = [program, "-z", "n", "-p", "n", "-o", str(tmp_path), files[0].rpartition("/")[0]]
    subprocess.run(command, check=True, capture_output=True)
    theirs = [nibabel.as_closest_canonical(nibabel.load(path)) for path in tmp_path.glob("*.nii")]
    (tmp_path / "ours").mkdir()
    volumes = list(fastdcm.read_volumes(files, dims="auto", on_problem="split"))
    assert all(isinstance(volume, Volume) for volume in volumes)
    images = []
    for i, volume in enumerate(volumes):
        volume.to_nifti(tmp_path / "ours" / f"{i}.nii")
        images.append(nibabel.load(tmp_path / "ours" / f"{i}.nii"))
    images = [nibabel.as_closest_canonical(image) for image in images]
    shapes = Counter(SERIES[folder])
    assert Counter(image.shape for image in images) == shapes
    assert Counter(image.shape for image in theirs) == shapes
    for image in images:
        same = [other for other in theirs if is_equal(image, other)]
        assert same, f"dcm2niix has no image that equals {image.shape}"
        assert image.get_data_dtype() == same[0].get_data_dtype() == np.int16
        if image.ndim == 4:
            assert image.header["pixdim"][4] == pytest.approx(same[0].header["pixdim"][4])
            assert image.header.get_xyzt_units() == same[0].header.get_xyzt_units()
    # no image of these series has diffusion weighting
    assert not list(tmp_path.glob("*.bval"))
    assert not any("b" in volume.coords for volume in volumes)


def gradients(nibabel, path):
    """Return the b-values next to an image, and its gradients in RAS."""
    affine = nibabel.load(path).affine[:3, :3]
    axes = affine / np.linalg.norm(affine, axis=0)
    relative = np.loadtxt(path.with_suffix(".bvec"))
    if np.linalg.det(axes) > 0:
        relative[0] *= -1
    return np.loadtxt(path.with_suffix(".bval")), axes @ relative


def test_real_diffusion_series(program, corpus, tmp_path):
    nibabel = require_package("nibabel")
    files = corpus("nibabel/siemens_dwi_*.dcm")
    source, theirs = tmp_path / "source", tmp_path / "theirs"
    for folder in (source, theirs):
        folder.mkdir()
    for file in files:
        shutil.copy(file, source)
    command = [program, "-z", "n", "-o", str(theirs), "-f", "dwi", str(source)]
    subprocess.run(command, check=True, capture_output=True)
    volume = fastdcm.read_volume(source, dims="auto")
    volume.to_nifti(tmp_path / "dwi.nii")
    paths = (tmp_path / "dwi.nii", theirs / "dwi.nii")
    ours, other = (nibabel.as_closest_canonical(nibabel.load(path)) for path in paths)
    assert is_equal(ours, other) and ours.shape == (128, 128, 48, 2)
    assert ours.header["pixdim"][4] == pytest.approx(other.header["pixdim"][4])
    (b, directions), (expected_b, expected) = (gradients(nibabel, path) for path in paths)
    assert b.tolist() == expected_b.tolist() == [0, 1000]
    assert np.allclose(directions, expected, atol=1e-4)
