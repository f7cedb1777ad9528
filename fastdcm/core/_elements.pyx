"""The lazy element map of one data set level, its elements and sequences.

A row of the index becomes a Python object on access. Elements that were set or
deleted are stored in an overlay; the index and the bytes never change.

More than 800 lines, because its three classes use each other's C fields on
every access: Cython cannot split classes that refer to each other over modules.
"""

cimport cython
from cpython.buffer cimport PyObject_CheckBuffer
from cpython.bytes cimport PyBytes_AS_STRING
from cpython.object cimport PyObject_GenericGetAttr, PyObject_GenericSetAttr
from libc.string cimport memset
from fastdcm.core.dcm cimport *
from fastdcm.core._file cimport File, check, format_tag
from fastdcm.core._index cimport Index, index_level
from fastdcm.core._dictionary cimport keyword_of, keyword_tag, make_tag, vr_name
from fastdcm.core._values cimport (LATIN, PersonName, Text, convert, decode, empty_value,
                                   text_of_value)

from fastdcm.core._dictionary import Tag, tag_number
from fastdcm.uid import UID

cdef extern from "Python.h":
    int delete_attribute "PyObject_GenericSetAttr"(object, object, void *) except -1

cdef uint32_t CHARSET = 0x00080005
cdef uint32_t PIXEL_REPRESENTATION = 0x00280103
cdef uint64_t LONG_SEQUENCE = 16 << 20
cdef uint64_t LONG_VALUE = 64
cdef object _MISSING = object()


# ---------------------------------------------------------- ambiguous VRs ---

cdef bint depends_on_pixels(uint32_t tag) noexcept:
    """Return whether the VR is US or, if Pixel Representation is 1, SS.

    PS3.3 C.7.6.3.1.1 and the description of each attribute.
    """
    return (0x00280104 <= tag <= 0x00280109 or tag == 0x00280110 or tag == 0x00280111 or
            tag == 0x00280120 or tag == 0x00280121 or 0x00281101 <= tag <= 0x00281103 or
            tag == 0x00283002 or tag == 0x00189810 or tag == 0x00221452 or
            tag == 0x00409211 or tag == 0x00409216 or tag == 0x00603004 or tag == 0x00603006)


