"""Columns of dates and times: DA, TM and DT (PS3.5 6.2) as Arrow types."""

import datetime
import json
import random

import pyarrow
import pytest

import fastdcm
from support import builder as b

DATES, TIMES, DATETIMES = 0x00181200, 0x00181201, 0x0040A13A  # each has VM 1-n
EPOCH = datetime.datetime(1970, 1, 1)


@pytest.fixture
def parse(tmp_path):
    """Return a function: the values of a column of one file, and the number of issues."""

    def parse(vr, texts, **options):
        tag = {"DA": DATES, "TM": TIMES, "DT": DATETIMES}[vr]
        path = tmp_path / "a.dcm"
        path.write_bytes(b.part10(b.element(tag, vr, list(texts))))
        options = {"parse_dates": True, **options}
        row = fastdcm.scan([path], {"column": f"{tag:08x}"}, **options).read_all()
        return row["column"].to_pylist()[0], len(row["issues"].to_pylist()[0] or ())

    return parse


def test_every_day(parse):
    """Every day of four centuries with all kinds of years, and the limits."""
    days = range(datetime.date(1896, 1, 1).toordinal(), datetime.date(2105, 1, 1).toordinal())
    dates = [datetime.date.fromordinal(day) for day in days]
    dates += [datetime.date.min, datetime.date.max, datetime.date(1600, 2, 29)]
    for i in range(0, len(dates), 7000):
        part = dates[i : i + 7000]
        texts = [f"{d.year:04}{d.month:02}{d.day:02}" for d in part]
        assert parse("DA", texts) == (part, 0)


