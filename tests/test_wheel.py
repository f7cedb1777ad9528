"""The wheel: small modules without debug information, and one library of the core."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Return the folder of an unpacked wheel."""
    pytest.importorskip("setuptools")
    pytest.importorskip("Cython")
    folder = tmp_path_factory.mktemp("wheel")
    env = {name: value for name, value in os.environ.items() if name != "FASTDCM_BUILD"}
    command = [sys.executable, "setup.py", "--quiet", "bdist_wheel"]
    command += ["--bdist-dir", folder / "bdist", "--dist-dir", folder]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    [path] = folder.glob("*.whl")
    with zipfile.ZipFile(path) as file:
        file.extractall(folder / "site")
    return folder / "site"


def test_size(wheel):
    compiled = [p for p in wheel.rglob("*") if p.suffix in (".so", ".dylib", ".pyd")]
    assert len(compiled) > 10
    if sys.platform != "win32":
        assert len([p for p in compiled if p.name.startswith("libfastdcm_core")]) == 1
        assert sum(p.stat().st_size for p in compiled) < 6_000_000
        assert not any(b".debug_info" in p.read_bytes() for p in compiled)


def test_it_works_where_it_is_installed(wheel, tmp_path):
    code = "import fastdcm, sys; assert sys.argv[1] in fastdcm.__file__; fastdcm.scan_chunk([])"
    env = {**os.environ, "PYTHONPATH": str(wheel)}
    subprocess.run([sys.executable, "-c", code, str(wheel)], cwd=tmp_path, env=env, check=True)
    assert (wheel / "fastdcm" / "py.typed").exists()
    assert not list(wheel.rglob("*.c"))
