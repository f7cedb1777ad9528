"""Readable dumps of the indexes of streams, compared with stored ones.

python tests/core/test_golden.py --write      writes tests/golden/*.txt anew
"""

import difflib
import sys
from pathlib import Path

import pytest

from fastdcm import dcmread
from fastdcm.core._file import File
from fastdcm.core._flat import flat_rows
from fastdcm.core._index import open_part10
from support.builder import (
    BIG,
    DEFLATED_LE,
    EXPLICIT_BE,
    IMPLICIT,
    IMPLICIT_LE,
    ITEM,
    JPEG_BASELINE,
    Builder,
    element,
    file_meta,
    fragments,
    header,
    item,
    part10,
    preamble,
    raw_sequence,
    sequence,
)
from support.damaged import SEQUENCE, bare_item

GOLDEN = Path(__file__).resolve().parents[1] / "golden"
FLAGS = [
    "implicit",
    "big",
    "undefined",
    "truncated",
    "fragments",
    "items",
    "inner-implicit",
    "delimited",
]
NAME = element(0x00100010, "PN", "Doe^Jane")


def tree(b):
    b.element(0x00080005, "CS", "ISO_IR 192")
    b.element(0x00080060, "CS", "MR")
    with b.sequence(SEQUENCE), b.item():
        b.element(0x00081150, "UI", "1.2.3")
        with b.sequence(0x0040A170, undefined=True):
            with b.item(undefined=True):
                b.element(0x00080100, "SH", "A-1")
            with b.item():
                pass
    b.element(0x00090010, "LO", "CREATOR")
    b.element(0x00091001, "UN", b"abcd")
    b.element(0x00100010, "PN", "Doe^Jane")
    b.element(0x00280010, "US", 2)
    b.element(0x7FE00010, "OW", bytes(8))
    return b.bytes()


STREAMS = {  # file in golden/: the stream
    "explicit": lambda: tree(Builder()),
    "implicit": lambda: tree(Builder(IMPLICIT_LE)),
    "big-endian": lambda: tree(Builder(EXPLICIT_BE)),
    "deflated": lambda: part10(tree(Builder(start=b"")), transfer_syntax=DEFLATED_LE),
    "encapsulated": lambda: part10(
        NAME
        + fragments([b"abcd", b"efghij"], table=bytes(8))
        + element(0xFFFCFFFC, "OB", bytes(4)),
        transfer_syntax=JPEG_BASELINE,
    ),
    "no-preamble": lambda: file_meta() + NAME,
    "acr-nema": lambda: b"".join(
        element(tag, vr, value, encoding=IMPLICIT)
        for tag, vr, value in [
            (0x00080000, "UL", 32),
            (0x00080010, "LO", "ACR-NEMA 2.0"),
            (0x00080060, "CS", "MR"),
            (0x00100010, "PN", "Doe^Jane"),
        ]
    ),
    "meta-in-implicit": lambda: (
        preamble()
        + file_meta(IMPLICIT_LE, encoding=IMPLICIT)
        + element(0x00100010, "PN", "Doe^Jane", encoding=IMPLICIT)
    ),
    "wrong-transfer-syntax": lambda: part10(element(0x00100010, "PN", "Doe^Jane", encoding=BIG)),
    "un-of-undefined-length": lambda: part10(
        raw_sequence(
            0x00091010,
            item(element(0x00081150, "UI", "1.2", encoding=IMPLICIT), undefined=True),
            vr="UN",
            undefined=True,
        )
        + NAME
    ),
    "implicit-item": lambda: part10(
        raw_sequence(SEQUENCE, item(element(0x00081150, "UI", "1.2", encoding=IMPLICIT))) + NAME
    ),
    "out-of-order": lambda: part10(
        NAME + element(0x00080060, "CS", "MR") + element(0x00100010, "PN", "Roe^Rick")
    ),
    "unclosed": lambda: part10(sequence(SEQUENCE, [NAME], undefined=True, closed=False)[:-8]),
    "truncated": lambda: part10(NAME + header(0x7FE00010, "OW", 4096) + bytes(10)),
    "item-too-long": lambda: part10(raw_sequence(SEQUENCE, item(NAME, length=900)) + NAME),
    "not-an-item": lambda: part10(
        raw_sequence(SEQUENCE, NAME, undefined=True, closed=False) + element(0x00200013, "IS", "7")
    ),
    "wrong-fragment-length": lambda: part10(
        raw_sequence(0x7FE00010, bare_item(0) + bare_item(999) + b"abcd", vr="OB", undefined=True)
        + element(0xFFFCFFFC, "OB", bytes(4)),
        transfer_syntax=JPEG_BASELINE,
    ),
    "padding": lambda: part10(NAME + bytes(16)),
    "odd-vrs": lambda: part10(
        element(0x00080060, "??", b"MR")
        + element(0x00091001, "UN", b"ab")
        + element(0x00100010, "PN", "Doe^Jane", encoding=IMPLICIT)
    ),
    "stray-delimiters": lambda: part10(
        raw_sequence(SEQUENCE, item(NAME + b"\xfe\xff\xdd\xe0\0\0\0\0"))
        + b"\xfe\xff\x0d\xe0\0\0\0\0"
        + NAME
    ),
}


def line(tag, vr, offset, length, depth, flags):
    words = [name for i, name in enumerate(FLAGS) if flags >> i & 1]
    name = "item" if tag == ITEM else vr
    return (
        f"{'  ' * depth}off=0x{offset:x} len={length} ({tag >> 16:04X},{tag & 0xFFFF:04X}) "
        f"{name} depth={depth}{' ' if words else ''}{' '.join(words)}"
    )


def dump(raw):
    """Group 0002, then all levels of the data set, then the issues."""
    file = File(memoryview(raw))
    open_part10(file, 0xFFFFFFFF, False)
    ds = dcmread(memoryview(raw))
    lines = [f"{len(raw)} bytes, transfer syntax {file.transfer_syntax}"]
    names = {int(elem.tag): elem.VR for elem in ds.file_meta}
    for tag, _, offset, length, _, flags in file.meta.rows():
        lines.append(line(tag, names[tag], offset, length, 0, flags))
    lines.append(f"data set{', inflated' if file.deflated else ''}")
    for depth, tag, vr, offset, length, _, flags in flat_rows(ds):
        lines.append(line(tag, vr, offset, length, depth, flags))
    for code, path, offset, _ in ds.check_all():
        lines.append(f"issue {code} at 0x{offset:x} {path}".rstrip())
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize("name", STREAMS)
def test_dump(name):
    expected = (GOLDEN / f"{name}.txt").read_text(encoding="utf-8")
    found = dump(STREAMS[name]())
    assert found == expected, "".join(
        difflib.unified_diff(
            expected.splitlines(True), found.splitlines(True), f"golden/{name}.txt", "now"
        )
    )


def test_every_stored_dump_is_used():
    assert {path.stem for path in GOLDEN.iterdir()} == set(STREAMS)


if __name__ == "__main__":
    if sys.argv[1:] != ["--write"]:
        sys.exit(__doc__)
    for path in GOLDEN.glob("*.txt"):
        path.unlink()
    for name, make in STREAMS.items():
        (GOLDEN / f"{name}.txt").write_text(dump(make()), encoding="utf-8", newline="\n")
