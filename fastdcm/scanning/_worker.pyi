from fastdcm.scanning._batch import Batch, Plan
from fastdcm.sources._paths import DeferredChunk, PathChunk, StreamChunk

class Worker:
    def __init__(self, plan: Plan) -> None: ...
    bytes_read: int
    failed: int
    def run(
        self, chunk: PathChunk | StreamChunk | DeferredChunk, random: bool = ..., limit: int = ...
    ) -> list[Batch]: ...
