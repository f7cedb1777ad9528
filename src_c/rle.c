/* rle.c: RLE Lossless (PS3.5 G) of one frame.
 *
 * A frame has one segment for each byte of each sample, the most significant byte
 * first. All segments are unpacked in parallel, a block of cells at a time, into a
 * few kilobytes that stay in the cache, and interleaved from there: so runs are
 * fills and copies, whatever the stride in the destination.
 *
 * Accepted, as by pydicom, DCMTK and GDCM: bytes after the last packet that is
 * needed (padding, or more); packets that run over the end of a row (forbidden by
 * G.3.1); a last packet that is longer than the frame; a first offset other than
 * 64; unused offsets that are not 0. Rejected, as by these: a number of segments
 * other than samples x bytes; segments with too few bytes (GDCM pads them without
 * an error). Rejected, but read by pydicom: offsets that do not ascend within the
 * frame. */
#include "dcm_base.h"
#include "dcm_endian.h"
#include "dcm_pixel.h"

#include <string.h>

#define SEGMENTS 15    /* most segments (G.5) */
#define BLOCK    2048u /* cells per block */
#define PACKET   128u  /* most bytes of a packet */
#define WIDE     16u   /* bytes written at once, also past the end of a packet */

typedef struct segment {
    const uint8_t *p, *end;
    uint64_t ready; /* bytes unpacked into its block */
} segment;

/* Unpacks complete packets until there are `wanted` bytes, and up to PACKET - 1
 * more; writes up to WIDE - 1 bytes after them. Returns 0 if the segment ends
 * before, else 1. */
static int unpack(segment *s, uint8_t *out, uint64_t wanted) {
    const uint8_t *p = s->p, *end = s->end;
    uint64_t at = s->ready;
    int complete = 1;
    while (at < wanted) {
        if (end - p < 2) {
            complete = 0;
            break;
        }
        unsigned n = *p++;
        uint8_t *to = out + at;
        if (n > 128) { /* the next byte 257 - n times */
            n = 257 - n;
            for (unsigned i = 0; i < n; i += WIDE) memset(to + i, *p, WIDE);
            p++;
        } else if (n < 128) { /* the next n + 1 bytes */
            n++;
            if ((uint64_t)(end - p) >= PACKET) {
                for (unsigned i = 0; i < n; i += WIDE) memcpy(to + i, p + i, WIDE);
            } else if (n <= (uint64_t)(end - p)) {
                memcpy(to, p, n);
            } else {
                n = (unsigned)(end - p); /* a truncated packet may be enough */
                memcpy(to, p, n);
            }
            p += n;
        } else {
            n = 0; /* 128: no bytes (G.3.1) */
        }
        at += n;
    }
    s->p = p;
    s->ready = at;
    return complete || at >= wanted;
}

/* The used bits of a value's highest byte, and its sign bit. */
typedef struct top {
    uint8_t mask, sign;
} top;

static uint8_t without_unused(uint8_t byte, top t) {
    return (uint8_t)(((byte & t.mask) ^ t.sign) - t.sign);
}

/* Interleaves `group` blocks to cells of `group` bytes: byte i is from the block
 * place[i]. With two bytes (usually grayscale) unused bits of the second are
 * cleared. */
static void interleave(uint8_t (*blocks)[BLOCK + PACKET + WIDE], const uint8_t *place,
                       unsigned group, uint64_t n, top t, uint8_t *restrict out) {
    const uint8_t *restrict a = blocks[place[0]];
    if (group == 1) {
        memcpy(out, a, (size_t)n);
    } else if (group == 2) {
        const uint8_t *restrict b = blocks[place[1]];
        for (uint64_t i = 0; i < n; i++) {
            out[2 * i] = a[i];
            out[2 * i + 1] = without_unused(b[i], t);
        }
    } else if (group == 3) {
        const uint8_t *restrict b = blocks[place[1]], *restrict c = blocks[place[2]];
        for (uint64_t i = 0; i < n; i++) {
            out[3 * i] = a[i];
            out[3 * i + 1] = b[i];
            out[3 * i + 2] = c[i];
        }
    } else {
        for (unsigned k = 0; k < group; k++) {
            const uint8_t *restrict from = blocks[place[k]];
            for (uint64_t i = 0; i < n; i++) out[i * group + k] = from[i];
        }
    }
}

int dcm_rle_decode(const dcm_cells *c, const uint8_t *p, uint64_t n, uint64_t cells,
                   unsigned samples, int planar, uint8_t *out, dcm_error *err) {
    const unsigned bytes = c->size, count = samples * bytes;
    const unsigned unused = c->bits_stored ? 8 * bytes - c->bits_stored : 0;
    segment s[SEGMENTS];
    uint8_t blocks[SEGMENTS][BLOCK + PACKET + WIDE], place[SEGMENTS];
    if (n < 64) return dcm_fail(err, DCM_E_RLE_HEADER, n, 0);
    if (!samples || samples > SEGMENTS || count > SEGMENTS || dcm_u32(p, 0) != count)
        return dcm_fail(err, DCM_E_RLE_COUNT, 0, 0);
    for (unsigned i = 0; i < count; i++) {
        uint32_t begin = dcm_u32(p + 4 + 4 * (size_t)i, 0);
        if (begin < 64 || begin > n || (i && p + begin < s[i - 1].p))
            return dcm_fail(err, DCM_E_RLE_HEADER, 4 + 4 * i, 0);
        s[i] = (segment){p + begin, p + n, 0};
        if (i) s[i - 1].end = p + begin;
    }
    /* Segments whose bytes are adjacent in the destination are one group. */
    const unsigned group = planar ? bytes : count;
    top t = {0xFF, 0};
    const int by_byte =
        group == 2 && bytes == 2 && unused < 8 && c->high_bit == c->bits_stored - 1;
    if (unused && by_byte) {
        t.mask = (uint8_t)(0xFF >> unused);
        t.sign = (uint8_t)(c->kind == DCM_CELL_SIGNED ? 0x80 >> unused : 0);
    }
    for (unsigned first = 0; first < count; first += group) {
        segment *const g = s + first;
        for (unsigned k = 0; k < group; k++) /* the lowest byte is last in the file */
            place[k] = (uint8_t)(k / bytes * bytes + bytes - 1 - k % bytes);
        for (uint64_t done = 0; done < cells;) {
            const uint64_t length = cells - done < BLOCK ? cells - done : BLOCK;
            for (unsigned k = 0; k < group; k++)
                if (!unpack(g + k, blocks[k], length))
                    return dcm_fail(err, DCM_E_RLE_SEGMENT, (uint64_t)(g[k].p - p), 0);
            interleave(blocks, place, group, length, t, out);
            if (unused && !by_byte) dcm_cells_normalize(c, out, length * group / bytes);
            out += length * group;
            done += length;
            for (unsigned k = 0; k < group && done < cells; k++) {
                g[k].ready -= BLOCK; /* the rest of the last packet */
                memcpy(blocks[k], blocks[k] + BLOCK, PACKET);
            }
        }
    }
    return DCM_OK;
}
