"""Lifetimes of data sets, views and descriptors, and files that change while in use."""

import gc
import os
import subprocess
import sys
import weakref

import pytest

from fastdcm import DicomError, dcmread
from fastdcm.errors import FileChangedError
from support.builder import DEFLATED_LE, Builder, element, image, part10
from support.damaged import SEQUENCE

PIXELS = bytes(range(256)) * 800
linux = pytest.mark.skipif(sys.platform != "linux", reason="counts descriptors in /proc")


@pytest.fixture
def path(tmp_path):
    b = Builder()
    with b.sequence(SEQUENCE):
        for i in range(3):
            with b.item():
                b.element(0x00081150, "UI", f"1.2.{i}")
    b.element(0x00100010, "PN", "Doe^Jane")
    b.element(0x00280010, "US", 400)
    b.element(0x00280011, "US", 512)
    b.element(0x7FE00010, "OW", PIXELS)
    b.element(0xFFFCFFFC, "OB", b"end!")
    path = tmp_path / "a.dcm"
    path.write_bytes(b.bytes())
    return path


def descriptors():
    return len(os.listdir("/proc/self/fd"))


# ---------------------------------------------------------------- lifetimes ---


def test_parts_outlive_the_data_set(path):
    ds = dcmread(path)
    item, elem, name = ds[SEQUENCE].value[1], ds[0x7FE00010], ds[0x00100010]
    walk = ds.iterall()
    del ds
    gc.collect()
    assert item.ReferencedSOPClassUID == "1.2.1" and elem.value == PIXELS
    assert name.value == "Doe^Jane" and len(list(walk)) == 9


def test_source_buffer_is_kept_alive(path):
    raw = bytearray(path.read_bytes())
    ds = dcmread(raw)
    with pytest.raises(BufferError):
        raw.clear()
    del ds
    gc.collect()
    raw.clear()


def test_values_do_not_change_with_the_source_buffer(path):
    raw = bytearray(path.read_bytes())
    ds = dcmread(raw)
    pixels, name = ds.PixelData, ds.PatientName
    raw[:] = bytes(len(raw))
    assert pixels == PIXELS and name == "Doe^Jane"


@linux
def test_deleting_a_data_set_closes_its_descriptor(path):
    before = descriptors()
    ds = dcmread(path)
    ds[SEQUENCE].value[0].ReferencedSOPClassUID, ds.PixelData, str(ds), list(ds.iterall())
    assert descriptors() == before + 1
    watch = weakref.ref(ds)
    del ds
    assert watch() is None  # by reference counting: there are no cycles
    assert descriptors() == before


@linux
def test_failed_read_leaves_no_descriptor_open(tmp_path):
    (tmp_path / "a.dcm").write_bytes(b"GIF89a" * 100)
    before = descriptors()
    for _ in range(10):
        with pytest.raises(DicomError):
            dcmread(tmp_path / "a.dcm")
    assert descriptors() == before


@linux
def test_no_descriptor_when_all_values_are_in_memory(tmp_path):
    before = descriptors()
    (tmp_path / "a.dcm").write_bytes(part10(element(0x00100010, "PN", "Doe^Jane")))
    (tmp_path / "b.dcm").write_bytes(
        part10(element(0x7FE00010, "OW", PIXELS), transfer_syntax=DEFLATED_LE)
    )
    kept = dcmread(tmp_path / "a.dcm"), dcmread(tmp_path / "b.dcm")
    assert descriptors() == before
    assert kept[0].PatientName == "Doe^Jane" and kept[1].PixelData == PIXELS


@linux
def test_load_closes_the_descriptor(path):
    before = descriptors()
    ds = dcmread(path)
    ds.load()
    assert descriptors() == before
    path.unlink()
    assert ds.PixelData == PIXELS and ds[SEQUENCE].value[2].ReferencedSOPClassUID == "1.2.2"


def test_with_block_closes_the_file(path):
    with dcmread(path) as ds:
        name, pixels = ds[0x00100010], ds[0x7FE00010]
        assert pixels.value == PIXELS
    assert name.value == "Doe^Jane"  # in memory with the header
    with pytest.raises(DicomError) as caught:
        _ = pixels.value
    assert caught.value.code == "read"


def test_changes_to_a_list_last(path):
    raw = part10(element(0x00280030, "DS", "0.5\\0.25"))
    ds = dcmread(memoryview(raw))
    ds.PixelSpacing[1] = 9.0
    gc.collect()
    assert ds.PixelSpacing == [0.5, 9.0]


# -------------------------------------------------- the file while in use ---


