"""An index brought up to date where files and folders could not be read, and now
can, or the other way round."""

import os
import zipfile

import pytest
from scanning.index.test_update import after, bring, parts, put, same, scan, small, spoil  # noqa: F401

from fastdcm.scanning.index.manifest import Manifest, open_index
from fastdcm.scanning.index.update import Update


def plant(folder, count=60):
    """Files of two digits, ten to a folder."""
    for i in range(count):
        put(folder / f"{i // 10}/{i:02}.dcm", str(i))


def test_a_folder_without_permission_and_its_recovery(common, powerless):
    folder, index = common / "in", common / "index"
    plant(folder)
    with powerless():
        assert bring(folder, index) == (0, 0, 60, 0)
    os.chmod(folder / "3", 0)
    with powerless():
        assert bring(folder, index) == (50, 0, 1, 10)
    os.chmod(folder / "3", 0o755)
    with powerless():
        assert bring(folder, index) == (50, 0, 10, 1)


def forbid(*paths, mode=0):
    for path in paths:
        os.chmod(path, mode)


def test_what_could_not_be_read_is_tried_again(common, powerless):
    folder, index = common / "in", common / "index"
    plant(folder)
    with zipfile.ZipFile(folder / "2/25.zip", "w") as archive:
        archive.write(folder / "0/01.dcm", "a")
        archive.write(folder / "0/02.dcm", "b")
    closed = [folder / "2/22.dcm", folder / "2/23.dcm", folder / "2/25.zip", folder / "5/50.dcm"]
    forbid(*closed)
    with powerless():
        assert bring(folder, index) == (0, 0, 61, 0)
        before = parts(index)
        assert open_index(index).errors == 4
        assert bring(folder, index) == (61, 0, 0, 0)
    assert parts(index) == before  # what fails as it did changes nothing
    forbid(*closed[1:3], mode=0o644)
    spoil(folder / "0")  # of what could be read nothing is opened
    with powerless():
        assert bring(folder, index) == (59, 2, 0, 0)
        assert bring(folder, index) == (61, 0, 0, 0)
    errors = {row["path"]: row["error"] for row in open_index(index).read_all().to_pylist()}
    assert {path for path, error in errors.items() if error} == {str(closed[0]), str(closed[3])}
    assert len(errors) == 62 and f"{closed[2]}!/b" in errors
    (folder / "5/50.dcm").unlink()
    (folder / "2/21.dcm").unlink()
    put(folder / "2/22-.dcm", "7")
    put(folder / "2/24.dcm", "7", 5)
    forbid(closed[0], mode=0o644)
    assert bring(folder, index) == (57, 2, 1, 2)
    same(index, after(open_index(index).read_all(), folder, ["2/22.dcm", "2/24.dcm", "2/22-.dcm"]))
    assert not any(open_index(index).read_all().column("error").to_pylist())


def test_an_update_that_was_stopped_reads_again_what_it_meant_to(common, powerless, monkeypatch):
    """Also when it could not any more: which files those are was frozen with the list."""
    folder, index = common / "in", common / "index"
    plant(folder)
    closed = [folder / f"{i}/{i}{j}.dcm" for i in (1, 2, 3) for j in range(10)]
    forbid(*closed)
    with powerless():
        bring(folder, index)
    forbid(*closed, mode=0o644)
    put(folder / "1/10-.dcm", "7")  # new parts end elsewhere than the old ones
    append = Manifest.append

    def stop(self, entry):
        append(self, entry)
        if len(self.parts) == 4:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch, powerless(), pytest.raises(KeyboardInterrupt):
        patch.setattr(Manifest, "append", stop)
        bring(folder, index)
    forbid(*closed[20:])  # which were not read yet
    monkeypatch.setattr(Update, "_update", lambda self, book: book)  # it does not look once more
    with powerless():
        bring(folder, index)
        expected = scan(folder).read_all()
    same(index, expected)
    assert open_index(index).errors == 10
