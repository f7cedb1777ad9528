"""The tables, and other sources, that loaders accept; and the labels they give."""

import copy
import functools
import http.server
import threading

import numpy as np
import pyarrow
import pyarrow.feather
import pyarrow.parquet
import pytest

import fastdcm
import fastdcm.ml
from fastdcm.ml import COLUMNS, Samples
from support.loader_files import table
from support.optional_packages import require_package
from support.series import NO_GEOMETRY, encode_image, frames_of, functional_groups, plane_position

torch = require_package("torch", "torch.utils.data")

DicomDataset = fastdcm.ml.DicomDataset
DicomIterableDataset = fastdcm.ml.DicomIterableDataset

LABELS = ["PatientID", "path", "Rows", "PhotometricInterpretation", "RescaleSlope"]


@pytest.fixture
def scanned(series):
    return pyarrow.table(table(series[0], "PatientID"))


def other_types(scanned):
    """Return the table with other Arrow types of the same values."""

    def convert(field):
        kind = field.type
        if pyarrow.types.is_string(kind):
            return pyarrow.string_view()
        if pyarrow.types.is_list(kind):
            return pyarrow.large_list(kind.value_type)
        return kind

    return scanned.cast(pyarrow.schema([(f.name, convert(f)) for f in scanned.schema]))


def written(kind):
    def write(scanned, path):
        target = str(path / f"table.{kind}")
        if kind == "parquet":
            pyarrow.parquet.write_table(scanned, target)
        elif kind == "feather":
            pyarrow.feather.write_feather(scanned, target)
        elif kind == "stream.arrow":
            with pyarrow.ipc.new_stream(target, scanned.schema) as writer:
                writer.write_table(scanned)
        else:
            with pyarrow.ipc.new_file(target, scanned.schema) as writer:
                writer.write_table(scanned)
        return target

    return write


SOURCES = {
    "table": lambda scanned, path: scanned,
    "chunked": lambda scanned, path: pyarrow.concat_tables([scanned[:7], scanned[7:]]),
    "reader": lambda scanned, path: scanned.to_reader(),
    "batch": lambda scanned, path: scanned.combine_chunks().to_batches()[0],
    "views": lambda scanned, path: other_types(scanned),
    "dictionary": lambda scanned, path: scanned.set_column(
        scanned.schema.get_field_index("PatientID"),
        "PatientID",
        scanned["PatientID"].dictionary_encode(),
    ),
    "pandas": lambda scanned, path: scanned.to_pandas(),
    "polars": lambda scanned, path: require_package("polars").from_arrow(scanned),
    "lazy polars": lambda scanned, path: require_package("polars").from_arrow(scanned).lazy(),
    "duckdb": lambda scanned, path: require_package("duckdb").sql("select * from scanned"),
    "dataset": lambda scanned, path: __import__("pyarrow.dataset").dataset.dataset(scanned),
    **{kind: written(kind) for kind in ("parquet", "arrow", "feather", "stream.arrow")},
}


@pytest.mark.parametrize("kind", SOURCES)
def test_every_table(scanned, series, tmp_path, kind):
    source = SOURCES[kind](scanned, tmp_path)
    data = DicomDataset(source, labels=LABELS)
    assert len(data) == 20
    batch = data.read(range(20))
    assert np.array_equal(batch["image"][:, 0].numpy(), series[1])
    assert batch["PatientID"] == [f"P{i % 3}" for i in range(20)]
    assert batch["path"] == list(series[0]) and batch["Rows"].tolist() == [16] * 20
    assert batch["PhotometricInterpretation"] == ["MONOCHROME2"] * 20
    assert batch["RescaleSlope"].tolist() == [2.0] * 20 and batch["frame"].tolist() == [0] * 20


def test_columns_without_values(scanned):
    """A column of nulls has no type of its own, as some libraries write it."""
    empty = pyarrow.nulls(len(scanned))
    for name in ("WindowCenter", "VOILUTFunction", "issues", "DoseGridScaling"):
        scanned = scanned.set_column(scanned.schema.get_field_index(name), name, empty)
    scanned = scanned.append_column("nothing", empty)
    data = DicomDataset(scanned, labels=["nothing"])
    assert data[3]["nothing"] is None and data[3]["image"].shape == (1, 16, 12)


def test_a_column_of_another_type_is_named(scanned):
    place = scanned.schema.get_field_index("Rows")
    bad = scanned.set_column(place, "Rows", pyarrow.array(["x"] * len(scanned)))
    with pytest.raises(ValueError, match="the column Rows must have the type"):
        DicomDataset(bad)


def test_no_samples(scanned, tmp_path):
    (tmp_path / "a.dcm").write_bytes(b"this is not a DICOM file, whatever its name says")
    with pytest.raises(ValueError, match="no samples: left out are 1 not-dicom"):
        DicomDataset([str(tmp_path / "a.dcm")])
    with pytest.raises(ValueError, match="the source is empty"):
        DicomDataset(scanned[:0])
    assert len(Samples(scanned[:0])) == 0


# ------------------------------------------------------------------------ labels ---

POSITION = "PerFrameFunctionalGroupsSequence[*].PlanePositionSequence.ImagePositionPatient"


