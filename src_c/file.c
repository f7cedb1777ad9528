/* file.c: the only place that opens files. Positioned reads, private mappings, and
 * the bytes of a stream that are in memory. */
#if !defined(_WIN32)
#define _FILE_OFFSET_BITS 64
#if defined(__linux__)
#define _GNU_SOURCE
#elif defined(__APPLE__)
#define _DARWIN_C_SOURCE
#endif
#endif

#include "dcm_file.h"

#include <errno.h>
#include <string.h>

#ifdef _WIN32
#define WIN32_LEAN_AND_MEAN
#include <windows.h>
#define SEPARATOR '\\'
#else
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>
#define SEPARATOR '/'
#endif

/* ----------------------------------------------------- bytes in memory --- */

int dcm_bytes_borrow(dcm_bytes *b, const void *data, uint64_t length) {
    memset(b, 0, sizeof *b);
    int code = dcm_grow((void **)&b->segments, &b->cap_segments, 1, sizeof *b->segments);
    if (code) return code;
    b->data = (uint8_t *)data;
    b->used = b->capacity = b->total = length;
    b->segments[0].offset = b->segments[0].at = 0;
    b->segments[0].length = length;
    b->n_segments = 1;
    b->borrowed = 1;
    return DCM_OK;
}

void dcm_bytes_reset(dcm_bytes *b, uint64_t total) {
    b->used = 0;
    b->n_segments = 0;
    b->transient = 0;
    b->total = total;
}

int dcm_bytes_reserve(dcm_bytes *b, uint64_t length, uint8_t **space) {
    if (b->borrowed) return DCM_E_MEMORY;
    if (b->transient) {
        b->used = b->segments[--b->n_segments].at;
        b->transient = 0;
    }
    if (length > UINT64_MAX - b->used) return DCM_E_MEMORY;
    int code = dcm_grow((void **)&b->data, &b->capacity, b->used + length, 1);
    if (code) return code;
    *space = b->data + b->used;
    return DCM_OK;
}

int dcm_bytes_commit(dcm_bytes *b, uint64_t offset, uint64_t length, int transient) {
    dcm_segment *last = b->n_segments ? b->segments + b->n_segments - 1 : NULL;
    if (last && !transient && last->offset + last->length == offset &&
        last->at + last->length == b->used) {
        last->length += length;
    } else {
        int code = dcm_grow((void **)&b->segments, &b->cap_segments, b->n_segments + 1,
                            sizeof *b->segments);
        if (code) return code;
        /* Replaces the segments within it, so that ends ascend, too. */
        uint64_t i = b->n_segments, k;
        while (i && b->segments[i - 1].offset >= offset) i--;
        for (k = i; k < b->n_segments; k++)
            if (b->segments[k].offset + b->segments[k].length > offset + length) break;
        memmove(b->segments + i + 1, b->segments + k,
                (size_t)(b->n_segments - k) * sizeof *b->segments);
        b->segments[i] = (dcm_segment){offset, length, b->used};
        b->n_segments += 1 + i - k;
        b->transient = (uint8_t)(transient && i + 1 == b->n_segments);
    }
    b->used += length;
    return DCM_OK;
}

uint64_t dcm_bytes_run(const dcm_bytes *b, uint64_t offset, const uint8_t **p) {
    uint64_t low = 0, high = b->n_segments;
    while (low < high) { /* the last segment that begins at or before offset */
        uint64_t middle = low + (high - low) / 2;
        if (b->segments[middle].offset <= offset)
            low = middle + 1;
        else
            high = middle;
    }
    if (!low) return 0;
    const dcm_segment *s = b->segments + low - 1;
    uint64_t into = offset - s->offset;
    if (into >= s->length) return 0;
    *p = b->data + s->at + into;
    return s->length - into;
}

void dcm_bytes_truncate(dcm_bytes *b, uint64_t end) {
    if (b->borrowed) return;
    if (b->transient) {
        b->used = b->segments[--b->n_segments].at;
        b->transient = 0;
    }
    for (uint64_t i = 0; i < b->n_segments; i++) {
        dcm_segment *s = b->segments + i;
        if (end <= s->offset || end - s->offset >= s->length) continue;
        uint64_t next = s->at + s->length, gone = s->offset + s->length - end;
        memmove(b->data + next - gone, b->data + next, (size_t)(b->used - next));
        b->used -= gone;
        s->length -= gone;
        for (uint64_t k = 0; k < b->n_segments; k++)
            if (b->segments[k].at >= next) b->segments[k].at -= gone;
        break;
    }
}

