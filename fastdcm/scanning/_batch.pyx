# cython: auto_pickle=False, autotestdict=False
"""The plan of a scan, and batches of its rows as Arrow columns.

Fills the structs of the Arrow C data interface with the buffers of columns.c, without an
Arrow library.
"""

cimport cython
from cpython.bytes cimport PyBytes_FromStringAndSize
from cpython.pycapsule cimport PyCapsule_GetPointer, PyCapsule_New
from cpython.ref cimport Py_DECREF, Py_INCREF, PyObject
from cpython.unicode cimport PyUnicode_DecodeUTF8
from libc.errno cimport EIO
from libc.string cimport memcpy, memset, strcmp, strlen
from fastdcm.core.dcm cimport *
from fastdcm.core._file cimport format_tag
from fastdcm.core._memory cimport allocate, check_memory

import datetime
import os

from fastdcm.errors import error_for

cdef extern from *:
    """
    #define FLAG_NULLABLE 2
    struct ArrowSchema {
        const char *format, *name, *metadata;
        int64_t flags, n_children;
        struct ArrowSchema **children, *dictionary;
        void (*release)(struct ArrowSchema *);
        void *private_data;
    };
    struct ArrowArray {
        int64_t length, null_count, offset, n_buffers, n_children;
        const void **buffers;
        struct ArrowArray **children, *dictionary;
        void (*release)(struct ArrowArray *);
        void *private_data;
    };
    struct ArrowArrayStream {
        int (*get_schema)(struct ArrowArrayStream *, struct ArrowSchema *);
        int (*get_next)(struct ArrowArrayStream *, struct ArrowArray *);
        const char *(*get_last_error)(struct ArrowArrayStream *);
        void (*release)(struct ArrowArrayStream *);
        void *private_data;
    };
    """
    enum:
        FLAG_NULLABLE

    ctypedef struct ArrowSchema "struct ArrowSchema":
        const char *format
        const char *name
        const char *metadata
        int64_t flags, n_children
        ArrowSchema **children
        ArrowSchema *dictionary
        void (*release)(ArrowSchema *) noexcept nogil
        void *private_data

    ctypedef struct ArrowArray "struct ArrowArray":
        int64_t length, null_count, offset, n_buffers, n_children
        const void **buffers
        ArrowArray **children
        ArrowArray *dictionary
        void (*release)(ArrowArray *) noexcept nogil
        void *private_data

    ctypedef struct ArrowArrayStream "struct ArrowArrayStream":
        int (*get_schema)(ArrowArrayStream *, ArrowSchema *) noexcept nogil
        int (*get_next)(ArrowArrayStream *, ArrowArray *) noexcept nogil
        const char *(*get_last_error)(ArrowArrayStream *) noexcept nogil
        void (*release)(ArrowArrayStream *) noexcept nogil
        void *private_data


# ------------------------------------------------------------------- plan ---

# (name, Arrow format)
cdef FIXED = [("path", b"u"), ("size", b"l"), ("mtime_ns", b"l"), ("transfer_syntax", b"u")]
cdef ERRORS = [("error", b"u"), ("error_offset", b"l"), ("error_detail", b"u"),
               ("issues", b"u")]
cdef PIXELS = [("pixel_offset", b"l"), ("pixel_length", b"l"), ("pixel_fragments", b"l"),
               ("frames", b"l")]
cdef TYPES = {b"u": DCM_COLUMN_TEXT, b"z": DCM_COLUMN_BYTES, b"l": DCM_COLUMN_INT,
              b"L": DCM_COLUMN_UINT, b"g": DCM_COLUMN_FLOAT, b"tdD": DCM_COLUMN_DATE,
              b"ttu": DCM_COLUMN_TIME, b"tsu:": DCM_COLUMN_DATETIME}
cdef TEMPORAL = {DCM_VR_DA: b"tdD", DCM_VR_TM: b"ttu", DCM_VR_DT: b"tsu:"}
cdef EPOCH = datetime.datetime(1970, 1, 1)
cdef LUT_DESCRIPTORS = (0x00281101, 0x00281102, 0x00281103, 0x00283002)


