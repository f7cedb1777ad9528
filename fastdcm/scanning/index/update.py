"""An index folder brought up to date: what is new, changed or gone since it was
made, and nothing else is read.

The folder or bucket is listed anew, with sizes and times, and the new list is
compared with the one of the index. A file that could not be had is tried, and
counts as changed when it is another row now. Parts whose files are all the same
stay. The others give way to new parts, in the order of the new list: rows of
files that are the same are copied, the rest is scanned. A second manifest tells
what of this is done; at the end it takes the place of the first. So at every
moment one manifest is right, and whatever stops an update, the next goes on
with it.
"""

import errno
import os
from bisect import bisect_left
from collections import deque
from contextlib import ExitStack, closing
from itertools import chain

from fastdcm._util.atomic import write_atomically
from fastdcm.errors import DicomError
from fastdcm.scanning.index import file_list, manifest
from fastdcm.scanning.index.build import Ingest, chunks_of
from fastdcm.scanning.index.manifest import UPDATE, Manifest, Summed, damaged, inner_path, list_name
from fastdcm.sources._paths import ALONE, CHANGED, SAME, compare, owners
from fastdcm.sources.paths import PathList
from fastdcm.sources.urls import path_bytes, path_text

# Errors of the system or of a server, which may be over while the file is the same.
_OUTSIDE = ("open", "read", "stream")
# New parts are of about equal size, and of no more rows than this but for the
# last file's: so they are half full at least.
_PART_ROWS = 65536
_BATCH_ROWS = 2048  # rows that are copied in one piece
_HAPPENED = ("same", "changed", "new", "gone")


