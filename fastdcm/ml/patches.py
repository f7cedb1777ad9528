"""A dataset for torch of 3-D patches of volumes, which reads only the slices of a patch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from fastdcm.errors import DicomError, Finding
from fastdcm.ml.datasets import cast
from fastdcm.volume.array import Conversion, read_array
from fastdcm.volume.dimensions import Joined
from fastdcm.volume.result import VolumeError
from fastdcm.volume.slices import SourceImage, VolumeSource
from fastdcm.volume.values.colors import ColorMode
from fastdcm.volume.volume import (
    Options,
    affine_of,
    arrays_of_images,
    path_of,
    read_images,
    series_of,
)

try:
    import torch
    from torch.utils.data import Dataset, get_worker_info
except ImportError:
    raise ImportError("the datasets need torch: pip install 'fastdcm-dicom[ml]'") from None

_Array = npt.NDArray[Any]
_Start = tuple[int, int, int]


class DicomPatchDataset(Dataset):
    """A map-style dataset for torch: 3-D patches of the series of a source.

    The headers of all files are read first. A patch reads the slices that it needs, and no
    others. A sample is a dict: ``"image"``, a tensor of shape (channels, depth, height,
    width), ``"index"``, its index in the dataset, ``"volume"``, the number of its volume,
    ``"start"``, its first (slice, row, column) in the volume, and ``"affine"``, a (4, 4)
    tensor from (column, row, slice) of the patch to mm in LPS.

    Parameters
    ----------
    source : path, Dataset, or iterable of either
        As of `fastdcm.read_volumes`: every series is a volume.
    patch : (depth, height, width)
        The size of a patch, in cells.
    per_volume : int or None
        Number of patches of each volume, at random positions, which `set_epoch` changes.
        None: as many as cover the volume, side by side.
    seed : int
        The positions depend on `seed`, the epoch and the index.
    dtype : str or torch.dtype
        Of the images. Values are rounded and clamped to an integer dtype, as `pad` is.
    rescale : bool
        True: modality values (PS3.3 C.11.1). False: stored values.
    color : "rgb", "raw" or "error"
        As of `fastdcm.read_volume`.
    pad : float
        The value of cells outside the volume, where it is smaller than a patch.
    transform : callable or None
        Function of an image (channels, depth, height, width) that returns a tensor.
    on_problem : "skip" or "raise"
        Series that are not one volume are left out, or raise their VolumeError now.
    tolerance : float
        As of `fastdcm.read_volume`.
    threads : int or None
        None: one in a worker of a DataLoader, else one for each CPU.

    Attributes
    ----------
    volumes : list of dict
        For each volume ``"series_instance_uid"`` and ``"shape"`` (slices, rows, columns).
    left_out : list of VolumeError
        The series that are not one volume.

    Raises
    ------
    ValueError
        For invalid arguments, and a source without a volume.
    VolumeError
        With ``on_problem="raise"``.
    DicomError
        While a patch is read.

    Examples
    --------
    >>> data = DicomPatchDataset("study", (32, 96, 96), per_volume=4)  # doctest: +SKIP
    >>> DataLoader(data, batch_size=2, num_workers=4)  # doctest: +SKIP
    """

    def __init__(
        self,
        source: VolumeSource,
        patch: tuple[int, int, int],
        *,
        per_volume: int | None = None,
        seed: int = 0,
        dtype: str | torch.dtype = "float32",
        rescale: bool = True,
        color: ColorMode = "rgb",
        pad: float = 0.0,
        transform: Callable[[torch.Tensor], torch.Tensor] | None = None,
        on_problem: Literal["skip", "raise"] = "skip",
        tolerance: float = 0.0,
        threads: int | None = None,
    ) -> None:
        if len(patch) != 3 or min(patch) < 1:
            raise ValueError(f"patch must be (depth, height, width) of at least 1, got {patch}")
        if per_volume is not None and per_volume < 1:
            raise ValueError(f"per_volume must be at least 1, or None, got {per_volume}")
        if on_problem not in ("skip", "raise"):
            raise ValueError(f"on_problem must be 'skip' or 'raise', got {on_problem!r}")
        self.patch: _Start = (int(patch[0]), int(patch[1]), int(patch[2]))
        self.per_volume = per_volume
        self.seed = seed
        self.dtype = getattr(torch, str(dtype).removeprefix("torch."))
        self.conversion = Conversion(rescale, color)
        self.pad = float(pad)
        self.transform = transform
        self.threads = threads
        options = Options(color=color, tolerance=tolerance, threads=threads)
        self._arrays, self.left_out = _arrays_of(source, options)
        if self.left_out and on_problem == "raise":
            raise self.left_out[0]
        if not self._arrays:
            raise ValueError(
                f"there is no volume: {self.left_out[0]}" if self.left_out else "there is no volume"
            )
        self._shapes = [_shape(one) for one in self._arrays]
        self.volumes: list[dict[str, Any]] = [
            {"series_instance_uid": series_of(one.slices[0].image), "shape": shape}
            for one, shape in zip(self._arrays, self._shapes, strict=True)
        ]
        counts = [per_volume or int(np.prod(self._tiles(shape))) for shape in self._shapes]
        self._first = np.concatenate([[0], np.cumsum(counts)])
        self._epoch = torch.zeros(1, dtype=torch.int64).share_memory_()

    def _tiles(self, shape: _Start) -> _Start:
        """Return how many patches side by side cover a volume along each axis."""
        z, y, x = (-(-size // step) for size, step in zip(shape, self.patch, strict=True))
        return z, y, x

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch, which determines random positions.

        Parameters
        ----------
        epoch : int
        """
        self._epoch[0] = epoch

    def __len__(self) -> int:
        return int(self._first[-1])

    def _place(self, index: int) -> tuple[int, _Start]:
        """Return the volume of a patch, and its first slice, row and column."""
        volume = int(np.searchsorted(self._first, index, "right")) - 1
        shape = self._shapes[volume]
        if self.per_volume is None:
            number = index - int(self._first[volume])
            tile = np.unravel_index(number, self._tiles(shape))
            # the last ones end with the volume
            starts = [
                max(min(int(i) * step, size - step), 0)
                for i, step, size in zip(tile, self.patch, shape, strict=True)
            ]
        else:
            random = np.random.default_rng([self.seed, int(self._epoch[0]), index])
            starts = [
                int(random.integers(max(size - step, 0) + 1))
                for step, size in zip(self.patch, shape, strict=True)
            ]
        return volume, (starts[0], starts[1], starts[2])

    def __getitem__(self, index: int) -> dict[str, Any]:
        position = index + len(self) if index < 0 else index
        if not 0 <= position < len(self):
            raise IndexError(f"index {index} is out of range for {len(self)} patches")
        volume, start = self._place(position)
        joined = self._arrays[volume]
        (z, y, x), (depth, height, width) = start, self.patch
        threads = self.threads or (None if get_worker_info() is None else 1)
        cells = read_array(joined.slices[z : z + depth], self.conversion, threads)
        cells = cells[:, y : y + height, x : x + width]
        if cells.ndim == 3:
            cells = cells[..., None]
        pad = cast(torch.tensor(self.pad, dtype=torch.float64), self.dtype)
        image = pad.expand(cells.shape[3], *self.patch).clone()
        found = _tensor(np.ascontiguousarray(cells.transpose(3, 0, 1, 2)), self.dtype)
        image[:, : cells.shape[0], : cells.shape[1], : cells.shape[2]] = found
        affine = affine_of(joined.stacks[0])
        affine[:3, 3] += affine[:3, :3] @ (x, y, z)
        return {
            "image": image if self.transform is None else self.transform(image),
            "index": position,
            "volume": volume,
            "start": torch.tensor(start),
            "affine": torch.from_numpy(affine),
        }


