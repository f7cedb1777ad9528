"""dcmread."""

import errno

from fastdcm.core._dictionary import tag_number
from fastdcm.core._flat import read_level
from fastdcm.dataset import Dataset
from fastdcm.errors import DicomError, FileAccessError
from fastdcm.sources.archives.lookup import read_scan_path
from fastdcm.sources.urls import is_url

# What the system says of a path that is no file of its own.
_NOWHERE = (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG)
_BEFORE_PIXELS = 0x7FE00007  # (7FE0,0008) is Float Pixel Data


def dcmread(
    source,
    defer_size=None,
    stop_before_pixels=False,
    force=False,
    specific_tags=None,
    *,
    charset=None,
    strict=False,
):
    """Reads a DICOM file: its header now, its values when they are asked for.

    Parameters
    ----------
    source : str, bytes or os.PathLike path, also of a member of an archive as a
        scan tells it (``a.zip!/IM0001``), a URL, a file object with ``read``,
        ``seek`` and ``tell``, or a memoryview or bytearray of the data.
    defer_size : ignored: every value is deferred until it is asked for.
    stop_before_pixels : bool
        Leave out pixel data and what follows it.
    force : bool
        Read bytes that do not look like DICOM. A data set without preamble
        or file meta information that does is read without.
    specific_tags : list of tags or keywords to keep; the character set is
        kept too.
    charset : str or list of str
        A Specific Character Set to use in place of the one in the file.
    strict : bool
        Enter every level and raise at the first repair instead of noting it
        in ``Dataset.issues``.

    Returns a Dataset. Raises InvalidDicomError for what is not DICOM,
    FileNotFoundError and OSError (both also DicomError) where the system
    refuses, DicomError for the rest.
    """
    stop = _BEFORE_PIXELS if stop_before_pixels else 0xFFFFFFFF
    tags = None
    if specific_tags is not None:
        tags = {tag_number(tag) for tag in specific_tags} | {0x00080005}
        stop = min(stop, max(tags))
    if isinstance(source, str) and is_url(source):
        from fastdcm.sources.objects.source import open_url

        source = open_url(source)

    def read(file):
        return read_level(Dataset, file, stop, force, charset, tags)

    try:
        ds = read(source)
    except FileAccessError as error:
        if error.errno not in _NOWHERE or (ds := read_scan_path(error.filename, read)) is None:
            raise
    if strict:
        ds.check_all()
        for issue in ds.issues:
            raise DicomError(issue.what, issue.code, issue.offset, issue.path, ds.filename)
    return ds
