"""The index folder on the disk: what is believed of a manifest, what a reader
sees, and what is deleted."""

import json
import os
import subprocess
import sys

import pyarrow
import pyarrow.dataset
import pyarrow.parquet
import pytest

import fastdcm
from fastdcm.errors import DicomError
from fastdcm.scanning.index import build, manifest
from fastdcm.scanning.index.manifest import Manifest, open_index
from support import builder as b

TAGS = ["InstanceNumber", "SOPInstanceUID", "ImageType"]


@pytest.fixture
def index(tmp_path, monkeypatch):
    """An index of 10 files in parts of 3, two of them in error."""
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
    fastdcm.scan(str(folder), TAGS).write(f"{tmp_path}/index/")
    return str(tmp_path / "index")


def lines(index):
    with open(f"{index}/_fastdcm/manifest.jsonl", "rb") as file:
        return file.read().splitlines(keepends=True)


def put_lines(index, new):
    with open(f"{index}/_fastdcm/manifest.jsonl", "wb") as file:
        file.write(b"".join(new))


def test_what_is_written(index):
    head, *parts, last = map(json.loads, lines(index))
    assert head["fastdcm_index"] == 1
    assert head["parameters"] == {
        "tags": TAGS,
        "pixels": False,
        "hash": [],
        "on_error": "row",
        "source": [{"path": os.path.join(os.path.dirname(index), "in"), "recursive": True}],
    }
    assert head["folder"] is None  # paths are absolute
    assert head["files"]["name"] == "files-000001.parquet" and head["files"]["entries"] == 10
    assert [part["part"] for part in parts] == [f"part-00000{i}.parquet" for i in (1, 2, 3, 4)]
    assert [part["entries"] for part in parts] == [[0, 3], [3, 6], [6, 9], [9, 10]]
    assert [part["rows"] for part in parts] == [part["files"] for part in parts] == [3, 3, 3, 1]
    assert [part["errors"] for part in parts] == [1, 0, 1, 0]
    assert [os.path.basename(path) for path in parts[1]["paths"]] == ["3.dcm", "5.dcm"]
    assert last == {"complete": True}
    for line in (head["files"], *parts):
        name = line.get("part") or os.path.join("_fastdcm", line["name"])
        done = subprocess.run(
            [
                sys.executable,
                "-c",
                "import hashlib, sys; "
                "print(hashlib.sha256(open(sys.argv[1], 'rb').read()).hexdigest())",
                os.path.join(index, name),
            ],
            capture_output=True,
            text=True,
        )
        assert line["sha256"] == done.stdout.strip()
        assert line["bytes"] == os.path.getsize(os.path.join(index, name))


def test_the_list_of_files(index):
    table = pyarrow.parquet.read_table(f"{index}/_fastdcm/files-000001.parquet")
    assert [str(field.type) for field in table.schema] == ["binary", "int64", "int64", "int32"]
    for path, size, mtime_ns, error in zip(
        *(table[name].to_pylist() for name in table.column_names)
    ):
        found = os.stat(path)
        assert (found.st_size, found.st_mtime_ns, error) == (size, mtime_ns, None)


def test_a_reader(index, tmp_path):
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
    # as it is: readers of Parquet that know nothing of a manifest
    assert pyarrow.dataset.dataset(index, format="parquet").to_table().equals(expected)


def test_other_libraries_read_an_index(index, tmp_path):
    duckdb, polars = pytest.importorskip("duckdb"), pytest.importorskip("polars")
    opened = open_index(index)
    assert duckdb.sql("SELECT count(*), count(error) FROM opened").fetchall() == [(10, 2)]
    assert duckdb.sql(f"SELECT sum(InstanceNumber) FROM '{index}/*.parquet'").fetchall() == [(36,)]
    assert polars.DataFrame(opened).equals(polars.read_parquet(f"{index}/*.parquet"))


def test_a_reader_sees_only_what_is_named(index):
    put_lines(index, lines(index)[:3])  # two parts, not complete
    with open(f"{index}/part-000009.parquet", "wb") as file:
        file.write(b"half of someth")
    opened = open_index(index)
    assert (opened.rows, opened.complete, opened.read, opened.listed) == (6, False, 6, 10)
    assert opened.read_all().num_rows == opened.dataset().to_table().num_rows == 6
    assert repr(opened) == f"<IndexFolder {index!r}: 6 rows, 6 of 10 files read>"
    opened.verify()


def test_an_index_without_parts_has_its_schema(index, tmp_path):
    put_lines(index, lines(index)[:1])
    opened = open_index(index)
    expected = fastdcm.scan([], TAGS).read_all().schema
    assert opened.schema.equals(expected) and opened.read_all().schema.equals(expected)
    assert pyarrow.table(opened).num_rows == opened.dataset().count_rows() == 0


