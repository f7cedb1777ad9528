"""fastdcm scan and fastdcm summary: standard output, messages and exit status."""

import csv
import io
import json
import os
import subprocess
import sys

import pyarrow.parquet
import pytest

import fastdcm
from fastdcm.cli._shared import size_text
from fastdcm.cli.scan import split_tags
from fastdcm.scanning.tags import DEFAULT_TAGS
from support import builder as b
from support.cli import PROGRAM, environment, run, start

FIXED = [
    "path",
    "size",
    "mtime_ns",
    "transfer_syntax",
    "error",
    "error_offset",
    "error_detail",
    "issues",
]


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    """Two patients, three studies, four series, nine files, two of them not DICOM."""
    folder = tmp_path_factory.mktemp("archive")
    for i, (patient, study, series) in enumerate(
        [("A", 1, 1), ("A", 1, 1), ("A", 1, 2), ("A", 2, 3), ("B", 3, 4), ("B", 3, 4), ("B", 3, 4)]
    ):
        path = folder / "in" / f"{i}.dcm"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(
            b.part10(
                b.element(0x00080005, "CS", "ISO_IR 192")
                + b.element(0x00080020, "DA", f"2024010{study}")
                + b.element(0x00080060, "CS", "CT")
                + b.element(0x0008103E, "LO", f"series {series}")
                + b.element(0x00100010, "PN", f"D\u00e9^{patient}".encode())
                + b.element(0x00100020, "LO", patient)
                + b.element(0x0020000D, "UI", f"1.{study}")
                + b.element(0x0020000E, "UI", f"1.{study}.{series}")
                + b.element(0x00200011, "IS", str(series))
            )
        )
    (folder / "notes.txt").write_text("These are my notes about the archive. " * 9)
    (folder / "empty").write_bytes(b"")
    return folder


def test_version():
    assert run("--version")[0] == f"fastdcm, version {fastdcm.__version__}\n"


def test_help_lists_the_commands():
    out, err = run("--help")
    assert "scan" in out and "summary" in out and err == ""
    out, err = run(status=2)
    assert out == "" and "scan" in err


def test_csv_on_stdout(archive):
    out, err = run("scan", archive)
    rows = list(csv.DictReader(io.StringIO(out)))
    assert list(rows[0]) == [*FIXED, *DEFAULT_TAGS]
    assert [os.path.basename(r["path"]) for r in rows] == [
        "empty",
        *(f"{i}.dcm" for i in range(7)),
        "notes.txt",
    ]
    assert rows[1]["PatientName"] == "D\u00e9^A"
    assert err.startswith("9 files, 4 series, 2 errors, ")
    assert err.endswith(" files/s\n") and err.count("\n") == 1


def test_json_lines_on_stdout(archive):
    out, _ = run("scan", archive / "in", "--json", "--tags", "SeriesNumber")
    rows = [json.loads(line) for line in out.splitlines()]
    assert [r["SeriesNumber"] for r in rows] == [1, 1, 2, 3, 4, 4, 4]
    assert list(rows[0]) == [*FIXED, "SeriesNumber"]


def test_output_and_counts(archive, tmp_path):
    out, err = run(
        "scan",
        archive,
        "-o",
        tmp_path / "t.parquet",
        "--tags",
        "Modality,SeriesInstanceUID",
        "--pixels",
        "--threads",
        2,
        "--json",
    )
    table = pyarrow.parquet.read_table(tmp_path / "t.parquet")
    assert table.column_names == [
        *FIXED,
        "Modality",
        "SeriesInstanceUID",
        "pixel_offset",
        "pixel_length",
        "pixel_fragments",
        "frames",
    ]
    assert table.num_rows == 9
    stats = json.loads(out)
    assert (stats["files"], stats["errors"], stats["series"], stats["threads"]) == (9, 2, 4, 2)
    assert err.startswith("9 files, 4 series, 2 errors, ")
    run("scan", archive, "-o", tmp_path / "f.parquet", "--tags", "Modality", "--frames")
    table = pyarrow.parquet.read_table(tmp_path / "f.parquet")
    assert table.column_names[-2:] == ["frames", "frame_offsets"]
    assert str(table.schema.field("frame_offsets").type).startswith("list<")
    out, err = run("scan", archive, "-o", tmp_path / "t.csv", "--tags", "Modality")
    assert out == "" and err.startswith("9 files, 2 errors, ")


