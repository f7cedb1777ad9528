"""Decode one compressed frame to its stored values (PS3.5 8.2, A.4).

`FrameDecoder` holds the table of codecs: which method decodes which family of
transfer syntaxes (the `pixels` column of `fastdcm.uid.TRANSFER_SYNTAXES`).
Video streams are decoded by `fastdcm.pixels.video`.
"""

from __future__ import annotations

import zlib

from fastdcm.errors import DicomError
from fastdcm.pixels._codestream import Codestream, read_codestream
from fastdcm.pixels._kernels import interleave, normalize, rle_decode, unpack_bits
from fastdcm.pixels.layout import Layout
from fastdcm.uid import TRANSFER_SYNTAXES, UID

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, ClassVar

    from fastdcm.pixels.protocols import PixelArray

# A frame of more samples than FREE_SAMPLES is decoded only if each byte of its
# codestream yields at most RATIO of them: the header of a few bytes can declare
# any size. Deflate compresses by up to 1032, RLE by 64, photographs by about 100.
FREE_SAMPLES = 1 << 24
RATIO = 1032

_USE_IMAGECODECS = frozenset(("jpeg", "jpegls", "jpeg2000", "htj2k", "jpegxl"))


def codec_missing(package: str, extra: str, error: ImportError) -> str:
    """Return the text of the error for an optional package that is not installed."""
    return f"needs {package}: pip install 'fastdcm-dicom[{extra}]' ({error})"


