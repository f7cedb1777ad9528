"""A program of a user, type-checked by tests/test_typing.py and run by it, too."""

import datetime
import io
import sys
from collections.abc import Iterator
from pathlib import Path

import fastdcm
from fastdcm import Dataset, DicomError, PersonName, Sequence
from fastdcm.errors import Issue


def make(number: int) -> Dataset:
    """Return a small image, its values set in the types that are natural for them."""
    ds = Dataset()
    ds.SpecificCharacterSet = "ISO_IR 192"
    ds.SOPClassUID = "1.2.840.10008.5.1.4.1.1.7"
    ds.SOPInstanceUID = fastdcm.generate_uid(entropy_srcs=[str(number)])
    ds.PatientName = PersonName("Doe^Jane")
    ds.StudyDate = datetime.date(2026, 12, 1)
    ds.InstanceNumber = number
    ds.SliceThickness = 2.5
    ds.PixelSpacing = [0.5, 0.25]
    ds.ImageType = ["DERIVED", "SECONDARY"]
    ds.Rows, ds.Columns = 2, 3
    ds.PixelData = bytes(6)
    ds.ReferencedImageSequence = [Dataset(ReferencedSOPInstanceUID="1.2.3")]
    ds.private_block(0x0009, "FASTDCM TEST", create=True).add_new(1, "LO", "private")
    return ds


def family_name(ds: Dataset) -> str:
    name: PersonName = ds.PatientName
    return name.family_name or "?"


def area(ds: Dataset) -> float:
    row_spacing, column_spacing = ds.PixelSpacing
    return ds.Rows * row_spacing * ds.Columns * column_spacing


def references(ds: Dataset) -> Iterator[str]:
    items: Sequence = ds.ReferencedImageSequence
    for item in items:
        yield item.ReferencedSOPInstanceUID.name


def read(source: str | Path | io.BytesIO) -> tuple[Dataset, list[Issue]]:
    ds = fastdcm.dcmread(source, specific_tags=["PatientName", 0x00280010], strict=False)
    return ds, ds.check_all()


def main(folder: Path) -> int:
    path = folder / "a.dcm"
    make(1).save_as(path, implicit_vr=False, little_endian=True)
    stream = io.BytesIO()
    fastdcm.dcmwrite(stream, make(2), implicit_vr=True, little_endian=True)
    stream.seek(0)
    for source in (path, stream):
        try:
            ds, issues = read(source)
        except DicomError as error:
            print(f"{source}: {error.code} at byte {error.offset}", file=sys.stderr)
            return 1
        print(family_name(ds), ds.Rows, [issue.code for issue in issues])
    ds = make(3)
    print(f"{area(ds):.2f}", *references(ds), ds["PixelData"].VR, len(list(ds.iterall())))
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
