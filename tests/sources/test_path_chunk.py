"""PathChunk: paths, names of archives, sizes and times, lists compared, rows of files."""

import contextlib
import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastdcm.scanning._worker import Worker
from fastdcm.scanning.tags import make_plan
from fastdcm.sources._paths import (
    ALONE,
    CHANGED,
    SAME,
    PathChunk,
    chunk_from_columns,
    chunk_from_paths,
    compare,
    is_archive,
    owners,
    split_member_path,
)
from fastdcm.sources.urls import path_text
from support.file_lists import POSIX, columns, listed, make, plant, rows

# ------------------------------------------------------------------ paths ---


def test_chunks_accept_every_kind_of_path(tmp_path):
    paths = ["a", b"b", tmp_path / "c"]
    assert chunk_from_paths(paths).paths() == [b"a", b"b", os.fsencode(tmp_path / "c")]
    with pytest.raises(TypeError):
        chunk_from_paths(["a", 1])


def test_archive_suffixes():
    for ending in (
        ".zip",
        ".tar",
        ".tgz",
        ".tar.gz",
        ".tar.zst",
        ".tar.bz2",
        ".tar.xz",
        ".7z",
        ".dcm.gz",
        ".bz2",
        ".ZIP",
        ".Tar.GZ",
    ):
        assert is_archive(b"/data/x" + ending.encode()) and is_archive(b"/" + ending.encode())
        assert not is_archive(b"/data/x" + ending.encode() + b"x")
    for name in (
        b"",
        b"zip",
        b".gz",
        b"x.dcm",
        b"x.g",
        b"x.7",
        b"a.zi",
        b"zzip",
        b"http://a/b?x=c.zip",
        b"a.zip?x",
    ):
        assert not is_archive(name), name
    assert is_archive(b"https://a/b.zip?signature=x")
    assert split_member_path(b"http://a/b.zip?x=1!/c") == [(b"http://a/b.zip?x=1", b"c")]


def test_split_member_path():
    assert split_member_path(b"a.zip!/b") == [(b"a.zip", b"b")]
    assert split_member_path(b"a!/b.tgz!/c.zip!/d!/e") == [
        (b"a!/b.tgz", b"c.zip!/d!/e"),
        (b"a!/b.tgz!/c.zip", b"d!/e"),
    ]
    for path in (b"a/b", b"a!/b", b"a.zip!", b"a.zip!x", b"", b"!", b"!/", b"a.zip/!/b"):
        assert split_member_path(path) == []
    assert split_member_path(b"a.zip!/") == [(b"a.zip", b"")]


def test_archives_of_a_chunk():
    chunk = chunk_from_paths(["a", "b.zip", "c", "d!/e", "f.tar!/g", "h.zip", "i"])
    assert chunk.archives() == [(1, b"b.zip"), (4, b"f.tar!/g"), (5, b"h.zip")]
    assert (
        chunk.part(2, 5).paths() == [b"c", b"d!/e", b"f.tar!/g"] and chunk.part(2, 2).paths() == []
    )
    assert PathChunk().archives() == []


# ---------------------------------------------------------- size and time ---


def test_sizes_and_times_are_those_of_the_files(tmp_path):
    plant(tmp_path, "a", data=b"12345")
    plant(tmp_path, "b/c")
    os.utime(tmp_path / "a", ns=(0, 1_600_000_000_123_456_700))
    os.utime(tmp_path / "b" / "c", ns=(0, -1_000_000_000))
    (chunk,) = listed(tmp_path)
    assert [row[1:] for row in rows(chunk)] == [
        (5, 1_600_000_000_123_456_700, 0),
        (0, -1_000_000_000, 0),
    ]
    (batch,) = Worker(make_plan([])).run(chunk)
    assert batch.column("mtime_ns") == [row[2] for row in rows(chunk)]


def test_missing_files():
    chunk = chunk_from_paths(["no/such/file", "a\0b", __file__])
    chunk.stat()
    assert [row[1:3] for row in rows(chunk)][:2] == [(-1, -1)] * 2
    assert rows(chunk)[2][1] == os.path.getsize(__file__)
    empty = chunk_from_paths([])
    empty.stat()
    assert rows(empty) == []


def test_columns_need_sizes_and_times():
    with pytest.raises(ValueError, match="not known"):
        chunk_from_paths(["a"]).columns()
    with pytest.raises(ValueError, match="not known"):
        compare(chunk_from_paths(["a"]), 0, make([]), 0)


@pytest.mark.skipif(not POSIX, reason="a link needs a privilege on Windows")
def test_links_are_followed_as_opening_does(tmp_path):
    plant(tmp_path, "real", data=b"123")
    (tmp_path / "link").symlink_to("real")
    (tmp_path / "broken").symlink_to("nowhere")
    (chunk,) = listed(tmp_path)
    assert [row[1] for row in rows(chunk)] == [-1, 3, 3]


