/* index.c: the bytes of one data set level to a table of rows.
 *
 * A value of defined length is one jump. One of undefined length is walked to
 * its delimiter with a stack of our own, so that no input makes us recurse.
 * The index never reads: where bytes are missing it says which (DCM_NEED) and
 * goes on from there when called again. */
#include "header.h"

#include <stdlib.h>
#include <string.h>

/* TABLED: fragments behind a table that may tell where the last of them are;
 * TABLE: at the end of that table; JUMPED: where it led. */
enum {
    FRAME_SEQUENCE,
    FRAME_ITEM,
    FRAME_FRAGMENTS,
    FRAME_TABLED,
    FRAME_TABLE,
    FRAME_JUMPED,
    FRAME_SEARCH
};

#define EXTENDED_TABLE 0x7FE00001u
#define PIXEL_DATA     0x7FE00010u

#define MAX_ISSUES 256

void dcm_index_start(dcm_index *ix, uint64_t begin, uint64_t end, int encoding, uint32_t stop,
                     int flat) {
    ix->begin = ix->pos = begin;
    ix->end = end;
    ix->encoding = (uint8_t)encoding;
    ix->from = 0;
    ix->stop = stop;
    ix->flat = (uint8_t)flat;
    ix->last = 0;
    ix->count = ix->n_issues = ix->sp = 0;
    ix->done = ix->unsorted = ix->need_transient = 0;
    if (!ix->depth_limit) ix->depth_limit = DCM_DEPTH_LIMIT;
}

void dcm_index_free(dcm_index *ix) {
    dcm_free(ix->rows);
    dcm_free(ix->issues);
    dcm_free(ix->stack);
    memset(ix, 0, sizeof *ix);
}

int dcm_index_issue(dcm_index *ix, int code, uint64_t offset, uint32_t tag) {
    if (ix->n_issues > MAX_ISSUES) return DCM_OK;
    if (ix->n_issues == MAX_ISSUES) code = DCM_I_MORE;
    int failed =
        dcm_grow((void **)&ix->issues, &ix->cap_issues, ix->n_issues + 1, sizeof *ix->issues);
    if (failed) return failed;
    ix->issues[ix->n_issues++] = (dcm_issue){(uint32_t)code, tag, offset};
    return DCM_OK;
}

static int need(dcm_index *ix, uint64_t offset, uint64_t length, int transient) {
    ix->need_offset = offset;
    ix->need_length = length;
    ix->need_transient = (uint8_t)transient;
    return DCM_NEED;
}

/* A long value of undefined length is looked through in pieces that are not
 * kept: whoever wants its elements reads it again. 2: such a piece. */
#define WALK_KEPT (256u << 10)

static int walking(const dcm_index *ix) {
    return !ix->flat && ix->sp && ix->pos - ix->stack[0].start > WALK_KEPT ? 2 : 0;
}

static int push(dcm_index *ix, int kind, uint32_t tag, uint64_t end, int defined, int encoding,
                uint32_t row) {
    /* a sequence and its item are two frames of one depth */
    if (ix->sp / 2 >= ix->depth_limit) return DCM_E_DEPTH;
    if (ix->sp == ix->cap_stack) {
        int code = dcm_grow((void **)&ix->stack, &ix->cap_stack, ix->sp + 1, sizeof *ix->stack);
        if (code) return code;
    }
    ix->stack[ix->sp++] = (dcm_frame){
        ix->pos, end, tag, row, 0, (uint8_t)kind, (uint8_t)encoding, (uint8_t)defined};
    return DCM_OK;
}

static int add_row(dcm_index *ix, const dcm_row *row) {
    if (ix->count >= UINT32_MAX - 1) return DCM_E_TOO_LARGE;
    if (ix->count == ix->capacity) {
        int code = dcm_grow((void **)&ix->rows, &ix->capacity, ix->count + 1, sizeof *row);
        if (code) return code;
    }
    ix->rows[ix->count] = *row;
    ix->rows[ix->count++].depth = (uint8_t)(ix->sp / 2);
    return DCM_OK;
}

/* Is the value of undefined length a sequence, or fragments? p: its first
 * bytes, n of them (4 at least, or all there are). */
