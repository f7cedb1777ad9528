"""Read private elements, and the CSA headers of Siemens among them."""

from __future__ import annotations

from typing import Any

from fastdcm.dataset import Dataset
from fastdcm.volume._csa import read_csa


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
    value = private_value(ds, 0x0029, "SIEMENS CSA HEADER", element)
    return read_csa(value) if isinstance(value, bytes) else {}


def private_value(ds: Dataset, group: int, creator: str, element: int) -> Any:
    """Return the value of a private element, or None where it is absent."""
    if creator not in ds.private_creators(group):
        return None
    block = ds.private_block(group, creator)
    return block[element].value if element in block else None
