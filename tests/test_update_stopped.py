"""Updates of an index folder that are stopped, by whatever: the index stays exact,
and the next one goes on."""

import errno
import os
import random
import shutil
import signal
import subprocess
import sys
import time

import pytest
from test_update import after, bring, change, posix, put, same, scan, small, tree  # noqa: F401 (fixtures)

import fastdcm
from fastdcm import ingest, manifest, update, whole
from fastdcm.errors import DicomError
from fastdcm.manifest import Manifest, open_index


class Crash(BaseException):
    pass


class Machine:
    """Stops at the n-th thing that is done to the disk; after that nothing more
    is done."""

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


def one_of(index, *tables):
    found = open_index(index).read_all()
    assert any(found.equals(table) for table in tables)


def test_a_crash_at_each_step(tree, tmp_path, monkeypatch):
    folder, index, rows = tree
    counts = change(folder)
    expected = after(rows, folder, ["0/03.dcm", "3/3x.dcm", *(f"9/{i:02}.dcm" for i in range(12))],
                     ["3/35.dcm"])
    for stop in range(1, 1000):
        broken = tmp_path / f"broken{stop}"
        shutil.copytree(index, broken)
        with monkeypatch.context() as patch:
            machine = Machine(patch, stop)
            try:
                told = bring(folder, broken, threads=1)
            except Crash:
                told = None
        if told is not None:
            assert machine.left > 0
            break
        one_of(broken, rows, expected)
        again = bring(folder, broken)
        assert again[0] in (58, 72)
        same(broken, expected)
        shutil.rmtree(broken)
    assert stop > 20 and told == counts


def test_a_crash_in_the_update_that_goes_on(tree, tmp_path, monkeypatch):
    """Whatever number of them."""
    folder, index, rows = tree
    change(folder)
    names = ["0/03.dcm", "3/3x.dcm", *(f"9/{i:02}.dcm" for i in range(12))]
    expected = after(rows, folder, names, ["3/35.dcm"])
    chance, crashes = random.Random(5), 0
    for _ in range(200):
        with monkeypatch.context() as patch:
            Machine(patch, chance.randint(1, 14))
            try:
                bring(folder, index, threads=1)
                break
            except Crash:
                crashes += 1
        one_of(index, rows, expected)
    bring(folder, index)
    same(index, expected)
    assert crashes > 3


def test_what_changes_after_an_update_was_stopped(tree, monkeypatch):
    """It is finished as it was begun, and then there is another."""
    folder, index, rows = tree
    change(folder)
    with monkeypatch.context() as patch:
        Machine(patch, 12)
        with pytest.raises(Crash):
            bring(folder, index, threads=1)
    assert (index / "_fastdcm/update.jsonl").exists()
    put(folder / "5/50.dcm", "1", 99)
    (folder / "3/3x.dcm").unlink()
    assert bring(folder, index) == (70, 2, 13, 2)
    names = ["0/03.dcm", "5/50.dcm", *(f"9/{i:02}.dcm" for i in range(12))]
    same(index, after(rows, folder, names, ["3/35.dcm"]))


@pytest.mark.parametrize("harm", ["part", "list", "line", "other"])
def test_an_update_that_cannot_be_gone_on_with_begins_anew(tree, monkeypatch, harm):
    folder, index, rows = tree
    change(folder)
    with monkeypatch.context() as patch:
        Machine(patch, 14)
        with pytest.raises(Crash):
            bring(folder, index, threads=1)
    path = index / "_fastdcm/update.jsonl"
    begun = Manifest(str(index), manifest.UPDATE)
    assert begun.parts
    if harm == "part":
        (index / begun.parts[0]["part"]).unlink()
    elif harm == "list":
        (index / "_fastdcm" / begun.head["files"]["name"]).write_bytes(b"x")
    elif harm == "line":
        path.write_bytes(b"{\n" + path.read_bytes())
    else:
        path.write_bytes(path.read_bytes().replace(b'"before":{"name"', b'"before":{"nome"'))
    assert bring(folder, index) == (58, 1, 13, 1)
    names = ["0/03.dcm", "3/3x.dcm", *(f"9/{i:02}.dcm" for i in range(12))]
    same(index, after(rows, folder, names, ["3/35.dcm"]))


