"""Every tag, VR and value of every level, compared with pydicom.

DIFFERENCES lists, with its reason, each file whose reading differs; any other
difference fails. docs/from-pydicom.md is that list for people.
"""

import math
from pathlib import Path

import pydicom
import pytest

import fastdcm

pytestmark = pytest.mark.usefixtures("quiet")

# Reason: the names of files and what may differ in them.
DIFFERENCES = {
    "a VR of two bytes that are no letters is taken as implicit VR by pydicom, whose "
    "32-bit length then swallows what follows; fastdcm takes the reading that fits": {
        "TC0395_meta_glen_max.dcm",
        "TC0499_meta_0001_vr_2055.dcm",
        "TC0523_meta_0002_vr_7569.dcm",
        "TC0547_meta_0003_vr_7371.dcm",
        "TC0571_meta_0010_vr_ffff.dcm",
        "TC0667_meta_ALL_vr_2055.dcm",
    },
    "an unknown VR of two letters ends in NotImplementedError when pydicom reads the "
    "value; fastdcm gives its bytes as UN and notes unknown-vr": {
        "TC0475_meta_0001_vr_5a5a.dcm",
        "TC0595_meta_0012_vr_5151.dcm",
        "TC0619_meta_0013_vr_4141.dcm",
        "TC0643_meta_ALL_vr_5a5a.dcm",
        "TC0691_meta_repeat_100_fake_elems.dcm",
    },
    "a delimiter outside a sequence is an element to pydicom; fastdcm skips it and "
    "notes stray-delimiter": {"TC0361_stray_seq_delim.dcm"},
    "zero bytes are elements (0000,0000) to pydicom; fastdcm notes padding": {
        "TC0383_no_dicm.dcm",
        "TC0389_dicm_offset256.dcm",
    },
    "UN above 64 KiB is bytes to pydicom; fastdcm gives it the VR of the dictionary": {
        "TC0121_seriesdescription_over_64KB.dcm",
    },
    "pydicom gives up on the whole data set where fragments are truncated; fastdcm keeps "
    "every complete element and notes unclosed": {
        "emri_small_jpeg_2k_lossless_too_short.dcm",
    },
    "an item with encapsulated pixels truncated inside: pydicom reads past the item and "
    "finds a second one": {"pt_256x256_16bit_jpls.dcm"},
    "not DICOM, read by force: what follows the first bytes is noise": {
        "no_meta.dcm",
        "rtplan.dump",
    },
    "the stream ends in an element that the file's text overwrote": {
        "TC0405_latin1_utf8_payload.dcm",
    },
}
LISTED = {name for names in DIFFERENCES.values() for name in names}


def same(mine, theirs):
    if isinstance(mine, list):
        theirs = list(theirs) if hasattr(theirs, "__iter__") else theirs
        return (
            isinstance(theirs, list) and len(mine) == len(theirs) and all(map(same, mine, theirs))
        )
    if isinstance(mine, fastdcm.PersonName):
        return str(mine) == str(theirs) and mine.components == theirs.components
    if isinstance(mine, float) and math.isnan(mine):
        return math.isnan(theirs)
    return mine == theirs


def differences(mine, theirs, path=""):
    """Return the differences between two data sets, as lines of text."""
    if mine.keys() != sorted(theirs.keys()):
        yield f"{path}: tags {set(mine.keys()) ^ set(theirs.keys())}"
    for tag in mine.keys():  # noqa: SIM118  # iteration gives elements
        if tag not in theirs:
            continue
        here = f"{path}{tag}"
        elem = mine[tag]
        try:
            expected = theirs[tag]
        except Exception as error:
            yield f"{here}: pydicom raises {error!r}"
            continue
        if elem.VR != expected.VR:
            yield f"{here}: VR {elem.VR}, not {expected.VR}"
        elif elem.VR == "SQ":
            if len(elem.value) != len(expected.value):
                yield f"{here}: {len(elem.value)} items, not {len(expected.value)}"
            for i, (a, b) in enumerate(zip(elem.value, expected.value)):
                yield from differences(a, b, f"{here}[{i}].")
        elif not same(elem.value, expected.value):
            yield f"{here}: {elem.value!r}, not {expected.value!r}"[:200]


def read_both(path):
    """Return (the Dataset or error of fastdcm, that of pydicom), read with force."""
    both = []
    for read, errors in ((fastdcm.dcmread, fastdcm.DicomError), (pydicom.dcmread, Exception)):
        try:
            both.append(read(path, force=True))
        except errors as error:
            both.append(error)
    return both


def check(path):
    mine, theirs = read_both(path)
    if isinstance(theirs, Exception):
        return  # what pydicom cannot read we read, or refused with a DicomError
    if isinstance(mine, fastdcm.DicomError):
        assert not theirs and not theirs.file_meta, f"{path}: {mine}"
        return
    found = [*differences(mine.file_meta, theirs.file_meta, "meta "), *differences(mine, theirs)]
    if Path(path).name in LISTED:
        assert found, f"{path} is listed, but nothing differs"
    else:
        assert not found, f"{path}: {found[:5]}"
    assert [(e.tag, e.VR, e.keyword, e.name) for e in mine.iterall()] == [
        (e.tag, e.VR, e.keyword, e.name) for e in mine._iterall()
    ]


def test_pydicom_files(pydicom_files):
    for path in pydicom_files:
        check(path)


def test_corpus(corpus_files):
    for path in corpus_files:
        check(path)


def test_flat_values_equal_those_of_the_levels(pydicom_files):
    """A flat iteration gives the same values as the levels."""
    for path in pydicom_files:
        mine = read_both(path)[0]
        if isinstance(mine, fastdcm.DicomError):
            continue
        flat = [e.value for e in fastdcm.dcmread(path, force=True).iterall() if e.VR != "SQ"]
        level = [e.value for e in mine._iterall() if e.VR != "SQ"]
        assert repr(flat) == repr(level), path
