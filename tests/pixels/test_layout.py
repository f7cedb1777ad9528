"""Native or not: one rule for frames, volumes and loaders."""

import numpy as np
import pytest

import fastdcm
from fastdcm.pixels._frame_table import begins_with_item
from fastdcm.pixels.layout import Layout, direct_byte_order, is_encapsulated, native_length
from fastdcm.uid import TRANSFER_SYNTAXES
from support import builder
from support.builder import EXPLICIT_BE, EXPLICIT_LE, IMPLICIT_LE, element, fragments
from support.optional_packages import require_package

GE = "1.2.840.113619.5.2"
DEFLATED = "1.2.840.10008.1.2.1.99"
JPEG = "1.2.840.10008.1.2.4.50"

GEOMETRY = [
    (0x00180050, "DS", 1),
    (0x00200032, "DS", [0, 0, 0]),
    (0x00200037, "DS", [1, 0, 0, 0, 1, 0]),
    (0x00280030, "DS", [1, 1]),
]


def one_slice(syntax, pixels, rows=4, columns=4, bits=16, frames=None):
    """A file of one slice around the bytes of its Pixel Data element."""
    encoding = builder.encoding_of(syntax)
    elements = [
        *GEOMETRY,
        (0x00280002, "US", 1),
        (0x00280004, "CS", "MONOCHROME2"),
        *([(0x00280008, "IS", frames)] if frames else []),
        (0x00280010, "US", rows),
        (0x00280011, "US", columns),
        (0x00280100, "US", bits),
        (0x00280101, "US", bits),
        (0x00280102, "US", bits - 1),
        (0x00280103, "US", 0),
    ]
    data = b"".join(element(*one, encoding=encoding) for one in sorted(elements))
    return builder.part10(data + pixels, transfer_syntax=syntax)


def everywhere(path):
    """The stored values of a file by every way to them: name, array."""
    ds = fastdcm.dcmread(path)
    yield "pixel_array", ds.pixel_array
    yield "frames", ds.frames[0]
    yield "modality_pixels", ds.modality_pixels()
    for rescale in (True, False):
        yield "volume of a path", fastdcm.read_volume(path, rescale=rescale).array[0]
        yield "volume of a Dataset", fastdcm.read_volume(ds, rescale=rescale).array[0]
    try:
        from fastdcm.ml import DicomDataset
    except ImportError:
        return
    for dtype in ("float32", "uint16"):
        data = DicomDataset([path], rescale=dtype == "float32", dtype=dtype)
        yield f"loader of {dtype}", data[0]["image"][0].numpy()


VALUES = np.arange(16, dtype=np.uint16).reshape(4, 4) * 259


@pytest.mark.parametrize("syntax", [IMPLICIT_LE, EXPLICIT_LE, EXPLICIT_BE, DEFLATED, GE])
def test_native_pixels_are_the_same_everywhere(put, syntax):
    """GE's private syntax: an implicit little endian data set with big endian pixels."""
    big = syntax in (EXPLICIT_BE, GE)
    raw = VALUES.astype(">u2" if big else "<u2").tobytes()
    pixels = element(0x7FE00010, "OW", raw, encoding=builder.encoding_of(syntax))
    for name, found in everywhere(put(raw=one_slice(syntax, pixels))):
        assert np.array_equal(found, VALUES), name


@pytest.mark.parametrize("pieces", [1, 2])
def test_fragments_under_a_native_transfer_syntax(put, pieces):
    """Item headers are never read as pixels."""
    raw = VALUES.tobytes()
    size = len(raw) // pieces
    parts = [raw[i * size : (i + 1) * size] for i in range(pieces)]
    pixels = builder.fragments(parts, vr="OW")
    for name, found in everywhere(put(raw=one_slice(EXPLICIT_LE, pixels))):
        assert np.array_equal(found, VALUES), name


@pytest.mark.parametrize("more", [1, 2, 3, 40])
def test_bytes_after_the_frames(put, more):
    pixels = element(0x7FE00010, "OW", VALUES.tobytes() + b"\xff" * more)
    for name, found in everywhere(put(raw=one_slice(EXPLICIT_LE, pixels))):
        assert np.array_equal(found, VALUES), name


def test_is_encapsulated():
    for syntax in (IMPLICIT_LE, EXPLICIT_LE, EXPLICIT_BE, DEFLATED, GE, None, "1.2.3"):
        assert not is_encapsulated(syntax)
    for syntax in (JPEG, "1.2.840.10008.1.2.1.98", "1.2.840.10008.1.2.5"):
        assert is_encapsulated(syntax)


