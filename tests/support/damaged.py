"""Streams made to hurt, and everything that reading does with one."""

import struct
import zlib

from fastdcm import dcmread
from fastdcm.core._flat import flat_rows
from support.builder import (
    DEFLATED_LE,
    EXPLICIT,
    ITEM,
    UNDEFINED,
    file_meta,
    header,
    part10,
    preamble,
)

SEQUENCE = 0x00081140
BYTES = frozenset("OB OD OF OL OV OW UN".split())


def bare_item(length):
    return struct.pack("<HHI", ITEM >> 16, ITEM & 0xFFFF, length)


def nested(depth, *, undefined=False, encoding=EXPLICIT):
    """So many sequences of one item each, one within the other, none closed."""
    if undefined:
        return (header(SEQUENCE, "SQ", UNDEFINED, encoding) + bare_item(UNDEFINED)) * depth
    parts, size = [], 0
    for _ in range(depth):
        parts.append(header(SEQUENCE, "SQ", size + 8, encoding) + bare_item(size))
        size += len(parts[-1])
    return b"".join(reversed(parts))


def bomb(start=b"", megabytes=1024, fill=b"\0"):
    """A deflated file whose data set is `start` and then so many megabytes of
    `fill`. What follows a full flush does not look back, so it is packed once."""
    packer = zlib.compressobj(9, wbits=-15)
    head = packer.compress(start) + packer.flush(zlib.Z_FULL_FLUSH)
    block = packer.compress(fill * ((1 << 20) // len(fill))) + packer.flush(zlib.Z_FULL_FLUSH)
    return preamble() + file_meta(DEFLATED_LE) + head + block * megabytes + packer.flush()


def read_all(source, **options):
    """Everything that reading can do with a stream: the data set and its
    complete issues. The first error is raised after the rest was tried. Long
    bytes are left where they are: they are what they are."""
    ds = dcmread(source, **options)
    failed = None

    def value(elem):
        return None if elem.VR in BYTES and elem.value_length > 1 << 20 else elem.value

    for step in (
        lambda: [value(elem) for elem in ds],
        lambda: [(value(elem), elem.VM, elem.name) for elem in ds.iterall()],
        lambda: ds.walk(lambda level, elem: elem.repval),
        lambda: str(ds),
        lambda: flat_rows(ds),
        ds.check_all,
    ):
        try:
            step()
        except Exception as error:
            failed = failed or error
    if failed:
        raise failed
    return ds, ds.issues


def good_files():
    """Five small files without fault, by name."""
    from support.builder import EXPLICIT_BE, EXPLICIT_LE, IMPLICIT_LE, JPEG_BASELINE, Builder

    def data_set(b, undefined):
        b.element(0x00080005, "CS", "ISO_IR 192")
        b.element(0x00080060, "CS", "MR")
        with b.sequence(SEQUENCE, undefined=undefined):
            for number in range(2):
                with b.item(undefined=undefined):
                    b.element(0x00081150, "UI", f"1.2.{number}")
                    with b.sequence(0x0040A170, undefined=not undefined):
                        with b.item(undefined=undefined):
                            b.element(0x00080100, "SH", "A-1")
        b.element(0x00100010, "PN", "Doe^Jane")
        b.element(0x00200013, "IS", "7")
        b.element(0x00280010, "US", 2)
        b.element(0x00280030, "DS", "0.5\\0.25")

    found = {}
    for name, syntax, undefined in (
        ("explicit", EXPLICIT_LE, False),
        ("implicit", IMPLICIT_LE, True),
        ("big", EXPLICIT_BE, True),
    ):
        b = Builder(syntax)
        data_set(b, undefined)
        b.element(0x7FE00010, "OW", bytes(8))
        found[name] = b.bytes()
    b = Builder(JPEG_BASELINE)
    data_set(b, True)
    b.fragments([b"abcd", b"efghij"])
    found["encapsulated"] = b.bytes()
    b = Builder(start=b"")
    data_set(b, False)
    found["deflated"] = part10(b.bytes(), transfer_syntax=DEFLATED_LE)
    return found
