"""Make the files that the benches read, once, in a cache folder.

    python benches/data.py [FOLDER] [--ct N] [--mr N]

ct        N files (10,000) of 0.5 MB: 220 elements in 4 KB, explicit VR little
          endian, 512 x 512 int16 of noise, 200 slices a series
mr        N files (60): enhanced multi-frame, 500 functional groups, 27,072
          elements; every second file is written with undefined lengths
big       one file: 256 native frames of 0.5 MB
fg12000   two files: 12,000 functional groups, of defined and undefined length

The names of the folders contain a digest of this file: after a change of it the files are
made again. Jobs with files of their own use `make`, too.
"""

import argparse
import hashlib
import os
import shutil
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from support import builder  # noqa: E402
from support.builder import element as el  # noqa: E402
from support.builder import sequence as sq  # noqa: E402

CACHE = Path(tempfile.gettempdir()) / "fastdcm-bench"
CT_ELEMENTS, MR_ELEMENTS = 220, 27_072
FRAMES_BIG, GROUPS_MR, GROUPS_SEG = 256, 500, 12_000
UID = "1.2.826.0.1.3680043.10.1519"
CT_STORAGE = "1.2.840.10008.5.1.4.1.1.2"
MR_STORAGE = "1.2.840.10008.5.1.4.1.1.4.1"
SEG_STORAGE = "1.2.840.10008.5.1.4.1.1.66.4"

# The values that differ from file to file: slots of fixed width in a template, with the
# formats that fill them. No component of a UID starts with a zero (PS3.5 9.1).
SLOTS = {
    "instance": (42, UID + ".{series}.1{number:06d}"),
    "series": (34, UID + ".{series}"),
    "study": (32, UID + ".{study}"),
    "patient": (8, "PAT{study} "),
    "nr": (4, "{slice:<4d}"),
    "pos": (8, "{z:<8.2f}"),
}


def slot(name):
    return f"<{name}".ljust(SLOTS[name][0], "@")


def fill(template, number):
    """Return the template with the values of slice `number`."""
    values = {
        "number": number,
        "series": 100_000 + number // 200,
        "study": 1_000 + number // 1_000,
        "slice": number % 200 + 1,
        "z": (number % 200) * 2.5 - 250.0,
    }
    for name, (width, form) in SLOTS.items():
        value = form.format(**values).encode()
        assert len(value) == width
        template = template.replace(slot(name).encode(), value)
    return template


def code(tag, value, meaning, **options):
    """Return a code sequence of one item: 4 elements."""
    return sq(
        tag,
        [el(0x00080100, "SH", value) + el(0x00080102, "SH", "SCT") + el(0x00080104, "LO", meaning)],
        **options,
    )


def patient_study_series(modality, description):
    """Return groups 0008 (from the study date), 0010 and 0020, to be placed in tag order."""
    group8 = (
        el(0x00080020, "DA", "20240611")
        + el(0x00080021, "DA", "20240611")
        + el(0x00080022, "DA", "20240611")
        + el(0x00080023, "DA", "20240611")
        + el(0x00080030, "TM", "081502.000000")
        + el(0x00080031, "TM", "082211.250000")
        + el(0x00080032, "TM", "082233.481203")
        + el(0x00080033, "TM", "082235.019377")
        + el(0x00080050, "SH", "ACC20240611")
        + el(0x00080060, "CS", modality)
        + el(0x00080070, "LO", "GE MEDICAL SYSTEMS")
        + el(0x00080080, "LO", "General Hospital North")
        + el(0x00080090, "PN", "Referrer^Anna^^Dr")
        + el(0x00081010, "SH", "SCAN03")
        + el(0x00081030, "LO", "Chest and abdomen with contrast")
        + code(0x00081032, "77477000", "Computed tomography")
        + el(0x0008103E, "LO", description)
        + el(0x00081040, "LO", "Radiology")
        + el(0x00081050, "PN", "Reader^Paul")
        + el(0x00081070, "PN", "Operator^Kim")
        + el(0x00081090, "LO", "Revolution EVO")
    )
    group10 = (
        el(0x00100010, "PN", "Sample^Patient^Q")
        + el(0x00100020, "LO", slot("patient"))
        + el(0x00100030, "DA", "19610214")
        + el(0x00100040, "CS", "F")
        + el(0x00101010, "AS", "063Y")
        + el(0x00101030, "DS", "71.5")
        + el(0x001021B0, "LT", "Follow-up after resection, question of recurrence.")
    )
    group20 = (
        el(0x0020000D, "UI", slot("study"))
        + el(0x0020000E, "UI", slot("series"))
        + el(0x00200010, "SH", "S20240611")
        + el(0x00200011, "IS", "3")
        + el(0x00200012, "IS", "1")
        + el(0x00200013, "IS", slot("nr"))
    )
    return group8, group10, group20


