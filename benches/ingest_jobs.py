"""Job of report.py: write an index folder, compared with the scan alone and with the
floor program on the same list of files.
"""

import itertools
import shutil
import time
from pathlib import Path

import pyarrow
from timing import measure, print_times, timed

import fastdcm
from fastdcm.scanning.index.manifest import Manifest
from fastdcm.scanning.output import write_parquet

COUNT = 131_072  # two parts


class Rows:
    """The batches of an earlier scan, as a source for a table writer."""

    def __init__(self, scan):
        self.schema, self.batches = pyarrow.schema(scan), [pyarrow.record_batch(x) for x in scan]

    def __arrow_c_schema__(self):
        return self.schema.__arrow_c_schema__()

    def __iter__(self):
        return iter(self.batches)


def ingest(report):
    paths = (report.ct * (COUNT // len(report.ct) + 1))[:COUNT]
    folders = (report.floor.folder / f"index{i}" for i in itertools.count())
    rows = Rows(fastdcm.scan(paths))

    def since(begin):
        return (time.perf_counter() - begin) / COUNT * 1e6

    def scan(threads):
        return timed(lambda p: iter(fastdcm.scan(p, threads=threads)), paths)

    def parquet():
        begin = time.perf_counter()
        with open(report.floor.folder / "rows.parquet", "wb") as file:
            write_parquet(rows, file)
        return since(begin)

    def index(threads, started=None):
        """Build an index; `started` is one that has only its list of files."""
        folder = next(folders)
        if started is not None:
            shutil.copytree(started, folder)
        begin = time.perf_counter()
        stats = fastdcm.scan(paths, threads=threads).write(f"{folder}/")
        duration = since(begin)
        made = fastdcm.open_index(folder)
        assert stats["files"] == made.rows == COUNT and made.complete
        shutil.rmtree(folder)
        return duration

    started = make_file_list(paths, next(folders))
    times = measure(
        {
            "Parquet alone": parquet,
            "floor, 1 thread": lambda: report.floor(paths),
            "floor, 2 threads": lambda: report.floor(paths, "-t", "2"),
            **{f"scan, threads {n}": lambda n=n: scan(n) for n in (1, 2)},
            **{f"index, list made, threads {n}": lambda n=n: index(n, started) for n in (1, 2)},
            **{f"index, threads {n}": lambda n=n: index(n) for n in (1, 2)},
        },
        report.rounds,
    )
    print_times(f"{COUNT:,} CT, {len(rows.schema)} columns, per file", times)
    report.check("Parquet / scan", times["Parquet alone"] / times["scan, threads 1"], at_most=0.15)
    gain = times["floor, 1 thread"] / times["floor, 2 threads"]
    print(f"  gain of the floor program from two threads: {gain:.2f}")
    report.check(
        "index, one thread / two threads",
        times["index, threads 1"] / times["index, threads 2"],
        at_least=1.8,
    )


def make_file_list(paths, folder):
    """Return an index folder as it is when a run stops after making the list of files."""
    fastdcm.scan(paths).write(f"{folder}/")
    made = Manifest(str(folder))
    for part in made.parts:
        (Path(folder) / part["part"]).unlink()
    lines = Path(made.path).read_bytes().splitlines(keepends=True)
    Path(made.path).write_bytes(lines[0])
    return folder
