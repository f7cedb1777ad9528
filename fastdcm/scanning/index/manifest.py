"""The manifest of an index folder: which parts of a large scan are complete.

    index/part-000001.parquet ...         rows, all with the same schema
    index/_fastdcm/manifest.jsonl         which parts count
    index/_fastdcm/files-000001.parquet   the files to read, in order
    index/_fastdcm/update.jsonl           the next manifest, during an update
    index/_fastdcm/lock                   locked by the process that writes

The manifest consists of lines of JSON. The first has the parameters of the scan and
the list of files it reads. Each part has a line, with the range of entries of that
list whose rows it contains. The last line says that the index is complete. The line of
a part is written after the part has been synchronized to disk, and a line without an
end does not count: so the manifest is correct whenever the machine stops. Files that
it does not name are remains of an interruption.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import json
import os
import re
from base64 import b64decode, b64encode
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, BinaryIO, NotRequired, TypedDict, cast

from fastdcm._util.atomic import sync_directory, write_atomically
from fastdcm.errors import DicomError

if TYPE_CHECKING:
    import pyarrow
    from _typeshed import ReadableBuffer

#: The folder in an index for everything but rows. Readers of Parquet data sets skip
#: names that begin with an underscore.
INTERNAL = "_fastdcm"
MANIFEST, UPDATE = "manifest.jsonl", "update.jsonl"
VERSION = 1

# What an interrupted run can leave behind: parts and lists without a line, and
# temporary files.
_PART_NAME = re.compile(r"part-(\d+)\.parquet")
_LIST_NAME = re.compile(r"files-(\d+)\.parquet")
_INTERNAL_REMAINS = re.compile(
    r"files-\d+\.parquet|update\.jsonl|(part|files|manifest|update)-?\d*\.\w+\.\w+-\w+\.tmp"
)


class FileSum(TypedDict):
    """Size and checksum of a file."""

    bytes: int
    sha256: str


class ListEntry(FileSum):
    """A list of files."""

    name: str
    entries: int


class PartEntry(FileSum):
    """The line of a part."""

    part: str
    rows: int
    files: int
    errors: int
    issues: int
    entries: list[int]
    paths: list[str]


class Parameters(TypedDict):
    """What was requested of the scan."""

    tags: list[str]
    pixels: bool | str
    hash: list[str]
    on_error: str
    source: Any


class Head(TypedDict):
    """The first line."""

    fastdcm_index: NotRequired[int]
    parameters: Parameters
    folder: str | None
    files: ListEntry
    schema: str
    # Of an update:
    before: NotRequired[ListEntry]
    again: NotRequired[list[int]]
    next_part: NotRequired[int]


_HEAD_KEYS = {"fastdcm_index", "parameters", "folder", "files", "schema"}
_PART_KEYS = {"part", "rows", "files", "errors", "bytes", "sha256", "entries"}


def part_name(number: int) -> str:
    """Return the file name of a part, which are numbered from 1."""
    return f"part-{number:06d}.parquet"


def list_name(number: int) -> str:
    """Return the file name of a list of files, which are numbered from 1."""
    return f"files-{number:06d}.parquet"


def part_number(name: str) -> int:
    """Return the number in the file name of a part."""
    return _number(_PART_NAME, name)


def list_number(name: str) -> int:
    """Return the number in the file name of a list of files."""
    return _number(_LIST_NAME, name)


def _number(pattern: re.Pattern[str], name: str) -> int:
    match = pattern.fullmatch(name)
    if match is None:
        raise ValueError(f"{name!r} does not have the form {pattern.pattern}")
    return int(match[1])


def internal_path(folder: str, name: str) -> str:
    """Return the path of a file that is not a part."""
    return os.path.join(folder, INTERNAL, name)


def damaged(path: str, what: str) -> DicomError:
    """Return the error for an index that differs from its manifest."""
    return DicomError(f"the index is damaged: {what}", "index-damaged", filename=path)


class Manifest:
    """The manifest of an index, as it is on disk.

    Raises FileNotFoundError when there is none yet, DicomError when it is damaged.

    Attributes
    ----------
    folder, path : str
        The index, and the manifest in it.
    head : Head
    parts : list of PartEntry
        In the order of the rows.
    complete : bool
    """

    def __init__(self, folder: str, name: str = MANIFEST) -> None:
        self.folder = folder
        self.path = internal_path(folder, name)
        self.parts: list[PartEntry] = []
        self.complete = False
        self._length = 0  # in bytes, of the lines that count
        head: Head | None = None
        with open(self.path, "rb") as file:
            *lines, _ = file.read().split(b"\n")
        for i, line in enumerate(lines):
            try:
                entry = json.loads(line)
                if head is None:
                    head = self._checked_head(entry)
                else:
                    self._add(entry)
            except (ValueError, TypeError, KeyError):
                if i == len(lines) - 1 and i:  # left behind by a power failure
                    break
                raise damaged(self.path, f"line {i + 1} cannot be read") from None
            self._length += len(line) + 1
        if head is None:
            raise damaged(self.path, "it has no complete line")
        self.head = head

    @staticmethod
    def create(folder: str, head: Head, name: str = MANIFEST) -> Manifest:
        """Write a new manifest, atomically, in place of an existing one."""
        data = _line({"fastdcm_index": VERSION, **head})
        write_atomically(internal_path(folder, name), lambda file: file.write(data))
        return Manifest(folder, name)

    def make_current(self) -> None:
        """Rename this manifest, atomically, to be that of the index."""
        name, self.path = self.path, internal_path(self.folder, MANIFEST)
        os.replace(name, self.path)
        sync_directory(os.path.dirname(self.path))

    def append(self, entry: PartEntry | dict[str, bool]) -> None:
        """Add a line, and synchronize it to disk."""
        line = _line(entry)
        with open(self.path, "r+b") as file:
            file.seek(self._length)
            file.truncate()  # a line without an end
            file.write(line)
            file.flush()
            os.fsync(file.fileno())
        self._add(entry)
        self._length += len(line)

    def _checked_head(self, entry: Any) -> Head:
        if not isinstance(entry, dict):
            raise TypeError
        if entry.get("fastdcm_index", VERSION) != VERSION:
            raise damaged(self.path, "it was made by another version of fastdcm")
        if not entry.keys() >= _HEAD_KEYS:
            raise KeyError
        return cast(Head, entry)

    def _add(self, entry: Any) -> None:
        if not isinstance(entry, dict):
            raise TypeError
        if "complete" in entry:
            self.complete = True
        elif not entry.keys() >= _PART_KEYS:
            raise KeyError
        else:
            self.parts.append(cast(PartEntry, entry))

    def check(self) -> None:
        """Raise DicomError unless every file it names exists in the right size."""
        for path, entry in self.files():
            if not os.path.isfile(path) or os.path.getsize(path) != entry["bytes"]:
                raise damaged(path, "a file is missing or has another size than when written")

    def files(self) -> Iterator[tuple[str, FileSum]]:
        """Yield (path, entry) of the list of files and of each part."""
        yield internal_path(self.folder, self.head["files"]["name"]), self.head["files"]
        for part in self.parts:
            yield os.path.join(self.folder, part["part"]), part

    @property
    def next_part_number(self) -> int:
        """The number of the next part. Numbers from before an update are not reused."""
        return max(
            self.head.get("next_part", 1),
            *(part_number(part["part"]) + 1 for part in self.parts),
            1,
        )

    @property
    def next_entry(self) -> int:
        """The first entry of the list of files whose rows are in no part."""
        return self.parts[-1]["entries"][1] if self.parts else 0


def _line(entry: Mapping[str, Any]) -> bytes:
    return json.dumps(entry, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def remove_remains(folder: str, *manifests: Manifest) -> None:
    """Delete parts, lists and temporary files that no manifest names, and nothing else."""
    named = {os.path.basename(path) for manifest in manifests for path, _ in manifest.files()}
    named.update(os.path.basename(manifest.path) for manifest in manifests)
    for directory, pattern in (
        (folder, _PART_NAME),
        (os.path.join(folder, INTERNAL), _INTERNAL_REMAINS),
    ):
        for name in os.listdir(directory):
            if pattern.fullmatch(name) and name not in named:
                os.unlink(os.path.join(directory, name))


@contextlib.contextmanager
def write_lock(folder: str) -> Iterator[None]:
    """Hold the lock for writing to an index; DicomError while another process has it.

    The system releases the lock of a process that has ended.
    """
    handle = os.open(internal_path(folder, "lock"), os.O_RDWR | os.O_CREAT, 0o666)
    try:
        try:
            _lock(handle)
        except OSError as error:
            if error.errno not in (errno.EACCES, errno.EAGAIN, errno.EDEADLK):
                raise
            raise DicomError(
                "another process writes to the index", "index-in-use", filename=folder
            ) from None
        yield
    finally:
        os.close(handle)


if os.name == "nt":
    import msvcrt

    def _lock(handle: int) -> None:
        msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]  # Windows only
else:
    import fcntl

    def _lock(handle: int) -> None:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)


class ChecksumWriter(io.RawIOBase):
    """A binary file written from start to end, with size and checksum of what was written."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._size, self._hash = file, 0, hashlib.sha256()

    def writable(self) -> bool:
        """Return True."""
        return True

    def write(self, data: ReadableBuffer, /) -> int:
        """Write all bytes."""
        self._hash.update(data)
        written = self._file.write(data)
        self._size += written
        return written

    def sum(self) -> FileSum:
        """Return size and checksum, as a line of the manifest has them."""
        return {"bytes": self._size, "sha256": self._hash.hexdigest()}


def encode_schema(schema: pyarrow.Schema) -> str:
    """Return a schema as the text that the manifest has."""
    return b64encode(schema.serialize().to_pybytes()).decode()


def decode_schema(text: str) -> pyarrow.Schema:
    """Return the schema of a manifest."""
    import pyarrow

    return pyarrow.ipc.read_schema(pyarrow.py_buffer(b64decode(text)))
