"""Tags, keywords and VRs: the dictionary of PS3.6 as Python sees it."""

from fastdcm.core.dcm cimport *

cdef tuple _vr_names = tuple([dcm_vr_rows[i].name.decode() for i in range(DCM_VR_COUNT)])


cdef str vr_name(uint8_t vr):
    return <str>_vr_names[vr]


class Tag(int):
    """A tag: an int that prints as ``(gggg,eeee)``.

    ``Tag(0x00100010)``, ``Tag(0x0010, 0x0010)``, ``Tag((0x0010, 0x0010))``,
    ``Tag("PatientName")`` and ``Tag("00100010")`` are the same. Raises
    ValueError for an unknown keyword, OverflowError beyond 32 bits.
    """

    __slots__ = ()

    def __new__(cls, arg, element=None):
        if element is not None:
            arg = (arg, element)
        return int.__new__(cls, tag_number(arg))

    group = property(lambda self: self >> 16)
    element = elem = property(lambda self: self & 0xFFFF)
    is_private = property(lambda self: bool(self >> 16 & 1))
    is_private_creator = property(
        lambda self: bool(self >> 16 & 1) and 0x10 <= self & 0xFFFF < 0x100)
    private_creator = property(
        lambda self: Tag(self & 0xFFFF0000 | (self & 0xFFFF) >> 8))
    json_key = property(lambda self: f"{self:08X}")

    def __str__(self):
        return f"({self >> 16:04X},{self & 0xFFFF:04X})"

    __repr__ = __str__

    def __eq__(self, other):
        if not isinstance(other, int):
            try:
                other = tag_number(other)
            except (TypeError, ValueError, OverflowError):
                return False
        return int(self) == int(other)

    def __ne__(self, other):
        return not self == other

    __hash__ = int.__hash__


def tag_number(arg):
    """The int of anything that `Tag` takes."""
    if isinstance(arg, int):
        number = arg
    elif isinstance(arg, str):
        number = keyword_tag(arg)
        if not number:
            try:
                number = int(arg.strip("()").replace(",", ""), 16)
            except ValueError:
                raise ValueError(f"{arg!r} is neither a keyword of PS3.6 nor a tag") from None
    elif isinstance(arg, (tuple, list)):
        if len(arg) != 2:
            raise ValueError(f"a tag is two numbers, not {arg!r}")
        group, element = (int(x, 16) if isinstance(x, str) else x for x in arg)
        if not (0 <= group <= 0xFFFF and 0 <= element <= 0xFFFF):
            raise OverflowError(f"group and element of {arg!r} must be 16-bit numbers")
        number = group << 16 | element
    else:
        raise TypeError(f"no tag: {arg!r}")
    if not 0 <= number <= 0xFFFFFFFF:
        raise (ValueError if number < 0 else OverflowError)(
            f"no tag: {number}, which is not a 32-bit number")
    return number


cdef object make_tag(uint32_t tag):
    return Tag(tag)


cdef dict _keywords = {}


cdef uint32_t keyword_tag(str name) except? 0:
    """The tag of a keyword of PS3.6, 0 when it is none."""
    found = _keywords.get(name)
    if found is not None:
        return found
    cdef bytes ascii
    try:
        ascii = name.encode("ascii")
    except UnicodeEncodeError:
        return 0
    cdef uint32_t tag = dcm_dict_tag(ascii, len(ascii))
    if tag:
        _keywords[name] = tag
    return tag


cdef str keyword_of(uint32_t tag):
    cdef dcm_dict_row d
    return d.keyword.decode() if dcm_dict_find(tag, &d) == DCM_OK else ""


def tag_for_keyword(str keyword):
    """The tag of a keyword as int, None when PS3.6 has none."""
    return keyword_tag(keyword) or None


def keyword_for_tag(tag):
    """The keyword of a tag, "" when PS3.6 has none."""
    return keyword_of(tag_number(tag))


cdef entry(tag, dcm_dict_row *d):
    if dcm_dict_find(tag_number(tag), d) != DCM_OK:
        raise KeyError(f"Tag {Tag(tag)} not found in DICOM dictionary")


def dictionary_VR(tag):
    """The VR of a tag or keyword in PS3.6. Raises KeyError."""
    cdef dcm_dict_row d
    entry(tag, &d)
    return vr_name(d.vr)


def dictionary_VM(tag):
    """The VM of a tag or keyword in PS3.6, as "1-n". Raises KeyError."""
    cdef dcm_dict_row d
    entry(tag, &d)
    return d.vm.decode()


def dictionary_description(tag):
    """The name of a tag or keyword in PS3.6. Raises KeyError."""
    cdef dcm_dict_row d
    entry(tag, &d)
    return d.name.decode()
