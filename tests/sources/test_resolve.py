"""Archives among the paths of a scan: which rows their members become."""

import io
import os
import random
import shutil
import subprocess
import sys
import tarfile
import zipfile

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import fastdcm
from fastdcm import dcmread, scan, scan_chunk
from fastdcm.sources._paths import (
    Walk,
)
from fastdcm.sources.archives import lookup
from support.archives import (
    FEW,
    MEMBERS,
    NAME,
    PACKINGS,
    TAGS,
    compress,
    image,
    inner,
    linux,
    make,
    table,
)
from support.builder import (
    element,
    part10,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The members as files."""
    folder = tmp_path_factory.mktemp("unpacked")
    for name, data in MEMBERS.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder


@pytest.fixture(scope="module")
def packed(tmp_path_factory):
    """{packing: path}, made at first use."""
    home = tmp_path_factory.mktemp("packed")

    class Made(dict):
        def __missing__(self, name):
            self[name] = make(home / name, MEMBERS)
            return self[name]

    return Made()


# ------------------------------------------------------------------- rows ---


@pytest.mark.parametrize("name", PACKINGS)
@pytest.mark.parametrize("pixels", [False, "frames"])
def test_members_have_the_rows_of_the_same_files_in_a_folder(folder, packed, name, pixels):
    path = packed[name]
    expected = table(folder, pixels)
    for threads in (1, 2, 5):
        rows = table(path, pixels, threads=threads)
        assert [row["path"] for row in rows] == [f"{path}!/{name}" for name in MEMBERS]
        for row, one in zip(rows, expected, strict=True):
            assert row["mtime_ns"] == path.stat().st_mtime_ns
            same = {**one, "path": row["path"], "mtime_ns": row["mtime_ns"]}
            assert row == same


def test_members_take_the_position_of_their_archive(tmp_path):
    files = {name: part10(NAME) for name in ("1", "2", "3")}
    folder = tmp_path / "in"
    (folder / "c").mkdir(parents=True)
    for name in ("a", "b", "d", "z"):
        (folder / name).write_bytes(part10(NAME))
    make(folder / "aa.zip", files)
    make(folder / "c" / "pax.tar", files)
    make(folder / "c" / "stored.zip", {})
    make(folder / "c" / "packed.tar.gz", files)
    shutil.copy(folder / "aa.zip", folder / "zz.zip")
    inside = ["!/1", "!/2", "!/3"]
    expected = [
        "a",
        *("aa.zip" + m for m in inside),
        "b",
        *("c/packed.tar.gz" + m for m in inside),
        *("c/pax.tar" + m for m in inside),
        "d",
        "z",
        *("zz.zip" + m for m in inside),
    ]
    expected = [f"{folder}/{name}" for name in expected]
    for threads in (1, 2, 5):
        for batch_size in (1, 3, 4096):
            batches = list(scan(folder, TAGS, threads=threads, batch_size=batch_size))
            assert [path for batch in batches for path in batch.column("path")] == expected
            assert all(len(batch) == batch_size for batch in batches[:-1])
            assert all(error is None for batch in batches for error in batch.column("error"))
    listed = sorted(path for path in folder.rglob("*") if path.is_file())
    assert [row["path"] for row in table(listed)] == expected
    assert [row["path"] for row in table(f"{folder}/*.zip")] == [p for p in expected if ".zip" in p]
    scan(folder, TAGS).write(tmp_path / "rows.parquet")
    again = scan(tmp_path / "rows.parquet", TAGS)
    assert again.read_all().equals(scan(folder, TAGS).read_all()) and again.stats["errors"] == 0


@pytest.mark.parametrize("name", FEW)
def test_members_may_be_listed_in_any_order(folder, packed, name):
    other = packed["gnu.tar"]
    paths = (
        [f"{packed[name]}!/{member}" for member in MEMBERS]
        + [f"{other}!/z/00{i}" for i in range(9)]
        + [str(folder / "japanese"), str(folder / "none"), f"{packed[name]}!/none", str(other)]
    )
    random.Random(3).shuffle(paths)
    rows = scan_chunk(paths, TAGS).to_pydict()
    expected = []
    for path in paths:
        expected += [f"{other}!/{member}" for member in MEMBERS] if path == str(other) else [path]
    assert rows["path"] == expected
    alone = {row["path"]: row for path in paths for row in table([path])}
    for i, path in enumerate(expected):
        assert {key: values[i] for key, values in rows.items()} == alone[path]
    missing = alone[f"{packed[name]}!/none"]
    assert (missing["error"], missing["size"]) == ("open", None)
    assert missing["error_detail"] == "the archive has no such member"
    assert table(f"{packed[name]}!/a/plain") == [alone[f"{packed[name]}!/a/plain"]]


def test_archives_with_one_member_and_with_none(tmp_path):
    for name in PACKINGS:
        path = make(tmp_path / name, {"one": part10(NAME)})
        assert [row["error"] for row in table(path)] == [None]
        assert table(make(path, {})) == []


def test_folders_links_and_devices_have_no_rows(tmp_path):
    for name in ("pax.tar", "packed.tar.gz"):
        with tarfile.open(tmp_path / name, "w:gz" if "gz" in name else "w") as file:
            for kind in (
                tarfile.DIRTYPE,
                tarfile.SYMTYPE,
                tarfile.LNKTYPE,
                tarfile.FIFOTYPE,
                tarfile.CHRTYPE,
            ):
                info = tarfile.TarInfo("it")
                info.type, info.linkname, info.size = kind, "/etc/passwd", 0
                file.addfile(info)
            info = tarfile.TarInfo("./x")
            info.size = len(part10(NAME))
            file.addfile(info, io.BytesIO(part10(NAME)))
        assert inner(table(tmp_path / name)) == ["x"]
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        file.writestr("folder/", b"")
        link = zipfile.ZipInfo("link")
        link.create_system, link.external_attr = 3, 0o120777 << 16
        file.writestr(link, "/etc/passwd")
        file.writestr("x", part10(NAME))
    assert inner(table(tmp_path / "a.zip")) == ["x"]


@pytest.mark.skipif(sys.platform != "linux", reason="the file system accepts only UTF-8 names")
def test_part_of_a_chunk_keeps_display_paths_and_errors(tmp_path):
    for name in (b"a", b"b\xff", b"c/x", b"d"):
        path = os.path.join(os.fsencode(tmp_path), name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb"):
            pass
    os.symlink(tmp_path, tmp_path / "e.zip")  # leads back: a folder in error
    make(tmp_path / "d.zip", {"x": part10(NAME)})
    rows = table(tmp_path)
    assert [row["path"].rpartition("/")[2] for row in rows] == ["a", "b%FF", "x", "d", "x", "e.zip"]
    assert [row["error"] for row in rows] == ["empty"] * 4 + [None, "walk"]
    assert Walk(os.fsencode(tmp_path)).read_chunk(10).part(1, 3).paths()[0].endswith(b"b\xff")


def test_files_that_only_have_the_suffix_of_an_archive(tmp_path):
    for name in ("a.zip", "a.tar", "a.tgz", "a.tar.zst", "a.7z"):
        (tmp_path / name).write_bytes(part10(NAME))
    (tmp_path / "b.tar.gz").write_bytes(compress(part10(NAME) + bytes(1000)))
    (tmp_path / "c.zip").write_bytes(b"")
    (tmp_path / "d.zip").mkdir()
    (tmp_path / "d.zip" / "e").write_bytes(part10(NAME))
    rows = table(tmp_path)
    assert [row["error"] for row in rows] == [None] * 6 + ["empty", None]
    assert rows[0]["path"] == str(tmp_path / "a.7z")
    assert inner(rows)[5:] == ["b.tar", "", ""]  # one compressed file
    rows = table([tmp_path / "none.zip", tmp_path / "d.zip"])
    assert [row["error"] for row in rows] == ["open", None]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no FIFOs")
def test_a_fifo_does_not_block(tmp_path):
    os.mkfifo(tmp_path / "a.tar")
    assert [row["error"] for row in table(tmp_path)] == ["not-regular"]


def test_7z_is_an_error_row(tmp_path):
    (tmp_path / "a.7z").write_bytes(b"7z\xbc\xaf\x27\x1c" + bytes(100))
    (row,) = table(tmp_path)
    assert (row["error"], row["error_detail"]) == ("archive", lookup.SEVEN_ZIP)
    with pytest.raises(ValueError, match="7z archives are not supported"):
        scan(tmp_path / "a.7z")


@linux
def test_few_descriptors_stay_open(tmp_path):
    paths = [make(tmp_path / f"{i}.zip", {"x": image(i)[0]}) for i in range(20)]
    before = len(os.listdir("/proc/self/fd"))
    for path in paths:
        assert dcmread(f"{path}!/x").InstanceNumber is not None
        assert len(table(path)) == 1
    assert len(os.listdir("/proc/self/fd")) <= before + 5


# ---------------------------------------------------------- other readers ---


def test_volumes_and_loaders_read_members(tmp_path):
    values = [np.random.default_rng(i).integers(0, 99, (8, 8)).astype("<i2") for i in range(5)]

    def slice_(i):
        parts = [
            (0x00080060, "CS", "CT"),
            (0x0020000E, "UI", "1.2"),
            (0x00200032, "DS", f"0\\0\\{i}"),
            (0x00200037, "DS", "1\\0\\0\\0\\1\\0"),
            (0x00280002, "US", 1),
            (0x00280004, "CS", "MONOCHROME2"),
            (0x00280010, "US", 8),
            (0x00280011, "US", 8),
            (0x00280030, "DS", "1\\1"),
            (0x00280100, "US", 16),
            (0x00280101, "US", 16),
            (0x00280102, "US", 15),
            (0x00280103, "US", 1),
        ]
        return part10(
            b"".join(element(*part) for part in parts)
            + element(0x7FE00010, "OW", values[i].tobytes())
        )

    for name in FEW:
        path = make(tmp_path / name, {f"{i}": slice_(i) for i in range(5)})
        assert np.array_equal(fastdcm.read_volume(path).array, np.stack(values))
    pytest.importorskip("torch")
    from fastdcm.ml import DicomDataset

    for name in FEW:
        data = DicomDataset(tmp_path / name, rescale=False)
        assert np.array_equal(
            np.stack([np.asarray(data[i]["image"])[0] for i in range(5)]), np.stack(values)
        )


def test_commands_accept_members(tmp_path):
    pytest.importorskip("click")
    data, _ = image(1)
    path = make(tmp_path / "packed.tar.gz", {"f/x": data})
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    for args in (
        ["dump", "packed.tar.gz!/f/x"],
        ["scan", "packed.tar.gz!/f/x", "--fail-on-error"],
        ["image", "packed.tar.gz!/f/x", "-o", "x.png"],
        ["summary", "packed.tar.gz"],
    ):
        done = subprocess.run(
            [sys.executable, "-c", "from fastdcm.cli import main; main()", *args],
            cwd=path.parent,
            env=env,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr


# --------------------------------------------------------------- property ---


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.sampled_from(PACKINGS),
    st.integers(1, 5),
    st.integers(1, 60),
    st.lists(
        st.tuples(
            st.text(st.characters(min_codepoint=33, codec="utf-8"), min_size=1, max_size=40),
            st.sampled_from(list(MEMBERS.values())[:7]),
            st.integers(0, 2000),
        ),
        max_size=30,
        unique_by=lambda one: one[0],
    ),
)
def test_any_archive_has_the_rows_of_its_files(tmp_path, name, threads, batch_size, members):
    members = {
        f"m{i}/{path}".rstrip("/"): data + bytes(size)
        for i, (path, data, size) in enumerate(members)
        if "\\" not in path
    }
    path = make(tmp_path / name, members)
    rows = table(path, True, threads=threads, batch_size=batch_size)
    assert inner(rows) == list(members)
    for row, data in zip(rows, members.values()):
        (tmp_path / "x").write_bytes(data)
        (one,) = table([tmp_path / "x"], True)
        assert row == {**one, "path": row["path"], "mtime_ns": row["mtime_ns"]}
