"""Open the table of a scan, from any library and file that holds one.

Tables of other libraries have the same values in other Arrow types, for example
string_view, large_list or dictionary. Each column is converted to the type that
`fastdcm.scan` gives it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from fastdcm.pixels.functional_groups import MODALITY, VOI
from fastdcm.scanning.scanner import scan

if TYPE_CHECKING:
    import pyarrow

RESCALE = ("RescaleSlope", "RescaleIntercept")
WINDOW = ("WindowCenter", "WindowWidth", "VOILUTFunction")
TABLE, VOI_LUT = "ModalityLUTSequence.LUTDescriptor", "VOILUTSequence.LUTDescriptor"
DOSE = "DoseGridScaling"

#: The columns that a scan's table must have, in addition to ``pixels=True``:
#: ``fastdcm.scan(folder, [*COLUMNS, "PatientID"], pixels=True)``.
COLUMNS = (
    "SOPClassUID",
    "Rows",
    "Columns",
    "SamplesPerPixel",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
    "PhotometricInterpretation",
    "PlanarConfiguration",
    "NumberOfFrames",
    "PresentationLUTShape",
    TABLE,
    DOSE,
    *(column for name in RESCALE for column in reversed(MODALITY.columns(name))),
    *(column for name in (*WINDOW, VOI_LUT) for column in reversed(VOI.columns(name))),
)
#: The columns of any scan with ``pixels=True`` that are needed.
FIXED = (
    "path",
    "size",
    "mtime_ns",
    "transfer_syntax",
    "error",
    "pixel_offset",
    "pixel_length",
    "frames",
)
# Columns that a table may lack, for example one of an earlier version: null in that case.
_OPTIONAL = ("issues", "SOPClassUID", "pixel_fragments")
_ARROW_FILES = (".arrow", ".feather", ".ipc")


def import_pyarrow() -> Any:
    """Return pyarrow; ImportError says what to install."""
    try:
        import pyarrow
        import pyarrow.compute
        import pyarrow.parquet
    except ImportError:
        raise ImportError("fastdcm.ml needs pyarrow: pip install 'fastdcm-dicom[table]'") from None
    return pyarrow


def open_table(source: Any, labels: Iterable[str]) -> pyarrow.Table:
    """Return the table of a source with the columns that `Samples` needs.

    Parameters
    ----------
    source : table, path or other source of a scan
        As of `Samples`.
    labels : iterable of str
        Further columns.

    Returns
    -------
    pyarrow.Table
        Columns other than labels have the types of a scan.

    Raises
    ------
    ImportError
        Without pyarrow.
    ValueError
        Where a table lacks columns, or has a column of another type.
    """
    pyarrow = import_pyarrow()
    wanted = list(dict.fromkeys([*FIXED, *COLUMNS, *labels]))
    table = _table_of(source, [*wanted, *_OPTIONAL])
    if table is None:
        tags = [name for name in wanted if name not in FIXED]
        table = scan(source, tags, pixels=True).read_all()
    missing = [name for name in wanted if name not in table.column_names and name not in _OPTIONAL]
    if missing:
        raise ValueError(
            f"the table has no column {', '.join(missing)}: write it with "
            "scan(source, [*fastdcm.ml.COLUMNS, ...], pixels=True)"
        )
    types = _types()
    columns = {}
    for name in dict.fromkeys([*wanted, *_OPTIONAL]):
        if name not in table.column_names:
            columns[name] = pyarrow.nulls(len(table), types[name])
        elif name in types:
            columns[name] = _converted(table.column(name), types[name], name)
        else:
            columns[name] = table.column(name)
    return pyarrow.table(columns)


def _table_of(source: Any, wanted: Iterable[str]) -> Any:
    """Return a table, or a file with one, as a pyarrow.Table; None for another source."""
    pyarrow = import_pyarrow()
    if isinstance(source, (str, os.PathLike)):
        path = os.fsdecode(source)
        suffix = os.path.splitext(path)[1].lower()
        if "://" in path or os.path.isdir(path):
            return None
        if suffix == ".parquet":
            names = pyarrow.parquet.read_schema(path).names
            chosen = [name for name in dict.fromkeys(wanted) if name in names]
            return pyarrow.parquet.read_table(path, columns=chosen)
        return _read_arrow_file(path) if suffix in _ARROW_FILES else None
    if isinstance(source, pyarrow.Table):
        return source
    if hasattr(source, "collect_schema") and hasattr(source, "collect"):  # of polars
        source = source.collect()
    if hasattr(source, "__arrow_c_stream__"):
        return pyarrow.table(source)
    if hasattr(source, "__arrow_c_array__"):  # one record batch
        return pyarrow.Table.from_batches([pyarrow.record_batch(source)])
    if hasattr(source, "to_table"):  # a dataset of pyarrow
        return source.to_table()
    return None


def _read_arrow_file(path: str) -> Any:
    """Read an Arrow IPC file or stream, or a Feather file of version 1."""
    pyarrow = import_pyarrow()
    with pyarrow.memory_map(path) as file:
        try:
            return pyarrow.ipc.open_file(file).read_all()
        except pyarrow.ArrowInvalid:
            file.seek(0)
        try:
            return pyarrow.ipc.open_stream(file).read_all()
        except pyarrow.ArrowInvalid:
            from pyarrow import feather

            return feather.read_table(path)


@lru_cache(1)
def _types() -> dict[str, Any]:
    """Return the Arrow type of each column that is not a label."""
    pyarrow = import_pyarrow()
    schema = pyarrow.schema(scan((), COLUMNS, pixels=True))
    types = {name: schema.field(name).type for name in (*FIXED, "issues", *COLUMNS)}
    # offsets of 32 bits are not enough for the paths of 100 million files
    return {**types, "path": pyarrow.large_string(), "pixel_fragments": pyarrow.int64()}


def _converted(column: Any, kind: Any, name: str) -> Any:
    """Return a column in another type."""
    if column.type == kind:
        return column
    pyarrow = import_pyarrow()
    if pyarrow.types.is_floating(column.type) and pyarrow.types.is_integer(kind):
        # pandas has integers with missing values as floats with NaN
        is_nan = pyarrow.compute.is_nan(column)
        column = pyarrow.compute.if_else(is_nan, pyarrow.scalar(None, column.type), column)
    try:
        try:
            return column.cast(kind)
        except pyarrow.ArrowNotImplementedError:
            return pyarrow.chunked_array([pyarrow.array(column.to_pylist(), kind)])
    except (pyarrow.ArrowInvalid, pyarrow.ArrowTypeError) as error:
        raise ValueError(
            f"the column {name} must have the type {kind} of a scan, got {column.type}: {error}"
        ) from None
