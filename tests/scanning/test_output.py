"""Tables as files: Parquet, Arrow, CSV, JSON Lines."""

import csv
import json
import os

import pyarrow
import pytest

import fastdcm
from fastdcm.scanning.scanner import scan
from support import builder as b
from support.scans import per_frame_groups, read_table

TAGS = ["SOPInstanceUID", "InstanceNumber", "ImageType"]


def expected_columns(archive):
    table = scan(archive, TAGS).read_all()
    return {name: table[name].to_pylist() for name in table.column_names}


@pytest.mark.parametrize("ending", [".parquet", ".arrow"])
def test_arrow_files(archive, tmp_path, ending):
    path = str(tmp_path / ("out" + ending))
    stats = scan(archive, TAGS, batch_size=700).write(path)
    assert stats["files"] == 3000
    table = read_table(path)
    assert table.to_pydict() == expected_columns(archive)
    assert table.schema.equals(pyarrow.schema(scan([], TAGS)))
    assert os.listdir(tmp_path) == ["out" + ending]


def test_csv(archive, tmp_path):
    path = tmp_path / "out.CSV"
    scan(archive, [*TAGS, "FileMetaInformationVersion"]).write(path)
    with open(path, newline="") as file:
        rows = list(csv.DictReader(file))
    expected = expected_columns(archive)
    assert [r["path"] for r in rows] == expected["path"]
    assert [r["InstanceNumber"] for r in rows] == [
        "" if n is None else str(n) for n in expected["InstanceNumber"]
    ]
    assert [json.loads(r["ImageType"]) if r["ImageType"] else None for r in rows] == expected[
        "ImageType"
    ]
    assert {r["FileMetaInformationVersion"] for r in rows} == {"AAE=", ""}
    assert [r["error"] for r in rows] == [e or "" for e in expected["error"]]


def test_csv_quoting(put, tmp_path):
    text = 'a,"b"\nc\u00e9'
    path = put(
        b.element(0x00080005, "CS", "ISO_IR 192") + b.element(0x00104000, "LT", text.encode())
    )
    scan([path], ["PatientComments"]).write(tmp_path / "out.csv")
    with open(tmp_path / "out.csv", newline="", encoding="utf-8") as file:
        assert next(csv.DictReader(file))["PatientComments"] == text


def test_jsonl(archive, put, tmp_path):
    path = tmp_path / "out.jsonl"
    scan(archive, TAGS).write(path)
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert {name: [r[name] for r in rows] for name in rows[0]} == expected_columns(archive)
    odd = put(b.element(0x00189087, "FD", float("inf")) + b.element(0x00420011, "OB", b"\0\1"))
    scan([odd], ["DiffusionBValue", "EncapsulatedDocument"]).write(path)
    row = json.loads(path.read_text())
    assert (row["DiffusionBValue"], row["EncapsulatedDocument"]) == (None, "AAE=")


def test_nested_lists_in_every_format(put, tmp_path):
    every = "PerFrameFunctionalGroupsSequence[*].PlanePositionSequence.ImagePositionPatient"
    expected = [[0.0, 0.0, 0.5], [1.0, 0.0, 0.5]]
    path = put(per_frame_groups(2))
    for ending in (".parquet", ".arrow"):
        out = str(tmp_path / ("out" + ending))
        scan([path], [every]).write(out)
        assert read_table(out)[every].to_pylist() == [expected]
    scan([path], [every]).write(tmp_path / "out.jsonl")
    assert json.loads((tmp_path / "out.jsonl").read_text())[every] == expected
    scan([path], [every]).write(tmp_path / "out.csv")
    assert "[[0.0, 0.0, 0.5], [1.0, 0.0, 0.5]]" in (tmp_path / "out.csv").read_text()


def test_a_failed_write_leaves_the_existing_file(archive, tmp_path):
    path = tmp_path / "out.parquet"
    path.write_bytes(b"before")
    with pytest.raises(fastdcm.InvalidDicomError):
        scan(archive, TAGS, on_error="raise").write(path)
    assert path.read_bytes() == b"before"
    assert os.listdir(tmp_path) == ["out.parquet"]
    with pytest.raises(ValueError, match=r"expected a name that ends in \.parquet"):
        scan(archive, TAGS).write(tmp_path / "out.xlsx")
    with pytest.raises(FileNotFoundError):
        scan(archive, TAGS).write(tmp_path / "none" / "out.csv")
