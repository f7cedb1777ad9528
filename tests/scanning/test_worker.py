"""What a worker puts into the columns: values of every VR, private elements, sequences."""

import os

import pytest

from fastdcm import tag_for_keyword
from fastdcm.scanning._worker import Worker
from fastdcm.scanning.tags import make_plan
from fastdcm.sources._paths import chunk_from_paths
from support import builder as b
from support.scans import PIXEL_SPACING, one_row, per_frame_groups, requested, value


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
    elements = sorted((tag_for_keyword(name), vr, given) for name, vr, given, _ in wanted)
    path = put(b"".join(b.element(*e, encoding=code) for e in elements), transfer_syntax=syntax)
    row = one_row(path, *[name for name, *_ in wanted])
    assert row["transfer_syntax"] == syntax
    assert (row["error"], row["issues"]) == (None, None)
    for name, _, _, expected in wanted:
        assert row[name] == expected, name
        assert type(row[name]) is type(expected), name


def test_fixed_columns(put):
    path = put(b.element(0x00100020, "LO", "x"))
    row = one_row(path)
    state = os.stat(path)
    assert row == {
        "path": path,
        "size": state.st_size,
        "mtime_ns": state.st_mtime_ns,
        "transfer_syntax": b.EXPLICIT_LE,
        "error": None,
        "error_offset": None,
        "error_detail": None,
        "issues": None,
    }


def test_absent_is_null_and_empty_is_empty(put):
    names = [
        "PatientID",
        "OtherPatientNames",
        "SliceThickness",
        "InstanceNumber",
        "PixelSpacing",
        "EncapsulatedDocument",
        "PatientName",
        "Rows",
    ]
    row = one_row(put(), *names)
    assert [row[name] for name in names] == [None] * 8
    raw = (
        b.element(0x00100010, "PN")
        + b.element(0x00100020, "LO")
        + b.element(0x00101001, "PN")
        + b.element(0x00180050, "DS")
        + b.element(0x00200013, "IS")
        + b.element(0x00280010, "US")
        + b.element(0x00280030, "DS")
        + b.element(0x00420011, "OB")
    )
    row = one_row(put(raw), *names)
    assert [row[name] for name in names] == ["", [], None, None, [], b"", "", None]
    assert row["issues"] is None


def test_blank_numbers_are_null(put):
    path = put(b.element(0x00180050, "DS", "    ") + b.element(0x00280030, "DS", "1\\ \\2 "))
    row = one_row(path, "SliceThickness", "PixelSpacing")
    assert (row["SliceThickness"], row["PixelSpacing"]) == (None, [1.0, None, 2.0])
    assert row["issues"] is None


def test_invalid_numbers_are_null_with_an_issue(put):
    builder = b.Builder()
    builder.element(0x00180050, "DS", "thick", name="ds")
    builder.element(0x00200013, "IS", "1A", name="is")
    builder.element(0x00280010, "US", b"\1\2\3", name="us")
    builder.element(0x00280030, "DS", ["1", "x"], name="list")
    row = one_row(
        put(raw=builder.bytes()), "SliceThickness", "InstanceNumber", "Rows", "PixelSpacing"
    )
    assert (row["SliceThickness"], row["InstanceNumber"], row["Rows"]) == (None, None, None)
    assert row["PixelSpacing"] == [1.0, None]
    at = builder.at
    assert row["issues"] == [
        f"bad-number@{at['ds']} (0018,0050)",
        f"bad-number@{at['is']} (0020,0013)",
        f"value-length@{at['us']} (0028,0010)",
        f"bad-number@{at['list']} (0028,0030)",
    ]


def test_integers_written_as_fractions(put):
    def number(text):
        return value(put(b.element(0x00200013, "IS", text)), "InstanceNumber")

    assert [number(t) for t in ("3.0", "1e3", "-0", "+7", "9223372036854775807")] == [
        3,
        1000,
        0,
        7,
        2**63 - 1,
    ]
    assert [number(t) for t in ("14.5", "9223372036854775808", "nan", "0x1")] == [None] * 4


def test_values_that_do_not_fit_the_column_are_null_with_an_issue(put):
    builder = b.Builder()
    builder.element(0x00180050, "DS", "1\\2", name="values")
    builder.element(0x00200013, "IS", "1\\2", name="integers")
    builder.element(0x00280010, "US", [1, 2], name="words")
    builder.element(0x00280011, "UV", 2**63, name="large")
    builder.element(0x00280030, "OB", b"\1\2", name="bytes")
    builder.element(0x00420011, "OB", bytes(65538), name="long")
    names = [
        "SliceThickness",
        "InstanceNumber",
        "Rows",
        "Columns",
        "PixelSpacing",
        "EncapsulatedDocument",
    ]
    row = one_row(put(raw=builder.bytes()), *names)
    assert [row[name] for name in names] == [None] * 6
    assert [i.split("@")[0] for i in row["issues"]] == ["unfit"] * 6
    assert [int(i.split("@")[1].split()[0]) for i in row["issues"]] == list(builder.at.values())


