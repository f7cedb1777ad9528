"""Rows as data frames, and how scans look in notebooks."""

import datetime
import sys

import pytest

import fastdcm
from support import builder as b
from support.optional_packages import require_package

TAGS = {"patient": "PatientID", "date": "StudyDate", "rows": "Rows", "spacing": "PixelSpacing"}


@pytest.fixture
def folder(tmp_path):
    body = b.element(0x00080020, "DA", "20040119") + b.element(0x00100020, "LO", "<b>1</b>")
    (tmp_path / "a.dcm").write_bytes(b.part10(body + b.element(0x00280010, "US", 7)))
    (tmp_path / "b.dcm").write_bytes(b.part10(b.element(0x00280030, "DS", ["1", "2"])))
    return tmp_path


@pytest.fixture(params=["scan", "index"])
def rows(request, folder, tmp_path_factory):
    scan = fastdcm.scan(folder, TAGS, parse_dates=True)
    if request.param == "scan":
        return scan
    index = tmp_path_factory.mktemp("index")
    scan.write(f"{index}/")
    return fastdcm.open_index(index)


def test_pandas(rows):
    pandas = require_package("pandas")
    frame = rows.to_pandas()
    assert list(frame.columns[-4:]) == list(TAGS)
    assert frame["patient"].tolist()[0] == "<b>1</b>"
    assert frame["rows"].dtype == pandas.Int64Dtype() and frame["rows"][0] == 7
    assert pandas.isna(frame["rows"][1])
    assert frame["date"][0] == pandas.Timestamp(2004, 1, 19)
    assert list(frame["spacing"][1]) == [1, 2]


def test_polars(rows):
    polars = require_package("polars")
    frame = rows.to_polars()
    assert frame["rows"].dtype == polars.Int64 and frame["rows"].to_list() == [7, None]
    assert frame["date"].to_list() == [datetime.date(2004, 1, 19), None]
    assert frame["spacing"].to_list() == [None, [1, 2]]


@pytest.mark.parametrize("package", ["pandas", "polars"])
def test_without_the_package(rows, monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ModuleNotFoundError, match=f"pip install {package}$"):
        getattr(rows, f"to_{package}")()


def test_representations(folder):
    scan = fastdcm.scan(folder, TAGS, parse_dates=True)
    assert repr(scan) == f"<Scan of {folder}: 12 columns>"
    html = scan._repr_html_()
    assert "<tr><td>date</td><td>date</td></tr>" in html
    assert "<td>spacing</td><td>list of float64</td>" in html
    assert scan.stats["files"] == 0  # nothing has been read
    [batch] = scan
    assert repr(batch) == "<Batch of 2 rows, 12 columns>"
    scan = fastdcm.scan(iter([]), {"<script>": "Rows"})
    assert "<script>" not in scan._repr_html_()
    assert repr(scan) == "<Scan of a list of paths: 9 columns>"
