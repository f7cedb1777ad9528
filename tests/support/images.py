"""Small images for the tests of lookup tables, color and overlays."""

import numpy as np

from support import builder
from support.builder import element


def image(
    array,
    *elements,
    photometric="MONOCHROME2",
    bits=None,
    frames=None,
    samples=1,
    transfer_syntax=builder.EXPLICIT_LE,
):
    """A file around an array of ([frames,] rows, columns[, samples]). elements:
    (tag, vr, value), which replace the default ones, or (tag, items)
    with the items of a sequence, each a list of elements. bits: stored."""
    array = np.asarray(array)
    encoding = builder.encoding_of(transfer_syntax)
    size = array.dtype.itemsize * 8
    rows, columns = array.shape[-3:-1] if samples > 1 else array.shape[-2:]
    attributes = {
        0x00280002: ("US", samples),
        0x00280004: ("CS", photometric),
        0x00280010: ("US", rows),
        0x00280011: ("US", columns),
        0x00280100: ("US", size),
        0x00280101: ("US", bits or size),
        0x00280102: ("US", (bits or size) - 1),
        0x00280103: ("US", 1 if array.dtype.kind == "i" else 0),
        0x7FE00010: (
            "OB" if size == 8 else "OW",
            array.astype(array.dtype.newbyteorder("<>"[encoding == builder.BIG]))
            .tobytes()
            .ljust(array.nbytes + array.nbytes % 2, b"\0"),
        ),
    }
    if samples > 1:
        attributes[0x00280006] = ("US", 0)
    if frames is not None:
        attributes[0x00280008] = ("IS", frames)
    attributes.update({tag: rest for tag, *rest in elements})
    return builder.part10(written(attributes, encoding), transfer_syntax=transfer_syntax)


def written(elements, encoding=builder.EXPLICIT):
    """The bytes of {tag: (vr, value) or (items,)}, in ascending order."""
    return b"".join(
        element(tag, *what, encoding=encoding)
        if len(what) == 2
        else builder.sequence(
            tag,
            [written({t: rest for t, *rest in item}, encoding) for item in what[0]],
            encoding=encoding,
        )
        for tag, what in sorted(elements.items())
    )


def lut_item(entries, first, bits, data=None, count=None, vr="US", first_vr="SS"):
    """An item of a LUT sequence. data, count: in place of the correct ones."""
    descriptor = np.array([len(entries) if count is None else count, 0, bits], "<u2")
    descriptor[1] = first & 0xFFFF
    if data is None:
        data = np.array(entries, "<u2").tobytes()
    return [(0x00283002, first_vr, descriptor.tobytes()), (0x00283006, vr, data)]
