"""Elements of VR UN: the VR of the dictionary, always little endian (PS3.5 6.2.2)."""

import itertools
import struct

import pytest

import fastdcm
from support import builder as b

# {VR: (tag, little-endian bytes, value)}
VALUES = {
    "US": (0x00280010, struct.pack("<H", 0x0102), 0x0102),
    "SS": (0x00189219, struct.pack("<h", -2), -2),
    "UL": (0x00080001, struct.pack("<I", 0x01020304), 0x01020304),
    "SL": (0x00186020, struct.pack("<i", -3), -3),
    "FL": (0x00089459, struct.pack("<f", 1.5), 1.5),
    "FD": (0x00189087, struct.pack("<d", 800.5), 800.5),
    "AT": (0x00280009, struct.pack("<HH", 0x18, 0x1063), 0x00181063),
    "SV": (0x00720082, struct.pack("<q", -4), -4),
    "UV": (0x00720083, struct.pack("<Q", 2**63), 2**63),
    "DS": (0x00180050, b"1.25", 1.25),
    "IS": (0x00200013, b"7 ", 7),
    "LO": (0x00100020, b"ID", "ID"),
    "PN": (0x00100010, b"A^", "A^"),
    "UI": (0x00080018, b"1.2\0", "1.2"),
    "DA": (0x00080020, b"20040119", "20040119"),
    "LT": (0x00104000, b"text", "text"),
}
SYNTAXES = {b.EXPLICIT: b.EXPLICIT_LE, b.BIG: b.EXPLICIT_BE}


@pytest.mark.parametrize(("vr", "e"), itertools.product(VALUES, SYNTAXES))
@pytest.mark.parametrize("nested", [False, True])
def test_every_vr(tmp_path, vr, e, nested):
    tag, raw, value = VALUES[vr]
    assert fastdcm.dictionary_VR(tag) == vr
    keyword = fastdcm.keyword_for_tag(tag)
    body = b.element(tag, "UN", raw, encoding=e)
    if nested:
        body = b.sequence(0x00081140, [body], encoding=e)
        keyword = f"ReferencedImageSequence.{keyword}"
    path = tmp_path / "a.dcm"
    path.write_bytes(b.part10(body, transfer_syntax=SYNTAXES[e]))
    ds = fastdcm.dcmread(path)
    level = ds.ReferencedImageSequence[0] if nested else ds
    assert (level[tag].VR, level[tag].value) == (vr, value)
    cell = fastdcm.scan([path], [keyword]).read_all()[keyword].to_pylist()[0]
    cell = cell[0] if isinstance(cell, list) else cell
    assert cell == (f"{value:08x}" if vr == "AT" else value)


@pytest.mark.parametrize("size", [10, 0xFFFE, 0x10000, 70_000])
@pytest.mark.parametrize("e", SYNTAXES)
def test_long_values(tmp_path, size, e):
    text = b"\\".join([b"1.5"] * (size // 4)) + b" "
    path = tmp_path / "a.dcm"
    body = b.element(0x30060050, "UN", text, encoding=e)
    path.write_bytes(b.part10(body, transfer_syntax=SYNTAXES[e]))
    element = fastdcm.dcmread(path)[0x30060050]
    assert (element.VR, list(element.value)) == ("DS", [1.5] * (size // 4))
    rows = fastdcm.scan([path], ["ContourData"]).read_all()
    assert rows["ContourData"].to_pylist() == [[1.5] * (size // 4)]


def test_items_in_un_of_a_big_endian_file():
    item = b.element(0x00280010, "US", 4, encoding=b.IMPLICIT)
    item = struct.pack("<HHI", 0xFFFE, 0xE000, len(item)) + item
    end = struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
    body = b.header(0x00091002, "UN", b.UNDEFINED, encoding=b.BIG) + item + end
    ds = fastdcm.dcmread(memoryview(b.part10(body, transfer_syntax=b.EXPLICIT_BE)))
    assert ds[0x00091002].value[0].Rows == 4


@pytest.mark.parametrize("found_in", [0x10, 0x12])
def test_blocks_of_one_private_creator(tmp_path, found_in):
    body = (
        b.element(0x00290010, "LO", "VENDOR")
        + b.element(0x00290011, "LO", "OTHER")
        + b.element(0x00290012, "LO", "VENDOR ")
        + b.element(0x00290001 | found_in << 8, "LO", "value")
    )
    path = tmp_path / "a.dcm"
    path.write_bytes(b.part10(body))
    ds = fastdcm.dcmread(path)
    block = ds.private_block(0x0029, "VENDOR")
    assert block[1].value == ds.get_private_item(0x0029, 1, "VENDOR").value == "value"
    assert 1 in block and 2 not in block
    with pytest.raises(KeyError):
        block[2]
    rows = fastdcm.scan([path], ["(0029,xx01,VENDOR)"]).read_all()
    assert rows["(0029,xx01,VENDOR)"].to_pylist() == ["value"]
    block.add_new(1, "LO", "new")
    assert ds[0x00290001 | found_in << 8].value == "new" and len(ds) == 4
    block.add_new(2, "LO", "first block")
    assert ds[0x00291002].value == "first block"
    del block[1]
    assert 1 not in block
