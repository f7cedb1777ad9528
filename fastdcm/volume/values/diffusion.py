"""Diffusion weighting: b-values and gradient directions, also of private elements.

Enhanced MR has them in the MR Diffusion functional group (PS3.3 C.8.13.5.9). Classic MR
has no attribute for them; manufacturers write elements of their own, of which those of
Siemens, Philips and GE are read. Directions of GE are relative to the directions of
encoding, not to the patient, and are left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from fastdcm.errors import DicomError
from fastdcm.volume.siemens import csa_header
from fastdcm.volume.slices import Slice, Vector, finite_numbers

_Array = npt.NDArray[np.float64]

_GE_B_VALUE = "(0043,xx39,GEMS_PARM_01)"
# (element of the b-value, elements of the direction in LPS)
_PRIVATE: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("(0019,xx0C,SIEMENS MR HEADER)", ("(0019,xx0E,SIEMENS MR HEADER)",)),
    (
        "(2001,xx03,Philips Imaging DD 001)",
        tuple(f"(2005,xx{e},Philips MR Imaging DD 001)" for e in ("B0", "B1", "B2")),
    ),
)
#: The private elements of b-values and directions, as `scan` names them.
TAGS = (_GE_B_VALUE, *(tag for value, direction in _PRIVATE for tag in (value, *direction)))


def complete_diffusion(slices: Iterable[Slice]) -> None:
    """Set the b-value and direction of MR slices that have them in private elements only.

    Parameters
    ----------
    slices : iterable of Slice
        With the values of `TAGS`.
    """
    for each in slices:
        values = each.values
        if values.get("Modality") != "MR" or values.get("DiffusionBValue") is not None:
            continue
        b_value, direction = _private_weighting(values)
        if b_value is None:
            b_value, direction = _csa_weighting(each)
        if b_value is None:
            continue
        values["DiffusionBValue"] = b_value
        if b_value and direction is not None and any(direction):
            values["DiffusionGradientOrientation"] = list(direction)


def _private_weighting(values: Mapping[str, Any]) -> tuple[float | None, Vector | None]:
    for tag, parts in _PRIVATE:
        b_value = finite_numbers(values.get(tag), 1)
        if b_value is None or b_value[0] < 0:
            continue
        numbers: list[Any] = []
        for part in parts:
            value = values.get(part)
            numbers += value if isinstance(value, (list, tuple)) else [value]
        return b_value[0], finite_numbers(numbers, 3)
    value = values.get(_GE_B_VALUE)
    first = value[0] if isinstance(value, (list, tuple)) and value else value
    # GE adds 1e9 to the b-values of several scans
    if isinstance(first, (int, float)) and 0 <= first < 2e9:
        return float(first % 100000), None
    return None, None


def _csa_weighting(each: Slice) -> tuple[float | None, Vector | None]:
    """Return the b-value and direction of the CSA header of a Siemens diffusion image."""
    image_type = each.values.get("ImageType")
    if not isinstance(image_type, list) or "DIFFUSION" not in image_type:
        return None, None
    try:
        header = csa_header(each.image.open())
        b_value = finite_numbers([float(text) for text in header.get("B_value", ())], 1)
        texts = header.get("DiffusionGradientDirection", ())
        direction = finite_numbers([float(text) for text in texts], 3)
    except (DicomError, ValueError):
        return None, None
    return (None if b_value is None else b_value[0]), direction


def fsl_directions(directions: _Array, ras: _Array) -> _Array:
    """Return gradient directions as FSL's ``bvec`` files have them.

    Parameters
    ----------
    directions : (n, 3) float64 array
        In LPS; NaN for none.
    ras : (4, 4) float64 array
        From the indices of the NIfTI image to RAS.

    Returns
    -------
    (n, 3) float64 array
        Relative to the axes of the image, with the first axis reversed where the affine
        has a positive determinant; 0 for none.
    """
    axes = ras[:3, :3] / np.linalg.norm(ras[:3, :3], axis=0)
    vectors = np.nan_to_num(directions * [-1.0, -1.0, 1.0]) @ np.linalg.inv(axes).T
    if np.linalg.det(axes) > 0:
        vectors[:, 0] *= -1
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit: _Array = np.divide(vectors, lengths, out=np.zeros_like(vectors), where=lengths > 0)
    return unit + 0.0
