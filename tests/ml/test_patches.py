"""3-D patches of volumes."""

import os
import pickle

import numpy as np
import pytest

import fastdcm
import fastdcm.ml
from fastdcm.volume import VolumeError
from support.optional_packages import require_package
from support.series import cells, encode_image, frames_of

torch = require_package("torch", "torch.utils.data")

DicomPatchDataset = fastdcm.ml.DicomPatchDataset


@pytest.fixture
def study(put):
    """Two volumes, of 7 and of 3 slices, in one list; and their arrays."""
    paths, arrays = [], []
    for number, count in enumerate((7, 3)):
        for i in range(count):
            values = {"position": [10, 20, 2 * i], "series": f"1.2.{number + 1}", "number": i}
            paths.append(put(encode_image(cells(10 * number + i), slope=2, intercept=-5, **values)))
        arrays.append(np.stack([cells(10 * number + i) for i in range(count)]) * 2.0 - 5)
    return paths[::-1], arrays[::-1]


@pytest.mark.parametrize("patch", [(3, 2, 4), (1, 4, 6), (7, 4, 6), (2, 3, 5)])
def test_patches_that_cover_the_volumes(study, patch):
    paths, arrays = study
    data = DicomPatchDataset(paths, patch)
    assert [volume["shape"] for volume in data.volumes] == [array.shape for array in arrays]
    seen = [np.zeros(array.shape, bool) for array in arrays]
    for index in range(len(data)):
        sample = data[index]
        volume, start = sample["volume"], sample["start"].tolist()
        part = tuple(slice(at, at + size) for at, size in zip(start, patch))
        wanted = arrays[volume][part]
        image = sample["image"].numpy()
        assert image.shape == (1, *patch) and sample["index"] == index
        inside = tuple(slice(0, size) for size in wanted.shape)
        assert np.array_equal(image[0][inside], wanted)
        assert image.size == wanted.size or (image[0, wanted.shape[0] :] == 0).all()
        seen[volume][part] = True
        origin = sample["affine"][:3, 3].tolist()
        assert origin == [10 + 0.75 * start[2], 20 + 0.5 * start[1], 2 * start[0]]
    assert all(found.all() for found in seen)


def test_random_patches(study):
    paths, arrays = study
    data = DicomPatchDataset(paths, (2, 2, 2), per_volume=20, seed=3)
    assert len(data) == 40
    first = [tuple(data[i]["start"].tolist()) for i in range(40)]
    assert first == [tuple(data[i]["start"].tolist()) for i in range(40)]
    assert len(set(first[:20])) > 10
    for i in range(40):
        sample = data[i]
        z, y, x = sample["start"].tolist()
        wanted = arrays[sample["volume"]][z : z + 2, y : y + 2, x : x + 2]
        assert np.array_equal(sample["image"][0].numpy(), wanted)
    data.set_epoch(1)
    assert first != [tuple(data[i]["start"].tolist()) for i in range(40)]


def test_only_the_slices_of_a_patch_are_read(study):
    paths, _ = study
    data = DicomPatchDataset(paths, (1, 4, 6))
    os.unlink(paths[-1])  # the first slice of the last volume
    with pytest.raises(fastdcm.DicomError):
        data[3]
    assert data[4]["image"].shape == (1, 1, 4, 6)


def test_in_a_loader(study):
    plain = DicomPatchDataset(study[0], (2, 4, 6))
    assert torch.equal(pickle.loads(pickle.dumps(plain))[0]["image"], plain[0]["image"])
    data = DicomPatchDataset(
        study[0], (2, 4, 6), dtype="float16", transform=lambda cells: cells + 1
    )
    batches = list(torch.utils.data.DataLoader(data, batch_size=3, num_workers=2))
    assert sum(len(batch["index"]) for batch in batches) == len(data) == 6
    assert batches[0]["image"].shape == (3, 1, 2, 4, 6)
    assert batches[0]["image"].dtype == torch.float16


def test_multi_frame_and_color(put):
    path = put(encode_image(frames_of(5), frames=5, position=[0, 0, 0], between=2))
    data = DicomPatchDataset(path, (2, 4, 6))
    assert len(data) == 3 and np.array_equal(data[2]["image"][0].numpy(), frames_of(5)[3:])
    color = np.random.default_rng(0).integers(0, 256, (4, 6, 3), np.uint8)
    paths = [
        put(encode_image(color, samples=3, bits=8, signed=0, position=[0, 0, z])) for z in range(3)
    ]
    image = DicomPatchDataset(paths, (3, 4, 6), dtype="uint8")[0]["image"]
    assert np.array_equal(image.numpy(), np.stack([color] * 3).transpose(3, 0, 1, 2))


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "int32", "float32"])
def test_values_are_rounded_and_clamped_as_by_other_datasets(put, dtype):
    stored = np.array([-32768, -1, 0, 1, 255, 256, 32767], np.int16)[None]
    paths = [
        put(
            encode_image(
                stored, rows=1, columns=7, slope="1.5", intercept="0.2", position=[0, 0, z]
            )
        )
        for z in (0, 1)
    ]
    wanted = fastdcm.ml.DicomDataset(paths, dtype=dtype)[0]["image"][0]
    data = DicomPatchDataset(paths, (2, 1, 9), dtype=dtype, pad=-7.6)
    found = data[0]["image"][0, 0]
    assert found.dtype == wanted.dtype
    assert found[:, :7].tolist() == wanted.tolist()
    pad = {"float32": float(np.float32(-7.6)), "uint8": 0, "uint16": 0}.get(dtype, -8)
    assert found[:, 7:].tolist() == [[pad, pad]]


def test_series_that_are_no_volume(study, put):
    gap = [
        put(encode_image(cells(i), position=[0, 0, z], series="1.2.9"))
        for i, z in enumerate([0, 1, 5])
    ]
    data = DicomPatchDataset([*study[0], *gap], (2, 4, 6))
    assert len(data.volumes) == 2
    assert [error.series_instance_uid for error in data.left_out] == ["1.2.9"]
    with pytest.raises(VolumeError, match="uneven"):
        DicomPatchDataset([*study[0], *gap], (2, 4, 6), on_problem="raise")
    with pytest.raises(ValueError, match="there is no volume"):
        DicomPatchDataset(gap, (2, 4, 6))


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"patch": (0, 1, 1)}, "patch must be"),
        ({"patch": (1, 1)}, "patch must be"),
        ({"per_volume": 0}, "per_volume must be"),
        ({"on_problem": "keep"}, "on_problem must be"),
    ],
)
def test_invalid_arguments(study, options, text):
    with pytest.raises(ValueError, match=text):
        DicomPatchDataset(study[0], **{"patch": (1, 1, 1), **options})


def test_index_out_of_range(study):
    data = DicomPatchDataset(study[0], (2, 4, 6))
    assert data[-1]["index"] == len(data) - 1
    with pytest.raises(IndexError):
        data[len(data)]
