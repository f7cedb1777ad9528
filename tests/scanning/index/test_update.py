"""An index folder brought up to date: its rows are those of a fresh scan, of
what was there and is the same nothing is read, and whatever stops an update, the
index stays exact and the next one goes on."""

import errno
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

import fastdcm
from fastdcm.errors import DicomError
from fastdcm.scanning.index import build, file_list, manifest, update
from fastdcm.scanning.index.manifest import Manifest, open_index
from support import builder as b

TAGS = ["SOPInstanceUID", "InstanceNumber", "ImageType"]
posix = pytest.mark.skipif(os.name == "nt", reason="signals and links of POSIX")


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Parts of 8 files, and blocks that end elsewhere."""
    for module, name, value in (
        (build, "_PART", 8),
        (update, "_PART_ROWS", 8),
        (update, "_BATCH_ROWS", 3),
        (build, "_LOOK", 7),
        (file_list, "BLOCK", 11),
    ):
        monkeypatch.setattr(module, name, value)


def put(path, text="0", mtime=1_600_000_000):
    """A file that tells that text, which is a number."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(
        b.part10(
            b.element(0x00080008, "CS", ["A", "B"][: int(text) % 3])
            + b.element(0x00080018, "UI", f"1.2.{text}")
            + b.element(0x00200013, "IS", text)
        )
    )
    os.utime(path, ns=(0, mtime * 10**9))


def spoil(folder):
    """Other contents of the same size and time: whoever opens them sees it."""
    for path in folder.rglob("*"):
        if path.is_file():
            told = path.stat()
            path.write_bytes(bytes(told.st_size))
            os.utime(path, ns=(0, told.st_mtime_ns))


def scan(source, **options):
    return fastdcm.scan(str(source), TAGS, **{"batch_size": 5, "threads": 2, **options})


def bring(source, index, **options):
    """The counts of an update."""
    stats = scan(source, **options).write(f"{index}/", update=True)
    return tuple(stats[what] for what in ("same", "changed", "new", "gone"))


def same(index, expected):
    """The index is complete and whole, and has these rows, also for whoever goes
    by the names of the files alone."""
    opened = open_index(index)
    assert opened.complete and opened.read_all().equals(expected)
    opened.verify()
    named = pyarrow.parquet.read_table(sorted(map(str, Path(index).glob("*.parquet"))))
    assert named.sort_by("path").equals(expected.sort_by("path"))
    book = Manifest(str(index))
    there = {path.name for path in Path(index).rglob("*") if path.is_file()}
    assert there == {os.path.basename(path) for path, _ in book.files()} | {
        "manifest.jsonl",
        "lock",
    }
    at = 0
    for part in book.parts:
        assert part["entries"][0] == at
        at = part["entries"][1]
    assert at == book.head["files"]["entries"] == opened.listed
    for what, count in (("files", opened.rows), ("errors", opened.errors)):
        assert sum(part[what] for part in book.parts) == count
    errors = expected.column("error")
    assert opened.errors == len(errors) - errors.null_count
    issues = sum(len(x or ()) for x in expected.column("issues").to_pylist())
    assert sum(part["issues"] for part in book.parts) == issues


def told_by(index):
    """Each part has the rows of its files, and of no other."""
    book = Manifest(str(index))
    for part in book.parts:
        rows = pyarrow.parquet.read_table(index / part["part"]).column("path").to_pylist()
        assert len(rows) == part["rows"]
        files = [
            os.fsdecode(path)
            for chunk in update._list_of(book, *part["entries"])
            for path in chunk.paths()
        ]
        assert part["paths"] == [files[0], files[-1]]
        assert all(row in files or row.rpartition("!/")[0] in files for row in rows)


@pytest.fixture
def tree(tmp_path):
    """60 files in six folders, every 13th empty, in an index; then spoilt."""
    folder = tmp_path / "in"
    for i in range(60):
        path = folder / f"{i // 10}" / f"{i:02}.dcm"
        put(path, str(i))
        if i % 13 == 0:
            path.write_bytes(b"")
            os.utime(path, ns=(0, i))
    scan(folder).write(f"{tmp_path}/index/")
    rows = open_index(tmp_path / "index").read_all()
    assert len(open_index(tmp_path / "index").parts) == 8
    spoil(folder)
    return folder, tmp_path / "index", rows


