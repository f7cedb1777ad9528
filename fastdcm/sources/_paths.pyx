# cython: auto_pickle=False, autotestdict=False
"""PathChunks of paths: directory walks, lists of files, archive members and streams.

Also compares two lists of files and assigns the rows of a table to their files.
"""

cimport cython
from cpython.buffer cimport PyBuffer_FillInfo
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.unicode cimport PyUnicode_DecodeUTF8
from libc.string cimport memchr, memcmp, memcpy, memset, strlen
from fastdcm.core.dcm cimport *
from fastdcm.core._memory cimport allocate, check_memory

import os
import sys

from fastdcm.sources.urls import is_url, local_path, path_bytes, path_text

cdef extern from "Python.h":
    const char *PyUnicode_AsUTF8AndSize(object text, Py_ssize_t *size) except NULL

cdef bint UTF8_PATHS = sys.getfilesystemencoding() == "utf-8"


@cython.final
cdef class PathChunk:
    """Paths that a Worker reads, stored one after another in one buffer."""

    def __cinit__(self):
        self.errors = []
        check_memory(dcm_grow(<void **>&self.offsets, &self.cap_offsets, 1, sizeof(uint64_t)))
        self.offsets[0] = 0

    def __dealloc__(self):
        dcm_free(self.data)
        dcm_free(self.parts)
        dcm_free(self.offsets)
        dcm_free(self.files.sizes)
        dcm_free(self.files.mtimes_ns)
        dcm_free(self.files.errnos)

    def __len__(self):
        return self.count

    def __getitem__(self, uint64_t i):
        """Return a path as bytes."""
        if i >= self.count:
            raise IndexError(f"path {i} of a chunk of {self.count}")
        return self.at(i).p[:self.at(i).n]

    def paths(self):
        """Return all paths as bytes."""
        return [self.at(i).p[:self.at(i).n] for i in range(self.count)]

    def stat(self):
        """Read the size and modification time of each path.

        Both are -1 where there is no file and for a directory that cannot be listed.
        Symbolic links are followed.
        """
        cdef int code
        self.allocate_files()
        with nogil:
            code = dcm_list_stat(&self.files)
        check_memory(code)

    @property
    def is_known(self):
        """Whether the sizes and times are known."""
        return self.files.sizes != NULL

    def columns(self):
        """Return the paths with their sizes and times as five buffers.

        These are the bytes of the paths one after another; n + 1 offsets into them (int64);
        n sizes in bytes (int64); n modification times in nanoseconds (int64); and the errno
        of each directory that cannot be listed, 0 for files (int32). ValueError when the
        sizes and times are not known.
        """
        if self.files.sizes == NULL:
            raise ValueError("the sizes and times are not known: call stat() first")
        cdef uint64_t n = self.count
        return (_ChunkBuffer.of(self, self.data, self.used),
                _ChunkBuffer.of(self, self.offsets, (n + 1) * sizeof(uint64_t)),
                _ChunkBuffer.of(self, self.files.sizes, n * sizeof(int64_t)),
                _ChunkBuffer.of(self, self.files.mtimes_ns, n * sizeof(int64_t)),
                _ChunkBuffer.of(self, self.files.errnos, n * sizeof(int32_t)))

    def mentions(self, bytes word not None):
        """Return False when no path contains these bytes."""
        return word in self.data[:self.used]

    def select(self, const uint8_t[::1] wanted not None):
        """Return the paths whose byte in `wanted` is not 0, or None if there are none.

        Sizes and times are not copied.
        """
        cdef PathChunk chosen = PathChunk()
        cdef uint64_t i
        if len(wanted) != self.count:
            raise ValueError(
                f"wanted must have {self.count} bytes, one per path, got {len(wanted)}")
        errors = {position: (code, sys_error) for position, code, sys_error in self.errors}
        for i in range(self.count):
            if wanted[i]:
                if i in errors:
                    chosen.errors.append((chosen.count, *errors[i]))
                chosen.append_span(self.at(i))
        chosen.finish()
        return chosen if chosen.count else None

    def part(self, uint64_t start, uint64_t stop):
        """Return the paths from `start` to `stop`, without sizes and times."""
        cdef PathChunk part = PathChunk()
        cdef uint64_t i
        if not start <= stop <= self.count:
            raise IndexError(f"paths {start} to {stop} of a chunk of {self.count}")
        for i in range(start, stop):
            part.append_span(self.at(i))
        part.errors = [(position - start, code, sys_error)
                       for position, code, sys_error in self.errors if start <= position < stop]
        part.finish()
        return part

    cdef int allocate_files(self) except -1:
        """Allocate the sizes and times, and store the errors of directories."""
        cdef dcm_list *files = &self.files
        if files.sizes == NULL:
            files.paths = <const char *>self.data
            files.ends = self.ends
            files.count = self.count
            files.mtimes_ns = <int64_t *>allocate(self.count * sizeof(int64_t))
            files.errnos = <int32_t *>allocate(self.count * sizeof(int32_t))
            files.sizes = <int64_t *>allocate(self.count * sizeof(int64_t))
            for position, _, sys_error in self.errors:
                files.errnos[<uint64_t>position] = sys_error
        return 0

    cdef int append(self, const char *p, uint64_t n) noexcept nogil:
        cdef int code = dcm_grow(<void **>&self.data, &self.capacity, self.used + n, 1)
        if code == DCM_OK:
            code = dcm_grow(<void **>&self.offsets, &self.cap_offsets, self.count + 2,
                            sizeof(uint64_t))
        if code == DCM_OK:
            self.ends = self.offsets + 1
            if n:
                memcpy(self.data + self.used, p, n)
            self.used += n
            self.ends[self.count] = self.used
            self.count += 1
        return code

    cdef int append_span(self, dcm_span s) except -1:
        return check_memory(self.append(s.p, s.n))

    cdef dcm_span at(self, uint64_t i) noexcept nogil:
        cdef dcm_span s
        cdef uint64_t begin = self.ends[i - 1] if i else 0
        s.p = <const char *>self.data + begin
        s.n = self.ends[i] - begin
        return s

    def urls(self):
        """Return the positions of the paths that are URLs."""
        cdef uint64_t i
        if not self.mentions(b"://"):
            return []
        failed = {position for position, _, _ in self.errors}
        return [i for i in range(self.count) if i not in failed and is_url(self[i])]

    def archives(self):
        """Return (position, path) of each path that names an archive or a member of one.

        Only the names are examined: see `is_archive` and `split_member_path`.
        """
        cdef dcm_span s
        cdef uint64_t i
        cdef bint may_be_member = memchr(self.data, c"!", self.used) != NULL if self.used else False
        found = []
        for i in range(self.count):
            s = self.at(i)
            if has_archive_suffix(s.p, s.n) or may_be_member and find_member_name(s.p, s.n, 0):
                found.append((i, s.p[:s.n]))
        failed = {position for position, _, _ in self.errors}
        return [(position, path) for position, path in found if position not in failed]

    cdef int finish(self) except -1:
        """Make the texts of the `path` column, where paths must be escaped for it."""
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
        self.display_paths = PathChunk()
        for i in range(self.count):
            s = self.at(i)
            text = path_text(s.p[:s.n]).encode()
            check_memory(self.display_paths.append(PyBytes_AS_STRING(text), len(text)))
        return 0


