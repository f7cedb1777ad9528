"""Palettes, color spaces and any image to RGB, compared with pydicom."""

import itertools
import warnings

import numpy as np
import pytest

import fastdcm
from fastdcm.pixels import color, grayscale
from support import builder
from support.encoded_frames import (
    HTJ2K,
    J2K,
    JFIF,
    JPEG,
    JPEGLS,
    JPEGXL,
    LOSSLESS,
    RLE,
    adobe,
    rle,
    with_markers,
)
from support.images import image
from support.optional_packages import require_package

pydicom = pytest.importorskip("pydicom")
from pydicom.pixels import processing as theirs  # noqa: E402

RED, SEGMENTED = 0x00281201, 0x00281221
DESCRIPTOR = 0x00281101


def palette(columns, first=0, bits=16, *, count=None, order="<", vr="OW", kind=RED, data=None):
    """The elements of a palette. columns: entries of each color; data: bytes of
    each in their place."""
    count = len(columns[0]) if count is None else count
    elements = [
        (
            DESCRIPTOR + i,
            "US",
            np.array([count & 0xFFFF, first & 0xFFFF, bits], order + "u2").tobytes(),
        )
        for i in range(3)
    ]
    data = data or [np.array(column, order + "u2").tobytes() for column in columns]
    return elements + [(kind + i, vr, raw) for i, raw in enumerate(data)]


def opened(put, *arguments, **options):
    path = put(raw=image(*arguments, **options))
    return fastdcm.dcmread(path), pydicom.dcmread(path)


COLUMNS = [
    [i * 257 % 65536 for i in range(200)],
    [65535 - i * 300 for i in range(200)],
    [i * i % 65536 for i in range(200)],
]
CELLS = np.array([[0, 1, 2, 3], [20, 150, 209, 210], [211, 250, 254, 255]], np.uint8)


# ------------------------------------------------------------------ real files ---


def compared(path):
    """Checks the palette of a file beside pydicom's; whether there was one."""
    ds = fastdcm.dcmread(path, force=True)
    if (
        ds.get("PhotometricInterpretation") != "PALETTE COLOR"
        and ds.get("SOPClassUID") != "1.2.840.10008.5.1.4.39.1"
    ):
        return False
    other = pydicom.dcmread(path, force=True)
    stored = np.arange(300, dtype=np.uint16)
    result = color.apply_color_lut(stored, ds)
    if ds.original_encoding[1] is False and RED in ds:
        # pydicom reads plain tables in the machine's byte order
        for name in ("Red", "Green", "Blue"):
            keyword = f"{name}PaletteColorLookupTableData"
            setattr(other, keyword, np.frombuffer(ds[keyword].value, ">u2").astype("<u2").tobytes())
    expected = theirs.apply_color_lut(stored, other)
    if expected.dtype == np.uint8:  # its index is of the entries' type and wraps round
        result, expected = result[:256], expected[:256]
    assert result.dtype == expected.dtype, path
    np.testing.assert_array_equal(result, expected, str(path))
    return True


def test_palettes_of_pydicom(pydicom_files):
    """Its well-known palettes among them (PS3.6 B)."""
    assert sum(map(compared, pydicom_files)) >= 9


def test_palettes_of_the_corpus(corpus_files):
    assert sum(map(compared, corpus_files)) >= 9


# Without markers, but with subsampled components: RGB by the attribute, which pydicom follows.
SUBSAMPLED_RGB = {"SC_rgb_jpeg_lossy_gdcm.dcm"}


