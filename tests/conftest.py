"""What many tests need: real files, programs to compare with, small C programs."""

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
    """The repository."""
    return ROOT


@pytest.fixture(scope="session")
def pydicom_files():
    """Every file of pydicom's wheel that is or pretends to be DICOM, sorted.
    Found without importing pydicom; what it would download is not among them."""
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
    """The files that catalog.csv of $FASTDCM_CORPUS lists."""
    corpus = os.environ.get("FASTDCM_CORPUS")
    if not corpus:
        pytest.skip("FASTDCM_CORPUS names no folder")
    with open(Path(corpus) / "catalog.csv", newline="", encoding="utf-8") as lines:
        return sorted(Path(corpus) / row["split_path"] for row in csv.DictReader(lines))


NOBODY = 65534


@pytest.fixture
def common():
    """A folder that every user may read and write."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o777)
        yield Path(folder)


@pytest.fixture
def powerless():
    """A context of a user who may do only what the modes of files allow."""
    if not hasattr(os, "geteuid"):
        pytest.skip("the system has no modes of files")
    for name in "pyarrow.compute", "pyarrow.parquet":  # modules may be root's alone
        importlib.import_module(name)

    @contextmanager
    def context():
        is_root = os.geteuid() == 0
        if is_root:
            os.seteuid(NOBODY)
        try:
            yield
        finally:
            if is_root:
                os.seteuid(0)

    return context


@pytest.fixture(scope="session")
def peer():
    """peer("dcmdump") is the program's path. Where it is missing the test is
    skipped by its name, or fails when FASTDCM_REQUIRE_PEERS=1."""

    def find(name):
        path = shutil.which(name)
        if path is None:
            if os.environ.get("FASTDCM_REQUIRE_PEERS") == "1":
                pytest.fail(f"peer program missing: {name} (.ci/peers.sh installs it)")
            pytest.skip(f"peer program missing: {name}")
        return path

    return find


@pytest.fixture(scope="session")
def c_program(tmp_path_factory):
    """c_program("tests/fuzz/part10.c", flags=[...]) compiles one file of the
    repository with the whole C core and returns the program's path; each
    combination once a session. cc: the compiler's name."""

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

    def build(source, flags=("-O1",), cc=os.environ.get("CC", "cc")):
        if os.name == "nt":
            pytest.skip("the C programs are built with the command line of gcc and clang")
        return compile_once(str(source), tuple(flags), cc)

    return build


@pytest.fixture
def quiet():
    """What pydicom says of damaged files is not asked for."""
    logging.disable(logging.CRITICAL)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
    logging.disable(logging.NOTSET)


@pytest.fixture
def put(tmp_path):
    """put(dataset bytes, **builder.part10's) writes a file and returns its path."""
    count = iter(range(1 << 30))

    def put(dataset=b"", raw=None, **options):
        path = tmp_path / f"{next(count):04d}.dcm"
        path.write_bytes(builder.part10(dataset, **options) if raw is None else raw)
        return str(path)

    return put
