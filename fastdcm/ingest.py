"""A scan into an index folder, which can be stopped at any moment and gone on
with.

First the files of the source are listed, and the list is put on the disk: from
then on it alone says what is read and in which order. Then one part after
another is scanned, while a thread of its own writes what came before.
manifest.py has the form of all this.
"""

import functools
import hashlib
import os
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from itertools import chain
from queue import Queue
from threading import Thread
from time import perf_counter

from fastdcm import manifest
from fastdcm._columns import chunk_of, path_text
from fastdcm.errors import DicomError
from fastdcm.manifest import INNER, Manifest, Summed, inner_path, part_name
from fastdcm.tables import write_parquet
from fastdcm.threads import cores
from fastdcm.whole import sync_folder, write_whole

# A part ends with the entry of the list that brings it to as many rows. When
# the scan is stopped, the part at hand is what must be read again.
_PART_ROWS = 65536
_LIST_ROWS = 65536  # of a block of the list, which is in memory as a whole
_LOOK = 4096        # files that are looked up in one piece
_LOOKERS = 16       # threads that do so: on a network each look waits
_AHEAD = 4          # batches that wait for the thread that writes

_FIXED = 8          # columns that every scan has, first
_PIXELS = ("pixel_offset", "pixel_length", "frames", "frame_offsets")
_COUNTS = ("files", "errors", "issues")


def is_name(path):
    """Whether what is written under that name is an index folder: it ends in a
    separator, or an index is there."""
    return path.endswith(("/", os.sep)) or manifest.is_index(path)


