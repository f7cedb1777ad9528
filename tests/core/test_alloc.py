"""Each allocation of the C core fails once: the error is reported, nothing leaks."""

import subprocess

from support.builder import (
    EXPLICIT_BE,
    IMPLICIT_LE,
    Builder,
    element,
    fragments,
    part10,
    raw_sequence,
    sequence,
)
from support.damaged import SEQUENCE, good_files, nested

FLAGS = [
    "-O1",
    "-DDCM_TEST_ALLOC",
    "-fsanitize=address,undefined",
    "-fno-sanitize-recover=undefined",
]


def inputs():
    yield from good_files().values()
    name = element(0x00100010, "PN", "Doe^Jane")
    code = sequence(0x0040A170, [element(0x00080100, "SH", "A-1")])
    yield part10(
        element(0x00080005, "CS", "ISO 2022 IR 87")
        + sequence(SEQUENCE, [element(0x00081155, "UI", "1.2.3") + code] * 3)
        + element(0x00100010, "PN", b"Yamada^Tarou=\x1b$B;3ED\x1b(B")
        + element(0x00420011, "OB", bytes(600))
    )
    yield part10(nested(20, undefined=True))
    yield part10(b"".join(element(0x00100010 + i % 3, "LO", "x") for i in range(300)))  # issues
    yield part10(
        element(0x00090010, "LO", "FASTDCM1") + element(0x00091001, "LO", "private") + name
    )
    b = Builder(IMPLICIT_LE)
    for i in range(40):
        b.element(0x00200000 + 2 * i, "LO", "x" * 400)
    b.element(0x7FE00010, "OW", bytes(70_000))
    yield b.bytes()
    b = Builder(EXPLICIT_BE)
    b.element(0x00280030, "DS", "0.5\\0.25")
    b.element(0x00283002, "SS", [-1, 0, 16])
    yield b.bytes()
    yield part10(raw_sequence(SEQUENCE, name)[:-3])
    yield part10(name + fragments([b"abcd"] * 20))
    frames = [b"\xff\xd8\xff" + bytes(500)] * 40
    yield part10(
        element(0x00280008, "IS", "20")
        + fragments([f[k : k + 252] for f in frames[:20] for k in (0, 252)])
    )
    yield part10(element(0x00280008, "IS", "39") + fragments(frames[:39], table=bytes(156)))


def test_every_failed_allocation_is_an_error(c_program, tmp_path):
    program = c_program("tests/c/alloc.c", flags=FLAGS)
    paths = []
    for i, raw in enumerate(inputs()):
        paths.append(tmp_path / f"{i:02}.dcm")
        paths[-1].write_bytes(raw)
    done = subprocess.run([program, tmp_path, *paths], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    # The least number of allocations: of all levels, of a header read twice, of columns,
    # of a directory, of native frames, of the offsets of frames.
    assert all(
        int(count) > least for count, least in zip(done.stdout.split(), (150, 60, 500, 4, 30, 100))
    )
