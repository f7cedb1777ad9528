"""Readers for MONAI, TorchIO and webdataset."""

import numpy as np
import pydicom
import pytest

import fastdcm
from support.optional_packages import require_package

RAS = [[-0.5, 0, 0, -10], [0, -2, 0, -20], [0, 0, 3, 0], [0, 0, 0, 1]]


def test_monai(folder):
    require_package("monai", "monai.data", "monai.transforms")
    from monai.transforms import LoadImage

    from fastdcm.ml.monai import FastdcmReader

    inner, values = folder
    image = LoadImage(reader=FastdcmReader(), ensure_channel_first=True)(str(inner))
    assert np.array_equal(image[0].numpy(), values.transpose(2, 1, 0))
    assert np.allclose(image.affine, RAS) and image.meta["space"] == "RAS"
    single = str(inner / "9.dcm")
    ours = LoadImage(reader=FastdcmReader())(single)
    theirs = LoadImage(reader="PydicomReader")(single)
    assert np.array_equal(ours.numpy(), theirs.numpy()) and np.allclose(ours.affine, theirs.affine)
    both = LoadImage(reader=FastdcmReader(), ensure_channel_first=True)([single, single])
    assert both.shape == (2, 4, 6)
    _, meta = FastdcmReader(affine_lps_to_ras=False).get_data(FastdcmReader().read(str(inner)))
    assert np.allclose(meta["affine"], np.diag([-1, -1, 1, 1]) @ RAS)
    assert FastdcmReader().verify_suffix(single) and not FastdcmReader().verify_suffix(
        "image.nii.gz"
    )
    slices = [str(path) for path in inner.iterdir()]
    image = LoadImage(reader=FastdcmReader(), ensure_channel_first=True)(slices)
    assert np.array_equal(image[0].numpy(), values.transpose(2, 1, 0))
    (inner / "7.dcm").unlink()
    assert FastdcmReader(on_problem="keep").read(str(inner)).array.shape == (4, 6, 4)


def test_monai_does_not_fall_back_to_another_reader(folder, tmp_path):
    """LoadImage continues with its other readers where `read` raises."""
    require_package("monai", "monai.data", "monai.transforms")
    from monai.transforms import LoadImage

    from fastdcm.ml.monai import FastdcmReader

    inner, _ = folder
    reader = FastdcmReader()
    (inner / "7.dcm").unlink()
    (tmp_path / "text.dcm").write_text("this is not a DICOM file, whatever its name says")
    for source in (str(inner), [str(inner), str(inner)]):
        with pytest.raises(fastdcm.DicomError, match="gap"):
            LoadImage(reader=reader)(source)
        with pytest.raises(fastdcm.DicomError, match="gap"):
            reader.get_data(reader.read(source))
    for name in ("text.dcm", "missing.dcm"):
        with pytest.raises((fastdcm.DicomError, FileNotFoundError)):
            LoadImage(reader=reader)(str(tmp_path / name))


@pytest.mark.parametrize("color", [False, True])
def test_a_cine_in_monai_and_torchio(pydicom_files, color):
    """Frames without positions are an axis of time."""
    require_package("monai", "monai.data", "monai.transforms")
    require_package("torchio")
    from fastdcm.ml.monai import FastdcmReader
    from fastdcm.ml.torchio import read

    names = {path.name: path for path in pydicom_files}
    path = names["examples_ybr_color.dcm"]
    reader = FastdcmReader(color="rgb" if color else "raw")
    array, meta = reader.get_data(reader.read(path))
    assert array.shape == (320, 240, 30, 3) and len(meta["spacing"]) == 3
    ds = fastdcm.dcmread(path)
    frame = ds.to_rgb(4) if color else ds.frames[4]
    assert np.array_equal(array[:, :, 4], frame.transpose(1, 0, 2))
    tensor, _ = read(path, dims="auto")
    assert tensor.shape == (90, 320, 240, 1)
    assert np.array_equal(tensor[12:15, :, :, 0].numpy(), ds.to_rgb(4).transpose(2, 1, 0))


def test_torchio(folder):
    torchio = require_package("torchio")
    from fastdcm.ml.torchio import read

    inner, values = folder
    image = torchio.ScalarImage(inner, reader=read)
    assert image.shape == (1, 4, 6, 5) and np.allclose(image.affine, RAS)
    assert np.array_equal(image.data[0].numpy(), values.transpose(2, 1, 0))
    theirs = torchio.ScalarImage(inner)
    assert np.array_equal(image.data.numpy(), theirs.data.numpy()) and np.allclose(
        image.affine, theirs.affine
    )


def test_webdataset(folder, tmp_path, pydicom_files):
    webdataset = require_package("webdataset")
    from fastdcm.ml.webdataset import Decoder

    inner, values = folder
    shard = tmp_path / "shard-000.tar"
    rle = next(path for path in pydicom_files if path.name == "MR_small_RLE.dcm")
    with webdataset.TarWriter(str(shard)) as sink:
        for i in range(5):
            sink.write(
                {
                    "__key__": f"{i}",
                    "dcm": (inner / f"{9 - i}.dcm").read_bytes(),
                    "txt": f"slice {i}",
                }
            )
        sink.write({"__key__": "rle", "dcm": rle.read_bytes()})
    found = list(webdataset.WebDataset(str(shard), shardshuffle=False).decode(Decoder()))
    assert np.array_equal(np.stack([sample["dcm"] for sample in found[:5]]), values)
    assert found[0]["dcm"].dtype == np.float32 and found[4]["txt"] == "slice 4"
    assert np.array_equal(found[5]["dcm"], pydicom.dcmread(rle).pixel_array)
    stored = Decoder(rescale=False).decode((inner / "9.dcm").read_bytes())
    assert stored.dtype == np.int16 and np.array_equal(stored * 2.0 - 1000, values[0])
    assert Decoder()("txt", b"text") is None
    with pytest.raises(fastdcm.InvalidDicomError):
        Decoder()("dcm", b"no DICOM at all" * 20)
