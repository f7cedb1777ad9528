"""Index folders of small parts, so that a few files make many parts."""

import os

import pytest

import fastdcm
from fastdcm.scanning.index import build, diff, file_list
from support import builder as b
from support.index_folders import blank_files, fill, open_index, put_file, scan_in_small_batches


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    """Return a folder of 1,000 files, every 97th empty. Only to be read."""
    folder = tmp_path_factory.mktemp("archive")
    fill(folder, 1000)
    return str(folder)


@pytest.fixture
def small_parts(monkeypatch):
    """Make parts of 150 files, and blocks that end elsewhere."""
    monkeypatch.setattr(build, "_PART", 150)
    monkeypatch.setattr(file_list, "BLOCK", 400)
    monkeypatch.setattr(build, "_LOOKUP_CHUNK", 130)


@pytest.fixture
def tiny_parts(monkeypatch):
    """Make parts of 8 files, and blocks that end elsewhere."""
    for module, name, value in (
        (build, "_PART", 8),
        (diff, "_PART_ROWS", 8),
        (diff, "_BATCH_ROWS", 3),
        (build, "_LOOKUP_CHUNK", 7),
        (file_list, "BLOCK", 11),
    ):
        monkeypatch.setattr(module, name, value)


@pytest.fixture
def index(tmp_path, monkeypatch):
    """Return an index of the 10 files in `tmp_path / "in"`, two of them empty."""
    monkeypatch.setattr(build, "_PART", 3)
    folder = tmp_path / "in"
    folder.mkdir()
    for i in range(10):
        raw = b.part10(
            b.element(0x00080008, "CS", ["A", "B"])
            + b.element(0x00080018, "UI", f"1.{i}")
            + b.element(0x00200013, "IS", str(i))
        )
        (folder / f"{i}.dcm").write_bytes(b"" if i in (2, 7) else raw)
    tags = ["InstanceNumber", "SOPInstanceUID", "ImageType"]
    fastdcm.scan(str(folder), tags).write(f"{tmp_path}/index/")
    return str(tmp_path / "index")


@pytest.fixture
def tree(tmp_path, tiny_parts):
    """Return 60 files in six folders, an index of them, and its rows.

    Every 13th file is empty. After the scan all files are filled with zeros.
    """
    folder = tmp_path / "in"
    for i in range(60):
        path = folder / f"{i // 10}" / f"{i:02}.dcm"
        put_file(path, str(i))
        if i % 13 == 0:
            path.write_bytes(b"")
            os.utime(path, ns=(0, i))
    scan_in_small_batches(folder).write(f"{tmp_path}/index/")
    rows = open_index(tmp_path / "index").read_all()
    assert len(open_index(tmp_path / "index").parts) == 8
    blank_files(folder)
    return folder, tmp_path / "index", rows
