"""Archives in archives and behind URLs, compressed files, and members of one name."""

import bz2
import itertools
import lzma
import os
import warnings

import numpy as np
import pytest

import fastdcm
from fastdcm import DicomError, dcmread, scan, scan_chunk
from fastdcm.sources._paths import MemberNames
from fastdcm.sources.archives import files, lookup
from support.archives import FEW, NAME, PACKINGS, TAGS, compress, image, make, table
from support.builder import element, part10
from support.http_server import Served


def numbered(i):
    return part10(NAME + element(0x00200013, "IS", i))


def check(rows, expected):
    """Check {path: InstanceNumber} of rows, and that dcmread reads each path."""
    assert [(row["path"], row["InstanceNumber"], row["error"]) for row in rows] == [
        (path, number, None) for path, number in expected
    ]
    for path, number in reversed(expected):
        ds = dcmread(path)
        assert (ds.InstanceNumber, ds.filename) == (number, path)


# --------------------------------------------------------- equal names -----


@pytest.mark.parametrize("name", PACKINGS)
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize(
    ("names", "unique"),
    [
        ("x x x", "x x#2 x#3"),
        ("x y x y x", "x y x#2 y#2 x#3"),
        ("x x x#2", "x x#2 x#2#2"),
        ("x x#2 x x", "x x#2 x#3 x#4"),
        ("x#2 x x#2 x", "x#2 x x#2#2 x#3"),
        ("f/x x f/x", "f/x x f/x#2"),
        ("x#1 x#x x", "x#1 x#x x"),
    ],
)
def test_members_of_one_name_have_different_paths(tmp_path, name, threads, names, unique):
    pairs = [(one, numbered(i)) for i, one in enumerate(names.split())]
    with warnings.catch_warnings(action="ignore"):  # zipfile's own
        path = make(tmp_path / name, pairs)
    rows = table(path, threads=threads)
    expected = [(f"{path}!/{one}", i) for i, one in enumerate(unique.split())]
    check(rows, expected)
    lookup._finder.cache_clear()
    check(scan([path for path, _ in expected], TAGS).read_all().to_pylist(), expected)
    scan(path, TAGS).write(tmp_path / "rows.parquet")
    assert table(tmp_path / "rows.parquet") == rows
    assert {row["error"] for row in table([f"{path}!/x#9", f"{path}!/y#7"])} == {"open"}


def test_volumes_and_loaders_read_the_right_member(tmp_path):
    """The frames of two files with one name."""
    with warnings.catch_warnings(action="ignore"):
        path = make(tmp_path / "stored.zip", [("x", image(1)[0]), ("x", image(50)[0])])
    for member, number in (("x", 1), ("x#2", 50)):
        assert np.array_equal(dcmread(f"{path}!/{member}").frames[0], image(number)[1])
    pytest.importorskip("torch")
    from fastdcm.ml import DicomDataset

    data = DicomDataset(path, rescale=False)
    assert np.array_equal(np.asarray(data[2]["image"])[0], image(50)[1])


@pytest.mark.parametrize("count", [1, 47, 48, 49, 10_000])
def test_names_are_unique(count):
    names = MemberNames()
    given = [b"%d" % (i % 7) for i in range(count)] + [b"%d#%d" % (i % 7, i) for i in range(count)]
    unique = list(map(names.unique, given))
    assert len(set(unique)) == len(unique)
    assert all(new == old or new.startswith(old + b"#") for old, new in zip(given, unique))
    again = MemberNames()
    assert list(map(again.unique, given)) == unique


# ---------------------------------------------------------- compressed -----

COMPRESSIONS = {".gz": compress, ".bz2": bz2.compress, ".xz": lzma.compress}


@pytest.mark.parametrize("ending", COMPRESSIONS)
@pytest.mark.parametrize("length", [2, 100, 70_000, 3_000_000])
def test_compressed_files(tmp_path, ending, length):
    data = part10(NAME + element(0x00200013, "IS", 5) + element(0x7FE00010, "OW", bytes(length)))
    path = tmp_path / f"a.dcm{ending}"
    path.write_bytes(COMPRESSIONS[ending](data))
    (row,) = table(tmp_path)
    check([row], [(f"{path}!/a.dcm", 5)])
    assert row["size"] == len(data) and row["mtime_ns"] == path.stat().st_mtime_ns
    for spelling in (path, str(path), os.fsencode(path), row["path"]):
        assert dcmread(spelling).PixelData == bytes(length)
    path.write_bytes(path.read_bytes()[:-9])
    (row,) = table(tmp_path)
    assert row["error"] == "archive"
    with pytest.raises(DicomError) as caught:
        dcmread(path).PixelData  # noqa: B018
    assert caught.value.code == "archive"


