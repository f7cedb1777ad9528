"""Attributes of a frame: per frame, else shared, else top level (PS3.3 C.7.6.16).

A generated matrix of every attribute at every level, and every enhanced file of
the corpora: pixels, volumes, loaders and pictures must give the same values.
"""

import itertools
import math

import numpy as np
import pytest

import fastdcm
from fastdcm.pixels import apply_modality_lut, functional_groups
from support.images import image, lut_item

SHARED, PER_FRAME = 0x52009229, 0x52009230
POSITION, ORIENTATION, MEASURES = 0x00209113, 0x00209116, 0x00289110
PIXEL_VALUES, FRAME_VOI = 0x00289145, 0x00289132
VOI_LUT = 0x00283010

FRAMES = np.arange(24, dtype=np.uint16).reshape(2, 3, 4) * 10

#: Which of the top level, the shared and the per-frame group has the attribute.
MATRIX = list(itertools.product([False, True], repeat=3))


def rescale(slope, intercept):
    return [(0x00281052, "DS", intercept), (0x00281053, "DS", slope)]


def window(center, width):
    return [(0x00281050, "DS", center), (0x00281051, "DS", width)]


def voi_table(level):
    """A table from 0 and 1 to `level` and from 2 on to 255."""
    return [(VOI_LUT, [lut_item([level, level, 255], 0, 8)])]


def position(x):
    return [(0x00200032, "DS", [x, 0, 0])]


def orientation(sign):
    return [(0x00200037, "DS", [1, 0, 0, 0, sign, 0])]


def spacing(rows):
    return [(0x00280030, "DS", [rows, 1])]


# Which macro holds an attribute, and how its elements are made of one number.
ATTRIBUTES = {
    "rescale": (PIXEL_VALUES, lambda n: rescale(n, -n)),
    "window": (FRAME_VOI, lambda n: window(40 * n, 100)),
    "voi table": (FRAME_VOI, lambda n: voi_table(20 * n)),
    "position": (POSITION, position),
    "orientation": (ORIENTATION, lambda n: orientation(1 if n % 2 else -1)),
    "spacing": (MEASURES, spacing),
}
# The number at the top level, in the shared group, and in that of each frame.
NUMBERS = {"top": 1, "shared": 2, "frames": (3, 4)}


def enhanced(name, top, shared, per_frame, array=FRAMES, **options):
    """The bytes of an image with one attribute at some of the three levels."""
    macro, make = ATTRIBUTES[name]
    elements = make(NUMBERS["top"]) if top else []
    groups = {
        ORIENTATION: orientation(1),
        MEASURES: [(0x00180050, "DS", 1), *spacing(1)],
    }
    frames = [{POSITION: [(0x00200032, "DS", [0, 0, i])]} for i in range(len(array))]
    groups.pop(macro, None)
    for i, group in enumerate(frames):
        group.pop(macro, None)
        if per_frame:
            group[macro] = make(NUMBERS["frames"][i])
    if shared:
        groups[macro] = make(NUMBERS["shared"])
    elements += [
        (SHARED, [[(tag, [item]) for tag, item in groups.items()]]),
        (PER_FRAME, [[(tag, [item]) for tag, item in group.items()] for group in frames]),
    ]
    return image(array, *elements, frames=len(array), **options)


def expected(top, shared, per_frame):
    """The number that determines the attribute of each frame, None for none."""
    if per_frame:
        return NUMBERS["frames"]
    number = NUMBERS["shared"] if shared else NUMBERS["top"] if top else None
    return number, number


@pytest.fixture
def load():
    """load(path, **options): the samples of a loader, an array (n, rows, columns)."""
    pytest.importorskip("torch")
    from fastdcm.ml import DicomDataset

    def load(path, **options):
        data = DicomDataset([path], **options)
        return data.read(range(len(data)))["image"][:, 0].numpy()

    return load


def volume_frames(source, **options):
    """{frame: (array, volume)} of all volumes of a source."""
    volumes = fastdcm.read_volume(source, on_problem="split", **options)
    return {
        frame: (volume.array[i], volume.positions[i], volume)
        for volume in volumes
        for i, frame in enumerate(volume.tags["frame"])
    }


def drawn(path, tmp_path, frame):
    """The picture that ``fastdcm image`` makes of a frame, from 0."""
    pytest.importorskip("click")
    pillow = pytest.importorskip("PIL.Image")
    from click.testing import CliRunner

    from fastdcm.cli import main

    out = str(tmp_path / "frame.png")
    done = CliRunner().invoke(main, ["image", str(path), "-o", out, "--frame", str(frame + 1)])
    assert done.exit_code == 0, done.output
    with pillow.open(out) as picture:
        return np.asarray(picture)


