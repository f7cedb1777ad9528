"""Waveforms as arrays (PS3.3 C.10.9)."""

from __future__ import annotations

from fastdcm.errors import DicomError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from numpy.typing import NDArray

    from fastdcm.core._elements import ElementMap

# {(Waveform Bits Allocated, Waveform Sample Interpretation): type of a sample}, PS3.3
# table C.10-10; compressed samples of 8 bits (MB, AB) are codes, not values.
_TYPES = {
    (8, "SB"): "i1",
    (8, "UB"): "u1",
    (8, "MB"): "u1",
    (8, "AB"): "u1",
    (16, "SS"): "i2",
    (16, "US"): "u2",
    (32, "SL"): "i4",
    (32, "UL"): "u4",
    (64, "SV"): "i8",
    (64, "UV"): "u8",
}


def waveform_array(ds: ElementMap, index: int, as_raw: bool) -> NDArray[Any]:
    """Return the samples of a multiplex group; see `fastdcm.Dataset.waveform_array`."""
    import numpy as np

    sequence = ds.get("WaveformSequence")
    if not sequence:
        raise AttributeError("the data set has no Waveform Sequence (5400,0100)")
    path = f"(5400,0100)[{index}]"
    group = sequence[index]
    channels = _count(group, "NumberOfWaveformChannels", path)
    samples = _count(group, "NumberOfWaveformSamples", path)
    kind = (group.get("WaveformBitsAllocated"), group.get("WaveformSampleInterpretation"))
    if kind not in _TYPES:
        raise DicomError(
            f"WaveformBitsAllocated {kind[0]!r} with WaveformSampleInterpretation {kind[1]!r} "
            "is not defined in PS3.3 C.10.9.1.5",
            "waveform",
            None,
            path,
        )
    dtype = np.dtype(_TYPES[kind])
    element = group["WaveformData"]
    data = element.value
    expected = channels * samples * dtype.itemsize
    if not isinstance(data, bytes) or len(data) < expected:
        length = len(data) if isinstance(data, bytes) else 0
        raise DicomError(
            f"WaveformData has {length} bytes; {samples} samples of {channels} channels have "
            f"{expected}",
            "waveform",
            element.file_tell,
            path,
        )
    stored = np.frombuffer(data, np.uint8)
    if element.is_big_endian:
        # OW is swapped in units of 16 bits, whatever the size of a sample (PS3.5 6.2).
        unit = 2 if element.VR == "OW" and dtype.itemsize == 1 else dtype.itemsize
        stored = stored[: len(data) // unit * unit].reshape(-1, unit)[:, ::-1].ravel()
    array = stored[:expected].copy().view(dtype.newbyteorder("<")).reshape(samples, channels)
    if as_raw:
        return array
    values = array.astype(np.float64)
    definitions = group.get("ChannelDefinitionSequence") or ()
    for channel, definition in zip(range(channels), definitions, strict=False):
        # PS3.3 C.10.9.1.4.2: in Channel Sensitivity Units
        scale = _number(definition, "ChannelSensitivity", 1.0) * _number(
            definition, "ChannelSensitivityCorrectionFactor", 1.0
        )
        values[:, channel] = values[:, channel] * scale + _number(
            definition, "ChannelBaseline", 0.0
        )
    return values


def _count(group: ElementMap, keyword: str, path: str) -> int:
    value = group.get(keyword)
    if not isinstance(value, int) or value < 1:
        raise DicomError(f"{keyword} must be at least 1, got {value!r}", "waveform", None, path)
    return value


def _number(definition: ElementMap, keyword: str, default: float) -> float:
    value = definition.get(keyword)
    return default if value is None or isinstance(value, (str, list)) else float(value)
