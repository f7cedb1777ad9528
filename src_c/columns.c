/* columns.c: files to rows of columns.
 *
 * A row is written level by level: the sorted rows of an index are merged with the
 * sorted wants (requested elements) of a plan, and every want appends exactly one
 * entry to each of its columns, null if there is no value. So a row is undone by truncating the
 * columns to the rows before it. This is how a row is written again after Python decoded text
 * for it. */
#include "column.h"
#include "header.h"

/* The columns at the beginning of every table. */
enum { FIXED_PATH, FIXED_SIZE, FIXED_MTIME, FIXED_SYNTAX, FIXED_COUNT };
/* The columns about pixel data at its end. */
enum { PIXEL_OFFSET, PIXEL_LENGTH, PIXEL_FRAGMENTS, PIXEL_FRAMES, PIXEL_OFFSETS };

/* The Specific Character Set of a level. */
enum charset {
    CHARSET_LATIN, /* ASCII or Latin-1 */
    CHARSET_UTF8,
    CHARSET_OTHER,  /* defined, and decoded by Python unless the text is ASCII */
    CHARSET_UNKNOWN /* not defined: always decoded by Python */
};

/* Result of the functions below that append a value: the column cannot hold it. */
enum { UNFIT = -1 };

/* One data set level that contains a wanted value. */
typedef struct scope {
    const struct scope *parent;
    const dcm_index *index;
    const dcm_bytes *bytes; /* those of its bytes that are in memory */
    enum charset charset;
    uint64_t charset_offset, charset_length; /* its value in r->pool */
} scope;

typedef struct work {
    dcm_columns *c;
    const dcm_plan *plan;
    dcm_reader *r;
    dcm_error err;
} work;

/* ------------------------------------------------------------- values --- */

static int add_issue(work *w, uint32_t code, uint64_t offset, uint32_t tag) {
    dcm_columns *c = w->c;
    int failed =
        dcm_grow((void **)&c->issues, &c->cap_issues, c->n_issues + 1, sizeof *c->issues);
    if (failed) return failed;
    c->issues[c->n_issues++] = (dcm_row_issue){c->rows, {code, tag, offset}};
    return DCM_OK;
}

static int add_issues(work *w, const dcm_issue *issue, uint64_t n) {
    int code = DCM_OK;
    for (; n && !code; n--, issue++)
        code = add_issue(w, issue->code, issue->offset, issue->tag);
    return code;
}

/* Sets *p to the bytes of a value or an item header. Bytes that were skipped are
 * read into a scratch buffer, which the next call reuses. */
static int bytes_at(work *w, const scope *s, uint64_t offset, uint64_t length,
                    const uint8_t **p) {
    dcm_reader *r = w->r;
    *p = dcm_bytes_at(s->bytes, offset, length);
    if (*p || !length) return DCM_OK;
    if (s->bytes == &r->inflated) /* is completely in memory: never happens */
        return dcm_fail(&w->err, DCM_E_CHANGED, offset, 0);
    int code = dcm_grow((void **)&r->scratch, &r->cap_scratch, length, 1);
    if (code) return dcm_fail(&w->err, code, offset, 0);
    *p = r->scratch;
    r->bytes_read += length;
    return dcm_file_read(&r->file, offset, length, r->scratch, &w->err);
}

/* Copies bytes to the pool until the row is done; *at is their offset there. */
static int keep(dcm_reader *r, const uint8_t *p, uint64_t n, uint64_t *at) {
    *at = r->pool_used;
    int code = dcm_grow((void **)&r->pool, &r->cap_pool, r->pool_used + n, 1);
    if (code) return code;
    if (n) memcpy(r->pool + r->pool_used, p, (size_t)n);
    r->pool_used += n;
    return DCM_OK;
}

/* Gets the text of a value that Python decodes. 1: *text is set; 0: the value is
 * null, or the text was requested and is not available yet. */
static int decoded_text(work *w, const scope *s, const dcm_row *row, uint8_t vr,
                        const uint8_t *p, dcm_span *text, int *code) {
    dcm_reader *r = w->r;
    const int meta = s->index == &r->part10.meta;
    for (uint64_t i = 0; i < r->n_text_requests; i++) {
        const dcm_text_request *a = r->text_requests + i;
        if (a->offset != row->offset || a->meta != meta || !a->done) continue;
        if (a->issue) *code = add_issue(w, a->issue, row->offset - row->header, row->tag);
        text->p = a->text;
        text->n = a->text_length;
        return a->text != NULL;
    }
    dcm_text_request request = {row->offset,
                                0,
                                row->length,
                                s->charset_offset,
                                s->charset_length,
                                NULL,
                                0,
                                0,
                                vr,
                                (uint8_t)((row->flags & DCM_ROW_BIG) != 0),
                                (uint8_t)meta,
                                0};
    *code = keep(r, p, row->length, &request.value);
    if (!*code)
        *code = dcm_grow((void **)&r->text_requests, &r->cap_text_requests,
                         r->n_text_requests + 1, sizeof *r->text_requests);
    if (!*code) r->text_requests[r->n_text_requests++] = request;
    return 0;
}

