"""An index of a million files: rows, memory, and interruptions."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time

import pytest

from fastdcm.scanning.index.folder import open_index
from fastdcm.scanning.index.manifest import Manifest
from support import builder as b
from support.damaged import nested
from support.index_folders import numbered_file

COUNT = int(os.environ.get("FASTDCM_INGEST_FILES", 1_000_000))


def unreadable_files(folder):
    """Yield ten functions that each make a file that cannot be read at a path."""
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
    yield lambda path: os.symlink(os.path.basename(path), path)  # a cycle
    yield os.mkfifo


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """Return a folder of COUNT files: hard links to 3,000, and one of 1,000 unreadable."""
    base = tmp_path_factory.mktemp("large")
    seeds, folder = base / "seeds", base / "in"
    seeds.mkdir()
    for i in range(3000):
        (seeds / f"{i}").write_bytes(numbered_file(i))
    kinds = list(unreadable_files(seeds))
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
    # killed ten times, and resumed
    chance, again, kills = random.Random(4), f"{tmp_path}/again/", 0
    while kills < 10:
        with subprocess.Popen(
            [sys.executable, "-c", LARGE, large, again], stdout=subprocess.PIPE
        ) as process:
            process.stdout.readline()
            time.sleep(chance.uniform(0, took / 4))
            process.kill()
        kills += process.returncode == -signal.SIGKILL
        if not process.returncode:  # it ended first
            shutil.rmtree(again)
    subprocess.run([sys.executable, "-c", LARGE, large, again], check=True, capture_output=True)
    open_index(again).verify()
    assert Manifest(again).parts == Manifest(index).parts  # including the checksums
    assert Manifest(again).complete
