"""Archives that are damaged, or made to hurt."""

import os
import random
import struct
import subprocess
import sys
import zipfile
import zlib

import pytest
from sources.test_archives import FEW, LONG, MEMBERS, NAME, PACKINGS, inner, linux, make, table

from fastdcm import DicomError, dcmread
from fastdcm.sources.archives import limits, tar
from support.builder import element, part10

CODES = {None, "archive", "archive-limit", "not-dicom", "empty", "changed", "deflate", "open"}


def small(path):
    return make(
        path,
        {
            f"{i}": part10(NAME + element(0x00200013, "IS", str(i))) + bytes(i * 90)
            for i in range(5)
        },
    )


def survives(path):
    """The rows: typed, of known members, the archive's own error at most once and last."""
    rows = table(path, threads=1)
    assert {row["error"] for row in rows} <= CODES, rows
    own = [row for row in rows if row["path"] == str(path)]
    assert len(own) <= 1 and (not own or rows[-1] is own[0])
    for row in rows[:3]:
        try:
            dcmread(row["path"])
        except DicomError:
            pass
        except ValueError:
            assert "\0" in row["path"] and row["error"] == "archive"
    return rows


@pytest.mark.parametrize("name", PACKINGS)
def test_cut_at_every_place(tmp_path, name):
    path = small(tmp_path / name)
    data = path.read_bytes()
    whole = table(path)
    for length in range(0, len(data), max(1, len(data) // 150)):
        path.write_bytes(data[:length])
        rows = survives(path)
        # What is behind the last member of a tar may be missing in part.
        assert (
            any(row["error"] for row in rows)
            or "zip" not in name.lower()
            and inner(rows) == inner(whole)
        ), length
        for row, one in zip(rows, whole):
            assert row["error"] or row["InstanceNumber"] == one["InstanceNumber"]


@pytest.mark.parametrize("name", ["gnu.tar", "packed.tar.gz", "packed.tar.zst"])
def test_the_member_in_which_a_tar_is_cut(tmp_path, name):
    noise = element(0x7FE00010, "OW", random.Random(1).randbytes(600_000))
    path = make(tmp_path / name, {"a": part10(NAME), "b": part10(NAME + noise)})
    data = path.read_bytes()
    path.write_bytes(data[:300_000])
    rows = table(path)
    # Of a packed one the header is there, and the pixels are not asked for.
    assert [row["error"] for row in rows] == [
        None,
        "archive" if name == "gnu.tar" else None,
        "archive",
    ]
    with pytest.raises(DicomError) as caught:
        dcmread(rows[1]["path"]).PixelData
    assert caught.value.code == "archive"
    path.write_bytes(data[:20_000])
    rows = table(path)
    assert rows[-1]["path"] == str(path) and rows[-1]["error"] == "archive"
    assert [row["error"] for row in rows[:-1]] == ([] if "zst" in name else [None, "archive"])


@pytest.mark.parametrize("name", PACKINGS)
def test_a_wrong_byte_at_every_place(tmp_path, name):
    path = small(tmp_path / name)
    data = path.read_bytes()
    for at in range(0, len(data), max(1, len(data) // 150)):
        path.write_bytes(data[:at] + bytes([data[at] ^ 0xA5]) + data[at + 1 :])
        survives(path)


@pytest.mark.parametrize("name", PACKINGS)
def test_random_damage(tmp_path, name):
    path = small(tmp_path / name)
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
        survives(path)


def test_directories_that_lie(tmp_path):
    path = small(tmp_path / "stored.zip")
    data = path.read_bytes()
    at = data.rindex(b"PK\5\6")
    entry = data.index(b"PK\1\2")
    for place, size in (
        (at + 10, 2),
        (at + 12, 4),
        (at + 16, 4),
        (entry + 20, 4),
        (entry + 24, 4),
        (entry + 42, 4),
        (entry + 28, 2),
        (entry + 30, 2),
        (entry + 32, 2),
    ):
        for value in (0, 1, (1 << 8 * size) - 1, (1 << 8 * size - 1)):
            path.write_bytes(data[:place] + value.to_bytes(size, "little") + data[place + size :])
            survives(path)
    path.write_bytes(data[: at + 8] + b"\7\0\7\0" + data[at + 12 :])
    *rows, last = survives(path)
    assert len(rows) == 5 and "has 5 members, but its end record states 7" in last["error_detail"]


# ------------------------------------------------------------------ bombs ---


def test_a_header_that_inflates_without_end(tmp_path):
    member = part10(NAME) + element(0x00091001, "UT", "") * (4 << 20)  # 48 MiB
    for name in ("deflated.ZIP", "packed.tar.gz"):
        path = make(tmp_path / name, {"bomb": member, "good": part10(NAME)})
        assert path.stat().st_size < 300_000
        bomb, good = table(path)
        assert (bomb["error"], good["error"]) == ("archive-limit", None)
        with pytest.raises(DicomError) as caught:
            dcmread(bomb["path"])
        assert caught.value.code == "archive-limit"
        assert dcmread(good["path"]).PatientName == "Doe^Jane"


def test_what_was_asked_for_is_no_bomb(tmp_path):
    """Pixels of nothing but zero."""
    member = part10(NAME + element(0x7FE00010, "OW", bytes(40 << 20)))
    for name in ("deflated.ZIP", "packed.tar.gz"):
        path = make(tmp_path / name, {"x": member})
        assert table(path)[0]["error"] is None
        assert dcmread(f"{path}!/x").PixelData == bytes(40 << 20)


def test_members_that_overlap(tmp_path):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("x", part10(NAME + LONG))
    data = path.read_bytes()
    at, end = data.index(b"PK\1\2"), data.rindex(b"PK\5\6")
    entries = data[at:end] * 500
    path.write_bytes(
        data[:at]
        + entries
        + struct.pack("<4sHHHHLLH", b"PK\5\6", 0, 0, 500, 500, len(entries), at, 0)
    )
    *rows, last = table(path)
    assert len(rows) < 3 and (last["error"], last["path"]) == ("archive-limit", str(path))


@pytest.mark.parametrize("name", FEW)
def test_too_many_members(tmp_path, name, monkeypatch):
    monkeypatch.setattr(limits, "MAX_MEMBERS", 100)
    path = make(tmp_path / name, MEMBERS)
    *rows, last = table(path)
    assert last["error"] == "archive-limit" and "more than 100 members" in last["error_detail"]
    assert 40 < len(rows) <= 100


@pytest.mark.parametrize("name", FEW)
def test_names_and_headers_without_measure(tmp_path, name):
    path = make(tmp_path / name, [("good", part10(NAME)), ("n" * 5000, part10(NAME))])
    good, last = table(path)
    assert (good["error"], last["error"], last["path"]) == (None, "archive-limit", str(path))
    if "tar" in name:
        path = make(tmp_path / name, [("good", part10(NAME)), ("n" * (2 << 20), part10(NAME))])
        assert [row["error"] for row in table(path)] == [None, "archive-limit"]


def test_a_tar_that_unpacks_without_end(tmp_path, monkeypatch):
    monkeypatch.setattr(tar, "MAX_UNPACKED", 1 << 20)
    monkeypatch.setattr(tar, "MAX_UNPACKED_RATIO", 100)
    path = make(
        tmp_path / "packed.tar.gz", {"a": part10(NAME), "b": bytes(8 << 20), "c": part10(NAME)}
    )
    rows = table(path)
    assert inner(rows) == ["a", "b", ""] and rows[-1]["error"] == "archive-limit"


@pytest.mark.parametrize("threads", [1, 3])
def test_a_packed_tar_is_not_unpacked_again_and_again(tmp_path, monkeypatch, threads):
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
def test_small_archives_take_little_memory(tmp_path):
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
