"""Rows as data frames of pandas and polars, and as HTML in notebooks."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Protocol

from fastdcm._util.optional import require

if TYPE_CHECKING:
    import pandas
    import polars

_TYPE_NAMES = {
    b"u": "text",
    b"z": "bytes",
    b"l": "int64",
    b"L": "uint64",
    b"g": "float64",
    b"tdD": "date",
    b"ttu": "time",
    b"tsu:": "timestamp",
}


class ArrowStream(Protocol):
    """Rows that Arrow libraries can read."""

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        """Return the rows through the Arrow PyCapsule interface."""


def to_pandas(rows: ArrowStream) -> pandas.DataFrame:
    """Return rows as a data frame of pandas.

    Columns of integers are nullable (Int64, UInt64), so that they stay integers where
    values are missing; dates are datetime64.

    Raises ModuleNotFoundError without pyarrow or pandas.
    """
    require("pyarrow", "to_pandas()", "table")
    require("pandas", "to_pandas()")
    import pandas
    import pyarrow

    integers = {pyarrow.int64(): pandas.Int64Dtype(), pyarrow.uint64(): pandas.UInt64Dtype()}
    table = pyarrow.RecordBatchReader.from_stream(rows).read_all()
    frame: pandas.DataFrame = table.to_pandas(types_mapper=integers.get, date_as_object=False)
    return frame


def to_polars(rows: ArrowStream) -> polars.DataFrame:
    """Return rows as a data frame of polars; ModuleNotFoundError without it."""
    require("polars", "to_polars()")
    import polars

    return polars.DataFrame(rows)


def type_name(form: bytes, lists: int) -> str:
    """Return the type of a column as text, from its Arrow format and depth of lists."""
    return "list of " * lists + _TYPE_NAMES[form]


def html_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a table as HTML."""

    def cells(kind: str, values: Iterable[object]) -> str:
        return "".join(f"<{kind}>{html.escape(str(value))}</{kind}>" for value in values)

    body = "".join(f"<tr>{cells('td', row)}</tr>" for row in rows)
    return (
        f"<p>{html.escape(title)}</p><table><thead><tr>{cells('th', columns)}</tr></thead>"
        f"<tbody>{body}</tbody></table>"
    )
