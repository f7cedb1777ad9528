"""Data set levels to bytes, and copies of them.

What was read and not changed is never decoded: it is written as spans of its
file, copied with the index that it has, and pickled as the bytes it came in.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.string cimport memcpy, memset
from fastdcm.core.dcm cimport *
from fastdcm.core._file cimport File, Index, check, format_tag, index_level
from fastdcm.core._elements cimport DataElement, ElementMap, Sequence
from fastdcm.core._values cimport LATIN, Text, text_of
from fastdcm.core._dictionary cimport vr_name


from fastdcm import charset
from fastdcm.core._dictionary import tag_number
from fastdcm.errors import DicomError, WriteError

cdef uint32_t CHARSET = 0x00080005
cdef uint32_t PIXEL_DATA = 0x7FE00010
cdef uint32_t ITEM = 0xFFFEE000
cdef uint32_t ITEM_END = 0xFFFEE00D
cdef uint32_t SEQUENCE_END = 0xFFFEE0DD
cdef uint32_t UNDEFINED = 0xFFFFFFFF
cdef object INFINITE = float("inf")


# ------------------------------------------------------------------ pieces ---

@cython.final
cdef class Pieces:
    """What is to be written: bytes, and spans of files (File, offset, length).
    Spans that touch become one."""
    cdef list parts
    cdef uint64_t length
    cdef File file
    cdef uint64_t begin, end

    def __cinit__(self):
        self.parts = []

    cdef put(self, bytes data):
        self.settle()
        self.parts.append(data)
        self.length += <uint64_t>len(data)

    cdef span(self, File f, uint64_t offset, uint64_t length):
        if f is not self.file or offset != self.end:
            self.settle()
            self.file = f
            self.begin = offset
        self.end = offset + length
        self.length += length

    cdef settle(self):
        if self.file is not None:
            self.parts.append((self.file, self.begin, self.end - self.begin))
            self.file = None

    cdef extend(self, Pieces other):
        self.settle()
        other.settle()
        self.parts += other.parts
        self.length += other.length


# ----------------------------------------------------------------- a level ---

cdef bint as_read(ElementMap level, const dcm_row *row, int encoding, Text text) except -1:
    """Whether the bytes of an element that was read can be written again."""
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
    return not touched(level, row)


cdef span_of(Pieces out, File f, const dcm_row *row):
    """The whole element, with the delimiter that closes it."""
    out.span(f, row.offset - row.header, row.header + row.length +
             (8 if row.flags & DCM_ROW_DELIMITED else 0))


cdef bint touched(ElementMap level, const dcm_row *row) except -1:
    """Whether a list or sequence that was handed out was changed since."""
    cdef Sequence seq
    if level.sequences:
        seq = level.sequences.get(row.tag)
        if seq is not None:
            return seq.is_changed
    if level.file.live and (row.offset - row.header) in level.file.live:
        return level._stale(level.element_of(row))
    return False


cdef Text text_to_write(ElementMap level, Text above):
    """The character set of a level's text in what is written."""
    cdef DataElement elem = level.find(CHARSET)
    if elem is not None and (elem.is_set or not level.fixed):
        return text_of(elem.get_value() or None)
    if above is not None:
        return above
    return level.text() if level.fixed else LATIN


