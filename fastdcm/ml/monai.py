"""A reader for MONAI: ``LoadImage(reader=FastdcmReader())``."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from fastdcm.errors import DicomError
from fastdcm.scanning.scanner import scan
from fastdcm.volume.volume import Volume, read_volume

try:
    from monai.data import ImageReader
    from monai.utils import MetaKeys, SpaceKeys
except ImportError:
    raise ImportError("the reader needs MONAI: pip install monai") from None

_Path = str | os.PathLike[str]
_SUFFIXES = (".dcm", ".dicom", ".ima", "")
_SERIES = "SeriesInstanceUID"


class _Failed:
    """What `FastdcmReader.read` returns for a source that it refuses.

    LoadImage continues with another reader, with another affine, when `read` raises; so the
    error is raised by `get_data`.
    """

    def __init__(self, error: Exception) -> None:
        self.error = error


class FastdcmReader(ImageReader):
    """Reads a DICOM file, or the series in a folder, with `fastdcm.read_volume`.

    Images are indexed (x, y, z[, channel]), a single slice (x, y[, channel]), those with
    an axis of time, cardiac phase or b-value (x, y[, z], t[, channel]). They have
    modality values unless ``rescale=False``. The findings of `read_volume` are in the
    metadata as ``"findings"``, a list of str.

    What `read_volume` refuses is an error of LoadImage: it does not fall back to another
    reader.

    Parameters
    ----------
    affine_lps_to_ras : bool
        True: the affine is to RAS, as with MONAI's other readers. False: to LPS.
    **options
        Keyword arguments of `read_volume`. ``dims`` is "auto" unless it is given;
        ``on_problem="split"`` is not possible.

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
        self.options: dict[str, Any] = {"dims": "auto", **options}

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

    def read(
        self, data: _Path | Sequence[_Path], **kwargs: Any
    ) -> Volume | _Failed | list[Volume | _Failed]:
        """Read one volume, or several that are the channels of one image.

        Parameters
        ----------
        data : path or sequence of paths
            Several files of one series, such as its slices, are one volume; other paths
            are one each.
        **kwargs
            Keyword arguments of `read_volume`, which replace those of the reader.

        Returns
        -------
        Volume or list of Volume
            A list for several volumes. What cannot be read is raised by `get_data`.
        """
        options = {**self.options, **kwargs}
        paths = [data] if isinstance(data, (str, os.PathLike)) else list(data)
        names = [os.fspath(path) for path in paths]
        sources: list[str | list[str]] = [*names]
        if len(names) > 1 and _are_one_series(names):
            sources = [names]
        volumes = [_read(source, options) for source in sources]
        return volumes[0] if len(volumes) == 1 else volumes

    def get_data(
        self, img: Volume | _Failed | Sequence[Volume | _Failed]
    ) -> tuple[npt.NDArray[Any], dict[str, Any]]:
        """Return the array and the metadata of what `read` returned.

        Parameters
        ----------
        img : Volume or sequence of Volume

        Returns
        -------
        array : (x, y[, z][, t][, channel]) or (channel, x, y[, z][, t]) array
        metadata : dict

        Raises
        ------
        DicomError, FileNotFoundError, ValueError
            What `read` was refused; "volume" where several volumes differ in shape or
            affine.
        """
        volumes: list[Volume] = []
        for one in [img] if isinstance(img, (Volume, _Failed)) else img:
            if isinstance(one, _Failed):
                raise one.error
            volumes.append(one)
        first = volumes[0]
        arrays = [np.ascontiguousarray(_xyz(volume)) for volume in volumes]
        for volume, array in zip(volumes, arrays, strict=True):
            if array.shape != arrays[0].shape or not np.allclose(volume.affine, first.affine):
                raise DicomError(
                    "volumes must have the same shape and affine to be channels of one image",
                    "volume",
                )
        affine = first.ras if self.affine_lps_to_ras else first.affine
        has_color = first.dims[-1] == "channel"
        shape = arrays[0].shape[:-1] if has_color else arrays[0].shape
        meta = {
            MetaKeys.ORIGINAL_AFFINE: affine,
            MetaKeys.AFFINE: affine.copy(),
            MetaKeys.SPACE: SpaceKeys.RAS if self.affine_lps_to_ras else SpaceKeys.LPS,
            MetaKeys.SPATIAL_SHAPE: np.array(shape),
            MetaKeys.ORIGINAL_CHANNEL_DIM: -1 if has_color else float("nan"),
            "spacing": np.array(first.spacing[: min(len(shape), 3)]),
            "findings": [str(finding) for volume in volumes for finding in volume.findings],
        }
        if len(arrays) == 1:
            return arrays[0], meta
        if has_color:
            return np.concatenate(arrays, -1), meta
        meta[MetaKeys.ORIGINAL_CHANNEL_DIM] = 0
        return np.stack(arrays), meta


def _read(source: str | list[str], options: dict[str, Any]) -> Volume | _Failed:
    try:
        volume: Volume = read_volume(source, **options)
        return volume
    except Exception as error:  # of any class: see _Failed
        return _Failed(error)


def _are_one_series(names: list[str]) -> bool:
    """Return whether all paths are files of one series."""
    if len(set(names)) < len(names) or any(os.path.isdir(name) for name in names):
        return False
    found = {uid for batch in scan(names, [_SERIES]) for uid in batch.column(_SERIES)}
    return len(found) == 1 and None not in found


def _xyz(volume: Volume) -> npt.NDArray[Any]:
    """Return an array indexed (x, y, z[, t][, channel]), without z for a single slice."""
    array = volume.array
    color = array.ndim - 1 if volume.dims[-1] == "channel" else array.ndim
    space = color - 3  # axes before z
    order = [space + 2, space + 1, space, *range(space), *range(color, array.ndim)]
    array = array.transpose(order)
    return array[:, :, 0] if array.shape[2] == 1 else array
