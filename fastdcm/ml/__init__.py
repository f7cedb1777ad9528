"""Frames for machine learning: a scan's table, or files, to batches of tensors.

`DicomDataset`, `DicomIterableDataset` and `collate` need torch, which is
imported when one of them is first asked for; `Samples` does without.
`fastdcm.ml.monai`, `fastdcm.ml.torchio` and `fastdcm.ml.webdataset` are readers
for those libraries.
"""

from fastdcm.ml.samples import COLUMNS, Samples

__all__ = ["COLUMNS", "DicomDataset", "DicomIterableDataset", "Samples", "collate"]


def __getattr__(name):
    if name in ("DicomDataset", "DicomIterableDataset", "collate"):
        from fastdcm.ml import datasets

        globals()[name] = getattr(datasets, name)
        return globals()[name]
    raise AttributeError(f"module 'fastdcm.ml' has no attribute {name!r}")