class Ingest:
    """A scan into an index folder.

    `run` raises ValueError for a folder that holds something else; DicomError
    for an index that another process writes to (code ``index-in-use``), that
    was made with other parameters (``index-differs``) or is damaged
    (``index-damaged``); OSError when the disk is full; and what the scan
    raises. After any of them another `run` goes on from the last part written.
    """

    def __init__(self, scan, folder):
        """scan : Scan. folder : str."""
        self.scan, self.folder = scan, folder
        self.was_complete = False  # before `run`
        self._listed, self._total = 0, None
        self._before = dict.fromkeys(_COUNTS, 0)  # counts of the parts that were there
        self._now = self._before, None            # those of parts read, and the scan at hand
        self._begun, self._seconds = None, 0.0
        self._bytes_read = self._threads = 0

    @property
    def stats(self):
        """Counts as those of a Scan: files, errors and issues are of the whole
        index, the others of this run. ``listed`` is how many files were found,
        ``total`` how many there are to read, None as long as they are listed."""
        past, scan = self._now
        now = scan.stats if scan is not None else {}
        counts = {what: past[what] + now.get(what, 0) for what in _COUNTS}
        seconds = self._seconds if self._begun is None else perf_counter() - self._begun
        read = counts["files"] - self._before["files"]
        return {
            **counts,
            "seconds": seconds,
            "files_per_second": read / seconds if seconds else 0.0,
            "bytes_read": self._bytes_read + now.get("bytes_read", 0),
            "threads": now.get("threads", self._threads),
            "listed": self._listed,
            "total": self._total,
        }

    def run(self):
        """Makes the index, or goes on with it, until it is complete; leaves one
        that is as it is. Returns `stats`."""
        self._begun = perf_counter()
        try:
            self._make_folder()
            with manifest.locked(self.folder):
                book = self._open()
                if not book.complete:
                    manifest.sweep(self.folder, book)
                    self._read(book)
                    book.append({"complete": True})
        finally:
            self._seconds, self._begun = perf_counter() - self._begun, None
        return self.stats

    def _make_folder(self):
        if "://" in self.folder:
            raise ValueError(f"{self.folder}: an index is a folder on a disk")
        if not manifest.is_index(self.folder):
            if os.path.isdir(self.folder) and os.listdir(self.folder):
                raise ValueError(f"{self.folder}: the folder is not empty, and no index")
            os.makedirs(os.path.join(self.folder, INNER), exist_ok=True)
            sync_folder(self.folder)
            sync_folder(os.path.dirname(os.path.abspath(self.folder)))

    def _open(self):
        """The manifest to go on with."""
        try:
            book = Manifest(self.folder)
        except FileNotFoundError:
            manifest.sweep(self.folder)
            book = self._freeze()
        else:
            self._compare(book)
            book.check()
        self._listed = self._total = book.head["files"]["entries"]
        self._before = {what: sum(part[what] for part in book.parts) for what in _COUNTS}
        self._now = self._before, None
        self.was_complete = book.complete
        return book

    # ------------------------------------------------------- parameters ---

    def _parameters(self, source):
        names = self.scan.column_names[_FIXED:]
        pixels = "frames" if "frame_offsets" in names else "pixel_offset" in names
        return {"tags": [name for name in names if name not in _PIXELS], "pixels": pixels,
                "on_error": self.scan.on_error, "source": source}

    def _schema(self):
        import pyarrow

        return pyarrow.schema(self.scan)

    def _compare(self, book):
        """Raises when the index is one of another scan."""
        source = getattr(self.scan.source, "asked", None)
        if source is None:
            paths = _Sum()
            for chunk in _chunks(self.scan.source):
                paths.add(chunk)
            source = paths.facts()
        there, asked = book.head["parameters"], self._parameters(source)
        wrong = [f"{what} {_difference(there.get(what), asked.get(what))}"
                 for what in {**there, **asked} if there.get(what) != asked.get(what)]
        if book.head["folder"] not in (None, _working_folder()):
            wrong.append(f"its paths begin in {book.head['folder']}")
        if not wrong and manifest.read_schema(book.head["schema"]) != self._schema():
            wrong.append("by a fastdcm whose columns have other types")
        if wrong:
            raise DicomError(f"the index was made otherwise: {'; '.join(wrong)}", "index-differs",
                             filename=self.folder)

    # --------------------------------------------------------- the list ---

    def _freeze(self):
        """Lists the files of the source, and begins the manifest."""
        self._listed = 0
        name = "files-000001.parquet"
        asked = getattr(self.scan.source, "asked", None)
        paths, facts = _Sum(), {}
        chunks = _chunks(self.scan.source)
        if asked is None:
            chunks = map(paths.add, chunks)
        chunks = map(_Own(self.folder).left_out, chunks)
        threads = self.scan.threads or max(cores(), _LOOKERS)

        def fill(file):
            out = Summed(file)
            with closing(_looked_up(chunks, threads)) as files:
                facts.update(self._write_list(files, out))
            facts.update(out.facts())

        write_whole(inner_path(self.folder, name), fill)
        relative = facts.pop("relative")
        return Manifest.create(self.folder, {
            "parameters": self._parameters(paths.facts() if asked is None else asked),
            "folder": _working_folder() if relative else None,
            "files": {"name": name, **facts},
            "schema": manifest.schema_text(self._schema()),
        })

    def _write_list(self, files, out):
        """Writes the list in blocks, and tells how many entries it has and
        whether any path is relative."""
        import pyarrow
        from pyarrow import parquet

        schema = pyarrow.schema([("path", pyarrow.binary()), ("size", pyarrow.int64()),
                                 ("mtime_ns", pyarrow.int64()), ("error", pyarrow.int32())])
        relative = False
        rows, block = 0, []
        with parquet.ParquetWriter(out, schema, compression="zstd", use_dictionary=False) as writer:

            def flush():
                writer.write_table(pyarrow.Table.from_batches(block, schema))
                block.clear()

            for chunk, sizes, mtimes_ns in files:
                paths = chunk.paths()
                block.append(_list_batch(schema, chunk, paths, sizes, mtimes_ns))
                relative = relative or not all(p[:1] == b"/" or os.path.isabs(p) for p in paths)
                rows += len(paths)
                self._listed += len(paths)
                if rows >= _LIST_ROWS:
                    flush()
                    rows = 0
            if block:
                flush()
        return {"entries": self._listed, "relative": relative}

    # ------------------------------------------------------------ parts ---

    def _read(self, book):
        """Scans and writes the parts that are missing."""
        from pyarrow import parquet

        with (parquet.ParquetFile(inner_path(self.folder, book.head["files"]["name"])) as file,
              closing(self._items(_Entries(file, book.next_entry), bool(book.parts))) as items):
            if self.scan.threads == 1:
                _write_parts(book, self.scan, items)
                return
            writer = _Writer(book, self.scan)
            try:
                for item in items:
                    writer.put(item)
            finally:
                writer.close()
        if writer.error is not None:
            raise writer.error

    def _items(self, entries, begun):
        """The batches of a part, then a dict of what its line tells; and so on."""
        while entries.at < self._total or not begun:  # of no files one part, for its schema
            begun = True
            past, _ = self._now
            scan = self.scan.over(entries.part())
            self._now = past, scan
            with closing(iter(scan)) as batches:
                yield from batches
            stats = scan.stats
            self._bytes_read += stats["bytes_read"]
            self._threads = stats["threads"]
            self._now = {what: past[what] + stats[what] for what in _COUNTS}, None
            yield {**{what: stats[what] for what in _COUNTS}, "entries": entries.range,
                   "paths": list(map(path_text, entries.ends))}


