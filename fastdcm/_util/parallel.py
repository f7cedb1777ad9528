"""Work that several threads share."""

import os
import threading


def cores():
    """How many threads can run at once."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def spread(work, count, threads):
    """Calls ``work(start, stop)`` for pieces of ``range(count)`` in `threads`
    threads, this one among them. Raises the first error, in order of pieces."""
    if count == 0:
        return None
    if threads < 2 or count < 2:
        return work(0, count)
    size = max(1, count // (threads * 8))
    pieces = iter(range(0, count, size))
    lock = threading.Lock()
    errors = []

    def run():
        while not errors:
            with lock:
                start = next(pieces, None)
            if start is None:
                return
            try:
                work(start, min(start + size, count))
            except BaseException as error:  # KeyboardInterrupt ends the others, too
                errors.append((start, error))

    others = [threading.Thread(target=run) for _ in range(min(threads, count) - 1)]
    for thread in others:
        thread.start()
    run()
    for thread in others:
        thread.join()
    if errors:
        raise min(errors, key=lambda found: found[0])[1]