def after(rows, folder, changed=(), gone=()):
    """What the rows should be: those that were, but for files that were changed
    or are gone; of the changed and new a fresh scan tells."""
    touched = {str(folder / name) for name in (*changed, *gone)}
    kept = [row for row in rows.to_pylist() if row["path"] not in touched]
    fresh = fastdcm.scan([str(folder / name) for name in changed], TAGS).read_all().to_pylist()
    both = sorted(kept + fresh, key=lambda row: row["path"].encode())
    return pyarrow.Table.from_pylist(both, rows.schema)


def parts(index):
    return {part.name: part.read_bytes() for part in Path(index).glob("*.parquet")}


# ------------------------------------------------------------ what happens ---


def test_nothing_happened(tree):
    folder, index, rows = tree

    def files():
        return {
            path: (path.stat().st_ino, path.stat().st_mtime_ns)
            for path in index.rglob("*")
            if path.is_file()
        }

    before = files()
    assert bring(folder, index) == (60, 0, 0, 0)
    same(index, rows)
    assert files() == before


@pytest.mark.parametrize("threads", [1, 2, None])
def test_a_little_of_everything(tree, threads):
    folder, index, rows = tree
    put(folder / "1/11.dcm", "911")  # size and time
    put(folder / "2/22.dcm", "23", 1_700_000_000)  # time alone
    put(folder / "3/33.dcm", "1", 1_600_000_000)  # size alone
    put(folder / "3/330.dcm", "330")
    put(folder / "0/-.dcm", "1")
    put(folder / "z.dcm", "2")
    (folder / "4/44.dcm").unlink()
    (folder / "4/45.dcm").rename(folder / "5/5x.dcm")
    put(folder / "5/5x.dcm", "45")
    changed = "1/11.dcm", "2/22.dcm", "3/33.dcm", "3/330.dcm", "0/-.dcm", "z.dcm", "5/5x.dcm"
    before = parts(index)
    assert bring(folder, index, threads=threads) == (55, 3, 4, 2)
    same(index, after(rows, folder, changed, ["4/44.dcm", "4/45.dcm"]))
    # names are not used again, what was not touched has kept its file
    assert all(before[name] == data for name, data in parts(index).items() if name in before)
    assert bring(folder, index) == (62, 0, 0, 0)


@pytest.mark.parametrize("name", ["0/00.dcm", "0/01.dcm", "0/07.dcm", "1/10.dcm", "5/59.dcm"])
def test_one_file(tree, name):
    """Of the first part or the last, at its edges or inside."""
    folder, index, rows = tree
    put(folder / name, "77", 5)
    assert bring(folder, index) == (59, 1, 0, 0)
    expected = after(rows, folder, [name])
    same(index, expected)
    assert len(open_index(index).parts) == 8
    (folder / name).unlink()
    spoil(folder)
    assert bring(folder, index) == (59, 0, 0, 1)
    same(index, after(expected, folder, gone=[name]))
    put(folder / name, "77", 5)
    assert bring(folder, index) == (59, 0, 1, 0)
    same(index, expected)


def test_only_parts_that_are_touched_are_new(tree):
    folder, index, _ = tree
    before = parts(index)
    put(folder / "2/20.dcm", "77", 5)  # the 21st: in the third part
    bring(folder, index)
    assert sorted(before.keys() - parts(index).keys()) == ["part-000003.parquet"]
    assert sorted(parts(index).keys() - before.keys()) == ["part-000009.parquet"]


