"""What commands print: no escape sequences of files, and any encoding."""

import itertools
import json
import os
import subprocess
import sys

import pytest

from fastdcm.cli._output import printable
from support import builder as b
from support.cli import PROGRAM, environment, start

ESCAPE = "\x1b]0;title\x07\x1b[2J"
NAME = "Yamada^Tarou=\u5c71\u7530^\u592a\u90ce"
ENCODINGS = ("utf-8", "cp1252", "ascii", "cp932", "latin-1")


@pytest.fixture
def folder(tmp_path):
    """Return a folder with one image whose values have escape sequences, and junk."""
    text = {
        0x00080060: ("CS", "CT"),
        0x0008103E: ("LO", ESCAPE + "description"),
        0x00100010: ("PN", ESCAPE + NAME),
        0x00100020: ("LO", ESCAPE + "\x9b31mID\u202e"),
        0x0020000D: ("UI", "1.2"),
        0x0020000E: ("UI", "1.3"),
    }
    body = b.element(0x00080005, "CS", "ISO_IR 192")
    for tag, (vr, value) in text.items():
        raw = value.encode()
        body += b.element(tag, vr, raw + b" " * (len(raw) % 2))
    (tmp_path / "image.dcm").write_bytes(b.part10(body))
    name = "junk.dcm" if sys.platform == "win32" else f"junk{ESCAPE}.dcm"
    (tmp_path / name).write_bytes(b"junk" * 50)
    return tmp_path


def commands(folder):
    image = os.path.join(folder, "image.dcm")
    tags = ["--tags", "PatientID,PatientName,SeriesDescription"]
    yield ["dump", image]
    yield ["dump", "--json", image]
    yield ["summary", folder]
    yield ["summary", "--json", folder]
    yield ["scan", folder, *tags]
    yield ["scan", "--json", folder, *tags]
    yield ["scan", "--errors", folder]
    yield ["scan", "--errors", "--json", folder]
    yield ["dump", next(p for p in folder.iterdir() if p.name.startswith("junk"))]


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudoterminal")
def test_no_escape_sequence_reaches_a_terminal(folder):
    import pty

    for arguments in commands(folder):
        reader, writer = pty.openpty()
        process = subprocess.Popen(
            [*PROGRAM, *map(str, arguments)],
            stdin=subprocess.DEVNULL,
            stdout=writer,
            stderr=writer,
            env=environment(TERM="xterm", COLUMNS="200"),
        )
        os.close(writer)
        shown = b""
        while True:
            try:
                data = os.read(reader, 65536)
            except OSError:  # the other end is closed
                break
            if not data:
                break
            shown += data
        os.close(reader)
        process.wait()
        assert shown, arguments
        for sequence in (b"\x1b]", b"\x1b[2J", b"\x07", b"\xc2\x9b", "\u202e".encode()):
            assert sequence not in shown, arguments
        if "--json" not in arguments and "--errors" not in arguments:
            assert rb"\x1b]0;title\x07\x1b[2J" in shown, arguments


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_every_encoding_can_be_printed_to(folder, encoding):
    for arguments in commands(folder):
        done = start(
            *arguments,
            encoding=None,
            env=environment(PYTHONIOENCODING=encoding, PYTHONUTF8="0"),
        )
        assert b"Traceback" not in done.stderr, arguments
        assert done.returncode == (2 if "junk" in str(arguments[-1]) else 0), arguments
        if "--json" in arguments:
            for line in done.stdout.decode().splitlines() if arguments[0] != "dump" else ():
                json.loads(line)


def test_control_characters_are_escaped():
    for number in itertools.chain(range(32), range(0x7F, 0xA0), (0x202E, 0x2066, 0x2028, 0xDC80)):
        assert printable(f"a{chr(number)}b") not in (f"a{chr(number)}b", "ab")
        assert printable(f"a{chr(number)}b").isascii()
    for text in ("a b", NAME, "\u3000", "\U0001f600", "\xa0", "\\"):
        assert printable(text) == text


def test_the_package_runs_as_a_module():
    done = subprocess.run(
        [sys.executable, "-m", "fastdcm", "--help"],
        capture_output=True,
        text=True,
        env=environment(),
    )
    assert done.returncode == 0 and done.stdout.startswith("Usage: fastdcm ")
    assert done.stdout == start("--help").stdout
