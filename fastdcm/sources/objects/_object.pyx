"""Objects of servers, which are asked for many at a time by many threads.

What is done between two answers keeps other threads from theirs, and finds little
of itself in the caches: so it is done here, and as much as can be before and after.
"""

cimport cython
from libc.stdint cimport int64_t

from fastdcm.errors import DicomError, error_for
from fastdcm.sources.objects.stores import Store, check_process, mtime_ns, place_of, refusal

cdef extern from "Python.h":
    str PyUnicode_DecodeFSDefaultAndSize(const char *path, Py_ssize_t length)
    bytes PyUnicode_EncodeFSDefault(str path)

# Headers within pixel data are looked at more than once.
cdef int64_t SHORT = 1024
# More is asked for in pieces, each of which has the time that a request has.
PIECE = 64 << 20


@cython.final
@cython.no_gc  # nothing that it holds leads back to it
cdef class Object:
    """One object, a stream (see `fastdcm.sources._paths.Streams`).

    size : known already, or None. mtime_ns: whole seconds, 0 when the server
        does not tell them.

    Raises DicomError: "open" for what is missing or forbidden, "stream" for
    what a server did not give, "changed" when it is no longer what was read
    first. Threads may share it.
    """

    cdef readonly str url
    cdef readonly bytes path
    cdef readonly object size, mtime_ns
    cdef object place
    cdef str name           # in that place
    cdef object version     # ETag, or time: the same in every answer
    cdef object answer      # what `ask` got for `open`, with `first`,
    cdef object refused     # or the DicomError that came instead
    cdef bytes first        # bytes
    cdef tuple kept         # (offset, bytes) of some short reads, the last

    def __init__(self, url, size=None, mtime_ns=None):
        if isinstance(url, bytes):
            self.url, self.path = PyUnicode_DecodeFSDefaultAndSize(url, len(url)), url
        else:
            self.url, self.path = url, PyUnicode_EncodeFSDefault(url)
        self.size, self.mtime_ns = size, mtime_ns
        self.kept = ()

    def open(self, int64_t first):
        """Its first bytes, and with them what there is to know of it."""
        if self.size == 0:
            return None
        self.size = None
        if self.answer is None and self.refused is None:
            self.find()
            self.ask(first)
        answer, self.answer = self.answer, None
        refused, self.refused = self.refused, None
        if refused is not None:
            raise refused
        self.check(0, first, answer.meta, self.first)
        return self.first

    def read(self, int64_t offset, int64_t length):
        cdef int64_t start
        for start, data in self.held():
            if start <= offset and offset + length <= start + len(data):
                return data[offset - start:offset - start + length]
        pieces = [self.get(at, min(PIECE, offset + length - at))
                  for at in range(offset, offset + length, PIECE)]
        if 0 < length < SHORT:
            self.hold(offset, pieces[0])
        return b"".join(pieces)

    def get(self, int64_t offset, int64_t length):
        """These bytes, or as many as there are."""
        self.find()
        answer, data = self.request(offset, length)
        self.check(offset, length, answer.meta, data)
        return data

    @cython.critical_section
    cdef tuple held(self):
        return self.kept if self.first is None else ((0, self.first), *self.kept)

    @cython.critical_section
    cdef int hold(self, int64_t offset, bytes data) except -1:
        self.kept = (*self.kept[max(0, len(self.kept) - 7):], (offset, data))
        return 0

    @cython.critical_section
    cdef int find(self) except -1:
        check_process()
        if self.place is None:
            self.place, self.name = place_of(self.url)
        return 0

    cdef int ask(self, int64_t first) except -1:
        """For `open`, which tells what came of it."""
        try:
            self.answer, self.first = self.request(0, first)
        except DicomError as error:
            self.refused = error
        return 0

    cdef tuple request(self, int64_t offset, int64_t length):
        """(an answer, whose `meta` tells of the object, its bytes) of a place that was found."""
        try:
            if type(self.place) is Store:
                return ranged(self.place.obstore, self.place.store, self.name, offset, length)
            return self.place.get(self.name, offset, length)
        except (DicomError, ModuleNotFoundError, MemoryError):
            raise
        except Exception as error:
            raise refusal(error, self.url) from None

    @cython.critical_section
    cdef int check(self, int64_t offset, int64_t length, dict meta, bytes data) except -1:
        """The answer must be of what the first answer was of, and whole."""
        size, changed = meta["size"], mtime_ns(meta)
        version = meta["e_tag"] or changed
        if self.version is None and self.size in (None, size):
            self.version, self.size, self.mtime_ns = version, size, changed
        if version != self.version or size != self.size:
            raise error_for("changed", "it was replaced while it was read", offset, filename=self.url)
        cdef int64_t expected = max(min(length, <int64_t>size - offset), 0)
        if len(data) != expected:
            raise error_for("stream", f"{len(data)} bytes came where {expected} were asked for", offset,
                            filename=self.url)
        return 0


cdef tuple ranged(obstore, store, str name, int64_t offset, int64_t length):
    """(an answer, its bytes) by one request. A body is read as far as it was asked
    for, whatever comes."""
    for last in (False, False, True):
        try:
            answer = obstore.get(store, name, options={"range": (offset, offset + length)})
            pieces, start = answer.stream(length), offset
        except obstore.exceptions.NotSupportedError:  # the server sends all or nothing
            answer = obstore.get(store, name)
            pieces, start = answer.stream(65536), 0
        except obstore.exceptions.GenericError as error:
            if offset or "status code: 416" not in str(error):
                raise
            return obstore.get(store, name), b""  # it is empty
        try:
            return answer, cut(pieces, offset - start, length)
        except obstore.exceptions.BaseError:  # obstore goes on by itself where an ETag makes that safe
            if last or answer.meta["e_tag"]:
                raise


cdef bytes cut(pieces, int64_t offset, int64_t length):
    """The bytes [offset, offset + length) of what begins with `pieces`."""
    cdef int64_t at = 0
    cdef list parts = []
    for piece in pieces:
        if len(piece) == length and at == offset == 0:
            return piece
        parts.append(piece[max(offset - at, 0):max(offset + length - at, 0)])
        at += len(piece)
        if at >= offset + length:
            break
    return b"".join(parts)


def ask(list objects not None, int64_t first):
    """Gets the first bytes of objects, for their `open`, which tells what came of it."""
    cdef Object one
    cdef list asked = []
    for stream in objects:
        if type(stream) is Object:
            one = stream
            if one.size != 0:
                try:
                    one.find()
                    asked.append(one)
                except DicomError as error:
                    one.refused = error
    for one in asked:
        one.ask(first)
