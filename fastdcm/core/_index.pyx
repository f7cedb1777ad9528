"""The index of a data set level, and opening a DICOM file (PS3.10 chapter 7).

`open_part10` reads the header of a file and indexes its data set, `Index`
holds the rows of one level. A deflated data set (PS3.5 A.5) is inflated here.
"""

cimport cython
from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.string cimport memset
from fastdcm.core.dcm cimport *
from fastdcm.core._file cimport File, check, format_tag

import zlib

from fastdcm.errors import Issue


@cython.final
@cython.freelist(16)
cdef class Index:
    """The element headers of one data set level, one row an element."""

    def __dealloc__(self):
        dcm_index_free(&self.ix)

    def __len__(self):
        return self.ix.count

    cdef int run(self) except -1:
        """Complete the index, reading the bytes that are not in memory."""
        cdef dcm_error err
        cdef int code
        memset(&err, 0, sizeof(err))
        while True:
            code = dcm_index_run(&self.ix, &self.file.bytes, &err)
            if code != DCM_NEED:
                return check(code, &err, self.file, "")
            if self.file.origin is None:  # other threads may read it: extend a copy
                self.file = self.file.extendable_copy()
            self.file.extend(self.ix.need_offset, self.ix.need_length,
                             self.ix.need_mode)

    cdef const dcm_row *find(self, uint32_t tag):
        return dcm_index_find(&self.ix, tag)

    def issues(self):
        """Return the repairs as tuples (code number, offset, tag)."""
        return [(self.ix.issues[i].code, self.ix.issues[i].offset, self.ix.issues[i].tag)
                for i in range(self.ix.n_issues)]

    def rows(self):
        """Return the rows as tuples (tag, vr, offset, length, header, flags)."""
        return [(r.tag, r.vr, r.offset, r.length, r.header, r.flags)
                for r in self.ix.rows[:self.ix.count]]


def issue_of(int code, uint64_t offset, uint32_t tag, str path=""):
    """Return the Issue of a code number, offset and tag that the core recorded."""
    where = path + (format_tag(tag) if tag else "")
    return Issue(dcm_code_name(code).decode(), where, offset,
                 dcm_code_text(code).decode())


cdef Index index_level(File f, uint64_t begin, uint64_t end, int encoding):
    """Return the index of the level in the bytes ``[begin, end)``."""
    cdef Index index = Index.__new__(Index)
    index.file = f.part(begin, end - begin)
    dcm_index_start(&index.ix, begin, end, encoding, 0xFFFFFFFF, DCM_ONE_LEVEL)
    index.run()
    return index


# Headers are read into memory that is reused; what is kept of a header is then
# copied into memory of exactly its size.
cdef struct scratch:
    dcm_part10 part
    dcm_bytes bytes

cdef cython.pymutex spare_lock
cdef scratch spare
memset(&spare, 0, sizeof(spare))
cdef uint64_t SPARE_LIMIT = 1 << 20  # in bytes; larger memory is freed


cdef void borrow_spare(scratch *s) noexcept:
    with spare_lock:
        s[0] = spare
        memset(&spare, 0, sizeof(spare))
        spare.part.first_read = s.part.first_read


cdef void return_spare(scratch *s) noexcept:
    global spare
    cdef scratch other = s[0]
    if s.bytes.capacity <= SPARE_LIMIT and s.part.data.capacity * sizeof(dcm_row) <= SPARE_LIMIT:
        with spare_lock:
            other = spare
            spare = s[0]
    dcm_part10_free(&other.part)
    dcm_bytes_free(&other.bytes)


cpdef Index open_part10(File f, uint32_t stop, bint force):
    """Open a stream and index its data set up to the last tag at or below `stop`.

    Returns the index of the data set and sets f.meta, the index of group 0002.
    force: accept bytes that do not look like DICOM.
    """
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
        if f.system_path is not None:
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
            keep_header(&f.bytes, &data.ix)
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
    f.meta = meta  # meta.file stays None: f already refers to meta
    data.file = f
    if f.deflated:
        data = inflate(f, offset, stop)
    close_or_list(f, data)
    return data


cdef void keep_header(dcm_bytes *b, const dcm_index *ix) noexcept:
    """Drop the read-ahead bytes that follow values which were skipped."""
    cdef uint64_t i = ix.count, end = b.total
    cdef const dcm_row *row
    if ix.count and ix.state == DCM_INDEX_STOPPED:
        row = &ix.rows[ix.count - 1]
        if dcm_bytes_at(b, row.offset, row.length) != NULL:
            end = ix.pos
    dcm_bytes_truncate(b, end)
    while i > 0:  # from the last, so that few bytes are moved
        i -= 1
        row = &ix.rows[i]
        if dcm_bytes_at(b, row.offset, row.length) == NULL:
            dcm_bytes_truncate(b, row.offset)
        if b.n_segments < 2:
            break


cdef close_or_list(File f, Index data):
    """Close the descriptor if all values are in memory, else keep it."""
    if f.file.handle == -1:
        return
    if data.file is not f or (f.bytes.n_segments == 1 and
                              f.bytes.segments[0].length >= data.ix.pos):
        dcm_file_close(&f.file)
    else:
        f.list_descriptor()


# Deflate can expand 1032 times. A data set that expands more than 100 times, to
# more than 32 MiB, is refused: it was made to exhaust memory.
cdef uint64_t INFLATE_ALWAYS_ALLOWED = 32 << 20
cdef uint64_t INFLATE_RATIO = 100


cdef Index inflate(File f, uint64_t begin, uint32_t stop):
    """Return the index of a deflated data set (PS3.5 A.5), over its inflated bytes."""
    cdef dcm_error err
    memset(&err, 0, sizeof(err))
    cdef uint64_t at = begin, limit
    limit = max(INFLATE_ALWAYS_ALLOWED, (f.bytes.total - begin) * INFLATE_RATIO)
    inflater = zlib.decompressobj(-15)
    if f.read(begin, 1) == b"\x78":
        inflater = zlib.decompressobj()  # with a zlib header, contrary to PS3.5 A.5
    plain = bytearray()
    damaged = False
    while at < f.bytes.total and not inflater.eof and not damaged:
        data = f.read(at, min(1 << 16, f.bytes.total - at))
        at += len(data)
        # A padding byte may follow the end; output may be pending without input.
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