@cython.final
@cython.freelist(256)
cdef class DataElement:
    """A data element: tag, VR and value (PS3.5 7.1).

    An element that was read decodes its value on access. Setting its value
    changes the data set that contains it.

    Parameters
    ----------
    tag : int, str or tuple of int
        A tag, or a keyword of PS3.6.
    VR : str
        The value representation, such as "LO".
    value : object
        The value, of the types that the VR allows; a str with backslashes is
        split into several values.
    file_value_tell : ignored
        For compatibility with pydicom.
    is_undefined_length : bool, default False
        Write a sequence with undefined length.
    already_converted : ignored
        For compatibility with pydicom.

    Raises
    ------
    ValueError
        If the VR is unknown, or the value is text where IS or DS needs a number.

    Examples
    --------
    >>> from fastdcm import DataElement
    >>> DataElement("PatientID", "LO", "12345")
    (0010,0020) Patient ID                          LO: '12345'
    """

    def __init__(self, tag, VR, value, file_value_tell=None, is_undefined_length=False,
                 already_converted=False):
        name = str(VR).encode()
        self.row.tag = tag_number(tag)
        self.vr = dcm_vr_from_name(name, len(name))
        if self.vr == DCM_VR_NONE:
            raise ValueError(f"unknown VR {VR!r}")
        if is_undefined_length:
            self.row.flags |= DCM_ROW_UNDEFINED
        self.text = LATIN
        self.is_set = True
        self.new_value = convert_to_vr(self.vr, value)

    cdef object get_value(self):
        cdef const uint8_t *p
        cdef bytes data
        cdef int kind
        if self.is_set:
            return self.new_value
        kind = dcm_vr_rows[self.vr].kind
        if kind == DCM_KIND_SQ:
            return unresolved_sequence(self) if self.flat else self.level.sequence_of(&self.row)
        p = self.file.at(self.row.offset, self.row.length)
        if p == NULL:
            data = self.file.read(self.row.offset, self.row.length)
            p = <const uint8_t *>PyBytes_AS_STRING(data)
        return value_of_row(&self.row, self.vr, p, self.file, self.text)

    @property
    def value(self):
        """The value, decoded on access; a list if there are several."""
        return self.get_value()

    @value.setter
    def value(self, value):
        self.new_value = convert_to_vr(self.vr, value)
        self.is_set = True
        if self.level is not None:
            self.level = level_of(self)
            self.flat = False
            self.level.put(self)

    @property
    def tag(self):
        """The tag."""
        return make_tag(self.row.tag)

    @property
    def VR(self):
        """The value representation, such as "LO"."""
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
        """The number of values: 1 for a sequence, 0 if the value is empty."""
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
        """Whether there is no value, or a sequence has no items."""
        return not len(self.get_value()) if self.vr == DCM_VR_SQ else self.VM == 0

    @property
    def empty_value(self):
        """The value of an element of this VR that is empty: "", None or []."""
        return empty_value(self.vr) if self.vr != DCM_VR_SQ else []

    def clear(self):
        """Set the value to the empty value of the VR."""
        self.value = self.empty_value

    @property
    def is_undefined_length(self):
        """Whether the element has undefined length in the stream (PS3.5 7.1.1)."""
        return bool(self.row.flags & DCM_ROW_UNDEFINED)

    @is_undefined_length.setter
    def is_undefined_length(self, bint undefined):
        self.row.flags &= ~DCM_ROW_UNDEFINED
        if undefined:
            self.row.flags |= DCM_ROW_UNDEFINED
        if self.level is not None:
            self.value = self.get_value()

    @property
    def keyword(self):
        """The keyword of PS3.6, "" for private elements and repeating groups."""
        name = keyword_of(self.row.tag)  # several tags of a repeating group have the same one
        return name if name and keyword_tag(name) == self.row.tag else ""

    @property
    def is_private(self):
        """Whether the group number is odd (PS3.5 7.8)."""
        return bool(self.row.tag >> 16 & 1)

    @property
    def is_retired(self):
        """Whether PS3.6 marks the attribute as retired."""
        cdef dcm_dict_row d
        return dcm_dict_find(self.row.tag, &d) == DCM_OK and bool(d.retired)

    @property
    def is_raw(self):
        """Whether the value was read and has not been set since."""
        return not self.is_set

    @property
    def is_implicit(self):
        """Whether it was read in implicit VR (PS3.5 7.1.3)."""
        return bool(self.row.flags & DCM_ROW_IMPLICIT)

    @property
    def is_big_endian(self):
        """Whether it was read in big endian byte order."""
        return bool(self.row.flags & DCM_ROW_BIG)

    @property
    def file_tell(self):
        """The byte offset of the value in the stream, None if it was set."""
        return None if self.is_set else self.row.offset

    @property
    def value_length(self):
        """The length of the value in the stream in bytes, None if it was set."""
        return None if self.is_set else self.row.length

    @property
    def raw_bytes(self):
        """The undecoded bytes of the value. Raises ValueError if it was set."""
        if self.is_set:
            raise ValueError(f"the value of {self.tag} was set: it has no bytes in a stream")
        return self.file.read(self.row.offset, self.row.length)

    @property
    def original_text(self):
        """The text of a number of VR IS or DS as it was read, else None."""
        cdef int kind = dcm_vr_rows[self.vr].kind
        if self.is_set or not (kind == DCM_KIND_IS or kind == DCM_KIND_DS):
            return None
        return self.raw_bytes.decode("latin-1")

    @property
    def encodings(self):
        """The Python codecs of the text, as from `fastdcm.charset.encodings`."""
        return self.text.encodings if self.text is not None else None

    @property
    def private_creator(self):
        """The private creator of a private element (PS3.5 7.8.1), else None."""
        if not self.row.tag >> 16 & 1 or not self.row.tag & 0xFF00 or self.level is None:
            return self.private_name
        return creator_of(level_of(self), self.row.tag)

    @private_creator.setter
    def private_creator(self, name):
        self.private_name = name

    @property
    def name(self):
        """The name in PS3.6.

        For a private element the name in the private dictionary in brackets, or
        "Private tag data".
        """
        cdef dcm_dict_row d
        cdef uint32_t tag = self.row.tag
        cdef bytes creator
        if dcm_dict_find(tag, &d) == DCM_OK:
            return d.name.decode()
        if tag >> 16 & 1:
            creator_name = self.private_creator
            if creator_name:
                creator = str(creator_name).encode()
                if dcm_dict_private(tag, creator, len(creator), &d) == DCM_OK:
                    return f"[{d.name.decode()}]"
            if 0x10 <= tag & 0xFFFF < 0x100:
                return "Private Creator"
            return "Private tag data"
        return "Group Length" if not tag & 0xFFFF else ""

    @property
    def repval(self):
        """The value as text for display; long values are abbreviated."""
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
        kind = dcm_vr_rows[self.vr].kind
        if isinstance(value, (int, float)) and (kind == DCM_KIND_IS or kind == DCM_KIND_DS):
            if text is None or isinstance(value, int):
                return f"'{value}'"
            return f"'{text.strip(chr(0) + ' ')}'"
        if isinstance(value, list):
            if text is None or self.level is not None and self.level._is_modified(self):
                parts = [repr(v) if isinstance(v, str) else str(v) for v in value]
            else:
                parts = [t.strip("\0 ") for t in text.rstrip("\0 ").split("\\")]
            return f"[{', '.join(parts)}]" if parts else ""
        return repr(value)

    def __str__(self):
        return f"{self.tag} {self.name[:35]:<35} {self.VR}: {self.repval or ''}"

    def __repr__(self):
        return str(self)

    def __getitem__(self, key):
        return self.get_value()[key]

    def __eq__(self, other):
        if not isinstance(other, DataElement):
            return NotImplemented
        cdef DataElement b = other
        if self.row.tag != b.row.tag or self.vr != b.vr:
            return False
        return same_value(self.get_value(), b.get_value(), dcm_vr_rows[self.vr].kind)

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
        from copy import deepcopy  # loaded by the caller; not needed to read

        cdef DataElement elem = self.__copy__()
        elem.new_value = deepcopy(elem.new_value, memo)
        return elem

    def __copy__(self):
        cdef DataElement elem = DataElement(self.row.tag, self.VR, self.get_value(), None,
                                            self.is_undefined_length)
        elem.private_name = self.private_name
        return elem


