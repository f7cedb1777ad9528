"""Waveforms against pydicom, and by the formula of PS3.3 C.10.9.1.4."""

import itertools
import warnings

import numpy as np
import pydicom
import pydicom.data
import pytest

import fastdcm
from support import builder as b

KINDS = {
    ("SB", 8): "i1",
    ("UB", 8): "u1",
    ("MB", 8): "u1",
    ("AB", 8): "u1",
    ("SS", 16): "i2",
    ("US", 16): "u2",
    ("SL", 32): "i4",
    ("UL", 32): "u4",
    ("SV", 64): "i8",
    ("UV", 64): "u8",
}


def group(kind, bits, data, *, channels=2, samples=3, vr="OW", scales=(), e=b.EXPLICIT):
    """Return the elements of an item of the Waveform Sequence."""

    def element(tag, vr, value):
        return b.element(tag, vr, value, encoding=e)

    definitions = [
        b"".join(
            element(0x003A0210 + 2 * i if i < 2 else 0x003A0213, "DS", value)
            for i, value in enumerate(scale)
            if value is not None
        )
        for scale in scales
    ]
    return (
        element(0x003A0005, "US", channels)
        + element(0x003A0010, "UL", samples)
        + (b.sequence(0x003A0200, definitions, encoding=e) if scales else b"")
        + element(0x54001004, "US", bits)
        + element(0x54001006, "CS", kind)
        + element(0x54001010, vr, data)
    )


def read(*groups, e=b.EXPLICIT, **options):
    body = b.sequence(0x54000100, list(groups), encoding=e)
    return fastdcm.dcmread(memoryview(b.part10(body, **options)))


@pytest.mark.parametrize(("kind", "bits"), KINDS)
@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("vr", ["OB", "OW"])
def test_every_kind_of_sample(kind, bits, big, vr):
    dtype = np.dtype(KINDS[kind, bits])
    limits = np.iinfo(dtype)
    values = np.array([[0, 1], [limits.min, limits.max], [7, limits.max - 1]], dtype)
    stored = values.astype(dtype.newbyteorder(">")).tobytes() if big else values.tobytes()
    if big and vr == "OW" and bits == 8:
        stored = np.frombuffer(stored, "u2").byteswap().tobytes()
    if big and vr == "OB" and bits > 8:
        pytest.skip("more than 8 bits are OW (PS3.5 A.3)")
    options = {"e": b.BIG, "transfer_syntax": b.EXPLICIT_BE} if big else {}
    ds = read(group(kind, bits, stored, vr=vr, e=options.get("e", b.EXPLICIT)), **options)
    raw = ds.waveform_array(0, as_raw=True)
    assert raw.dtype == dtype and raw.tolist() == values.tolist()
    assert ds.waveform_array(0).tolist() == values.astype(np.float64).tolist()


SCALES = [None, "1", "0.5", "-2", "1e-3"]


@pytest.mark.parametrize(
    ("sensitivity", "factor", "baseline"), itertools.product(SCALES, SCALES[:3], [None, "0", "-4"])
)
def test_scales(sensitivity, factor, baseline):
    # (003A,0210), (003A,0212) and (003A,0213); the second channel has none.
    values = np.array([[1, 2], [-3, 4], [5, 6]], "i2")
    ds = read(group("SS", 16, values.tobytes(), scales=[(sensitivity, factor, baseline), ()]))
    scale = float(sensitivity or 1) * float(factor or 1)
    expected = np.array(
        [[v * scale + float(baseline or 0), w] for v, w in values.tolist()], np.float64
    )
    assert np.array_equal(ds.waveform_array(0), expected)


def test_several_groups():
    one = np.arange(6, dtype="i2").reshape(3, 2)
    two = np.arange(4, dtype="u1").reshape(4, 1)
    ds = read(
        group("SS", 16, one.tobytes()),
        group("UB", 8, two.tobytes(), channels=1, samples=4, vr="OB"),
    )
    assert ds.waveform_array(0).tolist() == one.tolist()
    assert ds.waveform_array(1).tolist() == two.tolist()
    with pytest.raises(IndexError):
        ds.waveform_array(2)


@pytest.mark.parametrize(
    ("item", "message"),
    [
        (group("SS", 16, bytes(10)), "WaveformData has 10 bytes; 3 samples of 2 channels have 12"),
        (group("SS", 16, b""), "WaveformData has 0 bytes"),
        (group("SS", 8, bytes(12)), "WaveformBitsAllocated 8 with"),
        (group("XX", 16, bytes(12)), "'XX' is not defined"),
        (group("SS", 16, bytes(12), channels=0), "NumberOfWaveformChannels must be at least 1"),
        (group("SS", 16, bytes(12), samples=0), "NumberOfWaveformSamples must be at least 1"),
        (group("SS", 16, bytes(12), samples=2**32 - 1), "4294967295 samples of 2 channels"),
        (b"", "NumberOfWaveformChannels must be at least 1, got None"),
    ],
)
def test_what_is_not_valid(item, message):
    with pytest.raises(fastdcm.DicomError, match=message) as caught:
        read(item).waveform_array(0)
    assert (caught.value.code, caught.value.path) == ("waveform", "(5400,0100)[0]")


def test_no_waveform():
    with pytest.raises(AttributeError, match="no Waveform Sequence"):
        fastdcm.Dataset().waveform_array(0)


def test_every_waveform_of_pydicom(pydicom_files):
    compared = 0
    for path in pydicom_files:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                theirs = pydicom.dcmread(path, force=True)
                groups = len(theirs.get("WaveformSequence") or ())
            except Exception:
                continue
            for i in range(groups):
                ours = fastdcm.dcmread(path)
                assert np.array_equal(ours.waveform_array(i), theirs.waveform_array(i))
                expected = pydicom.waveforms.multiplex_array(theirs, i, as_raw=True)
                assert np.array_equal(ours.waveform_array(i, as_raw=True), expected)
                compared += 1
    assert compared >= 2
