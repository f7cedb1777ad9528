"""Job of report.py: update an index of a million files of which none has changed.

The files are hard links to fifty. The floor program, benches/walk_floor.c, walks the same
tree and calls stat for each file, in one thread, in the order of the file system. Both
must find the same number of files and bytes.
"""

import subprocess
import sys
import time

import data
from timing import compile_c, measure, print_times

import fastdcm

COUNT = 1_000_000


def update(report):
    folder = data.links(report.ct[:50], COUNT, report.cache)
    tags = ["SOPInstanceUID"]
    index = f"{report.floor.folder}/update/"
    program = compile_c("walk_floor", report.floor.folder)
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

    def update_index(threads=None):
        begin = time.perf_counter()
        stats = fastdcm.scan(folder, tags, threads=threads).write(index, update=True)
        duration = (time.perf_counter() - begin) / COUNT * 1e6
        assert [stats[key] for key in ("same", "changed", "new", "gone")] == [COUNT, 0, 0, 0]
        return duration

    def run_command():
        program = "from fastdcm.cli import main; main()"
        arguments = ["scan", folder, "-o", index, "--tags", *tags, "--update"]
        begin = time.perf_counter()
        subprocess.run([sys.executable, "-c", program, *arguments], check=True, capture_output=True)
        return (time.perf_counter() - begin) / COUNT * 1e6

    times = measure(
        {
            "walk and stat in C": floor,
            "update": update_index,
            "update, 1 thread": lambda: update_index(1),
            "update, the command": run_command,
        },
        report.rounds,
    )
    print_times(f"An index of {COUNT:,} files, nothing changed, per file", times)
    lower_bound = times["walk and stat in C"]
    report.check("update / walk and stat", times["update"] / lower_bound, at_most=2)
    report.check(
        "the command / walk and stat", times["update, the command"] / lower_bound, at_most=2
    )
