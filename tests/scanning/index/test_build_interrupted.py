"""Interrupted builds: the same call resumes, and the rows are those of an undisturbed run."""

import errno
import os
import random
import signal
import subprocess
import sys
import time

import pytest

import fastdcm
from fastdcm._util import atomic
from fastdcm.errors import DicomError
from fastdcm.scanning.index.folder import open_index
from fastdcm.scanning.index.manifest import Manifest, remove_remains
from support.index_folders import TAGS, check_index, fill, numbered_file, posix, scan, unnamed_files
from support.scans import count_threads


def drop_parts(index):
    """Return an index to the state in which the files are listed and none is read."""
    manifest = Manifest(index)
    with open(manifest.path, "rb+") as file:
        file.readline()
        file.truncate()
    remove_remains(index, Manifest(index))


def test_files_that_change_after_they_were_listed(tmp_path, small_parts):
    folder, index = tmp_path / "in", f"{tmp_path}/index/"
    fill(folder, 400)
    scan(folder).write(index)
    drop_parts(index)
    paths = sorted(str(path) for path in folder.rglob("*.dcm"))
    os.unlink(paths[10])
    os.truncate(paths[20], 100)
    with open(paths[30], "wb") as file:
        file.write(numbered_file(7777))
    (folder / "00" / "0000a.dcm").write_bytes(numbered_file(1))  # came later
    scan(folder).write(index)
    expected = scan(paths).read_all()
    check_index(index, expected)
    errors = expected["error"].to_pylist()
    assert (errors[10], errors[20], errors[30]) == ("open", "not-dicom", None)
    assert expected["InstanceNumber"].to_pylist()[30] == 7777


@pytest.mark.parametrize("threads", [1, 2])
def test_on_error_raise_stops_and_is_resumed(tmp_path, small_parts, threads):
    folder, index = tmp_path / "in", f"{tmp_path}/index/"
    fill(folder, 96)
    fill(folder / "later", 96)
    (folder / "x.dcm").write_bytes(b"nothing that can be read")
    before = count_threads()
    for _ in range(2):
        with pytest.raises(fastdcm.InvalidDicomError) as caught:
            scan(folder, threads=threads, on_error="raise").write(index)
        assert caught.value.filename == str(folder / "x.dcm")
        assert count_threads() == before
        assert open_index(index).rows == 150 and not open_index(index).complete
        assert unnamed_files(index) == []
    (folder / "x.dcm").write_bytes(numbered_file(5))
    stats = scan(folder, threads=threads, on_error="raise").write(index)
    assert (stats["files"], stats["errors"]) == (193, 0)
    check_index(index, scan(folder).read_all())


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_full_disk(archive, tmp_path, small_parts, monkeypatch, threads, call):
    """Each attempt gets one step further than the one before."""
    index, expected = f"{tmp_path}/index/", scan(archive).read_all()
    before, real = count_threads(), getattr(os, call)
    for steps in range(100):
        left = [steps]

        def full(*args, left=left):
            left[0] -= 1
            if left[0] < 0:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return real(*args)

        monkeypatch.setattr(atomic.os, call, full)
        try:
            scan(archive, threads=threads).write(index)
        except OSError as error:
            assert error.errno == errno.ENOSPC
            assert count_threads() == before
        else:
            break
        if os.path.exists(f"{index}_fastdcm/manifest.jsonl"):
            opened = open_index(index)
            assert not opened.complete
            assert opened.read_all().equals(expected[: opened.rows])
    assert 2 < steps < 99
    monkeypatch.undo()
    check_index(index, expected)


def test_errors_of_the_source(archive, tmp_path, small_parts):
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
    check_index(tmp_path / "index", scan(archive).read_all())


PROGRAM = """
import os, sys
from fastdcm.scanning.index import build, file_list
from fastdcm.scanning.index.manifest import ChecksumWriter
from fastdcm.scanning.scanner import scan
build._PART, file_list.BLOCK, build._LOOKUP_CHUNK = 150, 400, 130

def run(source, index, threads):
    scan(source, {tags}, threads=threads, batch_size=64).write(index)
""".replace("{tags}", repr(TAGS))


