"""`scan`: the headers of many files as one table, one row per file."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterable
from time import perf_counter
from typing import TYPE_CHECKING, Literal, TypeAlias

from fastdcm._util.optional import require
from fastdcm.scanning import output
from fastdcm.scanning._batch import Batch, Plan, stream_capsule
from fastdcm.scanning._worker import Worker
from fastdcm.scanning.dataframes import html_table, to_pandas, to_polars, type_name
from fastdcm.scanning.index.build import IndexBuild
from fastdcm.scanning.index.folder import is_index_name
from fastdcm.scanning.index.update import IndexUpdate
from fastdcm.scanning.open_source import open_source
from fastdcm.scanning.protocols import Field, ScanStats
from fastdcm.scanning.tags import Pixels, Tags, make_plan
from fastdcm.scanning.workers import CallerThread, PieceFeed, ThreadPool
from fastdcm.sources.paths import PathList
from fastdcm.sources.protocols import Source
from fastdcm.sources.resolve import ResolvingReader

if TYPE_CHECKING:
    import pandas
    import polars
    import pyarrow

PathLike: TypeAlias = str | bytes | os.PathLike[str] | os.PathLike[bytes]
#: What `scan` accepts as a source.
SourceLike: TypeAlias = PathLike | Iterable[PathLike] | Source
OnError: TypeAlias = Literal["row", "skip", "raise"]

#: Files per batch: about 1 kB of table each.
BATCH_SIZE = 4096
_MAX_BATCH_SIZE = 1 << 20


class Scan:
    """A scan, as `scan` returns it. It runs when its rows are read.

    Each iteration runs it (again, unless the source is an iterator, which can be
    read once) and yields batches with the Arrow PyCapsule interface. So do
    ``pyarrow.table(s)``, ``polars.DataFrame(s)``, ``duckdb.sql("FROM s")``,
    `read_all` and `write`.

    Attributes
    ----------
    source : Source
        Where the paths come from.
    plan : Plan
        The elements that are read, and their columns.
    threads : int or None
        The number of threads; None: chosen while it runs.
    batch_size : int
        Files per batch.
    on_error : str
        What is done about a file that cannot be read: "row", "skip" or "raise".
    """

    def __init__(
        self,
        source: Source,
        plan: Plan,
        threads: int | None,
        batch_size: int = BATCH_SIZE,
        on_error: OnError = "row",
    ) -> None:
        self.source, self.plan = source, plan
        self.threads, self.batch_size = threads, batch_size
        self.on_error: OnError = on_error
        self._workers: ThreadPool | CallerThread | None = None
        self._issues = 0
        self._started: float | None = None
        self._seconds = 0.0

    @property
    def column_names(self) -> list[str]:
        """The names of the columns, in order."""
        return self.plan.names

    @property
    def fields(self) -> list[Field]:
        """The columns, in order: (name, Arrow format of the values, depth of lists)."""
        return self.plan.fields

    @property
    def stats(self) -> ScanStats:
        """Counts of the last run, or of the current one.

        A dict of ``files``, ``errors`` (files that could not be read), ``issues``
        (repairs), ``seconds``, ``files_per_second``, ``bytes_read`` and ``threads``.
        """
        workers = self._workers
        seconds = self._seconds
        if self._started is not None:
            seconds = perf_counter() - self._started
        files = workers.files if workers else 0
        return {
            "files": files,
            "errors": workers.failed if workers else 0,
            "issues": self._issues,
            "seconds": seconds,
            "files_per_second": files / seconds if seconds else 0.0,
            "bytes_read": workers.bytes_read if workers else 0,
            "threads": workers.threads if workers else 0,
        }

    def __iter__(self) -> Generator[Batch, None, None]:
        feed = PieceFeed(ResolvingReader(self.source.start()), self.batch_size)
        self._started, self._issues = perf_counter(), 0
        workers: ThreadPool | CallerThread
        if self.threads == 1:
            workers = CallerThread(self.plan, feed)
        else:
            workers = ThreadPool(self.plan, feed, self.threads)
        self._workers = workers
        try:
            yield from self._batches(workers)
        finally:
            workers.close()
            self._seconds = perf_counter() - self._started
            self._started = None

    def _batches(self, workers: ThreadPool | CallerThread) -> Generator[Batch, None, None]:
        """Join the batches of pieces to batches of `batch_size` files."""
        batch = None
        for piece_batches, ends_batch in workers.results():
            for piece_batch in piece_batches:
                if self.on_error == "raise" and piece_batch.n_errors:
                    raise piece_batch.error()
                self._issues += piece_batch.n_issues
                if batch is None and ends_batch:
                    batch = piece_batch
                    continue
                if batch is None:
                    batch = Batch(self.plan)
                    batch.expect(self.batch_size)
                if not batch.join(piece_batch):
                    batch.seal()
                    yield batch
                    batch = piece_batch
            if ends_batch and batch is not None and len(batch):
                batch.seal()
                yield batch
                batch = None
        if batch is not None and len(batch):
            batch.seal()
            yield batch

    def __arrow_c_schema__(self) -> object:
        """Return the schema through the Arrow PyCapsule interface."""
        return self.plan.__arrow_c_schema__()

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        """Run the scan through the Arrow PyCapsule interface.

        A requested schema is ignored: the request has fixed the types.
        """
        return stream_capsule(self.plan, iter(self))

    def read_all(self) -> pyarrow.Table:
        """Run the scan and return all rows.

        Returns
        -------
        pyarrow.Table

        Raises
        ------
        DicomError
            For the first file that cannot be read, with ``on_error="raise"``.
        ImportError
            Without pyarrow.
        """
        require("pyarrow", "read_all()", "table")
        import pyarrow

        batches = [pyarrow.record_batch(batch) for batch in self]
        return pyarrow.Table.from_batches(batches, pyarrow.schema(self))

    def to_pandas(self) -> pandas.DataFrame:
        """Run the scan and return all rows as a data frame of pandas.

        Returns
        -------
        pandas.DataFrame
            Columns of integers are nullable (Int64, UInt64), so that they stay integers
            where values are missing; dates (``parse_dates=True``) are datetime64.

        Raises
        ------
        ImportError
            Without pyarrow or pandas.

        Examples
        --------
        >>> frame = fastdcm.scan("archive/", ["Rows"]).to_pandas()  # doctest: +SKIP
        """
        return to_pandas(self)

    def to_polars(self) -> polars.DataFrame:
        """Run the scan and return all rows as a data frame of polars.

        Returns
        -------
        polars.DataFrame

        Raises
        ------
        ImportError
            Without polars.

        Examples
        --------
        >>> frame = fastdcm.scan("archive/", ["Rows"]).to_polars()  # doctest: +SKIP
        """
        return to_polars(self)

    def __repr__(self) -> str:
        return f"<Scan of {_source_text(self.source)}: {len(self.fields)} columns>"

    def _repr_html_(self) -> str:
        """Return the columns as HTML, for notebooks. The scan does not run."""
        columns = [(name, type_name(form, lists)) for name, form, lists in self.fields]
        return html_table(f"Scan of {_source_text(self.source)}", ("column", "type"), columns)

    def with_source(self, source: Source) -> Scan:
        """Return the same scan of another source."""
        return Scan(source, self.plan, self.threads, self.batch_size, self.on_error)

    def write(self, path: PathLike, *, update: bool = False) -> ScanStats:
        """Run the scan and write its rows to a file, an index folder or a Delta table.

        A file appears when it is complete: it is written under a temporary name in the
        same directory, synchronized to disk and renamed. An index folder (see
        `open_index`) consists of many Parquet files that appear one by one; a scan
        into one can be interrupted at any time, also by force: the same call resumes
        it, and leaves a complete index as it is. Memory use does not depend on the
        number of files.

        Parameters
        ----------
        path : str, bytes or os.PathLike
            A file: its name ends in .parquet, .arrow, .csv (lists as JSON, bytes as
            base64, null as an empty field) or .jsonl (bytes as base64). An index
            folder: the name ends in ``/``, or the index exists. A Delta Lake table:
            begins with ``delta://``; a new version is added.
        update : bool
            Update an existing index folder from the one folder or bucket it was made
            of: files that are new or changed (in size or modification time) are read,
            rows of deleted files are dropped, and no other file is opened.

        Returns
        -------
        dict
            `stats`; for an index folder also ``listed`` and ``total``, for an update
            also ``same``, ``changed``, ``new`` and ``gone``.

        Raises
        ------
        ValueError
            If the name has another ending, or the source cannot be updated from.
        FileNotFoundError
            If there is no directory for the file, or an update finds no file at all.
        DicomError
            If the index is in use (code ``index-in-use``), was made with other
            parameters (``index-differs``) or is damaged (``index-damaged``).

        Examples
        --------
        >>> fastdcm.scan("archive/").write("index/")["files"]  # doctest: +SKIP
        123456
        """
        name = os.fsdecode(path)
        if is_index_name(name):
            return (IndexUpdate if update else IndexBuild)(self, name).run()
        if update:
            raise ValueError(
                f"{name}: only an index folder can be updated; give one, or leave out update=True"
            )
        output.write(self, name)
        return self.stats


def _source_text(source: Source) -> str:
    if source.requested is None:
        return "a list of paths"
    return ", ".join(requested["path"] for requested in source.requested)


def scan(
    source: SourceLike,
    tags: Tags | None = None,
    *,
    pixels: Pixels = False,
    hash: str | Iterable[str] = (),
    parse_dates: bool = False,
    threads: int | None = None,
    batch_size: int = BATCH_SIZE,
    on_error: OnError = "row",
) -> Scan:
    """Read the headers of many files into a table, one row per file.

    Parameters
    ----------
    source : str, bytes, os.PathLike, iterable of these, or Source
        A folder (its files in byte order of their paths; hidden files included, links
        followed), a glob, a file, a URL (``s3://bucket/prefix/``, ``https://...``), a
        list or iterator of paths and URLs, a DICOMDIR (the files of its records), an
        index folder, or a table with a column ``path`` (.parquet, .arrow, .feather,
        .csv, .jsonl). Rows keep this order. An archive (.zip, .tar, .tar.gz, .tgz,
        .tar.zst) or compressed file (.dcm.gz) is replaced by its members wherever it
        is found, one row each: ``a.zip!/IM0001``. A folder in a list of up to 4,096
        paths is walked, unless other paths of the list are in it.
    tags : list of str or int, or dict, optional
        Elements: a keyword, ``"ggggeeee"``, ``"(gggg,eeee)"``, an int, or a private
        element ``"(gggg,xxee,CREATOR)"``, whichever block its creator reserves
        (PS3.5 7.8). ``Sequence.Element`` is an element of the first item of a
        sequence, ``Sequence[n].Element`` of the n-th (from 1), and
        ``Sequence[*].Element`` a list over all items. The column has that name,
        or that of a dict: ``{"beam": "BeamSequence[*].BeamName"}``.
        By default 30 common elements of patient, study, series and image.
    pixels : bool or "frames"
        Add the columns ``pixel_offset``, ``pixel_length`` (in bytes; of encapsulated
        pixel data up to the sequence delimiter), ``pixel_fragments`` (1 for pixel data
        in fragments, 0 for native pixel data, null for Float and Double Float Pixel
        Data) and ``frames``. "frames" also adds
        ``frame_offsets`` for pixel data in fragments: a list of N + 1 byte offsets in
        the file (in the inflated data set of a deflated one). Frame i is the bytes
        from the i-th offset to the next: its fragments with their item headers
        (PS3.5 A.4), which ``join_fragments`` removes. Offset tables are used where
        they are consistent; otherwise the headers of all fragments are read. Null for
        native pixel data, whose frames have one size; null and an issue where frames
        cannot be separated, or there are more than 2**20.
    hash : "file", "pixels" or both
        Add ``file_hash``, of all bytes of the file, or ``pixel_hash``, of the bytes
        that pixel_offset and pixel_length (which are added) describe: 128-bit XXH3 in
        hexadecimal, to find duplicates. Null for what cannot be read, and for pixels
        where there are none or the data set is deflated. Files are read completely,
        in the same pass.
    parse_dates : bool
        Make columns of DA, TM and DT dates (date32), times (time64, in microseconds)
        and timestamps (in microseconds), in place of text. They are local times as
        written: a UTC offset in a DT is not applied. What is no complete date or time,
        such as a DT of a year alone or a leap second, is null and an issue.
    threads : int, optional
        By default one per core, and more as long as that makes it faster; 32 or 64 for
        URLs.
    batch_size : int
        Files per batch, from 1 to 1,048,576.
    on_error : "row", "skip" or "raise"
        What to do about a file that cannot be read: a row with ``error`` set, no row,
        or a DicomError.

    Returns
    -------
    Scan
        Its columns are ``path``, ``size`` (bytes), ``mtime_ns`` (nanoseconds since
        1970), ``transfer_syntax``, ``error``, ``error_offset``, ``error_detail``,
        ``issues`` (a list of ``code@offset (gggg,eeee)``, null when there are none),
        then those requested. Types follow the VR and VM in PS3.6.

    Raises
    ------
    ValueError
        If a tag, the source or another argument is not valid.
    FileNotFoundError
        If there is nothing at a path.

    Examples
    --------
    >>> table = fastdcm.scan("archive/", ["PatientID", "Rows"]).read_all()  # doctest: +SKIP
    """
    if on_error not in ("row", "skip", "raise"):
        raise ValueError(f"on_error must be 'row', 'skip' or 'raise', got {on_error!r}")
    if threads is not None and threads < 1:
        raise ValueError(f"threads must be at least 1, or None, got {threads}")
    if not 0 < batch_size <= _MAX_BATCH_SIZE:
        raise ValueError(f"batch_size must be from 1 to {_MAX_BATCH_SIZE}, got {batch_size}")
    plan = make_plan(tags, pixels, on_error == "skip", hash, parse_dates)
    return Scan(open_source(source), plan, threads, batch_size, on_error)


def scan_chunk(
    paths: Iterable[PathLike],
    tags: Tags | None = None,
    *,
    pixels: Pixels = False,
) -> Batch:
    """Read the headers of a few files into one batch, in the calling thread.

    Parameters
    ----------
    paths : iterable of str, bytes or os.PathLike
        Files, URLs, archives and members of archives, in any order.
    tags, pixels
        As in `scan`.

    Returns
    -------
    Batch
        With the Arrow PyCapsule interface: ``pyarrow.record_batch(batch)``.

    Raises
    ------
    ValueError
        If a tag is not valid, or one batch cannot hold all rows.

    Examples
    --------
    >>> batch = fastdcm.scan_chunk(["a.dcm", "b.dcm"], ["PatientID"])  # doctest: +SKIP
    >>> batch.to_pydict()["PatientID"]  # doctest: +SKIP
    ['1', '2']
    """
    plan = make_plan(tags, pixels)
    worker, reader = Worker(plan), ResolvingReader(PathList(paths).start())
    batch = None
    while (chunk := reader.read_chunk(1 << 20)) is not None:
        for piece_batch in worker.run(chunk, limit=2**62):
            if batch is None:
                batch = piece_batch
            elif not batch.join(piece_batch):
                raise ValueError("one batch cannot hold the rows of all paths; pass fewer paths")
    batch = Batch(plan) if batch is None else batch
    batch.seal()
    return batch
