"""fastdcm image: one picture of one file."""

import os

import click

from fastdcm._util.atomic import write_atomically
from fastdcm.cli import Failure
from fastdcm.cli._picture import frame_count, is_grey, picture
from fastdcm.errors import DicomError
from fastdcm.reader import dcmread


def picture_format(path):
    """Pillow's name of the format that a path's ending means."""
    from PIL import Image

    kind = Image.registered_extensions().get(os.path.splitext(path)[1].lower())
    if kind not in ("PNG", "JPEG", "TIFF", "BMP", "WEBP"):
        raise Failure(
            f"-o {path}: no picture format has this ending", "use .png, .jpg, .tif, .bmp or .webp"
        )
    return kind


@click.command()
@click.argument("file")
@click.option(
    "-o", "--output", metavar="OUT", required=True, help="A .png, .jpg, .tif, .bmp or .webp file."
)
@click.option(
    "--frame",
    type=click.IntRange(1),
    metavar="N",
    help="Which frame, from 1; the middle one by default.",
)
@click.option(
    "--window",
    type=float,
    nargs=2,
    metavar="C W",
    help="Window center and width, in place of the file's own.",
)
@click.option(
    "--voi",
    type=click.IntRange(1),
    metavar="N",
    help="Which of the file's windows or VOI tables, from 1.",
)
def image(file, output, frame, window, voi):
    """Draw one frame of FILE as a radiology workstation shows it.

    Greyscale goes through the file's first VOI table or window, or from its
    lowest to its highest value where it has none; colour becomes RGB; overlays
    are drawn in; pixels that are not square are stretched.
    """
    if window and voi:
        raise Failure("--window and --voi exclude each other")
    kind = picture_format(output)
    ds = dcmread(file)
    if (window or voi) and not is_grey(ds):
        raise Failure(
            f"{file}: the image is {ds.get('PhotometricInterpretation')}, and windows "
            "are for greyscale",
            "leave out --window and --voi",
        )
    count = frame_count(ds)
    if frame is not None and frame > count:
        raise Failure(f"{file}: there is no frame {frame}", f"--frame goes from 1 to {count}")
    try:
        drawn = picture(ds, None if frame is None else frame - 1, window or None, (voi or 1) - 1)
    except IndexError:
        raise Failure(f"{file}: there is no window or VOI table {voi}") from None
    except AttributeError as error:
        if any(tag in ds for tag in (0x7FE00010, 0x7FE00008, 0x7FE00009)):
            raise
        raise Failure(f"{file}: {error}") from None
    except DicomError as error:
        if error.code == "lut" and not window and is_grey(ds):
            raise Failure(str(error), "--window C W shows it all the same") from None
        raise
    write_atomically(output, lambda out: drawn.save(out, kind))
