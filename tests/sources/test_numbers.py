"""Numbers from outside, in every kind of source: none ends a scan or becomes another one."""

import os
import struct
import zlib

import pytest

from fastdcm import DicomError, dcmread, open_index, scan
from fastdcm.scanning._worker import Worker
from fastdcm.scanning.tags import make_plan
from fastdcm.sources._paths import StreamChunk
from fastdcm.sources.numbers import known_size, known_time
from support.archives import NAME, make
from support.builder import element, part10
from support.streams import MemoryStream

DATA = part10(NAME)
NUMBERS = [
    -(2**63) - 1,
    -(2**63),
    -1,
    0,
    1,
    2**31,
    2**32,
    2**62,
    2**63 - 1,
    2**63,
    2**64 - 1,
    2**70,
]
#: Seconds since 1970: the year, and what of it fits.
YEARS = {
    1600: -11676096000,
    1677: -9223372036,
    1678: -9200000000,
    1969: -1,
    2106: 2**32,
    2262: 9223372036,
    2263: 9250000000,
    2446: 15032385535,
    9999: 253402300799,
}


def fits(seconds):
    return abs(seconds) <= 9223372036


@pytest.mark.parametrize("number", NUMBERS)
def test_what_is_known(number):
    assert known_size(number) == (number if 0 <= number < 2**63 else None)
    assert known_time(number) == (number if -(2**63) < number < 2**63 else None)


@pytest.mark.parametrize("value", [None, 1.0, "1", b"1"])
def test_other_types_are_not_known(value):
    assert known_size(value) is None and known_time(value) is None


def with_time(path, seconds):
    """Set the time of a file; skip where the file system cannot store it."""
    try:
        os.utime(path, ns=(0, seconds * 10**9))
    except (OSError, OverflowError):
        pytest.skip("the system refuses the time")
    if path.stat().st_mtime_ns != seconds * 10**9:
        pytest.skip("the file system cannot store the time")
    return path


@pytest.mark.parametrize("seconds", YEARS.values(), ids=map(str, YEARS))
@pytest.mark.parametrize(
    "name", ["a.dcm", "a.dcm.gz", "stored.zip", "deflated.ZIP", "pax.tar", "packed.tar.gz"]
)
def test_times_of_files(tmp_path, name, seconds):
    folder = tmp_path / "in"
    folder.mkdir()
    path = folder / name
    if name == "a.dcm":
        path.write_bytes(DATA)
    elif name == "a.dcm.gz":
        packer = zlib.compressobj(wbits=31)
        path.write_bytes(packer.compress(DATA) + packer.flush())
    else:
        make(path, {"x": DATA, "inner.zip": make(tmp_path / "inner.zip", {"y": DATA}).read_bytes()})
    with_time(path, seconds)
    (folder / "z.dcm").write_bytes(DATA)
    expected = seconds * 10**9 if fits(seconds) else None
    for source in (folder, [path, folder / "z.dcm"]):
        for threads in (1, 2):
            rows = scan(source, [], threads=threads).read_all().to_pylist()
            assert [row["error"] for row in rows] == [None] * len(rows)
            assert {row["mtime_ns"] for row in rows[:-1]} == {expected} and rows[-1]["mtime_ns"] > 0
            assert all(dcmread(row["path"]).PatientName == "Doe^Jane" for row in rows)
    scan(folder, []).write(f"{tmp_path}/index/")
    assert open_index(tmp_path / "index").read_all().to_pylist() == rows
    stats = scan(folder, []).write(f"{tmp_path}/index/", update=True)
    assert (stats["same"], stats["changed"], stats["new"], stats["gone"]) == (2, 0, 0, 0)
    for ending in (".csv", ".parquet"):
        scan(folder, []).write(tmp_path / f"rows{ending}")
        again = scan(tmp_path / f"rows{ending}", []).read_all().to_pylist()
        assert again == rows


