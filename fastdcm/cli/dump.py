"""`fastdcm dump`: print every element of one file, in the order of its bytes."""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import click

from fastdcm.cli._output import printable, rows_output
from fastdcm.core._flat import flat_rows
from fastdcm.reader import dcmread
from fastdcm.uid import UID

if TYPE_CHECKING:
    from fastdcm.core._elements import DataElement
    from fastdcm.core._file import File
    from fastdcm.dataset import Dataset

# Flags of a row of the index, DCM_ROW_... in src_c.
_UNDEFINED, _TRUNCATED, _FRAGMENTS, _ITEMS = 4, 8, 16, 32

_ITEM = 0xFFFEE000
_ITEM_BYTES = b"\xfe\xff\x00\xe0"
_BINARY_VRS = frozenset(("OB", "OD", "OF", "OL", "OV", "OW", "UN"))
_MAX_DECODED = 1 << 16  # longer values are not decoded, in bytes
_PREVIEW = 16  # bytes shown of a value that is not decoded
_MAX_VALUE = 64  # characters shown of a value
_MAX_NAME = 36  # characters shown of a name


class Line:
    """An element, an item or a fragment, at its position in the file.

    `offset` is None for an item whose header is not in the index. `elem` is None for
    items, fragments, and an element that a later one with the same tag replaces.
    """

    def __init__(
        self,
        kind: str,
        depth: int,
        path: str,
        offset: int | None,
        length: int | None,
        flags: int = 0,
        tag: int = 0,
        vr: str = "",
        elem: DataElement | None = None,
        value: Any = None,
    ) -> None:
        self.kind, self.depth, self.path = kind, depth, path
        self.offset, self.length, self.flags = offset, length, flags
        self.tag, self.vr, self.elem, self.value = tag, vr, elem, value


def lines(level: Dataset, prefix: str = "", depth: int = 0) -> Iterator[Line]:
    """Yield the lines of a data set level and of all levels below it."""
    elements = level._iterall()  # reads every level, so that its issues are known
    file = level.file
    assert file is not None, "a dump is of a file"
    ahead: dict[int | None, DataElement] = {}  # elements at later positions of the file
    # By depth: the path of the level, and path and item count of its current sequence.
    paths, items = [prefix], list[tuple[str, int]]()
    for inner, tag, vr, offset, length, header, flags in flat_rows(level):
        start = offset - header
        if tag == _ITEM:
            sequence, number = items[inner - 1]
            items[inner - 1] = sequence, number + 1
            path = f"{sequence}[{number}]"
            paths[inner:] = [path + "."]
            yield Line("item", depth + inner - 1, path, start, length, flags, tag)
            continue
        path = f"{paths[inner]}({tag >> 16:04X},{tag & 0xFFFF:04X})"
        items[inner:] = [(path, 0)]
        while offset not in ahead:
            upcoming = next(elements, None)
            if upcoming is None:
                break
            ahead[upcoming.file_tell] = upcoming
        elem = ahead.pop(offset, None)
        if elem is not None:
            vr = elem.VR
        line = Line("element", depth + inner, path, start, length, flags, tag, vr, elem)
        if flags & _FRAGMENTS:
            line.value = fragments(file, offset, length)
        elif vr == "SQ":
            line.value = None if elem is None else elem.value
        elif elem is not None:
            line.value = value_of(file, elem)
        yield line
        if flags & _FRAGMENTS:
            for number, (start, length) in enumerate(line.value):
                yield Line("fragment", depth + inner, f"{path}[{number}]", start, length, tag=_ITEM)
        elif vr == "SQ" and not flags & _ITEMS and line.value is not None:
            # A private sequence: the index has its items as bytes.
            for number, item in enumerate(line.value):
                below = f"{path}[{number}]"
                yield Line("item", depth + inner, below, None, None, tag=_ITEM)
                yield from lines(item, below + ".", depth + inner + 1)


