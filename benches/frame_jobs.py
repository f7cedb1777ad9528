"""Raw frames of encapsulated files of 10,000 frames, with an offset table and
without, of small fragments (0.2 KB) and large ones (8 KB): a job of report.py.
"""

import os
import shlex
import struct
import subprocess
import tempfile
import time
from pathlib import Path

import data
from contest import compete, must, show

import fastdcm
from fastdcm.pixels._frame_table import FrameTable, frame_table, join_fragments

COUNT, WANTED = 10_000, 5_000
SIZES = {"small": 200, "large": 8_000}
START = b"\xff\xd8\xff\xe0"


def frame(i, size):
    """Frame i: of even length, about `size`, unlike its neighbours."""
    return START + struct.pack("<I", i) + bytes([i % 251]) * (size - 8 + 2 * (i % 50))


def files(cache):
    """{(size, whether with a table): path}"""
    keys = [(size, table) for size in SIZES for table in (True, False)]

    def fill(folder):
        for size, table in keys:
            write(folder / name(size, table), SIZES[size], table)

    def name(size, table):
        return f"{size}-{'table' if table else 'none'}.dcm"

    folder = Path(data.make(cache, "fragments", fill, lambda paths: None, __file__)[0]).parent
    return {key: str(folder / name(*key)) for key in keys}


def write(path, size, table):
    b = data.builder
    frames = [frame(i, size) for i in range(COUNT)]
    offsets, at = [], 0
    for one in frames:
        offsets.append(at)
        at += 8 + len(one)
    header = b.part10(b.element(0x00280008, "IS", COUNT), transfer_syntax=b.JPEG_BASELINE)
    path.write_bytes(
        header + b.fragments(frames, table=struct.pack(f"<{COUNT}I", *offsets) if table else b"")
    )


def since(begin):
    return (time.perf_counter() - begin) * 1e6


def read_frame(table):
    begin = time.perf_counter()
    one = table.read(WANTED)
    took = since(begin)
    assert one == frame(WANTED, len(one) - 2 * (WANTED % 50))
    return took


def one_pread(path, table):
    """What a reader with a saved table does."""
    offset, length = table.span(WANTED)
    handle = os.open(path, os.O_RDONLY)
    begin = time.perf_counter()
    one = join_fragments(os.pread(handle, length, offset))
    took = since(begin)
    os.close(handle)
    assert one == frame(WANTED, len(one) - 2 * (WANTED % 50))
    return took


def build_and_read(path):
    ds = fastdcm.dcmread(path)
    elem = ds["PixelData"]
    offset, length = elem.file_tell, elem.value_length
    begin = time.perf_counter()
    one = frame_table(ds.file, offset, length, COUNT).read(WANTED)
    took = since(begin)
    assert one == frame(WANTED, len(one) - 2 * (WANTED % 50))
    return took


def from_open(path):
    begin = time.perf_counter()
    ds = fastdcm.dcmread(path)
    elem = ds["PixelData"]
    frame_table(ds.file, elem.file_tell, elem.value_length, COUNT).read(WANTED)
    return since(begin)


def frames(report):
    """A job of report.py."""
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder) / "frames_floor"
        cc = shlex.split(os.environ.get("CC", "cc"))
        subprocess.run(
            [*cc, "-std=c11", "-O2", Path(__file__).parent / "frames_floor.c", "-o", program],
            check=True,
        )

        def walk(path, offset):
            done = subprocess.run(
                [program, path, str(offset)], check=True, capture_output=True, text=True
            )
            took, items = done.stdout.split()
            assert int(items) == COUNT + 1
            return float(took) / 1000

        paths = files(report.cache)
        for size in SIZES:
            with_table, without = paths[size, True], paths[size, False]
            opened = {path: fastdcm.dcmread(path) for path in (with_table, without)}
            places = {path: ds["PixelData"].file_tell for path, ds in opened.items()}
            lengths = {path: ds["PixelData"].value_length for path, ds in opened.items()}
            table = frame_table(
                opened[with_table].file, places[with_table], lengths[with_table], COUNT
            )
            saved = FrameTable(
                opened[without].file,
                frame_table(opened[without].file, places[without], lengths[without], COUNT).offsets,
            )
            assert table.source == "basic" and len(saved) == COUNT
            times = compete(
                {
                    "floor: a pread an item": lambda: walk(without, places[without]),
                    "no table: walk, read": lambda: build_and_read(without),
                    "no table: dcmread, walk, read": lambda: from_open(without),
                    "table: load, read": lambda: build_and_read(with_table),
                    "table loaded: read": lambda: read_frame(table),
                    "saved table: read": lambda: read_frame(saved),
                    "saved table: one pread": lambda: one_pread(without, saved),
                },
                report.rounds,
            )
            show(f"Frame {WANTED:,} of {COUNT:,}, {size} fragments", times)
            must("table loaded, ms", times["table loaded: read"] / 1000, 1)
            must(
                "no table / walk of its headers",
                times["no table: walk, read"] / times["floor: a pread an item"],
                1.2,
            )