def test_what_is_left_of_an_update_of_another_index_goes(tree):
    folder, index, rows = tree
    head = Manifest(str(index)).head
    Manifest.create(str(index), {**head, "before": {**head["files"], "sha256": ""}}, manifest.UPDATE)
    assert bring(folder, index) == (60, 0, 0, 0)
    same(index, rows)


def test_an_index_that_is_not_complete(tree, tmp_path, monkeypatch):
    folder, _, _ = tree
    index = tmp_path / "other"
    with monkeypatch.context() as patch:
        Machine(patch, 14)
        with pytest.raises(Crash):
            scan(folder, threads=1).write(f"{index}/")
    assert not open_index(index).complete
    put(folder / "0/00.dcm", "5", 3)
    put(folder / "a.dcm", "5", 3)
    assert bring(folder, index) == (59, 1, 1, 0)
    same(index, scan(folder).read_all())


def test_a_full_disk(tree, monkeypatch):
    folder, index, rows = tree
    counts = change(folder)

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(update.Summed, "write", full)
        with pytest.raises(OSError, match="space"):
            bring(folder, index)
    same(index, rows)
    with monkeypatch.context() as patch:
        patch.setattr(ingest.Summed, "write", full)
        with pytest.raises(OSError, match="space"):
            bring(folder, index)
    one_of(index, rows)
    assert bring(folder, index)[0] in (counts[0], 72)
    assert open_index(index).rows == 72


def test_scans_that_go_on_leave_an_update_alone(tree, monkeypatch):
    """The command without --update finds the index complete."""
    folder, index, rows = tree
    change(folder)
    with monkeypatch.context() as patch:
        Machine(patch, 14)
        with pytest.raises(Crash):
            bring(folder, index, threads=1)
    scan(folder).write(f"{index}/")
    one_of(index, rows)
    assert bring(folder, index)[0] == 72  # told by the last look
    assert open_index(index).rows == 72


PROGRAM = """
import sys, fastdcm
from fastdcm import ingest, update
ingest._PART_ROWS = update._PART_ROWS = 100
fastdcm.scan(sys.argv[1], ["SOPInstanceUID"], batch_size=50).write(sys.argv[2], update=True)
"""


@posix
def test_killed(tmp_path, monkeypatch):
    """By force, at any moment, and again."""
    folder, index = tmp_path / "in", tmp_path / "index"
    for i in range(1500):
        put(folder / f"{i // 150}/{i:04}.dcm", str(i))
    monkeypatch.setattr(ingest, "_PART_ROWS", 100)
    monkeypatch.setattr(update, "_PART_ROWS", 100)
    command = [sys.executable, "-c", PROGRAM, str(folder), f"{index}/"]
    begin = time.perf_counter()
    subprocess.run(command, check=True)
    whole_run = time.perf_counter() - begin
    chance, kills = random.Random(3), 0
    for turn in range(2):
        before = open_index(index).read_all()
        for i in chance.sample(range(1500), 400):
            path = folder / f"{i // 150}/{i:04}.dcm"
            if path.exists() and i % 3:
                path.unlink()
            else:
                put(path, str(i), turn)
        expected = fastdcm.scan(str(folder), ["SOPInstanceUID"]).read_all()
        for _ in range(5):
            process = subprocess.Popen(command)
            try:
                process.wait(chance.uniform(0.3, 1) * whole_run)
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
            kills += process.wait() == -signal.SIGKILL
            one_of(index, before, expected)
        subprocess.run(command, check=True)
        same(index, expected)
    assert kills > 2
