"""Updates: the rows are those of a new scan, and unchanged files are not opened."""

import json
import os
import random
import shutil
import sys
import zipfile

import pyarrow.dataset
import pytest

import fastdcm
from fastdcm.errors import DicomError
from fastdcm.scanning.index.folder import open_index
from fastdcm.scanning.index.manifest import Manifest
from support import builder as b
from support.index_folders import (
    CHANGE_COUNTS,
    TAGS,
    blank_files,
    check_rows_of_parts,
    check_updated_index,
    expected_rows,
    make_changes,
    posix,
    put_file,
    read_parts,
    scan_in_small_batches,
    update_index,
)

pytestmark = pytest.mark.usefixtures("tiny_parts")


def test_nothing_has_changed(tree):
    folder, index, rows = tree

    def files():
        return {
            path: (path.stat().st_ino, path.stat().st_mtime_ns)
            for path in index.rglob("*")
            if path.is_file()
        }

    before = files()
    assert update_index(folder, index) == (60, 0, 0, 0)
    check_updated_index(index, rows)
    assert files() == before


@pytest.mark.parametrize("threads", [1, 2, None])
def test_changed_new_and_deleted_files(tree, threads):
    folder, index, rows = tree
    put_file(folder / "1/11.dcm", "911")  # size and time
    put_file(folder / "2/22.dcm", "23", 1_700_000_000)  # only time
    put_file(folder / "3/33.dcm", "1", 1_600_000_000)  # only size
    put_file(folder / "3/330.dcm", "330")
    put_file(folder / "0/-.dcm", "1")
    put_file(folder / "z.dcm", "2")
    (folder / "4/44.dcm").unlink()
    (folder / "4/45.dcm").rename(folder / "5/5x.dcm")
    put_file(folder / "5/5x.dcm", "45")
    changed = "1/11.dcm", "2/22.dcm", "3/33.dcm", "3/330.dcm", "0/-.dcm", "z.dcm", "5/5x.dcm"
    before = read_parts(index)
    assert update_index(folder, index, threads=threads) == (55, 3, 4, 2)
    check_updated_index(index, expected_rows(rows, folder, changed, ["4/44.dcm", "4/45.dcm"]))
    # numbers are not reused, and unchanged parts keep their files
    assert all(before[name] == data for name, data in read_parts(index).items() if name in before)
    assert update_index(folder, index) == (62, 0, 0, 0)


@pytest.mark.parametrize("name", ["0/00.dcm", "0/01.dcm", "0/07.dcm", "1/10.dcm", "5/59.dcm"])
def test_one_file(tree, name):
    """In the first part or the last, at its edges or inside."""
    folder, index, rows = tree
    put_file(folder / name, "77", 5)
    assert update_index(folder, index) == (59, 1, 0, 0)
    expected = expected_rows(rows, folder, [name])
    check_updated_index(index, expected)
    assert len(open_index(index).parts) == 8
    (folder / name).unlink()
    blank_files(folder)
    assert update_index(folder, index) == (59, 0, 0, 1)
    check_updated_index(index, expected_rows(expected, folder, gone=[name]))
    put_file(folder / name, "77", 5)
    assert update_index(folder, index) == (59, 0, 1, 0)
    check_updated_index(index, expected)


def test_only_parts_with_changes_are_rewritten(tree):
    folder, index, _ = tree
    before = read_parts(index)
    put_file(folder / "2/20.dcm", "77", 5)  # the 21st: in the third part
    update_index(folder, index)
    assert sorted(before.keys() - read_parts(index).keys()) == ["part-000003.parquet"]
    assert sorted(read_parts(index).keys() - before.keys()) == ["part-000009.parquet"]


