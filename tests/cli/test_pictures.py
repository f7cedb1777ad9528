"""fastdcm image and fastdcm sheet: the pictures and the messages."""

import io
import os

import numpy as np
import pytest
from click.testing import CliRunner

import fastdcm
from fastdcm.cli import main
from support import builder
from support.cli import start as program
from support.images import image as file_of

Image = pytest.importorskip("PIL.Image")

CENTER, WIDTH = 0x00281050, 0x00281051
RAMP = np.arange(0, 60, dtype=np.int16).reshape(6, 10)


def run(*arguments):
    """The result of the command, run in this process."""
    done = CliRunner().invoke(
        main, [str(a) for a in arguments], standalone_mode=False, catch_exceptions=True
    )
    return done


@pytest.fixture
def drawn(put, tmp_path):
    """drawn(file arguments, options=[...]) is the picture as an array."""

    def drawn(*arguments, options=(), **named):
        path = put(raw=file_of(*arguments, **named))
        done = run("image", path, "-o", tmp_path / "out.png", *options)
        assert done.exception is None and done.output == "", (done.exception, done.output)
        return np.asarray(Image.open(tmp_path / "out.png"))

    return drawn


# ---------------------------------------------------------------------- image ---


def test_the_first_window_of_the_file(drawn, put):
    window = [(CENTER, "DS", [20, 40]), (WIDTH, "DS", [30, 10])]
    ds = fastdcm.dcmread(put(raw=file_of(RAMP, *window)))
    assert (drawn(RAMP, *window) == ds.windowed()).all()
    assert (drawn(RAMP, *window, options=["--voi", 2]) == ds.windowed(index=1)).all()
    assert (
        drawn(RAMP, *window, options=["--window", 5, 8]) == ds.windowed(center=5, width=8)
    ).all()
    assert (drawn(RAMP, *window, photometric="MONOCHROME1") == 255 - ds.windowed()).all()


def test_full_range_without_a_window(drawn):
    picture = drawn(RAMP)
    assert (picture.min(), picture.max()) == (0, 255) and picture.dtype == np.uint8
    assert (np.diff(picture.ravel().astype(int)) > 0).all()


def test_frames_count_from_1(drawn):
    frames = np.stack([np.full((4, 4), level, np.uint8) for level in (10, 20, 30, 40, 50)])
    window = [(CENTER, "DS", 127.5), (WIDTH, "DS", 256), (0x00281056, "CS", "LINEAR_EXACT")]

    def level(*options):
        return drawn(frames, *window, frames=5, options=options)[0, 0]

    assert (level(), level("--frame", 1), level("--frame", 5)) == (30, 10, 50)


def test_color(drawn):
    pixels = np.arange(6 * 10 * 3, dtype=np.uint8).reshape(6, 10, 3)
    assert (drawn(pixels, photometric="RGB", samples=3) == pixels).all()


@pytest.mark.parametrize(
    "elements, size",
    [
        ([(0x00280030, "DS", [1, 1])], (10, 6)),
        ([(0x00280030, "DS", [2, 1])], (10, 12)),  # pixels twice as high as wide
        ([(0x00280030, "DS", [0.5, 1])], (20, 6)),
        ([(0x00181164, "DS", [3, 1])], (10, 18)),  # ImagerPixelSpacing
        ([(0x00280034, "IS", [2, 1])], (10, 12)),  # PixelAspectRatio
        ([(0x00280030, "DS", [1, 1]), (0x00280034, "IS", [2, 1])], (10, 6)),
        ([(0x00280030, "DS", [0, 1])], (10, 6)),
        ([(0x00280030, "DS", [1e6, 1])], (10, 6)),  # too high for a picture
        ([(0x52009229, [[(0x00289110, [[(0x00280030, "DS", [2, 1])]])]])], (10, 12)),
    ],
)
def test_proportions(drawn, elements, size):
    assert drawn(RAMP, *elements).shape == size[::-1]


