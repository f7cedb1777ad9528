"""Read a series of images into one array with its geometry.

The geometry is that of Image Position and Orientation (Patient), PS3.3
C.7.6.2.1.1.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, overload

import numpy as np
import numpy.typing as npt

from fastdcm.errors import DicomError, Finding
from fastdcm.scanning.tags import parse_tag
from fastdcm.volume import dimensions
from fastdcm.volume.array import Conversion, read_array
from fastdcm.volume.dimensions import (
    Dims,
    Joined,
    alone,
    axis_names,
    complete_frame_times,
    join_stacks,
    repetition_time,
)
from fastdcm.volume.grids import segmentation
from fastdcm.volume.grids.resample import even_grid, on_grid
from fastdcm.volume.result import Volume as Volume
from fastdcm.volume.result import VolumeError as VolumeError
from fastdcm.volume.separation import counted, separate_stacks
from fastdcm.volume.slices import (
    HEADER_TAGS,
    Slice,
    SourceImage,
    TagExpression,
    VolumeSource,
    read_headers,
    slices_of_image,
)
from fastdcm.volume.sorting import (
    Stack,
    build_stack,
    drop_duplicates,
    split_at_spacing_changes,
    split_mixtures,
)
from fastdcm.volume.values import diffusion, projections
from fastdcm.volume.values.colors import (
    COLOR_MODES,
    ColorMode,
    check_color,
    is_color,
    photometric_of,
)
from fastdcm.volume.values.coordinates import UNITS, phase_coordinates
from fastdcm.volume.values.quantities import (
    PADDING_TAGS,
    QUANTITIES,
    QUANTITY_TAGS,
    Quantity,
    RealWorldMapping,
    apply_suv,
    real_world_mappings,
)

# What `Volume.tags` always has.
_TAGS = ("SOPInstanceUID", "InstanceNumber")
# The error codes of files that are not DICOM, as opposed to damaged.
_NOT_DICOM = ("not-dicom", "empty")
# The findings that resampling corrects.
_RESAMPLED = ("uneven-spacing", "tilt", "shifted-slices")


@dataclass(frozen=True)
class Options:
    """The arguments of `read_volume`, checked."""

    tags: Sequence[TagExpression] = ()
    on_problem: str = "reject"
    rescale: bool = True
    color: ColorMode = "rgb"
    quantity: Quantity | None = None
    padding: float | None = None
    dims: Dims = None
    like: Volume | None = None
    resample: bool = False
    tolerance: float = 0.0
    threads: int | None = None

    def __post_init__(self) -> None:
        if self.on_problem not in ("reject", "split", "keep"):
            raise ValueError(
                f"on_problem must be 'reject', 'split' or 'keep', got {self.on_problem!r}"
            )
        if self.threads is not None and self.threads < 1:
            raise ValueError(f"threads must be at least 1, or None, got {self.threads}")
        if self.color not in COLOR_MODES:
            raise ValueError(f"color must be 'rgb', 'raw' or 'error', got {self.color!r}")
        if self.quantity is not None and self.quantity not in QUANTITIES:
            raise ValueError(f"quantity must be 'suv', 'rwv' or None, got {self.quantity!r}")
        if self.quantity is not None and not self.rescale:
            raise ValueError(f"quantity={self.quantity!r} needs rescale=True")
        if self.like is not None and not isinstance(self.like, Volume):
            raise TypeError(f"like must be a Volume, got {type(self.like).__name__}")
        if self.like is not None and np.isnan(self.like.positions).any():
            raise ValueError("like must be a volume whose slices have positions")
        if not 0 <= self.tolerance < float("inf"):
            raise ValueError(f"tolerance must be at least 0 mm, got {self.tolerance}")
        axis_names(self.dims)

    @property
    def axes(self) -> tuple[str, ...]:
        """The axes that `dims` names."""
        return axis_names(self.dims)

    def header_tags(self) -> list[TagExpression]:
        """Return the elements to read besides those that every volume needs."""
        wanted: list[TagExpression] = [
            *self.tags,
            *dimensions.TAGS,
            *diffusion.TAGS,
            *projections.TAGS,
        ]
        if self.padding is not None:
            wanted += PADDING_TAGS
        if self.quantity is not None:
            wanted += QUANTITY_TAGS[self.quantity]
        if self.like is not None:
            wanted += segmentation.TAGS
        return [tag for tag in dict.fromkeys(wanted) if tag not in HEADER_TAGS]


@overload
def read_volume(
    source: VolumeSource,
    *,
    tags: Sequence[TagExpression] = (),
    on_problem: Literal["reject", "keep"] = "reject",
    rescale: bool = True,
    color: ColorMode = "rgb",
    quantity: Quantity | None = None,
    padding: float | None = None,
    dims: Dims = None,
    like: Volume | None = None,
    resample: bool = False,
    tolerance: float = 0.0,
    threads: int | None = None,
) -> Volume: ...
@overload
def read_volume(
    source: VolumeSource,
    *,
    tags: Sequence[TagExpression] = (),
    on_problem: Literal["split"],
    rescale: bool = True,
    color: ColorMode = "rgb",
    quantity: Quantity | None = None,
    padding: float | None = None,
    dims: Dims = None,
    like: Volume | None = None,
    resample: bool = False,
    tolerance: float = 0.0,
    threads: int | None = None,
) -> list[Volume]: ...
def read_volume(
    source: VolumeSource,
    *,
    tags: Sequence[TagExpression] = (),
    on_problem: Literal["reject", "split", "keep"] = "reject",
    rescale: bool = True,
    color: ColorMode = "rgb",
    quantity: Quantity | None = None,
    padding: float | None = None,
    dims: Dims = None,
    like: Volume | None = None,
    resample: bool = False,
    tolerance: float = 0.0,
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
        a stack is split where its spacing changes, and images without position
        are volumes by themselves.
        "keep": return the largest stack even if its spacing is uneven, with a
        finding "left-out" about the rest.
    rescale : bool
        True: modality values, which are stored values * Rescale Slope + Rescale
        Intercept of each slice (Dose Grid Scaling for RT Dose), or the result of
        its Modality LUT, in float32; where all slopes are 1 and all intercepts 0,
        the stored values in their own type. False: stored values.
    color : "rgb", "raw" or "error"
        "rgb": palettes and YBR are converted to RGB (8 bits), as `Dataset.to_rgb` does.
        "raw": the stored samples, which are no intensities. "error": raise a DicomError
        for images in color.
    quantity : "suv", "rwv" or None
        "suv": the standardized uptake value by body weight of PET, in g/ml (of values that
        are corrected for attenuation and decay). "rwv": the first Real World Value Mapping
        of each frame (PS3.3 C.7.6.16.2.11), NaN for stored values outside its range. The
        unit is in `Volume.units`.
    padding : float or None
        The value of cells without data: those with the Pixel Padding Value or in its
        range (PS3.3 C.7.5.1.1.2), and with `resample` or `like` those outside the slices.
        None: padding is left as it is stored, and cells outside are NaN.
    dims : "auto", sequence of str or None
        None: one 3D array. "auto": stacks that differ in b-value and gradient
        direction, cardiac phase, or time become one array ("b", "phase" and "t" before
        "z", "y", "x"), in order of acquisition. A sequence names the axes: those, or
        "echo", "ti", "flip" and "segment". Several axes where every combination of
        their positions exists, else one with all stacks.
    like : Volume or None
        Return the values on the grid of this volume. A segmentation becomes a label map:
        each cell has the number of its segment, or 0, and of fractional segments the
        largest of at least one half; with ``dims=["segment"]`` an axis of masks, or of
        fractions in float32. Other images are interpolated linearly, in float32.
    resample : bool
        True: stacks with gantry tilt, with uneven steps, or shifted in their plane are
        interpolated linearly to even steps along the normal, in float32.
    tolerance : float
        In mm: slices that are no further from where the affine places them, and
        orientations that move no cell of a slice further, are no problem. By default
        (0.0) 1 % of the distance between slices, and 0.001 in a direction cosine.
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
        If pixel data cannot be read; "quantity" where attributes for `quantity` are
        missing; "color" with ``color="error"``.
    ValueError, FileNotFoundError
        For sources and tags, as `scan` does.

    Examples
    --------
    >>> volume = fastdcm.read_volume("series")  # doctest: +SKIP
    >>> volume.array.shape, volume.spacing  # doctest: +SKIP
    ((120, 512, 512), (0.75, 0.75, 2.5))
    """
    options = Options(
        tags=tags,
        on_problem=on_problem,
        rescale=rescale,
        color=color,
        quantity=quantity,
        padding=padding,
        dims=dims,
        like=like,
        resample=resample,
        tolerance=tolerance,
        threads=threads,
    )
    findings: list[Finding] = []
    images = read_images(source, options, findings)
    volumes = volumes_of_images(images, options, findings, path_of(source))
    return volumes if on_problem == "split" else volumes[0]


