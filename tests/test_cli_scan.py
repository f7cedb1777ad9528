"""fastdcm scan and fastdcm summary: what goes to stdout, what to stderr, and
the exit status."""

import csv
import io
import json
import os
import subprocess
import sys

import builder as b
import pyarrow.parquet
import pytest

import fastdcm
from fastdcm.bulk import DEFAULT_TAGS
from fastdcm.cli._shared import size_text
from fastdcm.cli.scan import split_tags

FIXED = ["path", "size", "mtime_ns", "transfer_syntax", "error", "error_offset", "error_detail",
         "issues"]


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    """Two patients, three studies, four series, nine files, two of no DICOM."""
    folder = tmp_path_factory.mktemp("archive")
    for i, (patient, study, series) in enumerate(
            [("A", 1, 1), ("A", 1, 1), ("A", 1, 2), ("A", 2, 3), ("B", 3, 4), ("B", 3, 4), ("B", 3, 4)]):
        path = folder / "in" / f"{i}.dcm"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b.part10(
            b.element(0x00080005, "CS", "ISO_IR 192") + b.element(0x00080020, "DA", f"2024010{study}")
            + b.element(0x00080060, "CS", "CT") + b.element(0x0008103E, "LO", f"series {series}")
            + b.element(0x00100010, "PN", f"D\u00e9^{patient}".encode())
            + b.element(0x00100020, "LO", patient) + b.element(0x0020000D, "UI", f"1.{study}")
            + b.element(0x0020000E, "UI", f"1.{study}.{series}") + b.element(0x00200011, "IS", str(series))))
    (folder / "notes.txt").write_text("These are my notes about the archive. " * 9)
    (folder / "empty").write_bytes(b"")
    return folder


def run(*args, status=0, text=True):
    """(stdout, stderr) of the program."""
    done = subprocess.run([sys.executable, "-c", "from fastdcm.cli import main; main()", *map(str, args)],
                          capture_output=True, encoding="utf-8" if text else None)
    assert done.returncode == status, done.stderr
    return done.stdout, done.stderr


def test_version():
    assert run("--version")[0] == f"fastdcm, version {fastdcm.__version__}\n"


def test_help_tells_the_verbs():
    out, err = run("--help")
    assert "scan" in out and "summary" in out and err == ""
    out, err = run(status=2)
    assert out == "" and "scan" in err


def test_csv_on_stdout(archive):
    out, err = run("scan", archive)
    rows = list(csv.DictReader(io.StringIO(out)))
    assert list(rows[0]) == [*FIXED, *DEFAULT_TAGS]
    assert [os.path.basename(r["path"]) for r in rows] == ["empty", *(f"{i}.dcm" for i in range(7)),
                                                           "notes.txt"]
    assert rows[1]["PatientName"] == "D\u00e9^A"
    assert err.startswith("9 files, 4 series, 2 errors, ")
    assert err.endswith(" files/s\n") and err.count("\n") == 1


def test_json_lines_on_stdout(archive):
    out, _ = run("scan", archive / "in", "--json", "--tags", "SeriesNumber")
    rows = [json.loads(line) for line in out.splitlines()]
    assert [r["SeriesNumber"] for r in rows] == [1, 1, 2, 3, 4, 4, 4]
    assert list(rows[0]) == [*FIXED, "SeriesNumber"]


def test_output_and_counts(archive, tmp_path):
    out, err = run("scan", archive, "-o", tmp_path / "t.parquet", "--tags", "Modality,SeriesInstanceUID",
                   "--pixels", "--threads", 2, "--json")
    table = pyarrow.parquet.read_table(tmp_path / "t.parquet")
    assert table.column_names == [*FIXED, "Modality", "SeriesInstanceUID", "pixel_offset",
                                  "pixel_length", "frames"]
    assert table.num_rows == 9
    stats = json.loads(out)
    assert (stats["files"], stats["errors"], stats["series"], stats["threads"]) == (9, 2, 4, 2)
    assert err.startswith("9 files, 4 series, 2 errors, ")
    run("scan", archive, "-o", tmp_path / "f.parquet", "--tags", "Modality", "--frames")
    table = pyarrow.parquet.read_table(tmp_path / "f.parquet")
    assert table.column_names[-4:] == ["pixel_offset", "pixel_length", "frames", "frame_offsets"]
    assert str(table.schema.field("frame_offsets").type).startswith("list<")
    out, err = run("scan", archive, "-o", tmp_path / "t.csv", "--tags", "Modality")
    assert out == "" and err.startswith("9 files, 2 errors, ")


