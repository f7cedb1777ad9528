/* fuzz_value.c: reads any bytes as text, as numbers in text and as binary numbers.
 *
 * Spans are within their text and lose only the characters to be removed; numbers
 * equal those of the C library wherever it reads the same grammar. */
#include "dcm_endian.h"
#include "replay.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>

static int is_blank(char c) {
    return c == ' ' || (c >= '\t' && c <= '\r') || (c >= 0x1c && c <= 0x1f) || !c;
}

static void spans(const char *p, size_t size) {
    dcm_span right = dcm_trim_right(p, size), both = dcm_trim(p, size);
    CHECK(right.p == p && right.n <= size && both.p >= p && both.p + both.n <= p + size);
    for (size_t i = (size_t)right.n; i < size; i++) CHECK(p[i] == ' ' || !p[i]);
    for (const char *q = p; q < p + size; q++)
        CHECK((q >= both.p && q < both.p + both.n) || is_blank(*q));
    dcm_span again = dcm_trim(both.p, both.n);
    CHECK(again.n == both.n);

    dcm_span rest = {p, size}, one;
    uint64_t total = 0, count = 0, backslashes = 0;
    while (dcm_next_component(&rest, &one)) {
        CHECK(one.p == p + total && one.p + one.n <= p + size);
        CHECK(!one.n || !memchr(one.p, '\\', (size_t)one.n));
        total += one.n + 1;
        count++;
    }
    for (size_t i = 0; i < size; i++) backslashes += p[i] == '\\';
    CHECK(count == backslashes + 1 && total == size + 1);
}

/* Whether strtod reads this as dcm_parse_float does: not "0x1p3" or "nan(1)". */
static int is_plain(const char *text) {
    return !strpbrk(text, "xXpP(_") && *text && !is_blank(*text);
}

/* Days and microseconds are within the years 1 to 9999 and one day. */
static void dates(const char *p, size_t size) {
    const int64_t day = 86400 * INT64_C(1000000);
    int32_t days;
    int64_t time, both;
    if (dcm_parse_date((dcm_span){p, size}, &days)) CHECK(days >= -719162 && days <= 2932896);
    if (dcm_parse_time((dcm_span){p, size}, &time)) CHECK(time >= 0 && time < day);
    if (dcm_parse_datetime((dcm_span){p, size}, &both))
        CHECK(both >= -719162 * day && both < 2932897 * day);
}

static void decimal(const char *p, size_t size) {
    dcm_span s = dcm_trim(p, size);
    char *text = malloc((size_t)s.n + 1), *end;
    CHECK(text);
    if (s.n) memcpy(text, s.p, (size_t)s.n);
    text[s.n] = 0;
    double got = 0, expected = strtod(text, &end);
    int complete = strlen(text) == s.n && is_plain(text) && end == text + s.n;
    if (dcm_parse_float((dcm_span){p, size}, &got)) {
        CHECK(complete && ((isnan(got) && isnan(expected)) || !memcmp(&got, &expected, 8)));
    } else {
        CHECK(!complete);
    }
    int64_t integer = 0;
    errno = 0;
    intmax_t number = strtoimax(text, &end, 10);
    complete =
        strlen(text) == s.n && is_plain(text) && end == text + s.n && end > text && !errno;
    CHECK(dcm_parse_int((dcm_span){p, size}, &integer) == complete);
    if (complete) CHECK(integer == number);
    free(text);
}

static void binary(const uint8_t *p, size_t size) {
    static const int units[] = {1, 2, 4, 8};
    for (int i = 0; i < 4; i++)
        for (int big = 0; big < 2 && (size_t)units[i] <= size; big++) {
            int unit = units[i];
            uint64_t expected = 0, sign = 1ull << (8 * unit - 1);
            for (int k = 0; k < unit; k++)
                expected |= (uint64_t)p[k] << 8 * (big ? unit - 1 - k : k);
            CHECK(dcm_load_uint(p, unit, big) == expected);
            uint64_t extended = (expected ^ sign) - sign;
            CHECK((uint64_t)dcm_load_int(p, unit, big) == extended);
            if (unit < 4) continue;
            double got = dcm_load_float(p, unit, big);
            if (unit == 8) {
                CHECK(!memcmp(&got, &expected, 8));
            } else {
                uint32_t bits = (uint32_t)expected;
                float f;
                memcpy(&f, &bits, 4);
                CHECK(isnan(f) ? isnan(got) : got == (double)f);
            }
        }
}

/* Looks up any tag, keyword, VR and private creator. */
static void lookups(const uint8_t *p, size_t size) {
    dcm_dict_row row;
    const char *text = (const char *)p;
    uint32_t tag = dcm_dict_tag(text, size);
    if (tag) {
        CHECK(dcm_dict_find(tag, &row) == DCM_OK && strlen(row.keyword) == size);
        CHECK(!memcmp(row.keyword, p, size));
    }
    int vr = dcm_vr_from_name(text, size);
    CHECK(vr >= 0 && vr < DCM_VR_COUNT);
    if (vr)
        CHECK(strlen(dcm_vr_rows[vr].name) == size && !memcmp(dcm_vr_rows[vr].name, p, size));
    if (size < 4) return;
    for (int big = 0; big < 2; big++) {
        tag = dcm_tag(p, big);
        uint8_t known = dcm_dict_vr(tag);
        CHECK(known < DCM_VR_COUNT);
        if (!dcm_dict_find(tag, &row))
            CHECK(row.vr == known && row.keyword && row.name && row.vm);
        if (!dcm_dict_private(tag, text + 4, size - 4, &row))
            CHECK(tag >> 16 & 1 && row.vr && row.vr < DCM_VR_COUNT && !*row.keyword);
    }
    for (int encoding = 0; encoding < 4; encoding++) {
        int found = dcm_encoding_guess(p, size, size + p[0], encoding, 1 + p[1] % 3);
        CHECK(found >= -1 && found < 4);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    spans((const char *)data, size);
    dates((const char *)data, size);
    decimal((const char *)data, size);
    binary(data, size);
    lookups(data, size);
    return 0;
}
