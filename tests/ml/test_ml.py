"""fastdcm.ml: what a sample is, how batches are read, workers, guests."""

import functools
import gc
import multiprocessing
import os
import pickle
import subprocess
import sys

from support import builder
import numpy as np
import pydicom
import pytest
from support.builder import element as el
from support.builder import sequence as sq
from support.optional_packages import guest

import fastdcm

guest("pyarrow", "pyarrow.parquet")
torch = guest("torch")

from torch.utils.data import DataLoader, Subset  # noqa: E402

import fastdcm.ml  # noqa: E402
from fastdcm.ml import COLUMNS, DicomDataset, DicomIterableDataset, Samples, collate  # noqa: E402


def dicom(values, *, slope=None, intercept=None, window=None, function=None, photometric="MONOCHROME2",
          bits_stored=None, extra=(), groups=b"", short=0, patient="P"):
    """One file: values of shape (rows, columns), or (frames, rows, columns)."""
    values = np.asarray(values)
    frames = len(values) if values.ndim == 3 else None
    rows, columns = values.shape[-2:]
    bits = values.itemsize * 8
    bits_stored = bits_stored or bits
    parts = [(0x00080060, "CS", "CT"), (0x00100020, "LO", patient), (0x00200013, "IS", int(values.flat[0]))]
    parts += [(0x00280002, "US", 1), (0x00280004, "CS", photometric)]
    parts += [(0x00280008, "IS", frames)] if frames else []
    parts += [(0x00280010, "US", rows), (0x00280011, "US", columns), (0x00280100, "US", bits),
              (0x00280101, "US", bits_stored), (0x00280102, "US", bits_stored - 1),
              (0x00280103, "US", int(values.dtype.kind == "i"))]
    if window:
        parts += [(0x00281050, "DS", str(window[0])), (0x00281051, "DS", str(window[1]))]
    if slope is not None:
        parts += [(0x00281052, "DS", str(intercept)), (0x00281053, "DS", str(slope))]
    if function:
        parts += [(0x00281056, "CS", function)]
    raw = values.astype(values.dtype.newbyteorder("<")).tobytes()
    raw = raw[:len(raw) - short]
    return (b"".join(el(*part) for part in [*parts, *extra]) + groups
            + builder.header(builder.PIXEL_DATA, "OW", len(raw)) + raw)


def noise(rows=16, columns=12, seed=0, frames=None, dtype="<i2"):
    shape = (rows, columns) if frames is None else (frames, rows, columns)
    return np.random.default_rng(seed).integers(0, 2000, shape).astype(dtype)


@pytest.fixture
def series(put):
    """(paths, Hounsfield units) of 20 slices."""
    values = [noise(seed=i) for i in range(20)]
    paths = [put(dicom(v, slope=2, intercept=-1024, window=(40, 400), patient=f"P{i % 3}"))
             for i, v in enumerate(values)]
    return paths, np.stack(values).astype(np.float32) * 2 - 1024


def table(paths, *tags):
    return fastdcm.scan(paths, [*COLUMNS, *tags], pixels=True)


# ------------------------------------------------------------- the values ---


def test_values_equal_pydicom_on_real_files(pydicom_files):
    """Grey frames of every file that pydicom can decode: stored values, and
    those of the modality."""
    samples = Samples([str(path) for path in pydicom_files])
    stored, modality = DicomDataset(samples, rescale=False), DicomDataset(samples)
    files, frames = samples.files(np.arange(len(samples)))
    seen = 0
    for file in range(files[-1] + 1):
        path = samples.path(file).decode()
        first = int(np.flatnonzero(files == file)[0])
        if samples.layout(np.array([first]))[0]["samples"] != 1:
            continue
        try:
            ds = pydicom.dcmread(path)
            array = ds.pixel_array
            changed = pydicom.pixels.apply_modality_lut(array, ds)
        except Exception:  # what pydicom cannot read is the business of other tests
            continue
        if (ds.get("NumberOfFrames") or 1) == 1:
            array, changed = array[None], changed[None]
        for frame in range(min(len(array), 3)):
            assert np.array_equal(stored[first + frame]["image"][0].numpy(), array[frame].astype("f4")), path
            found = modality[first + frame]["image"][0].numpy()
            if "RescaleSlope" in ds or "ModalityLUTSequence" in ds:  # pydicom looks into no functional group
                assert np.array_equal(found, changed[frame].astype("f4")), path
            seen += 1
    assert seen > 60