def test_sources_one_after_another(archive, tmp_path):
    run("scan", archive / "in", "-o", tmp_path / "list.csv")
    out, _ = run("scan", archive / "notes.txt", tmp_path / "list.csv", f"{archive}/in/[01].dcm",
                 "--tags", "PatientID")
    rows = list(csv.DictReader(io.StringIO(out)))
    assert [r["PatientID"] for r in rows] == ["", *"AAAABBB", "A", "A"]


def test_not_recursive(archive):
    out, _ = run("scan", archive, "--no-recursive")
    assert out.count("\n") == 3
    out, _ = run("scan", archive, "--recursive")
    assert out.count("\n") == 10


@pytest.mark.parametrize("given, tags", [
    ("A,B", ["A", "B"]),
    (" A , ,B,", ["A", "B"]),
    ("(0010,0010),X", ["(0010,0010)", "X"]),
    ("(0029,xx08,A (B)),S[*].(0010,0020)", ["(0029,xx08,A (B))", "S[*].(0010,0020)"]),
    ("", []),
])
def test_lists_of_elements(given, tags):
    assert split_tags(given) == tags


def test_elements_from_a_file(archive, tmp_path):
    (tmp_path / "tags").write_text("# what I want\nPatientID\n\n  (0019,xx0C,A, B)  \n")
    out, _ = run("scan", archive, "--tags", f"Modality,@{tmp_path}/tags")
    header = next(csv.reader(io.StringIO(out)))
    assert header == [*FIXED, "Modality", "PatientID", "(0019,xx0C,A, B)"]


def test_exit_status(archive, tmp_path):
    run("scan", archive, "-o", tmp_path / "a.csv", "--fail-on-error", status=1)
    run("scan", archive / "in", "-o", tmp_path / "a.csv", "--fail-on-error")
    run("summary", archive, "--fail-on-error", status=1)
    out, _ = run("scan", archive, "--on-error", "skip", "--fail-on-error", status=1)
    assert out.count("\n") == 8


@pytest.mark.parametrize("args, says, hint", [
    (["scan", "/no/such/folder"], "error: /no/such/folder: ", "hint: give a folder"),
    (["scan"], "error: Missing argument", "hint: fastdcm scan --help"),
    (["scna"], "error: No such command", "hint: fastdcm --help"),
    (["scan", ".", "--treads", "3"], "error: No such option", "hint: fastdcm scan --help"),
    (["scan", ".", "--tags", "PatinetID"], "did you mean PatientID", ""),
    (["scan", ".", "--tags", "@/no/such/list"], "error: --tags @/no/such/list", ""),
    (["scan", ".", "-o", "table.xlsx"], "ends in .parquet, .arrow, .csv, .jsonl", ""),
    (["scan", ".", "-o", "/no/such/folder/t.csv"], "error: /no/such/folder: ", ""),
    (["scan", "a.zip"], "a.zip: archives are not read", ""),
    (["scan", "nope://bucket"], "error: Protocol not known: nope", "hint: check the URL"),
    (["summary", "/no/such/folder"], "error: /no/such/folder: ", "hint: give a folder"),
    (["scan", ".", "--on-error", "raise"], "error: ", "hint: `fastdcm scan"),
])
def test_errors_for_people(tmp_path, args, says, hint):
    """One line, a hint where there is one, status 2, nothing on stdout."""
    (tmp_path / "a.zip").write_bytes(b"PK")
    done = subprocess.run([sys.executable, "-c", "from fastdcm.cli import main; main()", *args],
                          capture_output=True, text=True, cwd=tmp_path,
                          env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)})
    lines = done.stderr.splitlines()
    assert done.returncode == 2
    assert says in lines[0] and lines[0].startswith("error: ")
    assert [line[:len(hint)] for line in lines[1:]] == ([hint] if hint else [])
    assert os.listdir(tmp_path) == ["a.zip"]