def test_bytes_up_to_64_kib(put):
    path = put(b.element(0x00420011, "OB", b"\7" * 65536))
    assert value(path, "EncapsulatedDocument") == b"\7" * 65536


def test_long_texts(put):
    text = "x" * (16 << 20)
    assert value(put(b.element(0x0040A160, "UT", text)), "TextValue") == text
    row = one_row(put(b.element(0x0040A160, "UT", text + "yz")), "TextValue")
    assert row["TextValue"] is None
    assert row["issues"][0].startswith("unfit@")


def test_the_vr_in_the_file_takes_precedence_over_the_dictionary(put):
    raw = (
        b.element(0x00180050, "FD", 2.5)
        + b.element(0x00200013, "US", 7)
        + b.element(0x00280010, "IS", "512")
        + b.element(0x00280011, "FL", 3.0)
        + b.element(0x00280030, "FL", [0.5, 0.25])
    )
    row = one_row(put(raw), "SliceThickness", "InstanceNumber", "Rows", "Columns", "PixelSpacing")
    assert requested(row) == [2.5, 7, 512, 3, [0.5, 0.25]]
    assert row["issues"] is None


def test_un_of_a_known_element_is_read_with_the_vr_of_the_dictionary(put):
    raw = (
        b.element(0x00100020, "UN", b"ID ")
        + b.element(0x00280010, "UN", b"\2\1")
        + b.element(0x00280030, "UN", b"1.5\\2 ")
    )
    row = one_row(put(raw), "PatientID", "Rows", "PixelSpacing")
    assert (row["PatientID"], row["Rows"], row["PixelSpacing"]) == ("ID", 258, [1.5, 2.0])


@pytest.mark.parametrize("syntax", [b.IMPLICIT_LE, b.EXPLICIT_LE])
@pytest.mark.parametrize("representation, expected", [(0, 65535), (1, -1), (None, 65535)])
def test_us_or_ss(put, syntax, representation, expected):
    code = b.encoding_of(syntax)
    vr = "SS" if representation == 1 else "US"
    number = -1 if representation == 1 else 65535
    inner = b.element(0x00280106, vr, number, encoding=code)
    raw = (
        b""
        if representation is None
        else b.element(0x00280103, "US", representation, encoding=code)
    )
    raw += b.element(0x00280106, vr, number, encoding=code)
    raw += b.element(0x00281101, vr, [number, number, number], encoding=code)
    raw += b.sequence(0x00283010, [inner], encoding=code)
    row = one_row(
        put(raw, transfer_syntax=syntax),
        "SmallestImagePixelValue",
        "RedPaletteColorLookupTableDescriptor",
        "VOILUTSequence.SmallestImagePixelValue",
    )
    # the first value of a LUT descriptor, the number of entries, is always unsigned
    assert requested(row) == [expected, [65535, expected, expected], expected]


def test_file_meta_information(put):
    meta = b.file_meta(b.EXPLICIT_LE, b.element(0x00020016, "AE", "SENDER"))
    path = put(b.element(0x00080016, "UI", "1.2"), meta=meta)
    row = one_row(
        path,
        "TransferSyntaxUID",
        "SourceApplicationEntityTitle",
        "FileMetaInformationVersion",
        "SOPClassUID",
        "MediaStorageSOPInstanceUID",
    )
    assert requested(row) == [b.EXPLICIT_LE, "SENDER", b"\0\1", "1.2", "1.2.3.4"]
    assert value(path, "SourceApplicationEntityTitle") == "SENDER"


def test_values_before_a_large_element(put):
    """The large element is skipped, the values on both sides of it are read."""
    raw = (
        b.element(0x00091001, "OB", b"A" * 60000)
        + b.element(0x00091002, "OB", bytes(1 << 20))
        + b.element(0x00100020, "LO", "ID")
        + b.element(0x00420011, "OB", b"B" * 60000)
    )
    row = one_row(put(raw), "(0009,1001)", "PatientID", "EncapsulatedDocument")
    assert requested(row) == ["A" * 60000, "ID", b"B" * 60000]


