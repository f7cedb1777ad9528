"""A decoder for webdataset: ``WebDataset(url).decode(fastdcm.ml.webdataset.Decoder())``.

webdataset itself is not needed: it calls a function of a key and bytes.
"""

from fastdcm.pixels.grayscale import modality_pixels
from fastdcm.reader import dcmread


class Decoder:
    """Turns the bytes of DICOM files into arrays, from memory.

    rescale : True: greyscale as values of the modality, float32 (PS3.3 C.11.1).
        False, and colour: stored values in their own type.
    suffixes : endings of keys that are DICOM; others are left to other decoders.

    ``decoder(key, data)`` is what webdataset calls, ``decoder.decode(data)`` does
    without a key. An array is of shape ([frames,] rows, columns[, samples]).
    Raises DicomError for what cannot be read, which webdataset hands on as the
    cause of its own error, or to its `handler`.
    """

    def __init__(self, *, rescale=True, suffixes=(".dcm", ".dicom", ".ima")):
        self.rescale, self.suffixes = rescale, tuple(suffixes)

    def __call__(self, key, data):
        if not f".{key}".lower().endswith(self.suffixes):
            return None
        return self.decode(data)

    def decode(self, data):
        ds = dcmread(memoryview(data))
        if self.rescale and (ds.get("SamplesPerPixel") or 1) == 1:
            return modality_pixels(ds)
        return ds.get_pixels(native_endian=True)
