"""Delta Lake tables: `delta://...`."""

import os

import pytest

import fastdcm
from fastdcm.cli import main
from support.builder import element, part10
from support.optional_packages import require_package

deltalake = require_package("deltalake")


@pytest.fixture
def folder(tmp_path):
    files = tmp_path / "files"
    files.mkdir()
    for i in range(30):
        (files / f"{i:02}.dcm").write_bytes(
            part10(
                element(0x00080008, "CS", ["A", "B"][: i % 3]) + element(0x00200013, "IS", str(i))
            )
            if i % 9
            else b"no"
        )
    return str(files)


TAGS = ["ImageType", "InstanceNumber"]


def rows(table):
    return sorted(table.to_pylist(), key=lambda row: row["path"])


def test_each_scan_adds_a_version(folder, tmp_path):
    location = str(tmp_path / "delta")
    scan = fastdcm.scan(folder, TAGS)
    assert scan.write(f"delta://{location}")["files"] == 30
    assert rows(deltalake.DeltaTable(location).to_pyarrow_table()) == rows(scan.read_all())
    os.unlink(f"{folder}/05.dcm")
    main(
        ["scan", folder, "-o", f"delta://{location}/", "--tags", "InstanceNumber"],
        standalone_mode=False,
    )
    table = deltalake.DeltaTable(location)
    assert table.version() == 1 and rows(table.to_pyarrow_table()) == rows(
        fastdcm.scan(folder, TAGS[1:]).read_all()
    )
    assert deltalake.DeltaTable(location, version=0).to_pyarrow_table().num_rows == 30


def test_a_failed_scan_adds_no_version(folder, tmp_path):
    location = str(tmp_path / "delta")
    fastdcm.scan(folder, TAGS).write(f"delta://{location}")
    with pytest.raises(Exception, match="neither a DICOM file"):
        fastdcm.scan(folder, TAGS, on_error="raise").write(f"delta://{location}")
    assert deltalake.DeltaTable(location).version() == 0
