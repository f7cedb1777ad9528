"""The lazy element map of one data set level, its elements and sequences.

A row of the index becomes a Python object when it is asked for. What is set
or deleted lies in an overlay; the index and the bytes never change.

More than 800 lines, since its three classes reach into each other's C fields
on every access, which Cython allows only within one module.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING
from cpython.object cimport PyObject_GenericGetAttr, PyObject_GenericSetAttr
from libc.string cimport memset
from fastdcm.core.dcm cimport *
from fastdcm.core._file cimport File, Index, check, format_tag, index_level
from fastdcm.core._dictionary cimport keyword_of, keyword_tag, make_tag, vr_name
from fastdcm.core._values cimport (LATIN, PersonName, Text, decode, empty_value, text_of_value)

from fastdcm.core._dictionary import Tag, tag_number
from fastdcm.core._values import PersonName as _PersonName
from fastdcm.uid import UID

cdef extern from "Python.h":
    int delete_attribute "PyObject_GenericSetAttr"(object, object, void *) except -1

cdef uint32_t CHARSET = 0x00080005
cdef uint32_t PIXEL_REPRESENTATION = 0x00280103
cdef uint64_t LONG_SEQUENCE = 16 << 20
cdef uint64_t LONG_VALUE = 64
cdef object _MISSING = object()


# ------------------------------------------------------------ VRs in doubt ---

cdef bint depends_on_pixels(uint32_t tag) noexcept:
    """US, or SS where Pixel Representation is 1 (PS3.3 C.7.6.3.1.1 and the
    descriptions of each)."""
    return (0x00280104 <= tag <= 0x00280109 or tag == 0x00280110 or tag == 0x00280111 or
            tag == 0x00280120 or tag == 0x00280121 or 0x00281101 <= tag <= 0x00281103 or
            tag == 0x00283002 or tag == 0x00189810 or tag == 0x00221452 or
            tag == 0x00409211 or tag == 0x00409216 or tag == 0x00603004 or tag == 0x00603006)


@cython.final
@cython.freelist(256)
cdef class DataElement:
    """One element: tag, VR and value.

    ``DataElement(tag, VR, value)`` makes a new one. One that was read decodes
    its value when asked, and setting its value changes its data set.
    """

    def __cinit__(self):
        pass

    def __init__(self, tag, VR, value, file_value_tell=None, is_undefined_length=False,
                 already_converted=False):
        name = str(VR).encode()
        self.row.tag = tag_number(tag)
        self.vr = dcm_vr_from_name(name, len(name))
        if self.vr == DCM_VR_NONE:
            raise ValueError(f"unknown VR {VR!r}")
        if is_undefined_length:
            self.row.flags |= DCM_ROW_UNDEFINED
        self.how = LATIN
        self.is_set = True
        self.own = coerce(self.vr, self.row.tag, value)

    cdef object get_value(self):
        cdef const uint8_t *p
        cdef bytes data
        cdef int kind
        if self.is_set:
            return self.own
        kind = dcm_vr_rows[self.vr].kind
        if kind == DCM_KIND_SQ:
            return promise(self) if self.flat else self.home.sequence_of(&self.row)
        p = self.file.at(self.row.offset, self.row.length)
        if p == NULL:
            data = self.file.read(self.row.offset, self.row.length)
            p = <const uint8_t *>PyBytes_AS_STRING(data)
        return live_value(&self.row, self.vr, p, self.file, self.how)

    @property
    def value(self):
        return self.get_value()

    @value.setter
    def value(self, value):
        self.own = coerce(self.vr, self.row.tag, value)
        self.is_set = True
        if self.home is not None:
            self.home = owner_of(self)
            self.flat = False
            self.home.put(self)

    @property
    def tag(self):
        return make_tag(self.row.tag)

    @property
    def VR(self):
        return vr_name(self.vr)

    @VR.setter
    def VR(self, name):
        cdef bytes ascii = str(name).encode()
        cdef int vr = dcm_vr_from_name(ascii, len(ascii))
        if vr == DCM_VR_NONE:
            raise ValueError(f"unknown VR {name!r}")
        value = self.get_value()
        self.vr = vr
        self.value = value

    @property
    def VM(self):
        """How many values; 1 for a sequence, 0 when empty."""
        if self.vr == DCM_VR_SQ:
            return 1
        if not self.is_set and dcm_vr_rows[self.vr].kind == DCM_KIND_BYTES:
            return 1 if self.row.length else 0
        value = self.get_value()
        if value is None:
            return 0
        if isinstance(value, (str, bytes, PersonName)):
            return 1 if value else 0
        try:
            return len(value)
        except TypeError:
            return 1

    @property
    def is_empty(self):
        return not len(self.get_value()) if self.vr == DCM_VR_SQ else self.VM == 0

    @property
    def empty_value(self):
        return empty_value(self.vr) if self.vr != DCM_VR_SQ else []

    def clear(self):
        self.value = self.empty_value

    @property
    def is_undefined_length(self):
        return bool(self.row.flags & DCM_ROW_UNDEFINED)

    @is_undefined_length.setter
    def is_undefined_length(self, bint undefined):
        self.row.flags = (self.row.flags & ~DCM_ROW_UNDEFINED) | (DCM_ROW_UNDEFINED if undefined else 0)
        if self.home is not None:
            self.value = self.get_value()

    @property
    def keyword(self):
        name = keyword_of(self.row.tag)  # "" in repeating groups: many have the same one
        return name if name and keyword_tag(name) == self.row.tag else ""

    @property
    def is_private(self):
        return bool(self.row.tag >> 16 & 1)

    @property
    def is_retired(self):
        cdef dcm_dict_row d
        return dcm_dict_find(self.row.tag, &d) == DCM_OK and bool(d.retired)

    @property
    def is_raw(self):
        """Whether the value is still the bytes that were read."""
        return not self.is_set

    @property
    def is_implicit(self):
        """Whether its own header was implicit VR (PS3.5 7.1.3)."""
        return bool(self.row.flags & DCM_ROW_IMPLICIT)

    @property
    def is_big_endian(self):
        return bool(self.row.flags & DCM_ROW_BIG)

    @property
    def file_tell(self):
        """Byte offset of the value in the stream, None when it was set."""
        return None if self.is_set else self.row.offset

    @property
    def value_length(self):
        """Length of the value in the stream in bytes, None when it was set."""
        return None if self.is_set else self.row.length

    @property
    def raw_bytes(self):
        """The value's bytes as they stand in the stream."""
        if self.is_set:
            raise ValueError("this value was set: it has no bytes in a stream")
        return self.file.read(self.row.offset, self.row.length)

    @property
    def original_text(self):
        """IS and DS: the text that the number stands for, else None."""
        cdef int kind = dcm_vr_rows[self.vr].kind
        if self.is_set or not (kind == DCM_KIND_IS or kind == DCM_KIND_DS):
            return None
        return self.raw_bytes.decode("latin-1")

    @property
    def encodings(self):
        """Python codecs of the text, as `charset.encodings` gives them."""
        return self.how.encodings if self.how is not None else None

    @property
    def private_creator(self):
        """The creator of a private element, None when there is none."""
        if not self.row.tag >> 16 & 1 or not self.row.tag & 0xFF00 or self.home is None:
            return self.private_name
        return creator_of(owner_of(self), self.row.tag)

    @private_creator.setter
    def private_creator(self, name):
        self.private_name = name

    @property
    def name(self):
        """The name in PS3.6; for private elements that of the private
        dictionary in brackets, or 'Private tag data'."""
        cdef dcm_dict_row d
        cdef uint32_t tag = self.row.tag
        cdef bytes creator
        if dcm_dict_find(tag, &d) == DCM_OK:
            return d.name.decode()
        if tag >> 16 & 1:
            who = self.private_creator
            if who:
                creator = str(who).encode()
                if dcm_dict_private(tag, creator, len(creator), &d) == DCM_OK:
                    return f"[{d.name.decode()}]"
            if 0x10 <= tag & 0xFFFF < 0x100:
                return "Private Creator"
            return "Private tag data"
        return "Group Length" if not tag & 0xFFFF else ""

    @property
    def repval(self):
        """The value as a short text for people."""
        if (not self.is_set and dcm_vr_rows[self.vr].kind == DCM_KIND_BYTES and
                self.row.length > 16):
            return f"Array of {self.row.length} elements"
        value = self.get_value()
        if (isinstance(value, bytes) or isinstance(value, str) and
                vr_name(self.vr) in ("LT", "UC", "UT")) and len(value) > 16:
            return f"Array of {len(value)} elements"
        if self.VM > 16:
            return f"Array of {self.VM} elements"
        if isinstance(value, list) and not value:
            return ""
        if isinstance(value, UID):
            return value.name
        text = self.original_text  # of IS and DS
        if isinstance(value, (int, float)) and dcm_vr_rows[self.vr].kind in (DCM_KIND_IS, DCM_KIND_DS):
            return f"'{value if text is None or isinstance(value, int) else text.strip(chr(0) + ' ')}'"
        if isinstance(value, list):
            if text is None or self.home is not None and self.home._stale(self):
                parts = [repr(v) if isinstance(v, str) else str(v) for v in value]
            else:
                parts = [t.strip("\0 ") for t in text.rstrip("\0 ").split("\\")]
            return f"[{', '.join(parts)}]" if parts else ""
        return repr(value)

    def __str__(self):
        return f"{self.tag} {self.name[:35]:<35} {self.VR}: {self.repval or ''}"

    __repr__ = __str__

    def __getitem__(self, key):
        return self.get_value()[key]

    def __eq__(self, other):
        if not isinstance(other, DataElement):
            return NotImplemented
        cdef DataElement b = other
        if self.row.tag != b.row.tag or self.vr != b.vr:
            return False
        x, y = self.get_value(), b.get_value()
        return x == y or (x != x and y != y)

    def __ne__(self, other):
        equal = self.__eq__(other)
        return equal if equal is NotImplemented else not equal

    __hash__ = None

    def __reduce__(self):
        return (DataElement, (int(self.row.tag), self.VR, self.get_value(), None,
                              self.is_undefined_length), self.private_name)

    def __setstate__(self, private_name):
        self.private_name = private_name

    def __deepcopy__(self, memo):
        from copy import deepcopy
        cdef DataElement elem = self.__copy__()
        elem.own = deepcopy(elem.own, memo)
        return elem

    def __copy__(self):
        cdef DataElement elem = DataElement(self.row.tag, self.VR, self.get_value(), None,
                                            self.is_undefined_length)
        elem.private_name = self.private_name
        return elem


