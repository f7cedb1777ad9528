"""Render one frame as a radiology workstation displays it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fastdcm.dataset import Dataset
from fastdcm.errors import DicomError
from fastdcm.pixels import functional_groups
from fastdcm.pixels.color import to_rgb
from fastdcm.pixels.grayscale import windowed
from fastdcm.pixels.overlay import overlay_groups, overlay_origin, overlay_plane

if TYPE_CHECKING:
    from PIL.Image import Image

_MAX_SIDE = 16384  # pixels of a side after stretching
_OVERLAY_COLOR = (255, 220, 0)  # visible on black and on white


def picture(
    ds: Dataset,
    frame: int | None = None,
    window: tuple[float, float] | None = None,
    view: int = 0,
) -> Image:
    """Render one frame as a Pillow image of mode "L" or "RGB".

    The modality transformation, the VOI transformation, MONOCHROME1 inversion, colors
    and overlays are applied, and pixels that are not square are stretched.

    Parameters
    ----------
    ds : Dataset
        The image.
    frame : int, optional
        Frame number from 0; the middle frame by default.
    window : tuple of float, optional
        (center, width) in place of the window of the data set.
    view : int
        Index of the window or VOI LUT of the data set, from 0.

    Raises
    ------
    DicomError
        If the frame cannot be rendered.
    """
    from PIL import Image

    if frame is None:
        frame = len(ds.frames) // 2
    center, width = window or (None, None)
    if is_grayscale(ds):
        pixels = windowed(ds, frame, center=center, width=width, index=view)
    else:
        pixels = to_rgb(ds, frame)
    pixels = draw_overlays(ds, pixels, frame)
    image = Image.fromarray(pixels)
    return image.resize(displayed_size(ds, frame, *image.size), Image.Resampling.BILINEAR)


def is_grayscale(ds: Dataset) -> bool:
    """Return whether windows apply to this image."""
    return (ds.get("SamplesPerPixel") or 1) == 1 and ds.get(
        "PhotometricInterpretation"
    ) != "PALETTE COLOR"


def draw_overlays(ds: Dataset, pixels: np.ndarray[Any, Any], frame: int) -> np.ndarray[Any, Any]:
    """Return the pixels with the overlay planes drawn in, as RGB if there are any.

    An overlay that is damaged is left out, with the issue "overlay" (PS3.3 C.9.2).
    """
    for group in overlay_groups(ds):
        try:
            plane = overlay_plane(ds, group, frame)
        except DicomError:
            ds.note_issue("overlay", group << 16 | 0x3000)
            continue
        if plane is None:
            continue
        origin = overlay_origin(ds, group)
        # Negative ends would count from the other side.
        top, left = max(origin[0] - 1, 0), max(origin[1] - 1, 0)
        plane = plane[max(1 - origin[0], 0) :, max(1 - origin[1], 0) :]
        plane = plane[: max(pixels.shape[0] - top, 0), : max(pixels.shape[1] - left, 0)]
        if not plane.any():
            continue
        if pixels.ndim == 2:
            pixels = pixels[..., None].repeat(3, axis=2)
        part = pixels[top : top + plane.shape[0], left : left + plane.shape[1]]
        part[plane != 0] = _OVERLAY_COLOR
    return pixels


def displayed_size(ds: Dataset, frame: int, columns: int, rows: int) -> tuple[int, int]:
    """Return the (width, height) that makes pixels square.

    The side along which pixels are shorter keeps its count.
    """
    ratio = pixel_ratio(ds, frame)
    if abs(ratio - 1) < 0.005 or not 1 / _MAX_SIDE < ratio < _MAX_SIDE:
        return columns, rows
    width, height = (columns, rows * ratio) if ratio > 1 else (columns / ratio, rows)
    if max(width, height) > _MAX_SIDE:
        return columns, rows
    return round(width), round(height)


def pixel_ratio(ds: Dataset, frame: int) -> float:
    """Return pixel height divided by width (PS3.3 C.7.6.3.1.7, 10.7.1.3), 1 if unknown."""
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
                return float(pair[0] / pair[1])
    return 1.0
