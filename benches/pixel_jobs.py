"""Jobs of report.py: decode frames, and turn stored values into displayed ones."""

import itertools
import os
import threading
import time
from typing import Any, NamedTuple

import data
import imagecodecs
import numpy as np
from pydicom.pixels import get_encoder
from timing import measure, print_times

import fastdcm
from fastdcm.pixels import _kernels
from fastdcm.pixels._frame_table import frame_table
from support import builder
from support.builder import element as el

FRAMES, ROWS, COLUMNS = 100, 512, 512
WINDOW = (40, 400)
MEGABYTES = 64
GRAYSCALE = {"colorspace": "grayscale", "outcolorspace": "grayscale"}


class Syntax(NamedTuple):
    """A transfer syntax, and how imagecodecs encodes and decodes a frame of it."""

    uid: str
    bits: int
    encoder: str | None = None
    encoder_options: dict[str, Any] | None = None
    decoder: str | None = None
    decoder_options: dict[str, Any] | None = None
    least_gain: float = 1.8  # of two threads


SYNTAXES = {
    "JPEG": Syntax(
        "1.2.840.10008.1.2.4.50", 8, "jpeg8_encode", {"level": 90}, "jpeg8_decode", GRAYSCALE, 1.6
    ),
    "JPEG lossless": Syntax(
        "1.2.840.10008.1.2.4.70",
        16,
        "jpeg8_encode",
        {"lossless": True, "bitspersample": 16},
        "jpeg8_decode",
        GRAYSCALE,
        1.6,
    ),
    "JPEG-LS": Syntax("1.2.840.10008.1.2.4.80", 16, "jpegls_encode", None, "jpegls_decode"),
    "JPEG 2000": Syntax(
        "1.2.840.10008.1.2.4.90",
        16,
        "jpeg2k_encode",
        {"reversible": True, "codecformat": "J2K"},
        "jpeg2k_decode",
    ),
    "HTJ2K": Syntax(
        "1.2.840.10008.1.2.4.201", 16, "htj2k_encode", {"reversible": True}, "htj2k_decode"
    ),
    "RLE": Syntax("1.2.840.10008.1.2.5", 16),
    "native": Syntax("1.2.840.10008.1.2.1", 16),
}


def picture(number, bits):
    """Return a smooth object with noise, as a scanner makes it; unsigned."""
    y, x = np.mgrid[:ROWS, :COLUMNS]
    rng = np.random.default_rng(number)
    cells = 2000 * np.exp(-((x - 256 - number) ** 2 + (y - 256) ** 2) / 45_000)
    cells = (cells + 200 * np.sin(x / 9) + rng.normal(0, 12, cells.shape) + 400).clip(0, 4095)
    return cells.astype("<u2") if bits == 16 else (cells / 16).astype("u1")


