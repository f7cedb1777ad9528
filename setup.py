"""Build the C core once, and link every extension module with it.

It is a shared library in the package: modules with a copy of their own would make a
wheel three times as large. On Windows it is a static library.

FASTDCM_BUILD selects the kind of build: release (the default), debug, asan
(AddressSanitizer and UBSan), ubsan, tsan or coverage. Each kind keeps its objects
in a directory of its own below build/. Modules of another kind that are already in
the source tree are replaced only by `build_ext --inplace --force`.
"""

import os
import sys
import threading
from glob import glob

from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

MSVC = sys.platform == "win32"
MACOS = sys.platform == "darwin"
CORE_LIBRARY = f"libfastdcm_core.{'dylib' if MACOS else 'so'}"

CORE = sorted(glob("src_c/*.c"))
HEADERS = sorted(glob("src_c/*.h"))
MODULES = sorted(glob("fastdcm/**/*.pyx", recursive=True))
DECLARATIONS = sorted(glob("fastdcm/**/*.pxd", recursive=True))

KINDS = {  # kind: (compiler flags, linker flags)
    "release": (["-O3", "-g0"], ["-Wl,-x" if MACOS else "-Wl,-s"]),
    "debug": (["-O0", "-g3", "-UNDEBUG"], []),
    "asan": (
        [
            "-O1",
            "-g",
            "-UNDEBUG",
            "-fno-omit-frame-pointer",
            "-fsanitize=address,undefined",
            "-fno-sanitize-recover=undefined",
        ],
        ["-fsanitize=address,undefined"],
    ),
    "ubsan": (
        ["-O1", "-g", "-UNDEBUG", "-fsanitize=undefined", "-fno-sanitize-recover=undefined"],
        ["-fsanitize=undefined"],
    ),
    "tsan": (["-O1", "-g", "-UNDEBUG", "-fsanitize=thread"], ["-fsanitize=thread"]),
    "coverage": (["-O0", "-g", "-UNDEBUG", "--coverage"], ["--coverage"]),
}
DIRECTIVES = {
    "language_level": 3,
    "boundscheck": False,
    "wraparound": False,
    "cdivision": True,
    "freethreading_compatible": True,
}

kind = os.environ.get("FASTDCM_BUILD", "release")
if kind not in KINDS:
    sys.exit(f"FASTDCM_BUILD must be one of {', '.join(KINDS)}, got {kind}")
compile_args, link_args = KINDS[kind]
core_args = ["-std=c11", "-Wall", "-Wextra"]
if MSVC:
    if kind not in ("release", "debug"):
        sys.exit(f"FASTDCM_BUILD={kind} needs gcc or clang")
    core_args = ["/std:c11", "/W3"]
    # /FS: compilers that run in parallel write one file of debug information.
    compile_args = ["/O2"] if kind == "release" else ["/Od", "/Zi", "/FS"]
    link_args = [] if kind == "release" else ["/DEBUG"]
else:
    # Calls inside the core are direct, as in a static library.
    core_args += ["-fPIC", "-fno-semantic-interposition"]

build_base = "build" if kind == "release" else f"build/{kind}"


def extension(path):
    name = path.removesuffix(".pyx").replace(os.sep, ".")
    if MSVC:
        return Extension(
            name,
            [path],
            include_dirs=["src_c"],
            depends=[*CORE, *HEADERS, *DECLARATIONS],
            extra_compile_args=compile_args,
            extra_link_args=link_args,
        )
    to_package = "/".join(["@loader_path" if MACOS else "$ORIGIN"] + [".."] * (name.count(".") - 1))
    return Extension(
        name,
        [path],
        include_dirs=["src_c"],
        depends=[*HEADERS, *DECLARATIONS],
        # Cython's own loops compare signed with unsigned.
        extra_compile_args=[*compile_args, "-Wno-sign-compare", "-fvisibility=hidden"],
        extra_link_args=[*link_args, f"-Wl,-rpath,{to_package}"],
    )


class BuildExt(build_ext):
    """Build the C core, then the extensions, one on each processor at a time."""

    # Cython's compiler keeps global state. It runs in one thread while the others
    # wait for the C compiler.
    translating = threading.Lock()

    def finalize_options(self):
        super().finalize_options()
        self.parallel = self.parallel or os.cpu_count()

    def run(self):
        self.run_command("build_clib")
        super().run()

    def build_extensions(self):
        if not MSVC:
            self.link_core()
        super().build_extensions()

    def link_core(self):
        """Link the static library of the core to a shared one, which the modules use."""
        command = self.get_finalized_command("build_clib")
        [name] = command.get_library_names()
        archive = os.path.join(command.build_clib, self.compiler.library_filename(name))
        library = os.path.join(self.build_lib, "fastdcm", CORE_LIBRARY)
        self.mkpath(os.path.dirname(library))
        if MACOS:
            flags = ["-dynamiclib", f"-Wl,-install_name,@rpath/{CORE_LIBRARY}"]
            flags += [f"-Wl,-force_load,{archive}"]
        else:
            flags = ["-shared", f"-Wl,-soname,{CORE_LIBRARY}", "-Wl,-Bsymbolic"]
            flags += ["-Wl,--whole-archive", archive, "-Wl,--no-whole-archive"]
        self.make_file(
            [archive],
            library,
            self.spawn,
            ([*self.compiler.compiler, *compile_args, *flags, *link_args, "-o", library],),
        )
        self.compiler.set_libraries([lib for lib in self.compiler.libraries if lib != name])
        self.compiler.set_link_objects([library])

    def copy_extensions_to_source(self):
        super().copy_extensions_to_source()
        if not MSVC:
            self.copy_file(
                os.path.join(self.build_lib, "fastdcm", CORE_LIBRARY),
                os.path.join("fastdcm", CORE_LIBRARY),
                level=self.verbose,
            )

    def build_extension(self, ext):
        with self.translating:
            [translated] = cythonize(
                ext,
                build_dir=self.build_temp,
                compiler_directives=DIRECTIVES,
                force=bool(self.force),
                include_path=["src_c"],
                quiet=self.verbose == 0,
            )
            ext.sources = translated.sources
        super().build_extension(ext)


setup(
    cmdclass={"build_ext": BuildExt},
    libraries=[
        (
            "fastdcm_core",
            {
                "sources": CORE,
                "obj_deps": {"": HEADERS},
                "include_dirs": ["src_c"],
                "cflags": core_args + compile_args,
            },
        )
    ],
    ext_modules=[extension(path) for path in MODULES],
    options={"build": {"build_base": build_base}},
)