int dcm_bytes_copy(dcm_bytes *b, const dcm_bytes *from) {
    const size_t size = (size_t)from->n_segments * sizeof *from->segments;
    *b = *from;
    b->borrowed = 0;
    b->capacity = b->used;
    b->cap_segments = b->n_segments;
    b->data = dcm_copy(from->data, (size_t)from->used);
    b->segments = dcm_copy(from->segments, size);
    if (b->data && b->segments) return DCM_OK;
    dcm_bytes_free(b);
    return DCM_E_MEMORY;
}

void dcm_bytes_free(dcm_bytes *b) {
    if (!b->borrowed) dcm_free(b->data);
    dcm_free(b->segments);
    memset(b, 0, sizeof *b);
}

/* -------------------------------------------------------------- files --- */

static int fail_sys(dcm_error *err, int code, int sys, uint64_t offset) {
    dcm_fail(err, code, offset, 0);
    if (err) err->sys = sys;
    return code;
}

#ifdef _WIN32

static int sys_error(void) {
    switch (GetLastError()) {
    case ERROR_FILE_NOT_FOUND:
    case ERROR_PATH_NOT_FOUND: return ENOENT;
    case ERROR_ACCESS_DENIED:
    case ERROR_SHARING_VIOLATION: return EACCES;
    case ERROR_TOO_MANY_OPEN_FILES: return EMFILE;
    default: return EIO;
    }
}

static wchar_t *widen(const char *path) {
    int n = MultiByteToWideChar(CP_UTF8, 0, path, -1, NULL, 0);
    wchar_t *wide = n > 0 ? dcm_alloc((size_t)n * sizeof *wide) : NULL;
    if (wide) MultiByteToWideChar(CP_UTF8, 0, path, -1, wide, n);
    return wide;
}

static int64_t nanoseconds(FILETIME t) { /* since 1601 */
    const uint64_t ticks = (uint64_t)t.dwHighDateTime << 32 | t.dwLowDateTime;
    const int64_t epoch = 116444736000000000;
    if (ticks > (uint64_t)(epoch + INT64_MAX / 100)) return DCM_NO_TIME;
    const int64_t since = (int64_t)ticks - epoch;
    return since > INT64_MIN / 100 ? since * 100 : DCM_NO_TIME;
}

int dcm_file_open(dcm_file *f, const char *path, dcm_error *err) {
    f->handle = -1;
    f->ranges = NULL;
    f->base = 0;
    wchar_t *wide = widen(path);
    if (!wide) return dcm_fail(err, DCM_E_MEMORY, 0, 0);
    HANDLE h =
        CreateFileW(wide, GENERIC_READ, FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE,
                    NULL, OPEN_EXISTING, FILE_ATTRIBUTE_NORMAL, NULL);
    if (h == INVALID_HANDLE_VALUE) {
        DWORD attributes = GetFileAttributesW(wide);
        int directory =
            attributes != INVALID_FILE_ATTRIBUTES && (attributes & FILE_ATTRIBUTE_DIRECTORY);
        dcm_free(wide);
        return fail_sys(err, directory ? DCM_E_NOT_REGULAR : DCM_E_OPEN, sys_error(), 0);
    }
    dcm_free(wide);
    BY_HANDLE_FILE_INFORMATION info;
    if (GetFileType(h) != FILE_TYPE_DISK || !GetFileInformationByHandle(h, &info)) {
        CloseHandle(h);
        return dcm_fail(err, DCM_E_NOT_REGULAR, 0, 0);
    }
    f->handle = (intptr_t)h;
    f->size = (uint64_t)info.nFileSizeHigh << 32 | info.nFileSizeLow;
    f->device = info.dwVolumeSerialNumber;
    f->inode = (uint64_t)info.nFileIndexHigh << 32 | info.nFileIndexLow;
    f->mtime_ns = nanoseconds(info.ftLastWriteTime);
    return DCM_OK;
}

void dcm_file_close(dcm_file *f) {
    if (f->handle != -1) CloseHandle((HANDLE)f->handle);
    f->handle = -1;
}

typedef int directory_handle;
#define NO_DIRECTORY 0

static directory_handle open_directory(const char *path) {
    (void)path;
    return NO_DIRECTORY;
}

static void close_directory(directory_handle directory) {
    (void)directory;
}

