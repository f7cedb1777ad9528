"""scan: what stands in the columns, for every VR, request and kind of damage."""

import os
import random

from support import builder as b
import pyarrow
import pyarrow.parquet
import pytest

import fastdcm
from fastdcm.sources._paths import chunk_from_paths
from fastdcm.scanning._worker import Worker
from fastdcm.scanning.scanner import DEFAULT_TAGS, make_plan, parse_tag, scan, scan_chunk

FIXED = ["path", "size", "mtime_ns", "transfer_syntax", "error", "error_offset", "error_detail",
         "issues"]


def one(path, *tags, **options):
    """The single row of a file, as a dict."""
    batch = scan_chunk([path], tags, **options)
    assert len(batch) == 1
    return {name: values[0] for name, values in batch.to_pydict().items()}


def value(path, tag):
    row = one(path, tag)
    assert row["error"] is None
    return row[tag]


# -------------------------------------------------------------- schema ---


def test_default_columns():
    schema = pyarrow.schema(scan([]))
    assert schema.names == [*FIXED, *DEFAULT_TAGS]
    assert len(DEFAULT_TAGS) == len(set(DEFAULT_TAGS)) == 30
    text, texts = pyarrow.string(), pyarrow.list_(pyarrow.string())
    assert [schema.field(name).type for name in FIXED] == [
        text, pyarrow.int64(), pyarrow.int64(), text, text, pyarrow.int64(), text, texts]
    assert [schema.field(name).nullable for name in FIXED] == [False] + [True] * 7
    numbers = pyarrow.list_(pyarrow.float64())
    for name, kind in {"PatientName": text, "StudyDate": text, "SeriesNumber": pyarrow.int64(),
                       "ImageType": texts, "Rows": pyarrow.int64(), "PixelSpacing": numbers,
                       "SliceThickness": pyarrow.float64(), "ImageOrientationPatient": numbers,
                       "SOPClassUID": text}.items():
        assert schema.field(name).type == kind, name


@pytest.mark.parametrize("tag, kind", [
    ("InstanceNumber", "int64"),                    # IS
    ("ReferencedFrameNumber", "list<item: int64>"),  # IS 1-n
    ("SimpleFrameList", "list<item: int64>"),       # UL 1-n
    ("Rows", "int64"),                              # US
    ("SmallestImagePixelValue", "int64"),           # US or SS
    ("RedPaletteColorLookupTableDescriptor", "list<item: int64>"),
    ("ReferencePixelX0", "int64"),                  # SL
    ("TagAngleSecondAxis", "int64"),                # SS
    ("FileOffsetInContainer", "uint64"),            # UV
    ("SliceThickness", "double"),                   # DS
    ("PixelSpacing", "list<item: double>"),
    ("DiffusionBValue", "double"),                  # FD
    ("RecommendedDisplayFrameRateInFloat", "double"),  # FL
    ("FrameIncrementPointer", "list<item: string>"),  # AT 1-n
    ("PixelData", "binary"),                        # OB or OW
    ("LUTData", "binary"),                          # US or OW
    ("EncapsulatedDocument", "binary"),             # OB
    ("PatientName", "string"),                      # PN
    ("OtherPatientNames", "list<item: string>"),
    ("PatientAge", "string"),                       # AS
    ("AcquisitionDateTime", "string"),              # DT
    ("PatientComments", "string"),                  # LT
    ("RetrieveURL", "string"),                      # UR
    ("LongCodeValue", "string"),                    # UC
    ("(0009,1001)", "string"),                      # private, nothing known
    ("(0009,0010)", "string"),                      # a private creator
    ("(0008,0000)", "int64"),                       # a group length
    ("(0029,xx08,SIEMENS CSA HEADER)", "string"),   # CS
    ("(0029,xx10,SIEMENS CSA HEADER)", "binary"),   # OB
    ("(0019,xx0C,SIEMENS MR HEADER)", "int64"),     # IS
    ("(0019,xx0C,NOBODY)", "string"),
    ("(6000,3000)", "binary"),                      # of a repeating group
    ("AnatomicRegionSequence.CodeValue", "string"),
    ("AnatomicRegionSequence[3].CodeValue", "string"),
    ("AnatomicRegionSequence[*].CodeValue", "list<item: string>"),
    ("SharedFunctionalGroupsSequence.PixelMeasuresSequence.PixelSpacing", "list<item: double>"),
    ("PerFrameFunctionalGroupsSequence[*].PixelMeasuresSequence[*].PixelSpacing",
     "list<item: list<item: list<item: double>>>"),
])
def test_types(tag, kind):
    schema = pyarrow.schema(scan([], [tag]))
    assert schema.names == [*FIXED, tag]
    assert str(schema.field(tag).type) == kind


