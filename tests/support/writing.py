"""Write a data set to bytes, and read bytes."""

import io

from fastdcm import dcmread, dcmwrite
from support import builder as b

#: The encodings of a data set and the transfer syntaxes that have them.
ENCODINGS = [(b.EXPLICIT, b.EXPLICIT_LE), (b.IMPLICIT, b.IMPLICIT_LE), (b.BIG, b.EXPLICIT_BE)]


def written(ds, *args, **options):
    """Return the bytes that dcmwrite writes."""
    out = io.BytesIO()
    dcmwrite(out, ds, *args, **options)
    return out.getvalue()


def body(ds, **options):
    """Return the bytes of the data set alone."""
    ds = ds.copy()
    ds.preamble, ds.file_meta = None, None
    return written(ds, **options)


def read(raw):
    """Read bytes, also without preamble and file meta information."""
    return dcmread(io.BytesIO(raw), force=True)
