"""Buckets: listings, globs, S3 and similar servers, other schemes."""

import os
from datetime import UTC, datetime
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

import pytest

from fastdcm import DicomError, dcmread, open_index, scan
from fastdcm.sources.objects import stores
from fastdcm.sources.objects.source import ObjectSource
from support.builder import (
    element,
    part10,
)
from support.http_server import MODIFIED, Served

FILE = part10(element(0x00100010, "PN", "Doe^Jane") + element(0x7FE00010, "OW", bytes(300_000)))
KEYS = [
    "p/a.dcm",
    "p/b b.dcm",
    "p/c/d.dcm",
    "p/c/e/f.dcm",
    "p/%41+é#?.dcm",
    "p/[1].dcm",
    "p.dcm",
    "q/g.dcm",
]


@pytest.fixture(autouse=True)
def short_backoff(monkeypatch):
    for name, value in {
        "_MAX_RETRIES": 2,
        "_BACKOFF_SECONDS": 0.001,
        "_MAX_BACKOFF_SECONDS": 0.01,
    }.items():
        monkeypatch.setattr(stores, name, value)
    for name in [name for name in os.environ if name.startswith(("AWS_", "GOOGLE_", "AZURE_"))]:
        monkeypatch.delenv(name)
    stores._stores.clear()
    yield
    stores._stores.clear()


def table(source, **options):
    """{path: error}, in order."""
    rows = {}
    for batch in scan(source, ["PatientName"], **options):
        rows.update(zip(batch.column("path"), batch.column("error")))
    return rows


