/* arena.c: the only allocator. A test build can make any allocation fail. */
#include "dcm.h"

#include <stdlib.h>
#include <string.h>

#ifdef DCM_TEST_ALLOC
static int64_t fail_at, live; /* test builds are single-threaded */

void dcm_alloc_fail_at(int64_t n) {
    fail_at = n;
}
int64_t dcm_alloc_live(void) {
    return live;
}
static int refused(void) {
    return fail_at > 0 && --fail_at == 0;
}
#define LIVE(n) (live += (n))
#else
#define refused() 0
#define LIVE(n)   ((void)0)
#endif

void *dcm_alloc(size_t size) {
    return dcm_realloc(NULL, size);
}

void *dcm_realloc(void *block, size_t size) {
    if (refused()) return NULL;
    void *got = realloc(block, size ? size : 1);
    if (got && !block) LIVE(1);
    return got;
}

void dcm_free(void *block) {
    if (block) LIVE(-1);
    free(block);
}

void *dcm_copy(const void *block, size_t size) {
    void *got = dcm_alloc(size);
    if (got && size) memcpy(got, block, size);
    return got;
}

int dcm_grow(void **block, uint64_t *capacity, uint64_t count, size_t size) {
    if (count <= *capacity) return DCM_OK;
    uint64_t wanted = *capacity * 2 < 16 ? 16 : *capacity * 2;
    if (wanted < count) wanted = count;
    if (wanted > SIZE_MAX / size) return DCM_E_MEMORY;
    void *got = dcm_realloc(*block, (size_t)wanted * size);
    if (!got) return DCM_E_MEMORY;
    *block = got;
    *capacity = wanted;
    return DCM_OK;
}
