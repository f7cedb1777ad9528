"""What a worker puts into columns of text: every character set."""

import random

import pytest

from fastdcm.scanning.scanner import scan, scan_chunk
from support import builder as b
from support.scans import one_row


@pytest.mark.parametrize(
    "term, raw, text",
    [
        (None, b"plain", "plain"),
        (None, b"caf\xe9", "caf\u00e9"),
        ("ISO_IR 100", b"caf\xe9\xff", "caf\u00e9\u00ff"),
        ("ISO_IR 192", "caf\u00e9 \u65e5 \U0001f600".encode(), "caf\u00e9 \u65e5 \U0001f600"),
        ("ISO_IR 101", b"\xb1\xa1", "\u0105\u0104"),
        ("ISO_IR 144", b"\xbb\xee\xda\xf2", "\u041b\u044e\u043a\u0442"[:1] + "\u044e\u043a\u0452"),
        ("GB18030", "\u738b\u5c0f\u4e1c".encode("gb18030"), "\u738b\u5c0f\u4e1c"),
        ("GBK", "\u738b\u5c0f\u4e1c".encode("gbk"), "\u738b\u5c0f\u4e1c"),
        ("\\ISO 2022 IR 149", b"\x1b$)C\xb1\xe8", "\uae40"),
        ("\\ISO 2022 IR 87", b"\x1b$B;3ED\x1b(B", "\u5c71\u7530"),
        ("ISO_IR 13", b"\xd4\xcf\xc0\xde", "\uff94\uff8f\uff80\uff9e"),
    ],
)
def test_text_in_character_sets(put, term, raw, text):
    dataset = b"" if term is None else b.element(0x00080005, "CS", term)
    dataset += b.element(0x00080104, "LO", raw + b" " * (len(raw) % 2))
    dataset += b.element(0x00100020, "LO", b"ascii ")
    row = one_row(put(dataset), "CodeMeaning", "PatientID")
    assert (row["CodeMeaning"], row["PatientID"], row["issues"]) == (text, "ascii", None)
    if term is not None:
        inflated = one_row(put(dataset, transfer_syntax=b.DEFLATED_LE), "CodeMeaning", "PatientID")
        assert (inflated["CodeMeaning"], inflated["PatientID"]) == (text, "ascii")


def test_lists_of_text_in_gb18030(put):
    names = ["\u738b^\u5c0f\u4e1c", "\u674e^\u56db"]
    dataset = b.element(0x00080005, "CS", "GB18030")
    dataset += b.element(0x00101001, "PN", "\\".join(names).encode("gb18030"))
    row = one_row(put(dataset), "OtherPatientNames", "(0010,1001)")
    assert row["OtherPatientNames"] == row["(0010,1001)"] == names


@pytest.mark.parametrize(
    "raw, text",
    [
        (b"a\xc3", "a\ufffd"),
        (b"\xed\xa0\x80", "\ufffd\ufffd\ufffd"),
        (b"\xc0\xaf", "\ufffd\ufffd"),
        (b"\xf4\x90\x80\x80", "\ufffd\ufffd\ufffd\ufffd"),
        (b"\xe0\x80\x80", "\ufffd\ufffd\ufffd"),
    ],
)
def test_invalid_utf8_is_replaced_with_an_issue(put, raw, text):
    builder = b.Builder()
    builder.element(0x00080005, "CS", "ISO_IR 192")
    builder.element(0x00100020, "LO", raw + b" " * (len(raw) % 2), name="text")
    row = one_row(put(raw=builder.bytes()), "PatientID")
    assert row["PatientID"] == text
    assert row["issues"] == [f"text@{builder.at['text']} (0010,0020)"]


def test_utf8_of_every_length(put):
    chance = random.Random(5)
    text = (
        "".join(
            chr(
                chance.choice(
                    [
                        0x20,
                        0x7E,
                        0x80,
                        0x7FF,
                        0x800,
                        0xD7FF,
                        0xE000,
                        0xFFFD,
                        0xFFFF,
                        0x10000,
                        0x10FFFF,
                    ]
                )
            )
            for _ in range(2000)
        )
        + "."
    )
    dataset = b.element(0x00080005, "CS", "ISO_IR 192") + b.element(0x0040A160, "UT", text.encode())
    row = one_row(put(dataset), "TextValue")
    assert (row["TextValue"], row["issues"]) == (text, None)


def test_an_undefined_character_set(put):
    dataset = b.element(0x00080005, "CS", "KLINGON") + b.element(0x00100020, "LO", b"caf\xe9")
    row = one_row(put(dataset), "PatientID")
    assert row["PatientID"] == "caf\u00e9"
    assert [i.split("@")[0] for i in row["issues"]] == ["charset"]


def test_rows_keep_their_order_whatever_the_character_set(put):
    paths, expected = [], []
    for i in range(200):
        term, text = [
            ("ISO_IR 192", f"\u65e5{i}"),
            ("GB18030", f"\u738b{i}"),
            ("ISO_IR 100", f"x{i}"),
        ][i % 3]
        raw = text.encode("gb18030" if term == "GB18030" else "utf-8")
        dataset = b.element(0x00080005, "CS", term) + b.element(0x00100020, "LO", raw)
        paths.append(put(dataset, transfer_syntax=b.DEFLATED_LE if i % 5 == 0 else b.EXPLICIT_LE))
        expected.append(text)
    assert scan_chunk(paths, ["PatientID"]).column("PatientID") == expected
    (batch,) = scan(paths, ["PatientID"], threads=3)
    assert batch.column("PatientID") == expected
