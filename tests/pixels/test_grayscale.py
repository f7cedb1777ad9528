"""Modality, VOI and presentation transformations, and padding: compared
with pydicom on real and built files, windows with the formulas of PS3.3 C.11.2."""

import math
import warnings

import numpy as np
import pytest

import fastdcm
from fastdcm.pixels import grayscale, lookup_table
from support import builder
from support.images import image, lut_item

pydicom = pytest.importorskip("pydicom")
from pydicom.pixels import processing as theirs  # noqa: E402

MODALITY, VOI, PRESENTATION = 0x00283000, 0x00283010, 0x20500010
INTERCEPT, SLOPE = 0x00281052, 0x00281053
CENTER, WIDTH, FUNCTION = 0x00281050, 0x00281051, 0x00281056
SHARED, PER_FRAME = 0x52009229, 0x52009230
VALUES, FRAME_VOI = 0x00289145, 0x00289132

RAMP = np.arange(-128, 128, dtype=np.int16).reshape(16, 16)


@pytest.fixture
def both(put):
    """both(array, ...): one file in both libraries, from pictures.image's arguments."""

    def both(*arguments, **options):
        path = put(raw=image(*arguments, **options))
        return fastdcm.dcmread(path), pydicom.dcmread(path)

    return both


def same(mine, other):
    assert mine.dtype == other.dtype and mine.shape == other.shape
    np.testing.assert_array_equal(mine, other)


def rescaled(slope, intercept):
    return [(INTERCEPT, "DS", intercept), (SLOPE, "DS", slope)]


def window(center, width, function=None):
    elements = [(CENTER, "DS", center), (WIDTH, "DS", width)]
    return elements + ([(FUNCTION, "CS", function)] if function else [])


def formula(x, center, width, function, low, high):
    """PS3.3 C.11.2.1.2.1, C.11.2.1.3.1 and C.11.2.1.3.2 as they are printed."""
    if function == "SIGMOID":
        if -4 * (x - center) / width > 700:  # past what a double holds
            return low
        return (high - low) / (1 + math.exp(-4 * (x - center) / width)) + low
    if function == "LINEAR_EXACT":
        if x <= center - width / 2:
            return low
        if x > center + width / 2:
            return high
        return ((x - center) / width + 0.5) * (high - low) + low
    if x <= center - 0.5 - (width - 1) / 2:
        return low
    if x > center - 0.5 + (width - 1) / 2:
        return high
    return ((x - (center - 0.5)) / (width - 1) + 0.5) * (high - low) + low


def as_bytes(values, center, width, function="LINEAR"):
    flat = [
        math.floor(formula(float(x), center, width, function, 0, 255) + 0.5)
        for x in np.asarray(values).ravel()
    ]
    return np.array(flat, np.uint8).reshape(np.shape(values))


# ------------------------------------------------------------------ real files ---


def compare_all(paths):
    """Every function over every image without functional groups; how many
    results there were, and how many through a table or window."""
    compared = changed = 0
    for path in paths:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                other = pydicom.dcmread(path, force=True)
                stored = other.pixel_array
        except Exception:  # nothing to compare with
            continue
        ds = fastdcm.dcmread(path, force=True)
        if ds.get("PerFrameFunctionalGroupsSequence"):
            continue
        if stored.nbytes > 1 << 20:
            stored = stored[:1] if stored.ndim > 3 else stored[:64]
        for name in (
            "apply_modality_lut",
            "apply_voi",
            "apply_windowing",
            "apply_voi_lut",
            "apply_presentation_lut",
        ):
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    expected = getattr(theirs, name)(stored, other)
            except Exception:  # empty or missing elements: no result to compare with
                continue
            result = getattr(grayscale, name)(stored, ds)
            assert result.dtype == expected.dtype, (path, name)
            np.testing.assert_array_equal(result, expected, f"{path} {name}")
            compared += 1
            changed += result is not stored
    return compared, changed


def test_files_of_pydicom(pydicom_files):
    compared, changed = compare_all(pydicom_files)
    assert compared > 400 and changed > 80


def test_files_of_the_corpus(corpus_files):
    compared, changed = compare_all(corpus_files)
    assert compared > 900 and changed > 150


