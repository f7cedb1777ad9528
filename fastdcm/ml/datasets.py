"""Datasets for torch that read whole batches."""

import os

import numpy as np

from fastdcm._util.parallel import cpu_count
from fastdcm.ml.batches import centre, read_batch
from fastdcm.ml.samples import VOI_WINDOW, Samples

try:
    import torch
    from torch.utils.data import Dataset, IterableDataset, default_collate, get_worker_info
except ImportError:
    raise ImportError("the datasets need torch: pip install 'fastdcm-dicom[ml]'") from None

from fastdcm.ml.shared import Parcel, Pool, fresh  # noqa: E402 needs torch

_FLOATS = ("float32", "float16", "bfloat16", "float64")
_INTEGERS = ("uint8", "int8", "int16", "uint16", "int32")
_LINEAR, _EXACT, _SIGMOID = range(3)


class Batch:
    """The samples of one batch: a sequence of dicts, as torch's default collate
    wants it. `collate` takes `data`, the batch as a whole, without a copy."""

    def __init__(self, data):
        self.data = data

    def __len__(self):
        return len(self.data["index"])

    def __getitem__(self, i):
        if not -len(self) <= i < len(self):
            raise IndexError(i)
        return {name: values[i] for name, values in self.data.items() if name != "errors"}


def collate(samples):
    """For ``DataLoader(dataset, collate_fn=collate)``: the batch as it was read.
    What another dataset made of single samples is collated as torch does."""
    return samples.data if isinstance(samples, Batch) else default_collate(samples)


