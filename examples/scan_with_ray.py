"""Scan a folder with Ray on all machines of a cluster, and write Parquet files.

python scan_with_ray.py FOLDER OUTPUT_FOLDER

Needs fastdcm-dicom[ray]. Without a cluster Ray runs on this machine. All machines must see
the files under the same paths.
"""

import sys

from fastdcm.distributed.ray import read_dicom

folder, output = sys.argv[1:]

rows = read_dicom(folder, ["PatientID", "StudyInstanceUID", "SeriesInstanceUID", "Modality"])
rows.write_parquet(output)
print(f"{rows.count()} rows: {output}")