def overlay(plane, origin=(1, 1), group=0x6000, *more):
    packed = np.packbits(plane, bitorder="little").tobytes()
    return [
        (group << 16 | 0x10, "US", plane.shape[-2]),
        (group << 16 | 0x11, "US", plane.shape[-1]),
        (group << 16 | 0x50, "SS", list(origin)),
        (group << 16 | 0x100, "US", 1),
        (group << 16 | 0x102, "US", 0),
        *more,
        (group << 16 | 0x3000, "OW", packed + b"\0" * (len(packed) % 2)),
    ]


def marked(picture):
    """Where the overlay is, from its color."""
    return (
        (picture[..., 0] != picture[..., 2]) if picture.ndim == 3 else np.zeros(picture.shape, bool)
    )


@pytest.mark.parametrize("origin", [(1, 1), (3, 4), (0, -1), (-20, 1), (50, 50)])
def test_overlays(drawn, origin):
    plane = np.random.default_rng(2).integers(0, 2, (6, 10), np.uint8)
    picture = drawn(RAMP, *overlay(plane, origin))
    expected = np.zeros((6, 10), bool)
    for row, column in np.argwhere(plane):
        at = row + origin[0] - 1, column + origin[1] - 1
        if 0 <= at[0] < 6 and 0 <= at[1] < 10:
            expected[at] = True
    assert (marked(picture) == expected).all()


def test_overlays_of_frames(drawn):
    planes = np.zeros((2, 4, 4), np.uint8)
    planes[0, 0, 0] = planes[1, 3, 3] = 1
    elements = overlay(planes, (1, 1), 0x6000, (0x60000015, "IS", 2), (0x60000051, "US", 2))
    frames = np.zeros((4, 4, 4), np.uint8)
    found = [
        np.argwhere(marked(drawn(frames, *elements, frames=4, options=["--frame", n]))).tolist()
        for n in (1, 2, 3, 4)
    ]
    assert found == [[], [[0, 0]], [[3, 3]], []]


def test_a_damaged_overlay_is_left_out(drawn):
    elements = [
        (tag, vr, 0xFFFF if tag == 0x60000010 else value)
        for tag, vr, value in overlay(np.ones((6, 10), np.uint8))
    ]
    assert drawn(RAMP, *elements).ndim == 2


def test_real_pictures(pydicom_files, tmp_path):
    """Overlay and palette of real files agree with pydicom."""
    pydicom = pytest.importorskip("pydicom")
    paths = {path.name: path for path in pydicom_files}
    path, out = paths["examples_overlay.dcm"], tmp_path / "x.png"
    run("image", path, "-o", out)
    picture = np.asarray(Image.open(out))
    assert (marked(picture) == pydicom.dcmread(path).overlay_array(0x6000).astype(bool)).all()
    path = paths["examples_palette.dcm"]
    run("image", path, "-o", out)
    ds = pydicom.dcmread(path)
    expected = pydicom.pixels.apply_color_lut(ds.pixel_array, ds) >> 8
    assert (np.asarray(Image.open(out)) == expected).all()


@pytest.mark.parametrize(
    "ending, kind",
    [("png", "PNG"), ("JPG", "JPEG"), ("tif", "TIFF"), ("bmp", "BMP"), ("webp", "WEBP")],
)
def test_formats(put, tmp_path, ending, kind):
    done = run("image", put(raw=file_of(RAMP)), "-o", tmp_path / f"x.{ending}")
    assert done.exception is None
    assert Image.open(tmp_path / f"x.{ending}").format == kind


