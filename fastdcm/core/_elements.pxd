from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from fastdcm.core.dcm cimport DCM_VR_NONE, DCM_VR_OB_OW, DCM_VR_UN, dcm_item, dcm_row
from fastdcm.core._file cimport File
from fastdcm.core._index cimport Index
from fastdcm.core._values cimport Text


cdef inline bint is_ambiguous(uint8_t vr) noexcept:
    """Return whether the VR of a row depends on the data set."""
    return vr == DCM_VR_NONE or vr == DCM_VR_UN or vr >= DCM_VR_OB_OW


cdef class ElementMap:
    cdef readonly File file
    cdef public File _source  # of a data set that was read, None for items
    cdef Index index
    cdef dict overlay       # tag: DataElement, or None where deleted
    cdef dict sequences     # tag: Sequence handed out
    cdef Text level_text    # how text is decoded, None when not looked up
    cdef Text inherited     # of the level above
    cdef bint fixed         # the caller of dcmread gave the character set
    cdef int pixrep         # Pixel Representation: -2 not looked up, -1 none
    cdef int inherited_pixrep
    cdef int depth          # the number of sequences that contain it
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
    cdef put_shared(self, DataElement elem)
    cdef forget_derived(self, uint32_t tag)
    cdef remove(self, uint32_t tag)
    cdef set_value(self, uint32_t tag, value)
    cdef list tag_list(self)
    cdef ElementMap locate(self, uint64_t offset, uint8_t header)


cdef class DataElement:
    cdef ElementMap level   # the one that contains it; flat: that or one above it
    cdef dcm_row row
    cdef File file
    cdef Text text          # how its text is decoded
    cdef object new_value   # the value when it was set
    cdef uint8_t vr
    cdef bint flat          # returned by a flat iteration
    cdef bint is_set
    cdef readonly object private_name

    cdef object get_value(self)


cdef class Sequence:
    cdef File file
    cdef dcm_item *table
    cdef uint64_t size
    cdef list made          # items, None where not made yet
    cdef object cls
    cdef Text text
    cdef bint fixed
    cdef int depth          # of the level that contains it
    cdef int pixrep
    cdef readonly bint is_undefined_length
    cdef readonly bint edited
    cdef DataElement unresolved  # flat: its element, until the items are needed
    cdef Sequence resolved      # then the one of its level, which shares its items

    cdef list items(self)
    cdef ElementMap item(self, Py_ssize_t i)
    cdef list all(self)
    cdef mark_edited(self)
