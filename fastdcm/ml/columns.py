"""Convert columns of Arrow tables to NumPy arrays."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from collections.abc import Callable

    import pyarrow

_Ints = npt.NDArray[np.int64]
_Floats = npt.NDArray[np.float64]
_Bools = npt.NDArray[np.bool_]

#: The values of VOI LUT Function (PS3.3 C.11.2.1.3), in the order of the codes
#: that the batch reader uses.
WINDOW_FUNCTIONS = ("LINEAR", "LINEAR_EXACT", "SIGMOID")
#: The code of any other text.
UNKNOWN_FUNCTION = -1.0


class TableColumns:
    """The columns of a table as arrays.

    Parameters
    ----------
    table : pyarrow.Table
    """

    def __init__(self, table: pyarrow.Table) -> None:
        self.table = table

    def arrow(self, name: str) -> pyarrow.Array:
        """Return a column as one Arrow array.

        Parameters
        ----------
        name : str
            Of the column, as for all methods.

        Returns
        -------
        pyarrow.Array
        """
        column = self.table.column(name).combine_chunks()
        return column.chunk(0) if hasattr(column, "chunk") else column

    def ints(self, name: str, null: int = 0) -> _Ints:
        """Return a column as int64, with `null` for null.

        Parameters
        ----------
        name : str
        null : int

        Returns
        -------
        (rows,) int64 array
        """
        found: _Ints = self.arrow(name).cast("int64").fill_null(null).to_numpy(zero_copy_only=False)
        return found

    def texts(self, name: str) -> tuple[_Ints, list[str]]:
        """Return a column of text as codes, and the text of each code.

        Parameters
        ----------
        name : str

        Returns
        -------
        codes : (rows,) integer array
            -1 for null.
        texts : list of str
        """
        found = self.arrow(name).dictionary_encode()
        codes = found.indices.fill_null(-1).to_numpy(zero_copy_only=False)
        return codes, found.dictionary.to_pylist()

    def valid(self, name: str) -> _Bools:
        """Return which rows of a column are not null.

        Parameters
        ----------
        name : str

        Returns
        -------
        (rows,) bool array
        """
        found: _Bools = self.arrow(name).is_valid().to_numpy(zero_copy_only=False)
        return found

    def are_files(self, name: str) -> _Bools:
        """Return which paths of a column are those of files: no members, no URLs.

        Parameters
        ----------
        name : str

        Returns
        -------
        (rows,) bool array
        """
        from pyarrow import compute

        paths = self.arrow(name)
        members = compute.match_substring(paths, "!/")
        urls = compute.match_substring_regex(paths, "^[A-Za-z][A-Za-z0-9+.-]*://")
        file_urls = compute.starts_with(paths, "file:")  # of paths that are not UTF-8
        found = compute.invert(compute.or_(members, compute.and_not(urls, file_urls)))
        return np.asarray(found.fill_null(False).to_numpy(zero_copy_only=False))

    def has_issue(self, is_wanted: Callable[[str], bool]) -> _Bools:
        """Return which rows have an issue of some kind.

        Parameters
        ----------
        is_wanted : callable
            Called with the text of every issue.

        Returns
        -------
        (rows,) bool array
        """
        column = self.arrow("issues")
        if column.null_count == len(column):
            return np.zeros(len(column), bool)
        return _rows_with(column, np.array([is_wanted(text) for text in column.values.to_pylist()]))

    def has_infinite(self, name: str) -> _Bools:
        """Return which rows of a column of numbers, or of lists of these, have NaN or infinity.

        Parameters
        ----------
        name : str

        Returns
        -------
        (rows,) bool array
        """
        from pyarrow import compute

        column = self.arrow(name)
        is_list = "list" in str(column.type)
        values = (column.values if is_list else column).cast("float64")
        infinite = compute.invert(compute.is_finite(values)).fill_null(False)
        found: _Bools = infinite.to_numpy(zero_copy_only=False)
        return _rows_with(column, found) if is_list else found

    def numbers(self, name: str) -> _Floats:
        """Return a column as float64, NaN for null.

        Parameters
        ----------
        name : str
            Of a column of numbers; of VOI LUT Functions, which are codes of
            `WINDOW_FUNCTIONS`; of LUT Descriptors, which are 1; or of lists of
            these, of which the first value is used.

        Returns
        -------
        (rows,) float64 array
        """
        return numbers(self.arrow(name), name)

    def per_frame(self, name: str, rows: _Ints, frames: _Ints) -> _Floats:
        """Return the values of frames from a column of lists, one value a frame.

        Parameters
        ----------
        name : str
            As for `numbers`.
        rows, frames : (samples,) int64 arrays
            Row of the table, and number of the frame in its file.

        Returns
        -------
        (samples,) float64 array
            NaN where the list has no such value.
        """
        column = self.arrow(name)
        found = np.full(len(rows), np.nan)
        if column.null_count < len(column):
            starts, lengths = list_bounds(column)
            there = frames < lengths[rows]
            found[there] = numbers(column.values, name)[(starts[rows] + frames)[there]]
        return found


def numbers(column: pyarrow.Array, name: str = "") -> _Floats:
    """Return a column as float64, NaN for null, the first value of each list.

    Parameters
    ----------
    column : pyarrow.Array
        Of numbers, or as `TableColumns.numbers` describes.
    name : str
        Of the column.

    Returns
    -------
    (rows,) float64 array
        Writable.
    """
    if name.endswith("LUTDescriptor"):
        return np.where(column.is_valid().to_numpy(zero_copy_only=False), 1.0, np.nan)
    if "list" in str(column.type):
        starts, lengths = list_bounds(column)
        found = np.full(len(column), np.nan)
        if (lengths > 0).any():
            found[lengths > 0] = numbers(column.values, name)[starts[lengths > 0]]
        return found
    if "string" in str(column.type):
        return _function_codes(column)
    values: _Floats = column.cast("float64").fill_null(np.nan).to_numpy(zero_copy_only=False)
    return values.copy()


def _rows_with(column: pyarrow.Array, wanted: _Bools) -> _Bools:
    """Return which lists have one of the values that are wanted."""
    starts, lengths = list_bounds(column)
    before = np.concatenate([[0], np.cumsum(wanted, dtype=np.int64)])
    return np.asarray(before[starts + lengths] > before[starts])


def list_bounds(column: pyarrow.Array) -> tuple[_Ints, _Ints]:
    """Return the start of each list in the values, and its length, 0 for null."""
    starts = column.offsets.to_numpy().astype(np.int64)
    lengths = np.diff(starts)
    lengths[column.is_null().to_numpy(zero_copy_only=False)] = 0
    return starts[:-1], lengths


def _function_codes(column: pyarrow.Array) -> _Floats:
    """Return the code of each text: NaN for an empty one, `UNKNOWN_FUNCTION` for another."""
    encoded = column.dictionary_encode()
    texts = [(text or "").strip().upper() for text in encoded.dictionary.to_pylist()]
    codes = [
        WINDOW_FUNCTIONS.index(text)
        if text in WINDOW_FUNCTIONS
        else UNKNOWN_FUNCTION
        if text
        else np.nan
        for text in texts
    ]
    indices = encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False)
    found: _Floats = np.array([*codes, np.nan])[indices]
    return found
