"""Values other than the modality's: padding, SUV, and real world values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from fastdcm.dataset import Dataset
from fastdcm.errors import DicomError
from fastdcm.pixels import functional_groups
from fastdcm.pixels.layout import as_number
from fastdcm.pixels.lookup_table import sequence_items
from fastdcm.volume.slices import Slice, finite_numbers
from fastdcm.volume.values.times import local_seconds, seconds_of_date_time, seconds_of_day

#: What the values of a volume can be converted to.
Quantity = Literal["suv", "rwv"]
QUANTITIES = ("suv", "rwv")

#: The elements that padding needs.
PADDING_TAGS = ("PixelPaddingValue", "PixelPaddingRangeLimit")
_DOSE = "RadiopharmaceuticalInformationSequence"
_DOSES = f"{_DOSE}[*].RadionuclideTotalDose"
_ZONE = "TimezoneOffsetFromUTC"
_PHILIPS_FACTOR = "(7053,xx00,Philips PET Private Group)"
_GE_SCAN_TIME = "(0009,xx0D,GEMS_PETD_01)"
#: The elements that each quantity needs.
QUANTITY_TAGS: Mapping[str, tuple[str, ...]] = {
    "suv": (
        "Units",
        "SUVType",
        "CorrectedImage",
        "DecayCorrection",
        "PatientWeight",
        "SeriesDate",
        "SeriesTime",
        "AcquisitionDate",
        _ZONE,
        _DOSES,
        f"{_DOSE}.RadionuclideTotalDose",
        f"{_DOSE}.RadionuclideHalfLife",
        f"{_DOSE}.RadiopharmaceuticalStartTime",
        f"{_DOSE}.RadiopharmaceuticalStartDateTime",
        _PHILIPS_FACTOR,
        _GE_SCAN_TIME,
    ),
    "rwv": (),
}
_DAY = 86400.0


def _fail(text: str, each: Slice) -> DicomError:
    return DicomError(text, "quantity", filename=each.image.path)


# ---------------------------------------------------------------- padding ---


def padding_range(each: Slice) -> tuple[int, int] | None:
    """Return the smallest and largest stored value of padding (PS3.3 C.7.5.1.1.2).

    Parameters
    ----------
    each : Slice

    Returns
    -------
    (int, int) or None
        None where the image has no Pixel Padding Value, or is in color.
    """
    row = each.image.row
    if each.samples > 1:
        return None
    value = _stored_number(row, "PixelPaddingValue")
    if value is None:
        return None
    limit = _stored_number(row, "PixelPaddingRangeLimit")
    limit = value if limit is None else limit
    return (min(value, limit), max(value, limit))


def _stored_number(row: Mapping[str, Any], keyword: str) -> int | None:
    """Return a value of VR US or SS, with the sign that Pixel Representation gives it."""
    value = row.get(keyword)
    bits = row["BitsAllocated"]
    if not isinstance(value, int) or not isinstance(bits, int):
        return None
    if row["PixelRepresentation"] == 1:
        return value - 65536 if 32768 <= value < 65536 else value
    return value + 65536 if value < 0 else value


# -------------------------------------------------------------------- SUV ---


def apply_suv(slices: Sequence[Slice]) -> str:
    """Multiply the rescale of PET slices, so that it gives SUV by body weight.

    Parameters
    ----------
    slices : sequence of Slice
        With the values of `QUANTITY_TAGS`.

    Returns
    -------
    str
        The unit, "g/ml".

    Raises
    ------
    DicomError
        "quantity" where an attribute is missing or ambiguous, or the image is no PET.
    """
    series: dict[object, list[Slice]] = {}
    for each in slices:
        series.setdefault(each.values["SeriesInstanceUID"], []).append(each)
    for group in series.values():
        decaying = [each for each in group if _is_corrected_to_start(each)]
        start = _start_of_scan(decaying) if decaying else 0.0
        for each in group:
            factor = _suv_factor(each, start)
            each.slope *= factor
            each.intercept *= factor
    return "g/ml"


def _is_corrected_to_start(each: Slice) -> bool:
    return (each.values.get("Units"), each.values.get("DecayCorrection")) == ("BQML", "START")


def _suv_factor(each: Slice, start: float) -> float:
    """Return what modality values are multiplied by (PS3.3 C.8.9.1, QIBA SUV).

    start : when the scan of the series started, in s.
    """
    values = each.values
    units = values.get("Units")
    if units == "GML":
        kind = values.get("SUVType") or "BW"
        if kind != "BW":
            raise _fail(f"the values are SUV of the type {kind}, not by body weight (BW)", each)
        return 1.0
    if units == "CNTS":
        factor = _positive(each, _PHILIPS_FACTOR)
        if factor is None:
            raise _fail("the unit is CNTS, and there is no private factor to SUV", each)
        return factor
    if units != "BQML":
        raise _fail(f"SUV needs PET in units of BQML, GML or CNTS, got {units!r}", each)
    corrected = values.get("CorrectedImage")
    corrected = corrected if isinstance(corrected, (list, tuple)) else (corrected,)
    missing = [name for name in ("ATTN", "DECY") if name not in corrected]
    if missing:
        raise _fail(f"Corrected Image has no {' or '.join(missing)}, which SUV needs", each)
    doses = values.get(_DOSES) or ()
    if len(doses) > 1:
        raise _fail(
            f"SUV needs one item in Radiopharmaceutical Information Sequence, got {len(doses)}",
            each,
        )
    weight = _required(each, "PatientWeight")
    dose = _required(each, f"{_DOSE}.RadionuclideTotalDose")
    correction = values.get("DecayCorrection")
    if _is_corrected_to_start(each):
        half_life = _required(each, f"{_DOSE}.RadionuclideHalfLife")
        dose *= 2.0 ** (-_decay_time(each, start) / half_life)
    elif correction != "ADMIN":
        raise _fail(f"SUV needs a Decay Correction of START or ADMIN, got {correction!r}", each)
    return weight * 1000.0 / dose


def _as_text(value: Any) -> Any:
    """Return a value, the bytes of an unknown private element as text."""
    return value.decode("latin-1").strip("\0 ") if isinstance(value, bytes) else value


def _positive(each: Slice, keyword: str) -> float | None:
    """Return a value above 0, or None when it is anything else."""
    number = as_number(_as_text(each.values.get(keyword)))
    if not isinstance(number, (int, float)) or not 0 < number < float("inf"):
        return None
    return float(number)


def _required(each: Slice, keyword: str) -> float:
    value = _positive(each, keyword)
    if value is None:
        name = keyword.rpartition(".")[2]
        raise _fail(f"SUV needs {name} above 0, got {each.values.get(keyword)!r}", each)
    return value


def _start_of_scan(slices: Sequence[Slice]) -> float:
    """Return the one time that the slices of a series are corrected to.

    It is Series Time (PS3.3 C.8.9.1, Decay Correction). That of a derived series is later
    than an Acquisition Time, and GE keeps the time of the scan in a private element.
    """
    series, acquired = _times(slices, "Series"), _times(slices, "Acquisition")
    if not series or not acquired:
        reason = f"{'Acquisition' if series else 'Series'} Date or Time is missing"
    elif max(series) > min(acquired):
        reason = "Series Time is after an Acquisition Time"
    elif len(series) > 1:
        reason = f"the slices of the series have {len(series)} different Series Times"
    else:
        return series.pop()
    private = {
        local_seconds(_as_text(each.values.get(_GE_SCAN_TIME)), each.values.get(_ZONE))
        for each in slices
    }
    start = private.pop() if len(private) == 1 else None
    if start is None:
        raise _fail(f"SUV needs the start of the scan: {reason}", slices[0])
    return start


def _times(slices: Sequence[Slice], name: str) -> set[float]:
    """Return the dates and times of slices in s, none where one is missing."""
    times = [
        seconds_of_date_time(each.values.get(f"{name}Date"), each.values.get(f"{name}Time"))
        for each in slices
    ]
    return set() if None in times else {time for time in times if time is not None}


def _decay_time(each: Slice, start: float) -> float:
    """Return the seconds from the injection to the start of the scan."""
    values = each.values
    injected = local_seconds(
        values.get(f"{_DOSE}.RadiopharmaceuticalStartDateTime"), values.get(_ZONE)
    )
    if injected is None:
        clock = seconds_of_day(values.get(f"{_DOSE}.RadiopharmaceuticalStartTime"))
        if clock is None:
            raise _fail("SUV needs the Radiopharmaceutical Start Time", each)
        injected = start - start % _DAY + clock
        if injected > start:  # before midnight
            injected -= _DAY
    if not 0 <= start - injected < _DAY:
        raise _fail(
            f"the scan starts {start - injected:.0f} s after the injection: SUV needs 0 to 24 h",
            each,
        )
    return start - injected


# ------------------------------------------------------- real world values ---


class RealWorldMapping(NamedTuple):
    """A Real World Value Mapping (PS3.3 C.7.6.16.2.11).

    Attributes
    ----------
    first, last : float
        The stored values that are mapped; others become NaN.
    slope, intercept : float
        Used without a table.
    table : array or None
        A value for each stored value from `first` on.
    unit : str
        Code of the unit, as UCUM writes it.
    """

    first: float
    last: float
    slope: float
    intercept: float
    table: npt.NDArray[np.float64] | None
    unit: str

    def apply(self, cells: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        """Return the real world values of stored values."""
        inside = (cells >= self.first) & (cells <= self.last)
        values: npt.NDArray[Any]
        if self.table is None:
            values = cells * self.slope + self.intercept
        else:
            positions = np.clip(cells.astype(np.float64) - self.first, 0, len(self.table) - 1)
            values = self.table[positions.astype(np.intp)]
        return np.where(inside, values, np.nan).astype(np.float32)


def real_world_mappings(slices: Sequence[Slice]) -> tuple[dict[int, RealWorldMapping], str]:
    """Return the mapping of each slice, by its `id`, and the unit of all.

    Parameters
    ----------
    slices : sequence of Slice

    Raises
    ------
    DicomError
        "quantity" where an image has no mapping or one that cannot be used, or where the
        units differ.
    """
    mappings: dict[int, RealWorldMapping] = {}
    opened: tuple[object, Dataset | None] = (None, None)
    for each in slices:
        if opened[0] is not each.image:
            opened = (each.image, each.image.open())
        assert opened[1] is not None
        mappings[id(each)] = _mapping_of(opened[1], each)
    units = sorted({mapping.unit for mapping in mappings.values()})
    if len(units) != 1:
        raise _fail(f"the slices have real world values in different units: {units}", slices[0])
    return mappings, units[0]


def _mapping_of(ds: Dataset, each: Slice) -> RealWorldMapping:
    """Return the first mapping of a frame: per frame, shared, or top level."""
    name = "RealWorldValueMappingSequence"
    for level in functional_groups.levels(ds, name, each.frame):
        items = sequence_items(level, name) if level is ds else [level]
        for item in items[:1]:
            return _read_mapping(item, each)
    raise _fail("the image has no Real World Value Mapping", each)


def _read_mapping(item: Any, each: Slice) -> RealWorldMapping:
    limits = []
    for word in ("First", "Last"):
        value = item.get(f"RealWorldValue{word}ValueMapped")
        if value is None:
            value = item.get(f"DoubleFloatRealWorldValue{word}ValueMapped")
        if not isinstance(value, (int, float)) or value != value:
            raise _fail(f"the Real World Value Mapping has no {word} Value Mapped", each)
        limits.append(float(value))
    first, last = limits
    unit = ""
    for code in sequence_items(item, "MeasurementUnitsCodeSequence")[:1]:
        unit = str(code.get("CodeValue") or "")
    table = item.get("RealWorldValueLUTData")
    if table is not None:
        try:
            entries = np.asarray(table, np.float64).reshape(-1)
        except (TypeError, ValueError):
            raise _fail("the table of real world values has no numbers", each) from None
        if len(entries) != last - first + 1:
            raise _fail(
                f"the table of real world values has {len(entries)} entries for {first:.0f} to "
                f"{last:.0f}",
                each,
            )
        return RealWorldMapping(first, last, 1.0, 0.0, entries, unit)
    slope = finite_numbers(item.get("RealWorldValueSlope"), 1)
    intercept = finite_numbers(item.get("RealWorldValueIntercept"), 1)
    if slope is None or intercept is None:
        raise _fail("the Real World Value Mapping has neither a slope nor a table", each)
    return RealWorldMapping(first, last, slope[0], intercept[0], None, unit)
