"""Every codec: what it decodes, what it rejects, and with which error."""

import io
import subprocess
import sys

import numpy as np
import pytest

import fastdcm
from fastdcm.pixels import decoders
from fastdcm.pixels._codestream import read_codestream
from fastdcm.uid import TRANSFER_SYNTAXES
from support import builder
from support.builder import fragments, image
from support.encoded_frames import (
    DEFLATED,
    EXTENDED,
    HTJ2K,
    HTJ2K_LOSSY,
    J2K,
    J2K_LOSSY,
    JPEG,
    JPEGLS,
    JPEGXL,
    LOSSLESS,
    PLAIN,
    RLE,
    deflate,
    picture,
    repeated_scans,
    rle,
)


@pytest.fixture(scope="module")
def imagecodecs():
    return pytest.importorskip("imagecodecs")


def attributes(array, bits, signed=False, **more):
    return {
        "rows": array.shape[0],
        "columns": array.shape[1],
        "samples": array.shape[2] if array.ndim == 3 else 1,
        "bits_allocated": 8 * array.dtype.itemsize,
        "bits_stored": bits,
        "signed": signed,
        **more,
    }


# ---- what was encoded comes back

LOSSLESS_CASES = [
    (syntax, bits, samples, signed)
    for syntax, wanted in (
        (LOSSLESS, (8, 12, 16)),
        (JPEGLS, (8, 16)),
        (J2K, (8, 12, 16)),
        (HTJ2K, (8, 12, 16)),
        (JPEGXL, (8, 12, 16)),
        (RLE, (8, 16)),
        (DEFLATED, (8, 16)),
        (PLAIN, (8, 16)),
    )
    for bits in wanted
    for samples in (1, 3)
    for signed in (False, True)
    if not signed or (samples == 1 and syntax != JPEGXL)
]


def encode(imagecodecs, syntax, array, bits):
    unsigned = array.view(f"u{array.dtype.itemsize}") & ((1 << bits) - 1)
    if syntax == LOSSLESS:
        return imagecodecs.jpeg8_encode(
            unsigned,
            lossless=True,
            bitspersample=bits,
            predictor=1,
            colorspace="rgb" if array.ndim == 3 else None,
        )
    if syntax == JPEGLS:
        return imagecodecs.jpegls_encode(unsigned)
    if syntax == J2K:
        return imagecodecs.jpeg2k_encode(
            array, codecformat="j2k", reversible=True, level=0, bitspersample=bits
        )
    if syntax == HTJ2K:
        return imagecodecs.htj2k_encode(array, reversible=True)
    if syntax == JPEGXL:
        return imagecodecs.jpegxl_encode(unsigned, lossless=True, bitspersample=bits)
    if syntax == RLE:
        return rle(array)
    return deflate(array.tobytes()) if syntax == DEFLATED else array.tobytes()


@pytest.mark.parametrize("syntax, bits, samples, signed", LOSSLESS_CASES)
def test_lossless(imagecodecs, syntax, bits, samples, signed):
    array = picture(37, 53, samples, bits, signed)
    data = encode(imagecodecs, syntax, array, bits)
    given = decoders.decode(data, syntax, **attributes(array, bits, signed))
    assert given.dtype == array.dtype and np.array_equal(given, array)


@pytest.mark.parametrize("syntax, bits, samples, signed", LOSSLESS_CASES)
def test_into_a_slot(imagecodecs, syntax, bits, samples, signed):
    """`out` is filled, and the arrays around it are not touched."""
    array = picture(24, 31, samples, bits, signed)
    data = encode(imagecodecs, syntax, array, bits)
    slots = np.full((3, *array.shape), 77, array.dtype)
    given = decoders.decode(data, syntax, **attributes(array, bits, signed), out=slots[1])
    assert given.base is slots or given is slots[1]
    assert np.array_equal(slots[1], array)
    assert (slots[0] == 77).all() and (slots[2] == 77).all()


@pytest.mark.parametrize("syntax", [LOSSLESS, JPEGLS, J2K, HTJ2K, JPEGXL])
def test_few_bits_in_wide_cells(imagecodecs, syntax):
    """8 bits in the codestream, 16 allocated."""
    array = picture(16, 20, 1, 8)
    data = encode(imagecodecs, syntax, array, 8)
    wanted = {**attributes(array, 8), "bits_allocated": 16}
    given = decoders.decode(data, syntax, **wanted)
    assert given.dtype == np.uint16 and np.array_equal(given, array)


