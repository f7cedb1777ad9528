"""Tag expressions: how they are parsed, which columns they make, and what is not valid."""

import pyarrow
import pytest

import fastdcm
from fastdcm.scanning.scanner import scan
from fastdcm.scanning.tags import DEFAULT_TAGS, make_plan, parse_tag
from support import builder as b
from support.scans import FIXED, one_row


def test_default_columns():
    schema = pyarrow.schema(scan([]))
    assert schema.names == [*FIXED, *DEFAULT_TAGS]
    assert len(DEFAULT_TAGS) == len(set(DEFAULT_TAGS)) == 30
    text, texts = pyarrow.string(), pyarrow.list_(pyarrow.string())
    assert [schema.field(name).type for name in FIXED] == [
        text,
        pyarrow.int64(),
        pyarrow.int64(),
        text,
        text,
        pyarrow.int64(),
        text,
        texts,
    ]
    assert [schema.field(name).nullable for name in FIXED] == [False] + [True] * 7
    numbers = pyarrow.list_(pyarrow.float64())
    for name, kind in {
        "PatientName": text,
        "StudyDate": text,
        "SeriesNumber": pyarrow.int64(),
        "ImageType": texts,
        "Rows": pyarrow.int64(),
        "PixelSpacing": numbers,
        "SliceThickness": pyarrow.float64(),
        "ImageOrientationPatient": numbers,
        "SOPClassUID": text,
    }.items():
        assert schema.field(name).type == kind, name


@pytest.mark.parametrize(
    "tag, kind",
    [
        ("InstanceNumber", "int64"),  # IS
        ("ReferencedFrameNumber", "list<item: int64>"),  # IS 1-n
        ("SimpleFrameList", "list<item: int64>"),  # UL 1-n
        ("Rows", "int64"),  # US
        ("SmallestImagePixelValue", "int64"),  # US or SS
        ("RedPaletteColorLookupTableDescriptor", "list<item: int64>"),
        ("ReferencePixelX0", "int64"),  # SL
        ("TagAngleSecondAxis", "int64"),  # SS
        ("FileOffsetInContainer", "uint64"),  # UV
        ("SliceThickness", "double"),  # DS
        ("PixelSpacing", "list<item: double>"),
        ("DiffusionBValue", "double"),  # FD
        ("RecommendedDisplayFrameRateInFloat", "double"),  # FL
        ("FrameIncrementPointer", "list<item: string>"),  # AT 1-n
        ("PixelData", "binary"),  # OB or OW
        ("LUTData", "binary"),  # US or OW
        ("EncapsulatedDocument", "binary"),  # OB
        ("PatientName", "string"),  # PN
        ("OtherPatientNames", "list<item: string>"),
        ("PatientAge", "string"),  # AS
        ("AcquisitionDateTime", "string"),  # DT
        ("PatientComments", "string"),  # LT
        ("RetrieveURL", "string"),  # UR
        ("LongCodeValue", "string"),  # UC
        ("(0009,1001)", "string"),  # private, not in the dictionary
        ("(0009,0010)", "string"),  # a private creator
        ("(0008,0000)", "int64"),  # a group length
        ("(0029,xx08,SIEMENS CSA HEADER)", "string"),  # CS
        ("(0029,xx10,SIEMENS CSA HEADER)", "binary"),  # OB
        ("(0019,xx0C,SIEMENS MR HEADER)", "int64"),  # IS
        ("(0019,xx0C,NOBODY)", "string"),
        ("(6000,3000)", "binary"),  # of a repeating group
        ("AnatomicRegionSequence.CodeValue", "string"),
        ("AnatomicRegionSequence[3].CodeValue", "string"),
        ("AnatomicRegionSequence[*].CodeValue", "list<item: string>"),
        ("SharedFunctionalGroupsSequence.PixelMeasuresSequence.PixelSpacing", "list<item: double>"),
        (
            "PerFrameFunctionalGroupsSequence[*].PixelMeasuresSequence[*].PixelSpacing",
            "list<item: list<item: list<item: double>>>",
        ),
    ],
)
def test_column_types(tag, kind):
    schema = pyarrow.schema(scan([], [tag]))
    assert schema.names == [*FIXED, tag]
    assert str(schema.field(tag).type) == kind


@pytest.mark.parametrize(
    "tag, name, path",
    [
        ("PatientID", "PatientID", [(0x00100020, None, None)]),
        ("00100020", "00100020", [(0x00100020, None, None)]),
        ("(0010,0020)", "(0010,0020)", [(0x00100020, None, None)]),
        (0x00100020, "(0010,0020)", [(0x00100020, None, None)]),
        ("(0029,xx08,A)", "(0029,xx08,A)", [(0x00290008, "A", None)]),
        ("(0029,XX08, A, (B))", "(0029,XX08, A, (B))", [(0x00290008, "A, (B)", None)]),
        (
            "(0008,1140)[12].(0029,xx08,A (B))[*].Rows",
            "(0008,1140)[12].(0029,xx08,A (B))[*].Rows",
            [(0x00081140, None, 12), (0x00290008, "A (B)", 0), (0x00280010, None, None)],
        ),
    ],
)
def test_parsed_elements(tag, name, path):
    assert parse_tag(tag) == (name, path)


