"""Time contenders in turns and compare them with the floor program."""

import os
import shlex
import statistics
import subprocess
import time
from collections import deque
from pathlib import Path

HERE = Path(__file__).resolve().parent


def compile_c(name, folder, *options, check=True):
    """Compile benches/<name>.c and return the program's path, or None where it fails."""
    program = Path(folder) / name
    cc = shlex.split(os.environ.get("CC", "cc"))
    command = [*cc, "-std=c11", "-O2", *options, HERE / f"{name}.c", "-o", program]
    done = subprocess.run(command, check=check, capture_output=not check)
    return program if done.returncode == 0 else None


class Floor:
    """The floor program, benches/floor.c: the least that reading headers can cost."""

    def __init__(self, folder):
        self.folder = Path(folder)
        self.program = compile_c("floor", folder, "-pthread")
        # None where the system has no io_uring.
        self.uring = compile_c("uring_floor", folder, check=False)

    def __call__(self, paths, *options):
        """Return microseconds per file."""
        return self._run(self.program, *options, paths)

    def by_uring(self, paths, depth):
        """Return microseconds per file with io_uring and `depth` files in flight."""
        return self._run(self.uring, str(depth), paths)

    def _run(self, program, *arguments):
        *options, paths = arguments
        names = self.folder / "list"
        names.write_text("".join(f"{path}\n" for path in paths))
        done = subprocess.run(
            [program, *options, names], check=True, capture_output=True, text=True
        )
        return int(done.stdout) / 1000


def timed(function, paths):
    """Return microseconds per path for function(paths); a generator is exhausted."""
    begin = time.perf_counter()
    result = function(paths)
    if hasattr(result, "send"):
        deque(result, maxlen=0)
    return (time.perf_counter() - begin) / len(paths) * 1e6


def measure(contenders, rounds, before=lambda: None):
    """Return the median of interleaved rounds for each contender, {name: microseconds}.

    contenders: {name: function without arguments that returns microseconds}.
    before: called before each of them.
    """
    times = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, run in contenders.items():
            before()
            times[name].append(run())
    return {name: statistics.median(values) for name, values in times.items()}


def print_times(title, times):
    """Print a table of times and how many times the fastest each is."""
    print(f"\n{title}")
    best = min(times.values())
    for name, value in times.items():
        print(f"  {name:28} {value:14,.1f} us  {value / best:10.2f}")


class Checks:
    """The ratios that the jobs compute, with the limit of each, and their table."""

    def __init__(self):
        self.rows = []
        self.job = ""

    def check(self, what, value, *, at_most=None, at_least=None):
        """Compare one value with its limit, print it and keep it for the table."""
        if at_least is None:
            good, limit = value <= at_most, f"at most {at_most}"
        else:
            good, limit = value >= at_least, f"at least {at_least}"
        self.rows.append((self.job, what, f"{value:.2f}", limit, "yes" if good else "**no**"))
        print(f"  {'ok ' if good else 'NOT'} {what}: {value:.2f}, {limit}")

    def print_table(self):
        """Print all checks as one Markdown table."""
        rows = [("job", "ratio", "measured", "limit", "within"), *self.rows]
        widths = [max(map(len, column)) for column in zip(*rows)]
        print()
        for number, row in enumerate(rows):
            print("|", " | ".join(cell.ljust(w) for cell, w in zip(row, widths)), "|")
            if number == 0:
                print("|", " | ".join("-" * w for w in widths), "|")
