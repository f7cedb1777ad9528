"""Any folder after any other: an index that is brought up to date has the rows of
a fresh scan."""

import os
import shutil
from pathlib import Path

import pyarrow
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scanning.index.test_update import small, told_by  # noqa: F401

from fastdcm.scanning.index.manifest import open_index
from fastdcm.scanning.open_source import open_source
from fastdcm.scanning.scanner import Scan, make_plan


class Told(Scan):
    """A scan whose files tell their rows themselves, without being DICOM; those
    that end in .zip are archives of as many members."""

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

    def over(self, source):
        return Told(source, self.plan, self.threads, self.batch_size)


def told(folder):
    return Told(open_source(str(folder)), make_plan(["SOPInstanceUID"]), 1, 4)


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


def lay(folder, tree):
    """{path: (length, time)}; a file that is there gives way to a folder."""
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
def test_any_tree_after_any_other(tmp_path_factory, states):
    """Archives among them. Each has the rows of a fresh scan, in its order."""
    home = tmp_path_factory.mktemp("any")
    folder, index = home / "in", home / "index"
    for state in states:
        lay(folder, {"-": (1, 1), **state})
        told(folder).write(f"{index}/", update=True)
        rows = [row["path"] for batch in told(folder) for row in batch.to_pylist()]
        opened = open_index(index)
        assert opened.read_all().column("path").to_pylist() == rows
        fresh = [row["SOPInstanceUID"] for batch in told(folder) for row in batch.to_pylist()]
        assert opened.read_all().column("SOPInstanceUID").to_pylist() == fresh
        opened.verify()
        assert sorted(path.name for path in index.glob("*.parquet")) == sorted(
            map(os.path.basename, opened.parts)
        )
        told_by(index)
