"""Archives of a few DICOM files, and the rows of their members."""

import io
import random
import sys
import tarfile
import zipfile
import zlib

import numpy as np
import pytest

from fastdcm import DicomError, dcmread, scan
from support.builder import (
    DEFLATED_LE,
    JPEG_BASELINE,
    deflate,
    element,
    file_meta,
    fragments,
    header,
    part10,
    preamble,
)

NAME = element(0x00100010, "PN", "Doe^Jane")
LONG = element(0x00091001, "UN", random.Random(1).randbytes(200_000)) + element(
    0x00200013, "IS", "7"
)
PIXELS = fragments([b"\xff\xd8" + bytes(3000)] * 9)
# In byte order of the names, as a folder is walked.
MEMBERS = {
    "DICOMDIR": b"no DICOM at all, but more than 132 bytes of it. " * 4,
    "a/deflated": preamble() + file_meta(DEFLATED_LE) + deflate(NAME + LONG),
    "a/empty": b"",
    "a/plain": part10(
        NAME + element(0x00200013, "IS", "3") + element(0x7FE00010, "OW", bytes(1000))
    ),
    "b/c/fragments": part10(
        NAME + element(0x00280008, "IS", 9) + PIXELS, transfer_syntax=JPEG_BASELINE
    ),
    "b/long": part10(NAME + LONG),
    "japanese": part10(
        element(0x00080005, "CS", "\\ISO 2022 IR 87")
        + element(0x00100010, "PN", b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B")
    ),
}
MEMBERS.update((f"z/{i:03d}", part10(NAME + element(0x00200013, "IS", str(i)))) for i in range(150))
TAGS = ["PatientName", "InstanceNumber"]
ZIPS = {"stored.zip": zipfile.ZIP_STORED, "deflated.ZIP": zipfile.ZIP_DEFLATED}
TARS = {
    "pax.tar": ("w", tarfile.PAX_FORMAT),
    "gnu.tar": ("w", tarfile.GNU_FORMAT),
    "ustar.Tar": ("w", tarfile.USTAR_FORMAT),
    "packed.tar.gz": ("w:gz", tarfile.PAX_FORMAT),
    "gnu.tgz": ("w:gz", tarfile.GNU_FORMAT),
    "packed.tar.bz2": ("w:bz2", tarfile.PAX_FORMAT),
    "packed.tar.xz": ("w:xz", tarfile.PAX_FORMAT),
    "packed.tar.zst": ("zst", tarfile.PAX_FORMAT),
}
PACKINGS = [*ZIPS, *TARS]
FEW = ["stored.zip", "deflated.ZIP", "pax.tar", "packed.tar.gz"]


linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


def make(path, members, **options):
    """Write an archive of the kind that the name of the path determines.

    members: {name: bytes}, or an iterable of such pairs.
    """
    members = members.items() if isinstance(members, dict) else members
    if path.name in ZIPS or path.suffix == ".zip":
        with zipfile.ZipFile(path, "w", ZIPS.get(path.name, zipfile.ZIP_DEFLATED)) as file:
            for name, data in members:
                file.writestr(name, data, **options)
        return path
    mode, form = TARS[path.name]
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w" if mode == "zst" else mode, format=form) as file:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size, info.mtime = len(data), 1.5 if form == tarfile.PAX_FORMAT else 1
            file.addfile(info, io.BytesIO(data))
    data = out.getvalue()
    if mode == "zst":
        data = pytest.importorskip("zstandard").compress(data)
    path.write_bytes(data)
    return path


def table(source, pixels=False, **options):
    """Return the rows of a scan, as dicts."""
    return scan(source, TAGS, pixels=pixels, **options).read_all().to_pylist()


def inner(rows):
    """Return the names of the members that rows describe."""
    return [row["path"].partition("!/")[2] for row in rows]


def compress(data):
    """Return the data in gzip format."""
    packer = zlib.compressobj(wbits=31)
    return packer.compress(data) + packer.flush()


def image(i):
    """Return a file with two frames, and the pixels of the first."""
    values = np.arange(64, dtype="<u2").reshape(8, 8) + i
    parts = [
        (0x00200013, "IS", i),
        (0x00280002, "US", 1),
        (0x00280004, "CS", "MONOCHROME2"),
        (0x00280008, "IS", 2),
        (0x00280010, "US", 8),
        (0x00280011, "US", 8),
        (0x00280100, "US", 16),
        (0x00280101, "US", 16),
        (0x00280102, "US", 15),
        (0x00280103, "US", 0),
    ]
    raw = np.stack([values, values + 1]).tobytes() + bytes(100_000)
    return part10(
        b"".join(element(*part) for part in parts) + header(0x7FE00010, "OW", len(raw)) + raw
    ), values


CODES = {None, "archive", "archive-limit", "not-dicom", "empty", "changed", "deflate", "open"}


def make_small(path):
    """Write an archive of five small files."""
    return make(
        path,
        {
            f"{i}": part10(NAME + element(0x00200013, "IS", str(i))) + bytes(i * 90)
            for i in range(5)
        },
    )


def check_rows(path):
    """Read a damaged archive and check its rows, which are returned.

    Errors have known codes; that of the archive itself comes once at most, and last.
    """
    rows = table(path, threads=1)
    assert {row["error"] for row in rows} <= CODES, rows
    own = [row for row in rows if row["path"] == str(path)]
    assert len(own) <= 1 and (not own or rows[-1] is own[0])
    for row in rows[:3]:
        try:
            dcmread(row["path"])
        except DicomError:
            pass
        except ValueError:
            assert "\0" in row["path"] and row["error"] == "archive"
    return rows
