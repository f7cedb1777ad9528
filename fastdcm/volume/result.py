"""What `read_volume` returns and raises: `Volume` and `VolumeError`."""

from __future__ import annotations

import os
from typing import Any, overload

import numpy as np
import numpy.typing as npt

from fastdcm.errors import DicomError, Finding
from fastdcm.volume.exports import libraries
from fastdcm.volume.exports.nifti import Header, nifti_image, write_gradients, write_nifti
from fastdcm.volume.separation import Key

_IDENTIFIERS = ("PatientID", "StudyInstanceUID", "SeriesInstanceUID")


class VolumeError(DicomError):
    """A series is not one volume, for the reasons in `findings`.

    Its `code` is "volume".

    Parameters
    ----------
    findings : list of Finding
        Problems and notes.
    filename : str, bytes or None
        The source, if it is a path.
    series_instance_uid : str or None
        The series, where `read_volumes` reads several.

    Examples
    --------
    >>> try:  # doctest: +SKIP
    ...     volume = fastdcm.read_volume("series")
    ... except VolumeError as error:
    ...     print([finding.code for finding in error.findings if finding.problem])
    ['gap']
    """

    def __init__(
        self,
        findings: list[Finding],
        filename: str | bytes | None = None,
        series_instance_uid: str | None = None,
    ) -> None:
        problems = [finding for finding in findings if finding.problem]
        text = "; ".join(map(str, problems or findings)) or "there is no image in the source"
        super().__init__(text, "volume", None, "", filename)
        self.args = (findings, filename, series_instance_uid)
        self.findings = findings
        self.series_instance_uid = series_instance_uid


