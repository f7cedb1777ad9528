"""Frame tables of encapsulated pixel data: _frames.pyx over frames.c."""

import io
import itertools
import os
import struct
import threading
from pathlib import Path

import pytest

from fastdcm import DicomError, dcmread
from fastdcm.core._index import issue_of
from fastdcm.pixels._frame_table import FrameTable, frame_table, join_fragments
from fastdcm.scanning.scanner import scan_chunk
from support import builder as b

JPEG, J2K, RLE = b"\xff\xd8\xff\xe0", b"\xff\x4f\xff\x51", struct.pack("<2I", 1, 64)
END = struct.pack("<2HI", 0xFFFE, 0xE0DD, 0)


def frames_of(count, start=JPEG, size=20):
    return [start + bytes([65 + i % 26]) * (size + 2 * (i % 3)) for i in range(count)]


def table_of(parts, shift=0):
    """A Basic Offset Table of frames, each a list of fragments."""
    at, offsets = shift, []
    for fragments in parts:
        offsets.append(at)
        at += sum(8 + len(f) for f in fragments)
    return struct.pack(f"<{len(offsets)}I", *offsets)


def value(table, fragments):
    """The value: item of the table (None: it is missing), then fragments."""
    items = [] if table is None else [b.item(table)]
    return b"".join(items + [b.item(f) for f in fragments])


class Counted(io.BytesIO):
    """A file object that notes its reads."""

    def __init__(self, raw):
        super().__init__(raw)
        self.reads = []

    def read(self, size=-1):
        at = self.tell()
        data = super().read(size)
        self.reads.append((at, len(data)))
        return data


def file_of(raw, source=memoryview):
    """(File, begin, end): any bytes as a value in a stream of its own."""
    head = b.part10(b.header(b.PIXEL_DATA, "OB", b.UNDEFINED), transfer_syntax=b.RLE)
    ds = dcmread(source(head + raw + END))
    return ds.file, len(head), len(head) + len(raw)


def opened(raw, frames, source=memoryview, **tables):
    file, begin, end = file_of(raw, source)
    return frame_table(file, begin, end - begin, frames, **tables), file, begin


def issues(file):
    return [(issue_of(*note).code, note[1]) for note in file.notes]


def eot(offsets, lengths):
    return {
        "eot_offsets": struct.pack(f"<{len(offsets)}Q", *offsets),
        "eot_lengths": struct.pack(f"<{len(lengths)}Q", *lengths),
    }


# --------------------------------------------------------- how frames are found


def test_basic_offset_table():
    frames = frames_of(5)
    parts = [[f[:10], f[10:]] for f in frames]
    raw = value(table_of(parts), [f for p in parts for f in p])
    table, file, begin = opened(raw, 5)
    assert (len(table), table.source, list(table)) == (5, "basic", frames)
    assert table.offsets.format == "Q" and table.offsets.readonly
    assert table.span(0)[0] == begin + 8 + 20
    assert table.offsets.tolist() == [table.span(i)[0] for i in range(5)] + [begin + len(raw)]
    assert table.span(-1) == table.span(4) and table.read(-1) == frames[4]
    with pytest.raises(IndexError):
        table.span(5)
    assert issues(file) == []


def test_extended_offset_table():
    """PS3.3 C.7.6.3.1.8: from the item after the empty basic one; lengths
    without the pad byte."""
    frames = [f + b"x" for f in frames_of(4)]
    raw = value(b"", [f + b"\0" for f in frames])
    at = [sum(9 + len(f) for f in frames[:i]) for i in range(4)]
    table, file, begin = opened(raw, 4, **eot(at, [len(f) for f in frames]))
    assert (table.source, issues(file)) == ("extended", [])
    assert list(table) == [f + b"\0" for f in frames]
    assert table.span(1) == (begin + 8 + at[1], at[2] - at[1])
    offsets_alone = {"eot_offsets": eot(at, [])["eot_offsets"]}
    assert opened(raw, 4, **offsets_alone)[0].source == "extended"


