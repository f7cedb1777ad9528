from libc.stdint cimport uint8_t, uint32_t

cdef uint32_t keyword_tag(str name) except? 0
cdef str keyword_of(uint32_t tag)
cdef str vr_name(uint8_t vr)
cdef object make_tag(uint32_t tag)
