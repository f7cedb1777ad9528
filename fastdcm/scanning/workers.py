"""Worker threads of a scan: hand out pieces of the source, read them, keep their order."""

from __future__ import annotations

import sys
from _thread import start_new_thread
from collections.abc import Iterator
from itertools import count
from threading import Condition, Lock
from time import perf_counter, process_time, thread_time
from typing import NamedTuple

from fastdcm._util.parallel import cpu_count
from fastdcm.scanning._batch import Batch, Plan
from fastdcm.scanning._worker import Worker
from fastdcm.sources._paths import StreamChunk
from fastdcm.sources.protocols import AnyChunk, PathReader

_MAX_THREADS = 64
#: Threads for servers until one is seen to be slow: more would only compete for the GIL.
_SERVER_THREADS = 32
_GROWTH = 8  # when files are waited for, this many times as many threads

#: The shortest time over which speed is measured.
_WINDOW_SECONDS = 0.004
#: The number of consecutive windows that must have waited before threads are added: the
#: load of other programs can make one or two look as if they had.
_DISK_WINDOWS, _SERVER_WINDOWS = 3, 2
#: Of a file not in the page cache: in it, a file takes a third of this.
_COLD_FILE_SECONDS = 30e-6
#: The share of the cores in use above which more threads would not help.
_BUSY_SHARE = 0.75
#: The same for one thread, of its own time.
_BUSY_SHARE_ALONE = 0.6
#: Cores in use by all threads that read from servers, above which none is waiting.
_SERVER_BUSY_CORES = 0.45
#: Threads are added again only while the rate has grown by this factor.
_WORTHWHILE = 1.1

#: The time that reading one piece should take.
_PIECE_SECONDS, _SERVER_PIECE_SECONDS = 0.003, 0.06
_MIN_PIECE, _MAX_PIECE = 16, 1024
_FIRST_PIECE, _FIRST_PIECE_ALONE = 32, 64


class Piece(NamedTuple):
    """A part of the source that one worker reads."""

    number: int
    chunk: AnyChunk | BaseException  # what the source raised, reported in its place
    ends_batch: bool


class PieceFeed:
    """Divides a source into pieces, for any number of threads."""

    def __init__(self, reader: PathReader, batch_size: int) -> None:
        self.reader, self.batch_size = reader, batch_size
        self._lock = Lock()
        self._left_in_batch = batch_size
        self._numbers = count()
        self._ended = False

    def next_piece(self, max_files: int) -> Piece | None:
        """Return a piece of at most `max_files` files, None after the last.

        A piece never extends over the end of a batch.
        """
        with self._lock:
            if self._ended:
                return None
            try:
                chunk = self.reader.read_chunk(min(max_files, self._left_in_batch))
            except BaseException as error:
                self._ended = True
                return Piece(next(self._numbers), error, True)
            if chunk is None:
                self._ended = True
                return None
            self._left_in_batch = (self._left_in_batch - len(chunk)) or self.batch_size
            return Piece(next(self._numbers), chunk, self._left_in_batch == self.batch_size)


class _Window:
    """Measurements over a short time, of all threads together."""

    def __init__(self) -> None:
        self.start, self.process_cpu = perf_counter(), process_time()
        self.pieces = self.files = 0
        self.wall_seconds = self.cpu_seconds = 0.0
        self.blocked = False  # a thread had to wait for rows to be fetched


class _Result(NamedTuple):
    """What became of a piece."""

    batches: list[Batch] | BaseException
    ends_batch: bool
    files: int


