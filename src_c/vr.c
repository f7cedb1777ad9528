/* vr.c: one row per value representation (PS3.5 6.2 and 7.1.2). */
#include "dcm_dictionary.h"

#include <string.h>

#define KIND(kind) DCM_KIND_##kind

const dcm_vr_row dcm_vr_rows[DCM_VR_COUNT] = {
    /*               name   kind             unit long charset pad */
    [DCM_VR_NONE] = {"NONE", KIND(NONE), 1, 0, 0, 0},
    [DCM_VR_AE] = {"AE", KIND(TEXT), 1, 0, 0, ' '},
    [DCM_VR_AS] = {"AS", KIND(TEXT), 1, 0, 0, ' '},
    [DCM_VR_AT] = {"AT", KIND(AT), 4, 0, 0, 0},
    [DCM_VR_CS] = {"CS", KIND(TEXT), 1, 0, 0, ' '},
    [DCM_VR_DA] = {"DA", KIND(TEXT), 1, 0, 0, ' '},
    [DCM_VR_DS] = {"DS", KIND(DS), 1, 0, 0, ' '},
    [DCM_VR_DT] = {"DT", KIND(TEXT), 1, 0, 0, ' '},
    [DCM_VR_FL] = {"FL", KIND(FLOAT), 4, 0, 0, 0},
    [DCM_VR_FD] = {"FD", KIND(FLOAT), 8, 0, 0, 0},
    [DCM_VR_IS] = {"IS", KIND(IS), 1, 0, 0, ' '},
    [DCM_VR_LO] = {"LO", KIND(STRING), 1, 0, 1, ' '},
    [DCM_VR_LT] = {"LT", KIND(PARAGRAPH), 1, 0, 1, ' '},
    [DCM_VR_OB] = {"OB", KIND(BYTES), 1, 1, 0, 0},
    [DCM_VR_OD] = {"OD", KIND(BYTES), 8, 1, 0, 0},
    [DCM_VR_OF] = {"OF", KIND(BYTES), 4, 1, 0, 0},
    [DCM_VR_OL] = {"OL", KIND(BYTES), 4, 1, 0, 0},
    [DCM_VR_OV] = {"OV", KIND(BYTES), 8, 1, 0, 0},
    [DCM_VR_OW] = {"OW", KIND(BYTES), 2, 1, 0, 0},
    [DCM_VR_PN] = {"PN", KIND(PN), 1, 0, 1, ' '},
    [DCM_VR_SH] = {"SH", KIND(STRING), 1, 0, 1, ' '},
    [DCM_VR_SL] = {"SL", KIND(INT), 4, 0, 0, 0},
    [DCM_VR_SQ] = {"SQ", KIND(SQ), 1, 1, 0, 0},
    [DCM_VR_SS] = {"SS", KIND(INT), 2, 0, 0, 0},
    [DCM_VR_ST] = {"ST", KIND(PARAGRAPH), 1, 0, 1, ' '},
    [DCM_VR_SV] = {"SV", KIND(INT), 8, 1, 0, 0},
    [DCM_VR_TM] = {"TM", KIND(TEXT), 1, 0, 0, ' '},
    [DCM_VR_UC] = {"UC", KIND(STRING), 1, 1, 1, ' '},
    [DCM_VR_UI] = {"UI", KIND(UI), 1, 0, 0, 0},
    [DCM_VR_UL] = {"UL", KIND(UINT), 4, 0, 0, 0},
    [DCM_VR_UN] = {"UN", KIND(BYTES), 1, 1, 0, 0},
    [DCM_VR_UR] = {"UR", KIND(PARAGRAPH), 1, 1, 0, ' '},
    [DCM_VR_US] = {"US", KIND(UINT), 2, 0, 0, 0},
    [DCM_VR_UT] = {"UT", KIND(PARAGRAPH), 1, 1, 1, ' '},
    [DCM_VR_UV] = {"UV", KIND(UINT), 8, 1, 0, 0},
    [DCM_VR_OB_OW] = {"OB or OW", KIND(BYTES), 1, 1, 0, 0},
    [DCM_VR_US_SS] = {"US or SS", KIND(BYTES), 2, 0, 0, 0},
    [DCM_VR_US_OW] = {"US or OW", KIND(BYTES), 2, 1, 0, 0},
    [DCM_VR_US_SS_OW] = {"US or SS or OW", KIND(BYTES), 2, 1, 0, 0},
};

#define AT(a, b, vr, header) \
    [(a & 31) << 5 | (b & 31)] = (uint32_t)(a | b << 8 | DCM_VR_##vr << 16 | header << 24)
#define SHORT(a, b, vr) AT(a, b, vr, 8)
#define LONG(a, b, vr)  AT(a, b, vr, 12)

const uint32_t dcm_vr_of_letters[1024] = {
    SHORT('A', 'E', AE), SHORT('A', 'S', AS), SHORT('A', 'T', AT), SHORT('C', 'S', CS),
    SHORT('D', 'A', DA), SHORT('D', 'S', DS), SHORT('D', 'T', DT), SHORT('F', 'L', FL),
    SHORT('F', 'D', FD), SHORT('I', 'S', IS), SHORT('L', 'O', LO), SHORT('L', 'T', LT),
    LONG('O', 'B', OB),  LONG('O', 'D', OD),  LONG('O', 'F', OF),  LONG('O', 'L', OL),
    LONG('O', 'V', OV),  LONG('O', 'W', OW),  SHORT('P', 'N', PN), SHORT('S', 'H', SH),
    SHORT('S', 'L', SL), LONG('S', 'Q', SQ),  SHORT('S', 'S', SS), SHORT('S', 'T', ST),
    LONG('S', 'V', SV),  SHORT('T', 'M', TM), LONG('U', 'C', UC),  SHORT('U', 'I', UI),
    SHORT('U', 'L', UL), LONG('U', 'N', UN),  LONG('U', 'R', UR),  SHORT('U', 'S', US),
    LONG('U', 'T', UT),  LONG('U', 'V', UV),
};

int dcm_vr_from_name(const char *name, size_t length) {
    for (int vr = DCM_VR_NONE + 1; vr < DCM_VR_COUNT; vr++) {
        const char *row_name = dcm_vr_rows[vr].name;
        if (strlen(row_name) == length && memcmp(row_name, name, length) == 0) return vr;
    }
    return DCM_VR_NONE;
}
