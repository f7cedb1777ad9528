"""Convert native pixel data, and read frames in batches, without the GIL.

NumPy is not needed: every `src`, `out` and table is an object with the buffer
protocol, C-contiguous; `out` is writeable and does not overlap `src`.

``fmt`` is the type of one cell in NumPy's notation: ``"|u1"``, ``"|i1"``, and
``"<"`` or ``">"`` with ``u2 i2 u4 i4 u8 i8 f4 f8``; ``"="`` is the machine's byte
order. ``bits_stored`` and ``high_bit`` give the bits that hold the value (PS3.5
8.1.1, PS3.3 C.7.6.3.1): the others are cleared, and a signed value is
sign-extended. With bits_stored 0 all bits hold it; high_bit -1 is
``bits_stored - 1``.

A buffer that is too small raises ValueError; damage in the bytes raises a
`fastdcm.DicomError` of the code given for the function. `src` may be longer than
needed: if no count is given, the size of `out` determines it.
"""

import os
from collections.abc import Sequence
from typing import Any, Literal

from numpy.typing import NDArray
from typing_extensions import Buffer

from fastdcm.errors import DicomError

# NumPy declares the buffer protocol of its arrays from Python 3.12.
_Buffer = Buffer | NDArray[Any]
_Path = str | bytes | os.PathLike[str] | os.PathLike[bytes]

# The fields of one record of `read_frames`: ``numpy.dtype(NATIVE_FRAME_DTYPE)``,
# 80 bytes.
#   offset          of the frame's first byte in its file
#   size, mtime_ns  of the file when the offset was read; 0: not checked
#   slope, intercept, center, width   for the conversions that use them
#   rows, columns, samples
#   bits_allocated  1, 8, 16, 32, 64
#   bits_stored, high_bit   bits_stored 0: all bits
#   representation  0 unsigned, 1 signed, 2 float
#   big             1: cells of more than a byte are big endian
#   planar          1: samples are in planes (Planar Configuration)
#   start_bit       bits_allocated 1: the frame's first bit in its first byte
#   invert          1: a window gives 255 minus its value (MONOCHROME1)
#   function        0 LINEAR, 1 LINEAR_EXACT, 2 SIGMOID
NATIVE_FRAME_DTYPE: list[tuple[str, str]]

def unpack_bits(src: _Buffer, start_bit: int, count: int, out: _Buffer) -> None:
    """Unpack cells of one bit, the first in the lowest bit (PS3.5 8.1.1).

    `out` receives bytes of 0 or 1. Unpacking starts at bit `start_bit` of `src`,
    because a frame need not begin at a byte.
    """

def unpack_12(src: _Buffer, count: int, out: _Buffer) -> None:
    """Unpack cells of 12 bits, two in three bytes, little endian.

    `out` receives uint16 in the machine's byte order.
    """

def normalize(buf: _Buffer, fmt: str, bits_stored: int, high_bit: int = -1) -> None:
    """Clear unused bits, shift down to bit 0 and extend the sign, in place.

    The byte order does not change.
    """

def swap(buf: _Buffer, unit: int) -> None:
    """Reverse the bytes of every unit of 2, 4 or 8, in place."""

def interleave(src: _Buffer, out: _Buffer, cells: int, samples: int, itemsize: int) -> None:
    """Convert planes of `cells` cells (R... G... B...) to pixels (RGB RGB ...)."""

def expand_422(src: _Buffer, out: _Buffer, cells: int) -> None:
    """Expand native YBR_FULL_422 of 8 bits (PS3.3 C.7.6.3.1.2) to Y Cb Cr.

    `src` has Y1 Y2 Cb Cr for two pixels. `cells` is rows times columns, even.
    """

def ybr_to_rgb(
    src: _Buffer, fmt: str, out: _Buffer, kind: Literal["full", "ict", "rct"], bits: int = 8
) -> None:
    """Convert interleaved Y Cb Cr to R G B (PS3.3 C.7.6.3.1.2).

    `fmt` is in the machine's byte order. For kind "full" it is u1 or u2, chroma
    around 2**(bits - 1); 8-bit values equal pydicom's, except for 28 greens of
    Cb 78, Cr 178, a tie that pydicom's float32 misses. For "ict" and "rct" it is
    i2 or i4, chroma around 0. `out` is uint8 for up to 8 bits, else uint16 in the
    machine's byte order; values are clamped to 0 ... 2**bits - 1. `out` may be
    `src` if the cells have the same size.
    """

