"""Tables with a column ``path`` as sources: Parquet, Arrow IPC, CSV and JSON Lines."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, cast

from fastdcm._util.optional import require
from fastdcm.sources.paths import IteratorReader
from fastdcm.sources.urls import path_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import TextIO

    from fastdcm.sources.protocols import RequestedPath

#: The suffixes of the names of tables that can be read.
SUFFIXES = (".parquet", ".arrow", ".csv", ".jsonl")


class PathTable:
    """The paths in the column ``path`` of a table, such as the table of a scan.

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

        It raises ValueError for a table that has no column ``path``.
        """
        suffix = os.path.splitext(self.path)[1].lower()
        if suffix in (".csv", ".jsonl"):
            texts = self._text_file_paths(suffix)
        else:
            texts = self._arrow_paths(suffix)
        return IteratorReader(map(path_bytes, texts))

    def _text_file_paths(self, suffix: str) -> Iterator[str]:
        with open(self.path, encoding="utf-8", newline="") as file:
            yield from self._csv_paths(file) if suffix == ".csv" else self._json_paths(file)

    def _csv_paths(self, file: TextIO) -> Iterator[str]:
        import csv

        rows = csv.reader(file)
        header = next(rows, [])
        if "path" not in header:
            raise self._no_paths()
        at = header.index("path")
        for row in rows:
            yield row[at]

    def _json_paths(self, file: TextIO) -> Iterator[str]:
        import json

        for line in file:
            row = json.loads(line)
            if "path" not in row:
                raise self._no_paths()
            yield row["path"]

    def _arrow_paths(self, suffix: str) -> Iterator[str]:
        require("pyarrow", f"reading {suffix}", "table")
        import pyarrow

        with pyarrow.OSFile(self.path, "rb") as file:
            if suffix == ".parquet":
                import pyarrow.parquet

                parquet = pyarrow.parquet.ParquetFile(file)
                names = parquet.schema_arrow.names
                batches = parquet.iter_batches(columns=["path"])
            else:
                table = pyarrow.ipc.open_file(file)
                names = table.schema.names
                batches = (table.get_batch(i) for i in range(table.num_record_batches))
            if "path" not in names:
                raise self._no_paths()
            for batch in batches:
                yield from cast("list[str]", batch.column("path").to_pylist())

    def _no_paths(self) -> ValueError:
        return ValueError(f"{self.path}: the table has no column `path`")
