"""Allocations of the C core, as Python exceptions."""

from libc.string cimport memset
from fastdcm.core.dcm cimport DCM_E_MEMORY, dcm_alloc


cdef inline int check_memory(int code) except -1:
    """Returns the code of a call that can fail for lack of memory alone."""
    if code == DCM_E_MEMORY:
        raise MemoryError
    return code


cdef inline void *allocate(size_t size) except NULL:
    """A block of zero bytes."""
    cdef void *block = dcm_alloc(size)
    if block == NULL:
        raise MemoryError
    memset(block, 0, size)
    return block
