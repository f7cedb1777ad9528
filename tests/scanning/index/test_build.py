"""Scans into an index folder: whatever stops them, the same call goes on, and
the table is the one of an undisturbed run."""

import errno
import os
import random
import shutil
import signal
import subprocess
import sys
import time
import zipfile

import pyarrow
import pytest
from scanning.test_scan_run import threads_alive
from support.file_lists import make, rows

import fastdcm
from fastdcm._util import atomic
from fastdcm.errors import DicomError
from fastdcm.scanning.index import build, file_list, manifest
from fastdcm.scanning.index.manifest import Manifest, open_index
from fastdcm.sources._paths import chunk_from_paths
from support import builder as b
from support.damaged import nested

TAGS = ["SOPInstanceUID", "InstanceNumber", "ImageType"]
posix = pytest.mark.skipif(os.name == "nt", reason="signals and links of POSIX")


def file_of(i):
    return b.part10(
        b.element(0x00080008, "CS", ["A", "B"][: i % 3])
        + b.element(0x00080018, "UI", f"1.2.{i}")
        + b.element(0x00200013, "IS", str(i))
    )


def fill(folder, count):
    """Files in folders of 100, every 97th empty."""
    for i in range(count):
        path = folder / f"{i // 100:02d}" / f"{i:04d}.dcm"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"" if i % 97 == 96 else file_of(i))


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    folder = tmp_path_factory.mktemp("archive")
    fill(folder, 1000)
    return str(folder)


@pytest.fixture
def small_parts(monkeypatch):
    monkeypatch.setattr(build, "_PART", 150)
    monkeypatch.setattr(file_list, "BLOCK", 400)
    monkeypatch.setattr(build, "_LOOK", 130)


def scan(source, **options):
    return fastdcm.scan(source, TAGS, **{"batch_size": 64, **options})


def left_over(index):
    """What lies in an index and is not named."""
    book = Manifest(index)
    named = {os.path.abspath(path) for path, _ in book.files()}
    return [
        path
        for path in (
            os.path.abspath(os.path.join(folder, name))
            for folder, _, names in os.walk(index)
            for name in names
        )
        if path not in named and os.path.basename(path) not in ("manifest.jsonl", "lock")
    ]


def same(index, expected):
    """The index is complete, whole, and has these rows."""
    opened = open_index(index)
    assert opened.complete and opened.read_all().equals(expected)
    opened.verify()
    assert left_over(index) == []


# ---------------------------------------------------------- undisturbed ---


@pytest.mark.parametrize("threads", [1, 2, 7, None])
@pytest.mark.parametrize("options", [{}, {"pixels": "frames"}, {"on_error": "skip"}])
def test_the_rows_are_those_of_a_table(archive, tmp_path, small_parts, threads, options):
    index = f"{tmp_path}/index/"
    before = threads_alive()
    stats = scan(archive, threads=threads, **options).write(index)
    assert threads_alive() == before
    scan(archive, **options).write(tmp_path / "x.parquet")
    same(index, pyarrow.parquet.read_table(tmp_path / "x.parquet"))
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


def test_a_part_is_of_65536_rows(tmp_path):
    paths = [tmp_path / "a.dcm"]
    paths[0].write_bytes(file_of(1))
    scan(paths * 65_600, batch_size=4096).write(f"{tmp_path}/index/")
    assert [part["rows"] for part in Manifest(tmp_path / "index").parts] == [65_536, 64]
    assert open_index(tmp_path / "index").read_all()["InstanceNumber"].to_pylist() == [1] * 65_600


@pytest.mark.parametrize("threads", [1, 2])
def test_a_part_of_archives_ends_with_its_rows(tmp_path, small_parts, threads):
    """Not with so many archives: each may be a year of work."""
    for i in range(60):
        if i % 7 == 6:
            (tmp_path / f"{i:02}.dcm").write_bytes(file_of(1))
            continue
        with zipfile.ZipFile(tmp_path / f"{i:02}.zip", "w") as archive:
            for j in range(200):
                archive.writestr(f"{j}", file_of(j))
    source, index = sorted(tmp_path.iterdir()), f"{tmp_path}/index/"
    stats = scan(source, threads=threads, batch_size=50).write(index)
    expected = scan(source).read_all()
    same(index, expected)
    parts = Manifest(index).parts
    assert stats["files"] == len(expected) == 52 * 200 + 8
    # what was on its way, and what is left of the last archive
    most = {1: 150 + 50 + 200, 2: 150 + 50 + 4096 + 1024 + 200}[threads]
    assert (
        all(150 <= part["rows"] <= most for part in parts[:-1])
        and len(parts) >= {1: 26, 2: 2}[threads]
    )


