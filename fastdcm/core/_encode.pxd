from fastdcm.core.dcm cimport dcm_row
from fastdcm.core._elements cimport ElementMap
from fastdcm.core._file cimport File
from libc.stdint cimport uint64_t


cdef class Pieces:
    cdef list parts
    cdef uint64_t length
    cdef File file          # of the span that may grow
    cdef uint64_t begin, end

    cdef put(self, bytes data)
    cdef span(self, File f, uint64_t offset, uint64_t length)
    cdef flush(self)
    cdef extend(self, Pieces other)


cdef put_element(Pieces out, File f, const dcm_row *row)
cdef bint is_modified(ElementMap level, const dcm_row *row) except -1
