"""What an export needs of a volume."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import numpy.typing as npt


class ArrayWithGeometry(Protocol):
    """An array with named axes and its place in the patient, as `Volume` is one."""

    array: npt.NDArray[Any]
    affine: npt.NDArray[np.float64]
    dims: tuple[str, ...]
    coords: dict[str, npt.NDArray[np.float64]]
    coord_units: dict[str, str]
    units: str | None
    frame_of_reference_uid: str | None

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Distances in mm between columns, rows and slices."""

    @property
    def origin(self) -> tuple[float, float, float]:
        """The center (x, y, z) of the first cell, in mm, LPS."""

    @property
    def direction(self) -> npt.NDArray[np.float64]:
        """The unit vectors along columns, rows and slices."""

    @property
    def time_step(self) -> float | None:
        """Seconds between the positions of the axis of time."""
