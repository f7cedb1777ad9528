/* dcm.h: the one contract of the C core; one file, so it may pass 800 lines.
 *
 * Floors (a file calls only floors below its own, or files to its left):
 *   2  error.c arena.c vr.c dict.c rle.c pixel.c codestream.c
 *   3  file.c walk.c header.c value.c csa.c encode.c
 *   4  index.c
 *   5  part10.c frames.c batch.c columns.c
 *
 * Conventions
 *   - A function that can fail returns a dcm_code (DCM_OK is 0) and fills the
 *     caller's dcm_error. Nothing prints, logs, formats, exits or keeps a
 *     global; so every function may be called from any thread, as long as two
 *     threads do not share one argument that is not const.
 *   - "Owner" says who frees. Whatever has an _init has a _free, and _free may
 *     be called twice. A struct of all zero bytes is a valid, empty struct.
 *   - Offsets and lengths are in bytes and 64 bits wide. Offsets are absolute
 *     in their stream: the file, or the inflated data set of a deflated file.
 */
#ifndef DCM_H
#define DCM_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ------------------------------------------------------------ error.c --- */

typedef enum dcm_code {
    DCM_OK = 0,
    DCM_NEED = 1, /* the index wants bytes that are not in memory: no error */

    /* Errors: what was asked for could not be done. */
    DCM_E_MEMORY = 16,   /* an allocation failed */
    DCM_E_OPEN,          /* the file cannot be opened (sys = errno) */
    DCM_E_READ,          /* the file cannot be read (sys = errno) */
    DCM_E_NOT_REGULAR,   /* a directory, FIFO, socket or device */
    DCM_E_EMPTY,         /* no bytes at all */
    DCM_E_NOT_DICOM,     /* neither Part 10 nor a plausible data set */
    DCM_E_CHANGED,       /* the file shrank or was replaced while in use */
    DCM_E_DEPTH,         /* sequences nested deeper than the limit */
    DCM_E_TOO_LARGE,     /* more elements than an index can hold */
    DCM_E_DEFLATE,       /* the deflated data set is damaged */
    DCM_E_INFLATE_LIMIT, /* it inflates beyond every honest ratio */
    DCM_E_WALK,          /* a directory cannot be listed (sys = errno) */
    DCM_E_RLE_HEADER,    /* an RLE frame has no header, or offsets that lie */
    DCM_E_RLE_COUNT,     /* its segments are not samples x bytes */
    DCM_E_RLE_SEGMENT,   /* a segment ends before all its bytes are there */
    DCM_E_WINDOW,        /* a window that its function does not allow */
    DCM_E_FRAME_SHORT,   /* the file ends before the frame does */
    DCM_E_FRAME_FIT,     /* a frame's shape or type does not fit its slot */
    DCM_E_FRAMES,        /* frames cannot be told apart in their fragments */
    DCM_E_ARCHIVE,       /* an archive is damaged, or packed in a way that is not read */
    DCM_E_ARCHIVE_LIMIT, /* it has more in it than every honest one */
    DCM_E_STREAM,        /* an archive or a server did not give what was asked for */
    DCM_E_LAST,

    /* Issues: repairs and oddities that did not stop the reading. */
    DCM_I_NO_PREAMBLE = 64,        /* no 128 bytes + DICM at the start */
    DCM_I_NO_META,                 /* no file meta information (group 0002) */
    DCM_I_META_ENCODING,           /* group 0002 is not explicit VR little endian */
    DCM_I_META_LENGTH,             /* (0002,0000) does not tell the group's length */
    DCM_I_NO_TRANSFER_SYNTAX,      /* (0002,0010) is missing: encoding was guessed */
    DCM_I_UNKNOWN_TRANSFER_SYNTAX, /* not in PS3.5/PS3.6: encoding was guessed */
    DCM_I_ENCODING,                /* the data set is not encoded as labelled */
    DCM_I_TRUNCATED_HEADER,        /* the data ends inside an element header */
    DCM_I_TRUNCATED_VALUE,         /* the value runs past its data set: cut */
    DCM_I_UNCLOSED,                /* undefined length without its delimiter */
    DCM_I_UNKNOWN_VR,              /* two capitals that are no VR of PS3.5 6.2 */
    DCM_I_IMPLICIT_ELEMENT,        /* an implicit VR header among explicit ones */
    DCM_I_OUT_OF_ORDER,            /* tags do not ascend */
    DCM_I_DUPLICATE,               /* a tag stands twice: the last one counts */
    DCM_I_STRAY_DELIMITER,         /* a delimiter or item where none belongs */
    DCM_I_NOT_AN_ITEM,             /* a sequence holds something else: ended there */
    DCM_I_ITEM_LENGTH,             /* an item runs past its sequence: cut */
    DCM_I_FRAGMENTS,               /* fragments lie: the delimiter was searched */
    DCM_I_PADDING,                 /* zero bytes after the last element: ignored */
    DCM_I_VALUE_LENGTH,            /* length no multiple of the VR's unit: bytes */
    DCM_I_BAD_NUMBER,              /* IS or DS text that is not what its VR asks */
    DCM_I_CHARSET,                 /* a Specific Character Set nobody defined */
    DCM_I_TEXT,                    /* text its character set cannot decode */
    DCM_I_CODESTREAM_END,          /* a compressed frame without its end marker */
    DCM_I_PIXEL_LENGTH,            /* more pixel data than its attributes say */
    DCM_I_OFFSET_TABLE,            /* it lies or is missing: repaired or not used */
    DCM_I_FRAME_COUNT,             /* there are more frames, or fewer, than told */
    DCM_I_MORE,                    /* there were more issues than are kept */
    DCM_I_LAST
} dcm_code;

typedef struct dcm_error {
    int32_t code;    /* dcm_code */
    int32_t sys;     /* errno or 0 */
    uint64_t offset; /* where in the stream */
    uint32_t tag;    /* the element at fault, 0 when none */
    uint32_t depth;  /* its nesting below the level that was indexed */
} dcm_error;

/* An issue: what was repaired, where. */
typedef struct dcm_issue {
    uint32_t code; /* DCM_I_... */
    uint32_t tag;
    uint64_t offset;
} dcm_issue;

