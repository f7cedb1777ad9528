"""The pixels and waveforms of a data set, as methods of `Dataset`."""

from __future__ import annotations

from fastdcm.core._elements import ElementMap
from fastdcm.formats.waveform import waveform_array
from fastdcm.pixels import modality_pixels, overlay_array, pixel_array, to_rgb, windowed
from fastdcm.pixels.frames import open_frames

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    import numpy as np
    from numpy.typing import NDArray

    from fastdcm.pixels.frames import Frames
    from fastdcm.pixels.protocols import FrameSelection, VOIFunction


class DecodedData(ElementMap):
    """What `Dataset` returns as arrays."""

    if TYPE_CHECKING:  # in Dataset

        @property
        def filename(self) -> Any: ...  # noqa: D102
        @property
        def original_encoding(self) -> tuple[bool | None, bool | None]: ...  # noqa: D102

    @property
    def frames(self) -> Frames:
        """The frames of the pixel data (PS3.3 C.7.6.3), each decoded on access.

        Examples
        --------
        >>> ds.frames[3].shape  # doctest: +SKIP
        (512, 512)
        """
        self.__dict__["_frames"] = frames = open_frames(self, self.__dict__.get("_frames"))
        return frames

    @property
    def pixel_array(self) -> NDArray[Any]:
        """The stored values of the pixel data, as from `get_pixels`."""
        return pixel_array(self)

    def get_pixels(
        self,
        mmap: bool | None = None,
        native_endian: bool = False,
        *,
        threads: int | None = None,
        out: NDArray[Any] | None = None,
        max_ratio: int = 1032,
    ) -> NDArray[Any]:
        """Return the stored values of all frames: `fastdcm.pixels.pixel_array`.

        Parameters
        ----------
        mmap : bool, optional
            Map native pixel data instead of reading it; by default from 1 MB.
        native_endian : bool, default False
            Convert to the byte order of the machine.
        threads, out, max_ratio
            As of `fastdcm.pixels.pixel_array`.

        Returns
        -------
        ndarray
            Of shape (frames, rows, columns, samples), without the dimensions
            that are 1 (frames and samples).

        Raises
        ------
        DicomError
            If there is no pixel data, or it cannot be decoded.
        """
        return pixel_array(self, mmap, native_endian, threads=threads, out=out, max_ratio=max_ratio)

    def modality_pixels(
        self,
        frames: FrameSelection = None,
        out: NDArray[Any] | None = None,
        *,
        mmap: bool | None = None,
    ) -> NDArray[np.float32]:
        """Return modality values, such as Hounsfield units (PS3.3 C.11.1).

        Parameters
        ----------
        frames, out, mmap
            As of `fastdcm.pixels.modality_pixels`.

        Returns
        -------
        ndarray of float32
        """
        return modality_pixels(self, frames, out, mmap=mmap)

    def windowed(
        self,
        frames: FrameSelection = None,
        *,
        center: float | None = None,
        width: float | None = None,
        function: VOIFunction | None = None,
        index: int = 0,
        out: NDArray[np.uint8] | None = None,
        mmap: bool | None = None,
    ) -> NDArray[np.uint8]:
        """Return grayscale values for display (PS3.3 C.11.2).

        Parameters
        ----------
        frames, center, width, function, index, out, mmap
            As of `fastdcm.pixels.windowed`.

        Returns
        -------
        ndarray of uint8
        """
        return windowed(
            self,
            frames,
            center=center,
            width=width,
            function=function,
            index=index,
            out=out,
            mmap=mmap,
        )

    def to_rgb(
        self,
        frames: FrameSelection = None,
        *,
        center: float | None = None,
        width: float | None = None,
        index: int = 0,
        mmap: bool | None = None,
    ) -> NDArray[np.uint8]:
        """Return any image as RGB for display.

        Parameters
        ----------
        frames, center, width, index, mmap
            As of `fastdcm.pixels.to_rgb`.

        Returns
        -------
        ndarray of uint8
        """
        return to_rgb(self, frames, center=center, width=width, index=index, mmap=mmap)

    def overlay_array(self, group: int) -> NDArray[np.uint8]:
        """Return the bits of the overlay in a group (PS3.3 C.9.2).

        Parameters
        ----------
        group : int
            The group number, 0x6000 to 0x60FE.

        Returns
        -------
        ndarray of uint8
            0 or 1, as from `fastdcm.pixels.overlay_array`.
        """
        return overlay_array(self, group)

    def waveform_array(self, index: int, as_raw: bool = False) -> NDArray[Any]:
        """Return the samples of a multiplex group of a waveform (PS3.3 C.10.9).

        Parameters
        ----------
        index : int
            The item of the Waveform Sequence, from 0.
        as_raw : bool, default False
            Return the stored values. By default they are multiplied by the sensitivity
            of their channel and its correction factor, and its baseline is added
            (PS3.3 C.10.9.1.4), which gives them in the units of the channel.

        Returns
        -------
        ndarray
            Of shape (samples, channels), float64 or of the type of the stored values.
            Padding values (5400,100A) are samples like others.

        Raises
        ------
        AttributeError
            If there is no Waveform Sequence.
        IndexError
            If it has no such item.
        DicomError
            If the waveform is incomplete or not valid (code ``waveform``).

        Examples
        --------
        >>> ds = fastdcm.dcmread("waveform_ecg.dcm")  # doctest: +SKIP
        >>> ds.waveform_array(0).shape  # doctest: +SKIP
        (10000, 12)
        """
        return waveform_array(self, index, as_raw)
