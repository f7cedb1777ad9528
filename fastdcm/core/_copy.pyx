"""Copy and pickle data set levels.

Elements that were not changed are not decoded: a copy shares their index, and
a pickle contains their bytes.
"""

from cpython.bytes cimport PyBytes_AS_STRING
from libc.string cimport memcpy, memset
from fastdcm.core.dcm cimport *
from fastdcm.core._file cimport File, check
from fastdcm.core._index cimport Index
from fastdcm.core._elements cimport DataElement, ElementMap
from fastdcm.core._values cimport text_of
from fastdcm.core._encode cimport Pieces, is_modified, put_element

from fastdcm.errors import DicomError


cdef share_index(ElementMap level, ElementMap new):
    """Give `new` the index of `level`, and how its text is decoded."""
    new.index = level.index
    new.level_text = level.level_text
    new.inherited = level.inherited
    new.fixed = level.fixed
    new.pixrep = level.pixrep
    new.inherited_pixrep = level.inherited_pixrep
    new.filtered = level.filtered


def copy_level(ElementMap level, ElementMap new not None):
    """Fill `new`, an empty map, with a shallow copy, and return it.

    Setting or deleting an element in one leaves the other unchanged; lists and
    sequences are shared.
    """
    cdef DataElement elem, mine
    share_index(level, new)
    new.file = level.file
    if level.index is not None and level.sequences is None:
        level.sequences = {}
    new.sequences = level.sequences
    if level.overlay is not None:
        new.overlay = {}
        for tag, elem in level.overlay.items():
            mine = None
            if elem is not None:
                mine = DataElement.__new__(DataElement)
                mine.level = new if elem.level is level else elem.level
                mine.file = elem.file
                mine.row = elem.row
                mine.text = elem.text
                mine.new_value = elem.new_value
                mine.vr = elem.vr
                mine.is_set = elem.is_set
                mine.private_name = elem.private_name
            new.overlay[tag] = mine
    return new


cdef list changed_elements(ElementMap level):
    """Return the elements that were set, or changed in place since they were read."""
    cdef list found = []
    cdef DataElement elem
    cdef uint64_t i
    if level.overlay:
        found += [elem for elem in level.overlay.values() if elem is not None]
    if level.index is not None and (level.sequences or level.file.lists):
        for i in range(level.index.ix.count):
            if ((not level.overlay or level.index.ix.rows[i].tag not in level.overlay) and
                    is_modified(level, &level.index.ix.rows[i])):
                found.append(level.element_of(&level.index.ix.rows[i]))
    return found


def deepcopy_level(ElementMap level, ElementMap new not None, memo):
    """Fill `new`, an empty map, with a deep copy, and return it.

    Nothing that can change is shared. Values not read yet are read on access.
    """
    from copy import deepcopy  # loaded by the caller; not needed to read

    cdef DataElement elem, mine
    share_index(level, new)
    new.overlay = None if level.overlay is None else dict.fromkeys(level.overlay)
    for elem in changed_elements(level):
        mine = deepcopy(elem, memo)
        mine.level = new
        if new.overlay is None:
            new.overlay = {}
        new.overlay[elem.row.tag] = mine
    if level.index is not None:
        new.file = independent(level.file, level.index)
    return new


cdef File independent(File f, Index index):
    """Return a File of the same stream that stays usable when `f` is closed."""
    cdef File root = f if f.origin is None else f.origin, new
    cdef uint64_t i
    cdef dcm_segment *s
    cdef uint8_t *space
    cdef dcm_error err
    memset(&err, 0, sizeof(err))
    if (f is root and f.stream is None and f.owner is None and not f.closed and
            f.at(index.ix.begin, index.ix.pos - index.ix.begin) == NULL):
        new = reopened(f)
        if new is not None:
            for i in range(f.bytes.n_segments):
                new.read_segment(f.bytes.segments[i].offset, f.bytes.segments[i].length, 0)
        else:
            new = f.new_part()
            new.read_segment(0, f.size, 0)
    else:
        new = f.new_part()
        if f is not root and not f.bytes.borrowed:
            for i in range(f.bytes.n_segments):
                s = &f.bytes.segments[i]
                check(dcm_bytes_reserve(&new.bytes, s.length, &space), &err, f, "")
                if s.length:
                    memcpy(space, f.bytes.data + s.at, s.length)
                check(dcm_bytes_commit(&new.bytes, s.offset, s.length, 0), &err, f, "")
    new.notes = f.notes
    new.lists = {}
    return new


