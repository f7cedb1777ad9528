"""List a folder as patients, studies, series and images."""

import os
import sys

import pydicom
from pydicom.errors import InvalidDicomError

tree = {}
skipped = 0
for folder, _, names in sorted(os.walk(sys.argv[1])):
    for name in sorted(names):
        try:
            ds = pydicom.dcmread(os.path.join(folder, name), stop_before_pixels=True)
        except InvalidDicomError:
            skipped += 1
            continue
        if "SOPInstanceUID" not in ds or "DirectoryRecordSequence" in ds:
            skipped += 1
            continue
        patient = tree.setdefault((ds.PatientID, str(ds.PatientName)), {})
        study = patient.setdefault((ds.StudyDate, ds.StudyInstanceUID), {})
        study.setdefault(
            (ds.get("SeriesNumber") or 0, ds.Modality, ds.SeriesInstanceUID), []
        ).append(ds)
for (number, name), studies in sorted(tree.items()):
    print("patient", number, name)
    for (date, uid), series in sorted(studies.items()):
        print("  study", date, uid.rsplit(".", 1)[-1])
        for (number, modality, _), images in sorted(series.items()):
            images.sort(key=lambda ds: ds.get("InstanceNumber") or 0)
            print(
                f"    series {number} {modality}: {len(images)} images,",
                [int(ds.get("InstanceNumber") or 0) for ds in images[:4]],
                images[0].get("SeriesDescription", ""),
            )
print(skipped, "skipped")
