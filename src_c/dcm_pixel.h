/* dcm_pixel.h: loops over the cells of native pixel data (pixel.c), RLE Lossless
 * (rle.c) and the headers of compressed frames (codestream.c). */
#ifndef DCM_PIXEL_H
#define DCM_PIXEL_H

#include <stdint.h>

#include "dcm_base.h"

/* In the functions below src and out do not overlap and need not be aligned; out
 * is in the machine's byte order unless stated otherwise. */

typedef enum dcm_cell_kind { DCM_CELL_UNSIGNED, DCM_CELL_SIGNED, DCM_CELL_FLOAT } dcm_cell_kind;

/* The layout of stored values in memory (PS3.5 8.1.1). */
typedef struct dcm_cells {
    uint8_t size;        /* bytes per cell: 1, 2, 4, 8; float: 4, 8 */
    uint8_t kind;        /* dcm_cell_kind */
    uint8_t big;         /* 1: big endian */
    uint8_t bits_stored; /* number of bits used, 0: all */
    uint8_t high_bit;    /* the highest used bit, at least bits_stored - 1 */
} dcm_cells;

/* Returns 1 if the fields are consistent, else 0. */
int dcm_cells_valid(const dcm_cells *c);

/* Unpacks `count` bits, starting at bit `start` and lowest bit first, to bytes of
 * 0 and 1. */
void dcm_unpack_bits(const uint8_t *src, uint64_t start, uint64_t count, uint8_t *out);
/* Unpacks 12-bit cells, two in three bytes, to uint16_t. */
void dcm_unpack_12(const uint8_t *src, uint64_t count, void *out);

/* Swaps the bytes of every complete unit of 2, 4 or 8 bytes (1: no change). */
void dcm_swap_units(uint8_t *p, uint64_t n, int unit);

/* Converts cells to the machine's byte order, clears unused bits and extends the
 * sign. */
void dcm_cells_native(const dcm_cells *c, const uint8_t *src, uint64_t count, uint8_t *out);
/* Clears unused bits and extends the sign in place; the byte order is kept. */
void dcm_cells_normalize(const dcm_cells *c, uint8_t *p, uint64_t count);

/* Converts planes of `cells` cells of `size` bytes to interleaved pixels. */
void dcm_interleave(const uint8_t *src, uint64_t cells, unsigned samples, unsigned size,
                    uint8_t *out);
/* Converts 8-bit YBR_FULL_422, Y1 Y2 Cb Cr for two pixels (PS3.3 C.7.6.3.1.2), to
 * Y Cb Cr for each pixel. cells is even. */
void dcm_expand_422(const uint8_t *src, uint64_t cells, uint8_t *out);

/* Convert Y Cb Cr to R G B of `bits` bits, clamped: uint8_t up to 8 bits, else
 * uint16_t. */
void dcm_ybr_full(const uint8_t *src, unsigned size, uint64_t cells, unsigned bits,
                  uint8_t *out);
void dcm_ybr_ict(const uint8_t *src, unsigned size, uint64_t cells, unsigned bits,
                 uint8_t *out);
void dcm_ybr_rct(const uint8_t *src, unsigned size, uint64_t cells, unsigned bits,
                 uint8_t *out);

/* Converts 8-bit Y Cb Cr of video (ITU-R BT.601, BT.709, BT.2020) to R G B. kr, kb:
 * the parts of red and blue in Y, both above 0, together below 1. limited: 1 if Y is 16
 * to 235 and chroma 16 to 240, as YBR_PARTIAL_420 (PS3.3 C.7.6.3.1.2). out may be
 * src. */
void dcm_ybr_video(const uint8_t *src, uint64_t cells, double kr, double kb, int limited,
                   uint8_t *out);

/* Computes value * slope + intercept in double precision and stores it as float
 * (size 4) or double (size 8). */
void dcm_rescale(const dcm_cells *c, const uint8_t *src, uint64_t count, double slope,
                 double intercept, unsigned size, uint8_t *out);

/* VOI LUT Function (PS3.3 C.11.2.1.2 and C.11.2.1.3). */
typedef enum dcm_voi { DCM_VOI_LINEAR, DCM_VOI_LINEAR_EXACT, DCM_VOI_SIGMOID } dcm_voi;

/* How a prepared window is computed (see pixel.c). */
typedef enum dcm_window_method {
    DCM_WINDOW_FORMULA = 0, /* evaluate the formula for each value */
    DCM_WINDOW_BYTE_TABLE,  /* 8-bit cells: table of 256 entries */
    DCM_WINDOW_LINE,        /* 16-bit cells: a line in float arithmetic */
    DCM_WINDOW_WORD_TABLE   /* 16-bit cells: table of 65536 entries */
} dcm_window_method;

