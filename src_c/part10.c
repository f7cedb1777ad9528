/* part10.c: preamble, file meta information and data set (PS3.10 7), and what
 * is found instead of them: files without a preamble, without group 0002, with
 * group 0002 in the wrong encoding, with a transfer syntax that lies, and the
 * bare streams of ACR-NEMA 1.0 and 2.0. */
#include "header.h"

#include <string.h>

enum { AT_START, AT_META, AT_DATA, AT_ROWS, AT_DONE };

#define META_FIRST  0x00020000u
#define META_LAST   0x0002FFFFu
#define GUESS       512u  /* bytes that an encoding is told by, however many are there */
#define LONGEST_UID 4096u /* with any padding */

void dcm_part10_start(dcm_part10 *p, uint64_t total, uint32_t stop, int force) {
    p->state = AT_START;
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

/* The encoding a transfer syntax states, -1 when it is none we know
 * (PS3.5 A; 1.2.840.113619.5.2 is GE's: only its pixels are big endian). */
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
    /* All the others are explicit VR little endian. */
    return strncmp(uid, "1.2.840.10008.1.2.", 18) ? -1 : DCM_EXPLICIT_LE;
}

static int ask(uint64_t at, uint64_t n, uint64_t *offset, uint64_t *length, int *transient) {
    *offset = at;
    *length = n;
    *transient = 0;
    return DCM_NEED;
}

static int start(dcm_part10 *p, const dcm_bytes *b, uint64_t *offset, uint64_t *length,
                 int *transient) {
    const uint8_t *q = NULL;
    uint64_t n = dcm_bytes_run(b, 0, &q), least = p->total < GUESS ? p->total : GUESS;
    if (!p->total) return DCM_E_EMPTY;
    if (n < least) return ask(0, least, offset, length, transient);
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
    dcm_index_start(&p->meta, at, p->total, DCM_EXPLICIT_LE, META_LAST, 0);
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
    p->state = AT_META;
    return code;
}

/* After group 0002: which transfer syntax, and where the data set begins. */
static int meta_read(dcm_part10 *p, const dcm_bytes *b, uint64_t *offset, uint64_t *length,
                     int *transient) {
    dcm_index *m = &p->meta;
    const dcm_row *row = dcm_index_find(m, 0x00020010);
    const uint8_t *q = NULL;
    int code = DCM_OK;
    if (row && (!row->length || row->length > LONGEST_UID)) row = NULL;
    if (row && !dcm_bytes_at(b, row->offset, row->length)) /* jumped over */
        return ask(row->offset, row->length, offset, length, transient);
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
    p->state = AT_DATA;
    return code;
}

/* Labelled or not, the data set's first header tells how it is encoded. */
static int data_start(dcm_part10 *p, const dcm_bytes *b, uint64_t *offset, uint64_t *length,
                      int *transient) {
    uint64_t left = p->total - p->data_begin;
    int deflated, stated = stated_encoding(p->transfer_syntax, &deflated);
    const int known = stated >= 0, labelled = deflated;
    int found = -1, code = DCM_OK;
    if (!known) stated = DCM_EXPLICIT_LE;
    if (left >= 8) {
        const uint8_t *q = NULL;
        uint64_t n = dcm_bytes_run(b, p->data_begin, &q), least = deflated ? GUESS : 12;
        if (left < least) least = left;
        if (n < least) return ask(p->data_begin, least, offset, length, transient);
        n = least;
        /* A deflate stream could look like a header by chance, not like three.
         * A command set (group 0000) is implicit VR in every data set
         * (PS3.7 6.3): its headers are told one by one. */
        found = dcm_encoding_guess(q, n, left, stated, deflated ? 3 : 1);
        if (found >= 0) deflated = 0;
        if (found >= 0 && !dcm_u16(q, 0)) found = stated;
    }
    int encoding = found >= 0 ? found : stated;
    if (!known && p->transfer_syntax[0])
        code =
            dcm_index_issue(&p->meta, DCM_I_UNKNOWN_TRANSFER_SYNTAX, p->meta.begin, 0x00020010);
    int lies = known && left && (encoding != stated || deflated != labelled);
    if (!code && lies) code = dcm_index_issue(&p->meta, DCM_I_ENCODING, p->data_begin, 0);
    p->encoding = (uint8_t)encoding;
    p->deflated = (uint8_t)(deflated && left);
    dcm_index_start(&p->data, p->data_begin, p->total, encoding, p->stop, 0);
    p->state = p->deflated ? AT_DONE : AT_ROWS;
    return code;
}

int dcm_part10_run(dcm_part10 *p, const dcm_bytes *b, uint64_t *offset, uint64_t *length,
                   int *transient, dcm_error *err) {
    int code = DCM_OK;
    dcm_index *ix = NULL;
    if (p->state == AT_START) code = start(p, b, offset, length, transient);
    if (!code && p->state == AT_META) {
        ix = &p->meta;
        code = dcm_index_run(ix, b, err);
        if (!code) {
            ix = NULL;
            code = meta_read(p, b, offset, length, transient);
        }
    }
    if (!code && p->state == AT_DATA) {
        ix = NULL;
        code = data_start(p, b, offset, length, transient);
    }
    if (!code && p->state == AT_ROWS) {
        ix = &p->data;
        code = dcm_index_run(ix, b, err);
        if (!code) p->state = AT_DONE;
    }
    if (code == DCM_NEED && ix) {
        *offset = ix->need_offset;
        *length = ix->need_length;
        *transient = ix->need_transient;
    }
    if (code > DCM_NEED && !ix) dcm_fail(err, code, 0, 0);
    return code;
}

/* Headers are alike within an archive, so the first read is sized to those
 * seen last: one that is longer costs a second read and doubles it, one that
 * fills less than a quarter halves it. */
#define FIRST_LEAST 4096u
#define FIRST_MOST  65536u
#define BEHIND_JUMP 512u

int dcm_part10_read(dcm_part10 *p, dcm_bytes *b, const dcm_file *f, dcm_error *err) {
    uint64_t offset = 0, length = 0, ahead;
    int transient = 0, code;
    if (p->first_read < FIRST_LEAST) p->first_read = FIRST_LEAST * 2;
    if (p->total && !b->n_segments) {
        length = p->total < p->first_read ? p->total : p->first_read;
        code = dcm_file_fill(f, b, 0, length, 0, 0, err);
        if (code) return code;
    }
    const uint64_t first = length;
    while ((code = dcm_part10_run(p, b, &offset, &length, &transient, err)) == DCM_NEED) {
        /* behind a jump over a large value there is little header left */
        int jump = offset > first + FIRST_MOST && !transient;
        ahead = jump ? BEHIND_JUMP : dcm_read_ahead(b, transient);
        code = dcm_file_fill(f, b, offset, length, ahead, transient, err);
        if (code) return code;
        if (offset <= first + FIRST_LEAST && p->first_read == first && first < FIRST_MOST)
            p->first_read *= 2;
    }
    if (!code && p->first_read == first && first > FIRST_LEAST * 2) {
        uint64_t i = p->data.count;
        while (i && p->data.rows[i - 1].offset > first) i--; /* behind a jump */
        if (!i || p->data.rows[i - 1].offset < first / 4) p->first_read /= 2;
    }
    return code;
}
