"""Objects behind HTTP: rows, requests, failures, data sets."""

import errno
import multiprocessing
import os
import pickle
import socket
import struct
import threading

import pytest

import fastdcm
from fastdcm import DicomError, dcmread, scan, scan_chunk
from fastdcm.core._file import File
from fastdcm.errors import FileAccessError, FileChangedError, MissingFileError
from fastdcm.pixels._frame_table import FrameTable
from fastdcm.sources.objects import _object, stores
from fastdcm.sources.objects._object import Object, prefetch
from fastdcm.sources.objects.source import ObjectReader, open_url
from support import builder
from support.builder import (
    DEFLATED_LE,
    deflate,
    element,
    file_meta,
    fragments,
    part10,
    preamble,
)
from support.http_server import Served

NAME = element(0x00100010, "PN", "Doe^Jane")
LONG = element(0x00204000, "LT", "x" * 9000) + element(0x00281101, "OW", bytes(300_000))
IMAGE = b"".join(
    element(tag, "US", value)
    for tag, value in (
        (0x00280002, 1),
        (0x00280010, 512),
        (0x00280011, 512),
        (0x00280100, 16),
        (0x00280101, 16),
        (0x00280102, 15),
        (0x00280103, 0),
    )
)
PIXELS = os.urandom(512 * 512 * 2)
CT = part10(
    NAME + element(0x00104000, "LT", "c" * 3000) + IMAGE + element(0x7FE00010, "OW", PIXELS)
)
CODED = [b"\xff\xd8" + bytes([i]) * 40_000 for i in range(9)]
TABLE = struct.pack("<9I", *(i * (8 + len(CODED[0])) for i in range(9)))
FILES = {
    "/ct.dcm": CT,
    "/long.dcm": part10(NAME + LONG + element(0x00400280, "ST", "last")),
    "/fragments.dcm": part10(
        NAME + element(0x00280008, "IS", 9) + fragments(CODED, table=TABLE),
        transfer_syntax=builder.JPEG_BASELINE,
    ),
    "/deflated.dcm": preamble() + file_meta(DEFLATED_LE) + deflate(NAME + LONG),
    "/empty": b"",
    "/text": b"no DICOM at all",
    "/truncated.dcm": part10(NAME + LONG)[:9000],
}
TAGS = ["PatientName", "PatientComments", "CommentsOnThePerformedProcedureStep"]


@pytest.fixture(autouse=True)
def short_backoff(monkeypatch):
    """Retry failed requests immediately, and only twice."""
    for name, value in {
        "_MAX_RETRIES": 2,
        "_BACKOFF_SECONDS": 0.001,
        "_MAX_BACKOFF_SECONDS": 0.01,
    }.items():
        monkeypatch.setattr(stores, name, value)
    stores._stores.clear()
    yield
    stores._stores.clear()


@pytest.fixture
def server():
    with Served(FILES) as served:
        yield served


def rows_of(source, tags=TAGS, **options):
    rows = []
    for batch in scan(source, tags, **options):
        columns = batch.to_pydict()
        rows += [dict(zip(columns, values)) for values in zip(*columns.values())]
    return rows


def row_of(server, name="/ct.dcm", **options):
    (row,) = rows_of([server.url + name], **options)
    return row


@pytest.mark.parametrize("pixels", [False, "frames"])
@pytest.mark.parametrize("threads", [None, 1, 3])
def test_rows_are_those_of_the_files(server, tmp_path, threads, pixels):
    paths, urls = [], []
    for name, data in FILES.items():
        (tmp_path / name[1:]).write_bytes(data)
        paths.append(tmp_path / name[1:])
        urls.append(server.url + name)
    found = rows_of(urls, threads=threads, pixels=pixels)
    for row, one, url in zip(found, rows_of(paths, pixels=pixels), urls, strict=True):
        assert row.pop("path") == url and row.pop("mtime_ns") == 1_750_000_000 * 10**9
        one.pop("path"), one.pop("mtime_ns")
        assert row == one


def test_a_file_is_one_request_of_its_header(server):
    server.files = {f"/{i:04d}": CT for i in range(300)}
    urls = [server.url + name for name in server.files]
    made = scan(urls, TAGS)
    assert sum(len(batch) for batch in made) == 300
    assert {request[0] for request in server.requests} == {"GET"}
    assert len(server.requests) == 300 and server.sent == made.stats["bytes_read"] == 300 * 8192
    assert made.stats["threads"] in (32, 64) and server.connections < 128