class Volume:
    """An array of slices with its geometry, as `read_volume` returns it.

    Attributes
    ----------
    array : ([...,] slices, rows, columns[, samples]) array
        Slices ascend along the normal, which is row direction x column direction.
    dims : tuple of str
        The name of each axis: ``("z", "y", "x")``, with "channel" after them for the
        samples of a color, and before them the axes of ``read_volume(..., dims=)``.
    coords : dict of str to array
        The values along axes of `dims`: "t", "echo" and "ti" in s (t from the first
        position), "phase" in s or %, or as numbers, "b" in s/mm2, "flip" in degrees,
        "segment" as numbers; "gradient" is a (n, 3) array of directions in LPS along the
        axis "b", NaN for none.
    coord_units : dict of str to str
        The unit of each of `coords` that has one, as UCUM writes it: "s", "%", "s/mm2",
        "deg".
    affine : (4, 4) float64 array
        From (column, row, slice, 1), the indices of the array from last to
        first, to (x, y, z, 1) in mm, LPS: x increases to the left of the
        patient, y to the back, z to the head (PS3.3 C.7.6.2.1.1).
    positions : (slices, 3) float64 array
        Image Position (Patient) of each slice, NaN where there is none. With
        uneven spacing they are exact where the affine is not.
    tags : dict of str to list
        A value for each slice; always with "path" and "frame" (from 0). Of an array with
        more axes for the slices of each of their positions, the last axis fastest.
    key : dict
        What distinguishes this volume from the others of a split series.
    findings : list of Finding
        Notes and, unless problems were rejected, problems.
    frame_of_reference_uid, series_instance_uid : str or None
    photometric_interpretation : str or None
        Of the array: "RGB" where colors were converted.
    units : str or None
        The unit of values that were converted with ``quantity=``, as UCUM writes it.
    scale : (float, float) or None
        Slope and intercept that gave the values of the array, where they are the same for
        all slices.
    repetition_time : float or None
        Of MR, in s.

    Examples
    --------
    >>> volume = fastdcm.read_volume("CT_small.dcm")  # doctest: +SKIP
    >>> volume  # doctest: +SKIP
    <Volume (1, 128, 128) float32, 0.6615 x 0.6615 x 5 mm, findings: ['single-slice']>
    """

    def __init__(
        self,
        array: npt.NDArray[Any],
        affine: npt.NDArray[np.float64],
        positions: npt.NDArray[np.float64],
        tags: dict[str, list[Any]],
        key: Key,
        findings: list[Finding],
        frame_of_reference_uid: str | None,
        *,
        dims: tuple[str, ...] | None = None,
        coords: dict[str, npt.NDArray[np.float64]] | None = None,
        coord_units: dict[str, str] | None = None,
        series_instance_uid: str | None = None,
        photometric_interpretation: str | None = None,
        units: str | None = None,
        scale: tuple[float, float] | None = None,
        repetition_time: float | None = None,
    ) -> None:
        self.array = array
        self.affine = affine
        self.positions = positions
        self.tags = tags
        self.key = key
        self.findings = findings
        self.frame_of_reference_uid = frame_of_reference_uid
        self.dims = dims or ("z", "y", "x", "channel")[: array.ndim]
        self.coords = coords or {}
        self.coord_units = coord_units or {}
        self.series_instance_uid = series_instance_uid
        self.photometric_interpretation = photometric_interpretation
        self.units = units
        self.scale = scale
        self.repetition_time = repetition_time

    @property
    def ras(self) -> npt.NDArray[np.float64]:
        """The affine to RAS (x to the right, y to the front), as NIfTI uses it."""
        ras: npt.NDArray[np.float64] = np.diag([-1.0, -1.0, 1.0, 1.0]) @ self.affine
        return ras

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Distances in mm between columns, rows and slices.

        With `origin` and `direction` as ITK defines them.
        """
        x, y, z = np.linalg.norm(self.affine[:3, :3], axis=0).tolist()
        return x, y, z

    @property
    def origin(self) -> tuple[float, float, float]:
        """The center (x, y, z) of the first cell, in mm, LPS."""
        x, y, z = self.affine[:3, 3].tolist()
        return x, y, z

    @property
    def direction(self) -> npt.NDArray[np.float64]:
        """The unit vectors along columns, rows and slices, as the columns of (3, 3).

        They are not perpendicular after gantry tilt.
        """
        direction: npt.NDArray[np.float64] = self.affine[:3, :3] / np.array(self.spacing)
        return direction

    @property
    def grid_shape(self) -> tuple[int, int, int]:
        """The numbers of slices, rows and columns."""
        z, y, x = (self.array.shape[self.dims.index(name)] for name in "zyx")
        return z, y, x

    @property
    def name(self) -> str:
        """What distinguishes this volume in its series, as text: ``EchoTime-10``.

        Without the identifiers of patient, study and series.
        """
        parts = []
        for attribute, value in self.key.items():
            if attribute not in _IDENTIFIERS:
                values = value if isinstance(value, (list, tuple)) else (value,)
                texts = (f"{v:g}" if isinstance(v, float) else str(v) for v in values)
                parts.append("-".join([attribute, *texts]))
        return "_".join(parts)

    @property
    def time_step(self) -> float | None:
        """Seconds between the positions of the axis "t", or the Repetition Time along "b".

        None where it is not known, or not constant to 5 %. Times within 5 % of the Repetition
        Time are that time.
        """
        seconds = self.coords.get("t")
        if "t" not in self.dims or seconds is None:
            return self.repetition_time if {"t", "b"} & {*self.dims} else None
        steps = np.diff(seconds)
        mean = float(steps.mean())
        if np.abs(steps - mean).max() > 0.05 * mean:
            return None
        nominal = self.repetition_time
        return nominal if nominal and abs(nominal - mean) <= 0.05 * mean else mean

    def __repr__(self) -> str:
        codes = [finding.code for finding in self.findings]
        return (
            f"<Volume {self.array.shape} {self.array.dtype}, "
            f"{' x '.join(f'{s:.4g}' for s in self.spacing)} mm, findings: {codes}>"
        )

    @overload
    def to_nifti(self, path: None = None) -> Any: ...
    @overload
    def to_nifti(self, path: str | bytes | os.PathLike[str] | os.PathLike[bytes]) -> None: ...
    def to_nifti(
        self, path: str | bytes | os.PathLike[str] | os.PathLike[bytes] | None = None
    ) -> Any:
        """Return a NIfTI image, or write it to a file.

        Parameters
        ----------
        path : path or None
            ``.nii`` or ``.nii.gz``; written atomically. Values are int16 where none is
            lost: with the slope and intercept of `scale`, or for uint16 up to 32767. Along
            the axis "b" also the files ``.bval`` and, where directions are known, ``.bvec``
            are written, as FSL reads them.

        Returns
        -------
        nibabel.Nifti1Image
            None if a path is given. The data is a view of `array`, indexed
            (column, row, slice[, t]); the sform is `ras`, and so is the qform unless
            the affine has a shear. Three uint8 samples per pixel are RGB24. Where an axis
            is longer than 32767, a nibabel.Nifti2Image.

        Raises
        ------
        ImportError
            Without nibabel.
        DicomError
            "volume" for samples that NIfTI cannot hold, and for colors that are not RGB.

        Examples
        --------
        >>> fastdcm.read_volume("series").to_nifti("series.nii.gz")  # doctest: +SKIP
        """
        if self.dims[-1] == "channel" and self.photometric_interpretation not in (None, "RGB"):
            raise DicomError(
                f"NIfTI holds colors as RGB, and these are {self.photometric_interpretation}: "
                "read the volume with color='rgb'",
                "volume",
            )
        positioned = all(finding.code != "missing-position" for finding in self.findings)
        header = Header(positioned, self.dims, self.coord_units, self.time_step, self.scale)
        image = nifti_image(self.array, self.ras, header, compact=path is not None)
        if path is None:
            return image
        write_nifti(image, path)
        if "b" in self.dims and "b" in self.coords:
            write_gradients(path, self.coords["b"], self.coords.get("gradient"), self.ras)
        return None

    def to_sitk(self) -> Any:
        """Return a SimpleITK image.

        Returns
        -------
        SimpleITK.Image
            3D, or 4D with one axis before the slices, whose spacing is `time_step`. Samples
            of a color are a vector. Direction, origin and spacing are those of the volume;
            ITK has the direction of an affine with shear, but some of its filters do not
            accept it.

        Raises
        ------
        ImportError
            Without SimpleITK.
        DicomError
            "volume" for more than four dimensions.

        Examples
        --------
        >>> fastdcm.read_volume("series").to_sitk().GetSize()  # doctest: +SKIP
        (512, 512, 120)
        """
        return libraries.to_sitk(self)

    def to_xarray(self) -> Any:
        """Return an xarray.DataArray that shares the array.

        Returns
        -------
        xarray.DataArray
            With `dims`; coordinates x, y and z are mm from the first cell along columns,
            rows and slices, the others are `coords`. Their attribute ``units`` is that of
            `coord_units`. Attributes of the array hold the affine, origin and
            direction in LPS, the Frame of Reference UID and the units.

        Raises
        ------
        ImportError
            Without xarray.

        Examples
        --------
        >>> fastdcm.read_volume("series").to_xarray().dims  # doctest: +SKIP
        ('z', 'y', 'x')
        """
        return libraries.to_xarray(self)