def compared_rgb(paths):
    """Check color images against the RGB of pydicom; return the kinds found."""
    done = set()
    for path in paths:
        try:
            ds = fastdcm.dcmread(path, force=True)
            if ds.get("SamplesPerPixel") != 3:
                continue
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                expected = pydicom.dcmread(path, force=True).pixel_array
        except Exception:  # damaged on purpose: nothing to compare with
            continue
        if expected.dtype != np.uint8:
            expected = (expected >> (ds.BitsStored - 8)).astype(np.uint8)
        result = ds.to_rgb()
        assert result.dtype == np.uint8
        if any(issue.code == "photometric" for issue in ds.issues):
            assert path.name in SUBSAMPLED_RGB
            continue
        np.testing.assert_array_equal(result, expected, str(path))
        done.add((ds.PhotometricInterpretation, ds["PixelData"].is_undefined_length))
    return done


def test_real_rgb(pydicom_files):
    pytest.importorskip("imagecodecs")
    assert {
        ("RGB", False),
        ("YBR_FULL_422", False),
        ("RGB", True),
        ("YBR_FULL", True),
        ("YBR_FULL_422", True),
    } <= compared_rgb(pydicom_files)


def test_real_rgb_of_the_corpus(corpus_files):
    pytest.importorskip("imagecodecs")
    assert {("RGB", True), ("YBR_FULL", True), ("YBR_ICT", True)} <= compared_rgb(corpus_files)


# -------------------------------------------------------------------- palettes ---


@pytest.mark.parametrize("first", [0, 10, -3])
@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.uint16, np.int16])
def test_palette(put, first, dtype):
    cells = CELLS.astype(dtype) - (100 if np.dtype(dtype).kind == "i" else 0)
    cells = cells.astype(dtype)
    ds, _ = opened(put, cells, *palette(COLUMNS, first), photometric="PALETTE COLOR")
    result = color.apply_color_lut(ds.pixel_array, ds)
    expected = [
        [
            column[
                min(
                    max(
                        int(x)
                        - (first if cells.dtype.kind == "i" or first >= 0 else first + 65536),
                        0,
                    ),
                    199,
                )
            ]
            for column in COLUMNS
        ]
        for x in cells.ravel()
    ]
    assert result.dtype == np.uint16 and result.shape == (3, 4, 3)
    assert result.reshape(-1, 3).tolist() == expected
    rgb = ds.to_rgb()
    assert rgb.dtype == np.uint8
    assert (rgb == result >> 8).all()


@pytest.mark.parametrize("syntax", [builder.EXPLICIT_LE, builder.EXPLICIT_BE])
def test_8_bit_palettes(put, syntax):
    order = ">" if syntax == builder.EXPLICIT_BE else "<"
    columns = [[(i * k) % 256 for i in range(256)] for k in (1, 7, 31)]
    packed = [np.array(column, np.uint8).tobytes() for column in columns]
    if order == ">":
        packed = [np.frombuffer(raw, np.uint16).byteswap().tobytes() for raw in packed]
    ds, _ = opened(
        put,
        CELLS,
        *palette(columns, bits=8, order=order, data=packed),
        photometric="PALETTE COLOR",
        transfer_syntax=syntax,
    )
    expected = np.array(columns, np.uint8).T[CELLS]
    result = color.apply_color_lut(CELLS, ds)
    assert result.dtype == np.uint8 and (result == expected).all()
    assert (ds.to_rgb() == expected).all()
    # the same entries, a word each
    wide, _ = opened(
        put,
        CELLS,
        *palette(columns, bits=8, order=order),
        photometric="PALETTE COLOR",
        transfer_syntax=syntax,
    )
    assert (color.apply_color_lut(CELLS, wide) == expected).all()
    assert (wide.to_rgb() == expected).all()


def test_alpha(put):
    extra = (RED + 3, "OW", np.array(COLUMNS[0], "<u2").tobytes())
    ds, other = opened(put, CELLS, *palette(COLUMNS), extra, photometric="PALETTE COLOR")
    result = color.apply_color_lut(CELLS, ds)
    np.testing.assert_array_equal(result, theirs.apply_color_lut(CELLS.astype("u2"), other))
    assert result.shape == (3, 4, 4) and ds.to_rgb().shape == (3, 4, 3)


