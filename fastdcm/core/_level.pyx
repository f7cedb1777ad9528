"""Open the first level of a data set, and list the repairs made in reading it."""

from fastdcm.core.dcm cimport *
from fastdcm.core._file cimport File
from fastdcm.core._index cimport Index, open_part10
from fastdcm.core._elements cimport ElementMap
from fastdcm.core._values cimport text_of

from fastdcm.core._index import issue_of

cdef extern from *:
    """
    /* cls.__new__(cls), without looking up the method */
    static inline PyObject *new_instance(PyObject *cls) {
        PyObject *none = PyTuple_New(0), *made = NULL;
        if (none) made = ((PyTypeObject *)cls)->tp_new((PyTypeObject *)cls, none, NULL);
        Py_XDECREF(none);
        return made;
    }
    """
    object new_instance(object cls)


def read_level(cls, source, uint32_t stop, bint force, terms=None, tags=None):
    """Read the data set of a stream as a map of class `cls`, up to the tag `stop`.

    force: read bytes that do not look like DICOM. terms: a Specific Character
    Set to use in place of the one in the data set. tags: a collection of the
    tags, as int, to keep; all if None.
    """
    cdef ElementMap level = new_instance(cls)
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
    """Return the map, of class `cls`, of group 0002 of a stream."""
    cdef ElementMap level = new_instance(cls)
    level.file = f
    level.index = f.meta
    return level


def issues_of(ElementMap level, ElementMap meta=None):
    """Return the Issues of the levels and values read so far, each once."""
    found = []
    if meta is not None and meta.index is not None:
        found += [issue_of(*note) for note in meta.index.issues()]
    if level.index is not None:
        of_level = level.index.issues()
        found += [issue_of(*note) for note in of_level]
        found += [issue_of(*note, level.path_of(note[1]))
                  for note in level.file.notes if note not in of_level]
    return found
