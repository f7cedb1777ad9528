from libc.stdint cimport uint32_t, uint64_t
from fastdcm.core.dcm cimport dcm_index, dcm_row
from fastdcm.core._file cimport File


cdef class Index:
    cdef dcm_index ix
    cdef readonly File file

    cdef int run(self) except -1
    cdef const dcm_row *find(self, uint32_t tag)


cpdef Index open_part10(File f, uint32_t stop, bint force)
cdef Index index_level(File f, uint64_t begin, uint64_t end, int encoding)
