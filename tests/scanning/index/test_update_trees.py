"""Updates from any folder tree to any other: the rows are those of a new scan."""

import os
import shutil
from pathlib import Path

import pyarrow
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fastdcm.scanning.index.folder import open_index
from fastdcm.scanning.open_source import open_source
from fastdcm.scanning.scanner import Scan
from fastdcm.scanning.tags import make_plan
from support.index_folders import check_rows_of_parts

pytestmark = pytest.mark.usefixtures("tiny_parts")


class TextScan(Scan):
    """A scan of text files, with one row each; those that end in .zip have a row per byte."""

    def __iter__(self):
        schema, reader, count = pyarrow.schema(self), self.source.start(), 0
        while (chunk := reader.read_chunk(self.batch_size)) is not None:
            rows = []
            for path in map(os.fsdecode, chunk.paths()):
                text = Path(path).read_text()
                number = len(text) if path.endswith(".zip") else None
                names = [path] if number is None else [f"{path}!/{i}" for i in range(number)]
                rows += [{"path": name, "SOPInstanceUID": text} for name in names]
            count += len(rows)
            if rows:
                yield pyarrow.RecordBatch.from_pylist(rows, schema)
        self.counts = {"files": count, "errors": 0, "issues": 0, "bytes_read": 0, "threads": 1}

    stats = property(lambda self: {**super().stats, **getattr(self, "counts", {})})

    def with_source(self, source):
        return TextScan(source, self.plan, self.threads, self.batch_size)


def text_scan(folder):
    return TextScan(open_source(str(folder)), make_plan(["SOPInstanceUID"]), 1, 4)


names = st.sampled_from(["a", "b", "c", "a-", "a.zip", "b.zip", "c0", "z.zip"])
states = st.lists(
    st.dictionaries(
        st.lists(names, min_size=1, max_size=3).map("/".join),
        st.tuples(st.integers(0, 12), st.integers(0, 3)),
        max_size=30,
    ),
    min_size=2,
    max_size=4,
)


def write_tree(folder, tree):
    """Write {path: (length, time)}, without files below other files or at folders."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for name, (length, mtime) in tree.items():
        path = folder / name
        if not path.is_dir() and not any(up.is_file() for up in path.parents):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"{mtime}" * length)
            os.utime(path, ns=(0, mtime))


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(states)
def test_from_any_tree_to_any_other(tmp_path_factory, states):
    """With archives. The rows are those of a new scan, in its order."""
    home = tmp_path_factory.mktemp("any")
    folder, index = home / "in", home / "index"
    for state in states:
        write_tree(folder, {"-": (1, 1), **state})
        text_scan(folder).write(f"{index}/", update=True)
        rows = [row["path"] for batch in text_scan(folder) for row in batch.to_pylist()]
        opened = open_index(index)
        assert opened.read_all().column("path").to_pylist() == rows
        fresh = [row["SOPInstanceUID"] for batch in text_scan(folder) for row in batch.to_pylist()]
        assert opened.read_all().column("SOPInstanceUID").to_pylist() == fresh
        opened.verify()
        assert sorted(path.name for path in index.glob("*.parquet")) == sorted(
            map(os.path.basename, opened.parts)
        )
        check_rows_of_parts(index)
