"""Padding, SUV and real world values."""

import numpy as np
import pytest

import fastdcm
from support.builder import element, sequence
from support.series import (
    COLUMNS,
    NO_GEOMETRY,
    ROWS,
    encode_image,
    frames_of,
    functional_groups,
    plane_position,
)

PADDING, LIMIT = 0x00280120, 0x00280121
SHAPE = (ROWS, COLUMNS)


@pytest.mark.parametrize("limit", [None, -1990, -2010])
@pytest.mark.parametrize("slope", [1, 0.5])
@pytest.mark.parametrize("fill", [None, 0, -3000, float("nan"), 0.5, 70000])
@pytest.mark.parametrize("signed", [0, 1])
def test_padding(put, signed, fill, slope, limit):
    value = -2000 if signed else 63536
    limit = limit if limit is None or signed else limit + 65536
    stored = np.full(SHAPE, 7, np.int16 if signed else np.uint16)
    stored[0, :3] = [value, value + 5, value - 5]
    vr = "SS" if signed else "US"
    raw = {PADDING: element(PADDING, vr, value)}
    if limit is not None:
        raw[LIMIT] = element(LIMIT, vr, limit)
    path = put(
        encode_image(stored, raw, signed=signed, slope=slope, intercept=1, position=[0, 0, 0])
    )
    low, high = sorted([value, value if limit is None else limit])
    expected = stored * slope + 1.0
    if fill is not None:
        expected[(stored >= low) & (stored <= high)] = fill
    for source in (path, fastdcm.dcmread(path)):
        volume = fastdcm.read_volume(source, padding=fill)
        assert np.array_equal(volume.array[0], expected.astype(np.float32), equal_nan=True)


@pytest.mark.parametrize(
    ("fill", "dtype"), [(0, "i2"), (-3000, "i2"), (70000, "i4"), (float("nan"), "f4"), (0.5, "f4")]
)
def test_type_of_padded_stored_values(put, fill, dtype):
    stored = np.zeros(SHAPE, np.int16)
    stored[1, 1] = -5
    raw = {PADDING: element(PADDING, "SS", -5)}
    volume = fastdcm.read_volume(put(encode_image(stored, raw, position=[0, 0, 0])), padding=fill)
    assert volume.array.dtype == dtype
    assert np.array_equal(volume.array[0, 1, 1], fill, equal_nan=True)
    assert np.count_nonzero(volume.array) == (0 if fill == 0 else 1)


# ---------------------------------------------------------------------- SUV ---

WEIGHT, DOSE, HALF_LIFE = 70.0, 370e6, 6586.2


def pet(put, drop=(), z=0, **changes):
    """Write a PET image; changes: attributes by name. drop: names to leave out."""
    dose = {
        "start": element(0x00181072, "TM", changes.pop("start", "090000")),
        "dose": element(0x00181074, "DS", changes.pop("dose", DOSE)),
        "half": element(0x00181075, "DS", HALF_LIFE),
        "start_time": element(0x00181078, "DT", changes.pop("start_time", "20240102090000")),
    }
    order = ("start", "dose", "half", "start_time")
    attributes = {
        "series_date": (0x00080021, "DA", "20240102"),
        "acquisition_date": (0x00080022, "DA", "20240102"),
        "series_time": (0x00080031, "TM", "100000"),
        "acquisition_time": (0x00080032, "TM", "100500"),
        "weight": (0x00101030, "DS", WEIGHT),
        "corrected": (0x00280051, "CS", ["ATTN", "DECY"]),
        "units": (0x00541001, "CS", "BQML"),
        "decay": (0x00541102, "CS", "START"),
    }
    raw = {
        tag: element(tag, vr, changes.get(name, value))
        for name, (tag, vr, value) in attributes.items()
        if name not in drop
    }
    if "zone" in changes:
        raw[0x00080201] = element(0x00080201, "SH", changes["zone"])
    if "scanned" in changes:
        raw[0x00090010] = element(0x00090010, "LO", "GEMS_PETD_01")
        raw[0x0009100D] = element(0x0009100D, "DT", changes["scanned"])
    items = b"".join(dose[name] for name in order if name not in drop)
    raw[0x00540016] = sequence(0x00540016, [items, *changes.get("more_doses", ())])
    raw |= changes.get("raw", {})
    stored = np.arange(24, dtype="<i2").reshape(SHAPE)
    return put(encode_image(stored, raw, modality="PT", slope=2.5, intercept=0, position=[0, 0, z]))


DECAYED = DOSE * 2 ** (-3600 / HALF_LIFE)


