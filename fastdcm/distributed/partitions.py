"""List the files of a source, and split them into partitions for other machines."""

from __future__ import annotations

import os
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from fastdcm.scanning.index.file_list import as_path_chunk
from fastdcm.scanning.open_source import IndexedPaths, open_source
from fastdcm.sources._paths import PathChunk, chunk_from_columns
from fastdcm.sources.path_tables import PathTable
from fastdcm.sources.protocols import RequestedPath
from fastdcm.sources.urls import is_url

_PATHS_PER_CHUNK = 4096

# The cost of scanning a header: at least a page, at most a long header.
_MIN_HEADER_BYTES, _MAX_HEADER_BYTES = 4 << 10, 64 << 10


class Partition:
    """A list of paths that can be sliced, pickled, and scanned as a source.

    Parameters
    ----------
    paths : list of bytes
    errnos : (paths,) int32 array
        Not 0 for a folder that could not be listed.

    Attributes
    ----------
    requested : None
        As every source has it: there is no path that a user gave.
    supports_update : bool
        As every source has it: False.
    """

    requested: list[RequestedPath] | None = None
    supports_update = False

    def __init__(self, paths: list[bytes], errnos: npt.NDArray[np.int32]) -> None:
        self.paths = paths
        self.errnos = errnos

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, part: slice) -> Partition:
        return Partition(self.paths[part], self.errnos[part])

    def start(self) -> _PartitionReader:
        """Return a reader of the paths, from the first on.

        Returns
        -------
        object with a method ``read_chunk(max_paths)``
        """
        return _PartitionReader(self)


class _PartitionReader:
    def __init__(self, partition: Partition) -> None:
        self._partition = partition
        self._next = 0

    def read_chunk(self, max_paths: int) -> PathChunk | None:
        """Return the next paths, at most `max_paths`, or None after the last."""
        part = self._partition[self._next : self._next + max_paths]
        self._next += len(part)
        if not len(part):
            return None
        ends = np.cumsum([0, *map(len, part.paths)], dtype=np.int64)
        unknown = np.full(len(part), -1, np.int64)
        return chunk_from_columns(b"".join(part.paths), ends, unknown, unknown, part.errnos)


def list_files(source: Any) -> tuple[Partition, npt.NDArray[np.int64]]:
    """Return all files that `fastdcm.scan` would read, and their sizes.

    Parameters
    ----------
    source : path, iterable of paths, table or index folder
        As for `fastdcm.scan`.

    Returns
    -------
    files : Partition
        With absolute paths, because a worker has another current folder.
    sizes : (files,) int64 array
        In bytes: those of the table or index, if it has them, else of the files;
        0 for files that do not exist.

    Raises
    ------
    FileNotFoundError, ValueError, TypeError
        As `fastdcm.scan`.
    """
    source = open_source(source)
    recorded = _recorded_sizes(source)
    paths: list[bytes] = []
    sizes = [np.empty(0, np.int64)]
    errnos = [np.empty(0, np.int32)]
    folder = os.getcwdb()
    reader = source.start()
    while (found_chunk := reader.read_chunk(_PATHS_PER_CHUNK)) is not None:
        chunk = as_path_chunk(found_chunk)
        paths += [path if is_url(path) else os.path.join(folder, path) for path in chunk.paths()]
        if recorded is not None:
            errnos.append(np.zeros(len(chunk), np.int32))
            continue
        if not chunk.is_known:
            chunk.stat()
        _, _, found, _, failed = chunk.columns()
        sizes.append(np.maximum(np.frombuffer(memoryview(found), np.int64), 0))
        errnos.append(np.frombuffer(memoryview(failed), np.int32))
    files = Partition(paths, np.concatenate(errnos))
    return files, np.concatenate(sizes) if recorded is None else recorded


def _recorded_sizes(source: Any) -> npt.NDArray[np.int64] | None:
    """Return the column ``size`` of an index, or of a .parquet or .arrow file, or None."""
    import pyarrow.dataset

    if isinstance(source, IndexedPaths):
        rows = source.index.dataset()
    elif isinstance(source, PathTable) and source.path.lower().endswith((".parquet", ".arrow")):
        rows = pyarrow.dataset.dataset(source.path, format=source.path.rpartition(".")[2].lower())
    else:
        return None
    if "size" not in rows.schema.names:
        return None
    column = rows.to_table(columns=["size"]).column("size")
    sizes: npt.NDArray[np.int64] = column.cast("int64").fill_null(0).to_numpy()
    return sizes


def header_costs(sizes: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return about how many bytes a scan reads of files of these sizes.

    Parameters
    ----------
    sizes : (files,) int64 array

    Returns
    -------
    (files,) int64 array
    """
    return np.clip(sizes, _MIN_HEADER_BYTES, _MAX_HEADER_BYTES)


def split_evenly(costs: Sequence[int] | npt.NDArray[np.int64], count: int) -> list[slice]:
    """Split a list into slices of about equal cost.

    Parameters
    ----------
    costs : (items,) array
        Each above 0.
    count : int
        The largest number of slices.

    Returns
    -------
    list of slice
        In order, none of them empty.
    """
    if len(costs) == 0:
        return []
    ends = np.cumsum(costs)
    inner = np.searchsorted(ends, ends[-1] / count * np.arange(1, count)) + 1
    borders = np.unique([0, *np.minimum(inner, len(costs)).tolist(), len(costs)]).tolist()
    return [slice(begin, end) for begin, end in pairwise(borders)]