def test_65536_entries(put):
    columns = [np.roll(np.arange(65536, dtype=np.uint16), k) for k in range(3)]
    ds, other = opened(
        put, CELLS.astype("u2") * 257, *palette(columns, count=0), photometric="PALETTE COLOR"
    )
    np.testing.assert_array_equal(
        color.apply_color_lut(ds.pixel_array, ds), theirs.apply_color_lut(other.pixel_array, other)
    )


def test_supplemental_palettes_are_refused(put):
    ds, _ = opened(put, CELLS, *palette(COLUMNS), (0x00089205, "CS", "COLOR"))
    with pytest.raises(fastdcm.DicomError, match="Supplemental"):
        color.apply_color_lut(CELLS, ds)
    assert ds.to_rgb().shape == (3, 4, 3)  # as grayscale, which it is


# ------------------------------------------------------------------- segmented ---

DISCRETE, LINEAR, INDIRECT = 0, 1, 2


def unfold(put, segments, count, bits=16, order="<"):
    dtype = np.uint8 if bits == 8 else order + "u2"
    raw = np.array(segments, dtype).tobytes()
    raw += b"\0" * (len(raw) % 2)
    syntax = builder.EXPLICIT_BE if order == ">" else builder.EXPLICIT_LE
    ds, other = opened(
        put,
        CELLS,
        *palette([[]], 0, bits, count=count, order=order, kind=SEGMENTED, data=[raw] * 3),
        photometric="PALETTE COLOR",
        transfer_syntax=syntax,
    )
    return color.palette(ds).values[:, 0].tolist(), other


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("bits", [8, 16])
def test_segments(put, bits, order):
    segments = [DISCRETE, 3, 10, 20, 30, LINEAR, 5, 80, LINEAR, 2, 80, LINEAR, 4, 3]
    result, other = unfold(put, segments, 14, bits, order)
    assert result == [10, 20, 30, 40, 50, 60, 70, 80, 80, 80, 61, 42, 22, 3]
    expected = theirs.apply_color_lut(np.arange(14, dtype=np.uint8), other)
    assert result == expected[:, 0].tolist()


@pytest.mark.parametrize("order", ["<", ">"])
def test_indirect_segments(put, order):
    """Copies of two segments from byte 0 on, in bytes also for words; a
    linear one copied continues from the last entry (PS3.3 C.7.9.2.3)."""
    head = [DISCRETE, 2, 10, 20, LINEAR, 2, 30]
    # C.7.9.2: the lower half of the offset comes first
    result, other = unfold(put, [*head, INDIRECT, 2, 0, 0, DISCRETE, 1, 7], 9, 16, order)
    assert result == [10, 20, 25, 30, 10, 20, 25, 30, 7]
    assert theirs.apply_color_lut(np.arange(9, dtype="u2"), other)[:, 0].tolist() == result
    # the linear segment alone, at byte 8 of words and byte 4 of bytes
    result, _ = unfold(put, [*head, INDIRECT, 1, 8, 0, DISCRETE, 1, 7], 7, 16, order)
    assert result == [10, 20, 25, 30, 30, 30, 7]
    result, other = unfold(
        put,
        [*head, INDIRECT, 1, *((4, 0) if order == "<" else (0, 4)), 0, 0, DISCRETE, 1, 7],
        7,
        8,
        order,
    )
    assert result == [10, 20, 25, 30, 30, 30, 7]
    assert theirs.apply_color_lut(np.arange(7, dtype="u1"), other)[:, 0].tolist() == result