@pytest.mark.parametrize("tag, name, path", [
    ("PatientID", "PatientID", [(0x00100020, None, None)]),
    ("00100020", "00100020", [(0x00100020, None, None)]),
    ("(0010,0020)", "(0010,0020)", [(0x00100020, None, None)]),
    (0x00100020, "(0010,0020)", [(0x00100020, None, None)]),
    ("(0029,xx08,A)", "(0029,xx08,A)", [(0x00290008, "A", None)]),
    ("(0029,XX08, A, (B))", "(0029,XX08, A, (B))", [(0x00290008, "A, (B)", None)]),
    ("(0008,1140)[12].(0029,xx08,A (B))[*].Rows", "(0008,1140)[12].(0029,xx08,A (B))[*].Rows",
     [(0x00081140, None, 12), (0x00290008, "A (B)", 0), (0x00280010, None, None)]),
])
def test_spellings_of_an_element(tag, name, path):
    assert parse_tag(tag) == (name, path)


@pytest.mark.parametrize("tag, says", [
    ("PatinetID", "did you mean PatientID"),
    ("", "cannot be read"),
    (".PatientID", "cannot be read"),
    ("PatientID.", "cannot be read"),
    ("A[1", "cannot be read"),
    ("AnatomicRegionSequence[1]CodeValue", "cannot be read"),
    ("AnatomicRegionSequence", "is a sequence"),
    ("AnatomicRegionSequence[0].CodeValue", "from 1"),
    ("AnatomicRegionSequence[x].CodeValue", "from 1"),
    ("AnatomicRegionSequence[-1].CodeValue", "from 1"),
    ("AnatomicRegionSequence[].CodeValue", "from 1"),
    ("PatientID[1]", "picks an item"),
    ("PatientID.CodeValue", "is no sequence"),
    ("(0010,002)", "neither"),
    ("(0010,xx20)", "neither"),
    ("(0010,0020,A)", "neither"),
    ("(0011,xx20,)", "neither"),
    ("(0011", "cannot be read"),
    (".".join(["AnatomicRegionSequence"] * 16) + ".CodeValue", "deep"),
    (".".join(["AnatomicRegionSequence[*]"] * 5) + ".CodeValue", "lists"),
])
def test_what_is_no_element(tag, says):
    with pytest.raises(ValueError, match=says):
        scan([], [tag])


def test_requests_that_make_no_table():
    for tags in ("PatientID", [b"PatientID"], [None]):
        with pytest.raises(TypeError):
            scan([], tags)
    with pytest.raises(ValueError, match="two columns"):
        scan([], ["PatientID", "PatientID"])
    for options in ({"on_error": "ignore"}, {"threads": 0}, {"batch_size": 0}):
        with pytest.raises(ValueError):
            scan([], **options)


def test_one_element_may_have_two_columns(put):
    path = put(b.element(0x00100020, "LO", "ID"))
    row = one(path, "PatientID", "(0010,0020)", 0x00100010)
    assert (row["PatientID"], row["(0010,0020)"], row["(0010,0010)"]) == ("ID", "ID", None)


def test_the_schema_does_not_depend_on_the_files(put, pydicom_files):
    tags = [*DEFAULT_TAGS, "(0019,xx0C,SIEMENS MR HEADER)", "RequestAttributesSequence[*].StudyDate"]
    schema = pyarrow.schema(scan([], tags))
    assert pyarrow.table(scan(pydicom_files[:40], tags)).schema == schema
    assert pyarrow.table(scan([put(raw=b"")], tags)).schema == schema


# -------------------------------------------------------------- values ---


@pytest.mark.parametrize("encoding", ["explicit", "implicit", "big"])
def test_values_of_every_vr(put, encoding):
    syntax = {"explicit": b.EXPLICIT_LE, "implicit": b.IMPLICIT_LE, "big": b.EXPLICIT_BE}[encoding]
    code = b.encoding_of(syntax)
    wanted = [  # ascending tags
        ("ImageType", "CS", ["DERIVED", "PRIMARY"], ["DERIVED", "PRIMARY"]),
        ("SimpleFrameList", "UL", [1, 2**32 - 1], [1, 2**32 - 1]),
        ("StudyDate", "DA", "20240101", "20240101"),
        ("AccessionNumber", "SH", " A ", " A"),
        ("RetrieveAETitle", "AE", [" A ", "B"], ["A", "B"]),
        ("PatientName", "PN", "Doe^Jane==", "Doe^Jane"),
        ("PatientAge", "AS", "012Y", "012Y"),
        ("PatientComments", "LT", "a\\b ", "a\\b"),
        ("SliceThickness", "DS", " 1.25", 1.25),
        ("TagAngleSecondAxis", "SS", -5, -5),
        ("DiffusionBValue", "FD", 1e300, 1e300),
        ("StudyInstanceUID", "UI", "1.2.3", "1.2.3"),
        ("InstanceNumber", "IS", "-12 ", -12),
        ("ImagePositionPatient", "DS", ["1", "-2.5", "1e3"], [1.0, -2.5, 1000.0]),
        ("FrameIncrementPointer", "AT", [0x00181063, 0x00540010], ["00181063", "00540010"]),
        ("Rows", "US", 65535, 65535),
        ("EncapsulatedDocument", "OB", b"\0\1\2\3", b"\0\1\2\3"),
        ("FileOffsetInContainer", "UV", 2**64 - 1, 2**64 - 1),
    ]
    from fastdcm import tag_for_keyword

    elements = sorted((tag_for_keyword(name), vr, given) for name, vr, given, _ in wanted)
    path = put(b"".join(b.element(*e, encoding=code) for e in elements), transfer_syntax=syntax)
    row = one(path, *[name for name, *_ in wanted])
    assert row["transfer_syntax"] == syntax
    assert (row["error"], row["issues"]) == (None, None)
    for name, _, _, expected in wanted:
        assert row[name] == expected, name
        assert type(row[name]) is type(expected), name


