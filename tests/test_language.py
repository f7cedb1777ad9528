"""Text of the project avoids words that a reader would stop at.

Checked are Markdown pages, comments, docstrings, messages, names of tests, and
identifiers, in all files that people write. Text in backticks is code and is not
checked. A word with a legitimate use is an exception below, with its reason.
"""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

# What is searched for: what to write instead.
PHRASES = {
    r"house|rooms?|guests?": "package, optional package",
    r"floors?": "layer; only the lower bound of the benchmarks is a floor program",
    r"neighbours?": "next, adjacent",
    r"manners": "API, behavior",
    r"stands?|standing|stood": "is, is stored, is at",
    r"tells?|told|telling": "gives, declares, reports, determines",
    r"honest\w*": "plausible, valid",
    r"lies?|lying": "is wrong, is inconsistent; is, is in",
    r"(?:go|goes|going|gone|went) on": "continue, resume",
    r"be had": "be read, be fetched",
    r"asks?|asked|asking": "request",
    r"whoever": "the caller",
    r"made otherwise": "created with other parameters",
    r"in (?:its|their) turn": "one after another",
    r"at hand|so many|to and fr[o]": "plain words",
    r"nobody": "no code, no one",
    r"beyond": "above, outside, more than",
    r"knows": "has, stores",
    r"(?:comes?|came) of": "results from",
    r"(?:brings?|bringing|brought)\b[^.]{0,40}\bup to date": "update",
    r"way out": "what to do",
    r"cuts?|cutting": "truncate, crop, split, shorten",
    r"reckon\w*": "estimate, compute",
    # British spelling
    r"\w*colou?rs?(?<!color)(?<!colors)": "color",
    r"\w*coloured|\w*colouring": "colored, coloring",
    r"grey\w*": "gray, grayscale",
    r"centres?|centred": "center",
    r"licences?": "license",
    r"(?:behavi|hon|fav|neighb|lab|harb)our\w*": "-or",
    r"(?:synchroni|organi|recogni|normali|optimi|initiali|seriali)s(?:e|ed|es|ing|ation)": "-ize",
    r"(?:minimi|maximi|utili|summari|categori|standardi|speciali)s(?:e|ed|es|ing|ation)": "-ize",
    r"(?:generali|reali|authori|tokeni|capitali)s(?:e|ed|es|ing|ation)": "-ize",
    r"analys(?:e|ed|ing)": "analyze",
    r"(?:label|cancel|model|travel|signal|total)l(?:ed|ing)": "one l",
    r"catalogues?|artefacts?|programmes?|learnt|whilst": "American spelling",
}
BANNED = re.compile(
    "|".join(rf"(?P<p{i}>\b(?:{phrase})\b)" for i, phrase in enumerate(PHRASES)), re.I
)
# Parts of identifiers that must not be used.
NAMES = {
    *("told", "tells", "honest", "lies", "nobody", "house", "guest", "guests"),
    *("colour", "colours", "grey", "greyscale", "centre", "centres"),
    *("neighbour", "neighbours", "behaviour", "licence"),
}
# (files, text, reason): not reported where the text is found.
EXCEPTIONS = (
    ("*", r"floor program|floor division|floor\(", "the program benches/floor.c; arithmetic"),
    ("benches/*", r"floors?", "the lower bound that times are compared with"),
    ("*", r"tell\(\)|seek and tell|tell; \{\}", "a method of files"),
    ("*", r"stands? for", "an idiom of plain English"),
    ("tests/conftest.py", r"nobody", "a user of Unix"),
)
GENERATED = {"dict_table.h", "_uid_table.py", "_keywords.pyi", "test_language.py"}
PYTHON = {".py", ".pyx", ".pxd", ".pyi"}
C = {".c", ".h"}
CONFIGURATION = {".toml", ".yml", ".yaml"}
HASH = {".sh", ".cfg"}

_PYTHON_TEXT = re.compile(
    r"(?P<comment>\#[^\n]*)"
    r"|[rRbBuUfF]{0,2}(?P<quote>\"\"\"|''')(?P<long>(?:\\.|.)*?)(?P=quote)"
    r"|[rRbBuUfF]{0,2}\"(?P<double>(?:\\.|[^\"\\\n])*)\""
    r"|[rRbBuUfF]{0,2}'(?P<single>(?:\\.|[^'\\\n])*)'",
    re.S,
)
_C_TEXT = re.compile(
    r"(?P<comment>/\*.*?\*/|//[^\n]*)|\"(?P<double>(?:\\.|[^\"\\\n])*)\"|'(?:\\.|[^'\\\n])'", re.S
)


def written_files():
    """Every file that people write text in."""
    found = [*ROOT.glob("*.md"), ROOT / "Makefile", *ROOT.glob("*.py"), *ROOT.glob("*.toml")]
    found += ROOT.glob("*.yml")
    for folder in ("fastdcm", "src_c", "tests", "benches", "docs", "examples", ".github"):
        found += (ROOT / folder).rglob("*")
    found += (ROOT / ".ci").glob("*")
    kinds = PYTHON | C | CONFIGURATION | HASH | {".md"}
    return sorted(
        path
        for path in set(found)
        if (path.suffix in kinds or path.name == "Makefile" or path.parent.name == ".ci")
        and path.is_file()
        and path.name not in GENERATED
        and not (path.suffix == ".c" and name(path).startswith("fastdcm/"))  # from Cython
    )


