"""Object stores and servers: open them, list them, and describe their errors.

obstore reads s3://, gs://, az:// and http(s)://, with the credentials and endpoints that it
finds in the environment; fsspec reads every other scheme. Either is imported when the first
URL that needs it is read.
"""

from __future__ import annotations

import errno
import os
import re
from collections import namedtuple
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from threading import Lock
from urllib.parse import unquote, urlsplit

from fastdcm.errors import DicomError, error_for
from fastdcm.sources.numbers import known_size, known_time
from fastdcm.sources.objects._ranges import read_range

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from types import ModuleType
    from typing import Any

    from fastdcm.sources.protocols import ObjectAnswer, ObjectEntry, ObjectStore, UnlistedEntry

_HTTP = ("http", "https")
_BUCKETS = ("s3", "s3a", "gs", "az", "abfs", "abfss")
# A URL that can be written in only one way: its path needs no percent-encoding.
_match_plain = re.compile(
    r"(https?://[\w.:-]+)/((?:[\w-][\w.-]*/)*[\w-][\w.-]*)", re.ASCII
).fullmatch

# Timeouts: to connect, between two bytes, of a request, of a request with its retries.
_CONNECT_SECONDS, _READ_SECONDS, _REQUEST_SECONDS, _RETRY_SECONDS = 10, 20, 120, 180
_MAX_RETRIES, _BACKOFF_SECONDS, _MAX_BACKOFF_SECONDS = 6, 0.1, 5


def can_list(url: str) -> bool:
    """Return whether the objects below a URL can be listed: not those of an HTTP server."""
    return _scheme(url) not in _HTTP


def _scheme(url: str) -> str:
    return url.partition("://")[0].lower()


def server_error(error: Exception, url: str, code: str = "stream") -> DicomError:
    """Return the DicomError for an exception of obstore or fsspec.

    Parameters
    ----------
    error : Exception
        What obstore or fsspec raised.
    url : str
        The URL that was read.
    code : str
        The code of the error; "stream" becomes "open" for an object that is missing or
        forbidden.

    Returns
    -------
    DicomError
        Its text is one line. It contains neither the body of the answer nor the URL, whose
        query may be a signature.
    """
    text = str(error)
    number = None
    status = re.search(r"status code: (\d{3}[^:\n]*)", text)
    if status:
        message = status[1].strip()
        if reason := re.search(r"<Code>(\w+)</Code>", text):
            message += f" ({reason[1]})"
    elif isinstance(error, FileNotFoundError):
        message = "there is no such object"
    else:
        line = re.sub(r"^Generic \w+ error: ", "", text.partition("\n")[0])
        message = re.sub(r"\S*://\S*", "...", line.rpartition(" - ")[2])
        if message.startswith("HTTP error"):  # the innermost cause says most
            causes = re.findall(r'("[^"\n]*"|\b[A-Z][A-Za-z]+),?$', text, re.MULTILINE)
            message = "; ".join([message, *causes[-1:]])
    if retries := re.search(r"after (\d+) retries", text):
        message += f", after {retries[1]} retries"
    # Without credentials obstore requests them from the metadata service of a cloud.
    if re.search(r"169\.254\.|metadata|/latest/api/token", text):
        message = f"there are no credentials ({message})"
        number = errno.EACCES
    elif message.startswith("404") or isinstance(error, FileNotFoundError):
        number = errno.ENOENT
    elif message.startswith(("401", "403")):
        number = errno.EACCES
    if number and code == "stream":
        code = "open"
    return error_for(code, message, filename=url, errno=number)


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def mtime_ns_of(meta: Mapping[str, Any]) -> int | None:
    """Return the modification time of an object in nanoseconds since 1970.

    Parameters
    ----------
    meta : mapping
        The metadata of an answer or of an entry of a listing.

    Returns
    -------
    int or None
        In whole seconds, as HTTP reports it, even if a listing is more precise; None if the
        time is not known.
    """
    modified: datetime | None = meta["last_modified"]
    if modified is None:
        return None
    since = modified - _EPOCH
    return known_time((since.days * 86400 + since.seconds) * 10**9)