def test_fixed_columns(put):
    path = put(b.element(0x00100020, "LO", "x"))
    row = one(path)
    state = os.stat(path)
    assert row == {"path": path, "size": state.st_size, "mtime_ns": state.st_mtime_ns,
                   "transfer_syntax": b.EXPLICIT_LE, "error": None, "error_offset": None,
                   "error_detail": None, "issues": None}


def test_absent_is_null_and_empty_is_empty(put):
    names = ["PatientID", "OtherPatientNames", "SliceThickness", "InstanceNumber", "PixelSpacing",
             "EncapsulatedDocument", "PatientName", "Rows"]
    row = one(put(), *names)
    assert [row[name] for name in names] == [None] * 8
    raw = (b.element(0x00100010, "PN") + b.element(0x00100020, "LO") + b.element(0x00101001, "PN")
           + b.element(0x00180050, "DS") + b.element(0x00200013, "IS") + b.element(0x00280010, "US")
           + b.element(0x00280030, "DS") + b.element(0x00420011, "OB"))
    row = one(put(raw), *names)
    assert [row[name] for name in names] == ["", [], None, None, [], b"", "", None]
    assert row["issues"] is None


def test_blank_numbers_are_null(put):
    path = put(b.element(0x00180050, "DS", "    ") + b.element(0x00280030, "DS", "1\\ \\2 "))
    row = one(path, "SliceThickness", "PixelSpacing")
    assert (row["SliceThickness"], row["PixelSpacing"]) == (None, [1.0, None, 2.0])
    assert row["issues"] is None


def test_numbers_that_are_none(put):
    builder = b.Builder()
    builder.element(0x00180050, "DS", "thick", name="ds")
    builder.element(0x00200013, "IS", "1A", name="is")
    builder.element(0x00280010, "US", b"\1\2\3", name="us")
    builder.element(0x00280030, "DS", ["1", "x"], name="list")
    row = one(put(raw=builder.bytes()), "SliceThickness", "InstanceNumber", "Rows", "PixelSpacing")
    assert (row["SliceThickness"], row["InstanceNumber"], row["Rows"]) == (None, None, None)
    assert row["PixelSpacing"] == [1.0, None]
    at = builder.at
    assert row["issues"] == [
        f"bad-number@{at['ds']} (0018,0050)", f"bad-number@{at['is']} (0020,0013)",
        f"value-length@{at['us']} (0028,0010)", f"bad-number@{at['list']} (0028,0030)"]


def test_integers_written_as_fractions(put):
    def number(text):
        return value(put(b.element(0x00200013, "IS", text)), "InstanceNumber")

    assert [number(t) for t in ("3.0", "1e3", "-0", "+7", "9223372036854775807")] == [
        3, 1000, 0, 7, 2**63 - 1]
    assert [number(t) for t in ("14.5", "9223372036854775808", "nan", "0x1")] == [None] * 4


def test_values_that_do_not_fit_their_column(put):
    builder = b.Builder()
    builder.element(0x00180050, "DS", "1\\2", name="values")
    builder.element(0x00200013, "IS", "1\\2", name="integers")
    builder.element(0x00280010, "US", [1, 2], name="words")
    builder.element(0x00280011, "UV", 2**63, name="large")
    builder.element(0x00280030, "OB", b"\1\2", name="bytes")
    builder.element(0x00420011, "OB", bytes(65538), name="long")
    names = ["SliceThickness", "InstanceNumber", "Rows", "Columns", "PixelSpacing",
             "EncapsulatedDocument"]
    row = one(put(raw=builder.bytes()), *names)
    assert [row[name] for name in names] == [None] * 6
    assert [i.split("@")[0] for i in row["issues"]] == ["unfit"] * 6
    assert [int(i.split("@")[1].split()[0]) for i in row["issues"]] == list(builder.at.values())


def test_bytes_up_to_64_kib(put):
    path = put(b.element(0x00420011, "OB", b"\7" * 65536))
    assert value(path, "EncapsulatedDocument") == b"\7" * 65536


