/* frames.c: the offsets of the frames of encapsulated pixel data (PS3.5 A.4).
 *
 * The value is a list of items: a Basic Offset Table, then the fragments of one
 * frame after another. N + 1 offsets describe N frames: frame i is the bytes from
 * offsets[i] to offsets[i + 1], including item headers. A consistent table is used
 * without reading the fragments between its first and its last frame. Otherwise
 * the headers of all fragments are read.
 *
 * Like the index this never reads: it returns DCM_NEED and continues at the next
 * call. */
#include "dcm_frames.h"

#include "header.h"

#include <string.h>

#define TABLE_TAG 0x7FE00001u
#define VALUE_TAG 0x7FE00010u

#define PEEK        24   /* an item header and the first bytes of its content */
#define BULK_STRIDE 2048 /* fragments smaller than this are read with those after them */
#define BULK        (64u << 10)
#define MAX_REPAIRS 64 /* most wrong lengths that are repaired */

static int note(dcm_frames *t, int code, uint64_t offset, uint32_t tag) {
    int failed =
        dcm_grow((void **)&t->issues, &t->cap_issues, t->n_issues + 1, sizeof *t->issues);
    if (!failed) t->issues[t->n_issues++] = (dcm_issue){(uint32_t)code, tag, offset};
    return failed;
}

/* The bytes, or NULL if they are not in memory: then they are requested, with
 * `ahead` more that may be needed next. */
static const uint8_t *peek(dcm_frames *t, const dcm_bytes *b, uint64_t offset, uint64_t length,
                           uint64_t ahead) {
    t->need_offset = offset;
    t->need_length = length;
    t->need_ahead = ahead;
    return dcm_bytes_at(b, offset, length);
}

static uint64_t at_most(uint64_t n, uint64_t limit) {
    return n < limit ? n : limit;
}

/* The kind of codestream that begins with these bytes, or 0 if unknown. An RLE
 * header (PS3.5 G.5) has 64 bytes: the number of segments, then the offset of the
 * first one, 64. */
static int codestream(const uint8_t *p, uint64_t n) {
    static const struct {
        uint8_t n, bytes[12];
    } starts[] = {
        {3, {0xFF, 0xD8, 0xFF}},       /* JPEG, JPEG-LS */
        {4, {0xFF, 0x4F, 0xFF, 0x51}}, /* JPEG 2000, HTJ2K */
        {2, {0xFF, 0x0A}},             /* JPEG XL */
        {12, {0, 0, 0, 12, 'J', 'X', 'L', ' ', 13, 10, 0x87, 10}},
        {12, {0, 0, 0, 12, 'j', 'P', ' ', ' ', 13, 10, 0x87, 10}},
    };
    const int known = (int)(sizeof starts / sizeof *starts);
    for (int i = 0; i < known; i++)
        if (n >= starts[i].n && !memcmp(p, starts[i].bytes, starts[i].n)) return i + 1;
    if (n < 8 || dcm_u32(p + 4, 0) != 64) return 0;
    uint32_t segments = dcm_u32(p, 0);
    return segments && segments < 16 ? known + 1 : 0;
}

/* ---------------------------------------------------------- fragments --- */

static void walk_start(dcm_frames *t, uint64_t from) {
    t->state = DCM_FRAMES_AT_WALK;
    t->pos = from;
    t->seek = 0;
    t->repairs = t->open = 0;
    t->n_fragments = t->n_starts = t->count = 0;
}

