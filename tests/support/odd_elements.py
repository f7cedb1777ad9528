"""Elements of every VR and multiplicity, where one value of one VR is expected."""

from support.builder import element, sequence

# The values of each VR, of which none, one or two are put into an element.
VALUES = {
    **{vr: ("1", "x") for vr in ("AE", "CS", "LO", "LT", "PN", "SH", "ST", "UC", "UR", "UT")},
    **{vr: (1, 2) for vr in ("SL", "SS", "SV", "UL", "US", "UV", "AT", "FD", "FL")},
    **{vr: (b"\1\0", b"\2\0") for vr in ("OB", "OW", "UN")},
    "AS": ("030Y", "040Y"),
    "DA": ("20240102", "x"),
    "DS": ("1.5", "nan"),
    "DT": ("20240102", "x"),
    "IS": ("3", "x"),
    "OD": (b"\1" * 8, b"\2" * 8),
    "OF": (b"\1" * 4, b"\2" * 4),
    "TM": ("1200", "x"),
    "UI": ("1.2", "1.3"),
}


def odd_elements(tag):
    """Return an element of every VR with none, one and two values, and sequences."""
    for vr, values in VALUES.items():
        for count in (0, 1, 2):
            several = values[:count]
            yield element(
                tag, vr, b"".join(several) if vr[0] == "O" or vr == "UN" else list(several)
            )
    yield sequence(tag, [])
    yield sequence(tag, [b""])
    yield sequence(tag, [element(0x00080100, "SH", "x"), b""])
