"""The manifest of an index: what is written, which lines count, and what is deleted."""

import json
import os
import subprocess
import sys

import pyarrow.parquet
import pytest

import fastdcm
from fastdcm.errors import DicomError
from fastdcm.scanning.index.entries import list_name, list_number, part_name, part_number
from fastdcm.scanning.index.folder import open_index
from fastdcm.scanning.index.manifest import UPDATE, Manifest, remove_remains, write_lock
from support.index_folders import manifest_lines, write_manifest_lines

TAGS = ["InstanceNumber", "SOPInstanceUID", "ImageType"]


def test_numbers_in_names():
    assert (part_name(7), list_name(7)) == ("part-000007.parquet", "files-000007.parquet")
    for number in (1, 999_999, 1_234_567):
        assert part_number(part_name(number)) == list_number(list_name(number)) == number
    with pytest.raises(ValueError, match=r"'files-000001\.parquet' does not have the form"):
        part_number(list_name(1))


def test_what_is_written(index):
    head, *parts, last = map(json.loads, manifest_lines(index))
    assert head["fastdcm_index"] == 1
    assert head["parameters"] == {
        "tags": TAGS,
        "pixels": False,
        "hash": [],
        "on_error": "row",
        "parse_dates": False,
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


def test_a_line_without_an_end_does_not_count(index):
    complete = manifest_lines(index)
    size = len(complete[4])
    for length in (0, 1, size // 2, size - 2, size - 1):
        write_manifest_lines(index, [*complete[:4], complete[4][:length]])
        assert len(Manifest(index).parts) == 3
    write_manifest_lines(index, complete[:5])
    assert len(Manifest(index).parts) == 4
    # what some file systems leave behind after a power failure
    for rest in (
        bytes(40),
        bytes(40) + b"\n",
        b"{}\n",
        b'{"part":"part-000005.parquet"}\n',
        b"[]\n",
    ):
        write_manifest_lines(index, [*complete[:4], rest])
        current = Manifest(index)
        assert len(current.parts) == 3 and not current.complete
        current.append(json.loads(complete[4]))
        assert manifest_lines(index) == complete[:5]
        assert len(Manifest(index).parts) == 4


@pytest.mark.parametrize(
    "damage",
    [
        lambda complete: [],
        lambda complete: [complete[0][:50]],
        lambda complete: [b"{}\n", *complete[1:]],
        lambda complete: [b"\0" * 20 + b"\n", *complete[1:]],
        lambda complete: [
            complete[0].replace(b'"fastdcm_index":1', b'"fastdcm_index":99'),
            *complete[1:],
        ],
        lambda complete: [complete[0], b"nonsense\n", *complete[2:]],
        lambda complete: [complete[0], complete[1].replace(b"sha256", b"sha257"), *complete[2:]],
    ],
)
def test_a_damaged_manifest(index, damage, tmp_path):
    write_manifest_lines(index, damage(manifest_lines(index)))
    for attempt in (
        lambda: open_index(index),
        lambda: fastdcm.scan(str(tmp_path / "in"), TAGS).write(index),
    ):
        with pytest.raises(DicomError) as caught:
            attempt()
        assert caught.value.code == "index-damaged"
        assert caught.value.filename == os.path.join(index, "_fastdcm", "manifest.jsonl")


def test_a_new_manifest_replaces_the_old_one_atomically(index):
    current = Manifest(index)
    before = open_index(index)
    files = {**current.head["files"], "entries": 4}
    new = Manifest.create(index, {**current.head, "files": files}, UPDATE)
    for part in current.parts[2:]:
        new.append({**part, "entries": [entry - 6 for entry in part["entries"]]})
    new.append({"complete": True})
    assert open_index(index).rows == 10
    new.make_current()
    assert (len(new.parts), new.complete, new.next_part_number, new.next_entry) == (2, True, 5, 4)
    assert open_index(index).rows == 4
    assert before.rows == before.read_all().num_rows == 10
    remove_remains(index, new)
    assert sorted(os.listdir(index)) == ["_fastdcm", "part-000003.parquet", "part-000004.parquet"]


def test_only_remains_are_deleted(index):
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
    existing = sorted(
        os.path.join(folder, name) for folder, _, names in os.walk(index) for name in names
    )
    remove_remains(index, Manifest(index))
    left = sorted(
        os.path.join(folder, name) for folder, _, names in os.walk(index) for name in names
    )
    assert left == sorted(set(existing) - {os.path.join(index, name) for name in ours})
    assert open_index(index).verify() is None


def test_the_lock(tmp_path):
    (tmp_path / "_fastdcm").mkdir()
    with write_lock(tmp_path):
        with pytest.raises(DicomError) as caught, write_lock(tmp_path):
            pass
        assert caught.value.code == "index-in-use"
    with write_lock(tmp_path):
        pass
