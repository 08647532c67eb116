"""Build: one static library per instruction set, one extension per domain, one optional CUDA library.

The file name is the build description: `x_avx2.c` is compiled with the AVX2 flags, every other `.c` with the portable
ones, `lmfast/<domain>/_<domain>.pyx` becomes the extension of that domain, and `.cu` files become `lmfast_cuda.so`
where nvcc is found. Switches, all read from the environment:

LMFAST_SANITIZE=address,undefined   build everything under these sanitizers
LMFAST_WERROR=1                     warnings are errors (set in CI)
LMFAST_CUDA=0                       do not look for nvcc
LMFAST_CUDA_ARCHS="80 90"           GPU architectures to compile for; the last one is also shipped as PTX
"""

import os
import platform
import re
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from glob import glob
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_clib import build_clib
from setuptools.command.build_ext import build_ext
from setuptools.modified import newer_group

SANITIZE = os.environ.get("LMFAST_SANITIZE", "")
WERROR = os.environ.get("LMFAST_WERROR") == "1"
# psabi: a wide vector is passed by value only between static functions of one file, so its ABI does not matter.
WARN = ["-Wall", "-Wextra", "-Wno-psabi", *(["-Werror"] if WERROR else [])]
DEBUG = ["-g0"]
if SANITIZE:
    # Optimised little, which compiles in a third of the time.
    DEBUG = [f"-fsanitize={SANITIZE}", "-fno-omit-frame-pointer", "-fno-sanitize-recover=all", "-g1", "-O1"]
CFLAGS = ["-O3", "-std=c11", "-D_DEFAULT_SOURCE", "-fvisibility=hidden", "-ffp-contract=off", "-fno-strict-aliasing"]
CFLAGS += [*WARN, *DEBUG]
ISA_FLAGS = {"generic": []}
if platform.machine() in ("x86_64", "AMD64"):
    ice_lake = ["-mavx512vbmi", "-mavx512vbmi2", "-mavx512bitalg", "-mgfni", "-maes", "-mvaes", "-mvpclmulqdq"]
    ISA_FLAGS["avx2"] = ["-march=x86-64-v3"]
    ISA_FLAGS["avx512"] = ["-march=x86-64-v4", "-mprefer-vector-width=512", *ice_lake]

JOBS = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()

sources = sorted(glob("csrc/**/*.c", recursive=True))
suffixes = ("generic", "avx2", "avx512", "neon")


@cache
def included(path: str) -> frozenset[str]:
    """The files of csrc that a file includes, and those that they include."""
    found = {f"csrc/{name}" for name in re.findall(r'^#include "(.+)"', Path(path).read_text(), re.MULTILINE)}
    return frozenset(found.union(*map(included, found)))


def static_library(isa: str | None) -> tuple[str, dict]:
    """The C files of one suffix (None: the files without one) as a library that setuptools builds with their flags."""
    if isa is None:
        mine = [s for s in sources if not s.endswith(tuple(f"_{x}.c" for x in suffixes))]
    else:
        mine = [s for s in sources if s.endswith(f"_{isa}.c")]
    flags = CFLAGS + ISA_FLAGS.get(isa or "generic", [])
    return f"lmfast_{isa or 'base'}", dict(sources=mine, include_dirs=["csrc"], cflags=flags)


libraries = [library for library in map(static_library, [None, *ISA_FLAGS]) if library[1]["sources"]]

extensions = cythonize(
    [
        Extension(
            path[: -len(".pyx")].replace("/", "."),
            [path],
            include_dirs=["csrc"],
            # The kernels too: setuptools does not relink an extension because a static library changed.
            depends=glob("csrc/*.[ch]") + glob(f"csrc/{path.split('/')[1]}/*.[ch]"),
            extra_compile_args=["-O2", "-std=c11", "-fvisibility=hidden", *DEBUG],
            extra_link_args=[f"-fsanitize={SANITIZE}"] if SANITIZE else [],
            # Twice: each library may call into any other, and the linker reads them in order.
            libraries=[name for name, _ in libraries] * 2 + ["m"],
        )
        for path in sorted(glob("lmfast/*/_*.pyx"))
    ],
    build_dir="build/cython",
    compiler_directives={"autotestdict": False},  # no `__test__`, which no stub would name
)

CUDA = "lmfast.lmfast_cuda"
cuda_sources = sorted(glob("csrc/**/*.cu", recursive=True))
if cuda_sources and os.environ.get("LMFAST_CUDA", "auto") != "0" and shutil.which("nvcc"):
    extensions.append(Extension(CUDA, cuda_sources, depends=sorted(set().union(*map(included, cuda_sources)))))


class BuildClib(build_clib):
    """Compiles what changed, or of which a header did, several files at a time; setuptools would compile every file."""

    def build_libraries(self, libraries: list[tuple[str, dict]]) -> None:
        objects = {s: self.compiler.object_filenames([s], output_dir=self.build_temp)[0] for s in sources}

        def compile_one(source: str, flags: list[str]) -> None:
            if self.force or newer_group([source, *included(source)], objects[source]):
                self.compiler.compile([source], self.build_temp, include_dirs=["csrc"], extra_postargs=flags)

        with ThreadPoolExecutor(JOBS) as pool:
            jobs = [(source, library["cflags"]) for _, library in libraries for source in library["sources"]]
            list(pool.map(compile_one, *zip(*jobs, strict=True)))
        for name, library in libraries:
            mine = [objects[source] for source in library["sources"]]
            self.compiler.create_static_lib(mine, name, output_dir=self.build_clib)


class BuildExt(build_ext):
    """Compiles the CUDA sources with nvcc into a plain C-ABI library, which Python loads at run time."""

    def get_ext_filename(self, fullname: str) -> str:
        if fullname.endswith("lmfast_cuda"):
            return fullname.replace(".", "/") + ".so"
        return super().get_ext_filename(fullname)

    def build_extension(self, ext: Extension) -> None:
        if ext.name != CUDA:
            return super().build_extension(ext)
        out = self.get_ext_fullpath(ext.name)
        if not self.force and not newer_group([*ext.sources, *ext.depends], out):
            return
        os.makedirs(os.path.dirname(out), exist_ok=True)
        archs = os.environ.get("LMFAST_CUDA_ARCHS", "80 90").split()
        code = [f"-gencode=arch=compute_{a},code=sm_{a}" for a in archs]
        code.append(f"-gencode=arch=compute_{archs[-1]},code=compute_{archs[-1]}")
        flags = ["-shared", "-O3", "-std=c++17", "-Icsrc", "--cudart=static", "-Xcompiler=-fPIC,-fvisibility=hidden"]
        flags += ["-Xcompiler=-Wall,-Wextra", *(["-Werror", "all-warnings"] if WERROR else [])]
        subprocess.check_call(["nvcc", *flags, *code, *ext.sources, "-o", out])


# A folder of its own for each kind of object: setuptools compares dates, not flags, and would link what is there.
build_base = "build/" + SANITIZE.replace(",", "-") if SANITIZE else "build"
setup(
    libraries=libraries,
    ext_modules=extensions,
    cmdclass={"build_clib": BuildClib, "build_ext": BuildExt},
    options={"build": {"build_base": build_base}, "build_ext": {"parallel": JOBS}},
)