static void classify(dcm_row *row, const uint8_t *p, uint64_t n, int *encoding) {
    int big = *encoding & DCM_BIG;
    int items = row->vr == DCM_VR_SQ;
    if (row->vr == DCM_VR_UN) {
        /* PS3.5 6.2.2 note 4 (CP-246): implicit VR little endian inside,
         * though some keep the encoding of the data set. */
        items = 1;
        if (big && n >= 4 && dcm_tag(p, 0) == DCM_ITEM) {
            *encoding = DCM_IMPLICIT;
            row->flags |= DCM_ROW_INNER_IMPLICIT;
        }
    } else if (row->vr == DCM_VR_NONE) {
        items = n >= 4 && (dcm_tag(p, big) == DCM_ITEM || dcm_tag(p, big) == DCM_SEQUENCE_END);
    }
    row->flags |= items ? DCM_ROW_ITEMS : DCM_ROW_FRAGMENTS;
}

static uint8_t row_flags(const dcm_header *h, int encoding) {
    return (uint8_t)((h->implicit ? DCM_ROW_IMPLICIT : 0) |
                     (encoding & DCM_BIG ? DCM_ROW_BIG : 0));
}

/* Closes the frame on top: its value ends at `at`, the next thing is at
 * `next`. */
static void close_frame(dcm_index *ix, uint64_t at, uint64_t next, int delimited) {
    dcm_frame *f = ix->stack + --ix->sp;
    ix->closed = at;
    ix->pos = next;
    if (f->row == UINT32_MAX) return;
    dcm_row *row = ix->rows + f->row;
    row->length = at - row->offset;
    if (delimited) row->flags |= DCM_ROW_DELIMITED;
}

/* A value that cannot be followed for so long runs to the end of its data set:
 * its file would otherwise be read whole for one delimiter. */
#define SEARCH_MOST (256u << 20)

/* Looks for the delimiter of a value whose fragments cannot be followed. */
static int search(dcm_index *ix, const dcm_bytes *b) {
    dcm_frame *f = ix->stack + ix->sp - 1;
    uint8_t wanted[4] = {0xFE, 0xFF, 0xDD, 0xE0};
    if (f->encoding & DCM_BIG) memcpy(wanted, "\xFF\xFE\xE0\xDD", 4);
    for (;;) {
        const uint8_t *p = NULL;
        uint64_t left = f->end - ix->pos;
        if (left < 4 || ix->pos - f->start > SEARCH_MOST) {
            int code = dcm_index_issue(ix, DCM_I_UNCLOSED, f->end, f->tag);
            if (!code) close_frame(ix, f->end, f->end, 0);
            return code;
        }
        uint64_t n = dcm_bytes_run(b, ix->pos, &p);
        if (n > left) n = left;
        if (n < 4) return need(ix, ix->pos, left < 1u << 20 ? left : 1u << 20, 1);
        for (const uint8_t *q = p, *last = p + n - 4; q <= last; q++) {
            q = memchr(q, wanted[0], (size_t)(last - q) + 1);
            if (!q) break;
            if (memcmp(q, wanted, 4)) continue;
            uint64_t at = ix->pos + (uint64_t)(q - p);
            uint64_t next = f->end - at < 8 ? f->end : at + 8;
            close_frame(ix, at, next, 1);
            return DCM_OK;
        }
        ix->pos += n - 3;
    }
}

/* From the first item of pixel data to the end of its offset table: the Basic
 * one, which that item is, or the Extended one, an element before (PS3.5 A.4). */
static void to_table(dcm_index *ix, dcm_frame *f, uint64_t length) {
    f->kind = FRAME_TABLE;
    f->last = (uint32_t)length;
    ix->pos += length; /* its last 8 bytes, for the header is as long */
    if (length >= 8) return;
    for (uint64_t i = f->row; i && ix->rows[i - 1].tag >= EXTENDED_TABLE; i--) {
        const dcm_row *row = ix->rows + i - 1;
        if (row->tag != EXTENDED_TABLE || row->length < 8) continue;
        ix->pos = row->offset + row->length - 8;
        return;
    }
    f->kind = FRAME_FRAGMENTS;
    ix->pos = f->start;
}

/* On to the last frame: thousands of fragments need not be passed one by one to
 * find where they end. p: the last 8 bytes of the table. */