/* Returns DCM_OK, also for a path that does not exist, or DCM_E_MEMORY. */
static int stat_path(directory_handle directory, const char *path, uint64_t prefix,
                     int64_t *size, int64_t *mtime_ns) {
    WIN32_FILE_ATTRIBUTE_DATA data;
    BY_HANDLE_FILE_INFORMATION info;
    wchar_t *wide = widen(path);
    if (!wide) return DCM_E_MEMORY;
    int found = GetFileAttributesExW(wide, GetFileExInfoStandard, &data);
    (void)directory;
    (void)prefix;
    if (found && data.dwFileAttributes & FILE_ATTRIBUTE_REPARSE_POINT) { /* a link */
        HANDLE h = CreateFileW(wide, 0, FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE,
                               NULL, OPEN_EXISTING, FILE_FLAG_BACKUP_SEMANTICS, NULL);
        found = h != INVALID_HANDLE_VALUE && GetFileInformationByHandle(h, &info);
        if (h != INVALID_HANDLE_VALUE) CloseHandle(h);
        data.nFileSizeHigh = info.nFileSizeHigh;
        data.nFileSizeLow = info.nFileSizeLow;
        data.ftLastWriteTime = info.ftLastWriteTime;
    }
    dcm_free(wide);
    if (!found) return DCM_OK;
    *size = (int64_t)((uint64_t)data.nFileSizeHigh << 32 | data.nFileSizeLow);
    *mtime_ns = nanoseconds(data.ftLastWriteTime);
    return DCM_OK;
}

/* Reads at most `length` bytes; *count is 0 at the end. Returns 0 or errno. */
static int read_some(const dcm_file *f, uint64_t offset, uint64_t length, void *into,
                     uint64_t *count) {
    OVERLAPPED at;
    memset(&at, 0, sizeof at);
    at.Offset = (DWORD)offset;
    at.OffsetHigh = (DWORD)(offset >> 32);
    DWORD n = 0, wanted = length > 1u << 30 ? 1u << 30 : (DWORD)length;
    if (!ReadFile((HANDLE)f->handle, into, wanted, &n, &at) &&
        GetLastError() != ERROR_HANDLE_EOF)
        return sys_error();
    *count = n;
    return 0;
}

void dcm_file_random(const dcm_file *f) {
    (void)f;
}

uint64_t dcm_file_limit(void) {
    return UINT64_MAX; /* of handles there are 16 million */
}

/* Sets *size to the present size of the open file. Returns 0 or errno. */
static int present_size(const dcm_file *f, uint64_t *size) {
    LARGE_INTEGER n;
    if (!GetFileSizeEx((HANDLE)f->handle, &n)) return sys_error();
    *size = (uint64_t)n.QuadPart;
    return 0;
}

static uint64_t map_granularity(void) {
    SYSTEM_INFO info;
    GetSystemInfo(&info);
    return info.dwAllocationGranularity;
}

static void *map_private(const dcm_file *f, uint64_t offset, uint64_t length, int *sys) {
    HANDLE section = CreateFileMappingW((HANDLE)f->handle, NULL, PAGE_WRITECOPY, 0, 0, NULL);
    void *base = section ? MapViewOfFile(section, FILE_MAP_COPY, (DWORD)(offset >> 32),
                                         (DWORD)offset, (SIZE_T)length)
                         : NULL;
    if (!base) *sys = sys_error();
    if (section) CloseHandle(section); /* the view keeps the section */
    return base;
}

void dcm_file_unmap(dcm_map *map) {
    if (map->base) UnmapViewOfFile(map->base);
    memset(map, 0, sizeof *map);
}

#else /* POSIX */

static int64_t nanoseconds(const struct stat *st) {
#ifdef __APPLE__
    const struct timespec *t = &st->st_mtimespec;
#else
    const struct timespec *t = &st->st_mtim;
#endif
    const int64_t unit = 1000000000, limit = INT64_MAX / unit;
    int64_t seconds = (int64_t)t->tv_sec, rest = (int64_t)t->tv_nsec;
    if (seconds < 0 && rest) { /* both of one sign */
        seconds += 1;
        rest -= unit;
    }
    if (seconds > limit || seconds < -limit) return DCM_NO_TIME;
    if ((seconds == limit && rest > INT64_MAX % unit) ||
        (seconds == -limit && rest < -(INT64_MAX % unit)))
        return DCM_NO_TIME;
    return seconds * unit + rest;
}

int dcm_file_open(dcm_file *f, const char *path, dcm_error *err) {
    f->handle = -1;
    f->ranges = NULL;
    f->base = 0;
    int fd; /* O_NONBLOCK: a FIFO without a writer must not block */
    do fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    while (fd < 0 && errno == EINTR);
    if (fd < 0) {
        int code = errno == ENXIO || errno == EISDIR ? DCM_E_NOT_REGULAR : DCM_E_OPEN;
        return fail_sys(err, code, errno, 0);
    }
    struct stat st;
    if (fstat(fd, &st)) {
        int sys = errno;
        close(fd);
        return fail_sys(err, DCM_E_OPEN, sys, 0);
    }
    if (!S_ISREG(st.st_mode)) {
        close(fd);
        return dcm_fail(err, DCM_E_NOT_REGULAR, 0, 0);
    }
    f->handle = fd;
    f->size = (uint64_t)st.st_size;
    f->mtime_ns = nanoseconds(&st);
    f->device = (uint64_t)st.st_dev;
    f->inode = (uint64_t)st.st_ino;
    return DCM_OK;
}

