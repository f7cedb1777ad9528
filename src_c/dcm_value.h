/* dcm_value.h: encodings (header.c), and text and numbers in values, read
 * (value.c, date.c) and written (encode.c). */
#ifndef DCM_VALUE_H
#define DCM_VALUE_H

#include <stdint.h>

/* The encoding of a data set, as a set of bits. */
enum { DCM_EXPLICIT_LE = 0, DCM_BIG = 1, DCM_IMPLICIT = 2 };

/* Determines an encoding from the first bytes of a data set: `stated` if it is
 * plausible, else the first other one that is, else -1. p holds n bytes of a data
 * set of `remaining` bytes. That many `headers` must be plausible: one where the
 * file says that it is DICOM, more where nothing else does. */
int dcm_encoding_guess(const uint8_t *p, uint64_t n, uint64_t remaining, int stated,
                       int headers);

/* ------------------------------------------------------------ value.c --- */
/* Independent of the locale. */

typedef struct dcm_span {
    const char *p;
    uint64_t n;
} dcm_span;

/* Removes trailing spaces and NULs. */
dcm_span dcm_trim_right(const char *p, uint64_t n);
/* Removes leading and trailing ASCII white space (as Python's str.strip) and
 * trailing NULs. */
dcm_span dcm_trim(const char *p, uint64_t n);
/* Moves the next component, up to a backslash, from *rest to *out; 0 if there is
 * none. Start with rest->p set; an empty value has one empty component. */
int dcm_next_component(dcm_span *rest, dcm_span *out);

/* Parses one decimal number like Python's float() (ASCII, no underscores),
 * correctly rounded. 1 if the complete span is a number, else 0. */
int dcm_parse_float(dcm_span s, double *out);
/* Parses one integer with optional sign and surrounding white space. 1, or 0 if it
 * is not an integer or does not fit in 64 bits. */
int dcm_parse_int(dcm_span s, int64_t *out);

/* One binary value of `unit` bytes; big: big endian. */
int64_t dcm_load_int(const uint8_t *p, int unit, int big);
uint64_t dcm_load_uint(const uint8_t *p, int unit, int big);
double dcm_load_float(const uint8_t *p, int unit, int big);

/* ------------------------------------------------------------- date.c --- */
/* 1 if the complete span, without surrounding spaces, is a date or time; else 0. Those
 * of ACR-NEMA, with points and colons, are accepted. Days and microseconds are counted
 * from 1970-01-01, a time from midnight. */

int dcm_parse_date(dcm_span s, int32_t *days);
int dcm_parse_time(dcm_span s, int64_t *microseconds);
/* The local time as written: a UTC offset is checked, and not applied. A date without
 * month or day is none. */
int dcm_parse_datetime(dcm_span s, int64_t *microseconds);

/* ----------------------------------------------------------- encode.c --- */

/* Store one binary value of `unit` bytes; a signed one as its two's complement. */
void dcm_store_uint(uint8_t *p, int unit, uint64_t value, int big);
void dcm_store_float(uint8_t *p, int unit, double value, int big);
/* Stores a tag in four bytes: group, then element. */
void dcm_store_tag(uint8_t *p, uint32_t tag, int big);

/* Writes the header of an element, an item or a delimiter, at most 12 bytes, and
 * returns its size. The VR is written as UN if it is unknown or ambiguous, or if
 * its short form has no space for the length (PS3.5 6.2.2). */
int dcm_put_header(uint8_t *p, uint32_t tag, int vr, uint32_t length, int encoding);

#endif
