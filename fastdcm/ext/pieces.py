"""A source cut into pieces that workers elsewhere can read."""

import os

import numpy as np

from fastdcm.sources import Table, open_source

_AT_ONCE = 4096

# Of a large file a scan reads the header, of a tiny one at least a page.
_LEAST, _MOST = 4 << 10, 64 << 10


def listed(source):
    """(paths, their sizes in bytes) of what `fastdcm.scan` takes as a source.

    paths : list of absolute paths, as bytes: a worker has another current folder.
    sizes : int64 array; of a table that tells them, else of the files, 0 for
        those that are not there.
    """
    source = open_source(source)
    paths, here = [], os.getcwdb()
    taker = source.start()
    while (chunk := taker.take(_AT_ONCE)) is not None:
        paths += [os.path.join(here, path) for path in chunk.paths()]
    sizes = _told(source) if isinstance(source, Table) else None
    if sizes is None:
        sizes = np.fromiter(map(_size, paths), np.int64, len(paths))
    return paths, sizes


def _size(path):
    try:
        return os.stat(path).st_size
    except OSError:
        return 0


def _told(table):
    """What the column `size` of a .parquet or .arrow file says, else None."""
    if not table.path.lower().endswith((".parquet", ".arrow")):
        return None
    import pyarrow.dataset

    rows = pyarrow.dataset.dataset(table.path, format=table.path.rpartition(".")[2].lower())
    if "size" not in rows.schema.names:
        return None
    sizes = rows.to_table(columns=["size"]).column("size")
    return sizes.cast("int64").fill_null(0).to_numpy()


def header_bytes(sizes):
    """What a scan of headers costs, in bytes that are read."""
    return np.clip(sizes, _LEAST, _MOST)


def cut(costs, count):
    """At most `count` slices of equal cost, none of them empty, in order.

    costs : array, each above 0.
    """
    if len(costs) == 0:
        return []
    ends = np.cumsum(costs)
    inner = np.searchsorted(ends, ends[-1] / count * np.arange(1, count)) + 1
    borders = np.unique([0, *np.minimum(inner, len(costs)).tolist(), len(costs)]).tolist()
    return [slice(*pair) for pair in zip(borders, borders[1:])]
