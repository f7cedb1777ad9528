"""Count the instructions of small C programs and compare them with the baseline.

    python benches/gate.py             exit with 1 if one needs 5 % more than its baseline
    python benches/gate.py --update    write the counts to gate.json

Callgrind counts the instructions inside the function `gate` of each benches/gate_*.c. The
same compiler makes the same program, so gate.json has a baseline for each compiler version
and architecture; without a baseline the counts are only reported. Needs a C compiler,
valgrind and no Python package.
"""

import argparse
import json
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import data

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
BASELINE = HERE / "gate.json"
LIMIT = 1.05
FLAGS = ["-std=c11", "-O3", "-fvisibility=hidden", "-I", str(ROOT / "src_c")]

# name: (program, input, rounds, rows that it must report)
CASES = {
    "index, CT": ("gate_index", "ct", 200, 200 * (5 + 204)),
    "index, MR, defined lengths": ("gate_index", "defined", 200, 200 * (5 + 51)),
    "index, MR, undefined lengths": ("gate_index", "undefined", 5, 5 * (5 + 51)),
    "columns, CT": ("gate_columns", "ct", 200, 200),
    "values": ("gate_value", "ct", 2000, 2000 * (8 + 2)),
    "RLE frames": ("gate_rle", "ct", 20, 20 * 2),
    "pixels": ("gate_pixel", "ct", 20, 20),
}


def inputs(folder):
    """Write the files that the programs read, with very few pixels."""
    made = {"ct": data.fill(data.part10_header(data.CT_STORAGE, data.ct_header(), 64), 7)}
    for name, undefined in (("defined", False), ("undefined", True)):
        header = data.multi_frame(
            "MR",
            data.MR_STORAGE,
            data.GROUPS_MR,
            data.mr_group,
            rows=64,
            bits=16,
            undefined=undefined,
        )
        made[name] = data.fill(data.part10_header(data.MR_STORAGE, header, 64), 0)
    for name, raw in made.items():
        (folder / name).write_bytes(raw + b"\0" * 64)


def compiler():
    """Return the compiler's command and its name in gate.json, "gcc-12.2.0 x86_64"."""
    command = shlex.split(os.environ.get("CC", "cc"))
    text = subprocess.run(
        [*command, "--version"], check=True, capture_output=True, text=True
    ).stdout
    kind = "clang" if "clang" in text else "gcc"
    version = re.search(r"\d+\.\d+\.\d+", text).group()
    return command, f"{kind}-{version} {platform.machine()}"


def count(program, source, rounds, rows):
    """Return the instructions per round inside `gate`."""
    out = program.with_suffix(".out")
    command = [
        "valgrind",
        "--tool=callgrind",
        "--toggle-collect=gate",
        "--collect-atstart=no",
        f"--callgrind-out-file={out}",
        program,
        source,
        str(rounds),
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode or done.stdout.strip() != f"{rows} rows":
        sys.exit(f"{program.name}: {done.stdout}{done.stderr}")
    return (
        int(re.search(r"^(?:summary|totals): (\d+)", out.read_text(), flags=re.M).group(1)) / rounds
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--update", action="store_true")
    update = parser.parse_args().update
    if not shutil.which("valgrind"):
        sys.exit("gate: valgrind is not installed; .ci/peers.sh installs it")
    cc, key = compiler()
    baselines = json.loads(BASELINE.read_text()) if BASELINE.is_file() else {}
    before = {} if update else baselines.get(key, {})
    counts, slower = {}, []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        inputs(folder)
        for program in sorted({case[0] for case in CASES.values()}):
            subprocess.run(
                [
                    *cc,
                    *FLAGS,
                    HERE / f"{program}.c",
                    *sorted((ROOT / "src_c").glob("*.c")),
                    "-o",
                    folder / program,
                    "-lm",
                ],
                check=True,
            )
        for name, (program, source, rounds, rows) in CASES.items():
            counts[name] = round(count(folder / program, folder / source, rounds, rows))
            ratio = counts[name] / before[name] if name in before else None
            if ratio and ratio > LIMIT:
                slower.append(name)
            change = f"{ratio:6.3f} times the baseline" if ratio else ""
            print(f"{name:30} {counts[name]:12,} instructions  {change}")
    if update:
        baselines[key] = counts
        BASELINE.write_text(json.dumps(baselines, indent=2, sort_keys=True) + "\n")
    elif not before:
        print(f"{BASELINE.name} has no baseline for {key}; add one with --update")
    if slower:
        sys.exit(f"slower by more than {LIMIT - 1:.0%}: {', '.join(slower)}")


if __name__ == "__main__":
    main()