def test_a_slow_server_gets_more_threads(server):
    server.wait = 0.03
    server.files = {f"/{i:04d}": CT for i in range(600)}
    urls = [server.url + name for name in server.files]
    for threads, most in ((None, 64), (5, 5)):
        made = scan(urls[: 600 if threads is None else 20], TAGS, threads=threads)
        assert sum(len(batch) for batch in made) == made.stats["files"]
        assert made.stats["threads"] == most


@pytest.mark.parametrize("wait, threads", [(0.0, 4), (0.07, None)])
def test_chunks_are_small_for_a_slow_server(server, wait, threads, monkeypatch):
    """With a slow server no thread holds objects that others could request."""
    server.wait = wait
    server.files = {f"/{i:04d}": CT for i in range(1000)}
    sizes, read_chunk = [], ObjectReader.read_chunk

    def noted(reader, count):
        chunk = read_chunk(reader, count)
        sizes.append(len(chunk) if chunk is not None else 0)
        return chunk

    monkeypatch.setattr(ObjectReader, "read_chunk", noted)
    urls = [server.url + name for name in server.files]
    assert len(scan(urls, TAGS, threads=threads).read_all()) == 1000
    assert max(sizes) == 1 if wait else max(sizes) > 1


def test_size_of_the_first_request_follows_the_headers_seen(server):
    server.files = {
        f"/{i:03d}": part10(
            NAME + element(0x00204000, "LT", "x" * 9000) + IMAGE + element(0x7FE00010, "OW", PIXELS)
        )
        for i in range(100)
    }
    urls = [server.url + name for name in server.files]
    assert all(row["PatientName"] == "Doe^Jane" for row in rows_of(urls, threads=2))
    assert len(server.requests) <= 130 and server.sent <= 100 * 20_000


def test_an_element_after_a_large_value_is_one_more_request(server):
    assert row_of(server, "/long.dcm")["CommentsOnThePerformedProcedureStep"] == "last"
    assert len(server.requests) <= 4 and server.sent < 120_000


def test_urls_and_paths_mixed_keep_their_order(server, tmp_path):
    local = tmp_path / "a.dcm"
    local.write_bytes(CT)
    paths = [
        local,
        server.url + "/ct.dcm",
        server.url + "/none",
        str(local),
        os.fsencode(local),
        (server.url + "/text").encode(),
        *[server.url + "/ct.dcm"] * 9,
        tmp_path / "none",
        local,
    ]
    expected = [None, None, "open", None, None, "not-dicom", *[None] * 9, "open", None]
    rows = rows_of(iter(paths))
    assert [row["error"] for row in rows] == expected
    assert [row["path"] for row in rows] == [os.fsdecode(path) for path in paths]
    batch = scan_chunk(paths, TAGS)
    assert batch.column("error") == expected and batch.column("path") == [
        row["path"] for row in rows
    ]
    assert len(scan_chunk([], TAGS)) == 0


@pytest.mark.parametrize("threads", [1, None])
def test_long_runs_of_urls_and_paths_keep_their_order(server, tmp_path, threads):
    (tmp_path / "a.dcm").write_bytes(CT)
    paths = [
        where
        for length in (1, 300, 2, 700, 40, 40, 3)
        for where in [server.url + "/ct.dcm"] * length + [str(tmp_path / "a.dcm")] * length
    ]
    batches = list(scan(iter(paths), TAGS, threads=threads, batch_size=100))
    assert [path for batch in batches for path in batch.column("path")] == paths
    assert [len(batch) for batch in batches] == [100] * 21 + [72]


def test_the_table_of_a_scan_is_a_source(server, tmp_path):
    table = str(tmp_path / "rows.csv")
    scan([server.url + "/ct.dcm", server.url + "/text"], TAGS).write(table)
    assert [row["error"] for row in rows_of(table)] == [None, "not-dicom"]
    assert [row["PatientName"] for row in rows_of(server.url + "/ct.dcm")] == ["Doe^Jane"]


