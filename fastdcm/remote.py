"""Objects in buckets and behind HTTP: streams, read by ranged requests.

obstore reads s3://, gs://, az:// and http(s)://, with the credentials and
endpoints that it finds in the environment; fsspec reads every other scheme.
Both are imported when there is a URL to read.
"""

import errno
import os
import re
from collections import namedtuple
from fnmatch import fnmatchcase
from functools import lru_cache
from itertools import islice
from threading import Lock
from urllib.parse import unquote, urlsplit

from fastdcm._chunks import Seekable, Streams
from fastdcm.errors import DicomError, error_for
from fastdcm.members import Failed

_HTTP = ("http", "https")
_BUCKETS = ("s3", "s3a", "gs", "az", "abfs", "abfss")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://").match
# A server, and a path that there is but one way to write.
_PLAIN = re.compile(r"(https?://[\w.:-]+)/((?:[\w-][\w.-]*/)*[\w-][\w.-]*)", re.ASCII).fullmatch

# To a chunk, at most.
_AT_ONCE = 32
# What dcmread asks for first: the header of almost any single frame.
_FIRST = 16384
# Headers within pixel data are looked at more than once.
_SHORT = 1024
# More is asked for in pieces, each of which has the time that a request has.
_PIECE = 64 << 20
# Seconds: for a connection, without a byte, for a request, for all tries of it.
_CONNECT, _SILENCE, _REQUEST, _TRIES = 10, 20, 120, 180
_RETRIES, _BACKOFF, _BACKOFF_MOST = 6, 0.1, 5


def is_url(path):
    """Whether a path is one that is read here: str or bytes with a scheme."""
    if isinstance(path, bytes):
        path = os.fsdecode(path)
    return (isinstance(path, str) and "://" in path and not path.startswith("file:")
            and _SCHEME(path) is not None)


def lists(url):
    """Whether what is below a URL can be listed."""
    return _scheme(url) not in _HTTP


def _scheme(url):
    return url.partition("://")[0].lower()


def _refusal(error, url, code="stream"):
    """The DicomError that tells in one line what a server answered: without its
    body and without the URL, which may be signed."""
    text = str(error)
    number = None
    status = re.search(r"status code: (\d{3}[^:\n]*)", text)
    if status:
        told = status[1].strip()
        if reason := re.search(r"<Code>(\w+)</Code>", text):
            told += f" ({reason[1]})"
    elif isinstance(error, FileNotFoundError):
        told = "there is no such object"
    else:
        line = re.sub(r"^Generic \w+ error: ", "", text.partition("\n")[0])
        told = re.sub(r"\S*://\S*", "...", line.rpartition(" - ")[2])
        if told.startswith("HTTP error"):  # the innermost cause tells most
            told = "; ".join([told, *re.findall(r'("[^"\n]*"|\b[A-Z][A-Za-z]+),?$', text, re.M)[-1:]])
    if retries := re.search(r"after (\d+) retries", text):
        told += f", after {retries[1]} retries"
    if re.search(r"169\.254\.|metadata|/latest/api/token", text):  # it asked the machine that it may run on
        told = f"there are no credentials ({told})"
        number = errno.EACCES
    elif told.startswith("404") or isinstance(error, FileNotFoundError):
        number = errno.ENOENT
    elif told.startswith(("401", "403")):
        number = errno.EACCES
    if number and code == "stream":
        code = "open"
    return error_for(code, told, filename=url, errno=number)


class _Store:
    """A place that obstore reads."""

    is_dated = True  # a listing tells when objects were changed

    def __init__(self, obstore, store):
        self.obstore, self.store = obstore, store

    def get(self, name, offset, length):
        """(an answer, whose `meta` tells of the object, and its bytes) by one request.
        A body is read as far as it was asked for, whatever comes."""
        _check_process()
        obstore = self.obstore
        for last in (False, False, True):
            try:
                answer = obstore.get(self.store, name, options={"range": (offset, offset + length)})
                pieces, start = answer.stream(length), offset
            except obstore.exceptions.NotSupportedError:  # the server sends all or nothing
                answer = obstore.get(self.store, name)
                pieces, start = answer.stream(65536), 0
            except obstore.exceptions.GenericError as error:
                if offset or "status code: 416" not in str(error):
                    raise
                return obstore.get(self.store, name), b""  # it is empty
            try:
                return answer, _cut(pieces, offset - start, length)
            except obstore.exceptions.BaseError:  # obstore goes on by itself where an ETag makes that safe
                if last or answer.meta["e_tag"]:
                    raise

    def list(self, name):
        """(name behind `name`, size, mtime_ns) of each object below, as they come.

        obstore takes the slash from the marker of a folder, so that it looks
        like an empty object. Most stand before what is in their folder; of
        what else is empty the server knows whether it is there.
        """
        prefix = name.rstrip("/") + "/" if name else ""
        empty = None
        for meta in self.entries(prefix):
            if empty is not None and not meta["path"].startswith(empty["path"] + "/"):
                yield from self.there(empty, prefix)
            empty = None if meta["size"] else meta
            if empty is None:
                yield _entry(meta, prefix)
        if empty is not None:
            yield from self.there(empty, prefix)

    def entries(self, prefix):
        """The next page is on its way while one is read, and no more of them."""
        from concurrent.futures import ThreadPoolExecutor

        _check_process()
        pages = self.obstore.list(self.store, prefix or None, chunk_size=1000)
        with ThreadPoolExecutor(1) as ahead:
            page = ahead.submit(next, pages, None)
            while entries := page.result():
                page = ahead.submit(next, pages, None)
                yield from entries

    def there(self, meta, prefix):
        try:
            self.obstore.head(self.store, meta["path"])
        except FileNotFoundError:
            return
        except self.obstore.exceptions.BaseError:
            pass
        yield _entry(meta, prefix)


