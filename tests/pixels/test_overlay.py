"""Overlays beside pydicom, and those in the bits of pixel cells."""

import warnings

import numpy as np
import pytest

import fastdcm
from fastdcm.pixels.overlay import overlay_groups, overlay_origin, overlay_plane
from support import builder
from support.encoded_frames import RLE, rle
from support.images import image

pydicom = pytest.importorskip("pydicom")

CELLS = np.arange(60, dtype=np.uint16).reshape(6, 10)
PLANE = np.random.default_rng(3).integers(0, 2, (6, 10), np.uint8)


def overlay(plane, group=0x6000, *, data=None, vr="OW", frames=None, **replaced):
    """The elements of an overlay plane. replaced: rows, columns, allocated, position."""
    plane = np.asarray(plane)
    attributes = {
        "rows": plane.shape[-2],
        "columns": plane.shape[-1],
        "allocated": 1,
        "position": 0,
        **replaced,
    }
    elements = [
        ((group << 16) + at, "US", attributes[name])
        for at, name in (
            (0x10, "rows"),
            (0x11, "columns"),
            (0x100, "allocated"),
            (0x102, "position"),
        )
        if attributes[name] is not None
    ]
    if frames is not None:
        elements.append(((group << 16) + 0x15, "IS", frames))
    if data is None:
        data = np.packbits(plane, bitorder="little").tobytes()
        data += b"\0" * (len(data) % 2)
    if vr:
        elements.append(((group << 16) + 0x3000, vr, data))
    return elements


@pytest.fixture
def opened(put):
    def opened(*elements, array=CELLS, **options):
        path = put(raw=image(array, *elements, **options))
        return fastdcm.dcmread(path), pydicom.dcmread(path)

    return opened


def compare_all(paths):
    done = 0
    for path in paths:
        ds = fastdcm.dcmread(path, force=True)
        for group in overlay_groups(ds):
            if (group << 16 | 0x3000) not in ds:
                continue
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                expected = pydicom.dcmread(path, force=True).overlay_array(group)
            result = ds.overlay_array(group)
            assert result.dtype == expected.dtype and result.any()
            np.testing.assert_array_equal(result, expected, str(path))
            done += 1
    return done


def test_files_of_pydicom(pydicom_files):
    assert compare_all(pydicom_files) >= 1


def test_files_of_the_corpus(corpus_files):
    assert compare_all(corpus_files) >= 2


@pytest.mark.parametrize("vr", ["OW", "OB"])
@pytest.mark.parametrize(
    "shape, frames",
    [((6, 10), None), ((6, 10), 1), ((3, 7), None), ((3, 5, 7), 3), ((2, 6, 10), 2)],
)
def test_planes(opened, vr, shape, frames):
    plane = np.random.default_rng(1).integers(0, 2, shape, np.uint8)
    ds, other = opened(*overlay(plane, frames=frames, vr=vr))
    result = ds.overlay_array(0x6000)
    assert result.dtype == np.uint8 and (result == plane).all() and result.shape == plane.shape
    np.testing.assert_array_equal(result, other.overlay_array(0x6000))


def test_words_of_big_endian(opened):
    """The first bit is the lowest of the first word (PS3.5 8.1.2)."""
    raw = np.packbits(PLANE, bitorder="little").tobytes()
    swapped = np.frombuffer(raw, np.uint16).byteswap().tobytes()
    ds, _ = opened(*overlay(PLANE, data=swapped), transfer_syntax=builder.EXPLICIT_BE)
    assert (ds.overlay_array(0x6000) == PLANE).all()
    ds, _ = opened(*overlay(PLANE, vr="OB"), transfer_syntax=builder.EXPLICIT_BE)
    assert (ds.overlay_array(0x6000) == PLANE).all()


def test_groups(opened):
    ds, _ = opened(
        *overlay(PLANE),
        *overlay(1 - PLANE, 0x6004),
        *overlay(PLANE, 0x6008, vr=None),
        *overlay(PLANE, 0x600A, data=b""),
        *overlay(PLANE, 0x600C, rows=None),
    )
    assert overlay_groups(ds) == [0x6000, 0x6004]
    assert (ds.overlay_array(0x6004) == 1 - PLANE).all()
    for group in (0x6008, 0x600A, 0x6002):
        with pytest.raises(AttributeError, match=f"{group:04X}"):
            ds.overlay_array(group)
    for group in (0x5FFF, 0x6100):
        with pytest.raises(ValueError, match="0x6000"):
            ds.overlay_array(group)