cdef File reopened(File f):
    """Open the same file again; return None if its path now names another file."""
    cdef File new
    try:
        new = File(f.path) if f.member is None else File(f.system_path, f.member, f.path)
        new.open()
    except DicomError:
        return None
    if (new.file.inode != f.file.inode or new.file.device != f.file.device or
            new.file.mtime_ns != f.file.mtime_ns or new.file.size != f.file.size):
        return None
    dcm_file_close(&new.file)
    new.acquire()  # counts among the open descriptors
    new.release()
    return new


# ------------------------------------------------------------------ pickle ---

def freeze(ElementMap level not None):
    """Return a level as data that can be pickled.

    Its rows, the bytes of the elements that were not changed, and the changed
    elements (None: deleted). The bytes of deleted or replaced elements are left
    out.
    """
    cdef Pieces spans = Pieces.__new__(Pieces)
    cdef dcm_index *ix
    cdef const dcm_row *row
    cdef uint64_t i
    cdef DataElement elem
    cdef dict changed = {} if level.overlay is None else dict.fromkeys(level.overlay)
    for elem in changed_elements(level):
        changed[elem.row.tag] = elem
    if level.index is None:
        return None, changed
    ix = &level.index.ix
    rows = []
    for i in range(ix.count):
        row = &ix.rows[i]
        if row.tag in changed:
            continue
        rows.append((row.tag, row.vr, row.offset, row.length, row.header, row.flags))
        put_element(spans, level.file, row)
    spans.flush()
    parts = [(offset, length) for _, offset, length in spans.parts]
    if not changed:
        parts = [(ix.begin, (ix.pos if ix.state == DCM_INDEX_STOPPED else ix.end) - ix.begin)]
    if ix.begin >= 8:
        parts.append((ix.begin - 8, 8))  # of an item: its header
    stream = sorted([(offset, level.file.read(offset, length)) for offset, length in parts])
    extent = (ix.begin, ix.end, ix.pos, ix.encoding, ix.state, level.file.size)
    context = (level.text().terms, level.inherited.terms, level.fixed, level.inherited_pixrep,
               level.filtered)
    return (rows, stream, extent, context, level.index.issues(), level.file.notes,
            level.file.path), changed


def thaw(cls, state, attributes, source):
    """Return the map that `freeze` was called with; attributes: of the object."""
    cdef ElementMap level = cls.__new__(cls)
    cdef DataElement elem
    cdef Index index
    cdef File f
    cdef dcm_row *row
    cdef dcm_error err
    cdef uint8_t *space
    cdef uint64_t i
    frozen, changed = state
    memset(&err, 0, sizeof(err))
    if frozen is not None:
        rows, stream, extent, context, issues, notes, path = frozen
        f = File.__new__(File)
        f.path = path
        f.notes = notes
        f.closed = True
        dcm_bytes_reset(&f.bytes, extent[5])
        for offset, data in stream:
            check(dcm_bytes_reserve(&f.bytes, len(data), &space), &err, f, "")
            if data:  # for an empty stream the pointer is NULL
                memcpy(space, PyBytes_AS_STRING(data), len(data))
            check(dcm_bytes_commit(&f.bytes, offset, len(data), 0), &err, f, "")
        index = Index.__new__(Index)
        index.file = f
        dcm_index_start(&index.ix, extent[0], extent[1], extent[3], 0xFFFFFFFF, DCM_ONE_LEVEL)
        index.ix.pos = extent[2]
        index.ix.state = extent[4]
        check(dcm_grow(<void **>&index.ix.rows, &index.ix.capacity, len(rows), sizeof(dcm_row)),
              &err, f, "")
        for i, (tag, vr, offset, length, header, flags) in enumerate(rows):
            row = &index.ix.rows[i]
            row.tag, row.vr, row.offset, row.length = tag, vr, offset, length
            row.header, row.flags = header, flags
        index.ix.count = len(rows)
        for code, offset, tag in issues:
            check(dcm_index_issue(&index.ix, code, offset, tag), &err, f, "")
        level.file = f
        level.index = index
        level.level_text = text_of(context[0])
        level.inherited = text_of(context[1])
        level.fixed, level.inherited_pixrep, level.filtered = context[2:]
    if changed:
        level.overlay = changed
        for elem in changed.values():
            if elem is not None:
                elem.level = level
    if source is not None:
        f = File.__new__(File)
        f.path, f.preamble, f.transfer_syntax, f.deflated, f.encoding = source
        f.closed = True
        level._source = f
    level.__dict__.update(attributes)
    return level


def source_state(File f):
    """Return what `thaw` needs of the file that contains a data set."""
    return f.path, f.preamble, f.transfer_syntax, f.deflated, f.encoding