class Bucket:
    """Answers as S3 and Google's XML interface do, 1,000 keys a page. failing:
    the page from which on the server is not well. later: keys that were changed
    a day later."""

    def __init__(self, keys, failing=None, later=()):
        self.keys, self.failing, self.later, self.pages = (
            sorted(keys, key=str.encode),
            failing,
            later,
            [],
        )

    def __call__(self, target):
        query = parse_qs(urlsplit(target).query)
        if "list-type" not in query:
            return None
        prefix, at = query.get("prefix", [""])[0], int(query.get("continuation-token", [0])[0])
        self.pages.append(at // 1000)
        if self.failing is not None and at // 1000 >= self.failing:
            return 503, b"<Error><Code>SlowDown</Code></Error>"
        after, delimiter = query.get("start-after", [""])[0], query.get("delimiter", [None])[0]
        keys = [key for key in self.keys if key.startswith(prefix) and key > after]
        folders = ""
        if delimiter:
            below = [key[len(prefix) :].partition(delimiter) for key in keys]
            names = dict.fromkeys(prefix + name + "/" for name, slash, _ in below if slash)
            folders = "".join(
                f"<CommonPrefixes><Prefix>{escape(name)}</Prefix></CommonPrefixes>"
                for name in names
            )
            keys = [key for key, (_, slash, _) in zip(keys, below, strict=True) if not slash]
        when, later = (
            datetime.fromtimestamp(MODIFIED + days * 86400, UTC).strftime("%Y-%m-%dT%H:%M:%S.750Z")
            for days in (0, 1)
        )
        entries = "".join(
            f"<Contents><Key>{escape(key)}</Key>"
            f"<LastModified>{later if key in self.later else when}</LastModified>"
            "<ETag>&quot;x&quot;</ETag>"
            f"<Size>{0 if key.endswith(('/', '.none')) else len(FILE)}</Size></Contents>"
            for key in keys[at : at + 1000]
        )
        more = at + 1000 < len(keys)
        token = f"<NextContinuationToken>{at + 1000}</NextContinuationToken>" if more else ""
        return 200, (
            f"<ListBucketResult><IsTruncated>{str(more).lower()}</IsTruncated>{token}{entries}"
            f"{folders}</ListBucketResult>"
        ).encode()


class Everything(dict):
    """One file under every name but those of folders."""

    def get(self, name):
        return None if name.endswith("/") else FILE


@pytest.fixture
def bucket(monkeypatch):
    """bucket(keys) serves s3://bucket and gs://bucket, and returns the server."""
    servers = []

    def serve(keys, **options):
        server = Served({}).__enter__()
        servers.append(server)
        server.files = Everything()
        server.bucket = server.special = Bucket(keys, **options)
        for name, value in {
            "AWS_ENDPOINT_URL": server.url,
            "AWS_ACCESS_KEY_ID": "id",
            "AWS_REGION": "us-east-1",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "GOOGLE_BASE_URL": server.url,
            "GOOGLE_SKIP_SIGNATURE": "true",
        }.items():
            monkeypatch.setenv(name, value)
        return server

    yield serve
    for server in servers:
        server.__exit__()


SIZES = [0, 2**31, 2**32, 2**63 - 1, 2**63, 2**64 - 1, 2**64, -1]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("year", [1600, 1677, 1970, 2262, 2263, 9999])
def test_sizes_and_times_of_a_listing(bucket, size, year, tmp_path):
    """None ends the scan with an error of Python, or becomes another number."""
    server = bucket(["p/a.dcm", "p/b.dcm"])
    listing = server.bucket

    def changed(target):
        answer = listing(target)
        if answer is None:
            return None
        text = answer[1].decode().replace("2025-06-15", f"{year}-06-15")
        return 200, text.replace(f"<Size>{len(FILE)}</Size>", f"<Size>{size}</Size>", 1).encode()

    server.special = changed
    try:
        rows = scan("s3://bucket/p/", ["PatientName"]).read_all().to_pylist()
        scan("s3://bucket/p/", []).write(f"{tmp_path}/index/")
    except DicomError as error:  # obstore refuses the listing
        assert error.code == "walk" and (size < 0 or size >= 2**63)
        return
    assert [row["path"][-5:] for row in rows] == ["a.dcm", "b.dcm"]
    assert rows[0]["error"] == ("empty" if size == 0 else None) or size == 0
    assert all(row["size"] in (None, 0, len(FILE)) for row in rows)
    listed = datetime(year, 6, 15, 15, 6, 40, tzinfo=UTC) - datetime(1970, 1, 1, tzinfo=UTC)
    times = (None, MODIFIED * 10**9, int(listed.total_seconds()) * 10**9)
    assert all(row["mtime_ns"] in times for row in rows)


class Meta:
    """An answer of a server."""

    def __init__(self, **meta):
        self.meta = {"size": len(FILE), "last_modified": None, "e_tag": None, **meta}


@pytest.mark.parametrize("size", [*SIZES, None, 1.5, "1"])
@pytest.mark.parametrize("year", [None, 1, 1600, 1678, 1969, 2262, 2263, 9999])
def test_sizes_and_times_of_an_answer(monkeypatch, size, year):
    modified = year and datetime(year, 1, 1, tzinfo=UTC)

    class Store:
        def get(self, name, offset, length):
            data = FILE[offset : offset + length]
            return Meta(size=size, last_modified=modified), data

    monkeypatch.setattr(stores, "_shared_store", lambda base: Store())
    (batch,) = scan(["s3://bucket/a"], ["PatientName"])
    expected = None
    if modified and 1678 <= year <= 2262:
        expected = int((modified - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds()) * 10**9
    (error,), (found,), (time,) = (batch.column(n) for n in ("error", "size", "mtime_ns"))
    if error is None:
        assert found == size and time == expected
    else:
        assert error in ("stream", "changed", "empty") and found in (None, size)
    if not isinstance(size, int) or not 0 <= size < 2**63:
        assert (error, found, time) == ("stream", None, None)
        with pytest.raises(DicomError, match="the server states a size of"):
            dcmread("s3://bucket/a")


@pytest.mark.parametrize("scheme", ["s3", "gs"])
def test_objects_below_a_prefix_are_listed_and_read(bucket, scheme):
    server = bucket(KEYS)
    root = f"{scheme}://bucket/"
    below = [f"{root}{key}" for key in server.bucket.keys if key.startswith("p/")]
    assert table(root + "p/") == table(root + "p") == dict.fromkeys(below)
    assert list(table(root + "p/")) == below
    assert list(table(root)) == list(table(root[:-1])) == [root + key for key in server.bucket.keys]
    server.clear()
    (row,) = scan(root + "p/c/e/", [])
    assert row.column("size") == [len(FILE)] and row.column("mtime_ns") == [MODIFIED * 10**9]
    assert len(server.requests) == 2
    assert dcmread(root + "p/%41+é#?.dcm").PatientName == "Doe^Jane"
    assert unquote(server.requests[-1][1]) == "/bucket/p/%41+é#?.dcm"


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("p/*.dcm", ["p/a.dcm", "p/b b.dcm", "p/%41+é#?.dcm", "p/[1].dcm"]),
        ("p/?.dcm", ["p/a.dcm"]),
        ("p/*/*.dcm", ["p/c/d.dcm"]),
        ("[qr]/*", ["q/g.dcm"]),
        ("*.dcm", ["p.dcm"]),
        ("p/c*", ["p/c/d.dcm", "p/c/e/f.dcm"]),
        ("**/f.dcm", ["p/c/e/f.dcm"]),
        ("p/**/*.dcm", [*KEYS[:6]]),
        ("**/g.dcm", ["q/g.dcm"]),
    ],
)
def test_globs(bucket, pattern, found):
    bucket(KEYS)
    assert sorted(table("s3://bucket/" + pattern)) == sorted("s3://bucket/" + key for key in found)