@pytest.mark.parametrize(
    "segments, count, there",
    [
        ([], 4, []),
        ([DISCRETE, 3, 1, 2], 4, []),  # fewer values than declared
        ([DISCRETE, 3, 1, 2, 3], 4, [1, 2, 3]),  # fewer entries than declared
        ([LINEAR, 4, 9], 4, []),  # nothing to start from
        ([INDIRECT, 1, 0, 0], 4, []),
        ([DISCRETE, 1, 1, INDIRECT, 1, 0xFFFE, 0xFFFF], 4, [1]),  # past the end
        ([DISCRETE, 1, 1, INDIRECT, 1, 6, 0], 40, [1]),  # itself
        ([DISCRETE, 1, 1, INDIRECT, 0xFFFF, 0, 0], 40, [1]),  # runs into itself
        ([DISCRETE, 1, 1, LINEAR, 5], 4, [1]),
        ([DISCRETE, 1, 1, 9, 5, 5], 4, [1]),  # no such segment
        ([DISCRETE, 0, LINEAR, 0, 5] * 3, 4, []),
    ],
)
def test_damaged_segments(put, segments, count, there):
    """The entries that exist are used, with an issue."""
    if not there:
        with pytest.raises(fastdcm.DicomError, match="segments") as caught:
            unfold(put, segments, count)
        assert caught.value.code == "lut"
        return
    found, _ = unfold(put, segments, count)
    assert found[: len(there)] == there and len(found) == count
    assert len(set(found[len(there) - 1 :])) == 1


def test_segments_do_not_grow_past_the_descriptor(put):
    result, _ = unfold(put, [DISCRETE, 1, 1] + [LINEAR, 65535, 500] * 1000, 100)
    assert len(result) == 100


@pytest.mark.parametrize(
    "elements",
    [
        palette(COLUMNS, bits=12),
        palette(COLUMNS, bits=0),
        palette(COLUMNS)[1:],
        palette(COLUMNS)[:-1],
        palette(COLUMNS)[:3],
        palette(COLUMNS, data=[b"", b"", b""]),
        palette(COLUMNS, 0, 8, data=[bytes(400), bytes(400), bytes(200)]),
        [(DESCRIPTOR, "US", [200, 0]), *palette(COLUMNS)[1:]],
    ],
)
def test_damaged_palettes(put, elements):
    ds, _ = opened(put, CELLS, *elements, photometric="PALETTE COLOR")
    for call in (lambda: color.apply_color_lut(CELLS, ds), ds.to_rgb):
        with pytest.raises(fastdcm.DicomError) as caught:
            call()
        assert caught.value.code == "lut" and caught.value.filename == ds.filename


@pytest.mark.parametrize("count", [201, 0])
def test_palettes_that_are_short(put, count):
    """The last color stands for the missing ones, with an issue."""
    ds, _ = opened(put, CELLS, *palette(COLUMNS, count=count), photometric="PALETTE COLOR")
    expected, _ = opened(put, CELLS, *palette(COLUMNS), photometric="PALETTE COLOR")
    assert (ds.to_rgb() == expected.to_rgb()).all()
    assert [issue.code for issue in ds.issues] == ["lut"] * 3


# --------------------------------------------------------------- color spaces ---


@pytest.mark.parametrize(
    "current, desired", [*itertools.product(["RGB", "YBR_FULL", "YBR_FULL_422"], repeat=2)]
)
def test_color_spaces(current, desired):
    levels = np.arange(0, 256, 5, dtype=np.uint8)
    arr = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(2, 26, -1, 3)
    before = arr.copy()
    result = color.convert_color_space(arr, current, desired)
    expected = theirs.convert_color_space(arr, current, desired)
    assert result.dtype == np.uint8
    np.testing.assert_array_equal(result, expected)
    assert (arr == before).all()
    inside = color.convert_color_space(arr, current, desired, per_frame=True)
    assert inside is arr and (arr == expected).all()


def test_what_is_no_color_space():
    arr = np.zeros((2, 2, 3), np.uint8)
    with pytest.raises(ValueError, match="uint8"):
        color.convert_color_space(arr.astype(np.uint16), "RGB", "YBR_FULL")
    with pytest.raises(ValueError, match="three samples"):
        color.convert_color_space(arr[..., :2], "RGB", "YBR_FULL")
    with pytest.raises(NotImplementedError, match="YBR_ICT"):
        color.convert_color_space(arr, "YBR_ICT", "RGB")