cdef tuple column_type(uint32_t tag, str creator):
    """Return (VR, Arrow format, whether it has several values) of an element in the dictionary."""
    cdef dcm_dict_row row
    cdef int found, kind
    cdef bytes name
    if creator is None:
        found = dcm_dict_find(tag, &row)
        if found != DCM_OK:  # group lengths, private creators
            row.vr = dcm_dict_vr(tag)
            row.vm = b"1"
    else:
        name = creator.encode("latin-1", "replace")
        found = dcm_dict_private(tag | 0x1000, name, len(name), &row)
        if found != DCM_OK:
            row.vr = DCM_VR_NONE
            row.vm = b"1"
    kind = dcm_vr_rows[row.vr].kind
    if row.vr == DCM_VR_US_SS or row.vr == DCM_VR_UV or kind == DCM_KIND_IS:
        form = b"L" if row.vr == DCM_VR_UV else b"l"
    elif kind == DCM_KIND_INT or kind == DCM_KIND_UINT:
        form = b"l"
    elif kind == DCM_KIND_DS or kind == DCM_KIND_FLOAT:
        form = b"g"
    elif kind == DCM_KIND_BYTES:
        form = b"z"
    else:
        form = b"u"
    many = row.vm != b"1" and form != b"z" and kind != DCM_KIND_PARAGRAPH
    return row.vr, form, many


