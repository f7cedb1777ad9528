"""Run the command line as a program of its own."""

import os
import subprocess
import sys
from pathlib import Path

import fastdcm

PROGRAM = [sys.executable, "-c", "from fastdcm.cli import main; main()"]
_HOME = str(Path(fastdcm.__path__[0]).resolve().parent)


def environment(**variables):
    """The variables of this process, with this fastdcm first among the imports."""
    path = os.pathsep.join(filter(None, [_HOME, os.environ.get("PYTHONPATH")]))
    return {**os.environ, "PYTHONPATH": path, **variables}


def start(*arguments, **options):
    """The completed process of `fastdcm ARGUMENTS...`, its output captured as text."""
    options = {"capture_output": True, "encoding": "utf-8", "env": environment(), **options}
    return subprocess.run([*PROGRAM, *map(str, arguments)], **options)


def run(*arguments, status=0):
    """(stdout, stderr) of `fastdcm ARGUMENTS...`, which must end with this status."""
    done = start(*arguments)
    assert done.returncode == status, done.stderr
    return done.stdout, done.stderr
