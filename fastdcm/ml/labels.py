"""Labels of samples: columns of a table, with one value for each file or for each frame."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from fastdcm.ml.columns import list_bounds, numbers
from fastdcm.pixels.functional_groups import PER_FRAME

if TYPE_CHECKING:
    import pyarrow

_Ints = npt.NDArray[np.int64]


class Label:
    """The values of one label.

    Parameters
    ----------
    name : str
        Of the column. Those of the Per-Frame Functional Groups Sequence, such as
        ``"PerFrameFunctionalGroupsSequence[*].FrameContentSequence.StackID"``, have
        a list with a value for each frame.
    column : pyarrow.Array
        A value for each file.
    files, frames : (samples,) int64 arrays
        The file and the frame of each sample.
    """

    def __init__(self, name: str, column: pyarrow.Array, files: _Ints, frames: _Ints) -> None:
        column = _plain(column)
        self._is_of_frames = False
        if name.startswith(f"{PER_FRAME}[*].") and "list" in str(column.type):
            import pyarrow

            starts, lengths = list_bounds(column)
            there = frames < lengths[files]
            column = column.values.take(pyarrow.array(starts[files] + frames, mask=~there))
            self._is_of_frames = True
        self._values = _as_array(column)

    def take(self, samples: _Ints, files: _Ints) -> npt.NDArray[Any] | list[Any]:
        """Return the values of samples.

        Parameters
        ----------
        samples, files : (n,) int64 arrays
            The samples, and the file of each.

        Returns
        -------
        array or list
            An array for numbers, else a list, in which None is null.
        """
        rows = samples if self._is_of_frames else files
        if isinstance(self._values, np.ndarray):
            values: npt.NDArray[Any] = self._values[rows]
            return values
        found: list[Any] = self._values.take(rows).to_pylist()
        return found


def _plain(column: pyarrow.Array) -> pyarrow.Array:
    """Return a column without dictionary, views and short offsets.

    `take` of many long strings overflows offsets of 32 bits.
    """
    import pyarrow
    from pyarrow import types

    if types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if types.is_string(column.type) or types.is_string_view(column.type):
        return column.cast(pyarrow.large_string())
    if types.is_list_view(column.type) or types.is_large_list_view(column.type):
        return column.cast(pyarrow.large_list(column.type.value_type))
    return column


def _as_array(column: pyarrow.Array) -> Any:
    """Return a column of numbers as an array; another column as it is."""
    from pyarrow import types

    kind = column.type
    if types.is_integer(kind) and column.null_count == 0:
        return column.to_numpy()
    if types.is_floating(kind) or types.is_integer(kind):
        return numbers(column)
    if types.is_boolean(kind) and column.null_count == 0:
        return column.to_numpy(zero_copy_only=False)
    return column