void dcm_file_close(dcm_file *f) {
    if (f->handle >= 0) close((int)f->handle);
    f->handle = -1;
}

/* With an open directory the system need not resolve its path for each file. */
#ifdef O_PATH
#define DIRECTORY (O_PATH | O_DIRECTORY | O_CLOEXEC)
#else
#define DIRECTORY (O_RDONLY | O_DIRECTORY | O_CLOEXEC)
#endif
typedef int directory_handle;
#define NO_DIRECTORY (-1)

static directory_handle open_directory(const char *path) {
    return *path ? open(path, DIRECTORY) : NO_DIRECTORY;
}

static void close_directory(directory_handle directory) {
    if (directory >= 0) close(directory);
}

static int stat_path(directory_handle directory, const char *path, uint64_t prefix,
                     int64_t *size, int64_t *mtime_ns) {
    struct stat st;
    if (directory < 0 ? stat(path, &st) : fstatat(directory, path + prefix, &st, 0))
        return DCM_OK;
    *size = (int64_t)st.st_size;
    *mtime_ns = nanoseconds(&st);
    return DCM_OK;
}

static int read_some(const dcm_file *f, uint64_t offset, uint64_t length, void *into,
                     uint64_t *count) {
    ssize_t n; /* macOS refuses reads of 2 GiB and more */
    size_t wanted = length > 1u << 30 ? (size_t)1 << 30 : (size_t)length;
    do n = pread((int)f->handle, into, wanted, (off_t)offset);
    while (n < 0 && errno == EINTR);
    if (n < 0) return errno;
    *count = (uint64_t)n;
    return 0;
}

void dcm_file_random(const dcm_file *f) {
#ifdef POSIX_FADV_RANDOM
    (void)posix_fadvise((int)f->handle, 0, 0, POSIX_FADV_RANDOM);
#else
    (void)f;
#endif
}

uint64_t dcm_file_limit(void) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) || limit.rlim_cur == RLIM_INFINITY) return UINT64_MAX;
    return (uint64_t)limit.rlim_cur;
}

static int present_size(const dcm_file *f, uint64_t *size) {
    struct stat st;
    if (fstat((int)f->handle, &st)) return errno;
    *size = (uint64_t)st.st_size;
    return 0;
}

static uint64_t map_granularity(void) {
    return (uint64_t)sysconf(_SC_PAGESIZE);
}

static void *map_private(const dcm_file *f, uint64_t offset, uint64_t length, int *sys) {
    void *base = mmap(NULL, (size_t)length, PROT_READ | PROT_WRITE, MAP_PRIVATE, (int)f->handle,
                      (off_t)offset);
    if (base != MAP_FAILED) return base;
    *sys = errno;
    return NULL;
}

void dcm_file_unmap(dcm_map *map) {
    if (map->base) munmap(map->base, (size_t)map->base_length);
    memset(map, 0, sizeof *map);
}

#endif

int dcm_file_narrow(dcm_file *f, uint64_t base, uint64_t length, dcm_error *err) {
    if (base > f->size || length > f->size - base)
        return dcm_fail(err, DCM_E_CHANGED, f->size, 0);
    f->base += base;
    f->size = length;
    return DCM_OK;
}

void dcm_file_from_ranges(dcm_file *f, dcm_range_list *ranges, uint64_t size,
                          int64_t mtime_ns) {
    *f = (dcm_file){.handle = -1, .ranges = ranges, .size = size, .mtime_ns = mtime_ns};
}

/* Copies the bytes from the ranges that contain them, one range after another. */
static int read_ranges(dcm_range_list *list, uint64_t offset, uint64_t length, uint8_t *into) {
    while (length) {
        const dcm_range *r = NULL;
        for (uint64_t i = 0; i < list->count && !r; i++)
            if (offset >= list->ranges[i].offset &&
                offset - list->ranges[i].offset < list->ranges[i].length)
                r = list->ranges + i;
        if (!r) {
            list->need_offset = offset;
            list->need_length = length;
            return DCM_NEED;
        }
        const uint64_t skip = offset - r->offset;
        const uint64_t n = length < r->length - skip ? length : r->length - skip;
        memcpy(into, r->data + skip, (size_t)n);
        into += n;
        offset += n;
        length -= n;
    }
    return DCM_OK;
}

