"""Native or not: one rule for frames, volumes and loaders."""

import numpy as np
import pytest

import fastdcm
from fastdcm.pixels.layout import Layout, direct_byte_order, is_native, native_length
from fastdcm.uid import TRANSFER_SYNTAXES
from support import builder
from support.builder import EXPLICIT_BE, EXPLICIT_LE, IMPLICIT_LE, element

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


def test_is_native():
    for syntax in (IMPLICIT_LE, EXPLICIT_LE, EXPLICIT_BE, DEFLATED, GE, None, "1.2.3"):
        assert is_native(syntax, None) and is_native(syntax, False)
        assert not is_native(syntax, True)
    for syntax in (JPEG, "1.2.840.10008.1.2.1.98", "1.2.840.10008.1.2.5"):
        assert not is_native(syntax, None) and not is_native(syntax, True)
        assert is_native(syntax, False)


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
