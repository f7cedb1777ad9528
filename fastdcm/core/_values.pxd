from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from fastdcm.core.dcm cimport dcm_row
from fastdcm.core._file cimport File


cdef enum TextMethod:
    GENERAL     # by charset.decode, unless the text is ASCII
    LATIN_1
    UTF_8
    NOT_ASCII   # by charset.decode, for ASCII bytes may be part of other characters


cdef class Text:
    cdef readonly tuple encodings
    cdef readonly object terms
    cdef bint undefined    # has terms that PS3.3 C.12.1.1.2 does not define
    cdef TextMethod method

    cdef str decode(self, const char *p, uint64_t n, int kind, File f, const dcm_row *row)


cdef Text text_of(object terms)
cdef Text text_of_value(bytes value)
cdef Text LATIN

cdef class PersonName:
    cdef str text
    cdef tuple parts
    cdef public object encodings
    cdef str group(self, int i)
    cdef str part(self, int i)

cdef PersonName person_name(str text, Text codec)

cdef object delimiters_of(int kind)
cdef object decode(const dcm_row *row, uint8_t vr, const uint8_t *p, File f, Text codec)
cdef object empty_value(uint8_t vr)
cdef object convert(uint8_t vr, object value)
