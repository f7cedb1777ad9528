"""Files that several tests of scanning read."""

import pytest

from support import builder as b


@pytest.fixture(scope="session")
def archive(tmp_path_factory):
    """Return a folder of 3,000 files, every 500th of them not DICOM. Only to be read."""
    folder = tmp_path_factory.mktemp("archive")
    for i in range(3000):
        path = folder / f"{i % 7}" / f"{i:04d}.dcm"
        path.parent.mkdir(exist_ok=True)
        if i % 500 == 499:
            path.write_bytes(b"no DICOM at all, but more than 132 bytes of it. " * 4)
        else:
            path.write_bytes(
                b.part10(
                    b.element(0x00080018, "UI", f"1.2.{i}")
                    + b.element(0x00080008, "CS", ["A", "B"][: i % 3])
                    + b.element(0x00200013, "IS", str(i))
                )
            )
    return folder
