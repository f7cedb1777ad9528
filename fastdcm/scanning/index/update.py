"""Updating an index folder: only files that are new or have changed are read.

The folder or bucket is listed again, with sizes and modification times, and the new
list is compared with that of the index. A file that could not be read is tried again,
and counts as changed when its row is another one now. Parts whose files are all the
same stay. The others are replaced by new parts in the order of the new list: rows of
unchanged files are copied, the other files are scanned. A second manifest records what
of this is done; at the end it replaces the first one. So one of the manifests is
correct at any moment, and an interrupted update is resumed by the next.
"""

from __future__ import annotations

import errno
import os
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from contextlib import ExitStack, closing
from itertools import chain
from typing import TYPE_CHECKING, BinaryIO, cast

from fastdcm._util.atomic import write_atomically
from fastdcm.errors import DicomError
from fastdcm.scanning.index.build import (
    IndexBuild,
    IndexStats,
    counts_of_parts,
    path_chunks,
)
from fastdcm.scanning.index.diff import (
    NO_FILES,
    FileCounts,
    ListDiff,
    PartDiff,
    Segment,
    entries_of,
    kept_rows,
    merge_rows,
    plan_segments,
    rows_of_part,
    rows_with_entries,
)
from fastdcm.scanning.index.entries import FileSum, PartEntry, list_name, list_number
from fastdcm.scanning.index.file_list import FileListWriter, check_list, count_files
from fastdcm.scanning.index.manifest import (
    MANIFEST,
    UPDATE,
    ChecksumWriter,
    Manifest,
    internal_path,
    remove_remains,
)
from fastdcm.scanning.index.parts import EndOfPart, ExistingPart, PartItem
from fastdcm.scanning.protocols import RepeatableScan
from fastdcm.sources._paths import PathChunk
from fastdcm.sources.paths import PathList
from fastdcm.sources.protocols import RequestedPath
from fastdcm.sources.urls import path_bytes, path_text

if TYPE_CHECKING:
    import numpy as np
    import pyarrow
    from numpy.typing import NDArray

    from fastdcm.scanning.index.diff import EntryRows

#: Errors of the system or of a server: they may be over while the file is the same.
_TEMPORARY_ERRORS = ("open", "read", "stream")


class UpdateStats(IndexStats, FileCounts):
    """Counts of an update.

    ``files_per_second`` is that of files that were read.
    """