def test_without_recursion(bucket):
    bucket(KEYS)
    found = [stream.path.decode() for stream in ObjectSource("s3://bucket/p/", False).streams()]
    assert sorted(found) == sorted(
        "s3://bucket/" + key for key in KEYS if key.count("/") == 1 and key[0] == "p"
    )
    found = [stream.path.decode() for stream in ObjectSource("s3://bucket/p*", False).streams()]
    assert "s3://bucket/p/a.dcm" in found and "s3://bucket/p/c/d.dcm" not in found


def test_one_object(bucket):
    server = bucket(KEYS)
    assert table("s3://bucket/p.dcm") == {"s3://bucket/p.dcm": None}
    server.clear()
    assert table(["s3://bucket/p.dcm"]) == {"s3://bucket/p.dcm": None} and len(server.requests) == 1


@pytest.mark.parametrize("url", ["s3://bucket/none/", "s3://bucket/none/*.dcm", "s3://bucket"])
def test_an_empty_listing_is_an_error(bucket, url):
    """As a folder that does not exist."""
    bucket([] if url == "s3://bucket" else KEYS)
    for on_error in ("row", "skip", "raise"):
        with pytest.raises(FileNotFoundError, match="the URL matches no objects") as caught:
            list(scan(url, on_error=on_error))
        assert (caught.value.code, caught.value.filename) == ("open", url)


def test_markers_of_folders_have_no_rows(bucket, monkeypatch):
    server = bucket(["p/", "p/a.dcm", "p/b/", "p/c/", "p/c/d.dcm", "p/e.none", "p/z/"])
    heads = []

    def gone(target):  # keys that obstore made up of the markers
        if target in ("/bucket/p/b", "/bucket/p/z"):
            heads.append(target)
            return 404, b""
        return server.bucket(target)

    server.special = gone
    assert table("s3://bucket/p/") == {
        "s3://bucket/p/a.dcm": None,
        "s3://bucket/p/c/d.dcm": None,
        "s3://bucket/p/e.none": "empty",
    }
    assert heads == ["/bucket/p/b", "/bucket/p/z"]


def test_a_listing_is_not_held_in_memory(bucket):
    server = bucket([f"p/{i:06d}" for i in range(100_000)])
    reader = ObjectSource("s3://bucket/p/").start()
    assert len(reader.read_chunk(100).streams) == 1
    assert server.bucket.pages in ([0], [0, 1])
    for _ in range(500):
        reader.read_chunk(4)
    assert max(server.bucket.pages) <= 3


def test_a_listing_that_fails_at_once_is_an_error(bucket):
    bucket(KEYS, failing=0)
    with pytest.raises(DicomError, match="503 Service Unavailable") as caught:
        list(scan("s3://bucket/p/", []))
    assert (caught.value.code, caught.value.filename) == ("walk", "s3://bucket/p/")


@pytest.mark.parametrize("failing", [1, 2])
def test_a_listing_that_fails_ends_with_an_error_row(bucket, failing):
    server = bucket([f"p/{i:06d}" for i in range(2500)], failing=failing)
    made = scan("s3://bucket/p/", [])
    paths, errors, details = [], [], []
    for batch in made:
        paths += batch.column("path")
        errors += batch.column("error")
        details += batch.column("error_detail")
    assert paths == [f"s3://bucket/{key}" for key in server.bucket.keys[: failing * 1000]] + [
        "s3://bucket/p/"
    ]
    assert set(errors[:-1]) <= {None} and errors[-1] == "walk"
    assert details[-1] == "the listing failed: 503 Service Unavailable (SlowDown), after 2 retries"
    with pytest.raises(DicomError) as caught:
        list(scan("s3://bucket/p/", [], on_error="raise"))
    assert caught.value.code == "walk"