def test_new_and_deleted_folders(tree):
    folder, index, rows = tree
    shutil.rmtree(folder / "2")
    shutil.rmtree(folder / "5")
    for i in range(30):
        put_file(folder / f"25/{i:02}.dcm", str(i))
    assert update_index(folder, index) == (40, 0, 30, 20)
    gone = [f"{i // 10}/{i}.dcm" for i in (*range(20, 30), *range(50, 60))]
    check_updated_index(
        index, expected_rows(rows, folder, [f"25/{i:02}.dcm" for i in range(30)], gone)
    )
    assert all(part["rows"] <= 8 for part in Manifest(str(index)).parts)


def test_a_file_becomes_a_folder_and_a_folder_a_file(tree):
    folder, index, rows = tree
    (folder / "1/15.dcm").unlink()
    put_file(folder / "1/15.dcm/x", "15")
    shutil.rmtree(folder / "3")
    put_file(folder / "3", "3")
    (folder / "empty").mkdir()
    assert update_index(folder, index) == (49, 0, 2, 11)
    gone = ["1/15.dcm", *(f"3/{i}.dcm" for i in range(30, 40))]
    check_updated_index(index, expected_rows(rows, folder, ["1/15.dcm/x", "3"], gone))
    assert update_index(folder, index) == (51, 0, 0, 0)


def test_all_files_have_changed(tree):
    folder, index, rows = tree
    names = [f"{i // 10}/{i:02}.dcm" for i in range(60)]
    for name in names:
        put_file(folder / name, "6", 9)
    assert update_index(folder, index) == (0, 60, 0, 0)
    check_updated_index(index, expected_rows(rows, folder, names))
    for name in names[:30]:
        (folder / name).rename(folder / f"{name}x")
    assert update_index(folder, index) == (30, 0, 30, 30)
    check_updated_index(index, scan_in_small_batches(folder).read_all())


def test_all_files_are_gone(tree):
    folder, index, rows = tree
    before = read_parts(index)
    shutil.rmtree(folder)
    folder.mkdir()
    with pytest.raises(FileNotFoundError, match="no file can be found"):
        update_index(folder, index)
    assert read_parts(index) == before
    check_updated_index(index, rows)


def test_an_index_of_no_files(tmp_path):
    """It has one part, which is replaced when there are files."""
    folder, index = tmp_path / "in", tmp_path / "index"
    folder.mkdir()
    assert update_index(folder, index) == (0, 0, 0, 0)
    assert update_index(folder, index) == (0, 0, 0, 0)
    check_updated_index(index, scan_in_small_batches(folder).read_all())
    put_file(folder / "a")
    assert update_index(folder, index) == (0, 0, 1, 0)
    check_updated_index(index, scan_in_small_batches(folder).read_all())


def test_small_parts_are_merged(tmp_path):
    folder, index = tmp_path / "in", tmp_path / "index"
    for i in range(40):
        put_file(folder / f"{i:02}", str(i))
        assert update_index(folder, index) == (i, 0, 1, 0)
    check_updated_index(index, scan_in_small_batches(folder).read_all())
    assert len(open_index(index).parts) == 5
    for i in random.Random(1).sample(range(40), 34):
        (folder / f"{i:02}").unlink()
        update_index(folder, index)
    check_updated_index(index, scan_in_small_batches(folder).read_all())
    assert len(open_index(index).parts) <= 2
    for i in random.Random(2).sample(range(40), 40):
        put_file(folder / f"{i:02}x", str(i))
        update_index(folder, index)
    check_updated_index(index, scan_in_small_batches(folder).read_all())
    assert len(open_index(index).parts) <= 2 * 46 // 8 + 1


@posix
def test_folders_that_cannot_be_listed(tree):
    folder, index, rows = tree
    (folder / "1/up").symlink_to("..")  # a cycle
    assert update_index(folder, index) == (60, 0, 1, 0)
    expected = scan_in_small_batches(folder).read_all()
    assert expected.column("error").to_pylist().count("walk") == 1
    assert update_index(folder, index) == (61, 0, 0, 0)
    assert [
        row["path"] for row in open_index(index).read_all().to_pylist() if row["error"] == "walk"
    ] == [str(folder / "1/up")]
    (folder / "1/up").unlink()
    assert update_index(folder, index) == (60, 0, 0, 1)
    check_updated_index(index, rows)