def test_colour_has_its_samples_first(pydicom_files):
    path = next(str(path) for path in pydicom_files if path.name == "SC_rgb_rle.dcm")
    data = DicomDataset([path], dtype="uint8", rescale=False)
    expected = pydicom.dcmread(path).pixel_array
    image = data.read([0, 0])["image"]
    assert image.shape == (2, 3, 100, 100) and image.is_contiguous(memory_format=torch.channels_last)
    assert np.array_equal(image[1].permute(1, 2, 0).numpy(), expected)
    assert torch.equal(data[0]["image"], image[0])


def test_every_kind_of_source(series, tmp_path):
    import pyarrow

    paths, expected = series
    folder = os.path.dirname(paths[0])
    scan = table(paths, "PatientID")
    parquet, arrow = str(tmp_path.parent / f"{tmp_path.name}.parquet"), str(tmp_path.parent / f"{tmp_path.name}.arrow")
    scan.write(parquet)
    scan.write(arrow)
    for source in (parquet, arrow, scan, pyarrow.table(scan), folder, paths, Samples(paths)):
        data = DicomDataset(source)
        assert len(data) == 20
        assert np.array_equal(data.read(range(20))["image"][:, 0].numpy(), expected)


def test_a_table_without_the_columns_says_which(series):
    with pytest.raises(ValueError, match="no column .*BitsStored.*fastdcm.ml.COLUMNS"):
        DicomDataset(fastdcm.scan(series[0], pixels=True))
    with pytest.raises(ValueError, match="no column pixel_offset, pixel_length"):
        DicomDataset(fastdcm.scan(series[0], COLUMNS))


def test_labels(series):
    data = DicomDataset(series[0], labels=["PatientID", "InstanceNumber", "SliceThickness"])
    batch = data.read([3, -1])
    assert batch["PatientID"] == ["P0", "P1"] and batch["index"].tolist() == [3, 19]
    assert batch["InstanceNumber"].dtype == torch.int64
    assert batch["InstanceNumber"][0] == noise(seed=3).flat[0]
    assert batch["SliceThickness"].isnan().all()
    one = data[3]
    assert one["PatientID"] == "P0" and one["image"].shape == (1, 16, 12) and one["index"] == 3


def test_frames_have_transformations_of_their_own(put):
    def group(slope, center):
        return (sq(0x00289145, [el(0x00281052, "DS", "5") + el(0x00281053, "DS", str(slope))])
                + sq(0x00289132, [el(0x00281050, "DS", f"{center}\\7") + el(0x00281051, "DS", "100\\7")]))

    values = noise(frames=3)
    own = put(dicom(values, groups=sq(0x52009230, [group(i + 1, 10 * i) for i in range(3)])))
    shared = put(dicom(values, groups=sq(0x52009229, [group(4, 30)])
                       + sq(0x52009230, [b"", b"", b""])))
    data = DicomDataset([own, shared])
    slopes = np.array([1, 2, 3, 4, 4, 4], "f4").reshape(6, 1, 1)
    assert np.array_equal(data.read(range(6))["image"][:, 0].numpy(), np.concatenate([values, values]) * slopes + 5)
    records = data.samples.records(np.arange(6))
    assert records["center"].tolist() == [0, 10, 20, 30, 30, 30] and set(records["width"]) == {100}


def test_bits_begin_within_a_byte(put):
    bits = np.random.default_rng(1).integers(0, 2, (3, 3, 5), dtype=np.uint8)
    raw = np.packbits(bits, bitorder="little").tobytes()
    head = b"".join(el(tag, vr, value) for tag, vr, value in [
        (0x00280002, "US", 1), (0x00280004, "CS", "MONOCHROME2"), (0x00280008, "IS", 3), (0x00280010, "US", 3),
        (0x00280011, "US", 5), (0x00280100, "US", 1), (0x00280101, "US", 1), (0x00280102, "US", 0),
        (0x00280103, "US", 0)])
    path = put(head + el(builder.PIXEL_DATA, "OB", raw))
    data = DicomDataset([path], dtype="uint8", rescale=False)
    assert np.array_equal(data.read([0, 1, 2])["image"][:, 0].numpy(), bits)


