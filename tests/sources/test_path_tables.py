"""Tables of paths: what a scan wrote is read again, and a damaged table is a ValueError."""

import contextlib
import json
import os

import pyarrow as pa
import pyarrow.feather
import pyarrow.ipc
import pyarrow.parquet
import pytest

from fastdcm import dcmread, scan
from fastdcm.errors import TableError
from support.archives import NAME
from support.builder import element, part10


@pytest.fixture
def file(tmp_path):
    path = tmp_path / 'a "quoted", name.dcm'
    path.write_bytes(part10(NAME))
    return str(path)


def paths(source, **options):
    return scan(source, [], **options).read_all()["path"].to_pylist()


ENDINGS = [".csv", ".jsonl", ".parquet", ".arrow", ".feather"]


@pytest.mark.parametrize("ending", ENDINGS[:-1])
@pytest.mark.parametrize("length", [0, 1, 131072, 131073, 3_000_000])
@pytest.mark.parametrize("text", ["x", '"', ",", "\n", "\r\n", '",\n"'])
def test_what_a_scan_wrote_is_read_again(tmp_path, ending, length, text):
    """Fields of any length and contents, in front of the path and behind it."""
    comment = (text * length)[:length]
    for name in ("a.dcm", "b.dcm"):
        (tmp_path / name).write_bytes(
            part10(NAME + element(0x00081030, "LO", "s") + element(0x0040A160, "UT", comment))
        )
    rows = scan([tmp_path / "a.dcm", tmp_path / "b.dcm"], ["TextValue", "PatientName"])
    path = tmp_path / f"rows{ending}"
    rows.write(path)
    assert paths(path) == [str(tmp_path / "a.dcm"), str(tmp_path / "b.dcm")]


def write(path, table):
    """Write an Arrow table in the format that the suffix of a path names."""
    if path.suffix == ".parquet":
        pa.parquet.write_table(table, path)
    elif path.suffix == ".feather":
        pa.feather.write_feather(table, path)
    else:
        with pa.OSFile(str(path), "wb") as out, pa.ipc.new_file(out, table.schema) as writer:
            writer.write_table(table)


@pytest.mark.parametrize("ending", [".parquet", ".arrow", ".feather"])
@pytest.mark.parametrize(
    "kind",
    [pa.string(), pa.large_string(), pa.string_view(), pa.binary(), pa.large_binary(),
     pa.dictionary(pa.int32(), pa.string())],
    ids=str,
)  # fmt: skip
def test_types_of_text(tmp_path, file, ending, kind):
    array = pa.array([file, None, "none.dcm"]).cast(pa.string())
    if pa.types.is_dictionary(kind):
        array = array.dictionary_encode()
    elif kind == pa.string_view():
        if ending == ".parquet":
            pytest.skip("Parquet has no views")
        array = pa.array(array.to_pylist(), kind)
    else:
        array = array.cast(kind)
    path = tmp_path / f"t{ending}"
    write(path, pa.table({"number": [1, 2, 3], "path": array}))
    rows = scan(path, ["PatientName"]).read_all().to_pylist()
    assert [row["path"] for row in rows] == [file, "", "none.dcm"]
    assert [row["error"] for row in rows] == [None, "open", "open"]


@pytest.mark.parametrize("ending", [".parquet", ".arrow", ".feather"])
@pytest.mark.parametrize(
    "values", [[1, 2], [1.5], [True], [["a"]], [{"a": "b"}], [b"a" * 16]], ids=str
)
def test_other_types_are_refused(tmp_path, ending, values):
    kind = pa.binary(16) if values == [b"a" * 16] else None
    write(tmp_path / f"t{ending}", pa.table({"path": pa.array(values, kind)}))
    with pytest.raises(ValueError, match="it must be text"):
        paths(tmp_path / f"t{ending}")


def test_an_arrow_stream(tmp_path, file):
    table = pa.table({"path": [file]})
    out = tmp_path / "t.arrow"
    with pa.OSFile(str(out), "wb") as file_, pa.ipc.new_stream(file_, table.schema) as writer:
        writer.write_table(table)
    assert paths(tmp_path / "t.arrow") == [file]


def quoted(text):
    return '"' + text.replace('"', '""') + '"'


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"], ids=["plain", "byte order mark"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize(
    "rows",
    ["path|@", "path,a|@,1", "a,path|1,@", "a,path,b|,@,", '"a","path"|"x""y",@', "path||@|",
     'a,path|"1\n2,""3",@', "a,path|5\" scan,@"],
)  # fmt: skip
def test_csv(tmp_path, file, mark, end, rows):
    text = end.join(rows.split("|")).replace("@", quoted(file)) + end
    (tmp_path / "t.csv").write_bytes(mark + text.encode())
    assert paths(tmp_path / "t.csv") == [file]
    (tmp_path / "u.csv").write_bytes(mark + text.rstrip(end).encode())
    assert paths(tmp_path / "u.csv") == [file]


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"], ids=["plain", "byte order mark"])
def test_jsonl(tmp_path, file, mark):
    lines = [json.dumps({"a": [1], "path": file}), "", json.dumps({"path": None}), "  "]
    (tmp_path / "t.jsonl").write_bytes(mark + "\n".join(lines).encode())
    assert paths(tmp_path / "t.jsonl") == [file, ""]


