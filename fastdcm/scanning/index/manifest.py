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
from typing import TYPE_CHECKING, Any, BinaryIO

from fastdcm._util.atomic import sync_directory, write_atomically
from fastdcm.errors import DicomError
from fastdcm.scanning.index.entries import (
    PART_NAME,
    VERSION,
    FileSum,
    Head,
    PartEntry,
    checked_head,
    checked_part,
    part_number,
)

if TYPE_CHECKING:
    import pyarrow
    from _typeshed import ReadableBuffer

#: The folder in an index for everything but rows. Readers of Parquet data sets skip
#: names that begin with an underscore.
INTERNAL = "_fastdcm"
MANIFEST, UPDATE = "manifest.jsonl", "update.jsonl"

# What an interrupted run can leave behind: parts and lists without a line, and
# temporary files.
_INTERNAL_REMAINS = re.compile(
    r"files-\d+\.parquet|update\.jsonl|(part|files|manifest|update)-?\d*\.\w+\.\w+-\w+\.tmp"
)


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
        with open(self.path, "rb") as file:
            *lines, _ = file.read().split(b"\n")
        if not lines:
            raise damaged(self.path, "it has no complete line")
        for i, line in enumerate(lines):
            try:
                entry = json.loads(line)
                if i == 0:
                    self.head = self._checked_head(entry)
                else:
                    self._add(entry)
            except (ValueError, RecursionError) as error:
                if i == len(lines) - 1 and i:  # left behind by a power failure
                    break
                raise damaged(self.path, f"line {i + 1} cannot be read: {error}") from None
            self._length += len(line) + 1

    def _checked_head(self, entry: Any) -> Head:
        if isinstance(entry, dict) and entry.get("fastdcm_index", VERSION) != VERSION:
            raise damaged(self.path, "it was made by another version of fastdcm")
        return checked_head(entry)

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

    def _add(self, entry: Any) -> None:
        """Add a line that has been read or written. Raises ValueError for a wrong one."""
        if self.complete:
            raise ValueError("nothing follows the line that says the index is complete")
        if entry != {"complete": True}:
            self.parts.append(
                checked_part(entry, self.head, self.parts[-1] if self.parts else None)
            )
        elif self.next_entry == self.head["files"]["entries"]:
            self.complete = True
        else:
            raise ValueError("files of the list are in no part")

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
        (folder, PART_NAME),
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


def decode_schema(manifest: Manifest) -> pyarrow.Schema:
    """Return the schema of a manifest."""
    import pyarrow

    try:
        return pyarrow.ipc.read_schema(pyarrow.py_buffer(b64decode(manifest.head["schema"])))
    except (ValueError, OSError):  # also binascii.Error and pyarrow.ArrowInvalid
        raise damaged(manifest.path, "the schema cannot be read") from None


@contextlib.contextmanager
def parquet_errors(path: str) -> Iterator[None]:
    """Turn what pyarrow raises for a damaged Parquet file into the error for an index."""
    import pyarrow

    try:
        yield
    except FileNotFoundError:
        raise damaged(
            path, "a file is missing; if the index was updated meanwhile, open it again"
        ) from None
    except (pyarrow.ArrowException, OSError) as error:
        # pyarrow raises OSError without a number for bytes that are not Parquet.
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise damaged(path, f"a Parquet file cannot be read ({error})") from None
