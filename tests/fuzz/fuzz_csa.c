/* fuzz_csa.c: any bytes as a CSA header.
 *
 * Names and texts lie within the bytes, in order, without NUL; there are no
 * more of them than the bytes have room for, and behind the end or the damage
 * nothing more comes. */
#include "replay.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const char *start = (const char *)data, *at = start, *end = start + size;
    dcm_csa walk;
    dcm_span name, text;
    uint64_t tags = 0, items = 0;
    int more = dcm_csa_start(&walk, data, size);
    while (more > 0 && (more = dcm_csa_tag(&walk, &name)) > 0) {
        CHECK(name.p >= at && name.n <= 64 && name.p + 84 <= end);
        CHECK(!memchr(name.p, 0, (size_t)name.n));
        at = name.p + 84;
        tags++;
        if (tags % 5 == 0) continue; /* the next tag passes over its items */
        while ((more = dcm_csa_item(&walk, &text)) > 0) {
            CHECK(text.p >= at + 16 && text.p <= end && text.n <= (uint64_t)(end - text.p));
            CHECK(!text.n || !memchr(text.p, 0, (size_t)text.n));
            at = text.p + text.n;
            items++;
        }
        if (!more) more = 1;
    }
    CHECK(tags * 84 + items * 16 <= size);
    CHECK(walk.at <= size);
    CHECK(dcm_csa_item(&walk, &text) == 0 && dcm_csa_tag(&walk, &name) == 0);
    return 0;
}
