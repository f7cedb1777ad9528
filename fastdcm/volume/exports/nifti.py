"""Make NIfTI images of arrays with geometry, with nibabel."""

from __future__ import annotations

import gzip
import io
import os
from typing import IO, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from fastdcm._util.atomic import write_atomically
from fastdcm.errors import DicomError
from fastdcm.volume.values.diffusion import fsl_directions

Path = str | bytes | os.PathLike[str] | os.PathLike[bytes]
_Array = npt.NDArray[Any]
_Floats = npt.NDArray[np.float64]

_RGB = np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")])
_MAX_NIFTI1 = 32767  # its lengths are int16


class Header(NamedTuple):
    """What the header of a NIfTI image says besides the affine.

    Attributes
    ----------
    positioned : bool
        Whether the affine is in the coordinates of the patient; it is the
        scanner code of the header.
    dims : tuple of str
        The axes of the array, with "channel" for the samples of a color.
    units : dict of str to str
        Of the values along axes.
    time_step : float or None
        Seconds between the volumes of a series; None: not known, or not constant.
    scale : (float, float) or None
        Slope and intercept that gave the values of the array.
    """

    positioned: bool
    dims: tuple[str, ...]
    units: dict[str, str]
    time_step: float | None = None
    scale: tuple[float, float] | None = None


def nifti_image(array: _Array, ras: _Floats, header: Header, *, compact: bool) -> Any:
    """Return a nibabel image of an array.

    Parameters
    ----------
    array : ([...,] slices, rows, columns[, samples]) array
        Not copied unless its values are stored in another type.
    ras : (4, 4) float64 array
        From (column, row, slice, 1) to mm in RAS.
    header : Header
    compact : bool
        For a file: int16 with a slope and intercept where the stored values allow it.
        nibabel applies the slope to images from files only.

    Returns
    -------
    nibabel.Nifti1Image
        Indexed (column, row, slice[, ...]); three uint8 samples are RGB24. Its qform
        is set unless the affine has a shear, which a qform cannot hold. A
        nibabel.Nifti2Image where an axis is longer than 32767.

    Raises
    ------
    ImportError
        Without nibabel.
    DicomError
        "volume" for samples that NIfTI cannot hold.
    """
    try:
        import nibabel
    except ImportError:
        raise ImportError("NIfTI needs nibabel: pip install 'fastdcm-dicom[volume]'") from None
    spatial = header.dims
    slope, intercept = 1.0, 0.0
    if header.dims[-1] == "channel":
        if array.shape[-1] != 3 or array.dtype != np.uint8:
            raise DicomError(
                f"NIfTI cannot hold pixels of {array.shape[-1]} samples of {array.dtype}: "
                "only 3 of uint8",
                "volume",
            )
        array = np.ascontiguousarray(array).view(_RGB)[..., 0]
        spatial = header.dims[:-1]
    elif compact:
        array, slope, intercept = _as_int16(array, header.scale)
    kind = nibabel.Nifti1Image if max(array.shape) <= _MAX_NIFTI1 else nibabel.Nifti2Image
    # a NIfTI image begins with x, y, z, and time comes before other axes
    axes = _axes(spatial)
    image = kind(array.transpose(axes), ras, dtype=array.dtype)
    if (slope, intercept) != (1.0, 0.0):
        image.header.set_slope_inter(slope, intercept)
    code = 1 if header.positioned else 0
    image.set_sform(ras, code)
    directions = ras[:3, :3] / np.linalg.norm(ras[:3, :3], axis=0)
    has_shear = not np.allclose(directions.T @ directions, np.eye(3), atol=1e-4)
    image.set_qform(None if has_shear else ras, 0 if has_shear else code)
    fourth = spatial[axes[3]] if len(axes) > 3 else ""
    step = header.time_step if fourth in ("t", "b") else None
    is_time = fourth == "t" or step is not None or header.units.get(fourth) == "s"
    image.header.set_xyzt_units("mm", "sec" if is_time else None)
    if fourth:
        zooms = list(image.header.get_zooms())
        zooms[3] = step or 0.0
        image.header.set_zooms(zooms)
    return image


