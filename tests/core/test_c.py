"""The C core without Python: its headers, and threads under a sanitizer."""

import os
import re
import shlex
import subprocess
from pathlib import Path

import pytest

from support.builder import Builder

SRC_C = Path(__file__).resolve().parents[2] / "src_c"
HEADERS = sorted(path.name for path in SRC_C.glob("*.h"))
PUBLIC = [name for name in HEADERS if name.startswith("dcm_") and name != "dcm_endian.h"]


def includes(name):
    """The headers of the core that a file includes."""
    return re.findall(r'^#include "(\w+\.h)"', (SRC_C / name).read_text(encoding="utf-8"), re.M)


@pytest.mark.parametrize("header", [name for name in HEADERS if name != "dict_table.h"])
def test_a_header_compiles_alone(header):
    if os.name == "nt":
        pytest.skip("uses the command line of gcc and clang")
    cc = shlex.split(os.environ.get("CC", "cc"))
    done = subprocess.run(
        [*cc, "-std=c11", "-Wall", "-Wextra", "-Werror", "-fsyntax-only", f"-I{SRC_C}", "-xc", "-"],
        input=f'#include "{header}"\n#include "{header}"\n',
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_dcm_h_includes_every_public_header():
    assert includes("dcm.h") == PUBLIC


@pytest.mark.parametrize("source", sorted(path.name for path in SRC_C.glob("*.c")))
def test_c_files_include_only_the_headers_they_need(source):
    assert "dcm.h" not in includes(source)


def test_data_that_threads_may_share(c_program, tmp_path):
    b = Builder()
    with b.sequence(0x00081140, undefined=True), b.item(undefined=True):
        b.element(0x00081150, "UI", "1.2.3")
    b.element(0x00100010, "PN", "Doe^Jane")
    b.element(0x7FE00010, "OW", bytes(100_000))
    path = tmp_path / "a.dcm"
    path.write_bytes(b.bytes())
    program = c_program("tests/c/threads.c", flags=["-O1", "-pthread", "-fsanitize=thread"])
    # A sanitizer that is preloaded for Python must not be loaded here.
    env = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}
    done = subprocess.run([program, path], capture_output=True, text=True, env=env)
    assert (done.returncode, done.stdout, done.stderr) == (0, "3 rows\n", "")