def test_the_sign_is_that_of_the_attributes(imagecodecs):
    array = picture(16, 20, 1, 12, True)
    unsigned = array.view(np.uint16) & 0xFFF
    data = encode(imagecodecs, J2K, unsigned, 12)
    given = decoders.decode(data, J2K, **attributes(array, 12, True))
    assert np.array_equal(given, array)
    data = encode(imagecodecs, J2K, array, 12)
    given = decoders.decode(data, J2K, **attributes(unsigned, 12, False))
    assert np.array_equal(given, unsigned)
    # JPEG-LS has no sign: 8 bits in 16 allocated
    narrow = picture(16, 20, 1, 8, True)
    data = encode(imagecodecs, JPEGLS, narrow, 8)
    given = decoders.decode(data, JPEGLS, **{**attributes(narrow, 8, True), "bits_allocated": 16})
    assert np.array_equal(given, narrow)


@pytest.mark.parametrize("photometric", ["RGB", "YBR_FULL", "YBR_FULL_422"])
def test_jpeg_converts_no_color(imagecodecs, photometric):
    array = picture(32, 32, 3, 8)
    array[...] = array[::8, ::8].repeat(8, 0).repeat(8, 1)  # flat blocks
    data = imagecodecs.jpeg8_encode(
        array, 100, colorspace="rgb", outcolorspace="rgb", subsampling="444"
    )
    given = decoders.decode(data, JPEG, **attributes(array, 8, photometric=photometric))
    assert np.abs(given.astype(int) - array).max() <= 1


def test_jpeg_of_12_bits(imagecodecs):
    array = picture(32, 40, 1, 12)
    data = imagecodecs.jpeg8_encode(array, 100, bitspersample=12)
    given = decoders.decode(data, EXTENDED, **attributes(array, 12))
    assert given.dtype == np.uint16
    assert np.abs(given.astype(int) - array).max() <= 2


def test_lossy_high_throughput_is_clamped(imagecodecs):
    """White and black next to each other overshoot: no value may wrap."""
    array = np.zeros((64, 64), np.uint8)
    array[::2, ::3] = 255
    data = imagecodecs.htj2k_encode(array, 0.3, reversible=False)
    assert not read_codestream(data).is_reversible
    given = decoders.decode(data, HTJ2K_LOSSY, **attributes(array, 8))
    expected = imagecodecs.jpeg2k_decode(data)
    assert np.array_equal(given, expected)
    assert given[array == 255].mean() > 128 > given[array == 0].mean()


def test_jpeg_xl_of_a_jpeg(imagecodecs):
    """Recompression: the pixels of the JPEG it was made of."""
    array = picture(40, 48, 1, 8)
    jpeg = imagecodecs.jpeg8_encode(array, 90)
    data = imagecodecs.jpegxl_encode_jpeg(jpeg)
    given = decoders.decode(data, "1.2.840.10008.1.2.4.111", **attributes(array, 8))
    expected = decoders.decode(jpeg, JPEG, **attributes(array, 8))
    # libjxl's inverse transform is in floating point
    assert np.abs(given.astype(int) - expected).max() <= 4


@pytest.mark.parametrize("syntax", [RLE, DEFLATED, PLAIN])
def test_one_bit(syntax):
    bits = np.random.default_rng(5).integers(0, 2, (7, 9), np.uint8)
    packed = np.packbits(bits, bitorder="little")
    data = {RLE: rle(packed[None]), DEFLATED: deflate(packed.tobytes()), PLAIN: packed.tobytes()}[
        syntax
    ]
    given = decoders.decode(data, syntax, rows=7, columns=9, bits_allocated=1)
    assert given.dtype == np.uint8 and np.array_equal(given, bits)


