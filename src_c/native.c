/* native.c: native frames of many files, read and converted in one pass.
 *
 * A frame is read in pieces into a buffer that stays in the cache, and converted
 * from there into its slot. (Also where no conversion is needed: the system takes
 * twice as long to copy into a slot that is not in the cache.) */
#include "dcm_native.h"

#include "dcm_base.h"

#include <string.h>

#define PIECE (256u << 10) /* bytes read at once */

/* The part of a frame that is copied into its slot. */
typedef struct region {
    uint64_t rows, columns;
    uint64_t row, column;       /* the first ones in the frame */
    uint64_t to_row, to_column; /* the first ones in the slot */
} region;

/* Crops or pads one axis around its center, like MONAI. */
static void center(uint64_t have, uint64_t wanted, uint64_t *count, uint64_t *from,
                   uint64_t *to) {
    *count = have < wanted ? have : wanted;
    *from = have > wanted ? have / 2 - wanted / 2 : 0;
    *to = wanted > have ? (wanted - have) / 2 : 0;
}

static void fill(dcm_native_batch *b, uint8_t *slot) {
    const uint64_t cells = b->height * b->width * b->samples;
    if (b->size == 1) {
        memset(slot, b->pad[0], (size_t)cells);
        return;
    }
    for (uint64_t i = 0; i < cells; i++) memcpy(slot + i * b->size, b->pad, b->size);
}

/* Sets *c to the cells of the frame; 0 if the frame does not fit the slot. */
static int cells_of(const dcm_native_batch *b, const dcm_native_frame *f, dcm_cells *c) {
    const int bits = f->bits_allocated;
    *c = (dcm_cells){(uint8_t)(bits == 1 ? 1 : bits / 8), f->representation, f->big,
                     f->bits_stored, f->high_bit};
    if (bits == 1 || c->kind == DCM_CELL_FLOAT) c->bits_stored = 0; /* all bits */
    if (bits == 1) { /* bytes of 0 and 1 once unpacked */
        if (f->samples != 1 || f->start_bit > 7 || c->kind != DCM_CELL_UNSIGNED) return 0;
    }
    if (c->size == 1) c->big = 0;
    if ((bits != 1 && bits % 8) || !dcm_cells_valid(c)) return 0;
    if (!f->rows || !f->columns || f->samples != b->samples) return 0;
    if (!b->fit && (f->rows != b->height || f->columns != b->width)) return 0;
    if (b->convert == DCM_CONVERT_RESCALE) return b->size == 4 && b->kind == DCM_CELL_FLOAT;
    if (b->convert == DCM_CONVERT_WINDOW) return b->size == 1 && b->kind == DCM_CELL_UNSIGNED;
    if (c->size != b->size) return 0;
    return c->kind == b->kind || (c->kind == DCM_CELL_UNSIGNED && b->kind == DCM_CELL_SIGNED &&
                                  (bits == 1 || (c->bits_stored && c->bits_stored < bits)));
}

/* Prepares the window of this frame, unless it is that of the frame before. */
static int set_window(dcm_native_batch *b, const dcm_native_frame *f, const dcm_cells *c,
                      dcm_error *err) {
    dcm_window *w = &b->window;
    if (w->method && !memcmp(&w->cells, c, sizeof *c) && w->function == f->function &&
        w->invert == f->invert && w->slope == f->slope && w->intercept == f->intercept &&
        w->center == f->center && w->width == f->width)
        return DCM_OK;
    w->cells = *c;
    w->function = f->function > DCM_VOI_SIGMOID ? UINT8_MAX : (uint8_t)f->function;
    w->invert = f->invert;
    w->slope = f->slope;
    w->intercept = f->intercept;
    w->center = f->center;
    w->width = f->width;
    w->method = DCM_WINDOW_FORMULA;
    return dcm_window_prepare(w, err);
}

static void convert(dcm_native_batch *b, const dcm_native_frame *f, const dcm_cells *c,
                    const uint8_t *src, uint64_t count, uint8_t *out) {
    if (b->convert == DCM_CONVERT_WINDOW)
        dcm_window_run(&b->window, src, count, out);
    else if (b->convert == DCM_CONVERT_RESCALE)
        dcm_rescale(c, src, count, f->slope, f->intercept, 4, out);
    else
        dcm_cells_native(c, src, count, out);
}

/* Reads one plane of `columns` values per line, which begins at `begin_byte` and
 * `begin_bit` of the file, into every `step`th cell of the slot; `copied` values per
 * line, from `column` on. */