@pytest.mark.parametrize(
    "target",
    [
        "/a%20b.dcm",
        "/%C3%A9.dcm",
        "/%E9.dcm",
        "/a%2Fb.dcm",
        "/a//b.dcm",
        "/p%25q.dcm",
        "/a/",
        "/x+y~(1).dcm",
        "/.hidden/x",
        "/ct.dcm?X-Amz-Signature=a%2Fb&x=1",
        "/%3F.dcm",
    ],
)
def test_urls_are_requested_as_they_are_written(server, target):
    server.files[target.partition("?")[0]] = CT
    assert row_of(server, target)["PatientName"] == "Doe^Jane"
    assert [request[1] for request in server.requests] == [target]
    assert row_of(server, target + "#part")["error"] is None


def test_urls_that_need_percent_encoding(server):
    server.files["/a%20b%C3%A9.dcm"] = CT
    assert row_of(server, "/a bé.dcm")["PatientName"] == "Doe^Jane"


def test_an_empty_file_is_an_error_row(server):
    row = row_of(server, "/empty")
    assert (row["error"], row["size"], row["mtime_ns"]) == ("empty", 0, 1_750_000_000 * 10**9)


@pytest.mark.parametrize(
    "faults", [[503, 503], [429], [500, 503], ["reset", 503], ["drop"], ["drop", "drop"], ["stall"]]
)
@pytest.mark.parametrize("etags", [True, False])
def test_temporary_failures_are_retried(server, faults, etags, monkeypatch):
    if "stall" in faults:
        monkeypatch.setattr(stores, "_READ_SECONDS", 0.3)
    server.etags = etags
    server.faults["/ct.dcm"] = list(faults)
    row = row_of(server)
    assert (row["error"], row["PatientName"]) == (None, "Doe^Jane")
    assert len(server.requests) == len(faults) + 1


@pytest.mark.parametrize(
    ("fault", "error", "detail"),
    [
        (503, "stream", "503 Service Unavailable (ToldBy), after 2 retries"),
        (429, "stream", "429 Too Many Requests (ToldBy), after 2 retries"),
        (400, "stream", "400 Bad Request (ToldBy)"),
        (404, "open", "404 Not Found (ToldBy)"),
        (401, "open", "401 Unauthorized (ToldBy)"),
        (403, "open", "403 Forbidden (ToldBy)"),
        ("reset", "stream", "HTTP error: error sending request; "),
        ("drop", "stream", "HTTP error: request or response body error; "),
        ("stall", "stream", "HTTP error: request or response body error; TimedOut"),
        ("short", "stream", "the server sent 8191 of 8192 bytes"),
    ],
)
@pytest.mark.parametrize("etags", [True, False])
def test_permanent_failures_are_error_rows(server, fault, error, detail, etags, monkeypatch):
    if fault == "stall":
        monkeypatch.setattr(stores, "_READ_SECONDS", 0.3)
    server.always, server.etags = fault, etags
    url = server.url + "/ct.dcm?signature=secret"
    (row,) = rows_of([url])
    assert row["error"] == error and row["error_detail"].startswith(detail)
    assert "\n" not in row["error_detail"] and len(row["error_detail"]) < 100
    assert row["path"] == url and len(server.requests) <= 9
    for read in (lambda: dcmread(url), lambda: list(scan([url], on_error="raise"))):
        with pytest.raises(DicomError) as caught:
            read()
        assert caught.value.code == error
        assert "secret" not in str(caught.value) and server.url in str(caught.value)
        assert isinstance(caught.value, FileAccessError) == (error == "open")


def test_a_missing_object_is_a_missing_file(server):
    with pytest.raises(MissingFileError):
        dcmread(server.url + "/none")


def test_a_server_that_does_not_exist():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    (row,) = rows_of([f"http://127.0.0.1:{port}/x"])
    assert (row["error"], row["error_detail"]) == (
        "stream",
        'HTTP error: error sending request; "Connection refused", after 2 retries',
    )


def test_an_invalid_url():
    (row,) = rows_of(["http://[/x"])
    assert row["error"] == "stream" and row["error_detail"]


@pytest.mark.parametrize("fault", ["whole", "long"])
def test_a_server_that_sends_too_much_is_not_read_to_the_end(server, fault):
    server.files["/ct.dcm"] = CT[: -len(PIXELS)] + bytes(64 << 20)
    server.always = fault
    assert row_of(server)["PatientName"] == "Doe^Jane"
    assert server.sent < 8 << 20  # the rest is in the buffers of the sockets


def test_a_server_without_ranges_gives_values(server):
    server.always = "whole"
    ds = dcmread(server.url + "/ct.dcm")
    assert ds.PixelData == PIXELS and ds.PatientComments == "c" * 3000
    assert row_of(server, "/empty")["error"] == "empty"