@pytest.mark.parametrize(
    ("changes", "drop", "factor"),
    [
        ({}, (), WEIGHT * 1000 / DECAYED),
        ({}, ("start_time",), WEIGHT * 1000 / DECAYED),
        ({}, ("start",), WEIGHT * 1000 / DECAYED),
        ({"decay": "ADMIN"}, ("half",), WEIGHT * 1000 / DOSE),
        ({"units": "GML"}, ("weight", "dose"), 1.0),
        # before midnight
        (
            {"start": "233000", "series_time": "003000"},
            ("start_time",),
            WEIGHT * 1000 / DECAYED,
        ),
        # a derived series with the time of the scan in a private element of GE
        (
            {"series_time": "150000", "scanned": "20240102100000.00"},
            (),
            WEIGHT * 1000 / DECAYED,
        ),
        ({"scanned": "20240102100000"}, ("acquisition_time",), WEIGHT * 1000 / DECAYED),
        # what is not needed may be missing
        ({"decay": "ADMIN"}, ("acquisition_time", "series_time"), WEIGHT * 1000 / DOSE),
        ({"units": "GML", "more_doses": [b""]}, ("acquisition_time",), 1.0),
        (
            {
                "units": "CNTS",
                "raw": {
                    0x70530010: element(0x70530010, "LO", "Philips PET Private Group"),
                    0x70531000: element(0x70531000, "DS", 0.25),
                },
            },
            (),
            0.25,
        ),
    ],
)
def test_suv(put, changes, drop, factor):
    path = pet(put, drop, **changes)
    volume = fastdcm.read_volume(path, quantity="suv")
    expected = fastdcm.read_volume(path).array * factor
    assert np.allclose(volume.array, expected, rtol=1e-6) and volume.units == "g/ml"
    (other,) = fastdcm.read_volume([fastdcm.dcmread(path)], quantity="suv", on_problem="split")
    assert (other.array == volume.array).all()


@pytest.mark.parametrize(
    ("text", "zone"),
    [
        ("20240102090000+0200", None),
        ("20240102090000-0500", None),
        ("20240102090000+0200", "+0200"),
        ("20240102090000", "+0200"),
        ("20240102070000+0000", "+0200"),
        ("20240101220000-0900", "+0200"),
    ],
)
@pytest.mark.parametrize("name", ["start_time", "scanned"])
def test_suv_with_an_offset_from_utc(put, name, text, zone):
    """Radiopharmaceutical Start DateTime, and the private element of GE; both at 9:00."""
    changes = {"start_time": text} if name == "start_time" else {}
    if name == "scanned":
        changes = {name: text, "start_time": "20240102080000", "series_time": "150000"}
    path = pet(put, **changes, **({} if zone is None else {"zone": zone}))
    volume = fastdcm.read_volume(path, quantity="suv")
    expected = fastdcm.read_volume(path).array * WEIGHT * 1000 / DECAYED
    assert np.allclose(volume.array, expected, rtol=1e-6)


BEDS = ("100000", "101000", "102000")


@pytest.mark.parametrize("series_time", ["095959", "100000", "101500", "150000"])
def test_suv_has_one_start_of_the_scan_for_a_series(put, series_time):
    """Series Time is after the Acquisition Time of no bed, of some beds, of all beds."""
    scanned = "20240102" + min(series_time, BEDS[0])
    paths = [
        pet(put, z=z, acquisition_time=bed, series_time=series_time, scanned=scanned)
        for z, bed in enumerate(BEDS)
    ]
    volume = fastdcm.read_volume(paths, quantity="suv")
    expected = fastdcm.read_volume(paths).array * WEIGHT * 1000 / DECAYED
    assert np.allclose(volume.array, expected, rtol=2e-4)  # of one second


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"series_time": ["101500"] * 3}, "Series Time is after an Acquisition Time"),
        ({"series_time": ["095900", "100000", "095900"]}, "2 different Series Times"),
        (
            {"series_time": ["150000"] * 3, "scanned": [f"20240102{bed}" for bed in BEDS]},
            "Series Time is after an Acquisition Time",
        ),
        ({"acquisition_time": ["", *BEDS[1:]]}, "Acquisition Date or Time is missing"),
    ],
)
def test_suv_without_one_start_of_the_scan(put, changes, reason):
    paths = []
    for z, bed in enumerate(BEDS):
        values = {name: each[z] for name, each in changes.items()}
        paths.append(pet(put, z=z, **{"acquisition_time": bed} | values))
    with pytest.raises(fastdcm.DicomError, match=reason) as caught:
        fastdcm.read_volume(paths, quantity="suv")
    assert caught.value.code == "quantity"


