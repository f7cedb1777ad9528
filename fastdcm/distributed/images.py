"""Read files into decoded frames with their tags, one row a frame."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow

from fastdcm.distributed.partitions import Partition
from fastdcm.errors import DicomError
from fastdcm.ml.batches import read_batch
from fastdcm.ml.samples import Samples
from fastdcm.ml.tables import COLUMNS
from fastdcm.reader import dcmread
from fastdcm.scanning.scanner import scan

if TYPE_CHECKING:
    import os

_Images = npt.NDArray[np.float32]
_Ints = npt.NDArray[np.int64]
OnError = Literal["row", "skip", "raise"]

_FILES_PER_SCAN = 64  # whose headers are read before their frames
_MAX_BYTES = 16 << 20  # of the images that are yielded together


class _Missing(NamedTuple):
    """A row without an image: a frame that cannot be read, or a file without pixel data."""

    row: int
    frame: int | None
    error: DicomError | None


def read_images(
    files: Partition | Sequence[str | os.PathLike[str]],
    tags: Iterable[str],
    columns: Sequence[str],
    on_error: OnError = "row",
    threads: int = 1,
) -> Iterator[tuple[pyarrow.Table, _Images]]:
    """Read the frames of files, some at a time.

    Values are modality values (PS3.3 C.11.1); colors are not converted.

    Parameters
    ----------
    files : Partition or sequence of paths
    tags : iterable of str
        The elements among `columns`.
    columns : sequence of str
        Of a scan.
    on_error : "row", "skip" or "raise"
        As of `fastdcm.scan`. Frames that cannot be read, and files without pixel
        data, are rows without an image, no rows, or raise their DicomError. Of a
        truncated file, the first missing frame represents all of them.
    threads : int

    Yields
    ------
    rows : pyarrow.Table
        The columns, and ``frame``, the number of the frame in its file.
    images : (rows, samples per pixel, height, width) float32 array
        Of shape (rows, 0, 0, 0) for rows without an image, which come last.
    """
    tags = list(dict.fromkeys([*COLUMNS, *tags]))
    for first in range(0, len(files), _FILES_PER_SCAN):
        table = scan(
            files[first : first + _FILES_PER_SCAN],
            tags,
            pixels="frames" if "frame_offsets" in columns else True,
            threads=threads,
            on_error="raise" if on_error == "raise" else "row",
        ).read_all()
        missing: list[_Missing] = []
        for rows, frames, images in _images_of(table, threads, missing):
            yield _rows_of(table, columns, rows, frames), images
        missing.sort(key=lambda each: each.row)
        if on_error == "raise":
            for each in missing:
                if each.error is not None:
                    raise each.error
        if missing and on_error != "skip":
            yield (
                _rows_of(
                    table,
                    columns,
                    [each.row for each in missing],
                    [each.frame for each in missing],
                    [each.error for each in missing],
                ),
                np.empty((len(missing), 0, 0, 0), np.float32),
            )


def image_bytes(files: Sequence[bytes | str | os.PathLike[str]]) -> int:
    """Return the size of the images of files.

    Parameters
    ----------
    files : sequence of paths

    Returns
    -------
    int
        In bytes, as float32.
    """
    samples = Samples(files)
    layout = samples.layout(np.arange(len(samples)))
    cells = layout["rows"].astype(np.int64) * layout["columns"] * layout["samples"]
    return 4 * int(cells.sum())


def _images_of(
    table: pyarrow.Table, threads: int, missing: list[_Missing]
) -> Iterator[tuple[_Ints, _Ints, _Images]]:
    """Yield (rows of the table, frames, images); append what has no image to `missing`."""
    samples = Samples(table.append_column("row", pyarrow.array(np.arange(len(table)))), ["row"])
    indices = np.arange(len(samples))
    rows = np.asarray(samples.labels(indices)["row"])
    frames = samples.files(indices)[1]
    layout = samples.layout(indices)
    shapes = np.stack([layout["rows"], layout["columns"], layout["samples"]], 1).astype(np.int64)
    for part in _runs_of_one_shape(shapes):
        images = np.empty((part.stop - part.start, *shapes[part.start].tolist()), np.float32)
        errors = read_batch(
            samples,
            indices[part],
            samples.records(indices[part]),
            images,
            "rescale",
            threads=threads,
        )
        good = np.ones(len(images), bool)
        for i, error in errors:
            good[i] = False
            missing.append(_Missing(int(rows[part][i]), int(frames[part][i]), error))
        images = np.ascontiguousarray(images.transpose(0, 3, 1, 2))
        if not good.all():
            images = images[good]
        if len(images):
            yield rows[part][good], frames[part][good], images
    missing += _without_samples(table, np.bincount(rows, minlength=len(table)))


def _without_samples(table: pyarrow.Table, read: _Ints) -> Iterator[_Missing]:
    """Yield the rows with fewer samples, `read`, than frames, or with none."""
    frames = table.column("frames").fill_null(0).to_numpy()
    has_pixels = table.column("pixel_offset").is_valid().to_numpy()
    for row in np.flatnonzero((read < frames) | (read == 0)).tolist():
        if has_pixels[row]:
            frame = int(read[row])
            path = table.column("path")[row].as_py()
            yield _Missing(row, frame, _frame_error(path, frame))
        else:
            yield _Missing(row, None, None)


def _runs_of_one_shape(shapes: _Ints) -> Iterator[slice]:
    """Yield slices of consecutive frames of one shape, of about `_MAX_BYTES`."""
    borders = (np.flatnonzero((shapes[1:] != shapes[:-1]).any(1)) + 1).tolist()
    for begin, end in pairwise([0, *borders, len(shapes)]):
        if begin < end:
            step = max(1, _MAX_BYTES // (4 * int(shapes[begin].prod())))
            yield from (slice(at, min(at + step, end)) for at in range(begin, end, step))


def _frame_error(path: str, frame: int) -> DicomError:
    """Return why a frame is missing from pixel data that exists."""
    try:
        dcmread(path).frames[frame]
    except DicomError as error:
        return error
    except IndexError as error:
        return DicomError(str(error), "frame-count", filename=path)
    except AttributeError as error:
        return DicomError(str(error), "pixels", filename=path)
    return DicomError("the pixel data does not fit its attributes", "pixels", filename=path)


def _rows_of(
    table: pyarrow.Table,
    columns: Sequence[str],
    rows: Sequence[int] | _Ints,
    frames: Sequence[int | None] | _Ints,
    errors: Sequence[DicomError | None] = (),
) -> pyarrow.Table:
    """Return the rows of frames, with the errors that some of them have."""
    found = table.take(pyarrow.array(rows, "int64"))
    if any(errors):
        for name, attribute in (
            ("error", "code"),
            ("error_offset", "offset"),
            ("error_detail", "text"),
        ):
            values: list[Any] = found.column(name).to_pylist()
            for i, error in enumerate(errors):
                if error is not None:
                    values[i] = getattr(error, attribute)
            index = found.schema.get_field_index(name)
            column = pyarrow.array(values, found.schema.field(index).type)
            found = found.set_column(index, name, column)
    return found.select(columns).append_column("frame", pyarrow.array(frames, "int64"))
