"""UIDs compared with pydicom, and the table of transfer syntaxes."""

import copy
import io
import pickle
import subprocess
import sys

import pydicom.uid
import pytest
from pydicom._uid_dict import UID_dictionary

import fastdcm
from fastdcm import uid as uid_module
from fastdcm.uid import TRANSFER_SYNTAXES, UID, generate_uid
from support import builder

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:pydicom")

# Where the properties of a transfer syntax differ from pydicom's, and why.
NO_PIXELS_IN_IT = (
    "1.2.840.10008.1.2.4.94",
    "1.2.840.10008.1.2.4.95",  # JPIP
    "1.2.840.10008.1.2.4.204",
    "1.2.840.10008.1.2.4.205",
    "1.2.840.10008.1.2.6.1",
    "1.2.840.10008.1.2.6.2",  # messages
    "1.2.840.10008.1.2.7.1",
    "1.2.840.10008.1.2.7.2",
    "1.2.840.10008.1.2.7.3",  # streams
)
PAPYRUS = "1.2.840.10008.1.20"
DIFFERENCES = {
    "is_encapsulated": {*NO_PIXELS_IN_IT, PAPYRUS},  # native, like any implicit VR
    "is_compressed": {PAPYRUS},
    "is_implicit_VR": {PAPYRUS},
    # PS3.5 A.7: all of the data set is deflated.
    "is_deflated": {"1.2.840.10008.1.2.4.95", "1.2.840.10008.1.2.4.205"},
    "is_little_endian": set(),
}


@pytest.mark.parametrize("text", list(UID_dictionary))
def test_every_registered_uid(text):
    ours, theirs = UID(text), pydicom.uid.UID(text)
    for name in (
        "name",
        "type",
        "info",
        "is_retired",
        "keyword",
        "is_private",
        "is_valid",
        "is_transfer_syntax",
    ):
        assert getattr(ours, name) == getattr(theirs, name), name
    for name, differences in DIFFERENCES.items():
        if ours.is_transfer_syntax:
            same = getattr(ours, name) == getattr(theirs, name)
            assert same == (text not in differences), name
        else:
            with pytest.raises(ValueError, match=r"UID is not a transfer syntax\."):
                getattr(ours, name)


def test_constants_of_pydicom_exist():
    theirs = {
        name: value
        for name, value in vars(pydicom.uid).items()
        if isinstance(value, pydicom.uid.UID) and not name.startswith("PYDICOM")
    }
    assert len(theirs) > 150
    for name, value in theirs.items():
        ours = getattr(uid_module, name)
        assert ours == value and type(ours) is UID
        assert getattr(uid_module, name) is ours


def test_unknown_name():
    with pytest.raises(AttributeError, match="no attribute 'ExplicitVRMiddleEndian'"):
        _ = uid_module.ExplicitVRMiddleEndian
    with pytest.raises(AttributeError):
        _ = uid_module.__path__


# ---------------------------------------------------- transfer syntaxes ---


def test_every_transfer_syntax_is_in_the_table():
    registered = {uid for uid, entry in UID_dictionary.items() if entry[1] == "Transfer Syntax"}
    later = {
        "1.2.840.10008.1.2.4.110",
        "1.2.840.10008.1.2.4.111",
        "1.2.840.10008.1.2.4.112",
        "1.2.840.10008.1.2.8.1",
    }
    assert set(TRANSFER_SYNTAXES) == registered | later | {"1.2.840.113619.5.2"}


CODECS = {
    "native",
    "native-big",
    "rle",
    "jpeg",
    "jpegls",
    "jpeg2000",
    "htj2k",
    "jpegxl",
    "mpeg",
    "deflate-frame",
}


@pytest.mark.parametrize("row", TRANSFER_SYNTAXES.values(), ids=list(TRANSFER_SYNTAXES))
def test_a_row_of_the_table(row):
    assert TRANSFER_SYNTAXES[row.uid] is row
    uid = UID(row.uid)
    assert uid.is_valid and uid.is_transfer_syntax and uid.type == "Transfer Syntax"
    assert uid.name != uid
    assert (row.implicit, row.big_endian, row.deflated, row.encapsulated) == (
        uid.is_implicit_VR,
        not uid.is_little_endian,
        uid.is_deflated,
        uid.is_encapsulated,
    )
    # Decoded by a family of codecs, or refused with a readable reason.
    assert (row.pixels in CODECS and row.refusal == "") or (
        row.pixels == "" and len(row.refusal.split()) > 4
    )
    # PS3.5 A.4: with encapsulated pixel data it is explicit VR little endian.
    if row.encapsulated:
        assert not (row.implicit or row.big_endian or row.deflated)
    elif row.pixels:
        assert row.pixels in ("native", "native-big")


def test_rows_that_determine_how_to_read():
    def having(name):
        return {row.uid for row in TRANSFER_SYNTAXES.values() if getattr(row, name)}

    root = "1.2.840.10008.1."
    assert having("implicit") == {root + "2", root + "20", "1.2.840.113619.5.2"}
    assert having("big_endian") == {root + "2.2"}
    assert having("deflated") == {root + "2.1.99", root + "2.4.95", root + "2.4.205"}


