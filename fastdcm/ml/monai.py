"""A reader for MONAI: ``LoadImage(reader=FastdcmReader())``."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from fastdcm.errors import DicomError
from fastdcm.volume.volume import Volume, read_volume

try:
    from monai.data import ImageReader
    from monai.utils import MetaKeys, SpaceKeys
except ImportError:
    raise ImportError("the reader needs MONAI: pip install monai") from None

_Path = str | os.PathLike[str]
_SUFFIXES = (".dcm", ".dicom", ".ima", "")


class FastdcmReader(ImageReader):
    """Reads a DICOM file, or the series in a folder, with `fastdcm.read_volume`.

    Images are indexed (x, y, z[, channel]), a single slice (x, y[, channel]).
    They have modality values unless ``rescale=False``. The findings of
    `read_volume` are in the metadata as ``"findings"``, a list of str.

    Parameters
    ----------
    affine_lps_to_ras : bool
        True: the affine is to RAS, as with MONAI's other readers. False: to LPS.
    **options
        Keyword arguments of `read_volume` (``on_problem``, ``rescale``,
        ``threads``). ``on_problem="split"`` is not possible.

    Raises
    ------
    ValueError
        For ``on_problem="split"``.
    VolumeError
        While reading, for a folder that is not one volume.
    DicomError
        While reading, for files that cannot be read.

    Examples
    --------
    >>> from monai.transforms import LoadImage  # doctest: +SKIP
    >>> image = LoadImage(reader=FastdcmReader())("series")  # doctest: +SKIP
    """

    def __init__(self, *, affine_lps_to_ras: bool = True, **options: Any) -> None:
        super().__init__()
        if options.get("on_problem") == "split":
            raise ValueError("on_problem='split' returns several volumes, but MONAI reads one")
        self.affine_lps_to_ras = affine_lps_to_ras
        self.options = options

    def verify_suffix(self, filename: _Path | Sequence[_Path]) -> bool:
        """Return whether all paths are folders, or files with a suffix of DICOM or none.

        Parameters
        ----------
        filename : path or sequence of paths

        Returns
        -------
        bool
        """
        names = [filename] if isinstance(filename, (str, os.PathLike)) else filename
        return all(
            os.path.isdir(name) or os.path.splitext(os.fspath(name))[1].lower() in _SUFFIXES
            for name in names
        )

    def read(self, data: _Path | Sequence[_Path], **kwargs: Any) -> Volume | list[Volume]:
        """Read one volume, or several that are the channels of one image.

        Parameters
        ----------
        data : path or sequence of paths
        **kwargs
            Keyword arguments of `read_volume`, which replace those of the reader.

        Returns
        -------
        Volume or list of Volume
            A list for several paths.
        """
        options = {**self.options, **kwargs}
        paths = [data] if isinstance(data, (str, os.PathLike)) else data
        volumes: list[Volume] = [read_volume(os.fspath(path), **options) for path in paths]
        return volumes[0] if len(volumes) == 1 else volumes

    def get_data(self, img: Volume | Sequence[Volume]) -> tuple[npt.NDArray[Any], dict[str, Any]]:
        """Return the array and the metadata of what `read` returned.

        Parameters
        ----------
        img : Volume or sequence of Volume

        Returns
        -------
        array : (x, y[, z][, channel]) or (channel, x, y[, z]) array
        metadata : dict

        Raises
        ------
        DicomError
            "volume" where several volumes differ in shape or affine.
        """
        volumes = [img] if isinstance(img, Volume) else img
        first = volumes[0]
        arrays = [np.ascontiguousarray(_xyz(volume)) for volume in volumes]
        for volume, array in zip(volumes, arrays, strict=True):
            if array.shape != arrays[0].shape or not np.allclose(volume.affine, first.affine):
                raise DicomError(
                    "volumes must have the same shape and affine to be channels of one image",
                    "volume",
                )
        affine = first.ras if self.affine_lps_to_ras else first.affine
        has_color = first.array.ndim == 4
        shape = arrays[0].shape[:-1] if has_color else arrays[0].shape
        meta = {
            MetaKeys.ORIGINAL_AFFINE: affine,
            MetaKeys.AFFINE: affine.copy(),
            MetaKeys.SPACE: SpaceKeys.RAS if self.affine_lps_to_ras else SpaceKeys.LPS,
            MetaKeys.SPATIAL_SHAPE: np.array(shape),
            MetaKeys.ORIGINAL_CHANNEL_DIM: -1 if has_color else float("nan"),
            "spacing": np.array(first.spacing[: len(shape)]),
            "findings": [str(finding) for volume in volumes for finding in volume.findings],
        }
        if len(arrays) == 1:
            return arrays[0], meta
        if has_color:
            return np.concatenate(arrays, -1), meta
        meta[MetaKeys.ORIGINAL_CHANNEL_DIM] = 0
        return np.stack(arrays), meta


def _xyz(volume: Volume) -> npt.NDArray[Any]:
    """Return an array indexed (x, y, z[, channel]), without z for a single slice."""
    array = volume.array
    array = array.transpose(2, 1, 0, *range(3, array.ndim))
    return array[:, :, 0] if array.shape[2] == 1 else array