@pytest.mark.parametrize(
    "offsets, lengths, where",
    [
        ([0, 33, 64, 98], [4] * 4, "item"),  # not where an item is, at the end
        ([0, 32, 64], [4] * 3, "begin"),  # too few
        ([0, 64, 32, 98], [4] * 4, "begin"),  # not in order
        ([0, 32, 66, 96], [4, 4, 40, 4], "begin"),  # a length past the next frame
        ([0, 32, 66, 96], [4, 4], "begin"),  # lengths are missing
        ([0, 1 << 40, 1 << 41, 1 << 42], [4] * 4, "walk"),
    ],
)
def test_wrong_extended_offset_table(offsets, lengths, where):
    frames = frames_of(4)
    raw = value(b"", frames)
    assert [sum(8 + len(f) for f in frames[:i]) for i in range(4)] == [0, 32, 66, 102]
    table, file, begin = opened(raw, 4, **eot(offsets, lengths))
    if where == "walk":  # a table truncated to its first frame
        assert (len(table), issues(file)) == (1, [("frame-count", begin)])
        return
    assert (list(table), table.source) == (frames, "fragments")
    assert issues(file) == [("offset-table", begin + 8 + 98 if where == "item" else begin)]


def test_one_fragment_a_frame():
    frames = [bytes([i]) * 10 for i in range(6)]  # no codestream that is known
    table, file, _ = opened(value(b"", frames), 6)
    assert (list(table), table.source, issues(file)) == (frames, "fragments", [])


@pytest.mark.parametrize("declared", [0, 1])
def test_all_in_one_frame(declared):
    parts = [JPEG + b"abcd", b"efgh", b"ij"]
    table, file, begin = opened(value(b"", parts), declared)
    assert (list(table), len(table), issues(file)) == ([b"".join(parts)], 1, [])
    assert table.span(0) == (begin + 8, 3 * 8 + 8 + 4 + 2)


@pytest.mark.parametrize("declared", [0, 1])
@pytest.mark.parametrize("offsets", [b"", bytes(4)])
def test_frames_after_the_one_that_is_declared(declared, offsets):
    parts = [JPEG + b"abcd", b"efgh", JPEG + b"ij"]
    table, file, _ = opened(value(offsets, parts), declared)
    assert next(iter(table)) == JPEG + b"abcdefgh"
    assert [code for code, _ in issues(file)] == ["frame-count"]


@pytest.mark.parametrize(
    "start", [JPEG, J2K, RLE, b"\xff\x0a", b"\0\0\0\x0cJXL \r\n\x87\n", b"\0\0\0\x0cjP  \r\n\x87\n"]
)
def test_more_fragments_than_frames(start):
    frames = frames_of(4, start)
    parts = [f[k : k + 14] for f in frames for k in range(0, len(f), 14)]
    table, file, _ = opened(value(b"", parts), 4)
    assert (list(table), issues(file)) == (frames, [])


def test_more_frames_than_declared():
    frames = frames_of(6)
    raw = value(b"", frames)
    table, file, begin = opened(raw, 4)
    assert (list(table), issues(file)) == (frames[:4], [("frame-count", begin)])
    table, file, begin = opened(value(table_of([[f] for f in frames]), frames), 4)
    assert (list(table), issues(file), table.source) == (
        frames[:4],
        [("frame-count", begin)],
        "basic",
    )
    table, file, begin = opened(value(table_of([[f] for f in frames]), frames), 1)
    assert (list(table), issues(file)) == (frames[:1], [("frame-count", begin)])


def test_fewer_frames_than_declared():
    frames = frames_of(6)
    complete = value(table_of([[f] for f in frames]), frames)
    for raw in (value(b"", frames[:4]), complete[: complete.index(b.item(frames[4]))]):
        table, file, begin = opened(raw, 6)
        assert (len(table), list(table)) == (4, frames[:4])
        assert issues(file) == [("frame-count", begin)]