@pytest.mark.parametrize("ending", COMPRESSIONS)
def test_other_compressed_files_are_no_dicom(tmp_path, ending):
    path = tmp_path / f"a.nii{ending}"
    path.write_bytes(COMPRESSIONS[ending](bytes(2000)[:1000] + b"text"))
    assert [(row["path"], row["error"]) for row in table(tmp_path)] == [(str(path), "not-dicom")]


@pytest.mark.parametrize("name", FEW)
def test_dcmread_of_an_archive_says_what_it_is(tmp_path, name):
    path = make(tmp_path / name, {"x": numbered(1)})
    with pytest.raises(DicomError, match="is an archive: scan it, or read a member") as caught:
        dcmread(path)
    assert isinstance(caught.value, fastdcm.InvalidDicomError)
    with open(path, "rb") as file, pytest.raises(fastdcm.InvalidDicomError):
        dcmread(file)


# -------------------------------------------------- archives in archives ---


@pytest.mark.parametrize(("outer", "middle"), [*itertools.product(FEW, [*FEW, "a.dcm.gz"])])
@pytest.mark.parametrize("threads", [1, 3])
def test_archives_in_archives(tmp_path, outer, middle, threads):
    folder = tmp_path / "in"
    folder.mkdir()
    if middle == "a.dcm.gz":
        members, data = {"a.dcm": numbered(1)}, compress(numbered(1))
    else:
        members = {f"f/{i}": numbered(i) for i in range(1, 4)}
        data = make(tmp_path / middle, members).read_bytes()
    path = make(folder / outer, {"first": numbered(0), middle: data, "last": numbered(9)})
    expected = [
        (f"{path}!/first", 0),
        *((f"{path}!/{middle}!/{name}", i) for i, name in enumerate(members, 1)),
        (f"{path}!/last", 9),
    ]
    check(table(folder, threads=threads), expected)
    lookup._finder.cache_clear()
    check(scan([path for path, _ in expected], TAGS).read_all().to_pylist(), expected)
    rows = table([f"{path}!/{middle}!/none", f"{path}!/none.zip!/x"])
    assert [row["error"] for row in rows] == ["open", "open"]


def test_archives_deeper_in_archives_are_refused(tmp_path):
    """A zip that contains itself would never end."""
    data = numbered(1)
    for depth in range(5):
        path = make(tmp_path / "stored.zip", {"a.zip": data, "x": numbered(2)})
        data = path.read_bytes()
        rows = table(path)
        assert [row["error"] for row in rows] == (
            [None] * (depth + 2) if depth < 2 else ["archive-limit", None, None]
        )
        for row in rows:
            if row["error"]:
                with pytest.raises(DicomError) as caught:
                    dcmread(row["path"] + "!/x")
                assert caught.value.code == "open"


def test_a_compressed_archive_that_is_large_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "MAX_UNPACKED_ARCHIVE", 5000)
    small = make(tmp_path / "small.zip", {"x": numbered(1)}).read_bytes()
    large = make(tmp_path / "stored.zip", {"x": numbered(2) + bytes(6000)}).read_bytes()
    path = make(tmp_path / "deflated.ZIP", {"a.zip": small, "b.zip": large, "c": numbered(3)})
    assert [row["error"] for row in table(path)] == [None, "archive-limit", None]
    path = make(tmp_path / "pax.tar", {"b.zip": large})
    assert [row["error"] for row in table(path)] == [None]


def test_few_compressed_archives_are_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "_MAX_KEPT", 3000)
    monkeypatch.setattr(files, "_unpacked", files._UnpackedFiles())
    one = [
        make(tmp_path / "a.zip", {"x": numbered(i), "y": numbered(i)}).read_bytes()
        for i in range(9)
    ]
    path = make(tmp_path / "deflated.ZIP", {f"{i}.zip": data for i, data in enumerate(one)})
    rows = table(path, threads=3)
    assert [row["InstanceNumber"] for row in rows] == [i for i in range(9) for _ in range(2)]
    assert files._unpacked._size <= 3000