/* Searches for the item after a fragment with a wrong length. */
static int search(dcm_frames *t, const dcm_bytes *b, dcm_error *err) {
    const uint64_t wrong = t->open ? t->at : t->begin;
    const int truncated = t->open && t->length > t->end - t->at - 8;
    while (t->end - t->seek >= 8) {
        const uint8_t *p = NULL;
        uint64_t left = t->end - t->seek;
        uint64_t n = at_most(dcm_bytes_run(b, t->seek, &p), left);
        if (n < 8) {
            peek(t, b, t->seek, at_most(left, BULK), 0);
            return DCM_NEED;
        }
        for (const uint8_t *q = p, *last = p + n - 8; q <= last; q++) {
            q = memchr(q, 0xFE, (size_t)(last - q) + 1);
            if (!q) break;
            uint32_t tag = dcm_tag(q, 0), length = dcm_u32(q + 4, 0);
            uint64_t at = t->seek + (uint64_t)(q - p);
            if (tag != DCM_ITEM ? tag != DCM_SEQUENCE_END || length : length > t->end - at - 8)
                continue;
            t->pos = at;
            t->seek = 0;
            if (++t->repairs > MAX_REPAIRS)
                return dcm_fail(err, DCM_E_FRAMES, wrong, VALUE_TAG);
            return note(t, DCM_I_FRAGMENTS, wrong, VALUE_TAG);
        }
        t->seek += n - 7;
    }
    t->pos = t->end;
    t->seek = 0;
    if (!t->open) return DCM_OK;
    t->repairs++;
    return note(t, truncated ? DCM_I_ITEM_LENGTH : DCM_I_FRAGMENTS, wrong, VALUE_TAG);
}

/* Finds the next fragment: its header is at t->from, its content from there + 8 to
 * t->upto, and t->kind is how it begins. *found is 0 after the last one. */
static int next_fragment(dcm_frames *t, const dcm_bytes *b, int *found, dcm_error *err) {
    *found = 0;
    for (;;) {
        if (t->seek) {
            int code = search(t, b, err);
            if (code) return code;
        }
        const uint64_t left = t->end - t->pos, n = at_most(left, PEEK);
        const uint64_t stride = t->n_fragments ? (t->pos - t->begin) / t->n_fragments : 0;
        const uint8_t *p = peek(t, b, t->pos, n, stride < BULK_STRIDE ? BULK : 0);
        if (!p && n) return DCM_NEED;
        const uint32_t tag = n < 8 ? 0 : dcm_tag(p, 0);
        if (tag == DCM_SEQUENCE_END) t->end = t->pos;
        if (tag == DCM_ITEM || t->pos == t->end) {
            *found = t->open;
            t->from = t->at;
            t->upto = t->pos;
            t->kind = t->next_kind;
            t->open = tag == DCM_ITEM;
            if (!t->open) return DCM_OK;
            t->at = t->pos;
            t->length = dcm_u32(p + 4, 0);
            t->next_kind = (uint8_t)codestream(p + 8, at_most(t->length, n - 8));
            if (t->length > left - 8)
                t->seek = t->at + 8;
            else
                t->pos = t->at + 8 + t->length;
            t->n_fragments++;
            if (*found) return DCM_OK;
        } else if (t->open && t->length % 2 && n >= 9 &&
                   (dcm_tag(p + 1, 0) == DCM_ITEM || dcm_tag(p + 1, 0) == DCM_SEQUENCE_END)) {
            int code = note(t, DCM_I_FRAGMENTS, t->at, VALUE_TAG);
            if (code) return code;
            t->repairs++;
            t->pos++; /* its length does not include the pad byte */
        } else {
            t->seek = (t->open ? t->at : t->begin) + 8;
            if (t->seek > t->end) t->seek = t->end;
        }
    }
}

static int put_offset(uint64_t **list, uint64_t *capacity, uint64_t i, uint64_t offset) {
    int code = dcm_grow((void **)list, capacity, i + 1, sizeof **list);
    if (!code) (*list)[i] = offset;
    return code;
}