def test_a_line_that_does_not_end_is_none(index):
    whole = lines(index)
    size = len(whole[4])
    for cut in (0, 1, size // 2, size - 2, size - 1):
        put_lines(index, [*whole[:4], whole[4][:cut]])
        assert len(Manifest(index).parts) == 3
    put_lines(index, whole[:5])
    assert len(Manifest(index).parts) == 4
    # what some file systems leave behind when the power is cut
    for rest in (
        bytes(40),
        bytes(40) + b"\n",
        b"{}\n",
        b'{"part":"part-000005.parquet"}\n',
        b"[]\n",
    ):
        put_lines(index, [*whole[:4], rest])
        book = Manifest(index)
        assert len(book.parts) == 3 and not book.complete
        book.append(json.loads(whole[4]))
        assert lines(index) == whole[:5]
        assert len(Manifest(index).parts) == 4


@pytest.mark.parametrize(
    "damage",
    [
        lambda whole: [],
        lambda whole: [whole[0][:50]],
        lambda whole: [b"{}\n", *whole[1:]],
        lambda whole: [b"\0" * 20 + b"\n", *whole[1:]],
        lambda whole: [whole[0].replace(b'"fastdcm_index":1', b'"fastdcm_index":99'), *whole[1:]],
        lambda whole: [whole[0], b"nonsense\n", *whole[2:]],
        lambda whole: [whole[0], whole[1].replace(b"sha256", b"sha257"), *whole[2:]],
    ],
)
def test_a_manifest_that_cannot_be(index, damage, tmp_path):
    put_lines(index, damage(lines(index)))
    for attempt in (
        lambda: open_index(index),
        lambda: fastdcm.scan(str(tmp_path / "in"), TAGS).write(index),
    ):
        with pytest.raises(DicomError) as caught:
            attempt()
        assert caught.value.code == "index-damaged"
        assert caught.value.filename == os.path.join(index, "_fastdcm", "manifest.jsonl")


def test_verify_looks_at_every_byte(index):
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


def test_a_new_manifest_takes_the_place_of_the_old_at_once(index):
    book = Manifest(index)
    before = open_index(index)
    new = Manifest.create(index, book.head, manifest.UPDATE)
    for part in book.parts[2:]:
        new.append(part)
    new.append({"complete": True})
    assert open_index(index).rows == 10
    new.take_place()
    assert (len(new.parts), new.complete, new.next_number, new.next_entry) == (2, True, 5, 10)
    assert open_index(index).rows == 4
    assert before.rows == before.read_all().num_rows == 10
    manifest.sweep(index, new)
    assert sorted(os.listdir(index)) == ["_fastdcm", "part-000003.parquet", "part-000004.parquet"]


def test_only_what_is_ours_is_swept_away(index):
    ours = [
        "part-000005.parquet",
        "part-1234567.parquet",
        "_fastdcm/files-000002.parquet",
        "_fastdcm/part-000005.parquet.1f-0123abcd.tmp",
        "_fastdcm/files-000001.parquet.1f-0123abcd.tmp",
        "_fastdcm/manifest.jsonl.1f-0123abcd.tmp",
        "_fastdcm/update.jsonl.1f-0123abcd.tmp",
    ]
    others = [
        "notes.txt",
        "part-a.parquet",
        "x-part-000005.parquet",
        "parts.parquet",
        "part-000005.parquet.gz",
        "_fastdcm/notes",
        "_fastdcm/lock",
    ]
    for name in ours + others:
        open(os.path.join(index, name), "wb").close()
    there = sorted(
        os.path.join(folder, name) for folder, _, names in os.walk(index) for name in names
    )
    manifest.sweep(index, Manifest(index))
    left = sorted(
        os.path.join(folder, name) for folder, _, names in os.walk(index) for name in names
    )
    assert left == sorted(set(there) - {os.path.join(index, name) for name in ours})
    assert open_index(index).verify() is None


def test_places_where_there_is_no_index(tmp_path):
    with pytest.raises(FileNotFoundError):
        open_index(tmp_path / "none")
    with pytest.raises(ValueError, match="no index folder"):
        open_index(tmp_path)
    (tmp_path / "_fastdcm").mkdir()
    with pytest.raises(ValueError, match="not been listed to the end"):
        open_index(tmp_path)
    with pytest.raises(ValueError, match="not been listed to the end"):
        fastdcm.scan(tmp_path)


def test_the_lock(tmp_path):
    (tmp_path / "_fastdcm").mkdir()
    with manifest.locked(tmp_path):
        with pytest.raises(DicomError) as caught, manifest.locked(tmp_path):
            pass
        assert caught.value.code == "index-in-use"
    with manifest.locked(tmp_path):
        pass


def test_an_index_is_a_source(index, tmp_path):
    rescanned = fastdcm.scan(index, ["SOPInstanceUID"])
    expected = fastdcm.scan(str(tmp_path / "in"), ["SOPInstanceUID"]).read_all()
    assert rescanned.read_all().equals(expected)
    assert rescanned.read_all().equals(expected)
    put_lines(index, lines(index)[:3])
    assert fastdcm.scan(index, []).read_all().num_rows == 6
    fastdcm.scan(index, ["SOPInstanceUID"]).write(f"{tmp_path}/second/")
    assert open_index(tmp_path / "second").read_all().equals(expected[:6])