cdef ElementMap owner_of(DataElement elem):
    """The map that an element stands in."""
    return elem.home.locate(elem.row.offset, elem.row.header) if elem.flat else elem.home


cdef object live_value(const dcm_row *row, uint8_t vr, const uint8_t *p, File f, Text how):
    """The value; a list is made once, so that changes to it last."""
    cdef object value
    if row.length > LONG_VALUE:  # which is not made twice for nothing
        value = f.live.get(row.offset - row.header)
        if value is not None:
            return value
    value = decode(row, vr, p, f, how)
    if type(value) is list:  # or the one that another thread just made
        value = f.live.setdefault(row.offset - row.header, value)
    return value


cdef object coerce(uint8_t vr, uint32_t tag, object value):
    """A value that was set, in the types that reading gives."""
    cdef int kind = dcm_vr_rows[vr].kind
    if kind == DCM_KIND_SQ:
        return value if isinstance(value, Sequence) else Sequence(value)
    if isinstance(value, str) and "\\" in value and kind != DCM_KIND_PARAGRAPH:
        value = value.split("\\")
    if value is None:
        return None
    if isinstance(value, (list, tuple)) or (hasattr(value, "__iter__") and not isinstance(
            value, (str, bytes, bytearray, memoryview, PersonName))):
        if kind == DCM_KIND_BYTES:
            return value
        values = [coerce_one(kind, v) for v in value]
        return values[0] if len(values) == 1 else values
    return coerce_one(kind, value)


