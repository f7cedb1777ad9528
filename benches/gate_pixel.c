/* gate_pixel.c: windows, rescaling, a lookup table and color conversion of one
 * frame.
 *
 *     gate_pixel FILE ROUNDS    (FILE is not read)
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dcm.h"

enum { CELLS = 128 * 128 };

/* The function whose instructions gate.py counts. */
__attribute__((noinline)) int gate(const uint8_t *src, uint8_t *out, int rounds);

int gate(const uint8_t *src, uint8_t *out, int rounds) {
    const dcm_cells sixteen = {2, DCM_CELL_SIGNED, 0, 0, 0},
                    twelve = {2, DCM_CELL_UNSIGNED, 0, 12, 11};
    dcm_window line = {
        .cells = twelve, .slope = 1, .intercept = -1024, .center = 40, .width = 400};
    dcm_window table = line;
    int done = 0;
    table.function = DCM_VOI_SIGMOID;
    while (rounds--) {
        done += dcm_window_prepare(&line, NULL) == DCM_OK &&
                dcm_window_prepare(&table, NULL) == DCM_OK;
        dcm_window_run(&line, src, CELLS, out);
        dcm_window_run(&table, src, CELLS, out);
        dcm_rescale(&sixteen, src, CELLS, 1, -1024, 4, out);
        dcm_rescale(&twelve, src, CELLS, 0.7, -1024, 4, out);
        dcm_lut(&twelve, src, CELLS, src, 256, 0, 2, out);
        dcm_ybr_full(src, 1, CELLS / 3, 8, out);
    }
    dcm_window_free(&table);
    return done;
}

int main(int argc, char **argv) {
    static uint8_t src[2 * CELLS], out[4 * CELLS];
    if (argc != 3) return 2;
    for (unsigned i = 0; i < sizeof src; i++) src[i] = (uint8_t)(i * 2654435761u >> 13);
    printf("%d rows\n", gate(src, out, atoi(argv[2])));
    return 0;
}
