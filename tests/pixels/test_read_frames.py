"""Native frames read in batches: `_kernels.read_frames`."""

import os
import sys
import threading

import numpy as np
import pytest

from fastdcm import DicomError
from fastdcm.errors import FileChangedError, MissingFileError
from fastdcm.pixels import _kernels
from support.pixel_values import value_bits, windowed

FRAME = np.dtype(_kernels.NATIVE_FRAME_DTYPE)


def record(fmt, rows, columns, samples=1, offset=0, **fields):
    dtype = np.dtype(fmt)
    one = np.zeros((), FRAME)
    one["offset"], one["rows"], one["columns"], one["samples"] = offset, rows, columns, samples
    one["bits_allocated"] = 8 * dtype.itemsize
    one["representation"] = "uif".index(dtype.kind)
    one["big"] = dtype.str[0] == ">"
    one["slope"] = 1
    for name, value in fields.items():
        one[name] = value
    return one


def frames_of(*records):
    return np.stack(records)


def values_of(fmt, *shape, seed=0):
    rng = np.random.default_rng(seed)
    if np.dtype(fmt).kind == "f":
        return (rng.normal(size=shape) * 1000).astype(fmt)
    info = np.iinfo(fmt)
    return rng.integers(
        info.min, info.max, shape, endpoint=True, dtype=np.dtype(fmt).newbyteorder("=")
    ).astype(fmt)


def put(folder, name, *parts):
    path = folder / name
    path.write_bytes(b"".join(p if isinstance(p, bytes) else p.tobytes() for p in parts))
    return path


def centred(image, height, width, pad):
    """As MONAI's ResizeWithPadOrCrop does it, in plain NumPy."""
    for axis, wanted in ((0, height), (1, width)):
        have = image.shape[axis]
        if have > wanted:
            start = have // 2 - wanted // 2
            image = np.take(image, range(start, start + wanted), axis)
        before = (wanted - image.shape[axis]) // 2
        after = wanted - image.shape[axis] - before
        widths = [(0, 0)] * image.ndim
        widths[axis] = before, after
        image = np.pad(image, widths, constant_values=pad)
    return image


def test_record_has_no_gap():
    assert FRAME.itemsize == 80 and np.dtype(_kernels.NATIVE_FRAME_DTYPE, align=True) == FRAME


@pytest.mark.parametrize("fmt", ["u1", "i1", "<u2", ">i2", "<i4", ">u4", "<f4", ">f8", "<u8"])
@pytest.mark.parametrize("samples", [1, 3])
@pytest.mark.parametrize("planar", [0, 1])
def test_stored_values(tmp_path, fmt, samples, planar):
    """Three frames of one file, a fourth of another."""
    frames = [values_of(fmt, 13, 17, samples, seed=i) for i in range(4)]
    size = frames[0].nbytes
    raw = [f.transpose(2, 0, 1).tobytes() if planar else f.tobytes() for f in frames]
    a, b = put(tmp_path, "a", b"x" * 7, *raw[:3]), put(tmp_path, "b", raw[3])
    records = frames_of(
        *[record(fmt, 13, 17, samples, planar=planar, offset=7 + i * size) for i in range(3)],
        record(fmt, 13, 17, samples, planar=planar),
    )
    out = np.zeros((4, 13, 17, samples), np.dtype(fmt).newbyteorder("="))
    assert _kernels.read_frames([a, str(a), os.fsencode(a), b], records, out) == []
    assert (out == np.stack(frames)).all()


@pytest.mark.parametrize("fmt", ["u1", "<u2", ">i2", "<i4"])
@pytest.mark.parametrize("shift", [0, 2])
def test_unused_bits(tmp_path, fmt, shift):
    stored = 8 * np.dtype(fmt).itemsize - 3
    values = values_of(fmt, 9, 11)
    path = put(tmp_path, "a", values)
    records = frames_of(record(fmt, 9, 11, bits_stored=stored, high_bit=stored - 1 + shift))
    out = np.zeros((1, 9, 11), np.dtype(fmt).newbyteorder("="))
    assert _kernels.read_frames([path], records, out) == []
    assert (out[0] == value_bits(values, stored, stored - 1 + shift)).all()
    if np.dtype(fmt).kind == "u":  # fits a signed type of the same size
        signed = np.zeros((1, 9, 11), f"i{out.itemsize}")
        assert _kernels.read_frames([path], records, signed) == [] and (signed == out).all()


