/* fuzz_frames.c: reads any bytes as the value of encapsulated pixel data.
 *
 * The first byte is Number of Frames, the second the number of entries of the
 * Extended Offset Table; its offsets and lengths follow, then the value.
 *
 * Frames are within the value, one after another; a stream that supplies its bytes
 * as they are requested gives the same frames, issues and codes as one in memory,
 * and no bytes outside of the value are requested; a frame joined in place is the
 * same; if no length is wrong, headers and frames are the complete value. */
#include "replay.h"

typedef struct input {
    const uint8_t *data;
    uint64_t size, frames, entries, begin;
} input;

static void start(dcm_frames *t, const input *in) {
    dcm_frames_start(t, in->begin, in->size, in->frames);
    if (in->entries) {
        const uint64_t n = 8 * in->entries;
        const uint8_t *lengths = in->frames % 2 ? in->data + 2 + n : NULL;
        CHECK(!dcm_frames_extended(t, in->data + 2, n, lengths, lengths ? n : 0));
    }
}

/* Supplies exactly the bytes that are requested. */
static int in_pieces(dcm_frames *t, const input *in, dcm_error *err) {
    dcm_bytes b = {0};
    int code;
    dcm_bytes_reset(&b, in->size);
    while ((code = dcm_frames_run(t, &b, err)) == DCM_NEED) {
        uint8_t *space;
        const uint64_t offset = t->need_offset, length = t->need_length;
        CHECK(length && offset >= in->begin && offset <= in->size &&
              length <= in->size - offset);
        CHECK(!dcm_bytes_at(&b, offset, length));
        CHECK(!dcm_bytes_reserve(&b, length, &space));
        memcpy(space, in->data + offset, (size_t)length);
        CHECK(!dcm_bytes_commit(&b, offset, length, 1) && b.n_segments == 1);
    }
    dcm_bytes_free(&b);
    return code;
}

static void check_table(const dcm_frames *t, const input *in) {
    CHECK(t->count && t->count <= (in->frames ? in->frames : 1));
    CHECK(t->offsets[0] >= in->begin && t->offsets[t->count] <= in->size);
    for (uint64_t i = 0; i < t->count; i++)
        CHECK(t->offsets[i + 1] - t->offsets[i] >= 8 && t->offsets[i + 1] > t->offsets[i]);
    CHECK(t->source >= DCM_FRAMES_EXTENDED && t->source <= DCM_FRAMES_FRAGMENTS);
}

static void check_issues(const dcm_frames *t, const input *in) {
    CHECK(t->n_issues <= 80);
    for (uint64_t i = 0; i < t->n_issues; i++) {
        CHECK(is_issue(t->issues[i].code));
        CHECK(t->issues[i].offset >= in->begin && t->issues[i].offset <= in->size);
    }
}

/* Joins all frames and returns the sum of their lengths. *clean: no repairs. */
static uint64_t join_all(const dcm_frames *t, const input *in, int *clean) {
    uint64_t sum = 0;
    *clean = 1;
    for (uint64_t i = 0; i < t->count; i++) {
        const uint64_t n = t->offsets[i + 1] - t->offsets[i];
        uint64_t length, again;
        dcm_issue issue, same;
        dcm_error err = {0};
        uint8_t *out = malloc((size_t)n), *place = malloc((size_t)n);
        CHECK(out && place);
        memcpy(place, in->data + t->offsets[i], (size_t)n);
        int code = dcm_frames_join(in->data + t->offsets[i], n, out, &length, &issue, &err);
        CHECK(code == DCM_OK || (code == DCM_E_FRAMES && err.code == code && err.offset <= n));
        CHECK(code == dcm_frames_join(place, n, place, &again, &same, &err));
        CHECK(length == again && length <= n && (code || issue.code == same.code));
        CHECK(!memcmp(out, place, (size_t)length) && (code || issue.offset <= n));
        if (code || issue.code) *clean = 0;
        sum += length;
        free(out);
        free(place);
    }
    return sum;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < 2 || (size - 2) / 16 < data[1]) return 0;
    const input in = {data, size, data[0], data[1], 2 + 16 * (uint64_t)data[1]};
    dcm_frames t = {0}, other = {0};
    dcm_error err = {0}, same = {0};
    dcm_bytes b;
    CHECK(!dcm_bytes_borrow(&b, data, size));
    start(&t, &in);
    start(&other, &in);
    const int code = dcm_frames_run(&t, &b, &err);
    CHECK(code == DCM_OK || (code == DCM_E_FRAMES && err.code == code));
    CHECK(err.offset <= in.size && in_pieces(&other, &in, &same) == code);
    CHECK(err.offset == same.offset && t.n_issues == other.n_issues);
    CHECK(!t.n_issues ||
          !memcmp(t.issues, other.issues, (size_t)t.n_issues * sizeof *t.issues));
    check_issues(&t, &in);
    if (!code) {
        int clean;
        check_table(&t, &in);
        CHECK(t.count == other.count && t.source == other.source);
        CHECK(!memcmp(t.offsets, other.offsets, (size_t)(t.count + 1) * sizeof *t.offsets));
        join_all(&t, &in, &clean);
        /* the same bytes as fragments alone */
        const uint64_t begin = t.offsets[0], end = t.offsets[t.count], frames = t.count;
        dcm_frames_fragments(&other, begin, end, frames);
        if (!dcm_frames_run(&other, &b, &err)) {
            const input part = {data, end, frames, 0, begin};
            check_table(&other, &part);
            const uint64_t sum = join_all(&other, &part, &clean);
            const uint64_t all = other.offsets[other.count] - other.offsets[0];
            if (!other.repairs && !other.n_issues)
                CHECK(clean && sum + 8 * other.n_fragments == all);
        }
    }
    dcm_frames_free(&t);
    dcm_frames_free(&other);
    dcm_bytes_free(&b);
    return 0;
}
