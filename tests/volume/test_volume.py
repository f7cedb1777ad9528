"""read_volume: series built right and wrong, and real ones."""

import os
import random
import struct
import subprocess
import sys
from pathlib import Path

from support import builder
import fastdcm
import numpy as np
import pytest
from support.builder import csa1, csa2, element, sequence
from fastdcm.volume._csa import read_csa
from fastdcm.volume.siemens import csa_header, tiles_of
from fastdcm.volume.sorting import Finding
from fastdcm.volume.volume import VolumeError

ROWS, COLUMNS = 4, 6
BETWEEN_ROWS, BETWEEN_COLUMNS = 0.5, 0.75
AXIAL = (1, 0, 0, 0, 1, 0)
VRS = {
    0x00080008: "CS", 0x00080018: "UI", 0x00080060: "CS", 0x00180050: "DS", 0x00180081: "DS",
    0x00180088: "DS", 0x00189087: "FD", 0x00181060: "DS", 0x0020000E: "UI", 0x00200012: "IS",
    0x00200013: "IS", 0x00200032: "DS", 0x00200037: "DS", 0x00200052: "UI", 0x00200100: "IS",
    0x00280002: "US", 0x00280004: "CS", 0x00280006: "US", 0x00280008: "IS", 0x00280010: "US",
    0x00280011: "US", 0x00280030: "DS", 0x00280100: "US", 0x00280101: "US", 0x00280102: "US",
    0x00280103: "US", 0x00281052: "DS", 0x00281053: "DS", 0x3004000C: "DS", 0x3004000E: "DS",
    0x00080032: "TM",
}
TAG = {
    "image_type": 0x00080008, "uid": 0x00080018, "modality": 0x00080060, "thickness": 0x00180050,
    "echo": 0x00180081, "between": 0x00180088, "b": 0x00189087, "trigger": 0x00181060,
    "series": 0x0020000E, "acquisition": 0x00200012, "number": 0x00200013, "position": 0x00200032,
    "orientation": 0x00200037, "reference": 0x00200052, "time": 0x00200100, "samples": 0x00280002,
    "frames": 0x00280008, "rows": 0x00280010, "columns": 0x00280011, "spacing": 0x00280030,
    "bits": 0x00280100, "signed": 0x00280103, "intercept": 0x00281052, "slope": 0x00281053,
    "offsets": 0x3004000C, "dose": 0x3004000E, "clock": 0x00080032,
}


def cells(number, rows=ROWS, columns=COLUMNS):
    """What the slice of this number holds."""
    return (np.arange(rows * columns, dtype=np.int16).reshape(rows, columns) + 100 * number).astype("<i2")


def dataset(pixels, raw=(), **values):
    """The bytes of one image; None leaves an attribute out. raw: {tag: bytes}
    of elements that are already written."""
    told = {
        "uid": f"1.2.{random.Random(repr((values, pixels.tobytes() if pixels is not None else 0))).getrandbits(60)}",
        "series": "1.2.9", "reference": "1.2.8", "samples": 1, "rows": ROWS, "columns": COLUMNS,
        "spacing": [BETWEEN_ROWS, BETWEEN_COLUMNS], "bits": 16, "signed": 1, "orientation": AXIAL,
    } | values
    parts = {TAG[name]: element(TAG[name], VRS[TAG[name]], value)
             for name, value in told.items() if value is not None}
    bits = told["bits"]
    parts[0x00280101] = element(0x00280101, "US", bits)
    parts[0x00280102] = element(0x00280102, "US", bits - 1)
    parts[0x00280004] = element(0x00280004, "CS", "MONOCHROME2" if told["samples"] == 1 else "RGB")
    parts.update(raw)
    if pixels is not None:
        parts[builder.PIXEL_DATA] = element(builder.PIXEL_DATA, "OW", pixels.tobytes())
    return b"".join(parts[tag] for tag in sorted(parts))


@pytest.fixture
def series(put):
    """series(zs, **values) writes an axial slice for each z, in a random order,
    and returns the paths. A value may be a function of the slice's number."""

    def write(zs, start=0, **values):
        paths = []
        for i, z in enumerate(zs, start):
            told = {name: value(i) if callable(value) else value for name, value in values.items()}
            told = {"position": [-10, 20, z], "number": i + 1} | told
            paths.append(put(dataset(cells(i, told.get("rows", ROWS), told.get("columns", COLUMNS)), **told)))
        random.Random(3).shuffle(paths)
        return paths

    return write


def codes(findings):
    return [finding.code for finding in findings]


def problems(source, **options):
    with pytest.raises(VolumeError) as caught:
        fastdcm.read_volume(source, **options)
    assert caught.value.code == "volume" and isinstance(caught.value, fastdcm.DicomError)
    return [finding for finding in caught.value.findings if finding.problem]


