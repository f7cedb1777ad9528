"""Encode data set levels (PS3.5 chapter 7).

An element that was read and not changed is not decoded: it is written as the
bytes of its file, provided that the encoding written is the one read.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from fastdcm.core.dcm cimport *
from fastdcm.core._file cimport File, format_tag
from fastdcm.core._index cimport Index, index_level
from fastdcm.core._elements cimport DataElement, ElementMap, Sequence
from fastdcm.core._values cimport LATIN, Text, text_of
from fastdcm.core._dictionary cimport vr_name

from fastdcm import charset
from fastdcm.core._dictionary import tag_number
from fastdcm.errors import WriteError

cdef uint32_t CHARSET = 0x00080005
cdef uint32_t PIXEL_DATA = 0x7FE00010
cdef uint32_t ITEM = 0xFFFEE000
cdef uint32_t ITEM_END = 0xFFFEE00D
cdef uint32_t SEQUENCE_END = 0xFFFEE0DD
cdef uint32_t UNDEFINED = 0xFFFFFFFF
cdef object INFINITE = float("inf")
cdef double FLOAT_LIMIT = 3.4028235677973366e38  # rounds to infinity in 32 bits


# ------------------------------------------------------------------ pieces ---

@cython.final
cdef class Pieces:
    """What is to be written: bytes, and spans of files (File, offset, length).

    Adjacent spans are merged. `flush` completes `parts`.
    """

    def __cinit__(self):
        self.parts = []

    cdef put(self, bytes data):
        self.flush()
        self.parts.append(data)
        self.length += <uint64_t>len(data)

    cdef span(self, File f, uint64_t offset, uint64_t length):
        if f is not self.file or offset != self.end:
            self.flush()
            self.file = f
            self.begin = offset
        self.end = offset + length
        self.length += length

    cdef flush(self):
        if self.file is not None:
            self.parts.append((self.file, self.begin, self.end - self.begin))
            self.file = None

    cdef extend(self, Pieces other):
        self.flush()
        other.flush()
        self.parts += other.parts
        self.length += other.length


# ------------------------------------------------------------------ levels ---

cdef bint can_copy(ElementMap level, const dcm_row *row, int encoding, Text text) except -1:
    """Return whether the bytes of an element that was read can be written again."""
    cdef int own = ((DCM_IMPLICIT if row.flags & DCM_ROW_IMPLICIT else 0) |
                    (DCM_BIG if row.flags & DCM_ROW_BIG else 0))
    cdef uint8_t vr
    if own != encoding or row.flags & DCM_ROW_TRUNCATED:
        return False
    if row.flags & DCM_ROW_UNDEFINED and not row.flags & DCM_ROW_DELIMITED:
        return False
    if level.text().encodings != text.encodings:
        vr = level.vr_of(row)
        if vr == DCM_VR_SQ or dcm_vr_rows[vr].charset:
            return False
    return not is_modified(level, row)


cdef put_element(Pieces out, File f, const dcm_row *row):
    """Add the bytes of an element: header, value and delimiter."""
    out.span(f, row.offset - row.header, row.header + row.length +
             (8 if row.flags & DCM_ROW_DELIMITED else 0))


cdef bint is_modified(ElementMap level, const dcm_row *row) except -1:
    """Return whether the list or the items of an element were changed in place."""
    cdef Sequence seq
    if level.sequences:
        seq = level.sequences.get(row.tag)
        if seq is not None:
            return seq.is_changed
    if level.file.lists and (row.offset - row.header) in level.file.lists:
        return level._is_modified(level.element_of(row))
    return False


cdef bint is_terms(value):
    """Return whether a value can be a Specific Character Set."""
    return (value is None or isinstance(value, str) or
            isinstance(value, list) and all([isinstance(v, str) for v in value]))


cdef Text text_to_write(ElementMap level, Text above):
    """Return the character set in which the text of a level is written."""
    cdef DataElement elem = level.find(CHARSET)
    if elem is not None and (elem.is_set or not level.fixed):
        value = elem.get_value() if elem.vr != DCM_VR_SQ else elem
        if is_terms(value):
            return text_of(value or None)
        if elem.is_set:
            raise WriteError(f"must be text, one value or several, got {value!r}",
                             path="(0008,0005)")
        return level.text()  # of another VR in the file: as its text was read
    if above is not None:
        return above
    return level.text() if level.fixed else LATIN


@cython.final
cdef class Writer:
    """How a data set is encoded."""
    cdef int encoding
    cdef int encapsulated   # pixel data: 1 yes, 0 no, -1 as it was read
    cdef bint strict

    cdef level(self, ElementMap level, Text above, Pieces out, int depth):
        cdef Text text = text_to_write(level, above)
        cdef DataElement elem
        cdef const dcm_row *row
        cdef uint32_t tag
        if depth > DCM_DEPTH_LIMIT:
            raise WriteError(f"sequences are nested deeper than {DCM_DEPTH_LIMIT} levels")
        for tag in level.tag_list():
            elem = None if level.overlay is None else level.overlay.get(tag)
            try:
                if elem is None:
                    row = level.row(tag)
                    if is_group_length(tag) and self.group_changed(level, tag, text):
                        continue
                    if can_copy(level, row, self.encoding, text):
                        put_element(out, level.file, row)
                        continue
                    elem = level.element_of(row)
                elif is_group_length(tag):
                    continue
                self.element(level, elem, text, out, depth)
            except WriteError as error:
                raise WriteError(error.text, path=format_tag(tag) + error.path) from None
            except (ArithmeticError, TypeError, ValueError) as error:
                raise WriteError(str(error), path=format_tag(tag)) from error

    cdef bint group_changed(self, ElementMap level, uint32_t tag, Text text) except -1:
        """Return whether a group length (retired, PS3.5 7.2) is no longer correct."""
        cdef dcm_index *ix = &level.index.ix
        cdef uint64_t i
        if level.filtered or ix.state == DCM_INDEX_STOPPED:
            return True
        if level.overlay and any([t >> 16 == tag >> 16 for t in level.overlay]):
            return True
        for i in range(ix.count):
            if (ix.rows[i].tag >> 16 == tag >> 16 and
                    not can_copy(level, &ix.rows[i], self.encoding, text)):
                return True
        return False

    cdef element(self, ElementMap level, DataElement elem, Text text, Pieces out, int depth):
        cdef uint32_t tag = elem.row.tag
        cdef uint8_t vr = elem.vr
        cdef ElementMap owner = elem.level if elem.level is not None else level
        cdef bint undefined, odd, big = self.encoding & DCM_BIG
        cdef bint changed = elem.is_set
        cdef bytes data = None
        cdef uint64_t length
        if not changed:
            if can_copy(owner, &elem.row, self.encoding, text):
                put_element(out, elem.file, &elem.row)
                return
            changed = is_modified(owner, &elem.row)
        if vr == DCM_VR_SQ:
            self.sequence(elem, text, out, depth)
            return
        if vr >= DCM_VR_OB_OW:
            vr = level.resolve(tag, vr, False, bool(self.encoding & DCM_IMPLICIT))
        if vr == DCM_VR_OB_OW:
            vr = DCM_VR_OW
        if changed or (dcm_vr_rows[vr].charset and elem.text.encodings != text.encodings):
            value = elem.get_value()
            if vr == DCM_VR_US and is_negative(value) and dcm_dict_vr(tag) >= DCM_VR_OB_OW:
                vr = DCM_VR_SS
            data = self.value(vr, tag, value, text, big)
            if dcm_vr_rows[vr].kind == DCM_KIND_BYTES and level.index is not None:
                data = self.to_byte_order(level, vr, tag, data, level.index.ix.encoding & DCM_BIG)
        elif big != bool(elem.row.flags & DCM_ROW_BIG):
            data = self.to_byte_order(level, vr, tag, elem.raw_bytes, not big)
        undefined = elem.row.flags & DCM_ROW_UNDEFINED
        if changed and tag == PIXEL_DATA and depth == 0 and self.encapsulated >= 0:
            undefined = self.encapsulated
        if undefined and not changed and self.encapsulated == 0:
            raise WriteError("encapsulated pixel data would have to be decompressed for this "
                             "transfer syntax")
        if undefined:
            if changed or elem.row.flags & DCM_ROW_IMPLICIT:
                vr = DCM_VR_OB  # PS3.5 A.4
            if changed and data[:4] != header(ITEM, 0, 0, self.encoding)[:4]:
                raise WriteError("the value is not encapsulated, which its transfer syntax "
                                 "requires (PS3.5 A.4)")
        length = elem.row.length if data is None else <uint64_t>len(data)
        if length >= UNDEFINED - 1 and not undefined:
            raise WriteError(f"the value has {length} bytes, more than a 32-bit length allows")
        odd = length % 2 and not undefined
        out.put(header(tag, vr, UNDEFINED if undefined else <uint32_t>(length + odd),
                       self.encoding))
        if data is None:
            out.span(elem.file, elem.row.offset, length)
        else:
            out.put(data)
        if odd:
            out.put(b" " if dcm_vr_rows[vr].pad == c" " else b"\0")
        if undefined:
            out.put(header(SEQUENCE_END, 0, 0, self.encoding))

    cdef sequence(self, DataElement elem, Text text, Pieces out, int depth):
        cdef Sequence seq = elem.get_value()
        cdef Pieces items = Pieces.__new__(Pieces), content
        cdef ElementMap item
        cdef bint undefined
        cdef Py_ssize_t i
        for i in range(len(seq)):
            item = seq.item(i)
            content = Pieces.__new__(Pieces)
            try:
                self.level(item, text, content, depth + 1)
            except WriteError as error:
                raise WriteError(error.text, path=f"[{i}].{error.path}") from None
            undefined = of_undefined_length(item) or content.length >= UNDEFINED
            items.put(header(ITEM, 0, UNDEFINED if undefined else <uint32_t>content.length,
                             self.encoding))
            items.extend(content)
            if undefined:
                items.put(header(ITEM_END, 0, 0, self.encoding))
        undefined = elem.row.flags & DCM_ROW_UNDEFINED or items.length >= UNDEFINED
        out.put(header(elem.row.tag, DCM_VR_SQ, UNDEFINED if undefined else <uint32_t>items.length,
                       self.encoding))
        out.extend(items)
        if undefined:
            out.put(header(SEQUENCE_END, 0, 0, self.encoding))

    cdef bytes to_byte_order(self, ElementMap level, uint8_t vr, uint32_t tag, bytes data,
                             bint is_big):
        """Return the bytes of a value in the byte order that is written."""
        cdef int unit = dcm_vr_rows[vr].unit, kind = dcm_vr_rows[vr].kind
        cdef bytes swapped
        if is_big == bool(self.encoding & DCM_BIG):
            return data
        if kind == DCM_KIND_AT:
            unit = 2
        if unit == 1 and vr != DCM_VR_UN or not data:
            return data
        if vr == DCM_VR_UN or vr >= DCM_VR_OB_OW:
            raise WriteError(f"a value of VR {vr_name(vr)} cannot change between little and big "
                             "endian: the size of its words is unknown")
        if tag == PIXEL_DATA and level.number_at(0x00280100, 16) > 16:
            raise WriteError("pixel data of more than 16 bits cannot change between little and big "
                             "endian")
        if len(data) % unit:
            raise WriteError(f"a value of {len(data)} bytes cannot change between little and big "
                             f"endian: its length is not a multiple of {unit}")
        swapped = PyBytes_FromStringAndSize(PyBytes_AS_STRING(data), len(data))
        dcm_swap_units(<uint8_t *>PyBytes_AS_STRING(swapped), len(swapped), unit)
        return swapped

    # ---- values

    cdef bytes value(self, uint8_t vr, uint32_t tag, object value, Text text, bint big):
        """Return the bytes of a value that was set, not padded."""
        cdef int kind = dcm_vr_rows[vr].kind
        if value is None or isinstance(value, (str, list, tuple)) and not len(value):
            return b""
        if isinstance(value, (bytes, bytearray, memoryview)):
            return bytes(value)
        if kind == DCM_KIND_BYTES:
            return memoryview(value).tobytes()
        values = value if isinstance(value, (list, tuple)) else [value]
        if kind == DCM_KIND_INT or kind == DCM_KIND_UINT:
            return integers(vr, tag, values, big)
        if kind == DCM_KIND_FLOAT:
            return floats(vr, values, big)
        if kind == DCM_KIND_AT:
            return tags(values, big)
        return b"\\".join([self.text_of_one(vr, kind, v, text) for v in values])

    cdef bytes text_of_one(self, uint8_t vr, int kind, object value, Text text):
        """Return the bytes of one value of a VR that is text."""
        if value is None:
            return b""
        if isinstance(value, bytes):
            return value
        try:
            if kind == DCM_KIND_PN:
                return charset.encode_pn(str(value), text.encodings, self.strict)
            if kind == DCM_KIND_IS:
                return self.integer(value).encode("latin-1")
            if kind == DCM_KIND_DS:
                return decimal(value).encode("latin-1")
            if not isinstance(value, str):
                value = date_or_time(vr, value)
            if dcm_vr_rows[vr].charset:
                return charset.encode(value, text.encodings, self.strict)
            return value.encode("latin-1", "strict" if self.strict else "replace")
        except UnicodeEncodeError as error:
            terms = text.terms if dcm_vr_rows[vr].charset else None
            hint = ("; set SpecificCharacterSet to 'ISO_IR 192'"
                    if dcm_vr_rows[vr].charset else "")
            raise WriteError(f"{error.object!r} cannot be written in the character set "
                             f"{terms or 'ISO_IR 6'!r}{hint}") from None

    cdef str integer(self, value):
        """Return the text of an IS (PS3.5 6.2)."""
        if isinstance(value, str):
            return value
        number = int(value)
        if number != value:
            if self.strict:
                raise WriteError(f"a value of VR IS must be an integer, got {value!r}")
            return repr(float(value))
        if self.strict and not -1 << 31 <= number < 1 << 31:
            raise WriteError(f"a value of VR IS must fit in 32 bits, got {value!r}")
        return str(number)


cdef bytes header(uint32_t tag, int vr, uint32_t length, int encoding):
    cdef uint8_t out[12]
    cdef int size = dcm_put_header(out, tag, vr, length, encoding)
    return out[:size]


cdef bint is_group_length(uint32_t tag) noexcept:
    return not tag & 0xFFFF and tag >> 16 > 6


cpdef bint of_undefined_length(ElementMap item) except -1:
    """Return whether an item was read with undefined length."""
    cdef uint64_t begin
    if item.index is None:
        return False
    begin = item.index.ix.begin
    return begin >= 4 and item.file.read(begin - 4, 4) == b"\xff\xff\xff\xff"


cdef bint is_negative(value):
    values = value if isinstance(value, list) else [value]
    return any([isinstance(v, int) and v < 0 for v in values])


cdef bytes integers(uint8_t vr, uint32_t tag, values, bint big):
    cdef int unit = dcm_vr_rows[vr].unit
    cdef bint signed = dcm_vr_rows[vr].kind == DCM_KIND_INT
    cdef bytes data = PyBytes_FromStringAndSize(NULL, len(values) * unit)
    cdef uint8_t *p = <uint8_t *>PyBytes_AS_STRING(data)
    cdef Py_ssize_t i = 0
    cdef object span = 256 ** <object>unit  # as Python ints: they pass 64 bits
    least = -span // 2 if signed else 0
    most = least + span - 1
    for value in values:
        number = value.__index__() if hasattr(value, "__index__") else None
        if number is None:
            raise WriteError(f"a value of VR {vr_name(vr)} must be an integer, got {value!r}")
        # The first value of a LUT descriptor is unsigned in any VR (PS3.3 C.11.1.1.1).
        unsigned = is_lut_descriptor(tag) and i == 0 and unit == 2
        if not least <= number <= (0xFFFF if unsigned else most):
            raise WriteError(f"a value of VR {vr_name(vr)} must be between {least} and {most}, "
                             f"got {number}")
        dcm_store_uint(p + i * unit, unit, <uint64_t>(number & 0xFFFFFFFFFFFFFFFF), big)
        i += 1
    return data


cdef bint is_lut_descriptor(uint32_t tag) noexcept:
    return 0x00281101 <= tag <= 0x00281103 or tag == 0x00283002


cdef bytes floats(uint8_t vr, values, bint big):
    cdef int unit = dcm_vr_rows[vr].unit
    cdef bytes data = PyBytes_FromStringAndSize(NULL, len(values) * unit)
    cdef uint8_t *p = <uint8_t *>PyBytes_AS_STRING(data)
    cdef Py_ssize_t i = 0
    cdef double number
    for value in values:
        number = value
        if unit == 4 and number - number == 0 and not -FLOAT_LIMIT < number < FLOAT_LIMIT:
            raise WriteError(f"a value of VR {vr_name(vr)} must fit in a 32-bit float, "
                             f"got {value!r}")
        dcm_store_float(p + i * unit, unit, number, big)
        i += 1
    return data


cdef bytes tags(values, bint big):
    cdef bytes data = PyBytes_FromStringAndSize(NULL, len(values) * 4)
    cdef uint8_t *p = <uint8_t *>PyBytes_AS_STRING(data)
    cdef Py_ssize_t i = 0
    for value in values:
        dcm_store_tag(p + 4 * i, tag_number(value), big)
        i += 1
    return data


cdef str date_or_time(uint8_t vr, value):
    """Return a date, time or datetime as the text of a DA, TM or DT."""
    cdef str name = vr_name(vr)
    if name == "DA" and hasattr(value, "year"):
        return f"{value:%Y%m%d}".rjust(8, "0")
    if name == "TM" and hasattr(value, "hour"):
        return f"{value:%H%M%S.%f}" if value.microsecond else f"{value:%H%M%S}"
    if name == "DT" and hasattr(value, "year") and hasattr(value, "hour"):
        return f"{value:%Y%m%d%H%M%S.%f%z}" if value.microsecond else f"{value:%Y%m%d%H%M%S%z}"
    raise WriteError(f"a value of VR {name} must be a str, got {value!r}")


def decimal(value):
    """Return the text of a DS: at most 16 bytes (PS3.5 6.2), nearest to the value.

    A str is returned unchanged. Raises WriteError for infinity and NaN.
    """
    if isinstance(value, str):
        return value
    text = str(value) if isinstance(value, int) else ""
    if text and len(text) <= 16:
        return text
    number = float(value)
    if number - number != 0:
        raise WriteError(f"a value of VR DS must be finite, got {value!r}")
    text = repr(number).removesuffix(".0")
    digits = 16
    while len(text) > 16 or abs(float(text)) == INFINITE:  # rounded up
        digits -= 1
        mantissa, _, exponent = f"{number:.{digits}e}".partition("e")
        decimals = max(digits - int(exponent), 0)
        text = f"{number:.{decimals}f}"
        if decimals:
            text = text.rstrip("0").rstrip(".")
        if len(text) > 16:
            text = f"{mantissa.rstrip('0').rstrip('.')}e{int(exponent)}"
    return text


def pieces_of(ElementMap level, bint implicit, bint big, int encapsulated=-1, bint strict=True):
    """Encode a data set.

    Returns a list of bytes and spans (File, offset, length), and its size in
    bytes. encapsulated: whether pixel data that was set is encapsulated (1, 0),
    -1 as it was read. strict: raise WriteError for text and numbers that do not
    fit.
    """
    cdef Writer writer = Writer.__new__(Writer)
    cdef Pieces out = Pieces.__new__(Pieces)
    writer.encoding = (DCM_IMPLICIT if implicit else 0) | (DCM_BIG if big else 0)
    writer.encapsulated = encapsulated
    writer.strict = strict
    writer.level(level, None, out, 0)
    out.flush()
    return out.parts, out.length


def deflated_span(File f):
    """Return (offset, length) of the deflate stream of a deflated file."""
    cdef uint64_t begin = (<Index>f.meta).ix.pos
    return begin, f.size - begin


def encodings_of(ElementMap level):
    """Return the Python codecs of the text of a level as it was read."""
    return level.text().encodings


def level_from_bytes(cls, bytes data, bint implicit, bint big):
    """Return the map, of class `cls`, of the bytes of a data set."""
    cdef ElementMap level = cls.__new__(cls)
    level.file = File(memoryview(data))
    level.index = index_level(level.file, 0, len(data), (DCM_IMPLICIT if implicit else 0) |
                              (DCM_BIG if big else 0))
    return level


def has_fragments(ElementMap level):
    """Return whether pixel data was read with fragments; None if absent or set."""
    cdef DataElement elem = level.find(PIXEL_DATA)
    return None if elem is None or elem.is_set else bool(elem.row.flags & DCM_ROW_FRAGMENTS)


def keep_open(File f, device, inode):
    """Keep the descriptor of `f` open if it is the file that is about to be replaced.

    It could not be reopened by its path. When too many are kept open, it is read into
    memory. device, inode: of the file to be replaced.
    """
    if f.origin is not None:
        f = f.origin
    if f.file.device == device and f.file.inode == inode and not f.closed:
        if not f.pin():
            f.load()


def is_complete(ElementMap level):
    """Return whether all elements of the stream were read."""
    return (level.index is not None and not level.filtered and
            level.index.ix.state != DCM_INDEX_STOPPED)
