"""`scan` and `scan_chunk`: repeated runs, no rows, other libraries, and memory."""

import os
import subprocess
import sys

import pyarrow
import pytest

from fastdcm.scanning.scanner import scan, scan_chunk
from support import builder as b
from support.scans import FIXED, sorted_paths

TAGS = ["SOPInstanceUID", "InstanceNumber", "ImageType"]


def test_a_scan_can_be_run_again(archive):
    s = scan(archive, TAGS)
    assert s.read_all().equals(s.read_all())
    listed = scan(sorted_paths(archive), TAGS)
    assert listed.read_all().equals(listed.read_all())
    once = scan(iter(sorted_paths(archive)), TAGS)
    assert once.read_all().num_rows == 3000
    assert once.read_all().num_rows == 0


def test_a_scan_of_no_files(tmp_path):
    assert list(scan([])) == []
    table = scan(tmp_path, TAGS).read_all()
    assert (table.num_rows, table.column_names) == (0, [*FIXED, *TAGS])
    assert len(scan_chunk([])) == 0
    assert scan([]).stats["files"] == 0


def test_scan_chunk_is_one_batch(archive):
    paths = sorted_paths(archive)[:100]
    batch = pyarrow.record_batch(scan_chunk(paths, TAGS))
    assert batch.num_rows == 100
    assert batch.column("path").to_pylist() == paths


def test_polars_reads_batches_and_scans(archive):
    polars = pytest.importorskip("polars", reason="polars is not installed")
    s = scan(archive, TAGS, batch_size=1000)
    frame = polars.DataFrame(s)
    assert frame.to_dict(as_series=False) == scan(archive, TAGS).read_all().to_pydict()
    assert polars.DataFrame(next(iter(s))).height == 1000


def test_duckdb_reads_scans(archive):
    duckdb = pytest.importorskip("duckdb", reason="duckdb is not installed")
    s = scan(archive, TAGS, batch_size=1000)  # noqa: F841  # DuckDB finds it by its name
    found = duckdb.sql("SELECT count(*), max(InstanceNumber), count(error) FROM s").fetchall()
    assert found == [(3000, 2998, 6)]


@pytest.mark.slow
def test_memory_does_not_grow_with_the_number_of_files(tmp_path):
    """The peak of a new process, on hard links of ten files."""
    if sys.platform != "linux":
        pytest.skip("the peak of a process is read in /proc")
    seeds = []
    for i in range(10):
        dataset = b.element(0x00080018, "UI", f"1.2.{i}") + b.element(0x00081030, "LO", "text" * 10)
        seeds.append(tmp_path / f"seed{i}")
        seeds[-1].write_bytes(b.part10(dataset + b.element(0x00200013, "IS", str(i))))
    folder = tmp_path / "archive"
    for i in range(200_000):
        if i % 1000 == 0:
            (folder / f"{i // 1000:03d}").mkdir(parents=True)
        os.link(seeds[i % 10], folder / f"{i // 1000:03d}" / f"{i}.dcm")
    # Not ru_maxrss, which includes the pages of the parent process.
    program = (
        "import sys; from fastdcm.scanning.scanner import scan;"
        "s = scan(sys.argv[1]); n = sum(len(x) for x in s);"
        "print(n, *[line.split()[1] for line in open('/proc/self/status') if 'VmHWM' in line])"
    )

    def peak(path):
        done = subprocess.run(
            [sys.executable, "-c", program, path], check=True, capture_output=True, text=True
        )
        count, kilobytes = map(int, done.stdout.split())
        return count, kilobytes / 1024

    few, small = peak(str(folder / "00[0-9]"))
    many, large = peak(str(folder))
    assert (few, many) == (10_000, 200_000)
    assert large < 150
    assert large < small + 40
