"""Read the headers of DICOM files into a Dask dataframe."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from fastdcm.distributed.partitions import Partition, header_costs, list_files, split_evenly
from fastdcm.scanning.scanner import scan

try:
    import dask
    import dask.dataframe
    import pandas
    import pyarrow
except ImportError:
    raise ImportError(
        "fastdcm.distributed.dask needs Dask: pip install 'fastdcm-dicom[dask]'"
    ) from None

_FILES_PER_PARTITION = 16384  # tens of MB of table, a second of work or less


def read_dicom(
    paths: Any,
    tags: Sequence[str | int] | None = None,
    *,
    pixels: bool | Literal["frames"] = False,
    on_error: Literal["row", "skip", "raise"] = "row",
    threads: int = 1,
    npartitions: int | None = None,
) -> dask.dataframe.DataFrame:
    """Read the headers of many files into a Dask dataframe.

    Rows, columns and their order are those of `fastdcm.scan`. Columns keep their
    Arrow types (pandas.ArrowDtype): null stays null, integers stay integers,
    lists stay lists.

    Parameters
    ----------
    paths, tags, pixels, on_error
        As of `fastdcm.scan`. With a table that has a column ``size``, files are
        not looked up for their sizes. All workers must have access to the files
        under these paths, which are made absolute.
    threads : int
        Of each partition: more than 1 where storage has a high latency.
    npartitions : int or None
        Partitions have about equal numbers of bytes to read. None: one for each
        16,384 files.

    Returns
    -------
    dask.dataframe.DataFrame

    Raises
    ------
    ValueError, FileNotFoundError
        As `fastdcm.scan`.

    Examples
    --------
    >>> frame = read_dicom("archive", ["Modality"])  # doctest: +SKIP
    >>> frame.groupby("Modality").size().compute()  # doctest: +SKIP
    """
    # A scan of no files validates the arguments and has the columns.
    empty = scan((), tags, pixels=pixels, threads=threads, on_error=on_error).read_all()
    files, sizes = list_files(paths)
    count = npartitions or max(1, -(-len(files) // _FILES_PER_PARTITION))
    parts = split_evenly(header_costs(sizes), count)
    with dask.config.set({"dataframe.convert-string": False}):  # keep the Arrow types
        return dask.dataframe.from_map(
            _read,
            [files[part] for part in parts] or [files],
            tags=tags,
            pixels=pixels,
            on_error=on_error,
            threads=threads,
            meta=_to_pandas(empty),
            label="read-dicom",
        )


def _read(partition: Partition, **options: Any) -> pandas.DataFrame:
    return _to_pandas(scan(partition, **options).read_all())


def _to_pandas(table: pyarrow.Table) -> pandas.DataFrame:
    return table.to_pandas(types_mapper=pandas.ArrowDtype)
