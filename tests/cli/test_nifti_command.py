"""`fastdcm nifti`."""

import os

import numpy as np
import pytest

from support.builder import element
from support.cli import environment, run, start
from support.series import cells, encode_image

nibabel = pytest.importorskip("nibabel")


def image(put, number, z, description="t1 / brain", series="1.2.1", **values):
    raw = {
        0x00200011: element(0x00200011, "IS", int(series[-1], 36)),
        0x0008103E: element(0x0008103E, "LO", description),
    }
    return put(
        encode_image(cells(number), raw, position=[0, 0, z], number=number, series=series, **values)
    )


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_nifti(put, tmp_path):
    source, out = tmp_path, tmp_path / "out"
    for n in range(6):
        image(put, n, n // 2, time=1 + n % 2)
    for n in range(4):
        image(put, n, n // 2, series="1.2.2", echo=(5, 10)[n % 2], description="")
    output, _ = run("nifti", source, "-o", out)
    expected = ["1_t1-brain.nii.gz", "2_EchoTime-10.nii.gz", "2_EchoTime-5.nii.gz"]
    assert names(out) == expected
    assert sorted(output.split()) == sorted(str(out / name) for name in expected)
    first = nibabel.load(out / expected[0])
    assert first.shape[2:] == (3, 2)
    assert (cells(5) == np.asarray(first.dataobj)[..., 2, 1].T).all()


def test_3d_and_uncompressed(put, tmp_path):
    for n in range(4):
        image(put, n, n // 2, time=1 + n % 2)
    out = tmp_path / "out"
    run("nifti", tmp_path, "-o", out, "--3d", "--no-compress")
    assert names(out) == [f"1_t1-brain_TemporalPositionIdentifier-{time}.nii" for time in (1, 2)]


def test_equal_names_get_a_number(put, tmp_path):
    for n in range(2):
        image(put, n, 0, series=f"1.2.{n}.7")
    out = tmp_path / "out"
    run("nifti", tmp_path, "-o", out)
    assert names(out) == ["7_t1-brain.nii.gz", "7_t1-brain_2.nii.gz"]


def test_a_series_that_is_no_volume(put, tmp_path):
    for number in range(2):
        image(put, 0, number)
    for number in range(2):  # two at one position
        image(put, number, 0, series="1.2.\x1b2", uid=f"1.2.{number}")
    image(put, 0, 0, series="1.2.3", samples=3, bits=8)  # too few bytes
    out = tmp_path / "out"
    output, messages = run("nifti", tmp_path, "-o", out, status=2)
    assert str(out / "1_t1-brain.nii.gz") in output.split()
    assert "error: series 1.2.3: " in messages and "bad-image" in messages
    assert "\x1b" not in messages
    assert messages.rstrip().endswith("1 series not converted")


def test_what_was_found_is_reported(put, tmp_path):
    for n, z in enumerate((0, 1, 3, 4)):
        image(put, n, z)
    out = tmp_path / "out"
    _, messages = run("nifti", tmp_path, "-o", out)
    assert names(out) == ["1_t1-brain_run-0.nii.gz", "1_t1-brain_run-1.nii.gz"]
    assert messages.splitlines() == [
        "note: series 1.2.1: divided where the distance between slices changes"
    ]


def test_nothing_to_convert(tmp_path):
    (tmp_path / "notes.txt").write_text("not DICOM at all, but beside it")
    _, messages = run("nifti", tmp_path, "-o", tmp_path / "out", status=2)
    assert "not-dicom" in messages
    _, messages = run("nifti", tmp_path / "none", "-o", tmp_path / "out", status=2)
    assert "No such file" in messages


def test_without_nibabel(put, tmp_path):
    image(put, 0, 0)
    (tmp_path / "none").mkdir()
    (tmp_path / "none" / "nibabel.py").write_text("raise ModuleNotFoundError(name='nibabel')")
    path = os.pathsep.join([str(tmp_path / "none"), environment()["PYTHONPATH"]])
    done = start(
        "nifti", tmp_path, "-o", tmp_path / "out", env=environment() | {"PYTHONPATH": path}
    )
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        "error: this command needs nibabel",
        "hint: pip install 'fastdcm-dicom[volume]'",
    ]


def test_output_that_is_a_file(put, tmp_path):
    image(put, 0, 0)
    (tmp_path / "file").write_text("")
    _, messages = run("nifti", tmp_path, "-o", tmp_path / "file", status=2)
    assert "not a folder" in messages