# ---------------------------------------------------- conversions and fits ---


def formula(x, center, width, function="LINEAR"):
    """PS3.3 C.11.2.1.2, for 0 to 1."""
    x = x.astype(np.float64)
    if function == "SIGMOID":
        return 1 / (1 + np.exp((-4 * (x - center) / width).clip(-700, 700)))
    if function == "LINEAR_EXACT":
        return ((x - center) / width + 0.5).clip(0, 1)
    if width == 1:
        return (x > center - 0.5).astype(float)
    return ((x - (center - 0.5)) / (width - 1) + 0.5).clip(0, 1)


@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
@pytest.mark.parametrize("photometric", ["MONOCHROME2", "MONOCHROME1"])
@pytest.mark.parametrize("width", [1, 400])
def test_window(put, function, photometric, width):
    values = noise()
    path = put(dicom(values, slope=1, intercept=-1000, window=(40, width), function=function,
                     photometric=photometric))
    expected = formula(values - 1000.0, 40, width, function)
    expected = 1 - expected if photometric == "MONOCHROME1" else expected
    found = DicomDataset([path], window="file")[0]["image"][0].numpy()
    assert found.dtype == np.float32 and np.allclose(found, expected, atol=2e-5)
    found = DicomDataset([path], window="file", dtype="uint8")[0]["image"][0].numpy()
    assert found.dtype == np.uint8 and np.abs(found - expected * 255).max() <= 0.5001
    if function == "LINEAR":
        assert np.array_equal(DicomDataset([path], window=(40, width), dtype="uint8")[0]["image"][0].numpy(), found)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64", "int16", "int32", torch.int16, "uint8"])
def test_dtypes(series, dtype):
    paths, expected = series
    data = DicomDataset(paths, dtype=dtype)
    image = data.read([0, 5])["image"]
    expected = torch.from_numpy(expected[[0, 5]])[:, None]
    if not image.dtype.is_floating_point:
        expected = expected.clamp(*(getattr(torch.iinfo(image.dtype), end) for end in ("min", "max")))
    assert image.dtype == getattr(torch, str(dtype).removeprefix("torch."))
    assert torch.equal(image, expected.to(image.dtype))


def test_integers_are_rounded(put):
    path = put(dicom(np.array([[0, 1, 2, 3]], "<i2"), slope=0.6, intercept=-1))
    assert DicomDataset([path], dtype="int16")[0]["image"].flatten().tolist() == [-1, 0, 0, 1]


def test_stored_values_and_types_that_do_not_fit(put):
    unsigned, signed = put(dicom(noise(dtype="<u2"), bits_stored=12)), put(dicom(noise()))
    data = DicomDataset([unsigned, signed], dtype="int16", rescale=False)
    assert np.array_equal(data.read([0, 1])["image"][:, 0].numpy(), np.stack([noise(), noise()]))
    with pytest.raises(fastdcm.DicomError, match="frame 0") as caught:
        DicomDataset([signed], dtype="uint16", rescale=False)[0]
    assert caught.value.code == "frame-fit" and caught.value.filename == signed


@pytest.mark.parametrize("size", [(10, 20), (16, 12), (9, 5), (31, 31)])
def test_crop_and_pad_around_the_centre(series, pydicom_files, size):
    paths, expected = series
    data = DicomDataset(paths, size=size, pad=-7)
    image = data.read([2, 4])["image"][:, 0].numpy()
    assert image.shape == (2, *size)
    wanted = np.full((2, *size), -7, np.float32)
    source, target = [], []
    for have, want in zip((16, 12), size):
        first = have // 2 - want // 2 if have > want else 0
        to = (want - have) // 2 if want > have else 0
        source.append(slice(first, first + min(have, want)))
        target.append(slice(to, to + min(have, want)))
    wanted[:, target[0], target[1]] = expected[[2, 4]][:, source[0], source[1]]
    assert np.array_equal(image, wanted)
    # what is decoded is placed as what C reads
    path = next(str(path) for path in pydicom_files if path.name == "MR_small_RLE.dcm")
    native = next(str(path) for path in pydicom_files if path.name == "MR_small.dcm")
    pair = DicomDataset([path, native], size=(size[0] * 3, size[1] * 3), pad=-7).read([0, 1])["image"]
    assert torch.equal(pair[0], pair[1])


