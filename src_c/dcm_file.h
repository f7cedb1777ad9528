/* dcm_file.h: files, and the bytes of a stream that are in memory (file.c). */
#ifndef DCM_FILE_H
#define DCM_FILE_H

#include <stddef.h>
#include <stdint.h>

#include "dcm_base.h"

/* ----------------------------------------------------- bytes in memory --- */

/* The bytes of a stream that are in memory: a few segments in one buffer. A
 * pointer into it is valid until the next dcm_bytes_ call other than _at and
 * _run. */
typedef struct dcm_segment {
    uint64_t offset; /* of its first byte in the stream */
    uint64_t length;
    uint64_t at; /* of its first byte in data */
} dcm_segment;

typedef struct dcm_bytes {
    uint8_t *data;
    uint64_t used, capacity;
    uint64_t total;        /* size of the stream */
    dcm_segment *segments; /* offsets and ends ascend */
    uint64_t n_segments, cap_segments;
    uint8_t borrowed;  /* 1: the caller owns data; it is never freed or grown */
    uint8_t transient; /* 1: the next segment may replace the last one */
} dcm_bytes;

/* Refers to a complete stream that the caller keeps alive. */
int dcm_bytes_borrow(dcm_bytes *b, const void *data, uint64_t length);
/* Makes this an empty stream of `total` bytes; keeps the memory. */
void dcm_bytes_reset(dcm_bytes *b, uint64_t total);
/* Sets *space to memory for `length` bytes that no segment has yet. The caller
 * writes them there and then calls dcm_bytes_commit with their offset. */
int dcm_bytes_reserve(dcm_bytes *b, uint64_t length, uint8_t **space);
int dcm_bytes_commit(dcm_bytes *b, uint64_t offset, uint64_t length, int transient);
/* The number of contiguous bytes in memory from offset on; sets *p if not 0. */
uint64_t dcm_bytes_run(const dcm_bytes *b, uint64_t offset, const uint8_t **p);
/* The bytes [offset, offset + length), or NULL unless one segment has them all. */
static inline const uint8_t *dcm_bytes_at(const dcm_bytes *b, uint64_t offset,
                                          uint64_t length) {
    const uint8_t *p = NULL;
    const dcm_segment *first = b->segments; /* usually the only one */
    if (b->n_segments && !first->offset && offset < first->length &&
        length <= first->length - offset)
        return b->data + first->at + offset;
    return dcm_bytes_run(b, offset, &p) >= length ? p : NULL;
}
/* Drops the bytes from `end` to the end of the segment that contains it. */
void dcm_bytes_truncate(dcm_bytes *b, uint64_t end);
/* Copies `from` into memory of exactly the size needed. */
int dcm_bytes_copy(dcm_bytes *b, const dcm_bytes *from);
void dcm_bytes_free(dcm_bytes *b);

/* -------------------------------------------------------------- files --- */

/* Parts of a stream that the caller has in memory, for streams that are not
 * files. Reading any other part returns DCM_NEED with need_offset and need_length
 * set: the caller adds a range and repeats the call. */
typedef struct dcm_range {
    uint64_t offset, length;
    const uint8_t *data;
} dcm_range;

typedef struct dcm_range_list {
    const dcm_range *ranges; /* in any order */
    uint64_t count;
    uint64_t need_offset, need_length;
} dcm_range_list;

/* A time that is not known, or does not fit 64 bits (before 1677, after 2262). */
#define DCM_NO_TIME INT64_MIN

typedef struct dcm_file {
    intptr_t handle;        /* descriptor or HANDLE; -1 when closed */
    dcm_range_list *ranges; /* read instead of the handle, or NULL */
    uint64_t base;          /* offset of its first byte: not 0 in an archive */
    uint64_t size;
    int64_t mtime_ns; /* since the epoch, or DCM_NO_TIME */
    uint64_t device, inode;
} dcm_file;

/* The only function that opens files. path is UTF-8 on Windows, bytes elsewhere.
 * Rejects anything but regular files, without blocking. */
int dcm_file_open(dcm_file *f, const char *path, dcm_error *err);
void dcm_file_close(dcm_file *f);
/* Restricts f to its part [base, base + length): DCM_OK, or DCM_E_CHANGED if the
 * file ends before. */
int dcm_file_narrow(dcm_file *f, uint64_t base, uint64_t length, dcm_error *err);
/* Makes f a file whose bytes come from the caller. */
void dcm_file_from_ranges(dcm_file *f, dcm_range_list *ranges, uint64_t size, int64_t mtime_ns);
/* Reads exactly `length` bytes: DCM_OK, DCM_E_READ, DCM_E_CHANGED if the file ends
 * before, or DCM_NEED for ranges. Several threads may read one file. */
int dcm_file_read(const dcm_file *f, uint64_t offset, uint64_t length, void *into,
                  dcm_error *err);
/* Advises the system that reads will be few and scattered. */
void dcm_file_random(const dcm_file *f);

/* How many files the process may have open; UINT64_MAX if that is not limited. */
uint64_t dcm_file_limit(void);

/* What the bytes that are needed are needed for. */
typedef enum dcm_read_mode {
    DCM_READ_KEEP = 0, /* they are used again: keep them in memory */
    DCM_READ_ONCE,     /* they are read once, and few of those that follow */
    DCM_READ_STREAM    /* they are read once, and all that follow, too */
} dcm_read_mode;

/* Reads `length` bytes at `offset` into b, and up to `ahead` more. */
int dcm_file_fill(const dcm_file *f, dcm_bytes *b, uint64_t offset, uint64_t length,
                  uint64_t ahead, dcm_read_mode mode, dcm_error *err);

typedef struct dcm_map {
    uint8_t *data; /* the byte at `offset` */
    void *base;    /* start of the mapping */
    uint64_t base_length;
} dcm_map;

/* Maps [offset, offset + length), private and writable (copy-on-write): DCM_OK,
 * DCM_E_READ, DCM_E_MEMORY, or DCM_E_CHANGED if the file ends before. */
int dcm_file_map(const dcm_file *f, uint64_t offset, uint64_t length, dcm_map *map,
                 dcm_error *err);
void dcm_file_unmap(dcm_map *map);

/* -------------------------------------------------------------- lists --- */

/* Files by path, with their sizes and times. */
typedef struct dcm_list {
    const char *paths; /* one after another; the i-th ends at ends[i] */
    const uint64_t *ends;
    uint64_t count;
    int64_t *sizes, *mtimes_ns; /* -1 for missing files and for directories; DCM_NO_TIME */
    int32_t *errnos;            /* of directories that could not be listed; 0: a file */
} dcm_list;

/* Fills in sizes and times of the paths whose errno is 0. Follows links, opens no
 * file. DCM_OK or DCM_E_MEMORY. */
int dcm_list_stat(const dcm_list *l);

#endif
