"""Kernels over native pixel data, and frames read in batches, without the GIL."""

cimport cython
from cpython.buffer cimport (PyBUF_FORMAT, PyBUF_ND, PyBUF_SIMPLE, PyBUF_WRITABLE, PyBuffer_Release,
                             PyObject_GetBuffer)
from libc.string cimport memcpy, memset
from fastdcm.core.dcm cimport *
from fastdcm.core._file cimport check

import os

from fastdcm.errors import error_for

cdef extern from "dcm_endian.h" nogil:
    enum:
        DCM_HOST_BIG

FRAME = [("offset", "=u8"), ("size", "=u8"), ("mtime_ns", "=i8"),
         ("slope", "=f8"), ("intercept", "=f8"), ("center", "=f8"), ("width", "=f8"),
         ("rows", "=u4"), ("columns", "=u4"), ("samples", "=u4"),
         ("bits_allocated", "=u1"), ("bits_stored", "=u1"), ("high_bit", "=u1"), ("representation", "=u1"),
         ("big", "=u1"), ("planar", "=u1"), ("start_bit", "=u1"), ("invert", "=u1"),
         ("function", "=u4")]

cdef tuple FUNCTIONS = ("LINEAR", "LINEAR_EXACT", "SIGMOID")
cdef tuple CONVERSIONS = ("stored", "rescale", "window")


@cython.final
cdef class _Held:
    """The bytes of an object with the buffer protocol, until this is gone."""
    cdef Py_buffer view
    cdef uint8_t *p
    cdef uint64_t n

    def __cinit__(self, source, int flags):
        PyObject_GetBuffer(source, &self.view, flags)
        self.p = <uint8_t *>self.view.buf
        self.n = <uint64_t>self.view.len

    def __dealloc__(self):
        PyBuffer_Release(&self.view)


cdef _Held held(source):
    return _Held(source, PyBUF_SIMPLE)


cdef _Held written(target):
    return _Held(target, PyBUF_WRITABLE)


cdef int need(_Held b, object size, str name) except -1:
    """size: of any magnitude, a Python int."""
    if size < 0 or b.n < size:
        raise ValueError(f"{name} has {b.n} bytes, where {size} are needed")
    return 0


cdef dcm_cells cells_of(str fmt, int bits_stored=0, int high_bit=-1):
    """A format as NumPy writes it, "<i2"."""
    cdef dcm_cells c
    code = fmt if fmt[:1] in ("<", ">", "|", "=") else "=" + fmt
    if len(code) != 3 or code[1] not in "uif" or code[2] not in "1248":
        raise ValueError(f"{fmt!r} is no format of a cell, as '<i2'")
    if high_bit < 0:
        high_bit = bits_stored - 1
    c.size = int(code[2])
    c.kind = "uif".index(code[1])
    c.big = code[0] == ">" or (code[0] in "=|" and DCM_HOST_BIG)
    if not 0 <= bits_stored <= 64 or high_bit > 63:
        raise ValueError(f"bits_stored {bits_stored}, high_bit {high_bit}: a cell has {8 * c.size} bits")
    c.bits_stored = bits_stored
    c.high_bit = high_bit if bits_stored else 0
    if not dcm_cells_valid(&c):
        raise ValueError(f"{fmt!r} with bits_stored {bits_stored}, high_bit {high_bit} is no cell")
    return c


cdef dcm_cells own_order(str fmt):
    cdef dcm_cells c = cells_of(fmt)
    if c.size > 1 and c.big != DCM_HOST_BIG:
        raise ValueError(f"{fmt!r} is not in the machine's order")
    return c


