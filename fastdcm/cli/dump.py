"""fastdcm dump: every element of one file, in the order of its bytes."""

import json
import math
import os
import sys

import click

from fastdcm.core._flat import flat_rows
from fastdcm.reader import dcmread
from fastdcm.uid import UID

# Flags of a row, DCM_ROW_... in src_c/dcm.h.
_UNDEFINED, _TRUNCATED, _FRAGMENTS, _ITEMS = 4, 8, 16, 32

_ITEM = 0xFFFEE000
_ITEM_BYTES = b"\xfe\xff\x00\xe0"
_BYTES = frozenset(("OB", "OD", "OF", "OL", "OV", "OW", "UN"))
_DECODED = 1 << 16  # a longer value is not decoded
_PREVIEW = 16  # bytes of it that are shown
_WIDTH = 64  # characters of a value
_NAME = 36  # characters of a name


class Line:
    """An element, an item or a fragment, where it stands in the stream.

    offset is None for an item whose header the index did not meet. elem is
    None for items, fragments and whatever a later element replaces."""

    def __init__(
        self, kind, depth, path, offset, length, flags=0, tag=0, vr="", elem=None, value=None
    ):
        self.kind, self.depth, self.path = kind, depth, path
        self.offset, self.length, self.flags = offset, length, flags
        self.tag, self.vr, self.elem, self.value = tag, vr, elem, value


def lines(level, prefix="", depth=0):
    """The Lines of a data set level and of all levels below it."""
    elements = level._iterall()  # enters every level, so that its issues are known
    ahead = {}  # elements that stand later in the stream
    paths, items = [prefix], []  # by depth: path of the level, items of its last sequence
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
            elem = next(elements, None)
            if elem is None:
                break
            ahead[elem.file_tell] = elem
        elem = ahead.pop(offset, None)
        if elem is not None:
            vr = elem.VR
        line = Line("element", depth + inner, path, start, length, flags, tag, vr, elem)
        if flags & _FRAGMENTS:
            line.value = fragments(level.file, offset, length)
        elif vr == "SQ":
            line.value = None if elem is None else elem.value
        elif elem is not None:
            line.value = value_of(level.file, elem)
        yield line
        if flags & _FRAGMENTS:
            for number, (start, length) in enumerate(line.value):
                yield Line("fragment", depth + inner, f"{path}[{number}]", start, length, tag=_ITEM)
        elif vr == "SQ" and not flags & _ITEMS and line.value is not None:
            # Bytes to the index, which knows no private dictionary.
            for number, item in enumerate(line.value):
                below = f"{path}[{number}]"
                yield Line("item", depth + inner, below, None, None, tag=_ITEM)
                yield from lines(item, below + ".", depth + inner + 1)


def fragments(file, offset, length):
    """(offset, length) of each fragment of an encapsulated value; the first
    is the offset table (PS3.5 A.4). Reads their headers alone."""
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


def value_of(file, elem):
    """The value, or a Preview of bytes and of what is too long."""
    if elem.VR in _BYTES or elem.value_length > _DECODED:
        return Preview(file.read(elem.file_tell, min(elem.value_length, _PREVIEW)))
    value = elem.value
    return Preview(value[:_PREVIEW]) if isinstance(value, bytes) else value


# ---------------------------------------------------------------- for people ---


def text_of(line):
    """The value of an element as one short line."""
    value = line.value
    if line.flags & _FRAGMENTS:
        return counted(len(value), "fragment")
    if line.elem is None:
        return "replaced: the tag comes again"
    if line.vr == "SQ":
        return counted(len(value), "item")
    if isinstance(value, Preview):
        text = value.hex(" ")
        return text + " ..." if line.length > len(value) else text
    if value is None or value == []:
        return ""
    text = line.elem.original_text  # of IS and DS
    if text is not None:
        text = text.strip(" \0")
    else:
        text = "\\".join(map(str, value if isinstance(value, list) else [value]))
    # Line ends and escape sequences are the terminal's business otherwise.
    text = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    if len(text) > _WIDTH:
        text = text[: _WIDTH - 4] + " ..."
    if isinstance(value, UID) and value.name != value:
        text += f"  {value.name}"
    return text


def counted(number, what):
    return f"{number} {what}{'' if number == 1 else 's'}"


