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
from fastdcm.sources._paths import MemberNames, is_archive, split_member_path
from fastdcm.sources.archives.files import Section, StreamFile, UnpackedFile
from fastdcm.sources.archives.limits import (
    ArchiveFile,
    UnpackedMember,
    UnreadableMember,
    archive_name,
    damaged,
    over_limit,
)
from fastdcm.sources.archives.tar import DECOMPRESSORS, PackedFile, PackedTar, Tar, is_tar
from fastdcm.sources.archives.zip import Zip
from fastdcm.sources.objects._object import Object
from fastdcm.sources.streams import SeekableStream
from fastdcm.sources.urls import is_url, local_path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any, TypeAlias, TypeVar

    from fastdcm.sources.protocols import Archive, RandomAccessFile, StoredMember, Stream

    _Member = TypeVar("_Member")
    _Result = TypeVar("_Result")
    #: An archive whose members are tuples of any kind.
    AnyArchive: TypeAlias = Archive[tuple[Any, ...]]

SEVEN_ZIP = "7z archives are not supported; unpack the archive first"
_SEVEN_ZIP_SIGNATURE = b"7z\xbc\xaf\x27\x1c"


#: How deep archives may be in archives: a zip in a zip is 2.
MAX_DEPTH = 2
# Bytes of an object to read first: its size is not known before.
_FIRST_READ = 16384


def open_archive(file: RandomAccessFile) -> AnyArchive | None:
    """Return the archive in a file, or None if the file is not an archive.

    Parameters
    ----------
    file : RandomAccessFile
        A file whose name has the suffix of an archive (see `is_archive`).

    Returns
    -------
    Zip, Tar, PackedTar, PackedFile or None

    Raises
    ------
    DicomError
        The archive is damaged, or of a kind that is not supported.
    """
    name = archive_name(file.path).lower()
    suffix = name.rpartition(b".")[2]
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
    if block[128:132] == b"DICM":  # PS3.10 7.1
        return PackedFile(file, opener)
    if suffix == b"tgz" or b".tar." in name[-8:]:
        if len(block) < 512:
            raise damaged("the archive is truncated, or it does not contain a tar")
    elif not any(block):  # as an empty tar, but other files begin with zeros, too
        return None
    return packed if is_tar(block) else None


def open_local_archive(path: bytes) -> AnyArchive | None:
    """Return the archive in a local file, or None if the file is not an archive.

    Parameters
    ----------
    path : bytes
        The path of the file.

    Returns
    -------
    Zip, Tar, PackedTar, PackedFile or None

    Raises
    ------
    OSError
        The file cannot be opened.
    DicomError
        As of `open_archive`.
    """
    file = ArchiveFile(path)
    return open_archive(file) if file.is_regular else None


def named_members(walk: Iterator[tuple[int, _Member]]) -> Iterator[tuple[int, bytes, _Member]]:
    """Iterate over the members of an archive with names that differ.

    Parameters
    ----------
    walk : iterator of (int, member)
        The members from the first on.

    Yields
    ------
    tuple of int, bytes and member
        The position, the name in paths (see `MemberNames`), and the member.
    """
    names = MemberNames()
    for position, member in walk:
        yield position, names.unique(member[0]), member  # type: ignore[index]


def archive_in(item: StoredMember | Stream, archive: AnyArchive, depth: int) -> AnyArchive | None:
    """Return the archive that is a member of another one.

    Parameters
    ----------
    item : StoredMember or Stream
        The member, whose name has the suffix of an archive.
    archive : Archive
        The outer archive.
    depth : int
        Of the inner archive: 2 in one that is not in another.

    Returns
    -------
    Archive or None
        None if the member is not an archive, or cannot be read.

    Raises
    ------
    DicomError
        It is damaged or over a limit.
    """
    if isinstance(item, UnreadableMember):
        return None
    file: RandomAccessFile
    if isinstance(item, tuple):
        name, begin, size = item
        path = archive.file.path + b"!/" + name
        file = StreamFile(Section(archive.file, path, begin, size))
    else:
        file = UnpackedFile(item) if isinstance(item, UnpackedMember) else StreamFile(item)
    found = open_archive(file)
    if found is not None and depth > MAX_DEPTH:
        raise over_limit(f"archives in archives are read to a depth of {MAX_DEPTH}: unpack it")
    return found