@pytest.mark.parametrize("threads", [1, 2])
def test_nothing_at_all(tmp_path, threads):
    (tmp_path / "in").mkdir()
    index = f"{tmp_path}/index/"
    stats = scan(tmp_path / "in", threads=threads).write(index)
    assert (stats["files"], stats["total"]) == (0, 0)
    same(index, scan([]).read_all())
    assert os.path.isfile(f"{index}part-000001.parquet")  # readers of all parts find the schema


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
        same(tmp_path / f"{i}", expected)


@posix
def test_paths_of_any_bytes(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    for name in (b"caf\xe9.dcm", b"file:x", "\u00e9\n.dcm".encode(), b" "):
        with open(os.path.join(os.fsencode(folder), name), "wb") as file:
            file.write(file_of(1))
    scan(folder).write(f"{tmp_path}/index/")
    same(tmp_path / "index", scan(folder).read_all())
    assert open_index(tmp_path / "index").errors == 0
    scan(str(tmp_path / "index")).write(f"{tmp_path}/second/")
    same(tmp_path / "second", scan(folder).read_all())


@posix
def test_folders_that_cannot_be_listed(tmp_path):
    folder = tmp_path / "in"
    (folder / "b").mkdir(parents=True)
    (folder / "a").symlink_to(".")  # leads back
    (folder / "b" / "x").write_bytes(file_of(1))
    (folder / "c").mkdir()
    (folder / "c" / "y").write_bytes(file_of(2))
    (folder / "c").chmod(0)
    (folder / "d").symlink_to("nowhere")
    os.mkfifo(folder / "e")
    try:
        expected = scan(folder).read_all()
        scan(folder).write(f"{tmp_path}/index/")
    finally:
        (folder / "c").chmod(0o755)
    same(tmp_path / "index", expected)
    errors = dict(zip(*(expected[name].to_pylist() for name in ("path", "error"))))
    assert errors[f"{folder}/a"] == "walk" and errors[f"{folder}/d"] == "open"
    assert errors[f"{folder}/e"] == "not-regular" and errors[f"{folder}/b/x"] is None
    if f"{folder}/c" in errors:  # not so for the superuser
        assert errors[f"{folder}/c"] == "walk"


def test_an_index_in_what_is_scanned(tmp_path, monkeypatch):
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
def test_what_is_left_out(tmp_path):
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
    left = build._Own(str(index)).left_out(chunk)
    left.stat()
    assert [(row[0], row[3]) for row in rows(left)] == [
        (os.fsencode(path), failed.get(path, 0)) for path in others
    ]
    plain = chunk_from_paths(["a", "b"])
    assert build._Own(str(index)).left_out(plain) is plain


# ------------------------------------------------------------- going on ---


def listed_only(index):
    """Back to where the files were listed and nothing read."""
    book = Manifest(index)
    with open(book.path, "rb+") as file:
        file.readline()
        file.truncate()
    manifest.sweep(index, Manifest(index))


def test_an_index_that_is_complete_is_left_alone(archive, tmp_path, small_parts):
    index = f"{tmp_path}/index/"
    scan(archive).write(index)
    times = {name: os.stat(os.path.join(index, name)).st_mtime_ns for name in os.listdir(index)}
    work = build.Ingest(scan(archive), index)
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

    assert refused(archive, TAGS[:2]).endswith("otherwise: tags with ImageType")
    assert refused(archive, [*TAGS, "Rows"]).endswith("tags without Rows")
    assert refused(archive, TAGS[::-1]).endswith("tags in another order")
    assert refused(archive, None).endswith(
        "tags without PatientID, PatientName, PatientBirthDate, PatientSex, "
        "StudyInstanceUID and 22 more"
    )
    assert refused(archive, pixels=True).endswith("pixels False, not True")
    assert refused(archive, pixels="frames", on_error="skip").endswith(
        "pixels False, not frames; on_error row, not skip"
    )
    assert refused(f"{archive}/00").endswith(f"source with {archive} and without {archive}/00")
    assert "not a list of 1 paths" in refused(paths)
    assert fastdcm.scan(archive + "/", TAGS, threads=1, batch_size=10).write(index)["files"] == 1000
    # a list is known by its paths
    listed = f"{tmp_path}/listed/"
    scan(paths).write(listed)
    scan(iter(paths)).write(listed)
    with pytest.raises(DicomError, match="source a list of 1 paths .*, not a list of 2 paths"):
        scan(paths * 2).write(listed)
    # relative paths begin where they began
    monkeypatch.chdir(archive)
    scan("00").write(f"{tmp_path}/relative/")
    scan("00").write(f"{tmp_path}/relative/")
    monkeypatch.chdir(tmp_path)
    shutil.copytree(f"{archive}/00", "00")
    with pytest.raises(DicomError, match=f"its paths begin in {archive}"):
        scan("00").write("relative/")
    # columns of another type
    book = Manifest(index)
    other = pyarrow.schema([("path", pyarrow.int8())])
    Manifest.create(index, {**book.head, "schema": manifest.schema_text(other)})
    with pytest.raises(DicomError, match="columns have other types"):
        scan(archive).write(index)


def test_a_folder_that_holds_something_else(archive, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match="not empty, and no index"):
        scan(archive).write(f"{tmp_path}/")
    with pytest.raises(ValueError, match="a folder on a disk"):
        scan(archive).write("s3://bucket/index/")
    with pytest.raises(ValueError, match="that of an index folder in /"):
        scan(archive).write(tmp_path / "index")
    assert os.listdir(tmp_path) == ["notes.txt"]
    (tmp_path / "empty").mkdir()
    scan(f"{archive}/00").write(f"{tmp_path}/empty/")
    scan(f"{archive}/00").write(tmp_path / "empty")  # there is an index


def test_a_part_that_is_gone(archive, tmp_path, small_parts):
    index = f"{tmp_path}/index/"
    scan(archive).write(index)
    os.unlink(f"{index}part-000003.parquet")
    with pytest.raises(DicomError) as caught:
        scan(archive).write(index)
    assert (caught.value.code, caught.value.filename) == (
        "index-damaged",
        f"{index}part-000003.parquet",
    )


def test_files_that_change_after_they_were_listed(tmp_path, small_parts):
    folder, index = tmp_path / "in", f"{tmp_path}/index/"
    fill(folder, 400)
    scan(folder).write(index)
    listed_only(index)
    paths = sorted(str(path) for path in folder.rglob("*.dcm"))
    os.unlink(paths[10])
    os.truncate(paths[20], 100)
    with open(paths[30], "wb") as file:
        file.write(file_of(7777))
    (folder / "00" / "0000a.dcm").write_bytes(file_of(1))  # came later
    scan(folder).write(index)
    expected = scan(paths).read_all()
    same(index, expected)
    errors = expected["error"].to_pylist()
    assert (errors[10], errors[20], errors[30]) == ("open", "not-dicom", None)
    assert expected["InstanceNumber"].to_pylist()[30] == 7777


@pytest.mark.parametrize("threads", [1, 2])
def test_on_error_raise_stops_and_goes_on(tmp_path, small_parts, threads):
    folder, index = tmp_path / "in", f"{tmp_path}/index/"
    fill(folder, 96)
    fill(folder / "later", 96)
    (folder / "x.dcm").write_bytes(b"nothing that can be read")
    before = threads_alive()
    for _ in range(2):
        with pytest.raises(fastdcm.InvalidDicomError) as caught:
            scan(folder, threads=threads, on_error="raise").write(index)
        assert caught.value.filename == str(folder / "x.dcm")
        assert threads_alive() == before
        assert open_index(index).rows == 150 and not open_index(index).complete
        assert left_over(index) == []
    (folder / "x.dcm").write_bytes(file_of(5))
    stats = scan(folder, threads=threads, on_error="raise").write(index)
    assert (stats["files"], stats["errors"]) == (193, 0)
    same(index, scan(folder).read_all())


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_full_disk(archive, tmp_path, small_parts, monkeypatch, threads, call):
    """Each time one step further than the time before."""
    index, expected = f"{tmp_path}/index/", scan(archive).read_all()
    before, runs, real = threads_alive(), 0, getattr(os, call)
    for room in range(100):
        left = [room]

        def full(*args):
            left[0] -= 1
            if left[0] < 0:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return real(*args)

        monkeypatch.setattr(atomic.os, call, full)
        try:
            scan(archive, threads=threads).write(index)
        except OSError as error:
            assert error.errno == errno.ENOSPC
            assert threads_alive() == before
        else:
            break
        if os.path.exists(f"{index}_fastdcm/manifest.jsonl"):
            opened = open_index(index)
            assert not opened.complete
            assert opened.read_all().equals(expected[: opened.rows])
    assert 2 < room < 99
    monkeypatch.undo()
    same(index, expected)


def test_what_a_source_raises(archive, tmp_path, small_parts):
    def paths():
        yield from [f"{archive}/00/0000.dcm"] * 300
        raise KeyError("of the user")

    with pytest.raises(KeyError, match="of the user"):
        scan(paths()).write(f"{tmp_path}/index/")
    with pytest.raises(TypeError):
        scan([3]).write(f"{tmp_path}/index/")
    with pytest.raises(ValueError, match="not been listed to the end"):
        open_index(tmp_path / "index")
    scan(archive).write(f"{tmp_path}/index/")
    same(tmp_path / "index", scan(archive).read_all())


# -------------------------------------------------------------- crashes ---

PROGRAM = """
import os, sys
from fastdcm.scanning.index import build
from fastdcm.scanning.index import file_list
from fastdcm.scanning.scanner import scan
build._PART, file_list.BLOCK, build._LOOK = 150, 400, 130

def run(source, index, threads):
    scan(source, {tags}, threads=threads, batch_size=64).write(index)
""".replace("{tags}", repr(TAGS))

# Ends, without a word, at the n-th call of a function that puts something on
# the disk, before it does or after; then an undisturbed run, in a process of
# its own again. For each n, until there is no such call.
CRASHES = (
    PROGRAM
    + """
import itertools
import stat
import traceback

import pyarrow.parquet  # once, not in each child

def child(work):
    pid = os.fork()
    if not pid:
        try:
            work()
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

def crash(owner, name, n, when, index):
    real, calls = getattr(owner, name), itertools.count(1)
    def call(*args, **options):
        at_hand = next(calls) == n
        if at_hand and when == "torn" and stat.S_ISREG(os.fstat(args[0]).st_mode):
            os.ftruncate(args[0], os.fstat(args[0]).st_size - 5)  # it came to the disk in part
        if at_hand and when != "after":
            os._exit(9)
        result = real(*args, **options)
        if at_hand:
            os._exit(9)
        return result
    setattr(owner, name, call)
    run(sys.argv[1], index, threads)

threads = int(sys.argv[3])
for owner, name, when in ((os, "fsync", "before"), (os, "fsync", "torn"), (os, "replace", "before"),
                          (os, "replace", "after"), (build.Summed, "write", "after")):
    for n in itertools.count(1, 7 if name == "write" else 1):
        index = f"{sys.argv[2]}/{name}-{when}-{n}/"
        status = child(lambda: crash(owner, name, n, when, index))
        if status == 0:
            break
        assert status == 9, status
        assert child(lambda: run(sys.argv[1], index, threads)) == 0
    print(name, when, n)
"""
)


@posix
@pytest.mark.parametrize("threads", [1, 2])
def test_a_crash_at_every_step(archive, tmp_path, small_parts, threads):
    source = f"{archive}/0[0-3]"
    expected = scan(source).read_all()
    done = subprocess.run(
        [sys.executable, "-c", CRASHES, source, tmp_path, str(threads)],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    steps = {tuple(line.split()[:2]): int(line.split()[2]) for line in done.stdout.splitlines()}
    assert (
        steps["replace", "before"] == steps["replace", "after"] == 6
    )  # the list, the manifest, three parts
    assert (
        steps["fsync", "before"] == steps["fsync", "torn"] == 17
    )  # two of each and of the folder, four lines
    assert steps["write", "after"] > 7
    scan(source).write(f"{tmp_path}/reference/")
    reference = Manifest(tmp_path / "reference").parts
    assert len(os.listdir(tmp_path)) > 40
    for name in os.listdir(tmp_path):
        same(tmp_path / name, expected)
        assert Manifest(tmp_path / name).parts == reference, name  # to the last byte


def killed(source, index, seconds, expected=None, threads=2):
    """Runs the program and kills it after so long; whether it was killed."""
    program = (
        PROGRAM + "print('begun', flush=True)\nrun(sys.argv[1], sys.argv[2], int(sys.argv[3]))"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, source, index, str(threads)], stdout=subprocess.PIPE
    ) as process:
        process.stdout.readline()
        time.sleep(seconds)
        process.send_signal(signal.SIGKILL)
        process.wait()
    if expected is not None and os.path.exists(os.path.join(index, "_fastdcm", "manifest.jsonl")):
        opened = open_index(index)
        assert opened.read_all().equals(expected[: opened.rows])
    return process.returncode == -signal.SIGKILL


@posix
@pytest.mark.parametrize("threads", [1, 2])
def test_killed_at_random_and_gone_on_with(tmp_path, small_parts, threads):
    folder, index, chance = tmp_path / "in", f"{tmp_path}/index/", random.Random(threads)
    fill(folder, 3000)
    expected = scan(folder).read_all()
    begin = time.perf_counter()
    scan(folder, threads=threads).write(f"{tmp_path}/reference/")
    took = time.perf_counter() - begin
    kills = 0
    for _ in range(25):
        if not killed(str(folder), index, chance.uniform(0, took), expected, threads):
            break
        kills += 1
    scan(folder, threads=threads).write(index)
    same(index, expected)
    assert kills >= 2
    assert Manifest(index).parts == Manifest(tmp_path / "reference").parts


# ---------------------------------------------------------- two at once ---


def test_one_process_at_a_time(archive, tmp_path, small_parts):
    index = f"{tmp_path}/index/"
    program = (
        PROGRAM
        + """
def paths():
    yield from [sys.argv[1]] * 400
    print("listing", flush=True)
    sys.stdin.readline()

run(paths(), sys.argv[2], 2)
"""
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, f"{archive}/00/0000.dcm", index],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as first:
        assert first.stdout.readline() == b"listing" + os.linesep.encode()
        with pytest.raises(DicomError) as caught:
            scan(archive).write(index)
        assert (caught.value.code, caught.value.filename) == ("index-in-use", index)
        done = subprocess.run(
            [
                sys.executable,
                "-c",
                "from fastdcm.cli import main; main()",
                "scan",
                archive,
                "-o",
                index,
            ],
            capture_output=True,
            text=True,
        )
        assert done.returncode == 2
        assert done.stderr.splitlines() == [
            f"error: another process writes to the index: file {index!r}",
            "hint: wait until it is done",
        ]
        first.kill()
    scan(archive).write(index)  # the dead hold no lock
    same(index, scan(archive).read_all())


# ----------------------------------------------------------- full disks ---


@posix
def test_a_disk_that_is_really_full(tmp_path):
    """As far as the system can be told that files may not grow: first the list
    does not fit, then a part."""
    folder, index = tmp_path / "in", f"{tmp_path}/index/"
    folder.mkdir()
    for i in range(2000):
        (folder / f"{i:04d}.dcm").write_bytes(file_of(random.Random(i).randrange(10**12)))
    scan(folder).write(f"{tmp_path}/reference/")
    listed, part = (os.path.getsize(path) for path, _ in Manifest(tmp_path / "reference").files())
    assert listed < part - 2000

    def run(room):
        program = (
            f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({room}, {room}));"
            "from fastdcm.cli import main; main()"
        )
        done = subprocess.run(
            [sys.executable, "-c", program, "scan", folder, "-o", index, "--tags", ",".join(TAGS)],
            capture_output=True,
            text=True,
        )
        assert (
            left_over(index) == []
            if os.path.exists(f"{index}_fastdcm/manifest.jsonl")
            else os.listdir(index) == ["_fastdcm"]
        )
        return done.returncode, done.stderr

    for room, name in (
        (listed - 1000, "_fastdcm/files-000001.parquet"),
        (part - 1000, "part-000001.parquet"),
    ):
        status, told = run(room)
        assert (status, told) == (
            2,
            f"error: {index}{name}: {os.strerror(errno.EFBIG)}\n"
            "hint: the same command goes on from here, when that is mended\n",
        )
    assert open_index(index).rows == 0
    status, told = run(1 << 20)
    assert status == 0 and told.startswith("2,000 files, 0 errors")
    same(index, scan(folder).read_all())