@pytest.mark.skipif(not POSIX, reason="a link needs a privilege on Windows")
def test_errors_of_folders_are_kept(tmp_path):
    plant(tmp_path, "a-b", "a/x", "c")
    (tmp_path / "a" / "up").symlink_to("..")
    (chunk,) = listed(tmp_path)
    found = rows(chunk)
    assert [os.path.basename(row[0]) for row in found] == [b"a-b", b"up", b"x", b"c"]
    assert (
        found[1][1:3] == (-1, -1) and found[1][3] != 0 and not any(found[i][3] for i in (0, 2, 3))
    )
    again = make(found)
    assert rows(again) == found
    plan = make_plan([])
    expected = [batch.to_pydict() for batch in Worker(plan).run(chunk)]
    assert [batch.to_pydict() for batch in Worker(plan).run(again)] == expected
    assert expected[0]["error"] == ["empty", "walk", "empty", "empty"]
    chosen = again.select(bytes([0, 1, 0, 1]))
    assert Worker(plan).run(chosen)[0].column("error") == ["walk", "empty"]
    assert chosen.paths() == [found[1][0], found[3][0]]
    assert Worker(plan).run(again.part(1, 3))[0].column("error") == ["walk", "empty"]
    assert again.part(1, 3).paths() == [again[1], again[2]]
    assert again.select(bytes(4)) is None


def test_a_part_of_the_columns(tmp_path):
    plant(tmp_path, *(f"{i:03}" for i in range(10)), data=b"1")
    (chunk,) = listed(tmp_path)
    data, offsets, sizes, times, errnos = columns(chunk)
    part = chunk_from_columns(data, offsets[3:8], sizes[3:7], times[3:7], errnos[3:7])
    assert rows(part) == rows(chunk)[3:7]


@pytest.mark.parametrize("offsets", [[0, 2, 1], [0, 2, 9], [-1, 2, 3], [0, 1], [0, 1, 2, 3]])
def test_columns_that_contradict_each_other(offsets):
    from array import array

    two = array("q", [0, 0])
    with pytest.raises(ValueError):
        chunk_from_columns(b"abc", array("q", offsets), two, two, array("i", [0, 0]))
    with pytest.raises(ValueError):
        make([(b"a", 1, 1, 0)]).select(b"11")


def test_paths_that_are_not_utf8_keep_their_names():
    assert rows(make([(b"caf\xe9", 1, 2, 0)])) == [(b"caf\xe9", 1, 2, 0)]
    (batch,) = Worker(make_plan([])).run(make([(b"caf\xe9", 1, 2, 0)]))
    assert batch.column("path") == ["file:caf%E9"]


# ------------------------------------------------------------- comparison ---


def merge(old, new):
    """Compare two lists of chunks, chunk by chunk; return [(path, mark)] of each."""
    marked = [], []
    blocks, positions = [iter(old), iter(new)], [0, 0]
    chunks = [next(block, None) for block in blocks]
    while None not in chunks:
        found = compare(chunks[0], positions[0], chunks[1], positions[1])
        for side, marks in enumerate(found):
            stop = positions[side] + len(marks)
            marked[side].extend(zip(chunks[side].paths()[positions[side] : stop], marks))
            positions[side] = stop
            if stop == len(chunks[side]):
                chunks[side], positions[side] = next(blocks[side], None), 0
    for side, chunk in enumerate(chunks):
        while chunk is not None:
            marked[side].extend((path, ALONE) for path in chunk.paths()[positions[side] :])
            chunk, positions[side] = next(blocks[side], None), 0
    return marked


def marks(old, new):
    return [[mark for _, mark in side] for side in merge([make(old)], [make(new)])]


def test_marks_of_two_lists():
    old = [(b"a", 1, 1, 0), (b"b", 1, 1, 0), (b"c", 1, 1, 0), (b"d", 1, 1, 0), (b"f", 1, 1, 0)]
    new = [(b"a", 1, 1, 0), (b"b", 2, 1, 0), (b"c", 1, 2, 0), (b"e", 1, 1, 0), (b"f", 1, 1, 0)]
    assert marks(old, new) == [[SAME, CHANGED, CHANGED, ALONE, SAME]] * 2
    assert marks(old, []) == [[ALONE] * 5, []]
    assert marks([], new) == [[], [ALONE] * 5]


def test_position_of_folders_that_cannot_be_listed():
    sep = os.sep.encode()
    failed = (b"a", -1, -1, 13)
    inside = (b"a" + sep + b"x", 1, 1, 0)
    around = [(b"a-b", 1, 1, 0), failed, (b"a0" if POSIX else b"ab", 1, 1, 0)]
    assert marks(around, around) == [[SAME] * 3] * 2
    assert marks(around, [around[0], (b"a", -1, -1, 5), around[2]]) == [[SAME, CHANGED, SAME]] * 2
    assert marks([failed], around) == [[SAME], [ALONE, SAME, ALONE]]
    assert marks(around, [failed]) == [[ALONE, SAME, ALONE], [SAME]]
    # it can be listed again; or half of it can; or it is a file now
    assert marks(around, [around[0], inside, around[2]]) == [[SAME, ALONE, SAME]] * 2
    assert marks(around, [around[0], failed, inside, around[2]]) == [
        [SAME] * 3,
        [SAME, SAME, ALONE, SAME],
    ]
    assert marks(around, [(b"a", 1, 1, 0), around[0], around[2]]) == [
        [SAME, ALONE, SAME],
        [ALONE, SAME, SAME],
    ]
    # a root that ends in a separator
    root = [(sep, -1, -1, 5), (sep + b"-", 1, 1, 0)]
    assert marks(root, root) == [[SAME] * 2] * 2


