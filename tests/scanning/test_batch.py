"""Batches: joining, limits, and the Arrow PyCapsule interface."""

import pyarrow
import pytest

from fastdcm.scanning._worker import Worker
from fastdcm.scanning.scanner import scan
from fastdcm.scanning.tags import make_plan
from fastdcm.sources._paths import chunk_from_paths
from support import builder as b

TAGS = ["SOPInstanceUID", "InstanceNumber", "ImageType"]


def test_large_columns_are_split_into_batches(put):
    paths = [put(b.element(0x0040A160, "UT", "x" * 1000)) for _ in range(100)]
    worker = Worker(make_plan(["TextValue"]))
    batches = worker.run(chunk_from_paths(paths), limit=30000)
    assert len(batches) > 1
    assert sum(map(len, batches)) == 100
    assert [p for x in batches for p in x.column("path")] == paths
    assert all(t == "x" * 1000 for x in batches for t in x.column("TextValue"))


def test_join_keeps_rows_errors_and_issues(put):
    good = put(b.element(0x00080008, "CS", ["A", "B"]) + b.element(0x00200013, "IS", "x"))
    bad = put(raw=b"")
    worker = Worker(make_plan(TAGS))
    paths = [good, bad, bad, good, good]
    (complete,) = worker.run(chunk_from_paths(paths))
    (first,) = worker.run(chunk_from_paths(paths[:2]))
    for part in (paths[2:3], [], paths[3:]):
        for other in worker.run(chunk_from_paths(part)):
            assert first.join(other)
    first.seal()
    assert first.to_pydict() == complete.to_pydict()
    assert (first.n_errors, first.n_issues) == (2, 3)


def test_batches_outlive_their_scan(archive):
    arrays = [pyarrow.record_batch(batch) for batch in scan(archive, TAGS, batch_size=64)]
    column = arrays[3].column("SOPInstanceUID")
    arrays = None
    assert column.to_pylist()[0].startswith("1.2.")


def test_errors_reach_the_reader_of_a_stream(archive):
    reader = pyarrow.RecordBatchReader.from_stream(scan(archive, TAGS, on_error="raise"))
    with pytest.raises(OSError, match="InvalidDicomError"):
        reader.read_all()
