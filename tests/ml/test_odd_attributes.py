"""Elements of another VR or multiplicity, in every attribute that loaders read."""

import numpy as np
import pytest

import fastdcm
import fastdcm.ml
from support.builder import PIXEL_DATA, element, fragments
from support.encoded_frames import RLE, rle
from support.odd_elements import odd_elements
from support.optional_packages import require_package

require_package("torch", "torch.utils.data")

DicomDataset = fastdcm.ml.DicomDataset

CELLS = np.arange(48, dtype="<u2").reshape(6, 8)
IMAGE = {
    0x00280002: ("US", 1),
    0x00280004: ("CS", "MONOCHROME2"),
    0x00280010: ("US", 6),
    0x00280011: ("US", 8),
    0x00280100: ("US", 16),
    0x00280101: ("US", 12),
    0x00280102: ("US", 11),
    0x00280103: ("US", 0),
    0x00281050: ("DS", "20"),
    0x00281051: ("DS", "30"),
}
TAGS = [
    0x00080016,
    *IMAGE,
    0x00280006,
    0x00280008,
    0x00281052,
    0x00281053,
    0x00281056,
    0x00283000,
    0x00283010,
    0x20500020,
    0x3004000E,
    0x52009229,
    0x52009230,
]


@pytest.mark.parametrize("encapsulated", [False, True])
@pytest.mark.parametrize("tag", TAGS)
def test_a_sample_or_a_typed_error(put, tag, encapsulated):
    """And it is what the functions of pixels return."""
    parts = {key: element(key, *rest) for key, rest in IMAGE.items()}
    pixels = fragments([rle(CELLS)]) if encapsulated else element(PIXEL_DATA, "OW", CELLS.tobytes())
    paths = []
    for odd in odd_elements(tag):
        content = {**parts, PIXEL_DATA: pixels, tag: odd}
        raw = b"".join(content[key] for key in sorted(content))
        paths.append(put(raw, transfer_syntax=RLE if encapsulated else "1.2.840.10008.1.2.1"))
    for options, function in (
        ({}, "modality_pixels"),
        ({"window": "file", "dtype": "uint8"}, "windowed"),
    ):
        data = DicomDataset(
            paths, labels=["path"], size=(6, 8), channels=3, on_error="fill", pad=77, **options
        )
        for i in range(len(data)):
            batch = data.read([i])
            found = batch["image"][0].numpy()
            try:
                ds = fastdcm.dcmread(batch["path"][0])
                wanted = getattr(ds, function)(int(batch["frame"][0]))
            except (fastdcm.DicomError, IndexError):
                assert "errors" in batch or not (found == 77).all()
                continue
            if "errors" not in batch and wanted.shape == (6, 8):
                assert np.allclose(found[0], wanted), batch["path"]


@pytest.mark.parametrize("left_out", [None, 0x00280101, 0x00280102, 0x00280103])
@pytest.mark.parametrize("vr, tag, dtype", [("OF", 0x7FE00008, "<f4"), ("OD", 0x7FE00009, "<f8")])
def test_floating_point_beside_attributes_of_integers(put, vr, tag, dtype, left_out):
    """PS3.3 C.7.6.24 and C.7.6.25 have no Bits Stored, but some files do."""
    stored = (CELLS - 20.5).astype(dtype)
    bits = stored.itemsize * 8
    parts = {key: element(key, *rest) for key, rest in IMAGE.items() if rest[0] != "DS"}
    for key, value in ((0x00280100, bits), (0x00280101, bits), (0x00280102, bits - 1)):
        parts[key] = element(key, "US", value)
    parts[tag] = element(tag, vr, stored.tobytes())
    parts.pop(left_out, None)
    path = put(b"".join(parts[key] for key in sorted(parts)))
    assert np.array_equal(DicomDataset([path])[0]["image"][0].numpy(), stored)
    assert np.array_equal(fastdcm.read_volume(path).array[0], stored)
