"""The frames of pixel data, each by itself (PS3.5 8 and A.4, PS3.3 C.7.6.3)."""

import threading

from fastdcm._util.parallel import cpu_count, run_parallel
from fastdcm.core._file import File
from fastdcm.errors import DicomError
from fastdcm.pixels._frame_table import frame_table
from fastdcm.pixels._kernels import expand_422, swap, unpack_12, unpack_bits
from fastdcm.pixels.decoders import RATIO, FrameDecoder, Layout, Video
from fastdcm.uid import TRANSFER_SYNTAXES

# Below this a read into a new array is faster than a mapping with its page
# faults; above it a mapping is, and one frame of many costs one frame.
MAP_FROM = 1 << 20

# Below this, decoded, a second thread costs more than it brings.
THREADS_FROM = 1 << 20

PIXEL_DATA, FLOAT, DOUBLE = 0x7FE00010, 0x7FE00008, 0x7FE00009
_OFFSETS, _LENGTHS = 0x7FE00001, 0x7FE00002


# ---- the attributes, gathered once


def _refuse(ds, text, code="pixels"):
    return DicomError(text, code, None, "", ds.filename)


def pixel_element(ds):
    """Pixel Data, Float Pixel Data or Double Float Pixel Data."""
    for tag in (PIXEL_DATA, FLOAT, DOUBLE):
        elem = ds.get(tag)
        if elem is not None:
            return elem
    raise AttributeError(
        "the data set has no pixel data: no (7FE0,0010), (7FE0,0008) or (7FE0,0009)"
    )


def _number(ds, keyword, default=None, least=1):
    value = getattr(ds, keyword, None)
    if value is None or value == "":
        value = default
    if not isinstance(value, int) or value < least:
        raise _refuse(
            ds, f"{keyword} is {value!r}, where a {'positive ' if least else ''}number is needed"
        )
    return value


def _layout(ds, tag):
    rows, columns = _number(ds, "Rows"), _number(ds, "Columns")
    samples = _number(ds, "SamplesPerPixel", 1)
    photometric = getattr(ds, "PhotometricInterpretation", None) or ""
    planar = samples > 1 and _number(ds, "PlanarConfiguration", 0, 0)
    if tag != PIXEL_DATA:
        return (
            rows,
            columns,
            samples,
            32 if tag == FLOAT else 64,
            None,
            None,
            False,
            photometric,
            planar == 1,
            True,
        )
    allocated = _number(ds, "BitsAllocated")
    stored = _number(ds, "BitsStored", allocated, 0)
    return (
        rows,
        columns,
        samples,
        allocated,
        stored,
        _number(ds, "HighBit", stored - 1, 0),
        _number(ds, "PixelRepresentation", 0, 0) == 1,
        photometric,
        planar == 1,
        False,
    )


def _syntax_of(ds, elem):
    """UID of the transfer syntax that the element's bytes are in, or None."""
    if elem.is_raw:
        if ds._source is not None:
            return ds._source.transfer_syntax
        return ds.file.transfer_syntax
    meta = getattr(ds, "file_meta", None)
    return meta.get("TransferSyntaxUID") if meta is not None else None


def open_frames(ds, known=None):
    """The Frames of a Dataset: `known` when they are still what it says."""
    elem = pixel_element(ds)
    syntax = _syntax_of(ds, elem)
    tables = None
    if elem.is_raw:
        place = ds.file, elem.file_tell, elem.value_length
        encapsulated = elem.is_undefined_length
        big = elem.is_big_endian
    else:
        # A value that was set, as bytes. What stands in them the transfer
        # syntax says.
        value = elem.value or b""
        place = value, 0, len(value)
        row = TRANSFER_SYNTAXES.get(syntax)
        encapsulated = elem.is_undefined_length or (
            row is not None and (row.encapsulated or not row.pixels)
        )
        big = ds.original_encoding[1] is False
    if encapsulated:
        tables = tuple(
            None if extended is None else extended.value or None
            for extended in (ds.get(_OFFSETS), ds.get(_LENGTHS))
        )
    key = (
        *place,
        syntax,
        encapsulated,
        tables,
        big,
        elem.VR,
        _number(ds, "NumberOfFrames", 1),
        _layout(ds, elem.tag),
    )
    if known is not None and known._key == key:
        return known
    try:
        if not encapsulated:
            return NativeFrames(key, ds.filename)
        row = TRANSFER_SYNTAXES.get(syntax)
        kind = VideoFrames if row is not None and row.pixels == "mpeg" else EncapsulatedFrames
        return kind(key, ds.filename)
    except DicomError as error:
        if error.filename is not None or ds.filename is None:
            raise
        raise DicomError(error.text, error.code, error.offset, error.path, ds.filename) from error


