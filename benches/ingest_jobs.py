"""Scans into an index folder beside the scan alone, and beside the floor of the
same list: a job of report.py.
"""

import itertools
import shutil
import time
from pathlib import Path

from contest import compete, must, show, timed

import fastdcm
from fastdcm.scanning.index.manifest import Manifest
from fastdcm.scanning.output import write_parquet

COUNT = 131_072  # two parts


class Rows:
    """Batches that were scanned before, for a writer of tables."""

    def __init__(self, scan):
        import pyarrow

        self.schema, self.batches = pyarrow.schema(scan), [pyarrow.record_batch(x) for x in scan]

    def __arrow_c_schema__(self):
        return self.schema.__arrow_c_schema__()

    def __iter__(self):
        return iter(self.batches)


def ingest(report):
    paths = (report.ct * (COUNT // len(report.ct) + 1))[:COUNT]
    fresh = (report.floor.folder / f"index{i}" for i in itertools.count())
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

    def index(threads, listed=None):
        """listed: an index of which only the list of files is there."""
        folder = next(fresh)
        if listed is not None:
            shutil.copytree(listed, folder)
        begin = time.perf_counter()
        stats = fastdcm.scan(paths, threads=threads).write(f"{folder}/")
        took = since(begin)
        made = fastdcm.open_index(folder)
        assert stats["files"] == made.rows == COUNT and made.complete
        shutil.rmtree(folder)
        return took

    listed = list_alone(paths, next(fresh))
    times = compete(
        {
            "Parquet alone": parquet,
            "floor, 1 thread": lambda: report.floor(paths),
            "floor, 2 threads": lambda: report.floor(paths, "-t", "2"),
            **{f"scan, threads {n}": lambda n=n: scan(n) for n in (1, 2)},
            **{f"index, list made, threads {n}": lambda n=n: index(n, listed) for n in (1, 2)},
            **{f"index, threads {n}": lambda n=n: index(n) for n in (1, 2)},
        },
        report.rounds,
    )
    show(f"{COUNT:,} CT, {len(rows.schema)} columns, a file", times)
    must("Parquet / scan", times["Parquet alone"] / times["scan, threads 1"], 0.15)
    print(f"  the floor's own gain: {times['floor, 1 thread'] / times['floor, 2 threads']:.2f}")
    must(
        "index, one thread / two threads",
        times["index, threads 1"] / times["index, threads 2"],
        1.8,
        True,
    )


def list_alone(paths, folder):
    """An index that was stopped when its list of files was made."""
    fastdcm.scan(paths).write(f"{folder}/")
    made = Manifest(str(folder))
    for part in made.parts:
        (Path(folder) / part["part"]).unlink()
    lines = Path(made.path).read_bytes().splitlines(keepends=True)
    Path(made.path).write_bytes(lines[0])
    return folder
