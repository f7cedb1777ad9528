"""What a table has to provide to be written, and what writes it, as protocols."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, TypedDict

from fastdcm.scanning._batch import Plan
from fastdcm.sources.protocols import Source

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

#: (name, format of the values as in the Arrow C data interface, depth of lists).
Field: TypeAlias = tuple[str, bytes, int]


class ArrowBatch(Protocol):
    """A batch of rows that Arrow libraries can read."""

    def __len__(self) -> int:
        """Return the number of rows."""

    def to_pydict(self) -> dict[str, list[Any]]:
        """Return each column by its name, as a list of Python objects."""

    def __arrow_c_array__(self, requested_schema: object = None) -> tuple[object, object]:
        """Return the batch through the Arrow PyCapsule interface."""


class Table(Protocol):
    """Rows to be written: a scan, or the result of a query."""

    @property
    def column_names(self) -> list[str]:
        """The names of the columns, in order."""

    @property
    def fields(self) -> list[Field]:
        """The columns, in order."""

    def __iter__(self) -> Iterator[ArrowBatch]:
        """Return the rows, batch by batch."""

    def __arrow_c_schema__(self) -> object:
        """Return the schema through the Arrow PyCapsule interface."""


class BinaryWriter(Protocol):
    """A binary file that is written from start to end."""

    def write(self, data: ReadableBuffer, /) -> int:
        """Write all bytes."""


class TableWriter(Protocol):
    """Writes a table in one format."""

    def __call__(self, table: Table, file: BinaryWriter) -> None:
        """Write all rows."""


class ScanStats(TypedDict):
    """Counts of a scan.

    Attributes
    ----------
    files : int
        Files read, members of archives included.
    errors : int
        Files that could not be read.
    issues : int
        Repairs, in the column ``issues``.
    seconds, files_per_second : float
    bytes_read : int
    threads : int
        The largest number of threads that were used.
    """

    files: int
    errors: int
    issues: int
    seconds: float
    files_per_second: float
    bytes_read: int
    threads: int


class RepeatableScan(Table, Protocol):
    """A scan as index folders need it: one that can be run over other sources."""

    @property
    def source(self) -> Source:
        """Where the paths come from."""

    @property
    def plan(self) -> Plan:
        """The elements that are read, and their columns."""

    @property
    def threads(self) -> int | None:
        """The number of threads; None: chosen while it runs."""

    @property
    def on_error(self) -> str:
        """What is done about a file that cannot be read: "row", "skip" or "raise"."""

    @property
    def stats(self) -> ScanStats:
        """The counts of the last run, or of the current one."""

    def __iter__(self) -> Generator[ArrowBatch, None, None]:
        """Run the scan."""

    def with_source(self, source: Source) -> RepeatableScan:
        """Return the same scan of another source."""