class FrameDecoder:
    """The decoder for the frames of one data set.

    Parameters
    ----------
    syntax : str or None
        UID of the transfer syntax; not one of video.
    layout : Layout
        Layout of the frames.
    filename : str or bytes, optional
        Named in errors.

    Raises
    ------
    DicomError
        If the transfer syntax has no decoder, with code "codec-missing" and the
        extra to install if only a package is missing.
    """

    def __init__(
        self, syntax: str | None, layout: Layout, filename: str | bytes | None = None
    ) -> None:
        self.layout = layout
        self.filename = filename
        self.name = UID(syntax).name if syntax else "no transfer syntax"
        row = TRANSFER_SYNTAXES.get(syntax or "")
        if row is None:
            raise self.error("no codec is known for pixel data in fragments")
        if not row.pixels:
            raise self.error(row.refusal)
        if row.pixels not in self._CODECS:
            raise self.error("its pixel data is not stored in fragments")
        self._codec = self._CODECS[row.pixels]
        self._imagecodecs: Any = None
        if row.pixels in _USE_IMAGECODECS:
            try:
                import imagecodecs
            except ImportError as error:
                raise self._missing(error) from error
            self._imagecodecs = imagecodecs

    def error(self, text: str, code: str = "pixels", frame: int | None = None) -> DicomError:
        """Return a DicomError that names the transfer syntax and the frame."""
        where = self.name if frame is None else f"{self.name}, frames[{frame}]"
        return DicomError(f"{where}: {text}", code, None, "", self.filename)

    def _missing(self, error: ImportError, frame: int | None = None) -> DicomError:
        return self.error(codec_missing("imagecodecs", "pixels", error), "codec-missing", frame)

    def __call__(
        self, data: bytes, out: PixelArray | None = None, frame: int | None = None
    ) -> tuple[PixelArray, bool]:
        """Decode one frame.

        Parameters
        ----------
        data : bytes
            The codestream: the fragments of the frame, joined.
        out : numpy.ndarray, optional
            Array of the layout's shape and dtype, C-contiguous, to decode into.
        frame : int, optional
            Index of the frame, named in errors.

        Returns
        -------
        array : numpy.ndarray
            The stored values, `out` if it was given.
        complete : bool
            False if the codestream ends before its end marker: `array` then
            holds only what came before.

        Raises
        ------
        DicomError
            If the codestream is damaged or is not what the attributes say.
        """
        import numpy as np

        layout = self.layout
        size = layout.cells
        if layout.bits_allocated < 8:
            size = size * layout.bits_allocated // 8
        if size > FREE_SAMPLES and size > RATIO * len(data):
            raise self.error(
                f"{len(data)} bytes cannot hold {layout.cells} samples: "
                f"the limit is {RATIO} samples per byte",
                "codestream",
                frame,
            )
        try:
            if out is None:
                out = np.empty(layout.shape, layout.dtype)
            return out, self._codec(self, data, out)
        except DicomError as error:
            raise self.error(error.text, error.code, frame) from error
        except ImportError as error:
            raise self._missing(error, frame) from error
        except MemoryError as error:
            raise self.error("there is not enough memory", "memory", frame) from error
        except Exception as error:  # codecs raise classes of their own
            raise self.error(f"{type(error).__name__}: {error}", "codestream", frame) from error

    # ---- codestreams with a header

    def _header(self, data: bytes, kind: str) -> Codestream:
        """Return the header of a codestream that agrees with the attributes."""
        layout = self.layout
        stream = read_codestream(data)
        if stream is None or stream.kind != kind:
            found = "no codestream" if stream is None else f"a codestream of {stream.kind}"
            raise DicomError(f"the frame's {len(data)} bytes begin with {found}", "codestream")
        found_size = stream.rows, stream.columns, stream.components
        if found_size != (layout.rows, layout.columns, layout.samples):
            raise DicomError(
                f"the codestream has {stream.rows} x {stream.columns} x {stream.components} "
                f"samples, the attributes {layout.rows} x {layout.columns} x {layout.samples}",
                "codestream",
            )
        if stream.precision > layout.bits_allocated:
            raise DicomError(
                f"samples of {stream.precision} bits do not fit BitsAllocated "
                f"{layout.bits_allocated}",
                "codestream",
            )
        if stream.least_bytes > max(len(data), 1 << 16):
            raise DicomError(
                f"the codestream declares tiles and packets of at least {stream.least_bytes} "
                f"bytes, but has {len(data)}",
                "codestream",
            )
        return stream

    @staticmethod
    def _into(
        decode: Callable[..., Any], data: bytes, out: PixelArray, stream: Codestream, **options: Any
    ) -> None:
        """Decode into `out`, directly if its cells have the size of the codec's."""
        size = 1 if stream.precision <= 8 else 2 if stream.precision <= 16 else 4
        if out.dtype.itemsize == size:
            decode(data, out=out.view(f"u{size}"), **options)
        else:
            out[...] = decode(data, **options)

    def _jpeg(self, data: bytes, out: PixelArray) -> bool:
        stream = self._header(data, "jpeg")
        # The same color space on both sides: the codec must not convert.
        space = {1: "grayscale", 3: "rgb", 4: "cmyk"}.get(stream.components)
        if space is None:
            raise DicomError(
                f"JPEG frames must have 1, 3 or 4 components, got {stream.components}", "codestream"
            )
        decode = self._imagecodecs.jpeg8_decode
        self._into(decode, data, out, stream, colorspace=space, outcolorspace=space)
        if self.layout.signed or stream.precision > self.layout.bits_stored:
            self.layout.clear_unused_bits(out)
        return stream.is_complete

    def _jpegls(self, data: bytes, out: PixelArray) -> bool:
        stream = self._header(data, "jpegls")
        if not stream.is_complete:
            data += b"\xff\xd9"  # CharLS searches minutes for a missing end marker
        if stream.is_planar:
            out[...] = self._imagecodecs.jpegls_decode(data)  # a transposed view
        else:
            self._into(self._imagecodecs.jpegls_decode, data, out, stream)
        self._set_sign(out, stream, False)
        return stream.is_complete

    def _jpeg2000(self, data: bytes, out: PixelArray) -> bool:
        stream = self._header(data, "jpeg2000")
        # OpenJPH is fast, but it reads only HT blocks, wraps where a lossy value
        # has to be clamped, and does not report a missing end.
        if stream.is_high_throughput and stream.is_reversible and stream.is_complete:
            decode = self._imagecodecs.htj2k_decode
        else:
            decode = self._imagecodecs.jpeg2k_decode
        self._into(decode, data, out, stream)
        self._set_sign(out, stream, stream.is_signed)
        return True

    def _jpegxl(self, data: bytes, out: PixelArray) -> bool:
        stream = self._header(data, "jpegxl")
        decode = self._imagecodecs.jpegxl_decode
        self._into(decode, data, out, stream, keeporientation=True, numthreads=1)
        return True

    def _set_sign(self, out: PixelArray, stream: Codestream, signed: bool) -> None:
        """Reread the bits as PixelRepresentation says, where the codestream differs.

        The bits are the same; the codestream's precision determines the sign bit.
        """
        if signed != self.layout.signed and stream.precision < 8 * out.dtype.itemsize:
            normalize(out, out.dtype.str, stream.precision)

    # ---- cells without a header

    def _rle(self, data: bytes, out: PixelArray) -> bool:
        layout = self.layout
        pixels = layout.rows * layout.columns
        if layout.bits_allocated == 1:
            packed = bytearray((pixels + 7) // 8 * layout.samples)
            rle_decode(data, "|u1", (pixels + 7) // 8, layout.samples, packed)
            unpack_bits(packed, 0, layout.cells, out)
        else:
            rle_decode(
                data,
                out.dtype.str,
                pixels,
                layout.samples,
                out,
                bits_stored=layout.bits_stored,
                high_bit=layout.high_bit,
            )
        return True

    def _native(self, data: bytes, out: PixelArray) -> bool:
        """Decode a frame of little endian native cells."""
        import numpy as np

        layout = self.layout
        size = (layout.cells * layout.bits_allocated + 7) // 8
        if len(data) < size:
            raise DicomError(
                f"the frame has {len(data)} bytes, its attributes require {size}", "frame-short"
            )
        if layout.bits_allocated == 1:
            unpack_bits(data, 0, layout.cells, out)
            return True
        if layout.planar:
            interleave(
                memoryview(data)[:size],
                out,
                layout.rows * layout.columns,
                layout.samples,
                out.dtype.itemsize,
            )
        else:
            out.reshape(-1).view(np.uint8)[:] = np.frombuffer(data, np.uint8, size)
        layout.clear_unused_bits(out)
        return True

    def _deflate_frame(self, data: bytes, out: PixelArray) -> bool:
        size = (self.layout.cells * self.layout.bits_allocated + 7) // 8
        inflater = zlib.decompressobj(-15)  # PS3.5 A.4.13: no header, no checksum
        return self._native(inflater.decompress(data, size), out)

    _CODECS: ClassVar[dict[str, Callable[[FrameDecoder, bytes, PixelArray], bool]]] = {
        "native": _native,
        "rle": _rle,
        "jpeg": _jpeg,
        "jpegls": _jpegls,
        "jpeg2000": _jpeg2000,
        "htj2k": _jpeg2000,
        "jpegxl": _jpegxl,
        "deflate-frame": _deflate_frame,
    }


def decode(
    data: bytes,
    syntax: str,
    *,
    rows: int,
    columns: int,
    samples: int = 1,
    bits_allocated: int = 16,
    bits_stored: int | None = None,
    high_bit: int | None = None,
    signed: bool = False,
    photometric: str = "MONOCHROME2",
    planar: bool = False,
    out: PixelArray | None = None,
) -> PixelArray:
    """Return the stored values of one compressed frame.

    Parameters
    ----------
    data : bytes
        The codestream: the fragments of the frame, joined.
    syntax : str
        UID of the transfer syntax; not one of video.
    rows, columns, samples, bits_allocated, bits_stored, high_bit : int
        Attributes of the Image Pixel Module (PS3.3 C.7.6.3), as for `Layout`.
    signed, planar : bool
        Whether Pixel Representation, Planar Configuration are 1.
    photometric : str
        Photometric Interpretation.
    out : numpy.ndarray, optional
        C-contiguous array of the result's shape and dtype to decode into.

    Returns
    -------
    numpy.ndarray
        Shape (rows, columns[, samples]).

    Raises
    ------
    DicomError
        If the codestream is damaged or is not what the attributes say, or if
        the transfer syntax has no decoder.
    """
    layout = Layout(
        rows, columns, samples, bits_allocated, bits_stored, high_bit, signed, photometric, planar
    )
    return FrameDecoder(syntax, layout)(data, out)[0]
