"""Every code of src_c/dcm_base.h: what causes it, and the byte offset reported."""

import errno
import os
import re
import struct
import subprocess

import pytest

from fastdcm import DicomError, InvalidDicomError, dcmread
from fastdcm.errors import FileAccessError, FileChangedError, MissingFileError
from support.builder import (
    BIG,
    DEFLATED_LE,
    EXPLICIT,
    EXPLICIT_BE,
    IMPLICIT,
    IMPLICIT_LE,
    ITEM_END,
    JPEG_BASELINE,
    SEQUENCE_END,
    UNDEFINED,
    Builder,
    deflate,
    element,
    file_meta,
    header,
    item,
    part10,
    preamble,
    raw_sequence,
    sequence,
)
from support.damaged import SEQUENCE, bomb, nested

META = 132  # where group 0002 begins
DATA = len(part10())  # where the data set begins, as a Builder writes it
NAME = element(0x00100010, "PN", "Doe^Jane")
DELIMITER = struct.pack("<HHI", SEQUENCE_END >> 16, SEQUENCE_END & 0xFFFF, 0)
BARE_END = struct.pack("<HHI", ITEM_END >> 16, ITEM_END & 0xFFFF, 0)


def codes_of(root, prefix):
    text = (root / "src_c" / "dcm_base.h").read_text(encoding="utf-8")
    enum = text[text.index("typedef enum dcm_code") : text.index("} dcm_code;")]
    found = re.findall(rf"\bDCM_{prefix}_(\w+)", enum)
    return {name.lower().replace("_", "-") for name in found}


# ----------------------------------------------------------------- errors ---


def meta_with(*wrong, **options):
    return preamble() + file_meta(*wrong, **options)


ERRORS = {  # code: stream, byte offset, path of the element
    "empty": (b"", 0, ""),
    "not-dicom": (b"GIF89a" + bytes(500), 0, ""),
    # the item of the 129th level below the data set
    "depth": (part10(nested(200, undefined=True)), DATA + 128 * 20 + 12, "(0008,1140)"),
    "deflate": (meta_with(DEFLATED_LE) + b"\xff" * 100, None, ""),
    "inflate-limit": (bomb(header(0x7FE00010, "OB", 1 << 30), megabytes=64), None, ""),
}


@pytest.mark.parametrize("code", ERRORS)
def test_an_error_reports_its_offset(code):
    raw, offset, path = ERRORS[code]
    with pytest.raises(DicomError) as caught:
        dcmread(memoryview(raw))
    error = caught.value
    assert (error.code, error.path) == (code, path)
    assert isinstance(error, InvalidDicomError) == (code in ("empty", "not-dicom"))
    if offset is None:  # the number of compressed bytes read
        assert len(meta_with(DEFLATED_LE)) < error.offset <= len(raw)
    else:
        assert error.offset == offset


def test_depth_of_defined_lengths_is_reported_when_it_is_reached():
    ds = dcmread(memoryview(part10(nested(200))))
    assert len(ds) == 1 and ds.issues == []
    for read in (
        ds.check_all,
        lambda: str(ds),
        lambda: ds.walk(lambda level, elem: None),
        lambda: list(ds.iterall()),
    ):
        with pytest.raises(DicomError) as caught:
            read()
        assert caught.value.code == "depth"
        assert DATA + 127 * 20 <= caught.value.offset <= DATA + 130 * 20


@pytest.mark.parametrize("undefined", [False, True])
def test_a_data_set_of_120_levels_is_read(undefined):
    ds = dcmread(memoryview(part10(nested(120, undefined=undefined))))
    ds.check_all()
    assert sum(1 for _ in ds.iterall()) == 120


def test_missing_file(tmp_path):
    with pytest.raises(MissingFileError) as caught:
        dcmread(tmp_path / "none.dcm")
    assert (caught.value.code, caught.value.errno) == ("open", errno.ENOENT)
    assert caught.value.filename == str(tmp_path / "none.dcm")


@pytest.mark.skipif(os.name == "nt", reason="permissions of POSIX")
def test_forbidden_file(tmp_path):
    path = tmp_path / "a.dcm"
    path.write_bytes(part10(NAME))
    path.chmod(0)
    if os.access(path, os.R_OK):  # for the superuser: a name that is too long
        path = tmp_path / ("x" * 300)
    with pytest.raises(FileAccessError) as caught:
        dcmread(path)
    assert caught.value.code == "open" and caught.value.errno in (errno.EACCES, errno.ENAMETOOLONG)


def test_directory(tmp_path):
    with pytest.raises(FileAccessError) as caught:
        dcmread(tmp_path)
    assert caught.value.code == "not-regular"


def test_changed_file(tmp_path):
    path = tmp_path / "a.dcm"
    raw = part10(NAME + element(0x7FE00010, "OW", bytes(1 << 20)))
    path.write_bytes(raw)
    ds = dcmread(path)
    os.truncate(path, 100_000)
    with pytest.raises(FileChangedError) as caught:
        _ = ds.PixelData
    assert (caught.value.code, caught.value.offset) == ("changed", 100_000)


