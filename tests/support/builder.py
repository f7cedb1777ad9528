"""Build DICOM streams byte by byte, correct or deliberately wrong.

There are two ways. The functions return bytes, which can be combined:

    element(0x00100010, "PN", "Doe^Jane")
    sequence(0x00081140, [element(...) + element(...), b""], undefined=True)
    part10(element(...), transfer_syntax=IMPLICIT_LE)

A Builder writes elements to one stream, and stores the offset of each header by
name:

    b = Builder()                       # preamble and file meta are written
    b.element(0x00100010, "PN", "Doe^Jane", name="name")
    with b.sequence(0x00081140, undefined=True):
        with b.item(name="item"):
            b.element(0x00081150, "UI", "1.2.3")
    b.bytes(), b.at["name"], b.at["item"]

`length=` writes any number to a length field, in place of the correct one.
"""

import contextlib
import struct
import zlib

# Encodings, as in src_c/dcm.h.
EXPLICIT, BIG, IMPLICIT = 0, 1, 2

IMPLICIT_LE = "1.2.840.10008.1.2"
EXPLICIT_LE = "1.2.840.10008.1.2.1"
DEFLATED_LE = "1.2.840.10008.1.2.1.99"
EXPLICIT_BE = "1.2.840.10008.1.2.2"
JPEG_BASELINE = "1.2.840.10008.1.2.4.50"
RLE = "1.2.840.10008.1.2.5"

UNDEFINED = 0xFFFFFFFF
ITEM, ITEM_END, SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
PIXEL_DATA = 0x7FE00010

# PS3.5 7.1.2: these have a header of 12 bytes, with a 32-bit length.
LONG = frozenset(["OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV"])
NUMBERS = {
    "AT": "I",
    "FD": "d",
    "FL": "f",
    "OD": "d",
    "OF": "f",
    "OL": "I",
    "OV": "Q",
    "OW": "H",
    "SL": "i",
    "SS": "h",
    "SV": "q",
    "UL": "I",
    "US": "H",
    "UV": "Q",
}


def encoding_of(transfer_syntax):
    return {IMPLICIT_LE: IMPLICIT, EXPLICIT_BE: BIG}.get(transfer_syntax, EXPLICIT)


def _tag(tag, encoding):
    return struct.pack(">HH" if encoding & BIG else "<HH", tag >> 16, tag & 0xFFFF)


def _long(number, encoding):
    return struct.pack(">I" if encoding & BIG else "<I", number)


def value_bytes(vr, value, encoding=EXPLICIT):
    """Return a str, a number or a list of them as the bytes of a VR, padded.

    bytes are returned unchanged, also if their length is odd.
    """
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value)
    values = list(value) if isinstance(value, (list, tuple)) else [value]
    if vr == "AT":
        return b"".join(_tag(v, encoding) for v in values)
    if vr in NUMBERS:
        order = ">" if encoding & BIG else "<"
        return struct.pack(f"{order}{len(values)}{NUMBERS[vr]}", *values)
    raw = "\\".join(str(v) for v in values).encode("latin-1")
    return raw + (b"\0" if vr == "UI" else b" ") * (len(raw) % 2)


def header(tag, vr, length, encoding=EXPLICIT):
    """Return an element header; vr: any two characters."""
    if encoding & IMPLICIT:
        return _tag(tag, encoding) + _long(length, encoding)
    start = _tag(tag, encoding) + vr.encode("latin-1")
    if vr in LONG:
        return start + b"\0\0" + _long(length, encoding)
    return start + struct.pack(">H" if encoding & BIG else "<H", length)


def element(tag, vr, value=b"", *, encoding=EXPLICIT, length=None):
    raw = value_bytes(vr, value, encoding)
    return header(tag, vr, len(raw) if length is None else length, encoding) + raw


def _bare(tag, length, encoding):
    """Return the header of an item or delimiter, which has no VR in any encoding (PS3.5 7.5)."""
    return _tag(tag, encoding) + _long(length, encoding)


