/* fuzz_columns.c: reads any bytes as a file that becomes a row of columns.
 *
 * Every file is one row; every column has one entry for it; lists and texts are
 * within their buffers; text is UTF-8; the same file gives the same row again, and
 * so does a stream that supplies its bytes step by step. */
#define _POSIX_C_SOURCE 200809L
#include "../c/plan.h"
#include "replay.h"

#include <unistd.h>

enum { RANGES = 4096 };

static char path[] = "/tmp/fuzz_columns.XXXXXX";
static int handle = -1;

static void leave(void) {
    unlink(path);
}

static void put(const uint8_t *data, size_t size) {
    if (handle < 0) {
        handle = mkstemp(path);
        CHECK(handle >= 0 && !atexit(leave));
    }
    CHECK(!ftruncate(handle, 0));
    CHECK(pwrite(handle, data, size, 0) == (ssize_t)size);
}

static int is_utf8(const uint8_t *p, uint64_t n) {
    for (uint64_t i = 0; i < n;) {
        unsigned more = p[i] < 0x80 ? 0 : p[i] >> 5 == 6 ? 1 : p[i] >> 4 == 14 ? 2 : 3;
        if (more == 3 && p[i] >> 3 != 30) return 0;
        uint32_t c = more ? p[i] & (0x3Fu >> more) : p[i];
        if (more >= n - i) return 0;
        for (unsigned k = 1; k <= more; k++) {
            if (p[i + k] >> 6 != 2) return 0;
            c = c << 6 | (p[i + k] & 0x3F);
        }
        static const uint32_t least[] = {0, 0x80, 0x800, 0x10000};
        if (c < least[more] || c > 0x10FFFF || (c >= 0xD800 && c < 0xE000)) return 0;
        i += more + 1;
    }
    return 1;
}

static void check_column(const dcm_column *c, uint64_t rows) {
    CHECK(c->layers[0].count == rows && c->used <= c->capacity);
    for (unsigned at = 0; at <= c->lists; at++) {
        const dcm_layer *l = c->layers + at;
        int values = at == c->lists;
        int varies = !values || c->type == DCM_COLUMN_TEXT || c->type == DCM_COLUMN_BYTES;
        uint64_t below = values ? c->used : c->layers[at + 1].count;
        CHECK(l->count <= l->capacity);
        for (uint64_t i = 0; i < l->count; i++) CHECK(l->valid[i] < 2);
        if (!varies) {
            CHECK(below == l->count * 8);
            continue;
        }
        if (!l->count) {
            CHECK(!below);
            continue;
        }
        CHECK(l->ends[0] == 0 && (uint64_t)l->ends[l->count] == below);
        for (uint64_t i = 0; i < l->count; i++) {
            CHECK(l->ends[i] <= l->ends[i + 1]);
            if (!l->valid[i])
                CHECK(l->ends[i] == l->ends[i + 1]);
            else if (values && c->type == DCM_COLUMN_TEXT && c->data)
                CHECK(is_utf8(c->data + l->ends[i], (uint64_t)(l->ends[i + 1] - l->ends[i])));
        }
    }
}

/* Does what Python does: returns the deflated bytes as they are, and some text for
 * what C does not decode. */
static void help(dcm_reader *r, const uint8_t *data, size_t size) {
    if (r->state == DCM_READER_INFLATE) {
        uint64_t begin = r->part10.data_begin;
        uint8_t *space;
        CHECK(begin <= size);
        dcm_bytes_reset(&r->inflated, size - begin);
        CHECK(!dcm_bytes_reserve(&r->inflated, size - begin, &space));
        memcpy(space, data + begin, (size_t)(size - begin));
        CHECK(!dcm_bytes_commit(&r->inflated, 0, size - begin, 0));
    }
    for (uint64_t i = 0; r->state == DCM_READER_TEXT && i < r->n_text_requests; i++) {
        dcm_text_request *a = r->text_requests + i;
        if (a->done) continue;
        CHECK(a->value + a->length <= r->pool_used);
        CHECK(a->charset + a->charset_length <= r->pool_used);
        a->text = a->length % 2 ? NULL : "caf\xC3\xA9\\b";
        a->text_length = a->text ? 7 : 0;
        a->done = 1;
    }
}