cdef bint same_value(x, y, int kind) except -1:
    """Return whether two values are equal: NaN is equal to NaN, an array to its bytes."""
    if kind == DCM_KIND_BYTES:
        x, y = bytes_of(x), bytes_of(y)
        if not x and not y:
            return True
    elif isinstance(x, list) and isinstance(y, list):
        return x == y or (len(x) == len(y) and
                          all([same_value(a, b, kind) for a, b in zip(x, y)]))
    return x == y or (x != x and y != y)


cdef object bytes_of(value):
    """Return a value of a VR of bytes, such as an array, as it is written."""
    if isinstance(value, bytes) or not PyObject_CheckBuffer(value):
        return value
    return memoryview(value).tobytes()


cdef ElementMap level_of(DataElement elem):
    """Return the map that contains an element."""
    return elem.level.locate(elem.row.offset, elem.row.header) if elem.flat else elem.level


cdef object value_of_row(const dcm_row *row, uint8_t vr, const uint8_t *p, File f, Text text):
    """Decode a value. A list is always the same object, so that changes to it last."""
    cdef object value
    if row.length > LONG_VALUE:  # do not decode a long list again
        value = f.lists.get(row.offset - row.header)
        if value is not None:
            return value
    value = decode(row, vr, p, f, text)
    if type(value) is list:  # another thread may have stored one first
        value = f.lists.setdefault(row.offset - row.header, value)
    return value


cdef object convert_to_vr(uint8_t vr, object value):
    """Return a value that the user set, in the types that reading returns."""
    if vr == DCM_VR_SQ:
        return value if isinstance(value, Sequence) else Sequence(value)
    return convert(vr, value)


