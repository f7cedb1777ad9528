"""Video: MPEG-2, MPEG-4 and HEVC through PyAV (PS3.5 8.2.5 to 8.2.8)."""

import io

import numpy as np
import pytest

import fastdcm
from support.builder import fragments, image
from support.optional_packages import require_package

MPEG2, MPEG4, HEVC, HEVC10 = (f"1.2.840.10008.1.2.4.{n}" for n in (100, 102, 107, 108))
ROWS, COLUMNS, FRAMES = 48, 64, 12


@pytest.fixture(scope="module")
def av():
    av = require_package("av")
    av.logging.set_level(None)
    return av


def film():
    """Y Cb Cr: brightness grows with each frame, chroma is flat."""
    frames = np.empty((FRAMES, ROWS, COLUMNS, 3), np.uint8)
    frames[..., 0] = 40 + 12 * np.arange(FRAMES)[:, None, None]
    frames[:, 16:32, 16:48, 0] += 20
    frames[..., 1], frames[..., 2] = 110, 150
    return frames


def encode(av, codec, container, pixels="yuv420p"):
    stream = io.BytesIO()
    with av.open(stream, "w", format=container) as output:
        try:
            video = output.add_stream(codec, rate=25)
        except (ValueError, av.error.FFmpegError) as error:
            pytest.skip(f"this PyAV encodes no {codec}: {error}")
        video.width, video.height, video.pix_fmt = COLUMNS, ROWS, pixels
        video.options = {"x265-params": "log-level=none"} if codec == "libx265" else {}
        video.bit_rate = 4_000_000
        for frame in film():
            planes = av.VideoFrame.from_ndarray(
                np.ascontiguousarray(frame.transpose(2, 0, 1)), format="yuv444p"
            )
            for packet in video.encode(planes.reformat(format=pixels)):
                output.mux(packet)
        for packet in video.encode():
            output.mux(packet)
    return stream.getvalue()