def _working_folder():
    return path_text(os.getcwdb())


def _difference(there, asked):
    """What is there, and what is not, for people."""
    if isinstance(there, list) and isinstance(asked, list):
        more, less = ([x for x in a if x not in b] for a, b in ((there, asked), (asked, there)))
        if more or less:
            return " and ".join([f"with {_few(more)}"] * bool(more) + [f"without {_few(less)}"] * bool(less))
        return "in another order"
    return f"{_text(there)}, not {_text(asked)}"


def _few(values):
    texts = [_text(value) for value in values]
    return ", ".join(texts[:5]) + (f" and {len(texts) - 5} more" if len(texts) > 5 else "")


def _text(value):
    if not isinstance(value, dict):
        return str(value)
    if "path" in value:
        return value["path"] + ("" if value["recursive"] else " without its folders")
    return f"a list of {value['paths']:,} paths ({value['sha256'][:8]})"


# ------------------------------------------------------------ the list ---


def _chunks(source):
    taker = source.start()
    return iter(lambda: taker.take(_LOOK), None)


class _Sum:
    """What a list of paths is known by."""

    def __init__(self):
        self.count, self.hash = 0, hashlib.sha256()

    def add(self, chunk):
        self.count += len(chunk)
        self.hash.update(b"".join(path + b"\0" for path in chunk.paths()))
        return chunk

    def facts(self):
        return {"paths": self.count, "sha256": self.hash.hexdigest()}


class _Own:
    """The files of an index, which may lie within what is scanned."""

    def __init__(self, index):
        self.folders = [os.stat(index), os.stat(os.path.join(index, INNER))]
        self.holds = functools.lru_cache(64)(self._holds)

    def _holds(self, folder):
        try:
            found = os.stat(folder or b".")
        except (OSError, ValueError):
            return False
        return any(os.path.samestat(found, own) for own in self.folders)

    def left_out(self, chunk):
        """The chunk without them."""
        if not chunk.mentions(b"part-") and not chunk.mentions(b"_fastdcm"):
            return chunk
        paths = chunk.paths()
        own = {i for i, path in enumerate(paths) if self.holds(os.path.dirname(path))}
        if not own:
            return chunk
        kept = [i for i in range(len(paths)) if i not in own]
        failed = {position: number for position, _, number in chunk.errors}
        return chunk_of([paths[i] for i in kept],
                        [(at, failed[i]) for at, i in enumerate(kept) if i in failed])


def _looked_up(chunks, threads):
    """(chunk, sizes, times of the last change), int64, in order of the chunks."""
    import numpy as np

    def look(chunk):
        sizes, mtimes_ns = np.empty((2, len(chunk)), np.int64)
        chunk.look(sizes, mtimes_ns, 0, len(chunk))
        return chunk, sizes, mtimes_ns

    if threads == 1:
        yield from map(look, chunks)
        return
    with ThreadPoolExecutor(threads) as pool:
        ahead = deque()
        for chunk in chunks:
            ahead.append(pool.submit(look, chunk))
            if len(ahead) > 2 * threads:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()


def _list_batch(schema, chunk, paths, sizes, mtimes_ns):
    """A pyarrow.RecordBatch of the list. From buffers: pyarrow.array would look
    whether lists are of pandas, and import that."""
    import numpy as np
    import pyarrow

    errors = np.zeros(len(paths), np.int32)
    for position, _, number in chunk.errors:
        errors[position] = number
    ends = np.zeros(len(paths) + 1, np.int32)
    np.cumsum(np.fromiter(map(len, paths), np.int32, len(paths)), out=ends[1:])
    columns = [[None, ends, b"".join(paths)]]
    for values, valid in ((sizes, sizes >= 0), (mtimes_ns, sizes >= 0), (errors, errors != 0)):
        columns.append([np.packbits(valid, bitorder="little"), values])
    arrays = []
    for field, buffers in zip(schema, columns):
        buffers = [None if data is None else pyarrow.py_buffer(data) for data in buffers]
        arrays.append(pyarrow.Array.from_buffers(field.type, len(paths), buffers))
    return pyarrow.record_batch(arrays, schema)