def _tensor(array: _Array, dtype: torch.dtype) -> torch.Tensor:
    """Return an array as a tensor; for another dtype of integers rounded and clamped."""
    values = torch.from_numpy(array)
    if dtype.is_floating_point or values.dtype == dtype:
        return values.to(dtype)
    return cast(torch.from_numpy(array.astype(np.float64)), dtype)


def _arrays_of(source: VolumeSource, options: Options) -> tuple[list[Joined], list[VolumeError]]:
    """Return the slices of each series, and the series that are not one volume."""
    findings: list[Finding] = []
    by_series: dict[str | None, list[SourceImage]] = {}
    for image in read_images(source, options, findings):
        by_series.setdefault(series_of(image), []).append(image)
    arrays: list[Joined] = []
    left_out: list[VolumeError] = []
    path = path_of(source)
    for uid, images in by_series.items():
        try:
            arrays += arrays_of_images(images, options, [], path, uid)
        except VolumeError as error:
            left_out.append(error)
        except DicomError as error:
            found = Finding("bad-image", str(error), True, {"errors": [error]})
            left_out.append(VolumeError([found], path, uid))
    return arrays, left_out


def _shape(joined: Joined) -> _Start:
    slices: Sequence[Any] = joined.slices
    return len(slices), slices[0].rows, slices[0].columns
