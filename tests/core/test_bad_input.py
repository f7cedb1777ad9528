"""Malicious and damaged input: reading raises a DicomError or records an issue.

In little time and memory, and no other exception is raised.
"""

import contextlib
import os
import subprocess
import sys
import textwrap

import pytest

from fastdcm import DicomError, dcmread
from support.builder import (
    DEFLATED_LE,
    IMPLICIT,
    IMPLICIT_LE,
    UNDEFINED,
    element,
    file_meta,
    fragments,
    header,
    part10,
    preamble,
    sequence,
)
from support.damaged import SEQUENCE, bare_item, bomb, good_files, nested, read_all

NAME = element(0x00100010, "PN", "Doe^Jane")
DEEP = 100_000
SIZE = 10 << 30
SECONDS, MEGABYTES = 2, 200

# Reads a file in a process of its own; prints the result, the time taken and the
# growth of peak memory.
MEASURE = textwrap.dedent("""
    import resource, sys, time
    sys.path.insert(0, {tests!r})
    from support.damaged import read_all
    from fastdcm import DicomError, dcmread
    def peak():
        with open("/proc/self/status") as lines:
            return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
    resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))
    before, start = peak(), time.process_time()
    try:
        ds, issues = read_all(sys.argv[1])
        result = ",".join(dict.fromkeys(issue.code for issue in issues))
    except DicomError as error:
        result = "error " + error.code
    except BaseException as error:
        result = "ESCAPED " + repr(error)
    print(time.process_time() - start, (peak() - before) / 1024, result)
""")


def sparse(path, start):
    path.write_bytes(start)
    os.truncate(path, SIZE)


def deep(**options):
    syntax = options.pop("transfer_syntax", None)
    content = nested(DEEP, **options)
    return part10(content, **({"transfer_syntax": syntax} if syntax else {}))


def closed(depth):
    """Nested sequences of undefined length, all with delimiters."""
    end = bare_item(0)[:2] + b"\x0d\xe0\0\0\0\0" + bare_item(0)[:2] + b"\xdd\xe0\0\0\0\0"
    return nested(depth, undefined=True) + end * depth


HURTFUL = {  # name: (bytes of the file, or its start where sparse; what is expected)
    "deep, undefined": (lambda: deep(undefined=True), "error depth"),
    "deep, undefined, closed": (lambda: part10(closed(DEEP)), "error depth"),
    "deep, defined": (lambda: deep(), "error depth"),
    "deep, implicit": (
        lambda: part10(nested(DEEP, encoding=IMPLICIT), transfer_syntax=IMPLICIT_LE),
        "error depth",
    ),
    "deep, defined then not": (
        lambda: part10(nested(100)[:-8] + nested(DEEP, undefined=True)),
        "error depth",
    ),
    "deep, deflated, undefined": (
        lambda: deep(undefined=True, transfer_syntax=DEFLATED_LE),
        "error depth",
    ),
    "deep, deflated, defined": (lambda: deep(transfer_syntax=DEFLATED_LE), "error depth"),
    "length 0xFFFFFFFE": (
        lambda: part10(NAME + header(0x7FE00010, "OB", 0xFFFFFFFE) + b"abc"),
        "truncated-value",
    ),
    "sequence 0xFFFFFFFE": (
        lambda: part10(header(SEQUENCE, "SQ", 0xFFFFFFFE) + bare_item(0)),
        "truncated-value",
    ),
    "item 0xFFFFFFFE": (
        lambda: part10(header(SEQUENCE, "SQ", UNDEFINED) + bare_item(0xFFFFFFFE) + NAME),
        "item-length,unclosed",
    ),
    "fragment 0xFFFFFFFE": (
        lambda: part10(NAME + header(0x7FE00010, "OB", UNDEFINED) + bare_item(0xFFFFFFFE) + b"abc"),
        "fragments,unclosed",
    ),
    "empty": (lambda: b"", "error empty"),
    "one byte": (lambda: b"\x08", "error not-dicom"),
    "preamble alone": (lambda: preamble(), "no-meta"),
    "deflate bomb": (lambda: bomb(header(0x7FE00010, "OB", 1 << 30)), "error inflate-limit"),
    "deflate bomb of zeros": (lambda: bomb(), "error inflate-limit"),
    "deflate bomb, nested": (
        lambda: bomb(
            header(SEQUENCE, "SQ", UNDEFINED)
            + bare_item(UNDEFINED)
            + header(0x00091010, "OB", 1 << 30)
        ),
        "error inflate-limit",
    ),
    "deflate bomb of elements": (
        lambda: bomb(fill=element(SEQUENCE, "SQ"), megabytes=256),
        "error inflate-limit",
    ),
}

