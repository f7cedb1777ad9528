/* dcm_walk.h: the files under a directory, and changes between two lists of files
 * (walk.c). */
#ifndef DCM_WALK_H
#define DCM_WALK_H

#include <stdint.h>

#include "dcm_base.h"
#include "dcm_file.h"

struct dcm_walk_level;

/* Lists the files under a directory in byte order of their paths. Links are
 * followed, except into a directory that is being listed. Memory holds the names
 * of one directory and of its parents. */
typedef struct dcm_walk {
    char *path; /* the current entry, terminated by NUL */
    uint64_t length, cap_path;
    struct dcm_walk_level *levels;
    uint64_t n_levels, cap_levels;
    uint8_t recursive, started;
} dcm_walk;

/* Prepares to list a directory; keeps the memory of an earlier use. */
int dcm_walk_start(dcm_walk *w, const char *root, int recursive, dcm_error *err);
/* DCM_OK: path is the next entry that is not a directory. DCM_END: there are no
 * more entries. DCM_E_WALK: path is a directory that could not be listed, or not
 * completely, or that contains itself (sys = ELOOP); the next call continues
 * after it. */
int dcm_walk_next(dcm_walk *w, dcm_error *err);
void dcm_walk_free(dcm_walk *w);

/* The result of comparing one entry of a list with another list. */
typedef enum dcm_list_mark {
    DCM_LIST_SAME,     /* the other list has the same file or error */
    DCM_LIST_CHANGED,  /* the other list has this path, but the file changed */
    DCM_LIST_UNMATCHED /* the other list does not have this path */
} dcm_list_mark;

/* Compares two lists that are both in the order of dcm_walk, from *i and *j on
 * until one of them ends, and writes a dcm_list_mark for each entry passed. */
void dcm_list_compare(const dcm_list *a, uint64_t *i, uint8_t *marks_a, const dcm_list *b,
                      uint64_t *j, uint8_t *marks_b);

#endif
