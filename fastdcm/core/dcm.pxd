# The C core (src_c/dcm_*.h): what the extension modules use of it.
from libc.stdint cimport int32_t, int64_t, intptr_t, uint8_t, uint32_t, uint64_t


cdef extern from "dcm_endian.h" nogil:
    enum:
        DCM_HOST_BIG

cdef extern from "dcm_base.h" nogil:
    enum:
        DCM_OK
        DCM_NEED
        DCM_WAITING
        DCM_NOT_FOUND
        DCM_END

        DCM_E_MEMORY  # the first error: smaller codes are results
        DCM_E_READ
        DCM_E_EMPTY
        DCM_E_NOT_DICOM
        DCM_E_OPEN
        DCM_E_CHANGED
        DCM_E_DEPTH
        DCM_E_TOO_LARGE
        DCM_E_DEFLATE
        DCM_E_INFLATE_LIMIT
        DCM_E_WALK
        DCM_E_FRAMES

        DCM_I_NO_PREAMBLE  # the first issue
        DCM_I_NOT_AN_ITEM
        DCM_I_VALUE_LENGTH
        DCM_I_BAD_NUMBER
        DCM_I_BAD_DATE
        DCM_I_CHARSET
        DCM_I_TEXT
        DCM_I_OFFSET_TABLE

    ctypedef struct dcm_error:
        int32_t code, sys
        uint64_t offset
        uint32_t tag, depth

    ctypedef struct dcm_issue:
        uint32_t code, tag
        uint64_t offset

    const char *dcm_code_name(int code)
    const char *dcm_code_text(int code)
    int dcm_code_from_name(const char *name)
    int dcm_fail(dcm_error *err, int code, uint64_t offset, uint32_t tag)

    void *dcm_alloc(size_t size)
    int dcm_grow(void **block, uint64_t *capacity, uint64_t count, size_t size)
    void dcm_free(void *block)


cdef extern from "dcm_dictionary.h" nogil:
    enum:
        DCM_VR_NONE
        DCM_VR_AE
        DCM_VR_CS
        DCM_VR_DA
        DCM_VR_DS
        DCM_VR_DT
        DCM_VR_IS
        DCM_VR_LO
        DCM_VR_OB
        DCM_VR_OW
        DCM_VR_PN
        DCM_VR_SQ
        DCM_VR_SS
        DCM_VR_TM
        DCM_VR_UL
        DCM_VR_UN
        DCM_VR_UR
        DCM_VR_US
        DCM_VR_UV
        DCM_VR_OB_OW
        DCM_VR_US_SS
        DCM_VR_US_OW
        DCM_VR_US_SS_OW
        DCM_VR_COUNT

    enum:
        DCM_KIND_TEXT
        DCM_KIND_STRING
        DCM_KIND_PARAGRAPH
        DCM_KIND_PN
        DCM_KIND_UI
        DCM_KIND_IS
        DCM_KIND_DS
        DCM_KIND_INT
        DCM_KIND_UINT
        DCM_KIND_FLOAT
        DCM_KIND_AT
        DCM_KIND_BYTES
        DCM_KIND_SQ

    ctypedef struct dcm_vr_row:
        char name[16]
        uint8_t kind, unit, long_form, charset
        char pad

    const dcm_vr_row dcm_vr_rows[]
    int dcm_vr_from_name(const char *name, size_t length)

    ctypedef struct dcm_dict_row:
        uint32_t tag
        const char *keyword
        const char *name
        const char *vm
        uint8_t vr, retired

    int dcm_dict_find(uint32_t tag, dcm_dict_row *out)
    uint8_t dcm_dict_vr(uint32_t tag)
    uint32_t dcm_dict_tag(const char *keyword, size_t length)
    uint32_t dcm_dict_count()
    void dcm_dict_at(uint32_t i, dcm_dict_row *out)
    int dcm_dict_private(uint32_t tag, const char *creator, size_t length, dcm_dict_row *out)


