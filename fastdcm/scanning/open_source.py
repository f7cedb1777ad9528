"""Where the paths of a scan come from.

A source has ``start()``, which begins anew and returns an object with
``take(n)``: a Chunk of at most n paths, None after the last. Where names were
given to `open_source` it also has ``asked``: what they were, as JSON may have
it. Where ``is_dated`` is true it can be listed anew, and tells what has changed:
paths come in their byte order, with the times of their last change. Archives and
URLs are paths here: `expand.Expanded` puts members and objects in their places.
"""

import errno
import os
from itertools import islice

from fastdcm.scanning.index.folder import is_index, open_index
from fastdcm.sources._paths import Walk, chunk_of, is_url, path_bytes, path_text
from fastdcm.sources.archives.lookup import SEVEN_ZIP, leads_into_archive
from fastdcm.sources.objects.source import Objects
from fastdcm.sources.objects.stores import lists

__all__ = [
    "Folder",
    "Indexed",
    "Paths",
    "Several",
    "Table",
    "open_source",
    "path_bytes",
    "path_text",
]

ACCEPTED = (
    "a folder, a glob, a file, a URL, an archive (.zip, .tar, .tar.gz, .tar.zst), a list "
    "or iterator of paths, an index folder, or a table with a column `path` (.parquet, "
    ".arrow, .csv, .jsonl)"
)
TABLES = (".parquet", ".arrow", ".csv", ".jsonl")


class Paths:
    """A list or an iterator of paths: str, bytes or os.PathLike. Some may be URLs."""

    def __init__(self, paths):
        self.paths = paths

    def start(self):
        return _Taker(iter(self.paths))


class _Taker:
    def __init__(self, paths):
        self.paths = paths

    def take(self, count):
        paths = list(islice(self.paths, count))
        return chunk_of(paths) if paths else None


class Folder:
    """The files under a folder, in byte order of their paths. Hidden files
    too; links are followed."""

    is_dated = True

    def __init__(self, path, recursive=True):
        self.path = os.fspath(path)
        self.recursive = recursive

    def start(self):
        path = self.path
        if isinstance(path, str):
            path = path_bytes(path)
        return Walk(path, self.recursive)


class Several:
    """Sources one after another."""

    def __init__(self, sources):
        self.sources = list(sources)
        asked = [getattr(source, "asked", None) for source in self.sources]
        self.asked = None if None in asked else [name for names in asked for name in names]

    def start(self):
        return _Chain(iter(self.sources))


class _Chain:
    def __init__(self, sources):
        self.sources = sources
        self.taker = None

    def take(self, count):
        while True:
            if self.taker is None:
                source = next(self.sources, None)
                if source is None:
                    return None
                self.taker = source.start()
            chunk = self.taker.take(count)
            if chunk is not None:
                return chunk
            self.taker = None


class Table:
    """The paths in the column ``path`` of a table, such as a scan wrote."""

    def __init__(self, path):
        self.path = path

    def start(self):
        return _Taker(map(path_bytes, self._texts()))

    def _texts(self):
        suffix = os.path.splitext(self.path)[1].lower()
        if suffix in (".csv", ".jsonl"):
            with open(self.path, encoding="utf-8", newline="") as file:
                yield from (_csv_paths if suffix == ".csv" else _json_paths)(file, self.path)
            return
        import pyarrow

        with pyarrow.OSFile(self.path, "rb") as file:
            if suffix == ".parquet":
                import pyarrow.parquet

                table = pyarrow.parquet.ParquetFile(file)
                names = table.schema_arrow.names
                batches = table.iter_batches(columns=["path"])
            else:
                table = pyarrow.ipc.open_file(file)
                names = table.schema.names
                batches = (table.get_batch(i) for i in range(table.num_record_batches))
            if "path" not in names:
                raise _no_paths(self.path)
            for batch in batches:
                yield from batch.column("path").to_pylist()


class Indexed:
    """The paths in an index folder, as far as it has been written."""

    def __init__(self, path):
        self.index = open_index(path)

    def start(self):
        return _Taker(
            path_bytes(text)
            for batch in self.index.batches(["path"])
            for text in batch.column("path").to_pylist()
        )


def _csv_paths(file, path):
    import csv

    rows = csv.reader(file)
    header = next(rows, [])
    if "path" not in header:
        raise _no_paths(path)
    at = header.index("path")
    for row in rows:
        yield row[at]


def _json_paths(file, path):
    import json

    for line in file:
        row = json.loads(line)
        if "path" not in row:
            raise _no_paths(path)
        yield row["path"]


def _no_paths(path):
    return ValueError(f"{path}: the table has no column `path`")


def open_source(source, recursive=True):
    """The source that a user means.

    Raises FileNotFoundError where nothing is, ValueError for what is there but
    is no source, TypeError for what cannot be one.
    """
    if hasattr(source, "start"):
        return source
    if not isinstance(source, (str, bytes, os.PathLike)):
        try:
            iter(source)
        except TypeError:
            raise TypeError(f"a scan's source is {ACCEPTED}, not {type(source).__name__}") from None
        return Paths(source)
    opened = _open(os.fsdecode(source), recursive)
    name = path_text(os.fsencode(source))
    opened.asked = [{"path": name.rstrip("/" + os.sep) or name, "recursive": recursive}]
    return opened


def _open(path, recursive):
    if is_url(path):
        return Objects(path, recursive) if lists(path) else Paths([path])
    if path.startswith("file:") and not os.path.exists(path):
        path = os.fsdecode(path_bytes(path))
    name = path.lower()
    if os.path.isdir(path):
        return Indexed(path) if is_index(path) else Folder(path, recursive)
    if os.path.lexists(path):
        if name.endswith(".7z"):
            raise ValueError(f"{path}: {SEVEN_ZIP}")
        if os.path.basename(name) == "dicomdir":
            raise ValueError(
                f"{path}: the listing in a DICOMDIR is not read; scan its folder, "
                f"or give [{path!r}] for a row about the DICOMDIR itself"
            )
        return Table(path) if name.endswith(TABLES) else Paths([path])
    if leads_into_archive(path):
        return Paths([path])
    if any(c in path for c in "*?["):
        return _glob(path, recursive)
    raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)


def _glob(pattern, recursive):
    """As a shell does: folders that match are walked, unless `**` matches what
    is in them by itself."""
    import glob

    sources, files = [], []
    for path in sorted(glob.iglob(pattern, recursive=True), key=os.fsencode):
        if not os.path.isdir(path):
            files.append(path)
        elif "**" not in pattern:
            sources += [Paths(files), Folder(path, recursive)]
            files = []
    if files:
        sources.append(Paths(files))
    if not sources:
        raise FileNotFoundError(errno.ENOENT, "nothing matches the glob", pattern)
    return sources[0] if len(sources) == 1 else Several(sources)
