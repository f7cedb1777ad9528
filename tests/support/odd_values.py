"""Values of every VR: none, one, two, and bytes that are none of its kind."""

from support import builder as b

_TEXT = {
    "AE": b"A",
    "AS": b"010Y",
    "CS": b"ISO_IR 100",
    "DA": b"20200101",
    "DS": b"1.5",
    "DT": b"2020",
    "IS": b"12",
    "LO": b"1.2.9",
    "LT": b"x",
    "PN": b"A^B",
    "SH": b"x",
    "ST": b"x",
    "TM": b"10",
    "UC": b"x",
    "UI": b"1.2.3",
    "UR": b"x",
    "UT": b"x",
}
_SIZES = {
    **{"AT": 4, "FD": 8, "FL": 4, "OB": 2, "OD": 8, "OF": 4, "OL": 4, "OV": 8, "OW": 2},
    **{"SL": 4, "SS": 2, "SV": 8, "UL": 4, "UN": 2, "US": 2, "UV": 8},
}


def odd_values():
    """Yield (vr, value as bytes)."""
    for vr, text in _TEXT.items():
        for value in (b"", text, text + b"\\" + text, b"\xff\0nonsense\x1b"):
            yield vr, value + b" " * (len(value) % 2)
    for vr, size in _SIZES.items():
        for count in range(3):
            yield vr, bytes(range(1, size + 1)) * count
    for vr in ("UN", "OB"):
        yield vr, b"1.2.840.10008.1.2.1\0"
    for items in (b"", b.item(b.element(0x00100020, "LO", "x")), b.item() + b.item()):
        yield "SQ", items
