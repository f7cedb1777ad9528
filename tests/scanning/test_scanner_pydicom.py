"""Every column of every readable file, compared with pydicom."""

import warnings

from fastdcm.scanning._batch import Plan
from fastdcm.scanning.scanner import scan
from fastdcm.scanning.tags import parse_tag


def difference_reason(form, lists, elem, got, issues):
    """Return why a column may differ from pydicom's value, None for no accepted reason."""
    codes = {issue.split("@")[0] for issue in issues or ()}
    if "unknown-vr" in codes or "no-meta" in codes:
        return "group 2 is damaged: pydicom reads other bytes as the value"
    if got is None and "unfit" in codes:
        return "several values, too long or of another type: null, and an issue"
    if got is None and "bad-number" in codes:
        return "not a number: null, and an issue"
    if form == b"u" and elem.VR in ("DS", "IS"):
        return "an unknown private element is text, as in the file"
    if form == b"u" and elem.VR in ("UN", "OB", "OW"):
        return "an unknown private element is text when it looks like text"
    if form == b"z" and elem.VR in ("US", "SS", "IS"):
        return "bytes according to the dictionary, although the file has numbers"
    if form == b"u" and lists and got == [""]:
        return "a blank value of a list is one empty string"
    return None


def as_column(form, lists, elem):
    """Return the value that the column of an element of pydicom should have."""
    import pydicom

    def plain(v):
        if isinstance(v, (list, pydicom.multival.MultiValue)):
            return [plain(x) for x in v]
        if isinstance(v, pydicom.tag.BaseTag):
            return f"{v:08x}"
        if isinstance(v, (str, pydicom.valuerep.PersonName)):
            return str(v)
        if isinstance(v, float):
            return float(v)
        return int(v) if isinstance(v, int) else v

    v = plain(elem.value)
    if lists:
        v = [] if v in (None, "") else v if isinstance(v, list) else [v]
        return [None if x == "" else x for x in v] if form in (b"l", b"g") else v
    if form in (b"l", b"g"):
        return None if v == "" else v
    if form == b"z":
        return b"" if v is None else v
    if isinstance(v, list):
        return "\\".join(map(str, v))
    return "" if v is None else v if isinstance(v, (str, bytes)) else repr(v)


def elements_of(ds, prefix="", depth=0):
    """Yield (name of the column, element), also of first and second items."""
    import pydicom

    for tag in list(ds.keys()):
        try:
            elem = ds[tag]
        except Exception:
            continue  # pydicom cannot read it
        name = f"({tag.group:04X},{tag.element:04X})"
        if tag.is_private and not tag.is_private_creator:
            creator = ds.get((tag.group, tag.element >> 8))
            creator = str(getattr(creator, "value", "") or "").strip()
            if not creator or tag.element < 0x1000 or ")" in creator:
                continue
            name = f"({tag.group:04X},xx{tag.element & 0xFF:02X},{creator})"
        if elem.VR != "SQ":
            yield prefix + name, elem
        elif depth < 3 and isinstance(elem.value, pydicom.Sequence):
            for i, item in enumerate(elem.value[:2]):
                yield from elements_of(item, f"{prefix}{name}{'[2]' if i else ''}.", depth + 1)


def read_with_pydicom(path):
    """Return {name of the column: element}, None for a file that pydicom cannot read."""
    import pydicom

    found = {}
    try:
        ds = pydicom.dcmread(path)
        for part in (ds.file_meta, ds):
            found.update(elements_of(part))
    except Exception:
        return None
    return found


def scannable(names):
    """Return the names that can be columns, sorted."""
    usable = []
    for name in sorted(names):
        try:
            Plan([parse_tag(name)])
        except ValueError:
            continue  # a sequence in the dictionary, and not in the file, or the reverse
        usable.append(name)
    return usable


def compare_with_pydicom(paths):
    """Return (equal values, {reason: number of accepted differences}, other differences)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        files = [read_with_pydicom(path) for path in paths]
        names = scannable({name for found in files for name in found or ()})
        table = scan(paths, names)
        fields = {name: (form, lists) for name, form, lists in table.fields}
        rows = {name: [] for name in table.column_names}
        for batch in table:
            for name, values in batch.to_pydict().items():
                rows[name] += values
        equal, reasons, wrong = 0, {}, []
        for i, (path, found) in enumerate(zip(paths, files)):
            if found is None:
                continue
            if rows["error"][i] is not None:
                wrong.append((path, rows["error"][i]))
                continue
            for name in found.keys() & set(names):
                elem, got = found[name], rows[name][i]
                try:
                    expected = as_column(*fields[name], elem)
                except Exception:
                    continue  # pydicom cannot read it
                if got == expected or (got != got and expected != expected):
                    equal += 1
                    continue
                reason = difference_reason(*fields[name], elem, got, rows["issues"][i])
                if reason is None:
                    wrong.append((path, name, elem.VR, expected, got, rows["issues"][i]))
                else:
                    reasons[reason] = reasons.get(reason, 0) + 1
    return equal, reasons, wrong


def test_columns_equal_those_of_pydicom(pydicom_files):
    equal, reasons, wrong = compare_with_pydicom(pydicom_files)
    assert not wrong, wrong[:20]
    assert equal > 9000
    assert sum(reasons.values()) < equal / 20, reasons


def test_columns_equal_those_of_pydicom_on_the_corpus(corpus_files):
    equal, reasons, wrong = compare_with_pydicom(corpus_files)
    assert not wrong, wrong[:20]
    assert equal > 20000
    assert sum(reasons.values()) < equal / 20, reasons