SPARSE = {
    "zeros": (b"", "error not-dicom"),
    "zeros behind the last element": (part10(NAME), "padding"),
    "bytes": (part10(NAME + header(0x7FE00010, "OB", 0xFFFFFFFE)), "padding"),
    "fragments": (part10(NAME + header(0x7FE00010, "OB", UNDEFINED)), "fragments,unclosed"),
    "a fragment": (
        part10(NAME + header(0x7FE00010, "OB", UNDEFINED) + bare_item(0xFFFFFFFE)),
        "fragments,unclosed",
    ),
    "a sequence": (part10(header(SEQUENCE, "SQ", 0xFFFFFFFE)), "padding,not-an-item"),
    "an item": (part10(header(SEQUENCE, "SQ", 0xFFFFFFFE) + bare_item(0xFFFFFFF0)), None),
    "an open item": (part10(header(SEQUENCE, "SQ", UNDEFINED) + bare_item(UNDEFINED)), None),
}


def measure(root, path):
    done = subprocess.run(
        [sys.executable, "-c", MEASURE.format(tests=str(root / "tests")), path],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    seconds, megabytes, result = done.stdout.strip("\n").split(" ", 2)
    return float(seconds), float(megabytes), result


linux = pytest.mark.skipif(
    sys.platform != "linux" or "asan" in os.environ.get("LD_PRELOAD", ""),
    reason="measures memory by /proc, and AddressSanitizer's is not that of fastdcm",
)


def hold(root, path, expected):
    seconds, megabytes, result = measure(root, path)
    if expected is None:
        assert not result.startswith("ESCAPED")
    elif expected.startswith("error"):
        assert result == expected
    else:
        assert set(expected.split(",")) <= set(result.split(","))
    assert seconds < SECONDS and megabytes < MEGABYTES, (seconds, megabytes, result)


@linux
@pytest.mark.parametrize("name", HURTFUL)
def test_little_time_and_memory(root, tmp_path, name):
    make, expected = HURTFUL[name]
    (tmp_path / "a.dcm").write_bytes(make())
    hold(root, tmp_path / "a.dcm", expected)


@linux
@pytest.mark.parametrize("name", SPARSE)
def test_ten_gigabytes_of_zeros_in_a_sparse_file(root, tmp_path, name):
    start, expected = SPARSE[name]
    sparse(tmp_path / "a.dcm", start)
    hold(root, tmp_path / "a.dcm", expected)


@linux
def test_text_of_four_gigabytes_raises_a_dicom_error(root, tmp_path):
    sparse(tmp_path / "a.dcm", part10(NAME + header(0x00104000, "UT", 0xFFFFFFFE)))
    code = MEASURE.format(tests=str(root / "tests")).replace("4 << 30", "1 << 30")
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "a.dcm"], capture_output=True, text=True, timeout=60
    )
    assert done.stdout.strip().endswith("error memory"), (done.stdout, done.stderr)


@linux
@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no FIFOs")
def test_a_fifo_does_not_block(root, tmp_path):
    os.mkfifo(tmp_path / "a.dcm")
    seconds, _, result = measure(root, tmp_path / "a.dcm")
    assert result == "error not-regular" and seconds < SECONDS


@pytest.mark.skipif(not os.path.exists("/dev/zero"), reason="there is no /dev/zero")
@pytest.mark.parametrize("path", ["/dev/zero", "/dev/null", "/"])
def test_paths_that_are_not_files(path):
    with pytest.raises(DicomError) as caught:
        dcmread(path)
    assert caught.value.code == "not-regular"


# ------------------------------------------------------------- truncation ---


@pytest.mark.parametrize("name", good_files())
def test_truncation_at_every_byte(name):
    """Complete elements are read with their values, and truncation is an issue.

    Unless the file ends between two elements.
    """
    raw = good_files()[name]
    complete_ds, issues = read_all(memoryview(raw))
    assert issues == []
    rows = [(elem.tag, elem.value_length, elem.file_tell) for elem in complete_ds]
    values = {elem.tag: str(elem) for elem in complete_ds}
    deflated = name == "deflated"
    quiet = 0
    for size in range(len(raw)):
        try:
            ds, issues = read_all(memoryview(raw[:size]))
        except DicomError as error:
            assert size < 140 or (deflated and error.code == "deflate"), (size, error)
            continue
        quiet += not issues
        for tag, length, offset in rows:
            complete = not deflated and size >= offset + length and offset <= size
            if complete and not complete_ds[tag].is_undefined_length:
                assert str(ds[tag]) == values[tag], (size, tag)
        for elem in ds:
            if not issues:
                assert str(elem) == values[elem.tag], (size, elem)
    # between two elements of the data set, or between group 0002 and it
    assert deflated or quiet <= len(rows) + 8


