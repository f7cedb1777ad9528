"""Interrupted updates: the index stays correct, and the next update resumes."""

import errno
import os
import random
import shutil
import signal
import subprocess
import sys
import time

import pytest

import fastdcm
from fastdcm.scanning.index import build, diff
from fastdcm.scanning.index.folder import open_index
from fastdcm.scanning.index.manifest import UPDATE, ChecksumWriter, Manifest
from support.index_folders import (
    CHANGE_COUNTS,
    CHANGED,
    check_updated_index,
    expected_rows,
    make_changes,
    posix,
    put_file,
    scan_in_small_batches,
    update_index,
)

pytestmark = pytest.mark.usefixtures("tiny_parts")


class Crash(BaseException):
    """The machine has stopped."""


class Machine:
    """Raises Crash at the n-th operation on the disk, and at each one after it."""

    def __init__(self, monkeypatch, stop):
        self.left = stop
        for name in ("replace", "unlink", "fsync"):
            monkeypatch.setattr(os, name, self.counted(getattr(os, name)))

    def counted(self, call):
        def counted(*arguments, **options):
            self.left -= 1
            if self.left <= 0:
                raise Crash
            return call(*arguments, **options)

        return counted


def check_rows_are_one_of(index, *tables):
    found = open_index(index).read_all()
    assert any(found.equals(table) for table in tables)


def change_and_crash(monkeypatch, folder, index, step):
    make_changes(folder)
    with monkeypatch.context() as patch:
        Machine(patch, step)
        with pytest.raises(Crash):
            update_index(folder, index, threads=1)


def test_a_crash_at_each_step(tree, tmp_path, monkeypatch):
    folder, index, rows = tree
    make_changes(folder)
    expected = expected_rows(rows, folder, CHANGED, ["3/35.dcm"])
    for stop in range(1, 1000):
        broken = tmp_path / f"broken{stop}"
        shutil.copytree(index, broken)
        with monkeypatch.context() as patch:
            machine = Machine(patch, stop)
            try:
                counts = update_index(folder, broken, threads=1)
            except Crash:
                counts = None
        if counts is not None:
            assert machine.left > 0
            break
        check_rows_are_one_of(broken, rows, expected)
        again = update_index(folder, broken)
        assert again[0] in (CHANGE_COUNTS[0], 82)
        check_updated_index(broken, expected)
        shutil.rmtree(broken)
    assert stop > 25 and counts == CHANGE_COUNTS


def test_repeated_crashes(tree, tmp_path, monkeypatch):
    folder, index, rows = tree
    make_changes(folder)
    expected = expected_rows(rows, folder, CHANGED, ["3/35.dcm"])
    chance, crashes = random.Random(5), 0
    for _ in range(200):
        with monkeypatch.context() as patch:
            Machine(patch, chance.randint(1, 14))
            try:
                update_index(folder, index, threads=1)
                break
            except Crash:
                crashes += 1
        check_rows_are_one_of(index, rows, expected)
    update_index(folder, index)
    check_updated_index(index, expected)
    assert crashes > 3


def test_changes_after_an_interrupted_update(tree, monkeypatch):
    """The interrupted update is completed as it was begun, and then another is made."""
    folder, index, rows = tree
    change_and_crash(monkeypatch, folder, index, 12)
    assert (index / "_fastdcm/update.jsonl").exists()
    put_file(folder / "5/50.dcm", "1", 99)
    (folder / "3/3305.dcm").unlink()
    assert update_index(folder, index) == (80, 2, 23, 2)
    names = [name for name in CHANGED if name != "3/3305.dcm"]
    check_updated_index(index, expected_rows(rows, folder, [*names, "5/50.dcm"], ["3/35.dcm"]))