class Replaced(dict):
    """Files of which the first answer alone is of the old one."""

    def get(self, name):
        old, new = self[name]
        self[name] = new, new
        return old


@pytest.mark.parametrize("new", [FILES["/long.dcm"] + bytes(2), FILES["/long.dcm"][:-2] + b"xx"])
def test_an_object_that_is_replaced_while_it_is_read(server, new):
    server.files = Replaced({"/long.dcm": (FILES["/long.dcm"], new)})
    row = row_of(server, "/long.dcm")
    assert (row["error"], row["error_detail"]) == (
        "changed",
        "the object was replaced while it was read",
    )


def test_on_error_skip(server):
    assert [
        row["path"]
        for row in rows_of([server.url + "/none", server.url + "/ct.dcm"], on_error="skip")
    ] == [server.url + "/ct.dcm"]


def test_a_data_set_requests_only_what_is_read(server):
    url = server.url + "/ct.dcm"
    ds = dcmread(url)
    assert (ds.PatientName, ds.Rows, ds.filename) == ("Doe^Jane", 512, url)
    assert [request[2] for request in server.requests] == [(0, 16384)]
    server.clear()
    assert ds.pixel_array.tobytes() == PIXELS
    assert [request[2] for request in server.requests] == [(len(CT) - len(PIXELS), len(CT))]
    server.clear()
    assert ds.PixelData == PIXELS and len(server.requests) == 1
    assert (
        dcmread(url, stop_before_pixels=True, specific_tags=["PatientName"]).PatientName
        == "Doe^Jane"
    )


def test_every_value_equals_that_of_the_file(server):
    for name in ("/ct.dcm", "/long.dcm", "/fragments.dcm", "/deflated.dcm", "/truncated.dcm"):
        ds, expected = dcmread(server.url + name), dcmread(memoryview(FILES[name]))
        assert ds == expected and ds.check_all() == expected.check_all()
    with pytest.raises(fastdcm.InvalidDicomError):
        dcmread(server.url + "/text")


def test_a_large_value_is_several_requests(server, monkeypatch):
    monkeypatch.setattr(_object, "PIECE", 100_000)
    ds = dcmread(server.url + "/ct.dcm")
    server.clear()
    assert ds.PixelData == PIXELS and len(server.requests) == 6


def test_a_frame_is_one_request(server):
    ds = dcmread(server.url + "/fragments.dcm", force=True)
    server.clear()
    frames = FrameTable(
        ds._source, row_of(server, "/fragments.dcm", pixels="frames")["frame_offsets"]
    )
    server.clear()
    assert frames.read(7) == CODED[7] and len(server.requests) == 1


def test_a_frame_of_a_row_is_one_request_in_total(server):
    row = row_of(server, "/fragments.dcm", pixels="frames")
    server.clear()
    frames = FrameTable(File(open_url(row["path"], row["size"])), row["frame_offsets"])
    assert frames.read(7) == CODED[7] and len(server.requests) == 1
    assert server.sent == len(CODED[7]) + 8
    server.files["/fragments.dcm"] += bytes(2)
    with pytest.raises(FileChangedError):
        FrameTable(File(open_url(row["path"], row["size"])), row["frame_offsets"]).read(7)


def test_a_frame_through_an_offset_table_is_one_request_and_the_table(server):
    server.files["/f.dcm"] = part10(
        element(0x00204000, "LT", "x" * 20_000)
        + element(0x00280004, "CS", "MONOCHROME2")
        + element(0x00280008, "IS", 9)
        + IMAGE
        + fragments(CODED, table=TABLE),
        transfer_syntax=builder.JPEG_BASELINE,
    )
    ds = dcmread(server.url + "/f.dcm")
    server.clear()
    assert ds.frames.raw(7) == CODED[7] and len(server.requests) <= 2
    server.clear()
    assert ds.frames.raw(0) == CODED[0] and len(server.requests) == 1


