"""Read samples into one array: read or decode, convert, crop and pad each frame."""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import pairwise
from typing import Any, Literal, TypeVar

import numpy as np
import numpy.typing as npt

from fastdcm._util.parallel import run_parallel
from fastdcm.errors import DicomError
from fastdcm.ml.columns import WINDOW_FUNCTIONS
from fastdcm.ml.samples import Samples
from fastdcm.pixels._kernels import linear, read_frames, window
from fastdcm.pixels.color import to_rgb
from fastdcm.pixels.frames import read_frame
from fastdcm.pixels.grayscale import apply_modality_lut, windowed
from fastdcm.reader import dcmread

_Array = npt.NDArray[Any]
_Bools = npt.NDArray[np.bool_]
_Ints = npt.NDArray[np.int64]
_Records = npt.NDArray[np.void]
#: How stored values are converted.
Conversion = Literal["stored", "rescale", "window"]
#: (position in the batch, error) of the samples that could not be read.
Errors = list[tuple[int, DicomError]]
_Error = TypeVar("_Error", bound=DicomError)

# How the values of a sample are made from the stored values before they are converted.
_STORED, _MODALITY_LUT, _WINDOWED, _RGB = range(4)
_FRAMES_PER_CALL = 8  # of the batch reader: few enough to share work among threads


def read_batch(
    samples: Samples,
    indices: _Ints,
    records: _Records,
    out: _Array,
    convert: Conversion,
    *,
    tables: bool = True,
    display: bool | _Bools = False,
    rgb: bool | _Bools = False,
    fit: bool = False,
    pad: float = 0.0,
    threads: int = 1,
) -> Errors:
    """Read samples into the slots of an array.

    Parameters
    ----------
    samples : Samples
    indices : (n,) int64 array
    records : (n,) structured array
        ``samples.records(indices)``, with window and rescale set as required.
        Slope and intercept are applied after a Modality LUT.
    out : (n, height, width, samples per pixel) array
        In native byte order; float32 for "rescale", uint8 for "window", the type
        of the frames for "stored".
    convert : "stored", "rescale" or "window"
    tables : bool
        Apply the Modality LUT of a file, where it has one.
    display : bool, or (n,) bool array
        Which samples are read as `fastdcm.pixels.windowed` returns them, 0 to 255,
        instead of as stored values; "window" leaves these as they are.
    rgb : bool, or (n,) bool array
        Which samples are read as `fastdcm.pixels.to_rgb` returns them.
    fit : bool
        Crop and pad frames of another size around the center, as `read_frames`
        does; False: they are errors.
    pad : float
        The value of padding, and of slots whose sample cannot be read.
    threads : int

    Returns
    -------
    list of (int, DicomError)
        Position in the batch, and error, of the samples that could not be read.
    """
    files, frames = samples.files(indices)
    layout = samples.layout(indices)
    values_from = np.where((layout["table"] != 0) & tables, _MODALITY_LUT, _STORED)
    values_from[np.broadcast_to(display, len(indices))] = _WINDOWED
    values_from[np.broadcast_to(rgb, len(indices))] = _RGB
    native = (layout["native"] != 0) & (values_from == _STORED)
    paths = _paths_of(samples, files)

    def read(run: range) -> Errors:
        first, stop = run.start, run.stop
        if native[first]:
            # the batch reader has no axis for one sample per pixel
            slots = out[first:stop, ..., 0] if out.shape[-1] == 1 else out[first:stop]
            errors = read_frames(
                paths[first:stop], records[first:stop], slots, convert, fit=fit, pad=pad
            )
            return [(first + i, error) for i, error in errors]
        return _decode(
            paths[first], frames, records, values_from, out, run, convert, fit=fit, pad=pad
        )

    runs = list(_runs(files, native, threads))
    found: Errors = []

    def work(start: int, stop: int) -> None:
        for run in runs[start:stop]:
            found.extend(read(run))

    run_parallel(work, len(runs), threads)
    return [(i, _with_location(error, os.fsdecode(paths[i]), int(frames[i]))) for i, error in found]


def _paths_of(samples: Samples, files: _Ints) -> list[bytes]:
    """Return the path of each file; equal ones that follow each other are one object."""
    paths: list[bytes] = []
    last = None
    for file in files.tolist():
        if file != last:
            path, last = samples.path(file), file
        paths.append(path)
    return paths


