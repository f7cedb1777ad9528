"""Pixel data as one NumPy array (PS3.5 8, PS3.3 C.7.6.3)."""


def pixel_array(ds, mmap=None, native_endian=False, *, threads=None):
    """The stored values of pixel data in any transfer syntax.

    ds : Dataset.
    mmap : True maps the file, False reads it, None maps from 1 MiB on; native
        pixel data only. A mapping is private: writing to the array never
        changes the file. Truncating a mapped file kills the process that
        touches the lost part, whatever the program: False is the way round
        that.
    native_endian : turn big endian values into the machine's order (a copy).
    threads : how many threads decode or read frames; None: as many as there
        are cores, one for less than 1 MiB.

    Returns an array of shape ([frames,] rows, columns[, samples]), writeable,
    in the byte order of the file. Values are those of PS3.3 C.7.6.3 as stored:
    bits above BitsStored are masked or sign-extended, samples of a pixel stand
    together, subsampled chroma is repeated, colours are not converted. Raises
    AttributeError without pixel data, DicomError where it is damaged, is not
    what its attributes say, or needs a codec that is not there.
    """
    frames = ds.frames
    array = frames.read(range(len(frames)), threads, mmap)
    if len(frames) == 1:
        array = array[0]
    if native_endian and not array.dtype.isnative:
        array = array.astype(array.dtype.newbyteorder("="))
    return array
