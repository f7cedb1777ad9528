"""Headers of CT files in archives: a scan beside unpacking them into a folder
and reading them there with pydicom. A job of report.py.

The zips hold all of the report's CT files, the tars fewer, for what is packed
as a whole must be unpacked by everybody. Unpacking is of the first files alone,
and its time a file counts. Each contender must give the same 16 values.
"""

import tarfile
import tempfile
import time
import zipfile
from pathlib import Path

import data
import peers
from contest import compete, must, show, timed

import fastdcm

UNPACKED, IN_TARS = 300, 1000
ZIPS = {"stored.zip": zipfile.ZIP_STORED, "deflated.zip": zipfile.ZIP_DEFLATED}
TARS = {"plain.tar": "w", "packed.tar.gz": "w:gz"}


def made(cache, paths):
    """{name: path} of the archives."""

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


def unpacked(path, cache, count):
    """The 16 values of the first files, read with pydicom from a folder."""
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


def scanned(path, threads):
    return fastdcm.scan(path, peers.KEYWORDS, threads=threads).read_all()


def taken(function, files, *arguments):
    """Microseconds a file."""
    begin = time.perf_counter()
    function(*arguments)
    return (time.perf_counter() - begin) / files * 1e6


def archives(report):
    cache, paths = report.cache, report.ct
    for name, path in made(cache, paths).items():
        total = len(paths) if name in ZIPS else min(len(paths), IN_TARS)
        count = min(total, UNPACKED)
        rows = peers.plain(scanned(path, 1))
        assert len(rows) == total and rows[:count] == peers.plain(unpacked(path, cache, count))
        times = compete(
            {
                "scan": lambda: taken(scanned, total, path, 1),
                "scan, 2 threads": lambda: taken(scanned, total, path, 2),
                "scan of the files themselves": lambda: timed(peers.tags_scan, paths[:total]),
                "unpacked, pydicom": lambda: taken(unpacked, count, path, cache, count),
            },
            report.rounds,
        )
        show(f"CT in {name}, 16 tags, a file", times)
        if name in ZIPS:
            must("unpacked, pydicom / scan", times["unpacked, pydicom"] / times["scan"], 20, True)