@pytest.mark.parametrize(
    "raw, frames, at",
    [
        (b"", 1, 0),
        (b"\xfe\xff\x00", 1, 0),
        (JPEG * 10, 1, 0),  # no items at all
        (value(b"", []), 1, 0),
        (value(b"", []), 2, 0),
        (value(b"", [b"abcd"]), 3, 0),  # fewer, for no known reason
        (value(b"", [b"abcd"] * 5), 3, 0),  # more, at no known place
        (value(b"", [JPEG, b"abcd"]), 3, 0),
    ],
)
def test_frames_without_boundaries(raw, frames, at):
    file, begin, end = file_of(raw)
    with pytest.raises(DicomError) as caught:
        frame_table(file, begin, end - begin, frames)
    assert (caught.value.code, caught.value.offset, caught.value.path) == (
        "frames",
        begin + at,
        "(7FE0,0010)",
    )


def test_a_value_outside_the_file():
    file, begin, _end = file_of(value(b"", [b"ab"]))
    for offset, length in ((begin, 1000), (2**64 - 1, 1), (file.size + 1, 0)):
        with pytest.raises(ValueError):
            frame_table(file, offset, length, 1)


# ------------------------------------------------------------- wrong tables


def wrong_basic_tables():
    frames = frames_of(4)
    good = struct.unpack("<4I", table_of([[f] for f in frames]))
    yield "too few", struct.pack("<3I", *good[:3]), 0
    yield "not in order", struct.pack("<4I", good[0], good[2], good[1], good[3]), 0
    yield "all the same", bytes(16), 0
    yield (
        "without the headers",
        struct.pack("<4I", *(o - 8 * i for i, o in enumerate(good))),
        good[3],
    )
    yield "no multiple of four", bytes(14), 0
    yield "all ones", b"\xff" * 16, 0


@pytest.mark.parametrize(
    "name, table, at", list(wrong_basic_tables()), ids=lambda x: x if isinstance(x, str) else ""
)
def test_wrong_basic_offset_table(name, table, at):
    frames = frames_of(4)
    found, file, begin = opened(value(table, frames), 4)
    assert (list(found), found.source) == (frames, "fragments")
    assert issues(file) == [("offset-table", begin + at)]


def test_a_wrong_offset_in_the_middle_is_found_when_it_is_read():
    """First and last are right, so that nothing shows it before."""
    frames = frames_of(5)
    good = list(struct.unpack("<5I", table_of([[f] for f in frames])))
    good[2] += 4
    raw = value(struct.pack("<5I", *good), frames)
    table, file, begin = opened(raw, 5)
    assert table.source == "basic" and table.read(0) == frames[0]
    assert issues(file) == []
    assert table.read(2) == frames[2]
    assert issues(file) == [("offset-table", begin + 28 + good[2])]
    assert (list(table), table.source) == (frames, "fragments")


def test_a_wrong_saved_offset_is_found():
    frames = frames_of(5)
    table, file, _ = opened(value(b"", frames), 5)
    saved = table.offsets.tolist()
    saved[3] -= 2
    table = FrameTable(file, saved)
    assert (table.read(3), table.source) == (frames[3], "fragments")
    assert issues(file) == [("offset-table", saved[3])]


@pytest.mark.parametrize("shift", [8, 36, 5000])
def test_a_table_that_counts_from_the_wrong_place(shift):
    frames = frames_of(4)
    table, file, begin = opened(value(table_of([[f] for f in frames], shift), frames), 4)
    assert (list(table), table.source, issues(file)) == (frames, "basic", [("offset-table", begin)])


@pytest.mark.parametrize("start", [JPEG, J2K, RLE])
@pytest.mark.parametrize("count", [1, 3])
def test_a_table_that_is_missing(start, count):
    frames = frames_of(count, start)
    table, file, begin = opened(value(None, frames), count)
    assert (list(table), issues(file)) == (frames, [("offset-table", begin)])


@pytest.mark.parametrize("count", [1, 3])
def test_a_table_longer_than_the_value(count):
    frames = frames_of(count)
    raw = b.item(b"", length=100_000) + value(None, frames)
    table, file, begin = opened(raw, count)
    assert list(table) == frames
    assert issues(file)[0] == ("offset-table", begin)


