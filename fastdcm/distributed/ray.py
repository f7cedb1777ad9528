"""Read the headers or frames of DICOM files into a Ray dataset."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

try:
    import pyarrow
    import ray.data
    from ray.data.block import BlockMetadata
    from ray.data.datasource import Datasource, ReadTask
    from ray.data.extensions import ArrowTensorArray
except ImportError:
    raise ImportError(
        "fastdcm.distributed.ray needs Ray Data: pip install 'fastdcm-dicom[ray]'"
    ) from None

from fastdcm.distributed.images import image_bytes, read_images
from fastdcm.distributed.partitions import header_costs, list_files, split_evenly
from fastdcm.scanning.scanner import scan
from fastdcm.scanning.tags import parse_tags

_SAMPLED_FILES = 16  # are read to estimate the size of the result
_FILES_PER_TASK = 8192  # about: Ray warns of tasks above 1 MiB, and they hold the paths


def read_dicom(
    paths: Any,
    tags: Sequence[str | int] | None = None,
    *,
    pixels: bool | Literal["frames"] = False,
    images: bool = False,
    on_error: Literal["row", "skip", "raise"] = "row",
    threads: int = 1,
    **options: Any,
) -> ray.data.Dataset:
    """Read the headers of many files, or their frames, into a Ray dataset.

    Rows and their types are those of `fastdcm.scan`, in the order in which tasks
    end, unless Ray is configured to preserve the order. Tasks have about equal
    numbers of bytes to read.

    Parameters
    ----------
    paths, tags, pixels, on_error
        As of `fastdcm.scan`. With a table that has a column ``size``, files are
        not looked up for their sizes. All machines must have access to the files
        under these paths, which are made absolute.
    images : bool
        True: one row a frame, with ``frame``, its number in the file from 0, and
        ``image``, a float32 array (samples per pixel, height, width) of modality
        values; colors are not converted. A frame that cannot be read, and a file
        without pixel data, is a row with an empty image, or no row with
        ``on_error="skip"``.
    threads : int
        Of each task: more than 1 where storage has a high latency.
    **options
        Keyword arguments of `ray.data.read_datasource`, such as ``concurrency``
        and ``override_num_blocks``.

    Returns
    -------
    ray.data.Dataset

    Raises
    ------
    ValueError, FileNotFoundError
        As `fastdcm.scan`.

    Examples
    --------
    >>> dataset = read_dicom("archive", ["Modality"], images=True)  # doctest: +SKIP
    >>> for batch in dataset.iter_torch_batches(batch_size=16):  # doctest: +SKIP
    ...     train(batch["image"])
    """
    source = DicomDatasource(
        paths, tags, pixels=pixels, images=images, on_error=on_error, threads=threads
    )
    return ray.data.read_datasource(source, **options)


class DicomDatasource(Datasource):
    """The data source of `read_dicom`.

    The process that creates it lists the files. It keeps their paths, about 150
    bytes each.

    Parameters
    ----------
    paths, tags, pixels, images, on_error, threads
        As of `read_dicom`.
    """

    def __init__(
        self,
        paths: Any,
        tags: Sequence[str | int] | None = None,
        *,
        pixels: bool | Literal["frames"] = False,
        images: bool = False,
        on_error: Literal["row", "skip", "raise"] = "row",
        threads: int = 1,
    ) -> None:
        super().__init__()
        # A scan of no files validates the arguments and has the columns.
        empty = scan((), tags, pixels=pixels, threads=threads, on_error=on_error)
        self.files, self.sizes = list_files(paths)
        self.images = images
        self.read: Callable[[Any], Iterator[pyarrow.Table]]
        if images:
            names = [column.name for column in parse_tags(tags)]
            self.read = functools.partial(
                _read_images,
                tags=names,
                columns=empty.column_names,
                on_error=on_error,
                threads=threads,
            )
            self.schema = None  # the type of a tensor contains its shape
        else:
            self.read = functools.partial(
                _read_headers, tags=tags, pixels=pixels, on_error=on_error, threads=threads
            )
            self.schema = pyarrow.schema(empty)

    def get_name(self) -> str:
        """Return the name of the data source.

        Returns
        -------
        str
        """
        return "DICOM"

    def estimate_inmemory_data_size(self) -> int:
        """Return the size of the complete table, estimated from a few files.

        Returns
        -------
        int
            In bytes.
        """
        return int(self._costs().sum() * self._expansion)

    def get_read_tasks(
        self, parallelism: int, per_task_row_limit: int | None = None, data_context: Any = None
    ) -> list[ReadTask]:
        """Return the tasks that read the files.

        Parameters
        ----------
        parallelism : int
            The number of tasks, unless they would be too large.
        per_task_row_limit : int or None
        data_context : ray.data.DataContext or None
            Not used.

        Returns
        -------
        list of ReadTask
        """
        costs = self._costs()
        parts = split_evenly(costs, max(parallelism, -(-len(costs) // _FILES_PER_TASK)))
        return [
            ReadTask(
                functools.partial(self.read, self.files[part]),
                BlockMetadata(
                    num_rows=None,
                    size_bytes=int(costs[part].sum() * self._expansion),
                    input_files=None,
                    exec_stats=None,
                ),
                schema=self.schema,
                per_task_row_limit=per_task_row_limit,
            )
            for part in parts or [slice(0, 0)]  # without files one task, for the schema
        ]

    def _costs(self) -> npt.NDArray[np.int64]:
        """Return the bytes to read of each file."""
        return np.maximum(self.sizes, 1) if self.images else header_costs(self.sizes)

    @functools.cached_property
    def _expansion(self) -> float:
        """Bytes of the table per byte read."""
        count = len(self.files)
        sampled = np.linspace(0, count - 1, min(_SAMPLED_FILES, count)).astype(int)
        if len(sampled) == 0:
            return 0.0
        files = [self.files.paths[i] for i in sampled]
        if self.images:
            size = image_bytes(files)
        else:
            size = sum(table.nbytes for table in self.read(files))
        return size / int(self._costs()[sampled].sum())


def _read_headers(files: Any, **options: Any) -> Iterator[pyarrow.Table]:
    scanned = scan(files, **options)
    schema = pyarrow.schema(scanned)
    for batch in scanned:
        yield pyarrow.Table.from_batches([pyarrow.record_batch(batch)], schema)


def _read_images(files: Any, **options: Any) -> Iterator[pyarrow.Table]:
    for rows, images in read_images(files, **options):
        yield rows.append_column("image", ArrowTensorArray.from_numpy(images))