static dcm_span trim_text(dcm_span s, int kind) {
    if (kind == DCM_KIND_UI) return dcm_trim(s.p, s.n);
    if (kind == DCM_KIND_PN)
        while (s.n && s.p[s.n - 1] == '=') s.n--; /* empty component groups */
    return kind == DCM_KIND_STRING ? dcm_trim_right(s.p, s.n) : s;
}

static int put_unfit(work *w, dcm_column *c, unsigned at, const dcm_row *row) {
    int code = add_issue(w, DCM_I_UNFIT, row->offset - row->header, row->tag);
    return code ? code : put_null(c, at);
}

static int put_text_value(work *w, const scope *s, dcm_column *c, unsigned at,
                          const dcm_row *row, uint8_t vr, const uint8_t *p) {
    static const char hex[] = "0123456789abcdef";
    const dcm_vr_row *v = dcm_vr_rows + vr;
    dcm_span all = {(const char *)p, row->length}, one;
    int special = is_special(p, row->length), kind = v->kind, code = DCM_OK;
    if (kind == DCM_KIND_AT) {
        if (row->length % 4 || (row->length > 4 && !c->many)) return UNFIT;
        for (uint64_t i = 0; i < row->length && !code; i += 4) {
            uint32_t tag = dcm_tag(p + i, row->flags & DCM_ROW_BIG);
            char text[8];
            for (int j = 0; j < 8; j++) text[j] = hex[tag >> (28 - 4 * j) & 15];
            code = put_bytes(c, text, 8);
        }
        return code || !c->many ? code : push(c, at, 1);
    }
    if (kind == DCM_KIND_INT || kind == DCM_KIND_UINT || kind == DCM_KIND_FLOAT) {
        if (!decoded_text(w, s, row, vr, p, &all, &code)) return code ? code : put_null(c, at);
        special = 0;
        kind = DCM_KIND_TEXT;
    } else if (kind == DCM_KIND_BYTES || kind == DCM_KIND_NONE) {
        /* of an unknown element: text if all bytes are printable ASCII */
        all = dcm_trim_right(all.p, all.n);
        for (uint64_t i = 0; i < all.n; i++)
            if ((uint8_t)all.p[i] < 0x20 || (uint8_t)all.p[i] > 0x7E)
                return put_unfit(w, c, at, row);
        kind = DCM_KIND_TEXT;
    } else if (v->charset && (special || s->charset == CHARSET_UNKNOWN)) {
        int escape = memchr(p, 0x1B, (size_t)row->length) != NULL;
        if (s->charset != CHARSET_LATIN || escape) {
            if ((s->charset != CHARSET_UTF8 || escape || !is_utf8(p, row->length)) &&
                !decoded_text(w, s, row, vr, p, &all, &code))
                return code ? code : put_null(c, at);
            special = 0; /* UTF-8 already */
        }
    }
    if (code) return code;
    if (vr == DCM_VR_AE) kind = DCM_KIND_UI; /* trimmed at both ends */
    all = dcm_trim_right(all.p, all.n);
    if (!c->many || kind == DCM_KIND_PARAGRAPH) {
        one = trim_text(all, kind);
        code = put_text(c, one.p, one.n, special);
    } else {
        while (!code && dcm_next_component(&all, &one)) {
            one = trim_text(one, kind);
            code = put_text(c, one.p, one.n, special);
        }
    }
    return code || !c->many ? code : push(c, at, 1);
}

/* Converts a double that is an integer; 0 if it is not, or does not fit. */
static int integer_of(double d, int64_t *out) {
    if (!(d >= -9223372036854775808.0 && d < 9223372036854775808.0)) return 0;
    *out = (int64_t)d;
    return (double)*out == d;
}

/* Parses an integer, also one that was written as "3.0" or "3e0". */
static int parse_whole(dcm_span s, int64_t *out) {
    double d;
    return dcm_parse_int(s, out) || (dcm_parse_float(s, &d) && integer_of(d, out));
}

static int is_temporal(const dcm_column *c) {
    return c->type >= DCM_COLUMN_DATE;
}