def test_closed_file(tmp_path):
    path = tmp_path / "a.dcm"
    path.write_bytes(part10(NAME + element(0x7FE00010, "OW", bytes(1 << 20))))
    ds = dcmread(path)
    ds.close()
    with pytest.raises(DicomError) as caught:
        _ = ds.PixelData
    assert caught.value.code == "read"


# What Python cannot cause: a descriptor that cannot be read, a full index, a
# directory that cannot be listed, out of memory.
BY_C = {"read", "too-large", "walk", "memory"}
BY_FILE = {"open", "not-regular", "changed"}
BY_KERNELS = {"rle-header", "rle-count", "rle-segment", "window", "frame-short", "frame-fit"}
BY_STREAMS = {"stream", "archive", "archive-limit"}  # test_streams.py, test_archives.py
BY_FRAMES = {"frames"}  # test_frame_table.py, as the next ones
BY_WAVEFORMS = {"waveform"}  # test_waveform.py
FRAME_ISSUES = {"offset-table", "frame-count"}
IMAGE_ISSUES = {  # test_layout.py, test_grayscale.py, test_overlay.py
    "encapsulation",
    "image-value",
    "lut",
    "overlay",
}
PIXEL_ISSUES = {  # test_color.py, test_decoders.py, test_pixel_array.py
    "codestream-end",
    "codestream-kind",
    "photometric",
    "pixel-length",
}
SCAN_ISSUES = {"unfit", "bad-date"}  # test_scanner.py, test_dates.py


def test_codes_from_c(c_program, tmp_path):
    program = c_program("tests/c/codes.c")
    done = subprocess.run([program, tmp_path / "none"], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        f"read offset=7 errno={errno.EBADF} tag=00000000",
        "too-large offset=20 errno=0 tag=00081140",
        f"walk offset=0 errno={errno.ENOENT} tag=00000000",
        "memory offset=0 errno=0 tag=00000000",
    ]


def test_every_error_is_tested(root):
    others = BY_C | BY_FILE | BY_KERNELS | BY_STREAMS | BY_FRAMES | BY_WAVEFORMS
    assert ERRORS.keys() | others == codes_of(root, "E")


# ----------------------------------------------------------------- issues ---


def at_data(raw):
    return part10(raw)


def wrong_meta_length():
    return preamble() + file_meta(length=4) + NAME


MANY = b"".join(element(0x00100010, "PN", "A^B") for _ in range(300))

ISSUES = {  # code: (stream, byte offset, path)
    "no-preamble": (file_meta() + NAME, 0, ""),
    "no-meta": (preamble() + NAME, META, ""),
    "meta-encoding": (
        preamble()
        + file_meta(IMPLICIT_LE, encoding=IMPLICIT)
        + element(0x00100010, "PN", "A", encoding=IMPLICIT),
        META,
        "",
    ),
    "meta-length": (wrong_meta_length(), META, "(0002,0000)"),
    "no-transfer-syntax": (preamble() + file_meta(None) + NAME, META, "(0002,0010)"),
    "unknown-transfer-syntax": (preamble() + file_meta("1.2.3.4") + NAME, META, "(0002,0010)"),
    "encoding": (
        part10(NAME, transfer_syntax=IMPLICIT_LE),
        len(part10(transfer_syntax=IMPLICIT_LE)),
        "",
    ),
    "truncated-header": (at_data(NAME + NAME[:6]), DATA + len(NAME), ""),
    "truncated-value": (at_data(NAME[:-3]), DATA, "(0010,0010)"),
    "unclosed": (
        at_data(sequence(SEQUENCE, [NAME], undefined=True, closed=False)),
        DATA + 12 + 8 + len(NAME) + 8,
        "(0008,1140)",
    ),
    "unknown-vr": (at_data(header(0x00100010, "ZZ", 2) + b"ab"), DATA, "(0010,0010)"),
    "implicit-element": (
        at_data(
            element(0x00080060, "CS", "CT")
            + element(0x00100010, "PN", "Doe^Jane", encoding=IMPLICIT)
        ),
        DATA + 10,
        "(0010,0010)",
    ),
    "out-of-order": (
        at_data(NAME + element(0x00080060, "CS", "CT")),
        DATA + len(NAME),
        "(0008,0060)",
    ),
    "duplicate": (at_data(NAME + element(0x00100010, "PN", "Roe^Rick")), DATA, "(0010,0010)"),
    "stray-delimiter": (
        at_data(NAME + DELIMITER + element(0x00100020, "LO", "1")),
        DATA + len(NAME),
        "(FFFE,E0DD)",
    ),
    "not-an-item": (at_data(raw_sequence(SEQUENCE, NAME)), DATA + 12, "(0008,1140)"),
    "item-length": (
        at_data(raw_sequence(SEQUENCE, item(NAME, length=len(NAME) + 2))),
        DATA + 12,
        "(0008,1140)",
    ),
    "fragments": (
        part10(
            raw_sequence(
                0x7FE00010,
                item(b"") + item(b"abcd", length=400) + DELIMITER,
                vr="OB",
                length=UNDEFINED,
            ),
            transfer_syntax=JPEG_BASELINE,
        ),
        len(part10(transfer_syntax=JPEG_BASELINE)) + 12 + 8,
        "(7FE0,0010)",
    ),
    "padding": (at_data(NAME + bytes(10)), DATA + len(NAME), ""),
    "value-length": (at_data(element(0x00280010, "US", b"abc")), DATA, "(0028,0010)"),
    "bad-number": (at_data(element(0x00200013, "IS", "seven ")), DATA, "(0020,0013)"),
    "charset": (at_data(element(0x00080005, "CS", "ISO_IR 999") + NAME), DATA, "(0008,0005)"),
    "text": (
        at_data(
            element(0x00080005, "CS", "ISO_IR 192") + element(0x00100010, "PN", b"\xff\xfe\xfd\xfc")
        ),
        DATA + 8 + 10,
        "(0010,0010)",
    ),
    "more": (at_data(MANY), None, None),
}


