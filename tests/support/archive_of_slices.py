"""A folder of good and damaged files, and the frames that are in it, for several tests."""

import os

import numpy as np

from support import builder as b
from support.builder import element as el

TAGS = ["PatientID", "InstanceNumber", "ImageType", "PixelSpacing", "(0009,xx01,ACME)"]
COLOR = np.random.default_rng(1).integers(0, 255, (4, 6, 3), np.uint8)
# The error of each damaged file.
ERRORS = {
    "loop": "walk",
    "empty.dcm": "empty",
    "none.dcm": "not-dicom",
    "broken.dcm": "open",
    "short.dcm": "pixels",
    "rowless.dcm": "pixels",
}


def encode_slice(number, values, *, slope=2, frames=None, short=0):
    """Return the bytes of a CT file of int16 values, ([frames,] rows, columns).

    short : bytes missing at the end of the pixel data.
    """
    rows, columns = values.shape[-2:]
    raw = values.astype("<i2").tobytes()
    raw = raw[: len(raw) - short]
    return b.part10(
        el(0x00080008, "CS", ["ORIGINAL", "PRIMARY"][: number % 3])
        + el(0x00080060, "CS", "CT")
        + el(0x00090010, "LO", "ACME")
        + el(0x00091001, "LO", f"private {number}")
        + el(0x00100020, "LO", f"P{number % 5}")
        + el(0x00200013, "IS", number)
        + b.image(rows, columns, signed=True, frames=frames)
        + el(0x00280030, "DS", ["0.5", "0.25"])
        + el(0x00281052, "DS", "-1024")
        + el(0x00281053, "DS", str(slope))
        + b.header(b.PIXEL_DATA, "OW", len(raw))
        + raw
    )


def noise(seed, *shape):
    """Return random stored values."""
    return np.random.default_rng(seed).integers(-1000, 2000, shape).astype("<i2")


def write_archive(folder):
    """Write all files into a folder; return it and {path of a good file: modality values}."""
    good = {}
    for i in range(100):
        path = folder / f"{i % 3}" / f"{i:03d}.dcm"
        path.parent.mkdir(exist_ok=True)
        values = noise(i, 8, 6 + i // 50)
        path.write_bytes(encode_slice(i, values))
        good[str(path)] = values.astype(np.float32)[None] * 2 - 1024
    path = folder / "1" / "frames.dcm"
    values = noise(1, 5, 4, 4)
    path.write_bytes(encode_slice(7, values, frames=5))
    good[str(path)] = values.astype(np.float32) * 2 - 1024
    bad = {
        "empty.dcm": b"",
        "none.dcm": b"no DICOM at all, but more than 132 bytes of it. " * 4,
        "report.dcm": b.part10(el(0x00080060, "CS", "SR") + el(0x00100020, "LO", "P9")),
        "short.dcm": encode_slice(8, noise(2, 3, 4, 4), frames=3, short=30),
        "rowless.dcm": b.part10(el(0x00280100, "US", 16) + el(b.PIXEL_DATA, "OW", b"1234")),
        "color.dcm": b.part10(
            b.image(4, 6, samples=3, allocated=8, planar=0)
            + el(b.PIXEL_DATA, "OB", COLOR.tobytes())
        ),
    }
    for name, raw in bad.items():
        (folder / "2" / name).write_bytes(raw)
    os.symlink("nowhere", folder / "2" / "broken.dcm")
    os.symlink(".", folder / "2" / "loop")
    return str(folder), good


def sort_rows(table):
    """Return a table sorted by path, and frame if it has frames."""
    return table.sort_by(
        [(name, "ascending") for name in ("path", "frame") if name in table.column_names]
    )


def check_images(archive, found):
    """Assert that these are all rows of an archive; found: {(path, frame): (row, image)}."""
    folder, good = archive
    for path, frames in good.items():
        for i, values in enumerate(frames):
            row, image = found.pop((path, i))
            assert row["error"] is None
            np.testing.assert_array_equal(image, values[None])
    subfolder = os.path.join(folder, "2", "")
    np.testing.assert_array_equal(
        found.pop((subfolder + "color.dcm", 0))[1], COLOR.transpose(2, 0, 1)
    )
    report, image = found.pop((subfolder + "report.dcm", None))
    assert report["error"] is None and report["PatientID"] == "P9" and image.shape == (0, 0, 0)
    for i in (0, 1):
        assert found.pop((subfolder + "short.dcm", i))[1].shape == (1, 4, 4)
    wrong = {os.path.basename(path): (row, image) for (path, _), (row, image) in found.items()}
    assert {name: row["error"] for name, (row, _) in wrong.items()} == ERRORS
    assert {image.shape for _, image in wrong.values()} == {(0, 0, 0)}
    assert all(row["error_detail"] for row, _ in wrong.values())
    assert wrong["short.dcm"][0]["frame"] == 2 and wrong["empty.dcm"][0]["frame"] is None