DAMAGED = {
    "empty.csv": (b"", "no column `path`"),
    "other.csv": (b"file\nx\n", "no column `path`"),
    "short.csv": (b"a,path\n1,x\n2\n", "line 3 is too short"),
    "open.csv": (b'path\n"x\n', "a quoted field is not closed"),
    "latin1.csv": (b"path\ncaf\xe9.dcm\n", "not UTF-8"),
    "utf16.csv": ("path\nx\n".encode("utf-16"), "not UTF-8"),
    "number.jsonl": (b'{"path":1}\n', "line 1 is 1, not text"),
    "list.jsonl": (b'{"path":["x"]}\n', "not text"),
    "five.jsonl": (b"5\n", "line 1 is not a JSON object"),
    "text.jsonl": (b'"path"\n', "line 1 is not a JSON object"),
    "null.jsonl": (b"null\n", "line 1 is not a JSON object"),
    "deep.jsonl": (b"[" * 100_000 + b"\n", "line 1 is not valid JSON"),
    "cut.jsonl": (b'{"path":"x"}\n{"pa', "line 2 is not valid JSON"),
    "surrogate.jsonl": (b'{"path":"\\ud800"}\n', "not UTF-8"),
    "other.jsonl": (b'{"file":"x"}\n', "no column `path`"),
    "empty.parquet": (b"", "it cannot be read"),
    "text.parquet": (b"path\nx\n", "it cannot be read"),
    "text.arrow": (b"path\nx\n", "it cannot be read"),
    "empty.feather": (b"", "it cannot be read"),
}


@pytest.mark.parametrize("name", DAMAGED)
@pytest.mark.parametrize("threads", [1, 2])
def test_damaged_tables(tmp_path, name, threads):
    data, message = DAMAGED[name]
    (tmp_path / name).write_bytes(data)
    with pytest.raises(ValueError, match=message) as caught:
        paths(tmp_path / name, threads=threads)
    assert isinstance(caught.value, TableError) and caught.value.code == "table"
    assert caught.value.filename == str(tmp_path / name)


@pytest.mark.parametrize("ending", [".parquet", ".arrow"])
def test_truncated_and_changed_tables(tmp_path, file, ending):
    write(tmp_path / f"t{ending}", pa.table({"path": [file] * 50}))
    data = (tmp_path / f"t{ending}").read_bytes()
    for at in range(0, len(data), max(len(data) // 40, 1)):
        for damaged in (data[:at], data[:at] + bytes([data[at] ^ 0xA5]) + data[at + 1 :]):
            (tmp_path / f"t{ending}").write_bytes(damaged)
            with contextlib.suppress(TableError):
                paths(tmp_path / f"t{ending}")


@pytest.mark.skipif(os.name == "nt", reason="names of POSIX")
@pytest.mark.parametrize("name", [b"caf\xe9.dcm", b"file:x", b"a%41.dcm", b"file:%zz"])
def test_paths_that_are_escaped(tmp_path, name):
    """The column `path` as a table, and as a list."""
    path = os.path.join(os.fsencode(tmp_path), b"in", name)
    os.mkdir(tmp_path / "in")
    with open(path, "wb") as out:
        out.write(part10(NAME))
    rows = scan(tmp_path / "in", ["PatientName"])
    expected = rows.read_all()
    for ending in ENDINGS[:-1]:
        rows.write(tmp_path / f"t{ending}")
        assert scan(tmp_path / f"t{ending}", ["PatientName"]).read_all().equals(expected)
    (text,) = expected["path"].to_pylist()
    for source in ([text], (text,), iter([text]), text):
        assert scan(source, ["PatientName"]).read_all().equals(expected)
    assert dcmread(text).PatientName == "Doe^Jane"
    os.chdir(tmp_path / "in")
    assert scan([os.fsdecode(name)], ["PatientName"]).read_all()["error"].to_pylist() == [None]


def test_a_file_uri_with_a_host(tmp_path, file):
    uri = "file://localhost" + file.replace(" ", "%20").replace('"', "%22")
    assert paths([uri]) == paths(uri) == [file]


@pytest.mark.parametrize("path", ["", "a\0b.dcm", "\0", "a\0.zip", "a\0.zip!/x", "x" * 5000])
def test_paths_that_no_file_can_have(tmp_path, file, path):
    (tmp_path / "t.jsonl").write_text("\n".join(json.dumps({"path": one}) for one in (path, file)))
    for source in (tmp_path / "t.jsonl", [path, file], iter([path, file])):
        rows = scan(source, []).read_all().to_pylist()
        assert [row["error"] for row in rows] == ["open", None]
