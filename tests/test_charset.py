"""charset.py against the examples of PS3.5 and against pydicom."""

import random

import pydicom
import pytest
from pydicom import charset as theirs
from pydicom.valuerep import CUSTOMIZABLE_CHARSET_VR, PersonName, _encode_personname

from fastdcm import charset
from fastdcm.charset import PN_DELIMITERS, TEXT_DELIMITERS, decode, encode, encode_pn, encodings

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:pydicom")

IR_87 = ["", "ISO 2022 IR 87"]
IR_13_87 = ["ISO 2022 IR 13", "ISO 2022 IR 87"]
IR_149 = ["", "ISO 2022 IR 149"]
IR_58 = ["", "ISO 2022 IR 58"]

# PS3.5 annexes H, I, J and K and similar ones: the text that a reader expects.
EXAMPLES = [
    (
        IR_87,
        b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B=\x1b$B$d$^$@\x1b(B^\x1b$B$?$m$&\x1b(B",
        "Yamada^Tarou=山田^太郎=やまだ^たろう",
    ),
    (
        IR_13_87,
        b"\xd4\xcf\xc0\xde^\xc0\xdb\xb3=\x1b$B;3ED\x1b(J^\x1b$BB@O:\x1b(J="
        b"\x1b$B$d$^$@\x1b(J^\x1b$B$?$m$&\x1b(J",
        "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎=やまだ^たろう",
    ),
    ("ISO_IR 13", b"\xd4\xcf\xc0\xde^\xc0\xdb\xb3", "ﾔﾏﾀﾞ^ﾀﾛｳ"),
    (["", "ISO 2022 IR 159"], b"a\x1b$(D0!\x1b(Bb", "a丂b"),
    (
        IR_149,
        b"Hong^Gildong=\x1b$)C\xfb\xf3^\x1b$)C\xd1\xce\xd4\xd7=\x1b$)C\xc8\xab^\x1b$)C\xb1\xe6\xb5\xbf",
        "Hong^Gildong=洪^吉洞=홍^길동",
    ),
    (IR_58, b"Zhang^XiaoDong=\x1b$)A\xd5\xc5^\x1b$)A\xd0\xa1\xb6\xab=", "Zhang^XiaoDong=张^小东="),
    (
        IR_58,
        b"1. \x1b$)A\xb5\xda\xd2\xbb\r\n2. \x1b$)A\xb5\xda\xb6\xfe\r\n",
        "1. 第一\r\n2. 第二\r\n",
    ),
    (
        "ISO_IR 192",
        b"Wang^XiaoDong=\xe7\x8e\x8b^\xe5\xb0\x8f\xe6\x9d\xb1=",
        "Wang^XiaoDong=王^小東=",
    ),
    ("GB18030", b"Wang^XiaoDong=\xcd\xf5^\xd0\xa1\xb6\xab=", "Wang^XiaoDong=王^小东="),
    ("GBK", b"\xcd\xf5\x81\x5c\\", "王乗\\"),  # a backslash inside a character
    ("ISO_IR 100", b"Buc^J\xe9r\xf4me", "Buc^Jérôme"),
    ("ISO_IR 101", b"W\xb3a\xb6", "Właś"),
    ("ISO_IR 109", b"\xa1\xe6", "Ħĉ"),
    ("ISO_IR 110", b"\xa2\xbf", "ĸŋ"),
    ("ISO_IR 126", b"\xc4\xe9\xef\xed\xf5\xf3\xe9\xef\xf2", "Διονυσιος"),
    ("ISO_IR 127", b"\xe2\xc8\xc7\xe6\xea^\xe4\xe6\xd2\xc7\xd1", "قباني^لنزار"),
    ("ISO_IR 138", b"\xf9\xf8\xe5\xef^\xe3\xe1\xe5\xf8\xe4", "שרון^דבורה"),
    ("ISO_IR 144", b"\xbb\xee\xda\x63\xd5\xdc\xd1\xe3\xe0\xd3", "Люкcембург"),  # noqa: RUF001  # Cyrillic
    ("ISO_IR 148", b"\xc7avu\xfeo\xf0lu", "Çavuşoğlu"),
    ("ISO_IR 166", b"\xb9\xd2\xc2", "นาย"),
    (
        ["ISO 2022 IR 100", "ISO 2022 IR 144", "ISO 2022 IR 126"],
        b"Dionysios \x1b-F\xc4\xe9\xef\r\n\xe9\x1b-L\xbb\xee\xda",
        "Dionysios Διο\r\néЛюк",
    ),
    (None, b"Buc^J\xe9r\xf4me", "Buc^Jérôme"),  # a careless file
]


@pytest.mark.parametrize("value, data, text", EXAMPLES)
def test_examples(value, data, text):
    assert decode(data, encodings(value), TEXT_DELIMITERS, True) == text


@pytest.mark.parametrize("value, data, text", EXAMPLES)
def test_examples_written_and_read_again(value, data, text):
    codecs = encodings(value)
    assert decode(encode(text, codecs, True), codecs, TEXT_DELIMITERS, True) == text
    name = encode_pn(text, codecs, True)
    assert decode(name, codecs, PN_DELIMITERS, True) == text.rstrip("=")


# ------------------------------------------------------- terms to codecs ---

# Defined terms of PS3.3 C.12.1.1.2, and the two of CP-1234.
DEFINED = [
    f"{kind} {n}"
    for kind in ("ISO_IR", "ISO 2022 IR")
    for n in (13, 100, 101, 109, 110, 126, 127, 138, 144, 148, 166)
]
DEFINED += [
    "ISO 2022 IR 6",
    "ISO_IR 6",
    "",
    "ISO 2022 IR 58",
    "ISO 2022 IR 87",
    "ISO 2022 IR 149",
    "ISO 2022 IR 159",
    "ISO_IR 192",
    "GB18030",
    "GBK",
    "ISO 2022 GBK",
    "ISO 2022 58",
]
MISSPELT = [
    "ISO IR 100",
    "ISO-IR 144",
    "ISO.IR 192",
    "ISO IR 999",
    "ISO-2022-IR-149",
    "ISO_2022_IR_87",
    "ISO 2022-IR 13",
    "ISO 2022 IR-58",
    "ISO-2022 IR 999",
]
FOREIGN = ["latin1", "utf-8", "UTF8", "cp1252", "ascii"]
UNKNOWN = [
    "nonsense",
    "ISO",
    "ISO-",
    "ISO-IR",
    "ISO_IR",
    "ISO 2022 IR",
    "ISO 2022 IR ",
    "hex",
    "rot13",
    "\xe9",
    "x" * 1000,
]


# Terms that pydicom does not know, or reads as Latin-1 (with the codec that is meant).
OF_OUR_OWN = {
    "ISO_IR 203": "iso8859_15",  # CP-2113
    "ISO 2022 IR 203": "iso8859_15",
    "ISO_IR 149": "euc_kr",
    "ISO IR 149": "euc_kr",
    "ISO-IR 149": "euc_kr",
    "ISO_IR 58": "iso_ir_58",
    "ISO_IR 87": "iso2022_jp",
    "ISO_IR192": "UTF8",
    "ISO_IR_192": "UTF8",
    "ISO 2022 IR 192": "UTF8",
    "ISO_2022_IR_192": "UTF8",
    "ISO2022 IR 100": "latin_1",
    "ISO2022IR6": "iso8859",
    "ISO 2022 100": "latin_1",
    "ISO_IR_100": "latin_1",
    "ISO_IR100": "latin_1",
    " ISO_IR 101 ": "iso8859_2",
    "iso_ir 144": "iso_ir_144",
    "Iso-Ir-166": "iso_ir_166",
}


def test_terms_are_those_of_pydicom():
    assert set(DEFINED) == set(theirs.python_encoding)


@pytest.mark.parametrize(("term", "codec"), OF_OUR_OWN.items())
def test_terms_that_are_corrected(term, codec):
    assert encodings(term) == (codec,)
    assert encodings(["ISO_IR 100", term])[-1] == codec or codec == "UTF8"
    expected = () if term.endswith("203") else (term,)
    assert charset.undefined_terms(term) == expected


@pytest.mark.parametrize("term", DEFINED + MISSPELT + FOREIGN + UNKNOWN)
def test_encodings_of_a_term(term):
    expected = theirs.convert_encodings(term)[0]
    if term in ("hex", "rot13"):  # pydicom finds out when it decodes
        expected = "iso8859"
    assert encodings(term) == encodings([term]) == (expected,)
    assert charset.undefined_terms(term) == (() if term in DEFINED else (term,))
    assert b"Az".decode(encodings(term)[0])


@pytest.mark.parametrize("value", [None, "", [], (), [""]])
def test_no_character_set_is_the_default(value):
    assert encodings(value) == ("iso8859",) == tuple(theirs.convert_encodings(value))
    assert charset.undefined_terms(value) == ()


@pytest.mark.parametrize(
    "name", ["idna", "punycode", "undefined", "unicode_escape", "raw-unicode-escape", "a\0b"]
)
def test_codecs_that_are_not_character_sets(name):
    assert encodings(name) == ("iso8859",)
    assert charset.undefined_terms(name) == (name,)


@pytest.mark.parametrize(
    "value, codecs, undefined",
    [
        (["ISO_IR 192", "ISO 2022 IR 87"], ("UTF8",), ("ISO_IR 192",)),
        (["GB18030", "nonsense"], ("GB18030",), ("GB18030", "nonsense")),
        (["", "ISO_IR 192"], ("iso8859",), ("ISO_IR 192",)),
        (
            ["ISO_IR 100", "GBK", "ISO 2022 IR 87", "GB18030"],
            ("latin_1", "iso2022_jp"),
            ("GBK", "GB18030"),
        ),
        (["ISO_IR 100", "ISO_IR 144"], ("latin_1", "iso_ir_144"), ()),
        (["", ""], ("iso8859", "iso8859"), ()),
        (("ISO IR 100", "nonsense"), ("latin_1", "iso8859"), ("ISO IR 100", "nonsense")),
    ],
)
def test_encodings_of_several_terms(value, codecs, undefined):
    assert encodings(value) == codecs == tuple(theirs.convert_encodings(list(value)))
    assert charset.undefined_terms(value) == undefined


def test_argument_is_not_changed():
    value = ["GBK", "ISO 2022 IR 87"]
    encodings(value), charset.undefined_terms(value)
    assert value == ["GBK", "ISO 2022 IR 87"]


# --------------------------------------------------------------- pydicom ---


def raw_texts(ds, terms=None):
    """(raw bytes, terms, pydicom's value) of each text element at any depth.
    An item has the character set of what it is in, unless it has its own
    (PS3.3 C.12.1.1.2)."""
    terms = ds.get("SpecificCharacterSet") or terms
    for tag in sorted(ds.keys()):
        raw = ds.get_item(tag)
        element = ds[tag]
        if element.VR == "SQ":
            for item in element.value:
                yield from raw_texts(item, terms)
        elif element.VR in CUSTOMIZABLE_CHARSET_VR and raw.value:
            yield raw.value, terms, element.value


def test_every_text_of_the_charset_files_of_pydicom(pydicom_files):
    files = texts = beyond_ascii = 0
    for path in pydicom_files:
        if path.parent.name != "charset_files" or path.suffix != ".dcm":
            continue
        files += 1
        for data, terms, value in raw_texts(pydicom.dcmread(path)):
            text = decode(data, encodings(terms))
            parts = [part.rstrip("\0 ").rstrip("=") for part in text.split("\\")]
            expected = [value] if isinstance(value, (str, PersonName)) else list(value)
            assert parts == [str(part) for part in expected]
            texts += 1
            beyond_ascii += not text.isascii()
    assert files == 17 and texts > 130 and beyond_ascii >= 25


PIECES = [*theirs.CODES_TO_ENCODINGS, b"\x1b", b"\x1b$", b"\x1b$(", b"\x1b(Z", b"\x1b$)Z"]
BYTES = [
    b"abc",
    b"\\",
    b"^",
    b"=",
    b"\r\n",
    b"\t",
    b"\x0c",
    b"\xb1\xe8",
    b"\xd5\xc5",
    b";3",
    b"\xc4\xcf",
    b"\xff",
    b"\x80",
    b" ",
    b"\x83",
    b"\xe4",
    b"$",
]
CHARACTERS = "aZ^=\\ é中文山田太郎ﾔﾏﾀﾞΔЖא김희중ü髙侭丂\U0001f600\r\nşไŁ¥‾~"


def random_value(random_):
    pool = DEFINED + MISSPELT + FOREIGN + ["nonsense"]
    return random_.choices(pool, k=random_.choice([1, 1, 2, 3]))


@pytest.mark.parametrize("seed", range(4))
def test_random_bytes_as_pydicom(seed):
    random_ = random.Random(seed)
    for _ in range(5000):
        value = random_value(random_)
        codecs = theirs.convert_encodings(value)
        assert encodings(value) == tuple(codecs)
        if "iso_ir_58" in codecs:  # see test_ir_58_unlike_pydicom
            continue
        data = b"".join(
            random_.choice(PIECES)
            if random_.random() < 0.3
            else random_.choice(BYTES)
            if random_.random() < 0.9
            else bytes([random_.randrange(256)])
            for _ in range(random_.randrange(8))
        )
        for delimiters in ({0x5E}, theirs.TEXT_VR_DELIMS):
            expected = theirs.decode_bytes(data, codecs, delimiters)
            assert decode(data, tuple(codecs), delimiters) == expected, (value, data)


JAPANESE = {"shift_jis", "iso2022_jp", "iso2022_jp_2"}


def written_differently(codecs):
    """Return whether pydicom writes bytes that it or other readers cannot read.

    It uses only one half of JIS X 0201; kanji as the first set have no end; after
    kanji, G0 does not return to letters if the first set has no escape sequence
    for G0; and it switches to sets without an escape sequence.
    """
    rest = set(codecs[1:])
    return (
        codecs[0] in JAPANESE
        or "iso_ir_58" in codecs
        or (rest and not set(codecs) <= set(theirs.CODES_TO_ENCODINGS.values()))
        or (rest & {"iso2022_jp", "iso2022_jp_2"} and set(codecs) - JAPANESE - {"iso8859"})
    )


@pytest.mark.parametrize("seed", range(4))
def test_random_texts_as_pydicom(seed):
    random_, compared = random.Random(seed), 0
    for _ in range(5000):
        codecs = encodings(random_value(random_))
        if written_differently(codecs):
            continue
        # pydicom writes no escape sequence again after the end of a line.
        text = "".join(random_.choices(CHARACTERS.replace("\r\n", ""), k=random_.randrange(7)))
        assert encode(text, codecs) == theirs.encode_string(text, codecs), (codecs, text)
        assert encode_pn(text, codecs) == _encode_personname(text.split("="), codecs)
        compared += 1
    assert compared > 2000


@pytest.mark.parametrize("seed", range(4))
def test_random_texts_round_trip(seed):
    """Except the yen sign and the overline, which have the codes of backslash and
    tilde in JIS X 0201; Python reads them as these."""
    random_, read = random.Random(seed), 0
    for _ in range(5000):
        codecs = encodings(random_value(random_))
        # As the first set the codecs for kanji write other Japanese sets too.
        strict = codecs[0] not in ("iso2022_jp", "iso2022_jp_2")
        text = "".join(random_.choices(CHARACTERS.strip("¥‾~"), k=random_.randrange(7)))
        text = text.replace("¥", "").replace("‾", "")
        name = text.replace("\r", "").replace("\n", "").replace("\\", "")
        try:
            data, of_name = encode(text, codecs, True), encode_pn(name, codecs, True)
        except UnicodeEncodeError:
            continue
        assert decode(data, codecs, TEXT_DELIMITERS, strict) == text, (codecs, data)
        back = decode(of_name, codecs, PN_DELIMITERS, strict)
        assert back.rstrip("=") == name.rstrip("="), (codecs, of_name)
        read += 1
    assert read > 1000


@pytest.mark.parametrize(
    "value, text, data",
    [
        ("ISO_IR 13", "ﾔﾏﾀﾞ^A", b"\xd4\xcf\xc0\xde^A"),
        (["ISO 2022 IR 100", "ISO 2022 IR 87"], "é山", b"\x1b-A\xe9\x1b$B;3\x1b(B"),
        (["ISO 2022 IR 100", "ISO 2022 IR 87"], "山éA", b"\x1b$B;3\x1b(B\x1b-A\xe9A"),
        (["", "ISO 2022 IR 87"], "山A", b"\x1b$B;3\x1b(BA"),
        (["ISO 2022 IR 13", "ISO 2022 IR 87"], "山ﾔA", b"\x1b$B;3\x1b)I\xd4\x1b(JA"),
        (IR_149, "김\r\n김", b"\x1b$)C\xb1\xe8\r\n\x1b$)C\xb1\xe8"),
        (["ISO 2022 IR 87"], "山A", b"\x1b$B;3\x1b(BA"),
    ],
)
def test_escape_sequences_that_any_reader_understands(value, text, data):
    codecs = encodings(value)
    assert encode(text, codecs, True) == data
    assert decode(data, codecs, TEXT_DELIMITERS, True) == text


def test_ir_58_unlike_pydicom():
    """pydicom leaves the escape sequences in the text, and writes none."""
    codecs = encodings(IR_58)
    data = b"Zhang=\x1b$)A\xd5\xc5^\x1b$)A\xd0\xa1\xb6\xab"
    assert decode(data, codecs) == "Zhang=张^小东"
    assert theirs.decode_bytes(data, codecs, theirs.TEXT_VR_DELIMS) == (
        "Zhang=\x1b$)A张^\x1b$)A小东"
    )
    assert encode_pn("Zhang=张^小东", codecs) == data
    assert theirs.encode_string("张", codecs) == b"\xd5\xc5"


# -------------------------------------- characters that cannot be converted ---


@pytest.mark.parametrize(
    "value, data, lossy",
    [
        ("ISO_IR 192", b"a\xff\xfeb", "a��b"),
        ("ISO_IR 192", b"\xe7\x8e", "�"),
        ("ascii", b"\xe9", "�"),
        ("GB18030", b"\xff", "�"),
        (IR_87, b"a\x1b$B\x20\x20", "a\x1b$B  "),
        (IR_149, b"\x1b$)C\xff", "\x1b$)C\xff"),
        (IR_149, b"a\x1b-Fb", "a\x1b-Fb"),  # not announced
        ("", b"a\x1b$B;3\x1b(Bb", "a\x1b$B;3b"),
        (IR_149, b"a\x1b", "a\x1b"),
        (IR_149, b"a\x1b$", "a\x1b$"),
        (IR_149, b"\x1b" * 5, "\x1b" * 5),
    ],
)
def test_bytes_that_do_not_fit(value, data, lossy):
    codecs = encodings(value)
    assert decode(data, codecs) == lossy
    with pytest.raises(UnicodeError):
        decode(data, codecs, TEXT_DELIMITERS, True)
    assert theirs.decode_bytes(data, codecs, theirs.TEXT_VR_DELIMS) == lossy


@pytest.mark.parametrize(
    "value, text, lossy",
    [
        ("", "a中b", b"a?b"),
        ("ISO_IR 13", "中é\\", b"??\\"),
        ("ISO_IR 100", "Ж", b"?"),
        (IR_87, "a\U0001f600", b"a?"),
        (["ISO 2022 IR 100", "ISO 2022 IR 126"], "éЖ", b"\xe9?"),
        (["", "ISO 2022 58"], "中", b"?"),
    ],
)
def test_text_that_does_not_fit(value, text, lossy):
    codecs = encodings(value)
    assert encode(text, codecs) == lossy
    if not written_differently(codecs):
        assert theirs.encode_string(text, codecs) == lossy
    for write in (encode, encode_pn):
        with pytest.raises(UnicodeEncodeError):
            write(text, codecs, True)


def test_delimiters_end_an_escape_sequence():
    codecs = encodings(["ISO 2022 IR 100", "ISO 2022 IR 126"])
    assert decode(b"\x1b-F\xe4^\xe4=\xe4\xe4", codecs, PN_DELIMITERS) == "δ^ä=ää"
    assert decode(b"\x1b-F\xe4^\xe4\n\xe4", codecs, TEXT_DELIMITERS) == "δ^δ\nä"
    for delimiter in b"\r\n\t\f":
        data = b"\x1b-F\xe4" + bytes([delimiter]) + b"\xe4"
        assert decode(data, codecs) == "δ" + chr(delimiter) + "ä"


@pytest.mark.parametrize("value", [None, "ISO_IR 192", IR_87, ["ISO 2022 IR 87"], IR_13_87, IR_58])
def test_the_empty_text(value):
    codecs = encodings(value)
    assert decode(b"", codecs, TEXT_DELIMITERS, True) == ""
    assert encode("", codecs, True) == encode_pn("", codecs, True) == encode_pn("==", codecs) == b""


def test_long_malicious_values_take_linear_time():
    import time

    for data in (
        b"\x1b" * 200_000,
        b"\x1b$)C\n" * 50_000,
        b"\x1b$B" * 60_000,
        b"\xff" * 200_000,
        b"\x1b(B" + b"a" * 1_000_000,
    ):
        start = time.process_time()
        for value in (IR_149, IR_87, "ISO_IR 192", "utf-7"):
            decode(data, encodings(value))
        assert time.process_time() - start < 5