/* A window over stored values (PS3.3 C.11.2.1.2). The caller zeroes the struct
 * and sets the fields up to `width`. */
typedef struct dcm_window {
    dcm_cells cells;
    uint8_t function; /* dcm_voi */
    uint8_t invert;   /* 1: 255 minus the value */
    double slope, intercept, center, width;
    /* set by dcm_window_prepare */
    dcm_cells input;     /* cells as the loop reads them: `mask` clears unused bits */
    uint8_t method;      /* dcm_window_method */
    uint8_t output_xor;  /* 255 to invert the result, else 0 */
    uint16_t mask;       /* used bits of a 16-bit cell */
    uint16_t order_xor;  /* makes 16-bit cells ascend as the window rises */
    int16_t low, high;   /* LINE: input is clamped to this range */
    float scale, offset; /* LINE */
    uint8_t *word_table; /* owned */
    uint8_t byte_table[256];
} dcm_window;

/* DCM_OK, DCM_E_WINDOW or DCM_E_MEMORY. May be called again after the fields
 * were changed. */
int dcm_window_prepare(dcm_window *w, dcm_error *err);
void dcm_window_run(const dcm_window *w, const uint8_t *src, uint64_t count, uint8_t *out);
void dcm_window_free(dcm_window *w);

/* Maps integers of up to 4 bytes through a table of n_entries > 0 entries of
 * `size` bytes; the first entry is for the value `first`. Values outside of the
 * table get its first or last entry. */
void dcm_lut(const dcm_cells *c, const uint8_t *src, uint64_t count, const uint8_t *table,
             uint64_t n_entries, int64_t first, unsigned size, uint8_t *out);
/* The same with three tables, to interleaved pixels. size: 1 or 2. */
void dcm_palette(const dcm_cells *c, const uint8_t *src, uint64_t count, const uint8_t *red,
                 const uint8_t *green, const uint8_t *blue, uint64_t n_entries, int64_t first,
                 unsigned size, uint8_t *out);

/* -------------------------------------------------------------- rle.c --- */

/* Decodes one frame of RLE Lossless (PS3.5 G): n bytes at p, to little endian
 * cells c at out, which holds cells * samples of them: pixel by pixel, or plane
 * by plane if planar. Unused bits are cleared and the sign is extended. DCM_OK or
 * DCM_E_RLE_...; the error's offset is relative to p. */
int dcm_rle_decode(const dcm_cells *c, const uint8_t *p, uint64_t n, uint64_t cells,
                   unsigned samples, int planar, uint8_t *out, dcm_error *err);

/* ------------------------------------------------------- codestream.c --- */

typedef enum dcm_codestream_kind {
    DCM_CODESTREAM_JPEG = 1,
    DCM_CODESTREAM_JPEGLS,
    DCM_CODESTREAM_JPEG2000,
    DCM_CODESTREAM_JPEGXL
} dcm_codestream_kind;

/* What the decoded components of a codestream are. */
typedef enum dcm_color {
    DCM_COLOR_UNSTATED, /* it does not say */
    DCM_COLOR_RGB,      /* after the codec has inverted the codestream's own transform */
    DCM_COLOR_YBR       /* Y Cb Cr of full range */
} dcm_color;

/* The header of one compressed frame. */
typedef struct dcm_codestream {
    uint32_t rows, columns, components;
    uint8_t kind;            /* dcm_codestream_kind */
    uint8_t process;         /* JPEG: n of the marker SOFn */
    uint8_t precision;       /* bits per sample */
    uint8_t is_signed;       /* JPEG 2000 */
    uint8_t reversible;      /* lossless; JPEG XL: not known to be lossy */
    uint8_t high_throughput; /* JPEG 2000: HT code blocks */
    uint8_t planar;          /* JPEG-LS: one scan per component */
    uint8_t complete;        /* an end marker was found (not JPEG XL) */
    uint8_t color;           /* dcm_color, of three components */
    uint8_t subsampled;      /* JPEG: components differ in their sampling factors */
    uint32_t scans;          /* JPEG, JPEG-LS: number of scans */
    uint64_t min_length;     /* JPEG 2000: least bytes that its tiles and packets need */
} dcm_codestream;

/* DCM_OK, or DCM_NOT_FOUND if the bytes do not begin with a complete header of a
 * JPEG, JPEG-LS, JPEG 2000 or JPEG XL image whose components have one type and one
 * size, as those of a frame. In JP2 and JPEG XL files the first codestream is
 * read. */
int dcm_codestream_read(const uint8_t *data, uint64_t length, dcm_codestream *out);

#endif