def path_of(source: object) -> str | bytes | None:
    """Return the source, if it is a path."""
    return os.fspath(source) if isinstance(source, (str, bytes, os.PathLike)) else None


# ----------------------------------------------------------------- images ---


def series_of(image: SourceImage) -> str | None:
    """Return the Series Instance UID as text, None where there is none."""
    uid = image.row["SeriesInstanceUID"]
    return str(uid) if uid else None


def read_images(
    source: VolumeSource, options: Options, findings: list[Finding]
) -> list[SourceImage]:
    """Return the images of a source; add findings about what else is in it.

    Parameters
    ----------
    source : path, Dataset, or iterable of either
    options : Options
    findings : list of Finding

    Returns
    -------
    list of SourceImage
        Those with pixel data.
    """
    images, failed = read_headers(source, options.header_tags(), options.threads)
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
    return [image for image in images if image.row["pixel_length"] is not None]


def _slices_of_images(
    images: Iterable[SourceImage],
    options: Options,
    findings: list[Finding],
    path: str | bytes | None,
) -> list[Slice]:
    keywords = [tag for tag in options.tags if isinstance(tag, str) and tag.isidentifier()]
    slices: list[Slice] = []
    errors = []
    for image in images:
        try:
            slices += slices_of_image(image, keywords)
        except DicomError as error:
            errors.append(error)
    if errors:
        first = errors[0]
        text = f"{counted(len(errors), 'image')} with invalid attributes: {first.text}"
        if first.filename is not None and first.filename != path:
            text += f" (file {first.filename!r})"
        findings.append(Finding("bad-image", text, True, {"errors": errors}))
    return slices


