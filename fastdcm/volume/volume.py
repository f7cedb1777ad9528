"""read_volume: a series of images as one array that knows where it lies."""

import io
import os

import numpy as np

from fastdcm._util.atomic import write_atomically
from fastdcm._util.parallel import cpu_count, run_parallel
from fastdcm.errors import DicomError
from fastdcm.pixels._kernels import NATIVE_FRAME_DTYPE, read_frames
from fastdcm.pixels.layout import direct_byte_order, native_length
from fastdcm.scanning.tags import parse_tag
from fastdcm.sources.urls import path_bytes
from fastdcm.volume.slices import planes_of, read_sources
from fastdcm.volume.sorting import Finding, drop_copies, partition, runs_of, separate, stack_of

# What is in `Volume.tags` without being asked for.
_TAGS = ("SOPInstanceUID", "InstanceNumber")
# What a scan says of files that were never meant to be DICOM.
_FOREIGN = ("not-dicom", "empty")


class VolumeError(DicomError):
    """The series is not one volume. `findings` says why; a DicomError of code
    "volume"."""

    def __init__(self, findings, filename=None):
        problems = [finding for finding in findings if finding.problem]
        text = "; ".join(map(str, problems or findings)) or "there is no image"
        super().__init__(text, "volume", None, "", filename)
        self.args = (findings, filename)
        self.findings = findings


class Volume:
    """Slices in the order of space, as `read_volume` makes it.

    array : (slices, rows, columns[, samples]). Slices ascend along the normal,
        that is along a row x down a column.
    affine : (4, 4) float64, from (column, row, slice, 1), the indices of the
        array from its last to its first, to (x, y, z, 1) in mm, LPS: x grows to
        the patient's left, y to the back, z to the head (PS3.3 C.7.6.2.1.1).
    spacing : mm between columns, rows, slices: the lengths of the affine's columns.
    origin : (x, y, z) of the middle of the first cell.
    direction : (3, 3), its columns are the unit vectors along columns' index,
        rows' index and slices' index; not at right angles after gantry tilt.
        With spacing and origin it is what ITK calls by these names.
    positions : (slices, 3) Image Position (Patient) of each slice, NaN without
        one; they tell more than the affine where spacing is uneven.
    tags : {name: [value of each slice]}, with "path" and "frame" (from 0).
    key : what told this volume from its siblings when a series was split.
    findings : list of Finding.
    frame_of_reference_uid : str or None.
    """

    def __init__(self, array, affine, positions, tags, key, findings, frame_of_reference_uid):
        self.array, self.affine, self.positions = array, affine, positions
        self.tags, self.key, self.findings = tags, key, findings
        self.frame_of_reference_uid = frame_of_reference_uid

    @property
    def ras(self):
        """The affine to RAS (x to the right, y to the front), as NIfTI has it."""
        return np.diag([-1.0, -1.0, 1.0, 1.0]) @ self.affine

    @property
    def spacing(self):
        return tuple(map(float, np.linalg.norm(self.affine[:3, :3], axis=0)))

    @property
    def origin(self):
        return tuple(map(float, self.affine[:3, 3]))

    @property
    def direction(self):
        return self.affine[:3, :3] / np.array(self.spacing)

    def __repr__(self):
        codes = [finding.code for finding in self.findings]
        return (
            f"<Volume {self.array.shape} {self.array.dtype}, "
            f"{' x '.join(f'{s:.4g}' for s in self.spacing)} mm, findings: {codes}>"
        )

    def to_nifti(self, path=None):
        """A nibabel.Nifti1Image, or, with a path (.nii or .nii.gz), the file.

        The image's array is this one seen as (column, row, slice), its sform
        the affine in RAS, and its qform too unless it is sheared. Colour of
        three uint8 samples becomes RGB24. Raises ImportError without nibabel,
        DicomError "volume" for what NIfTI cannot hold.
        """
        try:
            import nibabel
        except ImportError:
            raise ImportError("NIfTI needs nibabel: pip install 'fastdcm-dicom[volume]'") from None
        data = self.array
        if data.ndim == 4:
            if data.shape[3] != 3 or data.dtype != np.uint8:
                raise DicomError(
                    f"NIfTI holds no {data.shape[3]} samples of {data.dtype}", "volume"
                )
            data = np.ascontiguousarray(data).view([("R", "u1"), ("G", "u1"), ("B", "u1")])[..., 0]
        image = nibabel.Nifti1Image(data.transpose(2, 1, 0), self.ras, dtype=data.dtype)
        code = 0 if "missing-position" in {finding.code for finding in self.findings} else 1
        image.set_sform(self.ras, code)
        square = np.allclose(self.direction.T @ self.direction, np.eye(3), atol=1e-4)
        image.set_qform(self.ras if square else None, code if square else 0)
        image.header.set_xyzt_units("mm")
        if path is None:
            return image
        path = os.fspath(path)
        zipped = os.fsdecode(path).lower().endswith(".gz")

        def fill(out):
            if not zipped:
                return image.to_stream(out)
            import gzip

            # a file without a time in it is the same file each time
            with gzip.GzipFile(
                filename="", mode="wb", fileobj=out, compresslevel=1, mtime=0
            ) as packed:
                with io.BufferedWriter(packed, 1 << 20) as buffered:
                    image.to_stream(buffered)

        write_atomically(path, fill)
        return None


