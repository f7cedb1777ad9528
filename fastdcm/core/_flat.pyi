from collections.abc import Collection, Iterator, Sequence
from typing import TypeVar, final

from fastdcm.core._elements import DataElement, ElementMap
from fastdcm.core._file import File
from fastdcm.errors import Issue

_Level = TypeVar("_Level", bound=ElementMap)

@final
class FlatIterator:
    """Every element at every depth: the rows of a level, and for each of its
    sequences one flat index."""
    def __init__(self, root: ElementMap) -> None: ...
    def __iter__(self) -> FlatIterator: ...
    def __next__(self) -> DataElement: ...

def iterall(level: ElementMap) -> Iterator[DataElement]: ...
def below(elem: DataElement) -> Iterator[DataElement]: ...
def flat_rows(level: ElementMap) -> list[tuple[int, int, str, int, int, int, int]]: ...
def read_level(
    cls: type[_Level],
    source: object,
    stop: int,
    force: bool,
    terms: str | Sequence[str] | None = None,
    tags: Collection[int] | None = None,
) -> _Level: ...
def read_meta(cls: type[_Level], f: File) -> _Level: ...
def issues_of(level: ElementMap, meta: ElementMap | None = None) -> list[Issue]: ...
