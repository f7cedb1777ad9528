"""Convert a series to NIfTI, with a check of its geometry.

python volume_to_nifti.py SERIES_FOLDER OUTPUT.nii.gz

Needs fastdcm-dicom[table,pixels,volume].
"""

import sys

import fastdcm

folder, output = sys.argv[1:]

try:
    # Raises VolumeError if slices are missing, unevenly spaced, or of several series.
    volume = fastdcm.read_volume(folder)
except fastdcm.DicomError as error:
    sys.exit(f"{folder}: {error}")
slices, rows, columns = volume.array.shape[:3]
spacing = " x ".join(f"{mm:.3g}" for mm in volume.spacing)
print(f"{columns} x {rows} x {slices} voxels of {spacing} mm, {volume.array.dtype}")
volume.to_nifti(output)
