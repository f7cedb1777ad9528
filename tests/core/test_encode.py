"""Encoding of values of every VR (PS3.5 6.2), and of text in character sets."""

import datetime
import io
import math

import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastdcm import Dataset, DicomError, dcmread
from fastdcm.core._encode import decimal
from fastdcm.errors import WriteError
from support import builder as b
from support.writing import ENCODINGS, body, read, written

EXPLICIT_LE, IMPLICIT_LE, EXPLICIT_BE = b.EXPLICIT_LE, b.IMPLICIT_LE, b.EXPLICIT_BE

# ------------------------------------------------------------- every VR ---

VALUES = {
    "AE": ("STORE", 0x00080055),
    "AS": ("042Y", 0x00101010),
    "AT": (0x00280010, 0x00280009),
    "CS": (["A", "BC"], 0x00080008),
    "DA": ("20240229", 0x00080020),
    "DS": ([0.5, -1.25], 0x00280030),
    "DT": ("20240229120000", 0x0008002A),
    "FL": (1.5, 0x00089459),
    "FD": ([1.1, 2.2], 0x00189087),
    "IS": ([1, -2], 0x00200013),
    "LO": ("a text", 0x00080080),
    "LT": ("a\r\nb", 0x00104000),
    "OB": (b"\1\2\3\4", 0x00420011),
    "OD": (bytes(16), 0x7FE00009),
    "OF": (bytes(8), 0x7FE00008),
    "OL": (bytes(8), 0x00660040),
    "OV": (bytes(8), 0x7FE00001),
    "OW": (b"\1\2\3\4", 0x00281201),
    "PN": ("Doe^Jane", 0x00100010),
    "SH": ("short", 0x00080050),
    "SL": ([-5, 5], 0x00186020),
    "SS": (-2, 0x00280106),
    "ST": ("a\\b", 0x00080081),
    "SV": (-(2**40), 0x00720082),
    "TM": ("120000.5", 0x00080030),
    "UC": ("unlimited", 0x00080119),
    "UI": ("1.2.3", 0x00080018),
    "UL": ([7, 2**32 - 1], 0x00089007),
    "UN": (b"\1\2", 0x00091001),
    "UR": ("http://x", 0x00080120),
    "US": ([1, 65535], 0x00280010),
    "UT": ("text\\with", 0x0040A160),
    "UV": (2**63, 0x00091040),
}


@pytest.mark.parametrize("encoding, syntax", ENCODINGS)
@pytest.mark.parametrize("vr", sorted(VALUES))
def test_every_vr_in_every_encoding(vr, encoding, syntax):
    value, tag = VALUES[vr]
    ds = Dataset()
    ds.add_new(tag, vr, value)
    raw = written(ds, transfer_syntax=syntax)[len(written(Dataset(), transfer_syntax=syntax)) :]
    # Numbers as text and names are joined by backslashes.
    assert raw == b.element(tag, vr, value, encoding=encoding)


def test_the_table_above_has_every_vr():
    assert set(VALUES) == {vr.value for vr in pydicom.valuerep.STANDARD_VR} - {"SQ"}


@pytest.mark.parametrize(
    "vr, value, raw",
    [
        ("UI", "1.2.30", b"1.2.30"),
        ("UI", "1.2.3", b"1.2.3\0"),
        ("LO", "abc", b"abc "),
        ("OB", b"abc", b"abc\0"),
        ("UN", b"a", b"a\0"),
        ("UR", "abc", b"abc "),
        ("DS", "1.50", b"1.5 "),
        ("DS", [1, 0.1], b"1\\0.1 "),
        ("IS", "7", b"7 "),
        ("DA", datetime.date(2024, 2, 29), b"20240229"),
        ("TM", datetime.time(1, 2, 3, 4), b"010203.000004 "),
        ("DT", datetime.datetime(2024, 2, 29, 1, 2, 3), b"20240229010203"),
        ("PN", "", b""),
        ("US", None, b""),
        ("OW", bytearray(b"abcd"), b"abcd"),
        ("OW", memoryview(b"abcd"), b"abcd"),
    ],
)
def test_values_and_padding(vr, value, raw):
    ds = Dataset()
    ds.add_new(0x00091001, vr, value)
    assert body(ds, implicit_vr=False) == b.element(0x00091001, vr, raw)


