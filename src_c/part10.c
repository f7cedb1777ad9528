/* part10.c: preamble, file meta information and data set (PS3.10 7). Also reads
 * files without a preamble or without group 0002, with group 0002 in the wrong
 * encoding or a wrong transfer syntax, and the bare data sets of ACR-NEMA 1.0 and
 * 2.0. */
#include "dcm_endian.h"
#include "dcm_index.h"
#include "dcm_value.h"

#include <string.h>

#define META_FIRST  0x00020000u
#define META_LAST   0x0002FFFFu
#define GUESS       512u  /* most bytes used to guess an encoding */
#define LONGEST_UID 4096u /* including padding */

void dcm_part10_start(dcm_part10 *p, uint64_t total, uint32_t stop, int force) {
    p->state = DCM_PART10_PREAMBLE;
    p->total = total;
    p->stop = stop;
    p->force = (uint8_t)(force != 0);
    p->preamble = p->deflated = 0;
    p->transfer_syntax[0] = 0;
    p->meta.count = p->meta.n_issues = 0;
    p->data.count = p->data.n_issues = 0;
    p->data_begin = 0;
}

void dcm_part10_free(dcm_part10 *p) {
    dcm_index_free(&p->meta);
    dcm_index_free(&p->data);
}

/* The encoding that a transfer syntax states (PS3.5 A), or -1 if it is unknown.
 * 1.2.840.113619.5.2 is private to GE: only its pixel data is big endian. */
static int stated_encoding(const char *uid, int *deflated) {
    static const struct {
        const char *uid;
        int encoding, deflated;
    } table[] = {
        {"1.2.840.10008.1.2", DCM_IMPLICIT, 0},
        {"1.2.840.10008.1.2.2", DCM_BIG, 0},
        {"1.2.840.10008.1.2.1.99", DCM_EXPLICIT_LE, 1},
        {"1.2.840.10008.1.2.4.95", DCM_EXPLICIT_LE, 1},  /* JPIP deflate */
        {"1.2.840.10008.1.2.4.205", DCM_EXPLICIT_LE, 1}, /* HTJ2K JPIP deflate */
        {"1.2.840.10008.1.20", DCM_IMPLICIT, 0},         /* Papyrus 3 */
        {"1.2.840.113619.5.2", DCM_IMPLICIT, 0},
    };
    *deflated = 0;
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        if (!strcmp(uid, table[i].uid)) {
            *deflated = table[i].deflated;
            return table[i].encoding;
        }
    /* All others are explicit VR little endian. */
    return strncmp(uid, "1.2.840.10008.1.2.", 18) ? -1 : DCM_EXPLICIT_LE;
}

static int need(uint64_t at, uint64_t n, uint64_t *offset, uint64_t *length,
                dcm_read_mode *mode) {
    *offset = at;
    *length = n;
    *mode = DCM_READ_KEEP;
    return DCM_NEED;
}

/* Reads preamble and prefix, and finds the encoding of group 0002. */
static int read_preamble(dcm_part10 *p, const dcm_bytes *b, uint64_t *offset, uint64_t *length,
                         dcm_read_mode *mode) {
    const uint8_t *q = NULL;
    uint64_t n = dcm_bytes_run(b, 0, &q), least = p->total < GUESS ? p->total : GUESS;
    if (!p->total) return DCM_E_EMPTY;
    if (n < least) return need(0, least, offset, length, mode);
    n = least;
    uint64_t at = 0;
    int encoding = DCM_EXPLICIT_LE, code = DCM_OK;
    if (n >= 132 && !memcmp(q + 128, "DICM", 4)) {
        at = 132;
        p->preamble = 1;
    } else if (n >= 4 && !memcmp(q, "DICM", 4)) {
        at = 4;
    } else {
        encoding = dcm_encoding_guess(q, n, p->total, DCM_EXPLICIT_LE, 3);
        if (encoding < 0 && !p->force) return DCM_E_NOT_DICOM;
    }
    dcm_index_start(&p->meta, at, p->total, DCM_EXPLICIT_LE, META_LAST, DCM_ONE_LEVEL);
    p->meta.from = META_FIRST;
    if (!p->preamble) code = dcm_index_issue(&p->meta, DCM_I_NO_PREAMBLE, 0, 0);
    if (p->total - at >= 8) {
        if (at)
            encoding = dcm_encoding_guess(q + at, n - at, p->total - at, DCM_EXPLICIT_LE, 1);
        int big = encoding > 0 && encoding & DCM_BIG;
        if (encoding > 0 && dcm_u16(q + at, big) == 2) {
            p->meta.encoding = (uint8_t)encoding;
            if (!code) code = dcm_index_issue(&p->meta, DCM_I_META_ENCODING, at, 0);
        }
    }
    p->state = DCM_PART10_META;
    return code;
}