def test_labels_of_frames(put, series):
    """A sample has the value of its own frame, and the number of the frame."""
    path = put(
        encode_image(
            frames_of(4),
            functional_groups([plane_position([0, 0, 2.5 * z]) for z in range(4)]),
            frames=4,
            **NO_GEOMETRY,
        )
    )
    data = DicomDataset([series[0][0], path], labels=[POSITION, "path"], size=(4, 6))
    batch = data.read([0, 1, 4, 2])
    assert batch["frame"].tolist() == [0, 0, 3, 1]
    assert batch[POSITION] == [None, [0, 0, 0], [0, 0, 7.5], [0, 0, 2.5]]
    assert batch["path"] == [series[0][0], path, path, path]
    assert data[3]["frame"] == 2 and data[3][POSITION] == [0, 0, 5]


def test_a_reserved_name(series):
    for name in ("image", "index", "frame", "errors"):
        with pytest.raises(ValueError, match="a batch uses it"):
            DicomDataset(series[0], labels=[name])


# ------------------------------------------------------------------------ resume ---


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("workers", [0, 1, 2, 3])
@pytest.mark.parametrize("start", [0, 1, 3, 6, 7])
def test_continue_in_the_middle_of_an_epoch(series, shuffle, workers, start):
    def loader(dataset):
        return torch.utils.data.DataLoader(dataset, batch_size=None, num_workers=workers)

    dataset = DicomIterableDataset(series[0], 3, shuffle=shuffle, seed=5)
    dataset.set_epoch(2)
    complete = [batch["index"].tolist() for batch in loader(dataset)]
    assert len(complete) == 7
    again = DicomIterableDataset(series[0], 3, shuffle=shuffle, seed=5)
    again.set_epoch(2, start=start)
    assert [batch["index"].tolist() for batch in loader(again)] == complete[start:]
    again.set_epoch(3)
    assert len(list(loader(again))) == 7


def test_state_of_an_iteration(series):
    dataset = DicomIterableDataset(series[0], 4, shuffle=True)
    dataset.set_epoch(1)
    complete = [batch["index"].tolist() for batch in dataset]
    iteration = iter(dataset)
    for _ in range(2):
        next(iteration)
    state = dataset.state_dict()
    assert state == {"epoch": 1, "start": 2}
    again = DicomIterableDataset(series[0], 4, shuffle=True)
    again.load_state_dict(state)
    assert again.state_dict() == state
    assert [batch["index"].tolist() for batch in again] == complete[2:]
    again.set_epoch(2)
    assert len(list(again)) == 5
    with pytest.raises(ValueError, match="start must be at least 0"):
        again.set_epoch(0, start=-1)


@pytest.mark.parametrize("workers", [2, 3])
@pytest.mark.parametrize("returned", [1, 2, 3, 4])
def test_states_of_workers(series, workers, returned):
    """Each process continues after its own batches, as a loader that keeps states needs it."""

    def of_worker(dataset, number):
        worker = type("Worker", (), {"id": number, "num_workers": workers})
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("fastdcm.ml.iterable.get_worker_info", lambda: worker)
            yield from dataset

    complete = [
        batch["index"].tolist() for batch in DicomIterableDataset(series[0], 3, shuffle=True)
    ]
    first = DicomIterableDataset(series[0], 3, shuffle=True)
    second = DicomIterableDataset(series[0], 3, shuffle=True)
    seen = []
    for number in range(workers):
        mine = len(range(number, returned, workers))  # batches of this worker so far
        dataset = copy.copy(first)
        batches = of_worker(dataset, number)
        seen += [next(batches)["index"].tolist() for _ in range(mine)]
        state = dataset.state_dict()
        again = copy.copy(second)
        again.load_state_dict(state)
        seen += [batch["index"].tolist() for batch in of_worker(again, number)]
    assert sorted(seen) == sorted(complete)


# ------------------------------------------------------------- batches of indices ---


def test_a_batch_sampler_as_the_sampler(series):
    data = DicomDataset(series[0])
    sampler = torch.utils.data.BatchSampler(range(20), 8, False)
    loader = torch.utils.data.DataLoader(data, sampler=sampler, batch_size=None)
    batches = list(loader)
    assert [len(batch["index"]) for batch in batches] == [8, 8, 4]
    assert np.array_equal(torch.cat([b["image"] for b in batches])[:, 0].numpy(), series[1])


# ----------------------------------------------------------------------- sources ---


def test_urls_and_members(series, tmp_path):
    """Whatever a scan reads."""
    import zipfile

    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for i in (0, 1):
            archive.write(series[0][i], f"{i}.dcm")
    folder = series[0][0].rpartition("/")[0]
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=folder)
    handler.func.log_message = lambda *_: None
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/" + series[0][2].rpartition("/")[2]
        data = DicomDataset([str(tmp_path / "a.zip"), url], labels=["path"])
        batch = data.read([0, 1, 2])
        server.shutdown()
    assert np.array_equal(batch["image"][:, 0].numpy(), series[1][:3])
    assert batch["path"][2] == url and "!/" in batch["path"][0]


def test_columns_of_a_scan():
    assert set(COLUMNS) <= set(pyarrow.schema(fastdcm.scan((), COLUMNS)).names)