def file_of(syntax, bits, encode):
    """Return a file of FRAMES frames, ten different ones in turn."""
    ten = [picture(number, bits) for number in range(10)]
    codes = [encode(cells) for cells in ten]
    codes = [code + b"\0" * (len(code) % 2) for code in codes] * (FRAMES // 10)
    head = el(0x00080016, "UI", data.CT_STORAGE) + el(0x00080018, "UI", data.UID + ".1")
    head += (
        el(0x00280002, "US", 1) + el(0x00280004, "CS", "MONOCHROME2") + el(0x00280008, "IS", FRAMES)
    )
    head += el(0x00280010, "US", ROWS) + el(0x00280011, "US", COLUMNS) + el(0x00280100, "US", bits)
    head += el(0x00280101, "US", min(bits, 12)) + el(0x00280102, "US", min(bits, 12) - 1)
    head += el(0x00280103, "US", 0)
    if encode == np.ndarray.tobytes:
        head += builder.element(builder.PIXEL_DATA, "OW", b"".join(codes))
    else:
        ends = np.cumsum([0, *(len(code) + 8 for code in codes[:-1])]).astype("<u4")
        head += builder.fragments(codes, table=ends.tobytes())
    return builder.part10(head, transfer_syntax=syntax)


def rle_encode(cells):
    return get_encoder(SYNTAXES["RLE"].uid).encode(
        cells,
        rows=ROWS,
        columns=COLUMNS,
        number_of_frames=1,
        samples_per_pixel=1,
        bits_allocated=16,
        bits_stored=12,
        pixel_representation=0,
        photometric_interpretation="MONOCHROME2",
        encoding_plugin="pydicom",
    )


def rle_decode(code):
    out = np.empty((ROWS, COLUMNS), "<u2")
    _kernels.rle_decode(code, "<u2", ROWS * COLUMNS, 1, out, bits_stored=12)
    return out


def make_file(cache, name):
    """Return the path of a file in one of SYNTAXES and its codec: a function of a frame's
    bytes, None for native pixel data."""
    syntax = SYNTAXES[name]

    def encode(cells):
        return getattr(imagecodecs, syntax.encoder)(cells, **(syntax.encoder_options or {}))

    def decode(code):
        return getattr(imagecodecs, syntax.decoder)(code, **(syntax.decoder_options or {}))

    if name == "RLE":
        encode, decode = rle_encode, rle_decode
    elif name == "native":
        encode, decode = np.ndarray.tobytes, None

    def write(folder):
        (folder / "frames.dcm").write_bytes(file_of(syntax.uid, syntax.bits, encode))

    label = f"codec-{name.replace(' ', '_')}"
    [path] = data.make(cache, label, write, lambda paths: None, __file__)
    return path, decode


def per_frame(function):
    """Return microseconds per frame of function(), which handles FRAMES frames."""
    begin = time.perf_counter()
    function()
    return (time.perf_counter() - begin) * 1e6 / FRAMES


def run_threads(works):
    """Run each function in a thread, the first in this one."""
    first, *others = works
    threads = [threading.Thread(target=work) for work in others]
    for thread in threads:
        thread.start()
    first()
    for thread in threads:
        thread.join()


def fill_new_memory(n):
    """Return microseconds per frame to write a new array of FRAMES frames with n threads:
    the lower bound of everything that returns a new array."""
    new = np.empty((n, FRAMES // n * ROWS * COLUMNS), "<u2")
    return per_frame(lambda: run_threads([lambda part=part: part.fill(1) for part in new]))


def read_into(path, array, n):
    """Read the last bytes of a file, as many as the array has, with n threads."""

    def read(part, offset):
        assert os.preadv(handle, [part], offset) == len(part)

    handle = os.open(path, os.O_RDONLY)
    memory = memoryview(array).cast("B")
    first, size = os.fstat(handle).st_size - len(memory), len(memory) // n
    run_threads(
        [lambda k=k: read(memory[k * size : (k + 1) * size], first + k * size) for k in range(n)]
    )
    os.close(handle)


def codec_contenders(path, codec, handle):
    """Contenders that decode frame by frame: the codec itself, and ds.frames."""
    frames = fastdcm.dcmread(path).frames
    elem = fastdcm.dcmread(path)["PixelData"]
    table = frame_table(frames._file, elem.file_tell, elem.value_length, FRAMES).offsets
    spans = list(itertools.pairwise(table))

    def decode(spans):
        for start, stop in spans:
            codec(os.pread(handle, stop - start - 8, start + 8))

    def decode_halves():
        run_threads([lambda: decode(spans[::2]), lambda: decode(spans[1::2])])

    def decode_wrapped():
        for _ in frames:
            pass

    return {
        "the codec itself": lambda: per_frame(lambda: decode(spans)),
        "the codec itself, 2 threads": lambda: per_frame(decode_halves),
        "ds.frames": lambda: per_frame(decode_wrapped),
    }


def array_contenders(path, array, native):
    """Contenders that return all frames as one array, with one and two threads."""

    def get_pixels(threads, out=None):
        fastdcm.dcmread(path).get_pixels(mmap=False, threads=threads, out=out)

    contenders = {}
    for n in (1, 2):
        if native:
            contenders[f"floor: pread into it, {n} threads"] = lambda n=n: per_frame(
                lambda: read_into(path, array, n)
            )
        contenders[f"new array, {n} threads"] = lambda n=n: per_frame(lambda: get_pixels(n))
        contenders[f"existing array, {n} threads"] = lambda n=n: per_frame(
            lambda: get_pixels(n, array)
        )
    return contenders


def check_frames(path, name):
    """Compare two frames with the pictures that were encoded."""
    frames = fastdcm.dcmread(path).frames
    for number in (0, 57):
        expected = picture(number % 10, SYNTAXES[name].bits)
        difference = np.abs(np.asarray(frames[number]).astype(int) - expected).max()
        assert difference <= (8 if name == "JPEG" else 0), name
    return frames.dtype


def measure_codec(report, name):
    path, codec = make_file(report.cache, name)
    array = np.ones((FRAMES, ROWS, COLUMNS), check_frames(path, name))
    handle = os.open(path, os.O_RDONLY)
    contenders = codec_contenders(path, codec, handle) if codec else {}
    contenders |= array_contenders(path, array, native=codec is None)
    times = measure(contenders, report.rounds)
    os.close(handle)
    print_times(f"{name}, {FRAMES} frames of {ROWS} x {COLUMNS}, per frame", times)

    def gain(one, two):
        return times[one] / times[two]

    if codec:
        report.check(
            f"{name}: ds.frames / the codec itself",
            times["ds.frames"] / times["the codec itself"],
            at_most=1.05,
        )
        of_codec = gain("the codec itself", "the codec itself, 2 threads")
        print(f"  gain of the codec from two threads: {of_codec:.2f}")
    else:
        of_floor = gain("floor: pread into it, 1 threads", "floor: pread into it, 2 threads")
        print(f"  gain of the floor from two threads: {of_floor:.2f}")
    of_new = gain("new array, 1 threads", "new array, 2 threads")
    print(f"  gain with a new array: {of_new:.2f}")
    report.check(
        f"{name}: one thread / two threads",
        gain("existing array, 1 threads", "existing array, 2 threads"),
        at_least=SYNTAXES[name].least_gain,
    )


def codecs(report):
    times = measure(
        {f"{n} threads": lambda n=n: fill_new_memory(n) for n in (1, 2)}, 3 * report.rounds
    )
    print_times(f"Writing new memory, {ROWS} x {COLUMNS} of uint16, per frame", times)
    gain = times["1 threads"] / times["2 threads"]
    print(f"  gain of the memory from two threads: {gain:.2f}")
    for name in SYNTAXES:
        measure_codec(report, name)


def windows(report):
    """Window int16 to uint8, in input bytes per second, compared with memcpy."""
    count = MEGABYTES << 19
    source = np.random.default_rng(1).integers(-1000, 1000, count, "<i2")
    copy, displayed = np.empty_like(source), np.empty(count, "u1")
    hu = np.empty(count, "f4")
    center, width = WINDOW

    def window():
        _kernels.window(source, "<i2", center, width, displayed)

    def rescale():
        _kernels.linear(source, "<i2", 1.0, -1024.0, hu)

    def rescale_with_numpy():
        np.add(np.multiply(source, np.float32(1), out=hu), np.float32(-1024), out=hu)

    window()
    # PS3.3 C.11.2.1.2.1, in double
    value = ((source[: 1 << 20] - (center - 0.5)) / (width - 1) + 0.5) * 255
    assert np.array_equal(displayed[: 1 << 20], np.floor(np.clip(value, 0, 255) + 0.5))

    def timed(function):
        return lambda: per_frame(function) * FRAMES

    times = measure(
        {
            "memcpy": timed(lambda: np.copyto(copy, source)),
            "window to uint8": timed(window),
            "rescale to float32": timed(rescale),
            "the same with NumPy": timed(rescale_with_numpy),
        },
        max(report.rounds, 7),
    )
    print_times(f"{MEGABYTES} MB of int16", times)
    report.check("memcpy / window", times["memcpy"] / times["window to uint8"], at_least=0.6)
