"""Dataset compared with pydicom: the same code on the same files in both."""

import array
import copy
import gc
import io
import itertools
import os
import pickle
import re
import subprocess
import sys

import numpy as np
import pydicom
import pytest

import fastdcm
from fastdcm import DataElement, Dataset, DicomError, PersonName, Sequence, Tag, dcmread, dcmwrite
from fastdcm.dataset import FileMetaDataset
from fastdcm.errors import FileAccessError
from support import builder as b
from support.writing import read, written

# The two read damaged files, and attributes that only one of them has in its
# dictionary, differently: test_oracle.py lists that. Here only other files count.
APART = {
    "duplicate",
    "encoding",
    "fragments",
    "implicit-element",
    "item-length",
    "meta-encoding",
    "not-an-item",
    "out-of-order",
    "padding",
    "stray-delimiter",
    "truncated-header",
    "truncated-value",
    "unclosed",
    "unknown-vr",
    "unknown-transfer-syntax",
}
# Read differently: see DIFFERENCES in test_oracle.py.
LOST = {"TC0121_seriesdescription_over_64KB.dcm", "pt_256x256_16bit_jpls.dcm"}


pytestmark = pytest.mark.filterwarnings("ignore")  # pydicom's


def pairs(paths):
    for path in paths:
        try:
            theirs = pydicom.dcmread(path, force=True)
            str(theirs)
            ours = dcmread(path)
        except DicomError:
            continue
        except Exception:  # any error that pydicom raises
            continue
        if path.name not in LOST and not {issue.code for issue in ours.issues} & APART:
            yield path, ours, theirs


def same(ours, theirs):
    """Return whether two values are equal, in types with the same text."""
    if isinstance(theirs, pydicom.Sequence):
        return len(ours) == len(theirs)
    if isinstance(theirs, pydicom.multival.MultiValue | list):
        return isinstance(ours, list) and len(ours) == len(theirs) and all(map(same, ours, theirs))
    if isinstance(theirs, pydicom.valuerep.PersonName):
        return isinstance(ours, PersonName) and str(ours) == str(theirs)
    if isinstance(theirs, float) and theirs != theirs:
        return ours != ours
    if isinstance(theirs, str | bytes) or theirs is None:
        return (
            isinstance(ours, type(theirs) if not isinstance(theirs, str) else str)
            and ours == theirs
        )
    return float(ours) == float(theirs)


def same_element(ours, theirs):
    return (
        int(ours.tag) == int(theirs.tag) and ours.VR == theirs.VR and same(ours.value, theirs.value)
    )


def same_elements(ours, theirs):
    ours, theirs = list(ours), list(theirs)
    assert [int(e.tag) for e in ours] == [int(e.tag) for e in theirs]
    for mine, other in zip(ours, theirs):
        assert same_element(mine, other), f"{mine} | {other}"
    return True


def same_levels(ours, theirs):
    """Every element of every level."""
    return same_elements(ours, theirs) and all(
        same_levels(x, y)
        for mine, other in zip(ours, theirs)
        if other.VR == "SQ"
        for x, y in zip(mine.value, other.value)
    )


# ---------------------------------------------------------------- lookup ---


def is_repeated(tag):
    """Overlays and curves: pydicom does not mark curves as retired."""
    return tag >> 24 in (0x50, 0x60)