cdef extern from "dcm_pixel.h" nogil:
    enum:
        DCM_CELL_UNSIGNED
        DCM_CELL_SIGNED
        DCM_CELL_FLOAT

    ctypedef struct dcm_cells:
        uint8_t size, kind, big, bits_stored, high_bit

    int dcm_cells_valid(const dcm_cells *c)
    void dcm_unpack_bits(const uint8_t *src, uint64_t start, uint64_t count, uint8_t *out)
    void dcm_unpack_12(const uint8_t *src, uint64_t count, void *out)
    void dcm_swap_units(uint8_t *p, uint64_t n, int unit)
    void dcm_cells_normalize(const dcm_cells *c, uint8_t *p, uint64_t count)
    void dcm_interleave(const uint8_t *src, uint64_t cells, unsigned samples, unsigned size,
                        uint8_t *out)
    void dcm_expand_422(const uint8_t *src, uint64_t cells, uint8_t *out)
    void dcm_ybr_video(const uint8_t *src, uint64_t cells, double kr, double kb, int limited,
                       uint8_t *out)
    void dcm_ybr_full(const uint8_t *src, unsigned size, uint64_t cells, unsigned bits,
                      uint8_t *out)
    void dcm_ybr_ict(const uint8_t *src, unsigned size, uint64_t cells, unsigned bits,
                     uint8_t *out)
    void dcm_ybr_rct(const uint8_t *src, unsigned size, uint64_t cells, unsigned bits,
                     uint8_t *out)
    void dcm_rescale(const dcm_cells *c, const uint8_t *src, uint64_t count, double slope,
                     double intercept, unsigned size, uint8_t *out)

    ctypedef struct dcm_window:
        dcm_cells cells
        uint8_t function, invert
        double slope, intercept, center, width

    int dcm_window_prepare(dcm_window *w, dcm_error *err)
    void dcm_window_run(const dcm_window *w, const uint8_t *src, uint64_t count, uint8_t *out)
    void dcm_window_free(dcm_window *w)
    void dcm_lut(const dcm_cells *c, const uint8_t *src, uint64_t count, const uint8_t *table,
                 uint64_t n_entries, int64_t first, unsigned size, uint8_t *out)
    void dcm_palette(const dcm_cells *c, const uint8_t *src, uint64_t count,
                     const uint8_t *red, const uint8_t *green, const uint8_t *blue,
                     uint64_t n_entries, int64_t first, unsigned size, uint8_t *out)

    int dcm_rle_decode(const dcm_cells *c, const uint8_t *p, uint64_t n, uint64_t cells,
                       unsigned samples, int planar, uint8_t *out, dcm_error *err)

    ctypedef struct dcm_codestream:
        uint32_t rows, columns, components
        uint8_t kind, process, precision, is_signed, reversible, high_throughput, planar, complete
        uint8_t color, subsampled
        uint32_t scans
        uint64_t min_length

    int dcm_codestream_read(const uint8_t *data, uint64_t length, dcm_codestream *out)


