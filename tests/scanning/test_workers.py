"""Worker threads: order, batches, errors, and the end of all threads."""

import os
import subprocess
import sys
import time

import pyarrow
import pytest

import fastdcm
from fastdcm.scanning import workers
from fastdcm.scanning.scanner import scan, scan_chunk
from support import builder as b
from support.cli import environment
from support.scans import count_threads, sorted_paths

TAGS = ["SOPInstanceUID", "InstanceNumber", "ImageType"]


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
    # the same rows as in the calling thread
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
    seen, before = [], count_threads()
    with pytest.raises(fastdcm.InvalidDicomError) as caught:
        for batch in run("raise"):
            seen += batch.column("path")
    first = next(p for p in sorted_paths(archive) if int(p[-8:-4]) % 500 == 499)
    assert caught.value.filename == first
    assert seen == sorted_paths(archive)[: len(seen)] and first not in seen
    assert count_threads() == before


def test_an_iterator_is_read_as_needed(archive):
    path = sorted_paths(archive)[0]
    yielded = 0

    def forever():
        nonlocal yielded
        while True:
            yielded += 1
            yield path

    for threads in (1, 2):
        before = count_threads()
        batches = iter(scan(forever(), TAGS, batch_size=256, threads=threads))
        assert len(next(batches)) == len(next(batches)) == 256
        batches.close()
        assert count_threads() == before
        assert yielded < 20000
        yielded = 0


@pytest.mark.parametrize("threads", [1, 2])
def test_errors_of_an_iterator_are_raised(archive, threads):
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
def test_threads_wait_until_rows_are_fetched(put, monkeypatch, threads):
    """Results are not collected without limit, and all threads end."""
    paths = [put(b.element(0x00200013, "IS", str(i))) for i in range(50)]
    monkeypatch.setattr(workers, "_MAX_PIECE", 4)
    monkeypatch.setattr(workers, "_MIN_PIECE", 4)
    batches = iter(scan(paths * 20, ["InstanceNumber"], threads=threads, batch_size=5))
    numbers = next(batches).column("InstanceNumber")
    time.sleep(0.1)  # the other threads read as far ahead as they may
    for batch in batches:
        numbers += batch.column("InstanceNumber")
    assert numbers == [*range(50)] * 20


@pytest.mark.parametrize(
    "code",
    [
        "rows = iter(scan()); next(rows)",
        "import pyarrow; rows = pyarrow.RecordBatchReader.from_stream(scan()); "
        "rows.read_next_batch()",
        "def f():\n    rows = iter(scan()); next(rows); raise ValueError\nf()",
        "rows = iter(scan())\nfor batch in rows: raise SystemExit(0)",
        "import os, signal\ndef f():\n    rows = iter(scan()); next(rows)\n"
        "    os.kill(os.getpid(), signal.SIGINT)\nf()",
    ],
    ids=["end", "pyarrow", "exception", "exit", "interrupt"],
)
def test_a_process_ends_with_a_scan_half_read(archive, code):
    start = "import sys, fastdcm\nfrom fastdcm.scanning import workers\n"
    start += "workers._MAX_PIECE = workers._MIN_PIECE = workers._FIRST_PIECE = 1\n"
    start += "scan = lambda: fastdcm.scan(sys.argv[1], [], batch_size=5)\n"
    subprocess.run(
        [sys.executable, "-c", start + code, archive],
        timeout=20,
        capture_output=True,
        env=environment(),
        check=False,
    )
