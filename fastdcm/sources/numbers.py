"""Check numbers that come from outside: sizes and times of files, members and objects.

A table stores them as int64. What does not fit is not known: it must not become another
number.
"""

from __future__ import annotations

_MAX = 2**63 - 1


def known_size(size: object) -> int | None:
    """Return a size or an offset in bytes, or None if it is not one.

    Parameters
    ----------
    size : object
        What an archive, a listing or a server states.

    Returns
    -------
    int or None
        A number from 0 to 2**63 - 1.
    """
    return size if isinstance(size, int) and 0 <= size <= _MAX else None


def known_time(mtime_ns: object) -> int | None:
    """Return a time in nanoseconds since 1970, or None if it is not known.

    Parameters
    ----------
    mtime_ns : object
        What the system or a server states.

    Returns
    -------
    int or None
        None also before 1677 and after 2262, which 64 bits cannot express.
    """
    return mtime_ns if isinstance(mtime_ns, int) and abs(mtime_ns) <= _MAX else None