def test_long_texts(put):
    text = "x" * (16 << 20)
    assert value(put(b.element(0x0040A160, "UT", text)), "TextValue") == text
    row = one(put(b.element(0x0040A160, "UT", text + "yz")), "TextValue")
    assert row["TextValue"] is None
    assert row["issues"][0].startswith("unfit@")


def test_the_files_vr_counts_over_the_dictionarys(put):
    raw = (b.element(0x00180050, "FD", 2.5) + b.element(0x00200013, "US", 7)
           + b.element(0x00280010, "IS", "512") + b.element(0x00280011, "FL", 3.0)
           + b.element(0x00280030, "FL", [0.5, 0.25]))
    row = one(put(raw), "SliceThickness", "InstanceNumber", "Rows", "Columns", "PixelSpacing")
    assert [*row.values()][8:] == [2.5, 7, 512, 3, [0.5, 0.25]]
    assert row["issues"] is None


def test_un_of_a_known_element_is_read_as_the_dictionary_says(put):
    raw = (b.element(0x00100020, "UN", b"ID ") + b.element(0x00280010, "UN", b"\2\1")
           + b.element(0x00280030, "UN", b"1.5\\2 "))
    row = one(put(raw), "PatientID", "Rows", "PixelSpacing")
    assert (row["PatientID"], row["Rows"], row["PixelSpacing"]) == ("ID", 258, [1.5, 2.0])


@pytest.mark.parametrize("syntax", [b.IMPLICIT_LE, b.EXPLICIT_LE])
@pytest.mark.parametrize("representation, expected", [(0, 65535), (1, -1), (None, 65535)])
def test_us_or_ss(put, syntax, representation, expected):
    code = b.encoding_of(syntax)
    vr = "SS" if representation == 1 else "US"
    number = -1 if representation == 1 else 65535
    inner = b.element(0x00280106, vr, number, encoding=code)
    raw = b"" if representation is None else b.element(0x00280103, "US", representation, encoding=code)
    raw += b.element(0x00280106, vr, number, encoding=code)
    raw += b.element(0x00281101, vr, [number, number, number], encoding=code)
    raw += b.sequence(0x00283010, [inner], encoding=code)
    row = one(put(raw, transfer_syntax=syntax), "SmallestImagePixelValue",
              "RedPaletteColorLookupTableDescriptor", "VOILUTSequence.SmallestImagePixelValue")
    # the first number of a LUT descriptor is how many entries there are
    assert [*row.values()][8:] == [expected, [65535, expected, expected], expected]


def test_group_two(put):
    meta = b.file_meta(b.EXPLICIT_LE, b.element(0x00020016, "AE", "SENDER"))
    path = put(b.element(0x00080016, "UI", "1.2"), meta=meta)
    row = one(path, "TransferSyntaxUID", "SourceApplicationEntityTitle",
              "FileMetaInformationVersion", "SOPClassUID", "MediaStorageSOPInstanceUID")
    assert [*row.values()][8:] == [b.EXPLICIT_LE, "SENDER", b"\0\1", "1.2", "1.2.3.4"]
    assert value(path, "SourceApplicationEntityTitle") == "SENDER"


def test_elements_that_were_jumped_over(put):
    """A wanted value before a large one that is not read."""
    raw = (b.element(0x00091001, "OB", b"A" * 60000) + b.element(0x00091002, "OB", bytes(1 << 20))
           + b.element(0x00100020, "LO", "ID") + b.element(0x00420011, "OB", b"B" * 60000))
    row = one(put(raw), "(0009,1001)", "PatientID", "EncapsulatedDocument")
    assert [*row.values()][8:] == ["A" * 60000, "ID", b"B" * 60000]


# ------------------------------------------------------------- private ---


def test_private_elements_by_creator(put):
    raw = (b.element(0x00190010, "LO", "OTHER ") + b.element(0x00190011, "LO", "SIEMENS MR HEADER")
           + b.element(0x0019100C, "IS", "1") + b.element(0x0019110C, "IS", "1000"))
    path = put(raw)
    row = one(path, "(0019,xx0C,SIEMENS MR HEADER)", "(0019,xx0C,OTHER)", "(0019,xx0C,NOBODY)",
              "(0019,xx0D,OTHER)", "(0019,110C)", "(0019,0011)")
    assert [*row.values()][8:] == [1000, "1", None, None, "1000", "SIEMENS MR HEADER"]


def test_a_creator_with_two_blocks(put):
    raw = (b.element(0x00190010, "LO", "A") + b.element(0x00190011, "LO", "A")
           + b.element(0x00191001, "LO", "first") + b.element(0x00191102, "LO", "second"))
    row = one(put(raw), "(0019,xx01,A)", "(0019,xx02,A)")
    assert [*row.values()][8:] == ["first", "second"]


