"""DICOM headers as a dask.dataframe."""

from fastdcm.distributed.pieces import cut, header_bytes, listed
from fastdcm.scanning.scanner import scan

try:
    import dask
    import dask.dataframe
    import pandas
except ImportError:
    raise ImportError("this needs Dask: pip install 'fastdcm-dicom[dask]'") from None

_FILES = 16384  # to a partition: tens of MB of table, a second of work or less


def read_dicom(paths, tags=None, *, pixels=False, on_error="row", threads=1, npartitions=None):
    """The headers of many files as a dask.dataframe.DataFrame.

    Parameters
    ----------
    paths, tags, pixels, on_error : as `fastdcm.scan` takes them. A table with a
        column ``size`` spares the look at every file. All workers must see the
        files under these paths, which are made absolute.
    threads : of each partition: more than one where the storage makes a reader
        wait.
    npartitions : int or None
        None: one for each 16,384 files. They are of about as many bytes to read.

    Rows and their order are those of `fastdcm.scan`; columns have its Arrow
    types (pandas.ArrowDtype): null stays null, integers stay integers, lists
    stay lists. Raises ValueError and FileNotFoundError as `fastdcm.scan`.
    """
    # of nothing: it refuses what cannot be, and tells the columns
    nothing = scan((), tags, pixels=pixels, threads=threads, on_error=on_error).read_all()
    files, sizes = listed(paths)
    parts = cut(header_bytes(sizes), npartitions or max(1, -(-len(files) // _FILES)))
    with dask.config.set({"dataframe.convert-string": False}):  # to a type of its own
        return dask.dataframe.from_map(
            _read,
            [files[part] for part in parts] or [files],
            tags=tags,
            pixels=pixels,
            on_error=on_error,
            threads=threads,
            meta=_frame(nothing),
            label="read-dicom",
        )


def _read(piece, **options):
    return _frame(scan(piece, **options).read_all())


def _frame(table):
    return table.to_pandas(types_mapper=pandas.ArrowDtype)
