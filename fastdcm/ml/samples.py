"""List the frames of a scan's table, or of files, that can be training samples.

Values are kept in arrays, not in an object per sample: a million samples are a
few arrays that forked workers share and spawned workers receive quickly.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from fastdcm.ml.columns import UNKNOWN_FUNCTION, TableColumns
from fastdcm.ml.labels import Label
from fastdcm.ml.tables import DOSE, RESCALE, TABLE, VOI_LUT, WINDOW, import_pyarrow, open_table
from fastdcm.pixels._kernels import NATIVE_FRAME_DTYPE
from fastdcm.pixels.functional_groups import MODALITY, VOI, Macro, rescale_columns
from fastdcm.pixels.layout import LABEL_MAP_STORAGE, direct_byte_order
from fastdcm.sources.urls import path_bytes

if TYPE_CHECKING:
    pass

_Ints = npt.NDArray[np.int64]
_Floats = npt.NDArray[np.float64]
_Bools = npt.NDArray[np.bool_]
_Records = npt.NDArray[np.void]

# The end of an issue of these: a value that is no number, or several.
_RESCALE_TAGS = ("(0028,1052)", "(0028,1053)", "(3004,000E)")

#: Values of the field ``voi`` of a layout: the image has a window, or a VOI LUT.
VOI_WINDOW, VOI_TABLE = 1, 2
#: Values of the field ``color``: stored values are RGB, or must be converted to RGB.
COLOR_RGB, COLOR_OTHER = 1, 2

# A record of the batch reader, and what many samples have in common: all fields
# of a record except those of the position.
_RECORD = np.dtype(NATIVE_FRAME_DTYPE)
_POSITION = ("offset", "size", "mtime_ns", "start_bit")
_LAYOUT = np.dtype(
    [(name, kind) for name, kind in NATIVE_FRAME_DTYPE if name not in _POSITION]
    + [("native", "u1"), ("table", "u1"), ("voi", "u1"), ("color", "u1")]
)


class Samples:
    """The frames of a table, or of files, that have pixel data, in their order.

    Needs pyarrow, but not torch.

    Parameters
    ----------
    source : table, path or other source of a scan
        A scan's table with the columns `COLUMNS`, made with ``pixels=True``: the
        path of a ``.parquet`` or ``.arrow`` file, a pyarrow.Table, a `Scan`, or
        any object with ``__arrow_c_stream__``. Anything else that `fastdcm.scan`
        accepts is scanned.
    labels : sequence of str
        Further columns to keep; of files, elements to read.

    Attributes
    ----------
    left_out : dict of str to int
        Number of rows and frames that are not samples, by reason: error codes,
        "no-pixels", "attributes" (Rows or similar are impossible) and "short"
        (frames that are not within the pixel data).

    Raises
    ------
    ImportError
        Without pyarrow.
    ValueError
        Where a table lacks columns.

    Examples
    --------
    >>> samples = Samples("frames.parquet", ["PatientID"])  # doctest: +SKIP
    >>> len(samples), samples.left_out  # doctest: +SKIP
    (48213, {'no-pixels': 12})
    """

    def __init__(self, source: Any, labels: Sequence[str] = ()) -> None:
        pyarrow = import_pyarrow()
        self.left_out: dict[str, int] = {}
        table = open_table(source, labels)
        rows = TableColumns(table)
        codes, errors = rows.texts("error")
        self._leave_out({errors[i]: int((codes == i).sum()) for i in range(len(errors))})
        pixels = rows.valid("pixel_offset")
        self._leave_out({"no-pixels": int(((codes < 0) & ~pixels).sum())})
        good = (codes < 0) & pixels
        frames, native = self._frames_of(rows, good)
        good &= frames > 0
        kept = np.flatnonzero(good)
        frames, native = frames[kept], native[kept]
        if len(kept) < len(good):
            rows = TableColumns(table.take(pyarrow.array(kept)))
        self._first = np.concatenate([[0], np.cumsum(frames)])  # sample of each file
        self._offset = rows.ints("pixel_offset")
        self._size = rows.ints("size")
        self._mtime = rows.ints("mtime_ns")
        self.layouts, self._layout = self._layouts_of(rows, native)
        self._read_paths(rows)
        files, frames = self.files(np.arange(len(self)))
        self._labels = {name: Label(name, rows.arrow(name), files, frames) for name in labels}

    def _read_paths(self, rows: TableColumns) -> None:
        """Keep the paths as one array of bytes, and where each ends."""
        paths = rows.arrow("path").cast("large_string")
        _, offsets, data = paths.buffers()
        ends = np.frombuffer(offsets, np.int64)[paths.offset : paths.offset + len(paths) + 1]
        text = np.frombuffer(data, np.uint8) if data else np.zeros(0, np.uint8)
        self._paths = text[ends[0] : ends[-1]].copy()
        self._path_ends = ends - ends[0]

    def _leave_out(self, counts: Mapping[str, int]) -> None:
        for reason, count in counts.items():
            if count:
                self.left_out[reason] = self.left_out.get(reason, 0) + count

    def _frames_of(self, rows: TableColumns, good: _Bools) -> tuple[_Ints, _Bools]:
        """Return for each row how many frames can be read, and whether they are native."""
        lines, columns, samples = (
            rows.ints("Rows"),
            rows.ints("Columns"),
            rows.ints("SamplesPerPixel", 1),
        )
        bits, frames, length = (
            rows.ints("BitsAllocated"),
            rows.ints("frames"),
            rows.ints("pixel_length"),
        )
        possible = (
            (lines > 0)
            & (lines < 1 << 16)
            & (columns > 0)
            & (columns < 1 << 16)
            & (samples > 0)
            & (samples < 1 << 16)
            & (bits >= 0)
            & (bits <= 64)
            & (frames > 0)
        )
        self._leave_out({"attributes": int((good & ~possible).sum())})
        codes, syntaxes = rows.texts("transfer_syntax")
        orders = [direct_byte_order(uid) for uid in syntaxes]
        native = np.isin(codes, [i for i, order in enumerate(orders) if order is not None])
        native &= rows.ints("pixel_fragments", 1) == 0
        # whose data set is not in the byte order of its transfer syntax
        native &= ~rows.has_issue(lambda issue: issue.startswith("encoding@"))
        big = np.isin(codes, [i for i, order in enumerate(orders) if order == ">"])
        codes, photometrics = rows.texts("PhotometricInterpretation")
        subsampled = np.isin(codes, [i for i, name in enumerate(photometrics) if "42" in name])
        plain = np.isin(bits, [1, 8, 16, 32, 64]) & ~subsampled
        with np.errstate(over="ignore"):  # a sample has at most 2**48 bits times 64
            cells = lines * columns * samples
        can = possible & native & plain & ((bits > 1) | (samples == 1)) & ~(big & (bits <= 8))
        # Float Pixel Data, which a scan does not distinguish, has no Bits Stored
        can &= rows.valid("BitsStored")
        there = np.where(
            cells > 0, np.minimum(length, 1 << 58) * 8 // np.maximum(cells * bits, 1), 0
        )
        # fragments: a frame has at least one byte
        there = np.minimum(frames, np.where(can, there, length))
        there[~(good & possible)] = 0
        lost = good & possible & (there < frames)
        self._leave_out({"short": int((frames - there)[lost].sum())})
        return there, can & rows.are_files("path")

    def _layouts_of(
        self, rows: TableColumns, native: _Bools
    ) -> tuple[_Records, npt.NDArray[np.int32]]:
        """Return the distinct layouts of the samples, and the number of each sample's."""
        files = np.repeat(np.arange(len(self._first) - 1), np.diff(self._first))
        frames = np.arange(len(files)) - self._first[files]
        layout = np.zeros(len(files), _LAYOUT)
        bits = rows.ints("BitsAllocated")
        stored = rows.ints("BitsStored")
        stored = np.where((stored < 1) | (stored > bits), 0, stored)
        high = rows.ints("HighBit", -1)
        high = np.where((high < stored - 1) | (high >= bits), stored - 1, high)
        high = np.where(stored == 0, 0, high)
        codes, syntaxes = rows.texts("transfer_syntax")
        big = np.isin(codes, [i for i, uid in enumerate(syntaxes) if direct_byte_order(uid) == ">"])
        inverted = np.zeros(len(bits), bool)
        for name, value in (
            ("PhotometricInterpretation", "MONOCHROME1"),
            ("PresentationLUTShape", "INVERSE"),
        ):
            codes, texts = rows.texts(name)
            inverted |= np.isin(codes, [i for i, text in enumerate(texts) if text.strip() == value])
        for name, column in (
            ("rows", rows.ints("Rows")),
            ("columns", rows.ints("Columns")),
            ("samples", rows.ints("SamplesPerPixel", 1)),
            ("bits_allocated", bits),
            ("bits_stored", stored),
            ("high_bit", high),
            ("representation", rows.ints("PixelRepresentation") == 1),
            ("big", big),
            ("planar", rows.ints("PlanarConfiguration") == 1),
            ("invert", inverted),
            ("native", native),
            ("color", _color_of(rows)),
        ):
            layout[name] = column[files]
        layout["planar"] &= layout["samples"] > 1
        self._set_rescale(rows, files, frames, layout)
        self._set_voi(rows, files, frames, layout)
        codes = np.zeros(len(layout), np.int64)
        for name in _LAYOUT.names or ():
            column = layout[name]
            if len(column) and (column != column[0]).any():
                values, places = np.unique(column, return_inverse=True)
                codes = np.unique(codes * len(values) + places, return_inverse=True)[1]
        _, first, codes = np.unique(codes, return_index=True, return_inverse=True)
        return layout[first], codes.astype(np.int32)

    def _set_rescale(
        self, rows: TableColumns, files: _Ints, frames: _Ints, layout: _Records
    ) -> None:
        """Set slope and intercept of each sample, or that it has a Modality LUT.

        An impossible slope or intercept is left to `apply_modality_lut`, as a Modality
        LUT is: it raises the error.
        """
        found, in_groups = self._by_frame(rows, files, frames, MODALITY, RESCALE, np.logical_or)
        dose = np.where(in_groups, np.nan, rows.numbers(DOSE)[files])
        slope, intercept = rescale_columns(found[0], found[1], dose)
        layout["table"] = rows.valid(TABLE)[files] & ~in_groups
        impossible = rows.has_issue(lambda issue: issue.endswith(_RESCALE_TAGS))
        for name in (DOSE, *(column for one in RESCALE for column in MODALITY.columns(one))):
            impossible |= rows.has_infinite(name)
        layout["table"] |= impossible[files]
        none = np.isnan(slope) | (layout["table"] != 0)
        layout["slope"] = np.where(none, 1.0, slope)
        layout["intercept"] = np.where(none, 0.0, intercept)

    def _set_voi(self, rows: TableColumns, files: _Ints, frames: _Ints, layout: _Records) -> None:
        """Set the window of each sample, or that it has a VOI LUT or neither."""

        def is_given(center: _Bools, width: _Bools, function: _Bools, table: _Bools) -> _Bools:
            return (center & width) | table

        found, _ = self._by_frame(rows, files, frames, VOI, (*WINDOW, VOI_LUT), is_given)
        center, width, function, table = found
        # as `windowed`: what is not possible is no window, or another function
        window = np.isfinite(center) & np.isfinite(width) & (width > 0)
        function = np.where(function == UNKNOWN_FUNCTION, 0, np.nan_to_num(function))
        function = np.where((function == 0) & (width < 1), 1, function)
        layout["voi"] = np.where(~np.isnan(table), VOI_TABLE, np.where(window, VOI_WINDOW, 0))
        layout["center"] = np.where(window, center, 0.0)
        layout["width"] = np.where(window, width, 0.0)
        layout["function"] = np.where(window, function, 0)

    def _by_frame(
        self,
        rows: TableColumns,
        files: _Ints,
        frames: _Ints,
        macro: Macro,
        names: Sequence[str],
        is_given: Callable[..., _Bools],
    ) -> tuple[list[_Floats], _Bools]:
        """Return the attributes of a macro for each sample, NaN for none.

        All of them come from the first level that has them (PS3.3 C.7.6.16):
        `is_given` is called with an array per attribute, which samples have a
        value. Also returns which samples have them in functional groups.
        """
        found = [np.full(len(files), np.nan) for _ in names]
        missing = np.ones(len(files), bool)
        in_groups = np.zeros(len(files), bool)
        for level, columns in enumerate(zip(*map(macro.columns, names), strict=True)):
            if not missing.any():
                break
            values = [
                rows.per_frame(name, files, frames) if level == 0 else rows.numbers(name)[files]
                for name in columns
            ]
            here = missing & is_given(*(~np.isnan(value) for value in values))
            for i, value in enumerate(values):
                found[i] = np.where(here, value, found[i])
            missing &= ~here
            if level < 2:
                in_groups |= here
        return found, in_groups

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self._layout)

    def files(self, indices: _Ints) -> tuple[_Ints, _Ints]:
        """Return the file of each sample, and the frame in it.

        Parameters
        ----------
        indices : (n,) int64 array
            Of samples, as for all methods.

        Returns
        -------
        files, frames : (n,) int64 arrays
            Numbers from 0.
        """
        files = np.searchsorted(self._first, indices, "right") - 1
        return files, indices - self._first[files]

    def path(self, file: int) -> bytes:
        """Return the path of a file.

        Parameters
        ----------
        file : int
            As `files` returns it.

        Returns
        -------
        bytes
        """
        begin, end = self._path_ends[file : file + 2]
        return path_bytes(self._paths[begin:end].tobytes().decode())

    def layout(self, indices: _Ints) -> _Records:
        """Return how the pixels of samples are stored and converted.

        Parameters
        ----------
        indices : (n,) int64 array

        Returns
        -------
        (n,) structured array
            The fields of `records` without the position, and ``native`` (frames
            are stored uncompressed, one after another), ``table`` (a Modality
            LUT replaces slope and intercept), ``voi`` (VOI_WINDOW, VOI_TABLE or
            0: what the image has).
        """
        layout: _Records = self.layouts[self._layout[indices]]
        return layout

    def records(self, indices: _Ints) -> _Records:
        """Return what the batch reader needs to read native samples.

        Parameters
        ----------
        indices : (n,) int64 array

        Returns
        -------
        (n,) structured array
            Records of ``fastdcm.pixels._kernels.NATIVE_FRAME_DTYPE``.
        """
        files, frames = self.files(indices)
        layout = self.layout(indices)
        records = np.zeros(len(indices), _RECORD)
        for name in _RECORD.names or ():
            if name not in _POSITION:
                records[name] = layout[name]
        bit = frames * (
            layout["rows"].astype(np.int64)
            * layout["columns"]
            * layout["samples"]
            * layout["bits_allocated"]
        )
        records["offset"] = self._offset[files] + bit // 8
        records["start_bit"] = bit % 8
        records["size"], records["mtime_ns"] = self._size[files], self._mtime[files]
        return records

    def labels(self, indices: _Ints) -> dict[str, npt.NDArray[Any] | list[Any]]:
        """Return the labels of samples.

        Parameters
        ----------
        indices : (n,) int64 array

        Returns
        -------
        dict of str to array or list
            An array for numbers, else a list, of n values.
        """
        files, _ = self.files(indices)
        return {name: label.take(indices, files) for name, label in self._labels.items()}


