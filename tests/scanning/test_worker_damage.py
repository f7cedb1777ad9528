"""What a worker reports about files that are damaged, odd or not DICOM; and pixel columns."""

import os

import pytest

import fastdcm
from fastdcm.scanning.scanner import scan_chunk
from support import builder as b
from support.scans import FIXED, one_row, per_frame_groups


def test_files_that_are_not_dicom(put, tmp_path):
    empty, text = put(raw=b""), put(raw=b"This is no DICOM file, whatever its name says.\n" * 9)
    missing = str(tmp_path / "missing")
    batch = scan_chunk(
        [empty, str(tmp_path), text, missing, put(b.element(0x00100020, "LO", "x"))], ["PatientID"]
    )
    assert batch.column("error") == ["empty", "not-regular", "not-dicom", "open", None]
    assert batch.column("error_offset") == [0, 0, 0, 0, None]
    assert batch.column("PatientID") == [None] * 4 + ["x"]
    assert batch.column("size") == [0, None, 47 * 9, None, os.path.getsize(batch.column("path")[4])]
    assert os.strerror(2) in batch.column("error_detail")[3]
    assert (batch.n_errors, batch.num_rows) == (4, 5)
    with pytest.raises(fastdcm.InvalidDicomError):
        raise batch.error()
    with pytest.raises(FileNotFoundError):
        raise batch.error(3)


def test_nesting_above_the_limit(put):
    item = b.UNDEFINED.to_bytes(4, "little")
    deep = (b"\x08\x00\x18\x22SQ\0\0" + item + b"\xfe\xff\x00\xe0" + item) * 1000
    row = one_row(put(b.element(0x00080016, "UI", "1.2") + deep), "SOPClassUID", "PatientID")
    assert (row["error"], row["SOPClassUID"]) == ("depth", None)
    assert row["transfer_syntax"] == b.EXPLICIT_LE
    assert "(0008,2218)" in row["error_detail"]
    assert row["error_offset"] > 1000


def test_a_damaged_data_set_keeps_its_complete_elements(put):
    builder = b.Builder()
    builder.element(0x00100020, "LO", "ID")
    builder.element(0x00280010, "US", 512)
    builder.element(0x00280011, "US", 512, length=500, name="truncated")
    row = one_row(put(raw=builder.bytes()), "PatientID", "Rows", "Columns", "PixelSpacing")
    assert (row["PatientID"], row["Rows"], row["error"]) == ("ID", 512, None)
    assert f"truncated-value@{builder.at['truncated']} (0028,0011)" in row["issues"]


def test_truncation_at_every_byte(tmp_path):
    complete = b.part10(
        b.element(0x00080005, "CS", "GB18030")
        + b.element(0x00100010, "PN", b"\xcd\xf5 a")
        + b.sequence(0x00082218, [b.element(0x00080100, "SH", "code")], undefined=True)
        + b.element(0x00280010, "US", 512)
    )
    paths = []
    for n in range(len(complete)):
        paths.append(tmp_path / str(n))
        paths[-1].write_bytes(complete[:n])
    batch = scan_chunk(paths, ["PatientName", "AnatomicRegionSequence[*].CodeValue", "Rows"])
    assert len(batch) == len(complete)
    rows = batch.column("Rows")
    assert rows[-1] is None
    assert all(r is None for r in rows)
    assert "\u738b a" in batch.column("PatientName")


def test_deflated_files(put):
    dataset = (
        b.element(0x00100020, "LO", "ID")
        + per_frame_groups(3)
        + b.element(0x7FE00010, "OW", bytes(100))
    )
    path = put(dataset, transfer_syntax=b.DEFLATED_LE)
    every = "PerFrameFunctionalGroupsSequence[*].PlanePositionSequence.ImagePositionPatient"
    row = one_row(path, "PatientID", every, "TransferSyntaxUID", pixels=True)
    assert (row["PatientID"], row["TransferSyntaxUID"]) == ("ID", b.DEFLATED_LE)
    assert len(row[every]) == 3
    assert (row["pixel_length"], row["frames"]) == (100, 1)


def test_damaged_and_oversized_deflated_data_sets(put):
    meta = b.preamble() + b.file_meta(b.DEFLATED_LE)
    stream = b.deflate(
        b.element(0x00100020, "LO", "ID")
        + b.element(0x00104000, "LT", "x" * 3000)
        + b"".join(b.element(0x00200013, "IS", str(i)) for i in range(400))
    )
    row = one_row(put(raw=meta + stream[: len(stream) // 2]), "PatientID")
    assert (row["PatientID"], row["error"]) == ("ID", None)
    assert row["issues"][0].startswith("deflate@")
    row = one_row(put(raw=meta + b"\xff" * 500), "PatientID")
    assert row["error"] == "deflate"
    bomb = b.deflate(b.element(0x00420011, "OB", bytes(200 << 20)))
    row = one_row(put(raw=meta + bomb), "PatientID")
    assert row["error"] == "inflate-limit"


def test_issues_of_the_file(put):
    dataset = (
        b.element(0x00080016, "UI", "1.2")
        + b.element(0x00080018, "UI", "1.3")
        + b.element(0x00100020, "LO", "x")
    )
    row = one_row(put(dataset, start=b"", meta=b""), "PatientID")
    assert row["PatientID"] == "x"
    assert [i.split("@")[0] for i in row["issues"]] == ["no-preamble", "no-meta"]


def test_pixel_columns(put):
    native = b.Builder()
    native.element(0x00280008, "IS", "3 ")
    at = native.element(0x7FE00010, "OW", bytes(600))
    wrapped = b.Builder(b.RLE)
    start = wrapped.fragments([b"12", b"3456"])
    floats = b.Builder()
    float_at = floats.element(0x7FE00008, "OF", [1.0, 2.0])
    batch = scan_chunk(
        [put(raw=x.bytes()) for x in (native, wrapped, floats)] + [put(), put(raw=b"")],
        ["Rows"],
        pixels=True,
    )
    names = ["pixel_offset", "pixel_length", "pixel_fragments", "frames"]
    assert batch.column_names == [*FIXED, "Rows", *names]
    assert batch.column("pixel_offset") == [at + 12, start + 12, float_at + 12, None, None]
    assert batch.column("pixel_length") == [600, 8 + 10 + 12, 8, None, None]
    assert batch.column("pixel_fragments") == [0, 1, None, None, None]
    assert batch.column("frames") == [3, 1, 1, None, None]
    plain = scan_chunk([put(raw=native.bytes())], [])
    assert plain.column_names == FIXED


@pytest.mark.parametrize(
    "text, frames, issues",
    [
        ("3.0", 3, 0),
        ("3e0", 3, 0),
        ("+3", 3, 0),
        ("3,0", 1, 1),
        ("3\\3", 1, 1),
        ("0", 1, 1),
    ],
)
def test_number_of_frames(put, text, frames, issues):
    dataset = b.element(0x00280008, "IS", text) + b.element(0x7FE00010, "OW", bytes(600))
    row = one_row(put(dataset), pixels=True)
    found = [code.partition("@")[0] for code in row["issues"] or ()]
    assert row["frames"] == frames and found == ["frame-count"] * issues


def test_reading_ends_after_the_last_requested_element(put):
    """Damage after it is not reported."""
    raw = b.element(0x00080016, "UI", "1.2") + b.element(0x00100020, "LO", "x", length=5000)
    assert one_row(put(raw), "SOPClassUID")["issues"] is None
    assert one_row(put(raw), "PatientID")["issues"] is not None