/* `out` has 8 bytes; numbers of 4 are the first of them. */
static int number_of_text(dcm_column *c, dcm_span s, void *out) {
    double d;
    switch (c->type) {
    case DCM_COLUMN_DATE: return dcm_parse_date(s, out);
    case DCM_COLUMN_TIME: return dcm_parse_time(s, out);
    case DCM_COLUMN_DATETIME: return dcm_parse_datetime(s, out);
    default: break;
    }
    if (c->type == DCM_COLUMN_FLOAT) {
        if (!dcm_parse_float(s, &d)) return 0;
        memcpy(out, &d, 8);
        return 1;
    }
    int64_t i;
    if (!parse_whole(s, &i)) return 0;
    if (c->type == DCM_COLUMN_UINT && i < 0) return 0;
    memcpy(out, &i, 8);
    return 1;
}

static int number_of_bytes(dcm_column *c, const uint8_t *p, const dcm_vr_row *v, int big,
                           void *out) {
    double d = 0;
    int64_t i = 0;
    if (v->kind == DCM_KIND_FLOAT) {
        d = dcm_load_float(p, v->unit, big);
        if (c->type != DCM_COLUMN_FLOAT && !integer_of(d, &i)) return 0;
    } else {
        i = v->kind == DCM_KIND_INT ? dcm_load_int(p, v->unit, big)
                                    : (int64_t)dcm_load_uint(p, v->unit, big);
        int above_int64 = v->kind == DCM_KIND_UINT && i < 0;
        if (c->type == DCM_COLUMN_INT && above_int64) return 0;
        if (c->type == DCM_COLUMN_UINT && i < 0 && !above_int64) return 0;
        d = above_int64 ? (double)(uint64_t)i : (double)i;
    }
    if (c->type == DCM_COLUMN_FLOAT)
        memcpy(out, &d, 8);
    else
        memcpy(out, &i, 8);
    return 1;
}

static int put_number_value(work *w, const dcm_want *want, dcm_column *c, unsigned at,
                            const dcm_row *row, uint8_t vr, const uint8_t *p) {
    const dcm_vr_row *v = dcm_vr_rows + vr;
    const uint64_t header = row->offset - row->header;
    uint64_t number = 0;
    int code = DCM_OK;
    switch (v->kind) {
    case DCM_KIND_TEXT:
    case DCM_KIND_STRING:
    case DCM_KIND_PARAGRAPH:
    case DCM_KIND_IS:
    case DCM_KIND_DS: {
        dcm_span rest = {(const char *)p, row->length}, one = rest;
        while (!code && (!c->many || dcm_next_component(&rest, &one))) {
            int ok = number_of_text(c, one, &number);
            if (!ok && dcm_trim(one.p, one.n).n) {
                if (!c->many && memchr(p, '\\', (size_t)row->length)) return UNFIT;
                code = add_issue(w, is_temporal(c) ? DCM_I_BAD_DATE : DCM_I_BAD_NUMBER, header,
                                 row->tag);
            }
            if (!code) code = put_number(c, &number, ok);
            if (!c->many) break;
        }
        break;
    }
    case DCM_KIND_INT:
    case DCM_KIND_UINT:
    case DCM_KIND_FLOAT:
        if (is_temporal(c)) return UNFIT;
        if (row->length % v->unit) {
            code = add_issue(w, DCM_I_VALUE_LENGTH, header, row->tag);
            return code ? code : put_null(c, at);
        }
        if (!c->many && row->length > v->unit) return UNFIT;
        for (uint64_t i = 0; i < row->length && !code; i += v->unit) {
            int ok = number_of_bytes(c, p + i, v, row->flags & DCM_ROW_BIG, &number);
            if (ok && !i && want->unsigned_first && v->kind == DCM_KIND_INT) number &= 0xFFFF;
            if (!ok) code = add_issue(w, DCM_I_UNFIT, header, row->tag);
            if (!code) code = put_number(c, &number, ok);
        }
        break;
    default: return UNFIT;
    }
    return code || !c->many ? code : push(c, at, 1);
}

/* US or SS, by the Pixel Representation of this level or of one around it. */
static uint8_t us_or_ss(work *w, const scope *s) {
    for (; s; s = s->parent) {
        const dcm_row *row = dcm_index_find(s->index, 0x00280103);
        const uint8_t *p;
        if (!row || row->length != 2 || bytes_at(w, s, row->offset, 2, &p)) continue;
        return dcm_u16(p, row->flags & DCM_ROW_BIG) ? DCM_VR_SS : DCM_VR_US;
    }
    return DCM_VR_US;
}

/* Appends the value of one element. If its helpers return UNFIT, the entries that
 * they appended are removed. */
