"""scan: order, threads, batches, what it reads from and writes to, and its memory."""

import _thread
import csv
import json
import os
import subprocess
import sys
import time

import pyarrow
import pyarrow.parquet
import pytest
from scanning.test_scan import FIXED, frames

import fastdcm
from fastdcm.scanning._worker import Worker
from fastdcm.scanning.scanner import make_plan, scan, scan_chunk
from fastdcm.sources._paths import chunk_from_paths
from support import builder as b


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    """A folder of 3,000 files, a few of them none."""
    folder = tmp_path_factory.mktemp("archive")
    for i in range(3000):
        path = folder / f"{i % 7}" / f"{i:04d}.dcm"
        path.parent.mkdir(exist_ok=True)
        if i % 500 == 499:
            path.write_bytes(b"no DICOM at all, but more than 132 bytes of it. " * 4)
        else:
            path.write_bytes(
                b.part10(
                    b.element(0x00080018, "UI", f"1.2.{i}")
                    + b.element(0x00080008, "CS", ["A", "B"][: i % 3])
                    + b.element(0x00200013, "IS", str(i))
                )
            )
    return folder


TAGS = ["SOPInstanceUID", "InstanceNumber", "ImageType"]


def threads_alive():
    """A thread that has ended its work may take a moment to be gone."""
    time.sleep(0.05)
    return _thread._count()


def sorted_paths(folder):
    return sorted(str(p) for p in folder.rglob("*.dcm"))


@pytest.mark.parametrize("threads", [1, 2, 7, None])
@pytest.mark.parametrize("batch_size", [100, 1000, 8192])
def test_order_and_batches(archive, threads, batch_size):
    s = scan(archive, TAGS, threads=threads, batch_size=batch_size)
    batches = list(s)
    assert [len(x) for x in batches] == [batch_size] * (3000 // batch_size) + (
        [3000 % batch_size] if 3000 % batch_size else []
    )
    paths = [p for x in batches for p in x.column("path")]
    assert paths == sorted_paths(archive)
    numbers = [n for x in batches for n in x.column("InstanceNumber")]
    names = [int(os.path.basename(p)[:4]) for p in paths]
    assert numbers == [None if n % 500 == 499 else n for n in names]
    stats = s.stats
    assert (stats["files"], stats["errors"]) == (3000, 6)
    assert stats["seconds"] > 0 and stats["files_per_second"] > 0 and stats["bytes_read"] > 0
    # the same rows in each way of running
    reference = pyarrow.Table.from_batches(
        [pyarrow.record_batch(scan_chunk(sorted_paths(archive), TAGS))]
    )
    table = pyarrow.Table.from_batches([pyarrow.record_batch(x) for x in batches])
    table.validate(full=True)
    assert table.combine_chunks().equals(reference.combine_chunks())


@pytest.mark.parametrize("threads", [1, 3])
def test_on_error(archive, threads):
    def run(on_error):
        return scan(archive, TAGS, threads=threads, on_error=on_error, batch_size=500)

    rows = run("skip").read_all()
    assert len(rows) == 2994
    assert rows["error"].null_count == 2994
    s = run("skip")
    list(s)
    assert (s.stats["files"], s.stats["errors"]) == (3000, 6)
    seen, before = [], threads_alive()
    with pytest.raises(fastdcm.InvalidDicomError) as caught:
        for batch in run("raise"):
            seen += batch.column("path")
    first = next(p for p in sorted_paths(archive) if int(p[-8:-4]) % 500 == 499)
    assert caught.value.filename == first
    assert seen == sorted_paths(archive)[: len(seen)] and first not in seen
    assert threads_alive() == before


def test_a_scan_restarts(archive):
    s = scan(archive, TAGS)
    assert s.read_all().equals(s.read_all())
    listed = scan(sorted_paths(archive), TAGS)
    assert listed.read_all().equals(listed.read_all())
    once = scan(iter(sorted_paths(archive)), TAGS)
    assert once.read_all().num_rows == 3000
    assert once.read_all().num_rows == 0