/* Assigns fragments to frames: one each, or by those that begin a codestream. */
static int walk(dcm_frames *t, const dcm_bytes *b, dcm_error *err) {
    int found, code;
    for (;;) {
        if ((code = next_fragment(t, b, &found, err))) return code;
        if (!found) break;
        uint64_t i = t->n_fragments - 1 - t->open; /* index of this fragment */
        if (!i) t->first_kind = t->kind;
        if (i <= t->frames) /* and the end of the last frame */
            code = put_offset(&t->offsets, &t->cap_offsets, i, t->from);
        if (!code && t->first_kind && t->kind == t->first_kind && t->n_starts++ <= t->frames)
            code = put_offset(&t->starts, &t->cap_starts, t->n_starts - 1, t->from);
        if (code) return code;
        if (!t->open) break;
    }
    uint64_t n = t->n_fragments;
    t->source = DCM_FRAMES_FRAGMENTS;
    if (!n) return dcm_fail(err, DCM_E_FRAMES, t->begin, VALUE_TAG);
    if (t->frames == 1 && t->n_starts < 2) {
        n = 1;
    } else if (n != t->frames) {
        n = t->n_starts;
        if (!n || (n < t->n_fragments && t->n_fragments < t->frames))
            return dcm_fail(err, DCM_E_FRAMES, t->begin, VALUE_TAG);
        uint64_t *list = t->offsets, capacity = t->cap_offsets;
        t->offsets = t->starts;
        t->cap_offsets = t->cap_starts;
        t->starts = list;
        t->cap_starts = capacity;
        if (n != t->frames) code = note(t, DCM_I_FRAME_COUNT, t->begin, VALUE_TAG);
    }
    t->count = at_most(n, t->frames);
    if (!code && n <= t->frames)
        code = put_offset(&t->offsets, &t->cap_offsets, t->count, t->end);
    t->state = DCM_FRAMES_DONE;
    return code;
}

/* ------------------------------------------------------------- tables --- */

/* Reads the n entries of a table, of `unit` bytes each, as offsets relative to its
 * first entry. 32-bit offsets wrap around at 4 GiB: an entry that is smaller than
 * the one before has wrapped. The offsets must ascend by at least an item header,
 * or the table is not used. */
static int read_table(dcm_frames *t, const uint8_t *p, uint64_t n, int unit) {
    const uint64_t size = t->end - t->begin;
    uint64_t last = 0, first = 0, wrapped = 0;
    t->count = 0;
    if (n < t->frames) return DCM_OK;
    n = at_most(n, t->frames + 1);
    for (uint64_t i = 0; i < n; i++, p += unit) {
        uint64_t raw = unit == 8 ? dcm_u64(p, 0) : dcm_u32(p, 0) + wrapped;
        if (i && raw < last && unit == 4 && size >> 32) {
            wrapped += (uint64_t)1 << 32;
            raw += (uint64_t)1 << 32;
        }
        if (!i) first = raw;
        if (i && (raw < last || raw - last < 8)) {
            t->count = 0;
            return DCM_OK;
        }
        last = raw;
        if (raw - first >= size) break; /* the value is truncated */
        int code = put_offset(&t->offsets, &t->cap_offsets, i, raw - first);
        if (code) return code;
        t->count = i + 1;
    }
    t->shifted = first != 0;
    return DCM_OK;
}

/* Makes the offsets absolute, now that the offset of the first frame is known. */
static int apply_table(dcm_frames *t, uint64_t base) {
    const uint64_t size = t->end - base;
    int code = DCM_OK;
    while (t->count && (size < 8 || t->offsets[t->count - 1] > size - 8)) t->count--;
    for (uint64_t i = 0; i < t->count; i++) t->offsets[i] += base;
    if (!t->count) return DCM_OK;
    t->recount = t->count != t->frames;
    if (t->count <= t->frames)
        code = put_offset(&t->offsets, &t->cap_offsets, t->count, t->end);
    else
        t->count = t->frames; /* one more entry: the end of the last frame */
    t->checked = 0;
    t->state = DCM_FRAMES_AT_CHECK;
    return code;
}

int dcm_frames_extended(dcm_frames *t, const uint8_t *offsets, uint64_t n,
                        const uint8_t *lengths, uint64_t n_lengths) {
    int code = n % 8 ? DCM_OK : read_table(t, offsets, n / 8, 8);
    for (uint64_t i = 0; i < t->count && lengths; i++) {
        const uint64_t next = i + 1 < t->count ? t->offsets[i + 1] : t->end - t->begin;
        if (i >= n_lengths / 8 || dcm_u64(lengths + 8 * i, 0) > next - t->offsets[i] - 8)
            t->count = 0;
    }
    t->source_tag = TABLE_TAG;
    if (t->count)
        t->source = DCM_FRAMES_EXTENDED;
    else if (!code && n)
        code = note(t, DCM_I_OFFSET_TABLE, t->begin, TABLE_TAG);
    return code;
}