def read_volume(source, *, tags=(), on_problem="reject", rescale=True, threads=None):
    """Reads a series into an array with its geometry, and says what it found.

    Parameters
    ----------
    source : as `scan` takes it (folder, glob, file, list or iterator of paths,
        table), or a Dataset, or a list of Datasets. Order does not matter.
    tags : more elements for `Volume.tags`, as `scan` takes them; a keyword is
        looked for in the functional groups of a multi-frame image, too.
    on_problem : "reject", "split" or "keep"
        "reject" raises VolumeError when there is a finding that is a problem.
        "split" gives a list: what is mixed is told apart, by series, size,
        orientation, echo, time and so on, and a stack is cut where its spacing
        changes, so that each Volume's affine is true.
        "keep" gives the largest stack, gaps and uneven spacing in it, and a
        finding "left-out" about the rest.
    rescale : bool
        True: modality values, stored * Rescale Slope + Rescale Intercept (Dose
        Grid Scaling for RT Dose) with each slice's own, in float32; where all
        are 1 and 0, the stored values in their own type. False: stored values.
    threads : int or None: as many as there are cores.

    Reads single images, multi-frame with functional groups (Enhanced CT, MR,
    PET, segmentations), RT Dose, NM, and Siemens mosaics. Memory is one array
    and a frame a thread. Returns a Volume, with "split" a list of them. Raises
    VolumeError, DicomError for pixel data that cannot be read, ValueError and
    FileNotFoundError for sources as `scan` does.
    """
    if on_problem not in ("reject", "split", "keep"):
        raise ValueError(f"on_problem is 'reject', 'split' or 'keep', not {on_problem!r}")
    if threads is not None and threads < 1:
        raise ValueError("threads is 1 or more, or None")
    findings = []
    planes = _planes(source, tags, threads, findings)
    stacks = []
    for key, group in partition(drop_copies(planes, findings), findings):
        for more, part in separate(group, findings):
            stacks.append(stack_of(part, {**key, **more}))
    if not stacks or on_problem == "reject":
        everything = findings + [finding for stack in stacks for finding in stack.findings]
        if not stacks or any(finding.problem for finding in everything):
            raise VolumeError(everything, _name(source))
    elif on_problem == "keep" and len(stacks) > 1:
        largest = max(stacks, key=lambda stack: len(stack.planes))
        rest = sum(len(stack.planes) for stack in stacks) - len(largest.planes)
        findings.append(
            Finding(
                "left-out",
                f"{rest} slices of {len(stacks) - 1} other stacks are left out",
                True,
                {"slices": rest, "stacks": [stack.key for stack in stacks if stack is not largest]},
            )
        )
        stacks = [largest]
    elif on_problem == "split":
        stacks = [part for stack in stacks for part in _regular(stack)]
    volumes = [_volume(stack, findings, tags, rescale, threads) for stack in stacks]
    return volumes if on_problem == "split" else volumes[0]


def _name(source):
    return source if isinstance(source, (str, bytes, os.PathLike)) else None