def test_offsets_run_over_at_4_gib(tmp_path):
    """Of 32 bits, in a table of 4 frames of 2 GiB and some. The file is sparse."""
    size = (1 << 31) + 120
    head = b.part10(
        b.element(0x00280008, "IS", "4") + b.header(b.PIXEL_DATA, "OB", b.UNDEFINED),
        transfer_syntax=b.RLE,
    )
    step = size + 8
    raw = head + b.item(struct.pack("<4I", *(i * step & 0xFFFFFFFF for i in range(4))))
    path = tmp_path / "huge.dcm"
    with open(path, "wb") as out:
        out.write(raw)
        for i in range(4):
            out.seek(len(raw) + i * step)
            out.write(struct.pack("<2HI", 0xFFFE, 0xE000, size) + JPEG + bytes([i]))
        out.seek(len(raw) + 4 * step)
        out.write(END)
    ds = dcmread(path)
    length = 8 + 16 + 4 * step
    table = frame_table(ds.file, len(head), length, 4)
    assert (table.source, issues(ds.file)) == ("basic", [])
    assert table.offsets.tolist() == [len(raw) + i * step for i in range(5)]
    assert [ds.file.read(table.span(i)[0] + 12, 1)[0] for i in range(4)] == [0, 1, 2, 3]
    batch = scan_chunk([path], [], pixels="frames")
    assert batch.column("frame_offsets") == [table.offsets.tolist()]
    assert batch.column("issues") == [None]


# ---------------------------------------------------------- wrong fragments


def wrong_fragments():
    """(name, value, what is read, issue, its place)"""
    frames = frames_of(3)
    first, second, third = map(b.item, frames)
    size = len(frames[0])
    empty = b.item(b"")
    yield (
        "too long",
        empty + b.item(frames[0], length=size + 6) + second + third,
        frames,
        "fragments",
        8,
    )
    yield (
        "far too long",
        empty + first + b.item(frames[1], length=0x7FFFFFFF) + third,
        frames,
        "fragments",
        8 + len(first),
    )
    yield (
        "too short",
        empty + first + b.item(frames[1], length=4) + third,
        frames,
        "fragments",
        8 + len(first),
    )
    yield (
        "pad byte not counted",
        empty + b.item(frames[0] + b"\0", length=size + 1) + b"\0" + second + third,
        [frames[0] + b"\0\0", *frames[1:]],
        "fragments",
        8,
    )
    yield (
        "truncated",
        (empty + first + second + third)[:-6],
        [*frames[:2], frames[2][:-6]],
        "item-length",
        8 + len(first) + len(second),
    )
    yield (
        "last one too short",
        empty + first + second + b.item(frames[2], length=4),
        frames,
        "fragments",
        8 + len(first) + len(second),
    )
    yield (
        "undefined",
        empty + first + b.item(frames[1], length=0xFFFFFFFF) + third,
        frames,
        "fragments",
        8 + len(first),
    )
    yield (
        "something before the first",
        empty + b"junk" + first + second + third,
        frames,
        "fragments",
        0,
    )


@pytest.mark.parametrize(
    "name, raw, expected, code, at",
    list(wrong_fragments()),
    ids=lambda x: x if isinstance(x, str) else "",
)
@pytest.mark.parametrize("source", [memoryview, io.BytesIO])
def test_wrong_fragment_lengths(name, raw, expected, code, at, source):
    table, file, begin = opened(raw, 3, source)
    assert list(table) == expected
    assert (code, begin + at) in issues(file) and len(issues(file)) == 1


def test_odd_lengths_are_followed():
    frames = [f + b"x" for f in frames_of(3)]
    table, file, _ = opened(value(b"", frames), 3)
    assert (list(table), issues(file)) == (frames, [])


def test_a_correct_table_is_kept_where_fragment_lengths_are_wrong():
    frames = frames_of(4)
    table = table_of([[f] for f in frames])
    raw = b.item(table) + b"".join(
        b.item(f, length=4 if i == 2 else None) for i, f in enumerate(frames)
    )
    found, file, begin = opened(raw, 4)
    at = begin + raw.index(b.item(frames[2], length=4))
    assert (list(found), found.source) == (frames, "basic")
    assert issues(file) == [("fragments", at)]


