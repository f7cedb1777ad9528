"""How many files of a folder each library reads, and decodes the pixels of.

    python benches/coverage.py [FOLDER]

Without FOLDER: the test files of pydicom. A file counts as read if the first level of the
data set can be listed, and as decoded if pixels are returned without an error; their values
are not compared. Each library runs in a process of its own, which is started again
if it crashes.
"""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path


def fastdcm_file(path):
    import fastdcm

    ds = fastdcm.dcmread(path)
    list(ds)
    yield True
    yield ds.pixel_array


def pydicom_file(path):
    import pydicom

    ds = pydicom.dcmread(path)
    list(ds)
    yield True
    yield ds.pixel_array


def fastdicom_file(path):
    import fastdicom

    ds = fastdicom.dcmread(path)
    list(ds.keys())
    yield True
    yield ds.pixel_array


def dicomsdl_file(path):
    import dicomsdl

    ds = dicomsdl.open(path)
    list(ds)
    yield True
    pixels = ds.pixelData(storedvalue=True)
    yield pixels if pixels.size else None  # empty without pixel data


def gdcm_file(path):
    import gdcm

    reader = gdcm.Reader()
    reader.SetFileName(path)
    if not reader.Read():
        raise ValueError(path)
    yield True
    images = gdcm.ImageReader()
    images.SetFileName(path)
    if not images.Read():
        raise ValueError(path)
    yield images.GetImage().GetBuffer()


LIBRARIES = {
    "fastdcm": fastdcm_file,
    "pydicom": pydicom_file,
    "fastdicom": fastdicom_file,
    "dicomsdl": dicomsdl_file,
    "gdcm": gdcm_file,
}


def work(library):
    """Print what becomes of each path on stdin: 0 failed, 1 read, 2 decoded."""
    out = os.fdopen(os.dup(1), "w", buffering=1)
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 1)
    os.dup2(quiet, 2)
    for line in sys.stdin:
        steps = 0
        try:
            for result in LIBRARIES[library](line.rstrip("\n")):
                steps += result is not None
        except Exception:
            pass
        print(steps, file=out)


def results(library, paths):
    """The steps that each path went, None where the process crashed."""
    found = []
    while len(found) < len(paths):
        rest = paths[len(found) :]
        done = subprocess.run(
            [sys.executable, __file__, "--work", library],
            input="".join(f"{path}\n" for path in rest),
            capture_output=True,
            text=True,
        )
        found += map(int, done.stdout.split())
        if len(found) < len(paths):
            found.append(None)
    return found


def main():
    if len(sys.argv) > 1:
        folder = Path(sys.argv[1])
    else:
        folder = Path(importlib.util.find_spec("pydicom").origin).parent / "data" / "test_files"
    paths = sorted(str(path) for path in folder.rglob("*") if path.is_file())
    print(f"{'library':12}{'read':>8}{'decoded':>10}{'crashed':>10}   of {len(paths)} files")
    for library in LIBRARIES:
        steps = results(library, paths)
        read = sum(step is not None and step >= 1 for step in steps)
        print(f"{library:12}{read:8}{steps.count(2):10}{steps.count(None):10}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--work"]:
        work(sys.argv[2])
    else:
        main()