@pytest.mark.parametrize("syntax", [builder.EXPLICIT_LE, builder.EXPLICIT_BE])
@pytest.mark.parametrize(
    "dtype, stored, position",
    [
        (np.uint16, 12, 12),
        (np.uint16, 12, 15),
        (np.int16, 12, 13),
        (np.uint32, 20, 31),
        (np.uint8, 7, 7),
        (np.uint16, 7, 7),
    ],
)
def test_bits_of_pixel_cells(opened, syntax, dtype, stored, position):
    """Retired since PS3.3-2004, and still in archives."""
    cells = (CELLS | PLANE.astype(np.uint64) << np.uint64(position)).astype(dtype)
    size = cells.dtype.itemsize * 8
    ds, _ = opened(
        *overlay(PLANE, vr=None, allocated=size, position=position),
        array=cells,
        bits=stored,
        transfer_syntax=syntax,
    )
    assert overlay_groups(ds) == [0x6000]
    result = ds.overlay_array(0x6000)
    assert result.dtype == np.uint8 and (result == PLANE).all()


def test_bits_of_the_cells_of_many_frames(opened):
    planes = np.stack([PLANE, 1 - PLANE])
    cells = CELLS | planes.astype(np.uint16) << 13
    ds, _ = opened(
        *overlay(PLANE, vr=None, allocated=16, position=13), array=cells, bits=12, frames=2
    )
    assert (ds.overlay_array(0x6000) == planes).all()


@pytest.mark.parametrize("position", [0, 11, 16, 200])
def test_a_bit_of_the_value_is_no_overlay(opened, position):
    ds, _ = opened(*overlay(PLANE, vr=None, allocated=16, position=position), bits=12)
    assert overlay_groups(ds) == []
    with pytest.raises(AttributeError):
        ds.overlay_array(0x6000)


def test_overlay_without_bits_is_none(opened):
    attributes = overlay(PLANE, vr=None, allocated=None, position=3)
    ds, _ = opened(*attributes, (0x00280100, "US", b""))
    assert overlay_groups(ds) == []


@pytest.mark.parametrize(
    "elements, text",
    [
        (overlay(PLANE, data=b"ab", vr="LO"), "not bytes"),
        (overlay(PLANE, rows=0xFFFF, columns=0xFFFF), "bytes"),
        (overlay(PLANE, rows=0xFFFF, columns=0xFFFF, frames=2**31 - 1), "bytes"),
        (overlay(PLANE, rows=0), "Overlay Rows must be .*, got 0"),
        (overlay(PLANE, columns=[3, 4]), r"Overlay Columns must be .*, got \[3, 4\]"),
        (overlay(PLANE, frames=0), "Number of Frames in Overlay must be .*, got 0"),
        (overlay(PLANE, frames="x"), "Number of Frames"),
        (
            overlay(PLANE, vr=None, allocated=16, position=15, rows=5),
            "must have the size of the image, 6 x 10, got 5 x 10",
        ),
    ],
)
def test_damaged(opened, elements, text):
    ds, _ = opened(*elements, bits=12)
    with pytest.raises(fastdcm.DicomError, match=text) as caught:
        ds.overlay_array(0x6000)
    assert caught.value.code == "overlay" and caught.value.filename == ds.filename


EMBEDDED = overlay(PLANE, vr=None, allocated=16, position=15)


@pytest.mark.parametrize(
    "elements", [[*EMBEDDED, (0x00280008, "IS", 9)], [*EMBEDDED, (0x7FE00010, "OW", b"")]]
)
def test_pixel_cells_that_are_missing(opened, elements):
    ds, _ = opened(*elements, bits=12)
    with pytest.raises(fastdcm.DicomError, match="bytes"):
        ds.overlay_array(0x6000)


def codes_of(ds):
    return [issue.code for issue in ds.issues]


