"""Read the header of a compressed frame, before a codec decodes it."""

cimport cython
from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from fastdcm.core.dcm cimport *

cdef tuple _kinds = ("", "jpeg", "jpegls", "jpeg2000", "jpegxl")
cdef tuple _colors = ("", "RGB", "YBR_FULL")


@cython.final
@cython.freelist(8)
cdef class Codestream:
    """The header of one compressed frame, read before a codec decodes it."""
    cdef dcm_codestream c

    @property
    def kind(self):
        return _kinds[self.c.kind]

    @property
    def rows(self):
        return self.c.rows

    @property
    def columns(self):
        return self.c.columns

    @property
    def components(self):
        return self.c.components

    @property
    def precision(self):
        return self.c.precision

    @property
    def process(self):
        return self.c.process

    @property
    def is_signed(self):
        return bool(self.c.is_signed)

    @property
    def is_reversible(self):
        return bool(self.c.reversible)

    @property
    def is_high_throughput(self):
        return bool(self.c.high_throughput)

    @property
    def is_planar(self):
        return bool(self.c.planar)

    @property
    def is_subsampled(self):
        return bool(self.c.subsampled)

    @property
    def color(self):
        return _colors[self.c.color]

    @property
    def scans(self):
        return self.c.scans

    @property
    def is_complete(self):
        return bool(self.c.complete)

    @property
    def least_bytes(self):
        return self.c.min_length


def read_codestream(data):
    """Return the header of one compressed frame, or None if there is none."""
    cdef Codestream stream = Codestream.__new__(Codestream)
    cdef Py_buffer view
    cdef int code
    PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
    code = dcm_codestream_read(<const uint8_t *>view.buf, <uint64_t>view.len, &stream.c)
    PyBuffer_Release(&view)
    return stream if code == DCM_OK else None
