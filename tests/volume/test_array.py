"""The pixels of a volume: values, types, memory."""

import os
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import fastdcm
from support import builder
from support.series import (
    NO_GEOMETRY,
    cells,
    encode_image,
    frames_of,
    functional_groups,
    plane_position,
)


def test_rescale_of_each_slice(series):
    paths = series([0, 1, 2], slope=lambda i: 0.1 * (i + 1), intercept=lambda i: -i)
    volume = fastdcm.read_volume(paths)
    assert volume.array.dtype == np.float32
    for i in range(3):
        assert (volume.array[i] == (cells(i) * (0.1 * (i + 1)) - i).astype(np.float32)).all()
    stored = fastdcm.read_volume(paths, rescale=False)
    assert stored.array.dtype == np.int16 and (stored.array[2] == cells(2)).all()


def test_identity_rescale_keeps_the_stored_type(series):
    volume = fastdcm.read_volume(series([0, 1], slope=1, intercept=0))
    assert volume.array.dtype == np.int16


def test_signed_and_unsigned_slices(series):
    volume = fastdcm.read_volume(series([0, 1], signed=lambda i: i))
    assert volume.array.dtype == np.int32 and (volume.array[1] == cells(1)).all()


@pytest.mark.parametrize("threads", [1, 2, None])
def test_enhanced_and_compressed(put, threads):
    """Frames of one file, by several threads (RLE, PS3.5 G)."""

    def rle(frame):
        planes = [frame.tobytes()[1::2], frame.tobytes()[::2]]  # high bytes first
        packed = [bytes([len(p) - 1]) + p + b"\0" * (1 - len(p) % 2) for p in planes]
        return struct.pack("<16I", 2, 64, 64 + len(packed[0]), *[0] * 13) + b"".join(packed)

    count = 40
    raw = functional_groups([plane_position([0, 0, 3 * (i * 7 % count)]) for i in range(count)])
    raw[builder.PIXEL_DATA] = builder.fragments([rle(cells(i)) for i in range(count)])
    path = put(
        encode_image(None, raw, frames=count, intercept=-1, **NO_GEOMETRY),
        transfer_syntax=builder.RLE,
    )
    volume = fastdcm.read_volume(path, threads=threads)
    order = sorted(range(count), key=lambda i: i * 7 % count)
    assert volume.tags["frame"] == order
    assert (volume.array == frames_of(count)[order] - 1.0).all()


@pytest.mark.skipif(sys.platform != "linux", reason="reads VmHWM of /proc")
def test_memory_is_that_of_the_array(put):
    """60 slices of 2 MB: the array, and not much more."""
    shape = dict(rows=1024, columns=1024)
    noise = np.random.default_rng(1).integers(-1000, 1000, (1024, 1024)).astype("<i2")
    paths = [
        put(encode_image(noise, position=[0, 0, i], number=i, intercept=-5, **shape))
        for i in range(60)
    ]
    program = """if 1:
        import sys, numpy, fastdcm
        def peak():
            lines = open("/proc/self/status")
            return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
        fastdcm.read_volume(sys.argv[1:3])
        before = peak()
        volume = fastdcm.read_volume(sys.argv[1:])
        print((peak() - before) * 1024 / volume.array.nbytes)"""
    done = subprocess.run(
        [sys.executable, "-c", program, *paths],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(Path(fastdcm.__file__).parent.parent)},
    )
    assert float(done.stdout) < 1.15