# ----------------------------------------------------------------- stacks ---


def volumes_of_images(
    images: Iterable[SourceImage],
    options: Options,
    findings: list[Finding],
    path: str | bytes | None,
    series_instance_uid: str | None = None,
) -> list[Volume]:
    """Return the volumes of images.

    Parameters
    ----------
    images : iterable of SourceImage
    options : Options
    findings : list of Finding
        About the source; those about the series are added.
    path : str, bytes or None
        The source, for errors.
    series_instance_uid : str or None
        The series, for errors.

    Returns
    -------
    list of Volume
        One, except with ``on_problem="split"``.

    Raises
    ------
    VolumeError, DicomError
        As `read_volume`.
    """
    slices = _prepared_slices(images, options, findings, path)
    units = apply_suv(slices) if options.quantity == "suv" else None
    if options.like is not None and slices:
        findings += _check_reference(slices[0], options.like)
    if options.like is not None and segmentation.is_segmentation(slices):
        return [_segments_like(slices, options, findings, path)]
    joined = _joined_stacks(slices, options, findings, path, series_instance_uid)
    return [_volume(one, findings, options, units) for one in joined]


def arrays_of_images(
    images: Iterable[SourceImage],
    options: Options,
    findings: list[Finding],
    path: str | bytes | None,
    series_instance_uid: str | None = None,
) -> list[Joined]:
    """Return the slices of the volumes of images, whose pixels are not read.

    Parameters
    ----------
    images, options, findings, path, series_instance_uid
        As of `volumes_of_images`; `like`, `quantity` and `resample` are not used.

    Returns
    -------
    list of Joined

    Raises
    ------
    VolumeError, DicomError
        As `read_volume`.
    """
    slices = _prepared_slices(images, options, findings, path)
    return _joined_stacks(slices, options, findings, path, series_instance_uid)


