"""A scan written to a file.

csv, json and base64 are imported at first use: together they take longer than
the rest of the package.
"""

import errno
import math
import os

from fastdcm._util.atomic import write_atomically

# Rows to a row group of Parquet. They are in memory until it is written; small
# ones make large footers.
_ROW_GROUP = 16384

# Columns whose values hardly repeat: a dictionary of them takes time and room.
_DISTINCT = ("path", "mtime_ns", "SOPInstanceUID")

#: What the name of a Delta table begins with: a path or a URL follows.
DELTA = "delta://"


def write(scan, path):
    """Writes the table, whole. ValueError for a path that is no Delta table's and
    whose ending is none of .parquet .arrow .csv .jsonl, FileNotFoundError where
    there is no folder."""
    if path.startswith(DELTA):
        return _write_delta(scan, path[len(DELTA) :])
    writer = _WRITERS.get(os.path.splitext(path)[1].lower())
    if writer is None:
        raise ValueError(
            f"{path}: a table's name ends in {', '.join(_WRITERS)}, that of an index "
            f"folder in /, and that of a Delta table begins with {DELTA}"
        )
    folder = os.path.dirname(path) or "."
    if not os.path.isdir(folder):
        raise FileNotFoundError(errno.ENOENT, "no such folder", folder)
    write_atomically(path, lambda file: writer(scan, file))


def write_csv(scan, file):
    """file: binary. Lists are JSON, bytes base64, null is empty."""
    import csv
    import json

    text = _Text()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(scan.column_names)
    file.write(text.taken())
    lists, binaries = _columns(scan, "lists"), _columns(scan, "bytes")
    for batch in scan:
        columns = batch.to_pydict()
        for name in binaries:
            columns[name] = _base64(columns[name])
        for name in lists:
            columns[name] = [
                v if v is None else json.dumps(v, ensure_ascii=False) for v in columns[name]
            ]
        rows.writerows(zip(*columns.values()))
        file.write(text.taken())


def write_jsonl(scan, file):
    """file: binary. One object a line; bytes are base64, no number null."""
    import json

    names, binaries = scan.column_names, _columns(scan, "bytes")
    encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode
    for batch in scan:
        columns = batch.to_pydict()
        for name in binaries:
            columns[name] = _base64(columns[name])
        lines = []
        for values in zip(*columns.values()):
            row = dict(zip(names, values))
            try:
                lines.append(encode(row))
            except ValueError:  # JSON has no infinity and no NaN
                lines.append(encode(_finite(row)))
        file.write("\n".join(lines).encode() + b"\n")


def write_parquet(scan, file):
    """file: binary. Rows go out in groups, as they come."""
    import pyarrow
    from pyarrow import parquet

    schema = pyarrow.schema(scan)
    with parquet.ParquetWriter(
        file, schema, compression="zstd", use_dictionary=_repeating(schema)
    ) as writer:
        batches, rows = [], 0
        for batch in scan:
            batches.append(pyarrow.record_batch(batch))
            rows += len(batch)
            if rows >= _ROW_GROUP:
                writer.write_table(pyarrow.Table.from_batches(batches, schema))
                batches, rows = [], 0
        if batches:
            writer.write_table(pyarrow.Table.from_batches(batches, schema))


def _repeating(schema):
    """The columns for dictionaries, as Parquet names them: those of lists by
    what is in them."""
    import pyarrow

    names = []
    for field in schema:
        name, kind = field.name, field.type
        while pyarrow.types.is_list(kind):
            name, kind = name + ".list.element", kind.value_type
        if name not in _DISTINCT:
            names.append(name)
    return names


def _write_delta(scan, place):
    """A new version of the table, in one transaction: who reads sees the rows
    that were there before, or these."""
    import pyarrow
    from deltalake import write_deltalake

    reader = pyarrow.RecordBatchReader.from_batches(
        pyarrow.schema(scan), map(pyarrow.record_batch, scan)
    )
    write_deltalake(place, reader, mode="overwrite", schema_mode="overwrite")


def _write_arrow(scan, file):
    import pyarrow

    with pyarrow.ipc.new_file(file, pyarrow.schema(scan)) as writer:
        for batch in scan:
            writer.write_batch(pyarrow.record_batch(batch))


_WRITERS = {
    ".parquet": write_parquet,
    ".arrow": _write_arrow,
    ".csv": write_csv,
    ".jsonl": write_jsonl,
}


class _Text:
    """What csv.writer writes to."""

    def __init__(self):
        self.parts = []
        self.write = self.parts.append

    def taken(self):
        data = "".join(self.parts).encode()
        self.parts.clear()
        return data


def _columns(scan, what):
    """The names of the columns of lists, or of bytes (also in lists)."""
    return [
        name
        for name, form, lists in scan.plan.fields
        if (lists if what == "lists" else form == b"z")
    ]


def _base64(value):
    from base64 import b64encode

    if isinstance(value, list):
        return [_base64(v) for v in value]
    return value if value is None else b64encode(value).decode()


def _finite(value):
    if isinstance(value, dict):
        return {k: _finite(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_finite(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
