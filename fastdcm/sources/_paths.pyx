"""Paths to be read, in chunks: walks and lists of files, what has changed between
two lists, members of archives, and streams."""

cimport cython
from cpython.buffer cimport PyBuffer_FillInfo
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.unicode cimport PyUnicode_DecodeUTF8
from libc.string cimport memchr, memcmp, memcpy, strlen
from fastdcm.core.dcm cimport *
from fastdcm.core._memory cimport allocate, check_memory

import os
import sys
from binascii import unhexlify

cdef extern from "Python.h":
    const char *PyUnicode_AsUTF8AndSize(object text, Py_ssize_t *size) except NULL

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


cdef bint is_letter(char c) noexcept nogil:
    return c"a" <= (c | 32) <= c"z"


cdef bint is_url_at(dcm_span s) noexcept nogil:
    cdef uint64_t i = 0
    while i < s.n and (is_letter(s.p[i]) or i and s.p[i] in b"0123456789+.-"):
        i += 1
    return (i > 1 and s.n - i > 2 and memcmp(s.p + i, <const char *>b"://", 3) == 0
            and not (i == 4 and memcmp(s.p, <const char *>b"file", 4) == 0))


def is_url(path):
    """Whether a path is one that is read from a server: str or bytes with a scheme
    (RFC 3986 3.1), but no file URI."""
    cdef dcm_span s
    if isinstance(path, str):
        if "://" not in path:
            return False
        path = os.fsencode(path)
    if not isinstance(path, bytes):
        return False
    s.p = PyBytes_AS_STRING(path)
    s.n = PyBytes_GET_SIZE(path)
    return is_url_at(s)


