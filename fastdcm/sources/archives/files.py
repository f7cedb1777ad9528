"""Archives that are not local files: members of other archives, and objects of servers."""

from __future__ import annotations

from collections import OrderedDict, deque
from threading import Lock

from fastdcm.sources.archives.limits import UnpackedMember, over_limit, truncated_member

TYPE_CHECKING = False
if TYPE_CHECKING:
    from fastdcm.sources.protocols import RandomAccessFile, Stream

#: An archive that is compressed within another one is unpacked to memory if it has at most this
#: number of bytes.
MAX_UNPACKED_ARCHIVE = 64 << 20
# How many bytes of such archives are kept, and how many archives.
_MAX_KEPT, _MAX_FILES = 256 << 20, 64
# The fewest bytes to request from a stream, how many reads are kept, and of how many bytes.
_PAGE, _MAX_PAGES, _MAX_PAGE = 16 << 10, 32, 128 << 10


class StreamFile:
    """A stream as the file of an archive (see `RandomAccessFile`).

    Parameters
    ----------
    stream : Stream
        A stream that is open.
    """

    def __init__(self, stream: Stream) -> None:
        assert stream.size is not None
        self._stream = stream
        self.path, self.size, self.mtime_ns = stream.path, stream.size, stream.mtime_ns
        # (offset, bytes) of the last reads: headers are read before what follows them.
        self._pages: deque[tuple[int, bytes]] = deque(maxlen=_MAX_PAGES)

    def read(self, offset: int, length: int) -> bytes:
        """Return the bytes [offset, offset + length), fewer at the end of the stream."""
        if not 0 <= offset < self.size or length <= 0:
            return b""
        length = min(length, self.size - offset)
        for start, data in self._pages.copy():
            if start <= offset and offset + length <= start + len(data):
                return data[offset - start : offset - start + length]
        data = self._read(offset, min(max(length, _PAGE), self.size - offset))
        if len(data) <= _MAX_PAGE:
            self._pages.append((offset, data))
        return data[:length]

    def _read(self, offset: int, length: int) -> bytes:
        return self._stream.read(offset, length)

    def stored(self, name: bytes, begin: int, size: int) -> Section:
        """Return how a member is read whose bytes the stream contains as they are."""
        return Section(self, self.path + b"!/" + name, begin, size)


class UnpackedFile(StreamFile):
    """A compressed member as the file of an archive. It is unpacked to memory.

    Parameters
    ----------
    stream : UnpackedMember
        The member.

    Raises
    ------
    DicomError
        It is larger than `MAX_UNPACKED_ARCHIVE`.
    """

    def __init__(self, stream: UnpackedMember) -> None:
        super().__init__(stream)
        stream.is_limited = False  # it is not a header that is read
        if self.size > MAX_UNPACKED_ARCHIVE:
            raise over_limit(
                "the archive is compressed within another one, and larger than "
                f"{MAX_UNPACKED_ARCHIVE >> 20} MiB: unpack the outer one first"
            )

    def _read(self, offset: int, length: int) -> bytes:
        return _unpacked.bytes_of(self._stream)[offset : offset + length]


class _UnpackedFiles:
    """The contents of the compressed members that were used last."""

    def __init__(self) -> None:
        self._contents: OrderedDict[Stream, bytes] = OrderedDict()
        self._size = 0
        self._lock = Lock()

    def bytes_of(self, stream: Stream) -> bytes:
        """Return all bytes of a stream."""
        with self._lock:
            if (data := self._contents.get(stream)) is not None:
                self._contents.move_to_end(stream)
                return data
        data = stream.read(0, stream.size or 0)
        with self._lock:
            if stream not in self._contents:
                self._contents[stream] = data
                self._size += len(data)
            while self._size > _MAX_KEPT or len(self._contents) > _MAX_FILES:
                self._size -= len(self._contents.popitem(last=False)[1])
        return data


_unpacked = _UnpackedFiles()


class Section:
    """A range of a file, as a stream.

    Parameters
    ----------
    file : RandomAccessFile
        The file.
    path : bytes
        The path of the stream.
    begin, size : int
        The offset in the file, and the number of bytes.
    """

    def __init__(self, file: RandomAccessFile, path: bytes, begin: int, size: int) -> None:
        self._file, self._begin = file, begin
        self.path, self.size, self.mtime_ns = path, size, file.mtime_ns

    def open(self, first: int) -> None:
        """Do nothing: size and time are known."""

    def read(self, offset: int, length: int) -> bytes:
        """Return exactly `length` bytes at `offset`."""
        data = self._file.read(self._begin + offset, length)
        if len(data) < length:
            raise truncated_member(self._begin + offset + len(data))
        return data