@pytest.mark.parametrize(
    "options, message, hint",
    [
        (["--frame", 2], "there is no frame 2", "between 1 and 1"),
        (["--voi", 3], "no window or VOI LUT number 3", None),
        (["--voi", 1, "--window", 1, 2], "cannot be used together", None),
        (["--window", 0, 0], "Window Width must be at least 1", None),
        (["--frame", 0], "0 is not in the range", "--help"),
    ],
)
def test_errors_of_options(put, tmp_path, options, message, hint):
    path = put(raw=file_of(RAMP, (CENTER, "DS", [1, 2]), (WIDTH, "DS", [5, 5])))
    done = program("image", path, "-o", tmp_path / "x.png", *options)
    assert done.returncode == 2 and done.stdout == ""
    error, *hints = done.stderr.splitlines()
    assert error.startswith("error: ") and message in error
    assert (hints == []) if hint is None else (hints[0].startswith("hint: ") and hint in hints[0])
    assert not (tmp_path / "x.png").exists()


@pytest.mark.parametrize(
    "elements, message, hint",
    [
        ([(0x00280010, "US", 600)], "bytes", None),
        ([(0x00280010, "US", 0)], "Rows must be an integer of at least 1, got 0", None),
    ],
)
def test_damaged_files(put, tmp_path, elements, message, hint):
    done = program("image", put(raw=file_of(RAMP, *elements)), "-o", tmp_path / "x.png")
    assert done.returncode == 2 and message in done.stderr
    assert hint is None or f"hint: {hint}" in done.stderr
    assert "Traceback" not in done.stderr and os.listdir(tmp_path) == ["0000.dcm"]


def test_no_pixel_data(put, tmp_path):
    done = program("image", put(builder.element(0x00100010, "PN", "Doe")), "-o", tmp_path / "x.png")
    assert done.returncode == 2 and "no pixel data" in done.stderr
    assert "Traceback" not in done.stderr


def test_windows_apply_to_grayscale_only(put, tmp_path):
    path = put(raw=file_of(np.zeros((2, 2, 3), np.uint8), photometric="RGB", samples=3))
    for option in (["--voi", 1], ["--window", 1, 2]):
        done = run("image", path, "-o", tmp_path / "x.png", *option)
        assert "windows apply to grayscale images only" in str(done.exception)


def test_unsupported_picture_format(put, tmp_path):
    for command in ("image", "sheet"):
        done = program(command, put(raw=file_of(RAMP)), "-o", tmp_path / "x.docx")
        assert done.returncode == 2 and "not a supported picture format" in done.stderr
        assert "hint: use a name that ends in .png" in done.stderr


# ---------------------------------------------------------------------- sheet ---


def member(series, number, instance, array=RAMP, *, modality="CT", text="Thorax", **named):
    return file_of(
        array,
        (0x00080060, "CS", modality),
        (0x0008103E, "LO", text),
        (0x0020000E, "UI", f"1.2.{series}"),
        (0x00200011, "IS", number),
        (0x00200013, "IS", instance),
        **named,
    )


@pytest.fixture
def folder(tmp_path):
    """folder(bytes, ...) writes files whose names are in another order."""

    def folder(*files):
        home = tmp_path / "in"
        home.mkdir()
        for i, raw in enumerate(files):
            (home / f"{i * 7 % len(files):03d}-{i}.dcm").write_bytes(raw)
        return home

    return folder


def test_a_tile_for_each_series_with_its_middle_image(folder, tmp_path, monkeypatch):
    from fastdcm.cli import sheet

    def flat(level):
        return np.full((6, 10), level, np.uint8)

    window = [(CENTER, "DS", 128), (WIDTH, "DS", 257)]

    def raw(series, number, instance, level):
        return file_of(
            flat(level),
            (0x0020000E, "UI", f"1.2.{series}"),
            (0x00200011, "IS", number),
            (0x00200013, "IS", instance),
            *window,
        )

    levels = {}
    thumbnail = sheet.thumbnail

    def kept(path):
        picture, reason = thumbnail(path)
        levels[len(levels)] = np.asarray(picture)[0, 0, 0]
        return picture, reason

    monkeypatch.setattr(sheet, "thumbnail", kept)
    files = [raw(5, 2, i, 100 + i) for i in (3, 1, 2, 5, 4)] + [
        raw(4, 10, i, 50 + i) for i in (2, 1, 3)
    ]
    done = run("sheet", folder(*files), "-o", tmp_path / "s.png")
    assert done.exception is None
    assert levels == {0: 103, 1: 52}  # series 2 before series 10
    assert "2 series, 0 tiles without a picture" in done.stderr
    assert done.stdout == ""
    picture = np.asarray(Image.open(tmp_path / "s.png"))
    assert (picture == 103).all(-1).sum() > 10000 and (picture == 52).all(-1).sum() > 10000


