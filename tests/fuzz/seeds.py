"""Write tests/fuzz/seeds: the first inputs of the fuzz targets, and a small input for each
defect that they found.

    python tests/fuzz/seeds.py
"""

import shutil
import struct
import sys
from pathlib import Path

SEEDS = Path(__file__).parent / "seeds"
sys.path.insert(0, str(Path(__file__).parent.parent))

from core.test_golden import STREAMS  # noqa: E402

from support.builder import (  # noqa: E402
    IMPLICIT,
    IMPLICIT_LE,
    Builder,
    csa1,
    csa2,
    element,
    file_meta,
    header,
    item,
    part10,
    preamble,
    raw_sequence,
    sequence,
)
from support.damaged import SEQUENCE, good_files, nested  # noqa: E402

NAME = element(0x00100010, "PN", "Doe^Jane")
STRAY = b"\xfe\xff\x0d\xe0\0\0\0\0"


def every_vr():
    """Return one element of each VR, and text with code extensions (ISO 2022)."""
    b = Builder()
    b.element(0x00080005, "CS", "\\ISO 2022 IR 87")
    values = {
        "AE": "A",
        "AS": "018M",
        "AT": 0x00100010,
        "CS": "A\\B",
        "DA": "20200101",
        "DS": "1.5\\-2",
        "DT": "2020",
        "FD": 1.5,
        "FL": 0.5,
        "IS": "-7",
        "LO": "x",
        "LT": "x\\y",
        "PN": "A^B=C=D",
        "SH": "x",
        "SL": -1,
        "SS": -2,
        "ST": "x",
        "SV": -3,
        "TM": "1200",
        "UC": "x",
        "UI": "1.2",
        "UL": 1,
        "UR": "http://a",
        "US": 2,
        "UT": "x",
        "UV": 3,
    }
    for i, vr in enumerate(
        "AE AS AT CS DA DS DT FD FL IS LO LT OB OD OF OL OV OW PN SH SL SS ST SV TM "
        "UC UI UL UN UR US UT UV".split()
    ):
        b.element(0x00090000 + 0x1000 + i, vr, values.get(vr, bytes(8)))
    b.element(0x00100010, "PN", b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B")
    return b.bytes()


def request():
    """Return a file with the elements that tests/c/plan.h requests."""
    code = sequence(0x0040A170, [element(0x00080100, "SH", "A-1")])
    return part10(
        element(0x00080005, "CS", "ISO_IR 100")
        + element(0x00080008, "CS", "ORIGINAL\\PRIMARY")
        + sequence(SEQUENCE, [element(0x00081155, "UI", "1.2.3") + code] * 2, undefined=True)
        + element(0x00090010, "LO", "FASTDCM1")
        + element(0x00091001, "LO", "private")
        + element(0x00100010, "PN", b"M\xfcller")
        + element(0x00104000, "LT", "text")
        + element(0x00200013, "IS", "7")
        + element(0x00280008, "IS", "3")
        + element(0x00280010, "US", 512)
        + element(0x00280030, "DS", "0.5\\0.25")
        + element(0x00280103, "US", 1)
        + element(0x00280106, "SS", -5)
        + element(0x00283002, "SS", [-1, 0, 16])
        + element(0x00420011, "OB", bytes(10))
        + element(0x7FE00010, "OW", bytes(16))
    )


# Inputs that once failed.
FOUND = {
    "transfer-syntax-jumped-over": preamble()
    + file_meta(None)
    + element(0x0002000F, "OB", bytes(900))
    + element(0x00020010, "UI", IMPLICIT_LE)
    + element(0x00100010, "PN", "A", encoding=IMPLICIT),
    "guess-by-what-was-there": element(0x00080008, "CS", "A" * 16)
    + element(0x00080016, "UI", "1" * 600)
    + header(0x00080005, "ZZ", 40)
    + bytes(600),
    "stray-delimiter-above-the-stop": part10(NAME + STRAY + element(0x00200013, "IS", "7")),
    "first-tag-zero-twice": element(0, "UL", 4, encoding=IMPLICIT) * 2
    + nested(2, encoding=IMPLICIT),
    "an-empty-level": part10(sequence(SEQUENCE, [b"", b""])),
    "pieces-within-pieces": part10(
        raw_sequence(
            0x00091010,
            item(
                element(0x00091011, "UN", b"ab", encoding=IMPLICIT),
                encoding=IMPLICIT,
                undefined=True,
            ),
            undefined=True,
            encoding=IMPLICIT,
        ),
        transfer_syntax=IMPLICIT_LE,
    ),
    "header-across-the-end": part10(
        raw_sequence(
            SEQUENCE,
            item(raw_sequence(0x00089215, b"", undefined=True)[:8], undefined=True, closed=False),
        )
        + b"\xff" * 4
    ),
    "first-component-empty": part10(element(0x00080008, "CS", b"\\\xe9")),
    "pixel-representation-of-items": part10(sequence(0x00280103, [element(0x00280106, "US", 1)])),
}

VALUES = [
    b"",
    b"7",
    b" -12 ",
    b"+1.5e-3",
    b"1e400",
    b"123456789012345678901234567890.5e-30",
    b"9223372036854775807",
    b"-9223372036854775808",
    b"18446744073709551616",
    b"4.9e-324",
    b"2.2250738585072011e-308",
    b"infinity",
    b"-nan",
    b"0x1p3",
    b"1_0",
    b".",
    b"1.",
    b".5\\ 2\\",
    b"a\\b\\\\c ",
    b"\\",
    b"PatientName",
    b"US or SS or OW",
    b"SQ",
    b"\x09\x00\x10\x10SIEMENS CSA HEADER",
    b"\0\0\xc0\x7f",
    b"\0\0\0\0\0\0\xf8\x7f",
    b"\x80\0\0\0\0\0\0\0",
    NAME,
]


def rle(
    samples,
    size,
    cells,
    *segments,
    count=None,
    offsets=None,
    tail=b"",
    bits=0,
    high_bit=0,
    signed=0,
):
    """Return the input of fuzz_rle.c: the parameters of a frame, then its bytes (PS3.5 G)."""
    at = (
        [64 + sum(map(len, segments[:i])) for i in range(len(segments))]
        if offsets is None
        else offsets
    )
    head = struct.pack(
        "<16I", len(segments) if count is None else count, *at, *[0] * (15 - len(at))
    )
    return (
        struct.pack("<5BH", samples, size, signed, bits, high_bit, cells)
        + head
        + b"".join(segments)
        + tail
    )


LITERALS = b"\x7f" + bytes(range(128))
RLE = {
    "one": rle(1, 1, 300, LITERALS + b"\x81\x05" + LITERALS),
    "words": rle(1, 2, 5000, b"\x81\x00" * 40, LITERALS * 40, tail=b"\0"),
    "twelve-bits": rle(
        1, 2, 2500, b"\x03\x07\x08\xf7\xf8" * 625, LITERALS * 20, bits=12, high_bit=11, signed=1
    ),
    "bits-within": rle(3, 2, 4, *[b"\xfd" + bytes([i]) for i in range(6)], bits=5, high_bit=9),
    "color": rle(3, 1, 130, LITERALS + b"\x01ab", b"\xff\x07" * 65, b"\x80" * 5 + b"\x81\x02" * 2),
    "color-words": rle(3, 2, 4, *[b"\xfd" + bytes([i]) for i in range(6)]),
    "fifteen": rle(15, 1, 3, *[b"\x02abc"] * 15),
    "run-across-the-end": rle(1, 1, 10, b"\x81\x01"),
    "literals-across-the-end": rle(1, 1, 10, b"\x7f" + bytes(10)),
    "short": rle(1, 1, 200, LITERALS),
    "no-operation-bytes-only": rle(1, 1, 1, b"\x80" * 9),
    "run-without-a-byte": rle(1, 1, 5, b"\x01ab\xfe"),
    "offset-after-the-end": rle(1, 1, 4, b"\xfd\x01", offsets=[0xFFFFFFFF]),
    "offset-in-header": rle(1, 1, 4, b"\xfd\x01", offsets=[60]),
    "offsets-descend": rle(1, 2, 4, b"\xfd\x01", b"\xfd\x02", offsets=[66, 64]),
    "too-many": rle(1, 1, 4, b"\xfd\x01", count=16),
    "wrong-count": rle(1, 1, 4, b"\xfd\x01", b"\xfd\x01"),
    "no-samples": rle(0, 0, 0, count=0, offsets=[]),
    "no-header": struct.pack("<5BH", 1, 1, 0, 0, 0, 1) + bytes(63),
}

TAGS = {
    "EchoLinePosition": ["64"],
    "NumberOfImagesInMosaic": ["5"],
    "SliceNormalVector": ["0.0", "0.0", "-1.0"],
    "Empty": [],
    "LongText": ["x" * 70, "abc"],
    "Last": ["1"],
}
CSA = {
    "csa1": csa1(TAGS),
    "csa2": csa2(TAGS),
    "csa2-truncated": csa2(TAGS)[:-30],
    "csa1-truncated": csa1(TAGS)[:-7],
}


def segment(marker, *content):
    """Return a marker segment of JPEG, JPEG-LS or JPEG 2000."""
    raw = b"".join(content)
    return b"\xff" + bytes([marker]) + struct.pack(">H", 2 + len(raw)) + raw


def jpeg(sof, precision, components, *, between=b"", end=b"\x12\x34\xff\xd9", near=b"\0\0\0"):
    parts = b"".join(bytes([i, 0x11, 0]) for i in range(components))
    scan = b"".join(bytes([i, 0]) for i in range(components))
    return (
        b"\xff\xd8"
        + between
        + segment(sof, struct.pack(">BHHB", precision, 7, 9, components), parts)
        + segment(0xDA, bytes([components]), scan, near)
        + end
    )


def j2k(components=1, *, ssiz=7, tile=64, levels=1, precincts=b"", layers=1, more=b"", size=(9, 7)):
    siz = struct.pack(">H8IH", 0, *size, 0, 0, tile, tile, 0, 0, components)
    cod = (
        struct.pack(">BBHB", bool(precincts), 0, layers, 0)
        + bytes([levels, 4, 4, 0, 1])
        + precincts
    )
    return (
        b"\xff\x4f"
        + segment(0x51, siz, bytes([ssiz, 1, 1]) * components)
        + segment(0x52, cod)
        + more
        + segment(0x90, bytes(8))
        + b"\xff\x93\x80\xff\xd9"
    )


def box(kind, content, length=None):
    return struct.pack(">I", 8 + len(content) if length is None else length) + kind + content


JP2 = box(b"jP  ", b"\r\n\x87\n")
JXL = box(b"JXL ", b"\r\n\x87\n")
SMALL_JXL = bytes.fromhex("ff0a8f412408040100d80a4b2831dd7ca3879ad991505050")
CODESTREAMS = {
    "jpeg": jpeg(
        0xC0, 8, 3, between=segment(0xE0, b"JFIF\0") + b"\xff\xff" + segment(0xDB, bytes(65))
    ),
    "jpeg-12": jpeg(0xC1, 12, 1),
    "jpeg-lossless": jpeg(0xC3, 16, 1, end=b"\0"),
    "jpeg-two-frames": jpeg(0xC0, 8, 1, between=segment(0xC0, bytes(8))),
    "jpegls": jpeg(0xF7, 8, 3, between=segment(0xF8, b"\1" + bytes(10))),
    "jpegls-line": jpeg(0xF7, 16, 3, near=b"\0\1\0"),
    "j2k": j2k(3),
    "j2k-signed": j2k(ssiz=0x8B),
    "j2k-precincts": j2k(precincts=b"\x00\x00"),
    "j2k-many-tiles": j2k(tile=1, size=(255, 255)),
    "j2k-too-many-tiles": j2k(tile=1, size=(1 << 31, 1 << 31)),
    "j2k-component-style": j2k(2, more=segment(0x53, bytes([1, 0, 1, 4, 4, 0, 0]))),
    "j2k-ht": j2k(more=segment(0x50, bytes(6))),
    "j2k-levels": j2k(levels=40),
    "jp2": JP2 + box(b"jp2h", bytes(30)) + box(b"jp2c", j2k(), 0),
    "jp2-long-box": JP2 + struct.pack(">I4sQ", 1, b"jp2c", 16 + len(j2k())) + j2k(),
    "jp2-empty-box": JP2 + box(b"free", b"", 0) + box(b"jp2c", j2k()),
    "jxl": SMALL_JXL,
    "jxl-box": JXL + box(b"jxlc", SMALL_JXL),
    "jxl-part": JXL + box(b"jxlp", bytes(4) + SMALL_JXL),
    "jxl-short": SMALL_JXL[:4],
}


def frames():
    """Return inputs of fuzz_frames.c: number of frames, extended offsets, pixel data."""
    three = [b"\xff\xd8\xff\xe0" + bytes([i]) * (20 + 2 * i) for i in range(3)]
    rle = [struct.pack("<2I", 1, 64) + bytes(60)] * 2
    halves = [f[k : k + 12] for f in three for k in (0, 12)]
    joined = b"".join(map(item, three))
    end = struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
    basic, extended = (0, 32, 66), struct.pack("<6Q", 0, 32, 66, 24, 26, 28)
    found = {
        "none": (3, item(b"") + joined),
        "basic": (3, item(struct.pack("<3I", *basic)) + joined),
        "extended": (3, item(b"") + joined, extended),
        "extended-offsets": (2, item(b"") + joined, extended),
        "shifted": (3, item(struct.pack("<3I", *(o + 20 for o in basic))) + joined),
        "wrong-offset": (3, item(struct.pack("<3I", 0, 40, 66)) + joined),
        "more": (2, item(b"") + joined),
        "fewer": (5, item(b"") + joined),
        "one": (1, item(b"") + joined),
        "halves": (3, item(b"") + b"".join(map(item, halves))),
        "no-table": (3, joined),
        "rle": (2, item(b"") + b"".join(map(item, rle))),
        "long": (3, item(b"") + item(three[0], length=30) + joined),
        "short": (3, item(b"") + item(three[0], length=4) + joined),
        "odd": (4, item(b"") + item(b"abc") + b"\0" + joined + end + b"tail"),
        "truncated": (3, (item(b"") + joined)[:-5]),
        "empty": (0, b""),
        "items": (2, item(b"") * 90),
    }
    return {
        name: bytes([count, len(table[0]) // 16 if table else 0]) + b"".join(table) + value
        for name, (count, value, *table) in found.items()
    }


def seeds():
    """Return every seed, {folder/name: bytes}."""
    found = {f"files/good-{name}": raw for name, raw in good_files().items()}
    found |= {f"files/{name}": make() for name, make in STREAMS.items()}
    found |= {
        "files/every-vr": every_vr(),
        "files/request": request(),
        "files/nest": part10(nested(130, undefined=True)),
        "files/nest-defined": part10(nested(9)),
    }
    found |= {f"files/found-{name}": raw for name, raw in FOUND.items()}
    found |= {f"rle/{name}": raw for name, raw in RLE.items()}
    found |= {f"csa/{name}": raw for name, raw in CSA.items()}
    found |= {f"codestreams/{name}": raw for name, raw in CODESTREAMS.items()}
    found |= {f"frames/{name}": raw for name, raw in frames().items()}
    return found | {f"values/{i:02}": raw for i, raw in enumerate(VALUES)}


if __name__ == "__main__":
    shutil.rmtree(SEEDS, ignore_errors=True)
    for path, raw in seeds().items():
        target = SEEDS / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(raw)