# ---------------------------------------------------------------------- to RGB ---

PIXELS = np.arange(2 * 3 * 4 * 3, dtype=np.uint8).reshape(2, 3, 4, 3) * 3


@pytest.mark.parametrize("photometric", ["RGB", "YBR_FULL", "YBR_ICT", "YBR_RCT"])
def test_to_rgb(put, photometric):
    ds, _ = opened(put, PIXELS, photometric=photometric, samples=3, frames=2)
    expected = (
        PIXELS
        if photometric != "YBR_FULL"
        else theirs.convert_color_space(PIXELS, "YBR_FULL", "RGB")
    )
    assert (ds.to_rgb() == expected).all()
    assert (ds.to_rgb(1) == expected[1]).all()
    assert (ds.to_rgb(slice(1, None)) == expected[1:]).all()


def test_16_bit_rgb_keeps_the_upper_8(put):
    deep = PIXELS.astype(np.uint16) * 16 + 15
    ds, _ = opened(put, deep, photometric="RGB", samples=3, frames=2, bits=12)
    assert (ds.to_rgb() == PIXELS).all()


def test_gray_to_rgb(put):
    ds, _ = opened(put, CELLS, photometric="MONOCHROME1")
    gray = ds.windowed(center=100, width=50)
    result = ds.to_rgb(center=100, width=50)
    assert result.shape == (3, 4, 3) and (result == gray[..., None]).all()
    assert (ds.to_rgb() == grayscale.windowed(ds)[..., None]).all()


@pytest.mark.parametrize(
    "photometric, samples", [("HSV", 3), ("MONOCHROME2", 3), ("CMYK", 4), ("PALETTE COLOR", 5)]
)
def test_no_way_to_rgb(put, photometric, samples):
    array = np.zeros((2, 2, samples), np.uint8)
    ds, _ = opened(put, array, photometric=photometric, samples=samples)
    with pytest.raises(fastdcm.DicomError, match=photometric):
        ds.to_rgb()


@pytest.mark.parametrize("dtype", ["int8", "int16"])
def test_no_way_to_rgb_from_signed_samples(put, dtype):
    for photometric in ("RGB", "YBR_FULL"):
        ds, _ = opened(put, np.zeros((2, 2, 3), dtype), photometric=photometric, samples=3)
        with pytest.raises(fastdcm.DicomError, match=dtype):
            ds.to_rgb()


# ------------------------------------------------- the codestream and the attribute ---

BLOCKS = np.array([[[220, 30, 30], [30, 200, 60]], [[40, 60, 210], [230, 220, 40]]], np.uint8)
COLORED = BLOCKS.repeat(16, 0).repeat(16, 1)
IN_YBR = theirs.convert_color_space(COLORED, "RGB", "YBR_FULL")
LABELS = (
    "RGB",
    "YBR_FULL",
    "YBR_FULL_422",
    "YBR_PARTIAL_422",
    "YBR_ICT",
    "YBR_RCT",
    "MONOCHROME2",
    "PALETTE COLOR",
)
COLOR_OF = {
    "RGB": "RGB",
    "YBR_ICT": "RGB",
    "YBR_RCT": "RGB",
    "MONOCHROME2": "",
    "PALETTE COLOR": "",
}  # the others: YBR
MARKERS = {
    "none": (b"", b"\1\2\3"),
    "jfif": (JFIF, b"\1\2\3"),
    "adobe 0": (adobe(0), b"\1\2\3"),
    "adobe 1": (adobe(1), b"\1\2\3"),
    "adobe 2": (adobe(2), b"\1\2\3"),
    "jfif adobe 0": (JFIF + adobe(0), b"\1\2\3"),
    "ids": (b"", b"RGB"),
    "ids jfif": (JFIF, b"rgb"),
}


