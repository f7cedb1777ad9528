# Chunks as the workers see them.
from libc.stdint cimport uint8_t, uint64_t
from fastdcm.core.dcm cimport dcm_list, dcm_part, dcm_span


cdef class Chunk:
    cdef uint8_t *data
    cdef uint64_t used, capacity
    cdef uint64_t *offsets  # 0 and the ends
    cdef uint64_t *ends
    cdef uint64_t count, cap_offsets
    cdef dcm_list list      # what `stat` found
    cdef Chunk shown    # as the column gives them, where that differs
    cdef dcm_part *parts    # where members of an archive are, or NULL
    cdef list errors    # (position, code, errno) of folders that failed

    cdef int make_list(self) except -1
    cdef int add(self, const char *p, uint64_t n) noexcept nogil
    cdef int take(self, dcm_span s) except -1
    cdef dcm_span at(self, uint64_t i) noexcept nogil
    cdef int settle(self) except -1


cdef class Streams:
    cdef readonly list streams
    cdef readonly object ask


cdef class Mixed:
    cdef readonly object make
    cdef uint64_t count
