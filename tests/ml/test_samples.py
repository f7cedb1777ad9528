"""Which frames are samples, and how their attributes are read from a table."""

import os
import pickle
import subprocess
import sys

import numpy as np
import pytest

import fastdcm.ml
from fastdcm.ml import COLUMNS, Samples
from support.builder import element as el
from support.builder import sequence as sq
from support.loader_files import encode_frames, noise, table
from support.optional_packages import require_package

pyarrow = require_package("pyarrow", "pyarrow.parquet")
torch = require_package("torch", "torch.utils.data")

DicomDataset = fastdcm.ml.DicomDataset


def test_every_kind_of_source(series, tmp_path):
    paths, expected = series
    folder = os.path.dirname(paths[0])
    scan = table(paths, "PatientID")
    parquet, arrow = (
        str(tmp_path.parent / f"{tmp_path.name}.parquet"),
        str(tmp_path.parent / f"{tmp_path.name}.arrow"),
    )
    scan.write(parquet)
    scan.write(arrow)
    for source in (parquet, arrow, scan, pyarrow.table(scan), folder, paths, Samples(paths)):
        data = DicomDataset(source)
        assert len(data) == 20
        assert np.array_equal(data.read(range(20))["image"][:, 0].numpy(), expected)


def test_table_without_the_columns(series):
    with pytest.raises(ValueError, match=r"no column .*BitsStored.*fastdcm.ml.COLUMNS"):
        DicomDataset(fastdcm.scan(series[0], pixels=True))
    with pytest.raises(ValueError, match="no column pixel_offset, pixel_length"):
        DicomDataset(fastdcm.scan(series[0], COLUMNS))


def test_labels(series):
    data = DicomDataset(series[0], labels=["PatientID", "InstanceNumber", "SliceThickness"])
    batch = data.read([3, -1])
    assert batch["PatientID"] == ["P0", "P1"] and batch["index"].tolist() == [3, 19]
    assert batch["InstanceNumber"].dtype == torch.int64
    assert batch["InstanceNumber"][0] == noise(seed=3).flat[0]
    assert batch["SliceThickness"].isnan().all()
    one = data[3]
    assert one["PatientID"] == "P0" and one["image"].shape == (1, 16, 12) and one["index"] == 3


def test_rescale_and_window_in_functional_groups(put):
    def group(slope, center):
        return sq(0x00289145, [el(0x00281052, "DS", "5") + el(0x00281053, "DS", str(slope))]) + sq(
            0x00289132, [el(0x00281050, "DS", f"{center}\\7") + el(0x00281051, "DS", "100\\7")]
        )

    values = noise(frames=3)
    own = put(
        encode_frames(values, groups=sq(0x52009230, [group(i + 1, 10 * i) for i in range(3)]))
    )
    shared = put(
        encode_frames(
            values, groups=sq(0x52009229, [group(4, 30)]) + sq(0x52009230, [b"", b"", b""])
        )
    )
    data = DicomDataset([own, shared])
    slopes = np.array([1, 2, 3, 4, 4, 4], "f4").reshape(6, 1, 1)
    assert np.array_equal(
        data.read(range(6))["image"][:, 0].numpy(), np.concatenate([values, values]) * slopes + 5
    )
    records = data.samples.records(np.arange(6))
    assert records["center"].tolist() == [0, 10, 20, 30, 30, 30] and set(records["width"]) == {100}


def test_files_that_are_not_samples_are_counted(put, series):
    paths = [
        *series[0][:2],
        put(raw=b"no DICOM at all" * 20),
        put(el(0x00100020, "LO", "report")),
        put(encode_frames(noise(frames=3), short=20)),
        put(encode_frames(noise(), extra=[(0x00280010, "US", 0)])),
    ]
    samples = Samples(paths)
    assert (
        samples.left_out == {"not-dicom": 1, "no-pixels": 1, "short": 1, "attributes": 1}
        and len(samples) == 4
    )


def test_pickles_are_small(series):
    paths, _ = series
    sizes = {}
    for times in (1, 50):
        data = DicomDataset(table(paths * times, "PatientID"), labels=["PatientID"])
        raw = pickle.dumps(data)
        sizes[times] = len(raw)
        again = pickle.loads(raw)
        assert len(again) == 20 * times and torch.equal(again[19]["image"], data[19]["image"])
    each = (sizes[50] - sizes[1]) / (49 * 20)
    assert each < len(paths[0]) + 60, each  # a path and some numbers


def test_without_torch():
    """Samples needs no torch; the datasets name what to install."""
    program = (
        "import sys; sys.modules['torch'] = None; import fastdcm.ml; fastdcm.ml.Samples\n"
        "try: fastdcm.ml.DicomDataset\n"
        "except ImportError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert "fastdcm-dicom[ml]" in done.stdout, done.stderr
    program = "import fastdcm.ml, sys; print('torch' in sys.modules)"
    assert (
        subprocess.run([sys.executable, "-c", program], capture_output=True, text=True).stdout
        == "False\n"
    )
