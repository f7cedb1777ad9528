/* codestream.c: the header of a compressed frame, checked before a codec allocates
 * memory for it. Every field may have been written by an attacker. */
#include "dcm_base.h"
#include "dcm_endian.h"
#include "dcm_pixel.h"

#include <string.h>

static uint32_t be16(const uint8_t *p) {
    return dcm_u16(p, 1);
}
static uint32_t be32(const uint8_t *p) {
    return dcm_u32(p, 1);
}

/* Whether there is an end marker after `from`: FF D9 in JPEG, JPEG-LS and JPEG
 * 2000. Their entropy-coded data does not contain it, and any trailing bytes are
 * ignored. */
static int has_end(const uint8_t *data, uint64_t from, uint64_t length) {
    uint64_t i = length;
    while (i >= from + 2) {
        if (data[i - 2] == 0xFF && data[i - 1] == 0xD9) return 1;
        i--;
    }
    return 0;
}

/* ---- JPEG and JPEG-LS: ISO 10918-1 B, ISO 14495-1 C */

/* The number of scans from `from` on. Within entropy-coded data FF is followed by
 * a byte that begins no scan, and in a segment by a length: one that contains the
 * marker by chance is counted, too. */
static uint32_t count_scans(const uint8_t *data, uint64_t from, uint64_t length) {
    const uint8_t *p = data + from, *end = data + length;
    uint32_t count = 0;
    while (end - p >= 2 && (p = memchr(p, 0xFF, (size_t)(end - p) - 1)) != NULL) {
        count += p[1] == 0xDA && count < UINT32_MAX;
        p++;
    }
    return count;
}

/* What application data segments say of the color of three components. */
typedef struct jpeg_markers {
    uint8_t jfif;  /* JFIF, which is Y Cb Cr */
    uint8_t adobe; /* 1 + the transform of Adobe's APP14 */
    uint8_t hp;    /* the transform of HP's APP8 in JPEG-LS, which CharLS inverts */
    uint8_t ids[3];
} jpeg_markers;

static void read_application(uint8_t marker, const uint8_t *p, uint64_t size, jpeg_markers *m) {
    if (marker == 0xE0 && size >= 5 && memcmp(p, "JFIF", 5) == 0)
        m->jfif = 1;
    else if (marker == 0xEE && size >= 12 && memcmp(p, "Adobe", 5) == 0 && p[11] <= 2)
        m->adobe = p[11] + 1;
    else if (marker == 0xE8 && size >= 5 && memcmp(p, "mrfx", 4) == 0)
        m->hp = p[4];
}

/* Component identifiers come before markers, as in pydicom; JFIF before Adobe, as in
 * libjpeg. */
static uint8_t jpeg_color(const dcm_codestream *c, const jpeg_markers *m) {
    if (c->components != 3) return DCM_COLOR_UNSTATED;
    if (c->kind == DCM_CODESTREAM_JPEGLS) return m->hp ? DCM_COLOR_RGB : DCM_COLOR_UNSTATED;
    if (!memcmp(m->ids, "RGB", 3) || !memcmp(m->ids, "rgb", 3)) return DCM_COLOR_RGB;
    if (m->jfif) return DCM_COLOR_YBR;
    if (m->adobe) return m->adobe == 1 ? DCM_COLOR_RGB : DCM_COLOR_YBR;
    return DCM_COLOR_UNSTATED;
}

static void read_components(const uint8_t *p, uint64_t size, dcm_codestream *out,
                            jpeg_markers *m) {
    const uint64_t count = out->components;
    if (size < 3 * count) return;
    for (uint64_t i = 0; i < count; i++) {
        if (i < 3) m->ids[i] = p[3 * i];
        out->subsampled |= p[3 * i + 1] != p[1];
    }
}

