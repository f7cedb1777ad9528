/* index.c: the elements of one data set level, or of all levels, as rows.
 *
 * A value of defined length is skipped. A value of undefined length is walked to
 * its delimiter with an explicit stack, so that no input causes recursion. The
 * index never reads: it returns DCM_NEED with the bytes that are missing, and
 * continues from there at the next call. */
#include "dcm_index.h"

#include "header.h"

#include <stdlib.h>
#include <string.h>

/* What a dcm_container is, and for fragments how their end is looked for. */
enum container_kind {
    CONTAINER_SEQUENCE,
    CONTAINER_ITEM,
    CONTAINER_FRAGMENTS, /* from one fragment to the next */
    CONTAINER_TABLED,    /* at the first item: an offset table may lead to the end */
    CONTAINER_TABLE,     /* at the last entry of that table */
    CONTAINER_JUMPED,    /* at the last frame, if the table is right */
    CONTAINER_SEARCH     /* by a search for the delimiter */
};

#define EXTENDED_TABLE 0x7FE00001u
#define PIXEL_DATA     0x7FE00010u

#define MAX_ISSUES 256

void dcm_index_start(dcm_index *ix, uint64_t begin, uint64_t end, int encoding, uint32_t stop,
                     dcm_index_scope scope) {
    ix->begin = ix->pos = begin;
    ix->end = end;
    ix->encoding = (uint8_t)encoding;
    ix->from = 0;
    ix->stop = stop;
    ix->scope = (uint8_t)scope;
    ix->last = 0;
    ix->zeros_begin = 0;
    ix->zeros_end = UINT64_MAX;
    ix->count = ix->n_issues = ix->sp = 0;
    ix->state = DCM_INDEX_PARTIAL;
    ix->need_mode = DCM_READ_KEEP;
    ix->unsorted = 0;
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

static int need(dcm_index *ix, uint64_t offset, uint64_t length, dcm_read_mode mode) {
    ix->need_offset = offset;
    ix->need_length = length;
    ix->need_mode = (uint8_t)mode;
    return DCM_NEED;
}

/* The bytes of a value of undefined length are kept up to this length. A longer
 * value is walked in blocks that are not kept: to get its elements it is read
 * again. */
#define WALK_KEPT (256u << 10)

static dcm_read_mode walk_mode(const dcm_index *ix) {
    return !ix->scope && ix->sp && ix->pos - ix->stack[0].start > WALK_KEPT ? DCM_READ_STREAM
                                                                            : DCM_READ_KEEP;
}

static int push(dcm_index *ix, int kind, uint32_t tag, uint64_t end, int defined, int encoding,
                uint32_t row) {
    /* a sequence and its item are two containers, but one level */
    if (ix->sp / 2 >= ix->depth_limit) return DCM_E_DEPTH;
    if (ix->sp == ix->cap_stack) {
        int code = dcm_grow((void **)&ix->stack, &ix->cap_stack, ix->sp + 1, sizeof *ix->stack);
        if (code) return code;
    }
    ix->stack[ix->sp++] = (dcm_container){
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

/* Determines whether a value of undefined length is a sequence or fragments. p
 * holds its first n bytes: at least 4, or all of them. */
static void classify(dcm_row *row, const uint8_t *p, uint64_t n, int *encoding) {
    int big = *encoding & DCM_BIG;
    int items = row->vr == DCM_VR_SQ;
    if (row->vr == DCM_VR_UN) {
        /* PS3.5 6.2.2 note 4 (CP-246): the items are implicit VR little endian, but
         * some writers use the encoding of the data set. */
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

/* A value of UN is little endian in every data set (PS3.5 6.2.2). */
static uint8_t row_flags(const dcm_header *h, int encoding) {
    return (uint8_t)((h->implicit ? DCM_ROW_IMPLICIT : 0) |
                     (encoding & DCM_BIG && h->vr != DCM_VR_UN ? DCM_ROW_BIG : 0));
}

/* Closes the container on top of the stack: its value ends at `at`, and the next
 * header is at `next`. */
static void close_container(dcm_index *ix, uint64_t at, uint64_t next, int delimited) {
    dcm_container *top = ix->stack + --ix->sp;
    ix->closed = at;
    ix->pos = next;
    if (top->row == UINT32_MAX) return;
    dcm_row *row = ix->rows + top->row;
    row->length = at - row->offset;
    if (delimited) row->flags |= DCM_ROW_DELIMITED;
}

/* A value whose delimiter is not found within this length runs to the end of its
 * data set; otherwise the complete file would be read for one delimiter. */
#define SEARCH_LIMIT (256u << 20)

/* Searches for the delimiter of a value with wrong fragment lengths. */
static int search(dcm_index *ix, const dcm_bytes *b) {
    dcm_container *top = ix->stack + ix->sp - 1;
    static const uint8_t delimiters[2][4] = {{0xFE, 0xFF, 0xDD, 0xE0},
                                             {0xFF, 0xFE, 0xE0, 0xDD}};
    const uint8_t *wanted = delimiters[top->encoding & DCM_BIG];
    for (;;) {
        const uint8_t *p = NULL;
        uint64_t left = top->end - ix->pos;
        if (left < 4 || ix->pos - top->start > SEARCH_LIMIT) {
            int code = dcm_index_issue(ix, DCM_I_UNCLOSED, top->end, top->tag);
            if (!code) close_container(ix, top->end, top->end, 0);
            return code;
        }
        uint64_t n = dcm_bytes_run(b, ix->pos, &p);
        if (n > left) n = left;
        if (n < 4) return need(ix, ix->pos, left < 1u << 20 ? left : 1u << 20, DCM_READ_ONCE);
        for (const uint8_t *q = p, *last = p + n - 4; q <= last; q++) {
            q = memchr(q, wanted[0], (size_t)(last - q) + 1);
            if (!q) break;
            if (memcmp(q, wanted, 4) != 0) continue;
            uint64_t at = ix->pos + (uint64_t)(q - p);
            uint64_t next = top->end - at < 8 ? top->end : at + 8;
            close_container(ix, at, next, 1);
            return DCM_OK;
        }
        ix->pos += n - 3;
    }
}

/* Moves from the first item of the pixel data to the last entry of the offset
 * table: the Basic Offset Table in that item, or the Extended Offset Table in an
 * element before (PS3.5 A.4). */
static void go_to_table(dcm_index *ix, dcm_container *top, uint64_t length) {
    top->kind = CONTAINER_TABLE;
    top->last = (uint32_t)length;
    ix->pos += length; /* the last 8 bytes: the header has 8 bytes, too */
    if (length >= 8) return;
    for (uint64_t i = top->row; i && ix->rows[i - 1].tag >= EXTENDED_TABLE; i--) {
        const dcm_row *row = ix->rows + i - 1;
        if (row->tag != EXTENDED_TABLE || row->length < 8) continue;
        ix->pos = row->offset + row->length - 8;
        return;
    }
    top->kind = CONTAINER_FRAGMENTS;
    ix->pos = top->start;
}

/* Moves to the last frame, so that thousands of fragments need not be walked to
 * find their end. p: the last 8 bytes of the table. */
static void go_to_last_frame(dcm_index *ix, dcm_container *top, const uint8_t *p) {
    const uint64_t first = top->start + 8 + top->last, size = top->end - first;
    const uint64_t offset = top->last < 8 ? dcm_u64(p, 0) : dcm_u32(p + 4, 0);
    top->kind = size >= 8 && offset <= size - 8 ? CONTAINER_JUMPED : CONTAINER_FRAGMENTS;
    ix->pos = top->kind == CONTAINER_JUMPED ? first + offset : top->start;
}

/* The table is wrong or the file is damaged: walks all fragments. */
static void ignore_table(dcm_index *ix, dcm_container *top) {
    top->kind = CONTAINER_FRAGMENTS;
    ix->pos = top->start;
}

static int step_fragments(dcm_index *ix, const uint8_t *p) {
    dcm_container *top = ix->stack + ix->sp - 1;
    const int big = top->encoding & DCM_BIG;
    const uint32_t tag = dcm_tag(p, big), length = dcm_u32(p + 4, big);
    const uint64_t start = ix->pos + 8;
    if (top->kind == CONTAINER_TABLE) {
        go_to_last_frame(ix, top, p);
    } else if (tag == DCM_ITEM && length <= top->end - start) {
        if (top->kind == CONTAINER_TABLED)
            go_to_table(ix, top, length);
        else
            ix->pos = start + length;
    } else if (tag == DCM_SEQUENCE_END) {
        close_container(ix, ix->pos, start, 1);
    } else if (top->kind == CONTAINER_JUMPED) {
        ignore_table(ix, top);
    } else { /* start again, with a search */
        ix->pos = top->start;
        top->kind = CONTAINER_SEARCH;
        return dcm_index_issue(ix, DCM_I_FRAGMENTS, start - 8, top->tag);
    }
    return DCM_OK;
}

/* Processes one item header of a sequence. p: 8 bytes. */
static int step_items(dcm_index *ix, const uint8_t *p, uint64_t have) {
    dcm_container *top = ix->stack + ix->sp - 1;
    const int big = top->encoding & DCM_BIG;
    uint32_t tag = dcm_tag(p, big), length = dcm_u32(p + 4, big);
    uint64_t start = ix->pos + 8, after = top->end - start;
    int code;
    if (tag == DCM_ITEM) {
        int undefined = length == DCM_UNDEFINED;
        uint64_t end = undefined ? top->end : start + length;
        if (!undefined && length > after) {
            code = dcm_index_issue(ix, DCM_I_ITEM_LENGTH, ix->pos, top->tag);
            if (code) return code;
            end = top->end;
        }
        if (!undefined && !ix->scope) {
            ix->pos = end;
            return DCM_OK;
        }
        uint64_t n = have - 8, left = end - start;
        if (n < 6 && n < left)
            return need(ix, ix->pos, left < 6 ? 8 + left : 14, walk_mode(ix));
        int encoding = dcm_item_encoding(p + 8, n < left ? n : left, top->encoding);
        uint32_t row = UINT32_MAX;
        if (ix->scope) {
            dcm_row item = {start,    end - start,
                            DCM_ITEM, DCM_VR_NONE,
                            8,        (uint8_t)(undefined ? DCM_ROW_UNDEFINED : 0),
                            0};
            if (encoding & DCM_IMPLICIT) item.flags |= DCM_ROW_IMPLICIT;
            if (big) item.flags |= DCM_ROW_BIG;
            row = (uint32_t)ix->count;
            if ((code = add_row(ix, &item))) return code;
        }
        uint32_t of = top->tag;
        ix->pos = start;
        return push(ix, CONTAINER_ITEM, of, end, !undefined, encoding, row);
    }
    if (tag == DCM_SEQUENCE_END && !top->defined) {
        close_container(ix, ix->pos, start, 1);
        return DCM_OK;
    }
    code =
        dcm_index_issue(ix, tag == DCM_SEQUENCE_END ? DCM_I_STRAY_DELIMITER : DCM_I_NOT_AN_ITEM,
                        ix->pos, top->tag);
    if (top->defined)
        ix->pos = top->end;
    else
        close_container(ix, ix->pos, ix->pos, 0);
    return code;
}

/* Opens the container of a value of undefined length whose header was read into
 * `row`. `keep`: whether to add the row to the index. */
static int enter(dcm_index *ix, const uint8_t *p, uint64_t have, dcm_row *row, uint64_t end,
                 int encoding, int keep) {
    uint64_t length = end - row->offset, least = length < 4 ? length : 4;
    uint64_t n = have - row->header;
    if (n < least) return need(ix, ix->pos, row->header + least, walk_mode(ix));
    row->length = length;
    row->flags |= DCM_ROW_UNDEFINED;
    classify(row, p + row->header, n < length ? n : length, &encoding);
    uint32_t at = UINT32_MAX;
    if (keep) {
        at = (uint32_t)ix->count;
        int code = add_row(ix, row);
        if (code) return code;
    }
    ix->pos = row->offset;
    const int kind = row->flags & DCM_ROW_ITEMS ? CONTAINER_SEQUENCE
                     : keep && !ix->scope && row->tag == PIXEL_DATA && !(encoding & DCM_BIG)
                         ? CONTAINER_TABLED
                         : CONTAINER_FRAGMENTS;
    return push(ix, kind, row->tag, end, 0, encoding, at);
}

/* What scan_plain() does with elements. */
enum plain_use {
    SKIP, /* adds no rows */
    KEEP, /* adds rows, up to the stop tag */
    FLAT  /* adds rows, up to the next sequence, which a flat index enters */
};

static inline uint64_t scan_plain_as(dcm_index *ix, const uint8_t *p, uint64_t n,
                                     uint32_t *before, const int implicit,
                                     const enum plain_use use) {
    const uint32_t stop = use == KEEP && ix->stop < 0xFFFDFFFF ? ix->stop : 0xFFFDFFFF;
    const uint8_t *const begin = p, *const end = p + n, *const last_header = end - 12;
    const uint64_t shift = ix->pos - (uint64_t)(uintptr_t)p; /* of pointers to offsets */
    const dcm_row *const rows_end = use == SKIP ? NULL : ix->rows + ix->capacity;
    const uint8_t depth = (uint8_t)(ix->sp / 2);
    dcm_row *row = use == SKIP ? NULL : ix->rows + ix->count;
    uint32_t last = *before;
    while (p <= last_header && (use == SKIP || row < rows_end)) {
        uint32_t tag = dcm_tag(p, 0), length, found;
        const uint8_t *value = p + 8;
        if (tag <= last || tag > stop) break;
        if (implicit) {
            found = use == SKIP ? 0 : dcm_dict_vr(tag) | 8 << 8;
            length = dcm_u32(p + 4, 0);
        } else if ((found = dcm_vr_of(p + 4)) >> 8 == 8) {
            length = dcm_u16(p + 6, 0);
        } else if (found) { /* a predicted branch is faster than adding the header size */
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

/* Processes the common elements at ix->pos, whose n bytes are at p: little endian,
 * in ascending order after *last, with a known VR, and ending within these bytes.
 * Stops at the first other element, which the general loops process. Returns the
 * number of bytes processed. Not inlined, because this loop needs all registers. */
DCM_NOINLINE static uint64_t scan_plain(dcm_index *ix, const uint8_t *p, uint64_t n,
                                        uint32_t *last, int encoding, enum plain_use use) {
    if (n < 12 || (use != SKIP && ix->count == ix->capacity)) return 0;
    switch (encoding << 2 | (int)use) {
    case DCM_EXPLICIT_LE << 2 | SKIP: return scan_plain_as(ix, p, n, last, 0, SKIP);
    case DCM_EXPLICIT_LE << 2 | KEEP: return scan_plain_as(ix, p, n, last, 0, KEEP);
    case DCM_EXPLICIT_LE << 2 | FLAT: return scan_plain_as(ix, p, n, last, 0, FLAT);
    case DCM_IMPLICIT << 2 | SKIP: return scan_plain_as(ix, p, n, last, 1, SKIP);
    case DCM_IMPLICIT << 2 | KEEP: return scan_plain_as(ix, p, n, last, 1, KEEP);
    case DCM_IMPLICIT << 2 | FLAT: return scan_plain_as(ix, p, n, last, 1, FLAT);
    default: return 0;
    }
}

/* Zero bytes of this length are padding up to the end, so that no file is read for them. */
#define PADDING_LIMIT (64u << 10)

/* Skips eight zero bytes at ix->pos, where a header should be. */
static int skip_zeros(dcm_index *ix, uint64_t end, uint32_t tag) {
    int code = DCM_OK;
    if (ix->pos != ix->zeros_end) {
        ix->zeros_begin = ix->pos;
        code = dcm_index_issue(ix, DCM_I_PADDING, ix->pos, tag);
    }
    ix->pos += 8;
    if (ix->pos - ix->zeros_begin >= PADDING_LIMIT) ix->pos = end;
    ix->zeros_end = ix->pos;
    return code;
}

/* What follows zero bytes is read if it is certainly the next element, or a delimiter
 * where one is possible; otherwise it is skipped like them. p: min(12, left) bytes at
 * ix->pos. Returns whether something was skipped. */
static int skip_rest(dcm_index *ix, const uint8_t *p, uint64_t end, uint32_t last, int encoding,
                     int delimiters) {
    const uint64_t left = end - ix->pos;
    dcm_header h;
    if (left >= 8 && !p[0] && !p[1] && ix->pos - ix->zeros_begin < PADDING_LIMIT) {
        ix->pos += 2; /* the number of zero bytes was not a multiple of eight */
    } else if (left >= 8 && dcm_header_read(p, left, encoding, &h) &&
               (h.tag >> 16 == 0xFFFE
                    ? delimiters
                    : h.tag > last && !h.issue && h.vr != DCM_VR_NONE &&
                          (h.length == DCM_UNDEFINED || h.length <= left - h.size))) {
        return 0;
    } else {
        ix->pos = end;
    }
    ix->zeros_end = ix->pos;
    return 1;
}

/* Processes one element of an item. p: min(12, left) bytes. */
static int step_element(dcm_index *ix, const uint8_t *p, uint64_t have) {
    dcm_container *top = ix->stack + ix->sp - 1;
    dcm_header h;
    uint64_t left = top->end - ix->pos;
    int code = DCM_OK;
    if (!dcm_u64(p, 0)) return skip_zeros(ix, top->end, top->tag);
    if (ix->pos == ix->zeros_end && skip_rest(ix, p, top->end, top->last, top->encoding, 1))
        return DCM_OK;
    if (!dcm_header_read(p, left, top->encoding, &h)) {
        code = dcm_index_issue(ix, DCM_I_TRUNCATED_HEADER, ix->pos, h.tag);
        ix->pos = top->end;
        return code;
    }
    if (h.tag >> 16 == 0xFFFE) {
        if (h.tag == DCM_ITEM_END && !top->defined) {
            close_container(ix, ix->pos, ix->pos + 8, 1);
        } else if (!top->defined) { /* the delimiter of this item is missing */
            code = dcm_index_issue(ix, DCM_I_UNCLOSED, ix->pos, top->tag);
            close_container(ix, ix->pos, ix->pos, 0);
        } else {
            code = dcm_index_issue(ix, DCM_I_STRAY_DELIMITER, ix->pos, h.tag);
            ix->pos += 8;
        }
        return code;
    }
    dcm_row row = {
        ix->pos + h.size, h.length, h.tag, h.vr, h.size, row_flags(&h, top->encoding), 0};
    const int encoding = top->encoding | (h.implicit ? DCM_IMPLICIT : 0);
    const uint64_t here = ix->sp - 1;
    if (h.tag <= top->last && ix->pos > top->start) ix->unsorted = 1;
    if (h.length == DCM_UNDEFINED) {
        code = enter(ix, p, have, &row, top->end, encoding, ix->scope);
        if (code == DCM_OK) ix->stack[here].last = h.tag;
        if (code == DCM_OK && h.issue)
            code = dcm_index_issue(ix, h.issue, row.offset - h.size, h.tag);
        return code;
    }
    top->last = h.tag;
    if (h.issue && (code = dcm_index_issue(ix, h.issue, ix->pos, h.tag))) return code;
    if (h.length > left - h.size) {
        code = dcm_index_issue(ix, DCM_I_TRUNCATED_VALUE, ix->pos, h.tag);
        if (code) return code;
        row.length = left - h.size;
        row.flags |= DCM_ROW_TRUNCATED;
    }
    uint64_t end = row.offset + row.length;
    ix->pos = end;
    if (!ix->scope) return DCM_OK;
    int sequence = h.vr == DCM_VR_SQ;
    if (sequence) row.flags |= DCM_ROW_ITEMS;
    uint32_t at = (uint32_t)ix->count;
    if ((code = add_row(ix, &row)) || !sequence || !row.length) return code;
    ix->pos = row.offset;
    return push(ix, CONTAINER_SEQUENCE, h.tag, end, 1, encoding, at);
}

/* The most common steps of a walk through undefined lengths that adds no rows:
 * leaves an item, or enters an explicit VR little endian sequence. p: min(12, left)
 * bytes. Returns 0 if it did neither. */
static inline int leave_or_enter(dcm_index *ix, const uint8_t *p, uint64_t left, int *code) {
    dcm_container *top = ix->stack + ix->sp - 1;
    uint32_t tag = dcm_tag(p, 0);
    if (top->encoding & DCM_BIG) return 0;
    if (tag == DCM_ITEM_END && !top->defined) {
        close_container(ix, ix->pos, ix->pos + 8, 1);
        return 1;
    }
    if (left < 12 || top->encoding || p[4] != 'S' || p[5] != 'Q' || tag <= top->last ||
        tag >= 0xFFFE0000 || dcm_u32(p + 8, 0) != DCM_UNDEFINED)
        return 0;
    top->last = tag;
    ix->pos += 12;
    *code = push(ix, CONTAINER_SEQUENCE, tag, top->end, 0, 0, UINT32_MAX);
    return 1;
}

/* Processes headers until the stack has `base` containers. */
static int walk(dcm_index *ix, const dcm_bytes *b, uint64_t base) {
    const uint8_t *p = NULL; /* the `run` bytes from offset `at` on */
    uint64_t at = 0, run = 0;
    int code = DCM_OK;
    while (!code && ix->sp > base) {
        dcm_container *top = ix->stack + ix->sp - 1;
        if (top->kind == CONTAINER_SEARCH) {
            code = search(ix, b);
            continue;
        }
        uint64_t left = top->end - ix->pos;
        if (left < 8 && top->kind == CONTAINER_JUMPED) {
            ignore_table(ix, top);
            continue;
        }
        if (!left) {
            if (!top->defined) code = dcm_index_issue(ix, DCM_I_UNCLOSED, ix->pos, top->tag);
            close_container(ix, ix->pos, ix->pos, 0);
            continue;
        }
        if (left < 8) {
            if (ix->pos != ix->zeros_end)
                code = dcm_index_issue(ix, DCM_I_TRUNCATED_HEADER, ix->pos, top->tag);
            ix->pos = top->end;
            continue;
        }
        uint64_t least = top->kind == CONTAINER_ITEM && left >= 12 ? 12 : 8;
        uint64_t gone = ix->pos - at; /* huge if pos moved back */
        if (gone > run || run - gone < least) {
            run = dcm_bytes_run(b, ix->pos, &p);
            at = ix->pos;
            gone = 0;
            if (run < least)
                return need(ix, at, least,
                            top->kind >= CONTAINER_FRAGMENTS ? DCM_READ_ONCE : walk_mode(ix));
        }
        if (top->kind >= CONTAINER_FRAGMENTS) {
            code = step_fragments(ix, p + gone);
        } else if (top->kind != CONTAINER_ITEM) {
            code = step_items(ix, p + gone, run - gone);
        } else if (!ix->scope && leave_or_enter(ix, p + gone, left, &code)) {
            continue;
        } else if (!scan_plain(ix, p + gone, run - gone < left ? run - gone : left, &top->last,
                               top->encoding, ix->scope ? FLAT : SKIP)) {
            code = step_element(ix, p + gone, run - gone);
        }
    }
    return code;
}

/* Processes the level itself, from ix->pos up to the end or up to a value of
 * undefined length: the loop that every file goes through. */
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
        if (run >= 12 && ix->last >= from) { /* scan_plain() does not check `from` */
            ix->pos = pos;
            uint64_t passed =
                scan_plain(ix, p, run < left ? run : left, &ix->last, encoding, KEEP);
            pos += passed, p += passed, run -= passed, left -= passed;
            if (!left) break;
        }
        if (run < 12 && run < left) {
            run = dcm_bytes_run(b, pos, &p);
            ix->pos = pos;
            if (run < 12 && run < left)
                return need(ix, pos, left < 12 ? left : 12, DCM_READ_KEEP);
        }
        if (left < 8 || !dcm_u32(p, 0) || pos == ix->zeros_end) {
            ix->pos = pos;
            if (left < 8) { /* padding or a truncated header */
                static const uint8_t zeros[8];
                ix->state = DCM_INDEX_COMPLETE;
                if (pos == ix->zeros_end) return DCM_OK; /* has an issue */
                int cut = memcmp(p, zeros, (size_t)left) != 0;
                return dcm_index_issue(ix, cut ? DCM_I_TRUNCATED_HEADER : DCM_I_PADDING, pos,
                                       0);
            }
            int skipped = !dcm_u64(p, 0);
            if (skipped)
                code = skip_zeros(ix, end, 0);
            else if (pos == ix->zeros_end)
                skipped = skip_rest(ix, p, end, ix->last, encoding, 0);
            if (code) return code;
            if (skipped) {
                pos = ix->pos;
                run = 0;
                continue;
            }
        }
        dcm_header h;
        int complete = dcm_header_read(p, left, encoding, &h);
        if (h.tag - from > span && (h.tag >> 16 != 0xFFFE || from)) {
            ix->pos = pos;
            ix->state = DCM_INDEX_STOPPED;
            return code;
        }
        if (!complete) {
            ix->state = DCM_INDEX_COMPLETE;
            ix->pos = end;
            return dcm_index_issue(ix, DCM_I_TRUNCATED_HEADER, pos, h.tag);
        }
        if (h.tag >> 16 == 0xFFFE) { /* not an element: skip the header */
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
        if (ix->sp) return DCM_OK; /* to walk this value */
        uint64_t size = h.size + ix->rows[ix->count - 1].length;
        pos += size;
        if (size < run)
            p += size, run -= size;
        else
            run = 0;
    }
    ix->pos = pos;
    ix->state = DCM_INDEX_COMPLETE;
    return code;
}

static int by_tag(const void *a, const void *b) {
    const dcm_row *x = a, *y = b;
    if (x->tag != y->tag) return x->tag < y->tag ? -1 : 1;
    return x->offset < y->offset ? -1 : x->offset > y->offset;
}

/* Sorts rows whose tags do not ascend (PS3.5 7.1); keeps the last of equal tags. */
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
    if (ix->scope) {
        if (!ix->state && !ix->sp) {
            code = push(ix, CONTAINER_ITEM, 0, ix->end, 1, ix->encoding, UINT32_MAX);
            if (!code && ix->scope == DCM_FLAT_ITEMS)
                code = push(ix, CONTAINER_SEQUENCE, 0, ix->end, 1, ix->encoding, UINT32_MAX);
        }
        if (!code) code = walk(ix, b, 0);
        if (!code) ix->state = DCM_INDEX_COMPLETE;
    } else {
        while (!code && !ix->state) code = ix->sp ? walk(ix, b, 0) : level(ix, b);
        if (!code && ix->unsorted) code = order_rows(ix);
    }
    if (code && code != DCM_NEED) {
        dcm_fail(err, code, ix->pos, ix->sp ? ix->stack[ix->sp - 1].tag : ix->last);
        if (err) err->depth = (uint32_t)(ix->sp / 2);
    }
    return code;
}

uint64_t dcm_read_ahead(const dcm_bytes *b, dcm_read_mode mode) {
    if (mode == DCM_READ_STREAM) return WALK_KEPT;
    if (mode == DCM_READ_ONCE) return 512;
    if (b->used < 4096) return 4096;
    return b->used > 4u << 20 ? 4u << 20 : b->used;
}

int dcm_index_read(dcm_index *ix, dcm_bytes *b, const dcm_file *f, dcm_error *err) {
    int code;
    while ((code = dcm_index_run(ix, b, err)) == DCM_NEED) {
        code = dcm_file_fill(f, b, ix->need_offset, ix->need_length,
                             dcm_read_ahead(b, (dcm_read_mode)ix->need_mode),
                             (dcm_read_mode)ix->need_mode, err);
        if (code) return code;
    }
    return code;
}

int dcm_index_move(dcm_index *ix, dcm_index *from) {
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
    dcm_index_start(work, row->offset, end, encoding, UINT32_MAX, DCM_ONE_LEVEL);
    *count = 0;
    int code = DCM_OK;
    uint64_t at = row->offset;
    while (at < end) {
        const uint8_t *p = NULL;
        uint64_t run = dcm_bytes_run(b, at, &p);
        if (run < end - at) return need(work, at, end - at, DCM_READ_KEEP);
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
        uint64_t after = end - item.offset;
        item.encoding =
            (uint8_t)dcm_item_encoding(p + 8, length < after ? length : after, encoding);
        if (length == DCM_UNDEFINED) {
            item.flags = DCM_ROW_UNDEFINED;
            work->pos = item.offset;
            code = push(work, CONTAINER_ITEM, row->tag, end, 0, item.encoding, UINT32_MAX);
            if (!code) code = walk(work, b, 0);
            if (code) break;
            item.length = work->closed - item.offset;
            at = work->pos;
        } else {
            if (length > after) {
                code = dcm_index_issue(work, DCM_I_ITEM_LENGTH, at, row->tag);
                item.flags = DCM_ROW_TRUNCATED;
                item.length = after;
            }
            at = item.offset + item.length;
        }
        if (!code) code = dcm_grow((void **)items, capacity, *count + 1, sizeof **items);
        if (code) break;
        (*items)[(*count)++] = item;
    }
    if (code && code != DCM_NEED) dcm_fail(err, code, at, row->tag);
    return code;
}
