"""Locate and read the frames of encapsulated pixel data (PS3.5 A.4)."""

cimport cython
from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.string cimport memcpy, memset
from fastdcm.core.dcm cimport *
from fastdcm.core._file cimport File, check

from fastdcm.errors import DicomError, error_for

cdef uint32_t PIXEL_DATA = 0x7FE00010
cdef int SAVED_OFFSETS = 0
cdef SOURCES = {
    SAVED_OFFSETS: "offsets",
    DCM_FRAMES_EXTENDED: "extended",
    DCM_FRAMES_BASIC: "basic",
    DCM_FRAMES_FRAGMENTS: "fragments",
}


cdef File root_of(File f):
    """Return the file to which a part with some bytes in memory belongs."""
    return f if f.origin is None else f.origin


cdef int run(dcm_frames *t, File f) except -1:
    """Complete a table, reading what is not in memory."""
    cdef dcm_error err
    cdef dcm_bytes own
    cdef File piece = None
    cdef uint64_t wanted
    memset(&err, 0, sizeof(err))
    cdef int code = dcm_frames_run(t, &f.bytes, &err)
    if code == DCM_NEED and f.stream is None:
        memset(&own, 0, sizeof(own))
        dcm_bytes_reset(&own, f.bytes.total)
        f.acquire()
        with nogil:
            code = dcm_frames_read(t, &own, &f.file, &err)
        f.release()
        dcm_bytes_free(&own)
    while code == DCM_NEED:
        if piece is None:
            piece = f.new_part()
        wanted = min(t.need_length + t.need_ahead, f.bytes.total - t.need_offset)
        piece.read_segment(t.need_offset, wanted, 1)
        code = dcm_frames_run(t, &piece.bytes, &err)
    return check(code, &err, f, "")


cdef bytes joined(const uint8_t *p, uint64_t n, dcm_issue *issue, uint64_t offset, File f):
    """Return a frame without its item headers; offset: its position in f."""
    cdef dcm_error err
    cdef uint64_t length = 0
    memset(&err, 0, sizeof(err))
    cdef bytes out = new_bytes(n, offset, f)
    cdef uint8_t *into = <uint8_t *>PyBytes_AS_STRING(out)
    cdef int code
    with nogil:
        code = dcm_frames_join(p, n, into, &length, issue, &err)
    err.offset += offset
    check(code, &err, f, "")
    return out[:length]


cdef bytes new_bytes(uint64_t n, uint64_t offset, File f):
    cdef dcm_error err
    try:
        return PyBytes_FromStringAndSize(NULL, <Py_ssize_t>n)
    except MemoryError:
        dcm_fail(&err, DCM_E_MEMORY, offset, PIXEL_DATA)
        check(DCM_E_MEMORY, &err, f, "")


def begins_with_item(const uint8_t[::1] head, uint64_t length):
    """Return whether a value of `length` bytes that begins with `head` begins with an item."""
    return head.shape[0] > 0 and bool(dcm_frames_begin(&head[0], head.shape[0], length))


def join_fragments(data):
    """Return a frame without the item headers of its fragments."""
    cdef Py_buffer view
    cdef dcm_issue issue
    PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
    try:
        return joined(<const uint8_t *>view.buf, <uint64_t>view.len, &issue, 0, None)
    finally:
        PyBuffer_Release(&view)


