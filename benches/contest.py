"""How contenders are timed: in turns, round by round, against one floor."""

import os
import shlex
import statistics
import subprocess
import time
from collections import deque
from pathlib import Path

HERE = Path(__file__).resolve().parent


class Floor:
    """benches/floor.c, compiled for this run."""

    def __init__(self, folder):
        self.folder = Path(folder)
        self.program = self.folder / "floor"
        cc = shlex.split(os.environ.get("CC", "cc"))
        subprocess.run(
            [*cc, "-std=c11", "-O2", "-pthread", HERE / "floor.c", "-o", self.program], check=True
        )
        self.uring = self.folder / "uring_floor"
        if subprocess.run(
            [*cc, "-std=c11", "-O2", HERE / "uring_floor.c", "-o", self.uring], capture_output=True
        ).returncode:
            self.uring = None  # not this system

    def __call__(self, paths, *options):
        """Microseconds a file."""
        return self.run(self.program, *options, paths)

    def by_uring(self, paths, depth):
        """The same by io_uring, `depth` files in flight."""
        return self.run(self.uring, str(depth), paths)

    def run(self, program, *arguments):
        *options, paths = arguments
        names = self.folder / "list"
        names.write_text("".join(f"{path}\n" for path in paths))
        done = subprocess.run(
            [program, *options, names], check=True, capture_output=True, text=True
        )
        return int(done.stdout) / 1000


def timed(function, paths):
    begin = time.perf_counter()
    result = function(paths)
    if hasattr(result, "send"):  # rows, as they come
        deque(result, maxlen=0)
    return (time.perf_counter() - begin) / len(paths) * 1e6


def compete(contenders, rounds, before=lambda: None):
    """{name: microseconds} from {name: function without arguments that returns
    them}: the median of interleaved rounds."""
    times = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, run in contenders.items():
            before()
            times[name].append(run())
    return {name: statistics.median(values) for name, values in times.items()}


def show(title, times):
    print(f"\n{title}")
    best = min(times.values())
    for name, value in times.items():
        print(f"  {name:28} {value:14,.1f} us  {value / best:10.2f}")


def must(what, value, limit, at_least=False):
    good = value >= limit if at_least else value <= limit
    print(
        f"  {'ok ' if good else 'NOT'} {what}: {value:.2f}, at {'least' if at_least else 'most'} {limit}"
    )