static int is_separator(char c) {
    return c == '/' || c == SEPARATOR;
}

static uint64_t directory_length(const char *path, uint64_t n) {
    while (n && !is_separator(path[n - 1])) n--;
    return n;
}

int dcm_list_stat(const dcm_list *l) {
    char *path = NULL;
    uint64_t capacity = 0, begin = 0, prefix = 0;
    directory_handle directory = NO_DIRECTORY;
    int code = DCM_OK;
    for (uint64_t i = 0; i < l->count; begin = l->ends[i++]) {
        const char *p = l->paths + begin;
        const uint64_t n = l->ends[i] - begin, length = directory_length(p, n);
        l->sizes[i] = l->mtimes_ns[i] = -1;
        if (l->errnos[i] || memchr(p, 0, (size_t)n)) continue;
        if ((code = dcm_grow((void **)&path, &capacity, n + 1, 1))) break;
        if (length != prefix || memcmp(path, p, (size_t)length) != 0) {
            close_directory(directory);
            memcpy(path, p, (size_t)length);
            path[length] = 0;
            directory = open_directory(path);
            prefix = length;
        }
        memcpy(path + prefix, p + prefix, (size_t)(n - prefix));
        path[n] = 0;
        code = stat_path(directory, path, prefix, l->sizes + i, l->mtimes_ns + i);
        if (code) break;
    }
    close_directory(directory);
    dcm_free(path);
    return code;
}

int dcm_file_read(const dcm_file *f, uint64_t offset, uint64_t length, void *into,
                  dcm_error *err) {
    uint8_t *p = into;
    if (offset > f->size || length > f->size - offset)
        return dcm_fail(err, DCM_E_CHANGED, f->size, 0);
    if (f->ranges) return read_ranges(f->ranges, offset, length, p);
    while (length) {
        uint64_t count = 0;
        int sys = read_some(f, f->base + offset, length, p, &count);
        if (sys) return fail_sys(err, DCM_E_READ, sys, offset);
        if (!count) return dcm_fail(err, DCM_E_CHANGED, offset, 0);
        p += count;
        offset += count;
        length -= count;
    }
    return DCM_OK;
}

/* Up to this size it costs less to read a gap than to skip it. */
#define GAP (64u << 10)

int dcm_file_fill(const dcm_file *f, dcm_bytes *b, uint64_t offset, uint64_t length,
                  uint64_t ahead, dcm_read_mode mode, dcm_error *err) {
    if (offset > b->total || length > b->total - offset)
        return dcm_fail(err, DCM_E_CHANGED, b->total, 0);
    uint64_t start = offset, end = offset + length;
    if (mode == DCM_READ_KEEP && b->n_segments && !b->transient) {
        const dcm_segment *last = b->segments + b->n_segments - 1;
        uint64_t have = last->offset + last->length;
        if (have <= offset ? offset - have <= GAP : last->offset <= offset)
            start = have; /* extend the last segment */
    }
    end = b->total - end > ahead ? end + ahead : b->total;
    uint8_t *space;
    int code = dcm_bytes_reserve(b, end - start, &space);
    if (!code && (code = dcm_file_read(f, start, end - start, space, err))) return code;
    if (!code) code = dcm_bytes_commit(b, start, end - start, mode != DCM_READ_KEEP);
    return code ? dcm_fail(err, code, start, 0) : DCM_OK;
}

int dcm_file_map(const dcm_file *f, uint64_t offset, uint64_t length, dcm_map *map,
                 dcm_error *err) {
    memset(map, 0, sizeof *map);
    if (!length || offset > f->size || length > f->size - offset)
        return dcm_fail(err, DCM_E_CHANGED, offset, 0);
    uint64_t slack = (f->base + offset) % map_granularity();
    if (length + slack > SIZE_MAX) return dcm_fail(err, DCM_E_MEMORY, offset, 0);
    uint64_t size = 0; /* access to a page past the end of a file is fatal (SIGBUS) */
    int sys = present_size(f, &size);
    if (sys) return fail_sys(err, DCM_E_READ, sys, offset);
    if (size < f->base + offset + length)
        return dcm_fail(err, DCM_E_CHANGED, size > f->base ? size - f->base : 0, 0);
    map->base = map_private(f, f->base + offset - slack, length + slack, &sys);
    if (!map->base) return fail_sys(err, DCM_E_READ, sys, offset);
    map->base_length = length + slack;
    map->data = (uint8_t *)map->base + slack;
    return DCM_OK;
}