def test_folders_come_and_go(tree):
    folder, index, rows = tree
    shutil.rmtree(folder / "2")
    shutil.rmtree(folder / "5")
    for i in range(30):
        put(folder / f"25/{i:02}.dcm", str(i))
    assert bring(folder, index) == (40, 0, 30, 20)
    gone = [f"{i // 10}/{i}.dcm" for i in (*range(20, 30), *range(50, 60))]
    same(index, after(rows, folder, [f"25/{i:02}.dcm" for i in range(30)], gone))
    assert all(part["rows"] <= 8 for part in Manifest(str(index)).parts)


def test_a_file_becomes_a_folder_and_a_folder_a_file(tree):
    folder, index, rows = tree
    (folder / "1/15.dcm").unlink()
    put(folder / "1/15.dcm/x", "15")
    shutil.rmtree(folder / "3")
    put(folder / "3", "3")
    (folder / "empty").mkdir()
    assert bring(folder, index) == (49, 0, 2, 11)
    gone = ["1/15.dcm", *(f"3/{i}.dcm" for i in range(30, 40))]
    same(index, after(rows, folder, ["1/15.dcm/x", "3"], gone))
    assert bring(folder, index) == (51, 0, 0, 0)


def test_everything_changed(tree):
    folder, index, rows = tree
    names = [f"{i // 10}/{i:02}.dcm" for i in range(60)]
    for name in names:
        put(folder / name, "6", 9)
    assert bring(folder, index) == (0, 60, 0, 0)
    same(index, after(rows, folder, names))
    for name in names[:30]:
        (folder / name).rename(folder / f"{name}x")
    assert bring(folder, index) == (30, 0, 30, 30)
    same(index, scan(folder).read_all())


def test_nothing_is_left(tree):
    folder, index, rows = tree
    before = parts(index)
    shutil.rmtree(folder)
    folder.mkdir()
    with pytest.raises(FileNotFoundError, match="no file can be found"):
        bring(folder, index)
    assert parts(index) == before
    same(index, rows)


def test_from_nothing_and_to_few(tmp_path):
    """An index of no files has one part, which goes when there are files."""
    folder, index = tmp_path / "in", tmp_path / "index"
    folder.mkdir()
    assert bring(folder, index) == (0, 0, 0, 0)
    assert bring(folder, index) == (0, 0, 0, 0)
    same(index, scan(folder).read_all())
    put(folder / "a")
    assert bring(folder, index) == (0, 0, 1, 0)
    same(index, scan(folder).read_all())


def test_small_parts_do_not_gather(tmp_path):
    folder, index = tmp_path / "in", tmp_path / "index"
    for i in range(40):
        put(folder / f"{i:02}", str(i))
        assert bring(folder, index) == (i, 0, 1, 0)
    same(index, scan(folder).read_all())
    assert len(open_index(index).parts) == 5
    for i in random.Random(1).sample(range(40), 34):
        (folder / f"{i:02}").unlink()
        bring(folder, index)
    same(index, scan(folder).read_all())
    assert len(open_index(index).parts) <= 2
    for i in random.Random(2).sample(range(40), 40):
        put(folder / f"{i:02}x", str(i))
        bring(folder, index)
    same(index, scan(folder).read_all())
    assert len(open_index(index).parts) <= 2 * 46 // 8 + 1


@posix
def test_folders_that_cannot_be_listed(tree):
    folder, index, rows = tree
    (folder / "1/up").symlink_to("..")  # holds itself
    assert bring(folder, index) == (60, 0, 1, 0)
    expected = scan(folder).read_all()
    assert expected.column("error").to_pylist().count("walk") == 1
    assert bring(folder, index) == (61, 0, 0, 0)
    assert [
        row["path"] for row in open_index(index).read_all().to_pylist() if row["error"] == "walk"
    ] == [str(folder / "1/up")]
    (folder / "1/up").unlink()
    assert bring(folder, index) == (60, 0, 0, 1)
    same(index, rows)


