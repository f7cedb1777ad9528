"""The index: rows, spans and flags for every encoding of a data set."""

import io
import struct

import pytest

from fastdcm import dcmread
from fastdcm.core._file import File
from fastdcm.core._flat import flat_rows
from fastdcm.core._index import open_part10
from support.builder import (
    BIG,
    EXPLICIT,
    EXPLICIT_BE,
    EXPLICIT_LE,
    IMPLICIT,
    IMPLICIT_LE,
    ITEM,
    JPEG_BASELINE,
    PIXEL_DATA,
    UNDEFINED,
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
from support.damaged import SEQUENCE, bare_item, good_files

# Flags of a row (DCM_ROW_... in src_c/dcm_index.h).
ROW_IMPLICIT, ROW_BIG, ROW_UNDEFINED, TRUNCATED, FRAGMENTS, ITEMS, INNER_IMPLICIT, DELIMITED = (
    1 << i for i in range(8)
)
EVERYTHING = 0xFFFFFFFF
SYNTAX = {EXPLICIT: EXPLICIT_LE, IMPLICIT: IMPLICIT_LE, BIG: EXPLICIT_BE}
ALL = pytest.mark.parametrize("encoding", SYNTAX, ids=["explicit", "implicit", "big"])
HOW = {EXPLICIT: 0, IMPLICIT: ROW_IMPLICIT, BIG: ROW_BIG}


def indexed(raw, stop=EVERYTHING, force=False):
    file = File(memoryview(raw))
    return open_part10(file, stop, force), file


def rows_of(raw, **options):
    """(tag, offset, length, header, flags) of each row of the data set."""
    return [
        (tag, offset, length, size, flags)
        for tag, _, offset, length, size, flags in indexed(raw, **options)[0].rows()
    ]


def name_and(b):
    b.element(0x00100010, "PN", "Doe^Jane", name="name")


@ALL
def test_one_row_per_element(encoding):
    b = Builder(SYNTAX[encoding])
    b.element(0x00080005, "CS", "ISO_IR 100", name="charset")
    b.element(0x00100010, "PN", "Doe^Jane", name="name")
    b.element(0x00104000, "LT", "", name="empty")
    b.element(0x00420011, "OB", b"\1\2\3\4", name="bytes")
    b.element(0x7FE00010, "OW", bytes(6), name="pixels")
    size = 8 if encoding == IMPLICIT else 12
    how = HOW[encoding]
    assert rows_of(b.bytes()) == [
        (0x00080005, b.at["charset"] + 8, 10, 8, how),
        (0x00100010, b.at["name"] + 8, 8, 8, how),
        (0x00104000, b.at["empty"] + 8, 0, 8, how),
        (0x00420011, b.at["bytes"] + size, 4, size, how),
        (0x7FE00010, b.at["pixels"] + size, 6, size, how),
    ]


@ALL
@pytest.mark.parametrize("undefined", [False, True])
@pytest.mark.parametrize("undefined_items", [False, True])
def test_a_sequence_is_one_row(encoding, undefined, undefined_items):
    b = Builder(SYNTAX[encoding])
    with b.sequence(SEQUENCE, undefined=undefined, name="sequence"):
        for _ in range(2):
            with b.item(undefined=undefined_items):
                b.element(0x00081150, "UI", "1.2.3")
                with (
                    b.sequence(0x0040A170, undefined=undefined_items),
                    b.item(undefined=undefined),
                ):
                    b.element(0x00080100, "SH", "A")
    end = len(b) - 8 * undefined
    name_and(b)
    size = 8 if encoding == IMPLICIT else 12
    flags = HOW[encoding] | ITEMS | (ROW_UNDEFINED | DELIMITED if undefined else 0)
    offset = b.at["sequence"] + size
    assert rows_of(b.bytes()) == [
        (SEQUENCE, offset, end - offset, size, flags),
        (0x00100010, b.at["name"] + 8, 8, 8, HOW[encoding]),
    ]
    ds = dcmread(memoryview(b.bytes()))
    assert [i[0x0040A170].value[0].CodeValue for i in ds[SEQUENCE].value] == ["A", "A"]
    assert ds.check_all() == []


def test_vrs_of_the_headers():
    index, _ = indexed(part10(element(0x00080060, "CS", "CT") + element(0x00420011, "OB", b"ab")))
    names = [
        row[2]
        for row in flat_rows(
            dcmread(
                memoryview(
                    part10(element(0x00080060, "CS", "CT") + element(0x00420011, "OB", b"ab"))
                )
            )
        )
    ]
    assert names == ["CS", "OB"] and len(index) == 2


def test_fragments():
    b = Builder(JPEG_BASELINE)
    b.fragments([b"abcd", b"efghij"], name="pixels")
    end = len(b) - 8
    b.element(0xFFFCFFFC, "OB", b"")
    rows = rows_of(b.bytes())
    offset = b.at["pixels"] + 12
    assert rows[0] == (PIXEL_DATA, offset, end - offset, 12, ROW_UNDEFINED | FRAGMENTS | DELIMITED)
    assert len(rows) == 2


@pytest.mark.parametrize("encoding", [EXPLICIT, BIG])
def test_un_of_undefined_length_is_an_implicit_sequence(encoding):
    inner = item(
        element(0x00081150, "UI", "1.2.3", encoding=IMPLICIT), encoding=IMPLICIT, undefined=True
    )
    start = len(part10(transfer_syntax=SYNTAX[encoding]))
    raw = part10(
        raw_sequence(0x00091010, inner, vr="UN", encoding=encoding, length=UNDEFINED)
        + b"\xfe\xff\xdd\xe0\0\0\0\0"
        + element(0x00100010, "PN", "Doe^Jane", encoding=encoding),
        transfer_syntax=SYNTAX[encoding],
    )
    rows = rows_of(raw)
    assert [row[0] for row in rows] == [0x00091010, 0x00100010]
    assert rows[0][1:3] == (start + 12, len(inner))
    assert rows[0][4] & (ROW_UNDEFINED | ITEMS | DELIMITED) == ROW_UNDEFINED | ITEMS | DELIMITED
    ds = dcmread(memoryview(raw))
    assert ds[0x00091010].VR == "SQ" and ds[0x00091010].value[0].ReferencedSOPClassUID == "1.2.3"


def test_an_item_may_be_implicit_in_an_explicit_data_set():
    inner = element(0x00081150, "UI", "1.2.3", encoding=IMPLICIT)
    ds = dcmread(
        memoryview(part10(raw_sequence(SEQUENCE, item(inner)) + element(0x00100010, "PN", "A")))
    )
    assert ds[SEQUENCE].value[0].ReferencedSOPClassUID == "1.2.3"
    assert ds.check_all() == [] and ds.PatientName == "A"


def test_rows_ascend_and_the_last_of_equal_tags_is_used():
    names = [element(0x00100010, "PN", name) for name in ("Ab", "Cd")]
    raw = part10(
        element(0x00200013, "IS", "7 ") + names[0] + element(0x00080060, "CS", "CT") + names[1]
    )
    index, _ = indexed(raw)
    assert [row[0] for row in index.rows()] == [0x00080060, 0x00100010, 0x00200013]
    ds = dcmread(memoryview(raw))
    assert ds.PatientName == "Cd"
    assert [issue.code for issue in ds.issues] == ["out-of-order", "out-of-order", "duplicate"]
    assert [int(elem.tag) for elem in ds.iterall()] == [int(elem.tag) for elem in ds]


@pytest.mark.parametrize(
    "stop, tags",
    [
        (0x00080060, [0x00080005, 0x00080060]),
        (0x0008005F, [0x00080005]),
        (0x0010FFFF, [0x00080005, 0x00080060, SEQUENCE, 0x00100010]),
        (0, []),
    ],
)
def test_a_stop_tag(stop, tags):
    raw = part10(
        element(0x00080005, "CS", "ISO_IR 6")
        + element(0x00080060, "CS", "CT")
        + sequence(SEQUENCE, [b""], undefined=True)
        + element(0x00100010, "PN", "A")
        + element(0x7FE00010, "OW", b"ab")
    )
    assert [row[0] for row in rows_of(raw, stop=stop)] == tags


def test_a_stray_delimiter_does_not_stop():
    raw = part10(
        element(0x00080060, "CS", "CT")
        + b"\xfe\xff\x0d\xe0\0\0\0\0"
        + element(0x00100010, "PN", "A")
        + element(0x7FE00010, "OW", b"ab")
    )
    ds = dcmread(memoryview(raw), stop_before_pixels=True)
    assert (ds.Modality, ds.PatientName, "PixelData" in ds) == ("CT", "A", False)


def test_group_lengths_are_elements():
    raw = part10(element(0x00080000, "UL", 18) + element(0x00080060, "CS", "CT"))
    assert [row[0] for row in rows_of(raw)] == [0x00080000, 0x00080060]


@ALL
def test_headers_alone_and_bare_data_sets(encoding):
    b = Builder(encoding=encoding, start=b"")
    b.element(0x00080008, "CS", "ORIGINAL\\PRIMARY")
    b.element(0x00080060, "CS", "CT")
    b.element(0x00100010, "PN", "Doe^Jane")
    for start in (b"", b"DICM", preamble(), file_meta(SYNTAX[encoding])):
        ds = dcmread(memoryview(start + b.bytes()))
        assert (ds.Modality, ds.PatientName) == ("CT", "Doe^Jane"), start[:4]
        assert {i.code for i in ds.issues} <= {"no-preamble", "no-meta"}


def test_force():
    raw = element(0x00091010, "ZZ", b"ab")
    assert len(rows_of(raw, force=True)) == 1


# ----------------------------------------------------------------- the flat index ---


@pytest.mark.parametrize("name", good_files())
def test_flat_rows_are_those_of_the_levels(name):
    raw = good_files()[name]
    ds = dcmread(memoryview(raw))

    def levels(level, depth):
        for elem in level:
            yield depth, int(elem.tag), elem.file_tell, elem.value_length
            if elem.VR == "SQ":
                for inner in elem.value:
                    yield from levels(inner, depth + 1)

    flat = flat_rows(ds)
    assert [row[:2] + row[3:5] for row in flat if row[1] != ITEM] == list(levels(ds, 0))
    assert sum(row[1] == ITEM for row in flat) == 4


def test_flat_rows_of_a_nest():
    b = Builder()
    with (
        b.sequence(SEQUENCE, undefined=True, name="outer"),
        b.item(name="item"),
        b.sequence(0x0040A170, name="inner"),
        b.item(undefined=True, name="deep"),
    ):
        b.element(0x00080100, "SH", "A-1", name="code")
    b.element(0x00100010, "PN", "Doe^Jane", name="name")
    rows = [
        (depth, tag, offset - size)
        for depth, tag, _, offset, _, size, _ in flat_rows(dcmread(memoryview(b.bytes())))
    ]
    assert rows == [
        (0, SEQUENCE, b.at["outer"]),
        (1, ITEM, b.at["item"]),
        (1, 0x0040A170, b.at["inner"]),
        (2, ITEM, b.at["deep"]),
        (2, 0x00080100, b.at["code"]),
        (0, 0x00100010, b.at["name"]),
    ]


# --------------------------------------------------------------- bytes that are read ---


class Counting(io.BytesIO):
    """Counts what is read from it."""

    got = reads = 0

    def read(self, size=-1):
        data = super().read(size)
        self.got += len(data)
        self.reads += 1
        return data


def test_large_values_are_skipped():
    big = bytes(5 << 20)
    raw = part10(
        element(0x00080060, "CS", "CT")
        + element(0x00420011, "OB", big)
        + raw_sequence(SEQUENCE + 0x00400000, item(element(0x00420011, "OB", big)))
        + element(0x7FE00010, "OW", big)
        + element(0xFFFCFFFC, "OB", b"end!")
    )
    source = Counting(raw)
    ds = dcmread(source)
    assert len(ds) == 5 and source.got < 400_000
    assert ds[0xFFFCFFFC].value == b"end!" and ds.Modality == "CT"
    assert source.got < 800_000
    assert ds.PixelData == big


def test_fragments_are_skipped():
    source = Counting(part10(fragments([bytes(1 << 20)] * 8), transfer_syntax=JPEG_BASELINE))
    ds = dcmread(source)
    assert len(ds[PIXEL_DATA].value) == 8 * (8 + (1 << 20)) + 8
    assert dcmread(Counting(source.getvalue())).issues == []
    again = Counting(source.getvalue())
    dcmread(again)
    assert again.got < 100_000


@pytest.mark.parametrize("name", good_files())
def test_file_objects_paths_and_memory_are_read_alike(tmp_path, name):
    raw = good_files()[name]
    path = tmp_path / "a.dcm"
    path.write_bytes(raw)
    texts = set()
    for source in (path, str(path), memoryview(raw), bytearray(raw), io.BytesIO(raw)):
        ds = dcmread(source)
        texts.add((str(ds), repr(ds.check_all()), repr(flat_rows(ds))))
    assert len(texts) == 1
    shifted = io.BytesIO(b"before" + raw)
    shifted.seek(6)
    ds = dcmread(shifted)
    assert (str(ds), repr(ds.check_all()), repr(flat_rows(ds))) in texts


FRAMES = [b"\xff\xd8\xff" + bytes([i]) * 9997 for i in range(40)]
STEP = len(FRAMES[0]) + 8
TRUE = [i * STEP for i in range(40)]
TABLES = {  # offsets, and whether fragments between them need not be read
    "true": (TRUE, True),
    "with the end": ([*TRUE, 40 * STEP], True),
    "none": ([], False),
    "one": ([0], False),
    "counted from the table": ([o + 160 + 8 for o in TRUE], False),
    "into a frame": ([*TRUE[:-1], TRUE[-1] + 2], False),
    "back to the start": ([*TRUE[:-1], 0], False),
    "past the end": ([*TRUE[:-1], 1 << 31], False),
    "to the last byte": ([*TRUE[:-1], 40 * STEP + 7], False),
}
AFTER = element(0xFFFCFFFC, "OB", bytes(10))


def last_row(raw):
    """Offset, length and flags of its pixel data, issues, and how often it was read."""
    stream = Counting(raw)
    file = File(stream)
    index = open_part10(file, EVERYTHING, False)
    _, _, offset, length, _, flags = next(row for row in index.rows() if row[0] == PIXEL_DATA)
    return (offset, length, flags), [issue[0] for issue in index.issues()], stream.reads


@pytest.mark.parametrize("after", [b"", AFTER])
@pytest.mark.parametrize("name", TABLES)
@pytest.mark.parametrize("extended", [False, True])
def test_the_offset_table_is_used_to_find_the_end_of_the_fragments(name, extended, after):
    offsets, skips = TABLES[name]
    table = b"" if extended else struct.pack(f"<{len(offsets)}I", *offsets)
    before = (
        element(0x7FE00001, "OV", struct.pack(f"<{len(offsets)}Q", *offsets)) if extended else b""
    )
    start = part10(before, transfer_syntax=JPEG_BASELINE)
    raw = start + fragments(FRAMES, table=table) + after
    row, issues, reads = last_row(raw)
    assert row == (
        len(start) + 12,
        8 + len(table) + 40 * STEP,
        ROW_UNDEFINED | FRAGMENTS | DELIMITED,
    )
    assert issues == []
    assert reads <= 5 if skips else reads >= 40


@pytest.mark.parametrize("missing", [0, 4, 8, 20, STEP + 8, STEP + 10])
def test_truncated_fragments_are_read_as_without_their_table(missing):
    start = part10(transfer_syntax=JPEG_BASELINE)
    complete = fragments(FRAMES, table=struct.pack("<40I", *TRUE))
    bare = fragments(FRAMES)
    (_, length, flags), issues, _ = last_row(start + complete[: len(complete) - missing])
    (_, other, same), known, _ = last_row(start + bare[: len(bare) - missing])
    assert (length - 160, flags, issues) == (other, same, known)


def test_fragments_after_the_last_frame_are_skipped():
    """Two fragments per frame; a table of the frames."""
    start = part10(transfer_syntax=JPEG_BASELINE)
    raw = start + fragments(FRAMES, table=struct.pack("<20I", *TRUE[::2]))
    assert last_row(raw)[0][1] == 8 + 80 + 40 * STEP


def test_a_long_group_2_keeps_its_transfer_syntax():
    """Its end is after the bytes of the first read, whatever the size of that."""
    for size in range(0, 9000, 500):
        meta = (
            element(0x00020001, "OB", b"\0\1")
            + element(0x0002000F, "OB", bytes(size))
            + element(0x00020010, "UI", IMPLICIT_LE)
        )
        raw = preamble() + element(0x00020000, "UL", len(meta)) + meta
        raw += element(0x00080060, "CS", "CT", encoding=IMPLICIT) + element(
            0x00100010, "PN", "Doe^Jane", encoding=IMPLICIT
        )
        ds = dcmread(io.BytesIO(raw))
        assert ds.file_meta.TransferSyntaxUID == IMPLICIT_LE and ds.issues == [], size
        assert ds.PatientName == "Doe^Jane"


def test_a_truncated_header_at_each_end():
    for size in range(1, 8):
        raw = part10(element(0x00080060, "CS", "CT") + header(0x00100010, "PN", 4)[:size])
        index, _ = indexed(raw)
        assert len(index) == 1 and len(index.issues()) == 1
    raw = part10(sequence(SEQUENCE, [bare_item(0)[:6]]))
    ds = dcmread(memoryview(raw))
    assert len(ds[SEQUENCE].value) == 1 and [i.code for i in ds.check_all()] != []
