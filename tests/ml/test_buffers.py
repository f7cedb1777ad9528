"""The memory of batches is reused and does not grow."""

import gc
import multiprocessing
import os

import numpy as np
import pytest

import fastdcm.ml
from support.loader_files import encode_frames, noise, table
from support.optional_packages import require_package

require_package("pyarrow")
torch = require_package("torch", "torch.utils.data")

DataLoader = torch.utils.data.DataLoader
DicomDataset = fastdcm.ml.DicomDataset
collate = fastdcm.ml.collate


def test_buffers_are_reused_when_no_tensor_is_left():
    from fastdcm.ml.buffers import BufferPool, SharedBatch, _receive, _send

    pool = BufferPool(shared=True)
    image, first = pool.acquire((2, 3, 4, 1), torch.float32)
    view = image[1]
    del image
    _, second = pool.acquire((2, 3, 4, 1), torch.float32)
    assert second is not first  # the view uses the first
    view.fill_(7)
    del view
    image, again = pool.acquire((1, 3, 4, 1), torch.float32)
    assert again is first
    batch = SharedBatch({"image": image.permute(0, 3, 1, 2), "index": torch.tensor([5])}, first)
    image.fill_(3)
    make, arguments = _send(batch)
    assert make is _receive
    received = make(*arguments)
    del batch, image, arguments
    assert type(received) is dict and received["index"].tolist() == [5]
    assert (received["image"] == 3).all()
    assert pool.acquire((1, 3, 4, 1), torch.float32)[1] is not first  # the receiver uses it
    del received
    assert pool.acquire((1, 3, 4, 1), torch.float32)[1] is first


def _memory():
    """Return the MB of this process and its children, shared pages counted once.

    Without the pages of files: the part of a library that counts here depends on other
    processes.
    """
    total = 0
    for pid in [os.getpid(), *(child.pid for child in multiprocessing.active_children())]:
        with open(f"/proc/{pid}/smaps_rollup") as lines:
            kinds = ("Pss_Anon:", "Pss_Shmem:")
            total += sum(int(line.split()[1]) for line in lines if line.startswith(kinds))
    return total / 1024


def _memory_of_batches(paths, count):
    """Return the memory in use, ten times while `count` samples are read."""
    data = DicomDataset(table(paths, "PatientID"), labels=["PatientID"])
    chosen = np.random.default_rng(0).integers(0, len(data), count)
    loader = DataLoader(data, 64, sampler=chosen.tolist(), num_workers=2, collate_fn=collate)
    used = []
    for number, batch in enumerate(loader):
        assert len(batch["image"]) == len(batch["PatientID"])
        if number % max(1, count // 64 // 10) == 0:
            gc.collect()
            used.append(_memory())
    return used


@pytest.mark.skipif(not os.path.exists("/proc/self/smaps_rollup"), reason="reads /proc of Linux")
def test_memory_does_not_grow(put):
    # small images: how many batches are in the queue varies
    paths = [put(encode_frames(noise(64, 64, seed=i))) for i in range(32)]
    used = _memory_of_batches(paths, 6400)
    assert max(used[-3:]) < used[2] + 10, used


@pytest.mark.slow
@pytest.mark.skipif(not os.path.exists("/proc/self/smaps_rollup"), reason="reads /proc of Linux")
def test_memory_does_not_grow_with_100000_samples(put, tmp_path):
    """Hard links: 100,000 paths, each its own sample."""
    paths = [put(encode_frames(noise(64, 64, seed=i))) for i in range(32)]
    links = tmp_path / "links"
    links.mkdir()
    for i in range(100_000):
        os.link(paths[i % 32], links / f"{i:06d}.dcm")
    data = DicomDataset(str(links), labels=["PatientID"])
    assert len(data) == 100_000
    used = []
    for number, _ in enumerate(
        DataLoader(data, 64, shuffle=True, num_workers=2, collate_fn=collate)
    ):
        if number % 150 == 0:
            gc.collect()
            used.append(_memory())
    assert max(used[-3:]) < used[2] + 10, used
