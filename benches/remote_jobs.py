"""Job of report.py: scan files on an HTTP server, compared with obstore alone.

The server is tests/support/http_server.py in a process of its own, on loopback. It answers
with the delay of a distant server, or as fast as it can; without a delay, only the
processors that it shares with its client are measured. obstore's own ranged reads use as
many threads as the scan and request the same first bytes. Reading the size and time of the
object, which a row contains, is a different call of obstore, measured as well.
"""

import os
import subprocess
import sys
import tempfile
import urllib.request
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import obstore
from obstore.store import HTTPStore
from timing import measure, print_times, timed

import fastdcm
from fastdcm._util.parallel import run_parallel

FILES, FIRST = 4000, 8192
DELAYS = 0, 10, 20  # ms
SERVER = Path(__file__).resolve().parent.parent / "tests" / "support" / "http_server.py"


@contextmanager
def serving(paths, seconds):
    """Yield the URL of a server of these files."""
    with tempfile.TemporaryDirectory() as folder:
        for path in paths:
            os.symlink(path, Path(folder) / Path(path).name)
        server = subprocess.Popen(
            [sys.executable, SERVER, folder, str(seconds)], stdout=subprocess.PIPE, text=True
        )
        try:
            yield f"http://127.0.0.1:{server.stdout.readline().strip()}"
        finally:
            server.kill()
            server.wait()


def requests(url):
    with urllib.request.urlopen(f"{url}/requests") as answer:
        return int(answer.read())


def remote(report):
    paths = report.ct[:FILES]
    local = fastdcm.scan(paths).read_all().drop_columns(["path", "mtime_ns"])
    for delay in DELAYS:
        with serving(paths, delay / 1000) as url:
            measure_delay(report, delay, url, local)


def measure_delay(report, delay, url, local):
    """Scan the files of a server; `local` is the expected table."""
    names = [Path(path).name for path in report.ct[:FILES]]
    urls = [f"{url}/{name}" for name in names]
    store = HTTPStore(url, client_options={"allow_http": True})

    before = requests(url)
    ours = fastdcm.scan(urls)
    assert ours.read_all().drop_columns(["path", "mtime_ns"]).equals(local)
    sent = requests(url) - before - 1
    threads = ours.stats["threads"]

    def ranged(name):
        return obstore.get_range(store, name, start=0, end=FIRST)

    def ranged_with_size(name):
        answer = obstore.get(store, name, options={"range": (0, FIRST)})
        assert answer.meta["size"] > FIRST
        return answer.bytes()

    def alone(names, read=ranged):
        left = iter(names)  # a thread that is free takes the next name

        def work(*_):
            for name in left:
                assert len(bytes(read(name))) == FIRST

        run_parallel(work, threads, threads)

    def scan(urls):
        assert sum(map(len, fastdcm.scan(urls))) == len(urls)

    alone(names)
    times = measure(
        {
            "obstore alone": lambda: timed(alone, names),
            "obstore alone, with size": lambda: timed(partial(alone, read=ranged_with_size), names),
            "fastdcm scan": lambda: timed(scan, urls),
        },
        report.rounds,
    )
    print_times(f"CT on a server, delay {delay} ms, {threads} threads, per file", times)
    report.check(
        f"delay {delay} ms: rate of the scan / of obstore alone",
        times["obstore alone"] / times["fastdcm scan"],
        at_least=0.9,
    )
    report.check(f"delay {delay} ms: requests per file", sent / len(names), at_most=1.3)
    report.check(
        f"delay {delay} ms: KB per file",
        ours.stats["bytes_read"] / len(names) / 1000,
        at_most=20,
    )
