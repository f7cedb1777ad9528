"""Fuzz the Python layers: damage files at random and read them in every way.

The only exception allowed is DicomError. Covered are inflating, character sets, values,
str() and pixels through all codecs.

    python tests/fuzz/fuzz_python.py [--seconds N] [--rounds N] [--seed N]
                                     [--crashes FOLDER] [FILE...]

FILEs are used as seeds, too, besides tests/fuzz/seeds/files. A file that causes another
exception or a hang is written to FOLDER.
"""

import argparse
import contextlib
import faulthandler
import hashlib
import io
import random
import sys
import time
import zlib
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from fastdcm import DicomError, dcmread  # noqa: E402
from support.builder import DEFLATED_LE, file_meta, preamble  # noqa: E402
from support.damaged import read_all  # noqa: E402

TIMEOUT = 30  # seconds for one file
DEFLATED = preamble() + file_meta(DEFLATED_LE)
NUMBERS = [
    bytes(4),
    b"\xff" * 4,
    b"\xfe\xff\xff\xff",
    b"\1\0\0\0",
    b"\0\0\0\x80",
    b"\xff\xff\xff\x7f",
]
WORDS = [
    *NUMBERS,
    b"\xfe\xff\0\xe0",
    b"\xfe\xff\x0d\xe0\0\0\0\0",
    b"\xfe\xff\xdd\xe0\0\0\0\0",
    b"\xff\xfe\xe0\0",
    b"\x08\0\x05\0",
    b"\x28\0\x03\x01",
    b"SQ",
    b"UN",
    b"PN",
    b"DS",
    b"IS",
    b"AT",
    b"UT",
    b"OB",
    b"FD",
    b"ISO_IR 192",
    b"ISO 2022 IR 87\\ISO 2022 IR 159",
    b"GB18030 ",
    b"GBK ",
    b"ISO 2022 IR 149",
    b"\x1b$B",
    b"\x1b(B",
    b"\x1b$)C",
    b"\x1b",
    b"^",
    b"=",
    b"\\",
    b"\0",
    b"\x0e",
    b"nan",
    b"1e999",
]


def damaged(raw, others, rng):
    """Return the bytes with one to five changes at random positions."""
    raw = bytearray(raw)
    for _ in range(rng.randint(1, 5)):
        at = rng.randrange(len(raw) + 1)
        span = min(rng.choice((1, 2, 4, 8, 16, 200)), len(raw) - at)
        change = rng.randrange(8)
        if change == 0 and at < len(raw):
            raw[at] ^= 1 << rng.randrange(8)
        elif change == 1 and at < len(raw):
            raw[at] = rng.randrange(256)
        elif change in (2, 3):
            word = rng.choice(WORDS)
            raw[at : at + len(word) * (change == 2)] = word
        elif change == 4:
            del raw[at : at + span]
        elif change == 5:
            raw[at:at] = raw[at : at + span] * rng.randint(1, 4)
        elif change == 6:
            other = rng.choice(others)
            begin = rng.randrange(len(other) + 1)
            raw[at : at + span] = other[begin : begin + 2 * span]
        else:
            del raw[at + rng.randrange(len(raw) - at + 1) :]
    return bytes(raw)


def make_stream(raw, others, rng):
    """Return a damaged file; sometimes with its data set deflated, or damaged after that."""
    made = damaged(raw, others, rng)
    if rng.random() < 0.2:
        made = DEFLATED + zlib.compress(made[rng.choice((132, 300)) :], wbits=rng.choice((-15, 15)))
        if rng.random() < 0.6:
            made = DEFLATED + damaged(made[len(DEFLATED) :], others, rng)
    return made


def read(raw, rng):
    """Read all elements, with options chosen at random."""
    source = io.BytesIO(raw) if rng.random() < 0.2 else memoryview(raw)
    options = rng.choice(
        (
            {},
            {},
            {"force": True},
            {"stop_before_pixels": True},
            {"strict": True},
            {"charset": "ISO 2022 IR 87"},
            {"specific_tags": ["PatientName", 0x00081140]},
        )
    )
    with contextlib.suppress(DicomError):
        read_all(source, **options)
    if rng.random() < 0.1:
        with contextlib.suppress(DicomError):
            dcmread(memoryview(raw)).load()


def pixels(raw, rng):
    """Decode all frames, or one, if there are pixels."""
    with contextlib.suppress(DicomError):
        ds = dcmread(memoryview(raw))
        if any(
            keyword in ds for keyword in ("PixelData", "FloatPixelData", "DoubleFloatPixelData")
        ):
            array = ds.pixel_array if rng.random() < 0.5 else ds.frames[rng.choice((0, -1))]
            array.any()


def run(seeds, rng, until, crashes):
    """Read damaged seeds until `until(rounds)` and return how many were read."""
    rounds = 0
    while not until(rounds):
        made = make_stream(rng.choice(seeds), seeds, rng)
        faulthandler.dump_traceback_later(TIMEOUT, exit=True)
        try:
            read(made, rng)
            pixels(made, rng)
        except BaseException:
            path = Path(crashes) / f"python-{hashlib.sha256(made).hexdigest()[:12]}"
            path.write_bytes(made)
            print(f"{path}:", file=sys.stderr)
            raise
        faulthandler.cancel_dump_traceback_later()
        rounds += 1
    return rounds


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--rounds", type=int, default=1 << 60)
    parser.add_argument("--seed", type=int, default=time.time_ns())
    parser.add_argument("--crashes", default=".")
    parser.add_argument("files", nargs="*")
    args = parser.parse_args()
    paths = sorted((HERE / "seeds" / "files").iterdir()) + [Path(name) for name in args.files]
    seeds = [raw for raw in (path.read_bytes() for path in paths) if raw]
    end = time.monotonic() + args.seconds
    rounds = run(
        seeds,
        random.Random(args.seed),
        lambda rounds: rounds >= args.rounds or time.monotonic() > end,
        args.crashes,
    )
    print(f"{rounds} streams of {len(seeds)} seeds, --seed {args.seed}")


if __name__ == "__main__":
    main()