/* Constant text, never NULL: "truncated-value"; "the value runs past ...". */
const char *dcm_code_name(int code);
const char *dcm_code_text(int code);

/* Fills err (may be NULL) and returns code. */
int dcm_fail(dcm_error *err, int code, uint64_t offset, uint32_t tag);

/* ------------------------------------------------------------ arena.c --- */
/* The only allocator. dcm_realloc(NULL, n) allocates. Each may return NULL. */

void *dcm_alloc(size_t size);
void *dcm_realloc(void *block, size_t size);
void dcm_free(void *block);

/* The block's first `size` bytes in a block of just that size. What is kept is
 * copied out of what is used again for the next file: shrinking in place would
 * leave holes that no later block of the old size fits in. */
void *dcm_copy(const void *block, size_t size);

/* Grows *block so that it holds `count` elements of `size` bytes: at least
 * doubles *capacity. DCM_OK or DCM_E_MEMORY (block and capacity unchanged). */
int dcm_grow(void **block, uint64_t *capacity, uint64_t count, size_t size);

#ifdef DCM_TEST_ALLOC
/* Test builds only: allocation number `n` from now on fails (0: none). */
void dcm_alloc_fail_at(int64_t n);
int64_t dcm_alloc_live(void); /* blocks allocated and not yet freed */
#endif

/* --------------------------------------------------------------- vr.c --- */

typedef enum dcm_vr {
    DCM_VR_NONE = 0, /* not known (yet) */
    DCM_VR_AE,
    DCM_VR_AS,
    DCM_VR_AT,
    DCM_VR_CS,
    DCM_VR_DA,
    DCM_VR_DS,
    DCM_VR_DT,
    DCM_VR_FL,
    DCM_VR_FD,
    DCM_VR_IS,
    DCM_VR_LO,
    DCM_VR_LT,
    DCM_VR_OB,
    DCM_VR_OD,
    DCM_VR_OF,
    DCM_VR_OL,
    DCM_VR_OV,
    DCM_VR_OW,
    DCM_VR_PN,
    DCM_VR_SH,
    DCM_VR_SL,
    DCM_VR_SQ,
    DCM_VR_SS,
    DCM_VR_ST,
    DCM_VR_SV,
    DCM_VR_TM,
    DCM_VR_UC,
    DCM_VR_UI,
    DCM_VR_UL,
    DCM_VR_UN,
    DCM_VR_UR,
    DCM_VR_US,
    DCM_VR_UT,
    DCM_VR_UV,
    /* Only in the dictionary of PS3.6; the data set decides which. */
    DCM_VR_OB_OW,
    DCM_VR_US_SS,
    DCM_VR_US_OW,
    DCM_VR_US_SS_OW,
    DCM_VR_COUNT
} dcm_vr;

typedef enum dcm_kind {
    DCM_KIND_NONE = 0,
    DCM_KIND_TEXT,      /* text in the default repertoire, split at backslashes */
    DCM_KIND_STRING,    /* text in the Specific Character Set, split */
    DCM_KIND_PARAGRAPH, /* text never split (LT ST UT in the charset; UR not) */
    DCM_KIND_PN,
    DCM_KIND_UI,
    DCM_KIND_IS,
    DCM_KIND_DS,
    DCM_KIND_INT,   /* signed binary integers of `unit` bytes */
    DCM_KIND_UINT,  /* unsigned */
    DCM_KIND_FLOAT, /* IEEE 754 of `unit` bytes */
    DCM_KIND_AT,
    DCM_KIND_BYTES, /* bytes, in words of `unit` */
    DCM_KIND_SQ
} dcm_kind;

/* One row per VR (PS3.5 6.2 and 7.1.2). */
typedef struct dcm_vr_row {
    char name[16];     /* "PN", "US or SS" */
    uint8_t kind;      /* dcm_kind */
    uint8_t unit;      /* bytes per value or word; 1 for text */
    uint8_t long_form; /* 1: explicit VR header of 12 bytes, 32-bit length */
    uint8_t charset;   /* 1: Specific Character Set applies */
    char pad;          /* pad byte to even length: ' ' or 0 */
} dcm_vr_row;

extern const dcm_vr_row dcm_vr_rows[DCM_VR_COUNT];

/* By the lowest five bits of each of two letters, first the first: the letters
 * (8 bits each, from the lowest), the dcm_vr and the size of its header. */
extern const uint32_t dcm_vr_of_letters[1024];

/* The VR of a name of two letters or of a dictionary's ("US or SS"). */
int dcm_vr_from_name(const char *name, size_t length);

/* ------------------------------------------------------------- dict.c --- */
/* PS3.6 as generated into dict_table.h. */

typedef struct dcm_dict_row {
    uint32_t tag;
    const char *keyword; /* "" for the few elements without one */
    const char *name;
    const char *vm; /* "1", "1-n", "3" ... */
    uint8_t vr;     /* dcm_vr */
    uint8_t retired;
} dcm_dict_row;

/* DCM_OK and *out filled, or DCM_NEED (1) when the tag is not in PS3.6.
 * Repeating groups (50xx, 60xx, ...) are found. Private tags are not. */
int dcm_dict_find(uint32_t tag, dcm_dict_row *out);

/* Only the VR, as fast as can be; DCM_VR_NONE when the tag is not in PS3.6.
 * (gggg,0000) is UL, a private creator (odd group, 0010-00FF) is LO. */
uint8_t dcm_dict_vr(uint32_t tag);

/* The tag of a keyword, 0 when there is none ((0000,0000) has no user). */
uint32_t dcm_dict_tag(const char *keyword, size_t length);

/* Number of rows, and the i-th in ascending order of tag. */
uint32_t dcm_dict_count(void);
void dcm_dict_at(uint32_t i, dcm_dict_row *out);

/* A private element by its creator: DCM_OK or DCM_NEED. keyword is "". */
int dcm_dict_private(uint32_t tag, const char *creator, size_t length, dcm_dict_row *out);

/* ------------------------------------------------------------ pixel.c --- */
/* Kernels over the cells of native pixel data. src and out do not overlap, and
 * need not be aligned; out is in the machine's byte order. */

typedef enum dcm_cell_kind { DCM_CELL_UNSIGNED, DCM_CELL_SIGNED, DCM_CELL_FLOAT } dcm_cell_kind;

