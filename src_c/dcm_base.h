/* dcm_base.h: result codes, errors and issues (error.c), and the only allocator
 * (arena.c). */
#ifndef DCM_BASE_H
#define DCM_BASE_H

#include <stddef.h>
#include <stdint.h>

/* Results, errors and issues are numbered together, so that one function gives
 * the name and the text of each (docs/errors.md lists them). */
typedef enum dcm_code {
    DCM_OK = 0,
    DCM_NEED = 1,      /* more bytes are needed: supply them and call again */
    DCM_NOT_FOUND = 2, /* what was looked for does not exist */
    DCM_END = 3,       /* an iteration has no more entries */
    DCM_WAITING = 4,   /* a row waits for its caller: see dcm_reader_state */

    /* Errors: the operation failed. */
    DCM_E_MEMORY = 16,   /* an allocation failed */
    DCM_E_OPEN,          /* the file cannot be opened (sys = errno) */
    DCM_E_READ,          /* the file cannot be read (sys = errno) */
    DCM_E_NOT_REGULAR,   /* a directory, FIFO, socket or device */
    DCM_E_EMPTY,         /* the file has no bytes */
    DCM_E_NOT_DICOM,     /* neither a Part 10 file nor a plausible data set */
    DCM_E_CHANGED,       /* the file shrank or was replaced while in use */
    DCM_E_DEPTH,         /* sequences are nested deeper than the limit */
    DCM_E_TOO_LARGE,     /* more elements than an index can hold */
    DCM_E_DEFLATE,       /* the deflated data set is damaged */
    DCM_E_INFLATE_LIMIT, /* the deflated data set expands more than the limit allows */
    DCM_E_WALK,          /* a directory cannot be listed (sys = errno) */
    DCM_E_RLE_HEADER,    /* an RLE frame has no complete header or invalid offsets */
    DCM_E_RLE_COUNT,     /* an RLE frame has not one segment per byte of each sample */
    DCM_E_RLE_SEGMENT,   /* an RLE segment is truncated */
    DCM_E_WINDOW,        /* a window center or width that its function does not allow */
    DCM_E_FRAME_SHORT,   /* the file ends inside the frame */
    DCM_E_FRAME_FIT,     /* the shape or type of a frame does not match the output */
    DCM_E_FRAMES,        /* the fragments cannot be assigned to frames */
    DCM_E_WAVEFORM,      /* a waveform is incomplete or not valid */
    DCM_E_ARCHIVE,       /* an archive is damaged or its format is not supported */
    DCM_E_ARCHIVE_LIMIT, /* an archive exceeds the limits on members or bytes */
    DCM_E_STREAM,        /* an archive or a server did not return the requested bytes */

    /* Issues: damage or oddities that did not stop the reading. */
    DCM_I_NO_PREAMBLE = 64,        /* no 128-byte preamble and DICM prefix */
    DCM_I_NO_META,                 /* no file meta information (group 0002) */
    DCM_I_META_ENCODING,           /* group 0002 is not explicit VR little endian */
    DCM_I_META_LENGTH,             /* (0002,0000) does not match the length of its group */
    DCM_I_NO_TRANSFER_SYNTAX,      /* no (0002,0010): the encoding was guessed */
    DCM_I_UNKNOWN_TRANSFER_SYNTAX, /* not in PS3.6: the encoding was guessed */
    DCM_I_ENCODING,                /* the transfer syntax states another encoding */
    DCM_I_TRUNCATED_HEADER,        /* the data ends inside an element header */
    DCM_I_TRUNCATED_VALUE,         /* the value runs past its data set: truncated */
    DCM_I_UNCLOSED,                /* an undefined length without its delimiter */
    DCM_I_UNKNOWN_VR,              /* two letters that are not a VR of PS3.5 6.2 */
    DCM_I_IMPLICIT_ELEMENT,        /* an implicit VR header among explicit ones */
    DCM_I_OUT_OF_ORDER,            /* tags do not ascend */
    DCM_I_DUPLICATE,               /* a repeated tag: the last element is used */
    DCM_I_STRAY_DELIMITER,         /* an item or delimiter outside of a sequence */
    DCM_I_NOT_AN_ITEM,             /* something else in a sequence: it ends there */
    DCM_I_ITEM_LENGTH,             /* an item runs past its sequence: truncated */
    DCM_I_FRAGMENTS,               /* wrong fragment lengths: searched for the next item */
    DCM_I_PADDING,                 /* zero bytes between or after elements: ignored */
    DCM_I_VALUE_LENGTH,            /* not a multiple of the VR's size: given as bytes */
    DCM_I_BAD_NUMBER,              /* IS or DS text that is not a valid number */
    DCM_I_BAD_DATE,                /* DA, TM or DT text that is not a valid date or time */
    DCM_I_CHARSET,                 /* an undefined Specific Character Set */
    DCM_I_TEXT,                    /* text that is invalid in its character set */
    DCM_I_CODESTREAM_END,          /* a compressed frame without its end marker */
    DCM_I_CODESTREAM_KIND,         /* a frame of another codec than the transfer syntax's */
    DCM_I_PHOTOMETRIC,             /* Photometric Interpretation contradicts the pixel data */
    DCM_I_PIXEL_LENGTH,            /* more pixel data than the attributes require */
    DCM_I_OFFSET_TABLE,            /* a missing or wrong table: repaired or not used */
    DCM_I_FRAME_COUNT,             /* Number of Frames does not match the frames found */
    DCM_I_ENCAPSULATION,           /* fragments or not, against the transfer syntax */
    DCM_I_IMAGE_VALUE,             /* an impossible value of an image: a default was used */
    DCM_I_LUT,                     /* a lookup table that does not fit its descriptor */
    DCM_I_OVERLAY,                 /* a short overlay, or one that was left out */
    DCM_I_MORE,                    /* more issues than are stored */
    DCM_I_UNFIT                    /* a value that its column cannot hold: null */
} dcm_code;