def test_threads_share_a_data_set(server):
    server.wait = 0.05
    ds = dcmread(server.url + "/fragments.dcm")
    table = FrameTable(
        ds._source, row_of(server, "/fragments.dcm", pixels="frames")["frame_offsets"]
    )
    found, begun = {}, threading.Barrier(9)

    def read(i):
        begun.wait()
        found[i] = table.read(i)

    threads = [threading.Thread(target=read, args=(i,)) for i in range(9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == dict(enumerate(CODED))


def test_load_and_close(server):
    ds = dcmread(server.url + "/ct.dcm")
    ds.load()
    server.clear()
    with ds:
        assert ds.PixelData == PIXELS
    assert not server.requests


def test_a_pickle_and_a_copy_need_no_server(server, tmp_path):
    ds = dcmread(server.url + "/ct.dcm")
    packed = pickle.dumps(ds)
    target = tmp_path / "saved.dcm"
    ds.save_as(target)
    server.always = 404
    assert pickle.loads(packed) == dcmread(target) == dcmread(memoryview(CT))


def test_a_value_of_a_replaced_object(server):
    ds = dcmread(server.url + "/ct.dcm")
    server.files["/ct.dcm"] = CT[:-2] + b"zz"
    with pytest.raises(FileChangedError):
        _ = ds.PixelData


def test_a_value_that_the_server_refuses(server):
    ds = dcmread(server.url + "/ct.dcm?sign=secret")
    server.always = 503
    with pytest.raises(DicomError, match="503 Service Unavailable") as caught:
        _ = ds.PixelData
    assert caught.value.code == "stream" and "secret" not in str(caught.value)


def test_an_object_as_a_stream(server):
    stream = Object(server.url + "/ct.dcm")
    assert (stream.size, stream.mtime_ns) == (None, None)
    assert stream.read(128, 4) == b"DICM" and stream.size == len(CT)
    with pytest.raises(FileChangedError):
        Object(server.url + "/ct.dcm", size=7).read(0, 7)
    odd = Object(b"http://x/a\0b" + b"\xe9" * (os.name != "nt"))
    assert (
        odd.url == os.fsdecode(odd.path) and "\0b" in odd.url and Object(odd.url).path == odd.path
    )


def test_errors_of_prefetch_are_raised_by_open(server):
    there, missing, empty = (
        Object(server.url + "/ct.dcm"),
        Object(server.url + "/missing"),
        Object("http://x/", 0),
    )
    prefetch([there, missing, empty], 100)
    assert len(server.requests) == 2
    with pytest.raises(DicomError) as caught:
        missing.open(100)
    assert caught.value.code == "open" and caught.value.errno == errno.ENOENT
    assert there.open(100) == there.read(0, 100) == CT[:100] and there.size == len(CT)
    assert empty.open(100) is None and len(server.requests) == 2


def test_first_chunks_have_one_object():
    reader = ObjectReader(Object(f"http://x/{i}") for i in range(3000))
    counts = []
    while (chunk := reader.read_chunk(1000)) is not None:
        assert chunk.prefetch is not None
        counts.append(len(chunk))
    assert counts[:64] == [1] * 64 and set(counts[64:-1]) == {32} and sum(counts) == 3000


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_forked_process_gets_an_error(server):
    url = server.url + "/ct.dcm"
    dcmread(url)
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe()
    child = context.Process(
        target=lambda: theirs.send(rows_of([url], threads=1)[0]["error_detail"])
    )
    child.start()
    assert ours.poll(60) and "forked" in ours.recv()
    child.join(60)


@pytest.mark.parametrize(
    ("url", "package"),
    [("https://host/x", "obstore"), ("s3://bucket/x", "obstore"), ("memory://x", "fsspec")],
)
def test_missing_packages_are_named(monkeypatch, capsys, url, package):
    from fastdcm.cli import main

    for name in (package, "obstore.store", "fsspec.core"):
        monkeypatch.setitem(__import__("sys").modules, name, None)
    with pytest.raises(ModuleNotFoundError, match=r"fastdcm-dicom\[remote\]"):
        list(scan([url]))
    with pytest.raises(ModuleNotFoundError, match=r"fastdcm-dicom\[remote\]"):
        dcmread(url)
    with pytest.raises(SystemExit) as ended:
        main(["scan", url])
    assert ended.value.code == 2
    assert "pip install 'fastdcm-dicom[remote]'" in capsys.readouterr().err


def test_commands_accept_urls(server, capsys):
    from fastdcm.cli import main

    for words in (
        ["scan", server.url + "/ct.dcm"],
        ["dump", server.url + "/ct.dcm"],
        ["summary", server.url + "/ct.dcm", server.url + "/none"],
    ):
        with pytest.raises(SystemExit) as ended:
            main(words)
        assert not ended.value.code
        assert "Doe" in capsys.readouterr().out