@posix
def test_links(tree):
    folder, index, rows = tree
    put_file(folder.parent / "elsewhere/a.dcm", "1")
    (folder / "link").symlink_to(folder.parent / "elsewhere")
    (folder / "broken").symlink_to("nowhere")
    assert update_index(folder, index) == (60, 0, 2, 0)
    assert update_index(folder, index) == (62, 0, 0, 0)
    put_file(folder.parent / "elsewhere/a.dcm", "22", 5)
    put_file(folder / "nowhere", "1")
    assert update_index(folder, index) == (60, 2, 1, 0)
    check_updated_index(index, expected_rows(rows, folder, ["link/a.dcm", "broken", "nowhere"]))


def test_an_index_inside_the_folder(tmp_path):
    for i in range(20):
        put_file(tmp_path / f"{i:02}.dcm", str(i))
    index = tmp_path / "05"
    assert update_index(tmp_path, index) == (0, 0, 20, 0)
    expected = open_index(index).read_all()
    assert update_index(tmp_path, index) == (20, 0, 0, 0)
    check_updated_index(index, expected)
    put_file(tmp_path / "part-1.dcm", "7")
    put_file(tmp_path / "04.dcm", "7", 5)
    assert update_index(tmp_path, index) == (19, 1, 1, 0)
    check_updated_index(index, expected_rows(expected, tmp_path, ["part-1.dcm", "04.dcm"]))


@pytest.mark.skipif(sys.platform != "linux", reason="the file system accepts only UTF-8 names")
def test_names_that_are_not_utf8(tmp_path):
    folder, index = tmp_path / "in", tmp_path / "index"
    names = [
        os.fsdecode(name) for name in (b"a", b"caf\xe9", b"file:x", b"z\xff/y", "\u00e9".encode())
    ]
    for name in names:
        put_file(folder / name, "3")
    update_index(folder, index)
    expected = open_index(index).read_all()
    blank_files(folder)
    put_file(folder / "b", "4")
    assert update_index(folder, index) == (5, 0, 1, 0)
    assert [row["path"] for row in open_index(index).read_all().to_pylist()][1] == str(folder / "b")
    (folder / "b").unlink()
    assert update_index(folder, index) == (5, 0, 0, 1)
    check_updated_index(index, expected)
    os.utime(folder / names[1], ns=(0, 0))
    assert update_index(folder, index) == (4, 1, 0, 0)
    assert open_index(index).errors == 1  # it contains zeros now, and is read


@pytest.mark.parametrize("on_error", ["skip", "raise"])
def test_on_error(tree, tmp_path, on_error):
    folder, _, _ = tree
    index = tmp_path / "other"
    for i in range(60):
        put_file(folder / f"{i // 10}/{i:02}.dcm", str(i))
    update_index(folder, index, on_error=on_error)
    (folder / "1/11.dcm").write_bytes(b"")
    put_file(folder / "1/12.dcm", "112")
    if on_error == "raise":
        with pytest.raises(DicomError, match="empty"):
            update_index(folder, index, on_error=on_error)
        with pytest.raises(DicomError, match="empty"):  # the list has been made, and is used
            put_file(folder / "1/11.dcm", "11", 8)
            (folder / "1/11.dcm").write_bytes(b"")
            update_index(folder, index, on_error=on_error)
        put_file(folder / "1/11.dcm", "11", 8)
        update_index(folder, index, on_error=on_error)
        check_updated_index(index, scan_in_small_batches(folder).read_all())
        return
    assert update_index(folder, index, on_error=on_error) == (58, 2, 0, 0)
    opened = open_index(index)
    assert (opened.rows, opened.errors, opened.listed) == (59, 1, 60)
    assert opened.read_all().equals(scan_in_small_batches(folder, on_error="skip").read_all())
    blank_files(folder)
    shutil.rmtree(folder / "0")
    assert update_index(folder, index, on_error=on_error) == (50, 0, 0, 10)
    assert (open_index(index).rows, open_index(index).errors) == (49, 1)
    for path in folder.rglob("*.dcm"):
        path.write_bytes(b"")
    assert update_index(folder, index, on_error=on_error) == (0, 50, 0, 0)
    assert (open_index(index).rows, open_index(index).errors) == (0, 50)


