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
        ({"allocated": 16, "stored": 17}, "BitsStored must be 1 to BitsAllocated (16), got 17"),
        (
            {"allocated": 16, "stored": 0, "high": 0},
            "BitsStored must be 1 to BitsAllocated (16), got 0",
        ),
        (
            {"rows": 65535, "columns": 65535, "samples": 65535, "frames": 2147483647},
            "too large for memory",
        ),
        ({"rows": 65535, "columns": 65535}, "128 bytes"),
        ({"frames": 0}, "NumberOfFrames must be an integer of at least 1, got 0"),
        ({"frames": -1}, "NumberOfFrames must be an integer of at least 1, got -1"),
        ({"frames": "1A"}, "NumberOfFrames must be an integer of at least 1, got '1A'"),
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


def test_three_samples_of_subsampled_chroma_are_refused(put):
    """As many bytes as without subsampling: PhotometricInterpretation is wrong."""
    array = picture(8, 8, 3, 8)
    ds = fastdcm.dcmread(
        put(
            image(8, 8, samples=3, allocated=8, photometric="YBR_FULL_422", planar=0)
            + element(0x7FE00010, "OB", array.tobytes())
        )
    )
    with pytest.raises(fastdcm.DicomError, match="which YBR_FULL_422 does not have"):
        _ = ds.pixel_array


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