# --------------------------------------------------------------- geometry ---


def test_a_series(series):
    volume = fastdcm.read_volume(series([0, 2.5, 5, 7.5], thickness=3))
    assert volume.array.shape == (4, ROWS, COLUMNS) and volume.array.dtype == np.int16
    assert (volume.array == np.stack([cells(i) for i in range(4)])).all()
    assert volume.spacing == (BETWEEN_COLUMNS, BETWEEN_ROWS, 2.5)
    assert volume.origin == (-10, 20, 0)
    assert (volume.direction == np.eye(3)).all()
    assert volume.findings == [] and volume.key == {}
    assert volume.frame_of_reference_uid == "1.2.8"
    assert volume.tags["InstanceNumber"] == [1, 2, 3, 4] and volume.tags["frame"] == [0] * 4
    assert volume.positions.tolist() == [[-10, 20, z] for z in (0, 2.5, 5, 7.5)]


def test_the_order_of_files_says_nothing(series):
    paths = series([5, 0, 10, 15])
    first = fastdcm.read_volume(paths)
    for seed in range(5):
        random.Random(seed).shuffle(paths)
        again = fastdcm.read_volume(iter(paths), threads=1 + seed % 2)
        assert (again.array == first.array).all() and (again.affine == first.affine).all()
        assert again.tags == first.tags
    assert first.tags["InstanceNumber"] == [2, 1, 3, 4]
    assert (first.array[0] == cells(1)).all()


def rotation(seed):
    q, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))
    return q if np.linalg.det(q) > 0 else -q


@pytest.mark.parametrize("seed", range(8))
def test_affine_is_the_equation_of_the_standard(series, seed):
    """PS3.3 C.7.6.2.1.1: P = S + X * delta_i * i + Y * delta_j * j, for each slice."""
    q = rotation(seed)
    row, column, normal = q.T
    start = np.array([31.0, -52.0, 13.0])
    paths = series([0] * 5, orientation=[*row, *column],
                   position=lambda i: [f"{v:.10f}" for v in start + 3.25 * i * normal])
    volume = fastdcm.read_volume(paths)
    for k in range(5):
        for j in range(ROWS):
            for i in range(COLUMNS):
                point = start + 3.25 * k * normal + row * BETWEEN_COLUMNS * i + column * BETWEEN_ROWS * j
                assert np.allclose((volume.affine @ [i, j, k, 1])[:3], point, atol=1e-6)
    assert np.allclose(volume.ras[:2], -volume.affine[:2]) and (volume.ras[2:] == volume.affine[2:]).all()
    assert np.allclose(np.cross(volume.direction[:, 0], volume.direction[:, 1]), volume.direction[:, 2])


def test_slices_ascend_along_the_normal(series):
    """Row x column points to the feet: the first slice is the highest."""
    volume = fastdcm.read_volume(series([0, 1, 2], orientation=(-1, 0, 0, 0, 1, 0)))
    assert volume.tags["InstanceNumber"] == [3, 2, 1]
    assert volume.affine[:3, 2].tolist() == [0, 0, -1]
    assert np.linalg.det(volume.affine) > 0


def test_datasets_are_a_source(series):
    paths = series([0, 1, 2])
    expected = fastdcm.read_volume(paths)
    volume = fastdcm.read_volume([fastdcm.dcmread(path) for path in paths])
    assert (volume.array == expected.array).all() and (volume.affine == expected.affine).all()
    assert volume.tags == expected.tags
    with pytest.raises(TypeError, match="str among Datasets"):
        fastdcm.read_volume([fastdcm.dcmread(paths[0]), paths[1]])


def test_tags(series):
    paths = series([0, 1], echo=lambda i: 10 + i, image_type=["A", "B"])
    for source in (paths, [fastdcm.dcmread(path) for path in paths]):
        volume = fastdcm.read_volume(source, tags=["EchoTime", "(0008,0008)", 0x00280010])
        assert volume.tags["EchoTime"] == [10, 11]
        assert volume.tags["(0008,0008)"] == [["A", "B"]] * 2
        assert volume.tags["(0028,0010)"] == [ROWS] * 2


def test_what_it_is_asked_for(series, tmp_path):
    with pytest.raises(ValueError, match="'reject', 'split' or 'keep'"):
        fastdcm.read_volume(series([0, 1]), on_problem="resample")
    with pytest.raises(ValueError, match="threads"):
        fastdcm.read_volume(series([0, 1]), threads=0)
    with pytest.raises(FileNotFoundError):
        fastdcm.read_volume(tmp_path / "nothing")
    (tmp_path / "empty").mkdir()
    with pytest.raises(VolumeError, match="there is no image"):
        fastdcm.read_volume(tmp_path / "empty")