def test_unlinked(path):
    ds = dcmread(path)
    path.unlink()
    assert ds.PixelData == PIXELS and ds[0xFFFCFFFC].value == b"end!"


@pytest.mark.parametrize("size", [0, 100, 5000, 150_000])
def test_truncated(path, size):
    ds = dcmread(path)
    os.truncate(path, size)
    with pytest.raises(FileChangedError):
        _ = ds.PixelData
    assert ds.PatientName == "Doe^Jane" and ds.Rows == 400  # was in memory


def test_empty_values_at_the_end_need_no_file(tmp_path):
    raw = part10(element(0x00100010, "PN", "Doe^Jane") + element(0x0040A730, "SQ"))
    for transfer_syntax in (None, DEFLATED_LE):
        if transfer_syntax:
            raw = part10(element(0x0040A730, "SQ"), transfer_syntax=transfer_syntax)
        (tmp_path / "a.dcm").write_bytes(raw)
        for source in (tmp_path / "a.dcm", memoryview(raw)):
            ds = dcmread(source)
            if source == tmp_path / "a.dcm":
                source.unlink()
            assert len(ds[0x0040A730].value) == 0


@pytest.fixture
def three_hundred(tmp_path):
    raw = bytearray(
        part10(
            element(0x00200013, "IS", "0000")
            + element(0x7FE00010, "OW", PIXELS)
            + element(0xFFFCFFFC, "OB", b"end!")
        )
    )
    at = raw.index(b"0000", 200)
    paths = []
    for i in range(300):
        raw[at : at + 4] = b"%04d" % i
        raw[-4:] = b"%04d" % i
        paths.append(tmp_path / f"{i}.dcm")
        paths[-1].write_bytes(raw)
    return paths


@linux
class TestOpenFileLimit:
    """Past 256 open files the oldest is closed, and reopened when needed."""

    def test_all_are_read(self, three_hundred):
        before = descriptors()
        data_sets = [dcmread(path) for path in three_hundred]
        assert descriptors() - before <= 256
        for order in (1, -1):
            for i in range(300)[::order]:
                assert data_sets[i].InstanceNumber == i
                assert data_sets[i][0xFFFCFFFC].value == b"%04d" % i
                assert data_sets[i].PixelData == PIXELS
                assert descriptors() - before <= 256
        del data_sets
        assert descriptors() == before

    def test_replaced_file_raises(self, three_hundred, tmp_path):
        data_sets = [dcmread(path) for path in three_hundred]
        (tmp_path / "new").write_bytes(three_hundred[1].read_bytes())
        os.replace(tmp_path / "new", three_hundred[0])
        with pytest.raises(FileChangedError) as caught:
            _ = data_sets[0].PixelData
        assert caught.value.filename == str(three_hundred[0])
        assert data_sets[0].InstanceNumber == 0  # in memory
        assert data_sets[1].PixelData == PIXELS

    def test_rewritten_file_raises(self, three_hundred):
        data_sets = [dcmread(path) for path in three_hundred]
        raw = three_hundred[0].read_bytes()
        os.utime(three_hundred[0], ns=(1, 1))
        with pytest.raises(FileChangedError):
            _ = data_sets[0].PixelData
        with open(three_hundred[1], "ab") as file:
            file.write(raw)
        with pytest.raises(FileChangedError):
            _ = data_sets[1].PixelData

    def test_deleted_file_raises(self, three_hundred):
        data_sets = [dcmread(path) for path in three_hundred]
        three_hundred[0].unlink()
        with pytest.raises(FileNotFoundError):
            _ = data_sets[0].PixelData
        assert data_sets[0].InstanceNumber == 0


HOLD_MANY = """
import resource, sys
import fastdcm

limit, greedy, paths = int(sys.argv[1]), sys.argv[2] == "greedy", sys.argv[3:]
data_sets = [fastdcm.dcmread(path) for path in paths[:20]]
resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
others = []
while greedy:  # the rest of the program opens all that the system allows
    try:
        others.append(open(paths[0], "rb"))
    except OSError:
        break
data_sets += [fastdcm.dcmread(path) for path in paths[20:]]
for order in (1, -1):
    for i in range(len(paths))[::order]:
        assert data_sets[i][0xFFFCFFFC].value == b"%04d" % i
if not greedy:
    free = [open(paths[0], "rb") for _ in range(limit // 2 - 8)]
"""


@linux
@pytest.mark.parametrize("limit", [32, 64, 256, 1024])
@pytest.mark.parametrize("greedy", ["", "greedy"])
def test_limit_of_the_system(three_hundred, limit, greedy):
    """Half of the descriptors are left to the program; with none free, one is given up."""
    subprocess.run(
        [sys.executable, "-c", HOLD_MANY, str(limit), greedy, *map(str, three_hundred)], check=True
    )