class Update(Ingest):
    """Brings an index up to date with its source; makes it, where there is none.

    `run` raises as that of Ingest does; ValueError for a source that is not one
    folder or bucket; FileNotFoundError when no file is left in it. An index or an
    update that was stopped is first gone on with.
    """

    def __init__(self, scan, folder):
        super().__init__(scan, folder)
        self._happened = dict.fromkeys(_HAPPENED, 0)
        self._files_read, self._scan = 0, None

    @property
    def stats(self):
        """As that of Ingest, and how many files were ``same``, ``changed``,
        ``new`` and ``gone``. The rate is that of files that were read."""
        stats, scan = super().stats, self._scan
        read = self._files_read + (scan.stats["files"] if scan is not None else 0)
        return {
            **stats,
            **self._happened,
            "files_per_second": read / stats["seconds"] if stats["seconds"] else 0.0,
        }

    def run(self):
        if not self.scan.source.supports_update:
            raise ValueError(
                f"{self.folder}: an index is brought up to date with the one folder "
                "or bucket (s3, gs, az) that it was made of"
            )
        return super().run()

    def _run(self):
        fresh = not os.path.exists(inner_path(self.folder, manifest.NAME))
        book = super()._run()
        self._files_read = self._now[0]["files"] - self._before["files"]
        if fresh:
            self._happened["new"] = self._listed
            return book
        begun = self._begun_before(book)
        manifest.sweep(self.folder, book, *filter(None, [begun]))
        if begun is not None:
            comparison = Comparison(book, begun.head["again"])
            for chunk in _list_of(begun):
                comparison.put(chunk)
            comparison.end()
            book = self._finish(book, begun, comparison)
        return self._update(book)

    def _begun_before(self, book):
        """The manifest of an update that was stopped, None when there is none."""
        try:
            begun = Manifest(self.folder, UPDATE)
            begun.check()
        except (FileNotFoundError, DicomError):  # of a damaged one nothing is needed
            return None
        return begun if begun.head.get("before") == book.head["files"] else None

    # ----------------------------------------------------- the new list ---

    def _update(self, book):
        """Lists the files anew, and does what there is to do. Returns the
        manifest."""
        again = sorted(set(self._recovered(book)))
        comparison, facts = Comparison(book, again), {}
        name = list_name(int(book.head["files"]["name"][6:-8]) + 1)

        def fill(file):
            out = Summed(file)
            self._list_anew(book, comparison, out)
            facts.update(entries=self._listed, **out.facts())

        try:
            write_atomically(inner_path(self.folder, name), fill)
        except _AllSame:
            self._count(comparison)
            self._total = self._listed
            return book
        begun = Manifest.create(
            self.folder,
            {
                **book.head,
                "files": {"name": name, **facts},
                "before": book.head["files"],
                "again": again,
                "next_part": book.next_number,
            },
            UPDATE,
        )
        return self._finish(book, begun, comparison)

    def _recovered(self, book):
        """The entries whose files could not be had, and are read otherwise now."""
        for part in book.parts:
            failed = _failed(book, part) if part["errors"] else {}
            if failed:
                now = {}
                for batch in self.scan.over(PathList([path_bytes(path) for path in failed])):
                    now.update(zip(batch.column("path"), batch.column("error")))
                for path, (entry, error) in failed.items():
                    if now.get(path) != error:  # an archive is its members, when it can be read
                        yield entry

    def _list_anew(self, book, comparison, out):
        """Compares the files that are there, and writes their list from when it
        differs: up to there the old one tells the same."""
        files = self._listed = 0
        self._total = writer = None
        with ExitStack() as stack:
            found = stack.enter_context(closing(self._found(chunks_of(self.scan.source))))
            for chunk in found:
                comparison.put(chunk)
                if writer is None and comparison.differs:
                    writer = stack.enter_context(_begin_list(out, book, self._listed))
                if writer is not None:
                    writer.put(chunk)
                self._listed += len(chunk)
                files += file_list.count_files(chunk)
            comparison.end()
            if not comparison.differs:
                raise _AllSame
            if not files:
                raise FileNotFoundError(
                    errno.ENOENT,
                    "no file can be found there any more; is it mounted?",
                    self.scan.source.path,
                )
            if writer is None:
                stack.enter_context(_begin_list(out, book, self._listed))

    # ----------------------------------------------------- the new parts ---

    def _finish(self, book, begun, comparison):
        """Writes the parts that are missing, and puts the manifest of the update
        in its place. Returns it."""
        self._count(comparison)
        self._total = begun.head["files"]["entries"]
        self._write(begun, self._parts(book, begun, plan(comparison.pieces)))
        begun.append({"complete": True})
        begun.take_place()
        manifest.sweep(self.folder, begun)
        self._now = {what: sum(part[what] for part in begun.parts) for what in self._before}, None
        return begun

    def _count(self, comparison):
        """Adds up what happened, in this update and one that was gone on with."""
        before = {**self._happened, "same": 0}
        self._happened = {what: before[what] + count for what, count in comparison.counts.items()}

    def _parts(self, book, begun, stretches):
        """What `_write` takes: parts in the order of the new list."""
        first = begun.next_entry
        for stretch in stretches:
            if stretch.stop <= first:
                continue
            if stretch.stays:
                yield {**stretch.pieces[0].part, "entries": [stretch.start, stretch.stop]}
            else:
                yield from self._rewritten(book, begun, stretch, max(first, stretch.start))
            self._now = {**self._before, "files": stretch.stop}, None

    def _rewritten(self, book, begun, stretch, first):
        """The new parts of a stretch, from an entry of the new list on."""
        part = _Part(first)
        kept = chain.from_iterable(_kept(book, piece, first) for piece in stretch.pieces)
        chosen = _Chosen(begun, stretch.pieces, first)
        with closing(self._scanned(chosen)) as scanned:
            for numbers, batch in _merged(kept, scanned):
                while len(numbers):
                    if part.rows >= stretch.part_rows and numbers[0] != part.last:
                        yield self._line(begun, part, int(numbers[0]))
                        part = _Part(int(numbers[0]))
                    count = part.take(numbers, batch, stretch.part_rows)
                    yield batch.slice(0, count)
                    numbers, batch = numbers[count:], batch.slice(count)
        yield self._line(begun, part, stretch.stop)

    def _line(self, begun, part, stop):
        """What the manifest tells of a part that ends before the entry `stop`."""
        skipped = stop - part.first - part.files if self.scan.on_error == "skip" else 0
        ends = (next(_list_of(begun, i, i + 1))[0] for i in (part.first, stop - 1))
        return {
            "files": part.rows + skipped,
            "errors": part.errors + skipped,
            "issues": part.issues,
            "entries": [part.first, stop],
            "paths": list(map(path_text, ends)),
        }

    def _scanned(self, chosen):
        """(entries, rows) of the files that are not the same."""
        import pyarrow

        self._scan = scan = self.scan.over(chosen)
        with closing(iter(scan)) as batches:
            yield from _numbered(map(pyarrow.record_batch, batches), chosen.given())
        self._scan = None
        self._files_read += scan.stats["files"]
        self._bytes_read += scan.stats["bytes_read"]
        self._threads = scan.stats["threads"]