def test_padding_is_in_units_of_the_result(series):
    for options in ({"window": (40, 400)}, {"window": (40, 400), "dtype": "uint8"}, {"dtype": "int16"}):
        image = DicomDataset(series[0], size=(20, 20), pad=1, **options)[0]["image"]
        assert (image[0, 0] == 1).all() and (image[0, :, -1] == 1).all()


def test_resize(put):
    values = [noise(16, 12), noise(32, 20, seed=1), noise(8, 8, seed=2)]
    paths = [put(dicom(v, slope=1, intercept=-5)) for v in values]
    image = DicomDataset(paths, size=(16, 12), resize=True).read([0, 1, 2])["image"]
    assert np.array_equal(image[0, 0].numpy(), values[0] - 5.0)
    for i in (1, 2):
        expected = torch.nn.functional.interpolate(
            torch.from_numpy(values[i] - 5.0).float()[None, None], (16, 12), mode="bilinear", antialias=True)
        assert torch.allclose(image[i], expected[0])
    small = DicomDataset(paths, size=(16, 12), resize=True, window=(1000, 2000), dtype="uint8").read([0, 1, 2])
    assert small["image"].dtype == torch.uint8
    assert np.abs(small["image"].numpy() / 255 - formula(image.numpy(), 1000, 2000)).max() < 0.01


def test_frames_of_several_sizes_need_a_size(put):
    paths = [put(dicom(noise(16, 12))), put(dicom(noise(8, 12)))]
    data = DicomDataset(paths)
    assert data[1]["image"].shape == (1, 8, 12)
    with pytest.raises(ValueError, match=r"differ in size.*size=\(height, width\)"):
        data.read([0, 1])


def test_transform_and_own_memory(series):
    paths, expected = series
    data = DicomDataset(paths, transform=functools.partial(torch.mul, other=2))
    assert np.array_equal(data.read([1, 2])["image"][:, 0].numpy(), expected[[1, 2]] * 2)
    out = torch.empty(2, 1, 16, 12)
    image = DicomDataset(paths).read([1, 2], out)["image"]
    assert image.data_ptr() == out.data_ptr() and np.array_equal(out[:, 0].numpy(), expected[[1, 2]])
    with pytest.raises(ValueError, match="contiguous"):
        DicomDataset(paths).read([1, 2], torch.empty(3, 1, 16, 12))


@pytest.mark.parametrize("options", [
    {"dtype": "complex64"}, {"window": (40, 0)}, {"window": (40, 400), "rescale": False},
    {"window": (40, 400), "dtype": "int16"}, {"on_error": "ignore"}, {"size": (0, 5)}, {"resize": True},
    {"threads": 0}, {"labels": ["image"]}])
def test_arguments_that_cannot_be(series, options):
    with pytest.raises(ValueError):
        DicomDataset(series[0], **options)


def test_indices(series):
    data = DicomDataset(series[0])
    for wrong in (20, -21):
        with pytest.raises(IndexError):
            data[wrong]


# ----------------------------------------------------------------- damage ---


def test_what_is_no_sample_is_counted(put, series):
    paths = [*series[0][:2], put(raw=b"no DICOM at all" * 20), put(el(0x00100020, "LO", "report")),
             put(dicom(noise(frames=3), short=20)), put(dicom(noise(), extra=[(0x00280010, "US", 0)]))]
    samples = Samples(paths)
    assert samples.left_out == {"not-dicom": 1, "no-pixels": 1, "short": 1, "attributes": 1} and len(samples) == 4


@pytest.fixture
def damaged(series):
    """The 20 slices, of which number 3 is gone and number 5 is another file."""
    data = Samples(table(series[0], "PatientID"), labels=["PatientID"])
    os.remove(series[0][3])
    with open(series[0][5], "ab") as file:
        file.write(b"more")
    return data, series


