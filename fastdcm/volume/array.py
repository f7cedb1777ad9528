"""Read the pixels of slices into one array."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from fastdcm._util.parallel import cpu_count, run_parallel
from fastdcm.errors import DicomError
from fastdcm.pixels._kernels import NATIVE_FRAME_DTYPE, read_frames
from fastdcm.pixels.layout import direct_byte_order, native_length
from fastdcm.sources.urls import path_bytes
from fastdcm.volume.slices import Slice

_Array = npt.NDArray[Any]
_Reader = Callable[[_Array, Sequence[Slice], list[int], bool], None]

_RUNS_PER_THREAD = 4  # more than one, so that the threads finish at the same time


def read_array(slices: Sequence[Slice], rescale: bool, threads: int | None) -> _Array:
    """Read slices of one shape into an array.

    Parameters
    ----------
    slices : sequence of Slice
    rescale : bool
        True: apply Rescale Slope and Intercept of each slice, where any slice
        has others than 1 and 0.
    threads : int or None
        None: one for each CPU.

    Returns
    -------
    (slices, rows, columns[, samples]) array
        float32 if rescaled, else of a type that holds the stored values of all.

    Raises
    ------
    DicomError
        Where pixel data cannot be read.
    """
    first = slices[0]
    shape: tuple[int, ...] = (len(slices), first.rows, first.columns)
    if first.samples > 1:
        shape = (*shape, first.samples)
    rescale = (
        rescale
        and first.samples == 1
        and any(s.slope != 1 or s.intercept != 0 or s.has_modality_lut for s in slices)
    )
    # One frame of each kind is decoded before the array is allocated, so that
    # undecodable files cannot make it allocate much.
    kinds: dict[tuple[int, int], Slice] = {}
    for each in slices:
        row = each.image.row
        kinds.setdefault((row["BitsAllocated"], row["PixelRepresentation"]), each)
    examples = {
        kind: _crop_to_tile(each.image.open().frames[each.frame], each)
        for kind, each in kinds.items()
    }
    dtype = np.result_type(*(cells.dtype.newbyteorder("=") for cells in examples.values()))
    for kind, each in kinds.items():
        if examples[kind].shape != shape[1:]:
            raise DicomError(
                f"a frame has the shape {examples[kind].shape}, but its attributes give "
                f"{shape[1:]}",
                "pixels",
                filename=each.image.path,
            )
    array = np.empty(shape, np.float32 if rescale else dtype)
    native = []
    by_image: dict[int, list[int]] = {}
    for i, each in enumerate(slices):
        if (
            len(examples) == 1
            and dtype.kind != "f"
            and _is_native(each)
            and not (rescale and each.has_modality_lut)
        ):
            native.append(i)
        else:
            by_image.setdefault(id(each.image), []).append(i)
    threads = threads or cpu_count()
    work: list[tuple[_Reader, list[int]]] = []
    for indices in by_image.values():
        # the tiles of a mosaic share one frame, which is decoded once
        runs = 1 if slices[indices[0]].tile is not None else _RUNS_PER_THREAD * threads
        work += [(_read_decoded, run) for run in _consecutive_runs(indices, runs)]
    for run in _consecutive_runs(native, _RUNS_PER_THREAD * threads):
        work.append((_read_native, run))

    def read(start: int, stop: int) -> None:
        for function, indices in work[start:stop]:
            function(array, slices, indices, rescale)

    run_parallel(read, len(work), threads)
    return array


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
        and row.get("pixel_offset") is not None
        and row["PixelRepresentation"] in (0, 1)
        and "!/" not in row["path"]  # in an archive
        and isinstance(stored, int)
        and isinstance(high, int)
        and 0 < stored <= high + 1 <= bits
        and (bits in (1, 16, 32) or (bits == 8 and order == "<"))
        and row["PhotometricInterpretation"] != "YBR_FULL_422"
        and not any(issue.startswith("encoding@") for issue in row["issues"] or ())
        and _has_native_length(row)
    )


def _has_native_length(row: dict[str, Any]) -> bool:
    """Return whether the pixel data has the length of native frames.

    Fragments, which some files have under a native transfer syntax, have another.
    """
    cells = row["Rows"] * row["Columns"] * row["SamplesPerPixel"]
    size = native_length(cells, row["NumberOfFrames"], row["BitsAllocated"], None)
    return row["pixel_length"] in (size, size + size % 2)


def _read_native(array: _Array, slices: Sequence[Slice], run: list[int], rescale: bool) -> None:
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


def _read_decoded(
    array: _Array, slices: Sequence[Slice], indices: list[int], rescale: bool
) -> None:
    """Decode slices of one image, each frame once."""
    ds = slices[indices[0]].image.open()
    number = -1
    for i in indices:
        each = slices[i]
        through_lut = rescale and each.has_modality_lut
        if each.frame != number:
            number = each.frame
            frame = ds.modality_pixels(number) if through_lut else ds.frames[number]
        cells = _crop_to_tile(frame, each)
        array[i] = cells * each.slope + each.intercept if rescale and not through_lut else cells


def _crop_to_tile(frame: _Array, each: Slice) -> _Array:
    if each.tile is None:
        return frame
    row, column = each.tile
    return frame[row : row + each.rows, column : column + each.columns]
