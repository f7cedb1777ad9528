"""Walk: which files, in which order, and folders that cannot be listed."""

import contextlib
import os
import random

import pytest

from fastdcm.scanning._worker import Worker
from fastdcm.scanning.tags import make_plan
from fastdcm.sources._paths import (
    Walk,
)
from support.file_lists import POSIX, plant


def walked(folder, count=1000, recursive=True):
    """All paths, as bytes."""
    walk = Walk(os.fsencode(folder), recursive)
    found = []
    while (chunk := walk.read_chunk(count)) is not None:
        assert 0 < len(chunk) <= count
        found += chunk.paths()
    assert walk.read_chunk(count) is None
    return found


def expected(folder):
    return sorted(
        os.path.join(os.fsencode(root), name)
        for root, _, names in os.walk(os.fsencode(folder))
        for name in names
    )


def rows(folder):
    (batch,) = Worker(make_plan([])).run(Walk(os.fsencode(folder)).read_chunk(1000))
    return {
        os.path.relpath(p, folder): e for p, e in zip(batch.column("path"), batch.column("error"))
    }


def test_order_is_that_of_the_paths_bytes(tmp_path):
    # "-" and "." sort before the separator, "0" and "a" after it
    plant(
        tmp_path,
        "a/1",
        "a-b",
        "a.b",
        "a0",
        "a/0/x",
        "a/0.x",
        "B",
        "\u00e9",
        ".hidden",
        ".folder/x",
        "a b",
        "z/y/x/w",
    )
    found = walked(tmp_path)
    assert found == expected(tmp_path)
    assert len(found) == 12
    names = [os.path.relpath(path, os.fsencode(tmp_path)) for path in found]
    if POSIX:
        assert names.index(b"a-b") < names.index(b"a.b") < names.index(b"a/1") < names.index(b"a0")


@pytest.mark.parametrize("seed", range(20))
def test_random_trees(tmp_path, seed):
    chance = random.Random(seed)
    for _ in range(60):
        depth = chance.randint(1, 5)
        parts = [
            "".join(chance.choices("aA-. 0_\u00e9\u65e5", k=chance.randint(1, 3))).strip() or "x"
            for _ in range(depth)
        ]
        parts = [p.strip(".") or "y" for p in parts]
        with contextlib.suppress(OSError):  # there is a file where a folder should be
            plant(tmp_path, "/".join(parts))
    assert walked(tmp_path) == expected(tmp_path)
    assert walked(tmp_path, count=chance.randint(1, 7)) == expected(tmp_path)


def test_many_names_in_one_folder(tmp_path):
    plant(tmp_path, *(f"{i:x}" for i in range(5000)))
    assert walked(tmp_path, 7) == expected(tmp_path)


def test_deep_folders(tmp_path):
    plant(tmp_path, "/".join("d" * 300) + "/file")
    assert len(walked(tmp_path)) == 1


def test_not_recursive(tmp_path):
    plant(tmp_path, "b", "a/1", "c")
    assert [os.path.basename(p) for p in walked(tmp_path, recursive=False)] == [b"b", b"c"]


def test_empty_folders(tmp_path):
    os.makedirs(tmp_path / "a" / "b")
    assert walked(tmp_path) == []


@pytest.mark.parametrize("spelling", ["{}", "{}/", "{}//"])
def test_a_separator_at_the_end_is_not_doubled(tmp_path, spelling):
    plant(tmp_path, "a/b")
    (found,) = walked(spelling.format(tmp_path))
    assert os.path.normpath(found) == os.fsencode(tmp_path / "a" / "b")
    assert found.endswith(os.fsencode(os.path.join("a", "b")))
    assert b"//a" not in found or spelling == "{}//"


def test_the_working_folder(tmp_path, monkeypatch):
    plant(tmp_path, "a")
    monkeypatch.chdir(tmp_path)
    assert walked(".") == [os.path.join(b".", b"a")]
    assert walked("") == [os.path.join(b".", b"a")]


def test_a_missing_folder_is_an_error_row(tmp_path):
    assert rows(tmp_path / "nothing") == {".": "walk"}


@pytest.mark.skipif(not POSIX, reason="a link needs a privilege on Windows")
def test_links_are_followed(tmp_path):
    plant(tmp_path, "real/file", "tree/z")
    (tmp_path / "tree" / "folder").symlink_to(tmp_path / "real")
    (tmp_path / "tree" / "link").symlink_to(tmp_path / "real" / "file")
    (tmp_path / "tree" / "broken").symlink_to(tmp_path / "nowhere")
    assert rows(tmp_path / "tree") == {
        "broken": "open",
        "folder/file": "empty",
        "link": "empty",
        "z": "empty",
    }


@pytest.mark.skipif(not POSIX, reason="a link needs a privilege on Windows")
def test_a_folder_that_contains_itself_is_one_error_row(tmp_path):
    plant(tmp_path, "a/b/file", "c")
    (tmp_path / "a" / "b" / "up").symlink_to(tmp_path)
    (tmp_path / "a" / "here").symlink_to(".")
    assert rows(tmp_path) == {"a/b/file": "empty", "a/b/up": "walk", "a/here": "walk", "c": "empty"}
    (batch,) = Worker(make_plan([])).run(Walk(os.fsencode(tmp_path)).read_chunk(100))
    details = [d for d in batch.column("error_detail") if "listed" in d]
    assert details == [f"the directory cannot be listed: {os.strerror(40)}"] * 2


@pytest.mark.skipif(not POSIX, reason="a link needs a privilege on Windows")
def test_a_folder_linked_twice_is_walked_twice(tmp_path):
    plant(tmp_path, "a/file")
    (tmp_path / "b").symlink_to("a")
    assert len(walked(tmp_path)) == 2


def test_a_folder_that_is_removed(tmp_path):
    plant(tmp_path, "a", "z/file", "zz")
    walk = Walk(os.fsencode(tmp_path))
    assert [os.path.basename(p) for p in walk.read_chunk(1).paths()] == [b"a"]
    os.remove(tmp_path / "z" / "file")
    os.rmdir(tmp_path / "z")
    (batch,) = Worker(make_plan([])).run(walk.read_chunk(10))
    assert batch.column("error") == ["walk", "empty"]
    assert [os.path.basename(p) for p in batch.column("path")] == ["z", "zz"]


def test_a_folder_without_permission(common, powerless):
    plant(common, "a/file", "b")
    os.chmod(common / "a", 0)
    try:
        with powerless():
            assert rows(common) == {"a": "walk", "b": "empty"}
    finally:
        os.chmod(common / "a", 0o700)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no FIFOs")
def test_a_fifo_does_not_block(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    assert rows(tmp_path) == {"fifo": "not-regular"}
