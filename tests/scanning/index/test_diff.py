"""What an update does with each part, from the marks of its files."""

from fastdcm.scanning.index import diff
from fastdcm.scanning.index.diff import PartDiff, plan_segments
from fastdcm.sources._paths import ALONE, CHANGED, SAME


def part_diff(start, rows, old, new):
    return PartDiff({"rows": rows}, start, bytes(old), bytes(new))


def unchanged(start, rows):
    return part_diff(start, rows, [SAME] * rows, [SAME] * rows)


def plan(*parts):
    return [(s.start, s.stop, s.rows, s.stays) for s in plan_segments(parts)]


def test_rows_of_a_part_are_estimated():
    assert unchanged(0, 8).rows == 8
    # half of 20 rows (of archives) are kept, and one file is new
    assert part_diff(0, 20, [SAME, ALONE], [SAME, ALONE]).rows == 10 + 1
    assert PartDiff(None, 0, b"", bytes([ALONE] * 3)).rows == 3


def test_unchanged_parts_stay():
    parts = [unchanged(0, 2), unchanged(2, 3)]
    assert [part.old for part in parts] == [None, None]
    assert plan(*parts) == [(0, 2, 2, True), (2, 5, 3, True)]


def test_parts_without_files_disappear():
    gone = part_diff(2, 3, [ALONE] * 3, [])
    assert plan(unchanged(0, 2), gone, unchanged(2, 4)) == [(0, 2, 2, True), (2, 6, 4, True)]


def test_small_parts_beside_a_change_are_rewritten_with_it(monkeypatch):
    monkeypatch.setattr(diff, "_PART_ROWS", 8)
    changed = part_diff(8, 4, [CHANGED] + [SAME] * 3, [CHANGED] + [SAME] * 3)
    assert plan(unchanged(0, 8), changed, unchanged(12, 4)) == [(0, 8, 8, True), (8, 16, 8, False)]
    assert plan(unchanged(0, 4), part_diff(4, 8, [CHANGED] * 8, [CHANGED] * 8)) == [
        (0, 4, 4, True),
        (4, 12, 8, False),
    ]


def test_rows_are_divided_evenly_among_new_parts(monkeypatch):
    monkeypatch.setattr(diff, "_PART_ROWS", 8)
    (segment,) = plan_segments([PartDiff(None, 0, b"", bytes([ALONE] * 17))])
    assert (segment.rows, segment.part_rows) == (17, 6)