def check_look_ups(path, ours, theirs):
    assert len(ours) == len(theirs) and bool(ours) == bool(theirs)
    assert ours.keys() == sorted(theirs.keys()) and isinstance(ours.keys()[0], int)
    assert same_elements(ours, theirs)
    assert [int(t) for t, e in ours.items() if e is ours[t] or e == ours[t]] == ours.keys()
    for elem in theirs:
        tag, mine = int(elem.tag), ours[elem.tag]
        assert str(mine.tag) == str(elem.tag) and (mine.tag.group, mine.tag.elem) == (
            elem.tag.group,
            elem.tag.elem,
        )
        for key in (tag, (elem.tag.group, elem.tag.element), Tag(tag), elem.tag):
            assert key in ours and ours[key] == mine == ours.get(key), key
        assert ours[f"{tag:08X}"] == mine and theirs[f"{tag:08X}"] == elem
        assert ours.get_item(tag).tag == tag
        for name in ("VM", "is_empty", "is_private", "keyword", "is_retired"):
            if name != "is_retired" or not is_repeated(tag):
                assert getattr(mine, name) == getattr(elem, name), (name, elem)
        if elem.keyword:
            assert elem.keyword in ours and same_element(ours[elem.keyword], elem)
            assert same(getattr(ours, elem.keyword), elem.value) and hasattr(ours, elem.keyword)
            assert same(ours.get(elem.keyword), elem.value)
            assert same_element(ours.data_element(elem.keyword), elem)
    for absent in ("PatientAddress", "NoKeyword", 0x00101040, (0x0009, 0x10FE), 0x99990000):
        assert (absent in ours) == (absent in theirs if absent != "NoKeyword" else False)
        assert ours.get(absent, "none") == "none" or absent in theirs
    for key in ("SOPInstanceUID", "PatientAddress"):
        assert hasattr(ours, key) == hasattr(theirs, key)
    for group in sorted({tag.group for tag in theirs.keys()} - {0xFFFF}):  # pydicom fails there  # noqa: SIM118  # iteration gives elements
        assert same_elements(ours.group_dataset(group), theirs.group_dataset(group))
    for part in (
        slice(0x00080000, 0x00100000),
        slice(None, 0x00200000),
        slice(0x00200000, None),
        slice("PatientName", "PixelData"),
        slice(None, None, 3),
        slice(0x20, 0x10),
    ):
        assert same_elements(ours[part], theirs[part]), part
    assert ours.dir() == theirs.dir() and ours.dir("patient", "DATE") == theirs.dir(
        "patient", "DATE"
    )
    assert set(theirs.dir()) <= set(dir(ours)) and set(theirs.dir()) <= set(ours.trait_names())


def check_walks(path, ours, theirs):
    assert same_elements(ours.iterall(), theirs.iterall())
    met, expected = [], []
    ours.walk(lambda ds, elem: met.append((len(ds), elem)))
    theirs.walk(lambda ds, elem: expected.append((len(ds), elem)))
    assert [n for n, _ in met] == [n for n, _ in expected]
    assert all(same_element(x, y) for (_, x), (_, y) in zip(met, expected))
    met = []
    ours.walk(lambda ds, elem: met.append(int(elem.tag)), recursive=False)
    assert met == ours.keys()
    assert same_levels(ours, theirs)


def check_private(path, ours, theirs):
    for group in sorted({tag.group for tag in theirs.keys() if tag.group % 2 and tag.group > 8}):  # noqa: SIM118  # iteration gives elements
        assert ours.private_creators(group) == theirs.private_creators(group)
        for creator in filter(None, theirs.private_creators(group)):
            block, other = ours.private_block(group, creator), theirs.private_block(group, creator)
            assert (
                block.block_start == other.block_start
                and block.private_creator == other.private_creator
            )
            # pydicom finds only the elements of the creator's first block (PS3.5 7.8.1).
            more = theirs.private_creators(group).count(creator) > 1
            for offset in range(256):
                assert (offset in block) == (offset in other) or (more and offset in block)
                if offset in other:
                    assert same_element(block[offset], other[offset])
                    assert same_element(
                        ours.get_private_item(group, offset, creator), other[offset]
                    )
                    # pydicom does not set it for a sequence that it has read.
                    assert (
                        block[offset].private_creator
                        == creator
                        == (other[offset].private_creator or creator)
                    )
        with pytest.raises(KeyError):
            ours.private_block(group, "NO SUCH CREATOR")