def _prepared_slices(
    images: Iterable[SourceImage],
    options: Options,
    findings: list[Finding],
    path: str | bytes | None,
) -> list[Slice]:
    """Return the slices of images, with what other attributes say of them."""
    slices = drop_duplicates(_slices_of_images(images, options, findings, path), findings)
    diffusion.complete_diffusion(slices)
    projections.complete_spacing(slices, findings)
    check_color(slices, options.color, findings)
    if "t" in options.axes:
        complete_frame_times(slices)
    return slices


def _joined_stacks(
    slices: list[Slice],
    options: Options,
    findings: list[Finding],
    path: str | bytes | None,
    series_instance_uid: str | None,
) -> list[Joined]:
    """Return the stacks of slices, joined to arrays; what is a problem, as `on_problem` says."""
    stacks = []
    for key, group in split_mixtures(slices, findings, options.tolerance):
        for more, part in separate_stacks(group, findings):
            stacks.append(build_stack(part, {**key, **more}, options.tolerance))
    if options.resample:
        for stack in stacks:
            stack.findings = [_as_note(f) if f.code in _RESAMPLED else f for f in stack.findings]
    joined = join_stacks(stacks, options.axes, findings)
    if not joined or options.on_problem == "reject":
        everything = findings + [finding for one in joined for finding in one.findings]
        if not joined or any(finding.problem for finding in everything):
            raise VolumeError(everything, path, series_instance_uid)
    elif options.on_problem == "keep" and len(joined) > 1:
        joined = [_largest(joined, findings)]
    elif options.on_problem == "split":
        joined = [part for one in joined for part in _exact_parts(one, options.tolerance)]
    return joined


def _as_note(finding: Finding) -> Finding:
    return Finding(finding.code, finding.text, False, finding.details)


def _largest(joined: Sequence[Joined], findings: list[Finding]) -> Joined:
    """Return what has the most slices; add a finding about the others."""
    largest = max(joined, key=lambda one: len(one.slices))
    others = [one for one in joined if one is not largest]
    slices = sum(len(one.slices) for one in others)
    stacks = sum(len(one.stacks) for one in others)
    findings.append(
        Finding(
            "left-out",
            f"{counted(slices, 'slice')} of {counted(stacks, 'other stack')} left out",
            True,
            {"slices": slices, "stacks": [one.key for one in others]},
        )
    )
    return largest


def _exact_parts(joined: Joined, tolerance: float) -> list[Joined]:
    """Return the stacks unchanged, or, where their spacing changes, the evenly spaced parts."""
    problems = {finding.code for finding in joined.findings if finding.problem}
    if "missing-position" in problems and len(joined.stacks) == 1:
        return _single_images(joined)
    if not {"gap", "uneven-spacing"} & problems:
        return [joined]
    parts = []
    for stack in joined.stacks:
        runs = split_at_spacing_changes(stack, tolerance)
        for i, part in enumerate(runs):
            key = {**stack.key, "run": i} if len(runs) > 1 else stack.key
            parts.append(alone(build_stack(part, key, tolerance)))
    return parts


def _single_images(joined: Joined) -> list[Joined]:
    """Return each image of a stack without positions by itself."""
    images: dict[int, list[Slice]] = {}
    for each in joined.slices:
        images.setdefault(id(each.image), []).append(each)
    if len(images) == 1:
        return [joined]
    return [
        alone(build_stack(part, {**joined.key, "image": i}))
        for i, part in enumerate(images.values())
    ]