def room(out, shape, dtype):
    """`out` when it can take such a result, a new array when it is None."""
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
            f"out is to be writeable, C-contiguous, of shape {shape} and "
            f"{np.dtype(dtype)}, not {out.shape} and {out.dtype}"
        )
    return out


def _file_of(source):
    return source if isinstance(source, File) else File(memoryview(source))


# ---- the frames


class Frames:
    """The frames of a Dataset, decoded when they are asked for.

    ``frames[i]`` are the stored values of one frame, an array of shape (rows,
    columns[, samples]), and cost that frame alone. ``frames[a:b]`` are those of
    several, (n, rows, columns[, samples]). Iteration gives one after another.
    ``len(frames)`` is NumberOfFrames. `shape` and `dtype` are those of one.

    Raises DicomError for a frame that is damaged, missing or of a transfer
    syntax without decoder, IndexError past the last.
    """

    def __init__(self, key, filename):
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
                f"{self._count} frames of {self._layout.cells} samples are beyond all memory"
            )
        # A Python file object is one place for all threads, unless it has pread.
        self._lock = threading.Lock()
        self._threads_can_read = not isinstance(self._source, File) or self._source.shareable

    def _error(self, text, code="pixels"):
        return DicomError(text, code, None, "", self._filename)

    def __len__(self):
        return self._count

    def __getitem__(self, key):
        if isinstance(key, slice):
            return self.read(range(*key.indices(self._count)))
        return self._one(self._index(key))

    def _index(self, i):
        i = i.__index__()
        if not -self._count <= i < self._count:
            raise IndexError(f"frame {i} of {self._count}")
        return i % self._count

    def __iter__(self):
        for i in range(self._count):
            yield self._one(i)

    def _workers(self, count, threads):
        if threads is None:
            size = count * self._layout.cells * self.dtype.itemsize
            return cpu_count() if size >= THREADS_FROM else 1
        return threads

    def _room(self, count, out=None):
        shape = (count, *self.shape)
        if out is not None:
            return room(out, shape, self.dtype)
        try:
            return room(None, shape, self.dtype)
        except (MemoryError, ValueError) as error:
            raise self._error(
                f"there is no memory for {count} frames of {self._layout.cells} samples", "memory"
            ) from error

    def _bytes(self, offset, length, out=None):
        """A part of the value, as a writeable array of bytes."""
        import numpy as np

        if out is None:
            try:
                out = np.empty(length, np.uint8)
            except (MemoryError, ValueError) as error:
                raise self._error(f"there is no memory for {length} bytes", "memory") from error
        if not isinstance(self._source, File):
            out[:] = memoryview(self._source)[offset : offset + length]
        elif self._threads_can_read:
            self._source.readinto(self._offset + offset, out)
        else:
            with self._lock:
                self._source.readinto(self._offset + offset, out)
        return out


