"""Updates when files and folders could not be read and now can, or the reverse."""

import os
import zipfile

import pytest

from fastdcm.scanning.index.folder import open_index
from fastdcm.scanning.index.manifest import Manifest
from fastdcm.scanning.index.update import IndexUpdate
from support.index_folders import (
    blank_files,
    check_updated_index,
    expected_rows,
    put_file,
    read_parts,
    scan_in_small_batches,
    update_index,
)

pytestmark = pytest.mark.usefixtures("tiny_parts")


def write_files(folder, count=60):
    """Write files with numbers of two digits, ten per folder."""
    for i in range(count):
        put_file(folder / f"{i // 10}/{i:02}.dcm", str(i))


def test_a_folder_without_permission(common, powerless):
    folder, index = common / "in", common / "index"
    write_files(folder)
    with powerless():
        assert update_index(folder, index) == (0, 0, 60, 0)
    os.chmod(folder / "3", 0)
    with powerless():
        assert update_index(folder, index) == (50, 0, 1, 10)
    os.chmod(folder / "3", 0o755)
    with powerless():
        assert update_index(folder, index) == (50, 0, 10, 1)


def set_mode(*paths, mode=0):
    for path in paths:
        os.chmod(path, mode)


def test_files_that_could_not_be_read_are_tried_again(common, powerless):
    folder, index = common / "in", common / "index"
    write_files(folder)
    with zipfile.ZipFile(folder / "2/25.zip", "w") as archive:
        archive.write(folder / "0/01.dcm", "a")
        archive.write(folder / "0/02.dcm", "b")
    closed = [folder / "2/22.dcm", folder / "2/23.dcm", folder / "2/25.zip", folder / "5/50.dcm"]
    set_mode(*closed)
    with powerless():
        assert update_index(folder, index) == (0, 0, 61, 0)
        before = read_parts(index)
        assert open_index(index).errors == 4
        assert update_index(folder, index) == (61, 0, 0, 0)
    assert read_parts(index) == before  # the same errors as before change nothing
    set_mode(*closed[1:3], mode=0o644)
    blank_files(folder / "0")  # files that could be read are not opened
    with powerless():
        assert update_index(folder, index) == (59, 2, 0, 0)
        assert update_index(folder, index) == (61, 0, 0, 0)
    errors = {row["path"]: row["error"] for row in open_index(index).read_all().to_pylist()}
    assert {path for path, error in errors.items() if error} == {str(closed[0]), str(closed[3])}
    assert len(errors) == 62 and f"{closed[2]}!/b" in errors
    (folder / "5/50.dcm").unlink()
    (folder / "2/21.dcm").unlink()
    put_file(folder / "2/22-.dcm", "7")
    put_file(folder / "2/24.dcm", "7", 5)
    set_mode(closed[0], mode=0o644)
    assert update_index(folder, index) == (57, 2, 1, 2)
    check_updated_index(
        index,
        expected_rows(open_index(index).read_all(), folder, ["2/22.dcm", "2/24.dcm", "2/22-.dcm"]),
    )
    assert not any(open_index(index).read_all().column("error").to_pylist())


def test_an_interrupted_update_reads_the_same_files_again(common, powerless, monkeypatch):
    """Which files those are was determined with the list, even if they became unreadable."""
    folder, index = common / "in", common / "index"
    write_files(folder)
    closed = [folder / f"{i}/{i}{j}.dcm" for i in (1, 2, 3) for j in range(10)]
    set_mode(*closed)
    with powerless():
        update_index(folder, index)
    set_mode(*closed, mode=0o644)
    put_file(folder / "1/10-.dcm", "7")  # so that new parts end elsewhere than the old ones
    append = Manifest.append

    def stop(self, entry):
        append(self, entry)
        if len(self.parts) == 4:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch, powerless(), pytest.raises(KeyboardInterrupt):
        patch.setattr(Manifest, "append", stop)
        update_index(folder, index)
    set_mode(*closed[20:])  # which were not read yet
    monkeypatch.setattr(IndexUpdate, "_update", lambda self, manifest: manifest)  # no second update
    with powerless():
        update_index(folder, index)
        expected = scan_in_small_batches(folder).read_all()
    check_updated_index(index, expected)
    assert open_index(index).errors == 10