def zip64(size, packed, offset, prefix=b"", method=0):
    """Return a zip whose directory states these numbers in a Zip64 extra field."""
    name = b"a.dcm"
    local = struct.pack(
        "<4sHHHHHLLLHH",
        b"PK\3\4",
        45,
        0,
        method,
        0,
        0,
        zlib.crc32(DATA),
        len(DATA),
        len(DATA),
        5,
        0,
    )
    local += name + DATA
    extra = struct.pack("<HHQQQ", 1, 24, size, packed, offset)
    entry = struct.pack(
        "<4sBBHHHHHLLLHHHHHLL", b"PK\1\2", 45, 3, 45, 0, method, 0, 0, zlib.crc32(DATA),
        2**32 - 1, 2**32 - 1, 5, len(extra), 0, 0, 0, 0o100644 << 16, 2**32 - 1,
    )  # fmt: skip
    entry += name + extra
    end = struct.pack("<4sHHHHLLH", b"PK\5\6", 0, 0, 1, 1, len(entry), len(local), 0)
    return prefix + local + entry + end


@pytest.mark.parametrize("number", [n for n in NUMBERS if 0 <= n < 2**64])
@pytest.mark.parametrize("field", ["size", "packed", "offset"])
@pytest.mark.parametrize("prefix", [b"", b"MZ" * 40])
@pytest.mark.parametrize("method", [0, 8])
def test_numbers_of_a_zip(tmp_path, number, field, prefix, method):
    numbers = {"size": len(DATA), "packed": len(DATA), "offset": 0, field: number}
    (tmp_path / "bad.zip").write_bytes(zip64(**numbers, prefix=prefix, method=method))
    make(tmp_path / "outer.zip", {"bad.zip": (tmp_path / "bad.zip").read_bytes()})
    (tmp_path / "z.dcm").write_bytes(DATA)
    for threads in (1, 2):
        rows = scan(tmp_path, ["PatientName"], threads=threads).read_all().to_pylist()
        assert rows[-1]["PatientName"] == "Doe^Jane" and len(rows) >= 3
        for row in rows[:-1]:
            right = numbers == {"size": len(DATA), "packed": len(DATA), "offset": 0}
            assert (row["error"] is None) is (right and method == 0)
            assert row["size"] is None or 0 <= row["size"] < 2**63
            assert row["error_offset"] is None or 0 <= row["error_offset"] < 2**63
            if row["error"]:
                with pytest.raises(DicomError):
                    dcmread(row["path"])
    with pytest.raises(DicomError) if row["error"] else open(os.devnull):
        dcmread(f"{tmp_path}/bad.zip!/a.dcm")


@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize("field", ["size", "mtime_ns"])
def test_numbers_of_a_stream(number, field):
    """A stream of any source, also one of the user."""

    class Stream(MemoryStream):
        def open(self, first):
            super().open(first)
            setattr(self, field, number)

    chunk = StreamChunk([Stream(b"a", DATA), MemoryStream(b"b", DATA)])
    (batch,) = Worker(make_plan(["PatientName"])).run(chunk)
    rows = batch.to_pydict()
    assert rows["path"] == ["a", "b"] and rows["error"][1] is None
    if field == "mtime_ns":
        assert rows["error"][0] is None and rows["mtime_ns"][0] == known_time(number)
    else:
        assert rows["size"][0] in (None, number) and (rows["size"][0] or 0) >= 0
        assert rows["error"][0] is not None  # it has another size


@pytest.mark.parametrize("offset", NUMBERS)
@pytest.mark.parametrize("errno", [None, 5, 2**40, "text"])
def test_numbers_of_an_error(offset, errno):
    class Stream(MemoryStream):
        def open(self, first):
            error = DicomError("no", "archive", offset) if errno is None else OSError(errno, "no")
            raise error

    (batch,) = Worker(make_plan([])).run(StreamChunk([Stream(b"a", DATA)]))
    (found,) = batch.column("error_offset")
    assert found is None or 0 <= found < 2**63
    assert batch.column("error") == ["archive" if errno is None else "read"]


@pytest.mark.parametrize("number", NUMBERS)
def test_numbers_in_a_file(tmp_path, number):
    """An element that is longer than the file."""
    (tmp_path / "a.dcm").write_bytes(
        part10(NAME + element(0x00104000, "UT", b"", length=number & 0xFFFFFFFF))
    )
    (row,) = scan(tmp_path, ["PatientName"]).read_all().to_pylist()
    assert row["PatientName"] == "Doe^Jane"