def test_a_reader_that_has_enough(archive):
    program = "from fastdcm.cli import main; main()"
    scan = subprocess.Popen([sys.executable, "-c", program, "scan", str(archive), *[str(archive / "in")] * 900],
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    scan.stdout.readline()
    scan.stdout.close()
    assert scan.wait(60) == 0
    assert b"Traceback" not in scan.stderr.read()
    scan.stderr.close()


@pytest.mark.parametrize("count, text", [(0, "0 bytes"), (999, "999 bytes"), (1000, "1.0 KB"),
                                         (123_456_789, "123.5 MB"), (5 * 10**15, "5000.0 TB")])
def test_sizes(count, text):
    assert size_text(count) == text


def test_summary(archive):
    out, err = run("summary", archive)
    lines = out.splitlines()
    size = os.path.getsize(archive / "in" / "0.dcm")
    assert err == ""
    assert lines[0] == f"A  D\u00e9^A  [4 files, {size_text(4 * size)}]"
    assert lines[1] == f"\u251c\u2500\u2500 20240101  1.1  [3 files, {size_text(3 * size)}]"
    assert lines[2] == (f"\u2502   \u251c\u2500\u2500 1  CT  series 1  1.1.1  "
                        f"[2 files, {size_text(2 * size)}]")
    assert lines[5].startswith("    \u2514\u2500\u2500 3  CT  series 3  1.2.3  [1 file, ")
    assert lines[-3] == f"1 error empty, the first in {archive}/empty"
    assert lines[-2] == f"1 error not-dicom, the first in {archive}/notes.txt"
    assert lines[-1] == (f"9 files, {size_text(7 * size)}, 2 patients, 3 studies, 4 series, 2 errors")


def test_summary_as_json(archive):
    found = json.loads(run("summary", archive, "--json")[0])
    size = os.path.getsize(archive / "in" / "0.dcm")
    assert found["counts"] == {"files": 9, "bytes": 7 * size, "patients": 2, "studies": 3, "series": 4,
                               "errors": 2}
    assert [p["PatientID"] for p in found["patients"]] == ["A", "B"]
    study = found["patients"][0]["studies"][0]
    assert (study["StudyInstanceUID"], study["StudyDate"], study["files"]) == ("1.1", "20240101", 3)
    assert study["series"][1] == {"SeriesInstanceUID": "1.1.2", "SeriesNumber": 2, "Modality": "CT",
                                  "SeriesDescription": "series 2", "files": 1, "bytes": size}
    assert found["errors"]["empty"] == {"count": 1, "first": f"{archive}/empty"}


def test_summary_of_files_that_say_nothing(tmp_path):
    (tmp_path / "a.dcm").write_bytes(b.part10(b.element(0x00280010, "US", 1)))
    out, _ = run("summary", tmp_path)
    assert out.splitlines()[0].startswith("(no PatientID)  [1 file, ")
    assert "(no StudyInstanceUID)" in out and "(no SeriesInstanceUID)" in out


@pytest.mark.skipif(sys.platform == "win32", reason="there are no pseudo-terminals")
def test_progress_on_a_terminal_alone(archive):
    import pty

    leader, follower = pty.openpty()
    done = subprocess.Popen([sys.executable, "-c", "from fastdcm.cli import main; main()", "scan", str(archive)],
                            stdout=subprocess.DEVNULL, stderr=follower)
    os.close(follower)
    seen = b""
    while True:
        try:
            part = os.read(leader, 4096)
        except OSError:  # Linux: the other end is closed
            break
        if not part:
            break
        seen += part
    os.close(leader)
    assert done.wait() == 0
    assert seen.count(b" files/s") >= 2  # the bar, and the last line
    assert b"9 files, 4 series, 2 errors" in seen
