from collections.abc import Collection, Sequence
from typing import TypeVar

from fastdcm.core._elements import ElementMap
from fastdcm.core._file import File
from fastdcm.core.protocols import Source
from fastdcm.errors import Issue

_Level = TypeVar("_Level", bound=ElementMap)

def read_level(
    cls: type[_Level],
    source: Source | File,
    stop: int,
    force: bool,
    terms: str | Sequence[str] | None = None,
    tags: Collection[int] | None = None,
) -> _Level: ...
def read_meta(cls: type[_Level], f: File) -> _Level: ...
def issues_of(level: ElementMap, meta: ElementMap | None = None) -> list[Issue]: ...