@cython.final
cdef class Plan:
    """Which elements a scan reads, and the columns they are put into.

    Parameters
    ----------
    columns : sequence of (name, path)
        A path is a sequence of steps (tag, creator, item): `creator` is the private
        creator or None; `item` is the number of an item, from 1, or 0 for all, and None
        in the last step, which is the element.
    pixels : int
        1 adds columns with the position of the pixel data, 2 also those of frames.
    skip_errors : bool
        Whether files that cannot be read get no row.
    hashes : tuple of str
        "file_hash" and "pixel_hash", which needs `pixels`.
    parse_dates : bool
        Whether columns of dates and times are such, in place of text.

    Attributes
    ----------
    requested : list of str
        The elements as text, each with the name of its column if that is another one.
    fields : list of (str, bytes, int)
        Name, Arrow format of the values and depth of lists of each column.
    names : list of str
    hashes : tuple of str

    Raises
    ------
    ValueError
        For an element that cannot be a column.
    """
    def __init__(self, columns, int pixels=0, bint skip_errors=False, tuple hashes=(),
                 bint parse_dates=False):
        cdef uint32_t i
        meta, data = {}, {}
        fields = []
        self.text = b""
        for column, (name, path) in enumerate(columns, len(FIXED)):
            if len(path) > DCM_PATH_DEPTH:
                raise ValueError(f"{name}: {len(path) - 1} sequences deep; "
                                 f"at most {DCM_PATH_DEPTH - 1} are possible")
            *steps, leaf = path
            tag, creator, _ = leaf
            vr, form, many = column_type(tag, creator)
            if parse_dates:
                form = TEMPORAL.get(vr, form)
            if vr == DCM_VR_SQ:
                raise ValueError(f"{name} is a sequence: name an element in it, "
                                 f"as {name}.CodeValue or {name}[*].CodeValue")
            lists = many + sum(item == 0 for _, _, item in path)
            if lists > DCM_COLUMN_LISTS:
                raise ValueError(f"{name}: {lists} nested lists; "
                                 f"at most {DCM_COLUMN_LISTS} are possible")
            level = meta if path[0][0] >> 16 == 2 else data
            for step in steps:
                if column_type(step[0], step[1])[0] not in (DCM_VR_SQ, DCM_VR_UN, DCM_VR_NONE):
                    raise ValueError(f"{name}: {format_tag(step[0])} is not a sequence")
                level = level.setdefault(step, {})
            level.setdefault(leaf, []).append((column, vr, form))
            fields.append((name, form, lists, many))
        fields = [(*f, 0, 0) for f in FIXED] + fields
        if pixels:
            fields += [(*f, 0, 0) for f in PIXELS]
        if pixels > 1:
            fields.append(("frame_offsets", b"l", 1, True))
        self.types = <dcm_column *>allocate(len(fields) * sizeof(dcm_column))
        for i, (_, form, lists, many) in enumerate(fields):
            self.types[i].type = TYPES[form]
            self.types[i].lists = lists
            self.types[i].many = many
        at = len(FIXED)
        self.fields = [f[:3] for f in fields[:at]] + [
            (*f, f[0] == "issues") for f in ERRORS] + [f[:3] for f in fields[at:]] + [
            (name, b"u", 0) for name in hashes]
        self.hashes, self.parse_dates = hashes, parse_dates
        self.wants = <dcm_want *>allocate((2 + size_of(meta) + size_of(data)) * sizeof(dcm_want))
        self.levels = <dcm_level *>allocate((2 + size_of(meta) + size_of(data)) * sizeof(dcm_level))
        self.n_levels = 2
        self.compile(meta, 0)
        self.compile(data, 1)
        if pixels:
            self.levels[1].stop = max(self.levels[1].stop, <uint32_t>0x7FE00010)
        self.plan.wants = self.wants
        self.plan.levels = self.levels
        self.plan.text = self.text
        self.plan.columns = self.types
        self.plan.n_columns = len(fields)
        self.plan.pixels = pixels
        self.plan.skip_errors = skip_errors

    def __dealloc__(self):
        dcm_free(self.wants)
        dcm_free(self.levels)
        dcm_free(self.types)

    cdef int compile(self, dict steps, uint32_t number) except -1:
        """Add the elements of a level, then those of the levels inside.

        Return whether the character set is needed.
        """
        cdef dcm_level *level = &self.levels[number]
        cdef dcm_want *want
        cdef uint32_t first = self.n_wants
        inside = []
        level.first = first
        for (tag, creator, item), inner in sorted(
                steps.items(), key=lambda s: (s[0][1] is not None, s[0][0], s[0][2] or 0)):
            level.stop = max(level.stop, <uint32_t>(tag | 0xFFFF if creator else tag))
            for column, vr, form in inner if item is None else [(-1, DCM_VR_SQ, None)]:
                want = &self.wants[self.n_wants]
                want.tag = tag
                want.column = column
                want.vr = vr
                if creator is None:
                    level.count += 1
                else:
                    name = creator.encode("latin-1", "replace")
                    want.creator = len(self.text)
                    want.creator_length = len(name)
                    self.text += name
                    level.private_count += 1
                if item is not None:
                    want.vr = (DCM_VR_SQ if column_type(tag, creator)[0] == DCM_VR_SQ
                               else DCM_VR_NONE)
                    want.item = item
                    want.level = self.n_levels
                    inside.append((inner, self.n_levels))
                    self.n_levels += 1
                elif vr == DCM_VR_US_SS:
                    level.stop = max(level.stop, <uint32_t>0x00280103)
                    want.unsigned_first = tag in LUT_DESCRIPTORS
                if form == b"u" and (dcm_vr_rows[vr].charset or vr == DCM_VR_NONE):
                    level.charset = number != 0
                self.n_wants += 1
        for inner, at in inside:
            if self.compile(inner, at):
                level.charset = number != 0
        if level.charset or number == 1:
            level.stop = max(level.stop, <uint32_t>0x00080005)
        return level.charset

    @property
    def names(self):
        """The names of the columns, in order."""
        return [name for name, _, _ in self.fields]

    def __arrow_c_schema__(self):
        """Return the schema through the Arrow PyCapsule interface."""
        return schema_capsule(self)


cdef size_t size_of(steps):
    """Return an upper limit of the elements and levels of the steps."""
    if isinstance(steps, list):
        return len(steps)
    return sum(1 + size_of(inner) for inner in steps.values())


def keywords():
    """Return all keywords of PS3.6."""
    cdef dcm_dict_row row
    cdef uint32_t i
    names = []
    for i in range(dcm_dict_count()):
        dcm_dict_at(i, &row)
        names.append(row.keyword.decode())
    return names


# ------------------------------------------------------------------ batch ---