def colored(put, data, syntax, label, allocated=8, planar=0):
    data += b"\0" * (len(data) % 2)
    head = builder.image(32, 32, samples=3, allocated=allocated, photometric=label, planar=planar)
    return fastdcm.dcmread(put(head + builder.fragments([data]), transfer_syntax=syntax))


def differ_by(array, expected):
    """Within the four blocks: where they meet, chroma is interpolated."""
    inside = np.r_[4:12, 20:28]
    return np.abs(array.astype(int) - expected)[..., inside, :, :][..., inside, :].max()


def check_colors(ds, expected, agrees, near):
    """`expected`: RGB, YBR, or "" for what is no color."""
    stored = ds.pixel_array
    if expected:
        values = COLORED if expected == "RGB" else IN_YBR
        assert differ_by(stored, values) <= near, "pixel_array converts colors"
        rgb = ds.to_rgb()
        assert rgb.dtype == np.uint8 and differ_by(rgb, COLORED) <= 2 * near + 2
    else:
        with pytest.raises(fastdcm.DicomError) as caught:
            ds.to_rgb()
        assert caught.value.code == "color"
    assert [issue.code for issue in ds.issues] == ([] if agrees else ["photometric"])


def jpeg_cases():
    """Component identifiers, JFIF and APP14 decide, then subsampling, then the attribute."""
    for label, markers in itertools.product(LABELS, MARKERS):
        for subsampling in ("444", "422", "420", "lossless"):
            stated = "RGB" if markers in ("adobe 0", "ids", "ids jfif") else "YBR"
            if markers == "none":
                stated = ""
                if subsampling == "lossless" and label[:4] == "YBR_" and label != "YBR_FULL":
                    stated = "RGB"
                if subsampling in ("422", "420") and label[:5] not in ("YBR_F", "YBR_P"):
                    stated = "YBR"
            color = stated or COLOR_OF.get(label, "YBR")
            fits = label == "RGB" if stated == "RGB" else label.startswith("YBR_FULL")
            if color == "RGB" and subsampling in ("422", "420"):
                continue
            if stated or label != "YBR_PARTIAL_422":  # test_limited_range
                yield label, markers, subsampling, color, not stated or fits


@pytest.mark.parametrize("label, markers, subsampling, expected, agrees", jpeg_cases())
def test_colors_of_jpeg(put, label, markers, subsampling, expected, agrees):
    imagecodecs = pytest.importorskip("imagecodecs")
    lossless = subsampling == "lossless"
    space = "YCBCR" if expected == "YBR" and not lossless else "RGB"
    data = imagecodecs.jpeg8_encode(
        IN_YBR if expected == "YBR" else COLORED,
        100,
        colorspace=space,
        outcolorspace=space,
        subsampling=None if lossless else subsampling,
        lossless=lossless,
    )
    ds = colored(put, with_markers(data, *MARKERS[markers]), LOSSLESS if lossless else JPEG, label)
    check_colors(ds, expected, agrees, 0 if lossless else 3)


@pytest.mark.parametrize("markers", ["jfif", "ids"])
@pytest.mark.parametrize("label", ["RGB", "YBR_FULL", "YBR_FULL_422"])
def test_colors_of_jpeg_are_those_of_pydicom(put, label, markers):
    imagecodecs = pytest.importorskip("imagecodecs")
    require_package("gdcm")  # Pillow converts colors by rules of its own
    space = "YCBCR" if markers == "jfif" else "RGB"
    data = imagecodecs.jpeg8_encode(COLORED, 100, colorspace="RGB", outcolorspace=space)
    ds = colored(put, with_markers(data, *MARKERS[markers]), JPEG, label)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = pydicom.dcmread(ds.filename).pixel_array
    assert differ_by(ds.to_rgb(), expected) <= 4


