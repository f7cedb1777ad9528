"""Remove names, names of other persons, dates and private elements."""

import sys

import pydicom


def persons(dataset, elem):
    if elem.VR == "PN":
        elem.value = "anonymous"


def curves(dataset, elem):
    if elem.tag.group & 0xFF00 == 0x5000:
        del dataset[elem.tag]


def dates(dataset, elem):
    if elem.VR == "DA" and elem.value:
        elem.value = "19000101"
    elif elem.VR == "TM" and elem.value:
        elem.value = ""


ds = pydicom.dcmread(sys.argv[1])
for callback in (persons, curves, dates):
    ds.walk(callback)
ds.PatientID = "id"
for name in ("OtherPatientIDs", "OtherPatientIDsSequence", "PatientAddress"):
    if name in ds:
        delattr(ds, name)
if "PatientBirthDate" in ds:
    ds.data_element("PatientBirthDate").value = ""
before = sum(1 for _ in ds.iterall())
ds.remove_private_tags()
print(before, "elements, without private ones", sum(1 for _ in ds.iterall()))
print(ds)
