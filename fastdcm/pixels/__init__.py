"""Pixels: stored values, frames, modality and display transformations, color, overlays.

Functions that pydicom.pixels also has have its names and arguments. Each reads a
`fastdcm.Dataset`; most are also its methods: ``ds.pixel_array``,
``ds.modality_pixels()``, ``ds.windowed()``, ``ds.to_rgb()`` (PS3.3 C.7.6.3, C.11).
"""

from fastdcm.pixels.color import apply_color_lut, color_to_rgb, convert_color_space, to_rgb
from fastdcm.pixels.frames import Frames, pixel_array
from fastdcm.pixels.grayscale import (
    apply_modality_lut,
    apply_presentation_lut,
    apply_rescale,
    apply_voi,
    apply_voi_lut,
    apply_windowing,
    modality_pixels,
    windowed,
)
from fastdcm.pixels.overlay import overlay_array

__all__ = [
    "Frames",
    "apply_color_lut",
    "apply_modality_lut",
    "apply_presentation_lut",
    "apply_rescale",
    "apply_voi",
    "apply_voi_lut",
    "apply_windowing",
    "color_to_rgb",
    "convert_color_space",
    "modality_pixels",
    "overlay_array",
    "pixel_array",
    "to_rgb",
    "windowed",
]
