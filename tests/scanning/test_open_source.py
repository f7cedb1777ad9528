"""What a scan accepts as a source: tables, globs, single files."""

import os

import pyarrow
import pyarrow.parquet
import pytest

from fastdcm.scanning.scanner import scan
from support.scans import sorted_paths

TAGS = ["SOPInstanceUID", "InstanceNumber", "ImageType"]


@pytest.mark.parametrize("ending", [".parquet", ".arrow", ".csv", ".jsonl"])
def test_a_table_is_a_source(archive, tmp_path, ending):
    path = tmp_path / ("index" + ending)
    scan(archive, TAGS).write(path)
    s = scan(path, ["InstanceNumber"])
    assert s.read_all()["path"].to_pylist() == sorted_paths(archive)
    assert s.read_all().num_rows == 3000


def test_tables_without_paths(tmp_path):
    (tmp_path / "a.csv").write_text("file\nx\n")
    (tmp_path / "a.jsonl").write_text('{"file": "x"}\n')
    table = pyarrow.table({"file": ["x"]})
    pyarrow.parquet.write_table(table, tmp_path / "a.parquet")
    for name in ("a.csv", "a.jsonl", "a.parquet"):
        with pytest.raises(ValueError, match="no column `path`"):
            scan(tmp_path / name).read_all()


def test_globs(archive):
    expected = sorted_paths(archive)
    assert scan(f"{archive}/[0-2]", TAGS).read_all()["path"].to_pylist() == [
        p for p in expected if p[len(str(archive)) + 1] in "012"
    ]
    assert scan(f"{archive}/*/00*.dcm", TAGS).read_all()["path"].to_pylist() == [
        p for p in expected if os.path.basename(p).startswith("00")
    ]
    assert scan(f"{archive}/**", TAGS).read_all()["path"].to_pylist() == expected
    with pytest.raises(FileNotFoundError):
        scan(f"{archive}/*.nothing")


def test_one_file(archive):
    path = sorted_paths(archive)[0]
    for source in (path, os.fsencode(path), archive / path):
        assert scan(source, TAGS).read_all()["path"].to_pylist() == [path]


def test_invalid_sources(tmp_path):
    (tmp_path / "DICOMDIR").write_bytes(b"")
    with pytest.raises(ValueError, match="DICOMDIR"):
        scan(tmp_path / "DICOMDIR")
    with pytest.raises(FileNotFoundError):
        scan(tmp_path / "missing")
    with pytest.raises(TypeError, match=r"source must be a folder.*not int"):
        scan(3)