@pytest.mark.parametrize("code", ISSUES)
def test_an_issue_reports_its_offset(code):
    raw, offset, path = ISSUES[code]
    ds = dcmread(memoryview(raw))
    found = [issue for issue in ds.check_all() if issue.code == code]
    assert found, [str(issue) for issue in ds.issues]
    if offset is not None:
        assert (found[0].offset, found[0].path) == (offset, path)
    else:  # after all issues that are stored
        assert len(found) == 1 and ds.issues[-1] == found[0] and len(ds.issues) == 257
    assert found[0].what


@pytest.mark.parametrize("code", ISSUES)
def test_strict_raises_at_the_first_issue(code):
    raw, _, _ = ISSUES[code]
    issues = dcmread(memoryview(raw)).check_all()
    with pytest.raises(DicomError) as caught:
        dcmread(memoryview(raw), strict=True)
    error, issue = caught.value, issues[0]
    assert (error.code, error.offset, error.path) == (issue.code, issue.offset, issue.path)


def test_every_issue_is_tested(root):
    assert ISSUES.keys() | FRAME_ISSUES | IMAGE_ISSUES | PIXEL_ISSUES | SCAN_ISSUES == codes_of(
        root, "I"
    )


def test_a_valid_file_has_no_issue():
    assert dcmread(memoryview(part10(NAME))).check_all() == []


def test_damaged_deflate_is_an_issue_if_something_was_read():
    plain = NAME + element(0x00100020, "LO", os.urandom(300).hex())
    raw = preamble() + file_meta(DEFLATED_LE) + deflate(plain)[:-40]
    ds = dcmread(memoryview(raw))
    assert ds.PatientName == "Doe^Jane"
    assert {"deflate", "truncated-value"} <= {issue.code for issue in ds.check_all()}


# The repair is right, too.


@pytest.mark.parametrize(
    "code, value",
    [
        ("no-preamble", "Doe^Jane"),
        ("no-meta", "Doe^Jane"),
        ("meta-encoding", "A"),
        ("meta-length", "Doe^Jane"),
        ("no-transfer-syntax", "Doe^Jane"),
        ("unknown-transfer-syntax", "Doe^Jane"),
        ("encoding", "Doe^Jane"),
        ("truncated-header", "Doe^Jane"),
        ("truncated-value", "Doe^J"),
        ("implicit-element", "Doe^Jane"),
        ("out-of-order", "Doe^Jane"),
        ("duplicate", "Roe^Rick"),
        ("stray-delimiter", "Doe^Jane"),
        ("padding", "Doe^Jane"),
    ],
)
def test_the_name_is_read_despite_the_issue(code, value):
    assert dcmread(memoryview(ISSUES[code][0])).PatientName == value


@pytest.mark.parametrize(
    "stated, real",
    [(EXPLICIT_BE, EXPLICIT), (EXPLICIT_BE, IMPLICIT), (IMPLICIT_LE, BIG), (DEFLATED_LE, EXPLICIT)],
)
def test_a_wrong_transfer_syntax(stated, real):
    start = preamble() + file_meta(stated)
    b = Builder(encoding=real, start=start)
    b.element(0x00080060, "CS", "CT")
    b.element(0x00100010, "PN", "Doe^Jane")
    b.element(0x00280010, "US", 512)
    ds = dcmread(memoryview(b.bytes()))
    assert (ds.PatientName, ds.Rows) == ("Doe^Jane", 512)
    assert ("encoding", len(start)) in [(i.code, i.offset) for i in ds.issues]


def test_the_path_of_an_issue_in_an_item():
    b = Builder()
    with b.sequence(SEQUENCE):
        with b.item():
            b.element(0x00080060, "CS", "CT")
        with b.item(), b.sequence(0x0040A170), b.item():
            b.element(0x00280010, "US", b"abc", name="rows")
    ds = dcmread(memoryview(b.bytes()))
    [issue] = ds.check_all()
    assert issue.path == "(0008,1140)[1].(0040,A170)[0].(0028,0010)"
    assert (issue.code, issue.offset) == ("value-length", b.at["rows"])