def test_real_windows_are_the_formula(pydicom_files):
    done = 0
    for path in pydicom_files:
        if path.name in ("CT_small.dcm", "MR_small.dcm", "examples_overlay.dcm"):
            ds = fastdcm.dcmread(path)
            slope, intercept = grayscale.rescale(ds)
            values = ds.pixel_array[::3, ::3] * slope + intercept
            center, width = 40.5, 300.25
            assert (
                ds.windowed(center=center, width=width)[::3, ::3] == as_bytes(values, center, width)
            ).all()
            done += 1
    assert done == 3


# -------------------------------------------------------------------- modality ---


@pytest.mark.parametrize("dtype", ["u1", "i1", "u2", "i2", "u4", "i4"])
@pytest.mark.parametrize("slope, intercept", [(1, -1024), (0.25, 3.5), (-2, 0)])
def test_rescale(both, dtype, slope, intercept):
    array = np.array([[0, 1, 2, 100], [np.iinfo(dtype).min, np.iinfo(dtype).max, 7, 127]], dtype)
    ds, other = both(array, *rescaled(slope, intercept))
    same(grayscale.apply_modality_lut(ds.pixel_array, ds), theirs.apply_modality_lut(array, other))
    assert grayscale.rescale(ds) == (slope, intercept)
    result = ds.modality_pixels()
    assert result.dtype == np.float32
    exact = array.astype(np.float64) * slope + intercept
    assert (result == exact.astype(np.float32)).all()


def test_values_are_unchanged_without_attributes(both):
    ds, _ = both(RAMP)
    array = ds.pixel_array
    assert grayscale.apply_modality_lut(array, ds) is array
    assert grayscale.apply_voi_lut(array, ds) is array
    assert grayscale.apply_windowing(array, ds) is array
    assert grayscale.apply_voi(array, ds) is array
    assert grayscale.apply_presentation_lut(array, ds) is array
    assert grayscale.apply_rescale is grayscale.apply_modality_lut
    assert grayscale.rescale(ds) == (1.0, 0.0)
    assert (ds.modality_pixels() == RAMP).all()


@pytest.mark.parametrize("vr", ["US", "OW"])
@pytest.mark.parametrize("syntax", [builder.EXPLICIT_LE, builder.IMPLICIT_LE, builder.EXPLICIT_BE])
@pytest.mark.parametrize("first, bits", [(-20, 16), (0, 16), (5, 8)])
def test_modality_table(both, vr, syntax, first, bits):
    entries = [(7 * i) % (2**bits) for i in range(60)]
    order = ">" if syntax == builder.EXPLICIT_BE else "<"
    item = [
        (0x00283002, "SS", np.array([60, first, bits], order + "i2").tobytes()),
        (0x00283006, vr, np.array(entries, order + "u2").tobytes()),
    ]
    ds, other = both(RAMP, (MODALITY, [item]), transfer_syntax=syntax)
    result = grayscale.apply_modality_lut(RAMP, ds)
    same(result, theirs.apply_modality_lut(RAMP, other))
    expected = [entries[min(max(x - first, 0), 59)] for x in RAMP.ravel().tolist()]
    assert result.ravel().tolist() == expected
    assert grayscale.rescale(ds) is None
    assert ds.modality_pixels().ravel().tolist() == expected


def test_65536_entries(both):
    entries = np.arange(0x10000, dtype=np.uint16)[::-1]
    array = np.array([[0, 1, 0xFFFF, 77]], np.uint16)
    ds, other = both(array, (MODALITY, [lut_item(entries, 0, 16, count=0, vr="OW")]))
    result = grayscale.apply_modality_lut(array, ds)
    same(result, theirs.apply_modality_lut(array, other))
    assert result.tolist() == [[0xFFFF, 0xFFFE, 0, 0xFFFF - 77]]


def test_first_value_written_as_us_is_meant_as_ss(both):
    """Explicit VR files write US for what Pixel Representation 1 makes SS."""
    ds, _ = both(RAMP, (MODALITY, [lut_item([5, 6, 7], -2, 16, first_vr="US")]))
    assert grayscale.apply_modality_lut(RAMP, ds)[7, 13:16].tolist() == [5, 5, 6]


