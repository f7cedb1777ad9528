"""A dataset for torch that reads complete batches of frames."""

from __future__ import annotations

import operator
import os
from collections.abc import Callable, Sequence
from typing import Any, Literal, TypedDict

import numpy as np
import numpy.typing as npt

from fastdcm._util.parallel import cpu_count
from fastdcm.errors import DicomError
from fastdcm.ml.batches import Conversion, Errors, center_slices, read_batch
from fastdcm.ml.samples import COLOR_RGB, VOI_TABLE, Samples

try:
    import torch
    from torch.utils.data import Dataset, default_collate, get_worker_info
except ImportError:
    raise ImportError("the datasets need torch: pip install 'fastdcm-dicom[ml]'") from None

from fastdcm.ml.buffers import (
    BufferPool,
    SharedBatch,
    empty_tensor,
)

_Bools = npt.NDArray[np.bool_]
_Ints = npt.NDArray[np.int64]
_Records = npt.NDArray[np.void]
#: A batch: "image" and "index" (tensors), the labels, and sometimes "errors".
BatchDict = dict[str, Any]
Window = tuple[float, float] | Literal["file"]

_FLOATS = ("float32", "float16", "bfloat16", "float64")
_INTEGERS = ("uint8", "int8", "int16", "uint16", "int32")
_LINEAR, _LINEAR_EXACT, _SIGMOID = range(3)  # as in WINDOW_FUNCTIONS
_RESERVED = ("image", "index", "frame", "errors")
# The parts of red, green and blue in gray (ITU-R BT.601), as in the Y of YBR_FULL.
_LUMA = (0.299, 0.587, 0.114)
_COLOR_MODES = ("rgb", "raw", "error")


class DatasetOptions(TypedDict, total=False):
    """The keyword arguments of `DicomDataset`, which documents them."""

    labels: Sequence[str]
    dtype: str | torch.dtype
    rescale: bool
    window: Window | None
    no_window: tuple[float, float] | None
    color: Literal["rgb", "raw", "error"]
    channels: Literal[1, 3] | None
    size: tuple[int, int] | None
    resize: bool
    pad: float
    transform: Callable[[torch.Tensor], torch.Tensor] | None
    on_error: Literal["raise", "skip", "fill"]
    threads: int | None


class BatchSamples:
    """The samples of one batch, as a sequence of dicts.

    torch's default collate function needs a sequence; `collate` uses `data`, the
    complete batch, without a copy.

    Parameters
    ----------
    data : dict
        The batch, as `DicomDataset.read` returns it.
    """

    def __init__(self, data: BatchDict) -> None:
        self.data = data

    def __len__(self) -> int:
        return len(self.data["index"])

    def __getitem__(self, i: int) -> BatchDict:
        if not -len(self) <= i < len(self):
            raise IndexError(f"index {i} is out of range for {len(self)} samples")
        return {name: values[i] for name, values in self.data.items() if name != "errors"}


def collate(samples: Any) -> Any:
    """Return the batch that a `DicomDataset` read, without a copy.

    Parameters
    ----------
    samples : sequence of samples
        Samples of other datasets are passed to torch's default collate function.

    Returns
    -------
    dict
        The batch.

    Examples
    --------
    >>> DataLoader(dataset, batch_size=16, collate_fn=fastdcm.ml.collate)  # doctest: +SKIP
    """
    return samples.data if isinstance(samples, BatchSamples) else default_collate(samples)