static int put_value(work *w, const scope *s, const dcm_want *want, const dcm_row *row,
                     unsigned at) {
    dcm_column *c = w->c->columns + want->column;
    uint8_t vr = row->vr;
    if ((vr == DCM_VR_UN || vr == DCM_VR_NONE) && want->vr) vr = want->vr;
    if (vr == DCM_VR_US_SS) vr = us_or_ss(w, s);
    if (vr == DCM_VR_SQ || row->flags & DCM_ROW_ITEMS) return put_unfit(w, c, at, row);
    if (!row->length) {
        if (c->many) return push(c, at, 1);
        return is_varying(c, at) ? push(c, at, 1) : put_null(c, at);
    }
    if (row->length > (c->type == DCM_COLUMN_BYTES ? DCM_BYTES_LIMIT : DCM_TEXT_LIMIT))
        return put_unfit(w, c, at, row);
    const uint8_t *p;
    int code = bytes_at(w, s, row->offset, row->length, &p);
    if (code) return code;
    uint64_t used = c->used, count = c->layers[c->lists].count;
    if (c->type == DCM_COLUMN_BYTES)
        code = put_bytes(c, p, row->length);
    else if (c->type == DCM_COLUMN_TEXT)
        code = put_text_value(w, s, c, at, row, vr, p);
    else
        code = put_number_value(w, want, c, at, row, vr, p);
    if (code == UNFIT || code == DCM_E_TOO_LARGE) {
        c->used = used;
        c->layers[c->lists].count = count;
        code = put_unfit(w, c, at, row);
    }
    return code;
}

/* ------------------------------------------------------------- levels --- */

/* Appends one entry, null or the end of a list, to every column of a want. */
static int put_entry(work *w, const dcm_want *want, unsigned at, int valid) {
    if (want->column >= 0) {
        dcm_column *c = w->c->columns + want->column;
        return valid ? push(c, at, 1) : put_null(c, at);
    }
    const dcm_level *level = w->plan->levels + want->level;
    const dcm_want *inner = w->plan->wants + level->first;
    int code = DCM_OK;
    for (uint32_t i = level->count + level->private_count; i && !code; i--)
        code = put_entry(w, inner++, at, valid);
    return code;
}

static int read_level(work *w, const dcm_level *level, const scope *s, unsigned depth,
                      unsigned at);

/* Reads an item whose elements are in [offset, end), or, if open, up to its
 * delimiter in there. */
static int read_item(work *w, const dcm_want *want, const scope *parent, uint64_t offset,
                     uint64_t end, int encoding, int open, unsigned depth, unsigned at) {
    dcm_reader *r = w->r;
    dcm_index *ix = &r->levels[depth].index;
    const dcm_level *level = w->plan->levels + want->level;
    scope s = *parent;
    s.parent = parent;
    s.index = ix;
    dcm_index_start(ix, offset, end, encoding, level->stop, DCM_ONE_LEVEL);
    ix->from = (uint32_t)open; /* with a lower bound the index stops at a delimiter */
    int code = dcm_index_run(ix, s.bytes, &w->err);
    if (code == DCM_NEED) { /* not in memory: read into bytes of its own */
        dcm_bytes *own = &r->levels[depth].bytes;
        dcm_bytes_reset(own, r->file.size);
        dcm_index_start(ix, offset, end, encoding, level->stop, DCM_ONE_LEVEL);
        ix->from = (uint32_t)open;
        code = dcm_index_read(ix, own, &r->file, &w->err);
        s.bytes = own;
        r->bytes_read += own->used;
    }
    if (!code) code = add_issues(w, ix->issues, ix->n_issues);
    return code ? code : read_level(w, level, &s, depth + 1, at);
}

/* Reads the first item without the rest of its sequence, which may have an item for
 * each of 12,000 frames. */
static int read_first_item(work *w, const dcm_want *want, const scope *s, const dcm_row *row,
                           int encoding, unsigned depth, unsigned at) {
    const uint8_t *p = NULL;
    uint64_t n = row->length < 14 ? row->length : 14;
    int code = bytes_at(w, s, row->offset, n, &p);
    if (code) return code;
    if (n < 8 || dcm_tag(p, encoding & DCM_BIG) != DCM_ITEM) return put_entry(w, want, at, 0);
    uint64_t begin = row->offset + 8, size = row->length - 8;
    uint32_t length = dcm_u32(p + 4, encoding & DCM_BIG);
    const int open = length == DCM_UNDEFINED;
    if (!open && length < size) size = length;
    encoding = dcm_item_encoding(p + 8, n - 8 < size ? n - 8 : size, encoding);
    return read_item(w, want, s, begin, begin + size, encoding, open, depth, at);
}