def fragments(file: File, offset: int, length: int) -> list[tuple[int, int]]:
    """Return (offset, length) of each fragment of an encapsulated value.

    The first is the basic offset table (PS3.5 A.4). Only item headers are read.
    """
    found = []
    end = offset + length
    while end - offset >= 8:
        header = file.read(offset, 8)
        if header[:4] != _ITEM_BYTES:
            break
        size = min(int.from_bytes(header[4:], "little"), end - offset - 8)
        found.append((offset, size))
        offset += 8 + size
    return found


class Preview(bytes):
    """The first bytes of a value that is not decoded."""


def value_of(file: File, elem: DataElement) -> Any:
    """Return the value, or a Preview if it is binary or too long."""
    offset, length = elem.file_tell, elem.value_length
    assert offset is not None and length is not None, "an element of a file has a position"
    if elem.VR in _BINARY_VRS or length > _MAX_DECODED:
        return Preview(file.read(offset, min(length, _PREVIEW)))
    value = elem.value
    return Preview(value[:_PREVIEW]) if isinstance(value, bytes) else value


# ----------------------------------------------------------------------- text ---


def text_of(line: Line) -> str:
    """Return the value of an element as one short line."""
    value = line.value
    if line.flags & _FRAGMENTS:
        return counted(len(value), "fragment")
    if line.elem is None:
        return "replaced: the tag appears again"
    if line.vr == "SQ":
        return counted(len(value), "item")
    if isinstance(value, Preview):
        text = value.hex(" ")
        return text + " ..." if line.length is not None and line.length > len(value) else text
    if value is None or value == []:
        return ""
    original = line.elem.original_text  # of IS and DS
    if original is not None:
        text = original.strip(" \0")
    else:
        text = "\\".join(map(str, value if isinstance(value, list) else [value]))
    text = printable(text)
    if len(text) > _MAX_VALUE:
        text = text[: _MAX_VALUE - 4] + " ..."
    if isinstance(value, UID) and value.name != value:
        text += f"  {value.name}"
    return text


