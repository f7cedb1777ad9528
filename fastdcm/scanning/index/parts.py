"""Writing the parts of an index: Parquet files, and their lines in the manifest."""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import chain
from queue import Queue
from threading import Thread
from typing import BinaryIO, NamedTuple, TypeAlias, TypedDict

from fastdcm._util.atomic import write_atomically
from fastdcm.scanning.index.entries import FileSum, PartEntry, part_name
from fastdcm.scanning.index.manifest import INTERNAL, ChecksumWriter, Manifest
from fastdcm.scanning.output import write_parquet
from fastdcm.scanning.protocols import ArrowBatch, Field, Table

#: Batches that wait for the thread that writes.
_QUEUE_SIZE = 4


class PartCounts(TypedDict):
    """What the line of a part has besides what writing it determines."""

    files: int
    errors: int
    issues: int
    entries: list[int]
    paths: list[str]


class EndOfPart(NamedTuple):
    """Follows the last batch of a part."""

    counts: PartCounts


class ExistingPart(NamedTuple):
    """A part that has been written before, and gets a line in the new manifest."""

    entry: PartEntry


#: What is written, in order: the batches of a part and its end, or an existing part.
PartItem: TypeAlias = ArrowBatch | EndOfPart | ExistingPart


class _Incomplete(Exception):
    """There are no more items, although a part has no end."""


class _PartTable:
    """The batches of one part as a table."""

    def __init__(self, table: Table, items: Iterator[PartItem]) -> None:
        self._table, self._items = table, items
        self.rows = 0
        self.counts: PartCounts | None = None  # after the last batch

    @property
    def column_names(self) -> list[str]:
        return self._table.column_names

    @property
    def fields(self) -> list[Field]:
        return self._table.fields

    def __arrow_c_schema__(self) -> object:
        return self._table.__arrow_c_schema__()

    def __iter__(self) -> Iterator[ArrowBatch]:
        for item in self._items:
            if isinstance(item, EndOfPart):
                self.counts = item.counts
                return
            assert not isinstance(item, ExistingPart)
            self.rows += len(item)
            yield item
        raise _Incomplete


def _write_part(manifest: Manifest, table: Table, items: Iterator[PartItem]) -> None:
    """Write the next part, and then its line."""
    path = os.path.join(manifest.folder, part_name(manifest.next_part_number))
    part = _PartTable(table, items)
    sums: list[FileSum] = []

    def fill(file: BinaryIO) -> None:
        out = ChecksumWriter(file)
        write_parquet(part, out)
        sums.append(out.sum())

    write_atomically(path, fill, temporary_directory=os.path.join(manifest.folder, INTERNAL))
    assert part.counts is not None
    manifest.append({"part": os.path.basename(path), "rows": part.rows, **sums[0], **part.counts})


def write_parts(manifest: Manifest, table: Table, items: Iterator[PartItem]) -> None:
    """Write parts and their lines. `table` has the schema of the batches."""
    for item in items:
        if isinstance(item, ExistingPart):
            manifest.append(item.entry)
        else:
            _write_part(manifest, table, chain([item], items))


class PartWriter:
    """Writes parts in a thread of its own: files are read while a part is synchronized."""

    def __init__(self, manifest: Manifest, table: Table) -> None:
        self._manifest, self._table = manifest, table
        self._queue: Queue[PartItem | None] = Queue(_QUEUE_SIZE)
        self._error: BaseException | None = None
        self._thread = Thread(target=self._work, name="fastdcm index")
        self._thread.start()

    def put(self, item: PartItem) -> None:
        """Write an item, later. Raises what writing an earlier one has raised."""
        self.raise_error()
        self._queue.put(item)

    def close(self) -> None:
        """Wait until all complete parts are written; an incomplete one is dropped."""
        self._queue.put(None)
        self._thread.join()

    def raise_error(self) -> None:
        """Raise what writing has raised, if anything."""
        if self._error is not None:
            raise self._error

    def _queued(self) -> Iterator[PartItem]:
        while (item := self._queue.get()) is not None:
            yield item

    def _work(self) -> None:
        items = self._queued()
        try:
            write_parts(self._manifest, self._table, items)
        except _Incomplete:
            pass
        except BaseException as error:
            self._error = error
            for _ in items:  # so that `put` does not wait for ever
                pass