static void jump(dcm_index *ix, dcm_frame *f, const uint8_t *p) {
    const uint64_t first = f->start + 8 + f->last, room = f->end - first;
    const uint64_t offset = f->last < 8 ? dcm_u64(p, 0) : dcm_u32(p + 4, 0);
    f->kind = room >= 8 && offset <= room - 8 ? FRAME_JUMPED : FRAME_FRAGMENTS;
    ix->pos = f->kind == FRAME_JUMPED ? first + offset : f->start;
}

/* The table lies, or the file is damaged: all fragments are passed, after all. */
static void jumped_astray(dcm_index *ix, dcm_frame *f) {
    f->kind = FRAME_FRAGMENTS;
    ix->pos = f->start;
}

static int step_fragments(dcm_index *ix, const uint8_t *p) {
    dcm_frame *f = ix->stack + ix->sp - 1;
    const int big = f->encoding & DCM_BIG;
    const uint32_t tag = dcm_tag(p, big), length = dcm_u32(p + 4, big);
    const uint64_t start = ix->pos + 8;
    if (f->kind == FRAME_TABLE) {
        jump(ix, f, p);
    } else if (tag == DCM_ITEM && length <= f->end - start) {
        if (f->kind == FRAME_TABLED)
            to_table(ix, f, length);
        else
            ix->pos = start + length;
    } else if (tag == DCM_SEQUENCE_END) {
        close_frame(ix, ix->pos, start, 1);
    } else if (f->kind == FRAME_JUMPED) {
        jumped_astray(ix, f);
    } else { /* start again, by search */
        ix->pos = f->start;
        f->kind = FRAME_SEARCH;
        return dcm_index_issue(ix, DCM_I_FRAGMENTS, start - 8, f->tag);
    }
    return DCM_OK;
}

/* One step inside a sequence, at an item header. p: 8 bytes. */
static int step_items(dcm_index *ix, const uint8_t *p, uint64_t have) {
    dcm_frame *f = ix->stack + ix->sp - 1;
    const int big = f->encoding & DCM_BIG;
    uint32_t tag = dcm_tag(p, big), length = dcm_u32(p + 4, big);
    uint64_t start = ix->pos + 8, room = f->end - start;
    int code;
    if (tag == DCM_ITEM) {
        int undefined = length == DCM_UNDEFINED;
        uint64_t end = undefined ? f->end : start + length;
        if (!undefined && length > room) {
            code = dcm_index_issue(ix, DCM_I_ITEM_LENGTH, ix->pos, f->tag);
            if (code) return code;
            end = f->end;
        }
        if (!undefined && !ix->flat) {
            ix->pos = end;
            return DCM_OK;
        }
        uint64_t n = have - 8, left = end - start;
        if (n < 6 && n < left) return need(ix, ix->pos, left < 6 ? 8 + left : 14, walking(ix));
        int encoding = dcm_item_encoding(p + 8, n < left ? n : left, f->encoding);
        uint32_t row = UINT32_MAX;
        if (ix->flat) {
            dcm_row item = {start,    end - start,
                            DCM_ITEM, DCM_VR_NONE,
                            8,        (uint8_t)(undefined ? DCM_ROW_UNDEFINED : 0),
                            0};
            if (encoding & DCM_IMPLICIT) item.flags |= DCM_ROW_IMPLICIT;
            if (big) item.flags |= DCM_ROW_BIG;
            row = (uint32_t)ix->count;
            if ((code = add_row(ix, &item))) return code;
        }
        uint32_t of = f->tag;
        ix->pos = start;
        return push(ix, FRAME_ITEM, of, end, !undefined, encoding, row);
    }
    if (tag == DCM_SEQUENCE_END && !f->defined) {
        close_frame(ix, ix->pos, start, 1);
        return DCM_OK;
    }
    code =
        dcm_index_issue(ix, tag == DCM_SEQUENCE_END ? DCM_I_STRAY_DELIMITER : DCM_I_NOT_AN_ITEM,
                        ix->pos, f->tag);
    if (f->defined)
        ix->pos = f->end;
    else
        close_frame(ix, ix->pos, ix->pos, 0);
    return code;
}

/* Enters a value of undefined length whose header was just read into `row`.
 * `keep`: the row is one of the index's. */