def write(
    put,
    data,
    syntax,
    allocated=8,
    stored=8,
    frames=FRAMES,
    pieces=1,
    rows=ROWS,
    photometric="YBR_PARTIAL_420",
):
    data += b"\0" * (len(data) % 2)
    size = (len(data) // pieces + 1) // 2 * 2
    parts = [data[i : i + size] for i in range(0, len(data), size)]
    return put(
        image(
            rows,
            COLUMNS,
            samples=3,
            allocated=allocated,
            stored=stored,
            frames=frames,
            photometric=photometric,
            planar=0,
        )
        + fragments(parts),
        transfer_syntax=syntax,
    )


@pytest.mark.parametrize(
    "syntax, codec, container, pieces",
    [
        (MPEG2, "mpeg2video", "mpegts", 1),
        (MPEG2, "mpeg2video", "mpeg2video", 1),
        (MPEG4, "libx264", "mp4", 1),
        (MPEG4, "libx264", "mpegts", 1),
        (MPEG4 + ".1", "libx264", "mpegts", 3),
        (HEVC, "libx265", "mpegts", 1),
        (HEVC, "libx265", "hevc", 1),
    ],
)
def test_frames(av, put, syntax, codec, container, pieces):
    ds = fastdcm.dcmread(write(put, encode(av, codec, container), syntax, pieces=pieces))
    wanted = film().astype(int)
    given = ds.pixel_array
    assert given.shape == wanted.shape and given.dtype == np.uint8
    assert np.abs(given - wanted).mean() < 2  # YBR stays YBR
    assert len(ds.frames) == FRAMES
    for i in (5, 6, 2, -1):  # on, on, and back
        assert np.array_equal(ds.frames[i], given[i])
    assert np.array_equal(ds.frames[7:3:-2], given[7:3:-2])
    assert all(np.array_equal(a, b) for a, b in zip(ds.frames, given, strict=True))


def test_ten_bits(av, put):
    data = encode(av, "libx265", "mpegts", "yuv420p10le")
    ds = fastdcm.dcmread(write(put, data, HEVC10, allocated=16, stored=10))
    given = ds.pixel_array
    assert given.dtype == np.uint16
    assert np.abs(given / 4 - film()).mean() < 2


def test_what_is_refused(av, put):
    data = encode(av, "mpeg2video", "mpegts")
    bad = [
        write(put, data, MPEG2, frames=FRAMES + 1),
        write(put, data, MPEG2, rows=ROWS + 2),
        write(put, b"\0" * 500, MPEG2),
        write(put, data[:100], MPEG2),
        write(put, b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n", MPEG2),
        write(put, b"ffconcat version 1.0\nfile /etc/hostname\n", MPEG2),
    ]
    for path in bad:
        with pytest.raises(fastdcm.DicomError) as caught:
            _ = fastdcm.dcmread(path).pixel_array
        assert caught.value.filename == path
    ds = fastdcm.dcmread(bad[0])
    assert ds.frames[0].shape == (ROWS, COLUMNS, 3)
    with pytest.raises(fastdcm.DicomError, match="no codestream of its own"):
        ds.frames.raw(0)


def test_a_truncated_stream(av, put):
    data = encode(av, "mpeg2video", "mpegts")
    ds = fastdcm.dcmread(write(put, data[: len(data) * 3 // 4], MPEG2))
    assert ds.frames[0].shape == (ROWS, COLUMNS, 3)
    with pytest.raises(fastdcm.DicomError, match="the video ends after"):
        _ = ds.pixel_array


@pytest.mark.parametrize(
    "label, agrees", [("YBR_PARTIAL_420", True), ("YBR_FULL_422", False), ("RGB", False)]
)
@pytest.mark.parametrize("syntax, codec", [(MPEG2, "mpeg2video"), (MPEG4, "libx264")])
@pytest.mark.parametrize("space", ["ITU601", "ITU709"])
def test_colors(av, put, label, agrees, syntax, codec, space):
    """The range and the matrix of the stream decide, whatever the attribute says."""
    wanted = np.zeros((ROWS, COLUMNS, 3), np.uint8)
    wanted[:, :32], wanted[:, 32:] = (220, 30, 30), (40, 190, 70)
    stream = io.BytesIO()
    with av.open(stream, "w", format="mp4" if codec == "libx264" else codec) as output:
        try:
            video = output.add_stream(codec, rate=25)
        except (ValueError, av.error.FFmpegError) as error:
            pytest.skip(f"this PyAV encodes no {codec}: {error}")
        video.width, video.height, video.pix_fmt = COLUMNS, ROWS, "yuv420p"
        video.bit_rate = 4_000_000
        if space == "ITU709":
            video.codec_context.colorspace = 1
        picture = av.VideoFrame.from_ndarray(wanted, format="rgb24")
        for i in range(3):
            frame = picture.reformat(format="yuv420p", dst_colorspace=space)
            frame.pts = i
            for packet in video.encode(frame):
                output.mux(packet)
        for packet in video.encode():
            output.mux(packet)
    path = write(put, stream.getvalue(), syntax, frames=3, photometric=label)
    ds = fastdcm.dcmread(path)
    rgb = ds.to_rgb(1).astype(int)
    assert np.abs(rgb[8:40, 4:28] - wanted[8:40, 4:28]).max() < 12
    assert np.abs(rgb[8:40, 36:60] - wanted[8:40, 36:60]).max() < 12
    assert ds.frames.photometric(1) == "YBR_PARTIAL_420"
    assert [issue.code for issue in ds.issues] == ([] if agrees else ["photometric"])


def test_full_range(av, put):
    data = encode(av, "libx264", "mpegts", "yuvj420p")
    ds = fastdcm.dcmread(write(put, data, MPEG4, photometric="YBR_FULL_422"))
    wanted = film().astype(float)  # PyAV converts it to full range
    wanted[..., 0] = (wanted[..., 0] - 16) * 255 / 219
    wanted[..., 1:] = (wanted[..., 1:] - 128) * 255 / 224 + 128
    assert np.abs(ds.pixel_array - wanted).mean() < 2
    assert ds.frames.photometric(0) == "YBR_FULL"
    assert ds.issues == []