# --------------------------------------------------------------- findings ---


def test_gap(series):
    paths = series([0, 2, 4, 10, 12, 16])
    assert problems(paths) == [Finding("gap", "3 slices are missing, between 2 pairs of neighbours", True,
                                       {"missing": 3, "after": [2, 4]})]
    parts = fastdcm.read_volume(paths, on_problem="split")
    assert [len(part.array) for part in parts] == [3, 2, 1]
    assert [part.origin[2] for part in parts] == [0, 10, 16]
    assert [part.key for part in parts] == [{"run": 0}, {"run": 1}, {"run": 2}]
    assert [codes(part.findings) for part in parts] == [[], [], ["single-slice"]]
    kept = fastdcm.read_volume(paths, on_problem="keep")
    assert kept.array.shape[0] == 6 and kept.spacing[2] == 2 and codes(kept.findings) == ["gap"]
    assert kept.positions[:, 2].tolist() == [0, 2, 4, 10, 12, 16]


def test_uneven_spacing(series):
    paths = series([0, 5, 10, 15, 17, 19, 21])
    (found,) = problems(paths)
    assert found.code == "uneven-spacing"
    assert (found.details["smallest"], found.details["largest"]) == (2, 5)
    parts = fastdcm.read_volume(paths, on_problem="split")
    assert [(len(part.array), part.spacing[2]) for part in parts] == [(4, 5), (3, 2)]
    assert codes(fastdcm.read_volume(paths, on_problem="keep").findings) == ["uneven-spacing"]


def test_rounded_positions_are_even(series):
    zs = [round(i * 0.625, 2) for i in range(60)]
    volume = fastdcm.read_volume(series(zs))
    assert volume.findings == [] and abs(volume.spacing[2] - 0.625) < 1e-3


@pytest.mark.parametrize("angle", [0.5, 12.0, -25.0])
def test_tilt_is_told_and_kept_in_the_affine(series, angle):
    """The slices stand straight above each other, but not along their normal."""
    sin, cos = np.sin(np.radians(angle)), np.cos(np.radians(angle))
    volume = fastdcm.read_volume(series([0, 5, 10, 15], orientation=[1, 0, 0, 0, f"{cos:.10f}", f"{sin:.10f}"]))
    (found,) = volume.findings
    assert found.code == "tilt" and not found.problem
    assert abs(found.details["angle"] - abs(angle)) < 1e-6
    assert np.allclose(volume.affine[:3, 2], [0, 0, 5])
    assert np.allclose((volume.affine @ [0, 0, 3, 1])[:3], [-10, 20, 15])


def test_shifted_slices(series):
    (found,) = problems(series([0, 1, 2, 3], position=lambda i: [-10 + 3 * (i == 2), 20, i]))
    assert found.code == "shifted-slices" and abs(found.details["distance"] - 3) < 1e-9


def test_duplicate_position(series):
    paths = series([0, 1, 1, 2])
    (found,) = problems(paths)
    assert (found.code, found.details) == ("duplicate-position", {"slices": 1})
    parts = fastdcm.read_volume(paths, on_problem="split")
    assert [part.tags["InstanceNumber"] for part in parts] == [[1, 2, 4], [3]]
    assert [part.key for part in parts] == [{"copy": 0}, {"copy": 1}]
    kept = fastdcm.read_volume(paths, on_problem="keep")
    assert kept.array.shape[0] == 3 and codes(kept.findings) == ["duplicate-position", "left-out"]


def test_the_same_file_twice(series, put):
    paths = series([0, 1, 2])
    twin = put(raw=Path(paths[0]).read_bytes())
    (found,) = problems([*paths, twin])
    assert (found.code, found.details) == ("duplicate-instance", {"slices": [(twin, 0)]})
    kept = fastdcm.read_volume([*paths, twin], on_problem="keep")
    assert kept.array.shape[0] == 3 and codes(kept.findings) == ["duplicate-instance"]


