/* levels.h: indexes all levels of a data set in all ways, and checks what must be
 * true for any bytes. For the fuzz targets and the allocation test. */
#ifndef LEVELS_H
#define LEVELS_H

#include "check.h"
#include "header.h"

/* The rows of all levels and items in the order of the stream. */
typedef struct list {
    dcm_row *rows;
    unsigned *depth;
    size_t count, capacity;
} list;

static void list_add(list *l, const dcm_row *row, unsigned depth) {
    if (l->count == l->capacity) {
        l->capacity = l->capacity ? l->capacity * 2 : 64;
        l->rows = realloc(l->rows, l->capacity * sizeof *l->rows);
        l->depth = realloc(l->depth, l->capacity * sizeof *l->depth);
        CHECK(l->rows && l->depth);
    }
    l->rows[l->count] = *row;
    l->depth[l->count++] = depth;
}

static void list_free(list *l) {
    free(l->rows);
    free(l->depth);
    memset(l, 0, sizeof *l);
}

static void check_row(const dcm_row *row, uint64_t begin, uint64_t end) {
    CHECK(row->header == 8 || row->header == 12);
    CHECK(row->offset >= begin + row->header && row->offset <= end);
    CHECK(row->length <= end - row->offset);
    CHECK(row->vr < DCM_VR_COUNT);
    if (row->flags & DCM_ROW_DELIMITED) CHECK(row->flags & DCM_ROW_UNDEFINED);
    CHECK(!(row->flags & DCM_ROW_ITEMS && row->flags & DCM_ROW_FRAGMENTS));
}

static int by_offset(const void *a, const void *b) {
    const dcm_row *x = a, *y = b;
    return x->offset < y->offset ? -1 : x->offset > y->offset;
}

/* Checks a complete level: tags ascend; values are within it and do not overlap. */
static void check_level(const dcm_index *ix) {
    dcm_row *rows = malloc((size_t)(ix->count + 1) * sizeof *rows);
    CHECK(rows && ix->state && !ix->sp && ix->n_issues <= 257);
    for (uint64_t i = 0; i < ix->count; i++) {
        check_row(ix->rows + i, ix->begin, ix->end);
        CHECK(!i || ix->rows[i - 1].tag < ix->rows[i].tag);
        CHECK(dcm_index_find(ix, ix->rows[i].tag) == ix->rows + i);
        CHECK(ix->rows[i].tag >= ix->from && ix->rows[i].tag <= ix->stop);
        rows[i] = ix->rows[i];
    }
    qsort(rows, (size_t)ix->count, sizeof *rows, by_offset);
    for (uint64_t i = 1; i < ix->count; i++)
        CHECK(rows[i - 1].offset + rows[i - 1].length <= rows[i].offset - rows[i].header);
    for (uint64_t i = 0; i < ix->n_issues; i++) {
        CHECK(is_issue(ix->issues[i].code));
        CHECK(ix->issues[i].offset <= ix->end);
    }
    free(rows);
}

/* Checks the order of the stream: what begins within a row ends within it, with a
 * greater depth. */
static void check_flat(const dcm_index *ix) {
    for (uint64_t i = 0; i < ix->count; i++) {
        const dcm_row *row = ix->rows + i, *in;
        check_row(row, ix->begin, ix->end);
        CHECK(row->depth <= (i ? row[-1].depth + 1 : 0));
        for (in = row + 1; in < ix->rows + ix->count && in < row + 4; in++) {
            CHECK(in->offset - in->header >= row->offset);
            if (in->offset - in->header >= row->offset + row->length) break;
            CHECK(in->offset + in->length <= row->offset + row->length);
            CHECK(in->depth >= row->depth + (row->tag != DCM_ITEM));
        }
    }
}

#define DEEPEST 20 /* deeper levels are checked by the flat index alone */

