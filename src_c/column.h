/* column.h: appending to the buffers of a column, and checks of text, inlined into
 * the loops that do this. */
#ifndef DCM_COLUMN_H
#define DCM_COLUMN_H

#include "dcm_scan.h"

#include <string.h>

static inline int is_varying(const dcm_column *c, unsigned at) {
    return at < c->lists || c->type == DCM_COLUMN_TEXT || c->type == DCM_COLUMN_BYTES;
}

/* The size of a number in a column of numbers. */
static inline uint64_t number_size(const dcm_column *c) {
    return c->type == DCM_COLUMN_DATE ? 4 : 8;
}

static inline int layer_grow(dcm_column *c, unsigned at, uint64_t count) {
    dcm_layer *l = c->layers + at;
    uint64_t valid = l->capacity, ends = l->capacity;
    if (count < l->hint + 2) count = l->hint + 2;
    int code = dcm_grow((void **)&l->valid, &valid, count, 1);
    if (!code && is_varying(c, at)) {
        int first = !l->ends;
        code = dcm_grow((void **)&l->ends, &ends, valid, sizeof *l->ends);
        if (!code && first) l->ends[0] = 0;
    }
    if (!code) l->capacity = valid;
    return code;
}

/* Appends an entry to a layer; `ends` has one element more than there are entries. */
static inline int push(dcm_column *c, unsigned at, int valid) {
    dcm_layer *l = c->layers + at;
    if (l->count + 2 > l->capacity) {
        int code = layer_grow(c, at, l->count + 2);
        if (code) return code;
    }
    l->valid[l->count++] = (uint8_t)valid;
    if (at < c->lists)
        l->ends[l->count] = (int32_t)c->layers[at + 1].count;
    else if (l->ends)
        l->ends[l->count] = (int32_t)c->used;
    return DCM_OK;
}

static inline int reserve_data(dcm_column *c, uint64_t n) {
    if (c->used + n <= c->capacity) return DCM_OK;
    if (c->used + n > INT32_MAX) return DCM_E_TOO_LARGE;
    uint64_t least = c->layers[0].hint * 8, wanted = c->used + n;
    return dcm_grow((void **)&c->data, &c->capacity, wanted < least ? least : wanted, 1);
}

static inline int put_number(dcm_column *c, const void *value, int valid) {
    int code = reserve_data(c, 8);
    if (code) return code;
    memcpy(c->data + c->used, value, 8);
    c->used += number_size(c);
    return push(c, c->lists, valid);
}

static inline int put_bytes(dcm_column *c, const void *p, uint64_t n) {
    int code = reserve_data(c, n);
    if (code) return code;
    if (n) memcpy(c->data + c->used, p, (size_t)n);
    c->used += n;
    return push(c, c->lists, 1);
}

static inline int put_null(dcm_column *c, unsigned at) {
    static const uint64_t zero;
    return at < c->lists || is_varying(c, at) ? push(c, at, 0) : put_number(c, &zero, 0);
}

/* Keeps the first `rows` rows. */
static inline void column_truncate(dcm_column *c, uint64_t rows) {
    for (unsigned at = 0; at <= c->lists; at++) {
        dcm_layer *l = c->layers + at;
        if (rows > l->count) return;
        l->count = rows;
        if (is_varying(c, at))
            rows = l->ends ? (uint64_t)l->ends[rows] : 0;
        else
            rows *= number_size(c);
    }
    c->used = rows;
}

/* Whether text has anything but plain ASCII: bytes of 0x80 and above, or ESC, SO
 * and SI, which switch character sets. Eight bytes at a time: (x - 1) & ~x has the
 * high bit of a zero byte set. */
static inline int is_special(const uint8_t *p, uint64_t n) {
    const uint64_t ones = 0x0101010101010101u, high = ones << 7;
    uint64_t found = 0;
    for (; n >= 8; p += 8, n -= 8) {
        uint64_t v, escape, shift;
        memcpy(&v, p, 8);
        escape = v ^ ones * 0x1B;
        shift = (v | ones) ^ ones * 0x0F;
        found |= (v | ((escape - ones) & ~escape) | ((shift - ones) & ~shift)) & high;
    }
    for (; n; p++, n--) found |= (uint64_t)((*p & 0x80) || *p == 0x1B || (*p | 1) == 0x0F);
    return found != 0;
}

/* Whether text is UTF-8 (RFC 3629): shortest form, no surrogates, up to U+10FFFF. */
static inline int is_utf8(const uint8_t *p, uint64_t n) {
    const uint8_t *end = p + n;
    while (p < end) {
        unsigned c = *p++, more, low = 0x80, high = 0xBF;
        if (c < 0x80) continue;
        if (c >= 0xC2 && c <= 0xDF)
            more = 1;
        else if (c >= 0xE0 && c <= 0xEF)
            more = 2;
        else if (c >= 0xF0 && c <= 0xF4)
            more = 3;
        else
            return 0;
        if (c == 0xE0) low = 0xA0;
        if (c == 0xED) high = 0x9F;
        if (c == 0xF0) low = 0x90;
        if (c == 0xF4) high = 0x8F;
        if ((uint64_t)(end - p) < more) return 0;
        for (; more; more--, low = 0x80, high = 0xBF)
            if (*p < low || *p > high)
                return 0;
            else
                p++;
    }
    return 1;
}

/* Appends text as UTF-8. latin: it is Latin-1; otherwise ASCII or UTF-8. */
static inline int put_text(dcm_column *c, const char *p, uint64_t n, int latin) {
    if (!latin || !n) return put_bytes(c, p, n);
    int code = reserve_data(c, 2 * n);
    if (code) return code;
    uint8_t *to = c->data + c->used;
    for (uint64_t i = 0; i < n; i++) {
        uint8_t b = (uint8_t)p[i];
        if (b < 0x80) {
            *to++ = b;
        } else {
            *to++ = (uint8_t)(0xC0 | b >> 6);
            *to++ = (uint8_t)(0x80 | (b & 0x3F));
        }
    }
    c->used = (uint64_t)(to - c->data);
    return push(c, c->lists, 1);
}

#endif