/* Reads the header of the first item: the Basic Offset Table, which some writers
 * omit. */
static int first_item(dcm_frames *t, const dcm_bytes *b, dcm_error *err) {
    const uint64_t left = t->end - t->begin, n = at_most(left, PEEK);
    const uint8_t *p = peek(t, b, t->begin, n, 512);
    if (!p && n) return DCM_NEED;
    if (n < 8 || dcm_tag(p, 0) != DCM_ITEM)
        return dcm_fail(err, DCM_E_FRAMES, t->begin, VALUE_TAG);
    const uint32_t length = dcm_u32(p + 4, 0);
    int code = DCM_OK;
    t->base = t->begin + 8 + length;
    t->entries = length / 4;
    if (codestream(p + 8, at_most(length, n - 8))) {
        t->base = t->begin;
        t->entries = 0;
        code = note(t, DCM_I_OFFSET_TABLE, t->begin, VALUE_TAG);
    } else if (length > left - 8 || length % 4) {
        if (length > left - 8) t->base = t->begin + 8;
        t->entries = 0;
        code = note(t, DCM_I_OFFSET_TABLE, t->begin, VALUE_TAG);
    }
    if (code) return code;
    if (t->source == DCM_FRAMES_EXTENDED) {
        code = apply_table(t, t->base);
        if (code || t->count) return code;
        if ((code = note(t, DCM_I_OFFSET_TABLE, t->begin, TABLE_TAG))) return code;
        t->source_tag = VALUE_TAG;
    }
    if (t->entries > 1 || (t->entries && t->frames > 1)) {
        t->state = DCM_FRAMES_AT_TABLE;
    } else if (t->frames > 1) {
        walk_start(t, t->base);
    } else { /* a single frame */
        uint8_t zero[4] = {0};
        t->source = t->entries ? DCM_FRAMES_BASIC : DCM_FRAMES_FRAGMENTS;
        code = read_table(t, zero, 1, 4);
        if (!code) code = apply_table(t, t->base);
        if (!t->count) walk_start(t, t->base);
    }
    return code;
}

static int basic_table(dcm_frames *t, const dcm_bytes *b) {
    const uint64_t n = at_most(t->entries, t->frames + 1);
    int code = DCM_OK;
    t->count = 0;
    if (n >= t->frames) {
        const uint8_t *p = peek(t, b, t->begin + 8, 4 * n, 8); /* and an item header */
        if (!p) return DCM_NEED;
        code = read_table(t, p, n, 4);
    }
    t->source = DCM_FRAMES_BASIC;
    t->source_tag = VALUE_TAG;
    if (!code) code = apply_table(t, t->base);
    if (!code && !t->count) {
        code = note(t, DCM_I_OFFSET_TABLE, t->begin, VALUE_TAG);
        walk_start(t, t->base);
    }
    return code;
}

/* The kind of codestream with which the fragment begins whose header is at p, n bytes
 * of it; 0 also for what is no fragment. */
static uint8_t kind_of(const uint8_t *p, uint64_t n) {
    if (dcm_tag(p, 0) != DCM_ITEM) return 0;
    return (uint8_t)codestream(p + 8, at_most(dcm_u32(p + 4, 0), n - 8));
}

/* Determines whether a single frame is followed by another one. Where that is not what
 * the table says, all fragments are walked. */
static int check_single(dcm_frames *t, const dcm_bytes *b) {
    const uint64_t next = t->recount ? t->offsets[1] : t->offsets[0] + 8 + t->length;
    if (!t->first_kind || next > t->end || t->end - next < 8) return DCM_OK;
    const uint64_t n = at_most(t->end - next, PEEK);
    const uint8_t *p = peek(t, b, next, n, 0);
    if (!p) return DCM_NEED;
    if ((kind_of(p, n) == t->first_kind) == t->recount) return DCM_OK;
    walk_start(t, t->base);
    return t->recount ? note(t, DCM_I_OFFSET_TABLE, t->begin, t->source_tag) : DCM_OK;
}

