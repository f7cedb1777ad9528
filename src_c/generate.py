"""Write the generated tables of the project from pydicom's dictionaries.

    python src_c/generate.py            write src_c/dict_table.h and
                                        fastdcm/_uid_table.py
    python src_c/generate.py --check    write nothing; exit with 1 and the names
                                        of the files that are out of date

It is run at development time and requires exactly the version of pydicom below, so
that it writes the same tables everywhere.
"""

import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

PYDICOM = "3.0.2"
HERE = Path(__file__).resolve().parent
DICT_TABLE = HERE / "dict_table.h"
UID_TABLE = HERE.parent / "fastdcm" / "_uid_table.py"

# UIDs that pydicom does not have, and a private one of GE.
LATER_UIDS = {
    "1.2.840.10008.1.2.4.110": ("JPEG XL Lossless", "Transfer Syntax", "", "", "JPEGXLLossless"),
    "1.2.840.10008.1.2.4.111": (
        "JPEG XL JPEG Recompression",
        "Transfer Syntax",
        "",
        "",
        "JPEGXLJPEGRecompression",
    ),
    "1.2.840.10008.1.2.4.112": ("JPEG XL", "Transfer Syntax", "", "", "JPEGXL"),
    "1.2.840.10008.1.2.8.1": (
        "Deflated Image Frame Compression",
        "Transfer Syntax",
        "",
        "",
        "DeflatedImageFrameCompression",
    ),
    "1.2.840.113619.5.2": (
        "GE Private Implicit VR Little Endian with Big Endian Pixel Data",
        "Transfer Syntax",
        "",
        "",
        "",
    ),
}

# Sizes of the hash tables as powers of two: at most a third of the slots is used.
TAG_BITS = 14
KEYWORD_BITS = 14

# Some C compilers (MSVC) reject string literals of 64 KiB or more, so the pool of
# strings is a struct of several adjacent arrays.
CHUNK = 60000


def c_vr(name: str) -> str:
    """Return the suffix of a VR's enum constant: US_SS for 'US or SS'."""
    return name.replace(" or ", "_")


class Pool:
    """NUL-terminated strings in chunks, each string once."""

    def __init__(self) -> None:
        self.chunks: list[list[bytes]] = [[]]
        self.used = 0  # bytes in the last chunk
        self.base = 0  # offset of the last chunk
        self.offsets: dict[str, int] = {}

    def add(self, text: str) -> int:
        """Return the offset of a string, which is added if it is new."""
        if text not in self.offsets:
            data = text.encode() + b"\0"
            if self.used + len(data) > CHUNK:
                self.base += self.used
                self.used = 0
                self.chunks.append([])
            self.offsets[text] = self.base + self.used
            self.chunks[-1].append(data)
            self.used += len(data)
        return self.offsets[text]

    @staticmethod
    def literal(data: bytes) -> str:
        """Return bytes as the content of a C string literal.

        Octal escapes have three digits, as they would include a digit after them;
        NUL is shortened to "\\0" unless a digit follows.
        """
        text = "".join(chr(b) if 32 <= b < 127 and b not in b'"\\?' else f"\\{b:03o}" for b in data)
        return re.sub(r"\\000(?![0-9])", r"\\0", text)

    def lines(self) -> Iterator[str]:
        """Yield the lines of C that define the pool."""
        yield "static const struct {"
        for i, chunk in enumerate(self.chunks):
            yield f"    char s{i}[{sum(map(len, chunk))}];"
        yield "} pool = {"
        for chunk in self.chunks:
            # The compiler adds the last NUL of the chunk.
            data = b"".join(chunk)[:-1]
            line = b""
            for piece in re.findall(rb"[^\0]*\0?", data):
                if line and len(line) + len(piece) > 64:
                    yield f'    "{self.literal(line)}"'
                    line = b""
                line += piece
            yield f'    "{self.literal(line)}",'
        yield "};"


def fill(rows: Iterable[str], width: int = 78) -> Iterator[str]:
    """Yield lines of items, each followed by a comma."""
    line = ""
    for row in rows:
        if line and len(line) + len(row) + 1 > width:
            yield line
            line = ""
        line += row + ","
    if line:
        yield line


