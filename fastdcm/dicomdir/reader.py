"""Read a DICOMDIR: its directory records, and the files that they reference.

Implements the Basic Directory Information Object (PS3.3 Annex F) and File IDs (PS3.10 8.2).
"""

from __future__ import annotations

import os

from fastdcm.errors import DicomError, error_for
from fastdcm.reader import dcmread
from fastdcm.sources._paths import StreamChunk, chunk_from_paths
from fastdcm.sources.archives.limits import UnreadableMember

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from fastdcm.dataset import Dataset
    from fastdcm.sources._paths import PathChunk
    from fastdcm.sources.protocols import RequestedPath

_FIRST_RECORD = 0x00041200
_RECORDS = 0x00041220
_NEXT, _IN_USE, _LOWER = 0x00041400, 0x00041410, 0x00041420
_FILE_ID = 0x00041500
_LONG_VRS = ("OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV")


def directory_records(ds: Dataset) -> list[Dataset]:
    """Return the directory records of a DICOMDIR in the order of its hierarchy.

    Parameters
    ----------
    ds : Dataset
        A DICOMDIR.

    Returns
    -------
    list of Dataset
        Each record, followed by those of its lower-level directory entity (PS3.3 F.2.2).
        Records that are not in use are left out. The records refer to each other by byte
        offsets. Offsets that are all shifted by one constant are corrected; records that no
        offset leads to come last, in the order of the file.

    Raises
    ------
    DicomError
        It has no Directory Record Sequence (code ``dicomdir``).

    Examples
    --------
    >>> from fastdcm import dcmread
    >>> records = directory_records(dcmread("DICOMDIR"))  # doctest: +SKIP
    >>> [record.DirectoryRecordType for record in records]  # doctest: +SKIP
    ['PATIENT', 'STUDY', 'SERIES', 'IMAGE']
    """
    if _RECORDS not in ds or ds[_RECORDS].VR != "SQ":
        raise error_for(
            "dicomdir",
            "the file has no Directory Record Sequence: it is not a DICOMDIR",
            path="(0004,1220)",
            filename=ds.filename,
        )
    records = list(ds[_RECORDS].value)
    at = {offset: i for i, record in enumerate(records) if (offset := _offset(record)) is not None}
    pointers = [(_number(record, _NEXT), _number(record, _LOWER)) for record in records]
    first = _number(ds, _FIRST_RECORD)
    shift = _shift(at, [first, *(pointer for pair in pointers for pointer in pair)])
    order: dict[int, None] = {}
    stack = [first]
    while stack:
        i = at.get(stack.pop() + shift)
        if i is not None and i not in order:  # offsets of a damaged file may form a circle
            order[i] = None
            stack += pointers[i]
    order.update(dict.fromkeys(range(len(records))))
    return [records[i] for i in order if _number(records[i], _IN_USE, 0xFFFF) != 0]


def _number(ds: Dataset, tag: int, default: int = 0) -> int:
    value = ds[tag].value if tag in ds else default
    return value if isinstance(value, int) else default


def _offset(record: Dataset) -> int | None:
    """Return the offset of the item of a record, None if the record is empty."""
    first = next(iter(record), None)
    if first is None or first.file_tell is None:
        return None
    is_long = not first.is_implicit and first.VR in _LONG_VRS
    return first.file_tell - (12 if is_long else 8) - 8


def _shift(at: dict[int, int], pointers: list[int]) -> int:
    """Return what must be added to the pointers so that they are offsets of records."""
    used = {pointer for pointer in pointers if pointer}
    if not used or not at or used <= at.keys():
        return 0
    # The record that is first in the file is that of the root, or at least the lowest offset.
    for shift in (min(at) - pointers[0], min(at) - min(used)):
        if all(pointer + shift in at for pointer in used):
            return shift
    return 0


class DicomdirSource:
    """The files that the records of a DICOMDIR reference (see `Source`).

    A file that is missing is a path all the same, and becomes a row with an error.

    Parameters
    ----------
    path : str
        The DICOMDIR.
    """

    requested: list[RequestedPath] | None = None
    supports_update = False

    def __init__(self, path: str) -> None:
        self.path = path

    def start(self) -> _FileReader:
        """Return a reader of the files.

        It raises DicomError for a file that is not a DICOMDIR.
        """
        return _FileReader(self.files())

    def files(self) -> Iterator[bytes | UnreadableMember]:
        """Iterate over the paths of the files, in the order of the hierarchy.

        Yields
        ------
        bytes or UnreadableMember
            The latter for a File ID that leads out of the folder of the DICOMDIR.
        """
        folder = _Folder(os.path.dirname(self.path))
        for record in directory_records(dcmread(self.path)):
            if parts := _file_id(record):
                try:
                    yield os.fsencode(folder.find(parts))
                except DicomError as error:
                    # A path that cannot exist: an index lists it, and tries to read it.
                    name = "/".join([self.path + "!", *parts]).replace("\0", "?")
                    yield UnreadableMember(os.fsencode(name), 0, None, error)


def _file_id(record: Dataset) -> list[str]:
    """Return the components of the Referenced File ID of a record, none if it has none."""
    value = record[_FILE_ID].value if _FILE_ID in record else None
    values = value if isinstance(value, list) else [value]
    texts = (text for text in values if isinstance(text, str))  # of another VR: none
    # Some programs write one value with slashes.
    return [part for text in texts for part in text.strip().split("/") if part not in ("", ".")]


class _Folder:
    """Finds the files of File IDs below a folder, whatever the case of their names.

    File IDs are in upper case (PS3.10 8.2). On a disk that was copied from another medium the
    names may be in lower case, end in a dot, or in the version number of ISO 9660 (``;1``).
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._names: dict[str, dict[str, str]] = {}  # of each folder, by folded name

    def find(self, parts: list[str]) -> str:
        """Return the path of the file with a File ID, whether or not it exists."""
        path = self._path
        for part in parts:
            if part == ".." or "\0" in part or (os.name == "nt" and ":" in part):
                raise error_for("open", f"the File ID {'/'.join(parts)!r} leads out of the folder")
            names = self._names.get(path)
            if names is None:
                names = self._names[path] = _names_in(path)
            path = os.path.join(path, names.get(part) or names.get(_folded(part)) or part)
        return path


def _names_in(folder: str) -> dict[str, str]:
    """Return the names in a folder by themselves and by their folded forms."""
    try:
        names = sorted(os.listdir(folder or "."))
    except OSError:
        return {}
    return {**{_folded(name): name for name in reversed(names)}, **{name: name for name in names}}


def _folded(name: str) -> str:
    return name.partition(";")[0].rstrip(".").casefold()


class _FileReader:
    """Returns files in chunks (see `PathReader`)."""

    def __init__(self, files: Iterator[bytes | UnreadableMember]) -> None:
        self._files = files
        self._next: UnreadableMember | None = None

    def read_chunk(self, max_paths: int) -> PathChunk | StreamChunk | None:
        """Return the next files, at most `max_paths`, or None after the last."""
        paths: list[bytes] = []
        while self._next is None and len(paths) < max_paths:
            file = next(self._files, None)
            if file is None:
                break
            if isinstance(file, bytes):
                paths.append(file)
            else:
                self._next = file
        if paths:
            return chunk_from_paths(paths)
        stream, self._next = self._next, None
        return None if stream is None else StreamChunk([stream])
