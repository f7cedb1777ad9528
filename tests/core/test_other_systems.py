"""The C core on Windows (MinGW-w64, run under Wine) and macOS (compiled by zig)."""

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from support.builder import fragments, part10
from support.damaged import good_files

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
CORE = sorted((ROOT / "src_c").glob("*.c"))
SEEDS = ROOT / "tests" / "fuzz" / "seeds"
MINGW = "x86_64-w64-mingw32-gcc"
# {fuzz target: the folder of its seeds}; that of columns.c needs POSIX.
FUZZ = {
    "codestream": "codestreams",
    "csa": "csa",
    "frames": "frames",
    "part10": "files",
    "rle": "rle",
    "value": "values",
}


@pytest.fixture(scope="session")
def run_on_windows(tmp_path_factory):
    """Return a function: the completed process of a C program with these arguments."""
    for program in (MINGW, "wine"):
        if not shutil.which(program):
            pytest.skip(f"peer missing: {program}")
    folder = tmp_path_factory.mktemp("windows")
    env = {**os.environ, "WINEDEBUG": "-all", "WINEPREFIX": str(folder / "prefix")}
    subprocess.run(["wine", "cmd", "/c", "exit"], env=env, capture_output=True, check=True)

    def run(source, *arguments, flags=()):
        target = folder / f"{Path(source).stem}.exe"
        command = [MINGW, "-std=c11", "-O1", "-Wall", "-Wextra", "-Werror", "-static", *flags]
        command += [f"-I{ROOT / 'src_c'}", ROOT / source, *CORE, "-o", target]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return subprocess.run(
            ["wine", target, *arguments], env=env, capture_output=True, text=True, timeout=300
        )

    return run


@pytest.fixture
def files(tmp_path):
    """Return the paths of files of every structure."""
    paths = []
    for i, raw in enumerate([*good_files().values(), part10(fragments([b"abcd"] * 20))]):
        paths.append(tmp_path / f"{i:02}.dcm")
        paths[-1].write_bytes(raw)
    return paths


def test_error_codes_on_windows(run_on_windows):
    done = run_on_windows("tests/c/codes.c", "none")
    assert done.returncode == 0, done.stderr
    assert [line.split()[0] for line in done.stdout.splitlines()] == [
        "read",
        "too-large",
        "walk",
        "memory",
    ]


def test_failed_allocations_on_windows(run_on_windows, files):
    done = run_on_windows("tests/c/alloc.c", files[0].parent, *files, flags=["-DDCM_TEST_ALLOC"])
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.split()) == 6 and "0" not in done.stdout.split()


def test_threads_on_windows(run_on_windows, files):
    done = run_on_windows("tests/c/threads.c", files[0], flags=["-pthread"])
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith(" rows\n")


@pytest.mark.parametrize("target", FUZZ)
def test_fuzz_seeds_on_windows(run_on_windows, target):
    paths = sorted((SEEDS / FUZZ[target]).iterdir())
    done = run_on_windows(f"tests/fuzz/fuzz_{target}.c", *paths)
    assert (done.returncode, done.stdout) == (0, f"{len(paths)} inputs\n"), done.stderr


@pytest.mark.parametrize("target", ["x86_64-macos", "aarch64-macos"])
def test_the_core_compiles_for_macos(target, tmp_path):
    if importlib.util.find_spec("ziglang") is None:
        pytest.skip("peer missing: ziglang")
    for source in CORE:
        command = [sys.executable, "-m", "ziglang", "cc", "-target", target, "-std=c11", "-O1"]
        command += ["-Wall", "-Wextra", "-Werror", f"-I{ROOT / 'src_c'}", "-c", source]
        done = subprocess.run(
            [*command, "-o", tmp_path / "object.o"], capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
