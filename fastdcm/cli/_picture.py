"""One image as a workstation shows it."""

from fastdcm.errors import DicomError
from fastdcm.pixels import functional_groups
from fastdcm.pixels.color import to_rgb
from fastdcm.pixels.grayscale import windowed
from fastdcm.pixels.overlay import overlay_array, overlay_groups

_LONGEST = 16384  # pixels of a side, after stretching
_OVERLAY = (255, 220, 0)  # seen on black and on white


def frame_count(ds):
    """How many frames there are, at least 1."""
    count = ds.get("NumberOfFrames")
    return count if isinstance(count, int) and count > 0 else 1


def picture(ds, frame=None, window=None, view=0):
    """A Pillow image of one frame, "L" or "RGB": modality transformation, VOI,
    polarity, colour, overlays, and pixels of the right proportions.

    ds : Dataset. frame : from 0; None is the middle one. window : (center,
    width) in place of the data set's. view : the index of its windows or
    tables. Raises DicomError for what cannot be shown.
    """
    from PIL import Image

    if frame is None:
        frame = frame_count(ds) // 2
    center, width = window or (None, None)
    if is_grey(ds):
        cells = windowed(ds, frame, center=center, width=width, index=view)
    else:
        cells = to_rgb(ds, frame)
    cells = with_overlays(ds, cells, frame)
    image = Image.fromarray(cells)
    return image.resize(proportions(ds, frame, *image.size), Image.Resampling.BILINEAR)


def is_grey(ds):
    """Whether windows are for this image."""
    return (ds.get("SamplesPerPixel") or 1) == 1 and ds.get(
        "PhotometricInterpretation"
    ) != "PALETTE COLOR"


def with_overlays(ds, cells, frame):
    """The pixels with the overlays drawn in, as RGB where there are any.
    One that is damaged, or of another size than told, is left out."""
    for group in overlay_groups(ds):
        try:
            plane = overlay_array(ds, group)
        except DicomError:
            continue
        if plane.ndim == 3:
            first = _whole(ds, group, 0x0051, 1)  # Image Frame Origin
            if not 0 <= frame - (first - 1) < len(plane):
                continue
            plane = plane[frame - (first - 1)]
        elem = ds.get(group << 16 | 0x0050)  # Overlay Origin: row, column from 1
        origin = elem.value if elem is not None else None
        if not isinstance(origin, list) or len(origin) != 2:
            origin = (1, 1)
        # without negative ends, which would count from the other side
        top, left = max(origin[0] - 1, 0), max(origin[1] - 1, 0)
        plane = plane[max(1 - origin[0], 0) :, max(1 - origin[1], 0) :]
        plane = plane[: max(cells.shape[0] - top, 0), : max(cells.shape[1] - left, 0)]
        if not plane.any():
            continue
        if cells.ndim == 2:
            cells = cells[..., None].repeat(3, axis=2)
        part = cells[top : top + plane.shape[0], left : left + plane.shape[1]]
        part[plane != 0] = _OVERLAY
    return cells


def _whole(ds, group, element, default):
    elem = ds.get(group << 16 | element)
    return elem.value if elem is not None and isinstance(elem.value, int) else default


def proportions(ds, frame, columns, rows):
    """(width, height) that make pixels square: the shorter side of a pixel
    keeps its count."""
    ratio = pixel_ratio(ds, frame)
    if abs(ratio - 1) < 0.005:
        return columns, rows
    width, height = (columns, rows * ratio) if ratio > 1 else (columns / ratio, rows)
    if max(width, height) > _LONGEST:
        return columns, rows
    return round(width), round(height)


def pixel_ratio(ds, frame):
    """Height of a pixel by its width (PS3.3 C.7.6.3.1.7, 10.7.1.3); 1 if unknown."""
    for keyword in (
        "PixelSpacing",
        "ImagerPixelSpacing",
        "NominalScannedPixelSpacing",
        "PixelAspectRatio",
    ):
        for level in functional_groups.levels(ds, "PixelMeasuresSequence", frame):
            pair = level.get(keyword)
            if (
                isinstance(pair, list)
                and len(pair) == 2
                and all(isinstance(one, (int, float)) and one > 0 for one in pair)
            ):
                return pair[0] / pair[1]
    return 1.0