/* After group 0002: finds the transfer syntax and where the data set begins. */
static int end_meta(dcm_part10 *p, const dcm_bytes *b, uint64_t *offset, uint64_t *length,
                    dcm_read_mode *mode) {
    dcm_index *m = &p->meta;
    const dcm_row *row = dcm_index_find(m, 0x00020010);
    const uint8_t *q = NULL;
    int code = DCM_OK;
    if (row && (!row->length || row->length > LONGEST_UID)) row = NULL;
    if (row && !dcm_bytes_at(b, row->offset, row->length)) /* was skipped */
        return need(row->offset, row->length, offset, length, mode);
    p->data_begin = m->pos;
    if (!m->count) code = dcm_index_issue(m, DCM_I_NO_META, m->begin, 0);
    if (row && (q = dcm_bytes_at(b, row->offset, row->length))) {
        dcm_span uid = dcm_trim((const char *)q, row->length);
        if (uid.n >= sizeof p->transfer_syntax) uid.n = sizeof p->transfer_syntax - 1;
        memcpy(p->transfer_syntax, uid.p, (size_t)uid.n);
        p->transfer_syntax[uid.n] = 0;
    }
    if (!code && m->count && !p->transfer_syntax[0])
        code = dcm_index_issue(m, DCM_I_NO_TRANSFER_SYNTAX, m->begin, 0x00020010);
    row = dcm_index_find(m, META_FIRST);
    if (!code && row && row->length == 4 && row->header == 8 &&
        (q = dcm_bytes_at(b, row->offset, 4)) &&
        row->offset + 4 + dcm_u32(q, m->encoding & DCM_BIG) != m->pos)
        code = dcm_index_issue(m, DCM_I_META_LENGTH, row->offset - row->header, META_FIRST);
    p->state = DCM_PART10_ENCODING;
    return code;
}

/* Finds the encoding of the data set from the transfer syntax and from its first
 * header, which is right if they differ. */
static int start_data(dcm_part10 *p, const dcm_bytes *b, uint64_t *offset, uint64_t *length,
                      dcm_read_mode *mode) {
    uint64_t left = p->total - p->data_begin;
    int deflated, stated = stated_encoding(p->transfer_syntax, &deflated);
    const int known = stated >= 0, labelled = deflated;
    int found = -1, code = DCM_OK;
    if (!known) stated = DCM_EXPLICIT_LE;
    if (left >= 8) {
        const uint8_t *q = NULL;
        uint64_t n = dcm_bytes_run(b, p->data_begin, &q), least = deflated ? GUESS : 12;
        if (left < least) least = left;
        if (n < least) return need(p->data_begin, least, offset, length, mode);
        n = least;
        /* A deflate stream can look like one header by chance, but not like three.
         * A command set (group 0000) is always implicit VR (PS3.7 6.3), in any
         * encoding of the data set after it. */
        found = dcm_encoding_guess(q, n, left, stated, deflated ? 3 : 1);
        if (found >= 0) deflated = 0;
        if (found >= 0 && !dcm_u16(q, 0)) found = stated;
    }
    int encoding = found >= 0 ? found : stated;
    if (!known && p->transfer_syntax[0])
        code =
            dcm_index_issue(&p->meta, DCM_I_UNKNOWN_TRANSFER_SYNTAX, p->meta.begin, 0x00020010);
    int differs = known && left && (encoding != stated || deflated != labelled);
    if (!code && differs) code = dcm_index_issue(&p->meta, DCM_I_ENCODING, p->data_begin, 0);
    p->encoding = (uint8_t)encoding;
    p->deflated = (uint8_t)(deflated && left);
    dcm_index_start(&p->data, p->data_begin, p->total, encoding, p->stop, DCM_ONE_LEVEL);
    p->state = p->deflated ? DCM_PART10_DONE : DCM_PART10_DATA;
    return code;
}

