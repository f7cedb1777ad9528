"""Index folders for reading: a large table in parts, which grows while it is written."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from fastdcm._util.optional import require
from fastdcm.scanning.dataframes import to_pandas, to_polars
from fastdcm.scanning.index.entries import Parameters
from fastdcm.scanning.index.manifest import (
    INTERNAL,
    Manifest,
    damaged,
    decode_schema,
    parquet_errors,
)
from fastdcm.scanning.output import DELTA

if TYPE_CHECKING:
    import pandas
    import polars
    import pyarrow
    import pyarrow.dataset

_ROWS_PER_BATCH = 8192


def is_index(path: str | os.PathLike[str]) -> bool:
    """Return whether this is an index folder, perhaps one that has no rows yet."""
    return os.path.isdir(os.path.join(path, INTERNAL))


def is_index_name(path: str) -> bool:
    """Return whether a table with this name is written as an index folder.

    It is if the name ends in a separator, or an index exists there.
    """
    if path.startswith(DELTA):
        return False
    return path.endswith(("/", os.sep)) or is_index(path)


class IndexFolder:
    """An index folder, as its manifest was when it was opened.

    Readers of Arrow streams accept it: ``pyarrow.table(index)``,
    ``polars.DataFrame(index)``, ``duckdb.sql("FROM index")``.

    Attributes
    ----------
    path : str
    parts : list of str
        The paths of the Parquet files that count, in the order of the rows.
    rows, errors : int
        How many rows there are, and how many files could not be read.
    read, listed : int
        How many files have been read, out of how many; an archive counts as one.
    complete : bool
        Whether all files have been read.
    parameters : dict
        What was requested: ``tags``, ``pixels``, ``hash``, ``on_error``,
        ``parse_dates``, ``source``.
    """

    def __init__(self, path: str) -> None:
        require("pyarrow", "an index folder", "table")
        self._manifest = manifest = Manifest(path)
        self.path = path
        self.parts = [os.path.join(path, part["part"]) for part in manifest.parts]
        self.rows = sum(part["rows"] for part in manifest.parts)
        self.errors = sum(part["errors"] for part in manifest.parts)
        self.read, self.listed = manifest.next_entry, manifest.head["files"]["entries"]
        self.complete = manifest.complete
        self.parameters: Parameters = manifest.head["parameters"]

    def __repr__(self) -> str:
        state = "complete" if self.complete else f"{self.read} of {self.listed} files read"
        return f"<IndexFolder {self.path!r}: {self.rows} rows, {state}>"

    def __len__(self) -> int:
        return self.rows

    @property
    def schema(self) -> pyarrow.Schema:
        """The schema of all parts."""
        return decode_schema(self._manifest)

    def batches(self, columns: Sequence[str] | None = None) -> Iterator[pyarrow.RecordBatch]:
        """Yield the rows in batches; memory use does not depend on their number.

        Parameters
        ----------
        columns : sequence of str, optional
            The columns to read, by default all.

        Yields
        ------
        pyarrow.RecordBatch
        """
        from pyarrow import parquet

        for path, part in zip(self.parts, self._manifest.parts, strict=True):
            with parquet_errors(path), parquet.ParquetFile(path) as file:
                if file.metadata.num_rows != part["rows"] or file.schema_arrow != self.schema:
                    raise damaged(path, "its rows are not those that were written")
                yield from file.iter_batches(_ROWS_PER_BATCH, columns=columns)

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        """Return the rows through the Arrow PyCapsule interface."""
        import pyarrow

        reader = pyarrow.RecordBatchReader.from_batches(self.schema, self.batches())
        return reader.__arrow_c_stream__(requested_schema)

    def dataset(self) -> pyarrow.dataset.Dataset:
        """Return a data set of exactly these parts.

        Returns
        -------
        pyarrow.dataset.Dataset
        """
        from pyarrow import dataset

        return dataset.dataset(self.parts, schema=self.schema, format="parquet")

    def read_all(self) -> pyarrow.Table:
        """Return all rows.

        Returns
        -------
        pyarrow.Table
        """
        import pyarrow

        return pyarrow.Table.from_batches(self.batches(), self.schema)

    def to_pandas(self) -> pandas.DataFrame:
        """Return all rows as a data frame of pandas, as `Scan.to_pandas` does.

        Returns
        -------
        pandas.DataFrame
        """
        return to_pandas(self)

    def to_polars(self) -> polars.DataFrame:
        """Return all rows as a data frame of polars.

        Returns
        -------
        polars.DataFrame
        """
        return to_polars(self)

    def verify(self) -> None:
        """Read every file of the index, and compare size and checksum.

        Raises
        ------
        DicomError
            For the first file that is missing or has changed (code ``index-damaged``).
        """
        self._manifest.check()
        for path, entry in self._manifest.files():
            with open(path, "rb") as file:
                if hashlib.file_digest(file, "sha256").hexdigest() != entry["sha256"]:
                    raise damaged(path, "the contents of a file have changed since it was written")


def open_index(path: str | bytes | os.PathLike[str] | os.PathLike[bytes]) -> IndexFolder:
    """Open an index folder for reading.

    ``scan(...).write("index/")`` and ``fastdcm scan -o index/`` make one. It can be
    opened at any time, also while it is written, and then has the parts that were
    complete at that moment. Nothing is locked.

    Parameters
    ----------
    path : str, bytes or os.PathLike

    Returns
    -------
    IndexFolder

    Raises
    ------
    FileNotFoundError
        If there is no such folder.
    ValueError
        If it is not an index, or its files are still being listed.
    DicomError
        If the manifest cannot be read (code ``index-damaged``).

    Examples
    --------
    >>> index = fastdcm.open_index("index/")  # doctest: +SKIP
    >>> index.rows, index.complete  # doctest: +SKIP
    (123456, True)
    """
    folder = os.fsdecode(path)
    if not os.path.isdir(folder):
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), folder)
    if not is_index(folder):
        raise ValueError(
            f"{folder}: not an index folder; `fastdcm scan SRC -o {folder.rstrip('/')}/` makes one"
        )
    try:
        return IndexFolder(folder)
    except FileNotFoundError:
        raise ValueError(
            f"{folder}: the index has no rows yet: its files have not been listed to the end; "
            "repeat the scan that makes it"
        ) from None