def test_an_iterator_is_read_as_needed(archive):
    path = sorted_paths(archive)[0]
    taken = 0

    def forever():
        nonlocal taken
        while True:
            taken += 1
            yield path

    for threads in (1, 2):
        before = threads_alive()
        batches = iter(scan(forever(), TAGS, batch_size=256, threads=threads))
        assert len(next(batches)) == len(next(batches)) == 256
        batches.close()
        assert threads_alive() == before
        assert taken < 20000
        taken = 0


@pytest.mark.parametrize("threads", [1, 2])
def test_what_an_iterator_raises_comes_out(archive, threads):
    def paths():
        yield from sorted_paths(archive)[:250]
        raise KeyError("of the user")

    rows = 0
    with pytest.raises(KeyError, match="of the user"):
        for batch in scan(paths(), TAGS, threads=threads, batch_size=100):
            rows += len(batch)
    assert rows == 200
    with pytest.raises(TypeError):
        list(scan([3], TAGS, threads=threads))


@pytest.mark.parametrize("threads", [2, 40])
def test_threads_that_wait_for_room(put, monkeypatch, threads):
    """Threads wait when rows are not fetched, and still end."""
    from fastdcm.scanning import scanner

    paths = [put(b.element(0x00200013, "IS", str(i))) for i in range(50)]
    monkeypatch.setattr(scanner, "_MOST_PIECE", 4)
    monkeypatch.setattr(scanner, "_LEAST_PIECE", 4)
    batches = iter(scan(paths * 20, ["InstanceNumber"], threads=threads, batch_size=5))
    numbers = next(batches).column("InstanceNumber")
    time.sleep(0.1)  # all the others fill what room there is
    for batch in batches:
        numbers += batch.column("InstanceNumber")
    assert numbers == [*range(50)] * 20


def test_nothing_at_all(tmp_path):
    assert list(scan([])) == []
    table = scan(tmp_path, TAGS).read_all()
    assert (table.num_rows, table.column_names) == (0, [*FIXED, *TAGS])
    assert len(scan_chunk([])) == 0
    assert scan([]).stats["files"] == 0


def test_columns_past_their_limit_make_more_batches(put):
    paths = [put(b.element(0x0040A160, "UT", "x" * 1000)) for _ in range(100)]
    worker = Worker(make_plan(["TextValue"]))
    batches = worker.run(chunk_from_paths(paths), limit=30000)
    assert len(batches) > 1
    assert sum(map(len, batches)) == 100
    assert [p for x in batches for p in x.column("path")] == paths
    assert all(t == "x" * 1000 for x in batches for t in x.column("TextValue"))


def test_join_keeps_rows_errors_and_issues(put):
    good = put(b.element(0x00080008, "CS", ["A", "B"]) + b.element(0x00200013, "IS", "x"))
    bad = put(raw=b"")
    worker = Worker(make_plan(TAGS))
    paths = [good, bad, bad, good, good]
    (whole,) = worker.run(chunk_from_paths(paths))
    (first,) = worker.run(chunk_from_paths(paths[:2]))
    for part in (paths[2:3], [], paths[3:]):
        for other in worker.run(chunk_from_paths(part)):
            assert first.join(other)
    first.seal()
    assert first.to_pydict() == whole.to_pydict()
    assert (first.n_errors, first.n_issues) == (2, 3)


def test_scan_chunk_is_one_batch(archive):
    paths = sorted_paths(archive)[:100]
    batch = pyarrow.record_batch(scan_chunk(paths, TAGS))
    assert batch.num_rows == 100
    assert batch.column("path").to_pylist() == paths


def test_batches_outlive_their_scan(archive):
    arrays = [pyarrow.record_batch(batch) for batch in scan(archive, TAGS, batch_size=64)]
    column = arrays[3].column("SOPInstanceUID")
    arrays = None
    assert column.to_pylist()[0].startswith("1.2.")


# -------------------------------------------------------------- outputs ---


def reference(archive):
    table = scan(archive, TAGS).read_all()
    return {name: table[name].to_pylist() for name in table.column_names}


def read_back(path):
    if path.endswith(".parquet"):
        return pyarrow.parquet.read_table(path)
    return pyarrow.ipc.open_file(path).read_all()