def test_an_index_folder(archive, tmp_path):
    index = f"{tmp_path}/index/"
    out, err = run("scan", archive, "-o", index, "--json")
    stats = json.loads(out)
    assert (stats["files"], stats["total"], stats["errors"], stats["series"]) == (9, 9, 2, 4)
    assert err.startswith("9 files, 4 series, 2 errors, ") and err.endswith(" files/s\n")
    run("scan", archive, "-o", tmp_path / "t.parquet")
    assert (
        fastdcm.open_index(index)
        .read_all()
        .equals(pyarrow.parquet.read_table(tmp_path / "t.parquet"))
    )
    # Again, without the / at the end: the index is complete.
    out, err = run("scan", f"{archive}/", "-o", tmp_path / "index", "--threads", 1)
    assert (
        err == f"{tmp_path}/index is already complete, nothing to do: 9 files, 4 series, 2 errors\n"
    )
    run("scan", archive, "-o", index, "--fail-on-error", status=1)
    out, err = run("scan", archive, "-o", index, "--tags", "Modality", "--no-recursive", status=2)
    error, hint = err.splitlines()
    assert error.startswith(
        "error: the index was made with other parameters: tags: PatientID, PatientName, "
    )
    assert f"; source: {archive} only in the index, {archive} without subfolders only in" in error
    assert hint == "hint: repeat the options the index was created with, or choose another folder"
    out, err = run("scan", archive, "-o", f"{archive}/in/", status=2)
    assert err.startswith(f"error: -o {archive}/in/: the folder is not empty")


def test_several_sources_in_an_index(archive, tmp_path):
    sources = [archive / "notes.txt", f"{archive}/in/[01].dcm", archive / "in"]
    for _ in range(2):
        run("scan", *sources, "-o", f"{tmp_path}/index/", "--tags", "PatientID")
    run("scan", *sources, "-o", tmp_path / "t.parquet", "--tags", "PatientID")
    table = fastdcm.open_index(tmp_path / "index").read_all()
    assert table.equals(pyarrow.parquet.read_table(tmp_path / "t.parquet")) and table.num_rows == 10
    _, err = run("scan", *sources[1:], "-o", f"{tmp_path}/index/", "--tags", "PatientID", status=2)
    assert f"source: {sources[0]} only in the index: file" in err


def test_list_of_errors(archive, tmp_path):
    reason = "at byte 0: this is neither a DICOM file nor a plausible DICOM data set"
    lines = [
        f"{archive}/empty: empty at byte 0: the file is empty",
        f"{archive}/notes.txt: not-dicom {reason}",
    ]
    assert run("scan", archive, "--errors")[0].splitlines() == lines
    run("scan", archive, "-o", f"{tmp_path}/index/")
    (archive / "empty").rename(archive / "moved")  # no file is read
    try:
        out, err = run("scan", tmp_path / "index", "--errors", "--fail-on-error", status=1)
    finally:
        (archive / "moved").rename(archive / "empty")
    assert (out.splitlines(), err) == (lines, "")
    out, _ = run(
        "scan", tmp_path / "index", archive / "empty", archive / "in", "--errors", "--json"
    )
    rows = [json.loads(line) for line in out.splitlines()]
    assert [row["error"] for row in rows] == ["empty", "not-dicom", "empty"]
    assert rows[0] == {
        "path": f"{archive}/empty",
        "error": "empty",
        "error_offset": 0,
        "error_detail": "the file is empty",
    }
    assert run("scan", archive / "in", "--errors", "--fail-on-error") == ("", "")
    run("scan", archive, "-o", f"{tmp_path}/skip/", "--on-error", "skip")
    _, err = run("scan", tmp_path / "skip", "--errors", status=2)
    assert "has no rows for unreadable files" in err
    for other in (["-o", "x.csv"], ["--on-error", "skip"]):
        assert "cannot be used with" in run("scan", archive, "--errors", *other, status=2)[1]


