"""Building an index folder: a large scan that can be interrupted and resumed.

First the files of the source are listed, and the list is written to disk: from then
on it alone determines which files are read, and in which order. Then one part after
another is scanned, while another thread writes the parts before. manifest.py
describes the files of an index.
"""

from __future__ import annotations

import functools
import hashlib
import os
from bisect import bisect_right
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing
from time import perf_counter
from typing import TYPE_CHECKING, Any, BinaryIO, TypedDict

from fastdcm._util.atomic import sync_directory, write_atomically
from fastdcm._util.optional import require
from fastdcm._util.parallel import cpu_count
from fastdcm.errors import DicomError
from fastdcm.scanning.index.entries import FileSum, Parameters, PartEntry, list_name
from fastdcm.scanning.index.file_list import (
    FileListWriter,
    as_path_chunk,
    check_list,
    has_relative_path,
    list_path,
    read_list,
    with_sizes,
)
from fastdcm.scanning.index.folder import is_index
from fastdcm.scanning.index.manifest import (
    INTERNAL,
    ChecksumWriter,
    Manifest,
    decode_schema,
    encode_schema,
    internal_path,
    remove_remains,
    write_lock,
)
from fastdcm.scanning.index.parts import EndOfPart, PartItem, PartWriter, write_parts
from fastdcm.scanning.protocols import RepeatableScan, ScanStats
from fastdcm.sources._paths import PathChunk, is_archive
from fastdcm.sources.protocols import RequestedPath, Source
from fastdcm.sources.urls import path_text

if TYPE_CHECKING:
    import pyarrow

#: A part ends after this many entries of the list, or rows where some entries are
#: archives (and the rows that were being read then). When a scan is interrupted, it is
#: the unfinished part that is read again.
_PART = 65536
_LOOKUP_CHUNK = 4096  # files whose sizes are looked up together
_LOOKUP_THREADS = 16  # at least: in a network file system each lookup waits

_FIXED_COLUMNS = 8  # that every scan has, first


class IndexStats(ScanStats):
    """Counts of a scan into an index.

    Attributes
    ----------
    files, errors, issues : int
        Of the complete index.
    seconds, files_per_second, bytes_read, threads
        Of this run.
    listed : int
        Files found so far.
    total : int or None
        Files to read; None while they are being listed.
    """

    listed: int
    total: int | None


class Counts(TypedDict):
    """What is counted per part."""

    files: int
    errors: int
    issues: int


NO_COUNTS: Counts = {"files": 0, "errors": 0, "issues": 0}


def counts_of_parts(parts: Iterable[PartEntry]) -> Counts:
    """Return the counts of some parts together."""
    total = NO_COUNTS.copy()
    for part in parts:
        total = _add(total, part)
    return total


def _add(counts: Counts, other: Counts | ScanStats | PartEntry) -> Counts:
    return {
        "files": counts["files"] + other["files"],
        "errors": counts["errors"] + other["errors"],
        "issues": counts["issues"] + other["issues"],
    }


