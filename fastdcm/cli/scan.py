"""fastdcm scan: headers to a table."""

import json
import sys

import click

from fastdcm import tables
from fastdcm.bulk import DEFAULT_TAGS, Scan, make_plan
from fastdcm.cli import Failure
from fastdcm.cli._shared import Watched, open_sources, plural


def split_tags(text):
    """ "A,(0019,xx0C,X),@file" to a list; a comma in brackets is none. """
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


@click.command()
@click.argument("sources", nargs=-1, required=True, metavar="SRC...")
@click.option("-o", "--output", metavar="OUT", help="A .parquet, .arrow, .csv or .jsonl file; "
              "without it CSV goes to stdout.")
@click.option("--tags", metavar="LIST", help="Elements, separated by commas: keywords, (gggg,eeee), "
              "(gggg,xxee,CREATOR), Sequence.Element, Sequence[*].Element; @FILE has one a line. "
              f"Without it {len(DEFAULT_TAGS)} of the patient, study, series and image.")
@click.option("--threads", type=click.IntRange(1, 1024), help="How many; by default what is fastest.")
@click.option("--recursive/--no-recursive", default=True, help="Folders in folders, too (default).")
@click.option("--pixels", is_flag=True, help="Adds where the pixel data is, and how many frames.")
@click.option("--frames", is_flag=True, help="--pixels, and where each encapsulated frame is.")
@click.option("--on-error", type=click.Choice(["row", "skip", "raise"]), default="row",
              help="A file that cannot be read is a row (default), no row, or the end.")
@click.option("--fail-on-error", is_flag=True, help="Exit with 1 when files could not be read.")
@click.option("--json", "as_json", is_flag=True,
              help="With -o the counts as JSON on stdout; without it rows as JSON lines.")
def scan(sources, output, tags, threads, recursive, pixels, frames, on_error, fail_on_error, as_json):
    """Write the headers of many files as one table, one row a file.

    SRC is a folder, a glob, a file, a URL (s3://bucket/prefix/, https://...), or a
    table with a column `path`.
    """
    try:
        plan = make_plan(None if tags is None else split_tags(tags), "frames" if frames else pixels,
                         on_error == "skip")
    except ValueError as error:
        raise Failure(f"--tags: {error}") from None
    rows = Scan(open_sources(sources, recursive), plan, threads, on_error=on_error)
    watched = Watched(rows)
    if output is not None:
        try:
            tables.write(watched, output)
        except ValueError as error:
            raise Failure(f"-o {error}") from None
    elif as_json:
        tables.write_jsonl(watched, sys.stdout.buffer)
    else:
        tables.write_csv(watched, sys.stdout.buffer)
    stats = rows.stats
    if watched.series is not None:
        stats["series"] = len(watched.series)
    if output is not None and as_json:
        click.echo(json.dumps(stats))
    counts = [plural(stats["files"], "file")]
    if watched.series is not None:
        counts.append(plural(len(watched.series), "series"))
    counts += [plural(stats["errors"], "error"), f"{stats['files_per_second']:,.0f} files/s"]
    click.echo(", ".join(counts), err=True)
    return 1 if fail_on_error and stats["errors"] else 0
