from collections.abc import Iterable, Iterator
from typing import Literal, final

from fastdcm.core._file import File

_Bytes = bytes | bytearray | memoryview

@final
class FrameTable:
    """The position of each frame of encapsulated pixel data (PS3.5 A.4).

    Frame i is the bytes from offsets[i] to before offsets[i + 1]: its fragments
    with their item headers, which `join_fragments` removes.

    Parameters
    ----------
    file : File
        The file.
    offsets : iterable of int
        Saved offsets: N + 1 ascending positions in the file, as
        ``table.offsets`` or the column `frame_offsets` of a scan gives them.

    Raises
    ------
    ValueError
        If there are fewer than two offsets.
    DicomError
        If the offsets do not ascend or are past the end of the file.
    """

    def __init__(self, file: File, offsets: Iterable[int]) -> None: ...
    @property
    def offsets(self) -> memoryview:
        """The N + 1 positions of N frames, format "Q", read-only."""

    @property
    def source(self) -> Literal["extended", "basic", "fragments", "offsets"]:
        """What the positions were read from.

        An "extended" or "basic" offset table, the "fragments" themselves, or
        saved "offsets".
        """

    def __len__(self) -> int:
        """Return the number of frames.

        Fewer than requested if the pixel data is truncated, which is an issue of
        the file ("frame-count").
        """

    def span(self, i: int) -> tuple[int, int]:
        """Return (offset, length) in the file of frame i with its item headers."""

    def read(self, i: int) -> bytes:
        """Return the codestream of frame i, its fragments joined.

        Only this frame is read. If it is not where the offset table says, all
        item headers are read once and the positions corrected (issue
        "offset-table").

        Raises
        ------
        IndexError
            If there is no such frame.
        DicomError
            If no frame begins there, or it cannot be read.
        """

    def __iter__(self) -> Iterator[bytes]: ...

def frame_table(
    file: File,
    offset: int,
    length: int,
    frames: int,
    eot_offsets: _Bytes | None = None,
    eot_lengths: _Bytes | None = None,
) -> FrameTable:
    """Return the table of the frames in encapsulated pixel data.

    Frames are found by the extended offset table, else the basic offset table,
    else one fragment per frame, else by the fragments in which a codestream
    begins.

    Parameters
    ----------
    file : File
        The file.
    offset, length : int
        Where the value of Pixel Data is, in bytes.
    frames : int
        Number of Frames; 1 if missing, and for video, whose one stream has all.
    eot_offsets, eot_lengths : bytes, optional
        Values of Extended Offset Table (7FE0,0001) and Extended Offset Table
        Lengths (7FE0,0002).

    Raises
    ------
    DicomError
        With code "frames" if the fragments cannot be assigned to frames.
    ValueError
        If the value is not inside the file.
    """

def begins_with_item(head: _Bytes, length: int) -> bool:
    """Return whether a value of `length` bytes that begins with `head` begins with an item.

    Pixel data of defined length under an encapsulated transfer syntax is then stored
    in fragments all the same.
    """

def join_fragments(data: _Bytes) -> bytes:
    """Return a frame without the item headers of its fragments.

    Parameters
    ----------
    data : bytes
        The frame as stored: the bytes of its span (PS3.5 A.4).

    Raises
    ------
    DicomError
        With code "frames" if the bytes do not begin with an item.
    """