@cython.final
cdef class Writer:
    cdef int encoding
    cdef int encapsulated   # pixel data: 1 yes, 0 no, -1 as it is
    cdef bint strict

    cdef level(self, ElementMap level, Text above, Pieces out, int depth):
        cdef Text text = text_to_write(level, above)
        cdef DataElement elem
        cdef const dcm_row *row
        cdef uint32_t tag
        if depth > DCM_DEPTH_LIMIT:
            raise WriteError(f"sequences nested deeper than {DCM_DEPTH_LIMIT}")
        for tag in level.tag_list():
            elem = None if level.overlay is None else level.overlay.get(tag)
            try:
                if elem is None:
                    row = level.row(tag)
                    if is_group_length(tag) and self.group_changed(level, tag, text):
                        continue
                    if as_read(level, row, self.encoding, text):
                        span_of(out, level.file, row)
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
        """Whether a group length (retired, PS3.5 7.2) no longer holds."""
        cdef dcm_index *ix = &level.index.ix
        cdef uint64_t i
        if level.filtered or ix.state == DCM_INDEX_STOPPED:
            return True
        if level.overlay and any([t >> 16 == tag >> 16 for t in level.overlay]):
            return True
        for i in range(ix.count):
            if (ix.rows[i].tag >> 16 == tag >> 16 and
                    not as_read(level, &ix.rows[i], self.encoding, text)):
                return True
        return False

    cdef element(self, ElementMap level, DataElement elem, Text text, Pieces out, int depth):
        cdef uint32_t tag = elem.row.tag
        cdef uint8_t vr = elem.vr
        cdef ElementMap home = elem.home if elem.home is not None else level
        cdef bint undefined, odd, big = self.encoding & DCM_BIG
        cdef bint changed = elem.is_set
        cdef bytes data = None
        cdef uint64_t length
        if not changed:
            if as_read(home, &elem.row, self.encoding, text):
                span_of(out, elem.file, &elem.row)
                return
            changed = touched(home, &elem.row)
        if vr == DCM_VR_SQ:
            self.sequence(elem, text, out, depth)
            return
        if vr >= DCM_VR_OB_OW:
            vr = level.resolve(tag, vr, False, bool(self.encoding & DCM_IMPLICIT))
        if vr == DCM_VR_OB_OW:
            vr = DCM_VR_OW
        if changed or (dcm_vr_rows[vr].charset and elem.how.encodings != text.encodings):
            value = elem.get_value()
            if vr == DCM_VR_US and is_negative(value) and dcm_dict_vr(tag) >= DCM_VR_OB_OW:
                vr = DCM_VR_SS
            data = self.value(vr, tag, value, text, big)
            if dcm_vr_rows[vr].kind == DCM_KIND_BYTES and level.index is not None:
                data = self.in_order(level, vr, tag, data, level.index.ix.encoding & DCM_BIG)
        elif big != bool(elem.row.flags & DCM_ROW_BIG):
            data = self.in_order(level, vr, tag, elem.raw_bytes, not big)
        undefined = elem.row.flags & DCM_ROW_UNDEFINED
        if changed and tag == PIXEL_DATA and depth == 0 and self.encapsulated >= 0:
            undefined = self.encapsulated
        if undefined and not changed and self.encapsulated == 0:
            raise WriteError("encapsulated pixel data would have to be recoded")
        if undefined:
            if changed or elem.row.flags & DCM_ROW_IMPLICIT:
                vr = DCM_VR_OB  # PS3.5 A.4
            if changed and data[:4] != header(ITEM, 0, 0, self.encoding)[:4]:
                raise WriteError("the value is not encapsulated, as its transfer syntax asks "
                                 "(PS3.5 A.4)")
        length = elem.row.length if data is None else <uint64_t>len(data)
        if length >= UNDEFINED - 1 and not undefined:
            raise WriteError("the value is longer than a length of 32 bits can tell")
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
            items.put(header(ITEM, 0, UNDEFINED if undefined else <uint32_t>content.length, self.encoding))
            items.extend(content)
            if undefined:
                items.put(header(ITEM_END, 0, 0, self.encoding))
        undefined = elem.row.flags & DCM_ROW_UNDEFINED or items.length >= UNDEFINED
        out.put(header(elem.row.tag, DCM_VR_SQ, UNDEFINED if undefined else <uint32_t>items.length,
                       self.encoding))
        out.extend(items)
        if undefined:
            out.put(header(SEQUENCE_END, 0, 0, self.encoding))

    cdef bytes in_order(self, ElementMap level, uint8_t vr, uint32_t tag, bytes data, bint is_big):
        """The bytes of a value in the order of bytes that is written."""
        cdef int unit = dcm_vr_rows[vr].unit, kind = dcm_vr_rows[vr].kind
        cdef bytes turned
        if is_big == bool(self.encoding & DCM_BIG):
            return data
        if kind == DCM_KIND_AT:
            unit = 2
        if unit == 1 and vr != DCM_VR_UN or not data:
            return data
        if vr == DCM_VR_UN or vr >= DCM_VR_OB_OW:
            raise WriteError(f"the words of a {vr_name(vr)} are not known: it cannot change between "
                             "little and big endian")
        if tag == PIXEL_DATA and level.number_at(0x00280100, 16) > 16:
            raise WriteError("pixels of more than 16 bits cannot change between little and big endian")
        if len(data) % unit:
            raise WriteError(f"{len(data)} bytes are no whole words: they cannot change between "
                             "little and big endian")
        turned = PyBytes_FromStringAndSize(PyBytes_AS_STRING(data), len(data))
        dcm_swap_units(<uint8_t *>PyBytes_AS_STRING(turned), len(turned), unit)
        return turned

    # ---- values

    cdef bytes value(self, uint8_t vr, uint32_t tag, object value, Text text, bint big):
        """The bytes of a value that was set, not padded."""
        cdef int kind = dcm_vr_rows[vr].kind
        if value is None or isinstance(value, (str, list, tuple)) and not len(value):
            return b""
        if isinstance(value, (bytes, bytearray, memoryview)):
            return bytes(value)
        if kind == DCM_KIND_BYTES:
            return bytes(memoryview(value).cast("B"))
        values = value if isinstance(value, (list, tuple)) else [value]
        if kind == DCM_KIND_INT or kind == DCM_KIND_UINT:
            return whole_numbers(vr, tag, values, big)
        if kind == DCM_KIND_FLOAT:
            return floats(vr, values, big)
        if kind == DCM_KIND_AT:
            return tags(values, big)
        return b"\\".join([self.text_of_one(vr, kind, v, text) for v in values])

    cdef bytes text_of_one(self, uint8_t vr, int kind, object value, Text text):
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
            hint = ("; with SpecificCharacterSet = 'ISO_IR 192' it can"
                    if dcm_vr_rows[vr].charset else "")
            raise WriteError(f"{error.object!r} cannot be written in the character set "
                             f"{terms or 'ISO_IR 6'!r}{hint}") from None

    cdef str integer(self, value):
        """The text of an IS (PS3.5 6.2)."""
        if isinstance(value, str):
            return value
        number = int(value)
        if number != value:
            if self.strict:
                raise WriteError(f"{value!r} is no whole number, as an IS is")
            return repr(float(value))
        if self.strict and not -1 << 31 <= number < 1 << 31:
            raise WriteError(f"{value!r} does not fit an IS, which has 32 bits")
        return str(number)


