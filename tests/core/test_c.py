"""The C core without Python, under a sanitizer."""

import os
import subprocess

from support.builder import Builder


def test_what_threads_may_share(c_program, tmp_path):
    b = Builder()
    with b.sequence(0x00081140, undefined=True):
        with b.item(undefined=True):
            b.element(0x00081150, "UI", "1.2.3")
    b.element(0x00100010, "PN", "Doe^Jane")
    b.element(0x7FE00010, "OW", bytes(100_000))
    path = tmp_path / "a.dcm"
    path.write_bytes(b.bytes())
    program = c_program("tests/c/threads.c", flags=["-O1", "-pthread", "-fsanitize=thread"])
    # Another sanitizer, preloaded for Python's sake, is none of its business.
    env = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}
    done = subprocess.run([program, path], capture_output=True, text=True, env=env)
    assert (done.returncode, done.stdout, done.stderr) == (0, "3 rows\n", "")
