"""Tar archives: headers, sparse members, truncation, repeated unpacking."""

import io
import random
import tarfile

import pytest

from fastdcm import DicomError, dcmread
from fastdcm.sources.archives import tar
from support.archives import LONG, NAME, TARS, inner, make, table
from support.builder import (
    element,
    part10,
)


@pytest.mark.parametrize("name", ["gnu.tar", "pax.tar", "packed.tar.gz"])
def test_sparse_members_are_error_rows(tmp_path, name):
    mode, form = TARS[name]
    with tarfile.open(tmp_path / name, mode, format=form) as file:
        for i in range(3):
            info = tarfile.TarInfo(f"{i}")
            info.size = len(part10(NAME))
            if i == 1 and form == tarfile.PAX_FORMAT:
                info.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.name": "real"}
            elif i == 1:
                info.type = tarfile.GNUTYPE_SPARSE
            file.addfile(info, io.BytesIO(part10(NAME)))
    rows = table(tmp_path / name)
    assert [row["error"] for row in rows] == [None, "archive", None]
    assert inner(rows) == ["0", "1" if name == "gnu.tar" else "real", "2"]
    assert rows[1]["error_detail"] == "the member is sparse, which is not supported"


def test_a_sparse_map_that_continues_after_its_header(tmp_path):
    info = tarfile.TarInfo("x")
    info.type, info.size = tarfile.GNUTYPE_SPARSE, 512
    block = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    block[482] = 1
    block[148:156] = b"%06o\0 " % tarfile.calc_chksums(bytes(block))[0]
    more = bytes(504) + b"\1" + bytes(7) + bytes(512)
    good = tarfile.TarInfo("good")
    good.size = len(part10(NAME))
    data = part10(NAME)
    path = tmp_path / "a.tar"
    path.write_bytes(
        bytes(block)
        + more
        + bytes(512)
        + good.tobuf()
        + data
        + bytes(-len(data) % 512)
        + bytes(1024)
    )
    assert [row["error"] for row in table(path)] == ["archive", None]


def test_numbers_and_checksums_of_old_tars():
    block = bytearray(tarfile.TarInfo("caf\xe9").tobuf(tarfile.USTAR_FORMAT, "latin-1"))
    block[124:136] = b"\x80" + (1 << 40).to_bytes(11, "big")
    for total in tarfile.calc_chksums(bytes(block)):  # of unsigned bytes, of signed
        block[148:156] = b"%06o\0 " % total
        assert tar._parse_header(bytes(block), 0)[:2] == (b"caf\xe9", 1 << 40)
    for size in (b"\xff" * 12, b"\x80" + b"\xff" * 11, b"-0000000001\0", b"000000000x\0\0"):
        block[124:136] = size
        block[148:156] = b"%06o\0 " % tarfile.calc_chksums(bytes(block))[0]
        with pytest.raises(DicomError):
            tar._parse_header(bytes(block), 0)


@pytest.mark.parametrize("name", ["gnu.tar", "packed.tar.gz", "packed.tar.zst"])
def test_the_member_in_which_a_tar_is_truncated(tmp_path, name):
    noise = element(0x7FE00010, "OW", random.Random(1).randbytes(600_000))
    path = make(tmp_path / name, {"a": part10(NAME), "b": part10(NAME + noise)})
    data = path.read_bytes()
    path.write_bytes(data[:300_000])
    rows = table(path)
    # In a compressed tar the header is complete, and the pixels are not read.
    assert [row["error"] for row in rows] == [
        None,
        "archive" if name == "gnu.tar" else None,
        "archive",
    ]
    with pytest.raises(DicomError) as caught:
        _ = dcmread(rows[1]["path"]).PixelData
    assert caught.value.code == "archive"
    path.write_bytes(data[:20_000])
    rows = table(path)
    assert rows[-1]["path"] == str(path) and rows[-1]["error"] == "archive"
    assert [row["error"] for row in rows[:-1]] == ([] if "zst" in name else [None, "archive"])


def test_a_tar_that_unpacks_to_too_much(tmp_path, monkeypatch):
    monkeypatch.setattr(tar, "MAX_UNPACKED", 1 << 20)
    monkeypatch.setattr(tar, "MAX_UNPACKED_RATIO", 100)
    path = make(
        tmp_path / "packed.tar.gz", {"a": part10(NAME), "b": bytes(8 << 20), "c": part10(NAME)}
    )
    rows = table(path)
    assert inner(rows) == ["a", "b", ""] and rows[-1]["error"] == "archive-limit"


@pytest.mark.parametrize("threads", [1, 3])
def test_a_compressed_tar_is_not_unpacked_repeatedly(tmp_path, monkeypatch, threads):
    members = {f"{i:02d}": part10(NAME + LONG) for i in range(40)}
    path = make(tmp_path / "packed.tar.gz", members)
    made = []
    cursor = tar.PackedTar.cursor
    monkeypatch.setattr(tar.PackedTar, "cursor", lambda self: made.append(cursor(self)) or made[-1])
    assert [row["InstanceNumber"] for row in table(path, threads=threads)] == [7] * 40
    total = sum(map(len, members.values()))
    assert sum(one.position for one in made) < 3.5 * total  # and one pass is the taker's
    monkeypatch.setattr(tar, "MAX_PREFIX", 1 << 10)
    monkeypatch.setattr(tar, "MAX_PASSES", 0)
    monkeypatch.setattr(tar, "FREE_BYTES", total // 2)
    errors = [row["error"] for row in table(path, threads=threads)]
    assert {None, "archive-limit"} == set(errors) and len(errors) == 40
