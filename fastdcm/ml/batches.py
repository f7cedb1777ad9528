"""Samples to slots of one array: read, converted and fitted in one pass."""

import os

import numpy as np

from fastdcm._util.parallel import run_parallel
from fastdcm.errors import DicomError
from fastdcm.ml.samples import FUNCTIONS
from fastdcm.pixels._kernels import linear, read_frames, window
from fastdcm.pixels.grayscale import apply_modality_lut, windowed
from fastdcm.reader import dcmread

_PIECE = 8  # native frames to a call
_STORED, _MODALITY_LUT, _DISPLAY = range(3)  # what `_decode` converts


def _named(error, path, frame):
    """The same error, with frame and file in its words."""
    text = f"frame {frame}: {error.text}"
    return type(error)(text, error.code, error.offset, error.path, path, error.errno)


def read_batch(
    samples,
    indices,
    records,
    out,
    convert,
    *,
    tables=True,
    display=False,
    fit=False,
    pad=0.0,
    threads=1,
):
    """Reads samples into the slots of `out`.

    samples : Samples; indices : int64 array of n of them.
    records : their `Samples.records`, window and rescale as they are wanted;
        slope and intercept are applied behind a Modality LUT, too.
    out : (n, height, width, samples), in the machine's order; float32 for
        convert "rescale", uint8 for "window", the frames' type for "stored".
    tables : send values through the Modality LUT, where a file has one.
    display : bool, or one for each sample: take the gray levels of `windowed`, 0 to
        255, in place of the stored values; "window" leaves them as they are.
    fit, pad : as in `_pixels.read_frames`: crop and pad around the centre.

    Returns [(position, DicomError)] of those that failed; their slots hold `pad`.
    """
    files, frames = samples.files(indices)
    layout = samples.layout(indices)
    # Only C knows the place of a native frame; the others know their file.
    through = np.where((layout["table"] != 0) & tables, _MODALITY_LUT, _STORED)
    through[np.broadcast_to(display, len(indices))] = _DISPLAY
    quick = (layout["native"] != 0) & (through == _STORED)
    paths, last = [], None
    for file in files.tolist():
        if file != last:
            path, last = samples.path(file), file
        paths.append(path)
    n = len(indices)
    cuts = np.flatnonzero((quick[1:] != quick[:-1]) | (~quick[1:] & (files[1:] != files[:-1]))) + 1
    pieces = []
    size = max(1, min(_PIECE, -(-n // threads)))
    for begin, end in zip([0, *cuts.tolist()], [*cuts.tolist(), n]):
        step = size if quick[begin] else end - begin
        pieces += [(at, min(at + step, end)) for at in range(begin, end, step)]

    def read(piece):
        a, b = piece
        if quick[a]:
            # an axis of one sample is none to C
            slots = out[a:b, ..., 0] if out.shape[-1] == 1 else out[a:b]
            found = read_frames(paths[a:b], records[a:b], slots, convert, fit=fit, pad=pad)
            return [(a + i, error) for i, error in found]
        return _decode(
            paths[a],
            frames[a:b].tolist(),
            records[a:b],
            through[a:b],
            out[a:b],
            a,
            convert,
            fit,
            pad,
        )

    found = []
    run_parallel(
        lambda first, stop: found.extend([e for piece in pieces[first:stop] for e in read(piece)]),
        len(pieces),
        threads,
    )
    return [(i, _named(error, os.fsdecode(paths[i]), int(frames[i]))) for i, error in found]


def _decode(path, frames, records, through, out, first, convert, fit, pad):
    """Frames of one file that C alone cannot read."""
    errors = []
    ds = failed = None
    try:
        ds = dcmread(path)
        source = ds.frames
    except DicomError as error:
        failed = error
    except AttributeError as error:
        failed = DicomError(str(error), "pixels")
    for i, frame in enumerate(frames):
        try:
            if failed is not None:
                raise failed
            if through[i] == _DISPLAY:
                levels = windowed(ds, frame)
                how = "stored" if convert == "window" else convert
                place(levels, records[i], out[i], how, fit, pad)
                continue
            values = source[frame]
            if through[i] == _MODALITY_LUT:
                values = apply_modality_lut(values, ds, frame=frame)
            place(values, records[i], out[i], convert, fit, pad)
        except IndexError as error:
            errors.append((first + i, DicomError(str(error), "frame-count")))
            out[i] = pad
        except DicomError as error:
            errors.append((first + i, error))
            out[i] = pad
    if ds is not None:
        ds.close()
    return errors


def place(values, record, slot, convert, fit=False, pad=0.0):
    """One frame's stored values, (rows, columns[, samples]), into a slot
    (height, width, samples), as `read_frames` does it with native ones."""
    if values.ndim == 2:
        values = values[..., None]
    height, width, channels = slot.shape
    rows, columns = values.shape[:2]
    if values.shape[2] != channels or (not fit and (rows, columns) != (height, width)):
        raise DicomError(
            f"a frame of {rows} x {columns}, {values.shape[2]} samples a pixel, does not fit "
            f"{height} x {width}, {channels}",
            "frame-fit",
        )
    taken, at = zip(*(centre(*sizes) for sizes in ((rows, height), (columns, width))))
    values = np.ascontiguousarray(values[taken])
    target = slot[at]
    if target.size != slot.size:
        slot[...] = pad
    slope, intercept = float(record["slope"]), float(record["intercept"])
    if convert == "stored":
        if values.dtype != slot.dtype and not (
            values.dtype.kind == "u"
            and slot.dtype == np.dtype(f"i{values.dtype.itemsize}")
            and 0 < record["bits_stored"] < record["bits_allocated"]
        ):
            raise DicomError(
                f"stored values of {values.dtype} do not fit {slot.dtype}", "frame-fit"
            )
        target[...] = values
    elif convert == "rescale":
        done = np.empty(values.shape, np.float32)
        linear(values, values.dtype.str, slope, intercept, done)
        target[...] = done
    else:
        done = np.empty(values.shape, np.uint8)
        window(
            values,
            values.dtype.str,
            float(record["center"]),
            float(record["width"]),
            done,
            function=FUNCTIONS[record["function"]],
            slope=slope,
            intercept=intercept,
            invert=bool(record["invert"]),
        )
        target[...] = done


def centre(have, wanted):
    """(slice of what there is, slice of where it goes), as MONAI does it."""
    count = min(have, wanted)
    first = have // 2 - wanted // 2 if have > wanted else 0
    to = (wanted - have) // 2 if wanted > have else 0
    return slice(first, first + count), slice(to, to + count)
