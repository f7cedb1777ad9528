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
from bisect import bisect_right
from contextlib import closing
from itertools import chain
from queue import Queue
from threading import Thread
from time import perf_counter

from fastdcm._util.atomic import sync_directory, write_atomically
from fastdcm._util.parallel import cpu_count
from fastdcm.errors import DicomError
from fastdcm.scanning.index import file_list, manifest
from fastdcm.scanning.index.manifest import (
    INNER,
    Manifest,
    Summed,
    inner_path,
    list_name,
    part_name,
)
from fastdcm.scanning.output import DELTA, write_parquet
from fastdcm.sources._paths import is_archive
from fastdcm.sources.urls import path_text

# Entries of the list to a part, or rows, where some are archives; and those that
# were on their way when that was seen. When the scan is stopped, the part at hand
# is what must be read again.
_PART = 65536
_LOOK = 4096  # files that are looked up in one piece
_LOOKERS = 16  # threads that do so: on a network each look waits
_AHEAD = 4  # batches that wait for the thread that writes

_FIXED = 8  # columns that every scan has, first
_PIXELS = ("pixel_offset", "pixel_length", "frames", "frame_offsets")
_COUNTS = ("files", "errors", "issues")


def is_name(path):
    """Whether what is written under that name is an index folder: it ends in a
    separator, or an index is there."""
    if path.startswith(DELTA):
        return False
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
        self._now = self._before, None  # those of parts read, and the scan at hand
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
                self._run()
        finally:
            self._seconds, self._begun = perf_counter() - self._begun, None
        return self.stats

    def _run(self):
        """Returns the manifest, complete."""
        book = self._open()
        if not book.complete:
            manifest.sweep(self.folder, book)
            path = inner_path(self.folder, book.head["files"]["name"])
            with closing(file_list.read(path, book.next_entry)) as blocks:
                entries = _Entries(blocks, book.next_entry)
                self._write(book, self._items(entries, bool(book.parts)))
            book.append({"complete": True})
        return book

    def _make_folder(self):
        if "://" in self.folder:
            raise ValueError(f"{self.folder}: an index is a folder on a disk")
        if not manifest.is_index(self.folder):
            if os.path.isdir(self.folder) and os.listdir(self.folder):
                raise ValueError(f"{self.folder}: the folder is not empty, and no index")
            os.makedirs(os.path.join(self.folder, INNER), exist_ok=True)
            sync_directory(self.folder)
            sync_directory(os.path.dirname(os.path.abspath(self.folder)))

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
        hashes = list(self.scan.plan.hashes)
        return {
            "tags": [name for name in names if name not in (*_PIXELS, *hashes)],
            "pixels": pixels,
            "hash": hashes,
            "on_error": self.scan.on_error,
            "source": source,
        }

    def _schema(self):
        import pyarrow

        return pyarrow.schema(self.scan)

    def _compare(self, book):
        """Raises when the index is one of another scan."""
        source = self.scan.source.requested
        if source is None:
            paths = _Sum()
            for chunk in chunks_of(self.scan.source):
                paths.add(chunk)
            source = paths.facts()
        there, asked = book.head["parameters"], self._parameters(source)
        wrong = [
            f"{what} {_difference(there.get(what), asked.get(what))}"
            for what in {**there, **asked}
            if there.get(what) != asked.get(what)
        ]
        if book.head["folder"] not in (None, _working_folder()):
            wrong.append(f"its paths begin in {book.head['folder']}")
        if not wrong and manifest.read_schema(book.head["schema"]) != self._schema():
            wrong.append("by a fastdcm whose columns have other types")
        if wrong:
            raise DicomError(
                f"the index was made otherwise: {'; '.join(wrong)}",
                "index-differs",
                filename=self.folder,
            )

    # --------------------------------------------------------- the list ---

    def _freeze(self):
        """Lists the files of the source, and begins the manifest."""
        self._listed = 0
        name = list_name(1)
        asked = self.scan.source.requested
        paths, facts = _Sum(), {"relative": False}
        chunks = chunks_of(self.scan.source)
        if asked is None:
            chunks = map(paths.add, chunks)

        def fill(file):
            out = Summed(file)
            with closing(self._found(chunks)) as found, file_list.Writer(out) as writer:
                for chunk in found:
                    writer.put(chunk)
                    self._listed += len(chunk)
                    facts["relative"] = facts["relative"] or file_list.is_relative(chunk)
            facts.update(entries=self._listed, **out.facts())

        write_atomically(inner_path(self.folder, name), fill)
        relative = facts.pop("relative")
        return Manifest.create(
            self.folder,
            {
                "parameters": self._parameters(paths.facts() if asked is None else asked),
                "folder": _working_folder() if relative else None,
                "files": {"name": name, **facts},
                "schema": manifest.schema_text(self._schema()),
            },
        )

    def _found(self, chunks):
        """The chunks with sizes and times, without the files of the index."""
        chunks = filter(None, map(_Own(self.folder).left_out, chunks))
        return file_list.looked_up(chunks, self.scan.threads or max(cpu_count(), _LOOKERS))

    # ------------------------------------------------------------ parts ---

    def _write(self, book, items):
        """Writes parts and their lines, as `_write_parts` does."""
        with closing(items):
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
                for batch in batches:
                    entries.rows += len(batch)
                    yield batch
            stats = scan.stats
            self._bytes_read += stats["bytes_read"]
            self._threads = stats["threads"]
            self._now = {what: past[what] + stats[what] for what in _COUNTS}, None
            yield {
                **{what: stats[what] for what in _COUNTS},
                "entries": entries.range,
                "paths": list(map(path_text, entries.ends)),
            }