@cython.final
cdef class Batch:
    """Rows of a scan as Arrow columns.

    Arrow libraries accept it: ``pyarrow.record_batch(batch)``, ``polars.DataFrame(batch)``.

    Attributes
    ----------
    plan : Plan
    num_rows : int
    column_names : list of str
    n_errors, n_issues : int
        The number of rows with an error, and of issues in all rows.
    """
    def __init__(self, Plan plan not None):
        self.plan = plan
        self.details = {}
        self.digests = []
        check_memory(dcm_columns_init(&self.c, &plan.plan))

    def __dealloc__(self):
        cdef int i
        dcm_columns_free(&self.c)
        for i in range(N_ERRORS):
            dcm_column_free(&self.errors[i])
        for i in range(N_HASHES):
            dcm_column_free(&self.hashes[i])

    def __len__(self):
        return self.c.rows

    def __repr__(self):
        return f"<Batch of {self.c.rows} rows, {len(self.plan.fields)} columns>"

    @property
    def num_rows(self):
        return self.c.rows

    @property
    def column_names(self):
        return self.plan.names

    @property
    def n_errors(self):
        """The number of rows with an error."""
        return self.c.n_errors

    @property
    def n_issues(self):
        """The number of issues in all rows."""
        return self.c.n_issues

    def expect(self, uint64_t rows):
        """Allocate memory for about this number of rows, before the first."""
        dcm_columns_expect(&self.c, rows)

    def join(self, Batch other not None):
        """Append the rows of another batch; return False if they do not fit."""
        cdef int code
        cdef uint64_t before = self.c.rows
        with nogil:
            code = dcm_columns_join(&self.c, &other.c)
        if check_memory(code) == DCM_E_TOO_LARGE:
            return False
        for row, text in other.details.items():
            self.details[before + row] = text
        self.digests += other.digests
        return True

    def seal(self):
        """Complete the columns for readers. No rows can be appended afterwards."""
        cdef uint32_t i
        cdef int code = DCM_OK
        if self.sealed:
            return
        self.sealed = True
        self.put_errors()
        self.put_hashes()
        with nogil:
            for i in range(self.c.n_columns):
                code = code or dcm_column_seal(&self.c.columns[i])
            for i in range(N_ERRORS):
                code = code or dcm_column_seal(&self.errors[i])
            for i in range(N_HASHES):
                code = code or dcm_column_seal(&self.hashes[i])
        check_memory(code)

    cdef int put_errors(self) except -1:
        cdef dcm_column *c = &self.errors[0]
        cdef dcm_row_error *e
        cdef uint64_t i, row = 0, issue = 0
        c[0].type = c[2].type = c[3].type = DCM_COLUMN_TEXT
        c[1].type = DCM_COLUMN_INT
        c[3].lists = c[3].many = 1
        for i in range(self.c.n_errors):
            e = &self.c.errors[i]
            for j in range(3):
                check_memory(dcm_column_null(&c[j], 0, e.row - row))
            put_text(&c[0], dcm_code_name(e.error.code))
            check_memory(dcm_column_int(&c[1], <int64_t>e.error.offset))
            put_text(&c[2], error_detail(&e.error, self.details.get(e.row)))
            row = e.row + 1
        for j in range(3):
            check_memory(dcm_column_null(&c[j], 0, self.c.rows - row))
        row = 0
        while issue < self.c.n_issues:
            i = self.c.issues[issue].row
            check_memory(dcm_column_null(&c[3], 0, i - row))
            while issue < self.c.n_issues and self.c.issues[issue].row == i:
                put_text(&c[3], issue_text(&self.c.issues[issue].issue))
                issue += 1
            check_memory(dcm_column_list(&c[3], 0))
            row = i + 1
        return check_memory(dcm_column_null(&c[3], 0, self.c.rows - row))

    cdef int put_hashes(self) except -1:
        for digests in self.digests:
            for i, digest in enumerate(digests):
                if digest is None:
                    check_memory(dcm_column_null(&self.hashes[i], 0, 1))
                else:
                    put_text(&self.hashes[i], digest.encode())
        return 0

    cdef dcm_column *column_at(self, int i) noexcept:
        if i < N_FIXED:
            return &self.c.columns[i]
        if i < N_FIXED + N_ERRORS:
            return &self.errors[i - N_FIXED]
        i -= N_ERRORS
        if i < <int>self.c.n_columns:
            return &self.c.columns[i]
        return &self.hashes[i - self.c.n_columns]

    def error(self, uint64_t i=0):
        """Return the i-th error as an exception."""
        cdef dcm_error *e
        if i >= self.c.n_errors:
            raise IndexError(f"there are {self.c.n_errors} errors, got index {i}")
        e = &self.c.errors[i].error
        path = self.value(&self.c.columns[0], 0, self.c.errors[i].row)
        text = self.details.get(self.c.errors[i].row) or dcm_code_text(e.code).decode()
        return error_for(dcm_code_name(e.code).decode(), text, e.offset,
                         format_tag(e.tag) if e.tag else "", path, e.sys)

    def column(self, name):
        """Return the values of a column as a list of Python objects, None for null."""
        return self.values(self.plan.names.index(name))

    def to_pydict(self):
        """Return each column by its name, as a list of Python objects."""
        return {name: self.values(i) for i, name in enumerate(self.plan.names)}

    cdef list values(self, int column):
        cdef uint64_t i
        cdef dcm_column *c = self.column_at(column)
        self.seal()
        return [self.value(c, 0, i) if is_valid(&c.layers[0], i) else None
                for i in range(self.c.rows)]

    cdef object value(self, const dcm_column *c, unsigned depth, uint64_t i):
        """Return an entry, which is not null, of a column at a depth of lists."""
        cdef const dcm_layer *layer = &c.layers[depth]
        cdef const uint8_t *p = c.data
        cdef int64_t number
        cdef uint64_t unsigned_number
        cdef double real
        cdef int32_t begin, end, days
        if depth < c.lists:
            begin, end = layer.ends[i], layer.ends[i + 1]
            layer = &c.layers[depth + 1]
            return [self.value(c, depth + 1, j) if is_valid(layer, j) else None
                    for j in range(begin, end)]
        if c.type == DCM_COLUMN_TEXT:
            begin, end = layer.ends[i], layer.ends[i + 1]
            return PyUnicode_DecodeUTF8(<const char *>p + begin, end - begin, NULL)
        if c.type == DCM_COLUMN_BYTES:
            begin, end = layer.ends[i], layer.ends[i + 1]
            return PyBytes_FromStringAndSize(<const char *>p + begin, end - begin)
        if c.type == DCM_COLUMN_FLOAT:
            memcpy(&real, p + 8 * i, 8)
            return real
        if c.type == DCM_COLUMN_DATE:
            memcpy(&days, p + 4 * i, 4)
            return (EPOCH + datetime.timedelta(days)).date()
        if c.type == DCM_COLUMN_UINT:
            memcpy(&unsigned_number, p + 8 * i, 8)
            return unsigned_number
        memcpy(&number, p + 8 * i, 8)
        if c.type == DCM_COLUMN_TIME:
            return (EPOCH + datetime.timedelta(microseconds=number)).time()
        if c.type == DCM_COLUMN_DATETIME:
            return EPOCH + datetime.timedelta(microseconds=number)
        return number

    def __arrow_c_schema__(self):
        """Return the schema through the Arrow PyCapsule interface."""
        return schema_capsule(self.plan)

    def __arrow_c_array__(self, requested_schema=None):
        """Return the batch through the Arrow PyCapsule interface.

        A requested schema is ignored: the plan has fixed the types.
        """
        schema = schema_capsule(self.plan)
        cdef ArrowArray *array = <ArrowArray *>allocate(sizeof(ArrowArray))
        capsule = PyCapsule_New(array, "arrow_array", free_array_capsule)
        export_batch(array, self)
        return schema, capsule


