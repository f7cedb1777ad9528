"""`fastdcm summary`: print a tree of patients, studies and series."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any

import click

from fastdcm.cli import Failure
from fastdcm.cli._output import print_json, print_line
from fastdcm.cli._shared import MonitoredScan, open_indexes, open_sources, plural, size_text
from fastdcm.scanning.scanner import Scan
from fastdcm.scanning.tags import make_plan

if TYPE_CHECKING:
    from fastdcm.scanning.index.folder import IndexFolder

TAGS = (
    "PatientID",
    "PatientName",
    "PatientBirthDate",
    "PatientSex",
    "StudyInstanceUID",
    "StudyDate",
    "StudyDescription",
    "SeriesInstanceUID",
    "SeriesNumber",
    "SeriesDescription",
    "Modality",
)


# A patient, study or series: its attributes, "files", "bytes", and the nodes below it
# in "children" by their identifier.
Node = dict[str, Any]


def new_node(**attributes: str | int | None) -> Node:
    """Return a node without files."""
    return {**attributes, "files": 0, "bytes": 0, "children": {}}


def columns_of(index: IndexFolder) -> Iterator[dict[str, list[Any]]]:
    """Yield the columns of an index that the tree needs, batch by batch.

    Raises Failure if a column that identifies patients, studies or series is missing.
    """
    available = set(index.schema.names)
    missing = [
        tag for tag in TAGS if tag.endswith(("PatientID", "InstanceUID")) and tag not in available
    ]
    if missing:
        raise Failure(
            f"{index.path}: the index has no {', '.join(missing)} column",
            "give the folder that was scanned",
        )
    names = [name for name in ("path", "size", "error", *TAGS) if name in available]
    for batch in index.batches(names):
        yield {**dict.fromkeys(TAGS, [None] * len(batch)), **batch.to_pydict()}


def collect(
    batches: Iterable[dict[str, list[Any]]],
) -> tuple[Node, dict[str, dict[str, Any]]]:
    """Build the tree from batches of columns.

    Returns its root, and for each error code the number of files and the first path.
    """
    root = new_node()
    errors: dict[str, dict[str, Any]] = {}
    for columns in batches:
        for row in zip(
            columns["path"],
            columns["size"],
            columns["error"],
            *(columns[tag] for tag in TAGS),
            strict=True,
        ):
            path, size, error, *values = row
            if error is not None:
                entry = errors.setdefault(error, {"count": 0, "first": path})
                entry["count"] += 1
                continue
            (
                patient,
                name,
                birth,
                sex,
                study,
                date,
                study_text,
                series,
                number,
                series_text,
                modality,
            ) = values
            levels = (
                (
                    patient or "",
                    {
                        "PatientID": patient,
                        "PatientName": name,
                        "PatientBirthDate": birth,
                        "PatientSex": sex,
                    },
                ),
                (
                    study or "",
                    {"StudyInstanceUID": study, "StudyDate": date, "StudyDescription": study_text},
                ),
                (
                    series or "",
                    {
                        "SeriesInstanceUID": series,
                        "SeriesNumber": number,
                        "Modality": modality,
                        "SeriesDescription": series_text,
                    },
                ),
            )
            node = root
            node["files"] += 1
            node["bytes"] += size
            for key, attributes in levels:
                below = node["children"]
                if key not in below:
                    below[key] = new_node(**attributes)
                node = below[key]
                node["files"] += 1
                node["bytes"] += size
    return root, errors


def children(node: Node) -> Iterable[Node]:
    """Return the nodes one level below a node."""
    nodes: dict[str, Node] = node["children"]
    return nodes.values()


def as_lists(
    node: Node, names: Sequence[str] = ("patients", "studies", "series")
) -> dict[str, Any]:
    """Return the tree as nested lists, as ``--json`` prints it."""
    node = dict(node)
    below = node.pop("children")
    if names:
        node[names[0]] = [as_lists(child, names[1:]) for child in below.values()]
    return node


def line(node: Node, *values: str | int | None) -> str:
    """Return the text of one node."""
    texts = [str(value) for value in values if value not in (None, "")]
    return f"{'  '.join(texts)}  [{plural(node['files'], 'file')}, {size_text(node['bytes'])}]"


def tree(root: Node, errors: dict[str, dict[str, Any]]) -> Iterator[str]:
    """Yield the lines of the tree as text."""
    for patient in children(root):
        yield line(
            patient,
            patient["PatientID"] or "(no PatientID)",
            patient["PatientName"],
            patient["PatientBirthDate"],
            patient["PatientSex"],
        )
        studies = list(children(patient))
        for study in studies:
            last_study = study is studies[-1]
            yield ("└── " if last_study else "├── ") + line(
                study,
                study["StudyDate"],
                study["StudyDescription"],
                study["StudyInstanceUID"] or "(no StudyInstanceUID)",
            )
            stem = "    " if last_study else "│   "
            listed = list(children(study))
            for series in listed:
                yield (
                    stem
                    + ("└── " if series is listed[-1] else "├── ")
                    + line(
                        series,
                        series["SeriesNumber"],
                        series["Modality"],
                        series["SeriesDescription"],
                        series["SeriesInstanceUID"] or "(no SeriesInstanceUID)",
                    )
                )
    for name, error in errors.items():
        yield f"{plural(error['count'], 'error')} {name}, the first in {error['first']}"


@click.command()
@click.argument("sources", nargs=-1, required=True, metavar="SRC...")
@click.option("--recursive/--no-recursive", default=True, help="Include subfolders (default: yes).")
@click.option(
    "--threads",
    type=click.IntRange(1, 1024),
    help="Number of threads. Default: chosen while running.",
)
@click.option("--fail-on-error", is_flag=True, help="Exit with status 1 if any file is unreadable.")
@click.option("--json", "as_json", is_flag=True, help="Print the tree as JSON.")
def summary(
    sources: tuple[str, ...],
    recursive: bool,
    threads: int | None,
    fail_on_error: bool,
    as_json: bool,
) -> int:
    """Show patients, studies and series with counts, sizes and errors.

    SRC is a folder, a glob, a file, an archive, a URL, a table with a `path` column, or
    an index folder. The rows of an index folder are used as they are: its files are not
    read again.
    """
    indexes, others = open_indexes(sources)
    batches: list[Iterable[dict[str, list[Any]]]] = [columns_of(index) for index in indexes]
    if others:
        scan = MonitoredScan(Scan(open_sources(others, recursive), make_plan(TAGS), threads))
        batches.append(batch.to_pydict() for batch in scan)
    root, errors = collect(chain.from_iterable(batches))
    error_count = sum(error["count"] for error in errors.values())
    studies = [study for patient in children(root) for study in children(patient)]
    counts = {
        "files": root["files"] + error_count,
        "bytes": root["bytes"],
        "patients": len(root["children"]),
        "studies": len(studies),
        "series": sum(len(study["children"]) for study in studies),
        "errors": error_count,
    }
    if as_json:
        document = {"counts": counts, "patients": as_lists(root)["patients"], "errors": errors}
        print_json(document)
    else:
        for text in tree(root, errors):
            print_line(text)
        totals = [
            plural(counts["files"], "file"),
            size_text(counts["bytes"]),
            plural(counts["patients"], "patient"),
            plural(counts["studies"], "study"),
            plural(counts["series"], "series"),
            plural(counts["errors"], "error"),
        ]
        print_line(", ".join(totals))
    return 1 if fail_on_error and error_count else 0