CELLS = (np.arange(64).reshape(8, 8) * 3).astype("u1")
ITEMS = fragments([CELLS.tobytes()])[12:]  # without the header of the element
VALUES_OF = {
    "native": CELLS.tobytes(),
    "fragments": None,
    "fragments, length": ITEMS,
    "fragments, length, no delimiter": ITEMS[:-8],
}
# Of these no frame can be decoded without an encoder of its own.
OTHERS = {uid for uid, row in TRANSFER_SYNTAXES.items() if row.deflated or not row.pixels}


@pytest.mark.parametrize(
    "syntax", [*sorted(set(TRANSFER_SYNTAXES) - OTHERS - {EXPLICIT_BE}), "1.2.3"]
)
@pytest.mark.parametrize("kind", VALUES_OF)
def test_how_pixel_data_is_stored(put, kind, syntax):
    """The element decides, in a data set and in a scan alike; an issue where they differ."""
    if syntax in TRANSFER_SYNTAXES and TRANSFER_SYNTAXES[syntax].pixels == "mpeg":
        require_package("av")
    encoding = builder.encoding_of(syntax)
    value = VALUES_OF[kind]
    if value is None:
        pixels = fragments([CELLS.tobytes()], encoding=encoding)
    else:
        pixels = element(0x7FE00010, "OB", value, encoding=encoding)
    path = put(builder.image(8, 8, allocated=8, encoding=encoding) + pixels, transfer_syntax=syntax)
    ds = fastdcm.dcmread(path)
    stated = is_encapsulated(syntax)
    in_fragments = kind == "fragments" or (stated and kind != "native")
    if in_fragments == (kind != "native"):
        try:
            assert np.array_equal(ds.pixel_array, CELLS)
        except fastdcm.DicomError:  # the cells are neither a video nor deflated
            assert TRANSFER_SYNTAXES[syntax].pixels in ("mpeg", "deflate-frame")
    [row] = fastdcm.scan([path], ["Rows"], pixels=True).read_all().to_pylist()
    assert row["pixel_fragments"] == int(in_fragments)
    as_stated = kind == ("fragments" if stated else "native") or not (stated or in_fragments)
    differs = not as_stated and syntax != "1.2.3"
    _ = ds.frames
    assert ("encapsulation" in {issue.code for issue in ds.issues}) == differs
    assert any(issue.startswith("encapsulation@") for issue in row["issues"] or ()) == differs


@pytest.mark.parametrize(
    ("head", "length", "expected"),
    [
        (b"\xfe\xff\0\xe0\4\0\0\0", 12, True),
        (b"\xfe\xff\0\xe0\4\0\0\0", 11, False),
        (b"\xfe\xff\0\xe0\0\0\0\0", 8, True),
        (b"\xfe\xff\xdd\xe0\0\0\0\0", 8, False),
        (b"\xfe\xff\0\xe0", 4, False),
        (b"", 0, False),
    ],
)
def test_an_item_at_the_beginning(head, length, expected):
    assert begins_with_item(head, length) is expected


def test_direct_byte_order():
    """Of every transfer syntax there is; the core agrees (tests/test_uid.py)."""
    found = {uid: direct_byte_order(uid) for uid in TRANSFER_SYNTAXES}
    assert {uid for uid, order in found.items() if order == ">"} == {EXPLICIT_BE, GE}
    assert {uid for uid, order in found.items() if order == "<"} == {
        IMPLICIT_LE,
        EXPLICIT_LE,
        "1.2.840.10008.1.20",
    }
    assert direct_byte_order(None) is direct_byte_order("1.2.3") is None


@pytest.mark.parametrize(
    "cells, frames, bits, photometric, size",
    [
        (12, 1, 16, "MONOCHROME2", 24),
        (5, 1, 1, "MONOCHROME2", 1),
        (5, 3, 1, "MONOCHROME2", 2),
        (5, 1, 12, "MONOCHROME2", 8),
        (12, 2, 8, "YBR_FULL_422", 16),
    ],
)
def test_native_length(cells, frames, bits, photometric, size):
    assert native_length(cells, frames, bits, photometric) == size


@pytest.mark.parametrize(
    "bits, stored, signed, dtype, unused",
    [
        (1, 1, False, "u1", False),
        (1, 1, True, "u1", False),
        (8, 8, True, "i1", False),
        (12, 12, False, "u2", False),
        (12, 12, True, "i2", True),
        (16, 12, False, "u2", True),
        (32, 32, True, "i4", False),
    ],
)
def test_layout(bits, stored, signed, dtype, unused):
    layout = Layout(3, 5, 1, bits, stored, None, signed)
    assert layout.dtype == np.dtype(dtype) and layout.shape == (3, 5) and layout.cells == 15
    assert layout.high_bit == stored - 1 and layout.has_unused_bits is unused
    assert Layout(3, 5, 3, bits, stored, 99, signed).shape == (3, 5, 3)
    assert Layout(3, 5, 3, bits, stored, 99, signed).high_bit == stored - 1
