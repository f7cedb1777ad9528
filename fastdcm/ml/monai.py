"""A reader for MONAI: ``LoadImage(reader=FastdcmReader())``."""

import os

import numpy as np

from fastdcm.errors import DicomError
from fastdcm.volume.volume import read_volume

try:
    from monai.data import ImageReader
    from monai.utils import MetaKeys, SpaceKeys
except ImportError:
    raise ImportError("the reader needs MONAI: pip install monai") from None

_SUFFIXES = (".dcm", ".dicom", ".ima", "")


class FastdcmReader(ImageReader):
    """Reads a DICOM file, or the series in a folder, with `fastdcm.read_volume`.

    affine_lps_to_ras : the affine to RAS, as MONAI's other readers give it;
        False: LPS.
    options : those of `read_volume` (``on_problem``, ``rescale``, ``threads``);
        "split" is not among what can be one image.

    Images are indexed (x, y, z[, channel]), a single slice (x, y[, channel]).
    Values are of the modality unless ``rescale=False``. What `read_volume` found
    is in the metadata as ``"findings"``, a list of str. Raises VolumeError for a
    folder that is not one volume, DicomError for what cannot be read.
    """

    def __init__(self, *, affine_lps_to_ras=True, **options):
        super().__init__()
        if options.get("on_problem") == "split":
            raise ValueError("on_problem='split' gives several volumes, a reader one image")
        self.affine_lps_to_ras = affine_lps_to_ras
        self.options = options

    def verify_suffix(self, filename):
        names = [filename] if isinstance(filename, (str, os.PathLike)) else filename
        return all(
            os.path.isdir(name) or os.path.splitext(os.fspath(name))[1].lower() in _SUFFIXES
            for name in names
        )

    def read(self, data, **kwargs):
        """A path to a Volume; several paths to a list of them, one a channel."""
        options = {**self.options, **kwargs}
        if isinstance(data, (str, os.PathLike)):
            return read_volume(os.fspath(data), **options)
        volumes = [read_volume(os.fspath(path), **options) for path in data]
        return volumes[0] if len(volumes) == 1 else volumes

    def get_data(self, img):
        """(array, metadata) of what `read` gave."""
        volumes = img if isinstance(img, (list, tuple)) else [img]
        first = volumes[0]
        arrays = [np.ascontiguousarray(self._array(volume)) for volume in volumes]
        for volume, array in zip(volumes, arrays):
            if array.shape != arrays[0].shape or not np.allclose(volume.affine, first.affine):
                raise DicomError(
                    "images that are to be channels of one differ in shape or affine", "volume"
                )
        affine = first.ras if self.affine_lps_to_ras else first.affine
        colour = first.array.ndim == 4
        shape = arrays[0].shape[:-1] if colour else arrays[0].shape
        meta = {
            MetaKeys.ORIGINAL_AFFINE: affine,
            MetaKeys.AFFINE: affine.copy(),
            MetaKeys.SPACE: SpaceKeys.RAS if self.affine_lps_to_ras else SpaceKeys.LPS,
            MetaKeys.SPATIAL_SHAPE: np.array(shape),
            MetaKeys.ORIGINAL_CHANNEL_DIM: -1 if colour else float("nan"),
            "spacing": np.array(first.spacing[: len(shape)]),
            "findings": [str(finding) for volume in volumes for finding in volume.findings],
        }
        if len(arrays) == 1:
            return arrays[0], meta
        if colour:
            return np.concatenate(arrays, -1), meta
        meta[MetaKeys.ORIGINAL_CHANNEL_DIM] = 0
        return np.stack(arrays), meta

    @staticmethod
    def _array(volume):
        array = volume.array
        array = array.transpose(2, 1, 0, *range(3, array.ndim))
        return array[:, :, 0] if array.shape[2] == 1 else array
