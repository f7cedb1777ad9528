"""What has changed between the list of files of an index and a new one.

Both lists are in the byte order of their paths. Comparing them marks each entry of both
as the same, changed, or only in its list; from the marks follows which parts of the
index stay, and which are rewritten. Rows belong to the entry whose path they have,
or, of the members of an archive, whose path theirs begin with.
"""

from __future__ import annotations

import os
from bisect import bisect_left
from collections.abc import Generator, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, TypeAlias, TypedDict

from fastdcm.scanning.index.entries import PartEntry
from fastdcm.scanning.index.file_list import list_path, read_list
from fastdcm.scanning.index.manifest import Manifest, damaged, parquet_errors
from fastdcm.sources._paths import ALONE, CHANGED, SAME, PathChunk, compare, owners

if TYPE_CHECKING:
    import numpy as np
    import pyarrow
    from numpy.typing import NDArray

    #: (the entry of each row, rows)
    EntryRows: TypeAlias = tuple[NDArray[np.int64], pyarrow.RecordBatch]

#: New parts are of about equal size, and have no more rows than this before the last
#: file: so they are at least half full.
_PART_ROWS = 65536
_BATCH_ROWS = 2048  # rows that are copied together


class FileCounts(TypedDict):
    """How many files are the same, changed, new and gone."""

    same: int
    changed: int
    new: int
    gone: int


NO_FILES: FileCounts = {"same": 0, "changed": 0, "new": 0, "gone": 0}


def entries_of(manifest: Manifest, first: int = 0, stop: int | None = None) -> Iterator[PathChunk]:
    """Yield entries of the list of a manifest, in chunks."""
    return read_list(list_path(manifest), first, stop)


# ------------------------------------------------------------ comparing ---


class PartDiff:
    """What has happened to the files of a part.

    Attributes
    ----------
    part : PartEntry or None
        None for new files before those of the next part.
    start, stop : int
        Its entries in the new list.
    old, new : bytes or None
        The marks of its entries in the list of the index and in the new one; None
        when all are the same.
    """

    def __init__(self, part: PartEntry | None, start: int, old: bytes, new: bytes) -> None:
        self.part, self.start, self.stop = part, start, start + len(new)
        unchanged = len(old) == old.count(SAME) and len(new) == new.count(SAME)
        self.old: bytes | None = None if unchanged else old
        self.new: bytes | None = None if unchanged else new

    @property
    def rows(self) -> int:
        """An estimate of the number of rows it will have."""
        part_rows = self.part["rows"] if self.part is not None else 0
        if self.old is None or self.new is None:
            return part_rows
        same = self.new.count(SAME)
        kept = part_rows * same // len(self.old) if self.old else 0
        return kept + len(self.new) - same