@pytest.mark.parametrize("frames", [None, 1, 2, 3])
@pytest.mark.parametrize("missing", [1, 2, 5, 7])
def test_missing_bits_are_0(opened, missing, frames):
    planes = np.random.default_rng(4).integers(0, 2, (frames or 1, 6, 10), np.uint8)
    data = np.packbits(planes, bitorder="little").tobytes()[:-missing]
    ds, _ = opened(*overlay(planes, data=data, vr="OB", frames=frames))
    expected = planes.ravel().copy()
    expected[8 * len(data) :] = 0
    found = ds.overlay_array(0x6000)
    assert found.shape[-2:] == (6, 10) and (found.ravel() == expected[: found.size]).all()
    assert not expected[found.size :].any() and codes_of(ds) == ["overlay"]
    with pytest.raises(fastdcm.DicomError):
        fastdcm.dcmread(ds.filename, strict=True).overlay_array(0x6000)


@pytest.mark.parametrize("origin", [None, 1, 2, 4])
@pytest.mark.parametrize("count", [None, 1, 2])
def test_the_frames_of_an_overlay(opened, origin, count):
    """PS3.3 C.9.3: as many frames of the image, from Image Frame Origin."""
    planes = np.random.default_rng(5).integers(0, 2, (count or 1, 6, 10), np.uint8)
    elements = overlay(planes, frames=count)
    if origin is not None:
        elements.append((0x60000051, "US", origin))
    ds, _ = opened(*elements, array=np.zeros((4, 6, 10), np.uint16), frames=4)
    for frame in range(4):
        found = overlay_plane(ds, 0x6000, frame)
        if origin is None and count is None:
            assert (found == planes[0]).all()
            continue
        at = frame - ((origin or 1) - 1)
        if 0 <= at < (count or 1):
            assert (found == planes[at]).all()
        else:
            assert found is None


@pytest.mark.parametrize("frames", [None, 3])
@pytest.mark.parametrize("kind", ["native", "big", "fragments", "rle"])
def test_embedded_overlays_however_pixels_are_stored(put, kind, frames):
    rng = np.random.default_rng(6)
    planes = rng.integers(0, 2, (frames or 1, 6, 10), np.uint16)
    cells = rng.integers(0, 4096, planes.shape).astype(np.uint16)
    stored = cells | planes << 14 | rng.integers(0, 2, planes.shape).astype(np.uint16) << 12
    syntax = {"native": builder.EXPLICIT_LE, "big": builder.EXPLICIT_BE, "rle": RLE}.get(
        kind, builder.EXPLICIT_LE
    )
    array = stored if frames else stored[0]
    raw = image(
        array,
        *overlay(planes[0], vr=None, allocated=16, position=14),
        bits=12,
        frames=frames,
        transfer_syntax=syntax,
    )
    if kind in ("rle", "fragments"):
        at = raw.index(b"\xe0\x7f\x10\x00")
        encode = rle if kind == "rle" else np.ndarray.tobytes
        raw = raw[:at] + builder.fragments([encode(one) for one in stored])
    ds = fastdcm.dcmread(put(raw=raw))
    found = ds.overlay_array(0x6000)
    assert np.array_equal(found, planes if frames else planes[0])
    assert np.array_equal(ds.pixel_array, cells if frames else cells[0])
    for frame in range(frames or 1):
        assert np.array_equal(overlay_plane(ds, 0x6000, frame), planes[frame])


@pytest.mark.parametrize(
    ("elements", "expected"),
    [
        ([], (1, 1)),
        ([(0x60000050, "SS", [3, -4])], (3, -4)),
        ([(0x60000050, "SS", 3)], (1, 1)),
        ([(0x60000050, "SS", [1, 2, 3])], (1, 1)),
        ([(0x60000050, "IS", "a\\b")], (1, 1)),
        ([(0x60000050, "OB", b"\1\0\1\0")], (1, 1)),
    ],
)
def test_the_origin_of_an_overlay(opened, elements, expected):
    ds, _ = opened(*overlay(PLANE), *elements)
    assert overlay_origin(ds, 0x6000) == expected
    assert ("overlay" in codes_of(ds)) == (bool(elements) and expected == (1, 1))
