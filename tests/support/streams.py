"""A stream in memory that can fail."""

from fastdcm.errors import error_for


class MemoryStream:
    """A stream of bytes in memory, whose reads are recorded.

    wrong : "open" (opening fails), "short" (reads return one byte too few), another string
        (the second read fails), or None.
    """

    def __init__(self, path, data, wrong=None):
        self.path, self.data, self.wrong = path, data, wrong
        self.reads = []

    def open(self, first):
        if self.wrong == "open":
            raise PermissionError(13, "no")
        self.size, self.mtime_ns = len(self.data), 7

    def read(self, offset, length):
        assert 0 < length <= self.size - offset
        self.reads.append((offset, length))
        if self.wrong == "short":
            return self.data[offset : offset + length - 1]
        if self.wrong and len(self.reads) > 1:
            raise error_for("stream", "503 Slow Down", offset)
        return self.data[offset : offset + length]
