"""Read the frames of pixel data, each on its own (PS3.5 8, A.4, PS3.3 C.7.6.3)."""

from __future__ import annotations

import threading

from fastdcm._util.parallel import cpu_count, run_parallel
from fastdcm.core._file import File
from fastdcm.errors import DicomError
from fastdcm.pixels._frame_table import frame_table
from fastdcm.pixels._kernels import expand_422, swap, unpack_12, unpack_bits
from fastdcm.pixels.decoders import RATIO, FrameDecoder, over_limit
from fastdcm.pixels.layout import (
    PIXEL_DATA,
    Layout,
    frame_count,
    has_fragments,
    is_big_endian,
    layout_arguments,
    pixel_element,
    transfer_syntax_of,
)
from fastdcm.pixels.video import BT601, VideoDecoder
from fastdcm.uid import TRANSFER_SYNTAXES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any, SupportsIndex

    from numpy.typing import DTypeLike

    from fastdcm.pixels.protocols import PixelArray, PixelDataset

# Below this a read into a new array is faster than a mapping with its page
# faults; above it a mapping is, and one frame of many costs one frame.
MAP_FROM = 1 << 20

# Below this many decoded bytes, starting a second thread costs more than it saves.
THREADS_FROM = 1 << 20

# Frames that together decode to more samples than this are limited to _BLANK times
# `max_ratio` samples per byte, before memory is allocated for all of them: enough for
# blank frames of the usual sizes.
_FREE_SAMPLES = 1 << 26
_BLANK = 4

_OFFSETS, _LENGTHS = 0x7FE00001, 0x7FE00002  # Extended Offset Table and its lengths


def open_frames(ds: PixelDataset, known: Frames | None = None, *, all_bits: bool = False) -> Frames:
    """Return the frames of a data set: `known` if it still describes them.

    With `all_bits`, the cells are unsigned integers of Bits Allocated bits: none of
    them is cleared. Raises AttributeError without pixel data and DicomError for
    attributes that are not possible.
    """
    elem = pixel_element(ds)
    syntax = transfer_syntax_of(ds, elem)
    source: Any
    if elem.is_raw:
        source, offset, length = ds.file, elem.file_tell, elem.value_length
        big = elem.is_big_endian
    else:  # a value that was set: only the transfer syntax says what its bytes are
        source, offset = elem.value or b"", 0
        length = len(source)
        big = ds.original_encoding[1] is False
    native = not has_fragments(ds, elem, syntax)
    tables = None
    if not native:
        tables = tuple(_offset_table(ds, tag) for tag in (_OFFSETS, _LENGTHS))
    layout = layout_arguments(ds, elem.tag)
    if all_bits:
        allocated = layout[3]
        layout = (*layout[:4], allocated, allocated - 1, False, *layout[7:])
    key = (
        source,
        offset,
        length,
        syntax,
        native,
        tables,
        big,
        elem.VR,
        frame_count(ds),
        layout,
    )
    if known is not None and known._key == key:
        return known
    kind: type[Frames] = NativeFrames
    if not native:
        row = TRANSFER_SYNTAXES.get(syntax or "")
        kind = VideoFrames if row is not None and row.pixels == "mpeg" else EncapsulatedFrames
    try:
        return kind(key, ds.filename)
    except DicomError as error:
        if error.filename is not None or ds.filename is None:
            raise
        raise DicomError(error.text, error.code, error.offset, error.path, ds.filename) from error


def _offset_table(ds: PixelDataset, tag: int) -> bytes | None:
    """Return the bytes of an extended offset table, None if there are none."""
    table = ds.get(tag)
    value = None if table is None else table.value
    if not value:
        return None
    if not isinstance(value, (bytes, bytearray)):
        ds.note_issue("offset-table", tag)
        return None
    return bytes(value)


def output_array(out: PixelArray | None, shape: tuple[int, ...], dtype: DTypeLike) -> PixelArray:
    """Return `out` after checking that a result fits it, or a new array for None."""
    import numpy as np

    if out is None:
        return np.empty(shape, dtype)
    if (
        out.shape != shape
        or out.dtype != dtype
        or not out.flags.c_contiguous
        or not out.flags.writeable
    ):
        raise ValueError(
            f"out must be writeable, C-contiguous, of shape {shape} and dtype {np.dtype(dtype)}, "
            f"got shape {out.shape} and dtype {out.dtype}"
        )
    return out


