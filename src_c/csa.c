/* csa.c: the CSA header of Siemens MR, a private struct in (0029,xx10).
 *
 * Two layouts, all little endian. "SV10" (CSA2) has 8 bytes before the number
 * of tags, the older one (CSA1) none. Then, for both: count, 4 bytes, and for
 * each tag name[64], vm, vr[4], syngo type, items, 4 bytes; for each item four
 * numbers, and its text padded to 4 bytes. Its length is the second number in
 * CSA2; in CSA1 the first less the items of the header's first tag. */
#include "dcm.h"
#include "dcm_endian.h"

enum { HEAD = 8, TAG = 84, NAME = 64, ITEM = 16, MOST_TAGS = 4096 };

static int fail(dcm_csa *c) {
    c->tags = c->items = 0;
    c->at = c->size;
    return -1;
}

static uint64_t left(const dcm_csa *c) {
    return c->size - c->at;
}

int dcm_csa_start(dcm_csa *c, const uint8_t *p, uint64_t n) {
    *c = (dcm_csa){.p = p, .size = n};
    if (n >= 4 && !memcmp(p, "SV10", 4)) {
        c->version = 2;
        c->at = 8;
    } else {
        c->version = 1;
    }
    if (c->at > n || left(c) < HEAD) return fail(c);
    uint32_t tags = dcm_u32(p + c->at, 0);
    c->at += HEAD;
    if (!tags || tags > MOST_TAGS || left(c) / TAG < tags) return fail(c);
    c->tags = tags;
    c->first = -1;
    return 1;
}

int dcm_csa_tag(dcm_csa *c, dcm_span *name) {
    dcm_span skipped;
    int more;
    while ((more = dcm_csa_item(c, &skipped)) > 0) {
    }
    if (more < 0) return -1;
    if (!c->tags) return 0;
    if (left(c) < TAG) return fail(c);
    const uint8_t *p = c->p + c->at;
    const uint8_t *end = memchr(p, 0, NAME);
    *name = (dcm_span){(const char *)p, end ? (uint64_t)(end - p) : NAME};
    uint32_t items = dcm_u32(p + 76, 0);
    c->at += TAG;
    c->tags--;
    if (left(c) / ITEM < items) return fail(c);
    if (c->first < 0) c->first = items;
    c->items = items;
    return 1;
}

int dcm_csa_item(dcm_csa *c, dcm_span *text) {
    if (!c->items) return 0;
    if (left(c) < ITEM) return fail(c);
    const uint8_t *p = c->p + c->at;
    int64_t length =
        c->version == 2 ? (int64_t)dcm_u32(p + 4, 0) : (int64_t)dcm_u32(p, 0) - c->first;
    c->at += ITEM;
    c->items--;
    if (length < 0 || (uint64_t)length > left(c)) {
        if (c->version == 2) return fail(c);
        c->items = 0; /* CSA1 leaves such items where it has no more values */
        return 0;
    }
    *text = (dcm_span){(const char *)c->p + c->at, (uint64_t)length};
    uint64_t padded = ((uint64_t)length + 3) & ~(uint64_t)3;
    c->at += padded < left(c) ? padded : left(c);
    const char *end = length ? memchr(text->p, 0, (size_t)length) : NULL;
    if (end) text->n = (uint64_t)(end - text->p);
    return 1;
}