static int enter(dcm_index *ix, const uint8_t *p, uint64_t have, dcm_row *row, uint64_t end,
                 int encoding, int keep) {
    uint64_t room = end - row->offset, least = room < 4 ? room : 4;
    uint64_t n = have - row->header;
    if (n < least) return need(ix, ix->pos, row->header + least, walking(ix));
    row->length = room;
    row->flags |= DCM_ROW_UNDEFINED;
    classify(row, p + row->header, n < room ? n : room, &encoding);
    uint32_t at = UINT32_MAX;
    if (keep) {
        at = (uint32_t)ix->count;
        int code = add_row(ix, row);
        if (code) return code;
    }
    ix->pos = row->offset;
    const int kind = row->flags & DCM_ROW_ITEMS ? FRAME_SEQUENCE
                     : keep && !ix->flat && row->tag == PIXEL_DATA && !(encoding & DCM_BIG)
                         ? FRAME_TABLED
                         : FRAME_FRAGMENTS;
    return push(ix, kind, row->tag, end, 0, encoding, at);
}

/* What plain() does with the elements that it passes. FLAT keeps them, too, and
 * stops at sequences, which a flat index enters. */
enum { SKIP, KEEP, FLAT };

static inline uint64_t plain_as(dcm_index *ix, const uint8_t *p, uint64_t n, uint32_t *before,
                                const int implicit, const int use) {
    const uint32_t stop = use == KEEP && ix->stop < 0xFFFDFFFF ? ix->stop : 0xFFFDFFFF;
    const uint8_t *const begin = p, *const end = p + n, *const last_header = end - 12;
    const uint64_t shift = ix->pos - (uint64_t)(uintptr_t)p; /* of pointers to offsets */
    const dcm_row *const room = use == SKIP ? NULL : ix->rows + ix->capacity;
    const uint8_t depth = (uint8_t)(ix->sp / 2);
    dcm_row *row = use == SKIP ? NULL : ix->rows + ix->count;
    uint32_t last = *before;
    while (p <= last_header && (use == SKIP || row < room)) {
        uint32_t tag = dcm_tag(p, 0), length, found;
        const uint8_t *value = p + 8;
        if (tag <= last || tag > stop) break;
        if (implicit) {
            found = use == SKIP ? 0 : dcm_dict_vr(tag) | 8 << 8;
            length = dcm_u32(p + 4, 0);
        } else if ((found = dcm_vr_of(p + 4)) >> 8 == 8) {
            length = dcm_u16(p + 6, 0);
        } else if (found) { /* a branch: its guess is faster than the table */
            length = dcm_u32(p + 8, 0);
            value = p + 12;
        } else {
            break;
        }
        const uint8_t vr = (uint8_t)found;
        if (length > (uint64_t)(end - value) || (use == FLAT && vr == DCM_VR_SQ)) break;
        if (use != SKIP) {
            row->offset = (uint64_t)(uintptr_t)value + shift;
            row->length = length;
            row->tag = tag;
            row->vr = vr;
            row->header = (uint8_t)(found >> 8);
            row->flags = (uint8_t)((implicit ? DCM_ROW_IMPLICIT : 0) |
                                   (vr == DCM_VR_SQ ? DCM_ROW_ITEMS : 0));
            row->depth = depth;
            row++;
        }
        p = value + length;
        last = tag;
    }
    if (use != SKIP) ix->count = (uint64_t)(row - ix->rows);
    *before = last;
    ix->pos += (uint64_t)(p - begin);
    return (uint64_t)(p - begin);
}

/* Passes what most elements are: little endian, in order after *last, of a known
 * VR and a length that ends within the `n` bytes at p, which stand at ix->pos.
 * Stops at the first that is not: the slower loops deal with it. How many bytes
 * were passed. Not inlined into those, for the sake of its registers. */
DCM_APART static uint64_t plain(dcm_index *ix, const uint8_t *p, uint64_t n, uint32_t *last,
                                int encoding, int use) {
    if (n < 12 || (use != SKIP && ix->count == ix->capacity)) return 0;
    switch (encoding << 2 | use) {
    case DCM_EXPLICIT_LE << 2 | SKIP: return plain_as(ix, p, n, last, 0, SKIP);
    case DCM_EXPLICIT_LE << 2 | KEEP: return plain_as(ix, p, n, last, 0, KEEP);
    case DCM_EXPLICIT_LE << 2 | FLAT: return plain_as(ix, p, n, last, 0, FLAT);
    case DCM_IMPLICIT << 2 | SKIP: return plain_as(ix, p, n, last, 1, SKIP);
    case DCM_IMPLICIT << 2 | KEEP: return plain_as(ix, p, n, last, 1, KEEP);
    case DCM_IMPLICIT << 2 | FLAT: return plain_as(ix, p, n, last, 1, FLAT);
    default: return 0;
    }
}