@pytest.mark.parametrize(
    "bad",
    [
        "p/x//y.dcm",
        "p/x//",
        "p/x/./y.dcm",
        "p/x/../y.dcm",
        "p/x/y\x01.dcm",
        "p/x/\x7f/y.dcm",
        "p//y.dcm",
        "p/y/z//a//b",
    ],
)
@pytest.mark.parametrize("count", [1, 3])
def test_keys_that_obstore_rejects_are_error_rows(bucket, bad, count):
    """A page of a listing with such a key is rejected as a whole."""
    good = ["p/0", "p/a.dcm", "p/x/a.dcm", "p/x0/b.dcm", "p/y/0", "p/y/z.dcm", "p/z.dcm"]
    more = [f"p/{i:04d}/c.dcm" for i in range(1500)]
    rejected = [bad + "x" * i for i in range(count)]
    server = bucket([*good, *more, *rejected])
    server.files = {f"/bucket/{key}": FILE for key in [*good, *more]}
    rows = table("s3://bucket/p/")
    found = [path for path, error in rows.items() if error is None]
    lost = ["p/x/a.dcm"] if not bad.isprintable() else []  # in front of it in the same folder
    assert found == [
        f"s3://bucket/{key}" for key in server.bucket.keys if key not in [*rejected, *lost]
    ]
    errors = {path: error for path, error in rows.items() if error}
    assert 1 <= len(errors) <= count and set(errors.values()) == {"walk"}
    # Either the key, or the folder with the part that is not valid.
    assert all(f"s3://bucket/{bad}".startswith(path.rstrip("x")) for path in errors)


def test_only_keys_that_obstore_rejects(bucket):
    bucket(["p//x.dcm", "p/./x.dcm"]).files = {}
    assert table("s3://bucket/p/") == dict.fromkeys(
        ["s3://bucket/p/./", "s3://bucket/p//x.dcm"], "walk"
    )


def test_a_server_that_ignores_where_to_start(bucket):
    server = bucket(["p//x.dcm", "p/a.dcm"])
    server.files = {}
    listing = server.bucket
    server.special = lambda target: listing(target.partition("&start-after")[0])
    assert list(table("s3://bucket/p/").values()) == ["walk", "walk"]


def test_missing_credentials(bucket, monkeypatch):
    server = bucket(KEYS)
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_METADATA_ENDPOINT", server.url)
    server.special = lambda target: (403, b"")
    with pytest.raises(DicomError, match="there are no credentials") as caught:
        dcmread("s3://bucket/x")
    assert caught.value.code == "open"
    monkeypatch.setenv("AWS_SKIP_SIGNATURE", "true")
    stores._stores.clear()
    server.special = server.bucket
    assert dcmread("s3://bucket/x").PatientName == "Doe^Jane"


def test_azure(bucket, monkeypatch):
    server = bucket(KEYS)

    def pages(target):
        parts = urlsplit(target)
        if "comp=list" not in parts.query:
            return None
        prefix = parse_qs(parts.query)["prefix"][0]
        blobs = "".join(
            f"<Blob><Name>{escape(key)}</Name><Properties>"
            "<Last-Modified>Sun, 15 Jun 2025 15:06:40 GMT</Last-Modified>"
            f"<Content-Length>{len(FILE)}</Content-Length><Content-Type>x</Content-Type><Etag>0x8D</Etag></Properties>"
            "</Blob>"
            for key in server.bucket.keys
            if key.startswith(prefix)
        )
        return (
            200,
            f"<EnumerationResults><Blobs>{blobs}</Blobs><NextMarker/></EnumerationResults>".encode(),
        )

    server.special = pages
    with pytest.raises(DicomError, match="Account must be specified"):
        scan("az://bucket/p/")
    for name, value in {"ACCOUNT_NAME": "us", "ENDPOINT": server.url}.items():
        monkeypatch.setenv("AZURE_STORAGE_" + name, value)
    monkeypatch.setenv("AZURE_SKIP_SIGNATURE", "true")
    assert table("az://bucket/p/") == {
        f"az://bucket/{key}": None for key in server.bucket.keys if key.startswith("p/")
    }
    assert dcmread("az://bucket/p/b b.dcm").PatientName == "Doe^Jane"


