"""Build the C core once, as a static library, and link every extension module with it.

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

CORE = sorted(glob("src_c/*.c"))
HEADERS = sorted(glob("src_c/*.h"))
MODULES = sorted(glob("fastdcm/**/*.pyx", recursive=True))
DECLARATIONS = sorted(glob("fastdcm/**/*.pxd", recursive=True))

KINDS = {  # kind: (compiler flags, linker flags)
    "release": (["-O3"], []),
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
    compile_args = [*compile_args, "-fvisibility=hidden"]

build_base = "build" if kind == "release" else f"build/{kind}"


def extension(path):
    return Extension(
        path.removesuffix(".pyx").replace(os.sep, "."),
        [path],
        include_dirs=["src_c"],
        depends=[*CORE, *HEADERS, *DECLARATIONS],
        # Cython's own loops compare signed with unsigned.
        extra_compile_args=compile_args + ([] if MSVC else ["-Wno-sign-compare"]),
        extra_link_args=link_args,
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
