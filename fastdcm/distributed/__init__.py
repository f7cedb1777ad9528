"""The scan on other people's machines: `fastdcm.distributed.ray`, `fastdcm.distributed.dask`.

Each has one function, ``read_dicom``, and needs the library of its name.
"""
