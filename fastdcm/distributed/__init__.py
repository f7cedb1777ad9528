"""Scan on several machines: `fastdcm.distributed.ray` and `fastdcm.distributed.dask`.

Each has a function ``read_dicom``, and needs the library that it is named after.
"""
