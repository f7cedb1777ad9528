"""Fixtures of the tests of distributed scans."""

import pytest

from support.archive_of_slices import write_archive


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    """Write the archive, and return its folder and {path of a good file: modality values}."""
    return write_archive(tmp_path_factory.mktemp("archive"))
