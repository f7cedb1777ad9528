from decimal import Decimal
from typing import TypeAlias, TypeVar, final

from fastdcm.core._elements import ElementMap
from fastdcm.core._file import File

_Level = TypeVar("_Level", bound=ElementMap)

# bytes, or a span of a file as (file, offset, length)
_Piece: TypeAlias = bytes | tuple[File, int, int]

@final
class Pieces:
    """What is to be written: bytes, and spans of files."""

@final
class Writer:
    """How a data set is encoded."""

def decimal(value: str | float | Decimal) -> str: ...
def pieces_of(
    level: ElementMap, implicit: bool, big: bool, encapsulated: int = -1, strict: bool = True
) -> tuple[list[_Piece], int]: ...
def deflated_span(f: File) -> tuple[int, int]: ...
def of_undefined_length(item: ElementMap) -> bool: ...
def encodings_of(level: ElementMap) -> tuple[str, ...]: ...
def level_from_bytes(cls: type[_Level], data: bytes, implicit: bool, big: bool) -> _Level: ...
def has_fragments(level: ElementMap) -> bool | None: ...
def keep_open(f: File, device: int, inode: int) -> None: ...
def is_complete(level: ElementMap) -> bool: ...