class IndexUpdate(IndexBuild):
    """An update of an index folder from its source; builds it if there is none."""

    def __init__(self, scan: RepeatableScan, folder: str) -> None:
        super().__init__(scan, folder)
        self._file_counts = NO_FILES
        self._files_read = 0
        self._update_scan: RepeatableScan | None = None

    @property
    def stats(self) -> UpdateStats:
        """The counts so far; may be read from another thread during `run`."""
        stats, scan = super().stats, self._update_scan
        read = self._files_read + (scan.stats["files"] if scan is not None else 0)
        stats["files_per_second"] = read / stats["seconds"] if stats["seconds"] else 0.0
        return {**stats, **self._file_counts}

    def run(self) -> UpdateStats:
        """Update the index. An interrupted scan or update of it is completed first.

        Returns
        -------
        dict
            `stats`.

        Raises
        ------
        ValueError
            If the source is not one folder or bucket.
        FileNotFoundError
            If it has no file any more.
        DicomError, OSError
            As `IndexBuild.run`.
        """
        if not self.scan.source.supports_update:
            raise ValueError(
                f"{self.folder}: an index can be updated only from the one folder or bucket "
                "(s3, gs, az) it was made of; give that as the source"
            )
        super().run()
        return self.stats

    def _run(self) -> Manifest:
        is_new = not os.path.exists(internal_path(self.folder, MANIFEST))
        manifest = super()._run()
        self._files_read = self._progress[0]["files"] - self._counts_before["files"]
        if is_new:
            self._file_counts = {**NO_FILES, "new": self._listed}
            return manifest
        interrupted = self._interrupted_update(manifest)
        remove_remains(self.folder, manifest, *filter(None, [interrupted]))
        if interrupted is not None:
            diff = ListDiff(manifest, interrupted.head.get("again", []))
            for chunk in entries_of(interrupted):
                diff.add(chunk)
            diff.finish()
            manifest = self._finish(manifest, interrupted, diff)
        return self._update(manifest)

    def _interrupted_update(self, manifest: Manifest) -> Manifest | None:
        """Return the manifest of an update that was interrupted, None if there is none."""
        try:
            update = Manifest(self.folder, UPDATE)
            update.check()
            check_list(update)
        except (FileNotFoundError, DicomError):  # a damaged one is not needed
            return None
        return update if update.head.get("before") == manifest.head["files"] else None

    # ----------------------------------------------------- the new list ---

    def _update(self, manifest: Manifest) -> Manifest:
        """List the files again, and update what differs. Returns the manifest."""
        reread = sorted(set(self._entries_to_reread(manifest)))
        diff = ListDiff(manifest, reread)
        sums: list[FileSum] = []
        name = list_name(list_number(manifest.head["files"]["name"]) + 1)

        def fill(file: BinaryIO) -> None:
            out = ChecksumWriter(file)
            self._list_again(manifest, diff, out)
            sums.append(out.sum())

        try:
            write_atomically(internal_path(self.folder, name), fill)
        except _NothingChanged:
            self._count_files(diff)
            self._total = self._listed
            return manifest
        update = Manifest.create(
            self.folder,
            {
                **manifest.head,
                "files": {"name": name, "entries": self._listed, **sums[0]},
                "before": manifest.head["files"],
                "again": reread,
                "next_part": manifest.next_part_number,
            },
            UPDATE,
        )
        return self._finish(manifest, update, diff)

    def _entries_to_reread(self, manifest: Manifest) -> Iterator[int]:
        """Yield the entries whose files could not be read, and have another row now."""
        for part in manifest.parts:
            failed = _temporary_failures(manifest, part) if part["errors"] else {}
            if failed:
                now: dict[str, str | None] = {}
                scan = self.scan.with_source(PathList([path_bytes(path) for path in failed]))
                for batch in scan:
                    columns = batch.to_pydict()
                    now.update(zip(columns["path"], columns["error"], strict=True))
                for path, (entry, error) in failed.items():
                    # An archive that can be read now has rows with the paths of members.
                    if now.get(path) != error:
                        yield entry

    def _list_again(self, manifest: Manifest, diff: ListDiff, out: ChecksumWriter) -> None:
        """Compare the files with the index, and write their list if it differs.

        Up to the first difference it is copied from the old list, which is the same.
        """
        files = self._listed = 0
        self._total = None
        writer: FileListWriter | None = None
        with ExitStack() as stack:
            chunks = path_chunks(self.scan.source)
            found = stack.enter_context(closing(self._find_files(chunks)))
            for chunk in found:
                diff.add(chunk)
                if writer is None and diff.differs:
                    writer = stack.enter_context(_begin_list(out, manifest, self._listed))
                if writer is not None:
                    writer.add(chunk)
                self._listed += len(chunk)
                files += count_files(chunk)
            diff.finish()
            if not diff.differs:
                raise _NothingChanged
            if not files:
                requested = self.scan.source.requested
                raise FileNotFoundError(
                    errno.ENOENT,
                    "no file can be found there any more; check that it is mounted",
                    requested[0]["path"] if requested else None,
                )
            if writer is None:
                stack.enter_context(_begin_list(out, manifest, self._listed))

    # ----------------------------------------------------- the new parts ---

    def _finish(self, manifest: Manifest, update: Manifest, diff: ListDiff) -> Manifest:
        """Write the parts that are missing, and make the update current. Returns it."""
        self._count_files(diff)
        self._total = update.head["files"]["entries"]
        self._write(update, self._new_parts(manifest, update, plan_segments(diff.parts)))
        if not update.complete:
            update.append({"complete": True})
        update.make_current()
        remove_remains(self.folder, update)
        self._progress = counts_of_parts(update.parts), None
        return update

    def _count_files(self, diff: ListDiff) -> None:
        """Add up the changes of this update and of one that was resumed before."""
        before = self._file_counts
        self._file_counts = {
            "same": diff.counts["same"],
            "changed": before["changed"] + diff.counts["changed"],
            "new": before["new"] + diff.counts["new"],
            "gone": before["gone"] + diff.counts["gone"],
        }

    def _new_parts(
        self, manifest: Manifest, update: Manifest, segments: Iterable[Segment]
    ) -> Generator[PartItem, None, None]:
        """Yield what is written: parts in the order of the new list."""
        first = update.next_entry
        for segment in segments:
            if segment.stop <= first:
                continue
            if segment.stays:
                part = cast(PartEntry, segment.parts[0].part)
                yield ExistingPart({**part, "entries": [segment.start, segment.stop]})
            else:
                yield from self._rewrite(manifest, update, segment, max(first, segment.start))
            self._progress = {**self._counts_before, "files": segment.stop}, None

    def _rewrite(
        self, manifest: Manifest, update: Manifest, segment: Segment, first: int
    ) -> Iterator[PartItem]:
        """Yield the new parts of a segment, from an entry of the new list on."""
        part = _NewPart(first)
        kept = chain.from_iterable(kept_rows(manifest, diff, first) for diff in segment.parts)
        source = _ChangedFiles(update, segment.parts, first)
        with closing(self._scan_changed(source)) as scanned:
            for entries, batch in merge_rows(kept, scanned):
                while len(entries):
                    if part.rows >= segment.part_rows and entries[0] != part.last:
                        yield self._end_of_part(update, part, int(entries[0]))
                        part = _NewPart(int(entries[0]))
                    count = part.add(entries, batch, segment.part_rows)
                    yield batch.slice(0, count)
                    entries, batch = entries[count:], batch.slice(count)
        yield self._end_of_part(update, part, segment.stop)

    def _end_of_part(self, update: Manifest, part: _NewPart, stop: int) -> EndOfPart:
        """Return the end of a part that ends before the entry `stop`."""
        skipped = stop - part.first - part.files if self.scan.on_error == "skip" else 0
        ends = (next(entries_of(update, i, i + 1))[0] for i in (part.first, stop - 1))
        return EndOfPart(
            {
                "files": part.rows + skipped,
                "errors": part.errors + skipped,
                "issues": part.issues,
                "entries": [part.first, stop],
                "paths": list(map(path_text, ends)),
            }
        )

    def _scan_changed(self, source: _ChangedFiles) -> Generator[EntryRows, None, None]:
        """Scan files that are new or have changed, and yield (entries, rows)."""
        import pyarrow

        self._update_scan = scan = self.scan.with_source(source)
        with closing(iter(scan)) as batches:
            yield from rows_with_entries(map(pyarrow.record_batch, batches), source.used())
        self._update_scan = None
        stats = scan.stats
        self._files_read += stats["files"]
        self._bytes_read += stats["bytes_read"]
        self._threads = stats["threads"]


