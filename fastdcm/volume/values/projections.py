"""The pixel spacing of images that are no planes in the patient: projections, ultrasound.

They have no Pixel Spacing, or one that was calibrated (PS3.3 10.7.1.3); but the size of a
pixel at the detector, of a scanned page, or of an ultrasound region.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastdcm.errors import Finding
from fastdcm.volume.slices import Slice, Vector, finite_numbers

_REGION = "SequenceOfUltrasoundRegions"
#: The elements that this needs.
TAGS = (
    "ImagerPixelSpacing",
    "NominalScannedPixelSpacing",
    f"{_REGION}.PhysicalUnitsXDirection",
    f"{_REGION}.PhysicalUnitsYDirection",
    f"{_REGION}.PhysicalDeltaX",
    f"{_REGION}.PhysicalDeltaY",
    f"{_REGION}[2].PhysicalDeltaX",
)
_CENTIMETERS = 3
_WHERE = {
    "ImagerPixelSpacing": "at the detector",
    "NominalScannedPixelSpacing": "of the scanned page",
    _REGION: "of the ultrasound region",
}


def complete_spacing(slices: Sequence[Slice], findings: list[Finding]) -> None:
    """Set the pixel spacing of slices without position and Pixel Spacing, where it is known.

    Parameters
    ----------
    slices : sequence of Slice
        With the values of `TAGS`.
    findings : list of Finding
        A note "other-spacing" is added for each attribute that was used.
    """
    used: dict[str, int] = {}
    for each in slices:
        if each.spacing is not None or each.has_geometry:
            continue
        name, spacing = _other_spacing(each.image.row)
        if spacing is not None:
            each.spacing = spacing
            used[name] = used.get(name, 0) + 1
    for name, count in used.items():
        text = f"Pixel Spacing is missing: {name} is used, which is the size {_WHERE[name]}"
        findings.append(Finding("other-spacing", text, False, {"slices": count}))


def _other_spacing(row: dict[str, Any]) -> tuple[str, Vector | None]:
    for name in ("ImagerPixelSpacing", "NominalScannedPixelSpacing"):
        spacing = finite_numbers(row.get(name), 2)
        if spacing is not None and min(spacing) > 0:
            return name, spacing
    units = [row.get(f"{_REGION}.PhysicalUnits{axis}Direction") for axis in "XY"]
    # with several regions there is no one size
    if units == [_CENTIMETERS] * 2 and row.get(f"{_REGION}[2].PhysicalDeltaX") is None:
        deltas = [row.get(f"{_REGION}.PhysicalDelta{axis}") for axis in "YX"]
        spacing = finite_numbers(deltas, 2)
        if spacing is not None and 0 not in spacing:
            return _REGION, tuple(abs(delta) * 10.0 for delta in spacing)
    return "", None