@pytest.mark.parametrize("syntax", [DEFLATED, PLAIN])
def test_planes(syntax):
    array = picture(6, 5, 3, 16)
    raw = array.transpose(2, 0, 1).tobytes()
    data = deflate(raw) if syntax == DEFLATED else raw
    assert np.array_equal(
        decoders.decode(data, syntax, **attributes(array, 16, planar=True)), array
    )


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize(
    "allocated, stored", [(8, 5), (8, 7), (16, 8), (16, 10), (16, 12), (16, 15)]
)
@pytest.mark.parametrize("syntax", [LOSSLESS, JPEGLS, J2K, HTJ2K, JPEGXL, RLE, DEFLATED, PLAIN])
def test_unused_bits(imagecodecs, syntax, allocated, stored, signed):
    """Every codec clears them and extends the sign (PS3.5 8.1.1), like native cells."""
    dirty = picture(9, 11, 1, allocated)
    data = encode(imagecodecs, syntax, dirty, allocated)
    given = decoders.decode(
        data, syntax, **{**attributes(dirty, stored, signed), "bits_allocated": allocated}
    )
    value = (dirty & ((1 << stored) - 1)).astype(int)
    if signed:
        value = (value ^ 1 << stored - 1) - (1 << stored - 1)
    assert given.dtype == np.dtype(f"{'i' if signed else 'u'}{allocated // 8}")
    assert np.array_equal(given, value)


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("bits", [9, 12, 16])
@pytest.mark.parametrize("syntax", [LOSSLESS, J2K, JPEGXL])
def test_the_sign_bit_is_that_of_the_codestream(imagecodecs, syntax, bits, signed):
    """A codestream of as many bits as are stored, or of fewer."""
    if syntax == JPEGXL and bits == 9:
        pytest.skip("libjxl is not given 9 bits")
    array = picture(16, 20, 1, bits, signed)
    unsigned = array.view(np.uint16) & ((1 << bits) - 1)
    data = encode(imagecodecs, syntax, unsigned, bits)
    for stored in {bits, 16}:
        given = decoders.decode(data, syntax, **attributes(array, stored, signed))
        assert np.array_equal(given, array)


def test_lossless_jpeg_is_modulo_its_precision(imagecodecs):
    """Differences modulo 2**12 in place of 2**16: the codec leaves bits above the sample."""
    array = picture(16, 20, 1, 12)
    wide = array.astype(np.uint16)
    wide[::2] += 0x3000  # what such a decoder gives
    data = bytearray(encode(imagecodecs, LOSSLESS, wide, 16))
    at = data.index(b"\xff\xc3")
    data[at + 4] = 12
    for signed in (False, True):
        given = decoders.decode(bytes(data), LOSSLESS, **attributes(array, 12, signed))
        assert given.max() < 4096 and given.min() >= (-2048 if signed else 0)


def test_lossy_values_do_not_wrap(imagecodecs):
    """12 bits stored in a codestream of 16: white that was rounded up stays white."""
    array = np.zeros((64, 64), np.uint16)
    array[::2, ::3] = 4095
    data = imagecodecs.jpeg2k_encode(array, 50, codecformat="j2k", reversible=False)
    assert imagecodecs.jpeg2k_decode(data).max() > 4095
    given = decoders.decode(data, J2K_LOSSY, **attributes(array, 12))
    assert given.max() == 4095 and given[array == 4095].min() > 1000


# ---- what a codestream says of itself


def test_headers(imagecodecs):
    for syntax, kind in (
        (LOSSLESS, "jpeg"),
        (JPEGLS, "jpegls"),
        (J2K, "jpeg2000"),
        (HTJ2K, "jpeg2000"),
        (JPEGXL, "jpegxl"),
    ):
        for bits in (8, 12, 16):
            for samples in (1, 3):
                data = encode(imagecodecs, syntax, picture(37, 53, samples, bits), bits)
                header = read_codestream(data)
                assert (header.kind, header.rows, header.columns, header.components) == (
                    kind,
                    37,
                    53,
                    samples,
                )
                # OpenJPH and CharLS are not given the bits here
                assert header.precision in (
                    (bits,) if syntax not in (HTJ2K, JPEGLS) else (bits, 16)
                )
                assert header.is_high_throughput == (syntax == HTJ2K)


@pytest.mark.parametrize(
    "rows, columns", [(1, 1), (8, 8), (256, 256), (100, 200), (10, 12), (513, 9000), (1, 40000)]
)
@pytest.mark.parametrize("boxes", [False, True])
def test_jpeg_xl_sizes(imagecodecs, rows, columns, boxes):
    data = imagecodecs.jpegxl_encode(
        np.zeros((rows, columns), np.uint8), effort=1, lossless=True, usecontainer=boxes
    )
    header = read_codestream(data)
    assert (header.rows, header.columns, header.components, header.precision) == (
        rows,
        columns,
        1,
        8,
    )


