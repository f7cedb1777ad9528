/* encode.c: writing headers and binary values. */
#include "dcm_dictionary.h"
#include "dcm_value.h"

#include <string.h>

void dcm_store_uint(uint8_t *p, int unit, uint64_t value, int big) {
    for (int i = 0; i < unit; i++) p[big ? unit - 1 - i : i] = (uint8_t)(value >> 8 * i);
}

void dcm_store_float(uint8_t *p, int unit, double value, int big) {
    uint64_t bits;
    if (unit == 4) {
        float single = (float)value;
        uint32_t narrow;
        memcpy(&narrow, &single, 4);
        bits = narrow;
    } else {
        memcpy(&bits, &value, 8);
    }
    dcm_store_uint(p, unit, bits, big);
}

void dcm_store_tag(uint8_t *p, uint32_t tag, int big) {
    dcm_store_uint(p, 2, tag >> 16, big);
    dcm_store_uint(p + 2, 2, tag & 0xffff, big);
}

int dcm_put_header(uint8_t *p, uint32_t tag, int vr, uint32_t length, int encoding) {
    const int big = encoding & DCM_BIG;
    dcm_store_tag(p, tag, big);
    /* Items and delimiters have no VR in any encoding (PS3.5 7.5). */
    if (encoding & DCM_IMPLICIT || tag >> 16 == 0xfffe) {
        dcm_store_uint(p + 4, 4, length, big);
        return 8;
    }
    if (vr == DCM_VR_NONE || vr >= DCM_VR_OB_OW ||
        (!dcm_vr_rows[vr].long_form && length > 0xffff))
        vr = DCM_VR_UN;
    memcpy(p + 4, dcm_vr_rows[vr].name, 2);
    if (!dcm_vr_rows[vr].long_form) {
        dcm_store_uint(p + 6, 2, length, big);
        return 8;
    }
    p[6] = p[7] = 0;
    dcm_store_uint(p + 8, 4, length, big);
    return 12;
}
