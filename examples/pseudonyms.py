"""Copy a folder with patient names and IDs replaced by pseudonyms.

python pseudonyms.py FOLDER OUTPUT_FOLDER

Needs only fastdcm-dicom. This replaces four attributes; it is not a de-identification
profile (PS3.15 Annex E). Elements that are not changed keep their bytes.
"""

import hashlib
import secrets
import sys
from pathlib import Path

import fastdcm

folder, output = map(Path, sys.argv[1:])

key = secrets.token_bytes(16)
copied = skipped = 0
for path in sorted(folder.rglob("*")):
    if not path.is_file():
        continue
    try:
        ds = fastdcm.dcmread(path)
    except fastdcm.InvalidDicomError:
        skipped += 1
        continue
    original = f"{ds.get('PatientID', '')}".encode()
    pseudonym = hashlib.blake2b(original, key=key, digest_size=6).hexdigest()
    ds.PatientName = ds.PatientID = pseudonym
    ds.PatientBirthDate = ""
    if "PatientAddress" in ds:
        del ds.PatientAddress
    target = output / path.relative_to(folder)
    target.parent.mkdir(parents=True, exist_ok=True)
    ds.save_as(target)
    copied += 1
print(f"{copied} files copied, {skipped} skipped")
