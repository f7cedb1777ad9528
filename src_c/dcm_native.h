/* dcm_native.h: native frames of many files, read and converted into one block
 * (native.c). */
#ifndef DCM_NATIVE_H
#define DCM_NATIVE_H

#include <stdint.h>

#include "dcm_base.h"
#include "dcm_file.h"
#include "dcm_pixel.h"

/* A frame in its file. The layout, 80 bytes without gaps, is that of
 * NATIVE_FRAME_DTYPE in fastdcm/pixels/_kernels.pyx. */
typedef struct dcm_native_frame {
    uint64_t offset;  /* of its first byte */
    uint64_t size;    /* of the file when the offset was found; 0: not checked */
    int64_t mtime_ns; /* of the file then; 0: not checked */
    double slope, intercept, center, width;
    uint32_t rows, columns, samples;
    uint8_t bits_allocated; /* 1, 8, 16, 32, 64 */
    uint8_t bits_stored, high_bit;
    uint8_t representation; /* dcm_cell_kind */
    uint8_t big, planar;
    uint8_t start_bit; /* bits_allocated 1: the first bit in the first byte */
    uint8_t invert;
    uint32_t function; /* dcm_voi */
} dcm_native_frame;

typedef enum dcm_convert {
    DCM_CONVERT_NONE,    /* stored values */
    DCM_CONVERT_RESCALE, /* to float */
    DCM_CONVERT_WINDOW   /* to uint8_t */
} dcm_convert;

/* The state of one worker. The caller sets the fields up to `pad`, and file.handle
 * to -1. */
typedef struct dcm_native_batch {
    uint8_t *out; /* slots of height x width x samples cells */
    uint64_t height, width, samples;
    uint8_t convert;    /* dcm_convert */
    uint8_t size, kind; /* of a cell of out */
    uint8_t fit;        /* 1: frames of other sizes are cropped and padded */
    uint8_t pad[8];     /* one cell */
    dcm_file file;
    const char *path; /* of the open file; must live until _free */
    dcm_window window;
    uint8_t *scratch, *line;
    uint64_t cap_scratch, cap_line;
} dcm_native_batch;

/* Reads one frame into one slot, which is filled with padding after an error. */
int dcm_native_batch_read(dcm_native_batch *b, const char *path, const dcm_native_frame *frame,
                          uint64_t slot, dcm_error *err);
void dcm_native_batch_free(dcm_native_batch *b);

#endif