class ListDiff:
    """The difference between the list of an index and a new one, which is added in chunks.

    Attributes
    ----------
    parts : list of PartDiff
        In the order of the new list; complete after `finish`.
    counts : FileCounts
    """

    def __init__(self, manifest: Manifest, reread: Sequence[int] = ()) -> None:
        """Begin a comparison.

        reread : entries of the index, ascending, that count as changed even if they
        look the same.
        """
        self.parts: list[PartDiff] = []
        self.counts = NO_FILES.copy()
        self._reread = reread
        # The marks of the part that is being compared, and where it begins in the new list.
        self._old: list[bytes] = []
        self._new: list[bytes] = []
        self._start = 0
        self._blocks = self._read_blocks(manifest)
        self._block = next(self._blocks, None)
        self._used = 0  # of the block

    def _read_blocks(self, manifest: Manifest) -> Iterator[PathChunk]:
        """Yield the entries of the index. At the end of a part, close it."""
        for part in manifest.parts:
            first, stop = part["entries"]
            yield from entries_of(manifest, first, stop)
            self._close_part(part)

    def _close_part(self, part: PartEntry | None) -> None:
        old, new = b"".join(self._old), b"".join(self._new)
        if part is not None:
            first, stop = part["entries"]
            old, new = self._mark_reread(first, stop, old, new)
        before = len(new) - len(new.lstrip(bytes([ALONE])))
        if before:
            self.parts.append(PartDiff(None, self._start, b"", new[:before]))
        if old:
            self.parts.append(PartDiff(part, self._start + before, old, new[before:]))
        self._old, self._new, self._start = [], [], self._start + len(new)

    def _mark_reread(self, first: int, stop: int, old: bytes, new: bytes) -> tuple[bytes, bytes]:
        """Return the marks of a part, with the entries of `reread` marked as changed."""
        import numpy as np

        reread = self._reread
        chosen = np.array(reread[bisect_left(reread, first) : bisect_left(reread, stop)], np.int64)
        chosen -= first
        if not len(chosen):
            return old, new
        old_marks, new_marks = (np.frombuffer(bytearray(marks), np.uint8) for marks in (old, new))
        in_both_old, in_both_new = (np.flatnonzero(m != ALONE) for m in (old_marks, new_marks))
        chosen = chosen[old_marks[chosen] == SAME]
        old_marks[chosen] = CHANGED
        new_marks[in_both_new[np.searchsorted(in_both_old, chosen)]] = CHANGED
        self.counts["same"] -= len(chosen)
        self.counts["changed"] += len(chosen)
        return old_marks.tobytes(), new_marks.tobytes()

    def _add_marks(self, old: bytes, new: bytes) -> None:
        self._old.append(old)
        self._new.append(new)
        self.counts["same"] += new.count(SAME)
        self.counts["changed"] += new.count(CHANGED)
        self.counts["new"] += new.count(ALONE)
        self.counts["gone"] += old.count(ALONE)

    @property
    def differs(self) -> bool:
        """Whether there is any difference so far."""
        return self.counts["changed"] + self.counts["new"] + self.counts["gone"] > 0

    def add(self, chunk: PathChunk) -> None:
        """Compare the next entries of the new list, which have sizes and times."""
        done = 0
        while done < len(chunk):
            if self._block is None:
                self._add_marks(b"", bytes([ALONE]) * (len(chunk) - done))
                return
            old, new = compare(self._block, self._used, chunk, done)
            self._add_marks(old, new)
            done += len(new)
            self._advance(self._block, len(old))

    def finish(self) -> None:
        """Mark what is left of the index as gone: the new list has ended."""
        while self._block is not None:
            left = len(self._block) - self._used
            self._add_marks(bytes([ALONE]) * left, b"")
            self._advance(self._block, left)
        self._close_part(None)

    def _advance(self, block: PathChunk, count: int) -> None:
        self._used += count
        if self._used == len(block):
            self._block, self._used = next(self._blocks, None), 0