def test_jpeg_2000_in_a_file(imagecodecs):
    array = picture(20, 30, 3, 8)
    data = imagecodecs.jpeg2k_encode(array, codecformat="jp2", reversible=True, level=0)
    assert data[4:8] == b"jP  "
    assert np.array_equal(decoders.decode(data, J2K, **attributes(array, 8)), array)


def test_every_prefix_is_no_header_or_the_same(imagecodecs):
    for syntax in (LOSSLESS, JPEGLS, J2K, HTJ2K, JPEGXL):
        data = encode(imagecodecs, syntax, picture(16, 16, 3, 8), 8)
        for length in range(min(len(data), 400)):
            header = read_codestream(data[:length])
            assert header is None or (header.rows, header.columns) == (16, 16)


# ---- what is refused

ARRAY = picture(32, 48, 1, 8)


def refused(data, syntax, code="codestream", **changes):
    with pytest.raises(fastdcm.DicomError) as caught:
        decoders.decode(data, syntax, **{**attributes(ARRAY, 8), **changes})
    assert caught.value.code == code, caught.value
    assert fastdcm.UID(syntax).name in str(caught.value) or code == "pixels"
    return str(caught.value)


@pytest.mark.parametrize("syntax", [LOSSLESS, JPEGLS, J2K, HTJ2K, JPEGXL])
@pytest.mark.parametrize(
    "changes", [{"rows": 31}, {"columns": 49}, {"samples": 3}, {"rows": 65535, "columns": 65535}]
)
def test_a_header_that_contradicts_the_attributes(imagecodecs, syntax, changes):
    text = refused(encode(imagecodecs, syntax, ARRAY, 8), syntax, **changes)
    assert "32 x 48 x 1" in text


@pytest.mark.parametrize("syntax", [LOSSLESS, JPEGLS, J2K, HTJ2K, JPEGXL])
def test_too_many_bits(imagecodecs, syntax):
    data = encode(imagecodecs, syntax, picture(32, 48, 1, 16), 16)
    assert "16 bits do not fit" in refused(data, syntax)


@pytest.mark.parametrize("syntax", [LOSSLESS, JPEGLS, J2K, HTJ2K, JPEGXL, RLE, DEFLATED, PLAIN])
def test_damage(imagecodecs, syntax):
    data = encode(imagecodecs, syntax, ARRAY, 8)
    for bad in (b"", b"\0", b"\xff\xd8", data[:40], b"\x55" * 200):
        with pytest.raises(fastdcm.DicomError) as caught:
            decoders.decode(bad, syntax, **attributes(ARRAY, 8))
        assert caught.value.code in (
            "codestream",
            "frame-short",
            "rle-header",
            "rle-count",
            "rle-segment",
        )