@cython.final
cdef class Chunk:
    """Paths for a Worker, one after another in one buffer."""

    def __cinit__(self):
        self.errors = []
        check_memory(dcm_grow(<void **>&self.offsets, &self.cap_offsets, 1, sizeof(uint64_t)))
        self.offsets[0] = 0

    def __dealloc__(self):
        dcm_free(self.data)
        dcm_free(self.parts)
        dcm_free(self.offsets)
        dcm_free(self.list.sizes)
        dcm_free(self.list.mtimes_ns)
        dcm_free(self.list.errnos)

    def __len__(self):
        return self.count

    def __getitem__(self, uint64_t i):
        """A path, as bytes."""
        if i >= self.count:
            raise IndexError("there is no such path")
        return self.at(i).p[:self.at(i).n]

    def paths(self):
        """The paths, as bytes."""
        return [self.at(i).p[:self.at(i).n] for i in range(self.count)]

    def stat(self):
        """Finds out the size and time of each path: -1 and -1 where nothing is
        and for a folder that could not be listed. Links are followed."""
        cdef int code
        self.make_list()
        with nogil:
            code = dcm_list_stat(&self.list)
        check_memory(code)

    @property
    def is_known(self):
        """Whether there are sizes and times."""
        return self.list.sizes != NULL

    def columns(self):
        """What `stat` found, as buffers in the layout of Arrow: (the paths'
        bytes one after another, n + 1 offsets into them as int64, n sizes and
        n times in nanoseconds as int64, n errnos of folders that could not be
        listed as int32, 0 for files)."""
        if self.list.sizes == NULL:
            raise ValueError("the sizes and times are not known")
        cdef uint64_t n = self.count
        return (_Lent.of(self, self.data, self.used),
                _Lent.of(self, self.offsets, (n + 1) * sizeof(uint64_t)),
                _Lent.of(self, self.list.sizes, n * sizeof(int64_t)),
                _Lent.of(self, self.list.mtimes_ns, n * sizeof(int64_t)),
                _Lent.of(self, self.list.errnos, n * sizeof(int32_t)))

    def mentions(self, bytes word not None):
        """False when none of the paths has these bytes in it."""
        return word in self.data[:self.used]

    def select(self, const uint8_t[::1] wanted not None):
        """A Chunk of the paths whose byte in `wanted` is not 0, without sizes
        and times; None when there is none."""
        cdef Chunk chosen = Chunk()
        cdef uint64_t i
        if len(wanted) != self.count:
            raise ValueError("one byte for each path")
        errors = {position: (code, sys_error) for position, code, sys_error in self.errors}
        for i in range(self.count):
            if wanted[i]:
                if i in errors:
                    chosen.errors.append((chosen.count, *errors[i]))
                chosen.take(self.at(i))
        chosen.settle()
        return chosen if chosen.count else None

    def part(self, uint64_t start, uint64_t stop):
        """A Chunk of the paths from `start` to `stop`, without sizes and times."""
        cdef Chunk part = Chunk()
        cdef uint64_t i
        if not start <= stop <= self.count:
            raise IndexError("there are no such paths")
        for i in range(start, stop):
            part.take(self.at(i))
        part.errors = [(position - start, code, sys_error)
                       for position, code, sys_error in self.errors if start <= position < stop]
        part.settle()
        return part

    cdef int make_list(self) except -1:
        """Room for what `stat` finds, and the errors of folders in it."""
        cdef dcm_list *l = &self.list
        if l.sizes == NULL:
            l.paths = <const char *>self.data
            l.ends = self.ends
            l.count = self.count
            l.mtimes_ns = <int64_t *>allocate(self.count * sizeof(int64_t))
            l.errnos = <int32_t *>allocate(self.count * sizeof(int32_t))
            l.sizes = <int64_t *>allocate(self.count * sizeof(int64_t))
            for position, _, sys_error in self.errors:
                l.errnos[<uint64_t>position] = sys_error
        return 0

    cdef int add(self, const char *p, uint64_t n) noexcept nogil:
        cdef int code = dcm_grow(<void **>&self.data, &self.capacity, self.used + n, 1)
        if code == DCM_OK:
            code = dcm_grow(<void **>&self.offsets, &self.cap_offsets, self.count + 2,
                            sizeof(uint64_t))
        if code == DCM_OK:
            self.ends = self.offsets + 1
            memcpy(self.data + self.used, p, n)
            self.used += n
            self.ends[self.count] = self.used
            self.count += 1
        return code

    cdef int take(self, dcm_span s) except -1:
        return check_memory(self.add(s.p, s.n))

    cdef dcm_span at(self, uint64_t i) noexcept nogil:
        cdef dcm_span s
        cdef uint64_t begin = self.ends[i - 1] if i else 0
        s.p = <const char *>self.data + begin
        s.n = self.ends[i] - begin
        return s

    def urls(self):
        """The positions of paths that are URLs."""
        if not self.mentions(b"://"):
            return []
        failed = {position for position, _, _ in self.errors}
        return [i for i in range(self.count) if is_url_at(self.at(i)) and i not in failed]

    def archives(self):
        """(position, path) of each path that ends as an archive does, or leads
        into one."""
        cdef dcm_span s
        cdef uint64_t i
        cdef bint into = memchr(self.data, c"!", self.used) != NULL if self.used else False
        found = []
        for i in range(self.count):
            s = self.at(i)
            if ends_as_archive(s.p, s.n) or into and inner_name(s.p, s.n, 0):
                found.append((i, s.p[:s.n]))
        failed = {position for position, _, _ in self.errors}
        return [one for one in found if one[0] not in failed]

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
            check_memory(self.shown.add(PyBytes_AS_STRING(text), len(text)))
        return 0


@cython.final
cdef class _Lent:
    """Memory of a Chunk, for those who take buffers."""
    cdef object owner
    cdef void *at
    cdef uint64_t size

    @staticmethod
    cdef _Lent of(object owner, void *at, uint64_t size):
        cdef _Lent lent = _Lent.__new__(_Lent)
        lent.owner, lent.at, lent.size = owner, at, size
        return lent

    def __getbuffer__(self, Py_buffer *view, int flags):
        PyBuffer_FillInfo(view, self, self.at, <Py_ssize_t>self.size, 1, flags)


def chunk_of(paths):
    """A Chunk of paths: a sequence of str, bytes or os.PathLike."""
    cdef Chunk chunk = Chunk()
    cdef const char *p
    cdef Py_ssize_t n
    for path in paths:
        if type(path) is bytes:
            check_memory(chunk.add(PyBytes_AS_STRING(path), PyBytes_GET_SIZE(path)))
            continue
        if type(path) is not str:
            path = os.fspath(path)  # TypeError for what is no path
        if type(path) is str and UTF8_PATHS:
            try:
                p = PyUnicode_AsUTF8AndSize(path, &n)
                check_memory(chunk.add(p, n))
                continue
            except UnicodeEncodeError:  # surrogates stand for bytes
                path = path.encode("utf-8", sys.getfilesystemencodeerrors())
        path = os.fsencode(path)
        check_memory(chunk.add(PyBytes_AS_STRING(path), len(path)))
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
        check_memory(chunk.add(PyBytes_AS_STRING(archive), len(archive)))
        check_memory(names.add(PyBytes_AS_STRING(name), len(name)))
        chunk.parts[i].base = offset
        chunk.parts[i].length = length
    names.settle()
    chunk.shown = names if names.shown is None else names.shown
    return chunk