def private(group, creator, rows):
    """Return a private block: a creator and rows of (low byte, VR, value)."""
    raw = el(group << 16 | 0x10, "LO", creator)
    return raw + b"".join(el(group << 16 | 0x1000 | low, vr, value) for low, vr, value in rows)


def ct_header():
    """Return all elements before the pixel data: 219, in 3.9 KB."""
    group8, group10, group20 = patient_study_series("CT", "AXIAL 2.5 PORTAL VENOUS")
    reference = el(0x00081150, "UI", CT_STORAGE) + el(0x00081155, "UI", UID + ".7.1")
    group18 = (
        el(0x00180010, "LO", "Iohexol 350")
        + el(0x00180015, "CS", "ABDOMEN")
        + el(0x00180022, "CS", "HELICAL MODE")
        + el(0x00180050, "DS", "2.500000")
        + el(0x00180060, "DS", "120")
        + el(0x00180090, "DS", "500.000000")
        + el(0x00181020, "LO", "revo_ct_22bc.50")
        + el(0x00181030, "LO", "5.1 CHEST ABDOMEN")
        + el(0x00181040, "LO", "IV")
        + el(0x00181100, "DS", "360.000000")
        + el(0x00181110, "DS", "949.075012")
        + el(0x00181111, "DS", "541.000000")
        + el(0x00181120, "DS", "0.000000")
        + el(0x00181130, "DS", "147.500000")
        + el(0x00181140, "CS", "CW")
        + el(0x00181150, "IS", "516")
        + el(0x00181151, "IS", "285")
        + el(0x00181152, "IS", "3")
        + el(0x00181160, "SH", "BODY FILTER")
        + el(0x00181170, "IS", "48")
        + el(0x00181190, "DS", "1.200000")
        + el(0x00181210, "SH", "STANDARD")
        + el(0x00185100, "CS", "FFS")
        + el(0x00189305, "FD", 0.6)
        + el(0x00189306, "FD", 0.625)
        + el(0x00189307, "FD", 40.0)
        + el(0x00189309, "FD", 78.75)
        + el(0x00189310, "FD", 39.375)
        + el(0x00189311, "FD", 0.984375)
        + el(0x00189345, "FD", 11.72)
    )
    group20 += (
        el(0x00200032, "DS", "-180.000\\-162.300\\" + slot("pos"))
        + el(0x00200037, "DS", "1.000000\\0.000000\\0.000000\\0.000000\\1.000000\\0.000000")
        + el(0x00200052, "UI", UID + ".9.1")
        + el(0x00201040, "LO", "SN")
        + el(0x00201041, "DS", slot("pos"))
    )
    group28 = (
        el(0x00280002, "US", 1)
        + el(0x00280004, "CS", "MONOCHROME2")
        + el(0x00280010, "US", 512)
        + el(0x00280011, "US", 512)
        + el(0x00280030, "DS", "0.703125\\0.703125")
        + el(0x00280100, "US", 16)
        + el(0x00280101, "US", 16)
        + el(0x00280102, "US", 15)
        + el(0x00280103, "US", 1)
        + el(0x00280106, "SS", -2048)
        + el(0x00280107, "SS", 2047)
        + el(0x00280120, "SS", -2000)
        + el(0x00281050, "DS", "40")
        + el(0x00281051, "DS", "400")
        + el(0x00281052, "DS", "-1024")
        + el(0x00281053, "DS", "1")
        + el(0x00281054, "LO", "HU")
    )
    request = (
        el(0x00321060, "LO", "CT chest and abdomen")
        + el(0x00400007, "LO", "Chest abdomen routine")
        + el(0x00400009, "SH", "SPS1")
        + el(0x00401001, "SH", "RP20240611")
    )
    shorts = [(low, "SS", low) for low in range(0x80, 0x9C)]
    decimals = [(low, "DS", f"{low}.500000") for low in range(0x02, 0x1C)]
    return (
        el(0x00080005, "CS", "ISO_IR 100")
        + el(0x00080008, "CS", "ORIGINAL\\PRIMARY\\AXIAL")
        + el(0x00080012, "DA", "20240611")
        + el(0x00080013, "TM", "082240.000000")
        + el(0x00080016, "UI", CT_STORAGE)
        + el(0x00080018, "UI", slot("instance"))
        + group8
        + sq(0x00081110, [reference])
        + sq(0x00081140, [reference, reference], undefined=True)
        + code(0x00082218, "818983003", "Abdomen")
        + private(
            0x0009,
            "GEMS_IDEN_01",
            [
                (0x01, "LO", "CT_REVO"),
                (0x02, "SH", "SCAN"),
                (0x04, "SH", "Revo"),
                (0x27, "SL", 1718093000),
                (0xE3, "UI", UID + ".8.8"),
                (0xE9, "SL", 1718093001),
            ],
        )
        + group10
        + group18
        + private(0x0019, "GEMS_ACQU_01", decimals + shorts)
        + group20
        + private(
            0x0021,
            "GEMS_RELA_01",
            [
                (0x03, "SS", 12),
                (0x05, "DS", "1.0"),
                (0x07, "SH", "A"),
                (0x35, "SS", 3),
                (0x36, "SS", 0),
                (0x91, "SS", 1),
                (0x92, "FL", 0.25),
                (0x93, "FL", 0.5),
            ],
        )
        + group28
        + el(0x00321033, "LO", "Oncology")
        + el(0x00400244, "DA", "20240611")
        + el(0x00400245, "TM", "081502")
        + el(0x00400253, "SH", "PPS1")
        + el(0x00400254, "LO", "Chest abdomen")
        + sq(0x00400275, [request], undefined=True)
        + private(
            0x0043,
            "GEMS_PARM_01",
            [
                (0x10, "US", 400),
                (0x12, "SS", [14, 2, 3]),
                (0x16, "SS", 0),
                (0x1A, "SL", 7),
                (0x1E, "DS", "5.0"),
                (0x1F, "SL", 0),
                (0x21, "SS", 0),
                (0x25, "SS", [0, 1, 2, 3, 4, 5]),
                (0x26, "US", [0, 1, 2, 3, 4, 5]),
                (0x27, "SH", "/1.0:1"),
                (0x28, "OB", b"\0" * 80),
                (0x2B, "SS", [4, 4, 0, 0]),
                (0x31, "DS", "-11.8\\-7.9"),
                (0x40, "FL", [1.0, 2.0]),
                (0x41, "FL", 3.5),
                (0x42, "SL", 1),
                (0x43, "SL", 2),
                (0x44, "SL", 3),
                (0x45, "SL", 4),
                (0x46, "SL", 5),
                (0x47, "SL", 6),
                (0x48, "SL", 7),
                (0x49, "SL", 8),
                (0x4A, "SL", 9),
                (0x4B, "SL", 10),
                (0x4C, "SS", 11),
                (0x4D, "FL", 0.5),
                (0x4E, "FL", 1.25),
                (0x60, "IS", "0\\1\\2\\3"),
                (0x61, "UI", UID + ".8.9"),
            ],
        )
    )


