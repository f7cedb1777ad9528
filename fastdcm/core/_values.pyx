"""Decode the bytes of a value to Python, for every VR (PS3.5 6.2).

Also the reverse for values that the user sets: `convert` returns them in the
types that decoding returns.
"""

cimport cython
from cpython.bytes cimport PyBytes_FromStringAndSize
from cpython.list cimport PyList_New, PyList_SET_ITEM
from cpython.ref cimport Py_INCREF
from cpython.unicode cimport PyUnicode_DecodeASCII, PyUnicode_DecodeLatin1, PyUnicode_DecodeUTF8
from libc.string cimport memchr
from fastdcm.core.dcm cimport *
from fastdcm.core._file cimport File

from fastdcm import charset
from fastdcm.core._dictionary import Tag
from fastdcm.uid import UID

cdef extern from *:
    """
    /* Without UID.__new__, whose checks the decoded text does not need. */
    static PyObject *make_uid(PyObject *uid, PyObject *text) {
        PyObject *arguments = PyTuple_Pack(1, text), *made = NULL;
        if (arguments) made = PyUnicode_Type.tp_new((PyTypeObject *)uid, arguments, NULL);
        Py_XDECREF(arguments);
        return made;
    }
    """
    object make_uid(object uid, str text)


# ------------------------------------------------------------------- text ---

@cython.final
cdef class Text:
    """How text is decoded: the Specific Character Set of a data set level."""

    cdef str decode(self, const char *p, uint64_t n, int kind, File f, const dcm_row *row):
        """Decode the text of a row; replaced characters are an issue of the file."""
        cdef bytes data
        if self.method == LATIN_1:
            return PyUnicode_DecodeLatin1(p, n, NULL)
        if is_ascii(p, n) and self.method != NOT_ASCII:
            return PyUnicode_DecodeASCII(p, n, NULL)
        if self.method == UTF_8:
            try:
                return PyUnicode_DecodeUTF8(p, n, NULL)
            except UnicodeDecodeError:
                pass
        data = p[:n]
        delimiters = delimiters_of(kind)
        try:
            return charset.decode(data, self.encodings, delimiters, True)
        except UnicodeError:
            f.note(DCM_I_TEXT, row.offset - row.header, row.tag)
            return charset.decode(data, self.encodings, delimiters)


cdef object delimiters_of(int kind):
    """Return the bytes after which text of a kind is in the first character set again."""
    if kind == DCM_KIND_PN:
        return charset.PN_DELIMITERS
    return charset.STRING_DELIMITERS if kind == DCM_KIND_STRING else charset.TEXT_DELIMITERS


cdef bint is_ascii(const char *p, uint64_t n) noexcept:
    """Return whether all bytes are ASCII and none is an escape."""
    cdef uint64_t i
    cdef uint8_t seen = 0
    if memchr(p, 0x1b, n) != NULL:
        return False
    for i in range(n):
        seen |= <uint8_t>p[i]
    return seen < 0x80


cdef dict _texts = {}  # Text by its terms, and by the bytes of (0008,0005)


cdef cache_text(object key, Text text):
    if len(_texts) < 1000:
        _texts[key] = text
    return text


cdef Text text_of(object terms):
    """Return the Text of a Specific Character Set: None, str or sequence of str."""
    key = tuple(terms) if isinstance(terms, list) else terms
    return _texts.get(key) or cache_text(key, new_text(terms))


cdef Text text_of_value(bytes value):
    """Return the Text of the bytes of a value of (0008,0005)."""
    cdef Text text = _texts.get(value)
    if text is None:
        terms = value.decode("latin-1").rstrip(" \0").split("\\")
        text = new_text(terms if len(terms) > 1 else terms[0])
        if len(value) < 1024:  # a longer one is damaged: do not keep it
            cache_text(value, text)
    return text


cdef Text new_text(object terms):
    cdef Text text = Text.__new__(Text)
    text.terms = terms
    text.encodings = charset.encodings(terms)
    text.undefined = bool(charset.undefined_terms(terms))
    if len(text.encodings) == 1 and text.encodings[0] in ("iso8859", "latin_1"):
        text.method = LATIN_1
    elif len(text.encodings) == 1 and text.encodings[0].lower() == "utf8":
        text.method = UTF_8
    elif text.encodings[0].startswith(("iso2022", "utf_16", "utf_32", "utf_7", "hz")):
        text.method = NOT_ASCII
    return text


