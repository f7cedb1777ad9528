# cython: auto_pickle=False, autotestdict=False
"""Read a byte range of an object with obstore (RFC 9110, section 14).

Compiled, because the threads of a scan run this between two requests while they hold the GIL.
"""

from libc.stdint cimport int64_t


def read_range(obstore, store, str name, int64_t offset, int64_t length):
    """Return (the answer of the server, at most `length` bytes at `offset`).

    obstore : the module.
    store : the obstore store that has the object.

    No more of the answer is read than was requested, however long it is.
    """
    for last in (False, False, True):
        try:
            answer = obstore.get(store, name, options={"range": (offset, offset + length)})
            pieces, start = answer.stream(length), offset
        except obstore.exceptions.NotSupportedError:  # the server ignores ranges
            answer = obstore.get(store, name)
            pieces, start = answer.stream(65536), 0
        except obstore.exceptions.GenericError as error:
            if offset or "status code: 416" not in str(error):
                raise
            return obstore.get(store, name), b""  # the object is empty
        try:
            return answer, slice_of(pieces, offset - start, length)
        except obstore.exceptions.BaseError:
            # With an ETag obstore has already resumed the download as often as it may.
            if last or answer.meta["e_tag"]:
                raise


cdef bytes slice_of(pieces, int64_t offset, int64_t length):
    """Return the bytes [offset, offset + length) of the concatenated pieces."""
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
