"""Streams and stored members, read by a Worker and by `dcmread`."""

import os

import pytest

from fastdcm import DicomError, dcmread
from fastdcm.core._file import File
from fastdcm.core._level import read_level
from fastdcm.dataset import Dataset
from fastdcm.scanning._worker import Worker
from fastdcm.scanning.tags import make_plan
from fastdcm.sources._paths import (
    StreamChunk,
    chunk_from_members,
    chunk_from_paths,
)
from fastdcm.sources.streams import SeekableStream
from support import builder
from support.builder import (
    DEFLATED_LE,
    deflate,
    element,
    file_meta,
    fragments,
    part10,
    preamble,
)
from support.streams import MemoryStream

NAME = element(0x00100010, "PN", "Doe^Jane")
LONG = element(0x00204000, "LT", "x" * 9000) + element(0x00281101, "OW", bytes(300_000))
PIXELS = fragments([b"\xff\xd8" + bytes(70_000)] * 9)
FILES = {
    "plain": part10(NAME),
    "long": part10(NAME + LONG + element(0x00400280, "ST", "last")),
    "fragments": part10(
        NAME + element(0x00280008, "IS", 9) + PIXELS, transfer_syntax=builder.JPEG_BASELINE
    ),
    "japanese": part10(
        element(0x00080005, "CS", "\\ISO 2022 IR 87")
        + element(0x00100010, "PN", b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B")
    ),
    "deflated": preamble() + file_meta(DEFLATED_LE) + deflate(NAME + LONG),
    "empty": b"",
    "text": b"no DICOM at all",
    "truncated": part10(NAME + LONG)[:9000],
}
TAGS = ["PatientName", "PatientComments", "ImageComments", "CommentsOnThePerformedProcedureStep"]


def rows(chunk, pixels=False, tags=TAGS):
    columns = {}
    for batch in Worker(make_plan(tags, pixels)).run(chunk):
        for name, values in batch.to_pydict().items():
            columns.setdefault(name, []).extend(values)
    return [dict(zip(columns, values)) for values in zip(*columns.values())]


@pytest.fixture
def paths(tmp_path):
    for name, data in FILES.items():
        (tmp_path / name).write_bytes(data)
    return [tmp_path / name for name in FILES]


@pytest.mark.parametrize("pixels", [False, True, "frames"])
def test_a_stream_has_the_row_of_the_same_file(paths, pixels):
    streams = [MemoryStream(os.fsencode(path), path.read_bytes()) for path in paths]
    found = rows(StreamChunk(streams), pixels)
    for row, one in zip(found, rows(chunk_from_paths(paths), pixels)):
        assert row.pop("mtime_ns") == 7 and one.pop("mtime_ns")
        assert row == one
    assert len(streams[0].reads) == 1


def test_an_element_after_a_large_value_is_one_more_read():
    stream = MemoryStream(b"x", FILES["long"])
    assert rows(StreamChunk([stream]))[0]["CommentsOnThePerformedProcedureStep"] == "last"
    assert len(stream.reads) <= 4 and sum(n for _, n in stream.reads) < 120_000


@pytest.mark.parametrize(
    ("wrong", "error", "detail"),
    [
        ("open", "read", "the file cannot be read: Permission denied"),
        ("short", "changed", "it ended before its size was reached"),
        ("later", "stream", "503 Slow Down"),
    ],
)
def test_a_stream_that_fails_is_an_error_row(wrong, error, detail):
    bad, good = MemoryStream(b"bad", FILES["long"], wrong), MemoryStream(b"good", FILES["plain"])
    first, second = rows(StreamChunk([bad, good]))
    assert (first["path"], first["error"], first["error_detail"]) == ("bad", error, detail)
    assert second["error"] is None and second["PatientName"] == "Doe^Jane"


def test_streams_are_opened_before_the_first_is_read():
    calls = []

    class Remote(MemoryStream):
        def open(self, first):
            calls.append((self.path, first))
            super().open(first)
            return self.data[:first]

        def read(self, offset, length):
            calls.append((self.path, offset))
            return super().read(offset, length)

    data = [FILES["plain"], FILES["long"], FILES["plain"], FILES["truncated"], FILES["japanese"]]
    streams = [Remote(b"%d" % i, one, "open" if i == 2 else None) for i, one in enumerate(data)]
    found = rows(StreamChunk(streams))
    assert calls[:5] == [(b"%d" % i, 8192) for i in range(5)]
    assert {path for path, _ in calls[5:]} == {b"1", b"3"}
    assert [row["error"] for row in found] == [None, None, "read", None, None] and found[3][
        "issues"
    ]
    assert found[1]["CommentsOnThePerformedProcedureStep"] == "last"


@pytest.mark.parametrize("count", [63, 64, 65, 200])
def test_many_streams(paths, count):
    names = [(i, path) for i in range(count) for path in paths][:count]
    found = rows(StreamChunk([MemoryStream(b"%d" % i, path.read_bytes()) for i, path in names]))
    for row, one in zip(found, rows(chunk_from_paths([path for _, path in names]))):
        row["path"] = one["path"]
        row["mtime_ns"] = one["mtime_ns"]
        assert row == one
    assert len(found) == count


def test_details_stay_with_their_rows():
    plan = make_plan(TAGS)
    (a,) = Worker(plan).run(StreamChunk([MemoryStream(b"a", FILES["plain"])]))
    (b,) = Worker(plan).run(StreamChunk([MemoryStream(b"b", FILES["long"], "later")]))
    assert a.join(b) and a.column("error_detail") == [None, "503 Slow Down"]
    assert a.error().text == "503 Slow Down"


def test_reading_an_endless_header_stops():
    class Endless(MemoryStream):
        def open(self, first):
            self.size, self.mtime_ns = 1 << 40, 0

        def read(self, offset, length):
            data = self.data[offset : offset + length]
            return (
                data + (element(0x00091001, "UN", b"") * (length // 12 + 1))[: length - len(data)]
            )

    head = part10(NAME)
    (row,) = rows(StreamChunk([Endless(b"x", head + bytes(-len(head) % 12))]), tags=["PixelData"])
    assert row["error"] is not None


# --------------------------------------------------------- stored members ---


@pytest.fixture
def blob(tmp_path):
    """The files one after another, as in an archive."""
    data, members = b"", []
    for name, content in FILES.items():
        data += b"between"
        members.append((name.encode(), len(data), len(content)))
        data += content
    path = tmp_path / "blob"
    path.write_bytes(data)
    return path, members


@pytest.mark.parametrize("pixels", [False, "frames"])
def test_members(blob, paths, pixels):
    path, members = blob
    for row, one in zip(
        rows(chunk_from_members(os.fsencode(path), members), pixels),
        rows(chunk_from_paths(paths), pixels),
    ):
        name = os.path.basename(one.pop("path"))
        assert (
            row.pop("path") == f"{path}!/{name}" and row.pop("mtime_ns") == path.stat().st_mtime_ns
        )
        one.pop("mtime_ns")
        assert row == one


def test_a_member_past_the_end_of_its_archive(blob):
    path, _ = blob
    (row,) = rows(chunk_from_members(os.fsencode(path), [(b"late", 10, 1 << 40)]))
    assert row["error"] == "changed"


@pytest.mark.parametrize("name", ["plain", "long", "fragments", "deflated"])
def test_a_data_set_of_a_member(blob, name):
    path, members = blob
    span = next((offset, length) for member, offset, length in members if member == name.encode())
    ds = read_level(Dataset, File(str(path), span, f"{path}!/{name}"), 0xFFFFFFFF, False)
    expected = dcmread(memoryview(FILES[name]))
    assert ds.filename == f"{path}!/{name}" and ds == expected
    assert [elem.value for elem in ds] == [elem.value for elem in expected]
    if name == "long":
        ds = read_level(Dataset, File(str(path), span, name), 0xFFFFFFFF, False)
        os.truncate(path, 3)
        with pytest.raises(DicomError):
            _ = ds[0x00281101].value


def test_a_data_set_of_a_stream():
    stream = MemoryStream(b"a.zip!/x", FILES["long"])
    stream.open(0)
    ds = dcmread(SeekableStream(stream))
    assert ds.PatientName == "Doe^Jane" and ds.filename == "a.zip!/x"
    assert len(ds[0x00281101].value) == 300_000