@pytest.mark.parametrize("label", LABELS)
@pytest.mark.parametrize("syntax, transform", [(J2K, False), (J2K, True), (HTJ2K, True)])
def test_colors_of_jpeg_2000(put, label, syntax, transform):
    """The multiple component transformation decides (PS3.5 8.2.4)."""
    imagecodecs = pytest.importorskip("imagecodecs")
    label = label.replace("PARTIAL", "FULL")  # limited range: test_limited_range
    expected = "RGB" if transform else COLOR_OF.get(label, "YBR")
    cells = IN_YBR if expected == "YBR" else COLORED
    if syntax == HTJ2K:
        data = imagecodecs.htj2k_encode(cells, reversible=True)
    else:
        data = imagecodecs.jpeg2k_encode(
            cells, codecformat="j2k", reversible=True, level=0, mct=transform
        )
    transformed = label in ("YBR_ICT", "YBR_RCT")
    agrees = transformed or label == "RGB" if transform else not transformed
    check_colors(colored(put, data, syntax, label), expected, agrees, 0)


@pytest.mark.parametrize("label", ["RGB", "YBR_FULL", "YBR_FULL_422", "YBR_RCT", "MONOCHROME2"])
@pytest.mark.parametrize("syntax", [JPEGLS, RLE, builder.EXPLICIT_LE])
@pytest.mark.parametrize("planar", [0, 1])
def test_colors_that_only_the_attribute_states(put, label, syntax, planar):
    imagecodecs = pytest.importorskip("imagecodecs")
    color = {"R": "RGB", "M": ""}.get(label[0], "RGB" if label == "YBR_RCT" else "YBR")
    cells = IN_YBR if color == "YBR" else COLORED
    if syntax == builder.EXPLICIT_LE:
        raw = cells.transpose(2, 0, 1).tobytes() if planar else cells.tobytes()
        head = builder.image(32, 32, samples=3, allocated=8, photometric=label, planar=planar)
        ds = fastdcm.dcmread(put(head + builder.element(0x7FE00010, "OB", raw)))
    else:
        data = imagecodecs.jpegls_encode(cells) if syntax == JPEGLS else rle(cells)
        ds = colored(put, data, syntax, label, planar=planar)
    agrees = syntax != builder.EXPLICIT_LE or label != "YBR_FULL_422"  # at full size
    check_colors(ds, color, agrees, 0)


@pytest.mark.parametrize(
    "syntax, label, how",
    [
        (JPEGXL, "RGB", "lossless"),
        (JPEGXL, "YBR_FULL", "lossless"),
        ("1.2.840.10008.1.2.4.112", "XYB", "lossy"),
        ("1.2.840.10008.1.2.4.112", "RGB", "lossy"),
        ("1.2.840.10008.1.2.4.111", "YBR_FULL_422", "jpeg"),
        ("1.2.840.10008.1.2.4.111", "YBR_FULL", "jpeg"),
        ("1.2.840.10008.1.2.4.111", "RGB", "jpeg"),
    ],
)
def test_colors_of_jpeg_xl(put, syntax, label, how):
    """Its codec converts XYB, and the Y Cb Cr of a JPEG, to RGB."""
    imagecodecs = pytest.importorskip("imagecodecs")
    color = "YBR" if label == "YBR_FULL" and how == "lossless" else "RGB"
    if how == "jpeg":
        data = imagecodecs.jpegxl_encode_jpeg(imagecodecs.jpeg8_encode(COLORED, 95))
    else:
        cells = IN_YBR if color == "YBR" else COLORED
        data = imagecodecs.jpegxl_encode(cells, lossless=how == "lossless", distance=0.5)
    near = 0 if how == "lossless" else 12
    check_colors(colored(put, data, syntax, label), color, True, near)


