"""Frames of files as rows with images."""

import os

import numpy as np
import pytest

import fastdcm
from fastdcm.distributed.images import image_bytes, read_images
from fastdcm.distributed.partitions import list_files
from support.archive_of_slices import check_images, encode_slice


def images_of(archive, **options):
    """{(path, frame): (row, image)}"""
    columns = ["path", "error", "error_offset", "error_detail", "PatientID"]
    files, _ = list_files(archive[0])
    found = {}
    for rows, images in read_images(files, ["PatientID"], columns, **options):
        assert rows.column_names == [*columns, "frame"] and len(rows) == len(images) > 0
        assert images.dtype == np.float32 and images.ndim == 4
        for row, image in zip(rows.to_pylist(), images):
            assert (row["path"], row["frame"]) not in found
            found[row["path"], row["frame"]] = row, image
    return found


def test_images(archive):
    found = images_of(archive)
    check_images(archive, found)


def test_images_skip_and_raise(archive):
    folder, _ = archive
    found = images_of(archive, on_error="skip", threads=2)
    assert len(found) == 105 + 1 + 2 and all(image.size for _, image in found.values())
    with pytest.raises(fastdcm.DicomError):
        images_of(archive, on_error="raise")
    short = os.path.join(folder, "2", "short.dcm")
    with pytest.raises(fastdcm.DicomError, match=r"frames\[2\] is missing"):
        list(
            read_images(
                [short], [], ["path", "error", "error_offset", "error_detail"], on_error="raise"
            )
        )


def test_large_images_are_split(tmp_path):
    path = tmp_path / "large.dcm"
    path.write_bytes(encode_slice(0, np.zeros((40, 512, 512), "<i2"), frames=40))
    lengths = [len(images) for _, images in read_images([str(path)], [], ["path"])]
    assert lengths == [16, 16, 8]
    assert image_bytes([str(path)]) == 40 << 20