# pydicom treats every private element below (gggg,0100) as a private creator,
# except that it uses the group length as a creator's name, and has no name for a
# private sequence that it has read. Some transfer syntaxes are newer than it.
NAMES = re.compile(
    r"^( *\(\w{3}[13579bdfBDF],\w{4}\) ) *(?:Private Creator|Private tag data|\[.*?\]) +"
)
YOUNGER = re.compile(r"^(\(0002,0010\) .* UI: ).*")


def without_names(text):
    return [YOUNGER.sub(r"\1", NAMES.sub(r"\1", line)) for line in text.split("\n")]


def check_text(path, ours, theirs):
    assert without_names(str(ours)) == without_names(str(theirs))
    assert repr(ours) == str(ours)
    assert without_names(ours.top()) == without_names(theirs.top())


def check_file_around(path, ours, theirs):
    assert ours.preamble == theirs.preamble
    assert same_elements(ours.file_meta, theirs.file_meta) if hasattr(theirs, "file_meta") else True
    assert os.fspath(ours.filename) == os.fspath(theirs.filename)
    assert ours.original_encoding == theirs.original_encoding
    assert (ours.is_implicit_VR, ours.is_little_endian) == theirs.original_encoding


CHECKS = [check_look_ups, check_walks, check_private, check_text, check_file_around]


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_files_beside_pydicom(check, pydicom_files):
    count = 0
    for path, ours, theirs in pairs(pydicom_files):
        check(path, ours, theirs)
        count += 1
    assert count > 150


def test_corpus_beside_pydicom(corpus_files):
    count = 0
    for path, ours, theirs in pairs(corpus_files):
        for check in CHECKS:
            check(path, ours, theirs)
        count += 1
    assert count > 230


# --------------------------------------------------------------- changing ---


def changes(ds, element, sequence, dataset):
    """Change a data set as scripts do, in either library."""
    ds.PatientName = "Doe^Jane"
    ds["PatientID"].value = "12345"
    ds[0x00100030].value = "19700101"
    ds.add_new(0x00101010, "AS", "042Y")
    ds.add_new((0x0018, 0x0050), "DS", "1.5")
    ds[0x00104000] = element(0x00104000, "LT", "a comment")
    ds.add(element("ImageComments", "LT", "another"))
    ds.ImageType = ["DERIVED", "SECONDARY"]
    ds.ImageType.append("OTHER")
    ds.PixelSpacing = [0.5, 0.25]
    ds.InstanceNumber = 12
    ds.FrameIncrementPointer = 0x00181063
    ds.SOPInstanceUID = "1.2.3"
    ds.StudyDate = ""
    ds.PatientComments = ds.ReferringPhysicianName = ds.Rows = None
    ds.AcquisitionMatrix = []
    ds.SoftwareVersions = []
    ds.SoftwareVersions.append("1")
    item, second = dataset(), dataset()
    item.CodeValue, second.CodeValue = "A", "B"
    ds.ConceptNameCodeSequence = sequence([item])
    ds.ConceptNameCodeSequence.append(second)
    ds.ConceptNameCodeSequence[0].CodeMeaning = "meaning"
    ds.AnatomicRegionSequence = [item]
    ds.DeidentificationMethodCodeSequence = []
    if "StudyTime" in ds:
        del ds.StudyTime
    for key in (0x00080070, "Manufacturer"):
        if key in ds:
            del ds[key]
    ds.setdefault("AccessionNumber", "1")
    ds.setdefault(0x00080054, element(0x00080054, "AE", "AET"))
    ds.pop(0x00080090, None)
    ds.update({"StationName": "here", 0x00081030: element(0x00081030, "LO", "study")})
    block = ds.private_block(0x0011, "ACME 1.1", create=True)
    block.add_new(0x01, "SH", "private")
    block.add_new(0x02, "US", 7)
    del block[0x02]
    del ds[0x00200000:0x00200010]
    ds.remove_private_tags()
    ds.private_block(0x0013, "ACME 2", create=True).add_new(0xFF, "UN", b"ab")