cdef extern from "dcm_file.h" nogil:
    ctypedef struct dcm_segment:
        uint64_t offset, length, at

    ctypedef struct dcm_bytes:
        uint8_t *data
        uint64_t used, capacity, total
        dcm_segment *segments
        uint64_t n_segments, cap_segments
        uint8_t borrowed, transient

    int dcm_bytes_borrow(dcm_bytes *b, const void *data, uint64_t length)
    void dcm_bytes_reset(dcm_bytes *b, uint64_t total)
    int dcm_bytes_reserve(dcm_bytes *b, uint64_t length, uint8_t **space)
    int dcm_bytes_commit(dcm_bytes *b, uint64_t offset, uint64_t length, int transient)
    const uint8_t *dcm_bytes_at(const dcm_bytes *b, uint64_t offset, uint64_t length)
    uint64_t dcm_bytes_run(const dcm_bytes *b, uint64_t offset, const uint8_t **p)
    void dcm_bytes_truncate(dcm_bytes *b, uint64_t end)
    int dcm_bytes_copy(dcm_bytes *b, const dcm_bytes *source)
    void dcm_bytes_free(dcm_bytes *b)

    ctypedef struct dcm_range:
        uint64_t offset, length
        const uint8_t *data

    ctypedef struct dcm_range_list:
        const dcm_range *ranges
        uint64_t count, need_offset, need_length

    ctypedef struct dcm_file:
        intptr_t handle
        uint64_t size
        int64_t mtime_ns
        uint64_t device, inode

    int dcm_file_open(dcm_file *f, const char *path, dcm_error *err)
    void dcm_file_close(dcm_file *f)
    int dcm_file_narrow(dcm_file *f, uint64_t base, uint64_t length, dcm_error *err)
    int dcm_file_read(const dcm_file *f, uint64_t offset, uint64_t length, void *into,
                      dcm_error *err)
    void dcm_file_random(const dcm_file *f)

    ctypedef enum dcm_read_mode:
        DCM_READ_KEEP
        DCM_READ_ONCE
        DCM_READ_STREAM

    ctypedef struct dcm_map:
        uint8_t *data
        void *base
        uint64_t base_length

    uint64_t dcm_file_limit()
    int dcm_file_map(const dcm_file *f, uint64_t offset, uint64_t length, dcm_map *map,
                     dcm_error *err)
    void dcm_file_unmap(dcm_map *map)

    int64_t DCM_NO_TIME

    ctypedef struct dcm_list:
        const char *paths
        const uint64_t *ends
        uint64_t count
        int64_t *sizes
        int64_t *mtimes_ns
        int32_t *errnos

    int dcm_list_stat(const dcm_list *l)


cdef extern from "dcm_walk.h" nogil:
    ctypedef struct dcm_walk:
        char *path
        uint64_t length

    int dcm_walk_start(dcm_walk *w, const char *root, int recursive, dcm_error *err)
    int dcm_walk_next(dcm_walk *w, dcm_error *err)
    void dcm_walk_free(dcm_walk *w)

    enum:
        DCM_LIST_SAME
        DCM_LIST_CHANGED
        DCM_LIST_UNMATCHED

    void dcm_list_compare(const dcm_list *a, uint64_t *i, uint8_t *marks_a,
                          const dcm_list *b, uint64_t *j, uint8_t *marks_b)


cdef extern from "dcm_value.h" nogil:
    enum:
        DCM_EXPLICIT_LE
        DCM_BIG
        DCM_IMPLICIT

    ctypedef struct dcm_span:
        const char *p
        uint64_t n

    dcm_span dcm_trim_right(const char *p, uint64_t n)
    dcm_span dcm_trim(const char *p, uint64_t n)
    int dcm_next_component(dcm_span *rest, dcm_span *out)
    int dcm_parse_float(dcm_span s, double *out)
    int dcm_parse_int(dcm_span s, int64_t *out)
    int64_t dcm_load_int(const uint8_t *p, int unit, int big)
    uint64_t dcm_load_uint(const uint8_t *p, int unit, int big)
    double dcm_load_float(const uint8_t *p, int unit, int big)

    void dcm_store_uint(uint8_t *p, int unit, uint64_t value, int big)
    void dcm_store_float(uint8_t *p, int unit, double value, int big)
    void dcm_store_tag(uint8_t *p, uint32_t tag, int big)
    int dcm_put_header(uint8_t *p, uint32_t tag, int vr, uint32_t length, int encoding)


cdef extern from "dcm_csa.h" nogil:
    ctypedef struct dcm_csa:
        uint64_t at

    ctypedef enum dcm_csa_result:
        DCM_CSA_DAMAGED
        DCM_CSA_END
        DCM_CSA_FOUND

    dcm_csa_result dcm_csa_start(dcm_csa *c, const uint8_t *p, uint64_t n)
    dcm_csa_result dcm_csa_tag(dcm_csa *c, dcm_span *name)
    dcm_csa_result dcm_csa_item(dcm_csa *c, dcm_span *text)


