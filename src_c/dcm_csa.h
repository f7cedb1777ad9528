/* dcm_csa.h: the tags of a Siemens CSA header and their items (csa.c). */
#ifndef DCM_CSA_H
#define DCM_CSA_H

#include <stdint.h>

#include "dcm_value.h"

typedef struct dcm_csa {
    const uint8_t *p; /* owned by the caller */
    uint64_t size, at;
    int64_t first;        /* number of items of the first tag, -1: not read yet */
    uint32_t tags, items; /* still to be read */
    int version;          /* 1 or 2 */
} dcm_csa;

typedef enum dcm_csa_result {
    DCM_CSA_DAMAGED = -1, /* the bytes are damaged: no more entries follow */
    DCM_CSA_END = 0,      /* there are no more entries */
    DCM_CSA_FOUND = 1
} dcm_csa_result;

/* Starts at the header, then reads the next tag, then the next item of that tag.
 * dcm_csa_tag skips items that were not read. */
dcm_csa_result dcm_csa_start(dcm_csa *c, const uint8_t *p, uint64_t n);
dcm_csa_result dcm_csa_tag(dcm_csa *c, dcm_span *name);
dcm_csa_result dcm_csa_item(dcm_csa *c, dcm_span *text);

#endif
