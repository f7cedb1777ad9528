"""fastdcm sheet: a folder's series on one page."""

import os

import click

from fastdcm._util.atomic import write_atomically
from fastdcm.cli import Failure
from fastdcm.cli._picture import picture
from fastdcm.cli._shared import Watched, open_sources, plural, size_text
from fastdcm.cli.image import picture_format
from fastdcm.errors import DicomError
from fastdcm.reader import dcmread
from fastdcm.scanning.scanner import Scan
from fastdcm.scanning.tags import make_plan

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

_MOST = 1000  # series of a sheet: 1000 tiles are 200 MB while they are drawn
_SIDE = 192  # pixels of a tile's picture
_GAP = 12
_LINE = 15  # pixels from one line of text to the next
_NONE = "no pixel data"
_BACK, _FRAME, _TEXT, _DIM, _BAD = "#101014", "#000000", "#e8e8e8", "#9a9aa2", "#ff9a76"


class Series:
    """Its facts, and its files as (has no pixels, Instance Number, path)."""

    def __init__(self, modality, number, description):
        self.modality, self.number, self.description = modality, number, description
        self.files, self.bytes, self.frames = [], 0, 0

    def middle(self):
        """The path of the middle one of the files with pixels, or of any."""
        drawn = [file for file in self.files if not file[0]] or self.files
        return sorted(drawn)[len(drawn) // 2][2]

    def lines(self):
        """What the label says."""
        title = "  ".join(
            str(fact) for fact in (self.modality, self.number) if fact not in (None, "")
        )
        if not title and not self.description:
            title = os.path.basename(self.files[0][2])
        count = plural(len(self.files), "file")
        if self.frames > len(self.files):
            count += f", {plural(self.frames, 'frame')}"
        facts = title, self.description, f"{count}, {size_text(self.bytes)}"
        return [fact for fact in facts if fact]


def collect(scan):
    """The Series in the order of patient, study date, study and number, and how
    many files are none."""
    found, errors = {}, 0
    for batch in scan:
        columns = batch.to_pydict()
        for path, size, error, pixels, frames, *values in zip(
            columns["path"],
            columns["size"],
            columns["error"],
            columns["pixel_length"],
            columns["frames"],
            *(columns[tag] for tag in TAGS),
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


def thumbnail(path):
    """(a picture or None, why there is none)."""
    from PIL import Image

    try:
        with dcmread(path) as ds:
            if not any(tag in ds for tag in (0x7FE00010, 0x7FE00008, 0x7FE00009)):
                return None, _NONE
            drawn = picture(ds).convert("RGB")
    except DicomError as error:
        return None, error.text
    except (ImportError, MemoryError) as error:
        return None, str(error) or "not enough memory"
    scale = min(_SIDE / drawn.width, _SIDE / drawn.height)
    size = [max(round(side * scale), 1) for side in drawn.size]
    smooth = Image.Resampling.LANCZOS if scale < 1 else Image.Resampling.NEAREST
    return drawn.resize(size, smooth), None


def draw(series):
    """The sheet, a Pillow image, and how many tiles show a reason."""
    from PIL import Image, ImageDraw, ImageFont

    columns = max(1, min(len(series), round((len(series) * 1.5) ** 0.5)))
    rows = -(-len(series) // columns)
    step_x, step_y = _SIDE + _GAP, _SIDE + 3 * _LINE + 2 * _GAP
    sheet = Image.new("RGB", (columns * step_x + _GAP, rows * step_y + _GAP), _BACK)
    pen, font, failed = ImageDraw.Draw(sheet), ImageFont.load_default(12), 0
    for at, one in enumerate(series):
        x, y = _GAP + at % columns * step_x, _GAP + at // columns * step_y
        pen.rectangle((x, y, x + _SIDE - 1, y + _SIDE - 1), _FRAME)
        drawn, reason = thumbnail(one.middle())
        if drawn is not None:
            sheet.paste(drawn, (x + (_SIDE - drawn.width) // 2, y + (_SIDE - drawn.height) // 2))
        else:
            failed += 1
            lines = wrap(reason, font, _SIDE - 2 * _GAP, (_SIDE - 2 * _GAP) // _LINE)
            top = y + (_SIDE - len(lines) * _LINE) // 2
            for line, text in enumerate(lines):
                pen.text(
                    (x + _GAP, top + line * _LINE), text, _DIM if reason == _NONE else _BAD, font
                )
        label = one.lines()
        for line, text in enumerate(label):
            pen.text(
                (x, y + _SIDE + 4 + line * _LINE),
                fit(text, font, _SIDE),
                _DIM if text is label[-1] else _TEXT,
                font,
            )
    return sheet, failed


def fit(text, font, width):
    """The text on one line, cut where it is wider."""
    text = " ".join("".join(c if c.isprintable() else " " for c in text[:200]).split())
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "...") > width:
        text = text[:-1]
    return text.rstrip() + "..."


def wrap(text, font, width, most):
    """The text on lines of words, at most so many."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if font.getlength(longer) <= width or not lines[-1]:
            lines[-1] = longer
        elif len(lines) == most:
            lines[-1] += " ..."
            break
        else:
            lines.append(word)
    return [fit(line, font, width) for line in lines]


@click.command()
@click.argument("sources", nargs=-1, required=True, metavar="SRC...")
@click.option(
    "-o", "--output", metavar="OUT", required=True, help="A .png, .jpg, .tif, .bmp or .webp file."
)
@click.option("--recursive/--no-recursive", default=True, help="Folders in folders, too (default).")
@click.option(
    "--threads",
    type=click.IntRange(1, 1024),
    help="How many read headers; by default what is fastest.",
)
def sheet(sources, output, recursive, threads):
    """Draw a contact sheet: every series with its middle image.

    SRC is a folder, a glob, a file, an archive, a URL, or a table with a column
    `path`. An image that cannot be decoded is a tile that says why.
    """
    kind = picture_format(output)
    scan = Scan(open_sources(sources, recursive), make_plan(TAGS, True), threads)
    series, errors = collect(Watched(scan))
    if not series:
        raise Failure(
            "there is no DICOM file to draw",
            "`fastdcm scan` tells why files cannot be read" if errors else None,
        )
    if len(series) > _MOST:
        raise Failure(
            f"{len(series):,} series are more than one sheet holds",
            f"give a folder with at most {_MOST:,}",
        )
    drawn, failed = draw(series)
    write_atomically(output, lambda out: drawn.save(out, kind))
    told = [plural(len(series), "series"), plural(failed, "tile") + " without a picture"]
    if errors:
        told.append(plural(errors, "file") + " left out")
    click.echo(", ".join(told), err=True)
