"""From headers to planes: one for each slice that some image, frame of an image
or tile of a mosaic holds, with where it lies (PS3.3 C.7.6.2, C.7.6.16)."""

from functools import lru_cache
from math import isfinite, sqrt

from fastdcm.dataset import Dataset
from fastdcm.errors import DicomError
from fastdcm.pixels import functional_groups
from fastdcm.pixels.layout import (
    PIXEL_TAGS,
    is_native,
    native_length,
    pixel_element,
    transfer_syntax_of,
)
from fastdcm.reader import dcmread
from fastdcm.scanning.scanner import scan
from fastdcm.scanning.tags import parse_tag
from fastdcm.volume.siemens import tiles_of

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

#: What is read of each file, in the terms of `scan`.
TAGS = (
    "SOPInstanceUID",
    "SOPClassUID",
    "SeriesInstanceUID",
    "FrameOfReferenceUID",
    "Modality",
    "ImageType",
    "InstanceNumber",
    "AcquisitionNumber",
    "AcquisitionTime",
    "ContentTime",
    "EchoTime",
    "EchoNumbers",
    "InversionTime",
    "FlipAngle",
    "TriggerTime",
    "TemporalPositionIdentifier",
    "DiffusionBValue",
    "DiffusionGradientOrientation",
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
    "ModalityLUTSequence.LUTDescriptor",
    *_GROUP_COLUMNS,
)

# Functional groups (PS3.3 C.7.6.16.2, C.8) to what is taken from each.
_GROUPS = {
    0x00209113: ("ImagePositionPatient",),  # Plane Position
    0x00209116: ("ImageOrientationPatient",),  # Plane Orientation
    0x00289110: ("PixelSpacing", "SpacingBetweenSlices", "SliceThickness"),
    0x00289145: ("RescaleSlope", "RescaleIntercept"),  # Pixel Value Transformation
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
    0x00189112: ("FlipAngle",),  # MR Timing
    0x00189117: ("DiffusionBValue",),  # MR Diffusion
    0x00189118: ("NominalCardiacTriggerDelayTime",),  # Cardiac Synchronization
    0x00189226: ("FrameType", "ComplexImageComponent"),  # MR Image Frame Type
    0x00189329: ("FrameType",),  # CT Image Frame Type
    0x00189751: ("FrameType",),  # PET Frame Type
    0x0062000A: ("ReferencedSegmentNumber",),  # Segment Identification
}


class Source:
    """A file, or a Dataset, that has planes.

    path, or dataset, or both; row: its values by the names of `TAGS`, and
    size, mtime_ns, transfer_syntax, pixel_offset, pixel_length as of a scan.
    """

    __slots__ = ("path", "dataset", "row")

    def __init__(self, path, dataset, row):
        self.path, self.dataset, self.row = path, dataset, row

    def open(self):
        """Its Dataset."""
        return self.dataset if self.dataset is not None else dcmread(self.path, force=True)


class Plane:
    """One slice: `frame` of `source`, or the part of it that begins at the row
    and column `tile` and has `rows` and `columns`.

    position : of the middle of its first cell, (x, y, z) in mm, LPS, or None.
    orientation : two unit vectors, along a row and down a column, 6 numbers, or None.
    spacing : between rows, between columns, in mm, or None.
    depth : what the header says to be between slices, in mm, or None.
    """

    __slots__ = (
        "source",
        "frame",
        "tile",
        "rows",
        "columns",
        "samples",
        "position",
        "orientation",
        "spacing",
        "depth",
        "slope",
        "intercept",
        "values",
    )

    def __init__(self, source, frame, values):
        self.source, self.frame, self.tile, self.values = source, frame, None, values
        self.rows, self.columns = values["Rows"], values["Columns"]
        self.samples = values["SamplesPerPixel"]
        self.position = numbers(values["ImagePositionPatient"], 3)
        self.orientation = _unit(numbers(values["ImageOrientationPatient"], 6))
        self.spacing = numbers(values["PixelSpacing"], 2)
        if self.spacing is not None and min(self.spacing) <= 0:
            self.spacing = None
        depth = numbers(values["SpacingBetweenSlices"], 1) or numbers(values["SliceThickness"], 1)
        self.depth = abs(depth[0]) if depth and depth[0] else None
        rescale = functional_groups.rescale_of(values, source.path)
        self.slope, self.intercept = rescale or (1.0, 0.0)

    @property
    def where(self):
        """(path, frame) for people: which frame of which file."""
        return (self.source.path, self.frame)

    def moved(self, vector, times=1.0):
        self.position = tuple(p + times * v for p, v in zip(self.position, vector))

    @property
    def normal(self):
        """Along a row x down a column: a unit vector in LPS."""
        a, b, c, d, e, f = self.orientation
        return (b * f - c * e, c * d - a * f, a * e - b * d)