cdef object coerce_one(int kind, object value):
    if kind == DCM_KIND_PN:
        return value if isinstance(value, PersonName) else _PersonName(value)
    if kind == DCM_KIND_UI:
        return value if isinstance(value, UID) or value is None else UID(value) if value else ""
    if kind == DCM_KIND_AT:
        return value if isinstance(value, Tag) or value == "" else Tag(value)
    if kind == DCM_KIND_DS and isinstance(value, int):
        return float(value)
    if isinstance(value, str) and (kind == DCM_KIND_DS or kind == DCM_KIND_IS):
        text = value.strip()
        if not text:
            return ""
        try:
            number = float(text)
        except ValueError:
            raise ValueError(f"{value!r} is not a number, as IS and DS are") from None
        return int(number) if kind == DCM_KIND_IS and number.is_integer() else number
    return value


cdef str creator_of(ElementMap level, uint32_t tag):
    """The private creator of a private element (PS3.5 7.8.1), or None."""
    cdef DataElement elem = level.find((tag & 0xFFFF0000) | (tag >> 8 & 0xFF))
    if elem is None:
        return None
    value = elem.get_value()
    if isinstance(value, bytes):
        value = (<bytes>value).decode("latin-1").rstrip(" \0")
    return value if isinstance(value, str) else None