@pytest.mark.parametrize("workers", [0, 1])
def test_errors_are_raised_with_their_file_and_frame(damaged, workers):
    data, (paths, _) = damaged
    with pytest.raises(FileNotFoundError, match="frame 0") as caught:
        list(DataLoader(DicomDataset(data), 10, num_workers=workers, collate_fn=collate))
    assert isinstance(caught.value, fastdcm.DicomError) and paths[3] in str(caught.value)
    with pytest.raises(fastdcm.DicomError, match="frame 0"):
        DicomDataset(data)[5]


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("on_error", ["skip", "fill"])
def test_errors_do_not_stop_the_loop(damaged, on_error, workers):
    data, (paths, expected) = damaged
    batches = list(DataLoader(DicomDataset(data, on_error=on_error, pad=9), 10, num_workers=workers,
                              collate_fn=collate))
    assert "errors" not in batches[1]
    first = batches[0]
    assert [(i, error.code, error.filename) for i, error in first["errors"]] == [
        (3, "open", paths[3]), (5, "changed", paths[5])]
    kept = [0, 1, 2, 4, 6, 7, 8, 9]
    image = first["image"][:, 0].numpy()
    if on_error == "fill":
        assert (image[[3, 5]] == 9).all() and len(image) == 10
        image = image[kept]
    else:
        assert first["index"].tolist() == kept and first["PatientID"][3] == "P1"
    assert np.array_equal(image, expected[kept])


def test_a_batch_of_nothing_but_errors(put):
    path = put(dicom(noise()))
    data = DicomDataset([path], on_error="skip")
    os.remove(path)
    batch = data.read([0])
    assert batch["image"].shape == (0, 1, 16, 12) and len(batch["errors"]) == 1
    with pytest.raises(FileNotFoundError):
        data[0]


def test_without_a_window_the_range_of_the_values(put, series):
    bare = put(dicom(noise()))
    wanted = fastdcm.dcmread(bare).windowed()
    for dtype, top in (("uint8", 1), ("float32", 255)):
        batch = DicomDataset([series[0][0], bare], window="file", dtype=dtype).read([0, 1])
        assert np.array_equal(np.rint(batch["image"][1, 0].numpy() * top), wanted)
        assert not np.array_equal(batch["image"][0, 0].numpy() * top, wanted)


@pytest.mark.parametrize("options", [{"window": (40, 0)}, {"window": (40, 9), "function": "GAMMA"}])
def test_a_window_that_is_not_possible(put, series, options):
    damaged = put(dicom(noise(), **options))
    for dtype in ("uint8", "float32"):
        paths = [series[0][0], damaged]
        data = DicomDataset(paths, window="file", dtype=dtype, on_error="fill", pad=1)
        batch = data.read([0, 1])
        assert [(i, error.code) for i, error in batch["errors"]] == [(1, "lut")]
        assert (batch["image"][1] == 1).all() and not (batch["image"][0] == 1).all()


def test_encapsulated_damage(put):
    head = dicom(noise(4, 4, dtype="<u2"))
    head = head[:head.index(builder.header(builder.PIXEL_DATA, "OW", 32))]
    path = put(head + builder.fragments([b"not RLE"]), transfer_syntax="1.2.840.10008.1.2.5")
    with pytest.raises(fastdcm.DicomError, match="frame 0") as caught:
        DicomDataset([path])[0]
    assert caught.value.filename == path


# ---------------------------------------------------------------- workers ---


@pytest.mark.parametrize("start", [name for name in ("fork", "spawn") if name in multiprocessing.get_all_start_methods()])
def test_workers(series, start):
    paths, expected = series
    data = DicomDataset(table(paths, "PatientID"), labels=["PatientID"])
    loader = DataLoader(data, 6, num_workers=2, collate_fn=collate, shuffle=True, persistent_workers=True,
                        multiprocessing_context=start)
    orders = []
    for _ in range(3):
        kept = list(loader)  # all at once: no memory is used twice while somebody holds it
        orders.append([i for batch in kept for i in batch["index"].tolist()])
        for batch in kept:
            assert np.array_equal(batch["image"][:, 0].numpy(), expected[batch["index"].numpy()])
            assert batch["PatientID"] == [f"P{i % 3}" for i in batch["index"].tolist()]
    assert all(sorted(order) == list(range(20)) for order in orders) and orders[0] != orders[1]


