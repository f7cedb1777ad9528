/* header.c: invalid element headers, and the encoding that the first headers of a
 * data set show. */
#include "header.h"

#include "dcm_base.h"

void dcm_header_invalid(const uint8_t *p, uint64_t left, int big, dcm_header *h) {
    const uint32_t implicit = dcm_u32(p + 4, big), short_length = dcm_u16(p + 6, big);
    const uint64_t after = left - 8;
    const int letters = dcm_is_letter(p[4]) && dcm_is_letter(p[5]);
    h->size = 8;
    if (!letters && (implicit <= after || implicit == DCM_UNDEFINED || short_length > after)) {
        h->issue = DCM_I_IMPLICIT_ELEMENT;
        h->vr = dcm_dict_vr(h->tag);
        h->length = implicit;
        h->implicit = 1;
        return;
    }
    /* "??" and old private VRs have the short form. A VR defined in the future has
     * the long form (PS3.5 7.1.2), which two zero bytes and a plausible length
     * show. */
    h->issue = DCM_I_UNKNOWN_VR;
    h->vr = DCM_VR_UN;
    h->length = short_length;
    if (!short_length && left >= 12) {
        uint32_t length = dcm_u32(p + 8, big);
        if (length && (length <= left - 12 || length == DCM_UNDEFINED)) {
            h->length = length;
            h->size = 12;
        }
    }
}

/* Whether a data set of `remaining` bytes can begin with these n bytes. */
static int plausible(const uint8_t *p, uint64_t n, uint64_t remaining, int encoding,
                     int headers) {
    uint32_t last = 0;
    for (int i = 0; i < headers; i++) {
        if (remaining == 0) return i > 0;
        if (remaining < 8) return 0;
        if (n < (remaining < 12 ? remaining : 12)) return i > 0;
        dcm_header h;
        if (!dcm_header_read(p, remaining, encoding, &h)) return 0;
        uint32_t group = h.tag >> 16;
        if (h.issue || group == 0xFFFE || (i > 0 && h.tag <= last)) return 0;
        /* A group number below 0x100 that is read in the wrong byte order has a low
         * byte of zero and is not in PS3.6. */
        if (i == 0 && group > 0xFF && !(group & 0xFF) && dcm_dict_vr(h.tag) == DCM_VR_NONE)
            return 0;
        if (headers > 1 && i == 0 && (group > 0xFF || dcm_dict_vr(h.tag) == DCM_VR_NONE))
            return 0;
        if (!(h.tag & 0xFFFF) && h.length != 4) return 0; /* a group length */
        uint64_t after = remaining - h.size;
        if (h.length == DCM_UNDEFINED) {
            if (h.vr != DCM_VR_NONE && dcm_vr_rows[h.vr].kind != DCM_KIND_SQ &&
                dcm_vr_rows[h.vr].kind != DCM_KIND_BYTES)
                return 0;
            return 1;
        }
        if (h.length > after) return 0;
        uint64_t size = h.size + (uint64_t)h.length;
        last = h.tag;
        remaining -= size;
        if (size >= n) return i + 1 == headers || remaining == 0 || size > n || i > 0;
        p += size;
        n -= size;
    }
    return 1;
}

int dcm_encoding_guess(const uint8_t *p, uint64_t n, uint64_t remaining, int stated,
                       int headers) {
    static const int order[] = {DCM_EXPLICIT_LE, DCM_IMPLICIT, DCM_BIG, DCM_BIG | DCM_IMPLICIT};
    if (plausible(p, n, remaining, stated, headers)) {
        /* Two letters that are a VR are never the low half of a real length. */
        int as_explicit = stated & DCM_BIG;
        if (!(stated & DCM_IMPLICIT) || !plausible(p, n, remaining, as_explicit, headers))
            return stated;
        return as_explicit;
    }
    for (int i = 0; i < 4; i++)
        if (order[i] != stated && plausible(p, n, remaining, order[i], headers))
            return order[i];
    return -1;
}