@pytest.fixture(scope="module")
def moto():
    """The URL of an S3 server with KEYS in s3://peer, and a client of it."""
    try:
        import boto3
        from moto.server import ThreadedMotoServer
    except ImportError as error:
        if os.environ.get("FASTDCM_REQUIRE_PEERS") == "1":
            raise
        pytest.skip(f"moto is missing: {error}")
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    url = "http://{}:{}".format(*server.get_host_and_port())
    client = boto3.client(
        "s3",
        endpoint_url=url,
        region_name="us-east-1",
        aws_access_key_id="id",
        aws_secret_access_key="secret",
    )
    client.create_bucket(Bucket="peer")
    for key in (*KEYS, "p/", "p/c/", "p/nothing/"):
        client.put_object(Bucket="peer", Key=key, Body=b"" if key.endswith("/") else FILE)
    client.put_object(Bucket="peer", Key="p/empty", Body=b"")
    yield url, client
    server.stop()


@pytest.fixture
def peer_bucket(moto, monkeypatch):
    for name, value in {
        "ENDPOINT_URL": moto[0],
        "ACCESS_KEY_ID": "id",
        "SECRET_ACCESS_KEY": "secret",
        "REGION": "us-east-1",
    }.items():
        monkeypatch.setenv("AWS_" + name, value)
    return moto[1]


def test_an_s3_server(peer_bucket, tmp_path):
    expected = {f"s3://peer/{key}": None for key in KEYS if key.startswith("p/")} | {
        "s3://peer/p/empty": "empty"
    }
    assert table("s3://peer/p/") == dict(sorted(expected.items(), key=lambda row: row[0].encode()))
    path = tmp_path / "a.dcm"
    path.write_bytes(FILE)
    (local,) = scan([path], pixels=True)
    (ours,) = scan("s3://peer/p/a.dcm", pixels=True)
    remote, expected = ours.to_pydict(), local.to_pydict()
    assert remote.pop("path") == ["s3://peer/p/a.dcm"]
    assert expected.pop("path") and expected.pop("mtime_ns")
    assert abs(remote.pop("mtime_ns")[0] / 1e9 - datetime.now().timestamp()) < 3600
    assert remote == expected
    assert table(["s3://peer/p/empty", "s3://peer/none"]) == {
        "s3://peer/p/empty": "empty",
        "s3://peer/none": "open",
    }


def test_values_from_an_s3_server(peer_bucket):
    ds = dcmread("s3://peer/p/b b.dcm")
    assert (ds.PatientName, ds.PixelData) == ("Doe^Jane", bytes(300_000))
    peer_bucket.put_object(Bucket="peer", Key="changing", Body=FILE)
    ds = dcmread("s3://peer/changing")
    peer_bucket.put_object(Bucket="peer", Key="changing", Body=FILE[:-1] + b"x")
    with pytest.raises(DicomError) as caught:
        _ = ds.PixelData
    assert caught.value.code == "changed"


def test_a_bucket_that_does_not_exist(peer_bucket):
    with pytest.raises(FileNotFoundError, match=r"404 Not Found \(NoSuchBucket\)") as caught:
        scan("s3://peerless/p/", []).read_all()
    assert caught.value.filename == "s3://peerless/p/"


@pytest.fixture
def memory():
    from fsspec.implementations.memory import MemoryFileSystem

    MemoryFileSystem.store.clear()
    filesystem = MemoryFileSystem()
    for key in ("a.dcm", "c/d.dcm", "c/e/f.dcm"):
        filesystem.pipe(f"/m/{key}", FILE)
    filesystem.pipe("/m/text", b"no DICOM at all")
    yield
    MemoryFileSystem.store.clear()


def test_other_schemes(memory):
    assert table("memory://m/") == {
        "memory://m/a.dcm": None,
        "memory://m/text": "not-dicom",
        "memory://m/c/d.dcm": None,
        "memory://m/c/e/f.dcm": None,
    }
    assert list(table("memory://m/*.dcm")) == ["memory://m/a.dcm"]
    assert table("memory://m/a.dcm") == {"memory://m/a.dcm": None}
    assert table(["memory://m/a.dcm", "memory://m/none"]) == {
        "memory://m/a.dcm": None,
        "memory://m/none": "open",
    }
    with pytest.raises(FileNotFoundError):
        table("memory://none/")
    ds = dcmread("memory://m/c/d.dcm")
    assert (ds.PatientName, ds.PixelData) == ("Doe^Jane", bytes(300_000))
    (batch,) = scan(["memory://m/a.dcm"], [])
    assert batch.column("size") == [len(FILE)] and batch.column("mtime_ns")[0] > 10**18


