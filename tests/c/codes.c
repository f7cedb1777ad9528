/* codes.c: prints the errors that no input file can cause, one per line.
 *
 *     codes PATH-OF-NO-DIRECTORY
 */
#include "check.h"

static void print_error(const dcm_error *e, int code) {
    CHECK(e->code == code);
    printf("%s offset=%llu errno=%d tag=%08x\n", dcm_code_name(code),
           (unsigned long long)e->offset, e->sys, (unsigned)e->tag);
}

int main(int argc, char **argv) {
    dcm_error err = {0};
    CHECK(argc == 2);

    dcm_file closed = {.handle = -1, .size = 100};
    uint8_t byte;
    print_error(&err, dcm_file_read(&closed, 7, 1, &byte, &err));

    /* two sequences of undefined length; the table has space for one more row */
    static const uint8_t two[] = "\x08\0\x40\x11SQ\0\0\xFF\xFF\xFF\xFF\xFE\xFF\xDD\xE0\0\0\0\0"
                                 "\x09\0\x40\x11SQ\0\0\xFF\xFF\xFF\xFF\xFE\xFF\xDD\xE0\0\0\0\0";
    dcm_bytes b = {0};
    dcm_index ix = {0};
    CHECK(!dcm_bytes_borrow(&b, two, sizeof two - 1));
    dcm_index_start(&ix, 0, sizeof two - 1, DCM_EXPLICIT_LE, 0x0008FFFF, DCM_ONE_LEVEL);
    CHECK(!dcm_index_run(&ix, &b, &err) && ix.count == 1 && ix.pos == 20);
    ix.stop = UINT32_MAX; /* continue, with a full table */
    ix.state = DCM_INDEX_PARTIAL;
    ix.count = UINT32_MAX - 1;
    print_error(&err, dcm_index_run(&ix, &b, &err));
    dcm_index_free(&ix);
    dcm_bytes_free(&b);

    dcm_walk w = {0};
    int code = dcm_walk_start(&w, argv[1], 1, &err);
    print_error(&err, code ? code : dcm_walk_next(&w, &err));
    dcm_walk_free(&w);

    dcm_bytes all = {0}; /* more than any machine has */
    uint8_t *space;
    dcm_bytes_reset(&all, UINT64_MAX);
    print_error(&err, dcm_fail(&err, dcm_bytes_reserve(&all, UINT64_MAX, &space), 0, 0));
    dcm_bytes_free(&all);
    return 0;
}
