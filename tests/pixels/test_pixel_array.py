"""pixel_array and get_pixels: mapping, threads, and damage."""

import subprocess
import sys

import numpy as np
import pytest

import fastdcm
from support import builder
from support.builder import element, fragments, image
from support.encoded_frames import RLE, picture, rle


def one(array, put, **attributes):
    return fastdcm.dcmread(
        put(image(*array.shape, **attributes) + element(0x7FE00010, "OW", array.tobytes()))
    )


def test_small_is_read_and_large_is_mapped(put):
    small, large = picture(64, 64, 1, 16), picture(1024, 600, 1, 16)
    assert one(small, put).pixel_array.base.base is None
    mapped = one(large, put).pixel_array
    assert not mapped.flags.owndata and mapped.flags.writeable
    assert np.array_equal(mapped, large)
    for array in (small, large):
        for mmap in (True, False):
            given = one(array, put).get_pixels(mmap=mmap)
            assert np.array_equal(given, array) and given.flags.writeable


def test_a_mapping_is_private(put):
    array = picture(1024, 600, 1, 16)
    ds = one(array, put)
    with open(ds.filename, "rb") as file:
        before = file.read()
    ds.pixel_array[...] = 0
    with open(ds.filename, "rb") as file:
        assert file.read() == before
    assert np.array_equal(ds.pixel_array, array)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc/self/smaps")
def test_clean_cells_leave_a_mapping_shared(put):
    """12 of 16 bits: pages are written to only where bits have to go."""
    array = picture(1024, 1024, 1, 12)

    def dirty(ds):
        given = ds.get_pixels(mmap=True)
        kept = []
        with open("/proc/self/smaps") as maps:
            inside = False
            for line in maps:
                if ds.filename in line:
                    inside = True
                elif inside and line.startswith("Anonymous:"):
                    kept.append(int(line.split()[1]))
                    inside = False
        del given
        return sum(kept)

    assert dirty(one(array, put, stored=12)) < 64
    array[::2] |= 0x8000
    ds = one(array, put, stored=12)
    assert dirty(ds) > 1000
    assert np.array_equal(ds.pixel_array, array & 0xFFF)


def test_threads_normalize_a_mapping(put):
    stack = np.stack([picture(300, 300, 1, 16, seed=i) for i in range(9)])
    ds = fastdcm.dcmread(
        put(image(300, 300, stored=12, frames=9) + element(0x7FE00010, "OW", stack.tobytes()))
    )
    for threads in (None, 1, 3):
        for mmap in (True, False):
            assert np.array_equal(ds.get_pixels(mmap=mmap, threads=threads), stack & 0xFFF)


def test_no_pixel_data(put):
    for read in (lambda ds: ds.pixel_array, lambda ds: ds.frames):
        with pytest.raises(AttributeError, match="no pixel data"):
            read(fastdcm.dcmread(put(image(8, 8))))
    assert not hasattr(fastdcm.Dataset(), "pixel_array")


def test_one_sample_and_one_frame_have_no_axis(put):
    array = picture(5, 6, 1, 16)
    assert one(array, put, frames=1).pixel_array.shape == (5, 6)
    ds = fastdcm.dcmread(put(image(5, 6, frames=1) + fragments([rle(array)]), transfer_syntax=RLE))
    assert ds.pixel_array.shape == (5, 6)


# ---- damage: a DicomError, or a result and an issue

RAW = picture(8, 8, 1, 16).tobytes()


