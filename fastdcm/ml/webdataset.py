"""A decoder for webdataset: ``WebDataset(url).decode(fastdcm.ml.webdataset.Decoder())``.

webdataset need not be installed: it calls the decoder with a key and bytes.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy.typing as npt

from fastdcm.pixels.grayscale import modality_pixels
from fastdcm.reader import dcmread


class Decoder:
    """Decodes the bytes of DICOM files to arrays, in memory.

    webdataset calls ``decoder(key, data)``.

    Parameters
    ----------
    rescale : bool
        True: grayscale images as modality values, float32 (PS3.3 C.11.1), and
        color images as stored values. False: stored values in their own type.
    suffixes : iterable of str
        The keys that end in one of these are DICOM; others are left to other
        decoders.

    Examples
    --------
    >>> dataset = webdataset.WebDataset("shard-000.tar").decode(Decoder())  # doctest: +SKIP
    """

    def __init__(
        self, *, rescale: bool = True, suffixes: Iterable[str] = (".dcm", ".dicom", ".ima")
    ) -> None:
        self.rescale = rescale
        self.suffixes = tuple(suffixes)

    def __call__(self, key: str, data: bytes) -> npt.NDArray[Any] | None:
        """Decode a file, or return None where the key is not of a DICOM file.

        Parameters
        ----------
        key : str
            The part of the file name after the first dot.
        data : bytes

        Returns
        -------
        array or None
            As of `decode`.

        Raises
        ------
        DicomError
            As of `decode`; webdataset passes it to its handler.
        """
        if not f".{key}".lower().endswith(self.suffixes):
            return None
        return self.decode(data)

    def decode(self, data: bytes) -> npt.NDArray[Any]:
        """Decode a file.

        Parameters
        ----------
        data : bytes

        Returns
        -------
        ([frames,] rows, columns[, samples]) array

        Raises
        ------
        DicomError
            Where the file cannot be read.
        """
        ds = dcmread(memoryview(data))
        array: npt.NDArray[Any]
        if self.rescale and (ds.get("SamplesPerPixel") or 1) == 1:
            array = modality_pixels(ds)
        else:
            array = ds.get_pixels(native_endian=True)
        return array
