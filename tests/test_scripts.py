"""Small programs written for pydicom run with only the import changed.

They print the same output.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import fastdcm

SCRIPTS = Path(__file__).parent / "scripts"
# By script: what it is run on, from pydicom's test files.
CASES = {
    "read_and_print": [["CT_small.dcm"], ["MR_small_bigendian.dcm"]],
    "change_and_save": [["CT_small.dcm"], ["MR_small_implicit.dcm"], ["MR_small_bigendian.dcm"]],
    "anonymise": [["CT_small.dcm"], ["rtplan.dcm"], ["reportsi.dcm"]],
    "rt_plan_beams": [["rtplan.dcm"]],
    "list_sequences": [["rtplan.dcm"], ["reportsi.dcm"]],
    "private_elements": [["CT_small.dcm"], ["MR_small.dcm"]],
    "list_folder": [["dicomdirtests"]],
    "compare_files": [["CT_small.dcm", "MR_small.dcm"], ["MR_small.dcm", "MR_small_implicit.dcm"]],
    "make_from_scratch": [[]],
    "pixel_statistics": [
        [
            "CT_small.dcm",
            "MR_small.dcm",
            "MR_small_bigendian.dcm",
            "rtdose.dcm",
            "SC_rgb_small_odd.dcm",
            "examples_overlay.dcm",
        ]
    ],
}


def translated(source):
    """Return the program with the other library imported."""
    return re.sub(
        r"^(from|import) pydicom\b(?! *as)",
        lambda m: "from fastdcm" if m[1] == "from" else "import fastdcm as pydicom",
        source,
        flags=re.M,
    )


def run(folder, name, source, arguments):
    script = folder / f"{name}.py"
    script.write_text(source, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-X", "utf8", script, *arguments],
        capture_output=True,
        text=True,
        encoding="utf-8",
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.path.dirname(os.path.dirname(fastdcm.__file__))},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_script_is_run():
    assert {path.stem for path in SCRIPTS.glob("*.py")} == set(CASES) and len(CASES) == 10


@pytest.mark.parametrize(
    "name, files",
    [(name, files) for name, cases in CASES.items() for files in cases],
    ids=lambda value: value if isinstance(value, str) else "-".join(value) or "nothing",
)
def test_same_output(name, files, pydicom_files, tmp_path):
    source = (SCRIPTS / f"{name}.py").read_text(encoding="utf-8")
    changed = translated(source)
    assert "fastdcm" in changed and not re.search(r"^(from|import) pydicom", changed, flags=re.M)
    folder = next(path.parent for path in pydicom_files if path.name == "CT_small.dcm")
    arguments = [folder / file for file in files]
    expected = run(tmp_path, "theirs", source, arguments)
    assert len(expected) > 100
    assert run(tmp_path, "ours", changed, arguments).splitlines() == expected.splitlines()