@pytest.mark.parametrize(
    "attributes, said",
    [
        ({"rows": 0}, "Rows must be an integer of at least 1, got 0"),
        ({"columns": 0}, "Columns must be an integer of at least 1, got 0"),
        ({"allocated": 3, "stored": 3}, "BitsAllocated must be 1, 8, 12, 16, 32 or 64, got 3"),
        ({"allocated": 48, "stored": 48}, "BitsAllocated must be 1, 8, 12, 16, 32 or 64, got 48"),
        (
            {"allocated": 0, "stored": 0, "high": 0},
            "BitsAllocated must be an integer of at least 1, got 0",
        ),
        (
            {"rows": 65535, "columns": 65535, "samples": 65535, "frames": 2147483647},
            "too large for memory",
        ),
        ({"rows": 65535, "columns": 65535}, "128 bytes"),
        ({"frames": 1000000}, "frames[1] is missing"),
        ({"samples": 0}, "SamplesPerPixel must be an integer of at least 1, got 0"),
        ({"rows": 9}, "frames[0] is missing"),
        ({"photometric": "YBR_FULL_422", "samples": 3, "planar": 0}, "YBR_FULL_422"),
        (
            {
                "photometric": "YBR_FULL_422",
                "samples": 3,
                "planar": 0,
                "allocated": 8,
                "columns": 5,
                "rows": 3,
            },
            "YBR_FULL_422",
        ),
    ],
)
@pytest.mark.parametrize("encapsulated", [False, True])
def test_attributes_that_are_wrong(put, attributes, said, encapsulated):
    attributes = {"rows": 8, "columns": 8, **attributes}
    rows, columns = attributes.pop("rows"), attributes.pop("columns")
    value = fragments([RAW]) if encapsulated else element(0x7FE00010, "OW", RAW)
    ds = fastdcm.dcmread(
        put(
            image(rows, columns, **attributes) + value,
            transfer_syntax=RLE if encapsulated else builder.EXPLICIT_LE,
        )
    )
    with pytest.raises(fastdcm.DicomError) as caught:
        _ = ds.pixel_array
    assert caught.value.filename == ds.filename
    if not encapsulated:
        assert said in caught.value.text


@pytest.mark.parametrize("keyword", ["Rows", "Columns", "BitsAllocated"])
def test_attributes_that_are_missing(put, keyword):
    ds = one(picture(8, 8, 1, 16), put)
    del ds[keyword]
    with pytest.raises(fastdcm.DicomError, match=keyword):
        _ = ds.pixel_array


def test_too_long_is_an_issue(put):
    array = picture(8, 8, 1, 8)
    for more, wanted in (
        (b"", []),
        (b"\0\0", ["pixel-length"]),
        (array.tobytes(), ["pixel-length"]),
    ):
        ds = fastdcm.dcmread(
            put(image(8, 8, allocated=8) + element(0x7FE00010, "OB", array.tobytes() + more))
        )
        assert np.array_equal(ds.pixel_array, array)
        assert [issue.code for issue in ds.issues] == wanted
    odd = picture(3, 3, 1, 8)
    ds = fastdcm.dcmread(
        put(image(3, 3, allocated=8) + element(0x7FE00010, "OB", odd.tobytes() + b"\0"))
    )
    assert np.array_equal(ds.pixel_array, odd) and ds.issues == []