static int put_sequence(work *w, const dcm_want *want, const scope *s, const dcm_row *row,
                        unsigned depth, unsigned at) {
    int code;
    uint8_t vr = row->vr;
    if ((vr == DCM_VR_UN || vr == DCM_VR_NONE) && (want->vr == DCM_VR_SQ || !want->vr))
        vr = DCM_VR_SQ;
    if (vr != DCM_VR_SQ && !(row->flags & DCM_ROW_ITEMS)) {
        code = add_issue(w, DCM_I_UNFIT, row->offset - row->header, row->tag);
        return code ? code : put_entry(w, want, at, 0);
    }
    if (want->item == 1)
        return read_first_item(w, want, s, row, dcm_row_encoding(row), depth, at);
    dcm_reader_level *l = w->r->levels + depth;
    scope complete = *s;
    uint64_t count = 0;
    code = DCM_OK;
    if (row->length && !dcm_bytes_at(s->bytes, row->offset, row->length)) {
        complete.bytes = &l->bytes;
        dcm_bytes_reset(&l->bytes, w->r->file.size);
        code = dcm_file_fill(&w->r->file, &l->bytes, row->offset, row->length, 0, DCM_READ_KEEP,
                             &w->err);
        w->r->bytes_read += row->length;
    }
    if (!code)
        code =
            dcm_items(row, complete.bytes, &l->work, &l->items, &l->cap_items, &count, &w->err);
    if (!code) code = add_issues(w, l->work.issues, l->work.n_issues);
    if (code) return code;
    if (want->item) {
        if (want->item > count) return put_entry(w, want, at, 0);
        const dcm_item *item = l->items + want->item - 1;
        return read_item(w, want, &complete, item->offset, item->offset + item->length,
                         item->encoding, 0, depth, at);
    }
    for (uint64_t i = 0; i < count && !code; i++) {
        const dcm_item *item = l->items + i;
        code = read_item(w, want, &complete, item->offset, item->offset + item->length,
                         item->encoding, 0, depth, at + 1);
    }
    return code ? code : put_entry(w, want, at, 1);
}

static const dcm_row *rows_end(const dcm_index *ix) {
    return ix->count ? ix->rows + ix->count : ix->rows;
}

/* The row of element (gggg,xxee) in the block of a private creator (PS3.5 7.8.1). */
static const dcm_row *find_private(work *w, const scope *s, const dcm_want *want) {
    const dcm_index *ix = s->index;
    const uint32_t group = want->tag & 0xFFFF0000u;
    const char *creator = w->plan->text + want->creator;
    const dcm_row *row = ix->rows, *end = rows_end(ix);
    for (; row < end && row->tag <= (group | 0xFF); row++) {
        const uint8_t *p;
        if (row->tag < (group | 0x10) || row->length > 1024 ||
            bytes_at(w, s, row->offset, row->length, &p))
            continue;
        dcm_span name = dcm_trim((const char *)p, row->length);
        if (name.n != want->creator_length || memcmp(name.p, creator, (size_t)name.n) != 0)
            continue;
        const uint32_t tag = group | (row->tag & 0xFF) << 8 | (want->tag & 0xFF);
        const dcm_row *found = dcm_index_find(ix, tag);
        if (found) return found;
    }
    return NULL;
}

static int is_word(dcm_span s, const char *word) {
    return s.n == strlen(word) && !memcmp(s.p, word, (size_t)s.n);
}

/* Reads Specific Character Set (PS3.3 C.12.1.1.2); an item without one has that of
 * the data set around it (PS3.5 7.5.3). */
static int find_charset(work *w, scope *s) {
    const uint8_t *p;
    const dcm_row *row = dcm_index_find(s->index, 0x00080005);
    if (!row || row->length > 1024) return DCM_OK;
    int code = bytes_at(w, s, row->offset, row->length, &p);
    if (code) return code;
    dcm_span name = dcm_trim((const char *)p, row->length);
    if (!name.n || is_word(name, "ISO_IR 100") || is_word(name, "ISO_IR 6"))
        s->charset = CHARSET_LATIN;
    else if (is_word(name, "ISO_IR 192"))
        s->charset = CHARSET_UTF8;
    else /* the Standard's character sets include ASCII, others may not */
        s->charset = *name.p == 'I' || *name.p == 'G' || *name.p == '\\' ? CHARSET_OTHER
                                                                         : CHARSET_UNKNOWN;
    s->charset_length = row->length;
    return keep(w->r, p, row->length, &s->charset_offset);
}

static int read_want(work *w, const dcm_want *want, const scope *s, const dcm_row *row,
                     unsigned depth, unsigned at) {
    if (!row) return put_entry(w, want, at, 0);
    return want->column >= 0 ? put_value(w, s, want, row, at)
                             : put_sequence(w, want, s, row, depth, at);
}

