"""URLs, and paths as text."""

import io
import os
import sys

import pytest

from fastdcm import scan, scan_chunk
from fastdcm.sources.urls import is_url, path_bytes, path_text


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("s3://bucket/key", True),
        (b"https://host/x", True),
        ("ftp://host/x", True),
        ("x1+y.z-://a", True),
        ("HTTPS://host/x", True),
        ("1ab://x", False),
        ("a_b://x", False),
        ("\u00e9t\u00e9://x", False),
        (b"a\xff://x", False),
        ("://x", False),
        ("", False),
        ("/data/a://b", False),
        ("file:///data/caf%E9", False),
        ("C://data", False),
        ("a:b", False),
        (io.BytesIO(), False),
    ],
)
def test_is_url(path, expected):
    assert is_url(path) is expected


NAMES = [
    b"plain",
    "\u00e9\u65e5".encode(),
    b"caf\xe9",
    b"a%41\xff",
    b"\x80\x81 #?",
    b"file:x",
    b"file:///a/b",
    b"fi%le:",
]


@pytest.mark.parametrize("name", NAMES + [b"/data/" + name for name in NAMES])
def test_names_survive_the_conversion_to_text(name):
    text = path_text(name)
    assert path_bytes(text) == name
    text.encode()  # valid Unicode, no surrogates
    try:
        plain = name.decode()
    except UnicodeDecodeError:
        plain = ""
    assert (text == plain) == bool(plain and not plain.startswith("file:"))


@pytest.mark.parametrize(
    "text", ["file:a%", "file:%zz", "file:a%4", "file:a%+4", "file:a% 4", "file:%\u00e9"]
)
def test_text_with_invalid_escapes_is_a_name(text):
    assert path_bytes(text) == text.encode()


@pytest.mark.skipif(sys.platform != "linux", reason="the file system accepts only UTF-8 names")
def test_files_whose_names_are_not_utf8(tmp_path):
    folder = os.fsencode(tmp_path)
    for name in (b"caf\xe9", b"plain"):
        with open(os.path.join(folder, name), "wb"):
            pass
    (batch,) = scan(tmp_path, [], threads=1)
    assert batch.column("path") == [f"file://{tmp_path}/caf%E9", f"{tmp_path}/plain"]
    assert batch.column("error") == ["empty", "empty"]
    assert path_bytes(batch.column("path")[0]) == os.path.join(folder, b"caf\xe9")
    # all three spellings of such a path are one file
    spellings = [os.path.join(folder, b"caf\xe9"), os.fsdecode(os.path.join(folder, b"caf\xe9"))]
    batch = scan_chunk(spellings, [])
    assert batch.column("path") == [f"file://{tmp_path}/caf%E9"] * 2
    (batch,) = scan(f"file://{tmp_path}/caf%E9", [])
    assert batch.column("error") == ["empty"]


def test_a_name_with_nul_is_no_file():
    batch = scan_chunk(["a\0b"], [])
    assert batch.column("error") == ["open"]
    assert batch.column("path") == ["a\0b"]
