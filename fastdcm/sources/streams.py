"""Read an open stream as a file object."""

from __future__ import annotations

from fastdcm.sources.urls import path_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from fastdcm.sources.protocols import Stream


class SeekableStream:
    """A stream as a binary file object, which `dcmread` and `File` accept.

    Parameters
    ----------
    stream : Stream
        A stream whose size is known: it is open, or was listed.
    name : str or None
        The name of the file object; by default the text of the path of the stream.
    """

    def __init__(self, stream: Stream, name: str | None = None) -> None:
        if stream.size is None:
            raise ValueError("the size of the stream is not known: open it first")
        self.stream = stream
        self.size = stream.size
        self.position = 0
        self.name = path_text(stream.path) if name is None else name

    def seek(self, offset: int, whence: int = 0) -> int:
        """Set the position, as ``io.IOBase.seek`` does, and return it."""
        start = (0, self.position, self.size)[whence]
        self.position = start + offset
        return self.position

    def tell(self) -> int:
        """Return the position in bytes."""
        return self.position

    def read(self, size: int | None = -1) -> bytes:
        """Return the next `size` bytes, fewer at the end; the rest if negative or None."""
        left = max(self.size - self.position, 0)
        size = left if size is None or size < 0 else min(size, left)
        data = self.stream.read(self.position, size)
        self.position += size
        return data

    def pread(self, size: int, offset: int) -> bytes:
        """Return `size` bytes at `offset`, as ``os.pread`` does: threads may share the file."""
        return self.stream.read(offset, size)
