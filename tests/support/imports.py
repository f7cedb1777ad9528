"""Find the imports between the modules of a package in its source text.

Nothing is imported or compiled, so a tree made by a test can be read as well. Stubs (.pyi)
are not read: they describe modules that refer to each other's classes.
"""

import ast
import functools
import re
from pathlib import Path
from typing import NamedTuple

# `from x import (a, b)`, `from x cimport a` and `import x, y` of a Cython file.
CYTHON_IMPORT = re.compile(
    r"^([ \t]*)(?:from\s+(\.*)([\w.]*)\s+c?import\s+(\([^)]*\)|[^\n#]*)|c?import\s+([\w., ]+))",
    flags=re.M,
)


class Import(NamedTuple):
    """One module of the package that a statement imports."""

    path: Path
    line: int
    in_function: bool
    module: str


def _imports_by_name(call):
    """Whether a call is import_module("x") or __import__("x")."""
    function = getattr(call.func, "attr", getattr(call.func, "id", None))
    return (
        function in ("import_module", "__import__")
        and bool(call.args)
        and isinstance(call.args[0], ast.Constant)
    )


class Package:
    """The modules of the package in `folder`, by dotted names without the package's own.

    cli/scan.py is "cli.scan", cli/__init__.py is "cli", the package's own __init__.py is
    "__init__". A .pxd file belongs to the module of its name, or is a module of its own.
    """

    def __init__(self, folder):
        self.folder = Path(folder)

    @functools.cached_property
    def modules(self):
        """{name: path of the .py, .pyx or, without one of them, .pxd file}"""
        return {
            self.name(path): path
            for pattern in ("*.pxd", "*.pyx", "*.py")
            for path in sorted(self.folder.rglob(pattern))
        }

    def name(self, path):
        parts = path.relative_to(self.folder).with_suffix("").parts
        return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)

    def imports(self, module):
        """Every import of another module of the package, in the order of the text."""
        path = self.modules[module]
        files = [path] if path.suffix != ".pyx" else [path.with_suffix(".pxd"), path]
        return [
            found
            for file in files
            if file.is_file()
            for found in (self._read_python if file.suffix == ".py" else self._read_cython)(file)
            if found.module != module
        ]

    def _read_python(self, path):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        in_function = {
            id(inner)
            for node in ast.walk(tree)
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
            for inner in ast.walk(node)
        }
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom):
                names = [alias.name for alias in node.names]
                modules = self._resolve(path, node.level, node.module or "", names)
            elif isinstance(node, ast.Import):
                modules = [m for alias in node.names for m in self._resolve(path, 0, alias.name)]
            elif isinstance(node, ast.Call) and _imports_by_name(node):
                modules = self._resolve(path, 0, node.args[0].value)
            else:
                continue
            for module in modules:
                yield Import(path, node.lineno, id(node) in in_function, module)

    def _read_cython(self, path):
        text = re.sub(r"\\\n", " ", path.read_text(encoding="utf-8"))
        for found in CYTHON_IMPORT.finditer(text):
            indent, dots, origin, names, plain = found.groups()
            names = (names or "").strip("()").replace("\n", " ").split(",")
            names = [name.split()[0] for name in names if name.strip()]
            line = text[: found.start()].count("\n") + 1
            for part in (plain or origin or ".").split(","):
                part = part.split()[0].strip(".") if part.strip() else ""
                for module in self._resolve(path, len(dots or ""), part, names):
                    yield Import(path, line, bool(indent), module)

    def _resolve(self, path, dots, origin, names=()):
        """The modules of the package that one import statement names."""
        if dots:
            here = [self.folder.name, *path.relative_to(self.folder).parts[:-1]]
            parts = here[: len(here) - dots + 1] + (origin.split(".") if origin else [])
        else:
            parts = origin.split(".")
        if parts[0] != self.folder.name:
            return
        submodules = [".".join([*parts[1:], name]) for name in names]
        found = [module for module in submodules if module in self.modules]
        yield from found
        if len(found) < len(names) or not names:
            yield ".".join(parts[1:]) or "__init__"


def wrong_imports(package, order, late=(), empty=()):
    """Describe each import that `order`, a list from the lowest module to the highest, forbids.

    A module may import only modules before it in the list, and only those in `late` inside
    a function. Packages in `empty` have no code and may be imported everywhere.
    """
    position = {module: number for number, module in enumerate(order)}
    wrong = []
    for module in package.modules:
        if module in empty:
            continue
        if module not in position:
            wrong.append(f"{module} is not in the list of modules")
            continue
        for path, line, in_function, imported in package.imports(module):
            where = f"{path.relative_to(package.folder.parent).as_posix()}:{line}"
            if imported in empty:
                continue
            if position.get(imported, len(order)) >= position[module]:
                wrong.append(f"{where} imports {imported}, which is not below {module}")
            elif in_function and imported not in late:
                wrong.append(f"{where} imports {imported} in a function")
    return wrong