@posix
def test_links(tree):
    folder, index, rows = tree
    put(folder.parent / "elsewhere/a.dcm", "1")
    (folder / "link").symlink_to(folder.parent / "elsewhere")
    (folder / "broken").symlink_to("nowhere")
    assert bring(folder, index) == (60, 0, 2, 0)
    assert bring(folder, index) == (62, 0, 0, 0)
    put(folder.parent / "elsewhere/a.dcm", "22", 5)
    put(folder / "nowhere", "1")
    assert bring(folder, index) == (60, 2, 1, 0)
    same(index, after(rows, folder, ["link/a.dcm", "broken", "nowhere"]))


def test_an_index_inside_the_folder(tmp_path):
    for i in range(20):
        put(tmp_path / f"{i:02}.dcm", str(i))
    index = tmp_path / "05"
    assert bring(tmp_path, index) == (0, 0, 20, 0)
    expected = open_index(index).read_all()
    assert bring(tmp_path, index) == (20, 0, 0, 0)
    same(index, expected)
    put(tmp_path / "part-1.dcm", "7")
    put(tmp_path / "04.dcm", "7", 5)
    assert bring(tmp_path, index) == (19, 1, 1, 0)
    same(index, after(expected, tmp_path, ["part-1.dcm", "04.dcm"]))


@pytest.mark.skipif(sys.platform != "linux", reason="the file system takes UTF-8 names alone")
def test_names_that_are_not_utf8(tmp_path):
    folder, index = tmp_path / "in", tmp_path / "index"
    names = [
        os.fsdecode(name) for name in (b"a", b"caf\xe9", b"file:x", b"z\xff/y", "\u00e9".encode())
    ]
    for name in names:
        put(folder / name, "3")
    bring(folder, index)
    expected = open_index(index).read_all()
    spoil(folder)
    put(folder / "b", "4")
    assert bring(folder, index) == (5, 0, 1, 0)
    assert [row["path"] for row in open_index(index).read_all().to_pylist()][1] == str(folder / "b")
    (folder / "b").unlink()
    assert bring(folder, index) == (5, 0, 0, 1)
    same(index, expected)
    os.utime(folder / names[1], ns=(0, 0))
    assert bring(folder, index) == (4, 1, 0, 0)
    assert open_index(index).errors == 1  # it was spoilt, and is read


@pytest.mark.parametrize("on_error", ["skip", "raise"])
def test_on_error(tree, tmp_path, on_error):
    folder, _, _ = tree
    index = tmp_path / "other"
    for i in range(60):
        put(folder / f"{i // 10}/{i:02}.dcm", str(i))
    bring(folder, index, on_error=on_error)
    (folder / "1/11.dcm").write_bytes(b"")
    put(folder / "1/12.dcm", "112")
    if on_error == "raise":
        with pytest.raises(DicomError, match="empty"):
            bring(folder, index, on_error=on_error)
        with pytest.raises(DicomError, match="empty"):  # its list is made, and kept to
            put(folder / "1/11.dcm", "11", 8)
            (folder / "1/11.dcm").write_bytes(b"")
            bring(folder, index, on_error=on_error)
        put(folder / "1/11.dcm", "11", 8)
        bring(folder, index, on_error=on_error)
        same(index, scan(folder).read_all())
        return
    assert bring(folder, index, on_error=on_error) == (58, 2, 0, 0)
    opened = open_index(index)
    assert (opened.rows, opened.errors, opened.listed) == (59, 1, 60)
    assert opened.read_all().equals(scan(folder, on_error="skip").read_all())
    spoil(folder)
    shutil.rmtree(folder / "0")
    assert bring(folder, index, on_error=on_error) == (50, 0, 0, 10)
    assert (open_index(index).rows, open_index(index).errors) == (49, 1)
    for path in folder.rglob("*.dcm"):
        path.write_bytes(b"")
    assert bring(folder, index, on_error=on_error) == (0, 50, 0, 0)
    assert (open_index(index).rows, open_index(index).errors) == (0, 50)