def test_unknown_private_elements_are_text(put):
    elements = [("SL", [1, -2], "1\\-2"), ("FD", 0.1, "0.1"), ("US", 7, "7"), ("DS", "1.50", "1.50"),
                ("LO", "a\\b ", "a\\b"), ("AT", 0x00280010, "00280010"), ("UN", b"text ", "text"),
                ("OB", b"plain", "plain"), ("OB", b"\1\2", None), ("LO", b"", "")]
    raw = b"".join(b.element(0x00191001 + i, vr, given) for i, (vr, given, _) in enumerate(elements))
    tags = [f"(0019,{0x1001 + i:04x})" for i in range(len(elements))]
    row = one(put(raw), *tags)
    assert [*row.values()][8:] == [expected for *_, expected in elements]


def test_private_elements_in_private_sequences(put):
    inner = b.element(0x00190010, "LO", "A") + b.element(0x00191005, "LO", "inside")
    raw = (b.element(0x00190010, "LO", "B") + b.element(0x00190011, "LO", "A")
           + b.sequence(0x00191101, [inner, b""]))
    row = one(put(raw), "(0019,xx01,A).(0019,xx05,A)", "(0019,xx01,A)[*].(0019,xx05,A)",
              "(0019,xx01,B).(0019,xx05,A)")
    assert [*row.values()][8:] == ["inside", ["inside", None], None]


# ----------------------------------------------------------- sequences ---

SPACING = "SharedFunctionalGroupsSequence.PixelMeasuresSequence.PixelSpacing"


def frames(count, encoding=b.EXPLICIT, undefined=False):
    def frame(i):
        position = b.element(0x00200032, "DS", [str(i), "0", "0.5"], encoding=encoding)
        return b.sequence(0x00209113, [position], encoding=encoding, undefined=undefined)

    return b.sequence(0x52009230, [frame(i) for i in range(count)], encoding=encoding,
                      undefined=undefined)


@pytest.mark.parametrize("undefined", [False, True])
@pytest.mark.parametrize("syntax", [b.EXPLICIT_LE, b.IMPLICIT_LE, b.EXPLICIT_BE])
def test_paths_into_sequences(put, syntax, undefined):
    code = b.encoding_of(syntax)
    measures = b.element(0x00180050, "DS", "5", encoding=code) + b.element(
        0x00280030, "DS", ["0.5", "0.25"], encoding=code)
    shared = b.sequence(0x00289110, [measures], encoding=code, undefined=undefined)
    raw = (b.element(0x00280010, "US", 3, encoding=code)
           + b.sequence(0x52009229, [shared], encoding=code, undefined=undefined)
           + frames(4, code, undefined))
    per_frame = "PerFrameFunctionalGroupsSequence{}.PlanePositionSequence{}.ImagePositionPatient"
    tags = [SPACING, "SharedFunctionalGroupsSequence.PixelMeasuresSequence.SliceThickness",
            per_frame.format("", ""), per_frame.format("[3]", "[1]"), per_frame.format("[5]", ""),
            per_frame.format("[2]", "[2]"), per_frame.format("[*]", ""), per_frame.format("[*]", "[*]"),
            per_frame.format("[4]", "[*]"), "Rows"]
    row = one(put(raw, transfer_syntax=syntax), *tags)
    at = [[float(i), 0.0, 0.5] for i in range(4)]
    assert [*row.values()][8:] == [[0.5, 0.25], 5.0, at[0], at[2], None, None, at,
                                   [[a] for a in at], [at[3]], 3]
    assert row["issues"] is None


def test_sequences_that_are_absent_empty_or_no_sequences(put):
    tag, every = "AnatomicRegionSequence.CodeValue", "AnatomicRegionSequence[*].CodeValue"
    row = one(put(), tag, every)
    assert (row[tag], row[every]) == (None, None)
    row = one(put(b.sequence(0x00082218)), tag, every)
    assert (row[tag], row[every]) == (None, [])
    row = one(put(b.sequence(0x00082218, [b""])), tag, every)
    assert (row[tag], row[every]) == (None, [None])
    row = one(put(b.element(0x00082218, "LO", "text")), tag, every)
    assert (row[tag], row[every]) == (None, None)
    assert [i.split("@")[0] for i in row["issues"]] == ["unfit"] * 2
    row = one(put(b.sequence(0x00100020, [b""])), "PatientID")
    assert (row["PatientID"], row["issues"][0][:6]) == (None, "unfit@")


def test_a_sequence_in_un(put):
    """UN of a known sequence, defined and not (PS3.5 6.2.2, CP-246)."""
    inner = b.element(0x00080100, "SH", "code", encoding=b.IMPLICIT)
    item = b.item(inner, encoding=b.IMPLICIT)
    tag = "AnatomicRegionSequence.CodeValue"
    assert value(put(b.element(0x00082218, "UN", item)), tag) == "code"
    assert value(put(b.raw_sequence(0x00082218, item, vr="UN", undefined=True)), tag) == "code"


