/* alloc.c: makes each allocation of the core fail, one after another, in each
 * operation on a file: the error is reported, and no memory leaks.
 *
 *     alloc DIRECTORY FILE...       built with -DDCM_TEST_ALLOC
 */
#include "levels.h"
#include "plan.h"

typedef struct input {
    const char *path, *directory;
    uint8_t *data;
    size_t size;
} input;

/* Indexes all levels of a stream in memory, unless it is deflated. */
static int index_all(const input *in) {
    dcm_part10 p = {0};
    dcm_bytes b = {0};
    dcm_error err = {0};
    uint64_t offset, length;
    dcm_read_mode mode;
    int code = dcm_bytes_borrow(&b, in->data, in->size);
    if (!code) {
        dcm_part10_start(&p, in->size, UINT32_MAX, 0);
        code = dcm_part10_run(&p, &b, &offset, &length, &mode, &err);
        CHECK(code == err.code || !code);
        if (!code && !p.deflated) code = all_levels(&b, &p.data, &err);
    }
    dcm_part10_free(&p);
    dcm_bytes_free(&b);
    return code;
}

/* Reads the header of the file twice, reusing the memory. */
static int read_twice(const input *in) {
    dcm_part10 p = {0};
    dcm_bytes b = {0};
    dcm_error err = {0};
    int code = DCM_OK;
    for (int i = 0; i < 2 && !code; i++) {
        dcm_file f;
        if ((code = dcm_file_open(&f, in->path, &err))) break;
        dcm_bytes_reset(&b, f.size);
        dcm_part10_start(&p, f.size, 0x7FE00007, 0);
        code = dcm_part10_read(&p, &b, &f, &err);
        if (!code) dcm_bytes_truncate(&b, p.data.pos);
        dcm_file_close(&f);
    }
    dcm_part10_free(&p);
    dcm_bytes_free(&b);
    return code;
}

static int one_row(dcm_columns *c, const dcm_plan *plan, dcm_reader *r, const input *in) {
    dcm_span path = {in->path, strlen(in->path)};
    int code = dcm_columns_file(c, plan, r, path, path, NULL);
    while (code == DCM_WAITING) {
        int text = r->state == DCM_READER_TEXT;
        dcm_error failed = {DCM_E_DEFLATE, 0, 0, 0, 0};
        for (uint64_t i = 0; i < r->n_text_requests; i++) {
            if (r->text_requests[i].done) continue;
            r->text_requests[i].text = "?";
            r->text_requests[i].text_length = 1;
            r->text_requests[i].done = 1;
        }
        code = dcm_columns_resume(c, plan, r, text ? NULL : &failed);
    }
    return code;
}

/* Reads the offsets of the frames from the file, and one frame. */
static int frame_table(const input *in) {
    dcm_part10 p = {0};
    dcm_bytes b = {0}, own = {0};
    dcm_frames t = {0};
    dcm_error err = {0};
    dcm_file f;
    int code = dcm_file_open(&f, in->path, &err);
    if (code) return code; /* on Windows opening allocates */
    dcm_bytes_reset(&b, f.size);
    dcm_part10_start(&p, f.size, UINT32_MAX, 0);
    code = dcm_part10_read(&p, &b, &f, &err);
    const dcm_row *row = code ? NULL : dcm_index_find(&p.data, 0x7FE00010);
    for (uint64_t frames = 1; row && frames < 40 && !code; frames += 19) {
        code =
            dcm_frames_find(&t, &p.data, row, p.transfer_syntax, frames, &own, &own, &f, &err);
        CHECK(code != DCM_E_MEMORY || err.code == code);
        if (code == DCM_E_FRAMES)
            code = DCM_OK; /* the file has another number of frames */
        else if (!code) {
            uint8_t out[64];
            uint64_t length;
            dcm_issue issue;
            const uint64_t n = t.offsets[1] - t.offsets[0];
            if (n <= sizeof out)
                code = dcm_frames_join(in->data + t.offsets[0], n, out, &length, &issue, &err);
        }
    }
    dcm_frames_free(&t);
    dcm_bytes_free(&own);
    dcm_bytes_free(&b);
    dcm_part10_free(&p);
    dcm_file_close(&f);
    return code;
}