@pytest.mark.skipif(sys.platform == "win32", reason="not a valid name on Windows")
def test_an_error_is_one_line(tmp_path):
    (tmp_path / "a\nb").write_bytes(b"")
    out, _ = run("scan", tmp_path, "--errors")
    assert out == f"{tmp_path}/a\\nb: empty at byte 0: the file is empty\n"


def test_summary_of_an_index(archive, tmp_path):
    index = f"{tmp_path}/index/"
    run("scan", archive, "-o", index)
    assert run("summary", index) == run("summary", archive)
    assert json.loads(run("summary", index, "--json")[0]) == json.loads(
        run("summary", archive, "--json")[0]
    )
    out, _ = run("summary", index, archive / "in")
    assert out.splitlines()[-1].startswith("16 files, ")
    run(
        "scan",
        archive,
        "-o",
        f"{tmp_path}/few/",
        "--tags",
        "PatientID,StudyInstanceUID,SeriesInstanceUID",
    )
    few, whole = run("summary", f"{tmp_path}/few")[0], run("summary", archive)[0]
    assert few.splitlines()[-1] == whole.splitlines()[-1]
    run("scan", archive, "-o", f"{tmp_path}/none/", "--tags", "PatientID")
    _, err = run("summary", f"{tmp_path}/none", status=2)
    assert err == (
        f"error: {tmp_path}/none: the index has no StudyInstanceUID, SeriesInstanceUID column\n"
        "hint: give the folder that was scanned\n"
    )


def test_an_index_that_is_not_complete(archive, tmp_path):
    index = tmp_path / "index"
    run("scan", archive, "-o", f"{index}/")
    manifest = index / "_fastdcm" / "manifest.jsonl"
    manifest.write_text("".join(manifest.read_text().splitlines(keepends=True)[:1]))
    note = f"note: {index} is not complete: 0 of 9 files read\n"
    assert run("summary", index)[1] == run("scan", index, "--errors")[1] == note
    manifest.unlink()
    for command in (["summary", index], ["scan", index], ["scan", index, "--errors"]):
        assert "not been listed to the end" in run(*command, status=2)[1]
    run("scan", archive, "-o", f"{index}/")
    assert fastdcm.open_index(index).complete


def test_several_sources(archive, tmp_path):
    run("scan", archive / "in", "-o", tmp_path / "list.csv")
    out, _ = run(
        "scan",
        archive / "notes.txt",
        tmp_path / "list.csv",
        f"{archive}/in/[01].dcm",
        "--tags",
        "PatientID",
    )
    rows = list(csv.DictReader(io.StringIO(out)))
    assert [r["PatientID"] for r in rows] == ["", *"AAAABBB", "A", "A"]


def test_not_recursive(archive):
    out, _ = run("scan", archive, "--no-recursive")
    assert out.count("\n") == 3
    out, _ = run("scan", archive, "--recursive")
    assert out.count("\n") == 10


@pytest.mark.parametrize(
    "given, tags",
    [
        ("A,B", {"A": "A", "B": "B"}),
        (" A , ,B,", {"A": "A", "B": "B"}),
        ("(0010,0010),X", {"(0010,0010)": "(0010,0010)", "X": "X"}),
        (
            "(0029,xx08,A (B)),S[*].(0010,0020)",
            {"(0029,xx08,A (B))": "(0029,xx08,A (B))", "S[*].(0010,0020)": "S[*].(0010,0020)"},
        ),
        (
            "a=A, b c = B ,(0029,xx08,A=B)",
            {"a": "A", "b c": "B", "(0029,xx08,A=B)": "(0029,xx08,A=B)"},
        ),
        ("csa=(0029,xx08,A=B)", {"csa": "(0029,xx08,A=B)"}),
        ("", {}),
    ],
)
def test_split_tags(given, tags):
    assert split_tags(given) == tags


