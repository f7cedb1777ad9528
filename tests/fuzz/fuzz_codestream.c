/* fuzz_codestream.c: reads any bytes as the header of a compressed frame.
 *
 * The same bytes give the same result, bytes after them are not read (ASan), and
 * the result is valid for a frame; a shorter piece has no header or the same one,
 * except that its end marker may be missing. */
#include "replay.h"

static int read_piece(const uint8_t *data, size_t size, dcm_codestream *out) {
    uint8_t *piece = malloc(size ? size : 1);
    int code;
    CHECK(piece);
    memcpy(piece, data, size);
    code = dcm_codestream_read(piece, size, out);
    CHECK(code == DCM_OK || code == DCM_NOT_FOUND);
    free(piece);
    return code;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    dcm_codestream a, b;
    int code;
    if (!size) return 0;
    code = read_piece(data, size, &a);
    CHECK(read_piece(data, size, &b) == code && !memcmp(&a, &b, sizeof(a)));
    if (code == DCM_OK) {
        CHECK(a.kind >= DCM_CODESTREAM_JPEG && a.kind <= DCM_CODESTREAM_JPEGXL);
        CHECK(a.components <= 65535 && a.planar <= 1 && a.complete <= 1);
        if (a.kind == DCM_CODESTREAM_JPEG2000)
            CHECK(a.rows && a.columns && a.components && a.precision && a.min_length >= 14);
    }
    for (size_t shorter = size - 1; shorter > 3; shorter /= 2) {
        if (code != DCM_OK || read_piece(data, shorter, &b) != DCM_OK) continue;
        CHECK(a.kind == b.kind && a.rows == b.rows && a.columns == b.columns &&
              a.components == b.components && a.precision == b.precision &&
              a.min_length == b.min_length);
        CHECK(a.complete >= b.complete);
    }
    return 0;
}