/* How stored values lie in memory (PS3.5 8.1.1). */
typedef struct dcm_cells {
    uint8_t size;        /* of a cell in bytes: 1, 2, 4, 8; float: 4, 8 */
    uint8_t kind;        /* dcm_cell_kind */
    uint8_t big;         /* 1: big endian */
    uint8_t bits_stored; /* bits that count, 0: all */
    uint8_t high_bit;    /* the highest of them, at least bits_stored - 1 */
} dcm_cells;

/* Whether the numbers above hold together. */
int dcm_cells_valid(const dcm_cells *c);

/* `count` bits from bit `start` on, the lowest first, to bytes of 0 and 1. */
void dcm_unpack_bits(const uint8_t *src, uint64_t start, uint64_t count, uint8_t *out);
/* Cells of 12 bits, two in three bytes, to uint16_t. */
void dcm_unpack_12(const uint8_t *src, uint64_t count, void *out);

/* Turns the bytes of every whole unit (2, 4 or 8; 1: nothing) round. */
void dcm_swap_units(uint8_t *p, uint64_t n, int unit);

/* Values in the machine's order; unused bits gone, the sign extended. */
void dcm_cells_native(const dcm_cells *c, const uint8_t *src, uint64_t count, uint8_t *out);
/* The same in place, the byte order kept. */
void dcm_cells_normalize(const dcm_cells *c, uint8_t *p, uint64_t count);

/* Planes of `cells` cells of `size` bytes to pixels. */
void dcm_interleave(const uint8_t *src, uint64_t cells, unsigned samples, unsigned size,
                    uint8_t *out);
/* YBR_FULL_422 of bytes, Y1 Y2 Cb Cr for two pixels (PS3.3 C.7.6.3.1.2), to Y Cb
 * Cr for each. cells is even. */
void dcm_expand_422(const uint8_t *src, uint64_t cells, uint8_t *out);

/* Y Cb Cr to R G B of `bits` bits, clamped: uint8_t up to 8 bits, else uint16_t. */
void dcm_ybr_full(const uint8_t *src, unsigned size, uint64_t cells, unsigned bits,
                  uint8_t *out);
void dcm_ybr_ict(const uint8_t *src, unsigned size, uint64_t cells, unsigned bits,
                 uint8_t *out);
void dcm_ybr_rct(const uint8_t *src, unsigned size, uint64_t cells, unsigned bits,
                 uint8_t *out);

/* value * slope + intercept in double, to float (size 4) or double (size 8). */
void dcm_rescale(const dcm_cells *c, const uint8_t *src, uint64_t count, double slope,
                 double intercept, unsigned size, uint8_t *out);

typedef enum dcm_voi { DCM_VOI_LINEAR, DCM_VOI_LINEAR_EXACT, DCM_VOI_SIGMOID } dcm_voi;

/* A window of PS3.3 C.11.2.1.2 over stored values: the fields up to `invert` are
 * set by the caller, of a struct that was all zero bytes before. */
typedef struct dcm_window {
    dcm_cells cells;
    uint8_t function; /* dcm_voi */
    uint8_t invert;   /* 1: 255 minus the value */
    double slope, intercept, center, width;
    /* how it is done: see pixel.c */
    dcm_cells staged;
    uint8_t way, flip;
    uint16_t mask, turn;
    int16_t low, high;
    float scale, shift;
    uint8_t *table;
    uint8_t small[256];
} dcm_window;

/* DCM_OK, DCM_E_WINDOW or DCM_E_MEMORY. May be called again for other fields. */
int dcm_window_prepare(dcm_window *w, dcm_error *err);
void dcm_window_run(const dcm_window *w, const uint8_t *src, uint64_t count, uint8_t *out);
void dcm_window_free(dcm_window *w);

/* Each value's entry, `size` bytes, of a table that begins at value `first`; of
 * integers of up to 4 bytes. n_entries is not 0. */
void dcm_lut(const dcm_cells *c, const uint8_t *src, uint64_t count, const uint8_t *table,
             uint64_t n_entries, int64_t first, unsigned size, uint8_t *out);
/* The same through three tables, to pixels. size: 1 or 2. */
void dcm_palette(const dcm_cells *c, const uint8_t *src, uint64_t count, const uint8_t *red,
                 const uint8_t *green, const uint8_t *blue, uint64_t n_entries, int64_t first,
                 unsigned size, uint8_t *out);

/* -------------------------------------------------------------- rle.c --- */

/* One whole frame of RLE Lossless (PS3.5 G): n bytes at p, to little endian
 * cells c at out, which has room for cells * samples of them: pixel by pixel, or
 * planar: plane by plane. Unused bits are gone, the sign is extended. DCM_OK or
 * DCM_E_RLE_...; the error's offset counts from p. */
int dcm_rle_decode(const dcm_cells *c, const uint8_t *p, uint64_t n, uint64_t cells,
                   unsigned samples, int planar, uint8_t *out, dcm_error *err);

/* ------------------------------------------------------- codestream.c --- */

typedef enum dcm_codestream_kind {
    DCM_CODESTREAM_JPEG = 1,
    DCM_CODESTREAM_JPEGLS,
    DCM_CODESTREAM_JPEG2000,
    DCM_CODESTREAM_JPEGXL
} dcm_codestream_kind;

/* What the header of one compressed frame says. */
typedef struct dcm_codestream {
    uint32_t rows, columns, components;
    uint8_t kind;            /* dcm_codestream_kind */
    uint8_t process;         /* JPEG: n of the marker SOFn */
    uint8_t precision;       /* bits of a sample */
    uint8_t is_signed;       /* JPEG 2000 */
    uint8_t reversible;      /* JPEG 2000: the 5-3 transform in every component */
    uint8_t high_throughput; /* JPEG 2000: HT blocks */
    uint8_t planar;          /* JPEG-LS: a scan for each component */
    uint8_t complete;        /* but JPEG XL: an end marker is there */
    uint64_t floor;          /* JPEG 2000: what its tiles and packets take at least */
} dcm_codestream;

/* DCM_OK, or DCM_NEED when `length` bytes begin with no complete header of a
 * JPEG, JPEG-LS, JPEG 2000 or JPEG XL image that a frame could be: its
 * components have one type and one size. In JP2 and JPEG XL files the first
 * codestream is read. */
