"""Damaged archives, and archives made to exhaust memory."""

import os
import random
import subprocess
import sys
import zlib

import pytest

from fastdcm import DicomError, dcmread
from fastdcm.sources.archives import limits
from support.archives import (
    FEW,
    MEMBERS,
    NAME,
    PACKINGS,
    check_rows,
    inner,
    linux,
    make,
    make_small,
    table,
)
from support.builder import (
    element,
    part10,
)

# ----------------------------------------------------------------- damage ---


@pytest.mark.parametrize("name", PACKINGS)
def test_truncation_at_any_offset(tmp_path, name):
    path = make_small(tmp_path / name)
    data = path.read_bytes()
    complete = table(path)
    for length in range(0, len(data), max(1, len(data) // 150)):
        path.write_bytes(data[:length])
        rows = check_rows(path)
        # Some bytes after the last member of a tar may be missing.
        assert any(row["error"] for row in rows) or (
            "zip" not in name.lower() and inner(rows) == inner(complete)
        ), length
        for row, one in zip(rows, complete):
            assert row["error"] or row["InstanceNumber"] == one["InstanceNumber"]


@pytest.mark.parametrize("name", PACKINGS)
def test_a_wrong_byte_at_any_offset(tmp_path, name):
    path = make_small(tmp_path / name)
    data = path.read_bytes()
    for at in range(0, len(data), max(1, len(data) // 150)):
        path.write_bytes(data[:at] + bytes([data[at] ^ 0xA5]) + data[at + 1 :])
        check_rows(path)


@pytest.mark.parametrize("name", PACKINGS)
def test_random_damage(tmp_path, name):
    path = make_small(tmp_path / name)
    data = path.read_bytes()
    chance = random.Random(zlib.crc32(name.encode()))
    for _ in range(60):
        broken = bytearray(data)
        for _ in range(chance.randint(1, 6)):
            at = chance.randrange(len(broken))
            how = chance.randrange(4)
            if how == 0:
                broken[at : at + 4] = chance.choice(
                    [b"\0\0\0\0", b"\xff" * 4, b"PK\1\2", b"PK\5\6", b"7777"]
                )
            elif how == 1:
                del broken[at : at + chance.randint(1, 90)]
            elif how == 2:
                broken[at:at] = broken[chance.randrange(len(broken)) :][: chance.randint(1, 600)]
            else:
                broken[at] = chance.randrange(256)
        path.write_bytes(broken)
        check_rows(path)


# ----------------------------------------------------------------- limits ---


def test_a_header_that_inflates_to_too_much(tmp_path):
    member = part10(NAME) + element(0x00091001, "UT", "") * (4 << 20)  # 48 MiB
    for name in ("deflated.ZIP", "packed.tar.gz"):
        path = make(tmp_path / name, {"large": member, "good": part10(NAME)})
        assert path.stat().st_size < 300_000
        large, good = table(path)
        assert (large["error"], good["error"]) == ("archive-limit", None)
        with pytest.raises(DicomError) as caught:
            dcmread(large["path"])
        assert caught.value.code == "archive-limit"
        assert dcmread(good["path"]).PatientName == "Doe^Jane"


def test_values_are_not_limited(tmp_path):
    """Pixels of nothing but zero."""
    member = part10(NAME + element(0x7FE00010, "OW", bytes(40 << 20)))
    for name in ("deflated.ZIP", "packed.tar.gz"):
        path = make(tmp_path / name, {"x": member})
        assert table(path)[0]["error"] is None
        assert dcmread(f"{path}!/x").PixelData == bytes(40 << 20)


@pytest.mark.parametrize("name", FEW)
def test_too_many_members(tmp_path, name, monkeypatch):
    monkeypatch.setattr(limits, "MAX_MEMBERS", 100)
    path = make(tmp_path / name, MEMBERS)
    *rows, last = table(path)
    assert last["error"] == "archive-limit" and "more than 100 members" in last["error_detail"]
    assert 40 < len(rows) <= 100


@pytest.mark.parametrize("name", FEW)
def test_names_and_headers_that_are_too_long(tmp_path, name):
    path = make(tmp_path / name, [("good", part10(NAME)), ("n" * 5000, part10(NAME))])
    good, last = table(path)
    assert (good["error"], last["error"], last["path"]) == (None, "archive-limit", str(path))
    if "tar" in name:
        path = make(tmp_path / name, [("good", part10(NAME)), ("n" * (2 << 20), part10(NAME))])
        assert [row["error"] for row in table(path)] == [None, "archive-limit"]


# ----------------------------------------------------------------- memory ---


PEAK = """
import sys, fastdcm
fastdcm.scan(sys.argv[1:2], ["PatientName"], threads=2).read_all()
with open("/proc/self/status") as status:
    print(next(line.split()[1] for line in status if "VmHWM" in line))
"""


def peak(path):
    """MiB."""
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", PEAK, path], check=True, capture_output=True, text=True, env=env
    )
    return int(done.stdout) / 1024


@linux
def test_small_archives_need_little_memory(tmp_path):
    (tmp_path / "x").write_bytes(part10(NAME))
    base = peak(tmp_path / "x")
    elements = part10(NAME) + element(0x00091001, "UT", "") * (
        20 << 20
    )  # 240 MiB, a row of the index each
    for name in ("deflated.ZIP", "packed.tar.gz"):
        assert peak(make(tmp_path / name, {"x": elements})) - base < 120
        assert peak(make(tmp_path / name, {"x": bytes(300 << 20)})) - base < 16
    assert peak(make(tmp_path / "packed.tar.xz", {"x" * 4000: bytes(100 << 20)})) - base < 16
    assert peak(make(tmp_path / "packed.tar.gz", {"x" * (100 << 20): b""})) - base < 16


@linux
@pytest.mark.slow
def test_memory_does_not_grow_with_members(tmp_path):
    data = part10(NAME)
    for name in ("stored.zip", "packed.tar.gz", "gnu.tar"):
        peaks = [
            peak(make(tmp_path / name, ((f"folder/{i:07d}", data) for i in range(count))))
            for count in (10_000, 100_000)
        ]
        assert peaks[1] - peaks[0] < 30, (name, peaks)
