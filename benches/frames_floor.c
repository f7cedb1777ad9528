/* frames_floor.c: the least time in which the system reads item headers.
 *
 *     frames_floor FILE OFFSET
 *
 * Reads 8 bytes per item with pread, from the item at OFFSET up to the sequence
 * delimiter. Prints nanoseconds and the number of items.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

int main(int argc, char **argv) {
    int fd = argc == 3 ? open(argv[1], O_RDONLY | O_CLOEXEC) : -1;
    off_t at = argc == 3 ? (off_t)strtoll(argv[2], NULL, 10) : 0;
    long count = 0;
    if (fd < 0) return 2;
    double begin = now();
    for (;; count++) {
        uint8_t head[8];
        if (pread(fd, head, 8, at) != 8) return 2;
        if (memcmp(head, "\xFE\xFF\x00\xE0", 4)) break;
        at += 8 + (off_t)((uint32_t)head[4] | (uint32_t)head[5] << 8 | (uint32_t)head[6] << 16 |
                          (uint32_t)head[7] << 24);
    }
    printf("%.0f %ld\n", now() - begin, count);
    return 0;
}