# ----------------------------------------------------------------------- matrix ---


@pytest.mark.parametrize("levels", MATRIX)
def test_rescale(put, load, levels):
    path = put(raw=enhanced("rescale", *levels))
    numbers = expected(*levels)
    wanted = np.stack([f if n is None else f * n - float(n) for f, n in zip(FRAMES, numbers)])
    ds = fastdcm.dcmread(path)
    assert np.array_equal(ds.modality_pixels(), wanted)
    assert np.array_equal(ds.modality_pixels(slice(None, None, -1)), wanted[::-1])
    assert np.array_equal(apply_modality_lut(ds.pixel_array, ds), wanted)
    for i in range(2):
        assert np.array_equal(ds.modality_pixels(i), wanted[i])
    for source in (path, ds):
        found = volume_frames(source)
        assert all(np.array_equal(found[i][0], wanted[i]) for i in range(2))
    assert np.array_equal(load(path), wanted)
    # a window is in modality values
    shown = ds.windowed(center=50, width=200)
    assert np.array_equal(shown, load(path, window=(50, 200), dtype="uint8"))
    assert np.array_equal(shown[1], ds.windowed(1, center=50, width=200))


@pytest.mark.parametrize("name", ["window", "voi table"])
@pytest.mark.parametrize("levels", MATRIX)
def test_what_is_displayed(put, load, tmp_path, name, levels):
    array = FRAMES if name == "window" else FRAMES // 10 % 2 * 5
    path = put(raw=enhanced(name, *levels, array=array))
    ds = fastdcm.dcmread(path)
    shown = [ds.windowed(i) for i in range(2)]
    for i, number in enumerate(expected(*levels)):
        if number is None:  # the range of the values
            assert shown[i].min() == 0 and shown[i].max() == 255
        elif name == "window":
            assert np.array_equal(shown[i], ds.windowed(i, center=40 * number, width=100))
        else:
            assert np.array_equal(shown[i], np.where(array[i] > 1, 255, 20 * number))
        assert np.array_equal(drawn(path, tmp_path, i), shown[i])
    if any(levels):
        assert np.array_equal(ds.windowed(), shown)
    assert np.array_equal(load(path, window="file", dtype="uint8"), shown)
    levels_of_float = load(path, window="file", dtype="float32") * 255
    assert np.abs(levels_of_float - shown).max() <= 0.5 + 1e-3


@pytest.mark.parametrize("per_frame", [window, voi_table])
def test_a_table_and_a_window_at_different_levels(put, load, tmp_path, per_frame):
    """The level counts first, then that a table comes before a window."""
    top = voi_table(7) if per_frame is window else window(40, 100)
    own = window(60, 100) if per_frame is window else voi_table(9)
    frames = [[(FRAME_VOI, [own])] for _ in FRAMES]
    path = put(raw=image(FRAMES, *top, (PER_FRAME, frames), frames=2))
    alone = fastdcm.dcmread(put(raw=image(FRAMES, *own, frames=2)))
    ds = fastdcm.dcmread(path)
    assert np.array_equal(ds.windowed(), alone.windowed())
    assert np.array_equal(load(path, window="file", dtype="uint8"), alone.windowed())
    assert np.array_equal(drawn(path, tmp_path, 1), alone.windowed(1))


@pytest.mark.parametrize("levels", MATRIX)
def test_spacing(put, tmp_path, levels):
    path = put(raw=enhanced("spacing", *levels))
    for i, number in enumerate(expected(*levels)):
        for source in (path, fastdcm.dcmread(path)):
            volume = volume_frames(source)[i][2]
            assert volume.spacing[1] == (number or 1)  # missing: 1 and a finding
        assert drawn(path, tmp_path, i).shape == (3 * (number or 1), 4)


@pytest.mark.parametrize("levels", MATRIX)
def test_orientation(put, levels):
    path = put(raw=enhanced("orientation", *levels))
    for i, number in enumerate(expected(*levels)):
        for source in (path, fastdcm.dcmread(path)):
            volume = volume_frames(source)[i][2]
            sign = -1 if number is not None and number % 2 == 0 else 1
            assert volume.direction[1, 1] == sign
            missing = "missing-position" in [finding.code for finding in volume.findings]
            assert missing is (number is None)


