"""scan(hash=...): hashes of files and of their pixel data."""

import os

import pytest

import fastdcm
from fastdcm.scanning._worker import Worker
from fastdcm.scanning.tags import make_plan
from fastdcm.sources._paths import StreamChunk, chunk_from_members
from support.builder import (
    DEFLATED_LE,
    JPEG_BASELINE,
    deflate,
    element,
    file_meta,
    fragments,
    part10,
    preamble,
)
from support.streams import MemoryStream

xxhash = pytest.importorskip("xxhash")
NAME = element(0x00100010, "PN", "Doe^Jane")
CELLS = bytes(range(256)) * 9000
ITEMS = fragments([b"\xff\xd8abcd", b"\xff\xd8efgh"])
FILES = {
    "a-native": part10(NAME + element(0x7FE00010, "OW", CELLS)),
    "b-same": part10(element(0x7FE00010, "OW", CELLS)),
    "c-fragments": part10(NAME + ITEMS, transfer_syntax=JPEG_BASELINE),
    "d-no-pixels": part10(NAME),
    "e-deflated": preamble()
    + file_meta(DEFLATED_LE)
    + deflate(NAME + element(0x7FE00010, "OW", CELLS)),
    "f-text": b"no DICOM at all",
    "g-empty": b"",
}
PIXELS = {"a-native": CELLS, "b-same": CELLS, "c-fragments": ITEMS[12:-8]}


def digest(data):
    return xxhash.xxh3_128_hexdigest(data)


FILE_HASHES = [digest(data) for data in FILES.values()]
PIXEL_HASHES = [digest(PIXELS[name]) if name in PIXELS else None for name in FILES]


@pytest.fixture
def folder(tmp_path):
    for name, data in FILES.items():
        (tmp_path / name).write_bytes(data)
    return tmp_path


@pytest.mark.parametrize("threads", [1, 3])
def test_hashes_of_files_and_pixels(folder, threads):
    table = fastdcm.scan(
        folder, ["PatientName"], hash=("pixels", "file"), threads=threads, batch_size=2
    ).read_all()
    assert table.column_names[-6:] == [
        "pixel_offset",
        "pixel_length",
        "pixel_fragments",
        "frames",
        "file_hash",
        "pixel_hash",
    ]
    assert table["file_hash"].to_pylist() == FILE_HASHES
    assert table["pixel_hash"].to_pylist() == PIXEL_HASHES


def test_only_files_or_only_pixels(folder):
    table = fastdcm.scan(folder, [], hash="file").read_all()
    assert table.column_names[-1] == "file_hash" and "pixel_offset" not in table.column_names
    table = fastdcm.scan(folder, [], pixels="frames", hash="pixels").read_all()
    assert table.column_names[-2:] == ["frame_offsets", "pixel_hash"]
    assert table["pixel_hash"].to_pylist() == PIXEL_HASHES


def test_skipped_files_are_not_hashed(folder):
    table = fastdcm.scan(folder, [], hash="file", on_error="skip").read_all()
    assert table["file_hash"].to_pylist() == FILE_HASHES[:5]


def test_files_that_cannot_be_read_have_no_hash(folder):
    paths = [folder / "gone", folder / "a-native", folder]
    table = fastdcm.scan(paths, [], hash="file").read_all()
    assert table["file_hash"].to_pylist() == [None, FILE_HASHES[0], None]


@pytest.mark.parametrize("kind", ["streams", "members"])
def test_hashes_of_streams_and_members(tmp_path, kind):
    if kind == "streams":
        chunk = StreamChunk(
            [MemoryStream(name.encode(), data) for name, data in FILES.items()]
            + [MemoryStream(b"bad", FILES["a-native"], "open")]
        )
    else:
        blob, members = b"", []
        for name, data in FILES.items():
            members.append((name.encode(), len(blob), len(data)))
            blob += data
        (tmp_path / "blob").write_bytes(blob)
        chunk = chunk_from_members(
            os.fsencode(tmp_path / "blob"), [*members, (b"late", 7, 1 << 40)]
        )
    (batch,) = Worker(make_plan([], hash=("file", "pixels"))).run(chunk)
    assert batch.column("file_hash") == [*FILE_HASHES, None]
    assert batch.column("pixel_hash") == [*PIXEL_HASHES, None]
