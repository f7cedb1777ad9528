"""Kernels over the stored values of native pixel data, and frames read in
batches. NumPy is not needed: every `src`, `out` and table is an object with the
buffer protocol, C-contiguous; `out` is writeable and never overlaps `src`.
Work is done without the GIL.

``fmt`` is what one cell is, in NumPy's letters: ``"|u1"``, ``"|i1"``, and
``"<"`` or ``">"`` with ``u2 i2 u4 i4 u8 i8 f4 f8``; "=" is the machine's order.
``bits_stored`` and ``high_bit`` name the bits that hold the value (PS3.5 8.1.1,
PS3.3 C.7.6.3.1): the others are masked away, and a signed value is
sign-extended. bits_stored 0: all bits. high_bit -1: bits_stored - 1.

A buffer of a size that does not fit is a ValueError; damage in the bytes is a
`fastdcm.DicomError` of the code that is named. `src` may be longer than needed:
where no count is given, the size of `out` tells it.
"""

import os
from collections.abc import Sequence

from fastdcm.errors import DicomError

_Buffer = object  # collections.abc.Buffer from Python 3.12 on
_Path = str | bytes | os.PathLike[str] | os.PathLike[bytes]

# The fields of one record of `read_frames`: ``numpy.dtype(FRAME)``, 80 bytes.
#   offset          of the frame's first byte in its file
#   size, mtime_ns  of the file when offset was found; 0: not checked
#   slope, intercept, center, width   for the conversions that use them
#   rows, columns, samples
#   bits_allocated  1, 8, 16, 32, 64
#   bits_stored, high_bit   bits_stored 0: all bits
#   representation  0 unsigned, 1 signed, 2 float
#   big             1: cells of more than a byte are big endian
#   planar          1: samples lie in planes (Planar Configuration)
#   start_bit       bits_allocated 1: the frame's first bit in its first byte
#   invert          1: a window gives 255 minus its value (MONOCHROME1)
#   function        0 LINEAR, 1 LINEAR_EXACT, 2 SIGMOID
FRAME: list[tuple[str, str]]

def unpack_bits(src: _Buffer, start_bit: int, count: int, out: _Buffer) -> None:
    """One bit a cell, the first in the lowest bit (PS3.5 8.1.1), to bytes of 0 or
    1. Starts at bit `start_bit` of src: frames need not begin at a byte."""

def unpack_12(src: _Buffer, count: int, out: _Buffer) -> None:
    """Bits Allocated 12, two cells in three bytes, little endian, to uint16 in
    the machine's order."""

def normalize(buf: _Buffer, fmt: str, bits_stored: int, high_bit: int = -1) -> None:
    """In place: only the bits that hold the value stay, shifted down to bit 0,
    sign-extended when fmt is signed. The byte order stays, too."""

def swap(buf: _Buffer, unit: int) -> None:
    """In place: turns the bytes of every unit of 2, 4 or 8 round."""

def interleave(src: _Buffer, out: _Buffer, cells: int, samples: int, itemsize: int) -> None:
    """Planes (R... G... B...) to pixels (RGB RGB ...), `cells` cells a plane."""

def expand_422(src: _Buffer, out: _Buffer, cells: int) -> None:
    """YBR_FULL_422 of 8 bits as it stands native (PS3.3 C.7.6.3.1.2): Y1 Y2 Cb Cr
    for two pixels, to Y Cb Cr for each. cells: rows times columns, even."""

def ybr_to_rgb(src: _Buffer, fmt: str, out: _Buffer, kind: str, bits: int = 8) -> None:
    """Interleaved Y Cb Cr to R G B (PS3.3 C.7.6.3.1.2).

    kind "full": fmt u1 or u2, chroma around 2**(bits - 1); 8-bit values equal
    pydicom's, but for 28 greens of Cb 78, Cr 178, a tie that its float32 misses. kind "ict", "rct": fmt i2 or i4, chroma around 0. fmt is in the
    machine's order. out: uint8 up to 8 bits, else uint16 in the machine's order;
    values are clamped to 0 ... 2**bits - 1. out may be src when the sizes of cells
    are equal."""

