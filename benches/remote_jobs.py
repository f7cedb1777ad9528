"""Headers of files behind a server, beside obstore alone: a job of report.py.

The server is tests/support/http_server.py in a process of its own, on loopback: with the wait
of a server elsewhere, and as fast as it can answer, when nobody waits and the
cores that it shares with its client are all there is to measure. obstore's own
ranged reads have as many threads as the scan and ask for the same first bytes;
with the size and time of the object, which a row has, they are another call.
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
from contest import compete, must, show, timed
from obstore.store import HTTPStore

import fastdcm
from fastdcm._util.parallel import run_parallel

FILES, FIRST = 4000, 8192
WAITS = 0, 10, 20  # ms
SERVER = Path(__file__).resolve().parent.parent / "tests" / "support" / "http_server.py"


@contextmanager
def serving(paths, seconds):
    """The URL of a server of these files."""
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
    names = [Path(path).name for path in paths]
    local = fastdcm.scan(paths).read_all().drop_columns(["path", "mtime_ns"])
    for wait in WAITS:
        with serving(paths, wait / 1000) as url:
            store = HTTPStore(url, client_options={"allow_http": True})

            def ranged(name):
                return obstore.get_range(store, name, start=0, end=FIRST)

            def told(name):
                answer = obstore.get(store, name, options={"range": (0, FIRST)})
                assert answer.meta["size"] > FIRST
                return answer.bytes()

            def alone(names, read=ranged):
                left = iter(names)  # whoever is free takes the next

                def work(*_):
                    for name in left:
                        assert len(bytes(read(name))) == FIRST

                run_parallel(work, threads, threads)

            def scan(names):
                assert sum(map(len, fastdcm.scan([f"{url}/{name}" for name in names]))) == len(
                    names
                )

            before = requests(url)
            ours = fastdcm.scan([f"{url}/{name}" for name in names])
            assert ours.read_all().drop_columns(["path", "mtime_ns"]).equals(local)
            asked = requests(url) - before - 1
            threads = ours.stats["threads"]
            alone(names)
            times = compete(
                {
                    "obstore alone": lambda: timed(alone, names),
                    "obstore alone, size too": lambda: timed(partial(alone, read=told), names),
                    "fastdcm scan": lambda: timed(scan, names),
                },
                report.rounds,
            )
            show(
                f"CT behind a server that answers after {wait} ms, {threads} threads, a file", times
            )
            must(
                "rate of the scan / of obstore alone",
                times["obstore alone"] / times["fastdcm scan"],
                0.9,
                True,
            )
            must("requests a file", asked / len(names), 1.3)
            must("KB a file", ours.stats["bytes_read"] / len(names) / 1000, 20)
