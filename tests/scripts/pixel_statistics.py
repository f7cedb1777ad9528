"""Print statistics of the pixels of some files."""

import os
import sys

import numpy
import pydicom

for path in sys.argv[1:]:
    ds = pydicom.dcmread(path)
    array = ds.pixel_array
    print(os.path.basename(path), array.shape, array.dtype.kind, array.dtype.itemsize)
    print(
        "  least",
        array.min(),
        "most",
        array.max(),
        "sum",
        array.sum(dtype="i8"),
        f"mean {array.mean():.4f}",
    )
    if "RescaleSlope" in ds:
        units = array * float(ds.RescaleSlope) + float(ds.RescaleIntercept)
        print(f"  rescaled {units.min():.3f} to {units.max():.3f}")
    corner = array[..., :2, :2] if array.ndim < 4 else array[0, :2, :2]
    print("  corner", numpy.asarray(corner).ravel()[:8].tolist())
    counts, edges = numpy.histogram(array, bins=4)
    print("  histogram", counts.tolist(), edges.round(3).tolist())
