"""The values of images: conversion, crop, padding, errors."""

import os

import numpy as np
import pydicom
import pytest

import fastdcm.ml
from fastdcm.ml import Samples
from support import builder
from support.builder import element as el
from support.loader_files import encode_frames, noise, table
from support.optional_packages import require_package

require_package("pyarrow")
torch = require_package("torch", "torch.utils.data")

DataLoader = torch.utils.data.DataLoader
DicomDataset = fastdcm.ml.DicomDataset
collate = fastdcm.ml.collate


def test_values_equal_pydicom(pydicom_files):
    """Grayscale frames of every file that pydicom can decode: stored values, and
    those of the modality."""
    samples = Samples([str(path) for path in pydicom_files])
    stored = DicomDataset(samples, rescale=False, color="raw")
    modality = DicomDataset(samples, color="raw")
    files, _ = samples.files(np.arange(len(samples)))
    seen = 0
    for file in range(files[-1] + 1):
        path = samples.path(file).decode()
        first = int(np.flatnonzero(files == file)[0])
        if samples.layout(np.array([first]))[0]["samples"] != 1:
            continue
        try:
            ds = pydicom.dcmread(path)
            array = ds.pixel_array
            changed = pydicom.pixels.apply_modality_lut(array, ds)
        except Exception:  # what pydicom cannot read is tested elsewhere
            continue
        if (ds.get("NumberOfFrames") or 1) == 1:
            array, changed = array[None], changed[None]
        for frame in range(min(len(array), 3)):
            assert np.array_equal(
                stored[first + frame]["image"][0].numpy(), array[frame].astype("f4")
            ), path
            found = modality[first + frame]["image"][0].numpy()
            if (
                "RescaleSlope" in ds or "ModalityLUTSequence" in ds
            ):  # pydicom ignores functional groups
                assert np.array_equal(found, changed[frame].astype("f4")), path
            seen += 1
    assert seen > 60


def test_color_has_its_samples_first(pydicom_files):
    path = next(str(path) for path in pydicom_files if path.name == "SC_rgb_rle.dcm")
    data = DicomDataset([path], dtype="uint8", rescale=False)
    expected = pydicom.dcmread(path).pixel_array
    image = data.read([0, 0])["image"]
    assert image.shape == (2, 3, 100, 100) and image.is_contiguous(
        memory_format=torch.channels_last
    )
    assert np.array_equal(image[1].permute(1, 2, 0).numpy(), expected)
    assert torch.equal(data[0]["image"], image[0])


def test_frames_of_single_bits(put):
    bits = np.random.default_rng(1).integers(0, 2, (3, 3, 5), dtype=np.uint8)
    raw = np.packbits(bits, bitorder="little").tobytes()
    head = b"".join(
        el(tag, vr, value)
        for tag, vr, value in [
            (0x00280002, "US", 1),
            (0x00280004, "CS", "MONOCHROME2"),
            (0x00280008, "IS", 3),
            (0x00280010, "US", 3),
            (0x00280011, "US", 5),
            (0x00280100, "US", 1),
            (0x00280101, "US", 1),
            (0x00280102, "US", 0),
            (0x00280103, "US", 0),
        ]
    )
    path = put(head + el(builder.PIXEL_DATA, "OB", raw))
    data = DicomDataset([path], dtype="uint8", rescale=False)
    assert np.array_equal(data.read([0, 1, 2])["image"][:, 0].numpy(), bits)


def windowed(x, center, width, function="LINEAR"):
    """PS3.3 C.11.2.1.2, for 0 to 1."""
    x = x.astype(np.float64)
    if function == "SIGMOID":
        return 1 / (1 + np.exp((-4 * (x - center) / width).clip(-700, 700)))
    if function == "LINEAR_EXACT":
        return ((x - center) / width + 0.5).clip(0, 1)
    if width == 1:
        return (x > center - 0.5).astype(float)
    return ((x - (center - 0.5)) / (width - 1) + 0.5).clip(0, 1)


@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
@pytest.mark.parametrize("photometric", ["MONOCHROME2", "MONOCHROME1"])
@pytest.mark.parametrize("width", [1, 400])
def test_window(put, function, photometric, width):
    values = noise()
    path = put(
        encode_frames(
            values,
            slope=1,
            intercept=-1000,
            window=(40, width),
            function=function,
            photometric=photometric,
        )
    )
    expected = windowed(values - 1000.0, 40, width, function)
    expected = 1 - expected if photometric == "MONOCHROME1" else expected
    found = DicomDataset([path], window="file")[0]["image"][0].numpy()
    assert found.dtype == np.float32 and np.allclose(found, expected, atol=2e-5)
    found = DicomDataset([path], window="file", dtype="uint8")[0]["image"][0].numpy()
    assert found.dtype == np.uint8 and np.abs(found - expected * 255).max() <= 0.5001
    if function == "LINEAR":
        assert np.array_equal(
            DicomDataset([path], window=(40, width), dtype="uint8")[0]["image"][0].numpy(), found
        )


