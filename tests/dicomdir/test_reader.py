"""DICOMDIR: the order of records, offsets, File IDs, and scans of the files."""

import importlib
import itertools
import os
import random
import struct
import sys

import numpy as np
import pytest
from pydicom.data import get_testdata_file

import fastdcm
from fastdcm import DicomError, dcmread, scan
from fastdcm.dicomdir.reader import directory_records
from support.builder import EXPLICIT, IMPLICIT, element, file_meta, item, part10, preamble
from support.series import cells, encode_image

MEDIA_STORAGE = "1.2.840.10008.1.3.10"
#: (type, File ID, children): two patients, of whom the second has a file of his own.
TREE = [
    ("PATIENT", None, [
        ("STUDY", None, [
            ("SERIES", None, [("IMAGE", "DIR\\IM1", []), ("IMAGE", "DIR\\IM2", [])]),
            ("SERIES", None, [("SR DOCUMENT", "DIR\\SR1", [])]),
        ]),
    ]),
    ("PATIENT", "PAT", [("STUDY", None, [("SERIES", None, [("IMAGE", "IM9", [])])])]),
]  # fmt: skip
FILES = ["DIR/IM1", "DIR/IM2", "DIR/SR1", "PAT", "IM9"]
ORDER = [
    "PATIENT", "STUDY", "SERIES", "IMAGE", "IMAGE", "SERIES", "SR DOCUMENT",
    "PATIENT", "STUDY", "SERIES", "IMAGE",
]  # fmt: skip


def flat(tree, out=None):
    """Return the records as [type, File ID, next, lower], with positions of records."""
    out = [] if out is None else out
    mine = []
    for kind, file_id, children in tree:
        record = [kind, file_id, None, None]
        mine.append(len(out))
        out.append(record)
        if children:
            record[3] = len(out)
            flat(children, out)
    for i, j in itertools.pairwise(mine):
        out[i][2] = j
    return out


def record_bytes(kind, file_id, following, lower, in_use, encoding):
    parts = [
        (0x00041400, "UL", following),
        (0x00041410, "US", in_use),
        (0x00041420, "UL", lower),
        (0x00041430, "CS", kind),
    ]
    if file_id is not None:
        parts.append((0x00041500, "CS", file_id))
    return b"".join(element(*part, encoding=encoding) for part in parts)


def dicomdir(
    tree=TREE, *, shift=0, order=None, change=None, encoding=EXPLICIT, undefined=False, unused=()
):
    """Return the bytes of a DICOMDIR.

    order : the order of the records in the file.
    change : a function of the list of pointers.
    unused : the records that are not in use.
    """
    records = flat(tree)
    order = list(range(len(records))) if order is None else order

    def build(offsets, start):
        body = b""
        at = []
        for i in order:
            kind, file_id, following, lower = records[i]
            at.append(start + len(body))
            pointers = [0 if j is None else max(offsets[j] + shift, 0) for j in (following, lower)]
            if change:
                pointers = change(i, *pointers)
            content = record_bytes(kind, file_id, *pointers, 0 if i in unused else 0xFFFF, encoding)
            body += item(content, encoding=encoding, undefined=undefined)
        return body, dict(zip(order, at))

    syntax = "1.2.840.10008.1.2" if encoding == IMPLICIT else "1.2.840.10008.1.2.1"
    meta = preamble() + file_meta(syntax)

    def head(first, length):
        parts = [
            (0x00041130, "CS", "SET"),
            (0x00041200, "UL", first),
            (0x00041202, "UL", 0),
            (0x00041212, "US", 0),
        ]
        data = b"".join(element(*part, encoding=encoding) for part in parts)
        tag = struct.pack("<HH", 0x0004, 0x1220)
        return data + tag + (b"" if encoding == IMPLICIT else b"SQ\0\0") + struct.pack("<L", length)

    start = len(meta) + len(head(0, 0))
    body, offsets = build(dict.fromkeys(range(len(records)), 0), start)
    body, offsets = build(offsets, start)
    return meta + head(max(offsets[0] + shift, 0) if records else 0, len(body)) + body


def kinds(data):
    return [record.DirectoryRecordType for record in directory_records(dcmread(memoryview(data)))]


