"""Building index folders: rows, parts, sources, and what an existing index is checked for."""

import errno
import os
import shutil
import zipfile

import pyarrow
import pyarrow.parquet
import pytest

import fastdcm
from fastdcm.errors import DicomError
from fastdcm.scanning.index import build
from fastdcm.scanning.index.folder import open_index
from fastdcm.scanning.index.manifest import Manifest, encode_schema
from fastdcm.sources._paths import chunk_from_paths
from support.file_lists import make, rows
from support.index_folders import TAGS, check_index, fill, numbered_file, posix, scan
from support.scans import count_threads


@pytest.mark.parametrize("threads", [1, 2, 7, None])
@pytest.mark.parametrize("options", [{}, {"pixels": "frames"}, {"on_error": "skip"}])
def test_the_rows_are_those_of_a_scan_to_a_file(archive, tmp_path, small_parts, threads, options):
    index = f"{tmp_path}/index/"
    before = count_threads()
    stats = scan(archive, threads=threads, **options).write(index)
    assert count_threads() == before
    scan(archive, **options).write(tmp_path / "x.parquet")
    check_index(index, pyarrow.parquet.read_table(tmp_path / "x.parquet"))
    assert (stats["files"], stats["errors"], stats["issues"]) == (1000, 10, 0)
    assert stats["listed"] == stats["total"] == 1000
    assert stats["files_per_second"] > 0 and stats["bytes_read"] > 0
    assert stats["threads"] == threads or threads is None
    parts = Manifest(index).parts
    assert [part["entries"] for part in parts] == [
        [0, 150],
        [150, 300],
        [300, 450],
        [450, 600],
        [600, 750],
        [750, 900],
        [900, 1000],
    ]
    assert sum(part["rows"] for part in parts) == (990 if "on_error" in options else 1000)


def test_parts_have_65536_rows(tmp_path):
    paths = [tmp_path / "a.dcm"]
    paths[0].write_bytes(numbered_file(1))
    scan(paths * 65_600, batch_size=4096).write(f"{tmp_path}/index/")
    assert [part["rows"] for part in Manifest(tmp_path / "index").parts] == [65_536, 64]
    assert open_index(tmp_path / "index").read_all()["InstanceNumber"].to_pylist() == [1] * 65_600


@pytest.mark.parametrize("threads", [1, 2])
def test_parts_of_archives_end_after_a_number_of_rows(tmp_path, small_parts, threads):
    """Not after a number of archives, each of which may have any number of members."""
    for i in range(60):
        if i % 7 == 6:
            (tmp_path / f"{i:02}.dcm").write_bytes(numbered_file(1))
            continue
        with zipfile.ZipFile(tmp_path / f"{i:02}.zip", "w") as archive:
            for j in range(200):
                archive.writestr(f"{j}", numbered_file(j))
    source, index = sorted(tmp_path.iterdir()), f"{tmp_path}/index/"
    stats = scan(source, threads=threads, batch_size=50).write(index)
    expected = scan(source).read_all()
    check_index(index, expected)
    parts = Manifest(index).parts
    assert stats["files"] == len(expected) == 52 * 200 + 8
    # also the rows that were being read, and the rest of the last archive
    most = {1: 150 + 50 + 200, 2: 150 + 50 + 4096 + 1024 + 200}[threads]
    assert (
        all(150 <= part["rows"] <= most for part in parts[:-1])
        and len(parts) >= {1: 26, 2: 2}[threads]
    )


@pytest.mark.parametrize("threads", [1, 2])
def test_a_source_without_files(tmp_path, threads):
    (tmp_path / "in").mkdir()
    index = f"{tmp_path}/index/"
    stats = scan(tmp_path / "in", threads=threads).write(index)
    assert (stats["files"], stats["total"]) == (0, 0)
    check_index(index, scan([]).read_all())
    assert os.path.isfile(f"{index}part-000001.parquet")  # has the schema


