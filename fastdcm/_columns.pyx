"""Paths to batches: walks, chunks of paths, and the workers that read them.

A Worker turns a Chunk of paths into Batches without the GIL; it takes it only
for what C does not do: inflating, and text in a rarer character set.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.unicode cimport PyUnicode_DecodeUTF8
from libc.string cimport memcmp, memcpy
from fastdcm.dcm cimport *
from fastdcm._arrow cimport *
from fastdcm._core cimport File, Index, open_part10
from fastdcm._values cimport Text, text_of_value

import os
import sys
from binascii import unhexlify

from fastdcm import charset
from fastdcm.errors import DicomError, error_for

cdef extern from "Python.h":
    const char *PyUnicode_AsUTF8AndSize(object text, Py_ssize_t *size) except NULL


# ------------------------------------------------------------------ paths ---

cdef bint UTF8_PATHS = sys.getfilesystemencoding() == "utf-8"


def path_text(bytes path not None):
    """A path's bytes as the ``path`` column gives them: UTF-8 as it stands.

    What is not UTF-8 becomes a file URI (RFC 8089) with percent-encoded bytes,
    ``file:///data/caf%E9.dcm``, or without the slashes ``file:caf%E9.dcm`` for
    a relative path; and so does a path that itself begins with ``file:``.
    `path_bytes` is the way back.
    """
    if not path.startswith(b"file:"):
        try:
            return path.decode()
        except UnicodeDecodeError:
            pass
    quoted = "".join(chr(c) if chr(c).isalnum() and c < 128 or c in b"/-._~" else f"%{c:02X}"
                     for c in path)
    return ("file://" if path.startswith(b"/") else "file:") + quoted


def path_bytes(str text not None):
    """The bytes of a path, as the system takes them, from a ``path`` column."""
    if not text.startswith("file:"):
        return os.fsencode(text) if os.name != "nt" else text.encode("utf-8", "surrogatepass")
    quoted = text[5:].encode("utf-8", "surrogateescape")
    if quoted.startswith(b"///"):
        quoted = quoted[2:]
    done, *parts = quoted.split(b"%")
    for part in parts:
        try:
            done += unhexlify(part[:2]) + part[2:]
        except ValueError:
            part = b""
        if len(part) < 2:  # no escape: the name of a file, after all
            return text.encode("utf-8", "surrogateescape")
    return done


@cython.final
cdef class Chunk:
    """Paths for a Worker, one after another in one buffer."""
    cdef uint8_t *data
    cdef uint64_t used, capacity
    cdef uint64_t *ends
    cdef uint64_t count, cap_ends
    cdef Chunk shown    # as the column gives them, where that differs
    cdef dcm_part *parts    # where members of an archive are, or NULL
    cdef list errors    # (position, code, errno) of folders that failed

    def __cinit__(self):
        self.errors = []

    def __dealloc__(self):
        dcm_free(self.data)
        dcm_free(self.ends)
        dcm_free(self.parts)

    def __len__(self):
        return self.count

    def paths(self):
        """The paths, as bytes."""
        return [self.at(i).p[:self.at(i).n] for i in range(self.count)]

    cdef int add(self, const char *p, uint64_t n) noexcept nogil:
        cdef int code = dcm_grow(<void **>&self.data, &self.capacity, self.used + n, 1)
        if code == DCM_OK:
            code = dcm_grow(<void **>&self.ends, &self.cap_ends, self.count + 1, sizeof(uint64_t))
        if code == DCM_OK:
            memcpy(self.data + self.used, p, n)
            self.used += n
            self.ends[self.count] = self.used
            self.count += 1
        return code

    cdef dcm_span at(self, uint64_t i) noexcept nogil:
        cdef dcm_span s
        cdef uint64_t begin = self.ends[i - 1] if i else 0
        s.p = <const char *>self.data + begin
        s.n = self.ends[i] - begin
        return s

    cdef int settle(self) except -1:
        """After the last path: what must be escaped for its column?"""
        cdef uint64_t i
        cdef dcm_span s
        cdef bint plain = True
        for i in range(self.count):
            s = self.at(i)
            if s.n > 4 and memcmp(s.p, b"file:", 5) == 0:
                plain = False
        try:
            PyUnicode_DecodeUTF8(<const char *>self.data, <Py_ssize_t>self.used, NULL)
        except UnicodeDecodeError:
            plain = False
        if plain:
            return 0
        self.shown = Chunk()
        for i in range(self.count):
            s = self.at(i)
            text = path_text(s.p[:s.n]).encode()
            enough(self.shown.add(PyBytes_AS_STRING(text), len(text)))
        return 0


def chunk_of(paths):
    """A Chunk of paths: a sequence of str, bytes or os.PathLike."""
    cdef Chunk chunk = Chunk()
    cdef const char *p
    cdef Py_ssize_t n
    for path in paths:
        if type(path) is not str:
            path = os.fspath(path)  # TypeError for what is no path
        if type(path) is str and UTF8_PATHS:
            try:
                p = PyUnicode_AsUTF8AndSize(path, &n)
                enough(chunk.add(p, n))
                continue
            except UnicodeEncodeError:  # surrogates stand for bytes
                path = path.encode("utf-8", sys.getfilesystemencodeerrors())
        path = os.fsencode(path)
        enough(chunk.add(PyBytes_AS_STRING(path), len(path)))
    chunk.settle()
    return chunk


def parts_of(bytes archive not None, list members not None):
    """A Chunk of members that stand in an archive as they are: tuples (name as
    bytes, offset, length)."""
    cdef Chunk chunk = Chunk(), names = Chunk()
    cdef bytes name
    cdef uint64_t i
    chunk.parts = <dcm_part *>dcm_alloc(max(len(members), 1) * sizeof(dcm_part))
    if chunk.parts == NULL:
        raise MemoryError
    for i, (member, offset, length) in enumerate(members):
        name = member_path(archive, member)
        enough(chunk.add(PyBytes_AS_STRING(archive), len(archive)))
        enough(names.add(PyBytes_AS_STRING(name), len(name)))
        chunk.parts[i].base = offset
        chunk.parts[i].length = length
    names.settle()
    chunk.shown = names if names.shown is None else names.shown
    return chunk


def member_path(bytes archive not None, bytes member not None):
    """The path of a member of an archive: ``a.zip!/IM0001``."""
    return archive + b"!/" + member


@cython.final
cdef class Streams:
    """Streams for a Worker: objects with

    - ``path``: bytes, as `path_text` takes them;
    - ``open(first)``: sets ``size`` and ``mtime_ns`` (ints); `first` bytes are
      asked for next;
    - ``read(offset, length)``: exactly these bytes;
    - ``close()``.

    A DicomError or OSError that they raise becomes a row in error. waiting:
    whether to read them is mostly to wait.
    """
    cdef readonly list streams
    cdef readonly bint waiting

    def __init__(self, list streams not None, bint waiting=False):
        self.streams = streams
        self.waiting = waiting

    def __len__(self):
        return len(self.streams)


class Seekable:
    """A stream, which is open, as a file object."""

    def __init__(self, stream):
        self.stream, self.at = stream, 0
        self.name = path_text(stream.path)

    def seek(self, offset, whence=0):
        self.at = offset + (self.stream.size if whence == 2 else self.at if whence else 0)
        return self.at

    def tell(self):
        return self.at

    def read(self, size=-1):
        left = max(self.stream.size - self.at, 0)
        size = left if size is None or size < 0 else min(size, left)
        data = self.stream.read(self.at, size)
        self.at += size
        return data

    def pread(self, size, offset):
        """As os.pread, so that threads do not get in each other's way."""
        return self.stream.read(offset, size)


