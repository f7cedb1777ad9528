"""Every source and stream provides what the protocols state."""

import inspect

import pytest

from fastdcm.distributed.partitions import Partition
from fastdcm.scanning.open_source import IndexedPaths, open_source
from fastdcm.scanning.scanner import scan
from fastdcm.sources import protocols
from fastdcm.sources.archives.limits import UnreadableMember
from fastdcm.sources.archives.lookup import find_member
from fastdcm.sources.objects.source import ObjectSource
from fastdcm.sources.path_tables import PathTable
from fastdcm.sources.paths import CombinedSource, Folder, PathList
from fastdcm.sources.protocols import Source, Stream
from fastdcm.sources.streams import SeekableStream
from support.archives import make
from support.builder import part10

DATA = part10(b"")


@pytest.fixture
def sources(tmp_path):
    """One source of each class, each of one file."""
    folder = tmp_path / "folder"
    folder.mkdir()
    file = folder / "a.dcm"
    file.write_bytes(DATA)
    scan(folder, []).write(f"{tmp_path}/index/")
    scan(folder, []).write(tmp_path / "table.csv")
    return [
        Folder(folder),
        PathList([file]),
        PathTable(f"{tmp_path}/table.csv"),
        IndexedPaths(f"{tmp_path}/index/"),
        CombinedSource([PathList([file])]),
        Partition([str(file).encode()], None),
        ObjectSource("memory://bucket/a.dcm"),
    ]


def test_every_source_has_every_attribute(sources):
    for source in sources:
        assert isinstance(source, Source), type(source)
        assert source.requested is None
        assert source.supports_update is isinstance(source, Folder)
        assert open_source(source) is source


def test_readers_end_with_none(sources, tmp_path):
    for source in sources:
        if isinstance(source, (Partition, ObjectSource)):
            continue
        reader = source.start()
        chunk = reader.read_chunk(10)
        assert chunk.paths() == [str(tmp_path / "folder" / "a.dcm").encode()]
        assert reader.read_chunk(10) is None


def test_requested_paths(tmp_path):
    (tmp_path / "a.dcm").write_bytes(DATA)
    folder = open_source(tmp_path)
    assert folder.requested == [{"path": str(tmp_path), "recursive": True}]
    file = open_source(f"{tmp_path}/a.dcm", recursive=False)
    assert file.requested == [{"path": f"{tmp_path}/a.dcm", "recursive": False}]
    assert open_source([tmp_path / "a.dcm"]).requested is None
    assert CombinedSource([folder, file]).requested == [*folder.requested, *file.requested]
    assert CombinedSource([folder, PathList([])]).requested is None
    assert folder.requested == [{"path": str(tmp_path), "recursive": True}]


@pytest.mark.parametrize("source", [7, None, object()])
def test_other_types_are_refused(source):
    with pytest.raises(TypeError, match=f"source must be .*, not {type(source).__name__}"):
        open_source(source)


def test_streams_have_every_attribute(tmp_path):
    names = {name for name, _ in inspect.getmembers(Stream) if not name.startswith("_")}
    assert names == {"path", "size", "mtime_ns", "open", "read"}
    for archive in ("deflated.ZIP", "packed.tar.gz"):
        path = make(tmp_path / archive, {"x": DATA})
        _, stream = find_member(f"{path}!/x".encode())
        assert all(hasattr(stream, name) for name in names)
    failed = UnreadableMember(b"x", None, None, ValueError())
    assert all(hasattr(failed, name) for name in names)


def test_file_object_of_a_stream(tmp_path):
    path = make(tmp_path / "deflated.ZIP", {"x": bytes(range(200))})
    _, stream = find_member(f"{path}!/x".encode())
    file = SeekableStream(stream)
    assert file.name == f"{path}!/x" and SeekableStream(stream, "other").name == "other"
    assert (file.read(2), file.tell(), file.read(0)) == (b"\0\1", 2, b"")
    assert (
        file.seek(-5, 2) == 195 and file.read(99) == bytes(range(195, 200)) and file.read() == b""
    )
    assert file.seek(10) == 10 and file.seek(5, 1) == 15 and file.read(1) == b"\x0f"
    assert file.pread(3, 7) == b"\7\x08\x09" and file.tell() == 16
    with pytest.raises(ValueError, match="open it first"):
        SeekableStream(UnreadableMember(b"x", None, None, ValueError()))


def test_protocols_are_documented():
    for name, value in vars(protocols).items():
        if inspect.isclass(value) and value.__module__ == protocols.__name__:
            assert value.__doc__, name
