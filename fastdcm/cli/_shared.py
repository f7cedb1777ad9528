"""What the verbs that scan have in common."""

import contextlib
import sys
from time import perf_counter

import click

from fastdcm.cli import Failure
from fastdcm.scanning.index.folder import is_index, open_index
from fastdcm.scanning.open_source import open_source
from fastdcm.sources.paths import CombinedSource


def open_sources(paths, recursive):
    """The source of one or more arguments."""
    try:
        sources = [open_source(path, recursive) for path in paths]
    except FileNotFoundError as error:
        raise Failure(
            f"{error.filename}: {error.strerror}",
            "give a folder, a glob, files, archives, an index, or a table with a column `path`",
        ) from None
    except ValueError as error:
        raise Failure(str(error)) from None
    return sources[0] if len(sources) == 1 else CombinedSource(sources)


def open_indexes(paths):
    """(IndexFolders, the other arguments): the rows of an index are there, so
    that no file need be read again."""
    indexes = []
    for path in filter(is_index, paths):
        try:
            indexes.append(open_index(path))
        except ValueError as error:
            raise Failure(str(error)) from None
        if not indexes[-1].complete:
            click.echo(
                f"note: {path} is not complete: {indexes[-1].read:,} of "
                f"{plural(indexes[-1].listed, 'file')} read",
                err=True,
            )
    return indexes, [path for path in paths if not is_index(path)]


def distinct(index, name):
    """The values in a column of text of an index, as a set."""
    import pyarrow.compute

    values = set()
    for batch in index.batches([name]):
        values.update(pyarrow.compute.unique(batch.column(name)).to_pylist())
    return values - {None, ""}


def size_text(count):
    """Bytes for people."""
    for unit in ("bytes", "KB", "MB", "GB"):
        if count < 1000:
            break
        count /= 1000
    else:
        unit = "TB"
    return f"{count:.0f} bytes" if unit == "bytes" else f"{count:.1f} {unit}"


def plural(count, noun):
    if count == 1 or noun == "series":
        return f"{count:,} {noun}"
    return f"{count:,} {noun[:-1]}ies" if noun.endswith("y") else f"{count:,} {noun}s"


class Watched:
    """A Scan that shows on a terminal how far it is, and counts its series."""

    def __init__(self, scan):
        self.scan = scan
        self.fields = scan.fields
        self.column_names = scan.column_names
        self.series = set() if "SeriesInstanceUID" in scan.column_names else None

    def __arrow_c_schema__(self):
        return self.scan.__arrow_c_schema__()

    def __iter__(self):
        with progress(self.scan):
            for batch in self.scan:
                if self.series is not None:
                    self.series.update(batch.column("SeriesInstanceUID"))
                yield batch
        if self.series is not None:
            self.series.discard(None)
            self.series.discard("")


def progress(scan):
    """A context that shows the counts of a Scan or an IndexBuild, when stderr is a
    terminal."""
    if not sys.stderr.isatty():
        return contextlib.nullcontext()
    from datetime import timedelta

    try:
        from rich.console import Console
        from rich.progress import Progress, ProgressColumn, SpinnerColumn, TimeElapsedColumn
        from rich.text import Text
    except ImportError:
        return contextlib.nullcontext()

    class Counts(ProgressColumn):
        begun = None  # when all files were listed, and how many had been read

        def render(self, task):
            s = scan.stats
            total = s.get("total", 0)
            if total is None:
                return Text(f"{plural(s['listed'], 'file')} found")
            text = (
                f"{plural(s['files'], 'file')}{f' of {total:,}' if total else ''}  "
                f"{s['files_per_second']:,.0f} files/s  {plural(s['errors'], 'error')}"
            )
            if total:
                self.begun = self.begun or (perf_counter(), s["files"])
                read = s["files"] - self.begun[1]
                if read:
                    seconds = (perf_counter() - self.begun[0]) / read * (total - s["files"])
                    text += f"  {timedelta(seconds=round(seconds))} left"
            return Text(text)

    bar = Progress(
        SpinnerColumn(), Counts(), TimeElapsedColumn(), console=Console(stderr=True), transient=True
    )
    bar.add_task("scan", total=None)
    return bar
