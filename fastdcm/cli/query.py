"""`fastdcm query`: run SQL over an index folder or a Parquet file, with DuckDB."""

from __future__ import annotations

import contextlib
import glob
import io
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from fastdcm.cli import Failure
from fastdcm.cli._output import print_line, rows_output
from fastdcm.cli._shared import open_indexes
from fastdcm.scanning.output import write, write_csv, write_jsonl

if TYPE_CHECKING:
    import duckdb
    import pyarrow

_MAX_ROWS = 40  # shown on a terminal; files and pipes get all rows


def parquet_files(source: str) -> list[str]:
    """Return the Parquet files that hold the rows of an index, or the one file given."""
    indexes, _ = open_indexes([source])
    if indexes:
        return indexes[0].parts
    if os.path.isdir(source) or not source.lower().endswith(".parquet"):
        raise Failure(
            f"{source}: not an index folder or a .parquet file",
            "`fastdcm scan SRC -o index/` creates an index",
        )
    os.stat(source)
    return [source]


def quoted(value: str) -> str:
    """Return the text as an SQL string literal."""
    return "'" + value.replace("'", "''") + "'"


@contextlib.contextmanager
def connected(parts: list[str]) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open DuckDB with the view `files` over these files and no access to others."""
    import duckdb

    # read_parquet takes glob patterns, so names are escaped.
    parts = [os.path.abspath(part) for part in parts]
    patterns = ", ".join(quoted(glob.escape(part)) for part in parts)
    allowed = ", ".join(quoted(name) for part in parts for name in {part, glob.escape(part)})
    with (
        tempfile.TemporaryDirectory(prefix="fastdcm-") as folder,
        duckdb.connect(
            config={
                "autoinstall_known_extensions": False,
                "autoload_known_extensions": False,
                "python_enable_replacements": False,
                "temp_directory": folder,
            }
        ) as connection,
    ):
        connection.execute(f"CREATE VIEW files AS SELECT * FROM read_parquet([{patterns}])")
        connection.execute(f"SET allowed_paths = [{allowed}]")
        connection.execute("SET enable_external_access = false")
        connection.execute("SET lock_configuration = true")
        yield connection


def select(connection: duckdb.DuckDBPyConnection, sql: str) -> duckdb.DuckDBPyRelation:
    """Return the result of a query that must be exactly one SELECT."""
    import duckdb

    statements = connection.extract_statements(sql)
    if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
        raise Failure(
            "a query must be one SELECT statement",
            "use SELECT, WITH, VALUES, DESCRIBE files or SUMMARIZE files",
        )
    rows = connection.sql(statements[0])
    for name in rows.columns:
        if rows.columns.count(name) > 1:
            raise Failure(f"two columns are called {name}", "rename one of them with AS")
    return rows


class QueryResult:
    """The result of a query, in the form that the table writers accept."""

    def __init__(self, reader: pyarrow.RecordBatchReader) -> None:
        import pyarrow

        self.reader = reader
        self.column_names: list[str] = reader.schema.names
        self.fields = [
            (field.name, b"", int(pyarrow.types.is_nested(field.type))) for field in reader.schema
        ]

    def __arrow_c_schema__(self) -> Any:
        return self.reader.schema.__arrow_c_schema__()

    def __iter__(self) -> Iterator[ResultBatch]:
        return map(ResultBatch, self.reader)


class ResultBatch:
    """A batch of a query's result whose values JSON can represent."""

    def __init__(self, batch: pyarrow.RecordBatch) -> None:
        self.batch = batch

    def __len__(self) -> int:
        return len(self.batch)

    def __arrow_c_array__(self, requested_schema: Any = None) -> Any:
        return self.batch.__arrow_c_array__(requested_schema)

    def to_pydict(self) -> dict[str, list[Any]]:
        """Return the columns as lists of values that JSON can represent."""
        return {
            name: [to_json_value(value) for value in column]
            for name, column in self.batch.to_pydict().items()
        }


def to_json_value(value: Any) -> Any:
    """Return a value in a form that JSON can represent; bytes become base64."""
    from base64 import b64encode
    from decimal import Decimal

    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, bytes):
        return b64encode(value).decode()
    if isinstance(value, Decimal):  # DuckDB's type of a sum of integers
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, dict):
        return {key: to_json_value(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_json_value(inner) for inner in value]
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


def failure_from(error: Exception) -> Failure:
    """Return the first line of a DuckDB error, with its suggestion as the hint."""
    message, *more = [line.strip() for line in str(error).splitlines() if line.strip()]
    if message.startswith("Catalog Error: Table with name"):
        return Failure(message, "the table is called `files`")
    hints = [line for line in more if line.startswith(("Candidate", "Did you mean"))]
    return Failure(message, hints[0] if hints else "`DESCRIBE files` lists the columns")


@click.command()
@click.argument("source", metavar="SRC")
@click.argument("sql")
@click.option(
    "-o",
    "--output",
    metavar="OUT",
    help="Write all rows to a .parquet, .arrow, .csv or .jsonl file. Without -o, rows are "
    "printed: as a table on a terminal, as CSV otherwise.",
)
@click.option("--json", "as_json", is_flag=True, help="Print rows as JSON lines.")
def query(source: str, sql: str, output: str | None, as_json: bool) -> None:
    """Query an index folder or a .parquet file with SQL.

    SRC is the output of `fastdcm scan -o`. Its rows are the table `files`. SQL is one
    SELECT in DuckDB's dialect. It can read the files of SRC only and change nothing.
    """
    import duckdb
    import pyarrow

    parts = parquet_files(source)
    if not parts:
        raise Failure(f"{source}: the index has no rows yet")
    try:
        with connected(parts) as connection:
            rows = select(connection, sql)
            if output is None and not as_json and sys.stdout.isatty():
                width = shutil.get_terminal_size().columns
                with contextlib.redirect_stdout(io.StringIO()) as shown:
                    rows.show(max_width=width, max_rows=_MAX_ROWS)
                for line in shown.getvalue().splitlines():
                    print_line(line)
                return
            result = QueryResult(pyarrow.RecordBatchReader.from_stream(rows))
            if output is not None:
                write(result, output)
            elif as_json:
                write_jsonl(result, rows_output())
            else:
                write_csv(result, rows_output())
    except (duckdb.Error, pyarrow.ArrowException) as error:
        raise failure_from(error) from None
    except ValueError as error:
        raise Failure(f"-o {error}") from None
