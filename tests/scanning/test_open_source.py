"""What a scan accepts as a source: tables, globs, single files."""

import io
import os

import pyarrow
import pyarrow.parquet
import pytest

import fastdcm
from fastdcm.scanning.scanner import scan
from fastdcm.sources.urls import path_text
from support.builder import part10
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


@pytest.fixture
def folders(tmp_path):
    """Folders of two and of three files, and one in the first."""
    for name in ("f/1", "f/2", "f/deep/3", "g/1", "g/2", "empty/none/x"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(part10(b""))
    (tmp_path / "empty/none/x").unlink()
    return tmp_path


def found(source, root, **options):
    """Return [(path relative to a folder, error)]."""
    rows = scan(source, [], **options).read_all().to_pylist()
    return [(os.path.relpath(row["path"], root), row["error"]) for row in rows]


F, G = ["f/1", "f/2", "f/deep/3"], ["g/1", "g/2"]


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("kind", [list, tuple])
@pytest.mark.parametrize(
    ("paths", "expected"),
    [
        (["f"], F),
        (["f", "g"], F + G),
        (["g", "f"], G + F),
        (["g/2", "f/", "g/1"], ["g/2", *F, "g/1"]),
        (["f/deep", "g/1"], ["f/deep/3", "g/1"]),
        (["empty", "g"], G),
        (["empty"], []),
        (["f", "f"], F + F),
        ([], []),
    ],
)
def test_folders_in_a_list_are_walked(folders, paths, expected, kind, threads):
    for path in (
        folders.joinpath,
        lambda p: f"{folders}/{p}",
        lambda p: os.fsencode(f"{folders}/{p}"),
    ):
        source = kind(path(p) for p in paths)
        assert found(source, folders, threads=threads) == [(path, None) for path in expected]


def test_a_folder_with_other_paths_of_the_list_in_it(folders):
    """As a list of all that ``rglob`` finds: no file twice."""
    listed = sorted(folders.rglob("*"))
    rows = found(listed, folders)
    assert [path for path, error in rows if error is None] == F + G
    assert {path for path, error in rows if error == "not-regular"} == {"empty", "f", "f/deep", "g"}
    assert found(iter([folders / "g"]), folders) == [("g", "not-regular")]
    many = [folders / "g", *[folders / "f/1"] * 4096]
    assert found(many, folders)[0] == ("g", "not-regular")


def test_a_folder_in_a_list_may_have_a_uri(folders):
    odd = os.path.join(os.fsencode(folders), b"caf\xe9")
    os.rename(folders / "g", odd)
    rows = scan([path_text(odd), folders / "f"], []).read_all()
    assert rows["path"].to_pylist()[:2] == [path_text(odd + b"/1"), path_text(odd + b"/2")]


def test_invalid_sources(tmp_path):
    with pytest.raises(FileNotFoundError):
        scan(tmp_path / "missing")
    with pytest.raises(TypeError, match=r"source must be a folder.*not int"):
        scan(3)


@pytest.mark.parametrize("read", [scan, fastdcm.read_volume, fastdcm.read_volumes])
def test_a_file_object_is_no_list_of_paths(tmp_path, read):
    """Its lines were taken for paths."""
    path = tmp_path / "a.dcm"
    path.write_bytes(b"a\nb\n")
    with open(path) as text, open(path, "rb") as binary:
        for file in (text, binary, io.BytesIO(b"a\nb\n"), io.StringIO("a\nb\n")):
            with pytest.raises(TypeError, match=r"not a file object \(\w+\): pass its path"):
                read(file)
