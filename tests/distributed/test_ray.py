"""Ray datasets equal the scan on this machine."""

import os
import sys
import time

import numpy as np
import pyarrow
import pytest

import fastdcm
from support.archive_of_slices import TAGS, check_images, encode_slice, sort_rows
from support.optional_packages import require_package, two_workers


@pytest.fixture(scope="module")
def ray():
    require_package("ray", "ray.data")
    with two_workers() as ray:
        yield ray


@pytest.fixture(scope="module")
def read_dicom(ray):
    from fastdcm.distributed.ray import read_dicom

    return read_dicom


def arrow(ray, dataset):
    return sort_rows(pyarrow.concat_tables(ray.get(dataset.to_arrow_refs())))


def test_table_equals_the_scan(archive, ray, read_dicom):
    folder, _ = archive
    dataset = read_dicom(folder, TAGS, pixels=True, override_num_blocks=5)
    there = arrow(ray, dataset)
    here = sort_rows(fastdcm.scan(folder, TAGS, pixels=True).read_all())
    assert there.schema == here.schema and there.equals(here)
    assert dataset.schema().names == here.column_names
    assert here.column("error").null_count == len(here) - 4


def test_sources_and_arguments_of_a_scan(archive, ray, read_dicom, tmp_path):
    folder, _ = archive
    wanted = sort_rows(fastdcm.scan(f"{folder}/[01]").read_all())
    table = tmp_path / "table.parquet"
    fastdcm.scan(f"{folder}/[01]").write(table)
    for source in (f"{folder}/[01]", wanted.column("path").to_pylist(), table):
        assert arrow(ray, read_dicom(source)).equals(wanted)
    assert read_dicom(folder, [0x00100020], on_error="skip").count() == 105
    empty = tmp_path / "empty"
    empty.mkdir()
    for nothing in (
        read_dicom(empty),
        read_dicom([os.path.join(folder, "2", "none.dcm")], on_error="skip"),
    ):
        assert nothing.count() == 0 and nothing.schema().names == wanted.column_names
    with pytest.raises(ValueError, match="did you mean PatientID"):
        read_dicom(folder, ["PatientId"])
    with pytest.raises(ValueError, match="on_error"):
        read_dicom(folder, on_error="never")
    with pytest.raises(FileNotFoundError):
        read_dicom(os.path.join(folder, "nowhere"))
    with pytest.raises(fastdcm.DicomError, match="neither a DICOM file"):
        read_dicom([os.path.join(folder, "2", "none.dcm")], on_error="raise").count()


def test_tasks_have_equal_bytes(archive, ray, tmp_path):
    from fastdcm.distributed.ray import DicomDatasource

    folder, _ = archive
    source = DicomDatasource(folder, TAGS)
    tasks = source.get_read_tasks(4)
    assert source.get_name() == "DICOM" and len(tasks) == 4
    estimated = sum(task.metadata.size_bytes for task in tasks)
    true = fastdcm.scan(folder, TAGS).read_all().nbytes
    assert abs(source.estimate_inmemory_data_size() - estimated) <= 4
    assert true / 3 < estimated < true * 3
    assert len(source.get_read_tasks(1000)) == 109
    for i in range(30):  # one large file, and many small ones
        (tmp_path / f"{i:02d}.dcm").write_bytes(encode_slice(i, np.zeros((64, 64), "<i2")))
    (tmp_path / "large.dcm").write_bytes(encode_slice(0, np.zeros((30, 64, 64), "<i2"), frames=30))
    source = DicomDatasource(tmp_path, images=True)
    first, second = source.get_read_tasks(2)
    assert [sum(len(block) for block in task()) for task in (first, second)] == [30, 30]
    assert 0.8 < source.estimate_inmemory_data_size() / (60 * 64 * 64 * 4) < 1.2


def test_images(archive, ray, read_dicom):
    folder, _ = archive
    dataset = read_dicom(folder, TAGS, pixels="frames", images=True, override_num_blocks=3)
    columns = fastdcm.scan([], TAGS, pixels="frames").column_names
    assert dataset.schema().names == [*columns, "frame", "image"]
    rows = dataset.take_all()
    check_images(archive, {(row["path"], row["frame"]): (row, row["image"]) for row in rows})
    private = {row["InstanceNumber"]: row["(0009,xx01,ACME)"] for row in rows}
    assert private[42] == "private 42"


def test_batches_for_training(archive, read_dicom):
    folder, good = archive
    torch = require_package("torch")
    dataset = read_dicom(
        f"{folder}/0/0[0-4]*.dcm", ["InstanceNumber"], images=True, on_error="skip"
    )
    seen = []
    for batch in dataset.select_columns(["image", "InstanceNumber"]).iter_torch_batches(
        batch_size=8
    ):
        assert batch["image"].shape[1:] == (1, 8, 6) and batch["image"].dtype == torch.float32
        for number, image in zip(batch["InstanceNumber"].tolist(), batch["image"]):
            np.testing.assert_array_equal(image, good[f"{folder}/0/{number:03d}.dcm"])
            seen.append(number)
    assert sorted(seen) == list(range(0, 50, 3))


@pytest.mark.slow
def test_twenty_thousand_files(ray, read_dicom, tmp_path, capsys):
    import data

    folder = data.links(data.ct(tmp_path, 50), 20_000, tmp_path)
    begin = time.perf_counter()
    here = fastdcm.scan(folder).read_all()
    local = time.perf_counter() - begin
    read_dicom(os.path.join(folder, "0000")).count()  # starts the workers
    begin = time.perf_counter()
    there = arrow(ray, read_dicom(folder))
    spread = time.perf_counter() - begin
    assert len(there) == 20_000 and there.equals(sort_rows(here))
    with capsys.disabled():
        print(
            f"\n20,000 files: local {local / 20_000 * 1e6:.1f} us a file, "
            f"two workers of Ray {spread / 20_000 * 1e6:.1f}"
        )


@pytest.mark.parametrize("package", ["ray", "pyarrow"])
def test_missing_package_is_named(monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.delitem(sys.modules, "fastdcm.distributed.ray", raising=False)
    with pytest.raises(ImportError, match=r"needs Ray Data: .*fastdcm-dicom\[ray\]"):
        __import__("fastdcm.distributed.ray")