@pytest.mark.parametrize(
    "vr, value, why",
    [
        ("US", 65536, "VR US must be between 0 and 65535, got 65536"),
        ("US", -1, "0 and 65535, got -1"),
        ("SS", -32769, "VR SS must be between -32768 and 32767, got -32769"),
        ("UL", 1.5, "VR UL must be an integer, got 1.5"),
        ("SV", 2**63, "VR SV must be between"),
        ("UV", -1, "VR UV must be between 0"),
        ("FL", 1e300, "VR FL must fit in a 32-bit float, got 1e"),
        ("DS", math.inf, "VR DS must be finite, got inf"),
        ("IS", 2**31, "VR IS must fit in 32 bits, got 2147483648"),
        ("IS", 1.5, "VR IS must be an integer"),
        ("LO", 5, "VR LO must be a str, got 5"),
        ("CS", "\u4e00", "cannot be written"),
        ("LO", "\u4e00", "SpecificCharacterSet"),
        ("OB", 5, "bytes-like"),
    ],
)
def test_what_cannot_be_written(vr, value, why):
    item = Dataset()
    item.add_new(0x00091001, vr, value)
    ds = Dataset()
    ds.ConceptNameCodeSequence = [Dataset(), item]
    with pytest.raises(ValueError, match=why) as caught:
        body(ds, implicit_vr=False)
    assert isinstance(caught.value, DicomError)
    assert caught.value.path == "(0040,A043)[1].(0009,1001)"


def test_lenient_writing_uses_question_marks():
    ds = Dataset()
    ds.PatientName = "\u5c71^A"
    ds.InstanceNumber = 2**31
    assert body(ds, implicit_vr=False, strict=False) == (
        b.element(0x00100010, "PN", b"?^A ") + b.element(0x00200013, "IS", b"2147483648")
    )


def test_signed_values_of_an_ambiguous_vr():
    ds = Dataset()
    ds.SmallestImagePixelValue = -5  # set before Pixel Representation is
    ds.PixelRepresentation = 1
    assert b.element(0x00280106, "SS", -5) in body(ds, implicit_vr=False)
    ds = Dataset()
    ds.add_new(0x00281101, "SS", [65535, -3, 16])  # the first one is unsigned
    assert body(ds, implicit_vr=False) == b.element(0x00281101, "SS", b"\xff\xff\xfd\xff\x10\0")


def test_long_values_of_short_vrs_are_written_as_un():
    """PS3.5 6.2.2."""
    ds = Dataset()
    ds.ContourData = [1.25] * 20000
    raw = b"\\".join([b"1.25"] * 20000) + b" "
    assert body(ds, implicit_vr=False) == b.element(0x30060050, "UN", raw)
    assert body(ds, implicit_vr=True) == b.element(0x30060050, "DS", raw, encoding=b.IMPLICIT)
    again = read(b.part10(body(ds, implicit_vr=False)))
    # pydicom keeps bytes: PS3.5 6.2.2 note 2 lets the reader use the VR of the dictionary.
    assert (again[0x30060050].VR, again.ContourData) == ("DS", [1.25] * 20000)


