"""Images in color, and batches of gray and color: color= and channels=."""

import itertools

import numpy as np
import pytest

import fastdcm
import fastdcm.ml
from support.builder import fragments
from support.encoded_frames import RLE, rle
from support.images import image
from support.loader_files import encode_frames, noise
from support.optional_packages import require_package

torch = require_package("torch", "torch.utils.data")

DicomDataset = fastdcm.ml.DicomDataset

RNG = np.random.default_rng(0)
COLOR = RNG.integers(0, 256, (16, 12, 3), np.uint8)
PALETTE = [
    *((0x00281101 + i, "US", [256, 0, 16]) for i in range(3)),
    *(
        (0x00281201 + i, "OW", (np.roll(np.arange(256), i) * 257).astype("<u2").tobytes())
        for i in range(3)
    ),
]


@pytest.fixture
def colors(put):
    """Paths by what the images are."""
    compressed = image(COLOR, photometric="YBR_FULL", samples=3, transfer_syntax=RLE)
    at = compressed.index(b"\xe0\x7f\x10\x00")

    return {
        "gray": put(encode_frames(noise(), slope=2, intercept=-100, window=(40, 400))),
        "rgb": put(raw=image(COLOR, photometric="RGB", samples=3)),
        "ybr": put(raw=image(COLOR, photometric="YBR_FULL", samples=3)),
        "palette": put(raw=image(COLOR[..., 0], *PALETTE, photometric="PALETTE COLOR")),
        "compressed": put(raw=compressed[:at] + fragments([rle(COLOR)])),
    }


def expected(path, window=False):
    ds = fastdcm.dcmread(path)
    if ds.get("PhotometricInterpretation") in ("MONOCHROME2",):
        return ds.windowed() if window else ds.modality_pixels()
    return ds.to_rgb()


@pytest.mark.parametrize("dtype", ["float32", "uint8", "int16", "bfloat16"])
@pytest.mark.parametrize("kind", ["rgb", "ybr", "palette", "compressed"])
def test_color_is_rgb(colors, kind, dtype):
    data = DicomDataset([colors[kind]], dtype=dtype)
    found = data[0]["image"]
    assert data.channels == 3 and found.dtype == getattr(torch, dtype)
    assert np.array_equal(found.float().numpy(), expected(colors[kind]).transpose(2, 0, 1))


@pytest.mark.parametrize("kind", ["rgb", "ybr", "palette", "compressed"])
@pytest.mark.parametrize("window", ["file", (40.0, 400.0)])
def test_windows_leave_color_as_it_is(colors, kind, window):
    wanted = expected(colors[kind]).transpose(2, 0, 1)
    for dtype, top in (("uint8", 1), ("float32", 255)):
        data = DicomDataset([colors[kind], colors["gray"]], window=window, dtype=dtype)
        batch = data.read([1, 0])["image"].numpy()
        assert np.allclose(batch[1] * top, wanted, atol=1e-3)
        if window == "file":
            gray = expected(colors["gray"], window=True)
            assert np.abs(batch[0] * top - gray).max() <= (0 if top == 1 else 1)


def test_raw_color(colors):
    for kind in ("rgb", "ybr", "compressed"):
        found = DicomDataset([colors[kind]], color="raw")[0]["image"].numpy()
        assert np.array_equal(found, COLOR.transpose(2, 0, 1))
    found = DicomDataset([colors["palette"]], color="raw")[0]["image"].numpy()
    assert np.array_equal(found[0], COLOR[..., 0])


@pytest.mark.parametrize("kind", ["rgb", "ybr", "palette", "compressed"])
def test_color_as_an_error(colors, kind):
    with pytest.raises(fastdcm.DicomError, match="in color") as caught:
        DicomDataset([colors[kind]], color="error")[0]
    assert caught.value.code == "color"
    data = DicomDataset([colors["gray"], colors[kind]], color="error", on_error="skip")
    batch = data.read([1, 0])
    assert batch["index"].tolist() == [0] and [i for i, _ in batch["errors"]] == [1]


@pytest.mark.parametrize("order", itertools.permutations(range(3)))
@pytest.mark.parametrize("channels", [None, 1, 3])
def test_a_batch_does_not_depend_on_its_first_sample(colors, order, channels):
    paths = [colors["gray"], colors["rgb"], colors["palette"]]
    data = DicomDataset(paths, channels=channels)
    batch = data.read(order)["image"].numpy()
    assert batch.shape == (3, channels or 3, 16, 12)
    for position, index in enumerate(order):
        wanted = expected(paths[index]).astype("f4")
        if wanted.ndim == 3 and channels == 1:
            wanted = (wanted @ np.array([0.299, 0.587, 0.114]))[..., None]
        wanted = np.atleast_3d(wanted).transpose(2, 0, 1)
        assert np.allclose(batch[position], np.broadcast_to(wanted, batch.shape[1:]), atol=1e-3)
        assert np.allclose(data[index]["image"].numpy(), batch[position])


@pytest.mark.parametrize("resize", [False, True])
def test_sizes_and_channels_together(colors, resize):
    paths = [colors["rgb"], colors["gray"]]
    data = DicomDataset(
        paths, size=(8, 20), resize=resize, channels=3, dtype="uint8", window="file"
    )
    a, b = data.read([0, 1])["image"], data.read([1, 0])["image"]
    assert a.shape == (2, 3, 8, 20) and torch.equal(a, b.flip(0))


def test_invalid_options(colors):
    for options, text in (
        ({"color": "bgr"}, "color must be"),
        ({"channels": 2}, "channels must be"),
        ({"no_window": (40, 400)}, "no_window is for"),
        ({"window": "file", "no_window": (40, 0)}, "width of at least 1"),
    ):
        with pytest.raises(ValueError, match=text):
            DicomDataset([colors["gray"]], **options)


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_the_window_of_files_without_one(put, series, dtype):
    bare = put(encode_frames(noise()))
    data = DicomDataset([series[0][0], bare], window="file", no_window=(1000, 500), dtype=dtype)
    found = data.read([0, 1])["image"][1, 0].numpy() * (1 if dtype == "uint8" else 255)
    wanted = fastdcm.dcmread(bare).windowed(center=1000, width=500, function="LINEAR")
    assert np.abs(found - wanted).max() <= (0 if dtype == "uint8" else 1)
    plain = DicomDataset([series[0][0]], window="file", dtype=dtype)[0]["image"]
    assert torch.equal(plain, data[0]["image"])