int dcm_codestream_read(const uint8_t *data, uint64_t length, dcm_codestream *out);

/* ------------------------------------------------------------- file.c --- */

/* Bytes of a stream that are in memory: a few segments in one buffer. A
 * pointer into it is good until the next dcm_bytes_ call that is not _at. */
typedef struct dcm_segment {
    uint64_t offset; /* of its first byte in the stream */
    uint64_t length;
    uint64_t at; /* of its first byte in data */
} dcm_segment;

typedef struct dcm_bytes {
    uint8_t *data;
    uint64_t used, capacity;
    uint64_t total;        /* size of the whole stream */
    dcm_segment *segments; /* offsets and ends ascend */
    uint64_t n_segments, cap_segments;
    uint8_t borrowed;  /* data belongs to somebody else: never freed or grown */
    uint8_t transient; /* the last segment may be replaced by the next */
} dcm_bytes;

/* All of a stream that somebody else keeps alive. */
int dcm_bytes_borrow(dcm_bytes *b, const void *data, uint64_t length);
/* An empty stream of `total` bytes, memory kept for reuse. */
void dcm_bytes_reset(dcm_bytes *b, uint64_t total);
/* Room for `length` bytes at `offset` (which no segment covers); the caller
 * writes *room and then calls _commit with what it got. */
int dcm_bytes_room(dcm_bytes *b, uint64_t length, uint8_t **room);
int dcm_bytes_commit(dcm_bytes *b, uint64_t offset, uint64_t length, int transient);
/* How many bytes from offset are in memory, contiguously; *p set when any. */
uint64_t dcm_bytes_run(const dcm_bytes *b, uint64_t offset, const uint8_t **p);
/* The bytes [offset, offset + length), NULL when not all in one segment. */
static inline const uint8_t *dcm_bytes_at(const dcm_bytes *b, uint64_t offset,
                                          uint64_t length) {
    const uint8_t *p = NULL;
    const dcm_segment *first = b->segments; /* which mostly is the only one */
    if (b->n_segments && !first->offset && offset < first->length &&
        length <= first->length - offset)
        return b->data + first->at + offset;
    return dcm_bytes_run(b, offset, &p) >= length ? p : NULL;
}
/* Forgets what lies behind `keep` in its segment (after reading). */
void dcm_bytes_cut(dcm_bytes *b, uint64_t keep);
/* A copy of all of `from`, in just the memory that it takes. */
int dcm_bytes_copy(dcm_bytes *b, const dcm_bytes *from);
void dcm_bytes_free(dcm_bytes *b);

/* Ranges of a stream that the caller has in memory, where there is no file to
 * read from. A read of anything else is DCM_NEED, with what is missing in
 * need_...: the caller adds it, and does again what it was about. */
typedef struct dcm_range {
    uint64_t offset, length;
    const uint8_t *data;
} dcm_range;

typedef struct dcm_given {
    const dcm_range *ranges; /* in any order */
    uint64_t count;
    uint64_t need_offset, need_length;
} dcm_given;

typedef struct dcm_file {
    intptr_t handle;  /* descriptor or HANDLE; -1 when closed */
    dcm_given *given; /* to read from in place of the handle, or NULL */
    uint64_t base;    /* where it begins: not 0 for a member of an archive */
    uint64_t size;
    int64_t mtime_ns; /* since the epoch */
    uint64_t device, inode;
} dcm_file;

/* The only opener. path is UTF-8 on Windows, bytes elsewhere. Refuses what is
 * not a regular file without blocking on it. */
int dcm_file_open(dcm_file *f, const char *path, dcm_error *err);
void dcm_file_close(dcm_file *f);
/* From here on f is the part [base, base + length) of what it was: DCM_OK or
 * DCM_E_CHANGED when that lies beyond its end. */
int dcm_file_narrow(dcm_file *f, uint64_t base, uint64_t length, dcm_error *err);
/* A file whose bytes the caller gives. */
void dcm_file_given(dcm_file *f, dcm_given *given, uint64_t size, int64_t mtime_ns);
/* Exactly `length` bytes, or DCM_E_CHANGED when the file ends before, or
 * DCM_E_READ, or DCM_NEED from ranges. Several threads may read one file. */
int dcm_file_read(const dcm_file *f, uint64_t offset, uint64_t length, void *into,
                  dcm_error *err);
/* Tells the system that reads will be few and scattered. */
void dcm_file_random(const dcm_file *f);

/* Files by their paths, and what is known of them. */
typedef struct dcm_list {
    const char *paths; /* one after another; the i-th ends before ends[i] */
    const uint64_t *ends;
    uint64_t count;
    int64_t *sizes, *mtimes_ns; /* -1 where nothing is, and of folders */
    int32_t *errnos;            /* of folders that could not be listed; 0: a file */
} dcm_list;

/* Fills in sizes and times; errnos are the caller's. Links are followed, no
 * file is opened. Fails for lack of memory alone. */
int dcm_list_stat(const dcm_list *l);

/* Reads so that `length` bytes at `offset` are in b, and `ahead` more when
 * they are cheap. */
int dcm_file_fill(const dcm_file *f, dcm_bytes *b, uint64_t offset, uint64_t length,
                  uint64_t ahead, int transient, dcm_error *err);

typedef struct dcm_map {
    uint8_t *data; /* the byte at `offset`, as asked for */
    void *base;    /* what the system gave */
    uint64_t base_length;
} dcm_map;

/* A private, writeable (copy-on-write) mapping of [offset, offset+length). */
int dcm_file_map(const dcm_file *f, uint64_t offset, uint64_t length, dcm_map *map,
                 dcm_error *err);
void dcm_file_unmap(dcm_map *map);

/* ----------------------------------------------------------- header.c --- */

/* How elements are encoded: a set of bits. */
enum { DCM_EXPLICIT_LE = 0, DCM_BIG = 1, DCM_IMPLICIT = 2 };

/* What the first bytes of a data set look like: the stated encoding when
 * plausible, else the first other one that is, else -1. p holds n bytes of a
 * data set of `remaining` bytes. A lenient caller asks about one header, a
 * caller with no other evidence (no DICM) asks for `headers` in a row. */
