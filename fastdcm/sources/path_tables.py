"""Tables with a column ``path`` as sources: Parquet, Arrow IPC, CSV and JSON Lines."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from fastdcm._util.optional import require
from fastdcm.errors import TableError
from fastdcm.sources.paths import IteratorReader
from fastdcm.sources.urls import path_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any, TextIO

    from fastdcm.sources.protocols import RequestedPath

#: The suffixes of the names of tables that can be read.
SUFFIXES = (".parquet", ".arrow", ".feather", ".csv", ".jsonl")


class PathTable:
    """The paths in the column ``path`` of a table, such as the table of a scan.

    A null is an empty path, which becomes a row with an error.

    Parameters
    ----------
    path : str
        The file, whose name ends in one of `SUFFIXES`.
    """

    requested: list[RequestedPath] | None = None
    supports_update = False

    def __init__(self, path: str) -> None:
        self.path = path

    def start(self) -> IteratorReader:
        """Return a reader of the paths.

        It raises TableError for a table that is damaged or has no column ``path``.
        """
        suffix = os.path.splitext(self.path)[1].lower()
        if suffix in (".csv", ".jsonl"):
            return IteratorReader(self._text_file_paths(suffix))
        return IteratorReader(map(_as_bytes, self._arrow_paths(suffix)))

    def _text_file_paths(self, suffix: str) -> Iterator[bytes]:
        # With a byte order mark, as Excel writes it. A field may have \r alone in it.
        with open(self.path, encoding="utf-8-sig", newline="\n") as file:
            read = self._csv_paths if suffix == ".csv" else self._json_paths
            try:
                yield from map(_as_bytes, read(file))
            except UnicodeError as error:
                raise self._damaged(f"it is not UTF-8 text ({error})") from None

    def _csv_paths(self, file: TextIO) -> Iterator[str]:
        rows = self._csv_rows(file)
        _, header = next(rows, (1, []))
        if "path" not in header:
            raise self._no_paths()
        at = header.index("path")
        for number, row in rows:
            if len(row) <= at:
                raise self._damaged(
                    f"the row that ends in line {number} is too short for the column `path`: "
                    f"it has {len(row)} of at least {at + 1} fields"
                )
            yield row[at]

    def _csv_rows(self, file: TextIO) -> Iterator[tuple[int, list[str]]]:
        """Iterate over (number of the last line, fields) as RFC 4180 defines them.

        The module csv has a limit on the length of a field, which is global.
        """
        lines = enumerate(file, 1)
        for number, line in lines:
            fields: list[str] = []
            at = 0
            while True:
                if not line.startswith('"', at):
                    end = line.find(",", at)
                    field = _without_end(line[at:]) if end < 0 else line[at:end]
                else:
                    parts = []
                    begin = at + 1
                    while (end := line.find('"', begin)) < 0 or line.startswith('"', end + 1):
                        if end >= 0:  # two quotes stand for one
                            parts.append(line[begin : end + 1])
                            begin = end + 2
                            continue
                        parts.append(line[begin:])
                        begin, (number, line) = 0, next(lines, (number, ""))
                        if not line:
                            raise self._damaged("a quoted field is not closed")
                    parts.append(line[begin:end])
                    field = "".join(parts)
                    end = line.find(",", end)
                fields.append(field)
                if end < 0:
                    break
                at = end + 1
            if fields != [""]:
                yield number, fields

    def _json_paths(self, file: TextIO) -> Iterator[str | None]:
        import json

        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise self._damaged(f"line {number} is not valid JSON ({error})") from None
            if not isinstance(row, dict):
                raise self._damaged(f"line {number} is not a JSON object")
            if "path" not in row:
                raise self._no_paths()
            path = row["path"]
            if path is not None and not isinstance(path, str):
                raise self._damaged(f"`path` in line {number} is {path!r}, not text")
            yield path

    def _arrow_paths(self, suffix: str) -> Iterator[str | bytes | None]:
        require("pyarrow", f"reading {suffix}", "table")
        import pyarrow

        with pyarrow.OSFile(self.path, "rb") as file:
            try:
                yield from self._batches_of_paths(pyarrow, file, suffix)
            except (pyarrow.ArrowException, OSError) as error:
                reason = str(error).partition("\n")[0]
                raise self._damaged(f"it cannot be read ({reason})") from None

    def _batches_of_paths(
        self, pyarrow: Any, file: Any, suffix: str
    ) -> Iterator[str | bytes | None]:
        if suffix == ".parquet":
            from pyarrow.parquet import ParquetFile

            table = ParquetFile(file)
            schema = table.schema_arrow
            batches = table.iter_batches(columns=["path"])
        else:
            try:
                table = pyarrow.ipc.open_file(file)
                batches = (table.get_batch(i) for i in range(table.num_record_batches))
            except pyarrow.ArrowInvalid:
                file.seek(0)
                table = batches = pyarrow.ipc.open_stream(file)
            schema = table.schema
        if "path" not in schema.names:
            raise self._no_paths()
        kind = schema.field("path").type
        if not _is_text(pyarrow.types, kind):
            raise self._damaged(f"the column `path` has the type {kind}; it must be text")
        for batch in batches:
            column = batch.column("path")
            column.validate(full=True)
            yield from column.to_pylist()

    def _no_paths(self) -> TableError:
        return TableError("the table has no column `path`", "table", filename=self.path)

    def _damaged(self, reason: str) -> TableError:
        return TableError(f"the table is damaged: {reason}", "table", filename=self.path)


def _without_end(line: str) -> str:
    return line.removesuffix("\n").removesuffix("\r")


def _is_text(types: Any, kind: Any) -> bool:
    """Return whether an Arrow type is that of text, or of paths as bytes."""
    if types.is_dictionary(kind):
        kind = kind.value_type
    is_view = getattr(types, "is_string_view", lambda _: False)  # from pyarrow 16 on
    return bool(
        types.is_string(kind)
        or types.is_large_string(kind)
        or types.is_binary(kind)
        or types.is_large_binary(kind)
        or types.is_null(kind)
        or is_view(kind)
    )


def _as_bytes(path: str | bytes | None) -> bytes:
    return path if isinstance(path, bytes) else path_bytes(path or "")