def test_frames_of_different_colors(put):
    """Each frame is converted as its codestream says."""
    imagecodecs = pytest.importorskip("imagecodecs")
    frames = [
        imagecodecs.jpeg8_encode(COLORED, 100, colorspace="RGB", outcolorspace=space)
        for space in ("YCBCR", "RGB", "YCBCR")
    ]
    frames = [data + b"\0" * (len(data) % 2) for data in frames]
    head = builder.image(
        32, 32, samples=3, allocated=8, photometric="YBR_FULL_422", planar=0, frames=3
    )
    ds = fastdcm.dcmread(put(head + builder.fragments(frames), transfer_syntax=JPEG))
    assert [ds.frames.photometric(i) for i in range(3)] == ["YBR_FULL_422", "RGB", "YBR_FULL_422"]
    for given in (ds.to_rgb(), [ds.to_rgb(i) for i in range(3)], [*ds.to_rgb(slice(0, 2))]):
        for one in given:
            assert differ_by(one, COLORED) <= 4
    offsets = {issue.offset for issue in ds.issues if issue.code == "photometric"}
    assert len(offsets) == 1  # of the second frame


# ----------------------------------------------------------------------- video ---


@pytest.mark.parametrize("label", ["YBR_PARTIAL_422", "YBR_PARTIAL_420"])
@pytest.mark.parametrize(
    "ybr, rgb",
    [  # PS3.3 C.7.6.3.1.2: black, white, and the primary colors of ITU-R BT.601
        ((16, 128, 128), (0, 0, 0)),
        ((235, 128, 128), (255, 255, 255)),
        ((81, 90, 240), (255, 0, 0)),
        ((145, 54, 34), (0, 255, 0)),
        ((41, 240, 110), (0, 0, 255)),
        ((0, 128, 128), (0, 0, 0)),
        ((255, 128, 128), (255, 255, 255)),
    ],
)
def test_limited_range(put, label, ybr, rgb):
    raw = np.full((4, 4, 3), ybr, np.uint8)
    head = builder.image(4, 4, samples=3, allocated=8, photometric=label, planar=0)
    ds = fastdcm.dcmread(put(head + builder.element(0x7FE00010, "OB", raw.tobytes())))
    assert np.array_equal(ds.pixel_array, raw)
    assert np.abs(ds.to_rgb().astype(int) - rgb).max() <= 1
    deep = raw.astype(np.uint16) << 2
    given = color.color_to_rgb(deep, label, 10)
    assert np.abs(given.astype(int) - rgb).max() <= 1


@pytest.mark.parametrize("limited", [False, True])
@pytest.mark.parametrize("kr, kb", [(0.299, 0.114), (0.2126, 0.0722), (0.2627, 0.0593)])
def test_matrices(kr, kb, limited):
    """Every Y with some chroma, against the definition in floating point."""
    levels = np.arange(0, 256, 17, dtype=np.uint8)
    arr = np.stack(np.meshgrid(np.arange(256, dtype=np.uint8), levels, levels), axis=-1)
    y, cb, cr = np.moveaxis(arr.astype(float), -1, 0)
    cb, cr = cb - 128, cr - 128
    if limited:
        y, cb, cr = (y - 16) * 255 / 219, cb * 255 / 224, cr * 255 / 224
    red, blue = y + 2 * (1 - kr) * cr, y + 2 * (1 - kb) * cb
    green = (y - kr * red - kb * blue) / (1 - kr - kb)
    expected = np.clip(np.stack([red, green, blue], axis=-1), 0, 255)
    label = "YBR_PARTIAL_420" if limited else "YBR_FULL"
    given = color.color_to_rgb(arr, label, matrix=(kr, kb))
    assert np.abs(given - expected).max() <= 0.501


def test_palettes_in_color_to_rgb(put):
    ds, _ = opened(put, CELLS, *palette(COLUMNS), photometric="PALETTE COLOR")
    given = color.color_to_rgb(CELLS, "PALETTE COLOR", table=color.palette(ds))
    assert np.array_equal(given, ds.to_rgb())
    with pytest.raises(fastdcm.DicomError, match="PALETTE COLOR"):
        color.color_to_rgb(CELLS, "PALETTE COLOR")
