"""What is done with pixels, by the names that pydicom.pixels gives it."""

from fastdcm.pixels.color import apply_color_lut, convert_color_space, to_rgb
from fastdcm.pixels.frames import pixel_array
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
    "apply_color_lut",
    "apply_modality_lut",
    "apply_presentation_lut",
    "apply_rescale",
    "apply_voi",
    "apply_voi_lut",
    "apply_windowing",
    "convert_color_space",
    "modality_pixels",
    "overlay_array",
    "pixel_array",
    "to_rgb",
    "windowed",
]