def test_columns_of_every_kind(tree, tmp_path):
    """Lists, bytes, and the positions of pixel data and frames."""
    folder, index = tree[0], tmp_path / "wide"
    tags = [
        "ImageType",
        "PixelSpacing",
        "RedPaletteColorLookupTableData",
        "SharedFunctionalGroupsSequence[*].PixelMeasuresSequence[*].PixelSpacing",
    ]
    spacing = b.element(0x00280030, "DS", "1\\2")
    raw = b.part10(
        b.element(0x00280008, "IS", "2")
        + spacing
        + b.element(0x00281201, "OW", bytes(6))
        + b.sequence(0x52009229, [b.sequence(0x00289110, [spacing, spacing])] * 2)
        + b.fragments([b"abcd", b"efgh"])
    )
    for name in ("1", "3/x", "5/y"):
        (folder / f"{name}.dcm").write_bytes(raw)

    def write():
        return fastdcm.scan(str(folder), tags, pixels="frames").write(f"{index}/", update=True)

    write()
    expected = open_index(index).read_all()
    assert expected.column("frame_offsets").null_count == 60
    blank_files(folder)
    (folder / "3/z.dcm").write_bytes(raw)
    (folder / "1.dcm").write_bytes(raw)
    assert write()["new"] == 1
    table = open_index(index).read_all()
    rows = {row["path"]: row for row in table.to_pylist()}
    new = rows.pop(str(folder / "3/z.dcm"))
    assert new["frame_offsets"] is not None
    changed = str(folder / "1.dcm")
    assert rows.pop(changed)["size"] == len(raw)
    assert list(rows.values()) == [row for row in expected.to_pylist() if row["path"] != changed]
    assert table.schema.equals(open_index(index).schema)
    pyarrow.dataset.dataset(str(index)).to_table()