class Frames:
    """The frames of a data set, decoded when they are accessed: ``ds.frames``.

    ``frames[i]`` is an array of the stored values of one frame, of shape (rows,
    columns[, samples]), and reads that frame alone. ``frames[a:b]`` is an array
    of several, (n, rows, columns[, samples]). Iteration yields one frame after
    another. ``len(frames)`` is Number of Frames (0028,0008).

    Attributes
    ----------
    shape : tuple of int
        Shape of one frame.
    dtype : numpy.dtype
        Type of one stored value, in the byte order of the file.

    Raises
    ------
    DicomError
        For a frame that is damaged or missing, or whose transfer syntax has no
        decoder.
    IndexError
        For an index that is not less than the number of frames.

    Examples
    --------
    >>> from fastdcm import dcmread
    >>> ds = dcmread("slide.dcm")                   # doctest: +SKIP
    >>> tile = ds.frames[1234]                      # doctest: +SKIP
    """

    shape: tuple[int, ...]
    dtype: Any

    def __init__(self, key: tuple[Any, ...], filename: Any) -> None:
        (
            self._source,
            self._offset,
            self._length,
            self._syntax,
            _,
            self._tables,
            self._big,
            self._vr,
            self._count,
            layout,
        ) = key
        self._key = key
        self._filename = filename
        self._layout = Layout(*layout)
        self.shape = self._layout.shape
        self.dtype = self._layout.dtype
        if self._count * self._layout.cells >= 1 << 48:
            raise self._error(
                f"{self._count} frames of {self._layout.cells} samples are too large for memory"
            )

    def _error(self, text: str, code: str = "pixels") -> DicomError:
        return DicomError(text, code, None, "", self._filename)

    def __len__(self) -> int:
        return int(self._count)

    def __getitem__(self, key: SupportsIndex | slice) -> PixelArray:
        if isinstance(key, slice):
            return self.read(range(*key.indices(self._count)))
        return self._one(self._index(key))

    def _index(self, i: SupportsIndex) -> int:
        i = i.__index__()
        if not -self._count <= i < self._count:
            raise IndexError(f"frame index {i} is out of range: there are {self._count} frames")
        return int(i % self._count)

    def __iter__(self) -> Iterator[PixelArray]:
        for i in range(self._count):
            yield self._one(i)

    def raw(self, i: int) -> bytes:
        """Return the bytes of one frame as they are stored, without decoding.

        Parameters
        ----------
        i : int
            Index of the frame; negative from the end.

        Returns
        -------
        bytes
            The codestream, its fragments joined; for native pixel data the bytes
            that contain the frame, the first and last of which may hold bits of
            adjacent frames.
        """
        raise NotImplementedError

    @property
    def matrix(self) -> tuple[float, float]:
        """The parts of red and blue in Y: of ITU-R BT.601, unless a video states others."""
        return BT601

    def photometric(self, i: int) -> str:
        """Return the Photometric Interpretation of the stored values of one frame.

        Parameters
        ----------
        i : int
            Index of the frame, not negative.

        Returns
        -------
        str
            What the codestream says of its colors (PS3.5 8.2.1, 8.2.4), otherwise
            the attribute. Chroma is at full resolution also where the name says
            otherwise.
        """
        return self._layout.photometric

    def read(
        self,
        indices: range,
        threads: int | None = None,
        mmap: bool | None = None,
        out: PixelArray | None = None,
        max_ratio: int = RATIO,
    ) -> PixelArray:
        """Return the frames at these indices as one array.

        Parameters
        ----------
        indices : range
            Indices of frames, none of them negative.
        threads : int, optional
            Number of threads; by default one per core, one below 1 MiB.
        mmap : bool, optional
            Native frames with ascending indices: True maps them, False reads
            them, None maps from 1 MiB.
        out : numpy.ndarray, optional
            C-contiguous array of the result's shape and dtype to read into.
        max_ratio : int
            Compressed frames: most samples that a byte may yield.

        Returns
        -------
        numpy.ndarray
            Shape (len(indices), rows, columns[, samples]).
        """
        raise NotImplementedError

    def _one(self, i: int, out: PixelArray | None = None) -> PixelArray:
        raise NotImplementedError

    def _thread_count(self, frames: int, threads: int | None) -> int:
        if threads is not None:
            return threads
        size = frames * self._layout.cells * self.dtype.itemsize
        return cpu_count() if size >= THREADS_FROM else 1

    def _output(self, count: int, out: PixelArray | None = None) -> PixelArray:
        shape = (count, *self.shape)
        if out is not None:
            return output_array(out, shape, self.dtype)
        try:
            return output_array(None, shape, self.dtype)
        except (MemoryError, ValueError) as error:
            raise self._error(
                f"there is not enough memory for {count} frames of {self._layout.cells} samples",
                "memory",
            ) from error

    def _bytes(self, offset: int, length: int, out: PixelArray | None = None) -> PixelArray:
        """Return a part of the value as a writeable array of bytes."""
        import numpy as np

        if out is None:
            try:
                out = np.empty(length, np.uint8)
            except (MemoryError, ValueError) as error:
                raise self._error(
                    f"there is not enough memory for {length} bytes", "memory"
                ) from error
        if not isinstance(self._source, File):
            out[:] = memoryview(self._source)[offset : offset + length]
        else:
            self._source.readinto(self._offset + offset, out)
        return out


