"""Lists of files: their paths in the order of a source, sizes and modification times.

On disk a list is a Parquet file with the columns path (bytes), size (null where nothing
exists), mtime_ns (null also where the time is not known) and error (the errno of a folder
that could not be listed), in row groups of about `BLOCK` entries. In memory it is a
sequence of chunks.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Self

from fastdcm.errors import DicomError
from fastdcm.scanning.index.manifest import Manifest, damaged, internal_path, parquet_errors
from fastdcm.scanning.protocols import BinaryWriter
from fastdcm.sources._paths import PathChunk, StreamChunk, chunk_from_columns
from fastdcm.sources.numbers import known_size, known_time
from fastdcm.sources.protocols import AnyChunk
from fastdcm.sources.urls import is_url

if TYPE_CHECKING:
    import numpy as np
    import pyarrow
    from numpy.typing import NDArray
    from pyarrow import parquet

# As dcm_file.h: the time of a file that exists is not known.
_NO_TIME = -(2**63)

#: Entries per block. A block is held in memory as a whole.
BLOCK = 65536


def as_path_chunk(chunk: AnyChunk) -> PathChunk:
    """Return the paths of a chunk, with the sizes and times that a server has listed.

    Raises the DicomError of a listing that failed (half of a list is no list), or of
    an object that does not exist.
    """
    import numpy as np

    if isinstance(chunk, PathChunk):
        return chunk
    assert isinstance(chunk, StreamChunk)
    streams = chunk.streams
    for stream in streams:
        if stream.size is None:  # the listing failed, or the URL is that of one object
            try:
                stream.open(1)
            except DicomError as error:
                if error.filename is None:
                    error.filename = os.fsdecode(stream.path)
                raise
    paths = [stream.path for stream in streams]
    return chunk_from_columns(
        b"".join(paths),
        np.cumsum([0, *map(len, paths)], dtype=np.int64),
        _known([known_size(stream.size) for stream in streams], -1),
        _known([known_time(stream.mtime_ns) for stream in streams], _NO_TIME),
        np.zeros(len(paths), np.int32),
    )


def _known(values: list[int | None], unknown: int) -> NDArray[np.int64]:
    import numpy as np

    return np.array([unknown if value is None else value for value in values], np.int64)


def _with_sizes(chunk: PathChunk) -> PathChunk:
    if not chunk.is_known:
        chunk.stat()
    return chunk


def with_sizes(chunks: Iterable[PathChunk], threads: int) -> Generator[PathChunk, None, None]:
    """Yield the chunks with sizes and modification times, in order."""
    if threads == 1:
        yield from map(_with_sizes, chunks)
        return
    with ThreadPoolExecutor(threads) as pool:
        pending: deque[Future[PathChunk]] = deque()
        for chunk in chunks:
            pending.append(pool.submit(_with_sizes, chunk))
            if len(pending) > 2 * threads:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()


def count_files(chunk: PathChunk) -> int:
    """Return the number of paths that are not folders that could not be listed."""
    import numpy as np

    *_, errors = _arrays(chunk)
    return len(chunk) - int(np.count_nonzero(errors))


def has_relative_path(chunk: PathChunk) -> bool:
    """Return whether a path of a chunk, which has sizes and times, is relative."""
    if os.name == "nt" or chunk.urls():
        return not all(os.path.isabs(path) or is_url(path) for path in chunk.paths())
    data, offsets, *_ = _arrays(chunk)
    return bool((offsets[1:] == offsets[:-1]).any() or (data[offsets[:-1]] != ord("/")).any())


def _arrays(chunk: PathChunk) -> list[NDArray[Any]]:
    """Return the bytes of all paths, offsets into them, sizes, times and errors."""
    import numpy as np

    dtypes = (np.uint8, np.int64, np.int64, np.int64, np.int32)
    return [
        np.frombuffer(memoryview(column), dtype)
        for column, dtype in zip(chunk.columns(), dtypes, strict=True)
    ]


# ---------------------------------------------------------------- on disk ---


def _schema() -> pyarrow.Schema:
    import pyarrow

    return pyarrow.schema(
        [
            ("path", pyarrow.binary()),
            ("size", pyarrow.int64()),
            ("mtime_ns", pyarrow.int64()),
            ("error", pyarrow.int32()),
        ]
    )


class FileListWriter:
    """Writes a list to a binary file, chunk by chunk. A context manager."""

    def __init__(self, file: BinaryWriter) -> None:
        from pyarrow import parquet

        self._schema = _schema()
        self._file = parquet.ParquetWriter(
            file, self._schema, compression="zstd", use_dictionary=False
        )
        self._block: list[pyarrow.RecordBatch] = []
        self._entries = 0  # of the block

    def add(self, chunk: PathChunk) -> None:
        """Append the paths of a chunk, which has sizes and times."""
        self._block.append(_to_batch(chunk, self._schema))
        self._entries += len(chunk)
        if self._entries >= BLOCK:
            self._flush()

    def _flush(self) -> None:
        import pyarrow

        self._file.write_table(pyarrow.Table.from_batches(self._block, self._schema))
        self._block, self._entries = [], 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None and self._block:
            self._flush()
        self._file.close()


def _to_batch(chunk: PathChunk, schema: pyarrow.Schema) -> pyarrow.RecordBatch:
    """Return the chunk as a record batch.

    From buffers: pyarrow.array would import pandas, to see whether it gets its objects.
    """
    import numpy as np
    import pyarrow

    data, offsets, size, time, error = _arrays(chunk)
    exists = size >= 0
    buffers = [
        (None, offsets.astype(np.int32), data),
        (_pack_bits(exists), size),
        (_pack_bits(exists & (time != _NO_TIME)), time),
        (_pack_bits(error != 0), error),
    ]
    return pyarrow.record_batch(
        [
            pyarrow.Array.from_buffers(
                field.type,
                len(chunk),
                [part if part is None else pyarrow.py_buffer(part) for part in parts],
            )
            for field, parts in zip(schema, buffers, strict=True)
        ],
        schema,
    )


def _pack_bits(values: NDArray[np.bool_]) -> NDArray[np.uint8]:
    import numpy as np

    return np.packbits(values, bitorder="little")


def list_path(manifest: Manifest) -> str:
    """Return the path of the list of a manifest."""
    return internal_path(manifest.folder, manifest.head["files"]["name"])


def check_list(manifest: Manifest) -> None:
    """Raise DicomError unless the list of a manifest has as many entries as it says."""
    from pyarrow import parquet

    path = list_path(manifest)
    with parquet_errors(path), parquet.ParquetFile(path, pre_buffer=False) as file:
        entries = manifest.head["files"]["entries"]
        if file.metadata.num_rows != entries or file.schema_arrow != _schema():
            raise damaged(path, f"it is not a list of {entries:,} files")


def read_list(
    path: str, first: int = 0, stop: int | None = None
) -> Generator[PathChunk, None, None]:
    """Yield the entries of a list from `first` to `stop`, in chunks of a block or less."""
    from pyarrow import parquet

    with parquet_errors(path), parquet.ParquetFile(path, pre_buffer=False) as file:
        end = 0
        for block in range(file.num_row_groups if first != stop else 0):
            begin, end = end, end + file.metadata.row_group(block).num_rows
            if end <= first:
                continue
            if stop is not None and begin >= stop:
                return
            part = slice(max(first - begin, 0), None if stop is None else min(stop, end) - begin)
            # In a thread that ends: pyarrow keeps memory for each thread that has used
            # it, and a scan may have many.
            with ThreadPoolExecutor(1) as reader:
                chunk = reader.submit(_read_block, file, block, part).result()
            yield chunk


def _read_block(file: parquet.ParquetFile, block: int, part: slice) -> PathChunk:
    return _to_chunk(file.read_row_group(block, use_threads=False)[part])


def _to_chunk(table: pyarrow.Table) -> PathChunk:
    """Return the chunk that `_to_batch` has made batches of."""
    import numpy as np

    path, size, time, error = (column.combine_chunks() for column in table.columns)
    _, offsets, data = path.buffers()
    offsets = np.frombuffer(offsets, np.int32, len(path) + 1, 4 * path.offset).astype(np.int64)
    sizes = _fill_null(size, np.int64, -1)
    return chunk_from_columns(
        np.frombuffer(data, np.uint8) if data else b"",
        offsets,
        sizes,
        np.where(sizes < 0, np.int64(-1), _fill_null(time, np.int64, _NO_TIME)),
        _fill_null(error, np.int32, 0),
    )


def _fill_null(
    column: pyarrow.Array, dtype: type[np.signedinteger[Any]], null: int
) -> NDArray[Any]:
    """Return a column's values, with another value for null.

    (column.fill_null would import pandas.)
    """
    import numpy as np

    valid, data = column.buffers()
    values = np.frombuffer(data, dtype)[column.offset : column.offset + len(column)]
    if not column.null_count:
        return values
    bits = np.unpackbits(np.frombuffer(valid, np.uint8), bitorder="little")
    return np.where(bits[column.offset : column.offset + len(column)], values, dtype(null))
