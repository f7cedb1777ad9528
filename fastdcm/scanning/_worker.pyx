# cython: auto_pickle=False, autotestdict=False
"""Workers: read the files of a chunk into batches.

A Worker reads without the GIL. It acquires it only for what C does not do: inflating,
text in one of the rarer character sets, and streams.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from fastdcm.core.dcm cimport *
from fastdcm.core._memory cimport check_memory
from fastdcm.scanning._batch cimport Batch, Plan
from fastdcm.sources._paths cimport DeferredChunk, PathChunk, StreamChunk
from fastdcm.core._file cimport File
from fastdcm.core._index cimport Index, open_part10
from fastdcm.core._values cimport Text, delimiters_of, text_of_value

from fastdcm import charset
from fastdcm.sources.numbers import known_size, known_time
from fastdcm.sources.streams import SeekableStream
from fastdcm.sources.urls import path_text
from fastdcm.errors import DicomError, error_for
from fastdcm.scanning.hashes import hash_of

# The most that is read of a stream for one row.
cdef uint64_t MAX_HEADER = 256 << 20
# Rows of fewer bytes are written without releasing the GIL: when many threads wait for
# servers, acquiring it again takes longer than the row.
cdef uint64_t SMALL_ROW = 65536


# Streams that are opened before their rows are written.
cdef enum:
    STREAMS_PER_GROUP = 64


cdef struct OpenedStream:
    dcm_span display_path
    dcm_range_list available
    dcm_range first
    uint64_t size
    int64_t mtime_ns
    bint failed


@cython.final
cdef class Worker:
    """Reads chunks of paths and streams into batches. For one thread at a time.

    Parameters
    ----------
    plan : Plan

    Attributes
    ----------
    bytes_read, failed : int
        The number of bytes that were read, and of files that could not be.
    """
    cdef dcm_reader reader
    cdef Plan plan
    cdef list borrowed          # Python objects whose memory the current row uses
    cdef uint64_t first         # bytes of a stream to read first
    cdef OpenedStream opened[STREAMS_PER_GROUP]
    cdef dcm_range *ranges      # of the current stream, if more than its first bytes were read
    cdef uint64_t cap_ranges
    cdef object stream          # the current one, or None
    cdef const dcm_part *part   # of the current file, or NULL
    cdef uint64_t fetched       # bytes of the current stream

    def __init__(self, Plan plan not None):
        self.plan = plan
        self.borrowed = []

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
        """Return the rows of a chunk in one batch, or in more.

        random : advise the system not to read ahead.
        limit : a batch ends when its columns have more than this number of bytes.
        """
        self.reader.random = random
        if isinstance(chunk, DeferredChunk):
            return [batch for one in chunk.make() for batch in self.run(one, random, limit)]
        if isinstance(chunk, StreamChunk):
            return self.run_streams(chunk, limit)
        return self.run_files(chunk, limit)

    cdef list run_streams(self, StreamChunk chunk, uint64_t limit):
        cdef Py_ssize_t begin
        cdef Batch batch = Batch(self.plan)
        batch.expect(len(chunk.streams))
        batches = [batch]
        self.first = max(self.reader.part10.first_read, 8192)
        for begin in range(0, len(chunk.streams), STREAMS_PER_GROUP):
            streams = chunk.streams[begin:begin + STREAMS_PER_GROUP]
            if chunk.prefetch is not None:
                chunk.prefetch(streams, self.first)
            self.run_group(batches, streams, limit)
        return batches

    cdef int run_group(self, list batches, list streams, uint64_t limit) except -1:
        """Open a group of streams, and then write their rows without the GIL.

        Holding the GIL for each row would delay other threads, which wait for servers.
        """
        cdef Batch batch = batches[len(batches) - 1]
        cdef const dcm_plan *plan = &self.plan.plan
        cdef uint64_t before = self.reader.bytes_read, fetched = 0
        cdef int i, count = len(streams), code = DCM_OK
        cdef bint hashing = len(self.plan.hashes) > 0
        cdef list opened = []
        cdef OpenedStream *one
        for i in range(count):
            self.open_stream(streams[i], &self.opened[i], opened)
        i = 0
        while i < count:
            if dcm_columns_fill(&batch.c) > limit:
                batch = Batch(self.plan)
                batches.append(batch)
            with nogil:
                while i < count and not self.opened[i].failed:
                    one = &self.opened[i]
                    code = dcm_columns_stream(&batch.c, plan, &self.reader, one.display_path,
                                              &one.available, one.size, one.mtime_ns)
                    if code != DCM_OK or hashing:
                        break
                    fetched += one.first.length
                    i += 1
                    if dcm_columns_fill(&batch.c) > limit:
                        break
            if i < count and (code != DCM_OK or hashing or self.opened[i].failed):
                self.finish_stream(batch, streams[i], &self.opened[i], code, opened[2 * i + 1])
                fetched += self.fetched
                code = DCM_OK
                i += 1
        self.reader.bytes_read = before + fetched
        return 0

    cdef int open_stream(self, stream, OpenedStream *one, list opened) except -1:
        """Append to `opened` its path, and its first bytes or the error that was raised."""
        cdef bytes path = path_text(stream.path).encode()
        cdef object data
        one.display_path.p = PyBytes_AS_STRING(path)
        one.display_path.n = PyBytes_GET_SIZE(path)
        one.available.ranges = &one.first
        one.available.count = one.first.offset = one.first.length = one.failed = 0
        try:
            data = stream.open(self.first)
            size, mtime_ns = known_size(stream.size), known_time(stream.mtime_ns)
            if size is None:
                raise error_for("stream", f"its size is {stream.size}, which no file has")
            one.size = size
            one.mtime_ns = DCM_NO_TIME if mtime_ns is None else mtime_ns
            if data is not None:
                one.first.data = <const uint8_t *>PyBytes_AS_STRING(<bytes?>data)
                one.first.length = PyBytes_GET_SIZE(data)
                one.available.count = 1
        except (DicomError, OSError) as error:
            data = error
            one.failed = 1
        opened.append(path)
        opened.append(data)
        return 0

    cdef int finish_stream(self, Batch batch, stream, OpenedStream *one, int code, error) except -1:
        """Complete the row of a stream.

        code : DCM_WAITING if the row needs something from Python.
        error : why the stream could not be opened, if so.
        """
        cdef dcm_error err
        cdef uint64_t row = batch.c.rows
        self.stream = stream
        self.fetched = one.first.length
        try:
            if one.failed:
                raise error
            while code == DCM_WAITING:
                if self.reader.state == DCM_READER_BYTES:
                    self.fetch(stream, one)
                code = self.resume(batch)
            check_memory(code)
            self.add_hashes(batch, True)
        except (DicomError, OSError) as error:
            fill_error(&err, error)
            if code == DCM_WAITING:
                code = dcm_columns_resume(&batch.c, &self.plan.plan, &self.reader, &err)
            else:
                code = dcm_columns_error(&batch.c, &self.plan.plan, &self.reader,
                                         one.display_path, &err)
            check_memory(code)
            if batch.c.rows > row:
                if isinstance(error, DicomError):
                    batch.details[row] = error.text
                elif not known_errno(error):
                    batch.details[row] = str(error)
            self.add_hashes(batch, False)
        finally:
            self.stream = None
            self.borrowed.clear()
        return 0

    cdef int fetch(self, stream, OpenedStream *one) except -1:
        """Read what the current row needs.

        At least as many bytes as have been read before, so that a few reads are enough.
        """
        cdef dcm_range_list *available = &one.available
        cdef uint64_t offset = available.need_offset, length = available.need_length
        length = min(max(length, self.fetched), one.size - offset)
        if self.fetched + length > MAX_HEADER:
            raise error_for("stream", f"its header is longer than {MAX_HEADER >> 20} MiB", offset)
        cdef bytes data = bytes(stream.read(offset, length))
        if <uint64_t>len(data) != length:
            raise error_for("changed", "it ended before its size was reached", offset + len(data))
        self.borrowed.append(data)
        check_memory(dcm_grow(<void **>&self.ranges, &self.cap_ranges, available.count + 1,
                              sizeof(dcm_range)))
        if available.ranges == &one.first and available.count:
            self.ranges[0] = one.first
        self.ranges[available.count].offset = offset
        self.ranges[available.count].length = length
        self.ranges[available.count].data = <const uint8_t *>PyBytes_AS_STRING(data)
        available.ranges = self.ranges
        available.count += 1
        self.fetched += length
        return 0

    cdef list run_files(self, PathChunk chunk, uint64_t limit):
        cdef Batch batch
        cdef const dcm_plan *plan = &self.plan.plan
        cdef PathChunk display = chunk.display_paths if chunk.display_paths is not None else chunk
        cdef uint64_t i = 0, stop
        cdef int code = DCM_OK
        cdef bint hashing = len(self.plan.hashes) > 0
        self.part = NULL
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
                    self.fail_folder(batch, display.at(i), code, sys_error)
                    self.add_hashes(batch, False)
                    i += 1
                    continue
                if hashing:  # each file while it is in the cache
                    stop = i + 1
                with nogil:
                    while i < stop:
                        code = dcm_columns_file(&batch.c, plan, &self.reader, chunk.at(i),
                                                display.at(i),
                                                &chunk.parts[i] if chunk.parts != NULL else NULL)
                        if code != DCM_OK:
                            break
                        i += 1
                        if i % 16 == 0 and dcm_columns_fill(&batch.c) > limit:
                            break
                if chunk.parts != NULL:
                    self.part = &chunk.parts[i if code == DCM_WAITING else i - 1]
                while code == DCM_WAITING:
                    code = self.resume(batch)
                    if code == DCM_OK:
                        i += 1
                if code != DCM_OK:
                    raise MemoryError
                if hashing:
                    self.add_hashes(batch, True)
                if dcm_columns_fill(&batch.c) > limit:
                    break
        return batches

    cdef int add_hashes(self, Batch batch, bint readable) except -1:
        """Hash the file of the row just written, if one was."""
        if self.plan.hashes and <uint64_t>len(batch.digests) < batch.c.rows:
            batch.digests.append(self.hashes(batch) if readable
                                 else (None,) * len(self.plan.hashes))
        return 0

    cdef tuple hashes(self, Batch batch):
        cdef File f
        try:
            f = self.current_file()
            if self.stream is None:
                f.open()
        except DicomError:
            return (None,) * len(self.plan.hashes)
        return tuple([hash_of(f, *self.span(batch, name, f.size)) for name in self.plan.hashes])

    cdef tuple span(self, Batch batch, str name, uint64_t size):
        """Return (offset, length) of what is hashed in the file of the last row."""
        cdef dcm_column *c = &batch.c.columns[
            batch.c.n_columns - (5 if self.plan.plan.pixels == DCM_PIXELS_OFFSETS else 4)]
        cdef uint64_t row = batch.c.rows - 1
        if name == "file_hash":
            return 0, size
        if self.reader.part10.deflated or not c.layers[0].valid[row]:
            return 0, None  # none of its bytes are pixel data
        return (<int64_t *>c.data)[row], (<int64_t *>c[1].data)[row]

    cdef int fail_folder(self, Batch batch, dcm_span display_path, int code,
                         int sys_error) except -1:
        cdef dcm_error err
        dcm_fail(&err, code, 0, 0)
        err.sys = sys_error
        return check_memory(dcm_columns_error(&batch.c, &self.plan.plan, &self.reader,
                                              display_path, &err))

    cdef int resume(self, Batch batch) except -1:
        """Do what C cannot for the current row, and resume it."""
        cdef dcm_error err
        cdef dcm_error *failed = NULL
        cdef uint64_t i
        cdef int code
        if self.reader.state == DCM_READER_INFLATE:
            if not self.inflate(&err):
                failed = &err
        elif self.reader.state == DCM_READER_TEXT:
            for i in range(self.reader.n_text_requests):
                if not self.reader.text_requests[i].done:
                    self.decode_text(&self.reader.text_requests[i])
        if self.fetched > SMALL_ROW:
            with nogil:
                code = dcm_columns_resume(&batch.c, &self.plan.plan, &self.reader, failed)
        else:
            code = dcm_columns_resume(&batch.c, &self.plan.plan, &self.reader, failed)
        if code != DCM_WAITING:
            self.borrowed.clear()
        return code

    cdef File current_file(self):
        if self.stream is not None:
            return File(SeekableStream(self.stream))
        if self.part != NULL:
            return File(<bytes>self.reader.path, (self.part.base, self.part.length))
        return File(<bytes>self.reader.path)

    cdef bint inflate(self, dcm_error *err) except -1:
        cdef File inner
        cdef dcm_bytes *inflated = &self.reader.inflated
        dcm_bytes_free(inflated)
        try:
            outer = self.current_file()
            inner = (<Index>open_part10(outer, self.plan.levels[1].stop, False)).file
        except DicomError as error:
            fill_error(err, error)
            return False
        for code, offset, tag in inner.notes[:1]:
            self.reader.note.code = code
            self.reader.note.offset = offset
            self.reader.note.tag = tag
        self.borrowed.append(inner)
        check_memory(dcm_bytes_borrow(inflated, inner.bytes.data, inner.bytes.total))
        return True

    cdef int decode_text(self, dcm_text_request *request) except -1:
        cdef const char *p = <const char *>self.reader.pool + request.value
        cdef const char *q = <const char *>self.reader.pool + request.charset
        cdef bytes text
        cdef Text charsets
        cdef int kind = dcm_vr_rows[request.vr].kind
        request.done = 1
        if kind == DCM_KIND_INT or kind == DCM_KIND_UINT or kind == DCM_KIND_FLOAT:
            text = numbers_text(
                <const uint8_t *>p, request.length, &dcm_vr_rows[request.vr], request.big
            )
        else:
            charsets = text_of_value(q[:request.charset_length])
            data = p[:request.length]
            if charsets.undefined:
                request.issue = DCM_I_CHARSET
            delimiters = delimiters_of(kind)
            try:
                decoded = charset.decode(data, charsets.encodings, delimiters, True)
            except UnicodeError:
                request.issue = DCM_I_TEXT
                decoded = charset.decode(data, charsets.encodings, delimiters)
            text = decoded.encode("utf-8", "replace")
        self.borrowed.append(text)
        request.text = PyBytes_AS_STRING(text)
        request.text_length = PyBytes_GET_SIZE(text)
        return 0


cdef int fill_error(dcm_error *err, error) except -1:
    """Fill a dcm_error from a DicomError or an OSError."""
    cdef int code = DCM_E_READ
    if not isinstance(error, DicomError):
        dcm_fail(err, code, 0, 0)
        err.sys = known_errno(error)
        return 0
    code = dcm_code_from_name(error.code.encode())
    if not DCM_E_MEMORY <= code < DCM_I_NO_PREAMBLE:  # only Python has this code
        code = DCM_E_READ
    dcm_fail(err, code, known_size(error.offset) or 0, 0)
    err.sys = known_errno(error)
    return 0


cdef int known_errno(error) except -1:
    """Return the error number of the system, 0 if it is not one."""
    number = error.errno
    return number if isinstance(number, int) and 0 <= number < 1 << 16 else 0


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