class _AllSame(Exception):
    """No list is to be written."""


def _list_of(book, first=0, stop=None):
    path = inner_path(book.folder, book.head["files"]["name"])
    return file_list.read(path, first, stop)


def _begin_list(out, book, entries):
    """A writer of a list that begins as that of a manifest does."""
    writer = file_list.Writer(out)
    for chunk in _list_of(book, 0, entries):
        writer.put(chunk)
    return writer


# ------------------------------------------------------------ comparing ---


class Piece:
    """What happened to a part; or, where `part` is None, what is new in front of
    the next one.

    start, stop : its entries in the new list.
    old, new : bytes, the mark of each entry of the part and of the new list;
        None when all are the same.
    """

    def __init__(self, part, start, old, new):
        self.part, self.start, self.stop = part, start, start + len(new)
        stays = len(old) == old.count(SAME) and len(new) == new.count(SAME)
        self.old, self.new = (None, None) if stays else (old, new)

    @property
    def rows(self):
        """About how many rows there will be."""
        if self.old is None:
            return self.part["rows"]
        same = self.new.count(SAME)
        kept = self.part["rows"] * same // len(self.old) if self.old else 0
        return kept + len(self.new) - same


class Comparison:
    """The list of an index and a new one, which is put in chunk by chunk, both
    in the order of a walk.

    again : entries of the index, ascending, that count as changed when they are
        the same.
    pieces : list of Piece, in that order, whole after `end`.
    counts : how many files are same, changed, new and gone.
    """

    def __init__(self, book, again=()):
        self.again = again
        self.pieces, self.counts = [], dict.fromkeys(_HAPPENED, 0)
        self.old, self.new, self.start = [], [], 0  # marks, and where those of the next piece begin
        self.blocks = self._blocks(book)
        self.block, self.used = next(self.blocks, None), 0

    def _blocks(self, book):
        """The entries of the index. When those of a part are used up, it becomes
        a piece."""
        for part in book.parts:
            yield from _list_of(book, *part["entries"])
            self._close(part)

    def _close(self, part):
        old, new = b"".join(self.old), b"".join(self.new)
        if part is not None:
            old, new = self._changed(*part["entries"], old, new)
        ahead = len(new) - len(new.lstrip(bytes([ALONE])))
        if ahead:
            self.pieces.append(Piece(None, self.start, b"", new[:ahead]))
        if old:
            self.pieces.append(Piece(part, self.start + ahead, old, new[ahead:]))
        self.old, self.new, self.start = [], [], self.start + len(new)

    def _changed(self, first, stop, old, new):
        """The marks of a part, with those of `again`."""
        import numpy as np

        chosen = (
            np.array(
                self.again[bisect_left(self.again, first) : bisect_left(self.again, stop)], np.int64
            )
            - first
        )
        if not len(chosen):
            return old, new
        old, new = (np.frombuffer(bytearray(marks), np.uint8) for marks in (old, new))
        met_old, met_new = np.flatnonzero(old != ALONE), np.flatnonzero(new != ALONE)
        chosen = chosen[old[chosen] == SAME]
        old[chosen] = new[met_new[np.searchsorted(met_old, chosen)]] = CHANGED
        self.counts["same"] -= len(chosen)
        self.counts["changed"] += len(chosen)
        return old.tobytes(), new.tobytes()

    def _mark(self, old, new):
        self.old.append(old)
        self.new.append(new)
        for what, marks, mark in (
            ("same", new, SAME),
            ("changed", new, CHANGED),
            ("new", new, ALONE),
            ("gone", old, ALONE),
        ):
            self.counts[what] += marks.count(mark)

    @property
    def differs(self):
        return self.counts["changed"] + self.counts["new"] + self.counts["gone"] > 0

    def put(self, chunk):
        """The next entries of the new list, with sizes and times."""
        at = 0
        while at < len(chunk):
            if self.block is None:
                self._mark(b"", bytes([ALONE]) * (len(chunk) - at))
                return
            old, new = compare(self.block, self.used, chunk, at)
            self._mark(old, new)
            at += len(new)
            self._use(len(old))

    def end(self):
        """There are no more."""
        while self.block is not None:
            rest = len(self.block) - self.used
            self._mark(bytes([ALONE]) * rest, b"")
            self._use(rest)
        self._close(None)

    def _use(self, count):
        self.used += count
        if self.used == len(self.block):
            self.block, self.used = next(self.blocks, None), 0


