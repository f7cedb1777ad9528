"""Writes tests/fuzz/seeds: what the fuzz targets begin with, and a small
stream for each fault that they found.

    python tests/fuzz/seeds.py
"""

import shutil
import struct
import sys
from pathlib import Path

SEEDS = Path(__file__).parent / "seeds"
sys.path.insert(0, str(Path(__file__).parent.parent))

from builder import (IMPLICIT, IMPLICIT_LE, Builder, element, file_meta, header, item,  # noqa: E402
                     part10, preamble, raw_sequence, sequence)
from damaged import SEQUENCE, good_files, nested  # noqa: E402
from test_golden import STREAMS  # noqa: E402

NAME = element(0x00100010, "PN", "Doe^Jane")
STRAY = b"\xfe\xff\x0d\xe0\0\0\0\0"


def every_vr():
    """One element of each VR, and some in character sets that switch."""
    b = Builder()
    b.element(0x00080005, "CS", "\\ISO 2022 IR 87")
    values = {"AE": "A", "AS": "018M", "AT": 0x00100010, "CS": "A\\B", "DA": "20200101", "DS": "1.5\\-2",
              "DT": "2020", "FD": 1.5, "FL": 0.5, "IS": "-7", "LO": "x", "LT": "x\\y", "PN": "A^B=C=D",
              "SH": "x", "SL": -1, "SS": -2, "ST": "x", "SV": -3, "TM": "1200", "UC": "x", "UI": "1.2",
              "UL": 1, "UR": "http://a", "US": 2, "UT": "x", "UV": 3}
    for i, vr in enumerate("AE AS AT CS DA DS DT FD FL IS LO LT OB OD OF OL OV OW PN SH SL SS ST SV TM "
                           "UC UI UL UN UR US UT UV".split()):
        b.element(0x00090000 + 0x1000 + i, vr, values.get(vr, bytes(8)))
    b.element(0x00100010, "PN", b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B")
    return b.bytes()


def request():
    """What tests/c/plan.h asks for."""
    code = sequence(0x0040A170, [element(0x00080100, "SH", "A-1")])
    return part10(
        element(0x00080005, "CS", "ISO_IR 100") + element(0x00080008, "CS", "ORIGINAL\\PRIMARY") +
        sequence(SEQUENCE, [element(0x00081155, "UI", "1.2.3") + code] * 2, undefined=True) +
        element(0x00090010, "LO", "FASTDCM1") + element(0x00091001, "LO", "private") +
        element(0x00100010, "PN", b"M\xfcller") + element(0x00104000, "LT", "text") +
        element(0x00200013, "IS", "7") + element(0x00280008, "IS", "3") +
        element(0x00280010, "US", 512) + element(0x00280030, "DS", "0.5\\0.25") +
        element(0x00280103, "US", 1) + element(0x00280106, "SS", -5) +
        element(0x00283002, "SS", [-1, 0, 16]) + element(0x00420011, "OB", bytes(10)) +
        element(0x7FE00010, "OW", bytes(16)))


# What was found, and is to stay mended.
FOUND = {
    "transfer-syntax-jumped-over": preamble() + file_meta(None) + element(0x0002000F, "OB", bytes(900)) +
        element(0x00020010, "UI", IMPLICIT_LE) + element(0x00100010, "PN", "A", encoding=IMPLICIT),
    "guess-by-what-was-there": element(0x00080008, "CS", "A" * 16) + element(0x00080016, "UI", "1" * 600) +
        header(0x00080005, "ZZ", 40) + bytes(600),
    "stray-delimiter-above-the-stop": part10(NAME + STRAY + element(0x00200013, "IS", "7")),
    "first-tag-zero-twice": element(0, "UL", 4, encoding=IMPLICIT) * 2 + nested(2, encoding=IMPLICIT),
    "an-empty-level": part10(sequence(SEQUENCE, [b"", b""])),
    "pieces-within-pieces": part10(raw_sequence(0x00091010, item(element(
        0x00091011, "UN", b"ab", encoding=IMPLICIT), encoding=IMPLICIT, undefined=True),
        undefined=True, encoding=IMPLICIT), transfer_syntax=IMPLICIT_LE),
    "header-across-the-end": part10(raw_sequence(
        SEQUENCE, item(raw_sequence(0x00089215, b"", undefined=True)[:8], undefined=True, closed=False)) +
        b"\xff" * 4),
    "first-component-empty": part10(element(0x00080008, "CS", b"\\\xe9")),
}

VALUES = [b"", b"7", b" -12 ", b"+1.5e-3", b"1e400", b"123456789012345678901234567890.5e-30",
          b"9223372036854775807", b"-9223372036854775808", b"18446744073709551616", b"4.9e-324",
          b"2.2250738585072011e-308", b"infinity", b"-nan", b"0x1p3", b"1_0", b".", b"1.", b".5\\ 2\\",
          b"a\\b\\\\c ", b"\\", b"PatientName", b"US or SS or OW", b"SQ", b"\x09\x00\x10\x10SIEMENS CSA HEADER",
          b"\0\0\xc0\x7f", b"\0\0\0\0\0\0\xf8\x7f", b"\x80\0\0\0\0\0\0\0", NAME]


def rle(samples, size, cells, *segments, count=None, offsets=None, tail=b""):
    """What fuzz_rle.c takes: what is asked for, then a frame (PS3.5 G)."""
    at = [64 + sum(map(len, segments[:i])) for i in range(len(segments))] if offsets is None else offsets
    head = struct.pack("<16I", len(segments) if count is None else count, *at, *[0] * (15 - len(at)))
    return struct.pack("<BBH", samples, size, cells) + head + b"".join(segments) + tail


LITERALS = b"\x7f" + bytes(range(128))
RLE = {
    "one": rle(1, 1, 300, LITERALS + b"\x81\x05" + LITERALS),
    "words": rle(1, 2, 5000, b"\x81\x00" * 40, LITERALS * 40, tail=b"\0"),
    "colour": rle(3, 1, 130, LITERALS + b"\x01ab", b"\xff\x07" * 65, b"\x80" * 5 + b"\x81\x02" * 2),
    "colour-words": rle(3, 2, 4, *[b"\xfd" + bytes([i]) for i in range(6)]),
    "fifteen": rle(15, 1, 3, *[b"\x02abc"] * 15),
    "run-across-the-end": rle(1, 1, 10, b"\x81\x01"),
    "literals-across-the-end": rle(1, 1, 10, b"\x7f" + bytes(10)),
    "short": rle(1, 1, 200, LITERALS),
    "nothing-but-nothing": rle(1, 1, 1, b"\x80" * 9),
    "run-without-its-byte": rle(1, 1, 5, b"\x01ab\xfe"),
    "offset-beyond": rle(1, 1, 4, b"\xfd\x01", offsets=[0xFFFFFFFF]),
    "offset-in-header": rle(1, 1, 4, b"\xfd\x01", offsets=[60]),
    "offsets-descend": rle(1, 2, 4, b"\xfd\x01", b"\xfd\x02", offsets=[66, 64]),
    "too-many": rle(1, 1, 4, b"\xfd\x01", count=16),
    "wrong-count": rle(1, 1, 4, b"\xfd\x01", b"\xfd\x01"),
    "no-samples": rle(0, 0, 0, count=0, offsets=[]),
    "no-header": struct.pack("<BBH", 1, 1, 1) + bytes(63),
}


def seeds():
    """Every seed: {folder/name: bytes}."""
    found = {f"files/good-{name}": raw for name, raw in good_files().items()}
    found |= {f"files/{name}": make() for name, make in STREAMS.items()}
    found |= {"files/every-vr": every_vr(), "files/request": request(),
              "files/nest": part10(nested(130, undefined=True)), "files/nest-defined": part10(nested(9))}
    found |= {f"files/found-{name}": raw for name, raw in FOUND.items()}
    found |= {f"rle/{name}": raw for name, raw in RLE.items()}
    return found | {f"values/{i:02}": raw for i, raw in enumerate(VALUES)}


if __name__ == "__main__":
    shutil.rmtree(SEEDS, ignore_errors=True)
    for path, raw in seeds().items():
        target = SEEDS / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(raw)