cdef extern from "dcm_index.h" nogil:
    enum:
        DCM_ROW_IMPLICIT
        DCM_ROW_BIG
        DCM_ROW_UNDEFINED
        DCM_ROW_TRUNCATED
        DCM_ROW_FRAGMENTS
        DCM_ROW_ITEMS
        DCM_ROW_INNER_IMPLICIT
        DCM_ROW_DELIMITED

    ctypedef struct dcm_row:
        uint64_t offset, length
        uint32_t tag
        uint8_t vr, header, flags, depth

    enum:
        DCM_DEPTH_LIMIT

    ctypedef enum dcm_index_scope:
        DCM_ONE_LEVEL
        DCM_FLAT
        DCM_FLAT_ITEMS

    enum:
        DCM_INDEX_PARTIAL
        DCM_INDEX_COMPLETE
        DCM_INDEX_STOPPED

    ctypedef struct dcm_index:
        dcm_row *rows
        uint64_t count, capacity
        dcm_issue *issues
        uint64_t n_issues, cap_issues
        uint64_t begin, end, pos
        uint64_t need_offset, need_length
        uint32_t stop, last, depth_limit
        uint8_t encoding, scope, need_mode, state, unsorted

    void dcm_index_start(dcm_index *ix, uint64_t begin, uint64_t end, int encoding,
                         uint32_t stop, dcm_index_scope scope)
    int dcm_index_run(dcm_index *ix, const dcm_bytes *b, dcm_error *err)
    int dcm_index_read(dcm_index *ix, dcm_bytes *b, const dcm_file *f, dcm_error *err)
    uint64_t dcm_read_ahead(const dcm_bytes *b, dcm_read_mode mode)
    int dcm_index_move(dcm_index *ix, dcm_index *source)
    const dcm_row *dcm_index_find(const dcm_index *ix, uint32_t tag)
    int dcm_index_issue(dcm_index *ix, int code, uint64_t offset, uint32_t tag)
    void dcm_index_free(dcm_index *ix)
    int dcm_row_encoding(const dcm_row *row)

    ctypedef struct dcm_item:
        uint64_t offset, length
        uint8_t encoding, flags

    int dcm_items(const dcm_row *row, const dcm_bytes *b, dcm_index *work, dcm_item **items,
                  uint64_t *capacity, uint64_t *count, dcm_error *err)

    ctypedef struct dcm_part10:
        dcm_index meta, data
        uint64_t total, data_begin
        char transfer_syntax[68]
        uint8_t encoding, preamble, deflated, force, state
        uint32_t stop
        uint64_t first_read

    void dcm_part10_start(dcm_part10 *p, uint64_t total, uint32_t stop, int force)
    int dcm_part10_run(dcm_part10 *p, const dcm_bytes *b, uint64_t *offset, uint64_t *length,
                       dcm_read_mode *mode, dcm_error *err)
    int dcm_part10_read(dcm_part10 *p, dcm_bytes *b, const dcm_file *f, dcm_error *err)
    void dcm_part10_free(dcm_part10 *p)


cdef extern from "dcm_frames.h" nogil:
    enum:
        DCM_FRAMES_EXTENDED
        DCM_FRAMES_BASIC
        DCM_FRAMES_FRAGMENTS

    ctypedef struct dcm_frames:
        uint64_t *offsets
        uint64_t count
        dcm_issue *issues
        uint64_t n_issues
        uint64_t need_offset, need_length, need_ahead
        uint32_t repairs
        uint8_t source

    void dcm_frames_start(dcm_frames *t, uint64_t begin, uint64_t end, uint64_t frames)
    int dcm_frames_extended(dcm_frames *t, const uint8_t *offsets, uint64_t n,
                            const uint8_t *lengths, uint64_t n_lengths)
    void dcm_frames_fragments(dcm_frames *t, uint64_t begin, uint64_t end, uint64_t frames)
    int dcm_frames_run(dcm_frames *t, const dcm_bytes *b, dcm_error *err)
    int dcm_frames_read(dcm_frames *t, dcm_bytes *b, const dcm_file *f, dcm_error *err)
    int dcm_frames_join(const uint8_t *p, uint64_t n, uint8_t *out, uint64_t *length,
                        dcm_issue *issue, dcm_error *err)
    int dcm_frames_stated(const char *transfer_syntax)
    int dcm_frames_begin(const uint8_t *p, uint64_t n, uint64_t length)
    void dcm_frames_free(dcm_frames *t)


