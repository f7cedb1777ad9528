"""What commands print: lines, JSON and rows, for any terminal and any encoding.

Text from files and file names never reaches a terminal unescaped: a terminal would act
on escape sequences in it, and show text in another order for bidirectional controls.
"""

from __future__ import annotations

import json
import re
import sys
from typing import IO, Any

import click

from fastdcm.scanning.protocols import BinaryWriter

# Control characters (C0, DEL, C1), directional marks, overrides and isolates, separators
# of lines and paragraphs, and surrogates, which stand for bytes that are not text.
_CONTROLS = "\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff"
_CONTROL = re.compile(f"[{_CONTROLS}]")
# In rows of a table, tabs and line ends are part of the format.
_CONTROL_IN_ROWS = re.compile(f"(?![\t\n])[{_CONTROLS}]")


def _escape(match: re.Match[str]) -> str:
    return match[0].encode("unicode_escape").decode()


def printable(text: str) -> str:
    """Return text as one line, with control characters escaped as in ``repr``."""
    return _CONTROL.sub(_escape, text)


def print_line(text: str, err: bool = False) -> None:
    """Print one line of text to standard output or standard error."""
    click.echo(printable(text), err=err)


def print_json(document: Any) -> None:
    """Print a JSON document as one line, in UTF-8."""
    try:
        data = json.dumps(document, ensure_ascii=False).encode()
    except UnicodeEncodeError:  # a file name that is not text
        data = json.dumps(document).encode()
    rows_output().write(data + b"\n")


def rows_output() -> BinaryWriter:
    """Return the file for rows on standard output: UTF-8, escaped on a terminal."""
    sys.stdout.flush()
    return _TerminalRows(sys.stdout.buffer) if sys.stdout.isatty() else sys.stdout.buffer


class _TerminalRows:
    """Writes rows to a terminal. Each write consists of complete lines."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def write(self, data: Any) -> int:
        text = bytes(data).decode("utf-8", "backslashreplace")
        self._file.write(_CONTROL_IN_ROWS.sub(_escape, text).encode())
        return len(data)


def print_any_text() -> None:
    """Let standard output and error escape what their encoding does not have."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")