@pytest.mark.parametrize("dtype", ["u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f4", "f8"])
def test_tables_take_every_number(dtype):
    """Also where the distance to the first value does not fit the type."""
    table = lookup_table.LookupTable(np.array([10, 11, 12], np.uint8), -1, 8)
    ends = [0, 1, 100]
    if dtype[0] == "f":
        ends += [-5.5, 1e30, -1e30, np.nan, 0.9]
        expected = [11, 12, 12, 10, 12, 10, 10, 11]
    else:
        ends += [np.iinfo(dtype).min, np.iinfo(dtype).max]
        expected = [11, 12, 12, 11 if dtype[0] == "u" else 10, 12]
    assert table.look_up(np.array(ends, dtype)).tolist() == expected
    above = lookup_table.LookupTable(np.array([10, 11], np.uint8), 60000, 8)
    assert above.look_up(np.array([0, 1], dtype)).tolist() == [10, 10]


def test_packed_8_bit_entries(both):
    ds, _ = both(RAMP, (MODALITY, [lut_item([], 0, 8, bytes(range(50, 60)), 10, vr="OW")]))
    assert grayscale.apply_modality_lut(np.array([0, 3, 99]), ds).tolist() == [50, 53, 59]
    ds, _ = both(RAMP, (MODALITY, [lut_item([], 0, 8, bytes(range(50, 60)), 10, vr="US")]))
    assert grayscale.apply_modality_lut(np.array([0, 3, 99]), ds).tolist() == [50, 53, 59]


def test_an_empty_item_is_none(both):
    item = [(0x00283002, "US", b""), (0x00283006, "US", b"")]
    ds, _ = both(RAMP, (MODALITY, [item]), (VOI, [item]), *rescaled(2, 1))
    assert (grayscale.apply_modality_lut(RAMP, ds) == RAMP * 2 + 1).all()
    assert grayscale.apply_voi(RAMP, ds) is RAMP


# ------------------------------------------------------------------------- VOI ---


@pytest.mark.parametrize("function", [None, "LINEAR", "LINEAR_EXACT", "SIGMOID"])
@pytest.mark.parametrize("center, width", [(0, 100), (40.5, 300.25), (-7, 1.5), (3, 1)])
@pytest.mark.parametrize("transformed", [[], rescaled(2, -10)])
def test_windows(both, function, center, width, transformed):
    ds, other = both(RAMP, *window(center, width, function), *transformed, bits=9)
    values = grayscale.apply_modality_lut(RAMP, ds)
    result = grayscale.apply_windowing(values, ds)
    # pydicom divides by zero where the width is 1, and gives no value
    same(result, theirs.apply_windowing(values, other))
    same(grayscale.apply_voi_lut(values, ds), result)
    slope, intercept = grayscale.rescale(ds)
    low, high = -256 * slope + intercept, 255 * slope + intercept
    expected = [formula(float(x), center, width, function, low, high) for x in values.ravel()]
    np.testing.assert_allclose(result.ravel(), expected, rtol=1e-12, atol=1e-9)
    assert (ds.windowed() == as_bytes(values, center, width, function)).all()


def test_width_1_is_a_step(both):
    ds, _ = both(RAMP, *window(3, 1))
    assert ds.windowed().ravel()[[129, 130, 131, 132]].tolist() == [0, 0, 255, 255]


def test_several_windows(both):
    ds, other = both(RAMP, *window([0, 50], [100, 20]))
    for index in (0, 1):
        same(grayscale.apply_voi_lut(RAMP, ds, index), theirs.apply_voi_lut(RAMP, other, index))
    assert (ds.windowed(index=1) == as_bytes(RAMP, 50, 20)).all()
    for call in (lambda: grayscale.apply_windowing(RAMP, ds, 2), lambda: ds.windowed(index=2)):
        with pytest.raises(IndexError):
            call()


def test_a_window_after_a_table_spans_its_bits(both):
    table = lut_item(range(256), -128, 12, first_vr="SS")
    ds, other = both(RAMP, (MODALITY, [table]), *window(100, 50))
    other.ModalityLUTSequence[0].LUTDescriptor[2] = 12
    values = grayscale.apply_modality_lut(RAMP, ds)
    same(grayscale.apply_windowing(values, ds), theirs.apply_windowing(values, other))
    assert grayscale.apply_windowing(values, ds).max() == 4095
    assert (ds.windowed() == as_bytes(values, 100, 50)).all()