class DicomDataset(Dataset):
    """A map-style dataset for torch: frames of a scan's table, or of files, as tensors.

    A multi-frame file is as many samples as it has frames. A sample is a dict:
    ``"image"``, a tensor of shape (channels, height, width), ``"index"``, its index
    in the dataset, ``"frame"``, the number of the frame in its file, from 0, and the
    labels. A batch has all of them in one tensor of shape (n, channels, height,
    width), in memory format channels_last for color; labels are tensors if they are
    numbers, else lists.

    With `fastdcm.ml.collate` as the ``collate_fn`` of the DataLoader, the batch
    reaches the training loop in the memory into which it was read. That is
    shared memory in a worker, and pinned memory with CUDA and no worker.

    Parameters
    ----------
    source : table, path or other source of a scan
        A scan's table made with ``pixels=True`` and the columns
        `fastdcm.ml.COLUMNS` (path of a ``.parquet`` or ``.arrow`` file,
        pyarrow.Table, Scan, any object with ``__arrow_c_stream__``), or anything
        else that `fastdcm.scan` accepts, which is scanned, or `Samples`.
    labels : sequence of str
        Columns of the table (of files: elements) that each sample includes, such as
        "path". Of a list with a value for each frame, as
        "PerFrameFunctionalGroupsSequence[*]...." gives it, a sample has its own value.
    dtype : str or torch.dtype
        Of the images: "float32", "float16", "bfloat16", "float64", "uint8",
        "int8", "int16", "uint16" or "int32".
    rescale : bool
        True: modality values, which are stored values * Rescale Slope + Rescale
        Intercept, or the result of the Modality LUT (PS3.3 C.11.1): Hounsfield
        units for CT. They are rounded and clamped to an integer dtype.
        False: stored values; an integer dtype must be that of the frames, or a
        signed one of the same size if Bits Stored leaves the sign bit unused.
    window : (center, width), "file" or None
        Apply a window to modality values (PS3.3 C.11.2.1.2): this one as LINEAR,
        or the first of each frame. The result is 0 to 255 for dtype "uint8" and 0
        to 1 for floats, inverted for MONOCHROME1 and for Presentation LUT Shape
        INVERSE. "file" gives what `fastdcm.pixels.windowed` gives: a VOI LUT
        comes before a window, and without both the range of the values is used
        (both in 8 bits).
    no_window : (center, width) or None
        With ``window="file"``: the window of frames that have neither a window nor a
        VOI LUT, as LINEAR. None: the range of the values of each.
    color : "rgb", "raw" or "error"
        "rgb": images in color are RGB in 8 bits, as `fastdcm.pixels.to_rgb` returns
        them, without rescale or window; 0 to 1 for floats with a window. "raw": the
        stored samples. "error": a DicomError for images in color.
    channels : 1, 3 or None
        Of all images: gray is repeated, and RGB becomes gray (ITU-R BT.601). None: as
        many as the sample with the most has.
    size : (height, width) or None
        Crop and pad frames of another size around the center. None: all frames
        of a batch must have the same size.
    resize : bool
        True: resize frames to `size` instead, bilinear with antialiasing.
    pad : float
        The value of padding, in units of the result.
    transform : callable or None
        Function of an image (samples per pixel, height, width) that returns a
        tensor.
    on_error : "raise", "skip" or "fill"
        A sample that cannot be read raises its DicomError, is left out of its
        batch, or is filled with `pad`. With "skip" and "fill" such a batch has
        ``"errors"``, a list of (index, DicomError).
    threads : int or None
        None: one in a worker of a DataLoader, else one for each CPU.

    Attributes
    ----------
    samples : Samples
        `Samples.left_out` counts the rows that are not samples.

    Raises
    ------
    ValueError
        For invalid arguments, and a table without the columns.
    ImportError
        Without pyarrow.
    DicomError
        While reading, with ``on_error="raise"``.

    Examples
    --------
    >>> dataset = DicomDataset("frames.parquet", size=(256, 256))  # doctest: +SKIP
    >>> loader = DataLoader(dataset, 16, num_workers=4, collate_fn=collate)  # doctest: +SKIP
    """

    def __init__(
        self,
        source: Any,
        *,
        labels: Sequence[str] = (),
        dtype: str | torch.dtype = "float32",
        rescale: bool = True,
        window: Window | None = None,
        no_window: tuple[float, float] | None = None,
        color: Literal["rgb", "raw", "error"] = "rgb",
        channels: Literal[1, 3] | None = None,
        size: tuple[int, int] | None = None,
        resize: bool = False,
        pad: float = 0.0,
        transform: Callable[[torch.Tensor], torch.Tensor] | None = None,
        on_error: Literal["raise", "skip", "fill"] = "raise",
        threads: int | None = None,
    ) -> None:
        dtype = str(dtype).removeprefix("torch.")
        if dtype not in _FLOATS + _INTEGERS:
            raise ValueError(f"dtype must be one of {', '.join(_FLOATS + _INTEGERS)}, got {dtype}")
        if window is not None and (not rescale or dtype in _INTEGERS[1:]):
            raise ValueError(
                "a window needs rescale=True and the dtype uint8 or a float, "
                f"got rescale={rescale} and {dtype}"
            )
        if no_window is not None and window != "file":
            raise ValueError("no_window is for window='file'")
        if color not in _COLOR_MODES:
            raise ValueError(f"color must be 'rgb', 'raw' or 'error', got {color!r}")
        if channels not in (None, 1, 3):
            raise ValueError(f"channels must be 1, 3 or None, got {channels!r}")
        if resize and size is None:
            raise ValueError("resize=True needs size=(height, width)")
        if on_error not in ("raise", "skip", "fill"):
            raise ValueError(f"on_error must be 'raise', 'skip' or 'fill', got {on_error!r}")
        if threads is not None and threads < 1:
            raise ValueError(f"threads must be at least 1, or None, got {threads}")
        if isinstance(labels, str):
            raise TypeError(f"labels must be a list of columns, got the str {labels!r}")
        for label in labels:
            if label in _RESERVED:
                raise ValueError(f"a label cannot have the name {label!r}: a batch uses it")
        self.samples = source if isinstance(source, Samples) else Samples(source, labels)
        if not len(self.samples):
            left_out = ", ".join(f"{n} {reason}" for reason, n in self.samples.left_out.items())
            raise ValueError(
                f"there are no samples: left out are {left_out}"
                if left_out
                else "there are no samples: the source is empty"
            )
        self.dtype = dtype
        self.rescale = rescale
        self.window = _check_window(window)
        self.no_window = None if no_window is None else _check_numbers(no_window)
        self.color = color
        own = self._own_channels(self.samples.layouts)
        self.channels: int = channels or int(own.max())
        self.size = _check_size(size)
        self.resize = resize
        self.pad = float(pad)
        self.transform = transform
        self.on_error = on_error
        self.threads = threads
        self._pool: BufferPool | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_pool": None}

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int | Sequence[int]) -> BatchDict:
        if not hasattr(index, "__index__"):  # of a BatchSampler used as the sampler
            return self.read(index)
        data, errors, _ = self._read([operator.index(index)])
        if errors and self.on_error != "fill":
            raise errors[0][1]
        data = self._complete(data, [])
        return {name: values[0] for name, values in data.items()}

    def __getitems__(self, indices: Sequence[int]) -> BatchSamples:
        return BatchSamples(self.read(indices))

    def read(self, indices: Sequence[int] | _Ints, out: torch.Tensor | None = None) -> BatchDict:
        """Read a batch.

        Parameters
        ----------
        indices : sequence of int
            Of the samples; negative ones count from the end.
        out : torch.Tensor or None
            Tensor to read into, for example a pinned one that is reused: of
            shape (n, channels, height, width) and the dtype of the
            dataset, contiguous, or channels_last for color.

        Returns
        -------
        dict
            ``"image"``, ``"index"``, ``"frame"``, the labels, and ``"errors"`` where samples
            could not be read.

        Raises
        ------
        IndexError
            For an index out of range.
        ValueError
            For an `out` that does not fit, and for frames of different sizes
            without `size`.
        DicomError
            With ``on_error="raise"``.
        """
        data, errors, buffer = self._read(indices, out)
        if errors and self.on_error == "raise":
            raise errors[0][1]
        image = data["image"]
        data = self._complete(data, errors)
        if buffer is None or data["image"] is not image:
            return data
        return SharedBatch(data, buffer)

    def _complete(self, data: BatchDict, errors: Errors) -> BatchDict:
        """Return a batch with labels and errors, and the transform applied."""
        found = [(int(data["index"][i]), error) for i, error in errors]
        if errors and self.on_error == "skip":
            good = np.ones(len(data["index"]), bool)
            good[[i for i, _ in errors]] = False
            kept = torch.from_numpy(np.flatnonzero(good))
            data = {name: values[kept] for name, values in data.items()}
        labels = self.samples.labels(data["index"].numpy())
        for name, values in labels.items():
            data[name] = torch.from_numpy(values) if isinstance(values, np.ndarray) else values
        if self.transform is not None and len(data["index"]):
            data["image"] = default_collate([self.transform(image) for image in data["image"]])
        if errors:
            data["errors"] = found
        return data

    def _read(
        self, indices: Sequence[int] | _Ints, out: torch.Tensor | None = None
    ) -> tuple[BatchDict, Errors, torch.Tensor | None]:
        """Return images and indices, errors, and the buffer if it is shared memory."""
        positions = self._positions(indices)
        layout = self.samples.layout(positions)
        n = len(positions)
        sizes = np.stack([layout["rows"], layout["columns"]], 1).astype(np.int64)
        if self.size is None and (sizes != sizes[0]).any():
            other = int(np.flatnonzero((sizes != sizes[0]).any(1))[0])
            raise ValueError(
                f"frames of one batch differ in size: {self._describe(positions[0])} has "
                f"{sizes[0].tolist()}, {self._describe(positions[other])} has "
                f"{sizes[other].tolist()}; crop, pad or resize them with size=(height, width)"
            )
        height, width = self.size or sizes[0].tolist()
        image, buffer = self._output_tensor(out, (n, height, width, self.channels))
        errors = self._read_channels(positions, layout, sizes, image)
        if self.color == "error":
            failed = {i for i, _ in errors}
            for i in np.flatnonzero(layout["color"]).tolist():
                if i not in failed:
                    text = f"{self._describe(positions[i])} is in color"
                    errors.append((i, DicomError(text, "color")))
        for i, _ in errors:
            image[i] = self.pad
        errors.sort(key=lambda found: found[0])
        data = {
            "image": image.permute(0, 3, 1, 2),
            "index": torch.from_numpy(positions),
            "frame": torch.from_numpy(self.samples.files(positions)[1]),
        }
        return data, errors, buffer

    def _own_channels(self, layout: _Records) -> _Ints:
        """Return how many channels samples have before they get those of the dataset."""
        samples = layout["samples"].astype(np.int64)
        return np.where(layout["color"] != 0, 3, samples) if self.color == "rgb" else samples

    def _read_channels(
        self, positions: _Ints, layout: _Records, sizes: _Ints, image: torch.Tensor
    ) -> Errors:
        """Read samples into `image`, those with as many channels together."""
        records, display, rgb = self._records(positions, layout)
        own = self._own_channels(layout)
        errors: Errors = []
        for count in np.unique(own).tolist():
            chosen = np.flatnonzero(own == count)
            if count not in (1, self.channels) and (count, self.channels) != (3, 1):
                text = f"{count} samples per pixel do not fit {self.channels} channels"
                errors += [(int(i), DicomError(text, "frame-fit")) for i in chosen]
                continue
            whole = len(chosen) == len(own) and count == self.channels
            target = image
            if not whole:
                target = empty_tensor((len(chosen), *image.shape[1:3], count), image.dtype)
            arguments = (
                positions[chosen],
                records[chosen],
                display[chosen],
                rgb[chosen],
                sizes[chosen],
                target,
            )
            if self.resize:
                found = self._read_resized(*arguments)
            else:
                fit = bool((sizes[chosen] != tuple(image.shape[1:3])).any())
                found = self._read_converted(*arguments, fit)
            errors += [(int(chosen[i]), error) for i, error in found]
            if not whole:
                image[torch.from_numpy(chosen)] = _with_channels(target, self.channels)
        return errors

    def _positions(self, indices: Sequence[int] | _Ints) -> _Ints:
        """Return valid indices, none of them negative."""
        wanted = np.asarray(indices, np.int64)
        if len(wanted) == 0:
            raise IndexError("a batch needs at least one index")
        positions = np.where(wanted < 0, wanted + len(self), wanted)
        outside = (positions < 0) | (positions >= len(self))
        if outside.any():
            raise IndexError(f"index {wanted[outside][0]} is out of range for {len(self)} samples")
        return positions

    def _describe(self, position: int) -> str:
        files, frames = self.samples.files(np.array([position]))
        return f"frame {frames[0]} of {os.fsdecode(self.samples.path(int(files[0])))}"

    def _output_tensor(
        self, out: torch.Tensor | None, shape: tuple[int, int, int, int]
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Return the tensor to read into, (n, height, width, samples per pixel).

        In a worker also its buffer in shared memory.
        """
        dtype = getattr(torch, self.dtype)
        if out is not None:
            image = out.permute(0, 2, 3, 1)
            if tuple(image.shape) != shape or image.dtype != dtype or not image.is_contiguous():
                n, height, width, channels = shape
                raise ValueError(
                    f"out must be contiguous, of shape {(n, channels, height, width)} and {dtype}, "
                    f"got {tuple(out.shape)} and {out.dtype}"
                )
            return image, None
        worker = get_worker_info() is not None
        if not worker and torch.cuda.is_available():
            return torch.empty(shape, dtype=dtype, pin_memory=True), None
        if self._pool is None or self._pool.pid != os.getpid():  # after a fork
            self._pool = BufferPool(shared=worker)
        image, buffer = self._pool.acquire(shape, dtype)
        return image, buffer if worker else None

    def _records(self, positions: _Ints, layout: _Records) -> tuple[_Records, _Bools, _Bools]:
        """Return the records for the batch reader, and what else reads which samples.

        These are two arrays: which samples `windowed`, and which `to_rgb` displays.
        """
        records = self.samples.records(positions)
        display = np.zeros(len(positions), bool)
        color = (layout["color"] != 0) & (self.color == "rgb")
        rgb = color & (layout["color"] != COLOR_RGB)
        if not self.rescale:
            records["slope"], records["intercept"] = 1.0, 0.0
        records["slope"][color], records["intercept"][color] = 1.0, 0.0
        if self.window is None:
            return records, display, rgb
        if self.window == "file":
            without = layout["voi"] == 0
            if self.no_window is not None:
                center, width = self.no_window
                records["center"][without], records["width"][without] = center, width
            display = (layout["voi"] == VOI_TABLE) | (without & (self.no_window is None))
            display &= ~color
            records["center"][display], records["width"][display] = 0, 1
            records["function"][display] = _LINEAR
        else:
            records["center"], records["width"] = self.window
            records["function"] = _LINEAR
        # the window that changes nothing
        records["center"][color], records["width"][color] = 127.5, 255.0
        records["function"][color], records["invert"][color] = _LINEAR_EXACT, 0
        if self.dtype != "uint8":
            scale, shift = _window_as_rescale(records)
            records["slope"] *= scale
            records["intercept"] = records["intercept"] * scale + shift
            records["slope"][display], records["intercept"][display] = 1 / 255, 0.0
        return records, display, rgb

    def _conversion(self) -> tuple[Conversion, torch.dtype]:
        """Return the conversion of the batch reader, and the dtype of its result."""
        if self.window is not None and self.dtype == "uint8":
            return "window", torch.uint8
        if not self.rescale and self.dtype in _INTEGERS:
            return "stored", getattr(torch, self.dtype)
        return "rescale", torch.float32

    def _read_converted(
        self,
        positions: _Ints,
        records: _Records,
        display: _Bools,
        rgb: _Bools,
        sizes: _Ints,
        image: torch.Tensor,
        fit: bool,
    ) -> Errors:
        """Read samples into `image`, cropped and padded if `fit`."""
        convert, dtype = self._conversion()
        raw = image if image.dtype == dtype else empty_tensor(image.shape, dtype)
        threads = self.threads or (cpu_count() if get_worker_info() is None else 1)
        errors = read_batch(
            self.samples,
            positions,
            records,
            raw.numpy(),
            convert,
            tables=self.rescale,
            display=display,
            rgb=rgb,
            fit=fit,
            pad=self.pad,
            threads=threads,
        )
        if self.window is not None and convert == "rescale":
            for i in np.flatnonzero(records["function"] == _SIGMOID).tolist():
                rows = center_slices(int(sizes[i, 0]), raw.shape[1])[1]
                columns = center_slices(int(sizes[i, 1]), raw.shape[2])[1]
                raw[i, rows, columns].sigmoid_()
            raw.clamp_(0, 1)
        if raw is not image:
            image.copy_(cast(raw, image.dtype))
        return errors

    def _read_resized(
        self,
        positions: _Ints,
        records: _Records,
        display: _Bools,
        rgb: _Bools,
        sizes: _Ints,
        image: torch.Tensor,
    ) -> Errors:
        """Read samples into `image`, resized, those of one size together."""
        errors: Errors = []
        for size in np.unique(sizes, axis=0):
            chosen = np.flatnonzero((sizes == size).all(1))
            dtype = self._conversion()[1]
            raw = empty_tensor((len(chosen), *size.tolist(), image.shape[3]), dtype)
            found = self._read_converted(
                positions[chosen],
                records[chosen],
                display[chosen],
                rgb[chosen],
                sizes[chosen],
                raw,
                False,
            )
            errors += [(int(chosen[i]), error) for i, error in found]
            if tuple(size) != tuple(image.shape[1:3]):
                raw = torch.nn.functional.interpolate(
                    raw.permute(0, 3, 1, 2).float(),
                    image.shape[1:3],
                    mode="bilinear",
                    antialias=True,
                ).permute(0, 2, 3, 1)
            image[torch.from_numpy(chosen)] = cast(raw, image.dtype)
        return errors


def _check_window(window: Window | None) -> Window | None:
    if window is None or window == "file":
        return window
    if isinstance(window, str):
        raise ValueError(f"window must be (center, width), 'file' or None, got {window!r}")
    return _check_numbers(window)


def _check_numbers(window: tuple[float, float]) -> tuple[float, float]:
    center, width = map(float, window)
    if not (np.isfinite(center) and 1 <= width < np.inf):
        raise ValueError(f"window must be (center, width) with a width of at least 1, got {window}")
    return center, width


def _check_size(size: tuple[int, int] | None) -> tuple[int, int] | None:
    if size is None:
        return None
    height, width = size
    if height < 1 or width < 1:
        raise ValueError(f"size must be (height, width) of at least 1, got {size}")
    return int(height), int(width)


def _window_as_rescale(
    records: _Records,
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return the (scale, shift) of modality values that is equal to a window.

    The result is 0 to 1 between the ends of the window and must be clamped; for
    SIGMOID it is the argument of the logistic function (PS3.3 C.11.2.1.2,
    C.11.2.1.3).
    """
    center, width, function = records["center"], records["width"], records["function"]
    exact = np.maximum(width, np.finfo(float).tiny)
    linear = np.maximum(width - 1, 1e-6)  # a window of width 1 is a step
    scale = np.choose(function, [1 / linear, 1 / exact, 4 / exact])
    shift = np.choose(
        function,
        [
            np.where(width == 1, 0, 0.5) - (center - 0.5) * scale,
            0.5 - center * scale,
            -center * scale,
        ],
    )
    inverted = records["invert"] != 0
    top = np.where(function == _SIGMOID, 0, 1)
    return np.where(inverted, -scale, scale), np.where(inverted, top - shift, shift)


def _with_channels(values: torch.Tensor, channels: int) -> torch.Tensor:
    """Return images of 1 or 3 samples, (n, height, width, samples), with other channels."""
    if values.shape[3] == channels:
        return values
    if values.shape[3] == 1:
        return values.expand(*values.shape[:3], channels)
    gray = values.double() @ torch.tensor([[part] for part in _LUMA], dtype=torch.float64)
    return cast(gray, values.dtype)


def cast(values: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Return values, float32 or float64, in another dtype; for integers rounded and clamped."""
    if dtype.is_floating_point or values.dtype == dtype:
        return values.to(dtype)
    limits = torch.iinfo(dtype)
    top = np.array(limits.max, np.float32 if values.dtype == torch.float32 else np.float64)
    if int(top) > limits.max:  # rounded up, as that of int32 is in float32
        top = np.nextafter(top, np.zeros_like(top))
    return values.round().clamp(limits.min, float(top)).to(dtype)