@pytest.mark.parametrize(
    "value, text",
    [
        (1.0, "1"),
        (100, "100"),
        (0.1, "0.1"),
        (-0.5, "-0.5"),
        (0.0, "0"),
        (1e-05, "1e-05"),
        (1e17, "1e+17"),
        ("01.50", "01.50"),
        (10**15, "1000000000000000"),
        (10**17, "1e+17"),
        (1 / 3, "0.33333333333333"),
        (-1 / 3, "-0.3333333333333"),
        (31415926535.89793, "31415926535.8979"),
        (0.30000000000000004, "0.3"),
        (-0.012345678901234567, "-0.0123456789012"),
        (-1.2345678901234567e-05, "-1.2345678901e-5"),
        (1.2345678901234567e-100, "1.23456789e-100"),
        (123456789012345678.0, "1.23456789012e17"),
        (999999999999999.9, "1000000000000000"),
        (-1.7976931348623157e308, "-1.79769313e308"),
        (5e-324, "5e-324"),
    ],
)
def test_decimal(value, text):
    assert decimal(value) == text


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_decimal_is_the_nearest_text_of_16_bytes(value):
    text = decimal(value)
    assert len(text) <= 16
    if len(repr(value).removesuffix(".0")) <= 16:
        assert float(text) == value
    else:  # a sign, "0.0" or ".", "e-308": at least nine digits are left
        assert math.isclose(float(text), value, rel_tol=1e-8)


# ------------------------------------------------------- character sets ---


def test_text_is_encoded_in_a_changed_character_set():
    item = b.element(0x00080104, "LO", b"\xe9t\xe9 ")
    own = b.element(0x00080005, "CS", "ISO_IR 144") + b.element(0x00080104, "LO", b"\xb0\xb1")
    raw = b.part10(
        b.element(0x00080005, "CS", "ISO_IR 100")
        + b.element(0x00080080, "LO", b"\xe4\xf6")
        + b.sequence(0x0040A043, [item, own])
        + b.element(0x0040A160, "UT", b"\xfc ")
    )
    ds = read(raw)
    assert written(ds) == raw
    ds.SpecificCharacterSet = "ISO_IR 192"
    again = read(written(ds))
    assert (again.InstitutionName, again.TextValue) == ("\xe4\xf6", "\xfc")
    assert again[0x00080080].raw_bytes == "\xe4\xf6".encode()
    first, second = again.ConceptNameCodeSequence
    assert (first.CodeMeaning, first[0x00080104].raw_bytes) == ("\xe9t\xe9", "\xe9t\xe9 ".encode())
    assert (second.CodeMeaning, second[0x00080104].raw_bytes) == ("\u0410\u0411", b"\xb0\xb1")
    assert list(pydicom.dcmread(io.BytesIO(written(ds))).ConceptNameCodeSequence[0]) != []


def test_text_is_encoded_in_the_character_set_of_the_data_set():
    ds = Dataset()
    ds.SpecificCharacterSet = ["", "ISO 2022 IR 87"]
    ds.PatientName = "Yamada^Tarou=\u5c71\u7530^\u592a\u90ce"
    ds.ConceptNameCodeSequence = [Dataset(CodeMeaning="\u5c71")]
    again = read(written(ds, implicit_vr=True))
    assert again.PatientName == ds.PatientName
    assert again.ConceptNameCodeSequence[0].CodeMeaning == "\u5c71"
    assert pydicom.dcmread(
        io.BytesIO(written(ds, implicit_vr=True)), force=True
    ).PatientName == str(ds.PatientName)


def test_character_set_given_to_dcmread_does_not_change_bytes():
    raw = b.part10(
        b.element(0x00080005, "CS", "ISO_IR 100") + b.element(0x00100010, "PN", "\u5c71".encode())
    )
    ds = dcmread(io.BytesIO(raw), charset="ISO_IR 192")
    assert ds.PatientName == "\u5c71" and written(ds) == raw
    ds.SpecificCharacterSet = "ISO_IR 192"
    assert read(written(ds)).PatientName == "\u5c71"


def test_text_moved_between_character_sets():
    latin = read(
        b.part10(b.element(0x00080005, "CS", "ISO_IR 100") + b.element(0x00080080, "LO", b"\xe4 "))
    )
    ds = Dataset(SpecificCharacterSet="ISO_IR 192")
    ds.add(latin[0x00080080])
    assert read(written(ds, implicit_vr=True)).InstitutionName == "\xe4"
    part = latin[0x00080080:]  # without its character set
    with pytest.raises(WriteError, match="ISO_IR 192"):
        ds = Dataset()
        ds.InstitutionName = "\u4e00"
        written(ds, implicit_vr=True)
    assert read(written(part, implicit_vr=True)).InstitutionName == "\xe4"
