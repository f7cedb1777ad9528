"""Python file objects as sources: every kind, every failure, several threads."""

import array
import gzip
import io
import mmap
import sys
import tempfile
import threading
import zipfile
from concurrent.futures import ThreadPoolExecutor

import pytest

from fastdcm import DicomError, dcmread
from fastdcm.errors import FileAccessError
from support.builder import element, image, part10

COUNT, SIZE = 40, 20_000
VALUES = {0x00091020 + i: bytes([i + 1]) * SIZE for i in range(COUNT)}
RAW = part10(
    element(0x00090010, "LO", "TEST")
    + b"".join(element(tag, "OB", value) for tag, value in VALUES.items())
    + image(2, 2, allocated=8)
    + element(0x7FE00010, "OW", bytes([1, 2, 3, 4]))
)


class Minimal:
    """A file object with nothing but the three methods."""

    def __init__(self, raw):
        self._file = io.BytesIO(raw)

    def read(self, size):
        return self._file.read(size)

    def seek(self, offset, whence=0):
        return self._file.seek(offset, whence)

    def tell(self):
        return self._file.tell()


class NoMoreThan(Minimal):
    """Returns at most 1000 bytes, as sockets and unbuffered files may."""

    def read(self, size):
        return super().read(min(size, 1000))


class Silent(Minimal):
    """Returns no position from seek."""

    def seek(self, offset, whence=0):
        super().seek(offset, whence)


class Views(Minimal):
    """Returns memoryviews."""

    def read(self, size):
        return memoryview(super().read(size))


class AtOffset(Minimal):
    """Reads at any offset; its position may not be used after it was opened."""

    def read(self, size):
        raise AssertionError("pread is not used")

    def pread(self, size, offset):
        return self._file.getvalue()[offset : offset + size]


def on_disk(tmp_path, raw, **options):
    path = tmp_path / "a.dcm"
    path.write_bytes(raw)
    return open(path, "rb", **options)


def spooled(raw):
    file = tempfile.SpooledTemporaryFile(max_size=1000)  # noqa: SIM115  # read after this
    file.write(raw)
    file.seek(0)
    return file