# ---------------------------------------------------------------- volumes ---


def affine_of(stack: Stack) -> npt.NDArray[np.float64]:
    """Return the (4, 4) matrix from (column, row, slice) to mm in LPS."""
    first = stack.slices[0]
    affine = np.eye(4)
    between_rows, between_columns = first.spacing or (1.0, 1.0)
    orientation: tuple[float, ...] = (1, 0, 0, 0, 1, 0)
    if first.orientation is not None and first.position is not None:
        orientation = first.orientation
        affine[:3, 3] = first.position
    affine[:3, 0] = np.multiply(orientation[:3], between_columns)
    affine[:3, 1] = np.multiply(orientation[3:], between_rows)
    affine[:3, 2] = stack.step
    return affine


def _tags_of(slices: Sequence[Slice], options: Options) -> dict[str, list[Any]]:
    values: dict[str, list[Any]] = {
        "path": [each.image.path for each in slices],
        "frame": [each.frame for each in slices],
    }
    for tag in (*_TAGS, *options.tags):
        name = parse_tag(tag)[0]
        values[name] = [each.values.get(name) for each in slices]
    return values


def _coordinates(joined: Joined) -> tuple[dict[str, npt.NDArray[np.float64]], dict[str, str]]:
    """Return the values along the axes of an array, and the units of those that have one."""
    coords = dict(joined.coords)
    units = {name: UNITS.get(name, "") for name in coords}
    if "phase" in coords:
        stacks = joined.stacks
        if "phase" in joined.names:
            axis = joined.names.index("phase")
            stacks = stacks[:: math.prod(joined.shape[axis + 1 :])][: joined.shape[axis]]
        phases = phase_coordinates([stack.slices[0].values for stack in stacks])
        if phases is not None:
            coords["phase"], units["phase"] = phases
    return coords, {name: unit for name, unit in units.items() if unit}


def _volume(joined: Joined, findings: list[Finding], options: Options, units: str | None) -> Volume:
    """Read the pixels of one array."""
    slices = joined.slices
    first = slices[0]
    findings = findings + joined.findings
    mappings: dict[int, RealWorldMapping] | None = None
    if options.quantity == "rwv":
        mappings, units = real_world_mappings(slices)
    conversion = Conversion(options.rescale, options.color, options.padding, mappings)
    array = read_array(slices, conversion, options.threads)
    of_stack = joined.stacks[0].slices
    affine = affine_of(joined.stacks[0])
    positions = np.array([each.position or (np.nan,) * 3 for each in of_stack])
    tags = _tags_of(slices, options)
    array = array.reshape(-1, len(of_stack), *array.shape[1:])
    codes = {finding.code for finding in joined.findings}
    is_resampled = options.resample and bool(codes & {*_RESAMPLED})
    changed = mappings is not None or is_resampled or options.like is not None
    if is_resampled:
        array, affine, nearest = _resampled(array, affine, positions, options)
        count = len(of_stack)
        tags = {
            name: [values[start + i] for start in range(0, len(values), count) for i in nearest]
            for name, values in tags.items()
        }
        positions = affine[:3, 3] + np.arange(len(nearest))[:, None] * affine[:3, 2]
    if options.like is not None:
        if not joined.stacks[0].has_geometry:
            raise DicomError(
                "like= needs the position and orientation of the slices",
                "volume",
                filename=first.image.path,
            )
        array = _on_grid_of(array, affine, options)
        affine, positions = options.like.affine, options.like.positions
        count = array.shape[1]
        tags = {name: _common(values, len(array) * count) for name, values in tags.items()}
    coords, coord_units = _coordinates(joined)
    uid = first.values["FrameOfReferenceUID"]
    photometric = photometric_of(first) or None
    if options.color == "rgb" and is_color(first):
        photometric = "RGB"
    return Volume(
        array=array.reshape(*joined.shape, *array.shape[1:]),
        affine=affine,
        positions=positions,
        tags=tags,
        key=joined.key,
        findings=findings,
        frame_of_reference_uid=str(uid) if uid else None,
        dims=(*joined.names, *("z", "y", "x", "channel")[: array.ndim - 1]),
        coords=coords,
        coord_units=coord_units,
        series_instance_uid=series_of(first.image),
        photometric_interpretation=photometric,
        units=units,
        scale=_common_scale(slices) if options.rescale and not changed else None,
        repetition_time=repetition_time(slices),
    )


