"""The loader beside others, in one torch DataLoader after another: a job of
report.py.

Native CT to float32 Hounsfield units, batches of 64 files, in the same number
of workers. Contenders take turns; each must give the same values. "NumPy alone"
is told where the pixels are and that slope and intercept are one file's; it
reads with np.fromfile and scales, sample by sample or into the batch's tensor; the
fastest of these counts.
"""

import tempfile
import time
from pathlib import Path

import data
import dicomsdl
import numpy as np
import pydicom
import torch
from contest import compete, must, show
from torch.utils.data import DataLoader, Dataset

import fastdcm
import fastdcm.ml
from fastdcm.ml.buffers import BufferPool, SharedBatch

BATCH, FILES, WORKERS = 64, 1024, 2


class Pydicom(Dataset):
    def __init__(self, paths):
        self.paths = paths

    def __len__(self):
        return len(self.paths)

    def __getitem__(self, i):
        ds = pydicom.dcmread(self.paths[i])
        values = ds.pixel_array.astype(np.float32)
        return torch.from_numpy(
            values * np.float32(ds.RescaleSlope) + np.float32(ds.RescaleIntercept)
        )


class Dicomsdl(Pydicom):
    def __getitem__(self, i):
        ds = dicomsdl.open(self.paths[i])
        return torch.from_numpy(ds.pixelData(storedvalue=False).astype(np.float32))


class Numpy(Pydicom):
    """One sample at a time, collated by torch."""

    def __init__(self, paths, offset, slope, intercept):
        super().__init__(paths)
        self.offset = offset
        self.slope, self.intercept = np.float32(slope), np.float32(intercept)

    def __getitem__(self, i):
        values = np.fromfile(self.paths[i], "<i2", 512 * 512, offset=self.offset).astype(np.float32)
        values *= self.slope
        values += self.intercept
        return torch.from_numpy(values.reshape(512, 512))


class NumpyBatch(Numpy):
    """A whole batch into one tensor in shared memory, as torch's collate makes it."""

    def tensor(self, count):
        shape = count, 512, 512
        if torch.utils.data.get_worker_info() is None:
            return torch.empty(shape), None
        storage = torch.UntypedStorage._new_shared(4 * count * 512 * 512)
        return torch.empty(0).set_(storage, 0, shape), None

    def __getitems__(self, indices):
        batch, piece = self.tensor(len(indices))
        for slot, i in zip(batch.numpy().reshape(len(indices), -1), indices):
            values = np.fromfile(self.paths[i], "<i2", 512 * 512, offset=self.offset)
            slot[...] = values.astype(np.float32) * self.slope + self.intercept
        return batch if piece is None else SharedBatch({"image": batch[:, None]}, piece)


class NumpyOurMemory(NumpyBatch):
    """The same into memory that is used again, as fastdcm.ml does it: what is
    left is reading and converting."""

    pool = None

    def tensor(self, count):
        worker = torch.utils.data.get_worker_info() is not None
        self.pool = self.pool or BufferPool(shared=worker)
        batch, piece = self.pool.acquire((count, 512, 512, 1), torch.float32)
        return batch[..., 0], piece if worker else None


def whole(batch):
    return batch


def loader(report):
    files, workers = min(FILES, len(report.ct)), WORKERS
    paths = report.ct[:files]
    with tempfile.TemporaryDirectory() as folder:
        table = str(Path(folder) / "table.parquet")
        fastdcm.scan(paths, fastdcm.ml.COLUMNS, pixels=True).write(table)
        ours = fastdcm.ml.DicomDataset(table)
    place = {int(offset) for offset in ours.samples.records(np.arange(len(paths)))["offset"]}
    assert len(place) == 1  # all headers of this set have one length
    told = paths, place.pop(), 1.0, -1024.0
    contenders = {
        "fastdcm.ml": (ours, fastdcm.ml.collate, len(paths)),
        "NumPy alone, batches": (NumpyBatch(*told), whole, len(paths)),
        "NumPy alone, our memory": (NumpyOurMemory(*told), whole, len(paths)),
        "NumPy alone, samples": (Numpy(*told), None, len(paths)),
        "dicomsdl": (Dicomsdl(paths[: files // 4]), None, files // 4),
        "pydicom": (Pydicom(paths[: files // 8]), None, files // 8),
    }
    loaders = {
        name: (
            DataLoader(
                dataset, BATCH, num_workers=workers, collate_fn=join, persistent_workers=workers > 0
            ),
            number,
        )
        for name, (dataset, join, number) in contenders.items()
    }

    def images(batch):
        return batch["image"][:, 0] if isinstance(batch, dict) else batch

    def load(batches, number):
        begin = time.perf_counter()
        seen = 0
        for batch in batches:
            seen += len(images(batch))
        assert seen == number
        return (time.perf_counter() - begin) / number * 1e6

    first = {name: images(next(iter(batches))) for name, (batches, _) in loaders.items()}
    some = len(first["pydicom"])
    for name, batch in first.items():
        assert batch.dtype == torch.float32 and torch.equal(batch[:some], first["pydicom"]), name
    for batches, number in loaders.values():
        load(batches, number)  # workers are there, files are in the page cache
    times = compete(
        {
            name: lambda batches=batches, number=number: load(batches, number)
            for name, (batches, number) in loaders.items()
        },
        report.rounds,
    )
    show(
        f"Native CT to float32 HU, DataLoader, batches of {BATCH}, {workers} workers, a file", times
    )
    must("pydicom / fastdcm.ml", times["pydicom"] / times["fastdcm.ml"], 8, True)
    must("dicomsdl / fastdcm.ml", times["dicomsdl"] / times["fastdcm.ml"], 3, True)
    alone = min(value for name, value in times.items() if name.startswith("NumPy"))
    must("fastdcm.ml / NumPy alone", times["fastdcm.ml"] / alone, 1.1)
