from collections.abc import Iterable, Iterator
from typing import final

from fastdcm.core._file import File

_Bytes = bytes | bytearray | memoryview

@final
class FrameTable:
    """Where each frame of encapsulated pixel data is (PS3.5 A.4).

    ``FrameTable(file, offsets)`` makes one of saved offsets: N + 1 ascending
    positions in the stream, as ``table.offsets`` or the column `frame_offsets`
    of a scan gives them. Frame i is the bytes [offsets[i], offsets[i + 1]): its
    fragments with their item headers, which `join_fragments` takes away.
    """
    def __init__(self, file: File, offsets: Iterable[int]) -> None: ...
    @property
    def offsets(self) -> memoryview:
        """N + 1 positions of N frames, format "Q", read only."""
    @property
    def source(self) -> str:
        """What told the frames apart: "extended", "basic" (an offset table),
        "fragments", or "offsets" (saved ones)."""
    def __len__(self) -> int:
        """The frames there are: fewer than asked for when the pixel data is cut
        short, which is an issue of the file ("frame-count")."""
    def span(self, i: int) -> tuple[int, int]:
        """(offset, length) in the stream of frame i with its item headers."""
    def read(self, i: int) -> bytes:
        """The codestream of frame i, its fragments joined. Reads these alone;
        only a table that turns out to lie makes all item headers be read
        (issue "offset-table"). IndexError; DicomError."""
    def __iter__(self) -> Iterator[bytes]: ...

def frame_table(
    file: File,
    offset: int,
    length: int,
    frames: int,
    eot_offsets: _Bytes | None = None,
    eot_lengths: _Bytes | None = None,
) -> FrameTable:
    """The table of the value [offset, offset + length) of encapsulated pixel
    data. frames: NumberOfFrames (1 when missing, and for video, whose one
    stream holds all of them). eot_offsets, eot_lengths: the values of
    (7FE0,0001) and (7FE0,0002), as bytes.

    The extended offset table counts first, then the basic one, then one
    fragment a frame, then what begins as a codestream begins. Raises
    DicomError "frames" when the frames cannot be told apart."""

def join_fragments(data: _Bytes) -> bytes:
    """The fragments of a frame, read as its span says, without their item
    headers. DicomError "frames" when it does not begin with an item."""
