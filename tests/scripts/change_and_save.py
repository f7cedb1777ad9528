"""Change a few elements and save the result under another name."""

import os
import sys
import tempfile

import pydicom
from pydicom import DataElement, Sequence

ds = pydicom.dcmread(sys.argv[1])
ds.PatientID = "12345"
ds.SeriesNumber = 5
ds["PatientBirthDate"].value = "19700101"
ds.PatientName = "Citizen^Jan"
ds.ImageComments = "after the change"
ds[0x0010, 0x1010] = DataElement(0x00101010, "AS", "042Y")
ds.add_new((0x0008, 0x1030), "LO", "A study")
ds.WindowCenter = [40.5, 300.5]
if "StudyTime" in ds:
    del ds.StudyTime
code = pydicom.Dataset()
code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = "T-A0100", "SRT", "Brain"
ds.AnatomicRegionSequence = Sequence([code])

with tempfile.TemporaryDirectory() as folder:
    target = os.path.join(folder, "changed.dcm")
    ds.save_as(target)
    again = pydicom.dcmread(target)
    print(again)
    print(
        "equal:",
        again == ds,
        "size differs:",
        os.path.getsize(target) != os.path.getsize(sys.argv[1]),
    )
    again.save_as(target)  # onto itself
    print("still equal:", pydicom.dcmread(target) == ds)
    try:
        again.save_as(target, overwrite=False)
    except FileExistsError:
        print("not overwritten")