class NativeFrames(Frames):
    """Frames one after another, without gaps (PS3.5 8.1.1).

    A frame of 1 or 12 bits a cell may begin within a byte.
    """

    def __init__(self, key: tuple[Any, ...], filename: Any) -> None:
        super().__init__(key, filename)
        layout = self._layout
        row = TRANSFER_SYNTAXES.get(self._syntax or "")
        if row is not None and not row.pixels:
            raise self._error(row.refusal)
        self._chroma_width = self._subsampled_width()
        self._planar = layout.planar and not self._chroma_width
        self._bits = layout.cells * layout.bits_allocated  # of a frame
        if self._chroma_width:
            self._bits = _even(layout.rows * self._chroma_width) * 16
        if is_big_endian(self._syntax, self._big) and layout.bits_allocated > 12:
            self.dtype = self.dtype.newbyteorder(">")
        # Cells within big endian 16-bit words (PS3.5 8.1.1, PS3.5 D). GE's private
        # syntax swaps only cells: its data set is little endian.
        self._swapped = self._big and layout.bits_allocated <= 12 and self._vr == "OW"
        self._mappable_cells = layout.bits_allocated not in (1, 12) and not (
            self._chroma_width or self._swapped
        )
        self._complete = min(self._count, self._length * 8 // self._bits)  # frames
        padded = (self._count * self._bits + 15) // 16 * 2
        if self._length > padded and isinstance(self._source, File):
            self._source.note_issue("pixel-length", self._offset, PIXEL_DATA)

    def _subsampled_width(self) -> int:
        """Return the pixels in a row of frames that share chroma, or 0 for frames that do not.

        Two pixels share Cb and Cr (PS3.3 C.7.6.3.1.2). With an odd number of columns
        the pairs continue in the next row, or the last pixel of each row is repeated:
        the length decides. Data with three samples a pixel is read as such.
        """
        layout, count, length = self._layout, self._count, self._length
        if layout.photometric not in ("YBR_FULL_422", "YBR_PARTIAL_422") or layout.samples != 3:
            return 0
        full = count * (layout.cells * layout.bits_allocated // 8)
        pairs = count * _even(layout.rows * layout.columns) * 2
        rows = count * layout.rows * _even(layout.columns) * 2
        if layout.bits_allocated != 8:
            if length >= full:
                self._note_photometric()
                return 0
            raise self._error(
                f"{layout.photometric} must have 8 bits allocated, got {layout.bits_allocated}"
            )
        if length in (rows, pairs):
            return _even(layout.columns) if length == rows else layout.columns
        if length in (full, _even(full)):
            self._note_photometric()
            return 0
        if length > full:
            raise self._error(
                f"the pixel data has {length} bytes: neither {pairs}, as {layout.photometric} "
                f"requires, nor {full}, for three samples a pixel"
            )
        return _even(layout.columns) if length > rows else layout.columns

    def _note_photometric(self) -> None:
        if isinstance(self._source, File):
            self._source.note_issue("photometric", self._offset, PIXEL_DATA)

    def _check(self, stop: int) -> None:
        if stop > self._complete:
            need = (self._count * self._bits + 7) // 8
            raise self._error(
                f"the pixel data has {self._length} bytes, its attributes require {need}: "
                f"frames[{self._complete}] is missing"
            )

    def raw(self, i: int) -> bytes:
        """Return the bytes of one frame: see `Frames.raw`."""
        i = self._index(i)
        self._check(i + 1)
        start, stop = i * self._bits // 8, ((i + 1) * self._bits + 7) // 8
        return self._bytes(start, stop - start).tobytes()

    def _unswapped(self, first: int, last: int) -> PixelArray:
        """Return the bytes from `first` to before `last`, in the order of little endian."""
        if not self._swapped:
            return self._bytes(first, last - first)
        before = first % 2
        size = _even(last - first + before)
        if first - before + size > self._length:
            raise self._error(
                f"the pixel data has {self._length} bytes: the last 16-bit word is incomplete"
            )
        words = self._bytes(first - before, size)
        swap(words, 2)
        return words[before : before + last - first]

    def _one(self, i: int, out: PixelArray | None = None) -> PixelArray:
        array = self._load(i, i + 1, None, 1, None if out is None else out[None])
        one: PixelArray = array[0]
        return one

    def read(
        self,
        indices: range,
        threads: int | None = None,
        mmap: bool | None = None,
        out: PixelArray | None = None,
        max_ratio: int = RATIO,
    ) -> PixelArray:
        """Return the frames at these indices as one array: see `Frames.read`."""
        threads = self._thread_count(len(indices), threads)
        if indices.step == 1 and (out is None or not self._planar):
            stop = max(indices.start, indices.stop)
            return self._load(indices.start, stop, mmap, threads, out)
        array = self._output(len(indices), out)

        def work(start: int, stop: int) -> None:
            for k in range(start, stop):
                array[k] = self._one(indices[k])

        run_parallel(work, len(indices), threads)
        return array

    def _load(
        self, start: int, stop: int, mmap: bool | None, threads: int, out: PixelArray | None
    ) -> PixelArray:
        """Map, read or unpack adjacent frames."""
        import numpy as np

        self._check(stop)
        layout, count = self._layout, stop - start
        if mmap is None:
            mmap = count * self._bits // 8 >= MAP_FROM
        shape = (count, *self.shape)
        if self._planar:
            shape = (count, layout.samples, layout.rows, layout.columns)
        mappable = self._mappable_cells and isinstance(self._source, File) and self._source.mappable
        if mmap and out is None and count and mappable:
            size = self._bits // 8
            data = self._source.map(self._offset + start * size, count * size)
            array = np.frombuffer(data, self.dtype).reshape(shape)
            if layout.has_unused_bits:
                run_parallel(lambda a, b: layout.clear_unused_bits(array[a:b]), count, threads)
        else:
            array = self._output(count, out).reshape(shape)
            run_parallel(lambda a, b: self._fill(start + a, start + b, array[a:b]), count, threads)
        return array.transpose(0, 2, 3, 1) if self._planar else array

    def _fill(self, start: int, stop: int, out: PixelArray) -> None:
        """Read the frames from `start` to before `stop` into `out`, C-contiguous."""
        layout = self._layout
        bit = start * self._bits
        first, last = bit // 8, (stop * self._bits + 7) // 8
        flat = out.reshape(-1)
        if layout.bits_allocated == 1:
            unpack_bits(self._unswapped(first, last), bit % 8, len(flat), flat)
            return
        if layout.bits_allocated == 12:
            self._fill_12(bit // 12, first, last, flat)
        elif self._chroma_width:
            self._fill_422(first, last, out)
        elif self._swapped:
            flat[:] = self._unswapped(first, last).view(flat.dtype)
        else:
            self._bytes(first, last - first, flat.view("u1"))
        layout.clear_unused_bits(out)

    def _fill_12(self, cell: int, first: int, last: int, flat: PixelArray) -> None:
        """Unpack cells of 12 bits: two in three bytes, so an odd one begins within a byte."""
        import numpy as np

        odd = cell % 2
        cells = np.empty(len(flat) + odd, np.uint16)
        unpack_12(self._unswapped(first - odd, last), len(cells), cells)
        flat[:] = cells[odd:].view(flat.dtype)

    def _fill_422(self, first: int, last: int, out: PixelArray) -> None:
        """Expand pairs of pixels that share chroma."""
        import numpy as np

        layout, width = self._layout, self._chroma_width
        packed = self._unswapped(first, last)
        if width == layout.columns and layout.rows * width % 2 == 0 and not layout.planar:
            expand_422(packed, out, out.size // 3)
            return
        pixels = np.empty((self._bits // 16, 3), np.uint8)
        n = len(pixels)
        for i, frame in enumerate(out.reshape(-1, *self.shape)):
            one = packed[2 * n * i : 2 * n * (i + 1)]
            if layout.planar:  # Y, Cb and Cr one after another
                pixels[:, 0] = one[:n]
                pixels[:, 1:] = one[n:].reshape(2, -1).T.repeat(2, axis=0)
            else:
                expand_422(one, pixels, n)
            whole = pixels[: layout.rows * width].reshape(layout.rows, width, 3)
            frame[...] = whole[:, : layout.columns]


def _even(number: int) -> int:
    return number + number % 2


def _file_of(source: Any) -> File:
    return source if isinstance(source, File) else File(memoryview(source))


class EncapsulatedFrames(Frames):
    """Compressed frames, stored in fragments (PS3.5 A.4)."""

    def __init__(self, key: tuple[Any, ...], filename: Any) -> None:
        super().__init__(key, filename)
        self._file = file = _file_of(self._source)
        self._decode = FrameDecoder(self._syntax, self._layout, filename)
        self._table = frame_table(file, self._offset, self._length, self._count, *self._tables)

    def raw(self, i: int) -> bytes:
        """Return the bytes of one frame: see `Frames.raw`."""
        return self._codestream(self._index(i))

    def _check(self, i: int) -> None:
        found = len(self._table)
        if i >= found:
            raise self._error(
                f"frames[{found}] is missing: the pixel data has {found} of {self._count} frames"
            )

    def _codestream(self, i: int) -> bytes:
        self._check(i)
        return self._table.read(i)

    def photometric(self, i: int) -> str:
        """Return the Photometric Interpretation of one frame: see `Frames.photometric`."""
        if self._layout.samples != 3:
            return self._layout.photometric
        return self._decode.photometric(self._codestream(i))

    def _check_cost(self, count: int, max_ratio: int) -> None:
        """Raise DicomError if `count` frames decode to too much for the bytes there are."""
        samples = count * self._layout.cells * min(self._layout.bits_allocated, 8) // 8
        if samples > _FREE_SAMPLES and samples > _BLANK * max_ratio * self._length:
            error = over_limit(
                f"{self._length} bytes",
                f"{count} frames of {self._layout.cells} samples",
                max_ratio,
            )
            raise self._error(error.text, error.code)

    def _one(self, i: int, out: PixelArray | None = None, max_ratio: int = RATIO) -> PixelArray:
        self._check_cost(min(self._count, len(self._table)), max_ratio)
        array, issues = self._decode(self._codestream(i), out, i, max_ratio)
        for issue in issues:
            self._file.note_issue(issue, self._table.span(i)[0], PIXEL_DATA)
        return array

    def read(
        self,
        indices: range,
        threads: int | None = None,
        mmap: bool | None = None,
        out: PixelArray | None = None,
        max_ratio: int = RATIO,
    ) -> PixelArray:
        """Return the frames at these indices as one array: see `Frames.read`."""
        count = len(indices)
        if count:
            self._check(max(indices[0], indices[-1]))
        self._check_cost(count, max_ratio)
        array = self._output(count, out)

        def work(start: int, stop: int) -> None:
            for k in range(start, stop):
                self._one(indices[k], array[k], max_ratio)

        run_parallel(work, count, self._thread_count(count, threads))
        return array


class VideoFrames(Frames):
    """The frames of one video stream (PS3.5 8.2.5 to 8.2.8).

    Each depends on those before it: reading forward decodes one frame at a
    time, reading backward starts again at the first.
    """

    def __init__(self, key: tuple[Any, ...], filename: Any) -> None:
        super().__init__(key, filename)
        self._file = file = _file_of(self._source)
        self._table = frame_table(file, self._offset, self._length, 1, None, None)
        self._lock = threading.Lock()
        self._decoder = VideoDecoder(self._syntax, self._layout, filename)
        self._decoded: Iterator[PixelArray] | None = None
        self._next = 0  # index of the next frame of `_decoded`

    @property
    def matrix(self) -> tuple[float, float]:
        """The parts of red and blue in Y: see `Frames.matrix`."""
        return self._decoder.matrix

    def photometric(self, i: int) -> str:
        """Return the Photometric Interpretation of one frame: see `Frames.photometric`."""
        if not self._next:
            self._one(i)
        return self._decoder.photometric

    def raw(self, i: int) -> bytes:
        """Return the bytes of one frame: see `Frames.raw`."""
        raise self._error(
            "a frame of a video has no codestream of its own: read the stream of all frames "
            "from the value of Pixel Data"
        )

    def _one(self, i: int, out: PixelArray | None = None) -> PixelArray:
        with self._lock:
            if self._decoded is None or i < self._next:
                self._decoded = self._decoder.frames(self._table.read(0))
                self._next = 0
            for array in self._decoded:
                self._next += 1
                if self._decoder.photometric[:8] != self._layout.photometric[:8]:
                    self._file.note_issue("photometric", self._offset, PIXEL_DATA)
                if self._next > i:
                    if out is None:
                        return array.copy()
                    out[...] = array
                    return out
            self._decoded = None
            raise self._error(
                f"the video ends after {self._next} frames, NumberOfFrames is {self._count}"
            )

    def read(
        self,
        indices: range,
        threads: int | None = None,
        mmap: bool | None = None,
        out: PixelArray | None = None,
        max_ratio: int = RATIO,
    ) -> PixelArray:
        """Return the frames at these indices as one array: see `Frames.read`."""
        array = self._output(len(indices), out)
        for k in sorted(range(len(indices)), key=lambda k: indices[k]):
            self._one(indices[k], array[k])
        return array


def read_frame(ds: PixelDataset, frame: int) -> PixelArray:
    """Return the stored values of one frame, without mapping the file."""
    one: PixelArray = ds.frames.read(range(frame, frame + 1), mmap=False)[0]
    return one


def pixel_array(
    ds: PixelDataset,
    mmap: bool | None = None,
    native_endian: bool = False,
    *,
    threads: int | None = None,
    out: PixelArray | None = None,
    max_ratio: int = RATIO,
) -> PixelArray:
    """Return the stored values of pixel data in any transfer syntax (PS3.3 C.7.6.3).

    Bits above Bits Stored are cleared or sign-extended, the samples of a pixel
    are adjacent, and subsampled chroma is repeated. Colors are not converted.

    Parameters
    ----------
    ds : Dataset
        The data set.
    mmap : bool, optional
        For native pixel data: True maps the file, False reads it, None maps from
        1 MiB. A mapping is private: writing to the array never changes the file.
        Truncating a mapped file kills any process that touches the lost part;
        use False if that can happen.
    native_endian : bool
        Convert big endian values to the machine's byte order (a copy).
    threads : int, optional
        Number of threads that decode or read frames; by default one per core,
        one below 1 MiB.
    out : numpy.ndarray, optional
        C-contiguous array of the result's shape and dtype to write into. Memory
        that is in use already causes no page faults.
    max_ratio : int
        Compressed pixel data: most samples that one byte may yield, 1032 by
        default. Above 16 million samples a frame that exceeds it is refused, above
        64 million samples all frames together if they exceed four times as much. A
        small file cannot take much time and memory this way; pass more for large
        blank frames.

    Returns
    -------
    numpy.ndarray
        Shape ([frames,] rows, columns[, samples]); writeable, in the byte order
        of the file.

    Raises
    ------
    AttributeError
        If the data set has no pixel data.
    DicomError
        If the pixel data is damaged, does not agree with its attributes, or needs
        a codec that is not installed.

    Examples
    --------
    >>> from fastdcm import dcmread
    >>> from fastdcm.pixels import pixel_array
    >>> pixel_array(dcmread("ct.dcm")).shape        # doctest: +SKIP
    (512, 512)
    """
    frames = ds.frames
    count, stored = len(frames), frames.dtype
    wanted = stored.newbyteorder("=") if native_endian else stored
    target = None
    if out is not None:
        output_array(out, frames.shape if count == 1 else (count, *frames.shape), wanted)
        target = out.view(stored).reshape(count, *frames.shape)
    array = frames.read(range(count), threads, mmap, target, max_ratio)
    if wanted != stored:
        array = array.byteswap(out is not None).view(wanted)
    if out is not None:
        return out
    return array[0] if count == 1 else array