def test_uids_newer_than_the_table_of_pydicom():
    uid = UID("1.2.840.10008.1.2.4.110")
    assert (uid.name, uid.keyword, uid.is_retired) == ("JPEG XL Lossless", "JPEGXLLossless", False)
    assert uid_module.JPEGXLLossless == uid and uid.is_compressed
    ge = UID("1.2.840.113619.5.2")
    assert ge.is_private and ge.is_implicit_VR and not ge.is_compressed


@pytest.mark.parametrize("row", TRANSFER_SYNTAXES.values(), ids=list(TRANSFER_SYNTAXES))
def test_the_core_reads_as_the_table_says(row):
    """part10.c has a small table of its own, and records an issue if they differ."""
    encoding = (builder.IMPLICIT if row.implicit else 0) | (builder.BIG if row.big_endian else 0)
    dataset = builder.element(0x00080060, "CS", "CT", encoding=encoding)
    dataset += builder.element(0x00280010, "US", 513, encoding=encoding)
    if row.deflated:
        dataset = builder.deflate(dataset)
    stream = builder.part10(dataset, meta=builder.file_meta(row.uid))
    ds = fastdcm.dcmread(io.BytesIO(stream))
    assert (ds.Modality, ds.Rows) == ("CT", 513)
    assert list(ds.issues) == []


# ------------------------------------------------------------------ UID ---


@pytest.mark.parametrize(
    "text",
    [
        "",
        ".",
        "1",
        "1.",
        ".1",
        "1..2",
        "0",
        "0.0",
        "01",
        "1.02",
        "1.2.3",
        "1.2.x",
        " 1.2 ",
        "1.2\n",
        "1.-2",
        "1.\u0662",
        "1.\u00b2",
        "1." * 31 + "23",
        "1." * 31 + "234",
        "2.25.340282",
    ],
)
def test_is_valid(text):
    assert UID(text).is_valid == pydicom.uid.UID(text).is_valid
    assert UID(text) == pydicom.uid.UID(text) == text.strip()


def test_an_unknown_uid():
    uid = UID("1.2.3.4")
    assert (uid.name, uid.type, uid.info, uid.keyword) == ("1.2.3.4", "", "", "")
    assert uid.is_private and not uid.is_retired and not uid.is_transfer_syntax


def test_a_uid_is_a_str():
    uid = UID("1.2.840.10008.1.2")
    assert uid == "1.2.840.10008.1.2" and hash(uid) == hash("1.2.840.10008.1.2")
    assert repr(uid) == "'1.2.840.10008.1.2'" and f"{uid}" == str(uid)
    for other in (copy.copy(uid), copy.deepcopy(uid), pickle.loads(pickle.dumps(uid)), UID(uid)):
        assert other == uid and type(other) is UID
    for bad in (None, 1, b"1.2", ["1.2"]):
        with pytest.raises(TypeError):
            UID(bad)


# --------------------------------------------------------- generate_uid ---


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"prefix": None},
        {"prefix": "2.25."},
        {"entropy_srcs": ["a"]},
        {"prefix": None, "entropy_srcs": ["a"]},
    ],
)
def test_a_uid_from_a_uuid(arguments):
    for _ in range(200):
        uid = generate_uid(**arguments)
        assert type(uid) is UID and uid.is_valid and uid.startswith("2.25.")
        number = int(uid[5:])
        assert number < 2**128 and number >> 62 & 3 == 2  # variant of RFC 9562
        hashed = "entropy_srcs" in arguments and arguments.get("prefix", "") is not None
        assert number >> 76 & 15 == (8 if hashed else 4)


def test_uids_differ_unless_their_sources_are_the_same():
    assert len({generate_uid() for _ in range(1000)}) == 1000
    assert len({generate_uid("1.2.3.") for _ in range(1000)}) == 1000
    assert generate_uid(entropy_srcs=["a", "b"]) == generate_uid(entropy_srcs=["a", "b"])
    assert generate_uid(entropy_srcs=["a"]) != generate_uid(entropy_srcs=["b"])


@pytest.mark.parametrize("prefix", ["1.", "1.2.3.", "1.2.826.0.1.3680043.8.498.", "1." * 27])
def test_a_uid_with_a_prefix(prefix):
    sources = ["lorem", "ipsum", "\N{SNOWMAN}"]
    assert generate_uid(prefix, sources) == pydicom.uid.generate_uid(prefix, sources)
    for _ in range(200):
        uid = generate_uid(prefix)
        assert uid.startswith(prefix) and uid.is_valid


@pytest.mark.parametrize("prefix", ["", ".", "1", "1.2", "01.", "1..", "1.x.", "1." * 27 + "1."])
def test_a_bad_prefix(prefix):
    with pytest.raises(ValueError, match="prefix"):
        generate_uid(prefix)


def test_registry_is_loaded_on_first_use():
    code = (
        "import sys, fastdcm.uid as u; u.UID('1.2.840.10008.1.2').is_implicit_VR;"
        "u.generate_uid(); a = 'fastdcm._uid_table' in sys.modules;"
        "u.UID('1').name; print(a, 'fastdcm._uid_table' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "False True\n", done.stderr