cdef Text LATIN = text_of(None)


@cython.final
@cython.freelist(64)
cdef class PersonName:
    """A person name (PS3.5 6.2.1), compared and hashed as its text.

    The text has up to three component groups (alphabetic, ideographic,
    phonetic), separated by ``=``, of five components each, separated by ``^``.
    Has the methods of str as well.

    Parameters
    ----------
    value : str, bytes or PersonName
        The name; bytes are decoded.
    encodings : tuple of str, optional
        The Python codecs of the character set, as from
        `fastdcm.charset.encodings`; by default Latin-1.
    original_string : ignored
        For compatibility with pydicom.

    Examples
    --------
    >>> from fastdcm import PersonName
    >>> name = PersonName("Yamada^Tarou=山田^太郎")
    >>> name.family_name, name.ideographic
    ('Yamada', '山田^太郎')
    """

    def __cinit__(self, value="", encodings=None, original_string=None):
        if isinstance(value, bytes):
            value = charset.decode(value, encodings or ("iso8859",), charset.PN_DELIMITERS)
        self.text = str(value).rstrip("=")
        self.encodings = encodings

    @property
    def components(self):
        """The component groups without trailing empty ones.

        A tuple of str: alphabetic, ideographic, phonetic.
        """
        if self.parts is None:
            self.parts = tuple(self.text.split("=")) if self.text else ()
        return self.parts

    cdef str group(self, int i):
        groups = self.components
        return groups[i] if i < len(groups) else ""

    cdef str part(self, int i):
        parts = self.group(0).split("^")
        return parts[i] if i < len(parts) else ""

    alphabetic = property(lambda self: _group(self, 0))
    ideographic = property(lambda self: _group(self, 1))
    phonetic = property(lambda self: _group(self, 2))
    family_name = property(lambda self: _part(self, 0))
    given_name = property(lambda self: _part(self, 1))
    middle_name = property(lambda self: _part(self, 2))
    name_prefix = property(lambda self: _part(self, 3))
    name_suffix = property(lambda self: _part(self, 4))

    @property
    def original_string(self):
        """The name as bytes in the character set it was read in."""
        return self.encode()

    def encode(self, encodings=None):
        """Return the name as bytes, by default in the character set it was read in.

        Parameters
        ----------
        encodings : sequence of str, optional
            Python codecs.
        """
        return charset.encode_pn(self.text, tuple(encodings or self.encodings or ("iso8859",)))

    def decode(self, encodings=None):
        """Return the name itself; for compatibility with pydicom."""
        return self

    def family_comma_given(self):
        """Return the name as "family, given"."""
        return f"{self.family_name}, {self.given_name}"

    def formatted(self, format_str):
        """Return ``format_str % {"family_name": ..., "given_name": ..., ...}``.

        The keys are the names of the properties: ``family_name``, ``given_name``,
        ``middle_name``, ``name_prefix``, ``name_suffix``, ``ideographic`` and
        ``phonetic``.
        """
        return format_str % {key: getattr(self, key) for key in (
            "family_name", "given_name", "middle_name", "name_prefix",
            "name_suffix", "ideographic", "phonetic")}

    @classmethod
    def from_named_components(cls, family_name="", given_name="", middle_name="",
                              name_prefix="", name_suffix="",
                              family_name_ideographic="", given_name_ideographic="",
                              family_name_phonetic="", given_name_phonetic="",
                              encodings=None):
        """Return a name made of its components, without trailing empty ones."""
        groups = ("^".join((family_name, given_name, middle_name, name_prefix, name_suffix)),
                  "^".join((family_name_ideographic, given_name_ideographic)),
                  "^".join((family_name_phonetic, given_name_phonetic)))
        return cls("=".join(g.rstrip("^") for g in groups), encodings)

    def __str__(self):
        return self.text

    def __repr__(self):
        return repr(self.text)

    def __eq__(self, other):
        if isinstance(other, PersonName):
            return self.text == (<PersonName>other).text
        return self.text == other

    def __ne__(self, other):
        return not self == other

    def __lt__(self, other):
        return self.text < str(other)

    def __le__(self, other):
        return self.text <= str(other)

    def __gt__(self, other):
        return self.text > str(other)

    def __ge__(self, other):
        return self.text >= str(other)

    def __hash__(self):
        return hash(self.text)

    def __len__(self):
        return len(self.text)

    def __bool__(self):
        return any(self.components)

    def __iter__(self):
        return iter(self.text)

    def __contains__(self, x):
        return x in self.text

    def __getitem__(self, i):
        return self.text[i]

    def __reduce__(self):
        return PersonName, (self.text, self.encodings)

    def __getattr__(self, name):
        # the other methods of str: startswith, upper, split, ...
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self.text, name)


