"""Which frames there are, where they lie and what their values mean.

Columns, not objects: a million samples are some arrays that forked workers
share and spawned ones receive as they are.
"""

import os

import numpy as np

from fastdcm.pixels._kernels import NATIVE_FRAME_DTYPE
from fastdcm.pixels.functional_groups import MODALITY, VOI, rescale_columns
from fastdcm.pixels.layout import direct_byte_order
from fastdcm.scanning.scanner import scan
from fastdcm.sources.urls import path_bytes

_RESCALE = ("RescaleSlope", "RescaleIntercept")
_WINDOW = ("WindowCenter", "WindowWidth", "VOILUTFunction")
_TABLE, _VOI_TABLE = "ModalityLUTSequence.LUTDescriptor", "VOILUTSequence.LUTDescriptor"
_DOSE = "DoseGridScaling"

#: What a scan's table must have besides ``pixels=True``:
#: ``scan(folder, [*COLUMNS, "PatientID"], pixels=True)``.
COLUMNS = (
    "Rows",
    "Columns",
    "SamplesPerPixel",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
    "PhotometricInterpretation",
    "PlanarConfiguration",
    "NumberOfFrames",
    "PresentationLUTShape",
    _TABLE,
    _DOSE,
    *(column for name in _RESCALE for column in reversed(MODALITY.columns(name))),
    *(column for name in (*_WINDOW, _VOI_TABLE) for column in reversed(VOI.columns(name))),
)
_FIXED = (
    "path",
    "size",
    "mtime_ns",
    "transfer_syntax",
    "error",
    "pixel_offset",
    "pixel_length",
    "frames",
)

FUNCTIONS = ("LINEAR", "LINEAR_EXACT", "SIGMOID")
VOI_WINDOW, VOI_TABLE = 1, 2

# What many samples have in common: all of a frame record but where it is.
_RECORD = np.dtype(NATIVE_FRAME_DTYPE)
_PLACE = ("offset", "size", "mtime_ns", "start_bit")
_LAYOUT = np.dtype(
    [(name, kind) for name, kind in NATIVE_FRAME_DTYPE if name not in _PLACE]
    + [("native", "u1"), ("table", "u1"), ("voi", "u1")]
)


def _need_arrow():
    try:
        import pyarrow
        import pyarrow.compute
        import pyarrow.parquet
    except ImportError:
        raise ImportError(
            "tables of scans need pyarrow: pip install 'fastdcm-dicom[table]'"
        ) from None
    return pyarrow


def open_table(source, labels):
    """The pyarrow.Table that a source means, with the columns needed."""
    pyarrow = _need_arrow()
    wanted = [*_FIXED, *COLUMNS, *labels]
    if isinstance(source, pyarrow.Table):
        table = source
    elif hasattr(source, "__arrow_c_stream__"):
        table = pyarrow.table(source)
    elif isinstance(source, (str, os.PathLike)) and os.fspath(source).lower().endswith(
        (".parquet", ".arrow")
    ):
        path = os.fspath(source)
        if path.lower().endswith(".parquet"):
            names = pyarrow.parquet.read_schema(path).names
            table = pyarrow.parquet.read_table(
                path, columns=[name for name in wanted if name in names]
            )
        else:
            with pyarrow.memory_map(path) as file:
                table = pyarrow.ipc.open_file(file).read_all()
    else:
        tags = [*COLUMNS, *(name for name in labels if name not in (*COLUMNS, *_FIXED))]
        table = scan(source, tags, pixels=True).read_all()
    missing = [name for name in wanted if name not in table.column_names]
    if missing:
        raise ValueError(
            f"the table has no column {', '.join(missing)}: "
            "scan(source, [*fastdcm.ml.COLUMNS, ...], pixels=True) makes one that has all"
        )
    return table.select(list(dict.fromkeys(wanted)))


