"""Read Siemens private headers, and the layout of mosaic images.

A mosaic is one image whose tiles are the slices of a volume. They fill the
smallest square grid that holds them, row by row; the rest is blank.
"""

from __future__ import annotations

from math import isqrt
from typing import Any, NamedTuple

from fastdcm.dataset import Dataset
from fastdcm.errors import DicomError
from fastdcm.volume._csa import read_csa

_MAX_TILES = 4096  # mosaics have a few dozen


class MosaicLayout(NamedTuple):
    """How the tiles of a mosaic are arranged.

    Attributes
    ----------
    tiles : int
        Number of slices.
    tiles_per_row : int
        Tiles side by side; as many rows of tiles.
    normal : (x, y, z) or None
        Direction from the first tile to the next, in LPS; None where the header
        has none.
    """

    tiles: int
    tiles_per_row: int
    normal: tuple[float, float, float] | None


def csa_header(ds: Dataset, element: int = 0x10) -> dict[str, list[str]]:
    """Read a Siemens CSA header.

    Parameters
    ----------
    ds : Dataset
    element : int
        0x10 for (0029,xx10), the header of the image; 0x20 for (0029,xx20),
        the header of the series.

    Returns
    -------
    dict of str to list of str
        The texts of each tag; empty where there is no such header.

    Raises
    ------
    DicomError
        "csa" where the header is damaged.

    Examples
    --------
    >>> csa_header(dcmread("mosaic.dcm"))["NumberOfImagesInMosaic"]  # doctest: +SKIP
    ['48']
    """
    value = _private_value(ds, 0x0029, "SIEMENS CSA HEADER", element)
    return read_csa(value) if isinstance(value, bytes) else {}


def _private_value(ds: Dataset, group: int, creator: str, element: int) -> Any:
    """Return the value of a private element, or None where it is absent."""
    if creator not in ds.private_creators(group):
        return None
    block = ds.private_block(group, creator)
    return block[element].value if element in block else None


def mosaic_layout(ds: Dataset) -> MosaicLayout:
    """Return how the tiles of a mosaic are arranged.

    Parameters
    ----------
    ds : Dataset
        With MOSAIC in its Image Type.

    Returns
    -------
    MosaicLayout

    Raises
    ------
    DicomError
        "mosaic" where the number of tiles is absent or does not fit the image,
        "csa" where the CSA header is damaged.
    """
    csa = csa_header(ds)
    count = _private_value(ds, 0x0019, "SIEMENS MR HEADER", 0x0A)
    try:
        if not isinstance(count, int):
            count = int(csa["NumberOfImagesInMosaic"][0])
        normal = tuple(float(text) for text in csa.get("SliceNormalVector", ()))
    except (KeyError, IndexError, ValueError):
        raise _mosaic_error(
            ds, "the Siemens headers do not give the number of tiles in the mosaic"
        ) from None
    rows, columns = ds.get("Rows"), ds.get("Columns")
    if not 0 < count <= _MAX_TILES or not isinstance(rows, int) or not isinstance(columns, int):
        raise _mosaic_error(
            ds, f"a mosaic of {count} tiles in {rows} rows and {columns} columns is not possible"
        )
    side = isqrt(count - 1) + 1
    if rows % side or columns % side or not rows or not columns:
        raise _mosaic_error(
            ds,
            f"{rows} rows and {columns} columns do not divide into {side} x {side} tiles, "
            f"which a mosaic of {count} tiles has",
        )
    return MosaicLayout(
        count, side, (normal[0], normal[1], normal[2]) if len(normal) == 3 else None
    )


def _mosaic_error(ds: Dataset, text: str) -> DicomError:
    return DicomError(text, "mosaic", filename=ds.filename)
