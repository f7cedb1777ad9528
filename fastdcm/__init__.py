"""fastdcm: from DICOM files to Python, fast and honest."""

from fastdcm._dictionary import (Tag, dictionary_VM, dictionary_VR, keyword_for_tag,
                                 tag_for_keyword)
from fastdcm._elements import DataElement, Sequence
from fastdcm._values import PersonName
from fastdcm.bulk import scan, scan_chunk
from fastdcm.dataset import Dataset
from fastdcm.errors import DicomError, InvalidDicomError
from fastdcm.reader import dcmread
from fastdcm.uid import UID, generate_uid
from fastdcm.writer import dcmwrite

__version__ = "0.1.0"
