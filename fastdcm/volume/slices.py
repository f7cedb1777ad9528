"""Find the slices of images, and the position of each in the patient.

A slice is a single image, one frame of a multi-frame image, or one tile of a
Siemens mosaic. Its geometry comes from the Image Plane Module (PS3.3 C.7.6.2),
from functional groups (PS3.3 C.7.6.16), or from what the IOD has instead.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from functools import lru_cache
from math import isfinite, sqrt
from typing import Any, cast

from fastdcm.core._dictionary import Tag
from fastdcm.dataset import Dataset
from fastdcm.errors import DicomError
from fastdcm.pixels import functional_groups
from fastdcm.pixels.layout import (
    PIXEL_TAGS,
    as_number,
    has_fragments,
    native_length,
    pixel_element,
    transfer_syntax_of,
)
from fastdcm.pixels.lookup_table import sequence_items
from fastdcm.reader import dcmread
from fastdcm.scanning.scanner import scan
from fastdcm.scanning.tags import parse_tag
from fastdcm.volume.mosaics import GRID_TAG, MosaicLayout, mosaic_layout

Path = str | bytes | os.PathLike[str] | os.PathLike[bytes]
#: What `fastdcm.read_volume` reads: what `fastdcm.scan` accepts, or data sets.
VolumeSource = Path | Dataset | Iterable[Path] | Sequence[Dataset]
#: A tag, keyword or path into sequences, as `fastdcm.scan` accepts it.
TagExpression = str | int
Vector = tuple[float, ...]

# Columns with a value where a file has functional groups.
_GROUP_COLUMNS = tuple(
    f"{groups}.{sequence}.{keyword}"
    for groups in (functional_groups.SHARED, functional_groups.PER_FRAME)
    for sequence, keyword in (
        ("PlanePositionSequence", "ImagePositionPatient"),
        ("PlaneOrientationSequence", "ImageOrientationPatient"),
        ("PixelMeasuresSequence", "PixelSpacing"),
        ("PixelMeasuresSequence", "SliceThickness"),
        ("PixelValueTransformationSequence", "RescaleSlope"),
        ("PixelValueTransformationSequence", "RescaleIntercept"),
    )
)

#: The direction of phase encoding along its axis: of Siemens (0 or 1), and, of GE only,
#: the standard attribute.
POLARITY_TAGS = ("(0021,xx1C,SIEMENS MR SDI 02)", "RectilinearPhaseEncodeReordering")
#: What the numbers of an image are: those of different units are not comparable
#: (PS3.3 C.8.9.1, C.11.1.1.2, C.8.8.3).
UNIT_TAGS = ("Units", "SUVType", "RescaleType", "DoseUnits")
#: The elements that are read of each file, as `scan` names them.
HEADER_TAGS = (
    "SOPInstanceUID",
    "SOPClassUID",
    "PatientID",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "FrameOfReferenceUID",
    "Modality",
    "ImageType",
    "InstanceNumber",
    "AcquisitionNumber",
    "AcquisitionDateTime",
    "AcquisitionTime",
    "ContentTime",
    "EchoTime",
    "EchoNumbers",
    "InversionTime",
    "FlipAngle",
    "TriggerTime",
    "TemporalPositionIdentifier",
    "FrameReferenceTime",
    "DiffusionBValue",
    "DiffusionGradientOrientation",
    "ConvolutionKernel",
    "KVP",
    "InPlanePhaseEncodingDirection",
    *POLARITY_TAGS,
    "Rows",
    "Columns",
    "NumberOfFrames",
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "PlanarConfiguration",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "PixelSpacing",
    "SpacingBetweenSlices",
    "SliceThickness",
    "RescaleSlope",
    "RescaleIntercept",
    "DoseGridScaling",
    *UNIT_TAGS,
    "ModalityLUTSequence.LUTDescriptor",
    "ModalityLUTSequence.LUTData",
    GRID_TAG,
    *_GROUP_COLUMNS,
)

# The attributes that are read of each functional group (PS3.3 C.7.6.16.2, C.8).
_GROUPS = {
    0x00209113: ("ImagePositionPatient",),  # Plane Position
    0x00209116: ("ImageOrientationPatient",),  # Plane Orientation
    0x0020930E: ("ImagePositionVolume",),  # Plane Position (Volume)
    0x0020930F: ("ImageOrientationVolume",),  # Plane Orientation (Volume)
    0x00289110: ("PixelSpacing", "SpacingBetweenSlices", "SliceThickness"),
    0x00289145: ("RescaleSlope", "RescaleIntercept", "RescaleType"),  # Pixel Value Transformation
    0x00209111: (
        "StackID",
        "TemporalPositionIndex",
        "FrameAcquisitionNumber",
        "FrameAcquisitionDateTime",
        "DimensionIndexValues",
    ),  # Frame Content
    0x00209310: ("TemporalPositionTimeOffset",),
    0x00189114: ("EffectiveEchoTime",),  # MR Echo
    0x00189115: ("InversionTimes",),  # MR Modifier
    0x00189112: ("FlipAngle", "RepetitionTime"),  # MR Timing
    0x00189117: ("DiffusionBValue",),  # MR Diffusion
    0x00189118: (
        "NominalCardiacTriggerDelayTime",
        "NominalPercentageOfCardiacPhase",
    ),  # Cardiac Synchronization
    0x00189314: ("ConvolutionKernel",),  # CT Reconstruction
    0x00189325: ("KVP",),  # CT X-Ray Details
    0x00189226: ("FrameType", "ComplexImageComponent"),  # MR Image Frame Type
    0x00189329: ("FrameType",),  # CT Image Frame Type
    0x00189751: ("FrameType",),  # PET Frame Type
    0x0062000A: ("ReferencedSegmentNumber",),  # Segment Identification
}
# The vectors of NM that number each frame, except that of slices (PS3.3 C.8.4.8).
_NM_VECTORS = (
    "EnergyWindowVector",
    "DetectorVector",
    "PhaseVector",
    "RotationVector",
    "RRIntervalVector",
    "TimeSlotVector",
    "AngularViewVector",
    "TimeSliceVector",
)


_DISTANCES = (
    ("SpacingBetweenSlices", "Spacing Between Slices"),
    ("SliceThickness", "Slice Thickness"),
)


class SourceImage:
    """A file, or a data set, and the header values that slices are made from.

    Parameters
    ----------
    path : str, bytes or None
    dataset : Dataset or None
        At least one of `path` and `dataset` is given.
    row : dict of str to value
        Values by the names of `HEADER_TAGS`; for a file also the fixed columns
        of a scan with ``pixels=True``.
    """

    __slots__ = ("dataset", "path", "row")

    def __init__(
        self, path: str | bytes | None, dataset: Dataset | None, row: dict[str, Any]
    ) -> None:
        self.path = path
        self.dataset = dataset
        self.row = row

    def open(self) -> Dataset:
        """Return the data set, read from the file unless there is one."""
        if self.dataset is not None:
            return self.dataset
        assert self.path is not None
        ds: Dataset = dcmread(self.path, force=True)
        return ds

    def load(self) -> Dataset:
        """Return the data set, and keep it."""
        self.dataset = self.open()
        return self.dataset


class Slice:
    """One slice: a frame of an image, or one tile of a frame.

    Parameters
    ----------
    image : SourceImage
    frame : int
        Number of the frame in the image, from 0.
    values : dict of str to value
        The attributes of this frame.

    Attributes
    ----------
    tile : (row, column) or None
        The first cell of the tile within the frame; None: the complete frame.
    rows, columns, samples : int
        Shape of the slice in cells; samples per pixel.
    position : (x, y, z) or None
        Center of the first cell, in mm, LPS.
    orientation : 6 floats or None
        Two unit vectors, along a row and down a column.
    spacing : (float, float) or None
        Between rows and between columns, in mm.
    slice_spacing : float or None
        Spacing Between Slices, else Slice Thickness, in mm.
    distance_from : str
        Where `slice_spacing` is from, for findings; "1 mm" where there is none.
    assumed : str
        What was assumed about the distance of this slice to the next, "" for nothing.
    is_in_volume : bool
        Position and orientation are those of Plane Position (Volume), which are not
        relative to the patient (PS3.3 C.8.24.6.1).
    slope, intercept : float
        Rescale Slope and Intercept.
    has_modality_lut : bool
        Whether the image has a Modality LUT, which may replace them.
    """

    __slots__ = (
        "assumed",
        "columns",
        "distance_from",
        "frame",
        "has_modality_lut",
        "image",
        "intercept",
        "is_in_volume",
        "orientation",
        "position",
        "rows",
        "samples",
        "slice_spacing",
        "slope",
        "spacing",
        "tile",
        "values",
    )

    def __init__(self, image: SourceImage, frame: int, values: dict[str, Any]) -> None:
        self.image = image
        self.frame = frame
        self.values = values
        self.tile: tuple[int, int] | None = None
        self.rows: int = values["Rows"]
        self.columns: int = values["Columns"]
        self.samples: int = values["SamplesPerPixel"]
        self.assumed = ""
        self.is_in_volume = values["ImagePositionPatient"] is None and (
            values.get("ImagePositionVolume") is not None
        )
        frame_of_reference = "Volume" if self.is_in_volume else "Patient"
        self.position = finite_numbers(values[f"ImagePosition{frame_of_reference}"], 3)
        self.orientation: Vector | None = _unit_vectors(
            finite_numbers(values.get(f"ImageOrientation{frame_of_reference}"), 6)
        )
        self.spacing: Vector | None = finite_numbers(values["PixelSpacing"], 2)
        if self.spacing is not None and min(self.spacing) <= 0:
            self.spacing = None
        self.slice_spacing: float | None = None
        self.distance_from = "1 mm"
        for keyword, name in _DISTANCES:
            distance = finite_numbers(values[keyword], 1)
            if distance is not None and distance[0]:
                self.slice_spacing, self.distance_from = abs(distance[0]), name
                break
        rescale = functional_groups.rescale_of(values, image.path)
        self.slope, self.intercept = rescale or (1.0, 0.0)
        self.has_modality_lut = any(
            image.row[f"ModalityLUTSequence.LUT{part}"] is not None
            for part in ("Descriptor", "Data")
        )

    @property
    def path_and_frame(self) -> tuple[str | bytes | None, int]:
        """The file and the frame number, for findings."""
        return (self.image.path, self.frame)

    @property
    def has_geometry(self) -> bool:
        """Whether both position and orientation are known."""
        return self.position is not None and self.orientation is not None

    @property
    def normal(self) -> Vector:
        """Row direction x column direction, a unit vector in LPS."""
        assert self.orientation is not None
        a, b, c, d, e, f = self.orientation
        return (b * f - c * e, c * d - a * f, a * e - b * d)

    def move(self, vector: Vector, times: float = 1.0) -> None:
        """Move the position by `times` the vector, in mm."""
        assert self.position is not None
        self.position = tuple(p + times * v for p, v in zip(self.position, vector, strict=True))


def finite_numbers(value: object, count: int) -> Vector | None:
    """Return a value as `count` floats, or None when it is anything else.

    Parameters
    ----------
    value : object
        A number, or text that is one, or a list or tuple of these.
    count : int
        The value multiplicity that is required.

    Returns
    -------
    tuple of float or None
        None also for numbers that are not finite or above 1e9.
    """
    items = value if isinstance(value, (list, tuple)) else (value,)
    if len(items) != count:
        return None
    items = [as_number(item) for item in items]
    for item in items:
        if not isinstance(item, (int, float)) or not isfinite(item) or abs(item) > 1e9:
            return None
    return tuple(map(float, items))


@lru_cache(64)
def _unit_vectors(orientation: Vector | None) -> Vector | None:
    """Return two perpendicular unit vectors, or None when they are far from that.

    PS3.3 C.7.6.2.1.1 requires both; 1 % of rounding is accepted.
    """
    if orientation is None:
        return None
    row, column = orientation[:3], orientation[3:]
    lengths = [sqrt(sum(v * v for v in vector)) for vector in (row, column)]
    if not all(0.99 < length < 1.01 for length in lengths):
        return None
    if abs(sum(a * b for a, b in zip(row, column, strict=True))) > 0.01:
        return None
    # -0 and 1e-16 are written for 0
    return tuple(
        round(v / n, 12) + 0.0
        for vector, n in zip((row, column), lengths, strict=True)
        for v in vector
    )


# ---------------------------------------------------------------- headers ---


def read_headers(
    source: VolumeSource, tags: Iterable[TagExpression], threads: int | None
) -> tuple[list[SourceImage], list[dict[str, Any]]]:
    """Read the header values of every file or data set of a source.

    Parameters
    ----------
    source : path, Dataset, or iterable of either
        As for `fastdcm.read_volume`.
    tags : iterable of str or int
        Further elements to read, as `scan` accepts them.
    threads : int or None
        As for `scan`.

    Returns
    -------
    images : list of SourceImage
    failed : list of dict
        The rows of a scan of the files that cannot be read.
    """
    wanted = [*HEADER_TAGS, *(tag for tag in tags if tag not in HEADER_TAGS)]
    if isinstance(source, Dataset):
        source = [source]
    paths = [parse_tag(tag) for tag in wanted]
    if isinstance(source, (list, tuple)) and any(isinstance(s, Dataset) for s in source):
        return [_image_of_dataset(ds, paths) for ds in source], []
    images: list[SourceImage] = []
    failed: list[dict[str, Any]] = []
    tags_of_values = {path[-1][0] for _, path in paths}
    endings = tuple(f"({tag >> 16:04X},{tag & 0xFFFF:04X})" for tag in tags_of_values)
    paths_to_scan = cast("Path | Iterable[Path]", source)  # no Datasets, see above
    for batch in scan(paths_to_scan, wanted, pixels=True, threads=threads):
        columns = batch.to_pydict()
        names = list(columns)
        for values in zip(*columns.values(), strict=True):
            row = dict(zip(names, values, strict=True))
            if row["error"] is not None:
                failed.append(row)
                continue
            image = SourceImage(row["path"], None, row)
            if any(issue.endswith(endings) for issue in row["issues"] or ()):
                # a value that a column cannot hold, such as a number that is none, is null
                ds = image.open()
                row.update((name, value_at(ds, path)) for name, path in paths)
            images.append(image)
    return images, failed


def _image_of_dataset(ds: object, paths: Iterable[tuple[str, Any]]) -> SourceImage:
    if not isinstance(ds, Dataset):
        raise TypeError(f"a list must hold only Datasets or only paths, got {type(ds).__name__}")
    row = {name: value_at(ds, path) for name, path in paths}
    row["path"] = ds.filename
    row["pixel_length"] = next((0 for tag in PIXEL_TAGS if tag in ds), None)
    return SourceImage(ds.filename, ds, row)


def value_at(ds: Dataset, path: Sequence[tuple[int, str | None, int | None]]) -> Any:
    """Return the value at a path into sequences.

    Parameters
    ----------
    ds : Dataset
    path : sequence of (tag, private creator or None, item)
        As `parse_tag` returns it. item: None for a value, a number from 1 for
        an item of a sequence, 0 for all items.

    Returns
    -------
    value, list of values or None
        A list where the path goes through all items; None where the element is
        absent.
    """
    (tag, creator, item), *rest = path
    if creator is not None:
        if creator not in ds.private_creators(tag >> 16):
            return None
        tag = ds.private_block(tag >> 16, creator).get_tag(tag & 0xFF)
    elem = ds.get(tag)
    if elem is None:
        return None
    value = elem.value
    if item is None:
        return str(value) if isinstance(value, Tag) else value  # as a column has it
    if elem.VR != "SQ" or item > len(value):
        return None
    if item == 0:
        return [value_at(each, rest) for each in value]
    return value_at(value[item - 1], rest)


# ----------------------------------------------------------------- slices ---


def slices_of_image(image: SourceImage, keywords: Sequence[str] = ()) -> list[Slice]:
    """Return the slices of one image.

    Parameters
    ----------
    image : SourceImage
        With pixel data.
    keywords : sequence of str
        Further attributes to look for in functional groups.

    Returns
    -------
    list of Slice
        In the order of frames, or of the tiles of a mosaic.

    Raises
    ------
    DicomError
        "pixels" where an attribute is impossible or the pixel data too short,
        "mosaic" or "csa" where the tiles of a mosaic cannot be determined.
    """
    row = image.row
    for name in ("Rows", "Columns", "SamplesPerPixel", "NumberOfFrames"):
        if row[name] in (None, "") and name in ("SamplesPerPixel", "NumberOfFrames"):
            row[name] = 1
        if not isinstance(row[name], int) or row[name] < 1:
            raise DicomError(
                f"{name} must be a positive integer, got {row[name]!r}",
                "pixels",
                filename=image.path,
            )
    frames = row["NumberOfFrames"]
    _check_length(image, frames)
    if frames == 1 and _may_be_mosaic(row):
        mosaic = mosaic_layout(image.load())
        if mosaic is not None:
            return _slices_of_mosaic(image, mosaic)
    grouped = any(row[name] is not None for name in _GROUP_COLUMNS)
    if frames == 1 and finite_numbers(row["ImagePositionPatient"], 3) is not None and not grouped:
        return [Slice(image, 0, row)]
    ds = image.load()
    if functional_groups.is_enhanced(ds):
        return _slices_of_enhanced(image, ds, frames, keywords)
    return _slices_of_frames(image, ds, frames) if frames > 1 else [Slice(image, 0, row)]


def _check_length(image: SourceImage, frames: int) -> None:
    """Raise DicomError when the pixel data has too few bytes for its frames.

    Checked before anything is allocated: NumberOfFrames may be any number.
    """
    row = image.row
    length = row["pixel_length"]
    if image.dataset is not None:
        ds = image.dataset
        elem = pixel_element(ds)
        length = elem.value_length if elem.is_raw else len(elem.value or b"")
        native = not has_fragments(ds, elem, transfer_syntax_of(ds, elem))
    else:
        native = row["pixel_fragments"] == 0
    least = frames
    if native:
        bits = row["BitsAllocated"]
        if not isinstance(bits, int) or bits < 1:
            bits = 8
        cells = row["Rows"] * row["Columns"] * row["SamplesPerPixel"]
        least = max(native_length(cells, frames, bits, row["PhotometricInterpretation"]), frames)
    if length < least:
        raise DicomError(
            f"the pixel data has {length} bytes, but its attributes require at least {least}",
            "pixels",
            filename=image.path,
        )


def _may_be_mosaic(row: dict[str, Any]) -> bool:
    """Return whether an image may be a mosaic of slices, of Siemens or United Imaging."""
    image_type = row["ImageType"]
    names = image_type if isinstance(image_type, list) else [image_type]
    return "MOSAIC" in names or "VFRAME" in names or row[GRID_TAG] is not None


def _slices_of_mosaic(image: SourceImage, layout: MosaicLayout) -> list[Slice]:
    """Return a slice for each tile of a mosaic.

    Where the tiles have no positions of their own (Siemens), Image Position (Patient) is
    that of a complete image of the mosaic's size around the center of the first slice.
    """
    first = Slice(image, 0, image.row)
    rows, columns = first.rows // layout.tiles_per_row, first.columns // layout.tiles_per_row
    step = None
    assumed = ""
    if layout.positions is None and first.distance_from != "Spacing Between Slices":
        assumed = f"{first.distance_from} is used as the distance between the slices of the mosaic"
    if first.orientation is not None and first.position is not None and first.spacing is not None:
        along_row, down_column = first.orientation[:3], first.orientation[3:]
        first.move(along_row, (first.columns - columns) / 2 * first.spacing[1])
        first.move(down_column, (first.rows - rows) / 2 * first.spacing[0])
        step = first.normal
        if (
            layout.normal is not None
            and sum(x * y for x, y in zip(step, layout.normal, strict=True)) < 0
        ):
            step = tuple(-x for x in step)
        step = tuple(x * (first.slice_spacing or 1.0) for x in step)
    slices = []
    for i in range(layout.tiles):
        tile = Slice(image, 0, image.row)
        tile.rows, tile.columns = rows, columns
        tile.tile = (i // layout.tiles_per_row * rows, i % layout.tiles_per_row * columns)
        tile.assumed = assumed
        tile.position = first.position if layout.positions is None else layout.positions[i]
        if step is not None and layout.positions is None:
            tile.move(step, i)
        slices.append(tile)
    return slices


def _slices_of_frames(image: SourceImage, ds: Dataset, frames: int) -> list[Slice]:
    """Return the frames of a multi-frame image without functional groups.

    Their geometry comes from attributes of the IOD: NM (PS3.3 C.8.4.8, C.8.4.11) or RT
    Dose (PS3.3 C.8.8.3.2).
    """
    row = dict(image.row)
    vectors = {name: _vector(ds, name, frames) for name in _NM_VECTORS}
    slice_vector = _vector(ds, "SliceVector", frames)
    detectors = sequence_items(ds, "DetectorInformationSequence")
    slices = []
    for i in range(frames):
        values = {**row, **{name: vector[i] for name, vector in vectors.items() if vector}}
        number = values.get("DetectorVector", 1) - 1
        if detectors:
            detector = detectors[number if 0 <= number < len(detectors) else 0]
            for name in ("ImagePositionPatient", "ImageOrientationPatient"):
                if values[name] in (None, ""):
                    values[name] = detector.get(name)
        slices.append(Slice(image, i, values))
    first = slices[0]
    if not first.has_geometry:
        return slices
    is_nm = slice_vector is not None or any(vectors.values()) or row["Modality"] == "NM"
    grid = finite_numbers(ds.get("GridFrameOffsetVector"), frames)
    between = finite_numbers(row["SpacingBetweenSlices"], 1)
    step = between[0] if between is not None and between[0] else first.slice_spacing
    numbers = list(range(frames)) if slice_vector is None else [n - 1 for n in slice_vector]
    if grid is not None:
        # relative to the first frame; where the first is not 0, they are z itself
        offsets = [value - grid[0] for value in grid]
    elif step is None or (is_nm and slice_vector is None):
        return slices  # projections have no slices
    else:
        offsets = [n * step for n in numbers]
        if between is None or not between[0]:
            for each in slices:
                each.assumed = "Slice Thickness is used as the distance between frames"
    for each, offset in zip(slices, offsets, strict=True):
        each.move(each.normal, offset)
    return slices


def _vector(ds: Dataset, keyword: str, frames: int) -> list[int] | None:
    """Return the numbers of the frames in a vector of NM, None if it is not one for each."""
    value = ds.get(keyword)
    numbers = value if isinstance(value, list) else [value]
    if len(numbers) != frames or not all(isinstance(n, int) for n in numbers):
        return None
    return numbers


def _slices_of_enhanced(
    image: SourceImage, ds: Dataset, frames: int, keywords: Sequence[str]
) -> list[Slice]:
    """Return the frames of an enhanced multi-frame image (PS3.3 C.7.6.16)."""
    values = functional_groups.frame_values(ds, frames, image.row, _GROUPS, keywords)
    return [Slice(image, i, of_frame) for i, of_frame in enumerate(values)]