def item(content=b"", *, encoding=EXPLICIT, undefined=False, closed=True, length=None):
    """Return an item; closed=False leaves out the delimiter of undefined length."""
    if length is None:
        length = UNDEFINED if undefined else len(content)
    end = _bare(ITEM_END, 0, encoding) if undefined and closed else b""
    return _bare(ITEM, length, encoding) + content + end


def sequence(
    tag,
    items=(),
    *,
    vr="SQ",
    encoding=EXPLICIT,
    undefined=False,
    undefined_items=None,
    closed=True,
    length=None,
):
    """Return a sequence of items, each given by the bytes of its content.

    undefined_items: whether items have undefined length; as the sequence if None.
    """
    if undefined_items is None:
        undefined_items = undefined
    content = b"".join(
        item(content, encoding=encoding, undefined=undefined_items) for content in items
    )
    return raw_sequence(
        tag, content, vr=vr, encoding=encoding, undefined=undefined, closed=closed, length=length
    )


def raw_sequence(
    tag, content=b"", *, vr="SQ", encoding=EXPLICIT, undefined=False, closed=True, length=None
):
    """Return a sequence with any bytes as its value."""
    if length is None:
        length = UNDEFINED if undefined else len(content)
    end = _bare(SEQUENCE_END, 0, encoding) if undefined and closed else b""
    return header(tag, vr, length, encoding) + content + end


def fragments(frames, *, tag=PIXEL_DATA, vr="OB", table=b"", encoding=EXPLICIT, closed=True):
    """Return encapsulated pixel data (PS3.5 A.4): a basic offset table and a fragment per frame."""
    content = b"".join(item(part, encoding=encoding) for part in (table, *frames))
    return raw_sequence(tag, content, vr=vr, encoding=encoding, undefined=True, closed=closed)


def file_meta(
    transfer_syntax=EXPLICIT_LE,
    *extra,
    length=None,
    sop_class="1.2.840.10008.5.1.4.1.1.2",
    sop_instance="1.2.3.4",
    encoding=EXPLICIT,
):
    """Return group 0002 (PS3.10 7.1).

    transfer_syntax=None leaves out that element, length=False leaves out
    (0002,0000), a number replaces its value. extra: bytes of further elements.
    """
    body = element(0x00020001, "OB", b"\0\1", encoding=encoding)
    body += element(0x00020002, "UI", sop_class, encoding=encoding)
    body += element(0x00020003, "UI", sop_instance, encoding=encoding)
    if transfer_syntax is not None:
        body += element(0x00020010, "UI", transfer_syntax, encoding=encoding)
    body += b"".join(extra)
    if length is False:
        return body
    value = len(body) if length is None else length
    return element(0x00020000, "UL", value, encoding=encoding) + body


def preamble(content=b"", magic=b"DICM"):
    """Return 128 bytes and the prefix DICM (PS3.10 7.1)."""
    return content.ljust(128, b"\0") + magic


def deflate(dataset):
    """Return a data set as a raw deflate stream (PS3.5 A.5)."""
    packer = zlib.compressobj(wbits=-15)
    raw = packer.compress(dataset) + packer.flush()
    return raw + b"\0" * (len(raw) % 2)


def part10(dataset=b"", *, transfer_syntax=EXPLICIT_LE, meta=None, start=None):
    """Return a complete file; meta and start replace the usual file meta and preamble."""
    meta = file_meta(transfer_syntax) if meta is None else meta
    start = preamble() if start is None else start
    if transfer_syntax == DEFLATED_LE:
        dataset = deflate(dataset)
    return start + meta + dataset