def test_a_delimiter_within_the_value_ends_it():
    frames = frames_of(3)
    raw = value(b"", frames)
    table, _file, begin = opened(raw + END + b"not part of it", 3)
    assert (list(table), table.offsets[3]) == (frames, begin + len(raw))


def test_a_value_with_wrong_lengths_only_is_rejected():
    """Not without end: after 64 repairs nothing is believed."""
    raw = b.item(b"") + b"\xfe\xff\x00\xe0\x02\0\0\0" * 200_000
    file, begin, end = file_of(raw)
    with pytest.raises(DicomError) as caught:
        frame_table(file, begin, end - begin, 2)
    assert caught.value.code == "frames" and begin < caught.value.offset < begin + 2000


# ------------------------------------------------------------------- sources


@pytest.fixture
def on_disk(tmp_path):
    """(path, frames, begin, end) of 200 frames with an offset table."""
    frames = frames_of(200, size=3000)
    raw = value(table_of([[f] for f in frames]), frames)
    head = b.part10(
        b.element(0x00280008, "IS", "200") + b.header(b.PIXEL_DATA, "OB", b.UNDEFINED),
        transfer_syntax=b.RLE,
    )
    path = tmp_path / "a.dcm"
    path.write_bytes(head + raw + END)
    return path, frames, len(head), len(head) + len(raw)


@pytest.mark.parametrize("table", [True, False])
@pytest.mark.parametrize("small", [True, False])
def test_every_source_gives_the_same(tmp_path, table, small):
    frames = frames_of(50, size=40 if small else 9000)
    raw = value(table_of([[f] for f in frames]) if table else b"", frames)
    path = tmp_path / "a.dcm"
    head = b.part10(b.header(b.PIXEL_DATA, "OB", b.UNDEFINED), transfer_syntax=b.RLE)
    path.write_bytes(head + raw + END)
    complete = path.read_bytes()
    places = None
    for source in (path, memoryview(complete), io.BytesIO(complete), Counted(complete)):
        table = frame_table(dcmread(source).file, len(head), len(raw), 50)
        assert list(table) == frames
        assert places in (None, table.offsets.tolist())
        places = table.offsets.tolist()


def test_after_unlink_close_and_load(on_disk):
    path, frames, begin, end = on_disk
    ds, loaded, closed = (dcmread(path) for _ in range(3))
    tables = [frame_table(x.file, begin, end - begin, 200) for x in (ds, loaded, closed)]
    path.unlink()
    loaded.load()
    closed.close()
    assert tables[0].read(77) == tables[1].read(77) == frames[77]
    with pytest.raises(DicomError) as caught:
        tables[2].read(77)
    assert caught.value.code == "read"


def test_the_table_holds_its_file(on_disk):
    path, frames, begin, end = on_disk
    table = frame_table(dcmread(path).file, begin, end - begin, 200)
    assert table.read(199) == frames[199]


def test_a_file_that_shrank(on_disk):
    path, frames, begin, end = on_disk
    ds = dcmread(path)
    table = frame_table(ds.file, begin, end - begin, 200)
    os.truncate(path, begin + 100_000)
    assert table.read(0) == frames[0]
    with pytest.raises(DicomError) as caught:
        table.read(150)
    assert caught.value.code == "changed"


def test_with_a_table_one_frame_costs_one_frame(on_disk):
    path, frames, begin, end = on_disk
    source = Counted(path.read_bytes())
    file = dcmread(source, stop_before_pixels=True).file
    source.reads.clear()
    table = frame_table(file, begin, end - begin, 200)
    assert len(source.reads) <= 4 and sum(n for _, n in source.reads) < 4 * 200 + 1000
    source.reads.clear()
    assert table.read(150) == frames[150]
    assert source.reads == [table.span(150)]


def test_big_fragments_are_jumped_over_and_small_ones_read_in_bulk():
    for size, most_reads, most_bytes in ((9000, 110, 100_000), (20, 3, 100_000)):
        frames = frames_of(100, size=size)
        file, begin, end = file_of(value(b"", frames), Counted)
        reads = file_reads(file)
        reads.clear()
        frame_table(file, begin, end - begin, 100)
        assert len(reads) <= most_reads and sum(n for _, n in reads) < most_bytes