def test_large_sequences_are_not_read_for_their_first_item(put, tmp_path):
    raw = b.sequence(0x52009229, [b.sequence(0x00289110, [b.element(0x00280030, "DS", ["1", "2"])])])
    path = put(raw + frames(30000))
    first = "PerFrameFunctionalGroupsSequence.PlanePositionSequence.ImagePositionPatient"
    worker = Worker(make_plan([SPACING, first]))
    batch, = worker.run(chunk_from_paths([path]))
    assert batch.column(first) == [[0.0, 0.0, 0.5]]
    assert batch.column(SPACING) == [[1.0, 2.0]]
    assert worker.bytes_read < 100_000 < os.path.getsize(path)
    last = "PerFrameFunctionalGroupsSequence[30000].PlanePositionSequence.ImagePositionPatient"
    assert value(path, last) == [29999.0, 0.0, 0.5]
    every = "PerFrameFunctionalGroupsSequence[*].PlanePositionSequence.ImagePositionPatient"
    assert value(path, every) == [[float(i), 0.0, 0.5] for i in range(30000)]


def test_sequences_behind_values_that_were_jumped_over(put):
    """Reading goes back: to an item, to a value in it, to a value before it."""
    item = (b.element(0x00080100, "SH", "one") + b.element(0x00091001, "OB", b"C" * 50000)
            + b.element(0x00091002, "OB", bytes(300000)) + b.element(0x00280010, "US", 5))
    raw = (b.sequence(0x00082218, [item, item]) + b.element(0x00091001, "OB", b"A" * 50000)
           + b.element(0x00091002, "OB", bytes(1 << 20)) + b.sequence(0x00400555, [item] * 3)
           + b.element(0x00420011, "OB", b"B" * 50000))
    tags = ["(0009,1001)", "EncapsulatedDocument"]
    for sequence in ("AnatomicRegionSequence", "AcquisitionContextSequence"):
        for pick in ("", "[2]", "[*]"):
            tags += [f"{sequence}{pick}.{leaf}" for leaf in ("CodeValue", "(0009,1001)", "Rows")]
    row = one(put(raw), *tags)
    assert [*row.values()][8:] == ["A" * 50000, b"B" * 50000] + [
        value for count in (2, 3) for value in (
            "one", "C" * 50000, 5, "one", "C" * 50000, 5,
            ["one"] * count, ["C" * 50000] * count, [5] * count)]


def test_an_items_own_character_set(put):
    inner = b.element(0x00080005, "CS", "ISO_IR 101") + b.element(0x00080104, "LO", b"\xb1")
    plain = b.element(0x00080104, "LO", b"\xe9 ")
    raw = b.element(0x00080005, "CS", "ISO_IR 100") + b.sequence(0x00082218, [inner, plain])
    every = "AnatomicRegionSequence[*].CodeMeaning"
    assert value(put(raw), every) == ["\u0105", "\u00e9"]


def test_damage_inside_an_item_is_an_issue(put):
    inner = b.element(0x00080100, "SH", "code", length=40)
    row = one(put(b.sequence(0x00082218, [inner])), "AnatomicRegionSequence.CodeValue")
    assert row["AnatomicRegionSequence.CodeValue"] == "code"
    assert any(i.startswith("truncated-value@") for i in row["issues"])


# ------------------------------------------------------ character sets ---


@pytest.mark.parametrize("term, raw, text", [
    (None, b"plain", "plain"),
    (None, b"caf\xe9", "caf\u00e9"),
    ("ISO_IR 100", b"caf\xe9\xff", "caf\u00e9\u00ff"),
    ("ISO_IR 192", "caf\u00e9 \u65e5 \U0001f600".encode(), "caf\u00e9 \u65e5 \U0001f600"),
    ("ISO_IR 101", b"\xb1\xa1", "\u0105\u0104"),
    ("ISO_IR 144", b"\xbb\xee\xda\xf2", "\u041b\u044e\u043a\u0442"[:1] + "\u044e\u043a\u0452"),
    ("GB18030", "\u738b\u5c0f\u4e1c".encode("gb18030"), "\u738b\u5c0f\u4e1c"),
    ("GBK", "\u738b\u5c0f\u4e1c".encode("gbk"), "\u738b\u5c0f\u4e1c"),
    ("\\ISO 2022 IR 149", b"\x1b$)C\xb1\xe8", "\uae40"),
    ("\\ISO 2022 IR 87", b"\x1b$B;3ED\x1b(B", "\u5c71\u7530"),
    ("ISO_IR 13", b"\xd4\xcf\xc0\xde", "\uff94\uff8f\uff80\uff9e"),
])
def test_text_in_character_sets(put, term, raw, text):
    dataset = b"" if term is None else b.element(0x00080005, "CS", term)
    dataset += b.element(0x00080104, "LO", raw + b" " * (len(raw) % 2))
    dataset += b.element(0x00100020, "LO", b"ascii ")
    row = one(put(dataset), "CodeMeaning", "PatientID")
    assert (row["CodeMeaning"], row["PatientID"], row["issues"]) == (text, "ascii", None)
    if term is not None:
        inflated = one(put(dataset, transfer_syntax=b.DEFLATED_LE), "CodeMeaning", "PatientID")
        assert (inflated["CodeMeaning"], inflated["PatientID"]) == (text, "ascii")