@pytest.mark.parametrize("levels", MATRIX)
def test_position(put, levels):
    path = put(raw=enhanced("position", *levels))
    for i, number in enumerate(expected(*levels)):
        for source in (path, fastdcm.dcmread(path)):
            found = volume_frames(source)[i][1]
            assert math.isnan(found[0]) if number is None else found[0] == number


@pytest.mark.parametrize("name, at", [("position", 0), ("spacing", 1), ("rescale", 2)])
@pytest.mark.parametrize("levels", MATRIX)
def test_one_frame(put, name, at, levels):
    """A file of one frame may be an enhanced image, too."""
    path = put(raw=enhanced(name, *levels, array=FRAMES[:1]))
    number = expected(*levels)[0]
    for source in (path, fastdcm.dcmread(path)):
        (array, found, volume) = volume_frames(source)[0]
        if name == "position":
            assert math.isnan(found[0]) if number is None else found[0] == number
        elif name == "spacing":
            assert volume.spacing[1] == (number or 1)
        else:
            assert np.array_equal(array, FRAMES[0] * (number or 1) - float(number or 0))


# --------------------------------------------------------------- rules of rescale ---


# name: (elements, slope and intercept that they mean)
RESCALES = {
    "none": ([], 1, 0),
    "slope": ([(0x00281053, "DS", 2)], 2, 0),
    "intercept": ([(0x00281052, "DS", 5)], 1, 5),
    "both": (rescale(2, 5), 2, 5),
    "empty slope": ([(0x00281053, "DS", ""), (0x00281052, "DS", 5)], 1, 5),
    "dose": ([(0x3004000E, "DS", 0.5)], 0.5, 0),
    "dose and 1/0": ([*rescale(1, 0), (0x3004000E, "DS", 0.5)], 0.5, 0),
}


@pytest.mark.parametrize(
    "name, in_group",
    [(name, False) for name in RESCALES]
    + [(name, True) for name in RESCALES if "dose" not in name],
)
def test_one_rule_of_rescale(put, load, name, in_group):
    """Dose Grid Scaling is at the top level only: RT Dose has no functional groups."""
    elements, slope, intercept = RESCALES[name]
    if in_group:
        elements = [(SHARED, [[(PIXEL_VALUES, [elements])]])]
    path = put(raw=image(FRAMES, *elements, frames=2))
    wanted = FRAMES * float(slope) + intercept
    ds = fastdcm.dcmread(path)
    assert np.array_equal(ds.modality_pixels(), wanted)
    assert all(np.array_equal(volume_frames(path)[i][0], wanted[i]) for i in range(2))
    assert np.array_equal(load(path), wanted)


@pytest.mark.parametrize("has_rescale", [False, True])
@pytest.mark.parametrize("in_group", [False, True])
def test_modality_lut(put, load, has_rescale, in_group):
    """A Modality LUT comes before slope and intercept of its level, a group before both."""
    lut = [
        (0x00283002, "US", [256, 0, 16]),
        (0x00283004, "LO", "HU"),
        (0x00283006, "US", [3 * i + 7 for i in range(256)]),
    ]
    elements = [(0x00283000, [lut])]
    elements += rescale(2, 5) if has_rescale else []
    elements += [(SHARED, [[(PIXEL_VALUES, [rescale(4, 1)])]])] if in_group else []
    path = put(raw=image(FRAMES.astype("u2"), *elements, frames=2))
    wanted = FRAMES * 4.0 + 1 if in_group else FRAMES * 3.0 + 7
    assert np.array_equal(fastdcm.dcmread(path).modality_pixels(), wanted)
    assert all(np.array_equal(volume_frames(path)[i][0], wanted[i]) for i in range(2))
    stored = fastdcm.read_volume(path, rescale=False, on_problem="keep").array
    assert np.array_equal(np.squeeze(stored), np.squeeze(FRAMES[: len(stored)]))
    assert np.array_equal(load(path), wanted)


def test_slope_and_intercept_are_of_one_level(put, load):
    """A slope per frame does not go with an intercept at the top level."""
    frames = [[(PIXEL_VALUES, [[(0x00281053, "DS", n)]])] for n in (2, 3)]
    path = put(raw=image(FRAMES, *rescale(7, 7), (PER_FRAME, frames), frames=2))
    wanted = FRAMES * np.array([2.0, 3.0])[:, None, None]
    ds = fastdcm.dcmread(path)
    assert np.array_equal(ds.modality_pixels(), wanted)
    assert all(np.array_equal(volume_frames(path)[i][0], wanted[i]) for i in range(2))
    assert np.array_equal(load(path), wanted)


