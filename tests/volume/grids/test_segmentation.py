"""Segmentations on the grid of an image."""

import numpy as np
import pytest

import fastdcm
from support.builder import element, sequence
from support.series import AXIAL, codes, encode_image, plane_position, problems

STORAGE = "1.2.840.10008.5.1.4.1.1.66.4"
LABEL_MAP = "1.2.840.10008.5.1.4.1.1.66.7"
SHAPE = (4, 6, 8)  # of the image
SPACING = (0.5, 0.75)  # between rows, between columns
STEP = 2.0


def image(put, orientation=AXIAL, reference="1.2.8", shape=SHAPE):
    across, down = np.array(orientation[:3]), np.array(orientation[3:])
    normal = np.cross(across, down)
    return fastdcm.read_volume(
        [
            put(
                encode_image(
                    np.full(shape[1:], z, "<i2"),
                    rows=shape[1],
                    columns=shape[2],
                    spacing=SPACING,
                    orientation=orientation,
                    position=(normal * z * STEP).tolist(),
                    reference=reference,
                )
            )
            for z in range(shape[0])
        ]
    )


def seg(put, masks, kind="BINARY", spacing=SPACING, origin=(0, 0, 0), step=STEP, storage=STORAGE):
    """Write a segmentation; masks: {number: (slices, rows, columns) array}.

    Empty frames are left out, as most writers do.
    """
    frames, per_frame = [], []
    for number, mask in masks.items():
        for z, frame in enumerate(mask):
            if not frame.any():
                continue
            frames.append(frame)
            group = plane_position(np.add(origin, [0, 0, z * step]).tolist())
            if kind != "LABELMAP":
                group += sequence(0x0062000A, [element(0x0062000B, "US", number)])
            per_frame.append(group)
    stack = np.stack(frames).astype(np.uint8)
    pixels = np.packbits(stack.ravel(), bitorder="little") if kind == "BINARY" else stack
    shared = sequence(0x00209116, [element(0x00200037, "DS", AXIAL)]) + sequence(
        0x00289110,
        [
            element(0x00180050, "DS", step)
            + element(0x00180088, "DS", step)
            + element(0x00280030, "DS", spacing)
        ],
    )
    raw = {
        0x00080016: element(0x00080016, "UI", storage),
        0x00620001: element(0x00620001, "CS", kind),
        0x0062000E: element(0x0062000E, "US", 200),
        0x52009229: sequence(0x52009229, [shared]),
        0x52009230: sequence(0x52009230, per_frame),
    }
    bits = 1 if kind == "BINARY" else 8
    rows, columns = stack.shape[1:]
    return put(
        encode_image(
            pixels,
            raw,
            frames=len(stack),
            rows=rows,
            columns=columns,
            bits=bits,
            signed=0,
            spacing=None,
            orientation=None,
        )
    )


def boxes():
    first, second = np.zeros(SHAPE, np.uint8), np.zeros(SHAPE, np.uint8)
    first[0:2, 1:4, 2:5] = 1
    second[1:4, 4:6, 0:8] = 1
    return first, second


@pytest.mark.parametrize("numbers", [(1, 2), (2, 7), (3, 300)])
def test_label_map_on_the_same_grid(put, numbers):
    first, second = boxes()
    path = seg(put, {numbers[0]: first, numbers[1]: second})
    volume = fastdcm.read_volume(path, like=image(put))
    assert (volume.array == first * numbers[0] + second.astype(int) * numbers[1]).all()
    assert volume.array.dtype == (np.uint8 if numbers[1] < 256 else np.uint16)
    assert volume.dims == ("z", "y", "x") and volume.findings == []
    assert volume.tags["path"] == [path] * SHAPE[0]
    apart = fastdcm.read_volume(path, like=image(put), dims=["segment"])
    assert (apart.array == np.stack([first, second])).all() and apart.array.dtype == np.uint8
    assert apart.dims == ("segment", "z", "y", "x")
    assert apart.coords["segment"].tolist() == list(numbers)