class IndexBuild:
    """A scan into an index folder.

    Attributes
    ----------
    scan : Scan
    folder : str
    was_complete : bool
        Whether the index was already complete before `run`.
    """

    def __init__(self, scan: RepeatableScan, folder: str) -> None:
        self.scan, self.folder = scan, folder
        self.was_complete = False
        self._listed = 0
        self._total: int | None = None
        self._counts_before = NO_COUNTS  # of the parts that existed before `run`
        # The counts of the parts that are read, and the scan of the next one. One
        # attribute: `stats` is also read by other threads, and must not see one of them
        # changed without the other.
        self._progress: tuple[Counts, RepeatableScan | None] = NO_COUNTS, None
        self._started: float | None = None
        self._seconds = 0.0
        self._bytes_read = self._threads = 0

    @property
    def stats(self) -> IndexStats:
        """The counts so far; may be read from another thread during `run`."""
        counts, scan = self._progress
        bytes_read, threads = self._bytes_read, self._threads
        if scan is not None:
            stats = scan.stats
            counts = _add(counts, stats)
            bytes_read += stats["bytes_read"]
            threads = stats["threads"]
        seconds = self._seconds if self._started is None else perf_counter() - self._started
        read = counts["files"] - self._counts_before["files"]
        return {
            **counts,
            "seconds": seconds,
            "files_per_second": read / seconds if seconds else 0.0,
            "bytes_read": bytes_read,
            "threads": threads,
            "listed": self._listed,
            "total": self._total,
        }

    def run(self) -> IndexStats:
        """Build the index, or resume building it; a complete one is left as it is.

        After any error another `run` resumes after the last part that was written.

        Returns
        -------
        dict
            `stats`.

        Raises
        ------
        ValueError
            If the folder contains something else.
        DicomError
            If another process writes to the index (code ``index-in-use``), it was made
            with other parameters (``index-differs``) or is damaged
            (``index-damaged``); or what the scan raises.
        OSError
            If the disk is full.
        """
        require("pyarrow", "an index folder", "table")  # before the folder is created
        self._started = perf_counter()
        try:
            self._make_folder()
            with write_lock(self.folder):
                self._run()
        finally:
            self._seconds, self._started = perf_counter() - self._started, None
        return self.stats

    def _run(self) -> Manifest:
        """Build the index, and return its manifest."""
        manifest = self._open()
        if not manifest.complete:
            remove_remains(self.folder, manifest)
            with closing(read_list(list_path(manifest), manifest.next_entry)) as blocks:
                source = _PartSource(blocks, manifest.next_entry)
                self._write(manifest, self._items(source, bool(manifest.parts)))
            manifest.append({"complete": True})
        return manifest

    def _make_folder(self) -> None:
        if "://" in self.folder:
            raise ValueError(f"{self.folder}: an index must be a folder on a local disk")
        if not is_index(self.folder):
            if os.path.isdir(self.folder) and os.listdir(self.folder):
                raise ValueError(
                    f"{self.folder}: the folder is not empty and not an index; choose another one"
                )
            os.makedirs(os.path.join(self.folder, INTERNAL), exist_ok=True)
            sync_directory(self.folder)
            sync_directory(os.path.dirname(os.path.abspath(self.folder)))

    def _open(self) -> Manifest:
        """Return the manifest of the existing index, or begin a new one."""
        try:
            manifest = Manifest(self.folder)
        except FileNotFoundError:
            remove_remains(self.folder)
            manifest = self._begin()
        else:
            self._check_parameters(manifest)
            manifest.check()
            check_list(manifest)
        self._listed = self._total = manifest.head["files"]["entries"]
        self._counts_before = counts_of_parts(manifest.parts)
        self._progress = self._counts_before, None
        self.was_complete = manifest.complete
        return manifest

    # ------------------------------------------------------- parameters ---

    def _parameters(self, source: object) -> Parameters:
        plan = self.scan.plan
        names = plan.names[_FIXED_COLUMNS + len(plan.requested) :]
        return {
            "tags": plan.requested,
            "pixels": "frames" if "frame_offsets" in names else "pixel_offset" in names,
            "hash": list(plan.hashes),
            "on_error": self.scan.on_error,
            "parse_dates": plan.parse_dates,
            "source": source,
        }

    def _schema(self) -> pyarrow.Schema:
        import pyarrow

        return pyarrow.schema(self.scan)

    def _check_parameters(self, manifest: Manifest) -> None:
        """Raise DicomError if the index was made by another scan."""
        source: object = self.scan.source.requested
        if source is None:
            paths = _PathSum()
            for chunk in path_chunks(self.scan.source):
                paths.add(chunk)
            source = paths.summary()
        in_index: dict[str, Any] = {**manifest.head["parameters"]}
        in_request: dict[str, Any] = {**self._parameters(source)}
        differences = [
            f"{name}: {_difference(in_index.get(name), in_request.get(name))}"
            for name in {**in_index, **in_request}
            if in_index.get(name) != in_request.get(name)
        ]
        folder = manifest.head["folder"]
        if folder not in (None, _working_folder()):
            differences.append(f"its relative paths begin in {folder}, not in {_working_folder()}")
        if not differences and decode_schema(manifest) != self._schema():
            differences.append("its columns have other types: another version of fastdcm made it")
        if differences:
            raise DicomError(
                f"the index was made with other parameters: {'; '.join(differences)}",
                "index-differs",
                filename=self.folder,
            )

    # --------------------------------------------------------- the list ---

    def _begin(self) -> Manifest:
        """List the files of the source, and create the manifest."""
        self._listed = 0
        name = list_name(1)
        source: object = self.scan.source.requested
        chunks: Iterable[PathChunk] = path_chunks(self.scan.source)
        paths = _PathSum()
        if source is None:
            chunks = map(paths.add, chunks)
        folder: str | None = None
        sums: list[FileSum] = []

        def fill(file: BinaryIO) -> None:
            nonlocal folder
            out = ChecksumWriter(file)
            with closing(self._find_files(chunks)) as found, FileListWriter(out) as writer:
                for chunk in found:
                    writer.add(chunk)
                    self._listed += len(chunk)
                    if folder is None and has_relative_path(chunk):
                        folder = _working_folder()
            sums.append(out.sum())

        write_atomically(internal_path(self.folder, name), fill)
        return Manifest.create(
            self.folder,
            {
                "parameters": self._parameters(paths.summary() if source is None else source),
                "folder": folder,
                "files": {"name": name, "entries": self._listed, **sums[0]},
                "schema": encode_schema(self._schema()),
            },
        )

    def _find_files(self, chunks: Iterable[PathChunk]) -> Generator[PathChunk, None, None]:
        """Yield the chunks with sizes and times, without the files of the index itself."""
        chunks = filter(None, map(_OwnFiles(self.folder).exclude_from, chunks))
        return with_sizes(chunks, self.scan.threads or max(cpu_count(), _LOOKUP_THREADS))

    # ------------------------------------------------------------ parts ---

    def _write(self, manifest: Manifest, items: Generator[PartItem, None, None]) -> None:
        """Write parts and their lines, in another thread unless `threads` is 1."""
        with closing(items):
            if self.scan.threads == 1:
                write_parts(manifest, self.scan, items)
                return
            writer = PartWriter(manifest, self.scan)
            try:
                for item in items:
                    writer.put(item)
            finally:
                writer.close()
        writer.raise_error()

    def _items(self, source: _PartSource, has_parts: bool) -> Generator[PartItem, None, None]:
        """Scan one part after another, and yield what is written of them."""
        total = self._total or 0
        while source.next_entry < total or not has_parts:  # at least one part, for the schema
            has_parts = True
            counts, _ = self._progress
            scan = self.scan.with_source(source.begin_part())
            self._progress = counts, scan
            with closing(iter(scan)) as batches:
                for batch in batches:
                    source.rows += len(batch)
                    yield batch
            stats = scan.stats
            self._bytes_read += stats["bytes_read"]
            self._threads = stats["threads"]
            self._progress = _add(counts, stats), None
            yield EndOfPart(
                {
                    **_add(NO_COUNTS, stats),
                    "entries": [source.first_entry, source.next_entry],
                    "paths": list(map(path_text, source.first_and_last)),
                }
            )