def mr_group(frame, one):
    """Return one functional group of an enhanced MR: 54 elements at all depths.

    one: function that makes a sequence of one item.
    """
    when = f"20240611081{frame % 10}{frame % 60:02d}.5"
    return (
        one(
            0x00081140,
            el(0x00081150, "UI", MR_STORAGE)
            + el(0x00081155, "UI", f"{UID}.5.{frame + 1}")
            + el(0x00081160, "IS", frame + 1),
        )
        + one(
            0x00189112,
            el(0x00180080, "DS", "4200.0")
            + el(0x00180091, "IS", "1")
            + el(0x00181314, "DS", "90.0")
            + el(0x00189180, "CS", "DB_DT")
            + el(0x00189182, "FD", 58.25)
            + el(0x00189240, "US", 1)
            + el(0x00189241, "US", 64),
        )
        + one(0x00189114, el(0x00189082, "FD", 71.5))
        + one(0x00189119, el(0x00180083, "DS", "1.0"))
        + one(
            0x00189125,
            el(0x00180093, "DS", "100.0")
            + el(0x00180094, "DS", "100.0")
            + el(0x00181312, "CS", "COLUMN")
            + el(0x00189058, "US", 64),
        )
        + one(
            0x00189226,
            el(0x00089007, "CS", "ORIGINAL\\PRIMARY\\DIFFUSION\\NONE")
            + el(0x00089205, "CS", "MONOCHROME")
            + el(0x00089206, "CS", "VOLUME")
            + el(0x00089207, "CS", "NONE")
            + el(0x00089208, "CS", "MAGNITUDE")
            + el(0x00089209, "CS", "DIFFUSION"),
        )
        + one(0x00209071, el(0x00209072, "CS", "U"))
        + one(
            0x00209111,
            el(0x00189074, "DT", when)
            + el(0x00189151, "DT", when)
            + el(0x00189220, "FD", 120.0)
            + el(0x00209056, "SH", "1")
            + el(0x00209057, "UL", frame % 50 + 1)
            + el(0x00209128, "UL", frame // 50 + 1)
            + el(0x00209156, "US", frame // 50 + 1)
            + el(0x00209157, "UL", [1, frame % 50 + 1, frame // 50 + 1]),
        )
        + one(0x00209113, el(0x00200032, "DS", ["-110.0", "-120.5", frame % 50 * 3.0]))
        + one(0x00209116, el(0x00200037, "DS", "1\\0\\0\\0\\1\\0"))
        + one(
            0x00289110,
            el(0x00180050, "DS", "3.0")
            + el(0x00180088, "DS", "3.0")
            + el(0x00280030, "DS", "3.4375\\3.4375"),
        )
        + one(0x00289132, el(0x00281050, "DS", "600") + el(0x00281051, "DS", "1200"))
        + one(
            0x00289145,
            el(0x00281052, "DS", "0") + el(0x00281053, "DS", "1") + el(0x00281054, "LO", "US"),
        )
    )


def seg_group(frame, one):
    """Return one functional group of a segmentation: 14 elements."""
    return (
        one(
            0x00089124,
            one(
                0x00082112,
                el(0x00081150, "UI", CT_STORAGE)
                + el(0x00081155, "UI", f"{UID}.6.{frame % 600 + 1}"),
            )
            + code(0x00089215, "113076", "Segmentation"),
        )
        + one(0x00209111, el(0x00209157, "UL", [frame // 600 + 1, frame % 600 + 1]))
        + one(0x00209113, el(0x00200032, "DS", ["-180.0", "-162.3", frame % 600 * 1.25]))
        + one(0x0062000A, el(0x0062000B, "US", frame // 600 + 1))
    )


def multi_frame(modality, sop_class, groups, make_group, *, undefined, rows, bits, extra=b""):
    """Return all elements before the pixel data of a file with functional groups."""

    def one(tag, content):
        return sq(tag, [content], undefined=undefined)

    group8, group10, group20 = patient_study_series(modality, "ep2d_diff 3 scan trace")
    dimension = el(0x00209164, "UI", UID + ".4.1") + el(0x00209165, "AT", 0x00209057)
    shared = b""
    if modality == "MR":
        shared = one(0x00189117, el(0x00189075, "CS", "DIRECTIONAL"))
    return (
        el(0x00080005, "CS", "ISO_IR 100")
        + el(0x00080008, "CS", "ORIGINAL\\PRIMARY")
        + el(0x00080016, "UI", sop_class)
        + el(0x00080018, "UI", slot("instance"))
        + group8
        + group10
        + group20
        + one(0x00209222, dimension)
        + el(0x00280002, "US", 1)
        + el(0x00280004, "CS", "MONOCHROME2")
        + el(0x00280008, "IS", groups)
        + el(0x00280010, "US", rows)
        + el(0x00280011, "US", rows)
        + el(0x00280100, "US", bits)
        + el(0x00280101, "US", bits)
        + el(0x00280102, "US", bits - 1)
        + el(0x00280103, "US", 0)
        + extra
        + one(0x52009229, shared)
        + sq(0x52009230, [make_group(frame, one) for frame in range(groups)], undefined=undefined)
    )


def part10_header(sop_class, header, pixels):
    """Return everything up to the value of the pixel data, which has `pixels` bytes."""
    meta = builder.file_meta(sop_class=sop_class, sop_instance=slot("instance"))
    return builder.part10(header, meta=meta) + builder.header(builder.PIXEL_DATA, "OW", pixels)


def noise(count, seed):
    import numpy as np  # gate.py makes headers only, without any package

    return np.random.default_rng(seed).integers(-1000, 1000, count, dtype="<i2").tobytes()


def make(cache, name, write, check, source=__file__):
    """Return the paths of one set of files, made by write(folder) if it does not exist.

    check: called with the paths that were made. source: the Python file that writes them.
    """
    digest = hashlib.sha256(Path(source).read_bytes()).hexdigest()[:12]
    folder = Path(cache) / f"{name}-{digest}"
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        for stale in list(folder.parent.glob(f"{name}-*")):
            shutil.rmtree(stale)
        part = folder.with_name(f"{folder.name}.{os.getpid()}")
        part.mkdir()
        write(part)
        check(sorted(part.iterdir()))
        os.sync()  # the cold jobs cannot drop dirty pages
        part.rename(folder)
    return [str(path) for path in sorted(folder.iterdir())]


def _check(path, elements, **values):
    """Check that pydicom reads the intended elements and values."""
    import pydicom

    ds = pydicom.dcmread(path, stop_before_pixels=True)
    assert sum(1 for _ in ds.iterall()) == elements - 1, path
    for keyword, value in values.items():
        assert ds[keyword].value == value, (path, keyword)


def ct(cache=CACHE, count=10_000):
    """Return the paths of `count` CT slices."""

    def write(folder):
        template = part10_header(CT_STORAGE, ct_header(), 2 * 512 * 512)
        pixels = [noise(512 * 512, seed) for seed in range(8)]
        for number in range(count):
            with open(folder / f"{number:06d}.dcm", "wb") as file:
                file.write(fill(template, number))
                file.write(pixels[number % len(pixels)])

    def check(paths):
        _check(
            paths[0],
            CT_ELEMENTS,
            InstanceNumber=1,
            PatientID="PAT1000",
            SOPInstanceUID=UID + ".100000.1000000",
        )
        assert paths[0].stat().st_size == paths[-1].stat().st_size

    return make(cache, f"ct{count}", write, check)


def mr(cache=CACHE, count=60):
    """Return the paths of `count` enhanced MR files; every second has undefined lengths."""

    def write(folder):
        extra = el(0x00280301, "CS", "NO") + el(0x00282110, "CS", "00")
        extra += private(
            0x0051, "SIEMENS MR HEADER", [(low, "LO", f"value {low}") for low in range(0x08, 0x13)]
        )
        templates = [
            part10_header(
                MR_STORAGE,
                multi_frame(
                    "MR",
                    MR_STORAGE,
                    GROUPS_MR,
                    mr_group,
                    rows=64,
                    bits=16,
                    undefined=undefined,
                    extra=extra,
                ),
                2 * 64 * 64 * GROUPS_MR,
            )
            for undefined in (False, True)
        ]
        pixels = noise(64 * 64 * GROUPS_MR, 1)
        for number in range(count):
            raw = fill(templates[number % 2], number) + pixels
            (folder / f"{number:04d}.dcm").write_bytes(raw)

    def check(paths):
        for path in paths[:2]:
            _check(path, MR_ELEMENTS, NumberOfFrames=GROUPS_MR, Rows=64)

    return make(cache, f"mr{count}", write, check)


def big(cache=CACHE):
    """Return the path of one file with 128 MB of native frames."""

    def write(folder):
        header = ct_header()
        frames = el(0x00280008, "IS", FRAMES_BIG)
        marker = el(0x00280010, "US", 512)
        assert header.count(marker) == 1
        with open(folder / "big.dcm", "wb") as file:
            header = part10_header(
                CT_STORAGE, header.replace(marker, frames + marker), 2 * 512 * 512 * FRAMES_BIG
            )
            file.write(fill(header, 0))
            for frame in range(FRAMES_BIG):
                file.write(noise(512 * 512, frame))

    def check(paths):
        _check(paths[0], CT_ELEMENTS + 1, NumberOfFrames=FRAMES_BIG)

    return make(cache, "big", write, check)[0]


def fg12000(cache=CACHE):
    """Return two paths: functional groups of defined and of undefined length."""

    def write(folder):
        for undefined in (False, True):
            header = multi_frame(
                "SEG", SEG_STORAGE, GROUPS_SEG, seg_group, rows=16, bits=1, undefined=undefined
            )
            size = 16 * 16 // 8 * GROUPS_SEG
            with open(folder / ("undefined.dcm" if undefined else "defined.dcm"), "wb") as file:
                file.write(fill(part10_header(SEG_STORAGE, header, size), 0))
                file.truncate(file.tell() + size)

    def check(paths):
        assert [path.name for path in paths] == ["defined.dcm", "undefined.dcm"]
        for path in paths:
            _check(path, 14 * GROUPS_SEG + 56, NumberOfFrames=GROUPS_SEG)

    return make(cache, "fg12000", write, check)


def links(paths, count, cache=CACHE):
    """Return a folder of `count` hard links to `paths`, in folders of 1,000."""

    def write(folder):
        for number in range(count):
            if number % 1000 == 0:
                inner = folder / f"{number // 1000:04d}"
                inner.mkdir()
            os.link(paths[number % len(paths)], inner / f"{number:07d}.dcm")

    first = make(cache, f"links{count}of{len(paths)}", write, lambda made: None)[0]
    return os.path.dirname(first)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", nargs="?", default=CACHE)
    parser.add_argument("--ct", type=int, default=10_000)
    parser.add_argument("--mr", type=int, default=60)
    options = parser.parse_args()
    for paths in (
        ct(options.folder, options.ct),
        mr(options.folder, options.mr),
        [big(options.folder)],
        fg12000(options.folder),
    ):
        print(len(paths), paths[0])


if __name__ == "__main__":
    main()
