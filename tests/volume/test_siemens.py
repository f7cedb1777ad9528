"""Siemens CSA headers and mosaics, generated and real."""

import random
import struct
import warnings

import numpy as np
import pytest

import fastdcm
from fastdcm.volume._csa import read_csa
from fastdcm.volume.mosaics import mosaic_layout
from fastdcm.volume.siemens import csa_header
from support.builder import csa1, csa2, element
from support.series import (
    BETWEEN_COLUMNS,
    BETWEEN_ROWS,
    COLUMNS,
    ROWS,
    cells,
    encode_image,
    frames_of,
    problems,
)

CSA_TAGS = {
    "EchoLinePosition": ["64"],
    "NumberOfImagesInMosaic": ["5"],
    "SliceNormalVector": ["0.0", "0.0", "-1.0"],
}


@pytest.mark.parametrize("write", [csa2, csa1])
def test_csa(write):
    assert read_csa(write(CSA_TAGS)) == CSA_TAGS


@pytest.mark.parametrize("write", [csa2, csa1])
def test_damaged_csa(write):
    raw = write(CSA_TAGS)
    for end in range(len(raw)):
        try:
            found = read_csa(raw[:end])
        except fastdcm.DicomError as error:
            assert error.code == "csa"
        else:
            assert found.keys() <= CSA_TAGS.keys()
    with pytest.raises(fastdcm.DicomError, match="CSA header is damaged"):
        read_csa(b"")
    with pytest.raises(fastdcm.DicomError):
        read_csa(b"SV10\4\3\2\1" + struct.pack("<II", 0xFFFFFFFF, 77) + bytes(200))
    rng = random.Random(5)
    for _ in range(3000):
        bad = bytearray(raw)
        for _ in range(rng.randint(1, 4)):
            bad[rng.randrange(len(bad))] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)))
        try:
            read_csa(bytes(bad))
        except fastdcm.DicomError as error:
            assert error.code == "csa"


def mosaic(put, csa=None, count=None, side=3, **values):
    raw = {}
    if csa is not None:
        raw[0x00290010] = element(0x00290010, "LO", "SIEMENS CSA HEADER")
        raw[0x00291010] = element(0x00291010, "OB", csa)
    if count is not None:
        raw[0x00190010] = element(0x00190010, "LO", "SIEMENS MR HEADER")
        raw[0x0019100A] = element(0x0019100A, "US", count)
    mosaic_cells = np.zeros((side * ROWS, side * COLUMNS), "<i2")
    for i in range(5):
        r, c = i // side * ROWS, i % side * COLUMNS
        mosaic_cells[r : r + ROWS, c : c + COLUMNS] = cells(i)
    return put(
        encode_image(
            mosaic_cells,
            raw,
            rows=side * ROWS,
            columns=side * COLUMNS,
            image_type=["ORIGINAL", "PRIMARY", "M", "MOSAIC"],
            **{"between": 3} | values,
        )
    )


@pytest.mark.parametrize("sign", [1, -1])
def test_mosaic(put, sign):
    csa = csa2(CSA_TAGS | {"SliceNormalVector": ["0", "0", str(sign)]})
    volume = fastdcm.read_volume(mosaic(put, csa, position=[10, 20, 30]))
    assert volume.array.shape == (5, ROWS, COLUMNS) and volume.findings == []
    # the middle of the mosaic is the middle of the first tile
    x = 10 + (3 * COLUMNS - COLUMNS) / 2 * BETWEEN_COLUMNS
    y = 20 + (3 * ROWS - ROWS) / 2 * BETWEEN_ROWS
    assert volume.origin == (x, y, 30 if sign == 1 else 18)
    assert (volume.array[::sign] == frames_of(5)).all()
    assert volume.spacing == (BETWEEN_COLUMNS, BETWEEN_ROWS, 3)


def test_mosaic_with_number_of_tiles_in_private_element(put):
    assert fastdcm.read_volume(mosaic(put, count=5, position=[0, 0, 0])).array.shape == (
        5,
        ROWS,
        COLUMNS,
    )


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"csa": b"SV10"},
        {"count": 0},
        {"count": 10},
        {"csa": csa2({"NumberOfImagesInMosaic": ["many"]})},
    ],
)
def test_mosaic_without_number_of_tiles(put, options):
    (found,) = problems(mosaic(put, position=[0, 0, 0], modality="MR", **options))
    assert found.code == "bad-image" and found.details["errors"][0].code in ("mosaic", "csa")


@pytest.mark.parametrize("modality", ["XA", "CR", None])
def test_mosaics_of_other_modalities_are_images(put, modality):
    volume = fastdcm.read_volume(mosaic(put, position=[0, 0, 0], modality=modality))
    assert volume.array.shape == (1, 3 * ROWS, 3 * COLUMNS)


@pytest.mark.parametrize(
    ("values", "said", "step"),
    [
        ({"between": None, "thickness": 3}, "Slice Thickness", 3),
        ({"between": None, "thickness": None}, "1 mm", 1),
        ({"between": 0, "thickness": 3}, "Slice Thickness", 3),
    ],
)
def test_the_distance_of_tiles_is_assumed_with_a_problem(put, values, said, step):
    path = mosaic(put, count=5, position=[0, 0, 0], **values)
    (found,) = problems(path)
    assert found.code == "assumed-spacing" and said in found.text
    assert fastdcm.read_volume(path, on_problem="keep").spacing[2] == step


def read_with_nibabel(path, monkeypatch):
    """Return stored values (column, row, slice) and the RAS affine."""
    pytest.importorskip("nibabel")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from nibabel.nicom.dicomwrappers import wrapper_from_file
    wrapped = wrapper_from_file(path)
    data = wrapped.get_unscaled_data()
    swap = np.eye(4)[[1, 0, 2, 3]]  # from nibabel's (row, column, slice)
    return data.transpose(1, 0, 2), np.diag([-1, -1, 1, 1]) @ wrapped.affine @ swap


@pytest.mark.parametrize(
    "name",
    [
        "nibabel/siemens_dwi_0.dcm",
        "nibabel/siemens_dwi_1000.dcm",
        "dcm_qa_ts/1.dcm",
        "dcm_qa_ts/2.dcm",
        "dcm_qa_ts/3.dcm",
    ],
)
def test_mosaics_equal_nibabel(corpus, name, monkeypatch):
    (path,) = corpus(name)
    image = fastdcm.read_volume(path, rescale=False).to_nifti()
    data, affine = read_with_nibabel(path, monkeypatch)
    assert (np.asarray(image.dataobj) == data).all()
    assert np.allclose(image.affine, affine, atol=1e-3)


@pytest.mark.parametrize("number", range(2, 10))
def test_mosaic_in_nine_transfer_syntaxes(corpus, number):
    """Implicit, big endian, RLE, JPEG, JPEG-LS, JPEG 2000 ..."""
    (first,), (other,) = corpus("dcm_qa_ts/1.dcm"), corpus(f"dcm_qa_ts/{number}.dcm")
    first, other = fastdcm.read_volume(first), fastdcm.read_volume(other)
    assert (other.array == first.array).all() and (other.affine == first.affine).all()


def test_mosaic_header_of_a_real_file(corpus):
    """Its pixels were taken out, its slice direction is against row x column."""
    (path,) = corpus("nibabel/csa_slice_norm.dcm")
    ds = fastdcm.dcmread(path)
    assert csa_header(ds)["NumberOfImagesInMosaic"] == [str(mosaic_layout(ds).tiles)]
