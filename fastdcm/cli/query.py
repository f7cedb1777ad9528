"""fastdcm query: SQL over an index or a table, by DuckDB."""

import contextlib
import glob
import os
import shutil
import sys
import tempfile

import click

from fastdcm.cli import Failure
from fastdcm.cli._shared import open_indexes
from fastdcm.scanning.output import write, write_csv, write_jsonl

# Rows on a terminal; a file or a pipe gets them all.
_SHOWN = 40


def live_parts(source):
    """The files of the rows of an index, or the one table."""
    indexes, _ = open_indexes([source])
    if indexes:
        return indexes[0].parts
    if os.path.isdir(source) or not source.lower().endswith(".parquet"):
        raise Failure(
            f"{source}: a query is of an index folder or a .parquet file",
            "`fastdcm scan SRC -o index/` makes an index",
        )
    os.stat(source)
    return [source]


def text(value):
    """As SQL writes it."""
    return "'" + value.replace("'", "''") + "'"


@contextlib.contextmanager
def connected(parts):
    """DuckDB with the view `files` of these files, and no way to any other."""
    import duckdb

    # what is read is a list of patterns
    parts = [os.path.abspath(part) for part in parts]
    patterns = ", ".join(text(glob.escape(part)) for part in parts)
    allowed = ", ".join(text(name) for part in parts for name in {part, glob.escape(part)})
    with (
        tempfile.TemporaryDirectory(prefix="fastdcm-") as folder,
        duckdb.connect(
            config={
                "autoinstall_known_extensions": False,
                "autoload_known_extensions": False,
                "python_enable_replacements": False,
                "temp_directory": folder,
            }
        ) as base,
    ):
        base.execute(f"CREATE VIEW files AS SELECT * FROM read_parquet([{patterns}])")
        base.execute(f"SET allowed_paths = [{allowed}]")
        base.execute("SET enable_external_access = false")
        base.execute("SET lock_configuration = true")
        yield base


def asked(base, sql):
    """The one SELECT, as a relation."""
    import duckdb

    statements = base.extract_statements(sql)
    if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
        raise Failure(
            "a query is one SELECT: it changes nothing",
            "SELECT, WITH, VALUES, DESCRIBE files or SUMMARIZE files",
        )
    rows = base.sql(statements[0])
    for name in rows.columns:
        if rows.columns.count(name) > 1:
            raise Failure(f"two columns are called {name}", "give one another name, with AS")
    return rows


class Rows:
    """A result as `tables` takes one."""

    def __init__(self, reader):
        import pyarrow

        self.reader = reader
        self.column_names = reader.schema.names
        self.fields = [
            (field.name, b"", int(pyarrow.types.is_nested(field.type))) for field in reader.schema
        ]

    def __arrow_c_schema__(self):
        return self.reader.schema.__arrow_c_schema__()

    def __iter__(self):
        return map(Batch, self.reader)


class Batch:
    def __init__(self, batch):
        self.batch = batch

    def __len__(self):
        return len(self.batch)

    def __arrow_c_array__(self, requested_schema=None):
        return self.batch.__arrow_c_array__(requested_schema)

    def to_pydict(self):
        return {
            name: [plain(value) for value in column]
            for name, column in self.batch.to_pydict().items()
        }


def plain(value):
    """A value as JSON has it; bytes are base64."""
    from base64 import b64encode
    from decimal import Decimal

    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, bytes):
        return b64encode(value).decode()
    if isinstance(value, Decimal):  # a sum of integers is one without a fraction
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, dict):
        return {key: plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(inner) for inner in value]
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


def told(error):
    """The Failure that tells of an error of DuckDB: what it says first, and
    what it proposes."""
    what, *more = [line.strip() for line in str(error).splitlines() if line.strip()]
    if what.startswith("Catalog Error: Table with name"):
        return Failure(what, "the table is called `files`")
    hints = [line for line in more if line.startswith(("Candidate", "Did you mean"))]
    return Failure(what, hints[0] if hints else "`DESCRIBE files` lists the columns")


@click.command()
@click.argument("source", metavar="SRC")
@click.argument("sql")
@click.option(
    "-o",
    "--output",
    metavar="OUT",
    help="A .parquet, .arrow, .csv or .jsonl file; without "
    "it a table on a terminal, and CSV elsewhere.",
)
@click.option("--json", "as_json", is_flag=True, help="Rows as JSON lines on stdout.")
def query(source, sql, output, as_json):
    """Ask an index, or a .parquet file, in SQL.

    SRC is what `fastdcm scan -o` wrote. Its rows are the table `files`. Only they
    are read, and nothing is changed: a query is one SELECT in DuckDB's dialect.
    """
    import duckdb
    import pyarrow

    parts = live_parts(source)
    if not parts:
        raise Failure(f"{source}: the index has no rows yet")
    try:
        with connected(parts) as base:
            rows = asked(base, sql)
            if output is None and not as_json and sys.stdout.isatty():
                rows.show(max_width=shutil.get_terminal_size().columns, max_rows=_SHOWN)
                return
            rows = Rows(pyarrow.RecordBatchReader.from_stream(rows))
            if output is not None:
                write(rows, output)
            elif as_json:
                write_jsonl(rows, sys.stdout.buffer)
            else:
                write_csv(rows, sys.stdout.buffer)
    except (duckdb.Error, pyarrow.ArrowException) as error:
        raise told(error) from None
    except ValueError as error:
        raise Failure(f"-o {error}") from None
