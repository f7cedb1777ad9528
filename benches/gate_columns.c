/* gate_columns.c: reads 16 tags of one file, many times, into rows of columns.
 *
 *     gate_columns FILE ROUNDS
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dcm.h"

static const struct {
    uint32_t tag;
    uint8_t vr, type;
} wanted[] = {
    {0x00080018, DCM_VR_UI, DCM_COLUMN_TEXT}, {0x00080020, DCM_VR_DA, DCM_COLUMN_TEXT},
    {0x00080030, DCM_VR_TM, DCM_COLUMN_TEXT}, {0x00080060, DCM_VR_CS, DCM_COLUMN_TEXT},
    {0x00081030, DCM_VR_LO, DCM_COLUMN_TEXT}, {0x0008103E, DCM_VR_LO, DCM_COLUMN_TEXT},
    {0x00100010, DCM_VR_PN, DCM_COLUMN_TEXT}, {0x00100020, DCM_VR_LO, DCM_COLUMN_TEXT},
    {0x00100030, DCM_VR_DA, DCM_COLUMN_TEXT}, {0x00100040, DCM_VR_CS, DCM_COLUMN_TEXT},
    {0x0020000D, DCM_VR_UI, DCM_COLUMN_TEXT}, {0x0020000E, DCM_VR_UI, DCM_COLUMN_TEXT},
    {0x00200011, DCM_VR_IS, DCM_COLUMN_INT},  {0x00200013, DCM_VR_IS, DCM_COLUMN_INT},
    {0x00280010, DCM_VR_US, DCM_COLUMN_INT},  {0x00280011, DCM_VR_US, DCM_COLUMN_INT},
};
enum { WANTED = sizeof wanted / sizeof *wanted, FIXED = 4 };

/* The function whose instructions gate.py counts. */
__attribute__((noinline)) int gate(const dcm_plan *plan, const char *path, int rounds);

int gate(const dcm_plan *plan, const char *path, int rounds) {
    dcm_columns columns = {0};
    dcm_reader *reader = calloc(1, sizeof *reader);
    dcm_span name = {path, strlen(path)};
    int rows = -1;
    if (!reader || dcm_columns_init(&columns, plan)) return -1;
    while (rounds--)
        if (dcm_columns_file(&columns, plan, reader, name, name, NULL)) return -1;
    if (columns.n_errors == 0) rows = (int)columns.rows;
    dcm_columns_free(&columns);
    dcm_reader_free(reader);
    free(reader);
    return rows;
}

int main(int argc, char **argv) {
    dcm_want wants[WANTED] = {{0}};
    dcm_column columns[FIXED + WANTED] = {{0}};
    dcm_level levels[2] = {{0, 0, 0, 0, 0}, {0, WANTED, 0, wanted[WANTED - 1].tag, 1}};
    dcm_plan plan = {0};
    if (argc != 3) return 2;
    columns[0].type = columns[3].type = DCM_COLUMN_TEXT;
    columns[1].type = columns[2].type = DCM_COLUMN_INT;
    for (int i = 0; i < WANTED; i++) {
        wants[i].tag = wanted[i].tag;
        wants[i].vr = wanted[i].vr;
        wants[i].column = FIXED + i;
        columns[FIXED + i].type = wanted[i].type;
    }
    plan.wants = wants;
    plan.levels = levels;
    plan.text = "";
    plan.columns = columns;
    plan.n_columns = FIXED + WANTED;
    printf("%d rows\n", gate(&plan, argv[1], atoi(argv[2])));
    return 0;
}
