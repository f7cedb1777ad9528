"""Several threads read the same data set, and several files at the same time."""

import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from fastdcm import dcmread
from support.builder import DEFLATED_LE, Builder, part10
from support.damaged import SEQUENCE

THREADS = 8


@pytest.fixture(autouse=True)
def frequent_switches():
    """Make threads switch a thousand times more often than by default."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)


def together(work, count=THREADS):
    """Return the results of work(i) in `count` threads that start at the same time."""
    gate = threading.Barrier(count)

    def start(i):
        gate.wait()
        return work(i)

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(start, range(count)))


def content(number=0, items=30, pixels=100_000):
    b = Builder(start=b"")
    b.element(0x00080005, "CS", "ISO_IR 192")
    with b.sequence(SEQUENCE, undefined=True):
        for i in range(items):
            with b.item(undefined=bool(i % 2)):
                b.element(0x00081150, "UI", f"1.2.{i}")
                with b.sequence(0x0040A170), b.item():
                    b.element(0x00080104, "LO", f"Größe {number}".encode())
    b.element(0x00100010, "PN", f"Doe^{number}")
    b.element(0x00280030, "DS", "0.5\\0.25")
    b.element(0x7FE00010, "OB", bytes([number % 256]) * pixels)
    return b.bytes()


def everything(ds):
    return [(int(elem.tag), str(elem.value)) for elem in ds.iterall() if elem.VR != "SQ"]


@pytest.mark.parametrize("deflated", [False, True])
def test_one_data_set(tmp_path, deflated):
    path = tmp_path / "a.dcm"
    path.write_bytes(part10(content(), **({"transfer_syntax": DEFLATED_LE} if deflated else {})))
    expected, text, issues = (
        everything(dcmread(path)),
        str(dcmread(path)),
        dcmread(path).check_all(),
    )
    for _ in range(10):
        ds = dcmread(path)
        ways = (
            lambda: everything(ds) == expected,  # noqa: B023  # runs within the iteration
            lambda: str(ds) == text,  # noqa: B023  # runs within the iteration
            lambda: ds.check_all() == issues,  # noqa: B023  # runs within the iteration
            lambda: ds.PixelData == bytes(100_000),  # noqa: B023  # runs within the iteration
        )
        assert all(together(lambda i: ways[i % 4]()))  # noqa: B023  # runs within the iteration


def test_all_threads_get_the_same_objects(tmp_path):
    path = tmp_path / "a.dcm"
    path.write_bytes(part10(content(items=200)))
    for _ in range(20):
        ds = dcmread(path)
        for found in (
            together(lambda i: ds[SEQUENCE].value),  # noqa: B023  # runs within the iteration
            together(lambda i: ds.PixelSpacing),  # noqa: B023  # runs within the iteration
            together(lambda i: ds[SEQUENCE].value[7]),  # noqa: B023  # runs within the iteration
            together(lambda i: ds.file_meta),  # noqa: B023  # runs within the iteration
        ):
            assert all(one is found[0] for one in found)


def test_load_while_other_threads_read(tmp_path):
    path = tmp_path / "a.dcm"
    path.write_bytes(part10(content(pixels=1 << 20)))
    expected = everything(dcmread(path))
    for _ in range(5):
        ds = dcmread(path)
        assert all(together(lambda i: ds.load() is None if i == 3 else everything(ds) == expected))  # noqa: B023  # runs within the iteration


def test_many_files(tmp_path):
    paths = []
    for number in range(40):
        paths.append(tmp_path / f"{number}.dcm")
        paths[-1].write_bytes(part10(content(number)))

    def read(i):
        found = []
        for number in range(i, i + 40):
            ds = dcmread(paths[number % 40])
            assert ds.PatientName == f"Doe^{number % 40}"
            found.append((number % 40, everything(ds)))
        return sorted(found)

    results = together(read)
    assert all(result == results[0] for result in results)


def test_more_files_than_the_open_file_limit(tmp_path):
    paths = [tmp_path / f"{number}.dcm" for number in range(300)]
    for number, path in enumerate(paths):
        path.write_bytes(part10(content(number, items=1, pixels=20_000)))
    data_sets = [dcmread(path) for path in paths]

    def read(i):
        return all(
            data_sets[k].PixelData == bytes([k % 256]) * 20_000
            for k in sorted(range(300), key=lambda k: k * (i + 7) % 300)
        )

    assert all(together(read))