def test_lists_of_text_in_a_rarer_character_set(put):
    names = ["\u738b^\u5c0f\u4e1c", "\u674e^\u56db"]
    dataset = b.element(0x00080005, "CS", "GB18030")
    dataset += b.element(0x00101001, "PN", "\\".join(names).encode("gb18030"))
    row = one(put(dataset), "OtherPatientNames", "(0010,1001)")
    assert row["OtherPatientNames"] == row["(0010,1001)"] == names


@pytest.mark.parametrize("raw, text", [
    (b"a\xc3", "a\ufffd"), (b"\xed\xa0\x80", "\ufffd\ufffd\ufffd"), (b"\xc0\xaf", "\ufffd\ufffd"),
    (b"\xf4\x90\x80\x80", "\ufffd\ufffd\ufffd\ufffd"), (b"\xe0\x80\x80", "\ufffd\ufffd\ufffd"),
])
def test_what_is_not_utf8(put, raw, text):
    builder = b.Builder()
    builder.element(0x00080005, "CS", "ISO_IR 192")
    builder.element(0x00100020, "LO", raw + b" " * (len(raw) % 2), name="text")
    row = one(put(raw=builder.bytes()), "PatientID")
    assert row["PatientID"] == text
    assert row["issues"] == [f"text@{builder.at['text']} (0010,0020)"]


def test_every_kind_of_utf8(put):
    chance = random.Random(5)
    text = "".join(chr(chance.choice([0x20, 0x7E, 0x80, 0x7FF, 0x800, 0xD7FF, 0xE000, 0xFFFD, 0xFFFF,
                                      0x10000, 0x10FFFF])) for _ in range(2000)) + "."
    dataset = b.element(0x00080005, "CS", "ISO_IR 192") + b.element(0x0040A160, "UT", text.encode())
    row = one(put(dataset), "TextValue")
    assert (row["TextValue"], row["issues"]) == (text, None)


def test_a_character_set_that_nobody_defined(put):
    dataset = b.element(0x00080005, "CS", "KLINGON") + b.element(0x00100020, "LO", b"caf\xe9")
    row = one(put(dataset), "PatientID")
    assert row["PatientID"] == "caf\u00e9"
    assert [i.split("@")[0] for i in row["issues"]] == ["charset"]


def test_rows_in_rare_character_sets_stay_in_their_place(put):
    paths, expected = [], []
    for i in range(200):
        term, text = [("ISO_IR 192", f"\u65e5{i}"), ("GB18030", f"\u738b{i}"), ("ISO_IR 100", f"x{i}")][i % 3]
        raw = text.encode("gb18030" if term == "GB18030" else "utf-8")
        dataset = b.element(0x00080005, "CS", term) + b.element(0x00100020, "LO", raw)
        paths.append(put(dataset, transfer_syntax=b.DEFLATED_LE if i % 5 == 0 else b.EXPLICIT_LE))
        expected.append(text)
    assert scan_chunk(paths, ["PatientID"]).column("PatientID") == expected
    batch, = scan(paths, ["PatientID"], threads=3)
    assert batch.column("PatientID") == expected


# ------------------------------------------------------ damaged, odd ---


def test_files_that_are_not_dicom(put, tmp_path):
    empty, text = put(raw=b""), put(raw=b"This is no DICOM file, whatever its name says.\n" * 9)
    missing = str(tmp_path / "missing")
    batch = scan_chunk([empty, str(tmp_path), text, missing, put(b.element(0x00100020, "LO", "x"))],
                       ["PatientID"])
    assert batch.column("error") == ["empty", "not-regular", "not-dicom", "open", None]
    assert batch.column("error_offset") == [0, 0, 0, 0, None]
    assert batch.column("PatientID") == [None] * 4 + ["x"]
    assert batch.column("size") == [0, None, 47 * 9, None, os.path.getsize(batch.column("path")[4])]
    assert os.strerror(2) in batch.column("error_detail")[3]
    assert (batch.n_errors, batch.num_rows) == (4, 5)
    with pytest.raises(fastdcm.InvalidDicomError):
        raise batch.error()
    with pytest.raises(FileNotFoundError):
        raise batch.error(3)


def test_nesting_beyond_the_limit(put):
    item = b.UNDEFINED.to_bytes(4, "little")
    deep = (b"\x08\x00\x18\x22SQ\0\0" + item + b"\xfe\xff\x00\xe0" + item) * 1000
    row = one(put(b.element(0x00080016, "UI", "1.2") + deep), "SOPClassUID", "PatientID")
    assert (row["error"], row["SOPClassUID"]) == ("depth", None)
    assert row["transfer_syntax"] == b.EXPLICIT_LE
    assert "(0008,2218)" in row["error_detail"]
    assert row["error_offset"] > 1000


