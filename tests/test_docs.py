"""What README and docs show is run, so that it cannot lie.

In README.md and docs/*.md, in a folder with the sample files as `samples`:
- a ```pycon block is a doctest: what it shows must come out;
- a ```python block must run;
- a line `$ fastdcm ...` in a ```console block must end with exit status 0.
The blocks of a document are run in order and share their names. Other blocks
(```sh, ```text) are not run.

    python tests/test_docs.py       writes the table of docs/transfer-syntaxes.md
"""

import contextlib
import doctest
import importlib.util
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from support.optional_packages import two_workers

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.M | re.S)
SYNTAXES = ROOT / "docs" / "transfer-syntaxes.md"


def blocks(path):
    """(language, text, line of the first line of text) of each fenced block."""
    text = path.read_text(encoding="utf-8")
    return [(m[1], m[2], text.count("\n", 0, m.start(2))) for m in FENCE.finditer(text)]


def name(path):
    return path.relative_to(ROOT).as_posix()


@pytest.fixture
def samples(tmp_path, monkeypatch):
    """A folder with the sample files, made the current one."""
    data = Path(importlib.util.find_spec("pydicom").origin).parent / "data"
    shutil.copytree(data / "test_files", tmp_path / "samples")
    monkeypatch.chdir(tmp_path)


def run_doctest(text, names, where, line):
    test = doctest.DocTestParser().get_doctest(text, names, where, where, line)
    told = []
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    runner.run(test, out=told.append, clear_globs=False)
    assert runner.failures == 0, "".join(told)
    names.update(test.globs)


def run_command(line):
    words = shlex.split(line)
    assert words[0] == "fastdcm", line
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    done = subprocess.run(
        [sys.executable, "-c", "from fastdcm.cli import main; main()", *words[1:]],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
    )
    assert done.returncode == 0, f"{line}\n{done.stderr}"
    return done


# Libraries too large for who tests on a machine of his own, by what shows that
# a block needs one.
PEERS = {
    "from torch": "torch",
    "fastdcm.distributed.ray": "ray",
    "import ray": "ray",
    "fastdcm.distributed.dask": "dask",
}


@pytest.fixture
def there():
    """there(text): are the peers that a block needs there? Ray is started."""
    with contextlib.ExitStack() as ends:

        def there(text):
            for peer in {peer for sign, peer in PEERS.items() if sign in text}:
                if importlib.util.find_spec(peer) is None:
                    assert os.environ.get("FASTDCM_REQUIRE_PEERS") != "1", f"peer missing: {peer}"
                    return False
                if peer == "ray" and not started:
                    started.append(ends.enter_context(two_workers()))
            return True

        started = []
        yield there


@pytest.mark.parametrize("path", DOCUMENTS, ids=name)
def test_examples(path, samples, there):
    names = {"__name__": "__main__"}
    for language, text, line in blocks(path):
        if language == "pycon":
            run_doctest(text, names, name(path), line)
        elif language == "python":
            if there(text):
                exec(compile("\n" * line + text, str(path), "exec"), names)
        elif language == "console":
            for command in re.findall(r"^\$ (.*)$", text, flags=re.M):
                run_command(command)


def test_blocks_are_of_a_known_kind():
    """A block without a language, or with a misspelt one, would never run."""
    known = {"pycon", "python", "console", "sh", "text", "sql", "json"}
    wrong = [
        f"{name(p)}:{line}"
        for p in DOCUMENTS
        for language, _, line in blocks(p)
        if language not in known
    ]
    assert not wrong, wrong


def test_the_reader_of_documents_reads(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("a\n```pycon\n>>> 1\n2\n```\n\n```console\n$ fastdcm scan\n```\n")
    (language, text, line), second = blocks(page)
    assert (language, line, second[:2]) == ("pycon", 2, ("console", "$ fastdcm scan\n"))
    with pytest.raises(AssertionError, match="Expected"):
        run_doctest(text, {}, "page", line)
    with pytest.raises(AssertionError, match="no-such-verb"):
        run_command("fastdcm no-such-verb")


@pytest.mark.parametrize("path", DOCUMENTS, ids=name)
def test_links_lead_somewhere(path):
    for link in re.findall(r"\]\(([^)\s]+)\)", path.read_text(encoding="utf-8")):
        if "://" not in link and not link.startswith("#"):
            assert (path.parent / link.split("#")[0]).exists(), link


def test_differences_from_pydicom_are_told():
    from test_oracle import DIFFERENCES

    told = " ".join((ROOT / "docs" / "from-pydicom.md").read_text(encoding="utf-8").split())
    missing = [reason for reason in DIFFERENCES if f"- {' '.join(reason.split())}." not in told]
    assert DIFFERENCES and not missing, missing
    listed = told.split("there is no other:")[1].split(" ## ")[0].count("- ")
    assert listed == len(DIFFERENCES), "a reason that no longer holds"


# ------------------------------------------------- generated: transfer syntaxes


def syntax_table():
    """The table of docs/transfer-syntaxes.md, from fastdcm/uid.py."""
    from fastdcm.uid import TRANSFER_SYNTAXES, UID

    rows = ["| UID | name | headers | pixel data | codec |", "|---|---|---|---|---|"]
    for syntax in TRANSFER_SYNTAXES.values():
        uid = UID(syntax.uid)
        title = uid.name if uid.name != uid else "private, of one vendor"
        headers = "implicit VR" if syntax.implicit else "explicit VR"
        headers += " big endian" if syntax.big_endian else " little endian"
        rows.append(
            "| `{}` | {}{} | {}{} | {} | {} |".format(
                uid,
                title,
                " (retired)" if uid.is_retired else "",
                headers,
                ", deflated" if syntax.deflated else "",
                "in fragments"
                if syntax.encapsulated
                else "in one piece"
                if syntax.pixels
                else "none",
                syntax.pixels or f"refused: {syntax.refusal}",
            )
        )
    return "\n".join(rows) + "\n"


def test_transfer_syntax_table_is_current():
    assert syntax_table() in SYNTAXES.read_text(encoding="utf-8"), "run python tests/test_docs.py"


def write_syntax_table():
    text = SYNTAXES.read_text(encoding="utf-8")
    SYNTAXES.write_text(
        re.sub(r"(?m)^\| UID (.*\n)(\|.*\n)*", lambda m: syntax_table(), text), encoding="utf-8"
    )


if __name__ == "__main__":
    write_syntax_table()