def _common_scale(slices: Sequence[Slice]) -> tuple[float, float] | None:
    """Return the slope and intercept of all slices, None where they differ."""
    if slices[0].samples > 1 or any(each.has_modality_lut for each in slices):
        return None
    scales = {(each.slope, each.intercept) for each in slices}
    return scales.pop() if len(scales) == 1 else None


def _outside(options: Options) -> float:
    return float("nan") if options.padding is None else options.padding


def _needs_grayscale(array: npt.NDArray[Any]) -> None:
    if array.ndim > 4:
        raise DicomError("an array of colors cannot be resampled", "volume")


def _resampled(
    array: npt.NDArray[Any],
    affine: npt.NDArray[np.float64],
    positions: npt.NDArray[np.float64],
    options: Options,
) -> tuple[npt.NDArray[Any], npt.NDArray[np.float64], list[int]]:
    """Return (stacks, slices, rows, columns) on an even grid, its affine, and nearest slices."""
    _needs_grayscale(array)
    parts = [even_grid(stack, affine, positions, _outside(options)) for stack in array]
    return np.stack([part[0] for part in parts]), parts[0][1], parts[0][2]


def _on_grid_of(
    array: npt.NDArray[Any], affine: npt.NDArray[np.float64], options: Options
) -> npt.NDArray[Any]:
    """Return (stacks, slices, rows, columns) on the grid of `like`."""
    _needs_grayscale(array)
    assert options.like is not None
    shape, grid = options.like.grid_shape, options.like.affine
    return np.stack([on_grid(stack, affine, shape, grid, _outside(options)) for stack in array])


def _common(values: list[Any], count: int) -> list[Any]:
    """Return a list of the value that all have, or of None."""
    first = values[0]
    return [first if all(value == first for value in values) else None] * count


def _check_reference(first: Slice, like: Volume) -> list[Finding]:
    """Return a finding where two images are not in one frame of reference."""
    own, other = first.values["FrameOfReferenceUID"], like.frame_of_reference_uid
    if not own or not other or own == other:
        return []
    text = "the frame of reference is not that of the volume in `like`"
    return [Finding("mixed-frame-of-reference", text, True, {"uids": [own, other]})]


def _segments_like(
    slices: list[Slice], options: Options, findings: list[Finding], path: str | bytes | None
) -> Volume:
    """Return a segmentation on the grid of `like`."""
    like = options.like
    assert like is not None
    first = slices[0]
    separate = "segment" in options.axes
    array, numbers = segmentation.segments_on_grid(
        slices, like.grid_shape, like.affine, separate, options.threads, findings
    )
    if options.on_problem == "reject" and any(finding.problem for finding in findings):
        raise VolumeError(findings, path)
    count = like.grid_shape[0] * (len(numbers) if separate else 1)
    tags = _tags_of(slices, options)
    return Volume(
        array=array,
        affine=like.affine,
        positions=like.positions,
        tags={name: _common(values, count) for name, values in tags.items()},
        key={},
        findings=findings,
        frame_of_reference_uid=first.values["FrameOfReferenceUID"] or None,
        dims=("segment", "z", "y", "x") if separate else ("z", "y", "x"),
        coords={"segment": np.array(numbers, np.float64)} if separate else {},
        series_instance_uid=series_of(first.image),
    )