@pytest.mark.parametrize("ending", [".parquet", ".arrow"])
def test_arrow_files(archive, tmp_path, ending):
    path = str(tmp_path / ("out" + ending))
    stats = scan(archive, TAGS, batch_size=700).write(path)
    assert stats["files"] == 3000
    table = read_back(path)
    assert table.to_pydict() == reference(archive)
    assert table.schema.equals(pyarrow.schema(scan([], TAGS)))
    assert os.listdir(tmp_path) == ["out" + ending]


def test_csv(archive, tmp_path):
    path = tmp_path / "out.CSV"
    scan(archive, [*TAGS, "FileMetaInformationVersion"]).write(path)
    with open(path, newline="") as file:
        rows = list(csv.DictReader(file))
    expected = reference(archive)
    assert [r["path"] for r in rows] == expected["path"]
    assert [r["InstanceNumber"] for r in rows] == [
        "" if n is None else str(n) for n in expected["InstanceNumber"]
    ]
    assert [json.loads(r["ImageType"]) if r["ImageType"] else None for r in rows] == expected[
        "ImageType"
    ]
    assert {r["FileMetaInformationVersion"] for r in rows} == {"AAE=", ""}
    assert [r["error"] for r in rows] == [e or "" for e in expected["error"]]


def test_csv_quotes_what_it_must(put, tmp_path):
    text = 'a,"b"\nc\u00e9'
    path = put(
        b.element(0x00080005, "CS", "ISO_IR 192") + b.element(0x00104000, "LT", text.encode())
    )
    scan([path], ["PatientComments"]).write(tmp_path / "out.csv")
    with open(tmp_path / "out.csv", newline="", encoding="utf-8") as file:
        assert list(csv.DictReader(file))[0]["PatientComments"] == text


def test_jsonl(archive, put, tmp_path):
    path = tmp_path / "out.jsonl"
    scan(archive, TAGS).write(path)
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert {name: [r[name] for r in rows] for name in rows[0]} == reference(archive)
    odd = put(b.element(0x00189087, "FD", float("inf")) + b.element(0x00420011, "OB", b"\0\1"))
    scan([odd], ["DiffusionBValue", "EncapsulatedDocument"]).write(path)
    row = json.loads(path.read_text())
    assert (row["DiffusionBValue"], row["EncapsulatedDocument"]) == (None, "AAE=")


def test_nested_lists_in_every_format(put, tmp_path):
    every = "PerFrameFunctionalGroupsSequence[*].PlanePositionSequence.ImagePositionPatient"
    expected = [[0.0, 0.0, 0.5], [1.0, 0.0, 0.5]]
    path = put(frames(2))
    for ending in (".parquet", ".arrow"):
        out = str(tmp_path / ("out" + ending))
        scan([path], [every]).write(out)
        assert read_back(out)[every].to_pylist() == [expected]
    scan([path], [every]).write(tmp_path / "out.jsonl")
    assert json.loads((tmp_path / "out.jsonl").read_text())[every] == expected
    scan([path], [every]).write(tmp_path / "out.csv")
    assert "[[0.0, 0.0, 0.5], [1.0, 0.0, 0.5]]" in (tmp_path / "out.csv").read_text()


def test_a_failed_write_leaves_what_was_there(archive, tmp_path):
    path = tmp_path / "out.parquet"
    path.write_bytes(b"before")
    with pytest.raises(fastdcm.InvalidDicomError):
        scan(archive, TAGS, on_error="raise").write(path)
    assert path.read_bytes() == b"before"
    assert os.listdir(tmp_path) == ["out.parquet"]
    with pytest.raises(ValueError, match="ends in"):
        scan(archive, TAGS).write(tmp_path / "out.xlsx")
    with pytest.raises(FileNotFoundError):
        scan(archive, TAGS).write(tmp_path / "none" / "out.csv")


def test_polars_reads_batches_and_scans(archive):
    polars = pytest.importorskip("polars", reason="polars is not installed")
    s = scan(archive, TAGS, batch_size=1000)
    frame = polars.DataFrame(s)
    assert frame.to_dict(as_series=False) == reference(archive)
    assert polars.DataFrame(next(iter(s))).height == 1000


def test_duckdb_reads_scans(archive):
    duckdb = pytest.importorskip("duckdb", reason="duckdb is not installed")
    s = scan(archive, TAGS, batch_size=1000)
    found = duckdb.sql("SELECT count(*), max(InstanceNumber), count(error) FROM s").fetchall()
    assert found == [(3000, 2998, 6)]