/* One element inside an item. p: min(12, left) bytes. */
static int step_element(dcm_index *ix, const uint8_t *p, uint64_t have) {
    dcm_frame *f = ix->stack + ix->sp - 1;
    dcm_header h;
    uint64_t left = f->end - ix->pos;
    int code = DCM_OK;
    if (!dcm_u64(p, 0)) { /* as at_end() for the level itself */
        code = dcm_index_issue(ix, DCM_I_PADDING, ix->pos, f->tag);
        ix->pos = f->end;
        return code;
    }
    if (!dcm_header_read(p, left, f->encoding, &h)) {
        code = dcm_index_issue(ix, DCM_I_TRUNCATED_HEADER, ix->pos, h.tag);
        ix->pos = f->end;
        return code;
    }
    if (h.tag >> 16 == 0xFFFE) {
        if (h.tag == DCM_ITEM_END && !f->defined) {
            close_frame(ix, ix->pos, ix->pos + 8, 1);
        } else if (!f->defined) { /* its own delimiter is missing */
            code = dcm_index_issue(ix, DCM_I_UNCLOSED, ix->pos, f->tag);
            close_frame(ix, ix->pos, ix->pos, 0);
        } else {
            code = dcm_index_issue(ix, DCM_I_STRAY_DELIMITER, ix->pos, h.tag);
            ix->pos += 8;
        }
        return code;
    }
    dcm_row row = {ix->pos + h.size,           h.length, h.tag, h.vr, h.size,
                   row_flags(&h, f->encoding), 0};
    const int encoding = f->encoding | (h.implicit ? DCM_IMPLICIT : 0);
    const uint64_t here = ix->sp - 1;
    if (h.tag <= f->last && ix->pos > f->start) ix->unsorted = 1;
    if (h.length == DCM_UNDEFINED) {
        code = enter(ix, p, have, &row, f->end, encoding, ix->flat);
        if (code == DCM_OK) ix->stack[here].last = h.tag;
        if (code == DCM_OK && h.issue)
            code = dcm_index_issue(ix, h.issue, row.offset - h.size, h.tag);
        return code;
    }
    f->last = h.tag;
    if (h.issue && (code = dcm_index_issue(ix, h.issue, ix->pos, h.tag))) return code;
    if (h.length > left - h.size) {
        code = dcm_index_issue(ix, DCM_I_TRUNCATED_VALUE, ix->pos, h.tag);
        if (code) return code;
        row.length = left - h.size;
        row.flags |= DCM_ROW_TRUNCATED;
    }
    uint64_t end = row.offset + row.length;
    ix->pos = end;
    if (!ix->flat) return DCM_OK;
    int sequence = h.vr == DCM_VR_SQ;
    if (sequence) row.flags |= DCM_ROW_ITEMS;
    uint32_t at = (uint32_t)ix->count;
    if ((code = add_row(ix, &row)) || !sequence || !row.length) return code;
    ix->pos = row.offset;
    return push(ix, FRAME_SEQUENCE, h.tag, end, 1, encoding, at);
}

/* What a walk through undefined lengths does most, when no rows are kept: out of
 * an item, or into a sequence of explicit VR little endian. p: min(12, left) bytes.
 * 0: this is something else. */
static inline int out_or_in(dcm_index *ix, const uint8_t *p, uint64_t left, int *code) {
    dcm_frame *f = ix->stack + ix->sp - 1;
    uint32_t tag = dcm_tag(p, 0);
    if (f->encoding & DCM_BIG) return 0;
    if (tag == DCM_ITEM_END && !f->defined) {
        close_frame(ix, ix->pos, ix->pos + 8, 1);
        return 1;
    }
    if (left < 12 || f->encoding || p[4] != 'S' || p[5] != 'Q' || tag <= f->last ||
        tag >= 0xFFFE0000 || dcm_u32(p + 8, 0) != DCM_UNDEFINED)
        return 0;
    f->last = tag;
    ix->pos += 12;
    *code = push(ix, FRAME_SEQUENCE, tag, f->end, 0, 0, UINT32_MAX);
    return 1;
}

