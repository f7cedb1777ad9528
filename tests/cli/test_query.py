"""fastdcm query, and the SQL recipes of docs/cookbook.md on files with known results."""

import csv
import datetime
import io
import json
import os
import re
import shutil

import pyarrow
import pyarrow.parquet
import pytest

import fastdcm
from fastdcm.cli import main
from fastdcm.cli.query import connected, to_json_value
from fastdcm.scanning.index import build
from support import builder as b
from support.builder import element as el
from support.cli import PROGRAM, run
from support.documents import blocks

AXIAL = [1, 0, 0, 0, 1, 0]
NOT_DICOM = b"plain text" * 40
OBLIQUE = [0.8, 0.6, 0, 0, 0, -1]  # its normal is (-0.6, 0.8, 0)


def image(
    series,
    number,
    place,
    orientation=AXIAL,
    *,
    study=1,
    modality="CT",
    thickness=2.5,
    uid=None,
    date="20190312",
    size=100,
):
    parts = [
        (0x00080018, "UI", uid or f"1.2.{series}.{number}"),
        (0x00080020, "DA", date),
        (0x00080060, "CS", modality),
        (0x0008103E, "LO", f"series {series}"),
        (0x00180050, "DS", str(thickness)),
        (0x0020000D, "UI", f"1.{study}"),
        (0x0020000E, "UI", f"1.2.{series}"),
        (0x00200013, "IS", number),
        (0x00200032, "DS", [str(x) for x in place]),
        (0x00200037, "DS", [str(x) for x in orientation]),
        (b.PIXEL_DATA, "OW", bytes(size)),
    ]
    return b.part10(b"".join(el(*part) for part in parts))


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    """An index folder of two parts, next to the folder `archive` that was scanned."""
    folder = tmp_path_factory.mktemp("recipes")
    archive = folder / "archive"
    archive.mkdir()
    made = []
    made += [image(1, i, [-100, 5, 10 + 2.5 * i]) for i in range(20)]  # complete
    made += [
        image(2, i, [0, 0, 1.25 * i]) for i in range(20) if i not in (7, 8, 13)
    ]  # three missing
    made += [
        image(
            3, i, [-0.6 * 3 * i, 0.8 * 3 * i, 7], OBLIQUE, modality="MR", date="2021.02.03", study=2
        )
        for i in range(9)
        if i != 4
    ]  # one missing
    made += [
        image(4, 2 * i + j, [0, 0, 5 * i], thickness=0.625, study=3, date="20210101")
        for i in range(6)
        for j in range(2)
    ]  # two at each position
    made += [
        image(
            5,
            i,
            [10 * i, 0, 0] if i % 2 else [0, 0, 10 * i],
            AXIAL if i % 2 == 0 else [0, 1, 0, 0, 0, 1],
            modality="MR",
            study=3,
            date="",
        )
        for i in range(3)
    ]  # a localizer
    made += [image(1, 4, [-100, 5, 20], size=700), image(1, 4, [-100, 5, 20])]  # copies
    made += [image(6, 1, [0, 0, 0], thickness=0.5, modality="MR"), NOT_DICOM, b""]
    for i, raw in enumerate(made):
        (archive / f"{i:03d}.dcm").write_bytes(raw)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(build, "_PART", 40)
        fastdcm.scan(archive).write(f"{folder}/index/")
    # A part that is not in the manifest must be ignored.
    shutil.copy(folder / "index" / "part-000001.parquet", folder / "index" / "part-000009.parquet")
    return folder / "index"


@pytest.fixture
def query(capfd):
    """query(*arguments, status=0) is (stdout, stderr) of the command, in this process."""

    def query(*args, status=0):
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            main(["query", *map(str, args)])
        assert (ended.value.code or 0) == status
        return capfd.readouterr()

    return query


@pytest.fixture
def rows_of(index, query):
    return lambda sql: [json.loads(line) for line in query(index, sql, "--json")[0].splitlines()]


# ---------------------------------------------------------------- recipes ---


@pytest.fixture(scope="module")
def recipes(root):
    """{heading: SQL} of docs/cookbook.md."""
    page = root / "docs" / "cookbook.md"
    text = page.read_text(encoding="utf-8")
    headings = re.findall(r"^#+ (.*)$|^```sql$", text, flags=re.M)
    titles = [headings[i - 1] for i, heading in enumerate(headings) if heading == ""]
    return dict(
        zip(
            titles,
            [sql for language, sql, _ in blocks(page) if language == "sql"],
            strict=True,
        )
    )


def test_every_recipe_has_a_test(recipes):
    assert list(recipes) == [
        "Series with missing slices",
        "Duplicates by SOP Instance UID",
        "Storage by modality and year",
        "CT with slice thickness under 1 mm",
    ]