@pytest.mark.parametrize(
    "orientation", [AXIAL, (-1, 0, 0, 0, -1, 0), (0, 1, 0, 1, 0, 0), (0.6, 0.8, 0, -0.8, 0.6, 0)]
)
def test_nearest_cell_of_another_orientation(put, orientation):
    grid = image(put, orientation, shape=(3, 9, 9))
    mask = np.zeros(SHAPE, np.uint8)
    mask[0:3, 0:5, 1:7] = 1
    origin = np.array([-3.0, -1.5, -4.0])
    path = seg(put, {5: mask}, origin=origin)
    volume = fastdcm.read_volume(path, like=grid)
    z, y, x = np.indices(grid.array.shape).reshape(3, -1)
    points = (grid.affine @ [x, y, z, np.ones_like(x)])[:3].T
    cells = (points - origin) / [SPACING[1], SPACING[0], STEP]
    near = np.floor(cells + 0.5 - 1e-6).astype(int)
    inside = ((near >= 0) & (near < [8, 6, 4])).all(axis=1)
    expected = np.zeros(len(near), int)
    i, j, k = near[inside].T
    expected[inside] = mask[k, j, i] * 5
    assert expected.any()
    assert (volume.array.ravel() == expected).all()


@pytest.mark.parametrize("factor", [2, 3])
def test_finer_segmentation(put, factor):
    first, _ = boxes()
    fine = first.repeat(factor, axis=1).repeat(factor, axis=2)
    spacing = (SPACING[0] / factor, SPACING[1] / factor)
    shift = [-SPACING[1] / 2 + spacing[1] / 2, -SPACING[0] / 2 + spacing[0] / 2, 0]
    path = seg(put, {1: fine}, spacing=spacing, origin=shift)
    assert (fastdcm.read_volume(path, like=image(put)).array == first).all()


def test_cells_outside_the_grid_are_counted(put):
    first, _ = boxes()
    path = seg(put, {1: first}, origin=(-3 * SPACING[1], 0, 0))
    volume = fastdcm.read_volume(path, like=image(put))
    assert (volume.array[:, :, :5] == first[:, :, 3:]).all() and not volume.array[:, :, 5:].any()
    (finding,) = volume.findings
    assert (finding.code, finding.problem) == ("outside-grid", False)
    assert finding.details["cells"] == first[:, :, :3].sum()


def test_overlapping_segments(put):
    first, second = boxes()
    second[0, 1, 2] = 1
    path = seg(put, {1: first, 2: second})
    grid = image(put)
    (finding,) = problems(path, like=grid)
    assert finding.code == "overlapping-segments" and finding.details["cells"] == 1
    kept = fastdcm.read_volume(path, like=grid, on_problem="keep")
    assert kept.array[0, 1, 2] == 2
    apart = fastdcm.read_volume(path, like=grid, dims=["segment"])
    assert (apart.array == np.stack([first, second])).all()


def test_fractions(put):
    first, second = boxes()
    first, second = first * 90, second * 150
    first[1, 1, 2], second[1, 1, 2] = 120, 110
    path = seg(put, {1: first, 2: second}, kind="FRACTIONAL")
    volume = fastdcm.read_volume(path, like=image(put))
    expected = np.where(second > 100, 2, 0)
    expected[1, 1, 2] = 1
    assert (volume.array == expected).all() and volume.findings == []
    apart = fastdcm.read_volume(path, like=image(put), dims="segment")
    assert np.allclose(apart.array, np.stack([first, second]) / 200, atol=1e-6)
    assert apart.array.dtype == np.float32


def test_label_map_storage(put):
    first, second = boxes()
    labels = first * 3 + second * 9
    labels[0, 0, 0] = 12
    path = seg(put, {0: labels}, kind="LABELMAP", storage=LABEL_MAP)
    assert (fastdcm.read_volume(path, like=image(put)).array == labels).all()
    apart = fastdcm.read_volume(path, like=image(put), dims=["segment"])
    assert apart.coords["segment"].tolist() == [3, 9, 12]
    assert (apart.array == np.stack([labels == n for n in (3, 9, 12)])).all()


def test_other_frame_of_reference(put):
    path = seg(put, {1: boxes()[0]})
    grid = image(put, reference="1.2.99")
    assert codes(problems(path, like=grid)) == ["mixed-frame-of-reference"]


def test_missing_attributes(put):
    first, _ = boxes()
    path = seg(put, {0: first})
    with pytest.raises(fastdcm.DicomError, match="Referenced Segment Number must be 1 to 65535"):
        fastdcm.read_volume(path, like=image(put))


def test_real_segmentation(corpus):
    (path,) = corpus("highdicom/seg_image_ct_binary.04a19ae.dcm")
    masks = fastdcm.read_volume(path)
    assert (fastdcm.read_volume(path, like=masks).array == masks.array).all()
