"""The scan on other people's machines: `fastdcm.ext.ray`, `fastdcm.ext.dask`.

Each has one function, ``read_dicom``, and needs the library of its name.
"""
