"""The lines of a manifest: their fields, and what is checked when they are read.

Whatever follows from a line (which files are opened, how much is written) relies on
these checks: file names cannot leave the folder, and the entries of the parts follow
one another within the list of files.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NotRequired, TypedDict, cast

VERSION = 1

PART_NAME = re.compile(r"part-(\d{1,15})\.parquet", re.ASCII)
LIST_NAME = re.compile(r"files-(\d{1,15})\.parquet", re.ASCII)
_SHA256 = re.compile(r"[0-9a-f]{64}", re.ASCII)
# No count or size can be larger: the columns of the lists have 64 bits.
_MAX_COUNT = 2**63 - 1


class FileSum(TypedDict):
    """Size and checksum of a file."""

    bytes: int
    sha256: str


class ListEntry(FileSum):
    """A list of files."""

    name: str
    entries: int


class PartEntry(FileSum):
    """The line of a part."""

    part: str
    rows: int
    files: int
    errors: int
    issues: int
    entries: list[int]
    paths: list[str]


class Parameters(TypedDict):
    """What was requested of the scan."""

    tags: list[str]
    pixels: bool | str
    hash: list[str]
    on_error: str
    parse_dates: bool
    source: Any


class Head(TypedDict):
    """The first line."""

    fastdcm_index: NotRequired[int]
    parameters: Parameters
    folder: str | None
    files: ListEntry
    schema: str
    # Of an update:
    before: NotRequired[ListEntry]
    again: NotRequired[list[int]]
    next_part: NotRequired[int]


_Check = Callable[[Any], bool]


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value <= _MAX_COUNT


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_optional_text(value: Any) -> bool:
    return value is None or isinstance(value, str)


def _is_list_of(check: _Check) -> _Check:
    return lambda value: isinstance(value, list) and all(map(check, value))


def _matches(pattern: re.Pattern[str]) -> _Check:
    return lambda value: isinstance(value, str) and pattern.fullmatch(value) is not None


def _has_fields(fields: Mapping[str, _Check], optional: Iterable[str] = ()) -> _Check:
    def check(value: Any) -> bool:
        return isinstance(value, dict) and all(
            fields[name](value[name]) if name in value else name in optional for name in fields
        )

    return check


def _is_range(value: Any) -> bool:
    return _is_list_of(_is_count)(value) and len(value) == 2 and value[0] <= value[1]


_SUM: dict[str, _Check] = {"bytes": _is_count, "sha256": _matches(_SHA256)}
_is_list_entry = _has_fields({**_SUM, "name": _matches(LIST_NAME), "entries": _is_count})
_is_part_entry = _has_fields(
    {
        **_SUM,
        "part": _matches(PART_NAME),
        "rows": _is_count,
        "files": _is_count,
        "errors": _is_count,
        "issues": _is_count,
        "entries": _is_range,
        "paths": _is_list_of(_is_text),
    }
)
_is_parameters = _has_fields(
    {
        "tags": _is_list_of(_is_text),
        "pixels": lambda value: value in (False, True, "frames"),
        "hash": _is_list_of(_is_text),
        "on_error": _is_text,
        "parse_dates": lambda value: isinstance(value, bool),
        "source": lambda value: True,
    }
)
_is_head = _has_fields(
    {
        "fastdcm_index": _is_count,
        "parameters": _is_parameters,
        "folder": _is_optional_text,
        "files": _is_list_entry,
        "schema": _is_text,
        "before": _is_list_entry,
        "again": _is_list_of(_is_count),
        "next_part": _is_count,
    },
    optional=("fastdcm_index", "before", "again", "next_part"),
)


def checked_head(entry: Any) -> Head:
    """Return the first line of a manifest.

    Raises ValueError unless all its fields are there and have their types.
    """
    if not _is_head(entry):
        raise ValueError("it is not the first line of a manifest")
    head = cast(Head, entry)
    again = head.get("again", [])
    if again != sorted(set(again)):
        raise ValueError("the entries to read again are not in order")
    return head


def checked_part(entry: Any, head: Head, previous: PartEntry | None) -> PartEntry:
    """Return the line of a part that follows another one.

    Raises ValueError unless all its fields are there and have their types, and its
    entries are the next ones of the list of files.
    """
    if not _is_part_entry(entry):
        raise ValueError("it is not the line of a part")
    part = cast(PartEntry, entry)
    first, stop = part["entries"]
    if first != (previous["entries"][1] if previous else 0) or stop > head["files"]["entries"]:
        raise ValueError("its entries are not the next ones of the list of files")
    return part


def part_name(number: int) -> str:
    """Return the file name of a part, which are numbered from 1."""
    return f"part-{number:06d}.parquet"


def list_name(number: int) -> str:
    """Return the file name of a list of files, which are numbered from 1."""
    return f"files-{number:06d}.parquet"


def part_number(name: str) -> int:
    """Return the number in the file name of a part."""
    return _number(PART_NAME, name)


def list_number(name: str) -> int:
    """Return the number in the file name of a list of files."""
    return _number(LIST_NAME, name)


def _number(pattern: re.Pattern[str], name: str) -> int:
    match = pattern.fullmatch(name)
    if match is None:
        raise ValueError(f"{name!r} does not have the form {pattern.pattern}")
    return int(match[1])
