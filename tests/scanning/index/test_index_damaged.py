"""Damaged index folders: a typed error when they are opened, and nothing is written."""

import hashlib
import json
import os
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

import fastdcm
from fastdcm.errors import DicomError
from fastdcm.scanning.index.folder import open_index
from support.index_folders import manifest_lines, write_manifest_lines

TAGS = ["InstanceNumber", "SOPInstanceUID", "ImageType"]
LIST = os.path.join("_fastdcm", "files-000001.parquet")
#: Values of every type that JSON has, and numbers at the limits.
VALUES = [
    None,
    True,
    -1,
    2**63,
    10**400,
    0.5,
    "",
    "x",
    "../part-000001.parquet",
    "/part-000001.parquet",
    "part-000001.parquet/../../x",
    "part-\u0661.parquet",
    [],
    [None],
    [-1, 3],
    [3, 0],
    [0, 2**70],
    {},
    {"name": "../files-000001.parquet"},
]


def change_line(index, number, names, value):
    """Replace a field of a line of the manifest; `names` is its path."""
    lines = manifest_lines(index)
    entry = json.loads(lines[number])
    parent = entry
    for name in names[:-1]:
        parent = parent[name]
    same = parent[names[-1]] == value
    parent[names[-1]] = value
    lines[number] = json.dumps(entry).encode() + b"\n"
    write_manifest_lines(index, lines)
    return same


def rewrite_list(index, change):
    """Change the list of files, with the right size and checksum in the manifest."""
    path = os.path.join(index, LIST)
    change(path)
    with open(path, "rb") as file:
        data = file.read()
    change_line(index, 0, ["files", "bytes"], len(data))
    change_line(index, 0, ["files", "sha256"], hashlib.sha256(data).hexdigest())


def attempts(index):
    yield lambda: open_index(index).read_all()
    for update in (False, True):
        yield lambda update=update: fastdcm.scan(
            os.path.join(os.path.dirname(index), "in"), TAGS, threads=1
        ).write(index, update=update)


def names_in(index):
    return sorted(os.listdir(os.path.dirname(index)) + os.listdir(index))


HEAD_FIELDS = [
    ("parameters",),
    ("parameters", "tags"),
    ("parameters", "pixels"),
    ("parameters", "hash"),
    ("parameters", "on_error"),
    ("parameters", "parse_dates"),
    ("folder",),
    ("files",),
    ("files", "name"),
    ("files", "entries"),
    ("files", "bytes"),
    ("files", "sha256"),
    ("schema",),
]
PART_FIELDS = ["part", "rows", "files", "errors", "issues", "entries", "paths", "bytes", "sha256"]
#: Values that are valid, although they are not those of the index.
PLAUSIBLE = {
    (("parameters", "tags"), "[]"),
    (("parameters", "pixels"), "true"),
    (("parameters", "hash"), "[]"),
    (("parameters", "parse_dates"), "true"),
    *((("parameters", "on_error"), json.dumps(v)) for v in VALUES if isinstance(v, str)),
    *((("folder",), json.dumps(v)) for v in VALUES if v is None or isinstance(v, str)),
    (("paths",), "[]"),
}


@pytest.mark.parametrize(
    ("line", "names"),
    [*((0, names) for names in HEAD_FIELDS), *((2, (name,)) for name in PART_FIELDS)],
)
def test_every_field_is_checked(index, line, names):
    before, lines = names_in(index), manifest_lines(index)
    for value in VALUES:
        write_manifest_lines(index, lines)
        same = change_line(index, line, names, value)
        if same or (names, json.dumps(value)) in PLAUSIBLE:
            continue
        for attempt in attempts(index):
            with pytest.raises(DicomError) as caught:
                attempt()
            assert caught.value.code == "index-damaged", (names, value)
        assert names_in(index) == before


@pytest.mark.parametrize(
    "change",
    [
        lambda lines: [lines[0], *lines[2:]],  # entries are missing
        lambda lines: [*lines[:2], lines[1], *lines[2:]],  # a part twice
        lambda lines: [lines[0], lines[2], lines[1], *lines[3:]],  # another order
        lambda lines: [*lines, lines[-1]],  # complete twice, and a line after it
        lambda lines: [b"[" * 100_000 + b"\n", *lines[1:]],
        lambda lines: [lines[0], b"\xff\xfe\n", *lines[1:]],
    ],
)
def test_lines_in_the_wrong_place(index, change):
    lines = change(manifest_lines(index))
    write_manifest_lines(index, [*lines, b'{"complete":true}\n'])
    for attempt in attempts(index):
        with pytest.raises(DicomError) as caught:
            attempt()
        assert caught.value.code == "index-damaged"


@pytest.mark.parametrize("parts", [0, 2, 4])
@pytest.mark.parametrize(
    "change",
    [
        lambda path: pyarrow.parquet.write_table(pyarrow.parquet.read_table(path)[:6], path),
        lambda path: pyarrow.parquet.write_table(
            pyarrow.concat_tables([pyarrow.parquet.read_table(path)] * 2), path
        ),
        lambda path: pyarrow.parquet.write_table(pyarrow.table({"path": ["a"] * 10}), path),
        lambda path: Path(path).write_bytes(b"PAR1" * 10),
        lambda path: Path(path).write_bytes(b""),
    ],
    ids=["cut", "longer", "other columns", "no Parquet", "empty"],
)
def test_a_list_that_is_not_the_one_of_the_manifest(index, change, parts):
    rewrite_list(index, change)
    write_manifest_lines(index, manifest_lines(index)[: 1 + parts])
    before = names_in(index)
    for update in (False, True):
        with pytest.raises(DicomError) as caught:
            fastdcm.scan(os.path.join(os.path.dirname(index), "in"), TAGS, threads=1).write(
                index, update=update
            )
        assert caught.value.code == "index-damaged"
        assert caught.value.filename == os.path.join(index, LIST)
    assert names_in(index) == before


def test_a_list_with_fewer_entries_than_the_manifest_says(index):
    change_line(index, 0, ["files", "entries"], 11)
    write_manifest_lines(index, manifest_lines(index)[:1])
    with pytest.raises(DicomError) as caught:
        fastdcm.scan(os.path.join(os.path.dirname(index), "in"), TAGS, threads=1).write(index)
    assert caught.value.code == "index-damaged"


@pytest.mark.parametrize(
    "change",
    [
        lambda path: os.unlink(path),
        lambda path: Path(path).write_bytes(b""),
        lambda path: Path(path).write_bytes(b"PAR1" * 30),
        lambda path: pyarrow.parquet.write_table(pyarrow.parquet.read_table(path)[:1], path),
        lambda path: pyarrow.parquet.write_table(pyarrow.table({"path": ["a"] * 3}), path),
    ],
    ids=["missing", "empty", "no Parquet", "cut", "other columns"],
)
def test_a_part_that_is_not_the_one_of_the_manifest(index, change):
    change(os.path.join(index, "part-000002.parquet"))
    for attempt in attempts(index):
        with pytest.raises(DicomError) as caught:
            attempt()
        assert caught.value.code == "index-damaged"
        assert caught.value.filename == os.path.join(index, "part-000002.parquet")
