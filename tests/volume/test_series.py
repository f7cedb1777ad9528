"""Reading every series of a source."""

import zipfile

import pytest

import fastdcm
from fastdcm.volume import Volume, VolumeError
from support.builder import JPEG_BASELINE, fragments, part10
from support.http_server import Served
from support.series import cells, codes, encode_image, frames_of


def image(number, z, **values):
    return encode_image(cells(number), position=[0, 0, z], number=number, **values)


@pytest.fixture
def study(put, tmp_path):
    """A folder with three series, of which the second has a gap."""
    for number in range(3):
        put(image(number, number, series="1.2.1"))
    for number, z in enumerate((0, 1, 3, 4)):
        put(image(number, z, series="1.2.2"))
    for number in range(4):
        put(image(number, number // 2, series="1.2.3", time=1 + number % 2))
    put(encode_image(None, rows=None, columns=None, modality="SR", series="1.2.4"))
    return tmp_path


def test_one_volume_for_each_series(study):
    found = list(fastdcm.read_volumes(study, dims="auto"))
    assert [one.series_instance_uid for one in found] == ["1.2.1", "1.2.2", "1.2.3"]
    assert [type(one) for one in found] == [Volume, VolumeError, Volume]
    assert [one.dims for one in found if isinstance(one, Volume)] == [
        ("z", "y", "x"),
        ("t", "z", "y", "x"),
    ]
    assert codes(found[1].findings) == ["gap"]
    assert (found[0].array == frames_of(3)).all()


def test_split(study):
    found = list(fastdcm.read_volumes(study, on_problem="split"))
    assert [(one.series_instance_uid, len(one.array)) for one in found] == [
        ("1.2.1", 3),
        ("1.2.2", 2),
        ("1.2.2", 2),
        ("1.2.3", 2),
        ("1.2.3", 2),
    ]


def test_damaged_files_are_reported_at_the_end(study):
    damaged = study / "damaged.dcm"
    damaged.write_bytes(part10(image(0, 0))[:-60])
    *volumes, last = fastdcm.read_volumes(study)
    assert len(volumes) == 3
    assert isinstance(last, VolumeError) and last.series_instance_uid is None
    assert {"unreadable", "missing-pixels"} & {*codes(last.findings)}


def test_pixels_that_cannot_be_decoded(put):
    pixels = fragments([b"\xff\xd8 no JPEG at all"])
    attributes = encode_image(None, {0x7FE00010: pixels}, position=[0, 0, 0])
    bad = put(attributes, transfer_syntax=JPEG_BASELINE)
    good = put(image(1, 0, series="1.2.7"))
    error, volume = fastdcm.read_volumes([bad, good])
    assert isinstance(error, VolumeError) and error.series_instance_uid == "1.2.9"
    assert isinstance(volume, Volume)


def test_a_source_without_images(tmp_path, put):
    (tmp_path / "notes.txt").write_text("not DICOM at all, but beside it")
    (error,) = fastdcm.read_volumes(tmp_path)
    assert isinstance(error, VolumeError) and codes(error.findings) == ["not-dicom"]


def test_arguments_are_checked_at_once(tmp_path):
    with pytest.raises(ValueError, match="on_problem must be"):
        fastdcm.read_volumes(tmp_path, on_problem="ignore")
    with pytest.raises(FileNotFoundError):
        fastdcm.read_volumes(tmp_path / "nothing")


def test_pixels_are_read_when_a_volume_is_requested(study):
    volumes = fastdcm.read_volumes(study)
    assert isinstance(next(volumes), Volume)
    for path in study.iterdir():
        path.unlink()
    assert all(isinstance(one, VolumeError) for one in volumes)


@pytest.mark.parametrize(
    "source", ["folder", "glob", "list", "zip", "url", "table", "index", "datasets"]
)
@pytest.mark.parametrize("many", [False, True])
def test_sources(put, tmp_path, source, many):
    """What `scan` reads, volumes read: native pixels, too."""
    contents = {f"{i}.dcm": part10(image(i, i)) for i in range(3)}
    folder = tmp_path / "series"
    folder.mkdir()
    paths = []
    for name, content in contents.items():
        (folder / name).write_bytes(content)
        paths.append(str(folder / name))
    with Served({f"/{name}": content for name, content in contents.items()}) as server:
        if source == "folder":
            given = folder
        elif source == "glob":
            given = str(folder / "*.dcm")
        elif source == "list":
            given = paths
        elif source == "zip":
            given = tmp_path / "series.zip"
            with zipfile.ZipFile(given, "w") as archive:
                for name, content in contents.items():
                    archive.writestr(name, content)
        elif source == "url":
            given = [f"{server.url}/{name}" for name in contents]
        elif source == "table":
            parquet = pytest.importorskip("pyarrow.parquet")
            pyarrow = pytest.importorskip("pyarrow")
            given = tmp_path / "series.parquet"
            parquet.write_table(pyarrow.table({"path": paths}), given)
        elif source == "index":
            pytest.importorskip("pyarrow")
            given = tmp_path / "index"
            fastdcm.scan(str(folder)).write(f"{given}/")
        else:
            given = [fastdcm.dcmread(path) for path in paths]
        if many:
            (volume,) = fastdcm.read_volumes(given)
        else:
            volume = fastdcm.read_volume(given)
        assert (volume.array == frames_of(3)).all() and volume.findings == []
