"""fastdcm summary: which patients, studies and series are there."""

import json
from itertools import chain

import click

from fastdcm.cli import Failure
from fastdcm.cli._shared import Watched, open_indexes, open_sources, plural, size_text
from fastdcm.scanning.scanner import Scan
from fastdcm.scanning.tags import make_plan

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


def new_node(**facts):
    return {**facts, "files": 0, "bytes": 0, "inside": {}}


def columns_of(index):
    """The columns of an index that make the tree, batch by batch. Those that
    tell patients, studies and series apart must be there."""
    there = set(index.schema.names)
    missing = [
        tag for tag in TAGS if tag.endswith(("PatientID", "InstanceUID")) and tag not in there
    ]
    if missing:
        raise Failure(
            f"{index.path}: the index has no {', '.join(missing)}",
            "give the folder that was scanned",
        )
    names = [name for name in ("path", "size", "error", *TAGS) if name in there]
    for batch in index.batches(names):
        yield {**dict.fromkeys(TAGS, [None] * len(batch)), **batch.to_pydict()}


def collect(batches):
    """The tree, and the errors by name: {"count", "first"}, from dicts of
    columns."""
    root, errors = new_node(), {}
    for columns in batches:
        for row in zip(
            columns["path"], columns["size"], columns["error"], *(columns[tag] for tag in TAGS)
        ):
            path, size, error, *values = row
            if error is not None:
                known = errors.setdefault(error, {"count": 0, "first": path})
                known["count"] += 1
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
            for key, facts in levels:
                children = node["inside"]
                if key not in children:
                    children[key] = new_node(**facts)
                node = children[key]
                node["files"] += 1
                node["bytes"] += size
    return root, errors


def inside(node):
    return node["inside"].values()


def as_lists(node, names=("patients", "studies", "series")):
    """The tree as JSON has it."""
    node = dict(node)
    children = node.pop("inside")
    if names:
        node[names[0]] = [as_lists(child, names[1:]) for child in children.values()]
    return node


def line(node, *facts):
    facts = [str(fact) for fact in facts if fact not in (None, "")]
    return f"{'  '.join(facts)}  [{plural(node['files'], 'file')}, {size_text(node['bytes'])}]"


def tree(root, errors):
    """The lines that a person reads."""
    for patient in inside(root):
        yield line(
            patient,
            patient["PatientID"] or "(no PatientID)",
            patient["PatientName"],
            patient["PatientBirthDate"],
            patient["PatientSex"],
        )
        studies = list(inside(patient))
        for study in studies:
            last_study = study is studies[-1]
            yield ("└── " if last_study else "├── ") + line(
                study,
                study["StudyDate"],
                study["StudyDescription"],
                study["StudyInstanceUID"] or "(no StudyInstanceUID)",
            )
            stem = "    " if last_study else "│   "
            listed = list(inside(study))
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
@click.option("--recursive/--no-recursive", default=True, help="Folders in folders, too (default).")
@click.option(
    "--threads", type=click.IntRange(1, 1024), help="How many; by default what is fastest."
)
@click.option("--fail-on-error", is_flag=True, help="Exit with 1 when files could not be read.")
@click.option("--json", "as_json", is_flag=True, help="The tree as JSON.")
def summary(sources, recursive, threads, fail_on_error, as_json):
    """Show patients, studies and series, with counts, sizes and errors.

    SRC is a folder, a glob, a file, an archive, a URL, a table with a column
    `path`, or an index folder, whose files are not read again.
    """
    indexes, sources = open_indexes(sources)
    batches = [columns_of(index) for index in indexes]
    if sources:
        scan = Watched(Scan(open_sources(sources, recursive), make_plan(TAGS), threads))
        batches.append(batch.to_pydict() for batch in scan)
    root, errors = collect(chain.from_iterable(batches))
    n_errors = sum(error["count"] for error in errors.values())
    studies = [study for patient in inside(root) for study in inside(patient)]
    counts = {
        "files": root["files"] + n_errors,
        "bytes": root["bytes"],
        "patients": len(root["inside"]),
        "studies": len(studies),
        "series": sum(len(study["inside"]) for study in studies),
        "errors": n_errors,
    }
    if as_json:
        click.echo(
            json.dumps(
                {"counts": counts, "patients": as_lists(root)["patients"], "errors": errors},
                ensure_ascii=False,
            )
        )
    else:
        for text in tree(root, errors):
            click.echo(text)
        click.echo(
            ", ".join(
                [
                    plural(counts["files"], "file"),
                    size_text(counts["bytes"]),
                    plural(counts["patients"], "patient"),
                    plural(counts["studies"], "study"),
                    plural(counts["series"], "series"),
                    plural(counts["errors"], "error"),
                ]
            )
        )
    return 1 if fail_on_error and counts["errors"] else 0
