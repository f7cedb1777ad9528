"""Tables as files: Parquet, Arrow IPC, CSV and JSON Lines; and Delta Lake tables.

csv, json and base64 are imported at first use: together they take longer to load
than the rest of the package.
"""

from __future__ import annotations

import errno
import math
import os
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from fastdcm._util.atomic import write_atomically
from fastdcm._util.optional import require
from fastdcm.scanning.protocols import BinaryWriter, Table, TableWriter

if TYPE_CHECKING:
    import pyarrow

#: Rows per row group of Parquet. They are in memory until the group is written;
#: small groups make large footers.
_ROW_GROUP = 16384

#: Columns whose values hardly repeat: dictionary encoding would cost time and space.
_DISTINCT = ("path", "mtime_ns", "SOPInstanceUID")

#: The prefix of the name of a Delta table: a path or a URL follows.
DELTA = "delta://"


def write(table: Table, path: str) -> None:
    """Write a table to a file, atomically, or as a new version of a Delta table.

    Parameters
    ----------
    table : Table
        Such as a scan.
    path : str
        Ends in .parquet, .arrow, .csv or .jsonl, or begins with ``delta://``.

    Raises
    ------
    ValueError
        If the name has another ending.
    FileNotFoundError
        If the directory does not exist.
    ImportError
        Without the package that the format needs.
    """
    if path.startswith(DELTA):
        _write_delta(table, path[len(DELTA) :])
        return
    writer = _WRITERS.get(os.path.splitext(path)[1].lower())
    if writer is None:
        raise ValueError(
            f"{path}: expected a name that ends in {', '.join(_WRITERS)}, or in / for an index "
            f"folder, or begins with {DELTA} for a Delta table"
        )
    if writer in (write_parquet, _write_arrow):
        require("pyarrow", f"writing {os.path.splitext(path)[1]}", "table")
    directory = os.path.dirname(path) or "."
    if not os.path.isdir(directory):
        raise FileNotFoundError(errno.ENOENT, "the directory does not exist", directory)
    write_atomically(path, lambda file: writer(table, file))


def write_csv(table: Table, file: BinaryWriter) -> None:
    """Write CSV: lists as JSON, bytes as base64, null as an empty field.

    Parameters
    ----------
    table : Table
    file : binary file
    """
    import csv
    import json

    text = _TextBuffer()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(table.column_names)
    file.write(text.flush())
    lists = _list_columns(table)
    for columns in _json_columns(table):
        for name in lists:
            columns[name] = [
                v if v is None else json.dumps(v, ensure_ascii=False) for v in columns[name]
            ]
        rows.writerows(zip(*columns.values(), strict=True))
        file.write(text.flush())


def write_jsonl(table: Table, file: BinaryWriter) -> None:
    """Write JSON Lines: one object per row, bytes as base64, NaN and infinity as null.

    Parameters
    ----------
    table : Table
    file : binary file
    """
    import json

    names = table.column_names
    encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode
    for columns in _json_columns(table):
        lines = []
        for values in zip(*columns.values(), strict=True):
            row = dict(zip(names, values, strict=True))
            try:
                lines.append(encode(row))
            except ValueError:  # NaN or infinity
                lines.append(encode(_finite(row)))
        file.write("\n".join(lines).encode() + b"\n")


def write_parquet(table: Table, file: BinaryWriter) -> None:
    """Write Parquet, row group by row group, as the rows come.

    Parameters
    ----------
    table : Table
    file : binary file
    """
    import pyarrow
    from pyarrow import parquet

    schema = pyarrow.schema(table)
    with parquet.ParquetWriter(
        file, schema, compression="zstd", use_dictionary=_repeating_columns(schema)
    ) as writer:
        batches, rows = [], 0
        for batch in table:
            batches.append(pyarrow.record_batch(batch))
            rows += len(batch)
            if rows >= _ROW_GROUP:
                writer.write_table(pyarrow.Table.from_batches(batches, schema))
                batches, rows = [], 0
        if batches:
            writer.write_table(pyarrow.Table.from_batches(batches, schema))


def _repeating_columns(schema: pyarrow.Schema) -> list[str]:
    """Return the columns to be dictionary-encoded.

    By their names in Parquet, where those of lists end in ".list.element".
    """
    import pyarrow

    names = []
    for field in schema:
        name, kind = field.name, field.type
        while pyarrow.types.is_list(kind):
            name, kind = name + ".list.element", kind.value_type
        if name not in _DISTINCT:
            names.append(name)
    return names


def _write_delta(table: Table, location: str) -> None:
    """Write a new version of a Delta table, in one transaction.

    Its readers see the rows of the version before, or these.
    """
    require("pyarrow", "a Delta table", "delta")
    require("deltalake", "a Delta table", "delta")
    import pyarrow
    from deltalake import write_deltalake

    reader = pyarrow.RecordBatchReader.from_batches(
        pyarrow.schema(table), map(pyarrow.record_batch, table)
    )
    write_deltalake(location, reader, mode="overwrite", schema_mode="overwrite")


def _write_arrow(table: Table, file: BinaryWriter) -> None:
    import pyarrow

    with pyarrow.ipc.new_file(file, pyarrow.schema(table)) as writer:
        for batch in table:
            writer.write_batch(pyarrow.record_batch(batch))


_WRITERS: dict[str, TableWriter] = {
    ".parquet": write_parquet,
    ".arrow": _write_arrow,
    ".csv": write_csv,
    ".jsonl": write_jsonl,
}


class _TextBuffer:
    """What csv.writer writes to."""

    def __init__(self) -> None:
        self._parts: list[str] = []
        self.write = self._parts.append

    def flush(self) -> bytes:
        """Return what has been written since the last call."""
        data = "".join(self._parts).encode()
        self._parts.clear()
        return data


def _list_columns(table: Table) -> list[str]:
    return [name for name, _, lists in table.fields if lists]


def _json_columns(table: Table) -> Iterator[dict[str, list[Any]]]:
    """Yield the columns of each batch, with values that JSON can represent."""
    converters: dict[str, Callable[[Any], Any]] = {
        name: _iso_text if form[:1] == b"t" else _base64
        for name, form, _ in table.fields
        if form == b"z" or form[:1] == b"t"
    }
    for batch in table:
        columns = batch.to_pydict()
        for name, convert in converters.items():
            columns[name] = convert(columns[name])
        yield columns


def _iso_text(value: Any) -> Any:
    """Return dates and times, also in lists, as ISO 8601 text."""
    if isinstance(value, list):
        return [_iso_text(v) for v in value]
    return value if value is None else value.isoformat()


def _base64(value: Any) -> Any:
    """Return bytes, also in lists, as base64."""
    from base64 import b64encode

    if isinstance(value, list):
        return [_base64(v) for v in value]
    return value if value is None else b64encode(value).decode()


def _finite(value: Any) -> Any:
    """Return a row with None for NaN and infinity, also in lists."""
    if isinstance(value, dict):
        return {k: _finite(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_finite(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
