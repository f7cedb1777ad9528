"""Describe how the cells of pixel data are laid out (PS3.5 8, PS3.3 C.7.6.3).

A `Layout` is made from the attributes of the Image Pixel Module. `has_fragments` is
the only function that decides how the pixel data of a data set is stored; a scan has
its answer in the column ``pixel_fragments``. `direct_byte_order` decides whether native
cells can be read from a file without opening it.
"""

from __future__ import annotations

from fastdcm.core._values import PersonName
from fastdcm.errors import DicomError
from fastdcm.pixels._frame_table import begins_with_item
from fastdcm.pixels._kernels import normalize
from fastdcm.uid import TRANSFER_SYNTAXES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    import numpy as np

    from fastdcm.core._elements import DataElement
    from fastdcm.pixels.protocols import PixelArray, PixelDataset

PIXEL_DATA, FLOAT_PIXEL_DATA, DOUBLE_FLOAT_PIXEL_DATA = 0x7FE00010, 0x7FE00008, 0x7FE00009
#: The tags of the elements that hold pixels, in the order of preference.
PIXEL_TAGS = (PIXEL_DATA, FLOAT_PIXEL_DATA, DOUBLE_FLOAT_PIXEL_DATA)

#: The cells of these objects are numbers of segments, whatever color is suggested for them.
LABEL_MAP_STORAGE = "1.2.840.10008.5.1.4.1.1.66.7"

_MOST_CELLS = 1 << 48  # of a frame: more than any machine can address