def _group(PersonName self, int i):
    return self.group(i)


def _part(PersonName self, int i):
    return self.part(i)


cdef PersonName person_name(str text, Text codec):
    """Return the name of a decoded text."""
    cdef PersonName name = PersonName.__new__(PersonName)
    name.text = text.rstrip("=") if text and text[len(text) - 1] == c"=" else text
    name.encodings = codec.encodings
    return name


# ----------------------------------------------------------------- values ---

cdef object empty_value(uint8_t vr):
    """Return the value of an element of length 0."""
    cdef int kind = dcm_vr_rows[vr].kind
    if kind == DCM_KIND_PN:
        return PersonName()
    if kind == DCM_KIND_TEXT or kind == DCM_KIND_STRING or kind == DCM_KIND_PARAGRAPH:
        return "" if vr != DCM_VR_NONE else None
    if kind == DCM_KIND_UI:
        return ""
    return None


cdef object decode(const dcm_row *row, uint8_t vr, const uint8_t *p, File f, Text codec):
    """Return the Python value of the bytes of a row at p, as VR `vr`; not for SQ."""
    cdef const dcm_vr_row *v = &dcm_vr_rows[vr]
    cdef const char *s = <const char *>p
    cdef uint64_t n = row.length
    cdef dcm_span span
    cdef str text
    cdef int kind = v.kind
    if n == 0:
        return empty_value(vr)
    if kind == DCM_KIND_BYTES:
        return PyBytes_FromStringAndSize(s, <Py_ssize_t>n)
    if kind == DCM_KIND_INT or kind == DCM_KIND_UINT or kind == DCM_KIND_FLOAT:
        return numbers(row, v, p, f)
    if kind == DCM_KIND_DS or kind == DCM_KIND_IS:
        return decimal(row, kind, s, f)
    if kind == DCM_KIND_TEXT:
        if vr == DCM_VR_AE:
            span = dcm_trim(s, n)
        else:
            span = dcm_trim_right(s, n)
        text = PyUnicode_DecodeLatin1(span.p, span.n, NULL)
        if memchr(span.p, c"\\", span.n) == NULL:
            return text
        if vr == DCM_VR_AE:
            return [t.strip(" \0") for t in text.split("\\")]
        return text.split("\\")
    if kind == DCM_KIND_UI:
        span = dcm_trim(s, n)
        text = PyUnicode_DecodeLatin1(span.p, span.n, NULL)
        if memchr(span.p, c"\\", span.n) == NULL:
            return make_uid(UID, text)
        return [UID(t) for t in text.split("\\")]
    if kind == DCM_KIND_STRING:
        span = dcm_trim_right(s, n)
        text = codec.decode(span.p, span.n, kind, f, row)
        if "\\" not in text:
            return text.rstrip("\0 ") if codec.method != LATIN_1 and codec.method != UTF_8 else text
        return [t.rstrip("\0 ") for t in text.split("\\")]
    if kind == DCM_KIND_PN:
        span = dcm_trim_right(s, n)
        text = codec.decode(span.p, span.n, kind, f, row)
        if "\\" not in text:
            return person_name(text, codec)
        return [person_name(t, codec) for t in text.split("\\")]
    if kind == DCM_KIND_PARAGRAPH:
        if vr == DCM_VR_UR:
            return PyUnicode_DecodeLatin1(s, n, NULL).rstrip(" \0\t\r\n\v\f")
        span = dcm_trim_right(s, n)
        return codec.decode(span.p, span.n, kind, f, row).rstrip("\0 ")
    if kind == DCM_KIND_AT:
        return tags(row, p, f)
    return PyBytes_FromStringAndSize(s, <Py_ssize_t>n)


cdef bint is_lut_descriptor(uint32_t tag) noexcept:
    """Return whether the tag is a LUT descriptor.

    The first and third value of one are unsigned, also if its VR is SS (PS3.3
    C.7.6.3.1.5, C.11.1.1, C.11.2.1.1).
    """
    return 0x00281101 <= tag <= 0x00281103 or tag == 0x00283002


