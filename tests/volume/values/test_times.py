"""Times of slices as seconds."""

import pytest

from fastdcm.volume.values.times import (
    acquisition_seconds,
    local_seconds,
    seconds_of_date_time,
    seconds_of_day,
)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("000000", 0),
        ("235959.999999", 86399.999999),
        ("1005", 36300),
        ("10", 36000),
        ("10:05:30", 36330),
        ("100530.5 ", 36330.5),
        ("240000", None),
        ("106000", None),
        ("", None),
        ("10053", None),
        ("now", None),
        (None, None),
        (100530, None),
        (["100530"], None),
    ],
)
def test_seconds_of_day(text, seconds):
    assert seconds_of_day(text) == seconds


def test_date_and_time():
    day = 86400.0
    noon = seconds_of_date_time("20240102120000", None)
    assert seconds_of_date_time("20240102", "120000") == noon
    assert seconds_of_date_time("2024.01.02", "120000") == noon
    assert seconds_of_date_time("20240103", "120000") == noon + day
    assert seconds_of_date_time("20240102130000.5+0100", None) == noon + 0.5
    assert seconds_of_date_time("20240102110000-0100", None) == noon
    for wrong in ("20240230120000", "2024", "20240102", "", None, 5, ["20240102120000"]):
        assert seconds_of_date_time(wrong, None) is None
    assert seconds_of_date_time("20240102", "99") is None


@pytest.mark.parametrize(
    ("text", "zone", "hour"),
    [
        ("20240102120000", None, 12),
        ("20240102120000", "+0200", 12),
        ("20240102120000.5+0900", None, 12),
        ("20240102120000-0500", "", 12),
        ("20240102120000+0200", "+0200", 12),
        ("20240102120000+0000", "+0530", 17.5),
        ("20240102120000+0200 ", "-0500", 5),
        ("20240102230000-0100", "+0100", 25),
        ("20240102120000+0200", "UTC", 12),
        ("20240102+0200", "+0200", None),
        (None, "+0200", None),
    ],
)
def test_date_and_time_on_the_clock_of_a_data_set(text, zone, hour):
    """PS3.3 C.12.1, Timezone Offset From UTC."""
    seconds = local_seconds(text, zone)
    if hour is None:
        assert seconds is None
    else:
        midnight = seconds_of_date_time("20240102", "000000")
        assert int(seconds - midnight) == hour * 3600


def test_the_first_valid_time_is_used():
    values = {
        "FrameAcquisitionDateTime": "20240102120000",
        "AcquisitionDateTime": "20240102120001",
        "AcquisitionDate": "20240102",
        "AcquisitionTime": "120002",
    }
    base = seconds_of_date_time("20240102", "120000")
    for expected in (base, base + 1, base + 2):
        assert acquisition_seconds(values) == expected
        values[next(iter(values))] = "?"
        del values[next(iter(values))]
    values = {"AcquisitionTime": "000010"}
    assert acquisition_seconds(values) == 10
    assert acquisition_seconds({}) is None