class Layout:
    """The cells of one frame, as the attributes of the image describe them.

    Parameters
    ----------
    rows, columns, samples : int
        Rows, Columns and Samples per Pixel.
    bits_allocated, bits_stored, high_bit : int
        Bits Allocated (1, 8, 12, 16, 32 or 64), Bits Stored and High Bit. A High
        Bit that does not fit is replaced by ``bits_stored - 1``.
    signed : bool
        Pixel Representation is 1.
    photometric : str
        Photometric Interpretation.
    planar : bool
        Planar Configuration is 1: all samples of one color follow each other.
    floating : bool
        The element is Float Pixel Data or Double Float Pixel Data.

    Attributes
    ----------
    cells : int
        ``rows * columns * samples``.
    shape : tuple of int
        ``(rows, columns)``, or ``(rows, columns, samples)`` for several samples.
    dtype : numpy.dtype
        Type of one stored value in the machine's byte order; uint8 for one bit.
    has_unused_bits : bool
        Some bits of a cell hold no value and must be cleared.

    Raises
    ------
    DicomError
        If no frame can have these attributes.
    """

    __slots__ = (
        "bits_allocated",
        "bits_stored",
        "cells",
        "columns",
        "dtype",
        "has_unused_bits",
        "high_bit",
        "photometric",
        "planar",
        "rows",
        "samples",
        "shape",
        "signed",
    )

    rows: int
    columns: int
    samples: int
    bits_allocated: int
    bits_stored: int
    high_bit: int
    signed: bool
    photometric: str
    planar: bool
    cells: int
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    has_unused_bits: bool

    def __init__(
        self,
        rows: int,
        columns: int,
        samples: int = 1,
        bits_allocated: int = 16,
        bits_stored: int | None = None,
        high_bit: int | None = None,
        signed: bool = False,
        photometric: str = "MONOCHROME2",
        planar: bool = False,
        floating: bool = False,
    ) -> None:
        import numpy as np

        if bits_stored is None:
            bits_stored = bits_allocated
        possible = (32, 64) if floating else (1, 8, 12, 16, 32, 64)
        if bits_allocated not in possible:
            raise DicomError(
                f"BitsAllocated must be {', '.join(map(str, possible[:-1]))} or {possible[-1]}, "
                f"got {bits_allocated}",
                "pixels",
            )
        if not 1 <= bits_stored <= bits_allocated:
            raise DicomError(
                f"BitsStored must be 1 to BitsAllocated ({bits_allocated}), got {bits_stored}",
                "pixels",
            )
        if high_bit is None or not bits_stored - 1 <= high_bit < bits_allocated:
            high_bit = bits_stored - 1
        self.rows, self.columns, self.samples = rows, columns, samples
        self.bits_allocated, self.bits_stored, self.high_bit = bits_allocated, bits_stored, high_bit
        self.signed, self.photometric = bool(signed), photometric
        self.planar = samples > 1 and bool(planar)
        self.cells = rows * columns * samples
        if self.cells >= _MOST_CELLS:
            raise DicomError(
                f"a frame of {rows} x {columns} x {samples} samples is too large for memory",
                "pixels",
            )
        kind = "f" if floating else "i" if signed and bits_allocated > 1 else "u"
        size = {1: 1, 12: 2}.get(bits_allocated, bits_allocated // 8)
        self.dtype = np.dtype(f"{kind}{size}")
        self.shape = (rows, columns, samples) if samples > 1 else (rows, columns)
        self.has_unused_bits = (
            bits_allocated > 1
            and not floating
            and (bits_stored < bits_allocated or (bits_allocated == 12 and self.signed))
        )

    def clear_unused_bits(self, array: PixelArray) -> None:
        """Mask or sign-extend, in place, the bits that hold no value."""
        if self.has_unused_bits:
            normalize(array, array.dtype.str, self.bits_stored, self.high_bit)


# ---------------------------------------------------------------- native or not ---


def is_encapsulated(transfer_syntax: str | None) -> bool:
    """Return whether a transfer syntax states that pixel data is in fragments (PS3.5 A.4)."""
    row = TRANSFER_SYNTAXES.get(transfer_syntax or "")
    return row is not None and row.encapsulated


def has_fragments(ds: PixelDataset, elem: DataElement, transfer_syntax: str | None) -> bool:
    """Return whether pixel data is in fragments, rather than native cells (PS3.5 A.4).

    How the element is stored decides: with an undefined length, or, under an
    encapsulated transfer syntax, with an item at its beginning. Where the transfer
    syntax or the length states something else, the issue "encapsulation" is noted. For a
    value that was set, the transfer syntax decides.

    Parameters
    ----------
    ds : Dataset
        The image.
    elem : DataElement
        Its pixel data.
    transfer_syntax : str or None
        As `transfer_syntax_of` returns it.
    """
    stated = is_encapsulated(transfer_syntax)
    if not elem.is_raw or ds.file is None:
        return elem.is_undefined_length or stated
    found = elem.is_undefined_length
    if found == stated or (found and transfer_syntax not in TRANSFER_SYNTAXES):
        return found
    at, length = elem.file_tell, elem.value_length
    if not found and at is not None and length:
        found = begins_with_item(ds.file.read(at, min(8, length)), length)
    ds.note_issue("encapsulation", elem.tag)
    return found


def direct_byte_order(transfer_syntax: str | None) -> str | None:
    """Return the byte order of native cells that can be read straight from a file.

    Parameters
    ----------
    transfer_syntax : str or None
        UID of the transfer syntax, None if there is none.

    Returns
    -------
    str or None
        "<" or ">"; None where the file must be opened to read its pixels: for
        an encapsulated, deflated or unknown transfer syntax.

    Whether the pixel data of a file is native is another question: `has_fragments`.
    """
    row = TRANSFER_SYNTAXES.get(transfer_syntax or "")
    if row is None or row.deflated or row.encapsulated or not row.pixels:
        return None
    return ">" if is_big_endian(transfer_syntax, row.big_endian) else "<"


def is_big_endian(transfer_syntax: str | None, elements_are_big_endian: bool) -> bool:
    """Return whether native cells are big endian: as the elements, or by GE's syntax."""
    row = TRANSFER_SYNTAXES.get(transfer_syntax or "")
    return elements_are_big_endian or (row is not None and row.pixels == "native-big")


def native_length(cells: int, frames: int, bits_allocated: int, photometric: str | None) -> int:
    """Return the bytes of `frames` native frames of `cells` samples, without padding."""
    bits = cells * bits_allocated
    if photometric in (
        "YBR_FULL_422",
        "YBR_PARTIAL_422",
    ):  # two pixels share their chroma (PS3.3 C.7.6.3.1.2)
        bits = bits * 2 // 3
    return (frames * bits + 7) // 8


# ------------------------------------------------------------------- attributes ---


def pixel_element(ds: PixelDataset) -> DataElement:
    """Return Pixel Data, Float Pixel Data or Double Float Pixel Data."""
    for tag in PIXEL_TAGS:
        elem: DataElement | None = ds.get(tag)
        if elem is not None:
            return elem
    raise AttributeError(
        "the data set has no pixel data: no (7FE0,0010), (7FE0,0008) or (7FE0,0009)"
    )


def as_number(value: Any) -> Any:
    """Return the number that a value stands for, or the value if it is none.

    Some files have an element of numbers with a VR of text, which a scan reads as numbers,
    too. Tags are no numbers. None for blank text.
    """
    if isinstance(value, int):
        return value if type(value) is int else str(value)
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if type(value) is str or isinstance(value, PersonName):
        text = str(value).partition("\\")[0].strip("\0 ")  # texts such as LT have one value
        if not text:
            return None
        for kind in (int, float):
            try:
                return kind(text)
            except ValueError:
                pass
    return value


def integer(ds: PixelDataset, keyword: str, default: int | None = None, least: int = 1) -> int:
    """Return the value of an element that must be an integer of at least `least`."""
    value = as_number(ds.get(keyword))
    if value is None or value == "":
        value = default
    if not isinstance(value, int) or value < least:
        text = f"{keyword} must be an integer of at least {least}, got {value!r}"
        raise DicomError(text, "pixels", None, "", ds.filename)
    return value


def possible_integer(
    ds: PixelDataset,
    keyword: str,
    default: int,
    least: int,
    most: int,
    issue: str = "image-value",
) -> int:
    """Return an integer from `least` to `most`, or the default.

    For another value an issue is noted.
    """
    value = as_number(ds.get(keyword))
    if isinstance(value, int) and least <= value <= most:
        return value
    if value is not None and value != "":
        ds.note_issue(issue, keyword)
    return default


def photometric_of(ds: PixelDataset) -> str:
    """Return the Photometric Interpretation, "" where there is none."""
    value = ds.get("PhotometricInterpretation")
    if value is None or isinstance(value, str):
        return (value or "").strip()
    text = f"PhotometricInterpretation must be one text, got {value!r}"
    raise DicomError(text, "pixels", None, "", ds.filename)


def frame_count(ds: PixelDataset) -> int:
    """Return the Number of Frames, 1 where it is missing or impossible (PS3.3 C.7.6.6)."""
    return possible_integer(ds, "NumberOfFrames", 1, 1, 1 << 48, "frame-count")


def layout_arguments(ds: PixelDataset, tag: int) -> tuple[Any, ...]:
    """Return the arguments of the `Layout` of the pixel data with this tag.

    A tuple, so that two of them can be compared.
    """
    rows, columns = integer(ds, "Rows"), integer(ds, "Columns")
    samples = integer(ds, "SamplesPerPixel", 1)
    photometric = photometric_of(ds)
    planar = samples > 1 and possible_integer(ds, "PlanarConfiguration", 0, 0, 1) == 1
    if tag != PIXEL_DATA:
        bits = 32 if tag == FLOAT_PIXEL_DATA else 64
        return rows, columns, samples, bits, None, None, False, photometric, planar, True
    allocated = integer(ds, "BitsAllocated")
    stored = possible_integer(ds, "BitsStored", allocated, 1, allocated)
    high = possible_integer(ds, "HighBit", stored - 1, stored - 1, allocated - 1)
    signed = possible_integer(ds, "PixelRepresentation", 0, 0, 1) == 1
    return rows, columns, samples, allocated, stored, high, signed, photometric, planar, False


def transfer_syntax_of(ds: PixelDataset, elem: DataElement) -> str | None:
    """Return the UID of the transfer syntax in which the element's bytes are stored."""
    if elem.is_raw:
        file = ds._source if ds._source is not None else ds.file
        return None if file is None else file.transfer_syntax
    meta = getattr(ds, "file_meta", None)
    uid: str | None = None if meta is None else meta.get("TransferSyntaxUID")
    return uid