class Segment:
    """A part that stays, or parts in a row that are rewritten together.

    Attributes
    ----------
    parts : list of PartDiff
    stays : bool
    start, stop : int
        Its entries in the new list.
    rows : int
        An estimate of the number of rows.
    """

    def __init__(self, parts: list[PartDiff], stays: bool) -> None:
        self.parts, self.stays = parts, stays
        self.start, self.stop = parts[0].start, parts[-1].stop
        self.rows = sum(part.rows for part in parts)

    def merges_with(self, following: Segment) -> bool:
        """Return whether both are rewritten together.

        Unchanged parts are, if they are small and beside a change: so that repeated
        updates do not leave many small parts.
        """
        if self.stays and following.stays:
            return False
        if not self.stays and not following.stays:
            return True
        return self.rows + following.rows <= _PART_ROWS

    @property
    def part_rows(self) -> int:
        """The number of rows after which a new part ends."""
        parts = max(-(-self.rows // _PART_ROWS), 1)
        return max(-(-self.rows // parts), 1)


def plan_segments(parts: Iterable[PartDiff]) -> list[Segment]:
    """Return what an update does, in the order of the new list."""
    segments: list[Segment] = []
    for part in parts:
        segment = Segment([part], part.old is None)
        if segment.start == segment.stop:
            continue  # all its files are gone
        if segments and segments[-1].merges_with(segment):
            segment = Segment(segments.pop().parts + segment.parts, False)
        segments.append(segment)
    return segments


# ----------------------------------------------------------------- rows ---


def rows_with_entries(
    batches: Iterable[pyarrow.RecordBatch],
    lists: Iterator[tuple[PathChunk, NDArray[np.int64]]],
) -> Generator[EntryRows, None, None]:
    """Yield (the entry of each row, rows).

    batches : rows, in the order of their files.
    lists : files, in chunks, and their entries.

    Raises LookupError for a row that belongs to none of the files.
    """
    import numpy as np

    chunk: PathChunk | None = None
    entries = np.empty(0, np.int64)
    position = 0  # of the file of the last row, in the chunk
    for batch in batches:
        while len(batch):
            if chunk is not None:
                path = batch.column("path")
                _, offsets, data = path.buffers()
                offsets = np.frombuffer(offsets, np.int32, len(path) + 1, 4 * path.offset)
                found = np.frombuffer(
                    owners(chunk, position, offsets, memoryview(data).cast("B")), np.uint32
                )
                if len(found):
                    yield entries[found], batch.slice(0, len(found))
                    position, batch = int(found[-1]), batch.slice(len(found))
            if len(batch):
                chunk, entries = next(lists, (None, entries))
                position = 0
                if chunk is None:
                    raise LookupError


def rows_of_part(
    manifest: Manifest,
    part: PartEntry,
    numbers: NDArray[np.int64],
    columns: Sequence[str] | None = None,
) -> Generator[EntryRows, None, None]:
    """Yield (a number for each row, rows) of a part; `numbers` has one per entry.

    Raises DicomError when its rows are not those of its files.
    """
    from pyarrow import parquet

    def numbered_entries() -> Iterator[tuple[PathChunk, NDArray[np.int64]]]:
        done = 0
        first, stop = part["entries"]
        for chunk in entries_of(manifest, first, stop):
            yield chunk, numbers[done : done + len(chunk)]
            done += len(chunk)

    path = os.path.join(manifest.folder, part["part"])
    try:
        with parquet_errors(path), parquet.ParquetFile(path, pre_buffer=False) as file:
            yield from rows_with_entries(
                file.iter_batches(_BATCH_ROWS, columns=columns, use_threads=False),
                numbered_entries(),
            )
    except LookupError:
        raise damaged(path, "its rows are not those of its files") from None


def kept_rows(manifest: Manifest, diff: PartDiff, first: int) -> Iterator[EntryRows]:
    """Yield (entries of the new list, rows) of the unchanged files of a part.

    Only of entries from `first` on.
    """
    import numpy as np

    if diff.part is None:
        return
    if diff.old is None or diff.new is None:
        numbers = np.arange(diff.start, diff.stop)
    else:
        old, new = (np.frombuffer(marks, np.uint8) for marks in (diff.old, diff.new))
        numbers = np.full(len(old), -1)
        numbers[old == SAME] = diff.start + np.flatnonzero(new == SAME)
    numbers[numbers < first] = -1
    if numbers.max() < 0:
        return
    for entries, rows in rows_of_part(manifest, diff.part, numbers):
        kept = entries >= 0
        if kept.any():
            yield entries[kept], rows.take(_as_indices(np.flatnonzero(kept)))


def merge_rows(*streams: Iterator[EntryRows]) -> Iterator[EntryRows]:
    """Merge streams of (entries, rows), each in the order of entries, into one."""
    import numpy as np
    import pyarrow

    heads = [next(stream, None) for stream in streams]
    while all(head is not None for head in heads):
        current = [head for head in heads if head is not None]
        last = min(entries[-1] for entries, _ in current)
        counts = [int(np.searchsorted(entries, last, "right")) for entries, _ in current]
        merged = np.concatenate(
            [entries[:n] for (entries, _), n in zip(current, counts, strict=True)]
        )
        rows = pyarrow.Table.from_batches(
            [batch.slice(0, n) for (_, batch), n in zip(current, counts, strict=True)]
        )
        order = np.argsort(merged, kind="stable")
        yield merged[order], rows.take(_as_indices(order)).combine_chunks().to_batches()[0]
        heads = [
            (entries[n:], batch.slice(n)) if n < len(entries) else next(stream, None)
            for (entries, batch), n, stream in zip(current, counts, streams, strict=True)
        ]
    for head, stream in zip(heads, streams, strict=True):
        if head is not None:
            yield head
            yield from stream


def _as_indices(numbers: NDArray[np.int64]) -> pyarrow.Array:
    """Return indices for pyarrow's `take`, which would import pandas for a NumPy array."""
    import pyarrow

    return pyarrow.Array.from_buffers(
        pyarrow.int64(), len(numbers), [None, pyarrow.py_buffer(numbers)]
    )