def mapped(tmp_path, raw):
    with on_disk(tmp_path, raw) as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def zipped(raw):
    blob = io.BytesIO()
    with zipfile.ZipFile(blob, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a", raw)
    return zipfile.ZipFile(blob).open("a")


KINDS = {
    "open": on_disk,
    "unbuffered": lambda path, raw: on_disk(path, raw, buffering=0),
    "BytesIO": lambda _, raw: io.BytesIO(raw),
    "mmap": mapped,
    "spooled": lambda _, raw: spooled(raw),
    "gzip": lambda _, raw: gzip.GzipFile(fileobj=io.BytesIO(gzip.compress(raw, 1))),
    "zip member": lambda _, raw: zipped(raw),
    "three methods": lambda _, raw: Minimal(raw),
    "short reads": lambda _, raw: NoMoreThan(raw),
    "seek returns None": lambda _, raw: Silent(raw),
    "memoryviews": lambda _, raw: Views(raw),
    "pread": lambda _, raw: AtOffset(raw),
}


@pytest.fixture(params=KINDS)
def opened(request, tmp_path):
    """A function that opens bytes as a file object of one kind."""
    return lambda raw: KINDS[request.param](tmp_path, raw)


@pytest.mark.parametrize("start", [0, 5])
def test_kinds_of_file_objects(opened, start):
    file = opened(b"x" * start + RAW)
    file.seek(start)
    ds = dcmread(file)
    assert {tag: ds[tag].value for tag in reversed(VALUES)} == VALUES
    assert ds.pixel_array.tolist() == [[1, 2], [3, 4]]


@pytest.mark.parametrize("data_sets", [1, 2])
def test_threads_get_the_bytes_of_their_value(opened, data_sets):
    """Also when two data sets are read from one file object."""
    file = opened(RAW)
    read = []
    for _ in range(data_sets):
        file.seek(0)
        read.append(dcmread(file))
    gate, interval = threading.Barrier(8), sys.getswitchinterval()

    def work(i):
        gate.wait()
        ds = read[i % data_sets]
        tags = [0x00091020 + (j * 7 + i * 13) % COUNT for j in range(COUNT)]
        return all(ds[tag].value == VALUES[tag] for tag in tags)

    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(8) as pool:
            assert all(pool.map(work, range(8)))
    finally:
        sys.setswitchinterval(interval)


# ------------------------------------------------------------------ failures ---


class Failing(Minimal):
    """Does what `fail` does in one of its methods, after a number of calls of it."""

    def __init__(self, method, fail, after):
        super().__init__(RAW)
        self.after = after
        original = getattr(self, method)

        def call(*args):
            self.after -= 1
            return original(*args) if self.after >= 0 else fail(*args)

        setattr(self, method, call)


def raises(error):
    def fail(*_):
        raise error

    return fail


FAILURES = [
    OSError(5, "Input/output error"),
    FileNotFoundError(2, "No such file or directory"),
    ConnectionResetError(104, "reset"),
    TimeoutError("timed out"),
    io.UnsupportedOperation("seek"),
    ValueError("I/O operation on closed file"),
    EOFError("Compressed file ended"),
    zipfile.BadZipFile("Bad CRC-32"),
    RuntimeError("a library's own error"),
]


@pytest.mark.parametrize("error", FAILURES, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize(
    ("method", "after"), [("tell", 0), ("seek", 0), ("seek", 3), ("read", 0), ("read", 3)]
)
def test_what_a_file_object_raises_is_a_dicom_error(error, method, after):
    """At once, or when a value is read; the original error is its cause."""
    with pytest.raises(FileAccessError) as caught:
        ds = dcmread(Failing(method, raises(error), after))
        [ds[tag].value for tag in VALUES]
    assert caught.value.code == "read" and caught.value.__cause__ is error
    assert caught.value.errno == getattr(error, "errno", None)
    assert type(error).__name__ in str(caught.value)


@pytest.mark.parametrize("error", [KeyboardInterrupt(), MemoryError()])
def test_what_does_not_become_a_dicom_error(error):
    with pytest.raises(type(error)):
        dcmread(Failing("read", raises(error), 0))


@pytest.mark.parametrize(
    ("method", "answer", "expected"),
    [
        ("read", None, "non-blocking"),
        ("read", 5, "TypeError"),
        ("read", RAW, "for a read of"),
        ("read", "text", "text mode"),
        ("seek", 3, "moved to 3"),
        ("seek", -1, "must be integers"),
        ("seek", 1 << 70, "must be integers"),
        ("seek", "0", "must be integers"),
        ("tell", None, "must be integers"),
    ],
)
def test_wrong_answers_of_a_file_object(method, answer, expected):
    with pytest.raises(DicomError, match=expected) as caught:
        dcmread(Failing(method, lambda *_: answer, 0))
    assert caught.value.code == "read"


def test_closed_file_object(tmp_path):
    file = on_disk(tmp_path, RAW)
    ds = dcmread(file)
    file.close()
    with pytest.raises(FileAccessError, match="closed file") as caught:
        [ds[tag].value for tag in VALUES]
    assert caught.value.filename == str(tmp_path / "a.dcm")
    with pytest.raises(FileAccessError, match="closed file"):
        dcmread(file)


def test_file_objects_that_cannot_seek():
    class Pipe(Minimal):
        def seekable(self):
            return False

    with pytest.raises(FileAccessError, match=r"cannot seek: .*io\.BytesIO"):
        dcmread(Pipe(RAW))

    class OnlyRead:
        def read(self, size):
            return b""

    with pytest.raises(TypeError, match=r"has no seek: .*io\.BytesIO"):
        dcmread(OnlyRead())


def test_text_mode(tmp_path):
    path = tmp_path / "a.dcm"
    path.write_bytes(RAW)
    with open(path, encoding="utf-8") as file, pytest.raises(TypeError, match="'rb'"):
        dcmread(file)
    with pytest.raises(TypeError, match="'rb'"):
        dcmread(io.StringIO("text"))


# ------------------------------------------------------- what is not a file object ---


def test_content_as_bytes():
    """bytes are a path; the error says how to read them, and does not contain them."""
    with pytest.raises(FileAccessError, match=r"io\.BytesIO") as caught:
        dcmread(RAW)
    assert caught.value.code == "open" and len(str(caught.value)) < 200


@pytest.mark.parametrize("path", ["a\0b.dcm", "\0", "a\ud800.dcm"])
def test_paths_that_no_file_can_have(path):
    with pytest.raises(FileAccessError, match="character") as caught:
        dcmread(path)
    assert caught.value.filename == path and repr(path) in str(caught.value)


@pytest.mark.parametrize("source", [None, 5, 1.5, ["a.dcm"], object()])
def test_sources_that_are_nothing_of_the_kind(source):
    with pytest.raises(TypeError, match="path, a binary file object or"):
        dcmread(source)


def test_objects_with_the_buffer_protocol():
    for source in (
        memoryview(RAW),
        bytearray(RAW),
        array.array("B", RAW),
        memoryview(RAW[::-1])[::-1],
    ):
        assert dcmread(source)[0x00091021].value == VALUES[0x00091021]
