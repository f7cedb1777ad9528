/* fuzz_part10.c: reads any bytes as a file, and as a data set of each encoding.
 *
 * Every index is within its bytes, whether they are in memory or supplied as
 * requested; a flat index and those of each level agree; a stop tag only leaves out
 * the rows after it. */
#include "../c/levels.h"
#include "replay.h"

/* Supplies the bytes requested by DCM_NEED, and up to `ahead` more. */
static void supply(dcm_bytes *b, const uint8_t *data, uint64_t offset, uint64_t length,
                   int transient, uint64_t ahead) {
    CHECK(length && offset <= b->total && length <= b->total - offset);
    CHECK(!dcm_bytes_at(b, offset, length)); /* or it need not be requested */
    uint64_t end = offset + length;
    end = b->total - end > ahead ? end + ahead : b->total;
    if (b->n_segments && !b->transient && !transient) {
        const dcm_segment *last = b->segments + b->n_segments - 1;
        if (last->offset <= offset && offset <= last->offset + last->length)
            offset = last->offset + last->length;
    }
    uint8_t *space;
    CHECK(!dcm_bytes_reserve(b, end - offset, &space));
    memcpy(space, data + offset, (size_t)(end - offset));
    CHECK(!dcm_bytes_commit(b, offset, end - offset, transient));
    for (uint64_t i = 1; i < b->n_segments; i++)
        CHECK(b->segments[i - 1].offset < b->segments[i].offset &&
              b->segments[i - 1].offset + b->segments[i - 1].length <
                  b->segments[i].offset + b->segments[i].length);
}

/* The bytes in memory are those of the stream. */
static void check_bytes(const dcm_bytes *b, const uint8_t *data) {
    for (uint64_t i = 0; i < b->n_segments; i++) {
        const dcm_segment *s = b->segments + i;
        CHECK(s->at + s->length <= b->used && b->used <= b->capacity);
        CHECK(!memcmp(b->data + s->at, data + s->offset, (size_t)s->length));
        CHECK(dcm_bytes_at(b, s->offset, s->length));
    }
}

static void same_index(const dcm_index *a, const dcm_index *b) {
    CHECK(a->count == b->count && a->n_issues == b->n_issues);
    CHECK(a->begin == b->begin && a->end == b->end && a->state == b->state);
    for (uint64_t i = 0; i < a->count; i++) {
        const dcm_row *x = a->rows + i, *y = b->rows + i;
        CHECK(x->offset == y->offset && x->length == y->length && x->tag == y->tag &&
              x->vr == y->vr && x->header == y->header && x->flags == y->flags);
    }
    for (uint64_t i = 0; i < a->n_issues; i++)
        CHECK(a->issues[i].code == b->issues[i].code && a->issues[i].tag == b->issues[i].tag &&
              a->issues[i].offset == b->issues[i].offset);
}

/* Reads the same stream with its bytes supplied as requested. */
static void in_pieces(const uint8_t *data, size_t size, const dcm_part10 *full, int expected,
                      uint32_t stop, int force, uint64_t ahead) {
    dcm_part10 p = {0};
    dcm_bytes b = {0};
    dcm_error err;
    uint64_t offset = 0, length = 0, requests = 0;
    dcm_read_mode mode = DCM_READ_KEEP;
    int code;
    dcm_bytes_reset(&b, size);
    dcm_part10_start(&p, size, stop, force);
    while ((code = dcm_part10_run(&p, &b, &offset, &length, &mode, &err)) == DCM_NEED) {
        CHECK(requests++ <= 4 * size + 16);
        supply(&b, data, offset, length, mode != DCM_READ_KEEP, ahead);
    }
    CHECK(code == expected);
    check_bytes(&b, data);
    for (uint64_t i = 0; !code && i < p.data.count; i++)
        if (!dcm_bytes_at(&b, p.data.rows[i].offset, p.data.rows[i].length))
            dcm_bytes_truncate(&b, p.data.rows[i].offset);
    dcm_bytes_truncate(&b, p.data_begin);
    check_bytes(&b, data);
    if (!code) {
        same_index(&p.meta, &full->meta);
        CHECK(p.data_begin == full->data_begin && p.encoding == full->encoding);
        CHECK(p.deflated == full->deflated);
        CHECK(!strcmp(p.transfer_syntax, full->transfer_syntax));
        if (!p.deflated) same_index(&p.data, &full->data);
    }
    dcm_part10_free(&p);
    dcm_bytes_free(&b);
}

