"""Objects of servers, which are asked for many at a time by many threads.

What is done between two answers keeps other threads from theirs, and finds little
of itself in the caches: so it is done here, and as much as can be before and after.
"""

cimport cython

import os

from fastdcm.errors import DicomError, error_for
from fastdcm.stores import Store, check_process, mtime_ns, place_of, refusal

# Headers within pixel data are looked at more than once.
cdef int SHORT = 1024
# More is asked for in pieces, each of which has the time that a request has.
PIECE = 64 << 20


@cython.final
cdef class Object:
    """One object, a stream (see `fastdcm._chunks.Streams`).

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
    cdef tuple version      # size and ETag, or time: of every answer
    cdef object asked       # what `ask` got for `open`: an answer or a DicomError
    cdef tuple kept         # (offset, bytes) of short reads: the first, and some of the last

    def __init__(self, url, size=None, mtime_ns=None):
        if isinstance(url, bytes):
            self.url, self.path = os.fsdecode(url), url
        else:
            self.url, self.path = url, os.fsencode(url)
        self.size, self.mtime_ns = size, mtime_ns
        self.kept = ()

    def open(self, first):
        """Its first bytes, and with them what there is to know of it."""
        if self.size == 0:
            return None
        self.size = None
        asked, self.asked = self.asked, None
        if isinstance(asked, DicomError):
            raise asked
        answer, data = asked or self.answer(0, first)
        self.check(0, first, answer.meta, data)
        self.kept = ((0, data),)
        return data

    def read(self, offset, length):
        for start, data in self.short_reads():
            if start <= offset and offset + length <= start + len(data):
                return data[offset - start:offset - start + length]
        pieces = [self.get(at, min(PIECE, offset + length - at))
                  for at in range(offset, offset + length, PIECE)]
        if 0 < length < SHORT:
            self.keep(offset, pieces[0])
        return b"".join(pieces)

    def get(self, offset, length):
        """These bytes, or as many as there are."""
        answer, data = self.answer(offset, length)
        self.check(offset, length, answer.meta, data)
        return data

    @cython.critical_section
    cdef tuple short_reads(self):
        return self.kept

    @cython.critical_section
    cdef int keep(self, offset, bytes data) except -1:
        self.kept = (*self.kept[:1], *self.kept[max(1, len(self.kept) - 7):], (offset, data))
        return 0

    @cython.critical_section
    cdef int find(self) except -1:
        check_process()
        if self.place is None:
            self.place, self.name = place_of(self.url)
        return 0

    cdef tuple answer(self, offset, length):
        self.find()
        return self.ask(offset, length)

    cdef tuple ask(self, offset, length):
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
    cdef int check(self, offset, length, dict meta, bytes data) except -1:
        """The answer must be of what the first answer was of, and whole."""
        size, changed = meta["size"], mtime_ns(meta)
        version = size, meta["e_tag"] or changed
        if self.version is None and self.size in (None, size):
            self.version, self.size, self.mtime_ns = version, size, changed
        if version != self.version:
            raise error_for("changed", "it was replaced while it was read", offset, filename=self.url)
        expected = max(min(length, self.size - offset), 0)
        if len(data) != expected:
            raise error_for("stream", f"{len(data)} bytes came where {expected} were asked for", offset,
                            filename=self.url)
        return 0


cdef tuple ranged(obstore, store, str name, offset, length):
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


cdef bytes cut(pieces, offset, length):
    """The bytes [offset, offset + length) of what begins with `pieces`."""
    parts, at = [], 0
    for piece in pieces:
        if len(piece) == length and at == offset == 0:
            return piece
        parts.append(piece[max(offset - at, 0):max(offset + length - at, 0)])
        at += len(piece)
        if at >= offset + length:
            break
    return b"".join(parts)


def ask(list objects not None, first):
    """Gets the first bytes of objects, for their `open`, which tells what came of it."""
    cdef Object one
    cdef list asked = []
    for stream in objects:
        if type(stream) is Object:
            one = stream
            if one.size != 0:
                asked.append(one)
                try:
                    one.find()
                except DicomError as error:
                    one.asked = error
    for one in asked:
        if one.asked is None:
            try:
                one.asked = one.ask(0, first)
            except DicomError as error:
                one.asked = error
