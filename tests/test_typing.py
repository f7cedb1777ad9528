"""Type annotations as a user's program sees them.

`make lint` runs mypy --strict on the package and stubtest on the extension modules.
"""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from support.optional_packages import require_package

require_package("mypy")

ROOT = Path(__file__).resolve().parent.parent
PROGRAM = ROOT / "tests" / "typing" / "sample_program.py"


def run(*arguments):
    """Return the lines that a module run as a program prints."""
    done = subprocess.run(
        [sys.executable, "-m", *map(str, arguments)], cwd=ROOT, capture_output=True, text=True
    )
    return (done.stdout + done.stderr).splitlines()


@pytest.fixture(scope="module")
def mypy(tmp_path_factory):
    """A function that returns the lines that mypy --strict prints for files."""
    cache = tmp_path_factory.mktemp("mypy")

    def check(*paths):
        return run("mypy", "--strict", "--no-error-summary", "--cache-dir", cache, *paths)

    return check


def test_user_program_is_strict(mypy):
    assert mypy(PROGRAM) == []


def test_user_program_runs(tmp_path):
    done = subprocess.run([sys.executable, PROGRAM, tmp_path], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "0.75 1.2.3 OW 16"


QUESTIONS = """
import fastdcm

ds = fastdcm.dcmread("a.dcm")
reveal_type(ds.PatientName)  # R: fastdcm.core._values.PersonName
reveal_type(ds.Rows)  # R: int
reveal_type(ds.PixelSpacing)  # R: list[float]
reveal_type(ds.WindowCenter)  # R: float | list[float]
reveal_type(ds.SOPInstanceUID)  # R: fastdcm.uid.UID
reveal_type(ds.ReferencedImageSequence[0].PixelData)  # R: bytes
reveal_type(ds["PatientName"])  # R: fastdcm.core._elements.DataElement
reveal_type(ds[0x00080000:0x00100000])  # R: fastdcm.dataset.Dataset
reveal_type(ds.file_meta)  # R: fastdcm.dataset.FileMetaDataset
ds.Rows = "512"  # E: assignment
ds.PatientName = 5  # E: assignment
ds.PatientsName  # E: attr-defined
number: int = ds.PatientID  # E: assignment
fastdcm.dcmread(5)  # E: arg-type
fastdcm.dcmread("a.dcm", stop="pixels")  # E: call-arg
"""


def test_types_of_keywords_and_reported_errors(mypy, tmp_path):
    path = tmp_path / "questions.py"
    path.write_text(QUESTIONS)
    answers = {}
    for line in mypy(path):
        match = re.match(r".*questions\.py:(\d+): (?:note|error): (.*)", line)
        if match:
            answers.setdefault(int(match[1]), match[2])  # notes may follow
    for number, line in enumerate(QUESTIONS.splitlines(), 1):
        kind, _, text = line.partition("  # ")[2].partition(": ")
        if kind:
            end = f'"{text}"' if kind == "R" else f"[{text}]"
            assert answers.pop(number).endswith(end), line
    assert not answers
