"""Read a series of images into one array with its geometry.

The geometry is that of Image Position and Orientation (Patient), PS3.3
C.7.6.2.1.1.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import Any, Literal, overload

import numpy as np
import numpy.typing as npt

from fastdcm.errors import DicomError, Finding
from fastdcm.scanning.tags import parse_tag
from fastdcm.volume.array import read_array
from fastdcm.volume.nifti import nifti_image, write_nifti
from fastdcm.volume.slices import (
    Slice,
    SourceImage,
    TagExpression,
    VolumeSource,
    read_headers,
    slices_of_image,
)
from fastdcm.volume.sorting import (
    Key,
    Stack,
    build_stack,
    counted,
    drop_duplicates,
    separate_stacks,
    split_at_spacing_changes,
    split_mixtures,
)

# What `Volume.tags` always has.
_TAGS = ("SOPInstanceUID", "InstanceNumber")
# The error codes of files that are not DICOM, as opposed to damaged.
_NOT_DICOM = ("not-dicom", "empty")


class VolumeError(DicomError):
    """A series is not one volume, for the reasons in `findings`.

    Its `code` is "volume".

    Parameters
    ----------
    findings : list of Finding
        Problems and notes.
    filename : str, bytes or None
        The source, if it is a path.

    Examples
    --------
    >>> try:  # doctest: +SKIP
    ...     volume = fastdcm.read_volume("series")
    ... except VolumeError as error:
    ...     print([finding.code for finding in error.findings if finding.problem])
    ['gap']
    """

    def __init__(self, findings: list[Finding], filename: str | bytes | None = None) -> None:
        problems = [finding for finding in findings if finding.problem]
        text = "; ".join(map(str, problems or findings)) or "there is no image in the source"
        super().__init__(text, "volume", None, "", filename)
        self.args = (findings, filename)
        self.findings = findings


class Volume:
    """An array of slices with its geometry, as `read_volume` returns it.

    Attributes
    ----------
    array : (slices, rows, columns[, samples]) array
        Slices ascend along the normal, which is row direction x column direction.
    affine : (4, 4) float64 array
        From (column, row, slice, 1), the indices of the array from last to
        first, to (x, y, z, 1) in mm, LPS: x increases to the left of the
        patient, y to the back, z to the head (PS3.3 C.7.6.2.1.1).
    positions : (slices, 3) float64 array
        Image Position (Patient) of each slice, NaN where there is none. With
        uneven spacing they are exact where the affine is not.
    tags : dict of str to list
        A value for each slice; always with "path" and "frame" (from 0).
    key : dict
        What distinguishes this volume from the others of a split series.
    findings : list of Finding
        Notes and, unless problems were rejected, problems.
    frame_of_reference_uid : str or None

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
    ) -> None:
        self.array = array
        self.affine = affine
        self.positions = positions
        self.tags = tags
        self.key = key
        self.findings = findings
        self.frame_of_reference_uid = frame_of_reference_uid

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
            ``.nii`` or ``.nii.gz``; written atomically.

        Returns
        -------
        nibabel.Nifti1Image or None
            None if a path is given. The data is a view of `array`, indexed
            (column, row, slice); the sform is `ras`, and so is the qform unless
            the affine has a shear. Three uint8 samples per pixel are RGB24.

        Raises
        ------
        ImportError
            Without nibabel.
        DicomError
            "volume" for samples that NIfTI cannot hold.

        Examples
        --------
        >>> fastdcm.read_volume("series").to_nifti("series.nii.gz")  # doctest: +SKIP
        """
        positioned = all(finding.code != "missing-position" for finding in self.findings)
        image = nifti_image(self.array, self.ras, positioned=positioned)
        if path is None:
            return image
        write_nifti(image, path)
        return None


@overload
def read_volume(
    source: VolumeSource,
    *,
    tags: Sequence[TagExpression] = (),
    on_problem: Literal["reject", "keep"] = "reject",
    rescale: bool = True,
    threads: int | None = None,
) -> Volume: ...
@overload
def read_volume(
    source: VolumeSource,
    *,
    tags: Sequence[TagExpression] = (),
    on_problem: Literal["split"],
    rescale: bool = True,
    threads: int | None = None,
) -> list[Volume]: ...
def read_volume(
    source: VolumeSource,
    *,
    tags: Sequence[TagExpression] = (),
    on_problem: Literal["reject", "split", "keep"] = "reject",
    rescale: bool = True,
    threads: int | None = None,
) -> Volume | list[Volume]:
    """Read a series into an array with its geometry, and report what was found.

    Reads single images, multi-frame images with functional groups (Enhanced CT,
    MR, PET, segmentations; PS3.3 C.7.6.16), RT Dose, NM, and Siemens mosaics.
    Needs the memory of the array, and of one frame per thread.

    Parameters
    ----------
    source : path, Dataset, or iterable of either
        What `scan` accepts (folder, glob, file, URL, list or iterator of paths,
        table), a Dataset, or a list of Datasets. The order does not matter.
    tags : sequence of str or int
        Further elements for `Volume.tags`, as `scan` accepts them. Keywords are
        also looked up in the functional groups of multi-frame images.
    on_problem : "reject", "split" or "keep"
        "reject": raise VolumeError if any finding is a problem.
        "split": return a list of volumes, each with an affine that is exact:
        mixtures are split by series, size, orientation, echo, time and so on,
        and a stack is split where its spacing changes.
        "keep": return the largest stack even if its spacing is uneven, with a
        finding "left-out" about the rest.
    rescale : bool
        True: modality values, which are stored values * Rescale Slope + Rescale
        Intercept of each slice (Dose Grid Scaling for RT Dose), or the result of
        its Modality LUT, in float32; where all slopes are 1 and all intercepts 0,
        the stored values in their own type. False: stored values.
    threads : int or None
        None: one for each CPU.

    Returns
    -------
    Volume or list of Volume
        A list with ``on_problem="split"``.

    Raises
    ------
    VolumeError
        If there is no image, or with "reject" if there is a problem.
    DicomError
        If pixel data cannot be read.
    ValueError, FileNotFoundError
        For sources and tags, as `scan` does.

    Examples
    --------
    >>> volume = fastdcm.read_volume("series")  # doctest: +SKIP
    >>> volume.array.shape, volume.spacing  # doctest: +SKIP
    ((120, 512, 512), (0.75, 0.75, 2.5))
    """
    if on_problem not in ("reject", "split", "keep"):
        raise ValueError(f"on_problem must be 'reject', 'split' or 'keep', got {on_problem!r}")
    if threads is not None and threads < 1:
        raise ValueError(f"threads must be at least 1, or None, got {threads}")
    findings: list[Finding] = []
    slices = drop_duplicates(_read_slices(source, tags, threads, findings), findings)
    stacks = []
    for key, group in split_mixtures(slices, findings):
        for more, part in separate_stacks(group, findings):
            stacks.append(build_stack(part, {**key, **more}))
    if not stacks or on_problem == "reject":
        everything = findings + [finding for stack in stacks for finding in stack.findings]
        if not stacks or any(finding.problem for finding in everything):
            raise VolumeError(everything, _path_of(source))
    elif on_problem == "keep" and len(stacks) > 1:
        stacks = [_largest(stacks, findings)]
    elif on_problem == "split":
        stacks = [part for stack in stacks for part in _evenly_spaced(stack)]
    volumes = [_volume(stack, findings, tags, rescale, threads) for stack in stacks]
    return volumes if on_problem == "split" else volumes[0]


def _path_of(source: object) -> str | bytes | None:
    return os.fspath(source) if isinstance(source, (str, bytes, os.PathLike)) else None


def _read_slices(
    source: VolumeSource,
    tags: Sequence[TagExpression],
    threads: int | None,
    findings: list[Finding],
) -> list[Slice]:
    """Return the slices of all readable images; add findings about the rest."""
    images, failed = read_headers(source, tags, threads)
    for problem in (False, True):
        paths = [row["path"] for row in failed if (row["error"] not in _NOT_DICOM) is problem]
        if paths:
            text = f"{counted(len(paths), 'file')} cannot be read as DICOM"
            code = "unreadable" if problem else "not-dicom"
            findings.append(Finding(code, text, problem, {"paths": paths}))
    # Rows without pixel data: a truncated image. Neither: another kind of object.
    for problem in (False, True):
        paths = [
            image.path
            for image in images
            if image.row["pixel_length"] is None and (image.row["Rows"] is not None) is problem
        ]
        if paths:
            text = f"{counted(len(paths), 'data set')} without pixel data"
            code = "missing-pixels" if problem else "not-an-image"
            findings.append(Finding(code, text, problem, {"paths": paths}))
    with_pixels = [image for image in images if image.row["pixel_length"] is not None]
    return _slices_of_images(with_pixels, tags, findings)


def _slices_of_images(
    images: Iterable[SourceImage], tags: Sequence[TagExpression], findings: list[Finding]
) -> list[Slice]:
    keywords = [tag for tag in tags if isinstance(tag, str) and tag.isidentifier()]
    slices: list[Slice] = []
    errors = []
    for image in images:
        try:
            slices += slices_of_image(image, keywords)
        except DicomError as error:
            errors.append(error)
    if errors:
        text = f"{counted(len(errors), 'image')} with invalid attributes: {errors[0]}"
        findings.append(Finding("bad-image", text, True, {"errors": errors}))
    return slices


def _largest(stacks: Sequence[Stack], findings: list[Finding]) -> Stack:
    """Return the stack with the most slices; add a finding about the others."""
    largest = max(stacks, key=lambda stack: len(stack.slices))
    others = [stack for stack in stacks if stack is not largest]
    slices = sum(len(stack.slices) for stack in others)
    findings.append(
        Finding(
            "left-out",
            f"{counted(slices, 'slice')} of {counted(len(others), 'other stack')} left out",
            True,
            {"slices": slices, "stacks": [stack.key for stack in others]},
        )
    )
    return largest


def _evenly_spaced(stack: Stack) -> list[Stack]:
    """Return the stack, or, where its spacing changes, its evenly spaced parts."""
    if not {"gap", "uneven-spacing"} & {finding.code for finding in stack.findings}:
        return [stack]
    parts = split_at_spacing_changes(stack)
    return [
        build_stack(part, {**stack.key, "run": i} if len(parts) > 1 else stack.key)
        for i, part in enumerate(parts)
    ]


def _volume(
    stack: Stack,
    findings: list[Finding],
    tags: Sequence[TagExpression],
    rescale: bool,
    threads: int | None,
) -> Volume:
    """Read the pixels of a stack."""
    slices = stack.slices
    first = slices[0]
    affine = np.eye(4)
    between_rows, between_columns = first.spacing or (1.0, 1.0)
    orientation: tuple[float, ...] = (1, 0, 0, 0, 1, 0)
    if first.orientation is not None and first.position is not None:
        orientation = first.orientation
        affine[:3, 3] = first.position
    affine[:3, 0] = np.multiply(orientation[:3], between_columns)
    affine[:3, 1] = np.multiply(orientation[3:], between_rows)
    affine[:3, 2] = stack.step
    values: dict[str, list[Any]] = {
        "path": [each.image.path for each in slices],
        "frame": [each.frame for each in slices],
    }
    for tag in (*_TAGS, *tags):
        name = parse_tag(tag)[0]
        values[name] = [each.values.get(name) for each in slices]
    uid = first.values["FrameOfReferenceUID"]
    return Volume(
        array=read_array(slices, rescale, threads),
        affine=affine,
        positions=np.array([each.position or (np.nan,) * 3 for each in slices]),
        tags=values,
        key=stack.key,
        findings=findings + stack.findings,
        frame_of_reference_uid=str(uid) if uid else None,
    )