int dcm_encoding_guess(const uint8_t *p, uint64_t n, uint64_t remaining, int stated,
                       int headers);

/* ------------------------------------------------------------ value.c --- */
/* Text and numbers inside a value; independent of locale. */

typedef struct dcm_span {
    const char *p;
    uint64_t n;
} dcm_span;

/* Without trailing spaces and NULs. */
dcm_span dcm_trim_right(const char *p, uint64_t n);
/* Without leading and trailing white space (as str.strip of ASCII) and
 * trailing NULs. */
dcm_span dcm_trim(const char *p, uint64_t n);
/* Takes the next component up to a backslash from *rest; 0 when none left.
 * Start with rest->p set; an empty value has one empty component. */
int dcm_next_component(dcm_span *rest, dcm_span *out);

/* One decimal number as Python's float() reads it (no underscores, ASCII
 * only), correctly rounded. 1 when the whole span is a number, else 0. */
int dcm_parse_float(dcm_span s, double *out);
/* One integer, optional sign, leading and trailing blanks: 1 or 0 (also when
 * beyond 64 bits). */
int dcm_parse_int(dcm_span s, int64_t *out);

/* The i-th binary value of a kind INT/UINT/FLOAT VR; big: big endian. */
int64_t dcm_load_int(const uint8_t *p, int unit, int big);
uint64_t dcm_load_uint(const uint8_t *p, int unit, int big);
double dcm_load_float(const uint8_t *p, int unit, int big);

/* -------------------------------------------------------------- csa.c --- */
/* Siemens' CSA header, tag by tag, each with its items: texts. */

typedef struct dcm_csa {
    const uint8_t *p; /* the caller's, for as long as the walk */
    uint64_t size, at;
    int64_t first;        /* items of the first tag, -1: none read */
    uint32_t tags, items; /* that are still to come */
    int version;          /* 1 or 2 */
} dcm_csa;

/* Each returns 1, 0 behind the last, -1 where the bytes are damaged (after
 * which nothing more comes). A tag's items not taken are passed over. */
int dcm_csa_start(dcm_csa *c, const uint8_t *p, uint64_t n);
int dcm_csa_tag(dcm_csa *c, dcm_span *name);
int dcm_csa_item(dcm_csa *c, dcm_span *text);

/* ------------------------------------------------------------ index.c --- */

enum {
    DCM_ROW_IMPLICIT = 1,        /* its own header was implicit VR */
    DCM_ROW_BIG = 2,             /* big endian */
    DCM_ROW_UNDEFINED = 4,       /* undefined length: `length` is the resolved one,
                                    without the delimiter that closes it */
    DCM_ROW_TRUNCATED = 8,       /* value cut at the end of its data set */
    DCM_ROW_FRAGMENTS = 16,      /* value is item-framed fragments (PS3.5 A.4) */
    DCM_ROW_ITEMS = 32,          /* value is a sequence of items, whatever its VR */
    DCM_ROW_INNER_IMPLICIT = 64, /* its items are implicit VR LE (CP-246) */
    DCM_ROW_DELIMITED = 128      /* 8 bytes of delimiter follow the value */
};

/* One element of one level, 24 bytes. The header starts at offset - header. */
typedef struct dcm_row {
    uint64_t offset; /* of the value */
    uint64_t length; /* of the value, resolved */
    uint32_t tag;
    uint8_t vr;     /* dcm_vr; implicit: from the dictionary, NONE if not */
    uint8_t header; /* bytes of the header: 8 or 12 */
    uint8_t flags;  /* DCM_ROW_... */
    uint8_t depth;  /* flat only: how many sequences it lies in */
} dcm_row;

/* One open sequence, item or run of fragments on the index's own stack. */
typedef struct dcm_frame {
    uint64_t start; /* of its value */
    uint64_t end;   /* its own, or when of undefined length its holder's */
    uint32_t tag;   /* of the sequence */
    uint32_t row;   /* the row that its end completes, UINT32_MAX: none */
    uint32_t last;  /* last tag seen in it */
    uint8_t kind;
    uint8_t encoding; /* of the elements inside */
    uint8_t defined;  /* 1: of defined length */
} dcm_frame;

#define DCM_DEPTH_LIMIT 128

/* flat: all levels in one pass, items as rows of tag FFFE,E000; what is indexed
 * is a data set, or the items of a sequence. */
enum { DCM_FLAT = 1, DCM_FLAT_ITEMS = 2 };

/* The rows of one data set level, or of all. Never reads: asks by DCM_NEED. */
typedef struct dcm_index {
    dcm_row *rows; /* sorted by tag, one per tag, after DCM_OK (a flat
                      index keeps the order of the stream) */
    uint64_t count, capacity;
    dcm_issue *issues;
    uint64_t n_issues, cap_issues;
    uint64_t begin, end, pos;          /* the level's span; where reading stands */
    uint64_t closed;                   /* where the last undefined length ended */
    uint64_t need_offset, need_length; /* after DCM_NEED */
    uint32_t from, stop;               /* stop before the first tag outside [from, stop] */
    uint32_t last;                     /* last tag seen */
    uint32_t depth_limit;
    uint8_t encoding;
    uint8_t flat;
    uint8_t need_transient; /* 1: those bytes are looked at once only, and
                               little behind them; 2: once, and all behind */
    uint8_t done;           /* 1: complete, 2: stopped at `stop` */
    uint8_t unsorted;       /* flat: some level's tags do not ascend */
    /* the walk through undefined lengths, between calls */
    dcm_frame *stack;
    uint64_t sp, cap_stack;
} dcm_index;

/* Prepares for the level [begin, end); keeps memory of an earlier use. flat: 0 or
 * how. */
void dcm_index_start(dcm_index *ix, uint64_t begin, uint64_t end, int encoding, uint32_t stop,
                     int flat);
/* DCM_OK, DCM_NEED (read need_length at need_offset, call again) or error. */
int dcm_index_run(dcm_index *ix, const dcm_bytes *b, dcm_error *err);
/* Same, reading from f as needed. */
int dcm_index_read(dcm_index *ix, dcm_bytes *b, const dcm_file *f, dcm_error *err);
/* How much to read behind what is needed: more, the more was needed so far. */
uint64_t dcm_read_ahead(const dcm_bytes *b, int transient);
/* A complete index moves to `ix`, in just the memory that it takes; `from` keeps
 * its own for the next. */