cdef str creator_of(ElementMap level, uint32_t tag):
    """Return the private creator of a private element (PS3.5 7.8.1), or None."""
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
    """The items of a sequence (PS3.5 7.5): a list of Datasets, made on access.

    Has the methods of a list. Adding, removing or replacing an item changes the
    data set that contains the sequence.

    Parameters
    ----------
    items : iterable of Dataset, optional
        The items; by default none.

    Raises
    ------
    TypeError
        If an item is not a Dataset, or `items` is a single Dataset.

    Examples
    --------
    >>> from fastdcm import Dataset, Sequence
    >>> ds = Dataset()
    >>> ds.ReferencedStudySequence = Sequence([Dataset()])
    >>> len(ds.ReferencedStudySequence)
    1
    """

    def __cinit__(self):
        self.made = []
        self.pixrep = -1

    def __init__(self, items=None):
        if items is not None:
            if isinstance(items, ElementMap):
                raise TypeError("items must be a list of Datasets, got a single Dataset")
            for item in items:
                self.made.append(require_dataset(item))

    def __dealloc__(self):
        dcm_free(self.table)

    cdef list items(self):
        """Return the items, None where not made yet.

        A Sequence that a flat iteration returned is connected to the one of its
        level here.
        """
        cdef DataElement elem = self.unresolved
        if elem is not None:
            self.resolved = level_of(elem).sequence_of(&elem.row)
            self.made = self.resolved.items()
            self.unresolved = None
        return self.made

    cdef ElementMap item(self, Py_ssize_t i):
        """Return item i, making it if needed; i is in range."""
        cdef ElementMap level = self.items()[i]
        cdef dcm_item *entry
        cdef dcm_error err
        cdef uint64_t k
        if level is None and self.resolved is not None:
            return self.resolved.item(i)
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
            level.inherited = self.text
            level.fixed = self.fixed
            level.inherited_pixrep = self.pixrep
            if self.made[i] is None:  # no other thread has made it
                self.made[i] = level
            level = self.made[i]
        return level

    cdef list all(self):
        """Return the items, all of them made."""
        cdef Py_ssize_t i
        for i in range(len(self.items())):
            if self.made[i] is None:
                self.item(i)
        return self.made

    cdef mark_edited(self):
        """Make all items before the list of them changes."""
        self.all()
        self.edited = True
        if self.resolved is not None:
            self.resolved.mark_edited()

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
        self.mark_edited()
        if isinstance(key, slice):
            self.made[key] = [require_dataset(v) for v in value]
        else:
            self.made[key] = require_dataset(value)

    def __delitem__(self, key):
        self.mark_edited()
        del self.made[key]

    def insert(self, i, item):
        """Insert an item before index `i`."""
        self.mark_edited()
        self.made.insert(i, require_dataset(item))

    def append(self, item):
        """Add an item at the end."""
        self.insert(len(self.items()), item)

    def extend(self, items):
        """Add items at the end."""
        self.mark_edited()
        self.made.extend([require_dataset(item) for item in items])

    def __iadd__(self, items):
        self.extend(items)
        return self

    def pop(self, i=-1):
        """Remove and return the item at index `i`."""
        self.mark_edited()
        return self.made.pop(i)

    def remove(self, item):
        """Remove the first item that is equal to `item`."""
        self.mark_edited()
        self.made.remove(item)

    def clear(self):
        """Remove all items."""
        self.mark_edited()
        self.made.clear()

    def reverse(self):
        """Reverse the order of the items in place."""
        self.mark_edited()
        self.made.reverse()

    def sort(self, *, key=None, reverse=False):
        """Sort the items in place by `key`."""
        self.mark_edited()
        self.made.sort(key=key, reverse=reverse)

    def index(self, item, *where):
        """Return the index of the first item that is equal to `item`."""
        return self.all().index(item, *where)

    def count(self, item):
        """Return how many items are equal to `item`."""
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
        from copy import deepcopy  # loaded by the caller; not needed to read

        return Sequence([deepcopy(item, memo) for item in self.all()])

    def __copy__(self):
        return Sequence(self.all())

    @property
    def is_changed(self):
        """Whether items were added, removed, or changed at any depth."""
        if self.resolved is not None:
            return self.resolved.is_changed
        if self.edited or self.file is None and self.unresolved is None:  # not read from a file
            return True
        return any([item is not None and (<ElementMap>item).is_changed for item in self.made])