def linear(
    src: _Buffer,
    fmt: str,
    slope: float,
    intercept: float,
    out: _Buffer,
    out_fmt: str = "=f4",
    *,
    bits_stored: int = 0,
    high_bit: int = -1,
) -> None:
    """stored value * slope + intercept (PS3.3 C.11.1.1.2), computed in double and,
    for out_fmt "=f4", rounded once; out_fmt "=f8": not rounded."""

def window(
    src: _Buffer,
    fmt: str,
    center: float,
    width: float,
    out: _Buffer,
    *,
    function: str = "LINEAR",
    slope: float = 1.0,
    intercept: float = 0.0,
    invert: bool = False,
    bits_stored: int = 0,
    high_bit: int = -1,
) -> None:
    """Stored values to windowed uint8 in one pass (PS3.3 C.11.2.1.2, C.11.2.1.3).

    function: "LINEAR", "LINEAR_EXACT" or "SIGMOID". The result is the formula of
    the Standard in double precision over stored * slope + intercept, for 0 ... 255,
    and floor(y + 0.5) of it; `invert` gives 255 minus that. NaN is the lowest value.
    Raises DicomError "window" for a width below 1 (LINEAR) or not above 0, and
    for numbers that are not finite."""

def lut(
    src: _Buffer,
    fmt: str,
    table: _Buffer,
    first: int,
    out: _Buffer,
    itemsize: int,
    *,
    bits_stored: int = 0,
    high_bit: int = -1,
) -> None:
    """out[i] = table[clamp(src[i] - first)] (PS3.3 C.11.1.1, C.11.2.1.1): values
    below `first` take the first entry, those above the last. itemsize: bytes
    of an entry of table and out, 1, 2, 4 or 8, of any type. fmt: integers."""

def palette(
    src: _Buffer,
    fmt: str,
    red: _Buffer,
    green: _Buffer,
    blue: _Buffer,
    first: int,
    out: _Buffer,
    itemsize: int,
    *,
    bits_stored: int = 0,
    high_bit: int = -1,
) -> None:
    """PALETTE COLOR to interleaved R G B (PS3.3 C.7.6.3.1.5), as `lut` does.
    itemsize: 1 or 2 bytes an entry; the three tables are of one length."""

def rle_decode(
    src: _Buffer,
    fmt: str,
    cells: int,
    samples: int,
    out: _Buffer,
    planar: bool = False,
    *,
    bits_stored: int = 0,
    high_bit: int = -1,
) -> None:
    """One whole frame of RLE Lossless (PS3.5 G), fragments joined, to little
    endian cells: pixels of `samples` samples, or, with planar, planes; unused
    bits gone, the sign extended.

    cells: rows times columns. out: cells * samples * itemsize bytes.
    Raises DicomError: "rle-header" (too short, or offsets that lie), "rle-count"
    (segments are not samples times bytes), "rle-segment" (a segment gives too
    few bytes), each with the offset in src. What is too much is ignored. A packet
    of 2 bytes gives 128 at most: a frame of n bytes has never more than 64 * n."""

def read_frames(
    paths: Sequence[_Path],
    frames: _Buffer,
    out: _Buffer,
    convert: str = "stored",
    *,
    fit: bool = False,
    pad: float = 0.0,
) -> list[tuple[int, DicomError]]:
    """Reads native frames, frames[i] of paths[i], into the slots out[i].

    paths : n paths. Equal neighbours are opened once.
    frames : n records of `FRAME`, a NumPy array of ``numpy.dtype(FRAME)``.
    out : (n, height, width) or (n, height, width, samples), in the machine's order.
        A torch tensor's ``.numpy()``, pinned or not.
    convert : "stored": the values as they are, unused bits masked or
        sign-extended; out is of the frames' own type, or a signed one of that
        size when bits_stored leaves the sign bit free (one bit: uint8).
        "rescale": out float32, as `linear`. "window": out uint8, as `window`.
    fit : a frame of another size is cropped or padded around its centre as MONAI
        does it: cropping starts at rows // 2 - height // 2, padding puts
        (height - rows) // 2 lines above. False: it is an error.
    pad : the value of padding, in units of out.

    Returns [(i, error)] of the frames that could not be read; their slots are
    filled with `pad`. Codes: "open", "read", "not-regular", "memory", "changed"
    (size or mtime_ns differ), "frame-short" (the file ends before the frame
    does), "frame-fit" (shape or type does not fit the slot), "window".
    Threads may read slices of one batch at the same time."""