cdef bytes header(uint32_t tag, int vr, uint32_t length, int encoding):
    cdef uint8_t out[12]
    cdef int size = dcm_put_header(out, tag, vr, length, encoding)
    return out[:size]


cdef bint is_group_length(uint32_t tag) noexcept:
    return not tag & 0xFFFF and tag >> 16 > 6


cpdef bint of_undefined_length(ElementMap item) except -1:
    """Whether an item was read from one of undefined length."""
    cdef uint64_t begin
    if item.index is None:
        return False
    begin = item.index.ix.begin
    return begin >= 4 and item.file.read(begin - 4, 4) == b"\xff\xff\xff\xff"


cdef bint is_negative(value):
    values = value if isinstance(value, list) else [value]
    return any([isinstance(v, int) and v < 0 for v in values])


cdef bytes whole_numbers(uint8_t vr, uint32_t tag, values, bint big):
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
            raise WriteError(f"{value!r} is no whole number, as {vr_name(vr)} asks")
        # The first value of a LUT descriptor is unsigned in any VR (PS3.3 C.11.1.1.1).
        if not least <= number <= (0xFFFF if is_descriptor(tag) and i == 0 and unit == 2 else most):
            raise WriteError(f"{number} does not fit {vr_name(vr)}: {least} to {most}")
        dcm_store_uint(p + i * unit, unit, <uint64_t>(number & 0xFFFFFFFFFFFFFFFF), big)
        i += 1
    return data