@pytest.mark.parametrize("name", ["stored.zip", "deflated.ZIP", "pax.tar", "packed.tar.gz"])
def test_damage_of_an_inner_archive_does_not_end_the_outer_one(tmp_path, name):
    data = make(tmp_path / "inner.zip", {"x": numbered(1), "y": numbered(2)}).read_bytes()
    for cut in range(0, len(data), 7):
        path = make(tmp_path / name, {"inner.zip": data[:cut], "last": numbered(3)})
        *_, last = table(path)
        assert (last["InstanceNumber"], last["error"]) == (3, None)


# ------------------------------------------------------------------ URLs ---


@pytest.mark.parametrize("name", PACKINGS)
@pytest.mark.parametrize("query", ["", "?signature=a/b"])
def test_archives_behind_a_url(tmp_path, name, query):
    pytest.importorskip("obstore")
    members = {f"f/{i}": numbered(i) for i in range(20)} | {"large": numbered(7) + bytes(200_000)}
    members["x.zip"] = make(tmp_path / "x.zip", {"y": numbered(8)}).read_bytes()
    data = make(tmp_path / name, members).read_bytes()
    with Served({f"/a/{name}": data, "/b.dcm": numbered(9)}) as server:
        url = f"{server.url}/a/{name}{query}"
        expected = [(f"{url}!/f/{i}", i) for i in range(20)]
        expected += [(f"{url}!/large", 7), (f"{url}!/x.zip!/y", 8)]
        for threads in (1, 3):
            check(table(url, threads=threads), expected)
        rows = table([f"{server.url}/b.dcm", url, f"{url}!/f/3"])
        assert [row["InstanceNumber"] for row in rows] == [9, *(i for _, i in expected), 3]
        assert [row["error"] for row in table([f"{url}!/none"])] == ["open"]
        with pytest.raises(DicomError):
            dcmread(url)


@pytest.mark.parametrize("ending", COMPRESSIONS)
def test_compressed_files_behind_a_url(ending):
    pytest.importorskip("obstore")
    with Served({f"/a.dcm{ending}": COMPRESSIONS[ending](numbered(4))}) as server:
        url = f"{server.url}/a.dcm{ending}"
        check(table(url), [(f"{url}!/a.dcm", 4)])
        assert dcmread(url).InstanceNumber == 4


def test_an_object_with_the_suffix_of_an_archive(tmp_path):
    pytest.importorskip("obstore")
    with Served({"/a.zip": numbered(1), "/b.zip": b"", "/c.zip!/x": numbered(2)}) as server:
        urls = [f"{server.url}/{name}" for name in ("a.zip", "b.zip", "none.zip", "c.zip!/x")]
        rows = table(urls)
        assert [row["path"] for row in rows] == urls
        assert [row["error"] for row in rows] == [None, "empty", "open", None]


def test_archives_in_a_file_system_of_fsspec(tmp_path):
    fsspec = pytest.importorskip("fsspec")
    memory = fsspec.filesystem("memory")
    data = make(tmp_path / "a.zip", {"x": numbered(1), "y": numbered(2)}).read_bytes()
    memory.pipe({"/zips/a.zip": data, "/zips/b.dcm": numbered(3)})
    expected = [
        ("memory://zips/a.zip!/x", 1),
        ("memory://zips/a.zip!/y", 2),
        ("memory://zips/b.dcm", 3),
    ]
    for batch_size in (1, 2, 3):
        batches = list(scan("memory://zips/", TAGS, batch_size=batch_size))
        assert all(len(batch) == batch_size for batch in batches[:-1])
        paths = [path for batch in batches for path in batch.column("path")]
        assert paths == [path for path, _ in expected]
    check(table("memory://zips/"), expected)
    check(table("memory://zips/a.zip"), expected[:2])
    check(table("memory://zips/a.zip!/y"), expected[1:2])
    assert scan_chunk([path for path, _ in expected], TAGS).column("InstanceNumber") == [1, 2, 3]
    memory.rm("/zips", recursive=True)