@cython.final
cdef class _ChunkBuffer:
    """Memory of a PathChunk with the buffer protocol."""
    cdef object owner
    cdef void *at
    cdef uint64_t size

    @staticmethod
    cdef _ChunkBuffer of(object owner, void *at, uint64_t size):
        cdef _ChunkBuffer buffer = _ChunkBuffer.__new__(_ChunkBuffer)
        buffer.owner, buffer.at, buffer.size = owner, at, size
        return buffer

    def __getbuffer__(self, Py_buffer *view, int flags):
        PyBuffer_FillInfo(view, self, self.at, <Py_ssize_t>self.size, 1, flags)


def chunk_from_paths(paths):
    """Return a PathChunk of paths: an iterable of str, bytes or os.PathLike."""
    cdef PathChunk chunk = PathChunk()
    cdef const char *p
    cdef Py_ssize_t n
    for path in paths:
        if type(path) is bytes:
            check_memory(chunk.append(PyBytes_AS_STRING(path), PyBytes_GET_SIZE(path)))
            continue
        if type(path) is not str:
            path = os.fspath(path)  # raises TypeError for other types
        if type(path) is str and UTF8_PATHS:
            try:
                p = PyUnicode_AsUTF8AndSize(path, &n)
                if n <= 4 or memcmp(p, b"file:", 5) != 0:
                    check_memory(chunk.append(p, n))
                    continue
            except UnicodeEncodeError:  # surrogates represent bytes
                pass
        path = local_path(path) if type(path) is str else os.fsencode(path)
        check_memory(chunk.append(PyBytes_AS_STRING(path), len(path)))
    chunk.finish()
    return chunk