def check_changes(path, ours, theirs):
    for ds in (ours, theirs):
        for key in ("PatientID", "PatientBirthDate"):
            ds.setdefault(key, "")
    changes(ours, DataElement, Sequence, Dataset)
    changes(theirs, pydicom.DataElement, pydicom.Sequence, pydicom.Dataset)
    check_look_ups(path, ours, theirs)
    check_walks(path, ours, theirs)
    assert without_names(str(ours)) == without_names(str(theirs))
    assert not [e for e in ours.iterall() if e.tag.is_private and e.tag.group != 0x0013]


def test_changes_beside_pydicom(pydicom_files):
    count = 0
    for path, ours, theirs in pairs(pydicom_files):
        check_changes(path, ours, theirs)
        count += 1
    assert count > 150


def test_changes_of_an_empty_data_set_beside_pydicom():
    ours, theirs = Dataset(), pydicom.Dataset()
    check_changes("made by hand", ours, theirs)
    assert str(ours) == str(theirs)
    for ds in (ours, theirs):
        ds.clear()
    assert len(ours) == len(theirs) == 0 and str(ours) == str(theirs) == ""


def test_errors_beside_pydicom():
    for module, ds in ((fastdcm, Dataset(PatientID="1")), (pydicom, pydicom.Dataset())):
        ds.PatientID = "1"
        with pytest.raises(AttributeError):
            _ = ds.PatientName
        with pytest.raises(KeyError):
            ds[0x00100010]
        with pytest.raises(KeyError):
            ds["PatientName"]
        with pytest.raises(AttributeError):
            del ds.PatientName
        with pytest.raises(KeyError):
            del ds[0x00100010]
        with pytest.raises(KeyError):
            ds.pop(0x00100010)
        with pytest.raises(TypeError):
            ds[0x00100010] = "Doe"
        with pytest.raises(ValueError):
            ds[0x00100010] = ds["PatientID"]
        with pytest.raises(TypeError):
            ds.ConceptNameCodeSequence = type(ds)()
        with pytest.raises(TypeError):
            ds.ConceptNameCodeSequence = ["text"]
        with pytest.raises(TypeError):
            hash(ds)
        with pytest.raises(ValueError):
            ds.private_block(0x0010, "even")
        with pytest.raises((KeyError, ValueError)):
            ds["NotAKeyword"]
        assert ds.get("NotAKeyword", 5) == 5
        assert ds.pop(0x00100010, None) is None
        assert module.dcmread


def test_repr_of_an_element_is_its_text():
    elem = Dataset(PatientID="12345")["PatientID"]
    assert repr(elem) == str(elem) and "Patient ID" in repr([elem])


WORDS = np.array([[1, 2], [3, 4]], "<u2")
SAME_BYTES = {
    "array": lambda: WORDS.copy(),
    "not contiguous": lambda: np.repeat(WORDS, 2, axis=1)[:, ::2],
    "bytes": WORDS.tobytes,
    "bytearray": lambda: bytearray(WORDS.tobytes()),
    "memoryview": lambda: memoryview(WORDS),
    "array of Python": lambda: array.array("H", [1, 2, 3, 4]),
}


@pytest.mark.parametrize("vr", ["OB", "OW", "OL", "OV", "OF", "OD", "UN"])
@pytest.mark.parametrize("one", SAME_BYTES)
@pytest.mark.parametrize("other", SAME_BYTES)
def test_equality_of_arrays(vr, one, other):
    """An array is equal to the bytes that are written of it."""

    def with_value(value):
        ds = Dataset()
        ds.add_new(0x00091010, vr, value)
        return Dataset(ReferencedImageSequence=[ds])

    ds = with_value(SAME_BYTES[one]())
    assert ds == with_value(SAME_BYTES[other]())
    assert not ds != with_value(SAME_BYTES[other]())  # noqa: SIM202  # tests !=
    assert read(written(ds, implicit_vr=False)) == ds
    for different in (WORDS + 1, WORDS[:1], np.zeros((0, 2), "u2"), b"", None, [1, 2]):
        assert ds != with_value(different) and with_value(different) != ds


