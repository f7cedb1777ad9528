"""The rules of the house (docs/architecture.md), checked on the source tree."""

import ast
import functools
import graphlib
import importlib
import inspect
import os
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "fastdcm"
C_FILES = sorted((ROOT / "src_c").glob("*.c"))
SOURCES = sorted(
    path
    for folder in ("fastdcm", "src_c", "benches", "tests")
    for pattern in ("*.py", "*.pyx", "*.pxd", "*.pyi", "*.c", "*.h")
    for path in (ROOT / folder).rglob(pattern)
)
GENERATED = {"dict_table.h", "_uid_table.py"}

# large, or with threads behind it, so a function may import it when first asked
LATE = {
    "_uid_table",
    "sources.objects.source",
    "sources.archives.lookup",
    "scanning.scanner",
    "scanning.index.manifest",
    "volume.volume",
    "ml.datasets",
}

# Each file uses only what stands before it.
C_ORDER = [
    "error",
    "arena",
    "vr",
    "dict",
    "pixel",
    "rle",
    "codestream",
    "file",
    "walk",
    "header",
    "value",
    "csa",
    "encode",
    "index",
    "part10",
    "frames",
    "batch",
    "column",
    "columns",
]
# Each module imports only modules that stand before it (docs/architecture.md).
PYTHON_ORDER = """
errors _uid_table uid charset
_util.atomic _util.parallel
core.dcm core._memory core._dictionary core._file core._values core._elements core._flat core._encode
sources._paths
sources.archives.limits sources.archives.zip sources.archives.tar sources.archives.lookup
sources.objects.stores sources.objects._object sources.objects.source
sources.resolve
pixels._kernels pixels._codestream pixels._frame_table pixels.decoders pixels.frames pixels.lookup_table
pixels.grayscale pixels.color pixels.overlay pixels
formats.pydicom
writer dataset reader
scanning._batch scanning.hashes scanning._worker scanning.output
scanning.index.manifest scanning.index.file_list scanning.open_source scanning.index.build scanning.index.update
scanning.scanner
volume._csa volume.siemens volume.slices volume.sorting volume.volume
ml.samples ml.batches ml.shared ml.datasets ml ml.monai ml.torchio ml.webdataset
distributed.pieces distributed.images distributed.ray distributed.dask
__init__
cli cli._shared cli._picture cli.dump cli.image cli.query cli.scan cli.sheet cli.summary
""".split()
EMPTY = (
    "_util",
    "core",
    "sources",
    "sources.archives",
    "sources.objects",
    "formats",
    "scanning",
    "scanning.index",
    "volume",
    "distributed",
)
# Which files alone may call what. (value.c gives strtod digits and exponent
# without a decimal point, so that the locale has no say.)
ALONE = {
    ("arena",): "malloc calloc realloc free strdup strndup aligned_alloc posix_memalign",
    ("file",): "open open64 fopen fopen64 pread pread64 read close mmap mmap64 munmap "
    "posix_fadvise posix_fadvise64",
    ("walk",): "opendir fdopendir readdir readdir64 closedir scandir",
    ("file", "walk"): "openat openat64 fstat fstat64 fstatat fstatat64 stat stat64 lstat lstat64",
    ("value",): "strtod",
    (): "printf fprintf vfprintf snprintf sprintf puts fputs fwrite perror exit abort _exit "
    "setlocale strtol strtoul atoi atof getenv pthread_create",
}


def name(path):
    return path.relative_to(ROOT).as_posix()