cdef extern from "dcm_native.h" nogil:
    ctypedef struct dcm_native_frame:
        uint64_t offset

    enum:
        DCM_CONVERT_NONE
        DCM_CONVERT_RESCALE
        DCM_CONVERT_WINDOW

    ctypedef struct dcm_native_batch:
        uint8_t *out
        uint64_t height, width, samples
        uint8_t convert, size, kind, fit
        uint8_t pad[8]
        dcm_file file

    int dcm_native_batch_read(dcm_native_batch *b, const char *path,
                              const dcm_native_frame *frame, uint64_t slot, dcm_error *err)
    void dcm_native_batch_free(dcm_native_batch *b)


cdef extern from "dcm_scan.h" nogil:
    enum:
        DCM_COLUMN_TEXT
        DCM_COLUMN_BYTES
        DCM_COLUMN_INT
        DCM_COLUMN_UINT
        DCM_COLUMN_FLOAT
        DCM_COLUMN_DATE
        DCM_COLUMN_TIME
        DCM_COLUMN_DATETIME

    enum:
        DCM_COLUMN_LISTS
        DCM_PATH_DEPTH

    ctypedef struct dcm_layer:
        uint8_t *valid
        int32_t *ends
        uint64_t count, capacity, nulls

    ctypedef struct dcm_column:
        uint8_t type, lists, many
        dcm_layer layers[5]
        uint8_t *data
        uint64_t used, capacity

    int dcm_column_null(dcm_column *c, unsigned at, uint64_t count)
    int dcm_column_list(dcm_column *c, unsigned at)
    int dcm_column_text(dcm_column *c, const char *p, uint64_t n)
    int dcm_column_int(dcm_column *c, int64_t value)
    int dcm_column_seal(dcm_column *c)
    void dcm_column_free(dcm_column *c)

    ctypedef struct dcm_want:
        uint32_t tag, creator, creator_length
        int32_t column
        uint32_t level, item
        uint8_t vr, unsigned_first

    ctypedef struct dcm_level:
        uint32_t first, count, private_count, stop
        uint8_t charset

    enum:
        DCM_PIXELS_NONE
        DCM_PIXELS_SPAN
        DCM_PIXELS_OFFSETS

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

    int dcm_columns_init(dcm_columns *c, const dcm_plan *plan)
    void dcm_columns_expect(dcm_columns *c, uint64_t rows)
    uint64_t dcm_columns_fill(const dcm_columns *c)
    int dcm_columns_join(dcm_columns *c, const dcm_columns *other)
    void dcm_columns_free(dcm_columns *c)

    ctypedef struct dcm_text_request:
        uint64_t value, length, charset, charset_length
        const char *text
        uint64_t text_length
        uint32_t issue
        uint8_t vr, big, done

    enum:
        DCM_READER_IDLE
        DCM_READER_INFLATE
        DCM_READER_TEXT
        DCM_READER_BYTES

    ctypedef struct dcm_reader:
        dcm_file file
        dcm_bytes bytes, inflated
        dcm_part10 part10
        char *path
        uint8_t *pool
        dcm_text_request *text_requests
        uint64_t n_text_requests
        dcm_issue note
        uint64_t bytes_read, failed
        uint8_t random, state

    ctypedef struct dcm_part:
        uint64_t base, length

    int dcm_columns_file(dcm_columns *c, const dcm_plan *plan, dcm_reader *r, dcm_span path,
                         dcm_span display_path, const dcm_part *part)
    int dcm_columns_stream(dcm_columns *c, const dcm_plan *plan, dcm_reader *r,
                           dcm_span display_path, dcm_range_list *ranges, uint64_t size,
                           int64_t mtime_ns)
    int dcm_columns_resume(dcm_columns *c, const dcm_plan *plan, dcm_reader *r,
                           const dcm_error *failed)
    int dcm_columns_error(dcm_columns *c, const dcm_plan *plan, dcm_reader *r,
                          dcm_span display_path, const dcm_error *error)
    void dcm_reader_free(dcm_reader *r)