# --------------------------------------------------------------- sequences ---

@cython.final
cdef class Sequence:
    """A list of Datasets, each made when it is first asked for."""

    def __cinit__(self):
        self.made = []
        self.pixrep = -1

    def __init__(self, items=None):
        if items is not None:
            if isinstance(items, ElementMap):
                raise TypeError("a Sequence is made from a list of Datasets")
            for item in items:
                self.made.append(only_map(item))

    def __dealloc__(self):
        dcm_free(self.table)

    cdef list items(self):
        """The items, None where not made yet. A Sequence met on the way
        through all levels finds its place among them only here."""
        cdef DataElement elem = self.promised
        if elem is not None:
            self.real = owner_of(elem).sequence_of(&elem.row)
            self.made = self.real.items()
            self.promised = None
        return self.made

    cdef ElementMap item(self, Py_ssize_t i):
        cdef ElementMap level = self.items()[i]
        cdef dcm_item *entry
        cdef dcm_error err
        cdef uint64_t k
        if level is None and self.real is not None:
            return self.real.item(i)
        if level is None:
            entry = &self.table[i]
            if self.depth >= DCM_DEPTH_LIMIT:
                memset(&err, 0, sizeof(err))
                dcm_fail(&err, DCM_E_DEPTH, entry.offset, 0)
                check(DCM_E_DEPTH, &err, self.file, "")
            level = self.cls.__new__(self.cls)
            level.depth = self.depth + 1
            level.file = self.file
            level.index = index_level(self.file, entry.offset, entry.offset + entry.length,
                                      entry.encoding)
            for k in range(level.index.ix.n_issues):
                self.file.note(level.index.ix.issues[k].code, level.index.ix.issues[k].offset,
                               level.index.ix.issues[k].tag)
            level.inherited = self.how
            level.fixed = self.fixed
            level.inherited_pixrep = self.pixrep
            if self.made[i] is None:  # no other thread was faster
                self.made[i] = level
            level = self.made[i]
        return level

    cdef list all(self):
        cdef Py_ssize_t i
        for i in range(len(self.items())):
            if self.made[i] is None:
                self.item(i)
        return self.made

    cdef changed(self):
        self.all()
        self.edited = True
        if self.real is not None:
            self.real.changed()

    def __len__(self):
        return len(self.items())

    def __getitem__(self, key):
        cdef Py_ssize_t i, n = len(self.items())
        if isinstance(key, slice):
            return self.all()[key]
        i = key
        if i < 0:
            i += n
        if not 0 <= i < n:
            raise IndexError("list index out of range")
        return self.item(i)

    def __iter__(self):
        cdef Py_ssize_t i = 0
        while i < len(self.items()):
            yield self.item(i)
            i += 1

    def __setitem__(self, key, value):
        self.changed()
        if isinstance(key, slice):
            self.made[key] = [only_map(v) for v in value]
        else:
            self.made[key] = only_map(value)

    def __delitem__(self, key):
        self.changed()
        del self.made[key]

    def insert(self, i, item):
        self.changed()
        self.made.insert(i, only_map(item))

    def append(self, item):
        self.insert(len(self.items()), item)

    def extend(self, items):
        self.changed()
        self.made.extend([only_map(item) for item in items])

    def __iadd__(self, items):
        self.extend(items)
        return self

    def pop(self, i=-1):
        self.changed()
        return self.made.pop(i)

    def remove(self, item):
        self.changed()
        self.made.remove(item)

    def clear(self):
        self.changed()
        self.made.clear()

    def reverse(self):
        self.changed()
        self.made.reverse()

    def sort(self, *, key=None, reverse=False):
        self.changed()
        self.made.sort(key=key, reverse=reverse)

    def index(self, item, *where):
        return self.all().index(item, *where)

    def count(self, item):
        return self.all().count(item)

    def __contains__(self, item):
        return item in self.all()

    def __reversed__(self):
        return reversed(self.all())

    def __eq__(self, other):
        if isinstance(other, Sequence):
            other = (<Sequence>other).all()
        if not isinstance(other, (list, tuple)):
            return NotImplemented
        return self.all() == list(other)

    def __ne__(self, other):
        equal = self.__eq__(other)
        return equal if equal is NotImplemented else not equal

    __hash__ = None

    def __str__(self):
        return repr(self.all())

    def __repr__(self):
        return f"<Sequence, length {len(self)}>"

    def __reduce__(self):
        return Sequence, (list(self.all()),)

    def __deepcopy__(self, memo):
        from copy import deepcopy
        return Sequence([deepcopy(item, memo) for item in self.all()])

    def __copy__(self):
        return Sequence(self.all())

    @property
    def is_changed(self):
        """Whether items were added, removed, or changed at any depth."""
        if self.real is not None:
            return self.real.is_changed
        if self.edited or self.file is None and self.promised is None:  # made, not read
            return True
        return any([item is not None and (<ElementMap>item).is_changed for item in self.made])


