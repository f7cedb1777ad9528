"""Measure wall times, compare them with other libraries, and check the ratios.

    python benches/report.py [--cache FOLDER] [--ct N] [--mr N] [--rounds N] [JOB ...]

Without names, all jobs run; --help lists them. Contenders take turns, round by round, in
one process, on the same files in the same order; times are medians of the rounds. The
floor program is benches/floor.c. Results are compared before anything is timed. At the
end one table lists every ratio with its limit.
"""

import argparse
import os
import platform
import random
import subprocess
import sys
import tempfile
import time

import archive_jobs
import data
import frame_jobs
import ingest_jobs
import loader_jobs
import numpy as np
import peers
import pixel_jobs
import ray_jobs
import remote_jobs
import update_jobs
from timing import Checks, Floor, measure, print_times, timed

import fastdcm

SLOW = 500  # at most this many files per round for libraries that need milliseconds for each


class Report(Checks):
    """The files and the settings of a run, its jobs, and the ratios that they check."""

    def __init__(self, options, floor):
        super().__init__()
        self.cache, self.rounds, self.floor = options.cache, options.rounds, floor
        self.ct = data.ct(self.cache, options.ct)
        self.mr_files = data.mr(self.cache, options.mr)

    def contenders(self, group, paths, slow):
        """Return contenders of a group of peers.py; slow ones get only `slow` files."""
        fewer = {name for name in group if "pydicom" in name or "gdcm" in name}
        return {
            name: lambda f=function, p=paths[:slow] if name in fewer else paths: timed(f, p)
            for name, function in group.items()
        }

    def compare(self, group, paths, form=lambda result: result):
        """Check that all functions of a group return the same."""
        results = {name: form(function(paths)) for name, function in group.items()}
        first, *others = results.items()
        for name, result in others:
            assert result == first[1], f"{name} and {first[0]} differ: {result} {first[1]}"

    def tags_of(self, title, paths, slow):
        self.compare(peers.TAGS, paths[:20], peers.as_text)
        self.floor(paths)
        times = measure(
            {"floor": lambda: self.floor(paths), **self.contenders(peers.TAGS, paths, slow)},
            self.rounds,
        )
        print_times(f"{title}, 16 tags, per file", times)
        return times

    def tags(self):
        times = self.tags_of("CT", self.ct, SLOW)
        scan, floor = times["fastdcm scan"], times["floor"]
        pydicom = min(times["pydicom"], times["pydicom specific_tags"])
        self.check("scan / floor", scan / floor, at_most=1.4)
        self.check("dcmread and 16 values / floor", times["fastdcm dcmread"] / floor, at_most=2.5)
        self.check("pydicom / scan", pydicom / scan, at_least=80)
        self.check("fastdicom / scan", times["fastdicom"] / scan, at_least=8)

    def elements(self):
        self.compare(peers.ELEMENTS, self.ct[:20])
        times = measure(self.contenders(peers.ELEMENTS, self.ct, SLOW // 5), self.rounds)
        print_times("CT, every element, per file", times)
        self.check("pydicom / fastdcm", times["pydicom"] / times["fastdcm"], at_least=60)
        self.check("fastdicom / fastdcm", times["fastdicom"] / times["fastdcm"], at_least=3)

    def mr(self):
        # Each file many times: otherwise starting and ending the scan would dominate.
        times = self.tags_of("Enhanced MR of 500 frames", self.mr_files * 20, 4)
        self.check("scan / floor", times["fastdcm scan"] / times["floor"], at_most=3)
        self.compare(peers.ELEMENTS, self.mr_files[:2])
        times = measure(self.contenders(peers.ELEMENTS, self.mr_files, 2), self.rounds)
        print_times("Enhanced MR, every element, per file", times)
        self.check("pydicom / fastdcm", times["pydicom"] / times["fastdcm"], at_least=60)

    def pixels(self):
        paths = self.ct[:SLOW]
        self.compare(peers.PIXELS, paths[:20])
        self.floor(paths, "-w")
        times = measure(self.contenders(peers.PIXELS, paths, SLOW // 5), self.rounds)
        print_times("CT, native pixels and their sum, per file", times)
        self.check("fastdcm / np.fromfile", times["fastdcm"] / times["np.fromfile"], at_most=1.15)

        big = [data.big(self.cache)]
        group = {name: peers.PIXELS[name] for name in ("np.fromfile", "fastdcm", "pydicom")}
        group["np.memmap"] = peers.pixels_memmap
        # The part that no reader can avoid: NumPy's own sum of pixels in memory.
        mapped = np.memmap(big[0], "<i2", "c", os.path.getsize(big[0]) % (512 * 512 * 2))
        group["the sum alone"] = lambda paths: [int(mapped.sum())]
        self.compare(group, big)
        times = measure({name: lambda f=f: timed(f, big) for name, f in group.items()}, self.rounds)
        print_times("128 MB in 256 frames, pixels and their sum", times)
        self.check(
            "128 MB: fastdcm / np.fromfile", times["fastdcm"] / times["np.fromfile"], at_most=0.5
        )
        self.one_frame(big[0])

    def one_frame(self, path):
        """Read one frame of a large file in a new process."""
        program = (
            "import sys, time, numpy, fastdcm; begin = time.perf_counter(); "
            "total = fastdcm.dcmread(sys.argv[1]).pixel_array[200].sum(); "
            "print((time.perf_counter() - begin) * 1e6, int(total))"
        )
        expected = int(np.frombuffer(data.noise(512 * 512, 200), dtype="<i2").sum())

        def run():
            text = subprocess.run(
                [sys.executable, "-c", program, path], check=True, capture_output=True, text=True
            ).stdout.split()
            assert int(text[1]) == expected
            return float(text[0])

        times = measure({"one frame, a new process": run}, self.rounds)
        print_times("128 MB in 256 frames, from opening to the sum of one frame", times)
        self.check("one frame, ms", times["one frame, a new process"] / 1000, at_most=0.5)

    def threads(self):
        self.floor(self.ct)
        group = {
            f"scan, {n} threads": lambda n=n: timed(lambda p: peers.tags_scan(p, n), self.ct)
            for n in (1, 2)
        }
        group["floor, 2 threads"] = lambda: self.floor(self.ct, "-t", "2")
        times = measure({"floor, 1 thread": lambda: self.floor(self.ct), **group}, self.rounds)
        print_times("CT, 16 tags, per file", times)
        gain = times["floor, 1 thread"] / times["floor, 2 threads"]
        print(f"  gain of the floor program from two threads: {gain:.2f}")
        self.check(
            "one thread / two threads",
            times["scan, 1 threads"] / times["scan, 2 threads"],
            at_least=1.8,
        )

    def drop(self):
        """Drop the CT files from the page cache."""
        for path in self.ct:
            handle = os.open(path, os.O_RDONLY)
            os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(handle)

    def cold(self):
        if not hasattr(os, "posix_fadvise"):
            print("\nCold: this system cannot drop files from the page cache")
            return
        group = {
            f"floor, {n} threads{', no read-ahead' if advice else ''}": lambda n=n, advice=advice: (
                self.floor(self.ct, "-t", str(n), *advice)
            )
            for advice in ((), ("-r",))
            for n in (1, 2, 4, 8, 16, 32, 64)
        }
        for n in (1, 4, 16, 64, None):
            group[f"scan, {n or 'default'} threads"] = lambda n=n: timed(
                lambda p: peers.tags_scan(p, n), self.ct
            )
        times = measure(group, min(self.rounds, 3), self.drop)
        print_times("CT, 16 tags, per file, page cache dropped", times)
        floors = [time for name, time in times.items() if name.startswith("floor")]
        self.check("scan / best floor", times["scan, default threads"] / min(floors), at_most=1.3)

    def order(self):
        """Compare other orders and ways to read files that are not in the page cache.

        One that saves a fifth of the time would be worth its code.
        """
        if not hasattr(os, "posix_fadvise"):
            print("\nOrder: this system cannot drop files from the page cache")
            return
        by_inode = sorted(self.ct, key=lambda path: os.stat(path).st_ino)
        shuffled = random.Random(1).sample(self.ct, len(self.ct))
        group = {
            f"{n} threads, {name}": lambda n=n, paths=paths: self.floor(paths, "-t", str(n), "-r")
            for n in (1, 32)
            for name, paths in (
                ("by path", self.ct),
                ("by inode", by_inode),
                ("shuffled", shuffled),
            )
        }
        group["32 threads, O_DIRECT"] = lambda: self.floor(self.ct, "-t", "32", "-d")
        for depth in (32, 128) if self.floor.uring else ():
            group[f"io_uring, {depth} in flight"] = lambda n=depth: self.floor.by_uring(self.ct, n)
        times = measure(group, self.rounds, self.drop)
        print_times("The floor program, per file, page cache dropped", times)
        ratio = times["1 threads, by path"] / times["1 threads, by inode"]
        print(f"  by path / by inode, one thread: {ratio:.2f}")
        own = times.pop("32 threads, by path")
        print(f"  32 threads by path / the best: {own / min(times.values()):.2f}")

    def groups(self):
        def opened(paths):
            for path in paths:
                ds = fastdcm.dcmread(path, stop_before_pixels=True)
                assert ds.NumberOfFrames == data.GROUPS_SEG

        def entered(paths):
            for path in paths:
                groups = fastdcm.dcmread(
                    path, stop_before_pixels=True
                ).PerFrameFunctionalGroupsSequence
                assert groups[-1].SegmentIdentificationSequence[0].ReferencedSegmentNumber == 20

        defined, undefined = data.fg12000(self.cache)
        for path in (defined, undefined):
            assert len(fastdcm.dcmread(path).PerFrameFunctionalGroupsSequence) == data.GROUPS_SEG
        many = [defined] * 1000
        times = measure(
            {
                "floor": lambda: self.floor(many),
                "defined lengths": lambda: timed(opened, many),
                "reading the file": lambda: self.floor([undefined] * 20, "-w"),
                "undefined lengths": lambda: timed(opened, [undefined] * 20),
                "defined, last group read": lambda: timed(entered, [defined] * 20),
                "undefined, last group read": lambda: timed(entered, [undefined] * 20),
            },
            self.rounds,
        )
        print_times("12,000 functional groups, opened", times)
        self.check("defined / floor", times["defined lengths"] / times["floor"], at_most=2.5)
        allowed = 2 * times["reading the file"] + 0.010 * (14 * data.GROUPS_SEG + 56)
        self.check(
            "undefined / (2 reads + 10 ns per element)",
            times["undefined lengths"] / allowed,
            at_most=1,
        )

    def imports(self):
        def started(program):
            begin = time.perf_counter()
            subprocess.run([sys.executable, "-c", program], check=True)
            return (time.perf_counter() - begin) * 1e6

        light = "import fastdcm, sys; assert 'numpy' not in sys.modules"
        times = measure(
            {
                "bare interpreter": lambda: started("pass"),
                "import fastdcm": lambda: started(light),
                "import pydicom": lambda: started("import pydicom"),
            },
            4 * self.rounds,
        )
        print_times("Import", times)
        own = times["import fastdcm"] - times["bare interpreter"]
        self.check("import fastdcm, ms", own / 1000, at_most=20)

    def memory(self):
        def peak(program, *arguments):
            """Return MB, from VmHWM: a child inherits the value of ru_maxrss."""
            program += (
                "\nprint(next(x.split()[1] for x in open('/proc/self/status') if 'VmHWM' in x))"
            )
            done = subprocess.run(
                [sys.executable, "-c", program, *arguments],
                check=True,
                capture_output=True,
                text=True,
            )
            return int(done.stdout) / 2**10

        if not os.path.exists("/proc/self/status"):
            print("\nMemory: this system does not report the peak memory of a process")
            return
        print("\nPeak memory of scan(folder).write('table.parquet')")
        print(f"  pyarrow.parquet alone {peak('import pyarrow.parquet'):20.0f} MB")
        program = "import sys, fastdcm; fastdcm.scan(sys.argv[1]).write(sys.argv[2])"
        peaks = []
        for count in (20_000, 200_000):
            folder = data.links(self.ct[:50], count, self.cache)
            peaks.append(peak(program, folder, self.floor.folder / "table.parquet"))
            print(f"  {count:7,} files {peaks[-1]:27.0f} MB")
        self.check("peak, MB", peaks[1], at_most=150)
        self.check("peak of 200,000 / peak of 20,000", peaks[1] / peaks[0], at_most=1.1)


def main():
    jobs = {
        "tags": Report.tags,
        "elements": Report.elements,
        "pixels": Report.pixels,
        "threads": Report.threads,
        "cold": Report.cold,
        "order": Report.order,
        "mr": Report.mr,
        "groups": Report.groups,
        "import": Report.imports,
        "memory": Report.memory,
        "codecs": pixel_jobs.codecs,
        "windows": pixel_jobs.windows,
        "frames": frame_jobs.frames,
        "loader": loader_jobs.loader,
        "ingest": ingest_jobs.ingest,
        "update": update_jobs.update,
        "archives": archive_jobs.archives,
        "remote": remote_jobs.remote,
        "ray": ray_jobs.ray,
    }
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cache", default=data.CACHE)
    parser.add_argument("--ct", type=int, default=10_000)
    parser.add_argument("--mr", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("jobs", nargs="*", metavar="JOB", help=", ".join(jobs))
    options = parser.parse_args()
    unknown = set(options.jobs) - set(jobs)
    if unknown:
        parser.error(f"unknown job: {', '.join(sorted(unknown))}; the jobs are {', '.join(jobs)}")
    print(
        f"{platform.python_implementation()} {platform.python_version()}, {platform.system()} "
        f"{platform.machine()}, {os.cpu_count()} cores; {options.ct:,} CT, {options.mr} MR, "
        f"{options.rounds} rounds; last column: ratio to the fastest"
    )
    with tempfile.TemporaryDirectory() as folder:
        report = Report(options, Floor(folder))
        for report.job in options.jobs or jobs:
            jobs[report.job](report)
        report.print_table()


if __name__ == "__main__":
    main()
