"""fastdcm.distributed: pieces, images, and the scan by Ray and Dask beside the local one."""

import os
import sys
import time

import numpy as np
import pyarrow
import pytest

import fastdcm
from fastdcm.distributed.images import image_bytes, read_images
from fastdcm.distributed.pieces import cut, header_bytes, listed
from support import builder as b
from support.builder import element as el
from support.optional_packages import guest, two_workers

TAGS = ["PatientID", "InstanceNumber", "ImageType", "PixelSpacing", "(0009,xx01,ACME)"]


def slice_of(number, values, *, slope=2, frames=None, short=0):
    """A CT file of int16 values, (rows, columns) or (frames, rows, columns)."""
    rows, columns = values.shape[-2:]
    raw = values.astype("<i2").tobytes()
    raw = raw[: len(raw) - short]
    return b.part10(
        el(0x00080008, "CS", ["ORIGINAL", "PRIMARY"][: number % 3])
        + el(0x00080060, "CS", "CT")
        + el(0x00090010, "LO", "ACME")
        + el(0x00091001, "LO", f"private {number}")
        + el(0x00100020, "LO", f"P{number % 5}")
        + el(0x00200013, "IS", number)
        + b.image(rows, columns, signed=True, frames=frames)
        + el(0x00280030, "DS", ["0.5", "0.25"])
        + el(0x00281052, "DS", "-1024")
        + el(0x00281053, "DS", str(slope))
        + b.header(b.PIXEL_DATA, "OW", len(raw))
        + raw
    )


def noise(seed, *shape):
    return np.random.default_rng(seed).integers(-1000, 2000, shape).astype("<i2")