cdef bint is_descriptor(uint32_t tag) noexcept:
    return 0x00281101 <= tag <= 0x00281103 or tag == 0x00283002


cdef bytes floats(uint8_t vr, values, bint big):
    cdef int unit = dcm_vr_rows[vr].unit
    cdef bytes data = PyBytes_FromStringAndSize(NULL, len(values) * unit)
    cdef uint8_t *p = <uint8_t *>PyBytes_AS_STRING(data)
    cdef Py_ssize_t i = 0
    cdef double number
    for value in values:
        number = value
        if unit == 4 and number - number == 0 and not -3.4028235677973366e38 < number < 3.4028235677973366e38:
            raise WriteError(f"{value!r} does not fit {vr_name(vr)}, which has 32 bits")
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
    """A date, time or datetime as DA, TM or DT."""
    cdef str name = vr_name(vr)
    if name == "DA" and hasattr(value, "year"):
        return f"{value:%Y%m%d}".rjust(8, "0")
    if name == "TM" and hasattr(value, "hour"):
        return f"{value:%H%M%S.%f}" if value.microsecond else f"{value:%H%M%S}"
    if name == "DT" and hasattr(value, "year") and hasattr(value, "hour"):
        return f"{value:%Y%m%d%H%M%S.%f%z}" if value.microsecond else f"{value:%Y%m%d%H%M%S%z}"
    raise WriteError(f"{value!r} is no text, as {name} asks")


def decimal(value):
    """The text of a DS: at most 16 bytes (PS3.5 6.2), and of those that fit
    the one nearest to the value. A str stays as it is."""
    if isinstance(value, str):
        return value
    text = str(value) if isinstance(value, int) else ""
    if text and len(text) <= 16:
        return text
    number = float(value)
    if number - number != 0:
        raise WriteError(f"{value!r} cannot be written as DS")
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
    """A data set as a list of bytes and spans (File, offset, length), and its
    size in bytes."""
    cdef Writer writer = Writer.__new__(Writer)
    cdef Pieces out = Pieces.__new__(Pieces)
    writer.encoding = (DCM_IMPLICIT if implicit else 0) | (DCM_BIG if big else 0)
    writer.encapsulated = encapsulated
    writer.strict = strict
    writer.level(level, None, out, 0)
    out.settle()
    return out.parts, out.length


def deflated_span(File f):
    """(offset, length) of the deflate stream of a deflated file."""
    return f.meta.ix.pos, f.size - f.meta.ix.pos


def encodings_of(ElementMap level):
    """The Python codecs of a level's text, as it is read."""
    return level.text().encodings


def level_of(cls, bytes data, bint implicit, bint big):
    """The map, of class `cls`, of the bytes of a data set."""
    cdef ElementMap level = cls.__new__(cls)
    level.file = File(memoryview(data))
    level.index = index_level(level.file, 0, len(data), (DCM_IMPLICIT if implicit else 0) |
                              (DCM_BIG if big else 0))
    return level


def has_fragments(ElementMap level):
    """Whether pixel data is encapsulated as it was read, None when there is
    none or it was set."""
    cdef DataElement elem = level.find(PIXEL_DATA)
    return None if elem is None or elem.is_set else bool(elem.row.flags & DCM_ROW_FRAGMENTS)


def keep_open(File f, device, inode):
    """The name of a file is about to stand for another one. If it is f's, its
    descriptor must stay open, for it could not be opened again."""
    if f.origin is not None:
        f = f.origin
    if f.file.device == device and f.file.inode == inode and not f.closed:
        f.acquire()  # and never released: closed with the File


def is_whole(ElementMap level):
    """Whether nothing of the stream was left out in reading."""
    return level.index is not None and not level.filtered and level.index.ix.state != DCM_INDEX_STOPPED


# ------------------------------------------------------------------ copies ---

cdef place(ElementMap level, ElementMap new):
    """Makes `new` stand where `level` does."""
    new.index = level.index
    new.how = level.how
    new.inherited = level.inherited
    new.fixed = level.fixed
    new.pixrep = level.pixrep
    new.inherited_pixrep = level.inherited_pixrep
    new.filtered = level.filtered


