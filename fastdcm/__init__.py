"""fastdcm: from DICOM files to Python, fast and honest."""

from fastdcm.core._dictionary import (
    Tag,
    dictionary_VM,
    dictionary_VR,
    keyword_for_tag,
    tag_for_keyword,
)
from fastdcm.core._elements import DataElement, Sequence
from fastdcm.core._values import PersonName
from fastdcm.dataset import Dataset, from_pydicom
from fastdcm.errors import DicomError, InvalidDicomError
from fastdcm.pixels._frame_table import join_fragments
from fastdcm.reader import dcmread
from fastdcm.uid import UID, generate_uid
from fastdcm.writer import dcmwrite

__version__ = "0.1.0"


def __getattr__(name):
    # bulk brings threads along and volume NumPy, which a reader of one file
    # does not need
    if name in ("scan", "scan_chunk"):
        from fastdcm.scanning import scanner as module
    elif name == "open_index":
        from fastdcm.scanning.index import folder as module
    elif name == "read_volume":
        from fastdcm.volume import volume as module
    else:
        raise AttributeError(f"module 'fastdcm' has no attribute {name!r}")
    globals()[name] = getattr(module, name)
    return globals()[name]


def __dir__():
    return sorted({*globals(), "scan", "scan_chunk", "open_index", "read_volume"})
