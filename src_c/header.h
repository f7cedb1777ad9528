/* header.h: reading one element header, inlined into the loops that do little else. */
#ifndef DCM_HEADER_H
#define DCM_HEADER_H

#include "dcm_dictionary.h"
#include "dcm_endian.h"
#include "dcm_value.h"

#define DCM_ITEM         0xFFFEE000u
#define DCM_ITEM_END     0xFFFEE00Du
#define DCM_SEQUENCE_END 0xFFFEE0DDu
#define DCM_UNDEFINED    0xFFFFFFFFu

typedef struct dcm_header {
    uint32_t tag;
    uint32_t length; /* as stored: may be DCM_UNDEFINED */
    uint8_t vr;      /* dcm_vr; NONE for items and unknown implicit tags */
    uint8_t size;    /* 8 or 12 */
    uint8_t implicit;
    uint8_t issue; /* 0 or the DCM_I_ code of an invalid header */
} dcm_header;

#ifdef _MSC_VER
#define DCM_NOINLINE __declspec(noinline)
#else
#define DCM_NOINLINE __attribute__((noinline))
#endif

/* dcm_vr | header size << 8 of two letters; 0 if PS3.5 6.2 does not define them. */
static inline uint32_t dcm_vr_of(const uint8_t *p) {
    uint32_t letters = dcm_u16(p, 0);
    uint32_t found = dcm_vr_of_letters[(letters & 31) << 5 | (letters >> 8 & 31)];
    return (found & 0xFFFF) == letters ? found >> 16 : 0;
}

static inline int dcm_is_letter(uint8_t c) {
    return c >= 'A' && c <= 'Z';
}

/* Reads a header whose VR is not defined in PS3.5 6.2. */
void dcm_header_invalid(const uint8_t *p, uint64_t left, int big, dcm_header *h);

/* Reads a header (PS3.5 7.1.2 and 7.1.3). p holds 12 bytes, or all `left` (8 or
 * more) bytes of the data set. 0 if the data set ends inside the header. */
static inline int dcm_header_read(const uint8_t *p, uint64_t left, int encoding,
                                  dcm_header *h) {
    const int big = encoding & DCM_BIG;
    h->tag = dcm_tag(p, big);
    h->issue = 0;
    if (encoding & DCM_IMPLICIT || h->tag >> 16 == 0xFFFE) {
        h->length = dcm_u32(p + 4, big);
        h->vr = h->tag >> 16 == 0xFFFE ? (uint8_t)DCM_VR_NONE : dcm_dict_vr(h->tag);
        h->size = 8;
        h->implicit = 1;
        return 1;
    }
    h->implicit = 0;
    uint32_t found = dcm_vr_of(p + 4);
    h->vr = (uint8_t)found;
    h->size = (uint8_t)(found >> 8);
    if (!found) {
        dcm_header_invalid(p, left, big, h);
    } else if (h->size == 12) {
        if (left < 12) return 0;
        h->length = dcm_u32(p + 8, big);
    } else {
        h->length = dcm_u16(p + 6, big);
    }
    return 1;
}

/* The encoding of an item's elements, determined from its first header: some
 * writers put implicit VR items into explicit VR data sets, none the reverse. */
static inline int dcm_item_encoding(const uint8_t *p, uint64_t n, int encoding) {
    if (encoding & DCM_IMPLICIT || n < 6 || dcm_u16(p, encoding & DCM_BIG) == 0xFFFE)
        return encoding;
    return dcm_is_letter(p[4]) && dcm_is_letter(p[5]) ? encoding : encoding | DCM_IMPLICIT;
}

#endif
