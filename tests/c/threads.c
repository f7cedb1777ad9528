/* threads.c: shares between threads what dcm.h allows to be shared.
 *
 *     threads FILE
 *
 * Built with ThreadSanitizer by test_c.py. Each thread has its own index, bytes,
 * reader and columns; all share one file, one plan and the bytes that are only
 * read.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dcm.h"

enum { THREADS = 4, ROUNDS = 200, FIXED = 4 };

static dcm_file file;
static dcm_bytes shared;
static dcm_plan plan;
static const char *path;

static void must(int good, const char *what) {
    if (!good) {
        fprintf(stderr, "%s\n", what);
        exit(1);
    }
}

static void *worker(void *result) {
    dcm_part10 from_memory = {0}, from_file = {0};
    dcm_bytes bytes = {0};
    dcm_columns columns = {0};
    dcm_reader *reader = calloc(1, sizeof *reader);
    dcm_span name = {path, strlen(path)};
    dcm_error err;
    must(reader && dcm_columns_init(&columns, &plan) == DCM_OK, "memory");
    for (int i = 0; i < ROUNDS; i++) {
        uint64_t offset, length;
        dcm_read_mode mode;
        dcm_part10_start(&from_memory, shared.total, UINT32_MAX, 0);
        must(!dcm_part10_run(&from_memory, &shared, &offset, &length, &mode, &err), "run");
        dcm_bytes_reset(&bytes, file.size);
        dcm_part10_start(&from_file, file.size, UINT32_MAX, 0);
        must(!dcm_part10_read(&from_file, &bytes, &file, &err), "read");
        must(from_memory.data.count == from_file.data.count, "two counts");
        must(!dcm_columns_file(&columns, &plan, reader, name, name, NULL), "columns");
    }
    must(columns.rows == ROUNDS && columns.n_errors == 0, "rows");
    *(uint64_t *)result = from_file.data.count;
    dcm_part10_free(&from_memory);
    dcm_part10_free(&from_file);
    dcm_bytes_free(&bytes);
    dcm_columns_free(&columns);
    dcm_reader_free(reader);
    free(reader);
    return NULL;
}

int main(int argc, char **argv) {
    static const dcm_level levels[2] = {{0, 0, 0, 0, 0}, {0, 1, 0, 0x00100010, 1}};
    dcm_want want = {0};
    dcm_column columns[FIXED + 1] = {{0}};
    pthread_t threads[THREADS];
    uint64_t counts[THREADS];
    dcm_error err;
    void *data;
    must(argc == 2, "usage: threads FILE");
    path = argv[1];
    want.tag = 0x00100010;
    want.vr = DCM_VR_PN;
    want.column = FIXED;
    columns[1].type = columns[2].type = DCM_COLUMN_INT;
    plan.wants = &want;
    plan.levels = levels;
    plan.text = "";
    plan.columns = columns;
    plan.n_columns = FIXED + 1;
    must(!dcm_file_open(&file, path, &err), "open");
    data = malloc(file.size);
    must(data && !dcm_file_read(&file, 0, file.size, data, &err), "read");
    must(!dcm_bytes_borrow(&shared, data, file.size), "borrow");
    for (int i = 0; i < THREADS; i++)
        must(!pthread_create(&threads[i], NULL, worker, &counts[i]), "thread");
    for (int i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
    for (int i = 0; i < THREADS; i++) must(counts[i] == counts[0], "counts differ");
    printf("%d rows\n", (int)counts[0]);
    dcm_bytes_free(&shared);
    dcm_file_close(&file);
    free(data);
    return 0;
}
