"""What the verbs that scan have in common."""

import contextlib
import sys

from fastdcm.cli import Failure
from fastdcm.sources import Several, open_source


def open_sources(paths, recursive):
    """The source of one or more arguments."""
    try:
        sources = [open_source(path, recursive) for path in paths]
    except FileNotFoundError as error:
        raise Failure(f"{error.filename}: {error.strerror}",
                      "give a folder, a glob, files, archives, or a table with a column `path`") from None
    except ValueError as error:
        raise Failure(str(error)) from None
    return sources[0] if len(sources) == 1 else Several(sources)


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
        self.plan = scan.plan
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
    """A context that shows a scan's counts, when stderr is a terminal."""
    if not sys.stderr.isatty():
        return contextlib.nullcontext()
    try:
        from rich.console import Console
        from rich.progress import Progress, ProgressColumn, SpinnerColumn, TimeElapsedColumn
        from rich.text import Text
    except ImportError:
        return contextlib.nullcontext()

    class Counts(ProgressColumn):
        def render(self, task):
            s = scan.stats
            return Text(f"{plural(s['files'], 'file')}  {s['files_per_second']:,.0f} files/s  "
                        f"{plural(s['errors'], 'error')}")

    bar = Progress(SpinnerColumn(), Counts(), TimeElapsedColumn(),
                   console=Console(stderr=True), transient=True)
    bar.add_task("scan", total=None)
    return bar
