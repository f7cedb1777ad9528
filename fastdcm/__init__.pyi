from fastdcm.core._dictionary import Tag as Tag
from fastdcm.core._dictionary import dictionary_VM as dictionary_VM
from fastdcm.core._dictionary import dictionary_VR as dictionary_VR
from fastdcm.core._dictionary import keyword_for_tag as keyword_for_tag
from fastdcm.core._dictionary import tag_for_keyword as tag_for_keyword
from fastdcm.core._elements import DataElement as DataElement
from fastdcm.core._elements import Sequence as Sequence
from fastdcm.core._values import PersonName as PersonName
from fastdcm.dataset import Dataset as Dataset
from fastdcm.dataset import from_pydicom as from_pydicom
from fastdcm.errors import DicomError as DicomError
from fastdcm.errors import InvalidDicomError as InvalidDicomError
from fastdcm.pixels._frame_table import join_fragments as join_fragments
from fastdcm.reader import dcmread as dcmread
from fastdcm.scanning.index.folder import open_index as open_index
from fastdcm.scanning.scanner import scan as scan
from fastdcm.scanning.scanner import scan_chunk as scan_chunk
from fastdcm.uid import UID as UID
from fastdcm.uid import generate_uid as generate_uid
from fastdcm.volume.series import read_volumes as read_volumes
from fastdcm.volume.volume import read_volume as read_volume
from fastdcm.writer import dcmwrite as dcmwrite

__version__: str

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