def _entry(meta, prefix):
    return meta["path"][len(prefix):], meta["size"], _mtime_ns(meta)


def _mtime_ns(meta):
    """In whole seconds, as HTTP tells them; a listing may know more."""
    modified = meta["last_modified"]
    return int(modified.timestamp()) * 10**9 if modified else 0


def _cut(pieces, offset, length):
    """The bytes [offset, offset + length) of what begins with `pieces`."""
    parts, at = [], 0
    for piece in pieces:
        if len(piece) == length and at == offset == 0:
            return piece
        parts.append(piece[max(offset - at, 0):max(offset + length - at, 0)])
        at += len(piece)
        if at >= offset + length:
            break
    return b"".join(parts)


_Told = namedtuple("_Told", "meta")


class _Filesystem:
    """A place that fsspec reads."""

    is_dated = False

    def __init__(self, filesystem):
        self.filesystem = filesystem

    def get(self, name, offset, length):
        meta = {"size": self.filesystem.info(name)["size"], "last_modified": None, "e_tag": None}
        try:
            meta["last_modified"] = self.filesystem.modified(name)
        except NotImplementedError:
            pass
        data = self.filesystem.cat_file(name, offset, min(offset + length, meta["size"]))
        return _Told(meta), data

    def list(self, name):
        start = len(name.rstrip("/")) + 1
        for _, _, files in self.filesystem.walk(name, detail=True, on_error="raise"):
            for key in sorted(filter(None, files)):
                yield files[key]["name"][start:], files[key]["size"], None


def _open_store(base):
    try:
        import obstore
        from obstore.store import HTTPStore, from_url
    except ModuleNotFoundError as error:
        raise _missing(error, base) from None
    from datetime import timedelta

    def seconds(count):
        return timedelta(seconds=count)

    options = {
        "client_options": {"allow_http": True, "connect_timeout": seconds(_CONNECT),
                           "read_timeout": seconds(_SILENCE), "timeout": seconds(_REQUEST)},
        "retry_config": {"max_retries": _RETRIES, "retry_timeout": seconds(_TRIES),
                         "backoff": {"init_backoff": seconds(_BACKOFF), "base": 2,
                                     "max_backoff": seconds(_BACKOFF_MOST)}},
    }
    return _Store(obstore, (HTTPStore if _scheme(base) in _HTTP else from_url)(base, **options))


_stores, _MOST_STORES = {}, 64
_opening = Lock()


def _store(base):
    """The one store of a bucket or a server: with its connections, for all threads."""
    store = _stores.get(base)
    if store is None:
        with _opening:  # many threads begin together
            store = _stores.get(base)
            if store is None:
                if len(_stores) == _MOST_STORES:
                    _stores.clear()
                store = _stores[base] = _open_store(base)
    return store


def _missing(error, url):
    name = error.name.partition(".")[0]
    return ModuleNotFoundError(f"{_scheme(url)}:// needs {name}: pip install 'fastdcm-dicom[remote]'",
                               name=name)


@lru_cache(maxsize=1)
def _first_process():
    return os.getpid()


def _check_process():
    """obstore has threads, which a fork leaves behind: it would wait for ever."""
    if _first_process() != os.getpid():
        raise error_for("stream", "URLs were read before this process was forked; start processes "
                                  "with 'spawn' or 'forkserver'")


def _place(url):
    """(the place, the name in it) of what a URL leads to."""
    try:
        if plain := _PLAIN(url):
            return _store(plain[1]), plain[2]
        scheme, _, rest = url.partition("://")
        scheme = scheme.lower()
        if scheme in _BUCKETS:
            host, _, name = rest.partition("/")
            return _store(f"{scheme}://{host}"), name
        if scheme in _HTTP:
            return _odd(url)
        try:
            from fsspec.core import url_to_fs
        except ModuleNotFoundError as error:
            raise _missing(error, url) from None
        filesystem, name = url_to_fs(url)
        return _Filesystem(filesystem), name
    except ModuleNotFoundError:
        raise
    except Exception as error:
        raise _refusal(error, url) from None


def _odd(url):
    """One store serves a whole server, but it writes the path of a URL in its
    own way. Where that is another, or there is a query, the store is of one URL."""
    parts = urlsplit(url)
    try:
        names = [unquote(part, errors="strict") for part in parts.path.split("/")[1:]]
    except UnicodeDecodeError:
        names = []
    if names and not parts.query and all(
            name.isprintable() and "/" not in name and name not in ("", ".", "..") for name in names):
        return _store(f"{parts.scheme}://{parts.netloc}"), "/".join(names)
    return _open_store(url.partition("#")[0]), ""