def test_equality_of_nothing_and_of_nan():
    empty = [np.zeros((0, 2), "u2"), b"", None]
    for a, c in itertools.product(empty, empty):
        assert Dataset(PixelData=a) == Dataset(PixelData=c)
    nan = float("nan")
    assert Dataset(RecommendedDisplayFrameRateInFloat=nan) == Dataset(
        RecommendedDisplayFrameRateInFloat=nan
    )
    assert Dataset(PixelSpacing=[nan, 1.0]) == Dataset(PixelSpacing=np.array([nan, 1.0]))
    assert Dataset(PixelSpacing=[nan, 1.0]) != Dataset(PixelSpacing=[1.0, nan])


def test_equality():
    raw = b.part10(
        b.element(0x00080008, "CS", "A\\B")
        + b.element(0x00100010, "PN", "Doe^Jane")
        + b.element(0x00200013, "IS", "5 ")
        + b.element(0x00280010, "US", 7)
        + b.element(0x00280030, "DS", "0.50\\.25 ")
        + b.sequence(0x0040A043, [b.element(0x00080100, "SH", "x ")])
    )
    read, other = dcmread(io.BytesIO(raw)), dcmread(io.BytesIO(raw))
    made = Dataset(
        ImageType=["A", "B"],
        PatientName="Doe^Jane",
        InstanceNumber=5,
        Rows=7,
        PixelSpacing=[0.5, 0.25],
    )
    made.ConceptNameCodeSequence = [Dataset(CodeValue="x")]
    assert read == other == made == read and not read != made  # noqa: SIM202  # tests !=
    made.ConceptNameCodeSequence[0].CodeValue = "y"
    assert read != made
    read.ConceptNameCodeSequence[0].CodeValue = "y"
    assert read == made and other != read
    read.ImageType.append("C")
    assert read != made
    assert read != 5 and read != {} and not read == None  # noqa: E711, SIM201  # tests ==, not !=
    assert Dataset() == Dataset() and Dataset() == FileMetaDataset()


# ----------------------------------------------------------------- copies ---


def sample():
    return b.part10(
        b.element(0x00080005, "CS", "ISO_IR 192")
        + b.element(0x00080008, "CS", "A\\B")
        + b.element(0x00100010, "PN", "D\u00f6e^Jane".encode())
        + b.element(0x00280030, "DS", "1.50\\2 ")
        + b.sequence(
            0x0040A730,
            [
                b.element(0x00080100, "SH", "x ")
                + b.sequence(0x0040A043, [b.element(0x00080104, "LO", "in")]),
                b.element(0x00080100, "SH", "y "),
            ],
            undefined=True,
        )
        + b.element(0x7FE00010, "OW", bytes(100_000))
    )


WAYS = [
    copy.deepcopy,
    lambda ds: pickle.loads(pickle.dumps(ds)),
    lambda ds: pickle.loads(pickle.dumps(ds, 2)),
]


@pytest.fixture(params=WAYS, ids=["deepcopy", "pickle", "pickle 2"])
def independent(request):
    return request.param


def dumped(ds):
    out = io.BytesIO()
    dcmwrite(out, ds)
    return out.getvalue()


def edits(ds):
    ds.PatientName = "New"
    ds.ImageType.append("C")
    ds.ContentSequence[0].ConceptNameCodeSequence[0].CodeMeaning = "changed"
    ds.ContentSequence.append(Dataset(CodeValue="z"))
    ds.PixelSpacing[0] = 9.0
    ds.file_meta.SourceApplicationEntityTitle = "AE"
    ds.preamble = b"x" * 128
    del ds[0x00080005]