def _axes(dims: tuple[str, ...]) -> list[int]:
    """Return the axes of an array in the order of NIfTI: x, y, z, t, and the others."""
    last = len(dims) - 1
    others = [i for i in range(last - 3, -1, -1) if dims[i] != "t"]
    time = [i for i in range(last - 2) if dims[i] == "t"]
    return [last, last - 1, last - 2, *time, *others]


def _as_int16(array: _Array, scale: tuple[float, float] | None) -> tuple[_Array, float, float]:
    """Return the values as int16 with slope and intercept, where nothing is lost."""
    limits = np.iinfo(np.int16)
    if array.dtype == np.uint16 and array.size and array.max() <= limits.max:
        return array.astype(np.int16), 1.0, 0.0
    if array.dtype != np.float32 or scale is None or not array.size:
        return array, 1.0, 0.0
    # NIfTI-1 has both as float32, and a slope of 0 is none
    with np.errstate(over="ignore"):
        slope, intercept = (float(np.float32(value)) for value in scale)
    if slope == 0 or not np.isfinite([slope, intercept]).all():
        return array, 1.0, 0.0
    lowest, highest = float(array.min()), float(array.max())
    ends = sorted([(lowest - intercept) / slope, (highest - intercept) / slope])
    if not limits.min - 0.5 < ends[0] <= ends[1] < limits.max + 0.5:  # also for NaN
        return array, 1.0, 0.0
    out = np.empty(array.shape, np.int16)
    largest = max(abs(lowest), abs(highest), abs(intercept))
    for cells, stored in zip(array, out, strict=True):
        exact = (cells.astype(np.float64) - intercept) / slope
        stored[...] = np.rint(exact)
        if np.abs(stored * slope + intercept - cells).max() > 1e-6 * largest:
            return array, 1.0, 0.0  # these are not the values that were read
    return out, slope, intercept


def write_nifti(image: Any, path: Path) -> None:
    """Write a nibabel image to a file, atomically.

    Parameters
    ----------
    image : nibabel.Nifti1Image
    path : path
        Compressed if it ends in ``.gz``. The same image always gives the same
        bytes.
    """
    path = os.fspath(path)
    compress = os.fsdecode(path).lower().endswith(".gz")

    def fill(out: IO[bytes]) -> None:
        if not compress:
            image.to_stream(out)
            return
        # mtime=0: the time of writing would make each file different
        with (
            gzip.GzipFile(filename="", mode="wb", fileobj=out, compresslevel=1, mtime=0) as packed,
            io.BufferedWriter(packed, 1 << 20) as buffered,
        ):
            image.to_stream(buffered)

    write_atomically(path, fill)


def write_gradients(
    path: Path, b_values: _Floats, directions: _Floats | None, ras: _Floats
) -> None:
    """Write b-values and gradient directions next to a NIfTI file, as FSL reads them.

    Parameters
    ----------
    path : path
        Of the image; ``.bval`` and ``.bvec`` replace its suffix.
    b_values : (n,) float64 array
        In s/mm2.
    directions : (n, 3) float64 array or None
        In LPS, NaN for none. None: no ``.bvec`` is written.
    ras : (4, 4) float64 array
        The affine of the image.
    """
    base = os.fsdecode(os.fspath(path))
    for suffix in (".gz", ".nii"):
        if base.lower().endswith(suffix):
            base = base[: -len(suffix)]
    _write_rows(base + ".bval", [b_values])
    if directions is not None:
        _write_rows(base + ".bvec", fsl_directions(directions, ras).T)


def _write_rows(path: str, rows: Any) -> None:
    text = "".join(" ".join(f"{value:.6g}" for value in row) + "\n" for row in rows)
    write_atomically(path, lambda out: out.write(text.encode()))