def _planes(source, tags, threads, findings):
    sources, failed = read_sources(source, tags, threads)
    for problem in (False, True):
        paths = [row["path"] for row in failed if (row["error"] not in _FOREIGN) is problem]
        if paths:
            code = "unreadable" if problem else "not-dicom"
            findings.append(
                Finding(
                    code, f"{len(paths)} files cannot be read as DICOM", problem, {"paths": paths}
                )
            )
    # A header that ends before its pixels is a file that was cut, not a report.
    images = [s for s in sources if s.row["pixel_length"] is not None]
    for problem in (False, True):
        paths = [
            s.path
            for s in sources
            if s.row["pixel_length"] is None and (s.row["Rows"] is not None) is problem
        ]
        if paths:
            code = "missing-pixels" if problem else "not-an-image"
            findings.append(
                Finding(
                    code, f"{len(paths)} data sets have no pixel data", problem, {"paths": paths}
                )
            )
    extra = [tag for tag in tags if isinstance(tag, str) and tag.isidentifier()]
    planes, bad = [], []
    for each in images:
        try:
            planes += planes_of(each, extra)
        except DicomError as error:
            bad.append(error)
    if bad:
        findings.append(
            Finding(
                "bad-image",
                f"{len(bad)} images have attributes that cannot be: {bad[0]}",
                True,
                {"errors": bad},
            )
        )
    luts = [s.path for s in images if s.row["ModalityLUTSequence.LUTDescriptor"]]
    if luts:
        findings.append(
            Finding(
                "modality-lut",
                f"{len(luts)} images have a Modality LUT, which is not applied",
                False,
                {"paths": luts},
            )
        )
    return planes


def _regular(stack):
    """The stack, or, where its spacing changes, its regular parts."""
    if not {"gap", "uneven-spacing"} & {finding.code for finding in stack.findings}:
        return [stack]
    runs = runs_of(stack)
    return [
        stack_of(run, {**stack.key, "run": i} if len(runs) > 1 else stack.key)
        for i, run in enumerate(runs)
    ]


def _volume(stack, findings, tags, rescale, threads):
    planes = stack.planes
    first = planes[0]
    affine = np.eye(4)
    between_rows, between_columns = first.spacing or (1.0, 1.0)
    orientation = first.orientation if stack.has_geometry else (1, 0, 0, 0, 1, 0)
    affine[:3, 0] = np.multiply(orientation[:3], between_columns)
    affine[:3, 1] = np.multiply(orientation[3:], between_rows)
    affine[:3, 2] = stack.step
    if stack.has_geometry:
        affine[:3, 3] = first.position
    positions = np.array([plane.position or (np.nan,) * 3 for plane in planes])
    kept = {
        "path": [plane.source.path for plane in planes],
        "frame": [plane.frame for plane in planes],
    }
    for tag in (*_TAGS, *tags):
        name = parse_tag(tag)[0]
        kept[name] = [plane.values.get(name) for plane in planes]
    uid = first.values["FrameOfReferenceUID"]
    array = read_pixels(planes, rescale, threads)
    return Volume(
        array,
        affine,
        positions,
        kept,
        stack.key,
        findings + stack.findings,
        str(uid) if uid else None,
    )


# ----------------------------------------------------------------- pixels ---


def read_pixels(planes, rescale, threads):
    """(planes, rows, columns[, samples]): each plane in its place."""
    first = planes[0]
    shape = (len(planes), first.rows, first.columns) + (
        (first.samples,) if first.samples > 1 else ()
    )
    rescale = (
        rescale
        and first.samples == 1
        and any(plane.slope != 1 or plane.intercept != 0 for plane in planes)
    )
    # A frame of each kind before the array: what cannot be decoded takes no memory.
    kinds = {}
    for plane in planes:
        row = plane.source.row
        kinds.setdefault((row["BitsAllocated"], row["PixelRepresentation"]), plane)
    cells = {
        kind: _tile(plane.source.open().frames[plane.frame], plane) for kind, plane in kinds.items()
    }
    dtype = np.result_type(*(frame.dtype.newbyteorder("=") for frame in cells.values()))
    for kind, plane in kinds.items():
        if cells[kind].shape != shape[1:]:
            raise DicomError(
                f"a frame has the shape {cells[kind].shape}, where {shape[1:]} is told",
                "pixels",
                None,
                "",
                plane.source.path,
            )
    array = np.empty(shape, np.float32 if rescale else dtype)
    # One kind of native cells needs no Dataset; the rest is taken source by source.
    native = [
        i
        for i, plane in enumerate(planes)
        if len(cells) == 1 and dtype.kind != "f" and _is_native(plane)
    ]
    others = {}
    for i in sorted(set(range(len(planes))).difference(native)):
        others.setdefault(id(planes[i].source), []).append(i)
    threads = threads or cpu_count()
    work = []
    for places in others.values():  # the tiles of a mosaic are of one frame
        alone = planes[places[0]].tile is not None
        work += [(_read_source, piece) for piece in _pieces(places, 1 if alone else 4 * threads)]
    work += [(_read_native, places) for places in _pieces(native, 4 * threads)]

    def run(start, stop):
        for read, places in work[start:stop]:
            read(array, planes, places, rescale)

    run_parallel(run, len(work), threads)
    return array


