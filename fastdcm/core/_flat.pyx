"""Iterate over the elements of all levels of a data set, from flat indexes.

A flat index holds the rows of a level and of all levels below it.
"""

cimport cython
from fastdcm.core.dcm cimport *
from fastdcm.core._file cimport File
from fastdcm.core._index cimport Index
from fastdcm.core._dictionary cimport vr_name
from fastdcm.core._elements cimport DataElement, ElementMap, Sequence, is_ambiguous
from fastdcm.core._values cimport LATIN, Text

cdef extern from *:
    """
    #ifdef Py_GIL_DISABLED
    #define has_one_reference(object) 0
    #else
    #define has_one_reference(object) (Py_REFCNT((PyObject *)object) == 1)
    #endif
    """
    bint has_one_reference(void *object)

cdef uint32_t CHARSET = 0x00080005
cdef uint32_t ITEM = 0xFFFEE000


def iterall(ElementMap level):
    """Iterate over every element of every level.

    Elements of the levels below have no map of their own until one is changed;
    until then only their offset in the stream is stored.
    """
    return level._iterall() if is_edited(level) else FlatIterator(level)


cdef bint is_edited(ElementMap level):
    """Return whether elements or items were set or deleted, here or below."""
    cdef Sequence seq
    cdef ElementMap item
    if level.overlay or level.index is None:
        return True
    if level.sequences:
        for seq in level.sequences.values():
            if seq.edited:
                return True
            for item in seq.made:
                if item is not None and is_edited(item):
                    return True
    return False


@cython.final
cdef class FlatIterator:
    """Every element of every level: the rows of a level, and one flat index for
    each of its sequences. Maps of the levels below are made only where an
    element needs one."""
    cdef ElementMap root
    cdef Index top          # of root
    cdef uint64_t top_row   # the next row of it
    cdef const dcm_row *pending     # a sequence of root to index next, or NULL
    cdef Index flat         # of the current sequence
    cdef uint64_t flat_row  # the next row of it
    cdef list maps          # by depth: ElementMap, None when not made
    cdef list texts         # by depth: Text
    cdef list tags          # by depth: tag of the sequence
    cdef list numbers       # by depth: number of the item
    cdef object rest        # elements of a sequence without a flat index
    cdef DataElement last   # the element returned last, and the one before it
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
        """Return the map of the current item at `depth`."""
        cdef ElementMap level = self.maps[depth], above
        if level is None:
            above = self.level(depth - 1)
            level = above.sequence_of(above.row(self.tags[depth])).item(self.numbers[depth])
            self.maps[depth] = level
        return level

    cdef enter_item(self, Py_ssize_t depth):
        """Enter the item whose row precedes flat_row, and find its character set."""
        cdef dcm_row *rows = self.flat.ix.rows
        cdef uint64_t k = self.flat_row, count = self.flat.ix.count
        self.numbers[depth] += 1
        self.maps[depth] = None
        self.texts[depth] = self.texts[depth - 1]
        while k < count and (rows[k].depth > depth or
                             rows[k].depth == depth and rows[k].tag < CHARSET):
            k += 1
        if k < count and rows[k].tag == CHARSET and rows[k].depth == depth:
            self.texts[depth] = self.level(depth).text()

    cdef enter(self, const dcm_row *row):
        """Index a sequence of the root with all levels below it."""
        cdef dcm_index *ix = &self.flat.ix
        self.flat_row = 0
        dcm_index_start(ix, row.offset, row.offset + row.length, dcm_row_encoding(row),
                        0xFFFFFFFF, DCM_FLAT_ITEMS)
        self.flat.run()
        if ix.unsorted:
            ix.count = 0
            self.rest = elements_of_items(self.root.element_of(row))

    def __next__(self):
        cdef const dcm_row *row
        cdef DataElement elem
        cdef ElementMap level
        cdef Py_ssize_t depth
        if self.pending != NULL:
            row = self.pending
            self.pending = NULL
            self.enter(row)
        if self.rest is not None:
            for elem in self.rest:
                return elem
            self.rest = None
        while self.flat_row < self.flat.ix.count:
            row = &self.flat.ix.rows[self.flat_row]
            depth = row.depth
            self.flat_row += 1
            if row.tag == ITEM:
                self.enter_item(depth)
                continue
            if not is_ambiguous(row.vr):
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
                    self.rest = elements_of_items(elem)
            return elem
        if self.top_row == self.top.ix.count:
            raise StopIteration
        row = &self.top.ix.rows[self.top_row]
        self.top_row += 1
        if is_ambiguous(row.vr):
            elem = self.root.element_of(row)
        else:
            elem = self.element(row, self.root.file, 0)
        if elem.vr == DCM_VR_SQ:
            if row.flags & DCM_ROW_ITEMS:
                self.open_sequence(1, row.tag)
                self.pending = row
            else:
                self.rest = elements_of_items(elem)
        return elem

    cdef inline DataElement element(self, const dcm_row *row, File f, Py_ssize_t depth):
        """Return the element of a row, in a reused object if possible."""
        cdef DataElement elem
        if self.before is not None and has_one_reference(<void *>self.before):
            elem = self.before  # the caller has dropped it: reuse the object
            elem.new_value = elem.private_name = None
            elem.is_set = False
        else:
            elem = DataElement.__new__(DataElement)
        self.before = self.last
        self.last = elem
        elem.level = self.root
        elem.flat = depth > 0 or row.vr == DCM_VR_SQ
        elem.file = f
        elem.row = row[0]
        elem.vr = row.vr
        elem.text = <Text>self.texts[depth] if dcm_vr_rows[row.vr].charset else LATIN
        return elem

    cdef open_sequence(self, Py_ssize_t depth, uint32_t tag):
        """Begin a sequence whose items are at `depth`."""
        while len(self.maps) <= depth:
            self.maps.append(None)
            self.texts.append(None)
            self.tags.append(0)
            self.numbers.append(0)
        self.tags[depth] = tag
        self.numbers[depth] = -1


def elements_of_items(DataElement elem):
    """Iterate over every element of the items of a sequence, at every level."""
    for item in elem.get_value():
        yield from item.iterall()


cdef Index flat_index(ElementMap level):
    """Index this level and all levels below it in one pass; items are rows."""
    cdef Index flat = Index.__new__(Index)
    cdef dcm_index *ix = &level.index.ix
    flat.file = level.file
    dcm_index_start(&flat.ix, ix.begin, ix.pos if ix.state == DCM_INDEX_STOPPED else ix.end,
                    ix.encoding, 0xFFFFFFFF, DCM_FLAT)
    flat.run()
    return flat


def flat_rows(ElementMap level):
    """Return the rows of all levels, without looking up private elements.

    A list of (depth, tag, VR, offset, length, header size, flags); items have
    the tag FFFE,E000.
    """
    cdef Index flat = flat_index(level)
    cdef uint64_t i
    return [(flat.ix.rows[i].depth, flat.ix.rows[i].tag, vr_name(flat.ix.rows[i].vr),
             flat.ix.rows[i].offset, flat.ix.rows[i].length, flat.ix.rows[i].header,
             flat.ix.rows[i].flags) for i in range(flat.ix.count)]