def test_columns_of_every_kind(tree, tmp_path):
    """Lists, bytes, and where pixels and frames are."""
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
    spoil(folder)
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
    """A zip of files that tell these numbers, by name."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in members.items():
            put(path.parent / "member", text)
            archive.write(path.parent / "member", name)
    (path.parent / "member").unlink(missing_ok=True)
    os.utime(path, ns=(0, mtime * 10**9))


def test_archives(tmp_path):
    """One that is the same is not opened, and keeps the rows of all its members."""
    folder, index = tmp_path / "in", tmp_path / "index"
    for i in range(6):
        put(folder / f"{i}.dcm", str(i))
        pack(folder / f"{i}.zip", {f"m{k:02}": str(10 * i + k) for k in range(5 * i)}, 7)
    bring(folder, index)
    assert len(open_index(index)) == 6 + 75
    before = open_index(index).read_all().to_pylist()
    spoil(folder)
    pack(folder / "2.zip", {"x": "77", "m00": "20"}, 8)
    (folder / "3.zip").unlink()
    pack(folder / "4a.zip", {f"m{k}": str(k) for k in range(9)}, 9)
    (folder / "5.zip").rename(folder / "50.zip")
    assert bring(folder, index) == (9, 1, 2, 2)
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
    names = [row["path"] for row in scan(folder).read_all().to_pylist()]
    assert len(rows) == 6 + 5 + 2 + 20 + 9 + 1 and {row["path"] for row in rows} >= {
        name for name in names if "2.zip" in name or "4a.zip" in name
    }
    told_by(index)
    assert bring(folder, index) == (12, 0, 0, 0)


# ------------------------------------------------------------- what cannot ---


def test_sources(tree, tmp_path):
    folder, index, rows = tree
    before = parts(index)
    for source in ([str(folder / "1/11.dcm")], str(folder / "1/11.dcm"), f"{folder}/*", index):
        with pytest.raises(ValueError, match="brought up to date with the one folder"):
            fastdcm.scan(source, TAGS).write(f"{index}/", update=True)
    with pytest.raises(ValueError, match="only an index folder"):
        scan(folder).write(f"{tmp_path}/x.parquet", update=True)
    with pytest.raises(DicomError, match="source") as caught:
        scan(folder / "1").write(f"{index}/", update=True)
    assert caught.value.code == "index-differs"
    with pytest.raises(DicomError, match="tags"):
        fastdcm.scan(str(folder), TAGS[:2]).write(f"{index}/", update=True)
    with pytest.raises(ValueError, match="brought up to date"):
        fastdcm.scan([str(folder)], TAGS).write(f"{tmp_path}/fresh/", update=True)
    assert not (tmp_path / "fresh").exists()
    assert parts(index) == before
    same(index, rows)


def test_a_damaged_part(tree):
    folder, index, _ = tree
    put(folder / "0/01.dcm", "1", 7)
    book = Manifest(str(index))
    first, second = (book.parts[i]["part"] for i in (0, 1))
    (index / first).write_bytes((index / second).read_bytes())
    with pytest.raises(DicomError) as caught:
        bring(folder, index)
    assert caught.value.code == "index-damaged"
    lines = (index / "_fastdcm/manifest.jsonl").read_bytes().splitlines(keepends=True)
    told = json.loads(lines[2])
    lines[1] = json.dumps({**json.loads(lines[1]), "bytes": told["bytes"]}).encode() + b"\n"
    (index / "_fastdcm/manifest.jsonl").write_bytes(b"".join(lines))
    for data in ((index / second).read_bytes(), bytes(told["bytes"])):
        (index / first).write_bytes(data)
        with pytest.raises(DicomError, match="not those of its files") as caught:
            bring(folder, index)
        assert caught.value.code == "index-damaged"


# -------------------------------------------------------------- interrupted ---


class Crash(BaseException):
    pass


class Machine:
    """Stops at the n-th thing that is done to the disk; after that nothing more
    is done."""

    def __init__(self, monkeypatch, stop):
        self.left = stop
        for name in ("replace", "unlink", "fsync"):
            monkeypatch.setattr(os, name, self.counted(getattr(os, name)))

    def counted(self, call):
        def counted(*arguments, **options):
            self.left -= 1
            if self.left <= 0:
                raise Crash
            return call(*arguments, **options)

        return counted


# One that changes, and others that are new: within a part, which becomes three,
# and behind the last.
CHANGED = [
    "0/03.dcm",
    *(f"3/33{i:02}.dcm" for i in range(11)),
    *(f"9/{i:02}.dcm" for i in range(12)),
]
COUNTS = 58, 1, 23, 1


def change(folder):
    """Over the whole of the tree; bring() then tells COUNTS."""
    for i, name in enumerate(CHANGED):
        put(folder / name, str(i), 44)
    (folder / "3/35.dcm").unlink()


def one_of(index, *tables):
    found = open_index(index).read_all()
    assert any(found.equals(table) for table in tables)


def change_and_crash(monkeypatch, folder, index, step):
    change(folder)
    with monkeypatch.context() as patch:
        Machine(patch, step)
        with pytest.raises(Crash):
            bring(folder, index, threads=1)


def test_a_crash_at_each_step(tree, tmp_path, monkeypatch):
    folder, index, rows = tree
    change(folder)
    expected = after(rows, folder, CHANGED, ["3/35.dcm"])
    for stop in range(1, 1000):
        broken = tmp_path / f"broken{stop}"
        shutil.copytree(index, broken)
        with monkeypatch.context() as patch:
            machine = Machine(patch, stop)
            try:
                told = bring(folder, broken, threads=1)
            except Crash:
                told = None
        if told is not None:
            assert machine.left > 0
            break
        one_of(broken, rows, expected)
        again = bring(folder, broken)
        assert again[0] in (COUNTS[0], 82)
        same(broken, expected)
        shutil.rmtree(broken)
    assert stop > 25 and told == COUNTS


def test_a_crash_in_the_update_that_goes_on(tree, tmp_path, monkeypatch):
    """Whatever number of them."""
    folder, index, rows = tree
    change(folder)
    expected = after(rows, folder, CHANGED, ["3/35.dcm"])
    chance, crashes = random.Random(5), 0
    for _ in range(200):
        with monkeypatch.context() as patch:
            Machine(patch, chance.randint(1, 14))
            try:
                bring(folder, index, threads=1)
                break
            except Crash:
                crashes += 1
        one_of(index, rows, expected)
    bring(folder, index)
    same(index, expected)
    assert crashes > 3


def test_what_changes_after_an_update_was_stopped(tree, monkeypatch):
    """It is finished as it was begun, and then there is another."""
    folder, index, rows = tree
    change_and_crash(monkeypatch, folder, index, 12)
    assert (index / "_fastdcm/update.jsonl").exists()
    put(folder / "5/50.dcm", "1", 99)
    (folder / "3/3305.dcm").unlink()
    assert bring(folder, index) == (80, 2, 23, 2)
    names = [name for name in CHANGED if name != "3/3305.dcm"]
    same(index, after(rows, folder, [*names, "5/50.dcm"], ["3/35.dcm"]))


@pytest.mark.parametrize("harm", ["part", "list", "line", "other"])
def test_an_update_that_cannot_be_gone_on_with_begins_anew(tree, monkeypatch, harm):
    folder, index, rows = tree
    change_and_crash(monkeypatch, folder, index, 14)
    path = index / "_fastdcm/update.jsonl"
    begun = Manifest(str(index), manifest.UPDATE)
    assert begun.parts
    if harm == "part":
        (index / begun.parts[0]["part"]).unlink()
    elif harm == "list":
        (index / "_fastdcm" / begun.head["files"]["name"]).write_bytes(b"x")
    elif harm == "line":
        path.write_bytes(b"{\n" + path.read_bytes())
    else:
        path.write_bytes(path.read_bytes().replace(b'"before":{"name"', b'"before":{"nome"'))
    assert bring(folder, index) == COUNTS
    same(index, after(rows, folder, CHANGED, ["3/35.dcm"]))


def test_what_is_left_of_an_update_of_another_index_goes(tree):
    folder, index, rows = tree
    head = Manifest(str(index)).head
    Manifest.create(
        str(index), {**head, "before": {**head["files"], "sha256": ""}}, manifest.UPDATE
    )
    assert bring(folder, index) == (60, 0, 0, 0)
    same(index, rows)


def test_an_index_that_is_not_complete(tree, tmp_path, monkeypatch):
    folder, _, _ = tree
    index = tmp_path / "other"
    with monkeypatch.context() as patch:
        Machine(patch, 14)
        with pytest.raises(Crash):
            scan(folder, threads=1).write(f"{index}/")
    assert not open_index(index).complete
    put(folder / "0/00.dcm", "5", 3)
    put(folder / "a.dcm", "5", 3)
    assert bring(folder, index) == (59, 1, 1, 0)
    same(index, scan(folder).read_all())


def test_a_full_disk(tree, monkeypatch):
    folder, index, rows = tree
    change(folder)

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(update.Summed, "write", full)
        with pytest.raises(OSError, match="space"):
            bring(folder, index)
    same(index, rows)
    with monkeypatch.context() as patch:
        patch.setattr(build.Summed, "write", full)
        with pytest.raises(OSError, match="space"):
            bring(folder, index)
    one_of(index, rows)
    assert bring(folder, index)[0] in (COUNTS[0], 82)
    assert open_index(index).rows == 82


def test_scans_that_go_on_leave_an_update_alone(tree, monkeypatch):
    """The command without --update finds the index complete."""
    folder, index, rows = tree
    change_and_crash(monkeypatch, folder, index, 14)
    scan(folder).write(f"{index}/")
    one_of(index, rows)
    assert bring(folder, index)[0] == 82  # told by the last look
    assert open_index(index).rows == 82


PROGRAM = """
import sys, fastdcm
from fastdcm.scanning.index import build
from fastdcm.scanning.index import update
build._PART = update._PART_ROWS = 100
fastdcm.scan(sys.argv[1], ["SOPInstanceUID"], batch_size=50).write(sys.argv[2], update=True)
"""


@posix
def test_killed(tmp_path, monkeypatch):
    """By force, at any moment, and again."""
    folder, index = tmp_path / "in", tmp_path / "index"
    for i in range(1500):
        put(folder / f"{i // 150}/{i:04}.dcm", str(i))
    monkeypatch.setattr(build, "_PART", 100)
    monkeypatch.setattr(update, "_PART_ROWS", 100)
    command = [sys.executable, "-c", PROGRAM, str(folder), f"{index}/"]
    begin = time.perf_counter()
    subprocess.run(command, check=True)
    whole_run = time.perf_counter() - begin
    chance, kills = random.Random(3), 0
    for turn in range(2):
        before = open_index(index).read_all()
        for i in chance.sample(range(1500), 400):
            path = folder / f"{i // 150}/{i:04}.dcm"
            if path.exists() and i % 3:
                path.unlink()
            else:
                put(path, str(i), turn)
        expected = fastdcm.scan(str(folder), ["SOPInstanceUID"]).read_all()
        for _ in range(5):
            process = subprocess.Popen(command)
            try:
                process.wait(chance.uniform(0.3, 1) * whole_run)
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
            kills += process.wait() == -signal.SIGKILL
            one_of(index, before, expected)
        subprocess.run(command, check=True)
        same(index, expected)
    assert kills > 2


# ------------------------------------------------------------------ command ---


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
    change(folder)
    done = run("scan", folder, "-o", f"{index}/", "--update", "--json", *tags)
    assert "58 same, 1 changed, 23 new, 1 gone; 82 files" in done.stderr
    stats = json.loads(done.stdout)
    assert tuple(stats[what] for what in ("same", "changed", "new", "gone")) == COUNTS
    assert stats["files"] == 82
    for arguments in (["--update"], ["--update", "-o", "x.parquet"]):
        done = run("scan", folder, *arguments)
        assert done.exit_code == 2 and "--update goes with -o and an index folder" in done.output
    done = run("scan", folder / "1/11.dcm", "-o", f"{index}/", "--update", *tags)
    assert done.exit_code == 2 and "brought up to date with the one folder" in done.output
