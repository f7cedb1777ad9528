/* pixel.c: loops over the cells of native pixel data (PS3.5 8, PS3.3 C.7.6.3,
 * C.11.1, C.11.2).
 *
 * The loops are written so that compilers vectorize them: one simple loop for each
 * type of cell. Cells in the other byte order, or with unused bits, are converted
 * a block at a time, which stays in the cache. */
#include "dcm_pixel.h"

#include "dcm_base.h"
#include "dcm_endian.h"

#include <math.h>
#include <string.h>
#if defined(__SSE2__) || defined(_M_X64)
#include <emmintrin.h>
#define SSE2 1
#endif

/* No fused multiply-add: it rounds once instead of twice, and results would depend
 * on the machine. (gcc does not fuse under -std=c11.) */
#if defined(_MSC_VER) && !defined(__clang__)
#pragma fp_contract(off)
#elif defined(__clang__)
#pragma STDC FP_CONTRACT OFF
#endif

#define BLOCK 2048u /* cells */

/* ------------------------------------------------------------- layout --- */

int dcm_cells_valid(const dcm_cells *c) {
    if (c->size != 1 && c->size != 2 && c->size != 4 && c->size != 8) return 0;
    if (c->kind > DCM_CELL_FLOAT || c->big > 1) return 0;
    if (c->kind == DCM_CELL_FLOAT) return c->size >= 4 && !c->bits_stored;
    return !c->bits_stored || (c->high_bit < 8 * c->size && c->bits_stored <= c->high_bit + 1);
}

/* Expands the bits of a byte, lowest first, to eight bytes of 0 and 1. */
static void expand_bits(uint8_t byte, uint8_t *out) {
    uint64_t v = byte * 0x0101010101010101u & 0x8040201008040201u;
    v = (v + 0x7f7f7f7f7f7f7f7fu) >> 7 & 0x0101010101010101u;
    if (DCM_HOST_BIG) v = dcm_swap64(v);
    memcpy(out, &v, 8);
}

void dcm_unpack_bits(const uint8_t *src, uint64_t start, uint64_t count, uint8_t *out) {
    uint64_t i = 0;
    src += start / 8;
    for (unsigned bit = start % 8; i < count && bit && bit < 8; bit++) {
        out[i++] = *src >> bit & 1;
        if (bit == 7) src++;
    }
    for (; i + 8 <= count; i += 8) expand_bits(*src++, out + i);
    for (unsigned bit = 0; i < count; bit++) out[i++] = *src >> bit & 1;
}

void dcm_unpack_12(const uint8_t *src, uint64_t count, void *out) {
    uint8_t *to = out;
    for (uint64_t i = 0; i < count; i++) {
        const uint8_t *p = src + i / 2 * 3 + i % 2;
        uint16_t v = (uint16_t)(i % 2 ? p[0] >> 4 | p[1] << 4 : p[0] | (p[1] & 15) << 8);
        memcpy(to + 2 * i, &v, 2);
    }
}

#define SWAP(bits)                                           \
    for (uint64_t i = 0; i + bits / 8 <= n; i += bits / 8) { \
        uint##bits##_t v;                                    \
        memcpy(&v, p + i, sizeof v);                         \
        v = dcm_swap##bits(v);                               \
        memcpy(p + i, &v, sizeof v);                         \
    }

void dcm_swap_units(uint8_t *p, uint64_t n, int unit) {
    if (unit == 2)
        SWAP(16)
    else if (unit == 4)
        SWAP(32)
    else if (unit == 8)
        SWAP(64)
}

#define dcm_swap8(v) (v)

/* One loop of dcm_cells_native: the left shift removes the bits above the value,
 * the right shift those below it; for signed cells it extends the sign. */