cdef Sequence promise(DataElement elem):
    """The Sequence of an element met on the way through all levels."""
    cdef Sequence seq = Sequence.__new__(Sequence)
    seq.promised = elem
    return seq


cdef inline uint32_t attribute_tag(str name) except? 0:
    """The tag of an attribute's name, 0 when it is no keyword: those begin
    with a capital."""
    cdef Py_UCS4 first = name[0] if len(name) > 1 else c"_"
    return keyword_tag(name) if c"A" <= first <= c"Z" or name == "dBdt" else 0


cdef object only_map(object item):
    if not isinstance(item, ElementMap):
        raise TypeError(f"the items of a Sequence are Datasets, not {type(item).__name__}")
    return item


# ---------------------------------------------------------------- the level ---

cdef class ElementMap:
    """The elements of one data set level by tag, in ascending order."""

    def __cinit__(self):
        self.pixrep = -2
        self.inherited_pixrep = -1
        self.inherited = LATIN

    # ---- looking up

    cdef const dcm_row *row(self, uint32_t tag):
        return NULL if self.index is None else dcm_index_find(&self.index.ix, tag)

    cdef Text text(self):
        """How this level's text is decoded; the character set that stands in
        the stream counts, not one that was set since."""
        cdef const dcm_row *row
        if self.how is None:
            row = NULL if self.fixed else self.row(CHARSET)
            if row == NULL:
                self.how = self.inherited
            else:
                self.how = text_of_value(self.file.read(row.offset, row.length))
                if self.how.undefined:
                    self.file.note(DCM_I_CHARSET, row.offset - row.header, row.tag)
        return self.how

    cdef int pixel_representation(self) except -3:
        """0, 1 or, where neither this level nor one above says, -1."""
        cdef DataElement elem
        if self.pixrep == -2:
            elem = self.find(PIXEL_REPRESENTATION)
            value = None
            if elem is not None and elem.vr != DCM_VR_SQ:  # whose items would ask us again
                value = elem.get_value()
            self.pixrep = value if value in (0, 1) else self.inherited_pixrep
        return self.pixrep

    cdef uint8_t vr_of(self, const dcm_row *row):
        """The VR of a row whose own header leaves it in doubt: implicit VR,
        UN, or one of the dictionary's ambiguous ones (PS3.5 annex A)."""
        cdef uint8_t vr = row.vr
        cdef dcm_dict_row d
        cdef bytes name
        cdef str creator
        cdef uint32_t tag = row.tag
        if row.flags & DCM_ROW_ITEMS:
            return DCM_VR_SQ
        if vr == DCM_VR_NONE or vr == DCM_VR_UN:
            if tag >> 16 & 1:
                vr = DCM_VR_UN
                if 0x10 <= tag & 0xFFFF < 0x100:
                    vr = DCM_VR_LO
                elif tag & 0xFF00:
                    creator = creator_of(self, tag)
                    if creator:
                        name = creator.encode()
                        if dcm_dict_private(tag, name, len(name), &d) == DCM_OK:
                            vr = d.vr
            elif vr == DCM_VR_NONE or row.length < 0xFFFF:
                vr = dcm_dict_vr(tag)
            if vr == DCM_VR_NONE:
                vr = DCM_VR_UN
        if vr < DCM_VR_OB_OW:
            return vr
        return self.resolve(tag, vr, bool(row.flags & DCM_ROW_UNDEFINED),
                            bool(row.flags & DCM_ROW_IMPLICIT))

    cdef uint8_t resolve(self, uint32_t tag, uint8_t vr, bint undefined, bint implicit):
        """An ambiguous VR of PS3.6, decided by the data set."""
        if tag == 0x7FE00010:
            if undefined:
                return DCM_VR_OB
            if implicit:
                return DCM_VR_OW  # PS3.5 A.1
            return DCM_VR_OW if (self.number_at(0x00280100, 16)) > 8 else DCM_VR_OB
        if tag >> 24 == 0x60 and tag & 0xFFFF == 0x3000:
            return DCM_VR_OW  # PS3.5 8.1.2
        if vr == DCM_VR_US_OW and tag == 0x00283006:
            return DCM_VR_US if self.number_at(0x00283002, 0) == 1 else DCM_VR_OW
        if depends_on_pixels(tag):
            return DCM_VR_SS if self.pixel_representation() == 1 else DCM_VR_US
        if vr == DCM_VR_OB_OW and tag >> 16 == 0x5400:
            if implicit:
                return DCM_VR_OW
            return DCM_VR_OW if self.number_at(0x54001004, 16) > 8 else DCM_VR_OB
        return vr

    cdef int64_t number_at(self, uint32_t tag, int64_t default) except? -1:
        """The first value of an integer element."""
        cdef DataElement elem = self.find(tag)
        value = elem.get_value() if elem is not None else None
        if isinstance(value, list) and value:
            value = value[0]
        return value if isinstance(value, int) else default

    cdef object value_of(self, const dcm_row *row):
        cdef uint8_t vr = row.vr
        cdef const uint8_t *p
        cdef bytes data
        if in_doubt(vr):
            vr = self.vr_of(row)
        if vr == DCM_VR_SQ:
            return self.sequence_of(row)
        p = self.file.at(row.offset, row.length)
        if p == NULL:
            data = self.file.read(row.offset, row.length)
            p = <const uint8_t *>PyBytes_AS_STRING(data)
        return live_value(row, vr, p, self.file,
                          self.text() if dcm_vr_rows[vr].charset else LATIN)

    cdef Sequence sequence_of(self, const dcm_row *row):
        cdef Sequence seq
        cdef Index work
        cdef uint64_t capacity = 0
        cdef dcm_error err
        cdef int code
        if self.sequences is None:
            self.sequences = {}
        seq = self.sequences.get(row.tag)
        if seq is not None:
            return seq
        seq = Sequence.__new__(Sequence)
        if row.length > LONG_SEQUENCE and not self.begins_with_item(row):
            self.file.note(DCM_I_NOT_AN_ITEM, row.offset, row.tag)
            seq.file = self.file
            self.sequences[row.tag] = seq
            return seq
        seq.file = self.file.part(row.offset, row.length)
        work = Index.__new__(Index)
        memset(&err, 0, sizeof(err))
        code = dcm_items(row, &seq.file.bytes, &work.ix, &seq.table, &capacity,
                         &seq.size, &err)
        check(code, &err, self.file, "")
        for i in range(work.ix.n_issues):
            self.file.note(work.ix.issues[i].code, work.ix.issues[i].offset,
                           work.ix.issues[i].tag)
        seq.made = [None] * seq.size
        seq.cls = type(self)
        seq.how = self.text()
        seq.fixed = self.fixed
        seq.depth = self.depth
        seq.pixrep = self.pixel_representation()
        seq.is_undefined_length = bool(row.flags & DCM_ROW_UNDEFINED)
        return self.sequences.setdefault(row.tag, seq)

    cdef bint begins_with_item(self, const dcm_row *row):
        """Whether a long sequence is worth reading whole."""
        cdef bytes head = self.file.read(row.offset, 4)
        return head in (b"\xfe\xff\x00\xe0", b"\xff\xfe\xe0\x00")

    cdef DataElement element_of(self, const dcm_row *row):
        cdef DataElement elem = DataElement.__new__(DataElement)
        elem.home = self
        elem.file = self.file
        elem.row = row[0]
        elem.vr = self.vr_of(row) if in_doubt(row.vr) else row.vr
        elem.how = self.text() if dcm_vr_rows[elem.vr].charset else LATIN
        return elem

    cdef DataElement find(self, uint32_t tag):
        """The element, or None."""
        cdef const dcm_row *row
        if self.overlay is not None:
            elem = self.overlay.get(tag, _MISSING)
            if elem is not _MISSING:
                return elem
        row = self.row(tag)
        return None if row == NULL else self.element_of(row)

    cdef object get_by_tag(self, uint32_t tag):
        """The value, or _MISSING."""
        cdef const dcm_row *row
        if self.overlay is not None:
            elem = self.overlay.get(tag, _MISSING)
            if elem is not _MISSING:
                return _MISSING if elem is None else (<DataElement>elem).get_value()
        row = self.row(tag)
        return _MISSING if row == NULL else self.value_of(row)

    def __getattribute__(self, str name):
        cdef uint32_t tag = attribute_tag(name)
        if tag:
            value = self.get_by_tag(tag)
            if value is not _MISSING:
                return value
        return PyObject_GenericGetAttr(self, name)

    def __setattr__(self, str name, value):
        cdef uint32_t tag = attribute_tag(name)
        if tag:
            self.set_value(tag, value)
        else:
            PyObject_GenericSetAttr(self, name, value)

    def __delattr__(self, str name):
        cdef uint32_t tag = attribute_tag(name)
        if not tag:
            delete_attribute(self, name, NULL)
        elif self.find(tag) is None:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        else:
            self.remove(tag)

    # ---- changing

    cdef put(self, DataElement elem):
        if self.overlay is None:
            self.overlay = {}
        self.overlay[elem.row.tag] = elem
        elem.home = self
        self.touch(elem.row.tag)

    cdef touch(self, uint32_t tag):
        if tag == PIXEL_REPRESENTATION:
            self.pixrep = -2

    cdef remove(self, uint32_t tag):
        if self.row(tag) != NULL:
            if self.overlay is None:
                self.overlay = {}
            self.overlay[tag] = None
        elif self.overlay is not None:
            self.overlay.pop(tag, None)
        self.touch(tag)

    cdef set_value(self, uint32_t tag, value):
        cdef DataElement elem = self.find(tag)
        cdef uint8_t vr
        if elem is not None:
            elem.value = value
            return
        vr = dcm_dict_vr(tag)
        if vr == DCM_VR_NONE:
            vr = DCM_VR_UN
        if vr >= DCM_VR_OB_OW:
            vr = self.resolve(tag, vr, False, True)
        self.put(DataElement(tag, vr_name(vr), value))

    def add(self, DataElement data_element not None):
        """Puts an element in, in place of one with the same tag."""
        if data_element.home is not None and data_element.home is not self:
            data_element = data_element.__copy__()
        self.put(data_element)

    def add_new(self, tag, VR, value):
        """Makes an element from its parts and puts it in."""
        self.put(DataElement(tag, VR, value))

    def __setitem__(self, key, elem):
        if isinstance(key, slice):
            raise NotImplementedError("elements are set one by one")  # as pydicom says it
        if not isinstance(elem, DataElement):
            raise TypeError("only a DataElement can be put in: use add_new() or an attribute")
        if tag_number(key) != (<DataElement>elem).row.tag:
            raise ValueError(f"the tag {Tag(key)} is not that of the element, "
                             f"{format_tag((<DataElement>elem).row.tag)}")
        self.add(elem)

    def __delitem__(self, key):
        if isinstance(key, slice):
            for tag in self._in_slice(key):
                self.remove(tag)
            return
        number = tag_number(key)
        if self.find(number) is None:
            raise KeyError(Tag(number))
        self.remove(number)

    def clear(self):
        for tag in self.tag_list():
            self.remove(tag)

    # ---- the mapping

    cdef list tag_list(self):
        """All tags, ascending, as ints."""
        cdef uint64_t i
        cdef list tags = []
        if self.index is not None:
            tags = [self.index.ix.rows[i].tag for i in range(self.index.ix.count)]
        if self.overlay:
            kept = {t for t in tags if self.overlay.get(t, True) is not None}
            kept.update([t for t, e in self.overlay.items() if e is not None])
            tags = sorted(kept)
        return tags

    def _in_slice(self, key):
        start = 0 if key.start is None else tag_number(key.start)
        stop = 1 << 32 if key.stop is None else tag_number(key.stop)
        return [t for t in self.tag_list() if start <= t < stop][::key.step]

    def __getitem__(self, key):
        cdef DataElement elem
        if isinstance(key, slice):
            part = type(self)()
            for tag in self._in_slice(key):
                (<ElementMap>part).put_copy(self.find(tag))
            return part
        elem = self.find(tag_number(key))
        if elem is None:
            raise KeyError(Tag(key))
        return elem

    cdef put_copy(self, DataElement elem):
        """Shares an element with the map that it is in."""
        if self.overlay is None:
            self.overlay = {}
        self.overlay[elem.row.tag] = elem

    def __contains__(self, key):
        try:
            tag = tag_number(key)
        except (TypeError, ValueError, OverflowError):
            return False
        if self.overlay is not None and tag in self.overlay:
            return self.overlay[tag] is not None
        return self.row(tag) != NULL

    def __len__(self):
        if not self.overlay:
            return 0 if self.index is None else self.index.ix.count
        return len(self.tag_list())

    def __bool__(self):
        return len(self) > 0

    def __iter__(self):
        cdef uint64_t i
        cdef DataElement elem
        if self.overlay is None:
            if self.index is not None:
                for i in range(self.index.ix.count):
                    elem = (self.element_of(&self.index.ix.rows[i]) if self.overlay is None
                            else self.find(self.index.ix.rows[i].tag))
                    if elem is not None:
                        yield elem
            return
        for tag in self.tag_list():
            elem = self.find(tag)
            if elem is not None:
                yield elem

    def keys(self):
        """The tags, ascending."""
        return [Tag(t) for t in self.tag_list()]

    def values(self):
        return list(self)

    def items(self):
        return [(elem.tag, elem) for elem in self]

    def get(self, key, default=None):
        """By keyword the value; by tag the element; or the default."""
        if isinstance(key, str):
            try:
                return getattr(self, key)
            except AttributeError:
                return default
        try:
            elem = self.find(tag_number(key))
        except (TypeError, ValueError, OverflowError):
            return default
        return default if elem is None else elem

    def get_item(self, key, *, keep_deferred=False):
        """The element, its value not decoded yet."""
        return self[key]

    def __eq__(self, other):
        if self is other:
            return True
        if not isinstance(other, ElementMap):
            return NotImplemented
        mine, theirs = self.tag_list(), (<ElementMap>other).tag_list()
        if mine != theirs:
            return False
        return all([self.find(t) == (<ElementMap>other).find(t) for t in mine])

    def __ne__(self, other):
        equal = self.__eq__(other)
        return equal if equal is NotImplemented else not equal

    __hash__ = None

    # ---- every level

    @property
    def is_changed(self):
        """Whether anything was set, deleted or changed in place here or in
        the sequences below."""
        if self.overlay or self.index is None:
            return True
        if self.sequences and any([seq.is_changed for seq in self.sequences.values()]):
            return True
        return bool(self.file.live) and any([self._stale(elem) for elem in self])

    def _stale(self, DataElement elem):
        """Whether a list that was handed out was changed since."""
        cdef const uint8_t *p
        if elem.is_set:
            return True
        if elem.vr == DCM_VR_SQ:
            seq = self.sequences.get(elem.row.tag) if self.sequences else None
            return seq is not None and seq.is_changed
        handed = elem.file.live.get(elem.row.offset - elem.row.header)
        if handed is None:
            return False
        data = elem.raw_bytes
        p = <const uint8_t *>PyBytes_AS_STRING(data)
        fresh = decode(&elem.row, elem.vr, p, elem.file, elem.how)
        return repr(handed) != repr(fresh)

    cdef ElementMap locate(self, uint64_t offset, uint8_t header):
        """The map, here or below, in which the element stands whose header of
        `header` bytes ends at `offset`."""
        cdef uint64_t i, k, start = offset - header
        cdef const dcm_row *row
        cdef Sequence seq
        for i in range(self.index.ix.count):
            row = &self.index.ix.rows[i]
            if row.offset == offset and row.header == header:
                return self
            if row.offset <= start < row.offset + row.length:
                seq = self.sequence_of(row)
                for k in range(seq.size):
                    if seq.table[k].offset <= start < seq.table[k].offset + seq.table[k].length:
                        return seq.item(k).locate(offset, header)
        raise KeyError(f"no element at byte {offset}")

    def path_of(self, uint64_t offset):
        """The tag path of the level that holds byte `offset`, as in
        "(0040,0275)[0].", "" for the data set itself."""
        cdef uint64_t i, k
        cdef const dcm_row *row
        cdef Sequence seq
        if self.index is None:
            return ""
        for i in range(self.index.ix.count):
            row = &self.index.ix.rows[i]
            if (row.flags & DCM_ROW_ITEMS and self.sequences and
                    row.offset <= offset < row.offset + row.length):
                seq = self.sequences.get(row.tag)
                if seq is None:
                    break
                for k in range(seq.size):
                    if seq.table[k].offset <= offset < seq.table[k].offset + seq.table[k].length:
                        below = seq.made[k]
                        rest = "" if below is None else below.path_of(offset)
                        return f"{format_tag(row.tag)}[{k}].{rest}"
        return ""

    def _iterall(self):
        """Every element at every depth, level by level."""
        for elem in self:
            yield elem
            if (<DataElement>elem).vr == DCM_VR_SQ:
                for item in (<DataElement>elem).get_value():
                    yield from item._iterall()

    def _level_encoding(self):
        """(is implicit VR, is little endian) of the level as read."""
        cdef uint8_t encoding = self.index.ix.encoding
        return bool(encoding & DCM_IMPLICIT), not encoding & DCM_BIG
