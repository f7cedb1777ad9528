"""Read a DICOM file (PS3.10 chapter 7): `dcmread`."""

from __future__ import annotations

import errno

from fastdcm.core._dictionary import tag_number
from fastdcm.core._level import read_level
from fastdcm.dataset import Dataset
from fastdcm.errors import DicomError, FileAccessError, InvalidDicomError
from fastdcm.sources.urls import is_url

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from fastdcm.core._file import File
    from fastdcm.core.protocols import Source, TagLike

# The errors of the system for a path that is not a file of its own.
_NOT_A_FILE = (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG)
_SPECIFIC_CHARACTER_SET = 0x00080005
_LAST_BEFORE_PIXELS = 0x7FE00007  # (7FE0,0008) is Float Pixel Data
_NO_STOP = 0xFFFFFFFF


def dcmread(
    fp: Source,
    defer_size: object = None,
    stop_before_pixels: bool = False,
    force: bool = False,
    specific_tags: Iterable[TagLike] | None = None,
    *,
    charset: str | Sequence[str] | None = None,
    strict: bool = False,
) -> Dataset:
    """Read a DICOM file (PS3.10 chapter 7): the header now, each value on access.

    Parameters
    ----------
    fp : str, bytes, os.PathLike, file object, memoryview or bytearray
        A path, also that of a member of an archive as a scan returns it
        (``a.zip!/IM0001``), or of a compressed file (``a.dcm.gz``); a URL; an object
        with the methods ``read``, ``seek`` and ``tell``; or the data itself.
    defer_size : ignored
        For compatibility with pydicom: every value is deferred until access.
    stop_before_pixels : bool, default False
        Leave out pixel data and the elements after it.
    force : bool, default False
        Also read bytes that do not look like DICOM. Not needed for a data set
        without preamble or file meta information that looks like DICOM.
    specific_tags : iterable of tags or keywords, optional
        Keep only these elements and the Specific Character Set.
    charset : str or sequence of str, optional
        Specific Character Set to use in place of the one in the file.
    strict : bool, default False
        Read every level and value now, and raise the first repair as an error
        instead of recording it in ``Dataset.issues``; also repairs that are made
        when pixels are decoded or displayed.

    Returns
    -------
    Dataset

    Raises
    ------
    InvalidDicomError
        If the bytes are not DICOM.
    FileNotFoundError, OSError
        If the file cannot be opened or read; also a DicomError.
    DicomError
        If the file is damaged so that it cannot be read, or `strict` and it was
        repaired.

    Examples
    --------
    >>> import fastdcm
    >>> ds = fastdcm.dcmread("scan.dcm")  # doctest: +SKIP
    >>> ds.PatientName, ds.Rows  # doctest: +SKIP
    ('Doe^Jane', 512)
    """
    stop = _LAST_BEFORE_PIXELS if stop_before_pixels else _NO_STOP
    tags: set[int] | None = None
    if specific_tags is not None:
        tags = {tag_number(tag) for tag in specific_tags} | {_SPECIFIC_CHARACTER_SET}
        stop = min(stop, max(tags))

    def read(file: Source | File) -> Dataset:
        return read_level(Dataset, file, stop, force, charset, tags)

    try:
        if isinstance(fp, (str, bytes)) and is_url(fp):
            from fastdcm.sources.objects.source import open_url

            ds = read(open_url(fp))
        else:
            ds = read(fp)
    except (FileAccessError, InvalidDicomError) as error:
        is_packed = isinstance(error, InvalidDicomError) and not hasattr(fp, "read")
        is_no_file = error.code == "open" and error.errno in _NOT_A_FILE
        if error.filename is None or not (is_packed or is_no_file):
            raise
        from fastdcm.sources.archives.lookup import read_scan_path

        found: Dataset | None = read_scan_path(error.filename, read)
        if found is None:
            raise
        ds = found
    if strict:
        for issue in ds.check_all():
            raise DicomError(issue.what, issue.code, issue.offset, issue.path, ds.filename)
        if ds.file is not None:
            ds.file.strict = True  # repairs of pixel data, which are made later
    return ds