def tree(ds, out, colour):
    """Writes the data set as a tree."""

    def paint(text, **style):
        return click.style(text, **style) if colour else text

    def write(line):
        start = "" if line.offset is None else line.offset
        length = "" if line.length is None else line.length
        indent = "   " * line.depth
        if line.kind != "element":
            name = line.path[line.path.rindex("[") :]
            text = f"  {name} {line.kind}"
            if line.kind == "fragment" and name == "[0]":
                text = "  [0] offset table"
            rest = f", {length} bytes" if length != "" else ""
            out(f"{start:>10}  {indent}{paint(text + rest, dim=True)}{marks(line)}")
            return
        name = "" if line.elem is None else line.elem.keyword or line.elem.name
        tag = f"({line.tag >> 16:04X},{line.tag & 0xFFFF:04X})"
        out(
            f"{start:>10}  {indent}{paint(tag, fg='cyan')} {paint(line.vr or '??', fg='green')}"
            f" {length:>6}  {paint(f'{name[:_NAME]:<{_NAME}}', bold=True)}"
            f"  {text_of(line)}{marks(line)}".rstrip()
        )

    def marks(line):
        text = "  (undefined length)" if line.flags & _UNDEFINED and line.kind == "element" else ""
        return text + (paint("  (cut short)", fg="red") if line.flags & _TRUNCATED else "")

    source = ds.file_meta.file
    syntax = source.transfer_syntax
    known = f"{UID(syntax).name} ({syntax})" if syntax else "no transfer syntax"
    name = (
        "standard input"
        if ds.filename is None
        else os.fsencode(ds.filename).decode(errors="replace")
    )
    out(f"{paint(name, bold=True)}: {source.size} bytes, {known}")
    out(paint(f"{'offset':>10}  tag         VR length  {'name':<{_NAME}}  value", underline=True))
    for line in lines(ds.file_meta):
        write(line)
    if source.deflated:
        out("The data set is deflated: from here on offsets count in its inflated bytes.")
    for line in lines(ds):
        write(line)
    issues = ds.issues
    if issues:
        out(paint(counted(len(issues), "issue"), fg="yellow"))
    for issue in issues:
        path = f"{issue.path} " if issue.path else ""
        out(f"{issue.offset:>10}  {path}{paint(issue.code, fg='yellow')}: {issue.what}")


# -------------------------------------------------------------- for programs ---


def plain(value):
    """A value as JSON has it."""
    if isinstance(value, list):
        return [plain(one) for one in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, Preview):
        return value.hex()
    if hasattr(value, "json_key"):
        return value.json_key.lower()
    return value if value is None or isinstance(value, (int, float)) else str(value)


def record(line, inflated):
    """The JSON object of an element."""
    told = {"path": line.path, "offset": line.offset, "length": line.length, "vr": line.vr}
    if line.elem is not None and (line.elem.keyword or line.elem.name):
        told["name"] = line.elem.keyword or line.elem.name
    if line.flags & _FRAGMENTS:
        told["fragments"] = line.value
    elif line.elem is None:
        told["replaced"] = True
    elif line.vr == "SQ":
        told["items"] = len(line.value)
    else:
        told["value"] = plain(line.value)
        if isinstance(line.value, Preview) and line.length > len(line.value):
            told["shortened"] = True
    for flag, name in ((_UNDEFINED, "undefined_length"), (_TRUNCATED, "truncated")):
        if line.flags & flag:
            told[name] = True
    if inflated:
        told["inflated"] = True
    return told


def document(ds, out):
    """Writes the data set as one JSON object, an element a line."""
    source = ds.file_meta.file
    name = None if ds.filename is None else os.fsencode(ds.filename).decode(errors="replace")
    head = {
        "file": name,
        "size": source.size,
        "transfer_syntax": source.transfer_syntax,
        "deflated": source.deflated,
    }
    out(json.dumps(head)[:-1] + ', "elements": [')
    last = None
    for level, inflated in ((ds.file_meta, False), (ds, source.deflated)):
        for line in lines(level):
            if line.kind == "element":
                if last is not None:
                    out(last + ",")
                last = json.dumps(record(line, inflated), ensure_ascii=False)
    if last is not None:
        out(last)
    issues = [dict(zip(("code", "path", "offset", "what"), issue)) for issue in ds.issues]
    out(f'], "issues": {json.dumps(issues)}}}')


@click.command()
@click.argument("file")
@click.option(
    "--json",
    "as_json",
    is_flag=True,
    help="One JSON object: each element with path, offset, length, VR and value.",
)
def dump(file, as_json):
    """Print every element of FILE: where it stands, what it is, what it holds.

    Offsets are those of the element's header, in bytes. Long values are
    shortened and pixel data is not read. Damaged files are shown as far as
    they can be read, with what was repaired at the end. FILE may be "-".
    """
    ds = dcmread(memoryview(sys.stdin.buffer.read()) if file == "-" else file)
    if as_json:
        out = sys.stdout.buffer
        document(ds, lambda text: out.write(text.encode("utf-8", "replace") + b"\n"))
        out.flush()
    else:
        sys.stdout.reconfigure(errors="backslashreplace")
        tree(ds, lambda text: sys.stdout.write(text + "\n"), sys.stdout.isatty())
