"""DICOM files as a dataset of Ray Data."""

import functools

import numpy as np

from fastdcm.distributed.images import image_bytes, read_images
from fastdcm.distributed.pieces import cut, header_bytes, listed
from fastdcm.scanning.scanner import scan
from fastdcm.scanning.tags import DEFAULT_TAGS, parse_tag

try:
    import pyarrow
    import ray.data
    from ray.data.block import BlockMetadata
    from ray.data.datasource import Datasource, ReadTask
    from ray.data.extensions import ArrowTensorArray
except ImportError:
    raise ImportError("this needs Ray Data: pip install 'fastdcm-dicom[ray]'") from None

_SAMPLE = 16  # files that are read to know how large all will be
_FILES = 8192  # to a task, about: Ray warns of tasks above 1 MiB, paths and all


def read_dicom(
    paths, tags=None, *, pixels=False, images=False, on_error="row", threads=1, **options
):
    """The headers of many files, or their frames, as a ray.data.Dataset.

    Parameters
    ----------
    paths, tags, pixels, on_error : as `fastdcm.scan` takes them. A table with a
        column ``size`` spares the look at every file. All machines must see the
        files under these paths, which are made absolute.
    images : bool
        A row a frame, with ``frame`` (its number in the file, from 0) and
        ``image``: float32 (samples per pixel, height, width), values of the
        modality; colour as it is stored. A frame that cannot be read, and a file
        without pixels, is a row whose image is of no pixels; with
        ``on_error="skip"`` no row.
    threads : of each task: more than one where the storage makes a reader wait.
    options : those of `ray.data.read_datasource`, such as ``concurrency`` and
        ``override_num_blocks``.

    Rows are those of `fastdcm.scan`, types too, in the order in which tasks end
    unless Ray is told to preserve it. A task is a run of the list, of about as
    many bytes to read as every other.

    Raises ValueError and FileNotFoundError as `fastdcm.scan`.
    """
    source = DicomDatasource(
        paths, tags, pixels=pixels, images=images, on_error=on_error, threads=threads
    )
    return ray.data.read_datasource(source, **options)


class DicomDatasource(Datasource):
    """What `read_dicom` reads. The files are listed at once, by who makes it;
    it keeps their paths, about 150 bytes each."""

    def __init__(self, paths, tags=None, *, pixels=False, images=False, on_error="row", threads=1):
        super().__init__()
        # of nothing: it refuses what cannot be, and tells the columns
        nothing = scan((), tags, pixels=pixels, threads=threads, on_error=on_error)
        self.files, self.sizes = listed(paths)
        self.images = images
        if images:
            names = [parse_tag(tag)[0] for tag in (DEFAULT_TAGS if tags is None else tags)]
            self.read = functools.partial(
                _read_images,
                tags=names,
                columns=nothing.column_names,
                on_error=on_error,
                threads=threads,
            )
            self.schema = None  # a tensor's type tells its shape
        else:
            self.read = functools.partial(
                _read_headers, tags=tags, pixels=pixels, on_error=on_error, threads=threads
            )
            self.schema = pyarrow.schema(nothing)

    def get_name(self):
        return "DICOM"

    def estimate_inmemory_data_size(self):
        """Bytes of the whole table, reckoned from a few of the files."""
        return int(self._costs().sum() * self._growth)

    def get_read_tasks(self, parallelism, per_task_row_limit=None, data_context=None):
        costs = self._costs()
        parts = cut(costs, max(parallelism, -(-len(costs) // _FILES)))
        return [
            ReadTask(
                lambda read=self.read, piece=self.files[part]: read(piece),
                BlockMetadata(
                    num_rows=None,
                    size_bytes=int(costs[part].sum() * self._growth),
                    input_files=None,
                    exec_stats=None,
                ),
                schema=self.schema,
                per_task_row_limit=per_task_row_limit,
            )
            for part in parts or [slice(0, 0)]  # of no files one, for the schema
        ]

    def _costs(self):
        """Bytes to be read of each file."""
        return np.maximum(self.sizes, 1) if self.images else header_bytes(self.sizes)

    @functools.cached_property
    def _growth(self):
        """Bytes of the table for a byte that is read."""
        count = len(self.files)
        few = np.linspace(0, count - 1, min(_SAMPLE, count)).astype(int)
        if len(few) == 0:
            return 0.0
        files = [self.files.paths[i] for i in few]
        size = (
            image_bytes(files) if self.images else sum(table.nbytes for table in self.read(files))
        )
        return size / int(self._costs()[few].sum())


def _read_headers(piece, **options):
    scanned = scan(piece, **options)
    schema = pyarrow.schema(scanned)
    for batch in scanned:
        yield pyarrow.Table.from_batches([pyarrow.record_batch(batch)], schema)


def _read_images(piece, **options):
    for rows, images in read_images(piece, **options):
        yield rows.append_column("image", ArrowTensorArray.from_numpy(images))