int dcm_index_take(dcm_index *ix, dcm_index *from);
const dcm_row *dcm_index_find(const dcm_index *ix, uint32_t tag);
int dcm_index_issue(dcm_index *ix, int code, uint64_t offset, uint32_t tag);
void dcm_index_free(dcm_index *ix);

/* The encoding of a sequence's items. */
int dcm_row_encoding(const dcm_row *row);

/* One item of a sequence: its header at *pos in [.., end). */
typedef struct dcm_item {
    uint64_t offset;  /* of its first element */
    uint64_t length;  /* resolved */
    uint8_t encoding; /* of its elements */
    uint8_t flags;    /* DCM_ROW_UNDEFINED, DCM_ROW_TRUNCATED */
} dcm_item;

/* The items of a row with DCM_ROW_ITEMS (or of a value to be taken as such):
 * a list in *items (grown with dcm_grow, owner: the caller), *count of them.
 * `work` is a scratch index for walking items of undefined length; issues are
 * left in it. All bytes of the value must be in b, or DCM_NEED. */
int dcm_items(const dcm_row *row, const dcm_bytes *b, dcm_index *work, dcm_item **items,
              uint64_t *capacity, uint64_t *count, dcm_error *err);

/* ----------------------------------------------------------- part10.c --- */

typedef struct dcm_part10 {
    dcm_index meta; /* group 0002 (empty when there is none) */
    dcm_index data; /* the data set (not started when deflated) */
    uint64_t total, data_begin;
    char transfer_syntax[68]; /* as it stands, without padding; "" if none */
    uint8_t encoding;         /* of the data set, as found */
    uint8_t preamble;         /* 1: 128 bytes + DICM are there */
    uint8_t deflated;         /* data_begin starts a deflate stream */
    uint8_t force;            /* set before: accept implausible bytes */
    uint8_t state;
    uint32_t stop;
    uint64_t first_read; /* adaptive size of the first read, kept by caller */
} dcm_part10;

/* Prepares for one stream; keeps memory. `stop` as in dcm_index. */
void dcm_part10_start(dcm_part10 *p, uint64_t total, uint32_t stop, int force);
/* DCM_OK, DCM_NEED (need in *offset, *length, *transient) or error. After
 * DCM_OK with p->deflated the caller inflates and runs p->data itself. */
int dcm_part10_run(dcm_part10 *p, const dcm_bytes *b, uint64_t *offset, uint64_t *length,
                   int *transient, dcm_error *err);
/* Same, reading from f as needed: the whole of a header scan. */
int dcm_part10_read(dcm_part10 *p, dcm_bytes *b, const dcm_file *f, dcm_error *err);
void dcm_part10_free(dcm_part10 *p);

/* ----------------------------------------------------------- frames.c --- */
/* Encapsulated pixel data (PS3.5 A.4): where each frame is. */

enum { DCM_FRAMES_EXTENDED = 1, DCM_FRAMES_BASIC, DCM_FRAMES_FRAGMENTS };

typedef struct dcm_frames {
    uint64_t *offsets; /* after DCM_OK: count + 1 of them, ascending. Frame i is
                          [offsets[i], offsets[i + 1]), item headers included */
    uint64_t count;    /* can be less than asked for (DCM_I_FRAME_COUNT) */
    uint64_t cap_offsets;
    dcm_issue *issues;
    uint64_t n_issues, cap_issues;
    uint64_t need_offset, need_length; /* after DCM_NEED; looked at once only */
    uint64_t need_ahead;      /* so much behind them is wanted, too, when it is cheap */
    uint64_t begin, end;      /* of the value */
    uint64_t base;            /* of the first fragment */
    uint64_t frames, entries; /* told, and in the Basic Offset Table */
    uint64_t *starts;         /* where fragments begin as codestreams do */
    uint64_t n_starts, cap_starts, n_fragments;
    uint64_t pos, seek;  /* the walk: the next header; or in search of one */
    uint64_t at, length; /* the fragment whose end is not known yet */
    uint64_t from, upto; /* the one before it */
    uint64_t bytes_read;
    uint32_t repairs; /* fragments whose length lies */
    uint32_t source_tag;
    uint8_t source; /* DCM_FRAMES_... */
    uint8_t state, open, checked, shifted, recount, kind, next_kind, first_kind;
} dcm_frames;

/* Prepares for the value [begin, end) of so many frames (0: not told, which
 * means 1), keeps memory. */
void dcm_frames_start(dcm_frames *t, uint64_t begin, uint64_t end, uint64_t frames);
/* Then, when there is one: the Extended Offset Table, and lengths or NULL. n
 * and n_lengths are in bytes. */
int dcm_frames_extended(dcm_frames *t, const uint8_t *offsets, uint64_t n,
                        const uint8_t *lengths, uint64_t n_lengths);
/* Or instead: nothing but fragments, and no table is believed. */
void dcm_frames_fragments(dcm_frames *t, uint64_t begin, uint64_t end, uint64_t frames);
/* DCM_OK, DCM_NEED (read need_length at need_offset, call again) or error. */
int dcm_frames_run(dcm_frames *t, const dcm_bytes *b, dcm_error *err);
/* Same, reading from f as needed. */
int dcm_frames_read(dcm_frames *t, dcm_bytes *b, const dcm_file *f, dcm_error *err);
/* The n bytes of one frame without their item headers, at most n of them, to
 * `out`, which may be p. Lengths that lie are repaired: *issue (code 0: none),
 * its offset counted from p. */
int dcm_frames_join(const uint8_t *p, uint64_t n, uint8_t *out, uint64_t *length,
                    dcm_issue *issue, dcm_error *err);
/* All of that for the pixel data `row` of an index: from b, or from f by way of
 * `own` where b does not have it. A video is one stream, so one frame (PS3.5
 * 8.2.5 to 8.2.8). */
int dcm_frames_find(dcm_frames *t, const dcm_index *ix, const dcm_row *row,
                    const char *transfer_syntax, uint64_t frames, const dcm_bytes *b,
                    dcm_bytes *own, const dcm_file *f, dcm_error *err);
void dcm_frames_free(dcm_frames *t);

