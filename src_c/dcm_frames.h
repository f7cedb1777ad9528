/* dcm_frames.h: the frames of encapsulated pixel data (PS3.5 A.4; frames.c). */
#ifndef DCM_FRAMES_H
#define DCM_FRAMES_H

#include <stdint.h>

#include "dcm_base.h"
#include "dcm_file.h"
#include "dcm_index.h"

/* What the offsets of the frames were taken from. */
typedef enum dcm_frames_source {
    DCM_FRAMES_EXTENDED = 1, /* the Extended Offset Table */
    DCM_FRAMES_BASIC,        /* the Basic Offset Table */
    DCM_FRAMES_FRAGMENTS     /* the fragments themselves */
} dcm_frames_source;

typedef enum dcm_frames_state {
    DCM_FRAMES_AT_FIRST_ITEM = 0, /* the next to read: the first item */
    DCM_FRAMES_AT_TABLE,          /* the Basic Offset Table */
    DCM_FRAMES_AT_CHECK,          /* the items where the table says that frames begin */
    DCM_FRAMES_AT_WALK,           /* the headers of all fragments */
    DCM_FRAMES_DONE
} dcm_frames_state;

typedef struct dcm_frames {
    uint64_t *offsets; /* after DCM_OK: count + 1 of them, ascending. Frame i is
                          [offsets[i], offsets[i + 1]), with its item headers */
    uint64_t count;    /* may be less than requested (DCM_I_FRAME_COUNT) */
    uint64_t cap_offsets;
    dcm_issue *issues;
    uint64_t n_issues, cap_issues;
    uint64_t need_offset, need_length; /* after DCM_NEED; read once (DCM_READ_ONCE) */
    uint64_t need_ahead;               /* bytes after these that may be needed next */
    uint64_t begin, end;               /* of the value */
    uint64_t base;                     /* offset of the first fragment */
    uint64_t frames;                   /* number of frames requested */
    uint64_t entries;                  /* of the Basic Offset Table */
    uint64_t *starts;                  /* fragments that begin like a codestream */
    uint64_t n_starts, cap_starts, n_fragments;
    /* the walk through the fragments */
    uint64_t pos;        /* the next header */
    uint64_t seek;       /* where to search for the next header; 0: no search */
    uint64_t at, length; /* the fragment whose end is not known yet */
    uint64_t from, upto; /* the fragment before it */
    uint64_t bytes_read;
    uint32_t repairs;    /* fragments whose length is wrong */
    uint32_t source_tag; /* the element with the table that is used */
    uint8_t source;      /* dcm_frames_source */
    uint8_t state;       /* dcm_frames_state */
    uint8_t open;        /* 1: a fragment begins at `at` */
    uint8_t checked;     /* entries of the table that were checked: first, last */
    uint8_t shifted;     /* 1: the first entry of the table is not 0 */
    uint8_t recount;     /* 1: the table has another number of frames */
    uint8_t kind, next_kind, first_kind; /* how a fragment begins: see frames.c */
} dcm_frames;

/* Prepares to read the value [begin, end) with `frames` frames (0: not known, read
 * as 1); keeps the memory of an earlier use. */
void dcm_frames_start(dcm_frames *t, uint64_t begin, uint64_t end, uint64_t frames);
/* Adds the Extended Offset Table, if there is one, and its lengths, or NULL. n and
 * n_lengths are in bytes. */
int dcm_frames_extended(dcm_frames *t, const uint8_t *offsets, uint64_t n,
                        const uint8_t *lengths, uint64_t n_lengths);
/* Prepares to read fragments alone, ignoring offset tables. */
void dcm_frames_fragments(dcm_frames *t, uint64_t begin, uint64_t end, uint64_t frames);
/* DCM_OK, DCM_NEED (read need_length bytes at need_offset and call again) or an
 * error. */
int dcm_frames_run(dcm_frames *t, const dcm_bytes *b, dcm_error *err);
/* The same, reading from f as needed. */
int dcm_frames_read(dcm_frames *t, dcm_bytes *b, const dcm_file *f, dcm_error *err);
/* Copies one frame of n bytes at p without its item headers to `out`, which may be
 * p and holds at least n bytes. Wrong lengths are repaired: *issue (code 0: none),
 * its offset relative to p. */
int dcm_frames_join(const uint8_t *p, uint64_t n, uint8_t *out, uint64_t *length,
                    dcm_issue *issue, dcm_error *err);
/* Whether a transfer syntax states that pixel data is in fragments (PS3.5 A.4): 1 or 0;
 * -1 if it is not known. */
int dcm_frames_stated(const char *transfer_syntax);
/* Whether a value of `length` bytes, the first n of which are at p, begins with an item.
 * That decides for a defined length under an encapsulated transfer syntax; a value of
 * undefined length is in fragments under any. */
int dcm_frames_begin(const uint8_t *p, uint64_t n, uint64_t length);
/* Does all of this for the pixel data `row` of an index: with the bytes in b, or,
 * where they are missing, by reading f into `own`. A video is one stream and so
 * one frame (PS3.5 8.2.5 to 8.2.8). */
int dcm_frames_find(dcm_frames *t, const dcm_index *ix, const dcm_row *row,
                    const char *transfer_syntax, uint64_t frames, const dcm_bytes *b,
                    dcm_bytes *own, const dcm_file *f, dcm_error *err);
void dcm_frames_free(dcm_frames *t);

#endif