def test_errors_reach_the_reader_of_a_stream(archive):
    reader = pyarrow.RecordBatchReader.from_stream(scan(archive, TAGS, on_error="raise"))
    with pytest.raises(OSError, match="InvalidDicomError"):
        reader.read_all()


# -------------------------------------------------------------- sources ---


@pytest.mark.parametrize("ending", [".parquet", ".arrow", ".csv", ".jsonl"])
def test_a_table_is_a_source(archive, tmp_path, ending):
    path = tmp_path / ("index" + ending)
    scan(archive, TAGS).write(path)
    s = scan(path, ["InstanceNumber"])
    assert s.read_all()["path"].to_pylist() == sorted_paths(archive)
    assert s.read_all().num_rows == 3000


def test_tables_without_paths(tmp_path):
    (tmp_path / "a.csv").write_text("file\nx\n")
    (tmp_path / "a.jsonl").write_text('{"file": "x"}\n')
    table = pyarrow.table({"file": ["x"]})
    pyarrow.parquet.write_table(table, tmp_path / "a.parquet")
    for name in ("a.csv", "a.jsonl", "a.parquet"):
        with pytest.raises(ValueError, match="no column `path`"):
            scan(tmp_path / name).read_all()


def test_globs(archive):
    expected = sorted_paths(archive)
    assert scan(f"{archive}/[0-2]", TAGS).read_all()["path"].to_pylist() == [
        p for p in expected if p[len(str(archive)) + 1] in "012"
    ]
    assert scan(f"{archive}/*/00*.dcm", TAGS).read_all()["path"].to_pylist() == [
        p for p in expected if os.path.basename(p).startswith("00")
    ]
    assert scan(f"{archive}/**", TAGS).read_all()["path"].to_pylist() == expected
    with pytest.raises(FileNotFoundError):
        scan(f"{archive}/*.nothing")


def test_one_file(archive):
    path = sorted_paths(archive)[0]
    for source in (path, os.fsencode(path), archive / path):
        assert scan(source, TAGS).read_all()["path"].to_pylist() == [path]


def test_sources_that_are_none(tmp_path):
    (tmp_path / "DICOMDIR").write_bytes(b"")
    with pytest.raises(ValueError, match="DICOMDIR"):
        scan(tmp_path / "DICOMDIR")
    with pytest.raises(FileNotFoundError):
        scan(tmp_path / "missing")
    with pytest.raises(TypeError, match="not int"):
        scan(3)


# --------------------------------------------------------------- memory ---


@pytest.mark.slow
def test_memory_does_not_grow_with_the_number_of_files(tmp_path):
    """Peak of a fresh process, on hard links of ten files."""
    if sys.platform != "linux":
        pytest.skip("the peak of a process is read in /proc")
    seeds = []
    for i in range(10):
        dataset = b.element(0x00080018, "UI", f"1.2.{i}") + b.element(0x00081030, "LO", "text" * 10)
        seeds.append(tmp_path / f"seed{i}")
        seeds[-1].write_bytes(b.part10(dataset + b.element(0x00200013, "IS", str(i))))
    folder = tmp_path / "archive"
    for i in range(200_000):
        if i % 1000 == 0:
            (folder / f"{i // 1000:03d}").mkdir(parents=True)
        os.link(seeds[i % 10], folder / f"{i // 1000:03d}" / f"{i}.dcm")
    # Of the process's own pages: ru_maxrss begins with those of its parent.
    program = (
        "import sys; from fastdcm.scanning.scanner import scan;"
        "s = scan(sys.argv[1]); n = sum(len(x) for x in s);"
        "print(n, *[line.split()[1] for line in open('/proc/self/status') if 'VmHWM' in line])"
    )

    def peak(path):
        done = subprocess.run(
            [sys.executable, "-c", program, path], check=True, capture_output=True, text=True
        )
        count, kilobytes = map(int, done.stdout.split())
        return count, kilobytes / 1024

    few, small = peak(str(folder / "00[0-9]"))
    many, large = peak(str(folder))
    assert (few, many) == (10_000, 200_000)
    assert large < 150
    assert large < small + 40