@pytest.mark.parametrize("more", [b"", element(0x00181074, "DS", 1e8)])
@pytest.mark.parametrize("decay", ["START", "ADMIN"])
def test_suv_of_two_injections(put, decay, more):
    path = pet(put, decay=decay, more_doses=[more])
    for source in (path, [fastdcm.dcmread(path)]):
        with pytest.raises(fastdcm.DicomError, match=r"one item in .*, got 2") as caught:
            fastdcm.read_volume(source, quantity="suv")
        assert caught.value.code == "quantity"


@pytest.mark.parametrize(
    ("changes", "drop", "reason"),
    [
        ({}, ("weight",), "PatientWeight above 0"),
        ({"weight": 0}, (), "PatientWeight above 0"),
        ({}, ("dose",), "RadionuclideTotalDose above 0"),
        ({}, ("half",), "RadionuclideHalfLife above 0"),
        ({}, ("start", "start_time"), "Radiopharmaceutical Start Time"),
        ({}, ("series_time",), "start of the scan: Series Date or Time is missing"),
        ({}, ("series_date",), "start of the scan: Series Date or Time is missing"),
        ({}, ("acquisition_time",), "start of the scan: Acquisition Date or Time is missing"),
        ({}, ("acquisition_date",), "start of the scan: Acquisition Date or Time is missing"),
        ({"series_time": "150000"}, (), "start of the scan: Series Time is after"),
        ({"start_time": "20240101090000"}, (), "after the injection"),
        ({"start_time": "20240102103000"}, (), "after the injection"),
        ({"corrected": ["ATTN"]}, (), "no DECY"),
        ({"decay": "NONE"}, (), "START or ADMIN, got 'NONE'"),
        ({"units": "CNTS"}, (), "no private factor"),
        ({"units": "PROPCNTS"}, (), "got 'PROPCNTS'"),
        ({}, ("units",), "got None"),
    ],
)
def test_suv_that_cannot_be_computed(put, changes, drop, reason):
    with pytest.raises(fastdcm.DicomError, match=reason) as caught:
        fastdcm.read_volume(pet(put, drop, **changes), quantity="suv")
    assert caught.value.code == "quantity" and caught.value.filename


# --------------------------------------------------------- real world values ---


def mapping(first, last, *, slope=None, table=None, vr="US"):
    unit = sequence(
        0x004008EA,
        [element(0x00080100, "SH", "mm2/s") + element(0x00080102, "SH", "UCUM")],
    )
    item = unit + element(0x00409211, vr, last)
    if table is not None:
        item += element(0x00409212, "FD", table)
    item += element(0x00409216, vr, first)
    if slope is not None:
        item += element(0x00409224, "FD", 3.0) + element(0x00409225, "FD", slope)
    return sequence(0x00409096, [item])


@pytest.mark.parametrize("level", ["per-frame", "shared", "top"])
@pytest.mark.parametrize("table", [False, True])
def test_real_world_values(put, level, table):
    stored = frames_of(2)
    if table:
        first, last = 5, 104
        item = mapping(first, last, table=[float(i * i) for i in range(100)])
        expected = (stored.astype(float) - 5) ** 2
    else:
        first, last = 2, 110
        item = mapping(first, last, slope=0.25)
        expected = stored * 0.25 + 3
    expected[(stored < first) | (stored > last)] = np.nan
    per_frame = [
        plane_position([0, 0, z]) + (item if level == "per-frame" else b"") for z in range(2)
    ]
    raw = functional_groups(per_frame, shared=item if level == "shared" else b"")
    if level == "top":
        raw[0x00409096] = item
    path = put(encode_image(stored, raw, frames=2, slope=9, **NO_GEOMETRY))
    volume = fastdcm.read_volume(path, quantity="rwv")
    assert np.array_equal(volume.array, expected.astype(np.float32), equal_nan=True)
    assert volume.units == "mm2/s"


def test_real_world_values_that_are_not_there(put):
    stored = frames_of(1)[0]
    for raw, reason in [
        ({}, "no Real World Value Mapping"),
        ({0x00409096: mapping(0, 5)}, "neither a slope nor a table"),
        ({0x00409096: mapping(0, 5, table=[1.0, 2.0])}, "2 entries for 0 to 5"),
    ]:
        with pytest.raises(fastdcm.DicomError, match=reason) as caught:
            fastdcm.read_volume(put(encode_image(stored, raw, position=[0, 0, 0])), quantity="rwv")
        assert caught.value.code == "quantity"


def test_arguments(put):
    path = put(encode_image(frames_of(1)[0], position=[0, 0, 0]))
    with pytest.raises(ValueError, match="quantity must be 'suv', 'rwv' or None, got 'hu'"):
        fastdcm.read_volume(path, quantity="hu")
    with pytest.raises(ValueError, match="quantity='suv' needs rescale=True"):
        fastdcm.read_volume(path, quantity="suv", rescale=False)