def test_an_index_of_a_bucket(memory, tmp_path):
    index = str(tmp_path / "index") + "/"
    rows = scan("memory://m/", ["PatientName"]).read_all()
    assert scan("memory://m/", ["PatientName"]).write(index)["files"] == 4
    opened = open_index(index)
    assert opened.complete and opened.read_all().equals(rows)
    os.truncate(os.path.join(index, "_fastdcm", "manifest.jsonl"), len(first_line(index)))
    scan("memory://m/", ["PatientName"]).write(index)  # by the list that is there
    assert open_index(index).read_all().equals(rows)
    assert scan(index, ["PatientName"]).read_all().equals(rows)
    with pytest.raises(ValueError, match="one folder or bucket"):  # no times are listed
        scan("memory://m/", ["PatientName"]).write(index, update=True)


def update(url, index):
    """The counts of an update, and the objects that were read for it."""
    stats = scan(url, ["PatientName"]).write(f"{index}/", update=True)
    return tuple(stats[what] for what in ("same", "changed", "new", "gone"))


def read_by(server):
    return sorted(unquote(target) for _, target, _, sent in server.requests if sent == 8192)


@pytest.mark.parametrize("url", ["s3://bucket/p/", "gs://bucket/p/**/*.dcm"])
def test_an_index_of_a_bucket_is_updated(bucket, tmp_path, url):
    keys = [f"p/{i // 100}/{i:04}.dcm" for i in range(1200)]
    server, index = bucket(keys), tmp_path / "index"
    assert update(url, index) == (0, 0, 1200, 0)
    server.clear()
    assert update(url, index) == (1200, 0, 0, 0)
    assert len(server.requests) == 2  # pages of the listing
    now = {*keys, "p/0/0000-a.dcm", "p/~.dcm"} - {keys[7], keys[1100]}
    server.bucket = server.special = Bucket(now, later={keys[0], keys[500]})
    server.clear()
    assert update(url, index) == (1196, 2, 2, 2)
    assert read_by(server) == sorted(
        f"/bucket/{key}" for key in ("p/0/0000-a.dcm", "p/~.dcm", keys[0], keys[500])
    )
    assert open_index(index).read_all().equals(scan(url, ["PatientName"]).read_all())
    assert update(url, index) == (1200, 0, 0, 0)


def test_a_failed_listing_does_not_change_an_index(bucket, tmp_path):
    keys = [f"p/{i:04}.dcm" for i in range(1500)]
    server, index = bucket(keys), tmp_path / "index"
    update("s3://bucket/p/", index)
    rows = open_index(index).read_all()
    for left, options, message in (
        (keys, {"failing": 1}, "the listing failed"),
        ([], {}, "the URL matches no objects"),
    ):
        server.bucket = server.special = Bucket(left, **options)
        with pytest.raises(DicomError, match=message):
            update("s3://bucket/p/", index)
        assert open_index(index).read_all().equals(rows)


def test_an_index_of_one_object(bucket, tmp_path):
    server, index = bucket(KEYS), tmp_path / "index"
    assert update("s3://bucket/p.dcm", index) == (0, 0, 1, 0)
    assert update("s3://bucket/p.dcm", index) == (1, 0, 0, 0)
    server.files = {"/bucket/p.dcm": FILE + bytes(2)}
    assert update("s3://bucket/p.dcm", index) == (0, 1, 0, 0)
    with pytest.raises(DicomError, match="404"):
        update("s3://bucket/none", tmp_path / "other")


def first_line(index):
    with open(os.path.join(index, "_fastdcm", "manifest.jsonl"), "rb") as file:
        return file.readline()


def test_an_index_of_a_bucket_that_does_not_exist(memory, tmp_path):
    with pytest.raises(DicomError, match="the URL matches no objects") as caught:
        scan("memory://none/", []).write(str(tmp_path / "index") + "/")
    assert caught.value.filename == "memory://none/"


def test_an_unknown_scheme():
    with pytest.raises(DicomError, match="nope"):
        scan("nope://x/")
    assert table(["nope://x"]) == {"nope://x": "stream"}


def test_the_command_reports_the_error(capsys):
    from fastdcm.cli import main

    with pytest.raises(SystemExit) as ended:
        main(["scan", "nope://x/"])
    message = capsys.readouterr().err
    assert (
        ended.value.code == 2
        and message.startswith("error: ")
        and "hint:" in message
        and len(message.splitlines()) == 2
    )
