"""Datasets in the DataLoader of torch: workers, ranks, epochs."""

import functools
import multiprocessing
from itertools import pairwise

import numpy as np
import pytest

import fastdcm.ml
from support.loader_files import table
from support.optional_packages import require_package

require_package("pyarrow")
torch = require_package("torch", "torch.utils.data")

DataLoader = torch.utils.data.DataLoader
Subset = torch.utils.data.Subset
DicomDataset = fastdcm.ml.DicomDataset
DicomIterableDataset = fastdcm.ml.DicomIterableDataset
collate = fastdcm.ml.collate


def test_transform_and_output_tensor(series):
    paths, expected = series
    data = DicomDataset(paths, transform=functools.partial(torch.mul, other=2))
    assert np.array_equal(data.read([1, 2])["image"][:, 0].numpy(), expected[[1, 2]] * 2)
    out = torch.empty(2, 1, 16, 12)
    image = DicomDataset(paths).read([1, 2], out)["image"]
    assert image.data_ptr() == out.data_ptr() and np.array_equal(
        out[:, 0].numpy(), expected[[1, 2]]
    )
    with pytest.raises(ValueError, match="contiguous"):
        DicomDataset(paths).read([1, 2], torch.empty(3, 1, 16, 12))


@pytest.mark.parametrize(
    "options, message",
    [
        ({"dtype": "complex64"}, "dtype must be one of .*, got complex64"),
        ({"window": (40, 0)}, r"width of at least 1, got \(40, 0\)"),
        ({"window": "wide"}, r"\(center, width\), 'file' or None, got 'wide'"),
        ({"window": (40, 400), "rescale": False}, "a window needs rescale=True"),
        ({"window": (40, 400), "dtype": "int16"}, "a window needs .*, got rescale=True and int16"),
        ({"on_error": "ignore"}, "on_error must be 'raise', 'skip' or 'fill', got 'ignore'"),
        ({"size": (0, 5)}, r"size must be \(height, width\) of at least 1, got \(0, 5\)"),
        ({"resize": True}, r"resize=True needs size=\(height, width\)"),
        ({"threads": 0}, "threads must be at least 1, or None, got 0"),
        ({"labels": ["image"]}, "a label cannot have the name 'image'"),
    ],
)
def test_invalid_arguments(series, options, message):
    with pytest.raises(ValueError, match=message):
        DicomDataset(series[0], **options)
    with pytest.raises(
        TypeError, match="labels must be a list of columns, got the str 'PatientID'"
    ):
        DicomDataset(series[0], labels="PatientID")


def test_indices(series):
    data = DicomDataset(series[0])
    for wrong in (20, -21):
        with pytest.raises(IndexError, match=f"index {wrong} is out of range for 20 samples"):
            data[wrong]
    with pytest.raises(IndexError, match="at least one index"):
        data.read([])


@pytest.mark.parametrize(
    "start", [name for name in ("fork", "spawn") if name in multiprocessing.get_all_start_methods()]
)
def test_workers(series, start):
    paths, expected = series
    data = DicomDataset(table(paths, "PatientID"), labels=["PatientID"])
    loader = DataLoader(
        data,
        6,
        num_workers=2,
        collate_fn=collate,
        shuffle=True,
        persistent_workers=True,
        multiprocessing_context=start,
    )
    orders = []
    for _ in range(3):
        kept = list(loader)  # all at once: no buffer is reused while its tensor exists
        orders.append([i for batch in kept for i in batch["index"].tolist()])
        for batch in kept:
            assert np.array_equal(batch["image"][:, 0].numpy(), expected[batch["index"].numpy()])
            assert batch["PatientID"] == [f"P{i % 3}" for i in batch["index"].tolist()]
    assert all(sorted(order) == list(range(20)) for order in orders) and orders[0] != orders[1]


@pytest.mark.parametrize("workers", [0, 2])
def test_default_collate_subset_and_other_collate_functions(series, workers):
    """Without `collate`, through a Subset, and with a function that calls `collate`."""
    paths, expected = series
    data = DicomDataset(paths, labels=["PatientID"])
    for batch in DataLoader(data, 7, num_workers=workers):
        assert np.array_equal(batch["image"][:, 0].numpy(), expected[batch["index"].numpy()])
    for batch in DataLoader(Subset(data, [4, 2, 8]), 2, num_workers=workers, collate_fn=collate):
        assert np.array_equal(batch["image"][:, 0].numpy(), expected[batch["index"].numpy()])
    for batch in DataLoader(data, 7, num_workers=workers, collate_fn=doubled):
        assert np.array_equal(batch["image"][:, 0].numpy(), expected[batch["index"].numpy()] * 2)
    together = torch.utils.data.ConcatDataset([Subset(data, [1]), data])
    found = [
        batch["image"] for batch in DataLoader(together, 7, num_workers=workers, collate_fn=collate)
    ]
    assert np.array_equal(torch.cat(found)[:, 0].numpy(), np.concatenate([expected[1:2], expected]))


def doubled(samples):
    batch = collate(samples)
    batch["image"] = batch["image"] * 2
    return batch


def test_threads(series):
    paths, expected = series
    for threads in (1, 3):
        image = DicomDataset(paths, threads=threads).read(range(20))["image"]
        assert np.array_equal(image[:, 0].numpy(), expected)


def _indices(data, workers):
    return [
        batch["index"].tolist() for batch in DataLoader(data, batch_size=None, num_workers=workers)
    ]


@pytest.mark.parametrize("shuffle", [False, True])
def test_batches_do_not_depend_on_workers(series, shuffle):
    paths, expected = series
    data = DicomIterableDataset(paths, 3, shuffle=shuffle, shard=8, seed=4)
    alone = _indices(data, 0)
    assert alone == _indices(data, 2) == _indices(data, 3)
    assert (
        sorted(i for batch in alone for i in batch) == list(range(20))
        and len(alone) == len(data) == 7
    )
    flat = [i for batch in alone for i in batch]
    if shuffle:
        shards = [i // 8 for i in flat]
        assert flat != sorted(flat) and len([1 for a, b in pairwise(shards) if a != b]) == 2
    else:
        assert flat == list(range(20))
    for batch in DataLoader(data, batch_size=None, num_workers=1):
        assert np.array_equal(batch["image"][:, 0].numpy(), expected[batch["index"].numpy()])


def test_epochs_with_persistent_workers(series):
    data = DicomIterableDataset(series[0], 3, shuffle=True)
    loader = DataLoader(data, batch_size=None, num_workers=2, persistent_workers=True)
    orders = []
    for epoch in (0, 1, 0):
        data.set_epoch(epoch)
        orders.append([batch["index"].tolist() for batch in loader])
    assert orders[0] == orders[2] != orders[1]


def test_ranks(series):
    for drop_last, each, all_of_them in ((False, 4, set(range(20))), (True, 3, set(range(18)))):
        ranks = [
            _indices(
                DicomIterableDataset(series[0], 3, rank=rank, world_size=2, drop_last=drop_last), 0
            )
            for rank in range(2)
        ]
        assert [len(batches) for batches in ranks] == [each, each]
        assert {i for batches in ranks for batch in batches for i in batch} == all_of_them
    with pytest.raises(ValueError, match="rank"):
        DicomIterableDataset(series[0], 3, rank=2, world_size=2)
