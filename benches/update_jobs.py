"""An index brought up to date where nothing changed, beside a walk with stat in
C of the same tree: a job of report.py.

A million files, hard links to fifty. The floor is benches/walk_floor.c: one
thread, in the order of the system. Both tell how many files there are, and of
how many bytes.
"""

import os
import shlex
import subprocess
import sys
import time

import data
from contest import HERE, compete, must, show

import fastdcm

COUNT = 1_000_000


def update(report):
    folder = data.links(report.ct[:50], COUNT, report.cache)
    home, tags = report.floor.folder, ["SOPInstanceUID"]
    index, program = f"{home}/update/", home / "walk_floor"
    cc = shlex.split(os.environ.get("CC", "cc"))
    subprocess.run([*cc, "-std=c11", "-O2", HERE / "walk_floor.c", "-o", program], check=True)
    fastdcm.scan(folder, tags).write(index)
    sizes = sum(
        sum(batch.column("size").to_pylist())
        for batch in fastdcm.open_index(index).batches(["size"])
    )

    def floor():
        done = subprocess.run([program, folder], check=True, capture_output=True, text=True)
        files, size, nanoseconds = map(int, done.stdout.split())
        assert (files, size) == (COUNT, sizes)
        return nanoseconds / 1000

    def updated(threads=None):
        begin = time.perf_counter()
        stats = fastdcm.scan(folder, tags, threads=threads).write(index, update=True)
        took = (time.perf_counter() - begin) / COUNT * 1e6
        assert [stats[what] for what in ("same", "changed", "new", "gone")] == [COUNT, 0, 0, 0]
        return took

    def command():
        begin = time.perf_counter()
        subprocess.run(
            [
                sys.executable,
                "-c",
                "from fastdcm.cli import main; main()",
                "scan",
                folder,
                "-o",
                index,
                "--tags",
                *tags,
                "--update",
            ],
            check=True,
            capture_output=True,
        )
        return (time.perf_counter() - begin) / COUNT * 1e6

    times = compete(
        {
            "walk and stat in C": floor,
            "update": updated,
            "update, 1 thread": lambda: updated(1),
            "update, the command": command,
        },
        report.rounds,
    )
    show(f"An index of {COUNT:,} files, nothing changed, a file", times)
    must("update / walk and stat", times["update"] / times["walk and stat in C"], 2)
    must(
        "the command / walk and stat", times["update, the command"] / times["walk and stat in C"], 2
    )