def test_two_columns_of_one_name(archive):
    out = run("scan", archive, "--tags", "a=Rows,a=Columns", status=2)[1]
    assert "--tags: two columns have the name 'a'" in out


def test_dates(archive):
    out, _ = run("scan", archive, "--tags", "date=StudyDate", "--parse-dates")
    assert next(csv.reader(io.StringIO(out)))[-1] == "date"


def test_tags_from_a_file(archive, tmp_path):
    (tmp_path / "tags").write_text("# tags\nPatientID\n\n  (0019,xx0C,A, B)  \n")
    out, _ = run("scan", archive, "--tags", f"Modality,@{tmp_path}/tags")
    header = next(csv.reader(io.StringIO(out)))
    assert header == [*FIXED, "Modality", "PatientID", "(0019,xx0C,A, B)"]


def test_exit_status(archive, tmp_path):
    run("scan", archive, "-o", tmp_path / "a.csv", "--fail-on-error", status=1)
    run("scan", archive / "in", "-o", tmp_path / "a.csv", "--fail-on-error")
    run("summary", archive, "--fail-on-error", status=1)
    out, _ = run("scan", archive, "--on-error", "skip", "--fail-on-error", status=1)
    assert out.count("\n") == 8


@pytest.mark.parametrize(
    "args, message, hint",
    [
        (["scan", "/no/such/folder"], "error: /no/such/folder: ", "hint: give a folder"),
        (["scan"], "error: Missing argument", "hint: fastdcm scan --help"),
        (["scna"], "error: No such command", "hint: fastdcm --help"),
        (["scan", ".", "--treads", "3"], "error: No such option", "hint: fastdcm scan --help"),
        (["scan", ".", "--tags", "PatinetID"], "did you mean PatientID", ""),
        (["scan", ".", "--tags", "@/no/such/list"], "error: --tags @/no/such/list", ""),
        (["scan", ".", "-o", "table.xlsx"], "ends in .parquet, .arrow, .csv, .jsonl", ""),
        (["scan", ".", "-o", "/no/such/folder/t.csv"], "error: /no/such/folder: ", ""),
        (["scan", "a.7z"], "a.7z: 7z archives are not supported; unpack the archive first", ""),
        (["scan", "nope://bucket"], "error: Protocol not known: nope", "hint: check the URL"),
        (["summary", "/no/such/folder"], "error: /no/such/folder: ", "hint: give a folder"),
        (["scan", ".", "--on-error", "raise"], "error: ", "hint: `fastdcm scan"),
    ],
)
def test_error_messages(tmp_path, args, message, hint):
    """One line, a hint where there is one, status 2, nothing on stdout."""
    (tmp_path / "a.7z").write_bytes(b"7z")
    done = start(*args, cwd=tmp_path)
    lines = done.stderr.splitlines()
    assert done.returncode == 2
    assert message in lines[0] and lines[0].startswith("error: ")
    assert [line[: len(hint)] for line in lines[1:]] == ([hint] if hint else [])
    assert os.listdir(tmp_path) == ["a.7z"]


