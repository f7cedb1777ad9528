"""fastdcm scan: headers to a table."""

import json
import sys
from itertools import chain

import click

from fastdcm.cli import Failure
from fastdcm.cli._shared import Watched, distinct, open_indexes, open_sources, plural, progress
from fastdcm.errors import DicomError
from fastdcm.scanning.index.build import IndexBuild
from fastdcm.scanning.index.folder import is_index_name, open_index
from fastdcm.scanning.index.update import IndexUpdate
from fastdcm.scanning.output import write, write_csv, write_jsonl
from fastdcm.scanning.scanner import Scan
from fastdcm.scanning.tags import DEFAULT_TAGS, make_plan

ERROR_COLUMNS = ("path", "error", "error_offset", "error_detail")


def split_tags(text):
    """ "A,(0019,xx0C,X),@file" to a list; a comma in brackets is none."""
    tags, depth, word = [], 0, ""
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
    return tags


def read_tags(path):
    """One element a line; empty lines and those that begin with # are none."""
    try:
        with open(path, encoding="utf-8") as file:
            lines = [line.strip() for line in file]
    except OSError as error:
        raise Failure(f"--tags @{path}: {error.strerror}") from None
    return [line for line in lines if line and not line.startswith("#")]


def into_index(rows, output, update):
    """Writes an index folder; (stats, whether it was complete before)."""
    work = (IndexUpdate if update else IndexBuild)(rows, output)
    try:
        with progress(work):
            stats = work.run()
    except ValueError as error:
        raise Failure(f"-o {error}") from None
    except OSError as error:
        if isinstance(error, DicomError):
            raise
        raise Failure(
            f"{error.filename or output}: {error.strerror or error}",
            "the same command goes on from here, when that is mended",
        ) from None
    if "SeriesInstanceUID" in rows.column_names:
        stats["series"] = len(distinct(open_index(output), "SeriesInstanceUID"))
    return stats, work.was_complete


def into_table(rows, output, as_json):
    """Writes a file, or to stdout; the stats."""
    watched = Watched(rows)
    if output is not None:
        try:
            write(watched, output)
        except ValueError as error:
            raise Failure(f"-o {error}") from None
    elif as_json:
        write_jsonl(watched, sys.stdout.buffer)
    else:
        write_csv(watched, sys.stdout.buffer)
    stats = rows.stats
    if watched.series is not None:
        stats["series"] = len(watched.series)
    return stats


def list_errors(indexes, rows, as_json):
    """A line for each file that cannot be read; how many there are."""
    count = 0
    batches = (batch for index in indexes for batch in index.batches(list(ERROR_COLUMNS)))
    for batch in chain(batches, Watched(rows) if rows is not None else ()):
        columns = batch.to_pydict()
        for values in zip(*(columns[name] for name in ERROR_COLUMNS)):
            path, code, offset, reason = values
            if code is None:
                continue
            count += 1
            if as_json:
                click.echo(json.dumps(dict(zip(ERROR_COLUMNS, values)), ensure_ascii=False))
            else:
                path = path if path.isprintable() else json.dumps(path)
                click.echo(f"{path}: {code} at byte {offset}: {reason}")
    return count


@click.command()
@click.argument("sources", nargs=-1, required=True, metavar="SRC...")
@click.option(
    "-o",
    "--output",
    metavar="OUT",
    help="A .parquet, .arrow, .csv or .jsonl file, or, "
    "with a / at its end, an index folder, or a Delta table, delta://PLACE; without it CSV goes to "
    "stdout.",
)
@click.option(
    "--update",
    is_flag=True,
    help="Bring the index folder up to date: read only what is new "
    "or changed (size, time) in the folder or bucket SRC, drop what is gone.",
)
@click.option(
    "--tags",
    metavar="LIST",
    help="Elements, separated by commas: keywords, (gggg,eeee), "
    "(gggg,xxee,CREATOR), Sequence.Element, Sequence[*].Element; @FILE has one a line. "
    f"Without it {len(DEFAULT_TAGS)} of the patient, study, series and image.",
)
@click.option(
    "--threads", type=click.IntRange(1, 1024), help="How many; by default what is fastest."
)
@click.option("--recursive/--no-recursive", default=True, help="Folders in folders, too (default).")
@click.option("--pixels", is_flag=True, help="Adds where the pixel data is, and how many frames.")
@click.option("--frames", is_flag=True, help="--pixels, and where each encapsulated frame is.")
@click.option(
    "--hash",
    "hashes",
    type=click.Choice(["file", "pixels"]),
    multiple=True,
    help="Adds the hash of the whole file, or of its pixel data; both when given twice.",
)
@click.option(
    "--on-error",
    type=click.Choice(["row", "skip", "raise"]),
    default="row",
    help="A file that cannot be read is a row (default), no row, or the end.",
)
@click.option(
    "--errors",
    "only_errors",
    is_flag=True,
    help="Only list the files that cannot be read: path, code, byte and reason.",
)
@click.option("--fail-on-error", is_flag=True, help="Exit with 1 when files could not be read.")
@click.option(
    "--json",
    "as_json",
    is_flag=True,
    help="With -o the counts as JSON on stdout; without it rows as JSON lines.",
)
def scan(
    sources,
    output,
    update,
    tags,
    threads,
    recursive,
    pixels,
    frames,
    hashes,
    on_error,
    only_errors,
    fail_on_error,
    as_json,
):
    """Write the headers of many files as one table, one row a file.

    SRC is a folder, a glob, a file, an archive, an index, or a table with a column
    `path`.
    A scan into an index folder that was stopped goes on with the same command.
    """
    try:
        plan = make_plan(
            None if tags is None else split_tags(tags),
            "frames" if frames else pixels,
            on_error == "skip",
            hashes,
        )
    except ValueError as error:
        raise Failure(f"--tags: {error}") from None
    if update and (output is None or not is_index_name(output)):
        raise click.UsageError("--update goes with -o and an index folder")
    if only_errors:
        if output is not None or on_error != "row":
            raise click.UsageError("--errors goes without -o and --on-error")
        indexes, sources = open_indexes(sources)
        for index in indexes:
            if index.parameters["on_error"] == "skip":
                raise Failure(
                    f"{index.path}: it was made with --on-error skip, and has no errors in it"
                )
        rows = Scan(open_sources(sources, recursive), plan, threads) if sources else None
        count = list_errors(indexes, rows, as_json)
        return 1 if fail_on_error and count else 0
    rows = Scan(open_sources(sources, recursive), plan, threads, on_error=on_error)
    was_complete = False
    if output is not None and is_index_name(output):
        stats, was_complete = into_index(rows, output, update)
    else:
        stats = into_table(rows, output, as_json)
    if output is not None and as_json:
        click.echo(json.dumps(stats))
    counts = [plural(stats["files"], "file")]
    if "series" in stats:
        counts.append(plural(stats["series"], "series"))
    counts += [plural(stats["errors"], "error")]
    if update:
        happened = ", ".join(
            f"{stats[what]:,} {what}" for what in ("same", "changed", "new", "gone")
        )
        click.echo(f"{output} is up to date: {happened}; {', '.join(counts)}", err=True)
    elif was_complete:
        click.echo(f"{output} is complete, and was left as it is: {', '.join(counts)}", err=True)
    else:
        click.echo(f"{', '.join(counts)}, {stats['files_per_second']:,.0f} files/s", err=True)
    return 1 if fail_on_error and stats["errors"] else 0
