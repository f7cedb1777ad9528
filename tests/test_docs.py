"""Every example in README and docs is run, and every page can be reached.

In README.md and docs/**/*.md, in a folder with the sample files as `samples`:
- a ```pycon block is a doctest: its output must match;
- a ```python block must run; one that includes a file of examples/ is run by
  test_examples.py instead;
- a line `$ fastdcm ...` in a ```console block must end with exit status 0.
The blocks of a page are run in order and share their names. Other blocks
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
import sys
from pathlib import Path

import pytest

from support.documents import DOCUMENTS, ROOT, blocks, name

SYNTAXES = ROOT / "docs" / "transfer-syntaxes.md"
INCLUDE = "--8<--"


@pytest.fixture
def samples(tmp_path, monkeypatch):
    """The working directory, with the sample files in `samples`."""
    data = Path(importlib.util.find_spec("pydicom").origin).parent / "data"
    shutil.copytree(data / "test_files", tmp_path / "samples")
    monkeypatch.chdir(tmp_path)


def run_doctest(text, names, where, line):
    test = doctest.DocTestParser().get_doctest(text, names, where, where, line)
    report = []
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    runner.run(test, out=report.append, clear_globs=False)
    assert runner.failures == 0, "".join(report)
    names.update(test.globs)


def run_command(line):
    from support.cli import start

    words = shlex.split(line)
    assert words[0] == "fastdcm", line
    done = start(*words[1:])
    assert done.returncode == 0, f"{line}\n{done.stderr}"


# Large packages that not every machine has, by the text that shows that a block
# needs one.
PACKAGES = {
    "from torch": "torch",
    "fastdcm.distributed.ray": "ray",
    "import ray": "ray",
    "fastdcm.distributed.dask": "dask",
}


@pytest.fixture
def available():
    """available(text): whether the packages that a block needs are installed.

    Starts Ray if the block needs it.
    """
    from support.optional_packages import two_workers

    with contextlib.ExitStack() as stack:

        def available(text):
            for package in {package for sign, package in PACKAGES.items() if sign in text}:
                if importlib.util.find_spec(package) is None:
                    required = os.environ.get("FASTDCM_REQUIRE_PEERS") == "1"
                    assert not required, f"package missing: {package}"
                    return False
                if package == "ray" and not started:
                    started.append(stack.enter_context(two_workers()))
            return True

        started = []
        yield available


@pytest.mark.parametrize("path", DOCUMENTS, ids=name)
def test_examples(path, samples, available):
    names = {"__name__": "__main__"}
    for language, text, line in blocks(path):
        if language == "pycon":
            run_doctest(text, names, name(path), line)
        elif language == "python" and INCLUDE not in text:
            if available(text):
                exec(compile("\n" * line + text, str(path), "exec"), names)
        elif language == "console":
            for command in re.findall(r"^\$ (.*)$", text, flags=re.M):
                run_command(command)


def test_blocks_have_a_known_language():
    """A block without a language, or with a misspelled one, would never run."""
    known = {"pycon", "python", "console", "sh", "text", "sql", "json"}
    wrong = [
        f"{name(p)}:{line}"
        for p in DOCUMENTS
        for language, _, line in blocks(p)
        if language not in known
    ]
    assert not wrong, wrong


def test_blocks_are_found_and_can_fail(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("a\n```pycon\n>>> 1\n2\n```\n\n```console\n$ fastdcm scan\n```\n")
    (language, text, line), second = blocks(page)
    assert (language, line, second[:2]) == ("pycon", 2, ("console", "$ fastdcm scan\n"))
    with pytest.raises(AssertionError, match="Expected"):
        run_doctest(text, {}, "page", line)
    with pytest.raises(AssertionError, match="no-such-command"):
        run_command("fastdcm no-such-command")


@pytest.mark.parametrize("path", DOCUMENTS, ids=name)
def test_links_have_targets(path):
    for link in re.findall(r"\]\(([^)\s]+)\)", path.read_text(encoding="utf-8")):
        if "://" not in link and not link.startswith("#"):
            assert (path.parent / link.split("#")[0]).exists(), link


def test_docs_import_public_modules_only():
    wrong = [
        f"{name(path)}: {module}"
        for path in DOCUMENTS
        for language, text, _ in blocks(path)
        if language in ("python", "pycon", "text")
        for module in re.findall(r"(?:from|import) (fastdcm[\w.]*)", text)
        if any(part.startswith("_") for part in module.split("."))
    ]
    assert not wrong, wrong


def test_every_page_is_in_the_navigation():
    navigation = (ROOT / "mkdocs.yml").read_text(encoding="utf-8").split("\nnav:\n")[1]
    listed = set(re.findall(r": ([\w/-]+\.md)$", navigation.split("\nplugins:")[0], flags=re.M))
    pages = {path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md")}
    assert listed == pages


def test_every_example_is_on_its_page():
    page = (ROOT / "docs" / "examples.md").read_text(encoding="utf-8")
    included = set(re.findall(rf'{INCLUDE} "examples/(\w+\.py)"', page))
    assert included == {path.name for path in (ROOT / "examples").glob("*.py")}


def test_differences_from_pydicom_are_listed():
    from test_oracle import DIFFERENCES

    page = (ROOT / "docs" / "from-pydicom.md").read_text(encoding="utf-8")
    section = page.split("## Files that are read differently")[1].split("\n## ")[0]
    listed = [" ".join(item.split()) for item in section.split("\n- ")[1:]]
    assert DIFFERENCES
    assert set(listed) == {f"{' '.join(reason.split())}." for reason in DIFFERENCES}


# ------------------------------------------------- generated: transfer syntaxes


def syntax_table():
    """The table of docs/transfer-syntaxes.md, from fastdcm/uid.py."""
    from fastdcm.uid import TRANSFER_SYNTAXES, UID

    rows = ["| UID | name | headers | pixel data | codec |", "|---|---|---|---|---|"]
    for syntax in TRANSFER_SYNTAXES.values():
        uid = UID(syntax.uid)
        title = uid.name if uid.name != uid else "private, GE"
        if uid.is_retired:
            title += " (retired)"
        headers = "implicit VR" if syntax.implicit else "explicit VR"
        headers += " big endian" if syntax.big_endian else " little endian"
        if syntax.deflated:
            headers += ", deflated"
        pixels = "none"
        if syntax.encapsulated:
            pixels = "encapsulated"
        elif syntax.pixels:
            pixels = "native"
        codec = syntax.pixels or f"none: {syntax.refusal}"
        rows.append(f"| `{uid}` | {title} | {headers} | {pixels} | {codec} |")
    return "\n".join(rows) + "\n"


def test_transfer_syntax_table_is_current():
    assert syntax_table() in SYNTAXES.read_text(encoding="utf-8"), "run python tests/test_docs.py"


def write_syntax_table():
    text = SYNTAXES.read_text(encoding="utf-8")
    SYNTAXES.write_text(
        re.sub(r"(?m)^\| UID (.*\n)(\|.*\n)*", lambda m: syntax_table(), text), encoding="utf-8"
    )


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    write_syntax_table()
