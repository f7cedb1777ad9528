"""Check the rules of docs/architecture.md on the source tree."""

import ast
import graphlib
import importlib
import inspect
import itertools
import os
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from support.imports import Package, wrong_imports

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "fastdcm"
MODULES = Package(PACKAGE)
C_FILES = sorted((ROOT / "src_c").glob("*.c"))
SOURCES = sorted(
    path
    for folder in ("fastdcm", "src_c", "benches", "examples", "tests")
    for pattern in ("*.py", "*.pyx", "*.pxd", "*.pyi", "*.c", "*.h")
    for path in (ROOT / folder).rglob(pattern)
)
GENERATED = {"dict_table.h", "_keywords.pyi", "_uid_table.py"}

# Modules that a function may import when it is first called: they are large, load a large
# package or start threads.
LATE = {
    "_uid_table",
    "sources.objects.source",
    "sources.archives.lookup",
    "scanning.scanner",
    "scanning.index.folder",
    "volume.volume",
    "volume.series",
    "ml.datasets",
    "ml.iterable",
    "ml.patches",
}

# Each file uses only files that come before it.
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
    "date",
    "csa",
    "encode",
    "index",
    "part10",
    "frames",
    "native",
    "column",
    "columns",
]
# Each module imports only modules that come before it; a package is one block of the list
# (docs/architecture.md).
PYTHON_ORDER = """
errors _uid_table uid charset
_util.atomic _util.optional _util.parallel
core.dcm core._memory core.protocols core.file_objects core._dictionary core._file core._index
core._values core._elements core._level core._flat core._encode core._copy core.private
sources.urls sources.numbers sources._paths sources.protocols sources.streams
sources.archives.limits sources.archives.files sources.archives.zip sources.archives.tar
sources.objects._ranges sources.objects.stores sources.objects._object
sources.archives.lookup sources.objects.source
sources.paths sources.path_tables sources.resolve
pixels.protocols pixels._kernels pixels._codestream pixels._frame_table
pixels.layout pixels.decoders pixels.video pixels.frames
pixels.lookup_table pixels.functional_groups pixels.grayscale pixels.color pixels.overlay pixels
formats.pydicom formats.text formats.waveform
decoded_data writer dataset reader
dicomdir.reader
scanning._batch scanning.hashes scanning.tags scanning.protocols scanning._worker scanning.workers
scanning.output scanning.dataframes
scanning.index.entries scanning.index.manifest scanning.index.folder scanning.open_source
scanning.index.file_list
scanning.index.parts scanning.index.build scanning.index.diff scanning.index.update
scanning.scanner
volume._csa volume.siemens volume.mosaics volume.slices volume.separation volume.sorting
volume.values.times volume.values.coordinates volume.values.colors volume.values.quantities
volume.values.diffusion volume.values.projections volume.dimensions volume.array
volume.grids.resample volume.grids.segmentation
volume.exports.protocols volume.exports.libraries volume.exports.nifti
volume.result volume.volume volume.series
volume
ml.columns ml.labels ml.tables ml.samples ml.batches ml.buffers ml.datasets ml.iterable ml.patches
ml
ml.monai ml.torchio ml.webdataset
distributed.partitions distributed.images distributed.ray distributed.dask
__init__
cli._output cli cli._shared cli._picture cli.dump cli.image cli.nifti cli.query cli.scan
cli.sheet cli.summary __main__
""".split()
# Packages whose __init__.py has no code.
EMPTY = (
    "_util",
    "core",
    "sources",
    "sources.archives",
    "sources.objects",
    "formats",
    "dicomdir",
    "scanning",
    "scanning.index",
    "volume.values",
    "volume.grids",
    "volume.exports",
    "distributed",
)
# {files: functions of the system that only these files may call}. (value.c calls strtod
# without a decimal point, so that the locale has no influence.)
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
    """{file: ({defined symbol: type}, undefined symbols)}, read with nm."""
    nm, cc = shutil.which("nm"), shlex.split(os.environ.get("CC", "cc"))
    if sys.platform != "linux" or nm is None:
        pytest.skip("needs nm on Linux")
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


def test_every_c_file_has_a_position():
    assert {path.stem for path in C_FILES} == set(C_ORDER)


def test_c_files_call_only_files_below_them(symbols):
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


def test_exported_c_names_have_the_prefix(symbols):
    wrong = [
        f"{stem}.c exports {symbol}"
        for stem, (defined, _) in symbols.items()
        for symbol, kind in defined.items()
        if kind.isupper() and not symbol.startswith("dcm_")
    ]
    assert not wrong, wrong


def test_c_has_no_global_variables(symbols):
    wrong = [
        f"{stem}.c: {symbol} can be modified"
        for stem, (defined, _) in symbols.items()
        for symbol, kind in defined.items()
        if kind in "bBdDC"
    ]
    assert not wrong, wrong


