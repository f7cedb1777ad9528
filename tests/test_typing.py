"""Type annotations: mypy --strict on a user's program and on the package, stubtest on the stubs."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("mypy", reason="mypy is not installed")

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "fastdcm"
PROGRAM = ROOT / "tests" / "typing" / "sample_program.py"
EXTENSIONS = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts) for path in PACKAGE.rglob("*.pyx")
)
PARTS = sorted(
    path.stem
    for path in PACKAGE.iterdir()
    if path.suffix == ".py" or (path / "__init__.py").is_file()
)

# Names that Cython adds to every module or class.
CYTHON_NAMES = r".*\.__(pyx_capi|reduce_cython|setstate_cython|test)__"

# Not yet annotated.
PENDING = {
    "cli",
    "dataset",
    "distributed",
    "ml",
    "pixels",
    "reader",
    "scanning",
    "sources",
    "volume",
}
PENDING_STUBS = {"fastdcm.scanning", "fastdcm.sources"}


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


@pytest.fixture(scope="module")
def errors(mypy):
    """{part of the package, or "program": lines with errors}."""
    found = {}
    for line in mypy(PACKAGE, PROGRAM):
        match = re.match(r"(?:fastdcm/(\w+)|tests/typing/(\w+)).*: error: ", line)
        assert match or ": note: " in line, line
        if match:
            found.setdefault(match[1] or "program", []).append(line)
    return found


@pytest.mark.parametrize("part", PARTS)
def test_package_passes_mypy(part, errors, request):
    if part in PENDING:
        request.applymarker(pytest.mark.xfail(reason="not yet annotated"))
    assert not errors.get(part)


def test_user_program_passes_mypy(errors):
    assert not errors.get("program")


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
reveal_type(ds.file_meta)  # R: fastdcm.dataset.FileMetaDataset | None
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


@pytest.fixture(scope="module")
def differences(tmp_path_factory):
    """The lines of stubtest for all extension modules."""
    allowed = tmp_path_factory.mktemp("stubtest") / "allowed.txt"
    allowed.write_text(CYTHON_NAMES)
    return run("mypy.stubtest", *EXTENSIONS, "--concise", "--allowlist", allowed)


@pytest.mark.parametrize("module", EXTENSIONS)
def test_stub_agrees_with_module(module, differences, request):
    if module.startswith(tuple(PENDING_STUBS)):
        request.applymarker(pytest.mark.xfail(reason="stub not yet complete"))
    assert not [line for line in differences if not line.startswith("fastdcm.")]
    assert not [line for line in differences if line.startswith(module + ".")]