def chunk_from_members(bytes archive not None, list members not None):
    """Return a PathChunk of the members that an archive stores uncompressed.

    members : tuples (name as bytes, offset, length).
    """
    cdef PathChunk chunk = PathChunk(), names = PathChunk()
    cdef bytes name
    cdef uint64_t i
    chunk.parts = <dcm_part *>dcm_alloc(max(len(members), 1) * sizeof(dcm_part))
    if chunk.parts == NULL:
        raise MemoryError
    for i, (member, offset, length) in enumerate(members):
        name = member_path(archive, member)
        check_memory(chunk.append(PyBytes_AS_STRING(archive), len(archive)))
        check_memory(names.append(PyBytes_AS_STRING(name), len(name)))
        chunk.parts[i].base = offset
        chunk.parts[i].length = length
    names.finish()
    chunk.display_paths = names if names.display_paths is None else names.display_paths
    return chunk


def member_path(bytes archive not None, bytes member not None):
    """Return the path of a member of an archive: ``a.zip!/IM0001``."""
    return archive + b"!/" + member


def split_member_path(bytes path not None):
    """Return the (archive, member) pairs that a path may denote, the shortest archive first."""
    cdef const char *p = PyBytes_AS_STRING(path)
    cdef uint64_t at = 0
    splits = []
    while True:
        at = find_member_name(p, len(path), at)
        if at == 0:
            return splits
        splits.append((path[:at - 2], path[at:]))


def is_archive(bytes path not None):
    """Return whether a path has the suffix of an archive, such as ``.zip`` or ``.gz``."""
    return has_archive_suffix(PyBytes_AS_STRING(path), len(path))


cdef const char *SUFFIXES[8]
SUFFIXES[:] = [b".zip", b".tar", b".tgz", b".gz", b".zst", b".bz2", b".xz", b".7z"]


cdef bint has_archive_suffix(const char *p, uint64_t n) noexcept nogil:
    cdef const char *query
    cdef int i
    cdef uint64_t k, length
    if n > 8 and memcmp(p, b"http", 4) == 0:  # without the query, which may be a signature
        query = <const char *>memchr(p, c"?", n)
        if query != NULL and memchr(query, c"!", n - (query - p)) == NULL:
            n = query - p
    if n < 4 or (p[n - 1] | 0x20) not in (c"p", c"r", c"z", c"t", c"2"):  # almost every path
        return False
    for i in range(8):
        length = strlen(SUFFIXES[i])
        k = 0
        while k < length <= n and (p[n - length + k] | 0x20) == (SUFFIXES[i][k] | 0x20):
            k += 1
        if k == length:
            return True
    return False


cdef uint64_t find_member_name(const char *p, uint64_t n, uint64_t start) noexcept nogil:
    """Return the position after the next "!/" that follows the name of an archive, or 0."""
    cdef const char *found
    while start < n:
        found = <const char *>memchr(p + start, c"!", n - start)
        if found == NULL:
            return 0
        start = found - p + 2
        if start <= n and found[1] == c"/" and has_archive_suffix(p, start - 2):
            return start
    return 0