def unpack_bits(src, uint64_t start_bit, uint64_t count, out):
    """One bit a cell, the first in the lowest bit, to bytes of 0 and 1."""
    cdef _Held a = held(src), b = written(out)
    need(a, (int(start_bit) + count + 7) // 8, "src")
    need(b, count, "out")
    with nogil:
        dcm_unpack_bits(a.p, start_bit, count, b.p)


def unpack_12(src, uint64_t count, out):
    """Two cells of 12 bits in three bytes, to uint16."""
    cdef _Held a = held(src), b = written(out)
    need(a, (int(count) * 3 + 1) // 2, "src")
    need(b, int(count) * 2, "out")
    with nogil:
        dcm_unpack_12(a.p, count, b.p)


def normalize(buf, str fmt not None, int bits_stored, int high_bit=-1):
    """In place: unused bits go, the sign is extended."""
    cdef _Held a = written(buf)
    cdef dcm_cells c = cells_of(fmt, bits_stored, high_bit)
    with nogil:
        dcm_cells_normalize(&c, a.p, a.n // c.size)


def swap(buf, int unit):
    """In place: turns every unit's bytes round."""
    cdef _Held a = written(buf)
    if unit not in (2, 4, 8):
        raise ValueError(f"unit is {unit}: 2, 4 or 8")
    with nogil:
        dcm_swap_units(a.p, a.n, unit)


def interleave(src, out, uint64_t cells, unsigned samples, unsigned itemsize):
    """Planes to pixels."""
    cdef _Held a = held(src), b = written(out)
    if itemsize not in (1, 2, 4, 8):
        raise ValueError(f"itemsize is {itemsize}: 1, 2, 4 or 8")
    need(a, int(cells) * samples * itemsize, "src")
    need(b, int(cells) * samples * itemsize, "out")
    with nogil:
        dcm_interleave(a.p, cells, samples, itemsize, b.p)


def expand_422(src, out, uint64_t cells):
    """YBR_FULL_422 as it stands native, to Y Cb Cr for each pixel."""
    cdef _Held a = held(src), b = written(out)
    if cells % 2:
        raise ValueError(f"{cells} cells: two share their chroma")
    need(a, int(cells) * 2, "src")
    need(b, int(cells) * 3, "out")
    with nogil:
        dcm_expand_422(a.p, cells, b.p)


def ybr_to_rgb(src, str fmt not None, out, str kind not None, unsigned bits=8):
    """Y Cb Cr to R G B; kind "full", "ict" or "rct"."""
    cdef _Held a = held(src), b = written(out)
    cdef dcm_cells c = own_order(fmt)
    cdef int way
    cdef uint64_t cells = a.n // (3 * c.size)
    if kind not in ("full", "ict", "rct"):
        raise ValueError(f"kind is {kind!r}: 'full', 'ict' or 'rct'")
    way = ("full", "ict", "rct").index(kind)
    if not (way and c.kind == DCM_CELL_SIGNED and c.size in (2, 4)) and not (
            way == 0 and c.kind == DCM_CELL_UNSIGNED and c.size in (1, 2)):
        raise ValueError(f"{kind!r} is not done for {fmt!r}")
    if not 1 <= bits <= 16 or (way == 0 and bits > 8 * c.size):
        raise ValueError(f"bits is {bits}")
    need(b, int(cells) * 3 * (1 if bits <= 8 else 2), "out")
    with nogil:
        if way == 0:
            dcm_ybr_full(a.p, c.size, cells, bits, b.p)
        elif way == 1:
            dcm_ybr_ict(a.p, c.size, cells, bits, b.p)
        else:
            dcm_ybr_rct(a.p, c.size, cells, bits, b.p)


def linear(src, str fmt not None, double slope, double intercept, out, str out_fmt="=f4", *,
           int bits_stored=0, int high_bit=-1):
    """Stored values * slope + intercept, to float32 or float64."""
    cdef _Held a = held(src), b = written(out)
    cdef dcm_cells c = cells_of(fmt, bits_stored, high_bit)
    cdef dcm_cells to = own_order(out_fmt)
    cdef uint64_t count = b.n // to.size
    if to.kind != DCM_CELL_FLOAT:
        raise ValueError(f"out_fmt is {out_fmt!r}: '=f4' or '=f8'")
    need(a, int(count) * c.size, "src")
    with nogil:
        dcm_rescale(&c, a.p, count, slope, intercept, to.size, b.p)


def window(src, str fmt not None, double center, double width, out, *, str function not None="LINEAR",
           double slope=1.0, double intercept=0.0, bint invert=False, int bits_stored=0, int high_bit=-1):
    """Stored values to windowed uint8 (PS3.3 C.11.2.1.2, C.11.2.1.3)."""
    cdef _Held a = held(src), b = written(out)
    cdef dcm_window w
    cdef dcm_error err
    cdef int code
    memset(&w, 0, sizeof(w))
    w.cells = cells_of(fmt, bits_stored, high_bit)
    if function not in FUNCTIONS:
        raise ValueError(f"function is {function!r}: one of {', '.join(FUNCTIONS)}")
    w.function = FUNCTIONS.index(function)
    w.invert = invert
    w.slope = slope
    w.intercept = intercept
    w.center = center
    w.width = width
    need(a, int(b.n) * w.cells.size, "src")
    with nogil:
        code = dcm_window_prepare(&w, &err)
        if code == DCM_OK:
            dcm_window_run(&w, a.p, b.n, b.p)
        dcm_window_free(&w)
    check(code, &err, None, "")


cdef dcm_cells integers(str fmt, int bits_stored, int high_bit):
    cdef dcm_cells c = cells_of(fmt, bits_stored, high_bit)
    if c.kind == DCM_CELL_FLOAT or c.size > 4:
        raise ValueError(f"{fmt!r}: a table is for integers of up to 4 bytes")
    return c


def lut(src, str fmt not None, table, int64_t first, out, unsigned itemsize, *,
        int bits_stored=0, int high_bit=-1):
    """Each value's entry of a table."""
    cdef _Held a = held(src), t = held(table), b = written(out)
    cdef dcm_cells c = integers(fmt, bits_stored, high_bit)
    cdef uint64_t count, entries
    if itemsize not in (1, 2, 4, 8):
        raise ValueError(f"itemsize is {itemsize}: 1, 2, 4 or 8")
    count = b.n // itemsize
    entries = t.n // itemsize
    if not 1 <= entries <= 1 << 30 or not -(1 << 32) <= first <= 1 << 32:
        raise ValueError(f"a table of {entries} entries from {first} on")
    need(a, int(count) * c.size, "src")
    with nogil:
        dcm_lut(&c, a.p, count, t.p, entries, first, itemsize, b.p)


def palette(src, str fmt not None, red, green, blue, int64_t first, out, unsigned itemsize, *,
            int bits_stored=0, int high_bit=-1):
    """Each value's entries of three tables, as pixels."""
    cdef _Held a = held(src), r = held(red), g = held(green), bl = held(blue), b = written(out)
    cdef dcm_cells c = integers(fmt, bits_stored, high_bit)
    cdef uint64_t count, entries
    if itemsize not in (1, 2):
        raise ValueError(f"itemsize is {itemsize}: 1 or 2")
    count = b.n // (3 * itemsize)
    entries = r.n // itemsize
    if (not 1 <= entries <= 1 << 30 or not -(1 << 32) <= first <= 1 << 32 or g.n != r.n or
            bl.n != r.n):
        raise ValueError(f"tables of {r.n}, {g.n} and {bl.n} bytes from {first} on")
    need(a, int(count) * c.size, "src")
    with nogil:
        dcm_palette(&c, a.p, count, r.p, g.p, bl.p, entries, first, itemsize, b.p)


def rle_decode(src, str fmt not None, uint64_t cells, unsigned samples, out, bint planar=False, *,
               int bits_stored=0, int high_bit=-1):
    """One whole frame of RLE Lossless (PS3.5 G), to little endian cells."""
    cdef _Held a = held(src), b = written(out)
    cdef dcm_cells c = cells_of(fmt, bits_stored, high_bit)
    cdef dcm_error err
    cdef int code
    if c.size > 1 and c.big:
        raise ValueError(f"{fmt!r} is not little endian")
    need(b, int(cells) * samples * c.size, "out")
    with nogil:
        code = dcm_rle_decode(&c, a.p, a.n, cells, samples, planar, b.p, &err)
    check(code, &err, None, "")


cdef int set_slots(dcm_native_batch *b, _Held out, double pad) except -1:
    """What a slot is, from the shape and format of the block."""
    cdef Py_buffer *v = &out.view
    cdef bytes letter = v.format if v.format != NULL else b"B"
    cdef bytes order = b">" if DCM_HOST_BIG else b"<"
    if letter[:1] in (b"@", b"=", order):
        letter = letter[1:]
    if len(letter) != 1 or letter not in b"bBhHiIlLqQfd":
        raise ValueError(f"out is of the format {v.format.decode()!r}: integers or floats in the "
                         "machine's order")
    if v.ndim not in (3, 4):
        raise ValueError(f"out has {v.ndim} dimensions: (n, height, width) or (n, height, width, samples)")
    b.out = out.p
    b.height = v.shape[1]
    b.width = v.shape[2]
    b.samples = v.shape[3] if v.ndim == 4 else 1
    b.size = v.itemsize
    b.kind = DCM_CELL_FLOAT if letter in b"fd" else DCM_CELL_SIGNED if letter in b"bhilq" else DCM_CELL_UNSIGNED
    cell = memoryview(bytearray(v.itemsize)).cast(letter.decode())
    try:
        cell[0] = pad if b.kind == DCM_CELL_FLOAT else int(pad)
    except (ValueError, OverflowError):
        raise ValueError(f"pad is {pad}, which out cannot hold") from None
    memcpy(b.pad, held(cell).p, v.itemsize)
    return 0


def read_frames(paths, frames, out, str convert not None="stored", *, bint fit=False, double pad=0.0):
    """Native frames of many files into the slots of one block; the errors."""
    cdef _Held records = held(frames)
    cdef _Held slots = _Held(out, PyBUF_ND | PyBUF_FORMAT | PyBUF_WRITABLE)
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
        raise ValueError(f"convert is {convert!r}: one of {', '.join(CONVERSIONS)}")
    b.convert = CONVERSIONS.index(convert)
    b.fit = fit
    set_slots(&b, slots, pad)
    if records.n != n * sizeof(dcm_native_frame) or <uint64_t>slots.view.shape[0] != n:
        raise ValueError(f"{n} paths, {slots.view.shape[0]} slots and {records.n} bytes of frames, "
                         f"which have {sizeof(dcm_native_frame)} each")
    if (b.convert == DCM_CONVERT_RESCALE and (b.kind != DCM_CELL_FLOAT or b.size != 4) or
            b.convert == DCM_CONVERT_WINDOW and (b.kind != DCM_CELL_UNSIGNED or b.size != 1)):
        raise ValueError(f"{convert!r} gives {'float32' if convert == 'rescale' else 'uint8'}, out is something else")
    if any(b"\0" in name for name in names):
        raise ValueError("a path with a NUL in it")
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
        return [(i, error_for(dcm_code_name(errors[i].code).decode(), dcm_code_text(errors[i].code).decode(),
                              errors[i].offset, "", paths[i], errors[i].sys))
                for i in range(n) if errors[i].code]
    finally:
        dcm_native_batch_free(&b)
        dcm_free(errors)
        dcm_free(at)