def plant(folder, files=FILES):
    for i, name in enumerate(files):
        path = folder / name
        path.parent.mkdir(exist_ok=True, parents=True)
        path.write_bytes(part10(element(0x00200013, "IS", i)))


def write(folder, **options):
    (folder / "DICOMDIR").write_bytes(dicomdir(**options))
    return folder / "DICOMDIR"


def numbers(path, **options):
    """Return {path relative to the DICOMDIR: number or error}."""
    rows = scan(path, ["InstanceNumber"], **options).read_all().to_pylist()
    return {
        os.path.relpath(row["path"], path.parent): row["error"] or row["InstanceNumber"]
        for row in rows
    }


@pytest.mark.parametrize("encoding", [EXPLICIT, IMPLICIT])
@pytest.mark.parametrize("undefined", [False, True])
@pytest.mark.parametrize("shift", [0, -376, -128, 4, 1000, 2**31])
@pytest.mark.parametrize("seed", [None, 1, 2])
def test_records_are_in_the_order_of_the_hierarchy(encoding, undefined, shift, seed):
    """Wherever they are in the file, and if all offsets are shifted by one constant."""
    order = list(range(len(ORDER)))
    if seed is not None:
        random.Random(seed).shuffle(order)
    data = dicomdir(shift=shift, order=order, encoding=encoding, undefined=undefined)
    if shift < -128 or (shift < 0 and seed is not None):
        assert sorted(kinds(data)) == sorted(ORDER)
    else:
        assert kinds(data) == ORDER


@pytest.mark.parametrize(
    "change",
    [
        lambda i, following, lower: (0, 0),
        lambda i, following, lower: (following, 7),
        lambda i, following, lower: (2**32 - 1, 2**32 - 1),
        lambda i, following, lower: (following, lower if i else 0),
        lambda i, following, lower: (lower, following),
    ],
    ids=["none", "wrong lower", "beyond", "lost", "exchanged"],
)
def test_every_record_is_returned_once(change):
    assert sorted(kinds(dicomdir(change=change))) == sorted(ORDER)


def test_offsets_in_a_circle():
    """The last record leads back to the first."""
    first = len(dicomdir([]))
    data = dicomdir(change=lambda i, following, lower: (following or first, lower))
    assert sorted(kinds(data)) == sorted(ORDER)


def test_records_that_are_not_in_use():
    assert kinds(dicomdir(unused=(3, 10))) == [
        kind for i, kind in enumerate(ORDER) if i not in (3, 10)
    ]


@pytest.mark.parametrize("content", [b"", element(0x00041220, "LO", "x")])
def test_files_that_are_no_dicomdir(tmp_path, content):
    (tmp_path / "DICOMDIR").write_bytes(part10(element(0x00041130, "CS", "SET") + content))
    with pytest.raises(DicomError, match="is not a DICOMDIR") as caught:
        scan(tmp_path / "DICOMDIR").read_all()
    assert (caught.value.code, caught.value.path) == ("dicomdir", "(0004,1220)")
    (tmp_path / "DICOMDIR").write_bytes(content)
    with pytest.raises(DicomError):
        scan(tmp_path / "DICOMDIR").read_all()


# ------------------------------------------------------------------ files ---


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("batch_size", [1, 4096])
def test_a_scan_of_the_files(tmp_path, threads, batch_size):
    plant(tmp_path)
    found = numbers(write(tmp_path), threads=threads, batch_size=batch_size)
    assert list(found.items()) == list(zip(FILES, range(5)))


@pytest.mark.skipif(sys.platform != "linux", reason="names differ in case")
@pytest.mark.parametrize(
    "change",
    [str.lower, str.swapcase, lambda n: n + ".", lambda n: n + ";1", lambda n: n.lower() + ".;1"],
)
def test_names_that_differ(tmp_path, change):
    """On a disk that was copied from a medium with other rules for names."""
    plant(tmp_path, ["/".join(map(change, name.split("/"))) for name in FILES])
    assert list(numbers(write(tmp_path)).values()) == list(range(5))


