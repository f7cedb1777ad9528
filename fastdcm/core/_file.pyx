"""Files and indexes: where the C core and Python meet.

`check` is the only place that raises from a code of the core.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cpython.buffer cimport PyBUF_SIMPLE, PyBUF_WRITABLE, PyBuffer_FillInfo, PyObject_GetBuffer, PyBuffer_Release
from libc.string cimport memcpy, memset, strlen
from fastdcm.core.dcm cimport *

import os
import zlib

from fastdcm.errors import Issue, error_for

cdef extern from "Python.h":
    bytes PyUnicode_EncodeFSDefault(object)

cdef bint WINDOWS = os.name == "nt"


cpdef str format_tag(uint32_t tag):
    return f"({tag >> 16:04X},{tag & 0xFFFF:04X})"


cdef int check(int code, const dcm_error *err, File file, str path) except -1:
    """Raises for a code that is an error. path: of the level that was read."""
    if code < DCM_E_MEMORY:
        return 0
    where = (path or "") + (format_tag(err.tag) if err.tag else "")
    raise error_for(dcm_code_name(code).decode(), dcm_code_text(code).decode(),
                    err.offset, where, file.path if file is not None else None,
                    err.sys)


# Files whose values are not all in memory keep their descriptor. Past this
# many the oldest is closed, and opened again by its path when needed.
cdef int OPEN_LIMIT = 256
cdef cython.pymutex open_lock
cdef void *newest = NULL
cdef void *oldest = NULL
cdef int open_count = 0


cdef void unlist(File f) noexcept:
    """Takes f out of the list of open files. Needs open_lock."""
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
    """Puts f in front, and closes the oldest idle file when there are too
    many. Needs open_lock."""
    global newest, oldest, open_count
    cdef void *at
    f.older = newest
    f.newer = NULL
    if newest != NULL:
        (<File>newest).newer = <void *>f
    else:
        oldest = <void *>f
    newest = <void *>f
    f.listed = True
    open_count += 1
    at = oldest
    while open_count > OPEN_LIMIT and at != NULL:
        if (<File>at).busy == 0 and at != <void *>f:
            dcm_file_close(&(<File>at).file)
            unlist(<File>at)
            return
        at = (<File>at).newer


@cython.final
@cython.freelist(8)
cdef class File:
    """A DICOM stream: a path, bytes in memory or a Python file object.

    Holds the bytes read so far and, while some values are not among them, the
    open descriptor. Every view of its data holds the File.
    """

    def __cinit__(self):
        self.file.handle = -1
        self.live = {}
        self.notes = []

    def __init__(self, source, member=None, path=None):
        """source: str, bytes or os.PathLike path, which `open` or `open_part10`
        opens; memoryview or bytearray; or an object with ``read``, ``seek``
        and ``tell``. member: (offset, length) of the part of a path's file that
        is meant, called `path`."""
        cdef dcm_error err
        cdef Py_buffer view
        cdef int code
        if type(source) is str or isinstance(source, (str, bytes)) or hasattr(source, "__fspath__"):
            self.path = source if type(source) is str else os.fspath(source)
            self.name = _path_bytes(self.path)
            if member is not None:
                self.member = member
                self.path = path
        elif hasattr(source, "read"):
            self.path = getattr(source, "name", None)
            if not isinstance(self.path, str):
                self.path = None
            if not hasattr(source, "seek"):
                raise TypeError("dcmread: the file object must have read, seek and tell")
            here = source.tell()
            if here:
                source = _Shifted(source, here)
            self.reader = source
            dcm_bytes_reset(&self.bytes, source.seek(0, 2))
        else:
            self.owner = memoryview(source).cast("B")
            PyObject_GetBuffer(self.owner, &view, PyBUF_SIMPLE)
            code = dcm_bytes_borrow(&self.bytes, view.buf, <uint64_t>view.len)
            PyBuffer_Release(&view)  # the memoryview in owner holds it
            dcm_fail(&err, code, 0, 0)
            check(code, &err, self, "")

    def __dealloc__(self):
        if self.listed:
            with open_lock:
                unlist(self)
        dcm_file_close(&self.file)
        dcm_bytes_free(&self.bytes)

    @property
    def size(self):
        """Size of the stream in bytes."""
        return self.bytes.total

    cdef int open_file(self, dcm_file *f, dcm_error *err):
        """dcm_file_open, and its part where the file is an archive."""
        cdef const char *name
        cdef uint64_t base = 0, length = 0
        cdef bint whole = self.member is None
        if self.name is None:
            self.name = _path_bytes(self.path)
        name = self.name
        if not whole:
            base, length = self.member
        cdef int code
        with nogil:
            code = dcm_file_open(f, name, err)
            if code == DCM_OK and not whole:
                code = dcm_file_narrow(f, base, length, err)
                if code != DCM_OK:
                    dcm_file_close(f)
        return code

    cdef int open(self) except -1:
        """Opens the file, for reads only where something is asked for."""
        cdef dcm_error err
        memset(&err, 0, sizeof(err))
        cdef int code = self.open_file(&self.file, &err)
        check(code, &err, self, "")
        dcm_bytes_reset(&self.bytes, self.file.size)
        return 0

    cdef const uint8_t *at(self, uint64_t offset, uint64_t length):
        """The bytes when they are in memory, else NULL."""
        return dcm_bytes_at(&self.bytes, offset, length)

    cdef int acquire(self) except -1:
        """Makes sure that the descriptor is open and stays so."""
        cdef dcm_error err
        cdef dcm_file again
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
            code = self.open_file(&again, &err)
            if code == DCM_OK and (again.size != self.file.size or
                                   again.mtime_ns != self.file.mtime_ns or
                                   again.inode != self.file.inode or
                                   again.device != self.file.device):
                dcm_file_close(&again)
                dcm_fail(&err, DCM_E_CHANGED, 0, 0)
                check(DCM_E_CHANGED, &err, self, "")
            check(code, &err, self, "")
        except BaseException:
            self.release()
            raise
        with open_lock:
            if self.file.handle == -1:
                self.file = again
                enlist(self)
            else:  # another thread was faster
                dcm_file_close(&again)
        return 0

    cdef void release(self):
        with open_lock:
            self.busy -= 1

    cdef int read_into(self, uint64_t offset, uint64_t length, void *into) except -1:
        """Exactly these bytes of the stream, from memory or from the file."""
        cdef const uint8_t *p = self.at(offset, length)
        cdef dcm_error err
        cdef int code
        if length == 0:
            return 0
        if p != NULL:
            memcpy(into, p, length)
            return 0
        if self.origin is not None:
            return self.origin.read_into(offset, length, into)
        memset(&err, 0, sizeof(err))
        if self.reader is not None:
            if hasattr(self.reader, "pread"):
                data = self.reader.pread(length, offset)
            else:
                self.reader.seek(offset)
                data = self.reader.read(length)
            if len(data) != length:
                dcm_fail(&err, DCM_E_CHANGED, offset + len(data), 0)
                check(DCM_E_CHANGED, &err, self, "")
            memcpy(into, PyBytes_AS_STRING(bytes(data)), length)
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
        """The bytes ``[offset, offset + length)`` of the stream."""
        if offset > self.bytes.total or length > self.bytes.total - offset:
            raise ValueError("read past the end of the stream")
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
        """Fills a writeable buffer with the bytes from `offset` on."""
        cdef Py_buffer view
        PyObject_GetBuffer(buffer, &view, PyBUF_WRITABLE)
        try:
            self.read_into(offset, <uint64_t>view.len, view.buf)
        finally:
            PyBuffer_Release(&view)

    cdef File part(self, uint64_t offset, uint64_t length):
        """A File that has these bytes in memory, at their own offsets."""
        cdef File f
        if length == 0 or self.at(offset, length) != NULL:
            return self
        f = self.part_of()
        f.take(offset, length, 0)
        return f

    cdef File twin(self):
        """A File with this one's first bytes in memory, free to take more of
        them in ascending order."""
        cdef File f = self.part_of()
        if self.bytes.n_segments:
            f.take(self.bytes.segments[0].offset, self.bytes.segments[0].length, 0)
        return f

    cdef File part_of(self):
        cdef File f = File.__new__(File)
        f.origin = self if self.origin is None else self.origin
        f.path = self.path
        f.transfer_syntax = self.transfer_syntax
        f.live = self.live
        f.notes = self.notes
        dcm_bytes_reset(&f.bytes, self.bytes.total)
        return f

    cdef int take(self, uint64_t offset, uint64_t length, int transient) except -1:
        """Reads bytes of the origin, or of the file object, into memory."""
        cdef uint8_t *room
        cdef dcm_error err
        cdef int code = dcm_bytes_reserve(&self.bytes, length, &room)
        if code == DCM_OK:
            self.read_into(offset, length, room)
            code = dcm_bytes_commit(&self.bytes, offset, length, transient)
        dcm_fail(&err, code, offset, 0)
        return check(code, &err, self, "")

    cdef int extend(self, uint64_t offset, uint64_t length, int transient) except -1:
        """Brings bytes into memory that an index asks for, and some more."""
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
        return self.take(offset, end - offset, transient)

    cdef int note(self, int code, uint64_t offset, uint32_t tag) except -1:
        """Keeps an issue found while decoding a value, once."""
        if self.origin is not None:
            return self.origin.note(code, offset, tag)
        cdef tuple note = (code, offset, tag)
        if self.noted is None:
            self.noted = set()
        if note not in self.noted:
            self.noted.add(note)
            self.notes.append(note)
        return 0

    def note_issue(self, str name, uint64_t offset, uint32_t tag):
        """Keeps an issue by the name of its code, once."""
        cdef int code = dcm_code_from_name(name.encode())
        if code < DCM_I_NO_PREAMBLE:
            raise ValueError(f"no issue is called {name!r}")
        self.note(code, offset, tag)

    def load(self):
        """Brings the whole stream into memory and lets go of the file."""
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
        self.let_go()

    def close(self):
        """Lets go of the file; values not in memory are lost."""
        self.closed = True
        self.let_go()

    cdef let_go(self):
        with open_lock:
            unlist(self)
            if self.busy == 0:
                dcm_file_close(&self.file)

    def map(self, uint64_t offset, uint64_t length):
        """A private, writeable (copy-on-write) mapping of these bytes of the
        file, as an object with the buffer protocol."""
        if self.origin is not None:
            return self.origin.map(offset, length)
        return Map(self, offset, length)

    @property
    def is_open(self):
        """Whether a descriptor is held."""
        return self.file.handle != -1

    @property
    def mappable(self):
        """Whether the stream is a file of its own on disk."""
        return self.reader is None and self.owner is None and self.path is not None

    @property
    def shareable(self):
        """Whether threads can read from it at once."""
        return self.mappable or hasattr(self.reader, "pread")

    def __reduce__(self):
        raise TypeError("a File cannot be pickled; pickle its Dataset")


@cython.final
cdef class Map:
    """A copy-on-write mapping of a part of a file, alive as long as its views."""
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


class _Shifted:
    """A file object whose stream begins where it stood."""

    def __init__(self, reader, start):
        self._reader, self._start = reader, start

    def seek(self, offset, whence=0):
        if whence == 2:
            return self._reader.seek(offset, 2) - self._start
        return self._reader.seek(offset + self._start) - self._start

    def read(self, size):
        return self._reader.read(size)


cdef bytes _path_bytes(path):
    cdef bytes encoded
    if type(path) is bytes:
        encoded = path
    elif WINDOWS:
        encoded = (<str>path).encode("utf-8", "surrogatepass")
    else:
        encoded = PyUnicode_EncodeFSDefault(path)
    if strlen(encoded) != <size_t>len(encoded):
        raise ValueError("embedded null byte in path")
    return encoded


@cython.final
@cython.freelist(16)
cdef class Index:
    """The rows of one data set level."""

    def __dealloc__(self):
        dcm_index_free(&self.ix)

    def __len__(self):
        return self.ix.count

    cdef int run(self) except -1:
        """Completes the index, reading what is not in memory."""
        cdef dcm_error err
        cdef int code
        memset(&err, 0, sizeof(err))
        while True:
            code = dcm_index_run(&self.ix, &self.file.bytes, &err)
            if code != DCM_NEED:
                return check(code, &err, self.file, "")
            if self.file.origin is None:  # others read it: extend one of our own
                self.file = self.file.twin()
            self.file.extend(self.ix.need_offset, self.ix.need_length,
                             self.ix.need_mode)

    cdef const dcm_row *find(self, uint32_t tag):
        return dcm_index_find(&self.ix, tag)

    def issues(self):
        """The repairs, as tuples (code number, offset, tag)."""
        return [(self.ix.issues[i].code, self.ix.issues[i].offset, self.ix.issues[i].tag)
                for i in range(self.ix.n_issues)]

    def rows(self):
        """The rows, as tuples (tag, vr, offset, length, header, flags)."""
        return [(r.tag, r.vr, r.offset, r.length, r.header, r.flags)
                for r in self.ix.rows[:self.ix.count]]


def issue_of(int code, uint64_t offset, uint32_t tag, str path=""):
    """The Issue, for people, of a code that the core noted."""
    where = path + (format_tag(tag) if tag else "")
    return Issue(dcm_code_name(code).decode(), where, offset,
                 dcm_code_text(code).decode())


cdef Index index_level(File f, uint64_t begin, uint64_t end, int encoding):
    cdef Index index = Index.__new__(Index)
    index.file = f.part(begin, end - begin)
    dcm_index_start(&index.ix, begin, end, encoding, 0xFFFFFFFF, DCM_ONE_LEVEL)
    index.run()
    return index


# Memory for the header that is read next. What is kept of a header is copied
# out of it, in just the memory that it takes.
cdef struct scratch:
    dcm_part10 part
    dcm_bytes bytes

cdef scratch spare
memset(&spare, 0, sizeof(spare))
cdef uint64_t SPARE_MOST = 1 << 20


cdef void borrow_spare(scratch *s) noexcept:
    with open_lock:
        s[0] = spare
        memset(&spare, 0, sizeof(spare))
        spare.part.first_read = s.part.first_read


cdef void return_spare(scratch *s) noexcept:
    global spare
    cdef scratch other = s[0]
    if s.bytes.capacity <= SPARE_MOST and s.part.data.capacity * sizeof(dcm_row) <= SPARE_MOST:
        with open_lock:
            other = spare
            spare = s[0]
    dcm_part10_free(&other.part)
    dcm_bytes_free(&other.bytes)


cpdef Index open_part10(File f, uint32_t stop, bint force):
    """Opens a stream and indexes it up to the last tag at or below `stop`. The
    index of the data set is returned; f.meta is that of group 0002."""
    cdef scratch s
    cdef dcm_part10 *p = &s.part
    cdef dcm_error err
    cdef uint64_t offset = 0, length = 0, total = f.bytes.total
    cdef int code
    cdef dcm_read_mode mode = DCM_READ_KEEP
    cdef Index meta = Index.__new__(Index), data = Index.__new__(Index)
    memset(&err, 0, sizeof(err))
    borrow_spare(&s)
    try:
        if not f.bytes.borrowed:
            f.bytes = s.bytes
            dcm_bytes_reset(&f.bytes, total)
            memset(&s.bytes, 0, sizeof(s.bytes))
        if f.name is not None:
            code = f.open_file(&f.file, &err)
            if code == DCM_OK:
                dcm_bytes_reset(&f.bytes, f.file.size)
                dcm_part10_start(p, f.file.size, stop, force)
                with nogil:
                    code = dcm_part10_read(p, &f.bytes, &f.file, &err)
        else:
            dcm_part10_start(p, total, stop, force)
            while True:
                code = dcm_part10_run(p, &f.bytes, &offset, &length, &mode, &err)
                if code != DCM_NEED:
                    break
                f.extend(offset, length, mode)
        if code == DCM_OK:
            code = dcm_index_move(&meta.ix, &p.meta)
        if code == DCM_OK and p.deflated:
            dcm_bytes_truncate(&f.bytes, p.data_begin)
        elif code == DCM_OK:
            code = dcm_index_move(&data.ix, &p.data)
            cut(&f.bytes, &data.ix)
        if not f.bytes.borrowed:
            s.bytes = f.bytes
            memset(&f.bytes, 0, sizeof(f.bytes))
            if code == DCM_OK:
                code = dcm_bytes_copy(&f.bytes, &s.bytes)
        check(code, &err, f, "")
        f.encoding = p.encoding
        f.deflated = p.deflated
        if p.preamble:
            f.preamble = PyBytes_FromStringAndSize(<const char *>f.at(0, 128), 128)
        if p.transfer_syntax[0]:
            f.transfer_syntax = p.transfer_syntax.decode("latin-1")
        offset = p.data_begin
    finally:
        return_spare(&s)
    f.meta = meta  # without its file, which holds it
    data.file = f
    if f.deflated:
        data = inflate(f, offset, stop)
    let_go_or_list(f, data)
    return data


cdef void cut(dcm_bytes *b, const dcm_index *ix) noexcept:
    """Keeps only the header's bytes, not those behind values that were jumped
    over."""
    cdef uint64_t i = ix.count, end = b.total
    cdef const dcm_row *row
    if ix.count and ix.state == DCM_INDEX_STOPPED:
        row = &ix.rows[ix.count - 1]
        if dcm_bytes_at(b, row.offset, row.length) != NULL:
            end = ix.pos
    dcm_bytes_truncate(b, end)
    while i > 0:  # from the last, so that little moves
        i -= 1
        row = &ix.rows[i]
        if dcm_bytes_at(b, row.offset, row.length) == NULL:
            dcm_bytes_truncate(b, row.offset)
        if b.n_segments < 2:
            break


cdef let_go_or_list(File f, Index data):
    """Keeps the descriptor only while there are values that are not in memory."""
    if f.file.handle == -1:
        return
    if data.file is not f or (f.bytes.n_segments == 1 and
                              f.bytes.segments[0].length >= data.ix.pos):
        dcm_file_close(&f.file)
    else:
        with open_lock:
            enlist(f)


# PS3.5 A.5. Deflate can do 1 : 1032; a data set beyond 1 : 100 and 32 MiB was
# not made to be read.
cdef uint64_t INFLATE_FREE = 32 << 20
cdef uint64_t INFLATE_RATIO = 100


cdef Index inflate(File f, uint64_t begin, uint32_t stop):
    """The index of a deflated data set, over its inflated bytes."""
    cdef dcm_error err
    memset(&err, 0, sizeof(err))
    cdef uint64_t at = begin, limit
    limit = max(INFLATE_FREE, (f.bytes.total - begin) * INFLATE_RATIO)
    inflater = zlib.decompressobj(-15)
    if f.read(begin, 1) == b"\x78":
        inflater = zlib.decompressobj()  # a zlib header, against PS3.5 A.5
    plain = bytearray()
    damaged = False
    while at < f.bytes.total and not inflater.eof and not damaged:
        data = f.read(at, min(1 << 16, f.bytes.total - at))
        at += len(data)
        # A pad byte may stay behind the end; output may wait without input.
        while not inflater.eof and not damaged:
            try:
                chunk = inflater.decompress(data, 1 << 20)
            except zlib.error:
                damaged = True
                break
            plain += chunk
            data = inflater.unconsumed_tail
            if not chunk and not data:
                break
            if len(plain) > limit:
                dcm_fail(&err, DCM_E_INFLATE_LIMIT, at, 0)
                check(DCM_E_INFLATE_LIMIT, &err, f, "")
    if damaged and not plain:
        dcm_fail(&err, DCM_E_DEFLATE, at, 0)
        check(DCM_E_DEFLATE, &err, f, "")
    if damaged or not inflater.eof:
        f.note(DCM_E_DEFLATE, at, 0)
    cdef File inner = File(memoryview(plain))
    inner.path = f.path
    inner.notes = f.notes
    cdef Index index = Index.__new__(Index)
    index.file = inner
    dcm_index_start(&index.ix, 0, len(plain), f.encoding, stop, DCM_ONE_LEVEL)
    index.run()
    return index