class NativeFrames(Frames):
    """Frames one after another, without gaps: one of them may begin within a
    byte (PS3.5 8.1.1)."""

    def __init__(self, key, filename):
        super().__init__(key, filename)
        layout = self._layout
        row = TRANSFER_SYNTAXES.get(self._syntax)
        if row is not None and not row.pixels:
            raise self._error(row.refusal)
        self._halved = layout.photometric == "YBR_FULL_422" and layout.samples == 3
        if self._halved and (layout.bits_allocated != 8 or layout.columns % 2):
            raise self._error(
                f"YBR_FULL_422 with BitsAllocated {layout.bits_allocated} and "
                f"{layout.columns} columns: it has 8 and an even number"
            )
        self._bits = layout.cells * layout.bits_allocated
        if self._halved:
            self._bits = self._bits // 3 * 2
        # GE's private syntax swaps the cells alone.
        big = self._big or (row is not None and row.pixels == "native-big")
        if big and layout.bits_allocated > 12:
            self.dtype = self.dtype.newbyteorder(">")
        # Bytes in big endian 16-bit words (PS3.5 8.1.1, PS3.5 D).
        self._swapped = self._big and layout.bits_allocated == 8 and self._vr == "OW"
        self._plain = layout.bits_allocated not in (1, 12) and not (self._halved or self._swapped)
        self._there = min(self._count, self._length * 8 // self._bits)  # whole frames
        padded = (self._count * self._bits + 15) // 16 * 2
        if self._length > padded and isinstance(self._source, File):
            self._source.note_issue("pixel-length", self._offset, PIXEL_DATA)
        if self._halved and self._length >= (self._count * layout.cells + 1) // 2 * 2:
            raise self._error(
                f"the pixel data has {self._length} bytes: as many as three samples "
                "a pixel take, so that it is not YBR_FULL_422"
            )

    def _check(self, stop):
        if stop > self._there:
            need = (self._count * self._bits + 7) // 8
            raise self._error(
                f"the pixel data has {self._length} bytes, where its attributes ask "
                f"for {need}: frames[{self._there}] is not there"
            )

    def raw(self, i):
        """The bytes of one frame as they stand; bits around it may be those
        of its neighbours."""
        i = self._index(i)
        self._check(i + 1)
        start, stop = i * self._bits // 8, ((i + 1) * self._bits + 7) // 8
        return self._bytes(start, stop - start).tobytes()

    def _one(self, i):
        return self._load(i, i + 1, None, 1, None)[0]

    def read(self, indices, threads=None, mmap=None, out=None):
        """The frames of a range of indices, as one array: neighbours with
        mmap=True mapped, with False read, with None mapped from 1 MiB on. out:
        an array of the result's shape and type to read into."""
        if indices.step == 1 and (out is None or not self._layout.planar):
            return self._load(
                indices.start,
                max(indices.start, indices.stop),
                mmap,
                self._workers(len(indices), threads),
                out,
            )
        out = self._room(len(indices), out)

        def work(start, stop):
            for k in range(start, stop):
                out[k] = self._one(indices[k])

        run_parallel(work, len(indices), self._workers(len(indices), threads))
        return out

    def _mappable(self):
        return isinstance(self._source, File) and self._source.mappable

    def _load(self, start, stop, mmap, threads, out):
        """Neighbouring frames: mapped, read, or unpacked by several threads."""
        import numpy as np

        self._check(stop)
        layout, count = self._layout, stop - start
        if mmap is None:
            mmap = count * self._bits // 8 >= MAP_FROM
        shape = (
            (count, layout.samples, layout.rows, layout.columns)
            if layout.planar
            else (count, *self.shape)
        )
        if mmap and out is None and self._plain and count and self._mappable():
            size = self._bits // 8
            data = self._source.map(self._offset + start * size, count * size)
            array = np.frombuffer(data, self.dtype).reshape(shape)
            if layout.loose:
                run_parallel(lambda a, b: layout.correct(array[a:b]), count, threads)
        else:
            array = self._room(count, out).reshape(shape)
            run_parallel(lambda a, b: self._fill(start + a, start + b, array[a:b]), count, threads)
        return array.transpose(0, 2, 3, 1) if layout.planar else array

    def _fill(self, start, stop, out):
        """Frames start ... stop - 1 into `out`, which is C-contiguous."""
        layout = self._layout
        bit = start * self._bits
        first, last = bit // 8, (stop * self._bits + 7) // 8
        flat = out.reshape(-1)
        if layout.bits_allocated == 1:
            unpack_bits(self._bytes(first, last - first), bit % 8, len(flat), flat)
            return
        if layout.bits_allocated == 12:
            self._fill_12(bit // 12, first, last, flat)
        elif self._halved:
            expand_422(self._bytes(first, last - first), flat, len(flat) // 3)
        elif self._swapped:
            before = first % 2
            size = (last - first + before + 1) // 2 * 2
            if first - before + size > self._length:
                raise self._error(
                    f"the pixel data has {self._length} bytes: the last word is not whole"
                )
            words = self._bytes(first - before, size)
            swap(words, 2)
            flat[:] = words[before : before + len(flat)].view(flat.dtype)
        else:
            self._bytes(first, last - first, flat.view("u1"))
        layout.correct(out)

    def _fill_12(self, cell, first, last, flat):
        """Two cells in three bytes: an odd cell begins within one."""
        import numpy as np

        odd = cell % 2
        cells = np.empty(len(flat) + odd, np.uint16)
        unpack_12(self._bytes(first - odd, last - first + odd), len(cells), cells)
        flat[:] = cells[odd:].view(flat.dtype)


class EncapsulatedFrames(Frames):
    """Compressed frames in fragments (PS3.5 A.4)."""

    def __init__(self, key, filename):
        super().__init__(key, filename)
        file = _file_of(self._source)
        self._file = file
        self._decode = FrameDecoder(self._syntax, self._layout, filename)
        self._table = frame_table(file, self._offset, self._length, self._count, *self._tables)

    def raw(self, i):
        """The codestream of one frame: its fragments joined."""
        return self._read(self._index(i))

    def _check(self, i):
        there = len(self._table)
        if i >= there:
            raise self._error(
                f"frames[{there}] is not there: the pixel data holds {there} frames "
                f"of {self._count}"
            )

    def _read(self, i):
        self._check(i)
        if self._threads_can_read:
            return self._table.read(i)
        with self._lock:
            return self._table.read(i)

    def _one(self, i, out=None):
        array, whole = self._decode(self._read(i), out, i)
        if not whole:
            self._file.note_issue("codestream-end", self._table.span(i)[0], PIXEL_DATA)
        return array

    def read(self, indices, threads=None, mmap=None, out=None):
        """The frames of a range of indices, decoded into one array, `out` or a
        new one, by `threads` threads, None: one a core. There is nothing to map."""
        count = len(indices)
        if count:
            self._check(max(indices[0], indices[-1]))
        size = count * self._layout.cells
        if size > 1 << 26 and size > RATIO * 16 * self._length:
            raise self._error(
                f"{self._length} bytes for {size} samples are beyond every honest ratio"
            )
        out = self._room(count, out)

        def work(start, stop):
            for k in range(start, stop):
                self._one(indices[k], out[k])

        run_parallel(work, count, self._workers(count, threads))
        return out


class VideoFrames(Frames):
    """The frames of one video stream (PS3.5 8.2.5 to 8.2.8). They depend on
    those before: going on is cheap, going back begins anew."""

    def __init__(self, key, filename):
        super().__init__(key, filename)
        file = _file_of(self._source)
        self._table = frame_table(file, self._offset, self._length, 1, None, None)
        self._video = Video(self._syntax, self._layout, filename)
        self._running = None
        self._next = 0

    def raw(self, i):
        raise self._error(
            "a frame of a video is no codestream of its own; the whole stream "
            "is the value of Pixel Data"
        )

    def _one(self, i, out=None):
        with self._lock:
            if self._running is None or i < self._next:
                self._running = self._video.frames(self._table.read(0))
                self._next = 0
            for array in self._running:
                self._next += 1
                if self._next > i:
                    if out is None:
                        return array.copy()
                    out[...] = array
                    return out
            self._running = None
            raise self._error(
                f"the video ends after {self._next} frames, {self._count} are announced"
            )

    def read(self, indices, threads=None, mmap=None, out=None):
        """The frames of a range of indices, decoded into one array, `out` or a
        new one. The codec brings its own threads, and there is nothing to map."""
        out = self._room(len(indices), out)
        for k in sorted(range(len(indices)), key=lambda k: indices[k]):
            self._one(indices[k], out[k])
        return out


def pixel_array(ds, mmap=None, native_endian=False, *, threads=None, out=None):
    """The stored values of pixel data in any transfer syntax.

    ds : Dataset.
    mmap : True maps the file, False reads it, None maps from 1 MiB on; native
        pixel data only. A mapping is private: writing to the array never
        changes the file. Truncating a mapped file kills the process that
        touches the lost part, whatever the program: False is the way round
        that.
    native_endian : turn big endian values into the machine's order (a copy).
    threads : how many threads decode or read frames; None: as many as there
        are cores, one for less than 1 MiB.
    out : an array to write into, C-contiguous, of the result's shape and type:
        memory that is there already costs no page faults.

    Returns an array of shape ([frames,] rows, columns[, samples]), writeable,
    in the byte order of the file. Values are those of PS3.3 C.7.6.3 as stored:
    bits above BitsStored are masked or sign-extended, samples of a pixel stand
    together, subsampled chroma is repeated, colours are not converted. Raises
    AttributeError without pixel data, DicomError where it is damaged, is not
    what its attributes say, or needs a codec that is not there.
    """
    frames = ds.frames
    count, own = len(frames), frames.dtype
    wanted = own.newbyteorder("=") if native_endian else own
    into = None
    if out is not None:
        room(out, frames.shape if count == 1 else (count, *frames.shape), wanted)
        into = out.view(own).reshape(count, *frames.shape)
    array = frames.read(range(count), threads, mmap, into)
    if wanted != own:
        array = array.byteswap(out is not None).view(wanted)
    if out is not None:
        return out
    return array[0] if count == 1 else array