@pytest.mark.parametrize(
    ("height", "width"), [(20, 30), (19, 31), (7, 9), (8, 8), (1, 1), (50, 9), (9, 50), (64, 64)]
)
@pytest.mark.parametrize("samples", [1, 3])
@pytest.mark.parametrize("planar", [0, 1])
@pytest.mark.parametrize("convert", ["stored", "rescale", "window"])
def test_fit(tmp_path, height, width, samples, planar, convert):
    values = values_of(">i2", 20, 30, samples)
    path = put(tmp_path, "a", b"abc", values.transpose(2, 0, 1) if planar else values)
    records = frames_of(
        record(
            ">i2",
            20,
            30,
            samples,
            offset=3,
            planar=planar,
            slope=0.7,
            intercept=-5.5,
            center=100,
            width=9000,
        )
    )
    dtype = {"stored": np.int16, "rescale": np.float32, "window": np.uint8}[convert]
    memory = np.full((3, height, width, samples), 77, dtype)
    out = memory[1:2] if samples > 1 else memory[1:2, ..., 0].reshape(1, height, width)
    assert _kernels.read_frames([path], records, out, convert, fit=True, pad=9) == []
    hounsfield = values.astype(np.float64) * 0.7 - 5.5
    expected = {
        "stored": values.astype(np.int16),
        "rescale": hounsfield.astype(np.float32),
        "window": windowed(hounsfield, 100, 9000, "LINEAR"),
    }[convert]
    assert (out.reshape(height, width, samples) == centred(expected, height, width, 9)).all()
    assert (memory[0] == 77).all() and (memory[2] == 77).all()


@pytest.mark.parametrize("columns", [8, 13, 300])
@pytest.mark.parametrize("start", [0, 3, 7])
@pytest.mark.parametrize("fit", [False, True])
def test_bits(tmp_path, columns, start, fit):
    """Frames of one bit a cell begin anywhere in a byte (PS3.5 8.1.1)."""
    image = values_of("u1", 11, columns) & 1
    packed = np.packbits(
        np.concatenate([np.ones(start, np.uint8), image.ravel()]), bitorder="little"
    )
    path = put(tmp_path, "a", b"yz", packed)
    records = frames_of(
        record(
            "u1", 11, columns, offset=2, bits_allocated=1, bits_stored=1, start_bit=start, slope=3
        )
    )
    height, width = (6, 15) if fit else (11, columns)
    for convert, dtype, expected in (
        ("stored", np.uint8, image),
        ("rescale", np.float32, image * np.float32(3)),
    ):
        out = np.zeros((1, height, width), dtype)
        assert _kernels.read_frames([path], records, out, convert, fit=fit, pad=7) == []
        assert (out[0] == centred(expected, height, width, 7)).all()


