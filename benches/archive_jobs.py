"""Job of report.py: scan CT files inside archives.

The scan is compared with unpacking the archive into a folder and reading the files
there with pydicom. The zip archives contain all CT files of the report; the tar archives
contain fewer, because a compressed tar archive must be unpacked from its start. Only the
first files are unpacked, and the time per file is compared. All contenders must return
the same 16 values.
"""

import tarfile
import tempfile
import time
import zipfile
from pathlib import Path

import data
import peers
from timing import measure, print_times, timed

import fastdcm

UNPACKED, IN_TARS = 300, 1000
ZIPS = {"stored.zip": zipfile.ZIP_STORED, "deflated.zip": zipfile.ZIP_DEFLATED}
TARS = {"plain.tar": "w", "packed.tar.gz": "w:gz"}


def make_archives(cache, paths):
    """Return {name: path} of the archives, made on the first call."""

    def write(folder):
        for name, method in ZIPS.items():
            with zipfile.ZipFile(folder / name, "w", method) as file:
                for path in paths:
                    file.write(path, Path(path).name)
        for name, mode in TARS.items():
            with tarfile.open(folder / name, mode) as file:
                for path in paths[:IN_TARS]:
                    file.add(path, Path(path).name)

    files = data.make(cache, f"archives{len(paths)}", write, lambda paths: None, __file__)
    return {Path(path).name: path for path in files}


def unpack_and_read(path, cache, count):
    """Unpack the first `count` files and return their 16 values, read with pydicom."""
    with tempfile.TemporaryDirectory(dir=cache) as folder:
        files = []
        if path.endswith(".zip"):
            with zipfile.ZipFile(path) as file:
                for info in file.infolist()[:count]:
                    files.append(file.extract(info, folder))
        else:
            with tarfile.open(path) as file:
                while len(files) < count:
                    member = file.next()
                    file.extract(member, folder, filter="data")
                    files.append(str(Path(folder) / member.name))
        return list(peers.tags_pydicom_specific(files))


def scan(path, threads):
    return fastdcm.scan(path, peers.KEYWORDS, threads=threads).read_all()


def time_per_file(function, files, *arguments):
    """Return microseconds per file."""
    begin = time.perf_counter()
    function(*arguments)
    return (time.perf_counter() - begin) / files * 1e6


def measure_archive(report, name, path):
    paths = report.ct
    total = len(paths) if name in ZIPS else min(len(paths), IN_TARS)
    count = min(total, UNPACKED)
    rows = peers.as_text(scan(path, 1))
    assert len(rows) == total
    assert rows[:count] == peers.as_text(unpack_and_read(path, report.cache, count))
    times = measure(
        {
            "scan": lambda: time_per_file(scan, total, path, 1),
            "scan, 2 threads": lambda: time_per_file(scan, total, path, 2),
            "scan of the files themselves": lambda: timed(peers.tags_scan, paths[:total]),
            "unpacked, pydicom": lambda: time_per_file(
                unpack_and_read, count, path, report.cache, count
            ),
        },
        report.rounds,
    )
    print_times(f"CT in {name}, 16 tags, per file", times)
    if name in ZIPS:
        report.check(
            f"{name}: unpacked, pydicom / scan",
            times["unpacked, pydicom"] / times["scan"],
            at_least=20,
        )


def archives(report):
    for name, path in make_archives(report.cache, report.ct).items():
        measure_archive(report, name, path)
