"""ds.frames: one frame reads one frame, the same as in pixel_array."""

import copy
import io
import pickle
import struct
import threading

import numpy as np
import pytest

import fastdcm
from support import builder
from support.builder import (
    EXPLICIT_BE,
    IMPLICIT_LE,
    element,
    fragments,
    image,
    part10,
    sequence,
)
from support.encoded_frames import DEFLATED, PLAIN, RLE, deflate, picture, rle

GE = "1.2.840.113619.5.2"


def native(array, vr="OW", **attributes):
    """A data set of native frames (n, rows, columns[, samples])."""
    samples = array.shape[3] if array.ndim == 4 else 1
    raw = array.tobytes()
    return image(
        *array.shape[1:3],
        samples=samples,
        allocated=8 * array.dtype.itemsize,
        frames=len(array),
        **attributes,
    ) + element(0x7FE00010, vr, raw + b"\0" * (len(raw) % 2))


@pytest.fixture
def stack():
    return np.stack([picture(11, 13, 1, 16, seed=i) for i in range(7)])


def open_stack(kind, stack, put):
    if kind == "native":
        return fastdcm.dcmread(put(native(stack)))
    if kind == "memory":
        return fastdcm.dcmread(io.BytesIO(part10(native(stack))))
    frames = [rle(frame) for frame in stack]
    table = struct.pack(
        f"<{len(frames)}I", *(sum(8 + len(f) for f in frames[:i]) for i in range(len(frames)))
    )
    data = image(11, 13, frames=len(stack)) + fragments(
        frames, table=table if kind == "table" else b""
    )
    if kind == "object":
        return fastdcm.dcmread(io.BytesIO(part10(data, transfer_syntax=RLE)))
    return fastdcm.dcmread(put(data, transfer_syntax=RLE))


@pytest.mark.parametrize("kind", ["native", "memory", "fragments", "table", "object"])
def test_a_sequence_of_frames(kind, stack, put):
    frames = open_stack(kind, stack, put).frames
    assert len(frames) == 7 and frames.shape == (11, 13) and frames.dtype == np.uint16
    assert np.array_equal(frames[3], stack[3])
    assert np.array_equal(frames[-1], stack[6])
    assert np.array_equal(frames[np.int64(2)], stack[2])
    for part in (
        slice(None),
        slice(2, 5),
        slice(None, None, 3),
        slice(5, 1, -2),
        slice(4, 4),
        slice(-3, 100),
    ):
        given = frames[part]
        assert given.shape == stack[part].shape and np.array_equal(given, stack[part])
    assert all(np.array_equal(a, b) for a, b in zip(frames, stack, strict=True))
    for i in (7, -8):
        with pytest.raises(IndexError):
            frames[i]
    with pytest.raises(AttributeError):
        frames["0"]


@pytest.mark.parametrize("kind", ["native", "memory", "fragments", "table", "object"])
def test_raw(kind, stack, put):
    frames = open_stack(kind, stack, put).frames
    for i in (0, 4, -1):
        wanted = stack[i].tobytes() if kind in ("native", "memory") else rle(stack[i])
        assert frames.raw(i) == wanted
    with pytest.raises(IndexError):
        frames.raw(7)


@pytest.mark.parametrize("kind", ["native", "memory", "fragments", "table", "object"])
def test_writing_to_a_frame_changes_nothing_else(kind, stack, put):
    ds = open_stack(kind, stack, put)
    one = ds.frames[1]
    one[...] = 0
    assert np.array_equal(ds.frames[1], stack[1]) and np.array_equal(ds.pixel_array, stack)


@pytest.mark.parametrize("threads", [1, 2, 5, 64])
@pytest.mark.parametrize("kind", ["native", "memory", "fragments", "table", "object"])
def test_threads(kind, stack, put, threads):
    ds = open_stack(kind, stack, put)
    assert np.array_equal(ds.get_pixels(threads=threads), stack)
    assert np.array_equal(ds.frames.read(range(6, -1, -2), threads), stack[6::-2])


@pytest.mark.parametrize("kind", ["native", "memory", "fragments", "table", "object"])
def test_an_array_that_is_there(kind, stack, put):
    ds = open_stack(kind, stack, put)
    out = np.zeros_like(stack)
    assert ds.get_pixels(True, out=out) is out and np.array_equal(out, stack)
    assert ds.frames.read(range(6, -1, -2), out=out[:4]).base is out and np.array_equal(
        out[:4], stack[6::-2]
    )
    locked = out.copy()
    locked.flags.writeable = False
    for other in (out[:6], out.astype("i4"), np.zeros(stack.shape[::-1], stack.dtype).T, locked):
        with pytest.raises(ValueError, match="out must be writeable, C-contiguous, of shape"):
            ds.get_pixels(out=other)


