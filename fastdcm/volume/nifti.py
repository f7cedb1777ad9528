"""Make NIfTI images of arrays with geometry, with nibabel."""

from __future__ import annotations

import gzip
import io
import os
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from fastdcm._util.atomic import write_atomically
from fastdcm.errors import DicomError

Path = str | bytes | os.PathLike[str] | os.PathLike[bytes]

_RGB = np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")])


def nifti_image(array: npt.NDArray[Any], ras: npt.NDArray[np.float64], *, positioned: bool) -> Any:
    """Return a nibabel image of an array.

    Parameters
    ----------
    array : (slices, rows, columns[, samples]) array
        Not copied if it has no samples axis.
    ras : (4, 4) float64 array
        From (column, row, slice, 1) to mm in RAS.
    positioned : bool
        Whether the affine is in the coordinates of the patient; it is the
        scanner code of the header.

    Returns
    -------
    nibabel.Nifti1Image
        Indexed (column, row, slice); three uint8 samples are RGB24. Its qform
        is set unless the affine has a shear, which a qform cannot hold.

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
    if array.ndim == 4:
        if array.shape[3] != 3 or array.dtype != np.uint8:
            raise DicomError(
                f"NIfTI cannot hold pixels of {array.shape[3]} samples of {array.dtype}: "
                "only 3 of uint8",
                "volume",
            )
        array = np.ascontiguousarray(array).view(_RGB)[..., 0]
    image = nibabel.Nifti1Image(array.transpose(2, 1, 0), ras, dtype=array.dtype)
    code = 1 if positioned else 0
    image.set_sform(ras, code)
    axes = ras[:3, :3] / np.linalg.norm(ras[:3, :3], axis=0)
    has_shear = not np.allclose(axes.T @ axes, np.eye(3), atol=1e-4)
    image.set_qform(None if has_shear else ras, 0 if has_shear else code)
    image.header.set_xyzt_units("mm")
    return image


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