static int read_jpeg(const uint8_t *data, uint64_t length, dcm_codestream *out) {
    uint64_t at = 2, size;
    jpeg_markers markers = {0};
    int seen = 0;
    uint8_t marker;
    for (;;) {
        if (length - at < 4 || data[at] != 0xFF) return DCM_NOT_FOUND;
        marker = data[at + 1];
        if (marker == 0xFF) { /* fill byte */
            at++;
            continue;
        }
        size = be16(data + at + 2);
        if (size < 2 || size > length - at - 2) return DCM_NOT_FOUND;
        if (marker == 0xF7 || (marker >= 0xC0 && marker <= 0xCF && marker != 0xC4 &&
                               marker != 0xC8 && marker != 0xCC)) {
            if (seen || size < 8) return DCM_NOT_FOUND;
            seen = 1;
            out->kind = marker == 0xF7 ? DCM_CODESTREAM_JPEGLS : DCM_CODESTREAM_JPEG;
            out->process = marker == 0xF7 ? 55 : marker - 0xC0;
            out->precision = data[at + 4];
            out->rows = be16(data + at + 5);
            out->columns = be16(data + at + 7);
            out->components = data[at + 9];
            out->reversible = marker == 0xF7 || (marker & 3) == 3;
            read_components(data + at + 10, size - 8, out, &markers);
        } else if (marker >= 0xE0 && marker <= 0xEF) {
            read_application(marker, data + at + 4, size - 2, &markers);
        } else if (marker == 0xDA) {
            if (!seen) return DCM_NOT_FOUND;
            /* Ns, Ns times two bytes, and two more bytes: NEAR and ILV in JPEG-LS */
            if (size != 6 + 2 * (uint64_t)data[at + 4]) return DCM_NOT_FOUND;
            out->planar = out->kind == DCM_CODESTREAM_JPEGLS && out->components > 1 &&
                          data[at + 2 + size - 2] == 0;
            if (out->kind == DCM_CODESTREAM_JPEGLS)
                out->reversible = data[at + 2 + size - 3] == 0;
            out->color = jpeg_color(out, &markers);
            out->scans = count_scans(data, at, length);
            out->complete = (uint8_t)has_end(data, at, length);
            return DCM_OK;
        }
        at += 2 + size;
    }
}

/* ---- JPEG 2000: ISO 15444-1 A, and its HT block coder: ISO 15444-15 */

static uint64_t divide_up(uint64_t a, uint64_t b) {
    return (a + b - 1) / b;
}

/* The number of packets of one component and layer, as if there were one tile: each
 * has at least one byte in a complete codestream (B.10). `style` is SPcod or
 * SPcoc. */
static uint64_t packets(const dcm_codestream *c, const uint8_t *style, uint64_t length,
                        int own_precincts) {
    uint64_t sum = 0, wide, high, step;
    unsigned levels = style[0], r, size;
    if (levels > 32) return UINT64_MAX;
    for (r = 0; r <= levels; r++) {
        size = 0xFF;
        if (own_precincts) {
            if (length < 5 + (uint64_t)r + 1) return UINT64_MAX;
            size = style[5 + r];
        }
        step = levels - r;
        wide =
            divide_up(divide_up(c->columns, (uint64_t)1 << step), (uint64_t)1 << (size & 15));
        high = divide_up(divide_up(c->rows, (uint64_t)1 << step), (uint64_t)1 << (size >> 4));
        sum += wide * high;
    }
    return sum;
}

