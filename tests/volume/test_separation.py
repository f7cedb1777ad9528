"""What separates the stacks of a series, wherever they are."""

import numpy as np
import pytest

import fastdcm
from fastdcm.volume.separation import in_order
from support.builder import element, sequence
from support.series import (
    COLUMNS,
    NO_GEOMETRY,
    ROWS,
    cells,
    codes,
    encode_image,
    frames_of,
    functional_groups,
    plane_position,
    problems,
)

# Positions of the slices of the first and of the second stack.
PLACES = {
    "the same": ([0, 1, 2, 3], [0, 1, 2, 3]),
    "one behind the other": ([0, 1, 2, 3], [4, 5, 6, 7]),
    "interleaved": ([0, 2, 4, 6], [1, 3, 5, 7]),
    "partly the same": ([0, 1, 2, 3], [2, 3, 4, 5]),
    "apart": ([0, 1, 2, 3], [50, 51, 52, 53]),
}
POLARITY = "(0021,xx1C,SIEMENS MR SDI 02)"


def siemens(value):
    creator = element(0x00210010, "LO", "SIEMENS MR SDI 02")
    return creator + element(0x0021101C, "IS", value)


# keyword: the elements of a value, and two values in ascending order
CLASSIC = {
    "EchoTime": (lambda v: element(0x00180081, "DS", v), (9, 10)),
    "EchoNumbers": (lambda v: element(0x00180086, "IS", v), (2, 10)),
    "ImageType": (
        lambda v: element(0x00080008, "CS", ["ORIGINAL", "PRIMARY", v]),
        ("M", "P"),
    ),
    "DiffusionBValue": (lambda v: element(0x00189087, "FD", v), (0.0, 1000.0)),
    "InversionTime": (lambda v: element(0x00180082, "DS", v), (90, 1000)),
    "FlipAngle": (lambda v: element(0x00181314, "DS", v), (5, 15)),
    "TemporalPositionIdentifier": (lambda v: element(0x00200100, "IS", v), (9, 10)),
    "KVP": (lambda v: element(0x00180060, "DS", v), (80, 140)),
    "ConvolutionKernel": (lambda v: element(0x00181210, "SH", v), ("B10", "B70")),
    "PhotometricInterpretation": (
        lambda v: element(0x00280004, "CS", v),
        ("MONOCHROME1", "MONOCHROME2"),
    ),
    "InPlanePhaseEncodingDirection": (lambda v: element(0x00181312, "CS", v), ("COL", "ROW")),
    "RectilinearPhaseEncodeReordering": (
        lambda v: element(0x00189034, "CS", v),
        ("LINEAR", "REVERSE_LINEAR"),
    ),
    POLARITY: (siemens, ("0", "1")),
    "Units": (lambda v: element(0x00541001, "CS", v), ("BQML", "CNTS")),
    "SUVType": (lambda v: element(0x00541006, "CS", v), ("BSA", "BW")),
    "RescaleType": (lambda v: element(0x00281054, "LO", v), ("HU", "US")),
    "DoseUnits": (lambda v: element(0x30040002, "CS", v), ("GY", "RELATIVE")),
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("name", CLASSIC)
def test_images(series, name, place):
    encode, values = CLASSIC[name]
    zs = [z for part in PLACES[place] for z in part]

    def raw(i):
        encoded = encode(values[i // 4])
        tag = int.from_bytes(encoded[:2], "little") << 16 | int.from_bytes(encoded[2:4], "little")
        return {tag: encoded}

    paths = series(zs, raw=raw)
    found = problems(paths)
    assert "several-stacks" in codes(found)
    assert name in found[0].details["by"]
    parts = fastdcm.read_volume(paths, on_problem="split")
    assert len(parts) == 2 and [part.key[name] for part in parts] == [
        comparable(name, value) for value in values
    ]
    for n, part in enumerate(parts):
        assert (part.array == np.stack([cells(4 * n + i) for i in range(4)])).all()


def comparable(name, value):
    return ("ORIGINAL", "PRIMARY", value) if name == "ImageType" else value


def group(tag, *elements):
    return sequence(tag, [b"".join(elements)])


def content(keyword_tag, vr):
    return lambda v: group(0x00209111, element(keyword_tag, vr, v))


# keyword: the functional group of a value, and twelve values in ascending order
ENHANCED = {
    "ReferencedSegmentNumber": (lambda v: group(0x0062000A, element(0x0062000B, "US", v)), int),
    "StackID": (content(0x00209056, "SH"), str),
    "TemporalPositionIndex": (content(0x00209128, "UL"), int),
    "TemporalPositionTimeOffset": (
        lambda v: group(0x00209310, element(0x0020930D, "FD", v)),
        float,
    ),
    "EffectiveEchoTime": (lambda v: group(0x00189114, element(0x00189082, "FD", v)), float),
    "InversionTimes": (lambda v: group(0x00189115, element(0x00189079, "FD", v)), float),
    "FlipAngle": (lambda v: group(0x00189112, element(0x00181314, "DS", v)), int),
    "DiffusionBValue": (lambda v: group(0x00189117, element(0x00189087, "FD", v)), float),
    "NominalCardiacTriggerDelayTime": (
        lambda v: group(0x00189118, element(0x00209153, "FD", v)),
        float,
    ),
    "NominalPercentageOfCardiacPhase": (
        lambda v: group(0x00189118, element(0x00209241, "FL", v)),
        float,
    ),
    "RescaleType": (
        lambda v: group(0x00289145, element(0x00281054, "LO", v)),
        lambda n: f"KIND{n:02d}",
    ),
    "KVP": (lambda v: group(0x00189325, element(0x00180060, "DS", v)), int),
    "ConvolutionKernel": (lambda v: group(0x00189314, element(0x00181210, "SH", v)), str),
    "ComplexImageComponent": (
        lambda v: group(0x00189226, element(0x00089208, "CS", v)),
        lambda n: f"KIND{n:02d}",
    ),
    "FrameType": (
        lambda v: group(0x00189329, element(0x00089007, "CS", ["ORIGINAL", v])),
        lambda n: f"KIND{n:02d}",
    ),
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("name", ENHANCED)
def test_frames(put, name, place):
    """Twelve stacks of four frames, in the order of numbers: 2 is before 10."""
    encode, value_of = ENHANCED[name]
    first, second = PLACES[place]
    step = second[0] - first[0]
    stacks = 12
    frames = [
        b"".join(
            sorted(
                [
                    encode(value_of(n + 1)),
                    plane_position([0, 0, (first if n == 0 else second)[i] + step * max(n - 1, 0)]),
                ]
            )
        )
        for n in range(stacks)
        for i in range(4)
    ]
    pixels = frames_of(4 * stacks)
    path = put(encode_image(pixels, functional_groups(frames), frames=4 * stacks, **NO_GEOMETRY))
    assert "several-stacks" in codes(problems(path))
    parts = fastdcm.read_volume(path, on_problem="split")
    assert [part.array.shape[0] for part in parts] == [4] * stacks
    assert [int(part.array[0, 0, 0]) for part in parts] == [400 * n for n in range(stacks)]


@pytest.mark.parametrize("place", PLACES)
def test_acquisitions(series, place):
    """Those that follow one another are one stack, with a note; any other is another."""
    zs = [z for part in PLACES[place] for z in part]
    paths = series(zs, acquisition=lambda i: i // 4 + 1)
    if place == "one behind the other":
        volume = fastdcm.read_volume(paths)
        assert volume.array.shape[0] == 8 and codes(volume.findings) == ["several-acquisitions"]
    elif place == "apart":
        assert "several-acquisitions" not in codes(problems(paths))
    else:
        assert problems(paths)[0].details["by"] == ["AcquisitionNumber"]


@pytest.mark.parametrize("name", ["acquisition", "trigger", "clock", "time"])
def test_a_value_of_each_slice_is_no_separator(series, name):
    values = {"clock": lambda i: f"1200{i:02d}"}.get(name, lambda i: 10 * i)
    volume = fastdcm.read_volume(series([0, 1, 2, 3], **{name: values}))
    assert volume.array.shape[0] == 4 and volume.findings == []


def test_images_without_positions(series):
    paths = series([0, 1, 2, 3], echo=lambda i: i // 2, position=None, orientation=None)
    assert codes(problems(paths))[:1] == ["several-stacks"]
    assert [part.key["EchoTime"] for part in fastdcm.read_volume(paths, on_problem="split")][
        ::2
    ] == [0, 1]


def test_order_of_values():
    assert in_order([10, "9", 2.5, None, "x", "a", b"q"]) == [2.5, "9", 10, b"q", "a", "x", None]
    assert in_order([(1, 10), (1, 9), (1, 9, 1), (0, "x")]) == [
        (0, "x"),
        (1, 9),
        (1, 9, 1),
        (1, 10),
    ]
    assert in_order(["KIND10", "KIND9"]) == ["KIND10", "KIND9"]


# ------------------------------------------------------------ NM (PS3.3 C.8.4.8) ---

NM_VECTORS = {
    "EnergyWindowVector": 0x00540010,
    "DetectorVector": 0x00540020,
    "PhaseVector": 0x00540030,
    "RotationVector": 0x00540050,
    "RRIntervalVector": 0x00540060,
    "TimeSlotVector": 0x00540070,
    "AngularViewVector": 0x00540090,
    "TimeSliceVector": 0x00540100,
}


def nuclear(vectors, frames, between=None, thickness=4, positions=((0, 0, 100),)):
    raw = {tag: element(tag, "US", values) for tag, values in vectors.items()}
    raw[0x00540022] = sequence(
        0x00540022,
        [
            element(0x00200032, "DS", position) + element(0x00200037, "DS", [1, 0, 0, 0, 1, 0])
            for position in positions
        ],
    )
    return encode_image(
        frames_of(frames),
        raw,
        frames=frames,
        modality="NM",
        between=between,
        thickness=thickness,
        orientation=None,
    )


@pytest.mark.parametrize("order", ["slices first", "slices last"])
@pytest.mark.parametrize("name", NM_VECTORS)
def test_vectors_of_nuclear_medicine(put, name, order):
    if order == "slices first":
        slices, others = [1, 2, 3] * 2, [1, 1, 1, 2, 2, 2]
    else:
        slices, others = [1, 1, 2, 2, 3, 3], [1, 2] * 3
    path = put(nuclear({0x00540080: slices, NM_VECTORS[name]: others}, 6, between=-4))
    assert "several-stacks" in codes(problems(path))
    parts = fastdcm.read_volume(path, on_problem="split")
    assert [part.key for part in parts] == [{name: 1}, {name: 2}]
    for number, part in enumerate(parts, 1):
        assert part.positions[:, 2].tolist() == [92, 96, 100]
        frames = [i for i in range(6) if others[i] == number]
        assert part.array[:, 0, 0].tolist() == [100 * i for i in reversed(frames)]


def test_detectors_have_positions_of_their_own(put):
    vectors = {0x00540080: [1, 2, 1, 2], 0x00540020: [1, 1, 2, 2]}
    path = put(nuclear(vectors, 4, between=4, positions=[(0, 0, 100), (0, 0, 300)]))
    parts = fastdcm.read_volume(path, on_problem="split")
    assert [part.positions[:, 2].tolist() for part in parts] == [[100, 104], [300, 304]]


@pytest.mark.parametrize(
    "vectors",
    [
        {0x00540010: [1, 1, 1], 0x00540020: [1, 1, 1], 0x00540100: [1, 2, 3]},
        {0x00540020: [1, 2, 1]},
        {},
    ],
)
def test_planar_frames_are_no_slices(put, vectors):
    problems(put(nuclear(vectors, 3, between=4)))


# ------------------------------------------- distances that the files do not state ---


def test_the_distance_of_frames_from_their_thickness(put):
    """Cone beam CT: one position, and Slice Thickness only."""
    path = put(encode_image(frames_of(3), frames=3, position=[0, 0, 5], thickness=2, modality="CT"))
    (found,) = problems(path)
    assert found.code == "assumed-spacing" and "Slice Thickness" in found.text
    volume = fastdcm.read_volume(path, on_problem="keep")
    assert volume.positions[:, 2].tolist() == [5, 7, 9]


def test_a_volume_of_ultrasound(put):
    """Plane Position (Volume): exact, but not relative to the patient."""
    groups = functional_groups(
        [sequence(0x0020930E, [element(0x00209301, "FD", [0.0, 0.0, 0.5 * i])]) for i in range(4)]
    )
    shared = sequence(0x0020930F, [element(0x00209302, "FD", [1.0, 0, 0, 0, 1, 0])]) + sequence(
        0x00289110, [element(0x00280030, "DS", [1, 2])]
    )
    groups[0x52009229] = sequence(0x52009229, [shared])
    path = put(encode_image(frames_of(4), groups, frames=4, modality="US", **NO_GEOMETRY))
    volume = fastdcm.read_volume(path)
    assert volume.spacing == (2, 1, 0.5) and codes(volume.findings) == ["volume-position"]


GRID = 0x00650010


def grid(put, count, positions, rows=3 * ROWS, columns=3 * COLUMNS, **values):
    raw = {
        GRID: element(GRID, "LO", "Image Private Header"),
        0x00651050: element(0x00651050, "DS", count),
    }
    if positions is not None:
        items = [element(0x00200032, "DS", position) for position in positions]
        raw[0x00651051] = sequence(0x00651051, items)
    pixels = np.zeros((rows, columns), "<i2")
    for i in range(5):
        r, c = i // 3 * ROWS, i % 3 * COLUMNS
        pixels[r : r + ROWS, c : c + COLUMNS] = cells(i)
    return put(
        encode_image(
            pixels, raw, rows=rows, columns=columns, position=[0, 0, 0], modality="MR", **values
        )
    )


def test_grids_of_united_imaging(put):
    volume = fastdcm.read_volume(grid(put, 5, [[1, 2, 3 * i] for i in range(5)]))
    assert volume.array.shape == (5, ROWS, COLUMNS) and volume.findings == []
    assert volume.positions.tolist() == [[1, 2, 3 * i] for i in range(5)]
    assert (volume.array == frames_of(5)).all()


@pytest.mark.parametrize(
    ("count", "positions"),
    [(5, None), (5, [[0, 0, 0]] * 4), (5, [[0, 0]] * 5), ("x", None), (1.5, None), (17, None)],
)
def test_grids_that_are_damaged(put, count, positions):
    (found,) = problems(grid(put, count, positions))
    assert found.code == "bad-image" and found.details["errors"][0].code == "mosaic"
