/* walk.c: the files under a directory, in byte order of their paths.
 *
 * The names of one directory are listed and sorted, and kept until they are used,
 * as are those of its parents. The name of a directory is kept with a separator at
 * its end: so "a-b" sorts before "a/b", as in the byte order of paths, and the end
 * of a name shows whether it is a directory. */
#if !defined(_WIN32)
#define _FILE_OFFSET_BITS 64
#if defined(__linux__)
#define _GNU_SOURCE
#elif defined(__APPLE__)
#define _DARWIN_C_SOURCE
#endif
#endif

#include "dcm_walk.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#ifdef _WIN32
#define WIN32_LEAN_AND_MEAN
#include <windows.h>
#define SEPARATOR '\\'
#else
#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#define SEPARATOR '/'
#endif

struct dcm_walk_level {
    char *pool; /* names, each terminated by NUL */
    uint64_t used, cap_pool;
    char **names; /* sorted */
    uint64_t count, cap_names, next;
    uint64_t prefix; /* length of the directory in the path, with a separator */
    uint64_t device, inode;
};

static int is_separator(char c) {
    return c == '/' || c == SEPARATOR;
}

static int add_name(struct dcm_walk_level *level, const char *name, uint64_t n, int directory) {
    uint64_t size = n + (uint64_t)(directory != 0) + 1;
    int code = dcm_grow((void **)&level->pool, &level->cap_pool, level->used + size, 1);
    if (code) return code;
    char *to = level->pool + level->used;
    memcpy(to, name, (size_t)n);
    if (directory) to[n] = SEPARATOR;
    to[size - 1] = 0;
    level->used += size;
    level->count++;
    return DCM_OK;
}

/* Whether this directory is being listed already, at a level above. */
static int is_parent(const dcm_walk *w, uint64_t device, uint64_t inode) {
    for (uint64_t i = 0; i < w->n_levels; i++)
        if (w->levels[i].device == device && w->levels[i].inode == inode) return 1;
    return 0;
}

#ifdef _WIN32

static int sys_error(void) {
    switch (GetLastError()) {
    case ERROR_FILE_NOT_FOUND:
    case ERROR_PATH_NOT_FOUND: return ENOENT;
    case ERROR_DIRECTORY: return ENOTDIR;
    case ERROR_ACCESS_DENIED:
    case ERROR_SHARING_VIOLATION: return EACCES;
    default: return EIO;
    }
}

static int identify(const wchar_t *path, struct dcm_walk_level *level) {
    BY_HANDLE_FILE_INFORMATION info;
    HANDLE h = CreateFileW(path, 0, FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE,
                           NULL, OPEN_EXISTING, FILE_FLAG_BACKUP_SEMANTICS, NULL);
    if (h == INVALID_HANDLE_VALUE) return 0;
    int ok = GetFileInformationByHandle(h, &info) != 0;
    CloseHandle(h);
    if (!ok) return 0;
    level->device = info.dwVolumeSerialNumber;
    level->inode = (uint64_t)info.nFileIndexHigh << 32 | info.nFileIndexLow;
    return 1;
}

/* Adds the names of the directory `path` to the level. */
static int list_directory(dcm_walk *w, struct dcm_walk_level *level, int *sys) {
    int n = MultiByteToWideChar(CP_UTF8, 0, w->path, -1, NULL, 0);
    wchar_t *wide = n > 0 ? dcm_alloc(((size_t)n + 2) * sizeof *wide) : NULL;
    if (!wide) return DCM_E_MEMORY;
    MultiByteToWideChar(CP_UTF8, 0, w->path, -1, wide, n);
    if (!identify(wide, level)) {
        *sys = sys_error();
        dcm_free(wide);
        return DCM_E_WALK;
    }
    if (is_parent(w, level->device, level->inode)) {
        *sys = ELOOP;
        dcm_free(wide);
        return DCM_E_WALK;
    }
    n--; /* without the NUL */
    if (!is_separator(w->path[w->length - 1])) wide[n++] = SEPARATOR;
    wide[n++] = L'*';
    wide[n] = 0;
    WIN32_FIND_DATAW data;
    HANDLE h = FindFirstFileW(wide, &data);
    dcm_free(wide);
    if (h == INVALID_HANDLE_VALUE) {
        *sys = sys_error();
        return DCM_E_WALK;
    }
    int code = DCM_OK;
    do {
        char name[4 * MAX_PATH];
        if (!wcscmp(data.cFileName, L".") || !wcscmp(data.cFileName, L"..")) continue;
        int directory = (data.dwFileAttributes & FILE_ATTRIBUTE_DIRECTORY) != 0;
        if (directory && !w->recursive) continue;
        int size =
            WideCharToMultiByte(CP_UTF8, 0, data.cFileName, -1, name, sizeof name, NULL, NULL);
        if (size > 0) code = add_name(level, name, (uint64_t)size - 1, directory);
    } while (!code && FindNextFileW(h, &data));
    if (!code && GetLastError() != ERROR_NO_MORE_FILES) {
        *sys = sys_error();
        code = DCM_E_WALK;
    }
    FindClose(h);
    return code;
}