@pytest.mark.parametrize("code, first, other", [
    ("mixed-series", {}, {"series": "1.2.77"}),
    ("mixed-frame-of-reference", {}, {"reference": "1.2.77"}),
    ("mixed-size", {}, {"rows": 5}),
    ("mixed-size", {"samples": None}, {"columns": 3}),
    ("missing-position", {}, {"position": None}),
    ("missing-position", {}, {"position": ["nan", 0, 0]}),
    ("missing-position", {}, {"orientation": [1, 0, 0, 1, 0, 0]}),
    ("mixed-orientation", {}, {"orientation": [0, 1, 0, 0, 0, -1]}),
    ("mixed-spacing", {}, {"spacing": [0.9, 0.9]}),
    ("localizer", {}, {"image_type": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}),
])
def test_mixtures(series, code, first, other):
    paths = series([0, 1, 2], **first) + series([9], start=3, **other)
    found = problems(paths)
    assert found[0].code == code and sorted(found[0].details["slices"].values()) == [1, 3]
    parts = sorted(fastdcm.read_volume(paths, on_problem="split"), key=lambda part: -len(part.array))
    assert [len(part.array) for part in parts] == [3, 1]
    assert parts[0].key != parts[1].key and parts[0].key.keys() == parts[1].key.keys()
    assert (parts[0].array == np.stack([cells(i) for i in range(3)])).all()
    kept = fastdcm.read_volume(paths, on_problem="keep")
    assert (kept.array == parts[0].array).all()
    left = kept.findings[-1] if kept.findings[-1].code == "left-out" else kept.findings[-2]
    assert left.details["slices"] == 1