@pytest.mark.parametrize("workers", [0, 2])
def test_other_ways_of_torch(series, workers):
    """Without our collate, through a Subset, with a collate of one's own."""
    paths, expected = series
    data = DicomDataset(paths, labels=["PatientID"])
    for batch in DataLoader(data, 7, num_workers=workers):
        assert np.array_equal(batch["image"][:, 0].numpy(), expected[batch["index"].numpy()])
    for batch in DataLoader(Subset(data, [4, 2, 8]), 2, num_workers=workers, collate_fn=collate):
        assert np.array_equal(batch["image"][:, 0].numpy(), expected[batch["index"].numpy()])
    for batch in DataLoader(data, 7, num_workers=workers, collate_fn=doubled):
        assert np.array_equal(batch["image"][:, 0].numpy(), expected[batch["index"].numpy()] * 2)
    together = torch.utils.data.ConcatDataset([Subset(data, [1]), data])
    found = [batch["image"] for batch in DataLoader(together, 7, num_workers=workers, collate_fn=collate)]
    assert np.array_equal(torch.cat(found)[:, 0].numpy(), np.concatenate([expected[1:2], expected]))


def doubled(samples):
    batch = collate(samples)
    batch["image"] = batch["image"] * 2
    return batch


def test_threads_give_the_same(series):
    paths, expected = series
    for threads in (1, 3):
        image = DicomDataset(paths, threads=threads).read(range(20))["image"]
        assert np.array_equal(image[:, 0].numpy(), expected)


def test_memory_is_used_again_when_nobody_has_it(series):
    from fastdcm.ml.shared import Parcel, Pool, _receive, _send

    pool = Pool(shared=True)
    image, piece = pool.take((2, 3, 4, 1), torch.float32)
    view = image[1]
    del image
    other, second = pool.take((2, 3, 4, 1), torch.float32)
    assert second is not piece  # the view holds the first
    view.fill_(7)
    del view
    third, again = pool.take((1, 3, 4, 1), torch.float32)
    assert again is piece
    parcel = Parcel({"image": third.permute(0, 3, 1, 2), "index": torch.tensor([5])}, piece)
    third.fill_(3)
    make, arguments = _send(parcel)
    assert make is _receive
    received = make(*arguments)
    del parcel, third, arguments
    assert type(received) is dict and received["index"].tolist() == [5] and (received["image"] == 3).all()
    assert pool.take((1, 3, 4, 1), torch.float32)[1] is not piece  # it is there, still
    del received
    assert pool.take((1, 3, 4, 1), torch.float32)[1] is piece


def test_pickles_are_columns(series):
    paths, _ = series
    sizes = {}
    for times in (1, 50):
        data = DicomDataset(table(paths * times, "PatientID"), labels=["PatientID"])
        raw = pickle.dumps(data)
        sizes[times] = len(raw)
        again = pickle.loads(raw)
        assert len(again) == 20 * times and torch.equal(again[19]["image"], data[19]["image"])
    each = (sizes[50] - sizes[1]) / (49 * 20)
    assert each < len(paths[0]) + 60, each  # a path and some numbers


def _memory():
    """MB of this process and its children, shared pages counted once."""
    total = 0
    for pid in [os.getpid(), *(child.pid for child in multiprocessing.active_children())]:
        with open(f"/proc/{pid}/smaps_rollup") as lines:
            total += next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return total / 1024