def strip_c(text):
    """C without comments and text in quotes."""
    return re.sub(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"', " ", text, flags=re.S)


# ------------------------------------------------------------- the C core ---


@pytest.fixture(scope="module")
def symbols(tmp_path_factory):
    """{file: (defined {symbol: type}, undefined set)} as nm tells."""
    nm, cc = shutil.which("nm"), shlex.split(os.environ.get("CC", "cc"))
    if sys.platform != "linux" or nm is None:
        pytest.skip("reads object files with nm of Linux")
    found = {}
    for source in C_FILES:
        target = tmp_path_factory.mktemp("nm") / "x.o"
        # -fno-pic keeps constant tables of pointers in read-only sections.
        subprocess.run([*cc, "-std=c11", "-O1", "-fno-pic", "-c", source, "-o", target], check=True)
        defined, undefined = {}, set()
        for line in subprocess.run(
            [nm, target], check=True, capture_output=True, text=True
        ).stdout.splitlines():
            kind, symbol = line.split()[-2:]
            if kind in "Uw":
                undefined.add(symbol)
            else:
                defined[symbol] = kind
        found[source.stem] = defined, undefined
    return found


def test_c_files_are_known():
    assert {path.stem for path in C_FILES} <= set(C_ORDER)
    setup = (ROOT / "setup.py").read_text()
    for path in C_FILES:
        assert f'"{path.stem}"' in setup, f"setup.py does not build {path.name}"


def test_c_calls_run_down(symbols):
    home = {
        s: stem
        for stem, (defined, _) in symbols.items()
        for s, kind in defined.items()
        if kind.isupper()
    }
    wrong = [
        f"{stem}.c uses {symbol} of {home[symbol]}.c"
        for stem, (_, undefined) in symbols.items()
        for symbol in undefined
        if symbol in home and C_ORDER.index(home[symbol]) >= C_ORDER.index(stem)
    ]
    assert not wrong, wrong


def test_c_public_names(symbols):
    wrong = [
        f"{stem}.c exports {symbol}"
        for stem, (defined, _) in symbols.items()
        for symbol, kind in defined.items()
        if kind.isupper() and not symbol.startswith("dcm_")
    ]
    assert not wrong, wrong


def test_c_keeps_no_state(symbols):
    wrong = [
        f"{stem}.c: {symbol} can change"
        for stem, (defined, _) in symbols.items()
        for symbol, kind in defined.items()
        if kind in "bBdDC"
    ]
    assert not wrong, wrong


def test_c_calls_to_the_system(symbols):
    wrong = [
        f"{stem}.c calls {symbol}, which is for {owners}"
        for stem, (_, undefined) in symbols.items()
        for owners, calls in ALONE.items()
        for symbol in undefined & set(calls.split())
        if stem not in owners
    ]
    assert not wrong, wrong


@pytest.mark.parametrize("path", C_FILES + sorted((ROOT / "src_c").glob("*.h")), ids=name)
def test_c_text(path):
    """What nm cannot see: includes, and the branches for Windows."""
    text = path.read_text()
    assert not re.search(r"Python\.h|PyObject", text)
    for included in re.findall(r'#\s*include\s*"([^"]+)"', text):
        assert (ROOT / "src_c" / included).is_file()
    code = strip_c(text)
    for calls, owners in (
        ("MapViewOfFile|ReadFile", ["file"]),
        (r"CreateFile\w*", ["file", "walk"]),
        (r"FindFirstFile\w*", ["walk"]),
        ("HeapAlloc|VirtualAlloc", ["arena"]),
    ):
        if path.stem not in owners:
            assert not re.search(rf"\b(?:{calls})\s*\(", code)


# -------------------------------------------------------- the Python face ---


def python_files():
    return sorted(p for pattern in ("*.py", "*.pyx") for p in PACKAGE.rglob(pattern))


def module_of(path):
    """fastdcm/cli/scan.py is "cli.scan", fastdcm/__init__.py is "__init__"."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)


@functools.cache
def modules():
    return {module_of(path): path for path in python_files()}


def resolve(here, dots, target, names):
    """Modules of the package that one import statement brings in."""
    if dots:
        package = ["fastdcm", *module_of(here).split(".")]
        if here.stem != "__init__":
            package = package[:-1]
        elif package == ["fastdcm", "__init__"]:
            package = ["fastdcm"]
        base = package[: len(package) - dots + 1] + (target.split(".") if target else [])
    else:
        base = target.split(".")
    if base[0] != "fastdcm":
        return
    inside = ".".join(base[1:])
    below = [".".join([*base[1:], n]) for n in names]
    found = [m for m in below if m in modules() or m in ("core.dcm", "core._memory")]
    if found:
        yield from found
    if len(found) < len(names) or not names:
        yield inside or "__init__"


def imports(path):
    """(line, late, module of the package) for each import; late: in a function."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".pyx":
        text = re.sub(r"\\\n", " ", text)
        form = r"^([ \t]*)(?:from\s+(\.*)([\w.]*)\s+c?import\s+(\([^)]*\)|[^\n#]*)|c?import\s+([\w., ]+))"
        for m in re.finditer(form, text, flags=re.M):
            indent, dots, target, names, plain = m.groups()
            names = [
                n.split()[0]
                for n in (names or "").strip("()").replace("\n", " ").split(",")
                if n.strip()
            ]
            for part in (plain or target or ".").split(","):
                part = part.split()[0] if part.strip() else ""
                for module in resolve(path, len(dots or ""), part.strip("."), names):
                    yield text[: m.start()].count("\n") + 1, bool(indent), module
        return
    late = set()
    tree = ast.parse(text)
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            late.update(map(id, ast.walk(node)))
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            found = resolve(path, node.level, node.module or "", [n.name for n in node.names])
        elif isinstance(node, ast.Import):
            found = [m for n in node.names for m in resolve(path, 0, n.name, [])]
        else:
            continue
        for module in found:
            yield node.lineno, id(node) in late, module


def test_the_import_reader_reads():
    """The checks below see nothing unless imports are found."""
    assert {"core._elements"} <= {m for _, _, m in imports(modules()["dataset"])}
    assert {"core._file"} <= {m for _, _, m in imports(modules()["core._elements"])}
    assert {"core.dcm"} <= {m for _, _, m in imports(modules()["core._file"])}


def test_python_files_are_known():
    assert {m for m in modules()} == set(PYTHON_ORDER) - {"core.dcm", "core._memory"} | set(EMPTY)


@pytest.mark.parametrize("module", EMPTY)
def test_packages_without_code(module):
    assert [type(node) for node in ast.parse(modules()[module].read_text()).body] == [ast.Expr]


@pytest.mark.parametrize("path", [p for p in python_files() if module_of(p) not in EMPTY], ids=name)
def test_python_imports_point_down(path):
    here = module_of(path)
    for line, late, module in imports(path):
        if module != here and module not in EMPTY:
            assert PYTHON_ORDER.index(module) < PYTHON_ORDER.index(here), (
                f"{name(path)}:{line} imports {module}"
            )
            assert not late or module in LATE, f"{name(path)}:{line} imports {module} in a function"


def test_no_import_circle():
    graph = {
        m: {t for _, _, t in imports(p) if t in modules() and t != m} for m, p in modules().items()
    }
    graphlib.TopologicalSorter(graph).prepare()


def test_module_names_are_not_public_names():
    import fastdcm

    for module in set(modules()) - {"__init__"}:
        if hasattr(fastdcm, module):
            assert inspect.ismodule(getattr(fastdcm, module)), (
                f"{module} is a module and a public name"
            )


def test_import_is_light():
    """Without site-packages: the core needs none of it to be imported."""
    import fastdcm

    program = (
        "import sys; sys.path.append(sys.argv[1]); import fastdcm; "
        "heavy = 'numpy dataclasses typing pathlib pydicom pyarrow click rich'.split(); "
        "print(*sorted(set(heavy) & set(sys.modules)))"
    )
    home = str(Path(fastdcm.__path__[0]).resolve().parent)
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", program, home], capture_output=True, text=True
    )
    assert (done.returncode, done.stdout.strip()) == (0, ""), done.stderr