cdef Sequence unresolved_sequence(DataElement elem):
    """Return the Sequence of an element that a flat iteration returned."""
    cdef Sequence seq = Sequence.__new__(Sequence)
    seq.unresolved = elem
    return seq


cdef inline uint32_t attribute_tag(str name) except? 0:
    """Return the tag of a keyword, 0 for any other name of an attribute.

    Keywords begin with a capital letter, except dBdt.
    """
    cdef Py_UCS4 first = name[0] if len(name) > 1 else c"_"
    return keyword_tag(name) if c"A" <= first <= c"Z" or name == "dBdt" else 0


cdef object require_dataset(object item):
    if not isinstance(item, ElementMap):
        raise TypeError(f"an item of a Sequence must be a Dataset, got {type(item).__name__}")
    return item


# -------------------------------------------------------------- element map ---

cdef class ElementMap:
    """The elements of one data set level by tag, in ascending order.

    The base class of `fastdcm.Dataset`: looking up, changing and comparing
    elements.
    """

    def __cinit__(self):
        self.pixrep = -2
        self.inherited_pixrep = -1
        self.inherited = LATIN

    # ---- lookup

    cdef const dcm_row *row(self, uint32_t tag):
        return NULL if self.index is None else dcm_index_find(&self.index.ix, tag)

    cdef Text text(self):
        """Return how the text of this level is decoded.

        The character set read from the stream applies, not one that was set since.
        """
        cdef const dcm_row *row
        if self.level_text is None:
            row = NULL if self.fixed else self.row(CHARSET)
            if row == NULL:
                self.level_text = self.inherited
            else:
                self.level_text = text_of_value(self.file.read(row.offset, row.length))
                if self.level_text.undefined:
                    self.file.note(DCM_I_CHARSET, row.offset - row.header, row.tag)
        return self.level_text

    cdef int pixel_representation(self) except -3:
        """Return 0 or 1, or -1 if neither this level nor one above has a value."""
        cdef DataElement elem
        if self.pixrep == -2:
            elem = self.find(PIXEL_REPRESENTATION)
            value = None
            if elem is not None and elem.vr != DCM_VR_SQ:  # whose items would need this value
                value = elem.get_value()
            self.pixrep = value if value in (0, 1) else self.inherited_pixrep
        return self.pixrep

    cdef uint8_t vr_of(self, const dcm_row *row):
        """Return the VR of a row with an ambiguous one (PS3.5 annex A).

        That is a row in implicit VR, or of VR UN, or whose VR in PS3.6 depends on
        the data set.
        """
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
            else:
                vr = dcm_dict_vr(tag)
            if vr == DCM_VR_NONE:
                vr = DCM_VR_UN
        if vr < DCM_VR_OB_OW:
            return vr
        return self.resolve(tag, vr, bool(row.flags & DCM_ROW_UNDEFINED),
                            bool(row.flags & DCM_ROW_IMPLICIT))

    cdef uint8_t resolve(self, uint32_t tag, uint8_t vr, bint undefined, bint implicit):
        """Resolve an ambiguous VR of PS3.6 from other elements of the data set."""
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
        """Return the first value of an integer element, or the default."""
        cdef DataElement elem = self.find(tag)
        value = elem.get_value() if elem is not None else None
        if isinstance(value, list) and value:
            value = value[0]
        return value if isinstance(value, int) else default

    cdef object value_of(self, const dcm_row *row):
        """Return the value of a row."""
        cdef uint8_t vr = row.vr
        cdef const uint8_t *p
        cdef bytes data
        if is_ambiguous(vr):
            vr = self.vr_of(row)
        if vr == DCM_VR_SQ:
            return self.sequence_of(row)
        p = self.file.at(row.offset, row.length)
        if p == NULL:
            data = self.file.read(row.offset, row.length)
            p = <const uint8_t *>PyBytes_AS_STRING(data)
        return value_of_row(row, vr, p, self.file,
                            self.text() if dcm_vr_rows[vr].charset else LATIN)

    cdef Sequence sequence_of(self, const dcm_row *row):
        """Return the Sequence of a row, always the same object."""
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
        seq.text = self.text()
        seq.fixed = self.fixed
        seq.depth = self.depth
        seq.pixrep = self.pixel_representation()
        seq.is_undefined_length = bool(row.flags & DCM_ROW_UNDEFINED)
        return self.sequences.setdefault(row.tag, seq)

    cdef bint begins_with_item(self, const dcm_row *row):
        """Return whether the value begins with an item, so is worth reading."""
        cdef bytes head = self.file.read(row.offset, 4)
        return head in (b"\xfe\xff\x00\xe0", b"\xff\xfe\xe0\x00")

    cdef DataElement element_of(self, const dcm_row *row):
        """Return a new element of a row."""
        cdef DataElement elem = DataElement.__new__(DataElement)
        elem.level = self
        elem.file = self.file
        elem.row = row[0]
        elem.vr = self.vr_of(row) if is_ambiguous(row.vr) else row.vr
        elem.text = self.text() if dcm_vr_rows[elem.vr].charset else LATIN
        return elem

    cdef DataElement find(self, uint32_t tag):
        """Return the element, or None."""
        cdef const dcm_row *row
        if self.overlay is not None:
            elem = self.overlay.get(tag, _MISSING)
            if elem is not _MISSING:
                return elem
        row = self.row(tag)
        return None if row == NULL else self.element_of(row)

    cdef object get_by_tag(self, uint32_t tag):
        """Return the value, or _MISSING."""
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

    # ---- changes

    cdef put(self, DataElement elem):
        if self.overlay is None:
            self.overlay = {}
        self.overlay[elem.row.tag] = elem
        elem.level = self
        self.forget_derived(elem.row.tag)

    cdef forget_derived(self, uint32_t tag):
        """Drop what was derived from an element that changes."""
        if tag == PIXEL_REPRESENTATION:
            self.pixrep = -2

    cdef remove(self, uint32_t tag):
        if self.row(tag) != NULL:
            if self.overlay is None:
                self.overlay = {}
            self.overlay[tag] = None
        elif self.overlay is not None:
            self.overlay.pop(tag, None)
        self.forget_derived(tag)

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
        """Add an element, replacing one with the same tag.

        Parameters
        ----------
        data_element : DataElement
            If it belongs to another data set, a copy is added.
        """
        if data_element.level is not None and data_element.level is not self:
            data_element = data_element.__copy__()
        self.put(data_element)

    def add_new(self, tag, VR, value):
        """Add a new element, replacing one with the same tag.

        Parameters
        ----------
        tag : int, str or tuple of int
            A tag, or a keyword of PS3.6.
        VR : str
            The value representation.
        value : object
            The value.

        Raises
        ------
        ValueError
            As from `DataElement`.
        """
        self.put(DataElement(tag, VR, value))

    def __setitem__(self, key, elem):
        if isinstance(key, slice):
            # pydicom raises the same error
            raise NotImplementedError("a slice cannot be set: set the elements one by one")
        if not isinstance(elem, DataElement):
            raise TypeError(f"the value must be a DataElement, got {type(elem).__name__}: use "
                            "add_new() or an attribute to set a value")
        if tag_number(key) != (<DataElement>elem).row.tag:
            raise ValueError(f"the key {Tag(key)} is not the tag of the element, "
                             f"{format_tag((<DataElement>elem).row.tag)}")
        self.add(elem)

    def __delitem__(self, key):
        if isinstance(key, slice):
            for tag in self._tags_of_slice(key):
                self.remove(tag)
            return
        number = tag_number(key)
        if self.find(number) is None:
            raise KeyError(Tag(number))
        self.remove(number)

    def clear(self):
        """Remove all elements."""
        for tag in self.tag_list():
            self.remove(tag)

    # ---- mapping

    cdef list tag_list(self):
        """Return all tags, ascending, as ints."""
        cdef uint64_t i
        cdef list tags = []
        if self.index is not None:
            tags = [self.index.ix.rows[i].tag for i in range(self.index.ix.count)]
        if self.overlay:
            kept = {t for t in tags if self.overlay.get(t, True) is not None}
            kept.update([t for t, e in self.overlay.items() if e is not None])
            tags = sorted(kept)
        return tags

    def _tags_of_slice(self, key):
        """Return the tags of a slice, as ints."""
        start = 0 if key.start is None else tag_number(key.start)
        stop = 1 << 32 if key.stop is None else tag_number(key.stop)
        return [t for t in self.tag_list() if start <= t < stop][::key.step]

    def __getitem__(self, key):
        cdef DataElement elem
        if isinstance(key, slice):
            part = type(self)()
            for tag in self._tags_of_slice(key):
                (<ElementMap>part).put_shared(self.find(tag))
            return part
        elem = self.find(tag_number(key))
        if elem is None:
            raise KeyError(Tag(key))
        return elem

    cdef put_shared(self, DataElement elem):
        """Add an element that continues to belong to another map."""
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
        """Return the tags, ascending, as a list of Tag."""
        return [Tag(t) for t in self.tag_list()]

    def values(self):
        """Return the elements, in ascending order of tags."""
        return list(self)

    def items(self):
        """Return the pairs of tag and element, in ascending order of tags."""
        return [(elem.tag, elem) for elem in self]

    def get(self, key, default=None):
        """Return the value for a keyword, the element for a tag, or the default.

        Parameters
        ----------
        key : str, int or tuple of int
            A keyword returns the value, a tag the DataElement (as in pydicom).
        default : object, optional
            Returned if there is no such element.

        Returns
        -------
        object or DataElement
        """
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
        """Return the element, its value not decoded; for compatibility with pydicom."""
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

    # ---- all levels

    @property
    def is_changed(self):
        """Whether an element was set, deleted or changed in place, at any level."""
        if self.overlay or self.index is None:
            return True
        if self.sequences and any([seq.is_changed for seq in self.sequences.values()]):
            return True
        return bool(self.file.lists) and any([self._is_modified(elem) for elem in self])

    def _is_modified(self, DataElement elem):
        """Return whether the value was set, or its list or items changed in place."""
        cdef const uint8_t *p
        if elem.is_set:
            return True
        if elem.vr == DCM_VR_SQ:
            seq = self.sequences.get(elem.row.tag) if self.sequences else None
            return seq is not None and seq.is_changed
        values = elem.file.lists.get(elem.row.offset - elem.row.header)
        if values is None:
            return False
        data = elem.raw_bytes
        p = <const uint8_t *>PyBytes_AS_STRING(data)
        return repr(values) != repr(decode(&elem.row, elem.vr, p, elem.file, elem.text))

    cdef ElementMap locate(self, uint64_t offset, uint8_t header):
        """Return the map, this one or one below it, that contains an element.

        The value of the element begins at `offset`, after `header` bytes.
        """
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

    def note_issue(self, str name, key):
        """Record an issue about an element of this level, by the name of the code.

        key: tag or keyword. A data set that was not read has no issues.
        """
        cdef uint32_t tag = tag_number(key)
        cdef const dcm_row *row = self.row(tag)
        if self.file is not None:
            self.file.note_issue(name, 0 if row == NULL else row.offset - row.header, tag)

    def path_of(self, uint64_t offset):
        """Return the tag path of the level that contains the byte at `offset`.

        As in "(0040,0275)[0].", "" for the data set itself.
        """
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
        """Iterate over every element of every level, making all maps."""
        for elem in self:
            yield elem
            if (<DataElement>elem).vr == DCM_VR_SQ:
                for item in (<DataElement>elem).get_value():
                    yield from item._iterall()

    def _level_encoding(self):
        """Return (is implicit VR, is little endian) of the level as it was read."""
        cdef uint8_t encoding = self.index.ix.encoding
        return bool(encoding & DCM_IMPLICIT), not encoding & DCM_BIG