static int read_j2k(const uint8_t *data, uint64_t length, dcm_codestream *out) {
    const uint8_t *p = data + 4;
    uint64_t at, size, wide, high, tile_wide, tile_high, n;
    uint32_t x0, y0, tx0, ty0, i;
    uint8_t marker;
    int style = 0;
    if (length < 4 + 38 || data[2] != 0xFF || data[3] != 0x51) return DCM_NOT_FOUND;
    size = be16(p);
    out->components = be16(p + 36);
    if (out->components == 0 || size != 38 + 3 * (uint64_t)out->components || size > length - 4)
        return DCM_NOT_FOUND;
    wide = be32(p + 4);
    high = be32(p + 8);
    x0 = be32(p + 12);
    y0 = be32(p + 16);
    tile_wide = be32(p + 20);
    tile_high = be32(p + 24);
    tx0 = be32(p + 28);
    ty0 = be32(p + 32);
    if (wide <= x0 || high <= y0 || tile_wide == 0 || tile_high == 0 || tx0 > x0 || ty0 > y0)
        return DCM_NOT_FOUND;
    out->kind = DCM_CODESTREAM_JPEG2000;
    out->columns = (uint32_t)(wide - x0);
    out->rows = (uint32_t)(high - y0);
    out->is_signed = p[38] >> 7;
    out->precision = (p[38] & 0x7F) + 1;
    for (i = 0; i < out->components; i++) {
        if (p[38 + 3 * i] != p[38]) /* the output array has one type */
            return DCM_NOT_FOUND;
        if (p[39 + 3 * i] != 1 || p[40 + 3 * i] != 1) return DCM_NOT_FOUND;
    }
    /* At most 65535 tiles (B.3), each at least SOT and SOD: 14 bytes. */
    wide = divide_up(wide - tx0, tile_wide);
    high = divide_up(high - ty0, tile_high);
    if (wide > 65535 || high > 65535 || wide * high > 65535) return DCM_NOT_FOUND;
    out->min_length = wide * high * 14;
    out->reversible = 1;
    at = 4 + size;
    for (;;) {
        if (length - at < 4 || data[at] != 0xFF) return DCM_NOT_FOUND;
        marker = data[at + 1];
        if (marker == 0x90) /* SOT: the main header ends */
            break;
        size = be16(data + at + 2);
        if (size < 2 || size > length - at - 2) return DCM_NOT_FOUND;
        p = data + at + 4;
        n = 0;
        if (marker == 0x50) {
            out->high_throughput = 1;
        } else if (marker == 0x52) {
            if (size < 12) return DCM_NOT_FOUND;
            style = 1;
            out->reversible &= p[9] == 1;
            n = packets(out, p + 5, size - 7, p[0] & 1);
            n = n > UINT32_MAX ? UINT64_MAX : n * be16(p + 2) * out->components;
            if (p[4] && out->components == 3) out->color = DCM_COLOR_RGB;
        } else if (marker == 0x53) {
            uint64_t skip = out->components < 257 ? 1 : 2;
            if (size < 8 + skip) return DCM_NOT_FOUND;
            out->reversible &= p[skip + 5] == 1;
            n = packets(out, p + skip + 1, size - 3 - skip, p[skip] & 1);
        }
        if (n > out->min_length) out->min_length = n;
        at += 2 + size;
    }
    out->complete = (uint8_t)has_end(data, at, length);
    return style ? DCM_OK : DCM_NOT_FOUND;
}

/* ---- boxes of JP2 (ISO 15444-1 I) and JPEG XL (ISO 18181-2) files */

enum box { BOX_NONE, BOX_ONE, BOX_TWO };

/* Finds the first box of type `one` or `two`: returns which of them, and sets the
 * offset and the length of its content. */
static enum box find_box(const uint8_t *data, uint64_t length, const char *one, const char *two,
                         uint64_t *offset, uint64_t *inside) {
    uint64_t at = 0, size, head;
    while (length - at >= 8) {
        size = be32(data + at);
        head = 8;
        if (size == 1) {
            if (length - at < 16) return BOX_NONE;
            size = (uint64_t)be32(data + at + 8) << 32 | be32(data + at + 12);
            head = 16;
        }
        if (size == 0 || size > length - at) /* up to the end, or truncated */
            size = length - at;
        if (size < head) return BOX_NONE;
        if (memcmp(data + at + 4, one, 4) == 0 || memcmp(data + at + 4, two, 4) == 0) {
            *offset = at + head;
            *inside = size - head;
            return memcmp(data + at + 4, one, 4) == 0 ? BOX_ONE : BOX_TWO;
        }
        at += size;
    }
    return BOX_NONE;
}

/* ---- JPEG XL: ISO 18181-1 annex D */

typedef struct bit_reader {
    const uint8_t *data;
    uint64_t length, at; /* in bits */
} bit_reader;

static uint32_t bits(bit_reader *b, unsigned count) {
    uint32_t value = 0;
    unsigned i;
    for (i = 0; i < count; i++, b->at++)
        if (b->at < b->length) value |= (uint32_t)(b->data[b->at >> 3] >> (b->at & 7) & 1) << i;
    return value;
}

/* U32: two bits choose one of four constants and the number of bits to add. */
static uint32_t choice(bit_reader *b, const uint8_t constant[4], const uint8_t extra[4]) {
    uint32_t i = bits(b, 2);
    return constant[i] + bits(b, extra[i]);
}

