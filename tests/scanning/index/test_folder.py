"""Reading index folders, complete ones and those that are being written."""

import os

import pyarrow
import pyarrow.dataset
import pytest

import fastdcm
from fastdcm.errors import DicomError
from fastdcm.scanning.index.folder import open_index
from support.index_folders import manifest_lines, write_manifest_lines

TAGS = ["InstanceNumber", "SOPInstanceUID", "ImageType"]


def test_open_index(index, tmp_path):
    opened = fastdcm.open_index(index)
    expected = fastdcm.scan(str(tmp_path / "in"), TAGS).read_all()
    assert opened.read_all().equals(expected)
    assert opened.schema.equals(expected.schema)
    assert (opened.rows, opened.errors, opened.complete, len(opened)) == (10, 2, True, 10)
    assert (opened.read, opened.listed) == (10, 10)
    assert opened.parts == [os.path.join(index, f"part-00000{i}.parquet") for i in (1, 2, 3, 4)]
    assert opened.parameters["tags"] == TAGS
    assert pyarrow.table(opened).equals(expected)
    assert opened.dataset().to_table().equals(expected)
    assert opened.dataset().to_table(columns=["path"]).num_columns == 1
    assert opened.verify() is None
    assert repr(opened) == f"<IndexFolder {index!r}: 10 rows, complete>"
    assert fastdcm.open_index(tmp_path / "index").rows == 10
    # readers of Parquet data sets, which ignore the manifest
    assert pyarrow.dataset.dataset(index, format="parquet").to_table().equals(expected)


def test_other_libraries_read_an_index(index, tmp_path):
    duckdb, polars = pytest.importorskip("duckdb"), pytest.importorskip("polars")
    opened = open_index(index)
    assert duckdb.sql("SELECT count(*), count(error) FROM opened").fetchall() == [(10, 2)]
    assert duckdb.sql(f"SELECT sum(InstanceNumber) FROM '{index}/*.parquet'").fetchall() == [(36,)]
    assert polars.DataFrame(opened).equals(polars.read_parquet(f"{index}/*.parquet"))


def test_only_parts_in_the_manifest_are_read(index):
    write_manifest_lines(index, manifest_lines(index)[:3])  # two parts, not complete
    with open(f"{index}/part-000009.parquet", "wb") as file:
        file.write(b"half of a part")
    opened = open_index(index)
    assert (opened.rows, opened.complete, opened.read, opened.listed) == (6, False, 6, 10)
    assert opened.read_all().num_rows == opened.dataset().to_table().num_rows == 6
    assert repr(opened) == f"<IndexFolder {index!r}: 6 rows, 6 of 10 files read>"
    opened.verify()


def test_an_index_without_parts_has_its_schema(index, tmp_path):
    write_manifest_lines(index, manifest_lines(index)[:1])
    opened = open_index(index)
    expected = fastdcm.scan([], TAGS).read_all().schema
    assert opened.schema.equals(expected) and opened.read_all().schema.equals(expected)
    assert pyarrow.table(opened).num_rows == opened.dataset().count_rows() == 0


def test_verify_compares_every_byte(index):
    opened = open_index(index)
    for name in ("part-000003.parquet", "_fastdcm/files-000001.parquet"):
        path = os.path.join(index, name)
        with open(path, "rb") as file:
            raw = file.read()
        for wrong in (raw[:-1], raw[:100] + bytes([raw[100] ^ 1]) + raw[101:], None):
            os.unlink(path)
            if wrong is not None:
                with open(path, "wb") as file:
                    file.write(wrong)
            with pytest.raises(DicomError) as caught:
                opened.verify()
            assert (caught.value.code, caught.value.filename) == ("index-damaged", path)
            with open(path, "wb") as file:
                file.write(raw)
    opened.verify()


def test_folders_that_are_not_indexes(tmp_path):
    with pytest.raises(FileNotFoundError):
        open_index(tmp_path / "none")
    with pytest.raises(ValueError, match="not an index folder"):
        open_index(tmp_path)
    (tmp_path / "_fastdcm").mkdir()
    with pytest.raises(ValueError, match="not been listed to the end"):
        open_index(tmp_path)
    with pytest.raises(ValueError, match="not been listed to the end"):
        fastdcm.scan(tmp_path)


def test_an_index_is_a_source(index, tmp_path):
    rescanned = fastdcm.scan(index, ["SOPInstanceUID"])
    expected = fastdcm.scan(str(tmp_path / "in"), ["SOPInstanceUID"]).read_all()
    assert rescanned.read_all().equals(expected)
    assert rescanned.read_all().equals(expected)
    write_manifest_lines(index, manifest_lines(index)[:3])
    assert fastdcm.scan(index, []).read_all().num_rows == 6
    fastdcm.scan(index, ["SOPInstanceUID"]).write(f"{tmp_path}/second/")
    assert open_index(tmp_path / "second").read_all().equals(expected[:6])