def test_only_their_owners_call_the_system(symbols):
    wrong = [
        f"{stem}.c calls {symbol}, reserved for {owners}"
        for stem, (_, undefined) in symbols.items()
        for owners, calls in ALONE.items()
        for symbol in undefined & set(calls.split())
        if stem not in owners
    ]
    assert not wrong, wrong


@pytest.mark.parametrize("path", C_FILES + sorted((ROOT / "src_c").glob("*.h")), ids=name)
def test_c_text(path):
    """Check what nm cannot see: includes, and the code for Windows."""
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


# -------------------------------------------------------- Python packages ---


def test_every_module_has_a_position():
    assert set(MODULES.modules) == set(PYTHON_ORDER) | set(EMPTY)
    assert set(PYTHON_ORDER) >= LATE


@pytest.mark.parametrize("module", EMPTY)
def test_packages_without_code(module):
    assert [type(node) for node in ast.parse(MODULES.modules[module].read_text()).body] == [
        ast.Expr
    ]


def test_imports_point_down():
    assert wrong_imports(MODULES, PYTHON_ORDER, LATE, EMPTY) == []


def test_packages_point_down():
    """Each package is one block of the list, so the rule for modules holds for packages."""
    blocks = [name for name, _ in itertools.groupby(m.partition(".")[0] for m in PYTHON_ORDER)]
    assert len(blocks) == len(set(blocks)), "a package is split by another one"


def test_c_is_declared_once():
    """Only core/dcm.pxd declares what the headers of src_c contain."""
    found = {
        path.relative_to(PACKAGE).as_posix()
        for path in [*PACKAGE.rglob("*.pxd"), *PACKAGE.rglob("*.pyx")]
        if re.search(r'cdef extern from "dcm', path.read_text(encoding="utf-8"))
    }
    assert found == {"core/dcm.pxd"}


def test_no_import_cycles():
    graph = {
        module: {found.module for found in MODULES.imports(module)} & set(MODULES.modules)
        for module in MODULES.modules
    }
    graphlib.TopologicalSorter(graph).prepare()


@pytest.fixture
def tree(tmp_path):
    """tree(file, text) writes a package of three layers in which that file imports
    something, and returns what is wrong with its imports."""
    order = ["low.decl", "low.a", "low.fast", "middle", "middle.b", "high.c", "__init__"]

    def check(file, text):
        folder = tmp_path / "sample"
        files = dict.fromkeys([f"{m.replace('.', '/')}.py" for m in order[:-1]], "")
        del files["low/decl.py"], files["low/fast.py"], files["middle.py"]
        files |= {"low/decl.pxd": "", "low/fast.pyx": "", "middle/__init__.py": ""}
        files |= {"low/__init__.py": '"""Low."""', "high/__init__.py": '"""High."""'}
        files |= {"__init__.py": "from sample.high.c import name\n", file: text}
        for path, content in files.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(content)
        return wrong_imports(Package(folder), order, {"low.fast"}, {"low", "high"})

    return check


@pytest.mark.parametrize(
    "file, text",
    [
        ("middle/b.py", "from sample.low.a import name"),
        ("middle/b.py", "from ..low import a, fast"),
        ("middle/b.py", "import sample.low.a as a\nimport os.path, json"),
        ("middle/b.py", "from . import name"),
        ("middle/b.py", "def f():\n    from sample.low import fast"),
        ("middle/__init__.py", "from ..low import a"),
        ("low/fast.pyx", "cimport cython\nfrom .decl cimport (\n    x,\n    y as z)"),
        ("low/fast.pxd", "from sample.low.decl cimport x"),
        ("high/c.py", "from sample.middle.b import name\nfrom sample import low"),
    ],
)
def test_downward_imports_are_accepted(tree, file, text):
    assert tree(file, text) == []


@pytest.mark.parametrize(
    "file, text, imported",
    [
        ("low/a.py", "from sample.high.c import name", "high.c"),
        ("low/a.py", "import sample.high.c", "high.c"),
        ("low/a.py", "import json, sample.middle.b as b", "middle.b"),
        ("low/a.py", "from ..high import c", "high.c"),
        ("low/a.py", "from . import fast", "low.fast"),
        ("low/a.py", "from sample import name", "__init__"),
        ("low/a.py", "from .. import middle", "middle"),
        ("low/a.py", "if TYPE_CHECKING:\n    from sample.middle import b", "middle.b"),
        ("low/a.py", "def f():\n    from sample.middle.b import name", "middle.b"),
        ("low/a.py", "def f():\n    import sample.low.fast", "low.fast"),
        ("low/a.py", "importlib.import_module('sample.high.c')", "high.c"),
        ("low/a.py", "x = __import__('sample.high.c')", "high.c"),
        ("middle/b.py", "def f():\n    from sample.low import a", "low.a"),
        ("middle/__init__.py", "from .b import name", "middle.b"),
        ("low/decl.pxd", "from .fast cimport x", "low.fast"),
        ("low/fast.pxd", "from sample.middle.b cimport x", "middle.b"),
        ("low/fast.pyx", "from ..middle import b", "middle.b"),
        ("low/fast.pyx", "cimport libc, sample.high.c", "high.c"),
        ("low/fast.pyx", "def f():\n    from \\\n  ..high.c import name", "high.c"),
    ],
)
def test_upward_imports_are_reported(tree, file, text, imported):
    [message] = tree(file, text)
    assert message.startswith(f"sample/{file}:") and f" imports {imported}" in message


