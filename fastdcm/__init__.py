"""Read and write DICOM files, and turn folders of them into tables and arrays.

`dcmread` opens one file as a `Dataset`, `scan` turns many into Arrow tables,
`read_volume` a series into an array. All public names are in ``__all__``; pixel
data is in `fastdcm.pixels`, exceptions are in `fastdcm.errors`.
"""

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

__all__ = [
    "UID",
    "DataElement",
    "Dataset",
    "DicomError",
    "InvalidDicomError",
    "PersonName",
    "Sequence",
    "Tag",
    "dcmread",
    "dcmwrite",
    "dictionary_VM",
    "dictionary_VR",
    "from_pydicom",
    "generate_uid",
    "join_fragments",
    "keyword_for_tag",
    "open_index",
    "read_volume",
    "read_volumes",
    "scan",
    "scan_chunk",
    "tag_for_keyword",
]


def __getattr__(name: str) -> object:
    # scanning loads threads and volume loads NumPy, which dcmread does not need
    if name in ("scan", "scan_chunk"):
        from fastdcm.scanning import scanner

        found = getattr(scanner, name)
    elif name == "open_index":
        from fastdcm.scanning.index import folder

        found = folder.open_index
    elif name == "read_volume":
        from fastdcm.volume import volume

        found = volume.read_volume
    elif name == "read_volumes":
        from fastdcm.volume import series

        found = series.read_volumes
    else:
        raise AttributeError(f"module 'fastdcm' has no attribute {name!r}")
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