@cython.final
cdef class MemberNames:
    """Gives different names to the members of an archive.

    The first member with a name keeps it; the next ones get ``name#2``, ``name#3`` and so
    on. The names depend only on the members before, so that a walk from the start always
    gives the same ones. Needs 8 to 16 bytes of memory for each member: only hashes are
    kept.
    """
    cdef uint64_t *hashes  # open addressing; 0: empty
    cdef uint64_t slots, used
    cdef dict last         # {hash of a repeated name: the number last given}

    def __cinit__(self):
        self.slots = 64
        self.hashes = <uint64_t *>allocate(self.slots * sizeof(uint64_t))
        memset(self.hashes, 0, self.slots * sizeof(uint64_t))
        self.last = {}

    def __dealloc__(self):
        dcm_free(self.hashes)

    def unique(self, bytes name not None):
        """Return the name, or if another member has it, the name with a number."""
        cdef int64_t hashed = hash(name)
        cdef uint64_t number
        if self.add(<uint64_t>hashed):
            return name
        number = self.last.get(hashed, 1) + 1
        while not self.add(<uint64_t><int64_t>hash(b"%s#%d" % (name, number))):
            number += 1
        self.last[hashed] = number
        return b"%s#%d" % (name, number)

    cdef bint add(self, uint64_t hashed) except -1:
        """Add a hash; return False if it was there."""
        cdef uint64_t *old = self.hashes
        cdef uint64_t i, slots = self.slots
        if 4 * self.used > 3 * slots:
            self.hashes = <uint64_t *>allocate(2 * slots * sizeof(uint64_t))
            memset(self.hashes, 0, 2 * slots * sizeof(uint64_t))
            self.slots *= 2
            for i in range(slots):
                if old[i]:
                    self.hashes[self.slot_of(old[i])] = old[i]
            dcm_free(old)
        hashed = hashed or 1
        i = self.slot_of(hashed)
        if self.hashes[i]:
            return False
        self.hashes[i] = hashed
        self.used += 1
        return True

    cdef uint64_t slot_of(self, uint64_t hashed) noexcept:
        """Return the slot that has the hash, or an empty one for it."""
        cdef uint64_t i = hashed & (self.slots - 1)
        while self.hashes[i] and self.hashes[i] != hashed:
            i = (i + 1) & (self.slots - 1)
        return i


@cython.final
cdef class StreamChunk:
    """Streams that a Worker reads (see `fastdcm.sources.protocols.Stream`).

    A DicomError or OSError that a stream raises becomes a row with an error. Several
    streams are opened before the first of them is read.

    prefetch : None, or a function that is called as ``prefetch(streams, first)`` with some
        of the streams before they are opened, and reads the first `first` bytes of each.
    """

    def __init__(self, list streams not None, prefetch=None):
        self.streams = streams
        self.prefetch = prefetch

    def __len__(self):
        return len(self.streams)


@cython.final
cdef class DeferredChunk:
    """Paths and streams that a Worker creates in its own thread.

    count : how many there are.
    make : a function that returns them as an iterable of PathChunk and StreamChunk.
    """

    def __init__(self, uint64_t count, make):
        self.count, self.make = count, make

    def __len__(self):
        return self.count


def chunk_from_columns(const uint8_t[::1] data not None, const int64_t[::1] offsets not None,
                       const int64_t[::1] sizes not None, const int64_t[::1] mtimes_ns not None,
                       const int32_t[::1] errnos not None):
    """Return the PathChunk that has these `columns`.

    They may be slices of the columns of a larger chunk: the first offset need not be 0.
    ValueError when they contradict each other.
    """
    cdef PathChunk chunk = PathChunk()
    cdef uint64_t i, first, last, count = len(sizes)
    if not len(offsets) == count + 1 == len(mtimes_ns) + 1 == len(errnos) + 1:
        raise ValueError("the columns of a list of files differ in length")
    first, last = offsets[0], offsets[count]
    for i in range(count):
        if not <uint64_t>offsets[i] <= <uint64_t>offsets[i + 1] <= <uint64_t>len(data):
            raise ValueError(
                f"offset {i + 1} of a list of files is out of order or past its {len(data)} bytes")
    check_memory(dcm_grow(<void **>&chunk.data, &chunk.capacity, last - first, 1))
    check_memory(dcm_grow(<void **>&chunk.offsets, &chunk.cap_offsets, count + 1, sizeof(uint64_t)))
    if last > first:
        memcpy(chunk.data, &data[0] + first, last - first)
    chunk.ends = chunk.offsets + 1
    for i in range(count):
        chunk.ends[i] = offsets[i + 1] - first
        if errnos[i]:
            chunk.errors.append((i, DCM_E_WALK, errnos[i]))
    chunk.used, chunk.count = last - first, count
    chunk.allocate_files()
    if count:
        memcpy(chunk.files.sizes, &sizes[0], count * sizeof(int64_t))
        memcpy(chunk.files.mtimes_ns, &mtimes_ns[0], count * sizeof(int64_t))
    chunk.finish()
    return chunk


SAME, CHANGED, ALONE = DCM_LIST_SAME, DCM_LIST_CHANGED, DCM_LIST_UNMATCHED