static uint32_t jxl_length(bit_reader *b) {
    static const uint8_t one[4] = {1, 1, 1, 1}, extra[4] = {9, 13, 18, 30};
    return choice(b, one, extra);
}

static void jxl_size(bit_reader *b, uint32_t *rows, uint32_t *columns) {
    static const uint8_t ratio[8][2] = {{0, 1}, {1, 1},  {12, 10}, {4, 3},
                                        {3, 2}, {16, 9}, {5, 4},   {2, 1}};
    uint32_t eighths = bits(b, 1), r;
    *rows = eighths ? 8 * (bits(b, 5) + 1) : jxl_length(b);
    r = bits(b, 3);
    if (r)
        *columns = (uint32_t)((uint64_t)*rows * ratio[r][0] / ratio[r][1]);
    else
        *columns = eighths ? 8 * (bits(b, 5) + 1) : jxl_length(b);
}

static int read_jxl(const uint8_t *data, uint64_t length, dcm_codestream *out) {
    static const uint8_t depth[4] = {8, 10, 12, 1}, depth_extra[4] = {0, 0, 0, 6};
    static const uint8_t floats[4] = {32, 16, 24, 1};
    static const uint8_t channels[4] = {0, 1, 2, 1}, channels_extra[4] = {0, 0, 4, 12};
    static const uint8_t colors[4] = {0, 1, 2, 18}, colors_extra[4] = {0, 0, 4, 6};
    bit_reader b = {data + 2, (length - 2) * 8, 0};
    uint32_t rows, columns, xyb = 1; /* XYB, which the codec converts to RGB */
    out->kind = DCM_CODESTREAM_JPEGXL;
    out->precision = 8;
    out->components = 3;
    jxl_size(&b, &out->rows, &out->columns);
    if (!bits(&b, 1)) { /* not all fields have their defaults */
        if (bits(&b, 1)) {
            bits(&b, 3); /* orientation */
            if (bits(&b, 1)) jxl_size(&b, &rows, &columns);
            if (bits(&b, 2)) /* a preview or an animation: not a frame */
                return DCM_NOT_FOUND;
        }
        if (bits(&b, 1)) {
            out->precision = (uint8_t)choice(&b, floats, depth_extra);
            bits(&b, 4);
        } else {
            out->precision = (uint8_t)choice(&b, depth, depth_extra);
        }
        bits(&b, 1);                              /* 16-bit buffers are enough */
        if (choice(&b, channels, channels_extra)) /* alpha and the like */
            return DCM_NOT_FOUND;
        xyb = bits(&b, 1);
        if (!bits(&b, 1)) {
            bits(&b, 1); /* an ICC profile */
            if (choice(&b, colors, colors_extra) == 1) out->components = 1;
        }
    }
    out->reversible = !xyb;
    if (xyb && out->components == 3) out->color = DCM_COLOR_RGB;
    return b.at <= b.length ? DCM_OK : DCM_NOT_FOUND;
}

int dcm_codestream_read(const uint8_t *data, uint64_t length, dcm_codestream *out) {
    static const uint8_t jp2[8] = {0, 0, 0, 12, 'j', 'P', ' ', ' '};
    static const uint8_t jxl[8] = {0, 0, 0, 12, 'J', 'X', 'L', ' '};
    uint64_t offset = 0;
    memset(out, 0, sizeof(*out));
    if (length >= 8 && memcmp(data, jp2, 8) == 0) {
        if (find_box(data, length, "jp2c", "jp2c", &offset, &length) == BOX_NONE)
            return DCM_NOT_FOUND;
    } else if (length >= 8 && memcmp(data, jxl, 8) == 0) {
        enum box found = find_box(data, length, "jxlc", "jxlp", &offset, &length);
        if (found == BOX_NONE || (found == BOX_TWO && length < 4)) return DCM_NOT_FOUND;
        if (found == BOX_TWO) { /* begins with the number of the part */
            offset += 4;
            length -= 4;
        }
    }
    if (length < 4 || data[offset] != 0xFF) return DCM_NOT_FOUND;
    data += offset;
    if (data[1] == 0xD8) return read_jpeg(data, length, out);
    if (data[1] == 0x4F) return read_j2k(data, length, out);
    if (data[1] == 0x0A) return read_jxl(data, length, out);
    return DCM_NOT_FOUND;
}
