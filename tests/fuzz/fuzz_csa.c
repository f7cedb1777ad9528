/* fuzz_csa.c: reads any bytes as a CSA header.
 *
 * Names and texts are within the bytes, in order, without NUL; there are no more of
 * them than fit in the bytes; nothing follows after the end or after damage. */
#include "replay.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const char *start = (const char *)data, *at = start, *end = start + size;
    dcm_csa walk;
    dcm_span name, text;
    uint64_t tags = 0, items = 0;
    dcm_csa_result found = dcm_csa_start(&walk, data, size);
    while (found == DCM_CSA_FOUND && dcm_csa_tag(&walk, &name) == DCM_CSA_FOUND) {
        CHECK(name.p >= at && name.n <= 64 && name.p + 84 <= end);
        CHECK(!memchr(name.p, 0, (size_t)name.n));
        at = name.p + 84;
        tags++;
        if (tags % 5 == 0) continue; /* the next tag skips its items */
        while ((found = dcm_csa_item(&walk, &text)) == DCM_CSA_FOUND) {
            CHECK(text.p >= at + 16 && text.p <= end && text.n <= (uint64_t)(end - text.p));
            CHECK(!text.n || !memchr(text.p, 0, (size_t)text.n));
            at = text.p + text.n;
            items++;
        }
        if (found == DCM_CSA_END) found = DCM_CSA_FOUND;
    }
    CHECK(tags * 84 + items * 16 <= size);
    CHECK(walk.at <= size);
    CHECK(dcm_csa_item(&walk, &text) == DCM_CSA_END);
    CHECK(dcm_csa_tag(&walk, &name) == DCM_CSA_END);
    return 0;
}