def test_private_elements_by_creator(put):
    raw = (
        b.element(0x00190010, "LO", "OTHER ")
        + b.element(0x00190011, "LO", "SIEMENS MR HEADER")
        + b.element(0x0019100C, "IS", "1")
        + b.element(0x0019110C, "IS", "1000")
    )
    path = put(raw)
    row = one_row(
        path,
        "(0019,xx0C,SIEMENS MR HEADER)",
        "(0019,xx0C,OTHER)",
        "(0019,xx0C,NOBODY)",
        "(0019,xx0D,OTHER)",
        "(0019,110C)",
        "(0019,0011)",
    )
    assert requested(row) == [1000, "1", None, None, "1000", "SIEMENS MR HEADER"]


def test_a_creator_with_two_blocks(put):
    raw = (
        b.element(0x00190010, "LO", "A")
        + b.element(0x00190011, "LO", "A")
        + b.element(0x00191001, "LO", "first")
        + b.element(0x00191102, "LO", "second")
    )
    row = one_row(put(raw), "(0019,xx01,A)", "(0019,xx02,A)")
    assert requested(row) == ["first", "second"]


def test_unknown_private_elements_are_text(put):
    elements = [
        ("SL", [1, -2], "1\\-2"),
        ("FD", 0.1, "0.1"),
        ("US", 7, "7"),
        ("DS", "1.50", "1.50"),
        ("LO", "a\\b ", "a\\b"),
        ("AT", 0x00280010, "00280010"),
        ("UN", b"text ", "text"),
        ("OB", b"plain", "plain"),
        ("OB", b"\1\2", None),
        ("LO", b"", ""),
    ]
    raw = b"".join(
        b.element(0x00191001 + i, vr, given) for i, (vr, given, _) in enumerate(elements)
    )
    tags = [f"(0019,{0x1001 + i:04x})" for i in range(len(elements))]
    row = one_row(put(raw), *tags)
    assert requested(row) == [expected for *_, expected in elements]


def test_private_elements_in_private_sequences(put):
    inner = b.element(0x00190010, "LO", "A") + b.element(0x00191005, "LO", "inside")
    raw = (
        b.element(0x00190010, "LO", "B")
        + b.element(0x00190011, "LO", "A")
        + b.sequence(0x00191101, [inner, b""])
    )
    row = one_row(
        put(raw),
        "(0019,xx01,A).(0019,xx05,A)",
        "(0019,xx01,A)[*].(0019,xx05,A)",
        "(0019,xx01,B).(0019,xx05,A)",
    )
    assert requested(row) == ["inside", ["inside", None], None]


@pytest.mark.parametrize("undefined", [False, True])
@pytest.mark.parametrize("syntax", [b.EXPLICIT_LE, b.IMPLICIT_LE, b.EXPLICIT_BE])
def test_paths_into_sequences(put, syntax, undefined):
    code = b.encoding_of(syntax)
    measures = b.element(0x00180050, "DS", "5", encoding=code) + b.element(
        0x00280030, "DS", ["0.5", "0.25"], encoding=code
    )
    shared = b.sequence(0x00289110, [measures], encoding=code, undefined=undefined)
    raw = (
        b.element(0x00280010, "US", 3, encoding=code)
        + b.sequence(0x52009229, [shared], encoding=code, undefined=undefined)
        + per_frame_groups(4, code, undefined)
    )
    per_frame = "PerFrameFunctionalGroupsSequence{}.PlanePositionSequence{}.ImagePositionPatient"
    tags = [
        PIXEL_SPACING,
        "SharedFunctionalGroupsSequence.PixelMeasuresSequence.SliceThickness",
        per_frame.format("", ""),
        per_frame.format("[3]", "[1]"),
        per_frame.format("[5]", ""),
        per_frame.format("[2]", "[2]"),
        per_frame.format("[*]", ""),
        per_frame.format("[*]", "[*]"),
        per_frame.format("[4]", "[*]"),
        "Rows",
    ]
    row = one_row(put(raw, transfer_syntax=syntax), *tags)
    at = [[float(i), 0.0, 0.5] for i in range(4)]
    assert requested(row) == [
        [0.5, 0.25],
        5.0,
        at[0],
        at[2],
        None,
        None,
        at,
        [[a] for a in at],
        [at[3]],
        3,
    ]
    assert row["issues"] is None