/* Walks until the stack is down to `base` frames. */
static int walk(dcm_index *ix, const dcm_bytes *b, uint64_t base) {
    const uint8_t *p = NULL; /* `run` bytes from `at` on */
    uint64_t at = 0, run = 0;
    int code = DCM_OK;
    while (!code && ix->sp > base) {
        dcm_frame *f = ix->stack + ix->sp - 1;
        if (f->kind == FRAME_SEARCH) {
            code = search(ix, b);
            continue;
        }
        uint64_t left = f->end - ix->pos;
        if (left < 8 && f->kind == FRAME_JUMPED) {
            jumped_astray(ix, f);
            continue;
        }
        if (!left) {
            if (!f->defined) code = dcm_index_issue(ix, DCM_I_UNCLOSED, ix->pos, f->tag);
            close_frame(ix, ix->pos, ix->pos, 0);
            continue;
        }
        if (left < 8) {
            code = dcm_index_issue(ix, DCM_I_TRUNCATED_HEADER, ix->pos, f->tag);
            ix->pos = f->end;
            continue;
        }
        uint64_t least = f->kind == FRAME_ITEM && left >= 12 ? 12 : 8;
        uint64_t gone = ix->pos - at; /* huge when pos went back */
        if (gone > run || run - gone < least) {
            run = dcm_bytes_run(b, ix->pos, &p);
            at = ix->pos;
            gone = 0;
            if (run < least)
                return need(ix, at, least, f->kind >= FRAME_FRAGMENTS ? 1 : walking(ix));
        }
        if (f->kind >= FRAME_FRAGMENTS) {
            code = step_fragments(ix, p + gone);
        } else if (f->kind != FRAME_ITEM) {
            code = step_items(ix, p + gone, run - gone);
        } else if (!ix->flat && out_or_in(ix, p + gone, left, &code)) {
            continue;
        } else if (!plain(ix, p + gone, run - gone < left ? run - gone : left, &f->last,
                          f->encoding, ix->flat ? FLAT : SKIP)) {
            code = step_element(ix, p + gone, run - gone);
        }
    }
    return code;
}

/* What stands at the end of the level and is no element. 1: stop here. */
static int at_end(dcm_index *ix, const uint8_t *p, uint64_t left, int *code) {
    static const uint8_t zeros[8];
    uint64_t n = left < 8 ? left : 8;
    if (!memcmp(p, zeros, (size_t)n)) {
        *code = dcm_index_issue(ix, DCM_I_PADDING, ix->pos, 0);
    } else if (left < 8) {
        *code = dcm_index_issue(ix, DCM_I_TRUNCATED_HEADER, ix->pos, 0);
    } else {
        return 0;
    }
    return 1;
}

/* The level itself, from ix->pos up to a value of undefined length or the
 * end: the loop that every file goes through. */