def hash_tag(tag: int, bits: int, factor: int) -> int:
    """Return the slot of a tag, as find_exact in dict.c."""
    return (tag * factor & 0xFFFFFFFF) >> (32 - bits)


def hash_keyword(keyword: str, bits: int) -> int:
    """Return the slot of a keyword, as dcm_dict_tag in dict.c."""
    h = 2166136261
    for byte in keyword.encode():
        h = (h ^ byte) * 16777619 & 0xFFFFFFFF
    return (h ^ h >> 16) & ((1 << bits) - 1)


def place(hashes: Iterable[int | None], bits: int) -> tuple[list[int], int]:
    """Return the slots (row + 1, or 0) of a hash table with linear probing, and the
    number of collisions."""
    slots = [0] * (1 << bits)
    probes = 0
    for row, at in enumerate(hashes):
        if at is None:
            continue
        while slots[at]:
            at = (at + 1) % len(slots)
            probes += 1
        slots[at] = row + 1
    return slots, probes


def best_factor(tags: list[int]) -> int:
    """Return the one of 400 odd multipliers with the fewest collisions."""
    x = 0x9E3779B1
    found = []
    for _ in range(400):
        _, probes = place([hash_tag(t, TAG_BITS, x) for t in tags], TAG_BITS)
        found.append((probes, x))
        x = (x * 0x915F77F5 + 0x3C6EF372) & 0xFFFFFFFF | 1
    return min(found)[1]


def private_key(pattern: str) -> int | None:
    """Return the tag of a private pattern, with zeros for the digits that vary.

    'ggggxxee' and 'ggxxxxee' vary in the block (PS3.5 7.8.1); 'ggggbbee' with a
    block is a single tag. None for patterns that are not private data elements:
    tags with block 00, and 'gggg10xx', which are private creators.
    """
    if re.fullmatch(r"[0-9A-F]{4}xx[0-9A-F]{2}", pattern):
        assert pattern[2:4] != "00", pattern  # would look like 'ggxxxxee'
    elif not re.fullmatch(r"[0-9A-F]{2}xxxx[0-9A-F]{2}|[0-9A-F]{4}(?!00)[0-9A-F]{4}", pattern):
        assert re.fullmatch(r"[0-9A-F]{4}(00[0-9A-F]{2}|10xx)", pattern)
        return None
    return int(pattern.replace("x", "0"), 16)