/* Appends the values of all wants of a level. depth: the number of sequences around
 * it; at: the number of lists around it. */
static int read_level(work *w, const dcm_level *level, const scope *outer, unsigned depth,
                      unsigned at) {
    scope s = *outer;
    const dcm_want *want = w->plan->wants + level->first, *end = want + level->count;
    const dcm_row *row = s.index->rows, *last = rows_end(s.index);
    int code = level->charset ? find_charset(w, &s) : DCM_OK;
    for (; want < end && !code; want++) {
        while (row < last && row->tag < want->tag) row++;
        code =
            read_want(w, want, &s, row < last && row->tag == want->tag ? row : NULL, depth, at);
    }
    for (end += level->private_count; want < end && !code; want++)
        code = read_want(w, want, &s, find_private(w, &s, want), depth, at);
    return code;
}

/* --------------------------------------------------------------- rows --- */

/* Sets *found to 1 for pixel data in fragments, to 0 for native cells, and adds an issue
 * if the transfer syntax or the length states something else. */
static int find_fragments(work *w, const scope *s, const dcm_row *row, int64_t *found) {
    const int stated = dcm_frames_stated(w->r->part10.transfer_syntax);
    const uint8_t *p = NULL;
    *found = (row->flags & DCM_ROW_UNDEFINED) != 0;
    if (*found ? stated != 0 : stated != 1 || !row->length) return DCM_OK;
    if (!*found) {
        const uint64_t n = row->length < 8 ? row->length : 8;
        int code = bytes_at(w, s, row->offset, n, &p);
        if (code) return code;
        *found = dcm_frames_begin(p, n, row->length);
    }
    return add_issue(w, DCM_I_ENCAPSULATION, row->offset - row->header, row->tag);
}

/* Appends the offsets of the frames in fragments, and the end of the last one. */
static int put_frames(work *w, const scope *s, const dcm_row *row, uint64_t n, dcm_column *c) {
    dcm_reader *r = w->r;
    if (n > DCM_FRAMES_LIMIT) return put_unfit(w, c, 0, row);
    int code = dcm_frames_find(&r->frames, s->index, row, r->part10.transfer_syntax, n,
                               s->bytes, &r->fragments, &r->file, &w->err);
    const int no_frames = code == DCM_E_FRAMES;
    if (no_frames) code = add_issue(w, DCM_E_FRAMES, w->err.offset, row->tag);
    if (!code) code = add_issues(w, r->frames.issues, r->frames.n_issues);
    r->bytes_read += r->frames.bytes_read;
    if (code || no_frames) return code ? code : put_null(c, 0);
    for (uint64_t i = 0; i <= r->frames.count && !code; i++)
        code = put_number(c, r->frames.offsets + i, 1);
    return code ? code : push(c, 0, 1);
}

/* Appends where the pixel data is (PS3.3 C.7.6.3 and C.7.6.24), and the number of
 * frames. */
static int put_pixels(work *w, const scope *s) {
    static const uint32_t tags[] = {0x7FE00010, 0x7FE00008, 0x7FE00009};
    const dcm_index *ix = &w->r->part10.data;
    const int count = w->plan->pixels == DCM_PIXELS_OFFSETS ? PIXEL_OFFSETS + 1 : PIXEL_OFFSETS;
    dcm_column *c = w->c->columns + w->c->n_columns - count;
    const dcm_row *row = NULL, *frames = dcm_index_find(ix, 0x00280008);
    int64_t n = 1, fragments = 0;
    for (int i = 0; i < 3 && !row; i++) row = dcm_index_find(ix, tags[i]);
    if (!row) {
        int code = DCM_OK;
        for (int i = 0; i < count && !code; i++) code = put_null(c + i, 0);
        return code;
    }
    const uint8_t *p;
    if (frames && frames->length && frames->length < 64) {
        int code = bytes_at(w, s, frames->offset, frames->length, &p);
        if (code) return code;
        dcm_span text = dcm_trim((const char *)p, frames->length);
        if (text.n && (!parse_whole(text, &n) || n < 1)) {
            n = 1;
            code =
                add_issue(w, DCM_I_FRAME_COUNT, frames->offset - frames->header, frames->tag);
            if (code) return code;
        }
    }
    int code = find_fragments(w, s, row, &fragments);
    if (!code) code = dcm_column_int(c + PIXEL_OFFSET, (int64_t)row->offset);
    if (!code) code = dcm_column_int(c + PIXEL_LENGTH, (int64_t)row->length);
    if (!code && row->tag == tags[0])
        code = dcm_column_int(c + PIXEL_FRAGMENTS, fragments);
    else if (!code) /* cells of floating point */
        code = put_null(c + PIXEL_FRAGMENTS, 0);
    if (!code) code = dcm_column_int(c + PIXEL_FRAMES, n);
    if (code || count == PIXEL_OFFSETS) return code;
    return fragments ? put_frames(w, s, row, (uint64_t)n, c + PIXEL_OFFSETS)
                     : put_null(c + PIXEL_OFFSETS, 0);
}

