"""Stored bits and windows, computed with NumPy from the text of the Standard."""

import numpy as np


def value_bits(array, stored, high):
    """The bits up to `high`, `stored` of them, as the array's own type."""
    dtype = array.dtype.newbyteorder("=")
    width = 8 * dtype.itemsize
    wide = array.astype(dtype).view(f"u{dtype.itemsize}")
    field = (wide >> np.array(high - stored + 1, wide.dtype)) & np.array(
        (1 << stored) - 1, wide.dtype
    )
    if dtype.kind == "i" and stored < width:
        sign = np.array(1 << (stored - 1), wide.dtype)
        field = (field ^ sign) - sign
    return field.view(dtype)


def windowed(x, center, width, function):
    """PS3.3 C.11.2.1.2.1, C.11.2.1.3.1 and C.11.2.1.3.2, for 0 to 255."""
    c, w = center, width
    with np.errstate(all="ignore"):
        if function == "SIGMOID":
            y = 255 / (1 + np.exp(-4 * (x - c) / w))
        elif function == "LINEAR_EXACT":
            y = ((x - c) / w + 0.5) * 255
            y = np.where(x <= c - w / 2, 0, np.where(x > c + w / 2, 255, y))
        else:
            y = ((x - (c - 0.5)) / (w - 1) + 0.5) * 255
            y = np.where(x <= c - 0.5 - (w - 1) / 2, 0, np.where(x > c - 0.5 + (w - 1) / 2, 255, y))
        return np.clip(np.nan_to_num(np.floor(y + 0.5)), 0, 255).astype(np.uint8)
