"""Tags, and the data dictionary of PS3.6: keywords, names, VRs and VMs."""

from fastdcm.core.dcm cimport *

cdef tuple _vr_names = tuple([dcm_vr_rows[i].name.decode() for i in range(DCM_VR_COUNT)])


cdef str vr_name(uint8_t vr):
    return <str>_vr_names[vr]


class Tag(int):
    """The tag of a data element: an int that prints as ``(gggg,eeee)`` (PS3.5 7.1).

    Parameters
    ----------
    arg : int, str or sequence of two int or str
        A tag as one number; a keyword of PS3.6, or eight hexadecimal digits;
        group and element. The group alone if `element` is given.
    element : int, optional
        The element number.

    Raises
    ------
    ValueError
        If a str is neither a keyword nor a tag, or a number is negative.
    OverflowError
        If a number has more than 32 bits, or 16 for group and element.
    TypeError
        If `arg` is of another type.

    Examples
    --------
    >>> from fastdcm import Tag
    >>> Tag("PatientName"), Tag(0x00100010), Tag(0x0010, 0x0010), Tag("00100010")
    ((0010,0010), (0010,0010), (0010,0010), (0010,0010))
    """

    __slots__ = ()

    def __new__(cls, arg, element=None):
        if element is not None:
            arg = (arg, element)
        return int.__new__(cls, tag_number(arg))

    @property
    def group(self):
        """The group number."""
        return self >> 16

    @property
    def element(self):
        """The element number."""
        return self & 0xFFFF

    elem = element

    @property
    def is_private(self):
        """Whether the group number is odd (PS3.5 7.8)."""
        return bool(self >> 16 & 1)

    @property
    def is_private_creator(self):
        """Whether it is the tag of a private creator, (gggg,0010-00FF)."""
        return bool(self >> 16 & 1) and 0x10 <= self & 0xFFFF < 0x100

    @property
    def private_creator(self):
        """The tag of the private creator of a private element (PS3.5 7.8.1)."""
        return Tag(self & 0xFFFF0000 | (self & 0xFFFF) >> 8)

    @property
    def json_key(self):
        """The tag as eight hexadecimal digits (PS3.18 F.2.2)."""
        return f"{self:08X}"

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
    """Return the int of anything that `Tag` accepts."""
    if isinstance(arg, int):
        number = arg
    elif isinstance(arg, str):
        number = keyword_tag(arg)
        if not number:
            try:
                number = int(arg.strip("()").replace(",", ""), 16)
            except ValueError:
                raise ValueError(f"{arg!r} is neither a keyword of PS3.6 nor a tag in "
                                 "hexadecimal") from None
    elif isinstance(arg, (tuple, list)):
        if len(arg) != 2:
            raise ValueError(f"a tag as a sequence must have two numbers, got {arg!r}")
        group, element = (int(x, 16) if isinstance(x, str) else x for x in arg)
        if not (0 <= group <= 0xFFFF and 0 <= element <= 0xFFFF):
            raise OverflowError(f"group and element of {arg!r} must be 16-bit numbers")
        number = group << 16 | element
    else:
        raise TypeError(f"a tag must be an int, a str or a pair of them, got {arg!r}")
    if not 0 <= number <= 0xFFFFFFFF:
        raise (ValueError if number < 0 else OverflowError)(
            f"a tag must be between 0 and 0xFFFFFFFF, got {number}")
    return number


cdef object make_tag(uint32_t tag):
    return Tag(tag)


cdef dict _keywords = {}


cdef uint32_t keyword_tag(str name) except? 0:
    """Return the tag of a keyword of PS3.6, 0 for any other name."""
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
    """Return the tag of a keyword.

    Parameters
    ----------
    keyword : str
        A keyword of PS3.6, such as "PatientName".

    Returns
    -------
    int or None
        None if PS3.6 has no such keyword.

    Examples
    --------
    >>> hex(tag_for_keyword("PatientName"))
    '0x100010'
    """
    return keyword_tag(keyword) or None


def keyword_for_tag(tag):
    """Return the keyword of a tag.

    Parameters
    ----------
    tag : int, str or tuple of int
        A tag as `Tag` accepts it.

    Returns
    -------
    str
        The keyword, "" if PS3.6 has none.

    Examples
    --------
    >>> keyword_for_tag(0x00100010)
    'PatientName'
    """
    return keyword_of(tag_number(tag))


cdef entry(tag, dcm_dict_row *d):
    """Look a tag up in PS3.6. Raises KeyError."""
    if dcm_dict_find(tag_number(tag), d) != DCM_OK:
        raise KeyError(f"Tag {Tag(tag)} not found in DICOM dictionary")


def dictionary_VR(tag):
    """Return the VR of an attribute in PS3.6.

    Parameters
    ----------
    tag : int, str or tuple of int
        A tag as `Tag` accepts it.

    Returns
    -------
    str

    Raises
    ------
    KeyError
        If the tag is not in PS3.6.

    Examples
    --------
    >>> dictionary_VR("PatientName")
    'PN'
    """
    cdef dcm_dict_row d
    entry(tag, &d)
    return vr_name(d.vr)


def dictionary_VM(tag):
    """Return the VM of an attribute in PS3.6.

    Parameters
    ----------
    tag : int, str or tuple of int
        A tag as `Tag` accepts it.

    Returns
    -------
    str

    Raises
    ------
    KeyError
        If the tag is not in PS3.6.

    Examples
    --------
    >>> dictionary_VM("PatientName")
    '1'
    """
    cdef dcm_dict_row d
    entry(tag, &d)
    return d.vm.decode()


def dictionary_description(tag):
    """Return the name of an attribute in PS3.6.

    Parameters
    ----------
    tag : int, str or tuple of int
        A tag as `Tag` accepts it.

    Returns
    -------
    str

    Raises
    ------
    KeyError
        If the tag is not in PS3.6.

    Examples
    --------
    >>> dictionary_description("PatientName")
    "Patient's Name"
    """
    cdef dcm_dict_row d
    entry(tag, &d)
    return d.name.decode()