def numbers(value, count):
    """`count` finite floats, or None."""
    if not isinstance(value, (list, tuple)):
        value = (value,)
    if len(value) != count:
        return None
    for v in value:
        if not isinstance(v, (int, float)) or not isfinite(v) or abs(v) > 1e9:
            return None
    return tuple(map(float, value))


@lru_cache(64)
def _unit(six):
    """Two directions at right angles, each of length 1 (PS3.3 C.7.6.2.1.1), or
    None when they are not nearly so."""
    if six is None:
        return None
    row, column = six[:3], six[3:]
    lengths = [sqrt(sum(v * v for v in vector)) for vector in (row, column)]
    if not all(0.99 < length < 1.01 for length in lengths):
        return None
    if abs(sum(a * b for a, b in zip(row, column))) > 0.01:
        return None
    # DICOM's -0 and 1e-16 mean 0
    return tuple(
        round(v / n, 12) + 0.0 for vector, n in zip((row, column), lengths) for v in vector
    )


# ---------------------------------------------------------------- sources ---


def read_sources(source, tags, threads):
    """The Sources of all that has a header, and the rows of what has none.

    tags : more elements to read, as `scan` takes them.
    """
    tags = [*TAGS, *(tag for tag in tags if tag not in TAGS)]
    if isinstance(source, Dataset):
        source = [source]
    if isinstance(source, (list, tuple)) and any(isinstance(s, Dataset) for s in source):
        paths = [parse_tag(tag) for tag in tags]
        return [_of_dataset(ds, paths) for ds in source], []
    sources, failed = [], []
    for batch in scan(source, tags, pixels=True, threads=threads):
        columns = batch.to_pydict()
        names = list(columns)
        for values in zip(*columns.values()):
            row = dict(zip(names, values))
            if row["error"] is not None:
                failed.append(row)
            else:
                sources.append(Source(row["path"], None, row))
    return sources, failed


def _of_dataset(ds, paths):
    if not isinstance(ds, Dataset):
        raise TypeError(f"a list of Datasets and paths: {type(ds).__name__} among Datasets")
    row = {name: look_up(ds, path) for name, path in paths}
    row["path"] = ds.filename
    row["pixel_length"] = next((0 for tag in PIXEL_TAGS if tag in ds), None)
    return Source(ds.filename, ds, row)


def look_up(ds, path):
    """The value at a path as `parse_tag` gives it, None where it is absent."""
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
        return value
    if elem.VR != "SQ" or item > len(value):
        return None
    if item == 0:
        return [look_up(each, rest) for each in value]
    return look_up(value[item - 1], rest)


# ----------------------------------------------------------------- planes ---


def planes_of(source, extra=()):
    """The Planes of one Source that has pixel data.

    extra : keywords to look for in functional groups as well.

    Raises DicomError where its attributes cannot be.
    """
    row = source.row
    for name in ("Rows", "Columns", "SamplesPerPixel", "NumberOfFrames"):
        if row[name] in (None, "") and name in ("SamplesPerPixel", "NumberOfFrames"):
            row[name] = 1
        if not isinstance(row[name], int) or row[name] < 1:
            raise DicomError(
                f"{name} is {row[name]!r}, where a positive number is needed",
                "pixels",
                None,
                "",
                source.path,
            )
    frames = row["NumberOfFrames"]
    _check_length(source, frames)
    image_type = row["ImageType"]
    if frames == 1 and isinstance(image_type, list) and "MOSAIC" in image_type:
        return _mosaic(source)
    grouped = any(row[name] is not None for name in _GROUP_COLUMNS)
    if frames == 1 and numbers(row["ImagePositionPatient"], 3) is not None and not grouped:
        return [Plane(source, 0, row)]
    ds = source.dataset
    if ds is None:
        ds = source.dataset = dcmread(source.path, force=True)
    if functional_groups.is_enhanced(ds):
        return _enhanced(source, ds, frames, extra)
    return _frames(source, ds, frames) if frames > 1 else [Plane(source, 0, row)]