class Object:
    """One object, a stream (see `fastdcm._chunks.Streams`).

    size : known already, or None. mtime_ns: whole seconds, 0 when the server
        does not tell them.

    Raises DicomError: "open" for what is missing or forbidden, "stream" for
    what a server did not give, "changed" when it is no longer what was read
    first. Threads may share it.
    """

    def __init__(self, url, size=None, mtime_ns=None):
        if isinstance(url, bytes):
            self.url, self.path = os.fsdecode(url), url
        else:
            self.url, self.path = url, os.fsencode(url)
        self.size, self.mtime_ns = size, mtime_ns
        self.where = None       # the place, and the name in it
        self.version = None     # size and ETag, or time: of every answer
        self.asked = None       # what `ask` got for `open`: an answer or a DicomError
        self.kept = ()          # (offset, bytes) of short reads: the first, and some of the last

    def open(self, first):
        """Its first bytes, and with them what there is to know of it."""
        if self.size != 0:
            self.size = None
            asked, self.asked = self.asked, None
            if isinstance(asked, DicomError):
                raise asked
            data = self.checked(0, first, *(asked or self.answer(0, first)))
            self.kept = ((0, data),)
            return data

    def read(self, offset, length):
        for start, data in self.kept:
            if start <= offset and offset + length <= start + len(data):
                return data[offset - start:offset - start + length]
        pieces = [self.get(at, min(_PIECE, offset + length - at))
                  for at in range(offset, offset + length, _PIECE)]
        if 0 < length < _SHORT:
            self.kept = (*self.kept[:1], *self.kept[1:][-7:], (offset, pieces[0]))
        return b"".join(pieces)

    def get(self, offset, length):
        return self.checked(offset, length, *self.answer(offset, length))

    def answer(self, offset, length):
        """(an answer, whose `meta` tells of it, bytes)"""
        if self.where is None:
            self.where = _place(self.url)
        place, name = self.where
        try:
            return place.get(name, offset, length)
        except (DicomError, ModuleNotFoundError, MemoryError):
            raise
        except Exception as error:
            raise _refusal(error, self.url) from None

    def checked(self, offset, length, answer, data):
        """The bytes of an answer, which must be of what the first answer was of."""
        meta = answer.meta
        size, mtime_ns = meta["size"], _mtime_ns(meta)
        version = size, meta["e_tag"] or mtime_ns
        if self.version is None and self.size in (None, size):
            self.version, self.size, self.mtime_ns = version, size, mtime_ns
        if version != self.version:
            raise error_for("changed", "it was replaced while it was read", offset, filename=self.url)
        expected = max(min(length, self.size - offset), 0)
        if len(data) != expected:
            raise error_for("stream", f"{len(data)} bytes came where {expected} were asked for", offset,
                            filename=self.url)
        return data


def ask(objects, first):
    """Gets the first bytes of objects, for their `open`, which tells what came of it.

    What is done between two answers keeps other threads from theirs, and finds
    little of itself in the caches: so what can be is done before, and in `open`.
    """
    objects = [one for one in objects if isinstance(one, Object) and one.size != 0]
    for one in objects:
        try:
            one.where = _place(one.url)
        except DicomError as error:
            one.asked = error
    for one in objects:
        if one.asked is None:
            try:
                one.asked = one.answer(0, first)
            except DicomError as error:
                one.asked = error


class Objects:
    """The objects below a URL, or that match it as a glob, in the order in which
    their server lists them: of buckets, that of their names. A listing that
    fails ends with a row in error. What lists nothing is one object.

    A source for `scan`.
    """

    def __init__(self, url, recursive=True):
        self.url, self.recursive = url, recursive
        parts = url.split("/")
        fixed = next((i for i, part in enumerate(parts) if i > 2 and any(c in part for c in "*?[")),
                     len(parts))
        self.pattern = parts[fixed:]
        self.base = "/".join(parts[:fixed]).rstrip("/") + "/"
        self.place, self.name = _place(self.base)
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
            told = _refusal(error, self.url, "walk")
            yield self.failed(error_for("walk", f"the listing ended: {told.text}", errno=told.errno))
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
    """Takes from iterators of streams, one after another: a few at first, so that
    all threads get some early, and more later."""

    def __init__(self, streams=()):
        self.streams, self.given = streams, 0

    def over(self, streams):
        self.streams = streams
        return self

    def take(self, count):
        streams = list(islice(self.streams, min(count, 1 + self.given // 16, _AT_ONCE)))
        self.given += len(streams)
        return Streams(streams, ask) if streams else None


def open_url(url, size=None):
    """The object as a file object, for `dcmread`: threads may share it. With
    its size, as a scan gave it, nothing is asked for before it is needed."""
    stream = Object(url, size)
    if size is None:
        stream.open(_FIRST)
    return Seekable(stream)