class ObstoreStore:
    """A bucket or a server that obstore reads (see `fastdcm.sources.protocols.ObjectStore`).

    Parameters
    ----------
    obstore : module
        The module.
    store : obstore.store.ObjectStore
        The store.
    """

    supports_update = True

    def __init__(self, obstore: ModuleType, store: Any) -> None:
        self._obstore, self._store = obstore, store

    def get(self, name: str, offset: int, length: int) -> tuple[ObjectAnswer, bytes]:
        """Return the bytes of an object from `offset` on, at most `length`."""
        return read_range(self._obstore, self._store, name, offset, length)

    def list(self, name: str) -> Iterator[ObjectEntry | UnlistedEntry]:
        """Iterate over the objects whose names begin with `name` and a slash.

        obstore removes the slash from the marker object of a folder, so that it looks like
        an empty object. Most markers are listed directly in front of what is in their folder;
        for any other empty object a request determines whether it exists.
        """
        prefix = name.rstrip("/") + "/" if name else ""
        empty = None
        for meta in self._entries(prefix):
            if isinstance(meta, DicomError):
                yield str(meta.filename)[len(prefix) :], meta
                continue
            if empty is not None and not meta["path"].startswith(empty["path"] + "/"):
                yield from self._entry_if_found(empty, prefix)
            empty = None if meta["size"] else meta
            if empty is None:
                yield _entry(meta, prefix)
        if empty is not None:
            yield from self._entry_if_found(empty, prefix)

    def _entries(self, prefix: str) -> Iterator[Mapping[str, Any] | DicomError]:
        """Iterate over the entries, in byte order of their names.

        obstore rejects a page with a key that it cannot represent. Then the folder is listed
        by its own objects and folders; where that has such a key as well, from behind it on.
        In its place comes a DicomError, whose `filename` is the key.
        """
        rejected = self._obstore.exceptions.InvalidPathError
        # What is still to be yielded, last first: an entry; or a folder, where to start, and
        # whether its own objects and folders have been tried.
        todo: list[Mapping[str, Any] | tuple[str, str, bool]] = [(prefix, "", False)]
        last = ""
        while todo:
            one = todo.pop()
            if not isinstance(one, tuple):
                last = one["path"]
                yield one
                continue
            folder, start, is_tried = one
            try:
                for entry in self._entries_after(folder, start):
                    last = entry["path"]
                    yield entry
                continue
            except rejected as error:
                key = _rejected_key(error)
            if not is_tried:
                try:
                    todo += self._level(folder, last)
                    continue
                except rejected as error:
                    key = _rejected_key(error)
            after = _after_rejected(key)
            if after.encode() <= start.encode():  # the server ignores where to start
                raise error_for("walk", "the server lists a key again that was passed")
            yield error_for(
                "walk",
                "the key has an empty part, '.', '..' or a control character, which cannot be "
                "represented; other keys in front of it may not be listed either",
                filename=key,
            )
            todo.append((folder, after, True))
            todo += self._existing(after)

    def _entries_after(self, prefix: str, start: str) -> Iterator[Mapping[str, Any]]:
        """Iterate over the entries behind a name, and request one page ahead."""
        from concurrent.futures import ThreadPoolExecutor

        check_process()
        pages = self._obstore.list(
            self._store, prefix or None, offset=start or None, chunk_size=1000
        )
        with ThreadPoolExecutor(1) as executor:
            page = executor.submit(next, pages, None)
            while entries := page.result():
                page = executor.submit(next, pages, None)
                yield from entries

    def _level(self, folder: str, last: str) -> Iterable[Mapping[str, Any] | tuple[str, str, bool]]:
        """Return the objects and folders in a folder that come after a name, last first."""
        found = self._obstore.list_with_delimiter(self._store, folder or None)
        names: dict[str, Mapping[str, Any] | tuple[str, str, bool]] = {}
        for entry in found["objects"]:
            if entry["path"].encode() > last.encode():
                names[entry["path"]] = entry
        for path in found["common_prefixes"]:
            prefix = path + "/"
            if last.startswith(prefix):
                names[prefix] = prefix, last, False
            elif prefix.encode() > last.encode():
                names[prefix] = prefix, "", False
        return [names[name] for name in sorted(names, key=str.encode, reverse=True)]

    def _existing(self, name: str) -> Iterable[Mapping[str, Any]]:
        """Return the entry of an object, which a listing that starts behind it leaves out."""
        try:
            return [self._obstore.head(self._store, name)]
        except (FileNotFoundError, self._obstore.exceptions.BaseError):
            return []

    def _entry_if_found(self, meta: Mapping[str, Any], prefix: str) -> Iterator[ObjectEntry]:
        """Yield the entry, unless the server says that there is no such object."""
        try:
            self._obstore.head(self._store, meta["path"])
        except FileNotFoundError:
            return
        except self._obstore.exceptions.BaseError:
            pass
        yield _entry(meta, prefix)


def _rejected_key(error: Exception) -> str:
    """Return the key that obstore could not represent."""
    found = re.search(r'[Pp]ath "(.*?)"(?: contained|: Encountered)', str(error), re.DOTALL)
    if found is None:
        raise error
    return found[1]


def _after_rejected(key: str) -> str:
    """Return a name that comes after a rejected key and what is in its folder."""
    parts = key.split("/")
    for i, part in enumerate(parts):
        control = next((k for k, c in enumerate(part) if c < " " or c == "\x7f"), None)
        if control is not None:
            after = " " if part[control] < " " else "\x80"
            return "/".join([*parts[:i], part[:control] + after])
        if part in ("", ".", ".."):
            return "/".join([*parts[:i], part + "0"])  # "0" follows "/"
    raise ValueError(f"the key {key!r} is valid")


def _entry(meta: Mapping[str, Any], prefix: str) -> ObjectEntry:
    return meta["path"][len(prefix) :], known_size(meta["size"]), mtime_ns_of(meta)


_Answer = namedtuple("_Answer", "meta")


