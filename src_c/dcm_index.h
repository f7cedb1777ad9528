/* dcm_index.h: the index of a data set (index.c) and the structure of a DICOM file
 * (part10.c). */
#ifndef DCM_INDEX_H
#define DCM_INDEX_H

#include <stdint.h>

#include "dcm_base.h"
#include "dcm_file.h"

/* Flags of a row. */
enum {
    DCM_ROW_IMPLICIT = 1,        /* its header is implicit VR */
    DCM_ROW_BIG = 2,             /* big endian */
    DCM_ROW_UNDEFINED = 4,       /* of undefined length; `length` is the length found,
                                    without the delimiter */
    DCM_ROW_TRUNCATED = 8,       /* the data set ends inside the value */
    DCM_ROW_FRAGMENTS = 16,      /* the value is encapsulated fragments (PS3.5 A.4) */
    DCM_ROW_ITEMS = 32,          /* the value is a sequence of items, whatever its VR */
    DCM_ROW_INNER_IMPLICIT = 64, /* its items are implicit VR little endian (CP-246) */
    DCM_ROW_DELIMITED = 128      /* a delimiter of 8 bytes follows the value */
};

/* One element of one level, 24 bytes. Its header starts at offset - header. */
typedef struct dcm_row {
    uint64_t offset; /* of the value */
    uint64_t length; /* of the value, never undefined */
    uint32_t tag;
    uint8_t vr;     /* dcm_vr; implicit VR: from the dictionary, or DCM_VR_NONE */
    uint8_t header; /* size of the header: 8 or 12 */
    uint8_t flags;  /* DCM_ROW_... */
    uint8_t depth;  /* flat index: the number of sequences around it */
} dcm_row;

/* An open sequence, item or run of fragments, on the stack of an index. */
typedef struct dcm_container {
    uint64_t start; /* of its value */
    uint64_t end;   /* its own, or that of its parent if of undefined length */
    uint32_t tag;   /* of the sequence */
    uint32_t row;   /* the row that is completed at its end, UINT32_MAX: none */
    uint32_t last;  /* the last tag read in it */
    uint8_t kind;
    uint8_t encoding; /* of the elements in it */
    uint8_t defined;  /* 1: of defined length */
} dcm_container;

#define DCM_DEPTH_LIMIT 128

/* What an index covers. Flat: all levels in one pass, with items as rows of tag
 * (FFFE,E000). */
typedef enum dcm_index_scope {
    DCM_ONE_LEVEL = 0, /* one level of a data set */
    DCM_FLAT,          /* a data set and all levels below */
    DCM_FLAT_ITEMS     /* the items of a sequence and all levels below */
} dcm_index_scope;

typedef enum dcm_index_state {
    DCM_INDEX_PARTIAL = 0, /* not at the end yet */
    DCM_INDEX_COMPLETE,    /* at the end of the level */
    DCM_INDEX_STOPPED      /* before the first tag outside of [from, stop] */
} dcm_index_state;

/* The rows of a data set. It never reads: it requests bytes by DCM_NEED. */
typedef struct dcm_index {
    dcm_row *rows; /* after DCM_OK: sorted by tag, one per tag; a flat index keeps
                      the order of the stream */
    uint64_t count, capacity;
    dcm_issue *issues;
    uint64_t n_issues, cap_issues;
    uint64_t begin, end, pos;          /* the bytes of the level; the next to read */
    uint64_t closed;                   /* where the last undefined length ended */
    uint64_t zeros_begin, zeros_end;   /* the last zero bytes that were skipped */
    uint64_t need_offset, need_length; /* after DCM_NEED */
    uint32_t from, stop;               /* stops before the first tag outside of these */
    uint32_t last;                     /* the last tag read */
    uint32_t depth_limit;
    uint8_t encoding;
    uint8_t scope;     /* dcm_index_scope */
    uint8_t need_mode; /* dcm_read_mode of the bytes needed */
    uint8_t state;     /* dcm_index_state */
    uint8_t unsorted;  /* flat: the tags of some level do not ascend */
    /* the containers around pos, kept between calls */
    dcm_container *stack;
    uint64_t sp, cap_stack;
} dcm_index;

