"""A reader for TorchIO: ``torchio.ScalarImage(folder, reader=fastdcm.ml.torchio.read)``."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from fastdcm.volume.volume import read_volume

if TYPE_CHECKING:
    import torch


def read(
    path: str | os.PathLike[str], **options: Any
) -> tuple[torch.Tensor, npt.NDArray[np.float64]]:
    """Read a DICOM file, or the series in a folder, for TorchIO.

    Parameters
    ----------
    path : path
        File or folder.
    **options
        Keyword arguments of `fastdcm.read_volume`, bound with functools.partial.
        ``on_problem="split"`` is not possible.

    Returns
    -------
    image : (channels, x, y, z) torch.Tensor
        Modality values, unless ``rescale=False``. The positions of axes that `dims` adds
        are channels.
    affine : (4, 4) float64 array
        To mm in RAS.

    Raises
    ------
    ImportError
        Without torch.
    ValueError
        For ``on_problem="split"``.
    VolumeError
        For a folder that is not one volume.
    DicomError
        For files that cannot be read.

    Examples
    --------
    >>> image = torchio.ScalarImage("series", reader=read)  # doctest: +SKIP
    """
    try:
        import torch
    except ImportError:
        raise ImportError("the reader needs torch: pip install 'fastdcm-dicom[ml]'") from None
    if options.get("on_problem") == "split":
        raise ValueError("on_problem='split' returns several volumes, but TorchIO reads one")
    volume = read_volume(os.fspath(path), **options)
    array = volume.array if volume.dims[-1] == "channel" else volume.array[..., None]
    array = array.reshape(-1, *array.shape[-4:])  # axes before z, such as time
    if array.dtype.kind == "u" and array.dtype.itemsize > 1:
        # torch has few operations for larger unsigned types
        array = array.astype(np.int32 if array.itemsize == 2 else np.int64)
    array = array.transpose(0, 4, 3, 2, 1)
    array = np.ascontiguousarray(array.reshape(-1, *array.shape[2:]))
    return torch.from_numpy(array), volume.ras