@pytest.mark.skipif(sys.platform != "linux", reason="names differ in case")
def test_an_exact_name_has_precedence(tmp_path):
    plant(tmp_path, ["dir/im1", *FILES, "dir/im2"])
    assert numbers(write(tmp_path)) == dict(zip(FILES, range(1, 6)))


def test_missing_files_are_rows_with_an_error(tmp_path):
    plant(tmp_path, FILES[1:3])
    assert list(numbers(write(tmp_path)).items()) == list(
        zip(FILES, ["open", 0, 1, "open", "open"])
    )


@pytest.mark.parametrize("file_id", ["..\\..\\X", "DIR\\..\\..\\X", "/../X"])
def test_file_ids_that_leave_the_folder(tmp_path, file_id):
    (tmp_path / "in").mkdir()
    (tmp_path / "X").write_bytes(part10(b""))
    plant(tmp_path / "in", ["IM1"])
    path = write(tmp_path / "in", tree=[("IMAGE", file_id, []), ("IMAGE", "IM1", [])])
    first, second = scan(path, []).read_all().to_pylist()
    assert (first["error"], second["error"]) == ("open", None)
    assert "leads out of the folder" in first["error_detail"]


@pytest.mark.parametrize("file_id", ["DIR/IM1", "DIR\\IM1 ", ".\\DIR\\\\IM1", "/DIR/IM1"])
def test_file_ids_that_are_not_as_they_should_be(tmp_path, file_id):
    plant(tmp_path)
    assert numbers(write(tmp_path, tree=[("IMAGE", file_id, [])])) == {"DIR/IM1": 0}


@pytest.mark.parametrize("vr", ["CS", "UL", "US", "FD", "OB", "SQ", "UN", "DS", "AT"])
@pytest.mark.parametrize("tag", [0x00041200, 0x00041400, 0x00041410, 0x00041420, 0x00041500])
def test_any_vr(tmp_path, vr, tag):
    """An element of another VR, or of no value, is no foreign error."""
    record = {
        0x00041400: element(0x00041400, "UL", 0),
        0x00041410: element(0x00041410, "US", 0xFFFF),
        0x00041420: element(0x00041420, "UL", 0),
        0x00041430: element(0x00041430, "CS", "IMAGE"),
        0x00041500: element(0x00041500, "CS", "IM1"),
    }
    top = {0x00041200: element(0x00041200, "UL", 0)}
    plant(tmp_path, ["IM1"])
    for value in (b"", b"12345678", bytes(8)):
        changed = element(tag, vr, value)
        items = item(b"".join({**record, **({tag: changed} if tag in record else {})}.values()))
        body = b"".join({**top, **({tag: changed} if tag in top else {})}.values())
        (tmp_path / "DICOMDIR").write_bytes(part10(body + element(0x00041220, "SQ", items)))
        rows = scan(tmp_path / "DICOMDIR", []).read_all().to_pylist()
        assert len(rows) <= 1


def test_pydicoms_dicomdir_has_the_files_of_its_records():
    from pydicom.fileset import FileSet

    path = get_testdata_file("dicomdirtests/DICOMDIR")
    rows = scan(path, ["SOPInstanceUID"]).read_all()
    expected = {str(instance.path): instance.SOPInstanceUID for instance in FileSet(path)}
    assert rows["error"].null_count == rows.num_rows == len(expected)
    assert dict(zip(*map(lambda n: rows[n].to_pylist(), ("path", "SOPInstanceUID")))) == expected


def test_volumes_and_commands_take_a_dicomdir(tmp_path):
    for i in range(3):
        image = encode_image(cells(i), position=(0, 0, i), number=i)
        (tmp_path / f"im{i}").write_bytes(image)
    path = write(tmp_path, tree=[("IMAGE", f"IM{i}", []) for i in (2, 0, 1)])
    volume = fastdcm.read_volume(path)
    assert np.array_equal(volume.array, np.stack([cells(i) for i in range(3)]))
    click = pytest.importorskip("click.testing")
    done = click.CliRunner().invoke(
        importlib.import_module("fastdcm.cli").main, ["scan", str(path)]
    )
    assert done.exit_code == 0 and done.stdout.count("\n") == 4
