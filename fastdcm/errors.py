"""Exceptions and issues.

An exception says that something could not be done; an issue says that
something damaged or odd was read all the same. Both carry the dashed name of
a code of the C core ("not-dicom", "truncated-value") and where it happened.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class DicomError(Exception):
    """Base of every error that fastdcm raises for bad input.

    Attributes
    ----------
    text : str
        What is wrong, in words.
    code : str
        The name of the code, "" when there is none.
    offset : int or None
        Position in bytes in the file, or in the inflated data set of a
        deflated file.
    path : str
        The element at fault, as in "(0040,0275)[0].(0008,0100)", or "".
    filename : str, bytes or None
    errno : int or None
        The system's error number, when the system refused something.
    """

    def __init__(self, text="", code="", offset=None, path="", filename=None, errno=None):
        # OSError, a base of some subclasses, reads its arguments in its own
        # way: so set them here, where pickle finds them.
        self.args = (text, code, offset, path, filename, errno)
        self.text = text
        self.code = code
        self.offset = offset
        self.path = path
        self.filename = filename
        self.errno = errno

    def __str__(self):
        line = self.text
        if self.errno:
            line += f" ({os.strerror(self.errno)})"
        where = []
        if self.path:
            where.append(f"element {self.path}")
        if self.offset is not None:
            where.append(f"byte {self.offset}")
        if self.filename is not None:
            name = os.fspath(self.filename)
            if isinstance(name, str) and "://" in name:  # a URL's query may be a signature
                name = name.partition("?")[0]
            where.append(f"file {name!r}")
        return f"{line}: {', '.join(where)}" if where else line


class InvalidDicomError(DicomError):
    """What was to be read is not DICOM."""

    def __init__(self, text="The specified file is not a valid DICOM file.", *args, **kwargs):
        super().__init__(text, *args, **kwargs)


class WriteError(DicomError, ValueError):
    """A data set cannot be written as it is, or as it was asked for."""


class FileChangedError(DicomError):
    """A file shrank or was replaced while values were still to be read."""


class FileAccessError(DicomError, OSError):
    """A file cannot be opened or read. Also an OSError, as open() raises."""


class MissingFileError(FileAccessError, FileNotFoundError):
    """There is no such file. Also a FileNotFoundError, as open() raises."""


_CLASSES = {
    "not-dicom": InvalidDicomError,
    "empty": InvalidDicomError,
    "changed": FileChangedError,
    "open": FileAccessError,
    "read": FileAccessError,
    "walk": FileAccessError,
    "not-regular": FileAccessError,
}


def error_for(code, text, offset=None, path="", filename=None, errno=None) -> DicomError:
    """The exception, not raised, of the class that fits a code's name."""
    cls = _CLASSES.get(code, DicomError)
    if cls is FileAccessError and errno == 2:  # ENOENT everywhere
        cls = MissingFileError
    return cls(text, code, offset, path, filename, errno or None)


class Issue(tuple):
    """A repair made while reading: ``(code, path, offset, what)``.

    code : str, as "truncated-value"; path : str, as in DicomError; offset :
    int, in bytes; what : str, what was found and done. Compares, hashes and
    unpacks as that tuple.
    """

    __slots__ = ()

    def __new__(cls, code, path, offset, what):
        return tuple.__new__(cls, (code, path, offset, what))

    def __getnewargs__(self):
        return tuple(self)

    @property
    def code(self) -> str:
        return self[0]

    @property
    def path(self) -> str:
        return self[1]

    @property
    def offset(self) -> int:
        return self[2]

    @property
    def what(self) -> str:
        return self[3]

    def __repr__(self):
        return "Issue(code={!r}, path={!r}, offset={!r}, what={!r})".format(*self)

    def __str__(self):
        code, path, offset, what = self
        place = f"{path} at byte {offset}" if path else f"byte {offset}"
        return f"{code}: {place}: {what}"


class Finding(tuple[str, str, bool, "dict[str, Any]"]):
    """A result of a check: a tuple ``(code, text, problem, details)``.

    Parameters
    ----------
    code : str
        A short name, such as "gap".
    text : str
        What was found, in words.
    problem : bool
        True for a problem, False for a note.
    details : dict
        Values that belong to the code.

    Examples
    --------
    >>> finding = Finding("gap", "1 slice is missing", True, {"missing": 1})
    >>> print(finding)
    gap: 1 slice is missing
    """

    __slots__ = ()

    def __new__(cls, code: str, text: str, problem: bool, details: dict[str, Any]) -> Finding:
        return tuple.__new__(cls, (code, text, problem, details))

    def __getnewargs__(self) -> tuple[str, str, bool, dict[str, Any]]:
        return tuple(self)

    @property
    def code(self) -> str:
        """The short name."""
        return self[0]

    @property
    def text(self) -> str:
        """What was found, in words."""
        return self[1]

    @property
    def problem(self) -> bool:
        """Whether it is a problem, not a note."""
        return self[2]

    @property
    def details(self) -> dict[str, Any]:
        """Values that belong to the code."""
        return self[3]

    def __repr__(self) -> str:
        return "Finding(code={!r}, text={!r}, problem={!r}, details={!r})".format(*self)

    def __str__(self) -> str:
        return f"{self.code}: {self.text}"