def pack(path, members, mtime):
    """Write a zip of {name: number} files."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in members.items():
            put_file(path.parent / "member", text)
            archive.write(path.parent / "member", name)
    (path.parent / "member").unlink(missing_ok=True)
    os.utime(path, ns=(0, mtime * 10**9))


def test_archives(tmp_path):
    """An unchanged archive is not opened, and keeps the rows of all its members."""
    folder, index = tmp_path / "in", tmp_path / "index"
    for i in range(6):
        put_file(folder / f"{i}.dcm", str(i))
        pack(folder / f"{i}.zip", {f"m{k:02}": str(10 * i + k) for k in range(5 * i)}, 7)
    update_index(folder, index)
    assert len(open_index(index)) == 6 + 75
    before = open_index(index).read_all().to_pylist()
    blank_files(folder)
    pack(folder / "2.zip", {"x": "77", "m00": "20"}, 8)
    (folder / "3.zip").unlink()
    pack(folder / "4a.zip", {f"m{k}": str(k) for k in range(9)}, 9)
    (folder / "5.zip").rename(folder / "50.zip")
    assert update_index(folder, index) == (9, 1, 2, 2)
    rows = open_index(index).read_all().to_pylist()
    places = [f"{folder}/{i}.zip!/" for i in range(6)]
    for place in (places[1], places[4]):
        kept = [row for row in before if row["path"].startswith(place)]
        assert kept and [row for row in rows if row["path"].startswith(place)] == kept
    assert [row["path"] for row in rows if row["path"].startswith(places[2])] == [
        f"{places[2]}x",
        f"{places[2]}m00",
    ]
    assert not any(row["path"].startswith((places[0], places[3], places[5])) for row in rows)
    names = [row["path"] for row in scan_in_small_batches(folder).read_all().to_pylist()]
    assert len(rows) == 6 + 5 + 2 + 20 + 9 + 1 and {row["path"] for row in rows} >= {
        name for name in names if "2.zip" in name or "4a.zip" in name
    }
    check_rows_of_parts(index)
    assert update_index(folder, index) == (12, 0, 0, 0)


def test_sources(tree, tmp_path):
    folder, index, rows = tree
    before = read_parts(index)
    for source in ([str(folder / "1/11.dcm")], str(folder / "1/11.dcm"), f"{folder}/*", index):
        with pytest.raises(ValueError, match="can be updated only from the one folder"):
            fastdcm.scan(source, TAGS).write(f"{index}/", update=True)
    with pytest.raises(ValueError, match="only an index folder"):
        scan_in_small_batches(folder).write(f"{tmp_path}/x.parquet", update=True)
    with pytest.raises(DicomError, match="source") as caught:
        scan_in_small_batches(folder / "1").write(f"{index}/", update=True)
    assert caught.value.code == "index-differs"
    with pytest.raises(DicomError, match="tags"):
        fastdcm.scan(str(folder), TAGS[:2]).write(f"{index}/", update=True)
    with pytest.raises(ValueError, match="can be updated only from"):
        fastdcm.scan([str(folder)], TAGS).write(f"{tmp_path}/fresh/", update=True)
    assert not (tmp_path / "fresh").exists()
    assert read_parts(index) == before
    check_updated_index(index, rows)


def test_a_damaged_part(tree):
    folder, index, _ = tree
    put_file(folder / "0/01.dcm", "1", 7)
    manifest = Manifest(str(index))
    first, second = (manifest.parts[i]["part"] for i in (0, 1))
    (index / first).write_bytes((index / second).read_bytes())
    with pytest.raises(DicomError) as caught:
        update_index(folder, index)
    assert caught.value.code == "index-damaged"
    lines = (index / "_fastdcm/manifest.jsonl").read_bytes().splitlines(keepends=True)
    entry = json.loads(lines[2])
    lines[1] = json.dumps({**json.loads(lines[1]), "bytes": entry["bytes"]}).encode() + b"\n"
    (index / "_fastdcm/manifest.jsonl").write_bytes(b"".join(lines))
    for data in ((index / second).read_bytes(), bytes(entry["bytes"])):
        (index / first).write_bytes(data)
        with pytest.raises(DicomError, match=r"not those of its files|cannot be read") as caught:
            update_index(folder, index)
        assert caught.value.code == "index-damaged"


@pytest.fixture
def run():
    from click.testing import CliRunner

    from fastdcm.cli import main

    return lambda *arguments: CliRunner().invoke(main, list(map(str, arguments)))


def test_the_command(tree, run):
    folder, index, _ = tree
    tags = "--tags", ",".join(TAGS)
    done = run("scan", folder, "-o", f"{index}/", "--update", *tags)
    assert done.exit_code == 0, done.output
    assert "is up to date: 60 same, 0 changed, 0 new, 0 gone; 60 files, 5 errors" in done.stderr
    make_changes(folder)
    done = run("scan", folder, "-o", f"{index}/", "--update", "--json", *tags)
    assert "58 same, 1 changed, 23 new, 1 gone; 82 files" in done.stderr
    stats = json.loads(done.stdout)
    assert tuple(stats[what] for what in ("same", "changed", "new", "gone")) == CHANGE_COUNTS
    assert stats["files"] == 82
    for arguments in (["--update"], ["--update", "-o", "x.parquet"]):
        done = run("scan", folder, *arguments)
        assert done.exit_code == 2 and "--update needs -o with an index folder" in done.output
    done = run("scan", folder / "1/11.dcm", "-o", f"{index}/", "--update", *tags)
    assert done.exit_code == 2 and "can be updated only from the one folder" in done.output