def _color_of(rows: TableColumns) -> npt.NDArray[np.uint8]:
    """Return for each row COLOR_RGB, COLOR_OTHER, or 0 for grayscale.

    Compressed frames may have another color space than they are labeled with, so only
    native RGB is taken to be RGB. The cells of label maps are numbers of segments.
    """
    codes, photometrics = rows.texts("PhotometricInterpretation")
    is_palette = np.isin(codes, [i for i, p in enumerate(photometrics) if p == "PALETTE COLOR"])
    is_rgb = np.isin(codes, [i for i, p in enumerate(photometrics) if p == "RGB"])
    codes, classes = rows.texts("SOPClassUID")
    is_label_map = np.isin(codes, [i for i, uid in enumerate(classes) if uid == LABEL_MAP_STORAGE])
    several = rows.ints("SamplesPerPixel", 1) > 1
    codes, syntaxes = rows.texts("transfer_syntax")
    native = np.isin(codes, [i for i, uid in enumerate(syntaxes) if direct_byte_order(uid)])
    native &= (rows.ints("pixel_fragments", 1) == 0) & (rows.ints("BitsAllocated") == 8)
    color = np.where(is_rgb & native, COLOR_RGB, COLOR_OTHER)
    return np.where((several | is_palette) & ~is_label_map, color, 0).astype(np.uint8)
