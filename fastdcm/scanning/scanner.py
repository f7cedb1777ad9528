"""scan: the headers of many files as one table."""

import os
from _thread import start_new_thread
from itertools import count
from threading import Condition, Lock
from time import perf_counter, process_time, thread_time

from fastdcm._util.parallel import cpu_count
from fastdcm.core._dictionary import tag_for_keyword
from fastdcm.scanning import output
from fastdcm.scanning._batch import Batch, Plan, keywords, stream_capsule
from fastdcm.scanning._worker import Worker
from fastdcm.scanning.hashes import xxh3
from fastdcm.scanning.index import build
from fastdcm.scanning.index.update import Update
from fastdcm.scanning.open_source import open_source
from fastdcm.sources._paths import StreamChunk
from fastdcm.sources.paths import PathList
from fastdcm.sources.resolve import ResolvingReader

#: The columns of a scan that names none: what tells patients, studies, series
#: and images apart, and what a first look at an archive asks for.
DEFAULT_TAGS = (
    "PatientID",
    "PatientName",
    "PatientBirthDate",
    "PatientSex",
    "StudyInstanceUID",
    "StudyDate",
    "StudyTime",
    "StudyDescription",
    "StudyID",
    "AccessionNumber",
    "SeriesInstanceUID",
    "SeriesNumber",
    "SeriesDescription",
    "Modality",
    "BodyPartExamined",
    "ProtocolName",
    "Manufacturer",
    "ManufacturerModelName",
    "FrameOfReferenceUID",
    "SOPInstanceUID",
    "SOPClassUID",
    "InstanceNumber",
    "ImageType",
    "Rows",
    "Columns",
    "NumberOfFrames",
    "PixelSpacing",
    "SliceThickness",
    "ImagePositionPatient",
    "ImageOrientationPatient",
)

#: What can be hashed, and the column it is in.
HASHES = {"file": "file_hash", "pixels": "pixel_hash"}

#: Files to a batch: about 1 kB of table each.
BATCH = 4096

# ------------------------------------------------------------------- tags ---


def _words(text):
    """A path to its steps: "(0029,xx08,A (B))[2].Rows" gives
    ("(0029,xx08,A (B))", "2"), ("Rows", None)."""
    at = 0
    while True:
        end = at
        if text.startswith("(", at):
            while True:  # a private creator may hold brackets
                end = text.find(")", end) + 1
                if end == 0 or end == len(text) or text[end] in ".[":
                    break
        else:
            ends = [i for i in (text.find(".", at), text.find("[", at)) if i >= 0]
            end = min(ends, default=len(text))
        close = text.find("]", end) if text.startswith("[", end) else end - 1
        if end <= at or close < end - 1:
            raise ValueError(f"{text!r} cannot be read as an element")
        yield text[at:end], text[end + 1 : close] if close >= end else None
        if close + 1 == len(text):
            return
        if text[close + 1] != ".":
            raise ValueError(f"{text!r} cannot be read as an element")
        at = close + 2


def _hex(text, length):
    """The number that `length` hexadecimal digits make, else None."""
    if len(text) != length or not all(c in "0123456789abcdefABCDEF" for c in text):
        return None
    return int(text, 16)