def test_sequences_that_are_absent_empty_or_not_sequences(put):
    tag, every = "AnatomicRegionSequence.CodeValue", "AnatomicRegionSequence[*].CodeValue"
    row = one_row(put(), tag, every)
    assert (row[tag], row[every]) == (None, None)
    row = one_row(put(b.sequence(0x00082218)), tag, every)
    assert (row[tag], row[every]) == (None, [])
    row = one_row(put(b.sequence(0x00082218, [b""])), tag, every)
    assert (row[tag], row[every]) == (None, [None])
    row = one_row(put(b.element(0x00082218, "LO", "text")), tag, every)
    assert (row[tag], row[every]) == (None, None)
    assert [i.split("@")[0] for i in row["issues"]] == ["unfit"] * 2
    row = one_row(put(b.sequence(0x00100020, [b""])), "PatientID")
    assert (row["PatientID"], row["issues"][0][:6]) == (None, "unfit@")


def test_a_sequence_in_un(put):
    """UN of a known sequence, of defined and undefined length (PS3.5 6.2.2, CP-246)."""
    inner = b.element(0x00080100, "SH", "code", encoding=b.IMPLICIT)
    item = b.item(inner, encoding=b.IMPLICIT)
    tag = "AnatomicRegionSequence.CodeValue"
    assert value(put(b.element(0x00082218, "UN", item)), tag) == "code"
    assert value(put(b.raw_sequence(0x00082218, item, vr="UN", undefined=True)), tag) == "code"


def test_large_sequences_are_not_read_for_their_first_item(put, tmp_path):
    raw = b.sequence(
        0x52009229, [b.sequence(0x00289110, [b.element(0x00280030, "DS", ["1", "2"])])]
    )
    path = put(raw + per_frame_groups(30000))
    first = "PerFrameFunctionalGroupsSequence.PlanePositionSequence.ImagePositionPatient"
    worker = Worker(make_plan([PIXEL_SPACING, first]))
    (batch,) = worker.run(chunk_from_paths([path]))
    assert batch.column(first) == [[0.0, 0.0, 0.5]]
    assert batch.column(PIXEL_SPACING) == [[1.0, 2.0]]
    assert worker.bytes_read < 100_000 < os.path.getsize(path)
    last = "PerFrameFunctionalGroupsSequence[30000].PlanePositionSequence.ImagePositionPatient"
    assert value(path, last) == [29999.0, 0.0, 0.5]
    every = "PerFrameFunctionalGroupsSequence[*].PlanePositionSequence.ImagePositionPatient"
    assert value(path, every) == [[float(i), 0.0, 0.5] for i in range(30000)]


def test_sequences_among_large_elements(put):
    """The reader returns to an item, to a value in it, and to a value before it."""
    item = (
        b.element(0x00080100, "SH", "one")
        + b.element(0x00091001, "OB", b"C" * 50000)
        + b.element(0x00091002, "OB", bytes(300000))
        + b.element(0x00280010, "US", 5)
    )
    raw = (
        b.sequence(0x00082218, [item, item])
        + b.element(0x00091001, "OB", b"A" * 50000)
        + b.element(0x00091002, "OB", bytes(1 << 20))
        + b.sequence(0x00400555, [item] * 3)
        + b.element(0x00420011, "OB", b"B" * 50000)
    )
    tags = ["(0009,1001)", "EncapsulatedDocument"]
    for sequence in ("AnatomicRegionSequence", "AcquisitionContextSequence"):
        for pick in ("", "[2]", "[*]"):
            tags += [f"{sequence}{pick}.{leaf}" for leaf in ("CodeValue", "(0009,1001)", "Rows")]
    row = one_row(put(raw), *tags)
    assert requested(row) == ["A" * 50000, b"B" * 50000] + [
        value
        for count in (2, 3)
        for value in (
            "one",
            "C" * 50000,
            5,
            "one",
            "C" * 50000,
            5,
            ["one"] * count,
            ["C" * 50000] * count,
            [5] * count,
        )
    ]


def test_an_items_own_character_set(put):
    inner = b.element(0x00080005, "CS", "ISO_IR 101") + b.element(0x00080104, "LO", b"\xb1")
    plain = b.element(0x00080104, "LO", b"\xe9 ")
    raw = b.element(0x00080005, "CS", "ISO_IR 100") + b.sequence(0x00082218, [inner, plain])
    every = "AnatomicRegionSequence[*].CodeMeaning"
    assert value(put(raw), every) == ["\u0105", "\u00e9"]


def test_damage_inside_an_item_is_an_issue(put):
    inner = b.element(0x00080100, "SH", "code", length=40)
    row = one_row(put(b.sequence(0x00082218, [inner])), "AnatomicRegionSequence.CodeValue")
    assert row["AnatomicRegionSequence.CodeValue"] == "code"
    assert any(i.startswith("truncated-value@") for i in row["issues"])
