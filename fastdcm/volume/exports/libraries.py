"""Volumes as objects of other libraries: SimpleITK and xarray."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fastdcm._util.optional import require
from fastdcm.errors import DicomError

if TYPE_CHECKING:
    from fastdcm.volume.exports.protocols import ArrayWithGeometry


def to_sitk(volume: ArrayWithGeometry) -> Any:
    """Return a SimpleITK image of a volume; see `Volume.to_sitk`."""
    sitk = require("SimpleITK", "to_sitk", "sitk")
    is_vector = volume.dims[-1] == "channel"
    spatial = len(volume.dims) - is_vector
    if spatial > 4:
        raise DicomError(
            f"SimpleITK has images of up to 4 dimensions, got {', '.join(volume.dims)}", "volume"
        )
    image: Any = sitk.GetImageFromArray(np.ascontiguousarray(volume.array), isVector=is_vector)
    spacing, origin, direction = list(volume.spacing), list(volume.origin), np.eye(spatial)
    direction[:3, :3] = volume.direction
    if spatial == 4:
        spacing.append(volume.time_step or 1.0)
        origin.append(0.0)
    image.SetSpacing(spacing)
    image.SetOrigin(origin)
    image.SetDirection(direction.ravel().tolist())
    return image


def to_xarray(volume: ArrayWithGeometry) -> Any:
    """Return an xarray.DataArray of a volume; see `Volume.to_xarray`."""
    xarray = require("xarray", "to_xarray", "xarray")
    lengths = dict(zip(volume.dims, volume.array.shape, strict=True))
    coords: dict[str, Any] = {
        name: (name, np.arange(lengths[name]) * step, {"units": "mm"})
        for name, step in zip("xyz", volume.spacing, strict=True)
    }
    axis = volume.dims[0]
    for name, values in volume.coords.items():
        along = name if name in lengths else axis
        attributes = {"units": volume.coord_units[name]} if name in volume.coord_units else {}
        axes = (along, "component") if values.ndim == 2 else along
        coords[name] = (axes, values, attributes)
    of_array = {
        "affine": volume.affine,
        "origin": volume.origin,
        "direction": volume.direction,
        "frame_of_reference_uid": volume.frame_of_reference_uid,
        "units": volume.units,
    }
    return xarray.DataArray(volume.array, coords, volume.dims, attrs=of_array)
