"""Images that are no planes in the patient: radiographs, secondary captures, ultrasound."""

import numpy as np
import pytest

import fastdcm
from support.builder import element, sequence
from support.series import cells, codes, encode_image

REGIONS = 0x00186011


def region(units=(3, 3), deltas=(0.02, 0.03)):
    return (
        element(0x00186024, "US", units[0])
        + element(0x00186026, "US", units[1])
        + element(0x0018602C, "FD", deltas[0])
        + element(0x0018602E, "FD", deltas[1])
    )


@pytest.mark.parametrize("modality", ["CR", "DX", "MG", "US", "RF", "XA"])
@pytest.mark.parametrize(
    ("raw", "spacing", "notes"),
    [
        ({}, (1, 1), ["missing-position", "missing-spacing"]),
        ({0x00280030: element(0x00280030, "DS", [0.2, 0.3])}, (0.3, 0.2), ["missing-position"]),
        (
            {0x00181164: element(0x00181164, "DS", [0.2, 0.3])},
            (0.3, 0.2),
            ["other-spacing", "missing-position"],
        ),
        (
            {0x00182010: element(0x00182010, "DS", [0.2, 0.3])},
            (0.3, 0.2),
            ["other-spacing", "missing-position"],
        ),
        (
            {REGIONS: sequence(REGIONS, [region()])},
            (0.2, 0.3),
            ["other-spacing", "missing-position"],
        ),
        # two regions, or one that is not in cm
        (
            {REGIONS: sequence(REGIONS, [region(), region()])},
            (1, 1),
            ["missing-position", "missing-spacing"],
        ),
        (
            {REGIONS: sequence(REGIONS, [region(units=(3, 4))])},
            (1, 1),
            ["missing-position", "missing-spacing"],
        ),
        (
            {0x00181164: element(0x00181164, "DS", [0, 0.3])},
            (1, 1),
            ["missing-position", "missing-spacing"],
        ),
    ],
)
def test_one_image(put, modality, raw, spacing, notes):
    path = put(encode_image(cells(3), raw, modality=modality, spacing=None, orientation=None))
    volume = fastdcm.read_volume(path)
    assert codes(volume.findings) == notes
    assert not any(finding.problem for finding in volume.findings)
    assert (volume.array[0] == cells(3)).all() and np.isnan(volume.positions).all()
    assert volume.spacing[:2] == pytest.approx(spacing)


def test_several_images_are_no_volume(put):
    paths = [
        put(encode_image(cells(i), modality="CR", spacing=None, orientation=None, number=i))
        for i in range(3)
    ]
    with pytest.raises(fastdcm.DicomError, match="3 slices without position"):
        fastdcm.read_volume(paths)
    parts = fastdcm.read_volume(paths, on_problem="split")
    assert [part.array[0, 0, 1] for part in parts] == [1, 101, 201]
    assert not any(finding.problem for part in parts for finding in part.findings[1:])


def test_position_keeps_its_spacing(put):
    raw = {0x00181164: element(0x00181164, "DS", [9, 9])}
    path = put(encode_image(cells(0), raw, position=[0, 0, 0]))
    assert fastdcm.read_volume(path).spacing[:2] == (0.75, 0.5)