class DicomDataset(Dataset):
    """Frames of a scan's table, or of files, as tensors.

    Parameters
    ----------
    source : a scan's table (path of .parquet or .arrow, pyarrow.Table, a Scan,
        anything with ``__arrow_c_stream__``) made with ``pixels=True`` and
        `fastdcm.ml.COLUMNS`; or what `fastdcm.scan` takes; or `Samples`.
        A multi-frame file is as many samples as it has frames.
    labels : columns of the table (of files: elements) that a sample has, too.
    dtype : "float32", "float16", "bfloat16", "float64", "uint8", "int8",
        "int16", "uint16" or "int32", or torch's own.
    rescale : bool
        True: values of the modality, as stored * Rescale Slope + Rescale
        Intercept or through the Modality LUT (PS3.3 C.11.1): Hounsfield units
        for CT. An integer dtype is rounded to and clamped. False: stored
        values; an integer dtype must be their own type, or a signed one of its
        size where Bits Stored leaves the sign free.
    window : None, (center, width) or "file"
        Through a window (PS3.3 C.11.2.1.2) of values of the modality, this one
        as LINEAR, or the first of each frame: 0 to 255 for dtype "uint8", 0 to 1
        for floats; MONOCHROME1 and Presentation LUT Shape INVERSE are inverted.
        "file" gives what `fastdcm.pixels.windowed` gives: a VOI table comes before
        a window, and without both the range of the values is used (both in 8 bits).
    size : None or (height, width)
        Frames of another size are cropped and padded around their centre.
        Without it the frames of a batch must be of one size.
    resize : bool
        True: they are resized instead, bilinear with antialiasing.
    pad : the value of padding, in units of the result.
    transform : function of an image (samples, height, width) that gives a tensor.
    on_error : "raise", "skip" or "fill"
        A sample that cannot be read raises its DicomError, is missing in its
        batch, or is all `pad`. Where "skip" or "fill" did so the batch has
        ``"errors"``: a list of (index, DicomError).
    threads : int or None
        None: one in a worker of a DataLoader, elsewhere as many as there are
        cores.

    A sample is a dict: ``"image"``, a tensor (samples per pixel, height, width),
    ``"index"`` in the dataset, and the labels. A batch has them all in one
    tensor, (n, samples per pixel, height, width), memory format channels_last
    for colour; numbers as tensors, other labels as lists. Give
    `fastdcm.ml.collate` to the DataLoader: the batch then reaches the loop in
    the memory it was read into, which is shared memory in a worker, and pinned
    where there is CUDA and no worker.

    samples : Samples, whose `left_out` counts the rows that are no samples.

    Colour is not converted. Raises ValueError for arguments that cannot be and
    for a table without the columns, DicomError for what cannot be read.
    """

    def __init__(
        self,
        source,
        *,
        labels=(),
        dtype="float32",
        rescale=True,
        window=None,
        size=None,
        resize=False,
        pad=0.0,
        transform=None,
        on_error="raise",
        threads=None,
    ):
        dtype = str(dtype).removeprefix("torch.")
        if dtype not in _FLOATS + _INTEGERS:
            raise ValueError(f"dtype is one of {', '.join(_FLOATS + _INTEGERS)}, not {dtype}")
        if window is not None:
            if window != "file":
                center, width = map(float, window)
                if not (np.isfinite(center) and 1 <= width < np.inf):
                    raise ValueError(f"a window is (center, width of at least 1), not {window!r}")
                window = center, width
            if not rescale or dtype in _INTEGERS[1:]:
                raise ValueError("a window is of values of the modality, and gives uint8 or floats")
        if on_error not in ("raise", "skip", "fill"):
            raise ValueError(f"on_error is 'raise', 'skip' or 'fill', not {on_error!r}")
        if size is not None:
            height, width = size
            if height < 1 or width < 1:
                raise ValueError(f"size is (height, width), not {size!r}")
            size = int(height), int(width)
        elif resize:
            raise ValueError("resize needs a size")
        if threads is not None and threads < 1:
            raise ValueError("threads is 1 or more, or None")
        if isinstance(labels, str):
            raise TypeError("labels is a list of columns, not one str")
        if {"image", "index", "errors"} & set(labels):
            raise ValueError("image, index and errors are no names for labels")
        self.samples = source if isinstance(source, Samples) else Samples(source, labels)
        self.dtype, self.rescale, self.window = dtype, rescale, window
        self.size, self.resize, self.pad = size, resize, float(pad)
        self.transform, self.on_error, self.threads = transform, on_error, threads
        self._pool = None

    def __getstate__(self):
        return {**self.__dict__, "_pool": None}

    def __len__(self):
        return len(self.samples)

    def __getitem__(self, index):
        data, errors, _ = self._read([index.__index__()])
        if errors and self.on_error != "fill":
            raise errors[0][1]
        data = self._finish(data, ())
        return {name: values[0] for name, values in data.items()}

    def __getitems__(self, indices):
        return Batch(self.read(indices))

    def read(self, indices, out=None):
        """The batch of these samples, a dict.

        out : a tensor to read into, such as a pinned one that is used again and
            again: (n, samples per pixel, height, width) of `dtype`, contiguous,
            channels_last for colour."""
        data, errors, piece = self._read(indices, out)
        if errors and self.on_error == "raise":
            raise errors[0][1]
        image = data["image"]
        data = self._finish(data, errors)
        return data if piece is None or data["image"] is not image else Parcel(data, piece)

    def _finish(self, data, errors):
        """Labels, failures and the transform."""
        if errors and self.on_error == "skip":
            kept = np.ones(len(data["index"]), bool)
            kept[[i for i, _ in errors]] = False
            kept = torch.from_numpy(np.flatnonzero(kept))
            found = [(int(data["index"][i]), error) for i, error in errors]
            data = {name: values[kept] for name, values in data.items()}
        elif errors:
            found = [(int(data["index"][i]), error) for i, error in errors]
        labels = self.samples.labels(data["index"].numpy())
        for name, values in labels.items():
            data[name] = torch.from_numpy(values) if isinstance(values, np.ndarray) else values
        if self.transform is not None and len(data["index"]):
            data["image"] = default_collate([self.transform(image) for image in data["image"]])
        if errors:
            data["errors"] = found
        return data

    def _read(self, indices, out=None):
        """({"image", "index"}, [(position, DicomError)], piece of shared memory or None)."""
        indices = np.asarray(indices, np.int64)
        if len(indices) == 0:
            raise IndexError("a batch of no samples")
        indices = np.where(indices < 0, indices + len(self), indices)
        if indices.min() < 0 or indices.max() >= len(self):
            raise IndexError(f"sample {indices.max()} of {len(self)}")
        layout = self.samples.layout(indices)
        n, channels = len(indices), int(layout["samples"][0])
        sizes = np.stack([layout["rows"], layout["columns"]], 1).astype(np.int64)
        if self.size is None and (sizes != sizes[0]).any():
            other = int(np.flatnonzero((sizes != sizes[0]).any(1))[0])
            raise ValueError(
                f"frames of one batch differ in size: {self._where(indices[0])} has {sizes[0].tolist()}, "
                f"{self._where(indices[other])} {sizes[other].tolist()}: size=(height, width) fits them"
            )
        shape = n, *(self.size or sizes[0].tolist()), channels
        image, piece = self._target(out, shape)
        records, display = self._records(indices, layout)
        if self.resize:
            errors = self._resized(indices, records, display, sizes, image)
        else:
            whole = not (sizes == shape[1:3]).all()
            errors = self._converted(indices, records, display, sizes, image, whole)
        for i, _ in errors:
            image[i] = self.pad
        errors.sort(key=lambda found: found[0])
        return (
            {"image": image.permute(0, 3, 1, 2), "index": torch.from_numpy(indices)},
            errors,
            piece,
        )

    def _where(self, index):
        files, frames = self.samples.files(np.array([index]))
        return f"frame {frames[0]} of {os.fsdecode(self.samples.path(files[0]))}"

    def _target(self, out, shape):
        """The tensor that the batch is, (n, height, width, samples), and its piece
        of shared memory in a worker."""
        dtype = getattr(torch, self.dtype)
        if out is not None:
            out = out.permute(0, 2, 3, 1)
            if tuple(out.shape) != shape or out.dtype != dtype or not out.is_contiguous():
                n, height, width, channels = shape
                raise ValueError(
                    f"out is to be contiguous, ({n}, {channels}, {height}, {width}) of {dtype}"
                )
            return out, None
        worker = get_worker_info() is not None
        if not worker and torch.cuda.is_available():
            return torch.empty(shape, dtype=dtype, pin_memory=True), None
        if self._pool is None or self._pool.pid != os.getpid():  # of the process that forked us
            self._pool = Pool(shared=worker)
        image, piece = self._pool.take(shape, dtype)
        return image, piece if worker else None

    def _records(self, indices, layout):
        """What C needs to know, and which samples `windowed` has to display."""
        records = self.samples.records(indices)
        display = np.zeros(len(indices), bool)
        if not self.rescale:
            records["slope"], records["intercept"] = 1.0, 0.0
        if self.window is None:
            return records, display
        if self.window == "file":
            width = records["width"]
            least = np.where(records["function"] == _LINEAR, width >= 1, width > 0)
            possible = np.isfinite(width) & np.isfinite(records["center"]) & least
            # A VOI table, no window, and one that is refused.
            display = (layout["voi"] != VOI_WINDOW) | ~possible
            records["center"][display], records["width"][display] = 0, 1
            records["function"][display] = _LINEAR
        else:
            records["center"], records["width"] = self.window
            records["function"] = _LINEAR
        if self.dtype != "uint8":  # the window is a line, to be cut off at its ends
            scale, shift = _line(records)
            records["slope"] *= scale
            records["intercept"] = records["intercept"] * scale + shift
            records["slope"][display], records["intercept"][display] = 1 / 255, 0.0
        return records, display

    def _way(self):
        """(conversion in C, dtype of what it gives)."""
        if self.window is not None and self.dtype == "uint8":
            return "window", torch.uint8
        if not self.rescale and self.dtype in _INTEGERS:
            return "stored", getattr(torch, self.dtype)
        return "rescale", torch.float32

    def _converted(self, indices, records, display, sizes, image, fit):
        """Fills `image`; returns the errors."""
        convert, dtype = self._way()
        raw = image if image.dtype == dtype else fresh(image.shape, dtype)
        threads = self.threads or (cpu_count() if get_worker_info() is None else 1)
        errors = read_batch(
            self.samples,
            indices,
            records,
            raw.numpy(),
            convert,
            tables=self.rescale,
            display=display,
            fit=fit,
            pad=self.pad,
            threads=threads,
        )
        if self.window is not None and convert == "rescale":
            for i in np.flatnonzero(records["function"] == _SIGMOID).tolist():
                rows, columns = (
                    centre(*pair)[1] for pair in zip(sizes[i].tolist(), raw.shape[1:3])
                )
                raw[i, rows, columns].sigmoid_()
            raw.clamp_(0, 1)
        if raw is not image:
            image.copy_(_rounded(raw, image.dtype))
        return errors

    def _resized(self, indices, records, display, sizes, image):
        errors = []
        for size in np.unique(sizes, axis=0):
            places = np.flatnonzero((sizes == size).all(1))
            convert, dtype = self._way()
            raw = fresh((len(places), *size.tolist(), image.shape[3]), dtype)
            found = self._converted(
                indices[places], records[places], display[places], sizes[places], raw, False
            )
            errors += [(int(places[i]), error) for i, error in found]
            if tuple(size) != tuple(image.shape[1:3]):
                raw = torch.nn.functional.interpolate(
                    raw.permute(0, 3, 1, 2).float(),
                    image.shape[1:3],
                    mode="bilinear",
                    antialias=True,
                ).permute(0, 2, 3, 1)
            image[torch.from_numpy(places)] = _rounded(raw, image.dtype)
        return errors


