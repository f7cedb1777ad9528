from types import ModuleType
from typing import Any

from fastdcm.sources.protocols import ObjectAnswer

# A store is one of the classes of obstore, which is optional.
def read_range(
    obstore: ModuleType, store: Any, name: str, offset: int, length: int
) -> tuple[ObjectAnswer, bytes]: ...
