"""The same tasks done by each library, written as its own documentation would.

TAGS, ELEMENTS and PIXELS are {library: function of a list of paths}. Every function
returns, per file, what it has read, so that the caller can compare the results:

TAGS      the 16 values of KEYWORDS, one file after another; no library keeps them (except
          the scan, which makes one table)
ELEMENTS  the number of elements whose value was read, at all depths, without the file meta
          information and without the pixel data
PIXELS    the sum of all pixels
"""

import os

import dicomsdl
import fastdicom
import gdcm
import numpy as np
import pydicom

import fastdcm

KEYWORDS = [
    "SOPInstanceUID",
    "StudyDate",
    "StudyTime",
    "Modality",
    "StudyDescription",
    "SeriesDescription",
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "SeriesNumber",
    "InstanceNumber",
    "Rows",
    "Columns",
]
LAST = 0x00280011
PIXELS_TAG = 0x7FE00010


# ------------------------------------------------------------------- tags ---


def tags_scan(paths, threads=1):
    """Return one Arrow table of all files; values never become Python objects."""
    return fastdcm.scan(paths, KEYWORDS, threads=threads).read_all()


def tags_dcmread(paths):
    for path in paths:
        ds = fastdcm.dcmread(path, stop_before_pixels=True)
        yield [getattr(ds, keyword) for keyword in KEYWORDS]


def tags_pydicom(paths):
    for path in paths:
        ds = pydicom.dcmread(path, stop_before_pixels=True)
        yield [getattr(ds, keyword) for keyword in KEYWORDS]


def tags_pydicom_specific(paths):
    for path in paths:
        ds = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=KEYWORDS)
        yield [getattr(ds, keyword) for keyword in KEYWORDS]


def tags_fastdicom(paths):
    for path in paths:
        ds = fastdicom.dcmread(path, stop_before_pixels=True)
        yield [getattr(ds, keyword) for keyword in KEYWORDS]


def tags_dicomsdl(paths):
    for path in paths:
        ds = dicomsdl.open(path, load_until=LAST)
        yield [getattr(ds, keyword) for keyword in KEYWORDS]


def tags_gdcm(paths):
    scanner = gdcm.StrictScanner()
    tags = []
    for keyword in KEYWORDS:
        number = pydicom.datadict.tag_for_keyword(keyword)
        tags.append(gdcm.Tag(number >> 16, number & 0xFFFF))
        scanner.AddTag(tags[-1])
    scanner.Scan(paths)
    for path in paths:
        yield [scanner.GetValue(path, tag) for tag in tags]


TAGS = {
    "fastdcm scan": tags_scan,
    "fastdcm dcmread": tags_dcmread,
    "pydicom": tags_pydicom,
    "pydicom specific_tags": tags_pydicom_specific,
    "fastdicom": tags_fastdicom,
    "dicomsdl": tags_dicomsdl,
    "python-gdcm": tags_gdcm,
}


def as_text(result):
    """Return the rows of 16 values as text, from the result of any of TAGS."""
    if hasattr(result, "column_names"):
        assert result["error"].null_count == len(result)
        result = zip(*(result[keyword].to_pylist() for keyword in KEYWORDS))
    return [[str(value).strip(" \0") for value in row] for row in result]


# --------------------------------------------------------------- elements ---


def elements_fastdcm(paths):
    found = []
    for path in paths:
        count = 0
        for element in fastdcm.dcmread(path, stop_before_pixels=True).iterall():
            _ = element.value
            count += 1
        found.append(count)
    return found


def elements_pydicom(paths):
    found = []
    for path in paths:
        count = 0
        for element in pydicom.dcmread(path, stop_before_pixels=True).iterall():
            _ = element.value
            count += 1
        found.append(count)
    return found


def _fastdicom_values(ds):
    count = 0
    for value in ds.values():
        count += 1
        if type(value) is list and value and type(value[0]) is fastdicom.Dataset:
            count += sum(map(_fastdicom_values, value))
    return count


def elements_fastdicom(paths):
    return [_fastdicom_values(fastdicom.dcmread(path, stop_before_pixels=True)) for path in paths]


def _dicomsdl_values(ds):
    count = 0
    for element in ds:
        count += 1
        if element.vr() == dicomsdl.VR.SQ:
            count += sum(map(_dicomsdl_values, element.toSequence()))
        else:
            element.value()
    return count


def elements_dicomsdl(paths):
    """Subtract group 0002, which is counted and has 5 elements in these files."""
    return [_dicomsdl_values(dicomsdl.open(path, load_until=PIXELS_TAG - 1)) - 5 for path in paths]


ELEMENTS = {
    "fastdcm": elements_fastdcm,
    "pydicom": elements_pydicom,
    "fastdicom": elements_fastdicom,
    "dicomsdl": elements_dicomsdl,
}


# ----------------------------------------------------------------- pixels ---


def pixels_fastdcm(paths):
    return [int(fastdcm.dcmread(path).pixel_array.sum()) for path in paths]


def pixels_fromfile(paths):
    """Read with NumPy alone, which is given that only frames of 0.5 MB follow the header."""
    found = []
    offset = os.path.getsize(paths[0]) % (512 * 512 * 2)
    for path in paths:
        found.append(int(np.fromfile(path, dtype="<i2", offset=offset).sum()))
    return found


def pixels_memmap(paths):
    """Do the same with a memory map, for files that are much larger than a frame."""
    offset = os.path.getsize(paths[0]) % (512 * 512 * 2)
    return [int(np.memmap(path, "<i2", "c", offset).sum()) for path in paths]


def pixels_pydicom(paths):
    return [int(pydicom.dcmread(path).pixel_array.sum()) for path in paths]


def pixels_dicomsdl(paths):
    return [int(dicomsdl.open(path).pixelData(storedvalue=True).sum()) for path in paths]


PIXELS = {
    "np.fromfile": pixels_fromfile,
    "fastdcm": pixels_fastdcm,
    "pydicom": pixels_pydicom,
    "dicomsdl": pixels_dicomsdl,
}
