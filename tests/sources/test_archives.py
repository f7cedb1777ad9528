"""Archives as sources, and paths into them."""

import copy
import io
import os
import pickle
import random
import shutil
import struct
import subprocess
import sys
import tarfile
import threading
import warnings
import zipfile
import zlib

import numpy as np
import pytest
from support.builder import DEFLATED_LE, JPEG_BASELINE, deflate, element, file_meta, fragments, header, part10, preamble
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import fastdcm
from fastdcm.sources.archives import lookup
from fastdcm.sources.archives import tar
from fastdcm import DicomError, dcmread
from fastdcm.sources._paths import PathChunk, Walk, chunk_from_paths, is_archive, split_member_path
from fastdcm.sources.urls import path_bytes, path_text
from fastdcm.scanning.scanner import scan, scan_chunk
from fastdcm.errors import MissingFileError

NAME = element(0x00100010, "PN", "Doe^Jane")
LONG = element(0x00091001, "UN", random.Random(1).randbytes(200_000)) + element(0x00200013, "IS", "7")
PIXELS = fragments([b"\xff\xd8" + bytes(3000)] * 9)
MEMBERS = {  # in byte order of their paths, as a folder is walked
    "DICOMDIR": b"no DICOM at all, but more than 132 bytes of it. " * 4,
    "a/deflated": preamble() + file_meta(DEFLATED_LE) + deflate(NAME + LONG),
    "a/empty": b"",
    "a/plain": part10(NAME + element(0x00200013, "IS", "3") + element(0x7FE00010, "OW", bytes(1000))),
    "b/c/fragments": part10(NAME + element(0x00280008, "IS", 9) + PIXELS, transfer_syntax=JPEG_BASELINE),
    "b/long": part10(NAME + LONG),
    "japanese": part10(element(0x00080005, "CS", "\\ISO 2022 IR 87")
                       + element(0x00100010, "PN", b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B")),
}
MEMBERS.update((f"z/{i:03d}", part10(NAME + element(0x00200013, "IS", str(i)))) for i in range(150))
TAGS = ["PatientName", "InstanceNumber"]
ZIPS = {"stored.zip": zipfile.ZIP_STORED, "deflated.ZIP": zipfile.ZIP_DEFLATED}
TARS = {"pax.tar": ("w", tarfile.PAX_FORMAT), "gnu.tar": ("w", tarfile.GNU_FORMAT),
        "ustar.Tar": ("w", tarfile.USTAR_FORMAT), "packed.tar.gz": ("w:gz", tarfile.PAX_FORMAT),
        "gnu.tgz": ("w:gz", tarfile.GNU_FORMAT), "packed.tar.bz2": ("w:bz2", tarfile.PAX_FORMAT),
        "packed.tar.xz": ("w:xz", tarfile.PAX_FORMAT), "packed.tar.zst": ("zst", tarfile.PAX_FORMAT)}
PACKINGS = [*ZIPS, *TARS]
FEW = ["stored.zip", "deflated.ZIP", "pax.tar", "packed.tar.gz"]
linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


def make(path, members, **options):
    """An archive of the packing that the path's name tells. members: {name: bytes},
    or a list of such pairs."""
    members = members.items() if isinstance(members, dict) else members
    if path.name in ZIPS or path.suffix == ".zip":
        with zipfile.ZipFile(path, "w", ZIPS.get(path.name, zipfile.ZIP_DEFLATED)) as file:
            for name, data in members:
                file.writestr(name, data, **options)
        return path
    mode, form = TARS[path.name]
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w" if mode == "zst" else mode, format=form) as file:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size, info.mtime = len(data), 1.5 if form == tarfile.PAX_FORMAT else 1
            file.addfile(info, io.BytesIO(data))
    data = out.getvalue()
    if mode == "zst":
        data = pytest.importorskip("zstandard").compress(data)
    path.write_bytes(data)
    return path


def table(source, pixels=False, **options):
    return scan(source, TAGS, pixels=pixels, **options).read_all().to_pylist()


def inner(rows):
    return [row["path"].partition("!/")[2] for row in rows]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The members as files."""
    folder = tmp_path_factory.mktemp("unpacked")
    for name, data in MEMBERS.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder


@pytest.fixture(scope="module")
def packed(tmp_path_factory):
    """{packing: path}, made when asked for."""
    home = tmp_path_factory.mktemp("packed")

    class Made(dict):
        def __missing__(self, name):
            self[name] = make(home / name, MEMBERS)
            return self[name]

    return Made()


# ------------------------------------------------------------------- rows ---


@pytest.mark.parametrize("name", PACKINGS)
@pytest.mark.parametrize("pixels", [False, "frames"])
def test_members_are_the_rows_of_the_folder(folder, packed, name, pixels):
    path = packed[name]
    expected = table(folder, pixels)
    for threads in (1, 2, 5):
        rows = table(path, pixels, threads=threads)
        assert [row["path"] for row in rows] == [f"{path}!/{name}" for name in MEMBERS]
        for row, one in zip(rows, expected, strict=True):
            assert row["mtime_ns"] == path.stat().st_mtime_ns
            same = {**one, "path": row["path"], "mtime_ns": row["mtime_ns"]}
            assert row == same


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
        ds, whole = dcmread(row["path"]), dcmread(memoryview(data))
        assert ds.filename == row["path"] and ds == whole
        assert [elem.value for elem in ds.iterall()] == [elem.value for elem in whole.iterall()]


def test_archives_expand_where_they_stand(tmp_path):
    files = {name: part10(NAME) for name in ("1", "2", "3")}
    folder = tmp_path / "in"
    (folder / "c").mkdir(parents=True)
    for name in ("a", "b", "d", "z"):
        (folder / name).write_bytes(part10(NAME))
    make(folder / "aa.zip", files)
    make(folder / "c" / "pax.tar", files)
    make(folder / "c" / "stored.zip", {})
    make(folder / "c" / "packed.tar.gz", files)
    shutil.copy(folder / "aa.zip", folder / "zz.zip")
    inside = ["!/1", "!/2", "!/3"]
    expected = ["a", *("aa.zip" + m for m in inside), "b", *("c/packed.tar.gz" + m for m in inside),
                *("c/pax.tar" + m for m in inside), "d", "z", *("zz.zip" + m for m in inside)]
    expected = [f"{folder}/{name}" for name in expected]
    for threads in (1, 2, 5):
        for batch_size in (1, 3, 4096):
            batches = list(scan(folder, TAGS, threads=threads, batch_size=batch_size))
            assert [path for batch in batches for path in batch.column("path")] == expected
            assert all(len(batch) == batch_size for batch in batches[:-1])
            assert all(error is None for batch in batches for error in batch.column("error"))
    listed = sorted(path for path in folder.rglob("*") if path.is_file())
    assert [row["path"] for row in table(listed)] == expected
    assert [row["path"] for row in table(f"{folder}/*.zip")] == [p for p in expected if ".zip" in p]
    scan(folder, TAGS).write(tmp_path / "rows.parquet")
    again = scan(tmp_path / "rows.parquet", TAGS)
    assert again.read_all().equals(scan(folder, TAGS).read_all()) and again.stats["errors"] == 0


@pytest.mark.parametrize("name", FEW)
def test_a_chunk_of_members_in_any_order(folder, packed, name):
    other = packed["gnu.tar"]
    paths = ([f"{packed[name]}!/{member}" for member in MEMBERS] + [f"{other}!/z/00{i}" for i in range(9)]
             + [str(folder / "japanese"), str(folder / "none"), f"{packed[name]}!/none", str(other)])
    random.Random(3).shuffle(paths)
    rows = scan_chunk(paths, TAGS).to_pydict()
    expected = []
    for path in paths:
        expected += [f"{other}!/{member}" for member in MEMBERS] if path == str(other) else [path]
    assert rows["path"] == expected
    alone = {row["path"]: row for path in paths for row in table([path])}
    for i, path in enumerate(expected):
        assert {key: values[i] for key, values in rows.items()} == alone[path]
    missing = alone[f"{packed[name]}!/none"]
    assert (missing["error"], missing["size"]) == ("open", None)
    assert missing["error_detail"] == "the archive has no such member"
    assert table(f"{packed[name]}!/a/plain") == [alone[f"{packed[name]}!/a/plain"]]


def test_one_member_and_none(tmp_path):
    for name in PACKINGS:
        path = make(tmp_path / name, {"one": part10(NAME)})
        assert [row["error"] for row in table(path)] == [None]
        assert table(make(path, {})) == []


@pytest.mark.parametrize("name", FEW)
def test_of_two_members_of_one_name_the_first_is_opened(tmp_path, name):
    pairs = [("x", part10(element(0x00200013, "IS", i))) for i in "123"]
    with warnings.catch_warnings(action="ignore"):  # zipfile's own
        path = make(tmp_path / name, pairs)
    assert [row["InstanceNumber"] for row in table(path)] == [1, 2, 3]
    assert dcmread(f"{path}!/x").InstanceNumber == 1


def test_folders_links_and_devices_are_no_rows(tmp_path):
    for name in ("pax.tar", "packed.tar.gz"):
        with tarfile.open(tmp_path / name, "w:gz" if "gz" in name else "w") as file:
            for kind in (tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE):
                info = tarfile.TarInfo("it")
                info.type, info.linkname, info.size = kind, "/etc/passwd", 0
                file.addfile(info)
            info = tarfile.TarInfo("./x")
            info.size = len(part10(NAME))
            file.addfile(info, io.BytesIO(part10(NAME)))
        assert inner(table(tmp_path / name)) == ["x"]
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        file.writestr("folder/", b"")
        link = zipfile.ZipInfo("link")
        link.create_system, link.external_attr = 3, 0o120777 << 16
        file.writestr(link, "/etc/passwd")
        file.writestr("x", part10(NAME))
    assert inner(table(tmp_path / "a.zip")) == ["x"]


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
        file.write(shrink(data) if name == "gnu.tgz" else data)
    row, = table(path)
    assert row["error"] is None and row["path"] == path_text(path + b"!/" + raw)
    assert row["path"].startswith("file:///") and "caf%E9" in row["path"]
    for spelling in (row["path"], path + b"!/" + raw, os.fsdecode(path + b"!/" + raw)):
        assert dcmread(spelling).PatientName == "Doe^Jane"
        assert scan_chunk([path_bytes(row["path"])], TAGS).to_pydict()["error"] == [None]


def shrink(data):
    packer = zlib.compressobj(wbits=31)
    return packer.compress(data) + packer.flush()


@pytest.mark.skipif(os.name == "nt", reason="names of POSIX")
def test_dcmread_takes_every_path_that_a_scan_tells(tmp_path):
    path = os.path.join(os.fsencode(tmp_path), b"caf\xe9")
    with open(path, "wb") as file:
        file.write(part10(NAME))
    row, = table([path])
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


def test_endings():
    for ending in (".zip", ".tar", ".tgz", ".tar.gz", ".tar.zst", ".tar.bz2", ".tar.xz", ".7z", ".ZIP", ".Tar.GZ"):
        assert is_archive(b"/data/x" + ending.encode()) and is_archive(b"/" + ending.encode())
        assert not is_archive(b"/data/x" + ending.encode() + b"x")
    for name in (b"", b"zip", b"x.gz", b"x.dcm", b"tar.gz", b"x.dcm.gz", b"x.7", b"a.zi", b"zzip", b"xtar.gz"):
        assert not is_archive(name), name


def test_splits():
    assert split_member_path(b"a.zip!/b") == [(b"a.zip", b"b")]
    assert split_member_path(b"a!/b.tgz!/c.zip!/d!/e") == [(b"a!/b.tgz", b"c.zip!/d!/e"), (b"a!/b.tgz!/c.zip", b"d!/e")]
    for path in (b"a/b", b"a!/b", b"a.zip!", b"a.zip!x", b"", b"!", b"!/", b"a.zip/!/b"):
        assert split_member_path(path) == []
    assert split_member_path(b"a.zip!/") == [(b"a.zip", b"")]


def test_archives_of_a_chunk():
    chunk = chunk_from_paths(["a", "b.zip", "c", "d!/e", "f.tar!/g", "h.zip", "i"])
    assert chunk.archives() == [(1, b"b.zip"), (4, b"f.tar!/g"), (5, b"h.zip")]
    assert chunk.part(2, 5).paths() == [b"c", b"d!/e", b"f.tar!/g"] and chunk.part(2, 2).paths() == []
    assert PathChunk().archives() == []


@pytest.mark.skipif(sys.platform != "linux", reason="the file system takes UTF-8 names alone")
def test_a_cut_keeps_what_a_path_shows_and_its_error(tmp_path):
    for name in (b"a", b"b\xff", b"c/x", b"d"):
        path = os.path.join(os.fsencode(tmp_path), name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb"):
            pass
    os.symlink(tmp_path, tmp_path / "e.zip")  # leads back: a folder in error
    make(tmp_path / "d.zip", {"x": part10(NAME)})
    rows = table(tmp_path)
    assert [row["path"].rpartition("/")[2] for row in rows] == ["a", "b%FF", "x", "d", "x", "e.zip"]
    assert [row["error"] for row in rows] == ["empty"] * 4 + [None, "walk"]
    assert Walk(os.fsencode(tmp_path)).read_chunk(10).part(1, 3).paths()[0].endswith(b"b\xff")


# ------------------------------------------------------------ zips and tars ---


def test_large_zips(tmp_path, monkeypatch):
    """ZIP64: in local headers, then also in the directory and its end."""
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name in ("a", "b"):
            with file.open(name, "w", force_zip64=True) as out:
                out.write(part10(NAME))
    assert [row["error"] for row in table(path)] == [None] * 2
    monkeypatch.setattr(zipfile, "ZIP64_LIMIT", 10)
    monkeypatch.setattr(zipfile, "ZIP_FILECOUNT_LIMIT", 1)
    for name in ZIPS:
        path = make(tmp_path / name, MEMBERS)
        assert b"PK\6\6" in path.read_bytes()
        rows = table(path)
        assert inner(rows) == list(MEMBERS)
        for before in (b"MZ" * 1000, b""):
            path.write_bytes(before + path.read_bytes() + b"behind")
            assert inner(table(path)) == list(MEMBERS)
        data = path.read_bytes()
        path.write_bytes(data.replace(b"PK\6\6", b"PK\6\5"))
        assert [row["error"] for row in table(path)] == ["archive"]


@pytest.mark.parametrize("method", [0, 8])
def test_streamed_zips(tmp_path, method):
    """With data descriptors: sizes stand behind the members."""

    class Pipe(io.RawIOBase):
        def __init__(self):
            self.data = bytearray()

        def writable(self):
            return True

        def write(self, data):
            self.data += data
            return len(data)

    pipe = Pipe()
    with zipfile.ZipFile(pipe, "w", method) as file:
        for name, data in MEMBERS.items():
            file.writestr(name, data)
    path = tmp_path / "a.zip"
    path.write_bytes(pipe.data)
    whole = table(path)
    assert inner(whole) == list(MEMBERS) and b"PK\7\x08" in pipe.data
    path.write_bytes(pipe.data[:pipe.data.index(b"PK\1\2")])
    *rows, last = table(path)
    assert (last["path"], last["error"]) == (str(path), "archive")
    assert [{**row, "mtime_ns": 0} for row in rows] == [{**row, "mtime_ns": 0} for row in whole]
    assert dcmread(f"{path}!/b/long").InstanceNumber == 7


@pytest.mark.parametrize("name", ZIPS)
def test_a_zip_without_directory(tmp_path, name):
    path = make(tmp_path / name, MEMBERS)
    data = path.read_bytes()
    path.write_bytes(data[:data.index(b"PK\1\2") - 20])
    *rows, last = table(path)
    assert inner(rows) == list(MEMBERS)[:-1]
    assert (last["path"], last["error"], last["size"]) == (str(path), "archive", path.stat().st_size)
    assert last["error_detail"] == "the zip is truncated within a member"


@pytest.mark.parametrize("name", ZIPS)
def test_bytes_before_and_behind_a_zip(tmp_path, name):
    path = make(tmp_path / name, MEMBERS)
    with zipfile.ZipFile(path, "a") as file:
        file.comment = b"PK\5\6 is no end " + bytes(500)
    path.write_bytes(b"#!/bin/sh\n" * 1000 + path.read_bytes())
    rows = table(path)
    assert inner(rows) == list(MEMBERS)
    assert [row["error"] for row in rows] == [row["error"] for row in table(make(tmp_path / "a.zip", MEMBERS))]


def test_the_local_header_says_where_the_bytes_begin(tmp_path):
    """Its extra field may be longer than the directory's."""
    data = part10(NAME)
    local = struct.pack("<4sHHHHHLLLHH", b"PK\3\4", 20, 0, 0, 0, 0, 0, len(data), len(data), 1, 8) + b"x" + bytes(8)
    central = struct.pack("<4sHHHHHHLLLHHHHHLL", b"PK\1\2", 20, 20, 0, 0, 0, 0, 0, len(data), len(data), 1, 0, 0, 0,
                          0, 0, 0) + b"x"
    end = struct.pack("<4sHHHHLLH", b"PK\5\6", 0, 0, 1, 1, len(central), len(local) + len(data), 0)
    path = tmp_path / "a.zip"
    path.write_bytes(local + data + central + end)
    row, = table(path)
    assert (row["PatientName"], row["size"]) == ("Doe^Jane", len(data))
    path.write_bytes(local.replace(b"\0x\0", b"\0y\0") + data + central + end)
    row, = table(path)
    assert (row["error"], row["path"]) == ("archive", f"{path}!/x")


def test_members_that_are_not_read_are_rows(tmp_path):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("bzip2", part10(NAME), zipfile.ZIP_BZIP2)
        file.writestr("good", part10(NAME))
        file.writestr("secret", part10(NAME))
    data = bytearray(path.read_bytes())
    data[data.rindex(b"PK\1\2") + 8] |= 1
    path.write_bytes(data)
    rows = table(path)
    assert [row["error"] for row in rows] == ["archive", None, "archive"]
    assert [row["size"] for row in rows] == [len(part10(NAME))] * 3
    assert "method 12 (bzip2)" in rows[0]["error_detail"] and "encrypted" in rows[2]["error_detail"]
    with pytest.raises(DicomError, match="encrypted") as caught:
        dcmread(rows[2]["path"])
    assert caught.value.code == "archive"


@pytest.mark.parametrize("name", ["gnu.tar", "pax.tar", "packed.tar.gz"])
def test_sparse_members_are_rows_in_error(tmp_path, name):
    mode, form = TARS[name]
    with tarfile.open(tmp_path / name, mode, format=form) as file:
        for i in range(3):
            info = tarfile.TarInfo(f"{i}")
            info.size = len(part10(NAME))
            if i == 1 and form == tarfile.PAX_FORMAT:
                info.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.name": "real"}
            elif i == 1:
                info.type = tarfile.GNUTYPE_SPARSE
            file.addfile(info, io.BytesIO(part10(NAME)))
    rows = table(tmp_path / name)
    assert [row["error"] for row in rows] == [None, "archive", None]
    assert inner(rows) == ["0", "1" if name == "gnu.tar" else "real", "2"]
    assert rows[1]["error_detail"] == "the member is sparse, which is not supported"


def test_a_sparse_map_behind_its_header(tmp_path):
    info = tarfile.TarInfo("x")
    info.type, info.size = tarfile.GNUTYPE_SPARSE, 512
    block = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    block[482] = 1
    block[148:156] = b"%06o\0 " % tarfile.calc_chksums(bytes(block))[0]
    more = bytes(504) + b"\1" + bytes(7) + bytes(512)
    good = tarfile.TarInfo("good")
    good.size = len(part10(NAME))
    data = part10(NAME)
    path = tmp_path / "a.tar"
    path.write_bytes(bytes(block) + more + bytes(512) + good.tobuf() + data + bytes(-len(data) % 512) + bytes(1024))
    assert [row["error"] for row in table(path)] == ["archive", None]


def test_numbers_and_sums_of_old_tars():
    block = bytearray(tarfile.TarInfo("caf\xe9").tobuf(tarfile.USTAR_FORMAT, "latin-1"))
    block[124:136] = b"\x80" + (1 << 40).to_bytes(11, "big")
    for total in tarfile.calc_chksums(bytes(block)):  # of unsigned bytes, of signed
        block[148:156] = b"%06o\0 " % total
        assert tar._parse_header(bytes(block), 0)[:2] == (b"caf\xe9", 1 << 40)
    for size in (b"\xff" * 12, b"\x80" + b"\xff" * 11, b"-0000000001\0", b"000000000x\0\0"):
        block[124:136] = size
        block[148:156] = b"%06o\0 " % tarfile.calc_chksums(bytes(block))[0]
        with pytest.raises(DicomError):
            tar._parse_header(bytes(block), 0)


# ------------------------------------------------------- what is no archive ---


def test_files_that_only_end_so(tmp_path):
    for name in ("a.zip", "a.tar", "a.tgz", "a.tar.zst", "a.7z"):
        (tmp_path / name).write_bytes(part10(NAME))
    (tmp_path / "b.tar.gz").write_bytes(shrink(part10(NAME) + bytes(1000)))
    (tmp_path / "c.zip").write_bytes(b"")
    (tmp_path / "d.zip").mkdir()
    (tmp_path / "d.zip" / "e").write_bytes(part10(NAME))
    rows = table(tmp_path)
    assert [row["error"] for row in rows] == [None] * 5 + ["not-dicom", "empty", None]
    assert rows[0]["path"] == str(tmp_path / "a.7z")
    assert [row["error"] for row in table([tmp_path / "none.zip", tmp_path / "d.zip"])] == ["open", "not-regular"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no FIFOs")
def test_a_fifo_does_not_block(tmp_path):
    os.mkfifo(tmp_path / "a.tar")
    assert [row["error"] for row in table(tmp_path)] == ["not-regular"]


def test_7z_is_refused(tmp_path):
    (tmp_path / "a.7z").write_bytes(b"7z\xbc\xaf\x27\x1c" + bytes(100))
    row, = table(tmp_path)
    assert (row["error"], row["error_detail"]) == ("archive", lookup.SEVEN_ZIP)
    with pytest.raises(ValueError, match="7z archives are not supported"):
        scan(tmp_path / "a.7z")


def test_without_zstandard_a_row_says_what_is_needed(packed, monkeypatch):
    path = packed["packed.tar.zst"]
    monkeypatch.setitem(sys.modules, "zstandard", None)
    monkeypatch.setitem(sys.modules, "compression.zstd", None)
    row, = table(path)
    assert row["error"] == "archive" and "pip install 'fastdcm-dicom[archives]'" in row["error_detail"]
    lookup._finder.cache_clear()
    with pytest.raises(DicomError, match="needs zstandard"):
        dcmread(f"{path}!/a/plain")
    lookup._finder.cache_clear()


# ---------------------------------------------------------------- dcmread ---


def picture(i):
    values = np.arange(64, dtype="<u2").reshape(8, 8) + i
    parts = [(0x00200013, "IS", i), (0x00280002, "US", 1), (0x00280004, "CS", "MONOCHROME2"),
             (0x00280008, "IS", 2), (0x00280010, "US", 8), (0x00280011, "US", 8), (0x00280100, "US", 16),
             (0x00280101, "US", 16), (0x00280102, "US", 15), (0x00280103, "US", 0)]
    raw = np.stack([values, values + 1]).tobytes() + bytes(100_000)
    return part10(b"".join(element(*part) for part in parts) + header(0x7FE00010, "OW", len(raw)) + raw), values


@pytest.mark.parametrize("name", FEW)
def test_a_data_set_of_a_member(tmp_path, name):
    data, values = picture(5)
    path = make(tmp_path / name, {"f/x": data, "y": picture(6)[0]})
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


def test_a_real_file_of_such_a_path_wins(tmp_path):
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


def test_paths_that_lead_nowhere(tmp_path):
    make(tmp_path / "a.zip", {"x": part10(NAME)})
    (tmp_path / "b.zip").write_bytes(part10(NAME))
    for path, detail in (("a.zip!/y", "no such member"), ("b.zip!/x", "cannot be opened"),
                         ("none.zip!/x", "cannot be opened"), ("a.zip!/" + "y" * 5000, "no such member")):
        with pytest.raises(DicomError, match=detail) as caught:
            dcmread(tmp_path / path)
        assert caught.value.code == "open" and isinstance(caught.value, OSError)
        assert caught.value.filename == str(tmp_path / path)
        row, = table([tmp_path / path])
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
        row, = table([f"{path}!/x"])
        assert (row["error"], row["error_detail"]) == ("read", "the archive cannot be read")
        with pytest.raises(OSError):
            dcmread(f"{path}!/x")
    with monkeypatch.context() as patch:
        patch.setattr(os, "open", refuse)
        lookup._finder.cache_clear()
        with pytest.raises(OSError) as caught:
            dcmread(f"{path}!/x")
        assert (caught.value.code, caught.value.filename) == ("open", f"{path}!/x")


def test_an_archive_that_changes_is_opened_anew(tmp_path):
    path = tmp_path / "a.zip"
    for i in range(3):
        make(tmp_path / "new.zip", {"x" * i + "y": part10(NAME), "x": part10(element(0x00200013, "IS", i))})
        os.replace(tmp_path / "new.zip", path)
        assert dcmread(f"{path}!/x").InstanceNumber == i


@linux
def test_few_descriptors_stay_open(tmp_path):
    paths = [make(tmp_path / f"{i}.zip", {"x": picture(i)[0]}) for i in range(20)]
    before = len(os.listdir("/proc/self/fd"))
    for path in paths:
        assert dcmread(f"{path}!/x").InstanceNumber is not None
        assert len(table(path)) == 1
    assert len(os.listdir("/proc/self/fd")) <= before + 5


def test_volumes_and_loaders(tmp_path):
    values = [np.random.default_rng(i).integers(0, 99, (8, 8)).astype("<i2") for i in range(5)]

    def slice_(i):
        parts = [(0x00080060, "CS", "CT"), (0x0020000E, "UI", "1.2"), (0x00200032, "DS", f"0\\0\\{i}"),
                 (0x00200037, "DS", "1\\0\\0\\0\\1\\0"), (0x00280002, "US", 1), (0x00280004, "CS", "MONOCHROME2"),
                 (0x00280010, "US", 8), (0x00280011, "US", 8), (0x00280030, "DS", "1\\1"), (0x00280100, "US", 16),
                 (0x00280101, "US", 16), (0x00280102, "US", 15), (0x00280103, "US", 1)]
        return part10(b"".join(element(*part) for part in parts)
                      + element(0x7FE00010, "OW", values[i].tobytes()))

    for name in FEW:
        path = make(tmp_path / name, {f"{i}": slice_(i) for i in range(5)})
        assert np.array_equal(fastdcm.read_volume(path).array, np.stack(values))
    pytest.importorskip("torch")
    from fastdcm.ml import DicomDataset

    for name in FEW:
        data = DicomDataset(tmp_path / name, rescale=False)
        assert np.array_equal(np.stack([np.asarray(data[i]["image"])[0] for i in range(5)]), np.stack(values))


def test_verbs_take_members(tmp_path):
    pytest.importorskip("click")
    data, _ = picture(1)
    path = make(tmp_path / "packed.tar.gz", {"f/x": data})
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    for args in (["dump", "packed.tar.gz!/f/x"], ["scan", "packed.tar.gz!/f/x", "--fail-on-error"],
                 ["image", "packed.tar.gz!/f/x", "-o", "x.png"], ["summary", "packed.tar.gz"]):
        done = subprocess.run([sys.executable, "-c", "from fastdcm.cli import main; main()", *args],
                              cwd=path.parent, env=env, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr


# --------------------------------------------------------------- property ---


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(PACKINGS), st.integers(1, 5), st.integers(1, 60),
       st.lists(st.tuples(st.text(st.characters(min_codepoint=33, codec="utf-8"), min_size=1, max_size=40),
                          st.sampled_from(list(MEMBERS.values())[:7]), st.integers(0, 2000)),
                max_size=30, unique_by=lambda one: one[0]))
def test_any_archive_is_its_files(tmp_path, name, threads, batch_size, members):
    members = {f"m{i}/{path}".rstrip("/"): data + bytes(size) for i, (path, data, size) in enumerate(members)
               if "\\" not in path}
    path = make(tmp_path / name, members)
    rows = table(path, True, threads=threads, batch_size=batch_size)
    assert inner(rows) == list(members)
    for row, data in zip(rows, members.values()):
        (tmp_path / "x").write_bytes(data)
        one, = table([tmp_path / "x"], True)
        assert row == {**one, "path": row["path"], "mtime_ns": row["mtime_ns"]}
