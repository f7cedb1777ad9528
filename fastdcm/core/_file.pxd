from libc.stdint cimport uint8_t, uint32_t, uint64_t
from fastdcm.core.dcm cimport dcm_bytes, dcm_error, dcm_file


cdef int check(int code, const dcm_error *err, File file, str path) except -1
cpdef str format_tag(uint32_t tag)


cdef class File:
    cdef dcm_bytes bytes
    cdef dcm_file file
    cdef void *older        # neighbors in the list of open files
    cdef void *newer
    cdef int busy           # reads under way
    cdef bint listed
    cdef bint pinned        # open as long as the File
    cdef object owner       # keeps borrowed bytes alive
    cdef object stream      # a FileObject, when there is no path
    cdef File origin        # the File of the same stream that reads for this one
    cdef readonly object path
    cdef bytes system_path  # the path as it is passed to the system
    cdef tuple member       # (offset, length) of a member of an archive, or None
    cdef readonly bytes preamble
    cdef readonly object meta   # Index of group 0002
    cdef readonly str transfer_syntax
    cdef readonly bint deflated
    cdef readonly int encoding
    cdef readonly dict lists    # offset of an element's header: list returned to the caller
    cdef readonly list notes    # issues as (code number, offset, tag)
    cdef set noted
    cdef public bint strict     # an issue is raised as an error
    cdef readonly bint closed

    cdef int open_file(self, dcm_file *f, dcm_error *err)
    cdef int open(self) except -1
    cdef const uint8_t *at(self, uint64_t offset, uint64_t length)
    cpdef bytes read(self, uint64_t offset, uint64_t length)
    cdef int read_into(self, uint64_t offset, uint64_t length, void *into) except -1
    cdef File part(self, uint64_t offset, uint64_t length)
    cdef File extendable_copy(self)
    cdef File new_part(self)
    cdef int read_segment(self, uint64_t offset, uint64_t length, int transient) except -1
    cdef int extend(self, uint64_t offset, uint64_t length, int transient) except -1
    cdef int acquire(self) except -1
    cdef void release(self)
    cdef bint pin(self) except -1
    cdef close_descriptor(self)
    cdef void list_descriptor(self) noexcept
    cdef int note(self, int code, uint64_t offset, uint32_t tag) except -1
