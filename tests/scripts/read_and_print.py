"""Read a file and print its elements."""

import sys

import pydicom

ds = pydicom.dcmread(sys.argv[1])
print(ds)
print()
print("patient:", ds.PatientName, "/", ds.get("PatientID", "(none)"))
print("family name:", ds.PatientName.family_name, "given name:", ds.PatientName.given_name)
print("modality:", ds.Modality, "on", ds.StudyDate)
print("size:", f"{ds.Rows} x {ds.Columns}", "spacing:", [round(v, 3) for v in ds.PixelSpacing])
print("location:", f"{ds.get('SliceLocation', 0):.2f}")
print("transfer syntax:", ds.file_meta.TransferSyntaxUID, ds.file_meta.TransferSyntaxUID.name)
print("compressed:", ds.file_meta.TransferSyntaxUID.is_compressed)
print("has pixels:", "PixelData" in ds, "has an address:", "PatientAddress" in ds)
for elem in ds:
    if elem.VR == "UI":
        print(elem.tag, elem.keyword, elem.VM, elem.value)