COLOUR = np.random.default_rng(1).integers(0, 255, (4, 6, 3), np.uint8)


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    """(folder, {path of a good file: its values of the modality})."""
    folder = tmp_path_factory.mktemp("archive")
    good = {}
    for i in range(100):
        path = folder / f"{i % 3}" / f"{i:03d}.dcm"
        path.parent.mkdir(exist_ok=True)
        values = noise(i, 8, 6 + i // 50)
        path.write_bytes(slice_of(i, values))
        good[str(path)] = values.astype(np.float32)[None] * 2 - 1024
    path = folder / "1" / "frames.dcm"
    values = noise(1, 5, 4, 4)
    path.write_bytes(slice_of(7, values, frames=5))
    good[str(path)] = values.astype(np.float32) * 2 - 1024
    bad = {
        "empty.dcm": b"",
        "none.dcm": b"no DICOM at all, but more than 132 bytes of it. " * 4,
        "report.dcm": b.part10(el(0x00080060, "CS", "SR") + el(0x00100020, "LO", "P9")),
        "short.dcm": slice_of(8, noise(2, 3, 4, 4), frames=3, short=30),
        "rowless.dcm": b.part10(el(0x00280100, "US", 16) + el(b.PIXEL_DATA, "OW", b"1234")),
        "colour.dcm": b.part10(
            b.image(4, 6, samples=3, allocated=8, planar=0)
            + el(b.PIXEL_DATA, "OB", COLOUR.tobytes())
        ),
    }
    for name, raw in bad.items():
        (folder / "2" / name).write_bytes(raw)
    os.symlink("nowhere", folder / "2" / "broken.dcm")
    os.symlink(".", folder / "2" / "loop")
    return str(folder), good


def by_path(table):
    return table.sort_by(
        [(name, "ascending") for name in ("path", "frame") if name in table.column_names]
    )


# ----------------------------------------------------------------- pieces ---


@pytest.mark.parametrize("count", [1, 2, 7, 100, 1000])
def test_pieces_are_of_equal_cost(count):
    costs = np.random.default_rng(0).integers(1, 1000, 300)
    costs[100] = 30_000
    pieces = cut(costs, count)
    assert np.concatenate([np.arange(300)[piece] for piece in pieces]).tolist() == list(range(300))
    assert 0 < len(pieces) <= count
    assert all(piece.start < piece.stop for piece in pieces)
    assert max(costs[piece].sum() for piece in pieces) <= costs.sum() / count + costs.max()


def test_pieces_of_files_of_one_size_are_of_one_length():
    assert [p.stop - p.start for p in cut(header_bytes(np.full(1000, 500_000)), 4)] == [250] * 4
    assert cut(np.zeros(0), 4) == []


def test_a_list_of_files(archive, tmp_path, monkeypatch):
    folder, _ = archive
    files, sizes = listed(folder)
    rows = fastdcm.scan(folder, []).read_all()
    assert fastdcm.scan(files, []).read_all().equals(rows)
    assert fastdcm.scan(files[50:], [], threads=1).read_all().equals(rows.slice(50))
    paths = rows.column("path").to_pylist()
    loop = paths.index(os.path.join(folder, "2", "loop"))
    assert np.flatnonzero(files.errnos).tolist() == [loop]
    assert [*sizes[:loop], 0, *sizes[loop + 1 :]] == [
        size or 0 for size in rows.column("size").to_pylist()
    ]
    monkeypatch.chdir(folder)
    assert listed("1")[0].paths == listed(os.path.join(folder, "1"))[0].paths
    assert listed([])[0].paths == []


@pytest.mark.parametrize("name", ["table.parquet", "table.arrow", "table.csv", "index/"])
def test_a_table_tells_sizes(archive, tmp_path, name):
    folder, _ = archive
    table = os.path.join(tmp_path, name)
    fastdcm.scan(folder, []).write(table)
    files, sizes = listed(table)
    assert len(files) == len(sizes) == 109
    one = files.paths.index(os.fsencode(os.path.join(folder, "0", "000.dcm")))
    assert sizes[one] == os.stat(files.paths[one]).st_size
    os.rename(folder, folder + "-away")
    try:
        assert listed(table)[1].tolist() == (sizes.tolist() if "csv" not in name else [0] * 109)
    finally:
        os.rename(folder + "-away", folder)


def test_a_table_without_sizes(archive, tmp_path):
    folder, _ = archive
    import pyarrow.parquet

    files, sizes = listed(folder)
    table = pyarrow.table({"path": [os.fsdecode(path) for path in files.paths]})
    pyarrow.parquet.write_table(table, tmp_path / "paths.parquet")
    again = listed(tmp_path / "paths.parquet")
    there = files.errnos == 0
    assert again[0].paths == files.paths and again[1][there].tolist() == sizes[there].tolist()


# ----------------------------------------------------------------- images ---

ERRORS = {
    "loop": "walk",
    "empty.dcm": "empty",
    "none.dcm": "not-dicom",
    "broken.dcm": "open",
    "short.dcm": "pixels",
    "rowless.dcm": "pixels",
}


def images_of(archive, **options):
    """{(path, frame): (row, image)}"""
    columns = ["path", "error", "error_offset", "error_detail", "PatientID"]
    files, _ = listed(archive[0])
    found = {}
    for rows, images in read_images(files, ["PatientID"], columns, **options):
        assert rows.column_names == [*columns, "frame"] and len(rows) == len(images) > 0
        assert images.dtype == np.float32 and images.ndim == 4
        for row, image in zip(rows.to_pylist(), images):
            assert (row["path"], row["frame"]) not in found
            found[row["path"], row["frame"]] = row, image
    return found


def check_images(archive, found):
    """found: {(path, frame): (row, image)} of the whole archive."""
    folder, good = archive
    for path, frames in good.items():
        for i, values in enumerate(frames):
            row, image = found.pop((path, i))
            assert row["error"] is None
            np.testing.assert_array_equal(image, values[None])
    place = os.path.join(folder, "2", "")
    np.testing.assert_array_equal(
        found.pop((place + "colour.dcm", 0))[1], COLOUR.transpose(2, 0, 1)
    )
    report, image = found.pop((place + "report.dcm", None))
    assert report["error"] is None and report["PatientID"] == "P9" and image.shape == (0, 0, 0)
    for i in (0, 1):
        assert found.pop((place + "short.dcm", i))[1].shape == (1, 4, 4)
    wrong = {os.path.basename(path): (row, image) for (path, _), (row, image) in found.items()}
    assert {name: row["error"] for name, (row, _) in wrong.items()} == ERRORS
    assert {image.shape for _, image in wrong.values()} == {(0, 0, 0)}
    assert all(row["error_detail"] for row, _ in wrong.values())
    assert wrong["short.dcm"][0]["frame"] == 2 and wrong["empty.dcm"][0]["frame"] is None


def test_images(archive):
    found = images_of(archive)
    check_images(archive, found)


def test_images_skip_and_raise(archive):
    folder, good = archive
    found = images_of(archive, on_error="skip", threads=2)
    assert len(found) == 105 + 1 + 2 and all(image.size for _, image in found.values())
    with pytest.raises(fastdcm.DicomError):
        images_of(archive, on_error="raise")
    short = os.path.join(folder, "2", "short.dcm")
    with pytest.raises(fastdcm.DicomError, match=r"frames\[2\] is missing"):
        list(
            read_images(
                [short], [], ["path", "error", "error_offset", "error_detail"], on_error="raise"
            )
        )


def test_large_images_come_apart(tmp_path):
    path = tmp_path / "large.dcm"
    path.write_bytes(slice_of(0, np.zeros((40, 512, 512), "<i2"), frames=40))
    lengths = [len(images) for _, images in read_images([str(path)], [], ["path"])]
    assert lengths == [16, 16, 8]
    assert image_bytes([str(path)]) == 40 << 20


# -------------------------------------------------------------------- ray ---


@pytest.fixture(scope="module")
def ray():
    guest("ray", "ray.data")
    with two_workers() as ray:
        yield ray


@pytest.fixture(scope="module")
def read_dicom(ray):
    from fastdcm.distributed.ray import read_dicom

    return read_dicom


def arrow(ray, dataset):
    return by_path(pyarrow.concat_tables(ray.get(dataset.to_arrow_refs())))


def test_ray_gives_the_table_of_the_scan(archive, ray, read_dicom):
    folder, _ = archive
    dataset = read_dicom(folder, TAGS, pixels=True, override_num_blocks=5)
    there = arrow(ray, dataset)
    here = by_path(fastdcm.scan(folder, TAGS, pixels=True).read_all())
    assert there.schema == here.schema and there.equals(here)
    assert dataset.schema().names == here.column_names
    assert here.column("error").null_count == len(here) - 4


def test_ray_takes_what_a_scan_takes(archive, ray, read_dicom, tmp_path):
    folder, good = archive
    wanted = by_path(fastdcm.scan(f"{folder}/[01]").read_all())
    table = tmp_path / "table.parquet"
    fastdcm.scan(f"{folder}/[01]").write(table)
    for source in (f"{folder}/[01]", wanted.column("path").to_pylist(), table):
        assert arrow(ray, read_dicom(source)).equals(wanted)
    assert read_dicom(folder, [0x00100020], on_error="skip").count() == 105
    empty = tmp_path / "empty"
    empty.mkdir()
    for nothing in (
        read_dicom(empty),
        read_dicom([os.path.join(folder, "2", "none.dcm")], on_error="skip"),
    ):
        assert nothing.count() == 0 and nothing.schema().names == wanted.column_names
    with pytest.raises(ValueError, match="did you mean PatientID"):
        read_dicom(folder, ["PatientId"])
    with pytest.raises(ValueError, match="on_error"):
        read_dicom(folder, on_error="never")
    with pytest.raises(FileNotFoundError):
        read_dicom(os.path.join(folder, "nowhere"))
    with pytest.raises(fastdcm.DicomError, match="neither a DICOM file"):
        read_dicom([os.path.join(folder, "2", "none.dcm")], on_error="raise").count()


def test_ray_shares_out_bytes(archive, ray, tmp_path):
    from fastdcm.distributed.ray import DicomDatasource

    folder, _ = archive
    source = DicomDatasource(folder, TAGS)
    tasks = source.get_read_tasks(4)
    assert source.get_name() == "DICOM" and len(tasks) == 4
    told = sum(task.metadata.size_bytes for task in tasks)
    true = fastdcm.scan(folder, TAGS).read_all().nbytes
    assert abs(source.estimate_inmemory_data_size() - told) <= 4
    assert true / 3 < told < true * 3
    assert len(source.get_read_tasks(1000)) == 109
    for i in range(30):  # one large file, and many small ones
        (tmp_path / f"{i:02d}.dcm").write_bytes(slice_of(i, np.zeros((64, 64), "<i2")))
    (tmp_path / "large.dcm").write_bytes(slice_of(0, np.zeros((30, 64, 64), "<i2"), frames=30))
    source = DicomDatasource(tmp_path, images=True)
    first, second = source.get_read_tasks(2)
    assert [sum(len(block) for block in task()) for task in (first, second)] == [30, 30]
    assert 0.8 < source.estimate_inmemory_data_size() / (60 * 64 * 64 * 4) < 1.2


def test_ray_gives_images(archive, ray, read_dicom):
    folder, _ = archive
    dataset = read_dicom(folder, TAGS, pixels="frames", images=True, override_num_blocks=3)
    columns = fastdcm.scan([], TAGS, pixels="frames").column_names
    assert dataset.schema().names == [*columns, "frame", "image"]
    rows = dataset.take_all()
    check_images(archive, {(row["path"], row["frame"]): (row, row["image"]) for row in rows})
    private = {row["InstanceNumber"]: row["(0009,xx01,ACME)"] for row in rows}
    assert private[42] == "private 42"


def test_ray_gives_batches_for_training(archive, read_dicom):
    folder, good = archive
    torch = guest("torch")
    dataset = read_dicom(
        f"{folder}/0/0[0-4]*.dcm", ["InstanceNumber"], images=True, on_error="skip"
    )
    seen = []
    for batch in dataset.select_columns(["image", "InstanceNumber"]).iter_torch_batches(
        batch_size=8
    ):
        assert batch["image"].shape[1:] == (1, 8, 6) and batch["image"].dtype == torch.float32
        for number, image in zip(batch["InstanceNumber"].tolist(), batch["image"]):
            np.testing.assert_array_equal(image, good[f"{folder}/0/{number:03d}.dcm"])
            seen.append(number)
    assert sorted(seen) == list(range(0, 50, 3))


@pytest.mark.slow
def test_ray_reads_twenty_thousand_files(ray, read_dicom, tmp_path, capsys):
    import data

    folder = data.links(data.ct(tmp_path, 50), 20_000, tmp_path)
    begin = time.perf_counter()
    here = fastdcm.scan(folder).read_all()
    local = time.perf_counter() - begin
    read_dicom(os.path.join(folder, "0000")).count()  # starts the workers
    begin = time.perf_counter()
    there = arrow(ray, read_dicom(folder))
    spread = time.perf_counter() - begin
    assert len(there) == 20_000 and there.equals(by_path(here))
    with capsys.disabled():
        print(
            f"\n20,000 files: local {local / 20_000 * 1e6:.1f} us a file, "
            f"two workers of Ray {spread / 20_000 * 1e6:.1f}"
        )


# ------------------------------------------------------------------- dask ---


@pytest.fixture(scope="module")
def dask_read():
    guest("dask", "dask.dataframe")
    from fastdcm.distributed.dask import read_dicom

    return read_dicom


def test_dask_gives_the_table_of_the_scan(archive, dask_read):
    folder, _ = archive
    frame = dask_read(folder, TAGS, pixels=True, npartitions=4)
    here = fastdcm.scan(folder, TAGS, pixels=True).read_all()
    assert frame.npartitions == 4
    done = frame.compute(scheduler="threads", num_workers=2)
    there = pyarrow.Table.from_pandas(done, preserve_index=False)
    assert there.schema.names == here.schema.names and there.schema.types == here.schema.types
    assert there.to_pydict() == here.to_pydict()
    assert (frame.dtypes == done.dtypes).all()


def test_dask_takes_what_a_scan_takes(archive, dask_read, tmp_path):
    folder, _ = archive
    assert dask_read(folder).npartitions == 1
    assert len(dask_read(folder, on_error="skip")) == 105
    counted = dask_read(folder, ["Modality"]).groupby("Modality").size().compute()
    assert counted.to_dict() == {"CT": 102, "SR": 1}
    assert len(dask_read([]).compute()) == 0
    with pytest.raises(ValueError, match="did you mean"):
        dask_read(folder, ["PatientId"])
    with pytest.raises(FileNotFoundError):
        dask_read(os.path.join(folder, "nowhere"))


@pytest.mark.parametrize("name", ["ray", "dask"])
def test_a_missing_guest_is_named(name, monkeypatch):
    monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.delitem(sys.modules, f"fastdcm.distributed.{name}", raising=False)
    with pytest.raises(ImportError, match=rf"fastdcm-dicom\[{name}\]"):
        __import__(f"fastdcm.distributed.{name}")
