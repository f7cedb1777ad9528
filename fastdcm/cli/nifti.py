"""`fastdcm nifti`: convert every series to NIfTI files."""

from __future__ import annotations

import importlib
import os
import re
from typing import TYPE_CHECKING, cast

import click

from fastdcm.cli import Failure
from fastdcm.cli._output import print_line
from fastdcm.cli._shared import open_sources, plural
from fastdcm.errors import DicomError
from fastdcm.volume.result import VolumeError
from fastdcm.volume.series import read_volumes

if TYPE_CHECKING:
    from fastdcm.volume.result import Volume
    from fastdcm.volume.values.quantities import Quantity

_TAGS = ("SeriesNumber", "SeriesDescription")
_LONGEST = 120  # characters of a name
# The names of files are of these on every system.
_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9._-]+")


def file_name(volume: Volume, taken: set[str]) -> str:
    """Return a name without suffix that no other volume has: ``3_t1_EchoTime-10``."""
    number, description = (volume.tags[tag][0] for tag in _TAGS)
    parts = [str(part) for part in (number, description, volume.name) if part not in (None, "")]
    name = _NOT_IN_NAMES.sub("-", "_".join(parts)).strip("-.")[:_LONGEST] or "series"
    unique, count = name, 1
    while unique.lower() in taken:
        count += 1
        unique = f"{name}_{count}"
    taken.add(unique.lower())
    return unique


def notes_of(volume: Volume) -> list[str]:
    """Return what a user should know about the series of a volume that was converted."""
    series = f"series {volume.series_instance_uid}"
    notes = [f"{series}: {finding}" for finding in volume.findings if finding.problem]
    if "run" in volume.key:
        notes.append(f"{series}: divided where the distance between slices changes")
    return notes


@click.command()
@click.argument("sources", nargs=-1, required=True, metavar="SRC...")
@click.option("-o", "--output", metavar="OUT", required=True, help="Folder for the files.")
@click.option("--recursive/--no-recursive", default=True, help="Include subfolders (default: yes).")
@click.option(
    "--3d", "only_3d", is_flag=True, help="Write times, phases and b-values as separate files."
)
@click.option("--resample", is_flag=True, help="Resample gantry tilt and uneven steps.")
@click.option(
    "--quantity", type=click.Choice(["suv", "rwv"]), help="Write SUV, or real world values."
)
@click.option("--no-compress", is_flag=True, help="Write .nii, not .nii.gz.")
@click.option(
    "--threads", type=click.IntRange(1, 1024), help="Number of threads. Default: one for each CPU."
)
def nifti(
    sources: tuple[str, ...],
    output: str,
    recursive: bool,
    only_3d: bool,
    resample: bool,
    quantity: str | None,
    no_compress: bool,
    threads: int | None,
) -> None:
    """Convert every series to NIfTI.

    SRC is a folder, a glob, a file, an archive, a URL, an index, or a table with a `path`
    column. A file is named after Series Number, Series Description, and what distinguishes
    it from the other volumes of its series, and replaces one of that name. Diffusion series
    have .bval and .bvec files. The names are printed, and on standard error what
    was found. A series that cannot be converted is an error, and the exit status is 2.
    """
    importlib.import_module("nibabel")  # before anything is read
    volumes = read_volumes(
        open_sources(sources, recursive),
        tags=_TAGS,
        on_problem="split",
        dims=None if only_3d else "auto",
        resample=resample,
        quantity=cast("Quantity | None", quantity),
        threads=threads,
    )
    try:
        os.makedirs(output, exist_ok=True)
    except FileExistsError:
        raise Failure(f"{output}: not a folder", "choose another folder with -o") from None
    taken: set[str] = set()
    noted: set[str] = set()
    failed = 0
    for volume in volumes:
        if isinstance(volume, VolumeError):
            failed += 1
            uid = volume.series_instance_uid
            series = f"series {uid}: " if uid else ""
            print_line(f"error: {series}{volume}", err=True)
            continue
        path = os.path.join(
            output, file_name(volume, taken) + (".nii" if no_compress else ".nii.gz")
        )
        try:
            volume.to_nifti(path)
        except DicomError as error:
            failed += 1
            print_line(f"error: {path}: {error}", err=True)
            continue
        print_line(path)
        for note in notes_of(volume):
            if note not in noted:
                noted.add(note)
                print_line(f"note: {note}", err=True)
    if failed:
        raise Failure(f"{plural(failed, 'series')} not converted")