@pytest.mark.parametrize("syntax", [JPEGLS, J2K, HTJ2K, JPEGXL, RLE, DEFLATED, PLAIN])
def test_half_a_frame(imagecodecs, syntax):
    data = encode(imagecodecs, syntax, ARRAY, 8)
    with pytest.raises(fastdcm.DicomError):
        decoders.decode(data[: len(data) // 2], syntax, **attributes(ARRAY, 8))


@pytest.mark.parametrize("syntax", [JPEG, LOSSLESS])
def test_half_a_jpeg_is_an_issue(imagecodecs, put, syntax):
    """Its codec fills up what is missing."""
    array = picture(64, 64, 1, 8)
    data = imagecodecs.jpeg8_encode(array, 95, lossless=syntax == LOSSLESS)
    half = data[: len(data) // 2]
    half += b"\0" * (len(half) % 2)
    ds = fastdcm.dcmread(
        put(image(64, 64, allocated=8) + fragments([half]), transfer_syntax=syntax)
    )
    given = ds.pixel_array
    assert [issue.code for issue in ds.issues] == ["codestream-end"]
    assert np.abs(given[:16].astype(int) - array[:16]).max() < 16
    padded = data + b"\0" * (len(data) % 2)
    ds = fastdcm.dcmread(
        put(image(64, 64, allocated=8) + fragments([padded]), transfer_syntax=syntax)
    )
    _ = ds.pixel_array
    assert ds.issues == []


KINDS = (LOSSLESS, JPEG, JPEGLS, J2K, HTJ2K, JPEGXL, RLE, PLAIN)


@pytest.mark.parametrize("stated", [*KINDS, builder.EXPLICIT_LE, builder.IMPLICIT_LE, "1.2.3.4"])
@pytest.mark.parametrize("found", KINDS)
def test_a_frame_is_decoded_as_what_it_is(imagecodecs, put, stated, found):
    """Whatever the transfer syntax states, with an issue where it states something else."""
    if found == JPEG:
        data = imagecodecs.jpeg8_encode(ARRAY, 100)
    else:
        data = encode(imagecodecs, found, ARRAY, 8)
    data += b"\0" * (len(data) % 2)
    encoding = builder.encoding_of(stated)
    ds = fastdcm.dcmread(
        put(
            image(32, 48, allocated=8, encoding=encoding) + fragments([data], encoding=encoding),
            transfer_syntax=stated,
        )
    )
    assert np.abs(ds.pixel_array.astype(int) - ARRAY).max() <= (3 if found == JPEG else 0)
    native = (PLAIN, builder.EXPLICIT_LE, builder.IMPLICIT_LE)
    agrees = stated == found or (found == PLAIN and stated in native)
    codes = {issue.code for issue in ds.issues} - {"unknown-transfer-syntax"}
    expected = set() if agrees else {"codestream-kind"}
    if stated in (builder.EXPLICIT_LE, builder.IMPLICIT_LE):
        expected.add("encapsulation")
    assert codes == expected


def test_lossy_where_lossless_is_promised(imagecodecs):
    """The same codec, but not what the transfer syntax states."""
    layout = decoders.Layout(32, 48, 1, 8)
    lossy = {
        JPEGLS: imagecodecs.jpegls_encode(ARRAY, 3),
        J2K: imagecodecs.jpeg2k_encode(ARRAY, 40, codecformat="j2k", reversible=False),
        HTJ2K: imagecodecs.htj2k_encode(ARRAY, 0.1, reversible=False),
    }
    for syntax, data in lossy.items():
        assert decoders.FrameDecoder(syntax, layout)(data)[1] == ["codestream-kind"]
        permitted = {JPEGLS: "1.2.840.10008.1.2.4.81", J2K: "1.2.840.10008.1.2.4.91"}
        syntax = permitted.get(syntax, HTJ2K_LOSSY)
        assert decoders.FrameDecoder(syntax, layout)(data)[1] == []


def test_big_endian_cells_in_fragments(put):
    """The private transfer syntax of GE, in fragments."""
    array = picture(6, 5, 1, 16)
    implicit = builder.encoding_of(builder.IMPLICIT_LE)
    raw = fragments([array.astype(">u2").tobytes()], encoding=implicit)
    ds = fastdcm.dcmread(
        put(image(6, 5, encoding=implicit) + raw, transfer_syntax="1.2.840.113619.5.2")
    )
    assert np.array_equal(ds.pixel_array, array)


@pytest.mark.parametrize("uid", [row.uid for row in TRANSFER_SYNTAXES.values() if not row.pixels])
def test_refusals_say_why(uid):
    assert TRANSFER_SYNTAXES[uid].refusal in refused(b"\0" * 64, uid, "pixels")


def test_unknown_transfer_syntax():
    assert "1.2.3.4" in refused(b"\0" * 64, "1.2.3.4", "pixels")


def test_no_transfer_syntax(put):
    ds = fastdcm.dcmread(put(image(8, 8) + fragments([b"\0" * 64]), transfer_syntax=None))
    with pytest.raises(fastdcm.DicomError, match=r"no transfer syntax, frames\[0\]: no codec"):
        _ = ds.frames[0]


@pytest.mark.parametrize(
    "changes, said",
    [
        ({"bits_allocated": 3}, "BitsAllocated must be 1, 8, 12, 16, 32 or 64, got 3"),
        ({"bits_stored": 9}, "BitsStored must be 1 to BitsAllocated (8), got 9"),
        ({"bits_stored": 0}, "BitsStored must be 1 to BitsAllocated (8), got 0"),
        ({"rows": 1 << 40, "columns": 1 << 40}, "too large for memory"),
    ],
)
def test_attributes_no_frame_can_have(changes, said):
    assert said in refused(b"\0" * 64, RLE, "pixels", **changes)


@pytest.mark.parametrize(
    "syntax, extra", [(JPEG, "pixels"), (J2K, "pixels"), ("1.2.840.10008.1.2.4.102", "video")]
)
def test_missing_extra(monkeypatch, put, syntax, extra):
    monkeypatch.setitem(sys.modules, "imagecodecs", None)
    monkeypatch.setitem(sys.modules, "av", None)
    photometric = "YBR_PARTIAL_420" if extra == "video" else None
    samples = 3 if extra == "video" else 1
    ds = fastdcm.dcmread(
        put(
            image(8, 8, allocated=8, samples=samples, photometric=photometric)
            + fragments([b"\0" * 64]),
            transfer_syntax=syntax,
        )
    )
    with pytest.raises(fastdcm.DicomError) as caught:
        _ = ds.pixel_array
    assert caught.value.code == "codec-missing"
    assert f"pip install 'fastdcm-dicom[{extra}]'" in str(caught.value)
    assert fastdcm.UID(syntax).name in str(caught.value)
    assert caught.value.filename == ds.filename


def test_the_error_names_the_frame(imagecodecs, put):
    good = encode(imagecodecs, JPEGLS, ARRAY, 8)
    good += b"\0" * (len(good) % 2)
    ds = fastdcm.dcmread(
        put(
            image(32, 48, allocated=8, frames=3) + fragments([good, good, b"\xff\xd8\0\0"]),
            transfer_syntax=JPEGLS,
        )
    )
    assert np.array_equal(ds.frames[1], ARRAY)
    for read in (lambda: ds.frames[2], lambda: ds.pixel_array):
        with pytest.raises(fastdcm.DicomError, match=r"JPEG-LS Lossless.*frames\[2\]") as caught:
            read()
        assert caught.value.filename == ds.filename


# ---- cost


def test_scans_are_limited(imagecodecs, put):
    """Each scan of a progressive JPEG visits all blocks, and takes some 30 bytes."""
    pillow = pytest.importorskip("PIL.Image")
    stream = io.BytesIO()
    flat = np.full((2048, 2048), 128, np.uint8)
    pillow.fromarray(flat).save(stream, "JPEG", progressive=True)
    data = stream.getvalue()
    syntax = "1.2.840.10008.1.2.4.55"
    assert read_codestream(data).scans > 3
    given = attributes(flat, 8)
    assert np.array_equal(decoders.decode(data, syntax, **given), flat)
    many = repeated_scans(data, 600)
    many += b"\0" * (len(many) % 2)
    assert "scans" in refused(many, syntax, "decode-limit", **given)
    assert np.array_equal(decoders.decode(many, syntax, **given, max_ratio=1 << 20), flat)
    ds = fastdcm.dcmread(
        put(image(2048, 2048, allocated=8) + fragments([many]), transfer_syntax=syntax)
    )
    with pytest.raises(fastdcm.DicomError, match="max_ratio=1032") as caught:
        _ = ds.pixel_array
    assert caught.value.code == "decode-limit"
    assert np.array_equal(ds.get_pixels(max_ratio=1 << 20), flat)


def test_a_frame_is_limited_by_its_bytes(imagecodecs):
    """A blank frame of 25 million samples, above what is decoded from any number of bytes."""
    blank = np.zeros((5000, 5000), np.uint8)
    data = imagecodecs.jpegls_encode(blank)
    assert "max_ratio=1032" in refused(data, JPEGLS, "decode-limit", rows=5000, columns=5000)
    given = decoders.decode(data, JPEGLS, **attributes(blank, 8), max_ratio=1 << 20)
    assert np.array_equal(given, blank)


def test_many_frames_are_limited_by_their_bytes(imagecodecs, put):
    """Also one by one: thousands of small frames may each be within the limit."""
    blank = np.zeros((4000, 4000), np.uint8)
    data = imagecodecs.jpegls_encode(blank)
    data += b"\0" * (len(data) % 2)
    ds = fastdcm.dcmread(
        put(
            image(4000, 4000, allocated=8, frames=8) + fragments([data] * 8),
            transfer_syntax=JPEGLS,
        )
    )
    for read in (lambda: ds.frames[0], lambda: ds.frames[1:], lambda: next(iter(ds.frames))):
        with pytest.raises(fastdcm.DicomError) as caught:
            read()
        assert caught.value.code == "decode-limit"
    assert ds.frames.read(range(1), max_ratio=1 << 20).shape == (1, 4000, 4000)


# ---- memory

BOMBS = r"""
import resource, sys
import numpy as np
import imagecodecs
import fastdcm
from fastdcm.pixels import decoders
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
data = open(sys.argv[1], "rb").read()
syntax, rows, columns = sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
try:
    decoders.decode(data, syntax, rows=rows, columns=columns, bits_allocated=8)
    print("decoded")
except fastdcm.DicomError as error:
    print(error.code)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def bomb(tmp_path, data, syntax, rows, columns):
    path = tmp_path / "bomb"
    path.write_bytes(data)
    done = subprocess.run(
        [sys.executable, "-c", BOMBS, path, syntax, str(rows), str(columns)],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    said, more = done.stdout.split()
    unit = 1 if sys.platform == "darwin" else 1024
    assert int(more) * unit < 200 << 20, (said, more)
    return said


def patched(data, find, skip, value, size):
    """`data` with a number after a marker replaced."""
    at = data.index(find) + skip
    return data[:at] + value.to_bytes(size, "big") + data[at + size :]


@pytest.mark.skipif(sys.platform == "win32", reason="counts memory with resource")
def test_headers_allocate_nothing(imagecodecs, tmp_path):
    """A header that promises a huge image, and attributes that agree."""
    small = np.zeros((16, 16), np.uint8)
    for syntax in (JPEG, LOSSLESS):
        data = imagecodecs.jpeg8_encode(small, lossless=syntax == LOSSLESS)
        sof = b"\xff\xc3" if syntax == LOSSLESS else b"\xff\xc0"
        data = patched(patched(data, sof, 5, 65500, 2), sof, 7, 65500, 2)
        assert bomb(tmp_path, data, syntax, 65500, 65500) == "decode-limit"
    data = imagecodecs.jpegls_encode(small)
    data = patched(patched(data, b"\xff\xf7", 5, 65500, 2), b"\xff\xf7", 7, 65500, 2)
    assert bomb(tmp_path, data, JPEGLS, 65500, 65500) == "decode-limit"
    data = imagecodecs.jpeg2k_encode(small, codecformat="j2k", reversible=True, level=0)
    for tile in (65500, 16):  # one tile, or too many
        huge = patched(patched(data, b"\xff\x51", 6, 65500, 4), b"\xff\x51", 10, 65500, 4)
        huge = patched(patched(huge, b"\xff\x51", 22, tile, 4), b"\xff\x51", 26, tile, 4)
        code = "decode-limit" if tile == 65500 else "codestream"
        assert bomb(tmp_path, huge, J2K, 65500, 65500) == code
    # 60,000 tiles of 1 x 1 that have no byte
    tiny = patched(patched(data, b"\xff\x51", 6, 240, 4), b"\xff\x51", 10, 250, 4)
    tiny = patched(patched(tiny, b"\xff\x51", 22, 1, 4), b"\xff\x51", 26, 1, 4)
    assert bomb(tmp_path, tiny, J2K, 250, 240) == "codestream"
    assert bomb(tmp_path, imagecodecs.jpegxl_encode(small), JPEGXL, 65500, 65500) == "codestream"


@pytest.mark.skipif(sys.platform == "win32", reason="counts memory with resource")
def test_inflation_stops_at_the_frame(tmp_path):
    assert bomb(tmp_path, deflate(b"\0" * (1 << 28)), DEFLATED, 100, 100) == "decoded"
    assert bomb(tmp_path, deflate(b"\0" * (1 << 20)), DEFLATED, 65500, 65500) == "decode-limit"


@pytest.mark.parametrize("syntax", [JPEG, LOSSLESS, JPEGLS, J2K, HTJ2K, JPEGXL, RLE, DEFLATED])
def test_mutations_end_in_a_frame_or_an_error(imagecodecs, syntax):
    """In a process of its own, so that a crash is a failure of this test."""
    data = encode(imagecodecs, LOSSLESS if syntax == JPEG else syntax, ARRAY, 8)
    if syntax == JPEG:
        data = imagecodecs.jpeg8_encode(ARRAY, 90)
    program = f"""
import random, fastdcm
from fastdcm.pixels import decoders
data, chance = {data!r}, random.Random({len(data)})
seen = set()
for _ in range(300):
    bad = bytearray(data)
    for _ in range(chance.randrange(1, 6)):
        values = (0, 1, 0x7f, 0x80, 0xff, chance.randrange(256))
        bad[chance.randrange(len(bad))] = chance.choice(values)
    if chance.random() < 0.2:
        del bad[chance.randrange(len(bad)):]
    try:
        array = decoders.decode(bytes(bad), {syntax!r}, rows=32, columns=48, bits_allocated=8)
        assert array.shape == (32, 48)
        seen.add("frame")
    except fastdcm.DicomError as error:
        seen.add("error")
print(*sorted(seen))
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.split() == ["error", "frame"]
