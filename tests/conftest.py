"""Fixtures of many tests: real files, programs to compare with, small C programs."""

import csv
import functools
import importlib.util
import logging
import os
import shutil
import subprocess
import tempfile
import warnings
from contextlib import contextmanager
from pathlib import Path

import pytest

from support import builder

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def root():
    """Return the root of the repository."""
    return ROOT


@pytest.fixture(scope="session")
def pydicom_files():
    """Return every file in pydicom's wheel that is meant to be DICOM, sorted.

    pydicom is not imported, and files that it would download are not included.
    """
    data = Path(importlib.util.find_spec("pydicom").origin).parent / "data"
    not_dicom = {".dump", ".gz", ".icc", ".json", ".md", ".txt"}
    return sorted(
        path
        for folder in ("test_files", "charset_files", "palettes")
        for path in (data / folder).rglob("*")
        if path.is_file() and path.suffix not in not_dicom and path.name != "README"
    )


@pytest.fixture(scope="session")
def corpus_files():
    """Return the files listed in catalog.csv of $FASTDCM_CORPUS."""
    corpus = os.environ.get("FASTDCM_CORPUS")
    if not corpus:
        pytest.skip("FASTDCM_CORPUS is not set")
    with open(Path(corpus) / "catalog.csv", newline="", encoding="utf-8") as lines:
        return sorted(Path(corpus) / row["split_path"] for row in csv.DictReader(lines))


UNPRIVILEGED_USER = 65534


@pytest.fixture
def common():
    """Return a folder that every user may read and write."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o777)
        yield Path(folder)


@pytest.fixture
def powerless():
    """Return a context manager that drops root's permissions: file modes apply in it."""
    if not hasattr(os, "geteuid"):
        pytest.skip("this system has no file modes")
    for name in "pyarrow.compute", "pyarrow.parquet":  # only root may be able to read them
        importlib.import_module(name)

    @contextmanager
    def context():
        is_root = os.geteuid() == 0
        if is_root:
            os.seteuid(UNPRIVILEGED_USER)
        try:
            yield
        finally:
            if is_root:
                os.seteuid(0)

    return context


@pytest.fixture(scope="session")
def peer():
    """peer("dcmdump") returns the path of a program to compare with.

    If it is not installed the test is skipped, or fails with FASTDCM_REQUIRE_PEERS=1.
    """

    def find(name):
        path = shutil.which(name)
        if path is None:
            if os.environ.get("FASTDCM_REQUIRE_PEERS") == "1":
                pytest.fail(f"{name} is not installed; .ci/peers.sh installs it")
            pytest.skip(f"{name} is not installed")
        return path

    return find


@pytest.fixture(scope="session")
def c_program(tmp_path_factory):
    """c_program("tests/fuzz/part10.c", flags=[...]) compiles one file of the repository with
    the C core and returns the program's path. Each combination is compiled once per session.

    cc: the compiler, $CC or cc by default.
    """

    @functools.cache
    def compile_once(source, flags, cc):
        target = tmp_path_factory.mktemp("c") / Path(source).stem
        core = sorted((ROOT / "src_c").glob("*.c"))
        command = [
            cc,
            "-std=c11",
            "-g",
            "-Wall",
            "-Wextra",
            "-Werror",
            *flags,
            f"-I{ROOT / 'src_c'}",
            ROOT / source,
            *core,
            "-o",
            target,
            "-lm",
        ]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return target

    def build(source, flags=("-O1",), cc=None):
        if os.name == "nt":
            pytest.skip("C programs are built with the command line of gcc and clang")
        return compile_once(str(source), tuple(flags), cc or os.environ.get("CC", "cc"))

    return build


@pytest.fixture
def quiet():
    """Silence pydicom's messages about damaged files."""
    logging.disable(logging.CRITICAL)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
    logging.disable(logging.NOTSET)


@pytest.fixture
def put(tmp_path):
    """put(dataset, **options) writes a file and returns its path.

    dataset: the encoded data set, to which builder.part10(**options) adds preamble and file
    meta information. raw: all bytes of the file, instead.
    """
    count = iter(range(1 << 30))

    def put(dataset=b"", raw=None, **options):
        path = tmp_path / f"{next(count):04d}.dcm"
        path.write_bytes(builder.part10(dataset, **options) if raw is None else raw)
        return str(path)

    return put
