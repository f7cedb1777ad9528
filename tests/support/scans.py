"""Rows of scans, and data sets with frames, for the tests of scanning."""

import _thread
import time

import pyarrow.parquet

from fastdcm.scanning.scanner import scan_chunk
from support import builder as b

#: The columns that every scan has, first.
FIXED = [
    "path",
    "size",
    "mtime_ns",
    "transfer_syntax",
    "error",
    "error_offset",
    "error_detail",
    "issues",
]

PIXEL_SPACING = "SharedFunctionalGroupsSequence.PixelMeasuresSequence.PixelSpacing"


def one_row(path, *tags, **options):
    """Return the single row of a file, as a dict."""
    batch = scan_chunk([path], tags, **options)
    assert len(batch) == 1
    return {name: values[0] for name, values in batch.to_pydict().items()}


def requested(row):
    """Return the values of the requested columns of a row."""
    return [*row.values()][len(FIXED) :]


def value(path, tag):
    """Return the value of one element of a file without errors."""
    row = one_row(path, tag)
    assert row["error"] is None
    return row[tag]


def per_frame_groups(count, encoding=b.EXPLICIT, undefined=False):
    """Return Per-frame Functional Groups with one plane position each."""

    def frame(i):
        position = b.element(0x00200032, "DS", [str(i), "0", "0.5"], encoding=encoding)
        return b.sequence(0x00209113, [position], encoding=encoding, undefined=undefined)

    return b.sequence(
        0x52009230, [frame(i) for i in range(count)], encoding=encoding, undefined=undefined
    )


def count_threads():
    """Return the number of threads, after those that have ended are gone."""
    time.sleep(0.05)
    return _thread._count()


def sorted_paths(folder):
    """Return the paths of the files of a folder in the order of a scan."""
    return sorted(str(p) for p in folder.rglob("*.dcm"))


def read_table(path):
    """Return a Parquet or Arrow file as a pyarrow.Table."""
    if path.endswith(".parquet"):
        return pyarrow.parquet.read_table(path)
    return pyarrow.ipc.open_file(path).read_all()