def samples_422(array, width):
    """Y1 Y2 Cb Cr for two pixels: `width` pixels in a row, 0 for pairs across rows."""
    if width:
        array = np.pad(array, ((0, 0), (0, width - array.shape[1]), (0, 0)), mode="edge")
    pixels = array.reshape(-1, 3)
    pixels = np.concatenate([pixels, pixels[-1:]])[: (len(pixels) + 1) // 2 * 2]
    first, second = pixels[::2], pixels[1::2]
    return np.stack([first[:, 0], second[:, 0], first[:, 1], first[:, 2]], axis=1).tobytes()


@pytest.mark.parametrize("photometric", ["YBR_FULL_422", "YBR_PARTIAL_422"])
@pytest.mark.parametrize("rows, columns", [(4, 4), (4, 5), (5, 4), (3, 5), (6, 1)])
@pytest.mark.parametrize("frames", [1, 3])
@pytest.mark.parametrize("stored", ["rows", "pairs", "full"])
def test_subsampled_chroma(put, photometric, rows, columns, frames, stored):
    """PS3.3 C.7.6.3.1.2, also with odd columns, and with data that has all samples."""
    array = np.random.default_rng(7).integers(0, 256, (frames, rows, columns, 3), np.uint8)
    array[..., 1:] = array[:, :1, :1, 1:]  # one chroma in a frame
    if stored == "full":
        raw = array.tobytes()
    else:
        width = (columns + 1) // 2 * 2 if stored == "rows" else 0
        raw = b"".join(samples_422(one, width) for one in array)
    ds = fastdcm.dcmread(
        put(
            image(
                rows,
                columns,
                samples=3,
                allocated=8,
                photometric=photometric,
                planar=0,
                frames=frames,
            )
            + element(0x7FE00010, "OB", raw + b"\0" * (len(raw) % 2))
        )
    )
    given = ds.pixel_array
    assert np.array_equal(given if frames > 1 else given[None], array)
    assert np.array_equal(ds.frames[frames - 1], array[-1])
    wanted = ["photometric"] if stored == "full" else []
    assert [issue.code for issue in ds.issues] == wanted


def test_subsampled_chroma_in_planes(put):
    y, cb, cr = np.arange(24), np.arange(12) + 100, np.arange(12) + 200
    raw = np.concatenate([y, cb, cr]).astype(np.uint8)
    ds = fastdcm.dcmread(
        put(
            image(4, 6, samples=3, allocated=8, photometric="YBR_FULL_422", planar=1)
            + element(0x7FE00010, "OB", raw.tobytes())
        )
    )
    wanted = np.stack([y, cb.repeat(2), cr.repeat(2)], axis=1).reshape(4, 6, 3)
    assert np.array_equal(ds.pixel_array, wanted)


def test_subsampled_chroma_of_another_length(put):
    """Neither that of shared chroma nor that of all samples."""
    ds = fastdcm.dcmread(
        put(
            image(8, 8, samples=3, allocated=8, photometric="YBR_FULL_422", planar=0)
            + element(0x7FE00010, "OB", bytes(200))
        )
    )
    with pytest.raises(fastdcm.DicomError, match="neither 128"):
        _ = ds.pixel_array


@pytest.mark.parametrize("allocated", [1, 8, 12])
@pytest.mark.parametrize("vr", ["OB", "OW"])
def test_big_endian_words(put, allocated, vr):
    """Cells that are smaller than a word are in words of OW (PS3.5 8.1.1, D)."""
    bits = np.random.default_rng(3).integers(0, 2, (2, 3, 12, allocated), np.uint8)
    packed = np.packbits(bits, bitorder="little")
    packed = np.append(packed, np.zeros(len(packed) % 2, np.uint8))
    raw = packed.view("<u2").byteswap().tobytes() if vr == "OW" else packed.tobytes()
    big = builder.encoding_of(builder.EXPLICIT_BE)
    ds = fastdcm.dcmread(
        put(
            image(3, 12, allocated=allocated, frames=2, encoding=big)
            + element(0x7FE00010, vr, raw, encoding=big),
            transfer_syntax=builder.EXPLICIT_BE,
        )
    )
    value = (bits.astype(int) << np.arange(allocated)).sum(axis=-1)
    assert np.array_equal(ds.pixel_array, value)
    assert np.array_equal(ds.frames[1], value[1])


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"\0",
        fragments([])[12:],
        fragments([b""])[12:],
        fragments([b"\1\0" * 4])[12:-8],
        fragments([RAW], closed=False)[12:],
        b"\xfe\xff\x00\xe0\xff\xff\xff\xff",
        b"\x55" * 64,
        fragments([RAW], table=b"\xff" * 4)[12:],
        fragments([RAW], table=b"\1\2\3\4" * 5)[12:],
    ],
)
def test_wrong_fragment_lengths(put, value):
    data = image(8, 8, frames=2) + builder.header(0x7FE00010, "OB", builder.UNDEFINED) + value
    ds = fastdcm.dcmread(put(data, transfer_syntax=RLE))
    for read in (lambda: ds.pixel_array, lambda: ds.frames[1]):
        with pytest.raises((fastdcm.DicomError, AttributeError)):
            read()


