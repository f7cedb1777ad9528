"""Lists of files: which there are, in the order of a source, and what is known
of them without opening one.

On the disk a list is a Parquet file of blocks with the columns path (bytes),
size, mtime_ns (null where nothing was) and error (the errno of a folder that
could not be listed). In memory it is one Chunk after another.
"""

import os
from collections import deque
from concurrent.futures import ThreadPoolExecutor

from fastdcm.sources._paths import StreamChunk, chunk_from_columns
from fastdcm.sources.archives.limits import UnreadableMember
from fastdcm.sources.urls import is_url

#: Entries of a block, which is in memory as a whole.
BLOCK = 65536


def as_chunk(taken):
    """What a taker gives, as a Chunk: of streams, which their server has listed,
    with the sizes and times that it told. Raises the DicomError of a listing that
    failed, which is no list without its other half, and of an object that is not
    there."""
    import numpy as np

    if not isinstance(taken, StreamChunk):
        return taken
    streams = taken.streams
    for stream in streams:
        if isinstance(stream, UnreadableMember):
            stream.error.filename = os.fsdecode(stream.path)
            raise stream.error
        if stream.size is None:  # the one object that nothing is below of
            stream.open(1)
    paths = [stream.path for stream in streams]
    ends = np.cumsum([0, *map(len, paths)], dtype=np.int64)
    sizes, times = (
        [-1 if value is None else value for value in values]
        for values in ([stream.size for stream in streams], [stream.mtime_ns for stream in streams])
    )
    return chunk_from_columns(
        b"".join(paths),
        ends,
        np.array(sizes, np.int64),
        np.array(times, np.int64),
        np.zeros(len(paths), np.int32),
    )


def _look(chunk):
    if not chunk.is_known:
        chunk.stat()
    return chunk


def looked_up(chunks, threads):
    """The chunks with sizes and times, in order."""
    if threads == 1:
        yield from map(_look, chunks)
        return
    with ThreadPoolExecutor(threads) as pool:
        ahead = deque()
        for chunk in chunks:
            ahead.append(pool.submit(_look, chunk))
            if len(ahead) > 2 * threads:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()


def count_files(chunk):
    """How many there are besides folders that could not be listed."""
    import numpy as np

    return len(chunk) - int(np.count_nonzero(np.frombuffer(chunk.columns()[-1], np.int32)))


def is_relative(chunk):
    """Whether one of its paths, which have sizes and times, is relative."""
    import numpy as np

    if os.name == "nt" or chunk.urls():
        return not all(os.path.isabs(path) or is_url(path) for path in chunk.paths())
    data, offsets, *_ = chunk.columns()
    begins = np.frombuffer(offsets, np.int64)
    paths = np.frombuffer(data, np.uint8)
    return bool((begins[1:] == begins[:-1]).any() or (paths[begins[:-1]] != ord("/")).any())


# ------------------------------------------------------------ on the disk ---


class Writer:
    """Writes a list, chunk by chunk, to a binary file. A context manager."""

    def __init__(self, out):
        import pyarrow
        from pyarrow import parquet

        self.schema = pyarrow.schema(
            [
                ("path", pyarrow.binary()),
                ("size", pyarrow.int64()),
                ("mtime_ns", pyarrow.int64()),
                ("error", pyarrow.int32()),
            ]
        )
        self.file = parquet.ParquetWriter(
            out, self.schema, compression="zstd", use_dictionary=False
        )
        self.block, self.entries = [], 0

    def put(self, chunk):
        self.block.append(_batch(chunk, self.schema))
        self.entries += len(chunk)
        if self.entries >= BLOCK:
            self._flush()

    def _flush(self):
        import pyarrow

        self.file.write_table(pyarrow.Table.from_batches(self.block, self.schema))
        self.block, self.entries = [], 0

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        if kind is None and self.block:
            self._flush()
        self.file.close()


def _batch(chunk, schema):
    """The chunk as a pyarrow.RecordBatch. From buffers: pyarrow.array would look
    whether they are of pandas, and import that."""
    import numpy as np
    import pyarrow

    data, *others = chunk.columns()
    offsets, size, time, error = map(np.frombuffer, others, "qqqi")
    there = size >= 0
    buffers = [
        (None, offsets.astype(np.int32), data),
        (_bits(there), size),
        (_bits(there), time),
        (_bits(error != 0), error),
    ]
    return pyarrow.record_batch(
        [
            pyarrow.Array.from_buffers(
                field.type,
                len(chunk),
                [part if part is None else pyarrow.py_buffer(part) for part in parts],
            )
            for field, parts in zip(schema, buffers)
        ],
        schema,
    )


def _bits(values):
    import numpy as np

    return np.packbits(values, bitorder="little")


def read(path, first=0, stop=None):
    """The entries of a list from `first` to `stop`, as chunks of a block or
    less."""
    from pyarrow import parquet

    with parquet.ParquetFile(path, pre_buffer=False) as file:
        end = 0
        for block in range(file.num_row_groups if first != stop else 0):
            begin, end = end, end + file.metadata.row_group(block).num_rows
            if end <= first:
                continue
            if stop is not None and begin >= stop:
                return
            part = slice(max(first - begin, 0), None if stop is None else min(stop, end) - begin)
            # In a thread that ends: pyarrow keeps memory for each that it is used
            # in, and a scan may have many.
            with ThreadPoolExecutor(1) as reader:
                chunk = reader.submit(_read, file, block, part).result()
            yield chunk


def _read(file, block, part):
    return _chunk(file.read_row_group(block, use_threads=False)[part])


def _chunk(table):
    """The chunk that `_batch` made a batch of."""
    import numpy as np

    path, size, time, error = (column.combine_chunks() for column in table.columns)
    _, offsets, data = path.buffers()
    offsets = np.frombuffer(offsets, np.int32, len(path) + 1, 4 * path.offset).astype(np.int64)
    return chunk_from_columns(
        np.frombuffer(data, np.uint8) if data else b"",
        offsets,
        _filled(size, np.int64, -1),
        _filled(time, np.int64, -1),
        _filled(error, np.int32, 0),
    )


def _filled(column, kind, null):
    """A column's values, with another value for null. (A pyarrow.scalar would
    import pandas, too.)"""
    import numpy as np

    valid, data = column.buffers()
    values = np.frombuffer(data, kind)[column.offset : column.offset + len(column)]
    if not column.null_count:
        return values
    bits = np.unpackbits(np.frombuffer(valid, np.uint8), bitorder="little")
    return np.where(bits[column.offset : column.offset + len(column)], values, kind(null))
