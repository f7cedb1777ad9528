"""Archives, and paths that lead into them.

Memory grows with the number of members by 16 bytes for each that is passed in
search of one by its name, and else not.

An archive has ``walk(place)``, which gives (place, member) from a place on and
raises DicomError where it is damaged, and ``item(member)``, which is what a
Worker takes: (name, offset, length) of a part, or a stream. A member is a tuple
that begins with its name and its size.
"""

import errno
import os
from array import array
from functools import lru_cache
from itertools import islice
from threading import Lock

from fastdcm.core._file import File
from fastdcm.errors import DicomError, error_for
from fastdcm.sources._paths import Seekable, member_splits, path_bytes
from fastdcm.sources.archives.limits import Disk, damaged
from fastdcm.sources.archives.tar import PACKINGS, PackedTar, Tar, is_tar
from fastdcm.sources.archives.zip import Zip

SEVEN_ZIP = "7z archives are not read: unpack it first"


def open_archive(disk):
    """The Zip, Tar or PackedTar in a Disk whose path ends as an archive's does;
    None when it is none. Raises DicomError for one that cannot be read."""
    if not disk.regular:
        return None
    ending = disk.path.rpartition(b".")[2].lower()
    if ending == b"7z":
        if disk.read(0, 6) == b"7z\xbc\xaf\x27\x1c":
            raise damaged(SEVEN_ZIP)
        return None
    if ending == b"zip":
        archive = Zip(disk)
        return archive if archive.is_one else None
    if ending == b"tar":
        archive, block = Tar(disk), disk.read(0, 512)
    else:
        opener, beginnings = PACKINGS[ending]
        if not disk.read(0, 8).startswith(beginnings):
            return None
        archive = PackedTar(disk, opener)
        block = archive.cursor().read(0, 512)
        if len(block) < 512:
            raise damaged("the archive is cut, or no tar is in it")
    return archive if is_tar(block) else None


class _Known:
    """An archive, and where members of it are whose names were passed."""

    def __init__(self, archive):
        self.archive = archive
        self.walk = archive.walk()
        self.hashes, self.places = bytearray(), array("Q")
        self.damage = None  # met at the end
        self.lock = Lock()

    def find(self, name):
        """The first member of that name, as `item` takes it, or None."""
        wanted, at = _hash(name), -1
        with self.lock:
            while (at := self.hashes.find(wanted, at + 1)) >= 0:
                if at % 8 == 0:
                    for _, member in islice(self.archive.walk(self.places[at // 8]), 1):
                        if member[0] == name:
                            return member
            try:
                for place, member in self.walk:
                    self.hashes += _hash(member[0])
                    self.places.append(place)
                    if member[0] == name:
                        return member
            except DicomError as error:
                self.damage = error
            if self.damage is not None:  # the member may have been behind it
                raise self.damage
        return None


def _hash(name):
    return hash(name).to_bytes(8, "little", signed=True)


@lru_cache(4)
def _known(path, *state):
    """The _Known of a path, None when no archive is there. state: of the file, so
    that a changed one is opened anew."""
    archive = open_archive(Disk(path))
    return None if archive is None else _Known(archive)


if hasattr(os, "register_at_fork"):  # a lock that another thread held stays so in the child
    os.register_at_fork(after_in_child=_known.cache_clear)


def find_member(path):
    """(archive, item) of a path that leads into an archive; None when it does not.
    Raises DicomError."""
    missing = False
    for place, name in member_splits(path):
        try:
            status = os.stat(place)
        except (OSError, ValueError):  # a NUL in it
            continue
        known = _known(place, status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
        if known is None:
            continue
        member = known.find(name)
        if member is not None:
            return known.archive, known.archive.item(member)
        missing = True
    if missing:
        raise error_for("open", "the archive has no such member", errno=errno.ENOENT)
    return None


def leads_into_archive(path):
    """Whether a path means a member of an archive that is there."""
    return any(os.path.isfile(archive) for archive, _ in member_splits(os.fsencode(path)))


def read_elsewhere(path, read):
    """``read(file)`` of the File that a path means which is none of the system's:
    one as a scan gives it (``file:///caf%E9.dcm``), or of a member of an archive.
    None when it means none. Raises DicomError for a member that cannot be read."""
    inner = path_bytes(path) if isinstance(path, str) else path
    if inner != os.fsencode(path) and os.path.lexists(inner):
        return read(File(os.fsdecode(inner)))
    try:
        found = find_member(inner)
        if found is None:
            return None
        archive, item = found
        if type(item) is tuple:
            return read(File(archive.disk.path, item[1:], path))
        item.open(0)
        source = Seekable(item)
        source.name = os.fsdecode(path)
        level = read(File(source))
        item.guarded = False  # what is asked for from now on was asked for
        return level
    except DicomError as error:
        error.filename = path
        raise
