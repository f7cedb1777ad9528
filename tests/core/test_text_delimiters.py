"""Delimiters and control characters end an escape sequence (PS3.5 6.1.2.5.3)."""

import itertools

import pytest

import fastdcm
from support import builder as b

# {set: (escape sequence, codec, two characters that it has)}
SETS = {
    "100": (b"\x1b-A", "latin-1", "éß"),
    "101": (b"\x1b-B", "iso8859-2", "łś"),
    "109": (b"\x1b-C", "iso8859-3", "ĦŬ"),
    "110": (b"\x1b-D", "iso8859-4", "ĸŋ"),
    "126": (b"\x1b-F", "iso8859-7", "Διον"),
    "127": (b"\x1b-G", "iso8859-6", "قب"),
    "138": (b"\x1b-H", "iso8859-8", "שר"),
    "144": (b"\x1b-L", "iso8859-5", "Жя"),
    "148": (b"\x1b-M", "iso8859-9", "ğş"),
    "166": (b"\x1b-T", "tis-620", "นา"),
    "203": (b"\x1b-b", "iso8859-15", "€ž"),
    "149": (b"\x1b$)C", "euc_kr", "김희"),
    "58": (b"\x1b$)A", "gb2312", "张小"),
}
FIRST = [name for name in SETS if name not in ("149", "58")]
# {VR: (tag, delimiters)}; a backslash is a character of LT and UT.
VRS = {
    "PN": (0x00100010, "^=\\"),
    "LO": (0x00101000, "\\"),
    "LT": (0x00104000, "\r\n\t\f"),
    "UT": (0x0040A160, "\r\n\t\f"),
}


def read(path, terms, tag, vr, raw):
    raw += b" " * (len(raw) % 2)
    body = b.element(0x00080005, "CS", terms) + b.element(tag, vr, raw)
    path.write_bytes(b.part10(body))
    keyword = fastdcm.keyword_for_tag(tag)
    ds = fastdcm.dcmread(path)
    value = ds[tag].value
    text = "\\".join(map(str, value)) if isinstance(value, list) else str(value)
    assert not ds.issues
    row = fastdcm.scan([path], [keyword]).read_all().to_pylist()[0]
    cell = row[keyword]
    assert ("\\".join(cell) if isinstance(cell, list) else cell) == text
    assert row["issues"] is None
    return text


@pytest.mark.parametrize(("first", "other"), itertools.product(FIRST, SETS))
def test_after_a_delimiter_the_first_set_is_active(tmp_path, first, other):
    if first == other:
        return
    _, codec, text = SETS[first]
    escape, other_codec, other_text = SETS[other]
    terms = [f"ISO 2022 IR {first}", f"ISO 2022 IR {other}"]
    own, foreign = text.encode(codec), escape + other_text.encode(other_codec)
    for vr, (tag, delimiters) in VRS.items():
        for delimiter in delimiters:
            mark = delimiter.encode()
            raw = own + mark + foreign + mark + own
            expected = f"{text}{delimiter}{other_text}{delimiter}{text}"
            assert read(tmp_path / "a.dcm", terms, tag, vr, raw) == expected, (vr, delimiter)
        if vr in ("LT", "UT"):
            raw = foreign + b"\\" + other_text.encode(other_codec)
            assert read(tmp_path / "a.dcm", terms, tag, vr, raw) == f"{other_text}\\{other_text}"


@pytest.mark.parametrize("vr", ["PN", "LO", "LT"])
def test_a_backslash_inside_kanji(tmp_path, vr):
    # 0x5C and 0x5E are second bytes of these.
    text = "表構能予昨"
    raw = text.encode("iso2022_jp")
    tag = VRS[vr][0]
    assert read(tmp_path / "a.dcm", ["", "ISO 2022 IR 87"], tag, vr, raw) == text
    gbk = "乗乣"
    assert b"\\" in gbk.encode("gbk")
    assert read(tmp_path / "a.dcm", ["GBK"], tag, vr, gbk.encode("gbk")) == gbk


def test_each_level_has_its_own_character_set(tmp_path):
    inner = b.element(0x00080005, "CS", ["ISO 2022 IR 101", "ISO 2022 IR 144"])
    inner += b.element(0x00100010, "PN", "ł".encode("iso8859-2") + b"^\x1b-L\xb6^\xb3")
    body = b.element(0x00080005, "CS", ["ISO 2022 IR 100", "ISO 2022 IR 101"])
    body += b.sequence(0x00081140, [inner, b.element(0x00100010, "PN", b"\xe9^\x1b-B\xb3^\xe9")])
    path = tmp_path / "a.dcm"
    path.write_bytes(b.part10(body))
    first, second = fastdcm.dcmread(path).ReferencedImageSequence
    assert (str(first.PatientName), str(second.PatientName)) == ("ł^Ж^ł", "é^ł^é")
    tag = "ReferencedImageSequence[*].PatientName"
    assert fastdcm.scan([path], [tag]).read_all()[tag].to_pylist() == [["ł^Ж^ł", "é^ł^é"]]
