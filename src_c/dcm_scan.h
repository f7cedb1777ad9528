/* dcm_scan.h: files to rows of a table: columns (column.c) and the reader that
 * fills them (columns.c). */
#ifndef DCM_SCAN_H
#define DCM_SCAN_H

#include <stdint.h>

#include "dcm_base.h"
#include "dcm_file.h"
#include "dcm_frames.h"
#include "dcm_index.h"
#include "dcm_value.h"

/* ----------------------------------------------------------- column.c --- */
/* Columns have Arrow's buffer layout, except that validity is one byte per entry
 * until the column is sealed. */

typedef enum dcm_column_type {
    DCM_COLUMN_TEXT, /* UTF-8 */
    DCM_COLUMN_BYTES,
    DCM_COLUMN_INT,   /* int64_t */
    DCM_COLUMN_UINT,  /* uint64_t */
    DCM_COLUMN_FLOAT, /* double */
    /* Of text, as in date.c: */
    DCM_COLUMN_DATE,    /* int32_t, days */
    DCM_COLUMN_TIME,    /* int64_t, microseconds */
    DCM_COLUMN_DATETIME /* int64_t, microseconds */
} dcm_column_type;

#define DCM_COLUMN_LISTS 4           /* most nested lists around a value */
#define DCM_PATH_DEPTH   16          /* most nested sequences around a value */
#define DCM_TEXT_LIMIT   (16u << 20) /* longer text is null and an issue, */
#define DCM_BYTES_LIMIT  (64u << 10) /* as are longer bytes */
#define DCM_FRAMES_LIMIT (1u << 20)  /* and more frames */

/* A level of lists, or (the last layer) the values. For lists, text and bytes entry
 * i is [ends[i], ends[i + 1]) of the next layer or of the data. */
typedef struct dcm_layer {
    uint8_t *valid;
    int32_t *ends;
    uint64_t count, capacity;
    uint64_t nulls; /* set when sealed */
    uint64_t hint;  /* number of entries to allocate at first */
} dcm_layer;

typedef struct dcm_column {
    uint8_t type;  /* dcm_column_type */
    uint8_t lists; /* number of list layers: layers[lists] is the values */
    uint8_t many;  /* 1: the last list holds the values of one element */
    dcm_layer layers[DCM_COLUMN_LISTS + 1];
    uint8_t *data;
    uint64_t used, capacity; /* bytes of data */
} dcm_column;

/* Append to a column of its own; `at` is the layer. */
int dcm_column_null(dcm_column *c, unsigned at, uint64_t count);
int dcm_column_list(dcm_column *c, unsigned at);
int dcm_column_text(dcm_column *c, const char *p, uint64_t n);
int dcm_column_int(dcm_column *c, int64_t value);
/* Packs validity to bits, lowest first. Nothing can be appended afterwards. */
int dcm_column_seal(dcm_column *c);
void dcm_column_free(dcm_column *c);

/* ------------------------------------------------------------ the plan --- */

/* A requested element: a value for a column, or a sequence to enter. */
typedef struct dcm_want {
    uint32_t tag;            /* with a creator: gggg00ee, the block is looked up */
    uint32_t creator;        /* offset into plan->text */
    uint32_t creator_length; /* 0: no private creator */
    int32_t column;          /* -1: a sequence */
    uint32_t level;          /* sequence: the dcm_level of its items */
    uint32_t item;           /* sequence: the item, from 1; 0: all of them */
    uint8_t vr;              /* from the dictionary, or DCM_VR_NONE */
    uint8_t unsigned_first;  /* 1: a LUT descriptor (PS3.3 C.11.1.1.1) */
} dcm_want;

/* The elements requested of one data set level. */
typedef struct dcm_level {
    uint32_t first, count;  /* wants without a creator, in ascending order of tags */
    uint32_t private_count; /* wants with a creator, after those */
    uint32_t stop;          /* the last tag to read */
    uint8_t charset;        /* 1: Specific Character Set is needed */
} dcm_level;

/* Which columns about pixel data a plan ends with. */
typedef enum dcm_plan_pixels {
    DCM_PIXELS_NONE = 0,
    DCM_PIXELS_SPAN,   /* pixel_offset, pixel_length, pixel_fragments, frames */
    DCM_PIXELS_OFFSETS /* and a list of the offsets of encapsulated frames */
} dcm_plan_pixels;

/* A request: read-only, shared by threads, owned by the caller. Columns 0 to 3 are
 * path, size, mtime_ns and transfer_syntax; then come those of the wants, then
 * those of `pixels`. */
typedef struct dcm_plan {
    const dcm_want *wants;
    const dcm_level *levels; /* 0: file meta information, 1: data set */
    const char *text;
    const dcm_column *columns; /* type, lists, many of each; no memory */
    uint32_t n_columns;
    uint8_t pixels;      /* dcm_plan_pixels */
    uint8_t skip_errors; /* 1: a file that cannot be read gets no row */
} dcm_plan;