@pytest.mark.parametrize(
    "dtype", ["float16", "bfloat16", "float64", "int16", "int32", torch.int16, "uint8"]
)
def test_dtypes(series, dtype):
    paths, expected = series
    data = DicomDataset(paths, dtype=dtype)
    image = data.read([0, 5])["image"]
    expected = torch.from_numpy(expected[[0, 5]])[:, None]
    if not image.dtype.is_floating_point:
        expected = expected.clamp(
            *(getattr(torch.iinfo(image.dtype), end) for end in ("min", "max"))
        )
    assert image.dtype == getattr(torch, str(dtype).removeprefix("torch."))
    assert torch.equal(image, expected.to(image.dtype))


def test_integers_are_rounded(put):
    path = put(encode_frames(np.array([[0, 1, 2, 3]], "<i2"), slope=0.6, intercept=-1))
    assert DicomDataset([path], dtype="int16")[0]["image"].flatten().tolist() == [-1, 0, 0, 1]


def test_stored_values_of_another_type(put):
    unsigned, signed = (
        put(encode_frames(noise(dtype="<u2"), bits_stored=12)),
        put(encode_frames(noise())),
    )
    data = DicomDataset([unsigned, signed], dtype="int16", rescale=False)
    assert np.array_equal(data.read([0, 1])["image"][:, 0].numpy(), np.stack([noise(), noise()]))
    with pytest.raises(fastdcm.DicomError, match="frame 0") as caught:
        DicomDataset([signed], dtype="uint16", rescale=False)[0]
    assert caught.value.code == "frame-fit" and caught.value.filename == signed


@pytest.mark.parametrize("size", [(10, 20), (16, 12), (9, 5), (31, 31)])
def test_crop_and_pad_around_the_center(series, pydicom_files, size):
    paths, expected = series
    data = DicomDataset(paths, size=size, pad=-7)
    image = data.read([2, 4])["image"][:, 0].numpy()
    assert image.shape == (2, *size)
    wanted = np.full((2, *size), -7, np.float32)
    source, target = [], []
    for have, want in zip((16, 12), size):
        first = have // 2 - want // 2 if have > want else 0
        to = (want - have) // 2 if want > have else 0
        source.append(slice(first, first + min(have, want)))
        target.append(slice(to, to + min(have, want)))
    wanted[:, target[0], target[1]] = expected[[2, 4]][:, source[0], source[1]]
    assert np.array_equal(image, wanted)
    # what is decoded is placed as what C reads
    path = next(str(path) for path in pydicom_files if path.name == "MR_small_RLE.dcm")
    native = next(str(path) for path in pydicom_files if path.name == "MR_small.dcm")
    pair = DicomDataset([path, native], size=(size[0] * 3, size[1] * 3), pad=-7).read([0, 1])[
        "image"
    ]
    assert torch.equal(pair[0], pair[1])


def test_padding_is_in_units_of_the_result(series):
    for options in (
        {"window": (40, 400)},
        {"window": (40, 400), "dtype": "uint8"},
        {"dtype": "int16"},
    ):
        image = DicomDataset(series[0], size=(20, 20), pad=1, **options)[0]["image"]
        assert (image[0, 0] == 1).all() and (image[0, :, -1] == 1).all()


def test_resize(put):
    values = [noise(16, 12), noise(32, 20, seed=1), noise(8, 8, seed=2)]
    paths = [put(encode_frames(v, slope=1, intercept=-5)) for v in values]
    image = DicomDataset(paths, size=(16, 12), resize=True).read([0, 1, 2])["image"]
    assert np.array_equal(image[0, 0].numpy(), values[0] - 5.0)
    for i in (1, 2):
        expected = torch.nn.functional.interpolate(
            torch.from_numpy(values[i] - 5.0).float()[None, None],
            (16, 12),
            mode="bilinear",
            antialias=True,
        )
        assert torch.allclose(image[i], expected[0])
    small = DicomDataset(
        paths, size=(16, 12), resize=True, window=(1000, 2000), dtype="uint8"
    ).read([0, 1, 2])
    assert small["image"].dtype == torch.uint8
    assert np.abs(small["image"].numpy() / 255 - windowed(image.numpy(), 1000, 2000)).max() < 0.01


def test_frames_of_different_sizes_need_a_size(put):
    paths = [put(encode_frames(noise(16, 12))), put(encode_frames(noise(8, 12)))]
    data = DicomDataset(paths)
    assert data[1]["image"].shape == (1, 8, 12)
    with pytest.raises(ValueError, match=r"differ in size.*size=\(height, width\)"):
        data.read([0, 1])


