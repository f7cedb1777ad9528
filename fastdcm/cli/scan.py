"""`fastdcm scan`: write the headers of many files as one table."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain
from typing import TYPE_CHECKING, Any, Literal

import click

from fastdcm.cli import Failure
from fastdcm.cli._output import print_json, print_line, rows_output
from fastdcm.cli._shared import (
    MonitoredScan,
    distinct,
    open_indexes,
    open_sources,
    plural,
    progress,
)
from fastdcm.errors import DicomError
from fastdcm.scanning.index.build import IndexBuild
from fastdcm.scanning.index.folder import is_index_name, open_index
from fastdcm.scanning.index.update import IndexUpdate
from fastdcm.scanning.output import write, write_csv, write_jsonl
from fastdcm.scanning.scanner import Scan
from fastdcm.scanning.tags import DEFAULT_TAGS, make_plan

if TYPE_CHECKING:
    from fastdcm.scanning.index.folder import IndexFolder

ERROR_COLUMNS = ("path", "error", "error_offset", "error_detail")


def split_tags(text: str) -> dict[str, str]:
    """Return {column: element} of ``--tags``, such as ``"A,b=(0019,xx0C,X),@file"``.

    Commas in parentheses do not separate; ``@file`` is replaced by the lines of a file.
    """
    tags: list[str] = []
    depth, word = 0, ""
    for c in text + ",":
        depth += (c == "(") - (c == ")")
        if c == "," and depth <= 0:
            word = word.strip()
            if word.startswith("@"):
                tags += read_tags(word[1:])
            elif word:
                tags.append(word)
            word = ""
        else:
            word += c
    columns: dict[str, str] = {}
    for tag in tags:
        name, equals, element = tag.partition("=")
        if not equals or "(" in name:  # a private creator may contain one
            name = element = tag
        name = name.strip()
        if name in columns:
            raise ValueError(f"two columns have the name {name!r}; request the element once")
        columns[name] = element.strip()
    return columns


def read_tags(path: str) -> list[str]:
    """Read tags from a file, one on each line; skip empty lines and ``#`` comments."""
    try:
        with open(path, encoding="utf-8") as file:
            lines = [line.strip() for line in file]
    except OSError as error:
        raise Failure(f"--tags @{path}: {error.strerror}") from None
    return [line for line in lines if line and not line.startswith("#")]


def write_index(rows: Scan, output: str, update: bool) -> tuple[dict[str, Any], bool]:
    """Write an index folder; return the counts and whether it was complete before."""
    work = (IndexUpdate if update else IndexBuild)(rows, output)
    try:
        with progress(work):
            stats: dict[str, Any] = {**work.run()}
    except DicomError:
        raise
    except ValueError as error:
        raise Failure(f"-o {error}") from None
    except OSError as error:
        raise Failure(
            f"{error.filename or output}: {error.strerror or error}",
            "repeat the command to resume when this is fixed",
        ) from None
    if "SeriesInstanceUID" in rows.column_names:
        stats["series"] = len(distinct(open_index(output), "SeriesInstanceUID"))
    return stats, work.was_complete


def write_table(rows: Scan, output: str | None, as_json: bool) -> dict[str, Any]:
    """Write a file, or to stdout; return the counts."""
    monitored = MonitoredScan(rows)
    if output is not None:
        try:
            write(monitored, output)
        except DicomError:
            raise
        except ValueError as error:
            raise Failure(f"-o {error}") from None
    elif as_json:
        write_jsonl(monitored, rows_output())
    else:
        write_csv(monitored, rows_output())
    stats: dict[str, Any] = {**rows.stats}
    if monitored.has_series:
        stats["series"] = len(monitored.series)
    return stats


def list_errors(indexes: Iterable[IndexFolder], rows: Scan | None, as_json: bool) -> int:
    """Print a line for each file that cannot be read; return how many there are."""
    count = 0
    batches = (batch for index in indexes for batch in index.batches(list(ERROR_COLUMNS)))
    for batch in chain(batches, MonitoredScan(rows) if rows is not None else ()):
        columns = batch.to_pydict()
        for values in zip(*(columns[name] for name in ERROR_COLUMNS), strict=True):
            path, code, offset, reason = values
            if code is None:
                continue
            count += 1
            if as_json:
                print_json(dict(zip(ERROR_COLUMNS, values, strict=True)))
            else:
                print_line(f"{path}: {code} at byte {offset}: {reason}")
    return count