static void undo(work *w) {
    for (uint32_t i = 0; i < w->c->n_columns; i++)
        column_truncate(w->c->columns + i, w->c->rows);
    w->c->n_issues = w->r->issues_before;
}

static int put_wants(work *w) {
    dcm_reader *r = w->r;
    dcm_part10 *p = &r->part10;
    const scope meta = {NULL, &p->meta, &r->bytes, CHARSET_LATIN, 0, 0};
    const scope data = {NULL,          &p->data, p->deflated ? &r->inflated : &r->bytes,
                        CHARSET_LATIN, 0,        0};
    const dcm_level *levels = w->plan->levels;
    int code = add_issues(w, p->meta.issues, p->meta.n_issues);
    if (!code) code = add_issues(w, p->data.issues, p->data.n_issues);
    if (!code && r->note.code) code = add_issue(w, r->note.code, r->note.offset, r->note.tag);
    if (!code && levels[0].count) code = read_level(w, levels, &meta, 0, 0);
    if (!code) code = read_level(w, levels + 1, &data, 0, 0);
    if (!code && w->plan->pixels) code = put_pixels(w, &data);
    return code;
}

#define KEPT_BYTES (4u << 20) /* larger buffers are not kept for the next file */

/* Completes the row, which may have failed, and closes the file. */
static int finish(work *w, int failed) {
    dcm_columns *c = w->c;
    dcm_reader *r = w->r;
    dcm_column *fixed = c->columns;
    const char *syntax = r->part10.transfer_syntax;
    int code = DCM_OK, opened = r->file.handle != -1 || r->file.ranges;
    r->state = DCM_READER_IDLE;
    r->n_text_requests = r->pool_used = 0;
    dcm_file_close(&r->file);
    r->bytes_read += r->bytes.used;
    if (r->bytes.capacity > KEPT_BYTES) dcm_bytes_free(&r->bytes);
    for (unsigned i = 0; i < DCM_PATH_DEPTH; i++)
        if (r->levels[i].bytes.capacity > KEPT_BYTES) dcm_bytes_free(&r->levels[i].bytes);
    if (failed) {
        r->failed++;
        undo(w);
        if (w->plan->skip_errors) return DCM_OK;
        code =
            dcm_grow((void **)&c->errors, &c->cap_errors, c->n_errors + 1, sizeof *c->errors);
        for (uint32_t i = FIXED_COUNT; i < c->n_columns && !code; i++)
            code = put_null(c->columns + i, 0);
    }
    if (!code) code = put_bytes(fixed + FIXED_PATH, r->display_path.p, r->display_path.n);
    if (!code)
        code = opened && r->file.size <= INT64_MAX
                   ? dcm_column_int(fixed + FIXED_SIZE, (int64_t)r->file.size)
                   : put_null(fixed + FIXED_SIZE, 0);
    if (!code)
        code = opened && r->file.mtime_ns != DCM_NO_TIME
                   ? dcm_column_int(fixed + FIXED_MTIME, r->file.mtime_ns)
                   : put_null(fixed + FIXED_MTIME, 0);
    if (!code)
        code = opened && *syntax ? put_text(fixed + FIXED_SYNTAX, syntax, strlen(syntax), 1)
                                 : put_null(fixed + FIXED_SYNTAX, 0);
    if (code) return code;
    if (failed) c->errors[c->n_errors++] = (dcm_row_error){c->rows, w->err};
    c->rows++;
    return DCM_OK;
}

/* The row of a stream is started again when more of its bytes are available. */
static int wait_for_bytes(work *w) {
    undo(w);
    w->r->state = DCM_READER_BYTES;
    return DCM_WAITING;
}

/* Appends the values of the row and completes it, or waits for bytes or text. */
static int put_row(work *w) {
    int code = put_wants(w);
    if (code == DCM_NEED) return wait_for_bytes(w);
    if (code) {
        if (w->err.code != code) dcm_fail(&w->err, code, w->err.offset, 0);
        return finish(w, 1);
    }
    dcm_reader *r = w->r;
    if (r->n_text_requests && !r->text_requests[r->n_text_requests - 1].done) {
        undo(w);
        r->state = DCM_READER_TEXT;
        return DCM_WAITING;
    }
    return finish(w, 0);
}

