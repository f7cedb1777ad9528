"""Report series with missing slices and other problems of their geometry.

python missing_slices.py FOLDER

Needs fastdcm-dicom[table,pixels].
"""

import sys
from collections import defaultdict

import fastdcm

(folder,) = sys.argv[1:]

series = defaultdict(list)
for batch in fastdcm.scan(folder, ["SeriesInstanceUID", "Rows"], on_error="skip"):
    columns = batch.to_pydict()
    for path, uid, rows in zip(
        columns["path"], columns["SeriesInstanceUID"], columns["Rows"], strict=True
    ):
        if uid and rows:  # images only
            series[uid].append(path)

problems = 0
for uid, paths in series.items():
    try:
        # "keep" returns the largest stack and lists every problem among its findings.
        findings = fastdcm.read_volume(paths, on_problem="keep").findings
    except fastdcm.DicomError as error:
        print(f"{uid} ({len(paths)} files): {error}")
        continue
    for finding in findings:
        if finding.problem:
            problems += 1
            print(f"{uid} ({len(paths)} files): {finding.code}: {finding.text}")
print(f"{len(series)} series, {problems} problems")