MEMORY = """
import resource, sys
import numpy, fastdcm
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for path in sys.argv[1:]:
    ds = fastdcm.dcmread(path)
    for read in (lambda: ds.pixel_array, lambda: ds.frames[0], lambda: ds.frames[-1]):
        try:
            read()
        except fastdcm.DicomError as error:
            pass
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="counts memory with resource")
def test_a_small_file_takes_little_memory(put):
    """Attributes that promise gigabytes, over a few bytes."""
    paths = []
    for frames in (None, 5, 100_000, 2**31 - 1):
        for rows, columns in ((65535, 65535), (4096, 4096), (1, 1)):
            for samples, allocated in ((1, 16), (3, 8), (3, 64), (1, 1)):
                head = image(rows, columns, samples=samples, allocated=allocated, frames=frames)
                paths.append(put(head + element(0x7FE00010, "OW", RAW)))
                paths.append(
                    put(head + fragments([rle(picture(8, 8, 1, 8))] * 4), transfer_syntax=RLE)
                )
                paths.append(
                    put(
                        head + fragments([b"\xff\xd8\xff\xd9"]),
                        transfer_syntax="1.2.840.10008.1.2.4.50",
                    )
                )
    done = subprocess.run([sys.executable, "-c", MEMORY, *paths], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    unit = 1 if sys.platform == "darwin" else 1024
    assert int(done.stdout) * unit < 200 << 20


# ---- a value that is not possible, where there is a documented one in its place


@pytest.mark.parametrize(
    ("attributes", "same_as", "code"),
    [
        ({"frames": 0}, {}, "frame-count"),
        ({"frames": -1}, {}, "frame-count"),
        ({"frames": "1A"}, {}, "bad-number frame-count"),
        ({"frames": ""}, {}, ""),
        ({"stored": 17, "high": 15}, {"stored": 16}, "image-value"),
        ({"stored": 0, "high": 0}, {"stored": 16, "high": 15}, "image-value image-value"),
        ({"stored": 12, "high": 3}, {"stored": 12, "high": 11}, "image-value"),
        ({"stored": 12, "high": 16}, {"stored": 12, "high": 11}, "image-value"),
        ({"signed": 2}, {"signed": 0}, "image-value"),
    ],
)
@pytest.mark.parametrize("encapsulated", [False, True])
def test_attributes_with_a_default(put, attributes, same_as, code, encapsulated):
    cells = np.frombuffer(RAW, "<u2").reshape(8, 8)
    value = fragments([rle(cells)]) if encapsulated else element(0x7FE00010, "OW", RAW)
    syntax = RLE if encapsulated else builder.EXPLICIT_LE

    def opened(attributes, **options):
        path = put(image(8, 8, **attributes) + value, transfer_syntax=syntax)
        return fastdcm.dcmread(path, **options)

    ds = opened(attributes)
    assert np.array_equal(ds.pixel_array, opened(same_as).pixel_array)
    assert sorted(issue.code for issue in ds.issues) == code.split()
    if code:
        with pytest.raises(fastdcm.DicomError):
            _ = opened(attributes, strict=True).pixel_array


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc/self/maps")
def test_no_function_maps_if_it_must_not(put, monkeypatch):
    """Large frames, whose values every function converts."""
    array = picture(1024, 600, 1, 16)
    ds = one(array, put)
    maps = []
    original = type(ds.frames).read

    def read(self, *arguments, **options):
        found = original(self, *arguments, **options)
        with open("/proc/self/maps") as file:
            maps.append(ds.filename in file.read())
        return found

    monkeypatch.setattr(type(ds.frames), "read", read)
    for mmap in (True, False):
        for call in (
            lambda mmap: ds.get_pixels(mmap=mmap),
            lambda mmap: ds.modality_pixels(mmap=mmap),
            lambda mmap: ds.modality_pixels(0, mmap=mmap),
            lambda mmap: ds.windowed(mmap=mmap),
            lambda mmap: ds.windowed(slice(0, 1), mmap=mmap),
            lambda mmap: ds.to_rgb(mmap=mmap),
        ):
            maps.clear()
            call(mmap)
            assert maps == [mmap], call
