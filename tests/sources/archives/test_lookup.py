"""Paths into archives: `dcmread` and rows of single members."""

import copy
import os
import pickle
import random
import sys
import tarfile
import threading
import warnings
import zlib

import numpy as np
import pytest

from fastdcm import DicomError, dcmread, scan, scan_chunk
from fastdcm.errors import MissingFileError
from fastdcm.sources.archives import lookup
from fastdcm.sources.urls import path_bytes, path_text
from support.archives import (
    FEW,
    MEMBERS,
    NAME,
    PACKINGS,
    TAGS,
    compress,
    image,
    inner,
    make,
    table,
)
from support.builder import (
    element,
    part10,
)


@pytest.fixture(scope="module")
def packed(tmp_path_factory):
    """{packing: path}, made at first use."""
    home = tmp_path_factory.mktemp("packed")

    class Made(dict):
        def __missing__(self, name):
            self[name] = make(home / name, MEMBERS)
            return self[name]

    return Made()


@pytest.mark.parametrize("name", PACKINGS)
def test_dcmread_of_every_row(packed, name):
    rows = table(packed[name])
    order = list(range(len(rows)))
    random.Random(2).shuffle(order)
    for i in order:
        row, data = rows[i], list(MEMBERS.values())[i]
        if row["error"]:
            with pytest.raises(DicomError) as caught:
                dcmread(row["path"])
            assert (caught.value.code, caught.value.filename) == (row["error"], row["path"])
            continue
        ds, expected = dcmread(row["path"]), dcmread(memoryview(data))
        assert ds.filename == row["path"] and ds == expected
        assert [elem.value for elem in ds.iterall()] == [elem.value for elem in expected.iterall()]


@pytest.mark.parametrize("name", FEW)
def test_first_of_two_members_with_the_same_name_is_opened(tmp_path, name):
    pairs = [("x", part10(element(0x00200013, "IS", i))) for i in "123"]
    with warnings.catch_warnings(action="ignore"):  # zipfile's own
        path = make(tmp_path / name, pairs)
    assert [row["InstanceNumber"] for row in table(path)] == [1, 2, 3]
    assert dcmread(f"{path}!/x").InstanceNumber == 1


# ------------------------------------------------------------------ names ---


@pytest.mark.skipif(os.name == "nt", reason="names of POSIX")
@pytest.mark.parametrize("name", ["stored.zip", "gnu.tar", "gnu.tgz"])
def test_names_that_are_not_utf8(tmp_path, name):
    raw = b"caf\xe9/x!/y"
    home = os.path.join(os.fsencode(tmp_path), b"\xff")
    os.mkdir(home)
    made = make(tmp_path / name, {"caf0/x!/y": part10(NAME)})
    path = os.path.join(home, os.fsencode(name))
    data = made.read_bytes()
    if name == "gnu.tgz":
        data = zlib.decompress(data, 31)
    data = data.replace(b"caf0", b"caf\xe9")
    if name != "stored.zip":
        stated = tarfile.calc_chksums(data[:512])[0]
        data = data[:148] + b"%06o\0 " % stated + data[156:]
    with open(path, "wb") as file:
        file.write(compress(data) if name == "gnu.tgz" else data)
    (row,) = table(path)
    assert row["error"] is None and row["path"] == path_text(path + b"!/" + raw)
    assert row["path"].startswith("file:///") and "caf%E9" in row["path"]
    for spelling in (row["path"], path + b"!/" + raw, os.fsdecode(path + b"!/" + raw)):
        assert dcmread(spelling).PatientName == "Doe^Jane"
        assert scan_chunk([path_bytes(row["path"])], TAGS).to_pydict()["error"] == [None]


@pytest.mark.skipif(os.name == "nt", reason="names of POSIX")
def test_dcmread_accepts_every_path_in_the_path_column(tmp_path):
    path = os.path.join(os.fsencode(tmp_path), b"caf\xe9")
    with open(path, "wb") as file:
        file.write(part10(NAME))
    (row,) = table([path])
    assert row["path"].startswith("file:///")
    assert dcmread(row["path"]).PatientName == "Doe^Jane"
    with pytest.raises(MissingFileError):
        dcmread(row["path"] + "x")


@pytest.mark.parametrize("name", ["pax.tar", "gnu.tar", "packed.tar.gz", "stored.zip"])
def test_long_names(tmp_path, name):
    names = ["n" * 99, "n" * 100, "n" * 101, "f/" * 100 + "x", "a" * 3000, "日本" * 60]
    path = make(tmp_path / name, {n: part10(NAME) for n in names})
    rows = table(path)
    assert inner(rows) == names and not any(row["error"] for row in rows)
    assert [dcmread(row["path"]).PatientName for row in rows] == ["Doe^Jane"] * len(names)


# -------------------------------------------------------------- data sets ---


