/* gate_index.c: indexes a file that is in memory.
 *
 *     gate_index FILE ROUNDS
 */
#include <stdio.h>
#include <stdlib.h>

#include "dcm.h"

/* The function whose instructions gate.py counts. */
__attribute__((noinline)) int gate(const void *data, uint64_t size, int rounds);

int gate(const void *data, uint64_t size, int rounds) {
    dcm_bytes bytes = {0};
    dcm_part10 part = {0};
    dcm_error err;
    uint64_t rows = 0;
    if (dcm_bytes_borrow(&bytes, data, size)) return -1;
    while (rounds--) {
        uint64_t offset, length;
        dcm_read_mode mode;
        dcm_part10_start(&part, size, UINT32_MAX, 0);
        if (dcm_part10_run(&part, &bytes, &offset, &length, &mode, &err)) return -1;
        rows += part.meta.count + part.data.count;
    }
    dcm_part10_free(&part);
    dcm_bytes_free(&bytes);
    return (int)rows;
}

int main(int argc, char **argv) {
    static unsigned char data[8 << 20];
    FILE *file = argc == 3 ? fopen(argv[1], "rb") : NULL;
    size_t size;
    if (!file) return 2;
    size = fread(data, 1, sizeof data, file);
    fclose(file);
    printf("%d rows\n", gate(data, size, atoi(argv[2])));
    return 0;
}
