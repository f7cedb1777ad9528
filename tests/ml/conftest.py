"""Fixtures of the tests of loaders."""

import numpy as np
import pytest

from support import builder
from support.builder import element as el
from support.loader_files import encode_frames, noise


@pytest.fixture
def series(put):
    """Write 20 slices, and return their paths and Hounsfield units."""
    values = [noise(seed=i) for i in range(20)]
    paths = [
        put(encode_frames(v, slope=2, intercept=-1024, window=(40, 400), patient=f"P{i % 3}"))
        for i, v in enumerate(values)
    ]
    return paths, np.stack(values).astype(np.float32) * 2 - 1024


@pytest.fixture
def folder(tmp_path):
    """Write a series of 5 slices of 6 x 4, and return its folder and values as (z, y, x)."""
    values = noise(6, 4, frames=5)
    inner = tmp_path / "series"
    inner.mkdir()
    for i, one in enumerate(values):
        head = b"".join(
            el(tag, vr, value)
            for tag, vr, value in [
                (0x00080016, "UI", "1.2.840.10008.5.1.4.1.1.2"),
                (0x00080018, "UI", f"1.2.3.{i + 1}"),
                (0x00080060, "CS", "CT"),
                (0x0020000D, "UI", "1.2"),
                (0x0020000E, "UI", "1.3"),
                (0x00200013, "IS", i + 1),
                (0x00200032, "DS", f"10\\20\\{3 * i}"),
                (0x00200037, "DS", "1\\0\\0\\0\\1\\0"),
                (0x00200052, "UI", "1.4"),
                (0x00280002, "US", 1),
                (0x00280004, "CS", "MONOCHROME2"),
                (0x00280010, "US", 6),
                (0x00280011, "US", 4),
                (0x00280030, "DS", "2\\0.5"),
                (0x00280100, "US", 16),
                (0x00280101, "US", 16),
                (0x00280102, "US", 15),
                (0x00280103, "US", 1),
                (0x00281052, "DS", "-1000"),
                (0x00281053, "DS", "2"),
            ]
        )
        (inner / f"{9 - i}.dcm").write_bytes(
            builder.part10(head + el(builder.PIXEL_DATA, "OW", one.tobytes()))
        )
    return inner, values * 2.0 - 1000
