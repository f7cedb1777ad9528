"""Convert data sets from and to pydicom, which is imported on first use."""

from __future__ import annotations

from fastdcm.core._elements import DataElement, ElementMap
from fastdcm.core._encode import decimal, encodings_of, level_from_bytes, of_undefined_length

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType
    from typing import Any, TypeVar

    _Level = TypeVar("_Level", bound=ElementMap)


def _import_pydicom() -> ModuleType:
    try:
        import pydicom
    except ImportError:
        raise ImportError("this needs pydicom: pip install pydicom") from None
    module: ModuleType = pydicom
    return module


def to_pydicom(ds: Any) -> Any:
    """Return a copy of a data set as a data set of pydicom, in memory.

    An element that was not changed keeps its bytes, so that pydicom decodes it
    as if it had read the file itself.

    Parameters
    ----------
    ds : Dataset
        All its values are read.

    Returns
    -------
    pydicom.Dataset
        A pydicom.FileDataset if `ds` was read from a file.

    Raises
    ------
    ImportError
        If pydicom is not installed.
    """
    pydicom = _import_pydicom()
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


def _codecs(level: ElementMap) -> str | list[str]:
    """Return the character set of a level in the form that pydicom stores."""
    codecs = list(encodings_of(level))
    return codecs if "SpecificCharacterSet" in level or codecs != ["iso8859"] else "iso8859"


def _level(pydicom: ModuleType, level: Any, new: Any) -> Any:
    """Fill `new`, an empty data set of pydicom, with the elements of a level."""
    new.set_original_encoding(*level.original_encoding, _codecs(level))
    for elem in level:
        if elem.VR == "SQ":
            items = [_level(pydicom, item, pydicom.Dataset()) for item in elem.value]
            for item, made in zip(elem.value, items, strict=True):
                made.is_undefined_length_sequence_item = of_undefined_length(item)
            theirs = pydicom.DataElement(
                int(elem.tag),
                "SQ",
                pydicom.Sequence(items),
                is_undefined_length=elem.is_undefined_length,
            )
        elif elem.is_raw and not level._is_modified(elem):
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


def _value(elem: DataElement) -> object:
    """Return a value that was set, in types that pydicom accepts."""
    value, vr = elem.value, elem.VR
    if isinstance(value, list):
        return [_one(vr, v) for v in value]
    return _one(vr, value)


def _one(vr: str, value: Any) -> object:
    if value is None:
        return value
    if vr == "DS":
        return decimal(value)
    if vr in ("PN", "UI"):
        return str(value)
    return int(value) if vr == "AT" else value


def from_pydicom(theirs: Any, cls: type[_Level], meta_cls: type[ElementMap]) -> _Level:
    """Return a data set with the contents of a data set of pydicom.

    Parameters
    ----------
    theirs : pydicom.Dataset
        Converted through the bytes that pydicom writes, so that an element that
        pydicom did not change keeps its bytes.
    cls, meta_cls : type
        The classes of the data set and of its file meta information.

    Returns
    -------
    Dataset
        Of class `cls`.

    Raises
    ------
    ImportError
        If pydicom is not installed.
    Exception
        As raised by pydicom for values that it cannot write.
    """
    pydicom = _import_pydicom()
    implicit, little = theirs.original_encoding
    if implicit is None or little is None:
        implicit, little = False, True
    out = pydicom.filebase.DicomBytesIO()
    out.is_implicit_VR, out.is_little_endian = implicit, little
    pydicom.filewriter.write_dataset(out, theirs)
    new = level_from_bytes(cls, out.getvalue(), implicit, not little)
    meta = getattr(theirs, "file_meta", None)
    if meta is not None:
        file_meta = meta_cls()
        for elem in meta:
            file_meta.add(DataElement(int(elem.tag), elem.VR, elem.value))
        setattr(new, "file_meta", file_meta)  # noqa: B010  # of Dataset, in a higher layer
    setattr(new, "preamble", getattr(theirs, "preamble", None))  # noqa: B010
    return new