def member_path(bytes archive not None, bytes member not None):
    """The path of a member of an archive: ``a.zip!/IM0001``."""
    return archive + b"!/" + member


def member_splits(bytes path not None):
    """(archive, member) as a path may mean them, the shortest archive first."""
    cdef const char *p = PyBytes_AS_STRING(path)
    cdef uint64_t at = 0
    splits = []
    while True:
        at = inner_name(p, len(path), at)
        if at == 0:
            return splits
        splits.append((path[:at - 2], path[at:]))


def is_archive(bytes path not None):
    """Whether it ends as an archive does."""
    return ends_as_archive(PyBytes_AS_STRING(path), len(path))


cdef const char *ENDINGS[8]
ENDINGS[:] = [b".zip", b".tar", b".tgz", b".tar.gz", b".tar.zst", b".tar.bz2", b".tar.xz", b".7z"]


cdef bint ends_as_archive(const char *p, uint64_t n) noexcept nogil:
    cdef int i
    cdef uint64_t k, length
    if n < 4 or (p[n - 1] | 0x20) not in (c"p", c"r", c"z", c"t", c"2"):  # as almost all
        return False
    for i in range(8):
        length = strlen(ENDINGS[i])
        k = 0
        while k < length <= n and (p[n - length + k] | 0x20) == (ENDINGS[i][k] | 0x20):
            k += 1
        if k == length:
            return True
    return False


cdef uint64_t inner_name(const char *p, uint64_t n, uint64_t start) noexcept nogil:
    """Where the name of a member begins, behind "!/"; from `start` on. 0: nowhere."""
    cdef const char *found
    while start < n:
        found = <const char *>memchr(p + start, c"!", n - start)
        if found == NULL:
            return 0
        start = found - p + 2
        if start <= n and found[1] == c"/" and ends_as_archive(p, start - 2):
            return start
    return 0


@cython.final
cdef class Streams:
    """Streams for a Worker: objects with

    - ``path``: bytes, as `path_text` takes them;
    - ``open(first)``: sets ``size`` and ``mtime_ns`` (ints), and returns the first
      bytes, or None; `first` bytes are asked for next;
    - ``read(offset, length)``: exactly these bytes.

    A DicomError or OSError that they raise becomes a row in error. Some are opened
    before the first is read.

    ask : of streams whose bytes have to be waited for: ``ask(streams, first)`` gets the
        first bytes of some before the first of them is opened.
    """

    def __init__(self, list streams not None, ask=None):
        self.streams = streams
        self.ask = ask

    def __len__(self):
        return len(self.streams)


@cython.final
cdef class Mixed:
    """Chunks and Streams that a Worker makes in its own thread, by ``make()``;
    `count` paths in all."""

    def __init__(self, uint64_t count, make):
        self.count, self.make = count, make

    def __len__(self):
        return self.count


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


def chunk_of_columns(const uint8_t[::1] data not None, const int64_t[::1] offsets not None,
                     const int64_t[::1] sizes not None, const int64_t[::1] mtimes_ns not None,
                     const int32_t[::1] errnos not None):
    """The Chunk whose `columns` these are, or a part of them: the first offset
    need not be 0. ValueError when they do not fit together."""
    cdef Chunk chunk = Chunk()
    cdef uint64_t i, first, last, count = len(sizes)
    if not len(offsets) == count + 1 == len(mtimes_ns) + 1 == len(errnos) + 1:
        raise ValueError("the columns of a list differ in length")
    first, last = offsets[0], offsets[count]
    for i in range(count):
        if not <uint64_t>offsets[i] <= <uint64_t>offsets[i + 1] <= <uint64_t>len(data):
            raise ValueError("the offsets of a list lead out of it")
    check_memory(dcm_grow(<void **>&chunk.data, &chunk.capacity, last - first, 1))
    check_memory(dcm_grow(<void **>&chunk.offsets, &chunk.cap_offsets, count + 1, sizeof(uint64_t)))
    if count:
        memcpy(chunk.data, &data[0] + first, last - first)
    chunk.ends = chunk.offsets + 1
    for i in range(count):
        chunk.ends[i] = offsets[i + 1] - first
        if errnos[i]:
            chunk.errors.append((i, DCM_E_WALK, errnos[i]))
    chunk.used, chunk.count = last - first, count
    chunk.make_list()
    if count:
        memcpy(chunk.list.sizes, &sizes[0], count * sizeof(int64_t))
        memcpy(chunk.list.mtimes_ns, &mtimes_ns[0], count * sizeof(int64_t))
    chunk.settle()
    return chunk