def video_to_rgb(src: _Buffer, out: _Buffer, kr: float, kb: float, limited: bool) -> None:
    """Convert interleaved 8-bit Y Cb Cr of video to R G B (PS3.3 C.7.6.3.1.2).

    `kr` and `kb` are the parts of red and blue in Y: 0.299 and 0.114 in ITU-R
    BT.601. `limited`: Y is 16 to 235 and chroma 16 to 240. `out` may be `src`.
    """

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
    """Compute stored value * slope + intercept (PS3.3 C.11.1.1.2).

    Computed in double; rounded once for out_fmt "=f4", not for "=f8".
    """

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
    """Map stored values through a window to uint8 (PS3.3 C.11.2.1.2, C.11.2.1.3).

    The result is floor(y + 0.5) of the Standard's formula for 0 ... 255, in
    double, over stored * slope + intercept; `invert` gives 255 minus that. NaN is
    the lowest value. Raises DicomError "window" for a width below 1 (LINEAR) or
    not above 0, and for numbers that are not finite.
    """

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
    """Replace each value by its entry of a table (PS3.3 C.11.1.1, C.11.2.1.1).

    ``out[i] = table[clamp(src[i] - first)]``: values below `first` give the first
    entry, those past the end the last. `itemsize` is the size of an entry of
    `table` and `out`: 1, 2, 4 or 8 bytes of any type. `fmt` is an integer.
    """

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
    """Convert PALETTE COLOR to interleaved R G B (PS3.3 C.7.6.3.1.5), as `lut`.

    `itemsize` is 1 or 2; the three tables have the same length.
    """

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
    """Decode one frame of RLE Lossless (PS3.5 G) to little endian cells.

    `src` is the frame's fragments, joined; `cells` is rows times columns; `out`
    has cells * samples * itemsize bytes and receives pixels, or planes if
    `planar`, with unused bits cleared and the sign extended.

    Raises DicomError "rle-header" (too short, or wrong offsets), "rle-count" (the
    segments are not samples times bytes) or "rle-segment" (a segment decodes to
    too few bytes), each with the offset in `src`. Excess bytes are ignored. A
    packet of 2 bytes decodes to at most 128: a frame of n bytes has never more
    than 64 * n.
    """

def read_frames(
    paths: Sequence[_Path],
    frames: _Buffer,
    out: _Buffer,
    convert: str = "stored",
    *,
    fit: bool = False,
    pad: float = 0.0,
) -> list[tuple[int, DicomError]]:
    """Read native frames, frames[i] of paths[i], into the slots out[i].

    Several threads may read slices of one batch at the same time.

    Parameters
    ----------
    paths : sequence of path
        n paths. Equal ones that follow each other are opened once.
    frames : buffer
        n records: a NumPy array of ``numpy.dtype(NATIVE_FRAME_DTYPE)``.
    out : buffer
        (n, height, width) or (n, height, width, samples), in the machine's byte
        order: a NumPy array, or ``.numpy()`` of a torch tensor, pinned or not.
    convert : {"stored", "rescale", "window"}
        "stored": the stored values, unused bits cleared or sign-extended; `out` has
        the frames' own type, or a signed one of that size if bits_stored leaves
        the sign bit free (one bit: uint8). "rescale": `out` is float32, as for
        `linear`. "window": `out` is uint8, as for `window`.
    fit : bool
        Crop or pad a frame of another size around its center as MONAI does:
        cropping starts at rows // 2 - height // 2, padding puts
        (height - rows) // 2 lines above. False: another size is an error.
    pad : float
        The value of padding, in units of `out`.

    Returns
    -------
    list of (int, DicomError)
        The frames that could not be read, whose slots are filled with `pad`.
        Codes: "open", "read", "not-regular", "memory", "changed" (size or
        mtime_ns differ), "frame-short" (the file ends before the frame does),
        "frame-fit" (shape or type does not fit the slot), "window".
    """