def copy_level(ElementMap level, ElementMap new not None):
    """Fills `new`, an empty map. What is set or deleted in one of the two
    does not show in the other; lists and sequences are shared."""
    cdef DataElement elem, mine
    place(level, new)
    new.file = level.file
    if level.index is not None and level.sequences is None:
        level.sequences = {}
    new.sequences = level.sequences
    if level.overlay is not None:
        new.overlay = {}
        for tag, elem in level.overlay.items():
            mine = None
            if elem is not None:
                mine = DataElement.__new__(DataElement)
                mine.home = new if elem.home is level else elem.home
                mine.file = elem.file
                mine.row = elem.row
                mine.how = elem.how
                mine.own = elem.own
                mine.vr = elem.vr
                mine.is_set = elem.is_set
                mine.private_name = elem.private_name
            new.overlay[tag] = mine
    return new


cdef list changed_elements(ElementMap level):
    """What was set, or changed in place since it was read."""
    cdef list found = []
    cdef DataElement elem
    cdef uint64_t i
    if level.overlay:
        found += [elem for elem in level.overlay.values() if elem is not None]
    if level.index is not None and (level.sequences or level.file.live):
        for i in range(level.index.ix.count):
            if ((not level.overlay or level.index.ix.rows[i].tag not in level.overlay) and
                    touched(level, &level.index.ix.rows[i])):
                found.append(level.element_of(&level.index.ix.rows[i]))
    return found


def deepcopy_level(ElementMap level, ElementMap new not None, memo):
    """Fills `new`, an empty map, with a copy that shares nothing that can
    change. Values not read yet are read when asked for."""
    from copy import deepcopy  # which called us, and is no part of reading

    cdef DataElement elem, mine
    place(level, new)
    new.overlay = None if level.overlay is None else dict.fromkeys(level.overlay)
    for elem in changed_elements(level):
        mine = deepcopy(elem, memo)
        mine.home = new
        if new.overlay is None:
            new.overlay = {}
        new.overlay[elem.row.tag] = mine
    if level.index is not None:
        new.file = independent(level.file, level.index)
    return new


cdef File independent(File f, Index index):
    """A File of the same stream, which lives on when the other is closed."""
    cdef File root = f if f.origin is None else f.origin, new
    cdef uint64_t i
    cdef dcm_segment *s
    cdef uint8_t *room
    cdef dcm_error err
    memset(&err, 0, sizeof(err))
    if (f is root and f.reader is None and f.owner is None and not f.closed and
            f.at(index.ix.begin, index.ix.pos - index.ix.begin) == NULL):
        new = reopened(f)
        if new is not None:
            for i in range(f.bytes.n_segments):
                new.take(f.bytes.segments[i].offset, f.bytes.segments[i].length, 0)
        else:
            new = f.part_of()
            new.take(0, f.size, 0)
    else:
        new = f.part_of()
        if f is not root and not f.bytes.borrowed:
            for i in range(f.bytes.n_segments):
                s = &f.bytes.segments[i]
                check(dcm_bytes_reserve(&new.bytes, s.length, &room), &err, f, "")
                if s.length:
                    memcpy(room, f.bytes.data + s.at, s.length)
                check(dcm_bytes_commit(&new.bytes, s.offset, s.length, 0), &err, f, "")
    new.notes = f.notes
    new.live = {}
    return new


cdef File reopened(File f):
    """The same file, opened once more; None when its path now leads elsewhere."""
    cdef File new
    try:
        new = File(f.path) if f.member is None else File(f.name, f.member, f.path)
        new.open()
    except DicomError:
        return None
    if (new.file.inode != f.file.inode or new.file.device != f.file.device or
            new.file.mtime_ns != f.file.mtime_ns or new.file.size != f.file.size):
        return None
    dcm_file_close(&new.file)
    new.acquire()  # opens it as one of the many
    new.release()
    return new


# ------------------------------------------------------------------ pickle ---

