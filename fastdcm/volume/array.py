"""Read the pixels of slices into one array."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from fastdcm._util.parallel import cpu_count, run_parallel
from fastdcm.dataset import Dataset
from fastdcm.errors import DicomError
from fastdcm.pixels._kernels import NATIVE_FRAME_DTYPE, read_frames
from fastdcm.pixels.frames import read_frame
from fastdcm.pixels.layout import direct_byte_order
from fastdcm.sources.urls import is_url, path_bytes
from fastdcm.volume.slices import Slice
from fastdcm.volume.values.colors import ColorMode, needs_conversion
from fastdcm.volume.values.quantities import RealWorldMapping, padding_range

_Array = npt.NDArray[Any]
_Reader = Callable[[_Array, list[int]], None]

_RUNS_PER_THREAD = 4  # more than one, so that the threads finish at the same time


class Conversion(NamedTuple):
    """What becomes of stored values.

    Attributes
    ----------
    rescale : bool
        Apply Rescale Slope and Intercept, or the Modality LUT, of each slice, where any
        slice has others than 1 and 0.
    color : {"rgb", "raw", "error"}
        "rgb" converts color images to RGB, the others keep the stored samples.
    padding : float or None
        The value for cells of padding (PS3.3 C.7.5.1.1.2); None keeps what is stored.
    mappings : mapping or None
        For the `id` of each slice its Real World Value Mapping, which replaces the rescale.
    """

    rescale: bool = True
    color: ColorMode = "rgb"
    padding: float | None = None
    mappings: Mapping[int, RealWorldMapping] | None = None


def read_array(slices: Sequence[Slice], conversion: Conversion, threads: int | None) -> _Array:
    """Read slices of one shape into an array.

    Parameters
    ----------
    slices : sequence of Slice
    conversion : Conversion
    threads : int or None
        None: one for each CPU.

    Returns
    -------
    (slices, rows, columns[, samples]) array
        float32 if rescaled, else of a type that holds the stored values of all, and the
        value for padding.

    Raises
    ------
    DicomError
        Where pixel data cannot be read.
    """
    reading = _Reading(slices, conversion)
    array = np.empty((len(slices), *reading.shape), reading.dtype)
    native = []
    by_image: dict[int, list[int]] = {}
    for i, each in enumerate(slices):
        if reading.is_native(each):
            native.append(i)
        else:
            by_image.setdefault(id(each.image), []).append(i)
    threads = threads or cpu_count()
    work: list[tuple[_Reader, list[int]]] = []
    for indices in by_image.values():
        # the tiles of a mosaic share one frame, which is decoded once
        runs = 1 if slices[indices[0]].tile is not None else _RUNS_PER_THREAD * threads
        work += [(reading.read_decoded, run) for run in _consecutive_runs(indices, runs)]
    for run in _consecutive_runs(native, _RUNS_PER_THREAD * threads):
        work.append((partial(_read_native, slices, reading.rescale), run))

    def read(start: int, stop: int) -> None:
        for function, indices in work[start:stop]:
            function(array, indices)

    run_parallel(read, len(work), threads)
    return array


class _Reading:
    """How the slices of one array are read.

    rescale : whether the array has modality values.
    shape, dtype : of a slice in the array.
    """

    def __init__(self, slices: Sequence[Slice], conversion: Conversion) -> None:
        self.slices = slices
        self.conversion = conversion
        first = slices[0]
        self.shape: tuple[int, ...] = (first.rows, first.columns)
        if first.samples > 1:
            self.shape = (*self.shape, first.samples)
        self.rescale = first.samples == 1 and (
            conversion.mappings is not None
            or (
                conversion.rescale
                and any(s.slope != 1 or s.intercept != 0 or s.has_modality_lut for s in slices)
            )
        )
        # One frame of each kind is decoded before the array is allocated, so that
        # undecodable files cannot make it allocate much.
        kinds: dict[tuple[Any, ...], Slice] = {}
        for each in slices:
            row = each.image.row
            kinds.setdefault(
                (row["BitsAllocated"], row["PixelRepresentation"], self._is_converted(each)), each
            )
        dtypes = [self._example(each).dtype.newbyteorder("=") for each in kinds.values()]
        stored = np.result_type(*dtypes)
        self._one_kind = len(kinds) == 1 and stored.kind != "f"
        self.dtype = np.dtype(np.float32) if self.rescale else stored
        if conversion.padding is not None and not self.rescale and first.samples == 1:
            self.dtype = _holding(stored, conversion.padding)

    def _is_converted(self, each: Slice) -> bool:
        return self.conversion.color == "rgb" and needs_conversion(each)

    def _example(self, each: Slice) -> _Array:
        """Return a decoded slice, of the shape that its attributes give."""
        example = _crop_to_tile(self._frame(each, each.image.open()), each)
        if example.shape != self.shape:
            raise DicomError(
                f"a frame has the shape {example.shape}, but its attributes give {self.shape}",
                "pixels",
                filename=each.image.path,
            )
        return example

    def _frame(self, each: Slice, ds: Dataset) -> _Array:
        """Return a frame; the file is read, not mapped, which a truncated file would end."""
        if self._is_converted(each):
            return ds.to_rgb(each.frame, mmap=False)
        return read_frame(ds, each.frame)

    def is_native(self, each: Slice) -> bool:
        """Return whether the batch reader reads a slice."""
        return (
            self._one_kind
            and not self._is_converted(each)
            and not (self.rescale and each.has_modality_lut)
            and self.conversion.mappings is None
            and (self.conversion.padding is None or padding_range(each) is None)
            and _is_native(each)
        )

    def read_decoded(self, array: _Array, indices: list[int]) -> None:
        """Decode slices of one image, each frame once."""
        ds = self.slices[indices[0]].image.open()
        number = -1
        for i in indices:
            each = self.slices[i]
            through_lut = (
                self.rescale and each.has_modality_lut and self.conversion.mappings is None
            )
            if each.frame != number:
                number = each.frame
                frame = self._frame(each, ds)
                modality = ds.modality_pixels(number, mmap=False) if through_lut else frame
            array[i] = self._values(each, _crop_to_tile(modality, each), through_lut)
            self._fill_padding(array[i], each, _crop_to_tile(frame, each))

    def _values(self, each: Slice, cells: _Array, through_lut: bool) -> _Array:
        if not self.rescale or through_lut:
            return cells
        if self.conversion.mappings is not None:
            return self.conversion.mappings[id(each)].apply(cells)
        values: _Array = cells * each.slope + each.intercept
        return values

    def _fill_padding(self, out: _Array, each: Slice, stored: _Array) -> None:
        if self.conversion.padding is None or each.samples > 1:
            return
        limits = padding_range(each)
        if limits is not None:
            out[(stored >= limits[0]) & (stored <= limits[1])] = self.conversion.padding


def _holding(dtype: np.dtype[Any], value: float) -> np.dtype[Any]:
    """Return a type for the values of another and for one more."""
    if dtype.kind == "f":
        return dtype
    if value != value or value != int(value):
        return np.result_type(dtype, np.float32)
    whole = int(value)
    if dtype.kind == "i" and whole >= 0:
        whole = -whole - 1  # needs a signed type of the same size
    return np.result_type(dtype, np.min_scalar_type(whole))


def _consecutive_runs(indices: Sequence[int], count: int) -> list[list[int]]:
    """Split ascending indices into about `count` runs of consecutive numbers."""
    size = max(1, -(-len(indices) // count))
    runs: list[list[int]] = []
    for i in indices:
        if runs and len(runs[-1]) < size and runs[-1][-1] == i - 1:
            runs[-1].append(i)
        else:
            runs.append([i])
    return runs


def _is_native(each: Slice) -> bool:
    """Return whether the batch reader can read a slice at its offset in the file."""
    row = each.image.row
    order = direct_byte_order(row.get("transfer_syntax"))
    bits, stored, high = row["BitsAllocated"], row["BitsStored"], row["HighBit"]
    return (
        each.tile is None
        and order is not None
        and row.get("pixel_fragments") == 0
        and row["PixelRepresentation"] in (0, 1)
        and "!/" not in row["path"]  # in an archive
        and not is_url(row["path"])
        and isinstance(stored, int)
        and isinstance(high, int)
        and 0 < stored <= high + 1 <= bits
        and (bits in (16, 32) or (bits in (1, 8) and order == "<"))
        and "422" not in (row["PhotometricInterpretation"] or "")
        and not any(issue.startswith("encoding@") for issue in row["issues"] or ())
    )


def _read_native(slices: Sequence[Slice], rescale: bool, array: _Array, run: list[int]) -> None:
    """Read consecutive slices of native pixel data, with the batch reader."""
    records = np.zeros(len(run), NATIVE_FRAME_DTYPE)
    for record, i in zip(records, run, strict=True):
        each = slices[i]
        row = each.image.row
        bits = row["BitsAllocated"]
        start = each.frame * each.rows * each.columns * each.samples * bits
        record["offset"] = row["pixel_offset"] + start // 8
        record["start_bit"] = start % 8
        record["size"], record["mtime_ns"] = row["size"], row["mtime_ns"] or 0  # 0: not known
        record["slope"], record["intercept"] = each.slope, each.intercept
        record["rows"], record["columns"] = each.rows, each.columns
        record["samples"] = each.samples
        record["bits_allocated"], record["representation"] = bits, row["PixelRepresentation"]
        record["bits_stored"], record["high_bit"] = row["BitsStored"], row["HighBit"]
        record["big"] = direct_byte_order(row["transfer_syntax"]) == ">"
        record["planar"] = each.samples > 1 and row["PlanarConfiguration"] == 1
    paths = [path_bytes(slices[i].image.row["path"]) for i in run]
    out = array[run[0] : run[-1] + 1]
    for _, error in read_frames(paths, records, out, "rescale" if rescale else "stored"):
        raise error


def _crop_to_tile(frame: _Array, each: Slice) -> _Array:
    if each.tile is None:
        return frame
    row, column = each.tile
    return frame[row : row + each.rows, column : column + each.columns]
