"""Convert native pixel data, and read frames in batches, without the GIL."""

cimport cython
from cpython.buffer cimport (PyBUF_FORMAT, PyBUF_ND, PyBUF_SIMPLE, PyBUF_WRITABLE, PyBuffer_Release,
                             PyObject_GetBuffer)
from libc.string cimport memcpy, memset
from fastdcm.core.dcm cimport *
from fastdcm.core._file cimport check

import os

from fastdcm.errors import error_for

NATIVE_FRAME_DTYPE = [
    ("offset", "=u8"), ("size", "=u8"), ("mtime_ns", "=i8"),
    ("slope", "=f8"), ("intercept", "=f8"), ("center", "=f8"), ("width", "=f8"),
    ("rows", "=u4"), ("columns", "=u4"), ("samples", "=u4"),
    ("bits_allocated", "=u1"), ("bits_stored", "=u1"), ("high_bit", "=u1"),
    ("representation", "=u1"), ("big", "=u1"), ("planar", "=u1"), ("start_bit", "=u1"),
    ("invert", "=u1"), ("function", "=u4"),
]

cdef tuple FUNCTIONS = ("LINEAR", "LINEAR_EXACT", "SIGMOID")
cdef tuple CONVERSIONS = ("stored", "rescale", "window")


@cython.final
cdef class _BufferView:
    """The bytes of an object with the buffer protocol, kept alive with this object."""
    cdef Py_buffer view
    cdef uint8_t *p
    cdef uint64_t n

    def __cinit__(self, source, int flags):
        PyObject_GetBuffer(source, &self.view, flags)
        self.p = <uint8_t *>self.view.buf
        self.n = <uint64_t>self.view.len

    def __dealloc__(self):
        PyBuffer_Release(&self.view)


cdef _BufferView readable(source):
    return _BufferView(source, PyBUF_SIMPLE)


cdef _BufferView writable(target):
    return _BufferView(target, PyBUF_WRITABLE)


cdef int require(_BufferView b, object size, str name) except -1:
    """Check that a buffer has at least `size` bytes; a Python int of any magnitude."""
    if size < 0 or b.n < size:
        raise ValueError(f"{name} must have at least {size} bytes, got {b.n}")
    return 0


cdef dcm_cells cells_of(str fmt, int bits_stored=0, int high_bit=-1):
    """Return the cells of a format in NumPy's notation, such as "<i2"."""
    cdef dcm_cells c
    code = fmt if fmt[:1] in ("<", ">", "|", "=") else "=" + fmt
    if len(code) != 3 or code[1] not in "uif" or code[2] not in "1248":
        raise ValueError("fmt must be the format of an integer or float, such as '<i2', "
                         f"got {fmt!r}")
    if high_bit < 0:
        high_bit = bits_stored - 1
    c.size = int(code[2])
    c.kind = "uif".index(code[1])
    c.big = code[0] == ">" or (code[0] in "=|" and DCM_HOST_BIG)
    if not 0 <= bits_stored <= 64 or high_bit > 63:
        raise ValueError(f"bits_stored and high_bit must fit {8 * c.size} bits, "
                         f"got {bits_stored} and {high_bit}")
    c.bits_stored = bits_stored
    c.high_bit = high_bit if bits_stored else 0
    if not dcm_cells_valid(&c):
        raise ValueError(f"bits_stored and high_bit must fit a cell of {fmt!r}, "
                         f"got {bits_stored} and {high_bit}")
    return c


cdef dcm_cells own_order(str fmt):
    cdef dcm_cells c = cells_of(fmt)
    if c.size > 1 and c.big != DCM_HOST_BIG:
        raise ValueError(f"fmt must be in the machine's byte order, got {fmt!r}")
    return c


