"""Load frames for machine learning: from a scan's table, or files, to batches of tensors.

Scan once, then train from the table::

    import fastdcm
    import fastdcm.ml
    from torch.utils.data import DataLoader

    scan = fastdcm.scan("archive", [*fastdcm.ml.COLUMNS, "PatientID"], pixels=True)
    scan.write("frames.parquet")

    dataset = fastdcm.ml.DicomDataset("frames.parquet", labels=["PatientID"], size=(256, 256))
    loader = DataLoader(dataset, 16, num_workers=4, collate_fn=fastdcm.ml.collate)
    for batch in loader:
        train(batch["image"], batch["PatientID"])

`DicomDataset`, `DicomIterableDataset`, `DicomPatchDataset` and `collate` need torch, which
is imported when one of them is first used; `Samples` needs only pyarrow.
`fastdcm.ml.monai`, `fastdcm.ml.torchio` and `fastdcm.ml.webdataset` are readers
for those libraries; each must be imported itself.
"""

from typing import TYPE_CHECKING, Any

from fastdcm.ml.samples import Samples
from fastdcm.ml.tables import COLUMNS

if TYPE_CHECKING:
    from fastdcm.ml.datasets import DicomDataset, collate
    from fastdcm.ml.iterable import DicomIterableDataset
    from fastdcm.ml.patches import DicomPatchDataset

__all__ = [
    "COLUMNS",
    "DicomDataset",
    "DicomIterableDataset",
    "DicomPatchDataset",
    "Samples",
    "collate",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'fastdcm.ml' has no attribute {name!r}")
    from fastdcm.ml import datasets, iterable, patches

    module = {"DicomIterableDataset": iterable, "DicomPatchDataset": patches}.get(name, datasets)
    globals()[name] = getattr(module, name)
    return globals()[name]
