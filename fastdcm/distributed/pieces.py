"""A source cut into pieces that workers elsewhere can read."""

import os

import numpy as np

from fastdcm.scanning.index.file_list import as_path_chunk
from fastdcm.scanning.open_source import IndexedPaths, open_source
from fastdcm.sources._paths import chunk_from_columns
from fastdcm.sources.path_tables import PathTable
from fastdcm.sources.urls import is_url

_AT_ONCE = 4096

# Of a large file a scan reads the header, of a tiny one at least a page.
_LEAST, _MOST = 4 << 10, 64 << 10


class Piece:
    """A list of paths as a source of a scan, which can be sliced and sent.

    paths : list of bytes.
    errnos : int32 array; not 0 for folders that could not be listed.
    """

    requested = None
    supports_update = False

    def __init__(self, paths, errnos):
        self.paths, self.errnos = paths, errnos

    def __len__(self):
        return len(self.paths)

    def __getitem__(self, part):
        return Piece(self.paths[part], self.errnos[part])

    def start(self):
        return _Taker(self)


class _Taker:
    def __init__(self, piece):
        self.piece, self.at = piece, 0

    def read_chunk(self, count):
        piece = self.piece[self.at : self.at + count]
        self.at += len(piece)
        if not len(piece):
            return None
        ends = np.cumsum([0, *map(len, piece.paths)], dtype=np.int64)
        unknown = np.full(len(piece), -1, np.int64)
        return chunk_from_columns(b"".join(piece.paths), ends, unknown, unknown, piece.errnos)


def listed(source):
    """(Piece, sizes in bytes) of all that `fastdcm.scan` finds in a source.

    Paths are made absolute: a worker has another current folder. sizes : int64
    array; as a table or an index tells them, else of the files, 0 for those that
    are not there.
    """
    source = open_source(source)
    told = _told(source)
    paths, sizes, errnos, here = [], [np.empty(0, np.int64)], [np.empty(0, np.int32)], os.getcwdb()
    reader = source.start()
    while (next_chunk := reader.read_chunk(_AT_ONCE)) is not None:
        chunk = as_path_chunk(next_chunk)
        paths += [path if is_url(path) else os.path.join(here, path) for path in chunk.paths()]
        if told is None:
            if not chunk.is_known:
                chunk.stat()
            _, _, found, _, failed = chunk.columns()
            sizes.append(np.maximum(np.frombuffer(found, np.int64), 0))
            errnos.append(np.frombuffer(failed, np.int32))
        else:
            errnos.append(np.zeros(len(chunk), np.int32))
    return Piece(paths, np.concatenate(errnos)), np.concatenate(sizes) if told is None else told


def _told(source):
    """The column `size` of an index, or of a .parquet or .arrow file, or None."""
    import pyarrow.dataset

    if isinstance(source, IndexedPaths):
        rows = source.index.dataset()
    elif isinstance(source, PathTable) and source.path.lower().endswith((".parquet", ".arrow")):
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
