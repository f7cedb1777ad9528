"""Jobs of report.py about pixels: what stands between a codec and its user, and
how fast stored values become what is looked at."""

import os
import threading
import time

import data
import numpy as np
from contest import compete, must, show
from pydicom.pixels import get_encoder

import fastdcm
from fastdcm.pixels import _kernels
from fastdcm.pixels._frame_table import frame_table
from support import builder
from support.builder import element as el

FRAMES, ROWS, COLUMNS = 100, 512, 512
WINDOW = (40, 400)
MEGABYTES = 64

# name: transfer syntax, bits, encoder and decoder of a frame by imagecodecs
# with the arguments that this syntax needs, least gain of two threads
SYNTAXES = {
    "JPEG": (
        "1.2.840.10008.1.2.4.50",
        8,
        "jpeg8_encode",
        {"level": 90},
        "jpeg8_decode",
        {"colorspace": "grayscale", "outcolorspace": "grayscale"},
        1.6,
    ),
    "JPEG lossless": (
        "1.2.840.10008.1.2.4.70",
        16,
        "jpeg8_encode",
        {"lossless": True, "bitspersample": 16},
        "jpeg8_decode",
        {"colorspace": "grayscale", "outcolorspace": "grayscale"},
        1.6,
    ),
    "JPEG-LS": ("1.2.840.10008.1.2.4.80", 16, "jpegls_encode", {}, "jpegls_decode", {}, 1.8),
    "JPEG 2000": (
        "1.2.840.10008.1.2.4.90",
        16,
        "jpeg2k_encode",
        {"reversible": True, "codecformat": "J2K"},
        "jpeg2k_decode",
        {},
        1.8,
    ),
    "HTJ2K": (
        "1.2.840.10008.1.2.4.201",
        16,
        "htj2k_encode",
        {"reversible": True},
        "htj2k_decode",
        {},
        1.8,
    ),
    "RLE": ("1.2.840.10008.1.2.5", 16, None, {}, None, {}, 1.8),
    "native": ("1.2.840.10008.1.2.1", 16, None, {}, None, {}, 1.8),
}


def picture(number, bits):
    """A smooth object with noise, as a scanner makes it; unsigned."""
    y, x = np.mgrid[:ROWS, :COLUMNS]
    rng = np.random.default_rng(number)
    cells = 2000 * np.exp(-((x - 256 - number) ** 2 + (y - 256) ** 2) / 45_000)
    cells = (cells + 200 * np.sin(x / 9) + rng.normal(0, 12, cells.shape) + 400).clip(0, 4095)
    return cells.astype("<u2") if bits == 16 else (cells / 16).astype("u1")


def file_of(syntax, bits, encode):
    """A file of FRAMES frames, ten different ones in turn."""
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


