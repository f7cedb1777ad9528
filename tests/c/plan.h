/* plan.h: a plan with every kind of column. */
#ifndef PLAN_H
#define PLAN_H

#include "dcm.h"

/* Levels: 0 file meta, 1 data set, 2 items of (0008,1140), all of them in a
 * list, 3 the first item of (0040,A170) in those. */
static const dcm_want wants[] = {
    /* tag, creator, length, column, level, item, vr, unsigned first */
    {0x00020010, 0, 0, 4, 0, 0, DCM_VR_UI, 0},
    {0x00080008, 0, 0, 5, 0, 0, DCM_VR_CS, 0},
    {0x00081140, 0, 0, -1, 2, 0, DCM_VR_SQ, 0},
    {0x00100010, 0, 0, 6, 0, 0, DCM_VR_PN, 0},
    {0x00104000, 0, 0, 7, 0, 0, DCM_VR_LT, 0},
    {0x00200013, 0, 0, 8, 0, 0, DCM_VR_IS, 0},
    {0x00280010, 0, 0, 9, 0, 0, DCM_VR_US, 0},
    {0x00280030, 0, 0, 10, 0, 0, DCM_VR_DS, 0},
    {0x00280106, 0, 0, 11, 0, 0, DCM_VR_US_SS, 0},
    {0x00283002, 0, 0, 12, 0, 0, DCM_VR_US_SS, 1},
    {0x00420011, 0, 0, 13, 0, 0, DCM_VR_OB, 0},
    {0x00090001, 0, 8, 14, 0, 0, DCM_VR_NONE, 0}, /* of the creator "FASTDCM1" */
    {0x00081155, 0, 0, 15, 0, 0, DCM_VR_UI, 0},
    {0x0040A170, 0, 0, -1, 3, 1, DCM_VR_SQ, 0},
    {0x00080100, 0, 0, 16, 0, 0, DCM_VR_SH, 0},
};

static const dcm_level levels[] = {
    {0, 1, 0, 0x00020010, 0},
    {1, 10, 1, 0x00420011, 1},
    {12, 2, 0, 0x0040A170, 1},
    {14, 1, 0, 0x00080100, 1},
};

#define COLUMN(type, lists, many) {DCM_COLUMN_##type, lists, many, {{0}}, 0, 0, 0}

static const dcm_column column_types[] = {
    COLUMN(TEXT, 0, 0), COLUMN(INT, 0, 0),   COLUMN(INT, 0, 0),   COLUMN(TEXT, 0, 0),
    COLUMN(TEXT, 0, 0), COLUMN(TEXT, 1, 1),  COLUMN(TEXT, 0, 0),  COLUMN(TEXT, 0, 0),
    COLUMN(INT, 0, 0),  COLUMN(UINT, 0, 0),  COLUMN(FLOAT, 1, 1), COLUMN(INT, 0, 0),
    COLUMN(INT, 1, 1),  COLUMN(BYTES, 0, 0), COLUMN(TEXT, 0, 0),  COLUMN(TEXT, 1, 0),
    COLUMN(TEXT, 1, 0), COLUMN(INT, 0, 0),   COLUMN(INT, 0, 0),   COLUMN(INT, 0, 0),
    COLUMN(INT, 0, 0),  COLUMN(INT, 1, 1),
};

static const dcm_plan plan = {
    wants,
    levels,
    "FASTDCM1",
    column_types,
    sizeof column_types / sizeof *column_types,
    DCM_PIXELS_OFFSETS,
    0,
};

#endif
