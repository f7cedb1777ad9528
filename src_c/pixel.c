/* pixel.c: kernels over the cells of native pixel data (PS3.5 8, PS3.3 C.7.6.3,
 * C.11.1, C.11.2).
 *
 * Loops are written so that a compiler makes vectors of them: one simple loop
 * for each type of cell. Cells in the other byte order, or with unused bits,
 * are brought into shape a block at a time, which stays in the cache. */
#include "dcm.h"
#include "dcm_endian.h"

#include <math.h>
#if defined(__SSE2__) || defined(_M_X64)
#include <emmintrin.h>
#define SSE2 1
#endif

/* A product that is fused into its sum rounds once instead of twice: results
 * would depend on the machine. (gcc does not fuse under -std=c11.) */
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

/* The bits of a byte, the lowest first, to eight bytes of 0 and 1. */
static void spread(uint8_t byte, uint8_t *out) {
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
    for (; i + 8 <= count; i += 8) spread(*src++, out + i);
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

/* One loop of dcm_cells_native: unsigned shifts drop the bits above the value
 * and below it; a signed one keeps the sign. */
#define NATIVE(bits, load, down)                                              \
    for (uint64_t i = 0; i < count; i++) {                                    \
        uint##bits##_t v;                                                     \
        memcpy(&v, src + i * sizeof v, sizeof v);                             \
        v = (uint##bits##_t)((down)((uint##bits##_t)(load(v) << up)) >> low); \
        memcpy(out + i * sizeof v, &v, sizeof v);                             \
    }
#define SAME(v) (v)
#define NATIVES(bits)                                    \
    if (c->kind == DCM_CELL_SIGNED) {                    \
        if (turn)                                        \
            NATIVE(bits, dcm_swap##bits, int##bits##_t)  \
        else                                             \
            NATIVE(bits, SAME, int##bits##_t)            \
    } else {                                             \
        if (turn)                                        \
            NATIVE(bits, dcm_swap##bits, uint##bits##_t) \
        else                                             \
            NATIVE(bits, SAME, uint##bits##_t)           \
    }

static int is_turned(const dcm_cells *c) {
    return c->size > 1 && c->big != DCM_HOST_BIG;
}

static int is_native(const dcm_cells *c) {
    return !is_turned(c) && (!c->bits_stored || c->bits_stored == 8 * c->size);
}

static void native(const dcm_cells *c, const uint8_t *restrict src, uint64_t count,
                   uint8_t *restrict out) {
    const int turn = is_turned(c), width = 8 * c->size;
    const int up = c->bits_stored ? width - 1 - c->high_bit : 0;
    const int low = c->bits_stored ? width - c->bits_stored : 0;
    if (c->size == 1)
        NATIVES(8)
    else if (c->size == 2)
        NATIVES(16)
    else if (c->size == 4)
        NATIVES(32)
    else
        NATIVES(64)
}

void dcm_cells_native(const dcm_cells *c, const uint8_t *src, uint64_t count, uint8_t *out) {
    if (is_native(c))
        memcpy(out, src, (size_t)count * c->size);
    else
        native(c, src, count, out);
}

/* Cells in the machine's order whose value begins at bit 0: what differs from
 * it is found without a store, and mostly there is nothing. */
#define SETTLE(bits)                                                                       \
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

static void settle(const dcm_cells *c, uint8_t *p, uint64_t n) {
    if (c->size == 1)
        SETTLE(8);
    else if (c->size == 2)
        SETTLE(16);
    else if (c->size == 4)
        SETTLE(32);
    else
        SETTLE(64);
}

/* By blocks: pages of a mapping that need no change stay shared with the file's. */
void dcm_cells_normalize(const dcm_cells *c, uint8_t *p, uint64_t count) {
    uint8_t room[BLOCK * 8];
    if (is_native(c)) return;
    while (count) {
        const uint64_t n = count < BLOCK ? count : BLOCK, bytes = n * c->size;
        if (!is_turned(c) && c->bits_stored == c->high_bit + 1) {
            settle(c, p, n);
        } else {
            native(c, p, n, room);
            if (is_turned(c)) dcm_swap_units(room, bytes, c->size);
            if (memcmp(p, room, (size_t)bytes) != 0) memcpy(p, room, (size_t)bytes);
        }
        p += bytes;
        count -= n;
    }
}

/* Runs `body` over blocks of at most BLOCK cells: p, n cells in the machine's
 * order; `at` of them came before. */
#define BLOCKS(body)                                                     \
    do {                                                                 \
        uint8_t room[BLOCK * 8];                                         \
        const int plain = is_native(c);                                  \
        for (uint64_t at = 0, n; at < count; at += n) {                  \
            const uint8_t *p = src + at * c->size;                       \
            n = plain ? count : count - at < BLOCK ? count - at : BLOCK; \
            if (!plain) {                                                \
                native(c, p, n, room);                                   \
                p = room;                                                \
            }                                                            \
            body;                                                        \
        }                                                                \
    } while (0)

/* Calls `one`(type) for the type of c's cells. */
#define BY_INTEGER(one)                                                             \
    if (c->size == 1 && c->kind == DCM_CELL_UNSIGNED)                               \
    one(uint8_t) else if (c->size == 1)                                             \
        one(int8_t) else if (c->size == 2 && c->kind == DCM_CELL_UNSIGNED)          \
            one(uint16_t) else if (c->size == 2)                                    \
                one(int16_t) else if (c->size == 4 && c->kind == DCM_CELL_UNSIGNED) \
                    one(uint32_t) else if (c->size == 4) one(int32_t)
#define BY_TYPE(one)                                  \
    if (c->kind == DCM_CELL_FLOAT) {                  \
        if (c->size == 4) one(float) else one(double) \
    } else                                            \
        BY_INTEGER(one)                               \
    else if (c->kind == DCM_CELL_UNSIGNED) one(uint64_t) else one(int64_t)

/* ------------------------------------------------------------- colour --- */

#define INTERLEAVE(size)                     \
    for (unsigned s = 0; s < samples; s++)   \
        for (uint64_t i = 0; i < cells; i++) \
            memcpy(out + (i * samples + s) * size, src + (s * cells + i) * size, size);

void dcm_interleave(const uint8_t *restrict src, uint64_t cells, unsigned samples,
                    unsigned size, uint8_t *restrict out) {
    if (size == 1 && samples == 3) { /* what colour mostly is */
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

/* floor(v + 0.5), clamped to 0 ... most. */
static uint16_t rounded(double v, double most) {
    v += 0.5;
    return (uint16_t)(v < 0 ? 0 : v > most ? most : v);
}

static void put(uint8_t *out, uint64_t i, unsigned bits, uint16_t value) {
    if (bits <= 8)
        out[i] = (uint8_t)value;
    else
        memcpy(out + 2 * i, &value, 2);
}

/* R = Y + 1.402 Cr, G = Y - 0.344 Cb - 0.714 Cr, B = Y + 1.772 Cb, as the
 * inverse of PS3.3 C.7.6.3.1.2 and ISO/IEC 10918-5 7 have it. */
#define CR_R 1.402
#define CB_B 1.772
#define CB_G (0.114 * 1.772 / 0.587)
#define CR_G (0.299 * 1.402 / 0.587)

static void to_rgb(double y, double cb, double cr, unsigned bits, uint64_t i, uint8_t *out) {
    const double most = (double)((1u << bits) - 1);
    put(out, 3 * i, bits, rounded(y + CR_R * cr, most));
    put(out, 3 * i + 1, bits, rounded(y - CB_G * cb - CR_G * cr, most));
    put(out, 3 * i + 2, bits, rounded(y + CB_B * cb, most));
}

/* Bytes: Y is whole, so what chroma adds can be rounded apart from it, but for
 * green, which is a sum of two: kept in units of 2 to the power -20. */
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

static void load_signed(const uint8_t *src, unsigned size, uint64_t i, int32_t v[3]) {
    if (size == 2) {
        int16_t narrow[3];
        memcpy(narrow, src + 6 * i, 6);
        for (int k = 0; k < 3; k++) v[k] = narrow[k];
    } else {
        memcpy(v, src + 12 * i, 12);
    }
}

/* The irreversible transform of JPEG 2000: the same matrix, chroma around 0. */
void dcm_ybr_ict(const uint8_t *src, unsigned size, uint64_t cells, unsigned bits,
                 uint8_t *out) {
    int32_t v[3];
    for (uint64_t i = 0; i < cells; i++) {
        load_signed(src, size, i, v);
        to_rgb(v[0], v[1], v[2], bits, i, out);
    }
}

/* The reversible one: G = Y - floor((Cb + Cr) / 4), R = Cr + G, B = Cb + G. */
void dcm_ybr_rct(const uint8_t *src, unsigned size, uint64_t cells, unsigned bits,
                 uint8_t *out) {
    const double most = (double)((1u << bits) - 1);
    int32_t v[3];
    for (uint64_t i = 0; i < cells; i++) {
        load_signed(src, size, i, v);
        const double g = v[0] - floor(((double)v[1] + v[2]) / 4);
        put(out, 3 * i, bits, rounded(v[2] + g, most));
        put(out, 3 * i + 1, bits, rounded(g, most));
        put(out, 3 * i + 2, bits, rounded(v[1] + g, most));
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

/* Whole numbers that stay below 2 to the power 24 on the way: then float
 * arithmetic is exact, and no other result is possible. */
static int is_exact(const dcm_cells *c, double slope, double intercept) {
    return c->size <= 2 && c->kind != DCM_CELL_FLOAT && slope == floor(slope) &&
           intercept == floor(intercept) && fabs(slope) * 65536 + fabs(intercept) < 16777216;
}

static void rescale_block(const dcm_cells *c, const uint8_t *restrict p, uint64_t n,
                          double slope, double intercept, unsigned size, uint8_t *restrict to) {
    if (size == 8) {
        BY_TYPE(RESCALE_DOUBLE)
    } else if (is_exact(c, slope, intercept)) {
        BY_INTEGER(RESCALE_EXACT)
    } else {
        BY_TYPE(RESCALE_SINGLE)
    }
}

void dcm_rescale(const dcm_cells *c, const uint8_t *src, uint64_t count, double slope,
                 double intercept, unsigned size, uint8_t *out) {
    BLOCKS(rescale_block(c, p, n, slope, intercept, size, out + at * size));
}

/* ------------------------------------------------------------- window --- */

/* Each value is what formula() gives. It never falls (or never rises) with the
 * stored value, and takes 256 values: so it is known when it is known at which
 * stored values it steps, and whatever steps there as well is equal to it.
 * Cells of 16 bits are done by a line in float arithmetic that was checked at
 * each step, else by a table. */
enum { WAY_FORMULA, WAY_SMALL, WAY_LINE, WAY_TABLE };

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

/* 16-bit cells in the order in which the window rises: 0 ... w->mask. */
static unsigned rising(const dcm_window *w, uint32_t u) {
    if (w->slope < 0) u = w->mask - u;
    return level(w,
                 w->cells.kind == DCM_CELL_SIGNED ? (double)u - (w->mask / 2 + 1) : (double)u);
}

/* About where the formula passes k - 0.5. */
static uint32_t guess(const dcm_window *w, unsigned k, uint32_t from) {
    double part = (k - 0.5) / 255, x;
    if (w->function == DCM_VOI_SIGMOID)
        x = w->center - w->width / 4 * log(1 / part - 1);
    else if (w->function == DCM_VOI_LINEAR_EXACT)
        x = w->center + w->width * (part - 0.5);
    else
        x = w->center - 0.5 + (w->width - 1) * (part - 0.5);
    x = (x - w->intercept) / w->slope;
    if (w->cells.kind == DCM_CELL_SIGNED) x += w->mask / 2 + 1;
    if (w->slope < 0) x = w->mask - x;
    return x > from ? x < w->mask ? (uint32_t)x : w->mask + 1u : from;
}

/* The first u from `from` on whose level is k or more; mask + 1: there is none. */
static uint32_t step_to(const dcm_window *w, unsigned k, uint32_t from) {
    const uint32_t end = w->mask + 1u;
    uint32_t low = guess(w, k, from), high = low, stride = 1;
    /* the step is at `low` or behind, and at `high` or before */
    while (high < end && rising(w, high) < k) {
        low = high + 1;
        high = end - high > stride ? high + stride : end;
        stride *= 2;
    }
    stride = 1;
    if (low == high) /* the guess was not too low: go down */
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
/* The line of eight values, as window_line's own loop works it out; packing
 * clamps. Compilers do not find this: theirs takes half as long again. */
static __m128i line_8(__m128i x, __m128 scale, __m128 shift) {
    const __m128i zero = _mm_setzero_si128();
    __m128i a = _mm_unpacklo_epi16(x, zero), b = _mm_unpackhi_epi16(x, zero);
    a = _mm_cvttps_epi32(_mm_add_ps(_mm_mul_ps(_mm_cvtepi32_ps(a), scale), shift));
    b = _mm_cvttps_epi32(_mm_add_ps(_mm_mul_ps(_mm_cvtepi32_ps(b), scale), shift));
    return _mm_packs_epi32(a, b);
}

/* As many values as are done sixteen at a time. */
static uint64_t window_line_16(const dcm_window *w, const uint8_t *restrict src, uint64_t n,
                               uint8_t *restrict out) {
    const __m128i mask = _mm_set1_epi16((short)w->mask), turn = _mm_set1_epi16((short)w->turn);
    const __m128i low = _mm_set1_epi16(w->low), high = _mm_set1_epi16(w->high);
    const __m128i flip = _mm_set1_epi8((char)w->flip);
    const __m128 scale = _mm_set1_ps(w->scale), shift = _mm_set1_ps(w->shift);
    uint64_t i = 0;
    for (; n - i >= 16; i += 16) {
        __m128i x[2];
        for (int k = 0; k < 2; k++) {
            x[k] = _mm_loadu_si128((const __m128i *)(const void *)(src + 2 * i + 16 * k));
            x[k] = _mm_xor_si128(_mm_and_si128(x[k], mask), turn);
            x[k] = _mm_min_epi16(_mm_max_epi16(x[k], low), high);
            x[k] = line_8(_mm_sub_epi16(x[k], low), scale, shift);
        }
        _mm_storeu_si128((__m128i *)(void *)(out + i),
                         _mm_xor_si128(_mm_packus_epi16(x[0], x[1]), flip));
    }
    return i;
}
#endif

static void window_line(const dcm_window *w, const uint8_t *restrict src, uint64_t n,
                        uint8_t *restrict out) {
    const uint16_t mask = w->mask, turn = w->turn;
    const int16_t low = w->low, high = w->high;
    const float scale = w->scale, shift = w->shift;
    const uint8_t flip = w->flip;
    uint64_t i = 0;
#ifdef SSE2
    i = window_line_16(w, src, n, out);
#endif
    for (; i < n; i++) {
        uint16_t raw;
        memcpy(&raw, src + 2 * i, 2);
        int16_t x = (int16_t)((raw & mask) ^ turn);
        x = x < low ? low : x;
        x = x > high ? high : x;
        int16_t y = (int16_t)((float)(uint16_t)(x - low) * scale + shift);
        y = y < 255 ? y : 255;
        y = y > 0 ? y : 0;
        out[i] = (uint8_t)((uint8_t)y ^ flip);
    }
}

/* Whether a line steps where the formula does; steps[k] for 1 ... 255. */
static int fit_line(dcm_window *w, const uint32_t *steps) {
    const uint32_t low = steps[1] ? steps[1] - 1 : 0;
    const uint32_t high = steps[255] < w->mask ? steps[255] : w->mask;
    const double width = w->function == DCM_VOI_LINEAR ? w->width - 1 : w->width;
    const double scale = (float)(255 * fabs(w->slope) / width);
    /* within int16_t all the way; 0/0 is no number and fails, too */
    if (!(scale * (high - low) < 16000)) return 0;
    double least = -16000, most = 16000;
    for (unsigned k = 1; k < 256; k++) {
        double at = (double)steps[k] - low;
        if (steps[k] <= high && k - scale * at > least) least = k - scale * at;
        if (steps[k] > low && k - scale * (at - 1) < most) most = k - scale * (at - 1);
    }
    w->low = (int16_t)((int32_t)low - 32768);
    w->high = (int16_t)((int32_t)high - 32768);
    w->scale = (float)scale;
    w->shift = (float)((least + most) / 2);
    uint16_t tests[512];
    uint8_t got[512], wanted[512];
    unsigned n = 0;
    for (unsigned k = 1; k < 256; k++)
        for (uint32_t u = steps[k] ? steps[k] - 1 : 0; u <= steps[k] && u <= w->mask; u++) {
            tests[n] = (uint16_t)(u ^ 0x8000u ^ w->turn); /* bits above mask count not */
            wanted[n++] = (uint8_t)(rising(w, u) ^ w->flip);
        }
    window_line(w, (const uint8_t *)tests, n, got);
    return !memcmp(got, wanted, n);
}

static int prepare_16(dcm_window *w, dcm_error *err) {
    dcm_cells *c = &w->cells;
    uint32_t steps[257];
    w->mask = (uint16_t)(c->bits_stored ? (1u << c->bits_stored) - 1 : 0xffffu);
    steps[0] = 0;
    for (unsigned k = 1; k < 256; k++) steps[k] = step_to(w, k, steps[k - 1]);
    steps[256] = w->mask + 1u;
    /* from a cell to u, and from u to what compares as int16_t */
    w->turn = (uint16_t)((c->kind == DCM_CELL_SIGNED ? w->mask / 2 + 1u : 0) ^
                         (w->slope < 0 ? w->mask : 0) ^ 0x8000u);
    /* the mask does what is to be done about unused bits above the value */
    w->staged = *c;
    if (c->bits_stored == c->high_bit + 1) w->staged.bits_stored = 0;
    if (w->function != DCM_VOI_SIGMOID && fit_line(w, steps)) {
        w->way = WAY_LINE;
        return DCM_OK;
    }
    if (!w->table && !(w->table = dcm_alloc(65536))) return dcm_fail(err, DCM_E_MEMORY, 0, 0);
    w->turn ^= 0x8000u;
    for (unsigned k = 0; k < 256; k++)
        memset(w->table + steps[k], (int)k ^ w->flip, steps[k + 1] - steps[k]);
    w->way = WAY_TABLE;
    return DCM_OK;
}

int dcm_window_prepare(dcm_window *w, dcm_error *err) {
    const dcm_cells *c = &w->cells;
    w->staged = *c;
    const double least = w->function == DCM_VOI_LINEAR ? 1 : 0;
    /* PS3.3 C.11.2.1.2: a width of 1 or more, C.11.2.1.3: above 0 */
    if (!isfinite(w->center) || !isfinite(w->width) || !isfinite(w->slope) ||
        !isfinite(w->intercept) || w->function > DCM_VOI_SIGMOID || w->width < least ||
        w->width == 0)
        return dcm_fail(err, DCM_E_WINDOW, 0, 0);
    w->flip = w->invert ? 255 : 0;
    w->way = WAY_FORMULA;
    if (c->kind == DCM_CELL_FLOAT || c->size > 2) return DCM_OK;
    if (c->size == 2) return prepare_16(w, err);
    for (int i = 0; i < 256; i++)
        w->small[i] = (uint8_t)(level(w, c->kind == DCM_CELL_SIGNED ? (int8_t)i : i) ^ w->flip);
    w->way = WAY_SMALL;
    return DCM_OK;
}

#define FORMULA(type)                                      \
    for (uint64_t i = 0; i < n; i++) {                     \
        type v;                                            \
        memcpy(&v, p + i * sizeof v, sizeof v);            \
        out[i] = (uint8_t)(level(w, (double)v) ^ w->flip); \
    }

static void window_block(const dcm_window *w, const uint8_t *restrict p, uint64_t n,
                         uint8_t *restrict out) {
    const dcm_cells *c = &w->cells;
    if (w->way == WAY_LINE) {
        window_line(w, p, n, out);
    } else if (w->way == WAY_TABLE) {
        const uint8_t *restrict table = w->table;
        const uint16_t mask = w->mask, turn = w->turn;
        for (uint64_t i = 0; i < n; i++) {
            uint16_t raw;
            memcpy(&raw, p + 2 * i, 2);
            out[i] = table[(raw & mask) ^ turn];
        }
    } else if (w->way == WAY_SMALL) {
        for (uint64_t i = 0; i < n; i++) out[i] = w->small[p[i]];
    } else {
        BY_TYPE(FORMULA)
    }
}

void dcm_window_run(const dcm_window *w, const uint8_t *src, uint64_t count, uint8_t *out) {
    const dcm_cells *c = &w->staged;
    BLOCKS(window_block(w, p, n, out + at));
}

void dcm_window_free(dcm_window *w) {
    dcm_free(w->table);
    memset(w, 0, sizeof *w);
}

/* ------------------------------------------------------------- tables --- */

/* Where each of n values falls in a table: below the first, the first; above
 * the last, the last. */
#define PLACES(type)                                                             \
    for (uint64_t i = 0; i < n; i++) {                                           \
        type v;                                                                  \
        memcpy(&v, p + i * sizeof v, sizeof v);                                  \
        places[i] = v <= first                  ? 0                              \
                    : (int64_t)v - first < last ? (uint32_t)((int64_t)v - first) \
                                                : (uint32_t)last;                \
    }

static void find_places(const dcm_cells *c, const uint8_t *restrict p, uint64_t n,
                        int64_t first, int64_t last,
                        uint32_t *restrict places){BY_INTEGER(PLACES)}

/* Every `step`th entry of out from the table. */
#define ENTRIES(size)                \
    for (uint64_t i = 0; i < n; i++) \
        memcpy(out + i * step * size, table + (uint64_t)places[i] * size, size);

static void take_entries(const uint32_t *restrict places, uint64_t n,
                         const uint8_t *restrict table, unsigned size, unsigned step,
                         uint8_t *restrict out) {
    if (size == 1)
        ENTRIES(1)
    else if (size == 2)
        ENTRIES(2)
    else if (size == 4)
        ENTRIES(4)
    else
        ENTRIES(8)
}

/* As BLOCKS, also where nothing need be turned: the places want room. */
#define PLACED(body)                                                          \
    do {                                                                      \
        uint8_t room[BLOCK * 4];                                              \
        uint32_t places[BLOCK];                                               \
        for (uint64_t at = 0, n; at < count; at += n) {                       \
            n = count - at < BLOCK ? count - at : BLOCK;                      \
            dcm_cells_native(c, src + at * c->size, n, room);                 \
            find_places(c, room, n, first, (int64_t)(n_entries - 1), places); \
            body;                                                             \
        }                                                                     \
    } while (0)

void dcm_lut(const dcm_cells *c, const uint8_t *src, uint64_t count, const uint8_t *table,
             uint64_t n_entries, int64_t first, unsigned size, uint8_t *out) {
    PLACED(take_entries(places, n, table, size, 1, out + at * size));
}

void dcm_palette(const dcm_cells *c, const uint8_t *src, uint64_t count, const uint8_t *red,
                 const uint8_t *green, const uint8_t *blue, uint64_t n_entries, int64_t first,
                 unsigned size, uint8_t *out) {
    PLACED({
        uint8_t *to = out + at * 3 * size;
        take_entries(places, n, red, size, 3, to);
        take_entries(places, n, green, size, 3, to + size);
        take_entries(places, n, blue, size, 3, to + 2 * size);
    });
}
