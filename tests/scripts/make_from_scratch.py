"""Make a CT image, save it in three encodings and read it."""

import io

import pydicom
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import (
    UID,
    CTImageStorage,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

for syntax in (ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian):
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = CTImageStorage
    meta.MediaStorageSOPInstanceUID = UID("1.2.3.4")
    meta.ImplementationClassUID = UID("1.2.3")
    meta.ImplementationVersionName = "SCRIPT"
    meta.TransferSyntaxUID = syntax

    ds = Dataset()
    ds.file_meta = meta
    ds.SOPClassUID = CTImageStorage
    ds.SOPInstanceUID = "1.2.3.4"
    ds.SpecificCharacterSet = "ISO_IR 192"
    ds.PatientName = "Test^J\u00f6rg"
    ds.PatientID = "123456"
    ds.StudyDate, ds.StudyTime = "20240229", "120000.5"
    ds.Modality = "CT"
    ds.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    ds.Rows, ds.Columns, ds.SamplesPerPixel = 4, 3, 1
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 12, 11, 0
    ds.PhotometricInterpretation = "MONOCHROME2"
    ds.PixelSpacing = [0.5, 0.25]
    ds.ImagePositionPatient = [-10.5, 0.5, 12.5]
    ds.RescaleSlope, ds.RescaleIntercept = "1", "-1024"
    ds.PixelData = bytes(24)
    ds["PixelData"].VR = "OW"

    out = io.BytesIO()
    ds.save_as(out, enforce_file_format=True)
    raw = out.getvalue()
    print(len(raw), raw[128:132], raw[132:].hex() if syntax is not ExplicitVRBigEndian else "")
    out.seek(0)
    again = pydicom.dcmread(out)
    print(again)
    print(
        again == ds,
        again.file_meta.TransferSyntaxUID.name,
        again.PatientName.given_name,
        again.PixelSpacing,
    )
