"""Zero bytes where an element should be: what follows them is read."""

import itertools

import pytest

import fastdcm
from support import builder as b

ENCODINGS = {
    b.EXPLICIT: b.EXPLICIT_LE,
    b.IMPLICIT: b.IMPLICIT_LE,
    b.BIG: b.EXPLICIT_BE,
}
COUNTS = [8, 10, 12, 14, 16, 104, 4096, 40_000]
LIMIT = 64 << 10


def elements(count, e):
    """Return a name, zero bytes, an identifier and a number."""
    return (
        b.element(0x00100010, "PN", "A^B", encoding=e)
        + bytes(count)
        + b.element(0x00100020, "LO", "P1", encoding=e)
        + b.element(0x00280010, "US", 4, encoding=e)
    )


def nested(count, e, undefined, levels):
    body = elements(count, e)
    for _ in range(levels):
        body = b.sequence(0x00081140, [body, body], undefined=undefined, encoding=e)
    return body


@pytest.mark.parametrize(("e", "levels"), itertools.product(ENCODINGS, (0, 1, 2)))
@pytest.mark.parametrize("undefined", [False, True])
def test_what_follows_is_read(tmp_path, e, levels, undefined):
    for count in COUNTS:
        body = nested(count, e, undefined, levels) + b.element(0x00280011, "US", 5, encoding=e)
        raw = b.part10(body, transfer_syntax=ENCODINGS[e])
        path = tmp_path / "a.dcm"
        path.write_bytes(raw)
        tags = ["ReferencedImageSequence." * levels + "PatientID", "Columns"]
        row = fastdcm.scan([path], tags).read_all().to_pylist()[0]
        assert [row[tag] for tag in tags] == ["P1", 5], (count, row)
        for source in (memoryview(raw), path):
            ds = fastdcm.dcmread(source)
            assert ds.Columns == 5
            inner = [ds]
            for _ in range(levels):
                inner = [item for level in inner for item in level.ReferencedImageSequence]
            assert len(inner) == 2**levels
            for level in inner:
                assert (level.PatientName, level.PatientID, level.Rows) == ("A^B", "P1", 4)
            codes = {issue.code for issue in ds.issues}
            assert codes == {"padding"}, count
            if not levels:
                assert len(ds.issues) == 1
        flat = [element.keyword for element in fastdcm.dcmread(path).iterall()]
        assert flat.count("PatientID") == 2**levels


@pytest.mark.parametrize(
    "rest",
    [
        b"",
        bytes(2),
        bytes(7),
        bytes(LIMIT) + b.element(0x00100020, "LO", "P1"),
        b"\xff" * 100,
        b"GIF89a and more of this",
        b.element(0x00080018, "UI", "1.2"),  # a tag before the last one
        b.header(0x00100020, "LO", 200),  # runs past the end
        b.header(0x00100020, "??", 2) + b"P1",
        bytes.fromhex("feffdde000000000"),
    ],
    ids=["end", "2", "7", "limit", "ff", "text", "order", "length", "VR", "delimiter"],
)
def test_what_is_no_element_is_ignored(rest):
    ds = fastdcm.dcmread(memoryview(b.part10(b.element(0x00100010, "PN", "A^B") + bytes(8) + rest)))
    assert [element.keyword for element in ds] == ["PatientName"]
    assert [issue.code for issue in ds.issues] == ["padding"]


def test_each_run_of_zero_bytes_is_one_issue():
    body = b"".join(b.element(0x00100010 + 16 * i, "LO", "a") + bytes(24) for i in range(4))
    ds = fastdcm.dcmread(memoryview(b.part10(body)))
    assert len(ds) == 4 and [issue.code for issue in ds.issues] == ["padding"] * 4
