"""Data sets of pydicom, both ways. pydicom is imported when first asked for."""

from fastdcm.core._elements import DataElement
from fastdcm.core._encode import decimal, encodings_of, level_of, of_undefined_length


def _pydicom():
    try:
        import pydicom
    except ImportError:
        raise ImportError("this needs pydicom: pip install pydicom") from None
    return pydicom


def to_pydicom(ds):
    """A pydicom Dataset (FileDataset if `ds` was read) with the same
    elements. What was not changed goes over as the bytes it came in, so that
    pydicom decodes it as if it had read the file itself. All values are read
    into memory, and nothing is shared."""
    pydicom = _pydicom()
    new = _level(pydicom, ds, pydicom.Dataset())
    meta = getattr(ds, "file_meta", None)
    if meta is not None:
        meta = _level(pydicom, meta, pydicom.dataset.FileMetaDataset())
    if getattr(ds, "_source", None) is None:
        if meta is not None:
            new.file_meta = meta
        return new
    file = pydicom.FileDataset(ds.filename, new, ds.preamble, meta)
    file.set_original_encoding(*ds.original_encoding, _codecs(ds))
    return file


def _codecs(level):
    """The character set of a level as pydicom keeps it."""
    codecs = list(encodings_of(level))
    return codecs if "SpecificCharacterSet" in level or codecs != ["iso8859"] else "iso8859"


def _level(pydicom, level, new):
    new.set_original_encoding(*level.original_encoding, _codecs(level))
    for elem in level:
        if elem.VR == "SQ":
            items = [_level(pydicom, item, pydicom.Dataset()) for item in elem.value]
            for item, made in zip(elem.value, items):
                made.is_undefined_length_sequence_item = of_undefined_length(item)
            theirs = pydicom.DataElement(
                int(elem.tag),
                "SQ",
                pydicom.Sequence(items),
                is_undefined_length=elem.is_undefined_length,
            )
        elif elem.is_raw and not level._stale(elem):
            theirs = pydicom.dataelem.RawDataElement(
                pydicom.tag.BaseTag(elem.tag),
                elem.VR,
                0xFFFFFFFF if elem.is_undefined_length else elem.value_length,
                elem.raw_bytes,
                elem.file_tell,
                elem.is_implicit,
                not elem.is_big_endian,
            )
        else:
            theirs = pydicom.DataElement(
                int(elem.tag), elem.VR, _value(elem), is_undefined_length=elem.is_undefined_length
            )
        new[theirs.tag] = theirs
    return new


def _value(elem):
    """A value that was set, in types that pydicom takes."""
    value, vr = elem.value, elem.VR
    if isinstance(value, list):
        return [_one(vr, v) for v in value]
    return _one(vr, value)


def _one(vr, value):
    if value is None:
        return value
    if vr == "DS":
        return decimal(value)
    if vr in ("PN", "UI"):
        return str(value)
    return int(value) if vr == "AT" else value


def from_pydicom(theirs, cls, meta_cls):
    """A `cls` with the elements of a pydicom Dataset, as pydicom writes them
    (so what it did not change keeps its bytes); its file meta information, if
    any, is a `meta_cls`. Raises what pydicom raises for what it cannot write."""
    pydicom = _pydicom()
    implicit, little = theirs.original_encoding
    if implicit is None or little is None:
        implicit, little = False, True
    out = pydicom.filebase.DicomBytesIO()
    out.is_implicit_VR, out.is_little_endian = implicit, little
    pydicom.filewriter.write_dataset(out, theirs)
    new = level_of(cls, out.getvalue(), implicit, not little)
    meta = getattr(theirs, "file_meta", None)
    if meta is not None:
        new.file_meta = meta_cls()
        for elem in meta:
            new.file_meta.add(DataElement(int(elem.tag), elem.VR, elem.value))
    new.preamble = getattr(theirs, "preamble", None)
    return new