static int plane(dcm_native_batch *b, const dcm_native_frame *f, const dcm_cells *c,
                 const region *r, uint64_t begin_byte, uint64_t begin_bit, uint64_t columns,
                 uint64_t copied, uint64_t column, unsigned step, uint8_t *slot,
                 dcm_error *err) {
    const int bits = f->bits_allocated == 1;
    const uint64_t cell = bits ? 1 : 8u * c->size; /* in bits */
    /* complete lines that are contiguous in the slot, too, are one run */
    const int joined = step == 1 && copied == columns && columns == b->width * b->samples;
    const uint64_t line = columns * cell;
    uint64_t lines = PIECE / (columns * c->size);
    lines = lines ? lines < r->rows ? lines : r->rows : 1;
    int code = dcm_grow((void **)&b->scratch, &b->cap_scratch, (lines * line + 7) / 8 + 1, 1);
    if (!code && (bits || step > 1))
        code = dcm_grow((void **)&b->line, &b->cap_line, lines * columns * (1 + b->size), 1);
    if (code) return dcm_fail(err, code, begin_byte, 0);
    for (uint64_t done = 0; done < r->rows; done += lines) {
        if (lines > r->rows - done) lines = r->rows - done;
        const uint64_t from = begin_bit + (r->row + done) * line;
        const uint64_t first = from / 8, end = (from + lines * line + 7) / 8;
        code = dcm_file_read(&b->file, begin_byte + first, end - first, b->scratch, err);
        if (code) return code;
        for (uint64_t i = 0; i < lines; i += joined ? lines : 1) {
            const uint64_t n = joined ? lines * columns : copied;
            const uint64_t at = from % 8 + i * line + column * cell;
            const uint8_t *src = b->scratch + at / 8;
            uint8_t *to =
                slot +
                (((r->to_row + done + i) * b->width + r->to_column) * b->samples) * b->size;
            if (bits) {
                dcm_unpack_bits(b->scratch, at, n, b->line);
                src = b->line;
            }
            if (step == 1) {
                convert(b, f, c, src, n, to);
                continue;
            }
            convert(b, f, c, src, n, b->line);
            for (uint64_t k = 0; k < n; k++)
                memcpy(to + k * step * b->size, b->line + k * b->size, b->size);
        }
    }
    return DCM_OK;
}

static int read_frame(dcm_native_batch *b, const char *path, const dcm_native_frame *f,
                      uint8_t *slot, dcm_error *err) {
    dcm_cells c;
    region r;
    int code;
    if (!b->path || strcmp(b->path, path) != 0) {
        dcm_file_close(&b->file);
        b->path = NULL;
        if ((code = dcm_file_open(&b->file, path, err))) return code;
        b->path = path;
    }
    if ((f->size && f->size != b->file.size) ||
        (f->mtime_ns && f->mtime_ns != b->file.mtime_ns))
        return dcm_fail(err, DCM_E_CHANGED, 0, 0);
    if (!cells_of(b, f, &c)) return dcm_fail(err, DCM_E_FRAME_FIT, f->offset, 0);
    /* rows * columns is below 2^64; the rest is checked by division */
    const uint64_t have = f->offset < b->file.size ? b->file.size - f->offset : 0;
    const uint64_t values = have > UINT64_MAX / 8 ? UINT64_MAX : have * 8 / f->bits_allocated;
    const uint64_t area = (uint64_t)f->rows * f->columns;
    if (area > values / f->samples || (f->bits_allocated == 1 && area + f->start_bit > values))
        return dcm_fail(err, DCM_E_FRAME_SHORT, b->file.size, 0);
    if (b->convert == DCM_CONVERT_WINDOW && (code = set_window(b, f, &c, err))) return code;

    center(f->rows, b->height, &r.rows, &r.row, &r.to_row);
    center(f->columns, b->width, &r.columns, &r.column, &r.to_column);
    if (r.rows < b->height || r.columns < b->width) fill(b, slot);
    if (f->planar && f->samples > 1) {
        for (unsigned s = 0; s < f->samples; s++)
            if ((code =
                     plane(b, f, &c, &r, f->offset + s * area * c.size, 0, f->columns,
                           r.columns, r.column, f->samples, slot + (size_t)s * b->size, err)))
                return code;
        return DCM_OK;
    }
    return plane(b, f, &c, &r, f->offset, f->bits_allocated == 1 ? f->start_bit : 0,
                 (uint64_t)f->columns * f->samples, r.columns * f->samples,
                 r.column * f->samples, 1, slot, err);
}

int dcm_native_batch_read(dcm_native_batch *b, const char *path, const dcm_native_frame *frame,
                          uint64_t slot, dcm_error *err) {
    uint8_t *to = b->out + slot * b->height * b->width * b->samples * b->size;
    int code = read_frame(b, path, frame, to, err);
    if (code) fill(b, to);
    return code;
}

void dcm_native_batch_free(dcm_native_batch *b) {
    dcm_file_close(&b->file);
    dcm_window_free(&b->window);
    dcm_free(b->scratch);
    dcm_free(b->line);
    memset(b, 0, sizeof *b);
    b->file.handle = -1;
}
