"""fastdcm dump: what it prints for valid, unusual and damaged files."""

import json
import os
import subprocess
import sys
import zlib

import pytest
from click.testing import CliRunner

import fastdcm
from fastdcm.cli.dump import TreeWriter, dump, write_json
from support import builder
from support.cli import PROGRAM, environment, start


def dumped(tmp_path, data):
    """The lines of the tree of these bytes, without the heading of two lines."""
    (tmp_path / "x.dcm").write_bytes(data)
    done = CliRunner().invoke(dump, [str(tmp_path / "x.dcm")], catch_exceptions=False)
    assert done.exit_code == 0
    return done.output.splitlines()[2:]


def dumped_json(tmp_path, data):
    """The JSON document of these bytes, without group 0002."""
    (tmp_path / "x.dcm").write_bytes(data)
    done = CliRunner().invoke(dump, ["--json", str(tmp_path / "x.dcm")], catch_exceptions=False)
    assert done.exit_code == 0
    found = json.loads(done.stdout_bytes)
    found["elements"] = [e for e in found["elements"] if not e["path"].startswith("(0002,")]
    return found


def squeezed(line):
    """The line with single spaces."""
    return " ".join(line.split())


def program(*arguments, **options):
    return start("dump", *arguments, encoding=None, **options)


def test_tree(tmp_path):
    b = builder.Builder()
    b.element(0x00080018, "UI", "1.2.3", name="uid")
    b.element(0x00080060, "CS", "CT", name="modality")
    with b.sequence(0x00081140, name="sequence", undefined=True):
        with b.item(name="first"):
            b.element(0x00081150, "UI", "1.2.840.10008.5.1.4.1.1.2", name="class")
        with b.item(name="second", undefined=True), b.sequence(0x00081199, name="inner"):
            pass
    b.element(0x00090010, "LO", "GEMS_IDEN_01", name="creator")
    b.element(0x00091001, "LO", "x", name="private")
    b.element(0x00280030, "DS", "0.50\\1.0", name="spacing")
    lines = dumped(tmp_path, b.bytes())
    found = [squeezed(line) for line in lines if "(0002," not in line]
    at = b.at
    assert found == [
        f"{at['uid']} (0008,0018) UI 6 SOPInstanceUID 1.2.3",
        f"{at['modality']} (0008,0060) CS 2 Modality CT",
        f"{at['sequence']} (0008,1140) SQ 70 ReferencedImageSequence 2 items (undefined length)",
        f"{at['first']} [0] item, 34 bytes",
        f"{at['class']} (0008,1150) UI 26 ReferencedSOPClassUID "
        "1.2.840.10008.5.1.4.1.1.2 CT Image Storage",
        f"{at['second']} [1] item, 12 bytes",
        f"{at['inner']} (0008,1199) SQ 0 ReferencedSOPSequence 0 items",
        f"{at['creator']} (0009,0010) LO 12 Private Creator GEMS_IDEN_01",
        f"{at['private']} (0009,1001) LO 2 [Full fidelity] x",
        f"{at['spacing']} (0028,0030) DS 8 PixelSpacing 0.50\\1.0",
    ]
    depth = [line.index("(") for line in lines if "(0008,11" in line]
    assert depth == [12, 15, 15]  # elements of items are indented


def test_json_has_the_same_elements(tmp_path):
    b = builder.Builder()
    with b.sequence(0x00081140), b.item():
        b.element(0x00081150, "UI", "1.2.3", name="class")
    b.element(0x00100010, "PN", "Doe^Jane", name="name")
    b.element(0x00280009, "AT", [0x00181063], name="pointer")
    b.element(0x00280010, "US", 512, name="rows")
    b.element(0x00280030, "DS", "0.5\\nan ", name="spacing")
    b.element(0x00291010, "OB", bytes(range(20)), name="bytes")
    found = dumped_json(tmp_path, b.bytes())
    assert (found["size"], found["transfer_syntax"], found["deflated"]) == (
        len(b),
        builder.EXPLICIT_LE,
        False,
    )
    by_path = {e["path"]: e for e in found["elements"]}
    assert by_path["(0008,1140)"]["items"] == 1
    inside = by_path["(0008,1140)[0].(0008,1150)"]
    assert inside == {
        "path": "(0008,1140)[0].(0008,1150)",
        "offset": b.at["class"],
        "length": 6,
        "vr": "UI",
        "name": "ReferencedSOPClassUID",
        "value": "1.2.3",
    }
    values = {
        "(0010,0010)": "Doe^Jane",
        "(0028,0009)": "00181063",
        "(0028,0010)": 512,
        "(0028,0030)": [0.5, "nan"],
        "(0029,1010)": bytes(range(16)).hex(),
    }
    assert {path: by_path[path]["value"] for path in values} == values
    assert by_path["(0029,1010)"]["shortened"] is True and "shortened" not in inside


