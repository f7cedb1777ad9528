"""The units of the values along axes, and the positions of phases."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from fastdcm.volume.slices import finite_numbers

#: The unit along each axis, as UCUM writes it. Numbers and directions have none, and that of
#: phases depends on their attribute.
UNITS = {"t": "s", "b": "s/mm2", "echo": "s", "ti": "s", "flip": "deg"}
# For each attribute that may be the position of a phase, in order of preference, what its
# values are multiplied by, and their unit then (PS3.3 C.7.6.16.2.7, C.7.6.18.1.1, C.8.4.8).
_PHASES = {
    "NominalCardiacTriggerDelayTime": (1e-3, "s"),
    "NominalPercentageOfCardiacPhase": (1.0, "%"),
    "TriggerTime": (1e-3, "s"),
    "TimeSlotVector": (1.0, ""),
}


def phase_coordinates(
    rows: Sequence[Mapping[str, Any]],
) -> tuple[npt.NDArray[np.float64], str] | None:
    """Return the positions of phases, and their unit.

    Parameters
    ----------
    rows : sequence of mapping
        The values of one slice of each phase, by keyword.

    Returns
    -------
    (array, str) or None
        Of the first attribute that all slices have, and in which they differ: in "s", in
        "%", or numbers, whose unit is "". None without such an attribute.
    """
    for attribute, (factor, unit) in _PHASES.items():
        values = [finite_numbers(row.get(attribute), 1) for row in rows]
        numbers = [value[0] for value in values if value is not None]
        if len(numbers) == len(rows) and len(set(numbers)) > 1:
            return np.array(numbers) * factor, unit
    return None