@pytest.mark.parametrize("touched", [False, True])
def test_independent_copies(independent, tmp_path, touched):
    """Changes to one do not appear in the other, in both directions."""
    path = tmp_path / "a.dcm"
    path.write_bytes(sample())
    ds = dcmread(path)
    if touched:
        ds.check_all()
        str(ds)
    twin = independent(ds)
    assert type(twin) is Dataset and twin == ds and dumped(twin) == sample()
    assert twin.filename == ds.filename and twin.file_meta == ds.file_meta
    edits(twin)
    assert dumped(ds) == sample() and dcmread(path) == ds
    changed = dumped(twin)
    other = independent(twin)
    assert other == twin and dumped(other) == changed != sample()
    assert list(map(str, other.iterall())) == list(map(str, twin.iterall()))
    twin = independent(ds)
    edits(ds)
    assert dumped(twin) == sample() and dumped(ds) == changed


def test_independent_copies_of_every_file(independent, pydicom_files):
    for path in pydicom_files:
        try:
            ds = dcmread(path)
        except DicomError:
            continue
        twin = independent(ds)
        assert twin == ds and twin.preamble == ds.preamble, path
        assert list(map(str, twin.iterall())) == list(map(str, ds.iterall())), path
        assert set(ds.issues) == set(twin.issues), path


def test_shallow_copies():
    ds = dcmread(io.BytesIO(sample()))
    ds.PatientID = "1"
    twin = ds.copy()
    assert twin == ds == copy.copy(twin)
    twin.PatientName = "New"
    twin.PatientID = "2"
    del twin.PixelSpacing
    twin.file_meta.SourceApplicationEntityTitle = "AE"
    assert (str(ds.PatientName), ds.PatientID, ds.PixelSpacing) == (
        "D\u00f6e^Jane",
        "1",
        [1.5, 2.0],
    )
    assert "SourceApplicationEntityTitle" not in ds.file_meta
    twin.ImageType.append("C")
    twin.ContentSequence[0].CodeValue = "changed"
    assert ds.ImageType == ["A", "B", "C"] and ds.ContentSequence[0].CodeValue == "changed"
    ds.ContentSequence[1].CodeValue = "too"
    assert twin.ContentSequence[1].CodeValue == "too"


def test_copies_outlive_the_file(tmp_path):
    path = tmp_path / "a.dcm"
    path.write_bytes(sample())
    with dcmread(path) as ds:
        twin, pickled, deep = copy.deepcopy(ds), pickle.dumps(ds), copy.deepcopy(copy.deepcopy(ds))
    os.unlink(path)
    with pytest.raises(FileAccessError, match="closed"):
        _ = ds.PixelData
    del ds
    gc.collect()
    assert twin.PixelData == deep.PixelData == bytes(100_000)
    program = (
        "import pickle, sys; ds = pickle.load(sys.stdin.buffer); "
        "print(len(ds.PixelData), ds.PatientName)"
    )
    done = subprocess.run(
        [sys.executable, "-X", "utf8", "-c", program],
        input=pickled,
        capture_output=True,
        check=True,
        env={**os.environ, "PYTHONPATH": os.path.dirname(os.path.dirname(fastdcm.__file__))},
    )
    assert done.stdout.decode().split() == ["100000", "D\u00f6e^Jane"]


def test_deep_copy_reads_no_values(tmp_path):
    path = tmp_path / "big.dcm"
    with open(path, "wb") as out:  # pixel data that no memory holds
        out.write(
            b.part10(b.element(0x00100010, "PN", "A") + b.header(0x7FE00010, "OB", 0xFFFFFFF0))
        )
        out.truncate(0xFFFFFFF0 + out.tell())
    ds = dcmread(path)
    twin = copy.deepcopy(ds)
    twin.PatientName = "B"
    assert (ds.PatientName, twin.PatientName, twin[0x7FE00010].value_length) == (
        "A",
        "B",
        0xFFFFFFF0,
    )


