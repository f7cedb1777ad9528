"""Builds the C core once, as a static library, and the extensions on it.

FASTDCM_BUILD chooses the kind of build: release (default), debug, asan
(AddressSanitizer and UBSan), ubsan, tsan or coverage. Each kind keeps its
objects in a folder of its own under build/. `build_ext --inplace` replaces
modules of another kind only with `--force`.
"""

import os
import sys
from glob import glob

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

MSVC = sys.platform == "win32"

# In the order of the layers in src_c/dcm.h.
CORE = [
    f"src_c/{name}.c"
    for name in (
        "error",
        "arena",
        "vr",
        "dict",
        "rle",
        "pixel",
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
        "native",
        "column",
        "columns",
    )
]
HEADERS = sorted(glob("src_c/*.h"))
MODULES = sorted(glob("fastdcm/**/*.pyx", recursive=True))
DECLARATIONS = sorted(glob("fastdcm/**/*.pxd", recursive=True))

KINDS = {  # kind: flags of compiler, flags of linker
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

kind = os.environ.get("FASTDCM_BUILD", "release")
if kind not in KINDS:
    sys.exit(f"FASTDCM_BUILD={kind}: one of {', '.join(KINDS)}")
compile_args, link_args = KINDS[kind]
core_args = ["-std=c11", "-Wall", "-Wextra"]
if MSVC:
    if kind not in ("release", "debug"):
        sys.exit(f"FASTDCM_BUILD={kind} needs gcc or clang")
    core_args = ["/std:c11", "/W3"]
    compile_args = ["/O2"] if kind == "release" else ["/Od", "/Zi"]
    link_args = [] if kind == "release" else ["/DEBUG"]
else:
    compile_args = [*compile_args, "-fvisibility=hidden"]


def extension(path):
    ext = Extension(
        path.removesuffix(".pyx").replace(os.sep, "."),
        [path],
        include_dirs=["src_c"],
        depends=[*CORE, *HEADERS, *DECLARATIONS],
        # Cython's own loops compare signed with unsigned.
        extra_compile_args=compile_args + ([] if MSVC else ["-Wno-sign-compare"]),
        extra_link_args=link_args,
    )
    ext.cython_c_in_temp = True
    ext.cython_directives = {
        "language_level": 3,
        "boundscheck": False,
        "wraparound": False,
        "cdivision": True,
        "freethreading_compatible": True,
    }
    return ext


class BuildExt(build_ext):
    """`setup.py build_ext` alone brings the library up to date, too."""

    def run(self):
        self.run_command("build_clib")
        super().run()


setup(
    cmdclass={"build_ext": BuildExt},
    # Every extension is linked with the one library.
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
    options={"build": {"build_base": "build" if kind == "release" else f"build/{kind}"}},
)
