"""Specific Character Set (0008,0005): bytes to text and back.

PS3.3 C.12.1.1.2 defines the terms, PS3.5 6.1 and its annexes H, I, J and K
how a value switches between character sets by escape sequences (ISO 2022).
A character set is known here by the name of a Python codec.

Text is read as pydicom 3.0 reads it, leniency included, but for ISO 2022 IR 58,
whose escape sequences are no part of the text. It is written as pydicom writes
it, but for texts which that would spoil: in IR 58, in several lines, in both
halves of JIS X 0201, in kanji beside a set of G1. Nothing here warns: what was
wrong is learnt from `undefined_terms` and from the ``strict`` argument.
"""

import codecs

# The default repertoire is ISO IR 6; Latin-1 loses no byte of a careless file.
DEFAULT = "iso8859"

# A delimiter ends what an escape sequence switched on (PS3.5 6.1.2.5.3).
TEXT_DELIMITERS = frozenset(b"\r\n\t\f")
PN_DELIMITERS = frozenset(b"^=")

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
        # CP-1234 found these two in files.
        "ISO 2022 GBK": "GBK",
        "ISO 2022 58": "GB2312",
    }
)

# Without code extensions (PS3.3 table C.12-5).
_STAND_ALONE = ("ISO_IR 192", "GBK", "GB18030")

# Python has codecs that are no character sets; some are slow on hostile bytes.
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
    b"\x1b)I": "shift_jis",
    b"\x1b(J": "shift_jis",  # ISO IR 13, 14
    b"\x1b$B": "iso2022_jp",
    b"\x1b$(D": "iso2022_jp_2",
    b"\x1b$)C": "euc_kr",
    b"\x1b$)A": "iso_ir_58",
}
# The one to write; of the two halves of JIS X 0201 the Roman one.
_ESCAPE_OF = {codec: escape for escape, codec in _ESCAPES.items()}

# These codecs read and write escape sequences themselves.
_SELF_ESCAPED = ("iso2022_jp", "iso2022_jp_2")
# These codecs can do more than the character set that they stand for.
_NARROWER = _SELF_ESCAPED + ("shift_jis",)


def _is_codec(name):
    try:
        if codecs.lookup(name).name in _NO_CHARSETS:
            return False
        b" ".decode(name)
    except UnicodeError:
        return True
    except (LookupError, ValueError):  # ValueError: a NUL in the name
        return False
    return True


def _codec_of(term):
    """The codec of a term, allowing for a wrong separator."""
    if term in _TERMS:
        return _TERMS[term]
    if term[:3] == "ISO" and term[3:4] != "_" and term[4:6] == "IR":
        return _TERMS.get("ISO_IR" + term[6:], DEFAULT)
    if (term[:3], term[4:8], term[9:11]) == ("ISO", "2022", "IR") and term[11:]:
        return _TERMS.get("ISO 2022 IR " + term[12:], DEFAULT)
    return term if _is_codec(term) else DEFAULT


def _terms(value):
    if not value:
        return [""]
    return [value] if isinstance(value, str) else list(value)


def encodings(value) -> tuple[str, ...]:
    """The Python codecs of a Specific Character Set.

    value : None, str or sequence of str, one per term.

    Returns a tuple of str, never empty: the first is the one before any
    escape sequence. A wrong separator is mended, the name of a Python codec
    is taken as it stands, an unknown term is Latin-1, and a stand-alone term
    (UTF-8, GBK, GB18030) in company stands alone when it is the first, and is
    left out when not.
    """
    terms = _terms(value)
    if terms[0] in _STAND_ALONE:
        del terms[1:]
    return (_codec_of(terms[0]),) + tuple(
        _codec_of(term) for term in terms[1:] if term not in _STAND_ALONE
    )


def undefined_terms(value) -> tuple[str, ...]:
    """The terms, as a tuple of str, that are not defined where they stand:
    misspelt or unknown, or stand-alone ones in company."""
    terms = _terms(value)
    return tuple(
        term for term in terms if term not in _TERMS or (len(terms) > 1 and term in _STAND_ALONE)
    )


def decode(data: bytes, encodings, delimiters=TEXT_DELIMITERS, strict: bool = False) -> str:
    """The text of a value, as str.

    data : bytes of the value, all components, with backslashes.
    encodings : as `encodings` returns them.
    delimiters : set of int, the bytes after which the first encoding counts
        again.
    strict : raise UnicodeError for bytes that do not fit; else they become
        U+FFFD.
    """
    first, *fragments = data.split(_ESC)
    texts = [first.decode(encodings[0], "strict" if strict else "replace")]
    for fragment in fragments:
        texts.append(_decode_escaped(_ESC + fragment, encodings, delimiters, strict))
    return "".join(texts)


def _decode_escaped(fragment, encodings, delimiters, strict):
    size = 4 if fragment[:3] in (b"\x1b$(", b"\x1b$)") else 3
    encoding = _ESCAPES.get(fragment[:size])
    if encoding in encodings or encoding == DEFAULT:
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
            encodings[0], fragment, 0, size, "escape sequence of no announced set"
        )
    return fragment.decode(encodings[0], "replace")


def encode(text: str, encodings, strict: bool = False) -> bytes:
    """The bytes of a text, with the escape sequences that it needs.

    The first encoding is used when it can take all of the text. Else, line by
    line, each part is written in the one that takes most of it. Where none
    can: with `strict` UnicodeEncodeError, else the first one with question
    marks.
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


def encode_pn(text: str, encodings, strict: bool = False) -> bytes:
    """The bytes of one person name, as str "family^given=...=...": each part
    by itself, for ``^`` and ``=`` end what an escape sequence switched on."""
    groups = [
        b"^".join(encode(part, encodings, strict) for part in group.split("^"))
        for group in text.split("=")
    ]
    while groups and not groups[-1]:
        groups.pop()
    return b"=".join(groups)


def _encode_initial(text, encoding, errors="strict"):
    """Text in the encoding that needs no escape sequence."""
    if encoding != "shift_jis":
        return text.encode(encoding, errors)
    # Stands for JIS X 0201, in which a character is one byte.
    data = [character.encode(encoding, errors) for character in text]
    for i, code in enumerate(data):
        if len(code) > 1:
            if errors == "strict":
                raise UnicodeEncodeError(encoding, text, i, i + 1, "not in JIS X 0201")
            data[i] = b"?"
    return b"".join(data)


def _encode_parts(text, encodings):
    """Text in parts, each after the escape sequence of its encoding."""
    candidates = [encoding for encoding in encodings if encoding in _ESCAPE_OF]
    roman = b"\x1b(J" if encodings[0] == "shift_jis" else b"\x1b(B"
    out = b""
    in_kanji = False  # G0 holds a set of two bytes
    while text:
        best, taken = None, 0
        for encoding in candidates:
            size = _fitting(text, encoding)
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
                # What switches G1 alone leaves G0 as it was.
                out += b"" if escape[1:2] == b"(" else roman
                in_kanji = False
            out += escape + data
        text = text[taken:]
    return out + roman if in_kanji else out


def _fitting(text, encoding):
    """How many characters from the first one an escape sequence covers."""
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
            # JIS X 0201: one byte each, in the half that was switched to.
            if len(code) > 1 or (code[0] ^ first[0]) & 0x80:
                return i
        # These codecs write an escape sequence to enter or to leave a set.
        elif not code.startswith(_ESCAPE_OF[encoding]) if i == 0 else code[:1] == _ESC:
            return i
    return len(text)
