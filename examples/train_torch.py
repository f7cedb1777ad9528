"""Train a small network on the images of a folder.

python train_torch.py FOLDER

Needs fastdcm-dicom[ml]. The label is the modality; replace it with a column of yours.
"""

import sys

import torch
from torch.utils.data import DataLoader

import fastdcm
import fastdcm.ml

(folder,) = sys.argv[1:]

# The table of a scan has all that the loader needs. Write it to Parquet once for a large
# folder, and give the path of that file to DicomDataset.
tags = [*fastdcm.ml.COLUMNS, "Modality"]
table = fastdcm.scan(folder, tags, pixels=True, on_error="skip").read_all()
dataset = fastdcm.ml.DicomDataset(table, labels=["Modality"], size=(64, 64), on_error="skip")
classes = sorted(set(table["Modality"].to_pylist()) - {None})
print(f"{len(dataset)} frames, classes: {', '.join(classes)}")

model = torch.nn.Sequential(
    torch.nn.Conv2d(1, 8, 5, stride=4), torch.nn.ReLU(), torch.nn.Flatten(),
    torch.nn.LazyLinear(len(classes)),
)  # fmt: skip
loader = DataLoader(dataset, batch_size=32, shuffle=True, collate_fn=fastdcm.ml.collate)
model(torch.zeros(1, 1, 64, 64))  # creates the parameters of LazyLinear
optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
for epoch in range(2):
    total = 0.0
    for batch in loader:
        images = batch["image"][:, :1] / 1000  # (n, 1, 64, 64), modality values
        labels = torch.tensor([classes.index(name) for name in batch["Modality"]])
        loss = torch.nn.functional.cross_entropy(model(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        total += float(loss.detach())
    print(f"epoch {epoch}: loss {total / len(loader):.3f}")