# ------------------------------------------------------------- all files ---


@pytest.mark.parametrize("path", [p for p in SOURCES if p.name not in GENERATED], ids=name)
def test_length(path):
    lines = path.read_text(encoding="utf-8").splitlines()
    reason = "800 lines" in "\n".join(lines[:30])
    assert len(lines) <= 800 or reason, f"{len(lines)} lines and no reason at the head"


@pytest.mark.parametrize("path", [p for p in SOURCES if p.stem.startswith("generate")], ids=name)
def test_generated_tables_are_fresh(path):
    done = subprocess.run([sys.executable, path, "--check"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


# ----------------------------------------------------------------- stubs ---


def public_names(nodes):
    """{name: parameters of a function, names inside a class, or None}."""
    found = {}
    for node in nodes:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            a = node.args
            found[node.name] = [x.arg for x in a.posonlyargs + a.args + a.kwonlyargs]
        elif isinstance(node, ast.ClassDef):
            found[node.name] = public_names(node.body)
        elif isinstance(node, ast.AnnAssign):
            found[node.target.id] = None
        elif isinstance(node, ast.Assign):
            found[node.targets[0].id] = None
    return {k: v for k, v in found.items() if not k.startswith("_")}


def same_parameters(stub, thing, where):
    try:
        parameters = inspect.signature(thing).parameters.values()
    except (TypeError, ValueError):
        return
    real = [p.name for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    assert real == stub, f"{where}{tuple(real)}, the stub says {tuple(stub)}"


def extension_modules():
    return [module_of(path) for path in sorted(PACKAGE.rglob("*.pyx"))]


@pytest.mark.parametrize("module", extension_modules())
def test_stub_equals_module(module):
    stub_file = modules()[module].with_suffix(".pyi")
    assert stub_file.is_file(), f"{name(stub_file)} is missing"
    stub = public_names(ast.parse(stub_file.read_text()).body)
    real = importlib.import_module(f"fastdcm.{module}")
    assert real.__file__.endswith(tuple(sysconfig.get_config_vars("EXT_SUFFIX")))
    own = {
        k
        for k, v in vars(real).items()
        if not k.startswith("_")
        and not inspect.ismodule(v)
        and getattr(v, "__module__", real.__name__) == real.__name__
    }
    assert own == set(stub)
    for key, told in stub.items():
        thing = getattr(real, key)
        if isinstance(told, dict):
            members = {k for k in vars(thing) if not k.startswith("_")}
            assert members == set(told), f"{module}.{key}"
            for member, parameters in told.items():
                if callable(getattr(thing, member)) and parameters is not None:
                    same_parameters(parameters, getattr(thing, member), f"{module}.{key}.{member}")
        elif told is not None:
            same_parameters(told, thing, f"{module}.{key}")


# ------------------------------------------------------------------ docs ---

DOCS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


def code_names():
    """Every code of error.c: "truncated-value" ..."""
    found = re.findall(r'\{\s*"([a-z-]+)"\s*,', (ROOT / "src_c" / "error.c").read_text())
    assert len(found) > 30
    return [code for code in found if code not in ("ok", "need", "unknown")]


def test_errors_document_lists_every_code():
    text = (ROOT / "docs" / "errors.md").read_text()
    told = set(re.findall(r"^\|\s*`([a-z-]+)`", text, flags=re.M))
    assert told == set(code_names())


def verbs():
    from fastdcm import cli

    return set(cli.main.list_commands(None))


def test_documents_tell_every_verb():
    """In code, at the start of a line or after a pipe."""
    text = "\n".join(path.read_text(encoding="utf-8") for path in DOCS)
    code = re.findall(r"^```.*?^```|`[^`\n]+`", text, flags=re.M | re.S)
    told = {
        verb
        for part in code
        for verb in re.findall(r"(?:^|`|\|)\s*(?:\$ )?(?:\S*/)?fastdcm ([a-z]+)", part, flags=re.M)
    }
    assert told == verbs()


@pytest.mark.parametrize("path", [*DOCS, *SOURCES], ids=name)
def test_no_hint_to_the_stranger(path):
    """The index holds a stranger's package named as our import is."""
    text = path.read_text(encoding="utf-8")
    assert not re.search(r"pip3? install[^\n]*\bfastdcm(?!-dicom)\b", text)
