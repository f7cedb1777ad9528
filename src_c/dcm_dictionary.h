/* dcm_dictionary.h: value representations (vr.c) and the data dictionary (dict.c). */
#ifndef DCM_DICTIONARY_H
#define DCM_DICTIONARY_H

#include <stddef.h>
#include <stdint.h>

typedef enum dcm_vr {
    DCM_VR_NONE = 0, /* unknown */
    DCM_VR_AE,
    DCM_VR_AS,
    DCM_VR_AT,
    DCM_VR_CS,
    DCM_VR_DA,
    DCM_VR_DS,
    DCM_VR_DT,
    DCM_VR_FL,
    DCM_VR_FD,
    DCM_VR_IS,
    DCM_VR_LO,
    DCM_VR_LT,
    DCM_VR_OB,
    DCM_VR_OD,
    DCM_VR_OF,
    DCM_VR_OL,
    DCM_VR_OV,
    DCM_VR_OW,
    DCM_VR_PN,
    DCM_VR_SH,
    DCM_VR_SL,
    DCM_VR_SQ,
    DCM_VR_SS,
    DCM_VR_ST,
    DCM_VR_SV,
    DCM_VR_TM,
    DCM_VR_UC,
    DCM_VR_UI,
    DCM_VR_UL,
    DCM_VR_UN,
    DCM_VR_UR,
    DCM_VR_US,
    DCM_VR_UT,
    DCM_VR_UV,
    /* Only in the dictionary of PS3.6: other elements determine which VR applies. */
    DCM_VR_OB_OW,
    DCM_VR_US_SS,
    DCM_VR_US_OW,
    DCM_VR_US_SS_OW,
    DCM_VR_COUNT
} dcm_vr;
/* How the value of a VR is decoded. */
typedef enum dcm_kind {
    DCM_KIND_NONE = 0,
    DCM_KIND_TEXT,      /* text in the default repertoire, split at backslashes */
    DCM_KIND_STRING,    /* text in the Specific Character Set, split at backslashes */
    DCM_KIND_PARAGRAPH, /* text that is never split: LT ST UT, and UR without charset */
    DCM_KIND_PN,
    DCM_KIND_UI,
    DCM_KIND_IS,
    DCM_KIND_DS,
    DCM_KIND_INT,   /* signed binary integers of `unit` bytes */
    DCM_KIND_UINT,  /* unsigned binary integers of `unit` bytes */
    DCM_KIND_FLOAT, /* IEEE 754 numbers of `unit` bytes */
    DCM_KIND_AT,
    DCM_KIND_BYTES, /* bytes, in words of `unit` bytes */
    DCM_KIND_SQ
} dcm_kind;

/* One row per VR (PS3.5 6.2 and 7.1.2). */
typedef struct dcm_vr_row {
    char name[16];     /* "PN", "US or SS" */
    uint8_t kind;      /* dcm_kind */
    uint8_t unit;      /* bytes per value or word; 1 for text */
    uint8_t long_form; /* 1: explicit VR header of 12 bytes with a 32-bit length */
    uint8_t charset;   /* 1: Specific Character Set applies */
    char pad;          /* pads a value to even length: ' ' or 0 */
} dcm_vr_row;

extern const dcm_vr_row dcm_vr_rows[DCM_VR_COUNT];

/* Indexed by the lowest five bits of the first letter, then of the second. An
 * entry holds, from the lowest byte: both letters, the dcm_vr, the header size. */
extern const uint32_t dcm_vr_of_letters[1024];

/* The dcm_vr of a two-letter name or of a dictionary name ("US or SS"), or
 * DCM_VR_NONE. */
int dcm_vr_from_name(const char *name, size_t length);

/* ------------------------------------------------------------- dict.c --- */

typedef struct dcm_dict_row {
    uint32_t tag;
    const char *keyword; /* "" for the few elements without one */
    const char *name;
    const char *vm; /* "1", "1-n", "3" ... */
    uint8_t vr;     /* dcm_vr */
    uint8_t retired;
} dcm_dict_row;

/* Fills *out with the row of a public tag: DCM_OK or DCM_NOT_FOUND. Repeating
 * groups (50xx, 60xx, ...) are found. */
int dcm_dict_find(uint32_t tag, dcm_dict_row *out);

/* The VR alone, for the loops that need it for every element; DCM_VR_NONE for a
 * tag that is not in PS3.6. (gggg,0000) is UL; a private creator element (odd
 * group, 0010-00FF) is LO. */
uint8_t dcm_dict_vr(uint32_t tag);

/* The tag of a keyword, or 0 ((0000,0000) is always computed, never looked up). */
uint32_t dcm_dict_tag(const char *keyword, size_t length);

/* The number of public rows, and the i-th in ascending order of tags. */
uint32_t dcm_dict_count(void);
void dcm_dict_at(uint32_t i, dcm_dict_row *out);

/* Fills *out with the row of a private tag by its private creator: DCM_OK or
 * DCM_NOT_FOUND. The keyword is "". */
int dcm_dict_private(uint32_t tag, const char *creator, size_t length, dcm_dict_row *out);

#endif