/* Writes two rows, joins and seals them. */
static int columns(const input *in) {
    dcm_columns a = {0}, b = {0};
    dcm_reader *r = calloc(1, sizeof *r);
    CHECK(r);
    int code = dcm_columns_init(&a, &plan);
    if (!code) code = dcm_columns_init(&b, &plan);
    if (!code) code = one_row(&a, &plan, r, in);
    if (!code) code = one_row(&b, &plan, r, in);
    if (!code) code = dcm_columns_join(&a, &b);
    for (uint32_t i = 0; !code && i < a.n_columns; i++) code = dcm_column_seal(a.columns + i);
    /* out of memory in one row is the error of that row */
    for (uint64_t i = 0; !code && i < a.n_errors; i++)
        if (a.errors[i].error.code == DCM_E_MEMORY) code = DCM_E_MEMORY;
    dcm_columns_free(&a);
    dcm_columns_free(&b);
    dcm_reader_free(r);
    free(r);
    return code;
}

static int list_directory(const input *in) {
    dcm_walk w = {0};
    dcm_error err = {0};
    int code = dcm_walk_start(&w, in->directory, 1, &err);
    while (!code) code = dcm_walk_next(&w, &err);
    dcm_walk_free(&w);
    if (code != DCM_END) return code;
    uint64_t end = strlen(in->path);
    int64_t size, mtime_ns;
    int32_t none = 0;
    dcm_list one = {in->path, &end, 1, &size, &mtime_ns, &none};
    code = dcm_list_stat(&one);
    CHECK(code || size == (int64_t)in->size);
    return code;
}

/* Reads the first bytes of the file as native frames: planes through a window
 * table, then cells of one bit. */
static int native_frames(const input *in) {
    uint8_t out[2 * 4 * 4 * 3];
    dcm_error err = {0};
    dcm_native_frame planes = {.rows = 4,
                               .columns = 4,
                               .samples = 3,
                               .bits_allocated = 16,
                               .planar = 1,
                               .slope = 1,
                               .width = 9,
                               .function = DCM_VOI_SIGMOID};
    dcm_native_frame bits = {
        .rows = 4, .columns = 4, .samples = 1, .bits_allocated = 1, .slope = 1, .width = 9};
    dcm_native_batch b = {.out = out,
                          .height = 4,
                          .width = 4,
                          .samples = 3,
                          .size = 1,
                          .convert = DCM_CONVERT_WINDOW,
                          .file.handle = -1};
    int code = dcm_native_batch_read(&b, in->path, &planes, 0, &err);
    b.samples = 1;
    if (!code) code = dcm_native_batch_read(&b, in->path, &bits, 1, &err);
    CHECK(code == err.code || !code);
    dcm_native_batch_free(&b);
    return code;
}

/* Whether the requested failure has not happened yet. */
static int is_pending(int64_t n) {
    int pending = 0;
    while (n-- && !pending) {
        void *block = dcm_alloc(1);
        pending = !block;
        dcm_free(block);
    }
    dcm_alloc_fail_at(0);
    return pending;
}

/* Runs an operation with the first, second, ... allocation failing; returns the
 * number of allocations. */
static int64_t fail_each(int (*operation)(const input *), const input *in) {
    dcm_alloc_fail_at(0);
    int expected = operation(in), pending = 0;
    int64_t n = 0;
    CHECK(expected != DCM_E_MEMORY && dcm_alloc_in_use() == 0);
    while (!pending) {
        dcm_alloc_fail_at(++n);
        int code = operation(in);
        pending = is_pending(n);
        /* failing to shrink a block is not an error */
        CHECK(code == DCM_E_MEMORY || code == expected);
        CHECK(!pending || code == expected);
        CHECK(dcm_alloc_in_use() == 0);
    }
    return n - 1;
}

int main(int argc, char **argv) {
    int64_t count[6] = {0};
    CHECK(argc > 2);
    for (int i = 2; i < argc; i++) {
        input in = {argv[i], argv[1], NULL, 0};
        FILE *f = fopen(in.path, "rb");
        CHECK(f && !fseek(f, 0, SEEK_END));
        in.size = (size_t)ftell(f);
        in.data = malloc(in.size + 1);
        CHECK(in.data && !fseek(f, 0, SEEK_SET) && fread(in.data, 1, in.size, f) == in.size);
        fclose(f);
        count[0] += fail_each(index_all, &in);
        count[1] += fail_each(read_twice, &in);
        count[2] += fail_each(columns, &in);
        count[4] += fail_each(native_frames, &in);
        if (i == 2) count[3] += fail_each(list_directory, &in);
        count[5] += fail_each(frame_table, &in);
        free(in.data);
    }
    for (int i = 0; i < 6; i++) printf("%lld%c", (long long)count[i], i < 5 ? ' ' : '\n');
    return 0;
}
