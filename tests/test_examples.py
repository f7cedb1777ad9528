"""The programs in examples/ run, and do what their first line says."""

import importlib.util
import os
import runpy
import shutil
import subprocess
import sys
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

import fastdcm
from support import builder
from support.cli import environment
from support.optional_packages import two_workers

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"


def need(*packages):
    """Skip the test if one of the packages is not installed."""
    for package in packages:
        if importlib.util.find_spec(package) is None:
            if os.environ.get("FASTDCM_REQUIRE_PEERS") == "1":
                pytest.fail(f"package missing: {package}")
            pytest.skip(f"package missing: {package}")


def run(name, *arguments, status=0):
    """The output of one example as a program."""
    done = subprocess.run(
        [sys.executable, EXAMPLES / f"{name}.py", *map(str, arguments)],
        capture_output=True,
        encoding="utf-8",
        env=environment(),
    )
    assert done.returncode == status, done.stderr
    return done.stdout


def ct_slice(series, number, z):
    """One CT image of 8 x 8 pixels at a position along the patient's axis."""
    elements = [
        (0x00080016, "UI", "1.2.840.10008.5.1.4.1.1.2"),
        (0x00080018, "UI", f"1.2.{series}.{number}"),
        (0x00080060, "CS", "CT"),
        (0x00100010, "PN", "Doe^Jane"),
        (0x00100020, "LO", "P1"),
        (0x00180050, "DS", "2"),
        (0x0020000D, "UI", "1.2"),
        (0x0020000E, "UI", f"1.2.{series}"),
        (0x00200013, "IS", str(number)),
        (0x00200032, "DS", f"0\\0\\{z}"),
        (0x00200037, "DS", "1\\0\\0\\0\\1\\0"),
        (0x00280002, "US", 1),
        (0x00280004, "CS", "MONOCHROME2"),
        (0x00280010, "US", 8),
        (0x00280011, "US", 8),
        (0x00280030, "DS", "1\\1"),
        (0x00280100, "US", 16),
        (0x00280101, "US", 16),
        (0x00280102, "US", 15),
        (0x00280103, "US", 1),
        (0x7FE00010, "OW", np.full((8, 8), number, "<i2").tobytes()),
    ]
    return builder.part10(b"".join(builder.element(*element) for element in elements))


@pytest.fixture
def folder(tmp_path):
    """Series 1.2.1 of six slices, series 1.2.2 with one missing, and a text file."""
    path = tmp_path / "dicom"
    path.mkdir()
    for number in range(6):
        (path / f"a{number}.dcm").write_bytes(ct_slice(1, number, 2 * number))
        if number != 3:
            (path / f"b{number}.dcm").write_bytes(ct_slice(2, number, 2 * number))
    (path / "notes.txt").write_text("These are notes and not a DICOM file. " * 9)
    return path


def test_every_example_has_a_test():
    names = {path.stem for path in EXAMPLES.glob("*.py")}
    tested = {name.removeprefix("test_example_") for name in globals() if "test_example_" in name}
    assert names == tested and len(names) >= 8


def test_example_scan_to_duckdb(folder, tmp_path):
    need("duckdb", "pyarrow")
    import duckdb

    out = run("scan_to_duckdb", folder, tmp_path / "headers.db")
    assert "12 files, 1 unreadable" in out
    with duckdb.connect(tmp_path / "headers.db") as db:
        assert db.sql("SELECT count(*) FROM headers WHERE Modality = 'CT'").fetchall() == [(11,)]


def test_example_missing_slices(folder):
    need("pyarrow")
    lines = run("missing_slices", folder).splitlines()
    assert lines[-1] == "2 series, 1 problems"
    assert lines[0].startswith("1.2.2 (5 files): gap: ")


def test_example_remote_slide_frame(pydicom_files, tmp_path):
    need("obstore", "imagecodecs", "PIL")
    from PIL import Image

    slide = next(path for path in pydicom_files if path.name == "examples_ybr_color.dcm")
    handler = partial(SimpleHTTPRequestHandler, directory=slide.parent)
    handler.log_message = lambda *arguments: None
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/{slide.name}"
        out = run("remote_slide_frame", url, 12, tmp_path / "tile.png")
        server.shutdown()
    assert out == "frame 12 of 30: 320 x 240 pixels\n"
    picture = np.asarray(Image.open(tmp_path / "tile.png"))
    assert (picture == fastdcm.dcmread(slide).to_rgb(12)).all()


def test_example_train_torch(folder):
    need("torch", "pyarrow")
    lines = run("train_torch", folder).splitlines()
    assert lines[0] == "11 frames, classes: CT"
    assert [line.split(":")[0] for line in lines[1:]] == ["epoch 0", "epoch 1"]


def test_example_volume_to_nifti(folder, tmp_path):
    need("nibabel", "pyarrow")
    import nibabel

    for path in folder.glob("b*"):
        path.unlink()
    out = run("volume_to_nifti", folder, tmp_path / "series.nii.gz")
    assert out == "8 x 8 x 6 voxels of 1 x 1 x 2 mm, int16\n"
    assert nibabel.load(tmp_path / "series.nii.gz").shape == (8, 8, 6)
    (folder / "a2.dcm").unlink()
    run("volume_to_nifti", folder, tmp_path / "gap.nii.gz", status=1)


def test_example_damaged_files(folder):
    damaged = ct_slice(3, 1, 0)
    (folder / "c.dcm").write_bytes(damaged[:-50])
    lines = run("damaged_files", folder).splitlines()
    assert lines[0].startswith(f"{folder / 'c.dcm'}: truncated-value: (7FE0,0010) at byte ")
    assert lines[1].startswith(f"{folder / 'notes.txt'}: unreadable at byte 0: ")
    assert lines[2:] == ["13 files; 1 truncated-value, 1 not-dicom"]


def test_example_update_index(folder, tmp_path):
    need("pyarrow")
    index = tmp_path / "index"
    assert run("update_index", folder, index) == "12 rows in 1 files, 1 unreadable\n"
    (folder / "a0.dcm").unlink()
    (folder / "d.dcm").write_bytes(ct_slice(4, 1, 0))
    lines = run("update_index", folder, index).splitlines()
    assert lines[0] == "updated: 11 same, 0 changed, 1 new, 1 gone"
    assert lines[1].startswith("12 rows in ")


def test_example_scan_with_ray(folder, tmp_path, monkeypatch, capsys):
    need("ray", "pyarrow")
    import pyarrow.parquet

    # In this process, so that Ray has two workers and no server on the network.
    monkeypatch.setattr(sys, "argv", ["scan_with_ray.py", str(folder), str(tmp_path / "out")])
    with two_workers():
        runpy.run_path(str(EXAMPLES / "scan_with_ray.py"), run_name="__main__")
    assert capsys.readouterr().out.startswith("12 rows: ")
    assert pyarrow.parquet.read_table(tmp_path / "out").num_rows == 12


def test_example_pseudonyms(folder, tmp_path):
    shutil.copytree(folder, folder / "below")
    assert run("pseudonyms", folder, tmp_path / "out") == "22 files copied, 2 skipped\n"
    names = {fastdcm.dcmread(path).PatientName for path in (tmp_path / "out").rglob("*.dcm")}
    assert len(names) == 1 and names != {"Doe^Jane"}