@pytest.mark.parametrize("name", good_files())
def test_truncated_file_has_an_issue(tmp_path, name):
    raw = good_files()[name]
    path = tmp_path / "a.dcm"
    path.write_bytes(raw[:-5])
    ds, issues = read_all(path)
    assert {issue.code for issue in issues} & {
        "truncated-value",
        "truncated-header",
        "unclosed",
        "deflate",
    }
    assert ds.Modality == "MR"


@pytest.mark.parametrize("name", good_files())
def test_any_wrong_byte(name):
    raw = bytearray(good_files()[name])
    for offset in range(128, len(raw)):
        kept = raw[offset]
        for byte in (0, 0xFF, kept ^ 0x20, kept ^ 1):
            raw[offset] = byte
            with contextlib.suppress(DicomError):
                read_all(memoryview(raw))
        raw[offset] = kept


# -------------------------------------------------- complete elements stay ---


def test_complete_elements_before_damage_are_kept():
    broken = sequence(
        SEQUENCE, [NAME, element(0x00100020, "LO", "1")], undefined=True, closed=False
    )
    raw = part10(element(0x00080060, "CS", "CT") + broken[:-9])
    ds, issues = read_all(memoryview(raw))
    assert (ds.Modality, ds[SEQUENCE].value[0].PatientName) == ("CT", "Doe^Jane")
    assert "unclosed" in {issue.code for issue in issues}


def test_elements_after_wrong_fragment_lengths_are_kept():
    wrong = bytearray(fragments([b"abcd", b"efgh"]))
    wrong[12 + 8 + 4] = 200  # the length of the first frame's fragment
    raw = part10(NAME + bytes(wrong) + element(0xFFFCFFFC, "OB", bytes(4)))
    ds, issues = read_all(memoryview(raw))
    assert ds.PatientName == "Doe^Jane" and 0xFFFCFFFC in ds
    assert [issue.code for issue in issues] == ["fragments"]


# ----------------------------------------------------------- odd file objects ---


class Reader:
    """A file object that returns fewer or more bytes than requested."""

    def __init__(self, raw, give):
        self.raw, self.give, self.at = raw, give, 0

    def seek(self, offset, whence=0):
        self.at = offset + (len(self.raw) if whence == 2 else 0)
        return self.at

    def tell(self):
        return self.at

    def read(self, size=-1):
        return self.give(self.raw[self.at : self.at + size])


@pytest.mark.parametrize(
    ("give", "code"),
    [
        (lambda data: data[:-1], "changed"),
        (lambda data: data + b"x", "read"),
        (lambda data: b"", "changed"),
    ],
)
def test_file_object_that_returns_wrong_amounts(give, code):
    with pytest.raises(DicomError) as caught:
        dcmread(Reader(part10(NAME), give))
    assert caught.value.code == code


def test_bytes_in_memory_that_are_not_dicom():
    for raw in (b"", b"x", bytes(200), bytes(range(256)) * 4, preamble(magic=b"DCIM") + NAME):
        with pytest.raises(DicomError):
            dcmread(memoryview(raw))


def test_deflated_stream_followed_by_other_bytes(tmp_path):
    raw = part10(NAME + element(0x7FE00010, "OB", bytes(3 << 20)), transfer_syntax=DEFLATED_LE)
    for tail in (b"\0", b"rubbish" * 1000):
        ds = dcmread(memoryview(raw + tail))
        assert ds.PatientName == "Doe^Jane" and len(ds.PixelData) == 3 << 20 and ds.issues == []


def test_deflated_stream_that_ends_in_a_long_run():
    for size in (1 << 20, (1 << 20) - 300, (3 << 20) + 77):  # output waits without input
        raw = preamble() + file_meta(DEFLATED_LE)
        raw += part10(header(0x7FE00010, "OB", size) + bytes(size), transfer_syntax=DEFLATED_LE)[
            len(raw) :
        ]
        ds = dcmread(memoryview(raw))
        assert len(ds.PixelData) == size and ds.issues == []