@pytest.mark.parametrize("harm", ["part", "list", "line", "other"])
def test_a_damaged_update_is_begun_again(tree, monkeypatch, harm):
    folder, index, rows = tree
    change_and_crash(monkeypatch, folder, index, 14)
    path = index / "_fastdcm/update.jsonl"
    begun = Manifest(str(index), UPDATE)
    assert begun.parts
    if harm == "part":
        (index / begun.parts[0]["part"]).unlink()
    elif harm == "list":
        (index / "_fastdcm" / begun.head["files"]["name"]).write_bytes(b"x")
    elif harm == "line":
        path.write_bytes(b"{\n" + path.read_bytes())
    else:
        path.write_bytes(path.read_bytes().replace(b'"before":{"name"', b'"before":{"nome"'))
    assert update_index(folder, index) == CHANGE_COUNTS
    check_updated_index(index, expected_rows(rows, folder, CHANGED, ["3/35.dcm"]))


def test_remains_of_an_update_of_another_index_are_deleted(tree):
    folder, index, rows = tree
    head = Manifest(str(index)).head
    Manifest.create(str(index), {**head, "before": {**head["files"], "sha256": "0" * 64}}, UPDATE)
    assert update_index(folder, index) == (60, 0, 0, 0)
    check_updated_index(index, rows)


def test_an_index_that_is_not_complete(tree, tmp_path, monkeypatch):
    folder, _, _ = tree
    index = tmp_path / "other"
    with monkeypatch.context() as patch:
        Machine(patch, 14)
        with pytest.raises(Crash):
            scan_in_small_batches(folder, threads=1).write(f"{index}/")
    assert not open_index(index).complete
    put_file(folder / "0/00.dcm", "5", 3)
    put_file(folder / "a.dcm", "5", 3)
    assert update_index(folder, index) == (59, 1, 1, 0)
    check_updated_index(index, scan_in_small_batches(folder).read_all())


def test_a_full_disk(tree, monkeypatch):
    folder, index, rows = tree
    make_changes(folder)

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(ChecksumWriter, "write", full)
        with pytest.raises(OSError, match="space"):
            update_index(folder, index)
    check_updated_index(index, rows)
    with monkeypatch.context() as patch:
        patch.setattr(ChecksumWriter, "write", full)
        with pytest.raises(OSError, match="space"):
            update_index(folder, index)
    check_rows_are_one_of(index, rows)
    assert update_index(folder, index)[0] in (CHANGE_COUNTS[0], 82)
    assert open_index(index).rows == 82


def test_a_scan_without_update_leaves_an_interrupted_update(tree, monkeypatch):
    """It finds the index complete."""
    folder, index, rows = tree
    change_and_crash(monkeypatch, folder, index, 14)
    scan_in_small_batches(folder).write(f"{index}/")
    check_rows_are_one_of(index, rows)
    assert update_index(folder, index)[0] == 82  # counted by the last comparison
    assert open_index(index).rows == 82


PROGRAM = """
import sys, fastdcm
from fastdcm.scanning.index import build, diff
build._PART = diff._PART_ROWS = 100
fastdcm.scan(sys.argv[1], ["SOPInstanceUID"], batch_size=50).write(sys.argv[2], update=True)
"""


@posix
def test_killed(tmp_path, monkeypatch):
    """By a signal, at any time, repeatedly."""
    folder, index = tmp_path / "in", tmp_path / "index"
    for i in range(1500):
        put_file(folder / f"{i // 150}/{i:04}.dcm", str(i))
    monkeypatch.setattr(build, "_PART", 100)
    monkeypatch.setattr(diff, "_PART_ROWS", 100)
    command = [sys.executable, "-c", PROGRAM, str(folder), f"{index}/"]
    begin = time.perf_counter()
    subprocess.run(command, check=True)
    full_run = time.perf_counter() - begin
    chance, kills = random.Random(3), 0
    for turn in range(2):
        before = open_index(index).read_all()
        for i in chance.sample(range(1500), 400):
            path = folder / f"{i // 150}/{i:04}.dcm"
            if path.exists() and i % 3:
                path.unlink()
            else:
                put_file(path, str(i), turn)
        expected = fastdcm.scan(str(folder), ["SOPInstanceUID"]).read_all()
        for _ in range(5):
            process = subprocess.Popen(command)
            try:
                process.wait(chance.uniform(0.3, 1) * full_run)
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
            kills += process.wait() == -signal.SIGKILL
            check_rows_are_one_of(index, before, expected)
        subprocess.run(command, check=True)
        check_updated_index(index, expected)
    assert kills > 2
