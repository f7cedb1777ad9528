"""A source cut into pieces that workers elsewhere can read."""

import os

import numpy as np

from fastdcm._columns import chunk_of
from fastdcm.sources import Indexed, Table, open_source

_AT_ONCE = 4096

# Of a large file a scan reads the header, of a tiny one at least a page.
_LEAST, _MOST = 4 << 10, 64 << 10


class Piece:
    """A list of paths as a source of a scan, which can be sliced and sent.

    paths : list of bytes.
    failed : list of (position, errno) of folders that could not be listed.
    """

    def __init__(self, paths, failed=()):
        self.paths, self.failed = paths, failed

    def __len__(self):
        return len(self.paths)

    def __getitem__(self, part):
        first, last, _ = part.indices(len(self))
        return Piece(self.paths[first:last],
                     [(i - first, errno) for i, errno in self.failed if first <= i < last])

    def start(self):
        return _Taker(self)


class _Taker:
    def __init__(self, piece):
        self.piece, self.at = piece, 0

    def take(self, count):
        piece = self.piece[self.at:self.at + count]
        self.at += len(piece)
        return chunk_of(piece.paths, piece.failed) if len(piece) else None


def listed(source):
    """(Piece, sizes in bytes) of all that `fastdcm.scan` finds in a source.

    Paths are made absolute: a worker has another current folder. sizes : int64
    array; as a table or an index tells them, else of the files, 0 for those that
    are not there.
    """
    source = open_source(source)
    told = _told(source)
    paths, failed, sizes, here = [], [], [np.empty(0, np.int64)], os.getcwdb()
    taker = source.start()
    while (chunk := taker.take(_AT_ONCE)) is not None:
        failed += [(len(paths) + i, errno) for i, _, errno in chunk.errors]
        paths += [os.path.join(here, path) for path in chunk.paths()]
        if told is None:
            found = np.empty((2, len(chunk)), np.int64)
            chunk.look(*found, 0, len(chunk))
            sizes.append(np.maximum(found[0], 0))
    return Piece(paths, failed), np.concatenate(sizes) if told is None else told


def _told(source):
    """The column `size` of an index, or of a .parquet or .arrow file, or None."""
    import pyarrow.dataset

    if isinstance(source, Indexed):
        rows = source.index.dataset()
    elif isinstance(source, Table) and source.path.lower().endswith((".parquet", ".arrow")):
        rows = pyarrow.dataset.dataset(source.path, format=source.path.rpartition(".")[2].lower())
    else:
        return None
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