def _check_length(source, frames):
    """More frames than there are bytes for would be memory for nothing."""
    row = source.row
    length = row["pixel_length"]
    if source.dataset is not None:
        ds = source.dataset
        elem = pixel_element(ds)
        length = elem.value_length if elem.is_raw else len(elem.value or b"")
        native = is_native(transfer_syntax_of(ds, elem), elem.is_undefined_length)
    else:
        native = is_native(row["transfer_syntax"], None)
    least = frames
    if native:
        bits = row["BitsAllocated"]
        if not isinstance(bits, int) or bits < 1:
            bits = 8
        cells = row["Rows"] * row["Columns"] * row["SamplesPerPixel"]
        least = max(native_length(cells, frames, bits, row["PhotometricInterpretation"]), frames)
    if length < least:
        raise DicomError(
            f"the pixel data has {length} bytes, where its attributes ask for {least}",
            "pixels",
            None,
            "",
            source.path,
        )


def _mosaic(source):
    ds = source.dataset
    if ds is None:
        ds = source.dataset = dcmread(source.path, force=True)
    count, across, direction = tiles_of(ds)
    whole = Plane(source, 0, source.row)
    rows, columns = whole.rows // across, whole.columns // across
    step = None
    if whole.orientation is not None and whole.position is not None and whole.spacing is not None:
        a, b = whole.orientation[:3], whole.orientation[3:]
        whole.moved(a, (whole.columns - columns) / 2 * whole.spacing[1])
        whole.moved(b, (whole.rows - rows) / 2 * whole.spacing[0])
        step = whole.normal
        if direction is not None and sum(x * y for x, y in zip(step, direction)) < 0:
            step = tuple(-x for x in step)
        step = tuple(x * (whole.depth or 1.0) for x in step)
    planes = []
    for i in range(count):
        plane = Plane(source, 0, source.row)
        plane.rows, plane.columns = rows, columns
        plane.tile = (i // across * rows, i % across * columns)
        plane.position = whole.position
        if step is not None:
            plane.moved(step, i)
        planes.append(plane)
    return planes


def _frames(source, ds, frames):
    """Multi-frame without functional groups: geometry where its IOD has one."""
    row = dict(source.row)
    detector = ds.get("DetectorInformationSequence")  # NM, PS3.3 C.8.4.11
    if detector:
        for name in ("ImagePositionPatient", "ImageOrientationPatient"):
            if row[name] in (None, ""):
                row[name] = detector[0].get(name)
    planes = [Plane(source, i, row) for i in range(frames)]
    first = planes[0]
    if first.position is None or first.orientation is None:
        return planes
    offsets = ds.get("GridFrameOffsetVector")  # RT Dose, PS3.3 C.8.8.3.2
    between = numbers(row["SpacingBetweenSlices"], 1)
    if isinstance(offsets, list) and numbers(offsets, frames) is not None:
        # relative to the first frame, or, where the first is not 0, z itself
        offsets = [value - offsets[0] for value in offsets]
    elif between is not None:
        offsets = [i * between[0] for i in range(frames)]
    elif 0x00540080 in ds and first.depth:  # frames follow a Slice Vector
        offsets = [i * first.depth for i in range(frames)]
    else:
        return planes
    for plane, offset in zip(planes, offsets):
        plane.moved(first.normal, offset)
    return planes


def _enhanced(source, ds, frames, extra):
    """Planes of an enhanced multi-frame image (PS3.3 C.7.6.16)."""
    values = functional_groups.frame_values(ds, frames, source.row, _GROUPS, extra)
    return [Plane(source, i, of_frame) for i, of_frame in enumerate(values)]
