/* uring_floor.c: floor.c with io_uring: one thread, DEPTH files in flight.
 *
 *     uring_floor DEPTH LIST
 *
 * For each path of LIST: openat, fadvise(RANDOM), read of at most 16 KiB, close,
 * linked to one another, with descriptors that are private to the ring. Prints wall
 * nanoseconds per file. Needs Linux 5.15; exits with 3 if there is no io_uring.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/io_uring.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { HEAD = 16 * 1024, MAX_DEPTH = 256, LINKS = 4 };

static struct {
    int fd;
    unsigned *sq_tail, *sq_mask, *sq_array, *cq_head, *cq_tail, *cq_mask;
    struct io_uring_sqe *sqes;
    struct io_uring_cqe *cqes;
} ring;

static char *buffers[MAX_DEPTH];

static void die(const char *what) {
    perror(what);
    exit(2);
}

static void *mapped(size_t size, off_t offset) {
    void *p =
        mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, ring.fd, offset);
    if (p == MAP_FAILED) die("mmap");
    return p;
}

static void start(unsigned depth) {
    struct io_uring_params p;
    memset(&p, 0, sizeof p);
    ring.fd = (int)syscall(SYS_io_uring_setup, 4 * depth, &p);
    if (ring.fd < 0) exit(3);
    char *sq = mapped(p.sq_off.array + p.sq_entries * sizeof(unsigned), IORING_OFF_SQ_RING);
    char *cq = mapped(p.cq_off.cqes + p.cq_entries * sizeof *ring.cqes, IORING_OFF_CQ_RING);
    ring.sqes = mapped(p.sq_entries * sizeof *ring.sqes, IORING_OFF_SQES);
    ring.sq_tail = (unsigned *)(sq + p.sq_off.tail);
    ring.sq_mask = (unsigned *)(sq + p.sq_off.ring_mask);
    ring.sq_array = (unsigned *)(sq + p.sq_off.array);
    ring.cq_head = (unsigned *)(cq + p.cq_off.head);
    ring.cq_tail = (unsigned *)(cq + p.cq_off.tail);
    ring.cq_mask = (unsigned *)(cq + p.cq_off.ring_mask);
    ring.cqes = (struct io_uring_cqe *)(cq + p.cq_off.cqes);
    int none[MAX_DEPTH];
    for (unsigned i = 0; i < depth; i++) {
        none[i] = -1;
        buffers[i] = malloc(HEAD);
        if (!buffers[i]) die("malloc");
    }
    if (syscall(SYS_io_uring_register, ring.fd, IORING_REGISTER_FILES, none, depth) < 0)
        exit(3);
}

static struct io_uring_sqe *entry(unsigned slot, int what) {
    unsigned tail = *ring.sq_tail, i = tail & *ring.sq_mask;
    struct io_uring_sqe *e = ring.sqes + i;
    memset(e, 0, sizeof *e);
    ring.sq_array[i] = i;
    e->user_data = 4 * slot + (unsigned)what;
    __atomic_store_n(ring.sq_tail, tail + 1, __ATOMIC_RELEASE);
    return e;
}

static void submit(const char *path, unsigned slot) {
    struct io_uring_sqe *e = entry(slot, 0);
    e->opcode = IORING_OP_OPENAT;
    e->fd = AT_FDCWD;
    e->addr = (unsigned long)path;
    e->open_flags = O_RDONLY;
    e->file_index = slot + 1;
    e->flags = IOSQE_IO_LINK;
    e = entry(slot, 1);
    e->opcode = IORING_OP_FADVISE;
    e->fd = (int)slot;
    e->fadvise_advice = POSIX_FADV_RANDOM;
    e->flags = IOSQE_FIXED_FILE | IOSQE_IO_LINK;
    e = entry(slot, 1);
    e->opcode = IORING_OP_READ;
    e->fd = (int)slot;
    e->addr = (unsigned long)buffers[slot];
    e->len = HEAD;
    e->flags = IOSQE_FIXED_FILE | IOSQE_IO_HARDLINK; /* also after a short read */
    e = entry(slot, 2);
    e->opcode = IORING_OP_CLOSE;
    e->file_index = slot + 1;
}

int main(int argc, char **argv) {
    if (argc != 3) return 2;
    unsigned depth = (unsigned)atoi(argv[1]), busy = 0, waiting = 0;
    FILE *list = fopen(argv[2], "r");
    char **paths = NULL, *line = NULL;
    size_t line_size = 0;
    long n = 0, next = 0;
    if (!list || depth < 1 || depth > MAX_DEPTH) die(argv[2]);
    while (getline(&line, &line_size, list) > 0) {
        line[strcspn(line, "\n")] = 0;
        paths = realloc(paths, (size_t)(n + 1) * sizeof *paths);
        if (!paths || !(paths[n++] = strdup(line))) die("memory");
    }
    start(depth);
    struct timespec a, b;
    clock_gettime(CLOCK_MONOTONIC, &a);
    for (; busy < depth && next < n; busy++, waiting += LINKS) submit(paths[next++], busy);
    while (busy) {
        if (syscall(SYS_io_uring_enter, ring.fd, waiting, 1, IORING_ENTER_GETEVENTS, NULL, 0) <
            0)
            die("io_uring_enter");
        waiting = 0;
        unsigned head = *ring.cq_head, tail = __atomic_load_n(ring.cq_tail, __ATOMIC_ACQUIRE);
        for (; head != tail; head++) {
            const struct io_uring_cqe *c = ring.cqes + (head & *ring.cq_mask);
            if (c->res < 0) return fprintf(stderr, "uring_floor: %s\n", strerror(-c->res)), 2;
            if (c->user_data % 4 != 2) continue;
            if (next < n) {
                submit(paths[next++], (unsigned)(c->user_data / 4));
                waiting += LINKS;
            } else {
                busy--;
            }
        }
        __atomic_store_n(ring.cq_head, head, __ATOMIC_RELEASE);
    }
    clock_gettime(CLOCK_MONOTONIC, &b);
    printf("%.0f\n",
           ((double)(b.tv_sec - a.tv_sec) * 1e9 + (double)(b.tv_nsec - a.tv_nsec)) / (double)n);
    return 0;
}