def test_many_threads_share_frames(stack, put):
    for kind in ("native", "fragments", "object"):
        frames = open_stack(kind, stack, put).frames
        wrong = []

        def look(frames=frames, wrong=wrong):
            for _ in range(20):
                for i in range(7):
                    if not np.array_equal(frames[i], stack[i]):
                        wrong.append(i)

        workers = [threading.Thread(target=look) for _ in range(4)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        assert not wrong, kind


def test_the_first_error_of_threads_is_raised(put):
    good = rle(picture(8, 8, 1, 8))
    data = image(8, 8, allocated=8, frames=40) + fragments(
        [good if i % 9 else b"\1\0" * 40 for i in range(40)]
    )
    ds = fastdcm.dcmread(put(data, transfer_syntax=RLE))
    before = threading.active_count()
    with pytest.raises(fastdcm.DicomError, match=r"frames\[0\]"):
        ds.get_pixels(threads=4)
    assert threading.active_count() == before


# ---- native frames


@pytest.mark.parametrize("rows, columns", [(3, 5), (8, 8), (1, 1), (7, 3)])
def test_frames_of_one_bit_begin_within_a_byte(put, rows, columns):
    bits = np.random.default_rng(1).integers(0, 2, (9, rows, columns), np.uint8)
    raw = np.packbits(bits, bitorder="little").tobytes()
    ds = fastdcm.dcmread(
        put(
            image(rows, columns, allocated=1, frames=9)
            + element(0x7FE00010, "OB", raw + b"\0" * (len(raw) % 2))
        )
    )
    assert np.array_equal(ds.pixel_array, bits)
    for i in range(9):
        assert np.array_equal(ds.frames[i], bits[i])
    assert np.array_equal(ds.frames[2:7], bits[2:7])
    assert np.array_equal(ds.get_pixels(threads=4), bits)


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("rows, columns", [(3, 5), (4, 4)])
def test_frames_of_twelve_bits(put, rows, columns, signed):
    cells = np.random.default_rng(1).integers(0, 4096, (3, rows, columns), np.uint16)
    bits = (cells.reshape(-1, 1) >> np.arange(12) & 1).astype(np.uint8)
    raw = np.packbits(bits, bitorder="little").tobytes()
    ds = fastdcm.dcmread(
        put(
            image(rows, columns, allocated=12, frames=3, signed=signed)
            + element(0x7FE00010, "OW", raw + b"\0" * (len(raw) % 2))
        )
    )
    wanted = ((cells.astype(np.int16) ^ 0x800) - 0x800) if signed else cells
    assert ds.pixel_array.dtype == wanted.dtype
    assert np.array_equal(ds.pixel_array, wanted)
    for i in range(3):
        assert np.array_equal(ds.frames[i], wanted[i])


def test_bytes_in_big_endian_words(put):
    """A frame of odd length begins in the middle of a word."""
    stack = np.stack([picture(3, 5, 1, 8, seed=i) for i in range(3)])
    raw = stack.tobytes() + b"\0"
    words = np.frombuffer(raw, np.uint16).byteswap().tobytes()
    data = image(3, 5, allocated=8, frames=3, encoding=builder.BIG) + element(
        0x7FE00010, "OW", words, encoding=builder.BIG
    )
    ds = fastdcm.dcmread(put(data, transfer_syntax=EXPLICIT_BE))
    assert np.array_equal(ds.pixel_array, stack)
    for i in range(3):
        assert np.array_equal(ds.frames[i], stack[i])


@pytest.mark.parametrize("syntax", [EXPLICIT_BE, GE])
def test_big_endian_cells(put, stack, syntax):
    encoding = builder.BIG if syntax == EXPLICIT_BE else builder.IMPLICIT
    data = image(11, 13, frames=7, stored=12, signed=True, encoding=encoding) + element(
        0x7FE00010, "OW", stack.astype(">u2").tobytes(), encoding=encoding
    )
    ds = fastdcm.dcmread(put(data, transfer_syntax=syntax))
    wanted = ((stack & 0xFFF).astype(np.int16) ^ 0x800) - 0x800
    assert ds.pixel_array.dtype == ds.frames.dtype == np.dtype(">i2")
    assert np.array_equal(ds.pixel_array, wanted)
    assert np.array_equal(ds.frames[2], wanted[2])
    native_order = ds.get_pixels(native_endian=True)
    assert native_order.dtype == np.dtype("=i2") and np.array_equal(native_order, wanted)
    out = np.zeros(wanted.shape, "=i2")
    assert ds.get_pixels(native_endian=True, out=out) is out and np.array_equal(out, wanted)


@pytest.mark.parametrize("mapped", [False, True])
def test_planes(put, mapped):
    stack = np.stack([picture(9, 8, 3, 8, seed=i) for i in range(4)])
    raw = stack.transpose(0, 3, 1, 2).tobytes()
    ds = fastdcm.dcmread(
        put(
            image(9, 8, samples=3, allocated=8, frames=4, planar=1) + element(0x7FE00010, "OB", raw)
        )
    )
    given = ds.get_pixels(mmap=mapped)
    assert given.shape == (4, 9, 8, 3) and np.array_equal(given, stack)
    out = np.zeros_like(stack)
    assert ds.get_pixels(mmap=mapped, out=out) is out and np.array_equal(out, stack)
    assert np.array_equal(ds.frames[2], stack[2])
    assert np.array_equal(ds.frames[::2], stack[::2])


def test_subsampled_chroma_is_repeated(put):
    """PS3.3 C.7.6.3.1.2: Y1 Y2 Cb Cr for two pixels."""
    raw = np.random.default_rng(1).integers(0, 256, (2, 3, 2, 4), np.uint8)
    ds = fastdcm.dcmread(
        put(
            image(3, 4, samples=3, allocated=8, frames=2, planar=0, photometric="YBR_FULL_422")
            + element(0x7FE00010, "OB", raw.tobytes())
        )
    )
    wanted = raw[..., [0, 2, 3, 1, 2, 3]].reshape(2, 3, 4, 3)
    assert np.array_equal(ds.pixel_array, wanted)
    assert np.array_equal(ds.frames[1], wanted[1])


@pytest.mark.parametrize("high, stored", [(11, 12), (15, 12), (13, 10), (7, 8)])
def test_bits_that_hold_no_value(put, stack, high, stored):
    """PS3.5 8.1.1: the value is the bits up to HighBit."""
    value = stack >> (high + 1 - stored) & ((1 << stored) - 1)
    ds = fastdcm.dcmread(put(native(stack, stored=stored, high=high)))
    assert np.array_equal(ds.pixel_array, value) and np.array_equal(ds.frames[2], value[2])
    ds = fastdcm.dcmread(put(native(stack, stored=stored, high=high, signed=True)))
    half = 1 << stored - 1
    wanted = (value.astype(np.int32) ^ half) - half
    assert ds.pixel_array.dtype == np.int16 and np.array_equal(ds.pixel_array, wanted)


@pytest.mark.parametrize(
    "tag, vr, dtype", [(0x7FE00008, "OF", np.float32), (0x7FE00009, "OD", np.float64)]
)
def test_floating_point(put, tag, vr, dtype):
    stack = np.random.default_rng(1).normal(size=(3, 4, 5)).astype(dtype)
    ds = fastdcm.dcmread(
        put(
            image(4, 5, allocated=8 * stack.dtype.itemsize, frames=3)
            + element(tag, vr, stack.tobytes())
        )
    )
    assert ds.pixel_array.dtype == dtype and np.array_equal(ds.pixel_array, stack)
    assert np.array_equal(ds.frames[1], stack[1])


# ---- one frame costs one frame


class Counting(io.BytesIO):
    """Counts the bytes that are read."""

    total = 0

    def read(self, size=-1):
        data = super().read(size)
        self.total += len(data)
        return data


def test_one_frame_reads_one_frame():
    array = np.arange(100 * 64 * 64, dtype=np.uint16).reshape(100, 64, 64)
    source = Counting(part10(native(array)))
    ds = fastdcm.dcmread(source)
    before = source.total
    assert np.array_equal(ds.frames[50], array[50])
    assert source.total - before == 64 * 64 * 2


def test_one_compressed_frame_reads_one_frame():
    stack = np.stack([picture(64, 64, 1, 16, seed=i) for i in range(50)])
    frames = [rle(frame) for frame in stack]
    table = struct.pack("<50I", *(i * (8 + len(frames[0])) for i in range(50)))
    source = Counting(
        part10(image(64, 64, frames=50) + fragments(frames, table=table), transfer_syntax=RLE)
    )
    ds = fastdcm.dcmread(source)
    before = source.total
    assert np.array_equal(ds.frames[30], stack[30])
    assert source.total - before < 2 * len(frames[0])


def test_a_large_frame_is_mapped(put):
    array = picture(1024, 1024, 1, 16)[None].repeat(3, 0)
    path = put(native(array))
    ds = fastdcm.dcmread(path)
    frame = ds.frames[1]
    assert not frame.flags.owndata and frame.flags.writeable
    frame[...] = 0  # private: neither the file nor another view sees it
    assert np.array_equal(ds.frames[1], array[1])
    assert np.array_equal(fastdcm.dcmread(path).frames[1], array[1])


# ---- the data set around them


def test_the_same_frames_until_something_changes(stack, put):
    ds = open_stack("fragments", stack, put)
    frames = ds.frames
    assert ds.frames is frames
    ds.PatientName = "Doe"
    assert ds.frames is frames
    ds.NumberOfFrames = 3
    assert ds.frames is not frames and len(ds.frames) == 3
    ds.NumberOfFrames = 7
    ds.PixelRepresentation = 1
    assert ds.pixel_array.dtype == np.int16


def test_copies_and_pickles(stack, put):
    ds = open_stack("fragments", stack, put)
    ds.frames[0]
    for other in (ds.copy(), copy.deepcopy(ds), pickle.loads(pickle.dumps(ds))):
        assert np.array_equal(other.frames[5], stack[5])
        other.NumberOfFrames = 2
        assert len(other.frames) == 2 and len(ds.frames) == 7


def test_pixels_that_were_set(stack):
    ds = fastdcm.Dataset()
    ds.ensure_file_meta()
    ds.file_meta.TransferSyntaxUID = RLE
    ds.Rows, ds.Columns, ds.NumberOfFrames = 11, 13, 7
    ds.BitsAllocated = ds.BitsStored = 16
    content = fragments([rle(frame) for frame in stack])[12:]
    ds.PixelData = content
    assert np.array_equal(ds.pixel_array, stack) and np.array_equal(ds.frames[3], stack[3])
    ds.file_meta.TransferSyntaxUID = IMPLICIT_LE
    ds.PixelData = stack.tobytes()
    assert np.array_equal(ds.pixel_array, stack) and np.array_equal(ds.frames[3], stack[3])


def test_pixels_of_an_item(put):
    """An icon image is in the transfer syntax of the file (PS3.3 F.7)."""
    icon = picture(16, 16, 1, 8)
    for syntax, value in (
        (builder.EXPLICIT_LE, element(0x7FE00010, "OB", icon.tobytes())),
        (RLE, fragments([rle(icon)])),
    ):
        data = sequence(0x00880200, [image(16, 16, allocated=8) + value])
        ds = fastdcm.dcmread(put(data, transfer_syntax=syntax))
        assert np.array_equal(ds.IconImageSequence[0].pixel_array, icon)


@pytest.mark.parametrize("load", [True, False])
def test_after_the_file_is_gone(stack, put, tmp_path, load):
    for kind in ("native", "fragments"):
        ds = open_stack(kind, stack, put)
        if load:
            ds.load()
        for path in tmp_path.iterdir():
            path.unlink()
        assert np.array_equal(ds.frames[6], stack[6])
        assert np.array_equal(ds.pixel_array, stack)


def test_a_closed_data_set(put):
    ds = fastdcm.dcmread(put(native(picture(200, 200, 1, 16)[None].repeat(5, 0))))
    frames = ds.frames
    ds.close()
    with pytest.raises(fastdcm.DicomError, match="closed"):
        frames[3]


# ---- what is missing


def test_frames_before_a_truncation_are_read(stack, put):
    """Truncated native pixel data: the frames before the end stay readable."""
    data = native(stack)
    ds = fastdcm.dcmread(put(data[: len(data) - 11 * 13 * 2 - 40]))
    assert np.array_equal(ds.frames[4], stack[4]) and np.array_equal(ds.frames[:5], stack[:5])
    for read in (
        lambda: ds.frames[5],
        lambda: ds.frames[4:],
        lambda: ds.pixel_array,
        lambda: list(ds.frames),
    ):
        with pytest.raises(fastdcm.DicomError, match=r"frames\[5\] is missing"):
            read()


def test_fewer_fragments_than_frames(stack, put):
    data = image(11, 13, frames=9) + fragments([rle(frame) for frame in stack])
    ds = fastdcm.dcmread(put(data, transfer_syntax=RLE))
    assert len(ds.frames) == 9
    assert np.array_equal(ds.frames[6], stack[6])
    for read in (lambda: ds.frames[7], lambda: ds.pixel_array):
        with pytest.raises(fastdcm.DicomError, match=r"frames\[7\] is missing"):
            read()
    assert "frame-count" in {issue.code for issue in ds.issues}


@pytest.mark.parametrize("syntax", [DEFLATED, PLAIN])
def test_frames_that_are_not_compressed(stack, put, syntax):
    parts = [deflate(f.tobytes()) if syntax == DEFLATED else f.tobytes() for f in stack]
    parts = [part + b"\0" * (len(part) % 2) for part in parts]
    ds = fastdcm.dcmread(put(image(11, 13, frames=7) + fragments(parts), transfer_syntax=syntax))
    assert np.array_equal(ds.pixel_array, stack) and np.array_equal(ds.frames[6], stack[6])


def test_a_frame_in_several_fragments(put):
    frame = rle(picture(30, 30, 1, 8))
    parts = [frame[:100], frame[100:400], frame[400:]]
    ds = fastdcm.dcmread(put(image(30, 30, allocated=8) + fragments(parts), transfer_syntax=RLE))
    assert np.array_equal(ds.frames[0], picture(30, 30, 1, 8))
    assert ds.frames.raw(0) == frame
