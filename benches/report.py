"""Wall times beside other libraries, and what they must be.

    python benches/report.py [--cache FOLDER] [--ct N] [--mr N] [--rounds N] [JOB ...]

All jobs (--help names them) unless some are named. Contenders take turns, round
by round, in one process, on the same files in the same order; times are medians
of the rounds. The floor is benches/floor.c. Results are compared before
anything is timed.
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
import ext_jobs
import frame_jobs
import ingest_jobs
import loader_jobs
import numpy as np
import peers
import pixel_jobs
import remote_jobs
import update_jobs
from contest import Floor, compete, must, show, timed

import fastdcm

SLOW = 500  # files a round, at most, for those that take milliseconds each


class Report:
    def __init__(self, options, floor):
        self.cache, self.rounds, self.floor = options.cache, options.rounds, floor
        self.ct = data.ct(self.cache, options.ct)
        self.mr_files = data.mr(self.cache, options.mr)

    def turns(self, group, paths, slow):
        """Contenders of peers.py; those of milliseconds a file get fewer."""
        return {
            name: lambda f=function, p=paths[:slow] if "pydicom" in name or "gdcm" in name else paths: (
                timed(f, p)
            )
            for name, function in group.items()
        }

    def equal(self, group, paths, form=lambda result: result):
        results = {name: form(function(paths)) for name, function in group.items()}
        first, *others = results.items()
        for name, result in others:
            assert result == first[1], f"{name} and {first[0]} differ: {result} {first[1]}"

    def tags_of(self, title, paths, slow):
        self.equal(peers.TAGS, paths[:20], peers.plain)
        self.floor(paths)
        times = compete(
            {"floor": lambda: self.floor(paths), **self.turns(peers.TAGS, paths, slow)}, self.rounds
        )
        show(f"{title}, 16 tags, a file", times)
        return times

    def tags(self):
        times = self.tags_of("CT", self.ct, SLOW)
        scan = times["fastdcm scan"]
        must("scan / floor", scan / times["floor"], 1.4)
        must("dcmread and 16 values / floor", times["fastdcm dcmread"] / times["floor"], 2.5)
        must(
            "pydicom / scan", min(times["pydicom"], times["pydicom specific_tags"]) / scan, 80, True
        )
        must("fastdicom / scan", times["fastdicom"] / scan, 8, True)

    def elements(self):
        self.equal(peers.ELEMENTS, self.ct[:20])
        times = compete(self.turns(peers.ELEMENTS, self.ct, SLOW // 5), self.rounds)
        show("CT, every element, a file", times)
        must("pydicom / fastdcm", times["pydicom"] / times["fastdcm"], 60, True)
        must("fastdicom / fastdcm", times["fastdicom"] / times["fastdcm"], 3, True)

    def mr(self):
        # Many times each, so that a scan is not all beginning and end.
        times = self.tags_of("Enhanced MR of 500 frames", self.mr_files * 20, 4)
        must("scan / floor", times["fastdcm scan"] / times["floor"], 3)
        self.equal(peers.ELEMENTS, self.mr_files[:2])
        times = compete(self.turns(peers.ELEMENTS, self.mr_files, 2), self.rounds)
        show("Enhanced MR, every element, a file", times)
        must("pydicom / fastdcm", times["pydicom"] / times["fastdcm"], 60, True)

    def pixels(self):
        paths = self.ct[:SLOW]
        self.equal(peers.PIXELS, paths[:20])
        self.floor(paths, "-w")
        times = compete(self.turns(peers.PIXELS, paths, SLOW // 5), self.rounds)
        show("CT, native pixels and their sum, a file", times)
        must("fastdcm / np.fromfile", times["fastdcm"] / times["np.fromfile"], 1.15)

        big = [data.big(self.cache)]
        group = {name: peers.PIXELS[name] for name in ("np.fromfile", "fastdcm", "pydicom")}
        group["np.memmap"] = peers.pixels_memmap
        # What no reader can save: NumPy's own sum, of pixels that are there.
        there = np.memmap(big[0], "<i2", "c", os.path.getsize(big[0]) % (512 * 512 * 2))
        group["the sum alone"] = lambda paths: [int(there.sum())]
        self.equal(group, big)
        times = compete({name: lambda f=f: timed(f, big) for name, f in group.items()}, self.rounds)
        show("128 MB in 256 frames, pixels and their sum", times)
        must("fastdcm / np.fromfile", times["fastdcm"] / times["np.fromfile"], 0.5)

        program = (
            "import sys, time, numpy, fastdcm; begin = time.perf_counter(); "
            "total = fastdcm.dcmread(sys.argv[1]).pixel_array[200].sum(); "
            "print((time.perf_counter() - begin) * 1e6, int(total))"
        )
        expected = int(np.frombuffer(data.noise(512 * 512, 200), dtype="<i2").sum())

        def one_frame():
            text = subprocess.run(
                [sys.executable, "-c", program, *big], check=True, capture_output=True, text=True
            ).stdout.split()
            assert int(text[1]) == expected
            return float(text[0])

        times = compete({"one frame, a new process": one_frame}, self.rounds)
        show("128 MB in 256 frames, open to the sum of one frame", times)
        must("one frame, ms", times["one frame, a new process"] / 1000, 0.5)

    def threads(self):
        self.floor(self.ct)
        group = {
            f"scan, {n} threads": lambda n=n: timed(lambda p: peers.tags_scan(p, n), self.ct)
            for n in (1, 2)
        }
        group["floor, 2 threads"] = lambda: self.floor(self.ct, "-t", "2")
        times = compete({"floor, 1 thread": lambda: self.floor(self.ct), **group}, self.rounds)
        show("CT, 16 tags, a file", times)
        print(f"  the floor's own gain: {times['floor, 1 thread'] / times['floor, 2 threads']:.2f}")
        must(
            "one thread / two threads",
            times["scan, 1 threads"] / times["scan, 2 threads"],
            1.8,
            True,
        )

    def drop(self):
        """Takes the CT files out of the page cache."""
        for path in self.ct:
            handle = os.open(path, os.O_RDONLY)
            os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(handle)

    def cold(self):
        if not hasattr(os, "posix_fadvise"):
            print("\nCold: this system drops no page cache on request")
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
        times = compete(group, min(self.rounds, 3), self.drop)
        show("CT, 16 tags, a file, page cache dropped", times)
        floors = [time for name, time in times.items() if name.startswith("floor")]
        must("scan / best floor", times["scan, default threads"] / min(floors), 1.3)

    def order(self):
        """Other ways to read what is not in the page cache: worth it from a
        fifth on."""
        if not hasattr(os, "posix_fadvise"):
            print("\nOrder: this system drops no page cache on request")
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
        times = compete(group, self.rounds, self.drop)
        show("The floor, a file, page cache dropped", times)
        print(
            f"  by path / by inode, one thread: {times['1 threads, by path'] / times['1 threads, by inode']:.2f}"
        )
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
        times = compete(
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
        show("12,000 functional groups, opened", times)
        must("defined / floor", times["defined lengths"] / times["floor"], 2.5)
        allowed = 2 * times["reading the file"] + 0.010 * (14 * data.GROUPS_SEG + 56)
        must("undefined / (2 reads + 10 ns an element)", times["undefined lengths"] / allowed, 1)

    def imports(self):
        def started(program):
            begin = time.perf_counter()
            subprocess.run([sys.executable, "-c", program], check=True)
            return (time.perf_counter() - begin) * 1e6

        light = "import fastdcm, sys; assert 'numpy' not in sys.modules"
        times = compete(
            {
                "bare interpreter": lambda: started("pass"),
                "import fastdcm": lambda: started(light),
                "import pydicom": lambda: started("import pydicom"),
            },
            4 * self.rounds,
        )
        show("Import", times)
        must("import fastdcm, ms", (times["import fastdcm"] - times["bare interpreter"]) / 1000, 20)

    def memory(self):
        def peak(program, *arguments):
            """MB. From VmHWM: ru_maxrss of a child begins with ours."""
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
            print("\nMemory: this system does not tell the peak of a process")
            return
        print("\nPeak memory of scan(folder).write('table.parquet')")
        print(f"  pyarrow.parquet alone {peak('import pyarrow.parquet'):20.0f} MB")
        program = "import sys, fastdcm; fastdcm.scan(sys.argv[1]).write(sys.argv[2])"
        peaks = []
        for count in (20_000, 200_000):
            folder = data.links(self.ct[:50], count, self.cache)
            peaks.append(peak(program, folder, self.floor.folder / "table.parquet"))
            print(f"  {count:7,} files {peaks[-1]:27.0f} MB")
        must("peak, MB", peaks[1], 150)
        must("peak of 200,000 / peak of 20,000", peaks[1] / peaks[0], 1.1)


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
        "ray": ext_jobs.ray,
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
        parser.error(f"no such job: {', '.join(sorted(unknown))}")
    print(
        f"{platform.python_implementation()} {platform.python_version()}, {platform.system()} "
        f"{platform.machine()}, {os.cpu_count()} cores; {options.ct:,} CT, {options.mr} MR, "
        f"{options.rounds} rounds; last column: times the fastest"
    )
    with tempfile.TemporaryDirectory() as folder:
        report = Report(options, Floor(folder))
        for name in options.jobs or jobs:
            jobs[name](report)


if __name__ == "__main__":
    main()