def _line(records):
    """(scale, shift) with which values of the modality become 0 to 1 between a
    window's ends, or the argument of the sigmoid (PS3.3 C.11.2.1.2)."""
    center, width, function = records["center"], records["width"], records["function"]
    exact = np.maximum(width, np.finfo(float).tiny)
    linear = np.maximum(width - 1, 1e-6)  # of width 1: a step
    scale = np.choose(function, [1 / linear, 1 / exact, 4 / exact])
    shift = np.choose(
        function,
        [
            np.where(width == 1, 0, 0.5) - (center - 0.5) * scale,
            0.5 - center * scale,
            -center * scale,
        ],
    )
    turned = records["invert"] != 0
    whole = np.where(function == _SIGMOID, 0, 1)
    return np.where(turned, -scale, scale), np.where(turned, whole - shift, shift)


def _rounded(values, dtype):
    """To another dtype; for integers the nearest one there is."""
    if dtype.is_floating_point or values.dtype == dtype:
        return values.to(dtype)
    ends = torch.iinfo(dtype)
    top = np.nextafter(np.float32(ends.max), np.float32(0)) if ends.bits > 16 else ends.max
    return values.round().clamp(ends.min, float(top)).to(dtype)


class DicomIterableDataset(IterableDataset):
    """The same as a stream of whole batches, shared out to ranks and workers.

    For ``DataLoader(dataset, batch_size=None, num_workers=...)``. The batches,
    and their order, do not depend on the number of workers.

    Parameters
    ----------
    source : as for `DicomDataset`. batch_size : samples to a batch.
    shuffle : bool
        Shards (`shard` samples that follow each other in the source) come in
        random order, and so do the samples of each. Files that lie together are
        read together.
    seed, shard : int. The order follows from `seed` and the epoch.
    drop_last : bool
        Leave out a last batch that is not full, and batches that are not there
        for every rank; else ranks that miss one get one of the first again.
    rank, world_size : int or None
        None: as torch.distributed tells, 0 and 1 without it.
    options : those of `DicomDataset`.
    """

    def __init__(
        self,
        source,
        batch_size,
        *,
        shuffle=False,
        seed=0,
        shard=4096,
        drop_last=False,
        rank=None,
        world_size=None,
        **options,
    ):
        if batch_size < 1 or shard < 1:
            raise ValueError("batch_size and shard are 1 or more")
        if (rank is None) != (world_size is None) or (
            rank is not None and not 0 <= rank < world_size
        ):
            raise ValueError(f"rank {rank} of {world_size}: give both, or neither")
        if rank is None:
            rank, world_size = 0, 1
            if torch.distributed.is_available() and torch.distributed.is_initialized():
                rank, world_size = torch.distributed.get_rank(), torch.distributed.get_world_size()
        self.dataset = DicomDataset(source, **options)
        self.batch_size, self.shuffle, self.seed, self.shard = batch_size, shuffle, seed, shard
        self.drop_last, self.rank, self.world_size = drop_last, rank, world_size
        # shared: workers that go on from epoch to epoch see it, too
        self._epoch = torch.zeros(1, dtype=torch.int64).share_memory_()

    def set_epoch(self, epoch):
        """Another order, the same for all ranks; call it before each epoch."""
        self._epoch[0] = epoch

    def _batches(self):
        count = len(self.dataset)
        return count // self.batch_size if self.drop_last else -(-count // self.batch_size)

    def __len__(self):
        """Batches for this rank."""
        batches = self._batches()
        return batches // self.world_size if self.drop_last else -(-batches // self.world_size)

    def _order(self):
        count = len(self.dataset)
        if not self.shuffle:
            return np.arange(count)
        random = np.random.default_rng([self.seed, int(self._epoch[0])])
        starts = random.permutation(np.arange(0, count, self.shard))
        shards = [start + random.permutation(min(self.shard, count - start)) for start in starts]
        return np.concatenate(shards) if shards else starts

    def __iter__(self):
        worker = get_worker_info()
        first, step = (0, 1) if worker is None else (worker.id, worker.num_workers)
        order, batches = self._order(), self._batches()
        for number in range(first, len(self), step):
            begin = (number * self.world_size + self.rank) % batches * self.batch_size
            yield self.dataset.read(order[begin : begin + self.batch_size])
