"""Dates and times of slices as seconds (PS3.5 6.2: DA, TM, DT)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date
from typing import Any

_TIME = re.compile(r"(\d\d):?(\d\d)?:?(\d\d)?(?:\.(\d{1,6}))?")
_DATE = re.compile(r"(\d{4})[-.]?(\d\d)[-.]?(\d\d)")
_OFFSET = re.compile(r"([+-])(\d\d)(\d\d)$")


def seconds_of_day(value: object) -> float | None:
    """Return a TM as seconds from midnight, or None when it is no time.

    Parameters
    ----------
    value : object

    Returns
    -------
    float or None
    """
    match = _TIME.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None:
        return None
    hours, minutes, seconds = (int(text or 0) for text in match.groups()[:3])
    if hours > 23 or minutes > 59 or seconds > 60:
        return None
    return hours * 3600.0 + minutes * 60.0 + seconds + float(f"0.{match[4] or 0}")


def _offset_of(value: object) -> float | None:
    """Return the offset from UTC at the end of a text, in seconds."""
    match = _OFFSET.search(value.strip()) if isinstance(value, str) else None
    if match is None:
        return None
    return (int(match[2]) * 60.0 + int(match[3])) * (60 if match[1] == "+" else -60)


def seconds_of_date_time(value: object, time: object) -> float | None:
    """Return a DT, or a DA and a TM, as seconds from the first day of the calendar.

    Parameters
    ----------
    value : object
        A DA if there is a `time`, else a DT with a time of day. Its offset from UTC is
        applied.
    time : object
        A TM, or None.

    Returns
    -------
    float or None
        None when either is missing or invalid.
    """
    if not isinstance(value, str):
        return None
    value = value.strip()
    offset = None
    if time is None:
        offset = _offset_of(value)
        if offset is not None:
            value = value[:-5]
        value, time = value[:8], value[8:]
    match = _DATE.fullmatch(value)
    clock = seconds_of_day(time)
    if match is None or clock is None:
        return None
    try:
        day = date(int(match[1]), int(match[2]), int(match[3])).toordinal()
    except ValueError:
        return None
    return day * 86400.0 + clock - (offset or 0.0)


def local_seconds(value: object, zone: object) -> float | None:
    """Return a DT as seconds on the clock of the DA and TM of its data set.

    Parameters
    ----------
    value : object
        A DT with a time of day.
    zone : object
        Timezone Offset From UTC (0008,0201), which is that of all DA and TM, and of a DT
        without an offset (PS3.3 C.12.1). Where there is none, the offset of the DT is not
        applied: its time of day is on the same clock.

    Returns
    -------
    float or None
    """
    seconds, offset = seconds_of_date_time(value, None), _offset_of(value)
    if seconds is None or offset is None:
        return seconds
    of_data_set = _offset_of(zone)
    return seconds + (offset if of_data_set is None else of_data_set)


def acquisition_seconds(values: Mapping[str, Any]) -> float | None:
    """Return when a slice was acquired, in seconds.

    From the first of Frame Acquisition DateTime, Acquisition DateTime, and Acquisition Date
    and Time that is valid; a time without a date counts from midnight.

    Parameters
    ----------
    values : mapping
        By keyword.

    Returns
    -------
    float or None
    """
    for keyword in ("FrameAcquisitionDateTime", "AcquisitionDateTime"):
        seconds = seconds_of_date_time(values.get(keyword), None)
        if seconds is not None:
            return seconds
    day, time = values.get("AcquisitionDate"), values.get("AcquisitionTime")
    seconds = seconds_of_date_time(day, time) if time is not None else None
    return seconds if seconds is not None else seconds_of_day(time)