static void begin(work *w, dcm_columns *c, const dcm_plan *plan, dcm_reader *r) {
    w->c = c;
    w->plan = plan;
    w->r = r;
    memset(&w->err, 0, sizeof w->err);
}

/* Before a file is open. */
static void begin_row(work *w, dcm_span display_path) {
    dcm_reader *r = w->r;
    r->display_path = display_path;
    r->issues_before = w->c->n_issues;
    r->file.handle = -1;
    r->file.ranges = NULL;
    r->part10.transfer_syntax[0] = 0;
    dcm_bytes_reset(&r->bytes, 0);
}

static int read_row(work *w) {
    dcm_reader *r = w->r;
    const uint32_t stop = w->plan->levels[1].stop;
    r->n_text_requests = r->pool_used = 0;
    r->note.code = 0;
    r->part10.transfer_syntax[0] = 0;
    dcm_bytes_reset(&r->bytes, r->file.size);
    dcm_part10_start(&r->part10, r->file.size, stop, 0);
    int code = dcm_part10_read(&r->part10, &r->bytes, &r->file, &w->err);
    if (code == DCM_NEED) return wait_for_bytes(w);
    if (code) return finish(w, 1);
    if (r->part10.deflated) {
        r->state = DCM_READER_INFLATE;
        return DCM_WAITING;
    }
    return put_row(w);
}

int dcm_columns_file(dcm_columns *c, const dcm_plan *plan, dcm_reader *r, dcm_span path,
                     dcm_span display_path, const dcm_part *part) {
    work w;
    begin(&w, c, plan, r);
    begin_row(&w, display_path);
    if (dcm_grow((void **)&r->path, &r->cap_path, path.n + 1, 1)) return DCM_E_MEMORY;
    memcpy(r->path, path.p, (size_t)path.n);
    r->path[path.n] = 0;
    if (strlen(r->path) != path.n) { /* no file name contains NUL */
        dcm_fail(&w.err, DCM_E_OPEN, 0, 0);
        return finish(&w, 1);
    }
    int code = dcm_file_open(&r->file, r->path, &w.err);
    if (!code && part) code = dcm_file_narrow(&r->file, part->base, part->length, &w.err);
    if (code) return finish(&w, 1);
    if (r->random) dcm_file_random(&r->file);
    return read_row(&w);
}

int dcm_columns_stream(dcm_columns *c, const dcm_plan *plan, dcm_reader *r,
                       dcm_span display_path, dcm_range_list *ranges, uint64_t size,
                       int64_t mtime_ns) {
    work w;
    begin(&w, c, plan, r);
    begin_row(&w, display_path);
    dcm_file_from_ranges(&r->file, ranges, size, mtime_ns);
    return read_row(&w);
}

int dcm_columns_resume(dcm_columns *c, const dcm_plan *plan, dcm_reader *r,
                       const dcm_error *failed) {
    work w;
    begin(&w, c, plan, r);
    if (failed) {
        w.err = *failed;
        return finish(&w, 1);
    }
    if (r->state == DCM_READER_BYTES) return read_row(&w);
    if (r->state == DCM_READER_INFLATE) {
        dcm_index *ix = &r->part10.data;
        dcm_index_start(ix, 0, r->inflated.total, r->part10.encoding, plan->levels[1].stop,
                        DCM_ONE_LEVEL);
        if (dcm_index_run(ix, &r->inflated, &w.err)) return finish(&w, 1);
    }
    return put_row(&w);
}

int dcm_columns_error(dcm_columns *c, const dcm_plan *plan, dcm_reader *r,
                      dcm_span display_path, const dcm_error *error) {
    work w;
    begin(&w, c, plan, r);
    begin_row(&w, display_path);
    w.err = *error;
    return finish(&w, 1);
}

void dcm_reader_free(dcm_reader *r) {
    for (unsigned i = 0; i < DCM_PATH_DEPTH; i++) {
        dcm_index_free(&r->levels[i].index);
        dcm_index_free(&r->levels[i].work);
        dcm_free(r->levels[i].items);
        dcm_bytes_free(&r->levels[i].bytes);
    }
    if (r->state != DCM_READER_IDLE) dcm_file_close(&r->file);
    dcm_bytes_free(&r->bytes);
    dcm_bytes_free(&r->inflated);
    dcm_bytes_free(&r->fragments);
    dcm_frames_free(&r->frames);
    dcm_part10_free(&r->part10);
    dcm_free(r->text_requests);
    dcm_free(r->pool);
    dcm_free(r->scratch);
    dcm_free(r->path);
    memset(r, 0, sizeof *r);
}