class Stretch:
    """A piece that stays, or pieces in a row that are written anew."""

    def __init__(self, pieces, stays):
        self.pieces, self.stays = pieces, stays
        self.start, self.stop = pieces[0].start, pieces[-1].stop
        self.rows = sum(piece.rows for piece in pieces)

    def takes_in(self, other):
        """Whether they are one: small parts beside a change do not stay small."""
        if self.stays and other.stays:
            return False
        return not self.stays and not other.stays or self.rows + other.rows <= _PART_ROWS

    @property
    def part_rows(self):
        """How many rows end a part."""
        parts = max(-(-self.rows // _PART_ROWS), 1)
        return max(-(-self.rows // parts), 1)


def plan(pieces):
    """The Stretches that an update goes through, in order."""
    stretches = []
    for piece in pieces:
        stretch = Stretch([piece], piece.old is None)
        if stretch.start == stretch.stop:
            continue  # all its files are gone
        if stretches and stretches[-1].takes_in(stretch):
            stretch = Stretch(stretches.pop().pieces + stretch.pieces, False)
        stretches.append(stretch)
    return stretches


# ----------------------------------------------------------------- rows ---


class _Part:
    """What a new part has in it by now."""

    def __init__(self, first):
        self.first, self.last = first, None  # entries
        self.files = self.rows = self.errors = self.issues = 0

    def take(self, numbers, batch, most):
        """Counts those rows of a batch that belong to it, by the entries they
        are of: up to the entry that brings it to `most` rows. Returns their
        number."""
        import numpy as np
        from pyarrow import compute

        place = min(max(most - self.rows, 1), len(numbers)) - 1
        count = int(np.searchsorted(numbers, numbers[place], "right"))
        numbers, batch = numbers[:count], batch.slice(0, count)
        self.files += int(np.count_nonzero(np.diff(numbers))) + int(numbers[0] != self.last)
        self.last = numbers[-1]
        self.rows += count
        self.errors += count - batch.column("error").null_count
        self.issues += compute.sum(compute.list_value_length(batch.column("issues"))).as_py() or 0
        return count


class _Chosen:
    """The files of a stretch that are not the same: the source of a scan."""

    requested = None
    supports_update = False

    def __init__(self, begun, pieces, first):
        self.blocks = self._blocks(begun, pieces, first)
        self.block, self.numbers, self.used = None, (), 0
        self.taken = deque()

    def _blocks(self, begun, pieces, first):
        """(files, their entries)"""
        import numpy as np

        for piece in pieces:
            at = max(piece.start, first)
            if piece.new is None or at >= piece.stop:
                continue
            for chunk in _list_of(begun, at, piece.stop):
                marks = np.frombuffer(piece.new, np.uint8, len(chunk), at - piece.start)
                chosen = chunk.select(marks)  # SAME is 0
                if chosen is not None:
                    yield chosen, at + np.flatnonzero(marks)
                at += len(chunk)

    def start(self):
        return self

    def read_chunk(self, count):
        if self.used == len(self.numbers):
            self.block, self.numbers = next(self.blocks, (None, ()))
            self.used = 0
        count = min(count, len(self.numbers) - self.used)
        if not count:
            return None
        begin, self.used = self.used, self.used + count
        chunk = self.block.part(begin, self.used)
        self.taken.append((chunk, self.numbers[begin : self.used]))
        return chunk

    def given(self):
        """(files, their entries) of what was taken, as far as it was."""
        while self.taken:
            yield self.taken.popleft()


def _kept(book, piece, first):
    """(entries of the new list, rows) of the files of a piece that are the same,
    from an entry on."""
    import numpy as np

    if piece.part is None:
        return
    if piece.old is None:
        numbers = np.arange(piece.start, piece.stop)
    else:
        old, new = (np.frombuffer(marks, np.uint8) for marks in (piece.old, piece.new))
        numbers = np.full(len(old), -1)
        numbers[old == SAME] = piece.start + np.flatnonzero(new == SAME)
    numbers[numbers < first] = -1
    if numbers.max() < 0:
        return
    for found, batch in _rows_of(book, piece.part, numbers):
        here = found >= 0
        if here.any():
            yield found[here], batch.take(_positions(np.flatnonzero(here)))


def _failed(book, part):
    """{path: (entry, error)} of the rows of a part that are for something outside
    of the file."""
    import numpy as np

    failed = {}
    for numbers, batch in _rows_of(book, part, np.arange(*part["entries"]), ["path", "error"]):
        errors = batch.column("error")
        if errors.null_count < len(errors):
            failed.update(
                (path, (int(number), error))
                for number, path, error in zip(
                    numbers, batch.column("path").to_pylist(), errors.to_pylist()
                )
                if error in _OUTSIDE
            )
    return failed


def _rows_of(book, part, numbers, columns=None):
    """(numbers, rows) of a part. numbers : one for each of its entries; what comes
    has one for each row."""
    import pyarrow
    from pyarrow import parquet

    def entries():
        at = 0
        for chunk in _list_of(book, *part["entries"]):
            yield chunk, numbers[at : at + len(chunk)]
            at += len(chunk)

    path = os.path.join(book.folder, part["part"])
    try:
        with parquet.ParquetFile(path, pre_buffer=False) as file:
            yield from _numbered(
                file.iter_batches(_BATCH_ROWS, columns=columns, use_threads=False), entries()
            )
    except (LookupError, pyarrow.ArrowException):
        raise damaged(path, "its rows are not those of its files") from None


def _numbered(batches, lists):
    """(entries, rows): pyarrow.RecordBatches whose rows are of files in the order
    of lists of (Chunk, entries). LookupError for a row that is of none."""
    import numpy as np

    chunk, numbers, at = (), (), 0
    for batch in batches:
        while len(batch):
            path = batch.column("path")
            _, offsets, data = path.buffers()
            offsets = np.frombuffer(offsets, np.int32, len(path) + 1, 4 * path.offset)
            found = ()
            if len(chunk):
                found = np.frombuffer(
                    owners(chunk, at, offsets, memoryview(data).cast("B")), np.uint32
                )
            if len(found):
                yield numbers[found], batch.slice(0, len(found))
                at, batch = found[-1], batch.slice(len(found))
            if len(batch):
                chunk, numbers = next(lists, ((), ()))
                at = 0
                if not len(chunk):
                    raise LookupError


def _positions(numbers):
    """As pyarrow's take wants them, which would import pandas to look whether
    they are of that."""
    import pyarrow

    return pyarrow.Array.from_buffers(
        pyarrow.int64(), len(numbers), [None, pyarrow.py_buffer(numbers)]
    )


def _merged(*streams):
    """(entries, rows) of several that are in the order of entries."""
    import numpy as np
    import pyarrow

    heads = [next(stream, None) for stream in streams]
    while None not in heads:
        last = min(numbers[-1] for numbers, _ in heads)
        counts = [int(np.searchsorted(numbers, last, "right")) for numbers, _ in heads]
        numbers = np.concatenate([numbers[:n] for (numbers, _), n in zip(heads, counts)])
        rows = pyarrow.Table.from_batches([rows.slice(0, n) for (_, rows), n in zip(heads, counts)])
        order = np.argsort(numbers, kind="stable")
        yield numbers[order], rows.take(_positions(order)).combine_chunks().to_batches()[0]
        heads = [
            (numbers[n:], rows.slice(n)) if n < len(numbers) else next(stream, None)
            for (numbers, rows), n, stream in zip(heads, counts, streams)
        ]
    for head, stream in zip(heads, streams):
        if head is not None:
            yield head
            yield from stream
