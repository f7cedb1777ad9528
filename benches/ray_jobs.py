"""Job of report.py: a scan distributed by Ray compared with the local scan.

The same list of files is read by one thread of this process, by two, and by two Ray
workers on this machine, for 20,000 and for 200,000 files. The difference of the two is
the cost per file; the rest is paid once per run.
"""

import time

import data
import peers
import pyarrow
from timing import measure

import fastdcm
from fastdcm.distributed.partitions import list_files
from support.optional_packages import two_workers

COUNTS = 20_000, 200_000


def ray(report):
    tables = {}
    for count in COUNTS:
        folder = data.links(report.ct[:50], count, report.cache)
        tables[count] = str(report.floor.folder / f"{count}.parquet")
        fastdcm.scan(folder, []).write(tables[count])

    with two_workers(1 << 30) as ray:
        from fastdcm.distributed.ray import read_dicom

        def scan_with_ray(source):
            blocks = read_dicom(source, peers.KEYWORDS).to_arrow_refs()
            return pyarrow.concat_tables(ray.get(blocks))

        def time_run(read, count):
            begin = time.perf_counter()
            rows = read(tables[count])
            end = time.perf_counter()
            assert len(rows) == count
            return (end - begin) * 1e6

        small = tables[COUNTS[0]]
        assert scan_with_ray(small).sort_by("path").equals(peers.tags_scan(small).sort_by("path"))
        contenders = {
            "scan, one thread": peers.tags_scan,
            "scan, two threads": lambda source: peers.tags_scan(source, 2),
            "Ray, two workers": scan_with_ray,
        }
        times = measure(
            {
                (name, count): lambda read=read, count=count: time_run(read, count)
                for name, read in contenders.items()
                for count in COUNTS
            },
            report.rounds,
        )
        begin = time.perf_counter()
        list_files(tables[COUNTS[1]])
        listing = (time.perf_counter() - begin) / COUNTS[1] * 1e6
    print("\nCT, 16 tags, from a table of paths to a table in memory")
    per_file = {}
    for name in contenders:
        first, second = (times[name, count] for count in COUNTS)
        per_file[name] = (second - first) / (COUNTS[1] - COUNTS[0])
        once = (first - COUNTS[0] * per_file[name]) / 1000
        print(
            f"  {name:20} {per_file[name]:8.1f} us per file {once:10.0f} ms once "
            f"{first / 1e6:10.2f} s for {COUNTS[0]:,} {second / 1e6:8.2f} s for {COUNTS[1]:,}"
        )
    print(f"  of which reading the list {listing:.1f} us per file, in the calling process")
    report.check(
        "Ray / scan, two threads, per file",
        per_file["Ray, two workers"] / per_file["scan, two threads"],
        at_most=4,
    )