/* ------------------------------------------------------------ batch.c --- */
/* Native frames of many files, read and converted into the slots of one block. */

/* A frame in its file: one record of _pixels.FRAME, 80 bytes without a gap. */
typedef struct dcm_native {
    uint64_t offset;  /* of its first byte */
    uint64_t size;    /* of the file when that was found; 0: not checked */
    int64_t mtime_ns; /* likewise */
    double slope, intercept, center, width;
    uint32_t rows, columns, samples;
    uint8_t bits_allocated; /* 1, 8, 16, 32, 64 */
    uint8_t bits_stored, high_bit;
    uint8_t representation; /* dcm_cell_kind */
    uint8_t big, planar;
    uint8_t start_bit; /* bits_allocated 1: of the first byte */
    uint8_t invert;
    uint32_t function; /* dcm_voi */
} dcm_native;

typedef enum dcm_convert {
    DCM_CONVERT_NONE,    /* stored values */
    DCM_CONVERT_RESCALE, /* float */
    DCM_CONVERT_WINDOW   /* uint8_t */
} dcm_convert;

/* One worker's work: all up to `pad` is set by the caller, file.handle to -1. */
typedef struct dcm_batch {
    uint8_t *out; /* slots of height x width x samples cells */
    uint64_t height, width, samples;
    uint8_t convert;    /* dcm_convert */
    uint8_t size, kind; /* of a cell of out */
    uint8_t fit;        /* 1: other sizes are cropped and padded */
    uint8_t pad[8];     /* one cell */
    dcm_file file;
    const char *path; /* of file, while it is open; must live until _free */
    dcm_window window;
    uint8_t *scratch, *line;
    uint64_t cap_scratch, cap_line;
} dcm_batch;

/* One frame into one slot. After an error the slot is all pad. */
int dcm_batch_read(dcm_batch *b, const char *path, const dcm_native *frame, uint64_t slot,
                   dcm_error *err);
void dcm_batch_free(dcm_batch *b);

/* ---------------------------------------------------------- encode.c --- */
/* What value.c and header.c read, written. */

/* One binary value of `unit` bytes; a signed one as its two's complement. */
void dcm_store_uint(uint8_t *p, int unit, uint64_t value, int big);
void dcm_store_float(uint8_t *p, int unit, double value, int big);
/* Four bytes: group, then element. */
void dcm_store_tag(uint8_t *p, uint32_t tag, int big);

/* The header of an element, an item or a delimiter: at most 12 bytes. Returns
 * its size. The VR becomes UN when it is in doubt, or when its short form
 * cannot tell the length (PS3.5 6.2.2). */
int dcm_put_header(uint8_t *p, uint32_t tag, int vr, uint32_t length, int encoding);

/* ------------------------------------------------------------- walk.c --- */

struct dcm_walk_level;

/* The files under a folder, in byte order of their paths. Links are followed,
 * but not into a folder that is being walked. Memory: the names of one folder
 * and of those above it. */
typedef struct dcm_walk {
    char *path; /* of the entry at hand, closed by NUL */
    uint64_t length, cap_path;
    struct dcm_walk_level *levels;
    uint64_t n_levels, cap_levels;
    uint8_t recursive, started;
} dcm_walk;

/* Prepares for a folder; keeps memory of an earlier use. */
int dcm_walk_start(dcm_walk *w, const char *root, int recursive, dcm_error *err);
/* DCM_OK: path is the next entry that is no folder. DCM_NEED: there is none.
 * DCM_E_WALK: path is a folder that could not be listed, or not to its end,
 * or (sys = ELOOP) that holds itself; the walk goes on with the next call. */
int dcm_walk_next(dcm_walk *w, dcm_error *err);
void dcm_walk_free(dcm_walk *w);

enum { DCM_SAME, DCM_CHANGED, DCM_ALONE };

/* Goes over two lists, both in the order of a walk, from *i and *j on until one
 * ends, and marks what each path met: the same file or error, one of that path
 * that changed, or none. */
void dcm_list_compare(const dcm_list *a, uint64_t *i, uint8_t *marks_a, const dcm_list *b,
                      uint64_t *j, uint8_t *marks_b);

/* ---------------------------------------------------------- columns.c --- */
/* Files to rows of columns, laid out as Arrow wants its buffers but for the
 * validity, which is a byte per entry until the column is sealed. */

typedef enum dcm_column_type {
    DCM_COLUMN_TEXT, /* UTF-8 */
    DCM_COLUMN_BYTES,
    DCM_COLUMN_INT,  /* int64_t */
    DCM_COLUMN_UINT, /* uint64_t */
    DCM_COLUMN_FLOAT /* double */
} dcm_column_type;

/* An issue of a column: too many values, too long, or of a kind that the type
 * of the column cannot hold. The value is null. */
#define DCM_I_UNFIT DCM_I_LAST

#define DCM_COLUMN_LISTS 4           /* lists around a value, at most */
#define DCM_PATH_DEPTH   16          /* sequences around a value, at most */
#define DCM_TEXT_LIMIT   (16u << 20) /* a longer text is null and an issue */
#define DCM_BYTES_LIMIT  (64u << 10) /* so are longer bytes */
#define DCM_FRAMES_LIMIT (1u << 20)  /* so are more frames */

/* A list level, or (the last one) the values. Of lists, text and bytes entry i
 * is [ends[i], ends[i + 1]) of what lies below. */
typedef struct dcm_layer {
    uint8_t *valid;
    int32_t *ends;
    uint64_t count, capacity;
    uint64_t nulls; /* once sealed */
    uint64_t hint;  /* how many entries to make room for at first */
} dcm_layer;

typedef struct dcm_column {
    uint8_t type;  /* dcm_column_type */
    uint8_t lists; /* how many: layers[lists] are the values */
    uint8_t many;  /* 1: the last list holds the values of one element */
    dcm_layer layers[DCM_COLUMN_LISTS + 1];
    uint8_t *data;
    uint64_t used, capacity; /* bytes of data */
} dcm_column;