#else /* POSIX */

static int is_directory(int parent, const struct dirent *entry) {
#ifdef DT_DIR
    if (entry->d_type != DT_UNKNOWN && entry->d_type != DT_LNK) return entry->d_type == DT_DIR;
#endif
    struct stat st;
    return !fstatat(parent, entry->d_name, &st, 0) && S_ISDIR(st.st_mode);
}

/* Adds the names of the directory `path` to the level. */
static int list_directory(dcm_walk *w, struct dcm_walk_level *level, int *sys) {
    struct stat st;
    DIR *dir = opendir(w->path);
    const int fd = dir ? dirfd(dir) : -1;
    if (fd < 0 || fstat(fd, &st)) {
        *sys = errno;
        if (dir) closedir(dir);
        return DCM_E_WALK;
    }
    level->device = (uint64_t)st.st_dev;
    level->inode = (uint64_t)st.st_ino;
    if (is_parent(w, level->device, level->inode)) {
        closedir(dir);
        *sys = ELOOP;
        return DCM_E_WALK;
    }
    int code = DCM_OK;
    while (!code) {
        errno = 0;
        struct dirent *entry = readdir(dir);
        if (!entry) {
            if (errno) {
                *sys = errno;
                code = DCM_E_WALK;
            }
            break;
        }
        const char *name = entry->d_name;
        if (name[0] == '.' && (!name[1] || (name[1] == '.' && !name[2]))) continue;
        int directory = is_directory(fd, entry);
        if (!directory || w->recursive) code = add_name(level, name, strlen(name), directory);
    }
    closedir(dir);
    return code;
}

#endif

