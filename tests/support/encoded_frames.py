"""Frames to encode and decode: transfer syntaxes, pictures, and simple encoders."""

import struct
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


JFIF = b"\xff\xe0\0\x10JFIF\0\1\1\0\0\1\0\1\0\0"


def adobe(transform):
    """The marker APP14: 0 is RGB, 1 Y Cb Cr."""
    return b"\xff\xee\0\x0eAdobe\0\x64\0\0\0\0" + bytes([transform])


def with_markers(jpeg, markers=b"", ids=None):
    """A JPEG with these application data segments in place of its own, and these component
    identifiers."""
    out, at = [b"\xff\xd8", markers], 2
    while True:
        marker, size = jpeg[at + 1], struct.unpack_from(">H", jpeg, at + 2)[0]
        segment = bytearray(jpeg[at : at + 2 + size])
        is_frame = 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC)
        if ids and is_frame:
            segment[10::3] = ids
        if ids and marker == 0xDA:
            segment[5 : 5 + 2 * len(ids) : 2] = ids
        if not 0xE0 <= marker <= 0xEF:
            out.append(bytes(segment))
        at += 2 + size
        if marker == 0xDA:
            return b"".join(out) + jpeg[at:]


def repeated_scans(jpeg, count):
    """A progressive JPEG with its shortest scan `count` more times."""
    at, parts, scans = 2, [], []
    while jpeg[at + 1] != 0xD9:
        end = at + 2 + struct.unpack_from(">H", jpeg, at + 2)[0]
        if jpeg[at + 1] == 0xDA:
            while not (jpeg[end] == 0xFF and jpeg[end + 1] not in (0, *range(0xD0, 0xD8))):
                end += 1
            scans.append(jpeg[at:end])
        parts.append(jpeg[at:end])
        at = end
    return b"\xff\xd8" + b"".join(parts) + min(scans, key=len) * count + b"\xff\xd9"
