"""Frames to encode and decode: transfer syntaxes, pictures, and simple encoders."""

import zlib

import numpy as np

JPEG, EXTENDED, LOSSLESS = (f"1.2.840.10008.1.2.4.{n}" for n in (50, 51, 70))
JPEGLS, J2K, J2K_LOSSY = (f"1.2.840.10008.1.2.4.{n}" for n in (80, 90, 91))
HTJ2K, HTJ2K_LOSSY, JPEGXL = (f"1.2.840.10008.1.2.4.{n}" for n in (201, 203, 110))
RLE, DEFLATED, PLAIN = "1.2.840.10008.1.2.5", "1.2.840.10008.1.2.8.1", "1.2.840.10008.1.2.1.98"


def picture(rows, columns, samples=1, bits=8, signed=False, seed=1):
    """A ramp with noise that uses every bit."""
    dtype = np.dtype(f"{'i' if signed else 'u'}{1 if bits <= 8 else 2}")
    noise = np.random.default_rng(seed).integers(0, 1 << max(1, bits - 3), (rows, columns, samples))
    ramp = (
        np.add.outer(np.arange(rows), np.arange(columns))[..., None]
        * (1 << bits)
        // (rows + columns)
    )
    values = (ramp + noise * (1 + np.arange(samples))) % (1 << bits)
    if signed:
        values -= 1 << bits - 1
    return (values if samples > 1 else values[..., 0]).astype(dtype)


def rle(array):
    """RLE Lossless, literally: no run is looked for (PS3.5 G)."""
    planes = array.reshape(-1, array.shape[2] if array.ndim == 3 else 1)
    cells = planes.astype(planes.dtype.newbyteorder(">")).T.copy().view("u1")
    segments = []
    for plane in cells.reshape(planes.shape[1], -1, array.dtype.itemsize):
        for k in range(array.dtype.itemsize):
            raw = plane[:, k].tobytes()
            packed = b"".join(
                bytes([len(raw[i : i + 128]) - 1]) + raw[i : i + 128]
                for i in range(0, len(raw), 128)
            )
            segments.append(packed + b"\0" * (len(packed) % 2))
    offsets = [64 + sum(map(len, segments[:i])) for i in range(len(segments))]
    header = np.array([len(segments), *offsets] + [0] * (15 - len(segments)), "<u4")
    return header.tobytes() + b"".join(segments)


def deflate(raw):
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(raw) + packer.flush()