cdef inline bint is_valid(const dcm_layer *l, uint64_t i) noexcept:
    return l.valid[i >> 3] >> (i & 7) & 1


cdef int put_text(dcm_column *c, bytes text) except -1:
    return check_memory(dcm_column_text(c, text, len(text)))


cdef bytes error_detail(const dcm_error *e, str text_of_error):
    text = text_of_error or dcm_code_text(e.code).decode()
    if e.sys and not text_of_error:
        text += f": {os.strerror(e.sys)}"
    if e.tag:
        text += f", at {format_tag(e.tag)}"
    return text.encode("utf-8", "replace")


cdef bytes issue_text(const dcm_issue *issue):
    """Return code, byte offset and element, as in "truncated-value@1234 (0028,0010)"."""
    text = f"{dcm_code_name(issue.code).decode()}@{issue.offset}"
    if issue.tag:
        text += f" {format_tag(issue.tag)}"
    return text.encode()


# ------------------------------------------------------------------ arrow ---

cdef void release_schema(ArrowSchema *s) noexcept nogil:
    cdef int64_t i
    for i in range(s.n_children):
        if s.children[i] != NULL:
            if s.children[i].release != NULL:
                s.children[i].release(s.children[i])
            dcm_free(s.children[i])
    dcm_free(s.children)
    dcm_free(s.private_data)
    s.release = NULL