@pytest.fixture
def damaged(series):
    """The 20 slices, of which number 3 is gone and number 5 is another file."""
    data = Samples(table(series[0], "PatientID"), labels=["PatientID"])
    os.remove(series[0][3])
    with open(series[0][5], "ab") as file:
        file.write(b"more")
    return data, series


@pytest.mark.parametrize("workers", [0, 1])
def test_errors_have_file_and_frame(damaged, workers):
    data, (paths, _) = damaged
    with pytest.raises(FileNotFoundError, match="frame 0") as caught:
        list(DataLoader(DicomDataset(data), 10, num_workers=workers, collate_fn=collate))
    assert isinstance(caught.value, fastdcm.DicomError) and paths[3] in str(caught.value)
    with pytest.raises(fastdcm.DicomError, match="frame 0"):
        DicomDataset(data)[5]


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("on_error", ["skip", "fill"])
def test_errors_do_not_stop_the_loop(damaged, on_error, workers):
    data, (paths, expected) = damaged
    batches = list(
        DataLoader(
            DicomDataset(data, on_error=on_error, pad=9),
            10,
            num_workers=workers,
            collate_fn=collate,
        )
    )
    assert "errors" not in batches[1]
    first = batches[0]
    assert [(i, error.code, error.filename) for i, error in first["errors"]] == [
        (3, "open", paths[3]),
        (5, "changed", paths[5]),
    ]
    kept = [0, 1, 2, 4, 6, 7, 8, 9]
    image = first["image"][:, 0].numpy()
    if on_error == "fill":
        assert (image[[3, 5]] == 9).all() and len(image) == 10
        image = image[kept]
    else:
        assert first["index"].tolist() == kept and first["PatientID"][3] == "P1"
    assert np.array_equal(image, expected[kept])


def test_batch_of_errors_only(put):
    path = put(encode_frames(noise()))
    data = DicomDataset([path], on_error="skip")
    os.remove(path)
    batch = data.read([0])
    assert batch["image"].shape == (0, 1, 16, 12) and len(batch["errors"]) == 1
    with pytest.raises(FileNotFoundError):
        data[0]


def test_file_without_a_window_uses_the_range_of_its_values(put, series):
    bare = put(encode_frames(noise()))
    expected = fastdcm.dcmread(bare).windowed()
    for dtype, top in (("uint8", 1), ("float32", 255)):
        batch = DicomDataset([series[0][0], bare], window="file", dtype=dtype).read([0, 1])
        assert np.array_equal(np.rint(batch["image"][1, 0].numpy() * top), expected)
        assert not np.array_equal(batch["image"][0, 0].numpy() * top, expected)


@pytest.mark.parametrize(
    "options",
    [
        {"window": (40, 0)},
        {"window": (40, -5)},
        {"window": (40, 0.5)},
        {"window": (40, 0.5), "function": "GAMMA"},
        {"window": (40, 9), "function": "GAMMA"},
        {"window": (40, 0.5), "function": "SIGMOID"},
        {"window": ("x", 9)},
        {"window": ("nan", 9)},
        {"window": (40, "inf")},
    ],
)
def test_impossible_window(put, series, options):
    """A batch has what `windowed` returns."""
    odd = put(encode_frames(noise(), **options))
    expected = fastdcm.dcmread(odd).windowed()
    for dtype, top in (("uint8", 1), ("float32", 255)):
        data = DicomDataset([series[0][0], odd], window="file", dtype=dtype)
        image = data.read([0, 1])["image"][1, 0].numpy() * top
        assert np.abs(image - expected).max() <= (0 if dtype == "uint8" else 1)


@pytest.mark.parametrize("value", ["two", "1\\2", "nan", "inf"])
@pytest.mark.parametrize("keyword", ["slope", "intercept"])
def test_impossible_rescale(put, series, keyword, value):
    """An error for the sample, as `modality_pixels` raises it."""
    odd = put(encode_frames(noise(), **{"slope": 1, "intercept": 0, keyword: value}))
    with pytest.raises(fastdcm.DicomError):
        fastdcm.dcmread(odd).modality_pixels()
    batch = DicomDataset([series[0][0], odd], on_error="fill", pad=1).read([0, 1])
    assert [(i, error.code) for i, error in batch["errors"]] == [(1, "lut")]
    assert (batch["image"][1] == 1).all()


def test_encapsulated_damage(put):
    head = encode_frames(noise(4, 4, dtype="<u2"))
    head = head[: head.index(builder.header(builder.PIXEL_DATA, "OW", 32))]
    path = put(head + builder.fragments([b"not RLE"]), transfer_syntax="1.2.840.10008.1.2.5")
    with pytest.raises(fastdcm.DicomError, match="frame 0") as caught:
        DicomDataset([path])[0]
    assert caught.value.filename == path