cdef object numbers(const dcm_row *row, const dcm_vr_row *v, const uint8_t *p, File f):
    cdef int unit = v.unit, kind = v.kind, big = row.flags & DCM_ROW_BIG
    cdef uint64_t i, count = row.length // unit
    if row.length % unit:
        f.note(DCM_I_VALUE_LENGTH, row.offset - row.header, row.tag)
        return PyBytes_FromStringAndSize(<const char *>p, <Py_ssize_t>row.length)
    if count == 1:
        return number(p, unit, kind, big)
    cdef list values = PyList_New(<Py_ssize_t>count)
    for i in range(count):
        value = number(p + i * unit, unit, kind, big)
        Py_INCREF(value)
        PyList_SET_ITEM(values, <Py_ssize_t>i, value)
    if is_lut_descriptor(row.tag) and kind == DCM_KIND_INT and values[0] < 0:
        values[0] += 65536
    return values


cdef inline object number(const uint8_t *p, int unit, int kind, int big):
    if kind == DCM_KIND_UINT:
        return dcm_load_uint(p, unit, big)
    if kind == DCM_KIND_INT:
        return dcm_load_int(p, unit, big)
    return dcm_load_float(p, unit, big)


cdef object decimal(const dcm_row *row, int kind, const char *p, File f):
    """Return the numbers of an IS or DS; all as str if one cannot be parsed."""
    cdef dcm_span rest, component
    cdef list values = None
    cdef object value
    cdef bint single = memchr(p, c"\\", row.length) == NULL
    rest = dcm_trim(p, row.length)
    if single:
        value = parse_decimal(row, kind, rest, f)
        if value is None:
            f.note(DCM_I_BAD_NUMBER, row.offset - row.header, row.tag)
            return PyUnicode_DecodeLatin1(p, row.length, NULL).rstrip(" \0")
        return value
    values = []
    while dcm_next_component(&rest, &component):
        value = parse_decimal(row, kind, component, f)
        if value is None:
            f.note(DCM_I_BAD_NUMBER, row.offset - row.header, row.tag)
            return [t.rstrip("\0 ") for t in
                    PyUnicode_DecodeLatin1(p, row.length, NULL).split("\\")]
        values.append(value)
    return values


cdef inline object parse_decimal(const dcm_row *row, int kind, dcm_span s, File f):
    cdef int64_t i
    cdef double d
    if kind == DCM_KIND_IS:
        if dcm_parse_int(s, &i):
            return i
        if dcm_parse_float(s, &d):
            if d == d and -9e15 < d < 9e15 and d == <double><int64_t>d:
                return <int64_t>d
            f.note(DCM_I_BAD_NUMBER, row.offset - row.header, row.tag)
            return d
    elif dcm_parse_float(s, &d):
        return d
    s = dcm_trim(s.p, s.n)
    return "" if s.n == 0 else None


cdef object tags(const dcm_row *row, const uint8_t *p, File f):
    cdef int big = row.flags & DCM_ROW_BIG
    cdef uint64_t i, count = row.length // 4
    if row.length % 4:
        f.note(DCM_I_VALUE_LENGTH, row.offset - row.header, row.tag)
    values = [Tag(dcm_load_uint(p + 4 * i, 2, big) << 16 | dcm_load_uint(p + 4 * i + 2, 2, big))
              for i in range(count)]
    return values[0] if count == 1 else values


# -------------------------------------------------- values that the user sets ---

cdef object convert(uint8_t vr, object value):
    """Return a value that the user set in the types that decoding returns; not for SQ."""
    cdef int kind = dcm_vr_rows[vr].kind
    if isinstance(value, str) and "\\" in value and kind != DCM_KIND_PARAGRAPH:
        value = value.split("\\")
    if value is None:
        return None
    if isinstance(value, (list, tuple)) or (hasattr(value, "__iter__") and not isinstance(
            value, (str, bytes, bytearray, memoryview, PersonName))):
        if kind == DCM_KIND_BYTES:
            return value
        values = [convert_one(kind, v) for v in value]
        return values[0] if len(values) == 1 else values
    return convert_one(kind, value)


cdef object convert_one(int kind, object value):
    if kind == DCM_KIND_PN:
        return value if isinstance(value, PersonName) else PersonName(value)
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
            raise ValueError(f"a value of VR {'DS' if kind == DCM_KIND_DS else 'IS'} must be a "
                             f"number, got {value!r}") from None
        return int(number) if kind == DCM_KIND_IS and number.is_integer() else number
    return value
