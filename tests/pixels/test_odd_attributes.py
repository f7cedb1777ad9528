"""Elements of another VR or multiplicity, where the pixel functions expect one value."""

import numpy as np
import pytest

import fastdcm
from fastdcm.cli._picture import picture
from support import builder
from support.builder import element, fragments
from support.encoded_frames import RLE, rle
from support.odd_elements import odd_elements

CELLS = np.arange(48, dtype=np.uint16).reshape(6, 8)
MODALITY_LUT, VOI_LUT, PRESENTATION_LUT = 0x00283000, 0x00283010, 0x20500010
OVERLAY = [
    (0x60000010, "US", 6),
    (0x60000011, "US", 8),
    (0x60000015, "IS", 1),
    (0x60000050, "SS", [1, 1]),
    (0x60000051, "US", 1),
    (0x60000100, "US", 1),
    (0x60000102, "US", 0),
    (0x60003000, "OW", b"\x55" * 6),
]
EMBEDDED = [(0x60000010, "US", 6), (0x60000011, "US", 8), (0x60000100, "US", 16)]
PALETTE = [
    *((0x00281101 + i, "US", [48, 0, 16]) for i in range(3)),
    *((0x00281201 + i, "OW", np.arange(48, dtype="<u2").tobytes()) for i in range(3)),
]
WINDOW = [(0x00281050, "DS", "20"), (0x00281051, "DS", "30")]
#: name: (the element that is replaced, the others of the image, photometric)
ATTRIBUTES = {
    **{
        name: (tag, [*WINDOW, *OVERLAY], "MONOCHROME2")
        for name, tag in {
            "samples": 0x00280002,
            "photometric": 0x00280004,
            "planar": 0x00280006,
            "frames": 0x00280008,
            "rows": 0x00280010,
            "columns": 0x00280011,
            "spacing": 0x00280030,
            "aspect": 0x00280034,
            "imager spacing": 0x00181164,
            "allocated": 0x00280100,
            "stored": 0x00280101,
            "high": 0x00280102,
            "sign": 0x00280103,
            "padding": 0x00280120,
            "padding limit": 0x00280121,
            "center": 0x00281050,
            "width": 0x00281051,
            "function": 0x00281056,
            "slope": 0x00281053,
            "intercept": 0x00281052,
            "dose": 0x3004000E,
            "modality LUT": MODALITY_LUT,
            "VOI LUT": VOI_LUT,
            "presentation": 0x00089205,
            "presentation LUT": PRESENTATION_LUT,
            "presentation shape": 0x20500020,
            "shared groups": 0x52009229,
            "groups": 0x52009230,
            "offsets": 0x7FE00001,
            "lengths": 0x7FE00002,
            "float pixels": 0x7FE00008,
        }.items()
    },
    **{f"overlay {tag:08X}": (tag, OVERLAY, "MONOCHROME2") for tag, *_ in OVERLAY},
    "overlay position": (0x60000102, EMBEDDED, "MONOCHROME2"),
    **{f"palette {tag:08X}": (tag, PALETTE, "PALETTE COLOR") for tag, *_ in PALETTE},
}


def pictures(path):
    """Use every function on a file; each gives a result or a DicomError."""
    for read in (
        lambda ds: ds.pixel_array,
        lambda ds: ds.frames[0],
        lambda ds: ds.modality_pixels(),
        lambda ds: ds.windowed(),
        lambda ds: ds.windowed(center=3, width=5),
        lambda ds: ds.to_rgb(),
        lambda ds: ds.overlay_array(0x6000),
        lambda ds: fastdcm.pixels.apply_voi_lut(CELLS, ds),
        lambda ds: fastdcm.pixels.apply_modality_lut(CELLS, ds),
        lambda ds: fastdcm.pixels.apply_presentation_lut(CELLS, ds),
        picture,
    ):
        with fastdcm.dcmread(path) as ds:
            try:
                found = read(ds)
            except fastdcm.DicomError:
                continue
            except (AttributeError, ValueError) as error:  # documented
                assert "no overlay" in str(error) or "windows apply to MONO" in str(error)
                continue
            yield np.asarray(found)


IMAGE = [
    (0x00280002, "US", 1),
    (0x00280010, "US", 6),
    (0x00280011, "US", 8),
    (0x00280100, "US", 16),
    (0x00280101, "US", 12),
    (0x00280102, "US", 11),
    (0x00280103, "US", 0),
]


@pytest.mark.parametrize("encapsulated", [False, True])
@pytest.mark.parametrize("name", ATTRIBUTES)
def test_a_picture_or_a_typed_error(put, name, encapsulated):
    tag, others, photometric = ATTRIBUTES[name]
    elements = [*IMAGE, (0x00280004, "CS", photometric), *others]
    parts = {tag: element(tag, *rest) for tag, *rest in elements}
    parts[0x7FE00010] = (
        fragments([rle(CELLS)]) if encapsulated else element(0x7FE00010, "OW", CELLS.tobytes())
    )
    for odd in odd_elements(tag):
        content = {**parts, tag: odd}
        path = put(
            b"".join(content[key] for key in sorted(content)),
            transfer_syntax=RLE if encapsulated else builder.EXPLICIT_LE,
        )
        for found in pictures(path):
            assert found.dtype.kind in "uif"


LUT = {
    0x00283002: element(0x00283002, "US", [48, 0, 16]),
    0x00283006: element(0x00283006, "OW", np.arange(48, dtype="<u2").tobytes()),
}


@pytest.mark.parametrize("item_tag", LUT)
@pytest.mark.parametrize("tag", [MODALITY_LUT, VOI_LUT, PRESENTATION_LUT])
def test_odd_lookup_tables(put, tag, item_tag):
    parts = {tag: element(tag, *rest) for tag, *rest in [*IMAGE, (0x00280004, "CS", "MONOCHROME2")]}
    parts[0x7FE00010] = element(0x7FE00010, "OW", CELLS.tobytes())
    for odd in odd_elements(item_tag):
        item = {**LUT, item_tag: odd}
        content = {**parts, tag: builder.sequence(tag, [b"".join(item[k] for k in sorted(item))])}
        for found in pictures(put(b"".join(content[key] for key in sorted(content)))):
            assert found.dtype.kind in "uif"
