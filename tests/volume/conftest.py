"""Fixtures of the tests of volumes."""

import os
import random
from pathlib import Path

import pytest

from support.series import COLUMNS, ROWS, cells, encode_image


@pytest.fixture
def series(put):
    """Function that writes axial slices at these z, and returns their paths, shuffled.

    Each value is an attribute of `encode_image`, or a function of the slice's number.
    """

    def write(zs, start=0, **values):
        paths = []
        for i, z in enumerate(zs, start):
            attributes = {
                name: value(i) if callable(value) else value for name, value in values.items()
            }
            attributes = {"position": [-10, 20, z], "number": i + 1} | attributes
            rows, columns = attributes.get("rows", ROWS), attributes.get("columns", COLUMNS)
            paths.append(put(encode_image(cells(i, rows, columns), **attributes)))
        random.Random(3).shuffle(paths)
        return paths

    return write


@pytest.fixture
def corpus():
    """Function that returns the files of $FASTDCM_CORPUS that match a pattern."""
    folder = os.environ.get("FASTDCM_CORPUS")
    if not folder:
        pytest.skip("FASTDCM_CORPUS is not set")
    return lambda pattern: sorted(map(str, Path(folder).glob(pattern)))