def _working_folder():
    return path_text(os.getcwdb())


def _difference(there, asked):
    """What is there, and what is not, for people."""
    if isinstance(there, list) and isinstance(asked, list):
        more, less = ([x for x in a if x not in b] for a, b in ((there, asked), (asked, there)))
        if more or less:
            return " and ".join(
                [f"with {_few(more)}"] * bool(more) + [f"without {_few(less)}"] * bool(less)
            )
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


def chunks_of(source):
    """The files of a source, chunk by chunk."""
    reader = source.start()
    return map(file_list.as_chunk, iter(lambda: reader.read_chunk(_LOOK), None))


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
        """The chunk without them; None when nothing is left."""
        if not chunk.mentions(b"part-") and not chunk.mentions(b"_fastdcm"):
            return chunk
        others = bytes(not self.holds(os.path.dirname(path)) for path in chunk.paths())
        return chunk if all(others) else chunk.select(others)


class _Entries:
    """The entries of a list of files, from one of them on: the source of one
    part after another."""

    requested = None
    supports_update = False

    def __init__(self, blocks, at):
        self.blocks = blocks  # chunks of the list, from there on
        self.at = at  # the next entry
        self.block, self.used = (), 0  # what is at hand, and how much of it was taken
        self.archives = ()  # where one in it ends

    def part(self):
        """A source that ends after the last entry of a part."""
        self.begin, self.rows = self.at, 0
        self.ends = []  # the paths of its first entry and its last
        return self

    @property
    def range(self):
        """The entries of the part."""
        return [self.begin, self.at]

    def start(self):
        return self

    def read_chunk(self, count):
        if self.used == len(self.block):
            block = next(self.blocks, None)
            if block is None:
                return None
            self.block, self.used = block, 0
            self.archives = [i + 1 for i, path in block.archives() if is_archive(path)]
        left = _PART - (self.at - self.begin) if self.rows < _PART else 0
        # An archive, of nobody knows how many rows, is the last of a chunk.
        i = bisect_right(self.archives, self.used)
        end = min(self.used + min(count, left), len(self.block), *self.archives[i : i + 1])
        count = end - self.used
        if not count:
            return None
        chunk = self.block.part(self.used, end)
        self.used = end
        self.at += count
        self.ends = [self.ends[0] if self.ends else chunk[0], chunk[count - 1]]
        return chunk


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

    write_atomically(path, fill, temporary_directory=os.path.join(book.folder, INNER))
    book.append({"part": os.path.basename(path), "rows": rows.count, **facts, **rows.facts})


def _write_parts(book, scan, items):
    """items : of each part its batches, then a dict of what its line tells; or
    the whole line of one that is there."""
    for item in items:
        if isinstance(item, dict) and "part" in item:
            book.append(item)
        else:
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