def test_dose_grid_scaling_is_not_in_pydicoms_function(put):
    """Code for pydicom multiplies by it; it must not be applied twice."""
    ds = fastdcm.dcmread(put(raw=image(FRAMES, (0x3004000E, "DS", 0.5), frames=2)))
    stored = ds.pixel_array
    assert apply_modality_lut(stored, ds) is stored
    assert np.array_equal(ds.modality_pixels(), stored * 0.5)


def test_a_slope_that_is_not_a_number(put):
    ds = fastdcm.dcmread(put(raw=image(FRAMES, *rescale("x", 0), frames=2)))
    with pytest.raises(fastdcm.DicomError, match="RescaleSlope must be a number, got 'x'"):
        ds.modality_pixels()
    with pytest.raises(fastdcm.DicomError, match="RescaleSlope must be a number, got 'x'"):
        fastdcm.read_volume(ds)


# -------------------------------------------------------------- the functions alone ---


def test_levels_and_values(put):
    ds = fastdcm.dcmread(put(raw=enhanced("spacing", True, True, True)))
    found = [
        level.PixelSpacing[0] for level in functional_groups.levels(ds, "PixelMeasuresSequence", 1)
    ]
    assert found == [4, 2, 1]
    values = functional_groups.frame_values(
        ds, 3, {"PixelSpacing": 9}, {MEASURES: ("PixelSpacing",)}
    )
    assert [each["PixelSpacing"] for each in values] == [[3, 1], [4, 1], [2, 1]]


def test_damaged_groups(put):
    """Groups that are no sequences, empty, or fewer than frames: the next level."""
    empty = put(raw=image(FRAMES, *rescale(2, 1), (SHARED, []), (PER_FRAME, [[]]), frames=2))
    text = put(raw=image(FRAMES, *rescale(2, 1), (PER_FRAME, "LO", "x"), frames=2))
    fewer = put(
        raw=image(
            FRAMES, *rescale(2, 1), (PER_FRAME, [[(PIXEL_VALUES, [rescale(5, 0)])]]), frames=2
        )
    )
    for path, slopes in ((empty, (2, 2)), (text, (2, 2)), (fewer, (5, 2))):
        ds = fastdcm.dcmread(path)
        for i, slope in enumerate(slopes):
            wanted = FRAMES[i] * slope + (1 if slope == 2 else 0)
            assert np.array_equal(ds.modality_pixels(i), wanted)
            assert np.array_equal(ds.modality_pixels()[i], wanted)


# ------------------------------------------------------------------------ real files ---


def agree(paths, load, tmp_path):
    """Compare the frames of every enhanced grayscale image; how many there were."""
    compared = 0
    for path in paths:
        try:
            ds = fastdcm.dcmread(path)
            if not functional_groups.is_enhanced(ds) or ds.get("SamplesPerPixel") != 1:
                continue
            count = len(ds.frames)
            if not count or ds.frames[0].size * count > 1 << 24:
                continue
            values = ds.modality_pixels()
            if ds.PhotometricInterpretation == "PALETTE COLOR":
                continue
            shown = [ds.windowed(i) for i in range(count)]
            in_volume = volume_frames(path)
        except (fastdcm.DicomError, AttributeError):
            continue
        for frame, (array, _, _) in in_volume.items():
            wanted = values[frame] if count > 1 else values
            assert np.array_equal(array.astype("f4"), wanted, equal_nan=True), (path, frame)
        loaded = load(path).reshape(values.shape)
        assert np.array_equal(loaded, values, equal_nan=True), path
        assert np.array_equal(load(path, window="file", dtype="uint8"), shown), path
        from fastdcm.cli._picture import displayed_size, picture

        for frame in {0, count - 1}:
            height, width = shown[frame].shape
            if displayed_size(ds, frame, width, height) == (width, height):
                assert np.array_equal(np.asarray(picture(ds, frame)), shown[frame]), path
        compared += 1
    return compared


def test_files_of_pydicom(pydicom_files, load, tmp_path):
    pytest.importorskip("PIL")
    assert agree(pydicom_files, load, tmp_path) >= 2


def test_files_of_the_corpus(corpus_files, load, tmp_path):
    pytest.importorskip("PIL")
    assert agree(corpus_files, load, tmp_path) >= 45
