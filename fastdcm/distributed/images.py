"""Files to decoded frames with their tags, a row a frame."""

import numpy as np
import pyarrow

from fastdcm.errors import DicomError
from fastdcm.ml.batches import read_batch
from fastdcm.ml.samples import COLUMNS, Samples
from fastdcm.reader import dcmread
from fastdcm.scanning.scanner import scan

_FILES = 64  # whose headers are read before their frames
_BYTES = 16 << 20  # of images, at most, that are handed out together


def read_images(piece, tags, columns, on_error="row", threads=1):
    """Yields (rows, images): a pyarrow.Table of `columns` and ``frame``, and a
    float32 array (len(rows), samples per pixel, height, width).

    piece : Piece, or a list of paths. tags : the elements in `columns`, by name.
    on_error : "row", "skip" or "raise", as in `fastdcm.scan`.

    Values are of the modality (PS3.3 C.11.1), colour is as it is stored. Frames
    that cannot be read, and files without pixels, come after the others of their
    piece, as rows with an image of no pixels; of a file that breaks off, the
    first frame that is not there stands for all of these.
    """
    tags = list(dict.fromkeys([*COLUMNS, *tags]))
    pixels = "frames" if "frame_offsets" in columns else True
    for first in range(0, len(piece), _FILES):
        table = scan(
            piece[first : first + _FILES],
            tags,
            pixels=pixels,
            threads=threads,
            on_error="raise" if on_error == "raise" else "row",
        ).read_all()
        without = []
        for rows, frames, images in _images(table, threads, without):
            yield _rows(table, columns, rows, frames), images
        for _, _, error in without:
            if error is not None and on_error == "raise":
                raise error
        if without and on_error != "skip":
            rows, frames, errors = zip(*without)
            yield (
                _rows(table, columns, rows, frames, errors),
                np.empty((len(rows), 0, 0, 0), np.float32),
            )


def image_bytes(source):
    """How large the images of these files are, together."""
    samples = Samples(source)
    layout = samples.layout(np.arange(len(samples)))
    return 4 * int((layout["rows"].astype(np.int64) * layout["columns"] * layout["samples"]).sum())


def _images(table, threads, without):
    """Yields (rows of the table, frames, images). What has no image is put into
    `without`: (row, frame or None, DicomError or None)."""
    samples = Samples(table.append_column("row", pyarrow.array(np.arange(len(table)))), ["row"])
    indices = np.arange(len(samples))
    rows = samples.labels(indices)["row"]
    frames = samples.files(indices)[1]
    layout = samples.layout(indices)
    for piece in _alike(np.stack([layout["rows"], layout["columns"], layout["samples"]], 1)):
        height, width, channels = (
            int(layout[name][piece.start]) for name in ("rows", "columns", "samples")
        )
        images = np.empty((piece.stop - piece.start, height, width, channels), np.float32)
        errors = read_batch(
            samples,
            indices[piece],
            samples.records(indices[piece]),
            images,
            "rescale",
            threads=threads,
        )
        good = np.ones(len(images), bool)
        for i, error in errors:
            good[i] = False
            without.append((int(rows[piece][i]), int(frames[piece][i]), error))
        images = np.ascontiguousarray(images.transpose(0, 3, 1, 2))
        if not good.all():
            images = images[good]
        if len(images):
            yield rows[piece][good], frames[piece][good], images
    read = np.bincount(rows, minlength=len(table))
    told = table.column("frames").fill_null(0).to_numpy()
    pixels = table.column("pixel_offset").is_valid().to_numpy()
    for row in np.flatnonzero((read < told) | (read == 0)).tolist():
        if pixels[row]:
            frame = int(read[row])
            without.append((row, frame, _why(table.column("path")[row].as_py(), frame)))
        else:
            without.append((row, None, None))
    without.sort(key=lambda found: found[0])


def _alike(shapes):
    """Slices of frames of one shape, of about `_BYTES`."""
    borders = (np.flatnonzero((shapes[1:] != shapes[:-1]).any(1)) + 1).tolist()
    for begin, end in zip([0, *borders], [*borders, len(shapes)]):
        if begin < end:
            step = max(1, _BYTES // (4 * int(shapes[begin].astype(np.int64).prod())))
            yield from (slice(at, min(at + step, end)) for at in range(begin, end, step))


def _why(path, frame):
    """Why there is no such frame, though there are pixels."""
    try:
        dcmread(path).frames[frame]
    except DicomError as error:
        return error
    except IndexError as error:
        return DicomError(str(error), "frame-count", filename=path)
    except AttributeError as error:
        return DicomError(str(error), "pixels", filename=path)
    return DicomError("attributes and pixel data do not fit each other", "pixels", filename=path)


def _rows(table, columns, rows, frames, errors=()):
    """The rows of these frames, with the errors that some of them have."""
    found = table.take(pyarrow.array(rows, "int64"))
    for name, value in (("error", "code"), ("error_offset", "offset"), ("error_detail", "text")):
        if any(errors):
            values = found.column(name).to_pylist()
            for i, error in enumerate(errors):
                values[i] = values[i] if error is None else getattr(error, value)
            place = found.schema.get_field_index(name)
            found = found.set_column(
                place, name, pyarrow.array(values, found.schema.field(place).type)
            )
    return found.select(columns).append_column("frame", pyarrow.array(frames, "int64"))
