"""`fastdcm image`: draw one frame of one file."""

from __future__ import annotations

import os

import click

from fastdcm._util.atomic import write_atomically
from fastdcm.cli import Failure
from fastdcm.cli._picture import is_grayscale, picture
from fastdcm.reader import dcmread


def picture_format(path: str) -> str:
    """Return Pillow's name of the format for the extension of a path."""
    from PIL import Image

    kind: str | None = Image.registered_extensions().get(os.path.splitext(path)[1].lower())
    if kind not in ("PNG", "JPEG", "TIFF", "BMP", "WEBP"):
        raise Failure(
            f"-o {path}: not a supported picture format",
            "use a name that ends in .png, .jpg, .tif, .bmp or .webp",
        )
    return kind


@click.command()
@click.argument("file")
@click.option(
    "-o",
    "--output",
    metavar="OUT",
    required=True,
    help="Output file: .png, .jpg, .tif, .bmp or .webp.",
)
@click.option(
    "--frame",
    type=click.IntRange(1),
    metavar="N",
    help="Frame number, from 1. Default: the middle frame.",
)
@click.option(
    "--window",
    type=float,
    nargs=2,
    metavar="C W",
    help="Window center and width, in place of those in the file.",
)
@click.option(
    "--voi",
    type=click.IntRange(1),
    metavar="N",
    help="Number of the window or VOI LUT in the file, from 1.",
)
def image(
    file: str,
    output: str,
    frame: int | None,
    window: tuple[float, float] | None,
    voi: int | None,
) -> None:
    """Draw one frame of FILE as a radiology workstation displays it.

    Grayscale images use the first VOI LUT or window of the file, or the range from the
    lowest to the highest value if it has none. Color images become RGB. Overlays are
    drawn in, and pixels that are not square are stretched.
    """
    if window and voi:
        raise Failure("--window and --voi cannot be used together")
    kind = picture_format(output)
    ds = dcmread(file)
    if (window or voi) and not is_grayscale(ds):
        raise Failure(
            f"{file}: windows apply to grayscale images only, and this image is "
            f"{ds.get('PhotometricInterpretation')}",
            "remove --window and --voi",
        )
    try:
        count = len(ds.frames)
    except AttributeError as error:
        raise Failure(f"{file}: {error}") from None
    if frame is not None and frame > count:
        raise Failure(
            f"{file}: there is no frame {frame}", f"--frame must be between 1 and {count}"
        )
    try:
        drawn = picture(ds, None if frame is None else frame - 1, window or None, (voi or 1) - 1)
    except IndexError:
        raise Failure(f"{file}: there is no window or VOI LUT number {voi}") from None
    write_atomically(output, lambda out: drawn.save(out, kind))
