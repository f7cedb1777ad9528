"""Whole data sets: every element of all levels from one flat index, and the
maps that a stream begins with."""

cimport cython
from fastdcm.core.dcm cimport *
from fastdcm.core._file cimport File, Index, open_part10
from fastdcm.core._dictionary cimport vr_name
from fastdcm.core._elements cimport DataElement, ElementMap, Sequence, in_doubt
from fastdcm.core._values cimport LATIN, Text, text_of

from fastdcm.core._file import issue_of

cdef extern from *:
    """
    #ifdef Py_GIL_DISABLED
    #define is_ours_alone(object) 0
    #else
    #define is_ours_alone(object) (Py_REFCNT((PyObject *)object) == 1)
    #endif
    /* cls.__new__(cls), without the search for a method */
    static inline PyObject *new_of(PyObject *cls) {
        PyObject *none = PyTuple_New(0), *made = NULL;
        if (none) made = ((PyTypeObject *)cls)->tp_new((PyTypeObject *)cls, none, NULL);
        Py_XDECREF(none);
        return made;
    }
    """
    bint is_ours_alone(void *object)
    object new_of(object cls)

cdef uint32_t CHARSET = 0x00080005
cdef uint32_t ITEM = 0xFFFEE000


def iterall(ElementMap level):
    """Every element at every depth. Elements of the levels below know their
    place in the stream alone, until one is changed."""
    return level._iterall() if edited(level) else FlatIterator(level)


cdef bint edited(ElementMap level):
    """Whether elements or items were set or deleted, here or below."""
    cdef Sequence seq
    cdef ElementMap item
    if level.overlay or level.index is None:
        return True
    if level.sequences:
        for seq in level.sequences.values():
            if seq.edited:
                return True
            for item in seq.made:
                if item is not None and edited(item):
                    return True
    return False


@cython.final
cdef class FlatIterator:
    """Every element at every depth: the rows of a level, and for each of its
    sequences one flat index. Maps of the levels below are made only where an
    element cannot do without."""
    cdef ElementMap root
    cdef Index top          # of root
    cdef uint64_t at        # next row of it
    cdef const dcm_row *entered     # the sequence to go into, or NULL
    cdef Index flat         # of the sequence at hand
    cdef uint64_t i         # next row of it
    cdef list maps          # by depth: ElementMap, None when not made
    cdef list texts         # by depth: Text
    cdef list tags          # by depth: tag of the sequence
    cdef list numbers       # by depth: number of the item
    cdef object rest        # elements of a sequence that no flat index fits
    cdef DataElement given  # the element given last, and the one before
    cdef DataElement before

    def __init__(self, ElementMap root):
        self.root = root
        self.top = root.index
        self.flat = Index.__new__(Index)
        self.flat.file = root.file
        self.maps = [root]
        self.texts = [root.text()]
        self.tags = [0]
        self.numbers = [0]

    def __iter__(self):
        return self

    cdef ElementMap level(self, Py_ssize_t depth):
        cdef ElementMap level = self.maps[depth], above
        if level is None:
            above = self.level(depth - 1)
            level = above.sequence_of(above.row(self.tags[depth])).item(self.numbers[depth])
            self.maps[depth] = level
        return level

    cdef enter_item(self, Py_ssize_t depth):
        """Moves on to the item whose row is the one before self.i."""
        cdef dcm_row *rows = self.flat.ix.rows
        cdef uint64_t k = self.i, count = self.flat.ix.count
        self.numbers[depth] += 1
        self.maps[depth] = None
        self.texts[depth] = self.texts[depth - 1]
        while k < count and (rows[k].depth > depth or
                             rows[k].depth == depth and rows[k].tag < CHARSET):
            k += 1
        if k < count and rows[k].tag == CHARSET and rows[k].depth == depth:
            self.texts[depth] = self.level(depth).text()

    cdef enter(self, const dcm_row *row):
        """Indexes a sequence of the level."""
        cdef dcm_index *ix = &self.flat.ix
        self.i = 0
        dcm_index_start(ix, row.offset, row.offset + row.length, dcm_row_encoding(row),
                        0xFFFFFFFF, DCM_FLAT_ITEMS)
        self.flat.run()
        if ix.unsorted:
            ix.count = 0
            self.rest = below(self.root.element_of(row))

    def __next__(self):
        cdef const dcm_row *row
        cdef DataElement elem
        cdef ElementMap level
        cdef Py_ssize_t depth
        if self.entered != NULL:
            row = self.entered
            self.entered = NULL
            self.enter(row)
        if self.rest is not None:
            for elem in self.rest:
                return elem
            self.rest = None
        while self.i < self.flat.ix.count:
            row = &self.flat.ix.rows[self.i]
            depth = row.depth
            self.i += 1
            if row.tag == ITEM:
                self.enter_item(depth)
                continue
            if not in_doubt(row.vr):
                elem = self.element(row, self.flat.file, depth)
                if row.vr == DCM_VR_SQ:
                    self.open_sequence(depth + 1, row.tag)
                return elem
            level = self.level(depth)
            elem = level.element_of(level.row(row.tag))
            if elem.vr == DCM_VR_SQ:
                if row.flags & DCM_ROW_ITEMS:
                    self.open_sequence(depth + 1, row.tag)
                else:
                    self.rest = below(elem)
            return elem
        if self.at == self.top.ix.count:
            raise StopIteration
        row = &self.top.ix.rows[self.at]
        self.at += 1
        if in_doubt(row.vr):
            elem = self.root.element_of(row)
        else:
            elem = self.element(row, self.root.file, 0)
        if elem.vr == DCM_VR_SQ:
            if row.flags & DCM_ROW_ITEMS:
                self.open_sequence(1, row.tag)
                self.entered = row
            else:
                self.rest = below(elem)
        return elem

    cdef inline DataElement element(self, const dcm_row *row, File f, Py_ssize_t depth):
        cdef DataElement elem
        if self.before is not None and is_ours_alone(<void *>self.before):
            elem = self.before  # nobody looks at it any more: it serves again
            elem.own = elem.private_name = None
            elem.is_set = False
        else:
            elem = DataElement.__new__(DataElement)
        self.before = self.given
        self.given = elem
        elem.home = self.root
        elem.flat = depth > 0 or row.vr == DCM_VR_SQ
        elem.file = f
        elem.row = row[0]
        elem.vr = row.vr
        elem.how = <Text>self.texts[depth] if dcm_vr_rows[row.vr].charset else LATIN
        return elem

    cdef open_sequence(self, Py_ssize_t depth, uint32_t tag):
        while len(self.maps) <= depth:
            self.maps.append(None)
            self.texts.append(None)
            self.tags.append(0)
            self.numbers.append(0)
        self.tags[depth] = tag
        self.numbers[depth] = -1


