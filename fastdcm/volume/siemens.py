"""Siemens mosaics: the slices of a volume as tiles of one image.

The tiles stand row by row in the smallest square grid that holds them, the
rest is blank. Image Position (Patient) was computed as if the whole mosaic were
one image around the middle of the first slice: so its corner is half of what
the mosaic is larger than a tile further along both directions.
"""

from math import isqrt

from fastdcm.errors import DicomError
from fastdcm.volume._csa import read_csa

_MOST = 4096  # tiles; a mosaic has some dozens


def csa_header(ds, element=0x10):
    """The tags of a Siemens CSA header: {name: [text, ...]}.

    ds : Dataset.
    element : 0x10 for (0029,xx10), of the image; 0x20 for that of the series.

    Returns {} where there is none. Raises DicomError "csa" where it is damaged.
    """
    value = _private(ds, 0x0029, "SIEMENS CSA HEADER", element)
    return read_csa(value) if isinstance(value, bytes) else {}


def _private(ds, group, creator, element):
    if creator not in ds.private_creators(group):
        return None
    block = ds.private_block(group, creator)
    return block[element].value if element in block else None


def tiles_of(ds):
    """(number of tiles, tiles side by side, slice direction) of a mosaic.

    ds : Dataset whose Image Type has MOSAIC. The direction is (x, y, z) in LPS,
        from the first tile to the next, or None when the header has none.

    Raises DicomError "mosaic" where the number is not told or does not fit.
    """
    csa = csa_header(ds)
    count = _private(ds, 0x0019, "SIEMENS MR HEADER", 0x0A)
    try:
        if not isinstance(count, int):
            count = int(csa["NumberOfImagesInMosaic"][0])
        normal = tuple(float(text) for text in csa.get("SliceNormalVector", ()))
    except (KeyError, IndexError, ValueError):
        raise _refuse(ds, "the header does not tell how many tiles the mosaic has") from None
    rows, columns = ds.get("Rows"), ds.get("Columns")
    if not 0 < count <= _MOST or not isinstance(rows, int) or not isinstance(columns, int):
        raise _refuse(ds, f"a mosaic of {count} tiles")
    across = isqrt(count - 1) + 1
    if rows % across or columns % across or not rows or not columns:
        raise _refuse(ds, f"{rows} rows and {columns} columns are no mosaic of {count} tiles")
    return count, across, normal if len(normal) == 3 else None


def _refuse(ds, text):
    return DicomError(text, "mosaic", None, "", ds.filename)
