"""Where objects are: buckets and servers, what is listed there, and what they refuse.

obstore reads s3://, gs://, az:// and http(s)://, with the credentials and
endpoints that it finds in the environment; fsspec reads every other scheme.
Both are imported when there is a URL to read.
"""

import errno
import os
import re
from collections import namedtuple
from datetime import datetime, timezone
from functools import lru_cache
from threading import Lock
from urllib.parse import unquote, urlsplit

from fastdcm.errors import error_for

_HTTP = ("http", "https")
_BUCKETS = ("s3", "s3a", "gs", "az", "abfs", "abfss")
# A server, and a path that there is but one way to write.
_PLAIN = re.compile(r"(https?://[\w.:-]+)/((?:[\w-][\w.-]*/)*[\w-][\w.-]*)", re.ASCII).fullmatch

# Seconds: for a connection, without a byte, for a request, for all tries of it.
_CONNECT, _SILENCE, _REQUEST, _TRIES = 10, 20, 120, 180
_RETRIES, _BACKOFF, _BACKOFF_MOST = 6, 0.1, 5


def lists(url):
    """Whether what is below a URL can be listed."""
    return _scheme(url) not in _HTTP


def _scheme(url):
    return url.partition("://")[0].lower()


def refusal(error, url, code="stream"):
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
            told = "; ".join(
                [told, *re.findall(r'("[^"\n]*"|\b[A-Z][A-Za-z]+),?$', text, re.M)[-1:]]
            )
    if retries := re.search(r"after (\d+) retries", text):
        told += f", after {retries[1]} retries"
    if re.search(
        r"169\.254\.|metadata|/latest/api/token", text
    ):  # it asked the machine that it may run on
        told = f"there are no credentials ({told})"
        number = errno.EACCES
    elif told.startswith("404") or isinstance(error, FileNotFoundError):
        number = errno.ENOENT
    elif told.startswith(("401", "403")):
        number = errno.EACCES
    if number and code == "stream":
        code = "open"
    return error_for(code, told, filename=url, errno=number)


_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


def mtime_ns(meta):
    """In whole seconds, as HTTP tells them, though a listing may know more: 0 where
    nothing is told."""
    modified = meta["last_modified"]
    if modified is None:
        return 0
    since = modified - _EPOCH
    return (since.days * 86400 + since.seconds) * 10**9


class Store:
    """A place that obstore reads: `Object` does so itself."""

    is_dated = True  # a listing tells when objects were changed

    def __init__(self, obstore, store):
        self.obstore, self.store = obstore, store

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

        check_process()
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
    return meta["path"][len(prefix) :], meta["size"], mtime_ns(meta)


_Told = namedtuple("_Told", "meta")


class Filesystem:
    """A place that fsspec reads."""

    is_dated = False

    def __init__(self, filesystem):
        self.filesystem = filesystem

    def get(self, name, offset, length):
        meta = {"size": self.filesystem.info(name)["size"], "last_modified": None, "e_tag": None}
        try:
            meta["last_modified"] = self.filesystem.modified(name).astimezone(timezone.utc)
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
        "client_options": {
            "allow_http": True,
            "connect_timeout": seconds(_CONNECT),
            "read_timeout": seconds(_SILENCE),
            "timeout": seconds(_REQUEST),
        },
        "retry_config": {
            "max_retries": _RETRIES,
            "retry_timeout": seconds(_TRIES),
            "backoff": {
                "init_backoff": seconds(_BACKOFF),
                "base": 2,
                "max_backoff": seconds(_BACKOFF_MOST),
            },
        },
    }
    return Store(obstore, (HTTPStore if _scheme(base) in _HTTP else from_url)(base, **options))


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
    return ModuleNotFoundError(
        f"{_scheme(url)}:// needs {name}: pip install 'fastdcm-dicom[remote]'", name=name
    )


@lru_cache(maxsize=1)
def _first_process():
    return os.getpid()


def check_process():
    """obstore has threads, which a fork leaves behind: it would wait for ever."""
    if _first_process() != os.getpid():
        raise error_for(
            "stream",
            "URLs were read before this process was forked; start processes "
            "with 'spawn' or 'forkserver'",
        )


def place_of(url):
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
        return Filesystem(filesystem), name
    except ModuleNotFoundError:
        raise
    except Exception as error:
        raise refusal(error, url) from None


def _odd(url):
    """One store serves a whole server, but it writes the path of a URL in its
    own way. Where that is another, or there is a query, the store is of one URL."""
    parts = urlsplit(url)
    try:
        names = [unquote(part, errors="strict") for part in parts.path.split("/")[1:]]
    except UnicodeDecodeError:
        names = []
    if (
        names
        and not parts.query
        and all(
            name.isprintable() and "/" not in name and name not in ("", ".", "..") for name in names
        )
    ):
        return _store(f"{parts.scheme}://{parts.netloc}"), "/".join(names)
    return _open_store(url.partition("#")[0]), ""
