"""Index folders that tests build and update, and what they must contain."""

import os
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

import fastdcm
from fastdcm.scanning.index.diff import entries_of
from fastdcm.scanning.index.folder import open_index
from fastdcm.scanning.index.manifest import Manifest
from support import builder as b

TAGS = ["SOPInstanceUID", "InstanceNumber", "ImageType"]
posix = pytest.mark.skipif(os.name == "nt", reason="needs signals and links of POSIX")

# ------------------------------------------------------------- building ---


def numbered_file(i):
    """Return a file with a number as its InstanceNumber and in its UID."""
    return b.part10(
        b.element(0x00080008, "CS", ["A", "B"][: i % 3])
        + b.element(0x00080018, "UI", f"1.2.{i}")
        + b.element(0x00200013, "IS", str(i))
    )


def fill(folder, count):
    """Write numbered files in folders of 100, every 97th empty."""
    for i in range(count):
        path = folder / f"{i // 100:02d}" / f"{i:04d}.dcm"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"" if i % 97 == 96 else numbered_file(i))


def scan(source, **options):
    return fastdcm.scan(source, TAGS, **{"batch_size": 64, **options})


def unnamed_files(index):
    """Return the files in an index that its manifest does not name."""
    manifest = Manifest(index)
    named = {os.path.abspath(path) for path, _ in manifest.files()}
    return [
        path
        for path in (
            os.path.abspath(os.path.join(folder, name))
            for folder, _, names in os.walk(index)
            for name in names
        )
        if path not in named and os.path.basename(path) not in ("manifest.jsonl", "lock")
    ]


def check_index(index, expected):
    """Assert that the index is complete and undamaged, and has these rows."""
    opened = open_index(index)
    assert opened.complete and opened.read_all().equals(expected)
    opened.verify()
    assert unnamed_files(index) == []


def manifest_lines(index):
    with open(f"{index}/_fastdcm/manifest.jsonl", "rb") as file:
        return file.read().splitlines(keepends=True)


def write_manifest_lines(index, lines):
    with open(f"{index}/_fastdcm/manifest.jsonl", "wb") as file:
        file.write(b"".join(lines))


# ------------------------------------------------------------- updating ---


def put_file(path, number="0", mtime=1_600_000_000):
    """Write a numbered file with a modification time in seconds."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(numbered_file(int(number)))
    os.utime(path, ns=(0, mtime * 10**9))


def blank_files(folder):
    """Fill all files with zeros, of the same size and time: only opening one shows it."""
    for path in folder.rglob("*"):
        if path.is_file():
            status = path.stat()
            path.write_bytes(bytes(status.st_size))
            os.utime(path, ns=(0, status.st_mtime_ns))


def scan_in_small_batches(source, **options):
    return fastdcm.scan(str(source), TAGS, **{"batch_size": 5, "threads": 2, **options})


def update_index(source, index, **options):
    """Update an index, and return the numbers of files same, changed, new and gone."""
    stats = scan_in_small_batches(source, **options).write(f"{index}/", update=True)
    return tuple(stats[what] for what in ("same", "changed", "new", "gone"))


def check_updated_index(index, expected):
    """Assert that the index is complete and undamaged, and has these rows.

    Also for readers that read all Parquet files in the folder.
    """
    opened = open_index(index)
    assert opened.complete and opened.read_all().equals(expected)
    opened.verify()
    by_name = pyarrow.parquet.read_table(sorted(map(str, Path(index).glob("*.parquet"))))
    assert by_name.sort_by("path").equals(expected.sort_by("path"))
    manifest = Manifest(str(index))
    existing = {path.name for path in Path(index).rglob("*") if path.is_file()}
    assert existing == {os.path.basename(path) for path, _ in manifest.files()} | {
        "manifest.jsonl",
        "lock",
    }
    at = 0
    for part in manifest.parts:
        assert part["entries"][0] == at
        at = part["entries"][1]
    assert at == manifest.head["files"]["entries"] == opened.listed
    for what, count in (("files", opened.rows), ("errors", opened.errors)):
        assert sum(part[what] for part in manifest.parts) == count
    errors = expected.column("error")
    assert opened.errors == len(errors) - errors.null_count
    issues = sum(len(x or ()) for x in expected.column("issues").to_pylist())
    assert sum(part["issues"] for part in manifest.parts) == issues


def check_rows_of_parts(index):
    """Assert that each part has rows of its own files, and of no others."""
    manifest = Manifest(str(index))
    for part in manifest.parts:
        rows = pyarrow.parquet.read_table(index / part["part"]).column("path").to_pylist()
        assert len(rows) == part["rows"]
        files = [
            os.fsdecode(path)
            for chunk in entries_of(manifest, *part["entries"])
            for path in chunk.paths()
        ]
        assert part["paths"] == [files[0], files[-1]]
        assert all(row in files or row.rpartition("!/")[0] in files for row in rows)


def expected_rows(rows, folder, changed=(), gone=()):
    """Return the rows before, with those of changed and new files from a new scan."""
    touched = {str(folder / name) for name in (*changed, *gone)}
    kept = [row for row in rows.to_pylist() if row["path"] not in touched]
    fresh = fastdcm.scan([str(folder / name) for name in changed], TAGS).read_all().to_pylist()
    both = sorted(kept + fresh, key=lambda row: row["path"].encode())
    return pyarrow.Table.from_pylist(both, rows.schema)


# One changed file, and new files: in a part that becomes three parts, and after the last.
CHANGED = [
    "0/03.dcm",
    *(f"3/33{i:02}.dcm" for i in range(11)),
    *(f"9/{i:02}.dcm" for i in range(12)),
]


CHANGE_COUNTS = 58, 1, 23, 1


def make_changes(folder):
    """Change files in all of the tree; `update_index` then returns CHANGE_COUNTS."""
    for i, name in enumerate(CHANGED):
        put_file(folder / name, str(i), 44)
    (folder / "3/35.dcm").unlink()


def read_parts(index):
    return {part.name: part.read_bytes() for part in Path(index).glob("*.parquet")}
