/* floor.c: the least time in which the system reads the headers of many files.
 *
 *     floor [-n rounds] [-t threads] [-r] [-w] [-d] LIST
 *
 * LIST has one path per line. For each: open, fstat, pread(min(size, 16 KiB)),
 * close. Prints wall nanoseconds per file, one line per round.
 *
 *   -r  posix_fadvise(RANDOM) before the read: no read-ahead
 *   -w  reads the complete file
 *   -d  opens with O_DIRECT, bypassing the page cache
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { HEAD = 16 * 1024 };

static char **paths;
static long n_paths;
static atomic_long next_path;
static int advise, complete, direct;

static void die(const char *what) {
    perror(what);
    exit(2);
}

static void *worker(void *unused) {
    size_t capacity = HEAD;
    char *buffer = aligned_alloc(4096, capacity);
    (void)unused;
    for (;;) {
        long i = atomic_fetch_add_explicit(&next_path, 1, memory_order_relaxed);
        struct stat st;
        size_t want;
        int fd;
        if (i >= n_paths) break;
        fd = open(paths[i], O_RDONLY | O_CLOEXEC | direct);
        if (fd < 0 || fstat(fd, &st) != 0) die(paths[i]);
#ifdef POSIX_FADV_RANDOM
        if (advise) posix_fadvise(fd, 0, 0, POSIX_FADV_RANDOM);
#endif
        want = (size_t)st.st_size;
        if (!complete && want > HEAD) want = HEAD;
        if (want > capacity) {
            capacity = (want + 4095) & ~(size_t)4095;
            free(buffer);
            buffer = aligned_alloc(4096, capacity);
        }
        if (!buffer || pread(fd, buffer, want, 0) != (ssize_t)want) die(paths[i]);
        close(fd);
    }
    free(buffer);
    return NULL;
}

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static void read_list(const char *name) {
    FILE *file = fopen(name, "r");
    char *line = NULL;
    size_t line_size = 0;
    long capacity = 0;
    ssize_t length;
    if (!file) die(name);
    while ((length = getline(&line, &line_size, file)) > 0) {
        if (line[length - 1] == '\n') line[length - 1] = 0;
        if (n_paths == capacity) {
            capacity = capacity ? 2 * capacity : 1024;
            paths = realloc(paths, (size_t)capacity * sizeof *paths);
            if (!paths) die(name);
        }
        paths[n_paths] = strdup(line);
        if (!paths[n_paths++]) die(name);
    }
    free(line);
    fclose(file);
}

int main(int argc, char **argv) {
    int rounds = 1, threads = 1, option;
    while ((option = getopt(argc, argv, "n:t:rwd")) != -1) {
        switch (option) {
        case 'n': rounds = atoi(optarg); break;
        case 't': threads = atoi(optarg); break;
        case 'r': advise = 1; break;
        case 'w': complete = 1; break;
#ifdef O_DIRECT
        case 'd': direct = O_DIRECT; break;
#endif
        default: return 2;
        }
    }
    if (optind + 1 != argc || rounds < 1 || threads < 1 || threads > 256)
        return fprintf(stderr, "usage: floor [-n rounds] [-t threads] [-r] [-w] [-d] LIST\n"),
               2;
    read_list(argv[optind]);
    if (n_paths == 0) return fprintf(stderr, "floor: the list is empty\n"), 2;
    while (rounds--) {
        pthread_t others[256];
        double begin = now();
        atomic_store(&next_path, 0);
        for (int i = 1; i < threads; i++)
            if (pthread_create(&others[i], NULL, worker, NULL) != 0) die("pthread_create");
        worker(NULL);
        for (int i = 1; i < threads; i++) pthread_join(others[i], NULL);
        printf("%.0f\n", (now() - begin) / (double)n_paths);
    }
    return 0;
}