def file_reads(file):
    """The list of the Counted that a File reads."""
    import gc

    wrapped = gc.get_referents(file)  # a FileObject, which has the Counted
    return next(x for x in gc.get_referents(*wrapped) if isinstance(x, Counted)).reads


def test_one_frame_in_many_fragments_walks_nothing():
    parts = [b"x" * 100] * 5000
    file, begin, end = file_of(value(b"", parts), Counted)
    reads = file_reads(file)
    reads.clear()
    table = frame_table(file, begin, end - begin, 1)
    assert len(reads) <= 1 and sum(n for _, n in reads) <= 600
    assert table.read(0) == b"".join(parts)


def test_saved_offsets_serve_another_reader(on_disk):
    path, frames, begin, end = on_disk
    saved = frame_table(dcmread(path).file, begin, end - begin, 200).offsets.tobytes()
    table = FrameTable(dcmread(path).file, memoryview(saved).cast("Q"))
    assert (table.source, len(table), table.read(5)) == ("offsets", 200, frames[5])
    with open(path, "rb") as plain:  # or without us, but for the item headers
        offset, length = table.span(17)
        plain.seek(offset)
        assert join_fragments(plain.read(length)) == frames[17]


def test_saved_offsets_of_another_file(on_disk):
    file = dcmread(on_disk[0]).file
    for offsets in ([10, 5], [0, 2**40]):
        with pytest.raises(DicomError) as caught:
            FrameTable(file, offsets)
        assert caught.value.code == "frames"
    with pytest.raises(DicomError) as caught:
        FrameTable(file, [0, 100, 200]).read(1)
    assert (caught.value.code, caught.value.offset) == ("frames", 100)
    for offsets in ([], [1]):
        with pytest.raises(ValueError):
            FrameTable(file, offsets)


def test_join_fragments():
    parts = [b"abcd", b"", b"efg"]
    framed = value(None, parts)
    for data in (framed, bytearray(framed), memoryview(framed)):
        assert join_fragments(data) == b"abcdefg"
    assert join_fragments(b.item(b"")) == b""
    for data in (b"", b"abc", JPEG * 5):
        with pytest.raises(DicomError) as caught:
            join_fragments(data)
        assert caught.value.code == "frames"