names = st.text("aA-./0_\u00e9\u65e5", min_size=1, max_size=3).filter(lambda s: s.strip("./") == s)


trees = st.dictionaries(
    st.lists(names, min_size=1, max_size=4).map("/".join),
    st.tuples(st.integers(0, 3), st.integers(0, 3)),
    max_size=25,
)


def lay(folder, tree, loops):
    """Writes {path: (size, mtime)} and links that lead upwards; what cannot be is left out."""
    for number, (name, (size, mtime)) in enumerate(tree.items()):
        with contextlib.suppress(OSError):
            if POSIX and number in loops:
                os.makedirs(os.path.dirname(os.path.join(folder, name)), exist_ok=True)
                os.symlink(folder, os.path.join(folder, name))
            else:
                plant(folder, name, data=bytes(size))
                os.utime(os.path.join(folder, name), ns=(0, mtime * 10**9))


@settings(max_examples=60, deadline=None)
@given(trees, trees, st.sets(st.integers(0, 24), max_size=4), st.integers(1, 8), st.integers(1, 8))
def test_any_two_trees(tmp_path_factory, before, after, loops, few, many):
    """Against a dictionary of each, for any size of the chunks."""
    folder = tmp_path_factory.mktemp("trees")
    chunks = []
    for number, tree in enumerate((before, {**before, **after})):
        # both under one name, as the tree that is updated
        inner = os.fspath(folder / "tree")
        os.mkdir(inner)
        lay(inner, tree, loops if number else ())
        chunks.append(list(listed(inner, (few, many)[number])))
        os.rename(inner, folder / f"{number}")
    old, new = (
        {(row[0], row[3] != 0): row for chunk in side for row in rows(chunk)} for side in chunks
    )
    for side, mine, other in zip(merge(*chunks), (old, new), (new, old)):
        assert [path for path, _ in side] == [path for path, _ in mine]
        for (_, mark), (key, row) in zip(side, mine.items()):
            assert mark == (ALONE if key not in other else SAME if other[key] == row else CHANGED)


# ---------------------------------------------------------- rows of files ---


def whose(files, texts, i=0):
    """The positions of the files of rows, up to the first that has none."""
    from array import array

    texts, offsets = [text.encode() for text in texts], array("i", [0])
    for text in texts:
        offsets.append(offsets[-1] + len(text))
    return list(
        memoryview(owners(chunk_from_paths(files), i, offsets, b"".join(texts) or b"-")).cast("I")
    )


def test_rows_of_files():
    assert whose(["a", "b", "c"], ["a", "b", "c"]) == [0, 1, 2]
    assert whose(["a", "b", "c"], ["a", "c"]) == [0, 2]  # b has none
    assert whose(["a", "b", "c"], ["b", "d", "c"]) == [1]
    assert whose(["a", "b", "c"], ["b"], 1) == [1]
    assert whose(["a", "b", "c"], ["a"], 1) == whose([], ["a"]) == whose(["a"], []) == []


def test_rows_of_archives():
    files = ["a", "b.zip", "b.zip!x", "c.zip", "d"]
    rows = ["a", "b.zip!/1", "b.zip!/1", "b.zip!/x/y", "b.zip!x", "c.zip", "d"]
    assert whose(files, rows) == [0, 1, 1, 1, 2, 3, 4]
    assert whose(["b.zip", "b.zip!/x"], ["b.zip!/m", "b.zip!/x"]) == [0, 1]  # a folder `b.zip!`
    assert whose(["b.zip"], ["b.zip!"]) == whose(["b.zip"], ["b.zipx"]) == []


@pytest.mark.skipif(not POSIX, reason="names are UTF-8 on Windows")
def test_rows_of_names_that_are_not_utf8():
    files = [b"/a.zip", b"/caf\xe9", b"/caf\xe9.zip", b"file:x"]
    rows = [
        path_text(name)
        for name in (
            b"/a.zip!/1",
            b"/a.zip!/\xff",
            b"/caf\xe9",
            b"/caf\xe9.zip!/1",
            b"/caf\xe9.zip!/\xe9",
            b"file:x",
        )
    ]
    assert whose(files, rows) == [0, 0, 1, 2, 2, 3]


def test_offsets_past_the_end_of_the_column():
    from array import array

    with pytest.raises(ValueError):
        owners(chunk_from_paths(["a"]), 0, array("i", [0, 2]), b"a")
