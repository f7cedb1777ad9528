"""Small files with frames, for the tests of loaders."""

import numpy as np

import fastdcm
from fastdcm.ml import COLUMNS
from support import builder
from support.builder import element as el


def encode_frames(
    values,
    *,
    slope=None,
    intercept=None,
    window=None,
    function=None,
    photometric="MONOCHROME2",
    bits_stored=None,
    extra=(),
    groups=b"",
    short=0,
    patient="P",
):
    """Return the bytes of one file.

    values : (rows, columns) or (frames, rows, columns) array of stored values.
    extra, groups : further elements, as arguments of `element`, and as bytes.
    short : bytes missing at the end of the pixel data.
    """
    values = np.asarray(values)
    frames = len(values) if values.ndim == 3 else None
    rows, columns = values.shape[-2:]
    bits = values.itemsize * 8
    bits_stored = bits_stored or bits
    parts = [
        (0x00080060, "CS", "CT"),
        (0x00100020, "LO", patient),
        (0x00200013, "IS", int(values.flat[0])),
    ]
    parts += [(0x00280002, "US", 1), (0x00280004, "CS", photometric)]
    parts += [(0x00280008, "IS", frames)] if frames else []
    parts += [
        (0x00280010, "US", rows),
        (0x00280011, "US", columns),
        (0x00280100, "US", bits),
        (0x00280101, "US", bits_stored),
        (0x00280102, "US", bits_stored - 1),
        (0x00280103, "US", int(values.dtype.kind == "i")),
    ]
    if window:
        parts += [(0x00281050, "DS", str(window[0])), (0x00281051, "DS", str(window[1]))]
    if slope is not None:
        parts += [(0x00281052, "DS", str(intercept)), (0x00281053, "DS", str(slope))]
    if function:
        parts += [(0x00281056, "CS", function)]
    raw = values.astype(values.dtype.newbyteorder("<")).tobytes()
    raw = raw[: len(raw) - short]
    return (
        b"".join(el(*part) for part in [*parts, *extra])
        + groups
        + builder.header(builder.PIXEL_DATA, "OW", len(raw))
        + raw
    )


def noise(rows=16, columns=12, seed=0, frames=None, dtype="<i2"):
    """Return random stored values."""
    shape = (rows, columns) if frames is None else (frames, rows, columns)
    return np.random.default_rng(seed).integers(0, 2000, shape).astype(dtype)


def table(paths, *tags):
    """Return the scan that loaders need, with further elements."""
    return fastdcm.scan(paths, [*COLUMNS, *tags], pixels=True)
