from typing import Any, TypeAlias, TypeVar

from fastdcm.core._elements import DataElement, ElementMap
from fastdcm.core._file import File

_Level = TypeVar("_Level", bound=ElementMap)

# path, preamble, transfer syntax, whether deflated, encoding
_SourceState: TypeAlias = tuple[str | bytes | None, bytes | None, str | None, bool, int]
_Row: TypeAlias = tuple[int, int, int, int, int, int]
_Frozen: TypeAlias = tuple[
    list[_Row],
    list[tuple[int, bytes]],  # offset and bytes of parts of the stream
    tuple[int, int, int, int, int, int],  # begin, end, position, encoding, state, total
    tuple[object, object, bool, int, bool],  # how text and ambiguous VRs are decoded
    list[tuple[int, int, int]],
    list[tuple[int, int, int]],
    str | bytes | None,
]
_LevelState: TypeAlias = tuple[_Frozen | None, dict[int, DataElement | None]]

def copy_level(level: ElementMap, new: _Level) -> _Level: ...
def deepcopy_level(level: ElementMap, new: _Level, memo: dict[int, Any]) -> _Level: ...
def freeze(level: ElementMap) -> _LevelState: ...
def thaw(
    cls: type[_Level], state: _LevelState, attributes: dict[str, Any], source: _SourceState | None
) -> _Level: ...
def source_state(f: File) -> _SourceState: ...
