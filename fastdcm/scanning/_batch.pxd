# Plans and batches, for workers, which fill batches.
from libc.stdint cimport uint32_t, uint64_t
from fastdcm.core.dcm cimport dcm_column, dcm_columns, dcm_level, dcm_plan, dcm_want


cdef class Plan:
    cdef dcm_plan plan
    cdef dcm_want *wants
    cdef dcm_level *levels
    cdef dcm_column *types
    cdef bytes text            # the private creators
    cdef readonly tuple hashes  # the names of the columns of hashes
    cdef readonly bint parse_dates
    cdef public list requested  # the elements, as text
    cdef readonly list fields  # (name, format, depth of lists) of every column
    cdef uint32_t n_wants, n_levels

    cdef int compile(self, dict steps, uint32_t number) except -1


cdef enum:
    N_FIXED = 4
    N_ERRORS = 4
    N_HASHES = 2


cdef class Batch:
    cdef dcm_columns c
    cdef dcm_column errors[N_ERRORS]
    cdef dcm_column hashes[N_HASHES]
    cdef list digests          # of each row, a tuple of str or None
    cdef readonly Plan plan
    cdef bint sealed
    cdef dict details          # {row: text} of errors whose text is not that of their code

    cdef int put_errors(self) except -1
    cdef int put_hashes(self) except -1
    cdef dcm_column *column_at(self, int i) noexcept
    cdef list values(self, int column)
    cdef object value(self, const dcm_column *c, unsigned depth, uint64_t i)
