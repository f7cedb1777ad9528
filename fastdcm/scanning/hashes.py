"""Hashes of files and of their pixel data."""

from fastdcm.errors import DicomError

_BLOCK = 1 << 20


def xxh3():
    """The class of the hash, XXH3 of 128 bits. It finds what is the same; it is
    no proof against those who want to deceive."""
    try:
        from xxhash import xxh3_128
    except ImportError as missing:
        raise ModuleNotFoundError(
            "hashes need xxhash: pip install 'fastdcm-dicom[hash]'", name="xxhash"
        ) from missing
    return xxh3_128


def hash_of(file, offset, length):
    """The hash of the bytes [offset, offset + length) of an open File, as 32
    hexadecimal digits. None when they cannot be read, or length is None."""
    if length is None:
        return None
    state = xxh3()()
    end = offset + length
    try:
        while offset < end:
            block = file.read(offset, min(_BLOCK, end - offset))
            state.update(block)
            offset += len(block)
    except (DicomError, OSError, ValueError):
        return None
    return state.hexdigest()
