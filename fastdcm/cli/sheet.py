"""`fastdcm sheet`: draw a contact sheet with one tile for each series."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click

from fastdcm._util.atomic import write_atomically
from fastdcm.cli import Failure
from fastdcm.cli._picture import picture
from fastdcm.cli._shared import MonitoredScan, open_sources, plural, size_text
from fastdcm.cli.image import picture_format
from fastdcm.errors import DicomError
from fastdcm.reader import dcmread
from fastdcm.scanning.scanner import Scan
from fastdcm.scanning.tags import make_plan

if TYPE_CHECKING:
    from PIL.Image import Image as Picture
    from PIL.ImageFont import FreeTypeFont, ImageFont

TAGS = (
    "PatientID",
    "StudyDate",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "SeriesNumber",
    "SeriesDescription",
    "Modality",
    "InstanceNumber",
)

_MAX_SERIES = 1000  # 1000 tiles need 200 MB while they are drawn
_SIDE = 192  # width and height of the picture in a tile, in pixels
_GAP = 12
_LINE = 15  # height of a line of text, in pixels
_NO_PIXELS = "no pixel data"
_BACKGROUND, _TILE, _TEXT, _DIM, _ERROR = "#101014", "#000000", "#e8e8e8", "#9a9aa2", "#ff9a76"


class Series:
    """One series: what its label shows, and its files."""

    def __init__(self, modality: str | None, number: int | None, description: str | None) -> None:
        self.modality, self.number, self.description = modality, number, description
        # (has no pixel data, Instance Number, path)
        self.files: list[tuple[bool, int, str]] = []
        self.bytes = self.frames = 0

    def middle(self) -> str:
        """Return the path of the middle file, of those with pixel data if there are any."""
        drawn = [file for file in self.files if not file[0]] or self.files
        return sorted(drawn)[len(drawn) // 2][2]

    def lines(self) -> list[str]:
        """Return the lines of the label."""
        title = "  ".join(
            str(value) for value in (self.modality, self.number) if value not in (None, "")
        )
        if not title and not self.description:
            title = os.path.basename(self.files[0][2])
        count = plural(len(self.files), "file")
        if self.frames > len(self.files):
            count += f", {plural(self.frames, 'frame')}"
        label = title, self.description, f"{count}, {size_text(self.bytes)}"
        return [text for text in label if text]


def collect(scan: MonitoredScan) -> tuple[list[Series], int]:
    """Return the series, and how many files could not be read.

    Series are sorted by patient, study date, study and series number.
    """
    found: dict[tuple[str, str, str, int, str], Series] = {}
    errors = 0
    for batch in scan:
        columns = batch.to_pydict()
        for path, size, error, pixels, frames, *values in zip(
            columns["path"],
            columns["size"],
            columns["error"],
            columns["pixel_length"],
            columns["frames"],
            *(columns[tag] for tag in TAGS),
            strict=True,
        ):
            if error is not None:
                errors += 1
                continue
            patient, date, study, uid, number, description, modality, instance = values
            key = (
                patient or "",
                date or "",
                study or "",
                number if number is not None else -1,
                uid or path,
            )
            series = found.setdefault(key, Series(modality, number, description))
            series.files.append((not pixels, instance if instance is not None else 0, path))
            series.bytes += size
            series.frames += frames or 1
    return [found[key] for key in sorted(found)], errors


def thumbnail(path: str) -> tuple[Picture | None, str]:
    """Return the picture of a file, or None and the reason why there is none."""
    from PIL import Image

    try:
        with dcmread(path) as ds:
            if not any(tag in ds for tag in (0x7FE00010, 0x7FE00008, 0x7FE00009)):
                return None, _NO_PIXELS
            drawn = picture(ds).convert("RGB")
    except DicomError as error:
        return None, error.text
    except (ImportError, MemoryError) as error:
        return None, str(error) or "not enough memory"
    scale = min(_SIDE / drawn.width, _SIDE / drawn.height)
    size = max(round(drawn.width * scale), 1), max(round(drawn.height * scale), 1)
    smooth = Image.Resampling.LANCZOS if scale < 1 else Image.Resampling.NEAREST
    return drawn.resize(size, smooth), ""


def draw(series: list[Series]) -> tuple[Picture, int]:
    """Return the sheet, and how many tiles show a reason in place of a picture."""
    from PIL import Image, ImageDraw, ImageFont

    columns = max(1, min(len(series), round((len(series) * 1.5) ** 0.5)))
    rows = -(-len(series) // columns)
    step_x, step_y = _SIDE + _GAP, _SIDE + 3 * _LINE + 2 * _GAP
    sheet = Image.new("RGB", (columns * step_x + _GAP, rows * step_y + _GAP), _BACKGROUND)
    pen, font, failed = ImageDraw.Draw(sheet), ImageFont.load_default(12), 0
    for at, one in enumerate(series):
        x, y = _GAP + at % columns * step_x, _GAP + at // columns * step_y
        pen.rectangle((x, y, x + _SIDE - 1, y + _SIDE - 1), _TILE)
        drawn, reason = thumbnail(one.middle())
        if drawn is not None:
            sheet.paste(drawn, (x + (_SIDE - drawn.width) // 2, y + (_SIDE - drawn.height) // 2))
        else:
            failed += 1
            lines = wrap(reason, font, _SIDE - 2 * _GAP, (_SIDE - 2 * _GAP) // _LINE)
            top = y + (_SIDE - len(lines) * _LINE) // 2
            color = _DIM if reason == _NO_PIXELS else _ERROR
            for line, text in enumerate(lines):
                pen.text((x + _GAP, top + line * _LINE), text, color, font)
        label = one.lines()
        for line, text in enumerate(label):
            pen.text(
                (x, y + _SIDE + 4 + line * _LINE),
                fit(text, font, _SIDE),
                _DIM if text is label[-1] else _TEXT,
                font,
            )
    return sheet, failed


def fit(text: str, font: FreeTypeFont | ImageFont, width: int) -> str:
    """Return the text as one line, shortened to a width in pixels."""
    text = " ".join("".join(c if c.isprintable() else " " for c in text[:200]).split())
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "...") > width:
        text = text[:-1]
    return text.rstrip() + "..."


def wrap(text: str, font: FreeTypeFont | ImageFont, width: int, max_lines: int) -> list[str]:
    """Break the text at spaces into at most `max_lines` lines of a width in pixels."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if font.getlength(longer) <= width or not lines[-1]:
            lines[-1] = longer
        elif len(lines) == max_lines:
            lines[-1] += " ..."
            break
        else:
            lines.append(word)
    return [fit(line, font, width) for line in lines]


