/* check.h: CHECK(condition) prints where the condition is false, and aborts. */
#ifndef CHECK_H
#define CHECK_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dcm.h"

#define CHECK(condition)                                                    \
    do {                                                                    \
        if (!(condition)) {                                                 \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition); \
            abort();                                                        \
        }                                                                   \
    } while (0)

static inline int is_issue(uint32_t code) {
    return code >= DCM_I_NO_PREAMBLE && strcmp(dcm_code_name((int)code), "unknown") != 0;
}

#endif