def freeze(ElementMap level not None):
    """A level as plain data: its rows, the bytes of those that still count,
    and what was changed (None: deleted). No byte of what was deleted or
    replaced is among it."""
    cdef Pieces spans = Pieces.__new__(Pieces)
    cdef dcm_index *ix
    cdef const dcm_row *row
    cdef uint64_t i
    cdef DataElement elem
    cdef dict changed = {} if level.overlay is None else dict.fromkeys(level.overlay)
    for elem in changed_elements(level):
        changed[elem.row.tag] = elem
    if level.index is None:
        return None, changed
    ix = &level.index.ix
    rows = []
    for i in range(ix.count):
        row = &ix.rows[i]
        if row.tag in changed:
            continue
        rows.append((row.tag, row.vr, row.offset, row.length, row.header, row.flags))
        span_of(spans, level.file, row)
    spans.settle()
    parts = [(offset, length) for _, offset, length in spans.parts]
    if not changed:
        parts = [(ix.begin, (ix.pos if ix.state == DCM_INDEX_STOPPED else ix.end) - ix.begin)]
    if ix.begin >= 8:
        parts.append((ix.begin - 8, 8))  # of an item: its header
    stream = sorted([(offset, level.file.read(offset, length)) for offset, length in parts])
    place = (ix.begin, ix.end, ix.pos, ix.encoding, ix.state, level.file.size)
    how = (level.text().terms, level.inherited.terms, level.fixed, level.inherited_pixrep,
           level.filtered)
    return (rows, stream, place, how, level.index.issues(), level.file.notes,
            level.file.path), changed


def thaw(cls, state, attributes, source):
    """The map that `freeze` took apart."""
    cdef ElementMap level = cls.__new__(cls)
    cdef DataElement elem
    cdef Index index
    cdef File f
    cdef dcm_row *row
    cdef dcm_error err
    cdef uint8_t *room
    cdef uint64_t i
    frozen, changed = state
    memset(&err, 0, sizeof(err))
    if frozen is not None:
        rows, stream, place, how, issues, notes, path = frozen
        f = File.__new__(File)
        f.path = path
        f.notes = notes
        f.closed = True
        dcm_bytes_reset(&f.bytes, place[5])
        for offset, data in stream:
            check(dcm_bytes_reserve(&f.bytes, len(data), &room), &err, f, "")
            if data:  # an empty stream has no room
                memcpy(room, PyBytes_AS_STRING(data), len(data))
            check(dcm_bytes_commit(&f.bytes, offset, len(data), 0), &err, f, "")
        index = Index.__new__(Index)
        index.file = f
        dcm_index_start(&index.ix, place[0], place[1], place[3], 0xFFFFFFFF, DCM_ONE_LEVEL)
        index.ix.pos = place[2]
        index.ix.state = place[4]
        check(dcm_grow(<void **>&index.ix.rows, &index.ix.capacity, len(rows), sizeof(dcm_row)),
              &err, f, "")
        for i, (tag, vr, offset, length, header, flags) in enumerate(rows):
            row = &index.ix.rows[i]
            row.tag, row.vr, row.offset, row.length = tag, vr, offset, length
            row.header, row.flags = header, flags
        index.ix.count = len(rows)
        for code, offset, tag in issues:
            check(dcm_index_issue(&index.ix, code, offset, tag), &err, f, "")
        level.file = f
        level.index = index
        level.how = text_of(how[0])
        level.inherited = text_of(how[1])
        level.fixed, level.inherited_pixrep, level.filtered = how[2:]
    if changed:
        level.overlay = changed
        for elem in changed.values():
            if elem is not None:
                elem.home = level
    if source is not None:
        f = File.__new__(File)
        f.path, f.preamble, f.transfer_syntax, f.deflated, f.encoding = source
        f.closed = True
        level._source = f
    level.__dict__.update(attributes)
    return level


def source_state(File f):
    """What `thaw` needs to know of the file around a data set."""
    return f.path, f.preamble, f.transfer_syntax, f.deflated, f.encoding
