"""The bytes of a DICOM stream: a file, memory or a Python file object.

`File` reads them on demand and limits how many descriptors are open. `check`
is the only function that raises an exception from an error code of the C core.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cpython.buffer cimport (PyBUF_SIMPLE, PyBUF_WRITABLE, PyBuffer_FillInfo,
                             PyBuffer_Release, PyObject_GetBuffer)
from libc.errno cimport EMFILE, ENFILE
from libc.string cimport memcpy, memset, strlen
from fastdcm.core.dcm cimport *

import os

from fastdcm.core.file_objects import FileObject
from fastdcm.errors import error_for

cdef extern from "Python.h":
    bytes PyUnicode_EncodeFSDefault(object)

cdef bint WINDOWS = os.name == "nt"


cpdef str format_tag(uint32_t tag):
    """Return a tag as "(gggg,eeee)"."""
    return f"({tag >> 16:04X},{tag & 0xFFFF:04X})"


cdef int check(int code, const dcm_error *err, File file, str path) except -1:
    """Raise the exception of an error code; return 0 for any other code.

    path: the tag path of the level that was read.
    """
    if code < DCM_E_MEMORY:
        return 0
    where = (path or "") + (format_tag(err.tag) if err.tag else "")
    raise error_for(dcm_code_name(code).decode(), dcm_code_text(code).decode(),
                    err.offset, where, file.path if file is not None else None,
                    err.sys)


# A File keeps its descriptor while some values are not in memory. When more
# than OPEN_LIMIT are open, or half as many as the process may have, the oldest is
# closed; it is reopened by its path when a value is read. The list is linked
# through File.older and File.newer.
cdef int OPEN_LIMIT = 256
cdef int ALWAYS_OPEN = 16  # up to this number the limit of the system is not looked up
cdef cython.pymutex open_lock  # guards the list and File.busy
cdef void *newest = NULL
cdef void *oldest = NULL
cdef int open_count = 0
cdef int pinned_count = 0


cdef void unlist(File f) noexcept:
    """Remove f from the list of open files. The caller holds open_lock."""
    global newest, oldest, open_count
    if not f.listed:
        return
    if f.older != NULL:
        (<File>f.older).newer = f.newer
    else:
        oldest = f.newer
    if f.newer != NULL:
        (<File>f.newer).older = f.older
    else:
        newest = f.older
    f.older = f.newer = NULL
    f.listed = False
    open_count -= 1


cdef void enlist(File f) noexcept:
    """Add f as the newest, and close the oldest idle files past the limit.

    The caller holds open_lock.
    """
    global newest, oldest, open_count
    cdef uint64_t limit
    f.older = newest
    f.newer = NULL
    if newest != NULL:
        (<File>newest).newer = <void *>f
    else:
        oldest = <void *>f
    newest = <void *>f
    f.listed = True
    open_count += 1
    if open_count > ALWAYS_OPEN:
        limit = min(OPEN_LIMIT, dcm_file_limit() // 2)
        while open_count > limit and close_oldest(<void *>f):
            pass


cdef bint close_oldest(void *kept) noexcept:
    """Close the oldest file that no read uses, but not `kept`; return False if there is none.

    The caller holds open_lock.
    """
    cdef void *at = oldest
    while at != NULL:
        if (<File>at).busy == 0 and at != kept:
            dcm_file_close(&(<File>at).file)
            unlist(<File>at)
            return True
        at = (<File>at).newer
    return False


cdef bint make_room(int code, const dcm_error *err):
    """Close a file if a file was not opened because too many are; return whether to retry."""
    if code != DCM_E_OPEN or err.sys not in (EMFILE, ENFILE):
        return False
    with open_lock:
        return close_oldest(NULL)


@cython.final
@cython.freelist(8)
cdef class File:
    """A DICOM stream: a path, bytes in memory or a Python file object.

    Holds the bytes read so far and, while values are missing from them, the
    open descriptor. Every view of its data keeps a reference to the File.
    """

    def __cinit__(self):
        self.file.handle = -1
        self.lists = {}
        self.notes = []

    def __init__(self, source, member=None, path=None):
        """Prepare to read `source`; a path is opened by `open` or `open_part10`.

        source: a path (str, bytes or os.PathLike), a memoryview or bytearray, or
        a file object (`fastdcm.core.protocols.ReadableFile`). member: (offset,
        length) of the part of the file to read; `path` is then its name.
        """
        cdef dcm_error err
        cdef Py_buffer view
        cdef int code
        if type(source) is str or isinstance(source, (str, bytes)) or hasattr(source, "__fspath__"):
            self.path = source if type(source) is str else os.fspath(source)
            self.system_path = encode_path(self.path)
            if member is not None:
                self.member = member
                self.path = path
        elif hasattr(source, "read"):
            self.stream = FileObject(source)
            self.path = self.stream.name
            dcm_bytes_reset(&self.bytes, self.stream.size)
        else:
            self.owner = bytes_of(source)
            PyObject_GetBuffer(self.owner, &view, PyBUF_SIMPLE)
            code = dcm_bytes_borrow(&self.bytes, view.buf, <uint64_t>view.len)
            PyBuffer_Release(&view)  # the memoryview in self.owner keeps the buffer
            dcm_fail(&err, code, 0, 0)
            check(code, &err, self, "")

    def __dealloc__(self):
        global pinned_count
        if self.listed or self.pinned:
            with open_lock:
                unlist(self)
                pinned_count -= self.pinned
        dcm_file_close(&self.file)
        dcm_bytes_free(&self.bytes)

    @property
    def size(self):
        """Size of the stream in bytes."""
        return self.bytes.total

    cdef int open_file(self, dcm_file *f, dcm_error *err):
        """Open the file, and restrict it to the member if there is one."""
        cdef const char *path
        cdef uint64_t base = 0, length = 0
        cdef bint has_member = self.member is not None
        if self.system_path is None:
            self.system_path = encode_path(self.path)
        path = self.system_path
        if has_member:
            base, length = self.member
        cdef int code
        while True:
            with nogil:
                code = dcm_file_open(f, path, err)
                if code == DCM_OK and has_member:
                    code = dcm_file_narrow(f, base, length, err)
                    if code != DCM_OK:
                        dcm_file_close(f)
            if code == DCM_OK or not make_room(code, err):
                return code

    cdef int open(self) except -1:
        """Open the file without reading its header."""
        cdef dcm_error err
        memset(&err, 0, sizeof(err))
        cdef int code = self.open_file(&self.file, &err)
        check(code, &err, self, "")
        dcm_bytes_reset(&self.bytes, self.file.size)
        return 0

    cdef const uint8_t *at(self, uint64_t offset, uint64_t length):
        """Return the bytes if they are in memory, else NULL."""
        return dcm_bytes_at(&self.bytes, offset, length)

    cdef int acquire(self) except -1:
        """Open the descriptor if needed, and keep it open until `release`."""
        cdef dcm_error err
        cdef dcm_file reopened
        cdef int code
        with open_lock:
            self.busy += 1
            if self.file.handle != -1:
                return 0
        try:
            if self.closed:
                raise error_for("read", "the data set was closed before this value was read",
                                filename=self.path)
            memset(&err, 0, sizeof(err))
            code = self.open_file(&reopened, &err)
            if code == DCM_OK and (reopened.size != self.file.size or
                                   reopened.mtime_ns != self.file.mtime_ns or
                                   reopened.inode != self.file.inode or
                                   reopened.device != self.file.device):
                dcm_file_close(&reopened)
                dcm_fail(&err, DCM_E_CHANGED, 0, 0)
                check(DCM_E_CHANGED, &err, self, "")
            check(code, &err, self, "")
        except BaseException:
            self.release()
            raise
        with open_lock:
            if self.file.handle == -1:
                self.file = reopened
                enlist(self)
            else:  # another thread was faster
                dcm_file_close(&reopened)
        return 0

    cdef void release(self):
        """Let the descriptor be closed when too many are open."""
        with open_lock:
            self.busy -= 1

    cdef bint pin(self) except -1:
        """Keep the descriptor open as long as the File; return False if too many are."""
        global pinned_count
        with open_lock:
            if pinned_count >= min(OPEN_LIMIT, dcm_file_limit() // 4):
                return False
            pinned_count += 1
            self.pinned = True
        self.acquire()  # never released
        return True

    cdef int read_into(self, uint64_t offset, uint64_t length, void *into) except -1:
        """Copy these bytes of the stream from memory or from the file."""
        cdef const uint8_t *p = self.at(offset, length)
        cdef dcm_error err
        cdef int code
        cdef bytes data
        if length == 0:
            return 0
        if p != NULL:
            memcpy(into, p, length)
            return 0
        if self.origin is not None:
            return self.origin.read_into(offset, length, into)
        memset(&err, 0, sizeof(err))
        if self.stream is not None:
            data = self.stream.read_at(offset, length)
            if len(data) != length:
                dcm_fail(&err, DCM_E_CHANGED, offset + len(data), 0)
                check(DCM_E_CHANGED, &err, self, "")
            memcpy(into, PyBytes_AS_STRING(data), length)
            return 0
        self.acquire()
        if length < 65536:
            code = dcm_file_read(&self.file, offset, length, into, &err)
        else:
            with nogil:
                code = dcm_file_read(&self.file, offset, length, into, &err)
        self.release()
        return check(code, &err, self, "")

    cpdef bytes read(self, uint64_t offset, uint64_t length):
        """Return the bytes ``[offset, offset + length)`` of the stream."""
        if offset > self.bytes.total or length > self.bytes.total - offset:
            raise ValueError(f"cannot read {length} bytes at {offset}: the stream has "
                             f"{self.bytes.total} bytes")
        cdef bytes data
        cdef dcm_error err
        try:
            data = PyBytes_FromStringAndSize(NULL, <Py_ssize_t>length)
        except MemoryError:
            dcm_fail(&err, DCM_E_MEMORY, offset, 0)
            check(DCM_E_MEMORY, &err, self, "")
        self.read_into(offset, length, PyBytes_AS_STRING(data))
        return data

    def readinto(self, uint64_t offset, buffer):
        """Fill a writable buffer with the bytes from `offset` on."""
        cdef Py_buffer view
        PyObject_GetBuffer(buffer, &view, PyBUF_WRITABLE)
        try:
            self.read_into(offset, <uint64_t>view.len, view.buf)
        finally:
            PyBuffer_Release(&view)

    cdef File part(self, uint64_t offset, uint64_t length):
        """Return a File that has these bytes in memory, at the same offsets."""
        cdef File f
        if length == 0 or self.at(offset, length) != NULL:
            return self
        f = self.new_part()
        f.read_segment(offset, length, 0)
        return f

    cdef File extendable_copy(self):
        """Return a File that starts with the first segment of this one.

        More segments can be added to it, in ascending order, without changing
        what other threads read.
        """
        cdef File f = self.new_part()
        if self.bytes.n_segments:
            f.read_segment(self.bytes.segments[0].offset, self.bytes.segments[0].length, 0)
        return f

    cdef File new_part(self):
        """Return a File of the same stream with no bytes in memory."""
        cdef File f = File.__new__(File)
        f.origin = self if self.origin is None else self.origin
        f.path = self.path
        f.transfer_syntax = self.transfer_syntax
        f.lists = self.lists
        f.notes = self.notes
        dcm_bytes_reset(&f.bytes, self.bytes.total)
        return f

    cdef int read_segment(self, uint64_t offset, uint64_t length, int transient) except -1:
        """Read bytes of the origin, or of the file object, into memory."""
        cdef uint8_t *space
        cdef dcm_error err
        cdef int code = dcm_bytes_reserve(&self.bytes, length, &space)
        if code == DCM_OK:
            self.read_into(offset, length, space)
            code = dcm_bytes_commit(&self.bytes, offset, length, transient)
        dcm_fail(&err, code, offset, 0)
        return check(code, &err, self, "")

    cdef int extend(self, uint64_t offset, uint64_t length, int transient) except -1:
        """Read the bytes that an index needs into memory, with read-ahead."""
        cdef uint64_t end, ahead
        cdef dcm_segment *last
        cdef dcm_error err
        if offset > self.bytes.total or length > self.bytes.total - offset:
            dcm_fail(&err, DCM_E_CHANGED, self.bytes.total, 0)
            check(DCM_E_CHANGED, &err, self, "")
        ahead = dcm_read_ahead(&self.bytes, <dcm_read_mode>transient)
        end = min(self.bytes.total, offset + length + ahead)
        if self.bytes.n_segments and not self.bytes.transient and not transient:
            last = &self.bytes.segments[self.bytes.n_segments - 1]
            if last.offset <= offset <= last.offset + last.length:
                offset = last.offset + last.length
        return self.read_segment(offset, end - offset, transient)

    cdef int note(self, int code, uint64_t offset, uint32_t tag) except -1:
        """Record an issue found while decoding a value; the same one only once."""
        if self.origin is not None:
            return self.origin.note(code, offset, tag)
        if self.strict:
            raise error_for(dcm_code_name(code).decode(), dcm_code_text(code).decode(), offset,
                            format_tag(tag) if tag else "", self.path)
        cdef tuple note = (code, offset, tag)
        if self.noted is None:
            self.noted = set()
        if note not in self.noted:
            self.noted.add(note)
            self.notes.append(note)
        return 0

    def note_issue(self, str name, uint64_t offset, uint32_t tag):
        """Record an issue by the name of its code; the same one only once."""
        cdef int code = dcm_code_from_name(name.encode())
        if code < DCM_I_NO_PREAMBLE:
            raise ValueError(f"unknown issue code: {name!r}")
        self.note(code, offset, tag)

    def load(self):
        """Read the complete stream into memory and close the file."""
        if self.origin is not None:
            return self.origin.load()
        if self.bytes.n_segments and self.bytes.segments[0].length == self.bytes.total:
            return
        cdef bytes data = self.read(0, self.bytes.total)
        dcm_bytes_free(&self.bytes)
        self.owner = data
        cdef dcm_error err
        cdef int code = dcm_bytes_borrow(&self.bytes, PyBytes_AS_STRING(data), len(data))
        dcm_fail(&err, code, 0, 0)
        check(code, &err, self, "")
        self.close_descriptor()

    def close(self):
        """Close the file; values not in memory can no longer be read."""
        self.closed = True
        self.close_descriptor()

    cdef close_descriptor(self):
        with open_lock:
            unlist(self)
            if self.busy == 0:
                dcm_file_close(&self.file)

    cdef void list_descriptor(self) noexcept:
        """Count the open descriptor, which is closed when too many are open."""
        with open_lock:
            enlist(self)

    def map(self, uint64_t offset, uint64_t length):
        """Return a private, writable (copy-on-write) mapping of these bytes."""
        if self.origin is not None:
            return self.origin.map(offset, length)
        return Map(self, offset, length)

    @property
    def is_open(self):
        """Whether the descriptor is open."""
        return self.file.handle != -1

    @property
    def mappable(self):
        """Whether the stream is a file of its own on disk."""
        return self.stream is None and self.owner is None and self.path is not None

    def __reduce__(self):
        raise TypeError("a File cannot be pickled; pickle its Dataset")


@cython.final
cdef class Map:
    """A private, writable (copy-on-write) mapping of a part of a file.

    Supports the buffer protocol; the mapping exists as long as a view of it.
    """
    cdef dcm_map map
    cdef uint64_t length

    def __init__(self, File f, uint64_t offset, uint64_t length):
        cdef dcm_error err
        cdef int code
        memset(&err, 0, sizeof(err))
        f.acquire()
        code = dcm_file_map(&f.file, offset, length, &self.map, &err)
        f.release()
        check(code, &err, f, "")
        self.length = length

    def __dealloc__(self):
        dcm_file_unmap(&self.map)

    def __getbuffer__(self, Py_buffer *view, int flags):
        PyBuffer_FillInfo(view, self, self.map.data, <Py_ssize_t>self.length, 0, flags)


cdef object bytes_of(source):
    """Return a memoryview of the bytes of an object with the buffer protocol."""
    try:
        view = memoryview(source)
    except TypeError:
        raise TypeError("the source must be a path, a binary file object or an object with the "
                        f"buffer protocol, got {type(source).__name__}") from None
    return view.cast("B") if view.c_contiguous else memoryview(view.tobytes())


cdef bytes encode_path(path):
    """Return a path as the C core passes it to the system."""
    cdef bytes encoded
    if type(path) is bytes:
        encoded = path
    elif WINDOWS:
        encoded = (<str>path).encode("utf-8", "surrogatepass")
    else:
        try:
            encoded = PyUnicode_EncodeFSDefault(path)
        except UnicodeEncodeError as error:
            raise error_for("open", "the path has a character that no file name can have",
                            filename=path) from error
    if strlen(encoded) == <size_t>len(encoded):
        return encoded
    if type(path) is bytes:  # without a filename: it may be the content of a file
        raise error_for("open", "bytes are a path, and these contain a NUL byte: to read the "
                                "content of a file from memory, pass io.BytesIO(data)")
    raise error_for("open", "the path contains a NUL character", filename=path)