def test_modules_without_a_position_are_reported(tree):
    assert tree("middle/new.py", "") == ["middle.new is not in the list of modules"]


def test_the_package_has_at_most_26_names():
    names = {path.name for path in PACKAGE.iterdir() if path.suffix not in (".so", ".dylib")}
    names.discard("__pycache__")
    assert len(names) <= 26, sorted(names)


@pytest.mark.parametrize(
    "module", [m for m in MODULES.modules if "__init__" in str(MODULES.modules[m])]
)
def test_a_package_has_at_most_15_modules(module):
    folder = MODULES.modules[module].parent
    modules = {
        path.stem
        for path in folder.iterdir()
        if path.suffix in (".py", ".pyx") and path.name not in {"__init__.py", *GENERATED}
    }
    assert len(modules) <= 15, sorted(modules)


def test_module_names_are_not_public_names():
    import fastdcm

    for module in set(MODULES.modules) - {"__init__"}:
        if hasattr(fastdcm, module):
            assert inspect.ismodule(getattr(fastdcm, module)), (
                f"{module} is a module and a public name"
            )


def test_import_is_light():
    """Import without site-packages: the core needs no other package to be imported."""
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
    assert len(lines) <= 800 or reason, (
        f"{len(lines)} lines without a reason at the head of the file"
    )


@pytest.mark.parametrize("path", [p for p in SOURCES if p.stem.startswith("generate")], ids=name)
def test_generated_tables_are_up_to_date(path):
    done = subprocess.run([sys.executable, path, "--check"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


# ----------------------------------------------------------------- stubs ---


def public_names(nodes):
    """{name: parameters of a function, public names of a class, or None}"""
    found = {}
    for node in nodes:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            a = node.args
            found[node.name] = [x.arg for x in a.posonlyargs + a.args + a.kwonlyargs]
            if any(ast.unparse(d) == "classmethod" for d in node.decorator_list):
                del found[node.name][0]
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
    assert real == stub, f"{where}{tuple(real)}, the stub has {tuple(stub)}"


@pytest.mark.parametrize("module", [MODULES.name(p) for p in sorted(PACKAGE.rglob("*.pyx"))])
def test_stub_equals_module(module):
    stub_file = MODULES.modules[module].with_suffix(".pyi")
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
    for key, declared in stub.items():
        thing = getattr(real, key)
        if isinstance(declared, dict):
            members = {k for k in vars(thing) if not k.startswith("_")}
            assert members == set(declared), f"{module}.{key}"
            for member, parameters in declared.items():
                if callable(getattr(thing, member)) and parameters is not None:
                    same_parameters(parameters, getattr(thing, member), f"{module}.{key}.{member}")
        elif declared is not None:
            same_parameters(declared, thing, f"{module}.{key}")


# ------------------------------------------------------------------ docs ---

DOCS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


def code_names():
    """The names of the codes in error.c: "truncated-value", ..."""
    found = re.findall(r'\{\s*"([a-z-]+)"\s*,', (ROOT / "src_c" / "error.c").read_text())
    assert len(found) > 30
    return [
        code
        for code in found
        if code not in ("ok", "need", "not-found", "end", "waiting", "unknown")
    ]


def test_errors_document_lists_every_code():
    text = (ROOT / "docs" / "errors.md").read_text()
    listed = set(re.findall(r"^\|\s*`([a-z-]+)`", text, flags=re.M))
    assert listed == set(code_names())


def test_documents_mention_every_command():
    """Look in code, at the start of a line or after a pipe."""
    from fastdcm import cli

    text = "\n".join(path.read_text(encoding="utf-8") for path in DOCS)
    code = re.findall(r"^```.*?^```|`[^`\n]+`", text, flags=re.M | re.S)
    mentioned = {
        command
        for part in code
        for command in re.findall(
            r"(?:^|`|\|)\s*(?:\$ )?(?:\S*/)?fastdcm ([a-z]+)", part, flags=re.M
        )
    }
    assert mentioned == set(cli.main.list_commands(None))


@pytest.mark.parametrize("path", [*DOCS, *SOURCES], ids=name)
def test_install_hints_name_the_distribution(path):
    """The package index has an unrelated package called fastdcm."""
    text = path.read_text(encoding="utf-8")
    assert not re.search(r"pip3? install[^\n]*\bfastdcm(?!-dicom)\b", text)