def counted(number: int, noun: str) -> str:
    """Return a count with its noun."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def display_name(ds: Dataset) -> str | None:
    """Return the path of the file as text, None when it was not read from a path."""
    if ds.filename is None:
        return None
    return os.fsencode(ds.filename).decode(errors="replace")


class TreeWriter:
    """Writes a data set as an indented tree of text."""

    def __init__(self, out: Callable[[str], object], color: bool) -> None:
        self.out, self.color = out, color

    def paint(self, text: str, **style: Any) -> str:
        """Return the text with a style, if colors are on."""
        return click.style(text, **style) if self.color else text

    def marks(self, line: Line) -> str:
        """Return the notes at the end of a line."""
        text = "  (undefined length)" if line.flags & _UNDEFINED and line.kind == "element" else ""
        return text + (self.paint("  (truncated)", fg="red") if line.flags & _TRUNCATED else "")

    def write(self, line: Line) -> None:
        """Write one line."""
        start = "" if line.offset is None else line.offset
        length = "" if line.length is None else line.length
        indent = "   " * line.depth
        if line.kind != "element":
            name = line.path[line.path.rindex("[") :]
            text = f"  {name} {line.kind}"
            if line.kind == "fragment" and name == "[0]":
                text = "  [0] offset table"
            rest = f", {length} bytes" if length != "" else ""
            self.out(f"{start:>10}  {indent}{self.paint(text + rest, dim=True)}{self.marks(line)}")
            return
        name = "" if line.elem is None else line.elem.keyword or line.elem.name
        tag = f"({line.tag >> 16:04X},{line.tag & 0xFFFF:04X})"
        self.out(
            f"{start:>10}  {indent}{self.paint(tag, fg='cyan')}"
            f" {self.paint(line.vr or '??', fg='green')}"
            f" {length:>6}  {self.paint(f'{name[:_MAX_NAME]:<{_MAX_NAME}}', bold=True)}"
            f"  {text_of(line)}{self.marks(line)}".rstrip()
        )

    def write_dataset(self, ds: Dataset) -> None:
        """Write a heading, the file meta information, the data set and the issues."""
        source = source_of(ds)
        syntax = source.transfer_syntax
        encoding = f"{UID(syntax).name} ({syntax})" if syntax else "no transfer syntax"
        name = printable(display_name(ds) or "standard input")
        self.out(f"{self.paint(name, bold=True)}: {source.size} bytes, {encoding}")
        heading = f"{'offset':>10}  tag         VR length  {'name':<{_MAX_NAME}}  value"
        self.out(self.paint(heading, underline=True))
        for line in lines(ds.file_meta):
            self.write(line)
        if source.deflated:
            self.out("The data set is deflated: offsets below are positions in the inflated bytes.")
        for line in lines(ds):
            self.write(line)
        issues = ds.issues
        if issues:
            self.out(self.paint(counted(len(issues), "issue"), fg="yellow"))
        for issue in issues:
            path = f"{issue.path} " if issue.path else ""
            code = self.paint(issue.code, fg="yellow")
            self.out(f"{issue.offset:>10}  {path}{code}: {printable(issue.what)}")


def source_of(ds: Dataset) -> File:
    """Return the file that a data set was read from."""
    source: File | None = ds.file_meta.file
    assert source is not None, "a dump is of a file"
    return source


# ----------------------------------------------------------------------- JSON ---


def to_json_value(value: Any) -> Any:
    """Return a value in a form that JSON can represent."""
    if isinstance(value, list):
        return [to_json_value(one) for one in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, Preview):
        return value.hex()
    if hasattr(value, "json_key"):
        return value.json_key.lower()
    return value if value is None or isinstance(value, (int, float)) else str(value)


def record(line: Line, inflated: bool) -> dict[str, Any]:
    """Return the JSON object of an element."""
    fields = {"path": line.path, "offset": line.offset, "length": line.length, "vr": line.vr}
    if line.elem is not None and (line.elem.keyword or line.elem.name):
        fields["name"] = line.elem.keyword or line.elem.name
    if line.flags & _FRAGMENTS:
        fields["fragments"] = line.value
    elif line.elem is None:
        fields["replaced"] = True
    elif line.vr == "SQ":
        fields["items"] = len(line.value)
    else:
        fields["value"] = to_json_value(line.value)
        if isinstance(line.value, Preview) and (line.length or 0) > len(line.value):
            fields["shortened"] = True
    for flag, name in ((_UNDEFINED, "undefined_length"), (_TRUNCATED, "truncated")):
        if line.flags & flag:
            fields[name] = True
    if inflated:
        fields["inflated"] = True
    return fields


def write_json(ds: Dataset, out: Callable[[str], object]) -> None:
    """Write the data set as one JSON object, with one line for each element."""
    source = source_of(ds)
    head = {
        "file": display_name(ds),
        "size": source.size,
        "transfer_syntax": source.transfer_syntax,
        "deflated": source.deflated,
    }
    out(json.dumps(head)[:-1] + ', "elements": [')
    last = None
    levels: list[tuple[Dataset, bool]] = [(ds.file_meta, False), (ds, source.deflated)]
    for level, inflated in levels:
        for line in lines(level):
            if line.kind == "element":
                if last is not None:
                    out(last + ",")
                last = json.dumps(record(line, inflated), ensure_ascii=False)
    if last is not None:
        out(last)
    names = ("code", "path", "offset", "what")
    issues = [dict(zip(names, issue, strict=True)) for issue in ds.issues]
    out(f'], "issues": {json.dumps(issues)}}}')


@click.command()
@click.argument("file")
@click.option(
    "--json",
    "as_json",
    is_flag=True,
    help="Print one JSON object: each element with path, offset, length, VR and value.",
)
def dump(file: str, as_json: bool) -> None:
    """Print every element of FILE with its byte offset.

    Each line has offset, tag, VR, length, keyword and value. The offset is the position of
    the element header. Long values are shortened, and pixel data is not read. A damaged
    file is shown as far as it can be read, with the repairs listed at the end. FILE may be
    "-" for standard input.
    """
    ds = dcmread(memoryview(sys.stdin.buffer.read()) if file == "-" else file)
    if as_json:
        binary = rows_output()
        write_json(ds, lambda text: binary.write(text.encode("utf-8", "replace") + b"\n"))
        return
    TreeWriter(lambda text: sys.stdout.write(text + "\n"), sys.stdout.isatty()).write_dataset(ds)