# ---------------------------------------------------------------- large ---

COUNT = int(os.environ.get("FASTDCM_INGEST_FILES", 1_000_000))


def ten_kinds(folder):
    """Ten functions that put something at a path which cannot be read."""
    texts = {
        "empty": b"",
        "text": b"These are my notes about the archive. " * 9,
        "zeros": bytes(400),
        "short": b"DI",
        "picture": b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 2,
        "depth": b.part10(nested(200, undefined=True) + b.element(0x00200013, "IS", "1")),
        "deflate": b.preamble() + b.file_meta(b.DEFLATED_LE) + b"\xff" * 100,
    }
    for name, raw in texts.items():
        (folder / name).write_bytes(raw)
        yield lambda path, name=name: os.link(folder / name, path)
    yield lambda path: os.symlink("nowhere", path)
    yield lambda path: os.symlink(os.path.basename(path), path)  # leads to itself
    yield os.mkfifo


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """COUNT files, hard links into 3,000, one in a thousand of them bad."""
    base = tmp_path_factory.mktemp("large")
    seeds, folder = base / "seeds", base / "in"
    seeds.mkdir()
    for i in range(3000):
        (seeds / f"{i}").write_bytes(file_of(i))
    kinds = list(ten_kinds(seeds))
    for i in range(COUNT):
        if i % 1000 == 0:
            inner = folder / f"{i // 1000:04d}"
            inner.mkdir(parents=True)
        path = f"{inner}/{i:07d}.dcm"
        if i % 1000 == 500:
            kinds[i // 1000 % 10](path)
        else:
            os.link(seeds / f"{i % 3000}", path)
    yield str(folder)
    shutil.rmtree(base)


LARGE = """
import sys

import pyarrow.parquet

from fastdcm.scanning.scanner import scan
print("begun", flush=True)
scan(sys.argv[1]).write(sys.argv[2])
print(next(line.split()[1] for line in open("/proc/self/status") if "VmHWM" in line))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the peak of a process is read in /proc")
def test_a_million_files(large, tmp_path):
    index = f"{tmp_path}/index/"
    begin = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", LARGE, large, index], capture_output=True, text=True, check=True
    )
    took = time.perf_counter() - begin
    assert int(done.stdout.split()[1]) / 1024 < 250
    opened = open_index(index)
    opened.verify()
    assert (opened.rows, opened.errors, opened.complete) == (COUNT, COUNT // 1000, True)
    at, errors = 0, {}
    for batch in opened.batches(["path", "error", "InstanceNumber"]):
        for path, error, number in zip(
            *(batch.column(name).to_pylist() for name in batch.schema.names)
        ):
            assert path == f"{large}/{at // 1000:04d}/{at:07d}.dcm"
            assert (error is not None) == (at % 1000 == 500)
            assert number == (None if error else at % 3000)
            if error is not None:
                errors.setdefault(at // 1000 % 10, set()).add(error)
            at += 1
    assert at == COUNT
    assert errors == dict(
        zip(
            range(10),
            [
                {"empty"},
                {"not-dicom"},
                {"not-dicom"},
                {"not-dicom"},
                {"not-dicom"},
                {"depth"},
                {"deflate"},
                {"open"},
                {"open"},
                {"not-regular"},
            ],
        )
    )
    # killed ten times, and gone on with
    chance, again, kills = random.Random(4), f"{tmp_path}/again/", 0
    while kills < 10:
        with subprocess.Popen(
            [sys.executable, "-c", LARGE, large, again], stdout=subprocess.PIPE
        ) as process:
            process.stdout.readline()
            time.sleep(chance.uniform(0, took / 4))
            process.kill()
        kills += process.returncode == -signal.SIGKILL
        if not process.returncode:  # it was faster
            shutil.rmtree(again)
    subprocess.run([sys.executable, "-c", LARGE, large, again], check=True, capture_output=True)
    open_index(again).verify()
    assert Manifest(again).parts == Manifest(index).parts  # all bytes, by their checksums
    assert Manifest(again).complete
