"""Read the frames of pixel data, each on its own (PS3.5 8, A.4, PS3.3 C.7.6.3)."""

from __future__ import annotations

import threading

from fastdcm._util.parallel import cpu_count, run_parallel
from fastdcm.core._file import File
from fastdcm.errors import DicomError
from fastdcm.pixels._frame_table import frame_table
from fastdcm.pixels._kernels import expand_422, swap, unpack_12, unpack_bits
from fastdcm.pixels.decoders import RATIO, FrameDecoder
from fastdcm.pixels.layout import (
    PIXEL_DATA,
    Layout,
    integer,
    is_big_endian,
    is_native,
    layout_arguments,
    pixel_element,
    transfer_syntax_of,
)
from fastdcm.pixels.video import VideoDecoder
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

# Frames that together decode to more samples than this are limited to
# 16 * RATIO samples per byte, before memory is allocated for all of them.
_FREE_SAMPLES = 1 << 26

_OFFSETS, _LENGTHS = 0x7FE00001, 0x7FE00002  # Extended Offset Table and its lengths


def open_frames(ds: PixelDataset, known: Frames | None = None) -> Frames:
    """Return the frames of a data set: `known` if it still describes them.

    Raises AttributeError without pixel data and DicomError for attributes that
    are not possible.
    """
    elem = pixel_element(ds)
    syntax = transfer_syntax_of(ds, elem)
    source: Any
    if elem.is_raw:
        source, offset, length = ds.file, elem.file_tell, elem.value_length
        native = is_native(syntax, elem.is_undefined_length)
        big = elem.is_big_endian
    else:  # a value that was set: only the transfer syntax says what its bytes are
        source, offset = elem.value or b"", 0
        length = len(source)
        native = is_native(syntax, elem.is_undefined_length or None)
        big = ds.original_encoding[1] is False
    tables = None
    if not native:
        extended = (ds.get(_OFFSETS), ds.get(_LENGTHS))
        tables = tuple(None if table is None else table.value or None for table in extended)
    key = (
        source,
        offset,
        length,
        syntax,
        native,
        tables,
        big,
        elem.VR,
        integer(ds, "NumberOfFrames", 1),
        layout_arguments(ds, elem.tag),
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

    def read(
        self,
        indices: range,
        threads: int | None = None,
        mmap: bool | None = None,
        out: PixelArray | None = None,
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
        self._subsampled = layout.photometric == "YBR_FULL_422" and layout.samples == 3
        if self._subsampled and (layout.bits_allocated != 8 or layout.columns % 2):
            raise self._error(
                "YBR_FULL_422 must have 8 bits allocated and an even number of columns, got "
                f"{layout.bits_allocated} bits and {layout.columns} columns"
            )
        self._bits = layout.cells * layout.bits_allocated  # of a frame
        if self._subsampled:
            self._bits = self._bits // 3 * 2
        if is_big_endian(self._syntax, self._big) and layout.bits_allocated > 12:
            self.dtype = self.dtype.newbyteorder(">")
        # Bytes in big endian 16-bit words (PS3.5 8.1.1, PS3.5 D). GE's private
        # syntax swaps only cells: its data set is little endian.
        self._swapped = self._big and layout.bits_allocated == 8 and self._vr == "OW"
        self._mappable_cells = layout.bits_allocated not in (1, 12) and not (
            self._subsampled or self._swapped
        )
        self._complete = min(self._count, self._length * 8 // self._bits)  # frames
        padded = (self._count * self._bits + 15) // 16 * 2
        if self._length > padded and isinstance(self._source, File):
            self._source.note_issue("pixel-length", self._offset, PIXEL_DATA)
        if self._subsampled and self._length >= (self._count * layout.cells + 1) // 2 * 2:
            raise self._error(
                f"the pixel data has {self._length} bytes: enough for three samples a pixel, "
                "which YBR_FULL_422 does not have"
            )

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
    ) -> PixelArray:
        """Return the frames at these indices as one array: see `Frames.read`."""
        threads = self._thread_count(len(indices), threads)
        if indices.step == 1 and (out is None or not self._layout.planar):
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
        if layout.planar:
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
        return array.transpose(0, 2, 3, 1) if layout.planar else array

    def _fill(self, start: int, stop: int, out: PixelArray) -> None:
        """Read the frames from `start` to before `stop` into `out`, C-contiguous."""
        layout = self._layout
        bit = start * self._bits
        first, last = bit // 8, (stop * self._bits + 7) // 8
        flat = out.reshape(-1)
        if layout.bits_allocated == 1:
            unpack_bits(self._bytes(first, last - first), bit % 8, len(flat), flat)
            return
        if layout.bits_allocated == 12:
            self._fill_12(bit // 12, first, last, flat)
        elif self._subsampled:
            expand_422(self._bytes(first, last - first), flat, len(flat) // 3)
        elif self._swapped:
            before = first % 2
            size = (last - first + before + 1) // 2 * 2
            if first - before + size > self._length:
                raise self._error(
                    f"the pixel data has {self._length} bytes: the last 16-bit word is incomplete"
                )
            words = self._bytes(first - before, size)
            swap(words, 2)
            flat[:] = words[before : before + len(flat)].view(flat.dtype)
        else:
            self._bytes(first, last - first, flat.view("u1"))
        layout.clear_unused_bits(out)

    def _fill_12(self, cell: int, first: int, last: int, flat: PixelArray) -> None:
        """Unpack cells of 12 bits: two in three bytes, so an odd one begins within a byte."""
        import numpy as np

        odd = cell % 2
        cells = np.empty(len(flat) + odd, np.uint16)
        unpack_12(self._bytes(first - odd, last - first + odd), len(cells), cells)
        flat[:] = cells[odd:].view(flat.dtype)


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

    def _one(self, i: int, out: PixelArray | None = None) -> PixelArray:
        array, complete = self._decode(self._codestream(i), out, i)
        if not complete:
            self._file.note_issue("codestream-end", self._table.span(i)[0], PIXEL_DATA)
        return array

    def read(
        self,
        indices: range,
        threads: int | None = None,
        mmap: bool | None = None,
        out: PixelArray | None = None,
    ) -> PixelArray:
        """Return the frames at these indices as one array: see `Frames.read`."""
        count = len(indices)
        if count:
            self._check(max(indices[0], indices[-1]))
        size = count * self._layout.cells
        if size > _FREE_SAMPLES and size > RATIO * 16 * self._length:
            raise self._error(
                f"{self._length} bytes cannot hold {size} samples: "
                f"the limit is {RATIO * 16} samples per byte"
            )
        array = self._output(count, out)

        def work(start: int, stop: int) -> None:
            for k in range(start, stop):
                self._one(indices[k], array[k])

        run_parallel(work, count, self._thread_count(count, threads))
        return array


class VideoFrames(Frames):
    """The frames of one video stream (PS3.5 8.2.5 to 8.2.8).

    Each depends on those before it: reading forward decodes one frame at a
    time, reading backward starts again at the first.
    """

    def __init__(self, key: tuple[Any, ...], filename: Any) -> None:
        super().__init__(key, filename)
        file = _file_of(self._source)
        self._table = frame_table(file, self._offset, self._length, 1, None, None)
        self._lock = threading.Lock()
        self._decoder = VideoDecoder(self._syntax, self._layout, filename)
        self._decoded: Iterator[PixelArray] | None = None
        self._next = 0  # index of the next frame of `_decoded`

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
    ) -> PixelArray:
        """Return the frames at these indices as one array: see `Frames.read`."""
        array = self._output(len(indices), out)
        for k in sorted(range(len(indices)), key=lambda k: indices[k]):
            self._one(indices[k], array[k])
        return array


def pixel_array(
    ds: PixelDataset,
    mmap: bool | None = None,
    native_endian: bool = False,
    *,
    threads: int | None = None,
    out: PixelArray | None = None,
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
    array = frames.read(range(count), threads, mmap, target)
    if wanted != stored:
        array = array.byteswap(out is not None).view(wanted)
    if out is not None:
        return out
    return array[0] if count == 1 else array