REPLACE_ALL = """
import resource, sys
import fastdcm

resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
data_sets = [fastdcm.dcmread(path) for path in sys.argv[1:]]
for ds in data_sets:
    ds.PatientID = "new"
    ds.save_as(ds.filename, durable=False)
for i, ds in enumerate(data_sets):
    assert ds[0xFFFCFFFC].value == b"%04d" % i and len(ds.PixelData) == 204800
"""


@linux
def test_many_files_are_replaced_while_their_data_sets_are_held(three_hundred):
    subprocess.run([sys.executable, "-c", REPLACE_ALL, *map(str, three_hundred)], check=True)
    assert dcmread(three_hundred[299]).PatientID == "new"


# --------------------------------------------------- truncated before mapping ---

MAPPED = {
    "get_pixels": lambda ds: ds.get_pixels(mmap=True),
    "pixel_array": lambda ds: ds.pixel_array,
    "frame": lambda ds: ds.frames[1],
    "frames": lambda ds: ds.frames[0:2],
    "modality_pixels": lambda ds: ds.modality_pixels(),
    "windowed": lambda ds: ds.windowed(),
    "to_rgb": lambda ds: ds.to_rgb(),
}


@pytest.mark.skipif(sys.platform == "win32", reason="a file that is open cannot be truncated")
@pytest.mark.parametrize("read", MAPPED.values(), ids=MAPPED)
@pytest.mark.parametrize("left", [0, 1000, 1 << 20, (4 << 20) + 100])
def test_truncated_before_it_is_mapped(tmp_path, read, left):
    raw = part10(image(1024, 1024, frames=2) + element(0x7FE00010, "OW", bytes(4 << 20)))
    path = tmp_path / "a.dcm"
    path.write_bytes(raw)
    ds = dcmread(path)
    os.truncate(path, left)
    with pytest.raises(FileChangedError) as caught:
        read(ds)
    assert caught.value.code == "changed" and caught.value.filename == str(path)
    assert caught.value.offset == left


# ------------------------------------------------------------------- views ---


def test_close_while_viewed(path):
    """A mapping exists as long as its views, and changes to it do not reach the file."""
    before = path.read_bytes()
    ds = dcmread(path)
    elem = ds[0x7FE00010]
    view = memoryview(ds.file.map(elem.file_tell, elem.value_length))
    ds.close()
    path.unlink()
    del ds, elem
    gc.collect()
    assert view == PIXELS and not view.readonly
    view[0] = 77
    assert view[0] == 77
    again = path.parent / "b.dcm"
    again.write_bytes(before)
    ds = dcmread(again)
    view = memoryview(ds.file.map(ds[0x7FE00010].file_tell, len(PIXELS)))
    view[:] = bytes(len(PIXELS))
    assert again.read_bytes() == before and ds.PixelData == PIXELS


# ------------------------------------------------------------------ amounts ---


MANY = """
import sys
from fastdcm import dcmread
def now():
    with open("/proc/self/status") as lines:
        return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))
kept = [dcmread(sys.argv[1]) for _ in range(1000)]
before = now()
kept += [dcmread(sys.argv[1]) for _ in range(int(sys.argv[2]))]
print((now() - before) * 1024 / int(sys.argv[2]))
if len(sys.argv) > 3:
    for ds in kept[::1000]:
        assert ds.Rows == 400 and len(ds.PixelData) == 204800
"""


@linux
@pytest.mark.parametrize("count", [5000, pytest.param(100_000, marks=pytest.mark.slow)])
def test_memory_of_a_data_set(path, count):
    """The bytes of its header, 24 bytes a row, and its Python objects."""
    done = subprocess.run(
        [sys.executable, "-c", MANY, path, str(count), "read"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    ds = dcmread(path)
    header = ds[0x7FE00010].file_tell
    assert float(done.stdout) < header + 24 * len(ds) + 2000


GROWTH = """
import sys
from fastdcm import DicomError, dcmread
sys.path.insert(0, sys.argv[1])
from support.damaged import good_files, read_all
def now():
    with open("/proc/self/statm") as words:
        return int(words.read().split()[1]) * 4
def work():
    for raw in good_files().values():
        for length in range(130, len(raw), 37):
            try:
                read_all(memoryview(raw[:length]))
            except DicomError:
                pass
for _ in range(5):
    work()
before = now()
for _ in range(20):
    work()
print(now() - before)
"""


@linux
def test_repeated_reading_does_not_grow_memory(root):
    done = subprocess.run(
        [sys.executable, "-c", GROWTH, root / "tests"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 1024  # KiB
