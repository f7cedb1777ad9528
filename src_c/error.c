/* error.c: the name and the text of each code. */
#include "dcm_base.h"

#include <string.h>

typedef struct code_row {
    const char *name; /* NULL: not a code */
    const char *text;
} code_row;

#define R(code) [DCM_##code]
#define E(code) [DCM_E_##code]
#define I(code) [DCM_I_##code]

/* Indexed by code. */
static const code_row rows[] = {
    R(OK) = {"ok", "no error"},
    R(NEED) = {"need", "more bytes are needed"},
    R(NOT_FOUND) = {"not-found", "it does not exist"},
    R(END) = {"end", "there are no more entries"},
    R(WAITING) = {"waiting", "the row is not complete yet"},

    E(MEMORY) = {"memory", "there is not enough memory"},
    E(OPEN) = {"open", "the file cannot be opened"},
    E(READ) = {"read", "the file cannot be read"},
    E(NOT_REGULAR) = {"not-regular",
                      "the path is a directory, pipe, socket or device, not a file"},
    E(EMPTY) = {"empty", "the file is empty"},
    E(NOT_DICOM) = {"not-dicom", "this is neither a DICOM file nor a plausible DICOM data set"},
    E(CHANGED) = {"changed", "the file changed while it was in use"},
    E(DEPTH) = {"depth", "sequences are nested deeper than the limit"},
    E(TOO_LARGE) = {"too-large", "the data set has more elements than an index can hold"},
    E(DEFLATE) = {"deflate", "the deflated data set is damaged"},
    E(INFLATE_LIMIT) = {"inflate-limit",
                        "the deflated data set expands more than the limit allows"},
    E(WALK) = {"walk", "the directory cannot be listed"},
    E(RLE_HEADER) = {"rle-header",
                     "the RLE frame has no complete header, or invalid segment offsets"},
    E(RLE_COUNT) = {"rle-count",
                    "the RLE frame does not have one segment for each byte of each sample"},
    E(RLE_SEGMENT) = {"rle-segment", "an RLE segment is truncated"},
    E(WINDOW) = {"window", "the window center or width is invalid for the VOI LUT function"},
    E(FRAME_SHORT) = {"frame-short", "the file ends inside the frame"},
    E(FRAME_FIT) = {"frame-fit",
                    "the shape or data type of the frame does not match the output array"},
    E(FRAMES) = {"frames", "the fragments of the pixel data cannot be assigned to frames"},
    E(WAVEFORM) = {"waveform", "the waveform is incomplete or not valid"},
    E(ARCHIVE) = {"archive", "the archive is damaged or its format is not supported"},
    E(ARCHIVE_LIMIT) = {"archive-limit",
                        "the archive exceeds the limits on members or unpacked bytes"},
    E(STREAM) = {"stream", "the archive or server did not return the requested data"},

    I(NO_PREAMBLE) = {"no-preamble",
                      "the preamble of 128 bytes and the prefix DICM are missing"},
    I(NO_META) = {"no-meta", "the file meta information is missing"},
    I(META_ENCODING) = {"meta-encoding",
                        "the file meta information is not in explicit VR little endian"},
    I(META_LENGTH) = {"meta-length", "(0002,0000) does not match the length of its group"},
    I(NO_TRANSFER_SYNTAX) = {"no-transfer-syntax",
                             "the transfer syntax is missing: the encoding was guessed"},
    I(UNKNOWN_TRANSFER_SYNTAX) = {"unknown-transfer-syntax",
                                  "the transfer syntax is unknown: the encoding was guessed"},
    I(ENCODING) = {"encoding", "the data set is not encoded as its transfer syntax states"},
    I(TRUNCATED_HEADER) = {"truncated-header", "the data ends inside an element header"},
    I(TRUNCATED_VALUE) = {"truncated-value",
                          "the value runs past the end of its data set and was truncated"},
    I(UNCLOSED) = {"unclosed", "the delimiter of an undefined length is missing"},
    I(UNKNOWN_VR) = {"unknown-vr", "the VR is not defined in the Standard"},
    I(IMPLICIT_ELEMENT) = {"implicit-element",
                           "the element is in implicit VR, but the data set in explicit VR"},
    I(OUT_OF_ORDER) = {"out-of-order", "the tags are not in ascending order"},
    I(DUPLICATE) = {"duplicate", "the tag occurs more than once: the last element is used"},
    I(STRAY_DELIMITER) = {"stray-delimiter",
                          "an item or delimiter occurs outside of a sequence"},
    I(NOT_AN_ITEM) = {"not-an-item",
                      "the sequence contains something other than items and was ended there"},
    I(ITEM_LENGTH) = {"item-length",
                      "the item runs past the end of its sequence and was truncated"},
    I(FRAGMENTS) =
        {"fragments",
         "the lengths of the fragments are wrong: the next item or delimiter was searched for"},
    I(PADDING) = {"padding", "zero bytes are no element, and were ignored"},
    I(VALUE_LENGTH) = {"value-length",
                       "the length does not fit the VR: the value is given as bytes"},
    I(BAD_NUMBER) = {"bad-number", "the text is not a number as its VR requires"},
    I(BAD_DATE) = {"bad-date", "the text is not a date or time as its VR requires"},
    I(CHARSET) = {"charset", "the Specific Character Set is not defined in the Standard"},
    I(TEXT) = {"text", "the text has bytes that are invalid in its character set"},
    I(CODESTREAM_END) =
        {"codestream-end",
         "a compressed frame has no end marker: it was decoded as far as possible"},
    I(CODESTREAM_KIND) = {"codestream-kind",
                          "a frame is not of the kind that the transfer syntax states, but was "
                          "decoded"},
    I(PHOTOMETRIC) =
        {"photometric",
         "the pixel data has other colors than Photometric Interpretation states, and "
         "decides"},
    I(PIXEL_LENGTH) =
        {"pixel-length",
         "the pixel data is longer than its attributes require: the rest was ignored"},
    I(OFFSET_TABLE) =
        {"offset-table",
         "the table of frame offsets is missing or wrong: it was repaired or not used"},
    I(FRAME_COUNT) = {"frame-count",
                      "the number of frames found differs from Number of Frames"},
    I(ENCAPSULATION) = {"encapsulation",
                        "the transfer syntax states fragments, or none: read as it is stored"},
    I(IMAGE_VALUE) = {"image-value",
                      "the value is not possible for an image: a default was used"},
    I(LUT) = {"lut", "the lookup table does not fit its descriptor, or cannot be used"},
    I(OVERLAY) = {"overlay",
                  "the overlay is short or damaged: missing bits are 0, or it was left out"},
    I(MORE) = {"more", "there are more issues than are stored"},
    I(UNFIT) = {"unfit", "the value does not fit its column and was replaced by null"},
};

enum { COUNT = sizeof rows / sizeof *rows };

static const code_row *row_of(int code) {
    static const code_row unknown = {"unknown", "an unknown code"};
    return code >= 0 && code < COUNT && rows[code].name ? rows + code : &unknown;
}

const char *dcm_code_name(int code) {
    return row_of(code)->name;
}

const char *dcm_code_text(int code) {
    return row_of(code)->text;
}

int dcm_code_from_name(const char *name) {
    for (int code = 0; code < COUNT; code++)
        if (rows[code].name && !strcmp(rows[code].name, name)) return code;
    return DCM_NOT_FOUND;
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
