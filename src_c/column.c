/* column.c: the buffers of columns, and tables of columns. */
#include "column.h"

int dcm_column_null(dcm_column *c, unsigned at, uint64_t count) {
    int code = DCM_OK;
    for (uint64_t i = 0; i < count && !code; i++) code = put_null(c, at);
    return code;
}

int dcm_column_list(dcm_column *c, unsigned at) {
    return push(c, at, 1);
}

int dcm_column_text(dcm_column *c, const char *p, uint64_t n) {
    return put_bytes(c, p, n);
}

int dcm_column_int(dcm_column *c, int64_t value) {
    return put_number(c, &value, 1);
}

void dcm_column_free(dcm_column *c) {
    for (unsigned at = 0; at <= DCM_COLUMN_LISTS; at++) {
        dcm_free(c->layers[at].valid);
        dcm_free(c->layers[at].ends);
    }
    dcm_free(c->data);
    memset(c, 0, sizeof *c);
}

static int column_join(dcm_column *c, const dcm_column *from) {
    int code = reserve_data(c, from->used);
    for (unsigned at = 0; !code && at <= c->lists; at++) {
        dcm_layer *l = c->layers + at;
        const dcm_layer *f = from->layers + at;
        uint64_t base = at < c->lists ? c->layers[at + 1].count : c->used;
        if (l->count + f->count + 2 > l->capacity)
            code = layer_grow(c, at, l->count + f->count + 2);
        if (code || !f->count) continue;
        memcpy(l->valid + l->count, f->valid, (size_t)f->count);
        if (is_varying(c, at))
            for (uint64_t i = 1; i <= f->count; i++)
                l->ends[l->count + i] = (int32_t)(f->ends[i] + (int64_t)base);
        l->count += f->count;
    }
    if (code) return code;
    if (from->used) memcpy(c->data + c->used, from->data, (size_t)from->used);
    c->used += from->used;
    return DCM_OK;
}

/* Packs bytes of 0 and 1 to bits, in place, lowest first; returns the number of 0s. */
static uint64_t pack_bits(uint8_t *valid, uint64_t count) {
    uint64_t ones = 0;
    for (uint64_t i = 0; i < count; i += 8) {
        uint64_t n = count - i < 8 ? count - i : 8;
        unsigned byte = 0;
        for (uint64_t j = 0; j < n; j++) {
            byte |= (unsigned)valid[i + j] << j;
            ones += valid[i + j];
        }
        valid[i / 8] = (uint8_t)byte;
    }
    return count - ones;
}

int dcm_column_seal(dcm_column *c) {
    for (unsigned at = 0; at <= c->lists; at++) {
        dcm_layer *l = c->layers + at;
        int code = l->capacity ? DCM_OK : layer_grow(c, at, 1);
        if (code) return code;
        l->nulls = pack_bits(l->valid, l->count);
    }
    return c->data ? DCM_OK : reserve_data(c, 1);
}

int dcm_columns_init(dcm_columns *c, const dcm_plan *plan) {
    memset(c, 0, sizeof *c);
    c->columns = dcm_alloc(plan->n_columns * sizeof *c->columns);
    if (!c->columns) return DCM_E_MEMORY;
    memcpy(c->columns, plan->columns, plan->n_columns * sizeof *c->columns);
    c->n_columns = plan->n_columns;
    return DCM_OK;
}

void dcm_columns_expect(dcm_columns *c, uint64_t rows) {
    for (uint32_t i = 0; i < c->n_columns; i++)
        for (unsigned at = 0; at <= DCM_COLUMN_LISTS; at++)
            c->columns[i].layers[at].hint = rows;
}

void dcm_columns_free(dcm_columns *c) {
    for (uint32_t i = 0; i < c->n_columns; i++) dcm_column_free(c->columns + i);
    dcm_free(c->columns);
    dcm_free(c->errors);
    dcm_free(c->issues);
    memset(c, 0, sizeof *c);
}

uint64_t dcm_columns_fill(const dcm_columns *c) {
    uint64_t most = 0;
    for (uint32_t i = 0; i < c->n_columns; i++) {
        const dcm_column *column = c->columns + i;
        if (column->used > most) most = column->used;
        for (unsigned at = 0; at <= column->lists; at++)
            if (column->layers[at].count > most) most = column->layers[at].count;
    }
    return most;
}

int dcm_columns_join(dcm_columns *c, const dcm_columns *from) {
    if (dcm_columns_fill(c) + dcm_columns_fill(from) > INT32_MAX / 2 && c->rows)
        return DCM_E_TOO_LARGE;
    int code = dcm_grow((void **)&c->errors, &c->cap_errors, c->n_errors + from->n_errors,
                        sizeof *c->errors);
    if (!code)
        code = dcm_grow((void **)&c->issues, &c->cap_issues, c->n_issues + from->n_issues,
                        sizeof *c->issues);
    for (uint32_t i = 0; !code && i < c->n_columns; i++)
        code = column_join(c->columns + i, from->columns + i);
    if (code) return code;
    for (uint64_t i = 0; i < from->n_errors; i++) {
        c->errors[c->n_errors] = from->errors[i];
        c->errors[c->n_errors++].row += c->rows;
    }
    for (uint64_t i = 0; i < from->n_issues; i++) {
        c->issues[c->n_issues] = from->issues[i];
        c->issues[c->n_issues++].row += c->rows;
    }
    c->rows += from->rows;
    return DCM_OK;
}