/* Prepares to index [begin, end); keeps the memory of an earlier use. */
void dcm_index_start(dcm_index *ix, uint64_t begin, uint64_t end, int encoding, uint32_t stop,
                     dcm_index_scope scope);
/* DCM_OK, DCM_NEED (read need_length bytes at need_offset and call again) or an
 * error. */
int dcm_index_run(dcm_index *ix, const dcm_bytes *b, dcm_error *err);
/* The same, reading from f as needed. */
int dcm_index_read(dcm_index *ix, dcm_bytes *b, const dcm_file *f, dcm_error *err);
/* How many bytes to read after those that are needed: more, the more are in
 * memory already. */
uint64_t dcm_read_ahead(const dcm_bytes *b, dcm_read_mode mode);
/* Moves a complete index to `ix`, into memory of exactly the size needed; `from`
 * keeps its own memory for the next use. */
int dcm_index_move(dcm_index *ix, dcm_index *from);
/* The row of a tag, or NULL. */
const dcm_row *dcm_index_find(const dcm_index *ix, uint32_t tag);
/* Appends an issue; after 256 of them a last one, DCM_I_MORE. */
int dcm_index_issue(dcm_index *ix, int code, uint64_t offset, uint32_t tag);
void dcm_index_free(dcm_index *ix);

/* The encoding of the items of a sequence. */
int dcm_row_encoding(const dcm_row *row);

/* One item of a sequence. */
typedef struct dcm_item {
    uint64_t offset;  /* of its first element */
    uint64_t length;  /* never undefined */
    uint8_t encoding; /* of its elements */
    uint8_t flags;    /* DCM_ROW_UNDEFINED, DCM_ROW_TRUNCATED */
} dcm_item;

/* Lists the items of a row that has DCM_ROW_ITEMS (or of a value to be read as
 * items): *count of them in *items, which is grown by dcm_grow and owned by the
 * caller. `work` is a scratch index to walk items of undefined length; issues are
 * stored in it. DCM_NEED unless all bytes of the value are in b. */
int dcm_items(const dcm_row *row, const dcm_bytes *b, dcm_index *work, dcm_item **items,
              uint64_t *capacity, uint64_t *count, dcm_error *err);

/* ----------------------------------------------------------- part10.c --- */

typedef enum dcm_part10_state {
    DCM_PART10_PREAMBLE = 0, /* the next to read: preamble and prefix */
    DCM_PART10_META,         /* the rows of group 0002 */
    DCM_PART10_ENCODING,     /* the first header of the data set */
    DCM_PART10_DATA,         /* the rows of the data set */
    DCM_PART10_DONE
} dcm_part10_state;

typedef struct dcm_part10 {
    dcm_index meta; /* group 0002, empty if missing */
    dcm_index data; /* the data set (not started if deflated) */
    uint64_t total, data_begin;
    char transfer_syntax[68]; /* as stored, without padding; "" if missing */
    uint8_t encoding;         /* of the data set, as found */
    uint8_t preamble;         /* 1: the file has a preamble and the prefix DICM */
    uint8_t deflated;         /* 1: a deflate stream starts at data_begin */
    uint8_t force;            /* 1: implausible bytes are read, too */
    uint8_t state;            /* dcm_part10_state */
    uint32_t stop;
    uint64_t first_read; /* size of the first read of a file, adapted by _read */
} dcm_part10;

/* Prepares to read one stream; keeps memory and first_read. `stop` as in
 * dcm_index. */
void dcm_part10_start(dcm_part10 *p, uint64_t total, uint32_t stop, int force);
/* DCM_OK, DCM_NEED (with *offset, *length and *mode set) or an error. If p->deflated
 * after DCM_OK, the caller inflates the data set and runs p->data itself. */
int dcm_part10_run(dcm_part10 *p, const dcm_bytes *b, uint64_t *offset, uint64_t *length,
                   dcm_read_mode *mode, dcm_error *err);
/* The same, reading from f as needed. */
int dcm_part10_read(dcm_part10 *p, dcm_bytes *b, const dcm_file *f, dcm_error *err);
void dcm_part10_free(dcm_part10 *p);

#endif