def _runs(files: _Ints, native: _Bools, threads: int) -> Iterator[range]:
    """Split a batch into ranges of native samples, or of samples of one file."""
    count = len(files)
    size = max(1, min(_FRAMES_PER_CALL, -(-count // threads)))
    changes = (native[1:] != native[:-1]) | (~native[1:] & (files[1:] != files[:-1]))
    borders = [0, *(np.flatnonzero(changes) + 1).tolist(), count]
    for begin, end in pairwise(borders):
        step = size if native[begin] else end - begin
        for first in range(begin, end, step):
            yield range(first, min(first + step, end))


def _with_location(error: _Error, path: str, frame: int) -> _Error:
    """Return the same error with the frame in its text and the path."""
    text = f"frame {frame}: {error.text}"
    return type(error)(text, error.code, error.offset, error.path, path, error.errno)


def _decode(
    path: bytes,
    frames: _Ints,
    records: _Records,
    values_from: _Ints,
    out: _Array,
    run: range,
    convert: Conversion,
    *,
    fit: bool,
    pad: float,
) -> Errors:
    """Read a run of frames of one file that the batch reader cannot read."""
    errors: Errors = []
    try:
        ds = dcmread(path)
    except DicomError as error:
        out[run.start : run.stop] = pad
        return [(i, error) for i in run]
    try:
        count = len(ds.frames)
    except (DicomError, AttributeError) as error:
        failed = error if isinstance(error, DicomError) else DicomError(str(error), "pixels")
        out[run.start : run.stop] = pad
        ds.close()
        return [(i, failed) for i in run]
    for i in run:
        frame = int(frames[i])
        try:
            if values_from[i] in (_WINDOWED, _RGB):
                levels = (windowed if values_from[i] == _WINDOWED else to_rgb)(
                    ds, frame, mmap=False
                )
                how: Conversion = "stored" if convert == "window" else convert
                if how == "stored" and np.can_cast(levels.dtype, out.dtype):
                    levels = levels.astype(out.dtype)
                fill_slot(levels, records[i], out[i], how, fit=fit, pad=pad)
                continue
            if not 0 <= frame < count:
                raise IndexError(f"there are {count} frames")
            values = read_frame(ds, frame)
            if values_from[i] == _MODALITY_LUT:
                values = apply_modality_lut(values, ds, frame=frame)
            fill_slot(values, records[i], out[i], convert, fit=fit, pad=pad)
        except IndexError as error:
            errors.append((i, DicomError(str(error), "frame-count")))
            out[i] = pad
        except DicomError as error:
            errors.append((i, error))
            out[i] = pad
    ds.close()
    return errors


def fill_slot(
    values: _Array,
    record: np.void,
    slot: _Array,
    convert: Conversion,
    *,
    fit: bool = False,
    pad: float = 0.0,
) -> None:
    """Convert the stored values of a frame into a slot, as `read_frames` does.

    Parameters
    ----------
    values : (rows, columns[, samples per pixel]) array
    record : record of the batch reader
    slot : (height, width, samples per pixel) array
    convert, fit, pad
        As of `read_batch`.

    Raises
    ------
    DicomError
        "frame-fit" where shape or type do not fit, "window" where the window is
        impossible.
    """
    if values.ndim == 2:
        values = values[..., None]
    height, width, channels = slot.shape
    rows, columns = values.shape[:2]
    if values.shape[2] != channels or (not fit and (rows, columns) != (height, width)):
        raise DicomError(
            f"a frame of {rows} x {columns} with {values.shape[2]} samples per pixel does not fit "
            f"{height} x {width} with {channels}",
            "frame-fit",
        )
    from_rows, to_rows = center_slices(rows, height)
    from_columns, to_columns = center_slices(columns, width)
    values = np.ascontiguousarray(values[from_rows, from_columns])
    values = values.astype(values.dtype.newbyteorder("="), copy=False)
    target = slot[to_rows, to_columns]
    if target.size != slot.size:
        slot[...] = pad
    slope, intercept = float(record["slope"]), float(record["intercept"])
    converted: _Array
    if convert == "stored":
        if values.dtype != slot.dtype and not (
            values.dtype.kind == "u"
            and slot.dtype == np.dtype(f"i{values.dtype.itemsize}")
            and 0 < record["bits_stored"] < record["bits_allocated"]
        ):
            raise DicomError(
                f"stored values of {values.dtype} do not fit {slot.dtype}", "frame-fit"
            )
        converted = values
    elif convert == "rescale":
        converted = np.empty(values.shape, np.float32)
        linear(values, values.dtype.str, slope, intercept, converted)
    else:
        converted = np.empty(values.shape, np.uint8)
        window(
            values,
            values.dtype.str,
            float(record["center"]),
            float(record["width"]),
            converted,
            function=WINDOW_FUNCTIONS[record["function"]],
            slope=slope,
            intercept=intercept,
            invert=bool(record["invert"]),
        )
    target[...] = converted


def center_slices(size: int, wanted: int) -> tuple[slice, slice]:
    """Return which part of an axis to copy, and to where, to crop or pad around the center.

    Parameters
    ----------
    size, wanted : int
        Length of the axis, and of the axis to copy to.

    Returns
    -------
    source, target : slice
        As MONAI's crop and pad transforms choose them.
    """
    count = min(size, wanted)
    first = size // 2 - wanted // 2 if size > wanted else 0
    to = (wanted - size) // 2 if wanted > size else 0
    return slice(first, first + count), slice(to, to + count)
