from fastdcm.scanning._batch import Batch, Plan
from fastdcm.sources._paths import Chunk, Mixed, Streams

class Worker:
    def __init__(self, plan: Plan) -> None: ...
    bytes_read: int
    failed: int
    def run(
        self, chunk: Chunk | Streams | Mixed, random: bool = ..., limit: int = ...
    ) -> list[Batch]: ...