class _NothingChanged(Exception):
    """There is no new list to write."""


def _begin_list(out: ChecksumWriter, manifest: Manifest, entries: int) -> FileListWriter:
    """Return the writer of a list that begins with entries of that of a manifest."""
    writer = FileListWriter(out)
    for chunk in entries_of(manifest, 0, entries):
        writer.add(chunk)
    return writer


def _temporary_failures(manifest: Manifest, part: PartEntry) -> dict[str, tuple[int, str]]:
    """Return {path: (entry, error)} of the files of a part that may be readable now."""
    import numpy as np

    failed: dict[str, tuple[int, str]] = {}
    entries = np.arange(*part["entries"])
    for numbers, batch in rows_of_part(manifest, part, entries, ["path", "error"]):
        errors = batch.column("error")
        if errors.null_count < len(errors):
            paths = batch.column("path").to_pylist()
            failed.update(
                (path, (int(number), error))
                for number, path, error in zip(numbers, paths, errors.to_pylist(), strict=True)
                if error in _TEMPORARY_ERRORS
            )
    return failed


class _NewPart:
    """What a new part contains so far.

    Attributes
    ----------
    first, last : int
        Entries of the new list; `last` is None before the first row.
    files, rows, errors, issues : int
    """

    def __init__(self, first: int) -> None:
        self.first = first
        self.last: int | None = None
        self.files = self.rows = self.errors = self.issues = 0

    def add(self, entries: NDArray[np.int64], batch: pyarrow.RecordBatch, max_rows: int) -> int:
        """Count the rows of a batch that belong to this part, and return their number.

        entries : of each row. The part ends after the entry with which it reaches
        `max_rows` rows.
        """
        import numpy as np
        from pyarrow import compute

        reached = min(max(max_rows - self.rows, 1), len(entries)) - 1
        count = int(np.searchsorted(entries, entries[reached], "right"))
        entries, batch = entries[:count], batch.slice(0, count)
        self.files += int(np.count_nonzero(np.diff(entries))) + int(entries[0] != self.last)
        self.last = int(entries[-1])
        self.rows += count
        self.errors += count - batch.column("error").null_count
        self.issues += compute.sum(compute.list_value_length(batch.column("issues"))).as_py() or 0
        return count


class _ChangedFiles:
    """The files of a segment that are not the same: the source of a scan."""

    requested: list[RequestedPath] | None = None
    supports_update = False

    def __init__(self, update: Manifest, parts: Iterable[PartDiff], first: int) -> None:
        import numpy as np

        self._blocks = self._read_blocks(update, parts, first)
        self._block: PathChunk | None = None
        self._entries = np.empty(0, np.int64)
        self._position = 0  # in the block
        self._used: deque[tuple[PathChunk, NDArray[np.int64]]] = deque()

    def _read_blocks(
        self, update: Manifest, parts: Iterable[PartDiff], first: int
    ) -> Iterator[tuple[PathChunk, NDArray[np.int64]]]:
        """Yield (files, their entries)."""
        import numpy as np

        for part in parts:
            begin = max(part.start, first)
            if part.new is None or begin >= part.stop:
                continue
            for chunk in entries_of(update, begin, part.stop):
                marks = np.frombuffer(part.new, np.uint8, len(chunk), begin - part.start)
                files = chunk.select(marks)  # SAME is 0
                if files is not None:
                    yield files, begin + np.flatnonzero(marks)
                begin += len(chunk)

    def start(self) -> _ChangedFiles:
        """Return the reader of the files."""
        return self

    def read_chunk(self, max_paths: int) -> PathChunk | None:
        """Return the next files; None after the last."""
        if self._block is None or self._position == len(self._block):
            self._block, self._entries = next(self._blocks, (None, self._entries))
            self._position = 0
        if self._block is None:
            return None
        begin = self._position
        self._position = min(begin + max_paths, len(self._block))
        chunk = self._block.part(begin, self._position)
        self._used.append((chunk, self._entries[begin : self._position]))
        return chunk

    def used(self) -> Iterator[tuple[PathChunk, NDArray[np.int64]]]:
        """Yield (files, their entries) of what has been read so far."""
        while self._used:
            yield self._used.popleft()