def below(DataElement elem):
    """Every element of a sequence's items."""
    for item in elem.get_value():
        yield from item.iterall()


cdef Index flat_index(ElementMap level):
    """All levels from this one down in one pass, items as rows."""
    cdef Index flat = Index.__new__(Index)
    cdef dcm_index *ix = &level.index.ix
    flat.file = level.file
    dcm_index_start(&flat.ix, ix.begin, ix.pos if ix.state == DCM_INDEX_STOPPED else ix.end,
                    ix.encoding, 0xFFFFFFFF, DCM_FLAT)
    flat.run()
    return flat


def flat_rows(ElementMap level):
    """All levels in one pass: a list of (depth, tag, VR, offset, length,
    header size, flags); items have the tag FFFE,E000. The index's own view,
    without private dictionaries, for dumps and tests."""
    cdef Index flat = flat_index(level)
    cdef uint64_t i
    return [(flat.ix.rows[i].depth, flat.ix.rows[i].tag, vr_name(flat.ix.rows[i].vr),
             flat.ix.rows[i].offset, flat.ix.rows[i].length, flat.ix.rows[i].header,
             flat.ix.rows[i].flags) for i in range(flat.ix.count)]


def read_level(cls, source, uint32_t stop, bint force, terms=None, tags=None):
    """The map, of class `cls`, of what `dcmread` reads, up to the last tag at or
    below `stop`. terms: a Specific Character Set to use in place of the one
    that stands there. tags: keep only these (ints)."""
    cdef ElementMap level = new_of(cls)
    cdef File f = source if isinstance(source, File) else File(source)
    cdef Index index = open_part10(f, stop, force)
    cdef uint64_t i, kept = 0
    level._source = f
    level.file = index.file
    level.index = index
    if terms is not None:
        level.fixed = True
        level.inherited = text_of(terms)
    if tags is not None:
        for i in range(index.ix.count):
            if index.ix.rows[i].tag in tags:
                index.ix.rows[kept] = index.ix.rows[i]
                kept += 1
        level.filtered = kept < index.ix.count
        index.ix.count = kept
    return level


def read_meta(cls, File f):
    """The map, of class `cls`, of group 0002 of a stream."""
    cdef ElementMap level = new_of(cls)
    level.file = f
    level.index = f.meta
    return level


def issues_of(ElementMap level, ElementMap meta=None):
    """What was repaired in what has been entered so far, as Issues."""
    found = []
    if meta is not None and meta.index is not None:
        found += [issue_of(*note) for note in meta.index.issues()]
    if level.index is not None:
        known = level.index.issues()
        found += [issue_of(*note) for note in known]
        found += [issue_of(*note, level.path_of(note[1]))  # but once
                  for note in level.file.notes if note not in known]
    return found
