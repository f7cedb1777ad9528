/* dcm_endian.h: unaligned loads of either byte order on any machine. */
#ifndef DCM_ENDIAN_H
#define DCM_ENDIAN_H

#include <stdint.h>
#include <string.h>

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
#define DCM_HOST_BIG 1
#else
#define DCM_HOST_BIG 0
#endif

static inline uint16_t dcm_swap16(uint16_t v) {
    return (uint16_t)(v << 8 | v >> 8);
}
static inline uint32_t dcm_swap32(uint32_t v) {
    return v << 24 | (v & 0xff00u) << 8 | (v >> 8 & 0xff00u) | v >> 24;
}
static inline uint64_t dcm_swap64(uint64_t v) {
    return (uint64_t)dcm_swap32((uint32_t)v) << 32 | dcm_swap32((uint32_t)(v >> 32));
}

/* big: the bytes are big endian. The branch folds away for a constant argument. */
static inline uint16_t dcm_u16(const uint8_t *p, int big) {
    uint16_t v;
    memcpy(&v, p, 2);
    return big != DCM_HOST_BIG ? dcm_swap16(v) : v;
}
static inline uint32_t dcm_u32(const uint8_t *p, int big) {
    uint32_t v;
    memcpy(&v, p, 4);
    return big != DCM_HOST_BIG ? dcm_swap32(v) : v;
}
static inline uint64_t dcm_u64(const uint8_t *p, int big) {
    uint64_t v;
    memcpy(&v, p, 8);
    return big != DCM_HOST_BIG ? dcm_swap64(v) : v;
}
/* A tag is two 16-bit numbers, the group first, in either byte order. */
static inline uint32_t dcm_tag(const uint8_t *p, int big) {
    return (uint32_t)dcm_u16(p, big) << 16 | dcm_u16(p + 2, big);
}

#endif