class _Rows:
    """The columns of a table as arrays."""

    def __init__(self, table):
        self.table = table

    def arrow(self, name):
        column = self.table.column(name).combine_chunks()
        return column.chunk(0) if hasattr(column, "chunk") else column

    def ints(self, name, null=0):
        return self.arrow(name).cast("int64").fill_null(null).to_numpy(zero_copy_only=False)

    def floats(self, name):
        """float64, NaN for null; of a list the first value."""
        return _floats(self.arrow(name))

    def texts(self, name):
        """(codes, texts): codes -1 for null."""
        found = self.arrow(name).dictionary_encode()
        return found.indices.fill_null(-1).to_numpy(
            zero_copy_only=False
        ), found.dictionary.to_pylist()

    def inside(self, name):
        """Whether a path leads into an archive, as dcmread reads it."""
        from pyarrow import compute

        return compute.match_substring(self.arrow(name), "!/").to_numpy(zero_copy_only=False)

    def valid(self, name):
        """Whether each row has a value."""
        return self.arrow(name).is_valid().to_numpy(zero_copy_only=False)

    def numbers(self, name, rows, frames, by_frame):
        """The values of a column for each sample, NaN for none; None when the column
        has no value at all.

        Of a list the first; a text is its index in FUNCTIONS; a lookup table is
        1. by_frame : the column has lists with one value a frame.
        """
        column = self.arrow(name)
        if column.null_count == len(column):
            return None
        if not by_frame:
            return _numbers(name, column)[rows]
        starts, lengths = _spans(column)
        there = frames < lengths[rows]
        at = (starts[rows] + frames)[there]
        found = np.full(len(rows), np.nan)
        found[there] = _numbers(name, column.values)[at]
        return found


def _numbers(name, column):
    if name.endswith("LUTDescriptor"):
        return np.where(column.is_valid().to_numpy(zero_copy_only=False), 1.0, np.nan)
    return _functions(column) if name.endswith("VOILUTFunction") else _floats(column)


def _spans(column):
    starts = column.offsets.to_numpy().astype(np.int64)
    lengths = np.diff(starts)
    lengths[column.is_null().to_numpy(zero_copy_only=False)] = 0
    return starts[:-1], lengths


def _floats(column):
    if "list" not in str(column.type):
        return column.cast("float64").fill_null(np.nan).to_numpy(zero_copy_only=False).copy()
    starts, lengths = _spans(column)
    found = np.full(len(column), np.nan)
    found[lengths > 0] = _floats(column.values)[starts[lengths > 0]]
    return found


def _functions(column):
    """Its index in FUNCTIONS; NaN for none, -1 for another."""
    encoded = column.dictionary_encode()
    names = [(text or "").strip().upper() for text in encoded.dictionary.to_pylist()]
    places = [
        FUNCTIONS.index(name) if name in FUNCTIONS else -1.0 if name else np.nan for name in names
    ]
    codes = encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False)
    return np.array([*places, np.nan])[codes]