def unpack_bits(src, uint64_t start_bit, uint64_t count, out):
    """Unpack cells of one bit, the first in the lowest bit, to bytes of 0 and 1."""
    cdef _BufferView a = readable(src), b = writable(out)
    require(a, (int(start_bit) + count + 7) // 8, "src")
    require(b, count, "out")
    with nogil:
        dcm_unpack_bits(a.p, start_bit, count, b.p)


def unpack_12(src, uint64_t count, out):
    """Unpack cells of 12 bits, two in three bytes, to uint16."""
    cdef _BufferView a = readable(src), b = writable(out)
    require(a, (int(count) * 3 + 1) // 2, "src")
    require(b, int(count) * 2, "out")
    with nogil:
        dcm_unpack_12(a.p, count, b.p)


def normalize(buf, str fmt not None, int bits_stored, int high_bit=-1):
    """Clear unused bits and extend the sign, in place."""
    cdef _BufferView a = writable(buf)
    cdef dcm_cells c = cells_of(fmt, bits_stored, high_bit)
    with nogil:
        dcm_cells_normalize(&c, a.p, a.n // c.size)


def swap(buf, int unit):
    """Reverse the bytes of every unit, in place."""
    cdef _BufferView a = writable(buf)
    if unit not in (2, 4, 8):
        raise ValueError(f"unit must be 2, 4 or 8, got {unit}")
    with nogil:
        dcm_swap_units(a.p, a.n, unit)


def interleave(src, out, uint64_t cells, unsigned samples, unsigned itemsize):
    """Convert planes to pixels."""
    cdef _BufferView a = readable(src), b = writable(out)
    if itemsize not in (1, 2, 4, 8):
        raise ValueError(f"itemsize must be 1, 2, 4 or 8, got {itemsize}")
    require(a, int(cells) * samples * itemsize, "src")
    require(b, int(cells) * samples * itemsize, "out")
    with nogil:
        dcm_interleave(a.p, cells, samples, itemsize, b.p)


def expand_422(src, out, uint64_t cells):
    """Expand native YBR_FULL_422 to Y Cb Cr for each pixel."""
    cdef _BufferView a = readable(src), b = writable(out)
    if cells % 2:
        raise ValueError(f"cells must be even, because two share their chroma, got {cells}")
    require(a, int(cells) * 2, "src")
    require(b, int(cells) * 3, "out")
    with nogil:
        dcm_expand_422(a.p, cells, b.p)


def ybr_to_rgb(src, str fmt not None, out, str kind not None, unsigned bits=8):
    """Convert Y Cb Cr to R G B."""
    cdef _BufferView a = readable(src), b = writable(out)
    cdef dcm_cells c = own_order(fmt)
    cdef int index
    cdef uint64_t cells = a.n // (3 * c.size)
    if kind not in ("full", "ict", "rct"):
        raise ValueError(f"kind must be 'full', 'ict' or 'rct', got {kind!r}")
    index = ("full", "ict", "rct").index(kind)
    if not (index and c.kind == DCM_CELL_SIGNED and c.size in (2, 4)) and not (
            index == 0 and c.kind == DCM_CELL_UNSIGNED and c.size in (1, 2)):
        raise ValueError(f"kind {kind!r} does not convert cells of {fmt!r}")
    if not 1 <= bits <= 16 or (index == 0 and bits > 8 * c.size):
        raise ValueError(f"bits must be 1 to 16 and fit {fmt!r}, got {bits}")
    require(b, int(cells) * 3 * (1 if bits <= 8 else 2), "out")
    with nogil:
        if index == 0:
            dcm_ybr_full(a.p, c.size, cells, bits, b.p)
        elif index == 1:
            dcm_ybr_ict(a.p, c.size, cells, bits, b.p)
        else:
            dcm_ybr_rct(a.p, c.size, cells, bits, b.p)


def video_to_rgb(src, out, double kr, double kb, bint limited):
    """Convert 8-bit Y Cb Cr of video to R G B."""
    cdef _BufferView a = readable(src), b = writable(out)
    if not (kr > 0 and kb > 0 and kr + kb < 1):
        raise ValueError(f"kr and kb must be above 0 and together below 1, got {kr} and {kb}")
    require(b, a.n // 3 * 3, "out")
    with nogil:
        dcm_ybr_video(a.p, a.n // 3, kr, kb, limited, b.p)


def linear(src, str fmt not None, double slope, double intercept, out, str out_fmt="=f4", *,
           int bits_stored=0, int high_bit=-1):
    """Compute stored value * slope + intercept, in float32 or float64."""
    cdef _BufferView a = readable(src), b = writable(out)
    cdef dcm_cells c = cells_of(fmt, bits_stored, high_bit)
    cdef dcm_cells to = own_order(out_fmt)
    cdef uint64_t count = b.n // to.size
    if to.kind != DCM_CELL_FLOAT:
        raise ValueError(f"out_fmt must be '=f4' or '=f8', got {out_fmt!r}")
    require(a, int(count) * c.size, "src")
    with nogil:
        dcm_rescale(&c, a.p, count, slope, intercept, to.size, b.p)


def window(src, str fmt not None, double center, double width, out, *,
           str function not None="LINEAR", double slope=1.0, double intercept=0.0,
           bint invert=False, int bits_stored=0, int high_bit=-1):
    """Map stored values through a window to uint8 (PS3.3 C.11.2.1.2, C.11.2.1.3)."""
    cdef _BufferView a = readable(src), b = writable(out)
    cdef dcm_window w
    cdef dcm_error err
    cdef int code
    memset(&w, 0, sizeof(w))
    w.cells = cells_of(fmt, bits_stored, high_bit)
    if function not in FUNCTIONS:
        raise ValueError(f"function must be one of {', '.join(FUNCTIONS)}, got {function!r}")
    w.function = FUNCTIONS.index(function)
    w.invert = invert
    w.slope = slope
    w.intercept = intercept
    w.center = center
    w.width = width
    require(a, int(b.n) * w.cells.size, "src")
    with nogil:
        code = dcm_window_prepare(&w, &err)
        if code == DCM_OK:
            dcm_window_run(&w, a.p, b.n, b.p)
        dcm_window_free(&w)
    check(code, &err, None, "")


cdef dcm_cells integers(str fmt, int bits_stored, int high_bit):
    cdef dcm_cells c = cells_of(fmt, bits_stored, high_bit)
    if c.kind == DCM_CELL_FLOAT or c.size > 4:
        raise ValueError(f"fmt must be an integer of up to 4 bytes for a table, got {fmt!r}")
    return c


def lut(src, str fmt not None, table, int64_t first, out, unsigned itemsize, *,
        int bits_stored=0, int high_bit=-1):
    """Replace each value by its entry of a table."""
    cdef _BufferView a = readable(src), t = readable(table), b = writable(out)
    cdef dcm_cells c = integers(fmt, bits_stored, high_bit)
    cdef uint64_t count, entries
    if itemsize not in (1, 2, 4, 8):
        raise ValueError(f"itemsize must be 1, 2, 4 or 8, got {itemsize}")
    count = b.n // itemsize
    entries = t.n // itemsize
    if not 1 <= entries <= 1 << 30 or not -(1 << 32) <= first <= 1 << 32:
        raise ValueError(f"a table of {entries} entries from {first} is not possible")
    require(a, int(count) * c.size, "src")
    with nogil:
        dcm_lut(&c, a.p, count, t.p, entries, first, itemsize, b.p)


def palette(src, str fmt not None, red, green, blue, int64_t first, out, unsigned itemsize, *,
            int bits_stored=0, int high_bit=-1):
    """Replace each value by its entries of three tables, as a pixel."""
    cdef _BufferView a = readable(src), b = writable(out)
    cdef _BufferView r = readable(red), g = readable(green), bl = readable(blue)
    cdef dcm_cells c = integers(fmt, bits_stored, high_bit)
    cdef uint64_t count, entries
    if itemsize not in (1, 2):
        raise ValueError(f"itemsize must be 1 or 2, got {itemsize}")
    count = b.n // (3 * itemsize)
    entries = r.n // itemsize
    if (not 1 <= entries <= 1 << 30 or not -(1 << 32) <= first <= 1 << 32 or g.n != r.n or
            bl.n != r.n):
        raise ValueError(f"tables of {r.n}, {g.n} and {bl.n} bytes from {first} are not possible")
    require(a, int(count) * c.size, "src")
    with nogil:
        dcm_palette(&c, a.p, count, r.p, g.p, bl.p, entries, first, itemsize, b.p)


def rle_decode(src, str fmt not None, uint64_t cells, unsigned samples, out, bint planar=False, *,
               int bits_stored=0, int high_bit=-1):
    """Decode one frame of RLE Lossless (PS3.5 G) to little endian cells."""
    cdef _BufferView a = readable(src), b = writable(out)
    cdef dcm_cells c = cells_of(fmt, bits_stored, high_bit)
    cdef dcm_error err
    cdef int code
    if c.size > 1 and c.big:
        raise ValueError(f"fmt must be little endian, got {fmt!r}")
    require(b, int(cells) * samples * c.size, "out")
    with nogil:
        code = dcm_rle_decode(&c, a.p, a.n, cells, samples, planar, b.p, &err)
    check(code, &err, None, "")


cdef int set_slots(dcm_native_batch *b, _BufferView out, double pad) except -1:
    """Set the shape and type of a slot from those of the block."""
    cdef Py_buffer *v = &out.view
    cdef bytes letter = v.format if v.format != NULL else b"B"
    cdef bytes order = b">" if DCM_HOST_BIG else b"<"
    if letter[:1] in (b"@", b"=", order):
        letter = letter[1:]
    if len(letter) != 1 or letter not in b"bBhHiIlLqQfd":
        raise ValueError("out must be integers or floats in the machine's byte order, got "
                         f"format {v.format.decode()!r}")
    if v.ndim not in (3, 4):
        raise ValueError("out must have the shape (n, height, width[, samples]), "
                         f"got {v.ndim} dimensions")
    b.out = out.p
    b.height = v.shape[1]
    b.width = v.shape[2]
    b.samples = v.shape[3] if v.ndim == 4 else 1
    b.size = v.itemsize
    if letter in b"fd":
        b.kind = DCM_CELL_FLOAT
    else:
        b.kind = DCM_CELL_SIGNED if letter in b"bhilq" else DCM_CELL_UNSIGNED
    cell = memoryview(bytearray(v.itemsize)).cast(letter.decode())
    try:
        cell[0] = pad if b.kind == DCM_CELL_FLOAT else int(pad)
    except (ValueError, OverflowError):
        raise ValueError(f"pad must be a value of out's type, got {pad}") from None
    memcpy(b.pad, readable(cell).p, v.itemsize)
    return 0


def read_frames(paths, frames, out, str convert not None="stored", *, bint fit=False,
                double pad=0.0):
    """Read native frames of many files into the slots of one block; return the errors."""
    cdef _BufferView records = readable(frames)
    cdef _BufferView slots = _BufferView(out, PyBUF_ND | PyBUF_FORMAT | PyBUF_WRITABLE)
    cdef list names = [os.fsencode(path) if os.name != "nt" or not isinstance(path, str)
                       else path.encode("utf-8", "surrogatepass") for path in paths]
    cdef uint64_t n = len(names), i
    cdef dcm_native_batch b
    cdef dcm_native_frame frame
    cdef dcm_error *errors
    cdef const char **at
    memset(&b, 0, sizeof(b))
    b.file.handle = -1
    if convert not in CONVERSIONS:
        raise ValueError(f"convert must be one of {', '.join(CONVERSIONS)}, got {convert!r}")
    b.convert = CONVERSIONS.index(convert)
    b.fit = fit
    set_slots(&b, slots, pad)
    if records.n != n * sizeof(dcm_native_frame) or <uint64_t>slots.view.shape[0] != n:
        raise ValueError("paths, frames and out must have the same length, got "
                         f"{n} paths, {records.n / sizeof(dcm_native_frame):g} records and "
                         f"{slots.view.shape[0]} slots")
    if (b.convert == DCM_CONVERT_RESCALE and (b.kind != DCM_CELL_FLOAT or b.size != 4) or
            b.convert == DCM_CONVERT_WINDOW and (b.kind != DCM_CELL_UNSIGNED or b.size != 1)):
        raise ValueError(f"out must be {'float32' if convert == 'rescale' else 'uint8'} for "
                         f"convert={convert!r}")
    if any(b"\0" in name for name in names):
        raise ValueError("a path must not contain a NUL character")
    errors = <dcm_error *>dcm_alloc(n * sizeof(dcm_error))
    at = <const char **>dcm_alloc(n * sizeof(char *))
    try:
        if errors == NULL or at == NULL:
            raise MemoryError
        for i in range(n):
            at[i] = <const char *><bytes>names[i]
        with nogil:
            for i in range(n):
                memset(&errors[i], 0, sizeof(dcm_error))
                memcpy(&frame, records.p + i * sizeof(dcm_native_frame), sizeof(dcm_native_frame))
                dcm_native_batch_read(&b, at[i], &frame, i, &errors[i])
        return [
            (i, error_for(dcm_code_name(errors[i].code).decode(),
                          dcm_code_text(errors[i].code).decode(),
                          errors[i].offset, "", paths[i], errors[i].sys))
            for i in range(n) if errors[i].code
        ]
    finally:
        dcm_native_batch_free(&b)
        dcm_free(errors)
        dcm_free(at)
