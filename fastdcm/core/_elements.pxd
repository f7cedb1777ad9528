from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from fastdcm.core.dcm cimport DCM_VR_NONE, DCM_VR_OB_OW, DCM_VR_UN, dcm_item, dcm_row
from fastdcm.core._file cimport File, Index
from fastdcm.core._values cimport Text


cdef inline bint in_doubt(uint8_t vr) noexcept:
    """Whether the data set decides on the VR of a row."""
    return vr == DCM_VR_NONE or vr == DCM_VR_UN or vr >= DCM_VR_OB_OW


cdef class ElementMap:
    cdef readonly File file
    cdef public File _source  # of a data set that was read, None for items
    cdef Index index
    cdef dict overlay       # tag: DataElement, or None where deleted
    cdef dict sequences     # tag: Sequence handed out
    cdef Text how           # of the level's text, None when not looked up
    cdef Text inherited     # of the level above
    cdef bint fixed         # the reader was told the character set
    cdef int pixrep         # Pixel Representation: -2 not looked up, -1 none
    cdef int inherited_pixrep
    cdef int depth          # how many sequences it lies in
    cdef bint filtered      # only some tags of the stream are kept
    cdef object __weakref__

    cdef const dcm_row *row(self, uint32_t tag)
    cdef Text text(self)
    cdef int pixel_representation(self) except -3
    cdef uint8_t vr_of(self, const dcm_row *row)
    cdef object value_of(self, const dcm_row *row)
    cdef Sequence sequence_of(self, const dcm_row *row)
    cdef bint begins_with_item(self, const dcm_row *row)
    cdef DataElement element_of(self, const dcm_row *row)
    cdef DataElement find(self, uint32_t tag)
    cdef object get_by_tag(self, uint32_t tag)
    cdef uint8_t resolve(self, uint32_t tag, uint8_t vr, bint undefined, bint implicit)
    cdef int64_t number_at(self, uint32_t tag, int64_t default) except? -1
    cdef put(self, DataElement elem)
    cdef put_copy(self, DataElement elem)
    cdef touch(self, uint32_t tag)
    cdef remove(self, uint32_t tag)
    cdef set_value(self, uint32_t tag, value)
    cdef list tag_list(self)
    cdef ElementMap locate(self, uint64_t offset, uint8_t header)


cdef class DataElement:
    cdef ElementMap home    # the level it stands in; flat: that or one above it
    cdef dcm_row row
    cdef File file
    cdef Text how
    cdef object own         # the value when it was set
    cdef uint8_t vr
    cdef bint flat
    cdef bint is_set
    cdef readonly object private_name

    cdef object get_value(self)


cdef class Sequence:
    cdef File file
    cdef dcm_item *table
    cdef uint64_t size
    cdef list made          # items, None where not made yet
    cdef object cls
    cdef Text how
    cdef bint fixed
    cdef int depth          # of the level it stands in
    cdef int pixrep
    cdef readonly bint is_undefined_length
    cdef readonly bint edited
    cdef DataElement promised   # whose items are looked up when asked for
    cdef Sequence real          # that shares its items

    cdef list items(self)
    cdef ElementMap item(self, Py_ssize_t i)
    cdef list all(self)
    cdef changed(self)
