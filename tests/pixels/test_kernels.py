"""The pixel kernels against NumPy, pydicom and the formulas of the Standard."""

import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastdcm import DicomError
from fastdcm.pixels import _kernels
from support.pixel_values import value_bits, windowed

INTEGERS = ["|u1", "|i1", "<u2", "<i2", ">u2", ">i2", "<u4", "<i4", ">u4", ">i4"]
ALL = [*INTEGERS, "<u8", ">i8", "<f4", ">f4", "<f8", ">f8"]
ORDER = "<" if sys.byteorder == "little" else ">"


def some(fmt, count, seed=1):
    """Any bits at all; floats that are numbers. Not aligned."""
    rng = np.random.default_rng(seed)
    dtype = np.dtype(fmt)
    raw = rng.integers(0, 256, count * dtype.itemsize, np.uint8)
    if dtype.kind == "f":
        raw = (rng.normal(size=count) * 1000).astype(dtype).view(np.uint8)
    memory = np.empty(raw.size + 1, np.uint8)
    memory[1:] = raw
    return memory[1:].view(dtype)


def output(fmt, *shape):
    """A result of that shape, not aligned and full of something else, and the
    bytes before and after it, which must not be written."""
    dtype = np.dtype(fmt)
    size = int(np.prod(shape)) * dtype.itemsize
    memory = np.full(size + 34, 0xA5, np.uint8)
    return memory[17 : 17 + size].view(dtype).reshape(shape), memory


def untouched(memory):
    return (memory[:17] == 0xA5).all() and (memory[-17:] == 0xA5).all()


# ------------------------------------------------------------------ layout ---


