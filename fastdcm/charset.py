"""Specific Character Set (0008,0005): convert between bytes and text.

PS3.3 C.12.1.1.2 defines the terms, PS3.5 6.1 and annexes H, I, J and K how a
value switches between character sets by escape sequences (ISO 2022). In this
module a character set is identified by the name of a Python codec.

Text is read as pydicom 3.0 reads it, with the same leniency, except that the
escape sequences of ISO 2022 IR 58 are not part of the text. It is written as
pydicom writes it, except for text that pydicom damages: in IR 58, in several
lines, in both halves of JIS X 0201, and kanji next to a set of G1. Nothing here
warns: use `undefined_terms` and the argument ``strict`` to find errors.
"""

from __future__ import annotations

import codecs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

# The default repertoire is ISO IR 6; Latin-1 also keeps bytes that violate it.
DEFAULT = "iso8859"

# After a delimiter the first character set is active again (PS3.5 6.1.2.5.3): in text of
# one value (LT, ST, UT), of several values (LO, SH, UC), and in names (PN).
TEXT_DELIMITERS = frozenset(b"\r\n\t\f")
STRING_DELIMITERS = TEXT_DELIMITERS | frozenset(b"\\")
PN_DELIMITERS = STRING_DELIMITERS | frozenset(b"^=")

_SINGLE_BYTE = {
    "6": DEFAULT,
    "13": "shift_jis",
    "100": "latin_1",
    "101": "iso8859_2",
    "109": "iso8859_3",
    "110": "iso8859_4",
    "126": "iso_ir_126",
    "127": "iso_ir_127",
    "138": "iso_ir_138",
    "144": "iso_ir_144",
    "148": "iso_ir_148",
    "166": "iso_ir_166",
    "203": "iso8859_15",
}
_TERMS = {"": DEFAULT}
for _number, _codec in _SINGLE_BYTE.items():
    _TERMS["ISO_IR " + _number] = _codec
    _TERMS["ISO 2022 IR " + _number] = _codec
_TERMS.update(
    {
        "ISO 2022 IR 58": "iso_ir_58",
        "ISO 2022 IR 87": "iso2022_jp",
        "ISO 2022 IR 149": "euc_kr",
        "ISO 2022 IR 159": "iso2022_jp_2",
        "ISO_IR 192": "UTF8",
        "GB18030": "GB18030",
        "GBK": "GBK",
        # These two occur in files (CP-1234).
        "ISO 2022 GBK": "GBK",
        "ISO 2022 58": "GB2312",
    }
)

# {registration number of ISO 2375: codec}, for terms that are misspelled.
_CODEC_OF_NUMBER = {
    **_SINGLE_BYTE,
    **{term[12:]: codec for term, codec in _TERMS.items() if term.startswith("ISO 2022 IR ")},
    "192": "UTF8",
}

# Without code extensions (PS3.3 table C.12-5).
_STAND_ALONE = ("ISO_IR 192", "GBK", "GB18030")

# Codecs of Python that are not character sets; some are slow on malicious bytes.
_NO_CHARSETS = {"idna", "punycode", "undefined", "unicode-escape", "raw-unicode-escape"}

_ESC = b"\x1b"

# PS3.3 tables C.12-3 and C.12-4.
_ESCAPES = {
    b"\x1b(B": DEFAULT,
    b"\x1b-A": "latin_1",
    b"\x1b-B": "iso8859_2",
    b"\x1b-C": "iso8859_3",
    b"\x1b-D": "iso8859_4",
    b"\x1b-F": "iso_ir_126",
    b"\x1b-G": "iso_ir_127",
    b"\x1b-H": "iso_ir_138",
    b"\x1b-L": "iso_ir_144",
    b"\x1b-M": "iso_ir_148",
    b"\x1b-T": "iso_ir_166",
    b"\x1b-b": "iso8859_15",
    b"\x1b)I": "shift_jis",
    b"\x1b(J": "shift_jis",  # ISO IR 13, 14
    b"\x1b$B": "iso2022_jp",
    b"\x1b$(D": "iso2022_jp_2",
    b"\x1b$)C": "euc_kr",
    b"\x1b$)A": "iso_ir_58",
}
# The escape sequence to write; for JIS X 0201 that of the Roman half.
_ESCAPE_OF = {codec: escape for escape, codec in _ESCAPES.items()}

# Codecs that read and write escape sequences themselves.
_SELF_ESCAPED = ("iso2022_jp", "iso2022_jp_2")
# Codecs that encode more than the character set they are used for.
_NARROWER = (*_SELF_ESCAPED, "shift_jis")