def test_fragments(tmp_path):
    b = builder.Builder(builder.RLE)
    b.fragments([b"abcd", b"efghij"], table=bytes(8), name="pixels")
    lines = dumped(tmp_path, b.bytes())
    at = b.at["pixels"]
    assert [squeezed(line) for line in lines[-4:]] == [
        f"{at} (7FE0,0010) OB 42 PixelData 3 fragments (undefined length)",
        f"{at + 12} [0] offset table, 8 bytes",
        f"{at + 28} [1] fragment, 4 bytes",
        f"{at + 40} [2] fragment, 6 bytes",
    ]
    pixels = dumped_json(tmp_path, b.bytes())["elements"][-1]
    assert pixels["fragments"] == [[at + 12, 8], [at + 28, 4], [at + 40, 6]]


def test_deflated(tmp_path):
    body = builder.element(0x00080060, "CS", "CT") + builder.element(0x00100010, "PN", "Doe")
    data = builder.part10(body, transfer_syntax=builder.DEFLATED_LE)
    lines = dumped(tmp_path, data)
    assert [squeezed(line) for line in lines[-3:]] == [
        "The data set is deflated: offsets below are positions in the inflated bytes.",
        "0 (0008,0060) CS 2 Modality CT",
        "10 (0010,0010) PN 4 PatientName Doe",
    ]
    found = dumped_json(tmp_path, data)
    assert found["deflated"] is True
    assert all(e["inflated"] for e in found["elements"])
    whole = json.loads(CliRunner().invoke(dump, ["--json", str(tmp_path / "x.dcm")]).stdout_bytes)
    assert whole["elements"][0]["offset"] == 132 and "inflated" not in whole["elements"][0]
    # The deflated stream begins where group 0002 ends.
    end = max(e["offset"] + 8 + e["length"] for e in whole["elements"] if "inflated" not in e)
    assert zlib.decompress(data[end:], wbits=-15) == body


def test_issues_are_listed_at_the_end(tmp_path):
    b = builder.Builder()
    with b.sequence(0x00081140, length=1000, name="sequence"), b.item(length=500, name="item"):
        b.element(0x00081150, "UI", "1.2.3")
        b.element(0x00081155, "UI", "1.2.3.4", length=80, name="truncated")
    lines = [squeezed(line) for line in dumped(tmp_path, b.bytes())]
    assert (
        lines[-5]
        == f"{b.at['truncated']} (0008,1155) UI 8 ReferencedSOPInstanceUID 1.2.3.4 (truncated)"
    )
    assert lines[-4] == "3 issues"
    assert [line.split(":")[0] for line in lines[-3:]] == [
        f"{b.at['sequence']} (0008,1140) truncated-value",
        f"{b.at['item']} (0008,1140) item-length",
        f"{b.at['truncated']} (0008,1140)[0].(0008,1155) truncated-value",
    ]
    assert [i["offset"] for i in dumped_json(tmp_path, b.bytes())["issues"]] == [
        b.at["sequence"],
        b.at["item"],
        b.at["truncated"],
    ]


def test_repeated_tag(tmp_path):
    b = builder.Builder()
    b.element(0x00100010, "PN", "First", name="first")
    b.element(0x00100010, "PN", "Second", name="second")
    lines = [squeezed(line) for line in dumped(tmp_path, b.bytes())]
    assert f"{b.at['first']} (0010,0010) PN 6 replaced: the tag appears again" in lines
    assert f"{b.at['second']} (0010,0010) PN 6 PatientName Second" in lines
    first, second = dumped_json(tmp_path, b.bytes())["elements"]
    assert first["replaced"] is True and second["value"] == "Second"


def test_sequence_found_in_the_private_dictionary(tmp_path):
    b = builder.Builder(builder.IMPLICIT_LE)
    b.element(0x00190010, "LO", "Agfa ADC NX")
    with b.sequence(0x00191009, name="sequence"), b.item():
        b.element(0x00080060, "CS", "CT", name="modality")
    lines = [squeezed(line) for line in dumped(tmp_path, b.bytes())]
    assert lines[-3].startswith(f"{b.at['sequence']} (0019,1009) SQ 18 [")
    assert lines[-3].endswith("1 item")
    assert lines[-2:] == ["[0] item", f"{b.at['modality']} (0008,0060) CS 2 Modality CT"]
    assert dumped_json(tmp_path, b.bytes())["elements"][-1]["path"] == "(0019,1009)[0].(0008,0060)"


def test_values_are_shortened_and_escaped(tmp_path):
    b = builder.Builder()
    b.element(0x00080005, "CS", "ISO_IR 192")
    b.element(0x00080070, "LO", "Größe".encode())
    b.element(0x00081080, "LO", b"red \x1b[31m bell \x07 ")
    b.element(0x00104000, "LT", "a" * 500)
    b.element(0x0040A160, "UT", "b" * 100_000, name="text")
    lines = dumped(tmp_path, b.bytes())
    text = {line.split()[1]: line for line in lines}
    assert "Größe" in text["(0008,0070)"]
    assert r"red \x1b[31m bell \x07" in text["(0008,1080)"]
    assert text["(0010,4000)"].endswith("a" * 60 + " ...")
    assert "62 62 62 ..." in text["(0040,A160)"]
    assert max(map(len, lines)) < 140