def image(
    rows,
    columns,
    *,
    samples=1,
    allocated=16,
    stored=None,
    high=None,
    signed=False,
    photometric=None,
    planar=None,
    frames=None,
    encoding=EXPLICIT,
):
    """Return the elements that describe pixels (PS3.3 C.7.6.3); None leaves one out."""
    stored = allocated if stored is None else stored
    high = stored - 1 if high is None else high
    if photometric is None:
        photometric = "RGB" if samples == 3 else "MONOCHROME2"
    parts = [
        (0x00280002, "US", samples),
        (0x00280004, "CS", photometric),
        (0x00280006, "US", planar),
        (0x00280008, "IS", frames),
        (0x00280010, "US", rows),
        (0x00280011, "US", columns),
        (0x00280100, "US", allocated),
        (0x00280101, "US", stored),
        (0x00280102, "US", high),
        (0x00280103, "US", int(signed)),
    ]
    return b"".join(
        element(tag, vr, value, encoding=encoding) for tag, vr, value in parts if value is not None
    )


def csa2(tags, start=b"SV10\4\3\2\1"):
    """Return a CSA2 header of {name: [text, ...]}."""
    raw = start + struct.pack("<II", len(tags), 77)
    for name, texts in tags.items():
        raw += struct.pack("<64si4siii", name.encode(), len(texts), b"IS", 6, len(texts) + 1, 77)
        for text in [*texts, ""]:
            data = text.encode() + b"\0" * bool(text)
            raw += (
                struct.pack("<4i", len(data), len(data), 77, len(data))
                + data
                + bytes(-len(data) % 4)
            )
    return raw


def csa1(tags):
    """Return a CSA1 header: lengths are longer by the items of the first tag."""
    raw = struct.pack("<II", len(tags), 77)
    more = len(next(iter(tags.values())))
    for name, texts in tags.items():
        raw += struct.pack("<64si4siii", name.encode(), len(texts), b"IS", 6, len(texts), 77)
        for text in texts:
            data = text.encode() + b"\0"
            raw += struct.pack("<4i", len(data) + more, 0, 77, 0) + data + bytes(-len(data) % 4)
    return raw


class Builder:
    """A stream that is written from start to end.

    at: the offset of a header, or of bytes that `put` wrote, by name.
    """

    def __init__(self, transfer_syntax=EXPLICIT_LE, *, encoding=None, start=None):
        """Begin a stream.

        start: the bytes before the data set, by default preamble and file meta
        information; b"" for a bare data set. encoding: of the data set, by default
        that of the transfer syntax.
        """
        self.encoding = encoding_of(transfer_syntax) if encoding is None else encoding
        self.at = {}
        self._raw = bytearray(part10(transfer_syntax=transfer_syntax) if start is None else start)

    def __len__(self):
        return len(self._raw)

    def bytes(self):
        return bytes(self._raw)

    def put(self, raw, name=None):
        """Any bytes. Returns their offset."""
        offset = len(self._raw)
        if name is not None:
            self.at[name] = offset
        self._raw += raw
        return offset

    def element(self, tag, vr, value=b"", *, name=None, length=None):
        return self.put(element(tag, vr, value, encoding=self.encoding, length=length), name)

    def fragments(self, frames, *, name=None, **options):
        return self.put(fragments(frames, encoding=self.encoding, **options), name)

    def item(self, *, name=None, undefined=False, closed=True, length=None):
        """`with b.item(): ...` puts what is written inside into an item."""
        head = _bare(ITEM, UNDEFINED, self.encoding)
        end = _bare(ITEM_END, 0, self.encoding)
        return self._around(head, end, name, undefined, closed, length)

    def sequence(self, tag, *, vr="SQ", name=None, undefined=False, closed=True, length=None):
        """`with b.sequence(tag): ...` puts what is written inside into a sequence."""
        head = header(tag, vr, UNDEFINED, self.encoding)
        end = _bare(SEQUENCE_END, 0, self.encoding)
        return self._around(head, end, name, undefined, closed, length)

    @contextlib.contextmanager
    def _around(self, head, end, name, undefined, closed, length):
        begin = self.put(head, name) + len(head)
        yield begin - len(head)
        if undefined and closed:
            self._raw += end
        if length is None:
            length = UNDEFINED if undefined else len(self._raw) - begin
        self._raw[begin - 4 : begin] = _long(length, self.encoding)
