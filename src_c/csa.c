/* csa.c: the CSA header of Siemens MR, a private structure in (0029,xx10).
 *
 * There are two layouts, both little endian. CSA2 starts with "SV10" and 4 more
 * bytes, CSA1 does not. Then follow the number of tags, 4 bytes, and for each tag
 * name[64], vm, vr[4], syngo type, number of items, 4 bytes; for each item four
 * numbers and its text, padded to a multiple of 4 bytes. The length of the text is
 * the second number in CSA2; in CSA1 it is the first number minus the number of
 * items of the first tag. */
#include "dcm_csa.h"

#include "dcm_endian.h"

#include <string.h>

/* sizes of the fixed parts in bytes, and the most tags */
enum { HEAD = 8, TAG = 84, NAME = 64, ITEM = 16, MAX_TAGS = 4096 };

static dcm_csa_result damaged(dcm_csa *c) {
    c->tags = c->items = 0;
    c->at = c->size;
    return DCM_CSA_DAMAGED;
}

static uint64_t left(const dcm_csa *c) {
    return c->size - c->at;
}

dcm_csa_result dcm_csa_start(dcm_csa *c, const uint8_t *p, uint64_t n) {
    *c = (dcm_csa){.p = p, .size = n};
    if (n >= 4 && !memcmp(p, "SV10", 4)) {
        c->version = 2;
        c->at = 8;
    } else {
        c->version = 1;
    }
    if (c->at > n || left(c) < HEAD) return damaged(c);
    uint32_t tags = dcm_u32(p + c->at, 0);
    c->at += HEAD;
    if (!tags || tags > MAX_TAGS || left(c) / TAG < tags) return damaged(c);
    c->tags = tags;
    c->first = -1;
    return DCM_CSA_FOUND;
}

dcm_csa_result dcm_csa_tag(dcm_csa *c, dcm_span *name) {
    dcm_span skipped;
    dcm_csa_result result;
    do result = dcm_csa_item(c, &skipped);
    while (result == DCM_CSA_FOUND);
    if (result == DCM_CSA_DAMAGED) return result;
    if (!c->tags) return DCM_CSA_END;
    if (left(c) < TAG) return damaged(c);
    const uint8_t *p = c->p + c->at;
    const uint8_t *end = memchr(p, 0, NAME);
    *name = (dcm_span){(const char *)p, end ? (uint64_t)(end - p) : NAME};
    uint32_t items = dcm_u32(p + 76, 0);
    c->at += TAG;
    c->tags--;
    if (left(c) / ITEM < items) return damaged(c);
    if (c->first < 0) c->first = items;
    c->items = items;
    return DCM_CSA_FOUND;
}

dcm_csa_result dcm_csa_item(dcm_csa *c, dcm_span *text) {
    if (!c->items) return DCM_CSA_END;
    if (left(c) < ITEM) return damaged(c);
    const uint8_t *p = c->p + c->at;
    int64_t length =
        c->version == 2 ? (int64_t)dcm_u32(p + 4, 0) : (int64_t)dcm_u32(p, 0) - c->first;
    c->at += ITEM;
    c->items--;
    if (length < 0 || (uint64_t)length > left(c)) {
        if (c->version == 2) return damaged(c);
        c->items = 0; /* CSA1 has such items after the last value */
        return DCM_CSA_END;
    }
    *text = (dcm_span){(const char *)c->p + c->at, (uint64_t)length};
    uint64_t padded = ((uint64_t)length + 3) & ~(uint64_t)3;
    c->at += padded < left(c) ? padded : left(c);
    const char *end = length ? memchr(text->p, 0, (size_t)length) : NULL;
    if (end) text->n = (uint64_t)(end - text->p);
    return DCM_CSA_FOUND;
}
