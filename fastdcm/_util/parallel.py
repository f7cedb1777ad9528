"""Run a loop over a range in several threads."""

from __future__ import annotations

import os
import threading

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


def cpu_count() -> int:
    """Return how many threads can run at the same time in this process."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def run_parallel(work: Callable[[int, int], object], count: int, threads: int) -> None:
    """Call ``work(start, stop)`` for consecutive parts of ``range(count)``.

    The parts are shared by `threads` threads, the calling one included. Raises
    the error of the first part that failed; the parts not yet begun are then
    left out.
    """
    if count == 0:
        return
    if threads < 2 or count < 2:
        work(0, count)
        return
    size = max(1, count // (threads * 8))
    starts = iter(range(0, count, size))
    lock = threading.Lock()
    errors: list[tuple[int, BaseException]] = []

    def run() -> None:
        while not errors:
            with lock:
                start = next(starts, None)
            if start is None:
                return
            try:
                work(start, min(start + size, count))
            except BaseException as error:  # KeyboardInterrupt stops the others, too
                errors.append((start, error))

    others = [threading.Thread(target=run) for _ in range(min(threads, count) - 1)]
    for thread in others:
        thread.start()
    run()
    for thread in others:
        thread.join()
    if errors:
        raise min(errors, key=lambda found: found[0])[1]
