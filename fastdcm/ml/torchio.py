"""A reader for TorchIO: ``torchio.ScalarImage(folder, reader=fastdcm.ml.torchio.read)``."""

import os

import numpy as np

from fastdcm.volume.volume import read_volume


def read(path, **options):
    """A DICOM file, or the series in a folder, as TorchIO wants it.

    path : file or folder. options : those of `fastdcm.read_volume`, bound with
    functools.partial; "split" is not among them.

    Returns (tensor of shape (channels, x, y, z), affine of shape (4, 4) to RAS).
    Values are of the modality, float32, unless ``rescale=False``. Raises
    VolumeError for a folder that is not one volume, DicomError for what cannot
    be read.
    """
    try:
        import torch
    except ImportError:
        raise ImportError("the reader needs torch: pip install 'fastdcm-dicom[ml]'") from None
    if options.get("on_problem") == "split":
        raise ValueError("on_problem='split' gives several volumes, a reader one image")
    volume = read_volume(os.fspath(path), **options)
    array = volume.array[..., None] if volume.array.ndim == 3 else volume.array
    if array.dtype.kind == "u" and array.dtype.itemsize > 1:
        array = array.astype(
            np.int32 if array.itemsize == 2 else np.int64
        )  # torch computes with few unsigned
    return torch.from_numpy(np.ascontiguousarray(array.transpose(3, 2, 1, 0))), volume.ras