@pytest.mark.parametrize("name", FEW)
def test_a_data_set_of_a_member(tmp_path, name):
    data, values = image(5)
    path = make(tmp_path / name, {"f/x": data, "y": image(6)[0]})
    member = f"{path}!/f/x"
    ds = dcmread(member)
    assert ds.filename == member and ds.InstanceNumber == 5
    assert np.array_equal(ds.frames[1], values + 1) and np.array_equal(ds.frames[0], values)
    assert np.array_equal(ds.pixel_array, np.stack([values, values + 1]))
    ds.save_as(tmp_path / "out.dcm")
    assert dcmread(tmp_path / "out.dcm").PixelData == ds.PixelData
    twin, thawed = copy.deepcopy(dcmread(member)), pickle.loads(pickle.dumps(dcmread(member)))
    assert twin.PixelData == thawed.PixelData == ds.PixelData and thawed.filename == member
    short = dcmread(member, stop_before_pixels=True, specific_tags=["InstanceNumber"])
    assert len(short) == 1
    ds = dcmread(os.fsencode(member))
    path.unlink()
    assert ds.PixelData == thawed.PixelData
    with pytest.raises(MissingFileError):
        dcmread(member)


@pytest.mark.parametrize("name", FEW)
def test_threads_share_a_member(tmp_path, name):
    parts = [element(0x00091001 + i, "OB", bytes([i]) * 30_000) for i in range(60)]
    path = make(tmp_path / name, {"x": part10(b"".join(parts))})
    ds = dcmread(f"{path}!/x")
    wrong = []

    def read(seed):
        order = list(range(60))
        random.Random(seed).shuffle(order)
        for i in order:
            if ds[0x00091001 + i].value != bytes([i]) * 30_000:
                wrong.append(i)

    threads = [threading.Thread(target=read, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_an_existing_file_with_the_path_of_a_member_is_preferred(tmp_path):
    make(tmp_path / "a.zip", {"x": part10(element(0x00200013, "IS", 1)), "y.zip": b"z"})
    folder = tmp_path / "a.zip!"
    folder.mkdir()
    (folder / "x").write_bytes(part10(element(0x00200013, "IS", 2)))
    member = f"{tmp_path}/a.zip!/x"
    assert dcmread(member).InstanceNumber == 2
    assert [row["InstanceNumber"] for row in table([member])] == [2]
    assert table(f"{tmp_path}/a.zip!/y.zip")[0]["error"] == "not-dicom"
    make(folder / "y.zip", {"z": part10(element(0x00200013, "IS", 3))})
    assert table([f"{folder}/y.zip"])[0]["InstanceNumber"] == 3
    assert dcmread(f"{folder}/y.zip!/z").InstanceNumber == 3
    assert table([f"{folder}/y.zip!/z"])[0]["InstanceNumber"] == 3


def test_paths_of_missing_members(tmp_path):
    make(tmp_path / "a.zip", {"x": part10(NAME)})
    (tmp_path / "b.zip").write_bytes(part10(NAME))
    for path, detail in (
        ("a.zip!/y", "no such member"),
        ("b.zip!/x", "cannot be opened"),
        ("none.zip!/x", "cannot be opened"),
        ("a.zip!/" + "y" * 5000, "no such member"),
    ):
        with pytest.raises(DicomError, match=detail) as caught:
            dcmread(tmp_path / path)
        assert caught.value.code == "open" and isinstance(caught.value, OSError)
        assert caught.value.filename == str(tmp_path / path)
        (row,) = table([tmp_path / path])
        assert row["error"] == "open" and detail in row["error_detail"]
    with pytest.raises(FileNotFoundError):
        scan(tmp_path / "none.zip!/x")
    rows = scan_chunk(["a\0b.zip", "a\0b.zip!/x", f"{tmp_path}/a.zip!/\0"], TAGS).to_pydict()
    assert rows["error"] == ["open"] * 3


def test_errors_of_the_system(tmp_path, monkeypatch):
    path = make(tmp_path / "a.zip", {"x": part10(NAME)})

    def refuse(*args):
        raise PermissionError(13, "no")

    with monkeypatch.context() as patch:
        patch.setattr(os, "pread", refuse, raising=False)
        (row,) = table([f"{path}!/x"])
        assert (row["error"], row["error_detail"]) == ("read", "the archive cannot be read")
        with pytest.raises(OSError):
            dcmread(f"{path}!/x")
    with monkeypatch.context() as patch:
        patch.setattr(os, "open", refuse)
        lookup._finder.cache_clear()
        with pytest.raises(OSError) as caught:
            dcmread(f"{path}!/x")
        assert (caught.value.code, caught.value.filename) == ("open", f"{path}!/x")


def test_an_archive_that_changed_is_opened_again(tmp_path):
    path = tmp_path / "a.zip"
    for i in range(3):
        make(
            tmp_path / "new.zip",
            {"x" * i + "y": part10(NAME), "x": part10(element(0x00200013, "IS", i))},
        )
        os.replace(tmp_path / "new.zip", path)
        assert dcmread(f"{path}!/x").InstanceNumber == i


def test_without_zstandard_a_row_says_what_is_needed(packed, monkeypatch):
    path = packed["packed.tar.zst"]
    monkeypatch.setitem(sys.modules, "zstandard", None)
    monkeypatch.setitem(sys.modules, "compression.zstd", None)
    (row,) = table(path)
    assert (
        row["error"] == "archive" and "pip install 'fastdcm-dicom[archives]'" in row["error_detail"]
    )
    lookup._finder.cache_clear()
    with pytest.raises(DicomError, match="needs zstandard"):
        dcmread(f"{path}!/a/plain")
    lookup._finder.cache_clear()