def _working_folder() -> str:
    return path_text(os.getcwdb())


def _difference(in_index: object, in_request: object) -> str:
    """Describe how a parameter differs."""
    if isinstance(in_index, list) and isinstance(in_request, list):
        texts = [
            f"{_shorten([x for x in a if x not in b])} only in the {where}"
            for a, b, where in (
                (in_index, in_request, "index"),
                (in_request, in_index, "request"),
            )
            if any(x not in b for x in a)
        ]
        return ", ".join(texts) if texts else "in another order"
    return f"{_parameter_text(in_index)} in the index, {_parameter_text(in_request)} in the request"


def _shorten(values: Sequence[object]) -> str:
    texts = [_parameter_text(value) for value in values]
    return ", ".join(texts[:5]) + (f" and {len(texts) - 5} more" if len(texts) > 5 else "")


def _parameter_text(value: object) -> str:
    if not isinstance(value, dict):
        return str(value)
    if "path" in value:
        return str(value["path"]) + ("" if value["recursive"] else " without subfolders")
    return f"a list of {value['paths']:,} paths ({value['sha256'][:8]})"


# ------------------------------------------------------------ the list ---


def path_chunks(source: Source) -> Iterator[PathChunk]:
    """Begin to read a source, and return an iterator over its paths, in order."""
    reader = source.start()

    def read() -> Iterator[PathChunk]:
        while (chunk := reader.read_chunk(_LOOKUP_CHUNK)) is not None:
            yield as_path_chunk(chunk)

    return read()