static int level(dcm_index *ix, const dcm_bytes *b) {
    const uint64_t end = ix->end;
    const uint32_t from = ix->from, span = ix->stop - from;
    const int encoding = ix->encoding;
    uint64_t pos = ix->pos;
    const uint8_t *p = NULL;
    uint64_t run = dcm_bytes_run(b, pos, &p);
    int code = DCM_OK;
    while (pos < end) {
        uint64_t left = end - pos;
        if (run >= 12 && ix->last >= from) { /* plain() knows no `from` */
            ix->pos = pos;
            uint64_t passed = plain(ix, p, run < left ? run : left, &ix->last, encoding, KEEP);
            pos += passed, p += passed, run -= passed, left -= passed;
            if (!left) break;
        }
        if (run < 12 && run < left) {
            run = dcm_bytes_run(b, pos, &p);
            ix->pos = pos;
            if (run < 12 && run < left) return need(ix, pos, left < 12 ? left : 12, 0);
        }
        if (left < 8 || !dcm_u32(p, 0)) {
            ix->pos = pos;
            if (at_end(ix, p, left, &code)) {
                ix->done = 1;
                return code;
            }
        }
        dcm_header h;
        int whole = dcm_header_read(p, left, encoding, &h);
        if (h.tag - from > span && (h.tag >> 16 != 0xFFFE || from)) {
            ix->pos = pos;
            ix->done = 2;
            return code;
        }
        if (!whole) {
            ix->done = 1;
            ix->pos = end;
            return dcm_index_issue(ix, DCM_I_TRUNCATED_HEADER, pos, h.tag);
        }
        if (h.tag >> 16 == 0xFFFE) { /* no element: on to the next header */
            if ((code = dcm_index_issue(ix, DCM_I_STRAY_DELIMITER, pos, h.tag))) return code;
            pos += 8, p += 8, run -= 8;
            continue;
        }
        if (h.length == DCM_UNDEFINED) {
            dcm_row row = {pos + h.size, 0, h.tag, h.vr, h.size, row_flags(&h, encoding), 0};
            ix->pos = pos;
            code = enter(ix, p, run, &row, end, encoding | (h.implicit ? DCM_IMPLICIT : 0), 1);
        } else {
            if (ix->count == ix->capacity) {
                code = dcm_grow((void **)&ix->rows, &ix->capacity, ix->count + 1,
                                sizeof *ix->rows);
                if (code) return code;
            }
            dcm_row *row = ix->rows + ix->count++;
            row->offset = pos + h.size;
            row->length = h.length;
            row->tag = h.tag;
            row->vr = h.vr;
            row->header = h.size;
            row->flags = row_flags(&h, encoding);
            if (h.vr == DCM_VR_SQ) row->flags |= DCM_ROW_ITEMS;
            if (h.length > left - h.size) {
                row->length = left - h.size;
                row->flags |= DCM_ROW_TRUNCATED;
                code = dcm_index_issue(ix, DCM_I_TRUNCATED_VALUE, pos, h.tag);
            }
        }
        if (!code && h.issue) code = dcm_index_issue(ix, h.issue, pos, h.tag);
        if (code) return code;
        if (h.tag <= ix->last && ix->count > 1) {
            ix->unsorted = 1;
            code = dcm_index_issue(ix, DCM_I_OUT_OF_ORDER, pos, h.tag);
            if (code) return code;
        }
        ix->last = h.tag;
        if (ix->sp) return DCM_OK; /* walk it */
        uint64_t size = h.size + ix->rows[ix->count - 1].length;
        pos += size;
        if (size < run)
            p += size, run -= size;
        else
            run = 0;
    }
    ix->pos = pos;
    ix->done = 1;
    return code;
}

static int by_tag(const void *a, const void *b) {
    const dcm_row *x = a, *y = b;
    if (x->tag != y->tag) return x->tag < y->tag ? -1 : 1;
    return x->offset < y->offset ? -1 : x->offset > y->offset;
}

/* Tags must ascend (PS3.5 7.1): sorts, and of equal tags keeps the last. */
static int order_rows(dcm_index *ix) {
    qsort(ix->rows, (size_t)ix->count, sizeof *ix->rows, by_tag);
    uint64_t kept = 0;
    for (uint64_t i = 0; i < ix->count; i++) {
        dcm_row *row = ix->rows + i;
        if (i + 1 < ix->count && row[1].tag == row->tag) {
            int code =
                dcm_index_issue(ix, DCM_I_DUPLICATE, row->offset - row->header, row->tag);
            if (code) return code;
            continue;
        }
        ix->rows[kept++] = *row;
    }
    ix->count = kept;
    ix->unsorted = 0;
    return DCM_OK;
}

int dcm_index_run(dcm_index *ix, const dcm_bytes *b, dcm_error *err) {
    int code = DCM_OK;
    if (ix->flat) {
        if (!ix->done && !ix->sp) {
            code = push(ix, FRAME_ITEM, 0, ix->end, 1, ix->encoding, UINT32_MAX);
            if (!code && ix->flat == DCM_FLAT_ITEMS)
                code = push(ix, FRAME_SEQUENCE, 0, ix->end, 1, ix->encoding, UINT32_MAX);
        }
        if (!code) code = walk(ix, b, 0);
        if (!code) ix->done = 1;
    } else {
        while (!code && !ix->done) code = ix->sp ? walk(ix, b, 0) : level(ix, b);
        if (!code && ix->unsorted) code = order_rows(ix);
    }
    if (code > DCM_NEED) {
        dcm_fail(err, code, ix->pos, ix->sp ? ix->stack[ix->sp - 1].tag : ix->last);
        if (err) err->depth = (uint32_t)(ix->sp / 2);
    }
    return code;
}

