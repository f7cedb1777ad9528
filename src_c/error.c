/* error.c: codes to constant text. */
#include "dcm.h"

typedef struct code_row {
    const char *name;
    const char *text;
} code_row;

static const code_row unknown = {"unknown", "an unknown code"};

static const code_row results[] = {
    {"ok", "no error"},
    {"need", "more bytes are needed"},
};

#define E(code) [DCM_E_##code - DCM_E_MEMORY]
static const code_row errors[DCM_E_LAST - DCM_E_MEMORY] = {
    E(MEMORY) = {"memory", "there is not enough memory"},
    E(OPEN) = {"open", "the file cannot be opened"},
    E(READ) = {"read", "the file cannot be read"},
    E(NOT_REGULAR) = {"not-regular", "this is a directory, pipe, socket or device, not a file"},
    E(EMPTY) = {"empty", "the file is empty"},
    E(NOT_DICOM) = {"not-dicom", "this is neither a DICOM file nor a plausible DICOM data set"},
    E(CHANGED) = {"changed", "the file changed while it was in use"},
    E(DEPTH) = {"depth", "sequences are nested deeper than the limit"},
    E(TOO_LARGE) = {"too-large", "the data set has more elements than an index can hold"},
    E(DEFLATE) = {"deflate", "the deflated data set is damaged"},
    E(INFLATE_LIMIT) = {"inflate-limit",
                        "the deflated data set grows beyond every honest ratio"},
    E(WALK) = {"walk", "the directory cannot be listed"},
    E(RLE_HEADER) = {"rle-header",
                     "the RLE frame has no whole header, or its offsets do not ascend in it"},
    E(RLE_COUNT) = {"rle-count",
                    "the RLE frame does not have a segment for each byte of each sample"},
    E(RLE_SEGMENT) = {"rle-segment", "an RLE segment ends before all its bytes are there"},
    E(WINDOW) = {"window", "the window has a center or width that its function does not allow"},
    E(FRAME_SHORT) = {"frame-short", "the file ends before the frame does"},
    E(FRAME_FIT) = {"frame-fit", "the frame's shape or type does not fit its slot"},
    E(FRAMES) = {"frames",
                 "the frames cannot be told apart in the fragments of the pixel data"},
    E(ARCHIVE) = {"archive", "the archive is damaged, or packed in a way that is not read"},
    E(ARCHIVE_LIMIT) = {"archive-limit",
                        "the archive holds more members or bytes than every honest one"},
    E(STREAM) = {"stream", "the archive or the server did not give what was asked for"},
};

#define I(code) [DCM_I_##code - DCM_I_NO_PREAMBLE]
static const code_row issues[DCM_I_LAST - DCM_I_NO_PREAMBLE] = {
    I(NO_PREAMBLE) = {"no-preamble",
                      "the 128 bytes of preamble and the prefix DICM are missing"},
    I(NO_META) = {"no-meta", "the file meta information is missing"},
    I(META_ENCODING) = {"meta-encoding",
                        "the file meta information is not in explicit VR little endian"},
    I(META_LENGTH) = {"meta-length", "(0002,0000) does not tell the length of its group"},
    I(NO_TRANSFER_SYNTAX) = {"no-transfer-syntax",
                             "the transfer syntax is missing: the encoding was guessed"},
    I(UNKNOWN_TRANSFER_SYNTAX) =
        {"unknown-transfer-syntax",
         "the transfer syntax is not a known one: the encoding was guessed"},
    I(ENCODING) = {"encoding", "the data set is not encoded as its transfer syntax says"},
    I(TRUNCATED_HEADER) = {"truncated-header", "the data ends inside an element header"},
    I(TRUNCATED_VALUE) = {"truncated-value",
                          "the value runs past the end of its data set and was cut"},
    I(UNCLOSED) = {"unclosed", "an undefined length is not closed by its delimiter"},
    I(UNKNOWN_VR) = {"unknown-vr", "the VR is none of the Standard's"},
    I(IMPLICIT_ELEMENT) = {"implicit-element",
                           "an implicit VR header stands among explicit ones"},
    I(OUT_OF_ORDER) = {"out-of-order", "the tags do not ascend"},
    I(DUPLICATE) = {"duplicate", "the tag stands more than once: the last one counts"},
    I(STRAY_DELIMITER) = {"stray-delimiter", "an item or delimiter stands where none belongs"},
    I(NOT_AN_ITEM) = {"not-an-item",
                      "the sequence holds something other than items and was ended there"},
    I(ITEM_LENGTH) = {"item-length", "the item runs past the end of its sequence and was cut"},
    I(FRAGMENTS) = {"fragments",
                    "the fragments' lengths are wrong: item or delimiter was searched for"},
    I(PADDING) = {"padding", "zero bytes follow the last element and were ignored"},
    I(VALUE_LENGTH) = {"value-length",
                       "the length is no multiple of what the VR asks: the value is bytes"},
    I(BAD_NUMBER) = {"bad-number", "the text is not a number as its VR asks"},
    I(CHARSET) = {"charset", "the Specific Character Set is not a defined one"},
    I(TEXT) = {"text", "the text does not fit its character set"},
    I(CODESTREAM_END) =
        {"codestream-end",
         "a compressed frame lacks its end marker: it was decoded as far as it goes"},
    I(PIXEL_LENGTH) =
        {"pixel-length",
         "the pixel data is longer than its attributes say: the rest was ignored"},
    I(OFFSET_TABLE) = {"offset-table",
                       "the table of frame offsets is missing or wrong: repaired or not used"},
    I(FRAME_COUNT) = {"frame-count",
                      "there are more frames, or fewer, than the data set tells"},
    I(MORE) = {"more", "there were more issues than are kept"},
};

static const code_row *row_of(int code) {
    if (code >= 0 && code <= DCM_NEED) return &results[code];
    if (code >= DCM_E_MEMORY && code < DCM_E_LAST) return &errors[code - DCM_E_MEMORY];
    if (code >= DCM_I_NO_PREAMBLE && code < DCM_I_LAST)
        return &issues[code - DCM_I_NO_PREAMBLE];
    return &unknown;
}

const char *dcm_code_name(int code) {
    return row_of(code)->name;
}

const char *dcm_code_text(int code) {
    return row_of(code)->text;
}

int dcm_fail(dcm_error *err, int code, uint64_t offset, uint32_t tag) {
    if (err) {
        err->code = code;
        err->sys = 0;
        err->offset = offset;
        err->tag = tag;
        err->depth = 0;
    }
    return code;
}