class Samples:
    """Every frame of a table, or of files, that has pixels; in their order.

    source : a scan's table (path of .parquet or .arrow, pyarrow.Table, a Scan,
        anything with ``__arrow_c_stream__``) that has `COLUMNS` and was made
        with ``pixels=True``; or what `fastdcm.scan` takes, which is then scanned.
    labels : names of more columns to keep, for files: of elements to read.

    left_out : {reason: count} of rows and frames that are no samples: codes of
        errors, "no-pixels", "attributes" (Rows and the like cannot be) and
        "short" (frames behind the end of their pixel data).
    """

    def __init__(self, source, labels=()):
        import pyarrow.compute as pc

        pyarrow = _need_arrow()
        self.left_out = {}
        table = open_table(source, labels)
        rows = _Rows(table)
        codes, errors = rows.texts("error")
        self._leave_out({errors[i]: int((codes == i).sum()) for i in range(len(errors))})
        pixels = rows.arrow("pixel_offset").is_valid().to_numpy(zero_copy_only=False)
        self._leave_out({"no-pixels": int(((codes < 0) & ~pixels).sum())})
        good = (codes < 0) & pixels
        frames, native = self._frames_of(rows, good)
        good &= frames > 0
        kept = np.flatnonzero(good)
        frames, native = frames[kept], native[kept]
        if len(kept) < len(good):
            rows = _Rows(table.take(pyarrow.array(kept)))
        self._first = np.concatenate([[0], np.cumsum(frames)])  # sample of each file
        self._read_places(rows)
        self._read_layouts(rows, native)
        paths = rows.arrow("path").cast(pyarrow.large_string())
        _, offsets, data = paths.buffers()
        self._path_ends = np.frombuffer(offsets, np.int64)[
            paths.offset : paths.offset + len(paths) + 1
        ].copy()
        self._paths = np.frombuffer(data, np.uint8) if data else np.zeros(0, np.uint8)
        self._paths = self._paths[self._path_ends[0] : self._path_ends[-1]].copy()
        self._path_ends -= self._path_ends[0]
        self._labels = {}
        for name in labels:
            column = rows.arrow(name)
            if pyarrow.types.is_integer(column.type) and column.null_count == 0:
                column = column.to_numpy()
            elif pyarrow.types.is_floating(column.type) or pyarrow.types.is_integer(column.type):
                column = _floats(column)
            elif pyarrow.types.is_boolean(column.type) and column.null_count == 0:
                column = column.to_numpy(zero_copy_only=False)
            elif pyarrow.types.is_string(column.type):
                column = pc.cast(column, pyarrow.large_string())
            self._labels[name] = column

    def _leave_out(self, counts):
        for reason, count in counts.items():
            if count:
                self.left_out[reason] = self.left_out.get(reason, 0) + count

    def _frames_of(self, rows, good):
        """(frames that can be read, whether native) of each row."""
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
        order = [direct_byte_order(uid) for uid in syntaxes]
        native = np.isin(codes, [i for i, found in enumerate(order) if found is not None])
        big = np.isin(codes, [i for i, found in enumerate(order) if found == ">"])
        codes, photometrics = rows.texts("PhotometricInterpretation")
        subsampled = np.isin(codes, [i for i, name in enumerate(photometrics) if "42" in name])
        plain = np.isin(bits, [1, 8, 16, 32, 64]) & ~subsampled
        with np.errstate(over="ignore"):  # a sample has at most 2**48 bits times 64
            cells = lines * columns * samples
        can = possible & native & plain & ((bits > 1) | (samples == 1)) & ~(big & (bits == 8))
        # floating point pixels, whose elements a scan does not tell apart
        can &= rows.arrow("BitsStored").is_valid().to_numpy(zero_copy_only=False)
        there = np.where(
            cells > 0, np.minimum(length, 1 << 58) * 8 // np.maximum(cells * bits, 1), 0
        )
        # encapsulated: a frame has a byte at least
        there = np.minimum(frames, np.where(can, there, length))
        there[~(good & possible)] = 0
        lost = good & possible & (there < frames)
        self._leave_out({"short": int((frames - there)[lost].sum())})
        # fragments under a native transfer syntax have another length than its frames
        size = (cells * bits * frames + 7) // 8
        can &= (length == size) | (length == size + size % 2)
        return there, can & ~rows.inside("path")

    def _read_places(self, rows):
        self._offset = rows.ints("pixel_offset")
        self._size = rows.ints("size")
        self._mtime = rows.ints("mtime_ns")

    def _read_layouts(self, rows, native):
        """One entry of `layouts` for all samples that are alike."""
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
        ):
            layout[name] = column[files]
        layout["planar"] &= layout["samples"] > 1
        self._read_rescale(rows, files, frames, layout)
        self._read_voi(rows, files, frames, layout)
        codes = np.zeros(len(layout), np.int64)
        for name in _LAYOUT.names:  # few of them differ, as a rule
            column = layout[name]
            if len(column) and (column != column[0]).any():
                values, places = np.unique(column, return_inverse=True)
                codes = np.unique(codes * len(values) + places, return_inverse=True)[1]
        _, first, codes = np.unique(codes, return_index=True, return_inverse=True)
        self.layouts, self._layout = layout[first], codes.astype(np.int32)

    def _read_rescale(self, rows, files, frames, layout):
        """Slope and intercept of each sample, or that it has a Modality LUT."""
        found, groups = self._by_frame(rows, files, frames, MODALITY, _RESCALE, np.logical_or)
        dose = np.where(groups, np.nan, rows.floats(_DOSE)[files])
        slope, intercept = rescale_columns(*found, dose)
        layout["table"] = rows.valid(_TABLE)[files] & ~groups
        none = np.isnan(slope) | (layout["table"] != 0)
        layout["slope"], layout["intercept"] = (
            np.where(none, 1.0, slope),
            np.where(none, 0.0, intercept),
        )

    def _read_voi(self, rows, files, frames, layout):
        """The window of each sample, or that it has a VOI table or neither."""
        names = (*_WINDOW, _VOI_TABLE)

        def given(center, width, function, table):
            return (center & width) | table

        found, _ = self._by_frame(rows, files, frames, VOI, names, given)
        center, width, function, table = found
        # a function of another name is left to `windowed`, which rejects it
        window = ~(np.isnan(center) | np.isnan(width)) & (function != -1)
        layout["voi"] = np.where(~np.isnan(table), VOI_TABLE, np.where(window, VOI_WINDOW, 0))
        layout["center"], layout["width"] = (
            np.where(window, center, 0.0),
            np.where(window, width, 0.0),
        )
        layout["function"] = np.where(window, np.nan_to_num(function), 0)

    def _by_frame(self, rows, files, frames, macro, names, given):
        """The columns of a transformation for each sample, NaN for none, and
        whether they are from functional groups.

        All of them are from the first level that has them (PS3.3 C.7.6.16).
        given : of bool arrays, whether each value is there.
        """
        found = [np.full(len(files), np.nan) for _ in names]
        missing = np.ones(len(files), bool)
        groups = np.zeros(len(files), bool)
        for level, columns in enumerate(zip(*map(macro.columns, names), strict=True)):
            if not missing.any():
                break
            values = [rows.numbers(name, files, frames, level == 0) for name in columns]
            if all(column is None for column in values):
                continue
            values = [
                np.full(len(files), np.nan) if column is None else column for column in values
            ]
            here = missing & given(*(~np.isnan(column) for column in values))
            for i, column in enumerate(values):
                found[i] = np.where(here, column, found[i])
            missing &= ~here
            if level < 2:
                groups |= here
        return found, groups

    def __len__(self):
        return len(self._layout)

    def files(self, indices):
        """(number of the file, frame in it, from 0) of each sample."""
        files = np.searchsorted(self._first, indices, "right") - 1
        return files, indices - self._first[files]

    def path(self, file):
        """The path of a file, as bytes."""
        begin, end = self._path_ends[file : file + 2]
        return path_bytes(self._paths[begin:end].tobytes().decode())

    def layout(self, indices):
        """What the samples' values are: records of the fields of
        ``_kernels.NATIVE_FRAME_DTYPE`` without the place, and ``native`` (frames lie one
        after another in the file), ``table`` (a Modality LUT stands in place of
        slope and intercept), ``voi`` (VOI_WINDOW, VOI_TABLE or 0: what the file has)."""
        return self.layouts[self._layout[indices]]

    def records(self, indices):
        """Records of ``_kernels.NATIVE_FRAME_DTYPE`` for native samples."""
        files, frames = self.files(indices)
        layout = self.layout(indices)
        records = np.zeros(len(indices), _RECORD)
        for name in _RECORD.names:
            if name not in _PLACE:
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

    def labels(self, indices):
        """{name: values of the samples}: an array for numbers, else a list."""
        files, _ = self.files(indices)
        return {
            name: column[files]
            if isinstance(column, np.ndarray)
            else column.take(files).to_pylist()
            for name, column in self._labels.items()
        }
