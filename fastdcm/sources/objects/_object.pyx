# cython: auto_pickle=False, autotestdict=False
"""Objects of object stores and servers, as streams.

Compiled, because many threads each wait for a server and then hold the GIL until their next
request: the less they execute in between, the less they delay each other.
"""

cimport cython
from libc.stdint cimport int64_t

from fastdcm.errors import DicomError, error_for
from fastdcm.sources.numbers import known_size
from fastdcm.sources.objects.stores import check_process, locate, mtime_ns_of, server_error

cdef extern from "Python.h":
    str PyUnicode_DecodeFSDefaultAndSize(const char *path, Py_ssize_t length)
    bytes PyUnicode_EncodeFSDefault(str path)

# The last reads shorter than this are kept: headers within pixel data are read repeatedly.
cdef int64_t SHORT_READ = 1024
cdef enum:
    MAX_SHORT_READS = 8
# Longer reads are split into requests of this size, because the timeout is per request.
PIECE = 64 << 20


@cython.final
@cython.no_gc  # it holds no reference that leads back to it
cdef class Object:
    """An object of an object store or a server (see `fastdcm.sources.protocols.Stream`).

    Threads may share it.

    size, mtime_ns : as a listing reports them, or None. The time is in whole seconds, and None
        where the server does not report one that can be used.

    Methods raise DicomError: "open" for an object that is missing or forbidden, "stream" for
    a request that failed, "changed" for an object that was replaced since its first bytes
    were read.
    """

    cdef readonly str url
    cdef readonly bytes path
    cdef readonly object size, mtime_ns
    cdef object store
    cdef str name           # in the store
    cdef object version     # ETag, else the modification time: equal in all answers
    cdef object answer      # to the request of `prefetch`, until `open`,
    cdef object failure     # or the DicomError that it raised
    cdef bytes first        # the bytes that `prefetch` read
    cdef tuple short_reads  # (offset, bytes) of the last short reads

    def __init__(self, url, size=None, mtime_ns=None):
        if isinstance(url, bytes):
            self.url, self.path = PyUnicode_DecodeFSDefaultAndSize(url, len(url)), url
        else:
            self.url, self.path = url, PyUnicode_EncodeFSDefault(url)
        self.size, self.mtime_ns = size, mtime_ns
        self.short_reads = ()

    def open(self, int64_t first):
        """Set `size` and `mtime_ns`, and return the first bytes; None if the size is 0."""
        if self.size == 0:
            return None
        self.size = None
        if self.answer is None and self.failure is None:
            self.find()
            self.prefetch(first)
        answer, self.answer = self.answer, None
        failure, self.failure = self.failure, None
        if failure is not None:
            raise failure
        self.check(0, first, answer.meta, self.first)
        return self.first

    def read(self, int64_t offset, int64_t length):
        """Return the bytes [offset, offset + length)."""
        cdef int64_t start
        for start, data in self.reads():
            if start <= offset and offset + length <= start + len(data):
                return data[offset - start:offset - start + length]
        pieces = [self.get(at, min(PIECE, offset + length - at))
                  for at in range(offset, offset + length, PIECE)]
        if 0 < length < SHORT_READ:
            self.keep(offset, pieces[0])
        return b"".join(pieces)

    def get(self, int64_t offset, int64_t length):
        """Return the bytes from `offset` on, at most `length`, by one request."""
        self.find()
        answer, data = self.request(offset, length)
        self.check(offset, length, answer.meta, data)
        return data

    @cython.critical_section
    cdef tuple reads(self):
        """Return (offset, bytes) of what is in memory."""
        return self.short_reads if self.first is None else ((0, self.first), *self.short_reads)

    @cython.critical_section
    cdef int keep(self, int64_t offset, bytes data) except -1:
        """Keep a short read in memory, in place of the oldest."""
        oldest = max(0, len(self.short_reads) - MAX_SHORT_READS + 1)
        self.short_reads = (*self.short_reads[oldest:], (offset, data))
        return 0

    @cython.critical_section
    cdef int find(self) except -1:
        """Determine the store and the name in it."""
        check_process()
        if self.store is None:
            self.store, self.name = locate(self.url)
        return 0

    cdef int prefetch(self, int64_t first) except -1:
        """Read the first bytes for `open`, which raises the error if that fails."""
        try:
            self.answer, self.first = self.request(0, first)
        except DicomError as error:
            self.failure = error
        return 0

    cdef tuple request(self, int64_t offset, int64_t length):
        """Return (ObjectAnswer, bytes). `find` must have been called."""
        try:
            return self.store.get(self.name, offset, length)
        except (DicomError, ModuleNotFoundError, MemoryError):
            raise
        except Exception as error:
            raise server_error(error, self.url) from None

    @cython.critical_section
    cdef int check(self, int64_t offset, int64_t length, dict meta, bytes data) except -1:
        """Check that an answer is complete and of the same version as the first one."""
        size, changed = known_size(meta["size"]), mtime_ns_of(meta)
        if size is None:
            raise error_for("stream", f"the server states a size of {meta['size']} bytes", offset,
                            filename=self.url)
        version = meta["e_tag"] or changed
        if self.version is None and self.size in (None, size):
            self.version, self.size, self.mtime_ns = version, size, changed
        if version != self.version or size != self.size:
            raise error_for("changed", "the object was replaced while it was read", offset,
                            filename=self.url)
        cdef int64_t expected = max(min(length, <int64_t>size - offset), 0)
        if len(data) != expected:
            raise error_for("stream", f"the server sent {len(data)} of {expected} bytes", offset,
                            filename=self.url)
        return 0


def prefetch(list streams not None, int64_t first):
    """Read the first bytes of the objects among some streams, for their `open`.

    An error is raised by the `open` of the object that it concerns.
    """
    cdef Object one
    cdef list found = []
    for stream in streams:
        if type(stream) is Object:
            one = stream
            if one.size != 0:
                try:
                    one.find()
                    found.append(one)
                except DicomError as error:
                    one.failure = error
    for one in found:
        one.prefetch(first)
