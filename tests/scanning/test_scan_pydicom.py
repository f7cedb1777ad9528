"""scan: every column of every readable file beside pydicom."""

from fastdcm.scanning._batch import Plan
from fastdcm.scanning.scanner import parse_tag, scan


# Why a column may differ from what pydicom gives for the element.
def is_listed(form, lists, elem, got, issues):
    """The reason of a difference, None when there is none."""
    codes = {issue.split("@")[0] for issue in issues or ()}
    if "unknown-vr" in codes or "no-meta" in codes:
        return "group 2 is damaged: pydicom takes other bytes for the value"
    if got is None and "unfit" in codes:
        return "several values, too long or of another kind: null, and an issue"
    if got is None and "bad-number" in codes:
        return "no number: null, and an issue"
    if form == b"u" and elem.VR in ("DS", "IS"):
        return "an unknown private element is text, as it stands in the file"
    if form == b"u" and elem.VR in ("UN", "OB", "OW"):
        return "an unknown private element is text when it looks like text"
    if form == b"z" and elem.VR in ("US", "SS", "IS"):
        return "the dictionary says bytes: so are numbers"
    if form == b"u" and lists and got == [""]:
        return "a blank value of a list is one empty text"
    return None


def as_column(form, lists, elem):
    """An element of pydicom as its column should have it."""
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
    """(name of the column, element), also of first and second items."""
    import pydicom

    for tag in list(ds.keys()):
        try:
            elem = ds[tag]
        except Exception:
            continue  # pydicom cannot
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


def compare_with_pydicom(paths):
    """How many values are equal, and how often each reason holds."""
    import warnings

    import pydicom

    files, names = [], set()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for path in paths:
            found = {}
            try:
                ds = pydicom.dcmread(path)
                for part in (ds.file_meta, ds):
                    found.update(elements_of(part))
            except Exception:
                ds = None
            files.append((path, ds, found))
        for _, _, found in files:
            for name in found.keys() - names:
                try:
                    Plan([parse_tag(name)])
                except ValueError:
                    continue  # pydicom reads it otherwise than the dictionary says
                names.add(name)
        table = scan(paths, sorted(names))
        fields = {name: (form, lists) for name, form, lists in table.plan.fields}
        rows = {name: [] for name in table.column_names}
        for batch in table:
            for name, values in batch.to_pydict().items():
                rows[name] += values
        equal, reasons, wrong = 0, {}, []
        for i, (path, ds, found) in enumerate(files):
            if ds is None:
                continue
            if rows["error"][i] is not None:
                wrong.append((path, rows["error"][i]))
                continue
            for name, elem in found.items():
                if name not in names:
                    continue
                got = rows[name][i]
                try:
                    expected = as_column(*fields[name], elem)
                except Exception:
                    continue  # pydicom cannot
                if got == expected or (got != got and expected != expected):
                    equal += 1
                    continue
                reason = is_listed(*fields[name], elem, got, rows["issues"][i])
                if reason is None:
                    wrong.append((path, name, elem.VR, expected, got, rows["issues"][i]))
                else:
                    reasons[reason] = reasons.get(reason, 0) + 1
    return equal, reasons, wrong


def test_columns_equal_pydicoms(pydicom_files):
    equal, reasons, wrong = compare_with_pydicom(pydicom_files)
    assert not wrong, wrong[:20]
    assert equal > 9000
    assert sum(reasons.values()) < equal / 20, reasons


def test_columns_equal_pydicoms_on_the_corpus(corpus_files):
    equal, reasons, wrong = compare_with_pydicom(corpus_files)
    assert not wrong, wrong[:20]
    assert equal > 20000
    assert sum(reasons.values()) < equal / 20, reasons