@click.command()
@click.argument("sources", nargs=-1, required=True, metavar="SRC...")
@click.option(
    "-o",
    "--output",
    metavar="OUT",
    required=True,
    help="Output file: .png, .jpg, .tif, .bmp or .webp.",
)
@click.option("--recursive/--no-recursive", default=True, help="Include subfolders (default: yes).")
@click.option(
    "--threads",
    type=click.IntRange(1, 1024),
    help="Number of threads that read headers. Default: chosen while running.",
)
def sheet(sources: tuple[str, ...], output: str, recursive: bool, threads: int | None) -> None:
    """Draw a contact sheet: the middle image of every series.

    SRC is a folder, a glob, a file, an archive, a URL, or a table with a `path` column.
    The tile of an image that cannot be decoded shows the reason.
    """
    kind = picture_format(output)
    scan = Scan(open_sources(sources, recursive), make_plan(TAGS, True), threads)
    series, errors = collect(MonitoredScan(scan))
    if not series:
        raise Failure(
            "no DICOM files found",
            "`fastdcm scan SRC --errors` shows why files cannot be read" if errors else None,
        )
    if len(series) > _MAX_SERIES:
        raise Failure(
            f"one sheet holds at most {_MAX_SERIES:,} series, found {len(series):,}",
            "give a folder with fewer series",
        )
    drawn, failed = draw(series)
    write_atomically(output, lambda out: drawn.save(out, kind))
    parts = [plural(len(series), "series"), plural(failed, "tile") + " without a picture"]
    if errors:
        parts.append(plural(errors, "unreadable file") + " left out")
    click.echo(", ".join(parts), err=True)