def compare(PathChunk old not None, uint64_t i, PathChunk new not None, uint64_t j):
    """Compare two lists of files, from path i of `old` and path j of `new` to the end of one.

    Both are in the order of a walk and have sizes and times. Returns one byte for each path
    that was compared, first those of `old`, then those of `new`: SAME, CHANGED (another
    size, time or error) or ALONE (the other list has no such path).
    """
    cdef uint64_t begin = i, begin_new = j
    if old.files.sizes == NULL or new.files.sizes == NULL:
        raise ValueError("the sizes and times are not known: call stat() first")
    if i > old.count or j > new.count:
        raise IndexError(f"paths {i} and {j} of chunks of {old.count} and {new.count}")
    cdef bytes marks = PyBytes_FromStringAndSize(NULL, old.count)
    cdef bytes marks_new = PyBytes_FromStringAndSize(NULL, new.count)
    cdef uint8_t *a = <uint8_t *>PyBytes_AS_STRING(marks)
    cdef uint8_t *b = <uint8_t *>PyBytes_AS_STRING(marks_new)
    with nogil:
        dcm_list_compare(&old.files, &i, a, &new.files, &j, b)
    return marks[begin:i], marks_new[begin_new:j]


cdef bint is_of(dcm_span row, dcm_span path) noexcept nogil:
    """Return whether a row describes the file at a path, or a member of it."""
    return (row.n >= path.n and memcmp(row.p, path.p, path.n) == 0
            and (row.n == path.n or row.n > path.n + 1 and memcmp(row.p + path.n, b"!/", 2) == 0))


cdef bint is_same(dcm_span a, dcm_span b) noexcept nogil:
    return a.n == b.n and memcmp(a.p, b.p, a.n) == 0


def owners(PathChunk files not None, uint64_t i, const int32_t[::1] offsets not None,
           const uint8_t[::1] data not None):
    """Return the position of the file that each row of a table describes.

    The rows are in the order of the files. A file has no row, one row or, if it is an
    archive, one row per member, with the path ``archive!/member``.

    i : the first file to consider.
    offsets, data : the buffers of the column ``path``, in Arrow's layout.

    The positions are returned as the bytes of uint32, up to the first row that describes
    none of the files.
    """
    cdef uint64_t row, rows = len(offsets) - 1
    cdef dcm_span text
    cdef bytes found = PyBytes_FromStringAndSize(NULL, rows * sizeof(uint32_t))
    cdef uint32_t *out = <uint32_t *>PyBytes_AS_STRING(found)
    for row in range(rows):
        if not 0 <= offsets[row] <= offsets[row + 1] <= len(data):
            raise ValueError(
                f"offset {row + 1} of the column `path` is out of order or past its "
                f"{len(data)} bytes")
        text.p = <const char *>&data[0] + offsets[row]
        text.n = offsets[row + 1] - offsets[row]
        if text.n > 4 and memcmp(text.p, b"file:", 5) == 0:
            name = path_bytes((<bytes>text.p[:text.n]).decode())
            text.p, text.n = PyBytes_AS_STRING(name), PyBytes_GET_SIZE(name)
        # There may be a directory `a.zip!` next to an archive `a.zip`.
        while i < files.count and (not is_of(text, files.at(i)) or i + 1 < files.count
                                   and is_same(text, files.at(i + 1))):
            i += 1
        if i == files.count:
            return found[:row * sizeof(uint32_t)]
        out[row] = i
    return found


@cython.final
cdef class Walk:
    """The files in a directory and below, in byte order of their paths."""
    cdef dcm_walk walk
    cdef bint ended

    def __init__(self, bytes directory not None, bint recursive=True):
        cdef dcm_error err
        check_memory(dcm_walk_start(&self.walk, directory, recursive, &err))

    def __dealloc__(self):
        dcm_walk_free(&self.walk)

    def read_chunk(self, uint64_t max_paths):
        """Return the next paths, at most `max_paths`, or None after the last.

        A directory that cannot be listed is a path with an error.
        """
        cdef PathChunk chunk = PathChunk()
        cdef dcm_error err
        cdef int code
        with nogil:
            while chunk.count < max_paths and not self.ended:
                code = dcm_walk_next(&self.walk, &err)
                if code == DCM_END:
                    self.ended = True
                    break
                if code != DCM_E_MEMORY:
                    if chunk.append(self.walk.path, self.walk.length) != DCM_OK:
                        code = DCM_E_MEMORY
                if code != DCM_OK:
                    with gil:
                        check_memory(code)
                        chunk.errors.append((chunk.count - 1, code, err.sys))
        if chunk.count == 0:
            return None
        chunk.finish()
        return chunk
