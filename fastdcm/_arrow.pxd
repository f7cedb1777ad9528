# The parts of dcm.h that only the scan uses, walk.c and columns.c, and the
# classes that hold their structs.
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from fastdcm.dcm cimport (dcm_bytes, dcm_error, dcm_file, dcm_given, dcm_issue,
                          dcm_part10, dcm_span)

cdef extern from "dcm.h" nogil:
    enum:
        DCM_E_WALK
        DCM_E_LAST
        DCM_E_TOO_LARGE
        DCM_E_READ
        DCM_I_UNFIT
        DCM_VR_UV

    int dcm_grow(void **block, uint64_t *capacity, uint64_t count, size_t size)

    ctypedef struct dcm_walk:
        char *path
        uint64_t length

    int dcm_walk_start(dcm_walk *w, const char *root, int recursive,
                       dcm_error *err)
    int dcm_walk_next(dcm_walk *w, dcm_error *err)
    void dcm_walk_free(dcm_walk *w)

    ctypedef struct dcm_list:
        const char *paths
        const uint64_t *ends
        uint64_t count
        int64_t *sizes
        int64_t *mtimes_ns
        int32_t *errnos

    int dcm_list_stat(const dcm_list *l)

    enum:
        DCM_SAME
        DCM_CHANGED
        DCM_ALONE

    void dcm_list_compare(const dcm_list *a, uint64_t *i, uint8_t *marks_a,
                          const dcm_list *b, uint64_t *j, uint8_t *marks_b)

    enum:
        DCM_COLUMN_TEXT
        DCM_COLUMN_BYTES
        DCM_COLUMN_INT
        DCM_COLUMN_UINT
        DCM_COLUMN_FLOAT
        DCM_COLUMN_LISTS
        DCM_PATH_DEPTH
        DCM_READER_INFLATE
        DCM_READER_TEXT
        DCM_READER_BYTES

    ctypedef struct dcm_layer:
        uint8_t *valid
        int32_t *ends
        uint64_t count, capacity, nulls

    ctypedef struct dcm_column:
        uint8_t type, lists, many
        dcm_layer layers[5]
        uint8_t *data
        uint64_t used, capacity

    ctypedef struct dcm_want:
        uint32_t tag, creator, creator_length
        int32_t column
        uint32_t level, item
        uint8_t vr, unsigned_first

    ctypedef struct dcm_level:
        uint32_t first, count, private_count, stop
        uint8_t charset

    ctypedef struct dcm_plan:
        const dcm_want *wants
        const dcm_level *levels
        const char *text
        const dcm_column *columns
        uint32_t n_columns
        uint8_t pixels, skip_errors

    ctypedef struct dcm_row_error:
        uint64_t row
        dcm_error error

    ctypedef struct dcm_row_issue:
        uint64_t row
        dcm_issue issue

    ctypedef struct dcm_columns:
        dcm_column *columns
        uint32_t n_columns
        uint64_t rows
        dcm_row_error *errors
        uint64_t n_errors, cap_errors
        dcm_row_issue *issues
        uint64_t n_issues, cap_issues

    ctypedef struct dcm_ask:
        uint64_t value, length, charset, charset_length
        const char *text
        uint64_t text_length
        uint32_t issue
        uint8_t vr, big, done

    ctypedef struct dcm_part:
        uint64_t base, length

    ctypedef struct dcm_reader:
        dcm_file file
        dcm_bytes bytes, inflated
        dcm_part10 part10
        char *path
        uint8_t *pool
        dcm_ask *asks
        uint64_t n_asks
        dcm_issue note
        uint64_t bytes_read, failed
        uint8_t random, state

    int dcm_columns_init(dcm_columns *c, const dcm_plan *plan)
    void dcm_columns_expect(dcm_columns *c, uint64_t rows)
    int dcm_columns_file(dcm_columns *c, const dcm_plan *plan, dcm_reader *r,
                         dcm_span path, dcm_span shown, const dcm_part *part)
    int dcm_columns_stream(dcm_columns *c, const dcm_plan *plan, dcm_reader *r,
                           dcm_span shown, dcm_given *given, uint64_t size,
                           int64_t mtime_ns)
    int dcm_columns_resume(dcm_columns *c, const dcm_plan *plan, dcm_reader *r,
                           const dcm_error *failed)
    int dcm_columns_error(dcm_columns *c, const dcm_plan *plan, dcm_reader *r,
                          dcm_span shown, const dcm_error *error)
    uint64_t dcm_columns_fill(const dcm_columns *c)
    int dcm_columns_join(dcm_columns *c, const dcm_columns *other)
    void dcm_columns_free(dcm_columns *c)
    void dcm_reader_free(dcm_reader *r)

    int dcm_column_null(dcm_column *c, unsigned at, uint64_t count)
    int dcm_column_list(dcm_column *c, unsigned at)
    int dcm_column_text(dcm_column *c, const char *p, uint64_t n)
    int dcm_column_int(dcm_column *c, int64_t value)
    int dcm_column_seal(dcm_column *c)
    void dcm_column_free(dcm_column *c)


cdef int enough(int code) except -1
cdef void *allocate(size_t size) except NULL


cdef class Plan:
    cdef dcm_plan plan
    cdef dcm_want *wants
    cdef dcm_level *levels
    cdef dcm_column *types
    cdef bytes text            # creators
    cdef readonly tuple hashes # the names of the columns of hashes
    cdef readonly list fields  # (name, format, lists) of every column
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
    cdef dict told             # of rows in error: more than their code tells

    cdef int put_errors(self) except -1
    cdef int put_hashes(self) except -1
    cdef dcm_column *column_at(self, int i) noexcept
    cdef list values(self, int column)
    cdef object value(self, const dcm_column *c, unsigned at, uint64_t i)