class ThreadPool:
    """Threads that read pieces, whose results come in the order of the source.

    **Number of threads.** A given number is kept. Otherwise there is one thread per
    core at first. In each window of at least 4 ms the pool measures files per second,
    time per file and CPU time:

    - *Local files.* They are being waited for when a file takes more than 30 us and
      the threads use less than 75 % of the cores: the files are not in the page
      cache. After three such windows in a row the pool grows to eight times as many
      threads, at most 64, and grows again as long as this makes it at least 10 %
      faster.
    - *Servers.* With each piece that is read from a server the number of threads
      doubles, up to 32. It grows to 64 when, in two windows in a row, all threads
      together use less than 0.45 of a core: then the server is slow, and more
      requests at a time help.

    **Size of a piece.** As many files as take 3 ms (60 ms from a server): large enough
    that the exchange of pieces costs nothing, small enough that results come in order
    without long waits. From servers the first pieces are of one file, because nothing
    is known yet about how long they take.

    **Read-ahead** by the system is switched off while files are waited for: only
    their headers are read.

    **Memory** is bounded: threads wait while results of four batches have not been
    fetched.

    Attributes
    ----------
    files, failed : int
        How many files have been read, and how many of them could not be.
    bytes_read : int
    threads : int
        How many threads have been started.
    """

    def __init__(self, plan: Plan, feed: PieceFeed, threads: int | None) -> None:
        self.files = self.bytes_read = self.failed = 0
        self.threads = 0
        self._plan, self._feed = plan, feed
        self._cores = cpu_count()
        self._adaptive = threads is None
        self._lock = Lock()
        self._result_ready = Condition(self._lock)
        self._space_available = Condition(self._lock)
        self._results: dict[int, _Result] = {}  # by the number of the piece
        self._next_number = 0  # of the piece whose result is fetched next
        self._files_ahead = 0  # handed out, and not fetched yet
        self._max_files_ahead = max(4 * feed.batch_size, 4 * _MAX_PIECE)
        self._open = True
        self._reads_servers = False
        self._random_access = True  # until the files are seen to be in the page cache
        self._piece_size = _FIRST_PIECE
        self._running = 0
        self._best_rate = 0.0
        self._waiting_windows = 0  # in a row
        self._window = _Window()
        with self._lock:
            self._spawn(threads or self._cores)

    def _spawn(self, threads: int) -> None:
        """Start threads."""
        # Not threading.Thread, whose start waits until the thread has begun to run.
        for _ in range(threads):
            try:
                start_new_thread(self._work, ())
            except RuntimeError:  # the system's limit is reached
                if not self.threads:
                    raise
                break
            self.threads += 1
            self._running += 1

    def _note_server(self) -> None:
        """Double the threads, because a piece is read from a server."""
        with self._lock:
            if not self._reads_servers:
                self._reads_servers, self._piece_size = True, 1
            if self._adaptive and self.threads < _SERVER_THREADS:
                self._spawn(min(self.threads, _SERVER_THREADS - self.threads))

    def _work(self) -> None:
        """Read pieces until there are none: what each thread runs."""
        worker = Worker(self._plan)
        bytes_read = failed = 0
        while True:
            with self._lock:
                while self._open and self._files_ahead >= self._max_files_ahead:
                    self._window.blocked = True
                    self._space_available.wait()
                size = self._piece_size
                self._files_ahead += size
                if self._files_ahead < self._max_files_ahead:
                    self._space_available.notify()
            piece = self._feed.next_piece(size) if self._open else None
            if piece is None:
                break
            wall, cpu = perf_counter(), thread_time()
            result = self._read(worker, piece)
            wall = perf_counter() - wall
            with self._lock:
                self._files_ahead += result.files - size
                self._results[piece.number] = result
                if piece.number == self._next_number:
                    self._result_ready.notify()
                self.files += result.files
                self.bytes_read += worker.bytes_read - bytes_read
                self.failed += worker.failed - failed
                bytes_read, failed = worker.bytes_read, worker.failed
                self._measure(result.files, wall, thread_time() - cpu)
        with self._lock:
            self._files_ahead -= size
            self._space_available.notify()
            self._running -= 1
            self._result_ready.notify()

    def _read(self, worker: Worker, piece: Piece) -> _Result:
        chunk = piece.chunk
        try:
            if isinstance(chunk, BaseException):
                raise chunk
            if isinstance(chunk, StreamChunk) and chunk.prefetch is not None:
                self._note_server()
            return _Result(worker.run(chunk, self._random_access), piece.ends_batch, len(chunk))
        except BaseException as error:
            return _Result(error, piece.ends_batch, 0)

    def _measure(self, files: int, wall: float, cpu: float) -> None:
        """Add a piece to the window; at the end of the window, adapt. Holds the lock."""
        window = self._window
        window.pieces += 1
        window.files += files
        window.wall_seconds += wall
        window.cpu_seconds += cpu
        if window.blocked:
            self._window = _Window()
            return
        seconds = perf_counter() - window.start
        if window.pieces < self.threads or seconds < _WINDOW_SECONDS or not window.files:
            return
        if self._reads_servers:
            self._adapt_to_servers(window, seconds)
            target, smallest = _SERVER_PIECE_SECONDS, 1
        else:
            self._adapt_to_files(window, seconds)
            target, smallest = _PIECE_SECONDS, _MIN_PIECE
        size = _MAX_PIECE
        if window.wall_seconds:
            size = int(target * window.files / window.wall_seconds)
        self._piece_size = min(max(size, smallest), _MAX_PIECE)
        self._window = _Window()

    def _adapt_to_servers(self, window: _Window, seconds: float) -> None:
        waiting = window.cpu_seconds < _SERVER_BUSY_CORES * seconds
        self._note_waiting(waiting)
        if self._adaptive and self._waiting_windows >= _SERVER_WINDOWS:
            self._spawn(_MAX_THREADS - self.threads)

    def _adapt_to_files(self, window: _Window, seconds: float) -> None:
        # That of the thread that fetches the rows is included.
        process_cpu = process_time() - window.process_cpu
        usable = seconds * min(self.threads, self._cores)
        waiting = (
            window.wall_seconds > _COLD_FILE_SECONDS * window.files
            and process_cpu < _BUSY_SHARE * usable
        )
        self._note_waiting(waiting)
        rate = window.files / seconds
        if not waiting:
            self._best_rate = 0.0
        elif (
            self._adaptive
            and rate > _WORTHWHILE * self._best_rate
            and (self._waiting_windows >= _DISK_WINDOWS or self.threads > self._cores)
        ):
            self._best_rate = rate
            self._spawn(min((_GROWTH - 1) * self.threads, _MAX_THREADS - self.threads))

    def _note_waiting(self, waiting: bool) -> None:
        self._random_access = waiting
        self._waiting_windows = self._waiting_windows + 1 if waiting else 0

    def results(self) -> Iterator[tuple[list[Batch], bool]]:
        """Yield (batches, whether they end a batch) in the order of the source.

        Raises what reading a piece raised, after the results before it.
        """
        for number in count():
            with self._lock:
                self._next_number = number
                while number not in self._results and self._running:
                    self._result_ready.wait()
                if number not in self._results:
                    return
                result = self._results.pop(number)
                self._files_ahead -= result.files
                self._space_available.notify()
            if isinstance(result.batches, BaseException):
                raise result.batches
            yield result.batches, result.ends_batch

    def close(self) -> None:
        """End all threads, and wait for them."""
        if sys.is_finalizing():  # threads do not run any more: waiting would never end
            return
        with self._lock:
            self._open = False
            self._space_available.notify_all()
            while self._running:
                self._result_ready.wait()


