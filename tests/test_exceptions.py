"""Exceptions, issues and findings: fields, text, pickle and copy."""

import copy
import errno
import pickle

import pytest

from fastdcm import errors
from fastdcm.errors import (
    DicomError,
    FileAccessError,
    FileChangedError,
    Finding,
    InvalidDicomError,
    Issue,
    MissingFileError,
    error_for,
)

CLASSES = [DicomError, InvalidDicomError, FileChangedError, FileAccessError, MissingFileError]
FIELDS = ("text", "code", "offset", "path", "filename", "errno")


@pytest.mark.parametrize(
    "code, number, cls",
    [
        ("not-dicom", None, InvalidDicomError),
        ("empty", None, InvalidDicomError),
        ("changed", None, FileChangedError),
        ("open", errno.ENOENT, MissingFileError),
        ("open", errno.EACCES, FileAccessError),
        ("read", errno.EIO, FileAccessError),
        ("walk", errno.ENOENT, MissingFileError),
        ("not-regular", 0, FileAccessError),
        ("depth", 0, DicomError),
        ("memory", None, DicomError),
        ("deflate", 0, DicomError),
    ],
)
def test_class_of_a_code(code, number, cls):
    error = error_for(code, "text", 7, "(0010,0010)", "a.dcm", number)
    assert type(error) is cls and isinstance(error, DicomError)
    assert (error.code, error.errno) == (code, number or None)


def test_every_code_with_a_class_is_one_of_the_core(root):
    source = (root / "src_c" / "error.c").read_text(encoding="utf-8")
    for code in errors._CLASSES:
        assert f'{{"{code}",' in source


def test_file_errors_are_caught_like_those_of_open():
    with pytest.raises(OSError):
        raise error_for("read", "text", errno=errno.EIO)
    with pytest.raises(FileNotFoundError):
        raise error_for("open", "text", errno=errno.ENOENT)
    with pytest.raises(DicomError):
        raise error_for("open", "text", errno=errno.ENOENT)


@pytest.mark.parametrize(
    "fields, line",
    [
        (("bad value",), "bad value"),
        (("bad value", "read", 0), "bad value: byte 0"),
        (
            ("bad value", "depth", 420, "(0040,0275)[0].(0008,0100)", "/a b.dcm"),
            "bad value: element (0040,0275)[0].(0008,0100), byte 420, file '/a b.dcm'",
        ),
        (("bad value", "open", None, "", b"a\n.dcm"), r"bad value: file b'a\n.dcm'"),
        (
            ("bad value", "open", None, "", "a", errno.ENOENT),
            "bad value (No such file or directory): file 'a'",
        ),
    ],
)
@pytest.mark.parametrize("cls", CLASSES)
def test_the_message_is_one_line(cls, fields, line):
    assert str(cls(*fields)) == line


@pytest.mark.parametrize("cls", CLASSES)
def test_errors_survive_pickle_and_copy(cls):
    error = cls("text", "read", 5, "(0010,0010)", "a.dcm", errno.EIO)
    for other in (pickle.loads(pickle.dumps(error)), copy.copy(error), copy.deepcopy(error)):
        assert type(other) is cls and str(other) == str(error)
        assert [getattr(other, f) for f in FIELDS] == [getattr(error, f) for f in FIELDS]


def test_errors_without_arguments():
    for cls in CLASSES:
        error = cls()
        assert [getattr(error, f) for f in FIELDS[1:]] == ["", None, "", None, None]
    assert str(InvalidDicomError()) == "The specified file is not a valid DICOM file."


def test_issue_is_a_tuple_with_names():
    issue = Issue("truncated-value", "(0010,0010)", 420, "truncated")
    code, path, offset, what = issue
    assert (issue.code, issue.path, issue.offset, issue.what) == (code, path, offset, what)
    assert (
        issue == ("truncated-value", "(0010,0010)", 420, "truncated") and len({issue, issue}) == 1
    )
    assert issue != Issue("truncated-value", "(0010,0010)", 421, "truncated")
    assert sorted([Issue("b", "", 0, ""), Issue("a", "", 1, "")])[0].code == "a"
    assert str(issue) == "truncated-value: (0010,0010) at byte 420: truncated"
    assert str(Issue("no-preamble", "", 0, "missing")) == "no-preamble: byte 0: missing"
    assert eval(repr(issue)) == issue
    for other in (pickle.loads(pickle.dumps(issue)), copy.copy(issue), copy.deepcopy(issue)):
        assert other == issue and type(other) is Issue
    with pytest.raises(AttributeError):
        issue.code = "x"


def test_finding_is_a_tuple_with_names():
    finding = Finding("gap", "1 slice is missing", True, {"missing": 1})
    code, text, problem, details = finding
    assert (finding.code, finding.text, finding.problem, finding.details) == finding
    assert (
        finding
        == (code, text, problem, details)
        == ("gap", "1 slice is missing", True, {"missing": 1})
    )
    assert str(finding) == "gap: 1 slice is missing" and eval(repr(finding)) == finding
    for other in (pickle.loads(pickle.dumps(finding)), copy.copy(finding), copy.deepcopy(finding)):
        assert other == finding and type(other) is Finding
