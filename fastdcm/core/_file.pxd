from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from fastdcm.core.dcm cimport (dcm_bytes, dcm_error, dcm_file, dcm_index, dcm_row)


cdef int check(int code, const dcm_error *err, File file, str path) except -1
cpdef str format_tag(uint32_t tag)


cdef class File:
    cdef dcm_bytes bytes
    cdef dcm_file file
    cdef void *older        # neighbours in the list of open files
    cdef void *newer
    cdef int busy           # reads under way
    cdef bint listed
    cdef object owner       # keeps borrowed bytes alive
    cdef object reader      # a Python file object, when there is no path
    cdef File origin        # the file whose part this is
    cdef readonly object path
    cdef bytes name         # the path as the system takes it
    cdef tuple member       # (offset, length) of a member of an archive, or None
    cdef readonly bytes preamble
    cdef readonly Index meta
    cdef readonly str transfer_syntax
    cdef readonly bint deflated
    cdef readonly int encoding
    cdef readonly dict live
    cdef readonly list notes
    cdef set noted
    cdef readonly bint closed

    cdef int open_file(self, dcm_file *f, dcm_error *err)
    cdef int open(self) except -1
    cdef const uint8_t *at(self, uint64_t offset, uint64_t length)
    cpdef bytes read(self, uint64_t offset, uint64_t length)
    cdef int read_into(self, uint64_t offset, uint64_t length, void *into) except -1
    cdef File part(self, uint64_t offset, uint64_t length)
    cdef File twin(self)
    cdef File part_of(self)
    cdef int take(self, uint64_t offset, uint64_t length, int transient) except -1
    cdef int extend(self, uint64_t offset, uint64_t length, int transient) except -1
    cdef int acquire(self) except -1
    cdef void release(self)
    cdef let_go(self)
    cdef int note(self, int code, uint64_t offset, uint32_t tag) except -1


cdef class Index:
    cdef dcm_index ix
    cdef readonly File file

    cdef int run(self) except -1
    cdef const dcm_row *find(self, uint32_t tag)


cpdef Index open_part10(File f, uint32_t stop, bint force)
cdef Index index_level(File f, uint64_t begin, uint64_t end, int encoding)