def _pieces(places, count):
    """Ascending places in about so many runs, each of neighbours: a slice of the array."""
    size = max(1, -(-len(places) // count))
    pieces = []
    for i in places:
        if pieces and len(pieces[-1]) < size and pieces[-1][-1] == i - 1:
            pieces[-1].append(i)
        else:
            pieces.append([i])
    return pieces


def _is_native(plane):
    """Whether its cells can be read from the file as a scan tells where they are."""
    row = plane.source.row
    order = direct_byte_order(row.get("transfer_syntax"))
    bits, stored, high = row["BitsAllocated"], row["BitsStored"], row["HighBit"]
    return (
        plane.tile is None
        and order is not None
        and row.get("pixel_offset") is not None
        and row["PixelRepresentation"] in (0, 1)
        and "!/" not in (plane.source.path or "")  # of an archive: dcmread knows where
        and isinstance(stored, int)
        and isinstance(high, int)
        and 0 < stored <= high + 1 <= bits
        and (bits in (1, 16, 32) or (bits == 8 and order == "<"))
        and row["PhotometricInterpretation"] != "YBR_FULL_422"
        and not any(issue.startswith("encoding@") for issue in row["issues"] or ())
        and _has_native_length(row)
    )


def _has_native_length(row):
    """Whether the pixel data has the length of native frames: the fragments that
    some files have under a native transfer syntax have another."""
    cells = row["Rows"] * row["Columns"] * row["SamplesPerPixel"]
    size = native_length(cells, row["NumberOfFrames"], row["BitsAllocated"], None)
    return row["pixel_length"] in (size, size + size % 2)


def _read_native(array, planes, places, rescale):
    """Neighbouring slices of native cells, by the batch reader."""
    records = np.zeros(len(places), NATIVE_FRAME_DTYPE)
    for record, i in zip(records, places):
        plane = planes[i]
        row = plane.source.row
        bits = row["BitsAllocated"]
        start = plane.frame * plane.rows * plane.columns * plane.samples * bits
        record["offset"] = row["pixel_offset"] + start // 8
        record["start_bit"] = start % 8
        record["size"], record["mtime_ns"] = row["size"], row["mtime_ns"]
        record["slope"], record["intercept"] = plane.slope, plane.intercept
        record["rows"], record["columns"], record["samples"] = (
            plane.rows,
            plane.columns,
            plane.samples,
        )
        record["bits_allocated"], record["representation"] = bits, row["PixelRepresentation"]
        record["bits_stored"], record["high_bit"] = row["BitsStored"], row["HighBit"]
        record["big"] = direct_byte_order(row["transfer_syntax"]) == ">"
        record["planar"] = plane.samples > 1 and row["PlanarConfiguration"] == 1
    paths = [path_bytes(planes[i].source.path) for i in places]
    out = array[places[0] : places[-1] + 1]
    for _, error in read_frames(paths, records, out, "rescale" if rescale else "stored"):
        raise error


def _read_source(array, planes, places, rescale):
    """Slices of one source, frame by frame; the tiles of a mosaic share one."""
    frames = planes[places[0]].source.open().frames
    last = frame = None
    for i in places:
        plane = planes[i]
        if plane.frame != last:
            last, frame = plane.frame, frames[plane.frame]
        cells = _tile(frame, plane)
        array[i] = cells * plane.slope + plane.intercept if rescale else cells


def _tile(frame, plane):
    if plane.tile is None:
        return frame
    row, column = plane.tile
    return frame[row : row + plane.rows, column : column + plane.columns]