def test_labels():
    from fastdcm.cli.sheet import Series

    series = Series("MR", 7, "T1 axial")
    series.files = [(False, 1, "a/x.dcm"), (False, 2, "a/y.dcm")]
    series.bytes, series.frames = 1_234_567, 40
    assert series.lines() == ["MR  7", "T1 axial", "2 files, 40 frames, 1.2 MB"]
    bare = Series(None, None, None)
    bare.files, bare.bytes, bare.frames = [(False, 0, "a/x.dcm")], 10, 1
    assert bare.lines() == ["x.dcm", "1 file, 10 bytes"]
    bare.files = [(True, 5, "sr"), (False, 9, "late"), (False, 1, "early"), (False, 2, "mid")]
    assert bare.middle() == "mid"


def test_text_is_shortened_and_wrapped():
    from PIL import ImageFont

    from fastdcm.cli.sheet import fit, wrap

    font = ImageFont.load_default(12)
    assert fit("short", font, 192) == "short"
    assert fit("a\nb\x1b[31m", font, 192) == "a b [31m"
    for text in ("W" * 500, "word " * 100, "日本語" * 100):
        assert font.getlength(fit(text, font, 192)) <= 192
        lines = wrap(text, font, 100, 4)
        assert len(lines) <= 4 and all(font.getlength(line) <= 100 for line in lines)


def test_tiles_that_show_a_reason(folder, tmp_path):
    bad = member(1, 1, 1).replace(b"\x28\0\x10\0US\2\0\6\0", b"\x28\0\x10\0US\2\0\6\7")
    report = builder.part10(builder.element(0x00080060, "CS", "SR"))
    where = folder(member(2, 2, 1), bad, report)
    (where / "notes.txt").write_text("not DICOM")
    done = program("sheet", where, "-o", tmp_path / "s.png")
    assert done.returncode == 0, done.stderr
    assert done.stderr.strip() == "3 series, 2 tiles without a picture, 1 unreadable file left out"
    picture = np.asarray(Image.open(tmp_path / "s.png"))
    assert (picture == (0xFF, 0x9A, 0x76)).all(-1).any()  # the color of reasons


def test_sheet_without_files(folder, tmp_path):
    where = folder(b"not DICOM")
    done = program("sheet", where, "-o", tmp_path / "s.png")
    assert done.returncode == 2 and "no DICOM files" in done.stderr and "hint: " in done.stderr
    done = program("sheet", tmp_path / "missing", "-o", tmp_path / "s.png")
    assert done.returncode == 2 and "hint: " in done.stderr
    assert not (tmp_path / "s.png").exists()


def test_too_many_series(folder, tmp_path, monkeypatch):
    from fastdcm.cli import sheet

    monkeypatch.setattr(sheet, "_MAX_SERIES", 1)
    done = run("sheet", folder(member(1, 1, 1), member(2, 2, 1)), "-o", tmp_path / "s.png")
    assert "one sheet holds at most 1 series" in str(done.exception)


def test_sheet_of_real_files(pydicom_files, tmp_path):
    where = next(path for path in pydicom_files if path.name == "CT_small.dcm").parent
    done = program("sheet", where, "-o", tmp_path / "s.png")
    assert done.returncode == 0 and "Traceback" not in done.stderr, done.stderr
    assert Image.open(io.BytesIO((tmp_path / "s.png").read_bytes())).width > 1000