def _element(word):
    """(tag, creator) of a keyword, ggggeeee, (gggg,eeee) or
    (gggg,xxee,creator)."""
    if word.startswith("("):
        parts = [part.strip() for part in word[1:-1].split(",", 2)]
        if len(parts) == 2:
            numbers = _hex(parts[0], 4), _hex(parts[1], 4)
        elif len(parts) == 3 and parts[2] and parts[1][:2].lower() == "xx":
            numbers = _hex(parts[0], 4), _hex(parts[1][2:], 2)
        else:
            numbers = None, None
        if None in numbers:
            raise ValueError(f"{word!r} is neither (gggg,eeee) nor (gggg,xxee,private creator)")
        return numbers[0] << 16 | numbers[1], parts[2] if len(parts) == 3 else None
    tag = _hex(word, 8)
    if tag is None:
        tag = tag_for_keyword(word)
    if tag is None:
        import difflib

        near = difflib.get_close_matches(word, keywords(), 1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise ValueError(f"{word!r} is no keyword of the DICOM dictionary{hint}")
    return tag, None


def parse_tag(tag):
    """A requested element to (column name, path) as Plan takes it."""
    if isinstance(tag, int):
        return f"({tag >> 16:04X},{tag & 0xFFFF:04X})", [(int(tag), None, None)]
    if not isinstance(tag, str):
        raise TypeError(f"an element is a str or an int, not {type(tag).__name__}")
    words = list(_words(tag))
    path = []
    for i, (word, item) in enumerate(words):
        number, creator = _element(word)
        if i == len(words) - 1:
            if item is not None:
                raise ValueError(
                    f"{tag}: [{item}] picks an item of a sequence; "
                    f"name an element in it, as {tag}.CodeValue"
                )
        elif item is None or item == "*":
            item = 0 if item else 1
        elif item.isascii() and item.isdigit() and 0 < int(item) < 2**32:
            item = int(item)
        else:
            raise ValueError(f"{tag}: [{item}] is neither [*] nor an item's number, from 1")
        path.append((number, creator, item))
    return tag, path


def make_plan(tags=None, pixels=False, skip_errors=False, hash=()):
    """The Plan of a request. Raises ValueError for a tag that cannot be one."""
    hashes = (hash,) if isinstance(hash, str) else tuple(hash)
    if not set(hashes) <= {"file", "pixels"}:
        raise ValueError(f"hash is 'file', 'pixels' or both, not {hash!r}")
    if hashes:
        xxh3()  # or its hint, before the first file
    if "pixels" in hashes:
        pixels = pixels or True
    if isinstance(tags, str):
        raise TypeError("tags is a list of elements, not one str")
    if pixels not in (False, True, "frames"):
        raise ValueError(f"pixels is False, True or 'frames', not {pixels!r}")
    columns = [parse_tag(tag) for tag in (DEFAULT_TAGS if tags is None else tags)]
    plan = Plan(
        columns,
        2 if pixels == "frames" else pixels,
        skip_errors,
        tuple(HASHES[what] for what in ("file", "pixels") if what in hashes),
    )
    seen = set()
    for name in plan.names:
        if name in seen:
            raise ValueError(f"there are two columns of the name {name!r}")
        seen.add(name)
    return plan


def scan_chunk(paths, tags=None, *, pixels=False):
    """The headers of a few files as one Arrow batch, in this thread.

    paths : list of str, bytes or os.PathLike; also members of archives, in any
        order. The rest as in `scan`.
    """
    plan = make_plan(tags, pixels)
    worker, reader, batch = Worker(plan), ResolvingReader(PathList(paths).start()), None
    while (chunk := reader.read_chunk(1 << 20)) is not None:
        for piece in worker.run(chunk, limit=2**62):
            if batch is None:
                batch = piece
            elif not batch.join(piece):
                raise ValueError("one batch cannot hold the rows of so many paths")
    batch = Batch(plan) if batch is None else batch
    batch.seal()
    return batch


# ---------------------------------------------------------------- threads ---

_MOST_THREADS = 64
_ASKING_THREADS = 32  # more stand in each other's way, unless a server makes them wait
_WINDOW_SECONDS = 0.004
_WAITS = 3  # other programs make one span, or two, look cold
_PIECE_SECONDS = 0.003
_LEAST_PIECE, _MOST_PIECE = 16, 1024
_ASKED_SECONDS = 0.06  # a piece of what servers are asked for
_ASKED_BUSY = 0.45  # cores that all who ask keep busy: less where a server makes them wait
_COLD_SECONDS = 30e-6  # for a file; from the page cache it takes a third of it


class _Feed:
    """Hands out pieces of the source: (number, chunk, whether it ends a batch)."""

    def __init__(self, reader, batch_size):
        self.lock = Lock()
        self.reader, self.batch_size, self.left = reader, batch_size, batch_size
        self.numbers = count()
        self.ended = False

    def take(self, most):
        with self.lock:
            if self.ended:
                return None
            try:
                chunk = self.reader.read_chunk(min(most, self.left))
            except BaseException as error:  # the user's iterator: raised in its place
                self.ended = True
                return next(self.numbers), error, True
            if chunk is None:
                self.ended = True
                return None
            self.left = (self.left - len(chunk)) or self.batch_size
            return next(self.numbers), chunk, self.left == self.batch_size


class _Pool:
    """Threads that read pieces, and their results in order.

    Without a number given there are as many threads as cores, and more as long
    as cores are idle (the files are not in the page cache) and eight times as
    many are faster; more from the beginning for servers, and all where they make
    them wait. Files that are waited for are read without read-ahead.
    """

    def __init__(self, plan, feed, threads):
        self.plan, self.feed = plan, feed
        self.cores = cpu_count()
        self.growing = threads is None
        self.lock = Lock()
        self.done_one = Condition(self.lock)
        self.has_room = Condition(self.lock)
        self.done = {}  # number to (batches or exception, ends a batch, files)
        self.ahead = 0  # files handed out whose rows nobody has fetched
        self.most_ahead = max(4 * feed.batch_size, 4 * _MOST_PIECE)
        self.awaited = 0  # the number whose rows are fetched next
        self.open = True
        self.asking = False  # servers
        self.random = True  # until the page cache is known to have them
        self.size = 32
        self.threads = self.running = 0
        self.files = self.bytes_read = self.failed = 0
        self.best_rate = 0.0
        self.waits = 0  # spans in a row in which files were waited for
        self.window(perf_counter())
        with self.lock:
            self.spawn(threads or self.cores)

    def spawn(self, threads):
        """More threads. Not threading.Thread, whose start waits for its run."""
        for _ in range(threads):
            try:
                start_new_thread(self.work, ())
            except RuntimeError:  # the system gives no more
                if not self.threads:
                    raise
                break
            self.threads += 1
            self.running += 1

    def ask(self):
        """As many threads again with each piece, for a server is asked."""
        with self.lock:
            if not self.asking:
                self.asking, self.size = True, 1  # until it is known how long they take
            if self.growing and self.threads < _ASKING_THREADS:
                self.spawn(min(self.threads, _ASKING_THREADS - self.threads))

    def window(self, now):
        """Begins a new span of measuring."""
        self.since, self.pieces, self.seen, self.cpu = now, 0, 0, process_time()
        self.wall = self.busy = 0.0  # of all threads
        self.held_up = False  # by whoever takes the rows

    def work(self):
        worker = Worker(self.plan)
        bytes_read = failed = 0
        while True:
            with self.lock:
                while self.open and self.ahead >= self.most_ahead:
                    self.held_up = True
                    self.has_room.wait()
                size = self.size
                self.ahead += size
                if self.ahead < self.most_ahead:
                    self.has_room.notify()
            piece = self.feed.take(size) if self.open else None
            if piece is None:
                break
            number, chunk, ends = piece
            wall, busy = perf_counter(), thread_time()
            try:
                if isinstance(chunk, BaseException):
                    raise chunk
                if isinstance(chunk, StreamChunk) and chunk.prefetch is not None:
                    self.ask()
                result, files = worker.run(chunk, self.random), len(chunk)
            except BaseException as error:
                result, files = error, 0
            now = perf_counter()
            with self.lock:
                self.ahead += files - size
                self.done[number] = result, ends, files
                if number == self.awaited:
                    self.done_one.notify()
                self.files += files
                self.bytes_read += worker.bytes_read - bytes_read
                self.failed += worker.failed - failed
                bytes_read, failed = worker.bytes_read, worker.failed
                self.measure(now, files, now - wall, thread_time() - busy)
        with self.lock:
            self.ahead -= size
            self.has_room.notify()
            self.running -= 1
            self.done_one.notify()

    def measure(self, now, files, wall, busy):
        self.pieces += 1
        self.seen += files
        self.wall += wall
        self.busy += busy
        threads, span = self.threads, now - self.since
        if self.held_up:
            self.window(now)
        if self.pieces < threads or span < _WINDOW_SECONDS or not self.seen:
            return
        rate = self.seen / span
        cpu = process_time() - self.cpu  # that of whoever takes the rows, too
        if self.asking:
            waiting = self.busy < _ASKED_BUSY * span
        else:
            waiting = self.wall > _COLD_SECONDS * self.seen and cpu < 0.75 * span * min(
                threads, self.cores
            )
        self.random = waiting
        self.waits = self.waits + 1 if waiting else 0
        if self.asking:
            if self.growing and self.waits > 1:
                self.spawn(_MOST_THREADS - threads)
        elif not waiting:
            self.best_rate = 0.0
        elif (
            self.growing
            and rate > 1.1 * self.best_rate
            and (self.waits >= _WAITS or threads > self.cores)
        ):
            self.best_rate = rate
            self.spawn(min(7 * threads, _MOST_THREADS - threads))
        seconds, least = (_ASKED_SECONDS, 1) if self.asking else (_PIECE_SECONDS, _LEAST_PIECE)
        size = int(seconds * self.seen / self.wall) if self.wall else _MOST_PIECE
        self.size = min(max(size, least), _MOST_PIECE)
        self.window(now)

    def results(self):
        """(batches, whether they end a batch), in the order of the source."""
        for number in count():
            with self.lock:
                self.awaited = number
                while number not in self.done and self.running:
                    self.done_one.wait()
                if number not in self.done:
                    return
                result, ends, files = self.done.pop(number)
                self.ahead -= files
                self.has_room.notify()
            if isinstance(result, BaseException):
                raise result
            yield result, ends

    def close(self):
        with self.lock:
            self.open = False
            self.has_room.notify_all()
            while self.running:
                self.done_one.wait()


class _Alone:
    """The same in the caller's own thread."""

    def __init__(self, plan, feed):
        self.worker, self.feed = Worker(plan), feed
        self.files = 0
        self.threads = 1

    bytes_read = property(lambda self: self.worker.bytes_read)
    failed = property(lambda self: self.worker.failed)

    def results(self):
        size, random = 64, True
        while (piece := self.feed.take(size)) is not None:
            _, chunk, ends = piece
            if isinstance(chunk, BaseException):
                raise chunk
            wall, cpu = perf_counter(), thread_time()
            result = self.worker.run(chunk, random)
            wall, cpu = perf_counter() - wall, thread_time() - cpu
            random = wall > _COLD_SECONDS * len(chunk) and cpu < 0.6 * wall
            size = self.feed.batch_size
            self.files += len(chunk)
            yield result, ends

    def close(self):
        pass


# ------------------------------------------------------------------- scan ---


class Scan:
    """A scan to be run, as `scan` makes it.

    Iterating runs it, batch by batch (objects of the Arrow PyCapsule
    interface), and once more each time, unless its source is an iterator. So
    do ``pyarrow.table(s)``, ``polars.DataFrame(s)``, ``duckdb.sql("FROM s")``,
    `read_all` and `write`.
    """

    def __init__(self, source, plan, threads, batch_size=BATCH, on_error="row"):
        self.source, self.plan = source, plan
        self.threads, self.batch_size, self.on_error = threads, batch_size, on_error
        self._pool = None
        self._issues = self._seconds = 0
        self._started = None

    @property
    def column_names(self):
        """The names of the columns, in order."""
        return self.plan.names

    @property
    def stats(self):
        """Counts of the last run, or of the one under way, as a dict: files,
        errors (files without values), issues (repairs in the rows), seconds,
        files_per_second, bytes_read, threads."""
        pool = self._pool
        seconds = self._seconds
        if self._started is not None:
            seconds = perf_counter() - self._started
        files = pool.files if pool else 0
        return {
            "files": files,
            "errors": pool.failed if pool else 0,
            "issues": self._issues,
            "seconds": seconds,
            "files_per_second": files / seconds if seconds else 0.0,
            "bytes_read": pool.bytes_read if pool else 0,
            "threads": pool.threads if pool else 0,
        }

    def __iter__(self):
        feed = _Feed(ResolvingReader(self.source.start()), self.batch_size)
        self._started, self._issues = perf_counter(), 0
        if self.threads == 1:
            pool = _Alone(self.plan, feed)
        else:
            pool = _Pool(self.plan, feed, self.threads)
        self._pool = pool
        try:
            yield from self._batches(pool)
        finally:
            pool.close()
            self._seconds = perf_counter() - self._started
            self._started = None

    def _batches(self, pool):
        batch = None
        for pieces, ends in pool.results():
            for piece in pieces:
                if self.on_error == "raise" and piece.n_errors:
                    raise piece.error()
                self._issues += piece.n_issues
                if batch is None and ends:
                    batch = piece
                    continue
                if batch is None:
                    batch = Batch(self.plan)
                    batch.expect(self.batch_size)
                if not batch.join(piece):
                    batch.seal()
                    yield batch
                    batch = piece
            if ends and batch is not None and len(batch):
                batch.seal()
                yield batch
                batch = None
        if batch is not None and len(batch):
            batch.seal()
            yield batch

    def __arrow_c_schema__(self):
        """The Arrow PyCapsule interface."""
        return self.plan.__arrow_c_schema__()

    def __arrow_c_stream__(self, requested_schema=None):
        """The Arrow PyCapsule interface. A requested schema is not followed."""
        return stream_capsule(self.plan, iter(self))

    def read_all(self):
        """The whole table, as a pyarrow.Table."""
        import pyarrow

        batches = [pyarrow.record_batch(batch) for batch in self]
        return pyarrow.Table.from_batches(batches, pyarrow.schema(self))

    def over(self, source):
        """The same scan of another source."""
        return Scan(source, self.plan, self.threads, self.batch_size, self.on_error)

    def write(self, path, *, update=False):
        """Runs the scan into a file or an index folder, and returns `stats`.

        path : of a file, ends in .parquet, .arrow, .csv or .jsonl. In CSV lists
            are JSON, bytes are base64 and null is empty; in JSON bytes are
            base64 too. Of an index folder, ends in ``/``, or one is there. Of a
            Delta Lake table, begins with ``delta://``: a new version of it.
        update : brings an index folder up to date with the one folder or bucket
            that it was made of: reads what is new or changed (in size or time of the
            last change), drops what is gone, and opens no other file. `stats`
            then has ``same``, ``changed``, ``new`` and ``gone``, too.

        A file appears when it is complete: it is written under another name in
        the same folder, synchronised to the disk and renamed. An index folder
        (see `open_index`) is many Parquet files that appear one by one. A scan
        into one can be stopped at any moment, also by force: the same call goes
        on where it was, and leaves an index that is complete as it is. Memory
        does not grow with the number of files.

        Raises ValueError for other names, or an update of another source;
        FileNotFoundError when it would leave no file; and DicomError for an index that is
        in use (``index-in-use``), was made with other parameters
        (``index-differs``) or is damaged (``index-damaged``).
        """
        path = os.fsdecode(path)
        if update and not build.is_name(path):
            raise ValueError(f"{path}: only an index folder is brought up to date")
        if build.is_name(path):
            return (Update if update else build.Ingest)(self, path).run()
        output.write(self, path)
        return self.stats


def scan(
    source, tags=None, *, pixels=False, hash=(), threads=None, batch_size=BATCH, on_error="row"
):
    """Reads the headers of many files into a table, one row a file.

    Parameters
    ----------
    source : folder (walked in byte order of the paths, hidden files and links
        included), glob, file, URL (``s3://bucket/prefix/``, ``https://...``), list
        or iterator of paths and URLs, index folder, or a table with a column
        ``path`` (.parquet, .arrow, .csv, .jsonl). Rows keep its order. An archive
        (.zip, .tar, .tar.gz, .tgz, .tar.zst), wherever it stands, is its members,
        in its order: one row each, ``a.zip!/IM0001``.
    tags : list, default `DEFAULT_TAGS`
        An element is a keyword, ``"ggggeeee"``, ``"(gggg,eeee)"``, an int, or,
        private, ``"(gggg,xxee,CREATOR)"`` wherever the creator's block lies;
        with a path into sequences: ``Sequence.Element`` is of the first item,
        ``Sequence[n].Element`` of the n-th, ``Sequence[*].Element`` a list of
        all. The column bears that name.
    pixels : bool or "frames"
        Adds ``pixel_offset``, ``pixel_length`` (in bytes; encapsulated: up to
        the delimiter) and ``frames``. "frames" adds ``frame_offsets`` as well,
        for encapsulated pixel data: a list of N + 1 positions in the file (in
        the inflated data set of a deflated one). Frame i is the bytes from the
        i-th to the next, its fragments with their item headers (PS3.5 A.4),
        which ``join_fragments`` takes away; the offset tables are believed
        where they hold together, else the headers of all fragments are read.
        Null for native pixels, where frames have one size, and, with an issue,
        where frames cannot be told apart or are more than 2**20.
    hash : "file", "pixels" or both
        Adds ``file_hash``, of all bytes of the file, and ``pixel_hash``, of those
        that pixel_offset and pixel_length tell (which it adds, too): XXH3 of 128
        bits in hexadecimal, to find what is the same. Null for what cannot be
        read, and of pixels where there are none, or in a deflated data set. Files
        are read whole in the same pass.
    threads : int or None
        None: as many as there are cores, more while that makes it faster; 32 or 64
        for URLs.
    batch_size : int
        Files to a batch.
    on_error : "row", "skip" or "raise"
        A file that cannot be read is a row with ``error`` set, no row, or a
        DicomError.

    Returns a Scan. Raises ValueError for tags and sources that cannot be,
    FileNotFoundError for a path where nothing is.

    Columns: ``path``, ``size``, ``mtime_ns`` (since 1970), ``transfer_syntax``,
    ``error``, ``error_offset``, ``error_detail``, ``issues`` (a list, null when
    empty, of ``code@offset (gggg,eeee)``), then those asked for. Types are
    those of PS3.6, docs/scan.md has them all.
    """
    if on_error not in ("row", "skip", "raise"):
        raise ValueError(f"on_error is 'row', 'skip' or 'raise', not {on_error!r}")
    if threads is not None and threads < 1:
        raise ValueError("threads is 1 or more, or None")
    if not 0 < batch_size <= 1 << 20:
        raise ValueError("batch_size is between 1 and 1048576")
    plan = make_plan(tags, pixels, on_error == "skip", hash)
    return Scan(open_source(source), plan, threads, batch_size, on_error)