int dcm_part10_run(dcm_part10 *p, const dcm_bytes *b, uint64_t *offset, uint64_t *length,
                   dcm_read_mode *mode, dcm_error *err) {
    int code = DCM_OK;
    dcm_index *ix = NULL;
    if (p->state == DCM_PART10_PREAMBLE) code = read_preamble(p, b, offset, length, mode);
    if (!code && p->state == DCM_PART10_META) {
        ix = &p->meta;
        code = dcm_index_run(ix, b, err);
        if (!code) {
            ix = NULL;
            code = end_meta(p, b, offset, length, mode);
        }
    }
    if (!code && p->state == DCM_PART10_ENCODING) {
        ix = NULL;
        code = start_data(p, b, offset, length, mode);
    }
    if (!code && p->state == DCM_PART10_DATA) {
        ix = &p->data;
        code = dcm_index_run(ix, b, err);
        if (!code) p->state = DCM_PART10_DONE;
    }
    if (code == DCM_NEED && ix) {
        *offset = ix->need_offset;
        *length = ix->need_length;
        *mode = (dcm_read_mode)ix->need_mode;
    }
    if (code && code != DCM_NEED && !ix) dcm_fail(err, code, 0, 0);
    return code;
}

/* The files of an archive have headers of similar size, so the size of the first
 * read follows them: a longer header costs a second read and doubles it, a header
 * that fills less than a quarter halves it. */
#define FIRST_MIN  ((uint64_t)4096)
#define FIRST_MAX  ((uint64_t)65536)
#define AFTER_SKIP 512u /* read after a large value that was skipped */

int dcm_part10_read(dcm_part10 *p, dcm_bytes *b, const dcm_file *f, dcm_error *err) {
    uint64_t offset = 0, length = 0, ahead;
    dcm_read_mode mode = DCM_READ_KEEP;
    int code;
    if (p->first_read < FIRST_MIN) p->first_read = FIRST_MIN * 2;
    if (p->total && !b->n_segments) {
        length = p->total < p->first_read ? p->total : p->first_read;
        code = dcm_file_fill(f, b, 0, length, 0, DCM_READ_KEEP, err);
        if (code) return code;
    }
    const uint64_t first = length;
    while ((code = dcm_part10_run(p, b, &offset, &length, &mode, err)) == DCM_NEED) {
        /* after a large value that was skipped there is little header left */
        int skipped = offset > first + FIRST_MAX && mode == DCM_READ_KEEP;
        ahead = skipped ? AFTER_SKIP : dcm_read_ahead(b, mode);
        code = dcm_file_fill(f, b, offset, length, ahead, mode, err);
        if (code) return code;
        if (offset <= first + FIRST_MIN && p->first_read == first && first < FIRST_MAX)
            p->first_read *= 2;
    }
    if (!code && p->first_read == first && first > FIRST_MIN * 2) {
        uint64_t i = p->data.count;
        while (i && p->data.rows[i - 1].offset > first) i--; /* after a skip */
        if (!i || p->data.rows[i - 1].offset < first / 4) p->first_read /= 2;
    }
    return code;
}
