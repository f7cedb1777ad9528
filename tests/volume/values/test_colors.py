"""Images in color: never intensities without a note."""

import numpy as np
import pytest

import fastdcm
from fastdcm.volume.values.colors import COLOR_MODES
from support.builder import element
from support.series import COLUMNS, ROWS, encode_image, problems

RNG = np.random.default_rng(5)
PALETTE = {0x00281101 + i: element(0x00281101 + i, "US", [256, 0, 8]) for i in range(3)} | {
    0x00281201 + i: element(0x00281201 + i, "OW", RNG.integers(0, 256, 256, np.uint8).tobytes())
    for i in range(3)
}
LABEL_MAP = "1.2.840.10008.5.1.4.1.1.66.7"


def color_image(photometric, number, planar=0, **values):
    samples = 1 if photometric.startswith(("PALETTE", "MONOCHROME")) else 3
    size = ROWS * COLUMNS * (2 if photometric == "YBR_FULL_422" else samples)
    pixels = RNG.integers(0, 256, size, np.uint8)
    raw = {0x00280004: element(0x00280004, "CS", photometric), **values.pop("raw", {})}
    if samples == 3:
        raw[0x00280006] = element(0x00280006, "US", planar)
    else:
        raw |= PALETTE
    return encode_image(
        pixels,
        raw,
        **{"samples": samples, "bits": 8, "signed": 0, "position": [0, 0, number]} | values,
    )


@pytest.mark.parametrize("color", COLOR_MODES)
@pytest.mark.parametrize("planar", [0, 1])
@pytest.mark.parametrize(
    "photometric", ["RGB", "YBR_FULL", "YBR_FULL_422", "PALETTE COLOR", "MONOCHROME1"]
)
def test_color(put, photometric, planar, color):
    if photometric == "YBR_FULL_422" and planar:
        pytest.skip("subsampled pixels are not planar")
    paths = [put(color_image(photometric, i, planar)) for i in range(2)]
    datasets = [fastdcm.dcmread(path) for path in paths]
    stored = np.stack([ds.frames[0] for ds in datasets])
    if photometric == "MONOCHROME1":
        volume = fastdcm.read_volume(paths, color=color)
        assert (volume.array == stored).all() and volume.findings == []
        assert volume.photometric_interpretation == "MONOCHROME1"
        return
    if color == "error":
        with pytest.raises(fastdcm.DicomError, match=f"the image is {photometric}") as caught:
            fastdcm.read_volume(paths, color=color)
        assert caught.value.code == "color"
        return
    volume = fastdcm.read_volume(paths, color=color)
    if color == "raw":
        assert (volume.array == stored).all()
        assert [(f.code, f.problem, f.details) for f in volume.findings] == [
            ("raw-color", False, {"slices": {photometric: 2}})
        ]
        assert volume.photometric_interpretation == photometric
    else:
        assert (volume.array == np.stack([ds.to_rgb(0) for ds in datasets])).all()
        assert volume.findings == [] and volume.photometric_interpretation == "RGB"
        assert volume.dims == ("z", "y", "x", "channel")


@pytest.mark.parametrize("photometric", ["RGB", "YBR_FULL", "PALETTE COLOR"])
def test_color_in_nifti(put, photometric):
    pytest.importorskip("nibabel")
    path = put(color_image(photometric, 0))
    rgb = fastdcm.dcmread(path).to_rgb(0)
    data = np.asanyarray(fastdcm.read_volume(path).to_nifti().dataobj)
    assert (np.stack([data[c] for c in "RGB"], -1).transpose(2, 1, 0, 3)[0] == rgb).all()
    raw = fastdcm.read_volume(path, color="raw")
    if photometric == "YBR_FULL":
        with pytest.raises(fastdcm.DicomError, match="these are YBR_FULL") as caught:
            raw.to_nifti()
        assert caught.value.code == "volume"


def test_palette_next_to_grayscale(put):
    paths = [put(color_image("PALETTE COLOR", 0)), put(color_image("MONOCHROME2", 1))]
    (found,) = problems(paths)
    assert found.code == "mixed-size"
    shapes = {v.array.shape for v in fastdcm.read_volume(paths, on_problem="split")}
    assert shapes == {(1, ROWS, COLUMNS, 3), (1, ROWS, COLUMNS)}


def test_label_maps_keep_their_numbers(put):
    raw = {0x00080016: element(0x00080016, "UI", LABEL_MAP)}
    path = put(color_image("PALETTE COLOR", 0, raw=raw))
    volume = fastdcm.read_volume(path)
    assert (volume.array[0] == fastdcm.dcmread(path).frames[0]).all()


def test_one_sample_with_the_label_of_three(put):
    raw = {0x00280004: element(0x00280004, "CS", "RGB")}
    pixels = np.arange(ROWS * COLUMNS, dtype=np.int16)
    path = put(encode_image(pixels, raw, position=[0, 0, 0]))
    volume = fastdcm.read_volume(path)
    assert (volume.array.ravel() == pixels).all()
    assert [(f.code, f.problem) for f in volume.findings] == [
        ("photometric", False),
        ("single-slice", False),
    ]


@pytest.mark.parametrize(("photometric", "samples"), [("CMYK", 4), ("MONOCHROME2", 3)])
def test_color_that_cannot_be_converted(put, photometric, samples):
    pixels = np.zeros(ROWS * COLUMNS * samples, np.uint8)
    raw = {
        0x00280004: element(0x00280004, "CS", photometric),
        0x00280006: element(0x00280006, "US", 0),
    }
    path = put(encode_image(pixels, raw, samples=samples, bits=8, signed=0, position=[0, 0, 0]))
    with pytest.raises(fastdcm.DicomError):
        fastdcm.read_volume(path)


def test_color_argument(put):
    with pytest.raises(ValueError, match="color must be 'rgb', 'raw' or 'error', got 'gray'"):
        fastdcm.read_volume(put(color_image("RGB", 0)), color="gray")