/* Checks that items begin where the table has the first and the last frame. */
static int check_table(dcm_frames *t, const dcm_bytes *b) {
    for (; t->checked < 2; t->checked++) {
        const uint64_t at = t->offsets[t->checked ? t->count - 1 : 0];
        const uint64_t n = at_most(t->end - at, PEEK);
        const uint8_t *p = peek(t, b, at, n, 0);
        if (!p) return DCM_NEED;
        if (dcm_tag(p, 0) == DCM_ITEM) {
            if (t->checked) continue;
            t->length = dcm_u32(p + 4, 0);
            t->first_kind = kind_of(p, n);
            continue;
        }
        int code = t->frames == 1 && t->entries < 2
                       ? DCM_OK
                       : note(t, DCM_I_OFFSET_TABLE, at, t->source_tag);
        walk_start(t, t->base);
        return code;
    }
    if (t->frames == 1) {
        int code = check_single(t, b);
        if (code || t->state == DCM_FRAMES_AT_WALK) return code;
    }
    int code = t->shifted ? note(t, DCM_I_OFFSET_TABLE, t->begin, t->source_tag) : DCM_OK;
    if (!code && t->recount) code = note(t, DCM_I_FRAME_COUNT, t->begin, VALUE_TAG);
    t->state = DCM_FRAMES_DONE;
    return code;
}

/* ------------------------------------------------------------- frames --- */

void dcm_frames_start(dcm_frames *t, uint64_t begin, uint64_t end, uint64_t frames) {
    t->begin = begin;
    t->end = end;
    t->frames = at_most(frames ? frames : 1, (end - begin) / 8 + 1); /* an item has 8 bytes */
    t->count = t->n_issues = t->entries = t->base = t->bytes_read = 0;
    t->source = t->shifted = t->recount = t->checked = 0;
    t->source_tag = VALUE_TAG;
    t->repairs = 0;
    t->state = DCM_FRAMES_AT_FIRST_ITEM;
}

void dcm_frames_fragments(dcm_frames *t, uint64_t begin, uint64_t end, uint64_t frames) {
    dcm_frames_start(t, begin, end, frames);
    t->base = begin;
    walk_start(t, begin);
}

int dcm_frames_run(dcm_frames *t, const dcm_bytes *b, dcm_error *err) {
    int code = DCM_OK;
    while (!code && t->state != DCM_FRAMES_DONE) {
        switch (t->state) {
        case DCM_FRAMES_AT_FIRST_ITEM: code = first_item(t, b, err); break;
        case DCM_FRAMES_AT_TABLE: code = basic_table(t, b); break;
        case DCM_FRAMES_AT_CHECK: code = check_table(t, b); break;
        default: code = walk(t, b, err); break;
        }
    }
    return code == DCM_E_MEMORY ? dcm_fail(err, code, t->begin, VALUE_TAG) : code;
}

int dcm_frames_read(dcm_frames *t, dcm_bytes *b, const dcm_file *f, dcm_error *err) {
    /* Usually it reads one header after another, which need not be kept. */
    uint8_t head[PEEK];
    dcm_segment all = {0, 0, 0};
    dcm_bytes one = {
        .data = head, .segments = &all, .n_segments = 1, .total = b->total, .borrowed = 1};
    const dcm_bytes *from = b;
    int code;
    while ((code = dcm_frames_run(t, from, err)) == DCM_NEED) {
        if (t->need_length <= PEEK && !t->need_ahead && t->need_length <= b->total &&
            t->need_offset <= b->total - t->need_length) {
            code = dcm_file_read(f, t->need_offset, t->need_length, head, err);
            all.offset = t->need_offset;
            all.length = t->need_length;
            t->bytes_read += all.length;
            from = &one;
        } else {
            code = dcm_file_fill(f, b, t->need_offset, t->need_length, t->need_ahead,
                                 DCM_READ_ONCE, err);
            t->bytes_read += b->used;
            from = b;
        }
        if (code) return code;
    }
    return code;
}