/* ----------------------------------------------------------- the table --- */

typedef struct dcm_row_error {
    uint64_t row;
    dcm_error error;
} dcm_row_error;

typedef struct dcm_row_issue {
    uint64_t row;
    dcm_issue issue;
} dcm_row_issue;

typedef struct dcm_columns {
    dcm_column *columns;
    uint32_t n_columns;
    uint64_t rows;
    dcm_row_error *errors; /* in ascending order of rows */
    uint64_t n_errors, cap_errors;
    dcm_row_issue *issues; /* in ascending order of rows */
    uint64_t n_issues, cap_issues;
} dcm_columns;

int dcm_columns_init(dcm_columns *c, const dcm_plan *plan);
/* Before the first row: about how many rows there will be. */
void dcm_columns_expect(dcm_columns *c, uint64_t rows);
/* Size of the largest buffer, in bytes or entries: rows must stop well below
 * 2 GiB. */
uint64_t dcm_columns_fill(const dcm_columns *c);
/* Appends the rows of `from`. DCM_E_TOO_LARGE if 32-bit offsets are too small
 * (nothing was appended), or DCM_E_MEMORY. */
int dcm_columns_join(dcm_columns *c, const dcm_columns *from);
void dcm_columns_free(dcm_columns *c);

/* ---------------------------------------------------------- the reader --- */

/* A value that Python decodes: text in an uncommon character set, or numbers for a
 * text column. The caller sets `done`, and `text` unless the value is null. */
typedef struct dcm_text_request {
    uint64_t offset;                  /* of the value in its stream */
    uint64_t value, length;           /* its bytes in the reader's pool */
    uint64_t charset, charset_length; /* Specific Character Set, in the pool, too */
    const char *text;                 /* UTF-8; must live until the row is done */
    uint64_t text_length;
    uint32_t issue; /* 0 or DCM_I_... */
    uint8_t vr, big;
    uint8_t meta; /* 1: an element of group 0002 */
    uint8_t done;
} dcm_text_request;

typedef struct dcm_reader_level {
    dcm_index index, work;
    dcm_bytes bytes; /* of a sequence that was not read with the header */
    dcm_item *items;
    uint64_t cap_items;
} dcm_reader_level;

/* What the current row waits for after DCM_WAITING. */
typedef enum dcm_reader_state {
    DCM_READER_IDLE = 0, /* nothing: no row was begun */
    DCM_READER_INFLATE,  /* `inflated`: the file's bytes from part10.data_begin on */
    DCM_READER_TEXT,     /* every text request that is not done */
    DCM_READER_BYTES     /* the range that the stream's range list needs */
} dcm_reader_state;

/* What one worker keeps from file to file. */
typedef struct dcm_reader {
    dcm_file file;
    dcm_bytes bytes, inflated, fragments;
    dcm_frames frames;
    dcm_part10 part10;
    dcm_reader_level levels[DCM_PATH_DEPTH];
    dcm_span display_path; /* for the column `path` */
    char *path;
    uint64_t cap_path;
    uint8_t *scratch; /* a value that was not read with the header */
    uint64_t cap_scratch;
    uint8_t *pool; /* bytes that text requests refer to */
    uint64_t pool_used, cap_pool;
    dcm_text_request *text_requests; /* of the current row */
    uint64_t n_text_requests, cap_text_requests;
    dcm_issue note; /* from inflating, set by the caller; code 0: none */
    uint64_t issues_before;
    uint64_t bytes_read, failed; /* totals of all files */
    uint8_t random;              /* set by the caller: 1: dcm_file_random */
    uint8_t state;               /* dcm_reader_state */
} dcm_reader;

/* The position in an archive of a member that is stored uncompressed and
 * unencrypted. */
typedef struct dcm_part {
    uint64_t base, length;
} dcm_part;

/* Appends one row for a file, or for its part that holds a member, also if it cannot
 * be read. DCM_OK, DCM_E_MEMORY, or DCM_WAITING: the caller supplies what the reader's
 * state says and calls dcm_columns_resume. path, display_path and ranges must live
 * until the row is done. */
int dcm_columns_file(dcm_columns *c, const dcm_plan *plan, dcm_reader *r, dcm_span path,
                     dcm_span display_path, const dcm_part *part);
/* The same for a stream whose bytes come from the caller. */
int dcm_columns_stream(dcm_columns *c, const dcm_plan *plan, dcm_reader *r,
                       dcm_span display_path, dcm_range_list *ranges, uint64_t size,
                       int64_t mtime_ns);
/* failed: NULL, or the error to report if the caller could not supply it. */
int dcm_columns_resume(dcm_columns *c, const dcm_plan *plan, dcm_reader *r,
                       const dcm_error *failed);
/* Appends the row of a path whose error is known already. */
int dcm_columns_error(dcm_columns *c, const dcm_plan *plan, dcm_reader *r,
                      dcm_span display_path, const dcm_error *error);
void dcm_reader_free(dcm_reader *r);

#endif