#define NATIVE(bits, load, shifted)                                               \
    for (uint64_t i = 0; i < count; i++) {                                        \
        uint##bits##_t v;                                                         \
        memcpy(&v, src + i * sizeof v, sizeof v);                                 \
        v = (uint##bits##_t)((shifted)((uint##bits##_t)(load(v) << up)) >> down); \
        memcpy(out + i * sizeof v, &v, sizeof v);                                 \
    }
#define SAME(v) (v)
#define NATIVES(bits)                                    \
    if (c->kind == DCM_CELL_SIGNED) {                    \
        if (swap)                                        \
            NATIVE(bits, dcm_swap##bits, int##bits##_t)  \
        else                                             \
            NATIVE(bits, SAME, int##bits##_t)            \
    } else {                                             \
        if (swap)                                        \
            NATIVE(bits, dcm_swap##bits, uint##bits##_t) \
        else                                             \
            NATIVE(bits, SAME, uint##bits##_t)           \
    }

static int is_swapped(const dcm_cells *c) {
    return c->size > 1 && c->big != DCM_HOST_BIG;
}

static int is_native(const dcm_cells *c) {
    return !is_swapped(c) && (!c->bits_stored || c->bits_stored == 8 * c->size);
}

static void native(const dcm_cells *c, const uint8_t *restrict src, uint64_t count,
                   uint8_t *restrict out) {
    const int swap = is_swapped(c), width = 8 * c->size;
    const int up = c->bits_stored ? width - 1 - c->high_bit : 0;
    const int down = c->bits_stored ? width - c->bits_stored : 0;
    if (c->size == 1)
        NATIVES(8)
    else if (c->size == 2)
        NATIVES(16)
    else if (c->size == 4)
        NATIVES(32)
    else
        NATIVES(64) /* NOLINT(clang-analyzer-core.BitwiseShift): high_bit is in the cell */
}

void dcm_cells_native(const dcm_cells *c, const uint8_t *src, uint64_t count, uint8_t *out) {
    if (is_native(c))
        memcpy(out, src, (size_t)count * c->size);
    else
        native(c, src, count, out);
}

/* Cells in the machine's byte order whose value begins at bit 0. Usually no unused
 * bit is set: this is checked first, without a store. */
#define CLEAR_UNUSED(bits)                                                                 \
    do {                                                                                   \
        const uint##bits##_t mask = (uint##bits##_t)(UINT64_MAX >> (64 - c->bits_stored)); \
        const uint##bits##_t sign = (uint##bits##_t)(                                      \
            c->kind == DCM_CELL_SIGNED ? (uint64_t)1 << (c->bits_stored - 1) : 0);         \
        uint##bits##_t differs = 0;                                                        \
        for (uint64_t i = 0; i < n; i++) {                                                 \
            uint##bits##_t v;                                                              \
            memcpy(&v, p + i * sizeof v, sizeof v);                                        \
            differs |= v ^ (uint##bits##_t)(((v & mask) ^ sign) - sign);                   \
        }                                                                                  \
        for (uint64_t i = 0; differs && i < n; i++) {                                      \
            uint##bits##_t v;                                                              \
            memcpy(&v, p + i * sizeof v, sizeof v);                                        \
            v = (uint##bits##_t)(((v & mask) ^ sign) - sign);                              \
            memcpy(p + i * sizeof v, &v, sizeof v);                                        \
        }                                                                                  \
    } while (0)

static void clear_unused(const dcm_cells *c, uint8_t *p, uint64_t n) {
    if (c->size == 1)
        CLEAR_UNUSED(8);
    else if (c->size == 2)
        CLEAR_UNUSED(16);
    else if (c->size == 4)
        CLEAR_UNUSED(32);
    else
        CLEAR_UNUSED(64);
}

/* In blocks, so that unchanged pages of a mapping stay shared with the file. */
void dcm_cells_normalize(const dcm_cells *c, uint8_t *p, uint64_t count) {
    uint8_t block[BLOCK * 8];
    if (is_native(c)) return;
    while (count) {
        const uint64_t n = count < BLOCK ? count : BLOCK, bytes = n * c->size;
        if (!is_swapped(c) && c->bits_stored == c->high_bit + 1) {
            clear_unused(c, p, n);
        } else {
            native(c, p, n, block);
            if (is_swapped(c)) dcm_swap_units(block, bytes, c->size);
            if (memcmp(p, block, (size_t)bytes) != 0) memcpy(p, block, (size_t)bytes);
        }
        p += bytes;
        count -= n;
    }
}

/* Runs `body` for blocks of cells: n cells in the machine's byte order at p, after
 * `at` other cells. */
#define BLOCKS(body)                                                     \
    do {                                                                 \
        uint8_t block[BLOCK * 8];                                        \
        const int as_is = is_native(c);                                  \
        for (uint64_t at = 0, n; at < count; at += n) {                  \
            const uint8_t *p = src + at * c->size;                       \
            n = as_is ? count : count - at < BLOCK ? count - at : BLOCK; \
            if (!as_is) {                                                \
                native(c, p, n, block);                                  \
                p = block;                                               \
            }                                                            \
            body;                                                        \
        }                                                                \
    } while (0)

/* Runs loop(type) for the type of c's cells: integers of up to 4 bytes, or all. */
#define FOR_INTEGERS(loop)                                \
    do {                                                  \
        const int is_signed = c->kind == DCM_CELL_SIGNED; \
        if (c->size == 1 && is_signed) {                  \
            loop(int8_t)                                  \
        } else if (c->size == 1) {                        \
            loop(uint8_t)                                 \
        } else if (c->size == 2 && is_signed) {           \
            loop(int16_t)                                 \
        } else if (c->size == 2) {                        \
            loop(uint16_t)                                \
        } else if (is_signed) {                           \
            loop(int32_t)                                 \
        } else {                                          \
            loop(uint32_t)                                \
        }                                                 \
    } while (0)
#define FOR_TYPES(loop)                                          \
    do {                                                         \
        if (c->kind == DCM_CELL_FLOAT && c->size == 4) {         \
            loop(float)                                          \
        } else if (c->kind == DCM_CELL_FLOAT) {                  \
            loop(double)                                         \
        } else if (c->size == 8 && c->kind == DCM_CELL_SIGNED) { \
            loop(int64_t)                                        \
        } else if (c->size == 8) {                               \
            loop(uint64_t)                                       \
        } else {                                                 \
            FOR_INTEGERS(loop);                                  \
        }                                                        \
    } while (0)

/* -------------------------------------------------------------- color --- */

#define INTERLEAVE(size)                     \
    for (unsigned s = 0; s < samples; s++)   \
        for (uint64_t i = 0; i < cells; i++) \
            memcpy(out + (i * samples + s) * size, src + (s * cells + i) * size, size);

void dcm_interleave(const uint8_t *restrict src, uint64_t cells, unsigned samples,
                    unsigned size, uint8_t *restrict out) {
    if (size == 1 && samples == 3) { /* the most common case */
        const uint8_t *g = src + cells, *b = g + cells;
        for (uint64_t i = 0; i < cells; i++) {
            out[3 * i] = src[i];
            out[3 * i + 1] = g[i];
            out[3 * i + 2] = b[i];
        }
    } else if (size == 1)
        INTERLEAVE(1)
    else if (size == 2)
        INTERLEAVE(2)
    else if (size == 4)
        INTERLEAVE(4)
    else
        INTERLEAVE(8)
}

void dcm_expand_422(const uint8_t *restrict src, uint64_t cells, uint8_t *restrict out) {
    for (uint64_t i = 0; i < cells / 2; i++) {
        out[6 * i] = src[4 * i];
        out[6 * i + 3] = src[4 * i + 1];
        out[6 * i + 1] = out[6 * i + 4] = src[4 * i + 2];
        out[6 * i + 2] = out[6 * i + 5] = src[4 * i + 3];
    }
}

/* floor(v + 0.5), clamped to 0 ... max. */
static uint16_t rounded(double v, double max) {
    v += 0.5;
    return (uint16_t)(v < 0 ? 0 : v > max ? max : v);
}

static void put(uint8_t *out, uint64_t i, unsigned bits, uint16_t value) {
    if (bits <= 8)
        out[i] = (uint8_t)value;
    else
        memcpy(out + 2 * i, &value, 2);
}

/* R = Y + 1.402 Cr, G = Y - 0.344 Cb - 0.714 Cr, B = Y + 1.772 Cb: the inverse of
 * PS3.3 C.7.6.3.1.2, as in ISO/IEC 10918-5 7. */
#define CR_R 1.402
#define CB_B 1.772
#define CB_G (0.114 * 1.772 / 0.587)
#define CR_G (0.299 * 1.402 / 0.587)

static void to_rgb(double y, double cb, double cr, unsigned bits, uint64_t i, uint8_t *out) {
    const double max = (double)((1u << bits) - 1);
    put(out, 3 * i, bits, rounded(y + CR_R * cr, max));
    put(out, 3 * i + 1, bits, rounded(y - CB_G * cb - CR_G * cr, max));
    put(out, 3 * i + 2, bits, rounded(y + CB_B * cb, max));
}

/* 8-bit cells: Y is an integer, so what chroma adds can be rounded separately and
 * read from tables; for green, a sum of two, the tables have 20 fractional bits. */
static void ybr_full_8(const uint8_t *src, uint64_t cells, uint8_t *out) {
    enum { BELOW = 384 }; /* sums reach from -227 to 482 */
    int16_t red[256], blue[256];
    int32_t green_b[256], green_r[256];
    uint8_t clamped[BELOW + 512];
    for (int i = 0; i < BELOW + 512; i++)
        clamped[i] = (uint8_t)(i < BELOW ? 0 : i > BELOW + 255 ? 255 : i - BELOW);
    for (int i = 0; i < 256; i++) {
        red[i] = (int16_t)floor(CR_R * (i - 128) + 0.5);
        blue[i] = (int16_t)floor(CB_B * (i - 128) + 0.5);
        green_b[i] = (int32_t)floor(-CB_G * (i - 128) * (1 << 20) + 0.5);
        green_r[i] = (int32_t)floor((-CR_G * (i - 128) + 256.5) * (1 << 20) + 0.5);
    }
    for (uint64_t i = 0; i < 3 * cells; i += 3) {
        const int y = src[i], cb = src[i + 1], cr = src[i + 2];
        out[i] = clamped[BELOW + y + red[cr]];
        out[i + 1] = clamped[BELOW + y + ((green_b[cb] + green_r[cr]) >> 20) - 256];
        out[i + 2] = clamped[BELOW + y + blue[cb]];
    }
}

void dcm_ybr_full(const uint8_t *src, unsigned size, uint64_t cells, unsigned bits,
                  uint8_t *out) {
    if (size == 1 && bits == 8) {
        ybr_full_8(src, cells, out);
        return;
    }
    const double middle = (double)(1u << (bits - 1));
    for (uint64_t i = 0; i < cells; i++) {
        uint16_t v[3];
        if (size == 1)
            for (int k = 0; k < 3; k++) v[k] = src[3 * i + (unsigned)k];
        else
            memcpy(v, src + 6 * i, 6);
        to_rgb(v[0], v[1] - middle, v[2] - middle, bits, i, out);
    }
}

/* Video: any matrix, given by the parts of red and blue in Y (kr, kb), and full or
 * limited range: Y from 16 to 235, chroma from 16 to 240. Tables have 20 fractional
 * bits. */
void dcm_ybr_video(const uint8_t *src, uint64_t cells, double kr, double kb, int limited,
                   uint8_t *out) {
    const double one = 1 << 20, kg = 1 - kr - kb;
    const double light = limited ? 255.0 / 219 : 1, chroma = limited ? 255.0 / 224 : 1;
    int32_t y[256], red[256], blue[256], green_b[256], green_r[256];
    for (int i = 0; i < 256; i++) {
        const double c = chroma * (i - 128);
        y[i] = (int32_t)floor((light * (i - (limited ? 16 : 0)) + 0.5) * one + 0.5);
        red[i] = (int32_t)floor(2 * (1 - kr) * c * one + 0.5);
        blue[i] = (int32_t)floor(2 * (1 - kb) * c * one + 0.5);
        green_b[i] = (int32_t)floor(2 * kb * (1 - kb) / kg * c * one + 0.5);
        green_r[i] = (int32_t)floor(2 * kr * (1 - kr) / kg * c * one + 0.5);
    }
    for (uint64_t i = 0; i < 3 * cells; i += 3) {
        const uint8_t cb = src[i + 1], cr = src[i + 2];
        const int32_t light_part = y[src[i]];
        const int32_t rgb[3] = {light_part + red[cr], light_part - green_b[cb] - green_r[cr],
                                light_part + blue[cb]};
        for (int k = 0; k < 3; k++)
            out[i + (unsigned)k] = (uint8_t)(rgb[k] < 0           ? 0
                                             : rgb[k] >> 20 > 255 ? 255
                                                                  : rgb[k] >> 20);
    }
}

static void load_signed(const uint8_t *src, unsigned size, uint64_t i, int32_t v[3]) {
    if (size == 2) {
        int16_t narrow[3];
        memcpy(narrow, src + 6 * i, 6);
        for (int k = 0; k < 3; k++) v[k] = narrow[k];
    } else {
        memcpy(v, src + 12 * i, 12);
    }
}

/* The irreversible transform of JPEG 2000: the same matrix, with signed chroma. */
void dcm_ybr_ict(const uint8_t *src, unsigned size, uint64_t cells, unsigned bits,
                 uint8_t *out) {
    int32_t v[3];
    for (uint64_t i = 0; i < cells; i++) {
        load_signed(src, size, i, v);
        to_rgb(v[0], v[1], v[2], bits, i, out);
    }
}

/* The reversible transform: G = Y - floor((Cb + Cr) / 4), R = Cr + G, B = Cb + G. */
void dcm_ybr_rct(const uint8_t *src, unsigned size, uint64_t cells, unsigned bits,
                 uint8_t *out) {
    const double max = (double)((1u << bits) - 1);
    int32_t v[3];
    for (uint64_t i = 0; i < cells; i++) {
        load_signed(src, size, i, v);
        const double g = v[0] - floor(((double)v[1] + v[2]) / 4);
        put(out, 3 * i, bits, rounded(v[2] + g, max));
        put(out, 3 * i + 1, bits, rounded(g, max));
        put(out, 3 * i + 2, bits, rounded(v[1] + g, max));
    }
}

/* ------------------------------------------------------------ rescale --- */

/* By `real` (float or double) arithmetic, to `wide`. */
#define RESCALE(type, real, wide)                                 \
    for (uint64_t i = 0; i < n; i++) {                            \
        type v;                                                   \
        memcpy(&v, p + i * sizeof v, sizeof v);                   \
        wide x = (wide)((real)v * (real)slope + (real)intercept); \
        memcpy(to + i * sizeof x, &x, sizeof x);                  \
    }
#define RESCALE_DOUBLE(type) RESCALE(type, double, double)
#define RESCALE_SINGLE(type) RESCALE(type, double, float)
#define RESCALE_EXACT(type)  RESCALE(type, float, float)

/* With integers below 2^24 in all steps float arithmetic is exact, so that double
 * precision would give the same result. */
static int is_exact(const dcm_cells *c, double slope, double intercept) {
    return c->size <= 2 && c->kind != DCM_CELL_FLOAT && slope == floor(slope) &&
           intercept == floor(intercept) && fabs(slope) * 65536 + fabs(intercept) < 16777216;
}

static void rescale_block(const dcm_cells *c, const uint8_t *restrict p, uint64_t n,
                          double slope, double intercept, unsigned size, uint8_t *restrict to) {
    if (size == 8) {
        FOR_TYPES(RESCALE_DOUBLE);
    } else if (is_exact(c, slope, intercept)) {
        FOR_INTEGERS(RESCALE_EXACT);
    } else {
        FOR_TYPES(RESCALE_SINGLE);
    }
}

void dcm_rescale(const dcm_cells *c, const uint8_t *src, uint64_t count, double slope,
                 double intercept, unsigned size, uint8_t *out) {
    BLOCKS(rescale_block(c, p, n, slope, intercept, size, out + at * size));
}

/* ------------------------------------------------------------- window --- */

/* Every result equals formula(). That is monotonic in the stored value and has 256
 * different results, so it is determined by the stored values at which the result
 * changes ("steps"), and any function with the same steps is equal to it. 16-bit
 * cells are computed by a line in float arithmetic that was checked at each step,
 * or else by a table. */

static double formula(const dcm_window *w, double stored) {
    const double x = stored * w->slope + w->intercept, c = w->center, width = w->width;
    if (w->function == DCM_VOI_SIGMOID) /* PS3.3 C.11.2.1.3.1 */
        return 255 / (1 + exp(-4 * (x - c) / width));
    if (w->function == DCM_VOI_LINEAR_EXACT) { /* PS3.3 C.11.2.1.3.2 */
        if (x <= c - width / 2) return 0;
        if (x > c + width / 2) return 255;
        return ((x - c) / width + 0.5) * 255;
    }
    /* PS3.3 C.11.2.1.2.1 */
    if (x <= c - 0.5 - (width - 1) / 2) return 0;
    if (x > c - 0.5 + (width - 1) / 2) return 255;
    return ((x - (c - 0.5)) / (width - 1) + 0.5) * 255;
}

static unsigned level(const dcm_window *w, double stored) {
    const double y = formula(w, stored) + 0.5;
    return y >= 255 ? 255 : y > 0 ? (unsigned)y : 0; /* NaN: 0 */
}

/* The result for the u-th 16-bit cell, 0 ... w->mask, in the order in which the
 * window rises. */
static unsigned rising(const dcm_window *w, uint32_t u) {
    if (w->slope < 0) u = w->mask - u;
    const int lowest = w->cells.kind == DCM_CELL_SIGNED ? -(w->mask / 2 + 1) : 0;
    return level(w, (double)u + lowest);
}

/* About where formula() reaches k - 0.5. */
static uint32_t guess(const dcm_window *w, unsigned k, uint32_t from) {
    double part = (k - 0.5) / 255, x;
    if (w->function == DCM_VOI_SIGMOID)
        x = w->center - w->width / 4 * log(1 / part - 1);
    else if (w->function == DCM_VOI_LINEAR_EXACT)
        x = w->center + w->width * (part - 0.5);
    else
        x = w->center - 0.5 + (w->width - 1) * (part - 0.5);
    x = (x - w->intercept) / w->slope;
    const int lowest = w->cells.kind == DCM_CELL_SIGNED ? -(w->mask / 2 + 1) : 0;
    x -= lowest;
    if (w->slope < 0) x = w->mask - x;
    return x > from ? x < w->mask ? (uint32_t)x : w->mask + 1u : from;
}

/* The first u from `from` on whose result is k or more; mask + 1 if there is none. */
static uint32_t step_to(const dcm_window *w, unsigned k, uint32_t from) {
    const uint32_t end = w->mask + 1u;
    uint32_t low = guess(w, k, from), high = low, stride = 1;
    /* the step is at `low` or after it, and at `high` or before it */
    while (high < end && rising(w, high) < k) {
        low = high + 1;
        high = end - high > stride ? high + stride : end;
        stride *= 2;
    }
    stride = 1;
    if (low == high) /* the guess was not too low: search below it */
        while (low > from && rising(w, low - 1) >= k) {
            high = low - 1;
            low = low - from > stride ? low - stride : from;
            stride *= 2;
        }
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (rising(w, middle) >= k)
            high = middle;
        else
            low = middle + 1;
    }
    return high;
}

#ifdef SSE2
/* Eight values of window_line; packing clamps. Compilers do not find this: their
 * loop takes 1.5 times as long. */
static __m128i line_8(__m128i x, __m128 scale, __m128 offset) {
    const __m128i zero = _mm_setzero_si128();
    __m128i a = _mm_unpacklo_epi16(x, zero), b = _mm_unpackhi_epi16(x, zero);
    a = _mm_cvttps_epi32(_mm_add_ps(_mm_mul_ps(_mm_cvtepi32_ps(a), scale), offset));
    b = _mm_cvttps_epi32(_mm_add_ps(_mm_mul_ps(_mm_cvtepi32_ps(b), scale), offset));
    return _mm_packs_epi32(a, b);
}

/* Computes sixteen values at a time; returns the number of values computed. */
static uint64_t window_line_16(const dcm_window *w, const uint8_t *restrict src, uint64_t n,
                               uint8_t *restrict out) {
    const __m128i mask = _mm_set1_epi16((short)w->mask),
                  order_xor = _mm_set1_epi16((short)w->order_xor);
    const __m128i low = _mm_set1_epi16(w->low), high = _mm_set1_epi16(w->high);
    const __m128i output_xor = _mm_set1_epi8((char)w->output_xor);
    const __m128 scale = _mm_set1_ps(w->scale), offset = _mm_set1_ps(w->offset);
    uint64_t i = 0;
    for (; n - i >= 16; i += 16) {
        __m128i x[2];
        for (int k = 0; k < 2; k++) {
            x[k] =
                _mm_loadu_si128((const __m128i *)(const void *)(src + 2 * i + 16 * (size_t)k));
            x[k] = _mm_xor_si128(_mm_and_si128(x[k], mask), order_xor);
            x[k] = _mm_min_epi16(_mm_max_epi16(x[k], low), high);
            x[k] = line_8(_mm_sub_epi16(x[k], low), scale, offset);
        }
        _mm_storeu_si128((__m128i *)(void *)(out + i),
                         _mm_xor_si128(_mm_packus_epi16(x[0], x[1]), output_xor));
    }
    return i;
}
#endif

static void window_line(const dcm_window *w, const uint8_t *restrict src, uint64_t n,
                        uint8_t *restrict out) {
    const uint16_t mask = w->mask, order_xor = w->order_xor;
    const int16_t low = w->low, high = w->high;
    const float scale = w->scale, offset = w->offset;
    const uint8_t output_xor = w->output_xor;
    uint64_t i = 0;
#ifdef SSE2
    i = window_line_16(w, src, n, out);
#endif
    for (; i < n; i++) {
        uint16_t raw;
        memcpy(&raw, src + 2 * i, 2);
        int16_t x = (int16_t)((raw & mask) ^ order_xor);
        x = x < low ? low : x;
        x = x > high ? high : x;
        int16_t y = (int16_t)((float)(uint16_t)(x - low) * scale + offset);
        y = y < 255 ? y : 255;
        y = y > 0 ? y : 0;
        out[i] = (uint8_t)((uint8_t)y ^ output_xor);
    }
}

/* Sets the line, and checks that it has the steps of the formula: steps[1 ... 255]. */
static int fit_line(dcm_window *w, const uint32_t *steps) {
    const uint32_t low = steps[1] ? steps[1] - 1 : 0;
    const uint32_t high = steps[255] < w->mask ? steps[255] : w->mask;
    const double width = w->function == DCM_VOI_LINEAR ? w->width - 1 : w->width;
    const double scale = (float)(255 * fabs(w->slope) / width);
    /* within int16_t in all steps; NaN of 0/0 fails, too */
    if (!(scale * (high - low) < 16000)) return 0;
    double min = -16000, max = 16000;
    for (unsigned k = 1; k < 256; k++) {
        double at = (double)steps[k] - low;
        if (steps[k] <= high && k - scale * at > min) min = k - scale * at;
        if (steps[k] > low && k - scale * (at - 1) < max) max = k - scale * (at - 1);
    }
    w->low = (int16_t)((int32_t)low - 32768);
    w->high = (int16_t)((int32_t)high - 32768);
    w->scale = (float)scale;
    w->offset = (float)((min + max) / 2);
    uint16_t tests[512];
    uint8_t results[512], expected[512];
    unsigned n = 0;
    for (unsigned k = 1; k < 256; k++)
        for (uint32_t u = steps[k] ? steps[k] - 1 : 0; u <= steps[k] && u <= w->mask; u++) {
            tests[n] = (uint16_t)(u ^ 0x8000u ^ w->order_xor); /* masked bits do not matter */
            expected[n++] = (uint8_t)(rising(w, u) ^ w->output_xor);
        }
    window_line(w, (const uint8_t *)tests, n, results);
    return !memcmp(results, expected, n);
}

static int prepare_16(dcm_window *w, dcm_error *err) {
    dcm_cells *c = &w->cells;
    uint32_t steps[257];
    w->mask = (uint16_t)(c->bits_stored ? (1u << c->bits_stored) - 1 : 0xffffu);
    steps[0] = 0;
    for (unsigned k = 1; k < 256; k++) steps[k] = step_to(w, k, steps[k - 1]);
    steps[256] = w->mask + 1u;
    /* from a cell to u, and from u to its order as int16_t */
    w->order_xor = (uint16_t)((c->kind == DCM_CELL_SIGNED ? w->mask / 2 + 1u : 0) ^
                              (w->slope < 0 ? w->mask : 0) ^ 0x8000u);
    /* the mask clears unused bits above the value */
    w->input = *c;
    if (c->bits_stored == c->high_bit + 1) w->input.bits_stored = 0;
    if (w->function != DCM_VOI_SIGMOID && fit_line(w, steps)) {
        w->method = DCM_WINDOW_LINE;
        return DCM_OK;
    }
    if (!w->word_table && !(w->word_table = dcm_alloc(65536)))
        return dcm_fail(err, DCM_E_MEMORY, 0, 0);
    w->order_xor ^= 0x8000u;
    for (unsigned k = 0; k < 256; k++)
        memset(w->word_table + steps[k], (int)k ^ w->output_xor, steps[k + 1] - steps[k]);
    w->method = DCM_WINDOW_WORD_TABLE;
    return DCM_OK;
}

int dcm_window_prepare(dcm_window *w, dcm_error *err) {
    const dcm_cells *c = &w->cells;
    w->input = *c;
    const double min_width = w->function == DCM_VOI_LINEAR ? 1 : 0;
    /* PS3.3 C.11.2.1.2 requires a width of at least 1, C.11.2.1.3 above 0 */
    if (!isfinite(w->center) || !isfinite(w->width) || !isfinite(w->slope) ||
        !isfinite(w->intercept) || w->function > DCM_VOI_SIGMOID || w->width < min_width ||
        w->width == 0)
        return dcm_fail(err, DCM_E_WINDOW, 0, 0);
    w->output_xor = w->invert ? 255 : 0;
    w->method = DCM_WINDOW_FORMULA;
    if (c->kind == DCM_CELL_FLOAT || c->size > 2) return DCM_OK;
    if (c->size == 2) return prepare_16(w, err);
    for (int i = 0; i < 256; i++)
        w->byte_table[i] =
            (uint8_t)(level(w, c->kind == DCM_CELL_SIGNED ? (int8_t)i : i) ^ w->output_xor);
    w->method = DCM_WINDOW_BYTE_TABLE;
    return DCM_OK;
}

#define FORMULA(type)                                            \
    for (uint64_t i = 0; i < n; i++) {                           \
        type v;                                                  \
        memcpy(&v, p + i * sizeof v, sizeof v);                  \
        out[i] = (uint8_t)(level(w, (double)v) ^ w->output_xor); \
    }

static void window_block(const dcm_window *w, const uint8_t *restrict p, uint64_t n,
                         uint8_t *restrict out) {
    const dcm_cells *c = &w->cells;
    if (w->method == DCM_WINDOW_LINE) {
        window_line(w, p, n, out);
    } else if (w->method == DCM_WINDOW_WORD_TABLE) {
        const uint8_t *restrict table = w->word_table;
        const uint16_t mask = w->mask, order_xor = w->order_xor;
        for (uint64_t i = 0; i < n; i++) {
            uint16_t raw;
            memcpy(&raw, p + 2 * i, 2);
            out[i] = table[(raw & mask) ^ order_xor];
        }
    } else if (w->method == DCM_WINDOW_BYTE_TABLE) {
        for (uint64_t i = 0; i < n; i++) out[i] = w->byte_table[p[i]];
    } else {
        FOR_TYPES(FORMULA);
    }
}

void dcm_window_run(const dcm_window *w, const uint8_t *src, uint64_t count, uint8_t *out) {
    const dcm_cells *c = &w->input;
    BLOCKS(window_block(w, p, n, out + at));
}

void dcm_window_free(dcm_window *w) {
    dcm_free(w->word_table);
    memset(w, 0, sizeof *w);
}

/* ------------------------------------------------------------- tables --- */

/* Finds the table entry of each of n values; values outside of the table get its
 * first or last entry. */
#define FIND_ENTRIES(type)                                                        \
    for (uint64_t i = 0; i < n; i++) {                                            \
        type v;                                                                   \
        memcpy(&v, p + i * sizeof v, sizeof v);                                   \
        entries[i] = v <= first                  ? 0                              \
                     : (int64_t)v - first < last ? (uint32_t)((int64_t)v - first) \
                                                 : (uint32_t)last;                \
    }

static void find_entries(const dcm_cells *c, const uint8_t *restrict p, uint64_t n,
                         int64_t first, int64_t last, uint32_t *restrict entries) {
    FOR_INTEGERS(FIND_ENTRIES);
}

/* Copies entries of the table into every `step`th cell of out. */
#define COPY_ENTRIES(size)           \
    for (uint64_t i = 0; i < n; i++) \
        memcpy(out + i * step * size, table + (uint64_t)entries[i] * size, size);

static void copy_entries(const uint32_t *restrict entries, uint64_t n,
                         const uint8_t *restrict table, unsigned size, unsigned step,
                         uint8_t *restrict out) {
    if (size == 1)
        COPY_ENTRIES(1)
    else if (size == 2)
        COPY_ENTRIES(2)
    else if (size == 4)
        COPY_ENTRIES(4)
    else
        COPY_ENTRIES(8)
}

/* As BLOCKS, but always in blocks, because the entries need a buffer. */
#define FOR_ENTRIES(body)                                                        \
    do {                                                                         \
        uint8_t block[BLOCK * 4];                                                \
        uint32_t entries[BLOCK];                                                 \
        for (uint64_t at = 0, n; at < count; at += n) {                          \
            n = count - at < BLOCK ? count - at : BLOCK;                         \
            dcm_cells_native(c, src + at * c->size, n, block);                   \
            find_entries(c, block, n, first, (int64_t)(n_entries - 1), entries); \
            body;                                                                \
        }                                                                        \
    } while (0)

void dcm_lut(const dcm_cells *c, const uint8_t *src, uint64_t count, const uint8_t *table,
             uint64_t n_entries, int64_t first, unsigned size, uint8_t *out) {
    FOR_ENTRIES(copy_entries(entries, n, table, size, 1, out + at * size));
}

void dcm_palette(const dcm_cells *c, const uint8_t *src, uint64_t count, const uint8_t *red,
                 const uint8_t *green, const uint8_t *blue, uint64_t n_entries, int64_t first,
                 unsigned size, uint8_t *out) {
    FOR_ENTRIES({
        uint8_t *to = out + at * 3 * size;
        copy_entries(entries, n, red, size, 3, to);
        copy_entries(entries, n, green, size, 3, to + size);
        copy_entries(entries, n, blue, size, 3, to + 2 * (size_t)size);
    });
}
