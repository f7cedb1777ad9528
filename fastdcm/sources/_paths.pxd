# Paths to be read, as the workers access them.
from libc.stdint cimport uint8_t, uint64_t
from fastdcm.core.dcm cimport dcm_list, dcm_part, dcm_span


cdef class PathChunk:
    cdef uint8_t *data             # the paths, one after another
    cdef uint64_t used, capacity
    cdef uint64_t *offsets         # 0, then the end of each path
    cdef uint64_t *ends            # offsets + 1
    cdef uint64_t count, cap_offsets
    cdef dcm_list files            # sizes and times, once known
    cdef PathChunk display_paths   # texts of the `path` column, where they differ from the paths
    cdef dcm_part *parts           # the range of each archive member in its archive, or NULL
    cdef list errors               # (position, code, errno) of directories that cannot be listed

    cdef int allocate_files(self) except -1
    cdef int append(self, const char *p, uint64_t n) noexcept nogil
    cdef int append_span(self, dcm_span s) except -1
    cdef dcm_span at(self, uint64_t i) noexcept nogil
    cdef int finish(self) except -1


cdef class StreamChunk:
    cdef readonly list streams
    cdef readonly object prefetch


cdef class DeferredChunk:
    cdef readonly object make
    cdef uint64_t count