@pytest.mark.parametrize(
    "tag, message",
    [
        ("PatinetID", "did you mean PatientID"),
        ("patientid", "did you mean PatientID"),
        ("Patient ID", "did you mean PatientID"),
        ("pixel_spacing", "did you mean PixelSpacing"),
        ("*", "name the columns, or read every element"),
        ("", "cannot parse element '': a step is empty"),
        (".PatientID", "a step is empty"),
        ("PatientID.", "a step is empty"),
        ("A[1", "without ']'"),
        ("AnatomicRegionSequence[1]CodeValue", "'.' expected before 'CodeValue'"),
        ("AnatomicRegionSequence", "is a sequence"),
        ("AnatomicRegionSequence[0].CodeValue", "from 1"),
        ("AnatomicRegionSequence[x].CodeValue", "from 1"),
        ("AnatomicRegionSequence[-1].CodeValue", "from 1"),
        ("AnatomicRegionSequence[].CodeValue", "from 1"),
        ("PatientID[1]", "selects an item"),
        ("PatientID.CodeValue", "is not a sequence"),
        ("(0010,002)", "neither"),
        ("(0010,xx20)", "neither"),
        ("(0010,0020,A)", "neither"),
        ("(0011,xx20,)", "neither"),
        ("(0011", "without '\\)'"),
        (".".join(["AnatomicRegionSequence"] * 16) + ".CodeValue", "deep"),
        (".".join(["AnatomicRegionSequence[*]"] * 5) + ".CodeValue", "lists"),
    ],
)
def test_invalid_elements(tag, message):
    with pytest.raises(ValueError, match=message):
        scan([], [tag])


def test_invalid_requests():
    for tags in ("PatientID", [b"PatientID"], [None]):
        with pytest.raises(TypeError):
            scan([], tags)
    with pytest.raises(ValueError, match="two columns have the name 'PatientID'"):
        scan([], ["PatientID", "PatientID"])
    for options, message in (
        ({"on_error": "ignore"}, "on_error must be 'row', 'skip' or 'raise', got 'ignore'"),
        ({"threads": 0}, "threads must be at least 1, or None, got 0"),
        ({"batch_size": 0}, "batch_size must be from 1 to 1048576, got 0"),
        ({"pixels": "all"}, "pixels must be False, True or 'frames', got 'all'"),
        ({"hash": "md5"}, "hash must be 'file', 'pixels' or both, got 'md5'"),
    ):
        with pytest.raises(ValueError, match=message):
            scan([], **options)


def test_an_element_in_two_columns(put):
    path = put(b.element(0x00100020, "LO", "ID"))
    row = one_row(path, "PatientID", "(0010,0020)", 0x00100010)
    assert (row["PatientID"], row["(0010,0020)"], row["(0010,0010)"]) == ("ID", "ID", None)


def test_the_schema_does_not_depend_on_the_files(put, pydicom_files):
    tags = [
        *DEFAULT_TAGS,
        "(0019,xx0C,SIEMENS MR HEADER)",
        "RequestAttributesSequence[*].StudyDate",
    ]
    schema = pyarrow.schema(scan([], tags))
    assert pyarrow.table(scan(pydicom_files[:40], tags)).schema == schema
    assert pyarrow.table(scan([put(raw=b"")], tags)).schema == schema


@pytest.mark.parametrize(
    "element",
    [
        "PatientID",
        "00100020",
        "(0010,0020)",
        0x00100020,
        "(0029,xx08,A=B)",
        "SourceImageSequence[*].Rows",
    ],
)
def test_names_of_columns(element, tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.dcm").write_bytes(b.part10(b.element(0x00100020, "LO", "1")))
    named_scan = fastdcm.scan(tmp_path / "in", {"own name": element, "Rows": "Columns"})
    plain = fastdcm.scan(tmp_path / "in", [element, "Columns"])
    assert named_scan.column_names[-2:] == ["own name", "Rows"]
    named, unnamed = named_scan.read_all(), plain.read_all()
    assert named["own name"].to_pylist() == unnamed[plain.column_names[-2]].to_pylist()
    named_scan.write(f"{tmp_path}/index/")
    assert fastdcm.open_index(tmp_path / "index").parameters["tags"] == [
        f"own name={plain.column_names[-2]}",
        "Rows=Columns",
    ]
    assert named_scan.write(f"{tmp_path}/index/")["files"] == 1
    with pytest.raises(fastdcm.DicomError, match="tags: own name="):
        fastdcm.scan(tmp_path / "in", {"own name": "Rows", "Rows": "Columns"}).write(
            f"{tmp_path}/index/"
        )


@pytest.mark.parametrize(
    ("tags", "message"),
    [
        ({"": "PatientID"}, "the name of a column must be text, got ''"),
        ({1: "PatientID"}, "the name of a column must be text, got 1"),
        ({"path": "PatientID"}, "two columns have the name 'path'"),
        ({"a": "PatinetID"}, "did you mean PatientID"),
    ],
)
def test_names_that_are_not_valid(tags, message):
    with pytest.raises(ValueError, match=message):
        make_plan(tags)