class CallerThread:
    """The same as a `ThreadPool`, in the thread that fetches the results."""

    threads = 1

    def __init__(self, plan: Plan, feed: PieceFeed) -> None:
        self.files = 0
        self._worker, self._feed = Worker(plan), feed

    @property
    def bytes_read(self) -> int:
        """How many bytes have been read."""
        return self._worker.bytes_read

    @property
    def failed(self) -> int:
        """How many files could not be read."""
        return self._worker.failed

    def results(self) -> Iterator[tuple[list[Batch], bool]]:
        """Yield (batches, whether they end a batch) in the order of the source."""
        size, random_access = _FIRST_PIECE_ALONE, True
        while (piece := self._feed.next_piece(size)) is not None:
            chunk = piece.chunk
            if isinstance(chunk, BaseException):
                raise chunk
            wall, cpu = perf_counter(), thread_time()
            batches = self._worker.run(chunk, random_access)
            wall, cpu = perf_counter() - wall, thread_time() - cpu
            random_access = (
                wall > _COLD_FILE_SECONDS * len(chunk) and cpu < _BUSY_SHARE_ALONE * wall
            )
            size = self._feed.batch_size
            self.files += len(chunk)
            yield batches, piece.ends_batch

    def close(self) -> None:
        """Do nothing: there is no thread to end."""
