"""Which images are in color, and what a volume makes of them (PS3.3 C.7.6.3.1.2)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from fastdcm.errors import DicomError, Finding
from fastdcm.pixels.layout import LABEL_MAP_STORAGE, direct_byte_order
from fastdcm.volume.slices import Slice

#: What becomes of images in color.
ColorMode = Literal["rgb", "raw", "error"]
COLOR_MODES = ("rgb", "raw", "error")

_GRAYSCALE = ("", "MONOCHROME1", "MONOCHROME2", "PALETTE COLOR")  # the last of label maps
# Decoded frames of these are RGB.
_DECODED_TO_RGB = ("RGB", "YBR_ICT", "YBR_RCT")


def photometric_of(each: Slice) -> str:
    """Return the Photometric Interpretation, "" where there is none."""
    value = each.image.row["PhotometricInterpretation"]
    return value.strip() if isinstance(value, str) else ""


def is_color(each: Slice) -> bool:
    """Return whether the stored values of a slice are not intensities."""
    if each.image.row["SOPClassUID"] == LABEL_MAP_STORAGE:
        return False
    return each.image.row["SamplesPerPixel"] != 1 or photometric_of(each) == "PALETTE COLOR"


def needs_conversion(each: Slice) -> bool:
    """Return whether the decoded frame of a slice is in color, but not RGB.

    A decoder may return the frames of a compressed image in another color space than their
    label says, so these are always converted.
    """
    if not is_color(each):
        return False
    if photometric_of(each) not in _DECODED_TO_RGB:
        return True
    native = direct_byte_order(each.image.row.get("transfer_syntax")) is not None
    return not native and each.image.row["BitsAllocated"] == 8


def check_color(slices: Sequence[Slice], color: ColorMode, findings: list[Finding]) -> None:
    """Set the samples that each slice has after its conversion, or refuse color.

    Parameters
    ----------
    slices : sequence of Slice
    color : {"rgb", "raw", "error"}
    findings : list of Finding
        For "raw" a note is added with the color spaces; and one for slices of one sample
        whose label is that of three.

    Raises
    ------
    DicomError
        "color" for an image in color, with "error".
    """
    found: dict[str, int] = {}
    mislabeled: dict[str, int] = {}
    for each in slices:
        photometric = photometric_of(each)
        if not is_color(each):
            if photometric not in _GRAYSCALE:
                mislabeled[photometric] = mislabeled.get(photometric, 0) + 1
            continue
        found[photometric] = found.get(photometric, 0) + 1
        if color == "error":
            raise DicomError(
                f"the image is {photometric or 'in color'}, and color='error' accepts only "
                "grayscale",
                "color",
                filename=each.image.path,
            )
        if color == "rgb" and photometric == "PALETTE COLOR":
            each.samples = 3
    if mislabeled:
        text = f"one sample per pixel, read as grayscale, but labeled {', '.join(mislabeled)}"
        findings.append(Finding("photometric", text, False, {"slices": mislabeled}))
    if color == "raw" and found:
        names = ", ".join(sorted(found))
        text = f"stored values of color images, not intensities: {names}"
        findings.append(Finding("raw-color", text, False, {"slices": found}))
