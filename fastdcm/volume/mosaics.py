"""The layout of mosaics: images whose tiles are the slices of a volume.

Siemens and United Imaging write them. The tiles fill the smallest square grid that holds
them, row by row; the rest is blank.
"""

from __future__ import annotations

from math import isqrt
from typing import NamedTuple

from fastdcm.core._elements import Sequence
from fastdcm.dataset import Dataset
from fastdcm.errors import DicomError
from fastdcm.volume.siemens import csa_header, private_value

#: The number of slices in a grid of United Imaging, as `scan` names it.
GRID_TAG = "(0065,xx50,Image Private Header)"

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
    positions : list of (x, y, z) or None
        Center of the first cell of each tile, in mm, LPS; None where the header has none.
    """

    tiles: int
    tiles_per_row: int
    normal: tuple[float, float, float] | None = None
    positions: list[tuple[float, float, float]] | None = None


def mosaic_layout(ds: Dataset) -> MosaicLayout | None:
    """Return how the tiles of a mosaic are arranged.

    Parameters
    ----------
    ds : Dataset
        With MOSAIC in its Image Type, or the number of slices in a grid.

    Returns
    -------
    MosaicLayout or None
        None for an image that is neither MR nor has the private headers of a mosaic: some
        radiographs are labeled MOSAIC.

    Raises
    ------
    DicomError
        "mosaic" where the number of tiles is absent or does not fit the image, or where a
        grid has no positions, "csa" where the CSA header is damaged.
    """
    in_grid = private_value(ds, 0x0065, "Image Private Header", 0x50)
    if in_grid is not None:
        return _grid_layout(ds, in_grid)
    csa = csa_header(ds)
    count = private_value(ds, 0x0019, "SIEMENS MR HEADER", 0x0A)
    image_type = ds.get("ImageType")
    if not isinstance(image_type, list) or "MOSAIC" not in image_type:
        return None
    if not csa and count is None and ds.get("Modality") != "MR":
        return None
    try:
        if not isinstance(count, int):
            count = int(csa["NumberOfImagesInMosaic"][0])
        normal = tuple(float(text) for text in csa.get("SliceNormalVector", ()))
    except (KeyError, IndexError, ValueError):
        raise _mosaic_error(
            ds, "the Siemens headers do not give the number of tiles in the mosaic"
        ) from None
    side = _tiles_per_row(ds, count)
    return MosaicLayout(
        count, side, (normal[0], normal[1], normal[2]) if len(normal) == 3 else None
    )


def _grid_layout(ds: Dataset, count: object) -> MosaicLayout | None:
    """Return the layout of a grid of United Imaging, None for one with a single slice."""
    if not isinstance(count, (int, float)) or count != count // 1:
        raise _mosaic_error(ds, f"the number of slices in the grid is {count!r}")
    if count == 1:
        return None
    side = _tiles_per_row(ds, int(count))
    positions = []
    frames = private_value(ds, 0x0065, "Image Private Header", 0x51)
    for frame in frames if isinstance(frames, Sequence) else ():
        position = frame.get("ImagePositionPatient")
        if (
            isinstance(position, list)
            and len(position) == 3
            and all(isinstance(number, (int, float)) for number in position)
        ):
            positions.append((position[0], position[1], position[2]))
    if len(positions) != count:
        raise _mosaic_error(
            ds, f"the grid has {count} slices, and positions of {len(positions)} of them"
        )
    return MosaicLayout(int(count), side, None, positions)


def _tiles_per_row(ds: Dataset, count: int) -> int:
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
    return side


def _mosaic_error(ds: Dataset, text: str) -> DicomError:
    return DicomError(text, "mosaic", filename=ds.filename)