class _Entries:
    """The entries of a list of files, from one of them on: the source of one
    part after another."""

    def __init__(self, file, at):
        self.file = file                  # pyarrow.parquet.ParquetFile
        self.at = at                      # the next entry
        self.block = self.end = 0         # how many blocks were read or passed over, and entries
        self.paths, self.failed = [], {}  # of the last block; entry to errno

    def part(self):
        """A source that ends after the last entry of a part."""
        self.begin, self.left = self.at, _PART_ROWS
        self.ends = []  # the paths of its first entry and its last
        return self

    @property
    def range(self):
        """The entries of the part."""
        return [self.begin, self.at]

    def start(self):
        return self

    def take(self, count):
        count = min(count, self.left)
        if not count or self.at >= self.end and not self._load():
            return None
        at = self.at - self.end + len(self.paths)
        paths = self.paths[at:at + count]
        failed = [(i - self.at, self.failed[i]) for i in self.failed
                  if self.at <= i < self.at + len(paths)]
        self.at += len(paths)
        self.left -= len(paths)
        self.ends = [self.ends[0] if self.ends else paths[0], paths[-1]]
        return chunk_of(paths, failed)

    def _load(self):
        """Reads the block of the next entry; False after the last."""
        metadata = self.file.metadata
        while self.block < metadata.num_row_groups:
            block, begin = self.block, self.end
            self.block += 1
            self.end += metadata.row_group(block).num_rows
            if self.end > self.at:
                table = self.file.read_row_group(block, ["path", "error"])
                self.paths = table["path"].to_pylist()
                self.failed = {}
                if table["error"].null_count < len(table):
                    self.failed = {begin + i: number for i, number
                                   in enumerate(table["error"].to_pylist()) if number is not None}
                return True
        return False


# ------------------------------------------------------------ writing ---


class _Stopped(Exception):
    """Nothing more comes of the part at hand."""


class _Rows:
    """The batches of one part, for a writer of tables."""

    def __init__(self, scan, items):
        self.scan, self.items = scan, items
        self.count, self.facts = 0, None

    def __arrow_c_schema__(self):
        return self.scan.__arrow_c_schema__()

    def __iter__(self):
        for item in self.items:
            if isinstance(item, dict):
                self.facts = item
                return
            self.count += len(item)
            yield item
        raise _Stopped


def _write_part(book, scan, items):
    """Writes the next part, and its line. items : an iterator of its batches,
    then a dict of what the line tells."""
    path = os.path.join(book.folder, part_name(book.next_number))
    rows, facts = _Rows(scan, items), {}

    def fill(file):
        out = Summed(file)
        write_parquet(rows, out)
        facts.update(out.facts())

    write_whole(path, fill, drafts=os.path.join(book.folder, INNER))
    book.append({"part": os.path.basename(path), "rows": rows.count, **facts, **rows.facts})


def _write_parts(book, scan, items):
    for item in items:
        _write_part(book, scan, chain([item], items))


class _Writer:
    """Writes parts in a thread of its own, behind those that read files: they
    read on while a part is synchronised to the disk."""

    def __init__(self, book, scan):
        self.book, self.scan = book, scan
        self.queue = Queue(_AHEAD)
        self.error = None
        self.thread = Thread(target=self._work, name="fastdcm index")
        self.thread.start()

    def put(self, item):
        if self.error is not None:
            raise self.error
        self.queue.put(item)

    def close(self):
        """Waits for the parts that came as a whole; drops one that did not."""
        self.queue.put(None)
        self.thread.join()

    def _work(self):
        items = iter(self.queue.get, None)
        try:
            _write_parts(self.book, self.scan, items)
        except _Stopped:
            pass
        except BaseException as error:
            self.error = error
            for _ in items:  # so that nobody waits for room
                pass