class FsspecStore:
    """A file system that fsspec reads (see `fastdcm.sources.protocols.ObjectStore`).

    Parameters
    ----------
    filesystem : fsspec.AbstractFileSystem
        The file system.
    """

    supports_update = False  # listings contain no times

    def __init__(self, filesystem: Any) -> None:
        self._filesystem = filesystem

    def get(self, name: str, offset: int, length: int) -> tuple[ObjectAnswer, bytes]:
        """Return the bytes of an object from `offset` on, at most `length`."""
        size = known_size(self._filesystem.info(name)["size"])
        if size is None:
            raise error_for("stream", "the server does not state the size of the object")
        try:
            modified = self._filesystem.modified(name).astimezone(UTC)
        except NotImplementedError:
            modified = None
        data = self._filesystem.cat_file(name, offset, min(offset + length, size))
        return _Answer({"size": size, "last_modified": modified, "e_tag": None}), data

    def list(self, name: str) -> Iterator[ObjectEntry]:
        """Iterate over the objects whose names begin with `name` and a slash."""
        start = len(name.rstrip("/")) + 1
        for _, _, files in self._filesystem.walk(name, detail=True, on_error="raise"):
            for key in sorted(filter(None, files)):
                yield files[key]["name"][start:], known_size(files[key]["size"]), None


def _open_store(base: str) -> ObstoreStore:
    """Return a new store of a bucket, a server or one URL."""
    try:
        import obstore
        from obstore.store import HTTPStore, from_url
    except ModuleNotFoundError as error:
        raise _missing_package(error, base) from None

    options = {
        "client_options": {
            "allow_http": True,
            "connect_timeout": timedelta(seconds=_CONNECT_SECONDS),
            "read_timeout": timedelta(seconds=_READ_SECONDS),
            "timeout": timedelta(seconds=_REQUEST_SECONDS),
        },
        "retry_config": {
            "max_retries": _MAX_RETRIES,
            "retry_timeout": timedelta(seconds=_RETRY_SECONDS),
            "backoff": {
                "init_backoff": timedelta(seconds=_BACKOFF_SECONDS),
                "base": 2,
                "max_backoff": timedelta(seconds=_MAX_BACKOFF_SECONDS),
            },
        },
    }
    open_store = HTTPStore if _scheme(base) in _HTTP else from_url
    return ObstoreStore(obstore, open_store(base, **options))


_stores: dict[str, ObstoreStore] = {}
_MAX_STORES = 64
_stores_lock = Lock()


def _shared_store(base: str) -> ObstoreStore:
    """Return the store of a bucket or a server, whose connections all threads share."""
    store = _stores.get(base)
    if store is None:
        with _stores_lock:  # the threads of a scan all start with the same store
            store = _stores.get(base)
            if store is None:
                if len(_stores) == _MAX_STORES:
                    _stores.clear()
                store = _stores[base] = _open_store(base)
    return store


def _missing_package(error: ModuleNotFoundError, url: str) -> ModuleNotFoundError:
    name = (error.name or "").partition(".")[0]
    return ModuleNotFoundError(
        f"{_scheme(url)}:// needs {name}: pip install 'fastdcm-dicom[remote]'", name=name
    )


@lru_cache(maxsize=1)
def _first_process() -> int:
    return os.getpid()


def check_process() -> None:
    """Raise DicomError in a process that was forked after a URL was read.

    The threads of obstore do not exist in it, so that a request would never end.
    """
    if _first_process() != os.getpid():
        raise error_for(
            "stream",
            "URLs were read before this process was forked; start processes "
            "with 'spawn' or 'forkserver'",
        )


def locate(url: str) -> tuple[ObjectStore, str]:
    """Return the store that has an object, and the name of the object in it.

    Parameters
    ----------
    url : str
        The URL of an object, or of a prefix.

    Returns
    -------
    tuple of ObjectStore and str

    Raises
    ------
    DicomError
        The URL is not valid, or its scheme is unknown.
    ModuleNotFoundError
        The package that reads such URLs is not installed.
    """
    try:
        if plain := _match_plain(url):
            return _shared_store(plain[1]), plain[2]
        scheme, _, rest = url.partition("://")
        scheme = scheme.lower()
        if scheme in _BUCKETS:
            host, _, name = rest.partition("/")
            return _shared_store(f"{scheme}://{host}"), name
        if scheme in _HTTP:
            return _locate_http(url)
        try:
            from fsspec.core import url_to_fs
        except ModuleNotFoundError as error:
            raise _missing_package(error, url) from None
        filesystem, name = url_to_fs(url)
        return FsspecStore(filesystem), name
    except ModuleNotFoundError:
        raise
    except Exception as error:
        raise server_error(error, url) from None


def _locate_http(url: str) -> tuple[ObjectStore, str]:
    """Return the store and the name of any HTTP URL.

    The store of a server percent-encodes names in its own way. A URL that would not be
    requested as it is written, or that has a query, gets a store of its own.
    """
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
        return _shared_store(f"{parts.scheme}://{parts.netloc}"), "/".join(names)
    return _open_store(url.partition("#")[0]), ""