@pytest.mark.parametrize("name, tag, values", [
    ("echo", "EchoTime", [2.5, 4.75, 7]),
    ("time", "TemporalPositionIdentifier", [1, 2, 3]),
    ("b", "DiffusionBValue", [0.0, 500.0, 1000.0]),
    ("acquisition", "AcquisitionNumber", [1, 2, 3]),
    ("trigger", "TriggerTime", [0, 100, 200]),
])
def test_several_stacks_at_the_same_positions(series, name, tag, values):
    paths = series([0, 1, 2, 3] * 3, **{name: lambda i: values[i // 4]})
    (found,) = problems(paths)
    assert (found.code, found.details["by"]) == ("several-stacks", [tag])
    parts = fastdcm.read_volume(paths, on_problem="split")
    assert [part.key for part in parts] == [{tag: value} for value in values]
    for n, part in enumerate(parts):
        assert (part.array == np.stack([cells(4 * n + i) for i in range(4)])).all()


def test_two_dimensions(series):
    paths = series([0, 1] * 6, echo=lambda i: 10 * (i // 2 % 2), time=lambda i: i // 4)
    parts = fastdcm.read_volume(paths, on_problem="split")
    assert [tuple(part.key.items()) for part in parts] == [
        (("EchoTime", e), ("TemporalPositionIdentifier", t)) for e in (0, 10) for t in (0, 1, 2)]
    assert [len(part.array) for part in parts] == [2] * 6


def test_times_that_differ_from_slice_to_slice_still_order(series):
    paths = series([0, 1, 2] * 3, clock=lambda i: f"1200{10 + 7 * (i % 3) + i // 3:02d}",
                   number=lambda i: 100 - i)
    parts = fastdcm.read_volume(paths, on_problem="split")
    assert [part.key for part in parts] == [{"order of AcquisitionTime": n} for n in range(3)]
    for n, part in enumerate(parts):
        assert (part.array == np.stack([cells(3 * n + i) for i in range(3)])).all()


def test_no_position_at_all(series):
    paths = series([0, 1, 2], position=None, orientation=None, between=4)
    assert codes(problems(paths)) == ["missing-position"]
    kept = fastdcm.read_volume(paths, on_problem="keep")
    assert kept.tags["InstanceNumber"] == [1, 2, 3] and np.isnan(kept.positions).all()
    assert kept.affine.tolist() == np.diag([BETWEEN_COLUMNS, BETWEEN_ROWS, 4, 1]).tolist()


def test_no_pixel_spacing(series):
    paths = series([0, 1], spacing=None)
    assert codes(problems(paths)) == ["missing-spacing"]
    assert fastdcm.read_volume(paths, on_problem="keep").spacing == (1, 1, 1)


def test_one_slice(series):
    volume = fastdcm.read_volume(series([7], thickness=3))
    assert codes(volume.findings) == ["single-slice"] and volume.spacing[2] == 3


def test_what_is_no_image(series, put, tmp_path):
    series([0, 1, 2])
    report = put(dataset(None, rows=None, columns=None, modality="SR"))
    (tmp_path / "readme.txt").write_text("not DICOM at all, but beside it")
    volume = fastdcm.read_volume(tmp_path)
    assert [(f.code, f.problem, f.details["paths"]) for f in volume.findings] == [
        ("not-dicom", False, [str(tmp_path / "readme.txt")]), ("not-an-image", False, [report])]
    cut = put(dataset(None, position=[-10, 20, 3]))
    (found,) = problems(tmp_path)
    assert (found.code, found.details["paths"]) == ("missing-pixels", [cut])


def test_errors_travel(series):
    import pickle

    with pytest.raises(VolumeError) as caught:
        fastdcm.read_volume(series([0, 1, 3, 4]))
    again = pickle.loads(pickle.dumps(caught.value))
    assert again.findings == caught.value.findings and str(again) == str(caught.value)


# ----------------------------------------------------------------- values ---


def test_each_slice_has_its_own_slope(series):
    paths = series([0, 1, 2], slope=lambda i: 0.1 * (i + 1), intercept=lambda i: -i)
    volume = fastdcm.read_volume(paths)
    assert volume.array.dtype == np.float32
    for i in range(3):
        assert (volume.array[i] == (cells(i) * (0.1 * (i + 1)) - i).astype(np.float32)).all()
    stored = fastdcm.read_volume(paths, rescale=False)
    assert stored.array.dtype == np.int16 and (stored.array[2] == cells(2)).all()


def test_identity_keeps_the_stored_type(series):
    volume = fastdcm.read_volume(series([0, 1], slope=1, intercept=0))
    assert volume.array.dtype == np.int16


def test_signed_and_unsigned_slices(series):
    volume = fastdcm.read_volume(series([0, 1], signed=lambda i: i))
    assert volume.array.dtype == np.int32 and (volume.array[1] == cells(1)).all()


def test_colour(put):
    shades = np.arange(2 * ROWS * COLUMNS * 3, dtype=np.uint8).reshape(2, ROWS, COLUMNS, 3)
    paths = [put(dataset(shades[i], samples=3, bits=8, signed=0, position=[0, 0, i],
                         raw={0x00280006: element(0x00280006, "US", 0)})) for i in (1, 0)]
    volume = fastdcm.read_volume(paths)
    assert (volume.array == shades).all()
    nibabel = pytest.importorskip("nibabel")
    image = nibabel.Nifti1Image.from_bytes(volume.to_nifti().to_bytes())
    assert image.dataobj[5, 3, 1].tolist() == tuple(shades[1, 3, 5].tolist())


def test_pixels_that_are_too_short(put, series):
    paths = series([0, 1])
    bad = put(dataset(cells(2)[:2], position=[-10, 20, 2]))
    (found,) = problems([*paths, bad])
    assert found.code == "bad-image" and "asks for 48" in found.text.replace("ask ", "asks ")
    assert fastdcm.read_volume([*paths, bad], on_problem="keep").array.shape[0] == 2


@pytest.mark.parametrize("values", [{"rows": 65535, "columns": 65535}, {"frames": 2_000_000_000},
                                    {"rows": 0}, {"frames": -1}])
def test_sizes_that_cannot_be_take_no_memory(put, values):
    (found,) = problems(put(dataset(cells(0), position=[0, 0, 0], **values)))
    assert found.code == "bad-image"


# ------------------------------------------------------------ multi-frame ---


def frames_of(count):
    return np.stack([cells(i) for i in range(count)])


def plane(position):
    return sequence(0x00209113, [element(0x00200032, "DS", position)])


def groups(per_frame, orientation=AXIAL, shared=b""):
    """Functional groups: per frame their bytes; shared: geometry."""
    return {
        0x52009229: sequence(0x52009229, [
            sequence(0x00209116, [element(0x00200037, "DS", orientation)])
            + sequence(0x00289110, [element(0x00180050, "DS", 9)
                                    + element(0x00280030, "DS", [BETWEEN_ROWS, BETWEEN_COLUMNS])]) + shared]),
        0x52009230: sequence(0x52009230, per_frame),
    }


BARE = dict(spacing=None, orientation=None)


def test_enhanced(put):
    zs = [4, 0, 6, 2]
    path = put(dataset(frames_of(4), groups([plane([1, 2, z]) for z in zs]), frames=4, **BARE))
    volume = fastdcm.read_volume(path)
    assert volume.findings == [] and volume.spacing == (BETWEEN_COLUMNS, BETWEEN_ROWS, 2)
    assert volume.tags["frame"] == [1, 3, 0, 2] and volume.origin == (1, 2, 0)
    assert (volume.array == frames_of(4)[[1, 3, 0, 2]]).all()
    assert (fastdcm.read_volume(fastdcm.dcmread(path)).array == volume.array).all()


@pytest.mark.parametrize("threads", [1, 2, None])
def test_enhanced_and_compressed(put, threads):
    """Frames of one file, by several threads (RLE, PS3.5 G)."""
    def rle(frame):
        planes = [frame.tobytes()[1::2], frame.tobytes()[::2]]  # high bytes first
        packed = [bytes([len(p) - 1]) + p + b"\0" * (1 - len(p) % 2) for p in planes]
        return struct.pack("<16I", 2, 64, 64 + len(packed[0]), *[0] * 13) + b"".join(packed)

    count = 40
    raw = groups([plane([0, 0, 3 * (i * 7 % count)]) for i in range(count)])
    raw[builder.PIXEL_DATA] = builder.fragments([rle(cells(i)) for i in range(count)])
    path = put(dataset(None, raw, frames=count, intercept=-1, **BARE), transfer_syntax=builder.RLE)
    volume = fastdcm.read_volume(path, threads=threads)
    order = sorted(range(count), key=lambda i: i * 7 % count)
    assert volume.tags["frame"] == order
    assert (volume.array == frames_of(count)[order] - 1.0).all()


def test_enhanced_with_dimensions_and_slopes(put):
    def frame(i):
        echo = sequence(0x00189114, [element(0x00189082, "FD", 10.0 + i // 3)])
        scale = sequence(0x00289145, [element(0x00281052, "DS", -5) + element(0x00281053, "DS", 1 + i // 3)])
        return echo + plane([0, 0, i % 3]) + scale

    path = put(dataset(frames_of(6), groups([frame(i) for i in range(6)]), frames=6, **BARE))
    (found,) = problems(path)
    assert (found.code, found.details["by"]) == ("several-stacks", ["EffectiveEchoTime"])
    parts = fastdcm.read_volume(path, on_problem="split", tags=["EffectiveEchoTime"])
    assert [part.key for part in parts] == [{"EffectiveEchoTime": 10}, {"EffectiveEchoTime": 11}]
    assert (parts[1].array == frames_of(6)[3:] * 2 - 5).all()
    assert parts[1].tags["EffectiveEchoTime"] == [11] * 3


def test_tags_from_functional_groups(put):
    def frame(i):
        return plane([0, 0, i]) + sequence(0x00189325, [element(0x00189309, "FD", 10.0 + i)])

    path = put(dataset(frames_of(2), groups([frame(i) for i in range(2)]), frames=2, **BARE))
    assert fastdcm.read_volume(path, tags=["TableSpeed"]).tags["TableSpeed"] == [10, 11]


def test_dose(put):
    """Offsets from the first frame, and Dose Grid Scaling."""
    path = put(dataset(frames_of(3), frames=3, position=[0, 0, -7], offsets=[0, 2, 4], dose=0.5, modality="RTDOSE"))
    volume = fastdcm.read_volume(path)
    assert volume.spacing[2] == 2 and volume.origin == (0, 0, -7)
    assert (volume.array == frames_of(3) * np.float32(0.5)).all()


def test_frames_a_spacing_apart(put):
    volume = fastdcm.read_volume(put(dataset(frames_of(3), frames=3, position=[0, 0, 10], between=-3)))
    assert volume.origin == (0, 0, 4) and volume.tags["frame"] == [2, 1, 0]


def test_frames_without_geometry(put):
    path = put(dataset(frames_of(3), frames=3, modality="XA", **BARE))
    assert codes(problems(path)) == ["missing-position"]
    kept = fastdcm.read_volume(path, on_problem="keep")
    assert (kept.array == frames_of(3)).all() and (kept.affine == np.eye(4)).all()


def test_frames_of_one_place_are_no_volume(put):
    """A cine: one position, and time."""
    path = put(dataset(frames_of(3), frames=3, position=[0, 0, 0]))
    assert codes(problems(path)) == ["duplicate-position"]
    assert len(fastdcm.read_volume(path, on_problem="split")) == 3


# ---------------------------------------------------------------- mosaics ---


TELLS = {"EchoLinePosition": ["64"], "NumberOfImagesInMosaic": ["5"], "SliceNormalVector": ["0.0", "0.0", "-1.0"]}


@pytest.mark.parametrize("write", [csa2, csa1])
def test_csa(write):
    assert read_csa(write(TELLS)) == TELLS


@pytest.mark.parametrize("write", [csa2, csa1])
def test_damaged_csa(write):
    raw = write(TELLS)
    for end in range(len(raw)):
        try:
            found = read_csa(raw[:end])
        except fastdcm.DicomError as error:
            assert error.code == "csa"
        else:
            assert found.keys() <= TELLS.keys()
    with pytest.raises(fastdcm.DicomError, match="CSA header is damaged"):
        read_csa(b"")
    with pytest.raises(fastdcm.DicomError):
        read_csa(b"SV10\4\3\2\1" + struct.pack("<II", 0xFFFFFFFF, 77) + bytes(200))
    rng = random.Random(5)
    for _ in range(3000):
        bad = bytearray(raw)
        for _ in range(rng.randint(1, 4)):
            bad[rng.randrange(len(bad))] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)))
        try:
            read_csa(bytes(bad))
        except fastdcm.DicomError as error:
            assert error.code == "csa"


def mosaic(put, csa=None, count=None, side=3, **values):
    raw = {}
    if csa is not None:
        raw[0x00290010] = element(0x00290010, "LO", "SIEMENS CSA HEADER")
        raw[0x00291010] = element(0x00291010, "OB", csa)
    if count is not None:
        raw[0x00190010] = element(0x00190010, "LO", "SIEMENS MR HEADER")
        raw[0x0019100A] = element(0x0019100A, "US", count)
    whole = np.zeros((side * ROWS, side * COLUMNS), "<i2")
    for i in range(5):
        r, c = i // side * ROWS, i % side * COLUMNS
        whole[r:r + ROWS, c:c + COLUMNS] = cells(i)
    return put(dataset(whole, raw, rows=side * ROWS, columns=side * COLUMNS, between=3,
                       image_type=["ORIGINAL", "PRIMARY", "M", "MOSAIC"], **values))


@pytest.mark.parametrize("sign", [1, -1])
def test_mosaic(put, sign):
    csa = csa2(TELLS | {"SliceNormalVector": ["0", "0", str(sign)]})
    volume = fastdcm.read_volume(mosaic(put, csa, position=[10, 20, 30]))
    assert volume.array.shape == (5, ROWS, COLUMNS) and volume.findings == []
    # the middle of the mosaic is the middle of the first tile
    x = 10 + (3 * COLUMNS - COLUMNS) / 2 * BETWEEN_COLUMNS
    y = 20 + (3 * ROWS - ROWS) / 2 * BETWEEN_ROWS
    assert volume.origin == (x, y, 30 if sign == 1 else 18)
    assert (volume.array[::sign] == frames_of(5)).all()
    assert volume.spacing == (BETWEEN_COLUMNS, BETWEEN_ROWS, 3)


def test_mosaic_counted_by_its_private_element(put):
    assert fastdcm.read_volume(mosaic(put, count=5, position=[0, 0, 0])).array.shape == (5, ROWS, COLUMNS)


@pytest.mark.parametrize("options", [{}, {"csa": b"SV10"}, {"count": 0}, {"count": 10},
                                     {"csa": csa2({"NumberOfImagesInMosaic": ["many"]})}])
def test_mosaic_that_does_not_say_how_many(put, options):
    (found,) = problems(mosaic(put, position=[0, 0, 0], **options))
    assert found.code == "bad-image" and found.details["errors"][0].code in ("mosaic", "csa")


# ------------------------------------------------------------------ NIfTI ---


def test_nifti(series, tmp_path):
    nibabel = pytest.importorskip("nibabel")
    volume = fastdcm.read_volume(series([0, 2, 4], slope=0.5))
    for name in ("a.nii", "a.nii.gz"):
        volume.to_nifti(tmp_path / name)
        image = nibabel.load(tmp_path / name)
        assert image.shape == (COLUMNS, ROWS, 3) and image.get_data_dtype() == np.float32
        assert (np.asarray(image.dataobj).T == volume.array).all()
        # world of the cell in column 5, row 3, slice 2, in RAS
        assert np.allclose(image.affine @ [5, 3, 2, 1], [10 - 5 * BETWEEN_COLUMNS, -20 - 3 * BETWEEN_ROWS, 4, 1])
        assert (image.header["qform_code"], image.header["sform_code"]) == (1, 1)
        assert np.allclose(image.get_qform(), volume.ras, atol=1e-5)
        assert image.header.get_xyzt_units()[0] == "mm"
    assert sorted(p.name for p in tmp_path.glob("a.*")) == ["a.nii", "a.nii.gz"]


def test_nifti_of_a_tilt_has_no_qform(series):
    pytest.importorskip("nibabel")
    volume = fastdcm.read_volume(series([0, 5, 10], orientation=[1, 0, 0, 0, 0.9781476007, 0.2079116908]))
    image = volume.to_nifti()
    assert np.allclose(image.affine, volume.ras, atol=1e-6)
    assert (image.header["qform_code"], image.header["sform_code"]) == (0, 1)


def test_nifti_without_nibabel(series, monkeypatch):
    monkeypatch.setitem(sys.modules, "nibabel", None)
    with pytest.raises(ImportError, match=r"pip install 'fastdcm-dicom\[volume\]'"):
        fastdcm.read_volume(series([0, 1])).to_nifti()


# ------------------------------------------------------------- real files ---


@pytest.fixture
def real():
    corpus = os.environ.get("FASTDCM_CORPUS")
    if not corpus:
        pytest.skip("FASTDCM_CORPUS names no folder")
    return lambda pattern: sorted(map(str, Path(corpus).glob(pattern)))


def nibabel_of(path, monkeypatch):
    """nibabel's own reading: (column, row, slice) array in stored values and RAS affine."""
    pytest.importorskip("nibabel")
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from nibabel.nicom.dicomwrappers import wrapper_from_file
    wrapped = wrapper_from_file(path)
    data = wrapped.get_unscaled_data()
    swap = np.eye(4)[[1, 0, 2, 3]]  # from nibabel's (row, column, slice)
    return data.transpose(1, 0, 2), np.diag([-1, -1, 1, 1]) @ wrapped.affine @ swap


@pytest.mark.parametrize("name", ["nibabel/siemens_dwi_0.dcm", "nibabel/siemens_dwi_1000.dcm",
                                  "dcm_qa_ts/1.dcm", "dcm_qa_ts/2.dcm", "dcm_qa_ts/3.dcm"])
def test_mosaics_are_nibabels(real, name, monkeypatch):
    (path,) = real(name)
    image = fastdcm.read_volume(path, rescale=False).to_nifti()
    data, affine = nibabel_of(path, monkeypatch)
    assert (np.asarray(image.dataobj) == data).all()
    assert np.allclose(image.affine, affine, atol=1e-3)


@pytest.mark.parametrize("number", range(2, 10))
def test_one_mosaic_in_nine_transfer_syntaxes(real, number):
    """Implicit, big endian, RLE, JPEG, JPEG-LS, JPEG 2000 ..."""
    (first,), (other,) = real("dcm_qa_ts/1.dcm"), real(f"dcm_qa_ts/{number}.dcm")
    first, other = fastdcm.read_volume(first), fastdcm.read_volume(other)
    assert (other.array == first.array).all() and (other.affine == first.affine).all()


@pytest.mark.parametrize("pattern, by, key, shape, spacing", [
    ("dcm_qa_enh/6_*.dcm", "TemporalPositionIndex", [1, 2, 3, 4], (6, 64, 64), (3.375, 3.375, 2.4)),
    ("dcm_qa_agfa/011-*.img", "TemporalPositionIndex", [1, 2, 3], (25, 64, 64), (3.28125, 3.28125, 3.3)),
    ("dcm_qa_enh/IM_0027_fMAP.dcm", "EffectiveEchoTime", [0, 1.52], (32, 64, 64), (4, 4, 4)),
    ("dcmstack/TE_[46]0*.dcm", "EchoTime", [40, 60], (2, 192, 192), (0.666667, 0.666667, 10.5)),
])
def test_real_series_of_several_stacks(real, pattern, by, key, shape, spacing):
    paths = real(pattern)
    assert [(f.code, f.details["by"]) for f in problems(paths)] == [("several-stacks", [by])]
    parts = fastdcm.read_volume(paths, on_problem="split")
    assert [part.key for part in parts] == [{by: value} for value in key]
    for part in parts:
        assert part.array.shape == shape and np.allclose(part.spacing, spacing, atol=1e-3)


def test_a_segmentation_beside_its_affine(real):
    (path,) = real("highdicom/seg_image_ct_binary.04a19ae.dcm")
    volume = fastdcm.read_volume(path)
    assert volume.array.dtype == np.uint8 and set(np.unique(volume.array)) == {0, 1}
    assert np.allclose(volume.affine, [[0.488281, 0, 0, -125], [0, 0.488281, 0, -128.1],
                                       [0, 0, 1.25, 103.02], [0, 0, 0, 1]], atol=1e-3)


def test_a_header_of_the_real_kind(real):
    """Its pixels were taken out, its slice direction is against row x column."""
    (path,) = real("nibabel/csa_slice_norm.dcm")
    ds = fastdcm.dcmread(path)
    assert csa_header(ds)["NumberOfImagesInMosaic"] == [str(tiles_of(ds)[0])]


# ----------------------------------------------------------------- memory ---


@pytest.mark.skipif(sys.platform != "linux", reason="reads VmHWM of /proc")
def test_memory_is_one_array(put):
    """60 slices of 2 MB: the array, and not much more."""
    shape = dict(rows=1024, columns=1024)
    noise = np.random.default_rng(1).integers(-1000, 1000, (1024, 1024)).astype("<i2")
    paths = [put(dataset(noise, position=[0, 0, i], number=i, intercept=-5, **shape)) for i in range(60)]
    program = """if 1:
        import sys, numpy, fastdcm
        def peak():
            return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM"))
        fastdcm.read_volume(sys.argv[1:3])
        before = peak()
        volume = fastdcm.read_volume(sys.argv[1:])
        print((peak() - before) * 1024 / volume.array.nbytes)"""
    done = subprocess.run([sys.executable, "-c", program, *paths], capture_output=True, text=True, check=True,
                          env={**os.environ, "PYTHONPATH": str(Path(fastdcm.__file__).parent.parent)})
    assert float(done.stdout) < 1.15