static int by_bytes(const void *a, const void *b) {
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Sets the path to its first `prefix` bytes, the last of them a separator, and a
 * name. */
static int set_path(dcm_walk *w, uint64_t prefix, const char *name, uint64_t n) {
    int code = dcm_grow((void **)&w->path, &w->cap_path, prefix + n + 1, 1);
    if (code) return code;
    if (prefix) w->path[prefix - 1] = SEPARATOR;
    memcpy(w->path + prefix, name, (size_t)n);
    w->path[prefix + n] = 0;
    w->length = prefix + n;
    return DCM_OK;
}

/* Lists the directory `path` as the next level. If that fails half-way the level
 * has the names that were read. */
static int enter(dcm_walk *w, dcm_error *err) {
    if (w->n_levels == w->cap_levels) {
        uint64_t old = w->cap_levels;
        if (dcm_grow((void **)&w->levels, &w->cap_levels, w->n_levels + 1, sizeof *w->levels))
            return dcm_fail(err, DCM_E_MEMORY, 0, 0);
        memset(w->levels + old, 0, (size_t)(w->cap_levels - old) * sizeof *w->levels);
    }
    struct dcm_walk_level *level = w->levels + w->n_levels;
    level->used = level->count = level->next = 0;
    int sys = 0, code = list_directory(w, level, &sys);
    if (code != DCM_E_MEMORY &&
        dcm_grow((void **)&level->names, &level->cap_names, level->count, sizeof *level->names))
        code = DCM_E_MEMORY;
    if (code) {
        dcm_fail(err, code, 0, 0);
        if (err) err->sys = sys;
    }
    if (code == DCM_E_MEMORY) return code;
    char *name = level->pool;
    for (uint64_t i = 0; i < level->count; i++) {
        level->names[i] = name;
        name += strlen(name) + 1;
    }
    if (level->count)
        qsort((void *)level->names, (size_t)level->count, sizeof *level->names, by_bytes);
    level->prefix = w->length + (uint64_t)!is_separator(w->path[w->length - 1]);
    w->n_levels++;
    return code;
}

int dcm_walk_start(dcm_walk *w, const char *root, int recursive, dcm_error *err) {
    w->recursive = (uint8_t)(recursive != 0);
    w->started = 0;
    w->n_levels = 0;
    int code = set_path(w, 0, *root ? root : ".", *root ? strlen(root) : 1);
    return code ? dcm_fail(err, code, 0, 0) : DCM_OK;
}

int dcm_walk_next(dcm_walk *w, dcm_error *err) {
    int code;
    if (!w->started) {
        w->started = 1;
        if ((code = enter(w, err))) return code;
    }
    while (w->n_levels) {
        struct dcm_walk_level *level = w->levels + w->n_levels - 1;
        if (level->next == level->count) {
            w->n_levels--;
            continue;
        }
        const char *name = level->names[level->next++];
        uint64_t n = strlen(name);
        int directory = name[n - 1] == SEPARATOR;
        if (set_path(w, level->prefix, name, n - (uint64_t)directory))
            return dcm_fail(err, DCM_E_MEMORY, 0, 0);
        if (!directory) return DCM_OK;
        if ((code = enter(w, err))) return code;
    }
    return DCM_END;
}

void dcm_walk_free(dcm_walk *w) {
    for (uint64_t i = 0; i < w->cap_levels; i++) {
        dcm_free(w->levels[i].pool);
        dcm_free((void *)w->levels[i].names);
    }
    dcm_free(w->levels);
    dcm_free(w->path);
    memset(w, 0, sizeof *w);
}

/* -------------------------------------------------------------- lists --- */

static uint64_t begin_of(const dcm_list *l, uint64_t i) {
    return i ? l->ends[i - 1] : 0;
}

/* Compares two paths in the order of a walk, which sorts directories with a
 * separator at the end. */
static int compare_paths(const dcm_list *a, uint64_t i, const dcm_list *b, uint64_t j) {
    const char *p = a->paths + begin_of(a, i), *q = b->paths + begin_of(b, j);
    uint64_t n = a->ends[i] - begin_of(a, i), m = b->ends[j] - begin_of(b, j);
    int order = memcmp(p, q, (size_t)(n < m ? n : m));
    if (order) return order;
    int directory_a = a->errnos[i] && !(n && is_separator(p[n - 1]));
    int directory_b = b->errnos[j] && !(m && is_separator(q[m - 1]));
    if (n == m) return directory_a - directory_b;
    if (n < m) return directory_a && (unsigned char)q[n] < SEPARATOR ? 1 : -1;
    return directory_b && (unsigned char)p[m] < SEPARATOR ? -1 : 1;
}

static int same(const dcm_list *a, uint64_t i, const dcm_list *b, uint64_t j) {
    return a->sizes[i] == b->sizes[j] && a->mtimes_ns[i] == b->mtimes_ns[j] &&
           a->errnos[i] == b->errnos[j];
}

void dcm_list_compare(const dcm_list *a, uint64_t *i, uint8_t *marks_a, const dcm_list *b,
                      uint64_t *j, uint8_t *marks_b) {
    while (*i < a->count && *j < b->count) {
        int order = compare_paths(a, *i, b, *j);
        if (order < 0)
            marks_a[(*i)++] = DCM_LIST_UNMATCHED;
        else if (order > 0)
            marks_b[(*j)++] = DCM_LIST_UNMATCHED;
        else {
            uint8_t mark = same(a, *i, b, *j) ? DCM_LIST_SAME : DCM_LIST_CHANGED;
            marks_a[(*i)++] = marks_b[(*j)++] = mark;
        }
    }
}
