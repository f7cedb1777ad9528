/* gate_rle.c: RLE frames of 16-bit cells and of color, half runs, half literals.
 *
 *     gate_rle FILE ROUNDS    (FILE is not read)
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dcm.h"

enum { CELLS = 128 * 128 };

/* The function whose instructions gate.py counts. */
__attribute__((noinline)) int gate(const uint8_t *words, const uint8_t *color, uint64_t n,
                                   uint8_t *out, int rounds);

int gate(const uint8_t *words, const uint8_t *color, uint64_t n, uint8_t *out, int rounds) {
    const dcm_cells word = {2, DCM_CELL_SIGNED, 0, 12, 11},
                    byte = {1, DCM_CELL_UNSIGNED, 0, 8, 7};
    int done = 0;
    while (rounds--) {
        done += dcm_rle_decode(&word, words, n, CELLS, 1, 0, out, NULL) == DCM_OK;
        done += dcm_rle_decode(&byte, color, n, CELLS, 3, 0, out, NULL) == DCM_OK;
    }
    return done;
}

/* Writes a frame with equal segments; returns its length. */
static uint64_t frame(uint8_t *p, unsigned segments) {
    uint64_t at = 64;
    memset(p, 0, 64);
    p[0] = (uint8_t)segments;
    for (unsigned s = 0; s < segments; s++) {
        for (int k = 0; k < 4; k++) p[4 + 4 * s + (unsigned)k] = (uint8_t)(at >> 8 * k);
        for (unsigned cells = 0, i = 0; cells < CELLS; i++) {
            unsigned n = 2 + i * 7 % 90;
            p[at++] = (uint8_t)(i % 2 ? 257 - n : n - 1);
            for (unsigned k = 0; k < (i % 2 ? 1 : n); k++) p[at++] = (uint8_t)(i + k);
            cells += n;
        }
    }
    return at;
}

int main(int argc, char **argv) {
    static uint8_t words[4 * CELLS], color[4 * CELLS], out[3 * CELLS];
    if (argc != 3) return 2;
    frame(words, 2);
    printf("%d rows\n", gate(words, color, frame(color, 3), out, atoi(argv[2])));
    return 0;
}