class _MemberFinder:
    """Finds members of an archive by name, and remembers the names it has passed."""

    def __init__(self, archive: AnyArchive) -> None:
        self.archive = archive
        self._walk = named_members(archive.walk())
        self._hashes = bytearray()  # 8 bytes per name
        self._positions = array("Q")
        self._damage: DicomError | None = None  # found at the end of the walk
        self._lock = Lock()

    def find(self, name: bytes) -> tuple[Any, ...] | None:
        """Return the member with that name in paths, or None."""
        wanted, at = _hash(name), -1
        with self._lock:
            while (at := self._hashes.find(wanted, at + 1)) >= 0:
                if at % 8 == 0:
                    for _, member in islice(self.archive.walk(self._positions[at // 8]), 1):
                        if name == member[0] or name.startswith(member[0] + b"#"):
                            return member
            try:
                for position, found, member in self._walk:
                    self._hashes += _hash(found)
                    self._positions.append(position)
                    if found == name:
                        return member
            except DicomError as error:
                self._damage = error
            if self._damage is not None:  # the member may come after the damage
                raise self._damage
        return None


def _hash(name: bytes) -> bytes:
    return hash(name).to_bytes(8, "little", signed=True)


@lru_cache(8)
def _finder(path: bytes, depth: int, *state: int) -> _MemberFinder | None:
    """Return the finder of an archive, or None if the file is not an archive.

    state : what `_state_of` returns: a changed file is opened again.
    """
    archive: AnyArchive | None
    if depth > 1:
        found = find_member(path, depth - 1)
        archive = None if found is None else archive_in(found[1], found[0], depth)
    elif is_url(path):
        archive = open_archive(StreamFile(_open_object(path)))
    else:
        archive = open_local_archive(path)
    return None if archive is None else _MemberFinder(archive)


def _open_object(url: bytes) -> Object:
    """Return the object at a URL, opened."""
    stream = Object(url)
    stream.open(_FIRST_READ)
    return stream


def _state_of(path: bytes) -> tuple[int, ...] | None:
    """Return what changes with the contents of a file or object, None if there is none."""
    if is_url(path):
        try:
            stream = _open_object(path)
        except FileNotFoundError:
            return None
        return stream.size or 0, stream.mtime_ns or 0
    try:
        status = os.stat(path)
    except (OSError, ValueError):  # ValueError: the path contains a NUL
        return None
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


if hasattr(os, "register_at_fork"):  # a child would inherit locks that no thread releases
    os.register_at_fork(after_in_child=_finder.cache_clear)


def find_member(
    path: bytes, max_depth: int = MAX_DEPTH
) -> tuple[AnyArchive, StoredMember | Stream] | None:
    """Return the archive and the item that a path leads to.

    Parameters
    ----------
    path : bytes
        A path such as ``a.zip!/IM0001``, or a URL of that kind.
    max_depth : int
        How many of the archives in it may be in one another.

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
    damage: DicomError | None = None
    state: tuple[int, ...] | None = None  # of the outermost file
    depth = 0
    for archive_path, name in split_member_path(path):
        own_state = None if is_missing and is_url(archive_path) else _state_of(archive_path)
        if own_state is not None:
            state, depth = own_state, 0
        if state is None or depth == max_depth:
            continue
        try:
            finder = _finder(archive_path, depth + 1, *state)
        except FileNotFoundError:  # the outer archive has no such member
            continue
        if finder is None:
            continue
        depth += 1
        try:
            member = finder.find(name)
        except DicomError as error:  # it may be a member of an archive in this one
            damage = damage or error
            continue
        if member is not None:
            return finder.archive, finder.archive.item(member, name)
        is_missing = True
    if damage is not None:
        raise damage
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
        A file URI, such as ``file:///caf%E9.dcm``, the path of a member of an archive, or
        that of a compressed file, such as ``a.dcm.gz``.
    read : callable
        Called with the File.

    Returns
    -------
    object or None
        What `read` returns; None if the path is none of these.

    Raises
    ------
    DicomError
        The member cannot be read, or the path is that of an archive.
    """
    plain = local_path(path) if isinstance(path, str) else path
    if plain != os.fsencode(path) and os.path.lexists(plain):
        return read(File(os.fsdecode(plain)))
    try:
        found = _only_member(plain) if is_archive(plain) else None
        found = found or find_member(plain)
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


def _only_member(path: bytes) -> tuple[AnyArchive, StoredMember | Stream] | None:
    """Return the archive at a path and its item, None if there is no archive."""
    try:
        if is_url(path):
            archive = open_archive(StreamFile(_open_object(path)))
        else:
            archive = open_local_archive(path)
    except OSError:
        return None
    if archive is None:
        return None
    if not isinstance(archive, PackedFile):
        raise error_for(
            "not-dicom",
            "the file is an archive: scan it, or read a member, as in "
            f"'{os.fsdecode(os.path.basename(path))}!/NAME'",
        )
    (_, member), *_ = archive.walk()
    return archive, archive.item(member, member[0])
