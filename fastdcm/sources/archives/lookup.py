"""Open archives, and find the member that a path such as ``a.zip!/IM0001`` denotes.

Finding a member by its name needs 16 bytes of memory for each member in front of it.
Iterating over an archive needs memory that does not depend on the number of members.
"""

from __future__ import annotations

import errno
import os
from array import array
from functools import lru_cache
from itertools import islice
from threading import Lock

from fastdcm.core._file import File
from fastdcm.errors import DicomError, error_for
from fastdcm.sources._paths import split_member_path
from fastdcm.sources.archives.limits import ArchiveFile, UnpackedMember, damaged
from fastdcm.sources.archives.tar import DECOMPRESSORS, PackedTar, Tar, is_tar
from fastdcm.sources.archives.zip import Zip
from fastdcm.sources.streams import SeekableStream
from fastdcm.sources.urls import path_bytes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeAlias, TypeVar

    from fastdcm.sources.protocols import Archive, StoredMember, Stream

    _Result = TypeVar("_Result")
    #: An archive whose members are tuples of any kind.
    AnyArchive: TypeAlias = Archive[tuple[Any, ...]]

SEVEN_ZIP = "7z archives are not supported; unpack the archive first"
_SEVEN_ZIP_SIGNATURE = b"7z\xbc\xaf\x27\x1c"


def open_archive(file: ArchiveFile) -> AnyArchive | None:
    """Return the archive in a file, or None if the file is not an archive.

    Parameters
    ----------
    file : ArchiveFile
        A file whose name has the suffix of an archive (see `is_archive`).

    Returns
    -------
    Zip, Tar, PackedTar or None

    Raises
    ------
    DicomError
        The archive is damaged, or of a kind that is not supported.
    """
    if not file.is_regular:
        return None
    suffix = file.path.rpartition(b".")[2].lower()
    if suffix == b"7z":
        if file.read(0, 6) == _SEVEN_ZIP_SIGNATURE:
            raise damaged(SEVEN_ZIP)
        return None
    if suffix == b"zip":
        archive = Zip(file)
        return archive if archive.is_zip else None
    if suffix == b"tar":
        return Tar(file) if is_tar(file.read(0, 512)) else None
    opener, signatures = DECOMPRESSORS[suffix]
    if not file.read(0, 8).startswith(signatures):
        return None
    packed = PackedTar(file, opener)
    block = packed.cursor().read(0, 512)
    if len(block) < 512:
        raise damaged("the archive is truncated, or it does not contain a tar")
    return packed if is_tar(block) else None


class _MemberFinder:
    """Finds members of an archive by name, and remembers the names it has passed."""

    def __init__(self, archive: AnyArchive) -> None:
        self.archive = archive
        self._walk = archive.walk()
        self._hashes = bytearray()  # 8 bytes per name
        self._positions = array("Q")
        self._damage: DicomError | None = None  # found at the end of the walk
        self._lock = Lock()

    def find(self, name: bytes) -> tuple[Any, ...] | None:
        """Return the first member of that name, or None."""
        wanted, at = _hash(name), -1
        with self._lock:
            while (at := self._hashes.find(wanted, at + 1)) >= 0:
                if at % 8 == 0:
                    for _, member in islice(self.archive.walk(self._positions[at // 8]), 1):
                        if member[0] == name:
                            return member
            try:
                for position, member in self._walk:
                    self._hashes += _hash(member[0])
                    self._positions.append(position)
                    if member[0] == name:
                        return member
            except DicomError as error:
                self._damage = error
            if self._damage is not None:  # the member may come after the damage
                raise self._damage
        return None


def _hash(name: bytes) -> bytes:
    return hash(name).to_bytes(8, "little", signed=True)


@lru_cache(4)
def _finder(path: bytes, *state: int) -> _MemberFinder | None:
    """Return the finder of an archive, or None if the file is not an archive.

    state : device, inode, size and time of the file: a changed file is opened again.
    """
    archive = open_archive(ArchiveFile(path))
    return None if archive is None else _MemberFinder(archive)


if hasattr(os, "register_at_fork"):  # a child would inherit locks that no thread releases
    os.register_at_fork(after_in_child=_finder.cache_clear)


def find_member(path: bytes) -> tuple[AnyArchive, StoredMember | Stream] | None:
    """Return the archive and the item that a path leads to.

    Parameters
    ----------
    path : bytes
        A path such as ``a.zip!/IM0001``.

    Returns
    -------
    tuple of Archive and StoredMember or Stream, or None
        None if the path does not lead into an archive.

    Raises
    ------
    DicomError
        The archive has no such member, or is damaged.
    """
    is_missing = False
    for archive_path, name in split_member_path(path):
        try:
            status = os.stat(archive_path)
        except (OSError, ValueError):  # ValueError: the path contains a NUL
            continue
        finder = _finder(
            archive_path, status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns
        )
        if finder is None:
            continue
        member = finder.find(name)
        if member is not None:
            return finder.archive, finder.archive.item(member)
        is_missing = True
    if is_missing:
        raise error_for("open", "the archive has no such member", errno=errno.ENOENT)
    return None


def leads_into_archive(path: str | bytes) -> bool:
    """Return whether a path is that of a member of an existing file.

    Parameters
    ----------
    path : str or bytes
        A path such as ``a.zip!/IM0001``.

    Returns
    -------
    bool
        True if the part in front of ``!/`` is a file; it is not opened.
    """
    return any(os.path.isfile(archive) for archive, _ in split_member_path(os.fsencode(path)))


def read_scan_path(path: str | bytes, read: Callable[[File], _Result]) -> _Result | None:
    """Read the file that the ``path`` column of a scan contains, if it is not a plain path.

    Parameters
    ----------
    path : str or bytes
        A file URI, such as ``file:///caf%E9.dcm``, or the path of a member of an archive.
    read : callable
        Called with the File.

    Returns
    -------
    object or None
        What `read` returns; None if the path is neither of the two.

    Raises
    ------
    DicomError
        The member cannot be read.
    """
    plain = path_bytes(path) if isinstance(path, str) else path
    if plain != os.fsencode(path) and os.path.lexists(plain):
        return read(File(os.fsdecode(plain)))
    try:
        found = find_member(plain)
        if found is None:
            return None
        archive, item = found
        if isinstance(item, tuple):
            return read(File(archive.file.path, item[1:], path))
        item.open(0)
        result = read(File(SeekableStream(item, os.fsdecode(path))))
        if isinstance(item, UnpackedMember):
            item.is_limited = False  # from now on values are read, not a header
        return result
    except DicomError as error:
        error.filename = path
        raise