def _flat(paths, count):
    data = DicomDataset(table(paths, "PatientID"), labels=["PatientID"])
    chosen = np.random.default_rng(0).integers(0, len(data), count)
    loader = DataLoader(data, 64, sampler=chosen.tolist(), num_workers=2, collate_fn=collate)
    used = []
    for number, batch in enumerate(loader):
        assert len(batch["image"]) == len(batch["PatientID"])
        if number % max(1, count // 64 // 10) == 0:
            gc.collect()
            used.append(_memory())
    return used


@pytest.mark.skipif(not os.path.exists("/proc/self/smaps_rollup"), reason="memory is told by /proc of Linux")
def test_memory_is_flat(put):
    # small ones: how many batches are on their way is chance
    paths = [put(dicom(noise(64, 64, seed=i))) for i in range(32)]
    used = _flat(paths, 6400)
    assert max(used[-3:]) < used[2] + 10, used


@pytest.mark.slow
@pytest.mark.skipif(not os.path.exists("/proc/self/smaps_rollup"), reason="memory is told by /proc of Linux")
def test_memory_is_flat_for_100000_samples(put, tmp_path):
    """Hard links: 100,000 paths, each its own sample."""
    paths = [put(dicom(noise(64, 64, seed=i))) for i in range(32)]
    links = tmp_path / "links"
    links.mkdir()
    for i in range(100_000):
        os.link(paths[i % 32], links / f"{i:06d}.dcm")
    data = DicomDataset(str(links), labels=["PatientID"])
    assert len(data) == 100_000
    used = []
    for number, batch in enumerate(DataLoader(data, 64, shuffle=True, num_workers=2, collate_fn=collate)):
        if number % 150 == 0:
            gc.collect()
            used.append(_memory())
    assert max(used[-3:]) < used[2] + 10, used


# ----------------------------------------------------------------- stream ---


def _indices(data, workers):
    return [batch["index"].tolist() for batch in DataLoader(data, batch_size=None, num_workers=workers)]


@pytest.mark.parametrize("shuffle", [False, True])
def test_stream_does_not_depend_on_workers(series, shuffle):
    paths, expected = series
    data = DicomIterableDataset(paths, 3, shuffle=shuffle, shard=8, seed=4)
    alone = _indices(data, 0)
    assert alone == _indices(data, 2) == _indices(data, 3)
    assert sorted(i for batch in alone for i in batch) == list(range(20)) and len(alone) == len(data) == 7
    flat = [i for batch in alone for i in batch]
    if shuffle:
        places = [i // 8 for i in flat]
        assert flat != sorted(flat) and len([1 for a, b in zip(places, places[1:]) if a != b]) == 2
    else:
        assert flat == list(range(20))
    for batch in DataLoader(data, batch_size=None, num_workers=1):
        assert np.array_equal(batch["image"][:, 0].numpy(), expected[batch["index"].numpy()])


def test_stream_epochs_reach_persistent_workers(series):
    data = DicomIterableDataset(series[0], 3, shuffle=True)
    loader = DataLoader(data, batch_size=None, num_workers=2, persistent_workers=True)
    orders = []
    for epoch in (0, 1, 0):
        data.set_epoch(epoch)
        orders.append([batch["index"].tolist() for batch in loader])
    assert orders[0] == orders[2] != orders[1]


def test_stream_ranks_share(series):
    for drop_last, each, all_of_them in ((False, 4, set(range(20))), (True, 3, set(range(18)))):
        ranks = [_indices(DicomIterableDataset(series[0], 3, rank=rank, world_size=2, drop_last=drop_last), 0)
                 for rank in range(2)]
        assert [len(batches) for batches in ranks] == [each, each]
        assert {i for batches in ranks for batch in batches for i in batch} == all_of_them
    with pytest.raises(ValueError, match="rank"):
        DicomIterableDataset(series[0], 3, rank=2, world_size=2)


# ----------------------------------------------------------------- guests ---


def test_without_torch():
    """The table of samples does without; what needs it says what to install."""
    program = (
        "import sys; sys.modules['torch'] = None; import fastdcm.ml; fastdcm.ml.Samples\n"
        "try: fastdcm.ml.DicomDataset\n"
        "except ImportError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert "fastdcm-dicom[ml]" in done.stdout, done.stderr
    program = "import fastdcm.ml, sys; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True).stdout == "False\n"


@pytest.fixture
def folder(tmp_path):
    """A series of 5 slices of 6 x 4, and its values as (z, y, x)."""
    values = noise(6, 4, frames=5)
    inner = tmp_path / "series"
    inner.mkdir()
    for i, one in enumerate(values):
        head = b"".join(el(tag, vr, value) for tag, vr, value in [
            (0x00080016, "UI", "1.2.840.10008.5.1.4.1.1.2"), (0x00080018, "UI", f"1.2.3.{i + 1}"),
            (0x00080060, "CS", "CT"), (0x0020000D, "UI", "1.2"), (0x0020000E, "UI", "1.3"),
            (0x00200013, "IS", i + 1), (0x00200032, "DS", f"10\\20\\{3 * i}"),
            (0x00200037, "DS", "1\\0\\0\\0\\1\\0"), (0x00200052, "UI", "1.4"), (0x00280002, "US", 1),
            (0x00280004, "CS", "MONOCHROME2"), (0x00280010, "US", 6), (0x00280011, "US", 4),
            (0x00280030, "DS", "2\\0.5"), (0x00280100, "US", 16), (0x00280101, "US", 16),
            (0x00280102, "US", 15), (0x00280103, "US", 1), (0x00281052, "DS", "-1000"), (0x00281053, "DS", "2")])
        (inner / f"{9 - i}.dcm").write_bytes(builder.part10(head + el(builder.PIXEL_DATA, "OW", one.tobytes())))
    return inner, values * 2.0 - 1000


RAS = [[-0.5, 0, 0, -10], [0, -2, 0, -20], [0, 0, 3, 0], [0, 0, 0, 1]]


def test_monai(folder):
    guest("monai", "monai.data", "monai.transforms")
    from monai.transforms import LoadImage

    from fastdcm.ml.monai import FastdcmReader

    inner, values = folder
    image = LoadImage(reader=FastdcmReader(), ensure_channel_first=True)(str(inner))
    assert np.array_equal(image[0].numpy(), values.transpose(2, 1, 0))
    assert np.allclose(image.affine, RAS) and image.meta["space"] == "RAS"
    single = str(inner / "9.dcm")
    ours = LoadImage(reader=FastdcmReader())(single)
    theirs = LoadImage(reader="PydicomReader")(single)
    assert np.array_equal(ours.numpy(), theirs.numpy()) and np.allclose(ours.affine, theirs.affine)
    both = LoadImage(reader=FastdcmReader(), ensure_channel_first=True)([single, single])
    assert both.shape == (2, 4, 6)
    _, meta = FastdcmReader(affine_lps_to_ras=False).get_data(FastdcmReader().read(str(inner)))
    assert np.allclose(meta["affine"], np.diag([-1, -1, 1, 1]) @ RAS)
    assert FastdcmReader().verify_suffix(single) and not FastdcmReader().verify_suffix("image.nii.gz")
    (inner / "7.dcm").unlink()
    with pytest.raises(fastdcm.DicomError, match="gap"):
        FastdcmReader().read(str(inner))
    assert FastdcmReader(on_problem="keep").read(str(inner)).array.shape == (4, 6, 4)


def test_torchio(folder):
    torchio = guest("torchio")
    from fastdcm.ml.torchio import read

    inner, values = folder
    image = torchio.ScalarImage(inner, reader=read)
    assert image.shape == (1, 4, 6, 5) and np.allclose(image.affine, RAS)
    assert np.array_equal(image.data[0].numpy(), values.transpose(2, 1, 0))
    theirs = torchio.ScalarImage(inner)
    assert np.array_equal(image.data.numpy(), theirs.data.numpy()) and np.allclose(image.affine, theirs.affine)


def test_webdataset(folder, tmp_path, pydicom_files):
    webdataset = guest("webdataset")
    from fastdcm.ml.webdataset import Decoder

    inner, values = folder
    shard = tmp_path / "shard-000.tar"
    rle = next(path for path in pydicom_files if path.name == "MR_small_RLE.dcm")
    with webdataset.TarWriter(str(shard)) as sink:
        for i in range(5):
            sink.write({"__key__": f"{i}", "dcm": (inner / f"{9 - i}.dcm").read_bytes(), "txt": f"slice {i}"})
        sink.write({"__key__": "rle", "dcm": rle.read_bytes()})
    found = list(webdataset.WebDataset(str(shard), shardshuffle=False).decode(Decoder()))
    assert np.array_equal(np.stack([sample["dcm"] for sample in found[:5]]), values)
    assert found[0]["dcm"].dtype == np.float32 and found[4]["txt"] == "slice 4"
    assert np.array_equal(found[5]["dcm"], pydicom.dcmread(rle).pixel_array)
    stored = Decoder(rescale=False).decode((inner / "9.dcm").read_bytes())
    assert stored.dtype == np.int16 and np.array_equal(stored * 2.0 - 1000, values[0])
    assert Decoder()("txt", b"text") is None
    with pytest.raises(fastdcm.InvalidDicomError):
        Decoder()("dcm", b"no DICOM at all" * 20)