def _is_codec(name: str) -> bool:
    try:
        if codecs.lookup(name).name in _NO_CHARSETS:
            return False
        b" ".decode(name)
    except UnicodeError:
        return True
    except (LookupError, ValueError):  # ValueError: a NUL in the name
        return False
    return True


def _codec_of(term: str) -> str:
    """Return the codec of a term, also of one with other separators or letters."""
    if term in _TERMS:
        return _TERMS[term]
    letters = "".join(c for c in term[:32] if c.isalnum()).upper()
    for prefix in ("ISO2022IR", "ISO2022", "ISOIR"):
        if letters.startswith(prefix):
            return _CODEC_OF_NUMBER.get(letters[len(prefix) :], DEFAULT)
    return term if _is_codec(term) else DEFAULT


def _terms(value: str | Sequence[str] | None) -> list[str]:
    if not value:
        return [""]
    return [value] if isinstance(value, str) else list(value)


def encodings(value: str | Sequence[str] | None) -> tuple[str, ...]:
    """Return the Python codecs of a Specific Character Set.

    Parameters
    ----------
    value : str, sequence of str or None
        The defined terms; None or "" for the default repertoire.

    Returns
    -------
    tuple of str
        One or more codecs; the first is active before any escape sequence. Wrong
        separators and letters in a term are corrected ("ISO-IR 100", "iso_ir192",
        "ISO_IR 149"), the name of a Python codec is accepted ("UTF-8"), an unknown
        term is Latin-1. UTF-8, GBK and GB18030, which do
        not allow other terms, are used alone if they come first and ignored
        otherwise.

    Examples
    --------
    >>> encodings("ISO_IR 192")
    ('UTF8',)
    >>> encodings(["", "ISO 2022 IR 87"])
    ('iso8859', 'iso2022_jp')
    """
    terms = _terms(value)
    if terms[0] in _STAND_ALONE:
        del terms[1:]
    others = (_codec_of(term) for term in terms[1:] if term not in _STAND_ALONE)
    return (_codec_of(terms[0]), *others)


def undefined_terms(value: str | Sequence[str] | None) -> tuple[str, ...]:
    """Return the terms that PS3.3 C.12.1.1.2 does not define at their position.

    Parameters
    ----------
    value : str, sequence of str or None
        The defined terms.

    Returns
    -------
    tuple of str
        Unknown terms, and those that do not allow other terms but have some.

    Examples
    --------
    >>> undefined_terms("ISO-IR 100")
    ('ISO-IR 100',)
    """
    terms = _terms(value)
    return tuple(
        term for term in terms if term not in _TERMS or (len(terms) > 1 and term in _STAND_ALONE)
    )


def decode(
    data: bytes,
    encodings: Sequence[str],
    delimiters: Collection[int] = TEXT_DELIMITERS,
    strict: bool = False,
) -> str:
    r"""Return the text of a value.

    Parameters
    ----------
    data : bytes
        The value with all its components and backslashes.
    encodings : sequence of str
        Codecs, as `encodings` returns them.
    delimiters : collection of int
        The bytes after which the first codec is active again.
    strict : bool
        Raise an error for invalid bytes; by default they become U+FFFD.

    Returns
    -------
    str

    Raises
    ------
    UnicodeError
        If `strict`.

    Examples
    --------
    >>> decode(b"Gr\xf6\xdfe", ("latin_1",))
    'Größe'
    """
    first, *fragments = data.split(_ESC)
    texts = [first.decode(encodings[0], "strict" if strict else "replace")]
    for fragment in fragments:
        texts.append(_decode_escaped(_ESC + fragment, encodings, delimiters, strict))
    return "".join(texts)


def _decode_escaped(
    fragment: bytes, encodings: Sequence[str], delimiters: Collection[int], strict: bool
) -> str:
    """Return the text of bytes that begin with an escape sequence."""
    size = 4 if fragment[:3] in (b"\x1b$(", b"\x1b$)") else 3
    encoding = _ESCAPES.get(fragment[:size])
    if encoding is not None and (encoding in encodings or encoding == DEFAULT):
        try:
            if encoding in _SELF_ESCAPED:
                return fragment.decode(encoding)
            rest = fragment[size:]
            end = next((i for i, byte in enumerate(rest) if byte in delimiters), len(rest))
            return rest[:end].decode(encoding) + rest[end:].decode(encodings[0])
        except UnicodeError:
            if strict:
                raise
    elif strict:
        raise UnicodeDecodeError(
            encodings[0], fragment, 0, size, "escape sequence of a set that is not declared"
        )
    return fragment.decode(encodings[0], "replace")


