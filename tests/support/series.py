"""Series of small images for the tests of volumes."""

import random

import numpy as np
import pytest

import fastdcm
from fastdcm.volume import VolumeError
from support import builder
from support.builder import element, sequence

ROWS, COLUMNS = 4, 6
BETWEEN_ROWS, BETWEEN_COLUMNS = 0.5, 0.75
AXIAL = (1, 0, 0, 0, 1, 0)
# For images whose geometry is in functional groups, or absent.
NO_GEOMETRY = {"spacing": None, "orientation": None}
# The attributes that are arguments of `encode_image`.
ATTRIBUTES = {
    "image_type": (0x00080008, "CS"),
    "uid": (0x00080018, "UI"),
    "modality": (0x00080060, "CS"),
    "thickness": (0x00180050, "DS"),
    "echo": (0x00180081, "DS"),
    "between": (0x00180088, "DS"),
    "b": (0x00189087, "FD"),
    "trigger": (0x00181060, "DS"),
    "series": (0x0020000E, "UI"),
    "acquisition": (0x00200012, "IS"),
    "number": (0x00200013, "IS"),
    "position": (0x00200032, "DS"),
    "orientation": (0x00200037, "DS"),
    "reference": (0x00200052, "UI"),
    "time": (0x00200100, "IS"),
    "samples": (0x00280002, "US"),
    "frames": (0x00280008, "IS"),
    "rows": (0x00280010, "US"),
    "columns": (0x00280011, "US"),
    "spacing": (0x00280030, "DS"),
    "bits": (0x00280100, "US"),
    "signed": (0x00280103, "US"),
    "intercept": (0x00281052, "DS"),
    "slope": (0x00281053, "DS"),
    "offsets": (0x3004000C, "DS"),
    "dose": (0x3004000E, "DS"),
    "clock": (0x00080032, "TM"),
}


def cells(number, rows=ROWS, columns=COLUMNS):
    """Return the stored values of the slice with this number."""
    return (np.arange(rows * columns, dtype=np.int16).reshape(rows, columns) + 100 * number).astype(
        "<i2"
    )


def encode_image(pixels, raw=(), **values):
    """Return the bytes of one image; values: see ATTRIBUTES, None leaves one out.

    raw : {tag: bytes} of further elements.
    """
    seed = repr((values, 0 if pixels is None else pixels.tobytes()))
    attributes = {
        "uid": f"1.2.{random.Random(seed).getrandbits(60)}",
        "series": "1.2.9",
        "reference": "1.2.8",
        "samples": 1,
        "rows": ROWS,
        "columns": COLUMNS,
        "spacing": [BETWEEN_ROWS, BETWEEN_COLUMNS],
        "bits": 16,
        "signed": 1,
        "orientation": AXIAL,
    } | values
    elements = {
        ATTRIBUTES[name][0]: element(*ATTRIBUTES[name], value)
        for name, value in attributes.items()
        if value is not None
    }
    bits = attributes["bits"]
    photometric = "MONOCHROME2" if attributes["samples"] == 1 else "RGB"
    elements[0x00280101] = element(0x00280101, "US", bits)
    elements[0x00280102] = element(0x00280102, "US", bits - 1)
    elements[0x00280004] = element(0x00280004, "CS", photometric)
    elements.update(raw)
    if pixels is not None:
        elements[builder.PIXEL_DATA] = element(builder.PIXEL_DATA, "OW", pixels.tobytes())
    return b"".join(elements[tag] for tag in sorted(elements))


def frames_of(count):
    """Return the stored values of `count` slices."""
    return np.stack([cells(i) for i in range(count)])


def plane_position(position):
    """Return a Plane Position functional group."""
    return sequence(0x00209113, [element(0x00200032, "DS", position)])


def functional_groups(per_frame, orientation=AXIAL, shared=b""):
    """Return {tag: bytes} of functional groups, the shared ones with orientation and spacing.

    per_frame : the bytes of each frame. shared : bytes of further groups.
    """
    return {
        0x52009229: sequence(
            0x52009229,
            [
                sequence(0x00209116, [element(0x00200037, "DS", orientation)])
                + sequence(
                    0x00289110,
                    [
                        element(0x00180050, "DS", 9)
                        + element(0x00280030, "DS", [BETWEEN_ROWS, BETWEEN_COLUMNS])
                    ],
                )
                + shared
            ],
        ),
        0x52009230: sequence(0x52009230, per_frame),
    }


def codes(findings):
    return [finding.code for finding in findings]


def problems(source, **options):
    """Return the problems for which `read_volume` rejects a source."""
    with pytest.raises(VolumeError) as caught:
        fastdcm.read_volume(source, **options)
    assert caught.value.code == "volume" and isinstance(caught.value, fastdcm.DicomError)
    return [finding for finding in caught.value.findings if finding.problem]