def name(path):
    return path.relative_to(ROOT).as_posix()


def markdown_text(text):
    """(line, text) of a page; of code blocks only the comments."""
    fenced = False
    for line, part in enumerate(text.splitlines(), 1):
        if part.startswith("```"):
            fenced = not fenced and part.strip("`") != "text"
        elif not fenced:
            yield line, part
        elif "# " in part:
            yield line, part.partition("# ")[2]


def source_text(text, pattern, strings):
    """(line, text) of comments and docstrings, with `strings` of messages too."""
    for m in pattern.finditer(text):
        groups = m.groupdict()
        found = groups["comment"] or groups.get("long")
        if found is None and strings:
            found = groups["double"] or groups.get("single")
            if found is not None and " " not in found.strip():
                found = None  # not a sentence
        if found:
            line = text.count("\n", 0, m.start()) + 1
            for offset, part in enumerate(re.sub(r"\{[^{}\n]*\}", "{}", found).splitlines()):
                yield line + offset, part


def prose(path):
    """(line, text) of everything in a file that is read as text."""
    text = path.read_text(encoding="utf-8")
    is_test = name(path).startswith("tests/")
    if path.suffix == ".md":
        yield from markdown_text(text)
    elif path.suffix in PYTHON:
        yield from source_text(text, _PYTHON_TEXT, not is_test)
        for m in re.finditer(r"^ *def (test_\w+)", text, flags=re.M):
            yield text.count("\n", 0, m.start()) + 1, m[1].replace("_", " ")
    elif path.suffix in C:
        yield from source_text(text, _C_TEXT, not is_test)
    elif path.suffix in CONFIGURATION:
        yield from enumerate(text.splitlines(), 1)
    else:
        for line, part in enumerate(text.splitlines(), 1):
            if "#" in part:
                yield line, part.partition("#")[2]


def identifiers(path):
    """(line, name) of each identifier in the code of a file."""
    if path.suffix not in PYTHON | C:
        return
    pattern = _PYTHON_TEXT if path.suffix in PYTHON else _C_TEXT
    text = path.read_text(encoding="utf-8")
    code = pattern.sub(lambda m: "\n" * m[0].count("\n"), text)
    for line, part in enumerate(code.splitlines(), 1):
        for word in re.findall(r"[A-Za-z_]\w*", part):
            if not word.startswith("test_"):  # their words are prose
                yield line, word


def problems(path):
    """What is wrong in a file, a line of text for each."""
    found = []
    excepted = [
        re.compile(text, re.I) for files, text, _ in EXCEPTIONS if Path(name(path)).match(files)
    ]
    before = 0, ""
    for line, text in prose(path):
        text = re.sub(r"``[^`]*``|`[^`]*`", "``", text)
        for pattern in excepted:
            text = pattern.sub("", text)
        # A phrase may continue on the next line.
        start = len(before[1]) + 1 if before[0] == line - 1 else 0
        text = f"{before[1]} {text}" if start else text
        before = line, text[start:]
        for m in BANNED.finditer(text):
            if m.end() <= start:
                continue  # reported with the line before
            instead = list(PHRASES.values())[int(m.lastgroup[1:])]
            found.append(f"{name(path)}:{line}: {m[0]!r}: write {instead}: {text.strip()}")
    for line, word in identifiers(path):
        parts = set(re.sub(r"(?<=[a-z])(?=[A-Z])", "_", word).lower().split("_"))
        if parts & NAMES:
            found.append(f"{name(path)}:{line}: the name {word}")
    return found


@pytest.mark.parametrize("path", written_files(), ids=name)
def test_plain_language(path):
    found = problems(path)
    assert not found, "\n".join(found)


def test_the_check_finds_words(tmp_path, monkeypatch):
    monkeypatch.setattr(f"{__name__}.ROOT", tmp_path)
    page = tmp_path / "page.md"
    page.write_text("It stands there.\nThe `whole` file.\n```sh\nasked # it tells\n```\n")
    assert [p.split(": ")[1] for p in problems(page)] == ["'stands'", "'tells'"]
    module = tmp_path / "module.py"
    module.write_text(
        '"""A house\nof colours."""\nx = "grey"\ny = f"it is grey: {told}"\n# understand\n'
        "told = 1\n"
    )
    assert [p.split(":")[1] for p in problems(module)] == ["1", "2", "4", "6"]
    source = tmp_path / "source.c"
    source.write_text('/* honest */ int lies; char *s = "a guest value"; // the end\n')
    assert len(problems(source)) == 3
    page.write_text("It can be\nhad. He goes\non.\n```text\nthe house\n```\n")
    assert len(problems(page)) == 3
    settings = tmp_path / "settings.toml"
    settings.write_text('description = "An honest reader"\n')
    assert len(problems(settings)) == 1
    for text in ("neighborhood", "standard", "color", "executes", "mask", "floor program"):
        page.write_text(text)
        assert problems(page) == []
