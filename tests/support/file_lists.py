"""Lists of files: made on disk and in memory, and as rows."""

import os
from array import array

from fastdcm.sources._paths import Walk, chunk_from_columns

POSIX = os.name != "nt"


def plant(folder, *names, data=b""):
    """Write files with these names, relative to a folder."""
    for name in names:
        path = os.path.join(os.fspath(folder), name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(data)


def listed(folder, count=1000):
    """Return the chunks of a walk, with sizes and times."""
    walk = Walk(os.fsencode(folder))
    while (chunk := walk.read_chunk(count)) is not None:
        chunk.stat()
        yield chunk


def columns(chunk):
    """Return the columns of a chunk, as memoryviews of their types."""
    return [memoryview(c).cast("B").cast(form) for c, form in zip(chunk.columns(), "Bqqqi")]


def rows(chunk):
    """Return the columns of a chunk as rows: (path, size, mtime_ns, errno)."""
    data, offsets, sizes, times, errnos = columns(chunk)
    assert len(offsets) == len(chunk) + 1 and len(sizes) == len(times) == len(errnos) == len(chunk)
    return [
        (bytes(data[offsets[i] : offsets[i + 1]]), sizes[i], times[i], errnos[i])
        for i in range(len(chunk))
    ]


def make(entries):
    """Return the chunk that has such rows."""
    paths, sizes, times, errnos = zip(*entries) if entries else ((), (), (), ())
    offsets = [0]
    for path in paths:
        offsets.append(offsets[-1] + len(path))
    return chunk_from_columns(
        b"".join(paths),
        array("q", offsets),
        array("q", sizes),
        array("q", times),
        array("i", errnos),
    )
