"""Tag expressions: which elements a scan reads, and the plan of its columns.

An expression names an element by keyword, number or private creator (PS3.6,
PS3.5 7.8), optionally inside sequences: ``PatientID``, ``(0010,0020)``,
``(0029,xx08,SIEMENS CSA HEADER)``, ``AnatomicRegionSequence[*].CodeValue``.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping
from typing import Literal, NamedTuple, TypeAlias

from fastdcm.core._dictionary import tag_for_keyword
from fastdcm.scanning._batch import Plan, keywords
from fastdcm.scanning.hashes import xxh3

#: One step of a path: (tag, private creator or None, item). The item is a number
#: from 1, 0 for all items, and None in the last step, which is the element.
Step: TypeAlias = tuple[int, str | None, int | None]
#: What `scan` accepts as an element.
TagLike: TypeAlias = str | int
#: What `scan` accepts as elements; a mapping gives columns names of their own.
Tags: TypeAlias = Iterable[TagLike] | Mapping[str, TagLike]
Pixels: TypeAlias = bool | Literal["frames"]

#: The elements of a scan without `tags`: what identifies patients, studies, series
#: and images, and what is most often needed to get an overview of an archive.
DEFAULT_TAGS = (
    "PatientID",
    "PatientName",
    "PatientBirthDate",
    "PatientSex",
    "StudyInstanceUID",
    "StudyDate",
    "StudyTime",
    "StudyDescription",
    "StudyID",
    "AccessionNumber",
    "SeriesInstanceUID",
    "SeriesNumber",
    "SeriesDescription",
    "Modality",
    "BodyPartExamined",
    "ProtocolName",
    "Manufacturer",
    "ManufacturerModelName",
    "FrameOfReferenceUID",
    "SOPInstanceUID",
    "SOPClassUID",
    "InstanceNumber",
    "ImageType",
    "Rows",
    "Columns",
    "NumberOfFrames",
    "PixelSpacing",
    "SliceThickness",
    "ImagePositionPatient",
    "ImageOrientationPatient",
)

#: What can be hashed, and the column that has the hash, in the order of the columns.
HASH_COLUMNS = {"file": "file_hash", "pixels": "pixel_hash"}


def _syntax_error(text: str, reason: str) -> ValueError:
    return ValueError(
        f"cannot parse element {text!r}: {reason}; an element is a keyword, ggggeeee, "
        "(gggg,eeee) or (gggg,xxee,CREATOR), in sequences Sequence.Element, "
        "Sequence[2].Element or Sequence[*].Element"
    )


def _split_steps(text: str) -> Iterator[tuple[str, str | None]]:
    """Yield (element, item) of each step of an expression.

    "(0029,xx08,A (B))[2].Rows" gives ("(0029,xx08,A (B))", "2"), ("Rows", None).
    """
    start = 0
    while True:
        end = _element_end(text, start)
        item, after = None, end
        if text.startswith("[", end):
            close = text.find("]", end)
            if close < 0:
                raise _syntax_error(text, "'[' without ']'")
            item, after = text[end + 1 : close], close + 1
        if end == start:
            raise _syntax_error(text, "a step is empty")
        yield text[start:end], item
        if after == len(text):
            return
        if text[after] != ".":
            raise _syntax_error(text, f"'.' expected before {text[after:]!r}")
        start = after + 1


def _element_end(text: str, start: int) -> int:
    """Return where the element that begins at `start` ends."""
    if not text.startswith("(", start):
        ends = [i for i in (text.find(".", start), text.find("[", start)) if i >= 0]
        return min(ends, default=len(text))
    end = start
    while True:  # a private creator may contain parentheses
        end = text.find(")", end) + 1
        if end == 0:
            raise _syntax_error(text, "'(' without ')'")
        if end == len(text) or text[end] in ".[":
            return end


def _parse_hex(text: str, length: int) -> int | None:
    """Return the number that exactly `length` hexadecimal digits form, else None."""
    if len(text) != length or not all(c in "0123456789abcdefABCDEF" for c in text):
        return None
    return int(text, 16)


def _parse_element(text: str) -> tuple[int, str | None]:
    """Return (tag, creator) of a keyword, ggggeeee, (gggg,eeee) or (gggg,xxee,creator)."""
    if text.startswith("("):
        return _parse_parentheses(text)
    tag = _parse_hex(text, 8)
    if tag is None:
        tag = tag_for_keyword(text)
    if text == "*":
        raise ValueError(
            "'*' is not an element: name the columns, or read every element of a file "
            "with fastdcm.dcmread"
        )
    if tag is None:
        similar = _similar_keyword(text)
        hint = f"; did you mean {similar}?" if similar else ""
        raise ValueError(f"{text!r} is not a keyword of the DICOM dictionary{hint}")
    return tag, None


def _similar_keyword(text: str) -> str | None:
    """Return the keyword that a name is most similar to, whatever its case and spaces."""
    by_letters = {keyword.lower(): keyword for keyword in keywords()}
    letters = "".join(c for c in text.lower() if c.isalnum())
    similar = difflib.get_close_matches(letters, by_letters, 1)
    return by_letters[similar[0]] if similar else None


def _parse_parentheses(text: str) -> tuple[int, str | None]:
    """Return (tag, creator) of (gggg,eeee) or (gggg,xxee,creator)."""
    parts = [part.strip() for part in text[1:-1].split(",", 2)]
    group = element = creator = None
    if len(parts) == 2:
        group, element = _parse_hex(parts[0], 4), _parse_hex(parts[1], 4)
    elif len(parts) == 3 and parts[2] and parts[1][:2].lower() == "xx":
        group, element, creator = _parse_hex(parts[0], 4), _parse_hex(parts[1][2:], 2), parts[2]
    if group is None or element is None:
        raise ValueError(f"{text!r} is neither (gggg,eeee) nor (gggg,xxee,CREATOR)")
    return group << 16 | element, creator


def _parse_item(tag: str, item: str | None) -> int:
    """Return the number of the item that a step selects, 0 for all."""
    if item is None:
        return 1
    if item == "*":
        return 0
    if item.isascii() and item.isdigit() and 0 < int(item) < 2**32:
        return int(item)
    raise ValueError(f"{tag}: [{item}] is neither [*] nor an item number, counted from 1")


def parse_tag(tag: TagLike) -> tuple[str, list[Step]]:
    """Parse an element expression.

    Parameters
    ----------
    tag : str or int
        As an entry of the `tags` of `fastdcm.scan`.

    Returns
    -------
    (str, list of Step)
        The name of the column, and the path to the element.

    Raises
    ------
    ValueError
        If the expression cannot be parsed or names no known element.
    TypeError
        If it is neither a str nor an int.
    """
    if isinstance(tag, int):
        return f"({tag >> 16:04X},{tag & 0xFFFF:04X})", [(int(tag), None, None)]
    if not isinstance(tag, str):
        raise TypeError(f"an element must be a str or an int, got {type(tag).__name__}")
    *sequences, (last, item) = _split_steps(tag)
    path: list[Step] = []
    for text, selected in sequences:
        number, creator = _parse_element(text)
        path.append((number, creator, _parse_item(tag, selected)))
    number, creator = _parse_element(last)
    if item is not None:
        raise ValueError(
            f"{tag}: [{item}] selects an item of a sequence; name an element in it, "
            f"as in {tag}.CodeValue"
        )
    path.append((number, creator, None))
    return tag, path


class Column(NamedTuple):
    """A column of a scan.

    Attributes
    ----------
    name : str
    path : list of Step
        To the element.
    expression : str
        The element as text.
    """

    name: str
    path: list[Step]
    expression: str


def parse_tags(tags: Tags | None = None) -> list[Column]:
    """Parse the elements of a scan.

    Parameters
    ----------
    tags : iterable of str or int, or mapping of str to these, optional
        By default `DEFAULT_TAGS`.

    Returns
    -------
    list of Column

    Raises
    ------
    ValueError
        If an element or a name is not valid.
    TypeError
        If `tags` is one str, or an element neither a str nor an int.
    """
    if isinstance(tags, str):
        raise TypeError(f"tags must be a list of elements, got one str: use [{tags!r}]")
    if not isinstance(tags, Mapping):
        parsed = [parse_tag(tag) for tag in (DEFAULT_TAGS if tags is None else tags)]
        return [Column(name, path, name) for name, path in parsed]
    columns = []
    for name, tag in tags.items():
        if not isinstance(name, str) or not name:
            raise ValueError(f"the name of a column must be text, got {name!r}")
        expression, path = parse_tag(tag)
        columns.append(Column(name, path, expression))
    return columns


def make_plan(
    tags: Tags | None = None,
    pixels: Pixels = False,
    skip_errors: bool = False,
    hash: str | Iterable[str] = (),
    parse_dates: bool = False,
) -> Plan:
    """Check what a scan requests and return the plan of its columns.

    Parameters
    ----------
    tags : iterable of str or int, or mapping of str to these, optional
        The elements, by default `DEFAULT_TAGS`.
    pixels : bool or "frames"
        Whether to add columns with the position of the pixel data, or also of frames.
    skip_errors : bool
        Whether files that cannot be read get no row.
    hash : "file", "pixels" or both
        What to hash; "pixels" implies `pixels`.
    parse_dates : bool
        Whether columns of DA, TM and DT are dates and times, in place of text.

    Raises
    ------
    ValueError
        If an element or option is not valid.
    TypeError
        If `tags` is one str, or an element neither a str nor an int.
    """
    hashes = (hash,) if isinstance(hash, str) else tuple(hash)
    if not set(hashes) <= HASH_COLUMNS.keys():
        raise ValueError(f"hash must be 'file', 'pixels' or both, got {hash!r}")
    if hashes:
        xxh3()  # a missing package is reported before the first file is read
    if "pixels" in hashes:
        pixels = pixels or True
    if pixels not in (False, True, "frames"):
        raise ValueError(f"pixels must be False, True or 'frames', got {pixels!r}")
    columns = parse_tags(tags)
    plan = Plan(
        [(column.name, column.path) for column in columns],
        2 if pixels == "frames" else pixels,
        skip_errors,
        tuple(column for what, column in HASH_COLUMNS.items() if what in hashes),
        parse_dates,
    )
    plan.requested = [
        name if name == expression else f"{name}={expression}" for name, _, expression in columns
    ]
    seen = set()
    for name in plan.names:
        if name in seen:
            raise ValueError(f"two columns have the name {name!r}; request the element once")
        seen.add(name)
    return plan