typedef struct dcm_error {
    int32_t code;    /* dcm_code */
    int32_t sys;     /* errno or 0 */
    uint64_t offset; /* where in the stream */
    uint32_t tag;    /* the element concerned, 0 if none */
    uint32_t depth;  /* its nesting depth below the indexed level */
} dcm_error;

typedef struct dcm_issue {
    uint32_t code; /* DCM_I_..., or the DCM_E_ code of something that was skipped */
    uint32_t tag;
    uint64_t offset;
} dcm_issue;

/* Constant text, never NULL: "truncated-value" and "the value runs past ...". */
const char *dcm_code_name(int code);
const char *dcm_code_text(int code);
/* The dcm_code of a name, or DCM_NOT_FOUND. */
int dcm_code_from_name(const char *name);

/* Fills *err (may be NULL) and returns code. */
int dcm_fail(dcm_error *err, int code, uint64_t offset, uint32_t tag);

/* ------------------------------------------------------------ arena.c --- */

/* dcm_realloc(NULL, n) allocates. Each of these may return NULL. */
void *dcm_alloc(size_t size);
void *dcm_realloc(void *block, size_t size);
void dcm_free(void *block);

/* A new block with the first `size` bytes of `block`. Data that is kept is copied
 * out of the buffers that are reused for the next file: shrinking those in place
 * would leave gaps too small for a later buffer of the original size. */
void *dcm_copy(const void *block, size_t size);

/* Makes *block large enough for `count` elements of `size` bytes, at least
 * doubling *capacity. DCM_OK, or DCM_E_MEMORY with both unchanged. */
int dcm_grow(void **block, uint64_t *capacity, uint64_t count, size_t size);

#ifdef DCM_TEST_ALLOC
/* Test builds only: makes the n-th allocation from now fail (0: none). */
void dcm_alloc_fail_at(int64_t n);
/* The number of blocks allocated and not yet freed. */
int64_t dcm_alloc_in_use(void);
#endif

#endif