static int ascends(const dcm_index *ix) {
    for (uint64_t i = 0; i < ix->n_issues; i++)
        if (ix->issues[i].code == DCM_I_OUT_OF_ORDER || ix->issues[i].code == DCM_I_MORE)
            return 0;
    return 1;
}

/* A stop tag leaves out the rows after it, and changes none before it. */
static void with_stop(const dcm_bytes *b, const dcm_index *full, uint32_t stop) {
    dcm_index ix = {0};
    dcm_error err;
    dcm_index_start(&ix, full->begin, full->end, full->encoding, stop, DCM_ONE_LEVEL);
    CHECK(dcm_index_run(&ix, b, &err) == DCM_OK);
    check_level(&ix);
    if (ascends(full)) {
        for (uint64_t i = 0; i < ix.count; i++) CHECK(ix.rows[i].tag == full->rows[i].tag);
        CHECK(ix.count == full->count || full->rows[ix.count].tag > stop);
    }
    dcm_index_free(&ix);
}

static void as_file(const uint8_t *data, size_t size, int force, uint64_t ahead) {
    dcm_part10 p = {0};
    dcm_bytes b = {0};
    dcm_error err = {0};
    uint64_t offset, length;
    dcm_read_mode mode;
    int code;
    CHECK(!dcm_bytes_borrow(&b, data, size));
    dcm_part10_start(&p, size, UINT32_MAX, force);
    code = dcm_part10_run(&p, &b, &offset, &length, &mode, &err);
    CHECK(code == DCM_OK || code == DCM_E_EMPTY || code == DCM_E_NOT_DICOM ||
          code == DCM_E_DEPTH);
    CHECK(code == DCM_OK || (err.code == code && err.offset <= size));
    if (!code) {
        check_level(&p.meta);
        CHECK(p.data_begin <= size && strlen(p.transfer_syntax) < sizeof p.transfer_syntax);
    }
    if (!code && !p.deflated) {
        int below = all_levels(&b, &p.data, &err);
        CHECK(below == DCM_OK || below == DCM_E_DEPTH);
        with_stop(&b, &p.data, p.data.count ? p.data.rows[p.data.count / 2].tag : 0x00100010);
    }
    in_pieces(data, size, &p, code, UINT32_MAX, force, ahead);
    dcm_part10_free(&p);
    dcm_bytes_free(&b);
}

static void as_data_set(const uint8_t *data, size_t size, int encoding) {
    dcm_index ix = {0};
    dcm_bytes b = {0};
    dcm_error err = {0};
    CHECK(!dcm_bytes_borrow(&b, data, size));
    dcm_index_start(&ix, 0, size, encoding, UINT32_MAX, DCM_ONE_LEVEL);
    int code = dcm_index_run(&ix, &b, &err);
    CHECK(code == DCM_OK || code == DCM_E_DEPTH);
    if (!code) code = all_levels(&b, &ix, &err);
    CHECK(code == DCM_OK || code == DCM_E_DEPTH);
    dcm_index_free(&ix);
    dcm_bytes_free(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    as_file(data, size, 0, size % 97);
    as_file(data, size, 1, 0);
    if (size < 4096)
        for (int encoding = 0; encoding < 4; encoding++) as_data_set(data, size, encoding);
    return 0;
}
