"""An HTTP/1.1 server of files on the loopback interface: ranges, ETags, faults, counts.

    python tests/support/http_server.py FOLDER [SECONDS]

serves a folder and prints the port. Each answer is delayed by SECONDS, as by a
distant server.
"""

import asyncio
import os
import re
import sys
import threading
import zlib
from email.utils import formatdate
from http import HTTPStatus
from pathlib import Path

MODIFIED = 1_750_000_000  # the modification time of files that are bytes
_PIECE = 65536


class Served:
    """A server that runs in a thread while a `with` block is executed.

    files : {"/name": bytes, or a path}. Changes take effect at once.
    faults : {"/name": [fault, ...]}, one for each request, None for a correct answer. A
        fault is a status, "reset" (no answer), "drop" (half the body, then the connection
        ends), "stall" (half the body, then nothing), "whole" (no ranges), "short" or "long"
        (another length than requested).
    always : the fault of all other requests.
    etags : whether answers have an ETag.
    special : a function of the target that returns (status, body), or None for a file.

    requests : lists [method, target, (start, stop) or None, bytes of body sent].
    """

    def __init__(self, files, wait=0.0):
        self.files, self.wait = dict(files), wait
        self.faults, self.always, self.etags = {}, None, True
        self.special = lambda target: None
        self.requests, self.connections = [], 0

    def __enter__(self):
        started = threading.Event()
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(
            target=self.loop.run_until_complete,
            args=(self.run(lambda port: started.set()),),
            daemon=True,
        )
        self.thread.start()
        assert started.wait(10)
        return self

    def __exit__(self, *exception):
        self.loop.call_soon_threadsafe(self.ended.set_result, None)
        self.thread.join(10)
        self.loop.close()

    async def run(self, ready):
        self.loop = asyncio.get_running_loop()
        self.ended = self.loop.create_future()
        server = await self.loop.create_server(
            lambda: _Connection(self), "127.0.0.1", 0, backlog=1024
        )
        self.port = server.sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        ready(self.port)
        await self.ended
        server.close()

    @property
    def sent(self):
        """The bytes of all bodies that were sent."""
        return sum(request[3] for request in self.requests)

    def clear(self):
        self.requests.clear()

    def fault(self, target):
        faults = self.faults.get(target)
        return faults.pop(0) if faults else self.always

    def read(self, target, start, stop):
        """Return (bytes, size, modification time, ETag), or None for a missing file."""
        file = self.files.get(target.partition("?")[0])
        if isinstance(file, bytes):
            return file[start:stop], len(file), MODIFIED, f'"{zlib.crc32(file):x}"'
        if file is None:
            return None
        handle = os.open(file, os.O_RDONLY)
        status = os.fstat(handle)
        stop = status.st_size if stop is None else min(stop, status.st_size)
        data = os.pread(handle, max(stop - start, 0), start)
        os.close(handle)
        return data, status.st_size, int(status.st_mtime), f'"{status.st_mtime_ns:x}"'


class _Connection(asyncio.Protocol):
    def __init__(self, server):
        self.server = server
        self.received, self.rest, self.paused = b"", memoryview(b""), False

    def connection_made(self, transport):
        self.transport = transport
        transport.set_write_buffer_limits(high=_PIECE)
        self.server.connections += 1

    def data_received(self, data):
        self.received += data
        while (end := self.received.find(b"\r\n\r\n")) >= 0:
            head, self.received = self.received[:end].decode("latin-1"), self.received[end + 4 :]
            if self.server.wait:
                self.server.loop.call_later(self.server.wait, self.answer, head)
            else:
                self.answer(head)

    def pause_writing(self):
        self.paused = True

    def resume_writing(self):
        self.paused = False
        self.write()

    def answer(self, head):
        server = self.server
        method, target, _ = head.split("\r\n", 1)[0].split(" ")
        found = re.search(r"(?im)^range: bytes=(\d+)-(\d*)", head)
        span = found and (int(found[1]), int(found[2]) + 1 if found[2] else None)
        self.request = [method, target, span, 0]
        server.requests.append(self.request)
        fault = server.fault(target)
        special = server.special(target)
        if fault == "reset":
            self.transport.abort()
            return
        if isinstance(fault, int):
            special = (
                fault,
                b"<Error><Code>ToldBy</Code><Message>the server\nsecret</Message></Error>",
            )
        if special is not None:
            self.send(method, *special)
            return
        start, stop = span if span and fault != "whole" else (0, None)
        found = server.read(target, start, stop)
        if found is None:
            self.send(method, 404, b"<Error><Code>NoSuchKey</Code></Error>")
            return
        data, size, seconds, etag = found
        headers = f"Last-Modified: {formatdate(seconds, usegmt=True)}\r\n"
        headers += f"ETag: {etag}\r\n" * server.etags
        if span and fault != "whole":
            if start >= size:
                self.send(method, 416, b"")
                return
            headers += f"Content-Range: bytes {start}-{start + len(data) - 1}/{size}\r\n"
        if fault in ("short", "long"):
            data = data[:-1] if fault == "short" else data + bytes(1 << 22)
        half = len(data) // 2 if fault in ("drop", "stall") else None
        self.send(method, 206 if span and fault != "whole" else 200, data, headers, half)
        if fault == "drop":
            self.transport.close()

    def send(self, method, status, body, headers="", most=None):
        self.transport.write(
            f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\n{headers}"
            f"Content-Length: {len(body)}\r\n\r\n".encode()
        )
        if method != "HEAD":
            self.rest = memoryview(body)[:most]
            self.write()

    def write(self):
        while self.rest and not self.paused and not self.transport.is_closing():
            piece, self.rest = self.rest[:_PIECE], self.rest[_PIECE:]
            self.request[3] += len(piece)
            self.transport.write(piece)


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    # /requests returns how many requests there were before.
    served = Served(
        {
            f"/{path.relative_to(folder).as_posix()}": path
            for path in folder.rglob("*")
            if path.is_file()
        },
        float([*sys.argv, "0"][2]),
    )
    served.special = lambda target: (
        (200, b"%d" % (len(served.requests) - 1)) if target == "/requests" else None
    )
    asyncio.run(served.run(lambda port: print(port, flush=True)))