def test_missing_slices(index, recipes, rows_of):
    assert rows_of(recipes["Series with missing slices"]) == [
        {
            "SeriesInstanceUID": "1.2.2",
            "slices": 17,
            "spacing": 1.25,
            "missing": 3,
            "after_gaps": [11.25, 17.5],
        },
        {
            "SeriesInstanceUID": "1.2.3",
            "slices": 8,
            "spacing": 3.0,
            "missing": 1,
            "after_gaps": [15.0],
        },
    ]


def test_duplicates(index, recipes, rows_of):
    (first,) = rows_of(recipes["Duplicates by SOP Instance UID"])
    archive = index.parent / "archive"
    paths = [str(archive / name) for name in ("004.dcm", "060.dcm", "061.dcm")]
    assert first == {
        "SOPInstanceUID": "1.2.1.4",
        "copies": 3,
        "paths": paths,
        "spare_bytes": os.path.getsize(paths[0]) + os.path.getsize(paths[2]),
    }


def test_storage(index, recipes, rows_of):
    rows = rows_of(recipes["Storage by modality and year"])
    assert [(row["modality"], row["year"], row["studies"], row["files"]) for row in rows] == [
        ("CT", "2019", 1, 39),
        ("CT", "2021", 1, 12),
        ("MR", "2019", 1, 1),
        ("MR", "2021", 1, 8),
        ("MR", None, 1, 3),
    ]
    sizes = [os.path.getsize(path) for path in (index.parent / "archive").iterdir()]
    assert sum(row["bytes"] for row in rows) == sum(sizes) - len(NOT_DICOM)


def test_thin_slices(index, recipes, rows_of):
    assert rows_of(recipes["CT with slice thickness under 1 mm"]) == [
        {"SeriesInstanceUID": "1.2.4", "description": "series 4", "thickness": 0.625, "slices": 12}
    ]


# ----------------------------------------------------------------- output ---


def test_csv_unless_on_a_terminal(index, query):
    out, err = query(
        index,
        "SELECT Modality, count(*) AS n, ['a', NULL] AS l, "
        "'\\x00\\xFF'::BLOB AS b FROM files GROUP BY 1 ORDER BY n",
    )
    assert err == ""
    list_text = '["a", null]'
    assert list(csv.reader(io.StringIO(out))) == [
        ["Modality", "n", "l", "b"],
        ["", "2", list_text, "AP8="],
        ["MR", "12", list_text, "AP8="],
        ["CT", "51", list_text, "AP8="],
    ]


def test_json_has_plain_values(index, rows_of):
    (row,) = rows_of(
        "SELECT sum(size) AS a, avg(size) AS b, DATE '2020-02-01' AS c, 1.5 AS d, NULL AS e, "
        "{'x': 'y'::BLOB} AS f, MAP{'k': 1} AS g, 'nan'::DOUBLE AS h, true AS i FROM files"
    )
    total = sum(os.path.getsize(path) for path in (index.parent / "archive").iterdir())
    assert (
        row.pop("a") == total
        and isinstance(total, int)
        and row.pop("b") == pytest.approx(total / 65)
    )
    assert row == {
        "c": "2020-02-01",
        "d": 1.5,
        "e": None,
        "f": {"x": "eQ=="},
        "g": [["k", 1]],
        "h": None,
        "i": True,
    }
    assert to_json_value(datetime.timedelta(days=1)) == "1 day, 0:00:00"


@pytest.mark.parametrize("suffix", ["parquet", "arrow", "csv", "jsonl"])
def test_output_files(index, tmp_path, suffix, query):
    target = tmp_path / f"out.{suffix}"
    out, err = query(index, "SELECT * FROM files ORDER BY path", "-o", target)
    assert (out, err) == ("", "")
    if suffix == "parquet":
        table = pyarrow.parquet.read_table(target)
        whole = fastdcm.open_index(index).read_all().sort_by("path")
        assert table.schema.names == whole.schema.names and table.to_pydict() == whole.to_pydict()
        assert query(target, "SELECT count(*) FROM files")[0] == "count_star()\n65\n"
    elif suffix == "arrow":
        assert pyarrow.ipc.open_file(target).read_all().num_rows == 65
    else:
        assert len(target.read_text().splitlines()) == 65 + (suffix == "csv")
    assert os.listdir(tmp_path) == [target.name]


@pytest.mark.skipif(os.name == "nt", reason="needs the pty module of Unix")
def test_a_table_on_a_terminal(index):
    import pty
    import subprocess

    here, there = pty.openpty()
    sql = "SELECT path, Modality, 'a\x1b[31mb' AS c FROM files"
    with subprocess.Popen(
        [*PROGRAM, "query", index, sql],
        stdout=there,
        env={**os.environ, "COLUMNS": "100"},
    ) as process:
        os.close(there)
        shown = b""
        while True:
            try:
                piece = os.read(here, 4096)
            except OSError:  # Linux raises when the other end is closed
                break
            if not piece:
                break
            shown += piece
    os.close(here)
    lines = shown.decode().splitlines()
    assert process.returncode == 0 and "path" in lines[1] and "Modality" in lines[1]
    assert max(map(len, lines)) <= 100 and len(lines) < 60
    assert b"\x1b[31m" not in shown


