"""A data set as text, one line an element, as returned by ``str(ds)``."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from fastdcm.core._elements import ElementMap


def text_of(ds: ElementMap, items: bool) -> str:
    """Return a data set, with its file meta information, as text.

    Parameters
    ----------
    ds : Dataset
        The data set.
    items : bool
        Whether to include the items of sequences.

    Returns
    -------
    str
    """
    lines: list[str] = []
    meta = getattr(ds, "file_meta", None)
    if meta:
        lines.append(f"{'Dataset.file_meta ':-<49}")
        lines += [str(elem) for elem in meta]
        lines.append("-" * 49)
    _add_level(lines, ds, "", items)
    return "\n".join(lines)


def _add_level(lines: list[str], level: ElementMap, indent: str, items: bool) -> None:
    for elem in level:
        if elem.VR != "SQ":
            lines.append(indent + str(elem))
            continue
        lines.append(f"{indent}{elem.tag}  {elem.name}  {len(elem.value)} item(s) ---- ")
        for item in elem.value if items else ():
            if not item:
                lines.append("")
            _add_level(lines, item, indent + "   ", items)
            lines.append(f"{indent}   ---------")
