"""Job of report.py: load batches in a torch DataLoader.

Native CT files become float32 Hounsfield units, in batches of 64 files, with the same
number of workers for each contender. All contenders must return the same values. "NumPy
alone" is given the position of the pixels and one slope and intercept for all files; it
reads with np.fromfile and rescales, one sample at a time or into the tensor of the batch.
The fastest of these variants is the one to compare with.
"""

import tempfile
import time
from pathlib import Path

import dicomsdl
import numpy as np
import pydicom
import torch
from timing import measure, print_times
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
    """One batch at a time, in one tensor in shared memory, as torch's collate makes it."""

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


class NumpyReusedMemory(NumpyBatch):
    """The same into memory that is reused, as fastdcm.ml does it: only reading and
    converting remain."""

    pool = None

    def tensor(self, count):
        worker = torch.utils.data.get_worker_info() is not None
        self.pool = self.pool or BufferPool(shared=worker)
        batch, piece = self.pool.acquire((count, 512, 512, 1), torch.float32)
        return batch[..., 0], piece if worker else None


def unchanged(batch):
    return batch


def loader(report):
    files, workers = min(FILES, len(report.ct)), WORKERS
    paths = report.ct[:files]
    with tempfile.TemporaryDirectory() as folder:
        table = str(Path(folder) / "table.parquet")
        fastdcm.scan(paths, fastdcm.ml.COLUMNS, pixels=True).write(table)
        ours = fastdcm.ml.DicomDataset(table)
    offsets = {int(offset) for offset in ours.samples.records(np.arange(len(paths)))["offset"]}
    assert len(offsets) == 1  # all headers of this set have the same length
    given = paths, offsets.pop(), 1.0, -1024.0
    contenders = {
        "fastdcm.ml": (ours, fastdcm.ml.collate, len(paths)),
        "NumPy alone, batches": (NumpyBatch(*given), unchanged, len(paths)),
        "NumPy alone, reused memory": (NumpyReusedMemory(*given), unchanged, len(paths)),
        "NumPy alone, samples": (Numpy(*given), None, len(paths)),
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
        load(batches, number)  # starts the workers and fills the page cache
    times = measure(
        {
            name: lambda batches=batches, number=number: load(batches, number)
            for name, (batches, number) in loaders.items()
        },
        report.rounds,
    )
    print_times(
        f"Native CT to float32 HU, DataLoader, batches of {BATCH}, {workers} workers, per file",
        times,
    )
    report.check("pydicom / fastdcm.ml", times["pydicom"] / times["fastdcm.ml"], at_least=8)
    report.check("dicomsdl / fastdcm.ml", times["dicomsdl"] / times["fastdcm.ml"], at_least=3)
    alone = min(value for name, value in times.items() if name.startswith("NumPy"))
    report.check("fastdcm.ml / NumPy alone", times["fastdcm.ml"] / alone, at_most=1.1)