def test_pickle_contains_no_bytes_of_removed_elements():
    ds = dcmread(
        io.BytesIO(
            b.part10(
                b.element(0x00100010, "PN", "SECRET^NAME")
                + b.element(0x00100020, "LO", "SECRETID")
                + b.sequence(
                    0x00101002,
                    [b.element(0x00100020, "LO", "SECRET^DEEP") + b.element(0x00100040, "CS", "F")],
                )
            )
        )
    )
    del ds.PatientName
    ds.PatientID = "0"
    del ds.OtherPatientIDsSequence[0].PatientID
    data = pickle.dumps(ds)
    assert b"SECRET" not in data
    assert pickle.loads(data) == ds


def test_elements_and_sequences_are_copied_alone(independent):
    ds = dcmread(io.BytesIO(sample()))
    item = independent(ds.ContentSequence[0])
    assert item == ds.ContentSequence[0] and item.ConceptNameCodeSequence[0].CodeMeaning == "in"
    item.CodeValue = "new"
    assert ds.ContentSequence[0].CodeValue == "x"
    elem = independent(ds[0x0040A730])
    assert elem == ds[0x0040A730] and elem.is_undefined_length
    elem.value[0].CodeValue = "new"
    assert ds.ContentSequence[0].CodeValue == "x"
    sequence = independent(ds.ContentSequence)
    sequence.append(Dataset())
    assert (len(sequence), len(ds.ContentSequence)) == (3, 2)
    assert independent(ds.PatientName) == ds.PatientName
    part = independent(ds[0x00080000:0x00100011])
    part.PatientName = "x"
    assert part.ImageType == ["A", "B"] and ds.PatientName == "D\u00f6e^Jane"


def test_user_attributes_are_copied(independent):
    class Mine(Dataset):
        pass

    ds = Dataset(PatientID="1")
    ds.note = ["kept"]
    twin = independent(ds)
    assert twin.note == ["kept"] and twin.note is not ds.note and twin == ds
    twin = copy.deepcopy(Mine(PatientID="1"))
    assert type(twin) is Mine and twin.PatientID == "1"


def test_character_set_is_copied():
    raw = b.part10(
        b.element(0x00080005, "CS", "ISO_IR 100")
        + b.element(0x00080080, "LO", "\u5c71\u5ddd".encode())
    )
    ds = dcmread(io.BytesIO(raw), charset="ISO_IR 192")
    ds.SpecificCharacterSet = "ISO_IR 192"
    for way, rest in itertools.product(WAYS, WAYS):
        assert rest(way(ds)).InstitutionName == "\u5c71\u5ddd"


def test_specific_tags_are_copied(independent):
    ds = dcmread(io.BytesIO(sample()), specific_tags=["PatientName", "PixelData"])
    twin = independent(ds)
    assert twin == ds and len(twin) == 3 and len(list(twin.iterall())) == 3
    ds = dcmread(io.BytesIO(sample()), stop_before_pixels=True)
    twin = independent(ds)
    assert twin == ds and "PixelData" not in twin and list(twin.iterall())
    assert len(pickle.dumps(ds)) < 5000


def test_a_sequence_whose_rows_fill_their_memory():
    """16 rows, the first size of an index, and the last is an item without
    elements: nothing is looked at behind it (the sanitizers watch)."""
    raw = b.sequence(0x00400275, [b""] * 16)
    ds = dcmread(memoryview(b.part10(raw)))
    assert [elem.tag for elem in ds.iterall()] == [0x00400275]
    assert len(ds[0x00400275].value) == 16


def test_the_name_of_the_first_argument(pydicom_files):
    """As in pydicom."""
    assert dcmread(fp=pydicom_files[0]) == dcmread(pydicom_files[0])