/* Adds to the ranges what a stream needs, more every time. */
static void add_range(dcm_range_list *list, dcm_range *ranges, const uint8_t *data,
                      size_t size) {
    uint64_t length = list->need_length + (list->count << 6);
    CHECK(list->need_offset < size && list->need_length &&
          list->need_length <= size - list->need_offset);
    if (length > size - list->need_offset) length = size - list->need_offset;
    CHECK(list->count < RANGES);
    ranges[list->count++] = (dcm_range){list->need_offset, length, data + list->need_offset};
    list->ranges = ranges;
}

/* Checks that a stream that supplies its bytes step by step gives the same row as
 * the file, which `c` has twice. */
static void check_stream(const dcm_columns *c, dcm_reader *r, const uint8_t *data,
                         size_t size) {
    static dcm_range ranges[RANGES];
    dcm_span name = {path, sizeof path - 1};
    dcm_range_list list = {0};
    dcm_columns s = {0};
    CHECK(!dcm_columns_init(&s, &plan));
    int code = dcm_columns_stream(&s, &plan, r, name, &list, size, 0);
    while (code == DCM_WAITING) {
        if (r->state == DCM_READER_BYTES)
            add_range(&list, ranges, data, size);
        else
            help(r, data, size);
        code = dcm_columns_resume(&s, &plan, r, NULL);
    }
    CHECK(code == DCM_OK && s.rows == 1);
    CHECK(s.n_errors * 2 == c->n_errors && s.n_issues * 2 == c->n_issues);
    CHECK(!s.n_errors || s.errors[0].error.code == c->errors[0].error.code);
    for (uint32_t i = 0; i < s.n_columns; i++) {
        const dcm_column *one = s.columns + i, *two = c->columns + i;
        check_column(one, 1);
        CHECK(2 * one->used == two->used);
        if (i != 2 && one->used)
            CHECK(!memcmp(one->data, two->data, (size_t)one->used)); /* 2: mtime_ns */
    }
    dcm_columns_free(&s);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    dcm_columns c = {0}, other = {0};
    dcm_reader *r = calloc(1, sizeof *r);
    dcm_span name = {path, sizeof path - 1};
    CHECK(r);
    put(data, size);
    CHECK(!dcm_columns_init(&c, &plan) && !dcm_columns_init(&other, &plan));
    for (int i = 0; i < 2; i++) {
        int code = dcm_columns_file(&c, &plan, r, name, name, NULL), helped = 0;
        while (code == DCM_WAITING) {
            CHECK(helped++ < 1000);
            help(r, data, size);
            code = dcm_columns_resume(&c, &plan, r, NULL);
        }
        CHECK(code == DCM_OK && c.rows == (uint64_t)i + 1);
    }
    for (uint32_t i = 0; i < c.n_columns; i++) {
        const dcm_column *column = c.columns + i;
        check_column(column, 2);
        if (column->layers[0].ends) { /* two equal rows */
            const int32_t *ends = column->layers[0].ends;
            CHECK(ends[2] == 2 * ends[1]);
        }
        CHECK(column->layers[0].valid[0] == column->layers[0].valid[1]);
        CHECK(!(column->used % 2) && (column->used == 0 || column->lists ||
                                      !memcmp(column->data, column->data + column->used / 2,
                                              (size_t)column->used / 2)));
    }
    CHECK(c.n_errors % 2 == 0 && c.n_issues % 2 == 0 && c.n_errors <= 2);
    check_stream(&c, r, data, size);
    CHECK(!dcm_columns_join(&other, &c) && !dcm_columns_join(&other, &c) && other.rows == 4);
    for (uint32_t i = 0; i < other.n_columns; i++) {
        check_column(other.columns + i, 4);
        CHECK(!dcm_column_seal(other.columns + i));
    }
    dcm_columns_free(&c);
    dcm_columns_free(&other);
    dcm_reader_free(r);
    free(r);
    return 0;
}
