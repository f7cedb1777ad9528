"""Dask dataframes equal the scan on this machine."""

import os
import sys

import pyarrow
import pytest

import fastdcm
from support.archive_of_slices import TAGS
from support.optional_packages import require_package


@pytest.fixture(scope="module")
def read_dicom():
    require_package("dask", "dask.dataframe")
    from fastdcm.distributed.dask import read_dicom

    return read_dicom


def test_table_equals_the_scan(archive, read_dicom):
    folder, _ = archive
    frame = read_dicom(folder, TAGS, pixels=True, npartitions=4)
    here = fastdcm.scan(folder, TAGS, pixels=True).read_all()
    assert frame.npartitions == 4
    done = frame.compute(scheduler="threads", num_workers=2)
    there = pyarrow.Table.from_pandas(done, preserve_index=False)
    assert there.schema.names == here.schema.names and there.schema.types == here.schema.types
    assert there.to_pydict() == here.to_pydict()
    assert (frame.dtypes == done.dtypes).all()


def test_sources_and_arguments_of_a_scan(archive, read_dicom, tmp_path):
    folder, _ = archive
    assert read_dicom(folder).npartitions == 1
    assert len(read_dicom(folder, on_error="skip")) == 105
    counted = read_dicom(folder, ["Modality"]).groupby("Modality").size().compute()
    assert counted.to_dict() == {"CT": 102, "SR": 1}
    assert len(read_dicom([]).compute()) == 0
    with pytest.raises(ValueError, match="did you mean"):
        read_dicom(folder, ["PatientId"])
    with pytest.raises(FileNotFoundError):
        read_dicom(os.path.join(folder, "nowhere"))


def test_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "dask", None)
    monkeypatch.delitem(sys.modules, "fastdcm.distributed.dask", raising=False)
    with pytest.raises(ImportError, match=r"needs Dask: .*fastdcm-dicom\[dask\]"):
        __import__("fastdcm.distributed.dask")