# ----------------------------------------------------------------- errors ---


@pytest.mark.parametrize(
    "sql, error, hint",
    [
        ("SELECT Modalty FROM files", "Binder Error: .*Modalty", "Candidate bindings: .*Modality"),
        ("SELEC 1", "Parser Error: syntax error", "DESCRIBE files"),
        ("SELECT path::INT FROM files", "Conversion Error", "DESCRIBE"),
        ("SELECT * FROM nowhere", "Catalog Error: .*nowhere", "the table is called `files`"),
        ("", "must be one SELECT", "WITH"),
        ("SELECT 1; SELECT 2", "must be one SELECT", "WITH"),
        ("DROP VIEW files", "must be one SELECT", "WITH"),
        ("CREATE TABLE x AS SELECT 1", "must be one SELECT", "WITH"),
        ("INSERT INTO files SELECT * FROM files", "must be one SELECT", "WITH"),
        ("SET enable_external_access = true", "must be one SELECT", "WITH"),
        ("ATTACH 'x.db'", "must be one SELECT", "WITH"),
        ("INSTALL httpfs", "must be one SELECT", "WITH"),
        ("EXPLAIN ANALYZE COPY (SELECT 1) TO 'x'", "must be one SELECT", "WITH"),
        ("SELECT 1 AS a, 2 AS a", "two columns are called a", "AS"),
    ],
)
def test_errors_of_sql(index, sql, error, hint, query):
    out, err = query(index, sql, status=2)
    first, second = err.splitlines()
    assert (
        out == "" and re.match(f"error: .*{error}", first) and re.match(f"hint: .*{hint}", second)
    )


def test_queries_cannot_read_other_files(index, tmp_path, query):
    """Neither with functions of SQL nor through variables of Python."""
    other = tmp_path / "other.parquet"
    pyarrow.parquet.write_table(pyarrow.table({"x": [1]}), other)
    before = {path.name: path.read_bytes() for path in index.glob("*.parquet")}
    part = index / "part-000001.parquet"
    for sql in (
        f"FROM '{other}'",
        f"FROM read_parquet('{other}')",
        "FROM read_text('/etc/passwd')",
        f"FROM glob('{tmp_path}/*')",
        "FROM sniff_csv('/etc/passwd')",
        "FROM connection",
        "FROM rows",
        f"FROM query('COPY (SELECT 1) TO ''{part}''')",
    ):
        query(index, sql, status=2)
    query(index, f"COPY (SELECT 1) TO '{part}'", status=2)
    assert {path.name: path.read_bytes() for path in index.glob("*.parquet")} == before
    with connected([str(part)]) as base:
        import duckdb

        with pytest.raises(duckdb.Error, match="locked"):
            base.execute("SET enable_external_access = true")


def test_names_that_need_quotes(index, tmp_path, query):
    odd = tmp_path / "it's [an] index*"
    shutil.copytree(index, odd)
    assert query(odd, "SELECT count(*) AS n FROM files")[0] == "n\n65\n"


def test_sources_that_are_refused(index, tmp_path, query):
    for source, error in (
        (tmp_path / "nowhere.parquet", "No such file"),
        (tmp_path, "not an index folder or a .parquet file"),
        (index.parent / "archive" / "000.dcm", "not an index folder or a .parquet file"),
    ):
        out, err = query(source, "FROM files", status=2)
        assert out == "" and error in err.splitlines()[0]
    (tmp_path / "false.parquet").write_bytes(b"not Parquet")
    assert "error: " in query(tmp_path / "false.parquet", "FROM files", status=2)[1]
    assert "ends in" in query(index, "FROM files", "-o", tmp_path / "x.xlsx", status=2)[1]


def test_an_index_that_is_not_complete(index, query, tmp_path):
    shutil.copytree(index, tmp_path / "partial")
    manifest = tmp_path / "partial" / "_fastdcm" / "manifest.jsonl"
    lines = manifest.read_text().splitlines(keepends=True)
    assert len(lines) == 4
    manifest.write_text("".join(lines[:2]))
    out, err = query(tmp_path / "partial", "SELECT count(*) AS n FROM files")
    assert out == "n\n40\n" and "is not complete: 40 of 65 files read" in err
    manifest.write_text(lines[0])
    assert "no rows yet" in query(tmp_path / "partial", "FROM files", status=2)[1]
    manifest.unlink()
    assert "no rows yet" in query(tmp_path / "partial", "FROM files", status=2)[1]


def test_missing_duckdb(index, monkeypatch, tmp_path):
    (tmp_path / "duckdb.py").write_text("raise ModuleNotFoundError('none', name='duckdb')")
    monkeypatch.setenv(
        "PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    )
    _, err = run("query", index, "FROM files", status=2)
    assert err == "error: this command needs duckdb\nhint: pip install 'fastdcm-dicom[query]'\n"