def encode(text: str, encodings: Sequence[str], strict: bool = False) -> bytes:
    r"""Return the bytes of a text, with the escape sequences it needs.

    The first codec is used if it can encode all of the text. Otherwise each
    line is divided into parts, each in the codec that encodes most of it.

    Parameters
    ----------
    text : str
        The text.
    encodings : sequence of str
        Codecs, as the function `encodings` returns them.
    strict : bool
        Raise an error for characters that no codec can encode; by default the
        text is encoded by the first one, with question marks.

    Returns
    -------
    bytes

    Raises
    ------
    UnicodeEncodeError
        If `strict`.

    Examples
    --------
    >>> encode("Größe", ("latin_1",))
    b'Gr\xf6\xdfe'
    """
    try:
        return _encode_initial(text, encodings[0])
    except UnicodeError:
        if strict and len(encodings) == 1:
            raise
    for delimiter in "\r\n\t\f":
        if delimiter in text:
            return delimiter.encode().join(
                encode(line, encodings, strict) for line in text.split(delimiter)
            )
    if len(encodings) > 1:
        try:
            return _encode_parts(text, encodings)
        except UnicodeError:
            if strict:
                raise
    return _encode_initial(text, encodings[0], "replace")


def encode_pn(text: str, encodings: Sequence[str], strict: bool = False) -> bytes:
    """Return the bytes of one person name.

    Each component is encoded separately, because ``^`` and ``=`` activate the
    first character set again (PS3.5 6.1.2.5.3).

    Parameters
    ----------
    text : str
        The name, as in "family^given=...=...".
    encodings, strict
        As of `encode`.

    Returns
    -------
    bytes

    Raises
    ------
    UnicodeEncodeError
        If `strict`.

    Examples
    --------
    >>> encode_pn("Doe^Jane", ("iso8859",))
    b'Doe^Jane'
    """
    groups = [
        b"^".join(encode(part, encodings, strict) for part in group.split("^"))
        for group in text.split("=")
    ]
    while groups and not groups[-1]:
        groups.pop()
    return b"=".join(groups)


def _encode_initial(text: str, encoding: str, errors: str = "strict") -> bytes:
    """Return the text in the codec that needs no escape sequence."""
    if encoding != "shift_jis":
        return text.encode(encoding, errors)
    # Used for JIS X 0201, in which a character is one byte.
    data = [character.encode(encoding, errors) for character in text]
    for i, code in enumerate(data):
        if len(code) > 1:
            if errors == "strict":
                raise UnicodeEncodeError(encoding, text, i, i + 1, "not in JIS X 0201")
            data[i] = b"?"
    return b"".join(data)


def _encode_parts(text: str, encodings: Sequence[str]) -> bytes:
    """Return the text in parts, each after the escape sequence of its codec."""
    candidates = [encoding for encoding in encodings if encoding in _ESCAPE_OF]
    roman = b"\x1b(J" if encodings[0] == "shift_jis" else b"\x1b(B"
    out = b""
    in_kanji = False  # G0 contains a set of two bytes
    while text:
        best, taken = "", 0
        for encoding in candidates:
            size = _encodable(text, encoding)
            if size > taken:
                best, taken = encoding, size
        if not taken:
            raise UnicodeEncodeError(encodings[0], text, 0, 1, "in none of the character sets")
        if best in _SELF_ESCAPED:
            encoder = codecs.getincrementalencoder(best)()
            out += encoder.encode(text[:taken])
            in_kanji = True
        else:
            data = text[:taken].encode(best)
            escape = _ESCAPE_OF[best]
            if best == "shift_jis" and data[0] >= 0x80:
                escape = b"\x1b)I"
            elif in_kanji:
                # An escape sequence for G1 does not change G0.
                out += b"" if escape[1:2] == b"(" else roman
                in_kanji = False
            out += escape + data
        text = text[taken:]
    return out + roman if in_kanji else out


def _encodable(text: str, encoding: str) -> int:
    """Return how many of the first characters can follow one escape sequence."""
    if encoding not in _NARROWER:
        try:
            text.encode(encoding)
        except UnicodeEncodeError as error:
            return error.start
        return len(text)
    encoder = codecs.getincrementalencoder(encoding)()
    first = None
    for i, character in enumerate(text):
        try:
            code = encoder.encode(character)
        except UnicodeEncodeError:
            return i
        first = first or code
        if encoding == "shift_jis":
            # JIS X 0201: one byte each, all of the same half.
            if len(code) > 1 or (code[0] ^ first[0]) & 0x80:
                return i
        # These codecs write an escape sequence to enter or to leave a set.
        elif not code.startswith(_ESCAPE_OF[encoding]) if i == 0 else code[:1] == _ESC:
            return i
    return len(text)