cdef int fill_schema(ArrowSchema *s, const char *form, bytes name, bint nullable,
                     int64_t n_children) except -1:
    """Fill a field; its children are allocated, and empty."""
    memset(s, 0, sizeof(ArrowSchema))
    s.release = release_schema
    s.format = form
    s.flags = FLAG_NULLABLE if nullable else 0
    s.private_data = allocate(len(name) + 1)
    memcpy(s.private_data, <const char *>name, len(name))
    s.name = <const char *>s.private_data
    if n_children:
        s.children = <ArrowSchema **>allocate(n_children * sizeof(void *))
        s.n_children = n_children
        for i in range(n_children):
            s.children[i] = <ArrowSchema *>allocate(sizeof(ArrowSchema))
    return 0


cdef int export_schema(ArrowSchema *s, Plan plan) except -1:
    cdef ArrowSchema *field
    cdef const char *form
    fill_schema(s, "+s", b"", False, len(plan.fields))
    for i, (name, leaf, lists) in enumerate(plan.fields):
        field = s.children[i]
        name = name.encode("utf-8", "replace")
        for _ in range(lists):
            fill_schema(field, "+l", name, True, 1)
            field = field.children[0]
            name = b"item"
        form = static_format(leaf)
        fill_schema(field, form, name, i > 0, 0)
    return 0


cdef const char *static_format(bytes form):
    """Return the format as constant text, which outlives the bytes."""
    cdef const char *known = "u\0z\0l\0L\0g\0tdD\0ttu\0tsu:"
    while strcmp(known, form):
        known += strlen(known) + 1
    return known


cdef void free_schema_capsule(object capsule) noexcept:
    cdef ArrowSchema *s = <ArrowSchema *>PyCapsule_GetPointer(capsule, "arrow_schema")
    if s.release != NULL:
        s.release(s)
    dcm_free(s)


cdef object schema_capsule(Plan plan):
    cdef ArrowSchema *s = <ArrowSchema *>allocate(sizeof(ArrowSchema))
    capsule = PyCapsule_New(s, "arrow_schema", free_schema_capsule)
    export_schema(s, plan)
    return capsule


cdef struct ArrayPrivate:
    PyObject *owner            # keeps the buffers
    const void *buffers[3]


cdef void release_array(ArrowArray *a) noexcept nogil:
    cdef ArrayPrivate *private = <ArrayPrivate *>a.private_data
    cdef int64_t i
    for i in range(a.n_children):
        if a.children[i] != NULL:
            if a.children[i].release != NULL:
                a.children[i].release(a.children[i])
            dcm_free(a.children[i])
    dcm_free(a.children)
    if private != NULL:
        with gil:
            Py_DECREF(<object>private.owner)
        dcm_free(private)
    a.release = NULL


cdef ArrayPrivate *fill_array(ArrowArray *a, Batch owner, int64_t length, int64_t nulls,
                              int64_t n_buffers, int64_t n_children) except NULL:
    """Fill an array, which keeps its batch; its children are allocated, and empty."""
    cdef ArrayPrivate *private
    memset(a, 0, sizeof(ArrowArray))
    a.release = release_array
    a.length = length
    a.null_count = nulls
    if n_children:
        a.children = <ArrowArray **>allocate(n_children * sizeof(void *))
        a.n_children = n_children
        for i in range(n_children):
            a.children[i] = <ArrowArray *>allocate(sizeof(ArrowArray))
    private = <ArrayPrivate *>allocate(sizeof(ArrayPrivate))
    a.private_data = private
    private.owner = <PyObject *>owner
    Py_INCREF(owner)
    a.buffers = private.buffers
    a.n_buffers = n_buffers
    return private


