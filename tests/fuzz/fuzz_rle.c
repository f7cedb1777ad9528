/* fuzz_rle.c: decodes any bytes as a frame of RLE Lossless, and encodes them as
 * pixels.
 *
 * The first seven bytes are the request (samples, cell type, number of cells); the
 * rest is the frame. A decoder that processes one byte and one cell at a time gives
 * the same result and the same error; bytes after the frame do not matter; planes
 * and pixels have the same values; no byte outside of the destination or the frame
 * is touched (ASan). The rest is also read as pixels: encoded in unusual packets
 * and decoded again they are the same. */
#include "dcm_endian.h"
#include "replay.h"

typedef struct request {
    unsigned samples;
    dcm_cells cell;
    uint64_t cells;
} request;

/* Decodes one byte of a segment at a time (PS3.5 G.3.2). */
static int slow_segment(const uint8_t *p, const uint8_t *end, uint64_t cells, uint64_t stride,
                        uint8_t *out) {
    uint64_t done = 0;
    while (done < cells) {
        if (end - p < 2) return 0;
        int n = (int8_t)*p++;
        if (n >= 0) {
            for (int i = 0; i <= n && done < cells; i++) {
                if (p == end) return 0;
                out[stride * done++] = *p++;
            }
        } else if (n != -128) {
            for (int i = 0; i <= -n && done < cells; i++) out[stride * done++] = *p;
            p++;
        }
    }
    return 1;
}

/* The bits of one value in a cell, and its sign. */
static void slow_cell(const dcm_cells *c, uint8_t *p) {
    const unsigned low = c->high_bit + 1u - c->bits_stored;
    if (!c->bits_stored) return;
    for (unsigned i = 0; i < 8 * c->size; i++) {
        unsigned from = low + (i < c->bits_stored ? i : c->bits_stored - 1u);
        int bit =
            (i < c->bits_stored || c->kind == DCM_CELL_SIGNED) && p[from / 8] >> from % 8 & 1;
        p[i / 8] = (uint8_t)((p[i / 8] & ~(1 << i % 8)) | bit << i % 8);
    }
}

static void slow_cells(const request *r, uint8_t *p) {
    for (uint64_t i = 0; i < r->cells * r->samples; i++)
        slow_cell(&r->cell, p + i * r->cell.size);
}

static int slow(const uint8_t *p, uint64_t n, const request *r, uint8_t *out) {
    const unsigned bytes = r->cell.size, count = r->samples * bytes;
    if (n < 64) return DCM_E_RLE_HEADER;
    if (!count || count > 15 || dcm_u32(p, 0) != count) return DCM_E_RLE_COUNT;
    for (unsigned i = 0; i < count; i++) {
        uint32_t at = dcm_u32(p + 4 + 4 * i, 0);
        if (at < 64 || at > n || (i && at < dcm_u32(p + 4 * i, 0))) return DCM_E_RLE_HEADER;
    }
    for (unsigned i = 0; i < count; i++) {
        uint64_t end = i + 1 < count ? dcm_u32(p + 8 + 4 * i, 0) : n;
        unsigned place = i / bytes * bytes + bytes - 1 - i % bytes;
        if (!slow_segment(p + dcm_u32(p + 4 + 4 * i, 0), p + end, r->cells, count, out + place))
            return DCM_E_RLE_SEGMENT;
    }
    slow_cells(r, out);
    return DCM_OK;
}

static uint8_t *block(uint64_t size) {
    uint8_t *p = malloc(size ? size : 1); /* of exactly this size, for ASan */
    CHECK(p);
    memset(p, 0xA5, size ? size : 1);
    return p;
}

static int decode(const uint8_t *p, uint64_t n, const request *r, int planar, uint8_t *out) {
    dcm_error err = {0};
    int code = dcm_rle_decode(&r->cell, p, n, r->cells, r->samples, planar, out, &err);
    CHECK(code == err.code && err.offset <= n);
    return code;
}

static void as_frame(const uint8_t *data, size_t size, const request *r) {
    const unsigned bytes = r->cell.size;
    const uint64_t total = r->cells * r->samples * bytes;
    uint8_t *pixels = block(total), *planes = block(total), *expected = block(total);
    uint8_t *longer = block(size + 40);
    int code = decode(data, size, r, 0, pixels);
    CHECK(slow(data, size, r, expected) == code);
    CHECK(decode(data, size, r, 1, planes) == code);
    if (!code) {
        CHECK(!total || !memcmp(pixels, expected, total));
        for (uint64_t i = 0; i < r->cells; i++)
            for (unsigned s = 0; s < r->samples; s++)
                CHECK(!memcmp(pixels + (i * r->samples + s) * bytes,
                              planes + (s * r->cells + i) * bytes, bytes));
        if (size) memcpy(longer, data, size);
        CHECK(decode(longer, size + 40, r, 0, planes) == DCM_OK);
        CHECK(!total || !memcmp(planes, expected, total));
    }
    free(pixels);
    free(planes);
    free(expected);
    free(longer);
}

/* Encodes with packets whose kind and length depend on the bytes: also runs where
 * literals would be shorter, and packets without bytes. */
static uint64_t encode(const uint8_t *p, uint64_t n, uint64_t stride, uint8_t *out) {
    uint8_t *to = out;
    for (uint64_t i = 0; i < n;) {
        const uint8_t v = p[i * stride];
        uint64_t run = 1, most = n - i < 128 ? n - i : 128;
        while (run < most && p[(i + run) * stride] == v) run++;
        if (v % 16 == 7) *to++ = 0x80;
        if (run > 1 && v % 4) {
            *to++ = (uint8_t)(257 - run);
            *to++ = v;
        } else {
            run = 1 + v % most;
            *to++ = (uint8_t)(run - 1);
            for (uint64_t k = 0; k < run; k++) *to++ = p[(i + k) * stride];
        }
        i += run;
    }
    return (uint64_t)(to - out);
}

static void as_pixels(const uint8_t *data, size_t size, const request *original) {
    request r = *original;
    const unsigned bytes = r.cell.size, count = r.samples * bytes;
    if (!count || count > 15 || size < count) return;
    r.cells = size / count;
    uint8_t *frame = block(64 + 3 * size), *back = block(r.cells * count);
    uint8_t *expected = block(r.cells * count);
    uint64_t at = 64;
    memset(frame, 0, 64);
    frame[0] = (uint8_t)count;
    for (unsigned i = 0; i < count; i++) {
        for (int k = 0; k < 4; k++) frame[4 + 4 * i + (unsigned)k] = (uint8_t)(at >> 8 * k);
        at += encode(data + i / bytes * bytes + bytes - 1 - i % bytes, r.cells, count,
                     frame + at);
    }
    memcpy(expected, data, r.cells * count);
    slow_cells(&r, expected);
    CHECK(decode(frame, at, &r, 0, back) == DCM_OK && !memcmp(back, expected, r.cells * count));
    /* no packet is longer than needed: without its last byte the frame fails */
    uint8_t *truncated = block(at - 1);
    memcpy(truncated, frame, at - 1);
    CHECK(decode(truncated, at - 1, &r, 0, back) == DCM_E_RLE_SEGMENT);
    free(truncated);
    free(frame);
    free(back);
    free(expected);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < 7) return 0;
    const request r = {data[0] % 17,
                       {data[1] % 17, data[2] & 1, 0, data[3], data[4]},
                       dcm_u16(data + 5, 0) % 9000u};
    if (!dcm_cells_valid(&r.cell)) return 0;
    as_frame(data + 7, size - 7, &r);
    as_pixels(data + 7, size - 7, &r);
    return 0;
}
