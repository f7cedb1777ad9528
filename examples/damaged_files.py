"""List the files of a folder that are damaged, and what was repaired in them.

python damaged_files.py FOLDER

Needs only fastdcm-dicom.
"""

import sys
from collections import Counter

import fastdcm

(folder,) = sys.argv[1:]

codes = Counter()
files = 0
# With pixels=True a scan reads every header up to the pixel data and checks its length.
for batch in fastdcm.scan(folder, [], pixels=True):
    columns = batch.to_pydict()
    files += len(batch)
    for path, error, offset, detail, issues in zip(
        columns["path"],
        columns["error"],
        columns["error_offset"],
        columns["error_detail"],
        columns["issues"],
        strict=True,
    ):
        if error:
            codes[error] += 1
            print(f"{path}: unreadable at byte {offset}: {detail}")
            continue
        if not issues:
            continue
        # The scan decodes no values. Check those of the files that have issues.
        with fastdcm.dcmread(path) as ds:
            for issue in ds.check_all():
                codes[issue.code] += 1
                print(f"{path}: {issue}")
print(f"{files} files; " + ", ".join(f"{count} {code}" for code, count in codes.most_common()))