def report(output: str | None, stats: dict[str, Any], update: bool, was_complete: bool) -> None:
    """Print the counts of a scan to stderr, as one line."""
    counts = [plural(stats["files"], "file")]
    if "series" in stats:
        counts.append(plural(stats["series"], "series"))
    counts.append(plural(stats["errors"], "error"))
    text = ", ".join(counts)
    if update:
        changes = ", ".join(
            f"{stats[what]:,} {what}" for what in ("same", "changed", "new", "gone")
        )
        text = f"{output} is up to date: {changes}; {text}"
    elif was_complete:
        text = f"{output} is already complete, nothing to do: {text}"
    else:
        text = f"{text}, {stats['files_per_second']:,.0f} files/s"
    print_line(text, err=True)


@click.command()
@click.argument("sources", nargs=-1, required=True, metavar="SRC...")
@click.option(
    "-o",
    "--output",
    metavar="OUT",
    help="Output: a .parquet, .arrow, .csv or .jsonl file, an index folder (a name that ends "
    "in /), or a Delta table (delta://PATH). Default: CSV on stdout.",
)
@click.option(
    "--update",
    is_flag=True,
    help="Update the index folder OUT: read only the files of the folder or bucket SRC that are "
    "new or changed (size or time), and remove the rows of deleted files.",
)
@click.option(
    "--tags",
    metavar="LIST",
    help="Elements, separated by commas: keywords, (gggg,eeee), (gggg,xxee,CREATOR), "
    "Sequence.Element, Sequence[*].Element; NAME=ELEMENT names the column; @FILE reads one "
    "from each line of a file. "
    f"Default: {len(DEFAULT_TAGS)} elements of the patient, study, series and image.",
)
@click.option(
    "--threads",
    type=click.IntRange(1, 1024),
    help="Number of threads. Default: chosen while running.",
)
@click.option("--recursive/--no-recursive", default=True, help="Include subfolders (default: yes).")
@click.option(
    "--pixels", is_flag=True, help="Add the position of the pixel data and the number of frames."
)
@click.option(
    "--frames", is_flag=True, help="Like --pixels, with the position of each encapsulated frame."
)
@click.option(
    "--hash",
    "hashes",
    type=click.Choice(["file", "pixels"]),
    multiple=True,
    help="Add a hash of the complete file or of its pixel data; may be given twice.",
)
@click.option(
    "--parse-dates",
    is_flag=True,
    help="Make columns of dates and times such, in place of text (DA, TM, DT).",
)
@click.option(
    "--on-error",
    type=click.Choice(["row", "skip", "raise"]),
    default="row",
    help="What to do with an unreadable file: write a row with the error (default), skip it, "
    "or stop.",
)
@click.option(
    "--errors",
    "only_errors",
    is_flag=True,
    help="Only list the unreadable files: path, code, byte offset and reason.",
)
@click.option("--fail-on-error", is_flag=True, help="Exit with status 1 if any file is unreadable.")
@click.option(
    "--json",
    "as_json",
    is_flag=True,
    help="With -o: print the counts as JSON. Without -o: print the rows as JSON lines.",
)
def scan(
    sources: tuple[str, ...],
    output: str | None,
    update: bool,
    tags: str | None,
    threads: int | None,
    recursive: bool,
    pixels: bool,
    frames: bool,
    hashes: tuple[str, ...],
    parse_dates: bool,
    on_error: Literal["row", "skip", "raise"],
    only_errors: bool,
    fail_on_error: bool,
    as_json: bool,
) -> int:
    """Write the headers of many files as one table.

    The table has one row for each file. SRC is a folder, a glob, a file, an archive, a
    URL, an index folder, or a table with a `path` column. A scan into an index folder that
    was interrupted is resumed by the same command.
    """
    try:
        plan = make_plan(
            None if tags is None else split_tags(tags),
            "frames" if frames else pixels,
            on_error == "skip",
            hashes,
            parse_dates,
        )
    except ValueError as error:
        raise Failure(f"--tags: {error}") from None
    if update and (output is None or not is_index_name(output)):
        raise click.UsageError("--update needs -o with an index folder")
    if only_errors:
        if output is not None or on_error != "row":
            raise click.UsageError("--errors cannot be used with -o or --on-error")
        indexes, others = open_indexes(sources)
        for index in indexes:
            if index.parameters["on_error"] == "skip":
                raise Failure(
                    f"{index.path}: the index was created with --on-error skip, so it has no "
                    "rows for unreadable files",
                    "give the folder that was scanned",
                )
        rows = Scan(open_sources(others, recursive), plan, threads) if others else None
        count = list_errors(indexes, rows, as_json)
        return 1 if fail_on_error and count else 0
    rows = Scan(open_sources(sources, recursive), plan, threads, on_error=on_error)
    was_complete = False
    if output is not None and is_index_name(output):
        stats, was_complete = write_index(rows, output, update)
    else:
        stats = write_table(rows, output, as_json)
    if output is not None and as_json:
        print_json(stats)
    report(output, stats, update, was_complete)
    return 1 if fail_on_error and stats["errors"] else 0
