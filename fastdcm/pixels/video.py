"""Decode a video stream to its frames, with PyAV (PS3.5 8.2.5 to 8.2.8)."""

from __future__ import annotations

import io

from fastdcm.errors import DicomError
from fastdcm.pixels.decoders import codec_missing
from fastdcm.uid import UID

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from fastdcm.pixels.layout import Layout
    from fastdcm.pixels.protocols import PixelArray

# The matrices that PyAV reports, by the numbers of ITU-T H.273: the parts of red and
# blue in Y. Streams that state none have that of YBR_PARTIAL_420 (PS3.3 C.7.6.3.1.2).
BT601 = (0.299, 0.114)
_MATRICES = {
    1: (0.2126, 0.0722),  # ITU-R BT.709
    4: (0.30, 0.11),  # FCC
    7: (0.212, 0.087),  # SMPTE 240M
    9: (0.2627, 0.0593),  # ITU-R BT.2020
    10: (0.2627, 0.0593),
}
_FULL_RANGE = 2

# Containers and streams that cannot name another file or an address.
_FORMATS = "mpegts,mpeg,mpegvideo,mov,mp4,h264,hevc"


class VideoDecoder:
    """The decoder for one video stream.

    Attributes
    ----------
    photometric : str
        Photometric Interpretation of the frames, as the stream states: YBR_FULL, or
        YBR_PARTIAL_420 for values of limited range. The attribute before a frame was
        decoded, and for one sample.
    matrix : tuple of float
        The parts of red and blue in Y.

    Parameters
    ----------
    syntax : str
        UID of the transfer syntax.
    layout : Layout
        Layout of the frames: 1 or 3 samples of 8 or 16 bits allocated.
    filename : str or bytes, optional
        Named in errors.

    Raises
    ------
    DicomError
        If the layout is not possible, or, with code "codec-missing", if PyAV is
        not installed.
    """

    def __init__(self, syntax: str, layout: Layout, filename: str | bytes | None = None) -> None:
        self.layout, self.name, self.filename = layout, UID(syntax).name, filename
        self.photometric, self.matrix = layout.photometric, BT601
        if layout.samples not in (1, 3) or layout.bits_allocated not in (8, 16):
            raise self.error(
                "a video must have 1 or 3 samples of 8 or 16 bits allocated, got "
                f"{layout.samples} of {layout.bits_allocated}"
            )
        try:
            import av
        except ImportError as error:
            raise self.error(codec_missing("PyAV", "video", error), "codec-missing") from error
        self._av = av

    def error(self, text: str, code: str = "pixels") -> DicomError:
        """Return a DicomError that names the transfer syntax."""
        return DicomError(f"{self.name}: {text}", code, None, "", self.filename)

    def frames(self, stream: bytes) -> Iterator[PixelArray]:
        """Yield the frames of a stream in order.

        Chroma is repeated to full resolution, and the samples of a pixel (Y, Cb,
        Cr) are adjacent.
        """
        import numpy as np

        layout = self.layout
        kind = "gray" if layout.samples == 1 else "yuv444p"
        if layout.bits_allocated == 16:
            kind += f"{layout.bits_stored}le"
        most = (layout.rows + 64) * (layout.columns + 64)  # with complete macroblocks
        try:
            with self._av.open(
                io.BytesIO(stream),
                options={"format_whitelist": _FORMATS, "protocol_whitelist": ""},
            ) as container:
                codec = container.streams.video[0].codec_context
                codec.options = {"max_pixels": str(most)}
                codec.thread_type = "AUTO"
                for frame in container.decode(video=0):
                    if (frame.height, frame.width) != (layout.rows, layout.columns):
                        raise self.error(
                            f"the video has {frame.height} x {frame.width} pixels, the attributes "
                            f"{layout.rows} x {layout.columns}",
                            "codestream",
                        )
                    in_name = frame.format.name.startswith("yuvj")  # the range is in the name
                    full = in_name or frame.color_range == _FULL_RANGE
                    wanted = "yuvj444p" if in_name and kind == "yuv444p" else kind
                    if layout.samples == 3:
                        self.photometric = "YBR_FULL" if full else "YBR_PARTIAL_420"
                        self.matrix = _MATRICES.get(int(frame.colorspace), BT601)
                    planes = [
                        np.frombuffer(plane, layout.dtype).reshape(
                            layout.rows, plane.line_size // layout.dtype.itemsize
                        )[:, : layout.columns]
                        for plane in frame.reformat(format=wanted).planes
                    ]
                    yield np.dstack(planes) if layout.samples == 3 else planes[0]
        except DicomError:
            raise
        except Exception as error:  # codecs raise classes of their own
            raise self.error(f"{type(error).__name__}: {error}", "codestream") from error
