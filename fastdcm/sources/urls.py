"""Recognize URLs, and convert paths to text and back.

Implements the schemes of RFC 3986, section 3.1, and the ``file`` URIs of RFC 8089.
"""

from __future__ import annotations

import os

_SCHEME_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+.-")
_UNESCAPED = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/-._~")


def is_url(path: object) -> bool:
    """Return whether a path is read from a server.

    Parameters
    ----------
    path : object
        Only a ``str`` or ``bytes`` can be a URL.

    Returns
    -------
    bool
        True for a path that begins with a scheme and ``://``, except for ``file`` URIs. A
        single letter is the drive of a Windows path, not a scheme.
    """
    if isinstance(path, bytes):
        path = path.decode("latin-1")  # schemes are ASCII
    if not isinstance(path, str):
        return False
    scheme, separator, _ = path.partition("://")
    return (
        separator != ""
        and len(scheme) > 1
        and scheme != "file"
        and scheme.isascii()
        and scheme[0].isalpha()
        and _SCHEME_CHARACTERS.issuperset(scheme)
    )


def path_text(path: bytes) -> str:
    """Return the text of a path as the ``path`` column of a scan contains it.

    Parameters
    ----------
    path : bytes
        A path as the operating system stores it.

    Returns
    -------
    str
        The path itself where it is valid UTF-8. Any other path, and one that begins with
        ``file:``, becomes a file URI with percent-encoded bytes: ``file:///data/caf%E9.dcm``
        for an absolute path, ``file:caf%E9.dcm`` for a relative one. `path_bytes` is the
        inverse.
    """
    if not path.startswith(b"file:"):
        try:
            return path.decode()
        except UnicodeDecodeError:
            pass
    quoted = "".join(chr(c) if c in _UNESCAPED else f"%{c:02X}" for c in path)
    return ("file://" if path.startswith(b"/") else "file:") + quoted


def path_bytes(text: str) -> bytes:
    """Return the path that a text of the ``path`` column denotes.

    Parameters
    ----------
    text : str
        A path or a file URI, as `path_text` returns it.

    Returns
    -------
    bytes
        The path as the operating system stores it.
    """
    if not text.startswith("file:"):
        return os.fsencode(text) if os.name != "nt" else text.encode("utf-8", "surrogatepass")
    quoted = text[5:].encode("utf-8", "surrogateescape")
    if quoted.startswith((b"///", b"//localhost/")):
        quoted = quoted[quoted.index(b"/", 2) :]
    path, *escaped = quoted.split(b"%")
    for part in escaped:
        digits = part[:2]
        if len(digits) < 2 or not digits.isalnum():
            return text.encode("utf-8", "surrogateescape")  # not a URI but a file name
        try:
            path += bytes.fromhex(digits.decode()) + part[2:]
        except ValueError:
            return text.encode("utf-8", "surrogateescape")
    return path


def local_path(text: str) -> bytes:
    """Return the path that a text passed by the user denotes.

    Parameters
    ----------
    text : str
        A path or a file URI. A file that really has such a name has precedence.

    Returns
    -------
    bytes
        The path as the operating system stores it.
    """
    if text.startswith("file:") and os.path.lexists(text):
        return os.fsencode(text)
    return path_bytes(text)
