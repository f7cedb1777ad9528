"""The scan by Ray beside the local one: a job of report.py.

The same list of files is read by a thread of this process, by two, and by two
workers of Ray on this machine, 20,000 and 200,000 of them: what grows with the
files is a cost a file, the rest is paid once a run.
"""

import time

import data
import peers
import pyarrow
from contest import compete, must

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

        def spread(source):
            blocks = read_dicom(source, peers.KEYWORDS).to_arrow_refs()
            return pyarrow.concat_tables(ray.get(blocks))

        def took(read, count):
            begin = time.perf_counter()
            rows = read(tables[count])
            end = time.perf_counter()
            assert len(rows) == count
            return (end - begin) * 1e6

        few = tables[COUNTS[0]]
        assert spread(few).sort_by("path").equals(peers.tags_scan(few).sort_by("path"))
        contenders = {
            "scan, one thread": peers.tags_scan,
            "scan, two threads": lambda source: peers.tags_scan(source, 2),
            "Ray, two workers": spread,
        }
        times = compete(
            {
                (name, count): lambda read=read, count=count: took(read, count)
                for name, read in contenders.items()
                for count in COUNTS
            },
            report.rounds,
        )
        begin = time.perf_counter()
        list_files(tables[COUNTS[1]])
        listing = (time.perf_counter() - begin) / COUNTS[1] * 1e6
    print("\nCT, 16 tags, a table of paths to a table in memory")
    marginal = {}
    for name in contenders:
        first, second = (times[name, count] for count in COUNTS)
        marginal[name] = (second - first) / (COUNTS[1] - COUNTS[0])
        once = (first - COUNTS[0] * marginal[name]) / 1000
        print(
            f"  {name:20} {marginal[name]:8.1f} us a file {once:10.0f} ms once "
            f"{first / 1e6:10.2f} s for {COUNTS[0]:,} {second / 1e6:8.2f} s for {COUNTS[1]:,}"
        )
    print(f"  of which reading the list {listing:.1f} us a file, in the process that asks")
    must(
        "Ray / scan, two threads, a file",
        marginal["Ray, two workers"] / marginal["scan, two threads"],
        4,
    )