def test_real_files(pydicom_files):
    check_real_files(pydicom_files)


def test_corpus(corpus_files):
    check_real_files(corpus_files)


def check_real_files(paths):
    """Both forms list every element and every issue."""
    seen = 0
    for path in paths:
        try:
            ds = fastdcm.dcmread(path)
        except fastdcm.DicomError:
            continue
        out = []
        write_json(ds, out.append)
        found = json.loads("\n".join(out))
        expected = {e.file_tell for level in (ds.file_meta, ds) for e in level._iterall()}
        assert sum("replaced" not in e for e in found["elements"]) == sum(
            1 for level in (ds.file_meta, ds) for _ in level._iterall()
        ), path
        assert len({e["offset"] for e in found["elements"]}) >= len(expected) - 20, path
        full = fastdcm.dcmread(path)
        assert {tuple(i.values()) for i in found["issues"]} == set(full.check_all()), path
        out = []
        TreeWriter(out.append, color=False).write_dataset(fastdcm.dcmread(path))
        assert len(out) >= len(found["elements"]) + len(found["issues"]), path
        assert "\x1b" not in "".join(out), path
        seen += 1
    assert seen > 50


def test_offsets_are_those_of_the_tags(pydicom_files):
    """The bytes at each offset of a file that is not deflated are the tag."""
    for path in pydicom_files:
        try:
            ds = fastdcm.dcmread(path)
        except fastdcm.DicomError:
            continue
        data = path.read_bytes()
        out = []
        write_json(ds, out.append)
        for e in json.loads("\n".join(out))["elements"]:
            if not e.get("inflated"):
                group, element = e["path"][-10:-1].split(",")
                number = bytes.fromhex(group), bytes.fromhex(element)
                raw = data[e["offset"] : e["offset"] + 4]
                assert raw in (b"".join(number), b"".join(n[::-1] for n in number)), (path, e)


@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak memory in /proc")
def test_large_values_are_not_loaded(tmp_path):
    b = builder.Builder()
    b.element(0x0040A160, "UT", b"", length=1 << 30)
    with open(tmp_path / "large.dcm", "wb") as file:
        file.write(b.bytes())
        file.truncate(len(b) + (1 << 30))
        file.seek(0, 2)
        file.write(builder.element(0x7FE00010, "OB", b"", length=1 << 30))
        file.truncate(file.tell() + (1 << 30))
    # VmHWM: ru_maxrss would start at the peak of the parent process.
    code = (
        "import sys; from fastdcm.cli.dump import dump; "
        "dump(sys.argv[1:], standalone_mode=False); "
        "peak, = [s for s in open('/proc/self/status') if s.startswith('VmHWM:')]; "
        "print(peak, file=sys.stderr)"
    )
    for form in ([], ["--json"]):
        done = subprocess.run(
            [sys.executable, "-c", code, *form, str(tmp_path / "large.dcm")],
            capture_output=True,
            text=True,
            env=environment(),
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        assert "1073741824" in done.stdout
        assert int(done.stderr.split()[-2]) < 100_000  # kB


def test_standard_input(tmp_path):
    data = builder.part10(builder.element(0x00100010, "PN", "Doe^Jane"))
    done = program("-", input=data)
    assert done.returncode == 0
    assert done.stdout.startswith(b"standard input: ") and b"Doe^Jane" in done.stdout


def test_errors(tmp_path):
    (tmp_path / "text.dcm").write_bytes(b"This is not a DICOM file but plain text." * 10)
    (tmp_path / "empty.dcm").touch()
    for path, message in (
        (tmp_path / "none.dcm", b"cannot be opened"),
        (tmp_path, b"directory"),
        (tmp_path / "text.dcm", b"neither"),
        (tmp_path / "empty.dcm", b"empty"),
    ):
        done = program(str(path))
        assert (done.returncode, done.stdout) == (2, b"")
        error, hint = done.stderr.splitlines()
        assert error.startswith(b"error: ") and message in error
        assert hint.startswith(b"hint: ")


@pytest.mark.skipif(sys.platform == "win32", reason="needs the pty module of Unix")
def test_color_on_a_terminal_only(tmp_path):
    import pty

    path = tmp_path / "x.dcm"
    path.write_bytes(builder.part10(builder.element(0x00100010, "PN", "Doe^Jane")))
    assert b"\x1b" not in program(str(path)).stdout
    ours, theirs = pty.openpty()
    process = subprocess.Popen([*PROGRAM, "dump", str(path)], stdout=theirs, env=environment())
    os.close(theirs)
    seen = b""
    try:
        while piece := os.read(ours, 4096):
            seen += piece
    except OSError:  # Linux raises when the other end is closed
        pass
    os.close(ours)
    assert process.wait() == 0
    assert b"\x1b[" in seen and b"Doe^Jane" in seen