@cython.final
cdef class FrameTable:
    """The position of each frame of encapsulated pixel data (PS3.5 A.4).

    Frame i is the bytes from offsets[i] to before offsets[i + 1]: its fragments
    with their item headers, which `join_fragments` removes.
    """
    cdef File file
    cdef bytes positions   # uint64_t, count + 1 of them
    cdef int located_by
    cdef bint walked       # all item headers have been read
    cdef bint replaced     # and gave other positions than the table
    cdef cython.pymutex lock, walking

    def __init__(self, File file not None, offsets):
        cdef uint64_t last = 0, position
        cdef uint64_t *into
        cdef Py_ssize_t i = 0
        offsets = list(offsets)
        if len(offsets) < 2:
            raise ValueError(f"offsets must be N + 1 for N frames, at least 2, got {len(offsets)}")
        self.file = root_of(file)
        self.positions = PyBytes_FromStringAndSize(NULL, len(offsets) * sizeof(uint64_t))
        into = <uint64_t *>PyBytes_AS_STRING(self.positions)
        for i in range(len(offsets)):
            position = offsets[i]
            if (i and position < last) or position > self.file.bytes.total:
                raise error_for("frames", "the saved offsets of frames are not those of this file",
                                position, "", self.file.path)
            into[i] = last = position
        self.located_by = SAVED_OFFSETS

    @property
    def offsets(self):
        """The N + 1 positions of N frames, format "Q", read-only."""
        return memoryview(self.current()).cast("Q")

    @property
    def source(self):
        """What the positions were read from: "extended" or "basic" (an offset
        table), "fragments", or "offsets" (saved ones)."""
        return SOURCES[self.located_by]

    cdef bytes current(self):
        with self.lock:
            return self.positions

    def __len__(self):
        return len(self.current()) // sizeof(uint64_t) - 1

    cdef int locate(self, Py_ssize_t i, uint64_t *offset, uint64_t *length) except -1:
        cdef bytes positions = self.current()
        cdef const uint64_t *p = <const uint64_t *>PyBytes_AS_STRING(positions)
        cdef Py_ssize_t count = len(positions) // sizeof(uint64_t) - 1
        if i < 0:
            i += count
        if not 0 <= i < count:
            raise IndexError("frame index out of range")
        offset[0] = p[i]
        length[0] = p[i + 1] - p[i]
        return 0

    def span(self, Py_ssize_t i):
        """Return (offset, length) in the file of frame i with its item headers."""
        cdef uint64_t offset, length
        self.locate(i, &offset, &length)
        return offset, length

    def read(self, Py_ssize_t i):
        """Return the codestream of frame i, its fragments joined."""
        cdef uint64_t offset, length, again, size
        cdef dcm_issue issue
        self.locate(i, &offset, &length)
        cdef bytes frame = self.read_at(offset, length, &issue)
        if frame is not None and not issue.code:
            return frame
        if self.walk():
            self.locate(i, &again, &size)
            if again != offset or size != length:
                self.file.note(DCM_I_OFFSET_TABLE, offset, PIXEL_DATA)
                frame = self.read_at(again, size, &issue)
                offset = again
        if frame is None:
            raise error_for("frames", "no frame begins at the offset that the offset table gives",
                            offset, "(7FE0,0010)", self.file.path)
        if issue.code and (self.located_by != DCM_FRAMES_FRAGMENTS or len(self) == 1):
            # else the walk through all fragments has reported it
            self.file.note(issue.code, offset + issue.offset, issue.tag)
        return frame

    def __iter__(self):
        cdef Py_ssize_t i = 0
        while i < len(self):
            yield self.read(i)
            i += 1

    cdef bytes read_at(self, uint64_t offset, uint64_t length, dcm_issue *issue):
        """Return the frame at this position, None if there is none."""
        cdef uint8_t head[8]
        cdef File f = self.file
        cdef const uint8_t *p = f.at(offset, length)
        cdef bytes data
        issue.code = 0
        if length < 8:
            return None
        if p == NULL and f.stream is not None:  # each read may be a request
            data = f.read(offset, length)
            p = <const uint8_t *>PyBytes_AS_STRING(data)
        if p != NULL:
            memcpy(head, p, 8)
        else:
            f.read_into(offset, 8, head)
        if dcm_load_uint(head, 2, 0) != 0xFFFE or dcm_load_uint(head + 2, 2, 0) != 0xE000:
            return None
        if dcm_load_uint(head + 4, 4, 0) == length - 8:  # one fragment, the usual case
            if p != NULL:
                return p[8:length]
            data = new_bytes(length - 8, offset, f)
            f.read_into(offset + 8, length - 8, PyBytes_AS_STRING(data))
            return data
        if p == NULL:
            data = f.read(offset, length)
            p = <const uint8_t *>PyBytes_AS_STRING(data)
        return joined(p, length, issue, offset, f)

    cdef bint walk(self) except -1:
        """Replace a wrong table by the positions of the fragments, if they can be
        found without a repair; only once. Return whether it was replaced."""
        with self.walking:
            if not self.walked:
                self.walked = True
                self.replace()
            return self.replaced

    cdef int replace(self) except -1:
        cdef dcm_frames t
        cdef bytes positions = self.positions
        cdef const uint64_t *p = <const uint64_t *>PyBytes_AS_STRING(positions)
        cdef uint64_t count = len(positions) // sizeof(uint64_t) - 1
        memset(&t, 0, sizeof(t))
        dcm_frames_fragments(&t, p[0], p[count], count)
        try:
            run(&t, self.file)
            if t.repairs == 0 and t.count == count:
                positions = (<uint8_t *>t.offsets)[:sizeof(uint64_t) * (count + 1)]
                with self.lock:
                    self.positions = positions
                    self.located_by = DCM_FRAMES_FRAGMENTS
                self.replaced = True
        except DicomError as error:
            if error.code != "frames":
                raise
        finally:
            dcm_frames_free(&t)
        return 0


def frame_table(File file not None, uint64_t offset, uint64_t length, uint64_t frames,
                eot_offsets=None, eot_lengths=None):
    """Return the table of the frames in encapsulated pixel data."""
    cdef FrameTable table = FrameTable.__new__(FrameTable)
    cdef const uint8_t[::1] offsets, lengths
    cdef const uint8_t *p = NULL
    cdef dcm_frames t
    cdef dcm_error err
    cdef uint64_t i, n = 0
    cdef int code
    table.file = root_of(file)
    if offset > table.file.bytes.total or length > table.file.bytes.total - offset:
        raise ValueError(f"the value of {length} bytes at {offset} is not inside the file of "
                         f"{table.file.bytes.total} bytes")
    memset(&t, 0, sizeof(t))
    memset(&err, 0, sizeof(err))
    dcm_frames_start(&t, offset, offset + length, frames)
    try:
        if eot_offsets:
            offsets = eot_offsets
            if eot_lengths:
                lengths = eot_lengths
                p = &lengths[0]
                n = lengths.shape[0]
            code = dcm_frames_extended(&t, &offsets[0], offsets.shape[0], p, n)
            dcm_fail(&err, code, offset, PIXEL_DATA)
            check(code, &err, table.file, "")
        run(&t, table.file)
        for i in range(t.n_issues):
            table.file.note(t.issues[i].code, t.issues[i].offset, t.issues[i].tag)
        table.positions = (<uint8_t *>t.offsets)[:sizeof(uint64_t) * (t.count + 1)]
        table.located_by = t.source
        table.walked = t.source == DCM_FRAMES_FRAGMENTS or t.count == 1
    finally:
        dcm_frames_free(&t)
    return table