def dict_table() -> Iterator[str]:
    """Yield the lines of dict_table.h."""
    from pydicom._dicom_dict import DicomDictionary, RepeatersDictionary
    from pydicom._private_dict import private_dictionaries

    pool = Pool()
    pool.add("")
    vms: dict[str, int] = {}

    def row(
        vr: str, vm: str, name: str, key: int, keyword: str | None = None, retired: int = 0
    ) -> str:
        strings = [pool.add(name)]
        if keyword is not None:
            strings.insert(0, pool.add(keyword))
        fields = [f"0x{key:X}", *map(str, strings), c_vr(vr), str(vms.setdefault(vm, len(vms)))]
        if keyword is not None:
            fields.append(str(retired))
        return "{" + ",".join(fields) + "}"

    tags = sorted(DicomDictionary)
    rows = []
    for tag in tags:
        vr, vm, name, retired, keyword = DicomDictionary[tag]
        rows.append(row(vr, vm, name, tag, keyword, int(bool(retired))))

    # Repeaters are sorted by mask, then by tag.
    repeaters: dict[int, dict[int, tuple[str, str, str, str, str]]] = {}
    for pattern, entry in RepeatersDictionary.items():
        mask = int("".join("0" if c == "x" else "F" for c in pattern), 16)
        tag = int(pattern.replace("x", "0"), 16)
        repeaters.setdefault(mask, {})[tag] = entry
    masks = []
    for mask, entries in sorted(repeaters.items(), reverse=True):
        masks.append(f"{{0x{mask:08X},{len(rows)},{len(rows) + len(entries)}}}")
        for tag, (vr, vm, name, retired, keyword) in sorted(entries.items()):
            rows.append(row(vr, vm, name, tag, keyword, int(bool(retired))))

    creators: list[str] = []
    private: list[str] = []
    for creator in sorted(private_dictionaries, key=str.encode):
        entries = {}
        for pattern, entry in private_dictionaries[creator].items():
            key = private_key(pattern)
            if key is not None:
                assert key not in entries, (creator, pattern)
                entries[key] = entry
        if entries:
            creators.append(f"{{{pool.add(creator)},{len(private)},{len(private) + len(entries)}}}")
            for key, (vr, vm, name, retired) in sorted(entries.items()):
                assert not retired
                private.append(row(vr, vm, name, key))

    factor = best_factor(tags)
    tag_slots, _ = place([hash_tag(t, TAG_BITS, factor) for t in tags], TAG_BITS)
    keywords = [DicomDictionary[t][4] for t in tags]
    keyword_slots, _ = place(
        [hash_keyword(k, KEYWORD_BITS) if k else None for k in keywords], KEYWORD_BITS
    )
    names = sorted({re.search(r",([A-Z][A-Z_]+),", r)[1] for r in rows + private})

    yield f"""/* dict_table.h: the data dictionary of PS3.6 with the command elements of PS3.7, and
 * private elements documented by vendors. Included by dict.c only.
 *
 * Generated by src_c/generate.py from pydicom {PYDICOM} (_dicom_dict.py,
 * _private_dict.py); do not edit. */
#define TAG_BITS {TAG_BITS}
#define TAG_FACTOR 0x{factor:08X}u
#define KEYWORD_BITS {KEYWORD_BITS}
#define N_ROWS {len(tags)} /* then {len(rows) - len(tags)} repeaters */
"""
    yield "enum {"
    yield from fill(f"{n} = DCM_VR_{n}" for n in names)
    yield "};"
    yield "/* Strings in UTF-8, each terminated by NUL. */"
    yield from pool.lines()
    yield "static const char *const vms[] = {"
    yield from fill(f'"{vm}"' for vm in vms)
    yield "};"
    yield "/* Tag, keyword, name, VR, VM, retired: sorted by tag; then the repeaters. */"
    yield "static const public_row public_rows[] = {"
    yield from fill(rows)
    yield "};"
    yield "/* Mask of the fixed bits of a repeater's tag, its first row, the end of its rows. */"
    yield "static const repeater repeaters[] = {"
    yield from fill(masks)
    yield "};"
    yield "/* Row + 1 by hash of the tag, 0 if empty. */"
    yield "static const uint16_t tag_slots[] = {"
    yield from fill(map(str, tag_slots))
    yield "};"
    yield "/* Row + 1 by hash of the keyword, 0 if empty. */"
    yield "static const uint16_t keyword_slots[] = {"
    yield from fill(map(str, keyword_slots))
    yield "};"
    yield "/* Name, first private row, end of its rows: sorted by name. */"
    yield "static const creator_row creators[] = {"
    yield from fill(creators)
    yield "};"
    yield "/* Tag without the varying digits, name, VR, VM: sorted by creator, then by tag. */"
    yield "static const private_row private_rows[] = {"
    yield from fill(private)
    yield "};"


def uid_table() -> Iterator[str]:
    """Yield the lines of _uid_table.py."""
    from pydicom._uid_dict import UID_dictionary

    assert not LATER_UIDS.keys() & UID_dictionary.keys()
    yield f'''"""The UIDs registered in PS3.6 Annex A.

Generated by src_c/generate.py from pydicom {PYDICOM} (_uid_dict.py) and a few
rows of its own; do not edit.
"""

# UID: (name, type, info, "Retired" or "", keyword)
UIDS = {{'''
    for uid, entry in (UID_dictionary | LATER_UIDS).items():
        yield f"    {uid!r}: {entry!r},"
    yield "}"


def main(args: list[str]) -> None:
    """Write the tables, or check them."""
    from pydicom import __version__

    if __version__ != PYDICOM:
        sys.exit(f"pydicom must be version {PYDICOM}, got {__version__}")
    stale = []
    for path, lines in ((DICT_TABLE, dict_table()), (UID_TABLE, uid_table())):
        text = "\n".join(lines) + "\n"
        if args == ["--check"]:
            if not path.exists() or path.read_text(encoding="utf-8") != text:
                stale.append(path.name)
        else:
            path.write_text(text, encoding="utf-8", newline="\n")
    if stale:
        sys.exit("out of date, run src_c/generate.py: " + ", ".join(stale))


if __name__ == "__main__":
    main(sys.argv[1:])