def test_a_damaged_data_set_keeps_its_complete_elements(put):
    builder = b.Builder()
    builder.element(0x00100020, "LO", "ID")
    builder.element(0x00280010, "US", 512)
    builder.element(0x00280011, "US", 512, length=500, name="cut")
    row = one(put(raw=builder.bytes()), "PatientID", "Rows", "Columns", "PixelSpacing")
    assert (row["PatientID"], row["Rows"], row["error"]) == ("ID", 512, None)
    assert f"truncated-value@{builder.at['cut']} (0028,0011)" in row["issues"]


def test_truncation_at_every_byte(tmp_path):
    whole = b.part10(b.element(0x00080005, "CS", "GB18030") + b.element(0x00100010, "PN", b"\xcd\xf5 a")
                     + b.sequence(0x00082218, [b.element(0x00080100, "SH", "code")], undefined=True)
                     + b.element(0x00280010, "US", 512))
    paths = []
    for n in range(len(whole)):
        paths.append(tmp_path / str(n))
        paths[-1].write_bytes(whole[:n])
    batch = scan_chunk(paths, ["PatientName", "AnatomicRegionSequence[*].CodeValue", "Rows"])
    assert len(batch) == len(whole)
    rows = batch.column("Rows")
    assert rows[-1] is None
    assert all(r is None for r in rows)
    assert "\u738b a" in batch.column("PatientName")


def test_deflated_files(put):
    dataset = b.element(0x00100020, "LO", "ID") + frames(3) + b.element(0x7FE00010, "OW", bytes(100))
    path = put(dataset, transfer_syntax=b.DEFLATED_LE)
    every = "PerFrameFunctionalGroupsSequence[*].PlanePositionSequence.ImagePositionPatient"
    row = one(path, "PatientID", every, "TransferSyntaxUID", pixels=True)
    assert (row["PatientID"], row["TransferSyntaxUID"]) == ("ID", b.DEFLATED_LE)
    assert len(row[every]) == 3
    assert (row["pixel_length"], row["frames"]) == (100, 1)


def test_damaged_and_hostile_deflate(put):
    meta = b.preamble() + b.file_meta(b.DEFLATED_LE)
    stream = b.deflate(b.element(0x00100020, "LO", "ID") + b.element(0x00104000, "LT", "x" * 3000)
                       + b"".join(b.element(0x00200013, "IS", str(i)) for i in range(400)))
    row = one(put(raw=meta + stream[:len(stream) // 2]), "PatientID")
    assert (row["PatientID"], row["error"]) == ("ID", None)
    assert row["issues"][0].startswith("deflate@")
    row = one(put(raw=meta + b"\xff" * 500), "PatientID")
    assert row["error"] == "deflate"
    bomb = b.deflate(b.element(0x00420011, "OB", bytes(200 << 20)))
    row = one(put(raw=meta + bomb), "PatientID")
    assert row["error"] == "inflate-limit"


def test_issues_of_the_file(put):
    dataset = b.element(0x00080016, "UI", "1.2") + b.element(0x00080018, "UI", "1.3") + b.element(
        0x00100020, "LO", "x")
    row = one(put(dataset, start=b"", meta=b""), "PatientID")
    assert row["PatientID"] == "x"
    assert [i.split("@")[0] for i in row["issues"]] == ["no-preamble", "no-meta"]


def test_pixels(put):
    native = b.Builder()
    native.element(0x00280008, "IS", "3 ")
    at = native.element(0x7FE00010, "OW", bytes(600))
    wrapped = b.Builder(b.RLE)
    start = wrapped.fragments([b"12", b"3456"])
    floats = b.Builder()
    float_at = floats.element(0x7FE00008, "OF", [1.0, 2.0])
    batch = scan_chunk([put(raw=x.bytes()) for x in (native, wrapped, floats)] + [put(), put(raw=b"")],
                       ["Rows"], pixels=True)
    assert batch.column_names == [*FIXED, "Rows", "pixel_offset", "pixel_length", "frames"]
    assert batch.column("pixel_offset") == [at + 12, start + 12, float_at + 12, None, None]
    assert batch.column("pixel_length") == [600, 8 + 10 + 12, 8, None, None]
    assert batch.column("frames") == [3, 1, 1, None, None]
    plain = scan_chunk([put(raw=native.bytes())], [])
    assert plain.column_names == FIXED


def test_reading_ends_after_the_last_wanted_element(put):
    """What is wrong behind it is nobody's business."""
    raw = b.element(0x00080016, "UI", "1.2") + b.element(0x00100020, "LO", "x", length=5000)
    assert one(put(raw), "SOPClassUID")["issues"] is None
    assert one(put(raw), "PatientID")["issues"] is not None
