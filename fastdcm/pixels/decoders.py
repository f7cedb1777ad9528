"""One compressed frame to its stored values, for each transfer syntax that
compresses (PS3.5 8.2 and A.4)."""

import zlib

from fastdcm.errors import DicomError
from fastdcm.pixels._codestream import read_codestream
from fastdcm.pixels._kernels import interleave, normalize, rle_decode, unpack_bits
from fastdcm.uid import TRANSFER_SYNTAXES, UID

# A frame of more samples than this is decoded only where a byte of its
# codestream stands for RATIO of them at most: a few bytes can say anything.
# Deflate gets to 1032, RLE to 64; photographs to 100.
FREE_SAMPLES = 1 << 24
RATIO = 1032

_HINT = "pip install 'fastdcm-dicom[{}]'"


class Layout:
    """One frame as its attributes describe it (PS3.3 C.7.6.3).

    rows, columns, samples, bits_allocated, bits_stored, high_bit : int;
    signed, planar : bool; photometric : str. From them: cells, rows times
    columns times samples; dtype, of one stored value, in the machine's order
    and uint8 for one bit; shape, (rows, columns[, samples]). Raises
    DicomError for what no frame can have.
    """

    __slots__ = (
        "rows",
        "columns",
        "samples",
        "bits_allocated",
        "bits_stored",
        "high_bit",
        "signed",
        "photometric",
        "planar",
        "cells",
        "dtype",
        "shape",
        "loose",
    )

    def __init__(
        self,
        rows,
        columns,
        samples=1,
        bits_allocated=16,
        bits_stored=None,
        high_bit=None,
        signed=False,
        photometric="MONOCHROME2",
        planar=False,
        floating=False,
    ):
        import numpy as np

        if bits_stored is None:
            bits_stored = bits_allocated
        if bits_allocated not in ((32, 64) if floating else (1, 8, 12, 16, 32, 64)):
            raise DicomError(
                f"BitsAllocated is {bits_allocated}: pixels have 1, 8, 12, 16, 32 or 64", "pixels"
            )
        if not 1 <= bits_stored <= bits_allocated:
            raise DicomError(
                f"BitsStored is {bits_stored}, where BitsAllocated is {bits_allocated}", "pixels"
            )
        if high_bit is None or not bits_stored - 1 <= high_bit < bits_allocated:
            high_bit = bits_stored - 1
        self.rows, self.columns, self.samples = rows, columns, samples
        self.bits_allocated, self.bits_stored, self.high_bit = bits_allocated, bits_stored, high_bit
        self.signed, self.photometric = bool(signed), photometric
        self.planar = samples > 1 and bool(planar)
        self.cells = rows * columns * samples
        if self.cells >= 1 << 48:
            raise DicomError(
                f"a frame of {rows} x {columns} x {samples} is beyond all memory", "pixels"
            )
        kind = "f" if floating else "i" if signed and bits_allocated > 1 else "u"
        size = {1: 1, 12: 2}.get(bits_allocated, bits_allocated // 8)
        self.dtype = np.dtype(f"{kind}{size}")
        self.shape = (rows, columns, samples) if samples > 1 else (rows, columns)
        self.loose = (
            bits_allocated > 1
            and not floating
            and (bits_stored < bits_allocated or bits_allocated == 12 and self.signed)
        )

    def correct(self, array):
        """Masks or sign-extends, in place, the bits that hold no value."""
        if self.loose:
            normalize(array, array.dtype.str, self.bits_stored, self.high_bit)


class FrameDecoder:
    """The decoder of the frames of one data set.

    syntax : str, UID of a transfer syntax; layout : Layout of its frames.
    Raises DicomError where there is no decoder for them, with the code
    "codec-missing" and the extra to install when only that is missing.
    """

    def __init__(self, syntax, layout, filename=None):
        self.layout = layout
        self.filename = filename
        self.name = UID(syntax).name if syntax else "no transfer syntax"
        row = TRANSFER_SYNTAXES.get(syntax)
        if row is None:
            raise self.error("no codec is known for pixel data in fragments")
        if not row.pixels:
            raise self.error(row.refusal)
        self._decode = getattr(self, "_" + row.pixels.replace("-", "_"), None)
        if self._decode is None:
            raise self.error("its pixel data does not stand in fragments")
        self._codecs = None
        if row.pixels in ("jpeg", "jpegls", "jpeg2000", "htj2k", "jpegxl"):
            try:
                import imagecodecs
            except ImportError as missing:
                raise self._missing(missing) from missing
            self._codecs = imagecodecs

    def error(self, text, code="pixels", frame=None):
        where = self.name if frame is None else f"{self.name}, frames[{frame}]"
        return DicomError(f"{where}: {text}", code, None, "", self.filename)

    def _missing(self, error, frame=None):
        return self.error(
            f"needs imagecodecs: {_HINT.format('pixels')} ({error})", "codec-missing", frame
        )

    def __call__(self, data, out=None, frame=None):
        """The stored values of one frame.

        data : bytes of the frame, its fragments joined.
        out : array of the layout's shape and dtype, C-contiguous, to decode
            into, or None for a new one.
        frame : int, its index, for the text of an error.

        Returns (array, whole): whole is False when the codestream ends before
        its end marker, so that the array holds only what came before.
        """
        import numpy as np

        layout = self.layout
        size = (
            layout.cells * layout.bits_allocated // 8 if layout.bits_allocated < 8 else layout.cells
        )
        if size > FREE_SAMPLES and size > RATIO * len(data):
            raise self.error(
                f"{len(data)} bytes for {layout.cells} samples are beyond every honest ratio",
                "codestream",
                frame,
            )
        try:
            if out is None:
                out = np.empty(layout.shape, layout.dtype)
            return out, self._decode(data, out)
        except DicomError as error:
            raise self.error(error.text, error.code, frame) from error
        except ImportError as error:
            raise self._missing(error, frame) from error
        except MemoryError as error:
            raise self.error("there is not enough memory", "memory", frame) from error
        except Exception as error:  # whatever a codec raises
            raise self.error(f"{type(error).__name__}: {error}", "codestream", frame) from error

    # ---- codestreams that say what they hold

    def _header(self, data, kind):
        layout = self.layout
        stream = read_codestream(data)
        if stream is None or stream.kind != kind:
            found = "no codestream" if stream is None else f"a codestream of {stream.kind}"
            raise DicomError(f"the frame's {len(data)} bytes begin with {found}", "codestream")
        if (stream.rows, stream.columns, stream.components) != (
            layout.rows,
            layout.columns,
            layout.samples,
        ):
            raise DicomError(
                f"the codestream has {stream.rows} x {stream.columns} x {stream.components}, "
                f"its attributes say {layout.rows} x {layout.columns} x {layout.samples}",
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
                f"tiles and packets of {stream.least_bytes} bytes at least cannot "
                f"stand in {len(data)}",
                "codestream",
            )
        return stream

    @staticmethod
    def _into(decode, data, out, stream, **options):
        """Decodes straight into `out` where its cells are the codec's."""
        size = 1 if stream.precision <= 8 else 2 if stream.precision <= 16 else 4
        if out.dtype.itemsize == size:
            decode(data, out=out.view(f"u{size}"), **options)
        else:
            out[...] = decode(data, **options)

    def _jpeg(self, data, out):
        stream = self._header(data, "jpeg")
        # The components as they are: with one colour space on both sides the
        # codec converts nothing.
        space = {1: "grayscale", 3: "rgb", 4: "cmyk"}.get(stream.components)
        if space is None:
            raise DicomError(
                f"JPEG of {stream.components} components: 1, 3 and 4 are decoded", "codestream"
            )
        self._into(
            self._codecs.jpeg8_decode, data, out, stream, colorspace=space, outcolorspace=space
        )
        if self.layout.signed or stream.precision > self.layout.bits_stored:
            self.layout.correct(out)
        return stream.is_complete

    def _jpegls(self, data, out):
        stream = self._header(data, "jpegls")
        if not stream.is_complete:
            data += b"\xff\xd9"  # without an end CharLS searches it for minutes
        if stream.is_planar:
            out[...] = self._codecs.jpegls_decode(data)  # a view that turns the planes
        else:
            self._into(self._codecs.jpegls_decode, data, out, stream)
        self._sign(out, stream, False)
        return stream.is_complete

    def _jpeg2000(self, data, out):
        stream = self._header(data, "jpeg2000")
        # OpenJPH is fast; but it reads nothing but HT blocks, wraps where a
        # lossy value has to be clamped, and says nothing of a missing end.
        if stream.is_high_throughput and stream.is_reversible and stream.is_complete:
            decode = self._codecs.htj2k_decode
        else:
            decode = self._codecs.jpeg2k_decode
        self._into(decode, data, out, stream)
        self._sign(out, stream, stream.is_signed)
        return True

    _htj2k = _jpeg2000

    def _jpegxl(self, data, out):
        stream = self._header(data, "jpegxl")
        self._into(
            self._codecs.jpegxl_decode, data, out, stream, keeporientation=True, numthreads=1
        )
        return True

    def _sign(self, out, stream, signed):
        """A codestream's sign may differ from PixelRepresentation: the bits
        are the same, its precision says which is the sign."""
        if signed != self.layout.signed and stream.precision < 8 * out.dtype.itemsize:
            normalize(out, out.dtype.str, stream.precision)

    # ---- cells

    def _rle(self, data, out):
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

    def _native(self, data, out):
        """A frame as it would stand in native pixel data, little endian."""
        import numpy as np

        layout = self.layout
        size = (layout.cells * layout.bits_allocated + 7) // 8
        if len(data) < size:
            raise DicomError(
                f"the frame has {len(data)} bytes, where its attributes ask for {size}",
                "frame-short",
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
        layout.correct(out)
        return True

    def _deflate_frame(self, data, out):
        size = (self.layout.cells * self.layout.bits_allocated + 7) // 8
        inflater = zlib.decompressobj(-15)  # PS3.5 A.4.13: no header, no checksum
        return self._native(inflater.decompress(data, size), out)


class Video:
    """The decoder of a video stream (PS3.5 8.2.5 to 8.2.8), through PyAV."""

    # Nothing that could name another file or an address.
    _FORMATS = "mpegts,mpeg,mpegvideo,mov,mp4,h264,hevc"

    def __init__(self, syntax, layout, filename=None):
        self.layout, self.name, self.filename = layout, UID(syntax).name, filename
        if layout.samples not in (1, 3) or layout.bits_allocated not in (8, 16):
            raise self.error(
                f"a video has 1 or 3 samples of 8 or 16 bits allocated, not "
                f"{layout.samples} of {layout.bits_allocated}"
            )
        try:
            import av
        except ImportError as missing:
            raise self.error(
                f"needs PyAV: {_HINT.format('video')} ({missing})", "codec-missing"
            ) from missing
        self._av = av

    def error(self, text, code="pixels"):
        return DicomError(f"{self.name}: {text}", code, None, "", self.filename)

    def frames(self, stream):
        """The frames of a stream of bytes, one after another: stored values
        with chroma doubled in both directions, Y Cb Cr of a pixel together."""
        import io

        import numpy as np

        layout = self.layout
        kind = "gray" if layout.samples == 1 else "yuv444p"
        if layout.bits_allocated == 16:
            kind += f"{layout.bits_stored}le"
        most = (layout.rows + 64) * (layout.columns + 64)  # whole macroblocks
        try:
            with self._av.open(
                io.BytesIO(stream),
                options={"format_whitelist": self._FORMATS, "protocol_whitelist": ""},
            ) as container:
                codec = container.streams.video[0].codec_context
                codec.options = {"max_pixels": str(most)}
                codec.thread_type = "AUTO"
                for frame in container.decode(video=0):
                    if (frame.height, frame.width) != (layout.rows, layout.columns):
                        raise self.error(
                            f"the video has {frame.height} x {frame.width}, its attributes say "
                            f"{layout.rows} x {layout.columns}",
                            "codestream",
                        )
                    planes = frame.reformat(format=kind).planes
                    planes = [
                        np.frombuffer(plane, layout.dtype).reshape(
                            layout.rows, plane.line_size // layout.dtype.itemsize
                        )[:, : layout.columns]
                        for plane in planes
                    ]
                    yield np.dstack(planes) if layout.samples == 3 else planes[0]
        except DicomError:
            raise
        except Exception as error:  # whatever a codec raises
            raise self.error(f"{type(error).__name__}: {error}", "codestream") from error


def decode(
    data,
    syntax,
    *,
    rows,
    columns,
    samples=1,
    bits_allocated=16,
    bits_stored=None,
    high_bit=None,
    signed=False,
    photometric="MONOCHROME2",
    planar=False,
    out=None,
):
    """The stored values of one compressed frame.

    data : bytes of the frame, its fragments joined.
    syntax : str, UID of its transfer syntax; not one of video.
    rows ... planar : the attributes of PS3.3 C.7.6.3.
    out : array of the result's shape and type, C-contiguous, to decode into.

    Returns an array (rows, columns[, samples]). Raises DicomError for a
    codestream that is damaged or is not what its attributes say, and for a
    transfer syntax without decoder.
    """
    layout = Layout(
        rows, columns, samples, bits_allocated, bits_stored, high_bit, signed, photometric, planar
    )
    return FrameDecoder(syntax, layout)(data, out)[0]
