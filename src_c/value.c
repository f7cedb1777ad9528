/* value.c: text and numbers inside a value, independent of the locale. */
#include "dcm_value.h"

#include "dcm_endian.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static int is_space(char c) { /* what Python's str.strip() removes in ASCII */
    return c == ' ' || (c >= '\t' && c <= '\r') || (c >= 0x1c && c <= 0x1f);
}

dcm_span dcm_trim_right(const char *p, uint64_t n) {
    while (n && (p[n - 1] == ' ' || p[n - 1] == 0)) n--;
    return (dcm_span){p, n};
}

dcm_span dcm_trim(const char *p, uint64_t n) {
    while (n && (is_space(p[n - 1]) || p[n - 1] == 0)) n--;
    while (n && is_space(*p)) p++, n--;
    return (dcm_span){p, n};
}

int dcm_next_component(dcm_span *rest, dcm_span *out) {
    if (!rest->p) return 0;
    const char *end = rest->n ? memchr(rest->p, '\\', (size_t)rest->n) : NULL;
    out->p = rest->p;
    out->n = end ? (uint64_t)(end - rest->p) : rest->n;
    rest->n = end ? rest->n - out->n - 1 : 0;
    rest->p = end ? end + 1 : NULL;
    return 1;
}

static const double powers[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,
                                1e8,  1e9,  1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
                                1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};

static int is_word(dcm_span s, const char *word) {
    uint64_t i = 0;
    for (; word[i]; i++)
        if (i >= s.n || (s.p[i] | 0x20) != word[i]) return 0;
    return i == s.n;
}

/* Parses numbers that two exact doubles cannot express: strtod rounds correctly,
 * and text without a decimal point reads the same in every locale. */
static double parse_slow(const char *digits, uint64_t n, int64_t exponent) {
    char text[800 + 32]; /* more than 767 digits never change the result */
    uint64_t used = 0, dropped = 0;
    for (uint64_t i = 0; i < n; i++) {
        if (digits[i] == '.') continue;
        if (used < 800)
            text[used++] = digits[i];
        else {
            if (digits[i] != '0') text[799] = '1'; /* dropped digits round up */
            dropped++;
        }
    }
    exponent += (int64_t)dropped;
    if (exponent > 100000) exponent = 100000;
    if (exponent < -100000) exponent = -100000;
    text[used++] = 'e';
    if (exponent < 0) text[used++] = '-', exponent = -exponent;
    for (int64_t unit = 100000; unit; unit /= 10)
        text[used++] = (char)('0' + exponent / unit % 10);
    text[used] = 0;
    return strtod(text, NULL);
}

int dcm_parse_float(dcm_span s, double *out) {
    s = dcm_trim(s.p, s.n);
    int negative = 0;
    if (s.n && (*s.p == '+' || *s.p == '-')) {
        negative = *s.p == '-';
        s.p++, s.n--;
    }
    const char *p = s.p, *end = s.p + s.n;
    uint64_t mantissa = 0;
    int64_t exponent = 0;
    int digits = 0, any = 0, point = 0;
    for (; p < end; p++) {
        unsigned digit = (unsigned)(*p - '0');
        if (digit < 10) {
            any = 1;
            if (digits < 19) {
                mantissa = mantissa * 10 + digit;
                digits += mantissa != 0;
            } else {
                digits = 99; /* too long for 64 bits */
            }
            exponent -= point;
        } else if (*p == '.' && !point) {
            point = 1;
        } else {
            break;
        }
    }
    const char *digits_end = p;
    double value;
    if (!any) {
        if (is_word(s, "nan"))
            value = NAN;
        else if (is_word(s, "inf") || is_word(s, "infinity"))
            value = INFINITY;
        else
            return 0;
    } else {
        if (p < end && (*p | 0x20) == 'e') {
            int minus = 0;
            int64_t e = 0;
            p++;
            if (p < end && (*p == '+' || *p == '-')) minus = *p++ == '-';
            if (p == end) return 0;
            for (; p < end; p++) {
                unsigned digit = (unsigned)(*p - '0');
                if (digit > 9) return 0;
                if (e < 100000) e = e * 10 + digit;
            }
            exponent += minus ? -e : e;
        }
        if (p != end) return 0;
        /* If mantissa and power of ten are exact, their quotient or product is
         * correctly rounded (Clinger 1990). */
        if (digits <= 19 && mantissa <= 1ull << 53 && exponent >= -22 && exponent <= 22) {
            value = (double)mantissa;
            if (exponent < 0)
                value /= powers[-exponent];
            else
                value *= powers[exponent];
        } else {
            value = parse_slow(s.p, (uint64_t)(digits_end - s.p), exponent);
        }
    }
    *out = negative ? -value : value;
    return 1;
}

int dcm_parse_int(dcm_span s, int64_t *out) {
    s = dcm_trim(s.p, s.n);
    int negative = 0;
    if (s.n && (*s.p == '+' || *s.p == '-')) {
        negative = *s.p == '-';
        s.p++, s.n--;
    }
    if (!s.n) return 0;
    uint64_t value = 0, limit = (uint64_t)INT64_MAX + (uint64_t)negative;
    for (uint64_t i = 0; i < s.n; i++) {
        unsigned digit = (unsigned)(s.p[i] - '0');
        if (digit > 9 || value > limit / 10) return 0;
        value = value * 10 + digit;
        if (value > limit) return 0;
    }
    *out = negative ? (int64_t)(0 - value) : (int64_t)value;
    return 1;
}

uint64_t dcm_load_uint(const uint8_t *p, int unit, int big) {
    switch (unit) {
    case 1: return *p;
    case 2: return dcm_u16(p, big);
    case 4: return dcm_u32(p, big);
    default: return dcm_u64(p, big);
    }
}

int64_t dcm_load_int(const uint8_t *p, int unit, int big) {
    switch (unit) {
    case 1: return (int8_t)*p;
    case 2: return (int16_t)dcm_u16(p, big);
    case 4: return (int32_t)dcm_u32(p, big);
    default: return (int64_t)dcm_u64(p, big);
    }
}

double dcm_load_float(const uint8_t *p, int unit, int big) {
    if (unit == 4) {
        uint32_t bits = dcm_u32(p, big);
        float value;
        memcpy(&value, &bits, 4);
        return value;
    }
    uint64_t bits = dcm_u64(p, big);
    double value;
    memcpy(&value, &bits, 8);
    return value;
}
