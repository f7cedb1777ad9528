"""Objects in buckets and behind HTTP as sources of a scan, and as files."""

import errno
import os
from fnmatch import fnmatchcase
from itertools import islice

from fastdcm.errors import error_for
from fastdcm.sources._paths import Seekable, Streams
from fastdcm.sources.archives.limits import Failed
from fastdcm.sources.objects._object import Object, ask
from fastdcm.sources.objects.stores import place_of, refusal

# To a chunk, at most, but for the first.
_AT_ONCE, _ONE_BY_ONE = 32, 64
# What dcmread asks for first: the header of almost any single frame.
_FIRST = 16384


class Objects:
    """The objects below a URL, or that match it as a glob, in the order in which
    their server lists them: of buckets, that of their names. A listing that
    fails ends with a row in error. What lists nothing is one object.

    A source for `scan`.
    """

    def __init__(self, url, recursive=True):
        self.url, self.recursive = url, recursive
        parts = url.split("/")
        fixed = next(
            (i for i, part in enumerate(parts) if i > 2 and any(c in part for c in "*?[")),
            len(parts),
        )
        self.pattern = parts[fixed:]
        self.base = "/".join(parts[:fixed]).rstrip("/") + "/"
        self.place, self.name = place_of(self.base)
        self.is_dated = self.place.is_dated

    def start(self):
        return ObjectTaker(self.streams())

    def streams(self):
        found = False
        try:
            for name, size, mtime_ns in self.place.list(self.name):
                if self.matches(name):
                    found = True
                    yield Object(self.base + name, size, mtime_ns)
        except FileNotFoundError:
            pass
        except Exception as error:
            told = refusal(error, self.url, "walk")
            yield self.failed(
                error_for("walk", f"the listing ended: {told.text}", errno=told.errno)
            )
            return
        if not found and (self.pattern or not self.name or self.url.endswith("/")):
            yield self.failed(error_for("open", "nothing is listed there", errno=errno.ENOENT))
        elif not found:
            yield Object(self.url)

    def failed(self, error):
        return Failed(os.fsencode(self.url), None, None, error)

    def matches(self, name):
        parts = name.split("/")
        if not self.pattern:
            return self.recursive or len(parts) == 1
        if "**" in self.pattern:
            return _matches(parts, self.pattern)
        depth = len(self.pattern)  # what is below a folder that matches, too
        return _matches(parts[:depth], self.pattern) and (self.recursive or len(parts) <= depth + 1)


def _matches(parts, pattern):
    if not pattern:
        return not parts
    if pattern[0] == "**":
        return any(_matches(parts[i:], pattern[1:]) for i in range(len(parts) + 1))
    return bool(parts) and fnmatchcase(parts[0], pattern[0]) and _matches(parts[1:], pattern[1:])


class ObjectTaker:
    """Takes from iterators of streams, one after another: one by one at first, so
    that all threads get some, and more later."""

    def __init__(self, streams=()):
        self.streams, self.given = streams, 0

    def over(self, streams):
        self.streams = streams
        return self

    def take(self, count):
        streams = list(
            islice(self.streams, min(count, _AT_ONCE if self.given >= _ONE_BY_ONE else 1))
        )
        self.given += len(streams)
        return Streams(streams, ask) if streams else None


def open_url(url, size=None):
    """The object as a file object, for `dcmread`: threads may share it. With
    its size, as a scan gave it, nothing is asked for before it is needed."""
    stream = Object(url, size)
    if size is None:
        stream.open(_FIRST)
    return Seekable(stream)