@pytest.mark.parametrize("start", range(17))
@pytest.mark.parametrize("count", [0, 1, 7, 8, 9, 63, 200])
def test_unpack_bits(start, count):
    packed = some("u1", (start + count + 7) // 8)
    out, memory = output("u1", count)
    _kernels.unpack_bits(packed, start, count, out)
    assert (
        out == np.unpackbits(packed, bitorder="little")[start : start + count]
    ).all() and untouched(memory)


@pytest.mark.parametrize("count", [0, 1, 2, 3, 1001])
def test_unpack_12(count):
    values = some("<u2", count) & 0xFFF
    bits = (values[:, None] >> np.arange(12)) & 1
    packed = np.packbits(bits.astype(np.uint8).ravel(), bitorder="little")
    out, memory = output("=u2", count)
    _kernels.unpack_12(packed, count, out)
    assert (out == values).all() and untouched(memory)


@settings(deadline=None)
@given(st.sampled_from([*INTEGERS, "<u8", ">i8"]), st.data(), st.integers(0, 5000))
def test_normalize(fmt, data, count):
    width = 8 * np.dtype(fmt).itemsize
    high = data.draw(st.integers(0, width - 1))
    stored = data.draw(st.integers(1, high + 1))
    values = some(fmt, count, seed=high)
    expected = value_bits(values, stored, high)
    _kernels.normalize(values, fmt, stored, high)
    assert (values == expected).all()


@pytest.mark.parametrize("unit", [2, 4, 8])
@pytest.mark.parametrize("count", [0, 1, 33])
def test_swap(unit, count):
    values = some(f"u{unit}", count)
    expected = values.byteswap()
    _kernels.swap(values, unit)
    assert (values == expected).all()


@pytest.mark.parametrize("size", [1, 2, 4, 8])
@pytest.mark.parametrize("samples", [1, 2, 3, 4])
def test_interleave(size, samples):
    planes = some(f"u{size}", samples * 101).reshape(samples, 101)
    out, memory = output(f"u{size}", 101, samples)
    _kernels.interleave(planes.tobytes(), out, 101, samples, size)
    assert (out == planes.T).all() and untouched(memory)


# ------------------------------------------------------------------ color ---


def test_expand_422():
    from pydicom.pixels.utils import expand_ybr422

    packed = some("u1", 2 * 130).tobytes()
    out, memory = output("u1", 130, 3)
    _kernels.expand_422(packed, out, 130)
    assert out.tobytes() == expand_ybr422(packed, 8) and untouched(memory)


def test_ybr_full_of_every_triple():
    """Equal to pydicom's but for 28 greens. With Cb 78 and Cr 178 green is just
    Y - 18.5 by the formula; float32 there misses the half for some Y."""
    from pydicom.pixels.processing import convert_color_space

    ramp = np.arange(256, dtype=np.uint8)
    differ = 0
    for y in range(256):
        triples = np.empty((256, 256, 3), np.uint8)
        triples[..., 0], triples[..., 1], triples[..., 2] = y, ramp[:, None], ramp
        out = np.empty_like(triples)
        _kernels.ybr_to_rgb(triples, "u1", out, "full")
        wrong = out != convert_color_space(triples, "YBR_FULL", "RGB")
        assert not wrong[..., [0, 2]].any()
        assert out[78, 178, 1] == max(y - 18, 0)
        wrong[78, 178, 1] = False
        differ += wrong.sum()
    assert differ == 0


MATRIX = np.array(
    [[1, 0, 1.402], [1, -0.114 * 1.772 / 0.587, -0.299 * 1.402 / 0.587], [1, 1.772, 0]]
)


@pytest.mark.parametrize(("fmt", "bits"), [("u1", 7), ("u2", 8), ("u2", 12), ("u2", 16)])
def test_ybr_full_of_other_depths(fmt, bits):
    ybr = (some(fmt, 3 * 4001) & (2**bits - 1)).reshape(-1, 3)
    exact = (ybr.astype(float) - [0, 2 ** (bits - 1), 2 ** (bits - 1)]) @ MATRIX.T
    out, memory = output("u1" if bits <= 8 else "=u2", 4001, 3)
    _kernels.ybr_to_rgb(ybr, fmt, out, "full", bits)
    wrong = np.clip(np.floor(exact + 0.5), 0, 2**bits - 1) != out
    assert (abs(exact - np.floor(exact) - 0.5)[wrong] < 1e-9).all() and untouched(memory)
    if bits == 8:
        bytes_ = np.empty((4001, 3), np.uint8)
        _kernels.ybr_to_rgb(ybr.astype(np.uint8), "u1", bytes_, "full")
        assert (bytes_ == out)[~wrong].all()


@pytest.mark.parametrize(("fmt", "bits"), [("=i2", 8), ("=i2", 12), ("=i4", 12), ("=i4", 16)])
def test_transforms_of_jpeg_2000(fmt, bits):
    """Forward by the formulas, and back."""
    rgb = (some("<u2", 3 * 3001) & (2**bits - 1)).reshape(-1, 3).astype(np.int64)
    r, g, b = rgb.T
    out, memory = output("u1" if bits <= 8 else "=u2", 3001, 3)
    reversible = np.stack([(r + 2 * g + b) >> 2, b - g, r - g], 1).astype(fmt)
    _kernels.ybr_to_rgb(reversible, fmt, out, "rct", bits)
    assert (out == rgb).all()
    out[:] = 0
    forward = np.array(
        [[0.299, 0.587, 0.114], [-0.16875, -0.33126, 0.5], [0.5, -0.41869, -0.08131]]
    )
    irreversible = np.floor(rgb @ forward.T + 0.5).astype(fmt)
    _kernels.ybr_to_rgb(irreversible, fmt, out, "ict", bits)
    assert abs(out.astype(int) - rgb).max() <= 2 + 2 ** (bits - 14) and untouched(memory)
    extremes = np.array(
        [[2**bits - 1, 2**bits - 1, 2**bits - 1], [0, -(2**bits) + 1, -(2**bits) + 1]]
    )
    if bits < 16:
        for kind in ("rct", "ict"):  # clamped, not wrapped
            _kernels.ybr_to_rgb(extremes.astype(fmt), fmt, out[:2], kind, bits)
            assert out[0, [0, 2]].tolist() == [2**bits - 1] * 2 and out[1, [0, 2]].tolist() == [
                0,
                0,
            ]


# ----------------------------------------------------------------- rescale ---


@pytest.mark.parametrize("fmt", ALL)
@pytest.mark.parametrize(
    ("slope", "intercept"), [(1, -1024), (0, 7), (-2, 3), (0.7, -1024.3), (1e-12, 1e9), (300, 1)]
)
@pytest.mark.parametrize("to", ["=f4", "=f8"])
def test_linear(fmt, slope, intercept, to):
    values = some(fmt, 5003)
    out, memory = output(to, 5003)
    _kernels.linear(values, fmt, slope, intercept, out, to)
    expected = (values.astype(np.float64) * slope + intercept).astype(to)
    assert out.tobytes() == expected.tobytes() and untouched(memory)


@pytest.mark.parametrize("stored", [1, 10, 12, 16])
@pytest.mark.parametrize("fmt", ["<u2", ">i2"])
def test_linear_masks(fmt, stored):
    values = some(fmt, 5003)
    for high in {stored - 1, 15}:
        out = np.empty(5003, np.float32)
        _kernels.linear(values, fmt, 0.5, 1, out, bits_stored=stored, high_bit=high)
        assert (out == value_bits(values, stored, high) * np.float32(0.5) + 1).all()


# ------------------------------------------------------------------ window ---


def every(fmt):
    info = np.iinfo(fmt)
    return np.arange(info.min, info.max + 1).astype(fmt)


# What radiologists use, what is on the edge, and what makes no sense.
WINDOWS = [
    (40, 400),
    (-600, 1500),
    (300, 2000),
    (50, 350),
    (32, 8),
    (80, 200),
    (128, 256),
    (2048, 4096),
    (0.5, 1),
    (40, 1),
    (40, 1.0000001),
    (40, 2),
    (100.25, 33.3),
    (-1e9, 10),
    (1e9, 10),
    (0, 1e9),
    (1e300, 1e300),
    (32768, 65536),
    (600, 1200),
    (127.5, 255),
    (12.25, 1.5),
]
RESCALES = [
    (1, 0),
    (1, -1024),
    (-1, 100),
    (0.25, -0.1),
    (0, 40),
    (1e-300, 0),
    (3.7, 1e6),
    (-0.0001, 2),
]


@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
@pytest.mark.parametrize("fmt", ["u1", "i1", "=u2", "=i2"])
def test_window_of_every_value(fmt, function):
    values = every(fmt)
    rng = np.random.default_rng(5)
    drawn = [
        (rng.normal() * 2000, 1 + abs(rng.normal()) * 10 ** rng.integers(0, 5)) for _ in range(60)
    ]
    whole_numbers = [(int(c), int(w) + 1) for c, w in drawn]
    for i, (center, width) in enumerate(WINDOWS + drawn + whole_numbers):
        for slope, intercept in RESCALES if i < len(WINDOWS) else [RESCALES[i % len(RESCALES)]]:
            out, memory = output("u1", values.size)
            _kernels.window(
                values, fmt, center, width, out, function=function, slope=slope, intercept=intercept
            )
            expected = windowed(
                values.astype(np.float64) * slope + intercept, center, width, function
            )
            assert (out == expected).all() and untouched(memory), (center, width, slope, intercept)


@settings(deadline=None, max_examples=200)
@given(
    st.sampled_from(ALL),
    st.sampled_from(["LINEAR", "LINEAR_EXACT", "SIGMOID"]),
    st.floats(-1e5, 1e5),
    st.floats(1, 1e5),
    st.floats(-100, 100),
    st.floats(-1e4, 1e4),
    st.booleans(),
    st.integers(0, 3000),
    st.integers(0, 99),
)
def test_window_of_any_type(fmt, function, center, width, slope, intercept, invert, count, seed):
    values = some(fmt, count, seed)
    out, memory = output("u1", count)
    _kernels.window(
        values,
        fmt,
        center,
        width,
        out,
        function=function,
        slope=slope,
        intercept=intercept,
        invert=invert,
    )
    expected = windowed(values.astype(np.float64) * slope + intercept, center, width, function)
    assert (out == (255 - expected if invert else expected)).all() and untouched(memory)


@settings(deadline=None, max_examples=100)
@given(
    st.sampled_from(INTEGERS),
    st.data(),
    st.floats(-300, 3000),
    st.floats(1, 3000),
    st.sampled_from([1, -1, 0.3]),
    st.booleans(),
)
def test_window_masks(fmt, data, center, width, slope, invert):
    high = data.draw(st.integers(0, 8 * np.dtype(fmt).itemsize - 1))
    stored = data.draw(st.integers(1, high + 1))
    values = some(fmt, 2100, seed=stored)
    out, memory = output("u1", 2100)
    _kernels.window(
        values,
        fmt,
        center,
        width,
        out,
        slope=slope,
        invert=invert,
        bits_stored=stored,
        high_bit=high,
    )
    expected = windowed(
        value_bits(values, stored, high) * float(slope) + 0.0, center, width, "LINEAR"
    )
    assert (out == (255 - expected if invert else expected)).all() and untouched(memory)


def test_window_of_what_is_no_number():
    values = np.array([np.nan, np.inf, -np.inf, 40], np.float32)
    out = np.empty(4, np.uint8)
    _kernels.window(values, "=f4", 40, 400, out)
    assert out.tolist() == [0, 255, 0, 128]
    _kernels.window(values, "=f4", 40, 400, out, invert=True)
    assert out.tolist() == [255, 0, 255, 127]


@pytest.mark.parametrize("fmt", ["u1", "=i2", "=f4"])
@pytest.mark.parametrize(
    ("center", "width", "function", "slope"),
    [
        (40, 0.99, "LINEAR", 1),
        (40, 0, "LINEAR", 1),
        (40, -5, "LINEAR_EXACT", 1),
        (40, 0, "LINEAR_EXACT", 1),
        (40, 0, "SIGMOID", 1),
        (float("nan"), 400, "LINEAR", 1),
        (40, float("inf"), "LINEAR", 1),
        (40, float("nan"), "SIGMOID", 1),
        (40, 400, "LINEAR", float("nan")),
    ],
)
def test_window_refused(fmt, center, width, function, slope):
    with pytest.raises(DicomError, match="window") as caught:
        _kernels.window(
            np.zeros(3, fmt), fmt, center, width, bytearray(3), function=function, slope=slope
        )
    assert caught.value.code == "window"


# ------------------------------------------------------------------ tables ---


@pytest.mark.parametrize("fmt", INTEGERS)
@pytest.mark.parametrize("size", [1, 2, 4, 8])
@pytest.mark.parametrize(("entries", "first"), [(1, 0), (256, -100), (65536, -32768), (300, 70000)])
def test_lut(fmt, size, entries, first):
    values = some(fmt, 5001)
    table = some(f"u{size}", entries, seed=2)
    out, memory = output(f"u{size}", 5001)
    _kernels.lut(values, fmt, table, first, out, size)
    assert (
        out == table[np.clip(values.astype(np.int64) - first, 0, entries - 1)]
    ).all() and untouched(memory)


def test_lut_masks():
    values = some("<u2", 5001)
    out = np.empty(5001, np.uint16)
    _kernels.lut(
        values, "<u2", np.arange(4096, dtype=np.uint16), 0, out, 2, bits_stored=12, high_bit=13
    )
    assert (out == (values >> 2) & 0xFFF).all()


@pytest.mark.parametrize("fmt", ["|u1", "<u2", ">u2", "<i2"])
@pytest.mark.parametrize("size", [1, 2])
def test_palette(fmt, size):
    values = some(fmt, 5001)
    tables = some(f"u{size}", 3 * 200, seed=3).reshape(3, 200)
    out, memory = output(f"u{size}", 5001, 3)
    _kernels.palette(values, fmt, *tables.copy(), -20, out, size)
    assert (out == tables.T[np.clip(values.astype(np.int64) + 20, 0, 199)]).all() and untouched(
        memory
    )


# ------------------------------------------------------------ wrong sizes ---

SHORT = np.zeros(9, np.uint8)
CALLS = {
    "unpack_bits": [
        (SHORT, 1, 72, bytearray(72)),
        (SHORT, 0, 72, bytearray(71)),
        (SHORT, 2**64 - 1, 1, bytearray(1)),
    ],
    "unpack_12": [(SHORT, 7, bytearray(14)), (SHORT, 6, bytearray(11))],
    "normalize": [
        (bytearray(2), "<i2", 17, 15),
        (bytearray(2), "<i2", 12, 10),
        (bytearray(2), "<i2", 12, 16),
        (bytearray(2), "<x2", 12, 11),
        (bytearray(2), "", 12, 11),
        (bytearray(4), "<f4", 12, 11),
        (bytearray(2), "<i2", -1, 11),
        (bytearray(2), "<i2", 300, 299),
    ],
    "swap": [(bytearray(2), 3)],
    "interleave": [
        (SHORT, bytearray(9), 5, 2, 1),
        (SHORT, bytearray(8), 3, 3, 1),
        (SHORT, bytearray(9), 1, 3, 3),
        (SHORT, bytearray(9), 2**62, 4, 8),
    ],
    "expand_422": [
        (SHORT, bytearray(20), 3),
        (SHORT, bytearray(17), 6),
        (SHORT, bytearray(17), 2**63),
    ],
    "ybr_to_rgb": [
        (SHORT, "u1", bytearray(8), "full"),
        (SHORT, "u1", bytearray(9), "half"),
        (SHORT, "i1", bytearray(9), "full"),
        (SHORT, "u2", bytearray(9), "rct"),
        (SHORT, "u1", bytearray(9), "full", 9),
        (SHORT, "u1", bytearray(9), "full", 0),
    ],
    "linear": [(SHORT, "<i2", 1, 0, bytearray(20)), (SHORT, "<i2", 1, 0, bytearray(8), "=i4")],
    "window": [(SHORT, "<i2", 1, 1, bytearray(5)), (SHORT, "f2", 1, 1, bytearray(1))],
    "lut": [
        (SHORT, "<i2", SHORT, 0, bytearray(5), 1),
        (SHORT, "<f4", SHORT, 0, bytearray(2), 1),
        (SHORT, "u1", b"", 0, bytearray(2), 1),
        (SHORT, "u1", SHORT, 2**40, bytearray(2), 1),
        (SHORT, "u1", SHORT, 0, bytearray(9), 3),
    ],
    "palette": [
        (SHORT, "u1", SHORT, SHORT, SHORT[1:], 0, bytearray(27), 1),
        (SHORT, "u1", SHORT, SHORT, SHORT, 0, bytearray(30), 1),
        (SHORT, "u1", SHORT, SHORT, SHORT, 0, bytearray(24), 4),
    ],
    "rle_decode": [
        (bytes(64), "<u2", 9, 1, bytearray(17)),
        (bytes(64), "<u4", 2**62, 3, bytearray(17)),
        (bytes(64), ">u2", 2, 1, bytearray(4)),
        (bytes(64), "u3", 2, 1, bytearray(6)),
    ],
}


@pytest.mark.parametrize(
    ("name", "arguments"), [(name, a) for name, calls in CALLS.items() for a in calls]
)
def test_sizes_are_checked(name, arguments):
    with pytest.raises(ValueError):
        getattr(_kernels, name)(*arguments)


def test_native_byte_order_is_required():
    other = ">" if ORDER == "<" else "<"
    with pytest.raises(ValueError, match="order"):
        _kernels.ybr_to_rgb(bytes(6), other + "u2", bytearray(6), "full", 16)
    with pytest.raises(ValueError, match="order"):
        _kernels.linear(bytes(2), "<i2", 1, 0, bytearray(4), other + "f4")


def test_what_cannot_be_written():
    with pytest.raises((BufferError, TypeError)):
        _kernels.swap(bytes(4), 2)
    with pytest.raises((BufferError, ValueError)):
        _kernels.swap(np.zeros((4, 4), np.uint16)[:, 1:], 2)


# --------------------------------------------------------------------- RLE ---


def packbits(rng, values):
    """Packets of any kind and length, as no sensible encoder makes them."""
    out, i = bytearray(), 0
    while i < len(values):
        if rng.random() < 0.1:
            out.append(128)
        run = 1
        while i + run < len(values) and values[i + run] == values[i] and run < 128:
            run += 1
        if run > 1:
            run = int(rng.integers(2, run + 1))
            out += bytes([257 - run, values[i]])
        else:
            run = min(int(rng.integers(1, 129)), len(values) - i)
            out += bytes([run - 1]) + values[i : i + run]
        i += run
    return bytes(out)


def rle_frame(segments, tail=b"", offsets=None, count=None):
    offsets = offsets or [64 + sum(map(len, segments[:i])) for i in range(len(segments))]
    head = [len(segments) if count is None else count, *offsets, *[0] * (15 - len(offsets))]
    return np.array(head, "<u4").tobytes() + b"".join(segments) + tail


@settings(deadline=None, max_examples=60)
@given(
    st.sampled_from(
        [(1, 1), (1, 2), (3, 1), (3, 2), (1, 4), (3, 4), (1, 8), (4, 1), (15, 1), (2, 1)]
    ),
    st.integers(0, 7000),
    st.integers(0, 9),
    st.integers(0, 5),
)
def test_rle(shape, cells, seed, tail):
    samples, size = shape
    rng = np.random.default_rng(seed)
    pixels = np.repeat(
        rng.integers(0, 256, (cells // 9 + 1, samples, size), np.uint8), rng.integers(1, 18), 0
    )
    pixels = np.resize(pixels, (cells, samples, size))
    segments = [
        packbits(rng, pixels[:, s, b].tobytes())
        for s in range(samples)
        for b in reversed(range(size))
    ]
    frame = rle_frame(segments, tail=b"\x80" * tail)
    out, memory = output("u1", cells, samples, size)
    _kernels.rle_decode(frame, f"<u{size}", cells, samples, out)
    assert (out == pixels).all() and untouched(memory)
    out, memory = output("u1", samples, cells, size)
    _kernels.rle_decode(frame, f"<u{size}", cells, samples, out, planar=True)
    assert (out == pixels.transpose(1, 0, 2)).all() and untouched(memory)


@settings(deadline=None, max_examples=60)
@given(
    st.sampled_from([1, 2, 4, 8]),
    st.sampled_from([1, 3]),
    st.sampled_from("ui"),
    st.booleans(),
    st.integers(0, 4200),
    st.data(),
)
def test_rle_leaves_no_unused_bits(size, samples, kind, planar, cells, data):
    if size * samples > 15:
        samples = 1
    high_bit = data.draw(st.integers(0, 8 * size - 1))
    bits = data.draw(st.integers(1, high_bit + 1))
    rng = np.random.default_rng(cells)
    pixels = rng.integers(0, 256, (cells, samples, size), np.uint8)
    segments = [
        packbits(rng, pixels[:, s, b].tobytes())
        for s in range(samples)
        for b in reversed(range(size))
    ]
    wanted = (pixels.transpose(1, 0, 2) if planar else pixels).copy()
    _kernels.normalize(wanted, f"<{kind}{size}", bits, high_bit)
    out, memory = output("u1", *wanted.shape)
    _kernels.rle_decode(
        rle_frame(segments),
        f"<{kind}{size}",
        cells,
        samples,
        out,
        planar,
        bits_stored=bits,
        high_bit=high_bit,
    )
    assert (out == wanted).all() and untouched(memory)


def rle_files(paths):
    """(frame, rows, columns, samples, bits) of each frame of a file."""
    import pydicom
    from pydicom.encaps import generate_frames

    for path in paths:
        try:
            ds = pydicom.dcmread(path, force=True)
            if ds.file_meta.TransferSyntaxUID != "1.2.840.10008.1.2.5" or ds.BitsAllocated % 8:
                continue
        except Exception:
            continue
        for frame in generate_frames(
            ds.PixelData, number_of_frames=int(ds.get("NumberOfFrames", 1))
        ):
            yield path, frame, ds.Rows, ds.Columns, ds.SamplesPerPixel, ds.BitsAllocated


def check_rle_files(paths):
    from pydicom.pixels.decoders.rle import _rle_decode_frame

    count = 0
    for path, frame, rows, columns, samples, bits in rle_files(paths):
        out = bytearray(rows * columns * samples * bits // 8)
        _kernels.rle_decode(frame, f"<u{bits // 8}", rows * columns, samples, out, planar=True)
        assert out == _rle_decode_frame(frame, rows, columns, samples, bits), path
        count += 1
    return count


def test_rle_of_pydicoms_files(pydicom_files):
    assert check_rle_files(pydicom_files) > 20


def test_rle_of_the_corpus(corpus_files):
    check_rle_files(corpus_files)


@pytest.mark.parametrize(
    ("frame", "code", "offset"),
    [
        (b"", "rle-header", 0),
        (bytes(63), "rle-header", 63),
        (rle_frame([b"\xfd\x01"]), "rle-count", 0),
        (rle_frame([b"\xfd\x01"] * 3), "rle-count", 0),
        (rle_frame([b"\xfd\x01"] * 2, count=2**32 - 2), "rle-count", 0),
        (rle_frame([b"\xfd\x01"] * 2, offsets=[63, 66]), "rle-header", 4),
        (rle_frame([b"\xfd\x01"] * 2, offsets=[64, 69]), "rle-header", 8),
        (rle_frame([b"\xfd\x01"] * 2, offsets=[66, 64]), "rle-header", 8),
        (rle_frame([b"\xfd\x01"] * 2, offsets=[64, 2**32 - 1]), "rle-header", 8),
        (rle_frame([b"\xfd\x01", b""]), "rle-segment", 66),
        (rle_frame([b"\xfd\x01", b"\xfe\x02"]), "rle-segment", 68),
        (rle_frame([b"\x03abc", b"\xfd\x01"]), "rle-segment", 68),
        (rle_frame([b"\xfe\x02\xff", b"\xfd\x01"]), "rle-segment", 66),
        (rle_frame([b"\x80\x80\x80", b"\xfd\x01"]), "rle-segment", 66),
    ],
)
def test_damaged_rle(frame, code, offset):
    """Four cells of two bytes are requested."""
    out, memory = output("u1", 8)
    with pytest.raises(DicomError) as caught:
        _kernels.rle_decode(frame, "<u2", 4, 1, out)
    assert (caught.value.code, caught.value.offset) == (code, offset) and untouched(memory)


def test_what_rle_may_have_too_much():
    """Bytes after the end, a packet that gives more, segments that do not begin at 64."""
    out = bytearray(8)
    _kernels.rle_decode(
        rle_frame([b"\x99\x81\x01\x99", b"\x7fabcd"], tail=b"xyz", offsets=[65, 68]),
        "<u2",
        4,
        1,
        out,
    )
    assert out == b"a\x01b\x01c\x01d\x01"