SAME, CHANGED, ALONE = DCM_LIST_SAME, DCM_LIST_CHANGED, DCM_LIST_UNMATCHED


def compare(Chunk old not None, uint64_t i, Chunk new not None, uint64_t j):
    """Goes over two lists of files, both in the order of a walk and with their
    sizes and times, from the i-th and j-th path on until one of them ends.

    Returns a byte for each path that was gone over, those of `old` and those
    of `new`: SAME, CHANGED (of another size, time or error) or ALONE (the
    other list has no such path).
    """
    cdef uint64_t begin = i, begin_new = j
    if old.list.sizes == NULL or new.list.sizes == NULL or i > old.count or j > new.count:
        raise ValueError("the sizes and times are not known")
    cdef bytes marks = PyBytes_FromStringAndSize(NULL, old.count)
    cdef bytes marks_new = PyBytes_FromStringAndSize(NULL, new.count)
    cdef uint8_t *a = <uint8_t *>PyBytes_AS_STRING(marks)
    cdef uint8_t *b = <uint8_t *>PyBytes_AS_STRING(marks_new)
    with nogil:
        dcm_list_compare(&old.list, &i, a, &new.list, &j, b)
    return marks[begin:i], marks_new[begin_new:j]


cdef bint is_of(dcm_span row, dcm_span path) noexcept nogil:
    """Whether a row is of the file, or of a member of the archive, at a path."""
    return (row.n >= path.n and memcmp(row.p, path.p, path.n) == 0
            and (row.n == path.n or row.n > path.n + 1 and memcmp(row.p + path.n, b"!/", 2) == 0))


cdef bint is_same(dcm_span a, dcm_span b) noexcept nogil:
    return a.n == b.n and memcmp(a.p, b.p, a.n) == 0


def owners(Chunk files not None, uint64_t i, const int32_t[::1] offsets not None,
           const uint8_t[::1] data not None):
    """Which files rows are of. Rows are in the order of the files; a file has
    none, one, or, an archive, many: `path!/member`.

    i : the file from which on to look.
    offsets, data : the column ``path`` of the rows, as Arrow has it.

    Returns the positions of the rows' files, as the bytes of uint32, up to the
    first row whose file is not there.
    """
    cdef uint64_t row, rows = len(offsets) - 1
    cdef dcm_span text
    cdef bytes found = PyBytes_FromStringAndSize(NULL, rows * sizeof(uint32_t))
    cdef uint32_t *out = <uint32_t *>PyBytes_AS_STRING(found)
    for row in range(rows):
        if not 0 <= offsets[row] <= offsets[row + 1] <= len(data):
            raise ValueError("the offsets of a column lead out of it")
        text.p = <const char *>&data[0] + offsets[row]
        text.n = offsets[row + 1] - offsets[row]
        if text.n > 4 and memcmp(text.p, b"file:", 5) == 0:
            name = path_bytes((<bytes>text.p[:text.n]).decode())
            text.p, text.n = PyBytes_AS_STRING(name), PyBytes_GET_SIZE(name)
        # A folder `a.zip!` may lie beside an archive `a.zip`.
        while i < files.count and (not is_of(text, files.at(i)) or i + 1 < files.count
                                   and is_same(text, files.at(i + 1))):
            i += 1
        if i == files.count:
            return found[:row * sizeof(uint32_t)]
        out[row] = i
    return found


@cython.final
cdef class Walk:
    """The files under a folder, in byte order of their paths."""
    cdef dcm_walk walk
    cdef bint ended

    def __init__(self, bytes folder not None, bint recursive=True):
        cdef dcm_error err
        check_memory(dcm_walk_start(&self.walk, folder, recursive, &err))

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
                if code == DCM_END:
                    self.ended = True
                    break
                if code != DCM_E_MEMORY:
                    if chunk.add(self.walk.path, self.walk.length) != DCM_OK:
                        code = DCM_E_MEMORY
                if code != DCM_OK:
                    with gil:
                        check_memory(code)
                        chunk.errors.append((chunk.count - 1, code, err.sys))
        if chunk.count == 0:
            return None
        chunk.settle()
        return chunk