def test_sources(archive, tmp_path, small_parts):
    paths = [os.path.join(archive, "03", name) for name in sorted(os.listdir(f"{archive}/03"))]
    scan(paths).write(tmp_path / "list.csv")
    for i, source in enumerate(
        [
            paths,
            iter(paths),
            f"{archive}/0[12]",
            f"{archive}/04/*1.dcm",
            paths[0],
            tmp_path / "list.csv",
            ["", os.fsencode(paths[5]), tmp_path / "none"],
        ]
    ):
        expected = scan(paths if i == 1 else source).read_all()
        scan(source).write(f"{tmp_path}/{i}/")
        check_index(tmp_path / f"{i}", expected)


@posix
def test_paths_of_any_bytes(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    for name in (b"caf\xe9.dcm", b"file:x", "\u00e9\n.dcm".encode(), b" "):
        with open(os.path.join(os.fsencode(folder), name), "wb") as file:
            file.write(numbered_file(1))
    scan(folder).write(f"{tmp_path}/index/")
    check_index(tmp_path / "index", scan(folder).read_all())
    assert open_index(tmp_path / "index").errors == 0
    scan(str(tmp_path / "index")).write(f"{tmp_path}/second/")
    check_index(tmp_path / "second", scan(folder).read_all())


@posix
def test_folders_that_cannot_be_listed(tmp_path):
    folder = tmp_path / "in"
    (folder / "b").mkdir(parents=True)
    (folder / "a").symlink_to(".")  # a cycle
    (folder / "b" / "x").write_bytes(numbered_file(1))
    (folder / "c").mkdir()
    (folder / "c" / "y").write_bytes(numbered_file(2))
    (folder / "c").chmod(0)
    (folder / "d").symlink_to("nowhere")
    os.mkfifo(folder / "e")
    try:
        expected = scan(folder).read_all()
        scan(folder).write(f"{tmp_path}/index/")
    finally:
        (folder / "c").chmod(0o755)
    check_index(tmp_path / "index", expected)
    errors = dict(zip(*(expected[name].to_pylist() for name in ("path", "error"))))
    assert errors[f"{folder}/a"] == "walk" and errors[f"{folder}/d"] == "open"
    assert errors[f"{folder}/e"] == "not-regular" and errors[f"{folder}/b/x"] is None
    if f"{folder}/c" in errors:  # not for the superuser, who can list it
        assert errors[f"{folder}/c"] == "walk"


def test_an_index_inside_the_scanned_folder(tmp_path, monkeypatch):
    fill(tmp_path, 5)
    expected = scan(f"{tmp_path}/00").read_all()
    monkeypatch.chdir(tmp_path)
    for source, name in ((".", "index"), (str(tmp_path), "00/index"), ("**", "other")):
        index = os.path.join(name, "")
        scan(source).write(index)
        got = open_index(index).read_all()["path"].to_pylist()
        got = [path for path in map(os.path.normpath, got) if path.endswith(".dcm")]
        assert [os.path.abspath(path) for path in got] == expected["path"].to_pylist()
        assert not any(
            os.path.abspath(path).startswith(os.path.abspath(index))
            for path in open_index(index).read_all()["path"].to_pylist()
        )
        assert scan(source).write(index)["total"] == open_index(index).rows
        shutil.rmtree(index)


@posix
def test_own_files_are_excluded(tmp_path):
    index = tmp_path / "index"
    (index / "_fastdcm").mkdir(parents=True)
    (tmp_path / "link").symlink_to(index)
    (tmp_path / "part-a").mkdir()
    own = [
        index / "part-000001.parquet",
        index / "_fastdcm" / "lock",
        tmp_path / "link" / "part-000002.parquet",
        tmp_path / "link" / "_fastdcm" / "lock",
    ]
    others = [
        tmp_path / "part-a" / "x",
        tmp_path / "part-000001.parquet",
        tmp_path / "a_fastdcm",
        "part-000001.parquet",
    ]
    failed = {others[1]: errno.EIO, own[0]: errno.EACCES, others[3]: errno.EPERM}
    chunk = make(
        [
            (os.fsencode(path), 1, 1, failed.get(path, 0))
            for path in [*others[:2], *own, *others[2:]]
        ]
    )
    left = build._OwnFiles(str(index)).exclude_from(chunk)
    left.stat()
    assert [(row[0], row[3]) for row in rows(left)] == [
        (os.fsencode(path), failed.get(path, 0)) for path in others
    ]
    plain = chunk_from_paths(["a", "b"])
    assert build._OwnFiles(str(index)).exclude_from(plain) is plain


def test_a_complete_index_is_not_written_again(archive, tmp_path, small_parts):
    index = f"{tmp_path}/index/"
    scan(archive).write(index)
    times = {name: os.stat(os.path.join(index, name)).st_mtime_ns for name in os.listdir(index)}
    work = build.IndexBuild(scan(archive), index)
    stats = work.run()
    assert work.was_complete
    assert (stats["files"], stats["errors"], stats["total"], stats["bytes_read"]) == (
        1000,
        10,
        1000,
        0,
    )
    assert times == {
        name: os.stat(os.path.join(index, name)).st_mtime_ns for name in os.listdir(index)
    }


def test_other_parameters(archive, tmp_path, small_parts, monkeypatch):
    index = f"{tmp_path}/index/"
    scan(archive).write(index)
    paths = [os.path.join(archive, "00", "0001.dcm")]

    def refused(source, tags=TAGS, **options):
        with pytest.raises(DicomError) as caught:
            fastdcm.scan(source, tags, **options).write(index)
        assert (caught.value.code, caught.value.filename) == ("index-differs", index)
        return caught.value.text

    assert refused(archive, TAGS[:2]).endswith("parameters: tags: ImageType only in the index")
    assert refused(archive, [*TAGS, "Rows"]).endswith("tags: Rows only in the request")
    assert refused(archive, TAGS[::-1]).endswith("tags: in another order")
    assert refused(archive, None).endswith(
        "tags: PatientID, PatientName, PatientBirthDate, PatientSex, "
        "StudyInstanceUID and 22 more only in the request"
    )
    assert refused(archive, pixels=True).endswith("pixels: False in the index, True in the request")
    assert refused(archive, pixels="frames", on_error="skip").endswith(
        "pixels: False in the index, frames in the request; "
        "on_error: row in the index, skip in the request"
    )
    assert refused(f"{archive}/00").endswith(
        f"source: {archive} only in the index, {archive}/00 only in the request"
    )
    assert "a list of 1 paths" in refused(paths)
    assert fastdcm.scan(archive + "/", TAGS, threads=1, batch_size=10).write(index)["files"] == 1000
    # a list is identified by its paths
    listed = f"{tmp_path}/listed/"
    scan(paths).write(listed)
    scan(iter(paths)).write(listed)
    with pytest.raises(DicomError, match=r"source: a list of 1 paths .*, a list of 2 paths"):
        scan(paths * 2).write(listed)
    # relative paths belong to the same working directory
    monkeypatch.chdir(archive)
    scan("00").write(f"{tmp_path}/relative/")
    scan("00").write(f"{tmp_path}/relative/")
    monkeypatch.chdir(tmp_path)
    shutil.copytree(f"{archive}/00", "00")
    with pytest.raises(DicomError, match=f"its relative paths begin in {archive}, not in"):
        scan("00").write("relative/")
    # columns with other types
    manifest = Manifest(index)
    other = pyarrow.schema([("path", pyarrow.int8())])
    Manifest.create(index, {**manifest.head, "schema": encode_schema(other)})
    with pytest.raises(DicomError, match="its columns have other types"):
        scan(archive).write(index)


def test_a_folder_with_other_contents(archive, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match="not empty and not an index"):
        scan(archive).write(f"{tmp_path}/")
    with pytest.raises(ValueError, match="a folder on a local disk"):
        scan(archive).write("s3://bucket/index/")
    with pytest.raises(ValueError, match="or in / for an index folder"):
        scan(archive).write(tmp_path / "index")
    assert os.listdir(tmp_path) == ["notes.txt"]
    (tmp_path / "empty").mkdir()
    scan(f"{archive}/00").write(f"{tmp_path}/empty/")
    scan(f"{archive}/00").write(tmp_path / "empty")  # the index exists


def test_a_missing_part(archive, tmp_path, small_parts):
    index = f"{tmp_path}/index/"
    scan(archive).write(index)
    os.unlink(f"{index}part-000003.parquet")
    with pytest.raises(DicomError) as caught:
        scan(archive).write(index)
    assert (caught.value.code, caught.value.filename) == (
        "index-damaged",
        f"{index}part-000003.parquet",
    )