def made(cache, name):
    """(path, bits, codec or None) of one of SYNTAXES."""
    import imagecodecs

    syntax, bits, encoder, how, decoder, options, _ = SYNTAXES[name]
    if name == "RLE":

        def encode(cells):
            return get_encoder(syntax).encode(
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
    elif name == "native":
        encode = np.ndarray.tobytes
    else:

        def encode(cells):
            return getattr(imagecodecs, encoder)(cells, **how)

    path = data.make(
        cache,
        f"codec-{name.replace(' ', '_')}",
        lambda folder: (folder / "frames.dcm").write_bytes(file_of(syntax, bits, encode)),
        lambda paths: None,
        __file__,
    )[0]
    if name == "native":
        return path, bits, None
    if name == "RLE":

        def codec(code):
            out = np.empty((ROWS, COLUMNS), "<u2")
            _kernels.rle_decode(code, "<u2", ROWS * COLUMNS, 1, out, bits_stored=12)
            return out
    else:

        def codec(code):
            return getattr(imagecodecs, decoder)(code, **options)

    return path, bits, codec


def seconds(function):
    begin = time.perf_counter()
    function()
    return (time.perf_counter() - begin) * 1e6 / FRAMES


def fresh_memory(n):
    """Microseconds to write an array of FRAMES frames that is new, by n threads: no
    array of many frames is made faster."""
    new = np.empty((n, FRAMES // n * ROWS * COLUMNS), "<u2")
    others = [threading.Thread(target=part.fill, args=(1,)) for part in new[1:]]
    begin = time.perf_counter()
    for other in others:
        other.start()
    new[0].fill(1)
    for other in others:
        other.join()
    return (time.perf_counter() - begin) * 1e6 / FRAMES


def read_into(path, room, n):
    """Reads the last bytes of a file, as many as room takes, by n threads."""

    def read(part, offset):
        assert os.preadv(handle, [part], offset) == len(part)

    handle = os.open(path, os.O_RDONLY)
    whole = memoryview(room).cast("B")
    first, size = os.fstat(handle).st_size - len(whole), len(whole) // n
    others = [
        threading.Thread(target=read, args=(whole[k * size : (k + 1) * size], first + k * size))
        for k in range(1, n)
    ]
    for other in others:
        other.start()
    read(whole[:size], first)
    for other in others:
        other.join()
    os.close(handle)


def codecs(report):
    times = compete(
        {f"{n} threads": lambda n=n: fresh_memory(n) for n in (1, 2)}, 3 * report.rounds
    )
    show(f"Writing new memory, {ROWS} x {COLUMNS} of uint16, a frame", times)
    print(f"  the memory's own gain: {times['1 threads'] / times['2 threads']:.2f}")
    for name, row in SYNTAXES.items():
        path, bits, codec = made(report.cache, name)
        frames = fastdcm.dcmread(path).frames
        for number in (0, 57):
            expected = picture(number % 10, bits)
            got = np.asarray(frames[number])
            assert np.abs(got.astype(int) - expected).max() <= (8 if name == "JPEG" else 0), name
        contenders = {}
        if codec is not None:
            elem = fastdcm.dcmread(path)["PixelData"]
            table = frame_table(frames._file, elem.file_tell, elem.value_length, FRAMES).offsets
            spans = list(zip(table[:-1], table[1:]))
            handle = os.open(path, os.O_RDONLY)

            def alone(spans, codec=codec, handle=handle):
                for start, stop in spans:
                    codec(os.pread(handle, stop - start - 8, start + 8))

            def halves(alone=alone, spans=spans):
                other = threading.Thread(target=alone, args=(spans[1::2],))
                other.start()
                alone(spans[::2])
                other.join()

            def wrapped(frames=frames):
                for frame in frames:
                    pass

            contenders |= {
                "the codec itself": lambda: seconds(lambda: alone(spans)),
                "the codec itself, 2 threads": lambda: seconds(halves),
                "ds.frames": lambda: seconds(wrapped),
            }
        room = np.ones((FRAMES, ROWS, COLUMNS), frames.dtype)
        for n in (1, 2):

            def whole(n=n, out=None):
                fastdcm.dcmread(path).get_pixels(mmap=False, threads=n, out=out)

            if codec is None:

                def reading(n=n):
                    read_into(path, room, n)

                contenders[f"floor: pread into it, {n} threads"] = lambda reading=reading: seconds(
                    reading
                )
            contenders[f"new array, {n} threads"] = lambda whole=whole: seconds(whole)
            contenders[f"array that is there, {n} threads"] = lambda whole=whole: seconds(
                lambda: whole(out=room)
            )
        times = compete(contenders, report.rounds)
        show(f"{name}, {FRAMES} frames of {ROWS} x {COLUMNS}, a frame", times)
        if codec is not None:
            os.close(handle)
            must(
                "ds.frames / the codec itself", times["ds.frames"] / times["the codec itself"], 1.05
            )
            gain = times["the codec itself"] / times["the codec itself, 2 threads"]
            print(f"  the codec's own gain: {gain:.2f}")
        gain = times["new array, 1 threads"] / times["new array, 2 threads"]
        print(f"  gain with a new array: {gain:.2f}")
        if codec is None:
            gain = (
                times["floor: pread into it, 1 threads"] / times["floor: pread into it, 2 threads"]
            )
            print(f"  the floor's own gain: {gain:.2f}")
        gain = times["array that is there, 1 threads"] / times["array that is there, 2 threads"]
        must("one thread / two threads", gain, row[-1], True)


def windows(report):
    """int16 to windowed uint8, input bytes a second beside memcpy."""
    count = MEGABYTES << 19
    source = np.random.default_rng(1).integers(-1000, 1000, count, "<i2")
    copy, shown = np.empty_like(source), np.empty(count, "u1")
    hu = np.empty(count, "f4")
    center, width = WINDOW

    def window():
        _kernels.window(source, "<i2", center, width, shown)

    window()
    # PS3.3 C.11.2.1.2.1, in double
    value = ((source[: 1 << 20] - (center - 0.5)) / (width - 1) + 0.5) * 255
    assert np.array_equal(shown[: 1 << 20], np.floor(np.clip(value, 0, 255) + 0.5))

    def timed(function):
        return lambda: seconds(function) * FRAMES

    times = compete(
        {
            "memcpy": timed(lambda: np.copyto(copy, source)),
            "window to uint8": timed(window),
            "rescale to float32": timed(lambda: _kernels.linear(source, "<i2", 1.0, -1024.0, hu)),
            "the same by NumPy": timed(
                lambda: np.add(
                    np.multiply(source, np.float32(1), out=hu), np.float32(-1024), out=hu
                )
            ),
        },
        max(report.rounds, 7),
    )
    show(f"{MEGABYTES} MB of int16", times)
    must("memcpy / window", times["memcpy"] / times["window to uint8"], 0.6, True)