@cython.final
cdef class Walk:
    """The files under a folder, in byte order of their paths."""
    cdef dcm_walk walk
    cdef bint ended

    def __init__(self, bytes folder not None, bint recursive=True):
        cdef dcm_error err
        enough(dcm_walk_start(&self.walk, folder, recursive, &err))

    def __dealloc__(self):
        dcm_walk_free(&self.walk)

    def take(self, uint64_t count):
        """A Chunk of the next paths, at most `count`; None after the last. A
        folder that cannot be listed is a path in error."""
        cdef Chunk chunk = Chunk()
        cdef dcm_error err
        cdef int code
        with nogil:
            while chunk.count < count and not self.ended:
                code = dcm_walk_next(&self.walk, &err)
                if code == DCM_NEED:
                    self.ended = True
                    break
                if code != DCM_E_MEMORY:
                    if chunk.add(self.walk.path, self.walk.length) != DCM_OK:
                        code = DCM_E_MEMORY
                if code != DCM_OK:
                    with gil:
                        enough(code)
                        chunk.errors.append((chunk.count - 1, code, err.sys))
        if chunk.count == 0:
            return None
        chunk.settle()
        return chunk


# ----------------------------------------------------------------- worker ---

# What is asked for of a stream in one row. A header that does not stand in it
# is none that anybody could want.
cdef uint64_t HEADER_MOST = 256 << 20
# Rows of less are made without letting go of the GIL: to get it back, when many
# threads wait for servers, takes longer.
cdef uint64_t LITTLE = 65536