@pytest.mark.parametrize("bits", [8, 10, 12, 16])
@pytest.mark.parametrize("vr", ["US", "OW"])
def test_voi_tables(both, bits, vr):
    top = 2**bits - 1
    one, two = [i * top // 99 for i in range(100)], [top - i * top // 99 for i in range(100)]
    items = [lut_item(one, -50, bits, vr=vr), lut_item(two, 0, bits, vr=vr)]
    ds, other = both(RAMP, (VOI, items), *window(0, 100))
    near = RAMP.ravel()[60:240]  # further off pydicom's 8-bit indices wrap round
    for index in (0, 1):
        same(grayscale.apply_voi(near, ds, index), theirs.apply_voi(near, other, index))
        same(grayscale.apply_voi_lut(near, ds, index), theirs.apply_voi_lut(near, other, index))
    same(
        grayscale.apply_voi_lut(near, ds, prefer_lut=False),
        theirs.apply_voi_lut(near, other, prefer_lut=False),
    )
    expected = np.floor(grayscale.apply_voi(RAMP, ds, 1) * 255.0 / top + 0.5)
    assert (ds.windowed(index=1) == expected).all()
    with pytest.raises(IndexError):
        grayscale.apply_voi(RAMP, ds, 2)


def test_color_has_no_window(both):
    ds, _ = both(np.zeros((2, 2, 3), np.uint8), *window(0, 100), photometric="RGB", samples=3)
    with pytest.raises(ValueError, match="MONOCHROME"):
        grayscale.apply_windowing(ds.pixel_array, ds)
    for call in (ds.windowed, ds.modality_pixels):
        with pytest.raises(fastdcm.DicomError, match="to_rgb"):
            call()


# ---------------------------------------------------------------- presentation ---


@pytest.mark.parametrize("bits", [8, 10, 16])
@pytest.mark.parametrize("vr", ["US", "OW"])
def test_presentation_table(both, bits, vr):
    entries = [(i * i) % 2**bits for i in range(64)]
    data = None
    if vr == "OW" and bits == 8:
        data = bytes(entries)
    ds, other = both(RAMP, (PRESENTATION, [lut_item(entries, 0, bits, data, 64, vr)]))
    result = grayscale.apply_presentation_lut(RAMP, ds)
    expected = theirs.apply_presentation_lut(RAMP, other)
    np.testing.assert_array_equal(result, expected)
    assert grayscale.apply_presentation_lut(np.full((2, 2), 9), ds).tolist() == [[0, 0], [0, 0]]


@pytest.mark.parametrize("shape", ["IDENTITY", "INVERSE"])
def test_presentation_shape(both, shape):
    ds, other = both(RAMP, (0x20500020, "CS", shape))
    same(grayscale.apply_presentation_lut(RAMP, ds), theirs.apply_presentation_lut(RAMP, other))


@pytest.mark.parametrize(
    "photometric, shape, inverted",
    [
        ("MONOCHROME2", None, False),
        ("MONOCHROME1", None, True),
        ("MONOCHROME2", "INVERSE", True),
        ("MONOCHROME1", "INVERSE", True),
        ("MONOCHROME2", "IDENTITY", False),
    ],
)
def test_polarity(both, photometric, shape, inverted):
    elements = [(0x20500020, "CS", shape)] if shape else []
    ds, _ = both(RAMP, *window(0, 100), *elements, photometric=photometric)
    expected = as_bytes(RAMP, 0, 100)
    assert (ds.windowed() == (255 - expected if inverted else expected)).all()
    table, _ = both(
        RAMP, (VOI, [lut_item([0, 100, 255], -1, 8)]), *elements, photometric=photometric
    )
    assert table.windowed()[7, 15] == (255 if inverted else 0)


# --------------------------------------------------------------------- padding ---


@pytest.mark.parametrize(
    "elements, ends",
    [
        ([(0x00280120, "SS", -100)], (-100, -100)),
        ([(0x00280120, "US", 0x10000 - 100)], (-100, -100)),
        ([(0x00280120, "SS", -100), (0x00280121, "SS", -90)], (-100, -90)),
        ([(0x00280120, "SS", -90), (0x00280121, "SS", -100)], (-100, -90)),
        ([(0x00280121, "SS", -100)], None),
        ([], None),
    ],
)
def test_padding(both, elements, ends):
    ds, _ = both(RAMP, *elements)
    assert grayscale.pixel_padding(ds) == ends
    mask = grayscale.padding_mask(ds.pixel_array, ds)
    low, high = ends or (1, 0)
    assert mask.dtype == bool and (mask == ((low <= RAMP) & (high >= RAMP))).all()


def test_without_a_window_the_range_without_padding(both):
    array = np.array([[-2000, 0, 50, 100]], np.int16)
    ds, _ = both(array, (0x00280120, "SS", -2000), *rescaled(1, -1000))
    assert ds.windowed().tolist() == [[0, 0, 128, 255]]
    flat, _ = both(np.full((2, 2), 7, np.int16))
    assert not flat.windowed().any()
    label, _ = both(np.array([[0, 19]], np.uint8), (0x00280120, "US", 0))
    assert label.windowed().tolist() == [[0, 255]]
    empty, _ = both(np.full((2, 2), 7, np.int16), (0x00280120, "SS", 7))
    assert empty.windowed().shape == (2, 2)


# ----------------------------------------------------- frames, functional groups ---

FRAMES = np.stack([RAMP, RAMP + 5, RAMP * 2])


def groups(*settings):
    """Per-frame items, each with a rescale and a window."""
    return [
        [(VALUES, [rescaled(slope, intercept)]), (FRAME_VOI, [window(center, width)])]
        for slope, intercept, center, width in settings
    ]


def test_frames_that_differ(both):
    settings = [(1, 0, 0, 100), (2, -7, 10, 50), (0.5, 3, -20, 80)]
    ds, _ = both(FRAMES, (PER_FRAME, groups(*settings)), frames=3)
    all_values = grayscale.apply_modality_lut(FRAMES, ds)
    windows = grayscale.apply_voi_lut(all_values, ds)
    for i, (slope, intercept, center, width) in enumerate(settings):
        single, other = both(FRAMES[i], *rescaled(slope, intercept), *window(center, width))
        values = theirs.apply_modality_lut(FRAMES[i], other)
        same(all_values[i], values)
        same(grayscale.apply_modality_lut(FRAMES[i], ds, frame=i), values)
        same(windows[i], theirs.apply_voi_lut(values, other))
        same(grayscale.apply_voi_lut(values, ds, frame=i), windows[i])
        assert grayscale.rescale(ds, i) == (slope, intercept)
        assert (ds.modality_pixels(i) == values).all()
        assert (ds.modality_pixels()[i] == values).all()
        assert (ds.windowed(i) == as_bytes(values, center, width)).all()
        assert (ds.windowed()[i] == ds.windowed(i)).all()
        assert (ds.windowed(i) == single.windowed()).all()
    with pytest.raises(ValueError, match="frame="):
        grayscale.apply_modality_lut(FRAMES[0], ds)


def test_frames_with_tables(both):
    items = [[(FRAME_VOI, [[(VOI, [lut_item([level, 255], 0, 8)])]])] for level in (10, 20, 30)]
    ds, _ = both(np.zeros((3, 2, 2), np.uint8), (PER_FRAME, items), frames=3)
    for result in (ds.windowed(), grayscale.apply_voi_lut(ds.pixel_array, ds)):
        assert result.dtype == np.uint8 and result[:, 0, 0].tolist() == [10, 20, 30]


@pytest.mark.parametrize("shared", [True, False])
def test_frames_that_agree(both, shared):
    items = groups((2, -7, 10, 50)) * (1 if shared else 3)
    ds, _other = both(FRAMES, (SHARED if shared else PER_FRAME, items), frames=3)
    _, flat = both(FRAMES, *rescaled(2, -7), *window(10, 50), frames=3)
    for array in (FRAMES, FRAMES[1]):
        values = grayscale.apply_modality_lut(array, ds)
        same(values, theirs.apply_modality_lut(array, flat))
        same(grayscale.apply_windowing(values, ds), theirs.apply_windowing(values, flat))


def test_shared_window_over_frames_that_differ(both):
    """The range of a window's result follows the frame's own rescale."""
    per_frame = [[(VALUES, [rescaled(slope, 0)])] for slope in (1, 2, 3)]
    ds, _ = both(
        FRAMES, (SHARED, [[(FRAME_VOI, [window(0, 100)])]]), (PER_FRAME, per_frame), frames=3
    )
    result = grayscale.apply_windowing(grayscale.apply_modality_lut(FRAMES, ds), ds)
    assert [one.max() for one in result] == [32767 * slope for slope in (1, 2, 3)]


def test_real_functional_groups(pydicom_files, corpus_files):
    """Compared with pydicom, which is given each frame's transformation at the top
    level, in place of what is there."""
    done = 0
    for path in [*pydicom_files, *corpus_files]:
        ds = fastdcm.dcmread(path, force=True)
        per_frame = ds.get("PerFrameFunctionalGroupsSequence")
        if not per_frame or ds.get("BitsAllocated") != 16 or ds["PixelData"].is_undefined_length:
            continue
        other = pydicom.dcmread(path, force=True)
        stored = other.pixel_array.reshape(len(per_frame), ds.Rows, ds.Columns)[:4]
        several = ds.modality_pixels(slice(0, 4))
        for i, array in enumerate(stored):
            for group in (
                other.SharedFunctionalGroupsSequence[0],
                other.PerFrameFunctionalGroupsSequence[i],
            ):
                for keyword in ("PixelValueTransformationSequence", "FrameVOILUTSequence"):
                    for item in group.get(keyword) or ():
                        for elem in item:
                            other[elem.tag] = elem
            values = theirs.apply_modality_lut(array, other)
            same(grayscale.apply_modality_lut(array, ds, frame=i), values)
            same(grayscale.apply_voi_lut(values, ds, frame=i), theirs.apply_voi_lut(values, other))
            assert (several[i] == values.astype(np.float32)).all()
            done += 1
    assert done > 20


def test_frames_and_out(both):
    ds, _ = both(FRAMES, *rescaled(2, 1), *window(0, 100), frames=3)
    expected = (FRAMES * 2.0 + 1).astype(np.float32)
    for frames in (None, 0, 2, -1, slice(1, 3), slice(None, None, 2)):
        part = expected if frames is None else expected[frames]
        same(ds.modality_pixels(frames), part)
        same(ds.windowed(frames), as_bytes(part, 0, 100))
        out = np.empty(part.shape, np.float32)
        assert ds.modality_pixels(frames, out=out) is out and (out == part).all()
        gray = np.empty(part.shape, np.uint8)
        assert ds.windowed(frames, out=gray) is gray and (gray == as_bytes(part, 0, 100)).all()
    assert ds.modality_pixels(slice(3, 3)).shape == (0, 16, 16)
    for frames in (3, -4):
        with pytest.raises(IndexError):
            ds.windowed(frames)
    for wrong in (
        np.empty((3, 16, 16)),
        np.empty((2, 16, 16), np.float32),
        np.empty((16, 16, 3), np.float32).transpose(2, 0, 1),
    ):
        with pytest.raises(ValueError, match="out"):
            ds.modality_pixels(out=wrong)


def test_a_given_window_wins(both):
    ds, _ = both(RAMP, *window(0, 100, "SIGMOID"), *rescaled(2, 0))
    values = RAMP * 2.0
    assert (ds.windowed() == as_bytes(values, 0, 100, "SIGMOID")).all()
    assert (ds.windowed(center=5, width=30) == as_bytes(values, 5, 30, "SIGMOID")).all()
    assert (ds.windowed(function="LINEAR") == as_bytes(values, 0, 100)).all()
    assert (
        ds.windowed(center=5, width=30, function="LINEAR_EXACT")
        == as_bytes(values, 5, 30, "LINEAR_EXACT")
    ).all()
    with pytest.raises(ValueError, match="width"):
        ds.windowed(center=5)


def test_floats(put):
    array = np.array([[0.5, -1, np.nan, 1e30]], np.float32)
    raw = image(array.view(np.uint32), (0x7FE00008, "OF", array.tobytes()))
    end = raw.index(b"\xe0\x7f\x10\x00")  # Pixel Data, which is last
    ds = fastdcm.dcmread(put(raw=raw[:end]))
    assert ds.windowed(center=0, width=4, function="LINEAR_EXACT").tolist() == [[159, 64, 0, 255]]
    np.testing.assert_array_equal(ds.modality_pixels(), array)


# --------------------------------------------------------------------- damaged ---

GOOD = [1, 2, 3]


@pytest.mark.parametrize(
    "elements, text",
    [
        ([(MODALITY, [lut_item(GOOD, 0, 16, b"", 3)])], "0 entries"),
        ([(MODALITY, [lut_item(GOOD, 0, 16, b"\1", 3, vr="OB")])], "0 entries"),
        ([(MODALITY, [lut_item(GOOD, 0, 16, b"ab", 3, vr="LO")])], "not integers"),
        (
            [(MODALITY, [lut_item(GOOD, 0, 16)[1:]])],
            "LUTDescriptor must be three integers, got None",
        ),
        ([(MODALITY, [[(0x00283002, "US", [3, 0]), lut_item(GOOD, 0, 16)[1]]])], "LUTDescriptor"),
        (
            [(MODALITY, [[(0x00283002, "LO", "3\\0\\16"), lut_item(GOOD, 0, 16)[1]]])],
            "LUTDescriptor",
        ),
        ([(MODALITY, [lut_item(GOOD, 0, 0)])], "8 to 16 bits, got 0"),
        ([(MODALITY, [lut_item(GOOD, 0, 17)])], "8 to 16 bits, got 17"),
        ([(SLOPE, "DS", "two"), (INTERCEPT, "DS", "0")], "RescaleSlope"),
        ([(SLOPE, "DS", "1\\2"), (INTERCEPT, "DS", "0")], "RescaleSlope"),
        ([(SLOPE, "DS", "1"), (INTERCEPT, "DS", "nan")], "RescaleIntercept"),
    ],
)
def test_damaged_modality(both, elements, text):
    ds, _ = both(RAMP, *elements)
    for call in (
        lambda: grayscale.apply_modality_lut(RAMP, ds),
        ds.modality_pixels,
        ds.windowed,
        lambda: grayscale.rescale(ds),
    ):
        with pytest.raises(fastdcm.DicomError, match=text) as caught:
            call()
        assert caught.value.code == "lut" and caught.value.filename == ds.filename


def codes_of(ds):
    return [issue.code for issue in ds.issues]


@pytest.mark.parametrize("entries", [1, 2, 3])
@pytest.mark.parametrize("vr", ["US", "OW"])
@pytest.mark.parametrize("tag", [MODALITY, VOI])
def test_a_table_that_is_short(both, put, tag, vr, entries):
    """The last entry that exists stands for the missing ones, with an issue."""
    short = lut_item([10, 20, 30][:entries], 0, 16, count=4, vr=vr)
    complete = lut_item(([10, 20, 30][:entries] + 3 * [10 * entries])[:4], 0, 16, vr=vr)
    ds, _ = both(RAMP, (tag, [short]))
    expected, _ = both(RAMP, (tag, [complete]))
    assert (ds.windowed() == expected.windowed()).all()
    assert codes_of(ds) == ["lut"] and codes_of(expected) == []
    apply = grayscale.apply_modality_lut if tag == MODALITY else grayscale.apply_voi
    same(apply(RAMP, ds), apply(RAMP, expected))
    strict = fastdcm.dcmread(ds.filename, strict=True)
    with pytest.raises(fastdcm.DicomError) as caught:
        strict.windowed()
    assert caught.value.code == "lut"


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("length", [2, 3, 4, 5, 6, 7, 8])
def test_bytes_of_a_table(both, bits, length):
    """Of 8 bits: packed up to as many bytes as entries, else two bytes an entry."""
    data = bytes(range(10, 10 + length))
    ds, _ = both(RAMP, (MODALITY, [lut_item([], 0, bits, data, 4, vr="OB")]))
    values = grayscale.apply_modality_lut(np.arange(4), ds).tolist()
    if bits == 8 and length <= 5:
        entries = list(data)
    else:
        entries = np.frombuffer(data, "<u2", length // 2).tolist()
        if bits == 8:
            entries = [entry & 0xFF for entry in entries]
    assert values == (entries + 3 * entries[-1:])[:4]
    assert codes_of(ds) == ([] if len(entries) >= 4 else ["lut"])


@pytest.mark.parametrize("in_groups", [False, True])
@pytest.mark.parametrize(
    ("elements", "expected", "code"),
    [
        (window(0, 0), None, "image-value"),
        (window(0, -5, "LINEAR_EXACT"), None, "image-value"),
        (window(0, 0, "SIGMOID"), None, "image-value"),
        (window("x", 5), None, "bad-number image-value"),
        (window(0, "inf"), None, "image-value"),
        (window("nan", 5), None, "image-value"),
        ([(CENTER, "AT", b"\0\0"), (WIDTH, "DS", "5")], None, "image-value value-length"),
        (window(0, 0.5), (0, 0.5, "LINEAR_EXACT"), "image-value"),
        (window(0, 0.5, "LINEAR"), (0, 0.5, "LINEAR_EXACT"), "image-value"),
        (window(0, 0.5, "CUBIC"), (0, 0.5, "LINEAR_EXACT"), "image-value image-value"),
        (window(0, 10, "CUBIC"), (0, 10, "LINEAR"), "image-value"),
        (window(0, 10, "sigmoid"), (0, 10, "SIGMOID"), ""),
        ([*window(0, 10), (FUNCTION, "US", [1, 2])], (0, 10, "LINEAR"), "image-value"),
        ([(VOI, [lut_item(GOOD, 0, 7)])], None, "lut"),
        ([(VOI, [lut_item(GOOD, 0, 16)[1:]])], None, "lut"),
        ([(VOI, [lut_item(GOOD, 0, 7)]), *window(0, 10)], (0, 10, "LINEAR"), "lut"),
    ],
)
def test_an_impossible_voi_does_not_cost_the_picture(both, elements, expected, code, in_groups):
    given = [(SHARED, [[(FRAME_VOI, [elements])]])] if in_groups else elements
    ds, _ = both(RAMP, *given)
    found = ds.windowed()
    plain, _ = both(RAMP)
    assert (found == (plain.windowed() if expected is None else as_bytes(RAMP, *expected))).all()
    assert sorted(codes_of(ds)) == sorted(code.split())
    if expected is None:
        same(grayscale.apply_voi_lut(RAMP, ds), RAMP)
    else:
        scaled = grayscale.apply_voi_lut(RAMP, ds)
        low, high = float(np.iinfo(RAMP.dtype).min), float(np.iinfo(RAMP.dtype).max)
        wanted = [formula(float(x), *expected, low, high) for x in RAMP.ravel()]
        np.testing.assert_allclose(scaled.ravel(), wanted)
    assert (ds.windowed(center=0, width=10, function="LINEAR") == as_bytes(RAMP, 0, 10)).all()
    if code:
        with pytest.raises(fastdcm.DicomError) as caught:
            fastdcm.dcmread(ds.filename, strict=True).windowed()
        assert caught.value.code in code


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"center": 0, "width": 0}, "Window Width must be at least 1 for LINEAR, got 0"),
        ({"center": 0, "width": 0.5}, "at least 1"),
        ({"center": 0, "width": 0, "function": "SIGMOID"}, "above 0"),
        ({"center": float("nan"), "width": 5}, "finite"),
        ({"center": 0, "width": float("inf")}, "finite"),
        ({"center": 0, "width": 5, "function": "CUBIC"}, "function must be LINEAR"),
    ],
)
def test_impossible_arguments(both, arguments, text):
    with pytest.raises(fastdcm.DicomError, match=text):
        both(RAMP)[0].windowed(**arguments)


def test_damaged_presentation(both):
    ds, _ = both(RAMP, (PRESENTATION, [lut_item(GOOD, 0, 17)]))
    with pytest.raises(fastdcm.DicomError, match="8 to 16 bits"):
        grayscale.apply_presentation_lut(RAMP, ds)
    ds, _ = both(RAMP, (0x20500020, "CS", "LIN OD"))
    with pytest.raises(fastdcm.DicomError, match="LIN OD"):
        grayscale.apply_presentation_lut(RAMP, ds)


@pytest.mark.parametrize("stored", [b"", 0, 17, [8, 8]])
def test_impossible_bits_stored(both, stored):
    """Bits Allocated is used."""
    ds, _ = both(RAMP, *window(0, 100), (0x00280101, "US", stored))
    expected, _ = both(RAMP, *window(0, 100))
    same(grayscale.apply_windowing(RAMP, ds), grayscale.apply_windowing(RAMP, expected))
    assert (ds.windowed() == as_bytes(RAMP, 0, 100)).all()
    assert codes_of(ds) == ([] if stored == b"" else ["image-value"])
