"""The pages of the documentation and the code blocks in them."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
_FENCE = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```$", re.M | re.S)


def blocks(path):
    """(language, text, line number of the first line of text) of each fenced block."""
    text = path.read_text(encoding="utf-8")
    return [(m[1], m[2], text.count("\n", 0, m.start(2))) for m in _FENCE.finditer(text)]


def name(path):
    """The path from the root of the repository."""
    return path.relative_to(ROOT).as_posix()