class _PathSum:
    """Count and checksum of paths, which identify a list that has no name."""

    def __init__(self) -> None:
        self._count, self._hash = 0, hashlib.sha256()

    def add(self, chunk: PathChunk) -> PathChunk:
        """Add the paths of a chunk, and return it."""
        self._count += len(chunk)
        self._hash.update(b"".join(path + b"\0" for path in chunk.paths()))
        return chunk

    def summary(self) -> dict[str, Any]:
        """Return both, as the manifest has them."""
        return {"paths": self._count, "sha256": self._hash.hexdigest()}


class _OwnFiles:
    """The files of an index, which may be inside the folder that is scanned."""

    def __init__(self, index: str) -> None:
        self._folders = [os.stat(index), os.stat(os.path.join(index, INTERNAL))]
        self._is_own = functools.lru_cache(64)(self._is_own_folder)

    def _is_own_folder(self, folder: bytes) -> bool:
        try:
            found = os.stat(folder or b".")
        except (OSError, ValueError):
            return False
        return any(os.path.samestat(found, own) for own in self._folders)

    def exclude_from(self, chunk: PathChunk) -> PathChunk | None:
        """Return the chunk without them; None when nothing is left."""
        if not chunk.mentions(b"part-") and not chunk.mentions(INTERNAL.encode()):
            return chunk
        others = bytes(not self._is_own(os.path.dirname(path)) for path in chunk.paths())
        return chunk if all(others) else chunk.select(others)


class _PartSource:
    """The source of one part after another: entries of a list of files."""

    requested: list[RequestedPath] | None = None
    supports_update = False

    def __init__(self, blocks: Iterator[PathChunk], next_entry: int) -> None:
        self.next_entry = next_entry
        self.rows = 0  # of the part; its reader adds them
        self._blocks = blocks  # of the list, from the next entry on
        self._block: PathChunk | None = None
        self._used = 0  # of the block
        self._archive_ends: list[int] = []  # positions after the archives in the block

    def begin_part(self) -> _PartSource:
        """Return a source that ends after the last entry of the next part."""
        self.first_entry, self.rows = self.next_entry, 0
        self.first_and_last: list[bytes] = []  # the paths of these entries of the part
        return self

    def start(self) -> _PartSource:
        """Return the reader of the part."""
        return self

    def read_chunk(self, max_paths: int) -> PathChunk | None:
        """Return the next paths of the part; None after the last."""
        block = self._block
        if block is None or self._used == len(block):
            block = next(self._blocks, None)
            if block is None:
                return None
            self._block, self._used = block, 0
            self._archive_ends = [i + 1 for i, path in block.archives() if is_archive(path)]
        left = _PART - (self.next_entry - self.first_entry) if self.rows < _PART else 0
        # A chunk ends after an archive, because the number of its rows is unknown.
        i = bisect_right(self._archive_ends, self._used)
        end = min(self._used + min(max_paths, left), len(block), *self._archive_ends[i : i + 1])
        count = end - self._used
        if not count:
            return None
        chunk = block.part(self._used, end)
        self._used = end
        self.next_entry += count
        first = self.first_and_last[0] if self.first_and_last else chunk[0]
        self.first_and_last = [first, chunk[count - 1]]
        return chunk