@cython.final
cdef class Worker:
    """Turns Chunks and Streams into Batches. One thread at a time."""
    cdef dcm_reader reader
    cdef Plan plan
    cdef list kept     # what Python lent to the row at hand
    cdef dcm_given given        # of a stream: what is in memory of it
    cdef dcm_range *ranges
    cdef uint64_t cap_ranges
    cdef object stream          # the one at hand, or None
    cdef const dcm_part *part   # of the file at hand, or NULL
    cdef uint64_t fetched       # of it

    def __init__(self, Plan plan not None):
        self.plan = plan
        self.kept = []

    def __dealloc__(self):
        dcm_reader_free(&self.reader)
        dcm_free(self.ranges)

    @property
    def bytes_read(self):
        return self.reader.bytes_read

    @property
    def failed(self):
        return self.reader.failed

    def run(self, chunk not None, bint random=False, uint64_t limit=256 << 20):
        """The rows of a Chunk or of Streams, as a list of Batches: one, or more
        when columns get larger than `limit` bytes.

        random : tell the system not to read ahead.
        """
        self.reader.random = random
        if isinstance(chunk, Streams):
            return self.run_streams(chunk, limit)
        return self.run_files(chunk, limit)

    cdef list run_streams(self, Streams chunk, uint64_t limit):
        cdef Batch batch = Batch(self.plan)
        batches = [batch]
        for stream in chunk.streams:
            if dcm_columns_fill(&batch.c) > limit:
                batch = Batch(self.plan)
                batches.append(batch)
            self.run_stream(batch, stream)
        return batches

    cdef int run_stream(self, Batch batch, stream) except -1:
        cdef bytes shown = path_text(stream.path).encode()
        cdef dcm_span span
        cdef dcm_error err
        cdef uint64_t before = self.reader.bytes_read, row = batch.c.rows
        cdef uint64_t first = max(self.reader.part10.first_read, 8192), size
        cdef int64_t mtime_ns
        cdef int code = DCM_OK
        span.p = PyBytes_AS_STRING(shown)
        span.n = len(shown)
        self.given.count = self.fetched = 0
        self.stream = stream
        try:
            stream.open(first)
            size, mtime_ns = stream.size, stream.mtime_ns
            if size:
                self.given.need_offset, self.given.need_length = 0, min(first, size)
                self.fetch(stream, size)
            code = dcm_columns_stream(&batch.c, &self.plan.plan, &self.reader, span, &self.given,
                                      size, mtime_ns)
            while code == DCM_NEED:
                if self.reader.state == DCM_READER_BYTES:
                    self.fetch(stream, size)
                code = self.help(batch)
        except (DicomError, OSError) as error:
            fail_as(&err, error)
            if code == DCM_NEED:
                code = dcm_columns_resume(&batch.c, &self.plan.plan, &self.reader, &err)
            else:
                code = dcm_columns_error(&batch.c, &self.plan.plan, &self.reader, span, &err)
            if batch.c.rows > row:
                if isinstance(error, DicomError):
                    batch.told[row] = error.text
                elif not error.errno:
                    batch.told[row] = str(error)
        finally:
            self.stream = None
            self.kept.clear()
            stream.close()
        self.reader.bytes_read = before + self.fetched
        return enough(code)

    cdef int fetch(self, stream, uint64_t size) except -1:
        """Brings into memory what the row at hand waits for. After the first
        time as much as there is already, so that few times are enough."""
        cdef uint64_t offset = self.given.need_offset, length = self.given.need_length
        cdef const char *p
        length = min(max(length, self.fetched), size - offset)
        if self.fetched + length > HEADER_MOST:
            raise error_for("stream", f"its header does not stand in {HEADER_MOST >> 20} MiB of it", offset)
        cdef bytes data = bytes(stream.read(offset, length))
        if <uint64_t>len(data) != length:
            raise error_for("changed", "it ended before its size was reached", offset + len(data))
        self.kept.append(data)
        enough(dcm_grow(<void **>&self.ranges, &self.cap_ranges, self.given.count + 1, sizeof(dcm_range)))
        self.ranges[self.given.count].offset = offset
        self.ranges[self.given.count].length = length
        self.ranges[self.given.count].data = <const uint8_t *>PyBytes_AS_STRING(data)
        self.given.ranges = self.ranges
        self.given.count += 1
        self.fetched += length
        return 0

    cdef list run_files(self, Chunk chunk, uint64_t limit):
        cdef Batch batch
        cdef const dcm_plan *plan = &self.plan.plan
        cdef Chunk shown = chunk.shown if chunk.shown is not None else chunk
        cdef uint64_t i = 0, stop
        cdef int code = DCM_OK
        batches = []
        errors = list(chunk.errors)
        while i < chunk.count:
            batch = Batch(self.plan)
            batch.expect(chunk.count - i)
            batches.append(batch)
            while i < chunk.count:
                stop = errors[0][0] if errors else chunk.count
                if i == stop:
                    _, code, sys_error = errors.pop(0)
                    self.fail_folder(batch, shown.at(i), code, sys_error)
                    i += 1
                    continue
                with nogil:
                    while i < stop:
                        code = dcm_columns_file(&batch.c, plan, &self.reader, chunk.at(i), shown.at(i),
                                                &chunk.parts[i] if chunk.parts != NULL else NULL)
                        if code != DCM_OK:
                            break
                        i += 1
                        if i % 16 == 0 and dcm_columns_fill(&batch.c) > limit:
                            break
                while code == DCM_NEED:
                    self.part = NULL if chunk.parts == NULL else &chunk.parts[i]
                    code = self.help(batch)
                    if code == DCM_OK:
                        i += 1
                if code != DCM_OK:
                    raise MemoryError
                if dcm_columns_fill(&batch.c) > limit:
                    break
        return batches

    cdef int fail_folder(self, Batch batch, dcm_span shown, int code, int sys_error) except -1:
        cdef dcm_error err
        dcm_fail(&err, code, 0, 0)
        err.sys = sys_error
        return enough(dcm_columns_error(&batch.c, &self.plan.plan, &self.reader, shown, &err))

    cdef int help(self, Batch batch) except -1:
        """Does for one row what C cannot, and lets it go on."""
        cdef dcm_error err
        cdef dcm_error *failed = NULL
        cdef uint64_t i
        cdef int code
        if self.reader.state == DCM_READER_INFLATE:
            if not self.inflate(&err):
                failed = &err
        elif self.reader.state == DCM_READER_TEXT:
            for i in range(self.reader.n_asks):
                if not self.reader.asks[i].done:
                    self.answer(&self.reader.asks[i])
        if self.fetched > LITTLE:
            with nogil:
                code = dcm_columns_resume(&batch.c, &self.plan.plan, &self.reader, failed)
        else:
            code = dcm_columns_resume(&batch.c, &self.plan.plan, &self.reader, failed)
        if code != DCM_NEED:
            self.kept.clear()
        return code

    cdef File file_at_hand(self):
        if self.stream is not None:
            return File(Seekable(self.stream))
        if self.part != NULL:
            return File(<bytes>self.reader.path, (self.part.base, self.part.length))
        return File(<bytes>self.reader.path)

    cdef bint inflate(self, dcm_error *err) except -1:
        cdef File inner
        cdef dcm_bytes *inflated = &self.reader.inflated
        dcm_bytes_free(inflated)
        try:
            outer = self.file_at_hand()
            inner = (<Index>open_part10(outer, self.plan.levels[1].stop, False)).file
        except DicomError as error:
            fail_as(err, error)
            return False
        for code, offset, tag in inner.notes[:1]:
            self.reader.note.code = code
            self.reader.note.offset = offset
            self.reader.note.tag = tag
        self.kept.append(inner)
        enough(dcm_bytes_borrow(inflated, inner.bytes.data, inner.bytes.total))
        return True

    cdef int answer(self, dcm_ask *ask) except -1:
        cdef const char *p = <const char *>self.reader.pool + ask.value
        cdef const char *q = <const char *>self.reader.pool + ask.charset
        cdef bytes text
        cdef Text how
        cdef int kind = dcm_vr_rows[ask.vr].kind
        ask.done = 1
        if kind == DCM_KIND_INT or kind == DCM_KIND_UINT or kind == DCM_KIND_FLOAT:
            text = numbers_text(<const uint8_t *>p, ask.length, &dcm_vr_rows[ask.vr], ask.big)
        else:
            how = text_of_value(q[:ask.charset_length])
            data = p[:ask.length]
            if how.undefined:
                ask.issue = DCM_I_CHARSET
            try:
                decoded = charset.decode(data, how.encodings, strict=True)
            except UnicodeError:
                ask.issue = DCM_I_TEXT
                decoded = charset.decode(data, how.encodings)
            text = decoded.encode("utf-8", "replace")
        self.kept.append(text)
        ask.text = PyBytes_AS_STRING(text)
        ask.text_length = PyBytes_GET_SIZE(text)
        return 0


cdef int fail_as(dcm_error *err, error) except -1:
    """The dcm_error that tells of a DicomError or an OSError."""
    cdef int code, found = DCM_E_READ
    if not isinstance(error, DicomError):
        dcm_fail(err, found, 0, 0)
        err.sys = error.errno or 0
        return 0
    name = error.code.encode()
    for code in range(DCM_E_MEMORY, DCM_E_LAST):
        if dcm_code_name(code) == name:
            found = code
    dcm_fail(err, found, error.offset or 0, 0)
    err.sys = error.errno or 0
    return 0


cdef bytes numbers_text(const uint8_t *p, uint64_t n, const dcm_vr_row *v, int big):
    cdef uint64_t i
    values = []
    for i in range(n // v.unit):
        if v.kind == DCM_KIND_INT:
            values.append(dcm_load_int(p + i * v.unit, v.unit, big))
        elif v.kind == DCM_KIND_UINT:
            values.append(dcm_load_uint(p + i * v.unit, v.unit, big))
        else:
            values.append(dcm_load_float(p + i * v.unit, v.unit, big))
    return "\\".join(map(repr, values)).encode()