int dcm_frames_join(const uint8_t *p, uint64_t n, uint8_t *out, uint64_t *length,
                    dcm_issue *issue, dcm_error *err) {
    dcm_frames t = {0};
    dcm_bytes b;
    int found, code, others = 0;
    *length = 0;
    *issue = (dcm_issue){0, 0, 0};
    if (n < 8 || dcm_tag(p, 0) != DCM_ITEM) return dcm_fail(err, DCM_E_FRAMES, 0, VALUE_TAG);
    if ((code = dcm_bytes_borrow(&b, p, n))) return dcm_fail(err, code, 0, 0);
    dcm_frames_fragments(&t, 0, n, 1);
    do {
        code = next_fragment(&t, &b, &found, err);
        if (code || !found) break;
        others = *length && t.first_kind && t.kind == t.first_kind;
        if (others) break; /* the next frame */
        if (!*length) t.first_kind = t.kind;
        const uint64_t size = t.upto - t.from - 8;
        memmove(out + *length, p + t.from + 8, (size_t)size);
        *length += size;
    } while (t.open);
    if (code == DCM_E_MEMORY) dcm_fail(err, code, 0, 0);
    if (!code && others) *issue = (dcm_issue){DCM_I_FRAME_COUNT, VALUE_TAG, t.from};
    if (!code && t.n_issues) *issue = t.issues[0];
    dcm_frames_free(&t);
    dcm_bytes_free(&b);
    return code;
}

int dcm_frames_stated(const char *transfer_syntax) {
    static const char root[] = "1.2.840.10008.1.2", papyrus[] = "1.2.840.10008.1.20";
    static const char ge[] = "1.2.840.113619.5.2";
    const size_t n = sizeof root - 1;
    const char *rest = transfer_syntax + n;
    if (!strcmp(transfer_syntax, ge) || !strcmp(transfer_syntax, papyrus)) return 0;
    if (strncmp(transfer_syntax, root, n) != 0 || (*rest && *rest != '.')) return -1;
    return !strncmp(rest, ".4.", 3) || !strcmp(rest, ".5") || !strcmp(rest, ".1.98") ||
           !strcmp(rest, ".8.1");
}

int dcm_frames_begin(const uint8_t *p, uint64_t n, uint64_t length) {
    return n >= 8 && length >= 8 && dcm_tag(p, 0) == DCM_ITEM &&
           dcm_u32(p + 4, 0) <= length - 8;
}

int dcm_frames_find(dcm_frames *t, const dcm_index *ix, const dcm_row *row,
                    const char *transfer_syntax, uint64_t frames, const dcm_bytes *b,
                    dcm_bytes *own, const dcm_file *f, dcm_error *err) {
    static const char mpeg[] = "1.2.840.10008.1.2.4.10"; /* .100 to .108, and .100.1 ... */
    const size_t n = sizeof mpeg - 1;
    const dcm_row *table = dcm_index_find(ix, TABLE_TAG);
    if (!strncmp(transfer_syntax, mpeg, n) && transfer_syntax[n]) frames = 1;
    dcm_frames_start(t, row->offset, row->offset + row->length, frames);
    dcm_bytes_reset(own, f->size);
    int code = DCM_OK;
    if (table && table->length) {
        const uint64_t size = at_most(table->length, 8 * (t->frames + 1));
        const uint8_t *p = dcm_bytes_at(b, table->offset, size);
        if (!p) {
            code = dcm_file_fill(f, own, table->offset, size, 0, DCM_READ_ONCE, err);
            t->bytes_read += own->used;
            p = own->data;
        }
        if (!code) code = dcm_frames_extended(t, p, size, NULL, 0);
    }
    if (!code) code = dcm_frames_run(t, b, err);
    return code == DCM_NEED ? dcm_frames_read(t, own, f, err) : code;
}

void dcm_frames_free(dcm_frames *t) {
    dcm_free(t->offsets);
    dcm_free(t->starts);
    dcm_free(t->issues);
    memset(t, 0, sizeof *t);
}
