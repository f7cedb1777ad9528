"""Job of report.py: read one raw frame of an encapsulated file of 10,000 frames.

The files have small (0.2 KB) or large (8 KB) fragments, with a basic offset table or
without one. The floor program is benches/frames_floor.c.
"""

import os
import struct
import subprocess
import time
from pathlib import Path

import data
from timing import compile_c, measure, print_times

import fastdcm
from fastdcm.pixels._frame_table import FrameTable, frame_table, join_fragments

COUNT, WANTED = 10_000, 5_000
SIZES = {"small": 200, "large": 8_000}
START = b"\xff\xd8\xff\xe0"


def frame(i, size):
    """Return frame i: of even length, about `size`, different from the frames around it."""
    return START + struct.pack("<I", i) + bytes([i % 251]) * (size - 8 + 2 * (i % 50))


def files(cache):
    """Return {(size, whether it has an offset table): path}."""
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
    offsets, offset = [], 0
    for one in frames:
        offsets.append(offset)
        offset += 8 + len(one)
    header = b.part10(b.element(0x00280008, "IS", COUNT), transfer_syntax=b.JPEG_BASELINE)
    path.write_bytes(
        header + b.fragments(frames, table=struct.pack(f"<{COUNT}I", *offsets) if table else b"")
    )


def since(begin):
    """Return the microseconds since `begin`."""
    return (time.perf_counter() - begin) * 1e6


def check_frame(one):
    assert one == frame(WANTED, len(one) - 2 * (WANTED % 50))


def read_frame(table):
    begin = time.perf_counter()
    one = table.read(WANTED)
    duration = since(begin)
    check_frame(one)
    return duration


def read_with_one_pread(path, table):
    """Read as a program with a saved offset table would."""
    offset, length = table.span(WANTED)
    handle = os.open(path, os.O_RDONLY)
    begin = time.perf_counter()
    one = join_fragments(os.pread(handle, length, offset))
    duration = since(begin)
    os.close(handle)
    check_frame(one)
    return duration


def pixel_data(ds):
    """Return the position and the length of the pixel data, as frame_table expects them."""
    elem = ds["PixelData"]
    return elem.file_tell, elem.value_length


def build_and_read(path):
    ds = fastdcm.dcmread(path)
    offset, length = pixel_data(ds)
    begin = time.perf_counter()
    one = frame_table(ds.file, offset, length, COUNT).read(WANTED)
    duration = since(begin)
    check_frame(one)
    return duration


def open_build_and_read(path):
    begin = time.perf_counter()
    ds = fastdcm.dcmread(path)
    frame_table(ds.file, *pixel_data(ds), COUNT).read(WANTED)
    return since(begin)


def walk_headers(program, path, offset):
    """Run the floor program, which reads the header of every fragment."""
    done = subprocess.run([program, path, str(offset)], check=True, capture_output=True, text=True)
    nanoseconds, items = done.stdout.split()
    assert int(items) == COUNT + 1
    return float(nanoseconds) / 1000


def measure_size(report, program, size, with_table, without):
    ds = fastdcm.dcmread(with_table)
    table = frame_table(ds.file, *pixel_data(ds), COUNT)
    ds = fastdcm.dcmread(without)
    offset, length = pixel_data(ds)
    saved = FrameTable(ds.file, frame_table(ds.file, offset, length, COUNT).offsets)
    assert table.source == "basic" and len(saved) == COUNT
    times = measure(
        {
            "floor: a pread per item": lambda: walk_headers(program, without, offset),
            "no table: walk, read": lambda: build_and_read(without),
            "no table: dcmread, walk, read": lambda: open_build_and_read(without),
            "table: load, read": lambda: build_and_read(with_table),
            "table loaded: read": lambda: read_frame(table),
            "saved table: read": lambda: read_frame(saved),
            "saved table: one pread": lambda: read_with_one_pread(without, saved),
        },
        report.rounds,
    )
    print_times(f"Frame {WANTED:,} of {COUNT:,}, {size} fragments", times)
    report.check(f"{size}: table loaded, ms", times["table loaded: read"] / 1000, at_most=1)
    report.check(
        f"{size}: no table / walk of its headers",
        times["no table: walk, read"] / times["floor: a pread per item"],
        at_most=1.2,
    )


def frames(report):
    program = compile_c("frames_floor", report.floor.folder)
    paths = files(report.cache)
    for size in SIZES:
        measure_size(report, program, size, paths[size, True], paths[size, False])