# For each n: a process that ends abruptly at the n-th call of a function that writes to
# disk, before the call or after it; then another process without a crash. Until there
# is no n-th call.
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
        is_nth = next(calls) == n
        if is_nth and when == "torn" and stat.S_ISREG(os.fstat(args[0]).st_mode):
            os.ftruncate(args[0], os.fstat(args[0]).st_size - 5)  # only a part of it is on disk
        if is_nth and when != "after":
            os._exit(9)
        result = real(*args, **options)
        if is_nth:
            os._exit(9)
        return result
    setattr(owner, name, call)
    run(sys.argv[1], index, threads)

threads = int(sys.argv[3])
for owner, name, when in ((os, "fsync", "before"), (os, "fsync", "torn"), (os, "replace", "before"),
                          (os, "replace", "after"), (ChecksumWriter, "write", "after")):
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
    )  # two for each file and the folder, and four lines
    assert steps["write", "after"] > 7
    scan(source).write(f"{tmp_path}/reference/")
    reference = Manifest(tmp_path / "reference").parts
    assert len(os.listdir(tmp_path)) > 40
    for name in os.listdir(tmp_path):
        check_index(tmp_path / name, expected)
        assert Manifest(tmp_path / name).parts == reference, name  # including the checksums


def run_and_kill(source, index, seconds, expected=None, threads=2):
    """Run the program, kill it after some seconds, and return whether it was killed."""
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
def test_killed_at_random_and_resumed(tmp_path, small_parts, threads):
    folder, index, chance = tmp_path / "in", f"{tmp_path}/index/", random.Random(threads)
    fill(folder, 3000)
    expected = scan(folder).read_all()
    begin = time.perf_counter()
    scan(folder, threads=threads).write(f"{tmp_path}/reference/")
    took = time.perf_counter() - begin
    kills = 0
    for _ in range(25):
        if not run_and_kill(str(folder), index, chance.uniform(0, took), expected, threads):
            break
        kills += 1
    scan(folder, threads=threads).write(index)
    check_index(index, expected)
    assert kills >= 2
    assert Manifest(index).parts == Manifest(tmp_path / "reference").parts


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
            "hint: wait until the other process has finished",
        ]
        first.kill()
    scan(archive).write(index)  # the lock of a process that has ended is released
    check_index(index, scan(archive).read_all())


@posix
def test_file_size_limit(tmp_path):
    """With a limit of the system: first for the list of files, then for a part."""
    folder, index = tmp_path / "in", f"{tmp_path}/index/"
    folder.mkdir()
    for i in range(2000):
        (folder / f"{i:04d}.dcm").write_bytes(numbered_file(random.Random(i).randrange(10**12)))
    scan(folder).write(f"{tmp_path}/reference/")
    listed, part = (os.path.getsize(path) for path, _ in Manifest(tmp_path / "reference").files())
    assert listed < part - 2000

    def run(limit):
        program = (
            f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}));"
            "from fastdcm.cli import main; main()"
        )
        done = subprocess.run(
            [sys.executable, "-c", program, "scan", folder, "-o", index, "--tags", ",".join(TAGS)],
            capture_output=True,
            text=True,
        )
        assert (
            unnamed_files(index) == []
            if os.path.exists(f"{index}_fastdcm/manifest.jsonl")
            else os.listdir(index) == ["_fastdcm"]
        )
        return done.returncode, done.stderr

    for limit, name in (
        (listed - 1000, "_fastdcm/files-000001.parquet"),
        (part - 1000, "part-000001.parquet"),
    ):
        status, message = run(limit)
        assert (status, message) == (
            2,
            f"error: {index}{name}: {os.strerror(errno.EFBIG)}\n"
            "hint: repeat the command to resume when this is fixed\n",
        )
    assert open_index(index).rows == 0
    status, message = run(1 << 20)
    assert status == 0 and message.startswith("2,000 files, 0 errors")
    check_index(index, scan(folder).read_all())
