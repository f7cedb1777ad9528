"""An index folder on the disk: a large scan in parts, and what of it counts.

    index/part-000001.parquet ...         rows, all of one schema
    index/_fastdcm/manifest.jsonl         which parts count
    index/_fastdcm/files-000001.parquet   the files to read, in order
    index/_fastdcm/update.jsonl           the manifest to come, while an update runs
    index/_fastdcm/lock                   held by whoever writes

The manifest is lines of JSON. The first tells the parameters of the scan and
which list of files it goes by; then each part has one, with the range of
entries of that list that it is about; the last says that the index is
complete. A part gets its line when it is on the disk, and a line that does not
end is none: so whatever moment a machine stops at, the manifest is right. What
it does not name is left over from such a moment.
"""

import contextlib
import errno
import hashlib
import io
import json
import os
import re

from fastdcm._util.atomic import sync_directory, write_atomically
from fastdcm.errors import DicomError

#: The folder in an index that is not for readers of tables, who pass by names
#: that begin with an underscore.
INNER = "_fastdcm"
NAME, UPDATE = "manifest.jsonl", "update.jsonl"
VERSION = 1

# What a run leaves behind when it is stopped: parts and lists without a line,
# and drafts.
_PARTS = re.compile(r"part-\d+\.parquet")
_INNER = re.compile(
    r"files-\d+\.parquet|update\.jsonl|(part|files|manifest|update)-?\d*\.\w+\.\w+-\w+\.tmp"
)


_HEAD_KEYS = {"fastdcm_index", "parameters", "folder", "files", "schema"}
_PART_KEYS = {"part", "rows", "files", "errors", "bytes", "sha256", "entries"}


def part_name(number):
    """The name of the part of that number, from 1."""
    return f"part-{number:06d}.parquet"


def list_name(number):
    """The name of the list of files of that number, from 1."""
    return f"files-{number:06d}.parquet"


def inner_path(folder, name):
    """The path of what is not for readers of tables."""
    return os.path.join(folder, INNER, name)


def is_index(path):
    """Whether this is an index folder, perhaps one that was only begun."""
    return os.path.isdir(os.path.join(path, INNER))


def damaged(path, what):
    """The error, not raised, of an index that is not as its manifest says."""
    return DicomError(f"the index is damaged: {what}", "index-damaged", filename=path)


class Manifest:
    """The manifest of an index, as it is now.

    head : dict of the first line; parts : list of dict, in the order of the
    rows; complete : bool. Raises FileNotFoundError when there is none yet,
    DicomError for one that cannot be.
    """

    def __init__(self, folder, name=NAME):
        self.folder = folder
        self.path = inner_path(folder, name)
        self.head, self.parts, self.complete = None, [], False
        self.length = 0  # of the lines that count
        with open(self.path, "rb") as file:
            *lines, _ = file.read().split(b"\n")
        for i, line in enumerate(lines):
            try:
                entry = json.loads(line)
                self._take(entry)
            except (ValueError, TypeError, KeyError):
                if i == len(lines) - 1 and i:  # of a machine that lost its power
                    break
                raise damaged(self.path, f"line {i + 1} cannot be read") from None
            self.length += len(line) + 1
        if self.head is None:
            raise damaged(self.path, "it has no line")

    @staticmethod
    def create(folder, head, name=NAME):
        """Puts a new manifest in the place of any that there is, at once."""
        data = _line({"fastdcm_index": VERSION, **head})
        write_atomically(inner_path(folder, name), lambda file: file.write(data))
        return Manifest(folder, name)

    def take_place(self):
        """Makes this one the manifest of the index, at once."""
        name, self.path = self.path, inner_path(self.folder, NAME)
        os.replace(name, self.path)
        sync_directory(os.path.dirname(self.path))

    def append(self, entry):
        """Adds a line. It is on the disk when this returns."""
        line = _line(entry)
        with open(self.path, "r+b") as file:
            file.seek(self.length)
            file.truncate()  # a line that did not end
            file.write(line)
            file.flush()
            os.fsync(file.fileno())
        self._take(entry)
        self.length += len(line)

    def _take(self, entry):
        if not isinstance(entry, dict):
            raise TypeError
        if self.head is None:
            if entry.get("fastdcm_index", VERSION) != VERSION:
                raise damaged(self.path, "another version of fastdcm made it")
            if not entry.keys() >= _HEAD_KEYS:
                raise KeyError
            self.head = entry
        elif "complete" in entry:
            self.complete = True
        elif not entry.keys() >= _PART_KEYS:
            raise KeyError
        else:
            self.parts.append(entry)

    def check(self):
        """Raises DicomError unless every file that it names is there, and of
        the size that it tells."""
        for path, line in self.files():
            if not os.path.isfile(path) or os.path.getsize(path) != line["bytes"]:
                raise damaged(path, "a file is missing or not as it was written")

    def files(self):
        """(path, what is told of it) of the list and of each part."""
        yield inner_path(self.folder, self.head["files"]["name"]), self.head["files"]
        for part in self.parts:
            yield os.path.join(self.folder, part["part"]), part

    @property
    def next_number(self):
        """The number of the next part: of none that there was before an update,
        either."""
        return max(
            self.head.get("next_part", 1), *(int(part["part"][5:-8]) + 1 for part in self.parts), 1
        )

    @property
    def next_entry(self):
        """The first entry of the list of files that no part is about."""
        return self.parts[-1]["entries"][1] if self.parts else 0