def test_every_second(parse):
    seconds = [datetime.time(s // 3600, s // 60 % 60, s % 60) for s in range(0, 86400, 13)]
    assert parse("TM", [f"{t:%H%M%S}" for t in seconds]) == (seconds, 0)


@pytest.mark.parametrize(
    ("vr", "text", "value"),
    [
        ("DA", "2004.02.29", datetime.date(2004, 2, 29)),  # ACR-NEMA
        ("DA", "20040229 ", datetime.date(2004, 2, 29)),
        ("TM", "07", datetime.time(7)),
        ("TM", "0727", datetime.time(7, 27)),
        ("TM", "072730.1", datetime.time(7, 27, 30, 100_000)),
        ("TM", "072730.000001", datetime.time(7, 27, 30, 1)),
        ("TM", "235959.999999", datetime.time(23, 59, 59, 999_999)),
        ("TM", "07:27:30.5", datetime.time(7, 27, 30, 500_000)),  # ACR-NEMA
        ("TM", "07:27", datetime.time(7, 27)),
        ("DT", "20040229", datetime.datetime(2004, 2, 29)),
        ("DT", "2004022907", datetime.datetime(2004, 2, 29, 7)),
        ("DT", "20040229072730.25", datetime.datetime(2004, 2, 29, 7, 27, 30, 250_000)),
        ("DT", "20040229072730+0130", datetime.datetime(2004, 2, 29, 7, 27, 30)),
        ("DT", "20040229-1200", datetime.datetime(2004, 2, 29)),
        ("DT", "00010101000000", datetime.datetime.min),
    ],
)
def test_forms(parse, vr, text, value):
    assert parse(vr, [text]) == ([value], 0)


@pytest.mark.parametrize(
    ("vr", "texts"),
    [
        (
            "DA",
            "2004 200402 2004022 200402290 20040230 20050229 19000229 20041301 20040100 00000101 "
            "2004-02-29 2004.0229 2004.02 200402.29 20040101-20040201 -0040101 a 2004022x",
        ),
        (
            "TM",
            "7 072 24 2400 0760 072760 235960 07273 072730. 072730.1234567 072730.x 07.5 -1 "
            "07:2730 0727:30 07: 07:27: a",
        ),
        (
            "DT",
            "2004 200402 20040230 2004022924 20040229+1 20040229+1500 20040229+0160 2004022907x",
        ),
    ],
)
def test_what_is_none(parse, vr, texts):
    texts = texts.split()
    assert parse(vr, texts) == ([None] * len(texts), len(texts))


@pytest.mark.parametrize("seed", range(3))
def test_any_text(parse, seed):
    """A value is the one that Python reads, or null and an issue."""
    generator = random.Random(seed)
    texts = [
        "".join(generator.choice("0123456789") for _ in range(8))
        if generator.random() < 0.3
        else f"{generator.choice([0, 1, 1899, 2000, 2023])}".zfill(4)
        + f"{generator.randrange(14):02}{generator.randrange(33):02}"
        for _ in range(3000)
    ]
    expected = []
    for text in texts:
        try:
            expected.append(datetime.date(int(text[:4]), int(text[4:6]), int(text[6:])))
        except ValueError:
            expected.append(None)
    assert parse("DA", texts) == (expected, expected.count(None))


def test_empty_and_absent_values_are_null(tmp_path):
    body = b.element(0x00080020, "DA", b"") + b.element(0x00080030, "TM", b"      ")
    (tmp_path / "a.dcm").write_bytes(b.part10(body))
    tags = ["StudyDate", "StudyTime", "AcquisitionDateTime"]
    row = fastdcm.scan(tmp_path, tags, parse_dates=True).read_all()
    assert [row[tag].to_pylist() for tag in [*tags, "issues"]] == [[None]] * 4


@pytest.mark.parametrize("vr", ["US", "FD", "SQ", "OB", "LO", "UN"])
def test_a_value_of_another_vr(tmp_path, vr):
    value = {"US": 20040, "FD": 1.5, "SQ": b"", "OB": b"20040101"}.get(vr, b"20040101")
    element = b.sequence(0x00080020, [b""]) if vr == "SQ" else b.element(0x00080020, vr, value)
    (tmp_path / "a.dcm").write_bytes(b.part10(element))
    [row] = fastdcm.scan(tmp_path, ["StudyDate"], parse_dates=True).read_all().to_pylist()
    if vr in ("LO", "UN"):
        assert (row["StudyDate"], row["issues"]) == (datetime.date(2004, 1, 1), None)
    else:
        assert row["StudyDate"] is None and len(row["issues"]) == 1


def test_types_and_formats(tmp_path):
    body = b.element(0x00080020, "DA", "20040119") + b.element(0x00080030, "TM", "072730")
    body += b.element(0x0008002A, "DT", "20040119072731.5")
    body += b.element(DATES, "DA", ["20040119", "x "])
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.dcm").write_bytes(b.part10(body))
    (tmp_path / "in" / "b.dcm").write_bytes(b"")
    tags = ["StudyDate", "StudyTime", "AcquisitionDateTime", f"{DATES:08x}"]
    scan = fastdcm.scan(tmp_path / "in", tags, parse_dates=True)
    table = scan.read_all()
    assert [table.schema.field(tag).type for tag in tags] == [
        pyarrow.date32(),
        pyarrow.time64("us"),
        pyarrow.timestamp("us"),
        pyarrow.list_(pyarrow.date32()),
    ]
    time = datetime.datetime(2004, 1, 19, 7, 27, 30)
    values = [time.date(), time.time(), time.replace(second=31, microsecond=500_000)]
    values.append([time.date(), None])
    assert [table[tag].to_pylist() for tag in tags] == [[value, None] for value in values]
    [batch] = scan
    assert [batch.column(tag) for tag in tags] == [[value, None] for value in values]
    for name in ("a.jsonl", "a.csv", "a.parquet", "a.arrow", "index/"):
        scan.write(f"{tmp_path}/{name}")
    row = json.loads((tmp_path / "a.jsonl").read_text().splitlines()[0])
    assert [row[tag] for tag in tags] == [
        "2004-01-19",
        "07:27:30",
        "2004-01-19T07:27:31.500000",
        ["2004-01-19", None],
    ]
    text = (tmp_path / "a.csv").read_text()
    assert '2004-01-19,07:27:30,2004-01-19T07:27:31.500000,"[""2004-01-19"", null]"' in text
    index = fastdcm.open_index(tmp_path / "index")
    assert index.read_all().equals(table) and index.parameters["parse_dates"]
    assert scan.write(f"{tmp_path}/index/")["files"] == 2
    with pytest.raises(fastdcm.DicomError, match="parse_dates: True in the index, False"):
        fastdcm.scan(tmp_path / "in", tags).write(f"{tmp_path}/index/")


def test_text_without_the_option(parse):
    assert parse("DA", ["20040119", "2004"], parse_dates=False) == (["20040119", "2004"], 0)
