"""Zip archives: directory, Zip64, data descriptors, unsupported members."""

import io
import struct
import zipfile

import pytest

from fastdcm import DicomError, dcmread
from support.archives import LONG, MEMBERS, NAME, ZIPS, check_rows, inner, make, make_small, table
from support.builder import (
    part10,
)


def test_zip64(tmp_path, monkeypatch):
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
            path.write_bytes(before + path.read_bytes() + b"after")
            assert inner(table(path)) == list(MEMBERS)
        data = path.read_bytes()
        path.write_bytes(data.replace(b"PK\6\6", b"PK\6\5"))
        assert [row["error"] for row in table(path)] == ["archive"]


@pytest.mark.parametrize("method", [0, 8])
def test_data_descriptors(tmp_path, method):
    """With data descriptors: sizes follow the members."""

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
    complete = table(path)
    assert inner(complete) == list(MEMBERS) and b"PK\7\x08" in pipe.data
    path.write_bytes(pipe.data[: pipe.data.index(b"PK\1\2")])
    *rows, last = table(path)
    assert (last["path"], last["error"]) == (str(path), "archive")
    assert [{**row, "mtime_ns": 0} for row in rows] == [{**row, "mtime_ns": 0} for row in complete]
    assert dcmread(f"{path}!/b/long").InstanceNumber == 7


@pytest.mark.parametrize("name", ZIPS)
def test_a_zip_without_directory(tmp_path, name):
    path = make(tmp_path / name, MEMBERS)
    data = path.read_bytes()
    path.write_bytes(data[: data.index(b"PK\1\2") - 20])
    *rows, last = table(path)
    assert inner(rows) == list(MEMBERS)[:-1]
    assert (last["path"], last["error"], last["size"]) == (
        str(path),
        "archive",
        path.stat().st_size,
    )
    assert last["error_detail"] == "the zip is truncated within a member"


@pytest.mark.parametrize("name", ZIPS)
def test_bytes_before_and_after_a_zip(tmp_path, name):
    path = make(tmp_path / name, MEMBERS)
    with zipfile.ZipFile(path, "a") as file:
        file.comment = b"PK\5\6 is no end " + bytes(500)
    path.write_bytes(b"#!/bin/sh\n" * 1000 + path.read_bytes())
    rows = table(path)
    assert inner(rows) == list(MEMBERS)
    assert [row["error"] for row in rows] == [
        row["error"] for row in table(make(tmp_path / "a.zip", MEMBERS))
    ]


def test_local_header_determines_where_the_bytes_begin(tmp_path):
    """Its extra field may be longer than the directory's."""
    data = part10(NAME)
    local = (
        struct.pack("<4sHHHHHLLLHH", b"PK\3\4", 20, 0, 0, 0, 0, 0, len(data), len(data), 1, 8)
        + b"x"
        + bytes(8)
    )
    central = (
        struct.pack(
            "<4sHHHHHHLLLHHHHHLL",
            b"PK\1\2",
            20,
            20,
            0,
            0,
            0,
            0,
            0,
            len(data),
            len(data),
            1,
            0,
            0,
            0,
            0,
            0,
            0,
        )
        + b"x"
    )
    end = struct.pack("<4sHHHHLLH", b"PK\5\6", 0, 0, 1, 1, len(central), len(local) + len(data), 0)
    path = tmp_path / "a.zip"
    path.write_bytes(local + data + central + end)
    (row,) = table(path)
    assert (row["PatientName"], row["size"]) == ("Doe^Jane", len(data))
    path.write_bytes(local.replace(b"\0x\0", b"\0y\0") + data + central + end)
    (row,) = table(path)
    assert (row["error"], row["path"]) == ("archive", f"{path}!/x")


def test_unsupported_members_are_error_rows(tmp_path):
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


def test_wrong_numbers_in_the_directory(tmp_path):
    path = make_small(tmp_path / "stored.zip")
    data = path.read_bytes()
    at = data.rindex(b"PK\5\6")
    entry = data.index(b"PK\1\2")
    for position, size in (
        (at + 10, 2),
        (at + 12, 4),
        (at + 16, 4),
        (entry + 20, 4),
        (entry + 24, 4),
        (entry + 42, 4),
        (entry + 28, 2),
        (entry + 30, 2),
        (entry + 32, 2),
    ):
        for value in (0, 1, (1 << 8 * size) - 1, (1 << 8 * size - 1)):
            path.write_bytes(
                data[:position] + value.to_bytes(size, "little") + data[position + size :]
            )
            check_rows(path)
    path.write_bytes(data[: at + 8] + b"\7\0\7\0" + data[at + 12 :])
    *rows, last = check_rows(path)
    assert len(rows) == 5 and "has 5 members, but its end record states 7" in last["error_detail"]


def test_members_that_overlap(tmp_path):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("x", part10(NAME + LONG))
    data = path.read_bytes()
    at, end = data.index(b"PK\1\2"), data.rindex(b"PK\5\6")
    entries = data[at:end] * 500
    path.write_bytes(
        data[:at]
        + entries
        + struct.pack("<4sHHHHLLH", b"PK\5\6", 0, 0, 500, 500, len(entries), at, 0)
    )
    *rows, last = table(path)
    assert len(rows) < 3 and (last["error"], last["path"]) == ("archive-limit", str(path))