def _line(entry):
    return json.dumps(entry, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def sweep(folder, *manifests):
    """Deletes what lies in an index and has no line, and nothing of others."""
    named = {os.path.basename(path) for manifest in manifests for path, _ in manifest.files()}
    named.update(os.path.basename(manifest.path) for manifest in manifests)
    for place, form in ((folder, _PARTS), (os.path.join(folder, INNER), _INNER)):
        for name in os.listdir(place):
            if form.fullmatch(name) and name not in named:
                os.unlink(os.path.join(place, name))


@contextlib.contextmanager
def locked(folder):
    """A context in which this process alone writes to an index. DicomError
    while another does. The system lets go of the lock of a process that is
    gone."""
    handle = os.open(inner_path(folder, "lock"), os.O_RDWR | os.O_CREAT, 0o666)
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

    def _lock(handle):
        msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
else:
    import fcntl

    def _lock(handle):
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)


class Summed(io.RawIOBase):
    """A file to write to, from its start to its end, that knows size and
    checksum of what was written."""

    def __init__(self, file):
        self.file, self.size, self.hash = file, 0, hashlib.sha256()

    def writable(self):
        return True

    def write(self, data):
        self.hash.update(data)
        self.size += len(data)
        return self.file.write(data)

    def facts(self):
        """As a line of the manifest has them."""
        return {"bytes": self.size, "sha256": self.hash.hexdigest()}


# --------------------------------------------------------------- reading ---


class IndexFolder:
    """An index folder, as its manifest was when it was opened.

    Any reader of Arrow streams takes it (``pyarrow.table(index)``,
    ``polars.DataFrame(index)``, ``duckdb.sql("FROM index")``).

    Attributes
    ----------
    path : str
    parts : list of str
        The paths of the Parquet files that count, in the order of the rows.
    rows, errors : int
        How many rows there are, and how many files could not be read.
    read, listed : int
        How many files have been read, of how many; an archive counts as one.
    complete : bool
    parameters : dict
        What was asked for: tags, pixels, on_error, source.
    """

    def __init__(self, path):
        self._manifest = manifest = Manifest(path)
        self.path = path
        self.parts = [os.path.join(path, part["part"]) for part in manifest.parts]
        self.rows = sum(part["rows"] for part in manifest.parts)
        self.errors = sum(part["errors"] for part in manifest.parts)
        self.read, self.listed = manifest.next_entry, manifest.head["files"]["entries"]
        self.complete = manifest.complete
        self.parameters = manifest.head["parameters"]

    def __repr__(self):
        state = "complete" if self.complete else f"{self.read} of {self.listed} files read"
        return f"<IndexFolder {self.path!r}: {self.rows} rows, {state}>"

    def __len__(self):
        return self.rows

    @property
    def schema(self):
        """The pyarrow.Schema of all parts."""
        return read_schema(self._manifest.head["schema"])

    def batches(self, columns=None):
        """The rows as pyarrow.RecordBatches, of some columns or of all.
        Memory does not grow with their number."""
        from pyarrow import parquet

        for path in self.parts:
            with parquet.ParquetFile(path) as file:
                yield from file.iter_batches(8192, columns=columns)

    def __arrow_c_stream__(self, requested_schema=None):
        """The Arrow PyCapsule interface."""
        import pyarrow

        reader = pyarrow.RecordBatchReader.from_batches(self.schema, self.batches())
        return reader.__arrow_c_stream__(requested_schema)

    def dataset(self):
        """A pyarrow.dataset.Dataset of exactly these parts."""
        from pyarrow import dataset

        return dataset.dataset(self.parts, schema=self.schema, format="parquet")

    def read_all(self):
        """The whole table, as a pyarrow.Table."""
        import pyarrow

        return pyarrow.Table.from_batches(self.batches(), self.schema)

    def verify(self):
        """Reads every file that the manifest names, and compares size and
        checksum. Raises DicomError for the first that is not as it was written."""
        self._manifest.check()
        for path, line in self._manifest.files():
            with open(path, "rb") as file:
                if hashlib.file_digest(file, "sha256").hexdigest() != line["sha256"]:
                    raise damaged(path, "a file is not as it was written")


def open_index(path):
    """Opens an index folder, which ``scan(...).write("index/")`` or ``fastdcm
    scan -o index/`` has made, and returns an IndexFolder: its rows, and which
    files they are in.

    It can be opened at any moment, also while it is written: it has what was
    whole at that moment. Nothing is locked.

    path : str or os.PathLike. Raises FileNotFoundError where there is no
    folder, ValueError for one that is no index or whose files are still being
    listed, DicomError (``index-damaged``) for a manifest that cannot be read.
    """
    path = os.fsdecode(path)
    if not os.path.isdir(path):
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
    if not is_index(path):
        raise ValueError(f"{path}: this is no index folder")
    try:
        return IndexFolder(path)
    except FileNotFoundError:
        raise ValueError(
            f"{path}: the index has no rows yet, for its files have not been listed to the end"
        ) from None


def schema_text(schema):
    """A pyarrow.Schema as the manifest keeps it."""
    from base64 import b64encode

    return b64encode(schema.serialize().to_pybytes()).decode()


def read_schema(text):
    """The pyarrow.Schema that `schema_text` made a text of."""
    from base64 import b64decode

    import pyarrow

    return pyarrow.ipc.read_schema(pyarrow.py_buffer(b64decode(text)))