cdef int export_column(ArrowArray *a, Batch owner, const dcm_column *c) except -1:
    cdef const dcm_layer *layer
    cdef ArrayPrivate *private
    cdef unsigned depth
    cdef bint varying = c.type == DCM_COLUMN_TEXT or c.type == DCM_COLUMN_BYTES
    for depth in range(c.lists + 1):
        layer = &c.layers[depth]
        private = fill_array(a, owner, layer.count, layer.nulls,
                             3 if depth == c.lists and varying else 2, depth < c.lists)
        private.buffers[0] = layer.valid if layer.nulls else NULL
        if depth < c.lists:
            private.buffers[1] = layer.ends
            a = a.children[0]
        elif varying:
            private.buffers[1] = layer.ends
            private.buffers[2] = c.data
        else:
            private.buffers[1] = c.data
    return 0


cdef int export_batch(ArrowArray *a, Batch batch) except -1:
    cdef int i
    batch.seal()
    fill_array(a, batch, batch.c.rows, 0, 1, len(batch.plan.fields))
    for i in range(len(batch.plan.fields)):
        export_column(a.children[i], batch, batch.column_at(i))
    return 0


cdef void free_array_capsule(object capsule) noexcept:
    cdef ArrowArray *a = <ArrowArray *>PyCapsule_GetPointer(capsule, "arrow_array")
    if a.release != NULL:
        a.release(a)
    dcm_free(a)


@cython.final
cdef class _Stream:
    """The private data of an ArrowArrayStream."""
    cdef Plan plan
    cdef object batches
    cdef bytes error


cdef int stream_schema(ArrowArrayStream *s, ArrowSchema *out) noexcept with gil:
    cdef _Stream stream = <_Stream>s.private_data
    try:
        export_schema(out, stream.plan)
        return 0
    except BaseException as error:
        return stream_failed(stream, error)


cdef int stream_next(ArrowArrayStream *s, ArrowArray *out) noexcept with gil:
    cdef _Stream stream = <_Stream>s.private_data
    try:
        batch = next(stream.batches, None)
        if batch is None:
            memset(out, 0, sizeof(ArrowArray))  # the end: nothing to release
        else:
            export_batch(out, batch)
        return 0
    except BaseException as error:
        return stream_failed(stream, error)


cdef int stream_failed(_Stream stream, error) noexcept:
    stream.error = f"{type(error).__name__}: {error}".encode("utf-8", "replace")
    return EIO


cdef const char *stream_error(ArrowArrayStream *s) noexcept with gil:
    cdef _Stream stream = <_Stream>s.private_data
    return NULL if stream.error is None else <const char *>stream.error


cdef void release_stream(ArrowArrayStream *s) noexcept with gil:
    Py_DECREF(<object>s.private_data)
    s.release = NULL


cdef void free_stream_capsule(object capsule) noexcept:
    cdef ArrowArrayStream *s = <ArrowArrayStream *>PyCapsule_GetPointer(
        capsule, "arrow_array_stream")
    if s.release != NULL:
        s.release(s)
    dcm_free(s)


def stream_capsule(Plan plan not None, batches):
    """Return a capsule of an Arrow C stream over an iterator of batches of this plan."""
    cdef _Stream stream = _Stream()
    stream.plan = plan
    stream.batches = batches
    cdef ArrowArrayStream *s = <ArrowArrayStream *>allocate(sizeof(ArrowArrayStream))
    capsule = PyCapsule_New(s, "arrow_array_stream", free_stream_capsule)
    s.get_schema = stream_schema
    s.get_next = stream_next
    s.get_last_error = stream_error
    s.release = release_stream
    s.private_data = <void *>stream
    Py_INCREF(stream)
    return capsule
