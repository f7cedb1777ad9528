"""Files of a source and their partitions."""

import os

import numpy as np
import pytest

import fastdcm
from fastdcm.distributed.partitions import header_costs, list_files, split_evenly
from support.optional_packages import require_package

pyarrow = require_package("pyarrow", "pyarrow.parquet")


@pytest.mark.parametrize("count", [1, 2, 7, 100, 1000])
def test_slices_have_equal_cost(count):
    costs = np.random.default_rng(0).integers(1, 1000, 300)
    costs[100] = 30_000
    slices = split_evenly(costs, count)
    assert np.concatenate([np.arange(300)[part] for part in slices]).tolist() == list(range(300))
    assert 0 < len(slices) <= count
    assert all(part.start < part.stop for part in slices)
    assert max(costs[part].sum() for part in slices) <= costs.sum() / count + costs.max()


def test_files_of_equal_size_are_split_into_equal_numbers():
    assert [p.stop - p.start for p in split_evenly(header_costs(np.full(1000, 500_000)), 4)] == [
        250
    ] * 4
    assert split_evenly(np.zeros(0), 4) == []


def test_list_files(archive, tmp_path, monkeypatch):
    folder, _ = archive
    files, sizes = list_files(folder)
    rows = fastdcm.scan(folder, []).read_all()
    assert fastdcm.scan(files, []).read_all().equals(rows)
    assert fastdcm.scan(files[50:], [], threads=1).read_all().equals(rows.slice(50))
    paths = rows.column("path").to_pylist()
    loop = paths.index(os.path.join(folder, "2", "loop"))
    assert np.flatnonzero(files.errnos).tolist() == [loop]
    assert [*sizes[:loop], 0, *sizes[loop + 1 :]] == [
        size or 0 for size in rows.column("size").to_pylist()
    ]
    monkeypatch.chdir(folder)
    assert list_files("1")[0].paths == list_files(os.path.join(folder, "1"))[0].paths
    assert list_files([])[0].paths == []


@pytest.mark.parametrize("name", ["table.parquet", "table.arrow", "table.csv", "index/"])
def test_sizes_of_a_table(archive, tmp_path, name):
    folder, _ = archive
    table = os.path.join(tmp_path, name)
    fastdcm.scan(folder, []).write(table)
    files, sizes = list_files(table)
    assert len(files) == len(sizes) == 109
    one = files.paths.index(os.fsencode(os.path.join(folder, "0", "000.dcm")))
    assert sizes[one] == os.stat(files.paths[one]).st_size
    os.rename(folder, folder + "-away")
    try:
        assert list_files(table)[1].tolist() == (sizes.tolist() if "csv" not in name else [0] * 109)
    finally:
        os.rename(folder + "-away", folder)


def test_table_without_sizes(archive, tmp_path):
    folder, _ = archive
    import pyarrow.parquet

    files, sizes = list_files(folder)
    table = pyarrow.table({"path": [os.fsdecode(path) for path in files.paths]})
    pyarrow.parquet.write_table(table, tmp_path / "paths.parquet")
    again = list_files(tmp_path / "paths.parquet")
    there = files.errnos == 0
    assert again[0].paths == files.paths and again[1][there].tolist() == sizes[there].tolist()
