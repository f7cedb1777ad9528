"""Optional packages that are missing: what to install, and nothing is left behind."""

import os
import sys

import pytest

import fastdcm
from support import builder as b


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.dcm").write_bytes(b.part10(b.element(0x00100020, "LO", "1")))
    fastdcm.scan(tmp_path / "in").write(f"{tmp_path}/index/")
    fastdcm.scan(tmp_path / "in").write(tmp_path / "table.parquet")
    fastdcm.scan(tmp_path / "in").write(tmp_path / "table.arrow")
    return tmp_path


@pytest.mark.parametrize(
    ("package", "extra", "action"),
    [
        ("pyarrow", "table", lambda path: fastdcm.scan(path / "in").read_all()),
        ("pyarrow", "table", lambda path: fastdcm.scan(path / "in").write(path / "a.parquet")),
        ("pyarrow", "table", lambda path: fastdcm.scan(path / "in").write(path / "a.arrow")),
        ("pyarrow", "table", lambda path: fastdcm.scan(path / "in").write(f"{path}/new/")),
        ("pyarrow", "delta", lambda path: fastdcm.scan(path / "in").write(f"delta://{path}/d")),
        ("deltalake", "delta", lambda path: fastdcm.scan(path / "in").write(f"delta://{path}/d")),
        ("pyarrow", "table", lambda path: list(fastdcm.scan(path / "table.parquet"))),
        ("pyarrow", "table", lambda path: list(fastdcm.scan(path / "table.arrow"))),
        ("pyarrow", "table", lambda path: fastdcm.open_index(path / "index")),
        ("xxhash", "hash", lambda path: fastdcm.scan(path / "in", hash="file")),
    ],
)
def test_what_to_install(folder, monkeypatch, package, extra, action):
    before = sorted(os.listdir(folder))
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ModuleNotFoundError) as caught:
        action(folder)
    assert caught.value.name == package
    assert str(caught.value).endswith(f" needs {package}: pip install 'fastdcm-dicom[{extra}]'")
    assert sorted(os.listdir(folder)) == before


def test_rows_without_any_package(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    [batch] = fastdcm.scan(folder / "in", ["PatientID"])
    assert batch.to_pydict()["PatientID"] == ["1"]
    fastdcm.scan(folder / "in").write(folder / "a.csv")
