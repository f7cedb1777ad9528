from typing import final

from fastdcm.scanning._batch import Batch, Plan
from fastdcm.sources._paths import DeferredChunk, PathChunk, StreamChunk

@final
class Worker:
    def __init__(self, plan: Plan) -> None: ...
    @property
    def bytes_read(self) -> int: ...
    @property
    def failed(self) -> int: ...
    def run(
        self,
        chunk: PathChunk | StreamChunk | DeferredChunk,
        random: bool = False,
        limit: int = ...,
    ) -> list[Batch]: ...
