"""Replay the seeds of the fuzz targets, among them the inputs that once failed."""

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

FUZZ = Path(__file__).parent
sys.path.insert(0, str(FUZZ))

import fuzz_python  # noqa: E402
from seeds import SEEDS, seeds  # noqa: E402

FLAGS = ["-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=undefined"]
TARGETS = {
    "part10": "files",
    "columns": "files",
    "value": "values",
    "rle": "rle",
    "csa": "csa",
    "codestream": "codestreams",
    "frames": "frames",
}


def test_every_target_is_replayed():
    assert {path.stem for path in FUZZ.glob("fuzz_*.c")} == {f"fuzz_{name}" for name in TARGETS}


def test_seeds_are_up_to_date():
    """Deflated seeds are compared by name only: another zlib may write other bytes."""
    found = {
        path.relative_to(SEEDS).as_posix(): path for path in SEEDS.rglob("*") if path.is_file()
    }
    made = seeds()
    assert found.keys() == made.keys()
    assert sum(path.stat().st_size for path in found.values()) < 300_000
    for name, path in found.items():
        assert "deflated" in name or path.read_bytes() == made[name], name


@pytest.mark.parametrize("target", TARGETS)
def test_replay(c_program, target):
    paths = sorted((SEEDS / TARGETS[target]).iterdir())
    program = c_program(f"tests/fuzz/fuzz_{target}.c", flags=FLAGS)
    # The program has its own sanitizer, and must not load one preloaded for Python.
    env = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}
    done = subprocess.run([program, *paths], capture_output=True, text=True, env=env)
    assert (done.returncode, done.stdout) == (0, f"{len(paths)} inputs\n"), done.stderr


def test_damaged_files_raise_only_dicom_errors(tmp_path):
    streams = [path.read_bytes() for path in sorted((SEEDS / "files").iterdir())]
    assert (
        fuzz_python.run(
            [s for s in streams if s], random.Random(7), lambda rounds: rounds == 1500, tmp_path
        )
        == 1500
    )
