/* arena.c: the only allocator. A test build can make any allocation fail. */
#include "dcm_base.h"

#include <stdlib.h>
#include <string.h>

#ifdef DCM_TEST_ALLOC
static int64_t fail_at, in_use; /* test builds are single-threaded */

void dcm_alloc_fail_at(int64_t n) {
    fail_at = n;
}
int64_t dcm_alloc_in_use(void) {
    return in_use;
}
static int must_fail(void) {
    return fail_at > 0 && --fail_at == 0;
}
#define COUNT_BLOCKS(n) (in_use += (n))
#else
#define must_fail()     0
#define COUNT_BLOCKS(n) ((void)0)
#endif

void *dcm_alloc(size_t size) {
    return dcm_realloc(NULL, size);
}

void *dcm_realloc(void *block, size_t size) {
    if (must_fail()) return NULL;
    void *result = realloc(block, size ? size : 1);
    if (result && !block) COUNT_BLOCKS(1);
    return result;
}

void dcm_free(void *block) {
    if (block) COUNT_BLOCKS(-1);
    free(block);
}

void *dcm_copy(const void *block, size_t size) {
    void *result = dcm_alloc(size);
    if (result && size) memcpy(result, block, size);
    return result;
}

int dcm_grow(void **block, uint64_t *capacity, uint64_t count, size_t size) {
    if (count <= *capacity) return DCM_OK;
    uint64_t wanted = *capacity * 2 < 16 ? 16 : *capacity * 2;
    if (wanted < count) wanted = count;
    if (wanted > SIZE_MAX / size) return DCM_E_MEMORY;
    void *result = dcm_realloc(*block, (size_t)wanted * size);
    if (!result) return DCM_E_MEMORY;
    *block = result;
    *capacity = wanted;
    return DCM_OK;
}