uint64_t dcm_read_ahead(const dcm_bytes *b, int transient) {
    if (transient) return transient == 2 ? WALK_KEPT : 512;
    return b->used<4096 ? 4096 : b->used>(4u << 20) ? 4u << 20 : b->used;
}

int dcm_index_read(dcm_index *ix, dcm_bytes *b, const dcm_file *f, dcm_error *err) {
    int code;
    while ((code = dcm_index_run(ix, b, err)) == DCM_NEED) {
        code = dcm_file_fill(f, b, ix->need_offset, ix->need_length,
                             dcm_read_ahead(b, ix->need_transient), ix->need_transient, err);
        if (code) return code;
    }
    return code;
}

int dcm_index_take(dcm_index *ix, dcm_index *from) {
    dcm_row *rows = dcm_copy(from->rows, (size_t)from->count * sizeof *rows);
    if (!rows) return DCM_E_MEMORY;
    *ix = *from;
    ix->rows = rows;
    ix->capacity = ix->count;
    ix->stack = NULL;
    ix->cap_stack = 0;
    from->issues = NULL;
    from->n_issues = from->cap_issues = 0;
    return DCM_OK;
}

const dcm_row *dcm_index_find(const dcm_index *ix, uint32_t tag) {
    uint64_t low = 0, high = ix->count;
    while (low < high) {
        uint64_t middle = low + (high - low) / 2;
        if (ix->rows[middle].tag < tag)
            low = middle + 1;
        else
            high = middle;
    }
    return low < ix->count && ix->rows[low].tag == tag ? ix->rows + low : NULL;
}

int dcm_row_encoding(const dcm_row *row) {
    if (row->flags & DCM_ROW_INNER_IMPLICIT) return DCM_IMPLICIT;
    return (row->flags & DCM_ROW_BIG ? DCM_BIG : 0) |
           (row->flags & DCM_ROW_IMPLICIT ? DCM_IMPLICIT : 0);
}

int dcm_items(const dcm_row *row, const dcm_bytes *b, dcm_index *work, dcm_item **items,
              uint64_t *capacity, uint64_t *count, dcm_error *err) {
    const uint64_t end = row->offset + row->length;
    const int encoding = dcm_row_encoding(row), big = encoding & DCM_BIG;
    dcm_index_start(work, row->offset, end, encoding, UINT32_MAX, 0);
    *count = 0;
    int code = DCM_OK;
    uint64_t at = row->offset;
    while (at < end) {
        const uint8_t *p = NULL;
        uint64_t run = dcm_bytes_run(b, at, &p);
        if (run < end - at) return need(work, at, end - at, 0);
        if (end - at < 8) {
            code = dcm_index_issue(work, DCM_I_TRUNCATED_HEADER, at, row->tag);
            break;
        }
        uint32_t tag = dcm_tag(p, big), length = dcm_u32(p + 4, big);
        if (tag != DCM_ITEM) {
            if (tag != DCM_SEQUENCE_END)
                code = dcm_index_issue(work, DCM_I_NOT_AN_ITEM, at, row->tag);
            break;
        }
        dcm_item item = {at + 8, length, 0, 0};
        uint64_t room = end - item.offset;
        item.encoding =
            (uint8_t)dcm_item_encoding(p + 8, length < room ? length : room, encoding);
        if (length == DCM_UNDEFINED) {
            item.flags = DCM_ROW_UNDEFINED;
            work->pos = item.offset;
            code = push(work, FRAME_ITEM, row->tag, end, 0, item.encoding, UINT32_MAX);
            if (!code) code = walk(work, b, 0);
            if (code) break;
            item.length = work->closed - item.offset;
            at = work->pos;
        } else {
            if (length > room) {
                code = dcm_index_issue(work, DCM_I_ITEM_LENGTH, at, row->tag);
                item.flags = DCM_ROW_TRUNCATED;
                item.length = room;
            }
            at = item.offset + item.length;
        }
        if (!code) code = dcm_grow((void **)items, capacity, *count + 1, sizeof **items);
        if (code) break;
        (*items)[(*count)++] = item;
    }
    if (code > DCM_NEED) dcm_fail(err, code, at, row->tag);
    return code;
}
