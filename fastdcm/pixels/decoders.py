"""Decode one compressed frame to its stored values (PS3.5 8.2, A.4).

`FrameDecoder` holds the table of codecs: which method decodes which family of
transfer syntaxes (the `pixels` column of `fastdcm.uid.TRANSFER_SYNTAXES`), and
decides what the bytes of a frame are and which colors they have. Video streams are
decoded by `fastdcm.pixels.video`.
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

#: Most samples that one byte of a codestream may yield, where `max_ratio` is not
#: given. Deflate compresses by up to 1032, RLE by 64, photographs by about 100; only
#: blank frames of JPEG-LS, JPEG 2000 and JPEG XL exceed it.
RATIO = 1032
# Below these a frame is decoded whatever its size: the header of a few bytes can
# declare any number of samples. Each scan of a JPEG visits all samples again, and
# progressive JPEG of common encoders has about 10.
FREE_SAMPLES = 1 << 24
_FREE_VISITS = 1 << 28
_SCANS = 16  # visits of a sample that are allowed at `max_ratio`

# Transfer syntaxes that promise lossless compression, and those of JPEG that
# promise the contrary (PS3.5 A.4).
_LOSSLESS = frozenset(f"1.2.840.10008.1.2.4.{n}" for n in (57, 58, 70, 80, 90, 92, 201, 202))
_LOSSY_JPEG = frozenset(f"1.2.840.10008.1.2.4.{n}" for n in (50, 51, 52, 53, 54, 55, 56))
_JPEG_IN_JPEGXL = "1.2.840.10008.1.2.4.111"

_USE_IMAGECODECS = frozenset(("jpeg", "jpegls", "jpeg2000", "htj2k", "jpegxl"))


# Families whose frames have no header that says what they are.
_HEADERLESS = frozenset(("native", "rle", "deflate-frame"))


def over_limit(have: str, want: str, max_ratio: int) -> DicomError:
    """Return the error for pixel data that decodes to too much for its size."""
    return DicomError(
        f"{have} are too few for {want}: the limit is max_ratio={max_ratio} samples per byte; "
        "to decode it nevertheless, pass a larger max_ratio to get_pixels",
        "decode-limit",
    )


def codec_missing(package: str, extra: str, error: ImportError) -> str:
    """Return the text of the error for an optional package that is not installed."""
    return f"needs {package}: pip install 'fastdcm-dicom[{extra}]' ({error})"


class FrameDecoder:
    """The decoder for the frames of one data set.

    A frame is decoded by what its bytes are: a codestream of another kind than the
    transfer syntax states is an issue, not an error.

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
        self._syntax = syntax or ""
        row = TRANSFER_SYNTAXES.get(self._syntax)
        if row is not None and not row.pixels:
            raise self.error(row.refusal)
        self._family = "" if row is None else row.pixels.removesuffix("-big")
        self._big_endian = row is not None and (row.big_endian or row.pixels == "native-big")
        self._size = (layout.cells * layout.bits_allocated + 7) // 8  # of native cells, in bytes
        self._imagecodecs: Any = None
        if self._family in _USE_IMAGECODECS:
            try:
                self._codecs()
            except ImportError as error:
                raise self._missing(error) from error

    def _codecs(self) -> Any:
        if self._imagecodecs is None:
            import imagecodecs

            self._imagecodecs = imagecodecs
        return self._imagecodecs

    def error(self, text: str, code: str = "pixels", frame: int | None = None) -> DicomError:
        """Return a DicomError that names the transfer syntax and the frame."""
        where = self.name if frame is None else f"{self.name}, frames[{frame}]"
        return DicomError(f"{where}: {text}", code, None, "", self.filename)

    def _missing(self, error: ImportError, frame: int | None = None) -> DicomError:
        return self.error(codec_missing("imagecodecs", "pixels", error), "codec-missing", frame)

    def __call__(
        self,
        data: bytes,
        out: PixelArray | None = None,
        frame: int | None = None,
        max_ratio: int = RATIO,
    ) -> tuple[PixelArray, list[str]]:
        """Decode one frame.

        Parameters
        ----------
        data : bytes
            The codestream: the fragments of the frame, joined.
        out : numpy.ndarray, optional
            Array of the layout's shape and dtype, C-contiguous, to decode into.
        frame : int, optional
            Index of the frame, named in errors.
        max_ratio : int
            Most samples that one byte of `data` may yield.

        Returns
        -------
        array : numpy.ndarray
            The stored values, `out` if it was given.
        issues : list of str
            Codes of issues: "codestream-end" if the codestream ends before its end
            marker, so that `array` holds only what came before, "codestream-kind"
            if it is not of the kind that the transfer syntax states, "photometric"
            if its colors are not those of Photometric Interpretation.

        Raises
        ------
        DicomError
            If the codestream is damaged or is not what the attributes say, or,
            with code "decode-limit", if `max_ratio` is exceeded.
        """
        import numpy as np

        layout = self.layout
        try:
            stream = read_codestream(data)
            family = self._recognize(data, stream)
            if family not in self._CODECS:
                raise DicomError("no codec is known for pixel data in fragments", "pixels")
            issues = []
            if family not in _HEADERLESS:
                if stream is None:
                    raise DicomError(
                        f"the frame's {len(data)} bytes begin with no codestream", "codestream"
                    )
                self._check_header(stream, data)
                if not stream.is_complete and stream.kind in ("jpeg", "jpegls"):
                    issues.append("codestream-end")
                if not self._photometric(stream)[1]:
                    issues.append("photometric")
            if not self._is_stated(family, stream):
                issues.append("codestream-kind")
            self._check_cost(len(data), 1 if stream is None else stream.scans, max_ratio)
            if out is None:
                out = np.empty(layout.shape, layout.dtype)
            self._CODECS[family](self, data, out, stream)
            return out, issues
        except DicomError as error:
            raise self.error(error.text, error.code, frame) from error
        except ImportError as error:
            raise self._missing(error, frame) from error
        except MemoryError as error:
            raise self.error("there is not enough memory", "memory", frame) from error
        except Exception as error:  # codecs raise classes of their own
            raise self.error(f"{type(error).__name__}: {error}", "codestream", frame) from error

    def photometric(self, data: bytes) -> str:
        """Return the Photometric Interpretation of the stored values of one frame.

        Parameters
        ----------
        data : bytes
            The codestream: the fragments of the frame, joined.

        Returns
        -------
        str
            What the codestream says of its colors (PS3.5 8.2.1, 8.2.4), otherwise
            the attribute.
        """
        stream = read_codestream(data)
        if stream is None or self._recognize(data, stream) in _HEADERLESS:
            return self.layout.photometric
        return self._photometric(stream)[0]

    # ---- what the bytes are

    def _recognize(self, data: bytes, stream: Codestream | None) -> str:
        """Return the family of codecs that decodes these bytes, "" for none."""
        stated, length, layout = self._family, len(data), self.layout
        if stream is not None and (
            stated != "native"  # whose cells may begin with any bytes
            or (stream.rows, stream.columns, stream.components)
            == (layout.rows, layout.columns, layout.samples)
        ):
            both = stated == "htj2k" and stream.kind == "jpeg2000"
            return stated if both else stream.kind
        if stated == "deflate-frame":
            return stated
        if self._is_rle(data):
            return "rle"
        return "native" if self._size <= length <= self._size + 1 else stated

    def _is_rle(self, data: bytes) -> bool:
        """Return whether these bytes begin with the header of an RLE frame (PS3.5 G.5)."""
        count = self.layout.samples * max(1, self.layout.bits_allocated // 8)
        return len(data) > 64 and data[:8] == count.to_bytes(4, "little") + b"\x40\0\0\0"

    def _is_stated(self, family: str, stream: Codestream | None) -> bool:
        """Return whether a frame is of the kind that the transfer syntax states."""
        if family != self._family:
            return False
        if stream is None or family in _HEADERLESS:
            return True
        if stream.kind == "jpeg2000" and stream.is_high_throughput != (family == "htj2k"):
            return False
        if stream.is_reversible:
            return self._syntax not in _LOSSY_JPEG
        return self._syntax not in _LOSSLESS

    def _photometric(self, stream: Codestream) -> tuple[str, bool]:
        """Return the color of the decoded values, and whether the attribute agrees."""
        label = self.layout.photometric
        if stream.components != 3:
            return label, True
        color: str = stream.color
        if stream.kind == "jpeg2000":
            # The codec inverts the transforms of YBR_ICT and YBR_RCT (PS3.5 8.2.4).
            if color:
                return color, label in ("RGB", "YBR_ICT", "YBR_RCT")
            transformed = label in ("YBR_ICT", "YBR_RCT")
            return "RGB" if transformed else label, not transformed
        if stream.kind == "jpegxl":
            # The codec converts XYB, and the Y Cb Cr of a JPEG, to RGB.
            recompressed = self._syntax == _JPEG_IN_JPEGXL or label == "YBR_FULL_422"
            if recompressed or color or label == "XYB":
                return "RGB", recompressed or label in ("RGB", "XYB")
            return label, True
        if not color and stream.kind == "jpeg":
            color = self._guessed_color(stream)
        if not color or label.startswith("YBR_FULL" if color == "YBR_FULL" else "RGB"):
            return label, True
        return color, False

    def _guessed_color(self, stream: Codestream) -> str:
        """Return the color of a JPEG without markers where the attribute cannot be true."""
        label = self.layout.photometric
        if stream.is_subsampled:  # as only chroma is
            return "" if label.startswith(("YBR_FULL", "YBR_PARTIAL")) else "YBR_FULL"
        # Lossless JPEG is RGB or YBR_FULL (PS3.5 8.2.1); another label has usually
        # been kept from the image before.
        if stream.is_reversible and label.startswith("YBR_") and label != "YBR_FULL":
            return "RGB"
        return ""

    # ---- codestreams with a header

    def _check_header(self, stream: Codestream, data: bytes) -> None:
        """Raise DicomError for a header that does not agree with the attributes."""
        layout = self.layout
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

    def _check_cost(self, length: int, scans: int, max_ratio: int) -> None:
        """Raise DicomError for a frame that decodes to too much for its length."""
        layout = self.layout
        samples = layout.cells if layout.bits_allocated >= 8 else self._size
        visits = samples * scans
        if (samples > FREE_SAMPLES and samples > max_ratio * length) or (
            visits > _FREE_VISITS and visits > _SCANS * max_ratio * length
        ):
            want = f"{layout.cells} samples" + (f" in {scans} scans" if scans > 1 else "")
            raise over_limit(f"{length} bytes", want, max_ratio)

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

    def _jpeg(self, data: bytes, out: PixelArray, stream: Codestream) -> None:
        # The same color space on both sides: the codec must not convert.
        space = {1: "grayscale", 3: "rgb", 4: "cmyk"}.get(stream.components)
        if space is None:
            raise DicomError(
                f"JPEG frames must have 1, 3 or 4 components, got {stream.components}", "codestream"
            )
        decode = self._codecs().jpeg8_decode
        self._into(decode, data, out, stream, colorspace=space, outcolorspace=space)
        # Lossless: differences are modulo 2**16 (ISO 10918-1 H.1.2.1), also where an
        # encoder reduces them modulo its precision.
        self._set_bits(out, stream, stream.is_reversible)

    def _jpegls(self, data: bytes, out: PixelArray, stream: Codestream) -> None:
        if not stream.is_complete:
            data += b"\xff\xd9"  # CharLS searches minutes for a missing end marker
        decode = self._codecs().jpegls_decode
        if stream.is_planar:
            out[...] = decode(data)  # a transposed view
        else:
            self._into(decode, data, out, stream)
        self._set_bits(out, stream)

    def _jpeg2000(self, data: bytes, out: PixelArray, stream: Codestream) -> None:
        # OpenJPH is fast, but it reads only HT blocks, wraps where a lossy value
        # has to be clamped, and does not report a missing end.
        if stream.is_high_throughput and stream.is_reversible and stream.is_complete:
            decode = self._codecs().htj2k_decode
        else:
            decode = self._codecs().jpeg2k_decode
        self._into(decode, data, out, stream)
        self._set_bits(out, stream)

    def _jpegxl(self, data: bytes, out: PixelArray, stream: Codestream) -> None:
        decode = self._codecs().jpegxl_decode
        self._into(decode, data, out, stream, keeporientation=True, numthreads=1)
        self._set_bits(out, stream)

    def _set_bits(self, out: PixelArray, stream: Codestream, wrapped: bool = False) -> None:
        """Clear or sign-extend the unused bits, as of native cells (PS3.5 8.1.1).

        The value has the bits that both the codestream and the attributes have, its
        sign is that of PixelRepresentation. `wrapped`: the codec sets bits above the
        codestream's precision.
        """
        layout = self.layout
        if stream.precision > layout.bits_stored:
            if stream.is_reversible or layout.signed or layout.high_bit >= stream.precision:
                layout.clear_unused_bits(out)
            else:  # rounded up: the bits above would turn white into black
                out.clip(None, (1 << layout.bits_stored) - 1, out=out)
        elif stream.precision < 8 * out.dtype.itemsize and (
            wrapped or stream.is_signed != layout.signed
        ):
            normalize(out, out.dtype.str, stream.precision)

    # ---- cells without a header

    def _rle(self, data: bytes, out: PixelArray, _: object) -> None:
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

    def _native(self, data: bytes, out: PixelArray, _: object) -> None:
        """Decode a frame of native cells."""
        import numpy as np

        layout, size = self.layout, self._size
        if len(data) < size:
            raise DicomError(
                f"the frame has {len(data)} bytes, its attributes require {size}", "frame-short"
            )
        if layout.bits_allocated == 1:
            unpack_bits(data, 0, layout.cells, out)
            return
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
        if self._big_endian:
            out.byteswap(inplace=True)
        layout.clear_unused_bits(out)

    def _deflate_frame(self, data: bytes, out: PixelArray, _: object) -> None:
        inflater = zlib.decompressobj(-15)  # PS3.5 A.4.13: no header, no checksum
        self._native(inflater.decompress(data, self._size), out, None)

    _CODECS: ClassVar[dict[str, Callable[[FrameDecoder, bytes, PixelArray, Any], None]]] = {
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
    max_ratio: int = RATIO,
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
    max_ratio : int
        Most samples that one byte of `data` may yield. Above 16 million samples a
        frame that exceeds it is refused, and so are more than 16 scans of a JPEG
        at this ratio.

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
    return FrameDecoder(syntax, layout)(data, out, max_ratio=max_ratio)[0]