def test_threads_that_find_a_wrong_offset_together():
    frames = frames_of(60)
    good = list(struct.unpack("<60I", table_of([[f] for f in frames])))
    for i in range(1, 59):
        good[i] += 2
    table, _file, _begin = opened(value(struct.pack("<60I", *good), frames), 60)
    found = [None] * 8

    def read(k):
        found[k] = [table.read(i) for i in range(k, 60)]

    threads = [threading.Thread(target=read, args=(k,)) for k in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [frames[k:] for k in range(8)]


# ---------------------------------------------------------------------- scan


def test_scan_of_frame_offsets(put):
    frames = frames_of(3)
    raw = b.element(0x00280008, "IS", "3")
    native = b.element(0x7FE00010, "OW", bytes(60))
    good = put(
        raw + b.fragments(frames, table=table_of([[f] for f in frames])), transfer_syntax=b.RLE
    )
    plain = put(raw + b.fragments(frames), transfer_syntax=b.RLE)
    at = [8 + len(f) for f in frames]
    extended = put(
        raw
        + b.element(0x7FE00001, "OV", eot([0, at[0], at[0] + at[1]], [])["eot_offsets"])
        + b.fragments(frames),
        transfer_syntax=b.RLE,
    )
    lost = put(raw + b.fragments([b"abcd"] * 5), transfer_syntax=b.RLE)
    video = put(
        raw + b.fragments([b"\0\0\1\xb3" + bytes(100)]), transfer_syntax="1.2.840.10008.1.2.4.102"
    )
    paths = [good, plain, extended, put(raw + native), lost, video, put(), put(raw=b"")]
    batch = scan_chunk(paths, ["Rows"], pixels="frames")
    assert batch.column_names[-5:] == [
        "pixel_offset",
        "pixel_length",
        "pixel_fragments",
        "frames",
        "frame_offsets",
    ]
    found = batch.column("frame_offsets")
    for path, offsets in zip(paths[:3], found[:3]):
        data = Path(path).read_bytes()
        assert [join_fragments(data[x:y]) for x, y in itertools.pairwise(offsets)] == frames
    assert found[3:5] == [None, None] and found[6:] == [None, None]
    start, end = found[5]
    assert end - start == 112
    issues = batch.column("issues")
    pixel_offset = batch.column("pixel_offset")
    assert issues == [
        None,
        None,
        None,
        None,
        [f"frames@{pixel_offset[4]} (7FE0,0010)"],
        None,
        None,
        None,
    ]
    assert "frame_offsets" not in scan_chunk([good], [], pixels=True).column_names
    with pytest.raises(ValueError, match="frames"):
        scan_chunk([good], [], pixels="frame")


def test_scan_without_memory_for_too_many_frames(put):
    path = put(
        b.element(0x00280008, "IS", str(2**31 - 1)) + b.fragments([JPEG + bytes(60)] * 3),
        transfer_syntax=b.RLE,
    )
    batch = scan_chunk([path], [], pixels="frames")
    assert batch.column("frame_offsets") == [None]
    assert batch.column("issues")[0][0].startswith("unfit@")


def test_scan_of_large_fragments(put):
    """Past what the reads of a header hold, and in a deflated data set."""
    frames = frames_of(20, size=30_000)
    raw = b.element(0x00280008, "IS", "20") + b.fragments(frames)
    for syntax in (b.RLE, b.DEFLATED_LE):
        path = put(raw, transfer_syntax=syntax)
        (offsets,) = scan_chunk([path], [], pixels="frames").column("frame_offsets")
        ds = dcmread(path)
        data = ds["PixelData"]
        begin, length = data.file_tell, data.value_length
        assert offsets == frame_table(ds.file, begin, length, 20).offsets.tolist()


# -------------------------------------------------------------------- oracle


def encapsulated(paths):
    for path in paths:
        try:
            ds = dcmread(path)
            elem = ds.get(0x7FE00010)
        except DicomError:
            continue
        if elem is not None and elem.is_undefined_length and elem.is_raw:
            yield path, ds, elem


# Truncated in its tenth frame: pydicom drops the pixel data, we return what is there.
TRUNCATED = "emri_small_jpeg_2k_lossless_too_short.dcm"


def agrees_with_pydicom(paths):
    import pydicom
    from pydicom.encaps import generate_frames

    count = 0
    for path, ds, elem in encapsulated(paths):
        declared = getattr(ds, "NumberOfFrames", None) or 1
        tables = {
            "eot_offsets": ds.get("ExtendedOffsetTable"),
            "eot_lengths": ds.get("ExtendedOffsetTableLengths"),
        }
        table = frame_table(ds.file, elem.file_tell, elem.value_length, declared, **tables)
        theirs = pydicom.dcmread(path, force=True)
        if path.name == TRUNCATED:
            assert "PixelData" not in theirs and len(list(table)) == 10
            continue
        extended = tables["eot_offsets"] and (tables["eot_offsets"], tables["eot_lengths"])
        expected = list(
            generate_frames(
                theirs.PixelData, number_of_frames=declared, extended_offsets=extended or None
            )
        )
        ours = list(table)
        if extended:  # pydicom expects the length without the pad byte
            ours = [f[: len(e)] for f, e in zip(ours, expected, strict=True)]
        assert ours == expected, path
        (offsets,) = scan_chunk([path], [], pixels="frames").column("frame_offsets")
        assert ds.file.deflated or offsets == table.offsets.tolist(), path
        count += 1
    return count


def test_pydicom_files(pydicom_files):
    pytest.importorskip("pydicom")
    assert agrees_with_pydicom(pydicom_files) > 35


def test_corpus(corpus_files):
    pytest.importorskip("pydicom")
    assert agrees_with_pydicom(corpus_files) > 20
