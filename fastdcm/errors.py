"""Exceptions, issues and findings.

An exception reports that something could not be done. An issue reports a
repair: something damaged or unusual that was read all the same. Both carry
the name of a code of the C core ("not-dicom", "truncated-value") and the
position in the file. A finding is a result of a check on correctly read data.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class DicomError(Exception):
    """The base class of all errors that fastdcm raises for bad input.

    Parameters
    ----------
    text : str
        What is wrong, in words.
    code : str
        The name of the error code, "" if there is none.
    offset : int or None
        The position in bytes in the file, or in the inflated data set of a
        deflated file.
    path : str
        The data element, as in "(0040,0275)[0].(0008,0100)", or "".
    filename : str, bytes or None
        The file.
    errno : int or None
        The error number of the operating system, if it refused something.

    Examples
    --------
    >>> import fastdcm
    >>> try:
    ...     fastdcm.dcmread(bytearray(b"GIF89a"))
    ... except fastdcm.DicomError as error:
    ...     print(error.code)
    not-dicom
    """

    def __init__(
        self,
        text: str = "",
        code: str = "",
        offset: int | None = None,
        path: str = "",
        filename: str | bytes | None = None,
        errno: int | None = None,
    ) -> None:
        # Some subclasses are an OSError, which interprets its arguments: set
        # them here, where pickle reads them.
        self.args = (text, code, offset, path, filename, errno)
        self.text = text
        self.code = code
        self.offset = offset
        self.path = path
        self.filename = filename
        self.errno = errno

    def __str__(self) -> str:
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
            if isinstance(name, str) and "://" in name:
                name = name.partition("?")[0]  # the query of a URL may contain a signature
            where.append(f"file {name!r}")
        return f"{line}: {', '.join(where)}" if where else line


class InvalidDicomError(DicomError):
    """The bytes are not a DICOM file.

    Parameters
    ----------
    text, code, offset, path, filename, errno
        As of `DicomError`.
    """

    def __init__(
        self,
        text: str = "The specified file is not a valid DICOM file.",
        code: str = "",
        offset: int | None = None,
        path: str = "",
        filename: str | bytes | None = None,
        errno: int | None = None,
    ) -> None:
        super().__init__(text, code, offset, path, filename, errno)


class WriteError(DicomError, ValueError):
    """A data set cannot be written in the requested encoding."""


class TableError(DicomError, ValueError):
    """A table of paths is damaged, or has no column ``path``."""


class FileChangedError(DicomError):
    """A file was truncated, replaced or modified before all values were read."""


class FileAccessError(DicomError, OSError):
    """A file cannot be opened or read. Also an OSError, as raised by open()."""


class MissingFileError(FileAccessError, FileNotFoundError):
    """A file does not exist. Also a FileNotFoundError, as raised by open()."""


_CLASSES: dict[str, type[DicomError]] = {
    "not-dicom": InvalidDicomError,
    "empty": InvalidDicomError,
    "changed": FileChangedError,
    "open": FileAccessError,
    "read": FileAccessError,
    "walk": FileAccessError,
    "not-regular": FileAccessError,
}


def error_for(
    code: str,
    text: str,
    offset: int | None = None,
    path: str = "",
    filename: str | bytes | None = None,
    errno: int | None = None,
) -> DicomError:
    """Return the exception, not raised, whose class fits the name of a code.

    Parameters
    ----------
    code, text, offset, path, filename, errno
        As of `DicomError`.

    Returns
    -------
    DicomError
        Or one of its subclasses.
    """
    cls = _CLASSES.get(code, DicomError)
    if cls is FileAccessError and errno == 2:  # ENOENT on every system
        cls = MissingFileError
    return cls(text, code, offset, path, filename, errno or None)


class Issue(tuple[str, str, int, str]):
    """A repair made while reading: a tuple ``(code, path, offset, what)``.

    Parameters
    ----------
    code : str
        The name of the code, such as "truncated-value".
    path : str
        The data element, as in "(0040,0275)[0].(0008,0100)", or "".
    offset : int
        The position in bytes, as of `DicomError`.
    what : str
        What was found and how it was repaired.

    Examples
    --------
    >>> import fastdcm
    >>> ds = fastdcm.dcmread(path_of_damaged_file)  # doctest: +SKIP
    >>> [issue.code for issue in ds.issues]  # doctest: +SKIP
    ['truncated-value']
    """

    __slots__ = ()

    def __new__(cls, code: str, path: str, offset: int, what: str) -> Issue:
        """Make the tuple."""
        return tuple.__new__(cls, (code, path, offset, what))

    def __getnewargs__(self) -> tuple[str, str, int, str]:
        return self[0], self[1], self[2], self[3]

    @property
    def code(self) -> str:
        """The name of the code."""
        return self[0]

    @property
    def path(self) -> str:
        """The data element, "" if the issue belongs to none."""
        return self[1]

    @property
    def offset(self) -> int:
        """The position in bytes."""
        return self[2]

    @property
    def what(self) -> str:
        """What was found and how it was repaired."""
        return self[3]

    def __repr__(self) -> str:
        return "Issue(code={!r}, path={!r}, offset={!r}, what={!r})".format(*self)

    def __str__(self) -> str:
        code, path, offset, what = self
        position = f"{path} at byte {offset}" if path else f"byte {offset}"
        return f"{code}: {position}: {what}"


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
        """Make the tuple."""
        return tuple.__new__(cls, (code, text, problem, details))

    def __getnewargs__(self) -> tuple[str, str, bool, dict[str, Any]]:
        return self[0], self[1], self[2], self[3]

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