def test_closed_pipe(archive):
    scan = subprocess.Popen(
        [*PROGRAM, "scan", str(archive), *[str(archive / "in")] * 900],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    scan.stdout.readline()
    scan.stdout.close()
    assert scan.wait(60) == 0
    assert b"Traceback" not in scan.stderr.read()
    scan.stderr.close()


@pytest.mark.parametrize(
    "count, text",
    [
        (0, "0 bytes"),
        (999, "999 bytes"),
        (1000, "1.0 KB"),
        (123_456_789, "123.5 MB"),
        (5 * 10**15, "5000.0 TB"),
    ],
)
def test_sizes(count, text):
    assert size_text(count) == text


def test_summary(archive):
    out, err = run("summary", archive)
    lines = out.splitlines()
    size = os.path.getsize(archive / "in" / "0.dcm")
    assert err == ""
    assert lines[0] == f"A  D\u00e9^A  [4 files, {size_text(4 * size)}]"
    assert lines[1] == f"\u251c\u2500\u2500 20240101  1.1  [3 files, {size_text(3 * size)}]"
    assert lines[2] == (
        f"\u2502   \u251c\u2500\u2500 1  CT  series 1  1.1.1  [2 files, {size_text(2 * size)}]"
    )
    assert lines[5].startswith("    \u2514\u2500\u2500 3  CT  series 3  1.2.3  [1 file, ")
    assert lines[-3] == f"1 error empty, the first in {archive}/empty"
    assert lines[-2] == f"1 error not-dicom, the first in {archive}/notes.txt"
    assert lines[-1] == (
        f"9 files, {size_text(7 * size)}, 2 patients, 3 studies, 4 series, 2 errors"
    )


def test_summary_as_json(archive):
    found = json.loads(run("summary", archive, "--json")[0])
    size = os.path.getsize(archive / "in" / "0.dcm")
    assert found["counts"] == {
        "files": 9,
        "bytes": 7 * size,
        "patients": 2,
        "studies": 3,
        "series": 4,
        "errors": 2,
    }
    assert [p["PatientID"] for p in found["patients"]] == ["A", "B"]
    study = found["patients"][0]["studies"][0]
    assert (study["StudyInstanceUID"], study["StudyDate"], study["files"]) == ("1.1", "20240101", 3)
    assert study["series"][1] == {
        "SeriesInstanceUID": "1.1.2",
        "SeriesNumber": 2,
        "Modality": "CT",
        "SeriesDescription": "series 2",
        "files": 1,
        "bytes": size,
    }
    assert found["errors"]["empty"] == {"count": 1, "first": f"{archive}/empty"}


def test_summary_without_identifiers(tmp_path):
    (tmp_path / "a.dcm").write_bytes(b.part10(b.element(0x00280010, "US", 1)))
    out, _ = run("summary", tmp_path)
    assert out.splitlines()[0].startswith("(no PatientID)  [1 file, ")
    assert "(no StudyInstanceUID)" in out and "(no SeriesInstanceUID)" in out


@pytest.mark.skipif(sys.platform == "win32", reason="needs the pty module of Unix")
@pytest.mark.parametrize("into_index", [False, True])
def test_progress_on_a_terminal_only(archive, tmp_path, into_index):
    import pty

    leader, follower = pty.openpty()
    output = ["-o", f"{tmp_path}/index/"] if into_index else []
    done = subprocess.Popen(
        [*PROGRAM, "scan", str(archive), *output],
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=follower,
    )
    os.close(follower)
    seen = b""
    while True:
        try:
            part = os.read(leader, 4096)
        except OSError:  # Linux raises when the other end is closed
            break
        if not part:
            break
        seen += part
    os.close(leader)
    assert done.wait() == 0
    assert seen.count(b" files/s") >= 2  # the progress bar and the last line
    assert b"9 files, 4 series, 2 errors" in seen
    assert (b"9 files of 9 " in seen) == into_index


def test_time_left(monkeypatch):
    """The text of the progress bar at each stage of a scan into an index."""
    import io

    from rich.console import Console

    from fastdcm.cli import _shared

    class Counted:
        def __init__(self):
            self.stats = {"listed": 1234, "total": None}

    now = [100.0]
    monkeypatch.setattr(_shared, "perf_counter", lambda: now[0])
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    sys.stderr.isatty = lambda: True
    counted = Counted()
    column = _shared.progress(counted).columns[1]

    def text():
        out = io.StringIO()
        Console(file=out, width=200).print(column.render(None))
        return out.getvalue().strip()

    assert text() == "1,234 files found"
    counted.stats = {"files": 500, "total": 2000, "errors": 1, "files_per_second": 7.0}
    assert text() == "500 files of 2,000  7 files/s  1 error"
    now[0] += 60
    counted.stats = {**counted.stats, "files": 800}
    assert text() == "800 files of 2,000  7 files/s  1 error  0:04:00 left"
