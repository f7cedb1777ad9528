"""Helpers shared by the commands that scan."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterable, Iterator
from time import perf_counter
from typing import TYPE_CHECKING, Any, Protocol

from fastdcm.cli import Failure
from fastdcm.cli._output import print_line
from fastdcm.scanning.index.folder import is_index, open_index
from fastdcm.scanning.open_source import open_source
from fastdcm.sources.paths import CombinedSource

if TYPE_CHECKING:
    from fastdcm.scanning._batch import Batch
    from fastdcm.scanning.index.folder import IndexFolder
    from fastdcm.scanning.protocols import ScanStats
    from fastdcm.scanning.scanner import Scan


class HasStats(Protocol):
    """A running scan, or a scan into an index folder, with the counts so far."""

    @property
    def stats(self) -> ScanStats:
        """The counts, as in `Scan.stats`."""


def open_sources(paths: Iterable[str], recursive: bool) -> Any:
    """Return one source for one or more arguments of the command line."""
    try:
        sources = [open_source(path, recursive) for path in paths]
    except FileNotFoundError as error:
        raise Failure(
            f"{error.filename}: {error.strerror}",
            "give a folder, glob, file, archive, index, or a table with a `path` column",
        ) from None
    except ValueError as error:
        raise Failure(str(error)) from None
    return sources[0] if len(sources) == 1 else CombinedSource(sources)


def open_indexes(paths: Iterable[str]) -> tuple[list[IndexFolder], list[str]]:
    """Open the index folders among the arguments.

    Returns the opened indexes, whose rows are used without reading the files again, and
    the other arguments.
    """
    indexes: list[IndexFolder] = []
    others = []
    for path in paths:
        if not is_index(path):
            others.append(path)
            continue
        try:
            index = open_index(path)
        except ValueError as error:
            raise Failure(str(error)) from None
        if not index.complete:
            print_line(
                f"note: {path} is not complete: {index.read:,} of "
                f"{plural(index.listed, 'file')} read",
                err=True,
            )
        indexes.append(index)
    return indexes, others


def distinct(index: IndexFolder, name: str) -> set[str]:
    """Return the values in a text column of an index that are not empty."""
    import pyarrow.compute

    values: set[str | None] = set()
    for batch in index.batches([name]):
        values.update(pyarrow.compute.unique(batch.column(name)).to_pylist())
    return {value for value in values if value}


def size_text(count: float) -> str:
    """Return a number of bytes as text, such as ``1.2 MB``."""
    if count < 1000:
        return f"{count:.0f} bytes"
    for unit in ("KB", "MB", "GB"):
        count /= 1000
        if count < 1000:
            return f"{count:.1f} {unit}"
    return f"{count / 1000:.1f} TB"


def plural(count: int, noun: str) -> str:
    """Return a count with its noun, such as ``1 file`` or ``3 studies``."""
    if count == 1 or noun == "series":
        return f"{count:,} {noun}"
    return f"{count:,} {noun[:-1]}ies" if noun.endswith("y") else f"{count:,} {noun}s"


class MonitoredScan:
    """A Scan that shows its progress on a terminal and counts its series."""

    def __init__(self, scan: Scan) -> None:
        self.scan = scan
        self.fields = scan.fields
        self.column_names = scan.column_names
        self.has_series = "SeriesInstanceUID" in scan.column_names
        self.series: set[str | None] = set()

    def __arrow_c_schema__(self) -> Any:
        return self.scan.__arrow_c_schema__()

    def __iter__(self) -> Iterator[Batch]:
        with progress(self.scan):
            for batch in self.scan:
                if self.has_series:
                    self.series.update(batch.column("SeriesInstanceUID"))
                yield batch
        self.series -= {None, ""}


def progress(scan: HasStats) -> contextlib.AbstractContextManager[Any]:
    """Return a context that shows the counts of a scan if stderr is a terminal."""
    if not sys.stderr.isatty():
        return contextlib.nullcontext()
    from datetime import timedelta

    try:
        from rich.console import Console
        from rich.progress import Progress, ProgressColumn, SpinnerColumn, Task, TimeElapsedColumn
        from rich.text import Text
    except ImportError:
        return contextlib.nullcontext()

    class Counts(ProgressColumn):
        # Time and files read when the list of files was complete.
        start: tuple[float, int] | None = None

        def render(self, task: Task) -> Text:
            s: dict[str, Any] = {**scan.stats}
            total = s.get("total", 0)
            if total is None:
                return Text(f"{plural(s['listed'], 'file')} found")
            text = (
                f"{plural(s['files'], 'file')}{f' of {total:,}' if total else ''}  "
                f"{s['files_per_second']:,.0f} files/s  {plural(s['errors'], 'error')}"
            )
            if total:
                self.start = self.start or (perf_counter(), s["files"])
                read = s["files"] - self.start[1]
                if read:
                    seconds = (perf_counter() - self.start[0]) / read * (total - s["files"])
                    text += f"  {timedelta(seconds=round(seconds))} left"
            return Text(text)

    bar = Progress(
        SpinnerColumn(), Counts(), TimeElapsedColumn(), console=Console(stderr=True), transient=True
    )
    bar.add_task("scan", total=None)
    return bar