def test_large_frames(tmp_path):
    """Several pieces, of lines and of one line longer than a piece."""
    for rows, columns in ((700, 900), (2, 400_001)):
        values = values_of("<i2", rows, columns)
        path = put(tmp_path, "a", values)
        out = np.zeros((1, rows, columns), np.float32)
        assert (
            _kernels.read_frames(
                [path], frames_of(record("<i2", rows, columns, intercept=-1024)), out, "rescale"
            )
            == []
        )
        assert (out[0] == values.astype(np.float32) - 1024).all()
        bits = np.zeros((1, rows, columns), np.uint8)
        assert (
            _kernels.read_frames(
                [path], frames_of(record("u1", rows, columns, bits_allocated=1)), bits
            )
            == []
        )
        assert (
            bits[0].ravel()
            == np.unpackbits(
                values.view(np.uint8).ravel()[: rows * columns // 8 + 1],
                count=rows * columns,
                bitorder="little",
            )
        ).all()


def test_each_frame_has_its_own_window(tmp_path):
    values = values_of("<u2", 6, 40, 40)
    path = put(tmp_path, "a", values)
    settings = [
        (40, 400, 1, 0, 0),
        (40, 400, 1, 0, 0),
        (40, 400, 1, 0, 1),
        (40, 400, 1, 2, 0),
        (900, 30, -1, 1, 0),
        (40, 400, 0.5, 0, 0),
    ]
    records = frames_of(
        *[
            record("<u2", 40, 40, offset=i * 3200, center=c, width=w, slope=s, function=f, invert=n)
            for i, (c, w, s, f, n) in enumerate(settings)
        ]
    )
    out = np.zeros((6, 40, 40), np.uint8)
    assert _kernels.read_frames([path] * 6, records, out, "window") == []
    for i, (c, w, s, f, n) in enumerate(settings):
        expected = windowed(values[i] * float(s), c, w, ("LINEAR", "LINEAR_EXACT", "SIGMOID")[f])
        assert (out[i] == (255 - expected if n else expected)).all(), i


def test_errors_are_of_their_frame(tmp_path):
    values = values_of("<i2", 8, 8)
    good = put(tmp_path, "good", values)
    stat = good.stat()
    fine = record("<i2", 8, 8)
    cases = [
        (good, fine, None),
        (tmp_path / "nowhere", fine, "open"),
        (tmp_path, fine, "not-regular"),
        (good, record("<i2", 8, 8, offset=1), "frame-short"),
        (good, record("<i2", 8, 8, offset=2**64 - 1), "frame-short"),
        (good, record("<i2", 8, 8, size=stat.st_size, mtime_ns=stat.st_mtime_ns), None),
        (good, record("<i2", 8, 8, size=127), "changed"),
        (good, record("<i2", 8, 8, mtime_ns=1), "changed"),
        (good, record("<i2", 8, 9), "frame-fit"),
        (good, record("<i2", 0, 8), "frame-fit"),
        (good, record("<i2", 8, 8, 3), "frame-fit"),
        (good, record("<u2", 8, 8), "frame-fit"),
        (good, record("u1", 8, 8), "frame-fit"),
        (good, record("<f4", 8, 8), "frame-fit"),
        (good, record("<i2", 8, 8, bits_allocated=0), "frame-fit"),
        (good, record("<i2", 8, 8, bits_allocated=12), "frame-fit"),
        (good, record("<i2", 8, 8, bits_stored=17, high_bit=16), "frame-fit"),
        (good, record("<i2", 8, 8, bits_stored=12, high_bit=10), "frame-fit"),
        (good, record("<i2", 8, 8, representation=3), "frame-fit"),
        (good, fine, None),
    ]
    out = np.zeros((len(cases), 8, 8), np.int16)
    errors = dict(
        _kernels.read_frames([c[0] for c in cases], frames_of(*[c[1] for c in cases]), out, pad=-3)
    )
    assert {i: e.code for i, e in errors.items()} == {
        i: c for i, (_, _, c) in enumerate(cases) if c
    }
    for i, (path, _, code) in enumerate(cases):
        assert (out[i] == (-3 if code else values)).all()
        assert not code or (isinstance(errors[i], DicomError) and errors[i].filename == path)
    assert isinstance(errors[1], MissingFileError) and isinstance(errors[6], FileChangedError)


@pytest.mark.parametrize(
    "fields",
    [
        {"rows": 2**32 - 1, "columns": 2**32 - 1},
        {"rows": 2**32 - 1, "columns": 2**32 - 1, "bits_allocated": 64},
        {"rows": 2**32 - 1, "columns": 2**32 - 1, "bits_allocated": 1, "representation": 0},
        {"rows": 1, "columns": 2**32 - 1},
        {"rows": 2**31, "columns": 2, "offset": 2**63},
    ],
)
def test_frames_past_the_end_of_the_file(tmp_path, fields):
    path = put(tmp_path, "a", bytes(100))
    for samples in (1, 2**16 - 1):
        out = np.zeros((1, 1, 1, samples), np.float32)
        one = record("<i2", 1, 1, samples)
        for name, value in fields.items():
            one[name] = value
        [(_, error)] = _kernels.read_frames([path], frames_of(one), out, "rescale", fit=True)
        assert error.code in ("frame-short", "frame-fit")


def test_windows_that_are_none(tmp_path):
    path = put(tmp_path, "a", bytes(8))
    records = frames_of(
        *[
            record("<i2", 2, 2, center=c, width=w, slope=s, function=f)
            for c, w, s, f in (
                (0, 0, 1, 0),
                (0, 5, 1, 0),
                (np.nan, 5, 1, 0),
                (0, 5, np.inf, 0),
                (0, 0.5, 1, 1),
                (0, 5, 1, 3),
                (0, 5, 1, 256),
            )
        ]
    )
    out = np.zeros((7, 2, 2), np.uint8)
    errors = _kernels.read_frames([path] * 7, records, out, "window", pad=200)
    assert [(i, e.code) for i, e in errors] == [(i, "window") for i in (0, 2, 3, 5, 6)]
    assert (out[0] == 200).all() and (out[1] == 159).all() and (out[4] == 255 // 2 + 1).all()


def test_wrong_arguments(tmp_path):
    path, one = put(tmp_path, "a", bytes(8)), frames_of(record("<i2", 2, 2))
    good = np.zeros((1, 2, 2), np.int16)
    other = ">" if sys.byteorder == "little" else "<"
    for arguments, options in [
        (([path], one, good, "hu"), {}),
        (([path, path], one, good), {}),
        (([path], np.concatenate([one, one]), good), {}),
        (([path], one, np.zeros((2, 2, 2), np.int16)), {}),
        (([path], one, good[0]), {}),
        (([path], one, good.astype(other + "i2")), {}),
        (([path], one, good.astype("c8")), {}),
        (([path], one, good, "rescale"), {}),
        (([path], one, good, "window"), {}),
        (([path], one, good), {"pad": 40_000}),
        (([path], one, good), {"pad": float("nan")}),
        (([b"a\0b"], one, good), {}),
    ]:
        with pytest.raises(ValueError):
            _kernels.read_frames(*arguments, **options)
    with pytest.raises((BufferError, ValueError)):
        _kernels.read_frames([path], one, np.zeros((1, 4, 4), np.int16)[:, ::2, ::2])
    assert _kernels.read_frames([], one[:0], good[:0]) == []


def test_empty_slots(tmp_path):
    path = put(tmp_path, "a", bytes(8))
    [(_, error)] = _kernels.read_frames(
        [path], frames_of(record("<i2", 2, 2)), np.zeros((1, 0, 2), np.int16)
    )
    assert error.code == "frame-fit"
    assert (
        _kernels.read_frames(
            [path], frames_of(record("<i2", 2, 2)), np.zeros((1, 0, 2), np.int16), fit=True
        )
        == []
    )


def test_threads_share_a_batch(tmp_path):
    values = values_of("<i2", 64, 50, 60)
    paths = [put(tmp_path, f"{i:02}", v) for i, v in enumerate(values)]
    records = frames_of(*[record("<i2", 50, 60, intercept=i) for i in range(64)])
    out = np.zeros((64, 50, 60), np.float32)
    errors = []

    def work(part):
        for _ in range(5):
            errors.extend(_kernels.read_frames(paths[part], records[part], out[part], "rescale"))

    threads = [threading.Thread(target=work, args=(slice(i, i + 16),)) for i in range(0, 64, 16)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert errors == [] and (out == values + np.arange(64, dtype=np.float32)[:, None, None]).all()


def test_no_descriptor_is_left_open(tmp_path):
    if not os.path.isdir("/proc/self/fd"):
        pytest.skip("counts open files as Linux shows them")
    path = put(tmp_path, "a", bytes(8))
    before = len(os.listdir("/proc/self/fd"))
    out = np.zeros((2, 2, 2), np.int16)
    for _ in range(5):
        _kernels.read_frames(
            [path, tmp_path / "b"], frames_of(record("<i2", 2, 2), record("<i2", 2, 2)), out
        )
    assert len(os.listdir("/proc/self/fd")) == before


def test_against_pydicom(pydicom_files):
    """Every native file of pydicom's, found by our index and read in one batch."""
    import pydicom

    count = 0
    for path in pydicom_files:
        try:
            ds = pydicom.dcmread(path)
            if (
                ds.file_meta.TransferSyntaxUID.is_encapsulated
                or ds.file_meta.TransferSyntaxUID.is_deflated
            ):
                continue
            expected = ds.pixel_array if ds.BitsAllocated in (16, 32) else None
        except Exception:
            continue
        if expected is None or ds.file_meta.TransferSyntaxUID == "1.2.840.10008.1.2.2":
            continue
        frames = int(ds.get("NumberOfFrames") or 1)
        raw = path.read_bytes()
        at = raw.rindex(ds.PixelData)
        size = expected.nbytes // frames
        records = frames_of(
            *[
                record(
                    expected.dtype,
                    ds.Rows,
                    ds.Columns,
                    ds.SamplesPerPixel,
                    offset=at + i * size,
                    bits_stored=ds.BitsStored,
                    high_bit=ds.HighBit,
                    planar=ds.get("PlanarConfiguration", 0),
                )
                for i in range(frames)
            ]
        )
        out = np.zeros((frames, ds.Rows, ds.Columns, ds.SamplesPerPixel), expected.dtype)
        assert _kernels.read_frames([path] * frames, records, out) == [], path
        assert (out.reshape(expected.shape) == expected).all(), path
        count += 1
    assert count > 10
