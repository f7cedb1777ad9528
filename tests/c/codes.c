/* codes.c: the errors that no file brings about by itself, one a line.
 *
 *     codes PATH-OF-NO-FOLDER
 */
#include "check.h"

static void tell(const dcm_error *e, int code) {
    CHECK(e->code == code);
    printf("%s offset=%llu errno=%d tag=%08x\n", dcm_code_name(code),
           (unsigned long long)e->offset, e->sys, (unsigned)e->tag);
}

int main(int argc, char **argv) {
    dcm_error err = {0};
    CHECK(argc == 2);

    dcm_file closed = {.handle = -1, .size = 100};
    uint8_t byte;
    tell(&err, dcm_file_read(&closed, 7, 1, &byte, &err));

    /* two sequences of undefined length; there is room for one row */
    static const uint8_t two[] = "\x08\0\x40\x11SQ\0\0\xFF\xFF\xFF\xFF\xFE\xFF\xDD\xE0\0\0\0\0"
                                 "\x09\0\x40\x11SQ\0\0\xFF\xFF\xFF\xFF\xFE\xFF\xDD\xE0\0\0\0\0";
    dcm_bytes b = {0};
    dcm_index ix = {0};
    CHECK(!dcm_bytes_borrow(&b, two, sizeof two - 1));
    dcm_index_start(&ix, 0, sizeof two - 1, DCM_EXPLICIT_LE, 0x0008FFFF, 0);
    CHECK(!dcm_index_run(&ix, &b, &err) && ix.count == 1 && ix.pos == 20);
    ix.stop = UINT32_MAX; /* goes on, its table as full as one can be */
    ix.done = 0;
    ix.count = UINT32_MAX - 1;
    tell(&err, dcm_index_run(&ix, &b, &err));
    dcm_index_free(&ix);
    dcm_bytes_free(&b);

    dcm_walk w = {0};
    int code = dcm_walk_start(&w, argv[1], 1, &err);
    tell(&err, code ? code : dcm_walk_next(&w, &err));
    dcm_walk_free(&w);

    dcm_bytes all = {0}; /* more than any memory */
    uint8_t *room;
    dcm_bytes_reset(&all, UINT64_MAX);
    tell(&err, dcm_fail(&err, dcm_bytes_room(&all, UINT64_MAX, &room), 0, 0));
    dcm_bytes_free(&all);
    return 0;
}