/* Adds the rows of a level and of all levels below. DCM_OK or an error. */
static int add_levels(list *l, const dcm_bytes *b, const dcm_index *ix, unsigned depth,
                      dcm_error *err) {
    int code = DCM_OK;
    check_level(ix);
    for (uint64_t i = 0; i < ix->count && !code; i++) {
        const dcm_row *row = ix->rows + i;
        list_add(l, row, depth);
        if (!(row->flags & DCM_ROW_ITEMS)) continue;
        dcm_index work = {0};
        dcm_item *items = NULL;
        uint64_t capacity = 0, count = 0, at = row->offset;
        code = dcm_items(row, b, &work, &items, &capacity, &count, err);
        CHECK(code != DCM_NEED);
        for (uint64_t k = 0; k < count && !code; k++) {
            const dcm_item *item = items + k;
            CHECK(item->offset >= at + 8 && item->offset <= row->offset + row->length);
            at = item->offset + item->length;
            CHECK(item->length <= row->offset + row->length - item->offset);
            dcm_row as_row = {
                item->offset, item->length, DCM_ITEM, DCM_VR_NONE, 8, item->flags, 0};
            list_add(l, &as_row, depth + 1);
            if (depth == DEEPEST) continue;
            dcm_index inner = {0};
            dcm_index_start(&inner, item->offset, at, item->encoding, UINT32_MAX,
                            DCM_ONE_LEVEL);
            code = dcm_index_run(&inner, b, err);
            CHECK(code != DCM_NEED);
            if (!code) code = add_levels(l, b, &inner, depth + 1, err);
            dcm_index_free(&inner);
        }
        dcm_free(items);
        dcm_index_free(&work);
    }
    return code;
}

/* The flat index of a level that was indexed. */
static int flat_of(dcm_index *flat, const dcm_bytes *b, const dcm_index *ix, dcm_error *err) {
    dcm_index_start(flat, ix->begin, ix->state == DCM_INDEX_STOPPED ? ix->pos : ix->end,
                    ix->encoding, UINT32_MAX, DCM_FLAT);
    int code = dcm_index_run(flat, b, err);
    CHECK(code != DCM_NEED);
    if (!code) check_flat(flat);
    return code;
}

/* If tags ascend, both ways to read all levels give the same rows. */
static void check_same(const dcm_index *flat, const list *l) {
    size_t k = 0;
    for (uint64_t i = 0; i < flat->count; i++) {
        const dcm_row *x = flat->rows + i, *y = l->rows + k;
        if (x->depth > DEEPEST + (x->tag == DCM_ITEM)) continue;
        CHECK(k < l->count);
        CHECK(x->tag == y->tag && x->offset == y->offset && x->length == y->length);
        CHECK(x->vr == y->vr && x->header == y->header && x->depth == l->depth[k]);
        if (x->tag != DCM_ITEM) CHECK(x->flags == y->flags);
        k++;
    }
    CHECK(k == l->count);
}

/* The flat index of each sequence of a level is a part of the flat index of the
 * level. */
static int check_parts(const dcm_index *flat, const dcm_bytes *b, const dcm_index *ix,
                       dcm_error *err) {
    uint64_t i = 0;
    int code = DCM_OK;
    for (uint64_t k = 0; k < ix->count && !code; k++) {
        const dcm_row *row = ix->rows + k;
        if (!(row->flags & DCM_ROW_ITEMS)) continue;
        dcm_index part = {0};
        dcm_index_start(&part, row->offset, row->offset + row->length, dcm_row_encoding(row),
                        UINT32_MAX, DCM_FLAT_ITEMS);
        code = dcm_index_run(&part, b, err);
        CHECK(!code || code == DCM_E_MEMORY);
        while (i < flat->count && flat->rows[i++].offset != row->offset) continue;
        for (uint64_t n = 0; n < part.count && !code; n++, i++) {
            CHECK(i < flat->count);
            const dcm_row *x = flat->rows + i, *y = part.rows + n;
            CHECK(x->tag == y->tag && x->offset == y->offset && x->length == y->length);
            CHECK(x->vr == y->vr && x->header == y->header && x->depth == y->depth);
        }
        CHECK(code || i == flat->count || !flat->rows[i].depth);
        dcm_index_free(&part);
    }
    return code;
}

/* Reads all levels below a level that was indexed, in both ways. */
static int all_levels(const dcm_bytes *b, const dcm_index *ix, dcm_error *err) {
    list l = {0};
    dcm_index flat = {0};
    int code = add_levels(&l, b, ix, 0, err), flat_code;
    flat_code = flat_of(&flat, b, ix, err);
    if (!code && !flat_code && !flat.unsorted) {
        check_same(&flat, &l);
        code = check_parts(&flat, b, ix, err);
    }
    list_free(&l);
    dcm_index_free(&flat);
    return code > flat_code ? code : flat_code;
}

#endif