/* A wanted element: a value for a column, or a sequence to look into. */
typedef struct dcm_want {
    uint32_t tag;            /* with a creator: gggg00ee, its block left open */
    uint32_t creator;        /* offset into plan->text */
    uint32_t creator_length; /* 0: the tag is whole */
    int32_t column;          /* -1: a sequence */
    uint32_t level;          /* of a sequence: the level inside */
    uint32_t item;           /* of a sequence: which, from 1; 0: all of them */
    uint8_t vr;              /* of the dictionary, or DCM_VR_NONE */
    uint8_t unsigned_first;  /* a LUT descriptor: PS3.3 C.11.1.1.1 */
} dcm_want;

/* What is wanted of one data set. */
typedef struct dcm_level {
    uint32_t first, count;  /* wants without a creator, ascending tags */
    uint32_t private_count; /* those with one, behind them */
    uint32_t stop;          /* the last tag to be looked at */
    uint8_t charset;        /* 1: Specific Character Set matters */
} dcm_level;

/* A request: read only, shared by threads, owned by the caller. Columns: 0 to
 * 3 are path, size, mtime_ns, transfer_syntax, then those of the wants, then,
 * with `pixels`, pixel_offset, pixel_length, frames, and, with 2, a list of the
 * offsets of encapsulated frames. */
typedef struct dcm_plan {
    const dcm_want *wants;
    const dcm_level *levels; /* 0: file meta information, 1: data set */
    const char *text;
    const dcm_column *columns; /* type, lists, many of each; no memory */
    uint32_t n_columns;
    uint8_t pixels;
    uint8_t skip_errors; /* a file in error leaves no row */
} dcm_plan;

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
    dcm_row_error *errors; /* ascending rows */
    uint64_t n_errors, cap_errors;
    dcm_row_issue *issues; /* ascending rows */
    uint64_t n_issues, cap_issues;
} dcm_columns;

/* A value that wants Python's help to become text: one in a rarer character
 * set, or a number where the column is text. The caller sets `done`, and text
 * unless there is none. */
typedef struct dcm_ask {
    uint64_t offset;                  /* of the value, in its stream */
    uint64_t value, length;           /* its bytes, in the reader's pool */
    uint64_t charset, charset_length; /* of Specific Character Set, likewise */
    const char *text;                 /* UTF-8, alive until the row is done */
    uint64_t text_length;
    uint32_t issue; /* 0 or DCM_I_... */
    uint8_t vr, big;
    uint8_t meta; /* 1: an element of group 0002 */
    uint8_t done;
} dcm_ask;

typedef struct dcm_reader_level {
    dcm_index index, work;
    dcm_bytes bytes; /* of a sequence that the header did not hold */
    dcm_item *items;
    uint64_t cap_items;
} dcm_reader_level;

/* What one worker keeps from file to file. */
typedef struct dcm_reader {
    dcm_file file;
    dcm_bytes bytes, inflated, fragments;
    dcm_frames frames;
    dcm_part10 part10;
    dcm_reader_level levels[DCM_PATH_DEPTH];
    dcm_span shown; /* the path as its column gives it */
    char *path;
    uint64_t cap_path;
    uint8_t *scratch; /* a value that the header did not hold */
    uint64_t cap_scratch;
    uint8_t *pool; /* bytes that asks are about */
    uint64_t pool_used, cap_pool;
    dcm_ask *asks; /* of the row at hand */
    uint64_t n_asks, cap_asks;
    dcm_issue note; /* of inflating, set by the caller; code 0: none */
    uint64_t issues_before;
    uint64_t bytes_read, failed; /* sums over all files */
    uint8_t random;              /* set before: advise the system of jumps */
    uint8_t state;
} dcm_reader;

/* Where a member stands in its archive as it is, neither packed nor encrypted. */
typedef struct dcm_part {
    uint64_t base, length;
} dcm_part;

enum { DCM_READER_INFLATE = 1, DCM_READER_TEXT = 2, DCM_READER_BYTES = 3 };

int dcm_columns_init(dcm_columns *c, const dcm_plan *plan);
/* Before the first row: about how many there will be. */
void dcm_columns_expect(dcm_columns *c, uint64_t rows);
/* One file, or the part of it that holds a member, becomes one row, also when it
 * cannot be read. DCM_OK, DCM_NEED or DCM_E_MEMORY. After DCM_NEED the caller
 * helps, then calls _resume:
 *   state INFLATE: inflates file from part10.data_begin into `inflated`;
 *   state TEXT: answers every ask that is not done;
 *   state BYTES: adds to the ranges of a stream what they say is missing.
 * path, shown and the ranges must live until then. */
int dcm_columns_file(dcm_columns *c, const dcm_plan *plan, dcm_reader *r, dcm_span path,
                     dcm_span shown, const dcm_part *part);
/* The same for a stream whose bytes the caller gives. */
int dcm_columns_stream(dcm_columns *c, const dcm_plan *plan, dcm_reader *r, dcm_span shown,
                       dcm_given *given, uint64_t size, int64_t mtime_ns);
/* failed: NULL, or why there was no help: the row's error. */
int dcm_columns_resume(dcm_columns *c, const dcm_plan *plan, dcm_reader *r,
                       const dcm_error *failed);
/* The row of a path whose error is known already. */
int dcm_columns_error(dcm_columns *c, const dcm_plan *plan, dcm_reader *r, dcm_span shown,
                      const dcm_error *error);
/* Bytes of the fullest buffer: rows must stop well below 2 GiB. */
uint64_t dcm_columns_fill(const dcm_columns *c);
/* Appends the rows of `from`. DCM_E_TOO_LARGE when offsets of 32 bits do not
 * reach (then nothing was appended), DCM_E_MEMORY. */
int dcm_columns_join(dcm_columns *c, const dcm_columns *from);
void dcm_columns_free(dcm_columns *c);
void dcm_reader_free(dcm_reader *r);

/* The same for a column on its own; `at` is the layer. (Of frames: one list.) */
int dcm_frames_put(const dcm_frames *t, dcm_column *c);
int dcm_column_null(dcm_column *c, unsigned at, uint64_t count);
int dcm_column_list(dcm_column *c, unsigned at);
int dcm_column_text(dcm_column *c, const char *p, uint64_t n);
int dcm_column_int(dcm_column *c, int64_t value);
/* Validity becomes bits, the first lowest: nothing can be appended any more. */
int dcm_column_seal(dcm_column *c);
void dcm_column_free(dcm_column *c);

#ifdef __cplusplus
}
#endif
#endif
